//! `boot`: one simulated power-on. Runs what a loader runs on that disk, and writes what it writes.
//! `next`: the same, with all that is written kept in memory.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stillboot::boot::{Boot, BootConfig, Event, Reason, Report};
use stillboot::device::BlockDevice;
use stillboot::driver::{self, Memory, NoStore};
use stillboot::format::{BootProof, Manifest, Role};
use stillboot::layout::Layout;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::select::CandidateKind;
use stillboot::verify::{SoftSha256, TrustError, Verified};
use stillboot_boot_support::report;
use stillboot_boot_support::startable::{self, Target};
use stillboot_linux::disk::{self, Disk};
use stillboot_release::keys::Roots;

use crate::args::{self, DeviceArgs, DiskArgs, LockArgs};
use crate::failure::{Exit, Failure, reason_kind, reason_text};
use crate::files::Replacement;
use crate::live::LiveArgs;
use crate::output::Output;
use crate::{files, overlay, record, size, view};

/// Bytes read at a time where nothing is loaded.
const BUFFER_LEN: usize = 1 << 20;

/// Options of `boot`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot boot --disk disk.img --roots keys/roots.toml --class model-1 --proof-out proof\n\n\
    Exits 0 when a slot was started, 1 when none could be. A try is spent as on a real device:\n\
    `stillboot next` only says what would start.")]
pub struct BootArgs {
    #[command(flatten)]
    disk: LockArgs,
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    power_on: PowerOnArgs,
    /// Write as a loader would even if no slot verifies with these roots and this class: slots are
    /// marked bad, and a lost record is rebuilt
    #[arg(long)]
    even_if_nothing_verifies: bool,
    /// The nonce of this power-on, up to 16 hexadecimal digits; random by default
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Option<u64>,
    /// Write the boot proof to this file
    #[arg(long, value_name = "FILE")]
    proof_out: Option<PathBuf>,
    /// Write the components that were loaded into this directory, each to a file named after its
    /// role; files of other roles are removed from it
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
}

/// Options of `next`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot next --disk /dev/sda --roots keys/roots.toml --class model-1\n\n\
    Exits 0 when a slot would start, 1 when none would. Nothing is written, and no lock is taken.")]
pub struct NextArgs {
    #[command(flatten)]
    disk: DiskArgs,
    #[command(flatten)]
    power_on: PowerOnArgs,
}

/// What a power-on depends on, beside the disk.
#[derive(Args, Debug)]
struct PowerOnArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// How many tries a slot gets that is found without a boot record
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = args::tries())]
    tries: u8,
    /// A watchdog ended the previous power-on
    #[arg(long)]
    watchdog_reset: bool,
    /// Check components of load class `late` too
    #[arg(long)]
    check_late: bool,
}

impl PowerOnArgs {
    fn config<'a>(&self, roots: &'a Roots, layout: Layout<'a>, nonce: u64) -> BootConfig<'a> {
        BootConfig::new(self.device.device(roots), layout, nonce)
            .with_tries(self.tries)
            .with_check_late(self.check_late)
            .with_watchdog_reset(self.watchdog_reset)
    }
}

fn parse_nonce(text: &str) -> Result<u64, String> {
    // The parser of the library takes a sign too.
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
    number.ok_or_else(|| format!("expected up to 16 hexadecimal digits, found `{text}`"))
}

/// The memory that components are loaded into: a buffer each, as long as it has to be.
#[derive(Default)]
struct Loaded(Vec<(Role, Vec<u8>)>);

impl Memory for Loaded {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool {
        while self.0.len() <= component {
            self.0.push((role, Vec::new()));
        }
        let Some((place, bytes)) = self.0.get_mut(component) else { return false };
        *place = role;
        bytes.clear();
        let Ok(len) = usize::try_from(len) else { return false };
        if bytes.try_reserve_exact(len).is_err() {
            return false;
        }
        bytes.resize(len, 0);
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        self.0.get_mut(component).map_or(&mut [], |(_, bytes)| bytes)
    }
}

