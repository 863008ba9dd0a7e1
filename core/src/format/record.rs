//! The boot record: what is known about each slot, in several copies.
//!
//! ```text
//!  0  4  magic "SBRC"
//!  4  2  format version = 1
//!  6  2  body length m
//!  8  8  sequence, below 2^63
//! 16  m  body, postcard
//! ..  4  CRC-32 of everything before
//! ```
//!
//! [`record`](crate::record) decides which copy is authoritative. The record grants no trust: an
//! image runs only because it verified.

// Why: docs/DESIGN.md#why-record-grants-no-trust

use heapless::Vec;

use super::codes::code_enum;
use super::manifest::VersionText;
use super::wire::{Reader, Wire, Writer};
use super::{
    Digest, Epochs, Field, Floor, FormatError, SLOTS_MAX, Slot, SlotKind, crc32, u16_at, u32_at,
    u64_at, wire,
};

/// Magic bytes of a copy.
pub const MAGIC: [u8; 4] = *b"SBRC";
/// The format version that this build writes, and the highest it reads.
pub const VERSION: u16 = 1;
/// Bytes before the body.
pub const HEADER_LEN: usize = 16;
/// Longest copy in bytes, checksum included.
pub const LEN_MAX: usize = 1536;
/// Highest sequence of a copy. A write after it starts again at a low one (boot protocol step 3).
pub const SEQUENCE_MAX: u64 = (1 << 63) - 1;
/// Most updates whose failure is remembered.
pub const FAILED_MAX: usize = 8;
/// Longest notes in bytes.
pub const NOTES_LEN_MAX: usize = 384;
/// Most tries that a slot may be given.
pub const TRIES_MAX: u8 = 15;
/// Tries that a slot is given by default.
pub const TRIES_DEFAULT: u8 = 3;

code_enum! {
    /// Why a slot is bad, or an update has failed.
    pub enum Fault {
        /// What stands in the slot does not verify.
        Corrupt = 1, "corrupt";
        /// The running system, or a person, said so.
        MarkedBad = 2, "marked-bad";
        /// The image returned to the loader instead of running.
        Returned = 3, "returned";
        /// All tries were spent without proof of health.
        Exhausted = 4, "exhausted";
        /// The data on the device has moved on to an epoch it cannot read.
        DataEpoch = 5, "data-epoch";
        /// An update that was installed later is confirmed, or it was called off.
        Superseded = 6, "superseded";
        /// It could not be read when the record was rebuilt: what it holds is not known.
        Unreadable = 7, "unreadable";
    }
}

/// How far a slot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotState {
    /// Nothing was ever installed.
    #[default]
    Empty,
    /// An installation is under way, or was cut short.
    Writing,
    /// Complete, and not yet tried.
    Ready {
        /// How often it may be tried, 1..=15.
        tries: u8,
    },
    /// Being tried.
    Trying {
        /// How often it may still be tried after the attempt under way.
        left: u8,
        /// The number of the attempt under way, from 1; 0 before the first.
        attempt: u8,
        /// Ties the boot proof to this very attempt.
        nonce: u64,
    },
    /// Confirmed.
    Good,
    /// Not to be started, unless nothing else is left.
    Bad {
        /// Why.
        fault: Fault,
    },
}

impl core::fmt::Display for SlotState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Writing => f.write_str("writing: an install is under way or was cut short"),
            Self::Ready { tries } => write!(f, "ready, tries left: {tries}"),
            Self::Trying { left, attempt, .. } => {
                write!(f, "on trial, attempt {attempt}, tries left: {left}")
            }
            Self::Good => f.write_str("good"),
            Self::Bad { fault: Fault::Superseded } => {
                f.write_str("called off: may be installed again")
            }
            Self::Bad { fault } => write!(f, "bad: {fault}"),
        }
    }
}

