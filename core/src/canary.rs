//! Known bugs, switched on one at a time, to see that the simulator catches each of them.
//!
//! A check is known to work only if it has failed once. With `--cfg stillboot_canary` one of the
//! bugs below can be chosen at run time. In every other build [`Canary::is_on`] is the constant
//! `false`, and no code of this module is left. It is a `cfg` and not a feature, because features
//! are united over a whole build: no dependency may be able to switch a bug on.

#[cfg(all(stillboot_canary, not(debug_assertions)))]
compile_error!(
    "stillboot_canary switches known bugs on: expected a build with debug assertions, for tests \
     only; remove --cfg stillboot_canary from RUSTFLAGS"
);

#[cfg(stillboot_canary)]
use core::sync::atomic::{AtomicU8, Ordering};

/// A bug that this or another project once had, or could have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// The try is counted after the start, so a start that crashes is never counted.
    CountsAfterStart = 1,
    /// The switch is written before the content it switches to.
    HeaderFirst,
    /// The content may still be in a cache when the switch is durable.
    NoFlushBeforeSwitch,
    /// The authoritative copy of the record is the one that is overwritten.
    SingleRecordCopy,
    /// The floor rises before it is known whether the update runs.
    FloorAtInstall,
    /// A slot in an unknown state is started like a good one.
    UnknownStateBoots,
    /// The bytes on the device are not compared with the bytes that were written.
    NoReadBack,
    /// Good slots use up tries as well.
    CountsGoodSlots,
    /// A slot that could not be read once is bad for good.
    ReadErrorIsBad,
    /// The recorded state of one manifest is applied to another manifest in the same slot.
    StateOfAnother,
    /// The marks of the old content of a slot stay while it is overwritten.
    MarksKept,
    /// An installation that goes on after a power cut destroys the marks of the running slot.
    MarksOfRunning,
    /// The floor in the record never rises.
    FloorStays,
    /// A slot whose head cannot be read ends the power-on.
    ReadErrorStops,
    /// A slot that does not verify on last resort stays good in the record, and no update replaces
    /// it.
    LastResortNotesNothing,
    /// After a loss of the record, a slot that cannot be read keeps it from being rebuilt.
    UnreadEndsUpdates,
    /// An installation obeys a recorded floor that nothing on the device reaches.
    FloorLocksOut,
    /// The sequence of the record stays at the highest: with equal ones an old copy wins.
    SequenceSaturates,
    /// An installation obeys a recorded data epoch that nothing on the device reads.
    EpochLocksOut,
    /// When one place of the record cannot be read, the only copy is overwritten.
    WritesOnlyCopy,
    /// Of several suspects, and of several exhausted slots, the same one starts every time.
    SameOneForEver,
    /// A record of a later format cannot be discarded.
    NewerForEver,
    /// An older recovery system replaces a newer one.
    RecoveryDowngrade,
    /// A slot that could not be read once is held, also when the device reads it again.
    ReadErrorHolds,
    /// A device whose record was wiped counts as a new one, so a working system is overwritten.
    BlankIsNew,
    /// A place of the record that cannot be written ends all writes of it.
    OnePlaceOnly,
    /// Where a rule asks for two kinds of signatures, the kind that this build has is enough.
    WeakerKindSuffices,
    /// A chunk is written as the transport gave it, and not compared with the index.
    ChunkNotCompared,
    /// What a source says of the target is believed: the read-back passes it over.
    StatedIsBelieved,
    /// When the log moves to another block, marks are left behind.
    #[cfg_attr(not(feature = "log"), allow(dead_code, reason = "only a log moves"))]
    MoveLosesMarks,
}

#[cfg(stillboot_canary)]
static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Canary {
    /// Whether this bug is switched on.
    #[cfg(not(stillboot_canary))]
    pub(crate) const fn is_on(self) -> bool {
        false
    }

    /// Whether this bug is switched on.
    #[cfg(stillboot_canary)]
    pub(crate) fn is_on(self) -> bool {
        CHOSEN.load(Ordering::Relaxed) == self as u8
    }
}

#[cfg(stillboot_canary)]
impl Canary {
    /// All bugs.
    pub const ALL: [Self; 30] = [
        Self::CountsAfterStart,
        Self::HeaderFirst,
        Self::NoFlushBeforeSwitch,
        Self::SingleRecordCopy,
        Self::FloorAtInstall,
        Self::UnknownStateBoots,
        Self::NoReadBack,
        Self::CountsGoodSlots,
        Self::ReadErrorIsBad,
        Self::StateOfAnother,
        Self::MarksKept,
        Self::MarksOfRunning,
        Self::FloorStays,
        Self::ReadErrorStops,
        Self::LastResortNotesNothing,
        Self::UnreadEndsUpdates,
        Self::FloorLocksOut,
        Self::SequenceSaturates,
        Self::EpochLocksOut,
        Self::WritesOnlyCopy,
        Self::SameOneForEver,
        Self::NewerForEver,
        Self::RecoveryDowngrade,
        Self::ReadErrorHolds,
        Self::BlankIsNew,
        Self::OnePlaceOnly,
        Self::WeakerKindSuffices,
        Self::ChunkNotCompared,
        Self::StatedIsBelieved,
        Self::MoveLosesMarks,
    ];

    /// Switches one bug on in the whole process, or none.
    pub fn choose(canary: Option<Self>) {
        CHOSEN.store(canary.map_or(0, |canary| canary as u8), Ordering::Relaxed);
    }
}
