//! Boot step 8: raises the floor to the lowest floor of the good slots, where that is higher.

use super::state::State;
use super::{Action, Boot, Event};
use crate::canary::Canary;
use crate::format::{Floor, SlotKind, SlotState, record as record_format};
use crate::layout::{Layout, SlotLayout};
use crate::verify::Sha256;

/// The lowest floor among the recorded good slots of `kind` that the device has.
#[inline(never)]
pub(super) fn lowest_good(
    body: &record_format::Body,
    kind: SlotKind,
    layout: &Layout<'_>,
) -> Option<Floor> {
    let mut lowest = None;
    for SlotLayout { slot, .. } in layout.slots() {
        let entry = body.slot(*slot);
        if slot.kind() == kind && entry.state == SlotState::Good {
            lowest = Some(lowest.map_or(entry.floor, |lowest: Floor| lowest.min(entry.floor)));
        }
    }
    lowest
}

impl<'a, H: Sha256> Boot<'a, H> {
    /// Begins step 8, if a recorded floor suggests that the floor can rise.
    // Why: docs/DESIGN.md#why-floor-rises-on-boot
    // Why: docs/DESIGN.md#why-floor-is-lowest-good
    pub(super) fn consider_floor(&mut self) -> Action {
        let slot = self.current.slot;
        let Some(manifest) = &self.manifest else { return self.stop() };
        let kind = slot.kind();
        let body = &self.record.body;
        let hint = lowest_good(body, kind, &self.config.layout).unwrap_or_default();
        let seen = &self.kinds[kind as usize];
        let store = if self.config.has_store { seen.store } else { hint };
        let wanted = hint > store || hint > body.floor_of(kind) || seen.ignore_floor;
        if !wanted || self.read_only() || self.report.store_failed {
            return self.settle();
        }
        let lowest = manifest.floor();
        self.other_head(0, lowest)
    }

    /// Reads the head of the next good slot of the same kind, from number `at` on.
    pub(super) fn other_head(&mut self, mut at: usize, lowest: Floor) -> Action {
        let slot = self.current.slot;
        while let Some(layout) = self.config.layout.slots().get(at) {
            let other = layout.slot;
            if other != slot
                && other.kind() == slot.kind()
                && self.record.body.slot(other).state == SlotState::Good
            {
                self.state = State::OtherHead { at, lowest };
                self.head.restart(&self.config.device);
                // A good slot without a head may be the lowest: the floor is not raised.
                return self.read_window(other, 0, 1).unwrap_or_else(|| self.settle());
            }
            at += 1;
        }
        self.raise(lowest)
    }

    pub(super) fn step_other_head(
        &mut self,
        at: usize,
        lowest: Floor,
        event: Event<'_>,
        buffer: &[u8],
    ) -> Action {
        let slot = self.slot_at(at);
        if let Event::Done = event
            && let Ok(taken) = self.take_window(slot, buffer)
        {
            let payload = match taken {
                Ok(payload) => payload,
                Err(action) => return action,
            };
            let window = self.window(buffer);
            if let Ok((digest, floor)) = self.head.identity(&self.config.device, window, payload)
                && digest == self.record.body.slot(slot).digest
            {
                return self.other_head(at + 1, lowest.min(floor));
            }
        }
        // Why: docs/DESIGN.md#why-unread-slot-keeps-floor
        // A good slot that cannot be read may be the lowest: the floor is not raised.
        self.settle()
    }

    pub(super) fn raise(&mut self, floor: Floor) -> Action {
        let slot = self.current.slot;
        let kind = slot.kind();
        if self.config.has_store && floor > self.kinds[kind as usize].store {
            self.state = State::RaiseStore(floor);
            return Action::RaiseFloor(kind, floor);
        }
        self.raise_record(floor)
    }

    pub(super) fn raise_record(&mut self, floor: Floor) -> Action {
        if Canary::FloorStays.is_on() {
            return self.settle();
        }
        let slot = self.current.slot;
        let kind = slot.kind();
        let seen = &self.kinds[kind as usize];
        let recorded = self.record.body.floor_of_mut(kind);
        // A recorded floor that was found to be false is corrected, never below the store's.
        if floor > *recorded || seen.ignore_floor {
            *recorded = floor.max(seen.store);
            self.dirty = true;
        }
        self.settle()
    }
}
