//! The boot record in places of its own, each one or more erase blocks.
//!
//! The authoritative copy is never erased or written. The place after it, in turn, is written. If
//! that fails, the next place is written: a dead place does no harm.

// Why: docs/DESIGN.md#why-three-copies

use super::Outcome;
use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::{Record, record};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, PLACES_MAX};
use crate::record::{CopyState, RecordStatus, SEQUENCE_AFTER_LOSS, choose, gap, inspect_into};

/// The byte that is written over a destroyed copy, and the number of such bytes: the header.
const RUINED: u8 = 0x55;
const RUINED_LEN: usize = record::HEADER_LEN;

/// The purpose of the write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The record under the next sequence.
    Record,
    /// The record under a low sequence, because no higher one is left. The other copies have higher
    /// sequences, so they are destroyed after this one is durable.
    Renumber,
    /// A copy above the low one is destroyed.
    Supersede,
    /// All copies are destroyed, one after the other.
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Read,
    Erase,
    Write,
    Flush,
    /// Reading back, to see whether the device kept what it said it kept.
    Verify,
    /// After a failed write: reading whether the bytes are there nevertheless.
    Check,
    CheckFlush,
}

/// Reads and writes the copies, one operation at a time.
#[derive(Clone, Debug)]
pub(super) struct Records {
    /// Where in the buffer a copy is read to and written from.
    at: usize,
    phase: Phase,
    /// The copy that is read or written.
    copy: u8,
    /// A read of this copy failed once.
    again: bool,
    purpose: Purpose,
    /// Places that the write under way has tried, as bits.
    tried: u8,
    /// Places that reported a successful write and did not keep it, as bits.
    unkept: u8,
    /// The write under way ends if a place did not keep it.
    stops: bool,
    /// The authoritative copy; never written to.
    current: Option<u8>,
    /// The first failure of the write under way.
    failure: Option<DeviceError>,
    pub(super) states: [CopyState; PLACES_MAX],
    /// The highest sequence that was read, or written by this machine, also by a write that failed.
    /// A failed write may turn up later, and must not outrank what was written after it.
    highest: u64,
}

impl Records {
    pub(super) const fn new(at: usize) -> Self {
        Self {
            at,
            phase: Phase::Idle,
            copy: 0,
            again: false,
            purpose: Purpose::Record,
            tried: 0,
            unkept: 0,
            stops: false,
            current: None,
            failure: None,
            states: [CopyState::Blank; PLACES_MAX],
            highest: 0,
        }
    }

