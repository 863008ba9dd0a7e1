//! Where the loader's boot proof reaches the running system: finds its text, does not judge it.
//!
//! The loader hands the proof over in a volatile place, so that the one found here is of this
//! power-on: the kernel command line, an EFI variable, or the device tree's `/chosen`. A process
//! with root rights can forge all three. The proof guards against mistakes (confirming a slot that
//! is not the one running), and the core compares it with the record before anything is written.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use stillboot::format::names;

use crate::{guid, open};

/// The property of the device tree, below the root directory.
pub const CHOSEN: &str = "proc/device-tree/chosen/stillboot,proof";

/// Why the boot proof is not known. That there is none at all is not an error here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Two values cannot both be the loader's, and it is unknown which one was added.
    #[error(
        "the kernel command line has `stillboot.proof` more than once: only the loader may add it"
    )]
    Duplicate,
    /// The parameter stands there without a value.
    #[error("`stillboot.proof` has no value: expected what the loader passed")]
    Empty,
    /// A source exists but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The source.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The variable outlives a power-on, so it may be of an earlier boot.
    #[error(
        "the EFI variable {} is non-volatile: a boot proof must not outlive its boot; delete it",
        path.display()
    )]
    NonVolatile {
        /// The variable's file.
        path: PathBuf,
    },
    /// Not a proof's text, whatever it is.
    #[error("{} does not hold a boot proof: {why}", path.display())]
    Malformed {
        /// The source.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The boot proof of the system that runs below `root` (`/` outside of tests): from the kernel
/// command line, else from the EFI variable, else from `/chosen`.
///
/// # Errors
/// [`ProofError`] of the first source that exists and is not right. The next source is not asked,
/// because a proof that was tampered with must not be replaced by another one silently.
pub fn read_live(root: &Path) -> Result<Option<String>, ProofError> {
    let cmdline = root.join("proc/cmdline");
    if let Some(bytes) = read_if_there(&cmdline)? {
        // Other parameters may hold any bytes; a boot proof is text.
        let line = String::from_utf8_lossy(&bytes);
        if let Some(proof) = from_cmdline(&line)? {
            return Ok(Some(proof.to_owned()));
        }
    }
    if let Some(proof) = from_efi_variable(&efi_variable(root))? {
        return Ok(Some(proof));
    }
    let chosen = root.join(CHOSEN);
    match read_if_there(&chosen)? {
        Some(bytes) => text(&bytes, &chosen).map(Some),
        None => Ok(None),
    }
}

/// The file of the EFI variable with the boot proof, below `root`.
pub fn efi_variable(root: &Path) -> PathBuf {
    let name = format!("{}-{}", names::PROOF_VARIABLE, guid::VENDOR);
    root.join("sys/firmware/efi/efivars").join(name)
}

/// The value of `stillboot.proof=` in a kernel command line, `None` if it has none.
///
/// Splits as the kernel does: at spaces outside of double quotes, which may stand around the value
/// or around the whole parameter.
///
/// # Errors
/// [`ProofError::Duplicate`], [`ProofError::Empty`].
pub fn from_cmdline(line: &str) -> Result<Option<&str>, ProofError> {
    let mut found = None;
    for parameter in Parameters(line) {
        let (name, value) = match parameter.strip_prefix('"') {
            // Quotes around the whole parameter: the last one closes them.
            Some(inner) => split_value(inner.strip_suffix('"').unwrap_or(inner)),
            None => match split_value(parameter) {
                (name, Some(value)) => match value.strip_prefix('"') {
                    Some(inner) => (name, Some(inner.strip_suffix('"').unwrap_or(inner))),
                    None => (name, Some(value)),
                },
                nothing => nothing,
            },
        };
        if name != names::PROOF_PARAMETER {
            continue;
        }
        if found.is_some() {
            return Err(ProofError::Duplicate);
        }
        found = match value {
            Some("") | None => return Err(ProofError::Empty),
            value => value,
        };
    }
    Ok(found)
}

/// The boot proof in an EFI variable, given its file in efivarfs; `None` if there is no such file.
///
/// # Errors
/// [`ProofError`].
pub fn from_efi_variable(path: &Path) -> Result<Option<String>, ProofError> {
    let Some(bytes) = read_if_there(path)? else { return Ok(None) };
    // efivarfs puts the variable's attributes before its value.
    let Some((attributes, value)) = bytes.split_first_chunk::<4>() else {
        return Err(ProofError::Malformed {
            path: path.to_path_buf(),
            why: "it is shorter than its attributes",
        });
    };
    if u32::from_le_bytes(*attributes) & EFI_VARIABLE_NON_VOLATILE != 0 {
        return Err(ProofError::NonVolatile { path: path.to_path_buf() });
    }
    text(value, path).map(Some)
}

const EFI_VARIABLE_NON_VOLATILE: u32 = 1;

/// A proof has some hundred bytes, a kernel command line at most some thousand.
const SOURCE_BYTES_MAX: u64 = 64 * 1024;

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, ProofError> {
    match open::small(path, SOURCE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(ProofError::Read { path: path.to_path_buf(), source }),
    }
}

/// Visible ASCII, with at most one NUL behind it: device trees end their strings so.
fn text(bytes: &[u8], path: &Path) -> Result<String, ProofError> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(ProofError::Malformed { path: path.to_path_buf(), why: "it is empty" });
    }
    match str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(u8::is_ascii_graphic) => Ok(text.to_owned()),
        _ => Err(ProofError::Malformed {
            path: path.to_path_buf(),
            why: "expected letters, digits and signs of ASCII only",
        }),
    }
}

