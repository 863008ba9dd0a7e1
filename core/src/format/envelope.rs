//! The signed wrapper around every payload. Its framing is parsed by hand before anything is
//! trusted.
//!
//! ```text
//!  0  4  magic "SBEN"
//!  4  1  version = 1
//!  5  1  payload type
//!  6  1  signature count n, 1..=8
//!  7  1  zero
//!  8  4  payload length m, 1 up to the cap of the type
//! 12  4  length of all signatures s
//! 16 32  SHA-256 of the payload
//! 48  s  signatures: kind [1], name of the key [32], public key unless the name is the key,
//!        signature; (kind, name) strictly ascending
//! ..  m  payload
//! ```
//!
//! A signature covers [`signed_bytes`]: the payload's digest, with its type, the role of the signer
//! and the product. So a keyset can never pass for a manifest, nor a channel key's signature for a
//! release key's. The digest comes before the payload, so signatures are checked one after the
//! other as they arrive, before the payload is read.

// Why: docs/DESIGN.md#why-envelope-by-hand

use super::codes::code_enum;
use super::keyset::KeyRole;
pub use super::kind::ENTRY_HEADER_LEN;
use super::kind::{KeyKind, KeyName};
use super::{Digest, Field, FormatError, Id, u32_at};
use crate::verify::{SoftSha256, digest_of};

/// Magic bytes of an envelope.
pub const MAGIC: [u8; 4] = *b"SBEN";
/// The only envelope version.
pub const VERSION: u8 = 1;
/// Bytes before the signatures.
pub const HEADER_LEN: usize = 48;
/// Most signatures of one envelope.
pub const SIGNATURES_MAX: usize = 8;
/// Longest payload that a device reads, in bytes: of every type but the channel index.
pub const PAYLOAD_LEN_MAX: usize = 1024;
/// Longest channel index, in bytes.
pub const INDEX_LEN_MAX: usize = 64 << 10;
/// Longest envelope that a device reads, in bytes.
pub const LEN_MAX: usize = 12 << 10;
/// Longest envelope with Ed25519 signatures alone, of those that a device reads, in bytes.
pub const ED25519_LEN_MAX: usize = HEADER_LEN + 4 * KeyKind::Ed25519.entry_len() + PAYLOAD_LEN_MAX;

const DOMAIN: &[u8; 23] = b"stillboot-signature-v1\0";
/// Length of [`signed_bytes`].
pub const SIGNED_LEN: usize = DOMAIN.len() + 1 + 1 + 16 + 4 + 32;

code_enum! {
    /// What an envelope carries.
    pub enum PayloadType {
        /// A [`Keyset`](super::Keyset), signed by roots.
        Keyset = 1, "keyset";
        /// A [`Manifest`](super::Manifest), signed by release or recovery keys.
        Manifest = 2, "manifest";
        /// A channel index, signed by channel keys.
        ChannelIndex = 3, "channel-index";
        /// A statement about a manifest, signed by the keys of its kind.
        Statement = 4, "statement";
        /// A [`Manifest`](super::Manifest) of the boot loader itself, signed by roots.
        LoaderRelease = 5, "loader-release";
    }
}

impl PayloadType {
    /// Longest payload of the type, in bytes.
    #[must_use]
    pub const fn payload_len_max(self) -> usize {
        match self {
            Self::ChannelIndex => INDEX_LEN_MAX,
            Self::Keyset
            | Self::Manifest
            | Self::Statement
            | Self::LoaderRelease
            | Self::Unknown(_) => PAYLOAD_LEN_MAX,
        }
    }
}

/// The header of an envelope, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type that the payload claims; signatures cover the claim.
    pub payload_type: PayloadType,
    /// Number of signatures, 1..=8.
    pub signatures: u8,
    /// Length of the payload in bytes.
    pub payload_len: u32,
    /// Length of all signatures in bytes.
    pub signatures_len: u32,
    /// SHA-256 of the payload, if it is the one that belongs to the envelope.
    pub digest: Digest,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`FormatError`] naming the first rule that is broken.
    pub fn parse(header: &[u8; HEADER_LEN]) -> Result<Self, FormatError> {
        if header[0..4] != MAGIC {
            return Err(FormatError::Magic);
        }
        if header[4] != VERSION {
            return Err(FormatError::Version { found: header[4].into() });
        }
        let payload_type = PayloadType::from_code(header[5]);
        if !payload_type.is_known() {
            return Err(FormatError::Unknown { field: Field::PayloadType, code: header[5].into() });
        }
        let signatures = header[6];
        if signatures == 0 || usize::from(signatures) > SIGNATURES_MAX {
            return Err(FormatError::Bounds(Field::SignatureCount));
        }
        if header[7] != 0 {
            return Err(FormatError::Bounds(Field::Reserved));
        }
        let (payload_len, signatures_len) = (u32_at(header, 8), u32_at(header, 12));
        let payload_max = payload_type.payload_len_max();
        if payload_len == 0 || payload_len as usize > payload_max {
            return Err(FormatError::Bounds(Field::PayloadLen));
        }
        // A payload of some types may be longer than a device reads; the whole may be longer by as
        // much.
        let most = LEN_MAX - HEADER_LEN + payload_max - PAYLOAD_LEN_MAX;
        if signatures_len as usize > LEN_MAX || (signatures_len + payload_len) as usize > most {
            return Err(FormatError::Bounds(Field::SignatureLen));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&header[16..]);
        Ok(Self { payload_type, signatures, payload_len, signatures_len, digest })
    }

    /// Length of the whole envelope in bytes.
    #[must_use]
    pub const fn envelope_len(&self) -> usize {
        HEADER_LEN + self.signatures_len as usize + self.payload_len as usize
    }
}

