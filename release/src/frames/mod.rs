//! Writes framed files: bundles in compressed frames.
//!
//! Each piece is encoded by itself, on all cores. The same bundle gives the same bytes, however many
//! cores there are.

mod encode;
mod expand;
mod signed;
mod write;

pub use encode::Compression;
pub(crate) use encode::{Effort, Encoder, lzma};
pub use expand::expand;
pub use signed::replace_head;
pub use write::{FramesError, Sink, compress};
pub(crate) use write::{Piecewise, write};
