//! Every way the boot record changes, as a function on its body.

use crate::canary::Canary;
use crate::format::record::{Body, FAILED_MAX, TRIES_MAX};
use crate::format::{
    BootProof, Digest, Failed, Fault, Manifest, Slot, SlotEntry, SlotKind, SlotState,
};
use crate::select::{Candidate, CandidateKind};
use crate::verify::Verified;

/// The result of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Confirmation {
    /// The slot is good now; the record must be written.
    Confirmed,
    /// It was good already: nothing is written.
    AlreadyGood,
}

/// Why a confirmation is refused (step C1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfirmRefusal {
    /// The proof names another manifest than the record does for that slot.
    OtherManifest,
    /// The proof is of another attempt.
    OtherAttempt,
    /// The slot is neither on trial nor good.
    NotOnTrial(SlotState),
}

impl core::fmt::Display for ConfirmRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OtherManifest => f.write_str(
                "the boot proof names another manifest than the record has for that slot",
            ),
            Self::OtherAttempt => f.write_str("the boot proof is of another boot of that slot"),
            Self::NotOnTrial(state) => {
                write!(f, "the slot is neither on trial nor good, but {state}")
            }
        }
    }
}

impl core::error::Error for ConfirmRefusal {}

/// Why an operator's request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OperatorRefusal {
    /// No good slot would be left to boot.
    NothingElseGood,
    /// The slot holds nothing that could be marked.
    NothingThere,
}

impl core::fmt::Display for OperatorRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NothingElseGood => {
                "there is no other good slot that reaches the recorded floor, so nothing would boot \
                 in its place"
            }
            Self::NothingThere => "there is nothing in that slot",
        })
    }
}

impl core::error::Error for OperatorRefusal {}

impl SlotEntry {
    fn describe(&mut self, manifest: &Verified<Manifest>) {
        self.digest = *manifest.digest();
        self.floor = manifest.floor();
        self.epochs = manifest.epochs;
        self.version = manifest.version.clone();
    }
}

impl Body {
    /// Boot step 2: a trial ends if it was on its last attempt when the power came back. Returns
    /// whether anything changed.
    pub fn expire_trials(&mut self) -> bool {
        let mut changed = false;
        for slot in Slot::ALL {
            if slot.kind() == SlotKind::Recovery {
                continue;
            }
            if let SlotState::Trying { left: 0, .. } = self.slot(slot).state {
                self.fail(slot, Fault::Exhausted);
                changed = true;
            }
        }
        changed
    }

    /// Boot step 3: spends a try of `slot`. Returns the number of the attempt, or `None` if there
    /// is no try left.
    // Why: docs/DESIGN.md#why-try-is-counted-first
    pub fn spend_try(&mut self, slot: Slot, nonce: u64) -> Option<u8> {
        let entry = self.slot_mut(slot);
        let (left, attempt) = match entry.state {
            SlotState::Ready { tries } => (tries.checked_sub(1)?, 1),
            SlotState::Trying { left, attempt, .. } => {
                (left.checked_sub(1)?, attempt.saturating_add(1))
            }
            SlotState::Empty | SlotState::Writing | SlotState::Good | SlotState::Bad { .. } => {
                return None;
            }
        };
        entry.state = SlotState::Trying { left, attempt, nonce };
        Some(attempt)
    }

    /// Boot step 2, last part: a slot that verified is started because nothing else can be. It is
    /// started once, counted, and recorded under the manifest that was found in it.
    // Why: docs/DESIGN.md#why-last-resort-is-recorded
    pub(crate) fn last_resort(
        &mut self,
        slot: Slot,
        manifest: &Verified<Manifest>,
        nonce: u64,
    ) -> u8 {
        let entry = self.slot_mut(slot);
        let same = entry.digest == *manifest.digest();
        let attempt = match entry.state {
            SlotState::Trying { attempt, .. } if same => attempt.saturating_add(1),
            _ => 1,
        };
        entry.describe(manifest);
        if slot.kind() == SlotKind::Recovery {
            // Recovery is never counted: one slot must be left that always starts.
            entry.state = SlotState::Good;
            return 0;
        }
        entry.state = SlotState::Trying { left: 0, attempt, nonce };
        // If all slots are exhausted, each has its turn.
        if !Canary::SameOneForEver.is_on() {
            self.rank(slot, false);
        }
        attempt
    }

    /// Boot step 1 after all copies were lost: notes the manifest that was found in a slot.
    // Why: docs/DESIGN.md#why-recovery-is-not-tried
    pub(crate) fn found(
        &mut self,
        slot: Slot,
        manifest: &Verified<Manifest>,
        confirmed: bool,
        tries: u8,
    ) {
        let entry = self.slot_mut(slot);
        entry.describe(manifest);
        // Recovery is complete once it is committed: it is never tried.
        entry.state = if confirmed || slot.kind() == SlotKind::Recovery {
            SlotState::Good
        } else {
            SlotState::Ready { tries: tries.clamp(1, TRIES_MAX) }
        };
    }

