//! The identifiers by which stillboot finds its partitions and its EFI variable.
//!
//! They were drawn at random once and never change: disks in the field carry them.

use uuid::{Uuid, uuid};

/// GPT type of the partition with the copies of the boot record.
pub const RECORD: Uuid = uuid!("116da90b-22a5-4c4a-a767-df4c99a3cfe7");

/// GPT type of a slot: A, B and so on. Its name says which one.
pub const SLOT: Uuid = uuid!("cb603fbf-8083-4eb6-9050-4ade66bf0892");

/// GPT type of the recovery slot. A type of its own, so that no tool that looks for a slot to
/// install to can take it for one.
pub const RECOVERY: Uuid = uuid!("625a1a4a-2709-493a-a138-170334f5c009");

/// Vendor of the EFI variable that carries the boot proof.
pub const VENDOR: Uuid = uuid!("d346f553-2a82-42ff-9df6-68d0ca695ea0");

/// Conventional name of the partition with the boot record.
pub const RECORD_NAME: &str = "stillboot-record";

/// Conventional names of the slots, in order: A, B, C.
pub const SLOT_NAMES: [&str; 3] = ["stillboot-a", "stillboot-b", "stillboot-c"];

/// Conventional name of the recovery slot.
pub const RECOVERY_NAME: &str = "stillboot-recovery";

/// Name of the EFI variable with the boot proof, without its vendor.
pub const PROOF_VARIABLE: &str = "StillBootProof";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_distinct_random_uuids() {
        let all = [RECORD, SLOT, RECOVERY, VENDOR];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.get_version_num(), 4);
            assert!(all[index + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn names_fit_a_partition_entry() {
        for name in SLOT_NAMES.into_iter().chain([RECORD_NAME, RECOVERY_NAME]) {
            assert!(name.encode_utf16().count() <= 36);
        }
    }
}
