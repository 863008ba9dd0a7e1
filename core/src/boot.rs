//! The machine of one power-on: events in, actions out, no I/O.
//!
//! Call [`Boot::step`] with [`Event::Start`] and carry out the [`Action`] it returns. Step again
//! with the result of that action, until the machine hands over or stops.
//! [`driver::boot`](crate::driver::boot) is that loop for blocking devices. An asynchronous loader
//! writes the same loop with its own I/O.
//!
//! The step numbers are those of `docs/BOOT_PROTOCOL.md`.

use heapless::Vec;

use crate::area::{Area, MarkAt, Outcome};
use crate::canary::Canary;
use crate::device::DeviceError;
use crate::format::{
    BootProof, Component, Digest, Fault, Floor, FormatError, Load, Manifest, Mark, MarkKind,
    Record, Role, SLOTS_MAX, Slot, SlotEntry, SlotKind, SlotState, mark, record as record_format,
};
use crate::io::{Io, Step};
use crate::layout::{Layout, LayoutError, Region, SlotLayout};
use crate::record::RecordStatus;
use crate::select::{Candidate, CandidateKind, Candidates, RecordOrigin, candidates};
use crate::units::{round, round_down, round_u64};
use crate::verify::{
    self, ClassError, Device, HeadReader, IndexFold, Progress, Sha256, SoftSha256, TrustError,
    Verified, WINDOW_LEN_MIN, check_class, digest_of,
};

/// Most bytes that one [`Action::Load`] asks for.
pub const LOAD_LEN_MAX: u32 = 1 << 20;

/// What a loader is built with, and what it knows of this power-on.
#[derive(Clone, Copy, Debug)]
pub struct BootConfig<'a> {
    /// Which device this is, and which roots it trusts.
    pub device: Device<'a>,
    /// Where each part is on the devices.
    pub layout: Layout<'a>,
    /// How often a slot that is found without a record may be tried, 1..=15.
    pub tries: u8,
    /// A number that no other power-on had: random, or a counter.
    pub nonce: u64,
    /// Whether there is a [`RollbackStore`](crate::driver::RollbackStore).
    pub has_store: bool,
    /// Whether components of load class `late` are checked here. False where the stage after the
    /// loader checks them before it uses them.
    pub check_late: bool,
    /// Whether a watchdog ended the power-on before this one.
    pub watchdog_reset: bool,
}

/// The result of the last action.
#[derive(Clone, Copy, Debug)]
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

/// What to do next.
#[derive(Clone, Debug)]
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
    /// Start the slot whose manifest is [`Boot::manifest`], and give it the proof. If its image
    /// returns before its own code ran, step with [`Event::Returned`], or with
    /// [`Event::NotStarted`] if the machine is the cause. If its code ran and came back, reset.
    HandOver(BootProof),
    /// Nothing can be started: show [`Boot::report`]. Boot step 9.
    Stop,
}

/// Why a candidate was not started, or that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// It was started.
    Started,
    /// A device failed. Nothing is recorded, because the read may succeed at the next power-on.
    Device(DeviceError),
    /// Two reads of the same bytes differed.
    Unstable,
    /// Its head does not verify.
    Trust(TrustError),
    /// It is for another device.
    Class(ClassError),
    /// It is below the floor that the store keeps.
    BelowStoreFloor {
        /// The floor of this candidate.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// It is below the floor that the record keeps.
    BelowRecordFloor {
        /// The floor of this candidate.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// The slot holds another manifest than the record says, so its recorded state does not apply.
    OtherManifest,
    /// A component's bytes do not match the manifest.
    Corrupt {
        /// The component's role.
        role: Role,
    },
    /// There was not enough memory.
    NoMemory,
    /// The try could not be counted, so the slot was not started.
    NotCounted(DeviceError),
    /// A later version of this software keeps the record. The record is not written, so there is no
    /// trial.
    NewerRecord,
    /// The store failed, so no slot is started that is not confirmed.
    StoreFailed,
    /// The image returned instead of running.
    Returned,
    /// The machine could not start the image.
    NotStarted,
    /// The manifest does not fit the layout.
    Layout(LayoutError),
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Device(error) => write!(f, "skipped this time: {error}"),
            Self::Unstable => f.write_str("skipped this time: two reads of it differed"),
            Self::Trust(error) => write!(f, "not trusted: {error}"),
            Self::Class(error) => write!(f, "refused: {error}"),
            Self::BelowStoreFloor { found, floor } | Self::BelowRecordFloor { found, floor } => {
                write!(
                    f,
                    "refused: keyset {} level {} is below the floor, keyset {} level {}",
                    found.keyset_version, found.level, floor.keyset_version, floor.level
                )
            }
            Self::OtherManifest => {
                f.write_str("holds another manifest than the record says: kept for last")
            }
            Self::Corrupt { role } => write!(f, "corrupt: the {role} does not match the manifest"),
            Self::NoMemory => f.write_str("skipped this time: not enough memory"),
            Self::NotCounted(error) => {
                write!(f, "not tried, for the try could not be counted: {error}")
            }
            Self::NewerRecord => {
                f.write_str("not tried: a newer version of this software keeps the boot record")
            }
            Self::StoreFailed => f.write_str("not tried: the store of the floor failed"),
            Self::Returned => f.write_str("its image returned instead of running"),
            Self::NotStarted => f.write_str("skipped this time: the machine could not start it"),
            Self::Layout(error) => write!(f, "refused: {error}"),
        }
    }
}