    /// Boot step 1 after all copies were lost: the slots of these bits could not be read. They may
    /// hold a system that works, so they are not empty.
    pub(crate) fn note_unread(&mut self, slots: u8) {
        for slot in Slot::ALL {
            let entry = self.slot_mut(slot);
            if slots & slot.bit() != 0 && entry.state == SlotState::Empty {
                entry.state = SlotState::Bad { fault: Fault::Unreadable };
            }
        }
    }

    /// The same, when nothing can be started. The slots may hold the only system that works, and
    /// are held.
    pub(crate) fn keep_unread(&mut self, slots: u8) {
        self.note_unread(slots);
        for slot in Slot::ALL {
            self.slot_mut(slot).held |= slots & slot.bit() != 0;
        }
    }

    /// Marks `slot` bad, and remembers its update as failed, unless it is corrupt. A corrupt update
    /// was read back whole when it was installed, so the medium is at fault, and the same update
    /// must be accepted as the repair.
    // Why: docs/DESIGN.md#why-corruption-is-not-failed
    pub(crate) fn fail(&mut self, slot: Slot, fault: Fault) {
        let epoch = self.data_epoch;
        let entry = self.slot_mut(slot);
        let (digest, reads_max) = (entry.digest, entry.epochs.reads_max);
        entry.suspect = false;
        let mut shown = fault;
        if fault != Fault::Corrupt {
            // The slot may have run once more on last resort. A slot that was marked bad, or that
            // cannot read the data, does not become exhausted after that.
            shown = self.remember(digest, fault, 0);
            if shown == Fault::Exhausted && reads_max < epoch {
                shown = Fault::DataEpoch;
            }
        }
        self.slot_mut(slot).state = SlotState::Bad { fault: shown };
    }

    /// Adds a failure of the update `digest` to the ring; `at` is unix time in seconds, or 0.
    /// Returns the failure that is recorded from now on.
    // Why: docs/DESIGN.md#why-exhausted-may-return
    pub fn remember(&mut self, digest: Digest, fault: Fault, at: u64) -> Fault {
        let mut entry = Failed { digest, fault, count: 1, at };
        if let Some(found) = self.failed.iter().position(|failed| failed.digest == digest) {
            let old = self.failed[found];
            self.drop_failure(found);
            entry.count = old.count.saturating_add(1);
            // An update that was refused for good stays so: exhaustion may only have been the
            // power.
            if old.fault != Fault::Exhausted {
                entry.fault = old.fault;
            }
        }
        if self.failed.len() == FAILED_MAX {
            // The oldest that may be tried again is dropped first, else the oldest.
            let tired = self.failed.iter().position(|failed| failed.fault == Fault::Exhausted);
            self.drop_failure(tired.unwrap_or(0));
        }
        // There is room: one was removed above if the ring was full.
        let _ = self.failed.push(entry);
        entry.fault
    }

    /// Takes a failure out of the ring, keeping the order of the others.
    fn drop_failure(&mut self, found: usize) {
        for at in found + 1..self.failed.len() {
            self.failed.swap(at - 1, at);
        }
        self.failed.pop();
    }

    /// Gives the time `now`, unix time in seconds, to failures and to the start of a hold, if they
    /// were noted without a clock or by a clock that was ahead. Deadlines stay. Returns whether
    /// anything changed.
    pub fn stamp_failures(&mut self, now: u64) -> bool {
        let mut changed = false;
        let hold = (self.hold.until != 0).then_some(&mut self.hold.since);
        let instants = self.failed.iter_mut().map(|failed| &mut failed.at).chain(hold);
        for at in instants.filter(|at| **at == 0 || **at > now) {
            *at = now;
            changed = true;
        }
        changed
    }

    /// How the update `digest` failed here before, if it did.
    #[must_use]
    pub fn failed_before(&self, digest: &Digest) -> Option<&Failed> {
        self.failed.iter().find(|failed| failed.digest == *digest)
    }

