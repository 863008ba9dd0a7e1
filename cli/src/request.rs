//! Carries out one request about the boot record and prints the result.

use serde_json::json;
use stillboot::driver;
use stillboot::format::BootProof;
use stillboot::layout::Layout;
use stillboot::record::{ConfirmRefusal, RecordStatus};
use stillboot::request::{Answer, Perform, Request, RequestError};
use stillboot_linux::FileDevice;
use stillboot_linux::disk::{self, Disk};

use crate::args::LockArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{record, time, view};

/// Carries out a request on a disk and prints the result.
pub fn request(
    disk: &LockArgs,
    request: Request,
    out: &Output,
    say: impl FnOnce(Answer) -> String,
) -> Result<(), Failure> {
    request_by(None, disk, request, out, say)
}

/// Carries out a request; with a proof only if that matches the record.
pub fn request_by(
    proof: Option<&BootProof>,
    disk: &LockArgs,
    request: Request,
    out: &Output,
    say: impl FnOnce(Answer) -> String,
) -> Result<(), Failure> {
    let Disk { devices, plan, .. } = &mut disk.open(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    if let Some(proof) = proof {
        let mut machine = Perform::new(&layout, Request::Read);
        run(&mut machine, &layout, devices)?;
        // A proof of another disk would name the wrong slot to leave.
        if matches!(machine.copies().0, RecordStatus::Current { .. })
            && machine.record().body.slot(proof.slot).digest != proof.digest
        {
            return Err(RequestError::Confirm(ConfirmRefusal::OtherManifest).into());
        }
    }
    carry_out(devices, &layout, request, out, say)
}

/// Carries out a request and prints the result.
pub fn carry_out(
    devices: &mut [FileDevice],
    layout: &Layout<'_>,
    request: Request,
    out: &Output,
    say: impl FnOnce(Answer) -> String,
) -> Result<(), Failure> {
    let mut machine = Perform::new(layout, request);
    let answer = run(&mut machine, layout, devices)?;
    // A service that confirms at every start succeeds if the slot is good already.
    let is_confirmation = matches!(request, Request::MarkGood(_));
    if answer == Answer::Already && !is_confirmation {
        return Err(Failure::new(
            Exit::Nothing,
            "already",
            match request {
                Request::Cancel => "nothing to do: no update waits to be tried or is on trial",
                _ => "nothing to do: it is so already, and nothing was written",
            },
        ));
    }
    // Loaders have no clock: a confirmation gets its time here.
    if is_confirmation
        && answer == Answer::Done
        && let Some(now) = time::now()
    {
        let mut note = Perform::new(layout, Request::NoteTime(now));
        match run(&mut note, layout, devices) {
            Ok(_) => machine = note,
            Err(failure) => out.warn(format_args!(
                "the time of the confirmation is not noted: {}",
                failure.message
            )),
        }
    }
    out.line(say(answer));
    out.result(|| {
        let boots = match answer {
            Answer::Boots(slot) => Some(slot.name()),
            Answer::Done | Answer::Already => None,
        };
        json!({
            "done": true, "already": answer == Answer::Already, "boots": boots,
            "record": view::record(&view::Shown {
                body: &machine.record().body, layout, choice: machine.copies().0,
            }),
        })
    });
    Ok(())
}

/// Runs a request to its end.
pub fn run(
    machine: &mut Perform<'_>,
    layout: &Layout<'_>,
    devices: &mut [FileDevice],
) -> Result<Answer, Failure> {
    let mut buffer = vec![0; Perform::buffer_len_min(layout)];
    let result = driver::perform(machine, &mut disk::lent(devices), &mut buffer);
    result.map_err(|error| {
        // The core does not tell the two cases apart, and its message promises a new record.
        if let RequestError::NoRecord(RecordStatus::Lost) = error
            && let Some(dead) = record::all_dead_on(layout, devices)
        {
            let failure = Failure::from(error);
            return Failure { message: dead, ..failure };
        }
        let mut failure = Failure::from(error);
        if let (RequestError::Device(_) | RequestError::Record(_), Some((path, error))) =
            (error, disk::last_error(devices))
        {
            failure = failure.also(format_args!("{}: {error}", path.display()));
        }
        // The record lacks what the last power-on could not write.
        let trouble = match error {
            RequestError::Record(_) => record::trouble_on(layout, devices)
                .or_else(|| record::not_written_on(layout, devices)),
            RequestError::Confirm(_) | RequestError::NoRecord(_) => {
                record::trouble_on(layout, devices)
            }
            _ => None,
        };
        match trouble {
            Some(trouble) => failure.also(trouble),
            None => failure,
        }
    })
}
