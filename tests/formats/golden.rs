//! Golden bytes of every format.
//!
//! The golden bytes are FROZEN. Devices in the field have loaders that read these bytes and no
//! others, and that cannot be changed any more. So a test of this file that is named
//! `golden_bytes_of_...` is never adapted to a change: the change is wrong, or it needs a new
//! version of the format beside the one that is here. New codes may be added to tables where
//! `docs/FORMAT.md` says that old readers refuse them by name.

use stillboot::format::log::{self, Cell, EntryKind};
use stillboot::format::notes::{ForeignLoader, LoaderNote, Past, SeenNumber};
use stillboot::format::record::{Body, LEN_MAX};
use stillboot::format::{
    Architecture, BootProof, Channel, Component, Encryption, Envelope, Epochs, Failed, Fault,
    Field, Floor, FormatError, Hold, Key, KeyKind, KeyRole, Keyset, Load, Manifest, Mark, MarkKind,
    Notes, PayloadType, Record, Risk, Role, Rule, Signature, Slot, SlotEntry, SlotState, Statement,
    StatementKind, crc32, envelope, manifest, statement,
};
use stillboot::verify::{
    Device, IndexFold, RootKey, SoftSha256, Trust, digest_of, key_id, verify_loader_release,
};
use stillboot_policy::json::{ChannelIndex, IndexHead, IndexOffer, Patch};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_tests::forge::Foreign;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn text<const N: usize>(text: &str) -> heapless::String<N> {
    text.chars().collect()
}

pub(crate) fn golden_manifest() -> Manifest {
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
                encryption: Encryption::None,
                length: 1_000_000,
                index_root: [0x33; 32],
                sha256: [0x44; 32],
            },
            Component {
                role: Role::Rootfs,
                load: Load::Late,
                linked: 2,
                encryption: Encryption::None,
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
fn golden_bytes_of_a_manifest() {
    let mut bytes = [0; 1024];
    let len = golden_manifest().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_MANIFEST.concat());
    assert_eq!(Manifest::parse(&bytes[..len]), Ok(golden_manifest()));
}

const GOLDEN_MANIFEST: [&str; 6] = [
    "01111111111111111111111111111111112222222222222222222222222222222201ac020a312e32",
    "2e332d72632e31f0a2040505312e302e30066c617465737402036669780280a4a7da060103021903",
    "8080040200000000c0843d3333333333333333333333333333333333333333333333333333333333",
    "33333344444444444444444444444444444444444444444444444444444444444444440502020080",
    "e497d012555555555555555555555555555555555555555555555555555555555555555566666666",
    "66666666666666666666666666666666666666666666666666666666",
];

pub(crate) fn golden_keyset() -> Keyset {
    let key = |kind, name, roles| Key { kind, name: [name; 32], roles };
    let (release, sign_off) = (KeyRole::Release.bit(), KeyRole::SignOff.bit());
    Keyset {
        schema: 1,
        version: 300,
        rules: [
            Rule::ed25519(2).and(KeyKind::MlDsa87, 1),
            Rule::of(KeyKind::LmsH20, 1),
            Rule::NONE,
            Rule::NONE,
            Rule::NONE,
            Rule::ed25519(1),
        ],
        keys: [
            key(KeyKind::Ed25519, 0xa1, release),
            key(KeyKind::Ed25519, 0xa2, release | sign_off),
            key(KeyKind::MlDsa87, 0xa3, release),
            key(KeyKind::LmsH20, 0xa4, KeyRole::Recovery.bit()),
        ]
        .into_iter()
        .collect(),
    }
}

#[test]
fn golden_bytes_of_a_keyset() {
    let mut bytes = [0; 1024];
    let len = golden_keyset().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_KEYSET.concat());
    assert_eq!(Keyset::parse(&bytes[..len]), Ok(golden_keyset()));
}

