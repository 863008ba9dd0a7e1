//! Why an update is not installed.

use crate::device::DeviceError;
use crate::format::{Floor, Slot};
use crate::layout::LayoutError;
use crate::verify::{ClassError, TrustError};

/// How far above the floor a manifest's keyset version or level may be. A typing mistake must not
/// use up the numbers.
// Why: docs/DESIGN.md#why-floor-jump-limit
pub const FLOOR_JUMP_MAX: u32 = 1 << 16;

/// Why an update will not be accepted as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// Its head does not verify.
    Trust(TrustError),
    /// It is for another device.
    Class(ClassError),
    /// It is below the floor.
    BelowFloor {
        /// The floor that the update reaches.
        found: Floor,
        /// The floor that is required.
        floor: Floor,
    },
    /// It is so far above the floor that this must be a mistake.
    FloorJump {
        /// The floor that the update reaches.
        found: Floor,
        /// The floor of the device.
        floor: Floor,
    },
    /// It is not newer than the slot that runs, or, for recovery, than the one it would replace.
    NotNewer {
        /// Keyset version and sequence of the update.
        found: (u32, u64),
        /// Keyset version and sequence of the slot that runs, or would be replaced.
        running: (u32, u64),
    },
    /// The loader of this device reads only earlier formats.
    Loader {
        /// The highest version of the boot record that it reads.
        record_version: u16,
        /// The highest schema of a manifest that it reads.
        manifest_schema: u8,
    },
    /// It does not fit the device.
    Layout(LayoutError),
    /// The new system cannot use the data on the device.
    CannotReadData {
        /// The epoch of the data.
        epoch: u16,
        /// The oldest epoch the new system reads.
        reads_min: u16,
        /// The newest epoch the new system reads.
        reads_max: u16,
    },
    /// The new system writes data that the running one could not read after a rollback.
    FallbackCannotRead {
        /// The epoch that the new system writes.
        writes: u16,
        /// The newest epoch that the running system reads.
        reads_max: u16,
    },
    /// The host does not take it: [`Permission::Reject`](super::Permission::Reject).
    Policy,
    /// The proof of what runs does not match the boot record.
    Proof,
    /// The slot that runs no longer holds the manifest it was started with.
    RunningUnverified,
    /// The slot named as the target is the one that runs.
    TargetRuns,
    /// The device has no update slot but the one that runs.
    NoOtherSlot,
    /// Recovery is replaced only while a good slot runs.
    RecoveryNeedsGood,
    /// A later version of this software keeps the boot record.
    NewerRecord,
    /// A chunk does not match its digest, or an index its root.
    Content {
        /// The component's number.
        component: usize,
    },
    /// The stream ended before the bundle did.
    Ended,
    /// The stream goes on after the bundle.
    Trailing,
}

/// Why an update has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Wait {
    /// The host does not take it now: [`Permission::Defer`](super::Permission::Defer).
    Policy,
    /// The running system is itself on trial: its fallback must not be overwritten.
    Unconfirmed,
    /// Every slot that could be written is held.
    Held,
    /// The record calls this slot good, but that could not be verified. The slot may hold the only
    /// system that works, so it is overwritten only if it is named as the target.
    Unverified(Slot),
    /// The store of the floor failed.
    StoreFailed,
    /// The store cannot be raised to the floor of the update: it is full, locked or worn out. If
    /// the update were installed all the same, the floor could never refuse a downgrade to its
    /// predecessor.
    StoreFull,
    /// All copies of the boot record are lost, or were wiped on a device that has a system. The
    /// next boot makes a new record.
    RecordLost,
}

/// Why there is nothing to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Nothing {
    /// It runs already.
    Running,
    /// It stands ready to be tried already.
    Ready(Slot),
    /// No installation of this bundle was cut short.
    ToResume,
}

/// Why an installation did not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InstallError {
    /// It will not be accepted as it is.
    Refused(Refusal),
    /// It has to wait.
    Deferred(Wait),
    /// There is nothing to do.
    Nothing(Nothing),
    /// A device failed.
    Device(DeviceError),
    /// The boot record could not be written.
    Record(DeviceError),
    /// The stream failed.
    Source,
    /// The device does not return the bytes that were written.
    ReadBack,
    /// The machine was stepped with an event that does not answer its last action.
    Misused,
}

