//! Golden bytes of every format, round trips, and streaming in any chunking.
//!
//! The golden bytes freeze the formats: a change that moves one of them breaks devices in the field
//! and needs a new format version.

use proptest::prelude::*;
use stillboot::format::manifest::COMPONENTS_MAX;
use stillboot::format::record::{Body, FAILED_MAX, LEN_MAX, TRIES_MAX};
use stillboot::format::{
    Architecture, BootProof, Channel, Component, Digest, Envelope, Epochs, Failed, Fault, Field,
    Floor, FormatError, Hold, Key, KeyRole, Keyset, Load, Manifest, Mark, MarkKind, PayloadType,
    Record, Risk, Role, SLOTS_MAX, Slot, SlotEntry, SlotState, Statement, StatementKind, envelope,
    statement,
};
use stillboot::verify::{IndexFold, Sha256, SoftSha256, digest_of, key_id};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text<const N: usize>(text: &str) -> heapless::String<N> {
    text.chars().collect()
}

fn golden_manifest() -> Manifest {
    Manifest {
        schema: 1,
        product: [0x11; 16],
        class: [0x22; 16],
        revision_min: 1,
        revision_max: 300,
        version: text("1.2.3-rc.1"),
        sequence: 70_000,
        level: 5,
        min_from: text("1.0.0"),
        channel: Channel { track: text("latest"), risk: Risk::Beta, branch: text("fix") },
        architecture: Architecture::Aarch64,
        not_after: 1_800_000_000,
        epochs: Epochs { reads_min: 1, reads_max: 3, writes: 2 },
        rollout: 25,
        flags: 3,
        chunk_size: 65_536,
        components: [
            Component {
                role: Role::Kernel,
                load: Load::Ram,
                linked: 0,
                length: 1_000_000,
                index_root: [0x33; 32],
                sha256: [0x44; 32],
            },
            Component {
                role: Role::Rootfs,
                load: Load::Late,
                linked: 2,
                length: 5_000_000_000,
                index_root: [0x55; 32],
                sha256: [0x66; 32],
            },
        ]
        .into_iter()
        .collect(),
    }
}

#[test]
fn golden_manifest_bytes() {
    let mut bytes = [0; 1024];
    let len = golden_manifest().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_MANIFEST.concat());
    assert_eq!(Manifest::parse(&bytes[..len]), Ok(golden_manifest()));
}

const GOLDEN_MANIFEST: [&str; 6] = [
    "01111111111111111111111111111111112222222222222222222222222222222201ac020a312e32",
    "2e332d72632e31f0a2040505312e302e30066c617465737402036669780280a4a7da060103021903",
    "80800402000000c0843d333333333333333333333333333333333333333333333333333333333333",
    "3333444444444444444444444444444444444444444444444444444444444444444405020280e497",
    "d0125555555555555555555555555555555555555555555555555555555555555555666666666666",
    "6666666666666666666666666666666666666666666666666666",
];

fn golden_keyset() -> Keyset {
    Keyset {
        schema: 1,
        version: 300,
        thresholds: [2, 1, 0, 0, 0, 1],
        keys: [
            Key { public: [0xa1; 32], roles: KeyRole::Release.bit() },
            Key { public: [0xa2; 32], roles: KeyRole::Release.bit() | KeyRole::SignOff.bit() },
            Key { public: [0xa3; 32], roles: KeyRole::Recovery.bit() },
        ]
        .into_iter()
        .collect(),
    }
}

#[test]
fn golden_keyset_bytes() {
    let mut bytes = [0; 1024];
    let len = golden_keyset().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_KEYSET.concat());
    assert_eq!(Keyset::parse(&bytes[..len]), Ok(golden_keyset()));
}

const GOLDEN_KEYSET: [&str; 3] = [
    "01ac0202010000000103a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
    "a1a101a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a221a3a3a3a3",
    "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a302",
];