/// Keeps the order of the signatures of an envelope, and counts them by kind.
#[derive(Clone, Debug)]
pub(crate) struct Entries {
    before: (u8, KeyName),
    of_kind: u8,
}

impl Entries {
    /// Before the first one.
    pub(crate) const NONE: Self = Self { before: (0, [0; 32]), of_kind: 0 };

    /// Takes the next signature from the front of `rest`, which holds at least its kind and name.
    /// `bytes` is the length of all signatures that are left. Gives kind and name, and the length
    /// of those behind it.
    ///
    /// # Errors
    /// [`FormatError`]: an unknown kind, signatures that are equal or out of order, too many of one
    /// kind, or one that is longer than what is left. Because of the ascending order, a set of
    /// signatures has one encoding, and a key counts once.
    pub(crate) fn next(
        &mut self,
        rest: &[u8],
        bytes: u32,
    ) -> Result<(KeyKind, KeyName, u32), FormatError> {
        let entry = match rest.first_chunk::<ENTRY_HEADER_LEN>() {
            Some(entry) if bytes as usize >= ENTRY_HEADER_LEN => entry,
            _ => return Err(FormatError::Bounds(Field::SignatureLen)),
        };
        let mut name = [0; 32];
        name.copy_from_slice(&entry[1..]);
        let kind = KeyKind::from_code(entry[0]);
        if !kind.is_known() {
            return Err(FormatError::Unknown {
                field: Field::SignatureKind,
                code: kind.code().into(),
            });
        }
        let found = (entry[0], name);
        if found <= self.before {
            return Err(FormatError::Bounds(Field::SignatureOrder));
        }
        if found.0 != self.before.0 {
            self.of_kind = 0;
        }
        self.of_kind += 1;
        if self.of_kind > kind.count_max() {
            return Err(FormatError::TooMany { kind });
        }
        self.before = found;
        let left = bytes.checked_sub(kind.entry_len() as u32);
        left.map(|left| (kind, name, left)).ok_or(FormatError::Bounds(Field::SignatureLen))
    }
}

/// One signature of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Its kind.
    pub kind: KeyKind,
    /// The name of the key that made it, as the envelope says.
    pub name: KeyName,
    /// The public key, which for other kinds than Ed25519 stands beside the signature; empty for
    /// Ed25519.
    pub public: &'a [u8],
    /// The signature.
    pub bytes: &'a [u8],
}

impl<'a> Signature<'a> {
    /// A signature by an Ed25519 key.
    #[must_use]
    pub const fn ed25519(public: &KeyName, signature: &'a [u8; 64]) -> Self {
        Self { kind: KeyKind::Ed25519, name: *public, public: &[], bytes: signature }
    }

    const fn len(&self) -> usize {
        ENTRY_HEADER_LEN + self.public.len() + self.bytes.len()
    }
}

