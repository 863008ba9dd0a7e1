//! Formats at large: round trips, one encoding, streams cut anywhere.

use proptest::prelude::*;
use stillboot::format::log::{self, Cell};
use stillboot::format::record::{Body, FAILED_MAX, LEN_MAX, NOTES_LEN_MAX, TRIES_MAX};
use stillboot::format::{
    Architecture, BootProof, Channel, Component, Digest, Encryption, Envelope, Epochs, Failed,
    Fault, Floor, FormatError, Hold, Keyset, Load, Manifest, Mark, MarkKind, Notes, Record, Risk,
    Role, SLOTS_MAX, Slot, SlotEntry, SlotState, Statement, envelope,
};
use stillboot::verify::{IndexFold, Sha256, SoftSha256, digest_of};

use crate::golden::golden_keyset;

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>()
}

fn label<const N: usize>(min: usize) -> impl Strategy<Value = heapless::String<N>> {
    proptest::collection::vec(proptest::sample::select(&b"az09AZ.-+_~"[..]), min..=N)
        .prop_map(|bytes| bytes.into_iter().map(char::from).collect())
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let component = (0..3_u8, 0..5_u8, 1..=1_u64 << 24, any_digest(), any_digest());
    let head = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>());
    let version = (label::<32>(1), 0..u64::MAX, 0..u32::MAX, label::<32>(0));
    let channel = (label::<16>(1), 0..4_u8, label::<16>(0));
    let epochs = (any::<[u16; 3]>(), 0..=100_u8, 0..4_u32, 12..=20_u32, 0..10_u8, any::<u64>());
    (head, version, channel, epochs, proptest::collection::vec(component, 1..=8)).prop_map(
        |(head, version, channel, rest, components)| {
            let (product, class, one, other) = head;
            let mut epochs = rest.0;
            epochs.sort_unstable();
            Manifest {
                schema: 1,
                product,
                class,
                revision_min: one.min(other),
                revision_max: one.max(other),
                version: version.0,
                sequence: version.1,
                level: version.2,
                min_from: version.3,
                channel: Channel {
                    track: channel.0,
                    risk: Risk::from_code(channel.1),
                    branch: channel.2,
                },
                architecture: Architecture::from_code(rest.4),
                not_after: rest.5,
                epochs: Epochs { reads_min: epochs[0], writes: epochs[1], reads_max: epochs[2] },
                rollout: rest.1,
                flags: rest.2,
                chunk_size: 1 << rest.3,
                components: components
                    .into_iter()
                    .enumerate()
                    .map(|(number, (load, linked, length, index_root, sha256))| Component {
                        role: Role::ALL[number],
                        load: Load::from_code(load),
                        linked,
                        encryption: Encryption::None,
                        length,
                        index_root,
                        sha256,
                    })
                    .collect(),
            }
        },
    )
}

