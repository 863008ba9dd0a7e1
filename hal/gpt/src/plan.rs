//! Which partition of which disk is what: from partition tables to the core's layout.
//!
//! Names are those of `stillboot-linux`:
//!
//! | partition | holds |
//! |---|---|
//! | `stillboot-record` | the copies of the boot record, at 0, 1 MiB and 2 MiB |
//! | `stillboot-a`, `-b`, `-c`, `-recovery` | the slots, each with its head in the last 32 KiB |
//! | `stillboot-a-rootfs`, ... | a further region of a slot, for components of that role |
//!
//! The boot record is looked for on the own disk first: the disk that the loader came from, or that
//! was named to the tool first. Slots are looked for first on the disk with the record, so that a
//! disk that is plugged in later cannot replace the slots of that disk. Two slots that fit equally
//! count as none. A slot that is unclear is left out and noted; it never stops another.
//!
//! Loaders and the tool call this module, so they see the same slots.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use gpt_disk_types::Guid;
use stillboot::device::Geometry;
use stillboot::format::names::{RECORD_PARTITION, slot_partition};
use stillboot::format::{Role, Slot};
use stillboot::layout::{
    Area, DEVICES_MAX, Layout, LayoutError, PLACES_MIN, Region, SlotLayout, SlotRegion,
};
use stillboot::verify::HEAD_LEN_MAX;

use crate::{Partition, Table};

/// Distance of the copies of the record, in bytes.
pub const RECORD_DISTANCE: u64 = 1 << 20;

/// Least length of the partition with the boot record, in bytes.
pub const RECORD_LEN_MIN: u64 = PLACES_MIN as u64 * RECORD_DISTANCE;

/// Length of a slot's head at the end of its partition, in bytes: trust area, confirmed block,
/// commit block.
pub const HEAD_LEN: u64 = HEAD_LEN_MAX as u64 + 2 * ERASE_BLOCK;

/// Erase blocks of disks, whatever their sectors are.
const ERASE_BLOCK: u64 = 4096;

/// A disk to plan with.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Source<'a> {
    /// Whether the loader came from it, or it was named to the tool first.
    pub is_own: bool,
    /// Its units and size.
    pub geometry: Geometry,
    /// Its partitions.
    pub table: &'a Table,
}

impl<'a> Source<'a> {
    /// A disk with these units and this size, and with this table.
    #[must_use]
    pub const fn new(geometry: Geometry, table: &'a Table) -> Self {
        Self { is_own: false, geometry, table }
    }

    /// The same, stating whether it is the [own](Self::is_own) disk.
    #[must_use]
    pub const fn with_own(mut self, is_own: bool) -> Self {
        self.is_own = is_own;
        self
    }
}

/// A partition that is meant by its PARTUUID: it is not looked for by name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Pinned<'a> {
    /// The name it would have been looked for by, such as `stillboot-a`.
    pub name: &'a str,
    /// Its PARTUUID.
    pub guid: Guid,
}

impl<'a> Pinned<'a> {
    /// The partition with this PARTUUID in place of the one with this name.
    #[must_use]
    pub const fn new(name: &'a str, guid: Guid) -> Self {
        Self { name, guid }
    }
}

/// Which part of which disk is what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The disks in use, by their number among the sources: the core's device 0 is the first.
    pub disks: Vec<usize>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    geometries: Vec<Geometry>,
    record: [Region; PLACES_MIN],
    slots: Vec<PlannedSlot>,
}

/// Where one slot stands.
#[derive(Clone, Debug)]
struct PlannedSlot {
    slot: Slot,
    head: Region,
    regions: Vec<SlotRegion>,
}

/// Why nothing can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PlanError {
    /// The partition of the boot record is not there, or more than one is.
    Record(FindError),
    /// It is too small.
    RecordSize {
        /// Its length in bytes.
        found: u64,
    },
    /// There is no slot that can be used; with why each that is there was left out.
    NoSlots(Vec<String>),
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            // It holds no head.
            Self::Record(FindError::TooShort) => write!(
                f,
                "partition {RECORD_PARTITION} is shorter than one block of {ERASE_BLOCK} bytes: its \
                 three places need {RECORD_LEN_MIN} bytes"
            ),
            Self::Record(error) => write!(f, "partition {RECORD_PARTITION}: {error}"),
            Self::RecordSize { found } => write!(
                f,
                "partition {RECORD_PARTITION} has {found} bytes: its three places need {RECORD_LEN_MIN}"
            ),
            Self::NoSlots(notes) => {
                f.write_str("no slot: expected partitions named stillboot-a and stillboot-b")?;
                notes.iter().try_for_each(|note| write!(f, "; {note}"))
            }
        }
    }
}

