//! The machine of one update: a bundle streams in, and the result is a slot that can be switched
//! to.
//!
//! Call [`Install::step`] with [`Event::Start`] and carry out the [`Action`] it returns. Step again
//! with the result of that action. [`driver::install`](crate::driver::install) is that loop for
//! blocking devices and a blocking stream.
//!
//! The step numbers are those of the install protocol in `docs/BOOT_PROTOCOL.md`.
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
//! use stillboot::driver::{self, InstallHost, NoStore, Stream};
//! use stillboot::install::{
//!     Install, InstallConfig, InstallError, Permission, Progress, Refusal, Running, Update,
//! };
//!
//! struct Host;
//!
//! impl InstallHost for Host {
//!     fn judge(&mut self, update: &Update<'_>) -> Permission {
//!         println!("version {}", update.manifest.version);
//!         Permission::Proceed
//!     }
//!     fn progress(&mut self, progress: Progress) {
//!         println!("{} of {}", progress.done, progress.total);
//!     }
//! }
//!
//! // A new device. A running system states its boot proof instead.
//! let config = InstallConfig::new(DEVICE, LAYOUT, Running::Offline);
//! let mut machine = Install::<SoftSha256>::new(&config);
//! let mut buffer = [0; Install::<SoftSha256>::buffer_len_min(&LAYOUT, 4096)];
//! let mut bundle = Stream(&b"no bundle"[..]);
//! let mut disk = Ram([0; 0x1_0000]);
//! let disks: &mut [&mut dyn BlockDevice] = &mut [&mut disk];
//! let result =
//!     driver::install(&mut machine, disks, &mut NoStore, &mut bundle, &mut Host, &mut buffer);
//! assert_eq!(result, Err(InstallError::Refused(Refusal::Ended)));
//! ```

mod admit;
mod chunk;
mod commit;
mod error;
mod head;
mod index;
mod read_back;
mod resume;
mod running;
mod state;

use core::ops::Range;

pub use error::{FLOOR_JUMP_MAX, InstallError, Nothing, Refusal, Wait};
use state::{Current, Seen, State};

use crate::area::{Area, Outcome};
use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::manifest::COMPONENTS_MAX;
use crate::format::{
    BootProof, Digest, Floor, Manifest, Record, Slot, SlotKind, manifest, record as record_format,
};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, LayoutError, PLACES_MAX, Region};
use crate::record::RecordStatus;
use crate::units::{larger, round, round_down};
use crate::verify::{Device, IndexFold, Sha256, SoftSha256, Verified};

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
    /// Whether the target holds a chunk is asked of the source instead of the device:
    /// [`Action::IsHeld`]. The target is then read once less. A source that is wrong ends the
    /// installation with [`InstallError::ReadBack`]; the next call resumes it, and looks.
    pub stated: bool,
    /// Chunks that the running slot holds at the same place.
    pub running: bool,
}

/// What an installation starts from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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
    /// How often the new slot may be tried, 1..=15;
    /// [`TRIES_DEFAULT`](record_format::TRIES_DEFAULT).
    pub tries: u8,
    /// Whether there is a [`RollbackStore`](crate::driver::RollbackStore).
    pub has_store: bool,
    /// Which bytes need not come from the stream.
    pub reuse: Reuse,
    /// Install what is there already, to repair a slot: the version that runs into another slot, or
    /// once more into the slot in which it stands ready or is the recovery system.
    pub repair: bool,
    /// Take an update that writes data which the running system cannot read. Where no good slot
    /// runs, also take one that does not read the recorded epoch of the data.
    pub allow_new_epoch: bool,
    /// Only go on with an installation that was cut short; without one, do nothing.
    pub resume_only: bool,
}

impl<'a> InstallConfig<'a> {
    /// An update of a slot that the library chooses, without a store of the floor, with every byte
    /// from the stream.
    #[must_use]
    pub const fn new(device: Device<'a>, layout: Layout<'a>, running: Running) -> Self {
        Self {
            device,
            layout,
            running,
            target: None,
            tries: record_format::TRIES_DEFAULT,
            has_store: false,
            reuse: Reuse { target: false, stated: false, running: false },
            repair: false,
            allow_new_epoch: false,
            resume_only: false,
        }
    }

    /// The same with a [`target`](Self::target).
    #[must_use]
    pub const fn with_target(mut self, target: Option<Slot>) -> Self {
        self.target = target;
        self
    }

    /// The same with another number of [`tries`](Self::tries).
    #[must_use]
    pub const fn with_tries(mut self, tries: u8) -> Self {
        self.tries = tries;
        self
    }

    /// The same, stating whether there [is a store](Self::has_store).
    #[must_use]
    pub const fn with_store(mut self, has_store: bool) -> Self {
        self.has_store = has_store;
        self
    }

    /// The same with bytes that need not come from the stream: [`reuse`](Self::reuse).
    #[must_use]
    pub const fn with_reuse(mut self, reuse: Reuse) -> Self {
        self.reuse = reuse;
        self
    }

