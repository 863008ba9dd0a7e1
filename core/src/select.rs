//! In which order slots are tried at power-on. Pure: a record in, candidates out.

use heapless::Vec;

use crate::canary::Canary;
use crate::format::record::Body;
use crate::format::{SLOTS_MAX, Slot, SlotKind, SlotState};

/// Why a slot stands where it does in the order (boot protocol step 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Claim {
    /// A new update with tries left: each start is counted first.
    Trial,
    /// Confirmed.
    Good,
    /// Confirmed, but a watchdog had to end it.
    Suspect,
    /// The recovery slot.
    Recovery,
    /// Nothing better is left: any slot that verifies and meets the floor.
    LastResort,
}

/// A slot to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Candidate {
    /// Which slot.
    pub slot: Slot,
    /// On what grounds.
    pub claim: Claim,
}

/// The candidates of one power-on, the first to be tried first.
pub type Candidates = Vec<Candidate, { 2 * SLOTS_MAX }>;

/// What is known of the record that the order is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// A record was there.
    Record,
    /// It was made anew from the slots' headers: confirmed slots first, for nothing else tells
    /// which one ran last.
    Headers,
}

/// The order in which the slots that `present` has are tried.
#[must_use]
pub fn candidates(body: &Body, knowledge: Knowledge, present: impl Fn(Slot) -> bool) -> Candidates {
    let mut out = Candidates::new();
    let mut add = |claims: &[Claim]| {
        for claim in claims {
            let mut slots: Vec<Slot, SLOTS_MAX> = Vec::new();
            for slot in Slot::ALL {
                if present(slot) && claim_of(body, slot) == Some(*claim) {
                    let _ = slots.push(slot);
                }
            }
            // Higher priority first; the stable order of ALL breaks ties.
            let priority = |slot: Slot| body.slot(slot).priority;
            sort(&mut slots, |one, other| (priority(other), one) < (priority(one), other));
            for slot in slots {
                let _ = out.push(Candidate { slot, claim: *claim });
            }
        }
    };
    match knowledge {
        Knowledge::Record => add(&[Claim::Trial, Claim::Good, Claim::Suspect, Claim::Recovery]),
        Knowledge::Headers => add(&[Claim::Good, Claim::Suspect, Claim::Trial, Claim::Recovery]),
    }
    // Before giving up: everything once more, whatever the record says of it.
    let mut rest: Vec<Slot, SLOTS_MAX> =
        Slot::ALL.into_iter().filter(|slot| present(*slot)).collect();
    let rank = |slot: Slot| {
        let entry = body.slot(slot);
        (despair(entry.state), u8::MAX - entry.priority, slot)
    };
    sort(&mut rest, |one, other| rank(one) < rank(other));
    for slot in rest {
        let _ = out.push(Candidate { slot, claim: Claim::LastResort });
    }
    out
}

/// Sorts the few slots there are. The sort of the standard library would be half of all the code
/// that a decision needs.
pub(crate) fn sort(slots: &mut [Slot], before: impl Fn(Slot, Slot) -> bool) {
    for end in 1..slots.len() {
        for at in (1..=end).rev() {
            if !before(slots[at], slots[at - 1]) {
                break;
            }
            slots.swap(at - 1, at);
        }
    }
}

/// On what grounds `slot` may be tried by the record alone.
fn claim_of(body: &Body, slot: Slot) -> Option<Claim> {
    let entry = body.slot(slot);
    if Canary::UnknownStateBoots.sings() && entry.state == SlotState::Writing {
        return Some(Claim::Good);
    }
    match (slot.kind(), entry.state) {
        (
            SlotKind::Recovery,
            SlotState::Ready { .. } | SlotState::Trying { .. } | SlotState::Good,
        ) => Some(Claim::Recovery),
        (SlotKind::Update, SlotState::Ready { .. }) => Some(Claim::Trial),
        (SlotKind::Update, SlotState::Trying { left, .. }) if left > 0 => Some(Claim::Trial),
        (SlotKind::Update, SlotState::Good) if entry.suspect => Some(Claim::Suspect),
        (SlotKind::Update, SlotState::Good) => Some(Claim::Good),
        (
            SlotKind::Update | SlotKind::Recovery,
            SlotState::Empty
            | SlotState::Writing
            | SlotState::Trying { .. }
            | SlotState::Bad { .. },
        ) => None,
    }
}

/// How little hope there is in a slot of this state.
const fn despair(state: SlotState) -> u8 {
    match state {
        SlotState::Good => 0,
        SlotState::Ready { .. } | SlotState::Trying { .. } => 1,
        SlotState::Bad { .. } => 2,
        SlotState::Writing => 3,
        SlotState::Empty => 4,
    }
}
