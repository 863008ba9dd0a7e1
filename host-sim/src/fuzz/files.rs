//! Files and disks as Linux reads them.

use stillboot::device::BlockDevice as _;
use stillboot::format::{Envelope, envelope};
use stillboot::verify::verify_signature;
use stillboot_gpt::plan::{Plan, Source};
use stillboot_linux::disk::{self, Disk, Selector};
use stillboot_linux::file::{FileDevice, OpenOptions};
use stillboot_linux::table::{self, Table};
use stillboot_release::keys::{Roots, Signer as _, SigningKey, public_to_pem, read_public};
use stillboot_release::statement;

use super::texts::proof;
use super::{Memory, crc32, file_of};

/// Keys, roots, statements and proofs: whatever is read can be written, and is then the same.
pub fn files(data: &[u8]) {
    proof(data);
    let file = file_of(data);
    if let Ok(roots) = Roots::read(file.path()) {
        assert!((1..=4).contains(&roots.keys.len()));
        assert!((1..=roots.keys.len()).contains(&usize::from(roots.threshold)));
        let again = file_of(roots.to_toml().expect("what was read can be written").as_bytes());
        assert_eq!(Roots::read(again.path()).ok(), Some(roots));
    }
    if let Ok(public) = read_public(file.path()) {
        let again = file_of(public_to_pem(&public).as_bytes());
        assert_eq!(read_public(again.path()).ok(), Some(public));
    }
    if let Ok(key) = SigningKey::read(file.path()) {
        // Whatever the file says of its public half, what is signed must verify.
        let signature = key.sign(b"message").expect("a key in memory signs");
        assert!(verify_signature(&key.public(), &[b"message"], &signature).is_ok());
    }
    if let Ok((wrapped, statement)) = statement::parse(data) {
        let mut payload = [0; envelope::PAYLOAD_LEN_MAX];
        let len = statement.emit(&mut payload).expect("what was read can be written");
        let signatures: Vec<_> = wrapped.signatures().collect();
        let mut again = vec![0; envelope::LEN_MAX];
        let len = Envelope::emit(wrapped.payload_type(), &signatures, &payload[..len], &mut again)
            .expect("what was read can be written");
        // Written is the digest of this payload; what was read may name another one.
        again[16..48].copy_from_slice(&wrapped.header().digest);
        assert_eq!(&again[..len], data);
    }
}

/// How many blocks the disks have. The fifth has room for all partitions of a device.
const BLOCKS: [u64; 8] = [0, 2, 3, 68, 12288, 1 << 20, 1 << 32, 1 << 36];

const HEADER_LEN: usize = 92;

/// What is read from a partition table lies on the disk and does not overlap, and what is opened
/// by it lies in the partition.
///
/// The input is a first byte that says which disk, then a header, then entries. Where that byte
/// says so, the checksums are mended and what depends on the disk is filled in, so that the search
/// gets behind them; its highest bit leaves the protective MBR out.
pub fn table(data: &[u8]) {
    let Some((file, end)) = disk_of(data) else { return };
    for block in [512, 4096] {
        loader_agrees(&file, block);
    }
    let read = || Table::read(file.path(), None).ok();
    let found = read();
    assert_eq!(found, read(), "read twice, it is another one");
    let Some(table) = found else { return };
    let places = table.partitions.iter().map(|found| (found.start_bytes, found.len_bytes));
    check_places(places.collect(), end);

    if let Ok(disk) = Disk::open(file.path(), true) {
        let slots = disk.plan.slots();
        if disk.plan.layout(&slots).is_ok() {
            let regions = slots.iter().flat_map(|slot| slot.regions).map(|slot| slot.region);
            check_places(regions.map(|region| (region.offset, region.len)).collect(), end);
        }
    }
    if let Ok(mut device) = FileDevice::open(file.path(), OpenOptions::default())
        && table::repair(&mut device, table::RepairOptions::default()).is_ok()
    {
        drop(device);
        let whole = read().expect("what was repaired is read");
        assert!(!whole.is_backup);
        assert_eq!(whole.partitions, table.partitions, "a repair changes no partition");
        let mut device = FileDevice::open(file.path(), OpenOptions::default()).expect("as before");
        assert_eq!(
            table::repair(&mut device, table::RepairOptions::default()).ok(),
            Some(vec![]),
            "one repair is enough"
        );
    }
    for partition in table.partitions.iter().take(4) {
        let selector = Selector::PartUuid(partition.part_guid);
        if let Ok(device) = disk::open_partition(file.path(), &selector, true) {
            assert!(device.geometry().capacity_bytes <= partition.len_bytes);
        }
    }
}

