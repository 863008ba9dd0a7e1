//! Why keys could not be read, written or used.

use std::path::PathBuf;

use stillboot::format::KeyKind;
use stillboot::verify::KeyId;

/// Why keys could not be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The payload of the envelope is not the one that its header names and its signatures cover.
    #[error("the payload is not the one that its envelope names: the file is damaged or changed")]
    OtherPayload,
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no key of the kind that is needed.
    #[error("{}: expected {expected}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// The file holds a key of a kind that this build cannot use.
    #[error(
        "{}: expected an Ed25519 key, found one of {kind} (kind {}), which this build cannot use",
        path.display(),
        kind.code()
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: KeyKind,
    },
    /// The file holds an encrypted key that was not opened.
    #[error("{}: {reason}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The file of roots breaks a rule.
    #[error("{}: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Which rule, what was found, and what to do.
        reason: String,
    },
    /// What was signed breaks its format.
    #[error("cannot sign: {0}")]
    Format(#[from] stillboot::format::FormatError),
    /// Two of the signers are the same key.
    #[error("the same key is given twice: each signer counts once")]
    SameKey,
    /// The signer failed.
    #[error("the signer failed: {0}")]
    Signer(String),
    /// The envelope has no room for another signature.
    #[error("expected at most 4 Ed25519 signatures, found 4 already: a fifth would not be read")]
    Full,
    /// The key has signed the envelope before.
    #[error("key {} has signed this already: each signer counts once", hex(.0))]
    SignedAlready(KeyId),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
