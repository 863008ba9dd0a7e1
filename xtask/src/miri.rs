//! `cargo xtask miri`: tests of the core in an interpreter that notices undefined behaviour.
//!
//! The core has no unsafe code of its own; what is looked at is what it is built on. Interpreted,
//! a test takes a thousand times as long, so only some are run, and what is left out is printed.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Tests that are run: which, with the words of `cargo miri test`.
const RUNS: [(&str, &[&str]); 2] = [
    (
        "the core's own tests",
        &["-p", "stillboot", "--lib", "--features", "embedded-storage,json", "--", "--skip", SLOW],
    ),
    (
        "reading and writing every format",
        &["-p", "stillboot-tests", "--test", "formats", "golden_bytes_of"],
    ),
];

/// Erases and fills whole parts: 20 minutes.
const SLOW: &str = "flash_of_common_parts_conforms";

/// Installs Miri where it is missing, and runs the tests.
///
/// # Errors
/// A test failed, nothing was tested, or there is no nightly toolchain that Miri can be added to.
pub fn run() -> Result<()> {
    let mut add = rustup();
    add.args(["+nightly", "component", "add", "miri"]);
    shell::run(&mut add).context(
        "Miri is a part of the nightly toolchain: install that with \
         `rustup toolchain install nightly`; where it cannot be had, nothing was checked",
    )?;
    for (what, words) in RUNS {
        let begin = Instant::now();
        let mut test = rustup();
        test.args(["run", "nightly", "cargo", "miri", "test", "--quiet"]).args(words);
        // Its builds are of no use to anybody else.
        test.env("CARGO_TARGET_DIR", shell::target().join("miri"));
        // Property tests ask for the folder that they run in.
        test.env("MIRIFLAGS", "-Zmiri-disable-isolation");
        let passed = passed(&shell::output(&mut test)?);
        if passed == 0 {
            bail!("{what}: expected some tests to run under Miri, found none");
        }
        println!("{what}: {passed} passed under Miri in {} s", begin.elapsed().as_secs());
    }
    println!("left out, for they would take hours: {SLOW}, all property tests, all simulations");
    Ok(())
}

/// How many tests passed, by the summary at the end of each test program.
fn passed(output: &str) -> u32 {
    let results = output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|line| line.split(' ').next()?.parse::<u32>().ok()).sum()
}

fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(shell::root());
    // They name the current toolchain, which would otherwise win over the one asked for.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted() {
        let output = "running 4 tests\n....\n\
                      test result: ok. 4 passed; 0 failed; 0 ignored; finished in 1.1s\n\
                      test result: ok. 9 passed; 0 failed; 0 ignored; finished in 72.4s\n";
        assert_eq!(passed(output), 13);
        assert_eq!(passed("test result: FAILED. 4 passed; 1 failed"), 0);
    }
}
