//! A drive that reports data as stored while it is only in the cache.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use twox_hash::XxHash3_128;

use super::random::Random;

/// A write-back cache: writes and erases reach the device below with a flush, or with a loss of
/// power in part and in any order.
///
/// Reads see what was written, flushed or not. Flash that refuses to be written twice refuses with
/// the flush here.
#[derive(Clone, Debug)]
pub struct WriteCache<D> {
    device: D,
    pending: Vec<Pending>,
    /// By the offset of a granule: the last of `pending` that touched it.
    latest: BTreeMap<u64, usize>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: u64, bytes: Arc<[u8]> },
    Erase { offset: u64, len: u64 },
}

impl<D: BlockDevice> WriteCache<D> {
    /// An empty cache.
    pub fn new(device: D) -> Self {
        Self { device, pending: Vec::new(), latest: BTreeMap::new() }
    }

    /// How many writes and erases wait for a flush.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The power failed: of what was not flushed, a random part reaches the device in random
    /// order, written granule by granule and erased block by block. The rest is lost.
    ///
    /// How large a part is random too, all and nothing included.
    ///
    /// # Errors
    /// What the device below says, except [`DeviceError::NotErased`]: a write that got ahead of
    /// the erase before it is as good as lost.
    pub fn lose(&mut self, seed: u64) -> Result<(), DeviceError> {
        let mut random = Random::new(seed);
        let mut pieces = self.take_pieces();
        let kept_of_four = random.below(5);
        pieces.retain(|_| random.chance(kept_of_four, 4));
        random.shuffle(&mut pieces);
        for piece in pieces {
            match piece.apply(&mut self.device) {
                Ok(()) | Err(DeviceError::NotErased) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The power failed, and of what was not flushed only the last `count` requests reached the
    /// device, in order: a cache may write the newest first.
    ///
    /// # Errors
    /// As [`lose`](Self::lose).
    pub fn keep_newest(&mut self, count: usize) -> Result<(), DeviceError> {
        let lost = self.pending.len().saturating_sub(count);
        self.pending.drain(..lost);
        for piece in self.take_pieces() {
            match piece.apply(&mut self.device) {
                Ok(()) | Err(DeviceError::NotErased) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Several devices stand one behind the other, each with a cache of its own, and this one of
    /// them is flushed.
    ///
    /// # Errors
    /// What the device below says; then nothing in `part` since its last flush may be relied on.
    pub fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError> {
        let all = std::mem::take(&mut self.pending);
        let (now, later): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|pending| part.contains(&pending.offset()));
        self.lose_all();
        for pending in later {
            self.push(pending);
        }
        now.iter().try_for_each(|pending| pending.apply(&mut self.device))?;
        self.device.flush()
    }

    /// The power failed, and of what was not flushed all in `part` reached the device and nothing
    /// else: the caches of two devices do not lose the same.
    ///
    /// # Errors
    /// As [`lose`](Self::lose).
    pub fn keep_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError> {
        let kept = self.flush_part(part);
        self.lose_all();
        match kept {
            Err(DeviceError::NotErased) => Ok(()),
            kept => kept,
        }
    }

    /// Names what is pending: equal for two that answer every further request alike, if their
    /// devices do.
    #[must_use]
    pub fn pending_hash(&self) -> u128 {
        let mut all = Vec::new();
        for pending in &self.pending {
            let (kind, bytes) = match pending {
                Pending::Write { bytes, .. } => (0_u8, &bytes[..]),
                Pending::Erase { .. } => (1, &[][..]),
            };
            all.push(kind);
            all.extend(pending.offset().to_le_bytes());
            all.extend(pending.len().to_le_bytes());
            all.extend(XxHash3_128::oneshot(bytes).to_le_bytes());
        }
        XxHash3_128::oneshot(&all)
    }

    /// The power failed, and nothing that was not flushed reached the device.
    pub fn lose_all(&mut self) {
        self.pending.clear();
        self.latest.clear();
    }

    /// The device below, as it is without what is pending.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below, to do things to that no caller could.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Gives the device below back; what was not flushed is lost.
    pub fn into_inner(self) -> D {
        self.device
    }

    fn take_pieces(&mut self) -> Vec<Pending> {
        let geometry = self.device.geometry();
        self.latest.clear();
        let mut pieces = Vec::new();
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write { offset, bytes } => {
                    let granule = geometry.write_granule_bytes as usize;
                    for (index, bytes) in bytes.chunks(granule).enumerate() {
                        let offset = offset + (index * granule) as u64;
                        pieces.push(Pending::Write { offset, bytes: bytes.into() });
                    }
                }
                Pending::Erase { offset, len } => {
                    let block = u64::from(geometry.erase_block_bytes);
                    for offset in (offset..offset + len).step_by(block as usize) {
                        pieces.push(Pending::Erase { offset, len: block });
                    }
                }
            }
        }
        pieces
    }

    fn push(&mut self, pending: Pending) {
        let (offset, len) = (pending.offset(), pending.len());
        if len == 0 {
            return;
        }
        let granule = self.device.geometry().write_granule_bytes as usize;
        for offset in (offset..offset + len).step_by(granule) {
            self.latest.insert(offset, self.pending.len());
        }
        self.pending.push(pending);
    }
}

impl Pending {
    fn offset(&self) -> u64 {
        match self {
            Self::Write { offset, .. } | Self::Erase { offset, .. } => *offset,
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Write { bytes, .. } => bytes.len() as u64,
            Self::Erase { len, .. } => *len,
        }
    }

    fn apply(&self, device: &mut impl BlockDevice) -> Result<(), DeviceError> {
        match self {
            Self::Write { offset, bytes } => device.write(*offset, bytes),
            Self::Erase { offset, len } => device.erase(*offset, *len),
        }
    }
}

/// What is cut reaches a cache, not the medium.
impl<D: BlockDevice> super::Torn for WriteCache<D> {}

impl<D: BlockDevice> BlockDevice for WriteCache<D> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let geometry = self.device.geometry();
        self.device.read(offset, into)?;
        let granule = u64::from(geometry.write_granule_bytes);
        let end = offset + into.len() as u64;
        for (&start, &index) in self.latest.range(offset / granule * granule..end) {
            // A read may begin and end inside of a granule.
            let (from, to) = (start.max(offset), (start + granule).min(end));
            let target = &mut into[(from - offset) as usize..(to - offset) as usize];
            match &self.pending[index] {
                Pending::Write { offset, bytes } => {
                    let skip = (from - offset) as usize;
                    target.copy_from_slice(&bytes[skip..skip + target.len()]);
                }
                // Only devices with an erased value keep an erase pending.
                Pending::Erase { .. } => target.fill(geometry.erased.unwrap_or(0)),
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.device.geometry().check_write(offset, bytes.len() as u64)?;
        self.push(Pending::Write { offset, bytes: bytes.into() });
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        let geometry = self.device.geometry();
        geometry.check_erase(offset, len)?;
        if geometry.erased.is_some() {
            self.push(Pending::Erase { offset, len });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        let flushed = self.pending.iter().try_for_each(|pending| pending.apply(&mut self.device));
        // Also after an error: then nothing since the last flush may be relied on.
        self.lose_all();
        flushed?;
        self.device.flush()
    }
}
