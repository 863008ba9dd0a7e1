use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::{fs, io};

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::{Slot, names};
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
        spec(names::RECORD_PARTITION, guid::RECORD, 3 * MIB + 4096, 11),
        spec(names::slot_partition(Slot::A), guid::SLOT, 2 * MIB, 12),
        spec(names::slot_partition(Slot::B), guid::SLOT, 3 * MIB, 13),
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
        assert_eq!(record.len_bytes, 3 * MIB + 4096);
        assert_eq!(record.type_guid, guid::RECORD);
        // Aligned again behind a length that is not.
        assert_eq!((a.start_bytes, a.len_bytes), (5 * MIB, 2 * MIB));
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
    change(&path, 600, &[1]);
    change(&path, 16 * MIB - 512 + 88, &[1]);
    let message = Table::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("primary") && message.contains("backup"), "{message}");

    fs::write(&path, b"short").unwrap();
    assert!(matches!(Table::read(&path, None), Err(TableError::NoDisk { bytes: 5, .. })));
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

/// Sets one entry's field and makes both checksums right again.
fn rewrite_entry(path: &Path, index: usize, field: usize, lba: u64) {
    let mut bytes = fs::read(path).unwrap()[..MIB as usize].to_vec();
    let at = 1024 + index * 128 + field;
    bytes[at..at + 8].copy_from_slice(&lba.to_le_bytes());
    let entries = crc32(&bytes[1024..1024 + 128 * 128]);
    let header = rewritten(&bytes[512..1024], |header| {
        header[88..92].copy_from_slice(&entries.to_le_bytes());
    });
    bytes[512..1024].copy_from_slice(&header);
    change(path, 0, &bytes);
}

/// Whatever is odd about what belongs to others, the disk is still ours.
#[test]
fn one_foreign_odd_entry_does_not_refuse_the_disk_and_one_of_ours_does() {
    let images = Images::new();
    let foreign = |name: &str| PartitionSpec {
        name: name.to_owned(),
        type_guid: Uuid::from_u128(99),
        size_bytes: MIB,
        part_guid: None,
    };
    let last = 16 * MIB / 512;
    for (number, (what, fields, skipped)) in [
        ("lies in the table", &[(32, 3), (40, 4)][..], 1),
        ("ends past the end", &[(40, 1 << 40)], 1),
        ("lies past the end", &[(32, last + 5), (40, last + 6)], 1),
        ("ends at no block at all", &[(40, u64::MAX)], 1),
        ("ends before it starts", &[(40, 1)], 1),
        ("shares blocks with another foreign one", &[(32, 10 * MIB / 512 + 5)], 2),
    ]
    .into_iter()
    .enumerate()
    {
        let path = images.path(&format!("foreign-{number}"));
        let mut all = specs();
        all.extend([foreign("more"), foreign("data")]);
        make(&path, 512, &all);
        fields.iter().for_each(|(field, lba)| rewrite_entry(&path, 4, *field, *lba));
        let table = Table::read(&path, None).expect(what);
        assert!(!table.is_backup, "{what}");
        assert_eq!(table.partitions.len(), 5 - skipped, "{what}: {:?}", table.notes);
        assert_eq!(table.notes.len(), skipped, "{what}");
        assert!(table.notes[skipped - 1].contains("5 `data`"), "{:?}", table.notes);

        // The same of one that is ours, by its type alone.
        let path = images.path(&format!("ours-{number}"));
        all[4].type_guid = guid::SLOT;
        make(&path, 512, &all);
        fields.iter().for_each(|(field, lba)| rewrite_entry(&path, 4, *field, *lba));
        assert!(matches!(Table::read(&path, None), Err(TableError::NoTable { .. })), "{what}");
    }
    // A foreign one that is over one of ours.
    let path = images.path("over");
    let mut all = specs();
    all.push(foreign("data"));
    make(&path, 512, &all);
    rewrite_entry(&path, 3, 32, 8 * MIB / 512);
    let message = Table::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("partition 3 overlaps partition 4"), "{message}");
}

