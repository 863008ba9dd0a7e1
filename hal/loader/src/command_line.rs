//! The command line of a kernel: the verified one, with the boot proof appended where there is one.
//!
//! What the machine's firmware hands to the loader never gets here: whoever can write that could
//! otherwise change what the kernel does.

use alloc::vec::Vec;

use stillboot::format::BootProof;

/// The parameter that carries the proof.
pub const PARAMETER: &str = "stillboot.proof";

/// Longest command line that kernels on x86_64 and aarch64 take, in bytes with the final zero. They
/// cut what is longer, and the proof stands at the end.
pub const LEN_MAX: usize = 2048;

/// Why a command line cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandLineError {
    /// It has a byte that is no printable ASCII.
    NotText {
        /// Where.
        at: usize,
    },
    /// With the proof it is longer than a kernel reads.
    TooLong {
        /// Bytes with the proof and the final zero.
        found: usize,
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
                write!(f, "the command line has a byte that is no printable ASCII, at {at}")
            }
            Self::TooLong { found } => write!(
                f,
                "the command line has {found} bytes with the proof: kernels read {LEN_MAX}"
            ),
            Self::OpenQuote => f.write_str(
                "the command line has an odd number of double quotes: the last one hides the proof",
            ),
            Self::HasProof => {
                write!(f, "the command line has {PARAMETER} already: only the loader may add it")
            }
        }
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
    let end = cmdline.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | b' ' | 0));
    let cmdline = &cmdline[..end.map_or(0, |end| end + 1)];
    if let Some(at) = cmdline.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(CommandLineError::NotText { at });
    }
    if cmdline.windows(PARAMETER.len()).any(|window| window == PARAMETER.as_bytes()) {
        return Err(CommandLineError::HasProof);
    }
    // Kernels toggle at every double quote, whatever stands before it.
    if cmdline.iter().filter(|byte| **byte == b'"').count() % 2 != 0 {
        return Err(CommandLineError::OpenQuote);
    }
    let mut line = cmdline.to_vec();
    if let Some(proof) = proof {
        let separator: &str = if cmdline.is_empty() { "" } else { " " };
        let proof = proof.emit();
        for piece in [separator, PARAMETER, "=", &proof] {
            line.extend_from_slice(piece.as_bytes());
        }
    }
    line.push(0);
    match line.len() {
        found if found > LEN_MAX => Err(CommandLineError::TooLong { found }),
        _ => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec;

    use stillboot::format::Slot;

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
        let longest = LEN_MAX - (text(b"").len() + 2);
        assert_eq!(text(&vec![b'x'; longest]).len(), LEN_MAX - 1);
        let found = LEN_MAX + 1;
        assert_eq!(refused(&vec![b'x'; longest + 1]), CommandLineError::TooLong { found });
    }
}
