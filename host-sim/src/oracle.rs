//! What must hold, whatever happens: written without the core, from what was published and done.
//!
//! The oracle reads no record and verifies no signature. It knows the bytes that were published,
//! where a whole installation of them stands on a disk, and what the story did so far. From these
//! it says which starts are right. The table in `docs/DESIGN.md` says which promise holds under
//! which fault, and is read from there.

use std::collections::BTreeMap;
use std::ops::Range;

use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, Geometry};
use stillboot::format::{Floor, SLOTS_MAX, Slot, SlotKind, SlotState};
use stillboot::layout::Region;
use stillboot::record::RecordStatus;
use stillboot::select::{Candidate, CandidateKind};

use crate::disk::RamDisk;
use crate::engine::{Engine, Outcome, Program, Setting, Started};
use crate::story::{Name, Release};
use crate::world::DeviceMap;

/// The document with the table.
const DESIGN: &str = include_str!("../DESIGN.md");

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Some verified slot boots whenever one is intact.
    Boots,
    /// Nothing unverified, of another class or below the floor runs.
    OnlyVerified,
    /// An unconfirmed slot never runs more than its tries.
    Tries,
    /// A confirmed update is never lost.
    Confirmed,
    /// The bytes of the running slot do not change.
    RunningSlot,
    /// The next update succeeds without help.
    NextUpdate,
    /// All copies of the record are never lost at once.
    Record,
    /// What an installation reports as done is whole on the device.
    Installed,
    /// What a power-on tries as an update or as good is whole.
    Tried,
}

impl Promise {
    /// All, in the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::Boots,
        Self::OnlyVerified,
        Self::Tries,
        Self::Confirmed,
        Self::RunningSlot,
        Self::NextUpdate,
        Self::Record,
        Self::Installed,
        Self::Tried,
    ];

    /// The heading of its column.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::OnlyVerified => "only verified",
            Self::Tries => "tries",
            Self::Confirmed => "confirmed",
            Self::RunningSlot => "running slot",
            Self::NextUpdate => "next update",
            Self::Record => "record",
            Self::Installed => "installed",
            Self::Tried => "tried",
        }
    }
}

/// The promises that hold under one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises([bool; Promise::ALL.len()]);

impl Promises {
    /// Whether this one holds.
    #[must_use]
    pub const fn hold(self, promise: Promise) -> bool {
        self.0[promise as usize]
    }

    /// The same except for one.
    #[must_use]
    pub const fn without(mut self, promise: Promise) -> Self {
        self.0[promise as usize] = false;
        self
    }
}

/// The table of `docs/DESIGN.md`: what holds, by the name of the fault.
///
/// # Panics
/// If the table is missing or not as this expects it: then nothing would be checked.
#[must_use]
pub fn table() -> BTreeMap<&'static str, Promises> {
    let (_, section) =
        DESIGN.split_once("## Faults and what holds under them").expect("the section is there");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let expected: Vec<&str> =
        std::iter::once("fault").chain(Promise::ALL.map(Promise::heading)).collect();
    assert_eq!(rows[0], expected, "the table's headings");
    let cell = |text: &str| match text {
        "holds" => true,
        "–" => false,
        other => panic!("the table says {other:?}"),
    };
    let rows = rows.iter().skip(2);
    rows.map(|row| {
        assert_eq!(row.len(), 1 + Promise::ALL.len(), "{row:?}");
        let mut promises = [false; Promise::ALL.len()];
        for (promise, text) in promises.iter_mut().zip(&row[1..]) {
            *promise = cell(text);
        }
        (row[0], Promises(promises))
    })
    .collect()
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How.
    pub how: String,
}

/// A set of releases.
pub type Set = u32;

const fn only(release: Name) -> Set {
    1 << release
}

/// How far the boot record must have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// It was perhaps never written whole.
    #[default]
    Perhaps,
    /// It was.
    Yes,
}

/// What happened to a device so far, and what follows for its next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What may start as confirmed. More than one only if the change from one to the other was cut
    /// short.
    pub good: Set,
    /// What was confirmed for certain: a confirmation that was cut short may have happened or not.
    pub sure: Set,
    /// What may start on trial.
    pub trial: Set,
    /// How often something started on trial since the last installation.
    pub starts: u8,
    /// What was installed whole, by slot.
    pub slots: [Option<Name>; SLOTS_MAX],
    /// The highest floor that a loader has recorded or must have, by kind.
    pub floors: [Floor; 2],
    /// Whether there must be a record.
    pub record: Written,
    /// What is damaged by the story itself, by slot, until an installation begins there.
    pub wrecked: [bool; SLOTS_MAX],
}