/// What a power-on came to.
struct Outcome<'a> {
    machine: Boot<'a, SoftSha256>,
    memory: Loaded,
    proof: Option<BootProof>,
    /// Why slots that verified were not started.
    faults: Vec<String>,
}

/// Runs what a loader runs.
fn power_on<'a>(config: &'a BootConfig<'a>, devices: &mut [impl BlockDevice]) -> Outcome<'a> {
    let mut machine = Boot::<SoftSha256>::new(config);
    let mut memory = Loaded::default();
    let mut buffer = vec![0; BUFFER_LEN];
    let mut event = Event::Start;
    let mut faults = Vec::new();
    let proof = loop {
        let proof = driver::boot(
            &mut machine,
            event,
            &mut disk::lent(devices),
            &mut NoStore,
            &mut memory,
            &mut buffer,
        );
        let (Some(found), Some(manifest)) = (proof, machine.manifest()) else { break None };
        // A loader could not start this image, and would report that to the core.
        let line = cmdline(&memory, manifest);
        match startable::check(Target::of(manifest), manifest, found.slot, line) {
            Ok(_) => break Some(found),
            Err(fault) => faults.push(format!("slot {}: {fault}", found.slot)),
        }
        event = Event::Returned;
    };
    Outcome { machine, memory, proof, faults }
}

