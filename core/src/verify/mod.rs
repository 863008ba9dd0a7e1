//! From parsed values to proofs: digests, signatures, and the token that says both were checked.
//!
//! [`Verified`] has no public maker. Whoever holds one holds a value whose exact bytes were signed
//! by enough of the right keys, so code that boots or installs takes it as an argument and cannot
//! be reached without it.

mod digest;
mod signature;

use core::ops::Deref;

pub use digest::{IndexFold, Sha256, SoftSha256, digest_of};
pub use signature::{SignatureError, SignatureFault, count_signatures, key_id, verify_signature};

use crate::format::{
    Digest, Envelope, Floor, FormatError, Id, Key, KeyRole, Keyset, Manifest, PayloadType, Risk,
    SlotKind, Statement, envelope, envelope::KeyId, manifest,
};

/// Longest trust area in bytes: a keyset envelope and a manifest envelope.
pub const TRUST_LEN_MAX: usize = 2 * envelope::LEN_MAX;

/// What this build trusts from the start. Built into the loader and the agent; changed only with
/// them.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trust<'a> {
    /// 1 to 4 root keys, `threshold` of which sign keysets; keysets name all other keys.
    #[cfg(feature = "keysets")]
    Roots {
        /// Ed25519 public keys, no two alike.
        keys: &'a [[u8; 32]],
        /// How many must agree, 1 up to the number of keys.
        threshold: u8,
    },
    /// One key that signs everything: the smallest build, without rotation or revocation.
    Key(&'a [u8; 32]),
}

impl Trust<'_> {
    /// How many envelopes a head has: a keyset's before the manifest's, or that alone.
    pub(crate) const fn envelopes(&self) -> usize {
        match self {
            #[cfg(feature = "keysets")]
            Self::Roots { .. } => 2,
            Self::Key(_) => 1,
        }
    }
}

/// Which device this is: what a manifest must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The keys it trusts.
    pub trust: Trust<'a>,
    /// The product; part of all signed bytes.
    pub product: Id,
    /// The hardware class.
    pub class: Id,
    /// The hardware revision within the class.
    pub revision: u16,
    /// What it can run; [`Any`](crate::format::Architecture::Any) for whatever the class says.
    pub architecture: crate::format::Architecture,
}

/// In whose name a manifest was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Authority {
    /// Release keys of the keyset.
    Release,
    /// Edge release keys of the keyset: good for risk `edge` only.
    EdgeRelease,
    /// Recovery keys of the keyset.
    Recovery,
    /// The one built-in key.
    SingleKey,
    /// Keys of the role that makes such statements.
    Statement,
}

/// A value whose bytes were signed by enough of the right keys.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    digest: Digest,
    keyset_version: u32,
    authority: Authority,
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Verified<T> {
    /// SHA-256 of the payload: the identity of an update.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The version of the keyset that vouched for it; 0 in a build with a single key.
    #[must_use]
    pub const fn keyset_version(&self) -> u32 {
        self.keyset_version
    }

    /// In whose name it was signed.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        self.authority
    }
}

impl Verified<Manifest> {
    /// The floor it reaches.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.value.floor(self.keyset_version)
    }

    /// What orders updates: keyset version, then sequence.
    #[must_use]
    pub const fn order(&self) -> (u32, u64) {
        (self.keyset_version, self.value.sequence)
    }
}

/// Why the head of a bundle or slot is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrustError {
    /// The device has no usable trust: no root keys, more than four, one twice, or a threshold of 0
    /// or above their number.
    NoTrust,
    /// An envelope stands where another kind is due.
    WrongPayload {
        /// What is due.
        expected: PayloadType,
        /// What stands there.
        found: PayloadType,
    },
    /// The keyset's envelope or payload breaks its format.
    Keyset(FormatError),
    /// The keyset is not signed by the roots.
    KeysetSignature(SignatureError),
    /// The manifest's envelope or payload breaks its format.
    Manifest(FormatError),
    /// The manifest is not signed as it must be.
    ManifestSignature(SignatureError),
    /// The manifest is signed by edge release keys, and its risk is not `edge`.
    EdgeOnly,
    /// It is for another product, though signed.
    WrongProduct,
    /// A statement breaks its format.
    Statement(FormatError),
    /// A statement is not signed by the role of its kind.
    StatementSignature(SignatureError),
    /// A key of the test suite, which everybody has, in a release build.
    TestKey,
}