/// An offset on the disk, and the bytes there.
type Stretch = (u64, Vec<u8>);

/// What was published, and where it stands when it is installed.
#[derive(Debug)]
pub struct Published<'a> {
    /// By name.
    pub releases: &'a [Release],
    /// By release and slot: the components of a whole installation.
    images: BTreeMap<(Name, Slot), Vec<Stretch>>,
    /// By release: the head of its bundle.
    heads: BTreeMap<Name, Vec<u8>>,
    ground: DeviceMap,
    tries: u8,
}

impl<'a> Published<'a> {
    /// Installs every genuine release to every slot of a fresh disk, to see where its bytes go.
    #[must_use]
    pub fn new(setting: &Setting<'_>, releases: &'a [Release]) -> Self {
        let geometry: Geometry = setting.ground.joined();
        let slots = setting.ground.slots();
        let mut images = BTreeMap::new();
        let mut heads = BTreeMap::new();
        for (name, release) in releases.iter().enumerate().filter(|(_, r)| r.is_genuine) {
            heads.insert(name, release.head().to_vec());
            for slot in slots.iter().map(|slot| slot.slot) {
                if slot.kind() != release.kind {
                    continue;
                }
                let fill = geometry.erased.unwrap_or(0);
                let mut disk = RamDisk::new(geometry, fill);
                let program = Program::Install {
                    bundle: name,
                    running: None,
                    target: Some(slot),
                    repair: false,
                };
                let outcome = Engine::default().run(setting, &program, &mut disk, &mut None, None);
                assert!(
                    matches!(&*outcome, Outcome::Install(Ok(_))),
                    "{} to {slot}: {outcome:?}",
                    release.name
                );
                let slot_layout = slots.iter().find(|s| s.slot == slot).expect("as above");
                let mut parts = Vec::new();
                for (role, bytes) in &release.contents {
                    let found = slot_layout.regions.iter().find_map(|found| {
                        let begin = setting.ground.place(found.region);
                        let all = disk.bytes(begin, found.region.len as usize);
                        let at = all.windows(bytes.len()).position(|window| window == bytes)?;
                        Some(begin + at as u64)
                    });
                    let at = found
                        .unwrap_or_else(|| panic!("{role:?} of {} is not there", release.name));
                    parts.push((at, bytes.clone()));
                }
                images.insert((name, slot), parts);
            }
        }
        Self { releases, images, heads, ground: setting.ground.clone(), tries: setting.tries }
    }

    /// The release of a digest.
    #[must_use]
    pub fn named(&self, digest: &[u8; 32]) -> Option<Name> {
        self.releases.iter().position(|release| release.digest == *digest)
    }

    /// The head of a release.
    pub(crate) fn head(&self, release: Name, _slot: Slot) -> &[u8] {
        self.heads.get(&release).map_or(&[], Vec::as_slice)
    }

    /// Whether these bytes are needed to read the head of a slot: of a log, all of it is.
    fn needs_for_head(&self, slot: Slot, found: &Range<u64>) -> bool {
        let meets = |region: Region| {
            let at = self.ground.place(region);
            at < found.end && found.start < at + region.len
        };
        if self.ground.is_log() {
            return self.ground.places().iter().any(|region| meets(*region));
        }
        let slots = self.ground.slots();
        slots.iter().any(|layout| layout.slot == slot && layout.head.is_some_and(meets))
    }

