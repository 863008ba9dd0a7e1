//! A device, and the calls behind the tool's commands, each perhaps cut short by the power.

use stillboot::format::{BootProof, Hold, Slot};
use stillboot::install::{InstallConfig, InstallError, Installed, Running};
use stillboot::record::RecordStatus;
use stillboot::request::{Answer, Request, RequestError};

use super::past::{Field, LIVED, TRIES};
use super::unread::Unread;
use crate::disk::{Change, Cut, PowerCut, RamDisk, Random, Tear};
use crate::fault::{Fault, Faulty};
use crate::oracle::{Broken, Promise};
use crate::walk::chain::{LOW, OTHER_CLASS, RECOVERY};
use crate::words;
use crate::world::{Bytes, PowerOnOutcome, SimStore, World};

/// The disk: it may fail, it may have bytes that are never read, and its power may be cut.
pub type Disk = PowerCut<Unread<Faulty<RamDisk>>>;

/// A fault of the device that begins within the next commands.
pub fn any_fault(random: &mut Random) -> Fault {
    // A power-on makes some twenty requests, an installation a few more changes.
    let at = random.below(40);
    let number = random.next_u64() % 8192;
    match random.below(8) {
        0 => Fault::WriteOnce(at),
        1 => Fault::WriteAlways(at),
        2 => Fault::ReadOnce(at),
        3 => Fault::ReadAlways(at),
        4 => Fault::Stuck(at),
        5 => Fault::Misdirected(at, 1 + number % 13),
        6 => Fault::Rot(at, number),
        _ => Fault::Unstable(at, number),
    }
}

/// A device under the hand of an operator.
pub struct Device<'f, 'a> {
    /// Of which kind.
    pub field: &'f Field<'a>,
    pub(super) world: World<'a, Disk>,
    /// What runs.
    pub(super) running: Option<BootProof>,
    /// A proof of an earlier power-on.
    stale: Option<BootProof>,
    /// What happened, for people.
    pub told: Vec<String>,
    /// A promise that a command has broken.
    pub(super) broken: Option<Broken>,
}

impl<'f, 'a> Device<'f, 'a> {
    /// A device without power.
    pub fn new(
        field: &'f Field<'a>,
        disk: Disk,
        store: Option<SimStore>,
        told: Vec<String>,
    ) -> Self {
        let device = field.chain.publisher.device();
        let mut world = World::new(device, field.ground.clone(), vec![disk]);
        world.tries = TRIES;
        world.store = store;
        // No power-on of the past had it.
        world.nonce = 1 << 32;
        Self { field, world, running: None, stale: None, told, broken: None }
    }

    pub(super) fn disk(&self) -> &Unread<Faulty<RamDisk>> {
        self.world.disks[0].device()
    }

    /// What stands on the disk.
    pub(super) fn truly(&self) -> &RamDisk {
        self.disk().device().device()
    }

    /// The fault of the device is over, if it had one. Returns whether it had begun.
    pub(super) fn heal(&mut self) -> bool {
        let mut disk = self.disk().clone();
        let has_struck = disk.device().has_struck();
        disk.device_mut().set(None);
        self.world.disks[0] = PowerCut::new(disk);
        has_struck
    }

    /// One command of an operator who knows nothing, or a reset. Returns whether it was cut short.
    pub fn random_command(&mut self, random: &mut Random) -> bool {
        let slot = self.field.slots[random.below(self.field.slots.len() as u64) as usize];
        let is_cut = random.chance(1, 4);
        if is_cut {
            let cut = match random.below(5) {
                0 | 1 => Cut::Before,
                2 => Cut::After,
                3 => Cut::Torn(Tear::Prefix(1 + random.below(512))),
                _ => Cut::Torn(Tear::Mixed(random.next_u64())),
            };
            // Counted from here.
            let disk = self.world.disks[0].device().clone();
            self.world.disks[0] = PowerCut::new(disk);
            self.world.disks[0].cut_at(random.below(30), cut);
        }
        match random.below(20) {
            0..7 => drop(self.power_on(random.chance(1, 4))),
            7..9 => {
                if let Some(proof) = self.running {
                    let _ = self.perform(Request::MarkGood(proof));
                }
            }
            9 => {
                if let Some(proof) = self.stale {
                    let _ = self.perform(Request::MarkGood(proof));
                }
            }
            10 => drop(self.perform(Request::Rollback(slot))),
            11 => drop(self.perform(Request::MarkBad(slot))),
            12 => drop(self.perform(Request::HoldSlot(slot, random.chance(2, 3)))),
            13 => {
                let until = if random.chance(1, 2) { u64::MAX } else { 0 };
                let _ = self.perform(Request::HoldUpdates(Hold { until, since: 0 }));
            }
            14 => drop(self.perform(Request::Suspect(slot))),
            15 => {
                let digests = &self.field.digests;
                let digest = digests[random.below(digests.len() as u64) as usize];
                let request = match random.below(3) {
                    0 => Request::Discard(random.below(3) as u16),
                    1 => Request::Cancel,
                    _ => Request::Forget(digest),
                };
                let _ = self.perform(request);
            }
            _ => {
                let name = match random.below(12) {
                    0 => OTHER_CLASS,
                    1 => LOW,
                    2 | 3 => RECOVERY + random.below(2) as usize,
                    _ => random.below(LIVED as u64 + 3) as usize,
                };
                let target = (name == RECOVERY || name == RECOVERY + 1)
                    .then_some(Slot::Recovery)
                    .or_else(|| random.chance(1, 4).then_some(slot));
                let repair = random.chance(1, 6);
                let is_whole = random.chance(5, 6);
                let _ = self.install(name, is_whole, |config| {
                    config.target = target;
                    config.repair = repair;
                });
            }
        }
        let was_cut = self.world.disks[0].is_off();
        self.world.disks[0].power_on();
        if is_cut {
            // Where it was not reached, the power fails afterwards.
            self.world.disks[0] = PowerCut::new(self.world.disks[0].device().clone());
            self.running = None;
            self.told.push(format!("  the power fails{}", if was_cut { "" } else { " then" }));
        }
        is_cut
    }

