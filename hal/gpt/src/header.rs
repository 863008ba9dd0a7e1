//! Reads the header and the entries of one table, by their checksums.

use alloc::vec;
use alloc::vec::Vec;

use gpt_disk_types::GptHeader;
use stillboot::device::{BlockDevice, Geometry};

use crate::label::LABEL_BYTES;
use crate::table::Fault;

/// Eight times what every tool writes.
const ENTRIES_MAX: u32 = 1024;
/// Length of an entry.
pub const ENTRY_BYTES: u32 = 128;
/// Length of a header.
pub const HEADER_BYTES: usize = 92;

/// The number of the last block, if there is room for a table.
#[must_use]
pub fn last_block(device: &dyn BlockDevice) -> Option<u64> {
    let Geometry { logical_block_bytes: block, capacity_bytes, .. } = device.geometry();
    let blocks = capacity_bytes / u64::from(block.max(1));
    ((block as usize) >= LABEL_BYTES && blocks >= 3).then(|| blocks - 1)
}

/// The header in these bytes, if its checksum is right.
pub fn sound_header(bytes: &[u8]) -> Result<GptHeader, Fault> {
    let header: GptHeader = bytemuck::pod_read_unaligned(bytes);
    if !header.is_signature_valid() {
        return Err(Fault::Missing);
    }
    if header.header_size.to_u32() as usize != HEADER_BYTES {
        return Err(Fault::Header("its length is not 92 bytes"));
    }
    if header.header_crc32.0.to_u32() != header_sum(&header) {
        return Err(Fault::Header("the checksum does not match"));
    }
    Ok(header)
}

/// The checksum of a header, which counts its own field as zeros.
#[must_use]
pub fn header_sum(header: &GptHeader) -> u32 {
    let mut header = *header;
    header.header_crc32 = gpt_disk_types::Crc32::default();
    stillboot::format::crc32(bytemuck::bytes_of(&header))
}

/// The checksum of entries.
#[must_use]
pub fn entries_sum(entries: &[u8]) -> u32 {
    stillboot::format::crc32(entries)
}

/// The header in block `lba`, if it is sound; nothing is said of its entries.
///
/// # Errors
/// [`Fault`].
pub fn read_header(device: &mut dyn BlockDevice, lba: u64) -> Result<GptHeader, Fault> {
    let header = read_header_alone(device, lba)?;
    match last_block(device) {
        Some(last) if header.last_usable_lba.to_u64() <= last => Ok(header),
        _ => Err(Fault::Header("its space for partitions is not on the disk")),
    }
}

/// As [`read_header`]; its space for partitions may end beyond the disk.
pub fn read_header_alone(device: &mut dyn BlockDevice, lba: u64) -> Result<GptHeader, Fault> {
    let wrong = |why| Err(Fault::Header(why));
    let block = device.geometry().logical_block_bytes;
    let Some(last) = last_block(device).filter(|last| lba <= *last) else {
        return wrong("it is not on the disk");
    };
    let mut bytes = vec![0; block as usize];
    device.read(lba * u64::from(block), &mut bytes).map_err(Fault::Device)?;
    let header = sound_header(&bytes[..HEADER_BYTES])?;
    if header.my_lba.to_u64() != lba {
        return wrong("it says that it lies elsewhere");
    }
    if header.size_of_partition_entry.to_u32() != ENTRY_BYTES {
        return wrong("its entries have not 128 bytes");
    }
    if header.number_of_partition_entries.to_u32() > ENTRIES_MAX {
        return wrong("it has more than 1024 entries");
    }
    let start = header.partition_entry_lba.to_u64();
    let blocks = entries_len(&header).div_ceil(block as usize) as u64;
    if start < 1 || start > last || blocks > last + 1 - start {
        return wrong("its entries are not on the disk");
    }
    let (first, end) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    if first < 2 || first > end {
        return wrong("its space for partitions is not on the disk");
    }
    Ok(header)
}

/// The entries that a header names, if their checksum is right.
pub fn read_entries(device: &mut dyn BlockDevice, header: &GptHeader) -> Result<Vec<u8>, Fault> {
    let block = device.geometry().logical_block_bytes;
    let len = entries_len(header);
    let mut bytes = vec![0; len.next_multiple_of(block as usize)];
    let start = header.partition_entry_lba.to_u64();
    device.read(start * u64::from(block), &mut bytes).map_err(Fault::Device)?;
    bytes.truncate(len);
    if entries_sum(&bytes) != header.partition_entry_array_crc32.0.to_u32() {
        return Err(Fault::Entries("the checksum does not match"));
    }
    Ok(bytes)
}

fn entries_len(header: &GptHeader) -> usize {
    (header.number_of_partition_entries.to_u32() * ENTRY_BYTES) as usize
}
