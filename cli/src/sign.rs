//! `sign`: one more signature on what is signed already.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::{
    Envelope, Field, FormatError, Id, KeyKind, KeyRole, Keyset, Load, Manifest, PayloadType, Role,
    Signature, Statement, envelope,
};
use stillboot::verify::{RootKey, SoftSha256, TrustError, verify_signature};
use stillboot_policy::json::ChannelIndex;
use stillboot_policy::json::index::INDEX_LEN_MAX;
use stillboot_release::frames::{self, FramesError};
use stillboot_release::keys::{KeyError, Roots, add_signature, id_of};

use stillboot_linux::open;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::signers::{Named, SignerArgs, has_role};
use crate::source::{self, Bundle};
use crate::verify::Content;
use crate::{args, bounds, files, time, verify, view};

/// Options of `sign`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    stillboot sign gateway-1.2.0.sbb --key keys/release-2.pem --role release\n  \
    stillboot sign keyset.sbk --signer 'hsm-sign slot-1' --public root-2.pub.pem \\\n    \
      --role root --roots roots.toml\n\n\
    The payload and all other bytes stay as they are. Make patches after the last signature: they\n\
    are for the bundle with the head that it has then.")]
pub struct SignArgs {
    /// A bundle, keyset, statement, channel index or release of the loader
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A secret key to sign with; several may be given
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    signers: SignerArgs,
    /// The role of the key; by default the one that this kind of file needs
    #[arg(long, value_name = "ROLE", value_parser = role, help_heading = "Signing")]
    role: Option<KeyRole>,
    /// The file with the product's root keys: needed for a keyset, which does not name its product
    #[arg(long, value_name = "FILE", conflicts_with = "product")]
    roots: Option<PathBuf>,
    /// The product instead of --roots: a name, or its UUID
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    product: Option<String>,
    /// The file to write; by default the input is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn role(name: &str) -> Result<KeyRole, String> {
    KeyRole::from_name(name).ok_or_else(|| {
        let names: Vec<_> = KeyRole::ALL.iter().map(|role| role.name()).collect();
        format!("expected a role ({}), found `{name}`", names.join(", "))
    })
}

/// What is read of the file at once, in bytes: enough for the envelopes of a keyset and a manifest,
/// and for that of the longest channel index.
const HEAD_LEN_MAX: usize = stillboot::verify::HEAD_LEN_MAX + INDEX_LEN_MAX;

/// What is signed, as far as it decides which keys may sign it.
enum Target {
    Keyset,
    Manifest { manifest: Box<Manifest>, keyset: Option<Box<Keyset>> },
    LoaderRelease(Box<Manifest>),
    Other { product: Id, role: KeyRole, not_after: u64 },
}

impl Target {
    /// When devices take it no more; 0 for never.
    fn not_after(&self) -> u64 {
        match self {
            Self::Keyset => 0,
            Self::Manifest { manifest, .. } | Self::LoaderRelease(manifest) => manifest.not_after,
            Self::Other { not_after, .. } => *not_after,
        }
    }
}

/// Refuses what no device would take however it is signed: another manifest than that of its kind,
/// or bytes behind the head that are not those of the manifest.
fn check(
    target: &Target,
    rest: &mut Rest<'_>,
    head_len: u64,
    path: &Path,
    out: &Output,
) -> Result<(), Failure> {
    let refused = |kind: &'static str, why: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Refused,
            kind,
            format_args!("{} is not signed, for no device would take it: {why}", path.display()),
        )
    };
    let manifest = match target {
        Target::Manifest { manifest, .. } => {
            if manifest.is_of_loader() {
                return Err(refused("format", &TrustError::LoaderRole));
            }
            manifest
        }
        Target::LoaderRelease(manifest) => {
            let [one] = manifest.components.as_slice() else {
                return Err(refused(
                    "format",
                    &format_args!(
                        "expected one component in a release of the loader, found {}",
                        manifest.components.len()
                    ),
                ));
            };
            if (one.role, one.load, one.linked) != (Role::Loader, Load::Late, 0) {
                let linked = view::linked(one);
                return Err(refused(
                    "format",
                    &format_args!(
                        "expected a component of role loader, load class late, for every slot, in a \
                         release of the loader, found role {}, load class {}, {}; `stillboot pack \
                         --loader-release` writes one",
                        one.role,
                        one.load,
                        linked.map_or("for every slot".into(), |slot| format!("for slot {slot}"))
                    ),
                ));
            }
            manifest
        }
        Target::Keyset | Target::Other { .. } => return Ok(()),
    };
    let found = rest.bundle_len(path)?;
    let expected = manifest.components.iter().fold(head_len, |sum, component| {
        sum.saturating_add(component.index_len(manifest.chunk_size))
            .saturating_add(component.length)
    });
    let length = format_args!("expected {expected} bytes, as its manifest has it, found {found}");
    let found = verify::content(manifest, rest, out).map_err(|SourceError| rest.failure(path))?;
    match found {
        None => Ok(()),
        Some(Content::Ended) => {
            Err(refused("ended", &format_args!("it ends too early: {length}; fetch it again")))
        }
        Some(Content::Trailing) => Err(refused(
            "trailing",
            &format_args!("bytes follow its end: {length}; fetch it again"),
        )),
        Some(Content::Differs(number)) => {
            let role = manifest.components.get(number).map_or(Role::Unknown(0), |one| one.role);
            Err(refused(
                "content",
                &format_args!(
                    "expected the bytes of component {number} ({role}) that its manifest names, \
                     found others; fetch it again"
                ),
            ))
        }
    }
}

