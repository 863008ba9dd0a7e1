//! How a bundle's bytes arrive: framed files, compression, patches.
//!
//! The install machine sees one logical stream, the bundle of `docs/FORMAT.md`. Everything here only
//! proposes bytes of it. The core compares each chunk with the signed index before it writes it, so
//! a fault here costs a download and never a device.
//!
//! - [`frame`]: the framed file: its header, its pieces, one entry for each frame.
//! - [`decode`]: one frame into the piece that it stands for, with [`lz4`], [`lzma`], [`patch`] and,
//!   with the feature `zstd`, the library of zstd.
//! - [`stream`]: a framed file from front to back, as a [`Source`](stillboot::driver::Source).
//! - [`old`]: the bytes that a patch starts from.
//! - [`outline`]: what the head of a bundle says of its parts.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `zstd` | frames compressed with zstd, decoded by zstd's own library in C |
//! | `defmt` | `defmt::Format` on errors |

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod decode;
pub mod frame;
pub mod input;
pub mod lz4;
pub mod lzma;
pub mod old;
pub mod outline;
pub mod patch;
pub mod stream;
#[cfg(test)]
mod test;
#[cfg(feature = "zstd")]
mod zstd;
