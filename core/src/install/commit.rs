//! Install step 5: the mark that commits the slot, then the record that switches to it.

// Why: docs/DESIGN.md#why-record-is-the-switch

use super::state::State;
use super::{Action, Install, Next};
use crate::canary::Canary;
use crate::format::{Mark, MarkKind, SlotKind, record as record_format};
use crate::verify::Sha256;

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn commit(&mut self, kind: MarkKind, buffer: &mut [u8]) -> Next {
        self.state = State::Commit { kind };
        let mark = Mark { kind, digest: *self.verified()?.digest() };
        let step = self.area.begin_mark(&self.config.layout, self.target, mark);
        self.part_step(step, buffer)
    }

    pub(super) fn committed(&mut self, kind: MarkKind, buffer: &mut [u8]) -> Next {
        // Recovery is never tried, so it is confirmed as soon as it is complete.
        if kind == MarkKind::Committed && self.target.kind() == SlotKind::Recovery {
            return self.commit(MarkKind::Confirmed, buffer);
        }
        let tries = self.config.tries.clamp(1, record_format::TRIES_MAX);
        self.record.body.complete_install(self.target, tries);
        if Canary::FloorAtInstall.is_on() {
            let reached = self.verified()?.floor();
            *self.record.body.floor_of_mut(self.target.kind()) = reached;
        }
        self.state = State::Complete;
        Ok(Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, true)))
    }
}
