//! Moves everything live to another block.

use core::ops::Range;

use super::sizes::{
    block_cells, body_of, bytes_of, cell_at, cell_len, cells, cells_of, directory_cells,
    directory_len, header_len,
};
use super::table::{Extent, Live, NO_ENTRY};
use super::{BUFFER_LEN, Directory, Log, Outcome, Phase};
use crate::device::DeviceError;
use crate::format::log::{self, Cell, EntryKind, HEADER_LEN};
use crate::format::{Record, crc32, record};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, Region};
use crate::record::{CopyState, RecordStatus, SEQUENCE_AFTER_LOSS, gap};

impl Log {
    /// Begins to move everything live, with the record that is to be written, to the next block
    /// that was not tried. If there is none, the old content is still in force.
    pub(super) fn move_on(&mut self, layout: &Layout<'_>) -> Io {
        if let Some(slot) = self.given_up.take() {
            self.table.clear(slot);
        }
        let count = layout.places().len() as u8;
        let from = self.active.unwrap_or(count - 1);
        let turn = |step: u8| {
            let block = from + step;
            if block >= count { block - count } else { block }
        };
        let left = (1..=count).map(turn).filter(|block| self.tried & 1 << block == 0);
        let next = left.clone().find(|block| self.unkept & 1 << block == 0);
        let next = next.or_else(|| left.clone().next());
        self.phase = Phase::Erase;
        match next {
            Some(block) => {
                self.block = block;
                self.tried |= 1 << block;
            }
            // The next step sees that no block is left to be tried.
            None => self.block = u8::MAX,
        }
        // Above the generation of a block which is only unreadable for a while.
        let is_known = self.has_current || self.chosen(layout) == RecordStatus::Factory;
        let after =
            self.highest.max(if is_known { 0 } else { SEQUENCE_AFTER_LOSS }) + gap(&self.states);
        self.new_generation =
            if after >= log::GENERATION_MAX { SEQUENCE_AFTER_LOSS } else { after + 1 };
        match next {
            Some(block) => Io::erase(layout.place(block)),
            None => Io::Flush { device: layout.place(0).device },
        }
    }

    pub(super) fn move_failed(&mut self, layout: &Layout<'_>, error: DeviceError) -> Step<Outcome> {
        let failure = *self.failure.get_or_insert(error);
        if error == DeviceError::NotKept {
            self.unkept |= 1 << self.block;
            if self.stops {
                return Step::Done(Outcome::WriteFailed(error));
            }
        }
        let all = (1_u8 << layout.places().len()) - 1;
        if self.tried & all == all {
            return Step::Done(Outcome::WriteFailed(failure));
        }
        Step::Io(self.move_on(layout))
    }

    /// The number of the first cell of a move: the record has the one before it.
    pub(super) const fn first_cell(&self) -> u16 {
        !self.without_record as u16
    }

    /// What is next to be moved, or compared.
    pub(super) fn current_live(&self) -> Option<Live> {
        self.table.live(self.live.into())
    }

    /// The part of a body that is moved next: its first cell and number of cells.
    pub(super) fn piece(&self, layout: &Layout<'_>, live: Live) -> Extent {
        let most = cell_at(layout, BUFFER_LEN as u32);
        Extent { at: live.extent.at + self.done, len: (live.extent.len - self.done).min(most) }
    }

    /// Goes on with the next live thing, or the next part of it.
    pub(super) fn move_next(&mut self, layout: &Layout<'_>, buffer: &mut [u8]) -> Step<Outcome> {
        let Some(live) = self.current_live() else {
            self.phase = Phase::MoveFlush;
            return Step::Io(Io::Flush { device: layout.place(self.block).device });
        };
        let at = if live.extent.len == 0 { 0 } else { self.to };
        let moved = Live { extent: Extent { at, ..live.extent }, ..live };
        if self.to.saturating_add(live.extent.len) > block_cells(layout)
            || self.live + self.first_cell() >= cells(layout)
        {
            return self.move_failed(layout, DeviceError::Full);
        }
        self.phase = Phase::MoveCell;
        let number = self.first_cell() + self.live;
        let generation = self.new_generation;
        Step::Io(self.write_cell(layout, buffer, number, moved, generation))
    }

