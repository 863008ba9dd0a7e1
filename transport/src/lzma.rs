//! A decoder of raw LZMA streams whose window is the output itself.
//!
//! It takes no memory but its probabilities: [`STATE_LEN`] bytes. Streams have no header and no end
//! marker; the length of the output is known. Of the parameters, lc + lp is at most [`LITERAL_BITS_MAX`]
//! and pb at most 2, so that a Cortex-M has room for them.
//!
//! The format is that of the LZMA SDK's specification (`lzma-specification.txt`, in the public
//! domain).

use crate::frame::Fault;
use crate::input::Input;

/// Most bits of a position and of the byte before that choose the probabilities of a literal.
pub const LITERAL_BITS_MAX: u8 = 2;
/// Most bits of a position that choose other probabilities.
pub const POSITION_BITS_MAX: u8 = 2;

/// Bytes of memory that a decoder takes.
pub const STATE_LEN: usize = PROBABILITIES * 2;

const STATES: usize = 12;
const POSITIONS: usize = 1 << POSITION_BITS_MAX;
const LENGTH_CODER: usize = 2 + 2 * POSITIONS * 8 + 256;

// Where each group of probabilities starts.
const IS_MATCH: usize = 0;
const IS_REP: usize = IS_MATCH + STATES * POSITIONS;
const IS_REP0: usize = IS_REP + STATES;
const IS_REP1: usize = IS_REP0 + STATES;
const IS_REP2: usize = IS_REP1 + STATES;
const IS_REP0_LONG: usize = IS_REP2 + STATES;
const SLOTS: usize = IS_REP0_LONG + STATES * POSITIONS;
const SPECIAL: usize = SLOTS + 4 * 64;
const ALIGN: usize = SPECIAL + 114;
const LENGTHS: usize = ALIGN + 16;
const REP_LENGTHS: usize = LENGTHS + LENGTH_CODER;
const LITERALS: usize = REP_LENGTHS + LENGTH_CODER;
const PROBABILITIES: usize = LITERALS + (0x300 << LITERAL_BITS_MAX);

const HALF: u16 = 1 << 10;
const TOP: u32 = 1 << 24;
const MATCH_LEN_MIN: usize = 2;

/// The parameters of a stream, in one byte: (pb * 5 + lp) * 9 + lc, as in the header of `.lzma`
/// files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Upper bits of the byte before a literal that choose its probabilities.
    pub lc: u8,
    /// Lower bits of the position of a literal that choose its probabilities.
    pub lp: u8,
    /// Lower bits of the position that choose the other probabilities.
    pub pb: u8,
}

impl Parameters {
    /// Reads them; `None` above the bounds.
    #[must_use]
    pub const fn parse(byte: u8) -> Option<Self> {
        let (lc, lp, pb) = (byte % 9, byte / 9 % 5, byte / 45);
        if lc + lp > LITERAL_BITS_MAX || pb > POSITION_BITS_MAX {
            return None;
        }
        Some(Self { lc, lp, pb })
    }

    /// The byte that [`parse`](Self::parse) reads.
    #[must_use]
    pub const fn byte(self) -> u8 {
        (self.pb * 5 + self.lp) * 9 + self.lc
    }
}

/// The probabilities of a decoder. One serves any number of streams, one after the other.
pub struct Lzma {
    probabilities: [u16; PROBABILITIES],
}

impl core::fmt::Debug for Lzma {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Lzma")
    }
}

impl Default for Lzma {
    fn default() -> Self {
        Self::new()
    }
}

impl Lzma {
    /// A decoder.
    #[must_use]
    pub const fn new() -> Self {
        Self { probabilities: [HALF; PROBABILITIES] }
    }

    /// Decodes one stream that fills `out`: a byte of [`Parameters`], then all that is left of
    /// `input`.
    ///
    /// # Errors
    /// [`Fault`]. `out` then holds anything.
    pub fn decode(&mut self, input: &mut Input<'_>, out: &mut [u8]) -> Result<(), Fault> {
        let parameters = Parameters::parse(input.byte()?).ok_or(Fault::Damaged)?;
        self.probabilities.fill(HALF);
        let mut coder = Coder::start(input)?;
        self.symbols(parameters, &mut coder, out)?;
        // The encoder ends with the code at zero. Anything else is damage.
        if coder.code != 0 || input.left() != 0 {
            return Err(Fault::Damaged);
        }
        Ok(())
    }

