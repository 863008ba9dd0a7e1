//! `boot`: one simulated power-on. Runs what a loader runs on that disk, and writes what it writes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stillboot::boot::{Boot, BootConfig, Event, Report};
use stillboot::driver::{self, Memory, NoStore};
use stillboot::format::{BootProof, Manifest, Role};
use stillboot::verify::{SoftSha256, Verified};
use stillboot_linux::disk::{self, Disk};

use crate::args::{self, DeviceArgs, DiskArgs};
use crate::failure::{Exit, Failure, reason_kind};
use crate::output::Output;
use crate::{files, size, view};

/// Bytes read at a time where nothing is loaded.
const BUFFER_LEN: usize = 1 << 20;

/// Options of `boot`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot boot --disk disk.img --roots keys/roots.toml --class model-1 --proof-out proof\n\n\
    Exits 0 when a slot was started, 1 when none could be. A try is spent as on a real device.")]
pub struct BootArgs {
    #[command(flatten)]
    disk: DiskArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// How often a slot may be tried that is found without a boot record
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = args::tries())]
    tries: u8,
    /// The nonce of this power-on, up to 16 hexadecimal digits; random by default
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Option<u64>,
    /// Write the boot proof to this file
    #[arg(long, value_name = "FILE")]
    proof_out: Option<PathBuf>,
    /// Write the components that were loaded into this directory
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
    /// A watchdog ended the power-on before this one
    #[arg(long)]
    watchdog_reset: bool,
    /// Check components of load class `late` too
    #[arg(long)]
    check_late: bool,
}

fn parse_nonce(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16)
        .map_err(|_| format!("expected up to 16 hexadecimal digits, found `{text}`"))
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

/// One power-on.
pub fn boot(args: &BootArgs, out: &Output) -> Result<(), Failure> {
    let roots = args.device.roots()?;
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
    let Disk { devices, plan, .. } = &mut args.disk.open(false, out)?;
    let slots = plan.slots();
    let config = BootConfig {
        device: args.device.device(&roots),
        layout: plan.layout(&slots)?,
        tries: args.tries,
        nonce,
        has_store: false,
        check_late: args.check_late,
        watchdog_reset: args.watchdog_reset,
    };
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut memory = Loaded::default();
    let mut buffer = vec![0; BUFFER_LEN];
    let proof = driver::boot(
        &mut machine,
        Event::Start,
        &mut disk::lent(devices),
        &mut NoStore,
        &mut memory,
        &mut buffer,
    );
    let report = machine.report();
    report_lines(report, out);
    let (Some(proof), Some(manifest)) = (proof, machine.manifest()) else {
        let mut failure = Failure::new(
            Exit::Failed,
            "nothing-boots",
            "nothing can be started; `stillboot scrub` checks every slot, `stillboot install \
             --offline` fills one anew",
        );
        failure.details = Some(json!({ "report": report_value(report) }));
        return Err(failure);
    };
    started(args, &proof, manifest, &memory, out)?;
    out.result(|| {
        json!({
            "slot": proof.slot.name(), "digest": view::hex(&proof.digest),
            "version": manifest.version.as_str(), "attempt": proof.attempt,
            "proof": proof.emit().as_str(), "report": report_value(report),
        })
    });
    Ok(())
}

fn started(
    args: &BootArgs,
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
            } else if args.check_late || component.load == stillboot::format::Load::Xip {
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
    if let Some(path) = &args.proof_out {
        write(path, format!("{}\n", proof.emit()).as_bytes())?;
    }
    if let Some(directory) = &args.extract {
        fs::create_dir_all(directory)
            .map_err(|error| Failure::system("make", directory, &error))?;
        for (number, component) in manifest.components_of(proof.slot) {
            // The memory is whole blocks; the component ends before.
            let loaded = memory
                .0
                .get(number)
                .and_then(|(_, bytes)| bytes.get(..usize::try_from(component.length).ok()?));
            if let Some(bytes) = loaded {
                write(&directory.join(component.role.name()), bytes)?;
            }
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    files::replace(path, |file| {
        file.write_all(bytes).map_err(|error| Failure::system("write", path, &error))
    })
}

fn report_lines(report: &Report, out: &Output) {
    out.line(format_args!("boot record: {}", view::choice_text(report.record)));
    for line in &report.lines {
        out.line(format_args!(
            "slot {} ({}): {}",
            line.candidate.slot,
            view::claim_name(line.candidate.claim),
            line.reason
        ));
    }
    if report.floor_ignored {
        out.line("the recorded floor is above all there is: it was ignored and will be mended");
    }
    if let Some(error) = report.record_write_failed {
        out.line(format_args!("the boot record could not be written: {error}"));
    }
}

fn report_value(report: &Report) -> Value {
    let lines: Vec<_> = report
        .lines
        .iter()
        .map(|line| {
            json!({
                "slot": line.candidate.slot.name(),
                "claim": view::claim_name(line.candidate.claim),
                "reason": reason_kind(&line.reason),
                "text": line.reason.to_string(),
            })
        })
        .collect();
    json!({
        "record": view::choice_name(report.record),
        "lines": lines,
        "floor_ignored": report.floor_ignored,
        "store_failed": report.store_failed,
        "record_write_failed": report.record_write_failed.map(|error| error.to_string()),
    })
}
