//! `cargo xtask mcu`: the firmware of `examples/mcu-bootloader` on its board in QEMU.
//!
//! The stories are tests of `tests/firmware/mcu`. They print what they measured; with `--table`, what memory
//! the machines take is written into `docs/BENCHMARKS.md`.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::boots::FEATURES;
use crate::shell;
use crate::size::with_table;

/// Builds the stories, as words for cargo.
pub const BUILD: [&str; 7] =
    ["test", "--workspace", "--features", FEATURES, "--test", "mcu", "--no-run"];

/// Builds the firmware, runs its stories and prints what they measured.
///
/// # Errors
/// The firmware does not compile, or a story went wrong.
pub fn run(is_sample: bool) -> Result<()> {
    let mut stories = stories("");
    if is_sample {
        stories.env("STILLBOOT_MCU_LIVES", "20");
    }
    shell::run(&mut stories)?;
    if is_sample {
        println!("note: a sample: 20 lives of boards instead of 100, and every story");
    }
    Ok(())
}

/// Measures, and writes the table of `docs/BENCHMARKS.md` again.
///
/// # Errors
/// The firmware does not compile, a limit is passed, or the page has no place for the table.
pub fn table() -> Result<()> {
    let printed = shell::output(&mut stories("measure::"))?;
    let table = table_of(&printed)?;
    print!("{table}");
    let path = shell::root().join("docs/BENCHMARKS.md");
    let page = fs::read_to_string(&path).context("cannot read docs/BENCHMARKS.md")?;
    fs::write(&path, with_table(&page, "memory", &table)?)
        .context("cannot write docs/BENCHMARKS.md")
}

fn stories(name: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(&BUILD[..BUILD.len() - 1]);
    cargo.args(["--", "--include-ignored", "--nocapture", name]);
    cargo
}

/// The table of what was printed, line by line: `mcu: NAME: BYTES`.
fn table_of(printed: &str) -> Result<String> {
    let measured: BTreeMap<&str, &str> =
        printed.lines().filter_map(|line| line.split_once("mcu: ")?.1.split_once(": ")).collect();
    let of = |name: &str| {
        measured.get(name).copied().with_context(|| format!("`{name}` was not measured"))
    };
    let mut table =
        String::from("| | context | configuration | buffer | stack |\n|---|---:|---:|---:|---:|\n");
    for (name, config) in [("boot", true), ("install", true), ("confirm", false)] {
        let config = if config { of(&format!("{name} config"))? } else { "" };
        let [context, buffer, stack] =
            ["context", "buffer", "stack"].map(|what| of(&format!("{name} {what}")));
        table += &format!("| {name} | {} | {config} | {} | {} |\n", context?, buffer?, stack?);
    }
    table += &format!("| the record, a part of each context | {} | | | |\n", of("record")?);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_what_was_printed_and_misses_what_was_not() {
        let names = ["boot context", "boot config", "boot buffer", "boot stack", "install context"];
        let more = ["install config", "install buffer", "install stack", "confirm context"];
        let last = ["confirm buffer", "confirm stack", "record"];
        let mut printed = String::from("test measure::x ... ");
        for (number, name) in names.iter().chain(&more).chain(&last).enumerate() {
            printed += &format!("mcu: {name}: {number}\n");
        }
        let table = table_of(&printed).expect("all of it was printed");
        assert!(table.contains("| boot | 0 | 1 | 2 | 3 |\n"), "{table}");
        assert!(table.contains("| confirm | 8 |  | 9 | 10 |\n"), "{table}");
        assert!(table_of("mcu: boot context: 1\n").is_err());
    }
}
