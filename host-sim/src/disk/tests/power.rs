//! Power cuts: at the chosen request, in the chosen way, and nothing else.

use proptest::prelude::*;
use stillboot::device::{BlockDevice, DeviceError, Geometry};

use crate::disk::{Change, Cut, Law, PowerCut, RamDisk, Tear, WriteCache};

const DISK: Geometry = Geometry::disk(512, 64 * 1024);

const FLASH: Geometry = Geometry {
    logical_block_bytes: 1,
    write_granule_bytes: 8,
    erase_block_bytes: 2048,
    capacity_bytes: 64 * 1024,
    erased: Some(0xFF),
};

/// A disk of zeros after a write of ones to 4096..8192 that was cut.
fn after_cut_write(cut: Cut) -> Vec<u8> {
    let mut device = PowerCut::new(RamDisk::new(DISK, 0));
    device.cut_at(0, cut);
    assert_eq!(device.write(4096, &[1; 4096]), Err(DeviceError::Gone));
    assert!(device.is_off());
    let bytes = device.device().bytes(0, 64 * 1024);
    assert!(bytes[..4096].iter().chain(&bytes[8192..]).all(|byte| *byte == 0));
    bytes[4096..8192].to_vec()
}

#[test]
fn write_is_cut_before_after_and_within() {
    let ones = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 1).count();
    assert_eq!(ones(&after_cut_write(Cut::Before)), 0);
    assert_eq!(ones(&after_cut_write(Cut::After)), 4096);
    for count in [0, 1, 700, 4095, 4096, 5000] {
        let bytes = after_cut_write(Cut::Torn(Tear::Prefix(count)));
        let count = count.min(4096) as usize;
        assert_eq!((ones(&bytes), ones(&bytes[..count])), (count, count));
        let bytes = after_cut_write(Cut::Torn(Tear::Suffix(count as u64)));
        assert_eq!((ones(&bytes), ones(&bytes[4096 - count..])), (count, count));
    }
    // Some seeds tear within a granule, others between granules only.
    let mixed: Vec<_> = (0..30).map(|s| after_cut_write(Cut::Torn(Tear::Mixed(s)))).collect();
    let whole = |bytes: &Vec<u8>| bytes.chunks(512).all(|granule| ones(granule) % 512 == 0);
    assert!(mixed.iter().any(whole) && !mixed.iter().all(whole));
    assert_eq!(mixed[3], after_cut_write(Cut::Torn(Tear::Mixed(3))));
}

#[test]
fn without_power_nothing_answers() {
    let mut device = PowerCut::new(RamDisk::new(DISK, 0));
    device.write(0, &[1; 512]).unwrap();
    device.cut_at(1, Cut::Before);
    device.read(0, &mut [0; 512]).unwrap();
    assert_eq!(device.flush(), Err(DeviceError::Gone));
    assert_eq!(device.read(0, &mut [0; 512]), Err(DeviceError::Gone));
    assert_eq!(device.write(0, &[2; 512]), Err(DeviceError::Gone));
    assert_eq!(device.erase(0, 4096), Err(DeviceError::Gone));
    assert_eq!(device.flush(), Err(DeviceError::Gone));
    assert_eq!((device.operations(), device.reads()), (2, 1));

    device.power_on();
    assert!(!device.is_off());
    // The plan is over: the same number does not come again, and the next one does not cut.
    device.write(0, &[3; 512]).unwrap();
    assert_eq!(device.operations(), 3);
    device.power_off();
    assert_eq!(device.flush(), Err(DeviceError::Gone));
    assert_eq!(device.into_inner().bytes(0, 1), [3]);
}

#[test]
fn refused_requests_are_not_counted() {
    let mut device = PowerCut::new(RamDisk::new(DISK, 0));
    device.cut_at(0, Cut::Before);
    assert_eq!(device.write(1, &[0; 512]), Err(DeviceError::Unaligned));
    assert_eq!(device.erase(0, 1 << 40), Err(DeviceError::OutOfRange));
    assert_eq!(device.read(0, &mut [0; 1]), Err(DeviceError::Unaligned));
    assert_eq!((device.operations(), device.reads()), (0, 0));
}

#[test]
fn trace_tells_what_can_be_cut() {
    let mut device = PowerCut::new(RamDisk::new(FLASH, 0));
    device.erase(2048, 4096).unwrap();
    device.write(2048, &[0; 16]).unwrap();
    device.read(0, &mut [0; 1]).unwrap();
    device.flush().unwrap();
    let expected = [
        Change::Erase { offset: 2048, len: 4096 },
        Change::Write { offset: 2048, len: 16 },
        Change::Flush,
    ];
    assert_eq!(device.trace(), expected);
}

