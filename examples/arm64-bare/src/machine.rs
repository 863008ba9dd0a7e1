//! What the device tree says of the machine: memory, disks, console, and how to reset.

use alloc::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use stillboot_arm64::handoff::{BLOCK, FreeMemory, HandoffError};

use crate::{psci, start};

/// The registers of a device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Where they begin.
    pub start: usize,
    /// How many bytes they are.
    pub len: usize,
}

/// The machine.
pub struct Machine {
    /// The tree that describes it.
    pub tree: &'static [u8],
    /// Memory that nothing uses.
    pub free: FreeMemory,
    /// What may be disks.
    pub virtio: Vec<Device>,
    /// The console.
    pub console: Option<usize>,
}

const MAGIC: u32 = 0xd00d_feed;

/// Reads the tree at `address`.
///
/// # Safety
/// It is what the boot protocol says: the address of a device tree, and nothing changes that tree.
pub unsafe fn read(address: usize) -> Result<Machine, &'static str> {
    if address == 0 || !address.is_multiple_of(8) {
        return Err("x0 has no device tree: it must be started by the boot protocol of Linux");
    }
    let header = core::ptr::with_exposed_provenance::<[u32; 2]>(address);
    // SAFETY: It is aligned, and the caller says that it is a tree, which begins with these.
    let [magic, len] = unsafe { header.read() }.map(u32::from_be);
    if magic != MAGIC || u64::from(len) > BLOCK {
        return Err("x0 has no device tree of at most 2 MiB");
    }
    // SAFETY: The tree has the length that it says. Nothing changes it: its memory is taken out of
    // what is free.
    let tree: &'static [u8] = unsafe { core::slice::from_raw_parts(header.cast(), len as usize) };
    let fdt = Fdt::new(tree).map_err(|_| "the device tree is damaged")?;

    if let Some(method) = fdt.find_node("/psci").and_then(|node| text(&node, "method")) {
        psci::learn(method);
    }
    let (start, end) = start::extent();
    let mut free = FreeMemory::new();
    let counted = memory(&fdt, &mut free)
        .and_then(|()| free.take(start, end - start))
        .and_then(|()| free.take(address as u64, len.into()));
    counted.map_err(|_| "the memory of the machine is in too many pieces")?;

    let mut virtio = Vec::new();
    let mut console = None;
    for node in fdt.root().children() {
        let Some((start, len)) = registers(&node).next() else { continue };
        let device = Device { start: start as usize, len: len as usize };
        if node.is_compatible("virtio,mmio") {
            virtio.push(device);
        } else if node.is_compatible("arm,pl011") && console.is_none() {
            console = Some(device.start);
        }
    }
    Ok(Machine { tree, free, virtio, console })
}

/// What the machine has, without what the tree reserves.
fn memory(fdt: &Fdt<'static>, free: &mut FreeMemory) -> Result<(), HandoffError> {
    for node in fdt.root().children() {
        if text(&node, "device_type") == Some("memory") {
            for (start, len) in registers(&node) {
                free.add(start, len)?;
            }
        }
    }
    for reserved in fdt.memory_reservations() {
        free.take(reserved.address(), reserved.size())?;
    }
    if let Some(reserved) = fdt.find_node("/reserved-memory") {
        for node in reserved.children() {
            for (start, len) in registers(&node) {
                free.take(start, len)?;
            }
        }
    }
    Ok(())
}

/// The places of a node, but none that is no number of 64 bits.
fn registers(node: &FdtNode<'static>) -> impl Iterator<Item = (u64, u64)> {
    let places = (*node).reg().ok().flatten();
    places
        .into_iter()
        .flatten()
        .filter_map(|place| Some((place.address().ok()?, place.size().ok()?)))
}

fn text(node: &FdtNode<'static>, name: &str) -> Option<&'static str> {
    node.property(name)?.value_as().ok()
}

/// Bytes that differ from one power-on to the next, where the tree has any.
pub fn seed(tree: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    let Ok(fdt) = Fdt::new(tree) else { return out };
    let Some(chosen) = fdt.find_node("/chosen") else { return out };
    for (name, place) in ["kaslr-seed", "rng-seed"].into_iter().zip(out.chunks_exact_mut(32)) {
        if let Some(seed) = chosen.property(name) {
            for (byte, seed) in place.iter_mut().zip(seed.value()) {
                *byte = *seed;
            }
        }
    }
    out
}
