//! Creating the image of a disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use gpt::{GptConfig, partition};
use rustix::io::Errno;
use rustix::process::Resource;
use uuid::Uuid;

use super::{Table, TableError, read};
use crate::new_file::NewFile;

/// Partitions start at multiples of this, so that no erase block of any medium holds parts of two.
pub const ALIGNMENT_BYTES: u64 = 1 << 20;

/// A partition to [`create`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionSpec {
    /// Name: at most 36 units of UTF-16.
    pub name: String,
    /// What kind of partition it is; [`guid`](crate::guid) has those of stillboot.
    pub type_guid: Uuid,
    /// Length: a multiple of 4096.
    pub size_bytes: u64,
    /// PARTUUID; `None` draws one.
    pub part_guid: Option<Uuid>,
}

impl PartitionSpec {
    /// A partition of this name, kind and length, with a PARTUUID that is drawn.
    #[must_use]
    pub fn new(name: impl Into<String>, type_guid: Uuid, size_bytes: u64) -> Self {
        Self { name: name.into(), type_guid, size_bytes, part_guid: None }
    }

    /// The same with a [PARTUUID](Self::part_guid) that is given.
    #[must_use]
    pub const fn with_part_guid(mut self, part_guid: Option<Uuid>) -> Self {
        self.part_guid = part_guid;
        self
    }
}

/// Creates the sparse image of a disk with these partitions, in order, and returns the table as it
/// reads back.
///
/// Given all GUIDs, equal arguments make equal bytes. The file must not exist before. It is durable
/// when this returns, and not there if it fails or the process ends before.
///
/// # Errors
/// [`TableError`], which names the path.
pub fn create(
    path: impl AsRef<Path>,
    size_bytes: u64,
    logical_block: u32,
    partitions: &[PartitionSpec],
    disk_guid: Option<Uuid>,
) -> Result<Table, TableError> {
    let path = path.as_ref();
    let size = LogicalBlockSize::try_from(u64::from(logical_block))
        .map_err(|_| TableError::LogicalBlock { asked: logical_block })?;
    let layout = Layout::plan(size_bytes, size, partitions)
        .map_err(|why| TableError::Layout { path: path.to_path_buf(), why })?;
    let failed =
        |action| move |source| TableError::System { path: path.to_path_buf(), action, source };

    // The file gets its name last, and never replaces another file: an existing image may be the
    // disk of a running device.
    let new = NewFile::beside(path, 0o666).map_err(failed("create"))?;
    fits_limit(size_bytes).map_err(failed("write"))?;
    layout.write(new.file(), disk_guid).map_err(failed("write"))?;
    let table = read::read_file(new.file(), path, Some(logical_block))?;
    new.name(path).map_err(failed("create"))?;
    Ok(table)
}

/// A file beyond the limit of the process would end it without a word.
fn fits_limit(size_bytes: u64) -> io::Result<()> {
    let limit = rustix::process::getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < size_bytes) {
        return Err(Errno::FBIG.into());
    }
    Ok(())
}

/// Entries of the table, all with their place.
struct Layout {
    disk_bytes: u64,
    size: LogicalBlockSize,
    entries: BTreeMap<u32, partition::Partition>,
}

impl Layout {
    fn plan(
        disk_bytes: u64,
        size: LogicalBlockSize,
        specs: &[PartitionSpec],
    ) -> Result<Self, String> {
        let block = size.as_u64();
        if !disk_bytes.is_multiple_of(ALIGNMENT_BYTES) || disk_bytes < 3 * ALIGNMENT_BYTES {
            return Err(format!("expected 3 MiB or more in whole MiB, not {disk_bytes} bytes"));
        }
        if specs.len() > ENTRIES as usize {
            return Err(format!("{} partitions, at most {ENTRIES}", specs.len()));
        }
        // The backup header and entries at the end.
        let end = disk_bytes - block - (ENTRIES * ENTRY_BYTES).next_multiple_of(block);
        let mut entries: BTreeMap<u32, partition::Partition> = BTreeMap::new();
        let mut start = ALIGNMENT_BYTES;
        for (index, spec) in (1..).zip(specs) {
            let name = &spec.name;
            if name.encode_utf16().count() > NAME_UNITS_MAX || name.contains('\0') {
                return Err(format!("`{name}` is no name for a partition: at most 36 characters"));
            }
            if spec.type_guid.is_nil() {
                return Err(format!("`{name}` has the type of an unused entry"));
            }
            if spec.size_bytes == 0 || !spec.size_bytes.is_multiple_of(4096) {
                return Err(format!(
                    "`{name}` has {} bytes: expected a multiple of 4096",
                    spec.size_bytes
                ));
            }
            let part_guid = spec.part_guid.unwrap_or_else(Uuid::new_v4);
            if entries.values().any(|entry| entry.part_guid == part_guid) {
                return Err(format!("`{name}` has the PARTUUID of another partition: {part_guid}"));
            }
            let Some(next) = start.checked_add(spec.size_bytes).filter(|next| *next <= end) else {
                return Err(format!(
                    "`{name}` with {} bytes does not fit: {} are left of {disk_bytes}",
                    spec.size_bytes,
                    end.saturating_sub(start)
                ));
            };
            entries.insert(
                index,
                partition::Partition {
                    part_type_guid: Type { guid: spec.type_guid, os: OperatingSystem::None },
                    part_guid,
                    first_lba: start / block,
                    last_lba: next / block - 1,
                    flags: 0,
                    name: name.clone(),
                },
            );
            start = next.next_multiple_of(ALIGNMENT_BYTES);
        }
        Ok(Self { disk_bytes, size, entries })
    }

    fn write(self, mut file: &File, disk_guid: Option<Uuid>) -> io::Result<()> {
        file.set_len(self.disk_bytes)?;
        // Disks too large for its field are given as the largest value: UEFI 2.10, 5.2.3.
        let blocks = self.disk_bytes / self.size.as_u64() - 1;
        ProtectiveMBR::with_lb_size(u32::try_from(blocks).unwrap_or(u32::MAX))
            .overwrite_lba0(&mut file)
            .map_err(io::Error::other)?;
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(self.size)
            .create_from_device(file, disk_guid)
            .map_err(io::Error::other)?;
        table.update_partitions(self.entries).map_err(io::Error::other)?;
        table.write().map_err(io::Error::other)?;
        Ok(())
    }
}

/// What every tool writes.
const ENTRIES: u64 = 128;
const ENTRY_BYTES: u64 = 128;
const NAME_UNITS_MAX: usize = 36;
