//! A disk or a flash chip in memory that forks.

use stillboot::device::{BlockDevice, DeviceError, Geometry};

use super::pages::Pages;
use super::power::Torn;

/// What a write may do to bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A disk: writes replace.
    Rewritable,
    /// Flash whose controller or error correction allows one write per granule and erase: a second
    /// one is refused as [`DeviceError::NotErased`], also if it would change nothing.
    WriteOnce,
    /// The same, with error correction over each granule: one whose programming or erasing was cut
    /// does not match its check bits, and cannot be read until it is erased.
    ErrorCorrected,
    /// Plain NOR flash: a write only moves bits away from the erased value, and says nothing about
    /// those it could not move back.
    ClearBits,
}

/// What is noted of a granule whose programming or erasing was cut.
const CUT: u8 = 2;

/// A device in memory: durable at once, exact, and cheap to [`fork`](Self::fork).
#[derive(Clone, Debug)]
pub struct RamDisk {
    geometry: Geometry,
    law: Law,
    content: Pages,
    /// One byte per granule under [`Law::WriteOnce`] and [`Law::ErrorCorrected`]: 1 if written since
    /// it was erased, 2 if that was cut in the middle.
    written: Option<Pages>,
}

impl RamDisk {
    /// A device filled with one byte: a disk, or where the geometry has an erased value flash
    /// under [`Law::WriteOnce`], with granules as long as those of an STM32H7 under
    /// [`Law::ErrorCorrected`]. Flash that is not filled with its erased value counts as written.
    ///
    /// # Panics
    /// If the geometry is not valid, or the disk does not fit in memory.
    #[must_use]
    pub fn new(geometry: Geometry, fill: u8) -> Self {
        let law = match geometry.erased {
            None => Law::Rewritable,
            Some(_) if geometry.write_granule_bytes >= 32 => Law::ErrorCorrected,
            Some(_) => Law::WriteOnce,
        };
        Self::with_law(geometry, law, fill)
    }

    /// A device filled with one byte, under a law of your choice.
    ///
    /// # Panics
    /// As [`new`](Self::new), and if the law is [`Law::Rewritable`] for flash or another one for a
    /// disk.
    #[must_use]
    pub fn with_law(geometry: Geometry, law: Law, fill: u8) -> Self {
        assert!(geometry.is_valid(), "{geometry:?} is not valid");
        assert_eq!(geometry.erased.is_none(), law == Law::Rewritable, "{law:?} on {geometry:?}");
        let written = matches!(law, Law::WriteOnce | Law::ErrorCorrected).then(|| {
            let granules = geometry.capacity_bytes / u64::from(geometry.write_granule_bytes);
            Pages::new(granules, u8::from(geometry.erased != Some(fill)))
        });
        Self { geometry, law, content: Pages::new(geometry.capacity_bytes, fill), written }
    }

    /// A device that shares everything with this one until either is written: costs what a list
    /// of one reference per 256 KiB costs.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Names the state of the device: equal for two that answer every further request alike.
    ///
    /// Fast and incremental, no defence against a caller who chooses bytes to collide.
    #[must_use]
    pub fn content_hash(&self) -> u128 {
        let content = self.content.hash();
        // A rotation, so that equal parts do not cancel out.
        self.written.as_ref().map_or(content, |written| content ^ written.hash().rotate_left(1))
    }

    /// The bytes of any range, whatever the units.
    ///
    /// # Panics
    /// If the range reaches past the end.
    #[must_use]
    pub fn bytes(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut into = vec![0; len];
        self.content.read(offset, &mut into);
        into
    }

    /// Changes bytes behind the law's back: rot, tampering, or the state a test starts from.
    ///
    /// # Panics
    /// If the range reaches past the end.
    pub fn poke(&mut self, offset: u64, bytes: &[u8]) {
        self.content.write(offset, bytes);
    }

    /// What is noted of each granule that the range touches.
    fn marks(&self, offset: u64, len: u64) -> Vec<u8> {
        let granule = u64::from(self.geometry.write_granule_bytes);
        let (first, end) = (offset / granule, (offset + len).div_ceil(granule));
        let mut marks = vec![0; (end - first) as usize];
        if let Some(written) = &self.written {
            written.read(first, &mut marks);
        }
        marks
    }

    /// The law that it obeys.
    #[must_use]
    pub fn law(&self) -> Law {
        self.law
    }
}

impl Torn for RamDisk {
    fn torn(&mut self, offset: u64) {
        if self.law == Law::ErrorCorrected
            && let Some(written) = &mut self.written
        {
            written.fill(offset / u64::from(self.geometry.write_granule_bytes), 1, CUT);
        }
    }
}

impl BlockDevice for RamDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        if self.law == Law::ErrorCorrected && self.marks(offset, into.len() as u64).contains(&CUT) {
            return Err(DeviceError::Io);
        }
        self.content.read(offset, into);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        match self.law {
            Law::Rewritable => self.content.write(offset, bytes),
            Law::WriteOnce | Law::ErrorCorrected => {
                let marks = self.marks(offset, bytes.len() as u64);
                if marks.iter().any(|mark| *mark != 0) {
                    return Err(DeviceError::NotErased);
                }
                let first = offset / u64::from(self.geometry.write_granule_bytes);
                let written = self.written.as_mut().expect("kept under this law");
                written.fill(first, marks.len() as u64, 1);
                self.content.write(offset, bytes);
            }
            Law::ClearBits => {
                let erased = self.geometry.erased.expect("flash has an erased value");
                let mut cells = self.bytes(offset, bytes.len());
                for (cell, byte) in cells.iter_mut().zip(bytes) {
                    // Bits that differ from the erased value stay; others follow the write.
                    *cell = erased ^ ((*cell ^ erased) | (byte ^ erased));
                }
                self.content.write(offset, &cells);
            }
        }
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        if let Some(erased) = self.geometry.erased {
            self.content.fill(offset, len, erased);
        }
        if let Some(written) = &mut self.written {
            let granule = u64::from(self.geometry.write_granule_bytes);
            written.fill(offset / granule, len / granule, 0);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
