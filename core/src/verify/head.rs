//! The head of a bundle or slot, verified while its bytes are read.
//!
//! A head is a keyset envelope, where keys come from keysets, and a manifest envelope. It is read
//! in windows. [`HeadReader`] takes every complete part from a window, and asks for the next
//! window, which starts with the first incomplete part. Signatures are checked one after the other.
//! Signatures that this build skips are never read. Only a payload must fit into a window.

#[cfg(feature = "keysets")]
use super::signature::meets;
use super::signature::{SignatureError, check_one};
use super::{
    Authority, Device, Sha256, Trust, TrustError, Verified, digest_of, expect_payload,
    refuse_test_keys,
};
#[cfg(feature = "keysets")]
use crate::format::Keyset;
use crate::format::envelope::{self, ENTRY_HEADER_LEN, Entries, HEADER_LEN, Header};
use crate::format::{
    Digest, Field, Floor, FormatError, KeyKind, KeyName, KeyRole, Manifest, PayloadType, Risk,
    SlotKind,
};

/// Longest head in bytes.
pub const HEAD_LEN_MAX: usize = 2 * envelope::LEN_MAX;

/// Shortest window in bytes: a payload, or anything else that is read as one. Heads with Ed25519
/// signatures alone fit into one of twice this length.
pub const WINDOW_LEN_MIN: usize = envelope::PAYLOAD_LEN_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    /// This many signatures, in this many bytes, are to come.
    Signatures {
        left: u8,
        bytes: u32,
    },
    Payload,
}

/// The result of reading a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Go on with a window that starts with this byte of the head and has at least this many bytes.
    More { from: usize, len: usize },
    /// All signatures hold. The head has this many bytes, and the manifest's payload starts at this
    /// byte of the window.
    Done { len: usize, payload: usize },
}

/// Verifies a head, window by window.
#[derive(Clone, Debug)]
pub(crate) struct HeadReader {
    /// The byte of the head that is looked at next.
    at: usize,
    part: Part,
    /// The envelope at hand is the keyset's.
    is_keyset: bool,
    header: Header,
    entries: Entries,
    /// Signatures that hold: in the first role that may sign, and in the second.
    found: [u8; 2],
    authority: Authority,
    #[cfg(feature = "keysets")]
    keyset: Keyset,
}

/// Before the first header.
const NO_HEADER: Header = Header {
    payload_type: PayloadType::Keyset,
    signatures: 0,
    payload_len: 0,
    signatures_len: 0,
    digest: [0; 32],
};

impl HeadReader {
    pub(crate) const fn new() -> Self {
        Self {
            at: 0,
            part: Part::Header,
            is_keyset: false,
            header: NO_HEADER,
            entries: Entries::NONE,
            found: [0; 2],
            authority: Authority::SingleKey,
            #[cfg(feature = "keysets")]
            keyset: Keyset::BLANK,
        }
    }

    /// Begins with the first byte.
    pub(crate) fn restart(&mut self, device: &Device<'_>) {
        self.at = 0;
        self.part = Part::Header;
        self.is_keyset = device.trust.envelopes() > 1;
    }

    /// The error of the envelope at hand.
    pub(crate) fn format_error(&self, error: FormatError) -> TrustError {
        if self.is_keyset { TrustError::Keyset(error) } else { TrustError::Manifest(error) }
    }

    /// The roles that may sign the envelope at hand, and which of them the key of this kind and
    /// name has.
    fn role_of(
        &self,
        device: &Device<'_>,
        slot_kind: SlotKind,
        kind: KeyKind,
        name: &KeyName,
    ) -> Option<(usize, KeyRole)> {
        match device.trust {
            Trust::Key(key) => {
                let role = match slot_kind {
                    SlotKind::Update => KeyRole::Release,
                    SlotKind::Recovery => KeyRole::Recovery,
                };
                (kind == KeyKind::Ed25519 && name == key).then_some((0, role))
            }
            #[cfg(feature = "keysets")]
            Trust::Roots { keys, .. } if self.is_keyset => {
                let is_root = keys.iter().any(|root| root.kind == kind && root.name == *name);
                is_root.then_some((0, KeyRole::Root))
            }
            #[cfg(feature = "keysets")]
            Trust::Roots { .. } => {
                let keys = &self.keyset.keys;
                let roles = keys.iter().find(|key| key.kind == kind && key.name == *name)?.roles;
                let has = |role: KeyRole| roles & role.bit() != 0;
                match slot_kind {
                    SlotKind::Recovery => has(KeyRole::Recovery).then_some((0, KeyRole::Recovery)),
                    // A key never has both.
                    SlotKind::Update if has(KeyRole::Release) => Some((0, KeyRole::Release)),
                    SlotKind::Update => {
                        has(KeyRole::EdgeRelease).then_some((1, KeyRole::EdgeRelease))
                    }
                }
            }
        }
    }

