//! Devices whose disk was changed by an attacker with write access to it: from every state of the
//! disk there is a way out.
//!
//! ```text
//! Field::all(&chain)                  the kinds of devices, each with moments of its past
//! check(&fields, seed)             -> Checked { counts, failure: Option<Failure> }
//! replay(&fields, "hostile/81")    -> the same state, told line by line
//! ```
//!
//! A state follows from its seed alone. It is a kind of device, a moment of its past, and damage by
//! a writer of the disk ([`damage`]). Perhaps there are bytes that the device does not read any
//! more, or a fault of the device that is over in the end. Last comes a sequence of commands, some
//! of which are cut short by the power. Then the law "no dead end" of `docs/DESIGN.md` is checked
//! on it ([`way_out`]): a slot that is whole and reaches the floor of the store boots, and the next
//! update can be installed, boots and is confirmed, by calls that the tool has a command for.
//!
//! How often an update is tried is not checked here: an older record that is put back gives tries
//! back.

pub mod commands;
pub mod damage;
pub mod past;
pub mod unread;
pub mod way_out;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

pub use past::Field;

use crate::disk::{PowerCut, Random};
use crate::fault::Faulty;
use crate::oracle::Broken;
use crate::words;
use commands::Device;
use unread::Unread;

/// The row of the table in `docs/DESIGN.md` that these states are checked against.
pub const ROW: &str = "writer of the disk";

/// What was done, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostileCounts {
    /// States that were checked.
    pub states: u64,
    /// Changes by the writer of the disk.
    pub damages: u64,
    /// Commands before the way out was looked for.
    pub commands: u64,
    /// Losses of power within or after a command.
    pub cuts: u64,
    /// States in which nothing started, because nothing whole was there.
    pub dark: u64,
    /// States with bytes that the device does not read.
    pub unread: u64,
    /// States in which the device failed, or lied, during the commands.
    pub faults: u64,
    /// States from which the next update was installed and confirmed.
    pub updated: u64,
    /// States in which the medium under the only target, or under a copy of the record, does not
    /// keep what is written, so that nothing but "boots" was checked.
    pub worn: u64,
}

impl HostileCounts {
    /// Adds those of another state.
    pub fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.damages += other.damages;
        self.commands += other.commands;
        self.cuts += other.cuts;
        self.dark += other.dark;
        self.unread += other.unread;
        self.faults += other.faults;
        self.updated += other.updated;
        self.worn += other.worn;
    }
}

/// A state without a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For [`replay`].
    pub id: String,
    /// What was broken.
    pub broken: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} broken: {}", self.id, self.broken.promise.heading(), self.broken.how)
    }
}

/// What a state came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How much was done.
    pub counts: HostileCounts,
    /// The promise that was broken, if one was.
    pub failure: Option<Failure>,
}

/// Makes the state of this seed and looks for the way out. Equal calls come to the same.
#[must_use]
pub fn check(fields: &[Field<'_>], seed: u64) -> Checked {
    let (counts, end) = run(fields, seed, None);
    let failure = end.err().map(|broken| Failure { id: format!("hostile/{seed}"), broken });
    Checked { counts, failure }
}

/// Checks the states of all these seeds on so many threads, until `is_stopped` says so. Returns what
/// was done and the failures, those of low seeds first.
///
/// # Panics
/// If a check panics.
pub fn sweep(
    fields: &[Field<'_>],
    seeds: Range<u64>,
    threads: usize,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> (HostileCounts, Vec<Failure>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut counts = HostileCounts::default();
        let mut failures = Vec::new();
        while !is_stopped() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let checked = check(fields, seed);
            counts.add(&checked.counts);
            failures.extend(checked.failure.map(|failure| (seed, failure)));
        }
        (counts, failures)
    };
    let mut counts = HostileCounts::default();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let (found, failed) = worker.join().expect("a check does not panic");
            counts.add(&found);
            failures.extend(failed);
        }
    });
    failures.sort_by_key(|(seed, _)| *seed);
    (counts, failures.into_iter().map(|(_, failure)| failure).collect())
}

/// Does the same for the state of this identity and tells it line by line; the last line says
/// whether a promise was broken.
///
/// # Errors
/// What is wrong with the identity.
pub fn replay(fields: &[Field<'_>], id: &str) -> Result<Vec<String>, String> {
    let seed = id.strip_prefix("hostile/").and_then(|seed| seed.parse().ok());
    let seed = seed.ok_or_else(|| format!("{id:?} is not hostile/SEED, with a number for SEED"))?;
    let mut lines = Vec::new();
    let (_, end) = run(fields, seed, Some(&mut lines));
    lines.push(match end {
        Ok(()) => "every promise holds".into(),
        Err(broken) => format!("BROKEN {}: {}", broken.promise.heading(), broken.how),
    });
    Ok(lines)
}

fn run(
    fields: &[Field<'_>],
    seed: u64,
    trace: Option<&mut Vec<String>>,
) -> (HostileCounts, Result<(), Broken>) {
    let field = &fields[(seed % fields.len() as u64) as usize];
    let mut random = Random::new(seed);
    let moment = &field.past[random.below(field.past.len() as u64) as usize];
    let mut counts = HostileCounts { states: 1, ..HostileCounts::default() };
    let mut told = vec![format!("{}, after: {}", field.name, moment.name)];

    let mut disk = moment.disk.fork();
    let others: Vec<_> = field.past.iter().map(|moment| &moment.disk).collect();
    for _ in 0..1 + random.below(4) {
        counts.damages += 1;
        told.push(damage::strike(&mut random, &mut disk, &others, &field.parts, &field.digests));
    }
    let mut disk = Unread::new(Faulty::sound(disk));
    if random.chance(1, 12) {
        let part = field.parts.any(&mut random);
        told.push(format!("{} cannot be read any more", part.name));
        disk.range = part.range.clone();
        counts.unread += 1;
    } else if random.chance(1, 3) {
        let fault = commands::any_fault(&mut random);
        told.push(format!("the device gets a fault: {}", words::fault(fault)));
        disk.device_mut().set(Some(fault));
    }

    let mut device = Device::new(field, PowerCut::new(disk), moment.store.clone(), told);
    for _ in 0..random.below(6) {
        counts.commands += 1;
        counts.cuts += u64::from(device.random_command(&mut random));
    }
    if device.heal() {
        counts.faults += 1;
        device.told.push("the device works again".into());
    }
    let end = match device.broken.take() {
        Some(broken) => Err(broken),
        None => way_out::find(&mut device, &mut counts),
    };
    if let Some(trace) = trace {
        trace.append(&mut device.told);
    }
    (counts, end)
}