#[test]
fn a_table_counts_only_under_a_protective_mbr() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    let whole = fs::read(&path).unwrap();
    for (what, offset, bytes) in [
        ("no signature", 510, &[0, 0][..]),
        ("another type", 450, &[0x83]),
        ("another start", 454, &[2]),
        ("zeros", 446, &[0; 66]),
    ] {
        fs::write(&path, &whole).unwrap();
        change(&path, offset, bytes);
        let message = Table::read(&path, None).unwrap_err().to_string();
        assert!(message.contains("does not count"), "{what}: {message}");
    }
    // A hybrid one counts.
    fs::write(&path, &whole).unwrap();
    change(&path, 462, &dos_entry(5 * MIB / 512, 2 * MIB / 512));
    Table::read(&path, None).unwrap();
}

/// An entry of a DOS partition table.
fn dos_entry(start: u64, len: u64) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&(start as u32).to_le_bytes());
    entry[12..].copy_from_slice(&(len as u32).to_le_bytes());
    entry
}

#[test]
fn a_backup_that_the_mbr_contradicts_is_not_used() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    change(&path, 600, &[1]);
    // As slot a is in the table.
    change(&path, 462, &dos_entry(5 * MIB / 512, 2 * MIB / 512));
    assert!(Table::read(&path, None).unwrap().is_backup);
    change(&path, 478, &dos_entry(11 * MIB / 512, MIB / 512));
    let message = Table::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("the MBR has a partition"), "{message}");
    let message = repaired(&path).unwrap_err().to_string();
    assert!(message.contains("--over-label"), "{message}");
    chosen(&path, RepairOptions { over_label: true, ..RepairOptions::default() }).unwrap();
    assert!(!Table::read(&path, None).unwrap().is_backup);
}

/// The disk has grown: the last block is empty, and the header still knows.
#[test]
fn a_sound_header_leads_to_its_own_backup() {
    let images = Images::new();
    for block in [512_u32, 4096] {
        let path = images.path(&format!("{block}"));
        let made = make(&path, block, &specs());
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20 * MIB).unwrap();
        change(&path, 2 * u64::from(block) + 60, &[0x5a]);
        let table = Table::read(&path, None).unwrap();
        assert!(table.is_backup);
        assert_eq!(table.partitions, made.partitions);
        // That backup is of another disk.
        let other = images.path(&format!("other-{block}"));
        create(&other, 16 * MIB, block, &specs(), Some(Uuid::from_u128(2))).unwrap();
        let tail = fs::read(other).unwrap()[(16 * MIB - MIB) as usize..].to_vec();
        change(&path, 16 * MIB - MIB, &tail);
        let message = Table::read(&path, None).unwrap_err().to_string();
        assert!(message.contains("another disk's GUID"), "{message}");
    }
}

#[test]
fn a_table_in_sectors_of_the_other_size_is_named() {
    let images = Images::new();
    for (made, asked) in [(512, 4096), (4096, 512)] {
        let path = images.path(&format!("{made}"));
        make(&path, made, &specs());
        let message = Table::read(&path, Some(asked)).unwrap_err().to_string();
        for part in [format!("sectors of {made} bytes"), format!("the disk has {asked}")] {
            assert!(message.contains(&part), "{message}");
        }
    }
}

fn repaired(path: &Path) -> Result<Vec<&'static str>, TableError> {
    chosen(path, RepairOptions::default())
}

fn chosen(path: &Path, choice: RepairOptions) -> Result<Vec<&'static str>, TableError> {
    repair(&mut crate::FileDevice::open(path, crate::OpenOptions::default()).unwrap(), choice)
}

const fn from(source: Source) -> RepairOptions {
    RepairOptions { from: Some(source), over_label: false }
}

