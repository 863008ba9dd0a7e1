//! Appends entries to the block in force.

use super::sizes::{
    block_cells, body_of, bytes_of, cell_at, cell_len, cells, cells_of, erased_value, header_len,
};
use super::table::{Extent, Live};
use super::{BUFFER_LEN, Log, Outcome, Phase};
use crate::device::DeviceError;
use crate::format::log::{CELL_LEN, Cell, EntryKind};
use crate::format::{MarkKind, Record, Slot, record};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, Region};
use crate::record::{CopyState, GAP, SEQUENCE_AFTER_LOSS, gap, inspect_into};

impl Log {
    pub(super) fn has_room(&self, layout: &Layout<'_>, cells_needed: u16, bodies: u16) -> bool {
        self.active.is_some()
            && !self.is_worn
            && self.cell.saturating_add(cells_needed) <= cells(layout)
            && self.free.saturating_add(bodies) <= block_cells(layout)
    }

    pub(in crate::area) fn begin_write(
        &mut self,
        layout: &Layout<'_>,
        record: &mut Record,
        stops: bool,
    ) -> Io {
        record.sequence = match record.sequence {
            record::SEQUENCE_MAX.. => SEQUENCE_AFTER_LOSS,
            sequence => sequence + 1,
        };
        self.tried = self.active.map_or(0, |active| 1 << active);
        (self.failure, self.stops) = (None, stops);
        self.without_record = false;
        let len = cells_of(layout, record.len() as u64);
        // Room for the parts that an installation will append is added. It is asked for once: the
        // later entries are appended where that room was made.
        let (more, more_cells) = core::mem::take(&mut self.reserve);
        if self.has_current
            && !self.may_be_outranked(layout)
            && self.has_room(layout, 1 + more_cells, len.saturating_add(more))
        {
            return self.append(layout, EntryKind::Record, 0, 0, len);
        }
        self.move_on(layout)
    }

    /// Whether a block that could not be read may be of a higher generation. An entry that is
    /// appended here would be lost when that block is read again. A block that was made while that
    /// block was unreadable is not outranked. Of two blocks, the one that is left is used as long
    /// as it has room.
    fn may_be_outranked(&self, layout: &Layout<'_>) -> bool {
        let states = self.states.get(..layout.places().len()).unwrap_or(&[]);
        let mut below = 0;
        for state in states {
            if let CopyState::Valid { sequence } = state
                && *sequence < self.generation
            {
                below = below.max(*sequence);
            }
        }
        states.len() > 2 && gap(states) != 0 && self.generation - below <= GAP
    }

    /// Begins an entry.
    pub(super) fn append(
        &mut self,
        layout: &Layout<'_>,
        kind: EntryKind,
        slot: u8,
        component: u8,
        len: u16,
    ) -> Io {
        self.block = self.active.unwrap_or(0);
        let at = if len == 0 { 0 } else { self.free };
        self.entry = Live { kind, slot, component, extent: Extent { at, len } };
        self.phase = Phase::Cell;
        // The cell is written in the next step, when there is a buffer.
        Io::Flush { device: layout.place(self.block).device }
    }

    pub(super) fn cell_region(&self, layout: &Layout<'_>, number: u16) -> Region {
        let len = cell_len(layout);
        bytes_of(layout, self.block, header_len(layout) + usize::from(number) * len, len)
    }

    pub(super) fn write_cell(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        number: u16,
        live: Live,
        generation: u64,
    ) -> Io {
        let cell = Self::cell_of(layout, live);
        let at = self.at;
        buffer[at..at + CELL_LEN].copy_from_slice(&cell.emit(generation));
        let region = self.cell_region(layout, number);
        Io::write_padded(layout.geometry(region.device), region, buffer, at, CELL_LEN)
    }

    pub(super) fn cell_of(layout: &Layout<'_>, live: Live) -> Cell {
        Cell {
            kind: live.kind,
            slot: live.slot,
            component: live.component,
            offset: u32::from(live.extent.at) * cell_len(layout) as u32,
            cells: live.extent.len.into(),
        }
    }

