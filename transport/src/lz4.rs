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
