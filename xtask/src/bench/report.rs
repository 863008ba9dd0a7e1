//! The tables, in the terminal and in `docs/BENCHMARKS.md`.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{shell, size};

/// A number with commas between the thousands.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A ratio and its target, and whether it holds.
pub(super) fn against(name: &str, ratio: f64, target: f64) -> String {
    let verdict = if ratio <= target { "held" } else { "missed" };
    format!("| {name} | {ratio:.2} | {target:.2} | {verdict} |\n")
}

/// Prints `text` and writes it between the marks `name` in `docs/BENCHMARKS.md`.
pub(super) fn write(name: &str, text: &str) -> Result<()> {
    print!("{text}");
    let path = shell::root().join("docs/BENCHMARKS.md");
    let page = fs::read_to_string(&path).context("cannot read docs/BENCHMARKS.md")?;
    fs::write(&path, size::with_table(&page, name, text)?)
        .context("cannot write docs/BENCHMARKS.md")
}

/// The processor and the kernel, for the line above a table.
pub(super) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']).to_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let series: Vec<_> = kernel.trim().split('.').take(2).collect();
    // It decides how long a hash takes, and so all the rest.
    let sha = if cpus.contains(" sha_ni") || cpus.contains(" sha2") { "with" } else { "without" };
    format!("{cores} cores ({model}, {sha} SHA instructions), Linux {}", series.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
