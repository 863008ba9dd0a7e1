//! What happens to a simulated device in words, for the lines of a replay.

use std::fmt::{self, Display};

use stillboot::boot::Report;
use stillboot::install::{InstallError, Installed};
use stillboot::record::RecordStatus;
use stillboot::request::{Answer, Request, RequestError};
use stillboot::select::CandidateKind;

use crate::disk::{Cut, Tear};
use crate::engine::{HandoverFailure, MachineRequest};
use crate::fault::Fault;
use crate::story::Step;
use crate::walk::event::{Loss, ReleaseChoice, Via, What};

/// What a power-on came to.
pub fn power_on(report: &Report) -> String {
    let record = match report.record {
        RecordStatus::Current { copy } => format!("copy {copy} of the record"),
        RecordStatus::Newer => "a record of a later version".into(),
        RecordStatus::Factory => "no record yet".into(),
        RecordStatus::Lost => "the record is lost".into(),
    };
    let line = |line: &stillboot::boot::Line| {
        format!("{} as {}: {}", line.candidate.slot, kind(line.candidate.kind), line.reason)
    };
    let lines: Vec<_> = report.lines.iter().map(line).collect();
    format!("power on: {record}; {}", lines.join("; "))
}

/// A change of the disk, or whatever else a program asks for.
pub fn change(act: &MachineRequest) -> String {
    match act {
        MachineRequest::Write(offset, bytes) => {
            format!("write of {} bytes at {offset:#x}", bytes.len())
        }
        MachineRequest::Erase(offset, len) => format!("erase of {len} bytes at {offset:#x}"),
        other => format!("{other:?}"),
    }
}

/// On what grounds a slot is tried.
pub const fn kind(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Trial => "a trial",
        CandidateKind::Good => "good",
        CandidateKind::Suspect => "a suspect",
        CandidateKind::Recovery => "recovery",
        CandidateKind::LastResort => "last resort",
    }
}

/// A request and what came of it.
pub fn request(request: &Request, answer: &Result<Answer, RequestError>) -> String {
    let asked = match request {
        Request::Read => "read the record".into(),
        Request::MarkGood(proof) => format!("confirm {}, attempt {}", proof.slot, proof.attempt),
        Request::MarkBad(slot) => format!("mark {slot} bad"),
        Request::Rollback(slot) => format!("go back from {slot}"),
        Request::HoldSlot(slot, true) => format!("hold {slot}"),
        Request::HoldSlot(slot, false) => format!("free {slot}"),
        Request::HoldUpdates(hold) if hold.until == 0 => "free updates".into(),
        Request::HoldUpdates(_) => "hold updates".into(),
        Request::Suspect(slot) => format!("suspect {slot}"),
        Request::Discard(version) => format!("discard a record of version {version}"),
        Request::Cancel => "call off the update that waits".into(),
        Request::Forget(digest) => {
            format!("forget the failure of {:02x}{:02x}..", digest[0], digest[1])
        }
        Request::NoteTime(now) => format!("note the time {now}"),
        Request::NoteStatement(seen) => format!("note {} statement {}", seen.kind, seen.number),
        Request::NoteIssue(issue) => format!("note issue {issue} of a channel index"),
    };
    match answer {
        Ok(Answer::Boots(slot)) => format!("{asked}: {slot} boots next"),
        Ok(Answer::Done) => format!("{asked}: done"),
        Ok(Answer::Already) => format!("{asked}: it is so already"),
        Err(error) => format!("{asked}: {error}"),
    }
}

/// An installation and what came of it.
pub fn install(name: &str, answer: &Result<Installed, InstallError>) -> String {
    match answer {
        Ok(done) => {
            let again = if done.resumed { ", resumed" } else { "" };
            format!(
                "install {name}: to {}, {} bytes written, {} reused{again}",
                done.slot, done.written, done.reused
            )
        }
        Err(error) => format!("install {name}: {error}"),
    }
}

