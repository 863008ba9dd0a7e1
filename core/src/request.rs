//! The machine of one request by the running system or its operator: confirm, mark bad, roll back,
//! hold.
//!
//! Like the other machines it does no I/O: [`driver::perform`](crate::driver::perform) carries out
//! its actions. Confirm steps C1 to C3 of `docs/BOOT_PROTOCOL.md`.
//!
//! # Example
//!
//! ```
//! # use stillboot::device::{BlockDevice, DeviceError, Geometry};
//! # struct Ram([u8; 0x1_0000]);
//! # impl BlockDevice for Ram {
//! #     fn geometry(&self) -> Geometry {
//! #         Geometry::disk(512, 0x1_0000)
//! #     }
//! #     fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
//! #         self.geometry().check_read(offset, into.len() as u64)?;
//! #         into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
//! #         Ok(())
//! #     }
//! #     fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
//! #         self.geometry().check_write(offset, bytes.len() as u64)?;
//! #         self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
//! #         Ok(())
//! #     }
//! #     fn erase(&mut self, _offset: u64, _len: u64) -> Result<(), DeviceError> {
//! #         Ok(())
//! #     }
//! #     fn flush(&mut self) -> Result<(), DeviceError> {
//! #         Ok(())
//! #     }
//! # }
//! # use stillboot::format::{Rule, Slot};
//! # use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
//! # use stillboot::verify::{Device, RootKey, SoftSha256, Trust};
//! # const fn region(offset: u64, len: u64) -> Region {
//! #     Region { device: 0, offset, len }
//! # }
//! # const DISK: &[Geometry] = &[Geometry::disk(512, 0x1_0000)];
//! # const RECORD: &[Region] = &[region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];
//! # const A: &[SlotRegion] = &[SlotRegion { region: region(0x9000, 0x3000), roles: &[] }];
//! # const B: &[SlotRegion] = &[SlotRegion { region: region(0xc000, 0x3000), roles: &[] }];
//! # const SLOTS: &[SlotLayout<'_>] = &[
//! #     SlotLayout::new(Slot::A, A).with_head(region(0x3000, 0x3000)),
//! #     SlotLayout::new(Slot::B, B).with_head(region(0x6000, 0x3000)),
//! # ];
//! # const LAYOUT: Layout<'_> = match Layout::new(DISK, Area::Blocks(RECORD), SLOTS) {
//! #     Ok(layout) => layout,
//! #     Err(_) => panic!("unsound"),
//! # };
//! # const ROOTS: &[RootKey] = &[RootKey::ed25519([0x42; 32])];
//! # const TRUST: Trust<'_> = Trust::Roots { keys: ROOTS, rule: Rule::ed25519(1) };
//! # const DEVICE: Device<'_> = Device::new(TRUST, *b"example gateway\0", *b"gateway model 1\0");
//! use stillboot::driver;
//! use stillboot::record::RecordStatus;
//! use stillboot::request::{Answer, Perform, Request};
//!
//! // A system that is healthy asks for `Request::MarkGood` with its boot proof.
//! let mut machine = Perform::new(&LAYOUT, Request::Read);
//! let mut buffer = [0; Perform::buffer_len_min(&LAYOUT)];
//! let mut disk = Ram([0; 0x1_0000]);
//! assert_eq!(driver::perform(&mut machine, &mut [&mut disk], &mut buffer), Ok(Answer::Done));
//! let (status, _) = machine.copies();
//! assert_eq!(status, RecordStatus::Factory);
//! ```

use crate::area::{Area, Outcome};
use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::{
    BootProof, Digest, FormatError, Hold, Mark, MarkKind, Notes, Record, Slot,
    notes::{Past, SeenNumber},
    record,
};
use crate::io::{Io, IoResult, Step};
use crate::layout::Layout;
use crate::record::{ConfirmRefusal, Confirmation, CopyState, OperatorRefusal, RecordStatus};
use crate::select;

/// The request.
// Why: docs/DESIGN.md#why-some-types-are-exhaustive
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Only read the record.
    Read,
    /// The system started with this proof is healthy: make its slot good.
    MarkGood(BootProof),
    /// The update in this slot is bad: never offer it again.
    MarkBad(Slot),
    /// Go back from this slot to the other good one.
    Rollback(Slot),
    /// Keep the slot from being replaced, or release it again.
    HoldSlot(Slot, bool),
    /// Hold all updates, or end the hold.
    HoldUpdates(Hold),
    /// A good slot had to be ended by a watchdog or missed its deadline.
    Suspect(Slot),
    /// Destroy the record, if it is of this format version: the next boot rebuilds it from the
    /// slots. This is for a later version, which this build cannot read. Tries, failures, holds,
    /// and the recorded floor and data epoch are lost.
    Discard(u16),
    /// Cancel the update that waits to be tried, or is on trial, without putting it on the failed
    /// list.
    Cancel,
    /// Take this update off the list of those that failed here.
    Forget(Digest),
    /// The time is this, in unix seconds. Note it with failures that a loader without a clock saw,
    /// and with confirmations.
    NoteTime(u64),
    /// An installation uses a statement of this number: keep the highest of its update and kind.
    NoteStatement(SeenNumber),
    /// A channel index of this issue was seen: keep the highest.
    NoteIssue(u64),
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request is done and durable.
    Done,
    /// The record had this state already; nothing was written.
    Already,
    /// This slot boots next.
    Boots(Slot),
}

