//! Random walks: one device through a life far longer than any story, with everything that can
//! happen to a device mixed.
//!
//! ```text
//! Chain::new()                            the releases; once per process
//! walk(&chain, medium, seed, events)      -> Walked { counts, failure: Option<Failure> }
//! replay(&chain, "walk/nor8/7/0-3,9b")    -> the walk of that identity, told line by line
//! ```
//!
//! Event number n of a walk follows from (seed, n) alone, so a walk is named by its medium, its seed
//! and the numbers of its events. A walk that breaks a promise is shortened by itself: events are
//! left out, in chunks and then one by one, as long as the same promise breaks.
//!
//! While nothing but the power fails, it is known exactly what must happen, or, after a cut, that
//! it must be one of a few outcomes. The reference machine of [`model`] follows the device, in
//! every state that the device may be in. Each answer of the device leaves the states that agree
//! with it. If none is left, a promise is broken. The record on the disk is never read for that.
//!
//! After a fault of the device, only what the table of `docs/DESIGN.md` promises under that fault
//! is checked: that what starts is verified, that something starts, that what was installed is
//! whole. When the fault is over the device is updated, which is counted and not promised. Then a
//! technician wipes all copies of its record, and from there everything is known again.

pub mod chain;
pub mod event;
pub mod model;
pub mod scene;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver::{self, Memory as _};
use stillboot::format::record::VERSION;
use stillboot::format::{BootProof, Floor, Hold, Slot, SlotKind};
use stillboot::install::{InstallError, Installed, Running};
use stillboot::operate::{Answer, OperateError, Request};
use stillboot::record::RecordStatus;
use stillboot::select::CandidateKind;
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};

pub use chain::Chain;

use crate::disk::{PowerCut, RamDisk};
use crate::engine::HandoverFailure;
use crate::explore::{self, Disk, GARBAGE, Medium, row_of_fault};
use crate::fault::{Fault, Faulty};
use crate::oracle::{self, Broken, Promise, Promises};
use crate::words;
use crate::world::{self, Bytes, DeviceMap, SimStore, World};
use chain::{LOW, Name, OTHER_CLASS, RECOVERY, UPDATES};
use event::{Event, Loss, PowerLoss, ReleaseChoice, What};
use model::{Boots, Kept, Model, Start, is_same};
use scene::{DiskContents, Places};

/// Tries of a new slot.
const TRIES: u8 = 2;
/// Bytes of a slot.
const SLOT_BYTES: u64 = 48 << 10;
/// A device that was offered so many releases is replaced by a new one: one event uses up to two.
const OFFERED_MAX: usize = UPDATES - 3;
/// Most events that are run to shorten one walk.
const SHORTEN_EVENTS_MAX: u64 = 120_000;
/// A fault that never strikes.
const SOUND: Fault = Fault::ReadOnce(u64::MAX);

/// What was done, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Power-ons that were judged.
    pub power_ons: u64,
    /// Losses of power within or after a request.
    pub cuts: u64,
    /// Installations that reported to be done.
    pub installs: u64,
    /// Confirmations that were accepted.
    pub confirms: u64,
    /// Times that the next update was seen to succeed without help.
    pub checks: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Times that the next update did not succeed without help, where that is not promised: after a
    /// fault, or where nothing starts any more.
    pub helped: u64,
    /// Devices that came to the end of the chain of releases.
    pub devices: u64,
    /// Most states that a device could be in at one time.
    pub states_max: u64,
}

impl Counts {
    /// Adds those of another walk.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.power_ons += other.power_ons;
        self.cuts += other.cuts;
        self.installs += other.installs;
        self.confirms += other.confirms;
        self.checks += other.checks;
        self.faults += other.faults;
        self.helped += other.helped;
        self.devices += other.devices;
        self.states_max = self.states_max.max(other.states_max);
    }
}

/// A walk that broke a promise, shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For [`replay`].
    pub id: String,
    /// What was broken, at the end of the shortened walk.
    pub broken: Broken,
    /// The events that are left.
    pub events: Vec<Event>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} broken: {}", self.id, self.broken.promise.heading(), self.broken.how)
    }
}

/// What a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// How much was done, before the failure if there is one.
    pub counts: Counts,
    /// The first promise that was broken.
    pub failure: Option<Failure>,
}

/// Says of the events so far that a promise is broken: how the tests of this module make a walk fail
/// that does not.
pub type Alarm<'a> = &'a dyn Fn(&[Event]) -> Option<Broken>;

/// The kinds of disk that a walk can be on: those where a device has one disk.
#[must_use]
pub fn media() -> Vec<Medium> {
    explore::media().into_iter().filter(Medium::is_one).collect()
}