/// Every kind of damage that leaves one copy: afterwards both are as they were made.
#[test]
fn repair_restores_what_is_missing_and_touches_no_partition() {
    let images = Images::new();
    for block in [512_u32, 4096] {
        let at = |lba: u64| lba * u64::from(block);
        let path = images.path(&format!("{block}"));
        make(&path, block, &specs());
        change(&path, 5 * MIB, b"in slot a");
        let whole = fs::read(&path).unwrap();
        assert_eq!(repaired(&path).unwrap(), [""; 0]);
        assert!(fs::read(&path).unwrap() == whole);
        let end = 16 * MIB - at(1);
        for damage in [
            vec![(at(1) + 60, 4)],
            vec![(at(1), 92)],
            vec![(at(2) + 60, 4)],
            vec![(at(1), 92), (at(2), 16384)],
            vec![(end, 92)],
            vec![(end + 20, 2)],
            vec![(16 * MIB - 16384, 1)],
            vec![(446, 66)],
            vec![(0, 512), (at(1), 92), (at(2), 16384)],
            vec![(446, 66), (end, 92)],
        ] {
            fs::write(&path, &whole).unwrap();
            for (offset, len) in &damage {
                let old = &whole[*offset as usize..][..*len];
                let new: Vec<_> = old.iter().map(|b| if *len < 16 { !b } else { 0 }).collect();
                change(&path, *offset, &new);
            }
            let damaged = fs::read(&path).unwrap();
            let done = repaired(&path).unwrap();
            assert_eq!(done.is_empty(), damaged == whole, "{damage:?}");
            let same = fs::read(&path).unwrap();
            let differs = |at: &usize| same[*at] != whole[*at];
            // Cylinders, heads and sectors of the protective partition mean nothing.
            let first = (0..whole.len()).filter(|at| !(447..454).contains(at)).find(differs);
            assert!(first.is_none(), "{damage:?}: byte {first:?} after {done:?}");
        }
    }
}

#[test]
fn repair_moves_the_backup_of_a_disk_that_has_grown() {
    let images = Images::new();
    for block in [512_u32, 4096] {
        for primary_is_whole in [true, false] {
            let path = images.path(&format!("{block}-{primary_is_whole}"));
            let made = make(&path, block, &specs());
            if !primary_is_whole {
                change(&path, u64::from(block) + 60, &[0x5a]);
            }
            let grown = 20 * MIB + 512;
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(grown).unwrap();
            let done = repaired(&path).unwrap();
            assert!(done.contains(&"wrote the backup table to the end of the disk"), "{done:?}");
            assert_eq!(Table::read(&path, None).unwrap(), made_again(&made, &path));
            // The backup is one: without the primary it is read, and restores it.
            change(&path, u64::from(block), &[0; 92]);
            let table = Table::read(&path, None).unwrap();
            assert!(table.is_backup);
            assert_eq!(table.partitions, made.partitions);
            assert_eq!(repaired(&path).unwrap().len(), 1);
            assert_eq!(repaired(&path).unwrap(), [""; 0]);
        }
    }
}

fn made_again(made: &Table, path: &Path) -> Table {
    let read = Table::read(path, None).unwrap();
    assert_eq!(read.partitions, made.partitions);
    assert!(!read.is_backup);
    read
}

/// Zeros an entry of the primary, with both checksums right: it is whole, and another table.
fn drop_entry(path: &Path, index: usize) {
    change(path, 1024 + index as u64 * 128, &[0; 128]);
    rewrite_entry(path, index, 32, 0);
}

/// Rewrites the header of the primary, with its checksum right.
fn rewrite_header(path: &Path, field: usize, value: &[u8]) {
    let header = fs::read(path).unwrap()[512..1024].to_vec();
    let header = rewritten(&header, |header| {
        header[field..field + value.len()].copy_from_slice(value);
    });
    change(path, 512, &header);
}

