//! `stub`: one image for UEFI out of a stub and a bundle.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::format::{Architecture, Role, Slot, SlotKind};
use stillboot_boot_support::startable::{self, Target};
use stillboot_release::pe::append_section;

use crate::args::DeviceArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::source::Bundle;
use crate::{files, verify, view};

/// The section that the stub looks for.
const SECTION: &str = ".bundle";

/// What `stub` does.
#[derive(Subcommand, Debug)]
pub enum StubCommand {
    /// Wraps a bundle with a stub: one image that firmware starts like a kernel
    #[command(after_help = "Example:\n  \
        cargo xtask stub --roots keys/roots.toml --class laptops --out stub.efi\n  \
        stillboot stub build update.sbb --stub stub.efi --roots keys/roots.toml \\\n    \
          --class laptops --out vmlinuz.efi\n\n\
        The bundle is verified before it is wrapped, and again by the stub at every start. Sign\n\
        the image for Secure Boot after it was built.")]
    Build(BuildArgs),
}

/// Longest image that firmware would load: its lengths are 32 bits, half of them for the memory.
const IMAGE_LEN_MAX: u64 = 1 << 31;

/// Options of `stub build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// The bundle: a kernel or a unified image, and what goes with it
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The stub, as `cargo xtask stub` builds it with the same roots and class
    #[arg(long, value_name = "FILE")]
    stub: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// The image
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// Does it.
pub fn run(command: &StubCommand, out: &Output) -> Result<(), Failure> {
    match command {
        StubCommand::Build(args) => build(args, out),
    }
}

fn build(args: &BuildArgs, out: &Output) -> Result<(), Failure> {
    let roots = args.device.roots()?;
    let device = args.device.device(&roots);
    let mut bundle = Bundle::open(&args.bundle, "stub build", out)?;
    let manifest = verify::whole(&device, SlotKind::Update, &mut bundle, out)?;
    verify::for_device(&device, &args.device.names(&roots), &manifest)?;
    let refused = |message: String| Failure::new(Exit::Refused, "stub", message);
    // The stub makes the same check at every start.
    if !matches!(manifest.architecture, Architecture::Aarch64 | Architecture::Any) {
        let found = manifest.architecture.name();
        return Err(refused(format!("expected a bundle for aarch64, found one for {found}")));
    }
    // A stub has no slots: it treats the bundle like one in slot a.
    let cmdline = manifest.components_of(Slot::A).find(|(_, c)| c.role == Role::Cmdline);
    let cmdline = cmdline.and_then(|(number, _)| bundle.watch().component(number));
    startable::check(Target::Uefi, &manifest, Slot::A, cmdline.unwrap_or_default())
        .map_err(|fault| refused(format!("the stub would not start it: {fault}")))?;
    let read = |path: &PathBuf| files::read_up_to(path, IMAGE_LEN_MAX);
    if let Some(len) = bundle.len().filter(|len| *len > IMAGE_LEN_MAX) {
        return Err(refused(format!(
            "expected a bundle of {IMAGE_LEN_MAX} bytes at most, found {len}"
        )));
    }
    // The stub reads the bundle itself, not frames.
    bundle.rewind()?;
    let (mut image, content) = (read(&args.stub)?, bundle.rest()?);
    let stub_len = image.len();
    append_section(&mut image, SECTION, &content)
        .map_err(|error| refused(format!("{}: {error}", args.stub.display())))?;
    files::replace(&args.out, &[&args.bundle, &args.stub, &args.device.roots], |file| {
        file.write_all(&image).map_err(|error| Failure::system("write", &args.out, &error))
    })?;
    let digest = view::hex(manifest.digest());
    out.line(format_args!(
        "{}: {} bytes, {stub_len} of them the stub",
        args.out.display(),
        image.len()
    ));
    out.line(format_args!("digest {digest}"));
    out.result(|| json!({ "bytes": image.len(), "stub_bytes": stub_len, "digest": digest }));
    Ok(())
}