const GOLDEN_KEYSET: [&str; 5] = [
    "01ac020102070103010000000000000000000000000000010100000401a1a1a1a1a1a1a1a1a1a1a1",
    "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a10101a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2",
    "a2a2a2a2a2a2a2a2a2a2a2a2a2a2a22107a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3",
    "a3a3a3a3a3a3a3a3a30103a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4",
    "a4a4a402",
];

pub(crate) fn golden_statement() -> Statement {
    Statement {
        schema: 1,
        kind: StatementKind::SignOff,
        digest: [0x77; 32],
        number: 300,
        product: [0x11; 16],
        channel: Channel { track: text("latest"), risk: Risk::Candidate, branch: text("") },
        rollout: 10,
        not_after: 300,
        name: text("tests"),
    }
}

#[test]
fn golden_bytes_of_a_statement() {
    let statement = golden_statement();
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
fn golden_bytes_of_an_envelope() {
    let mut bytes = [0; 1024];
    let (one, other) = ([0xee; 64], [0xff; 64]);
    let signatures = [Signature::ed25519(&[1; 32], &one), Signature::ed25519(&[2; 32], &other)];
    let len = Envelope::emit(PayloadType::Manifest, &signatures, b"payload", &mut bytes).unwrap();
    let expected = [
        "5342454e",
        "01020200",
        "07000000",
        "c2000000",
        "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5",
        &format!("01{}{}", "01".repeat(32), "ee".repeat(64)),
        &format!("01{}{}", "02".repeat(32), "ff".repeat(64)),
        "7061796c6f6164",
    ];
    assert_eq!(hex(&bytes[..len]), expected.concat());
    let (envelope, rest) = Envelope::parse(&bytes[..len]).unwrap();
    assert!(envelope.signatures().eq(signatures) && rest.is_empty());
    assert!(envelope.has_its_payload::<SoftSha256>());
}

#[test]
fn golden_bytes_of_an_envelope_with_signatures_of_every_kind() {
    use KeyKind::{Ed25519, HssH10H10, LmsH10, LmsH20, MlDsa44, MlDsa65, MlDsa87};
    // All at once they are longer than an envelope may be.
    let sets: [&[KeyKind]; 3] =
        [&[Ed25519, LmsH10, LmsH20, HssH10H10], &[Ed25519, MlDsa44, MlDsa87], &[MlDsa65]];
    for (kinds, (len, digest)) in sets.into_iter().zip(GOLDEN_ENVELOPES) {
        let all: Vec<_> = kinds.iter().map(|kind| Foreign::new(*kind, kind.code())).collect();
        let signatures: Vec<_> = all.iter().map(Foreign::signature).collect();
        let mut bytes = [0; envelope::LEN_MAX];
        let found = Envelope::emit(PayloadType::Keyset, &signatures, b"payload", &mut bytes);
        assert_eq!(found, Ok(len));
        assert_eq!(hex(&digest_of::<SoftSha256>(&bytes[..len])), digest);
        let (envelope, rest) = Envelope::parse(&bytes[..len]).unwrap();
        assert!(envelope.signatures().eq(signatures) && rest.is_empty());
    }
}

const GOLDEN_ENVELOPES: [(usize, &str); 3] = [
    (6627, "c607dbc9d66fdffe1b9628576ab25a1dc98237a641fe1d097015721e8c25423a"),
    (11169, "aab03b8810ecab9b2e9b0d50f4cbd5a956973ac17d54698b9d96ed62db7f42c7"),
    (5349, "d98417ed0138c29c1ecd370e3790017087a4d2c6e4777125b3a58fd410ba6fd0"),
];

#[test]
fn golden_bytes_of_what_is_signed() {
    let signed =
        envelope::to_be_signed(PayloadType::Manifest, KeyRole::Release, &[0x11; 16], b"payload");
    let expected = [
        &hex(b"stillboot-signature-v1\0"),
        "0201",
        &"11".repeat(16),
        "07000000",
        "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5",
    ];
    assert_eq!(hex(&signed), expected.concat());
    assert_eq!(signed.len(), 77);
    assert_eq!(
        hex(&key_id::<SoftSha256>(&[0xa1; 32])),
        &hex(&digest_of::<SoftSha256>(&[0xa1; 32]))[..16]
    );
}

/// The manifest of a release of the loader.
fn golden_loader() -> Manifest {
    let mut manifest = golden_manifest();
    manifest.components.truncate(1);
    manifest.components[0].role = Role::Loader;
    manifest.components[0].load = Load::Late;
    manifest
}

#[test]
fn golden_bytes_of_a_loader_release() {
    let mut bytes = [0; 1024];
    let len = golden_loader().emit(&mut bytes).unwrap();
    let payload = &bytes[..len];
    assert_eq!(hex(payload), GOLDEN_LOADER.concat());
    let root = SigningKey::from_seed([0x5e; 32]);
    let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Root, &root)];
    let signed = sign_envelope(PayloadType::LoaderRelease, &[0x11; 16], payload, &signers).unwrap();
    assert_eq!(signed.len(), 48 + 97 + len);
    assert_eq!(hex(&digest_of::<SoftSha256>(&signed)), GOLDEN_LOADER_ENVELOPE);
    let keys = [RootKey::ed25519(root.public())];
    let device =
        Device::new(Trust::Roots { keys: &keys, rule: Rule::ed25519(1) }, [0x11; 16], [0x22; 16])
            .with_revision(1);
    let (envelope, _) = Envelope::parse(&signed).unwrap();
    let verified = verify_loader_release::<SoftSha256>(&device, &envelope).unwrap();
    assert_eq!(*verified, golden_loader());
}