#[test]
fn of_two_whole_tables_that_differ_the_user_says_which_is_right() {
    let images = Images::new();
    let path = images.path("disk");
    let made = make(&path, 512, &specs());
    let whole = fs::read(&path).unwrap();
    for index in 0..3 {
        fs::write(&path, &whole).unwrap();
        drop_entry(&path, index);
        let before = fs::read(&path).unwrap();
        let message = repaired(&path).unwrap_err().to_string();
        for part in
            [&format!("partition {}", index + 1), "disk repair --from primary` or `--from backup`"]
        {
            assert!(message.contains(part), "{message}");
        }
        assert!(fs::read(&path).unwrap() == before, "nothing was written");
        chosen(&path, from(Source::Backup)).unwrap();
        assert_eq!(Table::read(&path, None).unwrap(), made);
        assert_eq!(repaired(&path).unwrap(), [""; 0]);
        fs::write(&path, &before).unwrap();
        chosen(&path, from(Source::Primary)).unwrap();
        assert_eq!(Table::read(&path, None).unwrap().partitions.len(), 2);
        assert_eq!(repaired(&path).unwrap(), [""; 0]);
    }
    // A backup elsewhere, which the primary names.
    fs::write(&path, &whole).unwrap();
    drop_entry(&path, 1);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20 * MIB).unwrap();
    assert!(repaired(&path).unwrap_err().to_string().contains("--from backup"));
    chosen(&path, from(Source::Backup)).unwrap();
    assert_eq!(Table::read(&path, None).unwrap().partitions, made.partitions);
    // What was chosen is not whole.
    change(&path, 600, &[1]);
    let message = chosen(&path, from(Source::Primary)).unwrap_err().to_string();
    assert!(message.contains("the primary table is not whole"), "{message}");
}

/// What is odd in a table, and no partition of ours, keeps none of them from being restored.
#[test]
fn repair_restores_where_only_the_tables_themselves_are_odd() {
    let images = Images::new();
    let foreign = PartitionSpec {
        name: "data".into(),
        type_guid: Uuid::from_u128(99),
        size_bytes: MIB,
        part_guid: None,
    };
    let mut all = specs();
    all.push(foreign);
    let path = images.path("disk");
    let made = make(&path, 512, &all);
    let whole = fs::read(&path).unwrap();
    let last = 16 * MIB / 512 - 1;
    let restored = |what: &str, choice: RepairOptions| {
        chosen(&path, choice).expect(what);
        let found = Table::read(&path, None).expect(what);
        assert_eq!(
            (&found.partitions[..3], found.is_backup),
            (&made.partitions[..3], false),
            "{what}"
        );
        assert_eq!(repaired(&path).expect(what), [""; 0], "{what}");
        fs::write(&path, &whole).unwrap();
    };

    // A foreign partition beyond the disk, in both copies, and no protective MBR.
    rewrite_entry(&path, 3, 32, 1_000_000_000);
    rewrite_entry(&path, 3, 40, 1_000_000_005);
    chosen(&path, from(Source::Primary)).unwrap();
    assert_eq!(repaired(&path).unwrap(), [""; 0]);
    change(&path, 446, &[0; 66]);
    restored("a foreign partition beyond the disk", RepairOptions::default());

    // A foreign one over slot a, in the primary.
    rewrite_entry(&path, 3, 32, 5 * MIB / 512);
    let message = repaired(&path).unwrap_err().to_string();
    for part in ["overlaps partition", "--from backup"] {
        assert!(message.contains(part), "{message}");
    }
    restored("a foreign partition over slot a", from(Source::Backup));

    // The primary says that its backup is nowhere.
    rewrite_header(&path, 32, &u64::MAX.to_le_bytes());
    change(&path, 1024 + 60, &[0x5a]);
    assert!(Table::read(&path, None).unwrap().is_backup);
    restored("an alternate off the disk", RepairOptions::default());

    for at in [3, 40, 7000, 24_000_u64] {
        rewrite_header(&path, 72, &at.to_le_bytes());
        restored("entries elsewhere", RepairOptions::default());
    }
    rewrite_header(&path, 48, &(last - 32).to_le_bytes());
    restored("room for partitions where the backup is", RepairOptions::default());

    for count in [129_u32, 1000] {
        let bytes = fs::read(&path).unwrap()[1024..][..count as usize * 128].to_vec();
        rewrite_header(&path, 88, &crc32(&bytes).to_le_bytes());
        rewrite_header(&path, 80, &count.to_le_bytes());
        assert!(!Table::read(&path, None).unwrap().is_backup);
        restored("more entries", RepairOptions::default());
    }
}

