//! Bytes to values and back.
//!
//! Every format has a `parse` and an `emit` that are inverses: bytes are accepted only if emitting
//! the value gives the same bytes again. No code here trusts, decides or reads a device. The byte
//! drawings are in `docs/FORMAT.md`. Tests compare the formats with fixed golden bytes.

mod codes;
pub mod envelope;
pub mod keyset;
pub mod kind;
pub mod log;
pub mod manifest;
pub mod mark;
pub mod names;
pub mod notes;
pub mod proof;
pub mod record;
pub mod statement;
mod wire;

pub use envelope::{Envelope, PayloadType, Signature};
pub use keyset::{Key, KeyRole, Keyset};
pub use kind::{KeyKind, KeyName, Rule};
pub use manifest::{
    Architecture, Channel, Component, Encryption, Epochs, Load, Manifest, Risk, Role,
};
pub use mark::{Mark, MarkKind};
pub use notes::Notes;
pub use proof::BootProof;
pub use record::{Failed, Fault, Hold, Record, SlotEntry, SlotState};
pub use statement::{Statement, StatementKind};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// A 16-byte identifier of a product or of a device class, compared whole.
pub type Id = [u8; 16];

/// How many slots one device may have, recovery included.
pub const SLOTS_MAX: usize = 4;

/// A place that holds one complete system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Slot {
    /// The first slot.
    A = 0,
    /// The second slot.
    B = 1,
    /// An optional third slot.
    C = 2,
    /// The optional slot of last resort, with keys and a floor of its own.
    Recovery = 3,
}

impl Slot {
    /// Every slot a device may have, in the order that breaks ties.
    pub const ALL: [Self; SLOTS_MAX] = [Self::A, Self::B, Self::C, Self::Recovery];

    /// Which rules of trust the slot is under.
    #[must_use]
    pub const fn kind(self) -> SlotKind {
        match self {
            Self::A | Self::B | Self::C => SlotKind::Update,
            Self::Recovery => SlotKind::Recovery,
        }
    }

    /// The slot as one bit, to note sets of slots in a byte.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The slot's name as people and the boot proof write it: `a`, `b`, `c` or `recovery`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::Recovery => "recovery",
        }
    }

    /// The inverse of [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name() == name)
    }
}

impl core::fmt::Display for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The two kinds of slots: they differ in who may sign for them and in their floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotKind {
    /// A, B, C: signed by `release`, tried before they are trusted.
    Update,
    /// Recovery: signed by `recovery`, started when no update slot starts.
    Recovery,
}

/// The security floor: no system below it may run. Compared by keyset version first, so that a new
/// keyset outranks any level that a stolen, now revoked key once signed.
// Why: docs/DESIGN.md#why-floor-is-a-pair
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Floor {
    /// Version of the keyset that vouches for the manifest; 0 in a build without keysets.
    pub keyset_version: u32,
    /// Security level of the manifest.
    pub level: u32,
}

wire::wire_struct!(Floor { keyset_version, level });

