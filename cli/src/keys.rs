//! `keygen` and `keyset`: the keys of a product, and who may sign what.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use stillboot::format::{Architecture, Envelope, Key, KeyRole, Keyset, keyset};
use stillboot::verify::{Device, SoftSha256, verify_keyset};
use stillboot_linux::bundle::sign_keyset;
use stillboot_linux::keys::{Roots, Signer, SigningKey, public_to_pem};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{files, view};

/// Options of `keygen`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot keygen --out keys --product gateway\n\n\
    Keep root-*.pem offline: they are needed only for the next keyset. roots.toml goes into\n\
    loaders and to every command that asks for --roots; keyset.sbk goes to `stillboot pack`.")]
pub struct KeygenArgs {
    /// Directory for the files; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The product's name, or its UUID
    #[arg(long, value_name = "NAME")]
    product: String,
    /// How many root keys
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    roots: u8,
    /// How many roots must agree on a keyset
    #[arg(long, value_name = "T", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    threshold: u8,
    /// How many release keys
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=7))]
    releases: u8,
    /// How many release keys must sign a release
    #[arg(long, value_name = "T", default_value_t = 1,
          value_parser = clap::value_parser!(u8).range(1..=4))]
    release_threshold: u8,
}

/// A new key and the role it is for.
struct NewKey {
    role: KeyRole,
    name: String,
    key: SigningKey,
}

/// Makes the keys of a product and its first keyset.
pub fn keygen(args: &KeygenArgs, out: &Output) -> Result<(), Failure> {
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
    if args.product.is_empty() {
        return Err(Failure::usage("expected a name or a UUID after --product, found nothing"));
    }
    let mut keys = Vec::new();
    for (role, name, count) in [
        (KeyRole::Root, "root", args.roots),
        (KeyRole::Release, "release", args.releases),
        (KeyRole::Recovery, "recovery", 1),
    ] {
        for number in 1..=count {
            let key = SigningKey::generate()?;
            keys.push(NewKey { role, name: format!("{name}-{number}"), key });
        }
    }
    let of_role = |role| keys.iter().filter(move |new| new.role == role);
    let roots = Roots {
        product: args.product.clone(),
        threshold: args.threshold,
        keys: of_role(KeyRole::Root).map(|new| new.key.public()).collect(),
    };
    let members = keys.iter().filter(|new| new.role != KeyRole::Root);
    let first = Keyset {
        schema: keyset::SCHEMA,
        version: 1,
        thresholds: [args.release_threshold, 1, 0, 0, 0, 0],
        keys: members.map(|new| Key { public: new.key.public(), roles: new.role.bit() }).collect(),
    };
    let signers: Vec<&dyn Signer> =
        of_role(KeyRole::Root).map(|new| &new.key as &dyn Signer).collect();
    let envelope = sign_keyset(&first, &roots.product_id(), &signers)?;
    let roots_text = roots.to_toml()?;

    // All names first: half a set of new keys among old ones helps nobody.
    let mut names: Vec<String> = vec!["roots.toml".into(), "keyset.sbk".into()];
    for new in &keys {
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
    fs::create_dir_all(&args.out).map_err(|error| Failure::system("make", &args.out, &error))?;
    let mut written = Vec::new();
    let result = write_all(args, &keys, &roots_text, &envelope, &mut written);
    if result.is_err() {
        // Only what this run made; a key of which no public half exists is of no use.
        for path in &written {
            let _ = fs::remove_file(path);
        }
    }
    result?;

    for new in &keys {
        out.line(format_args!(
            "{:<9} {}  {}",
            new.role.name(),
            view::key(&new.key.public()),
            args.out.join(format!("{}.pem", new.name)).display()
        ));
    }
    out.line(format_args!(
        "roots     {} of {} must agree, in {}",
        args.threshold,
        args.roots,
        args.out.join("roots.toml").display()
    ));
    out.line(format_args!("keyset    version 1, in {}", args.out.join("keyset.sbk").display()));
    out.line("Keep the root keys offline; whoever has them can replace all others.");
    out.result(|| {
        let keys: Vec<_> = keys
            .iter()
            .map(|new| {
                json!({
                    "role": new.role.name(), "id": view::key(&new.key.public()),
                    "secret": args.out.join(format!("{}.pem", new.name)),
                    "public": args.out.join(format!("{}.pub.pem", new.name)),
                })
            })
            .collect();
        json!({
            "product": roots.product, "product_id": view::id(&roots.product_id()),
            "threshold": roots.threshold, "keys": keys, "keyset_version": 1,
            "roots": args.out.join("roots.toml"), "keyset": args.out.join("keyset.sbk"),
        })
    });
    Ok(())
}

fn write_all(
    args: &KeygenArgs,
    keys: &[NewKey],
    roots: &str,
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
    write_new(&args.out.join("roots.toml"), roots.as_bytes(), written)?;
    write_new(&args.out.join("keyset.sbk"), envelope, written)
}

fn write_new(path: &Path, bytes: &[u8], written: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error| Failure::system("write", path, &error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    written.push(path.to_path_buf());
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// Commands about keysets.
#[derive(Subcommand, Debug)]
pub enum KeysetCommand {
    /// Shows the keys of a keyset, and whether the roots signed it
    Show(KeysetShowArgs),
}

/// Options of `keyset show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot keyset show keys/keyset.sbk --roots keys/roots.toml")]
pub struct KeysetShowArgs {
    /// The keyset
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The roots to verify it against; without them it is shown as it claims to be
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
}

/// Shows a keyset.
pub fn keyset_show(args: &KeysetShowArgs, out: &Output) -> Result<(), Failure> {
    let bytes = files::read(&args.file)?;
    let (envelope, found) = parse_keyset(&bytes, &args.file)?;
    if let Some(path) = &args.roots {
        let roots = Roots::read(path)?;
        let device = Device {
            trust: roots.trust(),
            product: roots.product_id(),
            class: [0; 16],
            revision: 0,
            architecture: Architecture::Any,
        };
        verify_keyset::<SoftSha256>(&device, &envelope).map_err(|error| {
            Failure::new(
                Exit::Refused,
                "trust",
                format_args!("{} is not trusted: {error}", args.file.display()),
            )
        })?;
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

/// A file that holds a keyset and nothing else. Nothing is verified here.
pub fn parse_keyset<'a>(bytes: &'a [u8], path: &Path) -> Result<(Envelope<'a>, Keyset), Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Failed,
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
    if envelope.payload_type() != stillboot::format::PayloadType::Keyset {
        return Err(wrong(&format_args!("found a {} envelope", envelope.payload_type())));
    }
    let keyset = Keyset::parse(envelope.payload()).map_err(|error| wrong(&error))?;
    Ok((envelope, keyset))
}
