//! The highest numbers of statements that this device has seen, in a small file of its own.
//!
//! ```text
//! stillboot-seen-1
//! <digest of the manifest, hexadecimal> <kind> <number>
//! ...
//! sum <first 16 hexadecimal digits of the SHA-256 of all lines before>
//! ```
//!
//! A device that fetches statements from a mirror gets what the mirror wants to give. With this
//! file the mirror cannot take back a statement that it gave once. The file is kept where there is
//! room for it: a device without the folder keeps none. It decides nothing that could keep a device
//! from booting, so a fault of the file is a warning. The file is whole or not there, because it is
//! written under another name first.

// Why: docs/DESIGN.md#why-seen-numbers-are-kept-twice

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use stillboot::format::{Digest, StatementKind, statement};
use stillboot::verify::{SoftSha256, digest_of};
use stillboot_linux::open;
use stillboot_policy::Seen;

use crate::output::Output;
use crate::{files, view};

/// Where the file is by default.
pub const DEFAULT_FOLDER: &str = "/var/lib/stillboot";

const FILE_NAME: &str = "statements-seen";
const TITLE: &str = "stillboot-seen-1\n";

/// As many updates as a device meets in years, and a file of some kilobytes.
const ENTRIES_MAX: usize = 128;
const LEN_MAX: u64 = 64 << 10;

/// The file, read.
#[derive(Debug)]
pub struct SeenFile {
    path: PathBuf,
    /// The latest first.
    entries: Vec<Seen>,
    changed: bool,
}

impl SeenFile {
    /// Reads the file in `folder`, or in the usual one; `None` where there is no such folder. Before
    /// the first statement there is no file.
    pub fn open(folder: Option<&Path>, out: &Output) -> Option<Self> {
        let is_wanted = folder.is_some();
        let folder = folder.unwrap_or_else(|| Path::new(DEFAULT_FOLDER));
        if !folder.is_dir() {
            // A dangling link was meant to lead to a folder.
            if is_wanted || !matches!(files::is_there(folder), Ok(false)) {
                out.warn(format_args!(
                    "{} is no folder: which statements were seen is not kept",
                    folder.display()
                ));
            }
            return None;
        }
        let path = folder.join(FILE_NAME);
        let mut entries = Vec::new();
        match open::small(&path, LEN_MAX) {
            Ok(bytes) => match parse(&bytes) {
                Some(found) => entries = found,
                None => out.warn(format_args!(
                    "{} is damaged: which statements were seen is not known",
                    path.display()
                )),
            },
            Err(_) if matches!(files::is_there(&path), Ok(false)) => {}
            Err(error) => out.warn(format_args!("cannot read {}: {error}", path.display())),
        }
        Some(Self { path, entries, changed: false })
    }

    /// The highest numbers that were seen.
    pub fn entries(&self) -> &[Seen] {
        &self.entries
    }

    /// Notes that a statement was seen.
    pub fn note(&mut self, digest: Digest, kind: StatementKind, number: u64) {
        let about = |entry: &Seen| entry.digest == digest && entry.kind == kind;
        let known = self.entries.iter().position(about);
        if known.is_some_and(|at| self.entries[at].number >= number) {
            return;
        }
        if let Some(at) = known {
            self.entries.remove(at);
        }
        self.entries.insert(0, Seen::new(digest, kind, number));
        self.entries.truncate(ENTRIES_MAX);
        self.changed = true;
    }

    /// Writes the file if there is something new.
    pub fn save(&mut self, out: &Output) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut text = TITLE.to_owned();
        for Seen { digest, kind, number, .. } in &self.entries {
            let _ = writeln!(text, "{} {} {number}", view::hex(digest), kind.name());
        }
        let sum = sum(&text);
        let _ = writeln!(text, "sum {sum}");
        let written = files::replace(&self.path, &[], |file| {
            file.write_all(text.as_bytes())
                .map_err(|error| crate::failure::Failure::system("write", &self.path, &error))
        });
        if let Err(failure) = written {
            out.warn(format_args!("{}: which statements were seen is not kept", failure.message));
        }
    }
}

fn sum(text: &str) -> String {
    view::hex(&digest_of::<SoftSha256>(text.as_bytes()))[..16].to_owned()
}

/// The entries; `None` for anything that was not written so.
fn parse(bytes: &[u8]) -> Option<Vec<Seen>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = &text[..body.len() + 1];
    if last.strip_prefix("sum ")? != sum(body) {
        return None;
    }
    let mut entries = Vec::new();
    for line in body.strip_prefix(TITLE)?.lines() {
        let mut words = line.split(' ');
        let (digest, kind, number) = (words.next()?, words.next()?, words.next()?);
        let kind = StatementKind::ALL.iter().find(|known| known.name() == kind)?;
        let number = number.parse().ok().filter(|number| *number <= statement::NUMBER_MAX)?;
        if words.next().is_some() || digest.len() != 64 || entries.len() == ENTRIES_MAX {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digest.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        entries.push(Seen::new(bytes, *kind, number));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out() -> Output {
        Output::new(true, true)
    }

    #[test]
    fn what_was_seen_is_kept_and_only_ever_rises() {
        let folder = tempfile::tempdir().unwrap();
        let open = || SeenFile::open(Some(folder.path()), &out()).unwrap();
        let kind = StatementKind::Channel;
        let mut file = open();
        file.note([1; 32], kind, 5);
        file.note([1; 32], StatementKind::Approval, 2);
        file.note([1; 32], kind, 4);
        file.note([2; 32], kind, 1);
        file.save(&out());
        let mut file = open();
        let number = |file: &SeenFile, digest, kind| {
            file.entries().iter().find(|e| e.digest == digest && e.kind == kind).unwrap().number
        };
        assert_eq!(number(&file, [1; 32], kind), 5);
        assert_eq!(number(&file, [1; 32], StatementKind::Approval), 2);
        // The number of entries has a bound: the oldest are dropped.
        for at in 0..ENTRIES_MAX as u8 {
            file.note([at | 0x80; 32], kind, u64::from(at) + 1);
            file.note([at & 0x7f; 32], StatementKind::Approval, u64::from(at) + 9);
        }
        file.save(&out());
        assert_eq!(open().entries().len(), ENTRIES_MAX);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_damaged_file_or_none_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(SeenFile::open(Some(&folder.path().join("none")), &out()).is_none());
        let open = || SeenFile::open(Some(folder.path()), &out()).unwrap();
        let mut file = open();
        file.note([1; 32], StatementKind::Channel, 5);
        file.save(&out());
        let path = folder.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(open().entries().is_empty(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(open().entries().is_empty(), "cut at {at}");
        }
        // The next statement makes a whole file of it.
        let mut file = open();
        file.note([1; 32], StatementKind::Channel, 6);
        file.save(&out());
        assert_eq!(open().entries().len(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut file = open();
        file.note([1; 32], StatementKind::Channel, 7);
        file.save(&out());
        assert!(path.is_dir());
    }
}
