//! A decoder of LZ4 blocks whose window is the output itself.
//!
//! The format is that of `lz4_Block_format.md` of the LZ4 project.

use crate::frame::Fault;
use crate::input::Input;
use crate::lzma::copy;

const MATCH_LEN_MIN: usize = 4;
/// A length of this in a token goes on in the bytes that follow.
const LONG: usize = 15;

/// Decodes one block, all that is left of `input`, that fills `out`.
///
/// # Errors
/// [`Fault`]. `out` then holds anything.
pub fn decode(input: &mut Input<'_>, out: &mut [u8]) -> Result<(), Fault> {
    let mut at = 0;
    loop {
        let token = usize::from(input.byte()?);
        let literals = length(input, token >> 4, out.len() - at)?;
        let target = out.get_mut(at..at + literals).ok_or(Fault::Damaged)?;
        input.fill(target)?;
        at += literals;
        // The last sequence has no match.
        if input.left() == 0 {
            return if at == out.len() { Ok(()) } else { Err(Fault::Damaged) };
        }
        let distance = usize::from(u16::from_le_bytes([input.byte()?, input.byte()?]));
        let len = length(input, token & 15, out.len() - at)? + MATCH_LEN_MIN;
        let from = at.checked_sub(distance).filter(|from| *from < at).ok_or(Fault::Damaged)?;
        if len > out.len() - at {
            return Err(Fault::Damaged);
        }
        copy(out, from, at, len);
        at += len;
    }
}

/// A length that starts with `start`; never more than `most`, however many bytes follow.
fn length(input: &mut Input<'_>, start: usize, most: usize) -> Result<usize, Fault> {
    let mut len = start;
    if start == LONG {
        loop {
            let byte = usize::from(input.byte()?);
            len += byte;
            if len > most {
                return Err(Fault::Damaged);
            }
            if byte != 255 {
                break;
            }
        }
    }
    if len > most { Err(Fault::Damaged) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::test::Bytes;

    fn decoded(frame: &[u8], len: usize) -> Result<std::vec::Vec<u8>, Fault> {
        let mut out = vec![0xee; len];
        let mut source = Bytes::new(frame);
        decode(&mut Input::new(&mut source, frame.len()), &mut out).map(|()| out)
    }

    #[test]
    fn a_known_block_gives_its_bytes() {
        assert_eq!(decoded(&[0x10, b'a'], 1).unwrap(), b"a");
        // Two literals, eight bytes from two before, five literals.
        let block = [0x24, b'a', b'b', 2, 0, 0x50, b'1', b'2', b'3', b'4', b'5'];
        assert_eq!(decoded(&block, 15).unwrap(), b"ababababab12345");
        // A length that goes on: 15 + 255 + 1 literals.
        let mut block = vec![0xf0, 255, 1];
        block.extend([7; 271]);
        assert_eq!(decoded(&block, 271).unwrap(), [7; 271]);
        // One byte, then 15 + 0 + 4 times the same.
        assert_eq!(decoded(&[0x1f, b'x', 1, 0, 0, 0x10, b'y'], 21).unwrap()[..20], [b'x'; 20]);
    }

    #[test]
    fn what_is_no_block_of_this_length_is_refused() {
        let block = [0x24, b'a', b'b', 2, 0, 0x50, b'1', b'2', b'3', b'4', b'5'];
        for len in 0..40 {
            assert_eq!(decoded(&block, len).is_ok(), len == 15, "{len}");
        }
        for end in 0..block.len() {
            assert_eq!(decoded(&block[..end], 15), Err(Fault::Damaged), "{end}");
        }
        for distance in [0, 3, 255, 0xffff_u16] {
            let mut block = block;
            block[3..5].copy_from_slice(&distance.to_le_bytes());
            assert_eq!(decoded(&block, 15), Err(Fault::Damaged), "distance {distance}");
        }
        // Lengths that would never end, and ones that end beyond the piece.
        assert_eq!(decoded(&[&[0xf0][..], &[255; 4000]].concat(), 4096), Err(Fault::Damaged));
        assert_eq!(
            decoded(&[&[0x1f, 1, 1, 0][..], &[255; 4000]].concat(), 64),
            Err(Fault::Damaged)
        );
        assert_eq!(decoded(&[0x1f, 1, 1, 0, 200, 0], 64), Err(Fault::Damaged));
    }
}
