//! The bytes of a log block: its header and the cells of its directory.
//!
//! ```text
//! header                              cell
//!  0  4  magic "SBLG"                  0  1  kind
//!  4  2  version = 1                   1  1  slot number
//!  6  2  zero                          2  1  component number
//!  8  8  generation                    3  1  zero
//! 16 12  zero                          4  4  offset of the body in the block
//! 28  4  CRC-32 of bytes 0..28         8  4  length of the body in cells
//!                                     12  4  CRC-32 of the generation, then bytes 0..12
//! ```
//!
//! The header is at the start of the directory and at its end, so that one worn granule does not
//! cost the block. A cell's checksum includes the generation of its block. So on a medium that is
//! not erased, a cell of an earlier generation is no entry.

// Why: docs/DESIGN.md#why-header-twice

use super::codes::code_enum;
use super::manifest::COMPONENTS_MAX;
use super::{Field, FormatError, SLOTS_MAX, u16_at, u32_at, u64_at};

/// Magic bytes of a log block.
pub const MAGIC: [u8; 4] = *b"SBLG";
/// The only version.
pub const VERSION: u16 = 1;
/// Length of a header in bytes.
pub const HEADER_LEN: usize = 32;
/// Length of a cell in bytes, where a write granule is not longer.
pub const CELL_LEN: usize = 16;
/// Longest directory in bytes, header included.
pub const DIRECTORY_LEN_MAX: usize = 2048;
/// Highest generation. The one after it starts again at a low one.
pub const GENERATION_MAX: u64 = (1 << 63) - 1;

code_enum! {
    /// What an entry is.
    pub enum EntryKind {
        /// A boot record.
        Record = 1, "record";
        /// The head of a slot: keyset and manifest envelope.
        Head = 2, "head";
        /// The index of one component of a slot.
        Index = 3, "index";
        /// The slot is complete.
        Committed = 4, "committed";
        /// The slot's system has proven its health.
        Confirmed = 5, "confirmed";
        /// The slot is neither complete nor confirmed any more.
        Unmarked = 6, "unmarked";
    }
}

/// An entry of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it is.
    pub kind: EntryKind,
    /// Slot number; 0 for a record.
    pub slot: u8,
    /// Component number; 0 unless it is an index.
    pub component: u8,
    /// Where the body stands in the block, in bytes; 0 without a body.
    pub offset: u32,
    /// Length of the body in cells; 0 without a body.
    pub cells: u32,
}

impl Cell {
    /// Reads a cell of a block of this generation.
    ///
    /// # Errors
    /// [`FormatError`]: erased, torn, or of another generation. A kind that this build does not
    /// know is no error here: the cell is sound, and the log is of a later version.
    pub fn parse(bytes: &[u8], generation: u64) -> Result<Self, FormatError> {
        let bytes = bytes.first_chunk::<CELL_LEN>().ok_or(FormatError::Short)?;
        if u32_at(bytes, 12) != checksum(generation, bytes) {
            return Err(FormatError::Checksum);
        }
        let cell = Self {
            kind: EntryKind::from_code(bytes[0]),
            slot: bytes[1],
            component: bytes[2],
            offset: u32_at(bytes, 4),
            cells: u32_at(bytes, 8),
        };
        // The other fields of an unknown kind are not known either.
        if cell.kind.is_known() && !(bytes[3] == 0 && cell.is_sound()) {
            return Err(FormatError::Bounds(Field::Reserved));
        }
        Ok(cell)
    }

    /// Whether slot, component and body are valid for the kind.
    fn is_sound(&self) -> bool {
        let has_body = matches!(self.kind, EntryKind::Record | EntryKind::Head | EntryKind::Index);
        let slots = if self.kind == EntryKind::Record { 1 } else { SLOTS_MAX };
        let components = if self.kind == EntryKind::Index { COMPONENTS_MAX } else { 1 };
        usize::from(self.slot) < slots
            && usize::from(self.component) < components
            && has_body == (self.cells != 0)
            && has_body == (self.offset != 0)
    }

    /// The cell's bytes in a block of this generation.
    #[must_use]
    pub fn emit(&self, generation: u64) -> [u8; CELL_LEN] {
        let mut out = [0; CELL_LEN];
        out[0] = self.kind.code();
        out[1] = self.slot;
        out[2] = self.component;
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.cells.to_le_bytes());
        let crc = checksum(generation, &out);
        out[12..].copy_from_slice(&crc.to_le_bytes());
        out
    }
}

// Why: docs/DESIGN.md#why-generation-in-checksum
fn checksum(generation: u64, cell: &[u8; CELL_LEN]) -> u32 {
    let mut covered = [0; 8 + 12];
    covered[..8].copy_from_slice(&generation.to_le_bytes());
    covered[8..].copy_from_slice(&cell[..12]);
    super::crc32(&covered)
}

/// Reads the header of a block; gives its generation.
///
/// # Errors
/// [`FormatError::Version`] only for a sound header of another version.
pub fn parse_header(bytes: &[u8]) -> Result<u64, FormatError> {
    let bytes = bytes.first_chunk::<HEADER_LEN>().ok_or(FormatError::Short)?;
    if bytes[0..4] != MAGIC {
        return Err(FormatError::Magic);
    }
    if u32_at(bytes, 28) != super::crc32(&bytes[..28]) {
        return Err(FormatError::Checksum);
    }
    match u16_at(bytes, 4) {
        VERSION => {}
        found => return Err(FormatError::Version { found }),
    }
    let generation = u64_at(bytes, 8);
    if generation == 0 || generation > GENERATION_MAX {
        return Err(FormatError::Bounds(Field::Generation));
    }
    if bytes[6..8] != [0; 2] || bytes[16..28] != [0; 12] {
        return Err(FormatError::Bounds(Field::Reserved));
    }
    Ok(generation)
}

/// The bytes of the header of a block.
#[must_use]
pub fn emit_header(generation: u64) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[0..4].copy_from_slice(&MAGIC);
    out[4..6].copy_from_slice(&VERSION.to_le_bytes());
    out[8..16].copy_from_slice(&generation.to_le_bytes());
    let crc = super::crc32(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}
