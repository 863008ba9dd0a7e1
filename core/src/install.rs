//! The machine of one update: a bundle streams in, and the result is a slot that can be switched
//! to.
//!
//! Call [`Install::step`] with [`Event::Start`] and carry out the [`Action`] it returns. Step again
//! with the result of that action. [`driver::install`](crate::driver::install) is that loop for
//! blocking devices and a blocking stream.
//!
//! The step numbers are those of the install protocol in `docs/BOOT_PROTOCOL.md`.

use core::ops::Range;

use crate::area::{Area, Outcome};
use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::manifest::COMPONENTS_MAX;
use crate::format::{
    BootProof, Digest, Envelope, Fault, Floor, FormatError, Manifest, Mark, MarkKind, Record, Slot,
    SlotKind, SlotState, envelope, manifest, record as record_format,
};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, LayoutError, PLACES_MAX, Region, SlotLayout};
use crate::record::RecordStatus;
use crate::select::{CandidateKind, RecordOrigin, candidates};
use crate::units::{round, round_down, round_u64};
use crate::verify::{
    ClassError, Device, IndexFold, Sha256, SoftSha256, TrustError, Verified, check_class,
    digest_of, verify_head_into,
};

/// How far above the floor a manifest's keyset version or level may be. A typing mistake must not
/// use up the numbers.
pub const FLOOR_JUMP_MAX: u32 = 1 << 16;

/// Smallest part of the buffer, in bytes, that holds entries of an index.
const WINDOW_LEN_MIN: usize = 512;

/// What is known of the system that runs while the update is installed.
#[derive(Clone, Copy, Debug)]
pub enum Running {
    /// It was started with this proof.
    Proof(BootProof),
    /// The caller states that nothing runs from this device: a disk image, a new device.
    Offline,
}

/// Which bytes need not come from the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Chunks that the target holds already. A resumed installation always looks.
    pub target: bool,
    /// Chunks that the running slot holds at the same place.
    pub running: bool,
}

/// What an installation starts from.
#[derive(Clone, Copy, Debug)]
pub struct InstallConfig<'a> {
    /// Which device this is, and which roots it trusts.
    pub device: Device<'a>,
    /// Where each part is on the devices.
    pub layout: Layout<'a>,
    /// The system that runs.
    pub running: Running,
    /// The slot to install to; `None` to leave the choice to the library. Recovery is replaced only
    /// when it is named here.
    pub target: Option<Slot>,
    /// How often the new slot may be tried, 1..=15.
    pub tries: u8,
    /// Whether there is a [`RollbackStore`](crate::driver::RollbackStore).
    pub has_store: bool,
    /// Which bytes need not come from the stream.
    pub reuse: Reuse,
    /// Install the version that runs into another slot, to repair that slot.
    pub repair: bool,
    /// Take an update that writes data which the running system cannot read. Where no good slot
    /// runs, also take one that does not read the recorded epoch of the data.
    pub allow_new_epoch: bool,
    /// Only go on with an installation that was cut short; without one, do nothing.
    pub resume_only: bool,
}

/// The result of the last action.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The first step.
    Start,
    /// The operation succeeded.
    Done,
    /// The device failed.
    Failed(DeviceError),
    /// This many bytes of the stream are in the range. Fewer bytes than the range is long mean that
    /// the stream has ended.
    Received(usize),
    /// The stream failed.
    SourceFailed,
    /// What the store holds; `None` if nothing was ever stored.
    Floor(Option<Floor>),
    /// The store failed.
    StoreFailed,
    /// The host's answer for [`Install::manifest`].
    Judged(Permission),
}

/// Whether an update may be installed now. The host decides this, with `stillboot-policy` or by its
/// own rules, and keeps the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Permission {
    /// Install it.
    Proceed,
    /// Not now. Asking again later makes sense: [`Wait::Policy`].
    Defer,
    /// Not as it is: [`Refusal::Policy`].
    Reject,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Carry out an operation on a device and answer [`Event::Done`] or [`Event::Failed`].
    Io(Io),
    /// Fill this range of the buffer from the stream; answer [`Event::Received`] or
    /// [`Event::SourceFailed`].
    Receive(Range<usize>),
    /// Skip this many bytes of the stream; answer [`Event::Done`] or [`Event::SourceFailed`].
    Skip(u64),
    /// Try to take one more byte of the stream into the first byte of the buffer; answer
    /// [`Event::Received`] with 0 or 1.
    ExpectEnd,
    /// Read the floor of slots of this kind from the store; answer [`Event::Floor`] or
    /// [`Event::StoreFailed`].
    ReadFloor(SlotKind),
    /// Find out, without raising it, whether the floor in the store could be raised to this value;
    /// answer [`Event::Done`] or [`Event::StoreFailed`].
    ProbeFloor(SlotKind, Floor),
    /// Ask the host whether [`Install::manifest`] may be installed now; answer [`Event::Judged`].
    Judge,
    /// The slot is complete and will be tried at the next power-on.
    Finish(Installed),
    /// The installation ended without an installed update.
    Fail(InstallError),
}

/// The result of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Installed {
    /// The slot that was written.
    pub slot: Slot,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Bytes of components that were written.
    pub written: u64,
    /// Bytes of components that were there already, or came from the running slot.
    pub reused: u64,
    /// It went on with an installation that had been cut short.
    pub resumed: bool,
}

/// Why an update will not be accepted as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// Its head does not verify.
    Trust(TrustError),
    /// It is for another device.
    Class(ClassError),
    /// It is below the floor.
    BelowFloor {
        /// The floor that the update reaches.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// It is so far above the floor that this must be a mistake.
    FloorJump {
        /// The floor that the update reaches.
        found: Floor,
        /// The floor of the device.
        floor: Floor,
    },
    /// It is not newer than the slot that runs, or, for recovery, than the one it would replace.
    NotNewer {
        /// Keyset version and sequence of the update.
        found: (u32, u64),
        /// Keyset version and sequence of the slot that runs, or would be replaced.
        running: (u32, u64),
    },
    /// The loader of this device reads only earlier formats.
    Loader {
        /// The highest version of the boot record that it reads.
        record_version: u16,
        /// The highest schema of a manifest that it reads.
        manifest_schema: u8,
    },
    /// It does not fit the device.
    Layout(LayoutError),
    /// The new system cannot use the data on the device.
    CannotReadData {
        /// The epoch of the data.
        epoch: u16,
        /// The oldest epoch the new system reads.
        reads_min: u16,
        /// The newest epoch the new system reads.
        reads_max: u16,
    },
    /// The new system writes data that the running one could not read after a rollback.
    FallbackCannotRead {
        /// The epoch that the new system writes.
        writes: u16,
        /// The newest epoch that the running system reads.
        reads_max: u16,
    },
    /// The host does not take it: [`Permission::Reject`].
    Policy,
    /// The proof of what runs does not match the boot record.
    Proof,
    /// The slot that runs no longer holds the manifest it was started with.
    RunningUnverified,
    /// The slot named as the target is the one that runs.
    TargetRuns,
    /// The device has no update slot but the one that runs.
    NoOtherSlot,
    /// Recovery is replaced only while a good slot runs.
    RecoveryNeedsGood,
    /// A later version of this software keeps the boot record.
    NewerRecord,
    /// A chunk does not match its digest, or an index its root.
    Content {
        /// The component's number.
        component: usize,
    },
    /// The stream ended before the bundle did.
    Ended,
    /// The stream goes on after the bundle.
    Trailing,
}

/// Why an update has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Wait {
    /// The host does not take it now: [`Permission::Defer`].
    Policy,
    /// The running system is itself on trial: its fallback must not be overwritten.
    Unconfirmed,
    /// Every slot that could be written is held.
    Held,
    /// The record calls this slot good, but that could not be verified. The slot may hold the only
    /// system that works, so it is overwritten only if it is named as the target.
    Unverified(Slot),
    /// The store of the floor failed.
    StoreFailed,
    /// The store cannot be raised to the floor of the update: it is full, locked or worn out. If
    /// the update were installed all the same, the floor could never refuse a downgrade to its
    /// predecessor.
    StoreFull,
    /// All copies of the boot record are lost, or were wiped on a device that has a system. The
    /// next boot makes a new record.
    RecordLost,
}

