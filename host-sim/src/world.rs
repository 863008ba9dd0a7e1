//! A device that is powered on, runs, updates itself and loses its power: the real core on
//! simulated disks.

use std::collections::BTreeMap;
use std::ops::Range;

use stillboot::boot::{Boot, BootConfig, Event, Placed, Report};
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver::{InstallHost, Memory, RollbackStore, Source, SourceError, StoreError};
use stillboot::format::record::LEN_MAX;
use stillboot::format::{BootProof, Floor, Manifest, Record, Role, Slot, SlotKind, Statement};
use stillboot::install::{
    Install, InstallConfig, InstallError, Installed, Permission, Running, Update,
};
use stillboot::layout::{Area, Layout, LayoutError, Region, SlotLayout, SlotRegion};
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::{Answer, Perform, Request, RequestError};
use stillboot::verify::{Device, SoftSha256, Verified};
use stillboot_policy::{self as policy, Clock, Facts, Policy, Verdict};

use crate::driver;

/// Where everything stands on a simulated device.
#[derive(Clone, Debug)]
pub struct DeviceMap {
    geometries: Vec<Geometry>,
    /// Places of the record, or blocks of the log.
    places: Vec<Region>,
    is_log: bool,
    slots: Vec<SlotMap>,
}

/// Where one slot stands.
#[derive(Clone, Debug)]
struct SlotMap {
    slot: Slot,
    head: Option<Region>,
    index: Option<Region>,
    regions: Vec<SlotRegion>,
}

/// Longest head of a slot in the simulator, in bytes.
const HEAD_LEN: u64 = 2048;

/// Places of the record, or blocks of a log.
const PLACES: u64 = 3;

impl DeviceMap {
    /// The record in three places at the start of one device, then `slots`, each of `slot_bytes` with
    /// its head at the end. The device's capacity is made to fit.
    #[must_use]
    pub fn new(mut geometry: Geometry, slots: &[Slot], slot_bytes: u64) -> Self {
        let block = u64::from(geometry.erase_block_bytes);
        let copy = (LEN_MAX as u64).next_multiple_of(block);
        let region = |offset, len| Region { device: 0, offset, len };
        let slot_bytes = slot_bytes.next_multiple_of(block);
        let head = HEAD_LEN.next_multiple_of(block) + 2 * block;
        let mut at = PLACES * copy;
        let mut placed = Vec::new();
        for slot in slots {
            let data = slot_bytes - head;
            placed.push(SlotMap {
                slot: *slot,
                head: Some(region(at + data, head)),
                index: None,
                regions: vec![SlotRegion { region: region(at, data), roles: &[] }],
            });
            at += slot_bytes;
        }
        geometry.capacity_bytes = at;
        Self {
            geometries: vec![geometry],
            places: (0..PLACES).map(|number| region(number * copy, copy)).collect(),
            is_log: false,
            slots: placed,
        }
    }

    /// A log in `blocks` blocks of `log_bytes` at the start of one device, then `slots`, each of
    /// `slot_bytes`.
    #[must_use]
    pub fn log(
        mut geometry: Geometry,
        blocks: u64,
        log_bytes: u64,
        slots: &[Slot],
        slot_bytes: u64,
    ) -> Self {
        let block = u64::from(geometry.erase_block_bytes);
        let (log_bytes, slot_bytes) =
            (log_bytes.next_multiple_of(block), slot_bytes.next_multiple_of(block));
        let region = |offset, len| Region { device: 0, offset, len };
        let slot = |(number, slot): (usize, &Slot)| {
            let at = blocks * log_bytes + number as u64 * slot_bytes;
            let regions = vec![SlotRegion { region: region(at, slot_bytes), roles: &[] }];
            SlotMap { slot: *slot, head: None, index: None, regions }
        };
        geometry.capacity_bytes = blocks * log_bytes + slots.len() as u64 * slot_bytes;
        Self {
            geometries: vec![geometry],
            places: (0..blocks).map(|number| region(number * log_bytes, log_bytes)).collect(),
            is_log: true,
            slots: slots.iter().enumerate().map(slot).collect(),
        }
    }