impl core::error::Error for PlanError {}

/// Why a partition was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FindError {
    /// None fits.
    Missing,
    /// More than one fits, and nothing says which one is meant.
    Ambiguous,
    /// The update would span more disks than the core takes.
    TooManyDisks,
    /// It does not start at an erase block.
    Unaligned {
        /// First byte of the partition.
        start: u64,
    },
    /// It is shorter than what must stand in it.
    TooShort,
}

impl core::fmt::Display for FindError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Missing => "not found on any disk",
            Self::Ambiguous => "found twice: expected it once",
            Self::TooManyDisks => "on a fifth disk, at most four are used",
            Self::TooShort => "shorter than the 36864 bytes of a head and one block",
            Self::Unaligned { start } => {
                return write!(
                    f,
                    "starts at byte {start}, which is no multiple of {ERASE_BLOCK}: byte {} would \
                     do",
                    start.next_multiple_of(ERASE_BLOCK)
                );
            }
        })
    }
}

impl core::error::Error for FindError {}

/// One-element lists that live as long as the program, for regions of one role each.
const SINGLE_ROLES: [&[Role]; 9] = [
    &[Role::Kernel],
    &[Role::Initramfs],
    &[Role::Cmdline],
    &[Role::Dtbs],
    &[Role::Uki],
    &[Role::Rootfs],
    &[Role::Image],
    &[Role::Data],
    &[Role::Verity],
];

impl Plan {
    /// Looks for record and slots on `sources`.
    ///
    /// # Errors
    /// [`PlanError`] if there is no record or no slot at all.
    pub fn new(sources: &[Source<'_>], pinned: &[Pinned<'_>]) -> Result<Self, PlanError> {
        let mut finder = Finder { sources, pinned, disks: Vec::new(), home: None };
        let home = finder.region(RECORD_PARTITION).map_err(PlanError::Record)?;
        if home.len < RECORD_LEN_MIN {
            return Err(PlanError::RecordSize { found: home.len });
        }
        finder.home = finder.disks.first().copied();
        // At fixed places, so that a partition may grow.
        let record = core::array::from_fn(|number| Region {
            offset: home.offset + number as u64 * RECORD_DISTANCE,
            len: ERASE_BLOCK,
            ..home
        });

        let mut notes = Vec::new();
        let mut slots = Vec::new();
        for slot in Slot::ALL {
            let name = slot_partition(slot);
            match finder.slot(name) {
                Ok((head, regions)) => {
                    // A slot that is too small, or pinned to a partition of another slot, must not
                    // make the other slots unusable.
                    slots.push(PlannedSlot { slot, head, regions });
                    if let Err(error) = finder.check(&record, &slots) {
                        slots.pop();
                        notes.push(format!("slot {slot} left out: {error}"));
                    }
                }
                Err((_, FindError::Missing)) => {}
                Err((name, error)) => notes.push(format!("slot {slot} left out: {name}: {error}")),
            }
        }
        if slots.is_empty() {
            return Err(PlanError::NoSlots(notes));
        }
        let geometries = finder.geometries();
        Ok(Self { disks: finder.disks, notes, geometries, record, slots })
    }

    /// The slots, to make a [`layout`](Self::layout) from.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotLayout<'_>> {
        layouts(&self.slots)
    }

    /// The layout, checked.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn layout<'a>(&'a self, slots: &'a [SlotLayout<'a>]) -> Result<Layout<'a>, LayoutError> {
        Layout::new(&self.geometries, Area::Blocks(&self.record), slots)
    }
}

fn layouts(slots: &[PlannedSlot]) -> Vec<SlotLayout<'_>> {
    let mut layouts = Vec::new();
    for PlannedSlot { slot, head, regions } in slots {
        layouts.push(SlotLayout::new(*slot, regions).with_head(*head));
    }
    layouts
}

struct Finder<'a> {
    sources: &'a [Source<'a>],
    pinned: &'a [Pinned<'a>],
    disks: Vec<usize>,
    /// The disk with the boot record, once it is found.
    home: Option<usize>,
}

impl<'a> Finder<'a> {
    fn geometries(&self) -> Vec<Geometry> {
        self.disks.iter().map(|disk| self.sources[*disk].geometry).collect()
    }

    fn check(&self, record: &[Region], slots: &[PlannedSlot]) -> Result<(), LayoutError> {
        Layout::new(&self.geometries(), Area::Blocks(record), &layouts(slots)).map(|_| ())
    }

