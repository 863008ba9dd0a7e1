//! Commands that are one request about the boot record: `mark-good`, `mark-bad`, `rollback`, `cancel`,
//! `forget`, `hold`, `unhold`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use stillboot::format::{Digest, Hold, Slot};
use stillboot::request::{Answer, Request};
use stillboot_linux::disk::Disk;

use crate::args::{self, LockArgs, read_proof};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::request::{carry_out, request, request_by};
use crate::{record, time, view};

/// Options of `mark-good`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stillboot mark-good --disk /dev/sda\n  \
    stillboot mark-good --disk disk.img --proof proof\n\n\
    Exits 0 also if the slot is good already, 4 if the proof is not of its latest boot.")]
pub struct MarkGoodArgs {
    #[command(flatten)]
    disk: LockArgs,
    /// The boot proof; by default that of this system
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

/// Confirms the slot that runs.
pub fn mark_good(args: &MarkGoodArgs, out: &Output) -> Result<(), Failure> {
    let proof = read_proof(args.proof.as_deref())?;
    request(&args.disk, Request::MarkGood(proof), out, |answer| match answer {
        Answer::Already => format!("slot {} was good already: nothing was written", proof.slot),
        Answer::Done | Answer::Boots(_) => format!("slot {} is good", proof.slot),
    })
}

/// Options of `mark-bad`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot mark-bad b --disk disk.img\n\n\
    The update in it is banned: `install` refuses it here until `stillboot forget` lifts that.\n\
    `stillboot cancel` cancels an update that waits, without a ban.")]
pub struct MarkBadArgs {
    /// The slot
    #[arg(value_name = "SLOT", value_parser = args::slot)]
    slot: Slot,
    #[command(flatten)]
    disk: LockArgs,
}

/// Marks a slot as bad.
pub fn mark_bad(args: &MarkBadArgs, out: &Output) -> Result<(), Failure> {
    request(&args.disk, Request::MarkBad(args.slot), out, |_| format!("slot {} is bad", args.slot))
}

/// Options of `rollback`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stillboot rollback --disk /dev/sda\n  \
    stillboot rollback --disk disk.img --slot b\n\n\
    The slot that is left stays good and is held; `stillboot unhold b` releases it.\n\
    From an update on trial it goes back as well, and that update is not accepted here again until\n\
    `stillboot forget` lifts that; `stillboot cancel` cancels a trial without a ban.\n\
    Restart before the next update: until then `stillboot install` does not replace the slot that\n\
    boots next, unless --slot names it.\n\
    If an update waits for its trial, rollback cancels that update and changes nothing else, as\n\
    `stillboot cancel` does.")]
pub struct RollbackArgs {
    #[command(flatten)]
    disk: LockArgs,
    /// The boot proof that names the slot to leave; by default that of this system
    #[arg(long, value_name = "FILE", conflicts_with = "slot")]
    proof: Option<PathBuf>,
    /// The slot to leave
    #[arg(long, value_name = "SLOT", value_parser = args::slot)]
    slot: Option<Slot>,
}

/// Goes back to the other good slot.
pub fn rollback(args: &RollbackArgs, out: &Output) -> Result<(), Failure> {
    let say = |answer| match answer {
        Answer::Boots(slot) => format!("slot {slot} boots next"),
        Answer::Done | Answer::Already => "done".into(),
    };
    let Some(slot) = args.slot else {
        let proof = read_proof(args.proof.as_deref())?;
        return request_by(Some(&proof), &args.disk, Request::Rollback(proof.slot), out, say);
    };
    request(&args.disk, Request::Rollback(slot), out, say)
}

/// Options of `cancel`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot cancel --disk /dev/sda\n\n\
    The update that waits for its trial, or is on trial, is not started again. It may be\n\
    installed again. `stillboot mark-bad` bans an update until `stillboot forget` lifts the ban.")]
pub struct CancelArgs {
    #[command(flatten)]
    disk: LockArgs,
}

/// Cancels the update that waits or is on trial.
pub fn cancel(args: &CancelArgs, out: &Output) -> Result<(), Failure> {
    request(&args.disk, Request::Cancel, out, |_| {
        "the update that waited or was on trial is called off; if it runs, restart".into()
    })
}

/// Options of `forget`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot forget 3f9a0c71 --disk /dev/sda\n\n\
    `stillboot status` lists the updates that failed here. One that is forgotten may be installed\n\
    again, whatever the reason of its failure.")]
pub struct ForgetArgs {
    /// The digest of the update, or enough of its first digits to tell it from the others
    #[arg(value_name = "DIGEST", value_parser = digits)]
    digest: String,
    #[command(flatten)]
    disk: LockArgs,
}

fn digits(text: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        4..=64 if is_hex => Ok(text.to_ascii_lowercase()),
        _ => Err(format!("expected 4 to 64 hexadecimal digits, found `{text}`")),
    }
}

