//! A number that no other power-on had.
//!
//! It tells two attempts apart and keeps no secret: where the firmware has no random numbers, the
//! time of day and the processor's counter are enough.

use stillboot::format::Digest;
use stillboot::verify::{SoftSha256, digest_of};
use uefi::boot;
use uefi::proto::rng::Rng;
use uefi::runtime;

use crate::clock;
use crate::disks::open;

/// A nonce.
#[must_use]
pub fn nonce() -> u64 {
    let mut seed = [0; 40];
    seed[..8].copy_from_slice(&clock::ticks().to_le_bytes());
    if let Ok(time) = runtime::get_time() {
        let parts = [
            u32::from(time.year()),
            u32::from(time.month()) << 8 | u32::from(time.day()),
            u32::from(time.hour()) << 16 | u32::from(time.minute()) << 8 | u32::from(time.second()),
            time.nanosecond(),
        ];
        for (place, part) in seed[8..24].chunks_exact_mut(4).zip(parts) {
            place.copy_from_slice(&part.to_le_bytes());
        }
    }
    // Mixed with the other sources, because some generators give the same bytes each time.
    if let Ok(handle) = boot::get_handle_for_protocol::<Rng>()
        && let Ok(mut rng) = open::<Rng>(handle)
    {
        let _ = rng.get_rng(None, &mut seed[24..]);
    }
    let digest: Digest = digest_of::<SoftSha256>(&seed);
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
