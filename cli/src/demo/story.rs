//! What happens, scene by scene. Each scene runs its part, counts what it saw, and prints it.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use stillboot::boot::{Line, Reason, Report};
use stillboot::format::{Digest, Fault, Role, Slot, SlotState};
use stillboot::install::{InstallError, Refusal, Reuse, Running};
use stillboot::layout::Region;
use stillboot::request::{Answer, Request};
use stillboot::verify::TrustError;
use stillboot_linux::disk::{self, Recipe};
use stillboot_sim::disk::{Cut, Random};

use super::drive::{LOSS_MAX, random_cut};
use super::inputs::{Inputs, System};
use super::promises::Observed;
use super::release::{CHUNK_SIZE, CLASS, Keys, Label, OTHER_CLASS, Release};
use super::timeline::{Timeline, Tone, count, size};
use super::world::{Attempt, Instant, Started, TRIES, Terms, When, Wire, World};

/// The device did what no scene can follow. Other errors are the demo's own: a file that cannot be
/// written.
#[derive(Debug)]
pub struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

fn broken(what: impl Into<String>) -> anyhow::Error {
    Broken(what.into()).into()
}

/// What is offered in the story, in order: two that are well, one that never reports health, and
/// the same system mended.
const LABELS: [Label; 4] = [
    Label { version: "1.0.0", sequence: 1, class: CLASS },
    Label { version: "2.0.0", sequence: 2, class: CLASS },
    Label { version: "3.0.0", sequence: 3, class: CLASS },
    Label { version: "3.0.1", sequence: 4, class: CLASS },
];
const FIRST: usize = 0;
const SECOND: usize = 1;
const SICK: usize = 2;
const MENDED: usize = 3;

/// Everything that need not be fetched is not.
const REUSE: Reuse = Reuse { target: true, stated: false, running: true };

/// Power cuts while an update begins.
const HEAD_CUTS: Often = Often { most: 8, least: 4 };

/// Power cuts while its bytes arrive.
const BODY_CUTS: Often = Often { most: 48, least: 8 };

/// How many tampered bundles are checked: a bit flipped in the envelopes, in the index after them,
/// and anywhere.
const FLIPS: [Often; 3] =
    [Often { most: 8, least: 4 }, Often { most: 4, least: 2 }, Often { most: 12, least: 4 }];

/// How many bundles with a bit flipped in the envelopes, and after them, are streamed into an
/// installation.
const STREAMED_FLIPS: (Often, Often) = (Often { most: 4, least: 2 }, Often { most: 5, least: 2 });

/// How often something is done. Each time hashes a whole system, so that with large ones it is done
/// less often: the demo is to take seconds.
#[derive(Clone, Copy, Debug)]
struct Often {
    most: u64,
    least: u64,
}

impl Often {
    /// Up to here a system is not large.
    const BYTES: u64 = 20 << 20;

    /// For systems of `bytes`.
    fn for_size(self, bytes: u64) -> u64 {
        (self.most * Self::BYTES / bytes.max(1)).clamp(self.least, self.most)
    }
}

