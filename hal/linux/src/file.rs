//! A file or a block device of Linux as a [`BlockDevice`].
//!
//! # One process at a time
//! An open device holds an advisory lock (`flock`): exclusive when it may write, shared when it
//! only reads. Two agents that update the same disk at the same time would each obey a boot record
//! that the other is about to replace. The lock belongs to the device node: open every region of a
//! disk through the same node, the whole disk, also because the kernel keeps one page cache for
//! `sda` and another one for `sda2`. udev takes a shared lock while it looks at a disk, so a
//! block device is asked for its lock for a short while before giving up.
//!
//! # Why not `O_EXCL`
//! The kernel refuses `O_EXCL` on a disk while any of its partitions is mounted. An agent works on
//! the very disk that its own root file system is mounted from, and confirming a boot writes to the
//! slot that is running. `O_EXCL` would refuse the normal case and protect none.
//!
//! # What a flush promises
//! `fdatasync`: the data and what is needed to find it. Opening for writing does one full `fsync`
//! first, because the file may have been created or grown a moment ago by a process that did not;
//! after that its size never changes here. Pages that were written since the last flush are then
//! dropped from the page cache, so that an install reads back what the device returns and not what
//! the kernel remembers.
//!
//! A flush that failed is final: from then on the device is only read, until it is opened again.
//!
//! # Past the page cache
//! After [`FileDevice::go_direct`] large requests in aligned memory go to the disk without a copy
//! in the page cache (`O_DIRECT`), and all others through it. Both see the same bytes. The kernel
//! stores dirty pages of a range before it reads or writes the range directly, and drops the pages
//! after a direct write. Only requests in whole aligned blocks of 4096 bytes go direct, so no page
//! has a part that came each way. One request runs at a time, because the trait takes `&mut self`,
//! so no page is read into the cache while a direct write is under way.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, FlockOperation, OFlags};
use rustix::io::Errno;
use stillboot::device::{BlockDevice, DeviceError, Geometry};

use crate::open;

/// How to open a [`FileDevice`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Refuse every write; several readers may have the device open.
    pub read_only: bool,
    /// The logical block: 512 or 4096. `None` asks a block device, and is 512 for a regular file.
    pub logical_block: Option<u32>,
}

impl OpenOptions {
    /// For reading and writing, with the logical block that the device has.
    #[must_use]
    pub const fn new() -> Self {
        Self { read_only: false, logical_block: None }
    }

    /// The same, stating whether every write is [refused](Self::read_only).
    #[must_use]
    pub const fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The same with a [logical block](Self::logical_block) that is given.
    #[must_use]
    pub const fn with_logical_block(mut self, logical_block: Option<u32>) -> Self {
        self.logical_block = logical_block;
        self
    }
}

/// Why a device could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// The device.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a terminal, a pipe: nothing with blocks.
    #[error("{}: {why}", path.display())]
    NotADevice {
        /// What was given.
        path: PathBuf,
        /// What was expected, and what that is.
        why: String,
    },
    /// Another process holds the lock.
    #[error(
        "{} is in use by another process{}; wait for it to finish, or stop it",
        path.display(),
        if *read_only { ", which is writing to it" } else { "" }
    )]
    Locked {
        /// The device.
        path: PathBuf,
        /// Whether it was to be opened for reading only.
        read_only: bool,
    },
    /// There is not one block on it.
    #[error("{}: expected a disk or the image of one, found {bytes} bytes", path.display())]
    Empty {
        /// The device.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The logical block is not one that can be served.
    #[error(
        "{} cannot be used with logical blocks of {asked} bytes: expected {expected}",
        path.display()
    )]
    LogicalBlock {
        /// The device.
        path: PathBuf,
        /// What was asked for, or what the device has.
        asked: u32,
        /// What would do.
        expected: &'static str,
    },
}

/// A regular file or a block device, locked while it is open.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    /// The same file past the page cache, where it is asked for and the file system can do it.
    direct: Option<File>,
    path: PathBuf,
    /// Its length, of which the last part may be no whole block.
    bytes: u64,
    geometry: Geometry,
    read_only: bool,
    is_regular: bool,
    unflushed: Unflushed,
    flush_failed: bool,
    last_error: Option<io::Error>,
}

