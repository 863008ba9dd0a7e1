//! `latest.json` as KubeSolo OS publishes it: one version, its kernel and its initramfs by URL and
//! SHA-256, read so that nothing unsigned is ever believed.
//!
//! ```text
//! {
//!   "version": "v1.4.0",
//!   "vmlinuz_url": "https://example.org/vmlinuz",      "vmlinuz_sha256": "64 hex digits",
//!   "initramfs_url": "https://example.org/initramfs",  "initramfs_sha256": "64 hex digits"
//! }
//! ```
//!
//! Optional, empty where they are missing: `vmlinuz_sig_url`, `initramfs_sig_url`,
//! `metadata_sig_url`, `release_notes`, `release_date`, `channel`, `min_compatible_version`,
//! `architecture`. All values are texts.
//!
//! What the agent that this format comes from leaves open is closed here: the detached signature
//! over the exact bytes comes first and is mandatory, so are both digests and URLs; nothing stands
//! there twice or unknown; lengths have limits; escapes, control characters, other than ASCII and
//! trailing data are refused. A release is not installed from this document: it is packed again as
//! a bundle, whose manifest binds version, files, channel and architecture into one signature.
//!
//! **Versions.** An optional leading `v` is dropped; the rest of `version` is a full semantic
//! version and is compared as such from then on. Only for `min_compatible_version` the rule of that
//! format holds, that pre-releases do not count: a least version of `1.2.0` admits `1.2.0-rc1`. In a
//! manifest that is `1.2.0-0`, the lowest version with these three numbers.

use core::cell::Cell;
use core::fmt::{self, Write as _};

use ed25519_compact::{PublicKey, Signature, VerifyingState};
use heapless::String;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::{Layout, TextFault, check_text, from_hex, is_url};
use crate::version::{Version, VersionError, compatible_numbers};
use stillboot::format::manifest::{VersionText, is_label};
use stillboot::format::{Architecture, Digest, Risk};
use stillboot::verify::{Sha256, SignatureFault, refuse_test_keys, verify_signature};

/// Longest document, in bytes.
pub const DOCUMENT_LEN_MAX: usize = 8 << 10;
/// Longest URL, in bytes.
pub const URL_LEN_MAX: usize = 512;

/// A field of the document.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    /// Longest value, in bytes.
    max: usize,
    mandatory: bool,
}

const fn field(name: &'static str, max: usize, mandatory: bool) -> Field {
    Field { name, max, mandatory }
}

const VERSION: usize = 0;
const KERNEL: usize = 1;
const INITRAMFS: usize = 4;
const CHANNEL: usize = 7;
const MIN_COMPATIBLE: usize = 8;
const ARCHITECTURE: usize = 9;
const DATE: usize = 10;
const NOTES: usize = 11;

/// Every field there is. A file's URL, digest and signature URL stand one after the other.
const FIELDS: [Field; 13] = [
    field("version", 33, true),
    field("vmlinuz_url", URL_LEN_MAX, true),
    field("vmlinuz_sha256", 64, true),
    field("vmlinuz_sig_url", URL_LEN_MAX, false),
    field("initramfs_url", URL_LEN_MAX, true),
    field("initramfs_sha256", 64, true),
    field("initramfs_sig_url", URL_LEN_MAX, false),
    field("channel", 16, false),
    field("min_compatible_version", 33, false),
    field("architecture", 16, false),
    field("release_date", 40, false),
    field("release_notes", 4096, false),
    // Declared by the format. The signature is there before the document is read, so nothing here
    // needs to be told where to find it.
    field("metadata_sig_url", URL_LEN_MAX, false),
];

/// What an unknown field is called, as far as it is shown.
pub type FieldName = String<32>;