    /// What stands whole on the disk, by slot: read twice, and the same both times.
    pub fn intact<D: BlockDevice>(&self, disk: &mut D) -> Vec<(Slot, Name)> {
        let unit = u64::from(disk.geometry().logical_block_bytes);
        // Nothing where the device does not read, or does not read the same twice.
        let mut get = |at: u64, len: usize| {
            let from = at / unit * unit;
            let end = (at + len as u64).next_multiple_of(unit);
            let mut twice = [(); 2].map(|()| {
                let mut found = vec![0; (end - from) as usize];
                disk.read(from, &mut found).map(|()| found)
            });
            match &mut twice {
                [Ok(one), Ok(two)] if one == two => one[(at - from) as usize..][..len].to_vec(),
                _ => vec![0x55; len],
            }
        };
        let slots = self.ground.slots();
        let heads: Vec<_> = slots
            .iter()
            .filter_map(|slot| {
                let (at, len) = self.ground.head(&mut get, slot.slot)?;
                Some((slot.slot, get(at, len)))
            })
            .collect();
        self.images
            .iter()
            .filter(|((name, slot), parts)| {
                let head = heads.iter().find(|found| found.0 == *slot);
                head.is_some_and(|(_, head)| head.starts_with(self.head(*name, *slot)))
                    && parts.iter().all(|(at, bytes)| get(*at, bytes.len()) == *bytes)
            })
            .map(|((name, slot), _)| (*slot, *name))
            .collect()
    }

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
        let broken = |promise: Promise, how: String| {
            if promises.hold(promise) { Err(Broken { promise, how }) } else { Ok(()) }
        };
        let record_there = matches!(started.report.record, RecordStatus::Current { .. });
        if truth.record == Written::Yes && !record_there {
            broken(Promise::Record, format!("the record is {:?}", started.report.record))?;
        }
        // The switch to an update happens only when it is whole, and what is good was whole when it
        // became good: nothing else is tried on these grounds.
        let tried = |kind: CandidateKind| {
            matches!(kind, CandidateKind::Trial | CandidateKind::Good | CandidateKind::Suspect)
        };
        let mut whole = None;
        for line in started.report.lines.iter().filter(|line| line.reason != Reason::Started) {
            let candidate = line.candidate;
            if !tried(candidate.kind) {
                continue;
            }
            let whole = whole.get_or_insert_with(|| self.intact(disk));
            let slot = candidate.slot;
            if !truth.wrecked[slot as usize] && whole.iter().all(|found| found.0 != slot) {
                let kind = candidate.kind;
                broken(Promise::Tried, format!("slot {slot} is tried as {kind:?}, half full"))?;
            }
        }
        // A slot that the machine could not start is not given up, and an update that waits goes on
        // waiting.
        let mut waits = 0;
        for line in started.report.lines.iter().filter(|l| l.reason == Reason::NotStarted) {
            let Candidate { slot, kind } = line.candidate;
            let state = started.record.body.slot(slot).state;
            let is_kept = match kind {
                CandidateKind::Trial => matches!(state, SlotState::Trying { .. }),
                CandidateKind::Good | CandidateKind::Suspect => state == SlotState::Good,
                CandidateKind::Recovery | CandidateKind::LastResort => true,
            };
            if !is_kept {
                let how = format!("slot {slot} could not be started, and is {state:?} for that");
                broken(Promise::NextUpdate, how)?;
            }
            if kind == CandidateKind::Trial {
                truth.starts += 1;
                waits |= truth.slots[slot as usize].map_or(0, only);
            }
        }
        let floor = |kind: SlotKind| store[kind as usize].max(truth.floors[kind as usize]);
        let Some(proof) = started.proof else {
            let whole = self.intact(disk);
            let returned = |slot: Slot| {
                let lines = &started.report.lines;
                let came = |reason| matches!(reason, Reason::Returned | Reason::NotStarted);
                lines.iter().any(|l| l.candidate.slot == slot && came(l.reason))
            };
            let unread = |slot: Slot, name: Name| {
                let meets = |(at, bytes): &Stretch, found: &Range<u64>| {
                    *at < found.end && found.start < at + bytes.len() as u64
                };
                let mut parts = self.parts(name, slot).iter();
                unread.is_some_and(|found| {
                    parts.any(|part| meets(part, found)) || self.needs_for_head(slot, found)
                })
            };
            let able = whole.iter().find(|(slot, name)| {
                self.releases[*name].floor >= floor(slot.kind())
                    && !returned(*slot)
                    && !unread(*slot, *name)
            });
            // Without power faults a lost record is more than one fault.
            if let Some((slot, name)) = able
                && (record_there || promises.hold(Promise::Record))
            {
                let name = self.releases[*name].name;
                broken(
                    Promise::Boots,
                    format!("{name} is whole in {slot} and nothing starts: {:?}", started.report),
                )?;
            }
            return Ok(());
        };
        // The system that runs.
        let kind = proof.slot.kind();
        let Some(name) = self.named(&proof.digest) else {
            return broken(Promise::OnlyVerified, "a manifest that nobody published".into());
        };
        let release = &self.releases[name];
        let called = release.name;
        if !release.is_genuine || release.kind != kind {
            broken(Promise::OnlyVerified, format!("{called} runs from {}", proof.slot))?;
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
            broken(Promise::OnlyVerified, format!("{called} runs with other bytes"))?;
        }
        // A recorded floor that nothing whole on the device reaches came from damage, or leads to
        // it; the store's floor is never ignored.
        let recorded = truth.floors[kind as usize];
        let reaches = |(slot, name): &(Slot, Name)| {
            slot.kind() == kind && self.releases[*name].floor >= recorded
        };
        let floor_counts = !started.report.floor_ignored || self.intact(disk).iter().any(reaches);
        let least = if floor_counts { floor(kind) } else { store[kind as usize] };
        if release.floor < least {
            broken(
                Promise::OnlyVerified,
                format!("{called} reaches {:?}, the floor is {least:?}", release.floor),
            )?;
        }
        // The grounds on which it runs.
        let started_as = started.report.lines.last().map(|line| line.candidate.kind);
        match started_as {
            Some(CandidateKind::Trial) => {
                if truth.trial & only(name) == 0 {
                    broken(Promise::Confirmed, format!("{called} starts on trial again"))?;
                }
                truth.starts += 1;
                if truth.starts > self.tries {
                    broken(
                        Promise::Tries,
                        format!("{called} starts for the {}th time", truth.starts),
                    )?;
                }
                truth.trial = only(name);
                // It runs on trial, so it is not confirmed after all.
                truth.good &= !only(name);
            }
            Some(CandidateKind::Good | CandidateKind::Suspect) => {
                if truth.good & only(name) == 0 {
                    broken(
                        Promise::Confirmed,
                        format!("{called} starts as good instead of {:b}", truth.good),
                    )?;
                }
                truth.good = only(name);
                truth.sure = only(name);
                // A rebuilt record lets what is confirmed go first this once; what waited is tried
                // at the next power-on.
                if record_there {
                    truth.trial &= waits;
                }
            }
            Some(CandidateKind::Recovery | CandidateKind::LastResort) | None => {
                let better = |found: &(Slot, Name)| {
                    truth.sure & only(found.1) != 0
                        && *found != (proof.slot, name)
                        && self.releases[found.1].floor >= floor(found.0.kind())
                };
                if let Some((slot, other)) = self.intact(disk).into_iter().find(better) {
                    let other = self.releases[other].name;
                    broken(
                        Promise::Confirmed,
                        format!(
                            "{called} starts as {started_as:?}, and {other} is whole in {slot}"
                        ),
                    )?;
                }
            }
        }
        // And the floor must rise: what every good slot of the kind reaches is the floor from then
        // on. This is judged by what stands in the slots, and not by what the core says of them.
        if promises.hold(Promise::Record)
            && matches!(
                started_as,
                Some(CandidateKind::Good | CandidateKind::Suspect | CandidateKind::Recovery)
            )
        {
            let recorded = started.record.body.floor_of(kind);
            let due = self.floor_due(truth, disk, proof.slot, name, recorded);
            if due > recorded {
                let how = format!("every good slot reaches {due:?}, the floor is {recorded:?}");
                broken(Promise::OnlyVerified, how)?;
            }
            let known = &mut truth.floors[kind as usize];
            *known = (*known).max(due);
        }
        // What ran from a slot stands there, also if a cut hid the end of its installation.
        truth.slots[proof.slot as usize] = Some(name);
        // Only what is confirmed may raise the floor: otherwise one update that fails leaves no
        // slot that may start.
        if promises.hold(Promise::Confirmed) && !started.report.floor_ignored {
            let recorded = started.record.body.floor_of(SlotKind::Update);
            let locked = |(_, release): &(Name, &Release)| {
                release.kind == SlotKind::Update && release.floor < recorded
            };
            let mut sure =
                self.releases.iter().enumerate().filter(|(name, _)| truth.sure & only(*name) != 0);
            if let Some((_, release)) = sure.find(locked) {
                let how = format!("{} is confirmed, the floor is {recorded:?}", release.name);
                broken(Promise::Confirmed, how)?;
            }
        }
        if started.report.record_write_failed.is_none() {
            truth.record = Written::Yes;
            if !started.report.floor_ignored {
                for kind in [SlotKind::Update, SlotKind::Recovery] {
                    let floor = &mut truth.floors[kind as usize];
                    *floor = (*floor).max(started.record.body.floor_of(kind));
                }
            }
        }
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

