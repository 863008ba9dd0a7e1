//! How the first power-on after every cut came out, operation by operation: what a report draws.
//!
//! Kept in runs of neighbouring cuts that came out alike, because a story has thousands of cuts and
//! few places at which something else starts than one cut before.

use std::collections::BTreeMap;

use stillboot::format::Slot;
use stillboot::layout::{Part, Region};

use crate::engine::MachineRequest;
use crate::oracle::Promise;
use crate::story::{Release, Step};
use crate::world::DeviceMap;

/// How the first power-on after a cut came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CutOutcome {
    /// What was confirmed before the change began runs.
    Old,
    /// What the change leads to runs.
    New,
    /// The recovery system runs.
    Recovery,
    /// Nothing starts, and nothing that could start is whole: a disk fresh from the factory.
    Nothing,
    /// A promise was broken, at this power-on or after it.
    Broken,
}

impl CutOutcome {
    /// All, in the order of the legend.
    pub const ALL: [Self; 5] = [Self::Old, Self::New, Self::Recovery, Self::Nothing, Self::Broken];

    /// As in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
            Self::Recovery => "recovery",
            Self::Nothing => "nothing",
            Self::Broken => "broken",
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes to the disk.
    Write,
    /// Erases a part of the disk.
    Erase,
    /// Makes everything durable.
    Flush,
    /// Raises the floor in the store.
    Floor,
}

/// How the power was cut at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Before it.
    Before,
    /// So many of its first bytes were done.
    Prefix,
    /// So many of its last bytes were done.
    Suffix,
    /// Bytes here and there were done.
    Mixed,
    /// After it.
    After,
}

/// What a cache made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// There is no cache, or everything still reached the disk.
    Nothing,
    /// Everything that was not flushed is gone.
    All,
    /// Some of it is gone.
    Some,
}

/// Neighbouring cuts that came out alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the cache made of them.
    pub lost: Lost,
    /// How the power was cut.
    pub way: Way,
    /// Bytes that were done at the first of them; the seed if bytes here and there were.
    pub first: u64,
    /// The same at the last of them.
    pub last: u64,
    /// How they came out.
    pub came: CutOutcome,
    /// How many they are.
    pub count: u64,
}

/// One operation and all cuts at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub kind: Kind,
    /// The first byte on the disk.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
    /// Which part of the disk.
    pub place: Place,
    /// In the order of cache, way and bytes.
    pub runs: Vec<Run>,
    /// The first cut that broke a promise, as in an identity.
    pub broken: Option<String>,
}

impl Operation {
    /// Cuts that came out so.
    #[must_use]
    pub fn count(&self, came: CutOutcome) -> u64 {
        self.runs.iter().filter(|run| run.came == came).map(|run| run.count).sum()
    }

    /// All cuts.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.runs.iter().map(|run| run.count).sum()
    }
}

/// A part of what an operation can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A copy of the boot record.
    Record(usize),
    /// A part of a slot.
    Slot(Slot, Area),
    /// The store of the floor.
    Store,
    /// Everything.
    Disk,
}

/// A part of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// A part of its head.
    Head(Part),
    /// The indexes.
    Index,
    /// The components.
    Component,
}

/// One step of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What happens, in words.
    pub title: String,
    /// In their order.
    pub operations: Vec<Operation>,
}

/// Points under one kind of fault, and broken promises by the columns of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All points.
    pub points: u64,
    /// Those at which a promise was broken.
    pub broken: [u64; Promise::ALL.len()],
}

impl Tally {
    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.broken.iter_mut().zip(other.broken).for_each(|(sum, more)| *sum += more);
    }
}

/// One story on one medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its name.
    pub story: &'static str,
    /// The medium's name.
    pub medium: &'static str,
    /// The slots of the device.
    pub slots: &'static [Slot],
    /// What happened before, in words.
    pub before: Vec<String>,
    /// What is cut into.
    pub stages: Vec<Stage>,
    /// By the rows of the table of faults, second cuts included.
    pub tallies: BTreeMap<&'static str, Tally>,
    /// Points that [`CutOutcome::Old`] to [`CutOutcome::Broken`] name, in that order.
    pub came: [u64; CutOutcome::ALL.len()],
    open: Vec<(Lost, Way, u64, CutOutcome)>,
    broken: Option<String>,
}