#[test]
fn torn_erase_leaves_a_block_that_must_be_erased_again() {
    for (tear, erased) in [
        (Tear::Prefix(1000), 0..1000),
        (Tear::Suffix(1000), 3096..4096),
        (Tear::Prefix(9999), 0..4096),
        (Tear::Prefix(0), 0..0),
    ] {
        let mut device = PowerCut::new(RamDisk::new(FLASH, 0x11));
        device.cut_at(0, Cut::Torn(tear));
        assert_eq!(device.erase(2048, 4096), Err(DeviceError::Gone));
        device.power_on();
        let bytes = device.device().bytes(2048, 4096);
        for (index, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, if erased.contains(&index) { 0xFF } else { 0x11 });
        }
        assert_eq!(device.device().bytes(0, 2048), [0x11; 2048]);
        assert_eq!(device.device().bytes(6144, 2048), [0x11; 2048]);
        // It reads as erased, and is not.
        assert_eq!(device.write(2048, &[0; 8]), Err(DeviceError::NotErased));
        device.erase(2048, 4096).unwrap();
        device.write(2048, &[0; 8]).unwrap();
    }
}

#[test]
fn torn_erase_may_leave_anything() {
    let mut disk = RamDisk::new(FLASH, 0x11);
    disk.erase(0, 2048).unwrap();
    let mut device = PowerCut::new(disk);
    device.cut_at(0, Cut::Torn(Tear::Mixed(7)));
    assert_eq!(device.erase(2048, 2048), Err(DeviceError::Gone));
    let bytes = device.device().bytes(2048, 2048);
    for value in [0x11, 0xFF] {
        assert!(bytes.contains(&value));
    }
    assert!(bytes.iter().any(|byte| ![0x11, 0xFF].contains(byte)));
}

#[test]
fn torn_erase_of_a_disk_changes_nothing() {
    let mut device = PowerCut::new(RamDisk::new(DISK, 5));
    device.cut_at(0, Cut::Torn(Tear::Mixed(7)));
    assert_eq!(device.erase(0, 4096), Err(DeviceError::Gone));
    assert_eq!(device.device().content_hash(), RamDisk::new(DISK, 5).content_hash());
}

#[test]
fn flush_that_was_cut_after_is_durable_and_before_is_not() {
    for (cut, expected) in [(Cut::Before, 0), (Cut::Torn(Tear::Prefix(1)), 0), (Cut::After, 1)] {
        let mut device = PowerCut::new(WriteCache::new(RamDisk::new(DISK, 0)));
        device.cut_at(1, cut);
        device.write(0, &[1; 512]).unwrap();
        assert_eq!(device.flush(), Err(DeviceError::Gone));
        device.device_mut().lose_all();
        device.power_on();
        let mut into = [9; 512];
        device.read(0, &mut into).unwrap();
        assert_eq!(into, [expected; 512]);
    }
}

#[test]
fn forks_go_separate_ways() {
    let mut device = PowerCut::new(WriteCache::new(RamDisk::new(DISK, 0)));
    device.write(0, &[1; 512]).unwrap();
    let mut fork = device.clone();
    fork.cut_at(1, Cut::Before);
    assert_eq!(fork.flush(), Err(DeviceError::Gone));
    device.flush().unwrap();
    assert!(fork.is_off() && !device.is_off());
    assert_eq!(fork.device().device().bytes(0, 1), [0]);
    assert_eq!(device.device().device().bytes(0, 1), [1]);
}

fn tears() -> impl Strategy<Value = Tear> {
    prop_oneof![
        (0..3000u64).prop_map(Tear::Prefix),
        (0..3000u64).prop_map(Tear::Suffix),
        any::<u64>().prop_map(Tear::Mixed),
    ]
}

proptest! {
    /// Point 1 of the contract, on every kind of medium; one kind of tear mixes bits, the others
    /// whole bytes.
    #[test]
    fn torn_write_leaves_each_bit_old_or_new(
        old: u8, new: u8, at in 0..20u64, count in 1..5u64, tear in tears(),
    ) {
        for (geometry, law) in
            [(DISK, Law::Rewritable), (FLASH, Law::WriteOnce), (FLASH, Law::ClearBits)]
        {
            let mut disk = RamDisk::with_law(geometry, law, old);
            let (offset, len) = (at * 512, count * 512);
            if law != Law::Rewritable {
                disk.erase(0, 64 * 1024).unwrap();
            }
            let before = disk.bytes(0, 64 * 1024);
            let mut device = PowerCut::new(disk);
            device.cut_at(0, Cut::Torn(tear));
            prop_assert_eq!(device.write(offset, &vec![new; len as usize]), Err(DeviceError::Gone));
            let after = device.device().bytes(0, 64 * 1024);
            for (index, (before, after)) in (0..).zip(before.iter().zip(&after)) {
                let inside = (offset..offset + len).contains(&index);
                let mixes_bits = matches!(tear, Tear::Mixed(seed) if seed % 4 == 3);
                let of_both = (after ^ before) & !(before ^ new) == 0;
                let whole = after == before || *after == new;
                prop_assert!(after == before || inside && of_both && (whole || mixes_bits));
            }
        }
    }
}
