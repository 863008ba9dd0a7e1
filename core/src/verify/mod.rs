//! From parsed values to proofs: digests, signatures, and the token that says both were checked.
//!
//! [`Verified`] has no public constructor. A [`Verified`] value means that its exact bytes were
//! signed by enough of the right keys. Code that boots or installs takes one as an argument, so it
//! cannot run without a verified value.

mod digest;
mod ed25519;
mod head;
mod signature;

use core::ops::Deref;

pub use digest::{IndexFold, Sha256, SoftSha256, digest_of};
pub use ed25519::{CompactEd25519, Ed25519, SignatureFault, verify_signature, verify_signature_by};
pub use head::{HEAD_LEN_MAX, WINDOW_LEN_MIN, verify_head};
pub(crate) use head::{HeadReader, Progress, verify_head_into};
pub use signature::{KeyId, SignatureError, key_id};
use signature::{check_one, meets};

use crate::format::{
    Digest, Envelope, Floor, FormatError, Id, KeyKind, KeyName, KeyRole, Keyset, Load, Manifest,
    PayloadType, Role, Rule, Statement, manifest,
};

/// What this build trusts from the start. It is built into the loader and the agent, and changes
/// only with them.
// Why: docs/DESIGN.md#why-keysets-are-a-feature
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Trust<'a> {
    /// Root keys, some of which sign keysets; keysets name all other keys.
    #[cfg(feature = "keysets")]
    Roots {
        /// 1 to 8 keys, no two alike.
        keys: &'a [RootKey],
        /// How many of these keys must sign, of each kind.
        rule: Rule,
    },
    /// One key that signs everything: the smallest build, without rotation or revocation.
    Key(&'a [u8; 32]),
}

/// A root key, as it is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKey {
    /// What it signs with.
    pub kind: KeyKind,
    /// Of Ed25519 the public key, of other kinds its SHA-256.
    pub name: KeyName,
}

impl RootKey {
    /// An Ed25519 key.
    #[must_use]
    pub const fn ed25519(public: KeyName) -> Self {
        Self { kind: KeyKind::Ed25519, name: public }
    }

    /// Several Ed25519 keys.
    #[must_use]
    pub const fn ed25519_all<const N: usize>(keys: [KeyName; N]) -> [Self; N] {
        let mut all = [Self::ed25519([0; 32]); N];
        let mut at = 0;
        while at < N {
            all[at] = Self::ed25519(keys[at]);
            at += 1;
        }
        all
    }
}

/// Most root keys.
pub const ROOTS_MAX: usize = 8;

impl Trust<'_> {
    /// How many envelopes a head has: a keyset's before the manifest's, or the manifest's alone.
    pub(crate) const fn envelopes(&self) -> usize {
        match self {
            #[cfg(feature = "keysets")]
            Self::Roots { .. } => 2,
            Self::Key(_) => 1,
        }
    }
}

/// Which device this is: a manifest must have been made for it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Device<'a> {
    /// The keys it trusts.
    pub trust: Trust<'a>,
    /// The product; part of all signed bytes.
    pub product: Id,
    /// The hardware class.
    pub class: Id,
    /// The hardware revision within the class.
    pub revision: u16,
    /// What it can run; [`Any`](crate::format::Architecture::Any) if the class alone says it.
    pub architecture: crate::format::Architecture,
    /// What checks signatures.
    pub ed25519: &'a dyn Ed25519,
}

impl<'a> Device<'a> {
    /// A device of revision 0, of the architecture that its class implies.
    #[must_use]
    pub const fn new(trust: Trust<'a>, product: Id, class: Id) -> Self {
        let architecture = crate::format::Architecture::Any;
        Self { trust, product, class, revision: 0, architecture, ed25519: &CompactEd25519 }
    }

    /// The same with another [`revision`](Self::revision).
    #[must_use]
    pub const fn with_revision(mut self, revision: u16) -> Self {
        self.revision = revision;
        self
    }

