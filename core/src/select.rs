//! In which order slots are tried at power-on. Pure: a record in, candidates out.

use heapless::Vec;

use crate::canary::Canary;
use crate::format::record::Body;
use crate::format::{Fault, SLOTS_MAX, Slot, SlotKind, SlotState};

/// Why a slot has its place in the order (boot protocol step 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CandidateKind {
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
    /// The kind on which the slot is tried.
    pub kind: CandidateKind,
}

/// The candidates of one power-on, the first to be tried first.
pub type Candidates = Vec<Candidate, { 2 * SLOTS_MAX }>;

/// The source of the record that gives the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOrigin {
    /// A record was there.
    Read,
    /// The record was rebuilt from the slots' headers. Confirmed slots go first, because nothing
    /// else says which slot ran last.
    Rebuilt,
}

/// The order in which slots are tried. A slot is in it if `present` is true for the slot.
#[must_use]
pub fn candidates(body: &Body, origin: RecordOrigin, present: impl Fn(Slot) -> bool) -> Candidates {
    ordered(body, origin, Slot::ALL.map(present))
}

/// The slot that the next power-on tries first, as far as the record shows. A slot below the
/// recorded floor is not started.
#[must_use]
pub fn next(body: &Body, present: impl Fn(Slot) -> bool) -> Option<Slot> {
    let order = candidates(body, RecordOrigin::Read, present);
    let reaches = |slot: &Slot| body.slot(*slot).floor >= body.floor_of(slot.kind());
    order.iter().map(|candidate| candidate.slot).find(reaches)
}

fn ordered(body: &Body, origin: RecordOrigin, present: [bool; SLOTS_MAX]) -> Candidates {
    // The last kind in each list is for suspects that had their turn since recovery had its own.
    let claims = match origin {
        RecordOrigin::Read => [
            CandidateKind::Trial,
            CandidateKind::Good,
            CandidateKind::Suspect,
            CandidateKind::Recovery,
            CandidateKind::Suspect,
        ],
        RecordOrigin::Rebuilt => [
            CandidateKind::Good,
            CandidateKind::Suspect,
            CandidateKind::Trial,
            CandidateKind::Recovery,
            CandidateKind::Suspect,
        ],
    };
    // One number gives the place of a candidate: its kind first, then the higher priority. The
    // slot's own number breaks ties. One sort of numbers is a third of the code of three sorts of
    // slots.
    let mut keys: Vec<u32, { 2 * SLOTS_MAX }> = Vec::new();
    for slot in Slot::ALL {
        if !present[slot as usize] {
            continue;
        }
        let entry = body.slot(slot);
        let tie = u32::from(u8::MAX - entry.priority) << 8 | slot as u32;
        let kind = claim_of(body, slot);
        let had_its_turn = kind == Some(CandidateKind::Suspect)
            && entry.priority < body.slot(Slot::Recovery).priority;
        let same = |one: &CandidateKind| Some(*one) == kind;
        let rank = if had_its_turn { Some(4) } else { claims.iter().position(same) };
        if let Some(rank) = rank {
            let _ = keys.push((rank as u32) << 16 | tie);
        }
        // Before the power-on gives up: every slot once more, in every state.
        let rank = claims.len() as u32 + u32::from(last_resort_rank(entry.state));
        let _ = keys.push(rank << 16 | tie);
    }
    sort(&mut keys);
    let candidate = |key: &u32| Candidate {
        slot: Slot::ALL[*key as usize % SLOTS_MAX],
        kind: claims.get((*key >> 16) as usize).copied().unwrap_or(CandidateKind::LastResort),
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

/// The kind on which `slot` may be tried by the record alone.
fn claim_of(body: &Body, slot: Slot) -> Option<CandidateKind> {
    let entry = body.slot(slot);
    if Canary::UnknownStateBoots.is_on() && entry.state == SlotState::Writing {
        return Some(CandidateKind::Good);
    }
    match (slot.kind(), entry.state) {
        (
            SlotKind::Recovery,
            SlotState::Ready { .. } | SlotState::Trying { .. } | SlotState::Good,
        ) => Some(CandidateKind::Recovery),
        (SlotKind::Update, SlotState::Ready { .. }) => Some(CandidateKind::Trial),
        (SlotKind::Update, SlotState::Trying { left, .. }) if left > 0 => {
            Some(CandidateKind::Trial)
        }
        (SlotKind::Update, SlotState::Good) if entry.suspect => Some(CandidateKind::Suspect),
        (SlotKind::Update, SlotState::Good) => Some(CandidateKind::Good),
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
// Why: docs/DESIGN.md#why-last-resort-ignores-state
// Why: docs/DESIGN.md#why-marked-bad-is-behind-exhausted
const fn last_resort_rank(state: SlotState) -> u8 {
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
