//! What the caller and the thread of a [`WriteBehind`](super::WriteBehind) share.

use std::collections::VecDeque;
use std::ops::Range;

use stillboot::device::DeviceError;

use super::aligned::{ALIGNMENT, Aligned};
use super::{AHEAD_PIECES, BUFFER_LEN};

/// A change that waits for the thread.
#[derive(Debug)]
pub(super) enum Job {
    Write { offset: u64, len: usize, buffer: Aligned },
    Erase { offset: u64, len: u64 },
}

impl Job {
    pub(super) fn range(&self) -> Range<u64> {
        match self {
            Self::Write { offset, len, .. } => *offset..offset + *len as u64,
            Self::Erase { offset, len } => *offset..offset + len,
        }
    }
}

/// A part of the device that is read ahead.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) range: Range<u64>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// The thread has not begun with it.
    Wanted,
    /// The thread reads it.
    Reading,
    Ready(Aligned),
    /// The caller reads it itself, and gets the error that the device has then.
    Failed,
}

/// Reads that follow each other.
#[derive(Clone, Debug, Default)]
struct Run {
    start: u64,
    end: u64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) jobs: VecDeque<Job>,
    /// What the thread changes at this moment.
    pub(super) busy: Option<Range<u64>>,
    pub(super) free: Vec<Aligned>,
    /// The first late error. It stays.
    pub(super) failed: Option<DeviceError>,
    pub(super) pieces: VecDeque<Piece>,
    pub(super) is_ended: bool,
    /// The caller waits for the device, and the thread lets it go first.
    pub(super) is_caller_reading: bool,
    /// The reads that are read ahead of.
    run: Run,
    /// Another run, which becomes that one when it goes on. Single reads elsewhere, such as those
    /// of an index, do not end a run.
    other: Run,
}

impl State {
    /// Nothing to do, and these buffers.
    pub(super) fn new(free: Vec<Aligned>) -> Self {
        Self { free, ..Self::default() }
    }

    /// Whether a change of these bytes has not reached the device.
    pub(super) fn is_pending(&self, range: &Range<u64>) -> bool {
        self.jobs.iter().map(Job::range).chain(self.busy.clone()).any(|job| overlap(&job, range))
    }

    /// Whether every change has reached the device.
    pub(super) fn is_drained(&self) -> bool {
        self.jobs.is_empty() && self.busy.is_none()
    }

    /// Drops what was read ahead of these bytes: it is about to be no longer true.
    pub(super) fn forget(&mut self, range: &Range<u64>) {
        let (free, pieces) = (&mut self.free, &mut self.pieces);
        pieces.retain_mut(|piece| {
            let keeps = !overlap(&piece.range, range);
            if !keeps {
                reclaim(piece, free);
            }
            keeps
        });
    }

    /// Adds a write to the last change that waits, if that is a write which ends where this one
    /// starts, and has room for it: each request costs the device time, however short it is.
    pub(super) fn join(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some(Job::Write { offset, len, buffer }) = self.jobs.back_mut() else {
            return false;
        };
        let end = *len + bytes.len();
        // A part of a page would make all of it a request that is not direct.
        let is_whole = len.is_multiple_of(ALIGNMENT) && bytes.len().is_multiple_of(ALIGNMENT);
        if *offset + *len as u64 != at || end > buffer.len() || !is_whole {
            return false;
        }
        buffer[*len..end].copy_from_slice(bytes);
        *len = end;
        self.forget(&(at..at + bytes.len() as u64));
        true
    }

    /// A buffer for a write: a free one, else one that was read ahead into.
    pub(super) fn buffer(&mut self) -> Option<Aligned> {
        if self.free.is_empty() {
            while let Some(mut piece) = self.pieces.pop_back() {
                reclaim(&mut piece, &mut self.free);
            }
        }
        self.free.pop()
    }

    /// The number of the piece that has the byte at `offset`.
    pub(super) fn piece_at(&self, offset: u64) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.range.contains(&offset))
    }

    /// Where the first piece behind `offset` starts.
    pub(super) fn next_piece(&self, offset: u64) -> Option<u64> {
        self.pieces.iter().map(|piece| piece.range.start).find(|start| *start > offset)
    }

    /// The next piece for the thread to read, with a buffer for it.
    pub(super) fn take_wanted(&mut self) -> Option<(Range<u64>, Aligned)> {
        let wanted = |piece: &&mut Piece| matches!(piece.content, Content::Wanted);
        let piece = self.pieces.iter_mut().find(wanted)?;
        let buffer = self.free.pop()?;
        piece.content = Content::Reading;
        Some((piece.range.clone(), buffer))
    }

    /// Takes what the thread has read, if no write changed these bytes since it began.
    pub(super) fn put_read(&mut self, range: &Range<u64>, buffer: Aligned, is_read: bool) {
        let reading =
            |piece: &&mut Piece| piece.range == *range && matches!(piece.content, Content::Reading);
        match self.pieces.iter_mut().find(reading) {
            Some(piece) if is_read => piece.content = Content::Ready(buffer),
            Some(piece) => {
                piece.content = Content::Failed;
                self.free.push(buffer);
            }
            None => self.free.push(buffer),
        }
    }

    /// Notes a read of the caller, and asks for what probably comes next.
    pub(super) fn note_read(&mut self, range: &Range<u64>, capacity: u64) {
        if self.run.end != range.start {
            if self.other.end != range.start {
                self.other = Run { start: range.start, end: range.end };
                return;
            }
            self.run = self.other.clone();
            self.forget(&(0..capacity));
        }
        self.run.end = range.end;
        while let Some(first) = self.pieces.front_mut()
            && first.range.end <= range.end
        {
            reclaim(first, &mut self.free);
            self.pieces.pop_front();
        }
        while self.pieces.len() < AHEAD_PIECES {
            let start = self.pieces.back().map_or(range.end, |last| last.range.end);
            // Pieces end where a multiple of their length from the start of the run is.
            let step = BUFFER_LEN as u64;
            let end = (self.run.start + ((start - self.run.start) / step + 1) * step).min(capacity);
            let range = start..end;
            // A byte that a job is about to change is not read before.
            if range.is_empty() || self.is_pending(&range) {
                break;
            }
            self.pieces.push_back(Piece { range, content: Content::Wanted });
        }
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Takes the buffer of a piece that is not needed any more.
fn reclaim(piece: &mut Piece, free: &mut Vec<Aligned>) {
    if let Content::Ready(buffer) = std::mem::replace(&mut piece.content, Content::Failed) {
        free.push(buffer);
    }
}
