//! `pack`: makes a signed bundle of components and of what the manifest says of them.
//!
//! The same input gives the same bytes: no time, no random number and no file name gets in.

pub mod settings;

use std::io::{BufReader, Cursor, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot::format::manifest::{self, CHUNK_SIZE_MAX, CHUNK_SIZE_MIN, flags};
use stillboot::format::{
    Architecture, Digest, Encryption, Epochs, FormatError, Id, KeyRole, Keyset, Load, Manifest,
    PayloadType, Role, Slot, SlotKind,
};
use stillboot::verify::{Device, RootKey, SoftSha256, verify_head};
use stillboot_boot_support::command_line;
use stillboot_linux::open;
use stillboot_release::bundle::{self, Input, Part};
use stillboot_release::keys::{Roots, Signer, id_of};

use crate::failure::{Exit, Failure};
use crate::latest::LatestArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::sign::{Named, SignerArgs, key_in};
use crate::start::{self, Trouble};
use crate::{args, files, keyset, size, time, view};
use settings::Component;
pub use settings::Settings;

/// Longest version, in characters.
const VERSION_LEN_MAX: usize = 32;
/// The chunk size where none is asked for: resumes finely, and its index is small.
const CHUNK_SIZE: u64 = 256 << 10;

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
    /// Take what is not given here from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    signers: SignerArgs,
    #[command(flatten)]
    latest: LatestArgs,
    /// Pack it although something about it is odd: nothing in it is for a loader to start, it has
    /// expired, no device is old enough for it
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
    let manifest = describe(&settings, roots.as_ref())?;
    if let Some(file) = &settings.loader_release {
        return loader_release(args, &settings, file, roots.as_ref(), manifest, out);
    }
    let kind = if settings.recovery { SlotKind::Recovery } else { SlotKind::Update };
    let keyset = read_keyset(&settings)?;
    if settings.key.is_empty() && args.signers.signer.is_empty() {
        return Err(missing("key"));
    }
    let signing = args.signers.signers(&settings.key, "--key")?;
    let signers = signers(&signing, keyset.as_ref().map(|(_, keyset)| keyset), kind, out)?;
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
        let Opened { input, len, bytes } = open(component)?;
        warn_kernel(component, manifest.architecture, out)?;
        total += len;
        kept.push(bytes);
        parts.push(Part {
            role: component.role,
            load: component.load.unwrap_or(default_load(component.role)),
            linked: component.slot,
            input,
        });
    }
    check_start(&manifest, kind, &parts, &kept, args.force, out)?;
    check_odd(&manifest, args.force, out)?;
    warn_slots(&parts, out);
    let named = settings.inputs(args.config.as_deref()).into_iter();
    let inputs: Vec<_> = named.chain(args.signers.inputs()).chain(args.latest.inputs()).collect();
    let (manifest, digest, len) = files::replace(&args.out, &inputs, |file| {
        // Everything is read twice: digests stand before the bytes.
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
            check_head(roots, kind, envelope, &manifest, &signers)?;
        }
        Ok((manifest, digest, counted.len))
    })?;
    tell(args, PayloadType::Manifest, &manifest, &digest, len, out);
    Ok(())
}

/// Says what was packed.
fn tell(
    args: &PackArgs,
    payload: PayloadType,
    manifest: &Manifest,
    digest: &Digest,
    len: u64,
    out: &Output,
) {
    let what = match payload {
        PayloadType::LoaderRelease => "release of the loader, ",
        _ => "",
    };
    out.line(format_args!(
        "{}: {what}version {}, sequence {}, {}",
        args.out.display(),
        manifest.version,
        manifest.sequence,
        size::show(len)
    ));
    out.line(format_args!("digest {}", view::hex(digest)));
    out.result(|| {
        json!({
            "bundle": view::path(&args.out), "payload": payload.name(), "length": len,
            "digest": view::hex(digest), "manifest": view::manifest(manifest),
        })
    });
}

