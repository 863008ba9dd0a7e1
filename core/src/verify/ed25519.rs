//! Ed25519: the arithmetic behind a provider, and the checks of bytes that no provider may differ in.

use ed25519_compact::{Error, PublicKey, Signature, VerifyingState};

/// A provider of the arithmetic of Ed25519. Implement this for other code or for hardware.
///
/// The verdict is RFC 8032 with the cofactor: a loader and an updater with different providers agree
/// on every signature. [`verify_signature_by`] checks the bytes before it asks: a number that is too
/// large, a point that is not encoded as RFC 8032 wants it, or one of small order never comes here.
// Why: docs/DESIGN.md#why-ed25519-is-a-trait
pub trait Ed25519: core::fmt::Debug + Sync {
    /// Whether `encoded` is a point of the curve.
    fn is_point(&self, encoded: &[u8; 32]) -> bool;

    /// Whether \[8\]\[S\]B = \[8\]R + \[8\]\[k\]A, where `public` is A, `signature` is R and S, and k
    /// is the SHA-512 of R, A and the `pieces` of the message, one after the other. `false` too where
    /// A or R is no point of the curve.
    ///
    /// Without the factor 8 a signature could hold here and fail in another provider: its maker can
    /// add a point of small order.
    fn holds(&self, public: &[u8; 32], pieces: &[&[u8]], signature: &[u8; 64]) -> bool;
}

/// The arithmetic of the crate `ed25519-compact`.
#[derive(Clone, Copy, Debug)]
pub struct CompactEd25519;

impl Ed25519 for CompactEd25519 {
    fn is_point(&self, encoded: &[u8; 32]) -> bool {
        PublicKey::new(*encoded).validate().is_ok()
    }

    // Each half is a function of its own. Their stacks, the deepest of the core, are then not added
    // to each other, nor to those of the callers.
    #[inline(never)]
    fn holds(&self, public: &[u8; 32], pieces: &[&[u8]], signature: &[u8; 64]) -> bool {
        // Used in place: moved out of the result, half a kilobyte would be on the stack twice.
        let Ok(state) = &mut begin(public, signature) else { return false };
        for piece in pieces {
            state.absorb(piece);
        }
        is_solved(state)
    }
}

/// Decodes the key and the point of the signature.
#[inline(never)]
fn begin(public: &[u8; 32], signature: &[u8; 64]) -> Result<VerifyingState, Error> {
    PublicKey::new(*public).verify_incremental(&Signature::new(*signature))
}

/// Whether the equation of the signature holds.
#[inline(never)]
fn is_solved(state: &VerifyingState) -> bool {
    state.verify().is_ok()
}

/// Why one signature does not hold.
///
/// No more variants come: a check of one signature ends in one of these ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SignatureFault {
    /// The key is not on the curve, not encoded as RFC 8032 wants it, or of small order.
    WeakKey,
    /// The signature is not one of this key over this message.
    Wrong,
}

impl core::fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::WeakKey => "the key is not a usable Ed25519 key",
            Self::Wrong => "the signature is wrong",
        })
    }
}

impl core::error::Error for SignatureFault {}

/// [`verify_signature_by`] the crate `ed25519-compact`.
///
/// # Errors
/// [`SignatureFault`].
pub fn verify_signature(
    public: &[u8; 32],
    pieces: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), SignatureFault> {
    verify_signature_by(&CompactEd25519, public, pieces, signature)
}

/// Verifies one Ed25519 signature over `pieces`, one after the other (RFC 8032, cofactored; S must
/// be canonical, keys and R of large order).
///
/// # Errors
/// [`SignatureFault`].
#[inline(never)]
pub fn verify_signature_by(
    provider: &dyn Ed25519,
    public: &[u8; 32],
    pieces: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), SignatureFault> {
    if !is_sound(public) {
        return Err(SignatureFault::WeakKey);
    }
    if is_signature(signature) && provider.holds(public, pieces, signature) {
        return Ok(());
    }
    if provider.is_point(public) {
        Err(SignatureFault::Wrong)
    } else {
        Err(SignatureFault::WeakKey)
    }
}

/// Whether this can be a key: a point of large order.
#[cfg(feature = "keysets")]
pub(crate) fn is_key(provider: &dyn Ed25519, public: &[u8; 32]) -> bool {
    is_sound(public) && provider.is_point(public)
}

/// Whether the bytes can be a signature: R as a point has to be encoded, S below the order.
fn is_signature(signature: &[u8; 64]) -> bool {
    let (Some(r), Some(s)) = (signature.first_chunk(), signature.last_chunk::<32>()) else {
        return false;
    };
    is_sound(r) && is_less(s, &ORDER)
}

/// The order of the base point (RFC 8032, section 5.1), the lowest byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// p - 1 = 2^255 - 20, the y of the point of order 2.
const MINUS_ONE: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xec;
    bytes[31] = 0x7f;
    bytes
};

/// The y of two points of order 8. That of the other two is p minus this.
const EIGHTH: [u8; 32] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
    0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

/// Whether y is below p, and not the y of a point of small order.
///
/// An x of 0 has only the y 1 and p - 1, so its sign needs no check of its own.
#[inline(never)]
fn is_sound(encoded: &[u8; 32]) -> bool {
    let mut y = *encoded;
    y[31] &= 0x7f;
    // p - 1 is of small order too: what is left is below it.
    if !is_less(&y, &MINUS_ONE) {
        return false;
    }
    let is_small = y[0] <= 1 && y[1..].iter().all(|byte| *byte == 0);
    // p - y is all ones but for the lowest byte, minus y.
    let opposite = |(y, eighth): (&u8, &u8)| *y == !*eighth;
    let is_opposite = y[0] == 0xed_u8.wrapping_sub(EIGHTH[0])
        && y[1..31].iter().zip(&EIGHTH[1..31]).all(opposite)
        && y[31] == 0x7f - EIGHTH[31];
    !(is_small || y == EIGHTH || is_opposite)
}

/// Compares two numbers, the lowest byte first.
fn is_less(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().rev().lt(other.iter().rev())
}
