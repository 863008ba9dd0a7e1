//! The machine of one power-on: events in, actions out, no I/O.
//!
//! Call [`Boot::step`] with [`Event::Start`] and carry out the [`Action`] it returns. Step again
//! with the result of that action, until the machine hands over or stops.
//! [`driver::boot`](crate::driver::boot) is that loop for blocking devices, `asynch::boot` for
//! asynchronous ones.
//!
//! The step numbers are those of `docs/BOOT_PROTOCOL.md`.
//!
//! # Example
//!
//! The loop of a loader that brings its own I/O, on a disk that holds nothing:
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
//! use stillboot::boot::{Action, Boot, BootConfig, Event};
//! use stillboot::driver::carry_out;
//!
//! // DEVICE and LAYOUT are constants of the product, so the buffer has the right length.
//! let config = BootConfig::new(DEVICE, LAYOUT, 1);
//! let mut buffer = [0; Boot::<SoftSha256>::buffer_len_min(&LAYOUT)];
//! let mut disk = Ram([0; 0x1_0000]);
//! let mut machine = Boot::<SoftSha256>::new(&config);
//! let mut event = Event::Start;
//! let proof = loop {
//!     event = match machine.step(event, &mut buffer) {
//!         Action::Io(io) => match carry_out(&io, &mut [&mut disk], &mut buffer) {
//!             Ok(()) => Event::Done,
//!             Err(error) => Event::Failed(error),
//!         },
//!         Action::Reserve { .. } => Event::NoMemory, // a real loader has memory, and answers `Load`
//!         Action::HandOver(proof) => break Some(proof),
//!         Action::Stop => break None,
//!         _ => Event::Failed(DeviceError::Io),
//!     };
//! };
//! assert_eq!(proof, None);
//! for line in &machine.report().lines {
//!     println!("slot {}: {}", line.candidate.slot, line.reason);
//! }
//! ```

mod candidate;
mod floor;
mod hand_over;
mod head;
mod order;
mod placed;
mod rebuild;
mod report;
mod state;

use core::num::NonZeroUsize;

pub use placed::Placed;
pub use report::{Line, Reason, Report};
use state::{Kind, Loading, State};

use crate::area::{Area, Outcome};
use crate::device::DeviceError;
use crate::format::{
    BootProof, Digest, Floor, Manifest, Record, Role, SLOTS_MAX, Slot, SlotKind, SlotState,
    record as record_format,
};
use crate::io::{Io, Step};
use crate::layout::{Layout, Region};
use crate::record::RecordStatus;
use crate::select::{Candidate, CandidateKind, Candidates};
use crate::units::{larger, round};
use crate::verify::{Device, HeadReader, IndexFold, Sha256, SoftSha256, Verified, WINDOW_LEN_MIN};

/// Most bytes that one [`Action::Load`] asks for.
pub const LOAD_LEN_MAX: u32 = 1 << 20;

/// What a loader is built with, and what it knows of this power-on.
// Why: docs/DESIGN.md#why-types-can-grow
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BootConfig<'a> {
    /// Which device this is, and which roots it trusts.
    pub device: Device<'a>,
    /// Where each part is on the devices.
    pub layout: Layout<'a>,
    /// How often a slot that is found without a record may be tried, 1..=15;
    /// [`TRIES_DEFAULT`](record_format::TRIES_DEFAULT).
    pub tries: u8,
    /// A number that no other power-on had: random, or a counter.
    // Why: docs/DESIGN.md#why-nonce-is-an-argument
    pub nonce: u64,
    /// Whether there is a [`RollbackStore`](crate::driver::RollbackStore).
    pub has_store: bool,
    /// Whether components of load class `late` are checked here. False where the stage after the
    /// loader checks them before it uses them.
    pub check_late: bool,
    /// Whether a watchdog ended the power-on before this one.
    pub watchdog_reset: bool,
}

