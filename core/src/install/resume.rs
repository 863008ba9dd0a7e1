//! Install steps 2 and 6: the target is marked as being written, or its installation goes on where
//! it was cut short.

use super::state::State;
use super::{Action, Event, Install, InstallError, Next, Nothing, done, head_room};
use crate::area::Area;
use crate::canary::Canary;
use crate::format::{MarkKind, SlotState};
use crate::layout::{LayoutError, Region};
use crate::verify::Sha256;

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn admitted(&mut self, buffer: &mut [u8]) -> Next {
        // The loader does not start a slot below the recorded floor. So the recorded floor is
        // lowered to the floor that was found valid. It goes to the device with the next write of
        // the record.
        let kind = self.kind();
        let recorded = self.record.body.floor_of_mut(kind);
        *recorded = (*recorded).min(self.floor);
        // The data epoch too: above the true one, it would hide a later migration of the data.
        self.record.body.data_epoch = self.record.body.data_epoch.min(self.epoch);
        let entry = self.record.body.slot(self.target);
        let same = entry.digest == *self.verified()?.digest();
        if entry.state == SlotState::Writing && same {
            self.hash = H::new();
            return self.compare_stored_head(0, buffer);
        }
        self.start_over()
    }

    // Why: docs/DESIGN.md#why-resume-compares-head
    pub(super) fn compare_stored_head(&mut self, at: usize, buffer: &mut [u8]) -> Next {
        let layout = &self.config.layout;
        if at < self.head_len {
            let Some(region) = self.area.head(layout, self.target) else {
                return self.start_over();
            };
            let room = head_room(layout);
            let most = Area::buffer_len(layout);
            let len = (self.head_len - at).min(most);
            if (at + len) as u64 > region.len {
                return self.start_over();
            }
            self.state = State::StoredHead { at, len };
            return Ok(self.read(region, at as u64, len, room));
        }
        let stored = core::mem::replace(&mut self.hash, H::new()).finish();
        if stored != self.head_digest {
            return self.start_over();
        }
        self.resumed = true;
        if self.area.lacks_room(layout) {
            return Ok(self.mark_writing());
        }
        // The power may have failed before the marks of the old content were destroyed.
        self.unmark(buffer)
    }

    /// Destroys the marks of the old content of the target.
    pub(super) fn unmark(&mut self, buffer: &mut [u8]) -> Next {
        self.state = State::Unmark;
        let slot = match self.running {
            Some(running) if Canary::MarksOfRunning.is_on() && self.resumed => running,
            _ => self.target,
        };
        if Canary::MarksKept.is_on() {
            return self.part_done(buffer);
        }
        let step = self.area.begin_unmark(&self.config.layout, slot);
        self.part_step(step, buffer)
    }

    /// Step 2.
    pub(super) fn start_over(&mut self) -> Next {
        if self.config.resume_only {
            return Err(Nothing::ToResume.into());
        }
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        self.record.body.begin_install(self.target, manifest);
        self.area.give_up(&self.config.layout, self.target);
        Ok(self.mark_writing())
    }

    // Why: docs/DESIGN.md#why-writing-before-marks
    pub(super) fn mark_writing(&mut self) -> Action {
        self.state = State::MarkWriting;
        Action::Io(self.area.begin_write(&self.config.layout, &mut self.record, false))
    }

    pub(super) fn head_region(&self) -> Result<Region, InstallError> {
        let missing = LayoutError::NoSuchSlot(self.target).into();
        self.area.head(&self.config.layout, self.target).ok_or(missing)
    }

    pub(super) fn step_stored_head(
        &mut self,
        at: usize,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        // An unreadable head is treated as a different one: the trust area is then written again.
        if done(event).is_err() {
            return self.start_over();
        }
        let room = head_room(&self.config.layout);
        self.hash.update(&buffer[room..room + len]);
        self.compare_stored_head(at + len, buffer)
    }

    pub(super) fn step_write_head(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        done(event)?;
        if Canary::HeaderFirst.is_on() {
            return self.commit(MarkKind::Committed, buffer);
        }
        self.component(0, buffer)
    }
}
