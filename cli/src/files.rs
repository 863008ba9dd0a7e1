//! Files that are either whole or not there.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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

/// Refuses an output that is the file or device of an input: it would be overwritten.
pub fn not_the_same(output: &Path, input: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(out), Ok(found)) = (fs::metadata(output), fs::metadata(input)) else { return Ok(()) };
    if (out.dev(), out.ino()) == (found.dev(), found.ino()) {
        return Err(Failure::usage(format_args!(
            "{} is {}: expected another file to write to",
            output.display(),
            input.display()
        )));
    }
    Ok(())
}

/// Opens a regular file for reading. It is looked at first: to open a pipe may wait for ever.
pub fn open(path: &Path, expected: &str) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::system("read", path, &error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::usage(format_args!(
            "{}: expected a regular file with {expected}, found something else",
            path.display()
        )));
    }
    File::open(path).map_err(failed)
}

/// Reads a small file whole.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let failed = |error: io::Error| Failure::system("read", path, &error);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TEXT_LEN_MAX + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > TEXT_LEN_MAX {
        return Err(Failure::usage(format_args!(
            "{} is longer than {TEXT_LEN_MAX} bytes: expected a small file",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Reads a small text file whole.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| Failure::usage(format_args!("{} is not text: expected UTF-8", path.display())))
}