/// Writes a release of the loader: one component, signed by roots.
fn loader_release(
    args: &PackArgs,
    settings: &Settings,
    file: &Path,
    roots: Option<&Roots>,
    manifest: Manifest,
    out: &Output,
) -> Result<(), Failure> {
    // What is given on the command line and what stands in the file may exclude each other too.
    if !settings.components().is_empty()
        || settings.keyset.is_some()
        || settings.single_key
        || settings.recovery
        || settings.dtb_required
        || args.latest.inputs().next().is_some()
    {
        return Err(Failure::usage(
            "a release of the loader has the loader alone, no keyset, no slot, and no device trees: \
             leave other components, keyset, single-key, recovery, dtb-required and \
             --from-latest-json out",
        ));
    }
    let Some(roots) = roots else { return Err(missing("roots")) };
    if settings.key.is_empty() && args.signers.signer.is_empty() {
        return Err(missing("key"));
    }
    let signing = args.signers.signers(&settings.key, "--key")?;
    let mut signers: Vec<(KeyRole, &dyn Signer)> = Vec::new();
    for named in &signing {
        let public = named.signer.public();
        if !roots.keys.contains(&RootKey::ed25519(public)) {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} is none of the roots, and only roots sign a release of the loader: \
                     no device would count its signature",
                    named.name,
                    view::key(&public)
                ),
            ));
        }
        signers.push((KeyRole::Root, &*named.signer));
    }
    if signers.len() < usize::from(roots.threshold) {
        out.warn(format_args!(
            "devices want {} signatures by root keys, this release of the loader carries {}: add \
             more with `stillboot sign`",
            roots.threshold,
            signers.len()
        ));
    }
    check_odd(&manifest, args.force, out)?;
    let component = Component {
        role: Role::Loader,
        file: Some(file.to_owned()),
        text: None,
        load: None,
        slot: None,
    };
    let Opened { input, len: total, .. } = open(&component)?;
    let mut part = Part { role: Role::Loader, load: Load::Late, linked: None, input };
    let named = settings.inputs(args.config.as_deref()).into_iter();
    let inputs: Vec<_> = named.chain(args.signers.inputs()).collect();
    let (manifest, digest, len) = files::replace(&args.out, &inputs, |file| {
        let mut progress = Progress::new(out, "packing", 2 * total);
        let mut counted = Counted { file, len: 0 };
        let (manifest, digest) = bundle::write_loader_release(
            manifest,
            &signers,
            &mut part,
            &mut counted,
            &mut |done| progress.set(done),
        )
        .map_err(|error| explain(error, &args.out))?;
        Ok((manifest, digest, counted.len))
    })?;
    tell(args, PayloadType::LoaderRelease, &manifest, &digest, len, out);
    Ok(())
}