// By hand: as one number it is compared in three instructions.
impl Ord for Floor {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let number = |floor: &Self| u64::from(floor.keyset_version) << 32 | u64::from(floor.level);
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for Floor {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Why bytes are not a value of the format they were read as. The numbers are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
pub enum FormatError {
    /// The magic bytes are not those of this format.
    Magic = 1,
    /// The format version is not one this build reads.
    Version {
        /// The version that was found.
        found: u16,
    } = 2,
    /// The bytes end before the value does.
    Short = 3,
    /// Bytes follow the end of the value.
    Trailing = 4,
    /// The value can be written in a shorter or another way: not canonical.
    NotCanonical = 5,
    /// A length, count or number is outside its bounds.
    Bounds(Field) = 6,
    /// A code stands for nothing this build knows.
    Unknown {
        /// Where the code stands.
        field: Field,
        /// The code that was found.
        code: u32,
    } = 7,
    /// The same thing is there twice.
    Duplicate(Field) = 8,
    /// A checksum does not match.
    Checksum = 9,
    /// The body cannot be decoded.
    Malformed = 10,
    /// The payload is not the one that the envelope's digest names.
    Digest = 11,
    /// More signatures of one kind than an envelope may have.
    TooMany {
        /// The kind.
        kind: KeyKind,
    } = 12,
    /// The keys of a keyset cannot meet its rule of a role, or the rule is not canonical.
    Rule {
        /// The role.
        role: KeyRole,
        /// The rule.
        found: Rule,
    } = 13,
}

/// The field a [`FormatError`] speaks of. Numbers are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the name of the field it stands for")]
pub enum Field {
    PayloadType = 1,
    PayloadLen = 2,
    SignatureCount = 3,
    SignatureOrder = 4,
    Reserved = 5,
    KeyCount = 6,
    Key = 7,
    KeyRoles = 8,
    Threshold = 9,
    Revisions = 10,
    VersionText = 11,
    Sequence = 12,
    Level = 13,
    MinFrom = 14,
    Channel = 15,
    Risk = 16,
    Architecture = 17,
    Epochs = 18,
    Rollout = 19,
    Flags = 20,
    ChunkSize = 21,
    ComponentCount = 22,
    ComponentRole = 23,
    ComponentLoad = 24,
    ComponentLen = 25,
    ComponentSlot = 26,
    IndexLen = 27,
    Tries = 28,
    KeysetVersion = 29,
    BodyLen = 30,
    StatementKind = 31,
    Name = 32,
    StatementNumber = 33,
    SignatureKind = 34,
    SignatureLen = 35,
    KeyKind = 36,
    Encryption = 37,
    SlotState = 38,
    EntryKind = 39,
    Generation = 40,
    ForeignLoader = 41,
    NotesLen = 42,
}

impl core::fmt::Display for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::PayloadType => "type of payload",
            Self::PayloadLen => "length of the payload, 1 to 1024, of a channel index to 65536,",
            Self::SignatureCount => "number of signatures, 1 to 8,",
            Self::SignatureOrder => "order of signatures, by kind and name, each of them once,",
            Self::Reserved => "reserved field, 0,",
            Self::KeyCount => "number of keys, 1 to 8,",
            Self::Key => "key",
            Self::KeyRoles => {
                "set of roles of a key, at least one and not both release (0x01) and edge-release \
                 (0x04),"
            }
            Self::Threshold => {
                "rule of a role, thresholds of 1 to the number of its keys of that kind,"
            }
            Self::Revisions => "range of revisions, the lower one first,",
            Self::VersionText => "version, 1 to 32 letters, digits and .-+_~,",
            Self::Sequence => "sequence, below 18446744073709551615,",
            Self::Level => "level, below 4294967295,",
            Self::MinFrom => "least version, up to 32 letters, digits and .-+_~,",
            Self::Channel => "channel, each name up to 16 letters, digits and .-+_~,",
            Self::Risk => "risk",
            Self::Architecture => "architecture",
            Self::Epochs => "data epoch that is written, one of those that are read,",
            Self::Rollout => "rollout, 0 to 100,",
            Self::Flags => "set of flags",
            Self::ChunkSize => "chunk size, a power of two from 4096 to 1048576,",
            Self::ComponentCount => "number of components, 1 to 8,",
            Self::ComponentRole => "role of a component",
            Self::ComponentLoad => "load class of a component",
            Self::ComponentLen => "length of a component, 1 byte to 256 TiB,",
            Self::ComponentSlot => "slot of a component",
            Self::IndexLen => "number of all chunks, up to 16777216,",
            Self::Tries => "number of tries, 1 to 15,",
            Self::KeysetVersion => "keyset version, 1 to 4294967294,",
            Self::BodyLen => "length of the body, up to 1516,",
            Self::StatementKind => "kind of statement",
            Self::Name => "name",
            Self::StatementNumber => "number of a statement, 1 to 9007199254740991,",
            Self::SignatureKind => "kind of signature",
            Self::SignatureLen => {
                "length of the signatures, those of their kinds together, in an envelope of at most \
                 12288 bytes, of a channel index of 76800,"
            }
            Self::KeyKind => "kind of key",
            Self::Encryption => "encryption of a component",
            Self::SlotState => "state of a slot",
            Self::EntryKind => "kind of entry of the log",
            Self::Generation => "generation of a log block, 1 to 9223372036854775807,",
            Self::ForeignLoader => "kind of boot loader",
            Self::NotesLen => "length of the notes, up to 384,",
        })
    }
}

impl core::fmt::Display for FormatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("the magic bytes are wrong: this is another kind of data"),
            Self::Version { found } => {
                write!(f, "format version {found} is not one that this build reads")
            }
            Self::Short => f.write_str("the data ends too early"),
            Self::Trailing => f.write_str("there are bytes after the end"),
            Self::NotCanonical => f.write_str("the encoding is not the canonical one"),
            Self::Bounds(field) => write!(f, "the {field} is outside its bounds"),
            Self::Unknown { field: Field::KeyRoles, code } => {
                let bits = code & !u32::from(keyset::ROLES_KNOWN);
                write!(
                    f,
                    "the set of roles {code:#04x} of a key has bits that are unknown to this build: \
                     {bits:#04x}"
                )
            }
            Self::Unknown { field, code } => {
                write!(f, "the {field} {code} is unknown to this build")
            }
            Self::Duplicate(field) => write!(f, "the same {field} is there twice"),
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::Malformed => f.write_str("the data cannot be decoded"),
            Self::Digest => {
                f.write_str("the payload is not the one that the envelope's digest names")
            }
            Self::TooMany { kind } => write!(
                f,
                "too many signatures of {kind} (kind {}): expected at most {}, found {} or more",
                kind.code(),
                kind.count_max(),
                kind.count_max() + 1
            ),
            Self::Rule { role, found } => {
                match found.0 {
                    [0, 0, 0, 0] => write!(f, "the rule of {role} keys, none, ")?,
                    [one, first, 0, 0] => {
                        write!(f, "the rule of {role} keys, {first} of kind {one}, ")?;
                    }
                    [one, first, two, second] => write!(
                        f,
                        "the rule of {role} keys, {first} of kind {one} and {second} of kind {two}, "
                    )?,
                }
                f.write_str(
                    "does not fit the keys: expected a threshold for each kind of key that has \
                     the role, the lower kind first, each from 1 up to the number of those keys and \
                     to the most signatures of the kind in an envelope; none for a role without \
                     keys",
                )
            }
        }
    }
}

impl core::error::Error for FormatError {}

/// CRC-32 of IEEE 802.3. It finds accidents; it does not show who wrote the bytes.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    // Without a table: 1 KiB less code, and only short headers are summed.
    const CRC: crc::Crc<u32, crc::NoTable> =
        crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}

/// The little-endian number at `at`. Callers check lengths first; a miss reads as zero.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// As [`u16_at`], four bytes.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// As [`u16_at`], eight bytes.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
