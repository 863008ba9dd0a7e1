//! What the machine waits for, and what it has found out so far.

use crate::format::{Digest, Floor, MarkKind, Slot};
use crate::layout::Region;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Start,
    ReadRecord,
    ReadFloor,
    /// Reading the head of slot number `at` of the layout, to see what the device has.
    Look {
        at: usize,
        again: bool,
    },
    RunningHead,
    /// Receiving the first bytes of the envelope at `from`.
    EnvelopeHeader {
        from: usize,
    },
    /// Receiving the rest of the envelope that starts at `from` and ends at `end`.
    EnvelopeRest {
        from: usize,
        end: usize,
    },
    ProbeFloor,
    Judge,
    /// Comparing the target's trust area with the head that was received, from byte `at` on.
    StoredHead {
        at: usize,
        len: usize,
    },
    /// Writing the record: the target is being written.
    MarkWriting,
    Unmark,
    /// Making room for the head.
    HeadRoom,
    WriteHead,
    /// Skipping a component that is for another slot.
    PassComponent {
        number: usize,
    },
    CheckIndex {
        at: u64,
        len: usize,
    },
    /// Making room for the index.
    IndexRoom,
    PassIndex,
    ReceiveIndex {
        at: u64,
        len: usize,
    },
    WriteIndex {
        at: u64,
        len: usize,
    },
    /// Reading entries of the stored index, because those of `chunk` are due.
    Window {
        chunk: u64,
        probe: bool,
    },
    /// Reading a chunk of the target to see whether it is there already.
    Probe {
        chunk: u64,
    },
    /// Asking the source whether the chunks that are erased together with `chunk`, the first of
    /// them, are there already.
    Ask {
        chunk: u64,
    },
    EraseGroup {
        chunk: u64,
    },
    /// Reading a chunk of the running slot.
    Borrow {
        chunk: u64,
    },
    ReceiveChunk {
        chunk: u64,
    },
    WriteChunk {
        chunk: u64,
        borrowed: bool,
    },
    PassChunk {
        chunk: u64,
    },
    ExpectEnd,
    FlushAll {
        device: u8,
    },
    ReadBackHead {
        at: usize,
        len: usize,
    },
    ReadBack {
        number: usize,
        at: u64,
        len: usize,
    },
    Commit {
        kind: MarkKind,
    },
    /// Writing the record: the switch.
    Complete,
    Ended,
}

/// What the heads of slots show, where no good slot of the target's kind runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Slots whose head verifies and is the recorded one, as bits.
    pub(super) as_recorded: u8,
    /// Good slots that would stand for the running one, and whose head is not as recorded, as bits.
    pub(super) unsure: u8,
    /// The first slot of `unsure` whose head could be read.
    pub(super) other: Option<Slot>,
    /// Slots that could not be read, as bits.
    pub(super) silent: u8,
    /// A slot of the target's kind could not be read.
    pub(super) unread: bool,
    /// A head verifies and is for this device.
    pub(super) any_head: bool,
    /// A slot of the target's kind has no head that verifies.
    pub(super) unverified: bool,
    /// The highest floor that a head of the target's kind reaches.
    pub(super) highest: Floor,
    /// The lowest floor of the good slots of the target's kind.
    pub(super) lowest_good: Option<Floor>,
    /// The newest data epoch that a head of the target's kind reads.
    pub(super) reads_max: u16,
    /// Of the newest head of the target's kind: keyset version and sequence, and digest.
    pub(super) newest: ((u32, u64), Digest),
}

/// The component that is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) number: usize,
    pub(super) index: Region,
    pub(super) data: Region,
    pub(super) length: u64,
    pub(super) chunks: u64,
    pub(super) root: Digest,
    /// Where the running slot holds a component of the same role.
    pub(super) source: Option<Region>,
    /// Chunks below this are in place already.
    pub(super) kept_below: u64,
    /// The erase blocks of chunks below this are erased already.
    pub(super) erased_below: u64,
    /// First chunk whose entry is in the window, and one past the last.
    pub(super) window: (u64, u64),
}

impl Current {
    /// Before the first component.
    pub(super) const NONE: Self = Self {
        number: 0,
        index: Region::NONE,
        data: Region::NONE,
        length: 0,
        chunks: 0,
        root: [0; 32],
        source: None,
        kept_below: 0,
        erased_below: 0,
        window: (0, 0),
    };
}
