//! Install step 1: what runs, and what the slots of the device hold.

use super::state::State;
use super::{Action, Event, Install, InstallError, Next, Refusal, Running, Wait, done, head_room};
use crate::canary::Canary;
use crate::format::{Fault, Slot, SlotKind, SlotState, manifest, record as record_format};
use crate::layout::Region;
use crate::select::{CandidateKind, RecordOrigin, candidates};
use crate::verify::{Sha256, check_class, verify_head_into};

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn step_read_floor(&mut self, event: Event) -> Next {
        let Event::Floor(floor) = event else {
            return Err(Wait::StoreFailed.into());
        };
        self.store = floor.unwrap_or_default();
        self.find_running()
    }

    // Why: docs/DESIGN.md#why-proof-to-install
    // Why: docs/DESIGN.md#why-no-install-during-trial
    pub(super) fn find_running(&mut self) -> Next {
        let layout = &self.config.layout;
        match &self.config.running {
            // A device that has booted has a record. If there is none now, it was lost.
            Running::Proof(_) if !self.area.has_current() => {
                return Err(Wait::RecordLost.into());
            }
            Running::Proof(proof) => {
                let entry = self.record.body.slot(proof.slot);
                if !layout.has(proof.slot) || entry.digest != proof.digest {
                    return Err(Refusal::Proof.into());
                }
                match entry.state {
                    SlotState::Good => {}
                    // Recovery is never tried. So it runs as confirmed, even if a damaged record
                    // says that it is on trial.
                    SlotState::Ready { .. } | SlotState::Trying { .. }
                        if proof.slot.kind() == SlotKind::Recovery => {}
                    SlotState::Trying { attempt, nonce, .. } => {
                        let same = (attempt, nonce) == (proof.attempt, proof.nonce);
                        // The other slot is the only way back from this trial.
                        return Err(if same {
                            InstallError::Deferred(Wait::Unconfirmed)
                        } else {
                            InstallError::Refused(Refusal::Proof)
                        });
                    }
                    SlotState::Empty
                    | SlotState::Writing
                    | SlotState::Ready { .. }
                    | SlotState::Bad { .. } => return Err(Refusal::Proof.into()),
                }
                if proof.record_version < record_format::VERSION
                    || proof.manifest_schema < manifest::SCHEMA
                {
                    return Err(InstallError::Refused(Refusal::Loader {
                        record_version: proof.record_version,
                        manifest_schema: proof.manifest_schema,
                    }));
                }
                self.running = Some(proof.slot);
            }
            Running::Offline => {}
        }
        self.look(0)
    }

    /// Looks at the heads of slots from number `at` of the layout on, where they matter. They show
    /// which slot would boot on a device that is offline, what the slots of the target's kind hold
    /// where none of them runs, and whether a device without a record is new.
    pub(super) fn look(&mut self, at: usize) -> Next {
        let kind = self.kind();
        let slots = self.config.layout.slots();
        let next = (at..slots.len()).find(|at| {
            let slot = slots[*at].slot;
            match self.running {
                Some(running) => slot.kind() == kind && running.kind() != kind,
                None => {
                    slot.kind() == kind
                        || slot.kind() == SlotKind::Update
                        || !self.area.has_current()
                }
            }
        });
        match next {
            Some(at) => self.look_at(at, false),
            None => self.looked(),
        }
    }

    pub(super) fn look_at(&mut self, at: usize, again: bool) -> Next {
        self.state = State::Look { at, again };
        let slot = self.config.layout.slots()[at].slot;
        match self.read_slot_head(slot) {
            Some(action) => Ok(action),
            // A log without a head of this slot.
            None => {
                self.seen.unverified |= slot.kind() == self.kind();
                self.look(at + 1)
            }
        }
    }

    /// Reads the head of a slot, up to the longest length that a head may have.
    pub(super) fn read_slot_head(&self, slot: Slot) -> Option<Action> {
        let layout = &self.config.layout;
        let region = self.area.head(layout, slot)?;
        let len = region.len.min(head_room(layout) as u64) as usize;
        Some(self.read(region, 0, len, 0))
    }

    pub(super) fn step_look(
        &mut self,
        at: usize,
        again: bool,
        event: Event,
        buffer: &[u8],
    ) -> Next {
        if !again && matches!(event, Event::Failed(_)) {
            return self.look_at(at, true);
        }
        let slot = self.config.layout.slots()[at].slot;
        let is_kind = slot.kind() == self.kind();
        let device = &self.config.device;
        let head = &buffer[..head_room(&self.config.layout)];
        if done(event).is_err() {
            self.seen.silent |= slot.bit();
            self.seen.unread |= is_kind;
            return self.look(at + 1);
        }
        // Into the memory of the update's manifest, which comes later: there is memory for one
        // only.
        let verified = verify_head_into::<H>(device, slot.kind(), head, &mut self.manifest);
        let entry = self.record.body.slot(slot);
        let seen = &mut self.seen;
        match (verified, self.manifest.take()) {
            (Ok(_), Some(manifest)) if check_class(device, &manifest).is_ok() => {
                seen.any_head = true;
                let is_recorded = entry.digest == *manifest.digest();
                if is_recorded {
                    seen.as_recorded |= slot.bit();
                }
                if is_kind {
                    let floor = manifest.floor();
                    seen.highest = seen.highest.max(floor);
                    seen.reads_max = seen.reads_max.max(manifest.epochs.reads_max);
                    if is_recorded && entry.state == SlotState::Good {
                        let lowest = seen.lowest_good.unwrap_or(floor);
                        seen.lowest_good = Some(lowest.min(floor));
                    }
                    // A slot that was found not to verify in full must not block an older update.
                    let is_broken = matches!(
                        entry.state,
                        SlotState::Bad { fault: Fault::Corrupt | Fault::Unreadable }
                    );
                    if !is_broken {
                        seen.newest = seen.newest.max((manifest.order(), *manifest.digest()));
                    }
                }
            }
            _ => seen.unverified |= is_kind,
        }
        self.look(at + 1)
    }

    /// All heads that matter were looked at.
    // Why: docs/DESIGN.md#why-new-device-has-no-head
    pub(super) fn looked(&mut self) -> Next {
        let layout = &self.config.layout;
        if !self.area.has_current() {
            // The record is written before the first head. So a device with a head is not new: its
            // record was wiped. Every slot would pass for an empty one, and the only system that
            // works could be overwritten. The next boot rebuilds the record from the heads.
            if self.seen.any_head && !Canary::BlankIsNew.is_on() {
                return Err(Wait::RecordLost.into());
            }
            self.record.body.note_unread(self.seen.silent);
        }
        if let Running::Offline = self.config.running {
            let order = candidates(&self.record.body, RecordOrigin::Read, |slot| layout.has(slot));
            let good = |kind| matches!(kind, CandidateKind::Good | CandidateKind::Suspect);
            for candidate in order.iter().filter(|candidate| good(candidate.kind)) {
                if self.seen.as_recorded & candidate.slot.bit() != 0 {
                    self.running = Some(candidate.slot);
                    break;
                }
                // This slot would boot first if its head were as recorded.
                self.seen.unsure |= candidate.slot.bit();
                if self.seen.silent & candidate.slot.bit() == 0 {
                    self.seen.other = self.seen.other.or(Some(candidate.slot));
                }
            }
        }
        match self.running {
            Some(slot) => {
                self.state = State::RunningHead;
                self.read_slot_head(slot).ok_or(InstallError::Refused(Refusal::RunningUnverified))
            }
            None => self.receive_envelope(0),
        }
    }

    pub(super) fn step_running_head(&mut self, event: Event, buffer: &[u8]) -> Next {
        done(event)?;
        let head = &buffer[..head_room(&self.config.layout)];
        let Some(slot) = self.running else { return Err(InstallError::Misused) };
        // Into the memory of the update's manifest, which comes later: there is memory for one
        // only.
        verify_head_into::<H>(&self.config.device, slot.kind(), head, &mut self.manifest)
            .map_err(|_| InstallError::Refused(Refusal::RunningUnverified))?;
        let known = self.note_running(slot);
        self.manifest = None;
        if !known {
            return Err(Refusal::RunningUnverified.into());
        }
        self.receive_envelope(0)
    }

    /// Notes what must be known of the system that runs; false if the slot holds another system.
    pub(super) fn note_running(&mut self, slot: Slot) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        if *manifest.digest() != self.record.body.slot(slot).digest {
            return false;
        }
        self.running_digest = *manifest.digest();
        self.running_order = manifest.order();
        self.running_floor = manifest.floor();
        self.running_reads_max = manifest.epochs.reads_max;
        for (number, component) in manifest.components_of(slot) {
            let place = self.config.layout.component(slot, manifest, number);
            if let (Ok(data), Some(source)) =
                (place, self.sources.get_mut(usize::from(component.role.code())))
            {
                *source = Some(Region { len: component.length, ..data });
            }
        }
        true
    }
}
