//! Files that are either whole or not there.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags};
use rustix::io::Errno;
use stillboot_linux::new_file::directory;
use stillboot_linux::open;
use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure};

/// Longest text file that is read whole: ours are much shorter.
const TEXT_LEN_MAX: u64 = 1 << 20;

/// Writes the file at `path` by `write`: see [`Replacement`].
pub fn replace<T>(
    path: &Path,
    inputs: &[&Path],
    write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
) -> Result<T, Failure> {
    Replacement::open("--out", path, inputs)?.write(write)
}

/// As [`replace`], for a writer that goes back to the start of the file.
pub fn replace_file<T>(
    path: &Path,
    inputs: &[&Path],
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    Replacement::open("--out", path, inputs)?.write_file(write)
}

/// A file that is about to be written: one without a name first, then, once every byte is on the
/// medium, under its name. What stood there before stays until then, and keeps its mode and owner.
pub struct Replacement {
    /// As it was called.
    named: PathBuf,
    /// Where it goes.
    path: PathBuf,
    directory: PathBuf,
    temporary: Unnamed,
}

impl Replacement {
    /// Makes sure that the file can be written, and makes room for it. `option` names it, `inputs`
    /// are all files that the command reads: none of them is overwritten.
    pub fn open(option: &str, named: &Path, inputs: &[&Path]) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::system("write", named, &error);
        let path = Self::place(option, named, inputs)?;
        let old = fs::metadata(&path).ok();
        let directory = directory(&path).to_owned();
        let temporary = Unnamed::create(&directory).map_err(failed)?;
        if let Some(old) = &old {
            let file = temporary.file();
            // Only root can change the owner of a file; what others create is theirs.
            let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777)).map_err(failed)?;
        }
        Ok(Self { named: named.to_owned(), path, directory, temporary })
    }

    /// Where the file goes, if it may be written. What it is given is as of [`open`](Self::open).
    pub fn place(option: &str, named: &Path, inputs: &[&Path]) -> Result<PathBuf, Failure> {
        let failed = |error: io::Error| Failure::system("write", named, &error);
        if named == Path::new("-") {
            return Err(Failure::usage(
                "expected a file to write to, found `-`: standard output has the result in words; \
                 `./-` is a file of that name",
            ));
        }
        for input in inputs {
            not_the_same(option, named, input)?;
        }
        if leads_to_open_file(named) {
            return Err(Failure::usage(format_args!(
                "expected a file to write to, found `{}`, which stands for a file that this \
                 process has open: give the file's own name",
                named.display()
            )));
        }
        let old = fs::metadata(named).ok();
        if old.as_ref().is_some_and(|found| !found.is_file()) {
            return Err(Failure::usage(format_args!(
                "expected {} to be a file, or nothing yet; it is something else",
                named.display()
            )));
        }
        // A link stays a link: its target is replaced.
        match old {
            Some(_) => fs::canonicalize(named).map_err(failed),
            None => Ok(named.to_owned()),
        }
    }

    /// Writes it.
    pub fn write<T>(
        self,
        write: impl FnOnce(&mut dyn Write) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.write_file(|file| write(file))
    }

    /// Writes it; the writer may seek.
    pub fn write_file<T>(
        self,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { named, path, directory, temporary } = self;
        let failed = |error: io::Error| Failure::system("write", &named, &error);
        let mut buffered = BufWriter::with_capacity(1 << 16, temporary.file());
        let value = write(&mut buffered)?;
        buffered.flush().map_err(failed)?;
        drop(buffered);
        temporary.file().sync_all().map_err(failed)?;
        temporary.persist(&directory, &path).map_err(failed)?;
        sync(&directory).map_err(failed)?;
        Ok(value)
    }

    /// Leaves nothing under its name, not what stood there before either.
    pub fn remove(self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::system("remove", &self.named, &error);
        match fs::remove_file(&self.path) {
            Ok(()) => sync(&self.directory).map_err(failed),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes these bytes.
    pub fn write_all(self, bytes: &[u8]) -> Result<(), Failure> {
        let named = self.named.clone();
        self.write(|file| {
            file.write_all(bytes).map_err(|error| Failure::system("write", &named, &error))
        })
    }
}

/// A name, or that it is gone, lasts only once the directory is on the medium.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A file that vanishes with this process, however that ends, until it is given a name.
enum Unnamed {
    /// It has none.
    Truly(File),
    /// The file system has no files without names; this one is removed when it is dropped.
    Named(NamedTempFile),
}

impl Unnamed {
    fn create(directory: &Path) -> io::Result<Self> {
        // 0666 minus the umask, as if it had been created under its own name.
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, mode) {
            Ok(file) => return Ok(Self::Truly(file.into())),
            // A temporary file could not be created either, and the message would have its name.
            Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::ROFS)) => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        let builder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory);
        builder.map(Self::Named)
    }

    fn file(&self) -> &File {
        match self {
            Self::Truly(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }

    fn persist(self, directory: &Path, path: &Path) -> io::Result<()> {
        let file = match self {
            Self::Named(file) => return file.persist(path).map(|_| ()).map_err(|e| e.error),
            Self::Truly(file) => file,
        };
        // A file without a name cannot replace another one: it gets a temporary name first.
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |to: &Path| rustix::fs::linkat(CWD, &unnamed, CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(path) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        let temporary = tempfile::Builder::new()
            .prefix(PREFIX)
            .make_in(directory, |to| link(to).map_err(io::Error::from))?;
        temporary.persist(path).map_err(|error| error.error)
    }
}

/// How names begin of files that are about to get another one.
const PREFIX: &str = ".stillboot-";

/// Refuses an output that is the file or device of an input: it would be overwritten.
pub fn not_the_same(option: &str, output: &Path, input: &Path) -> Result<(), Failure> {
    let (Ok(out), Ok(found)) = (fs::metadata(output), fs::metadata(input)) else { return Ok(()) };
    if (out.dev(), out.ino()) == (found.dev(), found.ino()) {
        return Err(Failure::usage(format_args!(
            "{option}: expected another file than {}, which is read, found {}",
            input.display(),
            output.display()
        )));
    }
    Ok(())
}

/// Whether a path leads through /proc to what a process has open, as /dev/stdout does. That it is a
/// regular file just now is no reason to replace it: the process that redirected it keeps the old
/// one open.
fn leads_to_open_file(path: &Path) -> bool {
    let mut path = path.to_owned();
    // Linux follows at most this many links.
    for _ in 0..40 {
        let Ok(folder) = fs::canonicalize(directory(&path)) else { break };
        if folder.starts_with("/proc") {
            return true;
        }
        let Some(name) = path.file_name() else { break };
        let Ok(target) = fs::read_link(folder.join(name)) else { break };
        path = folder.join(target);
    }
    false
}

/// Whether two paths lead to one file, which need not be there yet.
pub fn is_one_path(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        // A link to a file is followed; a dangling link is replaced itself.
        if let Ok(found) = fs::canonicalize(path) {
            return Some(found);
        }
        Some(fs::canonicalize(directory(path)).ok()?.join(path.file_name()?))
    };
    place(one).is_some_and(|found| place(other) == Some(found))
}

/// Whether anything has this name, be it a link that leads nowhere.
///
/// # Errors
/// It cannot be told: a folder on the way cannot be looked into.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a small file whole.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_up_to(path, TEXT_LEN_MAX)
}

/// Reads a file whole that has at most `len_max` bytes.
pub fn read_up_to(path: &Path, len_max: u64) -> Result<Vec<u8>, Failure> {
    open::small(path, len_max).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => {
            Failure::new(Exit::Refused, "format", format_args!("{}: {error}", path.display()))
        }
        _ => Failure::system("read", path, &error),
    })
}

/// Reads a small text file whole, without the mark that some editors put at its start.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(read(path)?).map_err(|_| {
        Failure::usage(format_args!("{} is not text: expected UTF-8", path.display()))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
