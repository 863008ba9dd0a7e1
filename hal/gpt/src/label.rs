//! The MBR: what the first sector says of partitions.

use alloc::vec;

use gpt_disk_types::MasterBootRecord;
use stillboot::device::{BlockDevice, DeviceError};

/// What the first sector says of partitions.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    record: MasterBootRecord,
}

/// Length of an MBR.
pub const LABEL_BYTES: usize = 512;
const PROTECTIVE: u8 = 0xee;

impl Label {
    /// Reads it.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn read(device: &mut dyn BlockDevice) -> Result<Self, DeviceError> {
        let mut bytes = vec![0; device.geometry().logical_block_bytes as usize];
        device.read(0, &mut bytes)?;
        Ok(Self::new(&bytes))
    }

    /// From the first block of a disk.
    ///
    /// # Panics
    /// If it is shorter than 512 bytes.
    #[must_use]
    pub fn new(block: &[u8]) -> Self {
        Self { record: bytemuck::pod_read_unaligned(&block[..LABEL_BYTES]) }
    }

    /// The last block that the protective partition covers.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        let at = self.record.partitions.iter().find(|at| at.os_indicator == PROTECTIVE)?;
        (u64::from(at.starting_lba.to_u32()) + u64::from(at.size_in_lba.to_u32())).checked_sub(1)
    }

    fn is_signed(&self) -> bool {
        self.record.signature == [0x55, 0xaa]
    }

    /// Whether it says that a GUID partition table follows: by the rule of the kernel, one partition
    /// of that type that starts in block 1, whatever else there is.
    #[must_use]
    pub fn is_protective(&self) -> bool {
        let protects = |at: &gpt_disk_types::MbrPartitionRecord| {
            at.os_indicator == PROTECTIVE && at.starting_lba.to_u32() == 1
        };
        self.is_signed() && self.record.partitions.iter().any(protects)
    }

    /// Whether it has partitions of its own.
    #[must_use]
    pub fn has_partitions(&self) -> bool {
        self.partitions().next().is_some()
    }

    /// Whether it begins as file systems and their boot code do, with a jump: a disk that was
    /// formatted as a whole.
    #[must_use]
    pub fn is_file_system(&self) -> bool {
        self.is_signed() && matches!(self.record.boot_strap_code, [0xeb, _, 0x90, ..] | [0xe9, ..])
    }

    /// Its own partitions: first block and length.
    pub fn partitions(&self) -> impl Iterator<Item = (u64, u64)> {
        let is_signed = self.is_signed();
        self.record
            .partitions
            .iter()
            .filter(move |at| is_signed && ![0, PROTECTIVE].contains(&at.os_indicator))
            .map(|at| (at.starting_lba.to_u32().into(), at.size_in_lba.to_u32().into()))
    }
}
