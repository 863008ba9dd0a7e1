//! Ed25519 signatures of an envelope, counted by key.

use ed25519_compact::{Error, PublicKey, Signature, VerifyingState};

use super::{Sha256, digest_of};
use crate::format::envelope::{KeyId, signed_pieces};
use crate::format::{Envelope, Id, KeyRole};

/// Why an envelope's signatures do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignatureError {
    /// Fewer known keys signed than are needed.
    Missing {
        /// In what role they must sign.
        role: KeyRole,
        /// How many are needed.
        needed: u8,
        /// How many signed.
        found: u8,
    },
    /// A signature in the name of a known key is wrong.
    Wrong {
        /// In what role it was checked.
        role: KeyRole,
    },
    /// A key is no usable Ed25519 key: not on the curve, or of small order.
    WeakKey,
    /// The keyset gives nobody the role.
    NoSuchRole {
        /// The role.
        role: KeyRole,
    },
}

impl core::fmt::Display for SignatureError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing { role, needed, found } => {
                write!(f, "expected {needed} signature(s) by {role} keys, found {found}")
            }
            Self::Wrong { role } => write!(f, "a signature by a known {role} key is wrong"),
            Self::WeakKey => f.write_str("a key is not a usable Ed25519 key"),
            Self::NoSuchRole { role } => write!(f, "the keyset has no {role} keys"),
        }
    }
}

/// A key's id: the first 8 bytes of its SHA-256.
#[must_use]
pub fn key_id<H: Sha256>(public: &[u8; 32]) -> KeyId {
    let digest = digest_of::<H>(public);
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// Succeeds if at least `threshold` of `keys` signed the envelope in `role`.
///
/// Keys are counted, not signatures: ids in an envelope are strictly ascending, so each can match a
/// key once. Unknown ids are passed over; a wrong signature in the name of a known key refuses the
/// envelope, for nobody honest writes one.
///
/// # Errors
/// [`SignatureError`].
#[inline(never)]
pub fn count_signatures<'k, H: Sha256>(
    envelope: &Envelope<'_>,
    role: KeyRole,
    product: &Id,
    keys: impl Iterator<Item = &'k [u8; 32]> + Clone,
    threshold: u8,
) -> Result<(), SignatureError> {
    let payload = envelope.payload();
    let codes = [envelope.payload_type().code(), role.code()];
    let len = (payload.len() as u32).to_le_bytes();
    let [domain, codes, product, len] = signed_pieces(&codes, product, &len);
    let pieces = [domain, codes, product, len, payload];
    let mut found = 0;
    for (id, signature) in envelope.signatures_in_place() {
        let Some(public) = keys.clone().find(|key| key_id::<H>(key) == *id) else { continue };
        verify_signature(public, &pieces, signature).map_err(|fault| match fault {
            SignatureFault::WeakKey => SignatureError::WeakKey,
            SignatureFault::Wrong => SignatureError::Wrong { role },
        })?;
        found += 1;
    }
    // A threshold of 0 would accept everything; callers refuse it, and so does this line.
    if found >= threshold.max(1) {
        Ok(())
    } else {
        Err(SignatureError::Missing { role, needed: threshold, found })
    }
}

/// Why one signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SignatureFault {
    /// The key is not on the curve, or of small order.
    WeakKey,
    /// The signature is not one of this key over this message.
    Wrong,
}

/// Verifies one Ed25519 signature over `pieces`, one after the other (RFC 8032, cofactored; S must
/// be canonical, keys and R of large order).
///
/// # Errors
/// [`SignatureFault`].
// Each half is kept apart: their stacks, the deepest of the core, are then not added to each other,
// nor to those of the callers.
#[inline(never)]
pub fn verify_signature(
    public: &[u8; 32],
    pieces: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), SignatureFault> {
    // Used where it is: moved out of the result, half a kilobyte would be on the stack twice.
    match &mut begin(public, signature) {
        Ok(state) => {
            for piece in pieces {
                state.absorb(piece);
            }
            if holds(state) { Ok(()) } else { Err(SignatureFault::Wrong) }
        }
        Err(Error::WeakPublicKey | Error::InvalidPublicKey) => Err(SignatureFault::WeakKey),
        Err(_) => Err(SignatureFault::Wrong),
    }
}

/// Decodes the key and the point of the signature.
#[inline(never)]
fn begin(public: &[u8; 32], signature: &[u8; 64]) -> Result<VerifyingState, Error> {
    PublicKey::new(*public).verify_incremental(&Signature::new(*signature))
}

/// Whether the equation of the signature holds.
#[inline(never)]
fn holds(state: &VerifyingState) -> bool {
    state.verify().is_ok()
}