#[test]
fn golden_statement_bytes() {
    let statement = Statement {
        schema: 1,
        kind: StatementKind::SignOff,
        digest: [0x77; 32],
        number: 300,
        product: [0x11; 16],
        channel: Channel { track: text("latest"), risk: Risk::Candidate, branch: text("") },
        rollout: 10,
        not_after: 300,
        name: text("tests"),
    };
    let mut bytes = [0; 1024];
    let len = statement.emit(&mut bytes).unwrap();
    let expected = format!(
        "0103{}ac02{}066c617465737401000aac02057465737473",
        "77".repeat(32),
        "11".repeat(16)
    );
    assert_eq!(hex(&bytes[..len]), expected);
    assert_eq!(Statement::parse(&bytes[..len]), Ok(statement.clone()));
    let mut theirs = [0; 1024];
    assert_eq!(&bytes[..len], postcard::to_slice(&statement, &mut theirs).unwrap());
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement.clone();
        change(&mut statement);
        statement.emit(&mut [0; 1024]).map(|_| ())
    };
    let bounds = |field| Err(FormatError::Bounds(field));
    assert_eq!(with(&|s| s.rollout = 101), bounds(Field::Rollout));
    assert_eq!(with(&|s| s.name.clear()), bounds(Field::Name));
    for number in [0, statement::NUMBER_MAX + 1, u64::MAX] {
        assert_eq!(with(&|s| s.number = number), bounds(Field::StatementNumber));
    }
    assert_eq!(with(&|s| s.kind = StatementKind::Channel), bounds(Field::Name));
    assert_eq!(with(&|s| s.channel.track.clear()), bounds(Field::Channel));
    assert_eq!(with(&|s| s.schema = 2), Err(FormatError::Version { found: 2 }));
    let unknown = FormatError::Unknown { field: Field::StatementKind, code: 4 };
    assert_eq!(with(&|s| s.kind = StatementKind::Unknown(4)), Err(unknown));
    for end in 0..len {
        assert!(Statement::parse(&bytes[..end]).is_err());
    }
    assert_eq!(Statement::parse(&bytes[..len + 1]), Err(FormatError::Trailing));
}

#[test]
fn golden_envelope_bytes() {
    let mut bytes = [0; 1024];
    let signatures = [([1; 8], [0xee; 64]), ([2; 8], [0xff; 64])];
    let len = Envelope::emit(PayloadType::Manifest, &signatures, b"payload", &mut bytes).unwrap();
    let expected = format!(
        "{}{}{}{}{}{}{}{}",
        "5342454e",
        "01020200",
        "07000000",
        "01".repeat(8),
        "ee".repeat(64),
        "02".repeat(8),
        "ff".repeat(64),
        "7061796c6f6164"
    );
    assert_eq!(hex(&bytes[..len]), expected);
    let prefix =
        envelope::signed_prefix(PayloadType::Manifest, KeyRole::Release, &[0x11; 16], 0x0102);
    let domain = hex(b"stillboot-signature-v1\0");
    assert_eq!(hex(&prefix), format!("{domain}0201{}02010000", "11".repeat(16)));
    assert_eq!(
        hex(&key_id::<SoftSha256>(&[0xa1; 32])),
        &hex(&digest_of::<SoftSha256>(&[0xa1; 32]))[..16]
    );
}

/// Payload types, key roles and all other codes, reserved ones included.
#[test]
fn golden_codes() {
    fn codes<T: Copy>(
        all: &[T],
        code: impl Fn(T) -> u8,
        name: impl Fn(T) -> &'static str,
    ) -> String {
        all.iter().map(|value| format!("{}={} ", name(*value), code(*value))).collect()
    }
    assert_eq!(
        codes(PayloadType::ALL, PayloadType::code, PayloadType::name),
        "keyset=1 manifest=2 channel-index=3 statement=4 "
    );
    assert_eq!(
        codes(KeyRole::ALL, KeyRole::code, KeyRole::name),
        "root=0 release=1 recovery=2 edge-release=3 channel=4 approver=5 sign-off=6 "
    );
    assert_eq!(KeyRole::OF_KEYSETS.map(KeyRole::bit), [1, 2, 4, 8, 16, 32]);
    assert_eq!(KeyRole::Root.bit(), 0);
    assert_eq!(
        codes(Role::ALL, Role::code, Role::name),
        "kernel=0 initramfs=1 cmdline=2 dtbs=3 uki=4 rootfs=5 image=6 data=7 "
    );
    assert_eq!(codes(Load::ALL, Load::code, Load::name), "ram=0 xip=1 late=2 ");
    assert_eq!(codes(Risk::ALL, Risk::code, Risk::name), "stable=0 candidate=1 beta=2 edge=3 ");
    assert_eq!(
        codes(Architecture::ALL, Architecture::code, Architecture::name),
        "any=0 x86_64=1 aarch64=2 armv7=3 thumbv6m=4 thumbv7m=5 thumbv7em=6 thumbv8m=7 riscv32=8 \
         riscv64=9 "
    );
    assert_eq!(
        codes(Fault::ALL, Fault::code, Fault::name),
        "corrupt=1 marked-bad=2 returned=3 exhausted=4 data-epoch=5 superseded=6 unreadable=7 "
    );
    assert_eq!(
        codes(StatementKind::ALL, StatementKind::code, StatementKind::name),
        "channel=1 approval=2 sign-off=3 "
    );
    assert_eq!(Slot::ALL.map(|slot| slot as u8), [0, 1, 2, 3]);
    assert_eq!(Slot::ALL.map(Slot::name), ["a", "b", "c", "recovery"]);
}

