//! `cargo xtask miri`: the core's unit tests in an interpreter that notices undefined behaviour.
//!
//! The core has no unsafe code of its own; what is looked at is what it is built on, and what its
//! tests do on the way.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell;

/// Tests that would take too long where every instruction is interpreted, by what they are called.
/// Each is named in the output as left out.
const LEFT_OUT: [&str; 0] = [];

/// Installs Miri where it is missing, and runs the tests.
///
/// # Errors
/// A test failed, or there is no nightly toolchain that Miri can be added to.
pub fn run() -> Result<()> {
    let mut add = rustup();
    add.args(["+nightly", "component", "add", "miri"]);
    shell::run(&mut add).context(
        "Miri is a part of the nightly toolchain: install that with \
         `rustup toolchain install nightly`; where it cannot be had, nothing was checked",
    )?;
    let mut test = rustup();
    test.args(["run", "nightly", "cargo", "miri", "test", "-p", "stillboot", "--lib", "--"]);
    for name in LEFT_OUT {
        println!("left out, for it takes too long: {name}");
        test.args(["--skip", name]);
    }
    let begin = Instant::now();
    // Its builds are of no use to anybody else.
    shell::run(test.env("CARGO_TARGET_DIR", shell::target().join("miri")))?;
    println!("Miri took {} s", begin.elapsed().as_secs());
    Ok(())
}

fn rustup() -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(shell::root());
    // They name the current toolchain, which would otherwise win over the one asked for.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}