/// What the record says of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SlotEntry {
    /// How far it has come. Applies only while the slot holds the manifest that `digest` names.
    pub state: SlotState,
    /// A good slot that a watchdog had to end: the other good one goes first.
    pub suspect: bool,
    /// Not to be replaced by an update.
    pub held: bool,
    /// The higher goes first among slots in the same state.
    pub priority: u8,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The floor that the manifest reaches. It shows whether the floor of the device can rise,
    /// without a read of the slot.
    pub floor: Floor,
    /// The manifest's data epochs.
    pub epochs: Epochs,
    /// The manifest's version text, for people.
    pub version: VersionText,
}

/// An update that failed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Failed {
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// How it failed the last time.
    pub fault: Fault,
    /// How often it failed, at least 1; stays at 255.
    pub count: u8,
    /// Unix time in seconds of the last failure as far as a clock was at hand; 0 if none was.
    pub at: u64,
}

/// A request of the operator to install nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Hold {
    /// Unix time in seconds until which it lasts; 0 for no hold, [`u64::MAX`] for one without end.
    pub until: u64,
    /// Unix time in seconds since which it lasts.
    pub since: u64,
}

/// The boot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts up with each write; the higher copy is the newer one. Below 2^63.
    pub sequence: u64,
    /// What the record holds.
    pub body: Body,
}

/// What the boot record holds, apart from its sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Body {
    /// One entry per slot, by slot number.
    pub slots: [SlotEntry; SLOTS_MAX],
    /// The floor of A, B and C.
    pub floor: Floor,
    /// The floor of recovery.
    pub recovery_floor: Floor,
    /// The epoch of the data on the device.
    pub data_epoch: u16,
    /// Updates that failed here, the oldest first.
    pub failed: Vec<Failed, FAILED_MAX>,
    /// The operator's hold on updates.
    pub hold: Hold,
    /// What only tools read: [`Notes`](super::Notes). Loaders carry the bytes.
    pub notes: Vec<u8, NOTES_LEN_MAX>,
}

wire::wire_struct!(SlotEntry { state, suspect, held, priority, digest, floor, epochs, version });
wire::wire_struct!(Failed { digest, fault, count, at });
wire::wire_struct!(Hold { until, since });
wire::wire_struct!(Body { slots, floor, recovery_floor, data_epoch, failed, hold, notes });

impl Wire for SlotState {
    const BLANK: Self = Self::Empty;

    fn take(&mut self, reader: &mut Reader<'_>) {
        *self = match reader.byte() {
            0 => Self::Empty,
            1 => Self::Writing,
            2 => Self::Ready { tries: reader.byte() },
            3 => Self::Trying {
                left: reader.byte(),
                attempt: reader.byte(),
                nonce: reader.number(64),
            },
            4 => Self::Good,
            5 => Self::Bad { fault: Fault::from_code(reader.byte()) },
            code => {
                let code = code.into();
                reader.fail(FormatError::Unknown { field: Field::SlotState, code });
                Self::Empty
            }
        };
    }

    fn put(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Empty => writer.byte(0),
            Self::Writing => writer.byte(1),
            Self::Ready { tries } => {
                writer.byte(2);
                writer.byte(*tries);
            }
            Self::Trying { left, attempt, nonce } => {
                writer.byte(3);
                writer.byte(*left);
                writer.byte(*attempt);
                nonce.put(writer);
            }
            Self::Good => writer.byte(4),
            Self::Bad { fault } => {
                writer.byte(5);
                fault.put(writer);
            }
        }
    }
}

impl Wire for [SlotEntry; SLOTS_MAX] {
    const BLANK: Self = [SlotEntry::BLANK; SLOTS_MAX];

    fn take(&mut self, reader: &mut Reader<'_>) {
        for entry in self {
            entry.take(reader);
        }
    }

    fn put(&self, writer: &mut Writer<'_>) {
        for entry in self {
            entry.put(writer);
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::BLANK
    }
}

impl Default for Record {
    fn default() -> Self {
        Self { sequence: 0, body: Body::BLANK }
    }
}

impl Body {
    /// The entry of `slot`.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> &SlotEntry {
        &self.slots[slot as usize]
    }