/// Walks so many events from `seed`. Equal calls come to the same.
#[must_use]
pub fn walk(chain: &Chain, medium: Medium, seed: u64, events: usize) -> Walked {
    walk_with(chain, medium, seed, events, &|_| None)
}

/// The same, with an alarm.
#[must_use]
pub fn walk_with(
    chain: &Chain,
    medium: Medium,
    seed: u64,
    events: usize,
    alarm: Alarm<'_>,
) -> Walked {
    let all: Vec<_> = (0..events).map(|number| Event::of(seed, number)).collect();
    let route = Route::new(chain, medium, seed);
    let (counts, end) = route.run(&all, alarm, None);
    let failure = end.map(|(last, broken)| {
        let (events, broken) = shorten(&route, all[..=last].to_vec(), broken, alarm);
        let id = format!("walk/{}/{seed}/{}", medium.name, name_events(&events, seed));
        Failure { id, broken, events }
    });
    Walked { counts, failure }
}

/// Walks the walk of this identity again and tells what happens, line by line; the last line says
/// whether a promise was broken.
///
/// # Errors
/// What is wrong with the identity.
pub fn replay(chain: &Chain, id: &str) -> Result<Vec<String>, String> {
    replay_with(chain, id, &|_| None)
}

/// The same, with an alarm.
///
/// # Errors
/// As [`replay`].
pub fn replay_with(chain: &Chain, id: &str, alarm: Alarm<'_>) -> Result<Vec<String>, String> {
    let parts: Vec<_> = id.split('/').collect();
    let ["walk", medium, seed, events] = parts[..] else {
        return Err(format!("{id:?} is not walk/medium/seed/events"));
    };
    let found = media().into_iter().find(|found| found.name == medium);
    let medium = found.ok_or_else(|| format!("there is no medium {medium:?}"))?;
    let seed = seed.parse().map_err(|_| format!("{seed:?} is not a seed: expected a number"))?;
    let events = named_events(events, seed)?;
    let mut trace = Vec::new();
    let (_, end) = Route::new(chain, medium, seed).run(&events, alarm, Some(&mut trace));
    trace.push(match end {
        Some((_, broken)) => format!("BROKEN {}: {}", broken.promise.heading(), broken.how),
        None => "every promise holds".into(),
    });
    Ok(trace)
}

/// The numbers of events, successive ones as a range; a `b` stands behind those that lose the power
/// in the plainest way instead of their own.
fn name_events(events: &[Event], seed: u64) -> String {
    let mut runs: Vec<(usize, usize, bool)> = Vec::new();
    for event in events {
        let is_plain = *event != Event::of(seed, event.number);
        match runs.last_mut() {
            Some((_, last, plain)) if *last + 1 == event.number && *plain == is_plain => *last += 1,
            _ => runs.push((event.number, event.number, is_plain)),
        }
    }
    let name = |(first, last, is_plain): &(usize, usize, bool)| {
        let plain = if *is_plain { "b" } else { "" };
        if first == last { format!("{first}{plain}") } else { format!("{first}-{last}{plain}") }
    };
    runs.iter().map(name).collect::<Vec<_>>().join(",")
}

fn named_events(text: &str, seed: u64) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let bad = || format!("{run:?} is not the number of an event, or a range of them");
        let (numbers, is_plain) = match run.strip_suffix('b') {
            Some(numbers) => (numbers, true),
            None => (run, false),
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let first: usize = first.parse().map_err(|_| bad())?;
        let last: usize = last.parse().map_err(|_| bad())?;
        if last < first || last - first > 1_000_000 {
            return Err(bad());
        }
        for number in first..=last {
            let event = Event::of(seed, number);
            events.push(if is_plain { event.simplified() } else { event });
        }
    }
    Ok(events)
}

/// Leaves out what a failing walk can do without: first what lies long before its end, then chunks,
/// then single events; then the losses of power are made plain. The same promise must break.
fn shorten(
    route: &Route<'_>,
    mut events: Vec<Event>,
    mut broken: Broken,
    alarm: Alarm<'_>,
) -> (Vec<Event>, Broken) {
    let mut spent = 0;
    let mut fails = |candidate: &[Event]| -> Option<(usize, Broken)> {
        if spent > SHORTEN_EVENTS_MAX {
            return None;
        }
        let (counts, end) = route.run(candidate, alarm, None);
        spent += counts.events + 1;
        end.filter(|(_, found)| found.promise == broken.promise)
    };
    let mut latest = None;
    let mut len = 8;
    while len < events.len() {
        let tail = events[events.len() - len..].to_vec();
        if let Some((last, found)) = fails(&tail) {
            events = tail[..=last].to_vec();
            latest = Some(found);
            break;
        }
        len *= 2;
    }
    let mut chunk = events.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < events.len() {
            let to = (from + chunk).min(events.len());
            let candidate = [&events[..from], &events[to..]].concat();
            match fails(&candidate) {
                Some((last, found)) => {
                    events = candidate[..=last].to_vec();
                    latest = Some(found);
                    has_shrunk = true;
                }
                None => from = to,
            }
        }
        if chunk == 1 && !has_shrunk {
            break;
        }
        chunk = chunk.div_ceil(2).min(events.len().max(1));
    }
    for at in 0..events.len() {
        let plain = events[at].simplified();
        if plain == events[at] {
            continue;
        }
        let mut candidate = events.clone();
        candidate[at] = plain;
        if let Some((last, found)) = fails(&candidate)
            && last + 1 == candidate.len()
        {
            events = candidate;
            latest = Some(found);
        }
    }
    if let Some(found) = latest {
        broken = found;
    }
    (events, broken)
}