#[test]
fn repair_writes_the_backup_of_a_disk_that_has_shrunk_where_there_is_room() {
    let images = Images::new();
    let path = images.path("disk");
    let made = make(&path, 512, &specs());
    let shorten = |len| fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len);
    shorten(16 * MIB - 40 * 512).unwrap();
    assert!(Table::read(&path, None).is_err());
    repaired(&path).unwrap();
    assert_eq!(Table::read(&path, None).unwrap(), made);
    assert_eq!(repaired(&path).unwrap(), [""; 0]);
    // The last slot ends at 10 MiB.
    shorten(10 * MIB + 32 * 512).unwrap();
    let before = fs::read(&path).unwrap();
    let message = repaired(&path).unwrap_err().to_string();
    for part in ["ends in block 20479", "33 blocks", "is 20511", "too small"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(fs::read(&path).unwrap() == before, "nothing was written");
    shorten(10 * MIB + 33 * 512).unwrap();
    repaired(&path).unwrap();
    assert_eq!(Table::read(&path, None).unwrap(), made);
}

/// A reader of a disk that has no table is told of the repair if it helps, else what the repair
/// itself would say.
#[test]
fn the_repair_is_named_exactly_where_it_restores_the_table() {
    let images = Images::new();
    let path = images.path("disk");
    for block in [512_u32, 4096] {
        let at = |lba: u64| lba * u64::from(block);
        let (all, end) = (16 * MIB, 16 * MIB - at(1));
        // What is zeroed, how long the disk is then, and what keeps it from being restored.
        type Damage<'a> = (&'a [(u64, u64)], u64, &'a str);
        let cases: &[Damage<'_>] = &[
            (&[(0, at(1))], all, ""),
            (&[(0, at(2) + 16384)], all, ""),
            (&[(0, 65536)], all, ""),
            (&[(0, MIB)], all, ""),
            (&[(446, 66)], all, ""),
            (&[(446, 66), (end, 92)], all, ""),
            (&[], all - at(40), ""),
            (&[], 10 * MIB + 16384 + at(1), ""),
            (&[], 10 * MIB + 16384, "no partition is cut off"),
            (&[], 10 * MIB, "no partition is cut off"),
            (&[], 9 * MIB, "copy it again in full"),
            (&[], 6 * MIB, "copy it again in full"),
            (&[(at(1), 92), (end, 92)], all, "no partition table"),
            (&[(at(2), 16384), (end - 16384, 16384)], all, "neither copy"),
            (&[(446, 66), (at(2), 16384), (end - 16384, 16384)], all, "neither copy"),
            (&[(0, all)], all, "no partition table"),
        ];
        for case in cases {
            let (zeros, len, obstacle) = *case;
            let _ = fs::remove_file(&path);
            let made = make(&path, block, &specs());
            zeros.iter().for_each(|(at, len)| change(&path, *at, &vec![0; *len as usize]));
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
            let message = Table::read(&path, None).unwrap_err().to_string();
            let before = fs::read(&path).unwrap();
            match repaired(&path) {
                Ok(_) => {
                    assert_eq!(obstacle, "", "{case:?}");
                    assert!(message.contains("`stillboot disk repair`"), "{case:?}: {message}");
                    assert_eq!(Table::read(&path, None).unwrap().partitions, made.partitions);
                }
                Err(error) => {
                    let (TableError::NoTable { why, .. } | TableError::NotRestored { why, .. }) =
                        error
                    else {
                        panic!("{case:?}: {error}")
                    };
                    assert!(!obstacle.is_empty() && why.contains(obstacle), "{case:?}: {why}");
                    assert!(message.ends_with(&why), "{case:?}: {message}; the repair: {why}");
                    // Only where there is something to be done before it.
                    let is_named = message.contains("disk repair`");
                    assert_eq!(is_named, message.contains("truncate"), "{case:?}: {message}");
                    assert!(fs::read(&path).unwrap() == before, "{case:?}: nothing was written");
                }
            }
        }
    }
    // A space for partitions without an end, in both copies.
    let _ = fs::remove_file(&path);
    let made = make(&path, 512, &specs());
    let bytes = fs::read(&path).unwrap();
    for at in [512, bytes.len() - 512] {
        let endless =
            |header: &mut [u8]| header[48..56].copy_from_slice(&(1_u64 << 63).to_le_bytes());
        change(&path, at as u64, &rewritten(&bytes[at..at + 512], endless));
    }
    let message = Table::read(&path, None).unwrap_err().to_string();
    assert!(message.contains("`stillboot disk repair` makes the table fit"), "{message}");
    repaired(&path).unwrap();
    assert_eq!(Table::read(&path, None).unwrap(), made);
}

