//! In which order slots are tried at power-on. Pure: a record in, candidates out.

use heapless::Vec;

use crate::canary::Canary;
use crate::format::record::Body;
use crate::format::{Fault, SLOTS_MAX, Slot, SlotKind, SlotState};

/// Why a slot has its place in the order (boot protocol step 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Claim {
    /// A new update with tries left. Each start is counted before it happens.
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
    /// The slot.
    pub slot: Slot,
    /// The claim on which the slot is tried.
    pub claim: Claim,
}

/// The candidates of one power-on, the first to be tried first.
pub type Candidates = Vec<Candidate, { 2 * SLOTS_MAX }>;

/// The source of the record that gives the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// A record was there.
    Record,
    /// The record was rebuilt from the slots' headers. Confirmed slots go first, because nothing
    /// else says which slot ran last.
    Headers,
}

/// The order in which slots are tried. A slot is in it if `present` is true for the slot.
#[must_use]
pub fn candidates(body: &Body, knowledge: Knowledge, present: impl Fn(Slot) -> bool) -> Candidates {
    ordered(body, knowledge, Slot::ALL.map(present))
}

/// The slot that the next power-on tries first, as far as the record shows. A slot below the
/// recorded floor is not started.
#[must_use]
pub fn next(body: &Body, present: impl Fn(Slot) -> bool) -> Option<Slot> {
    let order = candidates(body, Knowledge::Record, present);
    let reaches = |slot: &Slot| body.slot(*slot).floor >= body.floor_of(slot.kind());
    order.iter().map(|candidate| candidate.slot).find(reaches)
}

fn ordered(body: &Body, knowledge: Knowledge, present: [bool; SLOTS_MAX]) -> Candidates {
    // The last claim in each list is for suspects that had their turn since recovery had its own.
    let claims = match knowledge {
        Knowledge::Record => {
            [Claim::Trial, Claim::Good, Claim::Suspect, Claim::Recovery, Claim::Suspect]
        }
        Knowledge::Headers => {
            [Claim::Good, Claim::Suspect, Claim::Trial, Claim::Recovery, Claim::Suspect]
        }
    };
    // One number gives the place of a candidate: its claim first, then the higher priority. The
    // slot's own number breaks ties. One sort of numbers is a third of the code of three sorts of
    // slots.
    let mut keys: Vec<u32, { 2 * SLOTS_MAX }> = Vec::new();
    for slot in Slot::ALL {
        if !present[slot as usize] {
            continue;
        }
        let entry = body.slot(slot);
        let tie = u32::from(u8::MAX - entry.priority) << 8 | slot as u32;
        let claim = claim_of(body, slot);
        let had_its_turn =
            claim == Some(Claim::Suspect) && entry.priority < body.slot(Slot::Recovery).priority;
        let same = |one: &Claim| Some(*one) == claim;
        let rank = if had_its_turn { Some(4) } else { claims.iter().position(same) };
        if let Some(rank) = rank {
            let _ = keys.push((rank as u32) << 16 | tie);
        }
        // Before the power-on gives up: every slot once more, whatever the record says of it.
        let rank = claims.len() as u32 + u32::from(despair(entry.state));
        let _ = keys.push(rank << 16 | tie);
    }
    sort(&mut keys);
    let candidate = |key: &u32| Candidate {
        slot: Slot::ALL[*key as usize % SLOTS_MAX],
        claim: claims.get((*key >> 16) as usize).copied().unwrap_or(Claim::LastResort),
    };
    keys.iter().map(candidate).collect()
}

/// Sorts the few numbers there are. The sort of the standard library would be half of all the code
/// that a decision needs.
fn sort(keys: &mut [u32]) {
    for end in 1..keys.len() {
        for at in (1..=end).rev() {
            if keys[at - 1] <= keys[at] {
                break;
            }
            keys.swap(at - 1, at);
        }
    }
}

/// The claim on which `slot` may be tried by the record alone.
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

/// How late a slot of this state comes on last resort.
const fn despair(state: SlotState) -> u8 {
    match state {
        SlotState::Good => 0,
        SlotState::Ready { .. } | SlotState::Trying { .. } => 1,
        // A slot that an operator marked bad, or that cannot read the data, would do harm if it
        // ran. It comes after every slot that only failed to work.
        SlotState::Bad { fault: Fault::MarkedBad | Fault::DataEpoch } => 3,
        SlotState::Bad { .. } => 2,
        SlotState::Writing => 4,
        SlotState::Empty => 5,
    }
}
