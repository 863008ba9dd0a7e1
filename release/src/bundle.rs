//! Writes bundles: keyset envelope, manifest envelope, then each component's index and bytes.
//!
//! The same input gives the same bytes: nothing depends on time, names of files or chance.

use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest as _, Sha256};
use stillboot::format::{
    Component, Digest, Encryption, FormatError, KeyRole, Keyset, Load, Manifest, PayloadType, Role,
    Slot, envelope,
};
use stillboot::verify::{IndexFold, Sha256 as _, SoftSha256};

use crate::keys::{KeyError, Signer, sign_envelope};

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A component could not be read, or the bundle not written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The manifest breaks a rule.
    #[error("the manifest would not be accepted: {0}")]
    Manifest(FormatError),
    /// The keyset breaks a rule.
    #[error("the keyset would not be accepted: {0}")]
    Keyset(FormatError),
    /// Signing failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are more components than a manifest holds.
    #[error("expected at most 8 components, found {0}")]
    TooManyComponents(usize),
    /// A component changed while it was packed.
    #[error("component {0} changed while it was packed; pack again when nothing writes to it")]
    Changed(usize),
}

/// A reader that can go back to its start: components are read twice, once for their digests.
pub trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// One component to be packed.
#[non_exhaustive]
pub struct Part<'a> {
    /// What it is for.
    pub role: Role,
    /// How it is loaded.
    pub load: Load,
    /// The only slot it is linked for, if there is one.
    pub linked: Option<Slot>,
    /// Its bytes.
    pub input: Box<dyn Input + 'a>,
}

impl<'a> Part<'a> {
    /// A component for any slot.
    #[must_use]
    pub fn new(role: Role, load: Load, input: Box<dyn Input + 'a>) -> Self {
        Self { role, load, linked: None, input }
    }

    /// The same for the only slot that it is [linked](Self::linked) for.
    #[must_use]
    pub fn with_linked(mut self, linked: Option<Slot>) -> Self {
        self.linked = linked;
        self
    }
}

/// A keyset, signed by roots.
///
/// # Errors
/// [`BundleError`].
pub fn sign_keyset(
    keyset: &Keyset,
    product: &[u8; 16],
    roots: &[&dyn Signer],
) -> Result<Vec<u8>, BundleError> {
    let mut payload = vec![0; envelope::PAYLOAD_LEN_MAX];
    let len = keyset.emit(&mut payload).map_err(BundleError::Keyset)?;
    let signers: Vec<_> = roots.iter().map(|signer| (KeyRole::Root, *signer)).collect();
    Ok(sign_envelope(PayloadType::Keyset, product, &payload[..len], &signers)?)
}

/// Writes a bundle to `out`. `manifest` says everything but the components, which are measured;
/// `keyset` is the signed keyset, empty for a device with a single key. Returns the manifest as it
/// was signed, and its digest.
///
/// # Errors
/// [`BundleError`].
pub fn write(
    manifest: Manifest,
    keyset: &[u8],
    signers: &[(KeyRole, &dyn Signer)],
    parts: &mut [Part<'_>],
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(Manifest, Digest), BundleError> {
    write_as(PayloadType::Manifest, manifest, keyset, signers, parts, out, progress)
}

/// Writes a release of the boot loader to `out`: as [`write`](fn@write), with the one component
/// `loader`, which has role `loader` and load class `late`, and without a keyset: roots sign it.
///
/// # Errors
/// [`BundleError`].
pub fn write_loader_release(
    manifest: Manifest,
    roots: &[(KeyRole, &dyn Signer)],
    loader: &mut Part<'_>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(Manifest, Digest), BundleError> {
    let parts = core::slice::from_mut(loader);
    write_as(PayloadType::LoaderRelease, manifest, &[], roots, parts, out, progress)
}

fn write_as(
    payload_type: PayloadType,
    mut manifest: Manifest,
    keyset: &[u8],
    signers: &[(KeyRole, &dyn Signer)],
    parts: &mut [Part<'_>],
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<(Manifest, Digest), BundleError> {
    manifest.components.clear();
    let mut indexes = Vec::new();
    let mut done = 0;
    for part in &mut *parts {
        let (component, index) = measure(part, manifest.chunk_size, &mut |len| {
            done += len;
            progress(done);
        })?;
        manifest
            .components
            .push(component)
            .map_err(|_| BundleError::TooManyComponents(indexes.len() + 1))?;
        indexes.push(index);
    }
    let mut payload = vec![0; envelope::PAYLOAD_LEN_MAX];
    let len = manifest.emit(&mut payload).map_err(BundleError::Manifest)?;
    let envelope = sign_envelope(payload_type, &manifest.product, &payload[..len], signers)?;
    out.write_all(keyset)?;
    out.write_all(&envelope)?;
    for (number, (part, index)) in parts.iter_mut().zip(&indexes).enumerate() {
        out.write_all(index)?;
        part.input.seek(SeekFrom::Start(0))?;
        let mut check = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match part.input.read(&mut buffer)? {
                0 => break,
                n => {
                    check.update(&buffer[..n]);
                    out.write_all(&buffer[..n])?;
                    done += n as u64;
                    progress(done);
                }
            }
        }
        // Digests of other bytes than those in the bundle would make every device refuse it after
        // the download.
        if Digest::from(check.finalize()) != manifest.components[number].sha256 {
            return Err(BundleError::Changed(number));
        }
    }
    let digest = Digest::from(Sha256::digest(&payload[..len]));
    Ok((manifest, digest))
}

/// How a manifest writes the only slot that a component is linked for.
#[must_use]
pub fn linked(slot: Option<Slot>) -> u8 {
    slot.map_or(0, |slot| 1 + slot as u8)
}

/// Reads a component once: its entry in the manifest, and its index.
fn measure(
    part: &mut Part<'_>,
    chunk_size: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<(Component, Vec<u8>), BundleError> {
    part.input.seek(SeekFrom::Start(0))?;
    let mut plain = SoftSha256::new();
    let mut index = Vec::new();
    let mut length = 0;
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        let n = part.input.by_ref().take(chunk_size.into()).read_to_end(&mut chunk)? as u64;
        if n == 0 {
            break;
        }
        plain.update(&chunk);
        index.extend_from_slice(&Sha256::digest(&chunk));
        length += n;
        progress(n);
    }
    let mut fold = IndexFold::<SoftSha256>::new(length, chunk_size);
    fold.entries(&index);
    let component = Component {
        role: part.role,
        load: part.load,
        linked: linked(part.linked),
        encryption: Encryption::None,
        length,
        index_root: fold.finish(),
        sha256: plain.finish(),
    };
    Ok((component, index))
}