/// Why a release is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LatestError {
    /// The key is not 64 hexadecimal digits.
    KeyForm {
        /// How many bytes were found.
        found: usize,
    },
    /// The key is no usable Ed25519 key: not on the curve, or of small order.
    WeakKey,
    /// A key of the test suite, whose private key is public, in a release build.
    TestKey,
    /// The signature is neither 64 bytes nor 128 hexadecimal digits. A missing one has 0 bytes.
    SignatureForm {
        /// How many bytes were found.
        found: usize,
    },
    /// The signature is not one of this key over these bytes.
    Signature,
    /// It is not the plain text that all readers read alike.
    Text(TextFault),
    /// It is not one JSON object of texts.
    Syntax,
    /// Something follows the object.
    Trailing,
    /// A field is not one of the format's.
    Unknown(FieldName),
    /// A field is there twice.
    Twice(&'static str),
    /// A mandatory field is missing or empty.
    Missing(&'static str),
    /// A field is longer than it may be.
    TooLong {
        /// The field.
        field: &'static str,
        /// The most, in bytes.
        max: usize,
        /// What was found, in bytes.
        found: usize,
    },
    /// A digest is not 64 hexadecimal digits.
    Hash(&'static str),
    /// A URL is not `https://` or `http://` and what may follow that.
    Url(&'static str),
    /// A version is none.
    Version {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        error: VersionError,
    },
    /// The channel's name is no label.
    Channel,
    /// The architecture is not one that this build knows.
    Architecture,
}

impl fmt::Display for LatestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyForm { found } => {
                write!(
                    f,
                    "expected a key of 64 hexadecimal digits, found {found} bytes that are none"
                )
            }
            Self::WeakKey => f.write_str("the key is not a usable Ed25519 key"),
            Self::TestKey => f.write_str(
                "the key is one of the test suite, which everybody has; release builds refuse it",
            ),
            Self::SignatureForm { found } => write!(
                f,
                "expected a signature of 64 bytes or 128 hexadecimal digits, found {found} bytes \
                 that are none"
            ),
            Self::Signature => f.write_str("the signature is not one of this key over these bytes"),
            Self::Text(fault) => fault.fmt(f),
            Self::Syntax => f.write_str("expected one JSON object whose values are all texts"),
            Self::Trailing => f.write_str("expected the end after the object, found more"),
            Self::Unknown(name) => write!(f, "the format has no field `{name}`"),
            Self::Twice(field) => write!(f, "`{field}` is there twice"),
            Self::Missing(field) => write!(f, "`{field}` is missing or empty"),
            Self::TooLong { field, max, found } => {
                write!(f, "`{field}`: expected at most {max} bytes, found {found}")
            }
            Self::Hash(field) => write!(f, "`{field}`: expected 64 hexadecimal digits"),
            Self::Url(field) => {
                write!(f, "`{field}`: expected a URL that starts with https:// or http://")
            }
            Self::Version { field, error } => write!(
                f,
                "`{field}`: expected a semantic version such as v1.2.3, found another thing at \
                 byte {}",
                error.at
            ),
            Self::Channel => f.write_str("`channel`: expected letters, digits and .-+_~ only"),
            Self::Architecture => f.write_str(
                "`architecture`: expected amd64, arm64, arm or riscv64, or nothing for any",
            ),
        }
    }
}

impl core::error::Error for LatestError {}

/// A file of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File<'a> {
    /// Where it is.
    pub url: &'a str,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
    /// Where its signature is; empty where it has none of its own.
    pub signature_url: &'a str,
}

/// A release whose document was signed. There is no other way to hold one than
/// [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub struct Latest<'a> {
    key: [u8; 32],
    version: VersionText,
    kernel: File<'a>,
    initramfs: File<'a>,
    min_from: VersionText,
    architecture: Architecture,
    values: [&'a str; FIELDS.len()],
}

impl<'a> Latest<'a> {
    /// Verifies `signature` over `document`, then reads the document.
    ///
    /// `signature` is that of the format: 64 bytes, or 128 hexadecimal digits and perhaps a newline.
    ///
    /// # Errors
    /// [`LatestError`].
    pub fn verify<H: Sha256>(
        document: &'a [u8],
        signature: &[u8],
        key: &[u8; 32],
    ) -> Result<Self, LatestError> {
        // The length alone decides nothing, but hashing without a limit would.
        if document.len() > DOCUMENT_LEN_MAX {
            let found = document.len();
            return Err(LatestError::Text(TextFault::TooLong { max: DOCUMENT_LEN_MAX, found }));
        }
        refuse_test_keys::<H>(core::iter::once(key)).map_err(|_| LatestError::TestKey)?;
        let signature = signature_from(signature)?;
        verify_signature(key, &[document], &signature).map_err(|fault| match fault {
            SignatureFault::WeakKey => LatestError::WeakKey,
            SignatureFault::Wrong => LatestError::Signature,
        })?;
        Self::parse(document, *key)
    }