    pub(super) const fn has_current(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn begin_read(&mut self, layout: &Layout<'_>) -> Io {
        self.copy = 0;
        self.read(layout, Phase::Read)
    }

    fn sequence_of(&self, copy: u8) -> Option<u64> {
        match self.states.get(usize::from(copy)) {
            Some(CopyState::Valid { sequence }) => Some(*sequence),
            _ => None,
        }
    }

    // Why: docs/DESIGN.md#why-sequence-above-tried
    // Why: docs/DESIGN.md#why-low-follows-highest-sequence
    pub(super) fn begin_write(
        &mut self,
        layout: &Layout<'_>,
        record: &mut Record,
        stops: bool,
    ) -> Io {
        let count = layout.places().len() as u8;
        self.tried = self.current.map_or(0, |current| 1 << current);
        (self.failure, self.stops) = (None, stops);
        self.copy = match self.current {
            _ if Canary::SingleRecordCopy.is_on() => 0,
            Some(current) => self.next_place(current, count).unwrap_or(current),
            None => 0,
        };
        if Canary::WritesOnlyCopy.is_on()
            && let Some(current) = self.current
            && self.states.iter().any(|state| matches!(state, CopyState::Unreadable(_)))
        {
            self.copy = current;
        }
        let lost = self.current.is_none()
            && choose(self.states.get(..count.into()).unwrap_or(&[])) != RecordStatus::Factory;
        let floor = if lost { SEQUENCE_AFTER_LOSS } else { 0 };
        record.sequence = self.highest.max(floor) + 1 + gap(&self.states);
        self.purpose = Purpose::Record;
        if record.sequence > record::SEQUENCE_MAX {
            if Canary::SequenceSaturates.is_on() {
                record.sequence = record::SEQUENCE_MAX;
            } else {
                record.sequence = SEQUENCE_AFTER_LOSS;
                self.purpose = Purpose::Renumber;
            }
        }
        self.highest = self.highest.max(record.sequence);
        self.erase(layout)
    }

    /// The place after `from`, in turn, that the write under way has not tried. Places that kept
    /// nothing go last. A place that cannot be read takes its turn: where flash corrects errors, a
    /// write that was cut leaves a place unreadable until it is erased.
    fn next_place(&self, from: u8, count: u8) -> Option<u8> {
        let turn = |step: u8| {
            let place = from + step;
            if place >= count { place - count } else { place }
        };
        let dead = |place: u8| self.unkept & 1 << place != 0;
        let left = (1..count).map(turn).filter(|place| self.tried & 1 << place == 0);
        let whole = left.clone().find(|place| !dead(*place));
        whole.or_else(|| left.clone().next())
    }

    /// Begins to destroy all copies.
    pub(super) fn begin_discard(&mut self, layout: &Layout<'_>) -> Io {
        self.purpose = Purpose::Discard;
        (self.failure, self.stops, self.tried) = (None, false, 0);
        self.copy = self.next_to_discard(layout).unwrap_or(0);
        self.erase(layout)
    }

    /// The next copy to be destroyed: first places that hold no copy, then the lowest sequence, so
    /// that no older copy comes into force. If place 0 holds no record and the places behind it are
    /// blank, the device would look like one that never had a record. So the blank places are
    /// overwritten before it. A place that cannot be read holds nothing that could be obeyed.
    fn next_to_discard(&self, layout: &Layout<'_>) -> Option<u8> {
        let rank = |place: &u8| match self.states.get(usize::from(*place)) {
            Some(CopyState::Valid { sequence }) => *sequence + 1,
            Some(CopyState::Newer { .. }) => u64::MAX,
            _ => 0,
        };
        let is_read = |place: &u8| {
            let state = self.states.get(usize::from(*place));
            !matches!(state, Some(CopyState::Unreadable(_)))
        };
        let left = (0..layout.places().len() as u8).rev();
        left.filter(|place| self.tried & 1 << place == 0 && is_read(place)).min_by_key(rank)
    }

    fn erase(&mut self, layout: &Layout<'_>) -> Io {
        self.tried |= 1 << self.copy;
        self.phase = Phase::Erase;
        Io::erase(layout.place(self.copy))
    }

    /// Asks for the copy, for the first time in `phase`.
    fn read(&mut self, layout: &Layout<'_>, phase: Phase) -> Io {
        self.again = false;
        self.read_in(layout, phase)
    }

    fn read_in(&mut self, layout: &Layout<'_>, phase: Phase) -> Io {
        self.phase = phase;
        let region = layout.place(self.copy);
        Io::read(layout.geometry(region.device), region, record::LEN_MAX, self.at)
    }

    fn destroys(&self) -> bool {
        matches!(self.purpose, Purpose::Supersede | Purpose::Discard)
    }

    fn write(&mut self, layout: &Layout<'_>, record: &Record, buffer: &mut [u8]) -> Step<Outcome> {
        let region = layout.place(self.copy);
        let copy = &mut buffer[self.at..self.at + record::LEN_MAX];
        let len = if self.destroys() {
            // Neither a record nor blank: a blank copy would look like a device that never had a
            // record.
            copy.fill(RUINED);
            RUINED_LEN
        } else {
            // A record that breaks a rule must fail here. Otherwise nothing would be written, and
            // the record would count as written.
            match record.emit(copy) {
                Ok(len) => len,
                Err(_) => return Step::Done(Outcome::WriteFailed(DeviceError::OutOfRange)),
            }
        };
        self.phase = Phase::Write;
        let geometry = layout.geometry(region.device);
        Step::Io(Io::write_padded(geometry, region, buffer, self.at, len))
    }

    fn flush(&mut self, layout: &Layout<'_>, phase: Phase) -> Step<Outcome> {
        self.phase = phase;
        Step::Io(Io::Flush { device: layout.place(self.copy).device })
    }

    /// Notes the state of the copy. Of the copies that are read for the first time, `record` is the
    /// newest one.
    // A function of its own, so that its record is not on the stack of everything else.
    // Why: docs/DESIGN.md#why-read-errors-are-repeated
    #[inline(never)]
    fn look(&mut self, result: IoResult, buffer: &[u8], record: Option<&mut Record>) -> CopyState {
        let state = match result {
            Ok(()) => {
                let mut found = Record::default();
                let bytes = &buffer[self.at..self.at + record::LEN_MAX];
                let state = inspect_into(bytes, &mut found);
                if let (Some(record), CopyState::Valid { sequence }) = (record, state) {
                    if self.current.is_none() || sequence > self.highest {
                        *record = found;
                        self.current = Some(self.copy);
                    }
                    self.highest = self.highest.max(sequence);
                }
                state
            }
            Err(error) => CopyState::Unreadable(error),
        };
        if let Some(place) = self.states.get_mut(usize::from(self.copy)) {
            *place = state;
        }
        state
    }

    /// Whether the copy has the state that the write under way should give it.
    // Why: docs/DESIGN.md#why-record-is-read-back
    fn is_kept(&self, state: CopyState, record: &Record) -> bool {
        if self.destroys() {
            // A blank copy would look like one that was never written.
            return state == CopyState::Invalid;
        }
        state == CopyState::Valid { sequence: record.sequence }
    }

    /// The write under way has failed in this place: on to the next one. At the end of a
    /// renumbering, the copies on the device decide which one is in force. This is the copy that
    /// could not be destroyed, or, once that is no record any more, the highest that is left.
    // Why: docs/DESIGN.md#why-failed-place-next-place
    fn failed(&mut self, layout: &Layout<'_>, error: DeviceError) -> Step<Outcome> {
        let failure = *self.failure.get_or_insert(error);
        let count = layout.places().len() as u8;
        if error == DeviceError::NotKept {
            self.unkept |= 1 << self.copy;
        }
        match self.purpose {
            Purpose::Record | Purpose::Renumber if self.stops && error == DeviceError::NotKept => {
                return Step::Done(Outcome::WriteFailed(error));
            }
            Purpose::Record | Purpose::Renumber => {
                if let Some(next) = self.next_place(self.copy, count)
                    && !Canary::OnePlaceOnly.is_on()
                {
                    self.copy = next;
                    return Step::Io(self.erase(layout));
                }
            }
            Purpose::Supersede => {
                if let RecordStatus::Current { copy } =
                    choose(self.states.get(..count.into()).unwrap_or(&[]))
                {
                    self.current = Some(copy);
                    self.highest = self.sequence_of(copy).unwrap_or(self.highest);
                }
            }
            Purpose::Discard => {}
        }
        Step::Done(Outcome::WriteFailed(failure))
    }

    /// The copy has the state that it should have: chooses the next step.
    fn kept(&mut self, layout: &Layout<'_>, record: &Record) -> Step<Outcome> {
        match self.purpose {
            Purpose::Record => self.current = Some(self.copy),
            Purpose::Renumber | Purpose::Supersede => {
                if self.purpose == Purpose::Renumber {
                    self.purpose = Purpose::Supersede;
                }
                // The lowest of the copies above it first: the highest is in force until it is
                // destroyed.
                let count = layout.places().len() as u8;
                let above = |place: &u8| {
                    self.sequence_of(*place).filter(|sequence| *sequence > record.sequence)
                };
                let next = (0..count).filter(|place| above(place).is_some()).min_by_key(above);
                if let Some(next) = next {
                    self.copy = next;
                    return Step::Io(self.erase(layout));
                }
                self.highest = record.sequence;
                self.current =
                    (0..count).find(|place| self.sequence_of(*place) == Some(record.sequence));
            }
            Purpose::Discard => {
                if let Some(next) = self.next_to_discard(layout) {
                    self.copy = next;
                    return Step::Io(self.erase(layout));
                }
                self.current = None;
            }
        }
        Step::Done(Outcome::Written)
    }

    pub(super) fn step(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
        record: &mut Record,
    ) -> Step<Outcome> {
        // At rest, unless another operation is asked for.
        match (core::mem::replace(&mut self.phase, Phase::Idle), result) {
            (phase @ (Phase::Read | Phase::Verify), Err(_)) if !self.again => {
                // Read once more, before the copy counts as lost and may be overwritten.
                self.again = true;
                Step::Io(self.read_in(layout, phase))
            }
            (Phase::Read, result) => {
                self.look(result, buffer, Some(record));
                let count = layout.places().len();
                if usize::from(self.copy) + 1 < count {
                    self.copy += 1;
                    return Step::Io(self.read(layout, Phase::Read));
                }
                let choice = choose(self.states.get(..count).unwrap_or(&[]));
                if !matches!(choice, RecordStatus::Current { .. }) {
                    record.clear();
                    self.current = None;
                }
                Step::Done(Outcome::Read(choice))
            }
            (Phase::Erase, Ok(())) => self.write(layout, record, buffer),
            (Phase::Write, Ok(())) => self.flush(layout, Phase::Flush),
            // A worn-out card reports success and keeps nothing. If tries were counted there,
            // the count would be lost each time, and a slot would have tries without end.
            (Phase::Flush | Phase::CheckFlush, Ok(())) => {
                Step::Io(self.read(layout, Phase::Verify))
            }
            (Phase::Verify, result) => {
                let state = self.look(result, buffer, None);
                if self.is_kept(state, record) {
                    return self.kept(layout, record);
                }
                self.failed(
                    layout,
                    match state {
                        CopyState::Unreadable(error) => error,
                        CopyState::Blank
                        | CopyState::Invalid
                        | CopyState::Newer { .. }
                        | CopyState::Valid { .. } => DeviceError::NotKept,
                    },
                )
            }
            // After any write error the copy is read: the write may have happened.
            (Phase::Erase | Phase::Write | Phase::Flush, Err(error)) => {
                self.failure.get_or_insert(error);
                Step::Io(self.read(layout, Phase::Check))
            }
            (Phase::Check, result) => {
                let state = self.look(result, buffer, None);
                if self.is_kept(state, record) {
                    // The bytes are there. Only a flush that succeeds makes them durable.
                    return self.flush(layout, Phase::CheckFlush);
                }
                self.failed(layout, DeviceError::Io)
            }
            (Phase::CheckFlush, Err(error)) => self.failed(layout, error),
            // No operation was asked for: the caller stepped a machine that was at rest.
            (Phase::Idle, _) => Step::Done(Outcome::WriteFailed(DeviceError::Io)),
        }
    }
}
