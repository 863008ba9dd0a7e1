//! The machine of one request by the running system or its operator: confirm, mark bad, roll back,
//! hold.
//!
//! Like the other machines it does no I/O: [`driver::operate`](crate::driver::operate) carries its
//! actions out. Confirm steps C1 to C3 of `docs/BOOT_PROTOCOL.md`.

use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::{BootProof, Digest, Hold, Mark, MarkKind, Record, Slot, header, record};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, Part, Region};
use crate::record::{
    Choice, ConfirmRefusal, Confirmation, Copies, CopyState, OperatorRefusal, Outcome,
};
use crate::select;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Only read the record.
    Read,
    /// The system started with this proof is healthy: make its slot good.
    MarkGood(BootProof),
    /// What is in the slot is bad: never offer it again.
    MarkBad(Slot),
    /// Go back from this slot to the other good one.
    Rollback(Slot),
    /// Keep the slot from being replaced, or give it free again.
    HoldSlot(Slot, bool),
    /// Hold all updates, or end the hold.
    HoldUpdates(Hold),
    /// A good slot had to be ended by a watchdog or missed its deadline.
    Suspect(Slot),
    /// Destroy the record, if it is of this format version: the next boot rebuilds it from the slots.
    /// For a later version, which this build cannot read. Lost are tries, failures, holds, and the
    /// recorded floor and data epoch.
    Discard(u16),
    /// Call off what waits to be tried, or is on trial, and hold nothing against it.
    Cancel,
    /// Take this update off the list of those that failed here.
    Forget(Digest),
    /// It is this time, in unix seconds: note it with failures that a loader without a clock saw.
    NoteTime(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done and durable.
    Done,
    /// It was so already; nothing was written.
    Already,
    /// This slot boots next.
    Boots(Slot),
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OperateError {
    /// The confirmation is refused (C1).
    Confirm(ConfirmRefusal),
    /// The request is refused.
    Operator(OperatorRefusal),
    /// The device has no such slot.
    NoSuchSlot(Slot),
    /// There is no record yet, or it is lost: the next boot makes it.
    NoRecord(Choice),
    /// The record is not of the format version that was named.
    OtherVersion {
        /// The version that was found, if there is a record.
        found: Option<u16>,
    },
    /// A device failed.
    Device(DeviceError),
    /// The boot record could not be written.
    Record(DeviceError),
    /// The work buffer is too short.
    Buffer {
        /// Bytes that are needed.
        needed: usize,
    },
}

impl core::fmt::Display for OperateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Confirm(refusal) => refusal.fmt(f),
            Self::Operator(refusal) => refusal.fmt(f),
            Self::NoSuchSlot(slot) => write!(f, "this device has no slot {slot}"),
            Self::NoRecord(Choice::Newer) => {
                f.write_str("a newer version of this software keeps the boot record")
            }
            Self::NoRecord(Choice::Factory) => {
                f.write_str("there is no boot record; the next boot or installation makes one")
            }
            Self::NoRecord(Choice::Lost | Choice::Current { .. }) => f.write_str(
                "both copies of the boot record are lost; the next boot makes a new one",
            ),
            Self::OtherVersion { found: Some(found) } => {
                write!(f, "the boot record is of format version {found}: name that version")
            }
            Self::OtherVersion { found: None } => {
                f.write_str("there is no boot record to be discarded")
            }
            Self::Device(error) => write!(f, "the slot cannot be written: {error}"),
            Self::Record(error) => write!(f, "the boot record cannot be written: {error}"),
            Self::Buffer { needed } => write!(f, "the work buffer needs {needed} bytes"),
        }
    }
}

impl core::error::Error for OperateError {}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Carry out an operation on a device and step with its result.
    Io(Io),
    /// It came to this.
    Finish(Answer),
    /// It was not done.
    Fail(OperateError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    ReadRecord,
    /// Making an end of the marks of a slot, so that it does not pass for good when the record is
    /// lost.
    Destroy {
        slot: Slot,
        part: Part,
        written: bool,
    },
    EraseMark(BootProof),
    WriteMark(BootProof),
    FlushMark,
    WriteRecord,
    /// Destroying a copy of the record; then this one, if there is one more.
    DestroyRecord {
        then: Option<u8>,
    },
    Ended,
}