/// Signatures that are there already must hold: each names its key. Another signature beside one
/// that does not hold would sign what somebody has changed since.
fn check_signatures(envelope: &Envelope<'_>, product: &Id, path: &Path) -> Result<(), Failure> {
    let known = |found: &Signature<'_>| found.kind == KeyKind::Ed25519;
    for found in envelope.signatures().filter(known) {
        let message = |role| {
            envelope::to_be_signed(envelope.payload_type(), role, product, envelope.payload())
        };
        let holds = <&[u8; 64]>::try_from(found.bytes).is_ok_and(|bytes| {
            let by =
                |role: &KeyRole| verify_signature(&found.name, &[&message(*role)], bytes).is_ok();
            KeyRole::ALL.iter().any(by)
        });
        if !holds {
            return Err(changed(
                path,
                format_args!(
                    "its signature by key {} does not hold over its payload and this product",
                    view::hex(&found.name)
                ),
            ));
        }
    }
    Ok(())
}

/// It is not what was signed before.
fn changed(path: &Path, how: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(
        Exit::Refused,
        "trust",
        format_args!(
            "{}: {how}: the file is damaged or was changed, and nothing was signed; fetch it again",
            path.display()
        ),
    )
}

/// What follows the head of a bundle.
enum Rest<'a> {
    /// In its own file.
    File {
        file: &'a mut File,
        /// Why it could not be read.
        error: Option<io::Error>,
    },
    /// In a framed file.
    Framed(&'a mut Bundle),
}

impl Rest<'_> {
    /// Length of the bundle in bytes.
    fn bundle_len(&self, path: &Path) -> Result<u64, Failure> {
        match self {
            Self::File { file, .. } => match file.metadata() {
                Ok(found) => Ok(found.len()),
                Err(error) => Err(Failure::system("read", path, &error)),
            },
            Self::Framed(bundle) => Ok(bundle.len().unwrap_or_default()),
        }
    }

    /// Why it could not be read.
    fn failure(&mut self, path: &Path) -> Failure {
        let error = match self {
            Self::File { error, .. } => error.take(),
            Self::Framed(bundle) => match bundle.failure() {
                Some(failure) => return failure,
                None => None,
            },
        };
        Failure::system("read", path, &error.unwrap_or_else(|| ErrorKind::Other.into()))
    }
}

impl Source for Rest<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let (file, failed) = match self {
            Self::File { file, error } => (file, error),
            Self::Framed(bundle) => return bundle.read(into),
        };
        loop {
            match file.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    return result.map_err(|error| {
                        *failed = Some(error);
                        SourceError
                    });
                }
            }
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let (file, failed) = match self {
            Self::File { file, error } => (file, error),
            Self::Framed(bundle) => return bundle.skip(len),
        };
        let by = i64::try_from(len).map_err(|_| SourceError)?;
        file.seek_relative(by).map_err(|error| {
            *failed = Some(error);
            SourceError
        })
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

