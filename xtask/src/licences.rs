//! `cargo xtask licences`: may we ship what we depend on, and does the core stay small and pure?

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use spdx::{Expression, LicenseReq, ParseMode};

use crate::shell;

/// Licences that ask for no more than a notice. An expression passes when a choice among these
/// satisfies it.
const ACCEPTED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that may have another licence, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    // MPL-2.0 asks for the source of its own files, which are not changed and stay apart.
    ("ucs2", "there is no `uefi` without it"),
    ("alterable_logger", "only the test that decodes logs of the microcontroller has it"),
    ("colored", "only the test that decodes logs of the microcontroller has it"),
];

/// The workspaces whose dependencies are looked at.
const WORKSPACES: &[&str] =
    &["Cargo.toml", "xtask/size/Cargo.toml", "examples/mcu-bootloader/Cargo.toml"];

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
/// A licence is missing or not acceptable, or something banned is in the tree.
pub fn run() -> Result<()> {
    let mut wrong = BTreeSet::new();
    let mut checked = 0;
    for manifest in WORKSPACES {
        let metadata = MetadataCommand::new()
            .manifest_path(shell::root().join(manifest))
            .other_options(["--locked".to_owned()])
            .exec()
            .with_context(|| format!("cannot read the dependencies of {manifest}"))?;
        checked += metadata.packages.len();
        wrong.extend(licences(&metadata));
        wrong.extend(custom_error_messages(&metadata));
    }
    for features in ["", "defmt", "embedded-storage", "log", "serde"] {
        wrong.extend(core_tree(features)?);
    }
    if wrong.is_empty() {
        println!("note: {checked} packages have acceptable licences, the core's tree is clean");
        return Ok(());
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    bail!("{} dependencies are not acceptable", wrong.len());
}

fn licences(metadata: &Metadata) -> Vec<String> {
    let judge = |expression: &str| -> Result<(), String> {
        // Old manifests write `MIT/Apache-2.0`.
        let parsed = Expression::parse_mode(expression, ParseMode::LAX).map_err(|error| {
            format!("`{expression}` is no licence expression: {}", error.reason)
        })?;
        if parsed.evaluate(is_accepted) {
            return Ok(());
        }
        Err(format!("`{expression}` cannot be satisfied with the licences that we accept"))
    };
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let verdict = match &package.license {
            Some(expression) => judge(expression),
            None => Err("its manifest names no licence".to_owned()),
        };
        let excepted = EXCEPTIONS.iter().any(|(name, _)| *name == package.name.as_str());
        if let (Err(reason), false) = (verdict, excepted) {
            wrong.push(format!("{} {}: {reason}", package.name, package.version));
        }
    }
    wrong
}

fn is_accepted(required: &LicenseReq) -> bool {
    // An addition such as an exception changes the terms; none is needed so far.
    let id = required.license.id();
    required.addition.is_none() && id.is_some_and(|id| ACCEPTED.contains(&id.name))
}

/// This feature of `serde-json-core` copies what an input says into a message of 64 bytes and panics
/// when that does not fit: an input must never be able to stop a loader.
fn custom_error_messages(metadata: &Metadata) -> Vec<String> {
    let Some(resolve) = &metadata.resolve else {
        return vec!["cargo gave no resolved dependencies".to_owned()];
    };
    let mut wrong = Vec::new();
    for node in &resolve.nodes {
        let package = &metadata[&node.id];
        let on = node.features.iter().any(|feature| feature.as_str() == "custom-error-messages");
        if package.name.as_str() == "serde-json-core" && on {
            wrong.push(format!("{} has custom-error-messages enabled", package.name));
        }
    }
    wrong
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

    fn accepts(expression: &str) -> bool {
        Expression::parse_mode(expression, ParseMode::LAX)
            .expect("the case is a licence expression")
            .evaluate(is_accepted)
    }

    #[test]
    fn licence_expressions_are_evaluated_not_searched() {
        assert!(accepts("MIT OR Apache-2.0"));
        assert!(accepts("MIT/Apache-2.0"));
        assert!(accepts("MIT OR Apache-2.0 OR LGPL-2.1-or-later"));
        assert!(accepts("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(accepts("Apache-2.0 WITH LLVM-exception OR MIT"));
        assert!(!accepts("MIT AND GPL-3.0-only"));
        assert!(!accepts("MPL-2.0"));
        assert!(!accepts("Apache-2.0 WITH LLVM-exception"));
    }

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
