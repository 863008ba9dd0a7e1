//! `cargo xtask check`: the inner loop, to run before each commit.

use anyhow::Result;

use crate::steps::{self, Step};
use crate::test;

/// Runs formatting, lints and the tests that are not marked as slow.
///
/// # Errors
/// A step failed.
pub fn run() -> Result<()> {
    steps::run("cargo xtask check", &steps())
}

fn steps() -> Vec<Step> {
    vec![
        test::fmt(),
        test::fmt_size(),
        test::clippy(),
        test::tests(test::Tests::Fast).after("clippy"),
    ]
}
