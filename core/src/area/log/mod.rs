//! Record, heads, marks and indexes in an append-only log that two or more blocks share.
//!
//! Entries are appended to the block in force: first the cell of the directory, flushed, then the
//! body. So the rest of a body whose write was cut lies in a cell's extent and is never written
//! again. If there is no more room, or a write failed, everything live goes to another block. That
//! block is erased first and gets its header last: that write is the switch. A block is erased only
//! as the target of such a move. So everything that lived in it has been in a younger block, read
//! back, before.

// Why: docs/DESIGN.md#why-log-beside-blocks
// Why: docs/DESIGN.md#why-cell-before-body

mod appending;
mod moving;
mod reading;
mod sizes;
mod table;

use super::Outcome;
use crate::device::DeviceError;
use crate::format::log::DIRECTORY_LEN_MAX;
use crate::format::{Record, Slot};
use crate::io::{IoResult, Step};
use crate::layout::{Layout, PLACES_MAX};
use crate::record::CopyState;
use table::{EMPTY, Live, NO_ENTRY, Table};

/// Bytes of the buffer that the log needs: a directory, a record, or a piece of a body.
pub(super) const BUFFER_LEN: usize = DIRECTORY_LEN_MAX;

/// A part of a directory that is read by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Header { last: bool },
    Cell(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Reading the directory of a block.
    Directory,
    /// The directory cannot be read in one piece: its headers are read, then cell after cell.
    Piece(Piece),
    /// Reading the last record, or the last one before those that are not intact.
    Record,
    // Appending.
    Cell,
    CellFlush,
    Body,
    BodyFlush,
    CheckCell,
    CheckBody,
    /// Reading back, to see that the room for a head or an index is erased.
    CheckErased,
    // Moving to another block.
    Erase,
    RecordCell,
    RecordBody,
    MoveCell,
    MoveRead,
    MoveWrite,
    MoveFlush,
    CompareSource,
    CompareTarget,
    CheckDirectory,
    CheckRecord,
    Header {
        last: bool,
    },
    HeaderFlush,
    CheckHeader,
    /// Ending blocks that would outrank a generation that starts again, or that hold a record that
    /// is discarded.
    EndErase,
    EndFlush,
    EndCheck,
}

#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Where in the buffer reads go to and writes come from.
    at: usize,
    phase: Phase,
    /// The block that is read, or written.
    block: u8,
    again: bool,
    pub(super) states: [CopyState; PLACES_MAX],
    pub(super) has_current: bool,
    /// The block in force.
    active: Option<u8>,
    generation: u64,
    /// The highest generation that was seen or written.
    highest: u64,
    /// Records from this cell on are not intact.
    limit: u16,
    /// The cell of the record in the table.
    record_cell: u16,
    /// Only this block is read again, for an earlier record.
    is_again: bool,
    /// Blocks without an intact record, as bits. The blocks are read again without these.
    excluded: u8,
    /// No block has an intact record: heads are taken from the highest one.
    gave_up: bool,
    /// The first cell of the directory that may be written.
    cell: u16,
    /// The first cell of the block that a body may be written to.
    free: u16,
    /// A write to the block in force failed, or the block was not made for appending: the next
    /// write moves.
    is_worn: bool,
    table: Table,
    /// The entry that is appended.
    entry: Live,
    /// Blocks that the write under way has tried, as bits.
    tried: u8,
    /// Blocks that reported a successful write and did not keep it, as bits: they are tried last.
    unkept: u8,
    /// The write under way ends if a block did not keep it.
    stops: bool,
    failure: Option<DeviceError>,
    /// What an installation will append: cells of bodies, and entries.
    reserve: (u16, u16),
    /// The slot that a move leaves behind.
    given_up: Option<Slot>,
    // Of a move: number of the live thing, its part, and its new place.
    live: u16,
    done: u16,
    to: u16,
    /// Checksum of the piece that was read from its old place.
    sum: u32,
    new_generation: u64,
    without_record: bool,
}

/// The result of reading the directory of a block.
enum Directory {
    State(CopyState),
    Sound { generation: u64 },
}

impl Log {
    pub(super) const fn new(at: usize) -> Self {
        Self {
            at,
            phase: Phase::Idle,
            block: 0,
            again: false,
            states: [CopyState::Blank; PLACES_MAX],
            has_current: false,
            active: None,
            generation: 0,
            highest: 0,
            limit: u16::MAX,
            record_cell: 0,
            is_again: false,
            excluded: 0,
            gave_up: false,
            cell: 0,
            free: 0,
            is_worn: false,
            table: EMPTY,
            entry: NO_ENTRY,
            tried: 0,
            unkept: 0,
            stops: false,
            failure: None,
            reserve: (0, 0),
            given_up: None,
            live: 0,
            done: 0,
            to: 0,
            sum: 0,
            new_generation: 0,
            without_record: false,
        }
    }

    pub(super) fn step(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
        record: Option<&mut Record>,
    ) -> Step<Outcome> {
        let mut none = None;
        let record = match record {
            Some(record) => record,
            None => none.insert(Record::default()),
        };
        let phase = core::mem::replace(&mut self.phase, Phase::Idle);
        match phase {
            Phase::Directory => match result {
                Err(_) if !self.again => {
                    self.again = true;
                    Step::Io(self.read_directory_in(layout, Phase::Directory))
                }
                // Flash with error correction cannot read a granule whose programming was cut.
                Err(error) => {
                    self.note(CopyState::Unreadable(error));
                    Step::Io(self.read_piece(layout, Piece::Header { last: false }))
                }
                Ok(()) => {
                    self.look(layout, buffer);
                    self.next_directory(layout, record)
                }
            },
            Phase::Piece(piece) => self.step_piece(layout, piece, result, buffer, record),
            Phase::Record => self.step_record(layout, result, buffer, record),
            Phase::Cell => {
                // The flush before the first write of an entry has no effect of its own.
                if let Err(error) = result {
                    return self.append_failed(layout, error);
                }
                let (number, entry, generation) = (self.cell, self.entry, self.generation);
                self.cell += 1;
                self.free += entry.extent.len;
                self.phase = Phase::CellFlush;
                Step::Io(self.write_cell(layout, buffer, number, entry, generation))
            }
            Phase::CellFlush
            | Phase::Body
            | Phase::BodyFlush
            | Phase::CheckCell
            | Phase::CheckBody
            | Phase::CheckErased => self.step_append(layout, phase, result, buffer, record),
            Phase::Idle => Step::Done(Outcome::WriteFailed(DeviceError::Io)),
            _ => self.step_move(layout, phase, result, buffer, record),
        }
    }

    fn next_directory(&mut self, layout: &Layout<'_>, record: &mut Record) -> Step<Outcome> {
        if !self.is_again && usize::from(self.block) + 1 < layout.places().len() {
            self.block += 1;
            return Step::Io(self.read_directory(layout));
        }
        self.looked(layout, record)
    }
}
