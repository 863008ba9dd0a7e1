//! `cargo xtask bare`: the boot loader for arm64 without firmware, and whether it stays small.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::boots::FEATURES;
use crate::efi::{self, Trust};
use crate::sample;
use crate::shell;

/// Builds the stories, as words for cargo.
pub const BUILD: [&str; 7] =
    ["test", "--workspace", "--features", FEATURES, "--test", "bare", "--no-run"];

/// What is shipped, with its own drivers, console and device trees. It has 138,124 bytes.
const LIMIT_BYTES: u64 = 160 << 10;

const TARGET: &str = "aarch64-unknown-none";

/// Builds the loader to `out` and prints its size.
///
/// # Errors
/// It does not compile, or one that could be shipped is over the limit.
pub fn run(trust: &Trust, out: Option<&Path>) -> Result<()> {
    let out = out.map_or_else(|| shell::target().join("bare/arm64-bare"), Path::to_path_buf);
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let built = build(trust)?;
    fs::copy(&built, &out).with_context(|| format!("cannot write {}", out.display()))?;
    let bytes = fs::metadata(&out)?.len();
    println!("{}: {bytes} bytes", out.display());
    println!("note: arm64-bare {bytes} bytes");
    // Debug assertions make the test loader larger; it is not what is shipped.
    if bytes > LIMIT_BYTES && !trust.test_keys {
        bail!("arm64-bare has {bytes} bytes, the limit is {LIMIT_BYTES}");
    }
    Ok(())
}

/// The stories by what they are about: a sample has one of each.
const KINDS: &[&[&str]] = &[
    &[
        "at_el1_updates_are_tried_committed_and_rolled_back",
        "at_el2_updates_are_tried_committed_and_rolled_back",
    ],
    &["a_processor_without_sha2_hashes_all_the_same"],
    &[
        "what_rots_or_cannot_be_started_is_skipped",
        "without_anything_to_start_the_reason_is_said_and_the_machine_reset",
    ],
];

/// Runs the stories in QEMU: tests of `tests/firmware/bare`. They print what they measured.
///
/// # Errors
/// Something does not compile, or a story went wrong.
pub fn stories(is_sample: bool) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(&BUILD[..BUILD.len() - 1]);
    cargo.args(["--", "--include-ignored", "--nocapture", "--test-threads=1"]);
    let chosen = if is_sample { sample::one_of_each(KINDS, sample::turn()?) } else { Vec::new() };
    if is_sample {
        cargo.arg("--exact").args(chosen.iter().map(|name| format!("stories::{name}")));
    }
    // They build the loader by this very program.
    if let Ok(program) = env::current_exe()
        && program.exists()
    {
        cargo.env("STILLBOOT_XTASK", program);
    }
    shell::run(&mut cargo)?;
    if is_sample {
        println!("note: a sample: {}", chosen.join(", "));
    }
    Ok(())
}

fn build(trust: &Trust) -> Result<PathBuf> {
    let profile = trust.profile();
    shell::run(
        trust.set(
            shell::cargo()
                .args(["build", "--quiet", "-p", "arm64-bare"])
                .args(["--target", TARGET, "--profile", profile])
                // In addition to the flags of `.cargo/config.toml`.
                .args(["--config", &format!("target.{TARGET}.rustflags=[{:?}]", efi::remap()?)]),
        )?,
    )?;
    Ok(shell::target().join(TARGET).join(profile).join("arm64-bare"))
}