/// The UEFI loader and the system that it starts must not see two different disks.
fn loader_agrees(file: &Memory, block: u32) {
    let options = OpenOptions::new().with_read_only(true).with_logical_block(Some(block));
    // A file without a byte in it is no disk to either.
    let Ok(mut device) = FileDevice::open(file.path(), options) else { return };
    let seen = stillboot_gpt::read(&mut device);
    match (seen, Table::read(file.path(), Some(block))) {
        (Ok(loader), Ok(linux)) => {
            assert_eq!(loader.is_backup, linux.is_backup);
            assert_eq!(loader.partitions.len(), linux.partitions.len());
            for (one, other) in loader.partitions.iter().zip(&linux.partitions) {
                assert_eq!(one.name, other.name);
                assert_eq!(one.guid.to_bytes(), other.part_guid.to_bytes_le());
                assert_eq!(one.start_bytes, other.start_bytes);
                assert_eq!(one.len_bytes, other.len_bytes);
            }
            let geometry = device.geometry();
            let source = Source::new(geometry, &loader).with_own(true);
            if let Ok(plan) = Plan::new(&[source], &[]) {
                let slots = plan.slots();
                if plan.layout(&slots).is_ok() {
                    let regions = slots.iter().flat_map(|slot| slot.regions);
                    let places =
                        regions.map(|slot| (slot.region.offset, slot.region.len)).collect();
                    check_places(places, geometry.capacity_bytes);
                }
            }
        }
        (Err(_), Err(_)) => {}
        (loader, linux) => panic!("the loader sees {loader:?}, Linux {linux:?}"),
    }
}

/// The disk that `data` stands for, and its length.
fn disk_of(data: &[u8]) -> Option<(Memory, u64)> {
    let (shape, rest) = data.split_first()?;
    let sector = if shape & 1 == 0 { 512 } else { 4096 };
    let blocks = BLOCKS[usize::from(shape >> 1 & 7)];
    let file = file_of(b"");
    file.grow(blocks * sector);
    let mut header = [0; HEADER_LEN];
    let (front, entries) = rest.split_at(rest.len().min(HEADER_LEN));
    header[..front.len()].copy_from_slice(front);
    if shape & 0x80 == 0 && blocks > 0 {
        let mut label = [0; 512];
        (label[450], label[454], label[510], label[511]) = (0xee, 1, 0x55, 0xaa);
        file.write(0, &label);
    }
    for (bit, lba) in [(0x10, 1), (0x20, blocks.saturating_sub(1))] {
        if shape & bit == 0 || lba >= blocks {
            continue;
        }
        let mut header = header;
        if shape & 0x40 != 0 {
            mend(&mut header, entries, lba);
        }
        file.write(lba * sector, &header);
        let start = u64::from_le_bytes(header[72..80].try_into().expect("eight bytes"));
        if (1..blocks).contains(&start) && start != lba {
            file.write(start * sector, entries);
        }
    }
    Some((file, blocks * sector))
}

fn check_places(mut places: Vec<(u64, u64)>, end: u64) {
    places.sort_unstable();
    for (start, len) in &places {
        assert!(*len > 0 && *start <= end && *len <= end - start, "{start}+{len} of {end}");
    }
    for pair in places.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
}

/// Fills in what every header has, and both checksums.
fn mend(header: &mut [u8; HEADER_LEN], entries: &[u8], lba: u64) {
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&[0, 0, 1, 0]);
    header[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
    header[16..24].fill(0);
    header[24..32].copy_from_slice(&lba.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    let count = u32::from_le_bytes(header[80..84].try_into().expect("four bytes"));
    // More than that is not worth the time that its checksum takes.
    if count <= 64 {
        let mut table = entries.to_vec();
        table.resize(count as usize * 128, 0);
        header[88..].copy_from_slice(&crc32(&table).to_le_bytes());
    }
    let crc = crc32(header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// A disk with the partitions of a device.
pub(super) fn table_seed(shape: u8, names: &[(&str, u64)]) -> Vec<u8> {
    let sector = if shape & 1 == 0 { 512 } else { 4096 };
    let blocks = BLOCKS[usize::from(shape >> 1 & 7)];
    let mut header = [0; HEADER_LEN];
    let mut fields = |at: usize, bytes: &[u8]| header[at..][..bytes.len()].copy_from_slice(bytes);
    fields(40, &34_u64.to_le_bytes());
    fields(48, &(blocks - 6).to_le_bytes());
    fields(56, &[7; 16]);
    fields(72, &2_u64.to_le_bytes());
    fields(80, &8_u32.to_le_bytes());
    let mut seed = vec![shape];
    seed.extend(header);
    let mut at = (1 << 20) / sector;
    for (number, (name, bytes)) in names.iter().enumerate() {
        let mut entry = [0; 128];
        entry[..16].fill(0xd0 + number as u8);
        entry[16..32].fill(0xe0 + number as u8);
        entry[32..40].copy_from_slice(&u64::to_le_bytes(at));
        at += bytes / sector;
        entry[40..48].copy_from_slice(&(at - 1).to_le_bytes());
        for (place, unit) in entry[56..].chunks_exact_mut(2).zip(name.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        seed.extend(entry);
    }
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_tables_are_read_and_not_only_refused() {
        for seed in super::super::seeds("table") {
            let partitions = |at: usize, to: u8| {
                let mut input = seed.clone();
                input[at] = to;
                let (file, _) = disk_of(&input).unwrap();
                Table::read(file.path(), None).ok().map(|table| table.partitions.len())
            };
            assert_eq!(partitions(0, seed[0]), Some(3));
            // Another name, and only two entries.
            assert_eq!(partitions(1 + HEADER_LEN + 56, b'z'), Some(3));
            assert_eq!(partitions(1 + 80, 2), Some(2));
            // The second begins in the first.
            assert_eq!(partitions(1 + HEADER_LEN + 128 + 33, 9), None);
            assert!(Disk::open(disk_of(&seed).unwrap().0.path(), true).is_ok());
        }
    }
}
