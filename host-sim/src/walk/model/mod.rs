//! A reference state machine of the boot record, written from `docs/BOOT_PROTOCOL.md` and without
//! the core: what every call must answer, and what it leaves behind.
//!
//! It shares with the core the types in which a record is stated, and no rule. It assumes a device
//! that works. A power cut leaves one of the states that a call passes through, and the model gives
//! all of these states.

mod install;
mod loader;
mod perform;
mod state;

pub use install::{InstallAttempt, is_same};
pub use loader::{Boots, Start, Surroundings};
pub use state::{Course, Kept, Model, Store};