/// What is said about a disk that is too small can be done, and is enough.
#[test]
fn a_disk_of_the_size_that_is_named_is_restored() {
    let images = Images::new();
    let path = images.path("disk");
    for block in [512_u32, 4096] {
        let _ = fs::remove_file(&path);
        let made = make(&path, block, &specs());
        let resize = |len| fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len);
        resize(10 * MIB).unwrap();
        let message = Table::read(&path, None).unwrap_err().to_string();
        let (_, size) = message.split_once("truncate -s ").expect(&message);
        let size: u64 = size.split(' ').next().unwrap().parse().unwrap();
        resize(size - 1).unwrap();
        assert!(repaired(&path).unwrap_err().to_string().contains("too small"));
        resize(size).unwrap();
        repaired(&path).unwrap();
        assert_eq!(Table::read(&path, None).unwrap().partitions, made.partitions);
        assert_eq!(repaired(&path).unwrap(), [""; 0]);
    }
}

/// A table that counts, with a partition up to the end: a repair is not promised there.
#[test]
fn a_backup_that_has_no_place_is_said_to_have_none() {
    let images = Images::new();
    let path = images.path("disk");
    let last = 16 * MIB / 512 - 1;
    for (room, part) in [(33, "`stillboot disk repair` restores it"), (32, "too small")] {
        let _ = fs::remove_file(&path);
        make(&path, 512, &specs());
        rewrite_header(&path, 48, &last.to_le_bytes());
        rewrite_entry(&path, 2, 40, last - room);
        change(&path, 16 * MIB - 512, &[0; 92]);
        let disk = crate::disk::Disk::open(&path, true).unwrap();
        assert!(disk.warnings.iter().any(|warning| warning.contains(part)), "{:?}", disk.warnings);
        drop(disk);
        assert_eq!(repaired(&path).is_ok(), room == 33);
    }
}

/// A disk that was grown, partitioned again and cut short again ends with the backup of before.
#[test]
fn an_older_backup_at_the_end_of_a_shortened_disk_overwrites_no_primary_unasked() {
    let images = Images::new();
    let (path, old) = (images.path("disk"), images.path("old"));
    let before = make(&old, 512, &specs()[..2]);
    let tail = fs::read(&old).unwrap()[(15 * MIB) as usize..].to_vec();
    let made = create(&path, 20 * MIB, 512, &specs(), Some(Uuid::from_u128(1))).unwrap();
    change(&path, 15 * MIB, &tail);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(16 * MIB).unwrap();
    let cut = fs::read(&path).unwrap();
    let disk = crate::disk::Disk::open(&path, true).unwrap();
    let warnings = disk.warnings.join("; ");
    drop(disk);
    for message in [warnings, repaired(&path).unwrap_err().to_string()] {
        for part in ["`stillboot-b` in blocks", "--from primary` or `--from backup`"] {
            assert!(message.contains(part), "{message}");
        }
    }
    assert!(fs::read(&path).unwrap() == cut, "nothing was written");
    for (source, expected) in [(Source::Primary, made), (Source::Backup, before)] {
        fs::write(&path, &cut).unwrap();
        chosen(&path, from(source)).unwrap();
        assert_eq!(Table::read(&path, None).unwrap().partitions, expected.partitions);
        assert_eq!(repaired(&path).unwrap(), [""; 0]);
    }
}

