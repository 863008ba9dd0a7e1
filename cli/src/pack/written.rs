//! The file that is written: its length, and what is said of it.

use std::path::Path;

use serde_json::json;
use stillboot::format::{Digest, FormatError, Manifest, PayloadType};
use stillboot_release::bundle;

use crate::failure::Failure;
use crate::output::Output;
use crate::{size, view};

/// Counts what is written.
pub struct Counted<'a> {
    /// Where it goes.
    pub file: &'a mut dyn std::io::Write,
    /// How many bytes went there.
    pub len: u64,
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

/// Rules of the manifest that are broken only once the components are measured.
pub fn explain(error: bundle::BundleError, path: &Path) -> Failure {
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

/// Says what was packed.
pub fn tell(
    path: &Path,
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
        path.display(),
        manifest.version,
        manifest.sequence,
        size::show(len)
    ));
    out.line(format_args!("digest {}", view::hex(digest)));
    out.result(|| {
        json!({
            "bundle": view::path(path), "payload": payload.name(), "length": len,
            "digest": view::hex(digest), "manifest": view::manifest(manifest),
        })
    });
}