const GOLDEN_LOADER: [&str; 4] = [
    "01111111111111111111111111111111112222222222222222222222222222222201ac020a312e32",
    "2e332d72632e31f0a2040505312e302e30066c617465737402036669780280a4a7da060103021903",
    "8080040109020000c0843d3333333333333333333333333333333333333333333333333333333333",
    "3333334444444444444444444444444444444444444444444444444444444444444444",
];

const GOLDEN_LOADER_ENVELOPE: &str =
    "fd702cd014fe9f4bee08848094690c3a6a1c80127f28b3f5682829a3b269d09a";

/// Payload types, key roles and all other codes, reserved ones included.
#[test]
fn golden_bytes_of_all_codes() {
    fn codes<T: Copy>(
        all: &[T],
        code: impl Fn(T) -> u8,
        name: impl Fn(T) -> &'static str,
    ) -> String {
        all.iter().map(|value| format!("{}={} ", name(*value), code(*value))).collect()
    }
    assert_eq!(
        codes(PayloadType::ALL, PayloadType::code, PayloadType::name),
        "keyset=1 manifest=2 channel-index=3 statement=4 loader-release=5 "
    );
    assert_eq!(
        codes(KeyRole::ALL, KeyRole::code, KeyRole::name),
        "root=0 release=1 recovery=2 edge-release=3 channel=4 approver=5 sign-off=6 "
    );
    assert_eq!(KeyRole::OF_KEYSETS.map(KeyRole::bit), [1, 2, 4, 8, 16, 32]);
    assert_eq!(KeyRole::Root.bit(), 0);
    assert_eq!(
        codes(Role::ALL, Role::code, Role::name),
        "kernel=0 initramfs=1 cmdline=2 dtbs=3 uki=4 rootfs=5 image=6 data=7 verity=8 \
         loader=9 "
    );
    assert_eq!(codes(Encryption::ALL, Encryption::code, Encryption::name), "none=0 aes-256-ctr=1 ");
    assert_eq!(
        codes(KeyKind::ALL, KeyKind::code, KeyKind::name),
        "ed25519=1 lms-h10=2 lms-h20=3 hss-h10-h10=4 ml-dsa-44=5 ml-dsa-65=6 ml-dsa-87=7 "
    );
    assert_eq!(
        codes(EntryKind::ALL, EntryKind::code, EntryKind::name),
        "record=1 head=2 index=3 committed=4 confirmed=5 unmarked=6 "
    );
    assert_eq!(
        codes(ForeignLoader::ALL, ForeignLoader::code, ForeignLoader::name),
        "stillboot=0 grub=1 u-boot=2 systemd-boot=3 raspberry-pi=4 gpt-attributes=5 \
         android-bcb=6 arm-fwu=7 "
    );
    use manifest::flags::{DTB_REQUIRED, ENCRYPTED, KNOWN, SECURITY};
    assert_eq!([SECURITY, DTB_REQUIRED, ENCRYPTED, KNOWN], [1, 2, 4, 3]);
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

pub(crate) fn golden_notes() -> Notes {
    Notes {
        version: 1,
        loader: LoaderNote { kind: ForeignLoader::Grub, needs: text("/boot/grub/grubenv") },
        history: [Past { version: text("1.2.2"), keyset_version: 1, sequence: 300, at: 999 }]
            .into_iter()
            .collect(),
        statements: [SeenNumber {
            digest: [0xe0; 32],
            kind: StatementKind::Channel,
            number: statement::NUMBER_MAX,
        }]
        .into_iter()
        .collect(),
        index_issue: 7,
    }
}

#[test]
fn golden_bytes_of_notes() {
    let bytes = golden_notes().emit().unwrap();
    let expected = [
        "01",
        "01122f626f6f742f677275622f67727562656e76",
        "0105312e322e3201ac02e707",
        &format!("01{}01ffffffffffffff0f", "e0".repeat(32)),
        "07",
    ];
    assert_eq!(hex(&bytes), expected.concat());
    assert_eq!(Notes::parse(&bytes), Ok(golden_notes()));
    let mut theirs = [0; 1024];
    assert_eq!(bytes, postcard::to_slice(&golden_notes(), &mut theirs).unwrap());
}

pub(crate) fn golden_record() -> Record {
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
            notes: golden_notes().emit().unwrap(),
        },
    }
}