impl core::fmt::Display for TrustError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoTrust => f.write_str(
                "no usable root keys: 1 to 4 different ones and a threshold of 1 up to their \
                 number are needed",
            ),
            Self::WrongPayload { expected, found } => {
                write!(f, "expected a {expected} envelope, found a {found} envelope")
            }
            Self::Keyset(error) => write!(f, "keyset: {error}"),
            Self::KeysetSignature(error) => write!(f, "keyset: {error}"),
            Self::Manifest(error) => write!(f, "manifest: {error}"),
            Self::ManifestSignature(error) => write!(f, "manifest: {error}"),
            Self::EdgeOnly => {
                f.write_str("signed by edge release keys only, which count for risk edge alone")
            }
            Self::WrongProduct => f.write_str("made for another product"),
            Self::Statement(error) => write!(f, "statement: {error}"),
            Self::StatementSignature(error) => write!(f, "statement: {error}"),
            Self::TestKey => f.write_str(
                "a key of the test suite, which everybody has; release builds refuse it",
            ),
        }
    }
}

impl core::error::Error for TrustError {}

/// Keys that may sign: some that are built in, and those of a keyset that have a role. One type for
/// all of them, so that there is one copy of the code that counts signatures.
#[derive(Clone, Copy)]
struct Signers<'a> {
    built_in: &'a [[u8; 32]],
    keys: &'a [Key],
    /// [`KeyRole::bit`]s, one of which a key must have.
    roles: u8,
}

impl<'a> Signers<'a> {
    const fn built_in(built_in: &'a [[u8; 32]]) -> Self {
        Self { built_in, keys: &[], roles: 0 }
    }

    fn of_keyset(keyset: &'a Keyset, roles: u8) -> Self {
        Self { built_in: &[], keys: &keyset.keys, roles }
    }

    fn keys(self) -> impl Iterator<Item = &'a [u8; 32]> + Clone {
        let with_role = self.keys.iter().filter(move |key| key.roles & self.roles != 0);
        self.built_in.iter().chain(with_role.map(|key| &key.public))
    }

    fn signed<H: Sha256>(
        self,
        envelope: &Envelope<'_>,
        role: KeyRole,
        product: &Id,
        threshold: u8,
    ) -> Result<(), SignatureError> {
        count_signatures::<H>(envelope, role, product, self.keys(), threshold)
    }
}

/// Verifies a keyset envelope against the roots of `device`.
///
/// # Errors
/// [`TrustError`].
#[cfg(feature = "keysets")]
pub fn verify_keyset<H: Sha256>(
    device: &Device<'_>,
    envelope: &Envelope<'_>,
) -> Result<Keyset, TrustError> {
    let mut keyset = Keyset::BLANK;
    verify_keyset_into::<H>(device, envelope, &mut keyset).map(|()| keyset)
}

#[cfg(feature = "keysets")]
/// As [`verify_keyset`], in place; after an error the keyset is none.
#[inline(never)]
fn verify_keyset_into<H: Sha256>(
    device: &Device<'_>,
    envelope: &Envelope<'_>,
    keyset: &mut Keyset,
) -> Result<(), TrustError> {
    let Trust::Roots { keys, threshold } = device.trust else {
        return Err(TrustError::NoTrust);
    };
    let repeated = keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key));
    // An empty or over-demanding set of roots has meant "no check" elsewhere. Here it means stop.
    if !(1..=4).contains(&keys.len())
        || threshold == 0
        || usize::from(threshold) > keys.len()
        || repeated
    {
        return Err(TrustError::NoTrust);
    }
    let roots = Signers::built_in(keys);
    refuse_test_keys::<H>(roots.keys())?;
    expect_payload(envelope, PayloadType::Keyset)?;
    roots
        .signed::<H>(envelope, KeyRole::Root, &device.product, threshold)
        .map_err(TrustError::KeysetSignature)?;
    keyset.read(envelope.payload()).map_err(TrustError::Keyset)?;
    // A key of small order would accept signatures that nobody made.
    let weak = |key: &Key| ed25519_compact::PublicKey::new(key.public).validate().is_err();
    if keyset.keys.iter().any(weak) {
        return Err(TrustError::Keyset(FormatError::Bounds(crate::format::Field::Key)));
    }
    refuse_test_keys::<H>(Signers::of_keyset(keyset, u8::MAX).keys())
}

