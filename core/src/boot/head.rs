//! The head of a slot is read in windows, and verified.

use super::{Action, Boot};
use crate::format::{FormatError, Slot};
use crate::io::Io;
use crate::layout::Region;
use crate::units::round_down;
use crate::verify::{ClassError, Progress, Sha256, TrustError, check_class};

impl<'a, H: Sha256> Boot<'a, H> {
    /// Reads the head of `slot` from byte `from` on, at least `len` bytes of it. `None` where the
    /// head does not reach that far.
    pub(super) fn read_window(&mut self, slot: Slot, from: usize, len: usize) -> Option<Action> {
        let layout = &self.config.layout;
        let region = self.area.head(layout, slot)?;
        let geometry = layout.geometry(region.device);
        let start = round_down(from as u64, geometry.logical_block_bytes) as usize;
        let most = round_down(self.buffer_len as u64, geometry.logical_block_bytes);
        let there = region.len.saturating_sub(start as u64).min(most) as usize;
        if there < from - start + len {
            return None;
        }
        self.window = (start, there);
        let place = Region { offset: region.offset + start as u64, ..region };
        Some(Action::Io(Io::read(geometry, place, there, 0)))
    }

    /// The part of a head that was read.
    #[inline(never)]
    pub(super) fn window<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[..self.window.1]
    }

    /// Takes the window of the head of `slot` that was read. Gives the place in it where the
    /// manifest's payload starts, or the next action to read on, or the reason why the head is not
    /// trusted.
    pub(super) fn take_window(
        &mut self,
        slot: Slot,
        buffer: &[u8],
    ) -> Result<Result<usize, Action>, TrustError> {
        let (from, _) = self.window;
        let window = self.window(buffer);
        let device = &self.config.device;
        match self.head.take::<H>(device, slot.kind(), window, from)? {
            Progress::Done { payload, .. } => Ok(Ok(payload)),
            Progress::More { from, len } => match self.read_window(slot, from, len) {
                Some(action) => Ok(Err(action)),
                None => Err(self.head.format_error(FormatError::Short)),
            },
        }
    }

    /// Verifies the head of `slot` that is in the buffer, and makes its manifest the one at hand.
    /// The result says whether the manifest is for this device, or which action reads more of the
    /// head. The error says why the head is not trusted.
    pub(super) fn verify(
        &mut self,
        slot: Slot,
        buffer: &[u8],
    ) -> Result<Result<Result<(), ClassError>, Action>, TrustError> {
        let payload = match self.take_window(slot, buffer)? {
            Ok(payload) => payload,
            Err(action) => return Ok(Err(action)),
        };
        let device = &self.config.device;
        self.head.manifest(device, self.window(buffer), payload, &mut self.manifest)?;
        Ok(Ok(self.manifest.as_ref().map_or(Ok(()), |manifest| check_class(device, manifest))))
    }
}
