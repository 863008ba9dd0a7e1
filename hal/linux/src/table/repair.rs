//! Restoring the copy of a partition table that is damaged, missing, or no longer at the end.
//!
//! The order of the writes keeps one whole copy on the medium at every instant, and the table counts
//! throughout if it counted before: the copy that is the source is not touched until the other one
//! is durable.
//!
//! Where both copies are whole and say something else, only the user knows which one is right.

use std::os::unix::fs::FileExt;

use gpt_disk_types::{LbaLe, MasterBootRecord, U32Le};
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot_gpt::{self as gpt, Copy, Fault, Label};

use super::TableError;
use super::look::{self, Blocks};
use crate::file::FileDevice;

/// Which of the two copies of a table.
///
/// No more variants come: a table has these two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one at the start of the disk.
    Primary,
    /// The one at its end.
    Backup,
}

/// What the user decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairOptions {
    /// The copy that is right, where both are whole.
    pub from: Option<Source>,
    /// Whether a DOS partition table or a file system in the first sector is overwritten.
    pub over_label: bool,
}

impl RepairOptions {
    /// Nothing is decided: where it matters, the repair is refused.
    #[must_use]
    pub const fn new() -> Self {
        Self { from: None, over_label: false }
    }

    /// The same with the copy that is [right](Self::from).
    #[must_use]
    pub const fn with_from(mut self, from: Option<Source>) -> Self {
        self.from = from;
        self
    }

    /// The same, stating whether what the first sector holds is [overwritten](Self::over_label).
    #[must_use]
    pub const fn with_over_label(mut self, over_label: bool) -> Self {
        self.over_label = over_label;
        self
    }
}

/// Restores what is missing of the partition table on `device`, and says what that was.
///
/// # Errors
/// [`TableError`]: no copy is whole, they differ and none was chosen, the disk has become too small,
/// a DOS partition table or a file system is where the protective MBR should be, or what was written
/// does not read back.
pub fn repair(
    device: &mut FileDevice,
    choice: RepairOptions,
) -> Result<Vec<&'static str>, TableError> {
    let path = device.path().to_path_buf();
    let refused = |why: String| TableError::NotRestored { path: path.clone(), why };
    let (disk_bytes, sizes) = look::extent(device.file(), &path, None)?;
    let plan = plan(device.file(), disk_bytes, sizes, choice).map_err(|refusal| match refusal {
        RepairRefusal::Absent => {
            let (_, errors) = look::look(device.file(), disk_bytes, sizes);
            TableError::NoTable { path: path.clone(), why: look::dead_end(&errors) }
        }
        RepairRefusal::Undecided(why) => refused(why),
        RepairRefusal::TwoTables => TableError::TwoTables { path: path.clone() },
    })?;
    device.set_logical_block(plan.block);
    let done = plan.write(device).map_err(|error| TableError::System {
        path: path.clone(),
        action: "write the partition table of",
        source: std::io::Error::other(error),
    })?;
    plan.read_back(device, &done).map_err(refused)?;
    Ok(done)
}

/// What a repair would come to, of a disk with a table that counts and a copy that does not.
pub fn outlook(device: &FileDevice) -> String {
    let planned = look::extent(device.file(), device.path(), None)
        .map(|(bytes, sizes)| plan(device.file(), bytes, sizes, RepairOptions::default()));
    match planned {
        Ok(Err(RepairRefusal::Undecided(why))) => why,
        _ => "`stillboot disk repair` restores it".to_owned(),
    }
}

/// What a repair would do. The code that reads a disk asks for it too, so that no message promises a repair
/// that is refused, or keeps one back that would help.
pub(super) fn plan(
    file: &dyn FileExt,
    disk_bytes: u64,
    sizes: &[u32],
    choice: RepairOptions,
) -> Result<RepairPlan, RepairRefusal> {
    let mut found = Vec::new();
    let mut undecided = None;
    for size in sizes {
        match Whole::find(&mut Blocks::new(file, *size, disk_bytes), choice, *size) {
            Ok(whole) => found.push((*size, whole)),
            Err(RepairRefusal::Undecided(why)) => undecided = undecided.or(Some(why)),
            Err(RepairRefusal::Absent | RepairRefusal::TwoTables) => {}
        }
    }
    if let Some(why) = undecided {
        return Err(RepairRefusal::Undecided(why));
    }
    if found.iter().any(|(_, whole)| whole.is_primary) {
        found.retain(|(_, whole)| whole.is_primary);
    }
    match found.pop() {
        None => Err(RepairRefusal::Absent),
        Some(_) if !found.is_empty() => Err(RepairRefusal::TwoTables),
        Some((block, whole)) => {
            let wanted =
                Wanted::new(&whole, block, disk_bytes).map_err(RepairRefusal::Undecided)?;
            Ok(RepairPlan { block, whole, wanted })
        }
    }
}