// Why: docs/DESIGN.md#why-errors-are-by-hand
impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Trust(error) => write!(f, "not trusted: {error}"),
            Self::Class(error) => error.fmt(f),
            Self::BelowFloor { found, floor } => write!(
                f,
                "keyset {} level {} is below the floor of this device, keyset {} level {}",
                found.keyset_version, found.level, floor.keyset_version, floor.level
            ),
            Self::FloorJump { found, floor } => write!(
                f,
                "keyset {} level {} is more than {FLOOR_JUMP_MAX} above the floor, keyset {} \
                 level {}",
                found.keyset_version, found.level, floor.keyset_version, floor.level
            ),
            Self::NotNewer { found, running } => write!(
                f,
                "keyset {} sequence {} is not newer than what the device has, keyset {} sequence {}",
                found.0, found.1, running.0, running.1
            ),
            Self::Loader { record_version, manifest_schema } => write!(
                f,
                "the loader reads boot records up to version {record_version} and manifests up to \
                 schema {manifest_schema}; update the loader first"
            ),
            Self::Layout(error) => error.fmt(f),
            Self::CannotReadData { epoch, reads_min, reads_max } => write!(
                f,
                "the data on this device is of epoch {epoch}, the update reads {reads_min} to \
                 {reads_max}"
            ),
            Self::FallbackCannotRead { writes, reads_max } => write!(
                f,
                "the update writes data of epoch {writes}, the running system reads up to \
                 {reads_max}: there would be no way back"
            ),
            Self::Policy => f.write_str("the policy of this device does not take the update"),
            Self::Proof => f.write_str(
                "the boot proof does not match the boot record: it is of another disk or boot",
            ),
            Self::RunningUnverified => f.write_str("the slot that runs does not verify any more"),
            Self::TargetRuns => f.write_str("that slot is the one that runs, or would boot"),
            Self::NoOtherSlot => f.write_str(
                "this device has no other update slot than the one that runs: a partition is \
                 missing, or there is only one",
            ),
            Self::RecoveryNeedsGood => {
                f.write_str("recovery is replaced only while a confirmed slot runs")
            }
            Self::NewerRecord => {
                f.write_str("a newer version of this software keeps the boot record")
            }
            Self::Content { component } => {
                write!(f, "the bytes of component {component} do not match the manifest")
            }
            Self::Ended => f.write_str("the bundle ends too early"),
            Self::Trailing => f.write_str("there are bytes after the end of the bundle"),
        }
    }
}

impl core::fmt::Display for Wait {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Policy => f.write_str("the policy of this device does not take the update now"),
            Self::Unconfirmed => f.write_str(
                "the running system is not confirmed yet, and the other slot is its fallback; \
                 mark it good first",
            ),
            Self::Held => f.write_str("every slot that could be written is held"),
            Self::Unverified(slot) => write!(
                f,
                "the boot record calls slot {slot} good, and its head cannot be read, is another \
                 one, or does not verify under these roots; if they are right, boot the device \
                 once, so that the loader looks at the slot, or name the slot to overwrite"
            ),
            Self::StoreFailed => f.write_str("the store of the security floor failed"),
            Self::StoreFull => f.write_str(
                "the store of the security floor cannot be raised to what this update reaches",
            ),
            Self::RecordLost => {
                f.write_str("the boot record is lost; the next boot makes a new one")
            }
        }
    }
}

impl core::fmt::Display for Nothing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Running => f.write_str("this version runs already"),
            Self::Ready(slot) => write!(f, "this version stands ready in slot {slot}"),
            Self::ToResume => f.write_str(
                "no installation of this bundle got far enough to be resumed; install it",
            ),
        }
    }
}

impl core::fmt::Display for InstallError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Deferred(wait) => write!(f, "deferred: {wait}"),
            Self::Nothing(nothing) => write!(f, "nothing to do: {nothing}"),
            Self::Device(error) => write!(f, "the slot cannot be written or read: {error}"),
            Self::Record(error) => write!(f, "the boot record cannot be written: {error}"),
            Self::Source => f.write_str("the source of the bundle failed"),
            Self::ReadBack => f.write_str(
                "the slot does not read back as it was installed: the medium is failing, or the \
                     source was wrong about what the slot held",
            ),
            Self::Misused => f.write_str("the install machine was stepped out of order"),
        }
    }
}

impl core::error::Error for Refusal {}

impl core::error::Error for Wait {}

impl core::error::Error for Nothing {}

impl core::error::Error for InstallError {}

impl From<Refusal> for InstallError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<LayoutError> for InstallError {
    fn from(error: LayoutError) -> Self {
        Self::Refused(Refusal::Layout(error))
    }
}

impl From<Wait> for InstallError {
    fn from(wait: Wait) -> Self {
        Self::Deferred(wait)
    }
}

impl From<Nothing> for InstallError {
    fn from(nothing: Nothing) -> Self {
        Self::Nothing(nothing)
    }
}