    pub(super) fn move_body(&mut self, layout: &Layout<'_>, buffer: &mut [u8]) -> Step<Outcome> {
        let Some(live) = self.current_live() else { return self.move_next(layout, buffer) };
        if self.done >= live.extent.len {
            self.to += live.extent.len;
            self.live += 1;
            self.done = 0;
            return self.move_next(layout, buffer);
        }
        self.phase = Phase::MoveRead;
        Step::Io(self.read_source(layout, live))
    }

    pub(super) fn read_source(&self, layout: &Layout<'_>, live: Live) -> Io {
        let region = body_of(layout, self.active.unwrap_or(0), self.piece(layout, live));
        Io::read(layout.geometry(region.device), region, region.len as usize, self.at)
    }

    pub(super) fn target(&self, layout: &Layout<'_>, live: Live) -> Region {
        let piece = self.piece(layout, live);
        body_of(layout, self.block, Extent { at: self.to + self.done, len: piece.len })
    }

    /// Where the bodies of a move start: behind the directory and the record.
    pub(super) fn start_of_bodies(&self, layout: &Layout<'_>, record: Option<&Record>) -> u16 {
        let directory = directory_cells(layout);
        let record = record.filter(|_| !self.without_record);
        directory + record.map_or(0, |record| cells_of(layout, record.len() as u64))
    }

    /// Where the record of a move is.
    pub(super) fn record_region(&self, layout: &Layout<'_>, record: &Record) -> Region {
        let at = directory_cells(layout);
        body_of(layout, self.block, Extent { at, len: cells_of(layout, record.len() as u64) })
    }

    pub(super) fn compare_next(&mut self, layout: &Layout<'_>) -> Step<Outcome> {
        loop {
            let Some(live) = self.current_live() else {
                return Step::Io(self.read_directory_in(layout, Phase::CheckDirectory));
            };
            if self.done < live.extent.len {
                self.phase = Phase::CompareSource;
                return Step::Io(self.read_source(layout, live));
            }
            self.to += live.extent.len;
            self.live += 1;
            self.done = 0;
        }
    }

    /// Whether the directory in the buffer has exactly the things that were moved.
    pub(super) fn is_moved(
        &mut self,
        layout: &Layout<'_>,
        directory: &[u8],
        record: Option<&Record>,
    ) -> bool {
        let (cell_len, start) = (cell_len(layout), header_len(layout));
        let cell_at = |number: u16| {
            let from = start + usize::from(number) * cell_len;
            Cell::parse(directory.get(from..).unwrap_or(&[]), self.new_generation).ok()
        };
        let first = self.first_cell();
        let mut to = self.start_of_bodies(layout, record);
        if first == 1 {
            let at = directory_cells(layout);
            let extent = Extent { at, len: to - at };
            let expected = Self::cell_of(layout, Live { extent, ..NO_ENTRY });
            if cell_at(0) != Some(expected) {
                return false;
            }
        }
        let mut number = 0;
        while let Some(live) = self.table.live(number.into()) {
            let at = if live.extent.len == 0 { 0 } else { to };
            let moved = Live { extent: Extent { at, ..live.extent }, ..live };
            if cell_at(first + number) != Some(Self::cell_of(layout, moved)) {
                return false;
            }
            to += live.extent.len;
            number += 1;
        }
        true
    }

