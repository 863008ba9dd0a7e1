//! Opens what a path names, after a look at what that is.
//!
//! To open is to do something already: a watchdog device starts to count, a pipe waits for a writer
//! for ever, a tape winds back. So every path that a person or a folder gives is looked at first.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long a pipe without a writer is waited for.
const WRITER_WAIT: Duration = Duration::from_secs(5);
const WRITER_PAUSE: Duration = Duration::from_millis(20);

/// What a path names, in words.
#[must_use]
pub fn name_of(kind: FileType) -> &'static str {
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "something else"
    }
}

/// Opens a regular file for reading.
///
/// # Errors
/// As the system says; [`ErrorKind::InvalidInput`] for anything but a regular file.
pub fn file(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true), FileType::is_file, "a regular file")
        .map(|(file, _)| file)
}

/// Opens a regular file or a block device with these options.
///
/// # Errors
/// As [`file()`].
pub fn disk(path: &Path, options: &OpenOptions) -> io::Result<(File, Metadata)> {
    let fits = |kind: &FileType| kind.is_file() || kind.is_block_device();
    open(path, options, fits, "a disk or the image of one")
}

/// What is read from its start to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A regular file: it can be read twice.
    File(File),
    /// A pipe: its first byte, and the rest.
    Pipe(Option<u8>, File),
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Pipe(first, pipe) => match (first.take(), into.first_mut()) {
                (Some(byte), Some(place)) => {
                    *place = byte;
                    Ok(1)
                }
                (byte, _) => {
                    *first = byte;
                    pipe.read(into)
                }
            },
        }
    }
}

/// Opens a regular file or a pipe for reading. A pipe that has no writer is waited for, but not for
/// ever.
///
/// # Errors
/// As [`file()`]; [`ErrorKind::TimedOut`] for a pipe that has no writer.
pub fn input(path: &Path) -> io::Result<Input> {
    let fits = |kind: &FileType| kind.is_file() || kind.is_fifo();
    let options = OpenOptions::new().read(true).clone();
    let (file, found) = open(path, &options, fits, "a regular file or a pipe")?;
    if found.is_file() {
        return Ok(Input::File(file));
    }
    let started = Instant::now();
    let mut byte = [0];
    let first = loop {
        match (&file).read(&mut byte) {
            Ok(1..) => break Some(byte[0]),
            // It has a writer that has not written yet.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(0) if started.elapsed() < WRITER_WAIT => thread::sleep(WRITER_PAUSE),
            Ok(0) => {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "it is a pipe that nothing writes to",
                ));
            }
        }
    };
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(Input::Pipe(first, file))
}

/// Reads a file, or a pipe, of at most `len_max` bytes.
///
/// # Errors
/// As [`input`]; [`ErrorKind::FileTooLarge`] for a longer one.
pub fn small(path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input(path)?.take(len_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("expected a small file, this one is longer than {len_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// As [`small`], for text.
///
/// # Errors
/// As [`small`]; [`ErrorKind::InvalidData`] for what is no UTF-8.
pub fn small_text(path: &Path, len_max: u64) -> io::Result<String> {
    String::from_utf8(small(path, len_max)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "expected text in UTF-8"))
}

fn open(
    path: &Path,
    options: &OpenOptions,
    fits: impl Fn(&FileType) -> bool,
    expected: &str,
) -> io::Result<(File, Metadata)> {
    let check = |found: Metadata| match fits(&found.file_type()) {
        true => Ok(found),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("expected {expected}, found {}", name_of(found.file_type())),
        )),
    };
    check(std::fs::metadata(path)?)?;
    // The name may lead to another file by now: it is opened without waiting, and checked again.
    let file = options.clone().custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let found = check(file.metadata()?)?;
    Ok((file, found))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, Kind::Fifo, Mode::RWXU, 0).unwrap();
        for (path, found) in [
            (pipe.as_path(), "a pipe"),
            (folder.path(), "a directory"),
            (Path::new("/dev/null"), "a character device"),
        ] {
            let error = file(path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().ends_with(found), "{error}");
            let error = disk(path, OpenOptions::new().read(true)).unwrap_err();
            assert!(error.to_string().ends_with(found), "{error}");
        }
        assert!(input(folder.path()).is_err() && input(Path::new("/dev/zero")).is_err());
        let gone = folder.path().join("none");
        std::os::unix::fs::symlink(&gone, folder.path().join("dangling")).unwrap();
        let error = small(&folder.path().join("dangling"), 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn pipes_are_read_whenever_their_writer_comes_and_small_is_small() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, Kind::Fifo, Mode::RWXU, 0).unwrap();
        for pause in [0, 100] {
            let to = pipe.clone();
            let writer = thread::spawn(move || {
                thread::sleep(Duration::from_millis(pause));
                let mut to = OpenOptions::new().write(true).open(to).unwrap();
                thread::sleep(Duration::from_millis(pause));
                to.write_all(b"some bytes").unwrap();
            });
            assert_eq!(small(&pipe, 10).unwrap(), b"some bytes");
            writer.join().unwrap();
        }
        let path = folder.path().join("file");
        std::fs::write(&path, b"some bytes").unwrap();
        assert_eq!(small_text(&path, 10).unwrap(), "some bytes");
        assert_eq!(small(&path, 9).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(small_text(&path, 9).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
