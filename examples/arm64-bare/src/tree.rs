//! The device tree for the kernel: the machine's own, with `/chosen` filled in.

use alloc::format;
use alloc::string::String;

use dtoolkit::error::FdtMutError;
use dtoolkit::fdt_mut::{FdtBuffer, FdtMut, FdtNodeMut, SliceBuffer};
use stillboot::format::BootProof;

/// Writes the tree into `block`.
pub fn write(
    block: &mut [u8],
    machine: &[u8],
    cmdline: &[u8],
    initramfs: Option<(u64, u64)>,
    proof: &BootProof,
) -> Result<(), String> {
    let place = block.get_mut(..machine.len()).ok_or("the device tree has more than 2 MiB")?;
    place.copy_from_slice(machine);
    let damaged = |error| format!("the device tree is damaged: {error}");
    let mut tree = FdtMut::new(SliceBuffer::new(block).map_err(damaged)?).map_err(damaged)?;
    let mut chosen = tree.find_node_mut("/chosen").ok_or("the device tree has no /chosen")?;
    let mut set = |name, value: &[u8]| {
        set(&mut chosen, name, value).map_err(|error| format!("/chosen/{name}: {error}"))
    };
    set("bootargs", cmdline)?;
    let mut text = proof.emit();
    let _ = text.push('\0');
    set("stillboot,proof", text.as_bytes())?;
    // What the machine's tree says of an initramfs is of another boot.
    let (start, end) = initramfs.map_or((0, 0), |(start, len)| (start, start + len));
    set("linux,initrd-start", &start.to_be_bytes())?;
    set("linux,initrd-end", &end.to_be_bytes())?;
    Ok(())
}

fn set<B: FdtBuffer>(
    node: &mut FdtNodeMut<'_, B>,
    name: &str,
    value: &[u8],
) -> Result<(), FdtMutError> {
    node.remove_property(name);
    node.add_property(name, value).map(|_| ())
}