#[test]
fn golden_bytes_of_a_record_with_notes() {
    let mut bytes = [0; LEN_MAX];
    let len = golden_record().emit(&mut bytes).unwrap();
    assert_eq!(hex(&bytes[..len]), GOLDEN_RECORD.concat());
    assert_eq!(Record::parse(&bytes), Ok(golden_record()));
}

const GOLDEN_RECORD: [&str; 9] = [
    "5342524301004401040302010000000004010002a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0",
    "a0a0a0a0a0a0a0a0a0a0a0a0010500010105312e322e33030201ac02000002b0b0b0b0b0b0b0b0b0",
    "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0010500010105312e322e330203000102c0",
    "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0010500010105312e32",
    "2e330504000002d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d001",
    "0500010105312e322e33010401020701f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0",
    "f0f0f0f0f0f0f0f00202e807ffffffffffffffffff01014c0101122f626f6f742f677275622f6772",
    "7562656e760105312e322e3201ac02e70701e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0",
    "e0e0e0e0e0e0e0e0e0e001ffffffffffffff0f07a82c5187",
];

#[test]
fn golden_bytes_of_marks() {
    let mark = |kind| hex(&Mark { kind, digest: [0xab; 32] }.emit());
    let digest = "ab".repeat(32);
    assert_eq!(mark(MarkKind::Committed), format!("5342434d01000000{digest}fc33c4c3"));
    assert_eq!(mark(MarkKind::Confirmed), format!("53424f4b01000000{digest}e14ad79b"));
}