    pub(super) fn begin_part(
        &mut self,
        layout: &Layout<'_>,
        kind: EntryKind,
        slot: Slot,
        component: usize,
        len: u64,
    ) -> Step<IoResult> {
        let len = cells_of(layout, len);
        if !self.has_room(layout, 1, len) {
            let entry = Live {
                kind,
                slot: slot as u8,
                component: component as u8,
                extent: Extent { at: 0, len },
            };
            return Step::Done(self.defer(layout, entry).ok_or(DeviceError::Full));
        }
        self.failure = None;
        Step::Io(self.append(layout, kind, slot as u8, component as u8, len))
    }

    pub(in crate::area) fn begin_unmark(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
    ) -> Step<IoResult> {
        let marks = self.table.marks[0] | self.table.marks[1];
        if marks & slot.bit() == 0 {
            return Step::Done(Ok(()));
        }
        self.begin_part(layout, EntryKind::Unmarked, slot, 0, 0)
    }

    pub(in crate::area) fn begin_mark(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        kind: MarkKind,
    ) -> Step<IoResult> {
        let kind = match kind {
            MarkKind::Committed => EntryKind::Committed,
            MarkKind::Confirmed => EntryKind::Confirmed,
        };
        self.begin_part(layout, kind, slot, 0, 0)
    }

    pub(in crate::area) fn begin_head(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        len: usize,
    ) -> Step<IoResult> {
        self.begin_part(layout, EntryKind::Head, slot, 0, len as u64)
    }

    pub(in crate::area) fn begin_index(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        number: usize,
        len: u64,
    ) -> Step<IoResult> {
        self.begin_part(layout, EntryKind::Index, slot, number, len)
    }

    /// The part of the entry's place that is looked at next.
    pub(super) fn unchecked(&self, layout: &Layout<'_>) -> Extent {
        let Extent { at, len } = self.entry.extent;
        let most = cell_at(layout, BUFFER_LEN as u32);
        Extent { at: at + self.done, len: (len - self.done).min(most) }
    }

    pub(super) fn check_erased(&mut self, layout: &Layout<'_>) -> Step<Outcome> {
        let geometry = layout.geometry(layout.place(self.block).device);
        let piece = self.unchecked(layout);
        if piece.len == 0 {
            return self.appended(layout);
        }
        self.phase = Phase::CheckErased;
        let region = body_of(layout, self.block, piece);
        Step::Io(Io::read(geometry, region, region.len as usize, self.at))
    }

    /// The entry is on the medium and counts from now on.
    pub(super) fn appended(&mut self, layout: &Layout<'_>) -> Step<Outcome> {
        let cell = Self::cell_of(layout, self.entry);
        self.table.take(&cell, self.entry.extent);
        self.given_up = None;
        Step::Done(Outcome::Written)
    }

    /// Defers a mark that has no room: it goes to the medium with the next write of the record,
    /// which moves everything. Heads and indexes cannot wait, so an installation makes room for
    /// them before.
    pub(super) fn defer(&mut self, layout: &Layout<'_>, entry: Live) -> Option<()> {
        self.is_worn = true;
        let cell = Self::cell_of(layout, entry);
        (entry.extent.len == 0).then(|| {
            self.table.take(&cell, entry.extent);
        })
    }

    /// An append has failed: this machine does not write the block any more.
    pub(super) fn append_failed(
        &mut self,
        layout: &Layout<'_>,
        error: DeviceError,
    ) -> Step<Outcome> {
        self.is_worn = true;
        self.failure.get_or_insert(error);
        if self.entry.kind == EntryKind::Record {
            if self.stops && error == DeviceError::NotKept {
                return Step::Done(Outcome::WriteFailed(error));
            }
            return Step::Io(self.move_on(layout));
        }
        match self.defer(layout, self.entry) {
            Some(()) => Step::Done(Outcome::Written),
            None => Step::Done(Outcome::WriteFailed(error)),
        }
    }