/// Why a request was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestError {
    /// The confirmation is refused (C1).
    Confirm(ConfirmRefusal),
    /// The request is refused.
    Operator(OperatorRefusal),
    /// The device has no such slot.
    NoSuchSlot(Slot),
    /// There is no record yet, or it is lost. The next boot makes one.
    NoRecord(RecordStatus),
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

impl core::fmt::Display for RequestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Confirm(refusal) => refusal.fmt(f),
            Self::Operator(refusal) => refusal.fmt(f),
            Self::NoSuchSlot(slot) => write!(f, "this device has no slot {slot}"),
            Self::NoRecord(RecordStatus::Newer) => {
                f.write_str("a newer version of this software keeps the boot record")
            }
            Self::NoRecord(RecordStatus::Factory) => {
                f.write_str("there is no boot record; the next boot or installation makes one")
            }
            Self::NoRecord(RecordStatus::Lost | RecordStatus::Current { .. }) => {
                f.write_str("all copies of the boot record are lost; the next boot makes a new one")
            }
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

impl core::error::Error for RequestError {}

/// What to do next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Carry out an operation on a device and step with its result.
    Io(Io),
    /// The request is done, with this result.
    Finish(Answer),
    /// The request was not done.
    Fail(RequestError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    ReadRecord,
    /// Destroying the marks of a slot, so that it does not count as good when the record is lost,
    /// or confirming it.
    Mark,
    WriteRecord,
    /// Destroying the copies of the record.
    Discard,
    Ended,
}

/// One request.
#[derive(Debug)]
pub struct Perform<'a> {
    layout: &'a Layout<'a>,
    request: Request,
    answer: Answer,
    state: State,
    choice: RecordStatus,
    area: Area,
    record: Record,
}

/// What a handler of a state leads to.
type Next = Result<Action, RequestError>;

