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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::test::Bytes;

    const OLD: &[u8; 16] = b"0123456789abcdef";

    fn number_of(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    /// A patch of a piece of zeros, with these operations.
    fn frame(operations: &[(u64, u64, i64)]) -> Vec<u8> {
        let mut frame = vec![0; RESIDUAL_FIELD_LEN];
        for (keep, add, step) in operations {
            number_of(&mut frame, *keep);
            number_of(&mut frame, *add);
            number_of(&mut frame, (step << 1 ^ step >> 63) as u64);
        }
        frame
    }

    fn decoded_at(base: u64, frame: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
        let mut out = vec![0xee; len];
        let mut source = Bytes::new(frame);
        let mut input = Input::new(&mut source, frame.len());
        decode(&mut input, &mut Lzma::new(), &mut &OLD[..], base, &mut out).map(|()| out)
    }

    fn decoded(frame: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
        decoded_at(0, frame, len)
    }

    #[test]
    fn operations_add_old_bytes_where_they_say() {
        assert_eq!(decoded(&frame(&[]), 4).unwrap(), [0; 4]);
        assert_eq!(decoded(&frame(&[(0, 4, 0)]), 4).unwrap(), b"0123");
        assert_eq!(decoded_at(3, &frame(&[(0, 4, 0)]), 4).unwrap(), b"3456");
        assert_eq!(decoded_at(3, &frame(&[(0, 4, -3)]), 4).unwrap(), b"0123");
        // What is kept counts for the place, and the step from there.
        assert_eq!(decoded(&frame(&[(2, 2, 0)]), 6).unwrap(), b"\0\x0023\0\0");
        let both = frame(&[(1, 2, 3), (1, 2, -7)]);
        assert_eq!(decoded(&both, 6).unwrap(), b"\x0045\x0001");
        assert_eq!(decoded(&frame(&[(0, 16, 0)]), 16).unwrap(), OLD);
    }

    #[test]
    fn operations_beyond_the_piece_are_refused() {
        for bad in [
            &[(0, 5, 0)][..],
            &[(5, 1, 0)],
            &[(4, 1, 0)],
            &[(2, 3, 0)],
            &[(0, 2, 0), (0, 3, 0)],
            &[(0, 0, 0)],
            &[(4, 0, 0)],
            &[(0, 4, 0), (0, 0, 0)],
            &[(u64::MAX, 1, 0)],
            &[(1, u64::MAX, 0)],
            &[(u64::MAX, u64::MAX, i64::MIN)],
        ] {
            assert_eq!(decoded(&frame(bad), 4), Err(Fault::Damaged), "{bad:?}");
        }
    }

    #[test]
    fn old_bytes_that_are_not_there_are_an_error_of_the_old() {
        for bad in [
            &[(0, 4, 13)][..],
            &[(0, 4, -1)],
            &[(0, 1, i64::MAX)],
            &[(0, 1, i64::MIN)],
            &[(0, 4, 0), (0, 1, 12)],
        ] {
            assert_eq!(decoded(&frame(bad), 5), Err(Fault::Old), "{bad:?}");
        }
        assert_eq!(decoded_at(u64::MAX, &frame(&[(0, 4, 0)]), 5), Err(Fault::Old));
        // Around the end of the numbers, and back.
        assert_eq!(decoded_at(u64::MAX, &frame(&[(0, 4, 1)]), 4).unwrap(), b"0123");
    }

    #[test]
    fn numbers_are_in_their_fewest_bytes_and_in_64_bits() {
        let zeros = [0; RESIDUAL_FIELD_LEN];
        let with = |rest: &[u8]| decoded(&[&zeros[..], rest].concat(), 4);
        assert!(with(&[0, 4, 0]).is_ok());
        assert_eq!(with(&[0x80, 0, 4, 0]), Err(Fault::Damaged));
        assert_eq!(with(&[0, 0x84, 0, 0]), Err(Fault::Damaged));
        assert_eq!(with(&[0, 4, 0x80, 0x80, 0]), Err(Fault::Damaged));
        // 64 bits are enough, 65 too many, and so are more groups than they take.
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        let more = [[0xff; 9].as_slice(), &[2]].concat();
        assert_eq!(with(&[&[0, 4][..], &most].concat()), Err(Fault::Old));
        assert_eq!(with(&[&[0, 4][..], &more].concat()), Err(Fault::Damaged));
        assert_eq!(with(&[&[0, 4][..], &[0x80; 20]].concat()), Err(Fault::Damaged));
        for end in 0..5 {
            let whole = [&zeros[..], &[0, 4, 0]].concat();
            let is_whole = end == 3;
            assert_eq!(decoded(&whole[..end], 4).is_ok(), is_whole, "{end}");
        }
    }

    #[test]
    fn a_residual_is_a_stream_within_its_length() {
        for len in [1, 2, 5, 1000, 0x00ff_ffff_u32] {
            let mut frame = len.to_le_bytes()[..RESIDUAL_FIELD_LEN].to_vec();
            frame.extend([0; 5]);
            assert_eq!(decoded(&frame, 4), Err(Fault::Damaged), "{len}");
        }
    }
}
