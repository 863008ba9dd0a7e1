//! One of the two tables of a disk, the primary or the backup: finds it, and checks its partitions.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use gpt_disk_types::{GptHeader, GptPartitionEntry, Guid};
use stillboot::device::BlockDevice;
use stillboot::format::names;

use crate::header::{ENTRY_BYTES, read_entries, read_header, read_header_alone};
use crate::label::Label;
use crate::table::{
    Fault, Odd, Partition, RECORD_KIND, RECOVERY_KIND, SLOT_KIND, Table, TableError,
};

/// One of the two tables, with both checksums right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its header.
    pub header: GptHeader,
    /// Its entries, as they are on the disk.
    pub entries: Vec<u8>,
}

impl Copy {
    /// Reads the table whose header is in block `lba`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(device: &mut dyn BlockDevice, lba: u64) -> Result<Self, Fault> {
        let header = read_header(device, lba)?;
        let entries = read_entries(device, &header)?;
        Ok(Self { header, entries })
    }

    /// Reads the primary table of a disk that was larger when it was partitioned. Loaders do not
    /// use it; it may be restored.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_of_larger(device: &mut dyn BlockDevice) -> Result<Self, Fault> {
        let header = read_header_alone(device, 1)?;
        let entries = read_entries(device, &header)?;
        Ok(Self { header, entries })
    }

    /// The backup of a table that is damaged: the one that `header`, its own, names if that is
    /// sound; else the one in block `last`, or in the last one that the MBR covers.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn backup(
        device: &mut dyn BlockDevice,
        header: Option<&GptHeader>,
        label: &Label,
        last: u64,
    ) -> Result<Self, Fault> {
        // On a disk that has grown, the backup is at the end that the disk had when it was
        // partitioned.
        let places = [
            header.map(|header| header.alternate_lba.to_u64()),
            Some(last),
            label.end().filter(|end| *end < last),
        ];
        let mut found = Err(Fault::Missing);
        for lba in places.into_iter().flatten() {
            let backup = Self::read(device, lba).and_then(|backup| match header {
                Some(header) if { header.disk_guid } != { backup.header.disk_guid } => {
                    Err(Fault::OtherDisk)
                }
                _ if backup.is_contradicted(label) => Err(Fault::Contradicted),
                _ => Ok(backup),
            });
            // The fault of the first place is reported.
            match backup {
                Ok(_) => return backup,
                Err(Fault::Missing) => {}
                Err(_) if found == Err(Fault::Missing) => found = backup,
                Err(_) => {}
            }
        }
        found
    }

    /// What it says, in a disk with blocks of that many bytes.
    ///
    /// # Errors
    /// [`TableError::Partition`].
    pub fn table(&self, block: u32, is_backup: bool) -> Result<Table, TableError> {
        let header = &self.header;
        let space = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
        let entries: Vec<_> = self.entries().collect();
        let mut table =
            Table { is_backup, disk_guid: { header.disk_guid }, partitions: vec![], notes: vec![] };
        for (at, entry) in entries.iter().enumerate() {
            // A partition of ours must share no block with any other one, even if the other one is
            // odd itself.
            let others = entries.iter().enumerate().filter(|(other, _)| *other != at);
            let shared = others.map(|(_, other)| other).find(|other| entry.overlaps(other));
            let odd = match shared {
                _ if entry.last < entry.first => Odd::NoLength,
                _ if entry.first < space.0 || entry.last > space.1 => Odd::Outside,
                Some(other) => Odd::Overlaps(other.index),
                None => {
                    table.partitions.push(entry.partition(block));
                    continue;
                }
            };
            let (index, name) = (entry.index, &entry.name);
            if entry.is_ours {
                return Err(TableError::Partition { index, why: odd });
            }
            table.notes.push(format!("partition {index} `{name}` skipped: it {odd}"));
        }
        Ok(table)
    }

    /// The first and the last block that partitions have, of those in the space for them.
    #[must_use]
    pub fn used(&self) -> Option<(u64, u64)> {
        let space = self.header.first_usable_lba.to_u64()..=self.header.last_usable_lba.to_u64();
        self.entries()
            .filter(|entry| entry.first <= entry.last)
            .filter(|entry| space.contains(&entry.first) && space.contains(&entry.last))
            .map(|entry| (entry.first, entry.last))
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// The first partition that `other` has otherwise: its position, and what it is in each.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(u32, [String; 2])> {
        let entry = |copy: &Self, at: usize| -> Option<GptPartitionEntry> {
            let bytes = copy.entries.chunks_exact(ENTRY_BYTES as usize).nth(at)?;
            let entry: GptPartitionEntry = bytemuck::pod_read_unaligned(bytes);
            entry.is_used().then_some(entry)
        };
        let most = self.entries.len().max(other.entries.len()) / ENTRY_BYTES as usize;
        (0..most).find(|at| entry(self, *at) != entry(other, *at)).map(|at| {
            let words = [self, other].map(|copy| {
                entry(copy, at).map_or_else(
                    || "unused".into(),
                    |entry| {
                        let name = text(&{ entry.name }.0);
                        let (first, last) =
                            (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
                        format!("`{name}` in blocks {first} to {last}")
                    },
                )
            });
            (at as u32 + 1, words)
        })
    }

    /// Whether the MBR has a partition that this table has not. A hybrid MBR repeats partitions of
    /// the table; one that was written later does not have them.
    #[must_use]
    pub fn is_contradicted(&self, label: &Label) -> bool {
        label.partitions().any(|(start, len)| {
            !self.entries().any(|entry| {
                entry.first == start && entry.last.checked_sub(start).map(|n| n + 1) == Some(len)
            })
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        (1..).zip(self.entries.chunks_exact(ENTRY_BYTES as usize)).filter_map(|(index, bytes)| {
            let entry = bytemuck::from_bytes::<GptPartitionEntry>(bytes);
            entry.is_used().then(|| {
                let name = text(&{ entry.name }.0);
                let kind = entry.partition_type_guid.0;
                Entry {
                    index,
                    is_ours: name.starts_with(names::PARTITION_PREFIX)
                        || [RECORD_KIND, SLOT_KIND, RECOVERY_KIND].contains(&kind),
                    name,
                    kind,
                    guid: { entry.unique_partition_guid },
                    first: entry.starting_lba.to_u64(),
                    last: entry.ending_lba.to_u64(),
                }
            })
        })
    }
}

/// A partition, in blocks, that may be odd.
struct Entry {
    index: u32,
    is_ours: bool,
    name: String,
    kind: Guid,
    guid: Guid,
    first: u64,
    last: u64,
}

impl Entry {
    fn overlaps(&self, other: &Self) -> bool {
        let (from, to) = (self.first.max(other.first), self.last.min(other.last));
        self.first <= self.last && other.first <= other.last && from <= to
    }

    /// For one that is in the space for partitions: then nothing overflows.
    fn partition(&self, block: u32) -> Partition {
        Partition {
            index: self.index,
            name: self.name.clone(),
            kind: self.kind,
            guid: self.guid,
            start_bytes: self.first * u64::from(block),
            len_bytes: (self.last - self.first + 1) * u64::from(block),
        }
    }
}

/// A name as Linux and its tools read it: UTF-16 up to the first zero. Pairs of surrogates are one
/// character; both sides have to call a partition the same.
fn text(name: &[u8; 72]) -> String {
    let units = name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