/// Why nothing is restored.
#[derive(Debug)]
pub(super) enum RepairRefusal {
    /// No copy is whole.
    Absent,
    /// The user has to say or do something first.
    Undecided(String),
    /// There is a copy for both sizes of sectors.
    TwoTables,
}

/// What damage the copy has that was not read, if any: the backup of a disk whose primary counts.
pub fn other_fault(device: &mut FileDevice) -> Option<String> {
    let last = gpt::last_block(device)?;
    match Copy::read(device, last) {
        Ok(_) => None,
        Err(Fault::Missing) => Some("it is not at the end of the disk".to_owned()),
        Err(fault) => Some(fault.to_string()),
    }
}

/// In what the two copies differ, where both are whole.
pub fn conflict(device: &mut FileDevice) -> Option<String> {
    let primary = Copy::read(device, 1).ok()?;
    let other = other_backup(device, &primary)?;
    difference(&primary, &other)
}

/// An intact backup that differs from the primary: at the place that the primary names, or at the
/// end.
fn other_backup(device: &mut dyn BlockDevice, primary: &Copy) -> Option<Copy> {
    let last = gpt::last_block(device)?;
    let places = [primary.header.alternate_lba.to_u64(), last];
    let mut whole = places.into_iter().filter_map(|lba| Copy::read(device, lba).ok());
    whole.find(|copy| difference(primary, copy).is_some())
}

fn difference(primary: &Copy, backup: &Copy) -> Option<String> {
    if let Some((index, [primary, backup])) = primary.difference(backup) {
        return Some(if primary == backup {
            format!(
                "its partition {index} has another type, GUID or attributes than in the primary"
            )
        } else {
            format!("its partition {index} is {backup}, in the primary it is {primary}")
        });
    }
    ({ primary.header.disk_guid } != { backup.header.disk_guid })
        .then(|| "it has another disk's GUID than the primary".to_owned())
}

/// An intact copy, and the rest of what was found.
struct Whole {
    copy: Copy,
    is_primary: bool,
    /// Where the entries of the primary are, if its header is sound.
    entries_lba: Option<u64>,
    sector: Vec<u8>,
    /// Whether the first sector stays as it is.
    is_protected: bool,
    last: u64,
}

impl Whole {
    /// Whether its space for partitions ends past the end of the disk.
    fn is_cut(&self) -> bool {
        self.copy.header.last_usable_lba.to_u64() > self.last
    }

    fn find(
        device: &mut Blocks<'_>,
        choice: RepairOptions,
        block: u32,
    ) -> Result<Self, RepairRefusal> {
        let last = gpt::last_block(device).ok_or(RepairRefusal::Absent)?;
        let mut sector = vec![0; block as usize];
        if device.read(0, &mut sector).is_err() {
            // The first sector may still be writable.
            sector.fill(0);
        }
        let label = Label::new(&sector);
        let header = gpt::read_header(device, 1).ok();
        let (copy, is_primary) = Self::source(device, choice, &label, block)?;
        // A primary counts under every protective MBR, a backup only if it agrees with the
        // partitions of the MBR.
        let is_protected = label.is_protective() && (is_primary || !copy.is_contradicted(&label));
        let is_used = label.has_partitions() || label.is_file_system();
        if !is_protected && is_used && !choice.over_label {
            return Err(RepairRefusal::Undecided(
                "its partition table does not count: its first sector has a DOS partition table or a file system where the protective \
                 MBR should be, so the disk was given another use since; if it was not, \
                 `stillboot disk repair --over-label` overwrites that sector, and with it the DOS \
                 partition table or the start of the file system"
                    .to_owned(),
            ));
        }
        let entries_lba = header.map(|header| header.partition_entry_lba.to_u64());
        Ok(Self { copy, is_primary, entries_lba, sector, is_protected, last })
    }

