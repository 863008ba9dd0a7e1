//! The boot proof: what the loader tells the system it starts, and the system shows when it asks to
//! be confirmed or to install.
//!
//! One line of text, so that it can travel on a kernel command line, in a firmware variable or in a
//! device tree:
//!
//! ```text
//! 1:a:<digest, 64 hex>:<attempt, 2 hex>:<nonce, 16 hex>:<keyset version, 8 hex>:<record version, 4 hex>:<manifest schema, 2 hex>
//! ```
//!
//! Every field has a fixed width but the slot's name; digits are lower case. The proof protects
//! against mistakes (a stale file, another disk), not against the running system itself.

use heapless::String;

use super::{Digest, Slot};

/// Longest proof, in bytes.
pub const LEN_MAX: usize = 2 + 8 + 1 + 64 + 1 + 2 + 1 + 16 + 1 + 8 + 1 + 4 + 1 + 2;

/// What the loader vouches for at hand-over (protocol step 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BootProof {
    /// The slot that was started.
    pub slot: Slot,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// The number of the attempt; 0 for a slot that was good already.
    pub attempt: u8,
    /// The attempt's nonce; 0 for a slot that was good already.
    pub nonce: u64,
    /// The version of the keyset that vouched for it.
    pub keyset_version: u32,
    /// The highest version of the boot record that the loader reads.
    pub record_version: u16,
    /// The highest schema of a manifest that the loader reads.
    pub manifest_schema: u8,
}

impl BootProof {
    /// Reads a proof.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        if parts.next()? != "1" {
            return None;
        }
        let slot = Slot::from_name(parts.next()?)?;
        let mut digest = [0; 32];
        let hex = parts.next()?.as_bytes();
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        let mut number = |width: usize| number(parts.next()?, width);
        let proof = Self {
            slot,
            digest,
            attempt: number(2)? as u8,
            nonce: number(16)?,
            keyset_version: number(8)? as u32,
            record_version: number(4)? as u16,
            manifest_schema: number(2)? as u8,
        };
        parts.next().is_none().then_some(proof)
    }

    /// The proof as text.
    #[must_use]
    pub fn emit(&self) -> String<LEN_MAX> {
        let mut out = String::new();
        // Nothing below can overflow: LEN_MAX is the sum of the widths and the longest slot name.
        let _ = out.push_str("1:");
        let _ = out.push_str(self.slot.name());
        let _ = out.push(':');
        for byte in self.digest {
            push_hex(&mut out, byte.into(), 2);
        }
        for (value, width) in [
            (self.attempt.into(), 2),
            (self.nonce, 16),
            (self.keyset_version.into(), 8),
            (self.record_version.into(), 4),
            (self.manifest_schema.into(), 2),
        ] {
            let _ = out.push(':');
            push_hex(&mut out, value, width);
        }
        out
    }
}

fn push_hex(out: &mut String<LEN_MAX>, value: u64, width: u32) {
    for at in (0..width).rev() {
        let digit = (value >> (4 * at)) as u8 & 15;
        let _ = out.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
    }
}

fn number(text: &str, width: usize) -> Option<u64> {
    if text.len() != width {
        return None;
    }
    text.bytes().try_fold(0, |value, byte| Some((value << 4) | u64::from(digit(byte)?)))
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