fn golden_record() -> Record {
    let entry = |state, digest| SlotEntry {
        state,
        suspect: false,
        held: false,
        priority: 2,
        digest: [digest; 32],
        floor: Floor { keyset_version: 1, level: 5 },
        epochs: Epochs { reads_min: 0, reads_max: 1, writes: 1 },
        version: text("1.2.3"),
    };
    Record {
        sequence: 0x0102_0304,
        body: Body {
            slots: [
                SlotEntry { suspect: true, ..entry(SlotState::Good, 0xa0) },
                entry(SlotState::Trying { left: 2, attempt: 1, nonce: 300 }, 0xb0),
                SlotEntry { held: true, ..entry(SlotState::Ready { tries: 3 }, 0xc0) },
                entry(SlotState::Bad { fault: Fault::Exhausted }, 0xd0),
            ],
            floor: Floor { keyset_version: 1, level: 4 },
            recovery_floor: Floor { keyset_version: 1, level: 2 },
            data_epoch: 7,
            failed: [Failed { digest: [0xf0; 32], fault: Fault::MarkedBad, count: 2, at: 1000 }]
                .into_iter()
                .collect(),
            hold: Hold { until: u64::MAX, since: 1 },
        },
    }
}

#[test]
fn golden_record_bytes() {
    let mut bytes = [0; LEN_MAX];
    let len = golden_record().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_RECORD.concat());
    assert_eq!(Record::parse(&bytes), Ok(golden_record()));
}

const GOLDEN_RECORD: [&str; 7] = [
    "534252430100f700040302010000000004010002a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0",
    "a0a0a0a0a0a0a0a0a0a0a0a0010500010105312e322e33030201ac02000002b0b0b0b0b0b0b0b0b0",
    "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0010500010105312e322e330203000102c0",
    "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0010500010105312e32",
    "2e330504000002d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d001",
    "0500010105312e322e33010401020701f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0",
    "f0f0f0f0f0f0f0f00202e807ffffffffffffffffff0101f78ae92b",
];

#[test]
fn golden_marks() {
    let mark = |kind| hex(&Mark { kind, digest: [0xab; 32] }.emit());
    let digest = "ab".repeat(32);
    assert_eq!(mark(MarkKind::Committed), format!("5342434d01000000{digest}fc33c4c3"));
    assert_eq!(mark(MarkKind::Confirmed), format!("53424f4b01000000{digest}e14ad79b"));
}

#[test]
fn golden_proof() {
    let proof = BootProof {
        slot: Slot::Recovery,
        digest: [0xcd; 32],
        attempt: 2,
        nonce: 0x0123_4567_89ab_cdef,
        keyset_version: 3,
        record_version: 1,
        manifest_schema: 1,
    };
    let text = format!("1:recovery:{}:02:0123456789abcdef:00000003:0001:01", "cd".repeat(32));
    assert_eq!(proof.emit().as_str(), text);
    assert_eq!(BootProof::parse(&text), Some(proof));
    for wrong in [
        "",
        "1",
        &text[2..],
        &text.replace("1:r", "2:r"),
        &text.replace("recovery", "d"),
        &text.to_uppercase(),
        &format!("{text}:"),
        &format!("{text} "),
        &text.replace(":02:", ":2:"),
        &text.replace(":02:", ":+2:"),
        &text.replace("cdcd:", "cd:"),
    ] {
        assert_eq!(BootProof::parse(wrong), None, "{wrong}");
    }
}

/// The index root of 10,000 bytes in chunks of 4096, computed from its definition alone.
#[test]
fn golden_index_root() {
    let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    let mut fold = IndexFold::<SoftSha256>::new(10_000, 4096);
    fold.bytes(&bytes);
    let root = fold.finish();
    let mut message = b"stillboot-index-v1\0".to_vec();
    message.extend_from_slice(&10_000_u64.to_le_bytes());
    message.extend_from_slice(&4096_u32.to_le_bytes());
    for chunk in bytes.chunks(4096) {
        message.extend_from_slice(&digest_of::<SoftSha256>(chunk));
    }
    assert_eq!(root, digest_of::<SoftSha256>(&message));
    assert_eq!(hex(&root), GOLDEN_ROOT);
}

const GOLDEN_ROOT: &str = "b45e9498d0c296dedc0a5d559863df0893749d02fbe0688d56bad126a9461a2e";

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

// Properties.

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
    (0..1_u64 << 63, slots, failed, any::<[u32; 4]>(), any::<u16>(), any::<[u64; 2]>()).prop_map(
        |(sequence, slots, failed, floors, data_epoch, hold)| Record {
            sequence,
            body: Body {
                slots: core::array::from_fn(|at| slots[at].clone()),
                floor: Floor { keyset_version: floors[0], level: floors[1] },
                recovery_floor: Floor { keyset_version: floors[2], level: floors[3] },
                data_epoch,
                failed: failed.into_iter().collect(),
                hold: Hold { until: hold[0], since: hold[1] },
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
        let len = record.emit(&mut bytes).unwrap();
        let body = postcard::to_slice(&record.body, &mut theirs).unwrap();
        prop_assert_eq!(&bytes[16..len - 4], body);
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