impl Picture {
    /// A picture with nothing on it.
    #[must_use]
    pub fn new(
        story: &'static str,
        medium: &'static str,
        slots: &'static [Slot],
        before: Vec<String>,
    ) -> Self {
        Self {
            story,
            medium,
            slots,
            before,
            stages: Vec::new(),
            tallies: BTreeMap::new(),
            came: [0; CutOutcome::ALL.len()],
            open: Vec::new(),
            broken: None,
        }
    }

    /// The next step begins.
    pub fn begin_stage(&mut self, title: String) {
        self.stages.push(Stage { title, operations: Vec::new() });
    }

    /// A cut at the operation that [`Picture::end_operation`] names.
    pub fn mark(&mut self, lost: Lost, way: Way, bytes: u64, came: CutOutcome) {
        self.came[came as usize] += 1;
        self.open.push((lost, way, bytes, came));
    }

    /// The name of a cut that broke a promise.
    pub fn broke(&mut self, point: String) {
        self.broken.get_or_insert(point);
    }

    /// The cuts since the last call were at this operation of the step.
    ///
    /// `components` says where the components of a slot begin.
    pub fn end_operation(
        &mut self,
        act: &MachineRequest,
        ground: &DeviceMap,
        components: &dyn Fn(Slot) -> Option<u64>,
    ) {
        let (kind, offset, len) = match act {
            MachineRequest::Write(offset, bytes) => (Kind::Write, *offset, bytes.len() as u64),
            MachineRequest::Erase(offset, len) => (Kind::Erase, *offset, *len),
            MachineRequest::RaiseFloor(..) => (Kind::Floor, 0, 0),
            _ => (Kind::Flush, 0, 0),
        };
        let place = match kind {
            Kind::Write | Kind::Erase => place_of(ground, components, offset),
            Kind::Flush => Place::Disk,
            Kind::Floor => Place::Store,
        };
        let mut marks = std::mem::take(&mut self.open);
        marks.sort_by_key(|(lost, way, bytes, _)| (*lost, *way, *bytes));
        let mut runs: Vec<Run> = Vec::new();
        for (lost, way, bytes, came) in marks {
            match runs.last_mut() {
                Some(run) if (run.lost, run.way, run.came) == (lost, way, came) => {
                    run.last = bytes;
                    run.count += 1;
                }
                _ => runs.push(Run { lost, way, first: bytes, last: bytes, came, count: 1 }),
            }
        }
        let broken = self.broken.take();
        let operation = Operation { kind, offset, len, place, runs, broken };
        if let Some(stage) = self.stages.last_mut() {
            stage.operations.push(operation);
        }
    }

    /// A point under the fault of a row of the table, and the promise that it broke.
    pub fn tally(&mut self, row: &'static str, broken: Option<Promise>) {
        let tally = self.tallies.entry(row).or_default();
        tally.points += 1;
        if let Some(promise) = broken {
            tally.broken[promise as usize] += 1;
        }
    }

    /// Cuts of all its steps.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.came.iter().sum()
    }
}

fn place_of(ground: &DeviceMap, components: &dyn Fn(Slot) -> Option<u64>, offset: u64) -> Place {
    let holds = |region: Region| {
        let place = ground.place(region);
        (place..place + region.len).contains(&offset)
    };
    for (copy, place) in ground.places().iter().enumerate() {
        if holds(*place) {
            return Place::Record(copy);
        }
    }
    let slots = ground.slots();
    let Ok(layout) = ground.layout(&slots) else { return Place::Disk };
    for slot in &slots {
        let mut all = slot.regions.iter().map(|at| at.region).chain(slot.head).chain(slot.index);
        if !all.any(holds) {
            continue;
        }
        let part = [Part::Commit, Part::Confirmed, Part::Trust]
            .into_iter()
            .find(|part| layout.part(slot.slot, *part).is_ok_and(holds));
        let area = match (part, components(slot.slot)) {
            (Some(part), _) => Area::Head(part),
            // Indexes stand behind the last component.
            (None, Some(end)) if offset >= end => Area::Index,
            (None, _) => Area::Component,
        };
        return Place::Slot(slot.slot, area);
    }
    Place::Disk
}

