//! Reading and checking a partition table.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use gpt::disk::LogicalBlockSize;
use gpt::header::{Header, read_header_from_arbitrary_device};
use gpt::partition::file_read_partitions;

use super::{Partition, Table, TableError};

impl Table {
    /// Reads the partition table of a disk or of the image of one.
    ///
    /// `logical_block` is the sector size; `None` asks a block device, and tries both sizes on a
    /// regular file.
    ///
    /// # Errors
    /// [`TableError`], which names the path.
    pub fn read(path: impl AsRef<Path>, logical_block: Option<u32>) -> Result<Self, TableError> {
        let path = path.as_ref();
        let failed =
            |action| move |source| TableError::System { path: path.to_path_buf(), action, source };
        let mut file = File::open(path).map_err(failed("open"))?;
        let kind = file.metadata().map_err(failed("examine"))?.file_type();
        let disk_bytes = file.seek(SeekFrom::End(0)).map_err(failed("find the size of"))?;

        let known = match logical_block {
            None if kind.is_block_device() => Some(
                rustix::fs::ioctl_blksszget(&file)
                    .map_err(io::Error::from)
                    .map_err(failed("ask for the logical block of"))?,
            ),
            given => given,
        };
        let sizes = match known {
            Some(512) => vec![LogicalBlockSize::Lb512],
            Some(4096) => vec![LogicalBlockSize::Lb4096],
            Some(asked) => return Err(TableError::LogicalBlock { asked }),
            None => vec![LogicalBlockSize::Lb512, LogicalBlockSize::Lb4096],
        };
        let disk = Disk { path, file: &file, disk_bytes };
        // All primaries before any backup: at the end of an image that was grown or reused lies
        // what an earlier table left there.
        let mut why = Vec::new();
        for place in [Place::Primary, Place::Backup] {
            let mut found = None;
            for size in &sizes {
                match disk.read(*size, place) {
                    Ok(_) if found.is_some() => {
                        return Err(TableError::TwoTables { path: path.to_path_buf() });
                    }
                    Ok(table) => found = Some(table),
                    Err(reason) => {
                        why.push(format!("{place} for sectors of {size} bytes: {reason}"));
                    }
                }
            }
            if let Some(table) = found {
                return Ok(table);
            }
        }
        Err(TableError::NoTable { path: path.to_path_buf(), why: why.join("; ") })
    }
}

#[derive(Clone, Copy)]
enum Place {
    Primary,
    Backup,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

struct Disk<'a> {
    path: &'a Path,
    file: &'a File,
    disk_bytes: u64,
}

impl Disk<'_> {
    fn read(&self, size: LogicalBlockSize, place: Place) -> Result<Table, String> {
        let blocks = self.disk_bytes / size.as_u64();
        if blocks < 3 {
            return Err("the disk is too small".to_owned());
        }
        let lba = match place {
            Place::Primary => 1,
            Place::Backup => blocks - 1,
        };
        let header = self.header(size, lba)?;
        self.check_header(&header, lba, blocks)?;
        let mut file = self.file;
        let entries = file_read_partitions(&mut file, &header, size).map_err(|e| e.to_string())?;

        let mut partitions = Vec::new();
        for (index, entry) in entries {
            if !entry.is_used() {
                continue;
            }
            if entry.first_lba < header.first_usable
                || entry.last_lba < entry.first_lba
                || entry.last_lba > header.last_usable
            {
                return Err(format!("partition {index} is not in the space for partitions"));
            }
            partitions.push(Partition {
                index,
                name: entry.name,
                type_guid: entry.part_type_guid.guid,
                part_guid: entry.part_guid,
                // Cannot overflow: the last block is on the disk.
                start_bytes: entry.first_lba * size.as_u64(),
                len_bytes: (entry.last_lba - entry.first_lba + 1) * size.as_u64(),
            });
        }
        check_overlap(&partitions)?;
        Ok(Table {
            path: self.path.to_path_buf(),
            disk_guid: header.disk_guid,
            // 512 or 4096.
            logical_block_bytes: size.as_u64() as u32,
            is_backup: matches!(place, Place::Backup),
            partitions,
        })
    }

    fn header(&self, size: LogicalBlockSize, lba: u64) -> Result<Header, String> {
        // The reader always looks at block 1, so the file is shifted below it.
        let mut shifted = Shifted { file: self.file, shift: (lba - 1) * size.as_u64() };
        read_header_from_arbitrary_device(&mut shifted, size).map_err(|error| error.to_string())
    }

    /// What the reader of the entries takes for granted, and where it would panic or read for
    /// hours instead.
    fn check_header(&self, header: &Header, lba: u64, blocks: u64) -> Result<(), String> {
        if header.current_lba != lba {
            return Err(format!("it says that it lies at block {}", header.current_lba));
        }
        if header.part_size != ENTRY_BYTES {
            return Err(format!("its entries have {} bytes, not 128", header.part_size));
        }
        if header.num_parts > ENTRIES_MAX {
            return Err(format!("it has {} entries", header.num_parts));
        }
        if header.part_start < 1 || header.part_start >= blocks {
            return Err("its entries are not on the disk".to_owned());
        }
        if header.first_usable < 2
            || header.first_usable > header.last_usable
            || header.last_usable >= blocks
        {
            return Err("its space for partitions is not on the disk".to_owned());
        }
        Ok(())
    }
}

const ENTRY_BYTES: u32 = 128;

/// Eight times what every tool writes.
const ENTRIES_MAX: u32 = 1024;

fn check_overlap(partitions: &[Partition]) -> Result<(), String> {
    let mut by_start: Vec<_> = partitions.iter().collect();
    by_start.sort_by_key(|partition| partition.start_bytes);
    for pair in by_start.windows(2) {
        if pair[0].start_bytes + pair[0].len_bytes > pair[1].start_bytes {
            return Err(format!("partitions {} and {} overlap", pair[0].index, pair[1].index));
        }
    }
    Ok(())
}

/// A file from a later byte on.
struct Shifted<'a> {
    file: &'a File,
    shift: u64,
}

impl Read for Shifted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

impl Seek for Shifted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => self.file.seek(SeekFrom::Start(at + self.shift))?,
            other => self.file.seek(other)?,
        };
        Ok(at.saturating_sub(self.shift))
    }
}
