//! Reads the directories, and finds the entries in them.

use super::sizes::{
    block_cells, block_len, body_of, bytes_of, cell_at, cell_len, cells, cells_of, directory_cells,
    directory_len, erased_value, header_len,
};
use super::table::{EMPTY, Extent};
use super::{Directory, Log, Outcome, Phase, Piece};
use crate::format::log::{self, Cell, EntryKind, HEADER_LEN};
use crate::format::{FormatError, Manifest, MarkKind, Record, Slot, record};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, LayoutError, Region};
use crate::record::{CopyState, RecordStatus, choose, inspect_into, is_blank};

impl Log {
    // What was found.

    pub(in crate::area) fn head(&self, layout: &Layout<'_>, slot: Slot) -> Option<Region> {
        self.found(layout, self.table.heads[slot as usize])
    }

    pub(in crate::area) fn index(
        &self,
        layout: &Layout<'_>,
        slot: Slot,
        number: usize,
    ) -> Option<Region> {
        self.found(layout, *self.table.indexes[slot as usize].get(number)?)
    }

    pub(in crate::area) const fn is_marked(&self, slot: Slot, kind: MarkKind) -> bool {
        self.table.marks[kind as usize] & slot.bit() != 0
    }

    pub(super) fn found(&self, layout: &Layout<'_>, extent: Extent) -> Option<Region> {
        let block = self.active.filter(|_| extent.len != 0)?;
        Some(body_of(layout, block, extent))
    }

    /// Whether head and indexes of an installation fit beside a record and what else lives.
    pub(in crate::area) fn check_room(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        manifest: &Manifest,
        head_len: usize,
    ) -> Result<(), LayoutError> {
        let mut bodies = u32::from(cells_of(layout, head_len as u64));
        // A record, the head, both marks, and an entry that there are no marks.
        let mut entries = 5;
        for (_, component) in manifest.components_of(slot) {
            entries += 1;
            bodies += u32::from(cells_of(layout, component.index_len(manifest.chunk_size)));
        }
        let own = (bodies, entries);
        let mut at = 0;
        while let Some(live) = self.table.live(at) {
            if usize::from(live.slot) != slot as usize {
                entries += 1;
                bodies += u32::from(live.extent.len);
            }
            at += 1;
        }
        let record = u32::from(cells_of(layout, record::LEN_MAX as u64));
        let directory = u32::from(directory_cells(layout));
        let needed = directory + record + bodies;
        if needed > block_cells(layout).into() || entries > cells(layout) {
            let cell = cell_len(layout) as u64;
            // A directory is an eighth of its block.
            let needed = u64::from(needed).max(8 * u64::from(entries)) * cell;
            return Err(LayoutError::TooSmall { needed, available: block_len(layout).into() });
        }
        // The first write of the installation leaves this much room free, so that the last write
        // need not move, if that is possible.
        self.reserve = ((own.0 + record).min(u32::from(u16::MAX)) as u16, own.1);
        Ok(())
    }

    /// The content of a slot is about to be replaced. If the next write of the record moves, the
    /// content is left behind.
    pub(in crate::area) const fn give_up(&mut self, slot: Slot) {
        self.given_up = Some(slot);
    }

    /// Whether the block in force has no room for what an installation said it will append. The
    /// next write of the record makes the room.
    pub(in crate::area) fn lacks_room(&self, layout: &Layout<'_>) -> bool {
        !self.has_room(layout, self.reserve.1, self.reserve.0)
    }

    // Reading.

    pub(in crate::area) fn begin_read(&mut self, layout: &Layout<'_>) -> Io {
        (self.block, self.highest) = (0, 0);
        self.read_directory(layout)
    }

    pub(super) fn read_directory(&mut self, layout: &Layout<'_>) -> Io {
        self.again = false;
        self.read_directory_in(layout, Phase::Directory)
    }

    pub(super) fn read_directory_in(&mut self, layout: &Layout<'_>, phase: Phase) -> Io {
        self.phase = phase;
        let region = bytes_of(layout, self.block, 0, directory_len(layout));
        Io::read(layout.geometry(region.device), region, region.len as usize, self.at)
    }

    /// Reads one header, or one cell, of a directory that cannot be read in one piece.
    // Why: docs/DESIGN.md#why-log-directory
    // Why: docs/DESIGN.md#why-header-twice
    pub(super) fn read_piece(&mut self, layout: &Layout<'_>, piece: Piece) -> Io {
        self.phase = Phase::Piece(piece);
        let header = header_len(layout);
        let (from, len) = match piece {
            Piece::Header { last: false } => (0, header),
            Piece::Header { last: true } => (directory_len(layout) - header, header),
            Piece::Cell(number) => {
                let len = cell_len(layout);
                (header + usize::from(number) * len, len)
            }
        };
        let region = bytes_of(layout, self.block, from, len);
        Io::read(layout.geometry(region.device), region, len, self.at)
    }