    /// Moves the slots' components to a device of their own, with these units, so that the metadata
    /// area is on another one.
    pub fn move_components(&mut self, mut geometry: Geometry, slot_bytes: u64) {
        let device = self.geometries.len() as u8;
        let slot_bytes = slot_bytes.next_multiple_of(geometry.erase_block_bytes.into());
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let region = Region { device, offset: number as u64 * slot_bytes, len: slot_bytes };
            let before = core::mem::replace(&mut slot.regions[0].region, region);
            // In the small blocks, where an index takes little.
            slot.index = slot.head.map(|_| before);
        }
        geometry.capacity_bytes = self.slots.len() as u64 * slot_bytes;
        self.geometries.push(geometry);
    }

    /// Adds a second device of its own to every slot, for components of these roles.
    pub fn add_device(&mut self, mut geometry: Geometry, roles: &'static [Role], bytes: u64) {
        let device = self.geometries.len() as u8;
        let bytes = bytes.next_multiple_of(geometry.erase_block_bytes.into());
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let region = Region { device, offset: number as u64 * bytes, len: bytes };
            slot.regions.push(SlotRegion { region, roles });
        }
        geometry.capacity_bytes = self.slots.len() as u64 * bytes;
        self.geometries.push(geometry);
    }

    /// The geometry of every device.
    #[must_use]
    pub fn geometries(&self) -> &[Geometry] {
        &self.geometries
    }

    /// One disk on which all devices stand one behind the other, for simulations that fork and
    /// name the state of everything at once. Its units are the smallest of each.
    ///
    /// # Panics
    /// If some devices must be erased and others need not be.
    #[must_use]
    pub fn joined(&self) -> Geometry {
        let least =
            |unit: fn(&Geometry) -> u32| self.geometries.iter().map(unit).min().unwrap_or(1);
        let erased = self.geometries[0].erased;
        assert!(self.geometries.iter().all(|found| found.erased == erased), "one kind of medium");
        Geometry {
            logical_block_bytes: least(|found| found.logical_block_bytes),
            write_granule_bytes: least(|found| found.write_granule_bytes),
            erase_block_bytes: least(|found| found.erase_block_bytes),
            capacity_bytes: self.geometries.iter().map(|found| found.capacity_bytes).sum(),
            erased,
        }
    }

    /// Which bytes of the [`joined`](Self::joined) disk are this device.
    #[must_use]
    pub fn extent(&self, device: u8) -> Range<u64> {
        let (before, rest) = self.geometries.split_at(device.into());
        let start = before.iter().map(|found| found.capacity_bytes).sum();
        start..start + rest[0].capacity_bytes
    }

    /// Where a region begins on the [`joined`](Self::joined) disk.
    #[must_use]
    pub fn place(&self, region: Region) -> u64 {
        self.extent(region.device).start + region.offset
    }

    /// The places of the record, or the blocks of the log.
    #[must_use]
    pub fn places(&self) -> &[Region] {
        &self.places
    }

    /// Whether the metadata area is a log.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        self.is_log
    }

    /// Place `number` of the record, or block of the log.
    #[must_use]
    pub fn record(&self, number: usize) -> Region {
        self.places[number]
    }

    /// The slots, to make a layout from.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotLayout<'_>> {
        let mut layouts = Vec::new();
        for SlotMap { slot, head, index, regions } in &self.slots {
            layouts.push({
                let mut layout = SlotLayout::new(*slot, regions);
                layout.head = *head;
                layout.index = *index;
                layout
            });
        }
        layouts
    }

    /// All bytes of a slot on the [`joined`](Self::joined) disk that are its own, one stretch per
    /// region: in a log, without its head.
    #[must_use]
    pub fn stretches(&self, slot: Slot) -> Vec<Range<u64>> {
        let found = self.slots.iter().filter(|found| found.slot == slot);
        let regions = found.flat_map(|slot| {
            slot.regions.iter().map(|found| found.region).chain(slot.head).chain(slot.index)
        });
        regions
            .map(|region| {
                let begin = self.place(region);
                begin..begin + region.len
            })
            .collect()
    }

    /// The checked layout.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn layout<'a>(&'a self, slots: &'a [SlotLayout<'a>]) -> Result<Layout<'a>, LayoutError> {
        let area = if self.is_log {
            Area::Log { blocks: &self.places, head_len_max: HEAD_LEN as u32 }
        } else {
            Area::Blocks(&self.places)
        };
        Layout::new(&self.geometries, area, slots)
    }
}

/// A store of the floor that can be made to fail.
#[derive(Clone, Debug, Default)]
pub struct SimStore {
    /// What it holds, by kind.
    pub floors: [Option<Floor>; 2],
    /// Every call fails.
    pub fails: bool,
    /// It can be read and not be raised any more.
    pub full: bool,
}

impl RollbackStore for SimStore {
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        if self.fails { Err(StoreError) } else { Ok(self.floors[kind as usize]) }
    }

    fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        if self.fails || self.full { Err(StoreError) } else { Ok(()) }
    }

    fn raise(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        if self.fails || self.full {
            return Err(StoreError);
        }
        let kept = &mut self.floors[kind as usize];
        *kept = Some(kept.map_or(floor, |old| old.max(floor)));
        Ok(())
    }
}

/// Memory for components, as a loader on a large machine has it.
#[derive(Clone, Debug, Default)]
pub struct HeapMemory {
    parts: BTreeMap<usize, Vec<u8>>,
    /// Bytes that may be reserved in all; `None` for no limit.
    pub limit: Option<u64>,
}

