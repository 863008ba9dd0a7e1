//! stillboot's simulator: the real core on disks that lose their power at any instant.
//!
//! Everything is deterministic: what is random comes from seeds that the caller gives.

#![forbid(unsafe_code)]

pub mod disk;
pub mod driver;
pub mod engine;
pub mod explore;
pub mod fault;
pub mod fuzz;
pub mod hostile;
pub mod metadata;
pub mod oracle;
pub mod picture;
pub mod release;
pub mod report;
pub mod story;
pub mod transport;
pub mod walk;
mod words;
pub mod world;

pub use release::{Piece, Publisher};
pub use world::{DeviceMap, PowerOnOutcome, World};
