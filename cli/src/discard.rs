//! `stillboot record discard`: destroys a record that nothing else replaces.

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::request::{Perform, Request};
use stillboot_linux::disk::Disk;

use crate::args::LockArgs;
use crate::failure::Failure;
use crate::live::LiveArgs;
use crate::output::Output;
use crate::{record, request, view};

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
    Use it for a record that a later version of this software wrote: loaders of this version only\n\
    read it, so nothing can be installed. Use it also where a slot that cannot be read keeps the\n\
    recorded floor in force.\n\n\
    It loses the tries that were spent, the list of updates that failed, holds, suspicions,\n\
    priorities, the recorded floor, the data epoch, the history of confirmed versions, and the\n\
    highest numbers of statements and of a channel index. Floor and data epoch are taken from the\n\
    good slots again: if they are lower, releases that the floor refused may be installed again.\n\
    The contents of the slots do not change.")]
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
const LOST: [&str; 9] = [
    "the tries that were spent",
    "the list of updates that failed",
    "holds",
    "suspicions",
    "priorities",
    "the recorded floor",
    "the data epoch",
    "the history of confirmed versions",
    "the highest numbers of statements and of a channel index",
];

/// Destroys all copies of the record.
pub fn discard(args: &DiscardArgs, out: &Output) -> Result<(), Failure> {
    let Disk { devices, plan, .. } = &mut args.disk.open(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let body = record::read(&layout, devices)?.record.body;
    args.live.check(&args.disk.at.disk, &body)?;
    let mut machine = Perform::new(&layout, Request::Discard(args.version));
    request::run(&mut machine, &layout, devices)?;
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
