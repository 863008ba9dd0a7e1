//! Where everything stands on the board: one page that the loader, the application and the tools on
//! the host agree on.
//!
//! ```text
//! flash (NOR, outside the address space)        memory (MPS2 with AN386, Cortex-M4)
//!   0x00000  boot record, three places            0x0000_0000  code of the loader
//!   0x04000  slot A, 116 KiB                      0x2000_0000  variables and stack of what runs
//!   0x21000  its head, 12 KiB                     0x2003_f000  what survives a reset
//!   0x24000  slot B, 116 KiB                      0x2100_0000  PSRAM: the image, started from here
//!   0x41000  its head, 12 KiB                     0x2108_0000  PSRAM: its settings
//! ```
#![no_std]

use stillboot::device::Geometry;
use stillboot::format::Slot;
use stillboot::layout::{Area, Layout, LayoutError, Region, SlotLayout, SlotRegion};

/// Bytes of the flash.
pub const FLASH_BYTES: usize = 0x4_4000;
/// Bytes that are erased together.
pub const ERASE_BLOCK_BYTES: usize = 4096;
/// Bytes that are written together, once after each erase.
pub const WRITE_GRANULE_BYTES: usize = 8;

/// The chunk size that bundles for this board are made with.
pub const CHUNK_BYTES: u32 = 4096;
/// How often an update is tried.
pub const TRIES: u8 = 3;

/// Where the image is loaded to, and started.
pub const IMAGE_AT: usize = 0x2100_0000;
/// Longest image.
pub const IMAGE_BYTES_MAX: usize = 0x1_b000;
/// Where the image's settings are loaded to: a signed text, as a command line is.
pub const SETTINGS_AT: usize = 0x2108_0000;
/// Longest settings.
pub const SETTINGS_BYTES_MAX: usize = 4096;
/// Memory that neither program clears: what the loader tells the application, and what is still
/// known after a reset.
pub const RETAINED_AT: usize = 0x2003_f000;

/// How the virtual machine ends where real hardware would not.
pub mod exit {
    /// The power was cut, as the settings of the machine asked.
    pub const POWER_CUT: i32 = 75;
    /// Something was written that NOR flash cannot hold: a bug of the program that wrote it.
    pub const FLASH_LAW: i32 = 76;
    /// The settings of the machine make no sense, or its flash cannot be opened.
    pub const MACHINE: i32 = 77;
}

/// The flash.
pub const GEOMETRY: Geometry = Geometry {
    logical_block_bytes: 1,
    write_granule_bytes: WRITE_GRANULE_BYTES as u32,
    erase_block_bytes: ERASE_BLOCK_BYTES as u32,
    capacity_bytes: FLASH_BYTES as u64,
    erased: Some(0xff),
};

const RECORD: &[Region] = &[region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];
const SLOT_A: &[SlotRegion] = &[SlotRegion { region: region(0x0_4000, 0x1_d000), roles: &[] }];
const SLOT_B: &[SlotRegion] = &[SlotRegion { region: region(0x2_4000, 0x1_d000), roles: &[] }];
const SLOTS: &[SlotLayout<'static>] = &[
    SlotLayout::new(Slot::A, SLOT_A).with_head(region(0x2_1000, 0x3000)),
    SlotLayout::new(Slot::B, SLOT_B).with_head(region(0x4_1000, 0x3000)),
];

const fn region(offset: u64, len: u64) -> Region {
    Region { device: 0, offset, len }
}

/// The layout, checked.
///
/// # Errors
/// [`LayoutError`] if the constants of this file contradict each other.
pub fn layout() -> Result<Layout<'static>, LayoutError> {
    Layout::new(&[GEOMETRY], Area::Blocks(RECORD), SLOTS)
}
