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
use stillboot::record::RecordStatus;
use stillboot::select::CandidateKind;

/// The text of a report, with `notes` of the loader itself behind it.
#[must_use]
pub fn text(report: &Report, notes: &[String]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "record: {}", choice_name(report.record));
    for line in &report.lines {
        let (slot, kind) = (line.candidate.slot, candidate_name(line.candidate.kind));
        let _ = writeln!(out, "slot {slot} ({kind}): {}", line.reason);
    }
    if report.floor_ignored {
        out.push_str("note: a recorded floor above all there is was ignored\n");
    }
    if report.store_failed {
        out.push_str("note: the store of the floor failed\n");
    }
    if let Some(needed) = report.buffer_needed {
        let _ = writeln!(out, "note: the work buffer needs {needed} bytes");
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
pub const fn choice_name(choice: RecordStatus) -> &'static str {
    match choice {
        RecordStatus::Current { .. } => "current",
        RecordStatus::Factory => "factory",
        RecordStatus::Lost => "lost",
        RecordStatus::Newer => "newer",
    }
}

/// On what grounds a slot was looked at, in a word.
#[must_use]
pub const fn candidate_name(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Trial => "trial",
        CandidateKind::Good => "good",
        CandidateKind::Suspect => "suspect",
        CandidateKind::Recovery => "recovery",
        CandidateKind::LastResort => "last resort",
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroUsize;

    use stillboot::boot::{Line, Reason};
    use stillboot::device::DeviceError;
    use stillboot::format::{Role, Slot};
    use stillboot::select::Candidate;

    use super::*;

    #[test]
    fn each_fact_has_its_line() {
        let mut report = Report::new();
        report.floor_ignored = true;
        report.store_failed = true;
        report.buffer_needed = NonZeroUsize::new(4096);
        report.record_write_failed = Some(DeviceError::ReadOnly);
        for (slot, kind, reason) in [
            (Slot::A, CandidateKind::Trial, Reason::Corrupt { role: Role::Kernel }),
            (Slot::B, CandidateKind::LastResort, Reason::Started),
        ] {
            report.lines.push(Line::new(Candidate { slot, kind }, reason)).unwrap();
        }
        let text = text(&report, &["time: 5 ms".into()]);
        assert_eq!(
            text,
            "record: factory\n\
             slot a (trial): corrupt: the kernel does not match the manifest\n\
             slot b (last resort): started\n\
             note: a recorded floor above all there is was ignored\n\
             note: the store of the floor failed\n\
             note: the work buffer needs 4096 bytes\n\
             note: the boot record could not be written: the device is write protected\n\
             time: 5 ms\n"
        );
        assert!(text.is_ascii());
    }
}
