//! One story on one medium.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use stillboot::format::BootProof;
use stillboot::select::CandidateKind;

use super::disk::Disk;
use super::effort::{Effort, Memory};
use super::medium::Medium;
use super::observer::{NoObserver, Observer};
use super::situation::Situation;
use super::summary::{Finding, Summary, SweepCounts};
use crate::disk::RamDisk;
use crate::engine::{Engine, Setting};
use crate::oracle::{self, Broken, History, Promises, Published};
use crate::picture::{self, Picture};
use crate::story::{Catalogue, Name, STATED, Step, Story};
use crate::world::SimStore;

/// Tries of a new slot in the stories.
const TRIES: u8 = 2;

/// How many broken points one job describes; all are counted.
const DESCRIBED_MAX: usize = 20;
/// After how many points a [`Observer`] hears of them.
const TOLD_EVERY: u64 = 256;

/// Stories on one medium.
pub(super) struct Job<'a> {
    pub(super) setting: Setting<'a>,
    pub(super) known: Published<'a>,
    pub(super) story: &'a Story,
    pub(super) medium: Medium,
    pub(super) effort: Effort,
    pub(super) engine: Engine,
    table: BTreeMap<&'static str, Promises>,
    /// What became of a situation.
    pub(super) memo: HashMap<u128, Result<(), Broken>>,
    /// What came of second cuts after a situation or at an instant.
    pub(super) seen: HashMap<u128, Arc<Seen>>,
    /// States of disk and store that cuts have left.
    pub(super) states: HashSet<u128>,
    pub(super) counts: SweepCounts,
    findings: Vec<Finding>,
    /// The lines of a replay.
    pub(super) trace: Option<Vec<String>>,
    /// The observer, and what was reported to it of [`SweepCounts::points`] and [`SweepCounts::depth_one`].
    pub(super) watch: &'a dyn Observer,
    told: (u64, u64),
    /// What a report draws.
    pub(super) picture: Option<Picture>,
    /// What started first in a situation, for the picture.
    pub(super) started: HashMap<u128, Started>,
    /// The same in the situation that was looked at last.
    pub(super) started_last: Started,
}

/// What a power-on started, if anything.
pub(super) type Started = Option<(Option<Name>, CandidateKind)>;

/// What came of second cuts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many there were.
    pub(super) points: u64,
    /// Those that broke a promise: where, and how.
    pub(super) broken: Vec<(String, Broken)>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        catalogue: &'a Catalogue,
        story: &'a Story,
        medium: Medium,
        effort: Effort,
    ) -> Self {
        let setting = Setting {
            device: catalogue.publisher.device(),
            ground: medium.ground(story.slots),
            tries: TRIES,
            bundles: catalogue.releases.iter().map(|release| release.sent.clone()).collect(),
            stated: vec![STATED],
        };
        let known = Published::new(&setting, &catalogue.releases);
        Self {
            setting,
            known,
            story,
            medium,
            effort,
            engine: Engine::new(effort.memory != Memory::Unused),
            table: oracle::table(),
            memo: HashMap::new(),
            seen: HashMap::new(),
            states: HashSet::new(),
            counts: SweepCounts::default(),
            findings: Vec::new(),
            trace: None,
            watch: &NoObserver,
            told: (0, 0),
            picture: effort.draws.then(|| {
                let title = |step: &Step| picture::title(*step, &catalogue.releases);
                let before = story.before.iter().map(title).collect();
                Picture::new(story.name, medium.name, story.slots, before)
            }),
            started: HashMap::new(),
            started_last: None,
        }
    }

    pub(super) fn promises(&self, row: &str) -> Promises {
        *self.table.get(row).unwrap_or_else(|| panic!("no row {row:?} in the table"))
    }

    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    pub(super) fn new_device(&self) -> Situation<Disk> {
        let geometry = self.setting.ground.joined();
        let ram = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        Situation {
            disk: Disk::new(&self.medium, ram),
            store: self.story.has_store.then(SimStore::default),
            nonce: 0,
            running: None,
            truth: History::default(),
        }
    }

    pub(super) fn release_in(&self, proof: &BootProof) -> Option<Name> {
        self.known.named(&proof.digest)
    }

    /// Tells how far this has come, not at every point; whether to go on.
    pub(super) fn goes_on(&mut self, may_wait: bool) -> bool {
        let now = (self.counts.points(), self.counts.depth_one);
        let more = now.0 - self.told.0;
        if !may_wait || more >= TOLD_EVERY {
            self.watch.points(more, now.1 - self.told.1);
            self.told = now;
        }
        !self.watch.is_stopped()
    }

    /// Counts a point under its row of the table, for the report.
    pub(super) fn tally(&mut self, row: &'static str, result: &Result<(), Broken>) {
        if let Some(picture) = &mut self.picture {
            picture.tally(row, result.as_ref().err().map(|broken| broken.promise));
        }
    }

    pub(super) fn found(&mut self, point: String, broken: Broken) {
        self.counts.broken += 1;
        if self.findings.len() < DESCRIBED_MAX {
            let id = format!("{}/{}/{point}", self.story.name, self.medium.name);
            self.findings.push(Finding { id, broken });
        }
    }

    pub(super) fn summary(mut self) -> Summary {
        self.counts.states = self.states.len() as u64;
        self.counts.boots = self.engine.boots;
        self.counts.programs = self.engine.programs;
        self.counts.core_runs = self.engine.core_runs;
        let pictures = self.picture.into_iter().collect();
        Summary { counts: self.counts, findings: self.findings, pictures, ..Summary::default() }
    }
}
