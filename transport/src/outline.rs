//! What the head of a bundle says of its parts. Nothing here is verified.

use stillboot::format::{Digest, Envelope, Manifest, PayloadType};
use stillboot::verify::{SoftSha256, digest_of};

use crate::frame::{Fault, Header};

/// The parts of a bundle, as its head says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outline {
    /// Length of the head in bytes: keyset and manifest envelope.
    pub head_len: usize,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
}

/// Where a component is in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Where its index starts, in bytes from the start of the bundle.
    pub index: u64,
    /// Where its bytes start.
    pub data: u64,
    /// How many bytes it has.
    pub length: u64,
}

impl Outline {
    /// That of a bundle which starts with these bytes; `None` if they are no head of a bundle, or
    /// not all of it.
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        let (mut envelope, mut rest) = Envelope::parse(start).ok()?;
        if envelope.payload_type() == PayloadType::Keyset {
            (envelope, rest) = Envelope::parse(rest).ok()?;
        }
        if envelope.payload_type() != PayloadType::Manifest {
            return None;
        }
        let manifest = Manifest::parse(envelope.payload()).ok()?;
        let digest = digest_of::<SoftSha256>(envelope.payload());
        Some(Self { head_len: start.len() - rest.len(), digest, manifest })
    }

    /// Where each component is.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let mut at = self.head_len as u64;
        self.manifest.components.iter().map(move |component| {
            let index = at;
            // Bounded by the rules of a manifest: eight lengths of at most 2^48.
            let data = index + component.index_len(self.manifest.chunk_size);
            at = data + component.length;
            Place { index, data, length: component.length }
        })
    }

    /// Length of the bundle in bytes.
    #[must_use]
    pub fn bundle_len(&self) -> u64 {
        self.places().last().map_or(self.head_len as u64, |place| place.data + place.length)
    }

    /// The header of a framed file of the bundle, without any encoding yet.
    ///
    /// # Errors
    /// [`Fault::Header`].
    pub fn header(&self) -> Result<Header, Fault> {
        let mut lengths = [0; stillboot::format::manifest::COMPONENTS_MAX];
        for (length, place) in lengths.iter_mut().zip(self.places()) {
            *length = place.length;
        }
        let lengths = &lengths[..self.manifest.components.len()];
        Header::new(self.digest, self.head_len as u32, self.manifest.chunk_size, lengths)
    }
}
