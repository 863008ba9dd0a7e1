//! What the device tree says of the machine: memory, disks, console, and how to reset.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use stillboot_arm64::fdt::{Fdt, HEADER_LEN, Node};
use stillboot_arm64::handoff::{FreeMemory, HandoffError};

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
    pub tree: Fdt<'static>,
    /// Memory that nothing uses.
    pub free: FreeMemory,
    /// What may be disks.
    pub virtio: Vec<Device>,
    /// The console.
    pub console: Option<usize>,
}

/// Reads the tree at `address`.
///
/// # Safety
/// It is what the boot protocol says: the address of a device tree, and nothing changes that tree.
pub unsafe fn read(address: usize) -> Result<Machine, String> {
    if address == 0 || !address.is_multiple_of(8) {
        return Err("x0 has no device tree: expected a start by the boot protocol of Linux".into());
    }
    let bytes = core::ptr::with_exposed_provenance(address);
    // SAFETY: The caller says that it is a tree, which begins with a header.
    let header: &[u8] = unsafe { core::slice::from_raw_parts(bytes, HEADER_LEN) };
    let len = Fdt::len_of(header).map_err(|error| format!("x0: {error}"))?;
    // SAFETY: The tree has the length that it says. Nothing changes it: its memory is taken out of
    // what is free.
    let tree: &'static [u8] = unsafe { core::slice::from_raw_parts(bytes, len) };
    let tree = Fdt::parse(tree).map_err(|error| format!("x0: {error}"))?;

    if let Some(method) = tree.node("/psci").and_then(|node| text(&node, "method")) {
        psci::learn(method);
    }
    let (start, end) = start::extent();
    let mut free = FreeMemory::new();
    let counted = memory(&tree, &mut free)
        .and_then(|()| free.take(start, end - start))
        .and_then(|()| free.take(address as u64, len as u64));
    counted.map_err(|error| format!("{error}"))?;

    let mut virtio = Vec::new();
    let mut console = None;
    for node in tree.root().children().filter(Node::is_enabled) {
        let Some((start, len)) = node.ranges(tree.root().cells()).next() else { continue };
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
fn memory(tree: &Fdt<'static>, free: &mut FreeMemory) -> Result<(), HandoffError> {
    for node in tree.root().children().filter(Node::is_enabled) {
        if text(&node, "device_type") == Some("memory") {
            for (start, len) in node.ranges(tree.root().cells()) {
                free.add(start, len)?;
            }
        }
    }
    for reserved in tree.reservations() {
        free.take(reserved.address, reserved.len)?;
    }
    if let Some(reserved) = tree.node("/reserved-memory") {
        for node in reserved.children() {
            for (start, len) in node.ranges(reserved.cells()) {
                free.take(start, len)?;
            }
        }
    }
    Ok(())
}

fn text(node: &Node<'static>, name: &str) -> Option<&'static str> {
    node.property(name)?.strings().next()
}

/// Bytes that differ from one power-on to the next, where the tree has any.
pub fn seed(tree: &Fdt<'_>) -> [u8; 64] {
    let mut out = [0; 64];
    let Some(chosen) = tree.node("/chosen") else { return out };
    for (name, place) in ["kaslr-seed", "rng-seed"].into_iter().zip(out.chunks_exact_mut(32)) {
        if let Some(seed) = chosen.property(name) {
            for (byte, seed) in place.iter_mut().zip(seed.value()) {
                *byte = *seed;
            }
        }
    }
    out
}
