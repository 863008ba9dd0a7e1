//! `verify`: checks that the right keys signed every byte of a bundle, or of a release of the
//! loader.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot::check;
use stillboot::driver::{Source, SourceError};
use stillboot::format::envelope::HEADER_LEN;
use stillboot::format::{Architecture, Envelope, FormatError, Id, Manifest, PayloadType, SlotKind};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{
    ClassError, Device, SignatureError, TrustError, Verified, check_class, verify_loader_release,
};
use stillboot_fetch::sha256::FastSha256;
use stillboot_release::keys::{Roots, id_of};

use crate::failure::{Exit, Failure, trust_advice};
use crate::http::{self, HttpArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{args, bounds, start, time, view};

/// Bytes read at a time: each is hashed twice, so they had better stay in the processor's cache.
const BUFFER_LEN: usize = 256 << 10;

/// Options of `verify`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot verify gateway-1.2.0.sbb --roots keys/roots.toml --class model-1")]
pub struct VerifyArgs {
    /// The bundle: a file, a URL, or `-` for standard input; for `verify` also a file with a
    /// release of the loader
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    http: HttpArgs,
    /// The root keys of the product
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
    /// Verify it for the recovery slot, which other keys sign for
    #[arg(long)]
    recovery: bool,
    /// Also check that it is for this device class
    #[arg(long, value_name = "NAME", value_parser = args::name)]
    pub class: Option<String>,
    /// The hardware revision within the class
    #[arg(long, value_name = "N", default_value_t = 0, requires = "class")]
    revision: u16,
    /// The architecture of the device
    #[arg(long, value_name = "NAME", default_value = "any", value_parser = args::architecture,
          requires = "class")]
    arch: Architecture,
}

impl VerifyArgs {
    /// Where the bundle is.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// What was said of web servers.
    pub const fn http(&self) -> &HttpArgs {
        &self.http
    }

    pub fn kind(&self) -> SlotKind {
        if self.recovery { SlotKind::Recovery } else { SlotKind::Update }
    }

    pub fn device<'a>(&self, roots: &'a Roots) -> Device<'a> {
        let class = self.class.as_deref().map_or([0; 16], id_of);
        Device::new(roots.trust(), roots.product_id(), class)
            .with_revision(self.revision)
            .with_architecture(self.arch)
    }

    /// The names that were typed, or stand in the roots.
    pub fn names<'a>(&'a self, roots: &'a Roots) -> Vec<&'a str> {
        std::iter::once(&*roots.product).chain(self.class.as_deref()).collect()
    }

    /// The verdict on a bundle: every byte of it, and whether it is for the device that was named.
    pub fn judge(
        &self,
        roots: &Roots,
        bundle: &mut Bundle,
        out: &Output,
    ) -> Result<Verified<Manifest>, Failure> {
        let device = self.device(roots);
        let manifest = whole(&device, self.kind(), bundle, out)?;
        warn_expired(&manifest, out);
        if self.class.is_some() {
            for_device(&device, &self.names(roots), &manifest)?;
        }
        Ok(manifest)
    }
}

/// Verifies a bundle.
pub fn verify(args: &VerifyArgs, out: &Output) -> Result<(), Failure> {
    let roots = Roots::read(&args.roots)?;
    let mut bundle = Bundle::open_with(&args.bundle, "verify", &args.http, out)?;
    if bundle.is_loader_release()? {
        return loader_release(args, &roots, &args.device(&roots), &mut bundle, out);
    }
    let manifest = args.judge(&roots, &mut bundle, out)?;
    let names = args.names(&roots);
    out.line(format_args!("{}: verified, every byte", http::shown(&args.bundle)));
    out.line(format_args!("digest {}", view::hex(manifest.digest())));
    out.line(format_args!("keyset version {}", manifest.keyset_version()));
    view::manifest_lines(out, &manifest, &names);
    out.result(|| {
        json!({
            "verified": true, "payload": PayloadType::Manifest.name(),
            "digest": view::hex(manifest.digest()),
            "keyset_version": manifest.keyset_version(), "manifest": view::manifest(&manifest),
            "product_name": roots.product, "class_name": args.class,
        })
    });
    Ok(())
}