/// One request.
#[derive(Debug)]
pub struct Operate<'a> {
    layout: &'a Layout<'a>,
    request: Request,
    answer: Answer,
    state: State,
    choice: Choice,
    copies: Copies,
    record: Record,
}

impl<'a> Operate<'a> {
    /// A machine at rest.
    #[must_use]
    pub fn new(layout: &'a Layout<'a>, request: Request) -> Self {
        Self {
            layout,
            request,
            answer: Answer::Done,
            state: State::Start,
            choice: Choice::Factory,
            copies: Copies::new(0),
            record: Record::default(),
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs.
    #[must_use]
    pub fn buffer_len_min(layout: &Layout<'_>) -> usize {
        Copies::buffer_len(layout)
    }

    /// The record, as read and changed.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// What both copies amount to, and what each is.
    #[must_use]
    pub const fn copies(&self) -> (Choice, [CopyState; 2]) {
        (self.choice, self.copies.states())
    }

    /// Takes the result of the last operation, `Ok` at first, and gives the next action.
    pub fn step(&mut self, result: IoResult, buffer: &mut [u8]) -> Action {
        self.advance(result, buffer).unwrap_or_else(|error| {
            self.state = State::Ended;
            Action::Fail(error)
        })
    }

    fn advance(&mut self, result: IoResult, buffer: &mut [u8]) -> Result<Action, OperateError> {
        let device = |error| OperateError::Device(error);
        match self.state {
            State::Start => {
                let needed = Self::buffer_len_min(self.layout);
                if buffer.len() < needed {
                    return Err(OperateError::Buffer { needed });
                }
                self.state = State::ReadRecord;
                Ok(Action::Io(self.copies.begin_read(self.layout)))
            }
            State::ReadRecord | State::WriteRecord | State::DestroyRecord { .. } => {
                match self.copies.step(self.layout, result, buffer, &mut self.record) {
                    Step::Io(io) => Ok(Action::Io(io)),
                    Step::Done(Outcome::Read(choice)) => {
                        self.choice = choice;
                        self.apply()
                    }
                    Step::Done(Outcome::Written) => {
                        if let State::DestroyRecord { then: Some(copy) } = self.state {
                            return Ok(self.destroy_record(copy, None));
                        }
                        self.state = State::Ended;
                        Ok(Action::Finish(self.answer))
                    }
                    Step::Done(Outcome::WriteFailed(error)) => Err(OperateError::Record(error)),
                }
            }
            State::Destroy { slot, part, written } => {
                result.map_err(device)?;
                let region = self.part(slot, part)?;
                let geometry = self.layout.geometry(region.device);
                if !written && geometry.erased.is_none() {
                    self.state = State::Destroy { slot, part, written: true };
                    buffer[..header::LEN].fill(0);
                    let io = Io::write_padded(geometry, region, buffer, 0, header::LEN);
                    return Ok(Action::Io(io));
                }
                if part == Part::Confirmed {
                    return self.destroy(slot, Part::Commit);
                }
                self.state = State::FlushMark;
                Ok(Action::Io(Io::Flush { device: region.device }))
            }
            State::EraseMark(proof) => {
                result.map_err(device)?;
                let mark = Mark { kind: MarkKind::Confirmed, digest: proof.digest }.emit();
                buffer[..header::LEN].copy_from_slice(&mark);
                let region = self.part(proof.slot, Part::Confirmed)?;
                let geometry = self.layout.geometry(region.device);
                self.state = State::WriteMark(proof);
                Ok(Action::Io(Io::write_padded(geometry, region, buffer, 0, header::LEN)))
            }
            State::WriteMark(proof) => {
                result.map_err(device)?;
                self.state = State::FlushMark;
                let device = self.part(proof.slot, Part::Confirmed)?.device;
                Ok(Action::Io(Io::Flush { device }))
            }
            State::FlushMark => {
                result.map_err(device)?;
                Ok(self.write_record())
            }
            State::Ended => Ok(Action::Finish(self.answer)),
        }
    }

    fn part(&self, slot: Slot, part: Part) -> Result<Region, OperateError> {
        self.layout.part(slot, part).map_err(|_| OperateError::NoSuchSlot(slot))
    }

    /// Confirmed block first: a slot that is confirmed and not committed counts for nothing.
    fn destroy(&mut self, slot: Slot, part: Part) -> Result<Action, OperateError> {
        let region = self.part(slot, part)?;
        self.state = State::Destroy { slot, part, written: false };
        Ok(Action::Io(Io::erase(region)))
    }

    fn write_record(&mut self) -> Action {
        self.state = State::WriteRecord;
        Action::Io(self.copies.begin_write(self.layout, &mut self.record))
    }

    /// Both places, also one that holds no copy, and the second one first: a blank second place would
    /// pass for a device that never had a record, and an installation would then spare no slot.
    fn discard(&mut self, version: u16) -> Result<Action, OperateError> {
        let states = self.copies.states();
        let version_of = |state: CopyState| match state {
            CopyState::Newer { version } => Some(version),
            CopyState::Valid { .. } => Some(record::VERSION),
            CopyState::Blank | CopyState::Invalid | CopyState::Unreadable(_) => None,
        };
        let found = states.into_iter().filter_map(version_of).max();
        if found != Some(version) || Canary::NewerForEver.sings() {
            return Err(OperateError::OtherVersion { found });
        }
        Ok(match states {
            [_, CopyState::Unreadable(_)] => self.destroy_record(0, None),
            [CopyState::Unreadable(_), _] => self.destroy_record(1, None),
            _ => self.destroy_record(1, Some(0)),
        })
    }

    fn destroy_record(&mut self, copy: u8, then: Option<u8>) -> Action {
        self.state = State::DestroyRecord { then };
        Action::Io(self.copies.begin_destroy(self.layout, copy))
    }

    /// Decides on the record as read.
    fn apply(&mut self) -> Result<Action, OperateError> {
        if self.request == Request::Read {
            self.state = State::Ended;
            return Ok(Action::Finish(Answer::Done));
        }
        if let Request::Discard(version) = self.request {
            return self.discard(version);
        }
        match self.choice {
            Choice::Current { .. } => {}
            // A request must not make up a record: only a boot looks at what is in the slots.
            Choice::Newer | Choice::Factory | Choice::Lost => {
                return Err(OperateError::NoRecord(self.choice));
            }
        }
        let slot = match self.request {
            Request::MarkGood(proof) => Some(proof.slot),
            Request::MarkBad(slot)
            | Request::Rollback(slot)
            | Request::HoldSlot(slot, _)
            | Request::Suspect(slot) => Some(slot),
            Request::HoldUpdates(_)
            | Request::NoteTime(_)
            | Request::Discard(_)
            | Request::Cancel
            | Request::Forget(_)
            | Request::Read => None,
        };
        if let Some(slot) = slot
            && !self.layout.has(slot)
        {
            return Err(OperateError::NoSuchSlot(slot));
        }
        let layout = self.layout;
        let present = layout.slots().iter().fold(0, |bits, found| bits | found.slot.bit());
        let body = &mut self.record.body;
        let changed = match self.request {
            Request::Read | Request::Discard(_) => false,
            Request::MarkGood(proof) => {
                match body.confirm(&proof).map_err(OperateError::Confirm)? {
                    Confirmation::AlreadyGood => false,
                    Confirmation::Confirmed => {
                        // C2 before C3: once the record says good, the block must be there too.
                        self.state = State::EraseMark(proof);
                        let region = self.part(proof.slot, Part::Confirmed)?;
                        return Ok(Action::Io(Io::erase(region)));
                    }
                }
            }
            Request::MarkBad(slot) => {
                if body.mark_bad(slot, present).map_err(OperateError::Operator)? {
                    return self.destroy(slot, Part::Confirmed);
                }
                false
            }
            Request::Rollback(slot) => {
                let target = body.rollback(slot, present).map_err(OperateError::Operator)?;
                let layout = self.layout;
                self.answer =
                    Answer::Boots(select::next(body, |slot| layout.has(slot)).unwrap_or(target));
                true
            }
            Request::HoldSlot(slot, held) => {
                let entry = body.slot_mut(slot);
                core::mem::replace(&mut entry.held, held) != held
            }
            Request::HoldUpdates(hold) => core::mem::replace(&mut body.hold, hold) != hold,
            Request::Suspect(slot) => body.suspect(slot),
            Request::Cancel => body.cancel(present).map_err(OperateError::Operator)?,
            Request::Forget(digest) => body.forget(&digest),
            Request::NoteTime(now) => body.stamp_failures(now),
        };
        if !changed {
            self.state = State::Ended;
            return Ok(Action::Finish(Answer::Already));
        }
        Ok(self.write_record())
    }
}
