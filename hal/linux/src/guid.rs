//! The identifiers of [`stillboot::format::names`] as UUIDs.

use stillboot::format::names;
use uuid::Uuid;

/// GPT type of the partition with the boot record.
pub const RECORD: Uuid = parse(names::RECORD_TYPE);

/// GPT type of an update slot.
pub const SLOT: Uuid = parse(names::SLOT_TYPE);

/// GPT type of the recovery slot.
pub const RECOVERY: Uuid = parse(names::RECOVERY_TYPE);

/// Vendor of the EFI variable that carries the boot proof.
pub const VENDOR: Uuid = parse(names::EFI_VENDOR);

const fn parse(text: &str) -> Uuid {
    match Uuid::try_parse(text) {
        Ok(uuid) => uuid,
        // Evaluated by the compiler: the build fails.
        Err(_) => panic!("no UUID"),
    }
}

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
}