    /// The same with an [`architecture`](Self::architecture).
    #[must_use]
    pub const fn with_architecture(mut self, architecture: crate::format::Architecture) -> Self {
        self.architecture = architecture;
        self
    }

    /// The same with another provider of [Ed25519](Self::ed25519).
    #[must_use]
    pub const fn with_ed25519(mut self, ed25519: &'a dyn Ed25519) -> Self {
        self.ed25519 = ed25519;
        self
    }
}

/// With whose authority a manifest was signed.
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
    /// The roots.
    Roots,
}

/// A value whose bytes were signed by enough of the right keys.
// Why: docs/DESIGN.md#why-verified-is-a-type
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
    // Why: docs/DESIGN.md#why-manifest-digest-is-identity
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The version of the keyset that vouched for it; 0 in a build with a single key.
    #[must_use]
    pub const fn keyset_version(&self) -> u32 {
        self.keyset_version
    }

    /// With whose authority the value was signed.
    #[must_use]
    pub const fn authority(&self) -> Authority {
        self.authority
    }
}

impl Verified<Manifest> {
    /// The floor that the value reaches.
    #[must_use]
    pub const fn floor(&self) -> Floor {
        self.value.floor(self.keyset_version)
    }

    /// The order of updates: keyset version, then sequence.
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
    /// The device has no usable trust: no root keys, more than eight, one twice, or a rule that they
    /// cannot meet.
    NoTrust,
    /// An envelope holds another kind of payload than is expected here.
    WrongPayload {
        /// The kind that is expected.
        expected: PayloadType,
        /// The kind that was found.
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
    /// A key of the test suite, whose private key is public, is in a release build.
    TestKey,
    /// A release of the loader is not signed by the roots.
    LoaderSignature(SignatureError),
    /// An update has a component of the boot loader.
    LoaderRole,
    /// A release of the loader holds something else than one loader.
    LoaderContent {
        /// How many components it has.
        components: u8,
        /// The first of them: role, load class, and the slot it is linked for.
        first: (Role, Load, u8),
    },
}

impl core::fmt::Display for TrustError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoTrust => f.write_str(
                "no usable root keys: 1 to 8 different ones and a threshold of 1 up to their \
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
            Self::LoaderSignature(error) => write!(f, "release of the loader: {error}"),
            Self::LoaderRole => f.write_str(
                "a component of role loader (9) stands in an update: expected it in a release of the \
                 loader only, which the roots sign",
            ),
            Self::LoaderContent { components, first: (role, load, linked) } => write!(
                f,
                "a release of the loader holds other components: expected one of role \
                 loader (9), load class late (2), for every slot (linked 0), found {components}, \
                 the first of role {role} ({}), load class {load} ({}), linked {linked}",
                role.code(),
                load.code()
            ),
            Self::TestKey => f.write_str(
                "a key of the test suite, which everybody has; release builds refuse it",
            ),
        }
    }
}

impl core::error::Error for TrustError {}

/// Checks the signatures of an envelope that is in memory as a whole, by keys of `role`, and that
/// it has its payload.
fn verify_envelope<H: Sha256>(
    device: &Device<'_>,
    envelope: &Envelope<'_>,
    role: KeyRole,
    rule: Rule,
    is_key: impl Fn(KeyKind, &KeyName) -> bool,
) -> Result<(), SignatureError> {
    let mut found = 0;
    for signature in envelope.signatures() {
        if signature.kind == KeyKind::Ed25519
            && is_key(signature.kind, &signature.name)
            && let Some(bytes) = signature.bytes.first_chunk()
        {
            check_one(device, envelope.header(), role, &signature.name, bytes)?;
            found += 1;
        }
    }
    meets(rule, role, found)?;
    // The digest is signed. Another payload with this signature would be another message.
    if !envelope.has_its_payload::<H>() {
        return Err(SignatureError::Wrong { role });
    }
    Ok(())
}

