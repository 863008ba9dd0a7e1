//! The metadata area: reads and writes the boot record, and the heads, marks and indexes of slots,
//! in either shape.
//!
//! Asks for operations one at a time and does none itself. No code here decides what is written.

#[cfg(feature = "log")]
mod log;
mod parts;
mod records;

use crate::device::DeviceError;
use crate::format::{Manifest, Mark, MarkKind, Record, Slot};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, LayoutError, PLACES_MAX, Part, Region};
use crate::record::{CopyState, RecordStatus};
use crate::units::round;

/// The result of a step of reading or writing the record.
pub(crate) enum Outcome {
    /// All copies are read. The record is the authoritative one, or the default where there is
    /// none.
    Read(RecordStatus),
    /// The record is written and durable.
    Written,
    /// The record is not written. The earlier one is still in force.
    WriteFailed(DeviceError),
}

/// Where a mark of a slot is found.
pub(crate) enum MarkAt {
    /// Here, to be read.
    Region(Region),
    /// The log has been read. This says whether it has the mark.
    #[cfg(feature = "log")]
    Entry(bool),
}

/// The metadata area as one machine uses it.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    records: records::Records,
    parts: parts::Parts,
    #[cfg(feature = "log")]
    log: log::Log,
}

impl Area {
    /// `at` is the place in the buffer where reads go to and writes come from.
    pub(crate) const fn new(at: usize) -> Self {
        Self {
            records: records::Records::new(at),
            parts: parts::Parts::new(at),
            #[cfg(feature = "log")]
            log: log::Log::new(at),
        }
    }

    /// Bytes of the buffer, from `at` on, that reading and writing need.
    pub(crate) const fn buffer_len(layout: &Layout<'_>) -> usize {
        let len = crate::format::record::LEN_MAX;
        #[cfg(feature = "log")]
        let len = if layout.is_log() { log::BUFFER_LEN } else { len };
        round(len, layout.unit() as u32)
    }

    /// The state of each place of the record, or of each block of the log, once they were read.
    pub(crate) fn states(&self, layout: &Layout<'_>) -> &[CopyState] {
        let states: &[CopyState; PLACES_MAX] = &self.records.states;
        #[cfg(feature = "log")]
        let states = if layout.is_log() { &self.log.states } else { states };
        states.get(..layout.places().len()).unwrap_or(&[])
    }

    /// Whether there is an authoritative copy, once all copies were read.
    pub(crate) fn has_current(&self) -> bool {
        #[cfg(feature = "log")]
        if self.log.has_current {
            return true;
        }
        self.records.has_current()
    }

    // The record.

