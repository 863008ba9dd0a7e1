//! Lengths rounded to the units of a device.

/// `len` rounded up to a multiple of `unit`, a power of two. By mask: 64-bit division costs a
/// microcontroller a kilobyte, and every unit of a sound geometry is a power of two.
pub(crate) const fn round(len: usize, unit: u32) -> usize {
    round_u64(len as u64, unit) as usize
}

/// As [`round`]. On overflow the result is a number near the highest, which fits nowhere.
#[inline(never)]
pub(crate) const fn round_u64(len: u64, unit: u32) -> u64 {
    let mask = unit as u64 - 1;
    len.saturating_add(mask) & !mask
}

/// `len` rounded down to a multiple of `unit`, a power of two.
pub(crate) const fn round_down(len: u64, unit: u32) -> u64 {
    len & !(unit as u64 - 1)
}

/// The larger of two lengths: `max` does not run in the compiler.
pub(crate) const fn larger(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}
