//! The sweep: every story on every medium, with the power cut at every instant, and cut again while
//! the device recovers from that.
//!
//! Ctrl-C ends it after the points at hand. The jobs that were done are kept, for the same program
//! only: the next call goes on from there, and a build of other code starts again.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use stillboot_sim::explore::{
    Effort, Finding, Observer, Summary, SweepCounts, explore_observed, media,
};
use stillboot_sim::hostile;
use stillboot_sim::oracle::{Broken, Promise};
use stillboot_sim::story::{Catalogue, stories};
use stillboot_sim::walk::Chain;

/// How often a bar is drawn again.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// What a shell expects of a program that Ctrl-C ended.
const STOPPED: u8 = 130;

/// Cut the power at every instant of every story, and see that it still boots.
#[derive(Parser)]
struct Arguments {
    /// The part of it that the test command runs.
    #[arg(long)]
    quick: bool,
    /// Start over, whatever an earlier call has done.
    #[arg(long)]
    fresh: bool,
    /// How many threads; without it, as many as there are cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Where the states of damaged disks begin.
    #[arg(long, default_value_t = 0)]
    hostile_seed: u64,
    /// Only the damaged disks.
    #[arg(long)]
    only_hostile: bool,
}

/// How much is swept, and with how little the sweep has failed.
struct Sweep {
    name: &'static str,
    effort: Effort,
    depth_one_min: u64,
    depth_two_min: u64,
    /// States of damaged disks that are checked beside it.
    hostile_states: u64,
}

const QUICK: Sweep = Sweep {
    name: "quick",
    effort: Effort::QUICK,
    depth_one_min: 200_000,
    depth_two_min: 200_000,
    hostile_states: 20_000,
};

const FULL: Sweep = Sweep {
    name: "full",
    effort: Effort::PROVE,
    depth_one_min: 200_000,
    depth_two_min: 5_000_000,
    hostile_states: 1_000_000,
};

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let sweep = if arguments.quick { QUICK } else { FULL };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores);
    let file = file_of(sweep.name)?;
    let kept = if arguments.fresh { Kept::default() } else { Kept::read(&file)? };
    if !kept.jobs.is_empty() {
        eprintln!("{} jobs were done by an earlier call; --fresh does them again", kept.jobs.len());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        // A user who asks twice does not want to wait.
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(STOPPED));
        }
    })
    .context("cannot listen to Ctrl-C")?;

    if arguments.only_hostile {
        let is_well = damaged_disks(&sweep, arguments.hostile_seed, threads, &stop)?;
        return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let catalogue = Catalogue::new().map_err(|error| anyhow!("the releases: {error}"))?;
    let watcher = Watcher::new(file, kept, Arc::clone(&stop));
    let all = explore_observed(&catalogue, &stories(), &media(), sweep.effort, threads, &watcher);
    let (spent, file) = watcher.end()?;

    if watcher.is_stopped() {
        let kept = lock(&watcher.kept).jobs.len();
        println!("stopped; {kept} jobs are done and kept, the next call goes on from there");
        return Ok(ExitCode::from(STOPPED));
    }
    // A sweep that came to its end is not gone on with.
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let is_well = damaged_disks(&sweep, arguments.hostile_seed, threads, &stop)?;
    let swept = conclude(&sweep, &all, spent, threads);
    Ok(if is_well { swept } else { ExitCode::FAILURE })
}

/// From every state of a damaged disk there must be a way out. Counted apart: here the power is not
/// all that fails.
fn damaged_disks(sweep: &Sweep, first: u64, threads: usize, stop: &AtomicBool) -> Result<bool> {
    let began = Instant::now();
    let chain = Chain::new().map_err(|error| anyhow!("the releases: {error}"))?;
    let fields = hostile::Field::all(&chain);
    let seeds = first..first + sweep.hostile_states;
    let is_stopped = || stop.load(Ordering::Relaxed);
    let (counts, failures) = hostile::sweep(&fields, seeds, threads, &is_stopped);
    let line = |what: &str, count: u64| println!("{what:<44} {:>12}", grouped(count));
    line("states of damaged disks", counts.states);
    line("  changes by a writer of the disk", counts.damages);
    line("  commands after that", counts.commands);
    line("  that the power cut short", counts.cuts);
    line("  with bytes that are not read any more", counts.unread);
    line("  with a fault of the device that ended", counts.faults);
    line("  in which nothing whole was there to start", counts.dark);
    line("  from which the next update was confirmed", counts.updated);
    line("  with a medium that keeps no update", counts.worn);
    line("states without a way out", failures.len() as u64);
    for failure in failures.iter().take(20) {
        println!("{failure}\n    stillboot simulate --replay '{}'", failure.id);
    }
    println!("{:<44} {:>12.1}", "seconds for damaged disks", began.elapsed().as_secs_f64());
    let is_whole = counts.states == sweep.hostile_states;
    if !is_whole {
        println!("expected {} states of damaged disks", sweep.hostile_states);
    }
    Ok(is_whole && failures.is_empty() && counts.updated + counts.worn == counts.states)
}

