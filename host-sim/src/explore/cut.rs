//! What a power cut leaves of a device.

use stillboot::device::BlockDevice;
use stillboot::driver::RollbackStore as _;

use super::disk::Disk;
use super::job::Job;
use super::point::{Loss, Point};
use super::situation::Situation;
use crate::disk::{Cut, PowerCut};
use crate::engine::{Disks, Instant, MachineRequest};

impl Job<'_> {
    /// The device after a cut.
    pub(super) fn cut(
        &self,
        at: &Situation<Disk>,
        instant: &Instant<Disk>,
        point: Point,
    ) -> Situation<Disk> {
        let mut after = at.on(instant.disk.clone());
        after.store.clone_from(&instant.store);
        after.running = None;
        let mut disk = PowerCut::new(instant.disk.clone());
        disk.cut_at(0, point.cut);
        // The caller does not hear the answer.
        match &instant.act {
            MachineRequest::Write(offset, bytes) => {
                let _ = disk.write(*offset, bytes);
            }
            MachineRequest::Erase(offset, len) => {
                let _ = disk.erase(*offset, *len);
            }
            MachineRequest::Flush(part) if point.cut == Cut::After => {
                let _ = disk.device_mut().flush_part(part);
            }
            MachineRequest::RaiseFloor(kind, floor) if point.cut == Cut::After => {
                if let Some(store) = &mut after.store {
                    let _ = store.raise(*kind, *floor);
                }
            }
            _ => {}
        }
        after.disk = disk.into_inner();
        if let Disk::Cached(cache) = &mut after.disk {
            match point.loss {
                Loss::Nothing => {
                    let _ = cache.flush();
                }
                Loss::All => cache.lose_all(),
                Loss::Newest(count) => {
                    let _ = cache.keep_newest(count);
                }
                Loss::Only(disk) => {
                    let _ = cache.keep_part(&self.setting.ground.extent(disk));
                }
                Loss::Random(seed) => {
                    let _ = cache.lose(seed);
                }
            }
        }
        after
    }
}
