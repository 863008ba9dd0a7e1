//! What really stands in the metadata area of a disk: read without the core, for the oracle and for
//! the code that damages a disk on purpose.

use stillboot::format::log::{self, CELL_LEN, Cell, DIRECTORY_LEN_MAX, EntryKind, HEADER_LEN};
use stillboot::format::{Mark, MarkKind, Record, SLOTS_MAX, Slot, mark, record};
use stillboot::layout::Part;

use crate::world::DeviceMap;

/// Reads bytes of the joined disk.
pub type Get<'a> = dyn FnMut(u64, usize) -> Vec<u8> + 'a;

/// A log block as it stands on the disk.
#[derive(Clone, Debug)]
struct Block {
    /// First byte on the joined disk.
    at: u64,
    generation: u64,
    /// Sound cells in order, with the offset of each in the block.
    cells: Vec<(usize, Cell)>,
}

/// Sizes of a log, as `docs/FORMAT.md` has them.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    cell: usize,
    header: usize,
    directory: usize,
    block: usize,
}

impl Sizes {
    /// Whether the body of a cell stands where one may: on a cell, behind the directory, inside.
    fn has_place(&self, cell: &Cell) -> bool {
        let (offset, len) = (cell.offset as usize, cell.cells as usize * self.cell);
        cell.cells == 0
            || offset.is_multiple_of(self.cell)
                && offset >= self.directory
                && offset + len <= self.block
    }
}

fn sizes(ground: &DeviceMap) -> Sizes {
    let geometry = |device: u8| ground.geometries()[usize::from(device)];
    let granules =
        ground.places().iter().map(|place| geometry(place.device).write_granule_bytes as usize);
    let cell = granules.max().unwrap_or(0).max(CELL_LEN);
    let block = ground.places().iter().map(|place| place.len as usize).min().unwrap_or(0);
    Sizes {
        cell,
        header: HEADER_LEN.next_multiple_of(cell),
        directory: (block / 8).min(DIRECTORY_LEN_MAX) / cell * cell,
        block,
    }
}

fn blocks(ground: &DeviceMap, get: &mut Get<'_>) -> Vec<Block> {
    let sizes = sizes(ground);
    let Sizes { cell, header, directory, .. } = sizes;
    let mut blocks = Vec::new();
    for place in ground.places() {
        let at = ground.place(*place);
        let mut bytes = get(at, directory);
        let second = directory - header;
        let header_of = |bytes: &[u8]| {
            [0, second].into_iter().find_map(|at| log::parse_header(&bytes[at..]).ok())
        };
        if header_of(&bytes).is_none() {
            // Perhaps one of its cells cannot be read, and all others can.
            bytes =
                (0..directory).step_by(cell).flat_map(|from| get(at + from as u64, cell)).collect();
        }
        let Some(generation) = header_of(&bytes) else { continue };
        let offsets = (header..second).step_by(cell);
        let cells = offsets
            .filter_map(|offset| Some((offset, Cell::parse(&bytes[offset..], generation).ok()?)))
            .filter(|(_, cell)| sizes.has_place(cell));
        blocks.push(Block { at, generation, cells: cells.collect() });
    }
    // In force is the highest.
    blocks.sort_by_key(|block| std::cmp::Reverse(block.generation));
    blocks
}

impl DeviceMap {
    /// Where copies of the record stand, and how long each may be: every place, or every entry of
    /// every log block.
    pub fn records(&self, get: &mut Get<'_>) -> Vec<(u64, usize)> {
        if !self.is_log() {
            return self.places().iter().map(|at| (self.place(*at), record::LEN_MAX)).collect();
        }
        let cell_len = sizes(self).cell;
        let entries =
            blocks(self, get).into_iter().flat_map(|block| {
                let at = block.at;
                block.cells.into_iter().filter(|(_, cell)| cell.kind == EntryKind::Record).map(
                    move |(_, cell)| (at + u64::from(cell.offset), cell.cells as usize * cell_len),
                )
            });
        entries.collect()
    }

