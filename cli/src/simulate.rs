//! `simulate`: cuts the power at every instant of every story, on every kind of disk.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;
use serde_json::{Value, json};
use stillboot_sim::explore::{self, Effort, Medium, Observer, Summary, SweepCounts};
use stillboot_sim::hostile;
use stillboot_sim::oracle::Broken;
use stillboot_sim::report::{self, About};
use stillboot_sim::story::{self, Catalogue, Story};
use stillboot_sim::walk::{self, chain::Chain};

use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::Output;
use crate::progress::Progress;

/// Comes before the identity of a point.
const REPLAY: &str = "stillboot simulate --replay";
/// What the page shows first, if it is there: writes that tear and erases that tear.
const SHOWN: &str = "nor8";
/// How the last line of a replay begins if a promise was broken.
const BROKEN: &str = "BROKEN";

/// Options of `simulate`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    stillboot simulate --report report.html\n  \
    stillboot simulate --story update --media nor --depth 2\n  \
    stillboot simulate --seed 7 --steps 2000 --media block\n  \
    stillboot simulate --replay update/nor8/s0.12/prefix8\n\n\
    One story without --report is cut in full: inside every change at every boundary, and with\n\
    --depth 2 after each of these cuts again, as `cargo xtask prove` does for all stories. Several\n\
    stories, and a page, are a sample of it, as the tests take; the output says which it was.\n\n\
    Exits 1 if a promise was broken.")]
pub struct SimulateArgs {
    /// A story to cut the power in; may be repeated, by default all. One story without --report is
    /// cut in full, otherwise each is a sample
    #[arg(long, value_name = "NAME")]
    story: Vec<String>,
    /// A kind of disk: nor, block, cache, pair (two disks), all, or one of them such as nor8,
    /// block512, cache4096; may be given more than once
    #[arg(long, value_name = "NAME", default_value = "all")]
    media: Vec<String>,
    /// 1: cuts in the story. 2: also cuts while the device recovers from one
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=2))]
    depth: u8,
    /// Replays one point, by the identity that was printed with it, and prints each step
    #[arg(long, value_name = "ID",
        conflicts_with_all = ["story", "media", "depth", "report", "seed", "steps"])]
    replay: Option<String>,
    /// Instead of the stories, run a long random life on every kind of disk; the same seed gives
    /// the same life
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["story", "depth", "report"])]
    seed: Option<u64>,
    /// How many events the random life has
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "seed")]
    steps: usize,
    /// Writes a page with a picture of every story
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Explores, or replays one point.
pub fn simulate(args: &SimulateArgs, out: &Output) -> Result<(), Failure> {
    let stories = stories(&args.story)?;
    let media = media(&args.media)?;
    if let Some(id) = &args.replay {
        return replay(id, out);
    }
    if let Some(seed) = args.seed {
        return walk(seed, args.steps, &media, out);
    }
    let Some(path) = &args.report else {
        let summary = explore(&Catalogue::new()?, &stories, &media, args, out);
        return tell(&summary, args, out);
    };
    // The file of the page is created before the work begins, so that an error shows early.
    let summary = files::replace(path, &[], |file| {
        let summary = explore(&Catalogue::new()?, &stories, &media, args, out);
        let command = command(args);
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            command: &command,
            replay: REPLAY,
            medium: SHOWN,
            sample: (!is_whole(args)).then(|| extent(args)),
        };
        file.write_all(report::html(&summary, &about).as_bytes())
            .map_err(|error| Failure::system("write", path, &error))?;
        Ok(summary)
    })?;
    out.line(format_args!("the pictures are in {}", path.display()));
    tell(&summary, args, out)
}

/// The stories of these names, all if there are none.
fn stories(names: &[String]) -> Result<Vec<Story>, Failure> {
    let mut stories = story::stories();
    for name in names {
        if stories.iter().all(|story| story.name != name) {
            let known: Vec<_> = stories.iter().map(|story| story.name).collect();
            return Err(Failure::usage(format_args!(
                "expected a story for --story, found `{name}`; there are {}",
                known.join(", ")
            )));
        }
    }
    stories.retain(|story| names.is_empty() || names.iter().any(|name| name == story.name));
    Ok(stories)
}

