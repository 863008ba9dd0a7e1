//! The arithmetic of the crate `salty`.
//!
//! On `thumbv7em` and `thumbv8m.main` its multiplications are assembly, which the crate links from an
//! archive that it carries. They use UMAAL, so a Cortex-M33 without the DSP extension cannot run them.
//! Elsewhere they are Rust.

use salty::{CompressedY, EdwardsPoint, Scalar, Sha512};
use stillboot::verify::Ed25519;

/// Verifies signatures with the crate `salty`, whose multiplications are assembly on Cortex-M4, M33
/// and M7.
#[derive(Clone, Copy, Debug)]
pub struct SaltyEd25519;

impl Ed25519 for SaltyEd25519 {
    fn is_point(&self, encoded: &[u8; 32]) -> bool {
        CompressedY(*encoded).decompressed().is_ok()
    }

    /// The crate's own verification compares without the factor 8, so it refuses signatures that
    /// others accept. Here is the same equation with its arithmetic.
    #[inline(never)]
    fn holds(&self, public: &[u8; 32], pieces: &[&[u8]], signature: &[u8; 64]) -> bool {
        let (Some(r), Some(s)) = (signature.first_chunk(), signature.last_chunk()) else {
            return false;
        };
        let mut hash = Sha512::new().updated(r).updated(public);
        pieces.iter().for_each(|piece| hash.update(piece));
        let k = Scalar::from_u512_le(&hash.finalize());
        let decoded = (CompressedY(*public).decompressed(), CompressedY(*r).decompressed());
        let (Ok(a), Ok(r)) = decoded else { return false };
        let sum = &(&Scalar::from_bytes(s) * &EdwardsPoint::basepoint()) + &(&k * &-&a);
        let mut sum = &sum + &-&r;
        for _ in 0..3 {
            sum = &sum + &sum;
        }
        sum == EdwardsPoint::neutral_element()
    }
}