    /// Reads a document whose signature was verified.
    fn parse(document: &'a [u8], key: [u8; 32]) -> Result<Self, LatestError> {
        check_text(document, DOCUMENT_LEN_MAX, Layout::Lines).map_err(LatestError::Text)?;
        let values = fields(document)?;
        let version = values[VERSION].strip_prefix('v').unwrap_or(values[VERSION]);
        Version::parse(version).map_err(|error| version_error(VERSION, error))?;
        let mut min_from = VersionText::new();
        if !values[MIN_COMPATIBLE].is_empty() {
            let [major, minor, patch] = compatible_numbers(values[MIN_COMPATIBLE])
                .map_err(|error| version_error(MIN_COMPATIBLE, error))?;
            // Pre-releases do not count in that format: the lowest of them stands for all.
            write!(min_from, "{major}.{minor}.{patch}-0")
                .map_err(|_| too_long(MIN_COMPATIBLE, values[MIN_COMPATIBLE]))?;
        }
        if !is_label(values[CHANNEL]) {
            return Err(LatestError::Channel);
        }
        let file = |at: usize| {
            let name = FIELDS[at + 1].name;
            let sha256 = from_hex(values[at + 1].as_bytes()).ok_or(LatestError::Hash(name))?;
            Ok(File { url: values[at], sha256, signature_url: values[at + 2] })
        };
        Ok(Self {
            key,
            version: VersionText::try_from(version)
                .map_err(|_| too_long(VERSION, values[VERSION]))?,
            kernel: file(KERNEL)?,
            initramfs: file(INITRAMFS)?,
            min_from,
            architecture: architecture(values[ARCHITECTURE])?,
            values,
        })
    }

    /// The version, without a leading `v`: a semantic version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kernel.
    #[must_use]
    pub const fn kernel(&self) -> &File<'a> {
        &self.kernel
    }

    /// The initramfs.
    #[must_use]
    pub const fn initramfs(&self) -> &File<'a> {
        &self.initramfs
    }

    /// The oldest version that may be updated directly, as a manifest writes it; empty for any.
    #[must_use]
    pub fn min_from(&self) -> &str {
        &self.min_from
    }

    /// What it runs on.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The channel's name; empty where there is none.
    #[must_use]
    pub const fn channel(&self) -> &'a str {
        self.values[CHANNEL]
    }

    /// The risk that the channel's name stands for: `stable` where there is none, which is for
    /// everybody; `None` for a name of the publisher's own.
    #[must_use]
    pub fn risk(&self) -> Option<Risk> {
        match self.channel() {
            "" => Some(Risk::Stable),
            name => Risk::from_name(name),
        }
    }

    /// When it was released, for people.
    #[must_use]
    pub const fn release_date(&self) -> &'a str {
        self.values[DATE]
    }

    /// What is new, for people.
    #[must_use]
    pub const fn release_notes(&self) -> &'a str {
        self.values[NOTES]
    }

    /// Begins to check the detached signature of one of the release's files, by the same key.
    ///
    /// # Errors
    /// [`LatestError`] for a signature that can be none.
    pub fn file_check(&self, signature: &[u8]) -> Result<FileCheck, LatestError> {
        let signature = Signature::new(signature_from(signature)?);
        PublicKey::new(self.key)
            .verify_incremental(&signature)
            .map(FileCheck)
            .map_err(|_| LatestError::Signature)
    }
}

/// The check of a file's signature: pass in all of its bytes.
pub struct FileCheck(VerifyingState);

impl FileCheck {
    /// Takes more of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.absorb(bytes);
    }

    /// Whether all of it was signed.
    ///
    /// # Errors
    /// [`LatestError::Signature`].
    pub fn finish(self) -> Result<(), LatestError> {
        self.0.verify().map_err(|_| LatestError::Signature)
    }
}

