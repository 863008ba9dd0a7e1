//! `keygen`: the keys of a product, and its first keyset.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot::format::keyset::{self, KEYS_MAX};
use stillboot::format::{Key, KeyKind, KeyRole, Keyset, Rule};
use stillboot::verify::RootKey;
use stillboot_build::Identity;
use stillboot_linux::new_file;
use stillboot_release::bundle::sign_keyset;
use stillboot_release::keys::{Roots, Signer, SigningKey, public_to_pem};

use crate::args;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::view;

/// Options of `keygen`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot keygen --out keys --product gateway\n\n\
    Keep root-*.pem offline: they are needed only for the next keyset. roots.toml goes into\n\
    loaders and to every command that asks for --roots; keyset.sbk goes to `stillboot pack`.")]
pub struct KeygenArgs {
    /// Directory for the files; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The product's name, or its UUID
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    product: String,
    /// Number of root keys
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    roots: u8,
    /// Number of root keys that must sign a keyset
    #[arg(long, value_name = "T", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    threshold: u8,
    /// Number of release keys
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=7))]
    releases: u8,
    /// Number of release keys that must sign a release
    #[arg(long, value_name = "T", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    release_threshold: u8,
    /// Number of keys that may sign releases of risk `edge` only
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=7))]
    edge: u8,
    /// Number of keys that sign promotions and channel indexes
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=7))]
    channel: u8,
    /// Number of keys that approve releases for the devices of an operator
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=7))]
    approver: u8,
    /// Number of keys that sign off tests and the like
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u8).range(0..=7))]
    sign_off: u8,
    /// Also write identity.rs: whom a device of this class trusts and which it is, as Rust constants
    #[arg(long, value_name = "CLASS", value_parser = args::name)]
    rust: Option<String>,
}

/// The file of Rust constants.
const IDENTITY: &str = "identity.rs";

/// A new key and the role it is for.
struct NewKey {
    role: KeyRole,
    name: String,
    key: SigningKey,
}

