//! Writes patches: a new bundle as differences from an old one.
//!
//! A patch is a framed file whose frames are differences, see [`stillboot_transport::patch`]. Each
//! frame depends on the old bundle and on itself only.

mod matches;
mod piece;
mod scan;
mod view;

use std::io::{self, Cursor};

use stillboot_transport::frame::Encoding;

use crate::frames::{self, Compression, FramesError, Sink};
use piece::Patcher;
use stillboot_transport::outline::Outline;
use view::View;

/// Why a patch could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// A file could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The old bundle is no bundle, or not all of it.
    #[error("the old bundle: {0}")]
    Old(FramesError),
    /// The new bundle is no bundle, or not all of it.
    #[error("the new bundle: {0}")]
    New(FramesError),
    /// Both bundles have the same manifest.
    #[error("expected two bundles, found the same one twice")]
    Same,
    /// The bundles are for different products.
    #[error("expected two bundles of one product, found two products")]
    Product,
    /// The components of the old bundle have more bytes than can be compared.
    #[error("the old bundle: expected at most 2 GiB of components, found {0} bytes")]
    TooLong(u64),
}

/// What stands in a patch besides differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Nothing: a device takes from the new bundle what is no shorter as a difference. The
    /// compression is that of the new bundle's file, and says which those are.
    Absent(Compression),
    /// Everything, compressed in this way: the device needs no other file.
    Whole(Compression),
}

/// What was written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Written {
    /// The old bundle.
    pub old: Outline,
    /// The new bundle.
    pub new: Outline,
    /// Length of the file in bytes.
    pub len: u64,
    /// Of how many pieces, and how many of their bytes, the file has the difference.
    pub patched: (u64, u64),
    /// The same of pieces that the bundle alone has.
    pub absent: (u64, u64),
}

/// Writes the patch from the bundle `old` to the bundle `new`, both plain and whole in memory.
/// `progress` is told how many bytes are done: each byte of the new bundle counts twice.
///
/// It takes about six times the length of the old bundle in memory besides both bundles.
///
/// # Errors
/// [`DeltaError`].
pub fn write(
    old: &[u8],
    new: &[u8],
    full: Full,
    out: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<Written, DeltaError> {
    let old_outline = whole(old).map_err(DeltaError::Old)?;
    let new_outline = whole(new).map_err(DeltaError::New)?;
    if old_outline.digest == new_outline.digest {
        return Err(DeltaError::Same);
    }
    if old_outline.manifest.product != new_outline.manifest.product {
        return Err(DeltaError::Product);
    }
    let len = new.len() as u64;
    let view = View::of((old, &old_outline), (new, &new_outline), &mut |done| progress(done))?;
    let header =
        new_outline.header().map_err(|fault| DeltaError::New(FramesError::Header(fault)))?;
    let header = header.with_from(old_outline.digest);
    let counts = piece::Counts::default();
    let make = || Patcher::new(&view, header, full, &counts);
    let mut progress = |done| progress(len + done);
    let len = frames::write(&mut Cursor::new(new), header, &make, out, &mut progress).map_err(
        |error| match error {
            // Both bundles are in memory, so it is the patch that cannot be written.
            FramesError::Io(error) => DeltaError::Io(error),
            error => DeltaError::New(error),
        },
    )?;
    let (patched, absent) = (counts.of(Encoding::Patch), counts.of(Encoding::Absent));
    Ok(Written { old: old_outline, new: new_outline, len, patched, absent })
}

/// What the head of a bundle says, of which all bytes are there and no more.
fn whole(bundle: &[u8]) -> Result<Outline, FramesError> {
    let outline = Outline::of(bundle).ok_or(FramesError::NotABundle)?;
    match outline.bundle_len().cmp(&(bundle.len() as u64)) {
        std::cmp::Ordering::Greater => Err(FramesError::Ended),
        std::cmp::Ordering::Less => Err(FramesError::Trailing),
        std::cmp::Ordering::Equal => Ok(outline),
    }
}
