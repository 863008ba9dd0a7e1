//! Firmware variables: the proof and the report for the system that is started, and the floor where
//! that system cannot reach it.

use stillboot::driver::{RollbackStore, StoreError};
use stillboot::format::{BootProof, Floor, SlotKind, names};
use stillboot_boot_support::counted::{Cell, Counted};
use stillboot_boot_support::floor;
use uefi::runtime::{self, VariableAttributes, VariableVendor};
use uefi::{CStr16, Guid, Result, Status, cstr16};

/// Vendor of all variables of stillboot.
pub const VENDOR: Guid = Guid::parse_or_panic(names::EFI_VENDOR);

/// The boot proof, as text.
pub const PROOF: &CStr16 = cstr16!("StillBootProof");

/// Why each candidate was or was not started, as text.
pub const REPORT: &CStr16 = cstr16!("StillBootReport");

/// Gone when the power is, and readable by the system that was started.
const VOLATILE: VariableAttributes =
    VariableAttributes::BOOTSERVICE_ACCESS.union(VariableAttributes::RUNTIME_ACCESS);

/// Kept, and out of reach of the system that was started.
const KEPT: VariableAttributes =
    VariableAttributes::BOOTSERVICE_ACCESS.union(VariableAttributes::NON_VOLATILE);

/// Set while an image came back after its code ran; see [`note_came_back`].
const CAME_BACK: &CStr16 = cstr16!("StillBootCameBack");

/// Hands the proof over.
///
/// # Errors
/// What the firmware says. The command line has the proof as well, except for a unified image.
pub fn set_proof(proof: &BootProof) -> Result {
    set_volatile(PROOF, proof.emit().as_bytes())
}

/// Hands the report over.
///
/// # Errors
/// What the firmware says.
pub fn set_report(text: &str) -> Result {
    set_volatile(REPORT, text.as_bytes())
}

fn set_volatile(name: &CStr16, bytes: &[u8]) -> Result {
    let vendor = VariableVendor(VENDOR);
    // A variable that an earlier system made non-volatile would keep its old value, which the next
    // system would believe.
    match runtime::delete_variable(name, &vendor) {
        Err(error) if error.status() != Status::NOT_FOUND => Err(error),
        _ => runtime::set_variable(name, &vendor, VOLATILE, bytes),
    }
}

/// Notes over a reset that a good image ran and returned instead of starting its system. It is then
/// treated like one that hung; otherwise it would be started again and again.
pub fn note_came_back() {
    // If that fails, the next power-on tries the same slot again.
    let _ = runtime::set_variable(CAME_BACK, &VariableVendor(VENDOR), KEPT, &[1]);
}

/// Whether [`note_came_back`] was called in the power-on before. Asked once: it is forgotten then.
#[must_use]
pub fn take_came_back() -> bool {
    let mut bytes = [0; 1];
    let vendor = VariableVendor(VENDOR);
    let noted = matches!(
        runtime::get_variable(CAME_BACK, &vendor, &mut bytes),
        Ok((_, attributes)) if attributes == KEPT
    );
    if noted {
        let _ = runtime::delete_variable(CAME_BACK, &vendor);
    }
    noted
}

/// The floor in boot-services-only variables, one for update slots and one for recovery. They are
/// written only when a floor rises.
#[derive(Clone, Copy, Debug)]
pub struct FloorVariables;

fn name_of(kind: SlotKind) -> &'static CStr16 {
    match kind {
        SlotKind::Update => cstr16!("StillBootFloor"),
        SlotKind::Recovery => cstr16!("StillBootFloorRecovery"),
    }
}