    fn symbols(
        &mut self,
        parameters: Parameters,
        coder: &mut Coder<'_, '_>,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let p = &mut self.probabilities;
        let position_mask = (1_usize << parameters.pb) - 1;
        let mut state = 0;
        let mut reps = [0_usize; 4];
        let mut at = 0;
        while at < out.len() {
            let position = at & position_mask;
            let row = state * POSITIONS + position;
            if coder.bit(&mut p[IS_MATCH + row])? == 0 {
                out[at] = literal(p, parameters, coder, out, at, state, reps[0])?;
                at += 1;
                state = after_literal(state);
                continue;
            }
            let len;
            if coder.bit(&mut p[IS_REP + state])? == 0 {
                reps = [0, reps[0], reps[1], reps[2]];
                len = length(p, LENGTHS, coder, position)?;
                reps[0] = distance(p, coder, len)?;
                state = if state < 7 { 7 } else { 10 };
            } else {
                if coder.bit(&mut p[IS_REP0 + state])? == 0 {
                    if coder.bit(&mut p[IS_REP0_LONG + row])? == 0 {
                        let from = at.checked_sub(reps[0] + 1).ok_or(Fault::Damaged)?;
                        out[at] = out[from];
                        at += 1;
                        state = if state < 7 { 9 } else { 11 };
                        continue;
                    }
                } else if coder.bit(&mut p[IS_REP1 + state])? == 0 {
                    reps = [reps[1], reps[0], reps[2], reps[3]];
                } else if coder.bit(&mut p[IS_REP2 + state])? == 0 {
                    reps = [reps[2], reps[0], reps[1], reps[3]];
                } else {
                    reps = [reps[3], reps[0], reps[1], reps[2]];
                }
                len = length(p, REP_LENGTHS, coder, position)?;
                state = if state < 7 { 8 } else { 11 };
            }
            let len = len + MATCH_LEN_MIN;
            // A distance before the start, and a match beyond the end, can only come from damage.
            let from = at.checked_sub(reps[0] + 1).ok_or(Fault::Damaged)?;
            if len > out.len() - at {
                return Err(Fault::Damaged);
            }
            copy(out, from, at, len);
            at += len;
        }
        Ok(())
    }
}

/// Copies `len` bytes from `from` to `at` > `from`; where both overlap, the bytes repeat.
pub(crate) fn copy(out: &mut [u8], from: usize, at: usize, len: usize) {
    let period = at - from;
    if period == 1 {
        let byte = out[from];
        out[at..at + len].fill(byte);
    } else if period >= len {
        out.copy_within(from..from + len, at);
    } else {
        for i in at..at + len {
            out[i] = out[i - period];
        }
    }
}

const fn after_literal(state: usize) -> usize {
    match state {
        0..4 => 0,
        4..10 => state - 3,
        _ => state - 6,
    }
}

fn literal(
    p: &mut [u16; PROBABILITIES],
    parameters: Parameters,
    coder: &mut Coder<'_, '_>,
    out: &[u8],
    at: usize,
    state: usize,
    rep: usize,
) -> Result<u8, Fault> {
    let before = if at == 0 { 0 } else { usize::from(out[at - 1]) };
    let low = at & ((1 << parameters.lp) - 1);
    let context = (low << parameters.lc) + (before >> (8 - parameters.lc));
    let table = &mut p[LITERALS + 0x300 * context..][..0x300];
    let mut symbol = 1;
    if state >= 7 {
        let from = at.checked_sub(rep + 1).ok_or(Fault::Damaged)?;
        let mut matched = usize::from(out[from]);
        while symbol < 0x100 {
            matched <<= 1;
            let expected = matched & 0x100;
            let bit = coder.bit(&mut table[0x100 + expected + symbol])?;
            symbol = symbol << 1 | bit;
            if expected >> 8 != bit {
                break;
            }
        }
    }
    while symbol < 0x100 {
        symbol = symbol << 1 | coder.bit(&mut table[symbol])?;
    }
    Ok(symbol as u8)
}

