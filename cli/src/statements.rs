//! Statements that come with a bundle: finding the files, and saying what became of each.
//!
//! Beside a bundle `NAME` lie `NAME.sbs` and `NAME.WORD.sbs`, by the bundle's whole name. Nothing
//! else of a file's name counts: which of several statements is the latest is under the signature.

// Why: docs/DESIGN.md#why-statements-are-files

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stillboot::format::{FormatError, Statement, envelope};
use stillboot::verify::{
    Device, SignatureError, SoftSha256, TrustError, Verified, verify_keyset, verify_statement,
};
use stillboot_linux::new_file::directory;
use stillboot_linux::open;
use stillboot_release::statement;

use crate::bounds;
use crate::failure::{Exit, Failure, trust_advice};
use crate::output::Output;
use crate::{files, time, view};

/// Most statements beside a bundle that are verified, and most files there that are looked into for
/// them: a folder that others can fill must not mean work without an end. Files that are no
/// statements do not count among the statements; otherwise an attacker who may add files could bury
/// a halt under them.
const BESIDE_MAX: usize = 64;
const FILES_MAX: usize = 4096;

/// Most of them that are named where they do not count.
const REPORTED_MAX: usize = 64;

/// A file that may hold a statement.
#[derive(Debug)]
pub struct Given {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Whether it was found beside the bundle. Otherwise the user named it, so it must be readable.
    pub is_beside: bool,
}

/// The files that were named, and those beside `bundle`.
///
/// # Errors
/// A file that was named cannot be read, or one beside the bundle that may be the statement that
/// counts; there are more than are looked into.
pub fn find(named: &[PathBuf], bundle: &Path, out: &Output) -> Result<Vec<Given>, Failure> {
    let mut given = Vec::new();
    let mut statements = 0;
    for path in beside(bundle, out)? {
        // Not from a pipe, which may never end, and no more bytes than a statement can have.
        let read = open::file(&path).and_then(|file| {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            file.take(envelope::LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) => {
                if statement::parse(&bytes).is_ok() {
                    statements += 1;
                }
                if statements > BESIDE_MAX {
                    return Err(too_many(BESIDE_MAX, "statements", bundle));
                }
                given.push(Given { path, bytes, is_beside: true });
            }
            Err(error) if is_nothing_to_read(&error) => {
                out.warn(format_args!("{} is skipped: {error}", path.display()));
            }
            Err(error) => {
                return Err(Failure::system("read", &path, &error).also(
                    "by its name it is a statement about the bundle, and it may be the latest \
                     one: make it readable, or remove it",
                ));
            }
        }
    }
    for path in named {
        // A file that is named and also lies beside the bundle counts once.
        given.retain(|other| !is_same(&other.path, path));
        given.push(Given { path: path.clone(), bytes: files::read(path)?, is_beside: false });
    }
    Ok(given)
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// A directory, a pipe, a device or a dangling link: such a file cannot hold a statement.
fn is_nothing_to_read(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let kinds = [ErrorKind::InvalidInput, ErrorKind::NotFound, ErrorKind::NotADirectory];
    is_loop || kinds.contains(&error.kind())
}

/// One that is left out may be the halt, so nothing is decided without it.
fn too_many(most: usize, what: &str, bundle: &Path) -> Failure {
    Failure::new(
        Exit::Deferred,
        "statements",
        format_args!(
            "expected at most {most} {what} beside {}, found more: remove those that are not \
             needed, or give the bundle in a folder of its own",
            bundle.display()
        ),
    )
}

/// The files beside `bundle` whose names say that they are about it, in the order of their names.
fn beside(bundle: &Path, out: &Output) -> Result<Vec<PathBuf>, Failure> {
    let Some(name) = bundle.file_name() else { return Ok(Vec::new()) };
    if bundle == Path::new("-") {
        return Ok(Vec::new());
    }
    let folder = directory(bundle);
    let mut found = Vec::new();
    let mut list = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let file = entry?.file_name();
            if is_about(file.as_bytes(), name.as_bytes()) {
                found.push(folder.join(file));
            }
            if found.len() > FILES_MAX {
                break;
            }
        }
        Ok(())
    };
    match list() {
        Ok(()) => {}
        // The bundle is not there either then, which is reported when it is opened.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => out.warn(format_args!(
            "cannot list the folder {}: {error}; statements beside the bundle do not count, unless \
             --statement names them",
            folder.display()
        )),
    }
    if found.len() > FILES_MAX {
        return Err(too_many(FILES_MAX, "files with names of statements", bundle));
    }
    found.sort();
    Ok(found)
}

/// Whether a file of this name speaks of the bundle `name`: `update` has nothing to do with
/// `update-other.sbs`, nor with `update.sbb.tests.sbs`.
fn is_about(file: &[u8], name: &[u8]) -> bool {
    let Some(rest) = file.strip_prefix(name).and_then(|rest| rest.strip_suffix(b".sbs")) else {
        return false;
    };
    match rest.split_first() {
        None => true,
        Some((b'.', word)) => !word.is_empty() && !word.contains(&b'.'),
        Some(_) => false,
    }
}

