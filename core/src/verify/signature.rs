//! Signatures of an envelope: checked one by one, counted by key, compared with the rule of a role.

use super::ed25519::{SignatureFault, verify_signature_by};
use super::{Device, Sha256, digest_of};
use crate::canary::Canary;
use crate::format::envelope::{Header, signed_bytes};
use crate::format::{KeyKind, KeyName, KeyRole, Rule};

/// The short name of a key: the first bytes of the SHA-256 of its public key.
pub type KeyId = [u8; 8];

/// Why an envelope's signatures are not enough.
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
    /// No key of the keyset has the role.
    NoSuchRole {
        /// The role.
        role: KeyRole,
    },
    /// The rule of the role asks for signatures of a kind that this build cannot check.
    Kind {
        /// The role.
        role: KeyRole,
        /// The kind.
        kind: KeyKind,
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
            Self::Kind { role, kind } => write!(
                f,
                "{role} keys must sign with {kind} (kind {}), which this build cannot check",
                kind.code()
            ),
        }
    }
}

impl core::error::Error for SignatureError {}

/// A key's id, of the public key.
#[must_use]
pub fn key_id<H: Sha256>(public: &[u8]) -> KeyId {
    let digest = digest_of::<H>(public);
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// Checks one Ed25519 signature over the payload that `header` names, in the name of `role`.
///
/// # Errors
/// [`SignatureError::Wrong`] or [`SignatureError::WeakKey`].
// Why: docs/DESIGN.md#why-wrong-signature-refuses
#[inline(never)]
pub(crate) fn check_one(
    device: &Device<'_>,
    header: &Header,
    role: KeyRole,
    public: &KeyName,
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    let message = signed_bytes(header, role, &device.product);
    let result = verify_signature_by(device.ed25519, public, &[&message], signature);
    result.map_err(|fault| match fault {
        SignatureFault::WeakKey => SignatureError::WeakKey,
        SignatureFault::Wrong => SignatureError::Wrong { role },
    })
}

/// Whether `found` signatures of Ed25519, the only kind that this build checks, meet the rule of
/// `role`.
///
/// # Errors
/// [`SignatureError`]: too few, no such role, or a kind that cannot be checked. The other part of
/// such a rule is never enough alone: it would be the weaker one.
// Why: docs/DESIGN.md#why-keys-are-counted
// Why: docs/DESIGN.md#why-unknown-kinds-are-skipped
#[inline(never)]
pub(crate) fn meets(rule: Rule, role: KeyRole, found: u8) -> Result<(), SignatureError> {
    if rule.is_none() {
        return Err(SignatureError::NoSuchRole { role });
    }
    // Before any count: the error must name the kind that is lacking. "Signatures missing" would be
    // wrong, because signatures of another role can replace those that are missing.
    let lacking = rule.parts().find(|(kind, _)| !kind.is_supported());
    if let Some((kind, _)) = lacking
        && !Canary::WeakerKindSuffices.is_on()
    {
        return Err(SignatureError::Kind { role, kind });
    }
    for (_, needed) in rule.parts().filter(|(kind, _)| kind.is_supported()) {
        // A threshold of 0 would accept everything; callers refuse it, and so does this line.
        if found < needed.max(1) {
            return Err(SignatureError::Missing { role, needed, found });
        }
    }
    Ok(())
}
