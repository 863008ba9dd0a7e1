//! Which copy of the boot record is true, which one is written next, and how the record changes.
//!
//! [`choose`] and the changes are pure. `Copies` asks for the reads and writes one at a time and
//! does none itself. Boot protocol step 1; design of two copies: a write never touches the copy
//! that is true, so no instant exists in which a power cut could lose both.

mod changes;

pub use changes::{ConfirmRefusal, Confirmation, OperatorRefusal};

use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::{FormatError, Record, record};
use crate::io::{Io, IoResult, Step, round};
use crate::layout::Layout;

/// The sequence of a record that is rebuilt after both copies were lost, or renumbered: above that
/// of a copy that was only unreadable for a while, so that it does not come back as the newer one.
/// Two such losses with no write between them are not told apart; the write that follows ends the
/// danger, for it replaces the old copy.
const SEQUENCE_AFTER_LOSS: u64 = 1 << 40;

/// What stands at the start of a copy that was destroyed, and how many bytes of it: the header.
const RUINED: u8 = 0x55;
const RUINED_LEN: usize = record::HEADER_LEN;

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

/// What both copies together amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Choice {
    /// This copy is true.
    Current {
        /// 0 or 1.
        copy: u8,
    },
    /// A later format is in use: nothing may be written, so nothing may be tried.
    Newer,
    /// Never written, or cut short in the very first write, which goes to copy 0: a new device.
    Factory,
    /// Both were lost.
    Lost,
}