/// Plays all scenes in `folder`.
///
/// # Errors
/// [`Broken`] if the device did what no scene can follow, else what kept the demo from going on.
pub fn play(
    folder: &Path,
    inputs: &Inputs,
    random: &mut Random,
    keep: bool,
    timeline: &mut Timeline,
    observed: &mut Observed,
) -> Result<()> {
    let image = folder.join("disk.img");
    let slot_bytes = slot_bytes(&inputs.systems);
    let mut guid = [0; 16];
    random.fill(&mut guid);
    let guid = uuid::Builder::from_random_bytes(guid).into_uuid();
    let recipe = Recipe::new(2, slot_bytes).with_guid(Some(guid));
    disk::create(&image, &recipe)?;
    timeline.event(
        Tone::Plain,
        "disk",
        format!("a GPT with the boot record and slots a and b of {} each", size(slot_bytes)),
    );

    let keys = Keys::new(random);
    timeline.event(Tone::Plain, "keys", "root, release and recovery; keyset 1, signed by the root");
    let last = inputs.systems.len() - 1;
    let mut releases = Vec::new();
    for (at, label) in LABELS.into_iter().enumerate() {
        let system = &inputs.systems[at.min(last)];
        let release = Release::pack(system, label, inputs.architecture, &keys)?;
        let what =
            format!("{}: {}, {}", release.version, release.name, size(release.payload_len()));
        timeline.event(Tone::Plain, "pack", what);
        releases.push(release);
    }
    if keep {
        fs::write(folder.join("roots.toml"), keys.roots().to_toml()?)?;
        for release in &releases {
            fs::write(folder.join(format!("{}.sbb", release.version)), &*release.bytes)?;
        }
    }

    let seed = Random::new(random.next_u64());
    let world = World::open(&image, keys.roots(), inputs.architecture, seed)?;
    let mut story = Story { inputs, keys, releases, world, random, timeline, observed };
    let first = story.factory()?;
    let second = story.update_without_power(&image, &first)?;
    let second = story.commit(SECOND, &second)?;
    let second = story.sick(&second)?;
    let second = story.refuse(&second)?;
    let mended = story.mended(&second)?;
    story.rot(&mended)
}

/// Room for the largest system: its bytes and index in whole blocks, the header, and some to grow.
fn slot_bytes(systems: &[System]) -> u64 {
    const MIB: u64 = 1 << 20;
    let needed = systems.iter().map(|system| {
        let bytes = (system.kernel.len() + system.initramfs.len()) as u64;
        bytes + bytes.div_ceil(CHUNK_SIZE.into()) * 32
    });
    (needed.max().unwrap_or(0) + MIB).next_multiple_of(MIB)
}

struct Story<'a> {
    inputs: &'a Inputs,
    keys: Keys,
    releases: Vec<Release>,
    world: World,
    random: &'a mut Random,
    timeline: &'a mut Timeline,
    observed: &'a mut Observed,
}