    /// The copy to restore from.
    fn source(
        device: &mut Blocks<'_>,
        choice: RepairOptions,
        label: &Label,
        block: u32,
    ) -> Result<(Copy, bool), RepairRefusal> {
        let last = gpt::last_block(device).unwrap_or_default();
        let is_sound = |copy: &Copy, is_backup| {
            copy.table(block, is_backup).map(|_| ()).map_err(|error| error.to_string())
        };
        let header = gpt::read_header(device, 1).ok();
        let primary = Copy::read(device, 1);
        let other = primary.as_ref().ok().and_then(|copy| other_backup(device, copy));
        // An MBR that may be overwritten is not compared with the tables.
        let nothing = Label::new(&[0; 512]);
        let label = if choice.over_label { &nothing } else { label };
        let backup = match (other, &primary) {
            (Some(other), _) => Ok(other),
            // The user has named this copy.
            (None, _) if choice.from == Some(Source::Backup) => {
                Copy::backup(device, None, label, last)
                    .or_else(|_| Copy::backup(device, header.as_ref(), label, last))
            }
            (None, _) => Copy::backup(device, header.as_ref(), label, last),
        };
        let backup_sound = backup.as_ref().is_ok_and(|copy| is_sound(copy, true).is_ok());
        // Sound, except that its space for partitions ends beyond the disk: the disk was longer.
        let larger = primary.is_err().then(|| Copy::read_of_larger(device).ok()).flatten();
        let undecided = |why| Err(RepairRefusal::Undecided(why));
        let differing = |differs| {
            undecided(format!(
                "both copies of the partition table are whole, and the backup is another one: \
                 {differs}; expected `stillboot disk repair --from primary` or `--from backup`, for \
                 the one that is right"
            ))
        };
        match (choice.from, primary, backup) {
            (Some(Source::Backup), _, Ok(copy)) => match is_sound(&copy, true) {
                Ok(()) => Ok((copy, false)),
                Err(why) => undecided(format!("in the backup table, {why}; {CORRECT}")),
            },
            (Some(Source::Backup), Ok(_), Err(fault)) => {
                undecided(format!("the backup table is not whole: {fault}"))
            }
            (Some(Source::Primary), Err(fault), Ok(_)) => match larger {
                Some(copy) if is_sound(&copy, false).is_ok() => Ok((copy, true)),
                _ => undecided(format!("the primary table is not whole: {fault}")),
            },
            (from, Ok(copy), backup) => {
                let differs = backup.ok().and_then(|backup| difference(&copy, &backup));
                match (is_sound(&copy, false), differs) {
                    (Err(why), Some(differs)) if backup_sound => undecided(format!(
                        "in the primary table, {why}; the backup is whole: {differs}; `stillboot \
                         disk repair --from backup` restores the primary from it"
                    )),
                    (Err(why), _) => undecided(format!("in the primary table, {why}; {CORRECT}")),
                    (Ok(()), Some(differs)) if from.is_none() => differing(differs),
                    (Ok(()), _) => Ok((copy, true)),
                }
            }
            (_, Err(_), Ok(copy)) => {
                let differs = larger.and_then(|larger| difference(&larger, &copy));
                match (is_sound(&copy, true), differs) {
                    (Err(why), _) => undecided(format!("in the backup table, {why}; {CORRECT}")),
                    // It may be older than the growth of the disk.
                    (Ok(()), Some(differs)) => differing(differs),
                    (Ok(()), None) => Ok((copy, false)),
                }
            }
            (_, Err(primary), Err(Fault::Contradicted)) => undecided(format!(
                "the primary table is not whole: {primary}; the backup is, and {}; if it is not, \
                 `stillboot disk repair --over-label` restores from it, and overwrites the \
                 partitions of the MBR",
                Fault::Contradicted
            )),
            (_, Err(primary), Err(Fault::OtherDisk)) => undecided(format!(
                "the primary table is not whole: {primary}; the backup is, and {}; if it is the \
                 right one, `stillboot disk repair --from backup` restores from it",
                Fault::OtherDisk
            )),
            (_, Err(_), Err(_)) => match larger.map(|copy| (is_sound(&copy, false), copy)) {
                Some((Ok(()), copy)) => Ok((copy, true)),
                Some((Err(why), _)) => undecided(format!("in the primary table, {why}; {CORRECT}")),
                None => Err(RepairRefusal::Absent),
            },
        }
    }
}

/// What can be done if only the user can decide.
const CORRECT: &str = "correct the partitions with a partitioning tool";

/// What a repair writes, and from what.
pub(super) struct RepairPlan {
    block: u32,
    whole: Whole,
    wanted: Wanted,
}

impl RepairPlan {
    /// What it does about a disk that has no table that counts, for what `words` tell.
    pub(super) fn promise(&self, words: &str) -> String {
        match self.whole.is_primary {
            false => format!(
                "{words}; the backup at the end of the disk is whole: `stillboot disk repair` \
                 restores the primary from it"
            ),
            // A loader treats such a table as damaged, although its checksums are right.
            true if self.whole.is_cut() => "the disk is shorter than its table says, and no \
                                            partition is cut off: `stillboot disk repair` makes \
                                            the table fit"
                .to_owned(),
            true => format!(
                "{words}; the table itself is whole: `stillboot disk repair` writes what is missing"
            ),
        }
    }