/// Decides which copy is true.
#[must_use]
pub fn choose(copies: [CopyState; 2]) -> Choice {
    use CopyState::{Blank, Invalid, Newer, Unreadable, Valid};
    match copies {
        [Newer { .. }, _] | [_, Newer { .. }] => Choice::Newer,
        // On a tie copy 0: equal sequences are equal bytes, unless somebody forged one.
        [Valid { sequence: zero }, Valid { sequence: one }] => {
            Choice::Current { copy: u8::from(one > zero) }
        }
        [Valid { .. }, Blank | Invalid | Unreadable(_)] => Choice::Current { copy: 0 },
        [Blank | Invalid | Unreadable(_), Valid { .. }] => Choice::Current { copy: 1 },
        // One write was begun at most: the first, which goes to copy 0. Beside a copy 1 that was
        // written once, a blank copy 0 was erased to make a lost record anew.
        [Blank | Invalid, Blank] => Choice::Factory,
        [Blank | Invalid, Invalid]
        | [Unreadable(_), Blank | Invalid | Unreadable(_)]
        | [Blank | Invalid, Unreadable(_)] => Choice::Lost,
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
fn inspect_into(bytes: &[u8], record: &mut Record) -> CopyState {
    match record.read(bytes) {
        Ok(()) => CopyState::Valid { sequence: record.sequence },
        Err(FormatError::Version { found }) if found > record::VERSION => {
            CopyState::Newer { version: found }
        }
        Err(_) => {
            let blank = |value: u8| bytes.iter().all(|byte| *byte == value);
            if blank(0xff) || blank(0) { CopyState::Blank } else { CopyState::Invalid }
        }
    }
}

/// What [`Copies::step`] came to.
pub(crate) enum Outcome {
    /// Both copies are read; the record is the true one, or the default where there is none.
    Read(Choice),
    /// The record is written and durable.
    Written,
    /// It is not; what stood before still stands.
    WriteFailed(DeviceError),
}

/// What the write under way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The record under the next sequence.
    Record,
    /// The record under a low sequence, because no higher one is left. The other copy would still
    /// win, so it is destroyed after this one is durable.
    Renumber,
    /// The copy is destroyed.
    Destroy,
}

/// Reads and writes the two copies, one operation at a time.
#[derive(Clone, Debug)]
pub(crate) struct Copies {
    /// Where in the buffer a copy is read to and written from.
    at: usize,
    phase: Phase,
    /// The copy that is read or written.
    copy: u8,
    /// Its reading failed once.
    again: bool,
    purpose: Purpose,
    states: [CopyState; 2],
    /// The copy that is true; never written to.
    current: Option<u8>,
    failure: DeviceError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Read,
    Erase,
    Write,
    Flush,
    /// Seeing whether the device kept what it said it did.
    Verify,
    /// After a failed write: is it there nevertheless?
    Check,
    CheckFlush,
}

impl Copies {
    pub(crate) const fn new(at: usize) -> Self {
        Self {
            at,
            phase: Phase::Idle,
            copy: 0,
            again: false,
            purpose: Purpose::Record,
            states: [CopyState::Blank; 2],
            current: None,
            failure: DeviceError::Io,
        }
    }

    pub(crate) const fn states(&self) -> [CopyState; 2] {
        self.states
    }

    /// Bytes of the buffer, from `at` on, that reading and writing need.
    pub(crate) fn buffer_len(layout: &Layout<'_>) -> usize {
        round(record::LEN_MAX, layout.unit() as u32)
    }

    /// Whether a copy is true, once they were read.
    pub(crate) const fn has_current(&self) -> bool {
        self.current.is_some()
    }

    pub(crate) fn begin_read(&mut self, layout: &Layout<'_>) -> Io {
        self.copy = 0;
        self.read(layout, Phase::Read)
    }

    /// Begins to write `record` under the next sequence, to the copy that is not true.
    pub(crate) fn begin_write(&mut self, layout: &Layout<'_>, record: &mut Record) -> Io {
        self.copy = match (self.current, self.states) {
            _ if Canary::SingleRecordCopy.sings() => 0,
            (Some(current), [CopyState::Unreadable(_), _] | [_, CopyState::Unreadable(_)])
                if Canary::WritesOnlyCopy.sings() =>
            {
                current
            }
            (Some(current), _) => 1 - current,
            // Both lost: the one that can at least be read, and the other is left as evidence.
            (None, [CopyState::Unreadable(_), _]) => 1,
            (None, _) => 0,
        };
        // From the copy itself: after a write that failed the record at hand has another number.
        record.sequence = match (self.current, self.states) {
            (Some(0), [CopyState::Valid { sequence }, _])
            | (Some(1), [_, CopyState::Valid { sequence }]) => sequence + 1,
            (Some(_), _) => record.sequence + 1,
            (None, _) => match choose(self.states) {
                Choice::Factory => record.sequence + 1,
                Choice::Lost | Choice::Newer | Choice::Current { .. } => {
                    record.sequence.max(SEQUENCE_AFTER_LOSS) + 1
                }
            },
        };
        self.purpose = Purpose::Record;
        if record.sequence > record::SEQUENCE_MAX {
            if Canary::SequenceSaturates.sings() {
                record.sequence = record::SEQUENCE_MAX;
            } else {
                record.sequence = SEQUENCE_AFTER_LOSS;
                self.purpose = Purpose::Renumber;
            }
        }
        self.erase(layout)
    }

    /// Begins to destroy a copy. Whether it was the authoritative one is the caller's concern.
    pub(crate) fn begin_destroy(&mut self, layout: &Layout<'_>, copy: u8) -> Io {
        self.copy = copy;
        self.purpose = Purpose::Destroy;
        self.erase(layout)
    }

    fn erase(&mut self, layout: &Layout<'_>) -> Io {
        self.phase = Phase::Erase;
        Io::erase(layout.record(self.copy.into()))
    }

    /// Asks for the copy, for the first time in `phase`.
    fn read(&mut self, layout: &Layout<'_>, phase: Phase) -> Io {
        self.again = false;
        self.read_in(layout, phase)
    }

    fn read_in(&mut self, layout: &Layout<'_>, phase: Phase) -> Io {
        self.phase = phase;
        let region = layout.record(self.copy.into());
        Io::read(layout.geometry(region.device), region, record::LEN_MAX, self.at)
    }

    fn write(&mut self, layout: &Layout<'_>, record: &Record, buffer: &mut [u8]) -> Step<Outcome> {
        let region = layout.record(self.copy.into());
        let copy = &mut buffer[self.at..self.at + record::LEN_MAX];
        let len = if self.purpose == Purpose::Destroy {
            // Neither a record nor blank: a blank copy would pass for a device that never had one.
            copy.fill(RUINED);
            RUINED_LEN
        } else {
            // Written as nothing, a record that breaks a rule would count as written.
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
        Step::Io(Io::Flush { device: layout.record(self.copy.into()).device })
    }

    /// Notes what the copy turned out to be. Of copies that are read for the first time, `record` is
    /// the newer one.
    // Apart, so that its record is not on the stack of everything else.
    #[inline(never)]
    fn look(&mut self, result: IoResult, buffer: &[u8], record: Option<&mut Record>) -> CopyState {
        let state = match result {
            Ok(()) => {
                let mut found = Record::default();
                let bytes = &buffer[self.at..self.at + record::LEN_MAX];
                let state = inspect_into(bytes, &mut found);
                if let Some(record) = record
                    && let CopyState::Valid { sequence } = state
                {
                    let newer = match self.states[0] {
                        CopyState::Valid { sequence: other } => sequence > other,
                        _ => true,
                    };
                    if self.copy == 0 || newer {
                        *record = found;
                    }
                }
                state
            }
            Err(error) => CopyState::Unreadable(error),
        };
        self.states[usize::from(self.copy)] = state;
        state
    }

    /// Whether the copy is what the write under way was to make of it.
    fn is_kept(&self, state: CopyState, record: &Record) -> bool {
        match self.purpose {
            Purpose::Record | Purpose::Renumber => {
                state == CopyState::Valid { sequence: record.sequence }
            }
            // A blank copy would pass for one that was never written.
            Purpose::Destroy => state == CopyState::Invalid,
        }
    }

    /// The write under way has failed. Where it was the end of a renumbering, what stands decides
    /// which copy is in force: the one that could not be destroyed, or, once it is no record any
    /// more, the other one, which then must not be written.
    fn failed(&mut self, error: DeviceError) -> Step<Outcome> {
        let is_valid = matches!(self.states[usize::from(self.copy)], CopyState::Valid { .. });
        if self.purpose == Purpose::Destroy && self.current == Some(self.copy) && !is_valid {
            self.current = Some(1 - self.copy);
        }
        Step::Done(Outcome::WriteFailed(error))
    }

    /// Takes the result of the operation that was asked for, and asks for the next.
    // Apart, so that its stack is not under the verification of a slot.
    #[inline(never)]
    pub(crate) fn step(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
        record: &mut Record,
    ) -> Step<Outcome> {
        // At rest, unless another operation is asked for.
        match (core::mem::replace(&mut self.phase, Phase::Idle), result) {
            (phase @ (Phase::Read | Phase::Verify), Err(_)) if !self.again => {
                // Once more, before the copy counts as lost and may be written over.
                self.again = true;
                Step::Io(self.read_in(layout, phase))
            }
            (Phase::Read, result) => {
                self.look(result, buffer, Some(record));
                if self.copy == 0 {
                    self.copy = 1;
                    return Step::Io(self.read(layout, Phase::Read));
                }
                let choice = choose(self.states);
                self.current = match choice {
                    Choice::Current { copy } => Some(copy),
                    Choice::Newer | Choice::Factory | Choice::Lost => {
                        record.clear();
                        None
                    }
                };
                Step::Done(Outcome::Read(choice))
            }
            (Phase::Erase, Ok(())) => self.write(layout, record, buffer),
            (Phase::Write, Ok(())) => self.flush(layout, Phase::Flush),
            // A worn-out card says that all is well and keeps nothing: a try that is counted there
            // would be one of many without an end.
            (Phase::Flush, Ok(())) => Step::Io(self.read(layout, Phase::Verify)),
            (Phase::Verify, result) => {
                let state = self.look(result, buffer, None);
                if !self.is_kept(state, record) {
                    return self.failed(match state {
                        CopyState::Unreadable(error) => error,
                        CopyState::Blank
                        | CopyState::Invalid
                        | CopyState::Newer { .. }
                        | CopyState::Valid { .. } => DeviceError::NotKept,
                    });
                }
                match self.purpose {
                    Purpose::Record => self.current = Some(self.copy),
                    Purpose::Renumber => {
                        return Step::Io(self.begin_destroy(layout, 1 - self.copy));
                    }
                    Purpose::Destroy => {
                        // After a renumbering the other copy is the authoritative one.
                        if self.current == Some(self.copy) {
                            self.current = Some(1 - self.copy);
                        }
                    }
                }
                Step::Done(Outcome::Written)
            }
            // After any write error what stands there is read: the write may have happened.
            (Phase::Erase | Phase::Write | Phase::Flush, Err(error)) => {
                self.failure = error;
                Step::Io(self.read(layout, Phase::Check))
            }
            (Phase::Check, result) => {
                let state = self.look(result, buffer, None);
                if self.is_kept(state, record) {
                    // It is there; only a flush that succeeds makes it last.
                    return self.flush(layout, Phase::CheckFlush);
                }
                self.failed(self.failure)
            }
            (Phase::CheckFlush, Ok(())) => Step::Io(self.read(layout, Phase::Verify)),
            (Phase::CheckFlush, Err(error)) => self.failed(error),
            // Not asked for anything: the caller stepped a machine that was at rest.
            (Phase::Idle, _) => Step::Done(Outcome::WriteFailed(DeviceError::Io)),
        }
    }
}