/// What became of a statement.
#[derive(Debug)]
pub struct Standing {
    /// Its file.
    pub path: PathBuf,
    /// One word for scripts.
    pub state: &'static str,
    /// The same for people.
    pub why: String,
}

impl Standing {
    /// Whether it was thought to count and does not.
    pub fn is_reported(&self) -> bool {
        !["counts", "superseded"].contains(&self.state)
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        json!({ "file": view::path(&self.path), "state": self.state, "why": self.why })
    }
}

impl core::fmt::Display for Standing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Those of `standings` that are to be reported, in words. Of many the first are enough.
pub fn reported(standings: &[Standing]) -> Vec<String> {
    let all = standings.iter().filter(|standing| standing.is_reported());
    let count = all.clone().count();
    let mut lines: Vec<_> = all.take(REPORTED_MAX).map(Standing::to_string).collect();
    if count > REPORTED_MAX {
        lines.push(format!("{} more files beside the bundle", count - REPORTED_MAX));
    }
    lines
}

/// Those of `given` that are signed by keys of the keyset in `head`, and the result of each.
/// Whether one counts is the policy's decision; what is said of it here follows the same rule.
///
/// # Errors
/// A statement that was named and cannot be trusted.
pub fn verify(
    given: &[Given],
    device: &Device<'_>,
    head: &[u8],
    digest: &[u8; 32],
) -> Result<(Vec<Verified<Statement>>, Vec<Standing>), Failure> {
    let mut verified = Vec::new();
    let mut standings = Vec::new();
    for Given { path, bytes, is_beside } in given {
        match check(bytes, device, head) {
            Ok(statement) => verified.push((path, statement)),
            Err(error) if *is_beside => standings.push(Standing {
                path: path.clone(),
                state: "not-trusted",
                why: format!(
                    "not trusted: {}",
                    bounds::trust_error(error, bytes) + &advice(&error)
                ),
            }),
            Err(error) => {
                let why = bounds::trust_error(error, bytes) + &advice(&error);
                let message = format!("{}: not trusted: {why}", path.display());
                return Err(Failure::new(Exit::Refused, "statement", message));
            }
        }
    }
    for (path, statement) in &verified {
        let number = statement.number;
        let alike = |other: &Statement| {
            (other.digest, other.kind, &other.name)
                == (statement.digest, statement.kind, &statement.name)
        };
        let later = verified
            .iter()
            .map(|(_, other)| other)
            .find(|other| alike(other) && other.number > number);
        let expired =
            statement.not_after != 0 && time::now().is_some_and(|now| now > statement.not_after);
        let (state, why) = if statement.digest != *digest {
            let found = view::hex(&statement.digest);
            ("other-bundle", format!("is about another bundle, with digest {found}"))
        } else if let Some(later) = later {
            ("superseded", format!("number {number} gives way to number {}", later.number))
        } else if expired {
            let until = time::show(statement.not_after);
            ("expired", format!("{} statement number {number} expired on {until}", statement.kind))
        } else {
            ("counts", format!("{} statement number {number}", statement.kind))
        };
        standings.push(Standing { path: (*path).clone(), state, why });
    }
    Ok((verified.into_iter().map(|(_, statement)| statement).collect(), standings))
}

/// What to do where this build lacks a kind of keys: the file is what it should be.
pub fn advice(error: &TrustError) -> String {
    match error {
        TrustError::KeysetSignature(SignatureError::Kind { .. })
        | TrustError::StatementSignature(SignatureError::Kind { .. }) => {
            format!("; {}", trust_advice(error))
        }
        _ => String::new(),
    }
}

fn check(
    bytes: &[u8],
    device: &Device<'_>,
    head: &[u8],
) -> Result<Verified<Statement>, TrustError> {
    // No signature is checked for a file that does not parse.
    let (envelope, _) =
        statement::parse(bytes).map_err(|error: FormatError| TrustError::Statement(error))?;
    let (keyset, _) = stillboot::format::Envelope::parse(head).map_err(TrustError::Keyset)?;
    let keyset = verify_keyset::<SoftSha256>(device, &keyset)?;
    verify_statement::<SoftSha256>(device, &keyset, &envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_matched_by_the_whole_name_of_the_bundle() {
        for (file, bundle, expected) in [
            ("update.sbb.sbs", "update.sbb", true),
            ("update.sbb.tests.sbs", "update.sbb", true),
            ("update.tests.sbs", "update", true),
            ("update.sbs", "update", true),
            ("update-other.sbs", "update", false),
            ("update2.sbs", "update", false),
            ("update.sbb.tests.sbs", "update", false),
            ("update.sbb..sbs", "update.sbb", false),
            ("update.sbb.tests", "update.sbb", false),
            ("update.sbb", "update.sbb", false),
            ("update.sbbsbs", "update.sbb", false),
            ("other.sbb.sbs", "update.sbb", false),
        ] {
            assert_eq!(is_about(file.as_bytes(), bundle.as_bytes()), expected, "{file} {bundle}");
        }
    }
}