/// Why there is nothing to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Nothing {
    /// It runs already.
    Running,
    /// It stands ready to be tried already.
    Ready(Slot),
    /// No installation of this bundle was cut short.
    ToResume,
}

/// Why an installation did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InstallError {
    /// It will not be accepted as it is.
    Refused(Refusal),
    /// It has to wait.
    Deferred(Wait),
    /// There is nothing to do.
    Nothing(Nothing),
    /// A device failed.
    Device(DeviceError),
    /// The boot record could not be written.
    Record(DeviceError),
    /// The stream failed.
    Source,
    /// The device does not return the bytes that were written.
    ReadBack,
    /// The machine was stepped with an event that does not answer its last action.
    Misused,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Trust(error) => write!(f, "not trusted: {error}"),
            Self::Class(error) => error.fmt(f),
            Self::BelowFloor { found, floor } => write!(
                f,
                "keyset {} level {} is below the floor of this device, keyset {} level {}",
                found.keyset_version, found.level, floor.keyset_version, floor.level
            ),
            Self::FloorJump { found, floor } => write!(
                f,
                "keyset {} level {} is more than {FLOOR_JUMP_MAX} above the floor, keyset {} \
                 level {}",
                found.keyset_version, found.level, floor.keyset_version, floor.level
            ),
            Self::NotNewer { found, running } => write!(
                f,
                "keyset {} sequence {} is not newer than what the device has, keyset {} sequence {}",
                found.0, found.1, running.0, running.1
            ),
            Self::Loader { record_version, manifest_schema } => write!(
                f,
                "the loader reads boot records up to version {record_version} and manifests up to \
                 schema {manifest_schema}; update the loader first"
            ),
            Self::Layout(error) => error.fmt(f),
            Self::CannotReadData { epoch, reads_min, reads_max } => write!(
                f,
                "the data on this device is of epoch {epoch}, the update reads {reads_min} to \
                 {reads_max}"
            ),
            Self::FallbackCannotRead { writes, reads_max } => write!(
                f,
                "the update writes data of epoch {writes}, the running system reads up to \
                 {reads_max}: there would be no way back"
            ),
            Self::Policy => f.write_str("the policy of this device does not take the update"),
            Self::Proof => f.write_str(
                "the boot proof does not match the boot record: it is of another disk or boot",
            ),
            Self::RunningUnverified => f.write_str("the slot that runs does not verify any more"),
            Self::TargetRuns => f.write_str("that slot is the one that runs, or would boot"),
            Self::NoOtherSlot => f.write_str(
                "this device has no other update slot than the one that runs: a partition is \
                 missing, or there is only one",
            ),
            Self::RecoveryNeedsGood => {
                f.write_str("recovery is replaced only while a confirmed slot runs")
            }
            Self::NewerRecord => {
                f.write_str("a newer version of this software keeps the boot record")
            }
            Self::Content { component } => {
                write!(f, "the bytes of component {component} do not match the manifest")
            }
            Self::Ended => f.write_str("the bundle ends too early"),
            Self::Trailing => f.write_str("there are bytes after the end of the bundle"),
        }
    }
}

impl core::fmt::Display for InstallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Deferred(Wait::Policy) => {
                f.write_str("deferred: the policy of this device does not take the update now")
            }
            Self::Deferred(Wait::Unconfirmed) => f.write_str(
                "deferred: the running system is not confirmed yet, and the other slot is its \
                 fallback; mark it good first",
            ),
            Self::Deferred(Wait::Held) => {
                f.write_str("deferred: every slot that could be written is held")
            }
            Self::Deferred(Wait::Unverified(slot)) => write!(
                f,
                "deferred: the boot record calls slot {slot} good, and its head cannot be read, is \
                 another one, or does not verify under these roots; if they are right, boot the \
                 device once, so that the loader looks at the slot, or name the slot to overwrite"
            ),
            Self::Deferred(Wait::StoreFailed) => {
                f.write_str("deferred: the store of the security floor failed")
            }
            Self::Deferred(Wait::StoreFull) => f.write_str(
                "deferred: the store of the security floor cannot be raised to what this update \
                 reaches",
            ),
            Self::Deferred(Wait::RecordLost) => {
                f.write_str("deferred: the boot record is lost; the next boot makes a new one")
            }
            Self::Nothing(Nothing::Running) => {
                f.write_str("nothing to do: this version runs already")
            }
            Self::Nothing(Nothing::Ready(slot)) => {
                write!(f, "nothing to do: this version stands ready in slot {slot}")
            }
            Self::Nothing(Nothing::ToResume) => f.write_str(
                "nothing to do: no installation of this bundle got far enough to be resumed; \
                 install it",
            ),
            Self::Device(error) => write!(f, "the slot cannot be written or read: {error}"),
            Self::Record(error) => write!(f, "the boot record cannot be written: {error}"),
            Self::Source => f.write_str("the source of the bundle failed"),
            Self::ReadBack => {
                f.write_str("what was written does not read back: the medium is failing")
            }
            Self::Misused => f.write_str("the install machine was stepped out of order"),
        }
    }
}

impl core::error::Error for InstallError {}

/// An update that passed the mandatory checks, for the policy to judge.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The update.
    pub manifest: &'a Verified<Manifest>,
    /// Its head as received. The keyset in the head verifies the statements about the update.
    pub head: &'a [u8],
    /// The version text of the slot that runs, or would boot; `None` on a new device.
    pub running_version: Option<&'a str>,
    /// The device's record.
    pub body: &'a record_format::Body,
}

/// How far an installation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of components that are in place, then bytes that were read back.
    pub done: u64,
    /// Twice the bytes of all components of the slot; 0 until the manifest is verified.
    pub total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    HeadGround,
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
    IndexGround,
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
struct Seen {
    /// Slots whose head verifies and is the recorded one, as bits.
    as_recorded: u8,
    /// Good slots that would stand for the running one, and whose head is not as recorded, as bits.
    unsure: u8,
    /// The first slot of `unsure` whose head could be read.
    other: Option<Slot>,
    /// Slots that could not be read, as bits.
    silent: u8,
    /// A slot of the target's kind could not be read.
    unread: bool,
    /// A head verifies and is for this device.
    any_head: bool,
    /// A slot of the target's kind has no head that verifies.
    unverified: bool,
    /// The highest floor that a head of the target's kind reaches.
    highest: Floor,
    /// The lowest floor of the good slots of the target's kind.
    lowest_good: Option<Floor>,
    /// The newest data epoch that a head of the target's kind reads.
    reads_max: u16,
    /// Of the newest head of the target's kind: keyset version and sequence, and digest.
    newest: ((u32, u64), Digest),
}

/// The component that is being received.
#[derive(Clone, Copy, Debug)]
struct Current {
    number: usize,
    index: Region,
    data: Region,
    length: u64,
    chunks: u64,
    root: Digest,
    /// Where the running slot holds a component of the same role.
    source: Option<Region>,
    /// Chunks below this are in place already.
    kept_below: u64,
    /// The erase blocks of chunks below this are erased already.
    erased_below: u64,
    /// First chunk whose entry is in the window, and one past the last.
    window: (u64, u64),
}

