//! `keyset`: who may sign what, in the words of the roots.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::format::keyset::{self, KEYS_MAX};
use stillboot::format::{Architecture, Envelope, Key, KeyRole, Keyset, PayloadType};
use stillboot::verify::{Device, SoftSha256, verify_keyset};
use stillboot_linux::bundle::sign_keyset;
use stillboot_linux::keys::{Roots, Signer, read_public};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::sign::SignerArgs;
use crate::{files, view};

/// Commands about keysets.
#[derive(Subcommand, Debug)]
pub enum KeysetCommand {
    /// Makes the first keyset of a product
    Create(Box<CreateArgs>),
    /// Makes the keyset that follows another: to rotate keys, or to revoke one
    Next(Box<NextArgs>),
    /// Shows the keys of a keyset, and whether the roots signed it
    Show(ShowArgs),
}

/// Runs a command about keysets.
pub fn run(command: &KeysetCommand, out: &Output) -> Result<(), Failure> {
    match command {
        KeysetCommand::Create(args) => create(args, out),
        KeysetCommand::Next(args) => next(args, out),
        KeysetCommand::Show(args) => show(args, out),
    }
}

/// Who signs a keyset, and where it goes.
#[derive(Args, Debug)]
struct RootArgs {
    /// The product's roots: which keys they are, and how many must agree
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,
    /// A secret root key to sign with; several may be given
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    root: Vec<PathBuf>,
    #[command(flatten)]
    signers: SignerArgs,
    /// The keyset to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Options of `keyset create`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot keyset create --roots keys/roots.toml --root keys/root-1.pem \\\n    \
      --key keys/release-1.pub.pem:release --key keys/release-2.pub.pem:release \\\n    \
      --key keys/channel-1.pub.pem:channel,sign-off --threshold release=2 \\\n    \
      --out keys/keyset.sbk\n\n\
    Roles: release, recovery, edge-release, channel, approver, sign-off.")]
pub struct CreateArgs {
    #[command(flatten)]
    signing: RootArgs,
    /// A public key and its roles; several may be given
    #[arg(long, value_name = "FILE:ROLE[,ROLE]", value_parser = key_spec, required = true)]
    key: Vec<KeySpec>,
    /// How many keys of a role must agree [default: 1]
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(KeyRole, u8)>,
}

/// Options of `keyset next`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \\\n    \
      --remove 47cac8e1fce1e3d7 --add keys/release-3.pub.pem:release --out keys/keyset-2.sbk\n\n\
    Devices take the new keyset with the first update that carries it, and no older one from then\n\
    on. To change the roles of a key, remove it and add it again.")]
pub struct NextArgs {
    /// The keyset that it follows
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    signing: RootArgs,
    /// A public key to add, and its roles; several may be given
    #[arg(long, value_name = "FILE:ROLE[,ROLE]", value_parser = key_spec)]
    add: Vec<KeySpec>,
    /// The id of a key to remove; several may be given
    #[arg(long, value_name = "ID")]
    remove: Vec<String>,
    /// How many keys of a role must agree; by default as many as before, and 1 for a new role
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(KeyRole, u8)>,
}

/// Options of `keyset show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot keyset show keys/keyset.sbk --roots keys/roots.toml")]
pub struct ShowArgs {
    /// The keyset
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The roots to verify it against; without them it is shown as it claims to be
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
}

/// A key and its roles, as an option says it.
#[derive(Clone, Debug)]
struct KeySpec {
    file: PathBuf,
    roles: u8,
}

fn key_spec(text: &str) -> Result<KeySpec, String> {
    // From the right: a path may hold colons, a role does not.
    let (file, roles) = text
        .rsplit_once(':')
        .filter(|(file, _)| !file.is_empty())
        .ok_or_else(|| format!("expected FILE:ROLE[,ROLE], found `{text}`"))?;
    let mut bits = 0;
    for name in roles.split(',') {
        bits |= role(name)?.bit();
    }
    Ok(KeySpec { file: file.into(), roles: bits })
}

fn threshold(text: &str) -> Result<(KeyRole, u8), String> {
    let wrong = || format!("expected ROLE=N with N from 0 to 4, found `{text}`");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let number = number.parse().ok().filter(|n| *n <= keyset::THRESHOLD_MAX).ok_or_else(wrong)?;
    Ok((role(name)?, number))
}

/// A role that keys of keysets have.
fn role(name: &str) -> Result<KeyRole, String> {
    KeyRole::OF_KEYSETS.into_iter().find(|role| role.name() == name).ok_or_else(|| {
        let names = KeyRole::OF_KEYSETS.map(|role| role.name());
        format!("expected a role ({}), found `{name}`", names.join(", "))
    })
}

fn create(args: &CreateArgs, out: &Output) -> Result<(), Failure> {
    let mut keyset =
        Keyset { schema: keyset::SCHEMA, version: 1, thresholds: [0; 6], keys: Default::default() };
    for spec in &args.key {
        add(&mut keyset, spec)?;
    }
    thresholds(&mut keyset, &args.threshold)?;
    let roots = Roots::read(&args.signing.roots)?;
    let keys: Vec<_> = args.key.iter().map(|key| key.file.as_path()).collect();
    write(&args.signing, &keys, &roots, &keyset, out)
}

fn next(args: &NextArgs, out: &Output) -> Result<(), Failure> {
    if args.add.is_empty() && args.remove.is_empty() && args.threshold.is_empty() {
        return Err(Failure::usage(
            "nothing would change: expected --add, --remove or --threshold",
        ));
    }
    let roots = Roots::read(&args.signing.roots)?;
    let bytes = files::read(&args.file)?;
    let (envelope, mut keyset) = parse(&bytes, &args.file)?;
    // What the roots never signed is nothing to go on from.
    trusted(&roots, &envelope, &args.file)?;
    // The highest number is left out by the format, for nothing could follow it.
    keyset.version = keyset.version.saturating_add(1);
    for id in &args.remove {
        let found = keyset.keys.iter().position(|key| view::key(&key.public) == *id);
        let Some(at) = found else {
            let known: Vec<_> = keyset.keys.iter().map(|key| view::key(&key.public)).collect();
            return Err(Failure::usage(format_args!(
                "--remove: expected the id of a key of the keyset ({}), found `{id}`",
                known.join(", ")
            )));
        };
        keyset.keys.remove(at);
    }
    for spec in &args.add {
        add(&mut keyset, spec)?;
    }
    thresholds(&mut keyset, &args.threshold)?;
    let keys = args.add.iter().map(|key| key.file.as_path());
    let inputs: Vec<_> = keys.chain([args.file.as_path()]).collect();
    write(&args.signing, &inputs, &roots, &keyset, out)
}

fn add(keyset: &mut Keyset, spec: &KeySpec) -> Result<(), Failure> {
    let public = read_public(&spec.file)?;
    if keyset.keys.iter().any(|key| key.public == public) {
        return Err(Failure::usage(format_args!(
            "{}: key {} is there already: expected each key once, with all of its roles",
            spec.file.display(),
            view::key(&public)
        )));
    }
    let both = KeyRole::Release.bit() | KeyRole::EdgeRelease.bit();
    if spec.roles & both == both {
        return Err(Failure::usage(format_args!(
            "{}: expected release or edge-release, found both: a signature must mean one of them",
            spec.file.display()
        )));
    }
    keyset
        .keys
        .push(Key { public, roles: spec.roles })
        .map_err(|_| Failure::usage(format_args!("expected at most {KEYS_MAX} keys, found more")))
}

/// Lays the thresholds that were asked for over those of the keyset, and checks that each can be
/// reached.
fn thresholds(keyset: &mut Keyset, asked: &[(KeyRole, u8)]) -> Result<(), Failure> {
    for (at, role) in KeyRole::OF_KEYSETS.into_iter().enumerate() {
        let holders = keyset.keys.iter().filter(|key| key.roles & role.bit() != 0).count();
        let given: Vec<u8> = asked.iter().filter(|(r, _)| *r == role).map(|(_, n)| *n).collect();
        let threshold = &mut keyset.thresholds[at];
        match given[..] {
            [] => {}
            [number] => *threshold = number,
            _ => {
                return Err(Failure::usage(format_args!(
                    "expected one --threshold for {role}, found {}",
                    given.len()
                )));
            }
        }
        if *threshold == 0 && holders > 0 && given.is_empty() {
            *threshold = 1;
        }
        if usize::from(*threshold) > holders || (*threshold == 0 && holders > 0) {
            return Err(Failure::usage(format_args!(
                "{role}: expected a threshold of {} to {}, for as many keys have the role, found \
                 {threshold}: leave more keys in it, or give --threshold {role}=N",
                usize::from(holders > 0),
                holders.min(keyset::THRESHOLD_MAX.into()),
            )));
        }
    }
    Ok(())
}

/// Signs and writes a keyset. `more` are files that it was made from beside those of `args`.
fn write(
    args: &RootArgs,
    more: &[&Path],
    roots: &Roots,
    keyset: &Keyset,
    out: &Output,
) -> Result<(), Failure> {
    let signing = args.signers.signers(&args.root, "--root")?;
    for named in &signing {
        let public = named.signer.public();
        if !roots.keys.contains(&public) {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} is none of the roots in {}: no device would count its signature",
                    named.name,
                    view::key(&public),
                    args.roots.display()
                ),
            ));
        }
    }
    let signers: Vec<&dyn Signer> = signing.iter().map(|named| &*named.signer).collect();
    let bytes = sign_keyset(keyset, &roots.product_id(), &signers)?;
    let (envelope, _) = Envelope::parse(&bytes).map_err(stillboot_linux::keys::KeyError::from)?;
    let needed = usize::from(roots.threshold);
    if signing.len() < needed {
        out.warn(format_args!(
            "devices want {needed} signatures by root keys, this keyset carries {}: add more with \
             `stillboot sign`",
            signing.len()
        ));
    } else {
        trusted(roots, &envelope, &args.out)?;
    }
    let named = args.root.iter().map(PathBuf::as_path).chain(args.signers.inputs());
    let named = named.chain(more.iter().copied());
    let inputs: Vec<_> = named.chain([args.roots.as_path()]).collect();
    files::replace(&args.out, &inputs, |file| {
        file.write_all(&bytes).map_err(|error| Failure::system("write", &args.out, &error))
    })?;
    out.line(format_args!("{}:", args.out.display()));
    view::keyset_lines(out, keyset);
    out.line(format_args!("  signed by     {}", view::signers(&envelope).join(", ")));
    out.result(|| {
        json!({
            "file": view::path(&args.out), "keyset": view::keyset(keyset), "signers": view::signers(&envelope),
            "complete": signing.len() >= needed,
        })
    });
    Ok(())
}

