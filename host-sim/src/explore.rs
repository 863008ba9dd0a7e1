//! Every instant of every story: the disk is forked before each change, the power is cut in every
//! possible way, and the [`oracle`] judges what follows.
//!
//! A point is one cut, or two at depth two. After it the power comes on, and from there two ways
//! are taken. On the first, what was interrupted is done again and then an update follows without
//! help. On the second, the update follows at once. Each power-on on the way is judged. A point
//! counts once its outcome is known: either it was run, or its disk, store and history are equal to
//! those of a point that was run. Each point has an identity, which [`replay`] runs again and
//! describes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver;
use stillboot::format::{BootProof, Floor, Role, Slot, SlotKind};
use stillboot::install::{InstallError, Nothing};
use stillboot::operate::{Answer, Request};
use stillboot::select::CandidateKind;
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};

use crate::disk::{Cut, PowerCut, RamDisk, Tear, Torn, WriteCache};
use crate::engine::{
    Disks, Engine, HandoverFailure, Instant, MachineRequest, Outcome, Program, Setting,
};
use crate::fault::{Fault, Faulty};
use crate::oracle::{self, Broken, History, Promise, Promises, Published, Set};
use crate::picture::{self, CutOutcome, Lost, Picture, Way};
use crate::story::{Catalogue, LATER, NEXT, Name, Step, Story, V1};
use crate::words;
use crate::world::{DeviceMap, SimStore};

/// Tries of a new slot in the stories.
const TRIES: u8 = 2;
/// Bytes of a slot; what the releases of the stories need.
const SLOT_BYTES: u64 = 48 << 10;
/// Bytes of a slot on the second disk, if there is one.
const SECOND_BYTES: u64 = 4 << 10;
/// How many broken points one job describes; all are counted.
const DESCRIBED_MAX: usize = 20;
/// After how many points a [`Observer`] hears of them.
const TOLD_EVERY: u64 = 256;

/// A kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// As in `stillboot simulate --media`.
    pub name: &'static str,
    pub(crate) geometry: Geometry,
    has_cache: bool,
    /// How what belongs to a device is spread.
    spread: Spread,
}

/// How what belongs to a device is spread over media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// All on one, in erase blocks of its own.
    One,
    /// The initramfs of every slot has a disk of its own, with a cache of its own.
    Pair,
    /// Metadata in a log on the same medium: so many blocks of so many bytes.
    Log(u64, u64),
    /// Metadata in a log on the small sectors of a chip, components in its large ones.
    MixedLog,
    /// The record and the heads on a small device that is written byte by byte.
    Apart,
}

impl Medium {
    /// Whether what belongs together stands on two disks.
    #[must_use]
    pub const fn is_pair(&self) -> bool {
        matches!(self.spread, Spread::Pair)
    }

    /// Whether all of a device stands on one medium.
    pub(crate) const fn is_one(&self) -> bool {
        matches!(self.spread, Spread::One | Spread::Log(..))
    }

    /// Where everything stands on one such medium, with slots of at least `slot_bytes`.
    pub(crate) fn ground_of(&self, slots: &[Slot], slot_bytes: u64) -> DeviceMap {
        match self.spread {
            Spread::Log(blocks, bytes) => {
                let least = 2 * u64::from(self.geometry.erase_block_bytes);
                DeviceMap::log(self.geometry, blocks, bytes, slots, slot_bytes.max(least))
            }
            Spread::One | Spread::Pair | Spread::MixedLog | Spread::Apart => {
                DeviceMap::new(self.geometry, slots, slot_bytes)
            }
        }
    }

    /// Whether the metadata area is a log.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        matches!(self.spread, Spread::Log(..) | Spread::MixedLog)
    }

    fn ground(&self, slots: &[Slot]) -> DeviceMap {
        let geometry = self.geometry;
        match self.spread {
            Spread::One => DeviceMap::new(geometry, slots, SLOT_BYTES),
            Spread::Pair => {
                let mut ground = DeviceMap::new(geometry, slots, SLOT_BYTES);
                ground.add_device(geometry, &[Role::Initramfs], SECOND_BYTES);
                ground
            }
            Spread::Log(blocks, bytes) => {
                // An erase block for each component.
                let slot_bytes = 2 * u64::from(geometry.erase_block_bytes);
                DeviceMap::log(geometry, blocks, bytes, slots, slot_bytes)
            }
            Spread::MixedLog => {
                let mut ground =
                    DeviceMap::log(geometry, 2, geometry.erase_block_bytes.into(), slots, 0);
                let large = Geometry { erase_block_bytes: 128 << 10, ..geometry };
                ground.move_components(large, 128 << 10);
                let middle = Geometry { erase_block_bytes: 64 << 10, ..geometry };
                ground.add_device(middle, &[Role::Initramfs], 64 << 10);
                ground
            }
            Spread::Apart => {
                let mut ground = DeviceMap::new(geometry, slots, SLOT_BYTES);
                let large = Geometry { erase_block_bytes: 64 << 10, ..geometry };
                ground.move_components(large, 128 << 10);
                ground
            }
        }
    }
}

/// All of them.
#[must_use]
pub fn media() -> Vec<Medium> {
    let flash = |name, granule, erase_block_bytes, spread| Medium {
        name,
        geometry: Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: granule,
            erase_block_bytes,
            capacity_bytes: 0,
            erased: Some(0xff),
        },
        has_cache: false,
        spread,
    };
    let nor = |name, granule| flash(name, granule, 4096, Spread::One);
    let block = |name, bytes, has_cache| Medium {
        name,
        geometry: Geometry::disk(bytes, 0),
        has_cache,
        spread: Spread::One,
    };
    vec![
        nor("nor1", 1),
        nor("nor4", 4),
        nor("nor8", 8),
        nor("nor16", 16),
        nor("nor32", 32),
        block("block512", 512, false),
        block("block4096", 4096, false),
        block("cache512", 512, true),
        block("cache4096", 4096, true),
        Medium { spread: Spread::Pair, ..block("pair512", 512, true) },
        // An STM32H743: sectors of 128 KiB, words of 32 bytes that are written once.
        flash("log128k", 32, 128 << 10, Spread::Log(2, 128 << 10)),
        flash("log256k", 8, 256 << 10, Spread::Log(2, 256 << 10)),
        // As long as two pages of 4 KiB: full after two updates. Three of them, one may be dead.
        flash("log8k", 32, 8 << 10, Spread::Log(3, 8 << 10)),
        // An STM32F407: sectors of 16, 64 and 128 KiB.
        flash("mixed", 4, 16 << 10, Spread::MixedLog),
        // Metadata on a device of its own, with small blocks.
        flash("apart", 4, 4 << 10, Spread::Apart),
    ]
}

