//! Files that are either whole or not there.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use stillboot_linux::open;

use crate::failure::Failure;

/// Longest text file that is read whole: none of ours comes near.
const TEXT_LEN_MAX: u64 = 1 << 20;

/// Writes the file at `path` by `write`: beside it first, then, once every byte is on the medium,
/// under its name. What stood there before stays until then.
pub fn replace<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |error: io::Error| Failure::system("write", path, &error);
    if let Ok(found) = fs::metadata(path)
        && !found.is_file()
    {
        return Err(Failure::usage(format_args!(
            "expected {} to be a file, or nothing yet; it is something else",
            path.display()
        )));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // 0666 less the umask, as if it had been created in place.
    let temporary = tempfile::Builder::new()
        .prefix(".stillboot-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    let mut buffered = BufWriter::with_capacity(1 << 16, temporary);
    let value = write(&mut buffered)?;
    let temporary = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(path).map_err(|error| failed(error.error))?;
    // The name itself lasts only once the directory is on the medium.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(value)
}

/// Reads a small file whole.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_up_to(path, TEXT_LEN_MAX)
}

/// Reads a file whole that has at most `len_max` bytes.
pub fn read_up_to(path: &Path, len_max: u64) -> Result<Vec<u8>, Failure> {
    open::small(path, len_max).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => Failure::usage(format_args!("{}: {error}", path.display())),
        _ => Failure::system("read", path, &error),
    })
}

/// Reads a small text file whole.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| Failure::usage(format_args!("{} is not text: expected UTF-8", path.display())))
}
