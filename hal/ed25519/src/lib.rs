//! Ed25519 verification in little code and stack: a provider for
//! [`stillboot::verify::Device::with_ed25519`].
//!
//! The arithmetic of the curve is loops over words of 32 bits: one multiplication, one addition of points that
//! doubles too, one reduction bit by bit. That is slower than code with unrolled arithmetic, and
//! several times shorter. All input is public (keys, signatures, messages of a verification), so
//! nothing here takes care to run in constant time: do not sign with it.
//!
//! # Features
//! - `salty`: `SaltyEd25519`, the arithmetic of the crate `salty`.
//!
//! # Sources
//! RFC 8032 (the signature), FIPS 180-4 (SHA-512), and the complete addition of Hisil,
//! Wong, Carter and Dawson, "Twisted Edwards Curves Revisited" (2008), section 3.1.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod curve;
mod field;
mod sha512;
#[cfg(feature = "salty")]
mod with_salty;

use stillboot::verify::Ed25519;

use curve::{IDENTITY, Point};
use sha512::Sha512;
#[cfg(feature = "salty")]
#[cfg_attr(docsrs, doc(cfg(feature = "salty")))]
pub use with_salty::SaltyEd25519;

/// Verifies signatures in little code and stack.
#[derive(Clone, Copy, Debug)]
pub struct SmallEd25519;

impl Ed25519 for SmallEd25519 {
    fn is_point(&self, encoded: &[u8; 32]) -> bool {
        Point::decode(encoded).is_some()
    }

    #[inline(never)]
    fn holds(&self, public: &[u8; 32], pieces: &[&[u8]], signature: &[u8; 64]) -> bool {
        let (Some(r), Some(s)) = (signature.first_chunk(), signature.last_chunk()) else {
            return false;
        };
        let k = hash(r, public, pieces);
        equation(public, r, s, &k)
    }
}

/// SHA-512 of the point of the signature, the key and the message, modulo the order.
#[inline(never)]
fn hash(r: &[u8; 32], public: &[u8; 32], pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha512::new();
    hash.update(r);
    hash.update(public);
    pieces.iter().for_each(|piece| hash.update(piece));
    curve::modulo_order(&hash.finish())
}

/// Whether \[8\](\[s\]B - \[k\]A - R) is the identity.
#[inline(never)]
fn equation(public: &[u8; 32], r: &[u8; 32], s: &[u8; 32], k: &[u8; 32]) -> bool {
    // The base point is the one with y = 4/5 and an even x.
    let mut base = [0x66; 32];
    base[0] = 0x58;
    let decoded = (Point::decode(&base), Point::decode(public), Point::decode(r));
    let (Some(base), Some(mut a), Some(mut r)) = decoded else { return false };
    a.negate();
    r.negate();
    let mut both = base;
    both.add(&a);
    let steps = [base, a, both];
    let mut sum = IDENTITY;
    for at in (0..256).rev() {
        sum.double();
        let bit = |scalar: &[u8; 32]| usize::from(scalar[at / 8] >> (at % 8) & 1);
        if let Some(step) = (bit(s) | bit(k) << 1).checked_sub(1) {
            sum.add(&steps[step]);
        }
    }
    sum.add(&r);
    // What points of small order make of it does not count.
    for _ in 0..3 {
        sum.double();
    }
    sum.is_identity()
}

#[cfg(test)]
mod tests;