/// The media of these names, which may be names of kinds.
fn media(names: &[String]) -> Result<Vec<Medium>, Failure> {
    let mut media = explore::media();
    let is_meant = |medium: &Medium, name: &str| {
        let kind = medium.name.trim_end_matches(|c: char| c.is_ascii_digit());
        name == "all" || name == medium.name || name == kind
    };
    for name in names {
        if !media.iter().any(|medium| is_meant(medium, name)) {
            let known: Vec<_> = media.iter().map(|medium| medium.name).collect();
            return Err(Failure::usage(format_args!(
                "expected a kind of disk for --media, found `{name}`; there are nor, block, \
                 cache, pair, all, {}",
                known.join(", ")
            )));
        }
    }
    media.retain(|medium| names.iter().any(|name| is_meant(medium, name)));
    Ok(media)
}

fn explore(
    catalogue: &Catalogue,
    stories: &[Story],
    media: &[Medium],
    args: &SimulateArgs,
    out: &Output,
) -> Summary {
    let effort = if is_whole(args) { Effort::PROVE } else { Effort::QUICK };
    let effort = Effort {
        second_every: if args.depth == 1 { 0 } else { effort.second_every },
        second_torn_every: if args.depth == 1 { 0 } else { effort.second_torn_every },
        draws: args.report.is_some(),
        ..effort
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let progress = Shown(Mutex::new((Progress::of_parts(out, "cuts", 0), 0)));
    explore::explore_observed(catalogue, stories, media, effort, threads, &progress)
}

/// Whether there are all cuts, and not a sample of them: of all stories that takes many minutes, and
/// of one as well where each cut is drawn.
fn is_whole(args: &SimulateArgs) -> bool {
    args.story.len() == 1 && args.report.is_none()
}

/// Which cuts there were.
fn extent(args: &SimulateArgs) -> &'static str {
    match (is_whole(args), args.depth) {
        (true, 1) => "the whole story: cuts at every change, inside it at every boundary",
        (true, _) => {
            "the whole story: cuts at every change, inside it at every boundary, and after each of \
             them at every change of the recovery, inside it at a few places"
        }
        (false, 1) => {
            "a sample: cuts at every change, inside it at up to 160 places of a sort; one story \
             alone is cut in full"
        }
        (false, _) => {
            "a sample: cuts at every change, inside it at up to 160 places of a sort, and after one \
             in 100 or more of them in the recovery; one story alone is cut in full"
        }
    }
}

/// The progress, and how many first cuts are done.
struct Shown(Mutex<(Progress, u64)>);

impl Observer for Shown {
    fn planned(&self, _jobs: usize, first_cuts: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.set_total(first_cuts);
    }

    fn points(&self, _points: u64, first_cuts: u64) {
        let (progress, done) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *done += first_cuts;
        progress.set(*done);
    }
}

/// What an exploration came to.
fn tell(summary: &Summary, args: &SimulateArgs, out: &Output) -> Result<(), Failure> {
    let counts = &summary.counts;
    out.line(extent(args));
    out.line(format_args!(
        "{} cuts, {} cuts in the recovery from one, {} requests that failed: {} points",
        counts.depth_one,
        counts.depth_two,
        counts.faults,
        counts.points(),
    ));
    out.line(format_args!(
        "{} of them run, {} like one that was; {} power-ons, {} states of disk and store, by story",
        counts.run(),
        counts.settled,
        counts.boots,
        counts.states,
    ));
    let value = to_json(counts, summary, args);
    if counts.broken == 0 {
        out.line("every promise holds");
        out.result(|| value);
        return Ok(());
    }
    for finding in &summary.findings {
        out.line(format_args!("{finding}\n  {REPLAY} '{}'", finding.id));
    }
    let message = format!("a promise was broken at {} points", counts.broken);
    let mut failure = Failure::new(Exit::Failed, "broken", message);
    failure.details = Some(value);
    Err(failure)
}