    pub(super) fn write_header(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        last: bool,
    ) -> Io {
        self.phase = Phase::Header { last };
        // Also if this fails: the block may count later, and must not outrank later writes.
        self.highest = self.highest.max(self.new_generation);
        let len = header_len(layout);
        let from = if last { directory_len(layout) - len } else { 0 };
        let region = bytes_of(layout, self.block, from, len);
        let at = self.at;
        buffer[at..at + HEADER_LEN].copy_from_slice(&log::emit_header(self.new_generation));
        Io::write_padded(layout.geometry(region.device), region, buffer, at, HEADER_LEN)
    }

    /// The block in force is the one that was moved to.
    pub(super) fn moved(&mut self, layout: &Layout<'_>, buffer: &[u8]) -> Step<Outcome> {
        self.active = None;
        self.begin_load(layout, self.new_generation);
        self.is_worn = false;
        self.has_current = !self.without_record;
        self.load(layout, &buffer[self.at..self.at + directory_len(layout)]);
        let outranked = self.new_generation < self.highest;
        if outranked || self.without_record {
            self.end_next(layout)
        } else {
            Step::Done(Outcome::Written)
        }
    }

    /// Ends the next block that would be taken for the one in force, the lowest generation first.
    pub(super) fn end_next(&mut self, layout: &Layout<'_>) -> Step<Outcome> {
        let count = layout.places().len() as u8;
        let mut lowest: Option<(u64, u8)> = None;
        for (block, state) in (0..count).zip(self.states) {
            if let CopyState::Valid { sequence } = state
                && Some(block) != self.active
                && (self.without_record || sequence > self.generation)
                && lowest.is_none_or(|(found, _)| sequence < found)
            {
                lowest = Some((sequence, block));
            }
        }
        match lowest {
            Some((_, block)) => {
                self.block = block;
                self.phase = Phase::EndErase;
                Step::Io(Io::erase(layout.place(block)))
            }
            None => {
                self.highest = self.generation;
                Step::Done(Outcome::Written)
            }
        }
    }

    /// Begins to move everything but the record, and to end all other blocks.
    pub(in crate::area) fn begin_discard(&mut self, layout: &Layout<'_>) -> Io {
        self.tried = self.active.map_or(0, |active| 1 << active);
        (self.failure, self.stops) = (None, false);
        self.without_record = true;
        // Also those of a later version: the request gives them up.
        for state in &mut self.states {
            if let CopyState::Newer { .. } = state {
                *state = CopyState::Valid { sequence: self.highest };
            }
        }
        self.move_on(layout)
    }

    pub(super) fn step_move(
        &mut self,
        layout: &Layout<'_>,
        phase: Phase,
        result: IoResult,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        if self.block == u8::MAX {
            let failure = self.failure.unwrap_or(DeviceError::Full);
            return Step::Done(Outcome::WriteFailed(failure));
        }
        if let Err(error) = result {
            return self.move_broke(layout, phase, error);
        }
        match phase {
            Phase::Erase => self.move_record(layout, buffer, record),
            Phase::RecordCell => self.move_record_body(layout, buffer, record),
            Phase::RecordBody => self.move_next(layout, buffer),
            Phase::MoveCell => self.move_body(layout, buffer),
            Phase::MoveRead => self.move_read(layout, buffer),
            Phase::MoveWrite => self.move_written(layout, buffer),
            Phase::MoveFlush => {
                (self.live, self.done) = (0, 0);
                self.to = self.start_of_bodies(layout, Some(record));
                self.compare_next(layout)
            }
            Phase::CompareSource => self.compare_source(layout, buffer),
            Phase::CompareTarget => self.compare_target(layout, buffer),
            Phase::CheckDirectory => self.check_directory(layout, buffer, record),
            Phase::CheckRecord => self.check_record(layout, buffer, record),
            Phase::Header { last: false } => Step::Io(self.write_header(layout, buffer, true)),
            Phase::Header { last: true } => self.flush_to(layout, Phase::HeaderFlush),
            Phase::HeaderFlush => Step::Io(self.read_directory_in(layout, Phase::CheckHeader)),
            Phase::CheckHeader => self.check_header(layout, buffer),
            Phase::EndErase => self.flush_to(layout, Phase::EndFlush),
            Phase::EndFlush => Step::Io(self.read_directory_in(layout, Phase::EndCheck)),
            Phase::EndCheck => self.check_end(layout, buffer),
            _ => Step::Done(Outcome::WriteFailed(DeviceError::Io)),
        }
    }

