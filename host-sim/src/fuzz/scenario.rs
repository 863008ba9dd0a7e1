//! A life of a device that the input describes: what is done to it, and where the power fails.
//!
//! The first byte chooses the medium and the slots. Then come events of four bytes each: the first
//! byte says what happens and what goes wrong meanwhile, the other three say which, when and how.
//! The promises are judged by the bytes that were published and where a whole installation of them
//! stands, not by anything that the core says of itself.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, Geometry};
use stillboot::format::{BootProof, Floor, Hold, Slot, SlotKind};
use stillboot::record::RecordStatus;
use stillboot::request::Request;
use stillboot::select::CandidateKind;

use crate::disk::{Cut, PowerCut, RamDisk, Tear, WriteCache};
use crate::engine::{Disks, Engine, HandoverFailure, Outcome, Program, Setting, Started};
use crate::fault::{Fault, Faulty};
use crate::oracle::Published;
use crate::story::{Catalogue, NEXT, Name};
use crate::world::{DeviceMap, SimStore};

/// Most events of one life; what is left of the input is not looked at.
const EVENTS_MAX: usize = 48;
/// What the engine remembers ends here, so that memory does too.
const CORE_RUNS_MAX: u64 = 30_000;
const SLOT_BYTES: u64 = 48 << 10;
/// A log block is full after a few updates, so that it moves.
const LOG_BLOCK_BYTES: u32 = 8 << 10;
const NOT_HELD: Hold = Hold { until: 0, since: 0 };

/// Releases that events install; the one that comes after everything is not among them.
const OFFERED: [Name; 8] = [0, 1, 2, 3, 6, 7, 8, 9];

/// Whatever happens, only what was published runs; while nothing but the power fails, something
/// runs whenever anything whole is there, and the next update succeeds.
pub fn scenario(data: &[u8]) {
    let Some((shape, rest)) = data.split_first() else { return };
    thread_local! {
        static STAGES: RefCell<BTreeMap<u8, Stage>> = const { RefCell::new(BTreeMap::new()) };
        static CATALOGUE: &'static Catalogue =
            Box::leak(Box::new(Catalogue::new().expect("the releases can be signed")));
    }
    STAGES.with_borrow_mut(|stages| {
        let kind = shape % 16;
        let stage =
            stages.entry(kind).or_insert_with(|| Stage::new(CATALOGUE.with(|it| *it), kind));
        if stage.engine.core_runs > CORE_RUNS_MAX {
            stage.engine = Engine::default();
        }
        let mut life = Life::new(stage);
        for event in rest.as_chunks::<4>().0.iter().take(EVENTS_MAX) {
            life.event(*event);
        }
        life.end();
    });
}

/// What all lives on one medium share.
struct Stage {
    setting: Setting<'static>,
    known: Published<'static>,
    engine: Engine,
    has_cache: bool,
    has_store: bool,
}

impl Stage {
    /// Bits of `kind`: NOR flash, a recovery slot, a store of the floor; of disks a write cache, of
    /// flash a log in three blocks.
    fn new(catalogue: &'static Catalogue, kind: u8) -> Self {
        let nor = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: 8,
            erase_block_bytes: 4096,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        let is_nor = kind & 1 != 0;
        let geometry = if is_nor { nor } else { Geometry::disk(512, 0) };
        let all = [Slot::A, Slot::B, Slot::Recovery];
        let slots = if kind & 2 == 0 { &all[..2] } else { &all[..] };
        let setting = Setting {
            device: catalogue.publisher.device(),
            ground: if is_nor && kind & 8 != 0 {
                let log = Geometry { erase_block_bytes: LOG_BLOCK_BYTES, ..geometry };
                DeviceMap::log(log, 3, LOG_BLOCK_BYTES.into(), slots, SLOT_BYTES)
            } else {
                DeviceMap::new(geometry, slots, SLOT_BYTES)
            },
            tries: 3,
            bundles: catalogue.releases.iter().map(|release| release.sent.clone()).collect(),
            stated: Vec::new(),
        };
        let known = Published::new(&setting, &catalogue.releases);
        Self {
            setting,
            known,
            engine: Engine::default(),
            has_cache: kind & 8 != 0 && !is_nor,
            has_store: kind & 4 != 0,
        }
    }
}