/// Prints what came of it; success only if nothing was broken and enough was looked at.
fn conclude(sweep: &Sweep, all: &Summary, spent: Spent, threads: usize) -> ExitCode {
    let counts = &all.counts;
    let line = |what: &str, count: u64| println!("{what:<44} {:>12}", grouped(count));
    line("points with one cut", counts.depth_one);
    line("points with two cuts", counts.depth_two);
    line("points with a fault of the device", counts.faults);
    line("points together", counts.points());
    line("  on media with a log", all.log_counts.points());
    line("  on media with blocks", counts.points() - all.log_counts.points());
    line("  that were run", counts.run());
    line("  that were proven equal to one that was", counts.settled);
    line("states of disk and store after a cut, by story", counts.states);
    line("power-ons", counts.boots);
    line("programs, power-ons included", counts.programs);
    line("  in which the core met something new", counts.core_runs);
    line("points at which a promise was broken", counts.broken);
    let Spent { seconds, processor_seconds } = spent;
    println!("{:<44} {seconds:>12.1}", format!("seconds on {threads} threads"));
    println!("{:<44} {processor_seconds:>12.1}", "seconds of a processor");
    line("points a second", (counts.points() as f64 / seconds) as u64);
    line("points run a second", (counts.run() as f64 / seconds) as u64);
    // What a busy machine does not change.
    line("points a second of a processor", (counts.points() as f64 / processor_seconds) as u64);
    line("points run a second of a processor", (counts.run() as f64 / processor_seconds) as u64);
    for finding in &all.findings {
        println!("{finding}\n    stillboot simulate --replay '{}'", finding.id);
    }
    let mut is_well = counts.broken == 0;
    for (what, found, min) in [
        ("one cut", counts.depth_one, sweep.depth_one_min),
        ("two cuts", counts.depth_two, sweep.depth_two_min),
    ] {
        if found < min {
            println!("expected at least {min} points with {what}, there are {found}");
            is_well = false;
        }
    }
    println!(
        "note: {} points with one cut, {} with two, {} broken, {} points a second",
        counts.depth_one,
        counts.depth_two,
        counts.broken,
        (counts.points() as f64 / seconds) as u64,
    );
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where this very program keeps what it did. Its name has a hash of the program: what other code
/// came to must never count for this one.
fn file_of(sweep: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let code = fs::read(&program)
        .with_context(|| format!("cannot read this program's own file {}", program.display()))?;
    // It lies in `release` of the folder that cargo builds into.
    let folder = program.ancestors().nth(2).unwrap_or(Path::new("."));
    let hash = twox_hash::XxHash3_128::oneshot(&code);
    Ok(folder.join("prove").join(format!("{sweep}-{hash:032x}.json")))
}

/// What a sweep took, over all calls.
#[derive(Clone, Copy, Default)]
struct Spent {
    seconds: f64,
    processor_seconds: f64,
}

impl Spent {
    /// With what this call took, which began then.
    fn until_now(self, began: Instant) -> Self {
        let processor = clock_gettime(ClockId::ProcessCPUTime);
        let nanoseconds = processor.tv_nsec as f64 / 1e9;
        Self {
            seconds: self.seconds + began.elapsed().as_secs_f64(),
            processor_seconds: self.processor_seconds + processor.tv_sec as f64 + nanoseconds,
        }
    }
}

/// What is kept of a sweep that is not done.
#[derive(Default)]
struct Kept {
    /// By earlier calls.
    spent: Spent,
    jobs: BTreeMap<String, Value>,
}

impl Kept {
    fn read(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let read = || -> Result<Self> {
            let mut value: Value = serde_json::from_slice(&fs::read(file)?)?;
            let jobs: BTreeMap<String, Value> = serde_json::from_value(value["jobs"].take())?;
            for job in jobs.values() {
                summary_from(job).context("a job is not as expected")?;
            }
            let seconds = |name: &str| value[name].as_f64().context("no seconds");
            let spent = Spent {
                seconds: seconds("seconds")?,
                processor_seconds: seconds("processor_seconds")?,
            };
            Ok(Self { spent, jobs })
        };
        read().with_context(|| {
            format!("cannot go on from {}; --fresh starts over without it", file.display())
        })
    }

    /// Replaces the file in one step: whatever ends this program, a whole one is there.
    fn write(&self, file: &Path, spent: Spent) -> Result<()> {
        let write = || -> Result<()> {
            fs::create_dir_all(file.parent().context("it has no folder")?)?;
            let new = file.with_extension("new");
            let Spent { seconds, processor_seconds } = spent;
            let value = json!({
                "seconds": seconds,
                "processor_seconds": processor_seconds,
                "jobs": self.jobs,
            });
            fs::write(&new, value.to_string())?;
            Ok(fs::rename(new, file)?)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

fn value_of(summary: &Summary) -> Value {
    // Every field by its name, so that a new one cannot be forgotten here.
    let SweepCounts {
        depth_one,
        depth_two,
        faults,
        settled,
        states,
        boots,
        programs,
        core_runs,
        broken,
        outcomes,
    } = summary.counts;
    let counts = [
        depth_one, depth_two, faults, settled, states, boots, programs, core_runs, broken, outcomes,
    ];
    let finding = |Finding { id, broken }: &Finding| json!({ "id": id, "promise": broken.promise.heading(), "how": broken.how });
    let findings: Vec<Value> = summary.findings.iter().map(finding).collect();
    json!({ "counts": counts, "findings": findings })
}

fn summary_from(value: &Value) -> Option<Summary> {
    let counts: Vec<u64> =
        value["counts"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
    let [
        depth_one,
        depth_two,
        faults,
        settled,
        states,
        boots,
        programs,
        core_runs,
        broken,
        outcomes,
    ] = counts.try_into().ok()?;
    let finding = |value: &Value| {
        let heading = value["promise"].as_str()?;
        let promise = Promise::ALL.into_iter().find(|promise| promise.heading() == heading)?;
        let how = value["how"].as_str()?.to_owned();
        Some(Finding { id: value["id"].as_str()?.to_owned(), broken: Broken { promise, how } })
    };
    let findings = value["findings"].as_array()?.iter().map(finding).collect::<Option<_>>()?;
    let counts = SweepCounts {
        depth_one,
        depth_two,
        faults,
        settled,
        states,
        boots,
        programs,
        core_runs,
        broken,
        outcomes,
    };
    Some(Summary { counts, findings, ..Summary::default() })
}

/// Shows how far the sweep has come, and keeps what is done.
struct Watcher {
    file: PathBuf,
    kept: Mutex<Kept>,
    stop: Arc<AtomicBool>,
    /// What went wrong with the file; the sweep then ends.
    trouble: Mutex<Option<anyhow::Error>>,
    began: Instant,
    /// Of this call alone.
    points: AtomicU64,
    first_cuts: AtomicU64,
    first_cuts_planned: AtomicU64,
    first_cuts_known: AtomicU64,
    bar: Option<ProgressBar>,
    /// When something was shown last, in milliseconds from the beginning.
    shown: AtomicU64,
}

impl Watcher {
    fn new(file: PathBuf, kept: Kept, stop: Arc<AtomicBool>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            // The template is a constant: were it wrong, the default style would do.
            match ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        Self {
            file,
            kept: Mutex::new(kept),
            stop,
            trouble: Mutex::new(None),
            began: Instant::now(),
            points: AtomicU64::new(0),
            first_cuts: AtomicU64::new(0),
            first_cuts_planned: AtomicU64::new(0),
            first_cuts_known: AtomicU64::new(0),
            bar,
            shown: AtomicU64::new(0),
        }
    }

    /// What all calls took, and the file; or what went wrong with it.
    fn end(&self) -> Result<(Spent, &Path)> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(trouble) = lock(&self.trouble).take() {
            return Err(trouble);
        }
        Ok((lock(&self.kept).spent.until_now(self.began), &self.file))
    }

    fn show(&self) {
        let now = self.began.elapsed();
        let every = if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        let shown = self.shown.load(Ordering::Relaxed);
        let millis = now.as_millis() as u64;
        let is_due = millis >= shown + every.as_millis() as u64;
        // Of several threads one.
        let mine = |from: u64| {
            self.shown.compare_exchange(from, millis, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if !is_due || !mine(shown) {
            return;
        }
        let (points, cuts) =
            (self.points.load(Ordering::Relaxed), self.first_cuts.load(Ordering::Relaxed));
        let known = self.first_cuts_known.load(Ordering::Relaxed);
        let planned = self.first_cuts_planned.load(Ordering::Relaxed);
        let seconds = now.as_secs_f64();
        let left = planned.saturating_sub(known + cuts) as f64 * seconds / cuts.max(1) as f64;
        let rate = grouped((points as f64 / seconds) as u64);
        let text = format!(
            "{} points, {rate} a second, {}:{:02} left",
            grouped(points),
            left as u64 / 60,
            left as u64 % 60
        );
        if let Some(bar) = &self.bar {
            bar.set_length(planned);
            bar.set_position(known + cuts);
            bar.set_message(text);
        } else {
            eprintln!("{:3} %  {text}", (known + cuts) * 100 / planned.max(1));
        }
    }
}

impl Observer for Watcher {
    fn planned(&self, _jobs: usize, first_cuts: u64) {
        self.first_cuts_planned.store(first_cuts, Ordering::Relaxed);
    }

    fn known(&self, job: &str) -> Option<Summary> {
        let summary = summary_from(lock(&self.kept).jobs.get(job)?)?;
        self.first_cuts_known.fetch_add(summary.counts.depth_one, Ordering::Relaxed);
        Some(summary)
    }

    fn points(&self, points: u64, first_cuts: u64) {
        self.points.fetch_add(points, Ordering::Relaxed);
        self.first_cuts.fetch_add(first_cuts, Ordering::Relaxed);
        self.show();
    }

    fn done(&self, job: &str, summary: &Summary) {
        let mut kept = lock(&self.kept);
        kept.jobs.insert(job.to_owned(), value_of(summary));
        let spent = kept.spent.until_now(self.began);
        if let Err(trouble) = kept.write(&self.file, spent) {
            lock(&self.trouble).get_or_insert(trouble);
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A thread that panicked has ended the program; what it held is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
