use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use uuid::Uuid;

use super::*;
use crate::guid;

const MIB: u64 = 1 << 20;

struct Images(tempfile::TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn specs() -> Vec<PartitionSpec> {
    let spec = |name: &str, type_guid, size_bytes, number| PartitionSpec {
        name: name.to_owned(),
        type_guid,
        size_bytes,
        part_guid: Some(Uuid::from_u128(number)),
    };
    vec![
        spec(guid::RECORD_NAME, guid::RECORD, 2 * MIB + 4096, 11),
        spec(guid::SLOT_NAMES[0], guid::SLOT, 3 * MIB, 12),
        spec(guid::SLOT_NAMES[1], guid::SLOT, 3 * MIB, 13),
    ]
}

fn make(path: &Path, logical_block: u32, specs: &[PartitionSpec]) -> Table {
    create(path, 16 * MIB, logical_block, specs, Some(Uuid::from_u128(1))).unwrap()
}

use std::path::Path;

fn change(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn created_disk_reads_back() {
    let images = Images::new();
    for block in [512, 4096] {
        let path = images.path(&format!("{block}.img"));
        let made = make(&path, block, &specs());
        assert_eq!(made.disk_guid, Uuid::from_u128(1));
        assert_eq!(made.logical_block_bytes, block);
        assert!(!made.is_backup);
        assert_eq!(Table::read(&path, None).unwrap(), made);

        let [record, a, b] = &made.partitions[..] else { panic!("{made:?}") };
        assert_eq!((record.index, record.start_bytes), (1, MIB));
        assert_eq!(record.len_bytes, 2 * MIB + 4096);
        assert_eq!(record.type_guid, guid::RECORD);
        // Aligned again behind a length that is not.
        assert_eq!((a.start_bytes, a.len_bytes), (4 * MIB, 3 * MIB));
        assert_eq!((b.start_bytes, b.len_bytes), (7 * MIB, 3 * MIB));
        assert_eq!(made.find_name("stillboot-b").unwrap(), b);
        assert_eq!(made.find_part_guid(Uuid::from_u128(12)).unwrap(), a);
    }
}

#[test]
fn equal_arguments_make_equal_bytes() {
    let images = Images::new();
    make(&images.path("1"), 512, &specs());
    make(&images.path("2"), 512, &specs());
    assert!(fs::read(images.path("1")).unwrap() == fs::read(images.path("2")).unwrap());
}

#[test]
fn drawn_identifiers_differ() {
    let images = Images::new();
    let mut specs = specs();
    for spec in &mut specs {
        spec.part_guid = None;
    }
    let one = create(images.path("1"), 16 * MIB, 512, &specs, None).unwrap();
    let two = create(images.path("2"), 16 * MIB, 512, &specs, None).unwrap();
    assert_ne!(one.disk_guid, two.disk_guid);
    assert_ne!(one.partitions[0].part_guid, two.partitions[0].part_guid);
}

#[test]
fn existing_file_is_left_alone() {
    let images = Images::new();
    let path = images.path("disk");
    fs::write(&path, b"somebody's").unwrap();
    let error = create(&path, 16 * MIB, 512, &specs(), None).unwrap_err();
    assert!(error.to_string().contains("disk"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's");
}

#[test]
fn disks_that_cannot_be_made_leave_no_file() {
    let images = Images::new();
    let path = images.path("disk");
    let with = |change: &dyn Fn(&mut PartitionSpec)| {
        let mut specs = specs();
        change(&mut specs[1]);
        specs
    };
    for (size, block, specs) in [
        (16 * MIB, 1024, specs()),
        (16 * MIB + 512, 512, specs()),
        (2 * MIB, 512, vec![]),
        (9 * MIB, 512, specs()),
        // The last megabyte holds the backup table.
        (10 * MIB, 512, specs()),
        (16 * MIB, 512, with(&|spec| spec.size_bytes = 0)),
        (16 * MIB, 512, with(&|spec| spec.size_bytes = 4097)),
        (16 * MIB, 512, with(&|spec| spec.size_bytes = u64::MAX - 4095)),
        (16 * MIB, 512, with(&|spec| spec.name = "x".repeat(37))),
        (16 * MIB, 512, with(&|spec| spec.name = "a\0b".to_owned())),
        (16 * MIB, 512, with(&|spec| spec.type_guid = Uuid::nil())),
        (16 * MIB, 512, with(&|spec| spec.part_guid = Some(Uuid::from_u128(11)))),
    ] {
        create(&path, size, block, &specs, None).unwrap_err();
        assert!(!path.exists());
    }
}

#[test]
fn partition_not_found_names_what_there_is() {
    let images = Images::new();
    let table = make(&images.path("disk"), 512, &specs());
    let message = table.find_name("stillboot-c").unwrap_err().to_string();
    for part in ["disk", "`stillboot-c`", "2 `stillboot-a`", "00000000000d"] {
        assert!(message.contains(part), "{message}");
    }
    let message = table.find_part_guid(Uuid::from_u128(99)).unwrap_err().to_string();
    assert!(message.contains("000000000063"), "{message}");
}

#[test]
fn name_given_twice_is_ambiguous() {
    let images = Images::new();
    let mut specs = specs();
    specs[2].name = specs[1].name.clone();
    let table = make(&images.path("disk"), 512, &specs);
    let error = table.find_name("stillboot-a").unwrap_err();
    assert!(matches!(error, TableError::Ambiguous { first: 2, second: 3, .. }), "{error}");
}

#[test]
fn damaged_primary_gives_way_to_the_backup() {
    let images = Images::new();
    for block in [512u32, 4096] {
        let path = images.path(&format!("{block}"));
        let made = make(&path, block, &specs());
        let bytes = fs::read(&path).unwrap();
        // The header, then one entry.
        for offset in [u64::from(block) + 60, 2 * u64::from(block) + 60] {
            fs::write(&path, &bytes).unwrap();
            change(&path, offset, &[0x5A]);
            let table = Table::read(&path, None).unwrap();
            assert!(table.is_backup);
            assert_eq!(table.partitions, made.partitions);
        }
    }
}

#[test]
fn disk_without_any_valid_table_says_why() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    change(&path, 512, &[0; 512]);
    change(&path, 16 * MIB - 512, &[0; 512]);
    let message = Table::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("primary") && message.contains("backup"), "{message}");

    fs::write(&path, b"short").unwrap();
    assert!(matches!(Table::read(&path, None), Err(TableError::NoTable { .. })));
    assert!(matches!(Table::read(&path, Some(8)), Err(TableError::LogicalBlock { asked: 8 })));
    let error = Table::read(images.path("none"), None).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
}

/// A disk formatted for one sector size and then for the other keeps the older table's header: the
/// protective MBR covers 512 bytes only.
#[test]
fn tables_for_both_sector_sizes_need_a_word() {
    let images = Images::new();
    let (old, new) = (images.path("old"), images.path("new"));
    make(&old, 512, &[]);
    make(&new, 4096, &specs());
    let old = fs::read(old).unwrap();
    // An old table whose entries lie elsewhere.
    change(
        &new,
        512,
        &rewritten(&old[512..1024], |header| {
            header[72..80].copy_from_slice(&(8 * MIB / 512).to_le_bytes());
        }),
    );
    assert!(matches!(Table::read(&new, None), Err(TableError::TwoTables { .. })));
    assert_eq!(Table::read(&new, Some(4096)).unwrap().partitions.len(), 3);
    assert_eq!(Table::read(&new, Some(512)).unwrap().partitions.len(), 0);
}

/// Changes a header and makes its checksum right again.
fn rewritten(header: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut header = header.to_vec();
    change(&mut header);
    header[16..20].fill(0);
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Forged headers with right checksums, of the kinds that made partition tools panic, read for
/// hours, or write outside of the disk.
#[test]
fn forged_headers_are_refused() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    change(&path, 16 * MIB - 512, &[0; 512]);
    let good = fs::read(&path).unwrap()[512..1024].to_vec();
    for (what, offset, value) in [
        ("entries of 64 bytes", 84, 64u64),
        ("entries of 0 bytes", 84, 0),
        ("four billion entries", 80, u64::from(u32::MAX) | 128 << 32),
        ("a place elsewhere", 24, 7),
        ("entries past the end", 72, u64::MAX / 512),
        ("partitions past the end", 48, 1 << 40),
        ("no space for partitions", 40, 1 << 40),
        ("partitions over the header", 40, 0),
    ] {
        let len = if offset == 84 { 4 } else { 8 };
        let forged = rewritten(&good, |header| {
            header[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
        });
        change(&path, 512, &forged);
        assert!(matches!(Table::read(&path, None), Err(TableError::NoTable { .. })), "{what}");
    }
    change(&path, 512, &good);
    Table::read(&path, None).unwrap();
}

#[test]
fn partitions_that_overlap_or_leave_the_disk_are_refused() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    change(&path, 16 * MIB - 512, &[0; 512]);
    let good = fs::read(&path).unwrap()[..MIB as usize].to_vec();
    let second = 1024 + 128;
    for (what, offset, lba) in [
        ("starts in the first", second + 32, 2 * MIB / 512),
        ("ends in the third", second + 40, 8 * MIB / 512),
        ("ends past the end", second + 40, 32 * MIB / 512),
        ("ends before it starts", second + 40, 1),
        ("starts in the table", second + 32, 3),
    ] {
        let mut bytes = good.clone();
        bytes[offset..offset + 8].copy_from_slice(&lba.to_le_bytes());
        let entries = crc32(&bytes[1024..1024 + 128 * 128]);
        let header = rewritten(&bytes[512..1024], |header| {
            header[88..92].copy_from_slice(&entries.to_le_bytes());
        });
        bytes[512..1024].copy_from_slice(&header);
        change(&path, 0, &bytes);
        assert!(matches!(Table::read(&path, None), Err(TableError::NoTable { .. })), "{what}");
    }
}
