//! The device of a walk.

use stillboot::device::BlockDevice as _;
use stillboot::format::{BootProof, Floor};
use stillboot::select::CandidateKind;

use super::contents::DiskContents;
use super::event::{Loss, PowerLoss, Via};
use super::model::{Model, Store};
use super::route::{Device, Route, SOUND, TRIES};
use super::summary::WalkCounts;
use crate::disk::PowerCut;
use crate::explore::{Disk, row_of_fault};
use crate::fault::{Fault, Faulty};
use crate::oracle::{Broken, Promise};
use crate::words;

/// What runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    pub(super) proof: BootProof,
    pub(super) kind: CandidateKind,
}

/// A device on its way.
pub(super) struct Walker<'w, 'a> {
    pub(super) route: &'w Route<'a>,
    pub(super) world: Device<'a>,
    pub(super) running: Option<Runs>,
    /// A proof of an earlier power-on.
    pub(super) stale: Option<BootProof>,
    /// Every state that the device may be in; of no meaning while `faults` is not empty.
    pub(super) states: Vec<Model>,
    /// Faults that have struck since the device was last serviced.
    pub(super) faults: Vec<Fault>,
    /// What the device suffers from now.
    pub(super) fault: Fault,
    /// For how many events that lasts.
    pub(super) fault_lasts: u8,
    /// As what the bundle of the next installation comes.
    pub(super) via: Via,
    /// How many updates of the chain were offered.
    pub(super) offered: usize,
    /// The highest floor of what was offered, by kind.
    pub(super) highest: [Floor; 2],
    pub(super) counts: WalkCounts,
    pub(super) trace: Option<&'w mut Vec<String>>,
}

impl<'w, 'a> Walker<'w, 'a> {
    pub(super) fn new(route: &'w Route<'a>, trace: Option<&'w mut Vec<String>>) -> Self {
        Self {
            route,
            world: route.new_device(),
            running: None,
            stale: None,
            states: vec![Model::new(route.slots, TRIES, route.has_store)],
            faults: Vec::new(),
            fault: SOUND,
            fault_lasts: 0,
            via: Via::Bundle,
            offered: 0,
            highest: [Floor::default(); 2],
            counts: WalkCounts { devices: 1, ..WalkCounts::default() },
            trace,
        }
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    pub(super) fn disk(&self) -> &Disk {
        self.world.disks[0].device().device()
    }

    pub(super) fn disk_mut(&mut self) -> &mut Disk {
        self.world.disks[0].device_mut().device_mut()
    }

    pub(super) fn contents(&self) -> DiskContents {
        self.route.places.contents(self.route.chain, self.disk().ram())
    }

    pub(super) fn store(&self) -> Store {
        self.world.store.as_ref().map_or([None; 2], |store| store.floors)
    }

    pub(super) fn is_known(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a promise holds under all that has struck.
    pub(super) fn holds(&self, promise: Promise) -> bool {
        let row = |fault: &Fault| {
            let row = row_of_fault(*fault);
            self.route.table.get(row).unwrap_or_else(|| panic!("no row {row:?} in the table"))
        };
        self.faults.iter().all(|fault| row(fault).hold(promise))
    }

    /// Runs a program, perhaps until the power fails. Returns what it answered, `None` if the power
    /// failed before it could answer.
    pub(super) fn run<T>(
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
    pub(super) fn end(&mut self, power: Option<PowerLoss>) {
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

    /// Puts the same disk behind another fault.
    pub(super) fn suffer(&mut self, fault: Fault) {
        let disk = self.disk().clone();
        self.world.disks[0] = PowerCut::new(Faulty::new(disk, fault));
        self.fault = fault;
    }
}

pub(super) fn broken<T>(promise: Promise, how: String) -> Result<T, Broken> {
    Err(Broken { promise, how })
}

pub(super) fn distinct(states: impl Iterator<Item = Model>) -> Vec<Model> {
    let mut out = Vec::new();
    for state in states {
        if !out.contains(&state) {
            out.push(state);
        }
    }
    out
}
