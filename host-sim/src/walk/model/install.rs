//! An installation by the reference machine.

use std::mem::discriminant;

use stillboot::format::{BootProof, Fault, Floor, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Nothing, Refusal, Wait};
use stillboot::layout::LayoutError;
use stillboot::select::CandidateKind;
use stillboot::verify::ClassError;

use super::state::{Course, Kept, Model, Store};
use crate::walk::chain::{Chain, Name, Release};
use crate::walk::contents::DiskContents;

/// An update as it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallAttempt {
    /// Which.
    pub release: Name,
    /// The slot that is asked for.
    pub target: Option<Slot>,
    /// To mend the other slot with what runs.
    pub repair: bool,
    /// All its bytes are as they were signed.
    pub is_whole: bool,
}

impl Model {
    /// An installation, by what runs or, without a proof, offline.
    #[must_use]
    pub fn install(
        &self,
        chain: &Chain,
        contents: &DiskContents,
        store: Store,
        running: Option<&BootProof>,
        offer: InstallAttempt,
    ) -> Course<Result<Slot, InstallError>> {
        let mut states = vec![self.clone()];
        let answer = self.admit(chain, contents, store, running, offer).and_then(|target| {
            let mut at = self.clone();
            at.kept = Kept::Record;
            let kind = target.kind();
            let counts = self.counting_floor(
                chain,
                contents,
                self.stands_for(contents, chain, running),
                kind,
            );
            let store = store[kind as usize].unwrap_or_default();
            let recorded = at.body.floor_of_mut(kind);
            *recorded = (*recorded).min(counts.max(store));
            at.describe(chain, target, offer.release);
            let entry = at.body.slot_mut(target);
            entry.state = SlotState::Writing;
            entry.suspect = false;
            states.push(at.clone());
            if !offer.is_whole {
                return Err(InstallError::Refused(Refusal::Content { component: 1 }));
            }
            if target.kind() == SlotKind::Recovery {
                at.body.slot_mut(target).state = SlotState::Good;
            } else {
                at.body.slot_mut(target).state = SlotState::Ready { tries: self.tries };
                at.prefer(target);
            }
            states.push(at);
            Ok(target)
        });
        Course { states, answer }
    }

