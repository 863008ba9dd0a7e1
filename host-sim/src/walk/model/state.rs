//! The states of the reference machine.

use std::cmp::Reverse;

use stillboot::format::record::{Body, FAILED_MAX};
use stillboot::format::{Failed, Fault, Floor, Slot, SlotKind, SlotState};
use stillboot::select::CandidateKind;

use crate::walk::chain::{Chain, Name};

/// What the store of the floor holds, by kind.
pub type Store = [Option<Floor>; 2];

/// What there is of a boot record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing was ever written.
    Nothing,
    /// All copies were lost.
    Lost,
    /// A record.
    Record,
}

/// A device as far as its record goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The slots that it has.
    pub slots: &'static [Slot],
    /// Tries of a new slot.
    pub tries: u8,
    /// Whether it has a store of the floor.
    pub has_store: bool,
    /// Whether there is a record.
    pub kept: Kept,
    /// What the record says.
    pub body: Body,
}

/// What a call does: every state that it leaves on the device in turn, the first from before, and
/// what it answers.
#[derive(Clone, Debug)]
pub struct Course<T> {
    /// The states.
    pub states: Vec<Model>,
    /// The answer.
    pub answer: T,
}

impl<T> Course<T> {
    /// The state when all is done.
    #[must_use]
    pub fn end(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }
}

impl Model {
    /// A new device.
    #[must_use]
    pub fn new(slots: &'static [Slot], tries: u8, has_store: bool) -> Self {
        Self { slots, tries, has_store, kept: Kept::Nothing, body: Body::default() }
    }

    /// The same device after all copies of its record were lost.
    #[must_use]
    pub fn lost(&self) -> Self {
        Self { kept: Kept::Lost, body: Body::default(), ..self.clone() }
    }

    pub(super) fn of_kind(&self, kind: SlotKind) -> impl Iterator<Item = Slot> {
        self.slots.iter().copied().filter(move |slot| slot.kind() == kind)
    }

    pub(super) fn is_good(&self, slot: Slot) -> bool {
        self.body.slot(slot).state == SlotState::Good
    }

    pub(super) fn waits(&self, slot: Slot) -> bool {
        matches!(self.body.slot(slot).state, SlotState::Ready { .. } | SlotState::Trying { .. })
    }

    pub(super) fn describe(&mut self, chain: &Chain, slot: Slot, release: Name) {
        let release = &chain.releases[release];
        let entry = self.body.slot_mut(slot);
        entry.digest = release.digest;
        entry.floor = release.floor;
        entry.version = release.version.chars().collect();
    }

    /// "The failed list."
    fn remember(&mut self, slot: Slot, fault: Fault) -> Fault {
        let digest = self.body.slot(slot).digest;
        let mut entry = Failed { digest, fault, count: 1, at: 0 };
        let mut list: Vec<_> = self.body.failed.iter().copied().collect();
        if let Some(at) = list.iter().position(|failed| failed.digest == digest) {
            let old = list.remove(at);
            entry.count = old.count.saturating_add(1);
            if old.fault != Fault::Exhausted {
                entry.fault = old.fault;
            }
        }
        if list.len() == FAILED_MAX {
            let softest = list.iter().position(|failed| failed.fault == Fault::Exhausted);
            list.remove(softest.unwrap_or(0));
        }
        list.push(entry);
        self.body.failed = list.into_iter().collect();
        entry.fault
    }

    pub(super) fn set_bad(&mut self, slot: Slot, fault: Fault) {
        // The update was read back whole: a slot that rotted says nothing against it.
        let fault = match fault {
            Fault::Corrupt => fault,
            _ => self.remember(slot, fault),
        };
        let entry = self.body.slot_mut(slot);
        entry.state = SlotState::Bad { fault };
        entry.suspect = false;
    }

    /// Gives the slot the highest priority and leaves the order of the others, of equals the lower
    /// number before the higher.
    pub(super) fn prefer(&mut self, slot: Slot) {
        self.order_by(|other| i32::from(other == slot));
    }

    /// The same with the lowest.
    pub(super) fn put_last(&mut self, slot: Slot) {
        self.order_by(|other| -i32::from(other == slot));
    }

    fn order_by(&mut self, first: impl Fn(Slot) -> i32) {
        let mut order = Slot::ALL.to_vec();
        let rank = |other: &Slot| (first(*other), self.body.slot(*other).priority, Reverse(*other));
        order.sort_by_key(rank);
        for (priority, other) in order.into_iter().enumerate() {
            self.body.slot_mut(other).priority = priority as u8;
        }
    }

    /// Boot step 2.
    pub(super) fn order(&self, is_scanned: bool) -> Vec<(Slot, CandidateKind)> {
        let kind = |slot: Slot| {
            let entry = self.body.slot(slot);
            match (slot.kind(), entry.state) {
                (
                    SlotKind::Recovery,
                    SlotState::Good | SlotState::Ready { .. } | SlotState::Trying { .. },
                ) => Some(CandidateKind::Recovery),
                (SlotKind::Update, SlotState::Ready { .. }) => Some(CandidateKind::Trial),
                (SlotKind::Update, SlotState::Trying { left, .. }) => {
                    (left > 0).then_some(CandidateKind::Trial)
                }
                (SlotKind::Update, SlotState::Good) => {
                    Some(if entry.suspect { CandidateKind::Suspect } else { CandidateKind::Good })
                }
                _ => None,
            }
        };
        let group = |kind: CandidateKind| match kind {
            CandidateKind::Trial => 3 * i32::from(is_scanned),
            CandidateKind::Good => 1,
            CandidateKind::Suspect => 2,
            CandidateKind::Recovery => 4,
            CandidateKind::LastResort => 5,
        };
        let priority = |slot: Slot| Reverse(self.body.slot(slot).priority);
        // A suspect that hung as one stands behind recovery until something is confirmed.
        let recovery = self.body.slot(Slot::Recovery).priority;
        let hung = |(slot, kind): &(Slot, CandidateKind)| {
            *kind == CandidateKind::Suspect && self.body.slot(*slot).priority < recovery
        };
        let mut first: Vec<_> =
            self.slots.iter().filter_map(|slot| Some((*slot, kind(*slot)?))).collect();
        first.sort_by_key(|at| (hung(at), group(at.1), priority(at.0), at.0));
        let hope = |slot: Slot| match self.body.slot(slot).state {
            SlotState::Good => 0,
            SlotState::Ready { .. } | SlotState::Trying { .. } => 1,
            SlotState::Bad { fault: Fault::MarkedBad | Fault::DataEpoch } => 3,
            SlotState::Bad { .. } => 2,
            SlotState::Writing => 4,
            SlotState::Empty => 5,
        };
        let mut last = self.slots.to_vec();
        last.sort_by_key(|slot| (hope(*slot), priority(*slot), *slot));
        first.extend(last.into_iter().map(|slot| (slot, CandidateKind::LastResort)));
        first
    }
}