/// The key in the format's form: 64 hexadecimal digits, perhaps a newline.
///
/// # Errors
/// [`LatestError::KeyForm`].
pub fn key_from_hex(text: &[u8]) -> Result<[u8; 32], LatestError> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    from_hex(digits).ok_or(LatestError::KeyForm { found: text.len() })
}

fn signature_from(bytes: &[u8]) -> Result<[u8; 64], LatestError> {
    // 64 bytes are a signature as they are, even if the last one happens to be a newline.
    if let Ok(raw) = bytes.try_into() {
        return Ok(raw);
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    from_hex(digits).ok_or(LatestError::SignatureForm { found: bytes.len() })
}

/// The values of all fields, empty where they are missing.
fn fields(document: &[u8]) -> Result<[&str; FIELDS.len()], LatestError> {
    // No publisher writes white space around the object; one newline at the end is usual.
    if document.first() != Some(&b'{') {
        return Err(LatestError::Syntax);
    }
    let object = document.strip_suffix(b"\n").unwrap_or(document);
    let fault = Cell::new(None);
    let mut reader = serde_json_core::de::Deserializer::new(object, None);
    let values = Fields { fault: &fault }
        .deserialize(&mut reader)
        .map_err(|_| fault.take().unwrap_or(LatestError::Syntax))?;
    if object.last() != Some(&b'}') || reader.end().is_err() {
        return Err(LatestError::Trailing);
    }
    for (field, value) in FIELDS.iter().zip(values) {
        if field.mandatory && value.is_empty() {
            return Err(LatestError::Missing(field.name));
        }
    }
    for at in [KERNEL, INITRAMFS] {
        for at in [at, at + 2] {
            url(FIELDS[at].name, values[at])?;
        }
    }
    url("metadata_sig_url", values[FIELDS.len() - 1])?;
    Ok(values)
}

/// Reads the object, and notes why if that fails: the parser's own errors have no room for it.
struct Fields<'f> {
    fault: &'f Cell<Option<LatestError>>,
}

impl Fields<'_> {
    fn fail<E: serde::de::Error>(&self, fault: LatestError) -> E {
        self.fault.set(Some(fault));
        E::custom("see the fault")
    }
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = [&'de str; FIELDS.len()];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = [&'de str; FIELDS.len()];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; FIELDS.len()];
        // Ends at the first field that is there twice, so after 13 turns at the latest.
        while let Some(name) = map.next_key::<&str>()? {
            // Before its value is read: the value of an unknown field is ignored.
            let Some(at) = FIELDS.iter().position(|field| field.name == name) else {
                // Cut where it is longer: that it is unknown is what matters.
                let shown = name.chars().take(FieldName::new().capacity()).collect();
                return Err(self.fail(LatestError::Unknown(shown)));
            };
            let field = FIELDS[at];
            if values[at].is_some() {
                return Err(self.fail(LatestError::Twice(field.name)));
            }
            let value: &str = map.next_value()?;
            if value.len() > field.max {
                return Err(self.fail(too_long(at, value)));
            }
            values[at] = Some(value);
        }
        Ok(values.map(Option::unwrap_or_default))
    }
}

fn too_long(at: usize, value: &str) -> LatestError {
    LatestError::TooLong { field: FIELDS[at].name, max: FIELDS[at].max, found: value.len() }
}

fn version_error(at: usize, error: VersionError) -> LatestError {
    LatestError::Version { field: FIELDS[at].name, error }
}

fn url(field: &'static str, text: &str) -> Result<(), LatestError> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && is_url(rest) => Ok(()),
        None if text.is_empty() => Ok(()),
        _ => Err(LatestError::Url(field)),
    }
}

/// Go's names of architectures, which the format uses.
fn architecture(name: &str) -> Result<Architecture, LatestError> {
    match name {
        "" => Ok(Architecture::Any),
        "amd64" => Ok(Architecture::X86_64),
        "arm64" => Ok(Architecture::Aarch64),
        "arm" => Ok(Architecture::Armv7),
        "riscv64" => Ok(Architecture::Riscv64),
        _ => Err(LatestError::Architecture),
    }
}
