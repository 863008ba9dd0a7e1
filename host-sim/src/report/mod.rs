//! One page with a picture of every story: what changed the disk, and what ran after every cut.
//!
//! The page stands alone: style and pictures are in it, and it loads nothing and runs nothing. Equal
//! explorations make equal pages.

mod drawing;
mod page;
#[cfg(test)]
mod tests;
mod text;

pub use page::{About, html};
