//! Names and identifiers that stand on disks, or by which other programs find what is ours.
//!
//! The identifiers were drawn at random once. Nothing here ever changes: disks in the field carry
//! it, and running systems look for it. Identifiers are text in the form of RFC 9562.

use super::Slot;

/// How the names of our partitions begin; behind it stands the name of the slot, and for a further
/// region of a slot `-` and a role.
pub const PARTITION_PREFIX: &str = "stillboot-";

/// Name of the partition with the boot record.
pub const RECORD_PARTITION: &str = "stillboot-record";

/// GPT type of the partition with the boot record.
pub const RECORD_TYPE: &str = "116da90b-22a5-4c4a-a767-df4c99a3cfe7";

/// GPT type of an update slot. The partition's name says which one.
pub const SLOT_TYPE: &str = "cb603fbf-8083-4eb6-9050-4ade66bf0892";

/// GPT type of the recovery slot. A type of its own, so that a tool that looks for a slot to
/// install to cannot take it for one.
pub const RECOVERY_TYPE: &str = "625a1a4a-2709-493a-a138-170334f5c009";

/// Vendor of all EFI variables of stillboot.
pub const EFI_VENDOR: &str = "d346f553-2a82-42ff-9df6-68d0ca695ea0";

/// Name of the EFI variable with the boot proof, without its vendor.
pub const PROOF_VARIABLE: &str = "StillBootProof";

/// Name of the EFI variable with the report of a power-on, without its vendor.
pub const REPORT_VARIABLE: &str = "StillBootReport";
/// The EFI variable that notes over a reset that the image of a good slot returned.
pub const CAME_BACK_VARIABLE: &str = "StillBootCameBack";

/// The parameter of the kernel's command line that carries the boot proof.
pub const PROOF_PARAMETER: &str = "stillboot.proof";

/// The partition that holds a slot: [`PARTITION_PREFIX`] and the slot's name.
#[must_use]
pub const fn slot_partition(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "stillboot-a",
        Slot::B => "stillboot-b",
        Slot::C => "stillboot-c",
        Slot::Recovery => "stillboot-recovery",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_begin_with_the_prefix_and_fit_an_entry() {
        for slot in Slot::ALL {
            assert_eq!(slot_partition(slot).strip_prefix(PARTITION_PREFIX), Some(slot.name()));
        }
        // GPT: 36 units of UTF-16.
        let names = Slot::ALL.map(slot_partition).into_iter().chain([RECORD_PARTITION]);
        assert!(names.into_iter().all(|name| name.len() <= 36 && name.is_ascii()));
    }
}