    /// An operation of a move failed.
    fn move_broke(
        &mut self,
        layout: &Layout<'_>,
        phase: Phase,
        error: DeviceError,
    ) -> Step<Outcome> {
        match phase {
            // A live thing cannot be read: read it once more.
            Phase::MoveRead | Phase::CompareSource if !self.again => {
                self.again = true;
                self.phase = phase;
                match self.current_live() {
                    Some(live) => Step::Io(self.read_source(layout, live)),
                    None => self.move_failed(layout, error),
                }
            }
            // An installation's own things must not be left behind, nor the head of a slot that
            // is complete: the head may be readable later. An installation over that slot gives
            // the head up.
            Phase::MoveRead | Phase::CompareSource if self.stops || self.is_of_a_whole_slot() => {
                Step::Done(Outcome::WriteFailed(error))
            }
            // The thing is a body whose writing was cut, or an index, without which a slot
            // boots as well. It is left behind, because otherwise no record could ever be
            // written again.
            Phase::MoveRead | Phase::CompareSource => {
                if let Some(live) = self.current_live() {
                    self.forget(live);
                }
                // The move starts again, because the place of this thing goes to others.
                self.tried &= !(1 << self.block);
                Step::Io(self.move_on(layout))
            }
            Phase::EndErase | Phase::EndFlush | Phase::EndCheck => {
                Step::Done(Outcome::WriteFailed(error))
            }
            _ => self.move_failed(layout, error),
        }
    }

    /// The new block is erased: the cell of the record comes first.
    fn move_record(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        (self.live, self.done) = (0, 0);
        self.to = directory_cells(layout);
        if self.without_record {
            return self.move_next(layout, buffer);
        }
        let len = cells_of(layout, record.len() as u64);
        self.phase = Phase::RecordCell;
        let generation = self.new_generation;
        let live = Live { extent: Extent { at: self.to, len }, ..NO_ENTRY };
        Step::Io(self.write_cell(layout, buffer, 0, live, generation))
    }

    /// The cell of the record is written: its body follows.
    fn move_record_body(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        let copy = &mut buffer[self.at..self.at + record::LEN_MAX];
        let Ok(len) = record.emit(copy) else {
            return Step::Done(Outcome::WriteFailed(DeviceError::OutOfRange));
        };
        let extent = Extent { at: self.to, len: cells_of(layout, len as u64) };
        let region = body_of(layout, self.block, extent);
        self.to += extent.len;
        self.phase = Phase::RecordBody;
        let geometry = layout.geometry(region.device);
        Step::Io(Io::write_padded(geometry, region, buffer, self.at, len))
    }

    /// A piece of a live thing was read: it is written to the new block.
    fn move_read(&mut self, layout: &Layout<'_>, buffer: &mut [u8]) -> Step<Outcome> {
        self.again = false;
        let Some(live) = self.current_live() else { return self.move_next(layout, buffer) };
        let region = self.target(layout, live);
        self.phase = Phase::MoveWrite;
        let (geometry, len) = (layout.geometry(region.device), region.len as usize);
        Step::Io(Io::write_padded(geometry, region, buffer, self.at, len))
    }

    /// A piece was written: the next one follows.
    fn move_written(&mut self, layout: &Layout<'_>, buffer: &mut [u8]) -> Step<Outcome> {
        if let Some(live) = self.current_live() {
            self.done += self.piece(layout, live).len;
        }
        self.move_body(layout, buffer)
    }

