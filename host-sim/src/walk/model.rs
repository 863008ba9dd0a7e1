//! A reference state machine of the boot record, written from `docs/BOOT_PROTOCOL.md` and without
//! the core: what every call must answer, and what it leaves behind.
//!
//! It shares with the core the types in which a record is stated, and no rule. It assumes a device
//! that works. A power cut leaves one of the states that a call passes through, and the model gives
//! all of these states.

use std::cmp::Reverse;
use std::mem::discriminant;

use stillboot::format::{
    BootProof, Failed, Fault, Floor, SLOTS_MAX, Slot, SlotKind, SlotState,
    record::{Body, FAILED_MAX, VERSION},
};
use stillboot::install::{InstallError, Nothing, Refusal, Wait};
use stillboot::layout::LayoutError;
use stillboot::operate::{Answer, OperateError, Request};
use stillboot::record::{ConfirmRefusal, OperatorRefusal, RecordStatus};
use stillboot::select::CandidateKind;
use stillboot::verify::ClassError;

use super::chain::{Chain, Name};
use super::scene::{Content, DiskContents};
use crate::engine::HandoverFailure;

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

/// What starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// From where.
    pub slot: Slot,
    /// On what grounds.
    pub kind: CandidateKind,
    /// What.
    pub release: Name,
}

/// What a power-on comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boots {
    /// What starts, if anything does.
    pub start: Option<Start>,
    /// What the store holds afterwards.
    pub store: Store,
    /// The record as the loader reports to have found it.
    pub found: Kept,
}