/// A step in a few words.
#[must_use]
pub fn title(step: Step, releases: &[Release]) -> String {
    let named = |release: usize| releases.get(release).map_or("?", |release| release.name);
    match step {
        Step::PowerOnOutcome => "power on".into(),
        Step::Watchdog => "watchdog reset".into(),
        Step::Install { release, repair: true, .. } => format!("repair {}", named(release)),
        Step::Install { release, .. } => format!("install {}", named(release)),
        Step::Interrupted { release, .. } => format!("install {}, cut short", named(release)),
        Step::Confirm => "confirm".into(),
        Step::Rollback => "roll back".into(),
        Step::MarkBad(slot) => format!("mark {slot} bad"),
        Step::Note(issue) => format!("note index {issue}"),
        Step::Hold(slot, true) => format!("hold {slot}"),
        Step::Hold(slot, false) => format!("free {slot}"),
        Step::Scrub(slot) => format!("scrub {slot}"),
        Step::LoseRecord => "lose the record".into(),
        Step::ForgeSequence => "forge the highest sequence".into(),
        Step::Wreck(slot) => format!("wreck {slot}"),
        Step::Returns(slot) => format!("power on, {slot} returns"),
        Step::NotStarted(slot) => format!("power on, {slot} cannot be started"),
        Step::Spoil(slot) => format!("spoil {slot}"),
        Step::Plant(slot, release) => format!("copy {} into {slot}", named(release)),
    }
}

#[cfg(test)]
mod tests {
    use stillboot::device::Geometry;

    use super::*;

    #[test]
    fn neighbours_that_came_out_alike_are_one_run() {
        let ground = DeviceMap::new(Geometry::disk(512, 0), &[Slot::A, Slot::B], 48 << 10);
        let mut picture = Picture::new("story", "medium", &[Slot::A], Vec::new());
        picture.begin_stage("step".into());
        let offset = ground.record(1).offset;
        picture.mark(Lost::Nothing, Way::Before, 0, CutOutcome::Old);
        picture.mark(Lost::Nothing, Way::After, 0, CutOutcome::New);
        for bytes in [3, 1, 2, 4] {
            let came = if bytes < 3 { CutOutcome::Old } else { CutOutcome::New };
            picture.mark(Lost::Nothing, Way::Prefix, bytes, came);
        }
        picture
            .end_operation(&MachineRequest::Write(offset, vec![0; 5].into()), &ground, &|_| None);
        let operation = &picture.stages[0].operations[0];
        assert_eq!(operation.place, Place::Record(1));
        let runs: Vec<_> =
            operation.runs.iter().map(|run| (run.way, run.first, run.last, run.came)).collect();
        assert_eq!(
            runs,
            [
                (Way::Before, 0, 0, CutOutcome::Old),
                (Way::Prefix, 1, 2, CutOutcome::Old),
                (Way::Prefix, 3, 4, CutOutcome::New),
                (Way::After, 0, 0, CutOutcome::New),
            ]
        );
        assert_eq!((operation.count(CutOutcome::Old), operation.cuts()), (3, 6));
        assert_eq!(picture.came, [3, 3, 0, 0, 0]);
    }

    #[test]
    fn places_are_named_by_the_layout() {
        let ground = DeviceMap::new(Geometry::disk(512, 0), &[Slot::A, Slot::B], 48 << 10);
        let slots = ground.slots();
        let layout = ground.layout(&slots).expect("the ground is sound");
        let region = slots[1].regions[0].region;
        let commit = layout.part(Slot::B, Part::Commit).expect("slot b is there");
        let end = region.offset + 8192;
        let place = |offset| place_of(&ground, &|_| Some(end), offset);
        assert_eq!(place(commit.offset), Place::Slot(Slot::B, Area::Head(Part::Commit)));
        assert_eq!(place(region.offset), Place::Slot(Slot::B, Area::Component));
        assert_eq!(place(end - 1), Place::Slot(Slot::B, Area::Component));
        assert_eq!(place(end), Place::Slot(Slot::B, Area::Index));
        assert_eq!(place(commit.offset + commit.len), Place::Disk);
        assert_eq!(place(ground.record(0).offset), Place::Record(0));
    }
}