/// Adds signatures.
pub fn sign(args: &SignArgs, out: &Output) -> Result<(), Failure> {
    let path = &args.file;
    let failed = |error| Failure::system("read", path, &error);
    let mut file = open::file(path).map_err(failed)?;
    let mut framed = match source::is_framed(&mut file).map_err(failed)? {
        true => Some(Bundle::of_frames(file.try_clone().map_err(failed)?, path, "sign")?),
        false => None,
    };
    let mut head = Vec::new();
    match &mut framed {
        Some(bundle) => {
            let len = bundle.header().map_or(0, |header| header.head_len.into());
            if bundle.reading().take(len).read_to_end(&mut head).is_err() {
                return Err(Rest::Framed(bundle).failure(path));
            }
        }
        None => {
            file.by_ref().take(HEAD_LEN_MAX as u64).read_to_end(&mut head).map_err(failed)?;
        }
    }
    let (range, envelope, target) = read(&head, path)?;
    if framed.is_some() && range.end != head.len() {
        return Err(changed(
            path,
            format_args!(
                "its header says that the head has {} bytes, and the head has {}",
                head.len(),
                range.end
            ),
        ));
    }
    if let Some(bundle) = &framed
        && bundle.header().is_none_or(|header| header.digest != envelope.header().digest)
    {
        return Err(changed(path, format_args!("its header names another manifest than it has")));
    }
    let mut rest = match &mut framed {
        Some(bundle) => Rest::Framed(bundle),
        None => {
            file.seek(SeekFrom::Start(range.end as u64)).map_err(failed)?;
            Rest::File { file: &mut file, error: None }
        }
    };
    check(&target, &mut rest, range.end as u64, path, out)?;

    let roots = args.roots.as_deref().map(Roots::read).transpose()?;
    let given = roots.as_ref().map(|roots| &*roots.product).or(args.product.as_deref());
    let product = product(&target, given)?;
    if range.start > 0 {
        let (keyset, _) = Envelope::parse(&head).map_err(KeyError::from)?;
        check_signatures(&keyset, &product, path)?;
    }
    check_signatures(&envelope, &product, path)?;
    let signing = args.signers.signers(&args.key, "--key")?;
    let mut bytes = head[range.clone()].to_vec();
    let mut roles = Vec::new();
    for named in &signing {
        let role = role_of(&target, args.role, named)?;
        if let (KeyRole::Root, Some(roots)) = (role, &roots)
            && !roots.keys.contains(&RootKey::ed25519(named.signer.public()))
        {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} is none of the roots: no device would count its signature",
                    named.name,
                    view::key(&named.signer.public())
                ),
            ));
        }
        let (envelope, _) = Envelope::parse(&bytes).map_err(KeyError::from)?;
        bytes = add_signature(&envelope, &product, role, &*named.signer)?;
        roles.push(role);
    }
    let to = args.out.as_deref().unwrap_or(path);
    let named = args.key.iter().chain(&args.roots).map(PathBuf::as_path);
    let inputs: Vec<_> = named.chain(args.signers.inputs()).collect();
    files::replace(to, &inputs, |target| {
        let write = |error| Failure::system("write", to, &error);
        if framed.is_some() {
            let head = [&head[..range.start], &bytes].concat();
            return frames::replace_head(&mut file, &head, target).map_err(|error| match error {
                FramesError::Io(error) => write(error),
                error => {
                    let text = format_args!("{}: {error}", path.display());
                    Failure::new(Exit::Refused, "bundle", text)
                }
            });
        }
        target.write_all(&head[..range.start]).map_err(write)?;
        target.write_all(&bytes).map_err(write)?;
        file.seek(SeekFrom::Start(range.end as u64)).map_err(failed)?;
        io::copy(&mut file, target).map_err(write)?;
        Ok(())
    })?;
    let (signed, _) = Envelope::parse(&bytes).map_err(KeyError::from)?;
    if let (until @ 1.., Some(now)) = (target.not_after(), time::now())
        && now > until
    {
        let what = envelope.payload_type();
        out.warn(format_args!("the {what} has expired already: {}", time::show(until)));
    }
    for (named, role) in signing.iter().zip(&roles) {
        out.line(format_args!(
            "{}: signed by {} as {role}",
            to.display(),
            view::key(&named.signer.public())
        ));
    }
    out.line(format_args!("signatures    {}", view::signers_text(&signed)));
    out.result(|| {
        json!({
            "file": view::path(to), "payload": envelope.payload_type().name(),
            "signers": view::signers(&signed), "signatures": view::signatures(&signed),
        })
    });
    Ok(())
}