/// An empty set of roots, or a rule that it cannot meet, has meant "no check" in other projects.
/// Here it is an error.
#[cfg(feature = "keysets")]
fn check_roots<H: Sha256>(keys: &[RootKey], rule: Rule) -> Result<(), TrustError> {
    let repeated = keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key));
    let holders = |kind| keys.iter().filter(|key| key.kind == kind).count();
    if keys.is_empty()
        || keys.len() > ROOTS_MAX
        || repeated
        || rule.is_none()
        || rule.check(holders).is_err()
    {
        return Err(TrustError::NoTrust);
    }
    refuse_test_keys::<H>(keys.iter().map(|key| &key.name))
}

/// Reads a keyset whose signatures hold, in place.
#[cfg(feature = "keysets")]
fn read_keyset<H: Sha256>(
    device: &Device<'_>,
    payload: &[u8],
    keyset: &mut Keyset,
) -> Result<(), TrustError> {
    keyset.read(payload).map_err(TrustError::Keyset)?;
    // A key of small order would accept signatures made without a key.
    let weak = |key: &crate::format::Key| {
        key.kind == KeyKind::Ed25519 && !ed25519::is_key(device.ed25519, &key.name)
    };
    if keyset.keys.iter().any(weak) {
        return Err(TrustError::Keyset(FormatError::Bounds(crate::format::Field::Key)));
    }
    refuse_test_keys::<H>(keyset.keys.iter().map(|key| &key.name))
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
    verify_by_roots::<H>(device, envelope, PayloadType::Keyset)?;
    let mut keyset = Keyset::BLANK;
    read_keyset::<H>(device, envelope.payload(), &mut keyset).map(|()| keyset)
}

#[cfg(feature = "keysets")]
fn verify_by_roots<H: Sha256>(
    device: &Device<'_>,
    envelope: &Envelope<'_>,
    expected: PayloadType,
) -> Result<(), TrustError> {
    let Trust::Roots { keys, rule } = device.trust else { return Err(TrustError::NoTrust) };
    check_roots::<H>(keys, rule)?;
    expect_payload(envelope.payload_type(), expected)?;
    let is_root = |kind, name: &KeyName| keys.contains(&RootKey { kind, name: *name });
    verify_envelope::<H>(device, envelope, KeyRole::Root, rule, is_root).map_err(|error| {
        match expected {
            PayloadType::LoaderRelease => TrustError::LoaderSignature(error),
            _ => TrustError::KeysetSignature(error),
        }
    })
}

/// Verifies a release of the boot loader: a manifest that the roots signed, whose only component
/// is a loader. No key of a keyset can sign one.
///
/// # Errors
/// [`TrustError`].
// Why: docs/DESIGN.md#why-loader-releases-have-their-own-type
#[cfg(feature = "keysets")]
pub fn verify_loader_release<H: Sha256>(
    device: &Device<'_>,
    envelope: &Envelope<'_>,
) -> Result<Verified<Manifest>, TrustError> {
    verify_by_roots::<H>(device, envelope, PayloadType::LoaderRelease)?;
    let mut verified = Verified {
        value: Manifest::BLANK,
        digest: envelope.header().digest,
        keyset_version: 0,
        authority: Authority::Roots,
    };
    head::read_manifest(device, envelope.payload(), &mut verified)?;
    // One loader, and nothing that a slot could hold. There is a first component: an empty list is
    // refused.
    let components = verified.components.as_slice();
    let first = components
        .first()
        .map_or((Role::Loader, Load::Late, 0), |one| (one.role, one.load, one.linked));
    if components.len() == 1 && first == (Role::Loader, Load::Late, 0) {
        Ok(verified)
    } else {
        Err(TrustError::LoaderContent { components: components.len() as u8, first })
    }
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
    expect_payload(envelope.payload_type(), PayloadType::Statement)?;
    // Parsed only to learn in which role it must be signed. It is believed only after that was
    // checked.
    let value = Statement::parse(envelope.payload()).map_err(TrustError::Statement)?;
    let role = value.kind.role().ok_or(TrustError::Statement(FormatError::Malformed))?;
    verify_under::<H>(device, keyset, envelope, role).map_err(TrustError::StatementSignature)?;
    if value.product != device.product {
        return Err(TrustError::WrongProduct);
    }
    Ok(Verified {
        digest: envelope.header().digest,
        keyset_version: keyset.version,
        authority: Authority::Statement,
        value,
    })
}