    pub(crate) fn begin_read(&mut self, layout: &Layout<'_>) -> Io {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_read(layout);
        }
        self.records.begin_read(layout)
    }

    /// Begins to write `record` under the next sequence, never over the authoritative copy. In a
    /// log, the write makes room for the parts that an installation said it will append.
    ///
    /// A place that fails does no harm: the next one is written. But if a place reports that it
    /// holds the record and does not, the bytes may have gone elsewhere, over other data. Where
    /// that matters, `stops` ends the write as [`DeviceError::NotKept`]. A write that begins again
    /// goes to another place.
    pub(crate) fn begin_write(
        &mut self,
        layout: &Layout<'_>,
        record: &mut Record,
        stops: bool,
    ) -> Io {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_write(layout, record, stops);
        }
        self.records.begin_write(layout, record, stops)
    }

    /// Begins to destroy all copies of the record. Heads stay.
    pub(crate) fn begin_discard(&mut self, layout: &Layout<'_>) -> Io {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_discard(layout);
        }
        self.records.begin_discard(layout)
    }

    /// Takes the result of the operation that was asked for, and asks for the next one.
    // A function of its own, so that its stack is not under the verification of a slot.
    #[inline(never)]
    pub(crate) fn step_record(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
        record: &mut Record,
    ) -> Step<Outcome> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.step(layout, result, buffer, Some(record));
        }
        self.records.step(layout, result, buffer, record)
    }

    // Heads, marks and indexes.

    /// Where the head of a slot is; `None` if the log has no such head, or the layout no such slot.
    pub(crate) fn head(&self, layout: &Layout<'_>, slot: Slot) -> Option<Region> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.head(layout, slot);
        }
        layout.part(slot, Part::Trust).ok()
    }

    /// Where a mark of a slot is found.
    pub(crate) fn mark(&self, layout: &Layout<'_>, slot: Slot, kind: MarkKind) -> Option<MarkAt> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return Some(MarkAt::Entry(self.log.is_marked(slot, kind)));
        }
        let part = match kind {
            MarkKind::Committed => Part::Commit,
            MarkKind::Confirmed => Part::Confirmed,
        };
        layout.part(slot, part).ok().map(MarkAt::Region)
    }

    /// Where the index of a component is, in whole write granules; empty if the log has none.
    pub(crate) fn index(
        &self,
        layout: &Layout<'_>,
        slot: Slot,
        manifest: &Manifest,
        number: usize,
    ) -> Result<Region, LayoutError> {
        let region = layout.index(slot, manifest, number)?;
        #[cfg(feature = "log")]
        if layout.is_log() {
            return Ok(self.log.index(layout, slot, number).unwrap_or(region));
        }
        Ok(region)
    }

    /// Whether an installation of `manifest` to `slot`, with a head of `head_len` bytes, has room
    /// in the area.
    ///
    /// # Errors
    /// [`LayoutError::TooSmall`].
    pub(crate) fn check_room(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        manifest: &Manifest,
        head_len: usize,
    ) -> Result<(), LayoutError> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.check_room(layout, slot, manifest, head_len);
        }
        let _ = manifest;
        let available = layout.part(slot, Part::Trust)?.len;
        let needed = head_len as u64;
        if needed > available {
            return Err(LayoutError::TooSmall { needed, available });
        }
        Ok(())
    }

    /// The content of a slot is about to be replaced: no part of it has to be kept any more.
    pub(crate) fn give_up(&mut self, layout: &Layout<'_>, slot: Slot) {
        #[cfg(feature = "log")]
        if layout.is_log() {
            self.log.give_up(slot);
        }
        let _ = (layout, slot);
    }

    /// Whether the room that [`check_room`](Self::check_room) was asked for is missing in the block
    /// in force. The next write of the record makes it.
    pub(crate) fn lacks_room(&self, layout: &Layout<'_>) -> bool {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.lacks_room(layout);
        }
        let _ = layout;
        false
    }

    /// Begins to destroy the marks of a slot: commit block first, because a slot that is not
    /// committed is not used.
    pub(crate) fn begin_unmark(&mut self, layout: &Layout<'_>, slot: Slot) -> Step<IoResult> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_unmark(layout, slot);
        }
        self.parts.begin_unmark(layout, slot)
    }

    /// Begins to write a mark of a slot, and to read it back.
    pub(crate) fn begin_mark(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        mark: Mark,
    ) -> Step<IoResult> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_mark(layout, slot, mark.kind);
        }
        self.parts.begin_mark(layout, slot, mark)
    }

    /// Begins to make room for a head of `len` bytes. The caller then writes it where
    /// [`head`](Self::head) says.
    pub(crate) fn begin_head(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        len: usize,
    ) -> Step<IoResult> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_head(layout, slot, len);
        }
        let _ = len;
        match layout.part(slot, Part::Trust) {
            Ok(region) => self.parts.begin_erase(region),
            Err(_) => Step::Done(Err(DeviceError::OutOfRange)),
        }
    }

    /// Begins to make room for the index of a component, which has `len` bytes and belongs into
    /// `region`. The caller then writes it where [`index`](Self::index) says.
    pub(crate) fn begin_index(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        number: usize,
        region: Region,
        len: u64,
    ) -> Step<IoResult> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return self.log.begin_index(layout, slot, number, len);
        }
        let _ = (layout, slot, number, len);
        self.parts.begin_erase(region)
    }

    /// Takes the result of the operation on a head, a mark or an index that was asked for, and asks
    /// for the next one.
    #[inline(never)]
    pub(crate) fn step_part(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
    ) -> Step<IoResult> {
        #[cfg(feature = "log")]
        if layout.is_log() {
            return match self.log.step(layout, result, buffer, None) {
                Step::Io(io) => Step::Io(io),
                Step::Done(Outcome::WriteFailed(error)) => Step::Done(Err(error)),
                Step::Done(Outcome::Written | Outcome::Read(_)) => Step::Done(Ok(())),
            };
        }
        self.parts.step(layout, result, buffer)
    }
}
