//! One piece of the new bundle as a difference.

use std::sync::Mutex;

use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{Encoding, Entry, Header, Part, Piece};
use stillboot_transport::input::Bytes;
use stillboot_transport::lzma::Parameters;

use super::Full;
use super::scan::Run;
use super::view::View;
use crate::frames::{Effort, Encoder, Piecewise, lzma};

/// Parameters of LZMA that are tried for a residual: bytes for themselves, and words of four bytes.
const PARAMETERS: [Parameters; 2] =
    [Parameters { lc: 0, lp: 0, pb: 0 }, Parameters { lc: 0, lp: 2, pb: 2 }];

/// Good compression gives no frame that is so many times shorter than a frame of LZ4.
const FAR: usize = 64;

/// How many pieces went which way, and how many bytes they have.
#[derive(Debug, Default)]
pub struct Counts(Mutex<[(u64, u64); Encoding::ALL.len()]>);

impl Counts {
    fn add(&self, encoding: Encoding, bytes: usize) {
        // A thread that panicked takes the whole run with it.
        if let Ok(mut counts) = self.0.lock() {
            let count = &mut counts[encoding as usize];
            *count = (count.0 + 1, count.1 + bytes as u64);
        }
    }

    /// Those of one encoding.
    pub fn of(&self, encoding: Encoding) -> (u64, u64) {
        self.0.lock().map_or((0, 0), |counts| counts[encoding as usize])
    }
}

/// Makes the frames of a patch.
pub struct Patcher<'a> {
    view: &'a View,
    header: Header,
    full: Full,
    encoder: Encoder,
    /// Shows that each frame gives back its piece.
    check: Decoder<&'a [u8]>,
    counts: &'a Counts,
}

impl<'a> Patcher<'a> {
    pub fn new(view: &'a View, header: Header, full: Full, counts: &'a Counts) -> Self {
        let (Full::Absent(compression) | Full::Whole(compression)) = full;
        Self {
            view,
            // The check must not refuse what the file's own header will name.
            header: header.with_encodings(u8::MAX),
            full,
            encoder: Encoder::new(compression),
            check: Decoder::new(&view.old[..]),
            counts,
        }
    }

    /// The difference of a chunk of component `number`; `None` if it does not give the chunk back.
    fn patch(&mut self, number: u8, piece: &Piece, bytes: &[u8]) -> Option<Vec<u8>> {
        let before = &self.header.components()[..usize::from(number)];
        let base = before.iter().sum::<u64>() + piece.start;
        let runs = &self.view.runs[usize::from(number)];
        let frame = difference(&self.view.old, runs, base, piece.start as usize, bytes)?;
        let entry = Entry { encoding: Encoding::Patch, len: frame.len() as u32 };
        let mut result = vec![0; bytes.len()];
        let decoded =
            self.check.decode(&self.header, piece, entry, &mut Bytes(&frame), &mut result);
        (decoded.is_ok() && result == bytes).then_some(frame)
    }

    fn best(&mut self, piece: &Piece, bytes: &[u8]) -> (Encoding, Vec<u8>) {
        let Part::Chunk(number) = piece.part else {
            return match self.full {
                Full::Absent(_) => (Encoding::Absent, Vec::new()),
                Full::Whole(_) => (Encoding::Raw, bytes.to_vec()),
            };
        };
        // Nothing is shorter, and it depends on no old byte.
        if bytes.iter().all(|byte| *byte == 0) {
            return self.encoder.encode(bytes);
        }
        let patch = self.patch(number, piece, bytes).filter(|patch| patch.len() < bytes.len());
        // Good compression takes long. None comes near to this where the fast one does not.
        let fast = || lz4_flex::block::compress(bytes).len();
        let patch = match patch {
            Some(patch) if patch.len() < bytes.len() / FAR && patch.len() < fast() / FAR => {
                return (Encoding::Patch, patch);
            }
            patch => patch,
        };
        let (encoding, frame) = self.encoder.encode(bytes);
        match patch {
            Some(patch) if patch.len() < frame.len() => (Encoding::Patch, patch),
            _ => match self.full {
                Full::Absent(_) => (Encoding::Absent, Vec::new()),
                Full::Whole(_) => (encoding, frame),
            },
        }
    }
}

impl Piecewise for Patcher<'_> {
    fn frame(&mut self, piece: &Piece, bytes: &[u8]) -> (Encoding, Vec<u8>) {
        let (encoding, frame) = self.best(piece, bytes);
        self.counts.add(encoding, bytes.len());
        (encoding, frame)
    }
}

/// The frame of a chunk that starts at `start` of its component, and at `base` of all.
fn difference(old: &[u8], runs: &[Run], base: u64, start: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut residual = bytes.to_vec();
    let mut operations = Vec::new();
    let (mut at, mut place) = (0, base);
    let end = start + bytes.len();
    let first = runs.partition_point(|run| run.new + run.len <= start);
    for run in runs[first..].iter().take_while(|run| run.new < end) {
        let new = run.new.max(start);
        let len = (run.new + run.len).min(end) - new;
        let from = run.old + (new - run.new);
        let here = new - start;
        for (byte, old) in residual[here..here + len].iter_mut().zip(&old[from..from + len]) {
            *byte = byte.wrapping_sub(*old);
        }
        let keep = here - at;
        let step = (from as i64).wrapping_sub((place + keep as u64) as i64);
        number(&mut operations, keep as u64);
        number(&mut operations, len as u64);
        number(&mut operations, (step << 1 ^ step >> 63) as u64);
        at = here + len;
        place = (from + len) as u64;
    }
    let residual = match residual.iter().all(|byte| *byte == 0) {
        true => Vec::new(),
        false => {
            let quick = |parameters: &&Parameters| {
                lzma(&residual, **parameters, Effort::Quick).map_or(usize::MAX, |frame| frame.len())
            };
            lzma(&residual, *PARAMETERS.iter().min_by_key(quick)?, Effort::Full)?
        }
    };
    let mut frame = (residual.len() as u32).to_le_bytes()[..3].to_vec();
    frame.extend_from_slice(&residual);
    frame.extend_from_slice(&operations);
    Some(frame)
}

/// A number in groups of 7 bits, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
