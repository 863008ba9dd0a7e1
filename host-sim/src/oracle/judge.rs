//! Which starts are right.

use std::ops::Range;

use stillboot::boot::{Line, Reason};
use stillboot::device::BlockDevice;
use stillboot::format::{BootProof, Floor, Slot, SlotKind, SlotState};
use stillboot::record::RecordStatus;
use stillboot::select::{Candidate, CandidateKind};

use super::history::{History, Set, Written, only};
use super::promise::{Broken, Promise, Promises};
use super::published::{Published, Stretch};
use crate::engine::Started;
use crate::story::{Name, Release};

impl Published<'_> {
    /// Judges a power-on, and notes what follows from it.
    ///
    /// `disk` is as the loader left it, `store` what the store holds, and `unread` the bytes that
    /// the device did not read during this power-on, or read wrong: what needs them cannot boot.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn judge<D: BlockDevice>(
        &self,
        truth: &mut History,
        disk: &mut D,
        store: [Floor; 2],
        unread: Option<&Range<u64>>,
        started: &Started,
        promises: Promises,
    ) -> Result<(), Broken> {
        let judge = Judge { known: self, store, unread, started, promises };
        judge.record_is_there(truth)?;
        judge.only_whole_is_tried(truth, disk)?;
        let waits = judge.not_started_is_kept(truth)?;
        let Some(proof) = started.proof else {
            return judge.nothing_could_start(truth, disk);
        };
        let Some(name) = self.named(&proof.digest) else {
            return judge
                .broken(Promise::OnlyVerified, "a manifest that was never published".into());
        };
        judge.may_run(truth, disk, &proof, name)?;
        judge.runs_on_right_grounds(truth, disk, &proof, name, waits)?;
        judge.floor_rises(truth, disk, &proof, name)?;
        // What ran from a slot stands there, also if a cut hid the end of its installation.
        truth.slots[proof.slot as usize] = Some(name);
        judge.floor_shuts_nothing_out(truth)?;
        judge.note_record(truth);
        Ok(())
    }

    /// The floor that a start of `name` as good must have reached, by step 8 of the protocol: the
    /// lowest of what stands in the slots of its kind. It is not above `enough` if a slot that may
    /// be good is not whole: then nothing is raised.
    fn floor_due<D: BlockDevice>(
        &self,
        truth: &History,
        disk: &mut D,
        slot: Slot,
        name: Name,
        enough: Floor,
    ) -> Floor {
        let floor_of = |name: Name| self.releases[name].floor;
        let others = Slot::ALL.into_iter().filter(|o| *o != slot && o.kind() == slot.kind());
        let installed = others.clone().filter_map(|other| truth.slots[other as usize]);
        let most = installed.map(floor_of).min().map_or(floor_of(name), |o| o.min(floor_of(name)));
        if most <= enough {
            return most;
        }
        // Only then the disk has to be read.
        let whole = self.intact(disk);
        let mut due = floor_of(name);
        for other in others {
            let found = whole.iter().filter(|found| found.0 == other).map(|found| found.1);
            match found.map(floor_of).min() {
                Some(floor) => due = due.min(floor),
                None if truth.slots[other as usize].is_some() => return enough,
                None => {}
            }
        }
        due
    }
}

/// One power-on before its judge.
struct Judge<'j, 'a> {
    known: &'j Published<'a>,
    store: [Floor; 2],
    unread: Option<&'j Range<u64>>,
    started: &'j Started,
    promises: Promises,
}

impl Judge<'_, '_> {
    /// The promise is broken, if it holds here.
    fn broken(&self, promise: Promise, how: String) -> Result<(), Broken> {
        if self.promises.hold(promise) { Err(Broken { promise, how }) } else { Ok(()) }
    }

    /// What a system of this kind must reach.
    fn floor(&self, truth: &History, kind: SlotKind) -> Floor {
        self.store[kind as usize].max(truth.floors[kind as usize])
    }

    fn has_record(&self) -> bool {
        matches!(self.started.report.record, RecordStatus::Current { .. })
    }

    /// On what grounds it runs.
    fn started_as(&self) -> Option<CandidateKind> {
        self.started.report.lines.last().map(|line| line.candidate.kind)
    }

    fn record_is_there(&self, truth: &History) -> Result<(), Broken> {
        if truth.record == Written::Yes && !self.has_record() {
            let found = &self.started.report.record;
            self.broken(Promise::Record, format!("the record is {found:?}"))?;
        }
        Ok(())
    }