    /// With whose authority the envelope at hand is signed, after all signatures are counted.
    fn authority(&self, device: &Device<'_>, slot_kind: SlotKind) -> Result<Authority, TrustError> {
        match device.trust {
            Trust::Key(_) => {
                let role = match slot_kind {
                    SlotKind::Update => KeyRole::Release,
                    SlotKind::Recovery => KeyRole::Recovery,
                };
                let missing = SignatureError::Missing { role, needed: 1, found: 0 };
                if self.found[0] == 0 {
                    return Err(TrustError::ManifestSignature(missing));
                }
                Ok(Authority::SingleKey)
            }
            #[cfg(feature = "keysets")]
            Trust::Roots { rule, .. } if self.is_keyset => {
                meets(rule, KeyRole::Root, self.found[0]).map_err(TrustError::KeysetSignature)?;
                Ok(Authority::Roots)
            }
            #[cfg(feature = "keysets")]
            Trust::Roots { .. } => {
                let [one, two] = self.found;
                let meets = |role, found| meets(self.keyset.rule(role), role, found);
                match slot_kind {
                    SlotKind::Recovery => {
                        meets(KeyRole::Recovery, one).map(|()| Authority::Recovery)
                    }
                    SlotKind::Update => match meets(KeyRole::Release, one) {
                        Ok(()) => Ok(Authority::Release),
                        // Edge keys replace signatures that are missing, but not a kind that this
                        // build lacks: the rule would become the weaker one.
                        Err(error @ SignatureError::Kind { .. }) => Err(error),
                        Err(error) => match meets(KeyRole::EdgeRelease, two) {
                            Ok(()) => Ok(Authority::EdgeRelease),
                            Err(_) => Err(error),
                        },
                    },
                }
                .map_err(TrustError::ManifestSignature)
            }
        }
    }

    /// Takes every complete part from `window`, which holds the head from byte `from` on.
    #[inline(never)]
    pub(crate) fn take<H: Sha256>(
        &mut self,
        device: &Device<'_>,
        slot_kind: SlotKind,
        window: &[u8],
        from: usize,
    ) -> Result<Progress, TrustError> {
        loop {
            let len = match self.part {
                Part::Header => HEADER_LEN,
                Part::Signatures { left: 0, .. } => 0,
                Part::Signatures { .. } => ENTRY_HEADER_LEN,
                Part::Payload => self.header.payload_len as usize,
            };
            let rest = self.at.checked_sub(from).and_then(|at| window.get(at..)).unwrap_or(&[]);
            let Some(bytes) = rest.get(..len) else {
                return Ok(Progress::More { from: self.at, len });
            };
            match self.part {
                Part::Header => self.take_header::<H>(device, bytes)?,
                Part::Signatures { left: 0, bytes } => {
                    if bytes != 0 {
                        return Err(self.format_error(FormatError::Bounds(Field::SignatureLen)));
                    }
                    self.authority = self.authority(device, slot_kind)?;
                    self.part = Part::Payload;
                }
                Part::Signatures { .. } => {
                    if let Some(needed) = self.take_signature(device, slot_kind, rest)? {
                        return Ok(Progress::More { from: self.at, len: needed });
                    }
                }
                Part::Payload => {
                    self.at += len;
                    self.part = Part::Header;
                    if digest_of::<H>(bytes) != self.header.digest {
                        return Err(self.format_error(FormatError::Digest));
                    }
                    if !self.is_keyset {
                        return Ok(Progress::Done { len: self.at, payload: self.at - len - from });
                    }
                    self.take_keyset::<H>(device, bytes)?;
                    self.is_keyset = false;
                }
            }
        }
    }

    fn take_header<H: Sha256>(
        &mut self,
        device: &Device<'_>,
        bytes: &[u8],
    ) -> Result<(), TrustError> {
        match device.trust {
            Trust::Key(key) => refuse_test_keys::<H>(core::iter::once(key))?,
            #[cfg(feature = "keysets")]
            Trust::Roots { keys, rule } => super::check_roots::<H>(keys, rule)?,
        }
        let header = bytes.first_chunk().ok_or(FormatError::Short).and_then(Header::parse);
        self.header = header.map_err(|error| self.format_error(error))?;
        let expected = if self.is_keyset { PayloadType::Keyset } else { PayloadType::Manifest };
        expect_payload(self.header.payload_type, expected)?;
        self.at += HEADER_LEN;
        self.entries = Entries::NONE;
        self.found = [0; 2];
        self.part =
            Part::Signatures { left: self.header.signatures, bytes: self.header.signatures_len };
        Ok(())
    }

    /// Takes a signature. If its bytes are not all in the window, gives the number of bytes that it
    /// needs.
    fn take_signature(
        &mut self,
        device: &Device<'_>,
        slot_kind: SlotKind,
        rest: &[u8],
    ) -> Result<Option<usize>, TrustError> {
        let Part::Signatures { left, bytes } = self.part else { return Ok(None) };
        let mut entries = self.entries.clone();
        let (kind, name, bytes) =
            entries.next(rest, bytes).map_err(|error| self.format_error(error))?;
        let len = kind.entry_len();
        if kind == KeyKind::Ed25519
            && let Some((number, role)) = self.role_of(device, slot_kind, kind, &name)
        {
            let Some(signature) = rest.get(ENTRY_HEADER_LEN..).and_then(|rest| rest.first_chunk())
            else {
                return Ok(Some(len));
            };
            check_one(device, &self.header, role, &name, signature).map_err(|error| {
                if self.is_keyset {
                    TrustError::KeysetSignature(error)
                } else {
                    TrustError::ManifestSignature(error)
                }
            })?;
            self.found[number] += 1;
        }
        self.entries = entries;
        self.at += len;
        self.part = Part::Signatures { left: left - 1, bytes };
        Ok(None)
    }

