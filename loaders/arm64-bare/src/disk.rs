//! A virtio disk as a block device.

use core::ptr::NonNull;

use alloc::vec::Vec;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};

use crate::machine::Device;
use crate::pages;

/// Disks that are looked at. The core uses at most four.
const DISKS_MAX: usize = 4;

/// A disk.
pub struct Disk {
    block: VirtIOBlk<Direct, MmioTransport<'static>>,
    geometry: Geometry,
}

/// All disks among `devices`.
pub fn find(devices: &[Device]) -> Vec<Disk> {
    devices.iter().filter_map(Disk::open).take(DISKS_MAX).collect()
}

impl Disk {
    /// The disk at that place, if there is one.
    fn open(device: &Device) -> Option<Self> {
        let header: NonNull<VirtIOHeader> =
            NonNull::new(core::ptr::with_exposed_provenance_mut(device.start))?;
        if !header.is_aligned() {
            return None;
        }
        // SAFETY: The tree names these registers as those of a virtio device, at an aligned place;
        // they stay, and nothing else uses them: each is opened once.
        let transport = unsafe { MmioTransport::new(header, device.len) }.ok()?;
        if transport.device_type() != DeviceType::Block {
            return None;
        }
        let block = VirtIOBlk::new(transport).ok()?;
        let capacity = block.capacity().checked_mul(SECTOR_SIZE as u64)?;
        // The driver counts in these sectors, whatever the disk is made of.
        Some(Self { block, geometry: Geometry::disk(SECTOR_SIZE as u32, capacity) })
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        if into.is_empty() {
            return Ok(());
        }
        self.block.read_blocks(offset as usize / SECTOR_SIZE, into).map_err(error_of)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        if self.block.readonly() {
            return Err(DeviceError::ReadOnly);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.block.write_blocks(offset as usize / SECTOR_SIZE, bytes).map_err(error_of)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        // A disk that offers no flush keeps what it acknowledged: so says virtio.
        if self.block.readonly() { Ok(()) } else { self.block.flush().map_err(error_of) }
    }
}

fn error_of(_: Error) -> DeviceError {
    DeviceError::Io
}

/// Memory as it is: nothing translates addresses, and no cache stands between us and the device.
struct Direct;

// SAFETY: The pages are given once each and never again, are zero, and lie in memory that the loader
// has to itself. An address means the same to the processor and the device.
unsafe impl Hal for Direct {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match pages::take(pages) {
            Some(start) => (start.addr().get() as PhysAddr, start),
            // The driver takes address 0 for "none".
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_start: PhysAddr, _virtual: NonNull<u8>, _pages: usize) -> i32 {
        // The pages are not reused: a device that still writes must not overwrite other data.
        0
    }

    unsafe fn mmio_phys_to_virt(start: PhysAddr, _len: usize) -> NonNull<u8> {
        // Of PCI devices only, which this loader does not use.
        NonNull::new(core::ptr::with_exposed_provenance_mut(start as usize))
            .unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().expose_provenance().get() as PhysAddr
    }

    unsafe fn unshare(_start: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

const _: () = assert!(PAGE_SIZE == pages::PAGE_LEN);
