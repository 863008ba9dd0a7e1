//! A piece as a difference from old bytes.
//!
//! ```text
//! 0  3  length of the residual r, little-endian
//! 3  r  residual: one stream of LZMA that decodes to a piece; nothing for a piece of zeros
//! ..    operations, up to the end of the frame
//! ```
//!
//! Each operation is three numbers, in groups of 7 bits, the lowest first:
//!
//! - keep: so many bytes of the residual are bytes of the piece;
//! - add: to so many bytes of the residual, old bytes are added, modulo 256;
//! - move: zigzag-coded, how far these old bytes stand from the end of those added before plus keep;
//!   of the first operation, from `base`.
//!
//! What is left behind the last operation is kept. `base`, where the first old byte is expected, is
//! the place of the piece among the components of the new bundle. The old bytes are those of
//! [`Old`].
//!
//! The residual has the length of the piece, and stands where the piece will be. So a piece is
//! patched in its own place, and needs no second buffer.

use crate::frame::Fault;
use crate::input::Input;
use crate::lzma::Lzma;
use crate::old::Old;

/// Length of the field before the residual.
pub const RESIDUAL_FIELD_LEN: usize = 3;
/// Old bytes are read through a buffer of this length.
const OLD_LEN: usize = 256;
/// Longest number, in bytes: 64 bits.
const NUMBER_LEN_MAX: u32 = 10;

/// Decodes one patch, all that is left of `input`, that fills `out`.
///
/// # Errors
/// [`Fault`]. `out` then holds anything.
pub fn decode(
    input: &mut Input<'_>,
    lzma: &mut Lzma,
    old: &mut dyn Old,
    base: u64,
    out: &mut [u8],
) -> Result<(), Fault> {
    let mut field = [0; 4];
    input.fill(&mut field[..RESIDUAL_FIELD_LEN])?;
    match u32::from_le_bytes(field) as usize {
        0 => out.fill(0),
        len => input.within(len, |input| lzma.decode(input, out))?,
    }
    let mut at = 0;
    let mut place = base;
    while input.left() > 0 {
        let keep = number(input)?;
        let add = number(input)?;
        let step = number(input)?;
        let most = (out.len() - at) as u64;
        // An operation that adds nothing would let a frame go on without end.
        if keep > most || add > most - keep || add == 0 {
            return Err(Fault::Damaged);
        }
        at += keep as usize;
        let distance = (step >> 1) as i64 ^ -((step & 1) as i64);
        place = place.wrapping_add(keep).wrapping_add_signed(distance);
        add_old(old, place, &mut out[at..at + add as usize])?;
        at += add as usize;
        place = place.wrapping_add(add);
    }
    Ok(())
}

/// Adds the old bytes at `place` to `out`.
fn add_old(old: &mut dyn Old, mut place: u64, out: &mut [u8]) -> Result<(), Fault> {
    let mut buffer = [0; OLD_LEN];
    for part in out.chunks_mut(OLD_LEN) {
        let buffer = &mut buffer[..part.len()];
        old.read(place, buffer).map_err(|_| Fault::Old)?;
        for (byte, old) in part.iter_mut().zip(&*buffer) {
            *byte = byte.wrapping_add(*old);
        }
        place = place.wrapping_add(part.len() as u64);
    }
    Ok(())
}

/// A number in its fewest bytes.
fn number(input: &mut Input<'_>) -> Result<u64, Fault> {
    let mut value = 0;
    for group in 0..NUMBER_LEN_MAX {
        let byte = input.byte()?;
        let bits = u64::from(byte & 0x7f);
        let shifted = bits << (7 * group);
        if shifted >> (7 * group) != bits {
            return Err(Fault::Damaged);
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return if byte == 0 && group > 0 { Err(Fault::Damaged) } else { Ok(value) };
        }
    }
    Err(Fault::Damaged)
}
