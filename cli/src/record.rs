//! Reads the boot record of disks that another process may be writing to, and discards it.

use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::driver;
use stillboot::format::Record;
use stillboot::layout::Layout;
use stillboot::operate::{Operate, Request};
use stillboot::record::{Choice, CopyState};
use stillboot_linux::FileDevice;
use stillboot_linux::disk::{self, Disk};

use crate::args::LockArgs;
use crate::failure::Failure;
use crate::live::LiveArgs;
use crate::output::Output;
use crate::{operate, view};

/// How often the record is read until twice the same was found.
const READS_MAX: usize = 20;
/// Longer than a writer takes from one copy to the next, on most disks.
const PAUSE: Duration = Duration::from_millis(5);

/// A record as it was read.
pub struct Read {
    /// What both copies amount to.
    pub choice: Choice,
    /// What each is.
    pub copies: [CopyState; 2],
    /// The true one, or that of a new device.
    pub record: Record,
}

/// Reads the record, without a lock. A writer changes one copy after the other, and each in between
/// is no record: what is read twice alike was not being changed.
pub fn read(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Result<Read, Failure> {
    let mut last = once(layout, devices)?;
    for _ in 0..READS_MAX {
        let again = once(layout, devices)?;
        if again.copies == last.copies {
            return Ok(again);
        }
        last = again;
        thread::sleep(PAUSE);
    }
    Ok(last)
}

/// What keeps the record from being written, as far as its copies show that, and the way out.
pub fn trouble(copies: &[CopyState]) -> Option<String> {
    let newer = |state: &CopyState| match state {
        CopyState::Newer { version } => Some(*version),
        CopyState::Blank
        | CopyState::Invalid
        | CopyState::Valid { .. }
        | CopyState::Unreadable(_) => None,
    };
    if let Some(version) = copies.iter().filter_map(newer).max() {
        return Some(format!(
            "it is of format version {version}, which a later version of this software wrote: \
             update this software and the loader, or give the record up with `stillboot record \
             discard --version {version} --offline`, whose --help says what is lost"
        ));
    }
    // The other copy is never written then, for it is the only one.
    let unreadable = |(number, state): (usize, &CopyState)| match state {
        CopyState::Unreadable(error) => Some((number, *error)),
        CopyState::Blank
        | CopyState::Invalid
        | CopyState::Newer { .. }
        | CopyState::Valid { .. } => None,
    };
    let (number, error) = copies.iter().enumerate().find_map(unreadable)?;
    Some(format!(
        "copy {number} of the boot record cannot be read ({error}): the device boots what it did, \
         and nothing is tried, confirmed or installed until the medium under that copy is replaced"
    ))
}

/// A copy that is damaged while the other one is in force: nothing is lost, and the next change
/// writes it again.
pub fn damaged_copy(choice: Choice, copies: &[CopyState]) -> Option<String> {
    let Choice::Current { copy } = choice else { return None };
    let number = copies.iter().position(|state| *state == CopyState::Invalid)?;
    Some(format!(
        "copy {number} is damaged or was cut short, and copy {copy} is in force: the next change \
         writes copy {number} again"
    ))
}

/// The same, of a disk at hand.
pub fn trouble_on(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Option<String> {
    trouble(&read(layout, devices).ok()?.copies)
}

/// Commands about the boot record itself.
#[derive(Subcommand, Debug)]
pub enum RecordCommand {
    /// Destroys the boot record: the next power-on rebuilds it from the slots
    Discard(DiscardArgs),
}

/// Options of `record discard`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot record discard --version 2 --offline --disk disk.img\n\n\
    Also where a slot that cannot be read keeps the recorded floor in force.\n\
    For a record that a later version of this software wrote: loaders of this version only read\n\
    it, so nothing can be installed. Lost are: the tries that were spent, the list of updates that\n\
    failed, holds, suspicions, priorities, the recorded floor and the data epoch. Floor and data\n\
    epoch are taken from the good slots again: where these have lower ones, a release that the\n\
    floor kept out may be installed again. What is in the slots stays.")]
pub struct DiscardArgs {
    #[command(flatten)]
    disk: LockArgs,
    /// The format version of the record, as `stillboot status` and messages show it
    #[arg(long, value_name = "NUMBER")]
    version: u16,
    /// Nothing runs from this disk
    #[arg(long, required = true)]
    offline: bool,
    #[command(flatten)]
    live: LiveArgs,
}

/// What goes with the record.
const LOST: [&str; 7] = [
    "the tries that were spent",
    "the list of updates that failed",
    "holds",
    "suspicions",
    "priorities",
    "the recorded floor",
    "the data epoch",
];

/// Destroys both copies of the record.
pub fn discard(args: &DiscardArgs, out: &Output) -> Result<(), Failure> {
    let Disk { devices, plan, .. } = &mut args.disk.open(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let body = read(&layout, devices)?.record.body;
    args.live.check(&args.disk.at.disk, &body)?;
    let mut machine = Operate::new(&layout, Request::Discard(args.version));
    operate::run(&mut machine, &layout, devices)?;
    out.line("the boot record is discarded: the next power-on rebuilds it from the slots");
    out.line(format_args!("lost: {}", LOST.join(", ")));
    let body = &machine.record().body;
    let shown = view::Shown { body, layout: &layout, choice: machine.copies().0 };
    out.result(|| {
        json!({
            "done": true, "already": false, "boots": null, "lost": LOST,
            "record": view::record(&shown),
        })
    });
    Ok(())
}

fn once(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Result<Read, Failure> {
    let mut machine = Operate::new(layout, Request::Read);
    let mut buffer = vec![0; Operate::buffer_len_min(layout)];
    if let Err(error) = driver::operate(&mut machine, &mut disk::lent(devices), &mut buffer) {
        let failure = Failure::from(error);
        return Err(match disk::last_error(devices) {
            Some((path, error)) => failure.also(format_args!("{}: {error}", path.display())),
            None => failure,
        });
    }
    let (choice, copies) = machine.copies();
    Ok(Read { choice, copies, record: machine.record().clone() })
}
