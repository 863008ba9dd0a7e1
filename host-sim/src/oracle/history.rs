//! What happened to a device so far.

use stillboot::format::{Floor, SLOTS_MAX, Slot, SlotKind};

use super::published::Published;
use crate::story::Name;

/// A set of releases.
pub type Set = u32;

pub(super) const fn only(release: Name) -> Set {
    1 << release
}

/// How far the boot record must have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// It was perhaps never written whole.
    #[default]
    Perhaps,
    /// It was.
    Yes,
}

/// What happened to a device so far, and what follows for its next start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What may start as confirmed. More than one only if the change from one to the other was cut
    /// short.
    pub good: Set,
    /// What was confirmed for certain: a confirmation that was cut short may have happened or not.
    pub sure: Set,
    /// What may start on trial.
    pub trial: Set,
    /// How often something started on trial since the last installation.
    pub starts: u8,
    /// What was installed whole, by slot.
    pub slots: [Option<Name>; SLOTS_MAX],
    /// The highest floor that a loader has recorded or must have, by kind.
    pub floors: [Floor; 2],
    /// Whether there must be a record.
    pub record: Written,
    /// What is damaged by the story itself, by slot, until an installation begins there.
    pub wrecked: [bool; SLOTS_MAX],
}

impl Published<'_> {
    /// A whole image of `release` now stands in `slot`, and the record does not know of it.
    pub fn plant(&self, truth: &mut History, slot: Slot, release: Name) {
        if let Some(gone) = truth.slots[slot as usize].replace(release) {
            truth.sure &= !only(gone);
            truth.good &= !only(gone);
        }
        // What is left is good if it was good before.
        for other in Slot::ALL.into_iter().filter(|other| *other != slot) {
            truth.good |= truth.slots[other as usize].map_or(0, only);
        }
        truth.trial |= only(release);
        truth.starts = 0;
    }

    /// An installation of `release` begins.
    pub fn begin_install(&self, truth: &mut History, release: Name) {
        if self.releases[release].is_genuine {
            truth.trial |= only(release);
            truth.starts = 0;
        }
    }

    /// It succeeded.
    pub fn end_install(&self, truth: &mut History, release: Name, slot: Slot) {
        truth.slots[slot as usize] = Some(release);
        truth.record = Written::Yes;
        if slot.kind() == SlotKind::Update {
            truth.trial = only(release);
        } else {
            truth.trial &= !only(release);
        }
    }

    /// It was refused or failed, and nothing of it may start.
    pub fn refuse_install(&self, truth: &mut History, release: Name) {
        truth.trial &= !only(release);
    }

    /// A confirmation of `release` begins.
    pub fn begin_confirm(&self, truth: &mut History, release: Name) {
        truth.good |= only(release);
    }

    /// It succeeded.
    pub fn end_confirm(&self, truth: &mut History, release: Name) {
        truth.good = only(release);
        truth.sure = only(release);
        truth.trial &= !only(release);
    }

    /// The running system begins to be left for the other update slot, or is called bad.
    pub fn begin_leave(&self, truth: &mut History, slot: Slot) {
        if let Some(release) = truth.slots[slot as usize] {
            truth.sure &= !only(release);
        }
        for other in [Slot::A, Slot::B] {
            if other != slot
                && let Some(release) = truth.slots[other as usize]
                && truth.trial & only(release) == 0
            {
                truth.good |= only(release);
            }
        }
    }

    /// It was left.
    pub fn end_leave(&self, truth: &mut History, slot: Slot) {
        if let Some(release) = truth.slots[slot as usize] {
            truth.trial &= !only(release);
            truth.good &= !only(release);
            truth.sure &= !only(release);
        }
    }
}
