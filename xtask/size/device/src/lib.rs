//! The device under the measured crates. Its calls are to functions outside of the program, so that
//! the compiler knows nothing about them and can neither drop nor shorten what the core does around
//! them.
#![no_std]

use core::panic::PanicInfo;

// Not Rust's own memory functions: they are fast, and 2 KB.
use stillboot_mem as _;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver::{Memory, RollbackStore, StoreError};
use stillboot::format::{Architecture, Floor, Role, Slot, SlotKind};
use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
use stillboot::verify::{Device, Trust};
use stillboot_ed25519::SmallEd25519;

// Found at fixed addresses, see `device.x`.
unsafe extern "C" {
    fn device_read(device: u32, offset: u64, into: *mut u8, len: usize) -> u32;
    fn device_write(device: u32, offset: u64, bytes: *const u8, len: usize) -> u32;
    fn device_erase(device: u32, offset: u64, len: u64) -> u32;
    fn device_flush(device: u32) -> u32;
    fn device_capacity(device: u32) -> u64;
    fn device_report(number: u32);
}

/// The flash of the microcontroller: its sizes are in the data sheet.
const GEOMETRY: Geometry = Geometry {
    logical_block_bytes: 1,
    write_granule_bytes: 8,
    erase_block_bytes: 4096,
    capacity_bytes: 0x10_0000,
    erased: Some(0xff),
};

/// A device of which only the number is known here.
#[derive(Debug)]
pub struct ExternDevice(pub u32);

impl BlockDevice for ExternDevice {
    fn geometry(&self) -> Geometry {
        GEOMETRY
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: the device writes `len` bytes at most, into a slice of that length.
        check(unsafe { device_read(self.0, offset, into.as_mut_ptr(), into.len()) })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: the device reads `len` bytes at most, from a slice of that length.
        check(unsafe { device_write(self.0, offset, bytes.as_ptr(), bytes.len()) })
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        // SAFETY: the call takes and returns numbers only.
        check(unsafe { device_erase(self.0, offset, len) })
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        // SAFETY: the call takes and returns numbers only.
        check(unsafe { device_flush(self.0) })
    }
}

fn check(status: u32) -> Result<(), DeviceError> {
    match status {
        0 => Ok(()),
        _ => Err(DeviceError::Io),
    }
}

/// A number that the compiler does not know.
#[must_use]
pub fn number() -> u64 {
    // SAFETY: the call takes and returns numbers only.
    unsafe { device_capacity(0) }
}

/// Lets a number out of the program: a result that is reported must also be computed.
pub fn report(number: u32) {
    // SAFETY: the call takes a number only.
    unsafe { device_report(number) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// The layout of a small microcontroller: two slots of one region each.
const fn region(offset: u64, len: u64) -> Region {
    Region { device: 0, offset, len }
}

const SLOT_A: &[SlotRegion] = &[SlotRegion { region: region(0x8000, 0x7_0000), roles: &[] }];
const SLOT_B: &[SlotRegion] = &[SlotRegion { region: region(0x8_0000, 0x7_0000), roles: &[] }];

/// The places of the boot record.
pub const RECORD: &[Region] = &[region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];

#[cfg(not(feature = "log"))]
const AREA: Area<'static> = Area::Blocks(RECORD);
#[cfg(feature = "log")]
const AREA: Area<'static> =
    Area::Log { blocks: &[region(0, 0x4000), region(0x4000, 0x4000)], head_len_max: 2048 };

const fn slot(slot: Slot, regions: &'static [SlotRegion], head: u64) -> SlotLayout<'static> {
    let found = SlotLayout::new(slot, regions);
    if cfg!(feature = "log") { found } else { found.with_head(region(head, 0x3000)) }
}

const SLOTS: &[SlotLayout<'static>] =
    &[slot(Slot::A, SLOT_A, 0x7_8000), slot(Slot::B, SLOT_B, 0xf_0000)];

/// All of it, checked by the compiler.
pub static LAYOUT: Layout<'static> = match Layout::new(&[GEOMETRY], AREA, SLOTS) {
    Ok(layout) => layout,
    Err(_) => panic!("the layout is unsound"),
};

#[cfg(feature = "keysets")]
const TRUST: Trust<'static> = Trust::Roots {
    keys: &[stillboot::verify::RootKey::ed25519([0x42; 32])],
    rule: stillboot::format::Rule::ed25519(1),
};
#[cfg(not(feature = "keysets"))]
const TRUST: Trust<'static> = Trust::Key(&[0x42; 32]);

/// Whom the device trusts, and which it is.
pub static DEVICE: Device<'static> = Device::new(TRUST, [1; 16], [2; 16])
    .with_revision(1)
    .with_architecture(Architecture::Thumbv7em)
    .with_ed25519(&SmallEd25519);

/// A store of the floor outside the program.
#[derive(Debug)]
pub struct ExternStore;

impl RollbackStore for ExternStore {
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        // SAFETY: the call takes and returns numbers only.
        let level = unsafe { device_capacity(16 + kind as u32) } as u32;
        Ok(Some(Floor { keyset_version: 1, level }))
    }

    fn probe(&mut self, _kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        report(floor.level);
        Ok(())
    }

    fn raise(&mut self, _kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        report(floor.level);
        Ok(())
    }
}

/// Memory for one component, somewhere outside the program.
#[derive(Debug)]
pub struct OneImage<'a>(pub &'a mut [u8]);

impl Memory for OneImage<'_> {
    fn clear(&mut self) {}

    fn reserve(&mut self, _component: usize, _role: Role, len: u64) -> bool {
        len <= self.0.len() as u64
    }

    fn bytes(&mut self, _component: usize) -> &mut [u8] {
        self.0
    }
}