/// Checks the signatures of an envelope by keys of a keyset.
fn verify_under<H: Sha256>(
    device: &Device<'_>,
    keyset: &Keyset,
    envelope: &Envelope<'_>,
    role: KeyRole,
) -> Result<(), SignatureError> {
    let is_key = |kind, name: &KeyName| {
        let has = |key: &crate::format::Key| key.roles & role.bit() != 0;
        keyset.keys.iter().any(|key| has(key) && key.kind == kind && key.name == *name)
    };
    verify_envelope::<H>(device, envelope, role, keyset.rule(role), is_key)
}

/// Verifies an envelope that must hold `kind.0`, signed in the role `kind.1` under a keyset that
/// the roots signed. `parse` reads its payload only after that. This is for payloads that the core
/// itself does not read. The caller checks that the product, where the payload names one, is the
/// device's.
///
/// # Errors
/// [`TrustError::WrongPayload`], the error that `unsigned` makes of a [`SignatureError`], the error
/// of `parse`.
#[cfg(feature = "keysets")]
pub fn verify_payload<'e, H: Sha256, T, E: From<TrustError>>(
    device: &Device<'_>,
    keyset: &Keyset,
    kind: (PayloadType, KeyRole),
    envelope: &Envelope<'e>,
    unsigned: fn(SignatureError) -> E,
    parse: fn(&'e [u8]) -> Result<T, E>,
) -> Result<Verified<T>, E> {
    let (payload_type, role) = kind;
    expect_payload(envelope.payload_type(), payload_type)?;
    verify_under::<H>(device, keyset, envelope, role).map_err(unsigned)?;
    Ok(Verified {
        value: parse(envelope.payload())?,
        digest: envelope.header().digest,
        keyset_version: keyset.version,
        authority: Authority::Statement,
    })
}

/// Key ids of the keys that the test suite signs with. Their private keys are public: Ed25519 seeds
/// of SHA-256 of `stillboot test key 1` to `4`.
pub const TEST_KEY_IDS: [KeyId; 4] = [
    [0x47, 0xca, 0xc8, 0xe1, 0xfc, 0xe1, 0xe3, 0xd7],
    [0x8b, 0xad, 0x5a, 0x56, 0x25, 0xf3, 0xba, 0xe6],
    [0x44, 0xdb, 0x8a, 0x7f, 0xdc, 0x37, 0x8e, 0xa8],
    [0xcc, 0x49, 0x3a, 0x74, 0x6f, 0xcd, 0xad, 0x2a],
];

/// Refuses keys of the test suite in release builds. No configuration switches this off.
///
/// # Errors
/// [`TrustError::TestKey`].
pub fn refuse_test_keys<'k, H: Sha256>(
    mut keys: impl Iterator<Item = &'k [u8; 32]>,
) -> Result<(), TrustError> {
    if cfg!(debug_assertions) {
        return Ok(());
    }
    let any = keys.any(|key| TEST_KEY_IDS.contains(&key_id::<H>(key)));
    if any { Err(TrustError::TestKey) } else { Ok(()) }
}

fn expect_payload(found: PayloadType, expected: PayloadType) -> Result<(), TrustError> {
    if found == expected { Ok(()) } else { Err(TrustError::WrongPayload { expected, found }) }
}

/// Why a verified manifest is not for this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ClassError {
    /// The class differs.
    Class,
    /// The hardware revision is outside the manifest's range.
    Revision {
        /// This device's revision.
        device: u16,
        /// The oldest revision that fits.
        min: u16,
        /// The newest revision that fits.
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

impl core::error::Error for ClassError {}

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
