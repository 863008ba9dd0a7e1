//! The signed wrapper around every payload, read by hand before anything is trusted.
//!
//! ```text
//!  0  4  magic "SBEN"
//!  4  1  version = 1
//!  5  1  payload type
//!  6  1  signature count n, 1..=4
//!  7  1  zero
//!  8  2  payload length m, 1..=1024
//! 10  2  zero
//! 12 72n signatures: key id [8], Ed25519 signature [64]; ids strictly ascending
//! ..  m  payload
//! ```
//!
//! What is signed is [`signed_prefix`] followed by the payload. The payload type and the role of
//! the signer stand inside it, so that a keyset can never pass for a manifest, nor a channel key's
//! signature for a release key's.

use super::codes::code_enum;
use super::keyset::KeyRole;
use super::{Field, FormatError, Id, u16_at};

/// Magic bytes of an envelope.
pub const MAGIC: [u8; 4] = *b"SBEN";
/// The only envelope version. It also names the algorithm: there is nothing to negotiate.
pub const VERSION: u8 = 1;
/// Bytes before the signatures.
pub const HEADER_LEN: usize = 12;
/// Bytes of one signature with its key id.
pub const SIGNATURE_LEN: usize = 72;
/// Most signatures an envelope carries.
pub const SIGNATURES_MAX: usize = 4;
/// Longest payload, in bytes.
pub const PAYLOAD_LEN_MAX: usize = 1024;
/// Longest envelope, in bytes.
pub const LEN_MAX: usize = HEADER_LEN + SIGNATURES_MAX * SIGNATURE_LEN + PAYLOAD_LEN_MAX;

const DOMAIN: &[u8; 23] = b"stillboot-signature-v1\0";
/// Length of [`signed_prefix`].
pub const SIGNED_PREFIX_LEN: usize = DOMAIN.len() + 1 + 1 + 16 + 4;

/// The first bytes of a key's SHA-256: a hint where to look, never a reason to trust.
pub type KeyId = [u8; 8];

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
    }
}

/// An envelope whose framing is sound. It is not verified, and nothing in it may be believed.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    header: &'a [u8; HEADER_LEN],
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
        if header[0..4] != MAGIC {
            return Err(FormatError::Magic);
        }
        if header[4] != VERSION {
            return Err(FormatError::Version { found: header[4].into() });
        }
        if !PayloadType::from_code(header[5]).is_known() {
            return Err(FormatError::Unknown { field: Field::PayloadType, code: header[5].into() });
        }
        let signatures = usize::from(header[6]);
        if signatures == 0 || signatures > SIGNATURES_MAX {
            return Err(FormatError::Bounds(Field::SignatureCount));
        }
        let payload_len = usize::from(u16_at(header, 8));
        if payload_len == 0 || payload_len > PAYLOAD_LEN_MAX {
            return Err(FormatError::Bounds(Field::PayloadLen));
        }
        if header[7] != 0 || header[10] != 0 || header[11] != 0 {
            return Err(FormatError::Bounds(Field::Reserved));
        }
        Ok(HEADER_LEN + signatures * SIGNATURE_LEN + payload_len)
    }

    /// Reads the envelope at the start of `bytes`; returns it and the bytes after it.
    ///
    /// # Errors
    /// [`FormatError`] naming the first rule that is broken.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FormatError> {
        let (header, _) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(FormatError::Short)?;
        let len = Self::len_from_header(header)?;
        if bytes.len() < len {
            return Err(FormatError::Short);
        }
        let (whole, rest) = bytes.split_at(len);
        let (signatures, payload) =
            whole[HEADER_LEN..].split_at(usize::from(header[6]) * SIGNATURE_LEN);
        let envelope = Self { header, signatures, payload };
        // Ascending ids make one encoding of a set of signatures, and make duplicates impossible.
        let mut before: Option<&KeyId> = None;
        for (id, _) in envelope.signatures_in_place() {
            if before.is_some_and(|before| before >= id) {
                return Err(FormatError::Bounds(Field::SignatureOrder));
            }
            before = Some(id);
        }
        Ok((envelope, rest))
    }

    /// Writes an envelope at the start of `into` and returns its length. `signatures` are sorted
    /// by key id, strictly ascending.
    ///
    /// # Errors
    /// [`FormatError`] when a bound is broken or `into` is too short.
    pub fn emit(
        payload_type: PayloadType,
        signatures: &[(KeyId, [u8; 64])],
        payload: &[u8],
        into: &mut [u8],
    ) -> Result<usize, FormatError> {
        let len = HEADER_LEN + signatures.len() * SIGNATURE_LEN + payload.len();
        if payload.len() > PAYLOAD_LEN_MAX {
            return Err(FormatError::Bounds(Field::PayloadLen));
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(FormatError::Bounds(Field::SignatureCount));
        }
        let out = into.get_mut(..len).ok_or(FormatError::Short)?;
        out[..HEADER_LEN].fill(0);
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = payload_type.code();
        out[6] = signatures.len() as u8;
        out[8..10].copy_from_slice(&(payload.len() as u16).to_le_bytes());
        let mut at = HEADER_LEN;
        for (id, signature) in signatures {
            out[at..at + 8].copy_from_slice(id);
            out[at + 8..at + SIGNATURE_LEN].copy_from_slice(signature);
            at += SIGNATURE_LEN;
        }
        out[at..].copy_from_slice(payload);
        // One set of rules: what is written must be readable.
        Envelope::parse(out).map(|_| len)
    }

    /// What the payload claims to be; the signature covers the claim.
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        PayloadType::from_code(self.header[5])
    }

    /// The payload's bytes.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Key ids and signatures, in order.
    pub fn signatures(&self) -> impl Iterator<Item = (KeyId, [u8; 64])> + use<'a> {
        self.signatures_in_place().map(|(id, signature)| (*id, *signature))
    }

    /// As [`signatures`](Self::signatures), where they stand.
    pub(crate) fn signatures_in_place(
        &self,
    ) -> impl Iterator<Item = (&'a KeyId, &'a [u8; 64])> + use<'a> {
        let (all, _) = self.signatures.as_chunks::<SIGNATURE_LEN>();
        all.iter().filter_map(|bytes| {
            let (id, signature) = bytes.split_first_chunk::<8>()?;
            Some((id, signature.first_chunk::<64>()?))
        })
    }
}

/// What stands before the payload in the signed bytes: domain, payload type, role of the signer,
/// product, payload length. All of fixed length, so that no two messages share an encoding.
#[must_use]
pub fn signed_prefix(
    payload_type: PayloadType,
    role: KeyRole,
    product: &Id,
    payload_len: u32,
) -> [u8; SIGNED_PREFIX_LEN] {
    let mut out = [0; SIGNED_PREFIX_LEN];
    let mut at = 0;
    let (codes, len) = ([payload_type.code(), role.code()], payload_len.to_le_bytes());
    for piece in signed_pieces(&codes, product, &len) {
        out[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    out
}

/// The pieces of [`signed_prefix`]: codes of payload type and role, product, payload length. Whoever
/// only verifies need not put them together.
pub(crate) const fn signed_pieces<'p>(
    codes: &'p [u8; 2],
    product: &'p Id,
    payload_len: &'p [u8; 4],
) -> [&'p [u8]; 4] {
    [DOMAIN, codes, product, payload_len]
}