/// A fault of the device.
pub fn fault(fault: Fault) -> String {
    match fault {
        Fault::WriteOnce(at) => format!("change {at} fails once"),
        Fault::WriteAlways(at) => format!("change {at} fails, and all later ones there"),
        Fault::ReadOnce(at) => format!("read {at} fails once"),
        Fault::ReadAlways(at) => format!("read {at} fails, and all later ones there"),
        Fault::Stuck(at) => format!("from change {at} on what stands there stays"),
        Fault::Misdirected(at, blocks) => format!("change {at} lands {blocks} erase blocks on"),
        Fault::Rot(at, bit) => format!("at read {at} bit {bit} of it turns"),
        Fault::Unstable(at, bit) => {
            format!("from read {at} on bit {bit} of it is wrong now and then")
        }
        Fault::Dead(from, len) => {
            format!("{len} bytes from {from:#x} on cannot be changed any more")
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOnOutcome => f.write_str("a power-on"),
            Self::Watchdog => f.write_str("a reset by a watchdog"),
            Self::Install { .. } => f.write_str("an installation"),
            Self::Interrupted { change, .. } => {
                write!(f, "an installation that the power ends before change {change}")
            }
            Self::Returns(slot) => write!(f, "a power-on in which the image in {slot} returns"),
            Self::NotStarted(slot) => {
                write!(f, "a power-on in which the image in {slot} cannot be started")
            }
            Self::Confirm => f.write_str("the confirmation of what runs"),
            Self::Rollback => f.write_str("going back from what runs"),
            Self::MarkBad(slot) => write!(f, "marking {slot} bad"),
            Self::Note(issue) => write!(f, "note index {issue}"),
            Self::Hold(slot, true) => write!(f, "holding {slot}"),
            Self::Hold(slot, false) => write!(f, "freeing {slot}"),
            Self::Scrub(slot) => write!(f, "reading all of {slot}"),
            Self::LoseRecord => f.write_str("the loss of the record"),
            Self::ForgeSequence => f.write_str("a forged record of the highest sequence"),
            Self::Wreck(slot) => write!(f, "the loss of what is in {slot}"),
            Self::Spoil(slot) => write!(f, "the loss of some of the kernel in {slot}"),
            Self::Plant(slot, _) => write!(f, "a release copied into {slot}"),
        }
    }
}

impl Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOnOutcome { watchdog, back } => {
                f.write_str(if *watchdog { "a watchdog resets" } else { "the power comes on" })?;
                match back {
                    Some(HandoverFailure::Returned) => f.write_str(", the image returns"),
                    Some(HandoverFailure::NotStarted) => {
                        f.write_str(", the image cannot be started")
                    }
                    None => Ok(()),
                }
            }
            Self::Install(offer, slot) => {
                write!(f, "install {offer}")?;
                slot.map_or(Ok(()), |slot| write!(f, " to {slot}"))
            }
            Self::Confirm => f.write_str("confirm what runs"),
            Self::ConfirmStale => f.write_str("confirm with the proof of an earlier power-on"),
            Self::Rollback(None) => f.write_str("go back from what runs"),
            Self::Rollback(Some(slot)) => write!(f, "go back from {slot}"),
            Self::Cancel => f.write_str("call off the update that waits"),
            Self::Forget => f.write_str("forget that the last update failed"),
            Self::MarkBad(slot) => write!(f, "mark {slot} bad"),
            Self::Hold(slot, true) => write!(f, "hold {slot}"),
            Self::Hold(slot, false) => write!(f, "free {slot}"),
            Self::HoldUpdates(true) => f.write_str("hold updates"),
            Self::HoldUpdates(false) => f.write_str("free updates"),
            Self::Suspect(slot) => write!(f, "suspect {slot}"),
            Self::Scrub(slot) => write!(f, "read all of {slot}"),
            Self::LoseRecord => f.write_str("all copies of the record are lost"),
            Self::Discard => f.write_str("discard the record"),
            Self::Wreck(slot, from_start) => {
                write!(f, "the {} of {slot} is lost", if *from_start { "start" } else { "end" })
            }
            Self::Fails(what, events) => {
                write!(f, "for {events} events the device fails: {}", fault(*what))
            }
            Self::Check => f.write_str("the next update"),
        }
    }
}

impl Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "",
            Self::Frames => " in frames",
            Self::Patch => " as a patch",
        })
    }
}

impl Display for ReleaseChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("the next release"),
            Self::Again => f.write_str("the last release once more"),
            Self::Old(back) => write!(f, "the release {back} before the last"),
            Self::Tampered => f.write_str("the next release with one bit turned"),
            Self::OtherClass => f.write_str("a release for another class"),
            Self::Low => f.write_str("a release below the floor"),
            Self::Repair => f.write_str("what runs, as a repair"),
            Self::Recovery(number) => write!(f, "recovery system {number}"),
        }
    }
}

impl Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before it"),
            Self::After => f.write_str("after it"),
            Self::Torn(Tear::Prefix(bytes)) => write!(f, "after its first {bytes} bytes"),
            Self::Torn(Tear::Suffix(bytes)) => write!(f, "after its last {bytes} bytes"),
            Self::Torn(Tear::Mixed(_)) => f.write_str("with parts of it done"),
        }
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::All => "all",
            Self::Some(_) => "some",
        })
    }
}