impl<'a> Perform<'a> {
    /// A machine that has not started.
    #[must_use]
    pub fn new(layout: &'a Layout<'a>, request: Request) -> Self {
        Self {
            layout,
            request,
            answer: Answer::Done,
            state: State::Start,
            choice: RecordStatus::Factory,
            area: Area::new(0),
            record: Record::default(),
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs.
    #[must_use]
    pub const fn buffer_len_min(layout: &Layout<'_>) -> usize {
        Area::buffer_len(layout)
    }

    /// The record, as read and changed.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// What all copies amount to, and the state of each place of the record, or block of the log.
    #[must_use]
    pub fn copies(&self) -> (RecordStatus, &[CopyState]) {
        (self.choice, self.area.states(self.layout))
    }

    /// Takes the result of the last operation, `Ok` at first, and gives the next action.
    pub fn step(&mut self, result: IoResult, buffer: &mut [u8]) -> Action {
        self.advance(result, buffer).unwrap_or_else(|error| {
            self.state = State::Ended;
            Action::Fail(error)
        })
    }

    fn advance(&mut self, result: IoResult, buffer: &mut [u8]) -> Next {
        match self.state {
            State::Start => {
                let needed = Self::buffer_len_min(self.layout);
                if buffer.len() < needed {
                    return Err(RequestError::Buffer { needed });
                }
                self.state = State::ReadRecord;
                Ok(Action::Io(self.area.begin_read(self.layout)))
            }
            State::ReadRecord | State::WriteRecord | State::Discard => {
                match self.area.step_record(self.layout, result, buffer, &mut self.record) {
                    Step::Io(io) => Ok(Action::Io(io)),
                    Step::Done(Outcome::Read(choice)) => {
                        self.choice = choice;
                        self.apply()
                    }
                    Step::Done(Outcome::Written) => {
                        self.state = State::Ended;
                        Ok(Action::Finish(self.answer))
                    }
                    Step::Done(Outcome::WriteFailed(error)) => Err(RequestError::Record(error)),
                }
            }
            State::Mark => {
                let step = self.area.step_part(self.layout, result, buffer);
                self.marked(step)
            }
            State::Ended => Ok(Action::Finish(self.answer)),
        }
    }

    /// Goes on with marks; then the record follows.
    fn marked(&mut self, step: Step<IoResult>) -> Next {
        self.state = State::Mark;
        match step {
            Step::Io(io) => Ok(Action::Io(io)),
            Step::Done(Ok(())) => Ok(self.write_record()),
            // The confirmed block is used only when the record is lost. A block that cannot be
            // written must not keep the running system from being confirmed.
            Step::Done(Err(_)) if matches!(self.request, Request::MarkGood(_)) => {
                Ok(self.write_record())
            }
            Step::Done(Err(error)) => Err(RequestError::Device(error)),
        }
    }

    fn write_record(&mut self) -> Action {
        self.state = State::WriteRecord;
        Action::Io(self.area.begin_write(self.layout, &mut self.record, false))
    }

    // Why: docs/DESIGN.md#why-discard-names-version
    fn discard(&mut self, version: u16) -> Next {
        let version_of = |state: &CopyState| match *state {
            CopyState::Newer { version } => Some(version),
            CopyState::Valid { .. } => Some(record::VERSION),
            CopyState::Blank | CopyState::Invalid | CopyState::Unreadable(_) => None,
        };
        let found = self.area.states(self.layout).iter().filter_map(version_of).max();
        if found != Some(version) || Canary::NewerForEver.is_on() {
            return Err(RequestError::OtherVersion { found });
        }
        self.state = State::Discard;
        Ok(Action::Io(self.area.begin_discard(self.layout)))
    }

    /// Decides on the record as read.
    fn apply(&mut self) -> Next {
        if self.request == Request::Read {
            self.state = State::Ended;
            return Ok(Action::Finish(Answer::Done));
        }
        if let Request::Discard(version) = self.request {
            return self.discard(version);
        }
        match self.choice {
            RecordStatus::Current { .. } => {}
            // A request must not make up a record: only a boot looks at the contents of the slots.
            RecordStatus::Newer | RecordStatus::Factory | RecordStatus::Lost => {
                return Err(RequestError::NoRecord(self.choice));
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
            | Request::NoteStatement(_)
            | Request::NoteIssue(_)
            | Request::Discard(_)
            | Request::Cancel
            | Request::Forget(_)
            | Request::Read => None,
        };
        if let Some(slot) = slot
            && !self.layout.has(slot)
        {
            return Err(RequestError::NoSuchSlot(slot));
        }
        let layout = self.layout;
        let present = layout.slots().iter().fold(0, |bits, found| bits | found.slot.bit());
        let body = &mut self.record.body;
        let changed = match self.request {
            Request::Read | Request::Discard(_) => false,
            Request::MarkGood(proof) => {
                match body.confirm(&proof).map_err(RequestError::Confirm)? {
                    Confirmation::AlreadyGood => false,
                    Confirmation::Confirmed => {
                        note_past(body, proof.slot, proof.keyset_version);
                        // C2 before C3: once the record says good, the confirmed block must be on
                        // the device too.
                        let mark = Mark { kind: MarkKind::Confirmed, digest: proof.digest };
                        let step = self.area.begin_mark(layout, proof.slot, mark);
                        return self.marked(step);
                    }
                }
            }
            Request::MarkBad(slot) => {
                if body.mark_bad(slot, present).map_err(RequestError::Operator)? {
                    let step = self.area.begin_unmark(layout, slot);
                    return self.marked(step);
                }
                false
            }
            Request::Rollback(slot) => {
                let target = body.rollback(slot, present).map_err(RequestError::Operator)?;
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
            Request::Cancel => body.cancel(present).map_err(RequestError::Operator)?,
            Request::Forget(digest) => body.forget(&digest),
            Request::NoteTime(now) => {
                body.stamp_failures(now)
                    | change_notes(body, |notes| {
                        notes.stamp(now);
                    })
            }
            Request::NoteStatement(seen) => change_notes(body, |notes| notes.went_by(seen)),
            Request::NoteIssue(issue) => change_notes(body, |notes| {
                notes.index_issue = notes.index_issue.max(issue);
            }),
        };
        if !changed {
            self.state = State::Ended;
            return Ok(Action::Finish(Answer::Already));
        }
        Ok(self.write_record())
    }
}

/// Notes that the version in `slot` was confirmed.
fn note_past(body: &mut record::Body, slot: Slot, keyset_version: u32) {
    let version = body.slot(slot).version.clone();
    if !version.is_empty() {
        let past = Past { version, keyset_version, sequence: 0, at: 0 };
        change_notes(body, |notes| notes.confirmed(past));
    }
}

/// Changes the notes. Those of a later version stay as they are, and damaged ones are replaced by
/// empty ones. Returns whether anything changed.
fn change_notes(body: &mut record::Body, change: impl FnOnce(&mut Notes)) -> bool {
    let mut notes = match Notes::parse(&body.notes) {
        Ok(notes) => notes,
        Err(FormatError::Version { .. }) => return false,
        Err(_) => Notes::default(),
    };
    let before = notes.clone();
    change(&mut notes);
    // Too long for the record, or out of bounds: then without the oldest.
    while notes != before {
        if let Ok(bytes) = notes.emit() {
            body.notes = bytes;
            return true;
        }
        if notes.statements.is_empty() && notes.history.is_empty() {
            return false;
        }
        notes.drop_oldest();
    }
    false
}