#[test]
fn golden_bytes_of_a_log_header_and_of_cells() {
    let generation = 0x0102_0304_0506_0708;
    let header = log::emit_header(generation);
    assert_eq!(hex(&header), GOLDEN_LOG_HEADER);
    assert_eq!(log::parse_header(&header), Ok(generation));
    let with_body =
        Cell { kind: EntryKind::Index, slot: 1, component: 2, offset: 0x0304, cells: 0x0506 };
    let mark = Cell { kind: EntryKind::Committed, slot: 3, component: 0, offset: 0, cells: 0 };
    for (cell, golden) in [(with_body, GOLDEN_CELLS[0]), (mark, GOLDEN_CELLS[1])] {
        let bytes = cell.emit(generation);
        assert_eq!(hex(&bytes), golden);
        assert_eq!(Cell::parse(&bytes, generation), Ok(cell));
        // What an earlier generation left is no entry of this one.
        assert_eq!(Cell::parse(&bytes, generation - 1), Err(FormatError::Checksum));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Cell::parse(&bad, generation).is_err(), "bit {bit}");
        }
    }
    for bit in 0..header.len() * 8 {
        let mut bad = header;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(log::parse_header(&bad).is_err(), "bit {bit}");
    }
    // Other versions are distinguished from damage; reserved bytes and generations have their
    // bounds.
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = header;
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32(&changed[..28]);
        changed[28..].copy_from_slice(&crc.to_le_bytes());
        log::parse_header(&changed)
    };
    assert_eq!(with(4, &[2]), Err(FormatError::Version { found: 2 }));
    assert_eq!(with(8, &[0; 8]), Err(FormatError::Bounds(Field::Generation)));
    assert_eq!(with(8, &[0xff; 8]), Err(FormatError::Bounds(Field::Generation)));
    assert_eq!(with(8, &log::GENERATION_MAX.to_le_bytes()), Ok((1 << 63) - 1));
    for at in (6..8).chain(16..28) {
        assert_eq!(with(at, &[1]), Err(FormatError::Bounds(Field::Reserved)), "{at}");
    }
    assert_eq!(log::parse_header(&header[..31]), Err(FormatError::Short));
    assert_eq!(Cell::parse(&[0; 15], 1), Err(FormatError::Short));
}

const GOLDEN_LOG_HEADER: &str = "53424c47010000000807060504030201000000000000000000000000d8938910";
const GOLDEN_CELLS: [&str; 2] =
    ["030102000403000006050000f6f9b1ff", "040300000000000000000000d5f0b241"];

#[test]
fn golden_bytes_of_a_channel_index() {
    let head = IndexHead {
        schema: 1,
        product: [0x11; 16],
        track: text("latest"),
        issue: 7,
        until: 1_798_761_600,
    };
    let offers = [IndexOffer {
        risk: Risk::Stable,
        branch: text(""),
        digest: [0xab; 32],
        version: text("1.2.3"),
        size: 4096,
        url: text("https://example.org/1.2.3.sbb"),
        since: 1_767_225_600,
        until: 0,
    }];
    let patches = [Patch {
        from: [0xcd; 32],
        to: [0xef; 32],
        size: 512,
        url: text("https://example.org/1.2.3.sbd"),
    }];
    let mut bytes = [0; 1024];
    let len = head.emit(&offers, &patches, &mut bytes).unwrap();
    let expected = [
        r#"{"schema":1,"product":"11111111111111111111111111111111","track":"latest","issue":7,"#,
        r#""until":1798761600,"offers":[{"risk":"stable","branch":"","digest":""#,
        &"ab".repeat(32),
        r#"","version":"1.2.3","size":4096,"url":"https://example.org/1.2.3.sbb","#,
        r#""since":1767225600,"until":0}],"patches":[{"from":""#,
        &"cd".repeat(32),
        r#"","to":""#,
        &"ef".repeat(32),
        r#"","size":512,"url":"https://example.org/1.2.3.sbd"}]}"#,
    ];
    assert_eq!(core::str::from_utf8(&bytes[..len]), Ok(&*expected.concat()));
    let index = ChannelIndex::parse(&bytes[..len]).unwrap();
    assert!(index.offers().eq(offers) && index.patches().eq(patches));
}

#[test]
fn golden_bytes_of_a_boot_proof() {
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
fn golden_bytes_of_an_index_root() {
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