/// A disk that can lose its power, and in its cache what it has not stored. Without a cache it is
/// flushed after each change.
#[derive(Clone, Debug)]
struct Drive {
    below: PowerCut<WriteCache<RamDisk>>,
    has_cache: bool,
}

impl Drive {
    fn settle(&mut self) {
        if !self.has_cache {
            // A torn write fails and has an effect all the same.
            let _ = self.below.device_mut().flush();
        }
    }
}

impl BlockDevice for Drive {
    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), stillboot::device::DeviceError> {
        self.below.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), stillboot::device::DeviceError> {
        let result = self.below.write(offset, bytes);
        self.settle();
        result
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), stillboot::device::DeviceError> {
        let result = self.below.erase(offset, len);
        self.settle();
        result
    }
    fn flush(&mut self) -> Result<(), stillboot::device::DeviceError> {
        self.below.flush()
    }
}

impl Disks for Drive {
    fn flush_part(&mut self, _: &Range<u64>) -> Result<(), stillboot::device::DeviceError> {
        self.flush()
    }
}

struct Life<'s> {
    stage: &'s mut Stage,
    drive: Drive,
    store: Option<SimStore>,
    nonce: u64,
    /// What runs, until the power fails.
    running: Option<BootProof>,
    /// The proof of an earlier start.
    stale: Option<BootProof>,
    /// Nothing but the power has failed so far.
    only_power: bool,
    /// The highest that anything reaches of which a confirmation was ever begun.
    confirmed: Floor,
}

impl<'s> Life<'s> {
    fn new(stage: &'s mut Stage) -> Self {
        let geometry = stage.setting.ground.geometries()[0];
        let ram = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let has_cache = stage.has_cache;
        let drive = Drive { below: PowerCut::new(WriteCache::new(ram)), has_cache };
        let store = stage.has_store.then(SimStore::default);
        Self {
            stage,
            drive,
            store,
            nonce: 0,
            running: None,
            stale: None,
            only_power: true,
            confirmed: Floor::default(),
        }
    }

    /// One event: what happens in the low half of its first byte, what goes wrong in the high one.
    fn event(&mut self, [what, which, when, how]: [u8; 4]) {
        let slot = [Slot::A, Slot::B, Slot::Recovery, Slot::B][usize::from(which & 3)];
        let program = match what & 15 {
            0..=3 => Program::Boot {
                nonce: 0,
                watchdog_reset: which & 16 != 0,
                returns: (which & 32 != 0).then_some((
                    slot,
                    if which & 64 == 0 {
                        HandoverFailure::Returned
                    } else {
                        HandoverFailure::NotStarted
                    },
                )),
            },
            4..=6 => Program::Install {
                bundle: OFFERED[usize::from(which >> 2 & 7)],
                running: self.running,
                target: (which & 64 != 0).then_some(slot),
                repair: which & 128 != 0,
            },
            7 | 8 => match self.running {
                Some(proof) => Program::Perform(Request::MarkGood(proof)),
                None => return,
            },
            9 => match self.stale {
                Some(proof) => Program::Perform(Request::MarkGood(proof)),
                None => return,
            },
            10 => Program::Perform(Request::Rollback(slot)),
            11 => Program::Perform(Request::MarkBad(slot)),
            12 => Program::Perform(Request::HoldSlot(slot, which & 16 != 0)),
            13 => Program::Perform(Request::HoldUpdates(if which & 16 == 0 {
                NOT_HELD
            } else {
                Hold { until: u64::MAX, since: 0 }
            })),
            14 => Program::Perform(Request::Suspect(slot)),
            _ => return self.destroy(slot, which, when),
        };
        let change = self.drive.below.operations() + u64::from(when);
        let tear = u64::from(how) * 4;
        match what >> 4 {
            0..=7 => self.run(program, None),
            8..=13 => {
                let cut = match what >> 4 {
                    8 => Cut::Before,
                    9 | 10 => Cut::After,
                    11 => Cut::Torn(Tear::Prefix(tear)),
                    12 => Cut::Torn(Tear::Suffix(tear)),
                    _ => Cut::Torn(Tear::Mixed(how.into())),
                };
                self.drive.below.cut_at(change, cut);
                self.run(program, None);
                self.lose_power(how);
            }
            _ => {
                let (count, bit) = (u64::from(when), u64::from(how));
                let fault = match how % 8 {
                    0 => Fault::WriteOnce(count),
                    1 => Fault::WriteAlways(count),
                    2 => Fault::ReadOnce(count),
                    3 => Fault::ReadAlways(count),
                    4 => Fault::Stuck(count),
                    5 => Fault::Misdirected(count, bit),
                    6 => Fault::Rot(count, bit),
                    _ => Fault::Unstable(count, bit),
                };
                self.only_power = false;
                self.run(program, Some(fault));
            }
        }
    }

