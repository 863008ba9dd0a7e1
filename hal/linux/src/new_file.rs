//! New files that get their name only when they are whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// Writes `bytes` to a new file at `path` with the permissions `mode`, less the umask. A process that
/// is killed leaves nothing: a key of no bytes would keep the next attempt from its name.
///
/// # Errors
/// What the system said; a file that is there already is never overwritten.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::from_raw_mode(mode)) {
        Ok(file) => {
            let mut file = File::from(file);
            file.write_all(bytes)?;
            file.sync_all()?;
            let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        }
        // The file system knows no files without names.
        Err(_) => {
            let mut file = tempfile::Builder::new()
                .prefix(".stillboot-")
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(directory)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|error| error.error)?;
        }
    }
    // The name lasts only once the directory is on the medium.
    File::open(directory).and_then(|directory| directory.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}
