//! Which copy of the boot record is true, and how the record changes.
//!
//! All of it is pure; `crate::area` reads and writes. Boot protocol step 1. A write never
//! touches the copy that is true, so no instant exists in which a power cut could lose all.

mod changes;

pub use changes::{ConfirmRefusal, Confirmation, OperatorRefusal};

use crate::device::DeviceError;
use crate::format::{FormatError, Record, record};

/// The sequence of a record that is rebuilt after all copies were lost, or renumbered: above that
/// of a copy that was only unreadable for a while, so that it does not come back as the newer one.
/// Two such losses with no write between them are not told apart; the write that follows ends the
/// danger, for it replaces the old copy.
pub(crate) const SEQUENCE_AFTER_LOSS: u64 = 1 << 40;

/// How many numbers a write leaves out while a place cannot be read: what stands there may be newer
/// than all that can be read, by some writes, and must not come back as the newest.
pub(crate) const GAP: u64 = 16;

/// What a write leaves out beside places in these states.
pub(crate) fn gap(states: &[CopyState]) -> u64 {
    let is_unread = |state: &CopyState| matches!(state, CopyState::Unreadable(_));
    if states.iter().any(is_unread) { GAP } else { 0 }
}

/// What one copy turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CopyState {
    /// All bytes are 0x00, or all are 0xff: never written, or erased.
    Blank,
    /// Torn, damaged, or something else.
    Invalid,
    /// Sound, and of a format version this build cannot read.
    Newer {
        /// Its version.
        version: u16,
    },
    /// Sound.
    Valid {
        /// Its sequence.
        sequence: u64,
    },
    /// The device did not give it, twice.
    Unreadable(DeviceError),
}

/// What all copies together amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Choice {
    /// The copy in this place is true.
    Current {
        /// Number of the place, from 0.
        copy: u8,
    },
    /// A later format is in use: nothing may be written, so nothing may be tried.
    Newer,
    /// Never written, or cut short in the very first write, which goes to place 0: a new device.
    Factory,
    /// All were lost.
    Lost,
}

/// Decides which copy is true.
#[must_use]
pub fn choose(copies: &[CopyState]) -> Choice {
    let mut best: Option<(u64, u8)> = None;
    let (mut any_blank, mut all_new) = (false, true);
    for (place, copy) in (0..).zip(copies) {
        match *copy {
            CopyState::Newer { .. } => return Choice::Newer,
            // On a tie the first: equal sequences are equal bytes, unless somebody forged one.
            CopyState::Valid { sequence } => {
                if best.is_none_or(|(highest, _)| sequence > highest) {
                    best = Some((sequence, place));
                }
            }
            CopyState::Blank => any_blank |= place > 0,
            // One write was begun at most: the first, which goes to place 0. A place behind it that
            // is not blank was written once, so place 0 was too.
            CopyState::Invalid => all_new &= place == 0,
            // The first place may hold the only copy; another one that cannot be read is as good as
            // blank while the first was never written.
            CopyState::Unreadable(_) => all_new &= place > 0,
        }
    }
    match best {
        Some((_, copy)) => Choice::Current { copy },
        None if all_new && any_blank => Choice::Factory,
        None => Choice::Lost,
    }
}

/// What the bytes of a copy are, and the record if they are one.
#[must_use]
pub fn inspect(bytes: &[u8]) -> (CopyState, Option<Record>) {
    let mut record = Record::default();
    let state = inspect_into(bytes, &mut record);
    (state, matches!(state, CopyState::Valid { .. }).then_some(record))
}

/// As [`inspect`], in place; the record is one only if the copy is valid.
pub(crate) fn inspect_into(bytes: &[u8], record: &mut Record) -> CopyState {
    match record.read(bytes) {
        Ok(()) => CopyState::Valid { sequence: record.sequence },
        Err(FormatError::Version { found }) if found > record::VERSION => {
            CopyState::Newer { version: found }
        }
        Err(_) => is_blank(bytes),
    }
}

/// Whether bytes that are no copy were never written, or are damaged.
pub(crate) fn is_blank(bytes: &[u8]) -> CopyState {
    let blank = |value: u8| bytes.iter().all(|byte| *byte == value);
    if blank(0xff) || blank(0) { CopyState::Blank } else { CopyState::Invalid }
}