/// One power-on.
pub fn boot(args: &BootArgs, out: &Output) -> Result<(), Failure> {
    let roots = args.power_on.device.roots()?;
    let nonce = match args.nonce {
        Some(nonce) => nonce,
        None => getrandom::u64().map_err(|error| {
            Failure::new(
                Exit::Failed,
                "io",
                format_args!("the system has no random number: {error}"),
            )
        })?,
    };
    let outputs = Outputs::open(args)?;
    let Disk { devices, plan, .. } = &mut args.disk.open(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    let record::Read { copies, record, .. } = record::read(&layout, devices)?;
    args.live.check(&args.disk.at.disk, &record.body)?;
    let config = args.power_on.config(&roots, layout, nonce);
    // A loader has its roots built in and marks slots bad that do not verify with them. Here the
    // roots are an option and may be those of another product: then every good slot would be marked
    // bad, and its release banned.
    let look = power_on(&config, &mut overlay::over(devices));
    if !args.even_if_nothing_verifies
        && look.proof.is_none()
        && look.machine.report().lines.iter().all(|line| is_foreign(&line.reason))
    {
        return Err(nothing_boots(&look).also(
            "nothing was written; if roots and class are right, --even-if-nothing-verifies writes \
             what a loader would",
        ));
    }
    let outcome = power_on(&config, devices);
    report_lines(&outcome, &copies, true, out);
    let (Some(proof), Some(manifest)) = (outcome.proof, outcome.machine.manifest()) else {
        return Err(nothing_boots(&outcome));
    };
    started(args, outputs, &proof, manifest, &outcome.memory, out)?;
    out.result(|| result(&proof, manifest, &outcome));
    Ok(())
}

/// What the next power-on would start.
pub fn next(args: &NextArgs, out: &Output) -> Result<(), Failure> {
    let roots = args.power_on.device.roots()?;
    let Disk { devices, plan, .. } = &mut args.disk.look(out)?;
    let slots = plan.slots();
    let layout = plan.layout(&slots)?;
    // Waits until no process is in the middle of a write of it.
    let copies = record::read(&layout, devices)?.copies;
    // The nonce stays in memory, as does the record that it is written to.
    let config = args.power_on.config(&roots, layout, 1);
    let outcome = power_on(&config, &mut overlay::over(devices));
    report_lines(&outcome, &copies, false, out);
    let (Some(proof), Some(manifest)) = (outcome.proof, outcome.machine.manifest()) else {
        return Err(nothing_boots(&outcome));
    };
    out.line(format_args!("slot {} would start, version {}", proof.slot, manifest.version));
    match proof.attempt {
        0 => out.line("  it is good: no try would be spent"),
        attempt => out.line(format_args!("  on trial, it would be attempt {attempt}")),
    }
    out.result(|| {
        let mut value = result(&proof, manifest, &outcome);
        // No power-on took place, so there is no boot proof.
        if let Some(object) = value.as_object_mut() {
            object.remove("proof");
        }
        value
    });
    Ok(())
}

/// Whether a slot was skipped because of what it is, or is made for, and not because of its bytes.
fn is_foreign(reason: &Reason) -> bool {
    matches!(reason, Reason::Trust(_) | Reason::Class(_) | Reason::Device(_) | Reason::Layout(_))
}

fn result(proof: &BootProof, manifest: &Manifest, outcome: &Outcome<'_>) -> Value {
    json!({
        "slot": proof.slot.name(), "digest": view::hex(&proof.digest),
        "version": manifest.version.as_str(), "attempt": proof.attempt,
        "proof": proof.emit().as_str(), "report": report_value(outcome.machine.report()),
    })
}

/// Nothing starts: says what would help, as far as the reasons tell.
fn nothing_boots(outcome: &Outcome<'_>) -> Failure {
    let report = outcome.machine.report();
    // Empty slots are tried as a last resort. Their reasons say nothing about the failure.
    let told: Vec<_> = report
        .lines
        .iter()
        .filter(|line| {
            let is_nothing = matches!(
                line.reason,
                Reason::Trust(TrustError::Keyset(_) | TrustError::Manifest(_))
            );
            line.candidate.kind != CandidateKind::LastResort || !is_nothing
        })
        .collect();
    let all = |is: fn(&Reason) -> bool| !told.is_empty() && told.iter().all(|l| is(&l.reason));
    let advice = if all(|reason| matches!(reason, Reason::Trust(_))) {
        "no slot verifies under these roots: either --roots is not the file of this disk's product, \
         or the heads of all slots are damaged"
    } else if all(|reason| matches!(reason, Reason::Class(_))) {
        "every slot is made for another device: check --class, --revision and --arch"
    } else if all(|reason| matches!(reason, Reason::Device(_) | Reason::Unstable)) {
        "no slot can be read: check the disk and its cables; no slot was marked bad for it"
    } else if told.is_empty() {
        "every slot is empty or being written: `stillboot install --offline` fills one"
    } else {
        "`stillboot scrub` checks every slot, `stillboot install --offline` fills one"
    };
    let reasons: Vec<_> = report
        .lines
        .iter()
        .map(|line| format!("slot {}: {}", line.candidate.slot, reason_text(&line.reason)))
        .chain(outcome.faults.iter().cloned())
        .collect();
    let mut message = "nothing can be started".to_owned();
    for reason in &reasons {
        message += "; ";
        message += reason;
    }
    let mut failure = Failure::new(Exit::Failed, "nothing-boots", message).also(advice);
    failure.details = Some(json!({ "report": report_value(report) }));
    failure
}

/// The command line that was loaded, empty if there is none.
fn cmdline<'a>(memory: &'a Loaded, manifest: &Manifest) -> &'a [u8] {
    let loaded = memory.0.iter().zip(&manifest.components);
    let mut lines = loaded.filter(|((role, bytes), _)| *role == Role::Cmdline && !bytes.is_empty());
    let found = lines
        .next()
        .and_then(|((_, bytes), component)| bytes.get(..usize::try_from(component.length).ok()?));
    found.unwrap_or_default()
}

/// Files that a power-on leaves. They are opened before it: afterwards a try is spent, and the proof
/// would be lost.
struct Outputs {
    proof: Option<Replacement>,
    extracted: Vec<(Role, Replacement)>,
}

impl Outputs {
    fn open(args: &BootArgs) -> Result<Self, Failure> {
        let disks = args.disk.at.disk.iter().map(PathBuf::as_path);
        let inputs: Vec<_> = disks.chain([args.power_on.device.roots.as_path()]).collect();
        let mut extracted = Vec::new();
        if let Some(directory) = &args.extract {
            for input in &inputs {
                files::not_the_same("--extract", directory, input)?;
            }
            fs::create_dir_all(directory)
                .map_err(|error| Failure::system("make", directory, &error))?;
            for role in Role::ALL {
                let path = directory.join(role.name());
                // Through a link it would replace a file that the user did not name.
                if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
                    return Err(Failure::usage(format_args!(
                        "--extract: expected {} to be a file, or nothing yet; it is something else",
                        path.display()
                    )));
                }
                // One output would overwrite the other.
                if args.proof_out.as_deref().is_some_and(|proof| files::is_one_path(proof, &path)) {
                    return Err(Failure::usage(format_args!(
                        "--proof-out: expected another file than {}, which --extract writes",
                        path.display()
                    )));
                }
                extracted.push((*role, Replacement::open("--extract", &path, &inputs)?));
            }
        }
        // Last, because it may be in the directory that was created above.
        let proof = args.proof_out.as_deref();
        let proof =
            proof.map(|path| Replacement::open("--proof-out", path, &inputs)).transpose()?;
        Ok(Self { proof, extracted })
    }
}

