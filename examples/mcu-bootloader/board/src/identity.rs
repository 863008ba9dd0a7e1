//! Which device this is and whom it trusts, as it was built.

use stillboot::format::Architecture;
use stillboot::verify::Device;
use stillboot_ed25519::SmallEd25519;

mod built {
    include!(concat!(env!("OUT_DIR"), "/identity.rs"));
}

pub use built::TEST_ROOTS;

/// This device.
pub const DEVICE: Device<'static> =
    built::DEVICE.with_architecture(Architecture::Thumbv7em).with_ed25519(&SmallEd25519);