/// Refuses what no loader would start, before it is signed.
fn check_start(
    manifest: &Manifest,
    kind: SlotKind,
    parts: &[Part<'_>],
    kept: &[Option<Vec<u8>>],
    force: bool,
    out: &Output,
) -> Result<(), Failure> {
    let mut described = manifest.clone();
    for part in parts {
        // Digests say nothing about that, and the length only that there is something.
        let component = stillboot::format::Component {
            role: part.role,
            load: part.load,
            linked: bundle::linked(part.linked),
            encryption: Encryption::None,
            length: 1,
            index_root: [0; 32],
            sha256: [0; 32],
        };
        let most = stillboot::format::manifest::COMPONENTS_MAX;
        described.components.push(component).map_err(|_| {
            Failure::usage(format_args!(
                "expected at most {most} components, found {}",
                parts.len()
            ))
        })?;
    }
    match start::trouble(&described, kind, &|part| kept.get(part)?.as_deref()) {
        None => Ok(()),
        Some(Trouble::Never(why)) => {
            Err(Failure::usage(format_args!("no loader would start this bundle: {why}")))
        }
        Some(Trouble::NothingToStart(why)) => {
            odd(&format!("nothing would start: {why}"), force, out)
        }
        Some(Trouble::Uneven(why)) => odd(&why, force, out),
    }
}

/// Says for which slots a bundle is, where that is not every update slot that devices have.
fn warn_slots(parts: &[Part<'_>], out: &Output) {
    let started =
        || parts.iter().filter(|part| matches!(part.role, Role::Kernel | Role::Uki | Role::Image));
    let linked: Vec<_> = started().filter_map(|part| part.linked).collect();
    let [only] = linked[..] else { return };
    if started().count() == 1 && only != Slot::Recovery {
        out.warn(format_args!(
            "it is for slot {only} alone: a device that would install into another slot refuses it"
        ));
    }
}

/// Refuses what no device would install, unless that is what is wanted.
fn check_odd(manifest: &Manifest, force: bool, out: &Output) -> Result<(), Failure> {
    if let (until @ 1.., Some(now)) = (manifest.not_after, time::now())
        && now > until
    {
        odd(&format!("not-after: it has expired already, at {}", time::show(until)), force, out)?;
    }
    let version = |text: &str| semver::Version::parse(text).ok();
    if let (Some(least), Some(own)) = (version(&manifest.min_from), version(&manifest.version))
        && least > own
    {
        odd(
            &format!(
                "min-from: only devices that run {least} or later may take it, and they run a later \
                 version than {own}"
            ),
            force,
            out,
        )?;
    }
    Ok(())
}

/// Something that may be a mistake.
fn odd(what: &str, force: bool, out: &Output) -> Result<(), Failure> {
    if force {
        out.warn(what);
        return Ok(());
    }
    Err(Failure::usage(format_args!("{what}; --force packs it all the same")))
}

/// Counts what is written.
struct Counted<'a> {
    file: &'a mut dyn std::io::Write,
    len: u64,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.len += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The manifest without its components.
fn describe(settings: &Settings, roots: Option<&Roots>) -> Result<Manifest, Failure> {
    let product = product(settings, roots)?;
    let class = named(required(settings.class.as_deref(), "class")?, "class")?;
    let (revision_min, revision_max) = match settings.revision.as_deref() {
        Some(text) => range("revision", text)?,
        None => (0, u16::MAX),
    };
    // Not every version is a semantic one: updates are ordered by their sequence.
    let version = required(settings.version.as_deref(), "version")?;
    let min_from = settings.min_from.as_deref().unwrap_or_default();
    if !min_from.is_empty() {
        compared(min_from, version)?;
    }
    let (reads_min, reads_max) = match settings.reads_epochs.as_deref() {
        Some(text) => range("reads-epochs", text)?,
        None => (0, 0),
    };
    let chunk_size = settings.chunk_size.as_deref().map_or(Ok(CHUNK_SIZE), size::parse);
    let chunk_size = chunk_size.map_err(|error| Failure::usage(format!("chunk-size: {error}")))?;
    let allowed = u64::from(CHUNK_SIZE_MIN)..=u64::from(CHUNK_SIZE_MAX);
    if !chunk_size.is_power_of_two() || !allowed.contains(&chunk_size) {
        return Err(Failure::usage(format_args!(
            "chunk-size: expected a power of two from 4K to 1M, found {chunk_size} bytes"
        )));
    }
    let not_after = settings.not_after.as_deref().map_or(Ok(0), crate::time::parse);
    let rollout = settings.rollout.unwrap_or(100);
    if rollout > 100 {
        return Err(Failure::usage(format_args!("rollout: expected 0 to 100, found {rollout}")));
    }
    let mut bits = 0;
    if settings.security {
        bits |= flags::SECURITY;
    }
    if settings.dtb_required {
        bits |= flags::DTB_REQUIRED;
    }
    let Some(sequence) = settings.sequence else {
        return Err(missing("sequence"));
    };
    let level = settings.level.unwrap_or(0);
    below("sequence", sequence, u64::MAX)?;
    below("level", level.into(), u32::MAX.into())?;
    let writes = settings.writes_epoch.unwrap_or(reads_max);
    if !(reads_min..=reads_max).contains(&writes) {
        return Err(Failure::usage(format_args!(
            "writes-epoch: expected one of the epochs that it reads, {reads_min} to {reads_max}, \
             found {writes}: it could not read its own data"
        )));
    }
    Ok(Manifest {
        schema: manifest::SCHEMA,
        product,
        class: id_of(class),
        revision_min,
        revision_max,
        version: settings::label(version, "version", VERSION_LEN_MAX)?,
        sequence,
        level,
        min_from: settings::label(min_from, "min-from", VERSION_LEN_MAX)?,
        channel: settings::channel(settings.channel.as_deref().unwrap_or("latest/stable"))?,
        architecture: settings
            .architecture
            .as_deref()
            .map_or(Ok(manifest::Architecture::Any), crate::args::architecture)
            .map_err(|error| Failure::usage(format!("architecture: {error}")))?,
        not_after: not_after.map_err(|error| Failure::usage(format!("not-after: {error}")))?,
        epochs: Epochs { reads_min, reads_max, writes },
        rollout,
        flags: bits,
        chunk_size: chunk_size as u32,
        components: Default::default(),
    })
}

fn product(settings: &Settings, roots: Option<&Roots>) -> Result<Id, Failure> {
    match (settings.product.as_deref(), roots) {
        (Some(name), Some(roots)) if id_of(name) != roots.product_id() => {
            Err(Failure::usage(format_args!(
                "product `{name}` is not the one of the roots, `{}`: give one of the two",
                roots.product
            )))
        }
        (Some(name), _) => named(name, "product").map(id_of),
        (None, Some(roots)) => Ok(roots.product_id()),
        (None, None) => Err(Failure::usage(
            "the product is missing: expected --product NAME, or --roots FILE to take it from",
        )),
    }
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Failure> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
}

/// A name from the file of settings; on the command line it was looked at already.
fn named<'a>(value: &'a str, name: &str) -> Result<&'a str, Failure> {
    args::name(value).map_err(|error| Failure::usage(format_args!("{name}: {error}")))?;
    Ok(value)
}

