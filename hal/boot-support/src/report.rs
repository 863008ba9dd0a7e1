//! The text of the report: what this power-on found, for the system that was started or an operator
//! at the console.
//!
//! ```text
//! record: current
//! slot a (trial): corrupt: the kernel does not match the manifest
//! slot b (good): started
//! note: ...
//! time: ...
//! ```
//!
//! ASCII, one fact per line. It is for people and for tests; nothing is decided by it.

use alloc::string::String;
use core::fmt::Write as _;

use stillboot::boot::Report;
use stillboot::record::Choice;
use stillboot::select::Claim;

/// The text of a report, with `notes` of the loader itself behind it.
#[must_use]
pub fn text(report: &Report, notes: &[String]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "record: {}", choice_name(report.record));
    for line in &report.lines {
        let (slot, claim) = (line.candidate.slot, claim_name(line.candidate.claim));
        let _ = writeln!(out, "slot {slot} ({claim}): {}", line.reason);
    }
    if report.floor_ignored {
        out.push_str("note: a recorded floor above all there is was ignored\n");
    }
    if report.store_failed {
        out.push_str("note: the store of the floor failed\n");
    }
    if let Some(error) = report.record_write_failed {
        let _ = writeln!(out, "note: the boot record could not be written: {error}");
    }
    for note in notes {
        let _ = writeln!(out, "{note}");
    }
    out
}

/// How a boot record was found, in a word.
#[must_use]
pub const fn choice_name(choice: Choice) -> &'static str {
    match choice {
        Choice::Current { .. } => "current",
        Choice::Factory => "factory",
        Choice::Lost => "lost",
        Choice::Newer => "newer",
    }
}

/// On what grounds a slot was looked at, in a word.
#[must_use]
pub const fn claim_name(claim: Claim) -> &'static str {
    match claim {
        Claim::Trial => "trial",
        Claim::Good => "good",
        Claim::Suspect => "suspect",
        Claim::Recovery => "recovery",
        Claim::LastResort => "last resort",
    }
}

#[cfg(test)]
mod tests {
    use stillboot::boot::{Line, Reason};
    use stillboot::device::DeviceError;
    use stillboot::format::{Role, Slot};
    use stillboot::select::Candidate;

    use super::*;

    #[test]
    fn each_fact_has_its_line() {
        let mut report = Report {
            record: Choice::Factory,
            lines: Default::default(),
            floor_ignored: true,
            store_failed: true,
            record_write_failed: Some(DeviceError::ReadOnly),
        };
        for (slot, claim, reason) in [
            (Slot::A, Claim::Trial, Reason::Corrupt { role: Role::Kernel }),
            (Slot::B, Claim::LastResort, Reason::Started),
        ] {
            report.lines.push(Line { candidate: Candidate { slot, claim }, reason }).unwrap();
        }
        let text = text(&report, &["time: 5 ms".into()]);
        assert_eq!(
            text,
            "record: factory\n\
             slot a (trial): corrupt: the kernel does not match the manifest\n\
             slot b (last resort): started\n\
             note: a recorded floor above all there is was ignored\n\
             note: the store of the floor failed\n\
             note: the boot record could not be written: the device is write protected\n\
             time: 5 ms\n"
        );
        assert!(text.is_ascii());
    }
}
