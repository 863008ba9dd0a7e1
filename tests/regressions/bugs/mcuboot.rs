//! Bugs of MCUboot.

use proptest::prelude::*;
use stillboot::device::Geometry;
use stillboot::driver::{RollbackStore, StoreError};
use stillboot::format::manifest::COMPONENT_LEN_MAX;
use stillboot::format::{Encryption, Floor, Load, Role, Slot, SlotKind};
use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
use stillboot::request::Request;
use stillboot_sim::Publisher;
use stillboot_sim::disk::Cut;
use stillboot_sim::world::{HeapMemory, SimStore};
use stillboot_tests::forge::{counted, power_on_with, with_manifest};
use stillboot_tests::{blank, commission, media};

use super::{AB, update};

/// The counter was raised after an interrupted upgrade, before it was confirmed; the simulator did
/// not see it, because both images had the same counter.
#[test]
fn mcuboot_0eaf6668_floor_stays_while_an_interrupted_upgrade_goes_on() {
    let publisher = Publisher::new(1);
    let leveled = |sequence, level| {
        with_manifest(&publisher, &update(&publisher, sequence), |m| m.level = level)
    };
    for (_, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        world.store = Some(SimStore::default());
        let proof = commission(&mut world, &leveled(1, 1));
        let mut start = counted(&world);
        start.store = world.store.clone();
        for at in (0..60).step_by(3) {
            let mut world = start.clone();
            world.disks[0].cut_at(at, Cut::After);
            let _ = world.install(&leveled(2, 30), Some(proof));
            world.disks[0].power_on();
            let again = world.power_on().unwrap().proof.unwrap();
            let _ = world.install(&leveled(2, 30), Some(again));
            while world.power_on().unwrap().slot() == Some(Slot::B) {}
            let floor = world.store.as_ref().unwrap().floors[0].unwrap();
            assert_eq!(floor.level, 1, "cut at {at}");
            assert_eq!(world.power_on().unwrap().slot(), Some(Slot::A), "cut at {at}");
        }
    }
}

/// The counter could not be raised any more, which was found out after the switch: nothing booted.
#[test]
fn mcuboot_fe8f9fc0_a_store_that_cannot_be_raised_costs_no_boot() {
    /// Can be read, and is full.
    struct Full(Option<Floor>);
    impl RollbackStore for Full {
        fn read(&mut self, _kind: SlotKind) -> Result<Option<Floor>, StoreError> {
            Ok(self.0)
        }
        fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
            Err(StoreError)
        }
        fn raise(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
            Err(StoreError)
        }
    }
    let publisher = Publisher::new(1);
    for stored in [None, Some(Floor { keyset_version: 1, level: 1 })] {
        let mut world = blank(&publisher, media()[0].1, AB);
        let mut store = Full(stored);
        world.install(&update(&publisher, 1), None).unwrap();
        for sequence in 2..6 {
            let memory = &mut HeapMemory::default();
            let (trial, _) = power_on_with(&mut world, &mut store, memory);
            let trial = trial.unwrap();
            world.perform(Request::MarkGood(trial)).unwrap();
            let (good, report) = power_on_with(&mut world, &mut store, memory);
            let good = good.expect("a good slot starts all the same");
            assert_eq!(good.slot, trial.slot, "{report:?}");
            let level = sequence as u32;
            let next = with_manifest(&publisher, &update(&publisher, sequence), |m| {
                m.level = level;
            });
            world.install(&next, Some(good)).unwrap();
        }
    }
}

proptest! {
    /// Offsets and sizes whose sums do not fit wrapped round.
    #[test]
    fn mcuboot_ecbea70b_no_sum_of_a_layout_wraps(
        capacity in any::<u64>(),
        regions in proptest::array::uniform9((any::<u64>(), any::<u64>())),
        block in 9_u32..21,
        lengths in proptest::collection::vec(1..=COMPONENT_LEN_MAX, 1..8),
        chunk in 12_u32..21,
        own_index in any::<bool>(),
    ) {
        let erase = 1_u32 << block;
        let mask = !u64::from(erase - 1);
        let geometry = Geometry {
            logical_block_bytes: 512,
            write_granule_bytes: 512,
            erase_block_bytes: erase,
            capacity_bytes: capacity & mask,
            erased: None,
        };
        let geometries = [geometry];
        // Half of them anywhere, half of them one after the other in the capacity.
        let ninth = (capacity / 9) & mask;
        for tame in [false, true] {
            let region = |number: usize| {
                let (offset, len) = regions[number];
                if tame {
                    Region { device: 0, offset: number as u64 * ninth, len: ninth }
                } else {
                    Region { device: 0, offset: offset & mask, len: len & mask }
                }
            };
            let of = |roles, number| SlotRegion { region: region(number), roles };
            let (a, b) = ([of(&[], 3)], [of(&[], 4), of(&[Role::Rootfs, Role::Cmdline], 5)]);
            let slot = |slot, head, index, regions| { let mut layout = SlotLayout::new(slot, regions); layout.head = Some(region(head)); layout.index = index; layout };
            let index = own_index.then(|| region(8));
            let slots = [slot(Slot::A, 6, None, &a[..]), slot(Slot::B, 7, index, &b[..])];
            let places = [0, 1, 2].map(region);
            let Ok(layout) = Layout::new(&geometries, Area::Blocks(&places), &slots) else {
                continue;
            };
            let mut manifest = Publisher::new(1).manifest(1);
            manifest.chunk_size = 1 << chunk;
            for (number, length) in lengths.iter().enumerate() {
                let component = stillboot::format::Component {
                    role: Role::ALL[number],
                    load: Load::Ram,
                    linked: 0,
                    encryption: Encryption::None,
                    length: *length,
                    index_root: [0; 32],
                    sha256: [0; 32],
                };
                manifest.components.push(component).unwrap();
            }
            let mut taken: Vec<Region> = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let parts = [
                    layout.index(Slot::B, &manifest, number),
                    layout.component(Slot::B, &manifest, number),
                ];
                let [Ok(index), Ok(data)] = parts else {
                    prop_assert!(layout.check_fit(Slot::B, &manifest).is_err());
                    break;
                };
                prop_assert!(data.len >= *length);
                prop_assert!(index.len >= manifest.components[number].index_len(1 << chunk));
                let role = Role::ALL[number];
                let home = if [Role::Rootfs, Role::Cmdline].contains(&role) { 5 } else { 4 };
                let index_home = if own_index { 8 } else { 4 };
                for (part, home) in [(index, region(index_home)), (data, region(home))] {
                    let end = part.offset.checked_add(part.len).unwrap();
                    prop_assert!(part.offset >= home.offset);
                    prop_assert!(end <= home.offset + home.len);
                    let apart = |other: &Region| {
                        other.offset + other.len <= part.offset || end <= other.offset
                    };
                    prop_assert!(taken.iter().all(apart), "{part:?} and {taken:?}");
                    taken.push(part);
                }
            }
        }
    }
}