fn missing(name: &str) -> Failure {
    let verb = if name == "roots" { "are" } else { "is" };
    Failure::usage(format_args!(
        "the {name} {verb} missing: expected --{name}, or `{name}` in the --config file"
    ))
}

/// Nothing could come after the highest number there is.
fn below(name: &str, found: u64, bound: u64) -> Result<(), Failure> {
    if found < bound {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{name}: expected 0 to {}, found {found}", bound - 1)))
}

/// Checks a least version: devices compare it with what runs, which only semantic versions allow.
fn compared(min_from: &str, version: &str) -> Result<(), Failure> {
    for (name, text) in [("min-from", min_from), ("version", version)] {
        semver::Version::parse(text).map_err(|error| {
            Failure::usage(format_args!(
                "{name}: with a least version both have to be semantic versions such as 1.2.3, which \
                 can be compared: found `{text}`: {error}"
            ))
        })?;
    }
    Ok(())
}

/// `MIN,MAX` or one number for both.
fn range(name: &str, text: &str) -> Result<(u16, u16), Failure> {
    let wrong = || {
        Failure::usage(format_args!(
            "{name}: expected MIN,MAX or one number, each 0 to 65535 and MIN not above MAX, found `{text}`"
        ))
    };
    let (min, max) = text.split_once(',').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (min, max) = (number(min)?, number(max)?);
    if min > max { Err(wrong()) } else { Ok((min, max)) }
}

fn read_keyset(settings: &Settings) -> Result<Option<(Vec<u8>, Keyset)>, Failure> {
    match (&settings.keyset, settings.single_key) {
        (Some(_), true) => {
            Err(Failure::usage("--single-key is for devices without keysets: leave --keyset out"))
        }
        (None, true) => Ok(None),
        (None, false) => Err(missing("keyset")),
        (Some(path), false) => {
            let bytes = files::read(path)?;
            let (_, keyset) = keyset::parse(&bytes, path)?;
            Ok(Some((bytes, keyset)))
        }
    }
}

/// Each key with the role it signs in. A signature that no device would count is an error here,
/// where it can still be mended.
fn signers<'a>(
    keys: &'a [Named],
    keyset: Option<&Keyset>,
    kind: SlotKind,
    out: &Output,
) -> Result<Vec<(KeyRole, &'a dyn Signer)>, Failure> {
    let wanted: &[KeyRole] = match kind {
        SlotKind::Update => &[KeyRole::Release, KeyRole::EdgeRelease],
        SlotKind::Recovery => &[KeyRole::Recovery],
    };
    let mut signers: Vec<(KeyRole, &dyn Signer)> = Vec::new();
    for named in keys {
        let public = named.signer.public();
        let role = match keyset {
            None => wanted.first().copied(),
            Some(keyset) => {
                let bits = key_in(keyset, &public).map_or(0, |key| key.roles);
                wanted.iter().copied().find(|role| bits & role.bit() != 0)
            }
        };
        let Some(role) = role else {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} has not the role {} in the keyset: no device would count its \
                     signature; see `stillboot keyset show`",
                    named.name,
                    view::key(&public),
                    wanted[0]
                ),
            ));
        };
        signers.push((role, &*named.signer));
    }
    if let Some(keyset) = keyset {
        let reaches = |role: &KeyRole| {
            let count = signers.iter().filter(|(r, _)| r == role).count();
            let rule = keyset.rule(*role);
            !rule.is_none() && count >= usize::from(keyset::needed(rule))
        };
        for (role, kind) in wanted.iter().filter_map(|role| {
            let is_used = signers.iter().any(|(used, _)| used == role);
            keyset::unsupported(keyset.rule(*role)).filter(|_| is_used).map(|kind| (role, kind))
        }) {
            out.warn(format_args!(
                "{role} keys must sign with {}: this build can neither sign nor check with {kind} \
                 (kind {}), and devices of this version refuse the bundle",
                keyset.rule(*role),
                kind.code()
            ));
        }
        if !wanted.iter().any(reaches) {
            let needed = keyset::needed(keyset.rule(wanted[0]));
            out.warn(format_args!(
                "devices want {needed} signatures by {} keys, this bundle carries {}: give more \
                 --key",
                wanted[0],
                signers.len()
            ));
        }
    }
    Ok(signers)
}

