//! Updates that are offered on a walk, compared with the model.

use std::ops::Range;

use stillboot::driver::Source;
use stillboot::format::Slot;
use stillboot::install::{InstallError, Installed, Running};
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_transport::outline::Outline;

use super::chain::{LOW, Name, OTHER_CLASS, RECOVERY, UPDATES};
use super::event::{PowerLoss, ReleaseChoice, Via};
use super::model::{InstallAttempt, Model, is_same};
use super::walker::{Walker, broken, distinct};
use crate::oracle::{Broken, Promise};
use crate::transport::{self, FramedFile, OldSlot, old_parts};
use crate::words;
use crate::world::Bytes;

impl Walker<'_, '_> {
    pub(super) fn next_release(&mut self) -> Name {
        self.offered += 1;
        self.offered - 1
    }

    pub(super) fn offer(
        &mut self,
        offer: ReleaseChoice,
        target: Option<Slot>,
        power: Option<PowerLoss>,
    ) -> Result<(), Broken> {
        let last = self.offered.saturating_sub(1);
        let (release, target, repair, is_whole) = match offer {
            ReleaseChoice::Next => (self.next_release(), target, false, true),
            ReleaseChoice::Again | ReleaseChoice::Old(_) if self.offered == 0 => return Ok(()),
            ReleaseChoice::Again => (last, target, false, true),
            ReleaseChoice::Old(ago) => (last.saturating_sub(ago), target, false, true),
            // From then on it is not new to the device: the operator may call it bad.
            ReleaseChoice::Tampered => (self.next_release(), target, false, false),
            ReleaseChoice::OtherClass => (OTHER_CLASS, target, false, true),
            ReleaseChoice::Low => (LOW, target, false, true),
            ReleaseChoice::Repair => {
                let runs = self.running.and_then(|runs| self.route.chain.named(&runs.proof.digest));
                let Some(release) = runs.filter(|name| *name < UPDATES) else { return Ok(()) };
                (release, target, true, true)
            }
            ReleaseChoice::Recovery(number) => {
                (RECOVERY + number, Some(Slot::Recovery), false, true)
            }
        };
        if target.is_some_and(|slot| !self.route.slots.contains(&slot)) {
            return Ok(());
        }
        if matches!(offer, ReleaseChoice::Low | ReleaseChoice::OtherClass)
            && !self.is_refused(release, target)
        {
            return Ok(());
        }
        self.install(release, target, repair, is_whole, power).map(|_| ())
    }

    /// Whether the device must refuse it in every state: before the first update is confirmed there
    /// is no floor, and what is taken then would end the chain.
    fn is_refused(&self, release: Name, target: Option<Slot>) -> bool {
        let (contents, store) = (self.contents(), self.store());
        let proof = self.running.map(|runs| runs.proof);
        let offer = InstallAttempt { release, target, repair: false, is_whole: true };
        let chain = self.route.chain;
        let install =
            |at: &Model| at.install(chain, &contents, store, proof.as_ref(), offer).answer;
        // A fault that strikes while it is installed must not open the door either.
        self.is_known()
            && self.fault_lasts == 0
            && self.states.iter().all(|at| install(at).is_err())
    }

