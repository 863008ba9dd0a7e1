//! `scrub`: reads every slot in full and says whether it would still boot. Writes nothing.

use clap::Args;
use serde_json::json;
use stillboot::boot::Reason;
use stillboot::check;
use stillboot::format::{Slot, SlotState};
use stillboot::layout::Layout;
use stillboot::record::RecordStatus;
use stillboot::verify::Device;
use stillboot_fetch::sha256::FastSha256;
use stillboot_linux::FileDevice;
use stillboot_linux::disk::{self, Disk};

use crate::args::{DeviceArgs, DiskArgs};
use crate::failure::{Exit, Failure, reason_kind, reason_text};
use crate::output::Output;
use crate::progress::Progress;
use crate::{record, view};

/// Bytes read at a time.
const BUFFER_LEN: usize = 4 << 20;

/// Options of `scrub`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot scrub --disk disk.img --roots keys/roots.toml --class model-1\n\n\
    Exits 1 if a slot that should boot does not verify; `stillboot install --repair` writes\n\
    the running version to it again.")]
pub struct ScrubArgs {
    #[command(flatten)]
    disk: DiskArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What became of one slot.
struct Finding {
    slot: Slot,
    state: SlotState,
    /// Whether the slot should boot.
    counts: bool,
    problem: Option<(&'static str, String)>,
}

/// Checks every slot that is not empty.
pub fn scrub(args: &ScrubArgs, out: &Output) -> Result<(), Failure> {
    let roots = args.device.roots()?;
    let device = args.device.device(&roots);
    let Disk { devices, plan, .. } = &mut args.disk.look(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let mut buffer = vec![0; BUFFER_LEN];
    let record::Read { choice, record, .. } = record::read(&layout, devices)?;
    // A record that is lost, blank, or of a newer version does not say what the slots hold.
    let known = matches!(choice, RecordStatus::Current { .. });
    let mut body = record.body;

    let mut findings = Vec::new();
    for at in layout.slots() {
        let slot = at.slot;
        let entry = body.slot(slot).clone();
        // Without a record every slot may hold something.
        if known && entry.state == SlotState::Empty {
            continue;
        }
        let total = length(&device, &layout, slot, devices, &mut buffer);
        // On a new device a slot without a head that verifies is empty.
        if choice == RecordStatus::Factory && total.is_none() {
            continue;
        }
        let total = total.unwrap_or(0);
        let mut progress = Progress::new(out, format!("checking slot {slot}"), total);
        let result = check::slot::<FastSha256>(
            &device,
            &layout,
            slot,
            &mut disk::lent(devices),
            &mut |done| progress.set(done),
            &mut buffer,
        );
        drop(progress);
        // The slot is read without a lock: a slot that was written meanwhile is not damaged.
        let now = record::read(&layout, devices)?.record.body;
        if *now.slot(slot) != entry {
            out.warn(format_args!("slot {slot} was changed while it was read"));
            findings.push(Finding {
                slot,
                state: now.slot(slot).state,
                counts: false,
                problem: None,
            });
            body = now;
            continue;
        }
        let problem = match result {
            Err(reason) => Some((reason_kind(&reason), reason_text(&reason))),
            Ok(manifest) if known && *manifest.digest() != entry.digest => {
                let reason = Reason::OtherManifest;
                Some((reason_kind(&reason), "holds another manifest than the record says".into()))
            }
            Ok(_) => None,
        };
        let counts = known
            && match entry.state {
                SlotState::Good | SlotState::Ready { .. } | SlotState::Trying { .. } => true,
                SlotState::Empty | SlotState::Writing | SlotState::Bad { .. } => false,
            };
        findings.push(Finding { slot, state: entry.state, counts, problem });
    }
    report(&findings, out)
}

fn report(findings: &[Finding], out: &Output) -> Result<(), Failure> {
    for finding in findings {
        let what = match &finding.problem {
            None => "verifies, every byte",
            Some((_, text)) => text,
        };
        out.line(format_args!(
            "slot {} ({}): {what}",
            finding.slot,
            view::state_name(&finding.state)
        ));
    }
    let values: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "slot": finding.slot.name(),
                "state": view::state_name(&finding.state),
                "verifies": finding.problem.is_none(),
                "problem": finding.problem.as_ref().map(|(kind, _)| *kind),
                "text": finding.problem.as_ref().map(|(_, text)| text.as_str()),
            })
        })
        .collect();
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| finding.counts && finding.problem.is_some())
        .map(|finding| finding.slot.name())
        .collect();
    if !bad.is_empty() {
        let mut failure = Failure::new(
            Exit::Failed,
            "does-not-verify",
            format_args!(
                "should boot and does not verify: slot {}; check --roots, --class and --arch \
                 first: if they are right, install the next release, or what is there with --repair; where nothing boots any more, `stillboot boot \
                 --even-if-nothing-verifies`, then `stillboot install --offline`",
                bad.join(" and slot ")
            ),
        );
        failure.details = Some(json!({ "slots": values }));
        return Err(failure);
    }
    if findings.is_empty() {
        return Err(Failure::new(
            Exit::Nothing,
            "nothing",
            "nothing to do: every slot is empty, or holds nothing that these roots trust",
        ));
    }
    out.result(|| json!({ "slots": values }));
    Ok(())
}

/// How many bytes the slot's components have, if its head says so.
fn length(
    device: &Device<'_>,
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [FileDevice],
    buffer: &mut [u8],
) -> Option<u64> {
    let mut lent = disk::lent(devices);
    let manifest = check::slot_head::<FastSha256>(device, layout, slot, &mut lent, buffer).ok()?;
    Some(manifest.components_of(slot).map(|(_, component)| component.length).sum())
}
