//! The two small blocks at the head of a slot that say whether it is complete and confirmed.
//!
//! ```text
//!  0  4  magic: "SBCM" committed, "SBOK" confirmed
//!  4  4  format version = 1
//!  8 32  SHA-256 of the manifest
//! 40  4  CRC-32 of bytes 0..40
//! ```
//!
//! The commit block is written when every byte of the slot is in place and was read back; the
//! confirmed block when the running system proved its health. They serve when all copies of the
//! boot record are lost, and grant no trust: the manifest they name is verified like any other.

// Why: docs/DESIGN.md#why-marks-beside-record

use super::{Digest, FormatError, crc32, u32_at};

/// Length of a mark, in bytes.
pub const LEN: usize = 44;
const VERSION: u32 = 1;

/// Which of the two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MarkKind {
    /// The slot is complete.
    Committed,
    /// The slot's system has proven its health.
    Confirmed,
}

impl MarkKind {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Committed => *b"SBCM",
            Self::Confirmed => *b"SBOK",
        }
    }
}

/// A commit block or a confirmed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which of the two.
    pub kind: MarkKind,
    /// SHA-256 of the manifest it was written for.
    pub digest: Digest,
}

impl Mark {
    /// Reads a mark of `kind` at the start of `bytes`; what follows it is padding.
    ///
    /// # Errors
    /// [`FormatError`]; a block that was erased or torn is one of them.
    pub fn parse(kind: MarkKind, bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, _) = bytes.split_first_chunk::<LEN>().ok_or(FormatError::Short)?;
        if bytes[0..4] != kind.magic() {
            return Err(FormatError::Magic);
        }
        if u32_at(bytes, 40) != crc32(&bytes[..40]) {
            return Err(FormatError::Checksum);
        }
        match u32_at(bytes, 4) {
            VERSION => {}
            found => return Err(FormatError::Version { found: found.min(0xffff) as u16 }),
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[8..40]);
        Ok(Self { kind, digest })
    }

    /// The mark's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0..4].copy_from_slice(&self.kind.magic());
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..40].copy_from_slice(&self.digest);
        let crc = crc32(&out[..40]);
        out[40..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}