    /// Where the parts of a release begin when it is whole in `slot`: its head first.
    #[must_use]
    pub fn parts(&self, release: Name, slot: Slot) -> &[(u64, Vec<u8>)] {
        self.images.get(&(release, slot)).map_or(&[], Vec::as_slice)
    }

    /// A whole image of `release` now stands in `slot`, and the record does not know of it.
    pub fn plant(&self, truth: &mut History, slot: Slot, release: Name) {
        if let Some(gone) = truth.slots[slot as usize].replace(release) {
            truth.sure &= !only(gone);
            truth.good &= !only(gone);
        }
        // What is left is good if it was good before.
        for other in Slot::ALL.into_iter().filter(|other| *other != slot) {
            truth.good |= truth.slots[other as usize].map_or(0, only);
        }
        truth.trial |= only(release);
        truth.starts = 0;
    }

    /// An installation of `release` begins.
    pub fn begin_install(&self, truth: &mut History, release: Name) {
        if self.releases[release].is_genuine {
            truth.trial |= only(release);
            truth.starts = 0;
        }
    }

    /// It succeeded.
    pub fn end_install(&self, truth: &mut History, release: Name, slot: Slot) {
        truth.slots[slot as usize] = Some(release);
        truth.record = Written::Yes;
        if slot.kind() == SlotKind::Update {
            truth.trial = only(release);
        } else {
            truth.trial &= !only(release);
        }
    }