/// One line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Line {
    /// The candidate.
    pub candidate: Candidate,
    /// What happened to the candidate.
    pub reason: Reason,
}

/// What a power-on found, and the reason for each decision.
#[derive(Clone, Debug)]
pub struct Report {
    /// How the record was found.
    pub record: RecordStatus,
    /// Every candidate that was looked at, in order.
    pub lines: Vec<Line, { 3 * SLOTS_MAX }>,
    /// A recorded floor that nothing on the device reaches was ignored.
    pub floor_ignored: bool,
    /// The store of the floor failed.
    pub store_failed: bool,
    /// The record should have been written before hand-over and could not be.
    pub record_write_failed: Option<DeviceError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
enum ScanPart {
    Head,
    Commit,
    Confirmed,
}

/// The component that is being verified.
#[derive(Clone, Copy, Debug)]
struct Loading {
    number: usize,
    /// It is loaded to memory of its own, not through the buffer.
    ram: bool,
    /// Its region, in whole blocks of the device.
    data: Region,
}

/// What this power-on learned of the slots of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// What the store holds.
    store: Floor,
    /// Slots whose head reaches the record's floor and which were not found corrupt, as bits.
    reaches: u8,
    /// The record's floor is above everything on the device and is ignored.
    ignore_floor: bool,
    /// A candidate was refused only because of the record's floor.
    refused_by_floor: bool,
    /// Slots whose head could not be read, as bits. The floor that they reach is not known.
    unseen: u8,
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
            report: Report {
                record: RecordStatus::Factory,
                lines: Vec::new(),
                floor_ignored: false,
                store_failed: false,
                record_write_failed: None,
            },
        }
    }

    /// Bytes of buffer that [`step`](Self::step) needs on `layout`. With a larger buffer,
    /// components that are not loaded into memory need fewer reads.
    #[must_use]
    pub fn buffer_len_min(layout: &Layout<'_>) -> usize {
        let unit = layout.unit();
        // A window of a head starts on a block of the device. The part that is to be read as one
        // may start at the end of that block. A head with few Ed25519 signatures is shorter and
        // takes one read.
        let window = WINDOW_LEN_MIN + unit.max(512);
        round(window, unit as u32).max(Area::buffer_len(layout))
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
            State::Start if buffer.len() < Self::buffer_len_min(&self.config.layout) => self.stop(),
            State::Start => {
                self.state = State::ReadRecord;
                Action::Io(self.area.begin_read(&self.config.layout))
            }
            State::ReadRecord | State::Spend | State::Settle | State::SettleEmpty => {
                self.step_record(event, buffer)
            }
            State::ReadFloor(kind) => {
                match event {
                    Event::Floor(floor) => {
                        self.kinds[kind as usize].store = floor.unwrap_or_default()
                    }
                    // A store that fails must not be read as floor zero.
                    _ => self.report.store_failed = true,
                }
                match kind {
                    SlotKind::Update => self.read_floor(SlotKind::Recovery),
                    SlotKind::Recovery => self.begin(),
                }
            }
            State::Scan { at, part, again: false } if matches!(event, Event::Failed(_)) => {
                self.scan_part(at, part, true)
            }
            State::Scan { at, part, .. } => self.step_scan(at, part, event, buffer),
            State::Head => self.step_head(event, buffer),
            State::Reserve => match event {
                Event::Done => self.load(0),
                _ => self.skip(Reason::NoMemory),
            },
            State::Load { offset, len } => {
                match event {
                    Event::Loaded(bytes) if bytes.len() == len as usize => self.fold.bytes(bytes),
                    Event::Done => self.fold.bytes(&buffer[..len as usize]),
                    Event::Failed(error) => return self.skip(Reason::Device(error)),
                    _ => return self.skip(Reason::NoMemory),
                }
                self.load(offset + u64::from(len))
            }
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

    /// Step 1 is done: make the order, from the record or from the slots' headers.
    fn begin(&mut self) -> Action {
        match self.report.record {
            RecordStatus::Current { .. } => {
                let trying = |entry: &SlotEntry| matches!(entry.state, SlotState::Trying { .. });
                let trial = self.record.body.slots.iter().any(trying);
                self.dirty = self.record.body.expire_trials();
                self.order(RecordOrigin::Read);
                // If no slot was on trial, the first candidate is the one that hung.
                if self.config.watchdog_reset
                    && !trial
                    && let Some(first) = self.candidates.first().copied()
                    && self.record.body.hung(first)
                {
                    self.dirty = true;
                    self.order(RecordOrigin::Read);
                }
                self.next_candidate()
            }
            RecordStatus::Factory | RecordStatus::Lost | RecordStatus::Newer => self.scan(0),
        }
    }

    fn order(&mut self, origin: RecordOrigin) {
        let layout = &self.config.layout;
        self.candidates = candidates(&self.record.body, origin, |slot| layout.has(slot));
        self.next = 0;
    }

    fn read_only(&self) -> bool {
        self.report.record == RecordStatus::Newer
    }

    // Rebuilding the record from the slots' headers.

    fn scan(&mut self, at: usize) -> Action {
        match self.config.layout.slots().get(at) {
            Some(_) => self.scan_part(at, ScanPart::Head, false),
            None => {
                self.conclude_scan();
                self.order(RecordOrigin::Rebuilt);
                self.next_candidate()
            }
        }
    }

    fn scan_part(&mut self, at: usize, part: ScanPart, again: bool) -> Action {
        let slot = self.config.layout.slots()[at].slot;
        self.state = State::Scan { at, part, again };
        let kind = match part {
            ScanPart::Head => {
                self.head.restart(&self.config.device);
                // A log without a head of this slot has nothing to look at.
                return self.read_window(slot, 0, 1).unwrap_or_else(|| self.scan(at + 1));
            }
            ScanPart::Commit => MarkKind::Committed,
            ScanPart::Confirmed => MarkKind::Confirmed,
        };
        let layout = &self.config.layout;
        match self.area.mark(layout, slot, kind) {
            Some(MarkAt::Region(region)) => {
                Action::Io(Io::read(layout.geometry(region.device), region, mark::LEN, 0))
            }
            #[cfg(feature = "log")]
            Some(MarkAt::Known(is_marked)) => self.scanned(at, part, is_marked),
            // Only slots of the layout are ever looked at.
            None => self.scan(at + 1),
        }
    }

    /// Reads the head of `slot` from byte `from` on, at least `len` bytes of it. `None` where the
    /// head does not reach that far.
    fn read_window(&mut self, slot: Slot, from: usize, len: usize) -> Option<Action> {
        let layout = &self.config.layout;
        let region = self.area.head(layout, slot)?;
        let geometry = layout.geometry(region.device);
        let start = round_down(from as u64, geometry.logical_block_bytes) as usize;
        let most = round_down(self.buffer_len as u64, geometry.logical_block_bytes);
        let there = region.len.saturating_sub(start as u64).min(most) as usize;
        if there < from - start + len {
            return None;
        }
        self.window = (start, there);
        let place = Region { offset: region.offset + start as u64, ..region };
        Some(Action::Io(Io::read(geometry, place, there, 0)))
    }

    /// Takes the window of the head of `slot` that was read. Gives the place in it where the
    /// manifest's payload starts, or the next action to read on, or the reason why the head is not
    /// trusted.
    fn take_window(
        &mut self,
        slot: Slot,
        buffer: &[u8],
    ) -> Result<Result<usize, Action>, TrustError> {
        let (from, len) = self.window;
        let window = &buffer[..len];
        let device = &self.config.device;
        match self.head.take::<H>(device, slot.kind(), window, from)? {
            Progress::Done { payload, .. } => Ok(Ok(payload)),
            Progress::More { from, len } => match self.read_window(slot, from, len) {
                Some(action) => Ok(Err(action)),
                None => Err(self.head.format_error(FormatError::Short)),
            },
        }
    }

    fn step_scan(&mut self, at: usize, part: ScanPart, event: Event<'_>, buffer: &[u8]) -> Action {
        let slot = self.config.layout.slots()[at].slot;
        let read = matches!(event, Event::Done);
        if !read {
            self.silent |= slot.bit();
        }
        let kind = match part {
            ScanPart::Head => {
                if !read {
                    return self.scan(at + 1);
                }
                return match self.verify(slot, buffer) {
                    Ok(Err(action)) => action,
                    Ok(Ok(Ok(()))) => {
                        self.any_head = true;
                        self.scan_part(at, ScanPart::Commit, false)
                    }
                    Ok(Ok(Err(_))) | Err(_) => self.scan(at + 1),
                };
            }
            ScanPart::Commit => MarkKind::Committed,
            ScanPart::Confirmed => MarkKind::Confirmed,
        };
        let is_marked = read
            && self.manifest.as_ref().is_some_and(|manifest| {
                Mark::parse(kind, buffer).is_ok_and(|mark| mark.digest == *manifest.digest())
            });
        self.scanned(at, part, is_marked)
    }

    /// Goes on after it is known whether slot number `at` of the layout has the mark of `part`.
    fn scanned(&mut self, at: usize, part: ScanPart, is_marked: bool) -> Action {
        let slot = self.config.layout.slots()[at].slot;
        match (part, &self.manifest) {
            (ScanPart::Commit, Some(_)) if is_marked => {
                self.scan_part(at, ScanPart::Confirmed, false)
            }
            (ScanPart::Confirmed, Some(manifest)) => {
                self.record.body.found(slot, manifest, is_marked, self.config.tries);
                if slot.kind() == SlotKind::Update {
                    self.found[slot as usize] = Some(manifest.order());
                }
                self.scan(at + 1)
            }
            _ => self.scan(at + 1),
        }
    }

    /// Sets what follows from all headers together: priorities, floors, data epoch.
    fn conclude_scan(&mut self) {
        let found = self.found;
        let body = &mut self.record.body;
        for slot in Slot::ALL {
            // How many go after this slot: older ones, and among equally old ones those of a higher
            // number.
            let after =
                |other: &Slot| (found[*other as usize], slot) < (found[slot as usize], *other);
            body.slot_mut(slot).priority =
                Slot::ALL.iter().filter(|other| after(other)).count() as u8;
        }
        body.note_unread(self.silent);
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            if let Some(floor) = lowest_good(body, kind, &self.config.layout) {
                *body.floor_of_mut(kind) = floor;
            }
        }
        for slot in Slot::ALL {
            let entry = body.slot(slot);
            if slot.kind() == SlotKind::Update && entry.state == SlotState::Good {
                let writes = entry.epochs.writes;
                body.data_epoch = body.data_epoch.max(writes);
            }
        }
        body.retire_unreadable(None);
        self.dirty = !self.read_only();
    }

    // One candidate after the other.

    fn next_candidate(&mut self) -> Action {
        self.manifest = None;
        self.has_leftovers |= !core::mem::replace(&mut self.first_reserve, true);
        while let Some(candidate) = self.candidates.get(self.next).copied() {
            self.next += 1;
            if self.out & candidate.slot.bit() != 0 {
                continue;
            }
            self.current = candidate;
            match candidate.kind {
                CandidateKind::Trial => {
                    if self.read_only() {
                        self.line(Reason::NewerRecord);
                        continue;
                    }
                    if self.report.store_failed {
                        self.line(Reason::StoreFailed);
                        continue;
                    }
                    // Looked at again after a false floor was ignored: the try is counted already.
                    if self.counted & candidate.slot.bit() != 0 {
                        return self.read_head();
                    }
                    self.unspent = self.record.body.slot(candidate.slot).state;
                    if self.record.body.spend_try(candidate.slot, self.config.nonce).is_none() {
                        continue;
                    }
                    if Canary::CountsAfterStart.is_on() {
                        return self.read_head();
                    }
                    return self.write_record(State::Spend);
                }
                // When the store fails, only a slot that is good already may run.
                CandidateKind::LastResort
                    if self.report.store_failed
                        && self.record.body.slot(candidate.slot).state != SlotState::Good =>
                {
                    self.line(Reason::StoreFailed);
                }
                CandidateKind::Good
                | CandidateKind::Suspect
                | CandidateKind::Recovery
                | CandidateKind::LastResort => {
                    return self.read_head();
                }
            }
        }
        // If no intact slot on the device reaches the floor, the floor came from damage, or the
        // slot that reached it is destroyed. Obeying that floor would let one bad write stop the
        // device for good.
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            let seen = &mut self.kinds[kind as usize];
            if seen.refused_by_floor
                && !self.report.store_failed
                && seen.unseen == 0
                && !seen.ignore_floor
                && seen.reaches == 0
            {
                seen.ignore_floor = true;
                self.report.floor_ignored = true;
                self.next = 0;
                return self.next_candidate();
            }
        }
        let write = match self.report.record {
            // A slot that was found bad is noted. Otherwise an installation would keep it as the
            // good slot.
            RecordStatus::Current { .. } => self.dirty,
            RecordStatus::Factory if !self.any_head => false,
            // All copies are lost or wiped, and nothing can be started. Without a record nothing
            // could be installed either. A slot that could not be read may be readable the next
            // time, so it must not be the first to be overwritten.
            RecordStatus::Lost | RecordStatus::Factory => {
                let unseen = self.silent | self.kinds[0].unseen | self.kinds[1].unseen;
                self.record.body.keep_unread(unseen);
                self.dirty && !(Canary::UnreadEndsUpdates.is_on() && unseen != 0)
            }
            RecordStatus::Newer => false,
        };
        if write { self.write_record(State::SettleEmpty) } else { self.stop() }
    }

    fn write_record(&mut self, state: State) -> Action {
        self.state = state;
        Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, false))
    }

    fn read_head(&mut self) -> Action {
        self.first_read = None;
        self.read_head_again()
    }

    fn read_head_again(&mut self) -> Action {
        self.state = State::Head;
        self.head.restart(&self.config.device);
        match self.read_window(self.current.slot, 0, 1) {
            Some(action) => action,
            // A second read of the log cannot help: a head without an entry is not there. Condemn
            // at once.
            None => self.condemn(Reason::Trust(TrustError::Manifest(FormatError::Short))),
        }
    }

    fn step_head(&mut self, event: Event<'_>, buffer: &[u8]) -> Action {
        let Candidate { slot, kind: candidate_kind } = self.current;
        if let Event::Failed(error) = event {
            if Canary::ReadErrorStops.is_on() {
                return self.stop();
            }
            if Canary::ReadErrorIsBad.is_on() {
                return self.condemn(Reason::Device(error));
            }
            if Canary::ReadErrorHolds.is_on() {
                self.record.body.slot_mut(slot).held = true;
                self.dirty = true;
            }
            return self.unread(Reason::Device(error));
        }
        let class = match self.verify(slot, buffer) {
            Ok(Err(action)) => return action,
            Ok(Ok(class)) => class,
            Err(error) => {
                return match self.compare(&digest_of::<H>(&buffer[..self.window.1])) {
                    None => self.read_head_again(),
                    Some(true) => self.condemn(Reason::Trust(error)),
                    Some(false) => self.unread(Reason::Unstable),
                };
            }
        };
        if let Err(error) = class {
            return self.skip(Reason::Class(error));
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        // A head with no component for this slot would "verify" without a byte being checked.
        let checked = |c: &Component| c.load != Load::Late || self.config.check_late;
        let fits = self.config.layout.check_fit(slot, manifest).and_then(|()| {
            let any = manifest.components_of(slot).any(|(_, component)| checked(component));
            if any { Ok(()) } else { Err(LayoutError::NothingForSlot) }
        });
        if let Err(error) = fits {
            return self.skip(Reason::Layout(error));
        }
        let kind = slot.kind();
        let seen = &mut self.kinds[kind as usize];
        let found = manifest.floor();
        let floor = seen.store;
        if found < floor {
            return self.skip(Reason::BelowStoreFloor { found, floor });
        }
        let floor = self.record.body.floor_of(kind);
        if found < floor && !seen.ignore_floor {
            seen.refused_by_floor = true;
            return self.skip_for_now(Reason::BelowRecordFloor { found, floor });
        }
        if found >= floor {
            seen.reaches |= slot.bit();
        }
        // The recorded state belongs to a manifest, not to the slot that holds it.
        let other = self.record.body.slot(slot).digest != *manifest.digest();
        if candidate_kind != CandidateKind::LastResort && other && !Canary::StateOfAnother.is_on() {
            return self.skip_for_now(Reason::OtherManifest);
        }
        self.component(0)
    }

    /// Verifies the head of `slot` that is in the buffer, and makes its manifest the one at hand.
    /// The result says whether the manifest is for this device, or which action reads more of the
    /// head. The error says why the head is not trusted.
    fn verify(
        &mut self,
        slot: Slot,
        buffer: &[u8],
    ) -> Result<Result<Result<(), ClassError>, Action>, TrustError> {
        let payload = match self.take_window(slot, buffer)? {
            Ok(payload) => payload,
            Err(action) => return Ok(Err(action)),
        };
        let device = &self.config.device;
        self.head.manifest(device, &buffer[..self.window.1], payload, &mut self.manifest)?;
        Ok(Ok(self.manifest.as_ref().map_or(Ok(()), |manifest| check_class(device, manifest))))
    }

    /// Goes on with the first component from number `from` on that is to be checked here.
    fn component(&mut self, from: usize) -> Action {
        let Some(manifest) = &self.manifest else { return self.stop() };
        let slot = self.current.slot;
        let late = self.config.check_late;
        let next = manifest
            .components_of(slot)
            .find(|(number, c)| *number >= from && (c.load != Load::Late || late));
        let Some((number, component)) = next else { return self.verified() };
        let mut data = match self.config.layout.component(slot, manifest, number) {
            Ok(data) => data,
            Err(error) => return self.skip(Reason::Layout(error)),
        };
        let unit = self.config.layout.geometry(data.device).logical_block_bytes;
        data.len = round_u64(component.length, unit);
        let (role, ram) = (component.role, component.load == Load::Ram);
        self.fold.restart(component.length, manifest.chunk_size);
        self.loading = Loading { number, ram, data };
        self.first_read = None;
        if ram {
            self.state = State::Reserve;
            let first = core::mem::replace(&mut self.first_reserve, false);
            self.has_leftovers = false;
            return Action::Reserve { component: number, role, len: data.len, first };
        }
        self.load(0)
    }

    /// Reads on in the component at `offset`, or finishes it.
    fn load(&mut self, offset: u64) -> Action {
        let Loading { number, ram, data, .. } = self.loading;
        let left = data.len.saturating_sub(offset);
        if left > 0 {
            let unit = self.config.layout.unit() as u32;
            let most = if ram {
                LOAD_LEN_MAX
            } else {
                (self.buffer_len.min(LOAD_LEN_MAX as usize) as u32) & !(unit - 1)
            };
            let len = left.min(most.into()) as u32;
            self.state = State::Load { offset, len };
            let (device, from) = (data.device, data.offset + offset);
            return if ram {
                Action::Load { component: number, device, from, to: offset, len }
            } else {
                Action::Io(Io::Read { device, offset: from, range: 0..len as usize })
            };
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        let component = &manifest.components[number];
        let root = self.fold.root();
        if root == component.index_root {
            return self.component(number + 1);
        }
        let role = component.role;
        self.fold.restart(component.length, manifest.chunk_size);
        match self.compare(&root) {
            None => self.load(0),
            Some(true) => self.condemn(Reason::Corrupt { role }),
            Some(false) => self.skip(Reason::Unstable),
        }
    }

    /// Step 4: only two identical reads that fail condemn a slot. `digest` is of bytes that were
    /// read and do not verify. Returns whether the first read had the same digest; `None` if this
    /// is the first.
    #[inline(never)]
    fn compare(&mut self, digest: &Digest) -> Option<bool> {
        let same = self.first_read.as_ref().map(|first| first == digest);
        if same.is_none() {
            self.first_read = Some(*digest);
        }
        same
    }

    /// The candidate verified in full: write the record if needed and hand over.
    fn verified(&mut self) -> Action {
        let Some(manifest) = &self.manifest else { return self.stop() };
        let Candidate { slot, kind } = self.current;
        match kind {
            CandidateKind::Trial => self.hand_over(),
            CandidateKind::LastResort => {
                self.record.body.last_resort(slot, manifest, self.config.nonce);
                self.dirty = !self.read_only();
                self.settle()
            }
            CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery => {
                if Canary::CountsGoodSlots.is_on() {
                    let left = self.config.tries.saturating_sub(1);
                    let trying = SlotState::Trying { left, attempt: 1, nonce: self.config.nonce };
                    self.record.body.slot_mut(slot).state = trying;
                    self.dirty = true;
                }
                self.consider_floor()
            }
        }
    }

    /// Step 8: may the floor rise to the lowest floor of the good slots?
    fn consider_floor(&mut self) -> Action {
        let slot = self.current.slot;
        let Some(manifest) = &self.manifest else { return self.stop() };
        let kind = slot.kind();
        let body = &self.record.body;
        let hint = lowest_good(body, kind, &self.config.layout).unwrap_or_default();
        let seen = &self.kinds[kind as usize];
        let store = if self.config.has_store { seen.store } else { hint };
        let wanted = hint > store || hint > body.floor_of(kind) || seen.ignore_floor;
        if !wanted || self.read_only() || self.report.store_failed {
            return self.settle();
        }
        let lowest = manifest.floor();
        self.other_head(0, lowest)
    }

    /// Reads the head of the next good slot of the same kind, from number `at` on.
    fn other_head(&mut self, mut at: usize, lowest: Floor) -> Action {
        let slot = self.current.slot;
        while let Some(layout) = self.config.layout.slots().get(at) {
            let other = layout.slot;
            if other != slot
                && other.kind() == slot.kind()
                && self.record.body.slot(other).state == SlotState::Good
            {
                self.state = State::OtherHead { at, lowest };
                self.head.restart(&self.config.device);
                // A good slot without a head may be the lowest: the floor is not raised.
                return self.read_window(other, 0, 1).unwrap_or_else(|| self.settle());
            }
            at += 1;
        }
        self.raise(lowest)
    }

    fn step_other_head(
        &mut self,
        at: usize,
        lowest: Floor,
        event: Event<'_>,
        buffer: &[u8],
    ) -> Action {
        let slot = self.config.layout.slots()[at].slot;
        if let Event::Done = event
            && let Ok(taken) = self.take_window(slot, buffer)
        {
            let payload = match taken {
                Ok(payload) => payload,
                Err(action) => return action,
            };
            let window = &buffer[..self.window.1];
            if let Ok((digest, floor)) = self.head.identity(&self.config.device, window, payload)
                && digest == self.record.body.slot(slot).digest
            {
                return self.other_head(at + 1, lowest.min(floor));
            }
        }
        // A good slot that cannot be read may be the lowest: the floor is not raised.
        self.settle()
    }

    fn raise(&mut self, floor: Floor) -> Action {
        let slot = self.current.slot;
        let kind = slot.kind();
        if self.config.has_store && floor > self.kinds[kind as usize].store {
            self.state = State::RaiseStore(floor);
            return Action::RaiseFloor(kind, floor);
        }
        self.raise_record(floor)
    }

    fn raise_record(&mut self, floor: Floor) -> Action {
        if Canary::FloorStays.is_on() {
            return self.settle();
        }
        let slot = self.current.slot;
        let kind = slot.kind();
        let seen = &self.kinds[kind as usize];
        let recorded = self.record.body.floor_of_mut(kind);
        // A recorded floor that was found to be false is corrected, never below the store's.
        if floor > *recorded || seen.ignore_floor {
            *recorded = floor.max(seen.store);
            self.dirty = true;
        }
        self.settle()
    }

    fn settle(&mut self) -> Action {
        if self.dirty && !self.read_only() {
            return self.write_record(State::Settle);
        }
        self.hand_over()
    }

    /// Step 6.
    fn hand_over(&mut self) -> Action {
        // A slot that loads nothing must not start with data that was loaded from another slot.
        if core::mem::take(&mut self.has_leftovers) {
            self.state = State::Forget;
            return Action::Forget;
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        let Candidate { slot, kind } = self.current;
        let (attempt, nonce) = match (kind, self.record.body.slot(slot).state) {
            (
                CandidateKind::Trial | CandidateKind::LastResort,
                SlotState::Trying { attempt, nonce, .. },
            ) => (attempt, nonce),
            _ => (0, 0),
        };
        let proof = BootProof {
            slot,
            digest: *manifest.digest(),
            attempt,
            nonce,
            keyset_version: manifest.keyset_version(),
            record_version: record_format::VERSION,
            manifest_schema: verify::MANIFEST_SCHEMA,
        };
        self.line(Reason::Started);
        self.state = State::HandedOver;
        Action::HandOver(proof)
    }

    /// Step 7.
    fn returned(&mut self, event: Event<'_>) -> Action {
        // The line that said "started" is replaced, so that the report has one line for this start.
        if self.report.lines.last().is_some_and(|line| line.reason == Reason::Started) {
            self.report.lines.pop();
        }
        if matches!(event, Event::NotStarted) {
            return self.skip(Reason::NotStarted);
        }
        if let Candidate { slot, kind: CandidateKind::Trial } = self.current {
            self.record.body.fail(slot, Fault::Returned);
            self.dirty = true;
        }
        self.skip(Reason::Returned)
    }

    /// The slot is out for this power-on, because its head could not be read.
    fn unread(&mut self, reason: Reason) -> Action {
        let slot = self.current.slot;
        self.kinds[slot.kind() as usize].unseen |= slot.bit();
        self.skip(reason)
    }

    /// The slot is not tried again in this power-on, and nothing is recorded about it.
    fn skip(&mut self, reason: Reason) -> Action {
        self.out |= self.current.slot.bit();
        self.skip_for_now(reason)
    }

    /// The slot is not started under this kind. It may be a candidate again under a later kind.
    fn skip_for_now(&mut self, reason: Reason) -> Action {
        self.line(reason);
        self.next_candidate()
    }

    /// Two identical reads failed to verify.
    fn condemn(&mut self, reason: Reason) -> Action {
        let Candidate { slot, kind } = self.current;
        // A slot on last resort is recorded as bad too, if the record counts on it. Otherwise an
        // installation would keep that slot, and nothing could be installed any more. A slot that
        // is being written keeps its state, so that its installation can be resumed.
        let counts_on = match self.record.body.slot(slot).state {
            SlotState::Good | SlotState::Ready { .. } | SlotState::Trying { .. } => true,
            SlotState::Empty | SlotState::Writing | SlotState::Bad { .. } => false,
        };
        if kind != CandidateKind::LastResort || counts_on && !Canary::LastResortNotesNothing.is_on()
        {
            self.record.body.fail(slot, Fault::Corrupt);
            self.dirty = true;
        }
        self.kinds[slot.kind() as usize].reaches &= !slot.bit();
        self.skip(reason)
    }

    fn line(&mut self, reason: Reason) {
        // When the report is full, new lines are dropped: the oldest lines matter most.
        let _ = self.report.lines.push(Line { candidate: self.current, reason });
    }

    fn stop(&mut self) -> Action {
        self.state = State::Stopped;
        Action::Stop
    }
}

/// The lowest floor among the recorded good slots of `kind` that the device has.
#[inline(never)]
fn lowest_good(body: &record_format::Body, kind: SlotKind, layout: &Layout<'_>) -> Option<Floor> {
    let mut lowest = None;
    for SlotLayout { slot, .. } in layout.slots() {
        let entry = body.slot(*slot);
        if slot.kind() == kind && entry.state == SlotState::Good {
            lowest = Some(lowest.map_or(entry.floor, |lowest: Floor| lowest.min(entry.floor)));
        }
    }
    lowest
}
