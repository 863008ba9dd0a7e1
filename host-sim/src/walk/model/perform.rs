//! A request to the reference machine.

use std::cmp::Reverse;

use stillboot::format::record::VERSION;
use stillboot::format::{BootProof, Failed, Fault, Slot, SlotKind, SlotState};
use stillboot::record::{ConfirmRefusal, OperatorRefusal, RecordStatus};
use stillboot::request::{Answer, Request, RequestError};

use super::state::{Course, Kept, Model};

impl Model {
    /// A request of the running system or its operator.
    #[must_use]
    pub fn perform(&self, request: Request) -> Course<Result<Answer, RequestError>> {
        let mut states = vec![self.clone()];
        let mut at = self.clone();
        let answer = at.apply(request);
        if at != *self || matches!(answer, Ok(Answer::Done | Answer::Boots(_))) {
            states.push(at);
        }
        Course { states, answer }
    }

    fn apply(&mut self, request: Request) -> Result<Answer, RequestError> {
        if request == Request::Read {
            return Ok(Answer::Done);
        }
        if let Request::Discard(version) = request {
            let found = (self.kept == Kept::Record).then_some(VERSION);
            if found != Some(version) {
                return Err(RequestError::OtherVersion { found });
            }
            *self = self.lost();
            return Ok(Answer::Done);
        }
        match self.kept {
            Kept::Record => {}
            Kept::Nothing => return Err(RequestError::NoRecord(RecordStatus::Factory)),
            Kept::Lost => return Err(RequestError::NoRecord(RecordStatus::Lost)),
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
                    return Err(RequestError::Operator(OperatorRefusal::NothingThere));
                }
                if state == SlotState::Good && self.other_good(slot).is_none() {
                    return Err(RequestError::Operator(OperatorRefusal::NothingElseGood));
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

    fn require(&self, slot: Slot) -> Result<(), RequestError> {
        if self.slots.contains(&slot) { Ok(()) } else { Err(RequestError::NoSuchSlot(slot)) }
    }

    fn other_good(&self, slot: Slot) -> Option<Slot> {
        self.of_kind(SlotKind::Update)
            .filter(|other| *other != slot && self.is_good(*other))
            .filter(|other| self.body.slot(*other).floor >= self.body.floor)
            .min_by_key(|other| (Reverse(self.body.slot(*other).priority), *other))
    }

    /// C1 and C3.
    fn confirm(&mut self, proof: &BootProof) -> Result<Answer, RequestError> {
        self.require(proof.slot)?;
        let entry = self.body.slot(proof.slot);
        let refused = |refusal| Err(RequestError::Confirm(refusal));
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

    fn cancel(&mut self) -> Result<bool, RequestError> {
        let waiting: Vec<_> = self.of_kind(SlotKind::Update).filter(|o| self.waits(*o)).collect();
        if !waiting.is_empty() && !self.of_kind(SlotKind::Update).any(|o| self.is_good(o)) {
            return Err(RequestError::Operator(OperatorRefusal::NothingElseGood));
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

    fn roll_back(&mut self, slot: Slot) -> Result<Answer, RequestError> {
        if self.is_good(slot) && self.cancel()? {
            return Ok(Answer::Boots(self.next().unwrap_or(slot)));
        }
        let other = self
            .other_good(slot)
            .ok_or(RequestError::Operator(OperatorRefusal::NothingElseGood))?;
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