impl<'a> BootConfig<'a> {
    /// A power-on without a store of the floor, and not after a watchdog's reset. Components of
    /// load class `late` are left to the stage after the loader.
    #[must_use]
    pub const fn new(device: Device<'a>, layout: Layout<'a>, nonce: u64) -> Self {
        Self {
            device,
            layout,
            tries: record_format::TRIES_DEFAULT,
            nonce,
            has_store: false,
            check_late: false,
            watchdog_reset: false,
        }
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

    /// The same, stating whether components of load class `late` are
    /// [checked here](Self::check_late).
    #[must_use]
    pub const fn with_check_late(mut self, check_late: bool) -> Self {
        self.check_late = check_late;
        self
    }

    /// The same, stating whether a [watchdog](Self::watchdog_reset) ended the last power-on.
    #[must_use]
    pub const fn with_watchdog_reset(mut self, watchdog_reset: bool) -> Self {
        self.watchdog_reset = watchdog_reset;
        self
    }
}

/// The result of the last action.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'b> {
    /// The first step.
    Start,
    /// The operation succeeded.
    Done,
    /// The device failed.
    Failed(DeviceError),
    /// The bytes that [`Action::Load`] asked for, in the memory from which they are used later.
    Loaded(&'b [u8]),
    /// There is not enough memory for [`Action::Reserve`].
    NoMemory,
    /// What the store holds; `None` if nothing was ever stored.
    Floor(Option<Floor>),
    /// The store failed.
    StoreFailed,
    /// The image that was started returned before any of its own code ran.
    Returned,
    /// The image was not started, and the cause lies with the machine: too little memory, or a
    /// service of the firmware that failed. The slot is not recorded as bad for that.
    NotStarted,
}

/// What to do next. A driver answers an action that it does not know with [`Event::Failed`]; the
/// slot is then skipped.
// Why: docs/DESIGN.md#why-unknown-actions-fail
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Carry out an operation on a device and answer [`Event::Done`] or [`Event::Failed`].
    Io(Io),
    /// Read the floor of slots of this kind from the store; answer [`Event::Floor`] or
    /// [`Event::StoreFailed`].
    ReadFloor(SlotKind),
    /// Raise the floor in the store to this value; answer [`Event::Done`] or
    /// [`Event::StoreFailed`].
    RaiseFloor(SlotKind, Floor),
    /// Provide memory for a component; answer [`Event::Done`] or [`Event::NoMemory`].
    Reserve {
        /// The component's number in the manifest.
        component: usize,
        /// The component's role.
        role: Role,
        /// Bytes needed, rounded up to whole logical blocks.
        len: u64,
        /// This is the first component of its slot. Forget what was loaded from another slot, which
        /// did not verify.
        first: bool,
    },
    /// Forget what was loaded: it belongs to another slot, which did not verify. Answer
    /// [`Event::Done`].
    Forget,
    /// Read into the component's memory; answer [`Event::Loaded`] with those bytes, or
    /// [`Event::Failed`].
    Load {
        /// The component's number in the manifest.
        component: usize,
        /// Number of the device.
        device: u8,
        /// First byte on the device.
        from: u64,
        /// First byte in the component's memory.
        to: u64,
        /// How many bytes.
        len: u32,
    },
    /// Start the slot whose manifest is [`Boot::manifest`], and give it the proof.
    /// [`Boot::placed`] says where its components stand. If its image
    /// returns before its own code ran, step with [`Event::Returned`], or with
    /// [`Event::NotStarted`] if the machine is the cause. If its code ran and came back, reset.
    HandOver(BootProof),
    /// Nothing can be started: show [`Boot::report`]. Boot step 9.
    Stop,
}