    /// The switch to an update happens only when it is whole, and what is good was whole when it
    /// became good: nothing else is tried on these grounds.
    fn only_whole_is_tried<D: BlockDevice>(
        &self,
        truth: &History,
        disk: &mut D,
    ) -> Result<(), Broken> {
        let tried = |kind: CandidateKind| {
            matches!(kind, CandidateKind::Trial | CandidateKind::Good | CandidateKind::Suspect)
        };
        let mut whole = None;
        for line in self.lines(|reason| reason != Reason::Started) {
            let Candidate { slot, kind } = line.candidate;
            if !tried(kind) {
                continue;
            }
            let whole = whole.get_or_insert_with(|| self.known.intact(disk));
            if !truth.wrecked[slot as usize] && whole.iter().all(|found| found.0 != slot) {
                let how = format!("slot {slot} is tried as {kind:?}, half full");
                self.broken(Promise::Tried, how)?;
            }
        }
        Ok(())
    }

    fn lines(&self, wanted: impl Fn(Reason) -> bool) -> impl Iterator<Item = &Line> {
        self.started.report.lines.iter().filter(move |line| wanted(line.reason))
    }

    /// A slot that the machine could not start is not given up, and an update that waits goes on
    /// waiting. Returns the updates that wait.
    fn not_started_is_kept(&self, truth: &mut History) -> Result<Set, Broken> {
        let mut waits = 0;
        for line in self.lines(|reason| reason == Reason::NotStarted) {
            let Candidate { slot, kind } = line.candidate;
            let state = self.started.record.body.slot(slot).state;
            let is_kept = match kind {
                CandidateKind::Trial => matches!(state, SlotState::Trying { .. }),
                CandidateKind::Good | CandidateKind::Suspect => state == SlotState::Good,
                CandidateKind::Recovery | CandidateKind::LastResort => true,
            };
            if !is_kept {
                let how = format!("slot {slot} could not be started, and is {state:?} for that");
                self.broken(Promise::NextUpdate, how)?;
            }
            if kind == CandidateKind::Trial {
                truth.starts += 1;
                waits |= truth.slots[slot as usize].map_or(0, only);
            }
        }
        Ok(waits)
    }

    /// Nothing runs: then nothing could.
    fn nothing_could_start<D: BlockDevice>(
        &self,
        truth: &History,
        disk: &mut D,
    ) -> Result<(), Broken> {
        let returned = |slot: Slot| {
            let came = |reason| matches!(reason, Reason::Returned | Reason::NotStarted);
            self.lines(came).any(|line| line.candidate.slot == slot)
        };
        let whole = self.known.intact(disk);
        let able = whole.iter().find(|(slot, name)| {
            self.known.releases[*name].floor >= self.floor(truth, slot.kind())
                && !returned(*slot)
                && !self.is_unread(*slot, *name)
        });
        // Without power faults a lost record is more than one fault.
        if let Some((slot, name)) = able
            && (self.has_record() || self.promises.hold(Promise::Record))
        {
            let (name, report) = (self.known.releases[*name].name, &self.started.report);
            let how = format!("{name} is whole in {slot} and nothing starts: {report:?}");
            self.broken(Promise::Boots, how)?;
        }
        Ok(())
    }

    /// Whether the device did not read something that this slot needs to start.
    fn is_unread(&self, slot: Slot, name: Name) -> bool {
        let meets = |(at, bytes): &Stretch, found: &Range<u64>| {
            *at < found.end && found.start < at + bytes.len() as u64
        };
        let mut parts = self.known.parts(name, slot).iter();
        self.unread.is_some_and(|found| {
            parts.any(|part| meets(part, found)) || self.known.needs_for_head(slot, found)
        })
    }

    /// What runs is for this device, as it was published, and not below the floor.
    fn may_run<D: BlockDevice>(
        &self,
        truth: &History,
        disk: &mut D,
        proof: &BootProof,
        name: Name,
    ) -> Result<(), Broken> {
        let started = self.started;
        let kind = proof.slot.kind();
        let release = &self.known.releases[name];
        let called = release.name;
        if !release.is_genuine || release.kind != kind {
            self.broken(Promise::OnlyVerified, format!("{called} runs from {}", proof.slot))?;
        }
        // What runs in place is checked by the caller, which knows what the medium really holds.
        let whole = if release.is_in_place {
            started.loaded.is_empty()
        } else {
            started.loaded.len() == release.contents.len()
                && started.loaded.iter().zip(&release.contents).all(|(loaded, published)| {
                    loaded.1 == published.0 && loaded.2.starts_with(&published.1)
                })
        };
        if !whole {
            self.broken(Promise::OnlyVerified, format!("{called} runs with other bytes"))?;
        }
        // A recorded floor that nothing whole on the device reaches came from damage, or leads to
        // it; the store's floor is never ignored.
        let recorded = truth.floors[kind as usize];
        let reaches = |(slot, name): &(Slot, Name)| {
            slot.kind() == kind && self.known.releases[*name].floor >= recorded
        };
        let floor_counts =
            !started.report.floor_ignored || self.known.intact(disk).iter().any(reaches);
        let least = if floor_counts { self.floor(truth, kind) } else { self.store[kind as usize] };
        if release.floor < least {
            let how = format!("{called} reaches {:?}, the floor is {least:?}", release.floor);
            self.broken(Promise::OnlyVerified, how)?;
        }
        Ok(())
    }

