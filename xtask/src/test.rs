//! `cargo xtask test`: everything that CI checks, as one list of steps.
//!
//! To add a check, add a [`Step`] to the list. Two cores are kept busy: the lanes say which steps
//! may run side by side.

use anyhow::Result;

use crate::bare;
use crate::boots;
use crate::mcu;
use crate::msrv;
use crate::prove;
use crate::setup::TARGETS;
use crate::shell;
use crate::steps::{self, Lane, Step};

/// Runs all steps; of what takes long a sample, unless it is to be `full`.
///
/// # Errors
/// A step failed.
pub fn run(full: bool) -> Result<()> {
    steps::run(if full { "cargo xtask test --full" } else { "cargo xtask test" }, &steps(full))
}

/// All steps, in one list: it is read from top to bottom. Among those that could start, the first in this list does: the long ones stand first.
fn steps(full: bool) -> Vec<Step> {
    // What takes long, whole or as a sample.
    let part = |words: &[&'static str]| {
        let sample: &[&str] = if full { &[] } else { &["--sample"] };
        [words, sample].concat()
    };
    vec![
        Step::new("setup", Lane::Network).xtask(&["setup"]).minutes(60),
        Step::new("kernels", Lane::Network).xtask(&["kernels"]).after("setup").minutes(60),
        fmt().after("setup"),
        fmt_size().after("setup"),
        fmt_mcu().after("setup"),
        clippy().after("setup"),
        no_std("no_std", "build", "stillboot", "").after("setup"),
        no_std("no_std storage", "check", "stillboot", "embedded-storage").after("setup"),
        no_std("no_std async", "check", "stillboot", "async").after("setup"),
        no_std("no_std policy", "check", "stillboot-policy", "json").after("setup"),
        no_std("no_std transport", "check", "stillboot-transport", "").after("setup"),
        no_std("no_std ed25519", "check", "stillboot-ed25519", "salty").after("setup"),
        no_std("no_std log", "check", "stillboot", "log").after("setup"),
        mcu_clippy().after("setup"),
        clippy_features("clippy defmt", "stillboot-policy", "defmt").after("clippy"),
        clippy_features("clippy defmt gpt", "stillboot-gpt", "defmt").after("clippy"),
        clippy_features("clippy async", "stillboot", "async").after("clippy"),
        clippy_features("clippy policy", "stillboot-policy", "json").after("clippy"),
        clippy_features("clippy ed25519", "stillboot-ed25519", "salty").after("clippy"),
        clippy_features("clippy log", "stillboot", "log").after("clippy"),
        clippy_features("clippy transport", "stillboot-transport", "defmt").after("clippy"),
        clippy_tool().after("clippy"),
        Step::new("circles", Lane::Free).xtask(&["circles"]).after("setup"),
        Step::new("deny", Lane::Free).xtask(&["deny"]).after("setup"),
        Step::new("core tree", Lane::Free).xtask(&["core-tree"]).after("setup"),
        tests(Tests::All)
            .env("STILLBOOT_WEB_KILLS", if full { "200" } else { "12" })
            .after("clippy")
            .after("kernels"),
        // The same suites through the other driver.
        Step::new("tests async", Lane::Debug)
            .cargo(&[
                "test",
                "--quiet",
                "--workspace",
                "--test",
                "protocol",
                "--test",
                "attacks",
                "--test",
                "regressions",
            ])
            .env("STILLBOOT_DRIVER", "async")
            .after("tests")
            .minutes(45),
        Step::new("boots build", Lane::Debug).cargo(&boots::BUILD).after("clippy").minutes(45),
        // The longest of all: one core each, as soon as they can.
        boots_on("boots x86_64", &part(&["boots", "--arch", "x86_64"])),
        boots_on("boots aarch64", &part(&["boots", "--arch", "aarch64"])),
        Step::new("bare build", Lane::Debug).cargo(&bare::BUILD).after("boots build").minutes(45),
        Step::new("bare stories", Lane::Free)
            .xtask(&part(&["bare-stories"]))
            .after("bare build")
            .after("kernels")
            .minutes(45)
            .must_print(),
        // The instructions of Arm processors, by an emulator that has them.
        Step::new("sha aarch64", Lane::Debug)
            .cargo(&["test", "-p", "stillboot-sha256", "--target", "aarch64-unknown-linux-musl"])
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", "qemu-aarch64")
            .env("STILLBOOT_SHA256_EXPECT", "hardware")
            .after("clippy"),
        Step::new("mcu build", Lane::Debug).cargo(&mcu::BUILD).after("boots build").minutes(45),
        // The firmware has a folder of its own, and most of it is there from its lints.
        Step::new("mcu", Lane::Free)
            .xtask(&part(&["mcu"]))
            .after("mcu build")
            .after("clippy mcu")
            .minutes(45)
            .must_print(),
        Step::new("doc tests", Lane::Debug)
            .cargo(&["test", "--workspace", "--doc"])
            .after("clippy"),
        Step::new("docs", Lane::Debug)
            .cargo(&["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-Dwarnings")
            .after("clippy"),
        Step::new("msrv", msrv::lane()).xtask(&["msrv"]).after("clippy"),
        // It builds everything once more, and with debug assertions each bug takes its time.
        Step::new("canaries", Lane::Canary)
            .xtask(&part(&["canaries"]))
            .after("clippy")
            .minutes(45)
            .must_print(),
        // Their bodies run with the tests; here they only have to be programs.
        Step::new("fuzz targets", Lane::Debug)
            .cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features"])
            .after("clippy"),
        size_clippy().after("setup"),
        bare_clippy().after("clippy"),
        Step::new("size", Lane::Size).xtask(&["size"]).after("setup"),
        // It builds into a folder of its own, and lets the tests leave what it runs.
        Step::new("features", Lane::Free)
            .xtask(&part(&["features"]))
            .after("tests")
            .minutes(45)
            .must_print(),
        // What it builds is in a folder that the boots use too.
        Step::new("tool without lab", Lane::Debug)
            .xtask(&part(&["tool-without-lab"]))
            .after("tests")
            .minutes(45)
            .must_print(),
        // Every story with the power cut, optimised: in the tests' profile it takes minutes.
        Step::new("sweep", Lane::Release)
            .cargo(
                &[
                    &["run", "--quiet", "--release"],
                    &prove::PROVE[..],
                    &["--", "--quick", "--fresh"],
                ]
                .concat(),
            )
            .after("clippy")
            .minutes(45)
            .must_print(),
        // Packing is quick. Building what was packed compiles every dependency once more.
        Step::new("package", if full { Lane::Debug } else { Lane::Free })
            .xtask(if full { &["package", "--build"] } else { &["package"] })
            .after("clippy")
            .minutes(45)
            .must_print(),
        // Last, the whole story through the door that a user takes.
        Step::new("demo", Lane::Release)
            .cargo(&["run", "--quiet", "--release", "--", "demo", "--seed", "1"])
            .after("clippy")
            .must_print(),
        // Its table shows whether the processor has what the tests of that provider need.
        Step::new("sha host", Lane::Release)
            .cargo(&["run", "-q", "--release", "-p", "stillboot-sha256", "--example", "rates"])
            .after("demo")
            .must_print(),
        Step::new("test keys", Lane::Release).xtask(&["test-keys"]).after("demo").must_print(),
    ]
}

/// Real firmware boots real kernels. What it builds itself, loaders and static tools, has folders
/// that no other step builds into.
fn boots_on(name: &'static str, words: &[&str]) -> Step {
    Step::new(name, Lane::Free)
        .xtask(words)
        .after("boots build")
        .after("kernels")
        .minutes(80)
        .must_print()
}

/// Formatting of the workspace.
pub fn fmt() -> Step {
    Step::new("fmt", Lane::Free).cargo(&["fmt", "--all", "--check"])
}

/// Formatting of the measured crates, which are a workspace of their own.
pub fn fmt_size() -> Step {
    Step::new("fmt size", Lane::Free).cargo(&["fmt", "--check"]).folder("xtask/size")
}

/// Formatting of the firmware, which is a workspace of its own.
pub fn fmt_mcu() -> Step {
    Step::new("fmt mcu", Lane::Free)
        .cargo(&["fmt", "--check", "--all"])
        .folder("examples/mcu-bootloader")
}

/// Lints over everything that compiles on the host.
pub fn clippy() -> Step {
    // It builds every dependency; on a busy machine that takes a while.
    let features = "stillboot-tests/bare,stillboot-tests/efi,stillboot-tests/mcu,\
                    stillboot-uefi/tpm-floor,stillboot-uefi/unsigned-kernels,\
                    stillboot-sim/programs";
    let words =
        ["clippy", "--workspace", "--all-targets", "--features", features, "--", "-D", "warnings"];
    Step::new("clippy", Lane::Debug).cargo(&words).minutes(45)
}

/// Lints over one crate with one feature: the workspace's build may switch on others with it.
fn clippy_features(name: &'static str, package: &str, feature: &str) -> Step {
    Step::new(name, Lane::Debug).cargo(&[
        "clippy",
        "-p",
        package,
        "--features",
        feature,
        "--",
        "-D",
        "warnings",
    ])
}

/// Lints over the tool for devices, which has no simulator.
fn clippy_tool() -> Step {
    let tool = ["-p", "stillboot-cli", "--no-default-features"];
    Step::new("clippy tool", Lane::Debug)
        .cargo(&[&["clippy"], &tool[..], &["--all-targets", "--", "-D", "warnings"]].concat())
}

/// Lints over the measured crates, which compile for their device only.
fn size_clippy() -> Step {
    Step::new("clippy size", Lane::Size)
        .cargo(&["clippy", "--release", "--", "-D", "warnings"])
        .folder("xtask/size")
}

/// Lints over the firmware, which compiles for its device only.
fn mcu_clippy() -> Step {
    Step::new("clippy mcu", Lane::Size)
        .cargo(&["clippy", "--release", "--locked", "--", "-D", "warnings"])
        .folder("examples/mcu-bootloader")
}

/// Lints over the loader without firmware, most of which compiles for its machine only. What its
/// build script needs is there from the other lints.
fn bare_clippy() -> Step {
    Step::new("clippy bare", Lane::Debug)
        .cargo(&[
            "clippy",
            "-p",
            "arm64-bare",
            "--target",
            "aarch64-unknown-none",
            "--",
            "-D",
            "warnings",
        ])
        // From where its build script runs.
        .env("STILLBOOT_ROOTS", "../../tests/data/test-keys/roots.toml")
        .env("STILLBOOT_CLASS", "test")
        .minutes(45)
}

/// Which tests to run: those marked `#[ignore]` are the slow ones.
pub enum Tests {
    /// Not the slow ones.
    Fast,
    /// With the slow ones; nothing counts as passed by being skipped.
    All,
}

/// The tests, through nextest where it is installed.
pub fn tests(which: Tests) -> Step {
    let step = Step::new("tests", Lane::Debug).minutes(45);
    match (shell::has_program("cargo-nextest"), which) {
        (true, Tests::Fast) => step.cargo(&["nextest", "run", "--workspace"]),
        (true, Tests::All) => {
            // All that fails is shown: the next run is an hour away.
            let all = ["--run-ignored", "all", "--no-fail-fast"];
            step.cargo(&[&["nextest", "run", "--workspace"], &all[..]].concat())
        }
        (false, Tests::Fast) => step.cargo(&["test", "--workspace", "--all-targets"]),
        (false, Tests::All) => step.cargo(&[
            "test",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
            "--",
            "--include-ignored",
        ]),
    }
}

/// The core or the policy on machines without a standard library, each target in its own cargo command: built
/// together, features of one target's dependencies could hide what another lacks.
fn no_std(
    name: &'static str,
    command: &'static str,
    package: &'static str,
    features: &'static str,
) -> Step {
    TARGETS.iter().fold(Step::new(name, Lane::NoStd), |step, target| {
        let words = [command, "-p", package, "--release", "--target", target];
        step.cargo(&[&words[..], &["--features", features]].concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_start() {
        steps::check_order(&steps(false));
        steps::check_order(&steps(true));
    }
}
