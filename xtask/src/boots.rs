//! `cargo xtask boots` and `cargo xtask torture`: real firmware boots real kernels, in QEMU.
//!
//! The stories are tests of `tests/firmware/efi`. They print what they saw and measured.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::efi::Arch;
use crate::{sample, shell};

/// The stories of all firmware. They are built with the whole workspace, and all with these features:
/// alone, cargo would choose other features for what they need, and compile all of it once more.
pub const FEATURES: &str = "stillboot-tests/bare,stillboot-tests/efi,stillboot-tests/mcu";

/// Builds the stories, as words for cargo.
pub const BUILD: [&str; 7] =
    ["test", "--workspace", "--features", FEATURES, "--test", "efi", "--no-run"];

/// The story that cuts the power.
const TORTURE: &str = "the_power_is_cut";

/// The stories by what they are about: a sample has one of each.
const KINDS: &[&[&str]] = &[
    &["first_boot_then_update_then_commit"],
    &[
        "a_kernel_that_panics_on_every_try_is_rolled_back",
        "a_hang_of_the_system_ends_by_softdog_and_is_rolled_back",
        "a_hang_of_the_kernel_ends_by_the_hardware_watchdog",
        "a_system_that_refuses_health_is_left",
    ],
    &[
        "a_flipped_bit_in_the_active_kernel_boots_the_other_slot",
        "an_unreadable_sector_boots_the_other_slot",
        "two_bad_slots_end_in_recovery",
        "two_bad_slots_without_recovery_end_in_a_report",
    ],
    &[
        "a_forged_record_moves_no_floor_and_no_trust",
        "the_floor_refuses_an_old_slot_that_is_signed",
        "a_record_that_cannot_be_written_means_no_trial",
        "a_wrong_proof_is_refused",
    ],
    &[
        "slots_on_a_second_disk_and_sectors_of_4096_bytes",
        "a_unified_kernel_image_starts_as_it_is",
        "the_menu_starts_a_slot_once",
        "smbios_is_read_as_dmidecode_reads_it",
    ],
    &[
        "secure_boot_starts_what_is_signed_and_passes_over_the_rest",
        "secure_boot_and_a_loader_that_allows_verified_kernels",
        "what_is_measured_was_predicted",
    ],
    &[TORTURE],
];

/// Those of one architecture alone.
const fn own_kinds(arch: Arch) -> &'static [&'static [&'static str]] {
    match arch {
        Arch::X86_64 => &[&["a_floor_that_a_tpm_counts_is_not_put_back"]],
        Arch::Aarch64 => &[&[
            "stub_gives_a_known_machine_its_tree",
            "stub_replaces_the_tree_of_the_firmware_by_its_own_kind",
            "stub_leaves_an_unknown_machine_alone_unless_a_tree_is_required",
            "stub_refuses_what_was_not_signed",
            "loader_gives_a_slot_its_tree_or_passes_it_over",
            "an_image_that_comes_back_costs_its_tries_and_no_more",
        ]],
    }
}

/// Runs the stories of one architecture, or those whose names begin with `story`, one after the
/// other: two architectures side by side are as many as there are cores.
///
/// # Errors
/// A story went wrong, or there is none of that name.
pub fn run(arch: Arch, story: Option<&str>) -> Result<()> {
    let mut stories = stories_on(arch, story.unwrap_or_default())?;
    if story.is_none() {
        // What the stories count with is tested beside them.
        stories.arg("count::");
    }
    shell::run(&mut stories)
}

/// Runs one story of each kind.
///
/// # Errors
/// A story went wrong, or is of no kind.
pub fn sample(arch: Arch) -> Result<()> {
    let kinds: Vec<_> = KINDS.iter().chain(own_kinds(arch)).copied().collect();
    let all = shell::output(stories(&format!("{}::", arch.name())).arg("--list"))?;
    let all: BTreeSet<_> = all.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named = |name: &str| format!("{}::{name}", arch.name());
    let known: BTreeSet<_> =
        kinds.iter().flat_map(|kind| kind.iter()).map(|name| named(name)).collect();
    if known.iter().map(String::as_str).ne(all.iter().copied()) {
        bail!("expected the stories in the kinds of xtask/src/boots.rs, found {all:?}");
    }
    // The other architecture has other ones of the same commit.
    let turn = sample::turn()? + usize::from(arch == Arch::Aarch64);
    let chosen = sample::one_of_each(&kinds, turn);
    let mut stories = stories(&named(chosen[0]));
    stories.env("STILLBOOT_TORTURE_BOOTS", "6");
    stories.args(chosen[1..].iter().map(|name| named(name))).arg("--exact");
    shell::run(&mut stories)?;
    println!("note: a sample: {} of {} stories: {}", chosen.len(), all.len(), chosen.join(", "));
    Ok(())
}

/// Cuts the power at `boots` random instants.
///
/// # Errors
/// A state was found that does not boot.
pub fn torture(arch: Arch, boots: u32, seed: Option<u64>) -> Result<()> {
    let mut stories = stories_on(arch, TORTURE)?;
    stories.env("STILLBOOT_TORTURE_BOOTS", boots.to_string());
    if let Some(seed) = seed {
        stories.env("STILLBOOT_SEED", seed.to_string());
    }
    shell::run(&mut stories)
}

/// The stories of `arch` whose names begin with `story`. At least one: a test program that is asked
/// for nothing it has is content.
fn stories_on(arch: Arch, story: &str) -> Result<Command> {
    let name = format!("{}::{story}", arch.name());
    if !shell::output(stories(&name).arg("--list"))?.contains(": test\n") {
        bail!("no story on {} has a name that begins with `{story}`", arch.name());
    }
    Ok(stories(&name))
}

/// The stories whose names, with the module they are in, begin with `name`.
pub fn stories(name: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(&BUILD[..BUILD.len() - 1]);
    cargo.args(["--", "--include-ignored", "--nocapture", "--test-threads=1", name]);
    // The stories call chores; asking cargo for them would wait for whatever it builds meanwhile.
    if let Ok(program) = env::current_exe()
        && program.exists()
    {
        cargo.env("STILLBOOT_XTASK", program);
    }
    cargo
}