fn to_json(counts: &SweepCounts, summary: &Summary, args: &SimulateArgs) -> Value {
    let findings = summary.findings.iter().map(|found| finding(&found.id, &found.broken));
    let findings: Vec<_> = findings.collect();
    json!({
        "points": counts.points(),
        "whole": is_whole(args),
        "cuts": counts.depth_one,
        "second_cuts": counts.depth_two,
        "faults": counts.faults,
        "run": counts.run(),
        "settled": counts.settled,
        "states": counts.states,
        "power_ons": counts.boots,
        "broken": counts.broken,
        "findings": findings,
        "report": args.report.as_ref().map(|path| path.display().to_string()),
    })
}

/// A life by chance on each medium.
fn walk(seed: u64, steps: usize, media: &[Medium], out: &Output) -> Result<(), Failure> {
    let media: Vec<_> = media.iter().filter(|medium| !medium.is_pair()).collect();
    if media.is_empty() {
        return Err(Failure::usage(
            "expected a kind with one disk for --seed, found a pair: lives by chance have one",
        ));
    }
    let chain = Chain::new()?;
    let mut progress = Progress::of_parts(out, "lives", media.len() as u64);
    let mut counts = walk::WalkCounts::default();
    let mut failures = Vec::new();
    for (done, medium) in media.iter().enumerate() {
        progress.set(done as u64);
        let walked = walk::walk(&chain, **medium, seed, steps);
        counts.add(&walked.counts);
        failures.extend(walked.failure);
    }
    drop(progress);
    out.line(format_args!(
        "seed {seed}: {} events, {} power-ons, {} cuts, {} installations, {} faults",
        counts.events, counts.power_ons, counts.cuts, counts.installs, counts.faults,
    ));
    let findings: Vec<_> = failures.iter().map(|found| finding(&found.id, &found.broken)).collect();
    let value = json!({
        "seed": seed,
        "events": counts.events,
        "power_ons": counts.power_ons,
        "cuts": counts.cuts,
        "installs": counts.installs,
        "faults": counts.faults,
        "broken": failures.len(),
        "findings": findings,
    });
    if failures.is_empty() {
        out.line("every promise holds");
        out.result(|| value);
        return Ok(());
    }
    for failure in &failures {
        out.line(format_args!("{failure}\n  {REPLAY} '{}'", failure.id));
    }
    let message = format!("a promise was broken in {} lives", failures.len());
    let mut failure = Failure::new(Exit::Failed, "broken", message);
    failure.details = Some(value);
    Err(failure)
}

fn finding(id: &str, broken: &Broken) -> Value {
    json!({ "id": id, "promise": broken.promise.heading(), "how": broken.how })
}

/// One point again, line by line.
fn replay(id: &str, out: &Output) -> Result<(), Failure> {
    let lines = if id.starts_with("walk/") {
        walk::replay(&Chain::new()?, id)
    } else if id.starts_with("hostile/") {
        let chain = Chain::new()?;
        hostile::replay(&hostile::Field::all(&chain), id)
    } else {
        explore::replay(&Catalogue::new()?, &story::stories(), id)
    };
    let lines = lines.map_err(|error| {
        Failure::usage(format_args!("expected the identity of a point, found `{id}`: {error}"))
    })?;
    for line in &lines {
        out.line(line);
    }
    let value = json!({ "id": id, "lines": lines });
    if lines.last().is_some_and(|line| line.starts_with(BROKEN)) {
        let mut failure = Failure::new(Exit::Failed, "broken", "a promise was broken");
        failure.details = Some(value);
        return Err(failure);
    }
    out.result(|| value);
    Ok(())
}

/// The command line that makes the same page.
fn command(args: &SimulateArgs) -> String {
    let stories = args.story.iter().map(|name| format!(" --story {name}"));
    let media = args.media.iter().filter(|name| *name != "all");
    let media = media.map(|name| format!(" --media {name}"));
    let depth = (args.depth != 1).then(|| format!(" --depth {}", args.depth));
    let parts: String = stories.chain(media).chain(depth).collect();
    format!("stillboot simulate{parts} --report report.html")
}