/// What a variable of ours keeps, as `parse` reads it.
fn read_kept<T>(
    name: &CStr16,
    parse: fn(&[u8]) -> Option<T>,
) -> core::result::Result<Option<T>, StoreError> {
    let vendor = VariableVendor(VENDOR);
    // Longer than any of them, so that a longer value is seen as such.
    let mut bytes = [0; 2 * floor::COUNTED_LEN];
    match runtime::get_variable(name, &vendor, &mut bytes) {
        Ok((value, attributes)) if attributes == KEPT => {
            // A damaged variable must not count as a lower floor or as none.
            parse(value).map(Some).ok_or(StoreError)
        }
        // A running system cannot change our variable; it created this one where there was none.
        // Its value does not count, and it would block ours.
        Ok(_) => match runtime::delete_variable(name, &vendor) {
            Ok(()) => Ok(None),
            Err(_) => Err(StoreError),
        },
        Err(error) => match error.status() {
            Status::NOT_FOUND => Ok(None),
            // Larger than any floor. It is foreign if it is not boot-services-only, and only
            // reading it shows that. It is not deleted before, because it may be our variable,
            // damaged.
            _ => Err(StoreError),
        },
    }
}

/// Whether there is room for a variable of ours.
fn probe_room() -> core::result::Result<(), StoreError> {
    match runtime::query_variable_info(KEPT) {
        // Headers and name take some of it.
        Ok(info) if info.remaining_variable_storage_size >= 256 => Ok(()),
        // Older firmware does not report this.
        Err(error) if error.status() == Status::UNSUPPORTED => Ok(()),
        _ => Err(StoreError),
    }
}

impl RollbackStore for FloorVariables {
    fn read(&mut self, kind: SlotKind) -> core::result::Result<Option<Floor>, StoreError> {
        read_kept(name_of(kind), floor::parse)
    }

    fn probe(&mut self, kind: SlotKind, floor: Floor) -> core::result::Result<(), StoreError> {
        if self.read(kind)?.is_some_and(|kept| kept >= floor) {
            return Ok(());
        }
        probe_room()
    }

    fn raise(&mut self, kind: SlotKind, floor: Floor) -> core::result::Result<(), StoreError> {
        if self.read(kind)?.is_some_and(|kept| kept >= floor) {
            return Ok(());
        }
        runtime::set_variable(name_of(kind), &VariableVendor(VENDOR), KEPT, &floor::emit(floor))
            .map_err(|_| StoreError)?;
        // Some firmware reports success for writes that it does not keep.
        if self.read(kind)? == Some(floor) { Ok(()) } else { Err(StoreError) }
    }
}

/// The same with a count, for the store that a TPM counts: see [`counted`](stillboot_boot_support::counted).
#[derive(Clone, Copy, Debug)]
pub struct CountedVariables;

fn counted_name_of(kind: SlotKind) -> &'static CStr16 {
    match kind {
        SlotKind::Update => cstr16!("StillBootCounted"),
        SlotKind::Recovery => cstr16!("StillBootCountedRecovery"),
    }
}

impl Cell for CountedVariables {
    fn read(&mut self, kind: SlotKind) -> core::result::Result<Option<Counted>, StoreError> {
        read_kept(counted_name_of(kind), floor::parse_counted)
    }

    fn uncounted(&mut self, kind: SlotKind) -> core::result::Result<Option<Floor>, StoreError> {
        FloorVariables.read(kind)
    }

    fn probe(&mut self, _kind: SlotKind) -> core::result::Result<(), StoreError> {
        probe_room()
    }

    fn write(&mut self, kind: SlotKind, value: Counted) -> core::result::Result<(), StoreError> {
        let bytes = floor::emit_counted(value);
        runtime::set_variable(counted_name_of(kind), &VariableVendor(VENDOR), KEPT, &bytes)
            .map_err(|_| StoreError)?;
        // Some firmware reports success for writes that it does not keep.
        if self.read(kind)? == Some(value) { Ok(()) } else { Err(StoreError) }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn variables_have_the_names_that_linux_looks_for() {
        assert_eq!(PROOF.to_string(), names::PROOF_VARIABLE);
        assert_eq!(REPORT.to_string(), names::REPORT_VARIABLE);
        assert_eq!(CAME_BACK.to_string(), names::CAME_BACK_VARIABLE);
    }
}
