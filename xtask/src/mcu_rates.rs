//! `cargo xtask mcu --rates`: the instructions and the stack of one verification, by each provider of
//! Ed25519, on the board in QEMU.
//!
//! QEMU counts instructions, so the numbers are the same in each run and on each host.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;
use crate::size::with_table;

/// What the table says of each provider, in the order in which the program prints them.
const PROVIDERS: [(&str, &str); 3] = [
    ("compact", "`CompactEd25519`, the default: the crate `ed25519-compact`"),
    ("salty", "`SaltyEd25519` of `stillboot-ed25519`: the crate `salty`, with assembly"),
    ("small", "`SmallEd25519` of `stillboot-ed25519`"),
];

/// Counts, and writes the table of `docs/BENCHMARKS.md` again.
///
/// # Errors
/// The program does not compile or does not verify, or the page has no place for the table.
pub fn table() -> Result<()> {
    let target = shell::target().join("mcu-rates");
    let mut cargo = shell::cargo();
    cargo.args(["build", "--locked", "--quiet", "--release", "-p", "mcu-rates"]);
    cargo
        // There, `.cargo/config.toml` names the target and the linker scripts.
        .current_dir(shell::root().join("examples/mcu-bootloader"))
        // They would replace the flags in that file.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("STILLBOOT_ROOTS")
        .env("CARGO_TARGET_DIR", &target);
    shell::run(&mut cargo)?;
    let mut board = Command::new("qemu-system-arm");
    board
        .args(["-machine", "mps2-an386", "-icount", "shift=0", "-display", "none"])
        .args(["-monitor", "none", "-serial", "stdio"])
        .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(target.join("thumbv7em-none-eabi/release/mcu-rates"));
    let table = table_of(&shell::output(&mut board)?)?;
    print!("{table}");
    let path = shell::root().join("docs/BENCHMARKS.md");
    let page = fs::read_to_string(&path).context("cannot read docs/BENCHMARKS.md")?;
    fs::write(&path, with_table(&page, "rates", &table)?).context("cannot write docs/BENCHMARKS.md")
}

/// The table of what was printed: a line `NAME INSTRUCTIONS STACK` for each provider.
fn table_of(printed: &str) -> Result<String> {
    let mut table = String::from("| provider | instructions | stack |\n|---|---:|---:|\n");
    let mut lines = printed.lines();
    for (name, text) in PROVIDERS {
        let line = lines.next().unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let [found, instructions, stack] = words[..] else {
            bail!("expected `{name} INSTRUCTIONS STACK`, found `{line}`");
        };
        let (Ok(instructions), Ok(stack), true) =
            (instructions.parse::<u32>(), stack.parse::<u32>(), found == name)
        else {
            bail!("expected `{name}` with two numbers, found `{line}`");
        };
        table += &format!("| {text} | {instructions} | {stack} |\n");
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_each_provider_once() {
        let printed = "compact 100 10\nsalty 200 20\nsmall 300 30\n";
        let table = table_of(printed).expect("all three were printed");
        assert!(table.ends_with("of `stillboot-ed25519` | 300 | 30 |\n"), "{table}");
        for printed in ["", "compact 100 10\nsmall 300 30\n", "compact 100\n", "compact a b\n"] {
            assert!(table_of(printed).is_err(), "{printed}");
        }
    }
}
