//! Which device this is and whom it trusts, as it was built.

use stillboot::format::{Architecture, Rule};
use stillboot::verify::{Device, RootKey, Trust};

include!(concat!(env!("OUT_DIR"), "/trust.rs"));

/// This device.
pub const DEVICE: Device<'static> = Device {
    trust: Trust::Roots { keys: ROOTS, rule: RULE },
    product: PRODUCT,
    class: CLASS,
    revision: 1,
    architecture: Architecture::Thumbv7em,
};
