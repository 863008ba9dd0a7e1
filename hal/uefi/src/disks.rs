//! Finds the disks that matter: the one that the loader came from, or all of the machine.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use stillboot::device::BlockDevice as _;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol, SearchType};
use uefi::proto::ProtocolPointer;
use uefi::proto::device_path::{DevicePath, DeviceSubType, DeviceType};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Result};

use crate::block::EfiDisk;
use crate::gpt::{self, Table, TableError};
use crate::plan::{Pinned, Plan, PlanError, Source};

/// A disk with a partition table.
struct Found {
    disk: EfiDisk,
    is_own: bool,
    table: Table,
}

impl Found {
    fn source(&self) -> Source<'_> {
        Source::new(self.disk.geometry(), &self.table).with_own(self.is_own)
    }
}

/// Lets the firmware's drivers take every device there is. A firmware with a fixed boot entry
/// connects only the devices of that entry. Other disks are then not visible until a program asks
/// for them.
fn connect_all() {
    let Ok(handles) = boot::locate_handle_buffer(SearchType::AllHandles) else { return };
    for handle in handles.iter() {
        // Most handles are not controllers and return an error.
        let _ = boot::connect_controller(*handle, &[], None, true);
    }
}

/// Which disks count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// The loader's own alone if it has the boot record and two slots, and no partition is pinned:
    /// then nothing that is plugged in plays a part, and no time goes into waking up every device.
    Own,
    /// All.
    All,
}

/// The disks that hold what a power-on needs, and which part of them is what. `reach` says
/// afterwards which disks were looked at: with [`Reach::Own`] a recovery slot, or the only copy that
/// is intact, may still be on another disk.
///
/// # Errors
/// [`PlanError`] if there is no record or no slot on any disk. Each disk that was skipped for a
/// reason goes into `notes`.
pub fn plan(
    pinned: &[Pinned<'_>],
    reach: &mut Reach,
    notes: &mut Vec<String>,
) -> core::result::Result<(Plan, Vec<EfiDisk>), PlanError> {
    if *reach == Reach::Own && pinned.is_empty() {
        let found = find(true, notes);
        if let Ok(plan) = Plan::new(&sources(&found), pinned)
            && plan.slots().len() >= 2
            && plan.notes.is_empty()
        {
            return Ok(taken(plan, found));
        }
    }
    *reach = Reach::All;
    notes.clear();
    connect_all();
    // Disks that were open are opened again: their numbers may change.
    let found = find(false, notes);
    let plan = Plan::new(&sources(&found), pinned)?;
    Ok(taken(plan, found))
}

/// The plan with the disks that are in it, in its order.
fn taken(plan: Plan, found: Vec<Found>) -> (Plan, Vec<EfiDisk>) {
    let mut found: Vec<_> = found.into_iter().map(|found| Some(found.disk)).collect();
    let disks = plan.disks.iter().filter_map(|disk| found.get_mut(*disk)?.take()).collect();
    (plan, disks)
}

fn sources(found: &[Found]) -> Vec<Source<'_>> {
    found.iter().map(Found::source).collect()
}

/// All disks with a partition table, in the firmware's order, or only the loader's own.
fn find(only_own: bool, notes: &mut Vec<String>) -> Vec<Found> {
    let own = own_path();
    let handles = boot::find_handles::<BlockIO>().unwrap_or_default();
    let mut found = Vec::new();
    for handle in handles {
        let Ok(io) = open::<BlockIO>(handle) else { continue };
        let Some(mut disk) = EfiDisk::new(handle, io) else { continue };
        let is_own = match (&own, open::<DevicePath>(handle)) {
            (Some(own), Ok(path)) => is_disk_of(&path, own),
            _ => false,
        };
        if only_own && !is_own {
            continue;
        }
        match gpt::read(&mut disk) {
            Ok(table) => {
                if table.is_backup {
                    notes
                        .push("note: a primary partition table is bad, its backup was used".into());
                }
                notes.extend(table.notes.iter().map(|note| format!("note: {note}")));
                found.push(Found { disk, is_own, table });
            }
            // Not ours to judge: a disk may hold anything.
            Err(TableError::NoTable) => {}
            Err(error) => notes.push(format!("note: a disk was skipped: {error}")),
        }
    }
    found
}

/// Opens a protocol without keeping others from it: the file system that the loader came from sits
/// on the same disk.
pub(crate) fn open<P: ProtocolPointer + ?Sized>(handle: Handle) -> Result<ScopedProtocol<P>> {
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: The firmware removes an interface only when a driver is told to let go of the device.
    // Nothing in a loader does that while the interface is in use, and there are no other threads.
    unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) }
}

/// Where the loader came from; `None` if it was started from memory.
fn own_path() -> Option<ScopedProtocol<DevicePath>> {
    let image = open::<LoadedImage>(boot::image_handle()).ok()?;
    open::<DevicePath>(image.device()?).ok()
}

/// Whether `disk` is the whole disk that has the partition `own`: the same path but for one last
/// node, which names the partition.
fn is_disk_of(disk: &DevicePath, own: &DevicePath) -> bool {
    let mut own = own.node_iter();
    for node in disk.node_iter() {
        if own.next() != Some(node) {
            return false;
        }
    }
    let partition = (DeviceType::MEDIA, DeviceSubType::MEDIA_HARD_DRIVE);
    own.next().is_some_and(|node| node.full_type() == partition) && own.next().is_none()
}

#[cfg(test)]
mod tests {
    use uefi::boot::MemoryType;
    use uefi::proto::device_path::build::{self, DevicePathBuilder};
    use uefi::proto::device_path::media::{PartitionFormat, PartitionSignature};

    use super::*;

    fn path(nodes: &[&dyn build::BuildNode]) -> std::boxed::Box<DevicePath> {
        let mut bytes = Vec::new();
        let mut builder = DevicePathBuilder::with_vec(&mut bytes);
        for node in nodes {
            builder = builder.push(*node).unwrap();
        }
        builder.finalize().unwrap().to_boxed()
    }

    #[test]
    fn own_disk_is_the_path_above_the_partition() {
        let port = |number| build::hardware::Pci { function: 0, device: number };
        let partition = build::media::HardDrive {
            partition_number: 1,
            partition_start: 2048,
            partition_size: 4096,
            partition_signature: PartitionSignature::None,
            partition_format: PartitionFormat::GPT,
        };
        let other = build::hardware::MemoryMapped {
            memory_type: MemoryType::LOADER_DATA,
            start_address: 0,
            end_address: 1,
        };
        let own = path(&[&port(1), &port(2), &partition]);
        assert!(is_disk_of(&path(&[&port(1), &port(2)]), &own));
        assert!(!is_disk_of(&path(&[&port(1), &port(3)]), &own));
        // A controller above the disk, the partition itself, and a partition in a partition.
        assert!(!is_disk_of(&path(&[&port(1)]), &own));
        assert!(!is_disk_of(&own, &own));
        assert!(!is_disk_of(&path(&[&port(1)]), &path(&[&port(1), &partition, &partition])));
        assert!(!is_disk_of(&path(&[&port(1)]), &path(&[&port(1), &other])));
    }
}