fn split_value(parameter: &str) -> (&str, Option<&str>) {
    match parameter.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (parameter, None),
    }
}

/// The parameters of a kernel command line, with their quotes.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = rest
            .find(|c: char| {
                quoted ^= c == '"';
                !quoted && c.is_ascii_whitespace()
            })
            .unwrap_or(rest.len());
        let (parameter, rest) = rest.split_at(end);
        self.0 = rest;
        Some(parameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn value_is_found_among_other_parameters() {
        for (line, expected) in [
            ("", None),
            ("ro quiet\n", None),
            ("stillboot.proof=abc", Some("abc")),
            ("ro stillboot.proof=a=b:c root=/dev/x\n", Some("a=b:c")),
            ("\tro  stillboot.proof=abc\n", Some("abc")),
            ("stillboot.proof=\"a b\" ro", Some("a b")),
            ("ro \"stillboot.proof=a b\"", Some("a b")),
            ("stillboot.proof=\"open to the end", Some("open to the end")),
            // Not the parameter: in another one's value, or with another name.
            ("dyndbg=\"x stillboot.proof=abc\" ro", None),
            ("x=stillboot.proof=abc", None),
            ("stillboot.proofs=abc xstillboot.proof=abc", None),
            ("Stillboot.proof=abc", None),
            // Behind `--` it is for init, but a second one is a second one.
            ("ro -- stillboot.proof=abc", Some("abc")),
        ] {
            assert_eq!(from_cmdline(line).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn second_value_is_refused_even_if_equal() {
        for line in [
            "stillboot.proof=a stillboot.proof=b",
            "stillboot.proof=a ro stillboot.proof=a",
            "stillboot.proof=a \"stillboot.proof=b\"",
            "stillboot.proof=a -- stillboot.proof=b",
        ] {
            assert!(matches!(from_cmdline(line), Err(ProofError::Duplicate)), "{line:?}");
        }
    }

    #[test]
    fn parameter_without_value_is_refused() {
        for line in ["stillboot.proof", "stillboot.proof= ro", "stillboot.proof=\"\""] {
            assert!(matches!(from_cmdline(line), Err(ProofError::Empty)), "{line:?}");
        }
    }

    struct System(tempfile::TempDir);

    impl System {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn with(self, path: &Path, bytes: &[u8]) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            self
        }
        fn cmdline(self, line: &str) -> Self {
            self.with(Path::new("proc/cmdline"), line.as_bytes())
        }
        fn variable(self, attributes: u32, value: &[u8]) -> Self {
            let bytes = [&attributes.to_le_bytes()[..], value].concat();
            self.with(&efi_variable(Path::new("")), &bytes)
        }
        fn chosen(self, value: &[u8]) -> Self {
            self.with(Path::new(CHOSEN), value)
        }
        fn proof(&self) -> Result<Option<String>, ProofError> {
            read_live(self.0.path())
        }
    }

    #[test]
    fn sources_are_asked_in_order() {
        assert_eq!(System::new().proof().unwrap(), None);
        assert_eq!(System::new().cmdline("ro quiet\n").proof().unwrap(), None);
        let system = System::new().chosen(b"tree\0");
        assert_eq!(system.proof().unwrap().as_deref(), Some("tree"));
        let system = system.variable(6, b"variable");
        assert_eq!(system.proof().unwrap().as_deref(), Some("variable"));
        let system = system.cmdline("ro stillboot.proof=line\n");
        assert_eq!(system.proof().unwrap().as_deref(), Some("line"));
    }

    #[test]
    fn source_in_doubt_is_not_replaced_by_the_next() {
        let system = System::new().chosen(b"tree\0").variable(6, b"variable");
        let system = system.cmdline("stillboot.proof=a stillboot.proof=b");
        assert!(matches!(system.proof(), Err(ProofError::Duplicate)));
    }

    #[test]
    fn variable_that_outlives_a_boot_is_refused() {
        let system = System::new().variable(7, b"variable");
        assert!(matches!(system.proof(), Err(ProofError::NonVolatile { .. })));
    }

    #[test]
    fn garbage_is_named_not_returned() {
        for system in [
            System::new().variable(6, b""),
            System::new().variable(6, b"a b"),
            System::new().variable(6, b"a\0b"),
            System::new().variable(6, &[0xFF, 0xFE]),
            System::new().with(&efi_variable(Path::new("")), &[6, 0]),
            System::new().chosen(b"\0"),
        ] {
            assert!(matches!(system.proof(), Err(ProofError::Malformed { .. })));
        }
    }

    #[test]
    fn unreadable_source_is_an_error() {
        let system = System::new();
        fs::create_dir_all(system.0.path().join("proc/cmdline")).unwrap();
        let error = system.proof().unwrap_err();
        assert!(error.to_string().contains("proc/cmdline"), "{error}");
    }
}
