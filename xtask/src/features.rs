//! `cargo xtask features`: the rejection suite through the core with every set of its features.
//!
//! A feature that is built together with others may find by chance what it needs, and may lose a
//! check that the others bring. So every set is built by itself, into a program that depends on the
//! core alone (`tests/powerset`), and that program refuses every bundle that must be refused. The
//! bundles are those of `tests/attacks/rejection`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{sample, shell};

/// The features of the core.
const FEATURES: &[&str] = &["async", "defmt", "embedded-storage", "keysets", "log", "serde"];

/// The test that leaves the bundles as a file, and the file.
const TABLE_TEST: &str = "the_table_is_left_for_builds_with_fewer_features";
const TABLE: &str = "tmp/rejection-table";

/// Builds the suite with each set of features and runs it.
///
/// # Errors
/// A set does not compile, or lets something pass.
pub fn run(is_sample: bool) -> Result<()> {
    let turn = if is_sample { Some(sample::turn()?) } else { None };
    let table = leave_table()?;
    let target = shell::target().join("powerset");
    let mut sets = 0;
    let mut refusals = 0;
    let mut counts = [None; 2];
    let last = (1_u32 << FEATURES.len()) - 1;
    for set in 0..=last {
        // A sample: none, all, and one in six of the others.
        let is_chosen = |turn: usize| set == 0 || set == last || set as usize % 6 == turn % 6;
        if !turn.is_none_or(is_chosen) {
            continue;
        }
        let has = |name: &str| {
            FEATURES.iter().position(|one| *one == name).is_some_and(|at| set >> at & 1 == 1)
        };
        let names: Vec<_> = FEATURES.iter().copied().filter(|name| has(name)).collect();
        let names = names.join(",");
        shell::run(
            shell::cargo()
                .args(["build", "--quiet", "-p", "stillboot-powerset", "--profile", "powerset"])
                .args(["--no-default-features", "--features", &names])
                .env("RUSTFLAGS", "-Dwarnings")
                .env("CARGO_TARGET_DIR", &target),
        )?;
        let mut suite = Command::new(target.join("powerset/powerset"));
        let text = shell::output(suite.arg(&table))
            .with_context(|| format!("with the features `{names}`"))?;
        let count: Option<u32> = text.split(' ').next().and_then(|word| word.parse().ok());
        let Some(count) = count else { bail!("expected a number of refusals, found `{text}`") };
        println!("{count:>5} refusals with `{names}`");
        // One key signs everything where there are no keysets: what is about keys and roles is then
        // no case. Nothing else makes a difference.
        let known = &mut counts[usize::from(has("keysets"))];
        if *known.get_or_insert(count) != count {
            bail!(
                "with the features `{names}` {count} bundles were refused, with others {known:?}"
            );
        }
        sets += 1;
        refusals += count;
    }
    if counts.is_sorted_by(|fewer, more| fewer >= more) {
        bail!("expected more cases with keysets than without, found {counts:?}");
    }
    let part = if is_sample { "a sample: " } else { "" };
    println!("note: {part}{sets} sets of features, {refusals} refusals");
    Ok(())
}

/// Lets the tests leave the bundles; gives the file.
fn leave_table() -> Result<PathBuf> {
    // With the whole workspace, as the tests are built: nothing is compiled again.
    let words = ["test", "--quiet", "--workspace", "--test", "attacks", TABLE_TEST];
    shell::run(shell::cargo().args(words))?;
    let table = shell::target().join(TABLE);
    if !table.is_file() {
        bail!("{} was not left by `{TABLE_TEST}`", table.display());
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_the_core_is_listed() {
        let text = std::fs::read_to_string(shell::root().join("core/Cargo.toml"))
            .expect("the core's manifest is readable");
        let manifest: toml::Table = text.parse().expect("it is valid");
        let features = manifest["features"].as_table().expect("it has features");
        let mut names: Vec<_> =
            features.keys().map(String::as_str).filter(|name| *name != "default").collect();
        names.sort_unstable();
        assert_eq!(names, FEATURES);
    }
}
