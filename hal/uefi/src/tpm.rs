//! Measures what is started into the machine's TPM 2.0.
//!
//! What is measured, and where, says [`measure`](stillboot_boot_support::measure). A machine without a TPM
//! starts the same.

use alloc::format;
use alloc::string::String;

use stillboot_boot_support::measure::Measurement;
use uefi::Status;
use uefi::boot::{self, ScopedProtocol};
use uefi::proto::tcg::v2::{HashLogExtendEventFlags, PcrEventInputs, Tcg};
use uefi::proto::tcg::{EventType, PcrIndex};

use crate::disks::open;

/// The TPM, if the firmware speaks of one.
pub(crate) fn tpm() -> Option<ScopedProtocol<Tcg>> {
    let handle = boot::get_handle_for_protocol::<Tcg>().ok()?;
    let mut tcg = open::<Tcg>(handle).ok()?;
    tcg.get_capability().is_ok_and(|capability| capability.tpm_present()).then_some(tcg)
}

/// Extends the registers, and the firmware's log of them. Returns a line for the report.
///
/// A TPM that fails does not stop the start. A system that relies on the registers then finds them
/// without the expected values.
pub fn measure(all: &[Measurement<'_>]) -> String {
    let Some(mut tcg) = tpm() else { return "tpm: none\n".into() };
    for Measurement { pcr, data, event, .. } in all {
        let flags = HashLogExtendEventFlags::empty();
        let done = PcrEventInputs::new_in_box(PcrIndex(*pcr), EventType::IPL, event.as_bytes())
            .and_then(|event| tcg.hash_log_extend_event(flags, data, &event));
        // If the log is full, the event is not in it, but the register was extended.
        if let Err(error) = done
            && error.status() != Status::VOLUME_FULL
        {
            return format!("tpm: not measured: {event}: {}\n", error.status());
        }
    }
    format!("tpm: {} events measured\n", all.len())
}