    /// Bytes change without the core knowing.
    fn destroy(&mut self, slot: Slot, which: u8, when: u8) {
        self.only_power = false;
        let ground = &self.stage.setting.ground;
        let slots = ground.slots();
        let region = match slots.iter().find(|found| found.slot == slot) {
            Some(found) if which & 16 == 0 => found.regions[0].region,
            _ => ground.record(usize::from(which & 1)),
        };
        let at = region.offset + u64::from(when) * 64 % region.len;
        self.drive.below.device_mut().device_mut().poke(at, &[which; 16]);
    }

    fn lose_power(&mut self, how: u8) {
        match how % 4 {
            0 => self.drive.below.device_mut().lose_all(),
            _ => self
                .drive
                .below
                .device_mut()
                .lose(how.into())
                .expect("a disk in memory takes what fits it"),
        }
        self.drive.below.power_on();
        self.running = None;
    }

    fn run(&mut self, mut program: Program, fault: Option<Fault>) {
        if let Program::Boot { nonce, .. } = &mut program {
            self.nonce += 1;
            *nonce = self.nonce;
            self.stale = self.running.take().or(self.stale);
        }
        if let Program::Perform(Request::MarkGood(proof)) = program
            && let Some(name) = self.stage.known.named(&proof.digest)
        {
            self.confirmed = self.confirmed.max(self.stage.known.releases[name].floor);
        }
        let Stage { setting, engine, .. } = &mut *self.stage;
        let outcome = match fault {
            None => engine.run(setting, &program, &mut self.drive, &mut self.store, None),
            Some(fault) => {
                let mut faulty = Faulty::new(self.drive.clone(), fault);
                let outcome = engine.run(setting, &program, &mut faulty, &mut self.store, None);
                self.drive = faulty.into_inner();
                outcome
            }
        };
        match &*outcome {
            Outcome::Boot(started) => {
                let returns = match program {
                    Program::Boot { returns, .. } => returns.map(|(slot, _)| slot),
                    _ => None,
                };
                self.judge(started, returns, fault.is_none());
            }
            Outcome::Install(Ok(installed)) if self.only_power && !self.drive.below.is_off() => {
                let Program::Install { bundle, .. } = program else { return };
                // What stands there, and not in a cache.
                let mut medium = self.drive.below.device().device().clone();
                let whole = self.stage.known.intact(&mut medium);
                assert!(whole.contains(&(installed.slot, bundle)), "{installed:?} of {bundle}");
            }
            _ => {}
        }
    }