/// What does not change on a walk.
struct Route<'a> {
    chain: &'a Chain,
    medium: Medium,
    slots: &'static [Slot],
    has_store: bool,
    ground: DeviceMap,
    places: Places,
    table: BTreeMap<&'static str, Promises>,
}

type Device<'a> = World<'a, PowerCut<Faulty<Disk>>>;

impl<'a> Route<'a> {
    fn new(chain: &'a Chain, medium: Medium, seed: u64) -> Self {
        let slots: &[Slot] = match seed % 2 {
            0 => &[Slot::A, Slot::B],
            _ => &[Slot::A, Slot::B, Slot::Recovery],
        };
        let ground = medium.ground_of(slots, SLOT_BYTES);
        let places = Places::new(chain, &ground);
        let has_store = seed / 2 % 2 == 1;
        Self { chain, medium, slots, has_store, ground, places, table: oracle::table() }
    }

    fn new_device(&self) -> Device<'a> {
        let geometry = self.ground.geometries()[0];
        let ram = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let disk = Disk::new(&self.medium, ram);
        let disk = PowerCut::new(Faulty::new(disk, SOUND));
        let mut world = World::new(self.chain.publisher.device(), self.ground.clone(), vec![disk]);
        world.tries = TRIES;
        world.store = self.has_store.then(SimStore::default);
        world
    }

    /// Walks these events. Returns at which one a promise was broken.
    fn run(
        &self,
        events: &[Event],
        alarm: Alarm<'_>,
        trace: Option<&mut Vec<String>>,
    ) -> (Counts, Option<(usize, Broken)>) {
        let mut walker = Walker::new(self, trace);
        for (at, event) in events.iter().enumerate() {
            let result = walker.event(event).and_then(|()| match alarm(&events[..=at]) {
                Some(broken) => Err(broken),
                None => Ok(()),
            });
            if let Err(broken) = result {
                return (walker.counts, Some((at, broken)));
            }
        }
        let last = events.len().saturating_sub(1);
        let end = walker.finish().err().map(|broken| (last, broken));
        (walker.counts, end.filter(|_| !events.is_empty()))
    }
}

/// What a device of this medium promises; the layout sets the capacity.
#[must_use]
pub const fn medium_geometry(medium: Medium) -> Geometry {
    medium.geometry
}

/// What runs.
#[derive(Clone, Copy, Debug)]
struct Runs {
    proof: BootProof,
    kind: CandidateKind,
}

/// A device on its way.
struct Walker<'w, 'a> {
    route: &'w Route<'a>,
    world: Device<'a>,
    running: Option<Runs>,
    /// A proof of an earlier power-on.
    stale: Option<BootProof>,
    /// Every state that the device may be in; of no meaning while `faults` is not empty.
    states: Vec<Model>,
    /// Faults that have struck since the device was last serviced.
    faults: Vec<Fault>,
    /// What the device suffers from now.
    fault: Fault,
    /// For how many events that lasts.
    fault_lasts: u8,
    /// How many updates of the chain were offered.
    offered: usize,
    /// The highest floor of what was offered, by kind.
    highest: [Floor; 2],
    counts: Counts,
    trace: Option<&'w mut Vec<String>>,
}

fn broken<T>(promise: Promise, how: String) -> Result<T, Broken> {
    Err(Broken { promise, how })
}