/// Verifies a release of the loader, which the roots sign.
fn loader_release(
    args: &VerifyArgs,
    roots: &Roots,
    device: &Device<'_>,
    bundle: &mut Bundle,
    out: &Output,
) -> Result<(), Failure> {
    if args.recovery {
        return Err(Failure::usage(
            "--recovery is for updates of the recovery slot, and this is a release of the loader",
        ));
    }
    let refused = |kind: &'static str, why: &dyn std::fmt::Display| {
        let name = args.bundle.display();
        Failure::new(
            Exit::Refused,
            kind,
            format_args!("refused: the release of the loader {name}: {why}"),
        )
    };
    let ended = || refused("ended", &"it ends too early: fetch it again");
    let mut head = vec![0; HEADER_LEN];
    receive(bundle, &mut head)?.then_some(()).ok_or_else(ended)?;
    let whole = |head: &[u8]| {
        let header = head.first_chunk().ok_or(FormatError::Short)?;
        Envelope::len_from_header(header)
    };
    let len =
        whole(&head).map_err(|error| refused("trust", &bounds::format_error(error, &head)))?;
    head.resize(len, 0);
    receive(bundle, &mut head[HEADER_LEN..])?.then_some(()).ok_or_else(ended)?;
    let (envelope, _) = Envelope::parse(&head)
        .map_err(|error| refused("trust", &bounds::format_error(error, &head)))?;
    let manifest = verify_loader_release::<FastSha256>(device, &envelope).map_err(|error| {
        refused("trust", &bounds::trust_error(error, &head)).also(match error {
            // The roots are the right ones: they signed this content, or with a kind of key that
            // this build lacks.
            TrustError::LoaderContent { .. }
            | TrustError::LoaderSignature(SignatureError::Kind { .. }) => trust_advice(&error),
            _ => "check that --roots is the file of this product, or fetch it again",
        })
    })?;
    let names: Vec<_> = std::iter::once(&*roots.product).chain(args.class.as_deref()).collect();
    let found = content(&manifest, bundle, out)
        .map_err(|SourceError| Failure::from(InstallError::Source))?;
    match found {
        None => {}
        Some(Content::Ended) => return Err(ended()),
        Some(Content::Differs(_)) => {
            return Err(refused(
                "content",
                &"its bytes are not those that were signed: fetch it again",
            ));
        }
        Some(Content::Trailing) => {
            return Err(refused("trailing", &"bytes follow its end: fetch it again"));
        }
    }
    warn_expired(&manifest, out);
    if args.class.is_some() {
        for_device(device, &names, &manifest)?;
    }
    out.line(format_args!(
        "{}: a release of the loader, verified, every byte",
        args.bundle.display()
    ));
    out.line(format_args!("digest {}", view::hex(manifest.digest())));
    out.line("signed by the roots");
    view::manifest_lines(out, &manifest, &names);
    out.result(|| {
        json!({
            "verified": true, "payload": PayloadType::LoaderRelease.name(),
            "digest": view::hex(manifest.digest()), "keyset_version": null,
            "manifest": view::manifest(&manifest), "product_name": roots.product,
            "class_name": args.class,
        })
    });
    Ok(())
}

/// What is wrong with the bytes behind a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// They end too early.
    Ended,
    /// Those of this component are not what the manifest names.
    Differs(usize),
    /// Bytes follow their end.
    Trailing,
}

/// Checks the bytes behind a head against its manifest, to their end: their length and digests.
///
/// # Errors
/// [`SourceError`]; the source knows why.
pub fn content(
    manifest: &Manifest,
    source: &mut dyn Source,
    out: &Output,
) -> Result<Option<Content>, SourceError> {
    let mut buffer = vec![0; BUFFER_LEN];
    let total = manifest.components.iter().map(|component| component.length).sum();
    let mut progress = Progress::new(out, "verifying", total);
    let set = &mut |done| progress.set(done);
    match check::content::<FastSha256>(manifest, source, true, set, &mut buffer) {
        Ok(()) => Ok(None),
        Err(InstallError::Refused(Refusal::Content { component })) => {
            Ok(Some(Content::Differs(component)))
        }
        Err(InstallError::Refused(Refusal::Ended)) => Ok(Some(Content::Ended)),
        Err(InstallError::Refused(Refusal::Trailing)) => Ok(Some(Content::Trailing)),
        Err(_) => Err(SourceError),
    }
}

/// Fills `into`; false where the bundle ends before.
fn receive(bundle: &mut Bundle, into: &mut [u8]) -> Result<bool, Failure> {
    let mut at = 0;
    while at < into.len() {
        match bundle.read(&mut into[at..]) {
            Ok(0) => return Ok(false),
            Ok(n) => at += n,
            Err(SourceError) => return Err(Failure::from(InstallError::Source)),
        }
    }
    Ok(true)
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
    let result = check::bundle::<FastSha256>(
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

/// Warns that a bundle which verifies has expired: devices with a clock refuse it.
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