    fn judge(&mut self, started: &Started, returns: Option<Slot>, is_sound: bool) {
        let known = &self.stage.known;
        let is_sound = is_sound && self.only_power && !self.drive.below.is_off();
        // What is switched to is whole, and stays so while nothing else is installed there.
        for line in started.report.lines.iter().filter(|_| is_sound) {
            let is_tried = matches!(
                line.candidate.kind,
                CandidateKind::Trial | CandidateKind::Good | CandidateKind::Suspect
            );
            let has_run =
                matches!(line.reason, Reason::Started | Reason::Returned | Reason::NotStarted);
            if is_tried && !has_run {
                let slot = line.candidate.slot;
                let whole = known.intact(&mut self.drive);
                assert!(whole.iter().any(|found| found.0 == slot), "{slot} is tried half full");
            }
        }
        if let Some(proof) = started.proof {
            let name = known.named(&proof.digest).expect("only what was published runs");
            let release = &known.releases[name];
            assert!(release.is_genuine, "{} runs", release.name);
            assert_eq!(
                release.kind,
                proof.slot.kind(),
                "{} runs from {}",
                release.name,
                proof.slot
            );
            assert_ne!(returns, Some(proof.slot), "what returns does not run");
            assert_eq!(started.loaded.len(), release.contents.len());
            for (loaded, published) in started.loaded.iter().zip(&release.contents) {
                assert_eq!(loaded.1, published.0);
                assert!(loaded.2.starts_with(&published.1), "{} with other bytes", release.name);
            }
            if let Some(store) = &self.store {
                let floor = store.floors[proof.slot.kind() as usize].unwrap_or_default();
                assert!(release.floor >= floor, "{} runs below {floor:?}", release.name);
            }
            self.running = Some(proof);
        } else if is_sound {
            assert!(!matches!(started.report.record, RecordStatus::Lost), "{:?}", started.report);
            // Updates are below the floor only where something else was confirmed.
            let floor = |kind: SlotKind| match kind {
                SlotKind::Update => self.confirmed,
                SlotKind::Recovery => started.record.body.floor_of(kind),
            };
            let whole = known.intact(&mut self.drive);
            let able = whole.iter().find(|(slot, name)| {
                known.releases[*name].floor >= floor(slot.kind()) && returns != Some(*slot)
            });
            assert_eq!(able, None, "whole, and nothing starts: {:?}", started.report);
        }
    }

    /// After everything: the next update, without help.
    fn end(mut self) {
        self.power_on();
        if !self.only_power {
            return;
        }
        if let Some(proof) = self.running.filter(|proof| proof.slot.kind() == SlotKind::Update) {
            // What is healthy is confirmed.
            self.perform(Request::MarkGood(proof));
        }
        // What an operator holds is given free.
        for request in [
            Request::HoldUpdates(NOT_HELD),
            Request::HoldSlot(Slot::A, false),
            Request::HoldSlot(Slot::B, false),
        ] {
            self.perform(request);
        }
        let Stage { setting, engine, .. } = &mut *self.stage;
        let running = self.running;
        let install = Program::Install { bundle: NEXT, running, target: None, repair: false };
        let outcome = engine.run(setting, &install, &mut self.drive, &mut self.store, None);
        let Outcome::Install(Ok(installed)) = &*outcome else {
            panic!("the next update fails with {running:?}: {outcome:?}")
        };
        for _ in 0..2 {
            self.power_on();
            let proof = self.running.expect("the next update starts");
            let digest = self.stage.known.releases[NEXT].digest;
            assert_eq!((proof.slot, proof.digest), (installed.slot, digest));
            self.perform(Request::MarkGood(proof));
        }
    }

    fn power_on(&mut self) {
        self.run(Program::Boot { nonce: 0, watchdog_reset: false, returns: None }, None);
    }

    fn perform(&mut self, request: Request) {
        self.run(Program::Perform(request), None);
    }
}

/// Lives to start from.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    const ON: [u8; 4] = [0, 0, 0, 0];
    const CONFIRM: [u8; 4] = [7, 0, 0, 0];
    let install = |release: u8| [4, release << 2, 0, 0];
    let made = [install(0), ON, CONFIRM, ON];
    let life = |kind: u8, events: &[[u8; 4]]| {
        [&[kind][..], made.as_flattened(), events.as_flattened()].concat()
    };
    let mut seeds: Vec<_> =
        (0..16).map(|kind| life(kind, &[install(1), ON, CONFIRM, ON])).collect();
    for cut in 8..14 {
        let cut_install = [cut << 4 | 4, 2 << 2, 9 + cut, 40];
        seeds.push(life(cut, &[cut_install, ON, install(2), [cut << 4, 0, 1, 9], ON, CONFIRM]));
    }
    for fault in 0..8 {
        seeds.push(life(fault, &[[0xe4, 1 << 2, 7, fault], ON, [15, fault, 5, 0], ON]));
    }
    seeds.push(life(2, &[[4, 4 << 2 | 64 | 2, 0, 0], install(1), ON, [10, 1, 0, 0], ON]));
    seeds.push(life(0, &[install(1), ON, ON, ON, ON, [11, 1, 0, 0], [12, 17, 0, 0], ON]));
    seeds
}
