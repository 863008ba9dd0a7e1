//! `stillboot demo`: the whole life of one update on a disk image in a temporary folder.
//!
//! Everything is real except the machine: a GPT image, the bundles, the signatures, and the core
//! that a loader and an agent link. The demo simulates the rest: the power cuts, the system that
//! reports health or does not, and an attacker who tampers with bundles. The demo counts how often
//! each of its promises was kept; the counts stand in a table at the end.

mod drive;
mod inputs;
mod promises;
mod release;
mod story;
mod timeline;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;
use stillboot_sim::disk::Random;

use crate::failure::{Exit, Failure};
use crate::output::{Output, plain, with_schema};
use promises::{Observed, all_kept, table, to_json};
use story::Broken;
use timeline::{Timeline, Tone, count};

/// What `stillboot demo` is told.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Options {
    /// A kernel to pack; up to three times for successive versions, oldest first
    #[arg(long, value_name = "FILE")]
    pub kernel: Vec<PathBuf>,
    /// The initramfs that goes with it; once for all kernels, or once for each
    #[arg(long, value_name = "FILE")]
    pub initrd: Vec<PathBuf>,
    /// Replay the run that printed this seed
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Keep the disk image, the bundles and the roots, and say where
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    pub json: bool,
}

/// Plays the demo; fails if a promise was broken.
pub fn demo(options: &Options, out: &Output) -> Result<(), Failure> {
    // It prints its own table or object, which says what broke.
    let options = Options { json: options.json || out.json, ..options.clone() };
    let kept = run(&options)
        .map_err(|error| Failure::new(Exit::Failed, "demo", format_args!("{error:#}")))?;
    if !kept {
        out.exit_with(Exit::Failed);
    }
    Ok(())
}

/// Plays the demo. Returns whether every promise was kept.
///
/// # Errors
/// The inputs cannot be read, or the image cannot be made: then nothing can be said of promises.
fn run(options: &Options) -> Result<bool> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => new_seed()?,
    };
    let mut timeline = Timeline::start(options.json);
    let style = timeline.style();
    // The seed is printed first, so that every run can be replayed.
    timeline.say(&format!("{} seed {seed}", style.bold("stillboot demo")));
    let mut random = Random::new(seed);
    let inputs = inputs::find(&options.kernel, &options.initrd, &mut random)?;
    let names: Vec<&str> = inputs.systems.iter().map(|system| system.name.as_str()).collect();
    timeline.say(&format!("{}\n  {}\n", inputs.origin, names.join(", ")));

    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut observed = Observed::default();
    let ended = story::play(
        folder.path(),
        &inputs,
        &mut random,
        options.keep,
        &mut timeline,
        &mut observed,
    );
    let reached_the_end = match ended {
        Ok(()) => true,
        // The table shows the result: promises whose scene was not reached are not kept.
        Err(error) if error.is::<Broken>() => {
            timeline.event(Tone::Harm, "stopped", error.to_string());
            false
        }
        Err(error) => return Err(error),
    };
    let promises = observed.promises();
    let kept = reached_the_end && all_kept(&promises);
    let seconds = timeline.seconds();

    let place = match options.keep {
        true => Some(folder.keep()),
        false => None,
    };
    if options.json {
        let report = with_schema(json!({
            "seed": seed,
            "input": { "origin": inputs.origin, "systems": names },
            "events": timeline.events(),
            "promises": to_json(&promises),
            "kept": kept,
            "seconds": seconds,
            "folder": place.as_deref().map(crate::view::path),
        }));
        timeline.print(&plain(&report));
    }
    timeline.say(&format!("\n{}", table(&promises, style)));
    let broken = promises.iter().filter(|promise| !promise.kept).count() as u64;
    let verdict = match kept {
        true => "every promise was kept".to_owned(),
        false => format!("{} NOT kept", count(broken, "promise")),
    };
    let verdict = style.verdict(kept, &verdict);
    timeline.say(&format!("{verdict} in {seconds:.1} s, with seed {seed}"));
    if let Some(place) = place {
        timeline.say(&format!("kept in {}: {}", place.display(), list(&place)?));
    }
    timeline.heard().context("cannot write to standard output")?;
    Ok(kept)
}

/// Short enough to be typed again.
fn new_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(u32::from_le_bytes(bytes).into())
}

/// The names of the files in `folder`.
fn list(folder: &Path) -> Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(", "))
}
