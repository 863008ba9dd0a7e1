//! Disks for the simulator, and what goes wrong with them.
//!
//! [`RamDisk`] is the medium: it obeys the law of its kind (a disk, or NOR flash), forks for the
//! price of what changed, and names its content with a hash. Everything that goes wrong is a
//! decorator on any [`BlockDevice`](stillboot::device::BlockDevice), so that faults combine:
//!
//! ```text
//! PowerCut<WriteCache<RamDisk>>
//!    |         |         `- what survives
//!    |         `- what the drive says it has stored, and may lose
//!    `- when the power goes, and what the last request leaves behind
//! ```

mod cache;
mod pages;
mod power;
mod ram;
mod random;

pub use cache::WriteCache;
pub use power::{Change, Cut, PowerCut, Tear, Torn};
pub use ram::{Law, RamDisk};
pub use random::Random;
/// A file or a real disk in the place of a [`RamDisk`].
pub use stillboot_linux::FileDevice as FileDisk;

#[cfg(test)]
mod tests;