/// Verifies the head of a bundle or the trust area of a slot: the keyset envelope (with roots) and
/// the manifest envelope that follows it. Returns the manifest and the length of the head in bytes.
///
/// `kind` is that of the slot it stands in or is going to: it decides which keys count.
///
/// Boot protocol step 4, install protocol step 1.
///
/// # Errors
/// [`TrustError`] for the first thing that is wrong.
pub fn verify_head<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    head: &[u8],
) -> Result<(Verified<Manifest>, usize), TrustError> {
    let mut manifest = None;
    let len = verify_head_into::<H>(device, kind, head, &mut manifest)?;
    // It is there when there is no error.
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
    let signed = verify_envelopes::<H>(device, kind, head)?;
    signed.read::<H>(device, manifest).map(|()| signed.len)
}

/// As [`verify_head`], for who wants to know no more than the manifest's digest and the floor it
/// reaches. The manifest is not on the stack while signatures are checked, which take most of it.
pub(crate) fn verify_identity<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    head: &[u8],
) -> Result<(Digest, Floor), TrustError> {
    verify_envelopes::<H>(device, kind, head)?.identity::<H>(device)
}

/// A head whose signatures hold.
struct Signed<'h> {
    /// The envelope of its manifest.
    envelope: Envelope<'h>,
    /// In whose name it was signed.
    authority: Authority,
    /// The version of its keyset, 0 without one.
    keyset_version: u32,
    /// Its length.
    len: usize,
}

impl Signed<'_> {
    /// Reads the manifest to where it will stay; `None` after an error.
    #[inline(never)]
    fn read<H: Sha256>(
        &self,
        device: &Device<'_>,
        manifest: &mut Option<Verified<Manifest>>,
    ) -> Result<(), TrustError> {
        let payload = self.envelope.payload();
        let verified = manifest.insert(Verified {
            value: Manifest::BLANK,
            digest: digest_of::<H>(payload),
            keyset_version: self.keyset_version,
            authority: self.authority,
        });
        let value = &mut verified.value;
        let result = match value.read(payload) {
            Err(error) => Err(TrustError::Manifest(error)),
            Ok(())
                if self.authority == Authority::EdgeRelease && value.channel.risk != Risk::Edge =>
            {
                Err(TrustError::EdgeOnly)
            }
            Ok(()) if value.product != device.product => Err(TrustError::WrongProduct),
            Ok(()) => Ok(()),
        };
        if result.is_err() {
            *manifest = None;
        }
        result
    }

    #[inline(never)]
    fn identity<H: Sha256>(&self, device: &Device<'_>) -> Result<(Digest, Floor), TrustError> {
        let mut manifest = None;
        self.read::<H>(device, &mut manifest)?;
        // It is there when there is no error.
        let manifest = manifest.ok_or(TrustError::NoTrust)?;
        Ok((manifest.digest, manifest.floor()))
    }
}

