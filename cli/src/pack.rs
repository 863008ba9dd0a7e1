//! `pack`: makes a signed bundle of components and of what the manifest says of them.
//!
//! The same input gives the same bytes: no time, no random number and no file name gets in.

mod check;
mod component;
pub mod describe;
mod loader;
pub mod settings;
mod signing;
mod written;

use std::path::PathBuf;

use clap::Args;
use stillboot::format::{PayloadType, Role, SlotKind};
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::Roots;

use crate::failure::Failure;
use crate::files;
use crate::latest::LatestArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::signers::SignerArgs;
use component::Opened;
pub use settings::Settings;
use settings::missing;
use written::{Counted, explain, tell};

/// Options of `pack`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    stillboot pack --roots keys/roots.toml --class model-1 --version 1.2.0 --sequence 12 \\\n    \
      --kernel vmlinuz --initramfs initrd.img --cmdline 'console=ttyS0 panic=1' \\\n    \
      --keyset keys/keyset.sbk --key keys/release-1.pem --out gateway-1.2.0.sbb\n  \
    stillboot pack --config bundle.toml --out gateway-1.2.0.sbb\n  \
    stillboot pack --from-latest-json latest.json --sig latest.json.sig --latest-key os.pub \\\n    \
      --kernel vmlinuz --initramfs kubesolo-os.gz --class model-1 --sequence 12 \\\n    \
      --roots keys/roots.toml --keyset keys/keyset.sbk --key keys/release-1.pem --out os.sbb\n  \
    stillboot pack --loader-release bootx64.efi --roots keys/roots.toml --class model-1 \\\n    \
      --version 3.0.0 --sequence 3 --key keys/root-1.pem --out loader-3.0.0.sbl\n\n\
    The configuration file has the names of these options, without the dashes before them:\n  \
    product = \"gateway\"\n  class = \"model-1\"\n  version = \"1.2.0\"\n  sequence = 12\n  \
    keyset = \"keys/keyset.sbk\"\n  key = [\"keys/release-1.pem\"]\n  \
    [[component]]\n  role = \"kernel\"\n  file = \"vmlinuz\"\n\n\
    Files named in it are looked for beside it. Options override it. On the command\n\
    line alone are --config, --force, --json, --out, --quiet, --signer, --public,\n\
    --passphrase-file, --from-latest-json, --sig, --latest-key, --kernel-sig, --initramfs-sig.\n\n\
    For machines with Secure Boot, sign the kernel before it is packed:\n  \
    sbsign --key db.key --cert db.pem --output vmlinuz.signed vmlinuz")]
pub struct PackArgs {
    /// Read settings from this TOML file; options given here override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    signers: SignerArgs,
    #[command(flatten)]
    latest: LatestArgs,
    /// Pack it even if no loader would start anything in it, it has expired, or no device is old
    /// enough for it
    #[arg(long)]
    force: bool,
    /// The bundle to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes a bundle.
pub fn pack(args: &PackArgs, out: &Output) -> Result<(), Failure> {
    let mut settings = match &args.config {
        Some(path) => args.settings.clone().or(settings::read(path)?),
        None => args.settings.clone(),
    };
    let promised = args.latest.merge_into(&mut settings, out)?;
    let roots = settings.roots.as_deref().map(Roots::read).transpose()?;
    let manifest = describe::manifest(&settings, roots.as_ref())?;
    if let Some(file) = &settings.loader_release {
        return loader::release(args, &settings, file, roots.as_ref(), manifest, out);
    }
    let kind = if settings.recovery { SlotKind::Recovery } else { SlotKind::Update };
    let keyset = signing::read_keyset(&settings)?;
    if settings.key.is_empty() && args.signers.signer.is_empty() {
        return Err(missing("key"));
    }
    let signing = args.signers.signers(&settings.key, "--key")?;
    let signers = signing::signers(&signing, keyset.as_ref().map(|(_, keyset)| keyset), kind, out)?;
    let envelope = keyset.as_ref().map_or(&[][..], |(bytes, _)| bytes);

    let components = settings.components();
    if components.is_empty() {
        return Err(Failure::usage(
            "there is nothing to pack: expected at least one component, such as --kernel FILE",
        ));
    }
    if components.iter().any(|component| component.role == Role::Loader) {
        return Err(Failure::usage(format_args!(
            "a component of role {} ({}) may stand in a release of the loader only: \
             --loader-release FILE packs one",
            Role::Loader,
            Role::Loader.code()
        )));
    }
    let mut total = 0;
    let mut parts = Vec::new();
    let mut kept = Vec::new();
    for component in &components {
        let Opened { input, len, bytes } = component::open(component)?;
        component::warn_kernel(component, manifest.architecture, out)?;
        total += len;
        kept.push(bytes);
        let load = component.load.unwrap_or(component::default_load(component.role));
        parts.push(Part::new(component.role, load, input).with_linked(component.slot));
    }
    check::start(&manifest, kind, &parts, &kept, args.force, out)?;
    check::odd_promises(&manifest, args.force, out)?;
    check::warn_slots(&parts, out);
    let named = settings.inputs(args.config.as_deref()).into_iter();
    let inputs: Vec<_> = named.chain(args.signers.inputs()).chain(args.latest.inputs()).collect();
    let (manifest, digest, len) = files::replace(&args.out, &inputs, |file| {
        // Everything is read twice, because the digests come before the bytes.
        let mut progress = Progress::new(out, "packing", 2 * total);
        let mut counted = Counted { file, len: 0 };
        let (manifest, digest) =
            bundle::write(manifest, envelope, &signers, &mut parts, &mut counted, &mut |done| {
                progress.set(done)
            })
            .map_err(|error| explain(error, &args.out))?;
        if let Some(promised) = &promised {
            promised.check(&manifest)?;
        }
        if let Some(roots) = &roots {
            check::head(roots, kind, envelope, &manifest, &signers)?;
        }
        Ok((manifest, digest, counted.len))
    })?;
    tell(&args.out, PayloadType::Manifest, &manifest, &digest, len, out);
    Ok(())
}