impl FileDevice {
    /// Opens and locks the file or block device at `path`.
    ///
    /// # Errors
    /// [`OpenError`], which names the path.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, OpenError> {
        Self::open_as(path.as_ref(), options, true)
    }

    /// Opens the file or block device at `path` for reading, without a lock: another process may be
    /// changing what is read, and a reader that looks for a long time keeps no writer from it.
    ///
    /// # Errors
    /// [`OpenError`], which names the path.
    pub fn look(path: &Path, logical_block: Option<u32>) -> Result<Self, OpenError> {
        Self::open_as(
            path,
            OpenOptions::new().with_read_only(true).with_logical_block(logical_block),
            false,
        )
    }

    fn open_as(path: &Path, options: OpenOptions, is_locked: bool) -> Result<Self, OpenError> {
        let failed =
            |action| move |source| OpenError::System { path: path.to_path_buf(), action, source };
        let how = std::fs::OpenOptions::new().read(true).write(!options.read_only).clone();
        let (mut file, found) = open::disk(path, &how).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => {
                OpenError::NotADevice { path: path.to_path_buf(), why: error.to_string() }
            }
            _ => failed("open")(error),
        })?;
        let kind = found.file_type();
        if is_locked {
            lock(&file, path, options.read_only, kind.is_block_device())?;
        }

        let logical_block = logical_block(&file, path, options, kind.is_block_device())?;
        // Works for block devices too, and needs no ioctl.
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed("find the size of"))?;
        let capacity = bytes - bytes % u64::from(logical_block);
        if capacity == 0 {
            return Err(OpenError::Empty { path: path.to_path_buf(), bytes });
        }
        if !options.read_only {
            file.sync_all().map_err(failed("flush"))?;
        }
        let device = Self {
            file,
            direct: None,
            path: path.to_path_buf(),
            bytes,
            geometry: Geometry::disk(logical_block, capacity),
            read_only: options.read_only,
            is_regular: kind.is_file(),
            unflushed: Unflushed::default(),
            flush_failed: false,
            last_error: None,
        };
        // What an earlier process wrote, such as an interrupted installation, is read from the
        // device and not from the cache.
        if !options.read_only {
            device.drop_cache(0..capacity);
        }
        Ok(device)
    }

    /// Lets large requests in aligned memory go past the page cache, where the file system can do
    /// it. Returns whether it can, as far as that is known before the first request.
    // Why: docs/DESIGN.md#why-direct-io
    pub fn go_direct(&mut self) -> bool {
        let mut how = std::fs::OpenOptions::new();
        how.read(true).write(!self.read_only);
        // By the descriptor: the path may have got another meaning, and the lock is on this file.
        let same = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        self.direct = how.custom_flags(OFlags::DIRECT.bits() as i32).open(same).ok();
        self.direct.is_some()
    }

    /// The file past the page cache, if this request can take that way.
    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let is_aligned = offset.is_multiple_of(DIRECT_UNIT as u64)
            && bytes.len().is_multiple_of(DIRECT_UNIT)
            && bytes.as_ptr().addr().is_multiple_of(DIRECT_UNIT);
        self.direct.as_ref().filter(|_| is_aligned && bytes.len() >= DIRECT_LEN_MIN)
    }

    /// Counts in blocks of that size from now on: what the partition table of an image says.
    pub(crate) fn set_logical_block(&mut self, logical_block: u32) {
        let capacity = self.bytes - self.bytes % u64::from(logical_block);
        self.geometry = Geometry::disk(logical_block, capacity);
    }

    /// The file behind it.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said to the last request that failed, for messages: a
    /// [`DeviceError`] has only the kind.
    pub fn last_error(&self) -> Option<&io::Error> {
        self.last_error.as_ref()
    }

    fn failed(&mut self, error: io::Error) -> DeviceError {
        let kind = device_error(&error);
        self.last_error = Some(error);
        kind
    }

    /// A write past the end of a file that was cut short behind our back would let it grow again,
    /// with holes where bytes were.
    fn require_whole(&mut self) -> Result<(), DeviceError> {
        if !self.is_regular {
            return Ok(());
        }
        match self.file.metadata() {
            Ok(metadata) if metadata.len() >= self.geometry.capacity_bytes => Ok(()),
            Ok(_) => {
                Err(self
                    .failed(io::Error::new(ErrorKind::UnexpectedEof, "the file became shorter")))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Only advice: where it fails the pages stay, and reads are still correct.
    fn drop_cache(&self, range: Range<u64>) {
        // The kernel keeps a page of which only a part is named. No page is larger than 64 KiB.
        let start = range.start / PAGE_BYTES_MAX * PAGE_BYTES_MAX;
        let end = range.end.next_multiple_of(PAGE_BYTES_MAX);
        let _ =
            rustix::fs::fadvise(&self.file, start, NonZeroU64::new(end - start), Advice::DontNeed);
    }
}

impl BlockDevice for FileDevice {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        let direct = self.direct_for(offset, into).map(|direct| direct.read_exact_at(into, offset));
        let done = match direct {
            Some(Ok(())) => return Ok(()),
            // A file system that takes the flag and no request, or a disk with larger blocks. Other
            // errors of the disk come again when it is asked the other way.
            Some(Err(_)) | None => self.file.read_exact_at(into, offset),
        };
        done.map_err(|error| self.failed(error))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        if self.read_only {
            return Err(DeviceError::ReadOnly);
        }
        if self.flush_failed {
            return Err(DeviceError::Io);
        }
        self.require_whole()?;
        // Noted before the write, because a failed write may have stored a part.
        self.unflushed.add(offset, bytes.len() as u64);
        let direct =
            self.direct_for(offset, bytes).map(|direct| direct.write_all_at(bytes, offset));
        match direct {
            Some(Ok(())) => return Ok(()),
            // As above. Nothing was written then.
            Some(Err(error)) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                self.direct = None;
            }
            Some(Err(error)) => return Err(self.failed(error)),
            None => {}
        }
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        if self.read_only { Err(DeviceError::ReadOnly) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        if self.read_only {
            return Ok(());
        }
        // The kernel reports a failed write-back once and forgets the pages: the next fdatasync
        // would succeed without having stored them, and a commit block would name a slot with
        // holes. Only opening the device again ends this.
        if self.flush_failed {
            return Err(DeviceError::Io);
        }
        let synced = rustix::fs::fdatasync(&self.file).map_err(io::Error::from);
        if let Err(error) = synced {
            self.flush_failed = true;
            // Reads must not return bytes that exist only in memory.
            self.drop_cache(0..self.geometry.capacity_bytes);
            return Err(self.failed(error));
        }
        self.require_whole()?;
        if let Some(range) = self.unflushed.take_if_large() {
            self.drop_cache(range);
        }
        Ok(())
    }
}

/// Direct requests are in whole blocks of this many bytes: no disk has larger ones, and no page of
/// the cache is smaller.
const DIRECT_UNIT: usize = 4096;

/// Shorter requests go through the page cache, which waits for no disk.
const DIRECT_LEN_MIN: usize = 64 * 1024;

/// The largest page that Linux uses.
const PAGE_BYTES_MAX: u64 = 64 * 1024;

/// Up to this size a flush leaves the page cache alone. A record or a commit block is not read
/// again in this power-on, and dropping pages costs more than writing it.
const DROP_BYTES_MIN: u64 = 64 * 1024;

/// What was written since pages were last dropped.
#[derive(Debug, Default)]
struct Unflushed {
    range: Option<Range<u64>>,
    bytes: u64,
}

impl Unflushed {
    fn add(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        self.range = Some(match self.range.take() {
            Some(range) => range.start.min(offset)..range.end.max(end),
            None => offset..end,
        });
        self.bytes = self.bytes.saturating_add(len);
    }

    /// Small writes are kept and counted on, so that many of them are dropped as one large one is.
    fn take_if_large(&mut self) -> Option<Range<u64>> {
        if self.bytes <= DROP_BYTES_MIN {
            return None;
        }
        self.bytes = 0;
        self.range.take()
    }
}

/// How long a block device is asked for its lock, for udev's sake.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

fn lock(file: &File, path: &Path, read_only: bool, is_block: bool) -> Result<(), OpenError> {
    let operation = if read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    let attempts = if is_block { LOCK_ATTEMPTS } else { 1 };
    for attempt in 1..=attempts {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if attempt < attempts => thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => break,
            Err(error) => {
                return Err(OpenError::System {
                    path: path.to_path_buf(),
                    action: "lock",
                    source: error.into(),
                });
            }
        }
    }
    Err(OpenError::Locked { path: path.to_path_buf(), read_only })
}

