//! A power-on of a walk, judged.

use stillboot::driver::Memory as _;
use stillboot::format::Slot;
use stillboot::record::RecordStatus;
use stillboot::select::CandidateKind;

use super::event::PowerLoss;
use super::model::{Boots, Kept, Start, Surroundings};
use super::walker::{Runs, Walker, broken, distinct};
use crate::engine::HandoverFailure;
use crate::fault::Fault;
use crate::oracle::{Broken, Promise};
use crate::words;
use crate::world;

impl Walker<'_, '_> {
    pub(super) fn power_on(
        &mut self,
        watchdog: bool,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        self.start(watchdog, None, power)
    }

    pub(super) fn start(
        &mut self,
        watchdog: bool,
        back: Option<HandoverFailure>,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        let on = Surroundings {
            contents: self.contents(),
            store: self.store(),
            nonce: self.world.nonce + 1,
            watchdog,
            returns: back,
        };
        if let Some(runs) = self.running.take() {
            self.stale = Some(runs.proof);
        }
        let chain = self.route.chain;
        let courses: Vec<_> = self.states.iter().map(|at| at.power_on(chain, &on)).collect();
        self.world.watchdog_reset = watchdog;
        self.world.comes_back = back.map(HandoverFailure::event);
        let had_struck = self.world.disks[0].device().has_struck();
        let started = self.run(power, |world| world.power_on().expect("the ground is sound"));
        self.end(power);
        let Some(mut started) = started else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(());
        };
        self.counts.power_ons += 1;
        self.tell(|| format!("  {}", words::power_on(&started.report)));
        let start = self.only_verified(&mut started)?;
        if !self.is_known() {
            // Where every image comes back nothing has to run.
            return match back {
                None => self.judge_faulty(&started, start, had_struck, power),
                Some(_) => Ok(()),
            };
        }
        let found = match started.report.record {
            RecordStatus::Current { .. } => Kept::Record,
            RecordStatus::Factory => Kept::Nothing,
            RecordStatus::Lost | RecordStatus::Newer => Kept::Lost,
        };
        let came = Boots { start, store: self.store(), found };
        let right = courses.iter().filter(|course| course.answer == came);
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer.clone()).collect();
            return Err(judge_start(&came, &expected));
        }
        self.states = states;
        if power.is_none() {
            self.running = runs(&started);
        }
        Ok(())
    }

    /// What runs is what was published, for this device, whole, and not below the store's floor.
    fn only_verified(
        &mut self,
        started: &mut world::PowerOnOutcome,
    ) -> Result<Option<Start>, Broken> {
        let Some(Runs { proof, kind }) = runs(started) else { return Ok(None) };
        let refuse = |how: String| broken(Promise::OnlyVerified, how);
        let Some(name) = self.route.chain.named(&proof.digest) else {
            return refuse("a manifest that was never published".into());
        };
        let release = &self.route.chain.releases[name];
        let called = &release.name;
        if !release.is_ours || release.kind != proof.slot.kind() {
            return refuse(format!("{called} runs from {}", proof.slot));
        }
        for (number, (role, bytes)) in release.contents.iter().enumerate() {
            if !started.memory.bytes(number).starts_with(bytes) {
                return refuse(format!("{called} runs with other bytes of its {role}"));
            }
        }
        let floor = self.store()[release.kind as usize].unwrap_or_default();
        if release.floor < floor {
            return refuse(format!("{called} reaches {:?}, the store {floor:?}", release.floor));
        }
        Ok(Some(Start { slot: proof.slot, kind, release: name }))
    }

    /// A power-on after a fault, or with one.
    fn judge_faulty(
        &mut self,
        started: &world::PowerOnOutcome,
        start: Option<Start>,
        had_struck: bool,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        if start.is_some() {
            if power.is_none() {
                self.running = runs(started);
            }
            return Ok(());
        }
        // What cannot be read cannot be started. A read that fails once may cost one power-on.
        let unread = match self.fault {
            Fault::ReadOnce(_) if had_struck => None,
            Fault::ReadOnce(_) | Fault::ReadAlways(_) | Fault::Unstable(..) | Fault::Rot(..) => {
                self.world.disks[0].device().hit()
            }
            _ => None,
        };
        let has_record = matches!(started.report.record, RecordStatus::Current { .. });
        if !has_record || !self.holds(Promise::Boots) {
            return Ok(());
        }
        let contents = self.contents();
        let is_read = |slot: &&Slot| {
            let stretches = self.route.ground.stretches(**slot);
            let meets =
                |(from, to): (u64, u64)| stretches.iter().any(|at| from < at.end && at.start < to);
            !unread.is_some_and(meets)
        };
        let able = self.route.slots.iter().filter(is_read).find_map(|slot| {
            let release = &self.route.chain.releases[contents[*slot as usize].whole()?];
            // Which floor is recorded is not known; whatever reaches the highest may run.
            let is_high = release.floor >= self.highest[release.kind as usize];
            is_high.then_some((*slot, &release.name))
        });
        match able {
            Some((slot, name)) => broken(
                Promise::Boots,
                format!("{name} is whole in {slot} and nothing starts: {:?}", started.report),
            ),
            None => Ok(()),
        }
    }
}

fn runs(started: &world::PowerOnOutcome) -> Option<Runs> {
    let kind = started.report.lines.last()?.candidate.kind;
    started.proof.map(|proof| Runs { proof, kind })
}

/// Which promise a start breaks that is none of those expected.
fn judge_start(came: &Boots, expected: &[Boots]) -> Broken {
    let promise = if expected.iter().all(|boots| boots.found != came.found) {
        Promise::Record
    } else {
        match came.start {
            None => Promise::Boots,
            Some(Start { kind: CandidateKind::Trial, .. }) => Promise::Tries,
            Some(_) => Promise::Confirmed,
        }
    };
    Broken { promise, how: format!("{came:?}, expected one of {expected:?}") }
}