fn any_state() -> impl Strategy<Value = SlotState> {
    prop_oneof![
        Just(SlotState::Empty),
        Just(SlotState::Writing),
        (1..=TRIES_MAX).prop_map(|tries| SlotState::Ready { tries }),
        (0..=TRIES_MAX, any::<u8>(), any::<u64>())
            .prop_map(|(left, attempt, nonce)| SlotState::Trying { left, attempt, nonce }),
        Just(SlotState::Good),
        any::<u8>().prop_map(|code| SlotState::Bad { fault: Fault::from_code(code) }),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let entry = (
        any_state(),
        any::<[bool; 2]>(),
        any::<u8>(),
        any_digest(),
        any::<[u32; 2]>(),
        any::<[u16; 3]>(),
        label::<32>(0),
    );
    let entry =
        entry.prop_map(|(state, flags, priority, digest, floor, epochs, version)| SlotEntry {
            state,
            suspect: flags[0],
            held: flags[1],
            priority,
            digest,
            floor: Floor { keyset_version: floor[0], level: floor[1] },
            epochs: Epochs { reads_min: epochs[0], reads_max: epochs[1], writes: epochs[2] },
            version,
        });
    let failed = (any_digest(), any::<u8>(), any::<u8>(), any::<u64>()).prop_map(
        |(digest, fault, count, at)| Failed { digest, fault: Fault::from_code(fault), count, at },
    );
    let slots = proptest::collection::vec(entry, SLOTS_MAX);
    let failed = proptest::collection::vec(failed, 0..=FAILED_MAX);
    let notes = proptest::collection::vec(any::<u8>(), 0..=NOTES_LEN_MAX);
    let rest = (any::<[u32; 4]>(), any::<u16>(), any::<[u64; 2]>(), notes);
    (0..1_u64 << 63, slots, failed, rest).prop_map(
        |(sequence, slots, failed, (floors, data_epoch, hold, notes))| Record {
            sequence,
            body: Body {
                slots: core::array::from_fn(|at| slots[at].clone()),
                floor: Floor { keyset_version: floors[0], level: floors[1] },
                recovery_floor: Floor { keyset_version: floors[2], level: floors[3] },
                data_epoch,
                failed: failed.into_iter().collect(),
                hold: Hold { until: hold[0], since: hold[1] },
                notes: notes.into_iter().collect(),
            },
        },
    )
}

proptest! {
    /// The bytes are postcard's, though the core reads and writes them by hand.
    #[test]
    fn the_encoding_is_that_of_the_postcard_crate(
        manifest in any_manifest(), record in any_record(), version in 1..u32::MAX,
    ) {
        let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
        let mut theirs = [0; 2 * envelope::PAYLOAD_LEN_MAX];
        let len = manifest.emit(&mut bytes).unwrap();
        prop_assert_eq!(&bytes[..len], postcard::to_slice(&manifest, &mut theirs).unwrap());
        let mut copy = [0; LEN_MAX];
        let len = record.emit(&mut copy).unwrap();
        let body = postcard::to_slice(&record.body, &mut theirs).unwrap();
        prop_assert_eq!(&copy[16..len - 4], body);
        let keyset = Keyset { version, ..golden_keyset() };
        let len = keyset.emit(&mut bytes).unwrap();
        prop_assert_eq!(&bytes[..len], postcard::to_slice(&keyset, &mut theirs).unwrap());
    }

    /// What the core accepts, postcard reads as the same value; what postcard reads and writes
    /// again as the same bytes, the core accepts unless a rule about the values is broken.
    #[test]
    fn what_is_accepted_is_what_postcard_reads(
        manifest in any_manifest(),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
        let len = manifest.emit(&mut bytes).unwrap();
        bytes[at.index(len)] = value;
        let bytes = &bytes[..len];
        let theirs = postcard::take_from_bytes::<Manifest>(bytes);
        match Manifest::parse(bytes) {
            Ok(ours) => prop_assert_eq!(theirs.map(|(value, rest)| (value, rest.len())), Ok((ours, 0))),
            Err(FormatError::Short | FormatError::Trailing | FormatError::Malformed
                | FormatError::NotCanonical) => {
                let mut again = [0; 2 * envelope::PAYLOAD_LEN_MAX];
                let same = theirs.ok().is_some_and(|(value, rest)| {
                    rest.is_empty()
                        && postcard::to_slice(&value, &mut again).is_ok_and(|b| b == bytes)
                        && value.version.is_ascii()
                        && value.min_from.is_ascii()
                        && value.channel.track.is_ascii()
                        && value.channel.branch.is_ascii()
                });
                prop_assert!(!same);
            }
            Err(_) => {}
        }
    }

    #[test]
    fn manifest_parses_to_what_was_emitted(manifest in any_manifest()) {
        let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
        let len = manifest.emit(&mut bytes).unwrap();
        prop_assert_eq!(Manifest::parse(&bytes[..len]), Ok(manifest));
    }

    #[test]
    fn record_parses_to_what_was_emitted(record in any_record()) {
        let mut bytes = [0; LEN_MAX];
        record.emit(&mut bytes).unwrap();
        prop_assert_eq!(Record::parse(&bytes), Ok(record));
    }

    #[test]
    fn accepted_means_canonical(
        manifest in any_manifest(),
        at in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
        let len = manifest.emit(&mut bytes).unwrap();
        bytes[at.index(len)] = value;
        if let Ok(accepted) = Manifest::parse(&bytes[..len]) {
            let mut again = [0; envelope::PAYLOAD_LEN_MAX];
            let again_len = accepted.emit(&mut again).unwrap();
            prop_assert_eq!(&again[..again_len], &bytes[..len]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let _ = Envelope::parse(&bytes);
        let _ = Manifest::parse(&bytes);
        let _ = Keyset::parse(&bytes);
        let _ = Record::parse(&bytes);
        let _ = Mark::parse(MarkKind::Committed, &bytes);
        let _ = Notes::parse(&bytes);
        let _ = Statement::parse(&bytes);
        let _ = Cell::parse(&bytes, 1);
        let _ = log::parse_header(&bytes);
        let _ = BootProof::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn proof_parses_to_what_was_emitted(
        slot in 0..4_usize, digest in any_digest(), attempt in any::<u8>(), nonce in any::<u64>(),
        keyset_version in any::<u32>(), record_version in any::<u16>(),
        manifest_schema in any::<u8>(),
    ) {
        let slot = Slot::ALL[slot];
        let proof = BootProof {
            slot, digest, attempt, nonce, keyset_version, record_version, manifest_schema,
        };
        prop_assert_eq!(BootProof::parse(&proof.emit()), Some(proof));
    }

    #[test]
    fn streaming_in_any_chunking_equals_one_shot(
        bytes in proptest::collection::vec(any::<u8>(), 1..40_000),
        cuts in proptest::collection::vec(1..9_000_usize, 1..30),
        chunk in 12..16_u32,
        padding in 0..600_usize,
    ) {
        let fold = || IndexFold::<SoftSha256>::new(bytes.len() as u64, 1 << chunk);
        let mut once = fold();
        once.bytes(&bytes);
        let mut pieces = fold();
        let mut plain = SoftSha256::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            pieces.bytes(now);
            plain.update(now);
            rest = later;
            if rest.is_empty() { break; }
        }
        // What a device pads its last block with does not count.
        pieces.bytes(&vec![0xee; padding]);
        let mut entries = fold();
        for piece in bytes.chunks(1 << chunk) {
            entries.entries(&digest_of::<SoftSha256>(piece));
        }
        let root = once.finish();
        prop_assert_eq!(pieces.finish(), root);
        prop_assert_eq!(entries.finish(), root);
        prop_assert_eq!(plain.finish(), digest_of::<SoftSha256>(&bytes));
    }
}
