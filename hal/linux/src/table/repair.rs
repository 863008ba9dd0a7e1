//! Restoring the copy of a partition table that is damaged, missing, or no longer at the end.
//!
//! The order of the writes keeps one whole copy on the medium at every instant, and the table counts
//! throughout if it counted before: the copy that is the source is not touched until the other one
//! is durable.

use gpt_disk_types::{GptHeader, LbaLe, MasterBootRecord, U32Le};
use stillboot::device::{BlockDevice as _, DeviceError};
use stillboot_loader::gpt::{self, Copy, Fault, Label, TableError as Reason};

use super::{TableError, read};
use crate::file::FileDevice;

/// Restores what is missing of the partition table on `device`, and says what that was.
///
/// # Errors
/// [`TableError`]: no copy is whole, or a DOS partition table or a file system is where the
/// protective MBR should be.
pub fn repair(device: &mut FileDevice) -> Result<Vec<&'static str>, TableError> {
    let path = device.path().to_path_buf();
    let refused = |why: String| TableError::NotRestored { path: path.clone(), why };
    let whole = read::sizes(device)?;
    let mut found = Vec::new();
    let mut why = Vec::new();
    for size in whole {
        device.set_logical_block(*size);
        match Whole::find(device) {
            Ok(whole) => found.push((*size, whole)),
            Err(reason) => why.push(format!("for sectors of {size} bytes: {reason}")),
        }
    }
    if found.iter().any(|(_, whole)| whole.is_primary) {
        found.retain(|(_, whole)| whole.is_primary);
    }
    let (size, whole) = match found.len() {
        0 => return Err(TableError::NoTable { path, why: why.join("; ") }),
        1 => found.remove(0),
        _ => return Err(TableError::TwoTables { path }),
    };
    device.set_logical_block(size);
    whole
        .copy
        .table(size, !whole.is_primary)
        .map_err(|error| refused(format!("{error}{}", read::way_out(&error))))?;
    let wanted = Wanted::new(&whole, size).map_err(refused)?;
    let done = wanted.write(device, &whole).map_err(|error| TableError::System {
        path: path.clone(),
        action: "write the partition table of",
        source: std::io::Error::other(error),
    })?;
    let again = read::read_file(device.file(), &path, Some(size))?;
    if again.is_backup {
        return Err(refused("what was written does not read back".into()));
    }
    Ok(done)
}

/// What is wrong with the copy that was not read, if anything: with the backup of a disk whose
/// primary counts.
pub fn other_fault(device: &mut FileDevice) -> Option<String> {
    let last = gpt::last_block(device)?;
    match Copy::read(device, last) {
        Ok(backup) => {
            let primary = Copy::read(device, 1).ok()?;
            (backup.entries != primary.entries).then(|| "it is another table".to_owned())
        }
        Err(Fault::Missing) => Some("it is not at the end of the disk".to_owned()),
        Err(fault) => Some(fault.to_string()),
    }
}

/// A copy that is whole, and what else there is.
struct Whole {
    copy: Copy,
    is_primary: bool,
    /// Where the entries of the primary are, if its header is sound.
    entries_lba: Option<u64>,
    sector: Vec<u8>,
    is_protected: bool,
    last: u64,
}

impl Whole {
    fn find(device: &mut FileDevice) -> Result<Self, String> {
        let last = gpt::last_block(device).ok_or("the disk is too small")?;
        let mut sector = vec![0; device.geometry().logical_block_bytes as usize];
        if device.read(0, &mut sector).is_err() {
            // It may be written again all the same.
            sector.fill(0);
        }
        let label = Label::new(&sector);
        let primary = Copy::read(device, 1);
        let header = gpt::read_header(device, 1).ok();
        let (copy, is_primary) = match primary {
            Ok(copy) => (copy, true),
            Err(primary) => match Copy::backup(device, header.as_ref(), &label, last) {
                Ok(copy) => (copy, false),
                Err(backup) => {
                    let error = Reason::Damaged { primary, backup };
                    return Err(format!("{error}{}", read::way_out(&error)));
                }
            },
        };
        let is_protected = label.is_protective();
        if !is_protected && (label.has_partitions() || label.is_file_system()) {
            return Err("its first sector has a DOS partition table or a file system where the \
                        protective MBR should be, so the disk was given another use since; if it \
                        was not, overwrite that sector with zeros"
                .to_owned());
        }
        let entries_lba = header.map(|header| header.partition_entry_lba.to_u64());
        Ok(Self { copy, is_primary, entries_lba, sector, is_protected, last })
    }
}