/// The place of the envelope in the file, the envelope, and its payload.
fn read<'a>(head: &'a [u8], path: &Path) -> Result<(Range<usize>, Envelope<'a>, Target), Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Refused,
            "format",
            format_args!(
                "{} is not a bundle, keyset, statement, channel index or release of the loader: \
                 {error}",
                path.display()
            ),
        )
    };
    let in_words = |error| wrong(&bounds::format_error(error, head));
    let manifest = |envelope: &Envelope<'_>, keyset| -> Result<Target, Failure> {
        let manifest = Manifest::parse(envelope.payload()).map_err(in_words)?;
        Ok(Target::Manifest { manifest: Box::new(manifest), keyset })
    };
    let own_payload = |envelope: &Envelope<'_>| match envelope.has_its_payload::<SoftSha256>() {
        true => Ok(()),
        false => Err(changed(
            path,
            format_args!(
                "the payload of its {} is not the one that the envelope names",
                envelope.payload_type()
            ),
        )),
    };
    let (first, rest) = Envelope::parse(head).map_err(in_words)?;
    own_payload(&first)?;
    let target = match first.payload_type() {
        PayloadType::Keyset => {
            let keyset = Keyset::parse(first.payload()).map_err(in_words)?;
            if !rest.is_empty() {
                let (second, body) = Envelope::parse(rest).map_err(in_words)?;
                if second.payload_type() != PayloadType::Manifest {
                    return Err(wrong(&"expected a manifest after the keyset"));
                }
                own_payload(&second)?;
                let range = head.len() - rest.len()..head.len() - body.len();
                return Ok((range, second, manifest(&second, Some(Box::new(keyset)))?));
            }
            Target::Keyset
        }
        PayloadType::Manifest => {
            return Ok((0..head.len() - rest.len(), first, manifest(&first, None)?));
        }
        // Its components follow, as in an update.
        PayloadType::LoaderRelease => {
            let manifest = Manifest::parse(first.payload()).map_err(in_words)?;
            let range = 0..head.len() - rest.len();
            return Ok((range, first, Target::LoaderRelease(Box::new(manifest))));
        }
        PayloadType::Statement => {
            let statement = Statement::parse(first.payload()).map_err(in_words)?;
            let role = statement.kind.role().ok_or_else(|| wrong(&FormatError::Malformed))?;
            Target::Other { product: statement.product, role, not_after: statement.not_after }
        }
        PayloadType::ChannelIndex => {
            let index = ChannelIndex::parse(first.payload()).map_err(|error| wrong(&error))?;
            let (product, not_after) = (*index.product(), index.until());
            Target::Other { product, role: KeyRole::Channel, not_after }
        }
        PayloadType::Unknown(code) => {
            let code = code.into();
            return Err(wrong(&FormatError::Unknown { field: Field::PayloadType, code }));
        }
    };
    if rest.is_empty() {
        Ok((0..head.len(), first, target))
    } else {
        Err(wrong(&FormatError::Trailing))
    }
}

fn product(target: &Target, given: Option<&str>) -> Result<Id, Failure> {
    let named = match target {
        Target::Keyset => {
            return given.map(id_of).ok_or_else(|| {
                Failure::usage(
                    "a keyset does not say which product it is of: expected --roots FILE or \
                     --product NAME",
                )
            });
        }
        Target::Manifest { manifest, .. } | Target::LoaderRelease(manifest) => manifest.product,
        Target::Other { product, .. } => *product,
    };
    match given {
        Some(given) if id_of(given) != named => Err(Failure::usage(format_args!(
            "expected something of product {}, found product {}",
            view::named(&id_of(given), &[given]),
            view::id(&named)
        ))),
        _ => Ok(named),
    }
}

/// In what role `named` signs.
fn role_of(target: &Target, given: Option<KeyRole>, named: &Named) -> Result<KeyRole, Failure> {
    let roles: &[KeyRole] = match target {
        Target::Keyset | Target::LoaderRelease(_) => &[KeyRole::Root],
        Target::Manifest { .. } => &[KeyRole::Release, KeyRole::EdgeRelease, KeyRole::Recovery],
        Target::Other { role, .. } => std::slice::from_ref(role),
    };
    if let Some(given) = given
        && !roles.contains(&given)
    {
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        return Err(Failure::usage(format_args!(
            "expected it to be signed as {}, found --role {given}: no device would count that",
            names.join(" or ")
        )));
    }
    let Target::Manifest { keyset: Some(keyset), .. } = target else {
        return given
            .or(roles.first().copied())
            .ok_or_else(|| Failure::usage("no role signs that"));
    };
    let role = given.unwrap_or_else(|| {
        let held = roles.iter().find(|role| has_role(keyset, **role, named).is_ok());
        held.copied().unwrap_or(KeyRole::Release)
    });
    has_role(keyset, role, named)?;
    Ok(role)
}