fn logical_block(
    file: &File,
    path: &Path,
    options: OpenOptions,
    is_block: bool,
) -> Result<u32, OpenError> {
    let refused =
        |asked, expected| OpenError::LogicalBlock { path: path.to_path_buf(), asked, expected };
    let least = if is_block {
        rustix::fs::ioctl_blksszget(file).map_err(|error| OpenError::System {
            path: path.to_path_buf(),
            action: "ask for the logical block of",
            source: error.into(),
        })?
    } else {
        512
    };
    let block = options.logical_block.unwrap_or(least);
    match block {
        // A smaller block than the disk's would make the kernel read, change and write back: a
        // torn write could then reach beyond its own range.
        _ if block < least => Err(refused(block, "the block of the disk, or none given")),
        512 | 4096 => Ok(block),
        _ => Err(refused(block, "512 or 4096")),
    }
}

/// The error in the terms of the core.
pub(crate) fn device_error(error: &io::Error) -> DeviceError {
    // The end of a file that was longer when it was opened: the medium was changed.
    if error.kind() == ErrorKind::UnexpectedEof {
        return DeviceError::Gone;
    }
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => DeviceError::Full,
        Some(Errno::ROFS | Errno::ACCESS | Errno::BADF | Errno::PERM) => DeviceError::ReadOnly,
        Some(Errno::NODEV | Errno::NXIO | Errno::STALE) => DeviceError::Gone,
        _ => DeviceError::Io,
    }
}

#[cfg(test)]
mod tests;