impl<'w, 'a> Walker<'w, 'a> {
    fn new(route: &'w Route<'a>, trace: Option<&'w mut Vec<String>>) -> Self {
        Self {
            route,
            world: route.new_device(),
            running: None,
            stale: None,
            states: vec![Model::new(route.slots, TRIES, route.has_store)],
            faults: Vec::new(),
            fault: SOUND,
            fault_lasts: 0,
            offered: 0,
            highest: [Floor::default(); 2],
            counts: Counts { devices: 1, ..Counts::default() },
            trace,
        }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), Broken> {
        if self.offered > OFFERED_MAX {
            self.tell(|| "the chain of releases ends: a new device".into());
            self.finish()?;
            let (counts, trace) = (self.counts, self.trace.take());
            *self = Self::new(self.route, trace);
            self.counts = Counts { devices: counts.devices + 1, ..counts };
        }
        self.counts.events += 1;
        self.tell(|| event.to_string());
        self.happen(event)?;
        self.counts.states_max = self.counts.states_max.max(self.states.len() as u64);
        if self.fault_lasts > 0 && !matches!(event.what, What::Fails(..)) {
            self.fault_lasts -= 1;
            if self.fault_lasts == 0 {
                self.mend()?;
            }
        }
        Ok(())
    }

    /// The end: the fault is over, and the next update succeeds.
    fn finish(&mut self) -> Result<(), Broken> {
        if self.fault_lasts > 0 {
            self.fault_lasts = 0;
            self.mend()?;
        }
        self.tell(|| "at the end".into());
        self.check()
    }

    fn happen(&mut self, event: &Event) -> Result<(), Broken> {
        match event.what {
            What::PowerOn { watchdog, back } => self.start(watchdog, back, event.power),
            What::Install(offer, target) => self.offer(offer, target, event.power),
            What::Confirm => match self.running {
                Some(runs) => self.confirm(runs, event.power),
                None => Ok(()),
            },
            What::ConfirmStale => match self.stale {
                Some(proof) => self.operate(Request::MarkGood(proof), event.power).map(|_| ()),
                None => Ok(()),
            },
            What::Rollback(slot) => match slot.or(self.running.map(|runs| runs.proof.slot)) {
                Some(slot) => self.operate(Request::Rollback(slot), event.power).map(|_| ()),
                None => Ok(()),
            },
            What::Cancel => self.operate(Request::Cancel, event.power).map(|_| ()),
            What::Forget => {
                let last = &self.route.chain.releases[self.offered.saturating_sub(1)];
                self.operate(Request::Forget(last.digest), event.power).map(|_| ())
            }
            What::MarkBad(slot) => self.operate(Request::MarkBad(slot), event.power).map(|_| ()),
            What::Hold(slot, held) => {
                self.operate(Request::HoldSlot(slot, held), event.power).map(|_| ())
            }
            What::HoldUpdates(held) => {
                let hold = Hold { until: if held { u64::MAX } else { 0 }, since: 0 };
                self.operate(Request::HoldUpdates(hold), event.power).map(|_| ())
            }
            What::Suspect(slot) => self.operate(Request::Suspect(slot), event.power).map(|_| ()),
            What::Scrub(slot) => self.scrub(slot),
            What::LoseRecord => {
                self.lose_record();
                Ok(())
            }
            What::Discard => {
                self.running = None;
                self.operate(Request::Discard(VERSION), event.power).map(|_| ())
            }
            What::Wreck(slot, all) => {
                self.wreck(slot, all);
                Ok(())
            }
            What::Fails(fault, lasts) => {
                if self.fault_lasts == 0 {
                    let disk = self.disk().clone();
                    self.world.disks[0] = PowerCut::new(Faulty::new(disk, fault));
                    self.fault = fault;
                    self.fault_lasts = lasts;
                }
                Ok(())
            }
            What::Check => self.check(),
        }
    }

    // The device.

    fn disk(&self) -> &Disk {
        self.world.disks[0].device().device()
    }

    fn disk_mut(&mut self) -> &mut Disk {
        self.world.disks[0].device_mut().device_mut()
    }

    fn scene(&self) -> DiskContents {
        self.route.places.scene(self.route.chain, self.disk().ram())
    }

    fn store(&self) -> model::Store {
        self.world.store.as_ref().map_or([None; 2], |store| store.floors)
    }

