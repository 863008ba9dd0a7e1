//! Samples of what takes long: the test command runs a part of it, which the commit chooses, so that
//! successive commits run all of it. `cargo xtask test --full` runs the whole.

use anyhow::{Context, Result};

use crate::shell;

/// The variable that chooses another sample, to repeat one that failed.
const VARIABLE: &str = "STILLBOOT_SAMPLE";

/// The number that chooses: from the commit, or from [`VARIABLE`]. Prints it.
///
/// # Errors
/// The variable is set and is no number.
pub fn turn() -> Result<usize> {
    let (turn, source) = match std::env::var(VARIABLE) {
        Ok(text) => {
            let turn = text.parse().with_context(|| {
                format!("{VARIABLE} is `{text}`: expected a number, as an earlier run printed it")
            })?;
            (turn, "the variable")
        }
        Err(_) => (of_commit(), "the commit"),
    };
    println!(
        "sample {turn}, chosen by {source}; {VARIABLE}={turn} repeats it, \
         `cargo xtask test --full` runs all"
    );
    Ok(turn)
}

/// How many commits there are: it rises by one with each, so that parts follow one another. 0
/// without a history, as in an archive of the sources.
fn of_commit() -> usize {
    let mut git = std::process::Command::new("git");
    let count = git.current_dir(shell::root()).args(["rev-list", "--count", "HEAD"]);
    let text = shell::output(count).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

/// One of each kind.
///
/// # Panics
/// A kind is empty; that is a mistake in this program.
pub fn one_of_each<'a>(kinds: &[&[&'a str]], turn: usize) -> Vec<&'a str> {
    kinds.iter().map(|kind| kind[turn % kind.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_each_sample_and_every_member_has_its_turn() {
        let kinds: [&[&str]; 3] = [&["a"], &["b", "c"], &["d", "e", "f"]];
        let samples: Vec<_> = (7..13).map(|turn| one_of_each(&kinds, turn)).collect();
        for kind in kinds {
            assert!(samples.iter().all(|sample| kind.iter().any(|name| sample.contains(name))));
            assert!(kind.iter().all(|name| samples.iter().any(|sample| sample.contains(name))));
        }
    }
}