    /// A power-on.
    pub(super) fn power_on(&mut self, watchdog: bool) -> PowerOnOutcome {
        if let Some(proof) = self.running.take() {
            self.stale = Some(proof);
        }
        self.world.watchdog_reset = watchdog;
        let (spared, changes) = (self.true_copy(), self.changes());
        let on = self.world.power_on().expect("the ground is sound");
        self.look_at_record(spared, changes);
        self.told.push(words::power_on(&on.report));
        self.running = on.proof;
        on
    }

    /// A request.
    pub(super) fn perform(&mut self, request: Request) -> Result<Answer, RequestError> {
        let spared = if matches!(request, Request::Discard(_)) { None } else { self.true_copy() };
        let changes = self.changes();
        let answer = self.world.perform(request);
        self.look_at_record(spared, changes);
        self.told.push(words::request(&request, &answer));
        answer
    }

    /// An installation, by what runs or, if nothing does, offline.
    pub(super) fn install(
        &mut self,
        name: usize,
        is_whole: bool,
        change: impl FnOnce(&mut InstallConfig<'_>),
    ) -> Result<Installed, InstallError> {
        let chain = self.field.chain;
        let release = &chain.releases[name];
        let bundle = if is_whole { release.bundle.to_vec() } else { chain.tampered(name) };
        let running = self.running.map_or(Running::Offline, Running::Proof);
        let spared = self.unrecorded();
        let (copy, changes) = (self.true_copy(), self.changes());
        let answer = self.world.install_with(&mut Bytes::new(&bundle, usize::MAX), running, change);
        self.look_at_record(copy, changes);
        self.told.push(words::install(&release.name, &answer));
        let lost = spared.iter().find(|slot| !self.whole().contains(slot));
        if let Some(slot) = lost {
            let how = format!("without a record {slot} is written over, and was whole");
            self.broken.get_or_insert(Broken { promise: Promise::Boots, how });
        }
        answer
    }

    fn changes(&self) -> usize {
        self.world.disks[0].trace().len()
    }

    /// The place of the record, or the log block, that counts.
    fn true_copy(&self) -> Option<u8> {
        if self.disk().device().fault().is_some() {
            return None;
        }
        match self.world.clone().record() {
            Ok((_, RecordStatus::Current { copy }, _)) => Some(copy),
            _ => None,
        }
    }

    /// The only copy may be the one that counts: another one is erased first, always.
    fn look_at_record(&mut self, copy: Option<u8>, from: usize) {
        let Some(copy) = copy else { return };
        let ground = &self.field.ground;
        let places: Vec<_> =
            ground.places().iter().map(|place| (ground.place(*place), place.len)).collect();
        let erased = self.world.disks[0].trace()[from..].iter().find_map(|change| match change {
            Change::Erase { offset, .. } => {
                places.iter().position(|(at, len)| (*at..at + len).contains(offset))
            }
            Change::Write { .. } | Change::Flush => None,
        });
        if erased == Some(usize::from(copy)) {
            let how = format!("place {copy} holds the record that counts, and is erased");
            self.broken.get_or_insert(Broken { promise: Promise::Record, how });
        }
    }

    /// The slots that are whole while there is no record to say so. Nothing may be installed then: a
    /// power-on, which looks at all of them, comes first. A device that fails may not show its heads.
    fn unrecorded(&self) -> Vec<Slot> {
        if self.disk().device().fault().is_some() {
            return Vec::new();
        }
        match self.world.clone().record() {
            Ok((_, RecordStatus::Factory | RecordStatus::Lost, _)) => self.whole(),
            _ => Vec::new(),
        }
    }

    /// The slots that hold all of a release for this device, and can be read.
    pub(super) fn whole(&self) -> Vec<Slot> {
        let field = self.field;
        let scene = field.places.contents(field.chain, self.truly());
        let is_whole = |slot: &Slot| {
            let release = scene[*slot as usize].whole().map(|name| &field.chain.releases[name]);
            let mut stretches = field.ground.stretches(*slot).into_iter();
            release.is_some_and(|release| release.is_ours)
                && !stretches.any(|at| self.disk().meets(at.start, at.end))
        };
        field.slots.iter().copied().filter(is_whole).collect()
    }
}