const fn default_load(role: Role) -> Load {
    match role {
        Role::Kernel | Role::Initramfs | Role::Cmdline | Role::Dtbs | Role::Uki | Role::Image => {
            Load::Ram
        }
        Role::Rootfs | Role::Verity | Role::Data | Role::Loader | Role::Unknown(_) => Load::Late,
    }
}

/// A component that is about to be packed.
struct Opened {
    input: Box<dyn Input>,
    len: u64,
    /// Its bytes, where they decide whether a loader starts it.
    bytes: Option<Vec<u8>>,
}

/// Opens a component.
fn open(component: &Component) -> Result<Opened, Failure> {
    let role = component.role;
    let bytes = match (&component.file, &component.text) {
        (Some(path), None) if role != Role::Cmdline => {
            let failed = |error| Failure::system("read", path, &error);
            let file = open::file(path).map_err(|error| match error.kind() {
                ErrorKind::InvalidInput => {
                    Failure::usage(format_args!("{}: {error} to pack as {role}", path.display()))
                }
                _ => failed(error),
            })?;
            let len = file.metadata().map_err(failed)?.len();
            if len == 0 {
                return Err(Failure::usage(format_args!(
                    "{} is empty: expected the bytes of the {role}",
                    path.display()
                )));
            }
            if role != Role::Dtbs {
                let input = Box::new(BufReader::with_capacity(1 << 20, file));
                return Ok(Opened { input, len, bytes: None });
            }
            let mut bytes = Vec::new();
            BufReader::new(file).read_to_end(&mut bytes).map_err(failed)?;
            bytes
        }
        // Editors end the last line; kernels do not want it.
        (Some(path), None) => command_line::trimmed(&files::read(path)?).to_vec(),
        (None, Some(text)) if role == Role::Cmdline => {
            command_line::trimmed(text.as_bytes()).to_vec()
        }
        _ => {
            return Err(Failure::usage(format_args!(
                "component {role}: expected a file (text is for the cmdline only)"
            )));
        }
    };
    if bytes.is_empty() {
        return Err(Failure::usage("the command line is empty: leave it out"));
    }
    let len = bytes.len() as u64;
    Ok(Opened { input: Box::new(Cursor::new(bytes.clone())), len, bytes: Some(bytes) })
}

