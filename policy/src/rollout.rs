//! Whether a device belongs to the part of the fleet that an update is rolled out to.
//!
//! Every device has a place for each update, the same whenever it asks. Raising the percentage only
//! ever adds devices, and another update is tried by other devices first.

use stillboot::format::Digest;
use stillboot::verify::Sha256;

/// How many places there are: a place is a hundredth of a percent.
pub const PLACES: u32 = 10_000;

const DOMAIN: &[u8; 21] = b"stillboot-rollout-v1\0";

/// The place of a device in the rollout of the manifest with SHA-256 `digest`, below [`PLACES`].
///
/// It is SHA-256 over `"stillboot-rollout-v1\0"`, the device's id and the digest; of that the first
/// eight bytes as a little-endian number, modulo [`PLACES`]. As 2^64 is no multiple of 10,000, some
/// places are more likely than others by one part in 10^15, and the fleet is smaller. Frozen: a
/// change would move every device while updates are being rolled out.
///
/// Only the manifest's digest goes in, so a channel statement that raises the percentage of the same
/// update keeps everyone who is in.
#[must_use]
pub fn position<H: Sha256>(device_id: &[u8; 16], digest: &Digest) -> u32 {
    let mut hash = H::new();
    hash.update(DOMAIN);
    hash.update(device_id);
    hash.update(digest);
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = hash.finish();
    let number = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    // Below PLACES, so the cast keeps it.
    (number % u64::from(PLACES)) as u32
}

/// Whether the device takes part when `percentage` of the fleet may. At 0 no device does, at 100
/// and above every device does. A device that takes part at one percentage does at every higher
/// one.
#[must_use]
pub fn included<H: Sha256>(percentage: u8, device_id: &[u8; 16], digest: &Digest) -> bool {
    position::<H>(device_id, digest) < u32::from(percentage) * (PLACES / 100)
}
