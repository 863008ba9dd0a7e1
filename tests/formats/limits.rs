//! The largest values of each format, and the smallest damage.

use stillboot::format::manifest::COMPONENTS_MAX;
use stillboot::format::record::{Body, FAILED_MAX, LEN_MAX, NOTES_LEN_MAX, TRIES_MAX};
use stillboot::format::{
    Channel, Component, Encryption, Epochs, Failed, Fault, Floor, FormatError, Hold, Keyset, Load,
    Record, Risk, Role, SlotEntry, SlotState, envelope,
};

use crate::golden::{golden_keyset, golden_manifest, golden_record, text};

#[test]
fn the_largest_record_fits() {
    let entry = SlotEntry {
        state: SlotState::Trying { left: TRIES_MAX, attempt: 255, nonce: u64::MAX },
        suspect: true,
        held: true,
        priority: 255,
        digest: [255; 32],
        floor: Floor { keyset_version: u32::MAX, level: u32::MAX },
        epochs: Epochs { reads_min: u16::MAX, reads_max: u16::MAX, writes: u16::MAX },
        version: text(&"9".repeat(32)),
    };
    let failed = Failed { digest: [255; 32], fault: Fault::Exhausted, count: 255, at: u64::MAX };
    let floor = Floor { keyset_version: u32::MAX, level: u32::MAX };
    let record = Record {
        sequence: (1 << 63) - 1,
        body: Body {
            slots: core::array::from_fn(|_| entry.clone()),
            floor,
            recovery_floor: floor,
            data_epoch: u16::MAX,
            failed: (0..FAILED_MAX).map(|_| failed).collect(),
            hold: Hold { until: u64::MAX, since: u64::MAX },
            notes: heapless::Vec::from_slice(&[0xff; NOTES_LEN_MAX]).unwrap(),
        },
    };
    let mut bytes = [0; LEN_MAX];
    let len = record.emit(&mut bytes).unwrap();
    println!("{len} of {LEN_MAX} bytes");
    assert_eq!(Record::parse(&bytes[..len]), Ok(record.clone()));
    let beyond = Record { sequence: 1 << 63, ..record };
    assert!(beyond.emit(&mut bytes).is_err());
}

#[test]
fn the_largest_manifest_fits_the_payload() {
    let mut manifest = golden_manifest();
    manifest.version = text(&"9".repeat(32));
    manifest.min_from = text(&"9".repeat(32));
    manifest.channel =
        Channel { track: text(&"t".repeat(16)), risk: Risk::Edge, branch: text(&"b".repeat(16)) };
    manifest.sequence = u64::MAX - 1;
    manifest.level = u32::MAX - 1;
    manifest.not_after = u64::MAX;
    manifest.chunk_size = 1 << 20;
    manifest.components = (0..COMPONENTS_MAX)
        .map(|n| Component {
            role: Role::ALL[n],
            load: Load::Ram,
            linked: 4,
            encryption: Encryption::None,
            length: 1 << 40,
            index_root: [n as u8; 32],
            sha256: [255; 32],
        })
        .collect();
    let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
    let len = manifest.emit(&mut bytes).unwrap();
    println!("{len} of {} bytes", envelope::PAYLOAD_LEN_MAX);
}

#[test]
fn every_bit_flip_and_every_tear_of_a_record_is_noticed() {
    let mut bytes = [0; LEN_MAX];
    let len = golden_record().emit(&mut bytes).unwrap();
    for bit in 0..len * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::parse(&bad).is_err(), "bit {bit}");
    }
    let mut older = golden_record();
    older.sequence -= 1;
    older.body.data_epoch = 200;
    let mut before = [0xff; LEN_MAX];
    older.emit(&mut before).unwrap();
    for torn in 0..=LEN_MAX {
        let mut mixed = before;
        mixed[..torn].copy_from_slice(&bytes[..torn]);
        if let Ok(record) = Record::parse(&mixed) {
            assert!(record == golden_record() || record == older, "torn at {torn}");
        }
    }
}

#[test]
fn padded_numbers_are_not_canonical() {
    // Version 300 as a number of three bytes instead of two.
    let mut bytes = [0; 1024];
    let len = golden_keyset().emit(&mut bytes).unwrap();
    assert_eq!(&bytes[1..3], [0xac, 0x02]);
    let mut padded = vec![1, 0xac, 0x82, 0x00];
    padded.extend_from_slice(&bytes[3..len]);
    assert_eq!(Keyset::parse(&padded), Err(FormatError::NotCanonical));
}
