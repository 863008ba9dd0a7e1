//! `cargo xtask vectors`: the test vectors of docs/vectors.

use anyhow::Result;

use crate::shell;

/// Writes them, by a program of the tests: only what links the library can make them.
///
/// # Errors
/// It cannot be built or started, or the folder cannot be written.
pub fn run() -> Result<()> {
    let words = ["run", "--quiet", "--package", "stillboot-tests", "--example", "vectors", "--"];
    shell::run(shell::cargo().args(words).arg("docs/vectors"))
}