    /// The same, or as a [`repair`](Self::repair).
    #[must_use]
    pub const fn with_repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// The same, or with a [new epoch](Self::allow_new_epoch) of the data.
    #[must_use]
    pub const fn with_new_epoch(mut self, allow_new_epoch: bool) -> Self {
        self.allow_new_epoch = allow_new_epoch;
        self
    }

    /// The same, or [only to resume](Self::resume_only).
    #[must_use]
    pub const fn with_resume_only(mut self, resume_only: bool) -> Self {
        self.resume_only = resume_only;
        self
    }
}

/// The result of the last action.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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

/// What to do next. A driver answers an action that it does not know with [`Event::Failed`]; the
/// installation then ends.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Carry out an operation on a device and answer [`Event::Done`] or [`Event::Failed`].
    Io(Io),
    /// Fill this range of the buffer from the stream; answer [`Event::Received`] or
    /// [`Event::SourceFailed`].
    Receive(Range<usize>),
    /// Skip this many bytes of the stream; answer [`Event::Done`] or [`Event::SourceFailed`].
    Skip(u64),
    /// Find out whether the target is known to hold the next so many bytes of the stream in their
    /// place; answer [`Event::Done`] if so, else [`Event::Failed`]. Only asked with
    /// [`Reuse::stated`]. The answer is proven by the read-back.
    IsHeld(u64),
    /// Find out whether anything follows in the stream; answer [`Event::Received`] with 1 if so,
    /// else with 0. A stream without an end of its own, such as a serial line, is not read: answer
    /// with 0.
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

/// What a handler of a state leads to.
type Next = Result<Action, InstallError>;

/// The result of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
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

/// An update that passed the mandatory checks, for the policy to judge.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Update<'a> {
    /// The update.
    pub manifest: &'a Verified<Manifest>,
    /// Its head as received. The keyset in the head verifies the statements about the update.
    pub head: &'a [u8],
    /// The slot that it goes to.
    pub target: Slot,
    /// The version text of the slot that runs, or would boot; `None` on a new device.
    pub running_version: Option<&'a str>,
    /// The device's record.
    pub body: &'a record_format::Body,
}