impl Memory for HeapMemory {
    fn clear(&mut self) {
        self.parts.clear();
    }

    fn reserve(&mut self, component: usize, _role: Role, len: u64) -> bool {
        if self.limit.is_some_and(|limit| len > limit) {
            return false;
        }
        self.parts.insert(component, vec![0; len as usize]);
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        self.parts.entry(component).or_default()
    }
}

/// A stream out of memory, in pieces.
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
    /// Most bytes of every piece.
    piece: usize,
    /// Most bytes of one piece after the other, over and over; of no meaning if there are none.
    pieces: &'a [usize],
    given: usize,
    /// Bytes that were read, not skipped.
    pub read: u64,
}

impl<'a> Bytes<'a> {
    /// A stream of `bytes`, in pieces of at most `piece`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], piece: usize) -> Self {
        Self { rest: bytes, piece, pieces: &[], given: 0, read: 0 }
    }

    /// A stream of `bytes`, in pieces of at most as many bytes as `pieces` say one after the other.
    #[must_use]
    pub const fn in_pieces(bytes: &'a [u8], pieces: &'a [usize]) -> Self {
        Self { rest: bytes, piece: usize::MAX, pieces, given: 0, read: 0 }
    }
}

impl Source for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let piece = match self.pieces.len() {
            0 => self.piece,
            // A piece of nothing would be the end.
            count => self.pieces[self.given % count].max(1),
        };
        self.given += 1;
        let len = self.rest.len().min(into.len()).min(piece);
        let (now, later) = self.rest.split_at(len);
        into[..len].copy_from_slice(now);
        self.rest = later;
        self.read += len as u64;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let len = usize::try_from(len).map_err(|_| SourceError)?;
        self.rest = self.rest.get(len..).ok_or(SourceError)?;
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(!self.rest.is_empty())
    }
}

/// The library's policy at a given time.
#[derive(Clone, Debug, Default)]
pub struct SimHost {
    /// Unix time in seconds, if there is a clock that is right.
    pub now: Option<u64>,
    /// What the clock is otherwise.
    pub clock: Clock,
    /// What the operator wants.
    pub policy: Policy,
    /// Statements that come with the update.
    pub statements: Vec<Verified<Statement>>,
    /// What it said of the latest update that came to it.
    pub said: Option<Verdict>,
}

impl InstallHost for SimHost {
    fn judge(&mut self, offer: &Update<'_>) -> Permission {
        let clock = self.now.map_or(self.clock, Clock::Trusted);
        let facts = Facts::new(offer.manifest, offer.body, clock)
            .with_statements(&self.statements)
            .with_running_version(offer.running_version);
        let verdict = policy::judge(&self.policy, &facts);
        self.said = Some(verdict);
        verdict.into()
    }
}

/// The record as it stands, which copy is authoritative, and what each copy is.
pub type RecordView = (Record, RecordStatus, Vec<CopyState>);

/// What one power-on came to.
#[derive(Debug)]
pub struct PowerOnOutcome {
    /// With what the system was started; `None` if nothing could be.
    pub proof: Option<BootProof>,
    /// The manifest of what was started.
    pub manifest: Option<Verified<Manifest>>,
    /// What was found, and why it went as it did.
    pub report: Report,
    /// The memory of the components of load class `ram`, by number, with padding.
    pub memory: HeapMemory,
    /// Where the components stand that were verified, in the order of the manifest.
    pub placed: Vec<Placed>,
    /// The record as the loader left it.
    pub record: Record,
}

impl PowerOnOutcome {
    /// The slot that was started.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.proof.map(|proof| proof.slot)
    }
}

/// A device and whatever its disks and its store hold.
#[derive(Clone, Debug)]
pub struct World<'a, D> {
    /// Whom the device trusts and which it is.
    pub device: Device<'a>,
    /// Where everything stands.
    pub ground: DeviceMap,
    /// Its disks.
    pub disks: Vec<D>,
    /// Its store, if it has one.
    pub store: Option<SimStore>,
    /// The next nonce.
    pub nonce: u64,
    /// Tries of a new slot.
    pub tries: u8,
    /// What the installer knows of the time.
    pub host: SimHost,
    /// What the loader says of images that do not run when they should.
    pub comes_back: Option<Event<'static>>,
    /// Whether a watchdog ended what ran before.
    pub watchdog_reset: bool,
}

impl<'a, D: BlockDevice> World<'a, D> {
    /// A device with these disks, one per geometry of `ground`.
    #[must_use]
    pub fn new(device: Device<'a>, ground: DeviceMap, disks: Vec<D>) -> Self {
        Self {
            device,
            ground,
            disks,
            store: None,
            nonce: 1,
            tries: 3,
            host: SimHost::default(),
            comes_back: None,
            watchdog_reset: false,
        }
    }