impl Current {
    /// Before the first component.
    const NONE: Self = Self {
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

/// One update.
// The small fields come before the large ones: instructions that reach the first hundred bytes have
// half the length.
#[derive(Debug)]
#[repr(C)]
pub struct Install<'a, H = SoftSha256> {
    config: &'a InstallConfig<'a>,
    buffer_len: usize,
    head_len: usize,
    target: Slot,
    /// The slot that runs, or the one that would boot on a device that is offline.
    running: Option<Slot>,
    resumed: bool,
    /// How often the record of the switch went to a place that did not keep it.
    switches: u8,
    state: State,
    written: u64,
    reused: u64,
    progress: Progress,
    store: Floor,
    running_floor: Floor,
    running_order: (u32, u64),
    running_reads_max: u16,
    seen: Seen,
    /// The recorded floor, lowered if it is false. The record will hold this value.
    floor: Floor,
    /// The recorded data epoch, lowered in the same way.
    epoch: u16,
    current: Current,
    running_digest: Digest,
    head_digest: Digest,
    area: Area,
    hash: H,
    fold: IndexFold<H>,
    /// Where the running slot holds components, by role code.
    sources: [Option<Region>; COMPONENTS_MAX],
    record: Record,
    manifest: Option<Verified<Manifest>>,
}

impl<'a, H: Sha256> Install<'a, H> {
    /// A machine that has not started.
    #[must_use]
    pub fn new(config: &'a InstallConfig<'a>) -> Self {
        Self {
            config,
            state: State::Start,
            area: Area::new(head_room(&config.layout)),
            record: Record::default(),
            store: Floor::default(),
            running: None,
            running_digest: [0; 32],
            running_order: (0, 0),
            running_floor: Floor::default(),
            running_reads_max: u16::MAX,
            seen: Seen::default(),
            floor: Floor::default(),
            epoch: u16::MAX,
            sources: [None; COMPONENTS_MAX],
            manifest: None,
            target: config.target.unwrap_or(Slot::A),
            head_len: 0,
            head_digest: [0; 32],
            resumed: false,
            switches: 0,
            current: Current::NONE,
            hash: H::new(),
            fold: IndexFold::new(0, 1),
            buffer_len: 0,
            written: 0,
            reused: 0,
            progress: Progress { done: 0, total: 0 },
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs on `layout` for chunks of `chunk_size` bytes.
    /// More makes fewer and larger transfers.
    #[must_use]
    pub fn buffer_len_min(layout: &Layout<'_>, chunk_size: u32) -> usize {
        let record = head_room(layout) + Area::buffer_len(layout);
        record.max(chunk_room(layout, chunk_size) + WINDOW_LEN_MIN.max(layout.unit()))
    }

    /// The manifest of the update, once it is verified.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Verified<Manifest>> {
        self.manifest.as_ref()
    }

    /// What the policy is asked about. Valid at [`Action::Judge`], with the buffer as it is then.
    #[must_use]
    pub fn offer<'b>(&'b self, buffer: &'b [u8]) -> Option<Update<'b>> {
        let body = &self.record.body;
        let running = self.running.map(|slot| body.slot(slot).version.as_str());
        Some(Update {
            manifest: self.manifest.as_ref()?,
            head: buffer.get(..self.head_len)?,
            running_version: running,
            body,
        })
    }

    /// The boot record as it stands.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// How far the installation has come.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    fn kind(&self) -> SlotKind {
        self.config.target.map_or(SlotKind::Update, Slot::kind)
    }

    /// Takes the result of the last action and gives the next action. `buffer` is at least
    /// [`buffer_len_min`](Self::buffer_len_min) long and always the same. The caller does not
    /// change it between steps, except where an action says so.
    pub fn step(&mut self, event: Event, buffer: &mut [u8]) -> Action {
        self.buffer_len = buffer.len();
        self.advance(event, buffer).unwrap_or_else(|error| {
            self.state = State::Ended;
            Action::Fail(error)
        })
    }

    fn advance(&mut self, event: Event, buffer: &mut [u8]) -> Result<Action, InstallError> {
        if let Event::SourceFailed = event {
            return Err(InstallError::Source);
        }
        match self.state {
            State::Start => {
                let needed = head_room(&self.config.layout) + Area::buffer_len(&self.config.layout);
                self.need_buffer(needed)?;
                self.state = State::ReadRecord;
                Ok(Action::Io(self.area.begin_read(&self.config.layout)))
            }
            State::ReadRecord | State::MarkWriting | State::Complete => {
                self.step_record(event, buffer)
            }
            State::ReadFloor => {
                match event {
                    Event::Floor(floor) => self.store = floor.unwrap_or_default(),
                    _ => return Err(InstallError::Deferred(Wait::StoreFailed)),
                }
                self.find_running()
            }
            State::Look { at, again: false } if matches!(event, Event::Failed(_)) => {
                self.look_at(at, true)
            }
            State::Look { at, .. } => self.step_look(at, event, buffer),
            State::RunningHead => {
                done(event)?;
                self.step_running_head(&buffer[..head_room(&self.config.layout)])
            }
            State::EnvelopeHeader { from } => {
                self.received(event, envelope::HEADER_LEN)?;
                self.step_envelope_header(from, buffer)
            }
            State::EnvelopeRest { from, end } => {
                self.received(event, end - from - envelope::HEADER_LEN)?;
                self.step_envelope_rest(from, end, buffer)
            }
            State::ProbeFloor => match event {
                Event::Done => {
                    self.state = State::Judge;
                    Ok(Action::Judge)
                }
                _ => Err(InstallError::Deferred(Wait::StoreFull)),
            },
            State::Judge => match event {
                Event::Judged(Permission::Proceed) => self.admitted(buffer),
                Event::Judged(Permission::Defer) => Err(InstallError::Deferred(Wait::Policy)),
                Event::Judged(Permission::Reject) => Err(InstallError::Refused(Refusal::Policy)),
                _ => Err(InstallError::Misused),
            },
            State::StoredHead { at, len } => {
                // An unreadable head is treated as a different one: the trust area is then written
                // again.
                if done(event).is_err() {
                    return self.start_over();
                }
                let room = head_room(&self.config.layout);
                self.hash.update(&buffer[room..room + len]);
                self.compare_stored_head(at + len, buffer)
            }
            State::Unmark | State::HeadGround | State::IndexGround | State::Commit { .. } => {
                self.step_part(event, buffer)
            }
            State::WriteHead => {
                done(event)?;
                if Canary::HeaderFirst.is_on() {
                    return self.commit(MarkKind::Committed, buffer);
                }
                self.component(0, buffer)
            }
            State::PassComponent { number } => {
                done(event)?;
                self.component(number + 1, buffer)
            }
            State::CheckIndex { at, len } => {
                // An index that cannot be read is received again.
                if done(event).is_err() {
                    return self.index_ground(buffer);
                }
                let current = &self.current;
                let index_len = current.chunks * 32;
                let take = (index_len - at).min(len as u64) as usize;
                self.fold.entries(&buffer[..take]);
                if at + (take as u64) < index_len {
                    return self.check_index(at + take as u64, buffer);
                }
                if self.fold.root() == current.root {
                    self.state = State::PassIndex;
                    return Ok(Action::Skip(index_len));
                }
                self.index_ground(buffer)
            }
            State::PassIndex => {
                done(event)?;
                self.restart_fold();
                self.chunk(0, buffer)
            }
            State::ReceiveIndex { at, len } => {
                self.received(event, len)?;
                self.fold.entries(&buffer[..len]);
                self.state = State::WriteIndex { at, len };
                Ok(self.write(self.current.index, at, buffer, 0, len))
            }
            State::WriteIndex { at, len } => {
                done(event)?;
                let current = &self.current;
                if at + (len as u64) < current.chunks * 32 {
                    return self.receive_index(at + len as u64);
                }
                if self.fold.root() != current.root {
                    return self.bad_content();
                }
                self.restart_fold();
                self.chunk(0, buffer)
            }
            State::Window { chunk, probe } => {
                done(event)?;
                if probe { self.probe(chunk) } else { self.chunk(chunk, buffer) }
            }
            State::Probe { chunk } => {
                let there = done(event).is_ok() && self.matches(chunk, buffer)?;
                self.step_probe(chunk, there, buffer)
            }
            State::EraseGroup { chunk } => {
                done(event)?;
                let (_, end) = self.group(chunk);
                self.current.erased_below = end;
                self.chunk(chunk, buffer)
            }
            State::Borrow { chunk } => {
                // A chunk that the running slot does not have comes from the stream.
                if done(event).is_ok() && self.matches(chunk, buffer)? {
                    return self.write_chunk(chunk, true, buffer);
                }
                self.receive_chunk(chunk)
            }
            State::ReceiveChunk { chunk } => {
                let len = self.chunk_len(chunk);
                self.received(event, len)?;
                if !self.matches(chunk, buffer)? {
                    return self.bad_content();
                }
                self.write_chunk(chunk, false, buffer)
            }
            State::WriteChunk { chunk, borrowed } => {
                done(event)?;
                let len = self.chunk_len(chunk) as u64;
                self.progress.done += len;
                if borrowed {
                    self.reused += len;
                    self.state = State::PassChunk { chunk };
                    return Ok(Action::Skip(len));
                }
                self.written += len;
                self.chunk(chunk + 1, buffer)
            }
            State::PassChunk { chunk } => {
                done(event)?;
                self.chunk(chunk + 1, buffer)
            }
            State::ExpectEnd => match event {
                Event::Received(0) => self.flush_all(0, buffer),
                Event::Received(_) => Err(InstallError::Refused(Refusal::Trailing)),
                _ => Err(InstallError::Misused),
            },
            State::FlushAll { device } => {
                done(event)?;
                self.flush_all(device + 1, buffer)
            }
            State::ReadBackHead { at, len } => {
                done(event)?;
                self.hash.update(&buffer[..len]);
                self.read_back_head(at + len, buffer)
            }
            State::ReadBack { number, at, len } => {
                done(event)?;
                self.fold.bytes(&buffer[..len]);
                let left = self.component_len(number)?.saturating_sub(at);
                self.progress.done += left.min(len as u64);
                self.read_back(number, at + len as u64, buffer)
            }
            State::Ended => Err(InstallError::Misused),
        }
    }

