//! The project's chores, so that one command does the same on a developer's desk and in CI.
//!
//! Nothing here ends up on a device. `cargo xtask test` is the whole check; the other commands are
//! its parts, each usable alone.

mod apt;
mod bare;
mod bench;
mod boots;
mod canaries;
mod check;
mod circles;
mod core_tree;
mod deny;
mod disk;
mod efi;
mod features;
mod fuzz;
mod initramfs;
mod kernels;
mod layout;
mod lines;
mod mcu;
mod mcu_rates;
mod miri;
mod modules;
mod msrv;
mod oracle;
mod package;
mod prove;
mod sample;
mod semver;
mod setup;
mod shell;
mod size;
mod static_tool;
mod steps;
mod test;
mod test_keys;
mod vectors;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the Rust targets and the Debian packages that the tests need.
    Setup,
    /// Fetch three Debian kernels per architecture and build an initramfs for each.
    Kernels {
        /// Only this architecture; without it, all of them.
        #[arg(long, value_enum)]
        arch: Option<kernels::Arch>,
        /// Where to put them; relative to the top of the checkout.
        #[arg(long, default_value = kernels::OUT_DEFAULT)]
        out: PathBuf,
        /// Ask the archive for newer versions even when three are already here.
        #[arg(long)]
        refresh: bool,
    },
    /// Formatting, lints and the fast tests: the inner loop.
    Check,
    /// Everything that CI checks: of what takes long a sample that the commit chooses.
    Test {
        /// All of it, which takes about an hour.
        #[arg(long)]
        full: bool,
    },
    /// Cut the power at every instant of every story, once and twice. Ctrl-C keeps what is done.
    Prove {
        /// Start over, whatever an earlier call has done.
        #[arg(long)]
        fresh: bool,
        /// More for the sweep itself; `-- --help` lists it.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure the core on a microcontroller against the limits in xtask/size/limits.toml.
    Size {
        /// Measure four targets at two levels, and one with nightly's `-Zbuild-std`; write the table
        /// of docs/BENCHMARKS.md.
        #[arg(long, conflicts_with = "raise")]
        all: bool,
        /// Raise the limits that are passed to the measured sizes, rounded up to KiB, for this reason,
        /// which is noted beside each.
        #[arg(long, value_name = "REASON")]
        raise: Option<String>,
    },
    /// Show where everything stands on a microcontroller, and how much flash is left for the image.
    Layout {
        /// nrf52840, rp2040, stm32g0b1, stm32f407 or stm32h743; without it, the table of all, which
        /// also goes to docs/BENCHMARKS.md.
        chip: Option<String>,
    },
    /// No file of a crate may use another one that uses it in turn.
    Circles,
    /// Lines of code of each crate.
    Lines,
    /// Licences, banned packages and sources of all dependencies, by cargo-deny.
    Deny,
    /// What must never be below the core on a microcontroller.
    CoreTree,
    /// Pack every crate that is published.
    Package {
        /// Build what was packed too, and try a publication as far as that goes without an upload.
        #[arg(long)]
        build: bool,
    },
    /// Compare the public API with a release, by cargo-semver-checks.
    Semver {
        /// The revision to compare with; the newest tag of a release by default.
        #[arg(long, value_name = "REVISION")]
        baseline: Option<String>,
    },
    /// Run the fuzz targets; needs a nightly toolchain and cargo-fuzz.
    Fuzz {
        /// Only this one.
        target: Option<String>,
        /// Seconds for each, by the clock.
        #[arg(long, conflicts_with = "cpu_minutes")]
        seconds: Option<u64>,
        /// Minutes of processor time for each; 10 where neither is given.
        #[arg(long, default_value_t = 10)]
        cpu_minutes: u64,
    },
    /// The rejection suite through the core with every set of its features.
    Features {
        /// Only some sets, which the commit chooses.
        #[arg(long)]
        sample: bool,
    },
    /// The boot loader and the application for a microcontroller: build them, run their stories in
    /// QEMU, measure stack and memory.
    Mcu {
        /// Only measure, and write the table of docs/BENCHMARKS.md.
        #[arg(long, conflicts_with = "sample")]
        table: bool,
        /// Only count the instructions of a verification by each provider of Ed25519, and write the
        /// table of docs/BENCHMARKS.md.
        #[arg(long, conflicts_with_all = ["sample", "table"])]
        rates: bool,
        /// Fewer lives with power cuts.
        #[arg(long)]
        sample: bool,
    },
    /// Run some of the tests of the core under Miri; needs a nightly toolchain.
    Miri,
    /// Measure installations and deltas beside other updaters; installs these, as root.
    Bench {
        #[command(subcommand)]
        what: Option<bench::What>,
    },
    /// The simulator must catch known bugs of the core that are switched on.
    Canaries {
        /// Only some bugs, which the commit chooses.
        #[arg(long)]
        sample: bool,
    },
    /// A release build of the tool refuses keys of the test suite.
    TestKeys,
    /// Compile with the oldest supported toolchain, or lint for what it lacks.
    Msrv,
    /// Write the test vectors of docs/vectors, for readers of the formats by others.
    Vectors,
    /// Build the boot loader for UEFI: BOOTX64.EFI and BOOTAA64.EFI.
    Efi {
        /// Only this architecture; without it, both.
        #[arg(long, value_enum)]
        arch: Option<efi::Arch>,
        #[command(flatten)]
        trust: efi::Trust,
        #[command(flatten)]
        extras: efi::Extras,
        /// The folder to put them into; `efi` in the target folder by default.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build the stub for arm64 that `stillboot stub build` wraps a bundle with.
    Stub {
        #[command(flatten)]
        trust: efi::Trust,
        /// Obey the floor of loaders that keep it with a counter of the TPM.
        #[arg(long)]
        tpm_floor: bool,
        /// The file to write; `efi/stillboot-stub-aa64.efi` in the target folder by default.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build the boot loader for arm64 without firmware, as a flat image.
    Bare {
        #[command(flatten)]
        trust: efi::Trust,
        /// The file to write; `bare/arm64-bare` in the target folder by default.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// The stories of the boot loader without firmware: Debian's kernels in QEMU, updated, tried,
    /// rolled back.
    BareStories {
        /// Only one of each kind, which the commit chooses.
        #[arg(long)]
        sample: bool,
    },
    /// Boot real kernels by real firmware, in QEMU.
    Boots {
        /// What the machine is.
        #[arg(long, value_enum, default_value = "x86_64")]
        arch: efi::Arch,
        /// Only the stories whose names begin like this.
        story: Option<String>,
        /// Only one of each kind, which the commit chooses.
        #[arg(long, conflicts_with = "story")]
        sample: bool,
    },
    /// Cut the power of such machines at random instants; each time they must boot again.
    Torture {
        /// What the machine is.
        #[arg(long, value_enum, default_value = "x86_64")]
        arch: efi::Arch,
        /// How often.
        #[arg(long, default_value_t = 20)]
        boots: u32,
        /// Where the instants come from; printed by every run.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Compare the device trees that machines get with those that systemd's stub gives them.
    Oracle,
    /// Build the tool as one file without libraries, for an initramfs.
    StaticTool {
        /// What the machine is.
        #[arg(long, value_enum, default_value = "x86_64")]
        arch: efi::Arch,
        /// The folder to put it into; `static` in the target folder by default.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Run the tests of the tool with the one for devices.
    ToolWithoutLab {
        /// Only what it says of itself, and of commands that it lacks.
        #[arg(long)]
        sample: bool,
    },
    /// Make the image of a disk that boots under UEFI.
    Disk(disk::DiskArgs),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Setup => setup::run(),
        Chore::Kernels { arch, out, refresh } => kernels::run(arch, &out, refresh),
        Chore::Check => check::run(),
        Chore::Test { full } => test::run(full),
        Chore::Prove { fresh, arguments } => prove::run(fresh, &arguments),
        Chore::Size { all: true, .. } => size::run_all(),
        Chore::Size { all: false, raise } => size::run(raise.as_deref()),
        Chore::Layout { chip } => layout::layout(chip.as_deref()),
        Chore::Circles => circles::run(),
        Chore::Lines => lines::run(),
        Chore::Deny => deny::run(),
        Chore::CoreTree => core_tree::run(),
        Chore::Package { build } => package::run(build),
        Chore::Semver { baseline } => semver::run(baseline.as_deref()),
        Chore::Msrv => msrv::run(),
        Chore::Fuzz { target, seconds, cpu_minutes } => {
            let wall = seconds.map(|seconds| fuzz::Limit::Wall(Duration::from_secs(seconds)));
            let cpu = fuzz::Limit::Cpu(Duration::from_secs(60 * cpu_minutes));
            fuzz::run(target.as_deref(), wall.unwrap_or(cpu))
        }
        Chore::Features { sample } => features::run(sample),
        Chore::Mcu { table: true, .. } => mcu::table(),
        Chore::Mcu { rates: true, .. } => mcu_rates::table(),
        Chore::Mcu { sample, .. } => mcu::run(sample),
        Chore::Miri => miri::run(),
        Chore::Bench { what } => bench::run(what),
        Chore::Canaries { sample } => canaries::run(sample),
        Chore::TestKeys => test_keys::run(),
        Chore::Vectors => vectors::run(),
        Chore::Efi { arch, trust, extras, out } => efi::run(arch, &trust, &extras, out.as_deref()),
        Chore::Stub { trust, tpm_floor, out } => efi::stub(&trust, tpm_floor, out.as_deref()),
        Chore::Bare { trust, out } => bare::run(&trust, out.as_deref()),
        Chore::BareStories { sample } => bare::stories(sample),
        Chore::Boots { arch, sample: true, .. } => boots::sample(arch),
        Chore::Boots { arch, story, sample: false } => boots::run(arch, story.as_deref()),
        Chore::Torture { arch, boots, seed } => boots::torture(arch, boots, seed),
        Chore::Oracle => oracle::run(),
        Chore::ToolWithoutLab { sample } => static_tool::test(sample),
        Chore::StaticTool { arch, out } => static_tool::run(arch, out.as_deref()).map(drop),
        Chore::Disk(args) => disk::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Not by returning it: with RUST_BACKTRACE set, the reason would drown in our own calls.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
