//! `verify`: is every byte of a bundle what the right keys signed?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillboot::driver;
use stillboot::format::{Architecture, Id, Manifest, SlotKind};
use stillboot::verify::{ClassError, Device, SoftSha256, Verified, check_class};
use stillboot_linux::keys::{Roots, id_of};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{args, start, time, view};

/// Bytes read at a time: each is hashed twice, so they had better stay in the processor's cache.
const BUFFER_LEN: usize = 256 << 10;

/// Options of `verify`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot verify gateway-1.2.0.sbb --roots keys/roots.toml --class model-1")]
pub struct VerifyArgs {
    /// The bundle; `-` reads standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The root keys of the product
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,
    /// It is for the recovery slot: other keys sign for that
    #[arg(long)]
    recovery: bool,
    /// Also check that it is for this device class
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    class: Option<String>,
    /// The hardware revision within the class
    #[arg(long, value_name = "N", default_value_t = 0, requires = "class")]
    revision: u16,
    /// What the device can run
    #[arg(long, value_name = "NAME", default_value = "any", value_parser = args::architecture,
          requires = "class")]
    arch: Architecture,
}

/// Verifies a bundle.
pub fn verify(args: &VerifyArgs, out: &Output) -> Result<(), Failure> {
    let roots = Roots::read(&args.roots)?;
    let device = Device {
        trust: roots.trust(),
        product: roots.product_id(),
        class: args.class.as_deref().map_or([0; 16], id_of),
        revision: args.revision,
        architecture: args.arch,
    };
    let kind = if args.recovery { SlotKind::Recovery } else { SlotKind::Update };
    let mut bundle = Bundle::open(&args.bundle, "verify")?;
    let manifest = whole(&device, kind, &mut bundle, out)?;
    warn_expired(&manifest, out);
    let names: Vec<_> = std::iter::once(&*roots.product).chain(args.class.as_deref()).collect();
    if args.class.is_some() {
        for_device(&device, &names, &manifest)?;
    }
    out.line(format_args!("{}: verified, every byte", args.bundle.display()));
    out.line(format_args!("digest {}", view::hex(manifest.digest())));
    out.line(format_args!("keyset version {}", manifest.keyset_version()));
    view::manifest_lines(out, &manifest, &names);
    out.result(|| {
        json!({
            "verified": true, "digest": view::hex(manifest.digest()),
            "keyset_version": manifest.keyset_version(), "manifest": view::manifest(&manifest),
            "product_name": roots.product, "class_name": args.class,
        })
    });
    Ok(())
}

/// The verdict on all of `bundle`, from where it stands to its end: every byte is what was signed,
/// and a loader starts it. Every command that takes a bundle as a file asks here.
pub fn whole(
    device: &Device<'_>,
    kind: SlotKind,
    bundle: &mut Bundle,
    out: &Output,
) -> Result<Verified<Manifest>, Failure> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut progress = Progress::new(out, "verifying", bundle.len().unwrap_or(0));
    let result = driver::verify_bundle::<SoftSha256>(
        device,
        kind,
        bundle,
        true,
        &mut |done| progress.set(done),
        &mut buffer,
    );
    drop(progress);
    let manifest = result.map_err(|error| bundle.explain(error))?;
    let remark = start::check(&manifest, kind, &|part| bundle.watch().component(part))?;
    remark.iter().for_each(|remark| out.warn(remark));
    Ok(manifest)
}

/// Says that a bundle has expired, where it verifies all the same: devices with a clock refuse it.
pub fn warn_expired(manifest: &Manifest, out: &Output) {
    if let (until @ 1.., Some(now)) = (manifest.not_after, time::now())
        && now > until
    {
        let until = time::show(until);
        out.warn(format_args!("it has expired, on {until}: devices with a clock refuse it"));
    }
}

/// Checks that a bundle is for `device`, naming both sides; `names` are those of product and class
/// that were typed.
pub fn for_device(
    device: &Device<'_>,
    names: &[&str],
    manifest: &Verified<Manifest>,
) -> Result<(), Failure> {
    check_class(device, manifest)
        .map_err(|error| other_device(device, names, &manifest.class, &error))
}

/// It is made for another device than `device`.
pub fn other_device(
    device: &Device<'_>,
    names: &[&str],
    found: &Id,
    error: &ClassError,
) -> Failure {
    let text = match error {
        ClassError::Class => format!(
            "refused: made for another device class: expected {}, found {}",
            view::named(&device.class, names),
            view::named(found, names)
        ),
        error => format!("refused: {error}"),
    };
    Failure::new(Exit::Refused, "class", text).also("take the bundle that was made for this device")
}
