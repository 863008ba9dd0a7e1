//! Power that fails at a chosen request.

use stillboot::device::{BlockDevice, DeviceError, Geometry};

use super::random::Random;

/// When, within a request, the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before anything of it happens.
    Before,
    /// After all of it happened; the caller does not learn that.
    After,
    /// In the middle. A flush cut in the middle is one cut before: what a drive stores without a
    /// flush, [`WriteCache::lose`](super::WriteCache::lose) decides.
    Torn(Tear),
}

/// What a request cut in the middle leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Its first bytes are done.
    Prefix(u64),
    /// Its last bytes are done.
    Suffix(u64),
    /// Chosen at random from this seed: of a write, each byte is old or new, in runs of one byte,
    /// of some, or of whole granules, or each bit is; of an erase, each byte is old, erased, or
    /// anything at all.
    Mixed(u64),
}

/// A device that can take note of what a cut left of a granule.
pub trait Torn: BlockDevice {
    /// The programming or erasing of the granule at `offset` was cut in the middle. Most media go by
    /// the bytes that are there.
    fn torn(&mut self, offset: u64) {
        let _ = offset;
    }
}

/// A request that changes the device: what power cuts are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// [`BlockDevice::write`].
    Write {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// [`BlockDevice::erase`].
    Erase {
        /// Where.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// [`BlockDevice::flush`].
    Flush,
}

/// A device whose power fails once, at a chosen [`Change`].
///
/// From then on, the cut request included, everything fails with [`DeviceError::Gone`] until
/// [`power_on`](Self::power_on). Requests that the geometry refuses are not counted.
#[derive(Clone, Debug)]
pub struct PowerCut<D> {
    device: D,
    plan: Option<(u64, Cut)>,
    is_off: bool,
    trace: Vec<Change>,
    reads: u64,
}

impl<D: BlockDevice> PowerCut<D> {
    /// A device with power and no plan to lose it.
    pub fn new(device: D) -> Self {
        Self { device, plan: None, is_off: false, trace: Vec::new(), reads: 0 }
    }

    /// Plans to cut the power at a change, counted from 0 since the device was made: the next one
    /// is [`operations`](Self::operations).
    pub fn cut_at(&mut self, operation: u64, cut: Cut) {
        self.plan = Some((operation, cut));
    }

    /// Cuts the power now.
    pub fn power_off(&mut self) {
        self.is_off = true;
    }

    /// Gives the power back, and forgets the plan. What a cache below lost is for the caller to
    /// say first, by [`device_mut`](Self::device_mut).
    pub fn power_on(&mut self) {
        self.is_off = false;
        self.plan = None;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.is_off
    }

    /// How many changes were asked for, the one that was cut included.
    pub fn operations(&self) -> u64 {
        self.trace.len() as u64
    }

    /// How many reads were asked for while the power was on.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// The changes, in order.
    pub fn trace(&self) -> &[Change] {
        &self.trace
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below, to do things to that no caller could.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Gives the device below back.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// Counts a change, and says whether and how it is cut.
    fn begin(&mut self, change: Change) -> Option<Cut> {
        let operation = self.operations();
        self.trace.push(change);
        let (_, cut) = self.plan.filter(|(at, _)| *at == operation)?;
        self.is_off = true;
        Some(cut)
    }

    fn require_power(&self) -> Result<(), DeviceError> {
        if self.is_off { Err(DeviceError::Gone) } else { Ok(()) }
    }
}

impl<D: Torn> PowerCut<D> {
    fn tear_write(&mut self, offset: u64, bytes: &[u8], tear: Tear) -> Result<(), DeviceError> {
        let before = self.cells(offset, bytes.len());
        let mut cells = before.clone();
        let granule = self.device.geometry().write_granule_bytes as usize;
        match tear {
            Tear::Prefix(_) | Tear::Suffix(_) => {
                let done = tear.range(bytes.len());
                cells[done.clone()].copy_from_slice(&bytes[done]);
            }
            Tear::Mixed(seed) => {
                let mut random = Random::new(seed);
                // Four successive seeds take one of each.
                let run = match seed % 4 {
                    0 => 1,
                    1 => 16,
                    2 => granule,
                    _ => {
                        for (cell, byte) in cells.iter_mut().zip(bytes) {
                            *cell ^= (*cell ^ byte) & random.next_u64() as u8;
                        }
                        return self.write_torn(offset, &before, &cells, bytes);
                    }
                };
                for (cells, bytes) in cells.chunks_mut(run).zip(bytes.chunks(run)) {
                    if random.chance(1, 2) {
                        cells.copy_from_slice(bytes);
                    }
                }
            }
        }
        // All of the range, also where it keeps its bytes: flash that was touched by a write that
        // was cut is not erased any more, even if it reads so.
        self.write_torn(offset, &before, &cells, bytes)
    }

    /// What is there; of what cannot be read, zeros.
    fn cells(&mut self, offset: u64, len: usize) -> Vec<u8> {
        let mut cells = vec![0; len];
        let granule = self.device.geometry().write_granule_bytes as usize;
        if self.device.read(offset, &mut cells).is_err() {
            let mut at = offset;
            for cells in cells.chunks_mut(granule) {
                if self.device.read(at, cells).is_err() {
                    cells.fill(0);
                }
                at += cells.len() as u64;
            }
        }
        cells
    }

    /// Writes what a cut left, and tells the device which granules it met in the middle.
    fn write_torn(
        &mut self,
        offset: u64,
        before: &[u8],
        cells: &[u8],
        after: &[u8],
    ) -> Result<(), DeviceError> {
        self.device.write(offset, cells)?;
        let granule = self.device.geometry().write_granule_bytes as usize;
        for from in (0..cells.len()).step_by(granule) {
            let of = |bytes: &[u8]| bytes[from..from + granule].to_vec();
            if of(cells) != of(before) && of(cells) != of(after) {
                self.device.torn(offset + from as u64);
            }
        }
        Ok(())
    }

    fn tear_erase(&mut self, offset: u64, len: u64, tear: Tear) -> Result<(), DeviceError> {
        // A device without erase has nothing to tear.
        let Some(erased) = self.device.geometry().erased else { return Ok(()) };
        let before = self.cells(offset, usize::try_from(len).expect("a disk fits in RAM"));
        let mut cells = before.clone();
        match tear {
            Tear::Prefix(_) | Tear::Suffix(_) => {
                let done = tear.range(cells.len());
                cells[done].fill(erased);
            }
            Tear::Mixed(seed) => {
                let mut random = Random::new(seed);
                for cell in &mut cells {
                    match random.below(4) {
                        0 => {}
                        1 => *cell = random.next_u64() as u8,
                        _ => *cell = erased,
                    }
                }
            }
        }
        self.device.erase(offset, len)?;
        // As above: cells that read as erased after an erase that was cut are not to be written.
        self.write_torn(offset, &before, &cells, &vec![erased; before.len()])
    }
}

impl Tear {
    fn range(self, len: usize) -> std::ops::Range<usize> {
        let clamp = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(len);
        match self {
            Self::Prefix(count) => 0..clamp(count),
            Self::Suffix(count) => len - clamp(count)..len,
            Self::Mixed(_) => 0..0,
        }
    }
}

impl<D: Torn> BlockDevice for PowerCut<D> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.require_power()?;
        self.geometry().check_read(offset, into.len() as u64)?;
        self.reads += 1;
        self.device.read(offset, into)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.require_power()?;
        let len = bytes.len() as u64;
        self.geometry().check_write(offset, len)?;
        // The caller does not hear what the device below answers to a request that is cut.
        let _ = match self.begin(Change::Write { offset, len }) {
            None => return self.device.write(offset, bytes),
            Some(Cut::Before) => Ok(()),
            Some(Cut::After) => self.device.write(offset, bytes),
            Some(Cut::Torn(tear)) => self.tear_write(offset, bytes, tear),
        };
        Err(DeviceError::Gone)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.require_power()?;
        self.geometry().check_erase(offset, len)?;
        let _ = match self.begin(Change::Erase { offset, len }) {
            None => return self.device.erase(offset, len),
            Some(Cut::Before) => Ok(()),
            Some(Cut::After) => self.device.erase(offset, len),
            Some(Cut::Torn(tear)) => self.tear_erase(offset, len, tear),
        };
        Err(DeviceError::Gone)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.require_power()?;
        let _ = match self.begin(Change::Flush) {
            None => return self.device.flush(),
            Some(Cut::Before | Cut::Torn(_)) => Ok(()),
            Some(Cut::After) => self.device.flush(),
        };
        Err(DeviceError::Gone)
    }
}
