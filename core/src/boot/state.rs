//! What the machine waits for, and what this power-on has found out so far.

use crate::format::{Floor, SlotKind};
use crate::layout::Region;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Start,
    /// Reading the copies of the record.
    ReadRecord,
    ReadFloor(SlotKind),
    /// Looking into slot number `at` of the layout, because there is no record.
    Scan {
        at: usize,
        part: ScanPart,
        again: bool,
    },
    /// Counting a try.
    Spend,
    /// Reading the head of the candidate.
    Head,
    /// Memory for a component was asked for.
    Reserve,
    /// What was loaded of another slot is forgotten.
    Forget,
    /// Reading a component.
    Load {
        offset: u64,
        len: u32,
    },
    /// Reading the head of another good slot, to see how far the floor may rise.
    OtherHead {
        at: usize,
        lowest: Floor,
    },
    RaiseStore(Floor),
    /// Writing what has changed before hand-over.
    Settle,
    /// Writing the record although nothing can be started, so that an update can be installed.
    SettleEmpty,
    HandedOver,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanPart {
    Head,
    Commit,
    Confirmed,
}

/// The component that is being verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loading {
    pub(super) number: usize,
    /// It is loaded to memory of its own, not through the buffer.
    pub(super) ram: bool,
    /// Its region, in whole blocks of the device.
    pub(super) data: Region,
}

/// What this power-on found out about the slots of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind {
    /// What the store holds.
    pub(super) store: Floor,
    /// Slots whose head reaches the record's floor and which were not found corrupt, as bits.
    pub(super) reaches: u8,
    /// The record's floor is above everything on the device and is ignored.
    pub(super) ignore_floor: bool,
    /// A candidate was refused only because of the record's floor.
    pub(super) refused_by_floor: bool,
    /// Slots whose head could not be read, as bits. The floor that they reach is not known.
    pub(super) unseen: u8,
}
