//! Marks in erase blocks of their own, and room that is made ready for heads and indexes.

use crate::device::DeviceError;
use crate::format::{Mark, MarkKind, Slot, mark};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, Part, Region};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Erasing the room for a head or an index.
    Room,
    /// Destroying a mark.
    Erase(Part),
    Zero(Part),
    EndFlush,
    /// Writing a mark.
    MarkErase,
    MarkWrite,
    MarkFlush,
    MarkCheck,
}

#[derive(Clone, Debug)]
pub(super) struct Parts {
    at: usize,
    phase: Phase,
    slot: Slot,
    mark: Mark,
}

impl Parts {
    pub(super) const fn new(at: usize) -> Self {
        let mark = Mark { kind: MarkKind::Committed, digest: [0; 32] };
        Self { at, phase: Phase::Idle, slot: Slot::A, mark }
    }

    pub(super) fn begin_erase(&mut self, region: Region) -> Step<IoResult> {
        self.phase = Phase::Room;
        Step::Io(Io::erase(region))
    }

    pub(super) fn begin_unmark(&mut self, layout: &Layout<'_>, slot: Slot) -> Step<IoResult> {
        self.slot = slot;
        self.erase(layout, Phase::Erase(Part::Commit), Part::Commit)
    }

    pub(super) fn begin_mark(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        mark: Mark,
    ) -> Step<IoResult> {
        (self.slot, self.mark) = (slot, mark);
        self.erase(layout, Phase::MarkErase, self.part())
    }

    /// The block of the mark at hand.
    const fn part(&self) -> Part {
        match self.mark.kind {
            MarkKind::Committed => Part::Commit,
            MarkKind::Confirmed => Part::Confirmed,
        }
    }

    fn erase(&mut self, layout: &Layout<'_>, phase: Phase, part: Part) -> Step<IoResult> {
        self.phase = phase;
        match layout.part(self.slot, part) {
            Ok(region) => Step::Io(Io::erase(region)),
            Err(_) => Step::Done(Err(DeviceError::OutOfRange)),
        }
    }

    pub(super) fn step(
        &mut self,
        layout: &Layout<'_>,
        result: IoResult,
        buffer: &mut [u8],
    ) -> Step<IoResult> {
        if let Err(error) = result {
            self.phase = Phase::Idle;
            return Step::Done(Err(error));
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Idle);
        let part = match phase {
            Phase::Erase(part) | Phase::Zero(part) => part,
            _ => self.part(),
        };
        let Ok(region) = layout.part(self.slot, part) else { return Step::Done(Ok(())) };
        let geometry = layout.geometry(region.device);
        let (at, end) = (self.at, self.at + mark::LEN);
        match phase {
            // Where erasing does nothing, zeros destroy the mark.
            Phase::Erase(part) if geometry.erased.is_none() => {
                self.phase = Phase::Zero(part);
                buffer[at..end].fill(0);
                Step::Io(Io::write_padded(geometry, region, buffer, at, mark::LEN))
            }
            Phase::Erase(Part::Commit) | Phase::Zero(Part::Commit) => {
                self.erase(layout, Phase::Erase(Part::Confirmed), Part::Confirmed)
            }
            Phase::Erase(_) | Phase::Zero(_) => {
                self.phase = Phase::EndFlush;
                Step::Io(Io::Flush { device: region.device })
            }
            Phase::MarkErase => {
                self.phase = Phase::MarkWrite;
                buffer[at..end].copy_from_slice(&self.mark.emit());
                Step::Io(Io::write_padded(geometry, region, buffer, at, mark::LEN))
            }
            Phase::MarkWrite if !crate::canary::Canary::NoFlushBeforeSwitch.is_on() => {
                self.phase = Phase::MarkFlush;
                Step::Io(Io::Flush { device: region.device })
            }
            // A mark that was written to a wrong place may have damaged bytes that were read back
            // before.
            Phase::MarkWrite | Phase::MarkFlush => {
                self.phase = Phase::MarkCheck;
                Step::Io(Io::read(geometry, region, mark::LEN, at))
            }
            Phase::MarkCheck => Step::Done(match Mark::parse(self.mark.kind, &buffer[at..end]) {
                Ok(found) if found == self.mark => Ok(()),
                _ => Err(DeviceError::NotKept),
            }),
            Phase::Idle | Phase::Room | Phase::EndFlush => Step::Done(Ok(())),
        }
    }
}
