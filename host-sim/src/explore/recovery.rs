//! What follows after a cut, up to the next update.

use stillboot::format::SlotKind;
use stillboot::install::InstallError;
use stillboot::select::CandidateKind;

use super::damage::Damage;
use super::disk::Disk;
use super::job::Job;
use super::programs::refuse;
use super::situation::{Other as _, Situation};
use crate::engine::{Instant, Program};
use crate::oracle::{Broken, Promise, Promises};
use crate::story::{LATER, NEXT, Name, STATED, Step, V1};

impl Job<'_> {
    /// Power on and update, at once and, where `redo` is something, also after that was done again.
    /// Equal situations once only.
    pub(super) fn recover(
        &mut self,
        mut at: Situation<Disk>,
        redo: Option<Step>,
        promises: Promises,
    ) -> Result<(), Broken> {
        // The rows for power faults promise the same, so what they share need not be distinguished.
        let key = at.key(format_args!("{redo:?}{promises:?}"));
        if self.trace.is_none()
            && let Some(known) = self.memo.get(&key)
        {
            self.counts.settled += 1;
            self.started_last = self.started.get(&key).copied().flatten();
            return known.clone();
        }
        let started = self.power_on(&mut at, false, promises, None);
        if self.picture.is_some() {
            self.started_last = at.running.map(|(proof, kind)| (self.release_in(&proof), kind));
            self.started.insert(key, self.started_last);
        }
        let result = started.and_then(|()| {
            if let Some(step) = redo {
                let mut again = at.clone();
                self.redo(&mut again, step, promises, None)?;
                self.finish(again, promises)?;
                self.tell(|| "the same, and what was interrupted is not done again".into());
            }
            self.finish(at, promises)
        });
        self.memo.insert(key, result.clone());
        result
    }

    /// What the interrupted system or operator does after the power is back.
    pub(super) fn redo(
        &mut self,
        at: &mut Situation<Disk>,
        step: Step,
        promises: Promises,
        mut instants: Option<&mut Vec<Instant<Disk>>>,
    ) -> Result<(), Broken> {
        let on_trial =
            matches!(at.running, Some((_, CandidateKind::Trial | CandidateKind::LastResort)));
        match step {
            Step::Install { release, target, repair } => {
                if on_trial {
                    self.step(at, Step::Confirm, promises, instants.as_deref_mut())?;
                }
                let running = at.running.map(|(proof, _)| proof);
                let target = match running {
                    // A slot that runs by now is no target.
                    Some(proof) if target == Some(proof.slot) => return Ok(()),
                    _ => target,
                };
                let program = Program::Install { bundle: release, running, target, repair };
                let mut install =
                    |program| self.install(at, program, release, promises, instants.as_deref_mut());
                let mut done = install(program)?;
                // Its source was wrong about the target. Resumed, as updaters do, it looks itself.
                if let Err(InstallError::ReadBack) = done
                    && release == STATED
                {
                    done = install(program)?;
                }
                let genuine = self.known.releases[release].is_genuine;
                match done {
                    Err(
                        error @ (InstallError::Device(_)
                        | InstallError::Record(_)
                        | InstallError::ReadBack),
                    ) => refuse(promises, Promise::NextUpdate, || format!("resumed: {error}")),
                    Err(InstallError::Refused(refusal))
                        if genuine
                            && running.is_some_and(|proof| self.release_in(&proof) == Some(V1))
                            && !self.is_low(release) =>
                    {
                        refuse(promises, Promise::NextUpdate, || format!("resumed: {refusal}"))
                    }
                    _ => Ok(()),
                }
            }
            Step::Confirm if on_trial => self.step(at, Step::Confirm, promises, instants),
            // What was left runs until the next power-on, and is not confirmed any more.
            Step::Rollback if on_trial => {
                self.step(at, step, promises, instants.as_deref_mut())?;
                self.power_on(at, false, promises, instants)
            }
            Step::MarkBad(slot) => match at.running {
                // Already left, or else it is left again.
                Some((proof, _)) if proof.slot == slot && !on_trial => Ok(()),
                _ => {
                    self.step(at, Step::MarkBad(slot), promises, instants.as_deref_mut())?;
                    self.power_on(at, false, promises, instants)
                }
            },
            Step::Hold(..) | Step::Note(_) => self.step(at, step, promises, instants),
            _ => Ok(()),
        }
    }

    pub(super) fn is_low(&self, release: Name) -> bool {
        self.known.releases[release].floor.level == 0
    }

    /// Confirms what runs and updates it, without help except for freeing slots that were held.
    pub(super) fn finish(
        &mut self,
        mut at: Situation<Disk>,
        promises: Promises,
    ) -> Result<(), Broken> {
        let key = at.key(format_args!("finish{promises:?}"));
        if self.trace.is_none()
            && let Some(known) = self.memo.get(&key)
        {
            return known.clone();
        }
        let result = self.update(&mut at, promises);
        self.memo.insert(key, result.clone());
        result
    }

    pub(super) fn update<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        promises: Promises,
    ) -> Result<(), Broken> {
        let broken = |how: String| refuse(promises, Promise::NextUpdate, || how);
        if let Some((proof, kind)) = at.running
            && proof.slot.kind() == SlotKind::Update
        {
            if matches!(kind, CandidateKind::Trial | CandidateKind::LastResort) {
                self.step(at, Step::Confirm, promises, None)?;
            }
            // What waits in the other slot may be what comes next, or what an operator has held.
            if self.story.steps.iter().any(|step| matches!(step, Step::Rollback)) {
                self.step(at, Step::Hold(proof.slot.other_update(), false), promises, None)?;
            }
        }
        let running = at.running.map(|(proof, _)| proof);
        let runs_next = at.truth.good & (1 << NEXT) != 0 || at.truth.trial & (1 << NEXT) != 0;
        let release = if runs_next { LATER } else { NEXT };
        let program = Program::Install { bundle: release, running, target: None, repair: false };
        let slot = match self.install(at, program, release, promises, None)? {
            Ok(slot) => slot,
            Err(error) => return broken(format!("the next update fails: {error}")),
        };
        self.power_on(at, false, promises, None)?;
        let runs = |at: &Situation<D>| at.running.map(|(proof, kind)| (proof.slot, kind));
        if runs(at) != Some((slot, CandidateKind::Trial)) {
            return broken(format!("{:?} starts instead of the next update", runs(at)));
        }
        self.step(at, Step::Confirm, promises, None)?;
        self.power_on(at, false, promises, None)?;
        if runs(at) != Some((slot, CandidateKind::Good)) {
            return broken(format!("{:?} starts instead of the confirmed update", runs(at)));
        }
        Ok(())
    }
}

/// The step, if the interrupted system or operator does it again once the power is back.
pub(super) fn redone(step: Step) -> Option<Step> {
    matches!(
        step,
        Step::Install { .. }
            | Step::Confirm
            | Step::Rollback
            | Step::MarkBad(_)
            | Step::Hold(..)
            | Step::Note(_)
    )
    .then_some(step)
}
