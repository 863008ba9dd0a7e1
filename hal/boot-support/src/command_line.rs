//! The command line of a kernel: the verified one, with the boot proof appended where there is one.
//!
//! The command line that the machine's firmware hands to the loader is never used here. An attacker
//! who can write that line could otherwise change what the kernel does.

use alloc::vec::Vec;

use stillboot::format::names::PROOF_PARAMETER;
use stillboot::format::{BootProof, Slot};

/// Longest command line that kernels on x86_64 and aarch64 take, in bytes with the final zero. They
/// cut what is longer, and the proof stands at the end.
pub const LEN_MAX: usize = 2048;

/// Why a command line cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CommandLineError {
    /// It has a byte that is no printable ASCII.
    NotText {
        /// Where.
        at: usize,
    },
    /// With the longest proof it is longer than a kernel reads.
    TooLong {
        /// Bytes without the proof.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// It has a proof of its own, which only the loader may give.
    HasProof,
    /// A double quote is never closed: the system would read the proof as part of what it opens,
    /// and not find it.
    OpenQuote,
}

impl core::fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotText { at } => {
                write!(
                    f,
                    "the command line has a byte that is no printable ASCII, at {at}: a tab, a \
                           line end, a byte order mark or a letter with an accent"
                )
            }
            Self::TooLong { found, most } => write!(
                f,
                "the command line has {found} bytes: expected at most {most}, for kernels read \
                 {LEN_MAX} with the boot proof"
            ),
            Self::OpenQuote => f.write_str(
                "the command line has an odd number of double quotes: the last one hides the proof",
            ),
            Self::HasProof => {
                write!(
                    f,
                    "the command line has {PROOF_PARAMETER}= in it: only the loader may add it"
                )
            }
        }
    }
}

impl core::error::Error for CommandLineError {}

/// A command line without the line ends, spaces and zeros at its end, which do not count.
#[must_use]
pub fn trimmed(cmdline: &[u8]) -> &[u8] {
    let end = cmdline.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | b' ' | 0));
    &cmdline[..end.map_or(0, |end| end + 1)]
}

/// Checks that a command line can be handed over, whatever the proof of the start will be. Loaders
/// and those who pack have this rule in common.
///
/// # Errors
/// [`CommandLineError`].
pub fn check(cmdline: &[u8]) -> Result<(), CommandLineError> {
    let cmdline = trimmed(cmdline);
    if let Some(at) = cmdline.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(CommandLineError::NotText { at });
    }
    // With the sign: `stillboot.proofread` is another name.
    let own = |window: &[u8]| window.strip_suffix(b"=") == Some(PROOF_PARAMETER.as_bytes());
    if cmdline.windows(PROOF_PARAMETER.len() + 1).any(own) {
        return Err(CommandLineError::HasProof);
    }
    // Kernels treat every double quote as one, also after a backslash.
    if cmdline.iter().filter(|byte| **byte == b'"').count() % 2 != 0 {
        return Err(CommandLineError::OpenQuote);
    }
    // A line must not start at one power-on and be too long at the next one.
    let longest = BootProof {
        slot: Slot::Recovery,
        digest: [0xff; 32],
        attempt: u8::MAX,
        nonce: u64::MAX,
        keyset_version: u32::MAX,
        record_version: u16::MAX,
        manifest_schema: u8::MAX,
    };
    // A space, the sign and the final zero.
    let most = LEN_MAX - (PROOF_PARAMETER.len() + longest.emit().len() + 3);
    match cmdline.len() {
        found if found > most => Err(CommandLineError::TooLong { found, most }),
        _ => Ok(()),
    }
}

/// The command line for a kernel, with a final zero. `cmdline` is the verified component, empty if
/// there is none; line ends and zeros at its end do not count. `proof` is that of the slot; what was
/// started from no slot has none, and must not claim one.
///
/// # Errors
/// [`CommandLineError`].
pub fn command_line(
    cmdline: &[u8],
    proof: Option<&BootProof>,
) -> Result<Vec<u8>, CommandLineError> {
    check(cmdline)?;
    let mut line = trimmed(cmdline).to_vec();
    if let Some(proof) = proof {
        let separator: &str = if line.is_empty() { "" } else { " " };
        let proof = proof.emit();
        for piece in [separator, PROOF_PARAMETER, "=", &proof] {
            line.extend_from_slice(piece.as_bytes());
        }
    }
    line.push(0);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec;

    use super::*;

    fn proof() -> BootProof {
        BootProof {
            slot: Slot::B,
            digest: [0xab; 32],
            attempt: 2,
            nonce: 7,
            keyset_version: 1,
            record_version: 1,
            manifest_schema: 1,
        }
    }

    fn text(cmdline: &[u8]) -> String {
        let mut line = command_line(cmdline, Some(&proof())).unwrap();
        assert_eq!(line.pop(), Some(0));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn proof_is_appended_and_linux_finds_it() {
        let line = text(b"console=ttyS0 panic=1\n");
        assert!(line.starts_with("console=ttyS0 panic=1 stillboot.proof=1:b:abab"), "{line}");
        let found = stillboot_linux::proof::from_cmdline(&line).unwrap().unwrap();
        assert_eq!(BootProof::parse(found), Some(proof()));
    }

    #[test]
    fn without_a_command_line_there_is_the_proof_alone() {
        for empty in [&b""[..], b"\n", b" \0"] {
            assert!(text(empty).starts_with("stillboot.proof="));
        }
    }

    #[test]
    fn what_a_kernel_would_misread_is_refused() {
        let refused = |cmdline: &[u8]| command_line(cmdline, Some(&proof())).unwrap_err();
        assert_eq!(refused(b"a\nb"), CommandLineError::NotText { at: 1 });
        assert_eq!(refused(b"a\0b"), CommandLineError::NotText { at: 1 });
        assert_eq!(refused(b"\xc3\xa4"), CommandLineError::NotText { at: 0 });
        assert_eq!(refused(b"x stillboot.proof=1:a"), CommandLineError::HasProof);
        assert_eq!(refused(b"root=\"/dev/my disk quiet"), CommandLineError::OpenQuote);
        assert!(text(b"root=\"/dev/my disk\" quiet").contains(" quiet stillboot.proof="));
        assert_eq!(refused(b"a\tb"), CommandLineError::NotText { at: 1 });
        assert_eq!(refused(b"\xef\xbb\xbfquiet"), CommandLineError::NotText { at: 0 });
        assert!(text(b"stillboot.proofread=1").contains("proofread=1 stillboot.proof=1:"));
    }

    /// What fits one proof has to fit every other, and with no proof the limit is the same.
    #[test]
    fn longest_line_has_room_for_the_longest_proof() {
        let mut most = 0;
        for len in 0..=LEN_MAX {
            match check(&vec![b'x'; len]) {
                Ok(()) => most = len,
                Err(error) => {
                    assert_eq!(error, CommandLineError::TooLong { found: len, most });
                    let line = vec![b'x'; len];
                    assert_eq!(command_line(&line, None), Err(error));
                }
            }
        }
        let longest = BootProof {
            slot: Slot::Recovery,
            attempt: u8::MAX,
            nonce: u64::MAX,
            keyset_version: u32::MAX,
            record_version: u16::MAX,
            manifest_schema: u8::MAX,
            ..proof()
        };
        assert_eq!(command_line(&vec![b'x'; most], Some(&longest)).unwrap().len(), LEN_MAX);
    }
}