    // The record.

    fn step_record(&mut self, event: Event, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let result: IoResult = match event {
            Event::Done => Ok(()),
            Event::Failed(error) => Err(error),
            _ => return Err(InstallError::Misused),
        };
        let layout = &self.config.layout;
        let outcome = match self.area.step_record(layout, result, buffer, &mut self.record) {
            Step::Io(io) => return Ok(Action::Io(io)),
            Step::Done(outcome) => outcome,
        };
        match (self.state, outcome) {
            (State::MarkWriting, Outcome::Written) => self.unmark(buffer),
            (State::Complete, Outcome::Written)
                if Canary::HeaderFirst.is_on() && self.written + self.reused == 0 =>
            {
                self.component(0, buffer)
            }
            (State::Complete, Outcome::Written) => {
                self.state = State::Ended;
                Ok(Action::Finish(Installed {
                    slot: self.target,
                    digest: *self.verified()?.digest(),
                    written: self.written,
                    reused: self.reused,
                    resumed: self.resumed,
                }))
            }
            (_, Outcome::Written) => Err(InstallError::Misused),
            // The record may have gone to a wrong place, over installed bytes. So these are read
            // back once more, and the record goes to another place.
            (State::Complete, Outcome::WriteFailed(DeviceError::NotKept))
                if self.switches < PLACES_MAX as u8 =>
            {
                self.switches += 1;
                self.hash = H::new();
                self.read_back_head(0, buffer)
            }
            (_, Outcome::WriteFailed(error)) => Err(InstallError::Record(error)),
            (_, Outcome::Read(RecordStatus::Newer)) => {
                Err(InstallError::Refused(Refusal::NewerRecord))
            }
            (_, Outcome::Read(RecordStatus::Lost)) => Err(InstallError::Deferred(Wait::RecordLost)),
            (_, Outcome::Read(RecordStatus::Current { .. } | RecordStatus::Factory)) => {
                if self.config.has_store {
                    self.state = State::ReadFloor;
                    return Ok(Action::ReadFloor(self.kind()));
                }
                self.find_running()
            }
        }
    }

    // Step 1: what runs.

    fn find_running(&mut self) -> Result<Action, InstallError> {
        let layout = &self.config.layout;
        match &self.config.running {
            // A device that has booted has a record. If there is none now, it was lost.
            Running::Proof(_) if !self.area.has_current() => {
                return Err(InstallError::Deferred(Wait::RecordLost));
            }
            Running::Proof(proof) => {
                let entry = self.record.body.slot(proof.slot);
                if !layout.has(proof.slot) || entry.digest != proof.digest {
                    return Err(InstallError::Refused(Refusal::Proof));
                }
                match entry.state {
                    SlotState::Good => {}
                    // Recovery is never tried, so it runs as confirmed whatever a damaged record
                    // says of it.
                    SlotState::Ready { .. } | SlotState::Trying { .. }
                        if proof.slot.kind() == SlotKind::Recovery => {}
                    SlotState::Trying { attempt, nonce, .. } => {
                        let same = (attempt, nonce) == (proof.attempt, proof.nonce);
                        // The other slot is the only way back from this trial.
                        return Err(if same {
                            InstallError::Deferred(Wait::Unconfirmed)
                        } else {
                            InstallError::Refused(Refusal::Proof)
                        });
                    }
                    SlotState::Empty
                    | SlotState::Writing
                    | SlotState::Ready { .. }
                    | SlotState::Bad { .. } => return Err(InstallError::Refused(Refusal::Proof)),
                }
                if proof.record_version < record_format::VERSION
                    || proof.manifest_schema < manifest::SCHEMA
                {
                    return Err(InstallError::Refused(Refusal::Loader {
                        record_version: proof.record_version,
                        manifest_schema: proof.manifest_schema,
                    }));
                }
                self.running = Some(proof.slot);
            }
            Running::Offline => {}
        }
        self.look(0)
    }

    /// Looks at the heads of slots from number `at` of the layout on, where they matter. They show
    /// which slot would boot on a device that is offline, what the slots of the target's kind hold
    /// where none of them runs, and whether a device without a record is new.
    fn look(&mut self, at: usize) -> Result<Action, InstallError> {
        let kind = self.kind();
        let slots = self.config.layout.slots();
        let next = (at..slots.len()).find(|at| {
            let slot = slots[*at].slot;
            match self.running {
                Some(running) => slot.kind() == kind && running.kind() != kind,
                None => {
                    slot.kind() == kind
                        || slot.kind() == SlotKind::Update
                        || !self.area.has_current()
                }
            }
        });
        match next {
            Some(at) => self.look_at(at, false),
            None => self.looked(),
        }
    }

    fn look_at(&mut self, at: usize, again: bool) -> Result<Action, InstallError> {
        self.state = State::Look { at, again };
        let slot = self.config.layout.slots()[at].slot;
        match self.read_slot_head(slot) {
            Some(action) => Ok(action),
            // A log without a head of this slot.
            None => {
                self.seen.unverified |= slot.kind() == self.kind();
                self.look(at + 1)
            }
        }
    }

    /// Reads the head of a slot, up to the longest length that a head may have.
    fn read_slot_head(&self, slot: Slot) -> Option<Action> {
        let layout = &self.config.layout;
        let region = self.area.head(layout, slot)?;
        let len = region.len.min(head_room(layout) as u64) as usize;
        Some(self.read(region, 0, len, 0))
    }

    fn step_look(
        &mut self,
        at: usize,
        event: Event,
        buffer: &[u8],
    ) -> Result<Action, InstallError> {
        let slot = self.config.layout.slots()[at].slot;
        let is_kind = slot.kind() == self.kind();
        let device = &self.config.device;
        let head = &buffer[..head_room(&self.config.layout)];
        if done(event).is_err() {
            self.seen.silent |= slot.bit();
            self.seen.unread |= is_kind;
            return self.look(at + 1);
        }
        // Into the memory of the update's manifest, which comes later: there is memory for one
        // only.
        let verified = verify_head_into::<H>(device, slot.kind(), head, &mut self.manifest);
        let entry = self.record.body.slot(slot);
        let seen = &mut self.seen;
        match (verified, self.manifest.take()) {
            (Ok(_), Some(manifest)) if check_class(device, &manifest).is_ok() => {
                seen.any_head = true;
                let is_recorded = entry.digest == *manifest.digest();
                if is_recorded {
                    seen.as_recorded |= slot.bit();
                }
                if is_kind {
                    let floor = manifest.floor();
                    seen.highest = seen.highest.max(floor);
                    seen.reads_max = seen.reads_max.max(manifest.epochs.reads_max);
                    if is_recorded && entry.state == SlotState::Good {
                        let lowest = seen.lowest_good.unwrap_or(floor);
                        seen.lowest_good = Some(lowest.min(floor));
                    }
                    // A slot that was found not to verify in full must not block an older update.
                    let is_broken = matches!(
                        entry.state,
                        SlotState::Bad { fault: Fault::Corrupt | Fault::Unreadable }
                    );
                    if !is_broken {
                        seen.newest = seen.newest.max((manifest.order(), *manifest.digest()));
                    }
                }
            }
            _ => seen.unverified |= is_kind,
        }
        self.look(at + 1)
    }