/// One power-on.
// The small fields come before the large ones: instructions that reach the first hundred bytes have
// half the length.
#[derive(Debug)]
#[repr(C)]
pub struct Boot<'a, H = SoftSha256> {
    config: &'a BootConfig<'a>,
    next: usize,
    /// Length of the buffer that the caller lends.
    buffer_len: usize,
    /// The candidate at hand. Before the first candidate the value has no meaning.
    current: Candidate,
    /// The record in memory differs from the one on the device.
    dirty: bool,
    /// Slots that are not tried again in this power-on, as bits.
    out: u8,
    /// Slots of which a try was counted in this power-on, as bits.
    counted: u8,
    /// Slots of which a scan could not read every part that it looks at, as bits.
    silent: u8,
    /// A scan found a head that verifies and is for this device.
    any_head: bool,
    /// Nothing was loaded from the candidate yet.
    first_reserve: bool,
    /// Something was loaded from another candidate.
    has_leftovers: bool,
    /// By kind of slot.
    kinds: [Kind; 2],
    state: State,
    loading: Loading,
    /// The candidate's state before a try of it was spent.
    unspent: SlotState,
    candidates: Candidates,
    /// Digest of the first read, where its bytes did not verify and are read once more.
    first_read: Option<Digest>,
    area: Area,
    /// Reads the head of a slot.
    head: HeadReader,
    /// The part of a head that was read to the buffer: first byte, and length.
    window: (usize, usize),
    /// Keyset version and sequence that a scan found, by update slot. The newer one goes first, and
    /// recovery last.
    found: [Option<(u32, u64)>; SLOTS_MAX],
    record: Record,
    fold: IndexFold<H>,
    report: Report,
    manifest: Option<Verified<Manifest>>,
}