/// Takes an update off the list of those that failed here.
pub fn forget(args: &ForgetArgs, out: &Output) -> Result<(), Failure> {
    let Disk { devices, plan, .. } = &mut args.disk.open(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let body = record::read(&layout, devices)?.record.body;
    let is_meant = |digest: &&Digest| view::hex(&digest[..]).starts_with(&args.digest);
    let mut found = body.failed.iter().map(|failed| &failed.digest).filter(is_meant);
    let digest = match (found.next(), found.next()) {
        (Some(digest), None) => *digest,
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format_args!(
                "several updates that failed here begin with {}: give more digits",
                args.digest
            )));
        }
        (None, _) => {
            return Err(Failure::new(
                Exit::Nothing,
                "already",
                format_args!(
                    "nothing to do: no update that failed here begins with {}; `stillboot status` \
                     lists them",
                    args.digest
                ),
            ));
        }
    };
    carry_out(devices, &layout, Request::Forget(digest), out, |_| {
        format!("update {} may be installed again", view::hex(&digest))
    })
}

/// Options of `hold`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["slot", "until"])))]
#[command(after_help = "Examples:\n  stillboot hold b --disk disk.img\n  \
    stillboot hold --until 2030-01-31 --disk disk.img\n  \
    stillboot hold --until forever --disk disk.img")]
pub struct HoldArgs {
    /// Keep this slot from being replaced
    #[arg(value_name = "SLOT", value_parser = args::slot)]
    slot: Option<Slot>,
    /// Install nothing until then: a date, a time with its zone, or `forever`
    #[arg(long, value_name = "TIME", value_parser = time::parse_or_forever)]
    until: Option<u64>,
    #[command(flatten)]
    disk: LockArgs,
}

/// Holds a slot, or all updates.
pub fn hold(args: &HoldArgs, out: &Output) -> Result<(), Failure> {
    match (args.slot, args.until) {
        (Some(slot), _) => request(&args.disk, Request::HoldSlot(slot, true), out, |_| {
            format!("slot {slot} is held: it will not be replaced")
        }),
        (None, Some(until)) => {
            let now = time::now();
            if until == 0 || now.is_some_and(|now| until <= now) {
                return Err(Failure::usage(format_args!(
                    "--until: expected a time to come, found {}",
                    time::show(until)
                )));
            }
            let hold = Hold { until, since: now.unwrap_or(0) };
            request(&args.disk, Request::HoldUpdates(hold), out, |_| match until {
                u64::MAX => "updates are on hold until `stillboot unhold`".into(),
                until => format!("updates are on hold until {}", time::show(until)),
            })
        }
        (None, None) => Err(Failure::usage("expected a slot or --until TIME")),
    }
}

/// Options of `unhold`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stillboot unhold b --disk disk.img\n  \
    stillboot unhold --disk disk.img")]
pub struct UnholdArgs {
    /// The slot that may be replaced again; without it the hold on all updates ends
    #[arg(value_name = "SLOT", value_parser = args::slot)]
    slot: Option<Slot>,
    #[command(flatten)]
    disk: LockArgs,
}

/// Ends a hold.
pub fn unhold(args: &UnholdArgs, out: &Output) -> Result<(), Failure> {
    match args.slot {
        Some(slot) => request(&args.disk, Request::HoldSlot(slot, false), out, |_| {
            format!("slot {slot} may be replaced again")
        }),
        None => request(&args.disk, Request::HoldUpdates(Hold::default()), out, |_| {
            "updates are not on hold any more".into()
        }),
    }
}