    /// What runs on trial waited for it and has tries left, what runs as good is good, and anything
    /// else runs only where nothing that was confirmed is whole.
    fn runs_on_right_grounds<D: BlockDevice>(
        &self,
        truth: &mut History,
        disk: &mut D,
        proof: &BootProof,
        name: Name,
        waits: Set,
    ) -> Result<(), Broken> {
        let called = self.known.releases[name].name;
        let started_as = self.started_as();
        match started_as {
            Some(CandidateKind::Trial) => {
                if truth.trial & only(name) == 0 {
                    self.broken(Promise::Confirmed, format!("{called} starts on trial again"))?;
                }
                truth.starts += 1;
                if truth.starts > self.known.tries {
                    let how = format!("{called} starts for the {}th time", truth.starts);
                    self.broken(Promise::Tries, how)?;
                }
                truth.trial = only(name);
                // It runs on trial, so it is not confirmed after all.
                truth.good &= !only(name);
            }
            Some(CandidateKind::Good | CandidateKind::Suspect) => {
                if truth.good & only(name) == 0 {
                    let how = format!("{called} starts as good instead of {:b}", truth.good);
                    self.broken(Promise::Confirmed, how)?;
                }
                truth.good = only(name);
                truth.sure = only(name);
                // A rebuilt record lets what is confirmed go first this once; what waited is tried
                // at the next power-on.
                if self.has_record() {
                    truth.trial &= waits;
                }
            }
            Some(CandidateKind::Recovery | CandidateKind::LastResort) | None => {
                let better = |found: &(Slot, Name)| {
                    truth.sure & only(found.1) != 0
                        && *found != (proof.slot, name)
                        && self.known.releases[found.1].floor >= self.floor(truth, found.0.kind())
                };
                if let Some((slot, other)) = self.known.intact(disk).into_iter().find(better) {
                    let other = self.known.releases[other].name;
                    let how = format!(
                        "{called} starts as {started_as:?}, and {other} is whole in {slot}"
                    );
                    self.broken(Promise::Confirmed, how)?;
                }
            }
        }
        Ok(())
    }

    /// What every good slot of the kind reaches is the floor from then on. This is judged by what
    /// stands in the slots, and not by what the core says of them.
    fn floor_rises<D: BlockDevice>(
        &self,
        truth: &mut History,
        disk: &mut D,
        proof: &BootProof,
        name: Name,
    ) -> Result<(), Broken> {
        let kind = proof.slot.kind();
        if self.promises.hold(Promise::Record)
            && matches!(
                self.started_as(),
                Some(CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery)
            )
        {
            let recorded = self.started.record.body.floor_of(kind);
            let due = self.known.floor_due(truth, disk, proof.slot, name, recorded);
            if due > recorded {
                let how = format!("every good slot reaches {due:?}, the floor is {recorded:?}");
                self.broken(Promise::OnlyVerified, how)?;
            }
            let known = &mut truth.floors[kind as usize];
            *known = (*known).max(due);
        }
        Ok(())
    }

    /// Only what is confirmed may raise the floor: otherwise one update that fails leaves no slot
    /// that may start.
    fn floor_shuts_nothing_out(&self, truth: &History) -> Result<(), Broken> {
        if self.promises.hold(Promise::Confirmed) && !self.started.report.floor_ignored {
            let recorded = self.started.record.body.floor_of(SlotKind::Update);
            let locked = |(_, release): &(Name, &Release)| {
                release.kind == SlotKind::Update && release.floor < recorded
            };
            let all = self.known.releases.iter().enumerate();
            let mut sure = all.filter(|(name, _)| truth.sure & only(*name) != 0);
            if let Some((_, release)) = sure.find(locked) {
                let how = format!("{} is confirmed, the floor is {recorded:?}", release.name);
                self.broken(Promise::Confirmed, how)?;
            }
        }
        Ok(())
    }

    /// Where nothing failed there is a record from now on, and its floors count.
    fn note_record(&self, truth: &mut History) {
        if self.started.report.record_write_failed.is_none() {
            truth.record = Written::Yes;
            if !self.started.report.floor_ignored {
                for kind in [SlotKind::Update, SlotKind::Recovery] {
                    let floor = &mut truth.floors[kind as usize];
                    *floor = (*floor).max(self.started.record.body.floor_of(kind));
                }
            }
        }
    }
}
