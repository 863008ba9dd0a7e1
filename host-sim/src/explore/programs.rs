//! Runs of a device's programs, each judged: loader, installer, tools.

use std::sync::Arc;

use stillboot::format::{Floor, Slot};
use stillboot::install::{InstallError, Nothing};
use stillboot::request::{Answer, Request, RequestError};
use stillboot::select::CandidateKind;

use super::damage::Damage;
use super::effort::Memory;
use super::job::Job;
use super::situation::Situation;
use crate::engine::{HandoverFailure, Instant, Outcome, Program};
use crate::oracle::{Broken, Promise, Promises};
use crate::story::Name;
use crate::words;

/// No chunk starts between two multiples of this.
const CHUNK_START: usize = 512;

impl Job<'_> {
    pub(super) fn run<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        program: &Program,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Arc<Outcome> {
        let outcome =
            self.engine.run(&self.setting, program, &mut at.disk, &mut at.store, instants);
        if self.effort.memory != Memory::Used {
            let text = format!("{outcome:?}{:x}{:?}", at.disk.name(), at.store);
            let name = twox_hash::XxHash3_128::oneshot(text.as_bytes()) as u64;
            self.counts.outcomes = self.counts.outcomes.rotate_left(1) ^ name;
        }
        outcome
    }

    pub(super) fn power_on<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        watchdog_reset: bool,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        self.start(at, watchdog_reset, None, promises, instants)
    }

    pub(super) fn start<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        watchdog_reset: bool,
        returns: Option<(Slot, HandoverFailure)>,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        at.nonce += 1;
        at.running = None;
        let was_over = at.disk.is_over();
        let program = Program::Boot { nonce: at.nonce, watchdog_reset, returns };
        let outcome = self.run(at, &program, instants);
        let Outcome::Boot(started) = &*outcome else { unreachable!("a boot ends as a boot") };
        self.tell(|| words::power_on(&started.report));
        if let Some(proof) = started.proof {
            let kind = started.report.lines.last().map(|line| line.candidate.kind);
            at.running = Some((proof, kind.unwrap_or(CandidateKind::LastResort)));
        }
        let floors = at
            .store
            .as_ref()
            .map_or([Floor::default(); 2], |store| store.floors.map(Option::unwrap_or_default));
        let unread = at.disk.unread().filter(|_| !was_over);
        let (truth, disk) = (&mut at.truth, &mut at.disk);
        self.known.judge(truth, disk, floors, unread.as_ref(), started, promises)?;
        if let Some(proof) = started.proof
            && let Some(name) = self.release_in(&proof)
            && self.known.releases[name].is_in_place
            && !self.known.intact(&mut at.disk.truly()).contains(&(proof.slot, name))
        {
            refuse(promises, Promise::OnlyVerified, || {
                format!("{} runs in place with other bytes", self.known.releases[name].name)
            })?;
        }
        Ok(())
    }

    pub(super) fn install<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        program: Program,
        release: Name,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<Result<Slot, InstallError>, Broken> {
        self.known.begin_install(&mut at.truth, release);
        // The running slot's bytes: no change may touch them, after a cut as little as before.
        if let Some((proof, _)) = at.running {
            self.engine.guarded = self.setting.ground.stretches(proof.slot);
        }
        let outcome = self.run(at, &program, instants);
        self.engine.guarded.clear();
        let trespass = self.engine.trespass.take();
        let Outcome::Install(result) = &*outcome else { unreachable!("it ends as what it is") };
        let name = self.known.releases[release].name;
        self.tell(|| words::install(name, result));
        match result {
            Ok(installed) => self.known.end_install(&mut at.truth, release, installed.slot),
            Err(InstallError::Nothing(Nothing::Ready(slot))) => {
                self.known.end_install(&mut at.truth, release, *slot);
            }
            // A device that fails says nothing of what it has written.
            Err(InstallError::Device(_) | InstallError::Record(_)) => {}
            Err(_) => self.known.refuse_install(&mut at.truth, release),
        }
        if let Some(act) = trespass {
            refuse(promises, Promise::RunningSlot, || {
                format!("the {} goes to the running slot", words::change(&act))
            })?;
        }
        self.nothing_unsigned(at, release, promises)?;
        if let Ok(installed) = result {
            at.truth.wrecked[installed.slot as usize] = false;
            if at.disk.unflushed() > 0 {
                refuse(promises, Promise::Installed, || "done, and not flushed".into())?;
            }
            // What stands there, and not what the device says of it.
            if promises.hold(Promise::Installed) {
                let whole = self.known.intact(&mut at.disk.truly());
                if !whole.contains(&(installed.slot, release)) {
                    let name = self.known.releases[release].name;
                    refuse(promises, Promise::Installed, || {
                        format!("{name} is said to be installed in {}, and is not", installed.slot)
                    })?;
                }
            }
        }
        Ok(result.map(|installed| installed.slot))
    }

    /// Whatever a transport gave: what was not signed is nowhere on the disk.
    fn nothing_unsigned<D: Damage>(
        &self,
        at: &Situation<D>,
        release: Name,
        promises: Promises,
    ) -> Result<(), Broken> {
        let release = &self.known.releases[release];
        if release.lies.is_empty() {
            return Ok(());
        }
        let ram = at.disk.truly();
        let all = ram.bytes(0, self.setting.ground.joined().capacity_bytes as usize);
        let stands = |lie: &Vec<u8>| {
            // Components, and so their chunks, start at multiples of this on every medium.
            all.chunks(CHUNK_START).enumerate().any(|(number, start)| {
                lie.starts_with(&start[..start.len().min(lie.len())])
                    && all[number * CHUNK_START..].starts_with(lie)
            })
        };
        match release.lies.iter().any(stands) {
            true => refuse(promises, Promise::OnlyVerified, || {
                format!("bytes of {} that were not signed stand on the disk", release.name)
            }),
            false => Ok(()),
        }
    }

    pub(super) fn perform<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        request: Request,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<Answer, RequestError> {
        let program = Program::Perform(request);
        let outcome = self.run(at, &program, instants);
        let Outcome::Perform(result) = &*outcome else { unreachable!("it ends as what it is") };
        self.tell(|| words::request(&request, result));
        *result
    }
}

pub(super) fn refuse(
    promises: Promises,
    promise: Promise,
    how: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if promises.hold(promise) { Err(Broken { promise, how: how() }) } else { Ok(()) }
}
