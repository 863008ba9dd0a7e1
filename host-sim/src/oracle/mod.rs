//! What must hold, whatever happens: written without the core, from what was published and done.
//!
//! The oracle reads no record and verifies no signature. It knows the bytes that were published,
//! where a whole installation of them stands on a disk, and what the story did so far. From these
//! it says which starts are right. The table in `docs/DESIGN.md` says which promise holds under
//! which fault, and is read from there.

mod history;
mod judge;
mod promise;
mod published;
#[cfg(test)]
mod tests;

pub use history::{History, Set, Written};
pub use promise::{Broken, Promise, Promises, table};
pub use published::Published;