/// A disk that was given another use is not written to.
#[test]
fn repair_refuses_what_was_partitioned_or_formatted_again() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    let whole = fs::read(&path).unwrap();
    for (what, offset, bytes) in [
        ("a DOS partition", 446, &dos_entry(2048, 100)[..]),
        ("a file system", 0, &[0xeb, 0x58, 0x90]),
    ] {
        fs::write(&path, &whole).unwrap();
        change(&path, 446, &[0; 64]);
        change(&path, offset, bytes);
        let before = fs::read(&path).unwrap();
        let message = repaired(&path).unwrap_err().to_string();
        assert!(message.contains("another use"), "{what}: {message}");
        assert!(message.contains("--over-label` overwrites"), "{what}: {message}");
        assert!(fs::read(&path).unwrap() == before, "{what}");
        chosen(&path, RepairOptions { over_label: true, ..RepairOptions::default() }).unwrap();
        let now = fs::read(&path).unwrap();
        assert!(now[512..] == whole[512..] && now[..446] == whole[..446], "{what}");
        assert!(!Table::read(&path, None).unwrap().is_backup, "{what}");
        assert_eq!(repaired(&path).unwrap(), [""; 0], "{what}");
    }
    // Neither copy.
    fs::write(&path, &whole).unwrap();
    change(&path, 600, &[1]);
    change(&path, 16 * MIB - 512 + 88, &[1]);
    let message = repaired(&path).unwrap_err().to_string();
    assert!(message.contains("primary") && message.contains("backup"), "{message}");
    // Cut short, into the last slot.
    fs::write(&path, &whole).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9 * MIB).unwrap();
    assert!(repaired(&path).is_err());
}

/// Wherever the power fails in a repair, a table counts, or the repair goes on.
#[test]
fn a_repair_that_was_cut_short_is_done_again() {
    let images = Images::new();
    let path = images.path("disk");
    let made = make(&path, 512, &specs());
    let mut damaged = fs::read(&path).unwrap();
    damaged[512..600].fill(0);
    damaged.resize((20 * MIB) as usize, 0);
    fs::write(&path, &damaged).unwrap();
    repaired(&path).unwrap();
    let done = fs::read(&path).unwrap();
    // What differs, in the order of the writes, each sector a place to stop.
    let sectors = |range: std::ops::Range<u64>| range.map(|lba| lba as usize * 512);
    let blocks = 20 * MIB / 512;
    let order: Vec<_> =
        sectors(2..34).chain(sectors(1..2)).chain(sectors(blocks - 33..blocks)).collect();
    for cut in 0..=order.len() {
        let mut bytes = damaged.clone();
        for at in &order[..cut] {
            bytes[*at..at + 512].copy_from_slice(&done[*at..at + 512]);
        }
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Table::read(&path, None).unwrap().partitions, made.partitions, "cut {cut}");
        repaired(&path).unwrap();
        assert!(fs::read(&path).unwrap() == done, "cut {cut}");
    }
}

/// A disk with bad sectors, read and written in pages: a read fails if one is in any of its pages, a
/// write if one is in a page that it writes a part of.
struct Bad {
    file: fs::File,
    sectors: RefCell<BTreeSet<u64>>,
    page: u64,
    /// Whether a bad sector is a good one after it was written.
    heals: bool,
}

impl Bad {
    fn new(path: &Path, sectors: &[u64], page: u64, heals: bool) -> Self {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self { file, sectors: RefCell::new(sectors.iter().copied().collect()), page, heals }
    }

    fn is_bad(&self, start: u64, end: u64) -> bool {
        self.sectors.borrow().range(start / 512..end.div_ceil(512)).next().is_some()
    }

    fn repaired(&self, bytes: u64) -> Result<Vec<&'static str>, String> {
        let plan = repair::plan(self, bytes, &[512, 4096], RepairOptions::default()).unwrap();
        let mut device = Device(self, Geometry::disk(512, bytes));
        let done = plan.write(&mut device).unwrap();
        plan.read_back(&mut device, &done).map(|()| done)
    }
}

impl FileExt for Bad {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = (offset + into.len() as u64).next_multiple_of(self.page);
        if self.is_bad(offset - offset % self.page, end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (page, end) = (self.page, offset + bytes.len() as u64);
        let is_cut = |at: u64| {
            let start = at - at % page;
            at != start && self.is_bad(start, start + page)
        };
        if is_cut(offset) || is_cut(end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.heals {
            self.sectors.borrow_mut().retain(|at| !(offset / 512..end / 512).contains(at));
        }
        self.file.write_at(bytes, offset)
    }
}

struct Device<'a>(&'a Bad, Geometry);