/// How thoroughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Most places within one request at which it is torn, from either end; `usize::MAX` for every
    /// boundary of granules and the inside of every granule.
    pub tears: usize,
    /// After one of how many torn requests what was interrupted is done again as well; 1 for all.
    /// After a cut before or after a request it always is.
    pub redo_every: usize,
    /// Of how many cuts before and after a request the recovery is cut as well, at every request;
    /// 0 for none, 1 for all.
    pub second_every: usize,
    /// The same for cuts inside a request.
    pub second_torn_every: usize,
    /// As `tears`, for the second cut.
    pub second_tears: usize,
    /// As `redo_every`, after the second cut: one of how many of those inside one request.
    pub second_redo_every: usize,
    /// Of how many requests of the faulty device one fails; 0 for none, 1 for all.
    pub fault_every: u64,
    /// How earlier results of the core are used.
    pub memory: Memory,
    /// Whether [`Summary::pictures`] is filled.
    pub draws: bool,
}

/// How earlier results of the core are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Wherever it can be.
    Used,
    /// The same, and every outcome goes into [`Counts::outcomes`].
    Compared,
    /// Not at all: the core computes everything, and every outcome is noted. Slow.
    Unused,
}

impl Effort {
    /// For the test command.
    pub const QUICK: Self = Self {
        tears: 160,
        redo_every: 1,
        second_every: 100,
        second_torn_every: 400,
        second_tears: 3,
        second_redo_every: 1,
        fault_every: 3,
        memory: Memory::Used,
        draws: false,
    };
    /// For the proof: every first cut there is, and after each of them second ones at every request
    /// of the recovery, torn at a few places.
    pub const PROVE: Self = Self {
        tears: usize::MAX,
        redo_every: 1,
        second_every: 1,
        second_torn_every: 1,
        second_tears: 4,
        // No divisor of the number of ways in which a cache loses what it holds, nor of two: so
        // all of them have their turn.
        second_redo_every: 5,
        fault_every: 1,
        memory: Memory::Used,
        draws: false,
    };
}

/// What was done, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// First cuts whose outcome is known.
    pub depth_one: u64,
    /// Pairs of cuts whose outcome is known.
    pub depth_two: u64,
    /// Requests that failed without a loss of power.
    pub faults: u64,
    /// Points whose disk, store and history were equal to those of an earlier point.
    pub settled: u64,
    /// Different states of disk and store right after a cut, in every story apart.
    pub states: u64,
    /// Power-ons.
    pub boots: u64,
    /// Runs of loader, installer and tools, power-ons included.
    pub programs: u64,
    /// Those of them in which the core met something new.
    pub core_runs: u64,
    /// Points at which a promise was broken.
    pub broken: u64,
    /// Names every outcome and the disk it left, if that was asked for.
    pub outcomes: u64,
}

impl Counts {
    /// All points.
    #[must_use]
    pub const fn points(&self) -> u64 {
        self.depth_one + self.depth_two + self.faults
    }

    /// Points that were run because nothing equal had been.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.points() - self.settled
    }

    fn add(&mut self, other: &Self) {
        self.depth_one += other.depth_one;
        self.depth_two += other.depth_two;
        self.faults += other.faults;
        self.settled += other.settled;
        self.states += other.states;
        self.boots += other.boots;
        self.programs += other.programs;
        self.core_runs += other.core_runs;
        self.broken += other.broken;
        self.outcomes = self.outcomes.rotate_left(7) ^ other.outcomes;
    }
}

/// A broken promise and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For [`replay`].
    pub id: String,
    /// What was broken.
    pub broken: Broken,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} broken: {}", self.id, self.broken.promise.heading(), self.broken.how)
    }
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How much was done.
    pub counts: Counts,
    /// How much of it on media whose metadata area is a log.
    pub log_counts: Counts,
    /// What was found; of many equal ones the first.
    pub findings: Vec<Finding>,
    /// What every story on every medium looks like, if that was asked for.
    pub pictures: Vec<Picture>,
}

/// A disk, with or without a cache of its own.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    Plain(RamDisk),
    Cached(WriteCache<RamDisk>),
}

impl Disk {
    pub(crate) fn new(medium: &Medium, ram: RamDisk) -> Self {
        if medium.has_cache { Self::Cached(WriteCache::new(ram)) } else { Self::Plain(ram) }
    }

    pub(crate) fn ram(&self) -> &RamDisk {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache.device(),
        }
    }

    pub(crate) fn ram_mut(&mut self) -> &mut RamDisk {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache.device_mut(),
        }
    }

    pub(crate) fn pending(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Cached(cache) => cache.pending(),
        }
    }

    fn pending_hash(&self) -> u128 {
        match self {
            Self::Plain(_) => 0,
            Self::Cached(cache) => cache.pending_hash(),
        }
    }

    fn inner(&mut self) -> &mut dyn BlockDevice {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache,
        }
    }
}

impl Disks for Disk {
    fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError> {
        match self {
            Self::Plain(ram) => ram.flush(),
            Self::Cached(cache) => cache.flush_part(part),
        }
    }
}

impl Torn for Disk {
    fn torn(&mut self, offset: u64) {
        if let Self::Plain(ram) = self {
            ram.torn(offset);
        }
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        self.ram().geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.inner().read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.inner().write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.inner().erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.inner().flush()
    }
}

/// How the power was cut, and what a cache made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    cut: Cut,
    loss: Loss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// There is no cache, or all of it still reached the disk in order.
    Nothing,
    All,
    /// Only the last so many requests reached the disk.
    Newest(usize),
    /// Only what was for the disk of this number reached it.
    Only(u8),
    Random(u64),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cut {
            Cut::Before => f.write_str("before")?,
            Cut::After => f.write_str("after")?,
            Cut::Torn(Tear::Prefix(bytes)) => write!(f, "prefix{bytes}")?,
            Cut::Torn(Tear::Suffix(bytes)) => write!(f, "suffix{bytes}")?,
            Cut::Torn(Tear::Mixed(seed)) => write!(f, "mixed{seed}")?,
        }
        match self.loss {
            Loss::Nothing => Ok(()),
            Loss::All => f.write_str("-lost"),
            Loss::Newest(count) => write!(f, "-newest{count}"),
            Loss::Only(disk) => write!(f, "-only{disk}"),
            Loss::Random(seed) => write!(f, "-lost{seed}"),
        }
    }
}

impl std::str::FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a way to cut the power");
        let (cut, loss) = text.split_once('-').unwrap_or((text, ""));
        let number = |prefix: &str| loss.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let loss = match loss {
            "" => Loss::Nothing,
            "lost" => Loss::All,
            _ => number("lost")
                .map(Loss::Random)
                .or_else(|| number("newest").map(|count| Loss::Newest(count as usize)))
                .or_else(|| number("only").map(|disk| Loss::Only(disk as u8)))
                .ok_or_else(bad)?,
        };
        let tear = |prefix: &str| cut.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let cut = match cut {
            "before" => Cut::Before,
            "after" => Cut::After,
            _ => Cut::Torn(
                tear("prefix")
                    .map(Tear::Prefix)
                    .or_else(|| tear("suffix").map(Tear::Suffix))
                    .or_else(|| tear("mixed").map(Tear::Mixed))
                    .ok_or_else(bad)?,
            ),
        };
        Ok(Self { cut, loss })
    }
}

/// At most `most` of the numbers below `count`, evenly, the first and the last included.
fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    (0..taken).map(move |at| if taken < 2 { at } else { at * (count - 1) / (taken - 1) })
}

