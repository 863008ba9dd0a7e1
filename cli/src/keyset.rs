//! `keyset`: which keys may sign what, as the roots have signed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use stillboot::format::keyset::{self, KEYS_MAX};
use stillboot::format::{Envelope, Key, KeyKind, KeyRole, Keyset, PayloadType, Rule};
use stillboot::verify::{Device, RootKey, SoftSha256, verify_keyset};
use stillboot_release::bundle::sign_keyset;
use stillboot_release::keys::{Roots, Signer, read_public};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::signers::{SignerArgs, key_in};
use crate::{files, statements, view};

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

/// The keys that sign a keyset, and the file that it goes to.
#[derive(Args, Debug)]
struct RootArgs {
    /// The file with the product's root keys, and how many of them must sign
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
    /// How many keys of a role must sign [default: 1]. A plain number counts Ed25519 keys. `ROLE={
    /// ed25519 = 1 }` names the kind; this tool makes no keys of other kinds yet
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(KeyRole, Rule)>,
}

/// Options of `keyset next`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \\\n    \
      --remove 47cac8e1fce1e3d7 --add keys/release-3.pub.pem:release --out keys/keyset-2.sbk\n\n\
    Devices take the new keyset with the first update that carries it, and no older one from then\n\
    on. To change the roles of a key, remove it and add it again.")]
pub struct NextArgs {
    /// The keyset before it
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
    /// How many keys of a role must sign; by default as many as before, and 1 for a new role. A
    /// plain number counts Ed25519 keys. `ROLE={ ed25519 = 1, ml-dsa-65 = 1 }` gives a number for
    /// each kind, in a keyset that has such keys; this tool makes no keys of other kinds yet
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(KeyRole, Rule)>,
}

/// Options of `keyset show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot keyset show keys/keyset.sbk --roots keys/roots.toml")]
pub struct ShowArgs {
    /// The keyset
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file with the root keys to verify it against; without it the keyset is shown unverified
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
    // Split from the right: a path may contain colons, a role does not.
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

/// A number, which means so many Ed25519 keys, or a table of numbers by kinds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Thresholds {
    Ed25519(i64),
    Kinds(BTreeMap<String, i64>),
}