impl BlockDevice for Device<'_> {
    fn geometry(&self) -> Geometry {
        self.1
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read_exact_at(into, offset).map_err(|_| DeviceError::Io)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.write_all_at(bytes, offset).map_err(|_| DeviceError::Io)
    }

    fn erase(&mut self, _: u64, _: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

const BYTES: u64 = 16 * MIB;
const LAST: u64 = BYTES / 512 - 1;

/// The protective MBR, a header or entries on bad sectors, which writing heals: with the other copy
/// all of it is as before.
#[test]
fn repair_writes_what_cannot_be_read() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    let whole = fs::read(&path).unwrap();
    for page in [512, 4096] {
        for sectors in [
            &[0][..],
            &[0, 1],
            &[1],
            &[0, 1, 2],
            &[0, 1, 2, 33],
            &[5],
            &[LAST],
            &[LAST - 32],
            &[LAST - 32, LAST],
        ] {
            fs::write(&path, &whole).unwrap();
            let bad = Bad::new(&path, sectors, page, true);
            let (found, errors) = look::look(&bad, BYTES, &[512, 4096]);
            let what = format!("{sectors:?} in pages of {page}");
            // Nothing is found exactly where the first sector cannot be read.
            assert_eq!(found.is_empty(), sectors[0] * 512 < page, "{what}");
            if found.is_empty() {
                let message = errors[0].1.to_string();
                assert!(message.contains("first sector") && message.contains("I/O"), "{message}");
                let plan =
                    repair::plan(&bad, BYTES, &[512, 4096], RepairOptions::default()).unwrap();
                let promise = plan.promise(&message);
                assert!(promise.contains("`stillboot disk repair`"), "{what}: {promise}");
            }
            assert!(!bad.repaired(BYTES).expect(&what).is_empty(), "{what}");
            let same = fs::read(&path).unwrap();
            // Behind the cylinders, heads and sectors of the protective partition.
            assert!(same[..447] == whole[..447] && same[454..] == whole[454..], "{what}");
            assert_eq!(bad.repaired(BYTES), Ok(vec![]), "{what}");
        }
    }
    // One of each copy: the first sector cannot be read, and there is nothing to restore from.
    let bad = Bad::new(&path, &[0, 9, LAST - 3], 512, true);
    let plan = repair::plan(&bad, BYTES, &[512, 4096], RepairOptions::default());
    assert!(matches!(plan, Err(repair::RepairRefusal::Absent)));
}

/// What cannot be read after it was written was not restored.
#[test]
fn repair_says_what_does_not_read_back() {
    let images = Images::new();
    let path = images.path("disk");
    for (sector, words) in [
        (0, "the protective MBR: it cannot be read"),
        (1, "the primary table: it cannot be read"),
        (20, "the primary table: it cannot be read"),
        (LAST - 9, "the backup table: it cannot be read"),
        (LAST, "the backup table: it cannot be read"),
    ] {
        let _ = fs::remove_file(&path);
        make(&path, 512, &specs());
        let message = Bad::new(&path, &[sector], 512, false).repaired(BYTES).unwrap_err();
        for part in [words, "read back", "copy it to another one"] {
            assert!(message.contains(part), "{sector}: {message}");
        }
        assert_eq!(message.matches("it cannot be read").count(), 1, "{sector}: {message}");
    }
}

/// A part of a page is written with the rest of it; where that cannot be read and belongs to a
/// partition, nothing is written.
#[test]
fn repair_writes_no_zeros_into_a_partition() {
    let images = Images::new();
    let path = images.path("disk");
    make(&path, 512, &specs());
    // Partitions may start right behind the table, in the middle of a page.
    rewrite_header(&path, 40, &34_u64.to_le_bytes());
    rewrite_entry(&path, 0, 32, 34);
    chosen(&path, from(Source::Primary)).unwrap();
    change(&path, 34 * 512, b"in the first partition");
    let whole = fs::read(&path).unwrap();
    let bad = Bad::new(&path, &[33], 4096, true);
    let plan = repair::plan(&bad, BYTES, &[512, 4096], RepairOptions::default()).unwrap();
    let mut device = Device(&bad, Geometry::disk(512, BYTES));
    assert_eq!(plan.write(&mut device), Err(DeviceError::Io));
    assert_eq!(fs::read(&path).unwrap()[34 * 512..], whole[34 * 512..]);
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
