//! Which copy of the boot record is authoritative, and how the record changes.
//!
//! All of it is pure; `crate::area` reads and writes. Boot protocol step 1. A write never touches
//! the authoritative copy, so there is no instant at which a power cut loses all copies.

mod changes;

pub use changes::{ConfirmRefusal, Confirmation, OperatorRefusal};

use crate::device::DeviceError;
use crate::format::{FormatError, Record, record};

/// The sequence of a record that is rebuilt after all copies were lost, or renumbered. It is above
/// the sequence of a copy that was only unreadable for a while, so that such a copy does not come
/// back as the newer one. Two such losses with no write between them cannot be distinguished. The
/// write that follows ends the danger, because it replaces the old copy.
// Why: docs/DESIGN.md#why-sequence-jumps-after-loss
pub(crate) const SEQUENCE_AFTER_LOSS: u64 = 1 << 40;

/// How many numbers a write leaves out while a place cannot be read. The copy in that place may be
/// newer by some writes than all that can be read, and must not come back as the newest.
pub(crate) const GAP: u64 = 16;

/// How many numbers a write leaves out when the places are in these states.
pub(crate) fn gap(states: &[CopyState]) -> u64 {
    let is_unread = |state: &CopyState| matches!(state, CopyState::Unreadable(_));
    if states.iter().any(is_unread) { GAP } else { 0 }
}

/// The result of reading one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CopyState {
    /// All bytes are 0x00, or all are 0xff: never written, or erased.
    Blank,
    /// Torn, damaged, or not a record.
    Invalid,
    /// Intact, and of a format version this build cannot read.
    Newer {
        /// Its version.
        version: u16,
    },
    /// Intact.
    Valid {
        /// Its sequence.
        sequence: u64,
    },
    /// The device failed to read it, twice.
    Unreadable(DeviceError),
}

/// The result of reading all copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RecordStatus {
    /// The copy in this place is authoritative.
    Current {
        /// Number of the place, from 0.
        copy: u8,
    },
    /// A later format is in use. Nothing may be written, so nothing may be tried.
    Newer,
    /// Never written, or cut short in the very first write, which goes to place 0: a new device.
    Factory,
    /// All were lost.
    Lost,
}

/// Decides which copy is authoritative.
// Why: docs/DESIGN.md#why-highest-sequence-wins
#[must_use]
pub fn choose(copies: &[CopyState]) -> RecordStatus {
    let mut best: Option<(u64, u8)> = None;
    let (mut any_blank, mut all_new) = (false, true);
    for (place, copy) in (0..).zip(copies) {
        match *copy {
            CopyState::Newer { .. } => return RecordStatus::Newer,
            // On a tie the first: equal sequences are equal bytes, unless an attacker forged one.
            CopyState::Valid { sequence } => {
                if best.is_none_or(|(highest, _)| sequence > highest) {
                    best = Some((sequence, place));
                }
            }
            CopyState::Blank => any_blank |= place > 0,
            // At most one write was begun: the first, which goes to place 0. If a place behind it
            // is not blank, that place was written once, and so was place 0.
            CopyState::Invalid => all_new &= place == 0,
            // Place 0 may hold the only copy, so the device is not new if place 0 cannot be read.
            // Another place that cannot be read counts as blank, as long as place 0 was never
            // written.
            CopyState::Unreadable(_) => all_new &= place > 0,
        }
    }
    match best {
        Some((_, copy)) => RecordStatus::Current { copy },
        None if all_new && any_blank => RecordStatus::Factory,
        None => RecordStatus::Lost,
    }
}

/// The state of a copy, and the record if the bytes are one.
#[must_use]
pub fn inspect(bytes: &[u8]) -> (CopyState, Option<Record>) {
    let mut record = Record::default();
    let state = inspect_into(bytes, &mut record);
    (state, matches!(state, CopyState::Valid { .. }).then_some(record))
}

/// As [`inspect`], in place. `record` is a record only if the copy is valid.
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
