//! The disks against models too simple to be wrong.

use proptest::prelude::*;
use stillboot::device::{BlockDevice, DeviceError, Geometry};

use crate::disk::{Law, RamDisk, WriteCache};

/// Larger than the nodes that forks share, so that both levels are crossed.
const CAPACITY: u64 = 600 * 1024;

const DISK: Geometry = Geometry::disk(512, CAPACITY);

const FLASH: Geometry = Geometry {
    logical_block_bytes: 4,
    write_granule_bytes: 16,
    erase_block_bytes: 2048,
    capacity_bytes: CAPACITY,
    erased: Some(0xFF),
};

fn kinds() -> Vec<(Geometry, Law)> {
    vec![(DISK, Law::Rewritable), (FLASH, Law::WriteOnce), (FLASH, Law::ClearBits)]
}

/// A request in units of the device, as far as it fits.
#[derive(Clone, Debug)]
enum Request {
    Read { at: u64, count: u64 },
    Write { at: u64, count: u64, value: u8 },
    Erase { at: u64, count: u64 },
    Flush,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    // Few places, so that requests meet; some at the borders of nodes.
    let at = prop_oneof![0..24u64, 500..530u64, 1180..1200u64];
    let request = prop_oneof![
        4 => (at.clone(), 0..40u64, any::<u8>())
            .prop_map(|(at, count, value)| Request::Write { at, count, value }),
        3 => (at.clone(), 0..40u64).prop_map(|(at, count)| Request::Read { at, count }),
        2 => (at, 0..6u64).prop_map(|(at, count)| Request::Erase { at, count }),
        1 => Just(Request::Flush),
    ];
    prop::collection::vec(request, 0..40)
}

/// What a write stores: values that differ from byte to byte.
fn payload(len: u64, value: u8) -> Vec<u8> {
    (0..len).map(|index| value.wrapping_add((index / 3) as u8)).collect()
}

type Answer = (Result<(), DeviceError>, Vec<u8>);

fn ask(device: &mut dyn BlockDevice, request: &Request) -> Answer {
    let geometry = device.geometry();
    let place = |at: u64, count: u64, unit: u32| {
        // Scaled to the disk's 512 bytes, so that places are alike for all units.
        let unit = u64::from(unit);
        (at * 512 / unit * unit, count * unit)
    };
    match *request {
        Request::Read { at, count } => {
            let (offset, len) = place(at, count, geometry.logical_block_bytes);
            let mut into = vec![0; len as usize];
            let outcome = device.read(offset, &mut into);
            (outcome, if outcome.is_ok() { into } else { Vec::new() })
        }
        Request::Write { at, count, value } => {
            let (offset, len) = place(at, count, geometry.write_granule_bytes);
            (device.write(offset, &payload(len, value)), Vec::new())
        }
        Request::Erase { at, count } => {
            let (offset, len) = place(at, count, geometry.erase_block_bytes);
            (device.erase(offset, len), Vec::new())
        }
        Request::Flush => (device.flush(), Vec::new()),
    }
}