/// Every way to cut the power at a request.
fn points(act: &MachineRequest, medium: &Medium, tears: usize) -> Vec<Point> {
    let granule = u64::from(medium.geometry.write_granule_bytes);
    let mut cuts = vec![Cut::Before, Cut::After];
    let mut tear = |tear: Tear| cuts.push(Cut::Torn(tear));
    match act {
        MachineRequest::Write(_, bytes) => {
            let count = (bytes.len() as u64 / granule) as usize;
            for at in spread(count.saturating_sub(1), tears) {
                let done = (at as u64 + 1) * granule;
                tear(Tear::Prefix(done));
                tear(Tear::Suffix(done));
            }
            if granule > 1 {
                for at in spread(count, tears) {
                    let done = at as u64 * granule + 1 + at as u64 % (granule - 1);
                    tear(Tear::Prefix(done));
                    tear(Tear::Suffix(done));
                }
            }
            (0..4).for_each(|seed| tear(Tear::Mixed(seed)));
        }
        MachineRequest::Erase(_, len) if medium.geometry.erased.is_some() => {
            for eighth in 1..8 {
                tear(Tear::Prefix(len * eighth / 8 + eighth % 2));
                tear(Tear::Suffix(len * eighth / 8 + eighth % 2));
            }
            (0..4).for_each(|seed| tear(Tear::Mixed(seed)));
        }
        _ => {}
    }
    let mut losses = vec![Loss::Nothing];
    if medium.has_cache {
        losses.extend([Loss::All, Loss::Newest(1), Loss::Newest(2)]);
        losses.extend((0..3).map(Loss::Random));
    }
    if medium.is_pair() {
        losses.extend([Loss::Only(0), Loss::Only(1)]);
    }
    let with = |cut: Cut| losses.iter().map(move |loss| Point { cut, loss: *loss });
    cuts.into_iter().flat_map(with).collect()
}

/// The row of the table that speaks of this point.
fn row(act: &MachineRequest, point: Point) -> &'static str {
    match (point.loss, point.cut, act) {
        (Loss::All | Loss::Newest(_) | Loss::Only(_) | Loss::Random(_), ..) => {
            "cache lost or reordered"
        }
        (Loss::Nothing, Cut::Torn(_), MachineRequest::Erase(..)) => "torn erase",
        (Loss::Nothing, Cut::Torn(_), _) => "torn write",
        (Loss::Nothing, Cut::Before | Cut::After, _) => "power cut before or after a request",
    }
}

const FAULT_ROWS: [&str; 7] = [
    "write error",
    "read error",
    "stuck sector",
    "misdirected write",
    "bit rot",
    "lying read",
    "dead place of the record",
];

pub(crate) fn row_of_fault(fault: Fault) -> &'static str {
    FAULT_ROWS[match fault {
        Fault::WriteOnce(_) | Fault::WriteAlways(_) => 0,
        Fault::ReadOnce(_) | Fault::ReadAlways(_) => 1,
        Fault::Stuck(_) => 2,
        Fault::Misdirected(..) => 3,
        Fault::Rot(..) => 4,
        Fault::Lies(..) => 5,
        Fault::Dead(..) => 6,
    }]
}

/// A device between two steps.
#[derive(Clone, Debug)]
struct Situation<D> {
    disk: D,
    store: Option<SimStore>,
    /// Nonce of the last power-on.
    nonce: u64,
    running: Option<(BootProof, CandidateKind)>,
    truth: History,
}

impl<D> Situation<D> {
    fn on<E>(&self, disk: E) -> Situation<E> {
        Situation {
            disk,
            store: self.store.clone(),
            nonce: self.nonce,
            running: self.running,
            truth: self.truth.clone(),
        }
    }
}

impl Situation<Disk> {
    /// What everything that follows depends on. The content of a cache is left out, because this is
    /// asked for only when the cache is empty.
    fn key(&self, stage: fmt::Arguments<'_>) -> u128 {
        let text = format!(
            "{stage}{:x}{:?}{}{:?}{:?}",
            self.disk.ram().content_hash(),
            self.store,
            self.nonce,
            self.running,
            self.truth
        );
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }

    /// Names disk and store, and nothing of what happened.
    fn state(&self) -> u128 {
        let text = format!("{:x}{:?}", self.disk.ram().content_hash(), self.store);
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }
}

impl Instant<Disk> {
    /// What everything that follows from cuts at this instant depends on.
    fn key(&self, during: &Situation<Disk>, redo: Option<Step>) -> u128 {
        let act = match &self.act {
            MachineRequest::Write(offset, bytes) => {
                format!("write {offset} {:x}", twox_hash::XxHash3_128::oneshot(bytes))
            }
            other => format!("{other:?}"),
        };
        let text = format!(
            "{act}{redo:?}{:x}{:x}{:?}{}{:?}",
            self.disk.ram().content_hash(),
            self.disk.pending_hash(),
            self.store,
            during.nonce,
            during.truth
        );
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }
}

/// Stories on one medium.
struct Job<'a> {
    setting: Setting<'a>,
    known: Published<'a>,
    story: &'a Story,
    medium: Medium,
    effort: Effort,
    engine: Engine,
    table: BTreeMap<&'static str, Promises>,
    /// What became of a situation.
    memo: HashMap<u128, Result<(), Broken>>,
    /// What came of second cuts after a situation or at an instant.
    seen: HashMap<u128, Arc<Seen>>,
    /// States of disk and store that cuts have left.
    states: HashSet<u128>,
    counts: Counts,
    findings: Vec<Finding>,
    /// The lines of a replay.
    trace: Option<Vec<String>>,
    /// The observer, and what was reported to it of [`Counts::points`] and [`Counts::depth_one`].
    watch: &'a dyn Observer,
    told: (u64, u64),
    /// What a report draws.
    picture: Option<Picture>,
    /// What started first in a situation, for the picture.
    started: HashMap<u128, Started>,
    /// The same in the situation that was looked at last.
    started_last: Started,
}

/// A part of a recovery: its name, the situation while it is under way, its instants.
type Stage = (char, Situation<Disk>, Vec<Instant<Disk>>);

/// What came of second cuts.
#[derive(Debug, Default)]
struct Seen {
    /// How many there were.
    points: u64,
    /// Those that broke a promise: where, and how.
    broken: Vec<(String, Broken)>,
}

/// What a power-on started, if anything.
type Started = Option<(Option<Name>, CandidateKind)>;