    pub(super) fn step_append(
        &mut self,
        layout: &Layout<'_>,
        phase: Phase,
        result: IoResult,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        if let Err(error) = result {
            // A cell whose write was cut may read as erased, although it is not. Drivers of flash
            // report this by errors of many kinds.
            if phase == Phase::CellFlush && self.cell < cells(layout) {
                let (number, entry, generation) = (self.cell, self.entry, self.generation);
                self.cell += 1;
                self.phase = Phase::CellFlush;
                return Step::Io(self.write_cell(layout, buffer, number, entry, generation));
            }
            return self.append_failed(layout, error);
        }
        let device = layout.place(self.block).device;
        let region = body_of(layout, self.block, self.entry.extent);
        match phase {
            Phase::CellFlush => {
                self.phase = Phase::Body;
                Step::Io(Io::Flush { device })
            }
            Phase::Body if self.entry.kind == EntryKind::Record => {
                let copy = &mut buffer[self.at..self.at + record::LEN_MAX];
                let Ok(len) = record.emit(copy) else {
                    return Step::Done(Outcome::WriteFailed(DeviceError::OutOfRange));
                };
                self.phase = Phase::BodyFlush;
                Step::Io(Io::write_padded(layout.geometry(device), region, buffer, self.at, len))
            }
            // The caller writes head and index; a mark has no body.
            Phase::Body | Phase::BodyFlush => {
                self.phase = Phase::CheckCell;
                if phase == Phase::BodyFlush {
                    // Flushed first, then read.
                    self.again = true;
                    return Step::Io(Io::Flush { device });
                }
                self.again = false;
                let region = self.cell_region(layout, self.cell - 1);
                Step::Io(Io::read(layout.geometry(device), region, CELL_LEN, self.at))
            }
            Phase::CheckCell if self.again => {
                self.again = false;
                self.phase = Phase::CheckCell;
                let region = self.cell_region(layout, self.cell - 1);
                Step::Io(Io::read(layout.geometry(device), region, CELL_LEN, self.at))
            }
            Phase::CheckCell => {
                let expected = Self::cell_of(layout, self.entry);
                let bytes = &buffer[self.at..self.at + CELL_LEN];
                if Cell::parse(bytes, self.generation) != Ok(expected) {
                    return self.append_failed(layout, DeviceError::NotKept);
                }
                if self.entry.kind == EntryKind::Record {
                    self.phase = Phase::CheckBody;
                    let len = (region.len as usize).min(record::LEN_MAX);
                    return Step::Io(Io::read(layout.geometry(device), region, len, self.at));
                }
                self.done = 0;
                self.check_erased(layout)
            }
            Phase::CheckErased => {
                let len = usize::from(self.unchecked(layout).len) * cell_len(layout);
                let erased = erased_value(layout, self.block);
                if buffer[self.at..self.at + len].iter().any(|byte| *byte != erased) {
                    // Bytes that belong elsewhere were written here: the entry goes behind them.
                    let Live { kind, slot, component, extent } = self.entry;
                    if !self.has_room(layout, 1, extent.len) {
                        return self.append_failed(layout, DeviceError::NotErased);
                    }
                    return Step::Io(self.append(layout, kind, slot, component, extent.len));
                }
                self.done += self.unchecked(layout).len;
                self.check_erased(layout)
            }
            _ => {
                if self.is_record(region, buffer, record) {
                    self.has_current = true;
                    return self.appended(layout);
                }
                self.append_failed(layout, DeviceError::NotKept)
            }
        }
    }

    /// Whether the buffer holds `record`, as read from `region`.
    // A function of its own, so that its record is not on the stack of everything else.
    #[inline(never)]
    pub(super) fn is_record(&self, region: Region, buffer: &[u8], record: &Record) -> bool {
        let mut found = Record::default();
        let len = (region.len as usize).min(record::LEN_MAX);
        let state = inspect_into(&buffer[self.at..self.at + len], &mut found);
        matches!(state, CopyState::Valid { .. }) && found == *record
    }
}
