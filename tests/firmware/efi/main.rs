//! Real firmware boots real kernels, in QEMU: OVMF on a PC and AAVMF on an Arm machine.
//!
//! The same stories run on both; `cargo xtask boots` runs them.

mod count;
mod disk;
mod machine;
mod measured;
mod oracle;
mod release;
mod secure;
mod sign;
mod smbios;
mod stories;
mod stub;
mod torture;
mod tpm;
mod uki;
mod variables;

/// The stories, for each architecture as tests of its own: those of one run one after the other,
/// those of two side by side.
macro_rules! stories {
    ($($story:ident),*; x86_64: $($pc:ident),*; aarch64: $($arm:ident),* $(,)?) => {
        mod x86_64 {
            $(#[test]
            #[ignore = "boots machines in QEMU"]
            fn $story() {
                crate::stories::$story(crate::machine::Arch::X86_64);
            })*
            $(#[test]
            #[ignore = "boots machines in QEMU"]
            fn $pc() {
                crate::measured::$pc();
            })*
        }
        mod aarch64 {
            $(#[test]
            #[ignore = "boots machines in QEMU"]
            fn $story() {
                crate::stories::$story(crate::machine::Arch::Aarch64);
            })*
            $(#[test]
            #[ignore = "boots machines in QEMU"]
            fn $arm() {
                crate::stub::$arm();
            })*
        }
    };
}

stories! {
    first_boot_then_update_then_commit,
    a_kernel_that_panics_on_every_try_is_rolled_back,
    a_hang_of_the_system_ends_by_softdog_and_is_rolled_back,
    a_hang_of_the_kernel_ends_by_the_hardware_watchdog,
    a_flipped_bit_in_the_active_kernel_boots_the_other_slot,
    an_unreadable_sector_boots_the_other_slot,
    two_bad_slots_end_in_recovery,
    two_bad_slots_without_recovery_end_in_a_report,
    a_forged_record_moves_no_floor_and_no_trust,
    the_floor_refuses_an_old_slot_that_is_signed,
    a_record_that_cannot_be_written_means_no_trial,
    a_wrong_proof_is_refused,
    slots_on_a_second_disk_and_sectors_of_4096_bytes,
    a_unified_kernel_image_starts_as_it_is,
    the_menu_starts_a_slot_once,
    a_system_that_refuses_health_is_left,
    smbios_is_read_as_dmidecode_reads_it,
    secure_boot_starts_what_is_signed_and_passes_over_the_rest,
    secure_boot_and_a_loader_that_allows_verified_kernels,
    what_is_measured_was_predicted,
    the_power_is_cut;
    x86_64:
    a_floor_that_a_tpm_counts_is_not_put_back;
    aarch64:
    stub_gives_a_known_machine_its_tree,
    stub_replaces_the_tree_of_the_firmware_by_its_own_kind,
    stub_leaves_an_unknown_machine_alone_unless_a_tree_is_required,
    stub_refuses_what_was_not_signed,
    loader_gives_a_slot_its_tree_or_passes_it_over,
    an_image_that_comes_back_costs_its_tries_and_no_more,
}