/// A length without [`MATCH_LEN_MIN`].
fn length(
    p: &mut [u16; PROBABILITIES],
    at: usize,
    coder: &mut Coder<'_, '_>,
    position: usize,
) -> Result<usize, Fault> {
    let (low, mid) = (at + 2 + position * 8, at + 2 + (POSITIONS + position) * 8);
    if coder.bit(&mut p[at])? == 0 {
        return coder.tree(&mut p[low..low + 8], 3);
    }
    if coder.bit(&mut p[at + 1])? == 0 {
        return Ok(8 + coder.tree(&mut p[mid..mid + 8], 3)?);
    }
    let high = at + 2 + 2 * POSITIONS * 8;
    Ok(16 + coder.tree(&mut p[high..high + 256], 8)?)
}

/// A distance, where 0 is the byte before.
fn distance(
    p: &mut [u16; PROBABILITIES],
    coder: &mut Coder<'_, '_>,
    len: usize,
) -> Result<usize, Fault> {
    let row = SLOTS + len.min(3) * 64;
    let slot = coder.tree(&mut p[row..row + 64], 6)?;
    if slot < 4 {
        return Ok(slot);
    }
    let bits = (slot >> 1) as u32 - 1;
    let high = (2 | slot & 1) << bits;
    if slot < 14 {
        // The group starts with index 1 of a tree whose first entry would be at `high - slot`.
        let base = SPECIAL + high - slot - 1;
        return Ok(high + coder.reverse_tree(p, base, bits)?);
    }
    let direct = coder.direct(bits - 4)?;
    let low = coder.reverse_tree(p, ALIGN, 4)?;
    // At most 32 bits; on a machine with narrower addresses it is damage anyway.
    let distance = (2 | slot & 1) as u64 * (1 << bits) + ((u64::from(direct)) << 4) + low as u64;
    usize::try_from(distance).ok().filter(|d| *d < usize::MAX - 1).ok_or(Fault::Damaged)
}

/// The range decoder.
struct Coder<'i, 'a> {
    input: &'i mut Input<'a>,
    range: u32,
    code: u32,
}

impl<'i, 'a> Coder<'i, 'a> {
    fn start(input: &'i mut Input<'a>) -> Result<Self, Fault> {
        if input.byte()? != 0 {
            return Err(Fault::Damaged);
        }
        let mut code = 0;
        for _ in 0..4 {
            code = code << 8 | u32::from(input.byte()?);
        }
        Ok(Self { input, range: u32::MAX, code })
    }

    #[inline]
    fn normalise(&mut self) -> Result<(), Fault> {
        if self.range < TOP {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.input.byte()?);
        }
        Ok(())
    }

    #[inline]
    fn bit(&mut self, probability: &mut u16) -> Result<usize, Fault> {
        let bound = (self.range >> 11) * u32::from(*probability);
        let bit = if self.code < bound {
            self.range = bound;
            *probability += ((1 << 11) - *probability) >> 5;
            0
        } else {
            self.range -= bound;
            self.code -= bound;
            *probability -= *probability >> 5;
            1
        };
        self.normalise()?;
        Ok(bit)
    }

    fn tree(&mut self, table: &mut [u16], bits: u32) -> Result<usize, Fault> {
        let mut symbol = 1;
        for _ in 0..bits {
            symbol = symbol << 1 | self.bit(&mut table[symbol])?;
        }
        Ok(symbol - (1 << bits))
    }

    fn reverse_tree(
        &mut self,
        p: &mut [u16; PROBABILITIES],
        base: usize,
        bits: u32,
    ) -> Result<usize, Fault> {
        let (mut symbol, mut value) = (1, 0);
        for at in 0..bits {
            let bit = self.bit(&mut p[base + symbol])?;
            symbol = symbol << 1 | bit;
            value |= bit << at;
        }
        Ok(value)
    }

    /// Bits that all have the probability one half.
    fn direct(&mut self, bits: u32) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..bits {
            self.range >>= 1;
            let bit = u32::from(self.code >= self.range);
            if bit == 1 {
                self.code -= self.range;
            }
            value = value << 1 | bit;
            self.normalise()?;
        }
        Ok(value)
    }
}