    /// Confirm, steps C1 and C3: makes the slot of `proof` good.
    ///
    /// # Errors
    /// [`ConfirmRefusal`]; nothing is changed then.
    pub fn confirm(&mut self, proof: &BootProof) -> Result<Confirmation, ConfirmRefusal> {
        let entry = self.slot_mut(proof.slot);
        if entry.digest != proof.digest {
            return Err(ConfirmRefusal::OtherManifest);
        }
        match entry.state {
            SlotState::Good if !entry.suspect => return Ok(Confirmation::AlreadyGood),
            SlotState::Good => {}
            SlotState::Trying { attempt, nonce, .. } => {
                if (attempt, nonce) != (proof.attempt, proof.nonce) {
                    return Err(ConfirmRefusal::OtherAttempt);
                }
            }
            state @ (SlotState::Empty
            | SlotState::Writing
            | SlotState::Ready { .. }
            | SlotState::Bad { .. }) => return Err(ConfirmRefusal::NotOnTrial(state)),
        }
        entry.state = SlotState::Good;
        entry.suspect = false;
        // A slot works: suspects go before recovery again.
        self.rank(Slot::Recovery, false);
        let entry = self.slot(proof.slot);
        let (epoch, priority) = (entry.epochs.writes, entry.priority);
        // An update that was installed before this one and still waits would go first at the next
        // power-on, because trials do. That would be a step back from the confirmed update.
        for slot in Slot::ALL {
            let other = self.slot_mut(slot);
            let waits = matches!(other.state, SlotState::Ready { .. } | SlotState::Trying { .. });
            if slot != proof.slot
                && slot.kind() == SlotKind::Update
                && waits
                && other.priority < priority
            {
                other.state = SlotState::Bad { fault: Fault::Superseded };
            }
        }
        if let Some(found) = self.failed.iter().position(|f| f.digest == proof.digest) {
            self.drop_failure(found);
        }
        if epoch > self.data_epoch {
            self.data_epoch = epoch;
            self.retire_unreadable(Some(proof.slot));
        }
        Ok(Confirmation::Confirmed)
    }

    /// Takes every slot but `confirmed` out of use that cannot read the data any more. The
    /// confirmed system migrates the data from now on, and a system that cannot read it would not
    /// work.
    // Why: docs/DESIGN.md#why-data-epochs
    pub(crate) fn retire_unreadable(&mut self, confirmed: Option<Slot>) {
        let epoch = self.data_epoch;
        for slot in Slot::ALL {
            let entry = self.slot_mut(slot);
            let in_use = match entry.state {
                SlotState::Good | SlotState::Ready { .. } | SlotState::Trying { .. } => true,
                SlotState::Empty | SlotState::Writing | SlotState::Bad { .. } => false,
            };
            if Some(slot) != confirmed
                && slot.kind() == SlotKind::Update
                && in_use
                && entry.epochs.reads_max < epoch
            {
                entry.state = SlotState::Bad { fault: Fault::DataEpoch };
            }
        }
    }

    /// The operator or the running system marks the update in `slot` bad, for good. `present` are
    /// the slots that the device has, as bits. Returns whether the mark is new.
    ///
    /// # Errors
    /// [`OperatorRefusal`] if the slot is empty, or no good slot would be left.
    pub fn mark_bad(&mut self, slot: Slot, present: u8) -> Result<bool, OperatorRefusal> {
        let digest = self.slot(slot).digest;
        match self.slot(slot).state {
            SlotState::Bad { fault: Fault::MarkedBad }
                if self
                    .failed
                    .iter()
                    .any(|failed| failed.digest == digest && failed.fault == Fault::MarkedBad) =>
            {
                return Ok(false);
            }
            SlotState::Empty => return Err(OperatorRefusal::NothingThere),
            // The update never ran, and the slot may not hold what the record says. The slot
            // becomes bad, and the update does not go on the failed list.
            SlotState::Writing => {
                self.slot_mut(slot).state = SlotState::Bad { fault: Fault::MarkedBad };
                return Ok(true);
            }
            SlotState::Good if self.other_good(slot, present).is_none() => {
                return Err(OperatorRefusal::NothingElseGood);
            }
            SlotState::Good
            | SlotState::Ready { .. }
            | SlotState::Trying { .. }
            | SlotState::Bad { .. } => {}
        }
        self.fail(slot, Fault::MarkedBad);
        Ok(true)
    }

    /// Boot step 2, last part: a watchdog ended the slot of `candidate`. A good slot becomes
    /// suspect. A suspect, and recovery, go behind the other suspects and recovery. Returns whether
    /// anything changed.
    // Why: docs/DESIGN.md#why-suspects-take-turns
    pub(crate) fn hung(&mut self, candidate: Candidate) -> bool {
        match candidate.kind {
            CandidateKind::Good => self.suspect(candidate.slot),
            CandidateKind::Suspect | CandidateKind::Recovery if !Canary::SameOneForEver.is_on() => {
                self.rank(candidate.slot, false)
            }
            CandidateKind::Suspect
            | CandidateKind::Recovery
            | CandidateKind::Trial
            | CandidateKind::LastResort => false,
        }
    }

    /// A watchdog, or a missed deadline, ended a good slot: the other good one goes first. Returns
    /// whether anything changed.
    pub fn suspect(&mut self, slot: Slot) -> bool {
        let entry = self.slot_mut(slot);
        let changed = entry.state == SlotState::Good && !entry.suspect;
        entry.suspect |= changed;
        changed
    }

