//! Switches the known bugs of the core on, one at a time: the simulator must catch each of them.
//!
//! `cargo xtask canaries` runs this as it must be built. It fails if a bug is not caught, and if
//! anything is found with none of them switched on: then what catches them would catch everything.

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
    use stillboot_sim::explore::Effort;
    use stillboot_sim::story::{Catalogue, stories};

    let catalogue = Catalogue::new()?;
    let stories = stories();
    let effort =
        Effort { tears: 8, second_every: 0, second_torn_every: 0, fault_every: 1, ..Effort::QUICK };
    let mut failed = 0;
    println!("{:<22}{:<15}{:<9}point", "bug", "promise", "seconds");
    for canary in Canary::ALL {
        let start = Instant::now();
        Canary::choose(Some(canary));
        let finding = first(&catalogue, &stories, effort);
        let name = format!("{canary:?}");
        let seconds = start.elapsed().as_secs_f64();
        match finding {
            Some(found) => {
                println!(
                    "{name:<22}{:<15}{seconds:<9.1}{}",
                    found.broken.promise.heading(),
                    found.id
                );
            }
            None => {
                failed += 1;
                println!("{name:<22}{:<15}{seconds:<9.1}", "NOT CAUGHT");
            }
        }
    }
    Canary::choose(None);
    let start = Instant::now();
    let finding = first(&catalogue, &stories, effort);
    let seconds = start.elapsed().as_secs_f64();
    let promise = if finding.is_some() { "FALSE ALARM" } else { "-" };
    let point = finding.map_or(String::new(), |found| found.to_string());
    failed += usize::from(!point.is_empty());
    println!("{:<22}{promise:<15}{seconds:<9.1}{point}", "(none)");
    println!("{} of {} bugs caught", Canary::ALL.len() - failed, Canary::ALL.len());
    Ok(std::process::ExitCode::from(u8::from(failed > 0)))
}

/// The first broken promise, story by story.
#[cfg(stillboot_canary)]
fn first(
    catalogue: &stillboot_sim::story::Catalogue,
    stories: &[stillboot_sim::story::Story],
    effort: stillboot_sim::explore::Effort,
) -> Option<stillboot_sim::explore::Finding> {
    use stillboot_sim::explore::{explore, media};

    let few: Vec<_> = media()
        .into_iter()
        .filter(|medium| ["nor4", "block512", "cache512"].contains(&medium.name))
        .collect();
    stories.iter().find_map(|story| {
        let one = std::slice::from_ref(story);
        let summary = explore(catalogue, one, &few, effort, few.len(), &|_, _| {});
        summary.findings.into_iter().next()
    })
}
