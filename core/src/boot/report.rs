//! What a power-on found, and the reason for each decision.

use core::num::NonZeroUsize;

use heapless::Vec;

use crate::device::DeviceError;
use crate::format::{Floor, Role, SLOTS_MAX};
use crate::layout::LayoutError;
use crate::record::RecordStatus;
use crate::select::Candidate;
use crate::verify::{ClassError, TrustError};

/// Why a candidate was not started, or that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reason {
    /// It was started.
    Started,
    /// A device failed. Nothing is recorded, because the read may succeed at the next power-on.
    Device(DeviceError),
    /// Two reads of the same bytes differed.
    Unstable,
    /// Its head does not verify.
    Trust(TrustError),
    /// It is for another device.
    Class(ClassError),
    /// It is below the floor that the store keeps.
    BelowStoreFloor {
        /// The floor of this candidate.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// It is below the floor that the record keeps.
    BelowRecordFloor {
        /// The floor of this candidate.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// The slot holds another manifest than the record says, so its recorded state does not apply.
    OtherManifest,
    /// A component's bytes do not match the manifest.
    Corrupt {
        /// The component's role.
        role: Role,
    },
    /// There was not enough memory.
    NoMemory,
    /// The try could not be counted, so the slot was not started.
    NotCounted(DeviceError),
    /// A later version of this software keeps the record. The record is not written, so there is no
    /// trial.
    NewerRecord,
    /// The store failed, so no slot is started that is not confirmed.
    StoreFailed,
    /// The image returned instead of running.
    Returned,
    /// The machine could not start the image.
    NotStarted,
    /// The manifest does not fit the layout.
    Layout(LayoutError),
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Started => f.write_str("started"),
            Self::Device(error) => write!(f, "skipped this time: {error}"),
            Self::Unstable => f.write_str("skipped this time: two reads of it differed"),
            Self::Trust(error) => write!(f, "not trusted: {error}"),
            Self::Class(error) => write!(f, "refused: {error}"),
            Self::BelowStoreFloor { found, floor } | Self::BelowRecordFloor { found, floor } => {
                write!(
                    f,
                    "refused: keyset {} level {} is below the floor, keyset {} level {}",
                    found.keyset_version, found.level, floor.keyset_version, floor.level
                )
            }
            Self::OtherManifest => {
                f.write_str("holds another manifest than the record says: kept for last")
            }
            Self::Corrupt { role } => write!(f, "corrupt: the {role} does not match the manifest"),
            Self::NoMemory => f.write_str("skipped this time: not enough memory"),
            Self::NotCounted(error) => {
                write!(f, "not tried, for the try could not be counted: {error}")
            }
            Self::NewerRecord => {
                f.write_str("not tried: a newer version of this software keeps the boot record")
            }
            Self::StoreFailed => f.write_str("not tried: the store of the floor failed"),
            Self::Returned => f.write_str("its image returned instead of running"),
            Self::NotStarted => f.write_str("skipped this time: the machine could not start it"),
            Self::Layout(error) => write!(f, "refused: {error}"),
        }
    }
}

impl core::error::Error for Reason {}

/// One line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Line {
    /// The candidate.
    pub candidate: Candidate,
    /// What happened to the candidate.
    pub reason: Reason,
}

/// What a power-on found, and the reason for each decision.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How the record was found.
    pub record: RecordStatus,
    /// Every candidate that was looked at, in order.
    pub lines: Vec<Line, { 3 * SLOTS_MAX }>,
    /// A recorded floor that nothing on the device reaches was ignored.
    pub floor_ignored: bool,
    /// The store of the floor failed.
    pub store_failed: bool,
    /// Nothing was looked at, because the caller's buffer is too short: it needs this many bytes.
    pub buffer_needed: Option<NonZeroUsize>,
    /// The record should have been written before hand-over and could not be.
    pub record_write_failed: Option<DeviceError>,
}

impl Line {
    /// A line of a report.
    #[must_use]
    pub const fn new(candidate: Candidate, reason: Reason) -> Self {
        Self { candidate, reason }
    }
}

impl Report {
    /// A report of a power-on that has not looked at anything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            record: RecordStatus::Factory,
            lines: Vec::new(),
            floor_ignored: false,
            store_failed: false,
            buffer_needed: None,
            record_write_failed: None,
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}
