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

use std::io::{BufReader, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use stillboot::format::{Architecture, Digest, Manifest, PayloadType, Role, SlotKind};
use stillboot_linux::new_file;
use stillboot_release::bundle::{self, Part};
use stillboot_release::frames::{self, Compression, Sink};
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
    stillboot pack --config bundle.toml --out gateway-1.2.0.sbz    compressed\n  \
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
    let compression = compression(&settings, &args.out, manifest.architecture)?;
    let (manifest, digest, len) = files::replace_file(&args.out, &inputs, |file| {
        // Everything is read twice, because the digests come before the bytes.
        let mut progress = Progress::new(out, "packing", 2 * total);
        let mut write = |to: &mut dyn Write| {
            let mut counted = Counted { file: to, len: 0 };
            let mut set = |done| progress.set(done);
            let taken = manifest.clone();
            bundle::write(taken, envelope, &signers, &mut parts, &mut counted, &mut set)
                .map(|(manifest, digest)| (manifest, digest, counted.len))
                .map_err(|error| explain(error, &args.out))
        };
        let written = match compression {
            Compression::None => write(file)?,
            how => compressed(how, &args.out, file, &mut write, out)?,
        };
        if let Some(promised) = &promised {
            promised.check(&written.0)?;
        }
        if let Some(roots) = &roots {
            check::head(roots, kind, envelope, &written.0, &signers)?;
        }
        Ok(written)
    })?;
    tell(&args.out, PayloadType::Manifest, &manifest, &digest, len, out);
    Ok(())
}

/// How the file is compressed: as it is said, or as the name says.
fn compression(
    settings: &Settings,
    out: &Path,
    architecture: Architecture,
) -> Result<Compression, Failure> {
    if let Some(text) = &settings.compress {
        return text.parse().map_err(|error| Failure::usage(format!("compress: {error}")));
    }
    let is_framed = out.extension().is_some_and(|extension| extension == "sbz");
    Ok(match architecture {
        _ if !is_framed => Compression::None,
        Architecture::Thumbv6m
        | Architecture::Thumbv7m
        | Architecture::Thumbv7em
        | Architecture::Thumbv8m
        | Architecture::Riscv32 => Compression::Lzma,
        _ => Compression::Zstd(Compression::ZSTD_LEVEL),
    })
}

/// The manifest as it was signed, its digest, and the length of the file.
type Packed = (Manifest, Digest, u64);

/// Writes the bundle to a file without a name first, and from there its frames.
fn compressed(
    how: Compression,
    path: &Path,
    file: &mut dyn Sink,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<Packed, Failure>,
    out: &Output,
) -> Result<Packed, Failure> {
    let folder = new_file::directory(path);
    let failed = |error| Failure::system("write", folder, &error);
    let mut plain = tempfile::tempfile_in(folder).map_err(failed)?;
    let (manifest, digest, len) = {
        let mut buffered = BufWriter::with_capacity(1 << 20, &mut plain);
        let written = write(&mut buffered)?;
        buffered.flush().map_err(failed)?;
        written
    };
    plain.rewind().map_err(failed)?;
    let mut progress = Progress::new(out, "compressing", len);
    let mut plain = BufReader::with_capacity(1 << 20, plain);
    let (_, len) = frames::compress(&mut plain, how, file, &mut |done| progress.set(done))
        .map_err(|error| Failure::system("write", path, &std::io::Error::other(error)))?;
    Ok((manifest, digest, len))
}