/// What the surroundings of a power-on are.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// What stands in the slots.
    pub scene: DiskContents,
    /// What the store holds.
    pub store: Store,
    /// The nonce of this power-on.
    pub nonce: u64,
    /// A watchdog ended the one before.
    pub watchdog: bool,
    /// Images come back to the loader, and why.
    pub returns: Option<HandoverFailure>,
}

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

    fn of_kind(&self, kind: SlotKind) -> impl Iterator<Item = Slot> {
        self.slots.iter().copied().filter(move |slot| slot.kind() == kind)
    }

    fn is_good(&self, slot: Slot) -> bool {
        self.body.slot(slot).state == SlotState::Good
    }

    fn waits(&self, slot: Slot) -> bool {
        matches!(self.body.slot(slot).state, SlotState::Ready { .. } | SlotState::Trying { .. })
    }

    fn describe(&mut self, chain: &Chain, slot: Slot, release: Name) {
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

    fn set_bad(&mut self, slot: Slot, fault: Fault) {
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
    fn prefer(&mut self, slot: Slot) {
        self.order_by(|other| i32::from(other == slot));
    }

    /// The same with the lowest.
    fn put_last(&mut self, slot: Slot) {
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
    fn order(&self, is_scanned: bool) -> Vec<(Slot, CandidateKind)> {
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

    /// Boot step 1, where there is no record.
    fn scan(&mut self, chain: &Chain, scene: &DiskContents) {
        self.body = Body::default();
        let mut found = [None; SLOTS_MAX];
        for slot in self.slots {
            let Content { head: Some(release), is_committed: true, is_confirmed, .. } =
                scene[*slot as usize]
            else {
                continue;
            };
            self.describe(chain, *slot, release);
            let is_good = is_confirmed || slot.kind() == SlotKind::Recovery;
            self.body.slot_mut(*slot).state =
                if is_good { SlotState::Good } else { SlotState::Ready { tries: self.tries } };
            if slot.kind() == SlotKind::Update {
                found[*slot as usize] = Some(chain.releases[release].order);
            }
        }
        // The newer goes first, and of equals the one with the lower number.
        let mut order = Slot::ALL.to_vec();
        order.sort_by_key(|slot| (found[*slot as usize], Reverse(*slot)));
        for (priority, slot) in order.into_iter().enumerate() {
            self.body.slot_mut(slot).priority = priority as u8;
        }
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            if let Some(floor) = self.lowest_good(kind) {
                *self.body.floor_of_mut(kind) = floor;
            }
        }
    }

    fn lowest_good(&self, kind: SlotKind) -> Option<Floor> {
        let good = self.of_kind(kind).filter(|slot| self.is_good(*slot));
        good.map(|slot| self.body.slot(slot).floor).min()
    }

    /// A power-on.
    #[must_use]
    pub fn power_on(&self, chain: &Chain, on: &Surroundings) -> Course<Boots> {
        Loader::new(self.clone(), chain, on).run()
    }

    /// An installation, by what runs or, without a proof, offline.
    #[must_use]
    pub fn install(
        &self,
        chain: &Chain,
        scene: &DiskContents,
        store: Store,
        running: Option<&BootProof>,
        offer: InstallAttempt,
    ) -> Course<Result<Slot, InstallError>> {
        let mut states = vec![self.clone()];
        let answer = self.admit(chain, scene, store, running, offer).and_then(|target| {
            let mut at = self.clone();
            at.kept = Kept::Record;
            let kind = target.kind();
            let counts =
                self.counting_floor(chain, scene, self.stands_for(scene, chain, running), kind);
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
        scene: &DiskContents,
        chain: &'c Chain,
        proof: Option<&BootProof>,
    ) -> Option<(Slot, &'c super::chain::Release)> {
        let of = |slot: Slot| {
            let release = &chain.releases[scene[slot as usize].head?];
            (release.digest == self.body.slot(slot).digest).then_some((slot, release))
        };
        match proof {
            Some(proof) => of(proof.slot),
            None => self
                .order(false)
                .into_iter()
                .filter(|(_, kind)| matches!(kind, CandidateKind::Good | CandidateKind::Suspect))
                .find_map(|(slot, _)| of(slot)),
        }
    }

    /// Install step 1.
    fn admit(
        &self,
        chain: &Chain,
        scene: &DiskContents,
        store: Store,
        proof: Option<&BootProof>,
        offer: InstallAttempt,
    ) -> Result<Slot, InstallError> {
        let refused = |refusal| Err(InstallError::Refused(refusal));
        if self.kept == Kept::Lost {
            return Err(InstallError::Deferred(Wait::RecordLost));
        }
        let of = |slot: Slot| {
            let head = scene[slot as usize].head.map(|name| &chain.releases[name]);
            head.filter(|release| release.digest == self.body.slot(slot).digest)
        };
        let mut unsure = Vec::new();
        let running = match proof {
            Some(proof) => {
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
                match of(proof.slot) {
                    Some(release) => Some((proof.slot, release)),
                    None => return refused(Refusal::RunningUnverified),
                }
            }
            None => {
                let good = |kind| matches!(kind, CandidateKind::Good | CandidateKind::Suspect);
                let order = self.order(false).into_iter().filter(|(_, kind)| good(*kind));
                let mut running = None;
                for (slot, _) in order {
                    match of(slot) {
                        Some(release) => {
                            running = Some((slot, release));
                            break;
                        }
                        None => unsure.push(slot),
                    }
                }
                running
            }
        };
        let new = &chain.releases[offer.release];
        let kind = offer.target.map_or(SlotKind::Update, Slot::kind);
        if !new.is_ours {
            return refused(Refusal::Class(ClassError::Class));
        }
        let floor = self.counting_floor(chain, scene, running, kind);
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
            let head = scene[Slot::Recovery as usize].head.map(|name| &chain.releases[name]);
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

    /// "A record floor that nothing on the device reaches does not count."
    fn counting_floor(
        &self,
        chain: &Chain,
        scene: &DiskContents,
        running: Option<(Slot, &super::chain::Release)>,
        kind: SlotKind,
    ) -> Floor {
        let recorded = self.body.floor_of(kind);
        if let Some((_, release)) = running.filter(|(slot, _)| slot.kind() == kind) {
            return recorded.min(release.floor);
        }
        let heads = || {
            self.of_kind(kind)
                .filter_map(|slot| Some((slot, &chain.releases[scene[slot as usize].head?])))
        };
        if heads().any(|(_, release)| release.floor >= recorded) {
            return recorded;
        }
        let good = |(slot, release): &(Slot, &super::chain::Release)| {
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
        if let Some(slot) = self.of_kind(kind).find(is_ready) {
            return Err(InstallError::Nothing(Nothing::Ready(slot)));
        }
        let running_update = running.filter(|slot| slot.kind() == SlotKind::Update);
        let Some(target) = offer.target else {
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
            if self.is_good(target) && stands(target) {
                return Err(InstallError::Nothing(Nothing::Running));
            }
            if is_online && running_update.is_none() {
                return Err(InstallError::Refused(Refusal::RecoveryNeedsGood));
            }
        }
        Ok(target)
    }

    /// A request of the running system or its operator.
    #[must_use]
    pub fn operate(&self, request: Request) -> Course<Result<Answer, OperateError>> {
        let mut states = vec![self.clone()];
        let mut at = self.clone();
        let answer = at.apply(request);
        if at != *self || matches!(answer, Ok(Answer::Done | Answer::Boots(_))) {
            states.push(at);
        }
        Course { states, answer }
    }

    fn apply(&mut self, request: Request) -> Result<Answer, OperateError> {
        if request == Request::Read {
            return Ok(Answer::Done);
        }
        if let Request::Discard(version) = request {
            let found = (self.kept == Kept::Record).then_some(VERSION);
            if found != Some(version) {
                return Err(OperateError::OtherVersion { found });
            }
            *self = self.lost();
            return Ok(Answer::Done);
        }
        match self.kept {
            Kept::Record => {}
            Kept::Nothing => return Err(OperateError::NoRecord(RecordStatus::Factory)),
            Kept::Lost => return Err(OperateError::NoRecord(RecordStatus::Lost)),
        }
        let before = self.body.clone();
        match request {
            // What is noted for tools decides nothing here.
            Request::Read | Request::NoteStatement(_) | Request::NoteIssue(_) => {}
            Request::MarkGood(proof) => return self.confirm(&proof),
            Request::MarkBad(slot) => {
                self.require(slot)?;
                let state = self.body.slot(slot).state;
                if state == SlotState::Empty {
                    return Err(OperateError::Operator(OperatorRefusal::NothingThere));
                }
                if state == SlotState::Good && self.other_good(slot).is_none() {
                    return Err(OperateError::Operator(OperatorRefusal::NothingElseGood));
                }
                let digest = self.body.slot(slot).digest;
                let is_banned =
                    |failed: &Failed| (failed.digest, failed.fault) == (digest, Fault::MarkedBad);
                if state == (SlotState::Bad { fault: Fault::MarkedBad })
                    && self.body.failed.iter().any(is_banned)
                {
                    return Ok(Answer::Already);
                }
                if state == SlotState::Writing {
                    self.body.slot_mut(slot).state = SlotState::Bad { fault: Fault::MarkedBad };
                } else {
                    self.set_bad(slot, Fault::MarkedBad);
                }
                return Ok(Answer::Done);
            }
            Request::Rollback(slot) => {
                self.require(slot)?;
                return self.roll_back(slot);
            }
            Request::HoldSlot(slot, held) => {
                self.require(slot)?;
                self.body.slot_mut(slot).held = held;
            }
            Request::Cancel => {
                self.cancel()?;
            }
            Request::Forget(digest) => {
                let kept = self.body.failed.iter().filter(|failed| failed.digest != digest);
                self.body.failed = kept.copied().collect();
            }
            Request::HoldUpdates(hold) => self.body.hold = hold,
            Request::Suspect(slot) => {
                self.require(slot)?;
                let is_good = self.is_good(slot);
                self.body.slot_mut(slot).suspect |= is_good;
            }
            Request::Discard(_) => {}
            Request::NoteTime(now) => {
                // What has no time, or one to come, happened now.
                let noted = |at: u64| if at == 0 || at > now { now } else { at };
                self.body.failed.iter_mut().for_each(|failed| failed.at = noted(failed.at));
                if self.body.hold.until != 0 {
                    self.body.hold.since = noted(self.body.hold.since);
                }
            }
        }
        Ok(if self.body == before { Answer::Already } else { Answer::Done })
    }

    fn require(&self, slot: Slot) -> Result<(), OperateError> {
        if self.slots.contains(&slot) { Ok(()) } else { Err(OperateError::NoSuchSlot(slot)) }
    }

    fn other_good(&self, slot: Slot) -> Option<Slot> {
        self.of_kind(SlotKind::Update)
            .filter(|other| *other != slot && self.is_good(*other))
            .filter(|other| self.body.slot(*other).floor >= self.body.floor)
            .min_by_key(|other| (Reverse(self.body.slot(*other).priority), *other))
    }

    /// C1 and C3.
    fn confirm(&mut self, proof: &BootProof) -> Result<Answer, OperateError> {
        self.require(proof.slot)?;
        let entry = self.body.slot(proof.slot);
        let refused = |refusal| Err(OperateError::Confirm(refusal));
        if entry.digest != proof.digest {
            return refused(ConfirmRefusal::OtherManifest);
        }
        match entry.state {
            SlotState::Good if !entry.suspect => return Ok(Answer::Already),
            SlotState::Good => {}
            SlotState::Trying { attempt, nonce, .. } => {
                if (attempt, nonce) != (proof.attempt, proof.nonce) {
                    return refused(ConfirmRefusal::OtherAttempt);
                }
            }
            state => return refused(ConfirmRefusal::NotOnTrial(state)),
        }
        let entry = self.body.slot_mut(proof.slot);
        entry.state = SlotState::Good;
        entry.suspect = false;
        self.put_last(Slot::Recovery);
        let priority = self.body.slot(proof.slot).priority;
        let older: Vec<_> = self
            .of_kind(SlotKind::Update)
            .filter(|slot| self.waits(*slot) && self.body.slot(*slot).priority < priority)
            .collect();
        for slot in older {
            self.body.slot_mut(slot).state = SlotState::Bad { fault: Fault::Superseded };
        }
        let kept = self.body.failed.iter().filter(|failed| failed.digest != proof.digest);
        self.body.failed = kept.copied().collect();
        Ok(Answer::Done)
    }

    fn cancel(&mut self) -> Result<bool, OperateError> {
        let waiting: Vec<_> = self.of_kind(SlotKind::Update).filter(|o| self.waits(*o)).collect();
        if !waiting.is_empty() && !self.of_kind(SlotKind::Update).any(|o| self.is_good(o)) {
            return Err(OperateError::Operator(OperatorRefusal::NothingElseGood));
        }
        for slot in &waiting {
            self.body.slot_mut(*slot).state = SlotState::Bad { fault: Fault::Superseded };
        }
        Ok(!waiting.is_empty())
    }

    /// What the next power-on tries first: a slot below the recorded floor is not started.
    fn next(&self) -> Option<Slot> {
        let reaches = |slot: &Slot| self.body.slot(*slot).floor >= self.body.floor_of(slot.kind());
        self.order(false).into_iter().map(|at| at.0).find(reaches)
    }

    fn roll_back(&mut self, slot: Slot) -> Result<Answer, OperateError> {
        if self.is_good(slot) && self.cancel()? {
            return Ok(Answer::Boots(self.next().unwrap_or(slot)));
        }
        let other = self
            .other_good(slot)
            .ok_or(OperateError::Operator(OperatorRefusal::NothingElseGood))?;
        if self.waits(slot) {
            self.set_bad(slot, Fault::MarkedBad);
        } else if self.is_good(slot) {
            self.body.slot_mut(slot).held = true;
        }
        self.body.slot_mut(other).suspect = false;
        self.prefer(other);
        Ok(Answer::Boots(self.next().unwrap_or(other)))
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

/// One power-on of the model.
struct Loader<'a> {
    chain: &'a Chain,
    on: &'a Surroundings,
    /// As the loader has it.
    at: Model,
    /// As it stands on the device, in turn.
    states: Vec<Model>,
    is_scanned: bool,
    found: Kept,
    store: Store,
    /// Slots that are through.
    out: [bool; SLOTS_MAX],
    counted: [bool; SLOTS_MAX],
    refused_by_floor: [bool; 2],
    ignore_floor: [bool; 2],
    /// Slots that reach the recorded floor and were not found corrupt.
    reaches: [bool; SLOTS_MAX],
}

/// What became of one candidate.
enum Tried {
    Starts(Name),
    Out,
    Later,
}

impl<'a> Loader<'a> {
    fn new(before: Model, chain: &'a Chain, on: &'a Surroundings) -> Self {
        Self {
            chain,
            on,
            states: vec![before.clone()],
            is_scanned: before.kept != Kept::Record,
            found: before.kept,
            at: before,
            store: on.store,
            out: [false; SLOTS_MAX],
            counted: [false; SLOTS_MAX],
            refused_by_floor: [false; 2],
            ignore_floor: [false; 2],
            reaches: [false; SLOTS_MAX],
        }
    }

    fn write(&mut self) {
        self.at.kept = Kept::Record;
        self.states.push(self.at.clone());
    }

    fn is_dirty(&self) -> bool {
        let written = &self.states[self.states.len() - 1];
        written.kept != Kept::Record || written.body != self.at.body
    }

    fn run(mut self) -> Course<Boots> {
        if self.is_scanned {
            self.at.scan(self.chain, &self.on.scene);
        } else {
            let on_trial = |at: &Model| {
                let trying = |slot| matches!(at.body.slot(slot).state, SlotState::Trying { .. });
                Slot::ALL.into_iter().any(trying)
            };
            // A trial that was under way is what the watchdog ended.
            let hung_on_trial = on_trial(&self.at);
            for slot in [Slot::A, Slot::B, Slot::C] {
                if let SlotState::Trying { left: 0, .. } = self.at.body.slot(slot).state {
                    self.at.set_bad(slot, Fault::Exhausted);
                }
            }
            let (slot, kind) = self.at.order(false)[0];
            if self.on.watchdog && !hung_on_trial {
                match kind {
                    CandidateKind::Good => self.at.body.slot_mut(slot).suspect = true,
                    CandidateKind::Suspect | CandidateKind::Recovery => self.at.put_last(slot),
                    CandidateKind::Trial | CandidateKind::LastResort => {}
                }
            }
        }
        let mut start = self.pass();
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            let number = kind as usize;
            if start.is_none()
                && self.refused_by_floor[number]
                && !self.at.of_kind(kind).any(|slot| self.reaches[slot as usize])
            {
                self.ignore_floor[number] = true;
                start = self.pass();
            }
        }
        if start.is_none() && self.found != Kept::Nothing && self.is_dirty() {
            self.write();
        }
        let answer = Boots { start, store: self.store, found: self.found };
        Course { states: self.states, answer }
    }

    fn pass(&mut self) -> Option<Start> {
        for (slot, kind) in self.at.order(self.is_scanned) {
            if self.out[slot as usize] {
                continue;
            }
            if kind == CandidateKind::Trial && !self.counted[slot as usize] {
                let entry = self.at.body.slot_mut(slot);
                let (left, attempt) = match entry.state {
                    SlotState::Ready { tries } => (tries - 1, 1),
                    SlotState::Trying { left, attempt, .. } => (left - 1, attempt + 1),
                    _ => continue,
                };
                entry.state = SlotState::Trying { left, attempt, nonce: self.on.nonce };
                self.counted[slot as usize] = true;
                self.write();
            }
            match self.verify(slot, kind) {
                Tried::Starts(release) => {
                    self.settle(slot, kind, release);
                    let Some(back) = self.on.returns else {
                        return Some(Start { slot, kind, release });
                    };
                    if kind == CandidateKind::Trial && back == HandoverFailure::Returned {
                        self.at.set_bad(slot, Fault::Returned);
                    }
                    self.out[slot as usize] = true;
                }
                Tried::Out => self.out[slot as usize] = true,
                Tried::Later => {}
            }
        }
        None
    }

    /// Boot step 4.
    fn verify(&mut self, slot: Slot, kind: CandidateKind) -> Tried {
        let number = slot.kind() as usize;
        let content = self.on.scene[slot as usize];
        let condemn = |at: &mut Model| {
            if kind != CandidateKind::LastResort || at.is_good(slot) || at.waits(slot) {
                at.set_bad(slot, Fault::Corrupt);
            }
            Tried::Out
        };
        let Some(name) = content.head else { return condemn(&mut self.at) };
        let release = &self.chain.releases[name];
        if release.floor < self.on.store[number].unwrap_or_default() {
            return Tried::Out;
        }
        if release.floor < self.at.body.floor_of(slot.kind()) && !self.ignore_floor[number] {
            self.refused_by_floor[number] = true;
            return Tried::Later;
        }
        self.reaches[slot as usize] = release.floor >= self.at.body.floor_of(slot.kind());
        if kind != CandidateKind::LastResort && release.digest != self.at.body.slot(slot).digest {
            return Tried::Later;
        }
        if content.is_whole {
            return Tried::Starts(name);
        }
        self.reaches[slot as usize] = false;
        condemn(&mut self.at)
    }

    /// What is written before hand-over.
    fn settle(&mut self, slot: Slot, kind: CandidateKind, release: Name) {
        match kind {
            // It was written when the try was counted.
            CandidateKind::Trial => return,
            CandidateKind::LastResort => {
                let digest = self.chain.releases[release].digest;
                let old = self.at.body.slot(slot);
                let attempt = match old.state {
                    SlotState::Trying { attempt, .. } if old.digest == digest => attempt + 1,
                    _ => 1,
                };
                self.at.describe(self.chain, slot, release);
                let nonce = self.on.nonce;
                self.at.body.slot_mut(slot).state = match slot.kind() {
                    SlotKind::Update => SlotState::Trying { left: 0, attempt, nonce },
                    SlotKind::Recovery => SlotState::Good,
                };
                if slot.kind() == SlotKind::Update {
                    self.at.put_last(slot);
                }
            }
            CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery => {
                self.raise_floor(slot, release)
            }
        }
        if self.is_dirty() {
            self.write();
        }
    }

    /// Boot step 8.
    fn raise_floor(&mut self, slot: Slot, release: Name) {
        let kind = slot.kind();
        let number = kind as usize;
        let recorded = self.at.body.floor_of(kind);
        let hint = self.at.lowest_good(kind).unwrap_or_default();
        let kept = self.on.store[number].unwrap_or_default();
        let lags = hint > recorded || (self.at.has_store && hint > kept);
        if !lags && !self.ignore_floor[number] {
            return;
        }
        let mut lowest = self.chain.releases[release].floor;
        for other in self.at.of_kind(kind).filter(|other| *other != slot && self.at.is_good(*other))
        {
            let found = self.on.scene[other as usize].head.map(|name| &self.chain.releases[name]);
            match found.filter(|found| found.digest == self.at.body.slot(other).digest) {
                Some(found) => lowest = lowest.min(found.floor),
                None => return,
            }
        }
        if self.at.has_store && lowest > kept {
            self.store[number] = Some(lowest);
        }
        if lowest > recorded || self.ignore_floor[number] {
            *self.at.body.floor_of_mut(kind) = lowest.max(kept);
        }
    }
}
