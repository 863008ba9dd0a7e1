//! `pcr`: what a loader measures into a TPM when it starts a bundle, known from the bundle alone.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use sha2::{Digest, Sha256, Sha384};
use stillboot::format::{Role, Slot};
use stillboot::verify::SoftSha256;
use stillboot_boot_support::bundle::Bundle;
use stillboot_boot_support::measure::{self, Measurement, SYSTEM_PCR, TREE_PCR};
use stillboot_boot_support::startable::{self, Target};
use stillboot_devicetree::set::Set;

use crate::args::{self, DeviceArgs};
use crate::failure::{Exit, Failure};
use crate::http::HttpArgs;
use crate::output::Output;
use crate::{source, verify, view};

/// What `pcr` does.
#[derive(Subcommand, Debug)]
pub enum PcrCommand {
    /// Predicts the values of the registers after this bundle was started
    #[command(after_help = "Example:\n  \
        stillboot pcr predict update.sbb --roots keys/roots.toml --class model-1\n  \
        stillboot pcr predict update.sbb --roots keys/roots.toml --class laptops \\\n    \
          --tree x1e80100-crd.dtb --json\n\n\
        Register 8 depends on the bundle alone. Register 12 has the device tree that a machine was\n\
        given; `dtb match` says which. The proof, which differs from start to start, is in neither.")]
    Predict(PredictArgs),
}

/// Options of `pcr predict`.
#[derive(Args, Debug)]
pub struct PredictArgs {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// The slot that it is started from: a, b, c or recovery. It matters for components that are
    /// linked for one slot, and for what may be started from recovery alone
    #[arg(long, value_name = "SLOT", value_parser = args::slot, default_value = "a")]
    slot: Slot,
    /// The device tree that the machine gets, by its name in the set
    #[arg(long, value_name = "NAME")]
    tree: Option<String>,
}

/// Does it.
pub fn run(command: &PcrCommand, out: &Output) -> Result<(), Failure> {
    match command {
        PcrCommand::Predict(args) => predict(args, out),
    }
}

fn predict(args: &PredictArgs, out: &Output) -> Result<(), Failure> {
    let refused = |message: String| Failure::new(Exit::Refused, "pcr", message);
    let roots = args.device.roots()?;
    let device = args.device.device(&roots);
    let mut source =
        source::Bundle::open_whole(&args.bundle, "pcr predict", &HttpArgs::default(), out)?;
    let manifest = verify::whole(&device, args.slot.kind(), &mut source, out)?;
    verify::for_device(&device, &args.device.names(&roots), &manifest)?;
    source.rewind()?;
    let bytes = source.rest()?;
    let bundle = Bundle::verify::<SoftSha256>(&device, args.slot, &bytes)
        .map_err(|error| refused(format!("{}: {error}", args.bundle.display())))?;
    let manifest = bundle.manifest();
    let cmdline = bundle.component(Role::Cmdline);
    // A bundle that no loader starts has no values to predict.
    let target = Target::of(manifest);
    startable::check(target, manifest, args.slot, cmdline.unwrap_or_default()).map_err(
        |fault| refused(format!("no loader starts it from slot {}: {fault}", args.slot)),
    )?;
    let mut all = measure::of_system(manifest.digest(), manifest, args.slot, cmdline);
    if let Some(name) = &args.tree {
        let set = bundle.component(Role::Dtbs);
        let set = set.ok_or_else(|| refused("the bundle has no set of device trees".into()))?;
        let set = Set::parse(set).map_err(|error| refused(error.to_string()))?;
        let entry = set.entries().find(|entry| entry.name == name).ok_or_else(|| {
            let names: Vec<_> = set.entries().map(|entry| entry.name).collect();
            refused(format!("expected one of {}, found {name}", names.join(", ")))
        })?;
        all.push(measure::of_tree(entry.name, entry.bytes));
    }

    let mut registers = Vec::new();
    for pcr in [SYSTEM_PCR, TREE_PCR] {
        let events: Vec<_> = all.iter().filter(|measured| measured.pcr == pcr).collect();
        if events.is_empty() {
            continue;
        }
        let (sha256, sha384) = (extended::<Sha256>(&events), extended::<Sha384>(&events));
        out.line(format_args!("pcr {pcr} sha256 {sha256}"));
        out.line(format_args!("pcr {pcr} sha384 {sha384}"));
        for measured in &events {
            out.line(format_args!("  {}", measured.event));
        }
        let events: Vec<_> = events.iter().map(|measured| &measured.event).collect();
        registers.push(json!({ "pcr": pcr, "sha256": sha256, "sha384": sha384, "events": events }));
    }
    out.result(|| json!({ "digest": view::hex(manifest.digest()), "registers": registers }));
    Ok(())
}

/// The value of a register that was zero before these.
fn extended<H: Digest>(all: &[&Measurement<'_>]) -> String {
    let mut register = vec![0; <H as Digest>::output_size()];
    for measured in all {
        let event = H::digest(&measured.data);
        register = H::new().chain_update(&register).chain_update(event).finalize().to_vec();
    }
    view::hex(&register)
}
