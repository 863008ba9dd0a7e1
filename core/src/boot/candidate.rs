//! Boot steps 4 and 5: one candidate is verified, head and components.

use super::report::Reason;
use super::state::{Loading, State};
use super::{Action, Boot, Event, LOAD_LEN_MAX};
use crate::canary::Canary;
use crate::format::{Component, Digest, Fault, FormatError, Load, SlotState};
use crate::io::Io;
use crate::layout::LayoutError;
use crate::select::{Candidate, CandidateKind};
use crate::units::round_u64;
use crate::verify::{Sha256, TrustError, digest_of};

impl<'a, H: Sha256> Boot<'a, H> {
    pub(super) fn read_head(&mut self) -> Action {
        self.first_read = None;
        self.read_head_again()
    }

    pub(super) fn read_head_again(&mut self) -> Action {
        self.state = State::Head;
        self.head.restart(&self.config.device);
        match self.read_window(self.current.slot, 0, 1) {
            Some(action) => action,
            // A second read of the log cannot help: a head without an entry is not there. Condemn
            // at once.
            None => self.condemn(Reason::Trust(TrustError::Manifest(FormatError::Short))),
        }
    }

    pub(super) fn step_head(&mut self, event: Event<'_>, buffer: &[u8]) -> Action {
        let Candidate { slot, kind: candidate_kind } = self.current;
        if let Event::Failed(error) = event {
            if Canary::ReadErrorStops.is_on() {
                return self.stop();
            }
            if Canary::ReadErrorIsBad.is_on() {
                return self.condemn(Reason::Device(error));
            }
            if Canary::ReadErrorHolds.is_on() {
                self.record.body.slot_mut(slot).held = true;
                self.dirty = true;
            }
            return self.unread(Reason::Device(error));
        }
        let class = match self.verify(slot, buffer) {
            Ok(Err(action)) => return action,
            Ok(Ok(class)) => class,
            Err(error) => {
                return match self.compare(&digest_of::<H>(self.window(buffer))) {
                    None => self.read_head_again(),
                    Some(true) => self.condemn(Reason::Trust(error)),
                    Some(false) => self.unread(Reason::Unstable),
                };
            }
        };
        if let Err(error) = class {
            return self.skip(Reason::Class(error));
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        // A head with no component for this slot would "verify" without a byte being checked.
        let checked = |c: &Component| c.load != Load::Late || self.config.check_late;
        let fits = self.config.layout.check_fit(slot, manifest).and_then(|()| {
            let any = manifest.components_of(slot).any(|(_, component)| checked(component));
            if any { Ok(()) } else { Err(LayoutError::NothingForSlot) }
        });
        if let Err(error) = fits {
            return self.skip(Reason::Layout(error));
        }
        let kind = slot.kind();
        let seen = &mut self.kinds[kind as usize];
        let found = manifest.floor();
        let floor = seen.store;
        if found < floor {
            return self.skip(Reason::BelowStoreFloor { found, floor });
        }
        let floor = self.record.body.floor_of(kind);
        if found < floor && !seen.ignore_floor {
            seen.refused_by_floor = true;
            return self.skip_for_now(Reason::BelowRecordFloor { found, floor });
        }
        if found >= floor {
            seen.reaches |= slot.bit();
        }
        // The recorded state belongs to a manifest, not to the slot that holds it.
        let other = self.record.body.slot(slot).digest != *manifest.digest();
        if candidate_kind != CandidateKind::LastResort && other && !Canary::StateOfAnother.is_on() {
            return self.skip_for_now(Reason::OtherManifest);
        }
        self.component(0)
    }

    /// Goes on with the first component from number `from` on that is to be checked here.
    // Why: docs/DESIGN.md#why-late-components
    // Why: docs/DESIGN.md#why-hash-in-place
    pub(super) fn component(&mut self, from: usize) -> Action {
        let Some(manifest) = &self.manifest else { return self.stop() };
        let slot = self.current.slot;
        let late = self.config.check_late;
        let next = manifest
            .components_of(slot)
            .find(|(number, c)| *number >= from && (c.load != Load::Late || late));
        let Some((number, component)) = next else { return self.verified() };
        let mut data = match self.config.layout.component(slot, manifest, number) {
            Ok(data) => data,
            Err(error) => return self.skip(Reason::Layout(error)),
        };
        let unit = self.config.layout.geometry(data.device).logical_block_bytes;
        data.len = round_u64(component.length, unit);
        let (role, ram) = (component.role, component.load == Load::Ram);
        self.fold.restart(component.length, manifest.chunk_size);
        self.loading = Loading { number, ram, data };
        self.first_read = None;
        if ram {
            self.state = State::Reserve;
            let first = core::mem::replace(&mut self.first_reserve, false);
            self.has_leftovers = false;
            return Action::Reserve { component: number, role, len: data.len, first };
        }
        self.load(0)
    }

    #[inline(never)]
    pub(super) fn step_load(
        &mut self,
        offset: u64,
        len: u32,
        event: Event<'_>,
        buffer: &[u8],
    ) -> Action {
        match event {
            Event::Loaded(bytes) if bytes.len() == len as usize => self.fold.bytes(bytes),
            Event::Done => self.fold.bytes(&buffer[..len as usize]),
            Event::Failed(error) => return self.skip(Reason::Device(error)),
            _ => return self.skip(Reason::NoMemory),
        }
        self.load(offset + u64::from(len))
    }

    /// Reads on in the component at `offset`, or finishes it.
    pub(super) fn load(&mut self, offset: u64) -> Action {
        let Loading { number, ram, data, .. } = self.loading;
        let left = data.len.saturating_sub(offset);
        if left > 0 {
            let unit = self.config.layout.unit() as u32;
            let most = if ram {
                LOAD_LEN_MAX
            } else {
                (self.buffer_len.min(LOAD_LEN_MAX as usize) as u32) & !(unit - 1)
            };
            let len = left.min(most.into()) as u32;
            self.state = State::Load { offset, len };
            let (device, from) = (data.device, data.offset + offset);
            return if ram {
                Action::Load { component: number, device, from, to: offset, len }
            } else {
                Action::Io(Io::Read { device, offset: from, range: 0..len as usize })
            };
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        let component = &manifest.components[number];
        let root = self.fold.root();
        if root == component.index_root {
            return self.component(number + 1);
        }
        let role = component.role;
        self.fold.restart(component.length, manifest.chunk_size);
        match self.compare(&root) {
            None => self.load(0),
            Some(true) => self.condemn(Reason::Corrupt { role }),
            Some(false) => self.skip(Reason::Unstable),
        }
    }

    /// Step 4: only two identical reads that fail condemn a slot. `digest` is of bytes that were
    /// read and do not verify. Returns whether the first read had the same digest; `None` if this
    /// is the first.
    // Why: docs/DESIGN.md#why-two-identical-reads
    #[inline(never)]
    pub(super) fn compare(&mut self, digest: &Digest) -> Option<bool> {
        let same = self.first_read.as_ref().map(|first| first == digest);
        if same.is_none() {
            self.first_read = Some(*digest);
        }
        same
    }

    /// The candidate verified in full: write the record if needed and hand over.
    pub(super) fn verified(&mut self) -> Action {
        let Some(manifest) = &self.manifest else { return self.stop() };
        let Candidate { slot, kind } = self.current;
        match kind {
            CandidateKind::Trial => self.hand_over(),
            CandidateKind::LastResort => {
                self.record.body.last_resort(slot, manifest, self.config.nonce);
                self.dirty = !self.read_only();
                self.settle()
            }
            CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery => {
                if Canary::CountsGoodSlots.is_on() {
                    let left = self.config.tries.saturating_sub(1);
                    let trying = SlotState::Trying { left, attempt: 1, nonce: self.config.nonce };
                    self.record.body.slot_mut(slot).state = trying;
                    self.dirty = true;
                }
                self.consider_floor()
            }
        }
    }

    /// The slot is out for this power-on, because its head could not be read.
    pub(super) fn unread(&mut self, reason: Reason) -> Action {
        let slot = self.current.slot;
        self.kinds[slot.kind() as usize].unseen |= slot.bit();
        self.skip(reason)
    }

    /// The slot is not tried again in this power-on, and nothing is recorded about it.
    // Why: docs/DESIGN.md#why-device-errors-write-nothing
    pub(super) fn skip(&mut self, reason: Reason) -> Action {
        self.out |= self.current.slot.bit();
        self.skip_for_now(reason)
    }

    /// The slot is not started under this kind. It may be a candidate again under a later kind.
    pub(super) fn skip_for_now(&mut self, reason: Reason) -> Action {
        self.line(reason);
        self.next_candidate()
    }

    /// Two identical reads failed to verify.
    // Why: docs/DESIGN.md#why-last-resort-failure-is-noted
    pub(super) fn condemn(&mut self, reason: Reason) -> Action {
        let Candidate { slot, kind } = self.current;
        // A slot on last resort is recorded as bad too, if the record counts on it. Otherwise an
        // installation would keep that slot, and nothing could be installed any more. A slot that
        // is being written keeps its state, so that its installation can be resumed.
        let counts_on = match self.record.body.slot(slot).state {
            SlotState::Good | SlotState::Ready { .. } | SlotState::Trying { .. } => true,
            SlotState::Empty | SlotState::Writing | SlotState::Bad { .. } => false,
        };
        if kind != CandidateKind::LastResort || counts_on && !Canary::LastResortNotesNothing.is_on()
        {
            self.record.body.fail(slot, Fault::Corrupt);
            self.dirty = true;
        }
        self.kinds[slot.kind() as usize].reaches &= !slot.bit();
        self.skip(reason)
    }
}