/// Warns of a kernel that neither firmware nor a loader would take for one.
fn warn_kernel(
    component: &Component,
    architecture: Architecture,
    out: &Output,
) -> Result<(), Failure> {
    let expected = match architecture {
        Architecture::X86_64 => "an image for UEFI",
        Architecture::Aarch64 => "an image for UEFI or an arm64 Image",
        _ => return Ok(()),
    };
    let Some(path) = component.file.as_ref().filter(|_| component.role == Role::Kernel) else {
        return Ok(());
    };
    let failed = |error| Failure::system("read", path, &error);
    let mut head = Vec::new();
    open::file(path).map_err(failed)?.take(64).read_to_end(&mut head).map_err(failed)?;
    let is_arm64 = architecture == Architecture::Aarch64 && head.get(56..60) == Some(b"ARM\x64");
    if !head.starts_with(b"MZ") && !is_arm64 {
        out.warn(format_args!(
            "{}: expected {expected}, as loaders of {} start it, found something else",
            path.display(),
            architecture.name()
        ));
    }
    Ok(())
}

/// Rules of the manifest that are broken only once the components are measured.
fn explain(error: bundle::BundleError, path: &Path) -> Failure {
    match error {
        bundle::BundleError::Io(error) => Failure::system("write", path, &error),
        error @ bundle::BundleError::Manifest(FormatError::Duplicate(_)) => Failure::from(error)
            .also(
                "each slot takes one component of a role: give --component \
                                       with slot=a and slot=b for variants",
            ),
        error => error.into(),
    }
}

/// With the roots at hand, the head is verified as a device will: a bundle that none would take is
/// better noticed here.
fn check_head(
    roots: &Roots,
    kind: SlotKind,
    keyset: &[u8],
    manifest: &Manifest,
    signers: &[(KeyRole, &dyn Signer)],
) -> Result<(), Failure> {
    if keyset.is_empty() {
        return Ok(());
    }
    let mut payload = vec![0; stillboot::format::envelope::PAYLOAD_LEN_MAX];
    let len = manifest.emit(&mut payload).map_err(bundle::BundleError::Manifest)?;
    let envelope = stillboot_release::keys::sign_envelope(
        stillboot::format::PayloadType::Manifest,
        &manifest.product,
        &payload[..len],
        signers,
    )?;
    let device = Device {
        trust: roots.trust(),
        product: roots.product_id(),
        class: manifest.class,
        revision: manifest.revision_min,
        architecture: manifest.architecture,
    };
    match verify_head::<SoftSha256>(&device, kind, &[keyset, &envelope].concat()) {
        Ok(_) => Ok(()),
        // Missing signatures were warned of: they can be added.
        Err(stillboot::verify::TrustError::ManifestSignature(_)) => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            "trust",
            format_args!("no device with these roots would take this bundle: {error}"),
        )),
    }
}