    fn parts(&mut self) -> (Vec<&mut dyn BlockDevice>, SimStore) {
        let disks = self.disks.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
        (disks, self.store.clone().unwrap_or_default())
    }

    /// Switches the power on: the loader runs until it hands over or gives up.
    ///
    /// # Errors
    /// [`LayoutError`] if the ground is unsound.
    pub fn power_on(&mut self) -> Result<PowerOnOutcome, LayoutError> {
        let ground = self.ground.clone();
        let slots = ground.slots();
        self.nonce += 1;
        let config = BootConfig::new(self.device, ground.layout(&slots)?, self.nonce)
            .with_tries(self.tries)
            .with_store(self.store.is_some())
            .with_check_late(true)
            .with_watchdog_reset(core::mem::take(&mut self.watchdog_reset));
        let mut machine = Boot::<SoftSha256>::new(&config);
        let mut memory = HeapMemory::default();
        let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&config.layout)];
        let comes_back = self.comes_back;
        let has_store = self.store.is_some();
        let (mut disks, mut store) = self.parts();
        let mut event = Event::Start;
        let proof = loop {
            let proof =
                driver::boot(&mut machine, event, &mut disks, &mut store, &mut memory, &mut buffer);
            let (Some(answer), Some(_)) = (comes_back, proof) else { break proof };
            event = answer;
        };
        if has_store {
            self.store = Some(store);
        }
        let components = machine.manifest().map(|manifest| manifest.components.as_slice());
        let roles = components.unwrap_or_default().iter().map(|component| component.role);
        let mut placed: Vec<_> = roles.filter_map(|role| machine.placed(role)).collect();
        placed.dedup();
        Ok(PowerOnOutcome {
            proof,
            placed,
            manifest: proof.and(machine.manifest().cloned()),
            report: machine.report().clone(),
            memory,
            record: machine.record().clone(),
        })
    }

    /// The configuration of an installation as the world has it; change what a test wants.
    ///
    /// # Errors
    /// [`LayoutError`] if the ground is unsound.
    pub fn install_config<'l>(&self, layout: Layout<'l>, running: Running) -> InstallConfig<'l>
    where
        'a: 'l,
    {
        InstallConfig::new(self.device, layout, running)
            .with_tries(self.tries)
            .with_store(self.store.is_some())
    }

    /// Installs `source`, with the configuration as `change` leaves it.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn install_with(
        &mut self,
        source: &mut dyn Source,
        running: Running,
        change: impl FnOnce(&mut InstallConfig<'_>),
    ) -> Result<Installed, InstallError> {
        let ground = self.ground.clone();
        let slots = ground.slots();
        let layout = ground
            .layout(&slots)
            .map_err(|error| InstallError::Refused(stillboot::install::Refusal::Layout(error)))?;
        let mut config = self.install_config(layout, running);
        change(&mut config);
        let mut machine = Install::<SoftSha256>::new(&config);
        let mut buffer = vec![0; Install::<SoftSha256>::buffer_len_min(&layout, 16 << 10)];
        let mut host = SimHost { said: None, ..self.host.clone() };
        let (mut disks, mut store) = self.parts();
        let result =
            driver::install(&mut machine, &mut disks, &mut store, source, &mut host, &mut buffer);
        self.host.said = host.said;
        result
    }

    /// Installs `bundle` as the running system or, without one, offline.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn install(
        &mut self,
        bundle: &[u8],
        running: Option<BootProof>,
    ) -> Result<Installed, InstallError> {
        let running = running.map_or(Running::Offline, Running::Proof);
        self.install_with(&mut Bytes::new(bundle, usize::MAX), running, |_| {})
    }

    /// Carries out a request of the running system or its operator.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn perform(&mut self, request: Request) -> Result<Answer, RequestError> {
        self.perform_and_read(request).map(|(answer, _)| answer)
    }

    fn perform_and_read(&mut self, request: Request) -> Result<(Answer, RecordView), RequestError> {
        let ground = self.ground.clone();
        let slots = ground.slots();
        let layout = ground.layout(&slots).map_err(|_| RequestError::NoSuchSlot(Slot::A))?;
        let mut machine = Perform::new(&layout, request);
        let mut buffer = vec![0; Perform::buffer_len_min(&layout)];
        let (mut disks, _) = self.parts();
        let answer = driver::perform(&mut machine, &mut disks, &mut buffer)?;
        let (choice, copies) = machine.copies();
        Ok((answer, (machine.record().clone(), choice, copies.to_vec())))
    }

    /// The record as it stands, which copy is authoritative, and what all places are.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn record(&mut self) -> Result<RecordView, RequestError> {
        self.perform_and_read(Request::Read).map(|(_, record)| record)
    }
}