    /// All heads that matter were looked at.
    fn looked(&mut self) -> Result<Action, InstallError> {
        let layout = &self.config.layout;
        if !self.area.has_current() {
            // The record is written before the first head. So a device with a head is not new: its
            // record was wiped. Every slot would pass for an empty one, and the only system that
            // works could be overwritten. The next boot rebuilds the record from the heads.
            if self.seen.any_head && !Canary::BlankIsNew.is_on() {
                return Err(InstallError::Deferred(Wait::RecordLost));
            }
            self.record.body.note_unread(self.seen.silent);
        }
        if let Running::Offline = self.config.running {
            let order = candidates(&self.record.body, RecordOrigin::Read, |slot| layout.has(slot));
            let good = |kind| matches!(kind, CandidateKind::Good | CandidateKind::Suspect);
            for candidate in order.iter().filter(|candidate| good(candidate.kind)) {
                if self.seen.as_recorded & candidate.slot.bit() != 0 {
                    self.running = Some(candidate.slot);
                    break;
                }
                // This slot would boot first if its head were as recorded.
                self.seen.unsure |= candidate.slot.bit();
                if self.seen.silent & candidate.slot.bit() == 0 {
                    self.seen.other = self.seen.other.or(Some(candidate.slot));
                }
            }
        }
        match self.running {
            Some(slot) => {
                self.state = State::RunningHead;
                self.read_slot_head(slot).ok_or(InstallError::Refused(Refusal::RunningUnverified))
            }
            None => self.receive_envelope(0),
        }
    }

    fn step_running_head(&mut self, head: &[u8]) -> Result<Action, InstallError> {
        let Some(slot) = self.running else { return Err(InstallError::Misused) };
        // Into the memory of the update's manifest, which comes later: there is memory for one
        // only.
        verify_head_into::<H>(&self.config.device, slot.kind(), head, &mut self.manifest)
            .map_err(|_| InstallError::Refused(Refusal::RunningUnverified))?;
        let known = self.note_running(slot);
        self.manifest = None;
        if !known {
            return Err(InstallError::Refused(Refusal::RunningUnverified));
        }
        self.receive_envelope(0)
    }

    /// Notes what must be known of the system that runs; false if the slot holds another system.
    fn note_running(&mut self, slot: Slot) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        if *manifest.digest() != self.record.body.slot(slot).digest {
            return false;
        }
        self.running_digest = *manifest.digest();
        self.running_order = manifest.order();
        self.running_floor = manifest.floor();
        self.running_reads_max = manifest.epochs.reads_max;
        for (number, component) in manifest.components_of(slot) {
            let place = self.config.layout.component(slot, manifest, number);
            if let (Ok(data), Some(source)) =
                (place, self.sources.get_mut(usize::from(component.role.code())))
            {
                *source = Some(Region { len: component.length, ..data });
            }
        }
        true
    }

    // Step 1: the head of the bundle.

    fn receive_envelope(&mut self, from: usize) -> Result<Action, InstallError> {
        self.state = State::EnvelopeHeader { from };
        Ok(Action::Receive(from..from + envelope::HEADER_LEN))
    }

    fn step_envelope_header(&mut self, from: usize, buffer: &[u8]) -> Result<Action, InstallError> {
        let (header, _) = buffer[from..]
            .split_first_chunk::<{ envelope::HEADER_LEN }>()
            .ok_or(InstallError::Misused)?;
        let len =
            Envelope::len_from_header(header).map_err(|error| self.head_format(from, error))?;
        let end = from + len;
        // Checked before it is received: an envelope above this limit has no room in the buffer
        // either.
        let most = self.config.layout.head_len_max();
        if end > most {
            return Err(layout_error(LayoutError::Head { len: end, most }));
        }
        self.state = State::EnvelopeRest { from, end };
        Ok(Action::Receive(from + envelope::HEADER_LEN..end))
    }

    fn head_format(&self, from: usize, error: FormatError) -> InstallError {
        let keyset = from == 0 && self.config.device.trust.envelopes() > 1;
        InstallError::Refused(Refusal::Trust(if keyset {
            TrustError::Keyset(error)
        } else {
            TrustError::Manifest(error)
        }))
    }

    fn step_envelope_rest(
        &mut self,
        from: usize,
        end: usize,
        buffer: &[u8],
    ) -> Result<Action, InstallError> {
        let keyset = from == 0 && self.config.device.trust.envelopes() > 1;
        if keyset {
            return self.receive_envelope(end);
        }
        let head = &buffer[..end];
        let kind = self.kind();
        verify_head_into::<H>(&self.config.device, kind, head, &mut self.manifest)
            .map_err(|error| InstallError::Refused(Refusal::Trust(error)))?;
        self.head_len = end;
        self.head_digest = digest_of::<H>(head);
        let found = match self.admit() {
            Ok(found) => found,
            Err(error) => {
                // The manifest is the one at hand only once it is admitted.
                self.manifest = None;
                return Err(error);
            }
        };
        // Checked before the switch. After the switch a store that cannot be raised would keep the
        // old floor.
        if self.config.has_store && found > self.store {
            self.state = State::ProbeFloor;
            return Ok(Action::ProbeFloor(self.kind(), found));
        }
        self.state = State::Judge;
        Ok(Action::Judge)
    }

    /// Step 1: everything that can be checked before the first erase, in the order of the protocol.
    /// Sets the target, and returns the floor that the update reaches.
    fn admit(&mut self) -> Result<Floor, InstallError> {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let refuse = |refusal| Err(InstallError::Refused(refusal));
        let layout = &self.config.layout;
        if let Err(error) = check_class(&self.config.device, manifest) {
            return refuse(Refusal::Class(error));
        }
        let found = manifest.floor();
        let mut floor = self.record.body.floor_of(self.kind());
        let seen = &self.seen;
        // The floor never lies above a good slot. A recorded floor that does is damage or forgery,
        // and obeying it would end all updates.
        if self.running.is_some_and(|slot| slot.kind() == self.kind()) {
            floor = floor.min(self.running_floor);
        } else if !seen.unread && seen.highest < floor && !Canary::FloorLocksOut.is_on() {
            floor = seen.lowest_good.unwrap_or_default();
        }
        let floor = floor.max(self.store);
        if found < floor {
            return refuse(Refusal::BelowFloor { found, floor });
        }
        if found.level > floor.level.saturating_add(FLOOR_JUMP_MAX)
            || found.keyset_version > floor.keyset_version.saturating_add(FLOOR_JUMP_MAX)
        {
            return refuse(Refusal::FloorJump { found, floor });
        }
        let running_update = self.running.filter(|slot| slot.kind() == SlotKind::Update);
        if self.kind() == SlotKind::Recovery {
            // An older one may be signed by a key that was revoked since. The same one is the
            // slot's repair.
            let (found, (running, digest)) = (manifest.order(), seen.newest);
            let is_same = digest == *manifest.digest();
            if found <= running && !is_same && !Canary::RecoveryDowngrade.is_on() {
                return refuse(Refusal::NotNewer { found, running });
            }
        } else if running_update.is_some() {
            let (found, running) = (manifest.order(), self.running_order);
            if *manifest.digest() == self.running_digest {
                if !self.config.repair {
                    return Err(InstallError::Nothing(Nothing::Running));
                }
            } else if found <= running {
                return refuse(Refusal::NotNewer { found, running });
            }
        }
        let target = self.choose_target(manifest, running_update)?;
        layout.check_fit(target, manifest).map_err(layout_error)?;
        self.area.check_room(layout, target, manifest, self.head_len).map_err(layout_error)?;
        let needed = Self::buffer_len_min(layout, manifest.chunk_size);
        self.need_buffer(needed)?;
        let epochs = manifest.epochs;
        if self.kind() == SlotKind::Update {
            // A recorded epoch above all that the device has is damage or forgery as well.
            let all_seen = !seen.unread && !seen.unverified;
            let epoch = match (running_update, all_seen) {
                _ if Canary::EpochLocksOut.is_on() => self.record.body.data_epoch,
                (Some(_), _) => self.record.body.data_epoch.min(self.running_reads_max),
                (None, true) => self.record.body.data_epoch.min(seen.reads_max),
                (None, false) => self.record.body.data_epoch,
            };
            self.epoch = epoch;
            if running_update.is_none() && self.config.allow_new_epoch {
                self.epoch = epoch.min(epochs.reads_max);
            }
            // A new device has no data yet.
            let has_data = running_update.is_some() || epoch != 0;
            let is_told = running_update.is_none() && self.config.allow_new_epoch;
            if has_data && !is_told && (epoch < epochs.reads_min || epoch > epochs.reads_max) {
                return refuse(Refusal::CannotReadData {
                    epoch,
                    reads_min: epochs.reads_min,
                    reads_max: epochs.reads_max,
                });
            }
            if running_update.is_some()
                && epochs.writes > self.running_reads_max
                && !self.config.allow_new_epoch
            {
                return refuse(Refusal::FallbackCannotRead {
                    writes: epochs.writes,
                    reads_max: self.running_reads_max,
                });
            }
        }
        let total: u64 = manifest.components_of(target).map(|(_, c)| c.length).sum();
        self.progress = Progress { done: 0, total: 2 * total };
        self.target = target;
        self.floor = floor;
        Ok(found)
    }