/// Checks the signatures of a head, and reads nothing of it but the keyset.
#[inline(never)]
fn verify_envelopes<'h, H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    head: &'h [u8],
) -> Result<Signed<'h>, TrustError> {
    #[cfg(feature = "keysets")]
    let mut keyset = Keyset::BLANK;
    let rest = match device.trust {
        #[cfg(feature = "keysets")]
        Trust::Roots { .. } => {
            let (envelope, rest) = Envelope::parse(head).map_err(TrustError::Keyset)?;
            verify_keyset_into::<H>(device, &envelope, &mut keyset)?;
            rest
        }
        Trust::Key(_) => head,
    };
    let (envelope, rest) = Envelope::parse(rest).map_err(TrustError::Manifest)?;
    expect_payload(&envelope, PayloadType::Manifest)?;
    let authority = match device.trust {
        Trust::Key(key) => {
            let key = Signers::built_in(core::slice::from_ref(key));
            refuse_test_keys::<H>(key.keys())?;
            let role = match kind {
                SlotKind::Update => KeyRole::Release,
                SlotKind::Recovery => KeyRole::Recovery,
            };
            key.signed::<H>(&envelope, role, &device.product, 1).map(|()| Authority::SingleKey)
        }
        #[cfg(feature = "keysets")]
        Trust::Roots { .. } => manifest_authority::<H>(device, kind, &keyset, &envelope),
    };
    let authority = authority.map_err(TrustError::ManifestSignature)?;
    let keyset_version = match device.trust {
        #[cfg(feature = "keysets")]
        Trust::Roots { .. } => keyset.version,
        Trust::Key(_) => 0,
    };
    let len = head.len() - rest.len();
    Ok(Signed { envelope, authority, keyset_version, len })
}

/// Verifies a statement envelope under the keyset of the bundle it speaks of.
///
/// # Errors
/// [`TrustError`].
pub fn verify_statement<H: Sha256>(
    device: &Device<'_>,
    keyset: &Keyset,
    envelope: &Envelope<'_>,
) -> Result<Verified<Statement>, TrustError> {
    expect_payload(envelope, PayloadType::Statement)?;
    // Only to learn in which role it must be signed; it is believed after that was checked.
    let value = Statement::parse(envelope.payload()).map_err(TrustError::Statement)?;
    let role = value.kind.role().ok_or(TrustError::Statement(FormatError::Malformed))?;
    let missing = SignatureError::NoSuchRole { role };
    let threshold = keyset.threshold(role).ok_or(TrustError::StatementSignature(missing))?;
    Signers::of_keyset(keyset, role.bit())
        .signed::<H>(envelope, role, &device.product, threshold)
        .map_err(TrustError::StatementSignature)?;
    if value.product != device.product {
        return Err(TrustError::WrongProduct);
    }
    Ok(Verified {
        digest: digest_of::<H>(envelope.payload()),
        keyset_version: keyset.version,
        authority: Authority::Statement,
        value,
    })
}

/// Verifies an envelope that must hold `kind.0`, signed in the role `kind.1` under a keyset that the
/// roots signed; only then has `parse` read its payload. The caller checks that the product, where
/// the payload names one, is the device's.
#[cfg(feature = "json")]
pub(crate) fn verify_payload<H: Sha256, T, E: From<TrustError>>(
    device: &Device<'_>,
    keyset: &Keyset,
    kind: (PayloadType, KeyRole),
    envelope: &Envelope<'_>,
    unsigned: fn(SignatureError) -> E,
    parse: fn(&[u8]) -> Result<T, E>,
) -> Result<Verified<T>, E> {
    let (payload_type, role) = kind;
    expect_payload(envelope, payload_type)?;
    let missing = SignatureError::NoSuchRole { role };
    let threshold = keyset.threshold(role).ok_or_else(|| unsigned(missing))?;
    Signers::of_keyset(keyset, role.bit())
        .signed::<H>(envelope, role, &device.product, threshold)
        .map_err(unsigned)?;
    Ok(Verified {
        value: parse(envelope.payload())?,
        digest: digest_of::<H>(envelope.payload()),
        keyset_version: keyset.version,
        authority: Authority::Statement,
    })
}

/// Key ids of the keys that the test suite signs with, and that everybody can sign with: Ed25519
/// seeds of SHA-256 of `stillboot test key 1` to `4`.
pub const TEST_KEY_IDS: [KeyId; 4] = [
    [0x47, 0xca, 0xc8, 0xe1, 0xfc, 0xe1, 0xe3, 0xd7],
    [0x8b, 0xad, 0x5a, 0x56, 0x25, 0xf3, 0xba, 0xe6],
    [0x44, 0xdb, 0x8a, 0x7f, 0xdc, 0x37, 0x8e, 0xa8],
    [0xcc, 0x49, 0x3a, 0x74, 0x6f, 0xcd, 0xad, 0x2a],
];

