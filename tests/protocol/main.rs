//! What a device does with its record, slots and updates, in sound conditions and when the power
//! fails.

mod layout;
mod life;
mod log;
mod places;
mod power;
mod properties;