fn started(
    args: &BootArgs,
    outputs: Outputs,
    proof: &BootProof,
    manifest: &Verified<Manifest>,
    memory: &Loaded,
    out: &Output,
) -> Result<(), Failure> {
    out.line(format_args!("started slot {}, version {}", proof.slot, manifest.version));
    for (number, component) in manifest.components_of(proof.slot) {
        let loaded = memory.0.get(number).is_some_and(|(_, bytes)| !bytes.is_empty());
        out.line(format_args!(
            "  {:<9} {}, {}",
            component.role.name(),
            size::show(component.length),
            if loaded {
                "verified and loaded"
            } else if args.power_on.check_late || component.load == stillboot::format::Load::Xip {
                "verified"
            } else {
                "checked by the next stage"
            }
        ));
    }
    match proof.attempt {
        0 => out.line("  it is good: no try was spent"),
        attempt => out.line(format_args!("  on trial, attempt {attempt}")),
    }
    out.line(format_args!("proof {}", proof.emit()));
    if let Some(file) = outputs.proof {
        file.write_all(format!("{}\n", proof.emit()).as_bytes())?;
    }
    for (role, file) in outputs.extracted {
        let mut of_role = manifest.components_of(proof.slot).filter(|(_, c)| c.role == role);
        // The memory holds whole blocks, and the component may end before the last block does.
        let loaded = of_role.find_map(|(number, component)| {
            memory.0.get(number)?.1.get(..usize::try_from(component.length).ok()?)
        });
        // A file that an earlier boot left under another role was not signed together with these
        // components.
        match loaded {
            Some(bytes) => file.write_all(bytes)?,
            None => file.remove()?,
        }
    }
    Ok(())
}

fn report_lines(outcome: &Outcome<'_>, copies: &[CopyState], is_real: bool, out: &Output) {
    let report = outcome.machine.report();
    let record = match report.record {
        RecordStatus::Lost if record::all_dead(copies).is_none() => format!(
            "all copies are lost: it {} rebuilt from the slots; {}",
            if is_real { "is" } else { "would be" },
            record::GONE
        ),
        choice => view::choice_text(choice, copies),
    };
    out.line(format_args!("boot record: {record}"));
    for line in &report.lines {
        let what = match line.reason {
            Reason::Started if !is_real => "would start".into(),
            reason => reason_text(&reason),
        };
        out.line(format_args!(
            "slot {} ({}): {what}",
            line.candidate.slot,
            report::candidate_name(line.candidate.kind),
        ));
    }
    if report.floor_ignored {
        out.line("the recorded floor is above all there is: it does not count and will be lowered");
    }
    if let Some(error) = report.record_write_failed {
        out.line(format_args!("the boot record could not be written: {error}"));
    }
    for fault in &outcome.faults {
        out.line(format_args!("not started: {fault}"));
    }
}

fn report_value(report: &Report) -> Value {
    let lines: Vec<_> = report
        .lines
        .iter()
        .map(|line| {
            json!({
                "slot": line.candidate.slot.name(),
                "claim": report::candidate_name(line.candidate.kind),
                "reason": reason_kind(&line.reason),
                "text": reason_text(&line.reason),
            })
        })
        .collect();
    json!({
        "record": report::choice_name(report.record),
        "lines": lines,
        "floor_ignored": report.floor_ignored,
        "store_failed": report.store_failed,
        "record_write_failed": report.record_write_failed.map(|error| error.to_string()),
    })
}
