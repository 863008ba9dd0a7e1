//! A power-on of the reference machine.

use std::cmp::Reverse;

use stillboot::format::record::Body;
use stillboot::format::{Fault, Floor, SLOTS_MAX, Slot, SlotKind, SlotState};
use stillboot::select::CandidateKind;

use super::state::{Course, Kept, Model, Store};
use crate::engine::HandoverFailure;
use crate::walk::chain::{Chain, Name};
use crate::walk::contents::{Content, DiskContents};

/// What starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// From where.
    pub slot: Slot,
    /// On what grounds.
    pub kind: CandidateKind,
    /// What.
    pub release: Name,
}

/// What a power-on comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boots {
    /// What starts, if anything does.
    pub start: Option<Start>,
    /// What the store holds afterwards.
    pub store: Store,
    /// The record as the loader reports to have found it.
    pub found: Kept,
}

/// What the surroundings of a power-on are.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// What stands in the slots.
    pub contents: DiskContents,
    /// What the store holds.
    pub store: Store,
    /// The nonce of this power-on.
    pub nonce: u64,
    /// A watchdog ended the one before.
    pub watchdog: bool,
    /// Images come back to the loader, and why.
    pub returns: Option<HandoverFailure>,
}

impl Model {
    /// A power-on.
    #[must_use]
    pub fn power_on(&self, chain: &Chain, on: &Surroundings) -> Course<Boots> {
        Loader::new(self.clone(), chain, on).run()
    }

    /// Boot step 1, where there is no record.
    fn scan(&mut self, chain: &Chain, contents: &DiskContents) {
        self.body = Body::default();
        let mut found = [None; SLOTS_MAX];
        for slot in self.slots {
            let Content { head: Some(release), is_committed: true, is_confirmed, .. } =
                contents[*slot as usize]
            else {
                continue;
            };
            self.describe(chain, *slot, release);
            let is_good = is_confirmed || slot.kind() == SlotKind::Recovery;
            self.body.slot_mut(*slot).state =
                if is_good { SlotState::Good } else { SlotState::Ready { tries: self.tries } };
            if slot.kind() == SlotKind::Update {
                found[*slot as usize] = Some(chain.releases[release].order);
            }
        }
        // The newer goes first, and of equals the one with the lower number.
        let mut order = Slot::ALL.to_vec();
        order.sort_by_key(|slot| (found[*slot as usize], Reverse(*slot)));
        for (priority, slot) in order.into_iter().enumerate() {
            self.body.slot_mut(slot).priority = priority as u8;
        }
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            if let Some(floor) = self.lowest_good(kind) {
                *self.body.floor_of_mut(kind) = floor;
            }
        }
    }

    fn lowest_good(&self, kind: SlotKind) -> Option<Floor> {
        let good = self.of_kind(kind).filter(|slot| self.is_good(*slot));
        good.map(|slot| self.body.slot(slot).floor).min()
    }
}

/// One power-on of the model.
struct Loader<'a> {
    chain: &'a Chain,
    on: &'a Surroundings,
    /// As the loader has it.
    at: Model,
    /// As it stands on the device, in turn.
    states: Vec<Model>,
    is_scanned: bool,
    found: Kept,
    store: Store,
    /// Slots that are through.
    out: [bool; SLOTS_MAX],
    counted: [bool; SLOTS_MAX],
    refused_by_floor: [bool; 2],
    ignore_floor: [bool; 2],
    /// Slots that reach the recorded floor and were not found corrupt.
    reaches: [bool; SLOTS_MAX],
}

/// What became of one candidate.
enum Tried {
    Starts(Name),
    Out,
    Later,
}

impl<'a> Loader<'a> {
    fn new(before: Model, chain: &'a Chain, on: &'a Surroundings) -> Self {
        Self {
            chain,
            on,
            states: vec![before.clone()],
            is_scanned: before.kept != Kept::Record,
            found: before.kept,
            at: before,
            store: on.store,
            out: [false; SLOTS_MAX],
            counted: [false; SLOTS_MAX],
            refused_by_floor: [false; 2],
            ignore_floor: [false; 2],
            reaches: [false; SLOTS_MAX],
        }
    }

    fn write(&mut self) {
        self.at.kept = Kept::Record;
        self.states.push(self.at.clone());
    }

    fn is_dirty(&self) -> bool {
        let written = &self.states[self.states.len() - 1];
        written.kept != Kept::Record || written.body != self.at.body
    }