    /// It was refused or failed, and nothing of it may start.
    pub fn refuse_install(&self, truth: &mut History, release: Name) {
        truth.trial &= !only(release);
    }

    /// A confirmation of `release` begins.
    pub fn begin_confirm(&self, truth: &mut History, release: Name) {
        truth.good |= only(release);
    }

    /// It succeeded.
    pub fn end_confirm(&self, truth: &mut History, release: Name) {
        truth.good = only(release);
        truth.sure = only(release);
        truth.trial &= !only(release);
    }

    /// The running system begins to be left for the other update slot, or is called bad.
    pub fn begin_leave(&self, truth: &mut History, slot: Slot) {
        if let Some(release) = truth.slots[slot as usize] {
            truth.sure &= !only(release);
        }
        for other in [Slot::A, Slot::B] {
            if other != slot
                && let Some(release) = truth.slots[other as usize]
                && truth.trial & only(release) == 0
            {
                truth.good |= only(release);
            }
        }
    }

    /// It was left.
    pub fn end_leave(&self, truth: &mut History, slot: Slot) {
        if let Some(release) = truth.slots[slot as usize] {
            truth.trial &= !only(release);
            truth.good &= !only(release);
            truth.sure &= !only(release);
        }
    }
}

#[cfg(test)]
mod tests {
    use stillboot::format::Slot;

    use super::*;
    use crate::engine::Setting;
    use crate::story::{Catalogue, OTHER_CLASS, V1, V2};
    use crate::world::DeviceMap;

    /// A device on which V1 is installed, and starts on trial.
    fn trial(setting: &Setting<'_>) -> (RamDisk, Started) {
        let mut disk = RamDisk::new(setting.ground.joined(), 0);
        let mut engine = Engine::default();
        let install = Program::Install { bundle: V1, running: None, target: None, repair: false };
        let boot = Program::Boot { nonce: 1, watchdog_reset: false, returns: None };
        engine.run(setting, &install, &mut disk, &mut None, None);
        let outcome = engine.run(setting, &boot, &mut disk, &mut None, None);
        let Outcome::Boot(started) = &*outcome else { panic!("{outcome:?}") };
        (disk, (**started).clone())
    }