/// How far an installation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of components that are in place, then bytes that were read back.
    pub done: u64,
    /// Twice the bytes of all components of the slot; 0 until the manifest is verified.
    pub total: u64,
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
            progress: Progress::default(),
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs on `layout` for chunks of `chunk_size` bytes.
    /// More makes fewer and larger transfers.
    #[must_use]
    pub const fn buffer_len_min(layout: &Layout<'_>, chunk_size: u32) -> usize {
        let record = head_room(layout) + Area::buffer_len(layout);
        let chunk = chunk_room(layout, chunk_size) + larger(WINDOW_LEN_MIN, layout.unit());
        larger(record, chunk)
    }

    /// The manifest of the update, once it is verified.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Verified<Manifest>> {
        self.manifest.as_ref()
    }

    /// What the policy is asked about. Valid at [`Action::Judge`], with the buffer as it is then.
    #[must_use]
    pub fn update<'b>(&'b self, buffer: &'b [u8]) -> Option<Update<'b>> {
        let body = &self.record.body;
        let running = self.running.map(|slot| body.slot(slot).version.as_str());
        Some(Update {
            manifest: self.manifest.as_ref()?,
            head: buffer.get(..self.head_len)?,
            target: self.target,
            running_version: running,
            body,
        })
    }

    /// The boot record as it stands.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Bytes of components that were written until now, also where it failed.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
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

    /// One handler for each state. Those of one phase of the protocol stand in one file.
    fn advance(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        if let Event::SourceFailed = event {
            return Err(InstallError::Source);
        }
        match self.state {
            State::Start => self.start(),
            State::ReadRecord | State::MarkWriting | State::Complete => {
                self.step_record(event, buffer)
            }
            State::ReadFloor => self.step_read_floor(event),
            State::Look { at, again } => self.step_look(at, again, event, buffer),
            State::RunningHead => self.step_running_head(event, buffer),
            State::EnvelopeHeader { from } => self.step_envelope_header(from, event, buffer),
            State::EnvelopeRest { from, end } => self.step_envelope_rest(from, end, event, buffer),
            State::ProbeFloor => self.step_probe_floor(event),
            State::Judge => self.step_judge(event, buffer),
            State::StoredHead { at, len } => self.step_stored_head(at, len, event, buffer),
            State::Unmark | State::HeadRoom | State::IndexRoom | State::Commit { .. } => {
                self.step_part(event, buffer)
            }
            State::WriteHead => self.step_write_head(event, buffer),
            State::PassComponent { number } => {
                done(event)?;
                self.component(number + 1, buffer)
            }
            State::CheckIndex { at, len } => self.step_check_index(at, len, event, buffer),
            State::PassIndex => {
                done(event)?;
                self.first_chunk(buffer)
            }
            State::ReceiveIndex { at, len } => self.step_receive_index(at, len, event, buffer),
            State::WriteIndex { at, len } => self.step_write_index(at, len, event, buffer),
            State::Window { chunk, probe } => {
                done(event)?;
                if probe { self.probe(chunk) } else { self.chunk(chunk, buffer) }
            }
            State::Probe { chunk } => self.step_probe(chunk, event, buffer),
            State::Ask { chunk } => self.step_ask(chunk, event, buffer),
            State::EraseGroup { chunk } => self.step_erase_group(chunk, event, buffer),
            State::Borrow { chunk } => self.step_borrow(chunk, event, buffer),
            State::ReceiveChunk { chunk } => self.step_receive_chunk(chunk, event, buffer),
            State::WriteChunk { chunk, borrowed } => {
                self.step_write_chunk(chunk, borrowed, event, buffer)
            }
            State::PassChunk { chunk } => {
                done(event)?;
                self.chunk(chunk + 1, buffer)
            }
            State::ExpectEnd => self.step_expect_end(event, buffer),
            State::FlushAll { device } => {
                done(event)?;
                self.flush_all(device + 1, buffer)
            }
            State::ReadBackHead { at, len } => self.step_read_back_head(at, len, event, buffer),
            State::ReadBack { number, at, len } => {
                self.step_read_back(number, at, len, event, buffer)
            }
            State::Ended => Err(InstallError::Misused),
        }
    }

    fn start(&mut self) -> Next {
        let needed = head_room(&self.config.layout) + Area::buffer_len(&self.config.layout);
        self.need_buffer(needed)?;
        self.state = State::ReadRecord;
        Ok(Action::Io(self.area.begin_read(&self.config.layout)))
    }

    // The record.

    fn step_record(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        let result = io_result(event)?;
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
            (_, Outcome::Read(RecordStatus::Newer)) => Err(Refusal::NewerRecord.into()),
            (_, Outcome::Read(RecordStatus::Lost)) => Err(Wait::RecordLost.into()),
            (_, Outcome::Read(RecordStatus::Current { .. } | RecordStatus::Factory)) => {
                if self.config.has_store {
                    self.state = State::ReadFloor;
                    return Ok(Action::ReadFloor(self.kind()));
                }
                self.find_running()
            }
        }
    }

    fn step_part(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        let result = io_result(event)?;
        let step = self.area.step_part(&self.config.layout, result, buffer);
        self.part_step(step, buffer)
    }

    fn part_step(&mut self, step: Step<IoResult>, buffer: &mut [u8]) -> Next {
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
    fn part_done(&mut self, buffer: &mut [u8]) -> Next {
        let layout = &self.config.layout;
        match self.state {
            State::Unmark if self.resumed => self.component(0, buffer),
            State::Unmark => {
                self.state = State::HeadRoom;
                let step = self.area.begin_head(layout, self.target, self.head_len);
                self.part_step(step, buffer)
            }
            State::HeadRoom => {
                self.state = State::WriteHead;
                Ok(self.write(self.head_region()?, 0, buffer, 0, self.head_len))
            }
            State::IndexRoom => {
                let manifest = self.manifest.as_ref().ok_or(InstallError::Misused)?;
                let number = self.current.number;
                self.current.index = self.area.index(layout, self.target, manifest, number)?;
                self.restart_fold();
                self.receive_index(0)
            }
            State::Commit { kind } => self.committed(kind, buffer),
            _ => Err(InstallError::Misused),
        }
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

    fn component_len(&self, number: usize) -> Result<u64, InstallError> {
        self.verified()?.components.get(number).map(|c| c.length).ok_or(InstallError::Misused)
    }

    fn whole_units(&self, len: usize) -> usize {
        // At least 512, so that whole index entries fit with any unit.
        let unit = self.config.layout.unit().max(WINDOW_LEN_MIN);
        round_down(len as u64, unit as u32) as usize
    }

    fn need_buffer(&self, needed: usize) -> Result<(), InstallError> {
        if self.buffer_len >= needed {
            return Ok(());
        }
        Err(LayoutError::Buffer { needed, available: self.buffer_len }.into())
    }

    fn bad_content(&self) -> Next {
        let component = self.current.number;
        Err(InstallError::Refused(Refusal::Content { component }))
    }
}

/// Bytes of the buffer that hold the head until it is written.
const fn head_room(layout: &Layout<'_>) -> usize {
    round(layout.head_len_max(), layout.unit() as u32)
}

/// Bytes of the buffer that hold a chunk.
const fn chunk_room(layout: &Layout<'_>, chunk_size: u32) -> usize {
    round(chunk_size as usize, layout.unit() as u32)
}

#[inline(never)]
fn done(event: Event) -> Result<(), InstallError> {
    io_result(event)?.map_err(InstallError::Device)
}

/// The result of an operation on a device; no other event answers one.
fn io_result(event: Event) -> Result<IoResult, InstallError> {
    match event {
        Event::Done => Ok(Ok(())),
        Event::Failed(error) => Ok(Err(error)),
        _ => Err(InstallError::Misused),
    }
}

#[inline(never)]
fn received(event: Event, expected: usize) -> Result<(), InstallError> {
    match event {
        Event::Received(len) if len == expected => Ok(()),
        Event::Received(len) if len < expected => Err(Refusal::Ended.into()),
        _ => Err(InstallError::Misused),
    }
}
