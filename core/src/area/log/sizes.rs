//! Sizes and places that follow from the layout.
//!
//! A cell is a power of two, so all of it is shifts: division costs a microcontroller a kilobyte.

use super::table::Extent;
use crate::format::log::{CELL_LEN, DIRECTORY_LEN_MAX, HEADER_LEN};
use crate::layout::{Layout, Region};
use crate::units::round;

/// Length of a cell in bytes.
pub(super) fn cell_len(layout: &Layout<'_>) -> usize {
    1 << shift(layout)
}

/// The logarithm of that length.
#[inline(never)]
fn shift(layout: &Layout<'_>) -> u32 {
    let granules = layout
        .places()
        .iter()
        .map(|place| layout.geometry(place.device).write_granule_bytes.trailing_zeros());
    granules.max().unwrap_or(0).max(CELL_LEN.trailing_zeros())
}

/// How many bytes of each block count: a mebibyte at most, as layouts are checked.
#[inline(never)]
pub(super) fn block_len(layout: &Layout<'_>) -> u32 {
    layout.places().iter().map(|place| place.len as u32).min().unwrap_or(0)
}

/// The value of erased bytes of a block. A layout has logs only on flash.
pub(super) fn erased_value(layout: &Layout<'_>, block: u8) -> u8 {
    layout.geometry(layout.place(block).device).erased.unwrap_or(0)
}

/// Length of the directory in bytes.
#[inline(never)]
pub(super) fn directory_len(layout: &Layout<'_>) -> usize {
    let eighth = (block_len(layout) as usize / 8).min(DIRECTORY_LEN_MAX);
    eighth & !(cell_len(layout) - 1)
}

pub(super) fn header_len(layout: &Layout<'_>) -> usize {
    round(HEADER_LEN, cell_len(layout) as u32)
}

/// Number of cells of the directory.
#[inline(never)]
pub(super) fn cells(layout: &Layout<'_>) -> u16 {
    let len = directory_len(layout).saturating_sub(2 * header_len(layout));
    (len >> shift(layout)) as u16
}

/// Number of cells of a whole block.
pub(super) fn block_cells(layout: &Layout<'_>) -> u16 {
    clamp(block_len(layout) >> shift(layout))
}

/// Number of cells that hold `len` bytes. If no block can hold them, more than any block has.
#[inline(never)]
pub(super) fn cells_of(layout: &Layout<'_>, len: u64) -> u16 {
    let shift = shift(layout);
    let len = len.min(u32::MAX as u64 >> 1) as u32;
    clamp((len + (1 << shift) - 1) >> shift)
}

/// Number of whole cells before byte `offset`.
pub(super) fn cell_at(layout: &Layout<'_>, offset: u32) -> u16 {
    clamp(offset >> shift(layout))
}

fn clamp(number: u32) -> u16 {
    number.min(u16::MAX.into()) as u16
}

/// Bytes from `from` on of a block.
#[inline(never)]
pub(super) fn bytes_of(layout: &Layout<'_>, block: u8, from: usize, len: usize) -> Region {
    let place = layout.place(block);
    Region { offset: place.offset + from as u64, len: len as u64, ..place }
}

#[inline(never)]
pub(super) fn body_of(layout: &Layout<'_>, block: u8, extent: Extent) -> Region {
    let cell = cell_len(layout);
    bytes_of(layout, block, usize::from(extent.at) * cell, usize::from(extent.len) * cell)
}

/// Cells that the directory takes, at the start of a block.
pub(super) fn directory_cells(layout: &Layout<'_>) -> u16 {
    cells_of(layout, directory_len(layout) as u64)
}
