//! `status`: shows the boot record.

use std::path::PathBuf;

use clap::Args;
use stillboot::format::Slot;
use stillboot::record::RecordStatus;
use stillboot_boot_support::report;
use stillboot_linux::disk::Disk;

use crate::args::DiskArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::{record, view};

/// Options of `status`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  stillboot status disk.img --json\n  \
    stillboot status one.img two.img")]
pub struct StatusArgs {
    /// The disk, or the image of a disk. May be repeated, for slots on a second disk
    #[arg(value_name = "FILE", required_unless_present = "disk")]
    file: Vec<PathBuf>,
    /// The disk as an option, as other commands take it; these come after those without an option
    #[arg(long, value_name = "FILE")]
    disk: Vec<PathBuf>,
}

/// Shows the boot record.
pub fn status(args: &StatusArgs, out: &Output) -> Result<(), Failure> {
    let at = DiskArgs { disk: args.file.iter().chain(&args.disk).cloned().collect() };
    let Disk { devices, plan, .. } = &mut at.look(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let record::Read { choice, copies, record } = record::read(&layout, devices)?;
    let trouble = record::trouble(choice, &copies);
    // If no place can be read, both lines would say the same.
    if !matches!(choice, RecordStatus::Current { .. }) && record::all_dead(&copies).is_none() {
        out.line(format_args!("boot record    {}", view::choice_text(choice, &copies)));
    }
    if let Some(trouble) = &trouble {
        out.line(format_args!("boot record    {trouble}"));
    }
    for remark in record::remarks(choice, &copies) {
        out.line(format_args!("boot record    {remark}"));
    }
    let shown = view::Shown { body: &record.body, layout: &layout, choice };
    view::record_lines(out, &shown);
    out.result(|| {
        let mut value = view::record(&shown);
        value["boots"] = shown.boots().map(Slot::name).into();
        value["choice"] = report::choice_name(choice).into();
        value["sequence"] = view::sequence(choice, &record);
        value["copies"] = copies.iter().map(view::copy).collect();
        value["trouble"] = trouble.into();
        value
    });
    Ok(())
}
