//! `cargo xtask lines`: lines of code of each crate, without tests, comments and blank lines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use crate::shell;

/// Files of the core that no device links: the suite for devices, and known bugs for the simulator.
const APART: [&str; 2] = ["conformance.rs", "canary.rs"];

/// Prints a line for each crate, and one for the boot core.
///
/// # Errors
/// A file cannot be read.
pub fn run() -> Result<()> {
    let metadata = MetadataCommand::new().current_dir(shell::root()).no_deps().exec()?;
    let mut counts = Vec::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        counts.push((package.name.to_string(), count(folder.join("src").as_std_path())?));
    }
    counts.sort_by_key(|(_, (lines, _))| std::cmp::Reverse(*lines));
    for (name, (lines, _)) in &counts {
        println!("{lines:>7}  {name}");
    }
    let of_core = counts.iter().find(|(name, _)| name == "stillboot");
    let (_, (_, boot_core)) = of_core.context("the core is a crate of the workspace")?;
    println!("note: the boot core has {boot_core} lines of code");
    Ok(())
}

/// Lines below a folder: all, and those that a device links.
fn count(folder: &Path) -> Result<(usize, usize)> {
    let (mut all, mut linked) = (0, 0);
    let Ok(entries) = fs::read_dir(folder) else { return Ok((0, 0)) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            let (more, more_linked) = count(&path)?;
            all += more;
            linked += more_linked;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let lines = code_lines(&fs::read_to_string(&path)?);
            all += lines;
            linked += if APART.contains(&name.as_str()) { 0 } else { lines };
        }
    }
    Ok((all, linked))
}

/// Tests stand at the end of a file.
fn code_lines(text: &str) -> usize {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
    code.lines().map(str::trim).filter(is_code).count()
}

#[cfg(test)]
mod tests {
    use super::code_lines;

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        let text = "//! Page.\n\nfn f() {\n    // Why.\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(code_lines(text), 2);
    }
}
