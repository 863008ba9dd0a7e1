//! Futures of the asynchronous drivers that are dropped at any turn: after a flush the device is as
//! after a power cut.

use stillboot::asynch;
use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::BlockDevice;
use stillboot::driver::NoStore;
use stillboot::format::Slot;
use stillboot::install::{Install, Running};
use stillboot::request::{Perform, Request};
use stillboot::verify::SoftSha256;
use stillboot_sim::Publisher;
use stillboot_sim::driver::{Waiting, block_for};
use stillboot_sim::world::{HeapMemory, SimHost};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media};

use super::{AB, bundle};

/// Runs `each` with more and more turns on copies of `world`, until it ends by itself. After every
/// one the devices are flushed, and `then` judges. Returns how many were dropped.
fn drop_everywhere(
    world: &RamWorld<'_>,
    each: impl Fn(&mut RamWorld<'_>, usize) -> bool,
    then: impl Fn(RamWorld<'_>, usize),
) -> usize {
    for turns in 0.. {
        let mut world = world.clone();
        let has_ended = each(&mut world, turns);
        world.disks.iter_mut().for_each(|disk| disk.flush().unwrap());
        then(world, turns);
        if has_ended {
            return turns;
        }
    }
    unreachable!("it ends")
}

#[test]
fn an_installation_can_be_dropped_at_any_turn() {
    let publisher = Publisher::new(1);
    let new = bundle(&publisher, 2);
    for (name, geometry) in [media()[0], media()[4]] {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &bundle(&publisher, 1));
        let install = |world: &mut RamWorld<'_>, turns| {
            let ground = world.ground.clone();
            let slots = ground.slots();
            let layout = ground.layout(&slots).unwrap();
            let config = world.install_config(layout, Running::Proof(proof));
            let mut machine = Install::<SoftSha256>::new(&config);
            let mut buffer = vec![0; Install::<SoftSha256>::buffer_len_min(&layout, 16 << 10)];
            let mut devices: Vec<_> = world.disks.iter_mut().map(Waiting).collect();
            let (store, mut host) = (&mut NoStore, SimHost::default());
            let mut source = asynch::Unbounded(&new[..]);
            let future = asynch::install(
                &mut machine,
                &mut devices[..],
                store,
                &mut source,
                &mut host,
                &mut buffer,
            );
            block_for(turns, future).is_some_and(|result| result.map(|_| ()) == Ok(()))
        };
        let dropped = drop_everywhere(&world, install, |mut world, turns| {
            // What ran runs, until the update is whole.
            let first = boot(&mut world);
            let is_new = first.slot == Slot::B;
            if !is_new {
                assert_eq!(first, proof, "{name}, {turns} turns");
                world.install(&new, Some(first)).unwrap();
                assert_eq!(boot(&mut world).slot, Slot::B, "{name}, {turns} turns");
            }
            assert_eq!(confirm(&mut world).slot, Slot::B, "{name}, {turns} turns");
        });
        assert!(dropped > 50, "{name}: {dropped} turns");
    }
}

#[test]
fn a_power_on_and_a_confirmation_can_be_dropped_at_any_turn() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[4].1, AB);
    let proof = commission(&mut world, &bundle(&publisher, 1));
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    let start = |world: &mut RamWorld<'_>, turns| {
        world.nonce += 1;
        let ground = world.ground.clone();
        let slots = ground.slots();
        let layout = ground.layout(&slots).unwrap();
        let config = BootConfig::new(world.device, layout, world.nonce).with_tries(world.tries);
        let mut machine = Boot::<SoftSha256>::new(&config);
        let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&layout)];
        let mut devices: Vec<_> = world.disks.iter_mut().map(Waiting).collect();
        let (store, memory) = (&mut NoStore, &mut HeapMemory::default());
        let (event, devices) = (Event::Start, &mut devices[..]);
        let future = asynch::boot(&mut machine, event, devices, store, memory, &mut buffer);
        block_for(turns, future).is_some()
    };
    let dropped = drop_everywhere(&world, start, |mut world, turns| {
        // At most one try of three was spent.
        assert_eq!(boot(&mut world).slot, Slot::B, "{turns} turns");
        assert_eq!(boot(&mut world).slot, Slot::B, "{turns} turns");
    });
    assert!(dropped > 10, "{dropped} turns");

    let trial = boot(&mut world);
    let confirm_by = |world: &mut RamWorld<'_>, turns| {
        let ground = world.ground.clone();
        let slots = ground.slots();
        let layout = ground.layout(&slots).unwrap();
        let mut machine = Perform::new(&layout, Request::MarkGood(trial));
        let mut buffer = vec![0; Perform::buffer_len_min(&layout)];
        let mut devices: Vec<_> = world.disks.iter_mut().map(Waiting).collect();
        let future = asynch::perform(&mut machine, &mut devices[..], &mut buffer);
        block_for(turns, future).is_some_and(|result| result.is_ok())
    };
    let dropped = drop_everywhere(&world, confirm_by, |mut world, turns| {
        world.perform(Request::MarkGood(trial)).unwrap();
        for _ in 0..4 {
            assert_eq!(boot(&mut world).slot, Slot::B, "{turns} turns");
        }
    });
    assert!(dropped > 5, "{dropped} turns");
}