/// How many keys of each role there are, beside the roots.
type KeyCounts = [(KeyRole, &'static str, u8); 6];

/// Makes the keys of a product and its first keyset.
pub fn keygen(args: &KeygenArgs, out: &Output) -> Result<(), Failure> {
    let counts = counts(args)?;
    let mut keys = Vec::new();
    for (role, name, count) in [(KeyRole::Root, "root", args.roots)].into_iter().chain(counts) {
        for number in 1..=count {
            let key = SigningKey::generate()?;
            keys.push(NewKey { role, name: format!("{name}-{number}"), key });
        }
    }
    let of_role = |role| keys.iter().filter(move |new| new.role == role);
    let root_keys: Vec<_> =
        of_role(KeyRole::Root).map(|new| RootKey::ed25519(new.key.public())).collect();
    let roots = Roots::new(&*args.product, args.threshold, root_keys);
    let signers: Vec<&dyn Signer> =
        of_role(KeyRole::Root).map(|new| &new.key as &dyn Signer).collect();
    let first = first_keyset(args, &counts, &keys);
    let envelope = sign_keyset(&first, &roots.product_id(), &signers)?;
    let identity = args.rust.as_ref().map(|class| Identity::new(roots.clone(), class).code());
    let texts = Texts { roots: roots.to_toml()?, identity };

    refuse_existing(args, &keys)?;
    if args.out.as_os_str() == "-" {
        return Err(Failure::usage("--out: expected a folder for the keys, found `-`"));
    }
    if args.out.exists() && !args.out.is_dir() {
        return Err(Failure::new(
            Exit::Failed,
            "io",
            format_args!(
                "--out: expected a folder for the keys, and {} is none",
                args.out.display()
            ),
        ));
    }
    fs::create_dir_all(&args.out).map_err(|error| Failure::system("make", &args.out, &error))?;
    let mut written = Vec::new();
    let result = write_all(args, &keys, &texts, &envelope, &mut written);
    if result.is_err() {
        // Only files of this run are removed. A secret key without its public key is of no use.
        for path in &written {
            let _ = fs::remove_file(path);
        }
    }
    result?;
    tell(args, &keys, &roots, out);
    Ok(())
}

/// The numbers of keys that were asked for, if every threshold can be reached with them.
fn counts(args: &KeygenArgs) -> Result<KeyCounts, Failure> {
    if args.threshold > args.roots {
        return Err(Failure::usage(format_args!(
            "--threshold {} cannot be reached with --roots {}: expected 1 to {}",
            args.threshold, args.roots, args.roots
        )));
    }
    if args.release_threshold > args.releases {
        return Err(Failure::usage(format_args!(
            "--release-threshold {} cannot be reached with --releases {}: expected 1 to {}",
            args.release_threshold, args.releases, args.releases
        )));
    }
    let counts = [
        (KeyRole::Release, "release", args.releases),
        (KeyRole::Recovery, "recovery", 1),
        (KeyRole::EdgeRelease, "edge", args.edge),
        (KeyRole::Channel, "channel", args.channel),
        (KeyRole::Approver, "approver", args.approver),
        (KeyRole::SignOff, "sign-off", args.sign_off),
    ];
    let all: usize = counts.iter().map(|(_, _, count)| usize::from(*count)).sum();
    if all > KEYS_MAX {
        return Err(Failure::usage(format_args!(
            "expected at most {KEYS_MAX} keys besides the roots, with the one for recovery, found \
             {all}"
        )));
    }
    Ok(counts)
}

/// The keyset of all keys but the roots.
fn first_keyset(args: &KeygenArgs, counts: &KeyCounts, keys: &[NewKey]) -> Keyset {
    let members = keys.iter().filter(|new| new.role != KeyRole::Root);
    Keyset {
        schema: keyset::SCHEMA,
        version: 1,
        // One of each suffices but for releases; `stillboot keyset next` changes that.
        rules: counts.map(|(role, _, count)| match role {
            KeyRole::Release => Rule::ed25519(args.release_threshold),
            _ => Rule::ed25519(count.min(1)),
        }),
        keys: members
            .map(|new| Key {
                kind: KeyKind::Ed25519,
                name: new.key.public(),
                roles: new.role.bit(),
            })
            .collect(),
    }
}

/// Looks for all files before the first is written, so that no incomplete set of new keys is left
/// among old ones.
fn refuse_existing(args: &KeygenArgs, keys: &[NewKey]) -> Result<(), Failure> {
    let mut names: Vec<String> = vec!["roots.toml".into(), "keyset.sbk".into()];
    names.extend(args.rust.as_ref().map(|_| IDENTITY.into()));
    for new in keys {
        names.push(format!("{}.pem", new.name));
        names.push(format!("{}.pub.pem", new.name));
    }
    for name in &names {
        let path = args.out.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Exit::Failed,
                "exists",
                format_args!(
                    "{} exists already, and keys are never overwritten: choose another directory",
                    path.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Says what was made, and where it is.
fn tell(args: &KeygenArgs, keys: &[NewKey], roots: &Roots, out: &Output) {
    for new in keys {
        out.line(format_args!(
            "{:<12} {}  {}",
            new.role.name(),
            view::key(&new.key.public()),
            args.out.join(format!("{}.pem", new.name)).display()
        ));
    }
    out.line(format_args!(
        "roots        {} of {} must agree, in {}",
        args.threshold,
        args.roots,
        args.out.join("roots.toml").display()
    ));
    out.line(format_args!("keyset       version 1, in {}", args.out.join("keyset.sbk").display()));
    if let Some(class) = &args.rust {
        let path = args.out.join(IDENTITY);
        out.line(format_args!("identity     for devices of class {class}, in {}", path.display()));
    }
    out.line("Keep the root keys offline: they can replace all other keys.");
    out.result(|| {
        let file = |name: &str| view::path(&args.out.join(name));
        let keys: Vec<_> = keys
            .iter()
            .map(|new| {
                json!({
                    "role": new.role.name(), "id": view::key(&new.key.public()),
                    "secret": file(&format!("{}.pem", new.name)),
                    "public": file(&format!("{}.pub.pem", new.name)),
                })
            })
            .collect();
        json!({
            "product": roots.product, "product_id": view::id(&roots.product_id()),
            "threshold": roots.threshold, "keys": keys, "keyset_version": 1,
            "roots": file("roots.toml"), "keyset": file("keyset.sbk"),
            "rust": args.rust.as_ref().map(|_| file(IDENTITY)),
        })
    });
}

/// Files of text beside the keys.
struct Texts {
    roots: String,
    identity: Option<String>,
}

fn write_all(
    args: &KeygenArgs,
    keys: &[NewKey],
    texts: &Texts,
    envelope: &[u8],
    written: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    for new in keys {
        let secret = args.out.join(format!("{}.pem", new.name));
        new.key.write(&secret)?;
        written.push(secret);
        let mut public = public_to_pem(&new.key.public());
        if !public.ends_with('\n') {
            public.push('\n');
        }
        write_new(&args.out.join(format!("{}.pub.pem", new.name)), public.as_bytes(), written)?;
    }
    write_new(&args.out.join("roots.toml"), texts.roots.as_bytes(), written)?;
    if let Some(identity) = &texts.identity {
        write_new(&args.out.join(IDENTITY), identity.as_bytes(), written)?;
    }
    write_new(&args.out.join("keyset.sbk"), envelope, written)
}

fn write_new(path: &Path, bytes: &[u8], written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    new_file::write(path, bytes, 0o666).map_err(|error| Failure::system("write", path, &error))?;
    written.push(path.to_path_buf());
    Ok(())
}