    /// What runs, or on a device that is offline the good slot that stands for it.
    fn stands_for<'c>(
        &self,
        contents: &DiskContents,
        chain: &'c Chain,
        proof: Option<&BootProof>,
    ) -> Option<(Slot, &'c Release)> {
        match proof {
            Some(proof) => self.release_in(chain, contents, proof.slot),
            None => self.good_and_unsure(chain, contents).0,
        }
    }

    /// Install step 1.
    fn admit(
        &self,
        chain: &Chain,
        contents: &DiskContents,
        store: Store,
        proof: Option<&BootProof>,
        offer: InstallAttempt,
    ) -> Result<Slot, InstallError> {
        let refused = |refusal| Err(InstallError::Refused(refusal));
        if self.kept == Kept::Lost {
            return Err(InstallError::Deferred(Wait::RecordLost));
        }
        let (running, unsure) = match proof {
            Some(proof) => (Some(self.proven(chain, contents, proof)?), Vec::new()),
            None => self.good_and_unsure(chain, contents),
        };
        let new = &chain.releases[offer.release];
        let kind = offer.target.map_or(SlotKind::Update, Slot::kind);
        if !new.is_ours {
            return refused(Refusal::Class(ClassError::Class));
        }
        let floor = self.counting_floor(chain, contents, running, kind);
        let floor = floor.max(store[kind as usize].unwrap_or_default());
        if new.floor < floor {
            return refused(Refusal::BelowFloor { found: new.floor, floor });
        }
        let running_update = running.filter(|(slot, _)| slot.kind() == SlotKind::Update);
        if let Some((_, release)) = running_update
            && kind == SlotKind::Update
        {
            if release.digest == new.digest {
                if !offer.repair {
                    return Err(InstallError::Nothing(Nothing::Running));
                }
            } else if new.order <= release.order {
                return refused(Refusal::NotNewer { found: new.order, running: release.order });
            }
        }
        if kind == SlotKind::Recovery {
            // Not older than what stands there, unless that is known to be bad; it may be the same.
            let head = contents[Slot::Recovery as usize].head.map(|name| &chain.releases[name]);
            let is_same = head.is_some_and(|release| release.digest == new.digest);
            let head = head.map(|release| release.order);
            let is_bad = matches!(
                self.body.slot(Slot::Recovery).state,
                SlotState::Bad { fault: Fault::Corrupt | Fault::Unreadable }
            );
            if !is_same
                && !is_bad
                && self.slots.contains(&Slot::Recovery)
                && running.is_none_or(|(slot, _)| slot != Slot::Recovery)
                && let Some(order) = head
                && new.order <= order
            {
                return refused(Refusal::NotNewer { found: new.order, running: order });
            }
        }
        let running = running.map(|found| found.0);
        let target = self.target(chain, proof.is_some(), running, &unsure, offer)?;
        if let Some(failed) = self.body.failed.iter().find(|failed| failed.digest == new.digest)
            && failed.fault != Fault::Exhausted
        {
            return refused(Refusal::Policy);
        }
        if self.body.hold.until != 0 {
            return Err(InstallError::Deferred(Wait::Policy));
        }
        Ok(target)
    }

    /// The release of a slot, if the record names what stands there.
    fn release_in<'c>(
        &self,
        chain: &'c Chain,
        contents: &DiskContents,
        slot: Slot,
    ) -> Option<(Slot, &'c Release)> {
        let release = &chain.releases[contents[slot as usize].head?];
        (release.digest == self.body.slot(slot).digest).then_some((slot, release))
    }

    /// What runs, by its proof.
    fn proven<'c>(
        &self,
        chain: &'c Chain,
        contents: &DiskContents,
        proof: &BootProof,
    ) -> Result<(Slot, &'c Release), InstallError> {
        let refused = |refusal| Err(InstallError::Refused(refusal));
        let entry = self.body.slot(proof.slot);
        if entry.digest != proof.digest {
            return refused(Refusal::Proof);
        }
        match entry.state {
            SlotState::Good => {}
            SlotState::Ready { .. } | SlotState::Trying { .. }
                if proof.slot.kind() == SlotKind::Recovery => {}
            SlotState::Trying { attempt, nonce, .. }
                if (attempt, nonce) == (proof.attempt, proof.nonce) =>
            {
                return Err(InstallError::Deferred(Wait::Unconfirmed));
            }
            _ => return refused(Refusal::Proof),
        }
        let found = self.release_in(chain, contents, proof.slot);
        found.ok_or(InstallError::Refused(Refusal::RunningUnverified))
    }

    /// On a device that is offline: the good slot that stands for what runs, and the good slots
    /// before it of which this cannot be shown.
    fn good_and_unsure<'c>(
        &self,
        chain: &'c Chain,
        contents: &DiskContents,
    ) -> (Option<(Slot, &'c Release)>, Vec<Slot>) {
        let mut unsure = Vec::new();
        for (slot, kind) in self.order(false) {
            if !matches!(kind, CandidateKind::Good | CandidateKind::Suspect) {
                continue;
            }
            match self.release_in(chain, contents, slot) {
                Some(running) => return (Some(running), unsure),
                None => unsure.push(slot),
            }
        }
        (None, unsure)
    }

    /// "A record floor that nothing on the device reaches does not count."
    fn counting_floor(
        &self,
        chain: &Chain,
        contents: &DiskContents,
        running: Option<(Slot, &Release)>,
        kind: SlotKind,
    ) -> Floor {
        let recorded = self.body.floor_of(kind);
        if let Some((_, release)) = running.filter(|(slot, _)| slot.kind() == kind) {
            return recorded.min(release.floor);
        }
        let heads = || {
            self.of_kind(kind)
                .filter_map(|slot| Some((slot, &chain.releases[contents[slot as usize].head?])))
        };
        if heads().any(|(_, release)| release.floor >= recorded) {
            return recorded;
        }
        let good = |(slot, release): &(Slot, &Release)| {
            self.is_good(*slot) && self.body.slot(*slot).digest == release.digest
        };
        heads().filter(good).map(|(_, release)| release.floor).min().unwrap_or_default()
    }

    fn target(
        &self,
        chain: &Chain,
        is_online: bool,
        running: Option<Slot>,
        unsure: &[Slot],
        offer: InstallAttempt,
    ) -> Result<Slot, InstallError> {
        let new = &chain.releases[offer.release];
        let kind = offer.target.map_or(SlotKind::Update, Slot::kind);
        let stands = |slot: Slot| self.body.slot(slot).digest == new.digest;
        let is_ready = |slot: &Slot| {
            stands(*slot) && matches!(self.body.slot(*slot).state, SlotState::Ready { .. })
        };
        let ready = self.of_kind(kind).find(is_ready);
        if let (Some(slot), false) = (ready, offer.repair) {
            return Err(InstallError::Nothing(Nothing::Ready(slot)));
        }
        let running_update = running.filter(|slot| slot.kind() == SlotKind::Update);
        let Some(target) = offer.target.or(ready) else {
            let cost = |slot: &Slot| match self.body.slot(*slot).state {
                SlotState::Writing if stands(*slot) => 0,
                SlotState::Empty => 1,
                SlotState::Bad { fault: Fault::Unreadable } => 4,
                SlotState::Bad { .. } => 2,
                SlotState::Writing => 3,
                SlotState::Ready { .. } | SlotState::Trying { .. } => 5,
                SlotState::Good => 6,
            };
            // What is good and cannot be shown to be is spared, and all that is beside it.
            if let (None, Some(slot)) = (running, unsure.first()) {
                return Err(InstallError::Deferred(Wait::Unverified(*slot)));
            }
            let others =
                || self.of_kind(SlotKind::Update).filter(|slot| Some(*slot) != running_update);
            let held = |slot: &Slot| self.body.slot(*slot).held;
            let last = others().filter(|slot| !held(slot) && unsure.contains(slot)).last();
            return others()
                .filter(|slot| !held(slot) && !unsure.contains(slot))
                .min_by_key(|slot| (cost(slot), self.body.slot(*slot).priority, *slot))
                .ok_or(match last {
                    Some(slot) => InstallError::Deferred(Wait::Unverified(slot)),
                    None if others().next().is_some() => InstallError::Deferred(Wait::Held),
                    None => InstallError::Refused(Refusal::NoOtherSlot),
                });
        };
        if !self.slots.contains(&target) {
            let refusal = Refusal::Layout(LayoutError::NoSuchSlot(target));
            return Err(InstallError::Refused(refusal));
        }
        let is_only = !is_online && self.of_kind(SlotKind::Update).count() == 1;
        if running == Some(target) && !is_only {
            return Err(InstallError::Refused(Refusal::TargetRuns));
        }
        if self.body.slot(target).held {
            return Err(InstallError::Deferred(Wait::Held));
        }
        if kind == SlotKind::Recovery {
            if self.is_good(target) && stands(target) && !offer.repair {
                return Err(InstallError::Nothing(Nothing::Running));
            }
            if is_online && running_update.is_none() {
                return Err(InstallError::Refused(Refusal::RecoveryNeedsGood));
            }
        }
        Ok(target)
    }
}

/// Whether an installation came to what it had to; what a refusal says beside its reason is not
/// compared.
#[must_use]
pub fn is_same(expected: &Result<Slot, InstallError>, came: &Result<Slot, InstallError>) -> bool {
    match (expected, came) {
        (Err(InstallError::Refused(one)), Err(InstallError::Refused(other))) => {
            discriminant(one) == discriminant(other)
        }
        (one, other) => one == other,
    }
}