/// Refuses keys of the test suite in release builds. No configuration switches this off.
pub(crate) fn refuse_test_keys<'k, H: Sha256>(
    mut keys: impl Iterator<Item = &'k [u8; 32]>,
) -> Result<(), TrustError> {
    if cfg!(debug_assertions) {
        return Ok(());
    }
    let any = keys.any(|key| TEST_KEY_IDS.contains(&key_id::<H>(key)));
    if any { Err(TrustError::TestKey) } else { Ok(()) }
}

#[cfg(feature = "keysets")]
/// Which role's threshold the manifest's signatures reach.
fn manifest_authority<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    keyset: &Keyset,
    envelope: &Envelope<'_>,
) -> Result<Authority, SignatureError> {
    let reaches = |role: KeyRole| {
        let threshold = keyset.threshold(role).ok_or(SignatureError::NoSuchRole { role })?;
        Signers::of_keyset(keyset, role.bit()).signed::<H>(
            envelope,
            role,
            &device.product,
            threshold,
        )
    };
    match kind {
        SlotKind::Recovery => reaches(KeyRole::Recovery).map(|()| Authority::Recovery),
        SlotKind::Update => match reaches(KeyRole::Release) {
            Ok(()) => Ok(Authority::Release),
            // A signature that is wrong is an attack or damage; only missing ones may be made up
            // for by edge release keys.
            Err(error @ (SignatureError::Missing { .. } | SignatureError::NoSuchRole { .. })) => {
                match reaches(KeyRole::EdgeRelease) {
                    Ok(()) => Ok(Authority::EdgeRelease),
                    Err(SignatureError::NoSuchRole { .. } | SignatureError::Missing { .. }) => {
                        Err(error)
                    }
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        },
    }
}

fn expect_payload(envelope: &Envelope<'_>, expected: PayloadType) -> Result<(), TrustError> {
    let found = envelope.payload_type();
    if found == expected { Ok(()) } else { Err(TrustError::WrongPayload { expected, found }) }
}

/// Why a verified manifest is not for this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClassError {
    /// The class differs.
    Class,
    /// The hardware revision is outside the manifest's range.
    Revision {
        /// This device's revision.
        device: u16,
        /// The oldest that fits.
        min: u16,
        /// The newest that fits.
        max: u16,
    },
    /// The components run on another architecture.
    Architecture {
        /// This device's architecture.
        device: crate::format::Architecture,
        /// The manifest's.
        found: crate::format::Architecture,
    },
}

impl core::fmt::Display for ClassError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Class => f.write_str("made for another device class"),
            Self::Revision { device, min, max } => {
                write!(f, "made for hardware revisions {min} to {max}, this device is {device}")
            }
            Self::Architecture { device, found } => {
                write!(f, "made for {found}, this device is {device}")
            }
        }
    }
}

/// Checks that a manifest is for this device. Run before anything is erased, and again before
/// anything is started.
///
/// # Errors
/// [`ClassError`].
pub fn check_class(device: &Device<'_>, manifest: &Verified<Manifest>) -> Result<(), ClassError> {
    use crate::format::Architecture;
    if manifest.class != device.class {
        return Err(ClassError::Class);
    }
    let (min, max) = (manifest.revision_min, manifest.revision_max);
    if device.revision < min || device.revision > max {
        return Err(ClassError::Revision { device: device.revision, min, max });
    }
    let found = manifest.architecture;
    if found != Architecture::Any
        && device.architecture != Architecture::Any
        && found != device.architecture
    {
        return Err(ClassError::Architecture { device: device.architecture, found });
    }
    Ok(())
}

/// The highest manifest schema that this build reads, for the boot proof.
pub const MANIFEST_SCHEMA: u8 = manifest::SCHEMA;