    pub(super) fn step_piece(
        &mut self,
        layout: &Layout<'_>,
        piece: Piece,
        result: IoResult,
        buffer: &[u8],
        record: &mut Record,
    ) -> Step<Outcome> {
        let bytes = result.map(|()| &buffer[self.at..self.at + cell_len(layout).max(HEADER_LEN)]);
        let next = match piece {
            Piece::Header { last } => {
                match bytes.map(log::parse_header) {
                    Ok(Ok(generation)) if self.begin_load(layout, generation) => Piece::Cell(0),
                    Ok(Ok(_)) => return self.next_directory(layout, record),
                    found => {
                        // Otherwise the block stays as it was noted: not read.
                        if let Ok(Err(FormatError::Version { found })) = found {
                            self.note(CopyState::Newer { version: found });
                        }
                        if last {
                            return self.next_directory(layout, record);
                        }
                        Piece::Header { last: true }
                    }
                }
            }
            Piece::Cell(number) => {
                match bytes {
                    Ok(bytes) => self.take_cell(layout, number, &bytes[..cell_len(layout)]),
                    // The cell was begun, of whichever kind: it is not written again.
                    Err(_) => self.cell = number + 1,
                }
                if number + 1 >= cells(layout) {
                    return self.next_directory(layout, record);
                }
                Piece::Cell(number + 1)
            }
        };
        Step::Io(self.read_piece(layout, next))
    }

    /// The header of the directory that is in the buffer.
    pub(super) fn header(layout: &Layout<'_>, directory: &[u8]) -> Directory {
        let second = directory.len().saturating_sub(header_len(layout));
        let mut newer = None;
        for at in [0, second] {
            match log::parse_header(directory.get(at..).unwrap_or(&[])) {
                Ok(generation) => return Directory::Sound { generation },
                Err(FormatError::Version { found }) => newer = Some(found),
                Err(_) => {}
            }
        }
        Directory::State(match newer {
            Some(version) => CopyState::Newer { version },
            None => is_blank(directory),
        })
    }

    /// Takes the directory of the block from the buffer, if the block may be the one in force.
    pub(super) fn look(&mut self, layout: &Layout<'_>, buffer: &[u8]) {
        let directory = &buffer[self.at..self.at + directory_len(layout)];
        match Self::header(layout, directory) {
            Directory::State(state) => self.note(state),
            Directory::Sound { generation } => {
                if self.begin_load(layout, generation) {
                    self.load(layout, directory);
                }
            }
        }
    }

    pub(super) fn note(&mut self, state: CopyState) {
        if let Some(place) = self.states.get_mut(usize::from(self.block)) {
            *place = state;
        }
    }

    /// Begins to make the table from the directory of a block of this generation; false if another
    /// block counts.
    pub(super) fn begin_load(&mut self, layout: &Layout<'_>, generation: u64) -> bool {
        self.highest = self.highest.max(generation);
        self.note(CopyState::Valid { sequence: generation });
        let is_out = self.excluded & 1 << self.block != 0;
        if is_out || self.active.is_some() && generation <= self.generation {
            return false;
        }
        (self.active, self.generation) = (Some(self.block), generation);
        self.table = EMPTY;
        self.cell = 0;
        self.free = directory_cells(layout);
        true
    }

    pub(super) fn load(&mut self, layout: &Layout<'_>, directory: &[u8]) {
        let (len, start) = (cell_len(layout), header_len(layout));
        for number in 0..cells(layout) {
            let from = start + usize::from(number) * len;
            self.take_cell(layout, number, &directory[from..from + len]);
        }
    }

    pub(super) fn take_cell(&mut self, layout: &Layout<'_>, number: u16, bytes: &[u8]) {
        match Cell::parse(bytes, self.generation) {
            Ok(cell) => {
                let at = cell_at(layout, cell.offset);
                let extent = Extent { at, len: cell.cells.min(u16::MAX.into()) as u16 };
                let end = at.saturating_add(extent.len);
                // A body that is not behind the directory is forged: the body is not read.
                let first = directory_cells(layout);
                let is_whole = cell.offset as usize & (cell_len(layout) - 1) == 0;
                let is_inside = at >= first && end <= block_cells(layout) && is_whole;
                let is_record = cell.kind == EntryKind::Record;
                let is_late = is_record && number >= self.limit;
                if (extent.len == 0 || is_inside) && !is_late {
                    if is_record {
                        self.record_cell = number;
                    }
                    self.table.take(&cell, extent);
                }
                if is_inside {
                    self.free = self.free.max(end);
                }
                self.cell = number + 1;
            }
            // The cell was begun once, so it must not be written again before it is erased.
            Err(_) => {
                let erased = erased_value(layout, self.block);
                if bytes.iter().any(|byte| *byte != erased) {
                    self.cell = number + 1;
                }
            }
        }
    }