    /// A piece was read from its source: its copy is read next.
    fn compare_source(&mut self, layout: &Layout<'_>, buffer: &[u8]) -> Step<Outcome> {
        self.again = false;
        let Some(live) = self.current_live() else { return self.compare_next(layout) };
        let region = self.target(layout, live);
        self.phase = Phase::CompareTarget;
        let len = region.len as usize;
        // The buffer does not keep the bytes that were read, so their checksum is kept.
        self.sum = crc32(&buffer[self.at..self.at + len]);
        Step::Io(Io::read(layout.geometry(region.device), region, len, self.at))
    }

    /// The copy of a piece was read: it must be equal.
    fn compare_target(&mut self, layout: &Layout<'_>, buffer: &[u8]) -> Step<Outcome> {
        let Some(live) = self.current_live() else { return self.compare_next(layout) };
        let piece = self.piece(layout, live);
        let len = usize::from(piece.len) * cell_len(layout);
        if crc32(&buffer[self.at..self.at + len]) != self.sum {
            return self.move_failed(layout, DeviceError::NotKept);
        }
        self.done += piece.len;
        self.compare_next(layout)
    }

    /// The new directory must list what was moved.
    #[inline(never)]
    fn check_directory(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        if !self.is_moved(layout, &buffer[self.directory(layout)], Some(record)) {
            return self.move_failed(layout, DeviceError::NotKept);
        }
        if self.without_record {
            return Step::Io(self.write_header(layout, buffer, false));
        }
        self.phase = Phase::CheckRecord;
        let region = self.record_region(layout, record);
        let len = (region.len as usize).min(record::LEN_MAX);
        Step::Io(Io::read(layout.geometry(region.device), region, len, self.at))
    }

    /// The new block must hold the record.
    fn check_record(
        &mut self,
        layout: &Layout<'_>,
        buffer: &mut [u8],
        record: &Record,
    ) -> Step<Outcome> {
        let region = self.record_region(layout, record);
        if !self.is_record(region, buffer, record) {
            return self.move_failed(layout, DeviceError::NotKept);
        }
        Step::Io(self.write_header(layout, buffer, false))
    }

    /// The header must stand: it makes the new block the one that counts.
    fn check_header(&mut self, layout: &Layout<'_>, buffer: &mut [u8]) -> Step<Outcome> {
        let found = Self::header(layout, &buffer[self.directory(layout)]);
        if !matches!(found, Directory::Sound { generation } if generation == self.new_generation) {
            return self.move_failed(layout, DeviceError::NotKept);
        }
        self.moved(layout, buffer)
    }

    /// The old block must have no header any more.
    fn check_end(&mut self, layout: &Layout<'_>, buffer: &[u8]) -> Step<Outcome> {
        match Self::header(layout, &buffer[self.directory(layout)]) {
            Directory::Sound { .. } => Step::Done(Outcome::WriteFailed(DeviceError::NotKept)),
            Directory::State(state) => {
                self.note(state);
                self.end_next(layout)
            }
        }
    }

    fn flush_to(&mut self, layout: &Layout<'_>, phase: Phase) -> Step<Outcome> {
        self.phase = phase;
        Step::Io(Io::Flush { device: layout.place(self.block).device })
    }

    /// Where the buffer holds a directory that was read.
    fn directory(&self, layout: &Layout<'_>) -> Range<usize> {
        self.at..self.at + directory_len(layout)
    }

    /// Whether the thing that is moved is the head of a slot that is complete.
    fn is_of_a_whole_slot(&self) -> bool {
        self.current_live().is_some_and(|live| {
            live.kind == EntryKind::Head && self.table.marks[0] & 1 << live.slot != 0
        })
    }

    /// Takes a live thing out of the table.
    pub(super) fn forget(&mut self, live: Live) {
        let slot = usize::from(live.slot);
        match live.kind {
            EntryKind::Head => self.table.heads[slot] = Extent::default(),
            EntryKind::Index => {
                self.table.indexes[slot][usize::from(live.component)] = Extent::default();
            }
            _ => {}
        }
    }
}
