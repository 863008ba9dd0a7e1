//! Switches the known bugs of the core on, one at a time: the simulator must catch each of them.
//!
//! `cargo xtask canaries` builds this with the right flags and runs it. It fails if a bug is not
//! caught. It also fails if anything is found with no bug switched on: a check that fails then
//! would catch everything, and so prove nothing.

#[cfg(not(stillboot_canary))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "expected a build with RUSTFLAGS=\"--cfg stillboot_canary\": run cargo xtask canaries"
    );
    std::process::ExitCode::from(2)
}

#[cfg(stillboot_canary)]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    use std::time::Instant;

    use stillboot::canary::Canary;

    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (turn, parts) = match &arguments[..] {
        [] => (0, 1),
        [name, turn, parts] if name == "--part" => (turn.parse()?, parts.parse::<usize>()?.max(1)),
        other => {
            return Err(format!("expected --part TURN PARTS or nothing, found {other:?}").into());
        }
    };
    let chosen: Vec<_> = Canary::ALL
        .into_iter()
        .enumerate()
        .filter(|(number, _)| (number + turn) % parts == 0)
        .map(|(_, canary)| canary)
        .collect();
    let tests = Tests::new()?;
    let mut failed = 0;
    println!("{:<24}{:<15}{:<9}point", "bug", "promise", "seconds");
    for canary in chosen.iter().copied() {
        let start = Instant::now();
        Canary::choose(Some(canary));
        let finding = tests.first();
        Canary::choose(None);
        let name = format!("{canary:?}");
        let seconds = start.elapsed().as_secs_f64();
        match finding {
            Some((id, broken)) => {
                println!("{name:<24}{:<15}{seconds:<9.1}{id}", broken.promise.heading());
            }
            None => {
                failed += 1;
                println!("{name:<24}{:<15}{seconds:<9.1}", "NOT CAUGHT");
            }
        }
    }
    let start = Instant::now();
    let finding = tests.part(turn, parts).first();
    let seconds = start.elapsed().as_secs_f64();
    let promise = if finding.is_some() { "FALSE ALARM" } else { "-" };
    let point = finding.map_or(String::new(), |(id, broken)| format!("{id}: {}", broken.how));
    failed += usize::from(!point.is_empty());
    println!("{:<24}{promise:<15}{seconds:<9.1}{point}", "(none)");
    let part = if parts > 1 { "a sample: " } else { "" };
    println!("note: {part}{} of {} bugs caught", chosen.len().saturating_sub(failed), chosen.len());
    Ok(std::process::ExitCode::from(u8::from(failed > 0)))
}

/// What looks for bugs: damaged disks, stories with power cuts, random walks; in this order, the
/// quick ones first.
#[cfg(stillboot_canary)]
struct Tests {
    chain: &'static stillboot_sim::walk::Chain,
    fields: Vec<stillboot_sim::hostile::Field<'static>>,
    catalogue: stillboot_sim::story::Catalogue,
    stories: Vec<stillboot_sim::story::Story>,
    /// Which damaged disks, and which walks.
    disks: std::ops::Range<u64>,
    walks: std::ops::Range<u64>,
}

#[cfg(stillboot_canary)]
impl Tests {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        // For as long as the program runs; the fields borrow it.
        let chain: &'static _ = Box::leak(Box::new(stillboot_sim::walk::Chain::new()?));
        Ok(Self {
            chain,
            fields: stillboot_sim::hostile::Field::all(chain),
            catalogue: stillboot_sim::story::Catalogue::new()?,
            stories: stillboot_sim::story::stories(),
            disks: 0..2000,
            walks: 0..24,
        })
    }

    /// One part of them: without a bug all of it is looked at, to the end.
    fn part(mut self, turn: usize, parts: usize) -> Self {
        let mut number = turn;
        self.stories.retain(|_| {
            number += 1;
            number % parts == 0
        });
        let part = |range: std::ops::Range<u64>| {
            let len = range.end / parts as u64;
            let first = (turn % parts) as u64 * len;
            first..first + len
        };
        (self.disks, self.walks) = (part(self.disks), part(self.walks));
        self
    }

    /// The first broken promise.
    fn first(&self) -> Option<(String, stillboot_sim::oracle::Broken)> {
        self.damaged().or_else(|| self.cut()).or_else(|| self.walked())
    }

    fn damaged(&self) -> Option<(String, stillboot_sim::oracle::Broken)> {
        let checked =
            self.disks.clone().map(|seed| stillboot_sim::hostile::check(&self.fields, seed));
        checked
            .into_iter()
            .find_map(|checked| checked.failure)
            .map(|found| (found.id, found.broken))
    }

    fn cut(&self) -> Option<(String, stillboot_sim::oracle::Broken)> {
        use stillboot_sim::explore::{Effort, explore, media};

        let effort = Effort {
            tears: 8,
            second_every: 0,
            second_torn_every: 0,
            fault_every: 1,
            ..Effort::QUICK
        };
        let few: Vec<_> = media()
            .into_iter()
            .filter(|medium| ["nor4", "block512", "cache512", "log8k"].contains(&medium.name))
            .collect();
        self.stories.iter().find_map(|story| {
            let one = std::slice::from_ref(story);
            let summary = explore(&self.catalogue, one, &few, effort, few.len(), &|_, _| {});
            summary.findings.into_iter().next().map(|found| (found.id, found.broken))
        })
    }

    fn walked(&self) -> Option<(String, stillboot_sim::oracle::Broken)> {
        let medium = stillboot_sim::walk::media()[0];
        let walk = |seed| stillboot_sim::walk::walk(self.chain, medium, seed, 400);
        self.walks.clone().find_map(|seed| walk(seed).failure).map(|found| (found.id, found.broken))
    }
}