impl<'a, H: Sha256> Boot<'a, H> {
    /// A machine that has not started.
    #[must_use]
    pub fn new(config: &'a BootConfig<'a>) -> Self {
        Self {
            config,
            state: State::Start,
            area: Area::new(0),
            head: HeadReader::new(),
            window: (0, 0),
            record: Record::default(),
            dirty: false,
            kinds: [Kind::default(); 2],
            found: [None; SLOTS_MAX],
            candidates: Candidates::new(),
            next: 0,
            out: 0,
            current: Candidate { slot: Slot::A, kind: CandidateKind::LastResort },
            manifest: None,
            loading: Loading { number: 0, ram: false, data: Region::NONE },
            fold: IndexFold::new(0, 1),
            first_read: None,
            first_reserve: true,
            has_leftovers: false,
            counted: 0,
            silent: 0,
            any_head: false,
            unspent: SlotState::Empty,
            buffer_len: 0,
            report: Report::new(),
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs on `layout`. With a larger buffer,
    /// components that are not loaded into memory need fewer reads.
    #[must_use]
    pub const fn buffer_len_min(layout: &Layout<'_>) -> usize {
        let unit = layout.unit();
        // A window of a head starts on a block of the device. The part that is to be read as one
        // may start at the end of that block. A head with few Ed25519 signatures is shorter and
        // takes one read.
        let window = WINDOW_LEN_MIN + larger(unit, 512);
        larger(round(window, unit as u32), Area::buffer_len(layout))
    }

    /// The manifest of the candidate at hand. At hand-over it is the one that was verified.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Verified<Manifest>> {
        self.manifest.as_ref()
    }

    /// The record, with the changes of this power-on.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// What was found, and the reason for each decision.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Takes the result of the last action and gives the next action. `buffer` is at least
    /// [`buffer_len_min`](Self::buffer_len_min) long and keeps its content between a read and the
    /// step after it.
    pub fn step(&mut self, event: Event<'_>, buffer: &mut [u8]) -> Action {
        self.buffer_len = buffer.len();
        match self.state {
            State::Start => self.start(),
            State::ReadRecord | State::Spend | State::Settle | State::SettleEmpty => {
                self.step_record(event, buffer)
            }
            State::ReadFloor(kind) => self.step_read_floor(kind, event),
            State::Scan { at, part, again } => self.step_scan(at, part, again, event, buffer),
            State::Head => self.step_head(event, buffer),
            State::Reserve => match event {
                Event::Done => self.load(0),
                _ => self.skip(Reason::NoMemory),
            },
            State::Load { offset, len } => self.step_load(offset, len, event, buffer),
            State::OtherHead { at, lowest } => self.step_other_head(at, lowest, event, buffer),
            State::RaiseStore(floor) => {
                if !matches!(event, Event::Done) {
                    self.report.store_failed = true;
                }
                self.raise_record(floor)
            }
            State::Forget => self.hand_over(),
            State::HandedOver => self.returned(event),
            State::Stopped => Action::Stop,
        }
    }

    fn start(&mut self) -> Action {
        let needed = Self::buffer_len_min(&self.config.layout);
        if self.buffer_len < needed {
            self.report.buffer_needed = NonZeroUsize::new(needed);
            return self.stop();
        }
        self.state = State::ReadRecord;
        Action::Io(self.area.begin_read(&self.config.layout))
    }

    fn step_record(&mut self, event: Event<'_>, buffer: &mut [u8]) -> Action {
        let result = match event {
            Event::Done => Ok(()),
            Event::Failed(error) => Err(error),
            _ => Err(DeviceError::Io),
        };
        let layout = &self.config.layout;
        let outcome = match self.area.step_record(layout, result, buffer, &mut self.record) {
            Step::Io(io) => return Action::Io(io),
            Step::Done(outcome) => outcome,
        };
        match (self.state, outcome) {
            (State::Spend, Outcome::Written) => {
                self.dirty = false;
                self.counted |= self.current.slot.bit();
                self.read_head()
            }
            // Step 3: a slot whose try cannot be counted is not tried.
            (State::Spend, Outcome::WriteFailed(error)) => {
                self.report.record_write_failed = Some(error);
                // In memory too: the next power-on sees the state that is on the device.
                self.record.body.slot_mut(self.current.slot).state = self.unspent;
                self.skip_for_now(Reason::NotCounted(error))
            }
            (State::Settle, Outcome::Written) => {
                self.dirty = false;
                self.hand_over()
            }
            (State::Settle, Outcome::WriteFailed(error)) => {
                // A good slot is started all the same. The next power-on makes the change again.
                self.report.record_write_failed = Some(error);
                self.hand_over()
            }
            (State::SettleEmpty, Outcome::WriteFailed(error)) => {
                self.report.record_write_failed = Some(error);
                self.stop()
            }
            (_, Outcome::Read(choice)) => {
                self.report.record = choice;
                self.read_floor(SlotKind::Update)
            }
            (_, Outcome::Written | Outcome::WriteFailed(_)) => self.stop(),
        }
    }

    fn read_floor(&mut self, kind: SlotKind) -> Action {
        if self.config.has_store {
            self.state = State::ReadFloor(kind);
            return Action::ReadFloor(kind);
        }
        self.begin()
    }

    #[inline(never)]
    fn step_read_floor(&mut self, kind: SlotKind, event: Event<'_>) -> Action {
        match event {
            Event::Floor(floor) => self.kinds[kind as usize].store = floor.unwrap_or_default(),
            // A store that fails must not be read as floor zero.
            _ => self.report.store_failed = true,
        }
        match kind {
            SlotKind::Update => self.read_floor(SlotKind::Recovery),
            SlotKind::Recovery => self.begin(),
        }
    }

    // Why: docs/DESIGN.md#why-later-record-stops-writes
    /// The slot of number `at` in the layout: numbers come from counting its slots.
    #[inline(never)]
    fn slot_at(&self, at: usize) -> Slot {
        self.config.layout.slots()[at].slot
    }

    fn read_only(&self) -> bool {
        self.report.record == RecordStatus::Newer
    }

    fn write_record(&mut self, state: State) -> Action {
        self.state = state;
        Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, false))
    }

    fn line(&mut self, reason: Reason) {
        // When the report is full, new lines are dropped: the oldest lines matter most.
        let _ = self.report.lines.push(Line::new(self.current, reason));
    }

    fn stop(&mut self) -> Action {
        self.state = State::Stopped;
        Action::Stop
    }
}