    /// The entry of `slot`, to be changed.
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotEntry {
        &mut self.slots[slot as usize]
    }

    /// The floor of slots of `kind`.
    #[must_use]
    pub const fn floor_of(&self, kind: SlotKind) -> Floor {
        match kind {
            SlotKind::Update => self.floor,
            SlotKind::Recovery => self.recovery_floor,
        }
    }

    /// The floor of slots of `kind`, to be changed.
    pub const fn floor_of_mut(&mut self, kind: SlotKind) -> &mut Floor {
        match kind {
            SlotKind::Update => &mut self.floor,
            SlotKind::Recovery => &mut self.recovery_floor,
        }
    }

    fn check(&self) -> Result<(), FormatError> {
        for entry in &self.slots {
            match entry.state {
                SlotState::Ready { tries } if tries == 0 || tries > TRIES_MAX => {
                    return Err(FormatError::Bounds(Field::Tries));
                }
                SlotState::Trying { left, .. } if left > TRIES_MAX => {
                    return Err(FormatError::Bounds(Field::Tries));
                }
                SlotState::Empty
                | SlotState::Writing
                | SlotState::Ready { .. }
                | SlotState::Trying { .. }
                | SlotState::Good
                | SlotState::Bad { .. } => {}
            }
        }
        Ok(())
    }
}

impl Record {
    /// Reads one copy at the start of `bytes`; what follows it is padding.
    ///
    /// # Errors
    /// [`FormatError::Version`] only when the copy is sound but of another format version; every
    /// other error means that this is no valid copy.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut record = Self::default();
        record.read(bytes).map(|()| record)
    }

    /// Makes it the default again, in place.
    #[inline(never)]
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// As [`parse`](Self::parse), in place. After an error the value is no record.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let header = bytes.get(..HEADER_LEN).ok_or(FormatError::Short)?;
        if header[0..4] != MAGIC {
            return Err(FormatError::Magic);
        }
        let body_len = usize::from(u16_at(header, 6));
        let end = HEADER_LEN + body_len;
        if end + 4 > LEN_MAX {
            return Err(FormatError::Bounds(Field::BodyLen));
        }
        if bytes.len() < end + 4 {
            return Err(FormatError::Short);
        }
        if u32_at(bytes, end) != crc32(&bytes[..end]) {
            return Err(FormatError::Checksum);
        }
        let version = u16_at(header, 4);
        if version != VERSION {
            return Err(FormatError::Version { found: version });
        }
        let sequence = u64_at(header, 8);
        // Why: docs/DESIGN.md#why-sequence-limit
        // Half the range, so that adding one never overflows.
        if sequence > SEQUENCE_MAX {
            return Err(FormatError::Bounds(Field::Sequence));
        }
        self.sequence = sequence;
        wire::parse(&bytes[HEADER_LEN..end], &mut self.body)?;
        self.body.check()
    }

    /// Its length in bytes.
    #[cfg(feature = "log")]
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + wire::len(&self.body) + 4
    }

    /// Writes the record at the start of `into` and returns its length.
    ///
    /// # Errors
    /// [`FormatError`] when a rule is broken or `into` is shorter than the record.
    pub fn emit(&self, into: &mut [u8]) -> Result<usize, FormatError> {
        self.body.check()?;
        if self.sequence > SEQUENCE_MAX {
            return Err(FormatError::Bounds(Field::Sequence));
        }
        let body_len =
            wire::emit(&self.body, into.get_mut(HEADER_LEN..).ok_or(FormatError::Short)?)?;
        let end = HEADER_LEN + body_len;
        if end + 4 > LEN_MAX.min(into.len()) {
            return Err(FormatError::Short);
        }
        into[0..4].copy_from_slice(&MAGIC);
        into[4..6].copy_from_slice(&VERSION.to_le_bytes());
        into[6..8].copy_from_slice(&(body_len as u16).to_le_bytes());
        into[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32(&into[..end]);
        into[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        Ok(end + 4)
    }
}