    /// Where the head of a slot stands, and how long it may be.
    pub fn head(&self, get: &mut Get<'_>, slot: Slot) -> Option<(u64, usize)> {
        if !self.is_log() {
            let slots = self.slots();
            let layout = self.layout(&slots).ok()?;
            let region = layout.part(slot, Part::Trust).ok()?;
            return Some((self.place(region), region.len as usize));
        }
        let cell_len = sizes(self).cell;
        let block = self.in_force(get)?;
        let mut heads = block.cells.iter().filter(|(_, cell)| cell.kind == EntryKind::Head);
        let (_, cell) = heads.rfind(|(_, cell)| cell.slot == slot as u8)?;
        Some((block.at + u64::from(cell.offset), cell.cells as usize * cell_len))
    }

    /// The block that counts: the highest with a sound record, or the highest.
    fn in_force(&self, get: &mut Get<'_>) -> Option<Block> {
        let cell_len = sizes(self).cell;
        let all = blocks(self, get);
        let mut is_sound = |block: &Block| {
            let records = block.cells.iter().filter(|(_, cell)| cell.kind == EntryKind::Record);
            records.into_iter().any(|(_, cell)| {
                let len = (cell.cells as usize * cell_len).min(record::LEN_MAX);
                Record::parse(&get(block.at + u64::from(cell.offset), len)).is_ok()
            })
        };
        let found = all.iter().position(&mut is_sound).unwrap_or(0);
        all.into_iter().nth(found)
    }

    /// Whether a mark of the manifest `digest` stands in the slot.
    pub fn is_marked(
        &self,
        get: &mut Get<'_>,
        slot: Slot,
        kind: MarkKind,
        digest: &[u8; 32],
    ) -> bool {
        if !self.is_log() {
            let slots = self.slots();
            let Ok(layout) = self.layout(&slots) else { return false };
            let part = match kind {
                MarkKind::Committed => Part::Commit,
                MarkKind::Confirmed => Part::Confirmed,
            };
            let Ok(region) = layout.part(slot, part) else { return false };
            let bytes = get(self.place(region), mark::LEN);
            return Mark::parse(kind, &bytes).is_ok_and(|mark| mark.digest == *digest);
        }
        let Some(block) = self.in_force(get) else { return false };
        let mut marked = [[false; SLOTS_MAX]; 2];
        for (_, cell) in &block.cells {
            let slot = usize::from(cell.slot);
            match cell.kind {
                EntryKind::Committed => marked[0][slot] = true,
                EntryKind::Confirmed => marked[1][slot] = true,
                EntryKind::Head | EntryKind::Unmarked => {
                    marked[0][slot] = false;
                    marked[1][slot] = false;
                }
                _ => {}
            }
        }
        marked[kind as usize][slot as usize]
    }

    /// What has to be written, and where, for the record to have the highest number there is: the
    /// sequence of its copy, or the generation of its log block.
    pub fn with_highest_number(&self, get: &mut Get<'_>) -> Vec<(u64, Vec<u8>)> {
        if !self.is_log() {
            let mut newest: Option<(u64, Record)> = None;
            for (at, len) in self.records(get) {
                if let Ok(record) = Record::parse(&get(at, len))
                    && newest.as_ref().is_none_or(|(_, other)| record.sequence > other.sequence)
                {
                    newest = Some((at, record));
                }
            }
            let Some((at, mut record)) = newest else { return Vec::new() };
            record.sequence = record::SEQUENCE_MAX;
            let mut bytes = vec![0; record::LEN_MAX];
            let len = record.emit(&mut bytes).expect("a record that was read");
            bytes.truncate(len);
            return vec![(at, bytes)];
        }
        let Sizes { header, directory, .. } = sizes(self);
        let Some(block) = self.in_force(get) else { return Vec::new() };
        let highest = log::GENERATION_MAX;
        let mut changes: Vec<_> = [0, directory - header]
            .map(|at| (block.at + at as u64, log::emit_header(highest).to_vec()))
            .into();
        for (offset, cell) in &block.cells {
            changes.push((block.at + *offset as u64, cell.emit(highest).to_vec()));
        }
        changes
    }
}