    /// Cancels an update that waits to be tried or is on trial. It is not started again, and does
    /// not go on the failed list. `present` are the slots that the device has, as bits. Returns
    /// whether anything changed.
    ///
    /// # Errors
    /// [`OperatorRefusal`] when no good slot would be left to start instead.
    pub fn cancel(&mut self, present: u8) -> Result<bool, OperatorRefusal> {
        let waits = |body: &Self, slot: Slot| {
            slot.kind() == SlotKind::Update
                && matches!(
                    body.slot(slot).state,
                    SlotState::Ready { .. } | SlotState::Trying { .. }
                )
        };
        let mut changed = false;
        for slot in Slot::ALL {
            if waits(self, slot) {
                self.other_good(slot, present).ok_or(OperatorRefusal::NothingElseGood)?;
                self.slot_mut(slot).state = SlotState::Bad { fault: Fault::Superseded };
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Takes the update `digest` off the list of those that failed here. Returns whether it was
    /// listed.
    pub fn forget(&mut self, digest: &Digest) -> bool {
        let found = self.failed.iter().position(|failed| failed.digest == *digest);
        if let Some(found) = found {
            self.drop_failure(found);
        }
        found.is_some()
    }

    /// Goes back from `slot`. If an update waits in another slot, it is canceled as
    /// [`cancel`](Self::cancel) does it, and nothing else changes. Otherwise a trial in `slot` ends
    /// as marked bad; a good `slot` stays good and is held, and the other good slot goes first.
    /// Returns the slot that boots next. `present` are the slots that the device has, as bits: a
    /// slot that only the record has does not boot.
    ///
    /// # Errors
    /// [`OperatorRefusal`] when there is no other good slot.
    // Why: docs/DESIGN.md#why-rollback-holds
    pub fn rollback(&mut self, slot: Slot, present: u8) -> Result<Slot, OperatorRefusal> {
        // An operator who cancels the waiting update now may want it later: it is not refused for
        // good.
        if self.slot(slot).state == SlotState::Good && self.cancel(present)? {
            return Ok(slot);
        }
        let target = self.other_good(slot, present).ok_or(OperatorRefusal::NothingElseGood)?;
        match self.slot(slot).state {
            SlotState::Ready { .. } | SlotState::Trying { .. } => {
                self.fail(slot, Fault::MarkedBad);
            }
            SlotState::Good => self.slot_mut(slot).held = true,
            SlotState::Empty | SlotState::Writing | SlotState::Bad { .. } => {}
        }
        let entry = self.slot_mut(target);
        entry.suspect = false;
        self.prefer(target);
        Ok(target)
    }

    /// The good update slot other than `slot` that would go first. A slot below the recorded floor
    /// would not be started.
    fn other_good(&self, slot: Slot, present: u8) -> Option<Slot> {
        let good = |other: &Slot| {
            let entry = self.slot(*other);
            *other != slot
                && present & other.bit() != 0
                && other.kind() == SlotKind::Update
                && entry.state == SlotState::Good
                && entry.floor >= self.floor
        };
        // `rev`, because `max_by_key` gives the last of equals: ties go to the lower number.
        Slot::ALL.into_iter().rev().filter(good).max_by_key(|other| self.slot(*other).priority)
    }

    /// Install step 2: `slot` is about to be overwritten.
    pub(crate) fn begin_install(&mut self, slot: Slot, manifest: &Verified<Manifest>) {
        let entry = self.slot_mut(slot);
        entry.describe(manifest);
        entry.state = SlotState::Writing;
        entry.suspect = false;
    }

    /// Install step 5: `slot` is complete. This change, once durable, is the switch.
    pub(crate) fn complete_install(&mut self, slot: Slot, tries: u8) {
        match slot.kind() {
            SlotKind::Update => {
                self.slot_mut(slot).state = SlotState::Ready { tries };
                self.prefer(slot);
            }
            SlotKind::Recovery => self.slot_mut(slot).state = SlotState::Good,
        }
    }

    /// Gives `slot` the highest priority.
    fn prefer(&mut self, slot: Slot) {
        self.rank(slot, true);
    }

    /// Gives `slot` the highest priority, or the lowest, and leaves the order of the others. Returns
    /// whether anything changed.
    fn rank(&mut self, slot: Slot, first: bool) -> bool {
        // Ranks instead of a count, because a count would overflow at some time.
        let before = self.slots.each_ref().map(|entry| entry.priority);
        let rank = |other: Slot| ((other == slot) == first, before[other as usize]);
        let mut changed = false;
        for one in Slot::ALL {
            let after = |other: &&Slot| (rank(**other), one) < (rank(one), **other);
            let priority = Slot::ALL.iter().filter(after).count() as u8;
            changed |= priority != before[one as usize];
            self.slot_mut(one).priority = priority;
        }
        changed
    }
}