    pub(super) fn read_record(&mut self, layout: &Layout<'_>) -> Option<Io> {
        let extent = self.table.record;
        let block = self.active.filter(|_| extent.len != 0)?;
        let region = body_of(layout, block, extent);
        let len = (region.len as usize).min(record::LEN_MAX);
        self.phase = Phase::Record;
        Some(Io::read(layout.geometry(region.device), region, len, self.at))
    }

    /// The result of reading all blocks.
    pub(super) fn chosen(&self, layout: &Layout<'_>) -> RecordStatus {
        let states = self.states.get(..layout.places().len()).unwrap_or(&[]);
        // A block that cannot be read may be the one in force, with all heads in it.
        let is_unread = |state: &CopyState| matches!(state, CopyState::Unreadable(_));
        match choose(states) {
            RecordStatus::Factory if states.iter().any(is_unread) => RecordStatus::Lost,
            choice => choice,
        }
    }

    /// All directories are read.
    pub(super) fn looked(&mut self, layout: &Layout<'_>, record: &mut Record) -> Step<Outcome> {
        // Only in the block that counts: entries of a later version in another block were left
        // behind.
        if let Some(active) = self.active
            && self.table.is_newer
        {
            self.block = active;
            self.note(CopyState::Newer { version: log::VERSION + 1 });
        }
        match self.chosen(layout) {
            RecordStatus::Newer => return self.ended(RecordStatus::Newer, record),
            _ if self.gave_up => return self.ended(RecordStatus::Lost, record),
            RecordStatus::Factory => return self.ended(RecordStatus::Factory, record),
            RecordStatus::Lost | RecordStatus::Current { .. } => {}
        }
        match self.read_record(layout) {
            Some(io) => Step::Io(io),
            None => self.no_record(layout, record),
        }
    }

    pub(super) fn ended(&mut self, choice: RecordStatus, record: &mut Record) -> Step<Outcome> {
        if !matches!(choice, RecordStatus::Current { .. }) {
            record.clear();
        }
        Step::Done(Outcome::Read(choice))
    }

    /// The block in force has no intact record: go on without that block, and at last without any
    /// record.
    pub(super) fn no_record(&mut self, layout: &Layout<'_>, record: &mut Record) -> Step<Outcome> {
        // A block that could not be read again for an earlier record is not in force either.
        let block = self.active.take().or(self.is_again.then_some(self.block));
        match block {
            Some(block) if !self.gave_up => self.excluded |= 1 << block,
            _ if self.gave_up || self.excluded == 0 => {
                return self.ended(RecordStatus::Lost, record);
            }
            _ => {
                (self.excluded, self.gave_up) = (0, true);
            }
        }
        self.table = EMPTY;
        (self.limit, self.is_again) = (u16::MAX, false);
        Step::Io(self.begin_read(layout))
    }

    pub(super) fn step_record(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
        record: &mut Record,
    ) -> Step<Outcome> {
        let len = usize::from(self.table.record.len) * cell_len(layout);
        let bytes = &buffer[self.at..self.at + len.min(record::LEN_MAX)];
        let state = match result {
            Ok(()) => inspect_into(bytes, record),
            Err(error) => CopyState::Unreadable(error),
        };
        match state {
            CopyState::Valid { .. } => {
                self.has_current = true;
                let copy = self.active.unwrap_or(0);
                Step::Done(Outcome::Read(RecordStatus::Current { copy }))
            }
            CopyState::Newer { version } => {
                self.block = self.active.unwrap_or(0);
                self.note(CopyState::Newer { version });
                self.ended(RecordStatus::Newer, record)
            }
            // The writing of this record was cut, so the record before it counts. The directory
            // says where it is.
            CopyState::Blank | CopyState::Invalid | CopyState::Unreadable(_) => {
                (self.limit, self.is_again) = (self.record_cell, true);
                self.block = self.active.take().unwrap_or(0);
                Step::Io(self.read_directory(layout))
            }
        }
    }
}