    /// Head and all regions of a slot; an error names the partition it is about.
    fn slot(&mut self, name: &str) -> Result<(Region, Vec<SlotRegion>), (String, FindError)> {
        // The devices that a slot added are dropped again if the slot is left out.
        let disks = self.disks.len();
        let mut regions = Vec::new();
        let mut found = self.add(&mut regions, name.into(), &[]);
        for roles in SINGLE_ROLES {
            if found.is_err() {
                break;
            }
            found = match self.add(&mut regions, format!("{name}-{}", roles[0]), roles) {
                Err((_, FindError::Missing)) => Ok(()),
                other => other,
            };
        }
        if found.is_err() {
            self.disks.truncate(disks);
        }
        found?;
        // The head is at the end of the first region. So the components start at the partition's
        // first byte, for systems that do not know heads.
        let whole = regions[0].region;
        let Some(len) = whole.len.checked_sub(HEAD_LEN).filter(|len| *len > 0) else {
            self.disks.truncate(disks);
            return Err((name.into(), FindError::TooShort));
        };
        regions[0].region.len = len;
        Ok((Region { offset: whole.offset + len, len: HEAD_LEN, ..whole }, regions))
    }

    fn add(
        &mut self,
        regions: &mut Vec<SlotRegion>,
        name: String,
        roles: &'static [Role],
    ) -> Result<(), (String, FindError)> {
        match self.region(&name) {
            Ok(region) => {
                regions.push(SlotRegion { region, roles });
                Ok(())
            }
            Err(error) => Err((name, error)),
        }
    }

    fn region(&mut self, name: &str) -> Result<Region, FindError> {
        let (disk, partition) = self.find(name)?;
        let (start, len) = (partition.start_bytes, partition.len_bytes);
        if !start.is_multiple_of(ERASE_BLOCK) {
            return Err(FindError::Unaligned { start });
        }
        if len < ERASE_BLOCK {
            return Err(FindError::TooShort);
        }
        let device = match self.disks.iter().position(|used| *used == disk) {
            Some(device) => device,
            None if self.disks.len() == DEVICES_MAX => return Err(FindError::TooManyDisks),
            None => {
                self.disks.push(disk);
                self.disks.len() - 1
            }
        };
        Ok(Region {
            device: device as u8,
            offset: start,
            // A tail that is shorter than an erase block is never used.
            len: len / ERASE_BLOCK * ERASE_BLOCK,
        })
    }

    fn find(&self, name: &str) -> Result<(usize, &'a Partition), FindError> {
        let pinned = self.pinned.iter().find(|pinned| pinned.name == name);
        let fits = |partition: &&Partition| match pinned {
            Some(pinned) => partition.guid == pinned.guid,
            None => partition.name == name,
        };
        let goes_first = |disk: usize, source: &Source<'_>| match self.home {
            Some(home) => disk == home,
            None => source.is_own,
        };
        for first in [true, false] {
            let mut found = self
                .sources
                .iter()
                .enumerate()
                .filter(|(disk, source)| goes_first(*disk, source) == first)
                .flat_map(|(disk, source)| {
                    source.table.partitions.iter().map(move |partition| (disk, partition))
                })
                .filter(|(_, partition)| fits(partition));
            match (found.next(), found.next()) {
                (Some(only), None) => return Ok(only),
                (Some(_), Some(_)) => return Err(FindError::Ambiguous),
                (None, _) => {}
            }
        }
        Err(FindError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk with these partitions of 4 MiB each.
    fn table(names: &[&str]) -> Table {
        let partition = |(at, name): (usize, &&str)| Partition {
            index: at as u32 + 1,
            name: (*name).into(),
            kind: Guid::from_random_bytes([99; 16]),
            guid: Guid::from_random_bytes([at as u8 + 1; 16]),
            start_bytes: (1 + 4 * at as u64) * MIB,
            len_bytes: 4 * MIB,
        };
        let partitions = names.iter().enumerate().map(partition).collect();
        let disk_guid = Guid::from_random_bytes([98; 16]);
        Table { is_backup: false, disk_guid, partitions, notes: Vec::new() }
    }

    fn source(table: &Table, is_own: bool) -> Source<'_> {
        Source { is_own, geometry: Geometry::disk(512, 64 * MIB), table }
    }

    const FULL: &[&str] = &["esp", "stillboot-record", "stillboot-a", "stillboot-b"];

    /// It was said to be too short for a head, which it has not.
    #[test]
    fn a_record_of_one_sector_is_told_what_it_needs() {
        let mut table = table(FULL);
        for len in [512, 4096] {
            table.partitions[1].len_bytes = len;
            let error = Plan::new(&[source(&table, true)], &[]).unwrap_err();
            let text = format!("{error}");
            assert!(text.contains("need 3145728") && !text.contains("head"), "{text}");
        }
    }