/// Shows a keyset.
fn show(args: &ShowArgs, out: &Output) -> Result<(), Failure> {
    let bytes = files::read(&args.file)?;
    let (envelope, found) = parse(&bytes, &args.file)?;
    if let Some(path) = &args.roots {
        trusted(&Roots::read(path)?, &envelope, &args.file)?;
        out.line("Signed by the roots:");
    } else {
        out.line("NOT VERIFIED: this is what the file claims. --roots FILE verifies it.");
    }
    view::keyset_lines(out, &found);
    out.line(format_args!("  signed by     {}", view::signers(&envelope).join(", ")));
    out.result(|| {
        json!({
            "verified": args.roots.is_some(), "keyset": view::keyset(&found),
            "signers": view::signers(&envelope),
        })
    });
    Ok(())
}

/// Checks that the roots signed a keyset, as a device does.
fn trusted(roots: &Roots, envelope: &Envelope<'_>, path: &Path) -> Result<(), Failure> {
    let device = any_device(roots);
    verify_keyset::<SoftSha256>(&device, envelope).map(|_| ()).map_err(|error| {
        Failure::new(
            Exit::Refused,
            "trust",
            format_args!("{} is not trusted: {error}", path.display()),
        )
    })
}

/// A device of the product, for what does not depend on its class.
pub fn any_device(roots: &Roots) -> Device<'_> {
    Device {
        trust: roots.trust(),
        product: roots.product_id(),
        class: [0; 16],
        revision: 0,
        architecture: Architecture::Any,
    }
}

/// A file that holds a keyset and nothing else. Nothing is verified here.
pub fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<(Envelope<'a>, Keyset), Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Refused,
            "format",
            format_args!(
                "{} is not a keyset: expected one as `stillboot keygen` writes it; {error}",
                path.display()
            ),
        )
    };
    let (envelope, rest) = Envelope::parse(bytes).map_err(|error| wrong(&error))?;
    if !rest.is_empty() {
        return Err(wrong(&format_args!("{} bytes follow its end", rest.len())));
    }
    if envelope.payload_type() != PayloadType::Keyset {
        return Err(wrong(&format_args!("found a {} envelope", envelope.payload_type())));
    }
    let keyset = Keyset::parse(envelope.payload())
        .map_err(|error| wrong(&bounds::format_error(error, bytes)))?;
    Ok((envelope, keyset))
}
