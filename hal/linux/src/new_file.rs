//! New files that get their name only when they are whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// Writes `bytes` to a new file at `path` with the permissions `mode`, less the umask. A process that
/// is killed leaves nothing: a key of no bytes would keep the next attempt from its name.
///
/// # Errors
/// What the system said; a file that is there already is never overwritten.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = NewFile::beside(path, mode)?;
    new.file().write_all(bytes)?;
    new.name(path)
}

/// A file without a name, or with one that does not outlive this value.
#[derive(Debug)]
pub(crate) enum NewFile {
    /// Without one.
    Unnamed(File),
    /// The file system has no files without names.
    Temporary(NamedTempFile),
}

impl NewFile {
    /// Makes one in the directory of `path`.
    pub(crate) fn beside(path: &Path, mode: u32) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(directory(path), flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(Self::Unnamed(file.into())),
            // These errors do not depend on the name. The message of the system would name the
            // temporary file.
            Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::ROFS)) => {
                Err(error.into())
            }
            Err(_) => tempfile::Builder::new()
                .prefix(".stillboot-")
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(directory(path))
                .map(Self::Temporary),
        }
    }

    /// The file, to be read and written.
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Unnamed(file) => file,
            Self::Temporary(file) => file.as_file(),
        }
    }

    /// Gives it its name once it is on the medium. A file that is there already is never overwritten.
    pub(crate) fn name(self, path: &Path) -> io::Result<()> {
        self.file().sync_all()?;
        match self {
            Self::Unnamed(file) => {
                let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
            }
            Self::Temporary(file) => {
                file.persist_noclobber(path).map_err(|error| error.error)?;
            }
        }
        // The name lasts only once the directory is on the medium.
        File::open(directory(path)).and_then(|directory| directory.sync_all()).inspect_err(|_| {
            let _ = fs::remove_file(path);
        })
    }
}

/// The directory that a path without one means, too.
#[must_use]
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
