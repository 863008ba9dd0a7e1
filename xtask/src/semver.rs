//! `cargo xtask semver`: does a change of the public API need a new major version? Compares each
//! library crate with a revision, by cargo-semver-checks.

use anyhow::{Result, bail};
use cargo_metadata::MetadataCommand;

use crate::shell;

/// Compares with `baseline`, or with the newest tag of a release.
///
/// # Errors
/// There is no release to compare with, the tool is missing, or a change is not allowed in this
/// version.
pub fn run(baseline: Option<&str>) -> Result<()> {
    if shell::output(shell::cargo().args(["semver-checks", "--version"])).is_err() {
        bail!("expected cargo-semver-checks. Run:\n  cargo install cargo-semver-checks --locked");
    }
    let baseline = match baseline {
        Some(revision) => revision.to_owned(),
        None => newest_release()?,
    };
    let metadata = MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    let mut check = shell::cargo();
    check.args(["semver-checks", "--baseline-rev", &baseline]);
    for package in &metadata.packages {
        let is_library = package.targets.iter().any(cargo_metadata::Target::is_lib);
        if is_library && package.publish.is_none() {
            check.args(["--package", package.name.as_str()]);
        }
    }
    shell::run(check.current_dir(shell::root()))
}

fn newest_release() -> Result<String> {
    let mut ask = std::process::Command::new("git");
    ask.args(["tag", "--list", "v*", "--sort=-version:refname", "--merged"]);
    let tags = shell::output(ask.current_dir(shell::root()))?;
    match tags.lines().next() {
        Some(tag) => Ok(tag.to_owned()),
        None => bail!(
            "expected a tag of a release, such as v0.1.0, found none; name a revision with \
             --baseline"
        ),
    }
}