    #[cfg(feature = "keysets")]
    fn take_keyset<H: Sha256>(
        &mut self,
        device: &Device<'_>,
        payload: &[u8],
    ) -> Result<(), TrustError> {
        super::read_keyset::<H>(device, payload, &mut self.keyset)
    }

    #[cfg(not(feature = "keysets"))]
    // The type parameter is unused in some builds: the call is the same in every build.
    #[allow(clippy::extra_unused_type_parameters)]
    fn take_keyset<H: Sha256>(
        &mut self,
        _device: &Device<'_>,
        _payload: &[u8],
    ) -> Result<(), TrustError> {
        Err(TrustError::NoTrust)
    }

    /// The payload of the manifest, in the last window that [`take`](Self::take) was given.
    fn payload<'w>(&self, window: &'w [u8], at: usize) -> &'w [u8] {
        window
            .get(at..)
            .and_then(|rest| rest.get(..self.header.payload_len as usize))
            .unwrap_or(&[])
    }

    /// Reads the manifest from the last window that [`take`](Self::take) was given. After an error
    /// it is `None`.
    #[inline(never)]
    pub(crate) fn manifest(
        &self,
        device: &Device<'_>,
        window: &[u8],
        at: usize,
        manifest: &mut Option<Verified<Manifest>>,
    ) -> Result<(), TrustError> {
        #[cfg(feature = "keysets")]
        let keyset_version = if device.trust.envelopes() > 1 { self.keyset.version } else { 0 };
        #[cfg(not(feature = "keysets"))]
        let keyset_version = 0;
        let verified = manifest.insert(Verified {
            value: Manifest::BLANK,
            digest: self.header.digest,
            keyset_version,
            authority: self.authority,
        });
        let result = read_manifest(device, self.payload(window, at), verified);
        if result.is_err() {
            *manifest = None;
        }
        result
    }

    /// Digest and floor of the manifest, for a caller that needs no more. The manifest is not on
    /// the stack while signatures are checked, which take most of the stack.
    #[inline(never)]
    pub(crate) fn identity(
        &self,
        device: &Device<'_>,
        window: &[u8],
        at: usize,
    ) -> Result<(Digest, Floor), TrustError> {
        let mut manifest = None;
        self.manifest(device, window, at, &mut manifest)?;
        // There is a manifest if there was no error.
        let manifest = manifest.ok_or(TrustError::NoTrust)?;
        Ok((manifest.digest, manifest.floor()))
    }
}

/// Reads a manifest whose signatures hold, in place.
pub(super) fn read_manifest(
    device: &Device<'_>,
    payload: &[u8],
    verified: &mut Verified<Manifest>,
) -> Result<(), TrustError> {
    let authority = verified.authority;
    let value = &mut verified.value;
    match value.read(payload) {
        Err(error) => Err(TrustError::Manifest(error)),
        Ok(()) if authority == Authority::EdgeRelease && value.channel.risk != Risk::Edge => {
            Err(TrustError::EdgeOnly)
        }
        Ok(()) if value.product != device.product => Err(TrustError::WrongProduct),
        // A release key must not be able to replace the loader, which holds the roots.
        Ok(()) if value.is_of_loader() && authority != Authority::Roots => {
            Err(TrustError::LoaderRole)
        }
        Ok(()) => Ok(()),
    }
}

/// Verifies the head of a bundle or the trust area of a slot, which is in memory as a whole: the
/// keyset envelope (with roots) and the manifest envelope that follows it. Returns the manifest and
/// the length of the head in bytes.
///
/// `kind` is the kind of the slot that holds the head or that the head goes to. It decides which
/// keys count.
///
/// Boot protocol step 4, install protocol step 1.
///
/// # Errors
/// [`TrustError`] for the first fault that is found.
pub fn verify_head<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    head: &[u8],
) -> Result<(Verified<Manifest>, usize), TrustError> {
    let mut manifest = None;
    let len = verify_head_into::<H>(device, kind, head, &mut manifest)?;
    // There is a manifest if there was no error.
    manifest.map(|manifest| (manifest, len)).ok_or(TrustError::NoTrust)
}

/// As [`verify_head`], with the manifest in place: `None` after an error.
#[inline(never)]
pub(crate) fn verify_head_into<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    head: &[u8],
    manifest: &mut Option<Verified<Manifest>>,
) -> Result<usize, TrustError> {
    *manifest = None;
    let mut reader = HeadReader::new();
    reader.restart(device);
    match reader.take::<H>(device, kind, head, 0)? {
        Progress::Done { len, payload } => {
            reader.manifest(device, head, payload, manifest).map(|()| len)
        }
        Progress::More { .. } => Err(reader.format_error(FormatError::Short)),
    }
}
