//! The steps of a story.

use stillboot::format::Slot;
use stillboot::request::{Answer, Request};
use stillboot::select::CandidateKind;

use super::damage::Damage;
use super::disk::Disk;
use super::job::Job;
use super::programs::refuse;
use super::situation::{Other as _, Situation};
use crate::engine::{HandoverFailure, Instant, Program};
use crate::oracle::{Broken, Promise, Promises};
use crate::story::{Name, Step};

impl Job<'_> {
    /// The device at the start of the story's steps.
    pub(super) fn before(&mut self) -> Result<Situation<Disk>, Broken> {
        let mut at = self.new_device();
        let promises = self.promises("power cut before or after a request");
        for step in self.story.before.clone() {
            self.step(&mut at, step, promises, None)?;
        }
        Ok(at)
    }

    /// One step of a story on whatever disk: runs it, notes what follows, judges it.
    pub(super) fn step<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        step: Step,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        match step {
            Step::PowerOnOutcome => self.power_on(at, false, promises, instants),
            Step::Returns(slot) => {
                self.comes_back(at, slot, HandoverFailure::Returned, promises, instants)
            }
            Step::NotStarted(slot) => {
                self.comes_back(at, slot, HandoverFailure::NotStarted, promises, instants)
            }
            Step::Watchdog => {
                if let Some((proof, _)) = at.running {
                    self.known.begin_leave(&mut at.truth, proof.slot);
                }
                self.power_on(at, true, promises, instants)
            }
            Step::Install { release, target, repair } => {
                let program = Program::Install {
                    bundle: release,
                    running: at.running.map(|(proof, _)| proof),
                    target,
                    repair,
                };
                self.install(at, program, release, promises, instants).map(|_| ())
            }
            Step::Interrupted { release, repair, change } => {
                self.interrupted(at, release, repair, change, promises)
            }
            Step::Confirm => self.confirm(at, promises, instants),
            Step::Rollback => {
                self.roll_back(at, instants);
                Ok(())
            }
            Step::MarkBad(slot) => {
                self.known.begin_leave(&mut at.truth, slot);
                if self.perform(at, Request::MarkBad(slot), instants).is_ok() {
                    self.known.end_leave(&mut at.truth, slot);
                }
                Ok(())
            }
            Step::Hold(slot, held) => {
                let _ = self.perform(at, Request::HoldSlot(slot, held), instants);
                Ok(())
            }
            Step::Note(issue) => {
                let _ = self.perform(at, Request::NoteIssue(issue), instants);
                Ok(())
            }
            Step::Scrub(slot) => self.scrub(at, slot, promises),
            Step::LoseRecord => {
                self.lose_record(at);
                Ok(())
            }
            Step::ForgeSequence => {
                self.forge_sequence(at);
                Ok(())
            }
            Step::Spoil(slot) => {
                self.spoil(at, slot);
                Ok(())
            }
            Step::Plant(slot, release) => {
                self.plant(at, slot, release);
                Ok(())
            }
            Step::Wreck(slot) => {
                self.wreck(at, slot);
                Ok(())
            }
        }
    }

    /// A power-on in which what starts from `slot` comes back to the loader.
    fn comes_back<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        slot: Slot,
        back: HandoverFailure,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        // The good slot stays good; for this power-on the other one counts as good as well.
        let good = at.truth.good;
        self.known.begin_leave(&mut at.truth, slot);
        let started = self.start(at, false, Some((slot, back)), promises, instants);
        at.truth.good |= good;
        started
    }

    /// An installation that ends before the change of this number, and what a cache held is lost.
    fn interrupted<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        release: Name,
        repair: bool,
        change: usize,
        promises: Promises,
    ) -> Result<(), Broken> {
        let program = Program::Install {
            bundle: release,
            running: at.running.map(|(proof, _)| proof),
            target: None,
            repair,
        };
        let mut whole = at.clone();
        let mut list = Vec::new();
        let done = self.install(&mut whole, program, release, promises, Some(&mut list))?;
        if let Ok(slot) = done {
            at.truth.wrecked[slot as usize] = false;
        }
        self.known.begin_install(&mut at.truth, release);
        at.running = None;
        at.disk = list.swap_remove(change.min(list.len() - 1)).disk;
        at.disk.lose_pending();
        Ok(())
    }

    /// What runs is confirmed, if something runs.
    fn confirm<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        let Some((proof, _)) = at.running else { return Ok(()) };
        let Some(release) = self.release_in(&proof) else { return Ok(()) };
        self.known.begin_confirm(&mut at.truth, release);
        match self.perform(at, Request::MarkGood(proof), instants) {
            Ok(_) => {
                self.known.end_confirm(&mut at.truth, release);
                Ok(())
            }
            Err(error) => refuse(promises, Promise::Confirmed, || {
                format!("what runs cannot be confirmed: {error}")
            }),
        }
    }

    /// What runs is left for the other slot, if something runs.
    fn roll_back<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        instants: Option<&mut Vec<Instant<D>>>,
    ) {
        let Some((proof, kind)) = at.running else { return };
        self.known.begin_leave(&mut at.truth, proof.slot);
        if let Ok(Answer::Boots(_)) = self.perform(at, Request::Rollback(proof.slot), instants) {
            if kind == CandidateKind::Trial {
                self.known.end_leave(&mut at.truth, proof.slot);
            } else if let Some(other) = at.truth.slots[proof.slot.other_update() as usize] {
                at.truth.good = 1 << other;
            }
        }
    }

    /// The situation while `step` is under way.
    pub(super) fn during(&self, start: &Situation<Disk>, step: Step) -> Situation<Disk> {
        let mut during = start.clone();
        let truth = &mut during.truth;
        let running = start.running.map(|(proof, _)| proof);
        match step {
            Step::PowerOnOutcome => during.nonce += 1,
            Step::Returns(slot) | Step::NotStarted(slot) => {
                during.nonce += 1;
                self.known.begin_leave(truth, slot);
            }
            Step::Watchdog => {
                during.nonce += 1;
                if let Some(proof) = running {
                    self.known.begin_leave(truth, proof.slot);
                }
            }
            Step::Install { release, .. } | Step::Interrupted { release, .. } => {
                self.known.begin_install(truth, release);
            }
            Step::Confirm => {
                if let Some(release) = running.and_then(|proof| self.release_in(&proof)) {
                    self.known.begin_confirm(truth, release);
                }
            }
            Step::Rollback => {
                if let Some(proof) = running {
                    self.known.begin_leave(truth, proof.slot);
                }
            }
            Step::MarkBad(slot) => self.known.begin_leave(truth, slot),
            Step::Hold(..)
            | Step::Note(_)
            | Step::Scrub(_)
            | Step::LoseRecord
            | Step::ForgeSequence
            | Step::Wreck(_)
            | Step::Spoil(_)
            | Step::Plant(..) => {}
        }
        during
    }
}