/// An envelope whose framing is sound. It is not verified, and nothing in it may be believed.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    header: Header,
    signatures: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// The whole length, in bytes, of the envelope that starts with `header`: what a stream must
    /// deliver before [`parse`](Self::parse) can work.
    ///
    /// # Errors
    /// [`FormatError`] when the header is not an envelope's.
    pub fn len_from_header(header: &[u8; HEADER_LEN]) -> Result<usize, FormatError> {
        Header::parse(header).map(|header| header.envelope_len())
    }

    /// Reads the envelope at the start of `bytes`; returns it and the bytes after it. Whether the
    /// payload has the digest that the header names is checked where it is verified:
    /// [`has_its_payload`](Self::has_its_payload).
    ///
    /// # Errors
    /// [`FormatError`] naming the first rule that is broken.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FormatError> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(FormatError::Short)?;
        let header = Header::parse(header)?;
        let (whole, rest) =
            bytes.split_at_checked(header.envelope_len()).ok_or(FormatError::Short)?;
        let (signatures, payload) = whole[HEADER_LEN..].split_at(header.signatures_len as usize);
        let mut entries = Entries::NONE;
        let mut left = signatures;
        for _ in 0..header.signatures {
            let (kind, ..) = entries.next(left, left.len() as u32)?;
            left = left.get(kind.entry_len()..).unwrap_or(&[]);
        }
        if !left.is_empty() {
            return Err(FormatError::Bounds(Field::SignatureLen));
        }
        Ok((Self { header, signatures, payload }, rest))
    }

    /// Writes an envelope at the start of `into` and returns its length. `signatures` are sorted
    /// by kind and name, strictly ascending.
    ///
    /// # Errors
    /// [`FormatError`] when a bound is broken or `into` is too short.
    pub fn emit(
        payload_type: PayloadType,
        signatures: &[Signature<'_>],
        payload: &[u8],
        into: &mut [u8],
    ) -> Result<usize, FormatError> {
        if payload.len() > payload_type.payload_len_max() {
            return Err(FormatError::Bounds(Field::PayloadLen));
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(FormatError::Bounds(Field::SignatureCount));
        }
        let signatures_len: usize = signatures.iter().map(Signature::len).sum();
        let len = HEADER_LEN + signatures_len + payload.len();
        let out = into.get_mut(..len).ok_or(FormatError::Short)?;
        out[..HEADER_LEN].fill(0);
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = payload_type.code();
        out[6] = signatures.len() as u8;
        out[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        out[12..16].copy_from_slice(&(signatures_len as u32).to_le_bytes());
        out[16..48].copy_from_slice(&digest_of::<SoftSha256>(payload));
        let mut at = HEADER_LEN;
        for signature in signatures {
            let pieces: [&[u8]; 4] =
                [&[signature.kind.code()], &signature.name, signature.public, signature.bytes];
            for piece in pieces {
                out[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
        }
        out[at..].copy_from_slice(payload);
        // The written envelope is checked by the rules of reading: it must be readable.
        Envelope::parse(out).map(|_| len)
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The type that the payload claims; signatures cover the claim.
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        self.header.payload_type
    }

    /// The payload's bytes.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Whether the payload has the digest that the header names, and that each signature covers.
    #[must_use]
    pub fn has_its_payload<H: crate::verify::Sha256>(&self) -> bool {
        digest_of::<H>(self.payload) == self.header.digest
    }

    /// The signatures, in order.
    pub fn signatures(&self) -> impl Iterator<Item = Signature<'a>> + use<'a> {
        let mut left = self.signatures;
        core::iter::from_fn(move || {
            let (entry, rest) = left.split_first_chunk::<ENTRY_HEADER_LEN>()?;
            let kind = KeyKind::from_code(entry[0]);
            let mut name = [0; 32];
            name.copy_from_slice(&entry[1..]);
            // `parse` has checked that all of it is there.
            let (body, next) = rest.split_at_checked(kind.entry_len() - ENTRY_HEADER_LEN)?;
            let (public, bytes) = body.split_at_checked(body.len() - kind.signature_len())?;
            left = next;
            Some(Signature { kind, name, public, bytes })
        })
    }
}

/// The bytes that a signature covers: domain, payload type, role of the signer, product, length and
/// digest of the payload. All of fixed length, so that no two messages share an encoding.
// Why: docs/DESIGN.md#why-type-role-product-signed
// Why: docs/DESIGN.md#why-digest-is-signed
#[must_use]
pub fn signed_bytes(header: &Header, role: KeyRole, product: &Id) -> [u8; SIGNED_LEN] {
    let mut out = [0; SIGNED_LEN];
    out[..23].copy_from_slice(DOMAIN);
    out[23] = header.payload_type.code();
    out[24] = role.code();
    out[25..41].copy_from_slice(product);
    out[41..45].copy_from_slice(&header.payload_len.to_le_bytes());
    out[45..].copy_from_slice(&header.digest);
    out
}

/// As [`signed_bytes`], for a payload that has no envelope yet.
#[must_use]
pub fn to_be_signed(
    payload_type: PayloadType,
    role: KeyRole,
    product: &Id,
    payload: &[u8],
) -> [u8; SIGNED_LEN] {
    let header = Header {
        payload_type,
        signatures: 0,
        payload_len: payload.len() as u32,
        signatures_len: 0,
        digest: digest_of::<SoftSha256>(payload),
    };
    signed_bytes(&header, role, product)
}
