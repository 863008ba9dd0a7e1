//! What the device tree says of the machine: memory, disks, console, and how to reset.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use stillboot_arm64::handoff::{FreeMemory, HandoffError};
use stillboot_devicetree::fdt::{Fdt, HEADER_LEN, Node};

use crate::{extent, psci};

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
    /// Memory that the tree has and does not reserve.
    pub memory: FreeMemory,
    /// Of it, what nothing uses.
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
    let (start, end) = extent::of_loader();
    let memory = memory(&tree).map_err(|error| format!("{error}"))?;
    let mut free = memory.clone();
    let taken = free.take(start, end - start).and_then(|()| free.take(address as u64, len as u64));
    taken.map_err(|error| format!("{error}"))?;

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
    Ok(Machine { tree, memory, free, virtio, console })
}

/// The memory that a tree has, without what it reserves.
pub fn memory(tree: &Fdt<'_>) -> Result<FreeMemory, HandoffError> {
    let mut free = FreeMemory::new();
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
    Ok(free)
}

fn text<'a>(node: &Node<'a>, name: &str) -> Option<&'a str> {
    node.property(name)?.strings().next()
}

/// The properties of `/chosen` in which the program that started the loader may have put
/// randomness.
pub const SEEDS: [&str; 2] = ["kaslr-seed", "rng-seed"];

/// One of them.
pub fn seed<'a>(tree: &Fdt<'a>, name: &str) -> Option<&'a [u8]> {
    Some(tree.node("/chosen")?.property(name)?.value())
}

/// Bytes that differ from one power-on to the next, where the tree has any.
pub fn seeds(tree: &Fdt<'_>) -> [u8; 64] {
    let mut out = [0; 64];
    for (name, place) in SEEDS.into_iter().zip(out.chunks_exact_mut(32)) {
        for (byte, seed) in place.iter_mut().zip(seed(tree, name).unwrap_or_default()) {
            *byte = *seed;
        }
    }
    out
}
