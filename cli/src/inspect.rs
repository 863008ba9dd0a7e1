//! `inspect`: what a bundle, or a release of the loader, claims to be. Trusts nothing and says so.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use stillboot::format::envelope::MAGIC;
use stillboot::format::{Envelope, FormatError, Keyset, Manifest, PayloadType};
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256, digest_of};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::http::HttpArgs;
use crate::output::Output;
use crate::source::Bundle;
use crate::{preview, view};

/// Options of `inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot inspect gateway-1.2.0.sbb --json\n\n\
    Nothing is verified here; `stillboot verify` does that.")]
pub struct InspectArgs {
    /// The bundle or a release of the loader: a file, a URL, or `-` for standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    http: HttpArgs,
}

/// The envelopes at the start of a file, parsed and not verified.
struct Claims<'a> {
    /// The keyset, and the envelope that it is in.
    keyset: Option<(Keyset, Envelope<'a>)>,
    manifest: Manifest,
    /// The envelope with the manifest.
    envelope: Envelope<'a>,
    is_loader: bool,
    /// How long the file has to be, by its manifest.
    whole: u64,
}

/// Shows the head of a bundle, or of a release of the loader.
pub fn inspect(args: &InspectArgs, out: &Output) -> Result<(), Failure> {
    let path = &args.bundle;
    let (head, len) = read_head(args, out)?;
    let claims = parse(path, &head)?;
    let Claims { keyset, manifest, envelope, is_loader, whole } = &claims;
    let digest = view::hex(&digest_of::<SoftSha256>(envelope.payload()));

    out.line("NOT VERIFIED: this is what the file claims. `stillboot verify` checks it.");
    let what = if *is_loader { "release of the loader" } else { "bundle" };
    out.line(format_args!("{what} {}, {whole} bytes", path.display()));
    match len {
        Some(len) if len < *whole => {
            out.line(format_args!("  WARNING: the file has only {len} of them: it is cut short"));
        }
        Some(len) if len > *whole => {
            out.line(format_args!("  WARNING: the file has {len}: bytes follow its end"));
        }
        _ => {}
    }
    if let Some((keyset, first)) = keyset {
        out.line("keyset");
        view::keyset_lines(out, keyset);
        out.line(format_args!("  signed by     {}", view::signers_text(first)));
    } else if *is_loader {
        out.line("keyset: none, for the roots sign releases of the loader");
    } else {
        out.line("keyset: none, for a device with a single built-in key");
    }
    out.line("manifest");
    out.line(format_args!("  digest        {digest}"));
    out.line(format_args!("  signed by     {}", view::signers_text(envelope)));
    view::manifest_lines(out, manifest, &[]);
    out.result(|| {
        json!({
            "verified": false,
            "digest": digest,
            "payload": envelope.payload_type().name(),
            "signers": view::signers(envelope),
            "signatures": view::signatures(envelope),
            "keyset": keyset.as_ref().map(|(keyset, first)| {
                let mut value = view::keyset(keyset);
                value["signers"] = view::signers(first).into();
                value["signatures"] = view::signatures(first);
                value
            }),
            "manifest": view::manifest(manifest),
            "length": whole,
            "file_length": len,
        })
    });
    Ok(())
}

/// The start of the file, as long as a head can be, and the length of what it holds where that is
/// known.
fn read_head(args: &InspectArgs, out: &Output) -> Result<(Vec<u8>, Option<u64>), Failure> {
    let path = &args.bundle;
    let mut bundle = Bundle::open_with(path, "inspect", &args.http, out)?;
    let len = bundle.len();
    let mut head = Vec::new();
    let most = bundle.header().map_or(HEAD_LEN_MAX as u64, |header| header.head_len.into());
    match bundle.reading().take(most).read_to_end(&mut head) {
        Ok(_) => Ok((head, len)),
        Err(error) => {
            Err(bundle.failure().unwrap_or_else(|| Failure::system("read", path, &error)))
        }
    }
}

/// The envelopes in `head`, if the file is a bundle or a release of the loader.
fn parse<'a>(path: &Path, head: &'a [u8]) -> Result<Claims<'a>, Failure> {
    let refused = |why: String| {
        let text = format_args!("{} is not a bundle: {why}", path.display());
        Failure::new(Exit::Refused, "format", text)
    };
    let wrong = |what: &str, error: FormatError| {
        refused(format!(
            "its {what} cannot be read: {}; expected a file as `stillboot pack` writes it",
            bounds::format_error(error, head)
        ))
    };
    if !head.is_empty() && !head.starts_with(&MAGIC) {
        return Err(preview::not_a_bundle(path.display(), head));
    }
    // Longer than the head of any bundle, or with a kind of signature that is not known, another
    // envelope would pass for one that is cut short.
    if let Some(found) = preview::other_payload(head) {
        return Err(refused(format!("expected a keyset or a manifest, found {found}")));
    }
    if let Some(fault) = preview::envelope_fault(head) {
        return Err(wrong("head", fault));
    }
    let (first, mut rest) = Envelope::parse(head).map_err(|error| wrong("head", error))?;
    let (keyset, envelope) = match first.payload_type() {
        PayloadType::Keyset => {
            let parsed = Keyset::parse(first.payload()).map_err(|error| wrong("keyset", error))?;
            let second;
            (second, rest) = Envelope::parse(rest).map_err(|error| wrong("manifest", error))?;
            (Some((parsed, first)), second)
        }
        PayloadType::Manifest
        | PayloadType::ChannelIndex
        | PayloadType::Statement
        | PayloadType::LoaderRelease
        | PayloadType::Unknown(_) => (None, first),
    };
    let payload = envelope.payload_type();
    let is_loader = keyset.is_none() && payload == PayloadType::LoaderRelease;
    if payload != PayloadType::Manifest && !is_loader {
        return Err(refused(format!(
            "expected a manifest, found a {payload} (payload type {})",
            payload.code()
        )));
    }
    let manifest = Manifest::parse(envelope.payload()).map_err(|error| wrong("manifest", error))?;
    let head_len = (head.len() - rest.len()) as u64;
    let whole = manifest.components.iter().fold(head_len, |sum, component| {
        sum.saturating_add(component.index_len(manifest.chunk_size))
            .saturating_add(component.length)
    });
    Ok(Claims { keyset, manifest, envelope, is_loader, whole })
}
