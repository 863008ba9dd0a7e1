//! `cargo xtask prove`: the whole sweep of power cuts, optimised, on all cores.

use anyhow::Result;

use crate::shell;

/// The program, for `cargo run`.
pub const PROVE: [&str; 6] =
    ["--package", "stillboot-sim", "--features", "programs", "--bin", "prove"];

/// Runs the sweep with these arguments.
///
/// # Errors
/// It cannot be started, a promise was broken, or it was stopped.
pub fn run(fresh: bool, arguments: &[String]) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["run", "--release"]).args(PROVE).arg("--");
    if fresh {
        command.arg("--fresh");
    }
    command.args(arguments);
    become_or_run(command)
}

/// Becomes the command: Ctrl-C must end nothing but the sweep, which has to put its work away.
#[cfg(unix)]
fn become_or_run(mut command: std::process::Command) -> Result<()> {
    use std::os::unix::process::CommandExt as _;

    let error = command.exec();
    Err(anyhow::Error::new(error).context(format!("cannot start `{}`", shell::line_of(&command))))
}

#[cfg(not(unix))]
fn become_or_run(mut command: std::process::Command) -> Result<()> {
    shell::run(&mut command)
}