    fn run(mut self) -> Course<Boots> {
        if self.is_scanned {
            self.at.scan(self.chain, &self.on.contents);
        } else {
            let on_trial = |at: &Model| {
                let trying = |slot| matches!(at.body.slot(slot).state, SlotState::Trying { .. });
                Slot::ALL.into_iter().any(trying)
            };
            // A trial that was under way is what the watchdog ended.
            let hung_on_trial = on_trial(&self.at);
            for slot in [Slot::A, Slot::B, Slot::C] {
                if let SlotState::Trying { left: 0, .. } = self.at.body.slot(slot).state {
                    self.at.set_bad(slot, Fault::Exhausted);
                }
            }
            let (slot, kind) = self.at.order(false)[0];
            if self.on.watchdog && !hung_on_trial {
                match kind {
                    CandidateKind::Good => self.at.body.slot_mut(slot).suspect = true,
                    CandidateKind::Suspect | CandidateKind::Recovery => self.at.put_last(slot),
                    CandidateKind::Trial | CandidateKind::LastResort => {}
                }
            }
        }
        let mut start = self.pass();
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            let number = kind as usize;
            if start.is_none()
                && self.refused_by_floor[number]
                && !self.at.of_kind(kind).any(|slot| self.reaches[slot as usize])
            {
                self.ignore_floor[number] = true;
                start = self.pass();
            }
        }
        if start.is_none() && self.found != Kept::Nothing && self.is_dirty() {
            self.write();
        }
        let answer = Boots { start, store: self.store, found: self.found };
        Course { states: self.states, answer }
    }

    fn pass(&mut self) -> Option<Start> {
        for (slot, kind) in self.at.order(self.is_scanned) {
            if self.out[slot as usize] {
                continue;
            }
            if kind == CandidateKind::Trial && !self.counted[slot as usize] {
                let entry = self.at.body.slot_mut(slot);
                let (left, attempt) = match entry.state {
                    SlotState::Ready { tries } => (tries - 1, 1),
                    SlotState::Trying { left, attempt, .. } => (left - 1, attempt + 1),
                    _ => continue,
                };
                entry.state = SlotState::Trying { left, attempt, nonce: self.on.nonce };
                self.counted[slot as usize] = true;
                self.write();
            }
            match self.verify(slot, kind) {
                Tried::Starts(release) => {
                    self.settle(slot, kind, release);
                    let Some(back) = self.on.returns else {
                        return Some(Start { slot, kind, release });
                    };
                    if kind == CandidateKind::Trial && back == HandoverFailure::Returned {
                        self.at.set_bad(slot, Fault::Returned);
                    }
                    self.out[slot as usize] = true;
                }
                Tried::Out => self.out[slot as usize] = true,
                Tried::Later => {}
            }
        }
        None
    }

    /// Boot step 4.
    fn verify(&mut self, slot: Slot, kind: CandidateKind) -> Tried {
        let number = slot.kind() as usize;
        let content = self.on.contents[slot as usize];
        let condemn = |at: &mut Model| {
            if kind != CandidateKind::LastResort || at.is_good(slot) || at.waits(slot) {
                at.set_bad(slot, Fault::Corrupt);
            }
            Tried::Out
        };
        let Some(name) = content.head else { return condemn(&mut self.at) };
        let release = &self.chain.releases[name];
        if release.floor < self.on.store[number].unwrap_or_default() {
            return Tried::Out;
        }
        if release.floor < self.at.body.floor_of(slot.kind()) && !self.ignore_floor[number] {
            self.refused_by_floor[number] = true;
            return Tried::Later;
        }
        self.reaches[slot as usize] = release.floor >= self.at.body.floor_of(slot.kind());
        if kind != CandidateKind::LastResort && release.digest != self.at.body.slot(slot).digest {
            return Tried::Later;
        }
        if content.is_whole {
            return Tried::Starts(name);
        }
        self.reaches[slot as usize] = false;
        condemn(&mut self.at)
    }

    /// What is written before hand-over.
    fn settle(&mut self, slot: Slot, kind: CandidateKind, release: Name) {
        match kind {
            // It was written when the try was counted.
            CandidateKind::Trial => return,
            CandidateKind::LastResort => {
                let digest = self.chain.releases[release].digest;
                let old = self.at.body.slot(slot);
                let attempt = match old.state {
                    SlotState::Trying { attempt, .. } if old.digest == digest => attempt + 1,
                    _ => 1,
                };
                self.at.describe(self.chain, slot, release);
                let nonce = self.on.nonce;
                self.at.body.slot_mut(slot).state = match slot.kind() {
                    SlotKind::Update => SlotState::Trying { left: 0, attempt, nonce },
                    SlotKind::Recovery => SlotState::Good,
                };
                if slot.kind() == SlotKind::Update {
                    self.at.put_last(slot);
                }
            }
            CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery => {
                self.raise_floor(slot, release)
            }
        }
        if self.is_dirty() {
            self.write();
        }
    }

    /// Boot step 8.
    fn raise_floor(&mut self, slot: Slot, release: Name) {
        let kind = slot.kind();
        let number = kind as usize;
        let recorded = self.at.body.floor_of(kind);
        let hint = self.at.lowest_good(kind).unwrap_or_default();
        let kept = self.on.store[number].unwrap_or_default();
        let lags = hint > recorded || (self.at.has_store && hint > kept);
        if !lags && !self.ignore_floor[number] {
            return;
        }
        let mut lowest = self.chain.releases[release].floor;
        for other in self.at.of_kind(kind).filter(|other| *other != slot && self.at.is_good(*other))
        {
            let found =
                self.on.contents[other as usize].head.map(|name| &self.chain.releases[name]);
            match found.filter(|found| found.digest == self.at.body.slot(other).digest) {
                Some(found) => lowest = lowest.min(found.floor),
                None => return,
            }
        }
        if self.at.has_store && lowest > kept {
            self.store[number] = Some(lowest);
        }
        if lowest > recorded || self.ignore_floor[number] {
            *self.at.body.floor_of_mut(kind) = lowest.max(kept);
        }
    }
}