    /// Writes what is missing, and says what that was.
    pub(super) fn write(
        &self,
        device: &mut dyn BlockDevice,
    ) -> Result<Vec<&'static str>, DeviceError> {
        self.wanted.write(device, &self.whole)
    }

    /// Whether the device gives back the first sector and both copies; `done` is what was written.
    pub(super) fn read_back(
        &self,
        device: &mut dyn BlockDevice,
        done: &[&'static str],
    ) -> Result<(), String> {
        const OTHER: &str = "it is not what was written";
        let mut faults = Vec::new();
        match Label::read(device) {
            Ok(label) if label.is_protective() => {}
            Ok(_) => faults.push(format!("the protective MBR: {OTHER}")),
            Err(error) => faults.push(format!("the protective MBR: it cannot be read: {error}")),
        }
        let copies = [
            ("primary", 1, &self.wanted.primary),
            ("backup", self.whole.last, &self.wanted.backup),
        ];
        for (name, lba, wanted) in copies {
            match Copy::read(device, lba) {
                Ok(found) if found == *wanted => {}
                Ok(_) => faults.push(format!("the {name} table: {OTHER}")),
                Err(fault) => faults.push(format!("the {name} table: {fault}")),
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let done = if done.is_empty() { "nothing was to be written" } else { &done.join(", ") };
        Err(format!(
            "{done}; read back afterwards, this is still wrong: {}; the disk does not keep what \
             is written to it: copy it to another one, and run `stillboot disk repair` on that",
            faults.join("; ")
        ))
    }
}

/// Both copies as they should be.
struct Wanted {
    primary: Copy,
    backup: Copy,
}

impl Wanted {
    fn new(whole: &Whole, block: u32, disk_bytes: u64) -> Result<Self, String> {
        let source = &whole.copy.header;
        let last = whole.last;
        let blocks = (whole.copy.entries.len() as u64).div_ceil(u64::from(block));
        let (first_used, last_used) = whole.copy.used().unwrap_or((u64::MAX, 0));
        let at = match whole.is_primary {
            true => source.alternate_lba.to_u64(),
            false => source.my_lba.to_u64(),
        };
        let end = last
            .checked_sub(blocks + 1)
            .filter(|end| last_used <= *end)
            .ok_or_else(|| too_small(last_used, last, blocks + 1, block, disk_bytes))?;
        let last_usable = match at == last {
            true => source.last_usable_lba.to_u64().min(end),
            // The disk has grown or shrunk, or the table was copied from another disk.
            false => end,
        };
        // The entries must not be placed over a partition.
        let fits =
            |at: &u64| *at >= 2 && at.checked_add(blocks).is_some_and(|end| end <= first_used);
        let entries_lba = whole
            .entries_lba
            .filter(|at| *at + blocks <= source.first_usable_lba.to_u64())
            .filter(fits)
            .unwrap_or(2);
        if !fits(&entries_lba) {
            return Err(format!(
                "the primary table needs blocks 2 to {}, and a partition starts in block \
                 {first_used}",
                1 + blocks
            ));
        }
        let first_usable = source.first_usable_lba.to_u64().max(entries_lba + blocks);
        if first_usable > last_usable {
            return Err("it has no room for partitions beside its tables".to_owned());
        }
        let header = |mine: u64, other: u64, entries: u64| {
            let mut header = *source;
            header.my_lba = LbaLe::from_u64(mine);
            header.alternate_lba = LbaLe::from_u64(other);
            header.partition_entry_lba = LbaLe::from_u64(entries);
            header.first_usable_lba = LbaLe::from_u64(first_usable);
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
        device: &mut dyn BlockDevice,
        whole: &Whole,
    ) -> Result<Vec<&'static str>, DeviceError> {
        let mut done = Vec::new();
        let (primary, backup) = (Copy::read(device, 1), Copy::read(device, whole.last));
        // The copy that is not the source is written first.
        if !whole.is_primary && primary.as_ref() != Ok(&self.primary) {
            put(device, &self.primary, whole)?;
            done.push("restored the primary table from the backup");
        }
        if backup.as_ref() != Ok(&self.backup) {
            put(device, &self.backup, whole)?;
            done.push(match (&backup, whole.is_primary) {
                (Ok(found), _) if found.difference(&self.backup).is_some() => {
                    "replaced the backup table, which was another one"
                }
                _ if whole.copy.header.alternate_lba.to_u64() != whole.last && whole.is_primary => {
                    "wrote the backup table to the end of the disk"
                }
                (Ok(_), _) => "corrected where the backup table says things are",
                (_, false) => "wrote the backup table to the end of the disk",
                _ => "restored the backup table from the primary",
            });
        }
        if whole.is_primary && primary.as_ref() != Ok(&self.primary) {
            // The backup is on the medium now, so the entries may move.
            put(device, &self.primary, whole)?;
            done.push("noted in the primary table where the backup is");
        }
        // The MBR is written last: from then on both copies count.
        if !whole.is_protected {
            let mut sector = whole.sector.clone();
            let mut label: MasterBootRecord = bytemuck::pod_read_unaligned(&sector[..512]);
            let fresh = MasterBootRecord::protective_mbr(whole.last + 1);
            let found = Label::new(&sector);
            if found.has_partitions() || found.is_file_system() {
                // The whole MBR is replaced, boot code included: a sector that starts like a file
                // system would be taken for one.
                label = fresh;
                done.push("overwrote the other use in the first sector");
            }
            (label.partitions, label.signature) = (fresh.partitions, fresh.signature);
            sector[..512].copy_from_slice(bytemuck::bytes_of(&label));
            put_bytes(device, 0, &sector, whole)?;
            device.flush()?;
            done.push("wrote the protective MBR");
        }
        Ok(done)
    }
}

/// Firmware writes a backup that is missing by itself, to where the table says: without room for one
/// that is over the end of the last partition. So no table is written that has none.
fn too_small(last_used: u64, last: u64, backup: u64, block: u32, disk_bytes: u64) -> String {
    let needed = last_used.saturating_add(backup + 1).saturating_mul(u64::from(block));
    let what = format!(
        "the last partition ends in block {last_used}, the backup table needs {backup} blocks after \
         it, and the last block of the disk is {last}: the disk has become too small, or was not \
         copied in full: it has {disk_bytes} bytes and needs {needed}"
    );
    let loss = match last_used <= last {
        true => "no partition is cut off",
        false => "what is cut off of partitions is lost here, so copy it again in full if you can",
    };
    format!(
        "{what}; {loss}: on a disk of that size, or in an image made that long (`truncate -s {needed} \
         IMAGE`), `stillboot disk repair` makes the table fit"
    )
}

/// Entries first: a header never stands before what it sums up.
fn put(device: &mut dyn BlockDevice, copy: &Copy, whole: &Whole) -> Result<(), DeviceError> {
    let block = device.geometry().logical_block_bytes;
    let mut entries = copy.entries.clone();
    entries.resize(entries.len().next_multiple_of(block as usize), 0);
    let entries_lba = copy.header.partition_entry_lba.to_u64();
    put_bytes(device, entries_lba * u64::from(block), &entries, whole)?;
    device.flush()?;
    let mut bytes = vec![0; block as usize];
    bytes[..gpt::HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&copy.header));
    put_bytes(device, copy.header.my_lba.to_u64() * u64::from(block), &bytes, whole)?;
    device.flush()
}

/// What Linux reads and writes at once of a disk with sectors of 512 bytes.
const PAGE_BYTES: u64 = 4096;

/// Writes sectors. To write a part of a page the system reads the rest of it first, which fails
/// beside a bad sector; so where it fails whole pages are written. What cannot be read of them
/// becomes zeros, and no such sector is in a partition.
fn put_bytes(
    device: &mut dyn BlockDevice,
    offset: u64,
    bytes: &[u8],
    whole: &Whole,
) -> Result<(), DeviceError> {
    let Err(error) = device.write(offset, bytes) else { return Ok(()) };
    let Geometry { logical_block_bytes, capacity_bytes, .. } = device.geometry();
    let block = u64::from(logical_block_bytes);
    let start = offset - offset % PAGE_BYTES;
    let end = (offset + bytes.len() as u64).next_multiple_of(PAGE_BYTES).min(capacity_bytes);
    let mut pages = vec![0; (end - start) as usize];
    for (lba, sector) in (start / block..).zip(pages.chunks_mut(block as usize)) {
        if device.read(lba * block, sector).is_err() {
            if whole.copy.used().is_some_and(|(first, last)| (first..=last).contains(&lba)) {
                return Err(error);
            }
            sector.fill(0);
        }
    }
    pages[(offset - start) as usize..][..bytes.len()].copy_from_slice(bytes);
    device.write(start, &pages)
}