/// Bytes in a row, and nothing else.
struct Naive {
    geometry: Geometry,
    law: Law,
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl Naive {
    fn new(geometry: Geometry, law: Law, fill: u8) -> Self {
        let len = geometry.capacity_bytes as usize;
        let written = vec![geometry.erased != Some(fill); len];
        Self { geometry, law, bytes: vec![fill; len], written }
    }
}

impl BlockDevice for Naive {
    fn geometry(&self) -> Geometry {
        self.geometry
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        into.copy_from_slice(&self.bytes[offset as usize..][..into.len()]);
        Ok(())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        let range = offset as usize..offset as usize + bytes.len();
        if self.law == Law::WriteOnce && self.written[range.clone()].contains(&true) {
            return Err(DeviceError::NotErased);
        }
        self.written[range.clone()].fill(true);
        for (cell, byte) in self.bytes[range].iter_mut().zip(bytes) {
            *cell = if self.law == Law::ClearBits { *cell & byte } else { *byte };
        }
        Ok(())
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        let range = offset as usize..(offset + len) as usize;
        if let Some(erased) = self.geometry.erased {
            self.bytes[range.clone()].fill(erased);
            self.written[range].fill(false);
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

fn all(disk: &RamDisk) -> Vec<u8> {
    disk.bytes(0, CAPACITY as usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ram_disk_equals_bytes_in_a_row(requests in requests(), fill in prop_oneof![Just(0xFF), any::<u8>()]) {
        for (geometry, law) in kinds() {
            let mut disk = RamDisk::with_law(geometry, law, fill);
            let mut naive = Naive::new(geometry, law, fill);
            for request in &requests {
                prop_assert_eq!(ask(&mut disk, request), ask(&mut naive, request));
            }
            prop_assert!(all(&disk) == naive.bytes);
        }
    }

    #[test]
    fn forks_do_not_see_each_other(before in requests(), one in requests(), two in requests()) {
        for (geometry, law) in kinds() {
            let mut original = RamDisk::with_law(geometry, law, 0xFF);
            for request in &before {
                let _ = ask(&mut original, request);
            }
            let (bytes, hash) = (all(&original), original.content_hash());
            let mut fork = original.fork();
            prop_assert_eq!(fork.content_hash(), hash);
            for request in &one {
                let _ = ask(&mut fork, request);
            }
            prop_assert!(all(&original) == bytes);
            prop_assert_eq!(original.content_hash(), hash);

            let (bytes, hash) = (all(&fork), fork.content_hash());
            for request in &two {
                let _ = ask(&mut original, request);
            }
            prop_assert!(all(&fork) == bytes);
            prop_assert_eq!(fork.content_hash(), hash);
        }
    }

    #[test]
    fn hash_depends_on_content_alone(requests in requests(), at in 0..CAPACITY) {
        let mut disk = RamDisk::new(DISK, 0);
        for request in &requests {
            let _ = ask(&mut disk, request);
            // So that every hash is computed on top of the last one.
            let _ = disk.content_hash();
        }
        // The same bytes, stored in one go.
        let mut other = RamDisk::new(DISK, 0xA5);
        other.poke(0, &all(&disk));
        prop_assert_eq!(other.content_hash(), disk.content_hash());

        let bit = other.bytes(at, 1)[0] ^ 1;
        other.poke(at, &[bit]);
        prop_assert_ne!(other.content_hash(), disk.content_hash());
    }

    #[test]
    fn cache_that_is_flushed_equals_no_cache(requests in requests()) {
        // Under `WriteOnce` a cache refuses later than the flash does.
        for (geometry, law) in [(DISK, Law::Rewritable), (FLASH, Law::ClearBits)] {
            let mut direct = RamDisk::with_law(geometry, law, 0xFF);
            let mut cached = WriteCache::new(direct.fork());
            for request in &requests {
                // What the contract forbids, a cache may answer in another way.
                if law == Law::ClearBits && !is_erased(&mut direct, request) {
                    continue;
                }
                prop_assert_eq!(ask(&mut cached, request), ask(&mut direct, request));
            }
            cached.flush().unwrap();
            prop_assert_eq!(cached.pending(), 0);
            prop_assert_eq!(cached.device().content_hash(), direct.content_hash());
        }
    }

    #[test]
    fn loss_leaves_each_granule_old_or_once_written(requests in requests(), seed: u64) {
        let mut cached = WriteCache::new(RamDisk::new(DISK, 0));
        let granules = CAPACITY / 512;
        let mut possible: Vec<Vec<Vec<u8>>> = vec![vec![vec![0; 512]]; granules as usize];
        for request in &requests {
            let (outcome, _) = ask(&mut cached, request);
            match *request {
                Request::Write { at, count, value } if outcome.is_ok() => {
                    let bytes = payload(count * 512, value);
                    for (granule, bytes) in (at..).zip(bytes.chunks(512)) {
                        possible[granule as usize].push(bytes.to_vec());
                    }
                }
                Request::Flush => {
                    for values in &mut possible {
                        values.drain(..values.len() - 1);
                    }
                }
                _ => {}
            }
        }
        let mut again = cached.clone();
        cached.lose(seed).unwrap();
        again.lose(seed).unwrap();
        prop_assert_eq!(cached.device().content_hash(), again.device().content_hash());
        prop_assert_eq!(cached.pending(), 0);
        for (granule, values) in (0..granules).zip(&possible) {
            prop_assert!(values.contains(&cached.device().bytes(granule * 512, 512)));
        }
    }
}

/// Whether a write meets erased bytes only, as the contract wants.
fn is_erased(disk: &mut RamDisk, request: &Request) -> bool {
    let Request::Write { at, count, .. } = *request else { return true };
    let len = (count * 16) as usize;
    at * 512 + len as u64 > CAPACITY || disk.bytes(at * 512, len).iter().all(|byte| *byte == 0xFF)
}

#[test]
fn loss_ranges_from_nothing_to_everything_and_reorders() {
    let mut cached = WriteCache::new(RamDisk::new(DISK, 0));
    for value in 1..=3 {
        cached.write(0, &[value; 512]).unwrap();
        cached.write(512, &[value; 512]).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let mut lost = cached.clone();
        lost.lose(seed).unwrap();
        seen.insert((lost.device().bytes(0, 1)[0], lost.device().bytes(512, 1)[0]));
    }
    // Every pair of values: none written, an older one last, one ahead of the other.
    assert_eq!(seen.len(), 16);

    cached.lose_all();
    cached.flush().unwrap();
    assert_eq!(cached.device().content_hash(), RamDisk::new(DISK, 0).content_hash());
}

#[test]
fn flash_may_lose_an_erase_and_keep_the_one_after() {
    let mut disk = RamDisk::new(FLASH, 0);
    disk.erase(0, 4096).unwrap();
    disk.write(0, &[1; 4096]).unwrap();
    let mut cached = WriteCache::new(disk);
    cached.erase(0, 4096).unwrap();
    cached.write(0, &[2; 4096]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut lost = cached.clone();
        lost.lose(seed).unwrap();
        seen.insert((lost.device().bytes(0, 1)[0], lost.device().bytes(2048, 1)[0]));
    }
    for state in [(1, 1), (0xFF, 1), (1, 0xFF), (0xFF, 0xFF), (2, 2)] {
        assert!(seen.contains(&state), "{state:?}");
    }
}

/// Two devices one behind the other, each with a write that waits, the second one's first.
fn two_devices_with_something_pending() -> WriteCache<RamDisk> {
    let mut cached = WriteCache::new(RamDisk::new(DISK, 0));
    cached.write(1024, &[2; 512]).unwrap();
    cached.write(0, &[1; 512]).unwrap();
    cached
}

fn firsts(device: &RamDisk) -> (u8, u8) {
    (device.bytes(0, 1)[0], device.bytes(1024, 1)[0])
}

#[test]
fn flush_of_one_device_leaves_the_other_pending() {
    let mut cached = two_devices_with_something_pending();
    cached.flush_part(&(0..1024)).unwrap();
    assert_eq!(firsts(cached.device()), (1, 0));
    assert_eq!(cached.pending(), 1);
    // Reads still see what waits, and a flush of all brings it.
    let mut read = [0; 512];
    cached.read(1024, &mut read).unwrap();
    assert_eq!(read, [2; 512]);
    cached.flush().unwrap();
    assert_eq!(firsts(cached.device()), (1, 2));
    // What was not flushed is lost with the power.
    let mut cut = two_devices_with_something_pending();
    cut.flush_part(&(1024..2048)).unwrap();
    cut.lose_all();
    assert_eq!(firsts(cut.device()), (0, 2));
}

#[test]
fn one_device_may_keep_what_the_other_loses() {
    for (part, kept) in [(0..1024, (1, 0)), (1024..2048, (0, 2))] {
        let mut cached = two_devices_with_something_pending();
        cached.keep_part(&part).unwrap();
        assert_eq!(firsts(cached.device()), kept);
        assert_eq!(cached.pending(), 0);
        cached.flush().unwrap();
        assert_eq!(firsts(cached.device()), kept);
    }
}

#[test]
fn write_ahead_of_its_erase_is_lost_with_the_power_and_reported_by_a_flush() {
    let mut disk = RamDisk::new(FLASH, 0);
    disk.erase(0, 4096).unwrap();
    disk.write(0, &[0; 512]).unwrap();
    let mut cached = WriteCache::new(disk);
    cached.write(0, &[7; 512]).unwrap();
    assert_eq!(cached.clone().keep_part(&(0..4096)), Ok(()));
    assert_eq!(cached.flush_part(&(0..4096)), Err(DeviceError::NotErased));
    assert_eq!(cached.pending(), 0);
}