impl Story<'_> {
    /// A new device gets its first system, starts it, and keeps it.
    fn factory(&mut self) -> Result<Started> {
        let terms = Terms { running: Running::Offline, reuse: Reuse::default(), cut: None };
        self.install(FIRST, terms, "factory")?;
        let started = self.start(FIRST)?;
        self.commit(FIRST, &started)
    }

    /// The power fails again and again while the second version is installed.
    fn update_without_power(&mut self, image: &Path, first: &Started) -> Result<Started> {
        // The expected result, and the number of changes that a cut can hit: the same update on a
        // copy of the disk, without cuts.
        let copy = image.with_extension("copy");
        fs::copy(image, &copy).context("cannot copy the disk image")?;
        let seed = Random::new(0);
        let mut peaceful = World::open(&copy, self.keys.roots(), self.inputs.architecture, seed)?;
        let terms = Terms { running: Running::Proof(first.proof), reuse: REUSE, cut: None };
        let attempt = peaceful.install(Wire::new(&self.releases[SECOND].bytes), terms)?;
        let target = match attempt.result {
            Ok(installed) => installed.slot,
            Err(error) => return Err(broken(format!("2.0.0 was not installed: {error}"))),
        };
        let target = peaceful.slot(target);
        let expected = peaceful.digest_of(&target)?;
        drop(peaceful);
        fs::remove_file(&copy)?;

        let mut spared = target.clone();
        spared.extend(self.world.record_regions()?);
        let around = self.world.digest_but(&spared)?;
        let started = self.cut_again_and_again(first, &attempt)?;
        let same = self.world.digest_of(&target)? == expected;
        let around = self.world.digest_but(&spared)? == around;
        self.observed.same_as_uncut = Some(same && around);
        Ok(started)
    }

    fn cut_again_and_again(&mut self, first: &Started, peaceful: &Attempt) -> Result<Started> {
        let release = &self.releases[SECOND];
        let (payload, bundle) = (release.payload_len(), release.bytes.len() as u64);
        let mut cuts = Vec::new();
        for _ in 0..HEAD_CUTS.for_size(payload) {
            cuts.push((Phase::Begins, When::Change(self.random.below(peaceful.head_changes))));
        }
        let body = BODY_CUTS.for_size(payload);
        let mut places: Vec<u64> = (0..body).map(|_| self.random.below(payload)).collect();
        places.sort_unstable();
        for bytes in places {
            let phase = Phase::Arrives { quarter: bytes * 4 / payload };
            // Each chunk is an erase and a write. Aim at the writes: the erase of a disk does nothing.
            let then = 1 + 2 * self.random.below(3);
            cuts.push((phase, When::InPlace { bytes, then }));
        }
        for then in 0..peaceful.tail_changes {
            cuts.push((Phase::Ends, When::InPlace { bytes: payload, then }));
        }

        let mut scene = Cuts::of(Phase::Begins);
        for (phase, when) in cuts {
            if scene.phase != phase {
                scene.tell(self.timeline);
                scene = Cuts::of(phase);
            }
            let cut = Some((when, random_cut(self.random)));
            if let Some(started) = self.go(first, cut, &mut scene)? {
                return self.switched(started, &mut scene, payload, bundle);
            }
        }
        scene.tell(self.timeline);
        // If the last cut prevented the switch, the update runs once more without a cut.
        match self.go(first, None, &mut Cuts::of(Phase::Ends))? {
            Some(started) => self.switched(started, &mut Cuts::of(Phase::Ends), payload, bundle),
            None => Err(broken("2.0.0 did not start though its installation was done")),
        }
    }

    /// One go at the update, and the power-on after it. Gives the new system if that was started.
    fn go(
        &mut self,
        first: &Started,
        cut: Option<(When, Cut)>,
        scene: &mut Cuts,
    ) -> Result<Option<Started>> {
        let terms = Terms { running: Running::Proof(first.proof), reuse: REUSE, cut };
        let attempt = self.world.install(Wire::new(&self.releases[SECOND].bytes), terms)?;
        self.observed.goes += 1;
        self.observed.fetched += attempt.fetched;
        let counter = match attempt.power {
            Some(Instant::Before) => Some(&mut self.observed.cuts_before),
            Some(Instant::Inside) => Some(&mut self.observed.cuts_inside),
            Some(Instant::After) => Some(&mut self.observed.cuts_after),
            None => None,
        };
        let was_cut = counter.is_some();
        match (counter, &attempt.result) {
            (Some(counter), _) => {
                *counter += 1;
                scene.cuts += 1;
                self.world.power_on()?;
            }
            (None, Ok(_)) => {}
            (None, Err(error)) => {
                return Err(broken(format!("2.0.0 was not installed: {error}")));
            }
        }
        let booted = self.boot()?;
        let (is_old, is_new) =
            (booted.is(&self.releases[FIRST]), booted.is(&self.releases[SECOND]));
        self.observed.cuts_survived += u64::from(was_cut);
        // Only the last write, the switch, may have either result when it is cut.
        let in_turn = match attempt.result {
            Ok(_) => is_new,
            Err(_) => is_old || is_new && attempt.read_back,
        };
        match (in_turn, is_old) {
            (true, true) => self.observed.old_in_turn += 1,
            (true, false) => self.observed.new_in_turn += 1,
            (false, _) => self.observed.out_of_turn += 1,
        }
        if is_old {
            scene.old += 1;
            self.observed.quiet_boots += 1;
            self.observed.quiet_changes += booted.changes;
        }
        Ok(is_new.then_some(booted.started))
    }

    fn switched(
        &mut self,
        started: Started,
        scene: &mut Cuts,
        payload: u64,
        bundle: u64,
    ) -> Result<Started> {
        scene.tell(self.timeline);
        self.observed.needed = bundle;
        self.observed.fetched_max = bundle + self.observed.goes * (bundle - payload + LOSS_MAX);
        let detail = format!(
            "2.0.0 into slot {}: {} fetched in {}, a bundle of {}",
            started.proof.slot,
            size(self.observed.fetched),
            count(self.observed.goes, "run"),
            size(bundle),
        );
        self.timeline.event(Tone::Well, "installed", detail);
        self.tell_start(&started);
        Ok(started)
    }

    /// A version starts, and never says that it is well.
    fn sick(&mut self, second: &Started) -> Result<Started> {
        let terms = Terms { running: Running::Proof(second.proof), reuse: REUSE, cut: None };
        self.install(SICK, terms, "update")?;
        self.observed.sick_tries_due = TRIES.into();
        let back = loop {
            let booted = self.boot()?;
            if !booted.is(&self.releases[SICK]) {
                break booted;
            }
            self.observed.sick_tries += 1;
            let detail = format!(
                "slot {}: 3.0.0, try {} of {TRIES}; no sign of health by its deadline",
                booted.started.proof.slot, booted.started.proof.attempt
            );
            self.timeline.event(Tone::Harm, "trial", detail);
            // More than the record can count: the tries do not run out.
            if self.observed.sick_tries > 15 {
                return Err(broken("3.0.0 is tried without end"));
            }
        };
        self.observed.rolled_back = Some(back.is(&self.releases[SECOND]));
        let record = self.world.record()?;
        let failed = record.body.failed_before(&self.releases[SICK].digest);
        self.observed.remembered =
            Some(failed.is_some_and(|failed| failed.fault == Fault::Exhausted));
        let detail = format!(
            "slot {}: {}; 3.0.0 is noted as {}",
            back.started.proof.slot,
            back.started.manifest.version,
            failed.map_or("nothing", |failed| failed.fault.name()),
        );
        self.timeline.event(Tone::Well, "rollback", detail);
        Ok(back.started)
    }

    /// Whatever is not for this device, or is not what was signed, is refused.
    fn refuse(&mut self, second: &Started) -> Result<Started> {
        self.refuse_tampered_files()?;
        let disk = self.world.digest_but(&[])?;
        self.refuse_foreign(second, &disk)?;
        self.refuse_tampered_streams(second, &disk)?;
        let booted = self.boot()?;
        if !booted.is(&self.releases[SECOND]) || booted.started.proof.slot != second.proof.slot {
            return Err(broken("2.0.0 did not start again after all these"));
        }
        Ok(booted.started)
    }

    /// Single wrong bits all over a bundle, checked before anything is done with it.
    fn refuse_tampered_files(&mut self) -> Result<()> {
        let release = &self.releases[MENDED];
        let (head, index) = release.head_len();
        let end = release.bytes.len() as u64;
        let mut bits = Vec::new();
        for (count, from, to) in
            [(FLIPS[0], 0, head), (FLIPS[1], head, head + index), (FLIPS[2], 0, end)]
        {
            bits.extend(
                (0..count.for_size(release.payload_len()))
                    .map(|_| 8 * from + self.random.below(8 * (to - from))),
            );
        }
        let mut refused = 0;
        for bit in &bits {
            let verdict = self.world.verify(Wire::flipped(&release.bytes, *bit));
            refused += u64::from(matches!(verdict, Err(InstallError::Refused(_))));
        }
        // The unchanged bundle must be accepted, else the refusals prove nothing.
        if let Err(error) = self.world.verify(Wire::new(&release.bytes)) {
            return Err(broken(format!("the true 3.0.1 does not verify: {error}")));
        }
        self.observed.tampered += bits.len() as u64;
        self.observed.tampered_refused += refused;
        let detail = format!(
            "3.0.1 with one bit flipped, {} times all over the file: {refused} refused",
            bits.len()
        );
        self.timeline.event(Tone::Well, "tampered", detail);
        Ok(())
    }

    /// Bundles that are intact, and not for this device.
    fn refuse_foreign(&mut self, second: &Started, disk: &Digest) -> Result<()> {
        let last = &self.inputs.systems[self.inputs.systems.len() - 1];
        // The contents do not matter here, so they are small.
        let most = last.initramfs.len().min(1 << 20);
        let initramfs = Rc::new(last.initramfs[..most].to_vec());
        let system = &System { initramfs, ..last.clone() };
        let architecture = self.inputs.architecture;
        let newer = Label { version: "9.0.0", sequence: 9, class: CLASS };
        let class = Label { class: OTHER_CLASS, ..newer };
        let class = Release::pack(system, class, architecture, &self.keys)?;
        self.refuse_one("wrong class", "9.0.0", &class.bytes, (second, disk), |refusal| {
            matches!(refusal, Refusal::Class(_))
        })?;
        drop(class);
        let older = self.releases[FIRST].bytes.clone();
        self.refuse_one("downgrade", "1.0.0", &older, (second, disk), |refusal| {
            matches!(refusal, Refusal::NotNewer { .. })
        })?;
        drop(older);
        let strangers = Keys::new(self.random);
        let unknown = Release::pack(system, newer, architecture, &strangers)?;
        self.refuse_one("unknown key", "9.0.0", &unknown.bytes, (second, disk), |refusal| {
            matches!(refusal, Refusal::Trust(TrustError::KeysetSignature(_)))
        })
    }

    fn refuse_one(
        &mut self,
        event: &str,
        version: &str,
        bytes: &[u8],
        (second, disk): (&Started, &Digest),
        is_due: fn(&Refusal) -> bool,
    ) -> Result<()> {
        let error = self.offer_early(Wire::new(bytes), second, disk)?;
        self.observed.foreign += 1;
        if let InstallError::Refused(refusal) = &error
            && is_due(refusal)
        {
            self.observed.foreign_refused += 1;
        }
        self.timeline.event(Tone::Well, event, format!("{version}: {error}"));
        Ok(())
    }

    /// Offers what must be refused before the first write, and looks at every byte of the disk, whose
    /// digest is `disk`.
    fn offer_early(
        &mut self,
        wire: Wire<'_>,
        second: &Started,
        disk: &Digest,
    ) -> Result<InstallError> {
        let terms = Terms { running: Running::Proof(second.proof), reuse: REUSE, cut: None };
        let error = match self.world.install(wire, terms)?.result {
            Ok(installed) => {
                let slot = installed.slot;
                return Err(broken(format!("what should be refused is now in slot {slot}")));
            }
            Err(error) => error,
        };
        self.observed.early += 1;
        self.observed.early_untouched += u64::from(self.world.digest_but(&[])? == *disk);
        Ok(error)
    }

    /// The same wrong bits without a check beforehand: the installation itself finds them, those in
    /// the envelopes before it writes, those after them when they arrive.
    fn refuse_tampered_streams(&mut self, second: &Started, disk: &Digest) -> Result<()> {
        let payload = self.releases[MENDED].payload_len();
        let (early, late) = STREAMED_FLIPS;
        let (early, late) = (early.for_size(payload), late.for_size(payload));
        let (head, _) = self.releases[MENDED].head_len();
        let mut refused = 0;
        for _ in 0..early {
            let bit = self.random.below(8 * head);
            let bytes = self.releases[MENDED].bytes.clone();
            let error = self.offer_early(Wire::flipped(&bytes, bit), second, disk)?;
            refused += u64::from(matches!(error, InstallError::Refused(_)));
        }

        let running = second.proof.slot;
        let mut spared: Vec<Region> = Vec::new();
        for slot in [Slot::A, Slot::B].into_iter().filter(|slot| *slot != running) {
            spared.extend(self.world.slot(slot));
        }
        spared.extend(self.world.record_regions()?);
        let around = self.world.digest_but(&spared)?;
        let entry = self.world.record()?.body.slot(running).clone();
        // Two bundles in turn, the last one repaired: an installation that resumes after one of the
        // same bundle does not fetch again what is in place, wrong bits included.
        for number in (0..late).rev() {
            let release = &self.releases[if number % 2 == 0 { MENDED } else { SICK }];
            let (head, _) = release.head_len();
            let bit = 8 * head + self.random.below(8 * (release.bytes.len() as u64 - head));
            let reuse = Reuse::default();
            let terms = Terms { running: Running::Proof(second.proof), reuse, cut: None };
            let attempt = self.world.install(Wire::flipped(&release.bytes, bit), terms)?;
            let content = |error| matches!(error, InstallError::Refused(Refusal::Content { .. }));
            refused += u64::from(attempt.result.is_err_and(content));
            self.observed.late += 1;
            let contained = self.world.digest_but(&spared)? == around
                && *self.world.record()?.body.slot(running) == entry;
            self.observed.late_contained += u64::from(contained);
        }
        self.observed.tampered_installs += early + late;
        self.observed.tampered_installs_refused += refused;
        let detail = format!(
            "streamed without that check, {} times: {refused} refused, {late} of them only when \
             the bit arrived",
            early + late,
        );
        self.timeline.event(Tone::Well, "tampered", detail);
        Ok(())
    }

    /// The fixed version is committed.
    fn mended(&mut self, second: &Started) -> Result<Started> {
        let terms = Terms { running: Running::Proof(second.proof), reuse: REUSE, cut: None };
        self.install(MENDED, terms, "update")?;
        let started = self.start(MENDED)?;
        self.commit(MENDED, &started)
    }

    /// The medium loses a bit of the kernel that runs; the other slot takes over, and the same
    /// update mends the first.
    fn rot(&mut self, mended: &Started) -> Result<()> {
        let slot = mended.proof.slot;
        let place = self.world.slot(slot);
        let whole = self.world.digest_of(&place)?;
        let byte = self.world.flip(slot, &mended.manifest, 0)?;
        let detail = format!("one bit of byte {byte} of the kernel in slot {slot} flips");
        self.timeline.event(Tone::Harm, "bit rot", detail);
        let booted = self.boot()?;
        let noticed = booted.report.lines.iter().any(|line| {
            line.candidate.slot == slot && line.reason == Reason::Corrupt { role: Role::Kernel }
        });
        let other = booted.started.proof.slot != slot && booted.is(&self.releases[SECOND]);
        self.observed.other_slot_ran = Some(noticed && other);
        let detail = format!("{}; {}", reasons(&booted.report), booted.started.manifest.version);
        self.timeline.event(Tone::Well, "boot", detail);

        let running = Running::Proof(booted.started.proof);
        let terms = Terms { running, reuse: REUSE, cut: None };
        self.observed.mend = Some(self.install(MENDED, terms, "repair")?);
        let started = self.start(MENDED)?;
        self.commit(MENDED, &started)?;
        self.observed.mended = Some(self.world.digest_of(&place)? == whole);
        Ok(())
    }

    // Steps that several scenes share.

    /// Installs a release that must go in. Gives the bytes that came from the bundle, and those that
    /// were on the disk already, in the target or the running slot.
    fn install(&mut self, number: usize, terms: Terms, event: &str) -> Result<(u64, u64)> {
        let release = &self.releases[number];
        let attempt = self.world.install(Wire::new(&release.bytes), terms)?;
        let installed = attempt
            .result
            .map_err(|error| broken(format!("{} was not installed: {error}", release.version)))?;
        let detail = format!(
            "{} into slot {}: {} from the bundle, {} from the disk",
            release.version,
            installed.slot,
            size(installed.written),
            size(installed.reused),
        );
        self.timeline.event(Tone::Plain, event, detail);
        Ok((installed.written, installed.reused))
    }

    /// Powers on; release `number` must start.
    fn start(&mut self, number: usize) -> Result<Started> {
        let booted = self.boot()?;
        if !booted.is(&self.releases[number]) {
            let (version, found) =
                (self.releases[number].version, &booted.started.manifest.version);
            return Err(broken(format!("expected {version} to start, found {found}")));
        }
        self.tell_start(&booted.started);
        Ok(booted.started)
    }

    fn tell_start(&mut self, started: &Started) {
        let proof = &started.proof;
        let detail = format!(
            "slot {}: {}, try {} of {TRIES}",
            proof.slot, started.manifest.version, proof.attempt
        );
        self.timeline.event(Tone::Plain, "trial", detail);
    }

    /// The running system reports health; the next power-on must start it as good.
    fn commit(&mut self, number: usize, started: &Started) -> Result<Started> {
        let version = self.releases[number].version;
        match self.world.perform(Request::MarkGood(started.proof))? {
            Ok(Answer::Done) => {}
            Ok(other) => {
                return Err(broken(format!("{version} was confirmed, and said {other:?}")));
            }
            Err(error) => return Err(broken(format!("{version} was not confirmed: {error}"))),
        }
        self.observed.healthy += 1;
        let booted = self.boot()?;
        let again = booted.is(&self.releases[number]) && booted.started.proof.attempt == 0;
        self.observed.committed += u64::from(again);
        let detail = format!(
            "{version} reports health; the next power-on starts slot {}: {}, {}",
            booted.started.proof.slot,
            booted.started.manifest.version,
            if booted.started.proof.attempt == 0 { "good" } else { "on trial" },
        );
        self.timeline.event(Tone::Well, "commit", detail);
        Ok(booted.started)
    }

    /// Powers on. Something must start, and memory must hold what was packed.
    fn boot(&mut self) -> Result<Booted> {
        let booted = self.world.boot()?;
        let Some(started) = booted.started else {
            return Err(broken(format!("nothing could be started: {}", reasons(&booted.report))));
        };
        self.observed.started += 1;
        let release = self.releases.iter().find(|release| release.digest == started.proof.digest);
        if release.is_some_and(|release| self.world.memory_holds(&release.parts)) {
            self.observed.faithful += 1;
        }
        if started.proof.attempt > 0 {
            self.observed.trials += 1;
            let record = self.world.record()?;
            let state = record.body.slot(started.proof.slot).state;
            let (attempt, nonce) = (started.proof.attempt, started.proof.nonce);
            let is_noted = matches!(state, SlotState::Trying { attempt: a, nonce: n, .. }
                if (a, n) == (attempt, nonce));
            self.observed.trials_counted += u64::from(is_noted && self.world.is_flushed());
        }
        Ok(Booted { started, report: booted.report, changes: booted.changes })
    }
}

