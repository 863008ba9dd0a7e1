//! `inspect`: what a bundle, or a release of the loader, claims to be. Trusts nothing and says so.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use stillboot::format::envelope::MAGIC;
use stillboot::format::{Envelope, FormatError, Keyset, Manifest, PayloadType};
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256, digest_of};

use stillboot_linux::open::{self, Input};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{view, watch};

/// Options of `inspect`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot inspect gateway-1.2.0.sbb --json\n\n\
    Nothing is verified here; `stillboot verify` does that.")]
pub struct InspectArgs {
    /// The bundle, or a release of the loader; `-` reads standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
}

/// Shows the head of a bundle, or of a release of the loader.
pub fn inspect(args: &InspectArgs, out: &Output) -> Result<(), Failure> {
    let path = &args.bundle;
    let failed = |error| Failure::system("read", path, &error);
    let mut head = Vec::new();
    let mut len = None;
    if path.as_os_str() == "-" {
        std::io::stdin().take(HEAD_LEN_MAX as u64).read_to_end(&mut head).map_err(failed)?;
    } else {
        let input = open::input(path).map_err(failed)?;
        if let Input::File(file) = &input {
            len = file.metadata().ok().map(|found| found.len());
        }
        input.take(HEAD_LEN_MAX as u64).read_to_end(&mut head).map_err(failed)?;
    }
    let wrong = |what: &str, error: FormatError| {
        Failure::new(
            Exit::Refused,
            "format",
            format_args!(
                "{} is not a bundle: its {what} cannot be read: {}; expected a file as \
                 `stillboot pack` writes it",
                path.display(),
                bounds::format_error(error, &head)
            ),
        )
    };
    if !head.is_empty() && !head.starts_with(&MAGIC) {
        return Err(watch::not_a_bundle(path.display(), &head));
    }
    // Longer than the head of any bundle, or with a kind of signature that is not known, another
    // envelope would pass for one that is cut short.
    if let Some(found) = watch::other_payload(&head) {
        return Err(Failure::new(
            Exit::Refused,
            "format",
            format_args!(
                "{} is not a bundle: expected a keyset or a manifest, found {found}",
                path.display()
            ),
        ));
    }
    if let Some(fault) = watch::envelope_fault(&head) {
        return Err(wrong("head", fault));
    }
    let (first, mut rest) = Envelope::parse(&head).map_err(|error| wrong("head", error))?;
    let mut keyset = None;
    let envelope = match first.payload_type() {
        PayloadType::Keyset => {
            let parsed = Keyset::parse(first.payload()).map_err(|error| wrong("keyset", error))?;
            keyset = Some((parsed, view::signers_text(&first)));
            let second;
            (second, rest) = Envelope::parse(rest).map_err(|error| wrong("manifest", error))?;
            second
        }
        PayloadType::Manifest
        | PayloadType::ChannelIndex
        | PayloadType::Statement
        | PayloadType::LoaderRelease
        | PayloadType::Unknown(_) => first,
    };
    let payload = envelope.payload_type();
    let is_loader = keyset.is_none() && payload == PayloadType::LoaderRelease;
    if payload != PayloadType::Manifest && !is_loader {
        return Err(Failure::new(
            Exit::Refused,
            "format",
            format_args!(
                "{} is not a bundle: expected a manifest, found a {payload} (payload type {})",
                path.display(),
                payload.code()
            ),
        ));
    }
    let manifest = Manifest::parse(envelope.payload()).map_err(|error| wrong("manifest", error))?;
    let head_len = (head.len() - rest.len()) as u64;
    let whole = manifest.components.iter().fold(head_len, |sum, component| {
        sum.saturating_add(component.index_len(manifest.chunk_size))
            .saturating_add(component.length)
    });
    let digest = view::hex(&digest_of::<SoftSha256>(envelope.payload()));

    out.line("NOT VERIFIED: this is what the file claims. `stillboot verify` checks it.");
    let what = if is_loader { "release of the loader" } else { "bundle" };
    out.line(format_args!("{what} {}, {whole} bytes", path.display()));
    match len {
        Some(len) if len < whole => {
            out.line(format_args!("  WARNING: the file has only {len} of them: it is cut short"));
        }
        Some(len) if len > whole => {
            out.line(format_args!("  WARNING: the file has {len}: bytes follow its end"));
        }
        _ => {}
    }
    if let Some((keyset, signers)) = &keyset {
        out.line("keyset");
        view::keyset_lines(out, keyset);
        out.line(format_args!("  signed by     {signers}"));
    } else if is_loader {
        out.line("keyset: none, for the roots sign releases of the loader");
    } else {
        out.line("keyset: none, for a device with a single built-in key");
    }
    out.line("manifest");
    out.line(format_args!("  digest        {digest}"));
    out.line(format_args!("  signed by     {}", view::signers_text(&envelope)));
    view::manifest_lines(out, &manifest, &[]);
    out.result(|| {
        json!({
            "verified": false,
            "digest": digest,
            "payload": payload.name(),
            "signers": view::signers(&envelope),
            "signatures": view::signatures(&envelope),
            "keyset": keyset.as_ref().map(|(keyset, _)| {
                let mut value = view::keyset(keyset);
                value["signers"] = view::signers(&first).into();
                value["signatures"] = view::signatures(&first);
                value
            }),
            "manifest": view::manifest(&manifest),
            "length": whole,
            "file_length": len,
        })
    });
    Ok(())
}
