//! `cargo xtask core-tree`: what is compiled into the core on a microcontroller stays without an
//! operating system, a heap and an older copy of a package.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The core's features, each looked at by itself.
const FEATURES: [&str; 6] = ["", "async", "defmt", "embedded-storage", "log", "serde"];

/// What must not be below the core, and why.
const BANNED: &[Ban] = &[
    Ban {
        name: "getrandom",
        below: None,
        reason: "a loader has no entropy to ask for; keys and randomness come in as arguments",
    },
    Ban {
        name: "heapless",
        below: Some((0, 8)),
        reason: "the core uses 0.9; an older one beside it is the same code twice",
    },
];

/// Features that say a crate needs an operating system or a heap.
const BANNED_FEATURES: &[&str] = &["std", "alloc", "use-std"];

/// A crate that must not be below the core.
struct Ban {
    name: &'static str,
    /// Only versions below this major and minor number; `None` bans all.
    below: Option<(u64, u64)>,
    reason: &'static str,
}

/// Checks everything and reports all that is wrong at once.
///
/// # Errors
/// Something banned is in the tree.
pub fn run() -> Result<()> {
    let mut wrong = BTreeSet::new();
    for features in FEATURES {
        wrong.extend(core_tree(features)?);
    }
    if wrong.is_empty() {
        println!("note: nothing banned is below the core, with any of its features");
        return Ok(());
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    bail!("expected nothing banned below the core, found {}", wrong.len());
}

/// Looks at what is compiled into the core on a microcontroller. `cargo tree` and not the metadata
/// is asked, because the metadata mixes in features that only tests or the host's tools switch on.
fn core_tree(features: &str) -> Result<Vec<String>> {
    let tree = shell::output(shell::cargo().args([
        "tree",
        "--locked",
        "--package",
        "stillboot",
        "--features",
        features,
        "--target",
        "thumbv7em-none-eabi",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
        "--no-dedupe",
    ]))?;
    let packages: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    // The core alone is one line; a format that we no longer understand must not look clean.
    if packages.len() < 2 {
        bail!("cargo tree shows no dependencies of the core:\n{tree}");
    }
    let mut wrong = Vec::new();
    for line in packages {
        wrong.extend(judge_core_package(line)?);
    }
    Ok(wrong)
}

/// Judges one line such as `heapless v0.9.3|serde,std`.
fn judge_core_package(line: &str) -> Result<Vec<String>> {
    let (package, features) = line.split_once('|').context("cargo tree changed its format")?;
    let mut words = package.split(' ');
    let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u64>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("cargo tree shows no version in `{line}`");
    };

    let mut wrong = Vec::new();
    for ban in BANNED.iter().filter(|ban| ban.name == name) {
        if ban.below.is_none_or(|limit| (major, minor) < limit) {
            wrong.push(format!("{package} is below the core: {}", ban.reason));
        }
    }
    for feature in features.split(',').filter(|feature| BANNED_FEATURES.contains(feature)) {
        wrong.push(format!("{package} is below the core with its feature `{feature}`"));
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_packages_and_features_are_found() {
        let judge = |line| judge_core_package(line).expect("the line has the right format");
        assert_eq!(judge("getrandom v0.4.3|").len(), 1);
        assert_eq!(judge("heapless v0.7.17|serde").len(), 1);
        assert_eq!(judge("heapless v0.9.3|serde").len(), 0);
        assert_eq!(judge("serde v1.0.229|derive,std").len(), 1);
        assert!(judge_core_package("serde").is_err());
        assert!(judge_core_package("serde|std").is_err());
    }
}
