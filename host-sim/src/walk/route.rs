//! What does not change on a walk.

use std::collections::BTreeMap;

use stillboot::device::Geometry;
use stillboot::format::Slot;

use super::chain::Chain;
use super::contents::Places;
use crate::disk::{PowerCut, RamDisk};
use crate::explore::{self, Disk, Medium};
use crate::fault::{Fault, Faulty};
use crate::oracle::{self, Promises};
use crate::world::{DeviceMap, SimStore, World};

/// Tries of a new slot.
pub(super) const TRIES: u8 = 2;
/// Bytes of a slot.
const SLOT_BYTES: u64 = 48 << 10;
/// A fault that never strikes.
pub(super) const SOUND: Fault = Fault::ReadOnce(u64::MAX);

/// The kinds of disk that a walk can be on: those where a device has one disk.
#[must_use]
pub fn media() -> Vec<Medium> {
    explore::media().into_iter().filter(Medium::is_one).collect()
}

/// What a device of this medium promises; the layout sets the capacity.
#[must_use]
pub const fn medium_geometry(medium: Medium) -> Geometry {
    medium.geometry
}

/// What does not change on a walk.
pub(super) struct Route<'a> {
    pub(super) chain: &'a Chain,
    pub(super) medium: Medium,
    pub(super) slots: &'static [Slot],
    pub(super) has_store: bool,
    pub(super) ground: DeviceMap,
    pub(super) places: Places,
    pub(super) table: BTreeMap<&'static str, Promises>,
}

pub(super) type Device<'a> = World<'a, PowerCut<Faulty<Disk>>>;

impl<'a> Route<'a> {
    pub(super) fn new(chain: &'a Chain, medium: Medium, seed: u64) -> Self {
        let slots: &[Slot] = match seed % 2 {
            0 => &[Slot::A, Slot::B],
            _ => &[Slot::A, Slot::B, Slot::Recovery],
        };
        let ground = medium.ground_of(slots, SLOT_BYTES);
        let places = Places::new(chain, &ground);
        let has_store = seed / 2 % 2 == 1;
        Self { chain, medium, slots, has_store, ground, places, table: oracle::table() }
    }

    pub(super) fn new_device(&self) -> Device<'a> {
        let geometry = self.ground.geometries()[0];
        let ram = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let disk = Disk::new(&self.medium, ram);
        let disk = PowerCut::new(Faulty::new(disk, SOUND));
        let mut world = World::new(self.chain.publisher.device(), self.ground.clone(), vec![disk]);
        world.tries = TRIES;
        world.store = self.has_store.then(SimStore::default);
        world
    }
}
