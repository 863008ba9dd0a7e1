//! The table of the entries that live in the block in force.

use crate::canary::Canary;
use crate::format::log::{Cell, EntryKind};
use crate::format::manifest::COMPONENTS_MAX;
use crate::format::{SLOTS_MAX, Slot};

/// Where a body is in its block, in cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) at: u16,
    pub(super) len: u16,
}

/// The entries that live in the block in force.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) heads: [Extent; SLOTS_MAX],
    pub(super) indexes: [[Extent; COMPONENTS_MAX]; SLOTS_MAX],
    /// Bits of slots that are committed, and that are confirmed.
    pub(super) marks: [u8; 2],
    /// The last record.
    pub(super) record: Extent,
    /// There is an entry of a kind that a later version has.
    pub(super) is_newer: bool,
}

pub(super) const EMPTY: Table = Table {
    heads: [Extent { at: 0, len: 0 }; SLOTS_MAX],
    indexes: [[Extent { at: 0, len: 0 }; COMPONENTS_MAX]; SLOTS_MAX],
    marks: [0; 2],
    record: Extent { at: 0, len: 0 },
    is_newer: false,
};

/// One entry that lives in the block in force, beside the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) kind: EntryKind,
    pub(super) slot: u8,
    pub(super) component: u8,
    pub(super) extent: Extent,
}

impl Table {
    /// Live entry number `number` and all behind it, in a fixed order: heads, indexes, marks.
    pub(super) fn live(&self, number: usize) -> Option<Live> {
        let bodies = (0..SLOTS_MAX).flat_map(move |slot| {
            let head = (EntryKind::Head, 0, self.heads[slot]);
            let indexes = self.indexes[slot].iter().enumerate();
            let indexes = indexes.map(|(at, extent)| (EntryKind::Index, at as u8, *extent));
            core::iter::once(head).chain(indexes).map(move |(kind, component, extent)| Live {
                kind,
                slot: slot as u8,
                component,
                extent,
            })
        });
        let marks = [EntryKind::Committed, EntryKind::Confirmed].into_iter().zip(self.marks);
        let marks =
            marks.filter(|_| !Canary::MoveLosesMarks.is_on()).flat_map(|(kind, bits)| {
                (0..SLOTS_MAX as u8)
                    .filter(move |slot| bits & 1 << slot != 0)
                    .map(move |slot| Live { kind, slot, component: 0, extent: Extent::default() })
            });
        bodies.filter(|live| live.extent.len != 0).chain(marks).nth(number)
    }

    /// Takes out all entries of a slot.
    pub(super) fn clear(&mut self, slot: Slot) {
        let at = slot as usize;
        self.heads[at] = Extent::default();
        self.indexes[at] = EMPTY.indexes[0];
        self.marks = self.marks.map(|bits| bits & !slot.bit());
    }

    /// Takes one entry, in the order of the directory.
    // Why: docs/DESIGN.md#why-mark-names-no-manifest
    pub(super) fn take(&mut self, cell: &Cell, extent: Extent) {
        let slot = usize::from(cell.slot);
        let bit = 1_u8.checked_shl(cell.slot.into()).unwrap_or(0);
        match cell.kind {
            EntryKind::Record => self.record = extent,
            EntryKind::Head => {
                if let Some(head) = self.heads.get_mut(slot) {
                    *head = extent;
                    // Indexes and marks belong to the head before them.
                    self.indexes[slot] = EMPTY.indexes[0];
                    self.marks = self.marks.map(|bits| bits & !bit);
                }
            }
            EntryKind::Index => {
                let indexes = self.indexes.get_mut(slot);
                if let Some(index) =
                    indexes.and_then(|indexes| indexes.get_mut(usize::from(cell.component)))
                {
                    *index = extent;
                }
            }
            EntryKind::Committed => self.marks[0] |= bit,
            EntryKind::Confirmed => self.marks[1] |= bit,
            EntryKind::Unmarked => self.marks = self.marks.map(|bits| bits & !bit),
            EntryKind::Unknown(_) => self.is_newer = true,
        }
    }
}

/// An entry for a record that has no place yet.
pub(super) const NO_ENTRY: Live =
    Live { kind: EntryKind::Record, slot: 0, component: 0, extent: Extent { at: 0, len: 0 } };