    /// An oracle that never objects proves nothing: each start here is wrong in one way.
    #[test]
    fn each_wrong_start_breaks_its_promise_and_a_right_one_none() {
        let catalogue = Catalogue::new().expect("releases");
        let setting = Setting {
            device: catalogue.publisher.device(),
            ground: DeviceMap::new(Geometry::disk(512, 0), &[Slot::A, Slot::B], 48 << 10),
            tries: 2,
            bundles: catalogue.releases.iter().map(|release| release.bundle.clone()).collect(),
        };
        let known = Published::new(&setting, &catalogue.releases);
        let (disk, right) = trial(&setting);
        let truth = History { trial: only(V1), record: Written::Yes, ..History::default() };
        let judge = |change: &dyn Fn(&mut History, &mut Started, &mut [Floor; 2])| {
            let (mut truth, mut started, mut store) =
                (truth.clone(), right.clone(), [Floor::default(); 2]);
            change(&mut truth, &mut started, &mut store);
            let all = Promises([true; Promise::ALL.len()]);
            let mut disk = disk.fork();
            let result = known.judge(&mut truth, &mut disk, store, None, &started, all);
            // Where nothing is promised, nothing can be broken.
            let none = Promises([false; Promise::ALL.len()]);
            assert_eq!(known.judge(&mut truth, &mut disk, store, None, &started, none), Ok(()));
            result.err().map(|broken| broken.promise)
        };
        let proof = |change: &dyn Fn(&mut stillboot::format::BootProof)| {
            judge(&|_, started, _| change(started.proof.as_mut().expect("it started")))
        };
        assert_eq!(judge(&|_, _, _| {}), None);

        let lost = judge(&|_, started, _| started.report.record = RecordStatus::Lost);
        assert_eq!(lost, Some(Promise::Record));
        assert_eq!(judge(&|_, started, _| started.proof = None), Some(Promise::Boots));

        let verified = Some(Promise::OnlyVerified);
        assert_eq!(proof(&|proof| proof.digest[0] ^= 1), verified);
        assert_eq!(proof(&|proof| proof.digest = known.releases[OTHER_CLASS].digest), verified);
        assert_eq!(proof(&|proof| proof.slot = Slot::Recovery), verified);
        assert_eq!(judge(&|_, started, _| started.loaded[1].2[7] ^= 1), verified);
        assert_eq!(judge(&|_, started, _| started.loaded.truncate(1)), verified);
        let high = Floor { keyset_version: u32::MAX, level: 0 };
        assert_eq!(judge(&|_, _, store| *store = [high; 2]), verified);
        assert_eq!(judge(&|truth, _, _| truth.floors = [high; 2]), verified);

        assert_eq!(judge(&|truth, _, _| truth.starts = 2), Some(Promise::Tries));

        let confirmed = Some(Promise::Confirmed);
        assert_eq!(judge(&|truth, _, _| truth.trial = 0), confirmed);
        let claims = |kind: CandidateKind| {
            move |truth: &mut History, started: &mut Started, _: &mut [Floor; 2]| {
                (truth.good, truth.sure) = (only(V2), only(V2));
                started.report.lines.last_mut().expect("it has one").candidate.kind = kind;
            }
        };
        assert_eq!(judge(&claims(CandidateKind::Good)), confirmed);
        // Nothing else is good, so the floor must have risen to what starts.
        let good = |floor: Floor| {
            move |truth: &mut History, started: &mut Started, _: &mut [Floor; 2]| {
                truth.good = only(V1);
                started.report.lines.last_mut().expect("it has one").candidate.kind =
                    CandidateKind::Good;
                *started.record.body.floor_of_mut(SlotKind::Update) = floor;
            }
        };
        assert_eq!(judge(&good(Floor::default())), verified);
        assert_eq!(judge(&good(known.releases[V1].floor)), None);
        // A last resort is right where nothing better is whole.
        assert_eq!(judge(&claims(CandidateKind::LastResort)), None);
        let raised = judge(&|truth, started, _| {
            truth.sure = only(V1);
            *started.record.body.floor_of_mut(SlotKind::Update) = high;
        });
        assert_eq!(raised, confirmed);

        let given_up = judge(&|_, started, _| {
            let mut line = *started.report.lines.last().expect("it has one");
            line.reason = Reason::NotStarted;
            started.report.lines.insert(0, line).expect("there is room");
            let state = SlotState::Bad { fault: stillboot::format::Fault::Returned };
            started.record.body.slot_mut(line.candidate.slot).state = state;
        });
        assert_eq!(given_up, Some(Promise::NextUpdate));

        let half_full = judge(&|_, started, _| {
            let mut line = *started.report.lines.last().expect("it has one");
            line.candidate.slot = Slot::B;
            line.reason = Reason::Returned;
            started.report.lines.insert(0, line).expect("there is room");
        });
        assert_eq!(half_full, Some(Promise::Tried));
    }
}