    fn is_known(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a promise holds under all that has struck.
    fn holds(&self, promise: Promise) -> bool {
        let row = |fault: &Fault| {
            let row = row_of_fault(*fault);
            self.route.table.get(row).unwrap_or_else(|| panic!("no row {row:?} in the table"))
        };
        self.faults.iter().all(|fault| row(fault).hold(promise))
    }

    /// Runs a program, perhaps until the power fails. Returns what it answered, `None` if the power
    /// failed before it could answer.
    fn run<T>(
        &mut self,
        power: Option<PowerLoss>,
        program: impl FnOnce(&mut Device<'a>) -> T,
    ) -> Option<T> {
        // A new one, so that changes are counted from here.
        let faulty = self.world.disks[0].device().clone();
        self.world.disks[0] = PowerCut::new(faulty);
        if let Some(power) = power {
            self.world.disks[0].cut_at(power.change, power.cut);
            self.counts.cuts += 1;
        }
        let answer = program(&mut self.world);
        let was_cut = self.world.disks[0].is_off();
        self.world.disks[0].power_on();
        if self.world.disks[0].device().has_struck() {
            let fault = self.fault;
            if !self.faults.contains(&fault) {
                self.tell(|| format!("the fault has begun: {}", words::fault(fault)));
                self.counts.faults += 1;
                self.faults.push(fault);
            }
        }
        (!was_cut).then_some(answer)
    }

    /// The power is lost, if it is, and the caches of the drive empty themselves.
    fn end(&mut self, power: Option<PowerLoss>) {
        if let Disk::Cached(cache) = self.disk_mut() {
            // A cache that fails to write back has lost what it held.
            match power.map_or(Loss::Nothing, |power| power.loss) {
                Loss::Nothing => drop(cache.flush()),
                Loss::All => cache.lose_all(),
                Loss::Some(seed) => drop(cache.lose(seed)),
            }
        }
        if power.is_some() {
            self.running = None;
        }
    }

    fn mend(&mut self) -> Result<(), Broken> {
        let disk = self.disk().clone();
        self.world.disks[0] = PowerCut::new(Faulty::new(disk, SOUND));
        self.fault = SOUND;
        if self.is_known() {
            return Ok(());
        }
        self.tell(|| "the fault is over".into());
        if !self.update_unaided()? {
            self.counts.helped += 1;
            self.tell(|| "the next update did not succeed by itself".into());
        }
        self.tell(|| "a technician wipes all copies of the record".into());
        self.faults.clear();
        self.lose_record();
        Ok(())
    }

    /// An update after a fault.
    fn update_unaided(&mut self) -> Result<bool, Broken> {
        self.power_on(false, None)?;
        if let Some(runs) = self.running {
            self.confirm(runs, None)?;
        }
        self.free()?;
        let release = self.next_release();
        let Some(Ok(slot)) = self.install(release, None, false, true, None)? else {
            return Ok(false);
        };
        self.power_on(false, None)?;
        let Some(runs) = self.running.filter(|runs| runs.proof.slot == slot) else {
            return Ok(false);
        };
        self.confirm(runs, None)?;
        self.power_on(false, None)?;
        Ok(self
            .running
            .is_some_and(|runs| (runs.proof.slot, runs.kind) == (slot, CandidateKind::Good)))
    }

    fn free(&mut self) -> Result<(), Broken> {
        for slot in [Slot::A, Slot::B] {
            self.operate(Request::HoldSlot(slot, false), None)?;
        }
        self.operate(Request::HoldUpdates(Hold::default()), None).map(|_| ())
    }

    fn lose_record(&mut self) {
        let ram = self.disk().ram().fork();
        let ground = &self.route.ground;
        let mut places = ground.records(&mut |at, len| ram.bytes(at, len));
        // A log that was never written has no records; what stands in its blocks is no log then.
        if places.is_empty() {
            places = ground.places().iter().map(|place| (ground.place(*place), 64)).collect();
        }
        for (at, _) in places {
            self.disk_mut().ram_mut().poke(at, &[GARBAGE; 64]);
        }
        self.running = None;
        self.states = vec![Model::new(self.route.slots, TRIES, self.route.has_store).lost()];
    }

    fn wreck(&mut self, slot: Slot, all: bool) {
        let slots = self.route.ground.slots();
        let Some(found) = slots.iter().find(|found| found.slot == slot) else { return };
        if !all {
            let at = self.route.places.last_component(slot);
            self.disk_mut().ram_mut().poke(at, &[GARBAGE; 64]);
            return;
        }
        for region in found.regions.iter().map(|found| found.region).chain(found.head) {
            let at = self.route.ground.place(region);
            self.disk_mut().ram_mut().poke(at, &vec![GARBAGE; region.len as usize]);
        }
    }

    // What happens.

    fn power_on(&mut self, watchdog: bool, power: Option<PowerLoss>) -> Result<(), Broken> {
        self.start(watchdog, None, power)
    }

    fn start(
        &mut self,
        watchdog: bool,
        back: Option<HandoverFailure>,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        let on = model::Surroundings {
            scene: self.scene(),
            store: self.store(),
            nonce: self.world.nonce + 1,
            watchdog,
            returns: back,
        };
        if let Some(runs) = self.running.take() {
            self.stale = Some(runs.proof);
        }
        let chain = self.route.chain;
        let courses: Vec<_> = self.states.iter().map(|at| at.power_on(chain, &on)).collect();
        self.world.watchdog_reset = watchdog;
        self.world.comes_back = back.map(HandoverFailure::event);
        let had_struck = self.world.disks[0].device().has_struck();
        let started = self.run(power, |world| world.power_on().expect("the ground is sound"));
        self.end(power);
        let Some(mut started) = started else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(());
        };
        self.counts.power_ons += 1;
        self.tell(|| format!("  {}", words::power_on(&started.report)));
        let start = self.only_verified(&mut started)?;
        if !self.is_known() {
            // Where every image comes back nothing has to run.
            return match back {
                None => self.judge_faulty(&started, start, had_struck, power),
                Some(_) => Ok(()),
            };
        }
        let found = match started.report.record {
            RecordStatus::Current { .. } => Kept::Record,
            RecordStatus::Factory => Kept::Nothing,
            RecordStatus::Lost | RecordStatus::Newer => Kept::Lost,
        };
        let came = Boots { start, store: self.store(), found };
        let right = courses.iter().filter(|course| course.answer == came);
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer.clone()).collect();
            return Err(judge_start(&came, &expected));
        }
        self.states = states;
        if power.is_none() {
            self.running = runs(&started);
        }
        Ok(())
    }

    /// What runs is what was published, for this device, whole, and not below the store's floor.
    fn only_verified(&mut self, started: &mut world::PowerOn) -> Result<Option<Start>, Broken> {
        let Some(Runs { proof, kind }) = runs(started) else { return Ok(None) };
        let refuse = |how: String| broken(Promise::OnlyVerified, how);
        let Some(name) = self.route.chain.named(&proof.digest) else {
            return refuse("a manifest that nobody published".into());
        };
        let release = &self.route.chain.releases[name];
        let called = &release.name;
        if !release.is_ours || release.kind != proof.slot.kind() {
            return refuse(format!("{called} runs from {}", proof.slot));
        }
        for (number, (role, bytes)) in release.contents.iter().enumerate() {
            if !started.memory.bytes(number).starts_with(bytes) {
                return refuse(format!("{called} runs with other bytes of its {role}"));
            }
        }
        let floor = self.store()[release.kind as usize].unwrap_or_default();
        if release.floor < floor {
            return refuse(format!("{called} reaches {:?}, the store {floor:?}", release.floor));
        }
        Ok(Some(Start { slot: proof.slot, kind, release: name }))
    }

    /// A power-on after a fault, or with one.
    fn judge_faulty(
        &mut self,
        started: &world::PowerOn,
        start: Option<Start>,
        had_struck: bool,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        if start.is_some() {
            if power.is_none() {
                self.running = runs(started);
            }
            return Ok(());
        }
        // What cannot be read cannot be started. A read that fails once may cost one power-on.
        let unread = match self.fault {
            Fault::ReadOnce(_) if had_struck => None,
            Fault::ReadOnce(_) | Fault::ReadAlways(_) | Fault::Lies(..) | Fault::Rot(..) => {
                self.world.disks[0].device().hit()
            }
            _ => None,
        };
        let has_record = matches!(started.report.record, RecordStatus::Current { .. });
        if !has_record || !self.holds(Promise::Boots) {
            return Ok(());
        }
        let scene = self.scene();
        let is_read = |slot: &&Slot| {
            let stretches = self.route.ground.stretches(**slot);
            let meets =
                |(from, to): (u64, u64)| stretches.iter().any(|at| from < at.end && at.start < to);
            !unread.is_some_and(meets)
        };
        let able = self.route.slots.iter().filter(is_read).find_map(|slot| {
            let release = &self.route.chain.releases[scene[*slot as usize].whole()?];
            // Which floor is recorded is not known; whatever reaches the highest may run.
            let is_high = release.floor >= self.highest[release.kind as usize];
            is_high.then_some((*slot, &release.name))
        });
        match able {
            Some((slot, name)) => broken(
                Promise::Boots,
                format!("{name} is whole in {slot} and nothing starts: {:?}", started.report),
            ),
            None => Ok(()),
        }
    }

    fn confirm(&mut self, runs: Runs, power: Option<PowerLoss>) -> Result<(), Broken> {
        let answer = self.operate(Request::MarkGood(runs.proof), power)?;
        if let Some(Ok(_)) = answer {
            self.counts.confirms += 1;
            if let Some(runs) = &mut self.running {
                runs.kind = CandidateKind::Good;
            }
        }
        Ok(())
    }

    fn operate(
        &mut self,
        request: Request,
        power: Option<PowerLoss>,
    ) -> Result<Option<Result<Answer, OperateError>>, Broken> {
        let courses: Vec<_> = self.states.iter().map(|at| at.operate(request)).collect();
        let answer = self.run(power, |world| world.operate(request));
        let unflushed = self.disk().pending();
        self.end(power);
        self.tell(|| match &answer {
            Some(answer) => format!("  {}", words::request(&request, answer)),
            None => "  cut by the power".into(),
        });
        let Some(answer) = answer else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(None);
        };
        if !self.is_known() {
            return Ok(Some(answer));
        }
        if answer.is_ok() && unflushed > 0 {
            return broken(Promise::Confirmed, format!("{request:?} is done and not flushed"));
        }
        let right = courses.iter().filter(|course| course.answer == answer);
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer).collect();
            let how = format!("{request:?} answers {answer:?}, expected one of {expected:?}");
            return broken(Promise::Confirmed, how);
        }
        self.states = states;
        Ok(Some(answer))
    }

    fn next_release(&mut self) -> Name {
        self.offered += 1;
        self.offered - 1
    }

    fn offer(
        &mut self,
        offer: ReleaseChoice,
        target: Option<Slot>,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        let last = self.offered.saturating_sub(1);
        let (release, target, repair, is_whole) = match offer {
            ReleaseChoice::Next => (self.next_release(), target, false, true),
            ReleaseChoice::Again | ReleaseChoice::Old(_) if self.offered == 0 => return Ok(()),
            ReleaseChoice::Again => (last, target, false, true),
            ReleaseChoice::Old(ago) => (last.saturating_sub(ago), target, false, true),
            // From then on it is not new to the device: the operator may call it bad.
            ReleaseChoice::Tampered => (self.next_release(), target, false, false),
            ReleaseChoice::OtherClass => (OTHER_CLASS, target, false, true),
            ReleaseChoice::Low => (LOW, target, false, true),
            ReleaseChoice::Repair => {
                let runs = self.running.and_then(|runs| self.route.chain.named(&runs.proof.digest));
                let Some(release) = runs.filter(|name| *name < UPDATES) else { return Ok(()) };
                (release, target, true, true)
            }
            ReleaseChoice::Recovery(number) => {
                (RECOVERY + number, Some(Slot::Recovery), false, true)
            }
        };
        if target.is_some_and(|slot| !self.route.slots.contains(&slot)) {
            return Ok(());
        }
        if matches!(offer, ReleaseChoice::Low | ReleaseChoice::OtherClass)
            && !self.is_refused(release, target)
        {
            return Ok(());
        }
        self.install(release, target, repair, is_whole, power).map(|_| ())
    }

    /// Whether the device must refuse it in every state: before the first update is confirmed there
    /// is no floor, and what is taken then would end the chain.
    fn is_refused(&self, release: Name, target: Option<Slot>) -> bool {
        let (scene, store) = (self.scene(), self.store());
        let proof = self.running.map(|runs| runs.proof);
        let offer = model::InstallAttempt { release, target, repair: false, is_whole: true };
        let chain = self.route.chain;
        let install = |at: &Model| at.install(chain, &scene, store, proof.as_ref(), offer).answer;
        // A fault that strikes while it is installed must not open the door either.
        self.is_known()
            && self.fault_lasts == 0
            && self.states.iter().all(|at| install(at).is_err())
    }

    #[allow(clippy::type_complexity)] // What the core answers, if anybody hears it, or a promise.
    fn install(
        &mut self,
        release: Name,
        target: Option<Slot>,
        repair: bool,
        is_whole: bool,
        power: Option<PowerLoss>,
    ) -> Result<Option<Result<Slot, InstallError>>, Broken> {
        let chain = self.route.chain;
        let (scene, store) = (self.scene(), self.store());
        let proof = self.running.map(|runs| runs.proof);
        let offer = model::InstallAttempt { release, target, repair, is_whole };
        let course = |at: &Model| at.install(chain, &scene, store, proof.as_ref(), offer);
        let courses: Vec<_> = self.states.iter().map(course).collect();
        let published = &chain.releases[release];
        if published.is_ours && release != LOW {
            let highest = &mut self.highest[published.kind as usize];
            *highest = (*highest).max(published.floor);
        }
        let bundle = if is_whole { published.bundle.to_vec() } else { chain.tampered(release) };
        let before = proof.map(|proof| (proof.slot, self.content_of(proof.slot)));
        let answer = self.run(power, |world| {
            let running = proof.map_or(Running::Offline, Running::Proof);
            world.install_with(&mut Bytes::new(&bundle, usize::MAX), running, |config| {
                config.target = target;
                config.repair = repair;
            })
        });
        let unflushed = self.disk().pending();
        self.end(power);
        self.tell(|| match &answer {
            Some(answer) => format!("  {}", words::install(&published.name, answer)),
            None => "  cut by the power".into(),
        });
        if let Some((slot, bytes)) = before
            && self.is_known()
            && self.content_of(slot) != bytes
        {
            return broken(Promise::RunningSlot, format!("slot {slot} runs and was changed"));
        }
        let Some(answer) = answer else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(None);
        };
        if let Ok(Installed { slot, .. }) = answer {
            self.counts.installs += 1;
            let stands = self.scene()[slot as usize].whole();
            if stands != Some(release) && self.holds(Promise::Installed) {
                let how = format!("{} is not whole in {slot}, but {stands:?}", published.name);
                return broken(Promise::Installed, how);
            }
            if unflushed > 0 && self.is_known() {
                return broken(Promise::Installed, "done, and not flushed".into());
            }
        }
        let answer = answer.map(|installed| installed.slot);
        if !self.is_known() {
            return Ok(Some(answer));
        }
        let right = courses.iter().filter(|course| is_same(&course.answer, &answer));
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer).collect();
            let how = format!("installing answers {answer:?}, expected one of {expected:?}");
            return broken(Promise::NextUpdate, how);
        }
        self.states = states;
        Ok(Some(answer))
    }

    fn content_of(&self, slot: Slot) -> Vec<u8> {
        let stretches = self.route.ground.stretches(slot).into_iter();
        let bytes =
            |at: Range<u64>| self.disk().ram().bytes(at.start, (at.end - at.start) as usize);
        stretches.flat_map(bytes).collect()
    }

    fn scrub(&mut self, slot: Slot) -> Result<(), Broken> {
        if !self.route.slots.contains(&slot) {
            return Ok(());
        }
        let is_whole = self.scene()[slot as usize].whole().is_some();
        let device = self.route.chain.publisher.device();
        let ground = self.route.ground.clone();
        let scrubbed = self.run(None, |world| {
            let slots = ground.slots();
            let layout = ground.layout(&slots).expect("the ground is sound");
            let mut buffer = vec![0; HEAD_LEN_MAX];
            let disk: &mut dyn BlockDevice = &mut world.disks[0];
            driver::scrub::<SoftSha256>(
                &device,
                &layout,
                slot,
                &mut [disk],
                &mut |_| {},
                &mut buffer,
            )
            .map(|_| ())
        });
        self.tell(|| match &scrubbed {
            Some(Ok(())) => "  the slot verifies".into(),
            Some(Err(reason)) => format!("  the slot does not verify: {reason}"),
            None => "  cut by the power".into(),
        });
        if self.is_known() && scrubbed.is_some_and(|result| result.is_ok() != is_whole) {
            let how = format!("slot {slot} is whole: {is_whole}; the scrub says {scrubbed:?}");
            return broken(Promise::Tried, how);
        }
        Ok(())
    }

    /// The next update succeeds without help, except for giving free what is held.
    fn check(&mut self) -> Result<(), Broken> {
        if !self.is_known() || self.fault_lasts > 0 {
            return Ok(());
        }
        self.power_on(false, None)?;
        if let Some(runs) = self.running
            && runs.proof.slot.kind() == SlotKind::Update
        {
            self.confirm(runs, None)?;
        }
        self.free()?;
        let release = self.next_release();
        let slot = match self.install(release, None, false, true, None)? {
            Some(Ok(slot)) => slot,
            answer => {
                return broken(Promise::NextUpdate, format!("the next update fails: {answer:?}"));
            }
        };
        self.power_on(false, None)?;
        let runs = |walker: &Self| walker.running.map(|runs| (runs.proof.slot, runs.kind));
        if runs(self) != Some((slot, CandidateKind::Trial)) {
            let how = format!("{:?} starts instead of the next update", runs(self));
            return broken(Promise::NextUpdate, how);
        }
        if let Some(runs) = self.running {
            self.confirm(runs, None)?;
        }
        self.power_on(false, None)?;
        if runs(self) != Some((slot, CandidateKind::Good)) {
            let how = format!("{:?} starts instead of the confirmed update", runs(self));
            return broken(Promise::NextUpdate, how);
        }
        self.counts.checks += 1;
        Ok(())
    }
}

fn runs(started: &world::PowerOn) -> Option<Runs> {
    let kind = started.report.lines.last()?.candidate.kind;
    started.proof.map(|proof| Runs { proof, kind })
}

fn distinct(states: impl Iterator<Item = Model>) -> Vec<Model> {
    let mut out = Vec::new();
    for state in states {
        if !out.contains(&state) {
            out.push(state);
        }
    }
    out
}

/// Which promise a start breaks that is none of those expected.
fn judge_start(came: &Boots, expected: &[Boots]) -> Broken {
    let promise = if expected.iter().all(|boots| boots.found != came.found) {
        Promise::Record
    } else {
        match came.start {
            None => Promise::Boots,
            Some(Start { kind: CandidateKind::Trial, .. }) => Promise::Tries,
            Some(_) => Promise::Confirmed,
        }
    };
    Broken { promise, how: format!("{came:?}, expected one of {expected:?}") }
}