    fn choose_target(
        &self,
        manifest: &Verified<Manifest>,
        running: Option<Slot>,
    ) -> Result<Slot, InstallError> {
        let layout = &self.config.layout;
        let body = &self.record.body;
        let ready = |slot: Slot| {
            layout.has(slot)
                && slot.kind() == self.kind()
                && body.slot(slot).digest == *manifest.digest()
                && matches!(body.slot(slot).state, SlotState::Ready { .. })
        };
        if let Some(slot) = Slot::ALL.into_iter().find(|slot| ready(*slot)) {
            return Err(InstallError::Nothing(Nothing::Ready(slot)));
        }
        if let Some(slot) = self.config.target {
            if !layout.has(slot) {
                return Err(layout_error(LayoutError::NoSuchSlot(slot)));
            }
            // The only slot there is can be filled again where nothing runs from it.
            let is_update = |found: &SlotLayout<'_>| found.slot.kind() == SlotKind::Update;
            let is_only = matches!(self.config.running, Running::Offline)
                && layout.slots().iter().filter(|found| is_update(found)).count() == 1;
            if self.running == Some(slot) && !is_only {
                return Err(InstallError::Refused(Refusal::TargetRuns));
            }
            if body.slot(slot).held {
                return Err(InstallError::Deferred(Wait::Held));
            }
            if slot.kind() == SlotKind::Recovery {
                let entry = body.slot(slot);
                if entry.state == SlotState::Good && entry.digest == *manifest.digest() {
                    return Err(InstallError::Nothing(Nothing::Running));
                }
                let online = matches!(self.config.running, Running::Proof(_));
                if online && running.is_none() {
                    return Err(InstallError::Refused(Refusal::RecoveryNeedsGood));
                }
            }
            return Ok(slot);
        }
        // The record calls this slot good, but its head does not match the record. The slot may
        // belong to another product, or this tool may have the wrong roots. So nothing is
        // overwritten unless the target is named.
        if let (None, Some(slot)) = (self.running, self.seen.other) {
            return Err(InstallError::Deferred(Wait::Unverified(slot)));
        }
        let mut best: Option<(u8, u8, Slot)> = None;
        let mut wait = None;
        for slot in Slot::ALL {
            let entry = body.slot(slot);
            if !layout.has(slot) || slot.kind() != SlotKind::Update || Some(slot) == running {
                continue;
            }
            if entry.held {
                wait = wait.or(Some(Wait::Held));
                continue;
            }
            if self.seen.unsure & slot.bit() != 0 {
                wait = Some(Wait::Unverified(slot));
                continue;
            }
            let cost = match entry.state {
                SlotState::Writing if entry.digest == *manifest.digest() => 0,
                SlotState::Empty => 1,
                // It may hold a system that works, or be on a medium that keeps nothing.
                SlotState::Bad { fault: Fault::Unreadable } => 4,
                SlotState::Bad { .. } => 2,
                SlotState::Writing => 3,
                SlotState::Ready { .. } | SlotState::Trying { .. } => 5,
                SlotState::Good => 6,
            };
            let rank = (cost, entry.priority, slot);
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        match (best, wait) {
            (Some((_, _, slot)), _) => Ok(slot),
            (None, Some(wait)) => Err(InstallError::Deferred(wait)),
            (None, None) => Err(InstallError::Refused(Refusal::NoOtherSlot)),
        }
    }

    // Step 6: go on where it was cut short, or start over.

    fn admitted(&mut self, buffer: &mut [u8]) -> Result<Action, InstallError> {
        // The loader does not start a slot below the recorded floor. So the recorded floor is
        // lowered to the floor that was found valid. It goes to the device with the next write of
        // the record.
        let kind = self.kind();
        let recorded = self.record.body.floor_of_mut(kind);
        *recorded = (*recorded).min(self.floor);
        // The data epoch too: above the true one, it would hide a later migration of the data.
        self.record.body.data_epoch = self.record.body.data_epoch.min(self.epoch);
        let entry = self.record.body.slot(self.target);
        let same = entry.digest == *self.verified()?.digest();
        if entry.state == SlotState::Writing && same {
            self.hash = H::new();
            return self.compare_stored_head(0, buffer);
        }
        self.start_over()
    }

    fn compare_stored_head(
        &mut self,
        at: usize,
        buffer: &mut [u8],
    ) -> Result<Action, InstallError> {
        let layout = &self.config.layout;
        if at < self.head_len {
            let Some(region) = self.area.head(layout, self.target) else {
                return self.start_over();
            };
            let room = head_room(layout);
            let most = Area::buffer_len(layout);
            let len = (self.head_len - at).min(most);
            if (at + len) as u64 > region.len {
                return self.start_over();
            }
            self.state = State::StoredHead { at, len };
            return Ok(self.read(region, at as u64, len, room));
        }
        let stored = core::mem::replace(&mut self.hash, H::new()).finish();
        if stored != self.head_digest {
            return self.start_over();
        }
        self.resumed = true;
        if self.area.lacks_room(layout) {
            return Ok(self.mark_writing());
        }
        // The power may have failed before the marks of the old content were destroyed.
        self.unmark(buffer)
    }

    /// Destroys the marks of the old content of the target.
    fn unmark(&mut self, buffer: &mut [u8]) -> Result<Action, InstallError> {
        self.state = State::Unmark;
        let slot = match self.running {
            Some(running) if Canary::MarksOfRunning.is_on() && self.resumed => running,
            _ => self.target,
        };
        if Canary::MarksKept.is_on() {
            return self.part_done(buffer);
        }
        let step = self.area.begin_unmark(&self.config.layout, slot);
        self.part_step(step, buffer)
    }

    /// Step 2.
    fn start_over(&mut self) -> Result<Action, InstallError> {
        if self.config.resume_only {
            return Err(InstallError::Nothing(Nothing::ToResume));
        }
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        self.record.body.begin_install(self.target, manifest);
        self.area.give_up(&self.config.layout, self.target);
        Ok(self.mark_writing())
    }

    fn mark_writing(&mut self) -> Action {
        self.state = State::MarkWriting;
        Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, false))
    }

    fn step_part(&mut self, event: Event, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let result: IoResult = match event {
            Event::Done => Ok(()),
            Event::Failed(error) => Err(error),
            _ => return Err(InstallError::Misused),
        };
        let step = self.area.step_part(&self.config.layout, result, buffer);
        self.part_step(step, buffer)
    }

    fn part_step(
        &mut self,
        step: Step<IoResult>,
        buffer: &mut [u8],
    ) -> Result<Action, InstallError> {
        match step {
            Step::Io(io) => Ok(Action::Io(io)),
            Step::Done(Ok(())) => self.part_done(buffer),
            // A mark that was written to a wrong place may have damaged bytes that were read back
            // before.
            Step::Done(Err(DeviceError::NotKept)) => Err(InstallError::ReadBack),
            Step::Done(Err(error)) => Err(InstallError::Device(error)),
        }
    }

    /// Goes on after a head, mark or index is ready.
    fn part_done(&mut self, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let layout = &self.config.layout;
        match self.state {
            State::Unmark if self.resumed => self.component(0, buffer),
            State::Unmark => {
                self.state = State::HeadGround;
                let step = self.area.begin_head(layout, self.target, self.head_len);
                self.part_step(step, buffer)
            }
            State::HeadGround => {
                self.state = State::WriteHead;
                Ok(self.write(self.head_region()?, 0, buffer, 0, self.head_len))
            }
            State::IndexGround => {
                let manifest = self.manifest.as_ref().ok_or(InstallError::Misused)?;
                let number = self.current.number;
                self.current.index =
                    self.area.index(layout, self.target, manifest, number).map_err(layout_error)?;
                self.restart_fold();
                self.receive_index(0)
            }
            State::Commit { kind } => self.committed(kind, buffer),
            _ => Err(InstallError::Misused),
        }
    }

    fn head_region(&self) -> Result<Region, InstallError> {
        let missing = layout_error(LayoutError::NoSuchSlot(self.target));
        self.area.head(&self.config.layout, self.target).ok_or(missing)
    }

    // Step 3: components in the order of the bundle.

    fn component(&mut self, number: usize, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let Some(component) = manifest.components.get(number) else {
            self.state = State::ExpectEnd;
            return Ok(Action::ExpectEnd);
        };
        if !component.fits(self.target) {
            self.state = State::PassComponent { number };
            let index_len = component.index_len(manifest.chunk_size);
            return Ok(Action::Skip(index_len + component.length));
        }
        let layout = &self.config.layout;
        let data = layout.component(self.target, manifest, number).map_err(layout_error)?;
        let index = self.area.index(layout, self.target, manifest, number).map_err(layout_error)?;
        let source = self.sources.get(usize::from(component.role.code())).copied().flatten();
        self.current = Current {
            number,
            index,
            data,
            length: component.length,
            chunks: component.chunk_count(manifest.chunk_size),
            root: component.index_root,
            source: source.filter(|_| self.config.reuse.running),
            kept_below: 0,
            erased_below: 0,
            window: (0, 0),
        };
        self.restart_fold();
        if self.resumed { self.check_index(0, buffer) } else { self.index_ground(buffer) }
    }

    fn restart_fold(&mut self) {
        self.fold.restart(self.current.length, self.chunk_size());
    }

    fn check_index(&mut self, at: u64, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let current = &self.current;
        let geometry = self.config.layout.geometry(current.index.device);
        let left = (current.chunks * 32 - at) as usize;
        let len = round(left, geometry.logical_block_bytes).min(self.whole_units(self.buffer_len));
        // The log has no index here, or the index of another update.
        if at + len as u64 > current.index.len {
            return self.index_ground(buffer);
        }
        self.state = State::CheckIndex { at, len };
        Ok(self.read(self.current.index, at, len, 0))
    }

    /// Makes room for the index of the component at hand.
    fn index_ground(&mut self, buffer: &mut [u8]) -> Result<Action, InstallError> {
        self.state = State::IndexGround;
        let Current { number, index, chunks, .. } = self.current;
        let layout = &self.config.layout;
        let step = self.area.begin_index(layout, self.target, number, index, chunks * 32);
        self.part_step(step, buffer)
    }

    fn receive_index(&mut self, at: u64) -> Result<Action, InstallError> {
        let left = self.current.chunks * 32 - at;
        let len = left.min(self.whole_units(self.buffer_len) as u64) as usize;
        self.state = State::ReceiveIndex { at, len };
        Ok(Action::Receive(0..len))
    }

    /// Goes on with chunk number `chunk`, or finishes the component.
    fn chunk(&mut self, chunk: u64, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let current = &self.current;
        if chunk == current.chunks {
            // The stored entries were read again for each chunk. If one of them changed in between,
            // chunks may have been compared with the digests of another bundle.
            if self.fold.root() != current.root {
                return Err(InstallError::ReadBack);
            }
            let next = current.number + 1;
            return self.component(next, buffer);
        }
        if !self.in_window(chunk) {
            return self.window(chunk, false);
        }
        if chunk < current.kept_below {
            self.accept(chunk, buffer)?;
            let len = self.chunk_len(chunk) as u64;
            self.reused += len;
            self.progress.done += len;
            self.state = State::PassChunk { chunk };
            return Ok(Action::Skip(len));
        }
        if chunk < current.erased_below {
            return self.obtain(chunk);
        }
        if self.resumed || self.config.reuse.target {
            return self.probe(chunk);
        }
        self.erase_group(chunk)
    }

    /// The chunks that share erase blocks with `chunk`: first, and one past the last.
    fn group(&self, chunk: u64) -> (u64, u64) {
        let current = self.current;
        let block = self.config.layout.geometry(current.data.device).erase_block_bytes;
        // Both are powers of two.
        let size = (block >> self.chunk_size().trailing_zeros()).max(1);
        let first = round_down(chunk, size);
        (first, (first + u64::from(size)).min(current.chunks))
    }

    fn probe(&mut self, chunk: u64) -> Result<Action, InstallError> {
        if !self.in_window(chunk) {
            return self.window(chunk, true);
        }
        self.state = State::Probe { chunk };
        Ok(self.read_chunk(self.current.data, chunk))
    }

    fn step_probe(
        &mut self,
        chunk: u64,
        there: bool,
        buffer: &mut [u8],
    ) -> Result<Action, InstallError> {
        let (first, end) = self.group(chunk);
        if !there {
            return self.erase_group(first);
        }
        if chunk + 1 < end {
            return self.probe(chunk + 1);
        }
        self.current.kept_below = end;
        self.chunk(first, buffer)
    }

    fn erase_group(&mut self, chunk: u64) -> Result<Action, InstallError> {
        let (first, end) = self.group(chunk);
        let current = self.current;
        let block = self.config.layout.geometry(current.data.device).erase_block_bytes;
        let start = self.chunk_start(first);
        let len = round_u64(self.chunk_start(end).min(current.length), block) - start;
        let region = Region { offset: current.data.offset + start, len, ..current.data };
        self.state = State::EraseGroup { chunk };
        Ok(Action::Io(Io::erase(region)))
    }

    fn obtain(&mut self, chunk: u64) -> Result<Action, InstallError> {
        let end = self.chunk_start(chunk) + self.chunk_len(chunk) as u64;
        if let Some(source) = self.current.source
            && end <= source.len
        {
            self.state = State::Borrow { chunk };
            return Ok(self.read_chunk(source, chunk));
        }
        self.receive_chunk(chunk)
    }

    fn receive_chunk(&mut self, chunk: u64) -> Result<Action, InstallError> {
        self.state = State::ReceiveChunk { chunk };
        Ok(Action::Receive(0..self.chunk_len(chunk)))
    }

    fn read_chunk(&self, data: Region, chunk: u64) -> Action {
        self.read(data, self.chunk_start(chunk), self.chunk_len(chunk), 0)
    }

    /// Whether the bytes at the start of the buffer are the chunk that the index names.
    fn matches(&self, chunk: u64, buffer: &[u8]) -> Result<bool, InstallError> {
        let len = self.chunk_len(chunk);
        Ok(digest_of::<H>(&buffer[..len]) == *self.entry(chunk, buffer)?)
    }

    fn write_chunk(
        &mut self,
        chunk: u64,
        borrowed: bool,
        buffer: &mut [u8],
    ) -> Result<Action, InstallError> {
        self.accept(chunk, buffer)?;
        let len = self.chunk_len(chunk);
        self.state = State::WriteChunk { chunk, borrowed };
        Ok(self.write(self.current.data, self.chunk_start(chunk), buffer, 0, len))
    }

    /// Folds the entry that the chunk was compared with. At the end this shows whether the stored
    /// index is still the one that was verified.
    fn accept(&mut self, chunk: u64, buffer: &[u8]) -> Result<(), InstallError> {
        let entry = *self.entry(chunk, buffer)?;
        self.fold.entries(&entry);
        Ok(())
    }

    // Entries of the stored index, in the part of the buffer after the chunk.

    fn in_window(&self, chunk: u64) -> bool {
        let (first, end) = self.current.window;
        (first..end).contains(&chunk)
    }

    fn window(&mut self, chunk: u64, probe: bool) -> Result<Action, InstallError> {
        let room = chunk_room(&self.config.layout, self.chunk_size());
        let current = self.current;
        let geometry = self.config.layout.geometry(current.index.device);
        let len = self.whole_units(self.buffer_len - room) as u64;
        // A window starts on a block of the device and ends with the index.
        let block = geometry.logical_block_bytes.max(32);
        let start = round_down(chunk * 32, block);
        let end = (start + len).min(round_u64(current.chunks * 32, block));
        self.current.window = (start / 32, (end / 32).min(current.chunks));
        self.state = State::Window { chunk, probe };
        Ok(self.read(self.current.index, start, (end - start) as usize, room))
    }

    fn entry<'b>(&self, chunk: u64, buffer: &'b [u8]) -> Result<&'b Digest, InstallError> {
        let room = chunk_room(&self.config.layout, self.chunk_size());
        let (first, _) = self.current.window;
        let at = room + (chunk - first) as usize * 32;
        buffer.get(at..).and_then(|rest| rest.first_chunk()).ok_or(InstallError::Misused)
    }

    // Step 4: everything is durable, and the devices return the bytes that were written.

    fn flush_all(&mut self, from: u8, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let devices = self.config.layout.devices_of(self.target);
        for device in from..8 {
            if devices & 1 << device != 0 && !Canary::NoFlushBeforeSwitch.is_on() {
                self.state = State::FlushAll { device };
                return Ok(Action::Io(Io::Flush { device }));
            }
        }
        self.hash = H::new();
        self.read_back_head(0, buffer)
    }

    fn read_back_head(&mut self, at: usize, buffer: &mut [u8]) -> Result<Action, InstallError> {
        if at < self.head_len {
            let len = (self.head_len - at).min(self.whole_units(self.buffer_len));
            self.state = State::ReadBackHead { at, len };
            return Ok(self.read(self.head_region()?, at as u64, len, 0));
        }
        let stored = core::mem::replace(&mut self.hash, H::new()).finish();
        if Canary::NoReadBack.is_on() {
            return self.commit(MarkKind::Committed, buffer);
        }
        if stored != self.head_digest {
            return Err(InstallError::ReadBack);
        }
        self.begin_read_back(0, buffer)
    }

    fn begin_read_back(&mut self, from: usize, buffer: &mut [u8]) -> Result<Action, InstallError> {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let next = manifest.components_of(self.target).find(|(number, _)| *number >= from);
        match next {
            Some((number, component)) => {
                self.fold.restart(component.length, manifest.chunk_size);
                self.read_back(number, 0, buffer)
            }
            None => self.commit(MarkKind::Committed, buffer),
        }
    }

    fn read_back(
        &mut self,
        number: usize,
        at: u64,
        buffer: &mut [u8],
    ) -> Result<Action, InstallError> {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let component = &manifest.components[number];
        let data =
            self.config.layout.component(self.target, manifest, number).map_err(layout_error)?;
        if at < component.length {
            let geometry = self.config.layout.geometry(data.device);
            let left = component.length - at;
            let most = self.whole_units(self.buffer_len) as u64;
            let len = round_u64(left, geometry.logical_block_bytes).min(most) as usize;
            self.state = State::ReadBack { number, at, len };
            return Ok(self.read(data, at, len, 0));
        }
        let root = component.index_root;
        if self.fold.root() != root {
            return Err(InstallError::ReadBack);
        }
        self.begin_read_back(number + 1, buffer)
    }

    // Step 5: commit, then switch.

    fn commit(&mut self, kind: MarkKind, buffer: &mut [u8]) -> Result<Action, InstallError> {
        self.state = State::Commit { kind };
        let mark = Mark { kind, digest: *self.verified()?.digest() };
        let step = self.area.begin_mark(&self.config.layout, self.target, mark);
        self.part_step(step, buffer)
    }

    fn committed(&mut self, kind: MarkKind, buffer: &mut [u8]) -> Result<Action, InstallError> {
        // Recovery is never tried, so it is confirmed as soon as it is complete.
        if kind == MarkKind::Committed && self.target.kind() == SlotKind::Recovery {
            return self.commit(MarkKind::Confirmed, buffer);
        }
        let tries = self.config.tries.clamp(1, record_format::TRIES_MAX);
        self.record.body.complete_install(self.target, tries);
        if Canary::FloorAtInstall.is_on() {
            let reached = self.verified()?.floor();
            *self.record.body.floor_of_mut(self.target.kind()) = reached;
        }
        self.state = State::Complete;
        Ok(Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, true)))
    }

    // Helpers.

    fn verified(&self) -> Result<&Verified<Manifest>, InstallError> {
        self.manifest.as_ref().ok_or(InstallError::Misused)
    }

    /// A read of `len` bytes from byte `from` of `region` on, to the buffer from `at` on.
    #[inline(never)]
    fn read(&self, region: Region, from: u64, len: usize, at: usize) -> Action {
        let geometry = self.config.layout.geometry(region.device);
        let place = Region { offset: region.offset + from, ..region };
        Action::Io(Io::read(geometry, place, len, at))
    }

    /// A write of `len` bytes of the buffer, from `at` on, to byte `from` of `region` on.
    #[inline(never)]
    fn write(&self, region: Region, from: u64, buffer: &mut [u8], at: usize, len: usize) -> Action {
        let geometry = self.config.layout.geometry(region.device);
        let place = Region { offset: region.offset + from, ..region };
        Action::Io(Io::write_padded(geometry, place, buffer, at, len))
    }

    fn chunk_size(&self) -> u32 {
        self.manifest.as_ref().map_or(manifest::CHUNK_SIZE_MIN, |manifest| manifest.chunk_size)
    }

    /// Where the chunk starts in its component.
    #[inline(never)]
    fn chunk_start(&self, chunk: u64) -> u64 {
        chunk << self.chunk_size().trailing_zeros()
    }

    #[inline(never)]
    fn chunk_len(&self, chunk: u64) -> usize {
        let left = self.current.length.saturating_sub(self.chunk_start(chunk));
        left.min(self.chunk_size().into()) as usize
    }

    fn component_len(&self, number: usize) -> Result<u64, InstallError> {
        self.verified()?.components.get(number).map(|c| c.length).ok_or(InstallError::Misused)
    }

    fn whole_units(&self, len: usize) -> usize {
        // At least 512, so that whole index entries fit whatever the unit.
        let unit = self.config.layout.unit().max(WINDOW_LEN_MIN);
        round_down(len as u64, unit as u32) as usize
    }

    fn need_buffer(&self, needed: usize) -> Result<(), InstallError> {
        if self.buffer_len >= needed {
            return Ok(());
        }
        Err(layout_error(LayoutError::Buffer { needed, available: self.buffer_len }))
    }

    fn received(&self, event: Event, expected: usize) -> Result<(), InstallError> {
        match event {
            Event::Received(len) if len == expected => Ok(()),
            Event::Received(len) if len < expected => Err(InstallError::Refused(Refusal::Ended)),
            _ => Err(InstallError::Misused),
        }
    }

    fn bad_content(&self) -> Result<Action, InstallError> {
        let component = self.current.number;
        Err(InstallError::Refused(Refusal::Content { component }))
    }
}

/// Bytes of the buffer that hold the head until it is written.
fn head_room(layout: &Layout<'_>) -> usize {
    round(layout.head_len_max(), layout.unit() as u32)
}

/// Bytes of the buffer that hold a chunk.
fn chunk_room(layout: &Layout<'_>, chunk_size: u32) -> usize {
    round(chunk_size as usize, layout.unit() as u32)
}

const fn layout_error(error: LayoutError) -> InstallError {
    InstallError::Refused(Refusal::Layout(error))
}

fn done(event: Event) -> Result<(), InstallError> {
    match event {
        Event::Done => Ok(()),
        Event::Failed(error) => Err(InstallError::Device(error)),
        _ => Err(InstallError::Misused),
    }
}
