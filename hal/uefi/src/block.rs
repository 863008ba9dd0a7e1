//! A whole disk of the firmware as a block device.

use core::fmt;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use uefi::boot::ScopedProtocol;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Status};

use crate::clock::READING;
use crate::memory::Pages;

/// Bytes that go through the buffer of our own at a time, when the caller's does not suit the disk.
const BOUNCE_LEN: usize = 64 << 10;

/// A disk, reached through EFI block I/O.
///
/// It is the medium that was there when the disk was opened: if that is changed, every later call
/// fails with [`DeviceError::Gone`], for nothing that was read from the old one says anything of
/// the new one.
pub struct EfiDisk {
    io: ScopedProtocol<BlockIO>,
    handle: Handle,
    media_id: u32,
    /// What the address of a buffer must be a multiple of.
    align: usize,
    geometry: Geometry,
    bounce: Option<Pages>,
}

impl fmt::Debug for EfiDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EfiDisk").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl EfiDisk {
    /// The disk behind `io`, or `None` without a medium, for a partition of another disk, or with
    /// sectors that are no power of two from 512 to 4096.
    pub(crate) fn new(handle: Handle, io: ScopedProtocol<BlockIO>) -> Option<Self> {
        let media = io.media();
        let block = media.block_size();
        if !media.is_media_present()
            || media.is_logical_partition()
            || !block.is_power_of_two()
            || !(512..=4096).contains(&block)
        {
            return None;
        }
        let capacity = media.last_block().checked_add(1)?.checked_mul(block.into())?;
        let (media_id, align) = (media.media_id(), media.io_align().max(1) as usize);
        let geometry = Geometry::disk(block, capacity);
        Some(Self { io, handle, media_id, align, geometry, bounce: None })
    }

    /// The firmware's handle of the disk.
    #[must_use]
    pub const fn handle(&self) -> Handle {
        self.handle
    }

    fn suits(&self, buffer: *const u8) -> bool {
        buffer.addr() & (self.align - 1) == 0 || !self.align.is_power_of_two()
    }

    fn lba(&self, offset: u64) -> u64 {
        offset / u64::from(self.geometry.logical_block_bytes)
    }
}

impl BlockDevice for EfiDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        // Some firmware refuses a length of 0.
        if into.is_empty() {
            return Ok(());
        }
        let (mut lba, len) = (self.lba(offset), into.len());
        if self.suits(into.as_ptr()) {
            let read = || self.io.read_blocks(self.media_id, lba, into);
            return READING.time(len, read).map_err(|e| error_of(e.status()));
        }
        let bounce = bounce(&mut self.bounce)?;
        for piece in into.chunks_mut(BOUNCE_LEN) {
            let bytes = &mut bounce.bytes_mut()[..piece.len()];
            let len = bytes.len();
            let read = || self.io.read_blocks(self.media_id, lba, bytes);
            READING.time(len, read).map_err(|e| error_of(e.status()))?;
            piece.copy_from_slice(bytes);
            lba += piece.len() as u64 / u64::from(self.geometry.logical_block_bytes);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        if self.io.media().is_read_only() {
            return Err(DeviceError::ReadOnly);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let mut lba = self.lba(offset);
        if self.suits(bytes.as_ptr()) {
            let result = self.io.write_blocks(self.media_id, lba, bytes);
            return result.map_err(|e| error_of(e.status()));
        }
        let bounce = bounce(&mut self.bounce)?;
        for piece in bytes.chunks(BOUNCE_LEN) {
            let copy = &mut bounce.bytes_mut()[..piece.len()];
            copy.copy_from_slice(piece);
            self.io.write_blocks(self.media_id, lba, copy).map_err(|e| error_of(e.status()))?;
            lba += piece.len() as u64 / u64::from(self.geometry.logical_block_bytes);
        }
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        match self.io.flush_blocks() {
            Ok(()) => Ok(()),
            // Nothing can be waiting to be written.
            Err(_) if self.io.media().is_read_only() => Ok(()),
            Err(error) => Err(error_of(error.status())),
        }
    }
}

/// Made when it is first needed: the loader's own buffers are pages and suit every disk.
fn bounce(place: &mut Option<Pages>) -> Result<&mut Pages, DeviceError> {
    if place.is_none() {
        *place = Pages::new(BOUNCE_LEN);
    }
    place.as_mut().ok_or(DeviceError::Io)
}

fn error_of(status: Status) -> DeviceError {
    match status {
        Status::WRITE_PROTECTED => DeviceError::ReadOnly,
        Status::MEDIA_CHANGED | Status::NO_MEDIA => DeviceError::Gone,
        // The checks above exclude some of these errors: firmware that reports them is faulty.
        _ => DeviceError::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_medium_is_told_from_a_broken_one() {
        assert_eq!(error_of(Status::MEDIA_CHANGED), DeviceError::Gone);
        assert_eq!(error_of(Status::NO_MEDIA), DeviceError::Gone);
        assert_eq!(error_of(Status::WRITE_PROTECTED), DeviceError::ReadOnly);
        assert_eq!(error_of(Status::DEVICE_ERROR), DeviceError::Io);
        assert_eq!(error_of(Status::INVALID_PARAMETER), DeviceError::Io);
    }
}