/// Both copies as they should be.
struct Wanted {
    primary: Copy,
    backup: Copy,
}

impl Wanted {
    fn new(whole: &Whole, block: u32) -> Result<Self, String> {
        let source = &whole.copy.header;
        let last = whole.last;
        let blocks = (whole.copy.entries.len() as u64).div_ceil(u64::from(block));
        let at = match whole.is_primary {
            true => source.alternate_lba.to_u64(),
            false => source.my_lba.to_u64(),
        };
        let end = last - blocks - 1;
        let last_usable = match at == last {
            true => source.last_usable_lba.to_u64(),
            // The disk has grown, or the table is from a larger one.
            false => end,
        };
        let used = whole.copy.last_used().unwrap_or(0);
        if last_usable > end || used > last_usable {
            return Err(format!(
                "the last partition ends in block {used}, and the backup table needs all from \
                 block {} on: the disk has become too small",
                end + 1
            ));
        }
        let entries_lba = whole.entries_lba.unwrap_or(2);
        let first_usable = source.first_usable_lba.to_u64();
        if entries_lba < 2 || entries_lba + blocks > first_usable {
            return Err(format!(
                "the primary table needs blocks 2 to {}, and block {first_usable} is for \
                 partitions already",
                1 + blocks
            ));
        }
        let header = |mine: u64, other: u64, entries: u64| {
            let mut header = *source;
            header.my_lba = LbaLe::from_u64(mine);
            header.alternate_lba = LbaLe::from_u64(other);
            header.partition_entry_lba = LbaLe::from_u64(entries);
            header.last_usable_lba = LbaLe::from_u64(last_usable);
            let sum = gpt::header_sum(&header);
            header.header_crc32.0 = U32Le::from_u32(sum);
            header
        };
        let copy = |header| Copy { header, entries: whole.copy.entries.clone() };
        Ok(Self {
            primary: copy(header(1, last, entries_lba)),
            backup: copy(header(last, 1, last - blocks)),
        })
    }

    fn write(
        &self,
        device: &mut FileDevice,
        whole: &Whole,
    ) -> Result<Vec<&'static str>, DeviceError> {
        let mut done = Vec::new();
        let (primary, backup) = (Copy::read(device, 1), Copy::read(device, whole.last));
        // What is not the source first.
        if !whole.is_primary {
            put(device, &self.primary)?;
            done.push("restored the primary table from the backup");
        }
        if backup.as_ref() != Ok(&self.backup) {
            put(device, &self.backup)?;
            done.push(match (&backup, whole.is_primary) {
                (Ok(found), _) if found.entries != self.backup.entries => {
                    "replaced the backup table, which was another one"
                }
                _ if whole.copy.header.alternate_lba.to_u64() != whole.last && whole.is_primary => {
                    "wrote the backup table to the end of the disk"
                }
                (_, false) => "wrote the backup table to the end of the disk",
                _ => "restored the backup table from the primary",
            });
        }
        if whole.is_primary && primary.as_ref() != Ok(&self.primary) {
            put_header(device, &self.primary.header)?;
            done.push("noted in the primary table where the backup is");
        }
        // Last: from here on both copies count.
        if !whole.is_protected {
            let mut sector = whole.sector.clone();
            let mut label: MasterBootRecord = bytemuck::pod_read_unaligned(&sector[..512]);
            let fresh = MasterBootRecord::protective_mbr(whole.last + 1);
            (label.partitions, label.signature) = (fresh.partitions, fresh.signature);
            sector[..512].copy_from_slice(bytemuck::bytes_of(&label));
            device.write(0, &sector)?;
            device.flush()?;
            done.push("wrote the protective MBR");
        }
        Ok(done)
    }
}

/// Entries first: a header never stands before what it sums up.
fn put(device: &mut FileDevice, copy: &Copy) -> Result<(), DeviceError> {
    let block = device.geometry().logical_block_bytes;
    let mut entries = copy.entries.clone();
    entries.resize(entries.len().next_multiple_of(block as usize), 0);
    device.write(copy.header.partition_entry_lba.to_u64() * u64::from(block), &entries)?;
    device.flush()?;
    put_header(device, &copy.header)
}

fn put_header(device: &mut FileDevice, header: &GptHeader) -> Result<(), DeviceError> {
    let block = device.geometry().logical_block_bytes;
    let mut bytes = vec![0; block as usize];
    bytes[..gpt::HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(header));
    device.write(header.my_lba.to_u64() * u64::from(block), &bytes)?;
    device.flush()
}