    #[allow(clippy::type_complexity)] // What the core answers, if anybody hears it, or a promise.
    pub(super) fn install(
        &mut self,
        release: Name,
        target: Option<Slot>,
        repair: bool,
        is_whole: bool,
        power: Option<PowerLoss>,
    ) -> Result<Option<Result<Slot, InstallError>>, Broken> {
        let chain = self.route.chain;
        let (contents, store) = (self.contents(), self.store());
        let proof = self.running.map(|runs| runs.proof);
        let offer = InstallAttempt { release, target, repair, is_whole };
        let published = &chain.releases[release];
        if published.is_ours && release != LOW {
            let highest = &mut self.highest[published.kind as usize];
            *highest = (*highest).max(published.floor);
        }
        let bundle = if is_whole { published.bundle.to_vec() } else { chain.tampered(release) };
        let (mut source, is_right) = self.source(&bundle);
        // Where old bytes are damaged, a chunk may be wrong that the slot has already.
        let damaged = InstallAttempt { is_whole: false, ..offer };
        let offers = if is_right { vec![offer] } else { vec![offer, damaged] };
        let course = |(at, offer): (&Model, &InstallAttempt)| {
            at.install(chain, &contents, store, proof.as_ref(), *offer)
        };
        let states = self.states.iter();
        let pairs = states.flat_map(|at| offers.iter().map(move |offer| (at, offer)));
        let courses: Vec<_> = pairs.map(course).collect();
        let before = proof.map(|proof| (proof.slot, self.content_of(proof.slot)));
        let answer = self.run(power, |world| {
            let running = proof.map_or(Running::Offline, Running::Proof);
            world.install_with(&mut *source, running, |config| {
                config.target = target;
                config.repair = repair;
            })
        });
        let unflushed = self.disk().pending();
        self.end(power);
        self.tell(|| match &answer {
            Some(answer) => format!("  {}", words::install(&published.name, answer)),
            None => "  cut by the power".into(),
        });
        if let Some((slot, bytes)) = before
            && self.is_known()
            && self.content_of(slot) != bytes
        {
            return broken(Promise::RunningSlot, format!("slot {slot} runs and was changed"));
        }
        let Some(answer) = answer else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(None);
        };
        if let Ok(Installed { slot, .. }) = answer {
            self.counts.installs += 1;
            self.counts.transported += u64::from(self.via != Via::Bundle);
            let stands = self.contents()[slot as usize].whole();
            if stands != Some(release) && self.holds(Promise::Installed) {
                let how = format!("{} is not whole in {slot}, but {stands:?}", published.name);
                return broken(Promise::Installed, how);
            }
            if unflushed > 0 && self.is_known() {
                return broken(Promise::Installed, "done, and not flushed".into());
            }
        }
        let answer = answer.map(|installed| installed.slot);
        if !self.is_known() {
            return Ok(Some(answer));
        }
        let right = courses.iter().filter(|course| is_same(&course.answer, &answer));
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer).collect();
            let how = format!("installing answers {answer:?}, expected one of {expected:?}");
            return broken(Promise::NextUpdate, how);
        }
        self.states = states;
        Ok(Some(answer))
    }

    /// What the installation reads, and whether it gives the bundle.
    fn source<'b>(&self, bundle: &'b [u8]) -> (Box<dyn Source + 'b>, bool) {
        let chain = self.route.chain;
        let runs = self.running.and_then(|runs| {
            let name = chain.named(&runs.proof.digest)?;
            Some((runs.proof.slot, &chain.releases[name].bundle))
        });
        let outline = Outline::of(bundle).expect("a bundle");
        let old = runs
            .filter(|(_, old)| Outline::of(old).is_some_and(|old| old.digest != outline.digest));
        let (file, old) = match (self.via, old) {
            (Via::Bundle, _) => return (Box::new(Bytes::new(bundle, usize::MAX)), true),
            (Via::Frames, _) | (_, None) => (transport::framed(bundle, Compression::Lz4), None),
            (Via::Patch, Some((slot, old))) => {
                let slots = self.route.ground.slots();
                let layout = self.route.ground.layout(&slots).expect("the ground is sound");
                let outline = Outline::of(old).expect("a bundle");
                let parts = old_parts(&self.route.ground, &layout, slot, &outline);
                // What runs is not written to, so these are its bytes at any time.
                let old_slot = OldSlot { disk: self.disk().ram().fork(), parts };
                (transport::patch(old, bundle, Full::Whole(Compression::Lz4)), Some(old_slot))
            }
        };
        let mut old =
            old.unwrap_or_else(|| OldSlot { disk: self.disk().ram().fork(), parts: Vec::new() });
        let given = transport::expanded(&file, &mut old);
        let is_right = given.is_ok_and(|(given, fault)| given == bundle && fault.is_none());
        (Box::new(FramedFile::new(file, old)), is_right)
    }

    fn content_of(&self, slot: Slot) -> Vec<u8> {
        let stretches = self.route.ground.stretches(slot).into_iter();
        let bytes =
            |at: Range<u64>| self.disk().ram().bytes(at.start, (at.end - at.start) as usize);
        stretches.flat_map(bytes).collect()
    }
}
