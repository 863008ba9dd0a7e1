//! Which device this is and whom it trusts, as it was built.

use stillboot::format::{Architecture, Rule};
use stillboot::verify::{Device, RootKey, Trust};
use stillboot_ed25519::SmallEd25519;

include!(concat!(env!("OUT_DIR"), "/trust.rs"));

/// This device.
pub const DEVICE: Device<'static> =
    Device::new(Trust::Roots { keys: ROOTS, rule: RULE }, PRODUCT, CLASS)
        .with_revision(1)
        .with_architecture(Architecture::Thumbv7em)
        .with_ed25519(&SmallEd25519);