fn threshold(text: &str) -> Result<(KeyRole, Rule), String> {
    let wrong = || {
        format!(
            "expected ROLE=N with N from 0 to {}, or ROLE={{ KIND = N, KIND = N }}, found `{text}`",
            KeyKind::Ed25519.count_max()
        )
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let role = role(name)?;
    let mut parsed: BTreeMap<String, toml::Value> = toml::from_str(&format!("rule = {value}"))
        .map_err(|error| match error.message().contains("duplicate key") {
            true => format!("expected each kind once, found one twice in `{text}`"),
            false => wrong(),
        })?;
    let thresholds = parsed.remove("rule").filter(|_| parsed.is_empty()).ok_or_else(wrong)?;
    let kinds = match thresholds.try_into().map_err(|_| wrong())? {
        Thresholds::Ed25519(number) => {
            let few = u8::try_from(number).ok();
            let few = few.filter(|number| *number <= KeyKind::Ed25519.count_max());
            return few.map(|number| (role, Rule::ed25519(number))).ok_or_else(wrong);
        }
        Thresholds::Kinds(kinds) => kinds,
    };
    let mut parts = Vec::new();
    for (name, number) in kinds {
        let kind = kind(&name)?;
        let few = u8::try_from(number).ok();
        let Some(number) = few.filter(|number| (1..=kind.count_max()).contains(number)) else {
            return Err(format!(
                "{kind}: expected a threshold of 1 to {}, the most signatures of that kind in one \
                 envelope, found {number}",
                kind.count_max()
            ));
        };
        parts.push((kind, number));
    }
    // A rule has one order.
    parts.sort_unstable_by_key(|(kind, _)| kind.code());
    match parts[..] {
        [(one, number)] => Ok((role, Rule::of(one, number))),
        [(one, first), (two, second)] => Ok((role, Rule::of(one, first).and(two, second))),
        _ => Err(format!("expected one or two kinds of keys, found {} in `{text}`", parts.len())),
    }
}

/// A kind of keys.
fn kind(name: &str) -> Result<KeyKind, String> {
    KeyKind::from_name(name).ok_or_else(|| {
        let names: Vec<_> = KeyKind::ALL.iter().map(|kind| kind.name()).collect();
        format!("expected a kind of keys ({}), found `{name}`", names.join(", "))
    })
}

/// A role that keys of keysets have.
fn role(name: &str) -> Result<KeyRole, String> {
    KeyRole::OF_KEYSETS.into_iter().find(|role| role.name() == name).ok_or_else(|| {
        let names = KeyRole::OF_KEYSETS.map(|role| role.name());
        format!("expected a role ({}), found `{name}`", names.join(", "))
    })
}

fn create(args: &CreateArgs, out: &Output) -> Result<(), Failure> {
    let mut keyset = Keyset {
        schema: keyset::SCHEMA,
        version: 1,
        rules: [Rule::NONE; 6],
        keys: Default::default(),
    };
    for spec in &args.key {
        add(&mut keyset, spec)?;
    }
    set_rules(&mut keyset, &args.threshold, out)?;
    let roots = Roots::read(&args.signing.roots)?;
    let keys: Vec<_> = args.key.iter().map(|key| key.file.as_path()).collect();
    write(&args.signing, &keys, &roots, &keyset, out)
}

fn next(args: &NextArgs, out: &Output) -> Result<(), Failure> {
    if args.add.is_empty() && args.remove.is_empty() && args.threshold.is_empty() {
        return Err(Failure::usage(
            "this changes nothing: expected --add, --remove or --threshold",
        ));
    }
    let roots = Roots::read(&args.signing.roots)?;
    let bytes = files::read(&args.file)?;
    let (envelope, mut keyset) = parse(&bytes, &args.file)?;
    // Only a keyset that the roots signed can be continued.
    trusted(&roots, &envelope, &args.file)?;
    // The format leaves the highest number out, because no number could follow it.
    let last = u32::MAX - 1;
    if keyset.version >= last {
        return Err(Failure::new(
            Exit::Refused,
            "version",
            format_args!(
                "{}: expected a keyset of a version below {last}, the highest there is, found \
                 version {}: none can follow it, and devices that have it keep its keys",
                args.file.display(),
                keyset.version
            ),
        ));
    }
    keyset.version += 1;
    for id in &args.remove {
        let found = keyset.keys.iter().position(|key| view::key_of(key.kind, &key.name) == *id);
        let Some(at) = found else {
            let known = keyset.keys.iter().map(|key| view::key_of(key.kind, &key.name));
            let known: Vec<_> = known.collect();
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
    set_rules(&mut keyset, &args.threshold, out)?;
    let keys = args.add.iter().map(|key| key.file.as_path());
    let inputs: Vec<_> = keys.chain([args.file.as_path()]).collect();
    write(&args.signing, &inputs, &roots, &keyset, out)
}

fn add(keyset: &mut Keyset, spec: &KeySpec) -> Result<(), Failure> {
    let public = read_public(&spec.file)?;
    if key_in(keyset, &public).is_some() {
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
        .push(Key { kind: KeyKind::Ed25519, name: public, roles: spec.roles })
        .map_err(|_| Failure::usage(format_args!("expected at most {KEYS_MAX} keys, found more")))
}

/// Lays the rules that were asked for over those of the keyset, and checks that each can be met.
fn set_rules(keyset: &mut Keyset, asked: &[(KeyRole, Rule)], out: &Output) -> Result<(), Failure> {
    for (at, role) in KeyRole::OF_KEYSETS.into_iter().enumerate() {
        let holders = |kind: KeyKind| {
            let of_kind = keyset.keys.iter().filter(|key| key.kind == kind);
            of_kind.filter(|key| key.roles & role.bit() != 0).count()
        };
        let given: Vec<Rule> = asked.iter().filter(|(r, _)| *r == role).map(|(_, n)| *n).collect();
        let rule = match given[..] {
            [] if keyset.rules[at].is_none() && holders(KeyKind::Ed25519) > 0 => Rule::ed25519(1),
            [] => keyset.rules[at],
            [rule] => rule,
            _ => {
                return Err(Failure::usage(format_args!(
                    "expected one --threshold for {role}, found {}",
                    given.len()
                )));
            }
        };
        for kind in KeyKind::ALL.iter().copied() {
            let (holders, threshold) = (holders(kind), rule.threshold(kind));
            let most = holders.min(kind.count_max().into());
            if usize::from(threshold) <= most && (threshold > 0 || holders == 0) {
                continue;
            }
            let keys = match holders {
                1 => "1 key of that kind has the role".to_owned(),
                more => format!("{more} keys of that kind have the role"),
            };
            let bounds = if most == 1 { "1".to_owned() } else { format!("1 to {most}") };
            let advice = option(role, keyset);
            return Err(Failure::usage(match (holders, threshold) {
                (0, _) => format!(
                    "{role}: expected a key of {kind} with the role, for {threshold} must sign, \
                     found none: give it to such a key, or give {advice}"
                ),
                (_, 0) => format!(
                    "{role}: expected a threshold of {bounds} for {kind}, for {keys} and would count \
                     for nothing, found {}: give {advice}, or leave that key out",
                    if rule.is_none() { "0".into() } else { format!("a rule of {rule}") }
                ),
                _ => format!(
                    "{role}: expected a threshold of {bounds} for {kind}, for {keys}, found \
                     {threshold}: leave more keys in it, or give {advice}"
                ),
            }));
        }
        if let Some(kind) = unsupported(rule) {
            out.warn(format_args!(
                "{role} keys must sign with {rule}: devices of this version refuse what is signed \
                 under this keyset in that role, for they cannot check {kind} (kind {})",
                kind.code()
            ));
        }
        keyset.rules[at] = rule;
    }
    Ok(())
}

/// The option that gives a rule which the keys of `role` can meet.
fn option(role: KeyRole, keyset: &Keyset) -> String {
    let mut parts = Vec::new();
    for kind in KeyKind::ALL.iter().copied() {
        let of_role = |key: &&Key| key.kind == kind && key.roles & role.bit() != 0;
        match keyset.keys.iter().filter(of_role).count().min(kind.count_max().into()) {
            0 => {}
            1 => parts.push((kind, "1".to_owned())),
            most => parts.push((kind, format!("1 to {most}"))),
        }
    }
    match &parts[..] {
        [] => format!("--threshold {role}=0"),
        [(KeyKind::Ed25519, number)] => format!("--threshold {role}=N with an N of {number}"),
        _ => {
            let parts: Vec<_> = parts.iter().map(|(kind, _)| format!("{kind} = N")).collect();
            format!("--threshold '{role}={{ {} }}'", parts.join(", "))
        }
    }
}

/// A kind of keys that `rule` asks for and this build cannot check, and so not sign with either.
pub fn unsupported(rule: Rule) -> Option<KeyKind> {
    rule.parts().map(|(kind, _)| kind).find(|kind| !kind.is_supported())
}

/// How many signatures `rule` asks for that this build can make.
pub fn needed(rule: Rule) -> u8 {
    rule.threshold(KeyKind::Ed25519)
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
        if !roots.keys.contains(&RootKey::ed25519(public)) {
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
    let (envelope, _) = Envelope::parse(&bytes).map_err(stillboot_release::keys::KeyError::from)?;
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
    out.line(format_args!("  signed by     {}", view::signers_text(&envelope)));
    out.result(|| {
        json!({
            "file": view::path(&args.out), "keyset": view::keyset(keyset), "signers": view::signers(&envelope),
            "signatures": view::signatures(&envelope), "complete": signing.len() >= needed,
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
    out.line(format_args!("  signed by     {}", view::signers_text(&envelope)));
    out.result(|| {
        json!({
            "verified": args.roots.is_some(), "keyset": view::keyset(&found),
            "signers": view::signers(&envelope), "signatures": view::signatures(&envelope),
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
            format_args!(
                "{} is not trusted: {error}{}",
                path.display(),
                statements::advice(&error)
            ),
        )
    })
}

/// A device of the product, for what does not depend on its class.
pub fn any_device(roots: &Roots) -> Device<'_> {
    Device::new(roots.trust(), roots.product_id(), [0; 16])
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
    let (envelope, rest) =
        Envelope::parse(bytes).map_err(|error| wrong(&bounds::format_error(error, bytes)))?;
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