/// A power-on that started something.
struct Booted {
    started: Started,
    report: Report,
    changes: u64,
}

impl Booted {
    fn is(&self, release: &Release) -> bool {
        self.started.proof.digest == release.digest
    }
}

/// How far the update has come when the power is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Begins,
    Arrives { quarter: u64 },
    Ends,
}

/// The cuts of one phase, told together.
struct Cuts {
    phase: Phase,
    cuts: u64,
    old: u64,
}

impl Cuts {
    fn of(phase: Phase) -> Self {
        Self { phase, cuts: 0, old: 0 }
    }

    fn tell(&self, timeline: &mut Timeline) {
        if self.cuts == 0 {
            return;
        }
        let when = match self.phase {
            Phase::Begins => "as 2.0.0 begins".to_owned(),
            Phase::Arrives { quarter } => {
                format!("with {} to {} % of it in place", 25 * quarter, 25 * (quarter + 1))
            }
            Phase::Ends => "as it is flushed, committed, switched to".to_owned(),
        };
        let (cuts, old) = (count(self.cuts, "cut"), count(self.old, "time"));
        let what = format!("{cuts} {when}: 1.0.0 runs {old}");
        timeline.event(Tone::Harm, "power cuts", what);
    }
}

/// Why each candidate was or was not started.
fn reasons(report: &Report) -> String {
    if report.lines.is_empty() {
        return "no candidate".to_owned();
    }
    let line = |line: &Line| format!("slot {} {}", line.candidate.slot, line.reason);
    report.lines.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_systems_are_cut_less_often_but_never_too_seldom() {
        for (mib, expected) in [(0, 48), (1, 48), (20, 48), (40, 24), (100, 9), (1000, 8)] {
            assert_eq!(BODY_CUTS.for_size(mib << 20), expected, "{mib} MiB");
        }
    }
}