impl<'a> Job<'a> {
    fn new(catalogue: &'a Catalogue, story: &'a Story, medium: Medium, effort: Effort) -> Self {
        let setting = Setting {
            device: catalogue.publisher.device(),
            ground: medium.ground(story.slots),
            tries: TRIES,
            bundles: catalogue.releases.iter().map(|release| release.bundle.clone()).collect(),
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
            counts: Counts::default(),
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

    fn promises(&self, row: &str) -> Promises {
        *self.table.get(row).unwrap_or_else(|| panic!("no row {row:?} in the table"))
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    fn new_device(&self) -> Situation<Disk> {
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

    /// The device at the start of the story's steps.
    fn before(&mut self) -> Result<Situation<Disk>, Broken> {
        let mut at = self.new_device();
        let promises = self.promises("power cut before or after a request");
        for step in self.story.before.clone() {
            self.step(&mut at, step, promises, None)?;
        }
        Ok(at)
    }

    fn release_in(&self, proof: &BootProof) -> Option<Name> {
        self.known.named(&proof.digest)
    }

    /// One step of a story on whatever disk: runs it, notes what follows, judges it.
    fn step<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        step: Step,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        match step {
            Step::PowerOn => self.power_on(at, false, promises, instants),
            Step::Returns(slot) | Step::NotStarted(slot) => {
                let back = match step {
                    Step::NotStarted(_) => HandoverFailure::NotStarted,
                    _ => HandoverFailure::Returned,
                };
                // The good slot stays good; for this power-on the other one counts as good as well.
                let good = at.truth.good;
                self.known.begin_leave(&mut at.truth, slot);
                let started = self.start(at, false, Some((slot, back)), promises, instants);
                at.truth.good |= good;
                started
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
            Step::Confirm => {
                let Some((proof, _)) = at.running else { return Ok(()) };
                let Some(release) = self.release_in(&proof) else { return Ok(()) };
                self.known.begin_confirm(&mut at.truth, release);
                let answer = self.operate(at, Request::MarkGood(proof), instants);
                match answer {
                    Ok(_) => {
                        self.known.end_confirm(&mut at.truth, release);
                        Ok(())
                    }
                    Err(error) => refuse(promises, Promise::Confirmed, || {
                        format!("what runs cannot be confirmed: {error}")
                    }),
                }
            }
            Step::Rollback => {
                let Some((proof, kind)) = at.running else { return Ok(()) };
                self.known.begin_leave(&mut at.truth, proof.slot);
                if let Ok(Answer::Boots(_)) =
                    self.operate(at, Request::Rollback(proof.slot), instants)
                {
                    if kind == CandidateKind::Trial {
                        self.known.end_leave(&mut at.truth, proof.slot);
                    } else if let Some(other) = at.truth.slots[proof.slot.other_update() as usize] {
                        at.truth.good = 1 << other;
                    }
                }
                Ok(())
            }
            Step::MarkBad(slot) => {
                self.known.begin_leave(&mut at.truth, slot);
                if self.operate(at, Request::MarkBad(slot), instants).is_ok() {
                    self.known.end_leave(&mut at.truth, slot);
                }
                Ok(())
            }
            Step::Hold(slot, held) => {
                let _ = self.operate(at, Request::HoldSlot(slot, held), instants);
                Ok(())
            }
            Step::Note(issue) => {
                let _ = self.operate(at, Request::NoteIssue(issue), instants);
                Ok(())
            }
            Step::Scrub(slot) => {
                let slots = self.setting.ground.slots();
                let layout = self.setting.ground.layout(&slots).expect("checked at the start");
                let mut buffer = vec![0; HEAD_LEN_MAX];
                let disk = RefCell::new(&mut at.disk);
                let mut parts: Vec<_> = (0..self.setting.ground.geometries().len())
                    .map(|device| PartOf {
                        disk: &disk,
                        part: self.setting.ground.extent(device as u8),
                    })
                    .collect();
                let mut devices: Vec<_> =
                    parts.iter_mut().map(|part| part as &mut dyn BlockDevice).collect();
                let scrubbed = driver::scrub::<SoftSha256>(
                    &self.setting.device,
                    &layout,
                    slot,
                    &mut devices,
                    &mut |_| {},
                    &mut buffer,
                );
                match scrubbed {
                    Ok(_) => Ok(()),
                    Err(reason) => refuse(promises, Promise::RunningSlot, || {
                        format!("slot {slot} is not whole: {reason}")
                    }),
                }
            }
            Step::LoseRecord => {
                let ram = at.disk.truly();
                let get = &mut |at, len| ram.bytes(at, len);
                for (place, _) in self.setting.ground.records(get) {
                    at.disk.destroy(place, 64);
                }
                at.truth.record = oracle::Written::Perhaps;
                at.truth.starts = 0;
                Ok(())
            }
            Step::ForgeSequence => {
                let ram = at.disk.truly();
                let get = &mut |at, len| ram.bytes(at, len);
                for (place, bytes) in self.setting.ground.with_highest_number(get) {
                    at.disk.place(place, &bytes);
                }
                Ok(())
            }
            Step::Spoil(slot) => {
                at.truth.wrecked[slot as usize] = true;
                if let Some(release) = at.truth.slots[slot as usize]
                    && let Some((offset, _)) = self.known.parts(release, slot).first()
                {
                    at.disk.destroy(*offset, 64);
                }
                Ok(())
            }
            Step::Plant(slot, release) => {
                for (offset, bytes) in self.known.parts(release, slot) {
                    at.disk.place(*offset, bytes);
                }
                let ram = at.disk.truly();
                let head = self.known.head(release, slot);
                let place = self.setting.ground.head(&mut |at, len| ram.bytes(at, len), slot);
                // In a log, over the head that is there: heads of the stories are equally long.
                if let Some((place, _)) = place.filter(|(_, len)| head.len() <= *len) {
                    at.disk.place(place, head);
                }
                self.known.plant(&mut at.truth, slot, release);
                Ok(())
            }
            Step::Wreck(slot) => {
                at.truth.wrecked[slot as usize] = true;
                let slots = self.setting.ground.slots();
                let found = slots.iter().filter(|found| found.slot == slot);
                for region in found
                    .flat_map(|found| found.regions.iter().map(|at| at.region).chain(found.head))
                {
                    let place = self.setting.ground.place(region);
                    at.disk.destroy(place, region.len as usize);
                }
                Ok(())
            }
        }
    }

    fn run<D: Damage>(
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

    fn power_on<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        watchdog_reset: bool,
        promises: Promises,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<(), Broken> {
        self.start(at, watchdog_reset, None, promises, instants)
    }

    fn start<D: Damage>(
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

    fn install<D: Damage>(
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
                format!("the {} goes to the running slot", describe(&act))
            })?;
        }
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

    fn operate<D: Damage>(
        &mut self,
        at: &mut Situation<D>,
        request: Request,
        instants: Option<&mut Vec<Instant<D>>>,
    ) -> Result<Answer, stillboot::operate::OperateError> {
        let program = Program::Operate(request);
        let outcome = self.run(at, &program, instants);
        let Outcome::Operate(result) = &*outcome else { unreachable!("it ends as what it is") };
        self.tell(|| words::request(&request, result));
        *result
    }

    /// The device after a cut.
    fn cut(&self, at: &Situation<Disk>, instant: &Instant<Disk>, point: Point) -> Situation<Disk> {
        let mut after = at.on(instant.disk.clone());
        after.store.clone_from(&instant.store);
        after.running = None;
        let mut disk = PowerCut::new(instant.disk.clone());
        disk.cut_at(0, point.cut);
        // The caller does not hear the answer.
        match &instant.act {
            MachineRequest::Write(offset, bytes) => {
                let _ = disk.write(*offset, bytes);
            }
            MachineRequest::Erase(offset, len) => {
                let _ = disk.erase(*offset, *len);
            }
            MachineRequest::Flush(part) if point.cut == Cut::After => {
                let _ = disk.device_mut().flush_part(part);
            }
            MachineRequest::RaiseFloor(kind, floor) if point.cut == Cut::After => {
                if let Some(store) = &mut after.store {
                    use stillboot::driver::RollbackStore as _;
                    let _ = store.raise(*kind, *floor);
                }
            }
            _ => {}
        }
        after.disk = disk.into_inner();
        if let Disk::Cached(cache) = &mut after.disk {
            match point.loss {
                Loss::Nothing => {
                    let _ = cache.flush();
                }
                Loss::All => cache.lose_all(),
                Loss::Newest(count) => {
                    let _ = cache.keep_newest(count);
                }
                Loss::Only(disk) => {
                    let _ = cache.keep_part(&self.setting.ground.extent(disk));
                }
                Loss::Random(seed) => {
                    let _ = cache.lose(seed);
                }
            }
        }
        after
    }

    /// How many first cuts there are in the story.
    fn first_cuts(&mut self) -> u64 {
        let Ok(mut at) = self.before() else { return 0 };
        let plain = self.promises("power cut before or after a request");
        let mut instants = Vec::new();
        for step in self.story.steps.clone() {
            if self.step(&mut at, step, plain, Some(&mut instants)).is_err() {
                break;
            }
        }
        let count = |instant: &Instant<_>| points(&instant.act, &self.medium, self.effort.tears);
        instants.iter().map(|instant| count(instant).len() as u64).sum()
    }

    /// Tells how far this has come, not at every point; whether to go on.
    fn goes_on(&mut self, may_wait: bool) -> bool {
        let now = (self.counts.points(), self.counts.depth_one);
        let more = now.0 - self.told.0;
        if !may_wait || more >= TOLD_EVERY {
            self.watch.points(more, now.1 - self.told.1);
            self.told = now;
        }
        !self.watch.is_stopped()
    }

    /// The story, with a cut at every instant.
    fn explore(&mut self) {
        let at = match self.before() {
            Ok(at) => at,
            Err(broken) => return self.found("undisturbed".into(), broken),
        };
        let mut at = at;
        let plain = self.promises("power cut before or after a request");
        let mut number = 0_usize;
        let mut old = at.truth.good;
        for (index, step) in self.story.steps.clone().into_iter().enumerate() {
            let start = at.clone();
            if matches!(step, Step::Install { .. }) {
                old = start.truth.good;
            }
            if let Some(picture) = &mut self.picture {
                picture.begin_stage(picture::title(step, self.known.releases));
            }
            let mut instants = Vec::new();
            if let Err(broken) = self.step(&mut at, step, plain, Some(&mut instants)) {
                return self.found(format!("s{index}"), broken);
            }
            let during = self.during(&start, step);
            for (op, instant) in instants.iter().enumerate() {
                for point in points(&instant.act, &self.medium, self.effort.tears) {
                    number += 1;
                    let promises = self.promises(row(&instant.act, point));
                    let after = self.cut(&during, instant, point);
                    let id = || format!("s{index}.{op}/{point}");
                    self.states.insert(after.state());
                    let is_tear = matches!(point.cut, Cut::Torn(_));
                    let redo = !is_tear || number.is_multiple_of(self.effort.redo_every);
                    let redo = redone(step).filter(|_| redo);
                    self.counts.depth_one += 1;
                    let result = self.recover(after.clone(), redo, promises);
                    self.draw(&instant.act, point, old, &result);
                    if let Err(broken) = result {
                        self.found(id(), broken);
                    }
                    let twice = match point.cut {
                        Cut::Before | Cut::After => self.effort.second_every,
                        Cut::Torn(_) => self.effort.second_torn_every,
                    };
                    // Once in every step at least, also on media with few points.
                    let middle = op == instants.len() / 2 && point.cut == Cut::Before;
                    if twice > 0 && (number.is_multiple_of(twice) || middle) {
                        self.second(after, step, promises, &id());
                    }
                    if !self.goes_on(true) {
                        return;
                    }
                }
                if let Some(picture) = &mut self.picture {
                    let known = &self.known;
                    // Where the last component in the slot's first region ends.
                    let end = |slot| {
                        let parts = |name| known.parts(name, slot).iter();
                        let parts = (0..known.releases.len()).flat_map(parts);
                        parts.map(|(offset, bytes)| offset + bytes.len() as u64).max()
                    };
                    picture.end_operation(&instant.act, &self.setting.ground, &end);
                }
            }
            if self.effort.fault_every > 0 {
                self.faults(&start, step, index);
            }
        }
    }

    /// The situation while `step` is under way.
    fn during(&self, start: &Situation<Disk>, step: Step) -> Situation<Disk> {
        let mut during = start.clone();
        let truth = &mut during.truth;
        let running = start.running.map(|(proof, _)| proof);
        match step {
            Step::PowerOn => during.nonce += 1,
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

    /// Power on and update, at once and, where `redo` is something, also after that was done again.
    /// Equal situations once only.
    fn recover(
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
    fn redo(
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
                let done = self.install(at, program, release, promises, instants)?;
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

    fn is_low(&self, release: Name) -> bool {
        self.known.releases[release].floor.level == 0
    }

    /// Confirms what runs and updates it, without help except for freeing slots that were held.
    fn finish(&mut self, mut at: Situation<Disk>, promises: Promises) -> Result<(), Broken> {
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

    fn update<D: Damage>(
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

    /// Cuts the recovery at every point as well. What follows from two equal situations, or from
    /// equal cuts into equal instants, is looked at once.
    fn second(&mut self, first: Situation<Disk>, step: Step, promises: Promises, id: &str) {
        let redo = redone(step);
        let key = first.key(format_args!("second{step:?}{promises:?}"));
        if let Some(seen) = self.seen(key) {
            return self.again(&seen, id);
        }
        let mut all = Seen::default();
        let (stages, end) = self.stages(&first, step, promises);
        if let Err(broken) = end {
            all.broken.push(("r".into(), broken.clone()));
            self.found(format!("{id}/r"), broken);
        }
        for (stage, during, instants) in stages {
            for (op, instant) in instants.iter().enumerate() {
                let place = format!("{stage}.{op}");
                let key = instant.key(&during, redo);
                let seen = match self.seen(key) {
                    Some(seen) => {
                        self.again(&seen, &format!("{id}/{place}"));
                        seen
                    }
                    None => {
                        let id = format!("{id}/{place}");
                        let Some(seen) = self.second_at(&during, instant, redo, &id) else {
                            return;
                        };
                        let seen = Arc::new(seen);
                        self.seen.insert(key, Arc::clone(&seen));
                        seen
                    }
                };
                all.points += seen.points;
                let broken = seen.broken.iter();
                all.broken
                    .extend(broken.map(|(at, broken)| (format!("{place}/{at}"), broken.clone())));
                if !self.goes_on(true) {
                    return;
                }
            }
        }
        self.seen.insert(key, Arc::new(all));
    }

    /// All second cuts at one instant; `None` if the observer stopped it.
    fn second_at(
        &mut self,
        during: &Situation<Disk>,
        instant: &Instant<Disk>,
        redo: Option<Step>,
        id: &str,
    ) -> Option<Seen> {
        let mut seen = Seen::default();
        let every = self.effort.second_redo_every;
        let points = points(&instant.act, &self.medium, self.effort.second_tears);
        for (number, point) in points.into_iter().enumerate() {
            let both = self.promises(row(&instant.act, point));
            let after = self.cut(during, instant, point);
            self.states.insert(after.state());
            let is_tear = matches!(point.cut, Cut::Torn(_));
            let redo = redo.filter(|_| !is_tear || number.is_multiple_of(every));
            self.counts.depth_two += 1;
            seen.points += 1;
            let result = self.recover(after, redo, both);
            self.tally(row(&instant.act, point), &result);
            if let Err(broken) = result {
                seen.broken.push((point.to_string(), broken.clone()));
                self.found(format!("{id}/{point}"), broken);
            }
            if !self.goes_on(true) {
                return None;
            }
        }
        Some(seen)
    }

    /// What came of cuts that were looked at. A report draws each, so for a report none is skipped.
    fn seen(&self, key: u128) -> Option<Arc<Seen>> {
        self.seen.get(&key).filter(|_| self.picture.is_none()).cloned()
    }

    /// The same cuts once more, without looking.
    fn again(&mut self, seen: &Seen, id: &str) {
        self.counts.depth_two += seen.points;
        self.counts.settled += seen.points;
        for (at, broken) in &seen.broken {
            self.found(format!("{id}/{at}"), broken.clone());
        }
    }

    /// The stages of a recovery, and how it ended.
    fn stages(
        &mut self,
        first: &Situation<Disk>,
        step: Step,
        promises: Promises,
    ) -> (Vec<Stage>, Result<(), Broken>) {
        let mut out = Vec::new();
        let mut at = first.clone();
        let mut during = first.clone();
        during.nonce += 1;
        let mut instants = Vec::new();
        let started = self.power_on(&mut at, false, promises, Some(&mut instants));
        out.push(('p', during, instants));
        if started.is_err() {
            return (out, started);
        }
        let on_trial =
            matches!(at.running, Some((_, CandidateKind::Trial | CandidateKind::LastResort)));
        let mut during = self.during(&at, step);
        if on_trial {
            during = self.during(&during, Step::Confirm);
        }
        let mut instants = Vec::new();
        let end = self.redo(&mut at, step, promises, Some(&mut instants));
        // It may have come to a power-on, whose nonce no later one has.
        during.nonce = at.nonce;
        out.push(('r', during, instants));
        (out, end)
    }

    /// Faults of the device while `step` runs.
    fn faults(&mut self, start: &Situation<Disk>, step: Step, index: usize) {
        let mut whole = start.on(Faulty::new(start.disk.clone(), Fault::ReadOnce(u64::MAX)));
        let promises = self.promises(FAULT_ROWS[0]);
        if self.step(&mut whole, step, promises, None).is_err() {
            return;
        }
        let (reads, changes) = whole.disk.requests();
        let every = self.effort.fault_every;
        let mut list = Vec::new();
        for at in (0..changes).step_by(every as usize) {
            list.extend([Fault::WriteOnce(at), Fault::WriteAlways(at), Fault::Stuck(at)]);
            list.extend([1, 3, 13].map(|blocks| Fault::Misdirected(at, blocks)));
        }
        for at in (0..reads).step_by(every as usize) {
            list.extend([Fault::ReadOnce(at), Fault::ReadAlways(at)]);
            list.extend([0, 77, 2600].map(|bit| Fault::Rot(at, bit)));
            list.extend([1, 800].map(|bit| Fault::Lies(at, bit)));
        }
        // A log of two blocks has none to spare. A highest number that was forged in a place which
        // cannot be changed is there to stay.
        let ground = &self.setting.ground;
        let is_forged = self.story.steps.iter().chain(&self.story.before);
        let is_forged = is_forged.into_iter().any(|step| *step == Step::ForgeSequence);
        if ground.places().len() > 2 && !is_forged {
            let dead = ground.places().iter().map(|at| Fault::Dead(ground.place(*at), at.len));
            list.extend(dead);
        }
        for fault in list {
            self.counts.faults += 1;
            let result = self.fault(start, step, fault);
            self.tally(row_of_fault(fault), &result);
            if let Err(broken) = result {
                self.found(format!("s{index}/{fault:?}"), broken);
            }
            if !self.goes_on(true) {
                return;
            }
        }
    }

    fn fault(&mut self, start: &Situation<Disk>, step: Step, fault: Fault) -> Result<(), Broken> {
        let all = self.promises(row_of_fault(fault));
        // What a read that fails keeps from starting is not lost: it starts when the device reads.
        let promises = all.without(Promise::Confirmed);
        let mut at = start.on(Faulty::new(start.disk.clone(), fault));
        if let Fault::Dead(..) = fault {
            // It stays so, and costs nothing.
            self.step(&mut at, step, all, None)?;
            self.power_on(&mut at, false, all, None)?;
            return self.update(&mut at, all);
        }
        self.step(&mut at, step, promises, None)?;
        // A reset, and whatever is in a cache is gone.
        at.disk.lose_pending();
        // What a device that fails leaves of the record is not known.
        at.truth.record = oracle::Written::Perhaps;
        self.power_on(&mut at, false, promises, None)?;
        // With a device that works.
        let ground = &self.setting.ground;
        let outside = |(from, to): (u64, u64)| {
            ground.places().iter().all(|place| {
                let at = ground.place(*place);
                at + place.len <= from || to <= at
            })
        };
        let keeps = step == Step::PowerOn
            && start.truth.record == oracle::Written::Yes
            && at.disk.hit().is_some_and(outside);
        at.disk.lose_pending();
        let mut at = at.on(at.disk.clone().into_inner());
        if keeps {
            let floors = at.truth.floors;
            at.truth = History { floors, record: at.truth.record, ..start.truth.clone() };
        }
        self.power_on(&mut at, false, if keeps { all } else { promises }, None)?;
        self.finish(at, promises)
    }

    /// Notes how a first cut came out, for the picture.
    fn draw(&mut self, act: &MachineRequest, point: Point, old: Set, result: &Result<(), Broken>) {
        self.tally(row(act, point), result);
        let Some(picture) = &mut self.picture else { return };
        let came = match (result, self.started_last) {
            (Err(_), _) => CutOutcome::Broken,
            (Ok(()), None) => CutOutcome::Nothing,
            // Also as a last resort, before the record knows of it.
            (Ok(()), Some((Some(name), _)))
                if self.known.releases[name].kind == SlotKind::Recovery =>
            {
                CutOutcome::Recovery
            }
            (Ok(()), Some((Some(name), _))) if old & (1 << name) != 0 => CutOutcome::Old,
            (Ok(()), Some(_)) => CutOutcome::New,
        };
        let (way, bytes) = match point.cut {
            Cut::Before => (Way::Before, 0),
            Cut::After => (Way::After, 0),
            Cut::Torn(Tear::Prefix(bytes)) => (Way::Prefix, bytes),
            Cut::Torn(Tear::Suffix(bytes)) => (Way::Suffix, bytes),
            Cut::Torn(Tear::Mixed(seed)) => (Way::Mixed, seed),
        };
        let lost = match point.loss {
            Loss::Nothing => Lost::Nothing,
            Loss::All => Lost::All,
            Loss::Newest(_) | Loss::Only(_) | Loss::Random(_) => Lost::Some,
        };
        picture.mark(lost, way, bytes, came);
        if came == CutOutcome::Broken {
            picture.broke(point.to_string());
        }
    }

    /// Counts a point under its row of the table, for the report.
    fn tally(&mut self, row: &'static str, result: &Result<(), Broken>) {
        if let Some(picture) = &mut self.picture {
            picture.tally(row, result.as_ref().err().map(|broken| broken.promise));
        }
    }

    fn found(&mut self, point: String, broken: Broken) {
        self.counts.broken += 1;
        if self.findings.len() < DESCRIBED_MAX {
            let id = format!("{}/{}/{point}", self.story.name, self.medium.name);
            self.findings.push(Finding { id, broken });
        }
    }

    fn summary(mut self) -> Summary {
        self.counts.states = self.states.len() as u64;
        self.counts.boots = self.engine.boots;
        self.counts.programs = self.engine.programs;
        self.counts.core_runs = self.engine.core_runs;
        let pictures = self.picture.into_iter().collect();
        Summary { counts: self.counts, findings: self.findings, pictures, ..Summary::default() }
    }
}

/// The step, if the interrupted system or operator does it again once the power is back.
fn redone(step: Step) -> Option<Step> {
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

fn refuse(
    promises: Promises,
    promise: Promise,
    how: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if promises.hold(promise) { Err(Broken { promise, how: how() }) } else { Ok(()) }
}

/// A disk of which a story can destroy parts.
trait Damage: Disks {
    fn destroy(&mut self, offset: u64, len: usize) {
        self.place(offset, &vec![GARBAGE; len]);
    }
    /// Puts bytes there past everything that would notice.
    fn place(&mut self, offset: u64, bytes: &[u8]);
    /// What the medium holds, whatever the device says of it.
    fn truly(&self) -> RamDisk;
    fn lose_pending(&mut self);
    fn unflushed(&self) -> usize;
    fn name(&self) -> u128;
    /// What the device does not read, or reads wrong; a slot that needs it cannot be started.
    fn unread(&self) -> Option<Range<u64>> {
        None
    }
    /// A fault that strikes once has struck.
    fn is_over(&self) -> bool {
        false
    }
}

/// What a destroyed place holds: neither blank nor anything else.
pub(crate) const GARBAGE: u8 = 0x5A;

impl Damage for Disk {
    fn place(&mut self, offset: u64, bytes: &[u8]) {
        self.ram_mut().poke(offset, bytes);
    }
    fn truly(&self) -> RamDisk {
        self.ram().fork()
    }
    fn lose_pending(&mut self) {
        if let Self::Cached(cache) = self {
            cache.lose_all();
        }
    }
    fn unflushed(&self) -> usize {
        self.pending()
    }
    fn name(&self) -> u128 {
        self.ram().content_hash()
    }
}

impl Damage for Faulty<Disk> {
    fn place(&mut self, offset: u64, bytes: &[u8]) {
        self.device_mut().place(offset, bytes);
    }
    fn truly(&self) -> RamDisk {
        self.device().truly()
    }
    fn lose_pending(&mut self) {
        self.device_mut().lose_pending();
    }
    fn unflushed(&self) -> usize {
        self.device().unflushed()
    }
    fn name(&self) -> u128 {
        self.device().name()
    }
    fn unread(&self) -> Option<Range<u64>> {
        match self.fault() {
            Some(Fault::ReadOnce(_) | Fault::ReadAlways(_) | Fault::Lies(..)) => {
                self.hit().map(|(from, to)| from..to)
            }
            _ => None,
        }
    }
    fn is_over(&self) -> bool {
        matches!(self.fault(), Some(Fault::ReadOnce(_))) && self.has_struck()
    }
}

/// One of the devices that stand on a disk one behind the other.
struct PartOf<'a, 'd, D> {
    disk: &'a RefCell<&'d mut D>,
    part: Range<u64>,
}

impl<D: Disks> BlockDevice for PartOf<'_, '_, D> {
    fn geometry(&self) -> Geometry {
        let capacity_bytes = self.part.end - self.part.start;
        Geometry { capacity_bytes, ..self.disk.borrow().geometry() }
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry().check_read(offset, into.len() as u64)?;
        self.disk.borrow_mut().read(self.part.start + offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        self.disk.borrow_mut().write(self.part.start + offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry().check_erase(offset, len)?;
        self.disk.borrow_mut().erase(self.part.start + offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.borrow_mut().flush_part(&self.part)
    }
}

trait Other {
    fn other_update(self) -> Slot;
}

impl Other for Slot {
    fn other_update(self) -> Slot {
        if self == Slot::A { Slot::B } else { Slot::A }
    }
}

/// Looks on while stories are explored; called from all threads. A job is one story on one medium.
pub trait Observer: Sync {
    /// So many jobs are about to be done, and so many first cuts are in them.
    fn planned(&self, _jobs: usize, _first_cuts: u64) {}
    /// What an earlier call came to with the same code, effort and job: then it is not done again.
    fn known(&self, _job: &str) -> Option<Summary> {
        None
    }
    /// So many more points are done, of which so many are first cuts.
    fn points(&self, _points: u64, _first_cuts: u64) {}
    /// A job is done to its end, and was not known.
    fn done(&self, _job: &str, _summary: &Summary) {}
    /// Whether to stop at the next point. What was begun and is not done then counts for nothing.
    fn is_stopped(&self) -> bool {
        false
    }
}

struct NoObserver;

impl Observer for NoObserver {}

/// Explores stories on media, on so many threads. Equal calls give equal summaries.
///
/// `progress` is called with the counts of each job that is done.
#[must_use]
pub fn explore(
    catalogue: &Catalogue,
    stories: &[Story],
    media: &[Medium],
    effort: Effort,
    threads: usize,
    progress: &(dyn Fn(&str, &Summary) + Sync),
) -> Summary {
    struct Done<'a>(&'a (dyn Fn(&str, &Summary) + Sync));
    impl Observer for Done<'_> {
        fn done(&self, job: &str, summary: &Summary) {
            self.0(job, summary);
        }
    }
    explore_observed(catalogue, stories, media, effort, threads, &Done(progress))
}

/// As [`explore`], with an observer that knows what was done before, and may stop it.
#[must_use]
pub fn explore_observed(
    catalogue: &Catalogue,
    stories: &[Story],
    media: &[Medium],
    effort: Effort,
    threads: usize,
    watch: &dyn Observer,
) -> Summary {
    let pairs: Vec<_> =
        stories.iter().flat_map(|story| media.iter().map(move |medium| (story, *medium))).collect();
    let new = |at: usize| Job::new(catalogue, pairs[at].0, pairs[at].1, effort);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    let cuts = on_threads(threads, &order, |at| new(*at).first_cuts());
    watch.planned(pairs.len(), cuts.iter().sum());
    // The long ones first, so that no thread is left alone with one in the end.
    order.sort_by_key(|at| std::cmp::Reverse(cuts[*at]));
    let done = on_threads(threads, &order, |at| {
        let (story, medium) = &pairs[*at];
        let name = format!("{}/{}", story.name, medium.name);
        let known = watch.known(&name);
        if known.is_some() {
            return known;
        }
        if watch.is_stopped() {
            return None;
        }
        let mut job = new(*at);
        job.watch = watch;
        job.explore();
        if !job.goes_on(false) {
            return None;
        }
        let summary = job.summary();
        watch.done(&name, &summary);
        Some(summary)
    });
    // In the order of the stories, whichever was faster.
    let mut done: Vec<_> = order.into_iter().zip(done).collect();
    done.sort_by_key(|(place, _)| *place);
    let mut all = Summary::default();
    let done = done.into_iter().filter_map(|(place, summary)| Some((pairs[place].1, summary?)));
    for (medium, summary) in done {
        all.counts.add(&summary.counts);
        if medium.is_log() {
            all.log_counts.add(&summary.counts);
        }
        all.findings.extend(summary.findings);
        all.pictures.extend(summary.pictures);
    }
    all
}

/// What `work` makes of each item, in their order.
fn on_threads<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let entry = (at, work(item));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

/// Runs one point again and tells what happens, line by line.
///
/// # Errors
/// What is wrong with the identity.
pub fn replay(catalogue: &Catalogue, stories: &[Story], id: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = id.split('/').collect();
    let [story, medium, rest @ ..] = &parts[..] else {
        return Err(format!("{id:?} is not story/medium/step.change/cut"));
    };
    let story = stories.iter().find(|found| found.name == *story);
    let story = story.ok_or_else(|| format!("there is no story {:?}", parts[0]))?;
    let medium = media().into_iter().find(|found| found.name == *medium);
    let medium = medium.ok_or_else(|| format!("there is no medium {:?}", parts[1]))?;
    let mut job = Job::new(catalogue, story, medium, Effort::QUICK);
    job.trace = Some(Vec::new());
    let before: Vec<_> =
        story.before.iter().map(|step| picture::title(*step, &catalogue.releases)).collect();
    job.tell(|| match before.is_empty() {
        true => "before the story: a blank disk".into(),
        false => format!("before the story: {}", before.join(", ")),
    });
    let result = job.replay(rest)?;
    job.tell(|| match result {
        Ok(()) => "every promise holds".into(),
        Err(broken) => format!("BROKEN {}: {}", broken.promise.heading(), broken.how),
    });
    Ok(job.trace.unwrap_or_default())
}

impl Job<'_> {
    fn replay(&mut self, parts: &[&str]) -> Result<Result<(), Broken>, String> {
        let place = |text: &str, prefix: char| -> Option<(usize, Option<usize>)> {
            let text = text.strip_prefix(prefix)?;
            match text.split_once('.') {
                Some((step, op)) => Some((step.parse().ok()?, Some(op.parse().ok()?))),
                None => Some((text.parse().ok()?, None)),
            }
        };
        let bad = |part: &str| format!("{part:?} is not a place in this story");
        let mut at = match self.before() {
            Ok(at) => at,
            Err(broken) => return Ok(Err(broken)),
        };
        let Some(first) = parts.first().filter(|part| **part != "undisturbed") else {
            return Ok(Ok(()));
        };
        let (index, op) = place(first, 's').ok_or_else(|| bad(first))?;
        let plain = self.promises("power cut before or after a request");
        self.tell(|| "the story begins".into());
        for step in self.story.steps.clone().into_iter().take(index) {
            if let Err(broken) = self.step(&mut at, step, plain, None) {
                return Ok(Err(broken));
            }
        }
        let step = *self.story.steps.get(index).ok_or_else(|| bad(first))?;
        let (Some(op), Some(cut)) = (op, parts.get(1)) else {
            if let Some(text) = parts.get(1) {
                let fault = Self::fault_named(text).ok_or_else(|| bad(text))?;
                self.tell(|| format!("{step}, in which {}", words::fault(fault)));
                return Ok(self.fault(&at, step, fault));
            }
            return Ok(self.step(&mut at, step, plain, None));
        };
        let start = at.clone();
        let mut instants = Vec::new();
        let _ = self.step(&mut at, step, plain, Some(&mut instants));
        let during = self.during(&start, step);
        let instant = instants.get(op).ok_or_else(|| bad(first))?;
        let point: Point = cut.parse()?;
        self.tell(|| format!("instead, cut {point} at change {op}: {}", describe(&instant.act)));
        let promises = self.promises(row(&instant.act, point));
        let after = self.cut(&during, instant, point);
        let (Some(second), Some(cut)) = (parts.get(2), parts.get(3)) else {
            return Ok(self.recover(after, redone(step), promises));
        };
        let stage = second.chars().next().ok_or_else(|| bad(second))?;
        let op: usize = second[1..].trim_start_matches('.').parse().map_err(|_| bad(second))?;
        let (stages, _) = self.stages(&after, step, promises);
        let (_, during, instants) =
            stages.into_iter().find(|found| found.0 == stage).ok_or_else(|| bad(second))?;
        let instant = instants.get(op).ok_or_else(|| bad(second))?;
        let point: Point = cut.parse()?;
        self.tell(|| format!("then cut {point} at change {op}: {}", describe(&instant.act)));
        let promises = self.promises(row(&instant.act, point));
        let after = self.cut(&during, instant, point);
        Ok(self.recover(after, redone(step), promises))
    }

    /// The fault that prints like this.
    fn fault_named(text: &str) -> Option<Fault> {
        let numbers: Vec<u64> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let (first, second) = (*numbers.first()?, numbers.get(1).copied().unwrap_or(0));
        [
            Fault::WriteOnce(first),
            Fault::WriteAlways(first),
            Fault::ReadOnce(first),
            Fault::ReadAlways(first),
            Fault::Stuck(first),
            Fault::Misdirected(first, second),
            Fault::Rot(first, second),
            Fault::Lies(first, second),
            Fault::Dead(first, second),
        ]
        .into_iter()
        .find(|fault| format!("{fault:?}") == text)
    }
}

fn describe(act: &MachineRequest) -> String {
    match act {
        MachineRequest::Write(offset, bytes) => {
            format!("write of {} bytes at {offset:#x}", bytes.len())
        }
        MachineRequest::Erase(offset, len) => format!("erase of {len} bytes at {offset:#x}"),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted twice would count for nothing.
    #[test]
    fn no_two_points_of_an_instant_are_the_same() {
        let bytes = |len: usize| MachineRequest::Write(0, vec![0; len].into());
        for medium in media() {
            let unit = medium.geometry.write_granule_bytes as usize;
            for act in
                [bytes(unit), bytes(2 * unit), bytes(32 * unit), MachineRequest::Erase(0, 4096)]
            {
                for tears in [0, 1, 2, 3, 16, 160, usize::MAX] {
                    let points = points(&act, &medium, tears);
                    let names: HashSet<_> = points.iter().map(Point::to_string).collect();
                    assert_eq!(names.len(), points.len(), "{}, {tears} tears", medium.name);
                    assert!(points.len() >= 2);
                }
            }
        }
    }
}