    /// Disks whose partitions are drawn: doubled, missing, without a record, a role of their own.
    #[test]
    fn plan_is_the_one_that_linux_makes() {
        use stillboot_linux::disk::{Disk, DiskError};
        use stillboot_linux::file::{FileDevice, OpenOptions};
        use stillboot_linux::table::{self, PartitionSpec};
        use stillboot_linux::uuid::Uuid;
        const NAMES: [&str; 8] = [
            "stillboot-record",
            "stillboot-a",
            "stillboot-b",
            "stillboot-b-rootfs",
            "stillboot-c",
            "stillboot-recovery",
            "stillboot-recovery-data",
            "esp",
        ];
        let (mut made, mut on_two, mut doubled) = (0, 0, 0);
        for seed in 0..60_u64 {
            // As random as it has to be, and the same every time.
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut draw = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                (state >> 33) % below
            };
            let folder = tempfile::tempdir().unwrap();
            let count = 1 + draw(3);
            let paths: Vec<_> = (0..count)
                .map(|number| {
                    let path = folder.path().join(format!("{number}.img"));
                    let mut names: Vec<_> = NAMES.into_iter().filter(|_| draw(2) == 0).collect();
                    if number == 0 && draw(4) != 0 {
                        names.insert(0, NAMES[0]);
                    }
                    let spec = |name: &str| PartitionSpec::new(name, Uuid::from_u128(7), 3 * MIB);
                    let specs: Vec<_> = names.into_iter().map(spec).collect();
                    table::create(&path, 32 * MIB, 512, &specs, None).unwrap();
                    path
                })
                .collect();
            let options = OpenOptions::new().with_read_only(true);
            let tables: Vec<_> = paths
                .iter()
                .map(|path| crate::read(&mut FileDevice::open(path, options).unwrap()))
                .map(Result::unwrap)
                .collect();
            let sources: Vec<_> = tables
                .iter()
                .enumerate()
                .map(|(number, table)| Source {
                    is_own: number == 0,
                    geometry: Geometry::disk(512, 32 * MIB),
                    table,
                })
                .collect();
            let ours = Plan::new(&sources, &[]);
            let theirs = Disk::open_all(&paths, stillboot_linux::disk::Access::Read);
            let (ours, theirs) = match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => (ours, theirs),
                (Err(ours), Err(DiskError::Plan { why, .. })) => {
                    assert_eq!(std::format!("{ours}"), why, "seed {seed}");
                    continue;
                }
                (ours, theirs) => panic!("seed {seed}: {ours:?}, {theirs:?}"),
            };
            made += 1;
            on_two += usize::from(ours.disks.len() > 1);
            doubled += usize::from(!ours.notes.is_empty());
            assert_eq!(ours.notes, theirs.plan.notes, "seed {seed}");
            assert_eq!(ours.disks, theirs.plan.disks, "seed {seed}");
            let opened: Vec<_> = theirs.devices.iter().map(|device| device.path()).collect();
            let planned: Vec<_> = ours.disks.iter().map(|disk| paths[*disk].as_path()).collect();
            assert_eq!(opened, planned, "seed {seed}");
            let (mine, other) = (ours.slots(), theirs.plan.slots());
            assert_eq!(mine, other, "seed {seed}");
            let (mine, other) = (ours.layout(&mine).unwrap(), theirs.plan.layout(&other).unwrap());
            assert_eq!(mine.places(), other.places());
        }
        assert!(made > 10 && on_two > 5 && doubled > 3, "{made} {on_two} {doubled}");
    }

    #[test]
    fn own_disk_goes_first_and_others_serve_what_it_lacks() {
        let own = table(&["esp", "stillboot-record", "stillboot-a"]);
        let other = table(FULL);
        let plan = Plan::new(&[source(&other, false), source(&own, true)], &[]).unwrap();
        // The record and slot a of the own disk, which is source 1; slot b of the other.
        assert_eq!(plan.disks, [1, 0]);
        let slots: Vec<_> =
            plan.slots().iter().map(|slot| (slot.slot, slot.regions[0].region.device)).collect();
        assert_eq!(slots, [(Slot::A, 0), (Slot::B, 1)]);
    }

    #[test]
    fn everything_on_a_second_disk() {
        let own = table(&["esp"]);
        let other = table(FULL);
        let plan = Plan::new(&[source(&own, true), source(&other, false)], &[]).unwrap();
        assert_eq!(plan.disks, [1]);
        assert_eq!(plan.slots().len(), 2);
    }

    #[test]
    fn two_that_fit_are_as_bad_as_none_and_stop_no_other() {
        let own = table(&["stillboot-record", "stillboot-a", "stillboot-b", "stillboot-b"]);
        let plan = Plan::new(&[source(&own, true)], &[]).unwrap();
        assert_eq!(plan.slots().len(), 1);
        assert!(plan.notes[0].contains("slot b left out"), "{:?}", plan.notes);

        let full = table(FULL);
        let twice = [source(&full, false), source(&full, false)];
        let error = Plan::new(&twice, &[]).unwrap_err();
        assert_eq!(error, PlanError::Record(FindError::Ambiguous));
    }

    #[test]
    fn the_disk_with_the_record_serves_before_all_others() {
        let (own, home, other) = (table(&["esp"]), table(FULL), table(&FULL[2..]));
        let sources = [source(&own, true), source(&other, false), source(&home, false)];
        let plan = Plan::new(&sources, &[]).unwrap();
        assert_eq!((&plan.disks[..], plan.notes.len()), (&[2][..], 0));
        assert_eq!(plan.slots().len(), 2);
    }

    #[test]
    fn a_partition_that_cannot_be_used_is_named_and_takes_no_other_along() {
        let mut own = table(FULL);
        own.partitions[3].start_bytes += 63 * 512;
        let plan = Plan::new(&[source(&own, true)], &[]).unwrap();
        assert_eq!(plan.slots().len(), 1);
        let start = own.partitions[3].start_bytes;
        for part in ["stillboot-b", &format!("byte {start}"), &format!("byte {}", start + 512)] {
            assert!(plan.notes[0].contains(part), "{:?}", plan.notes);
        }
        // Too small for the head of a slot; pinned to what is a slot already; a record in between
        // two blocks.
        let mut own = table(FULL);
        own.partitions[3].len_bytes = 4096;
        assert_eq!(Plan::new(&[source(&own, true)], &[]).unwrap().slots().len(), 1);
        own.partitions[3].len_bytes = 512;
        assert_eq!(Plan::new(&[source(&own, true)], &[]).unwrap().slots().len(), 1);
        let pinned = [Pinned { name: "stillboot-b", guid: own.partitions[2].guid }];
        let plan = Plan::new(&[source(&own, true)], &pinned).unwrap();
        assert_eq!((plan.slots().len(), plan.notes.len()), (1, 1));
        own.partitions[1].start_bytes += 512;
        let error = Plan::new(&[source(&own, true)], &[]).unwrap_err();
        assert!(format!("{error}").contains("no multiple of 4096"), "{error}");
    }

    #[test]
    fn a_pinned_partition_is_found_by_its_guid_alone() {
        let own = table(&["stillboot-record", "stillboot-a", "renamed"]);
        let renamed = own.partitions[2].guid;
        let pinned = [Pinned { name: "stillboot-b", guid: renamed }];
        let plan = Plan::new(&[source(&own, true)], &pinned).unwrap();
        assert_eq!(plan.slots()[1].regions[0].region.offset, own.partitions[2].start_bytes);
        // And its name counts for nothing then.
        let gone = [Pinned { name: "stillboot-a", guid: Guid::from_random_bytes([9; 16]) }];
        assert!(matches!(Plan::new(&[source(&own, true)], &gone), Err(PlanError::NoSlots(_))));
    }

    #[test]
    fn a_fifth_disk_is_left_out() {
        let record = table(&["stillboot-record"]);
        let names = ["stillboot-a", "stillboot-b", "stillboot-c", "stillboot-recovery"];
        let tables: Vec<_> = names.iter().map(|name| table(&[name])).collect();
        let mut sources = vec![source(&record, true)];
        sources.extend(tables.iter().map(|table| source(table, false)));
        let plan = Plan::new(&sources, &[]).unwrap();
        assert_eq!(plan.disks.len(), DEVICES_MAX);
        assert_eq!(plan.slots().len(), 3);
        assert!(plan.notes[0].contains("recovery"), "{:?}", plan.notes);
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = table(&["esp"]);
        let error = Plan::new(&[source(&none, true)], &[]).unwrap_err();
        assert!(format!("{error}").contains("stillboot-record: not found"), "{error}");
        let record = table(&["stillboot-record"]);
        let error = Plan::new(&[source(&record, true)], &[]).unwrap_err();
        assert_eq!(error, PlanError::NoSlots(vec![]));
        let mut small = table(FULL);
        small.partitions[1].len_bytes = MIB;
        let error = Plan::new(&[source(&small, true)], &[]).unwrap_err();
        assert_eq!(error, PlanError::RecordSize { found: MIB });
    }
}
