//! Bodies of the fuzz targets: what must hold for any bytes at all.
//!
//! The targets under `fuzz/` call these, one line each, and the tests call them with the corpus on
//! stable. A body panics when a property breaks; nothing else may panic. The properties: no input
//! makes the code panic, and what is accepted is the only encoding of its value.

use stillboot::format::{
    BootProof, Envelope, Keyset, Manifest, Mark, MarkKind, Record, Slot, SlotKind, Statement,
    envelope, record,
};
use stillboot::install::Running;
use stillboot::policy::channel::Follow;
use stillboot::policy::version::{Rule, Version};
use stillboot::policy::window::Windows;
use stillboot::verify::{SoftSha256, verify_head};

use crate::disk::RamDisk;
use crate::release::Publisher;
use crate::world::{Bytes, Ground, World};

/// A target: its name, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every body by the name of its target.
pub const TARGETS: [Target; 9] = [
    ("envelope", envelope),
    ("keyset", keyset),
    ("manifest", manifest),
    ("statement", statement),
    ("record", boot_record),
    ("text", text),
    ("head", head),
    ("install", install),
    ("slot", slot),
];

/// An envelope is accepted in one encoding only.
pub fn envelope(data: &[u8]) {
    if let Ok((envelope, rest)) = Envelope::parse(data) {
        let signatures: Vec<_> = envelope.signatures().collect();
        let mut again = vec![0; envelope::LEN_MAX];
        let len =
            Envelope::emit(envelope.payload_type(), &signatures, envelope.payload(), &mut again)
                .expect("what was read can be written");
        assert_eq!(&again[..len], &data[..data.len() - rest.len()]);
    }
}

/// A keyset is accepted in one encoding only.
pub fn keyset(data: &[u8]) {
    if let Ok(keyset) = Keyset::parse(data) {
        let mut again = [0; envelope::PAYLOAD_LEN_MAX];
        let len = keyset.emit(&mut again).expect("what was read can be written");
        assert_eq!(&again[..len], data);
    }
}

/// A manifest is accepted in one encoding only, and every sum over it is sound.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        let mut again = vec![0; data.len()];
        let len = manifest.emit(&mut again).expect("what was read can be written");
        assert_eq!(&again[..len], data);
        let ground =
            Ground::new(stillboot::device::Geometry::disk(512, 0), &[Slot::A, Slot::B], 1 << 20);
        let slots = ground.slots();
        let layout = ground.layout(&slots).expect("a sound ground");
        for slot in [Slot::A, Slot::B] {
            if layout.check_fit(slot, &manifest).is_ok() {
                let region = slots[slot as usize].regions[0].region;
                for (number, component) in manifest.components_of(slot) {
                    let (index, data) = layout.component(slot, &manifest, number).expect("it fits");
                    let end = region.offset + region.len;
                    assert!(index.offset + index.len <= end && data.offset + data.len <= end);
                    assert!(component.length <= data.len);
                }
            }
        }
    }
}

/// A statement is accepted in one encoding only.
pub fn statement(data: &[u8]) {
    if let Ok(statement) = Statement::parse(data) {
        let mut again = [0; envelope::PAYLOAD_LEN_MAX];
        let len = statement.emit(&mut again).expect("what was read can be written");
        assert_eq!(&again[..len], data);
    }
}

/// A record is accepted in one encoding only. The checksum of the input is mended, so that the
/// search gets behind it.
pub fn boot_record(data: &[u8]) {
    let mut data = data.to_vec();
    if data.len() >= record::HEADER_LEN + 4 {
        let body = data.len() - record::HEADER_LEN - 4;
        data[..4].copy_from_slice(&record::MAGIC);
        data[4..6].copy_from_slice(&record::VERSION.to_le_bytes());
        data[6..8].copy_from_slice(&(body as u16).to_le_bytes());
        let end = record::HEADER_LEN + body;
        let crc = crc32(&data[..end]);
        data[end..].copy_from_slice(&crc.to_le_bytes());
    }
    if let Ok(found) = Record::parse(&data) {
        let mut again = [0; record::LEN_MAX];
        let len = found.emit(&mut again).expect("what was read can be written");
        assert_eq!(&again[..len], &data[..len]);
    }
    for kind in [MarkKind::Committed, MarkKind::Confirmed] {
        if let Ok(mark) = Mark::parse(kind, &data) {
            assert_eq!(mark.emit()[..], data[..mark.emit().len()]);
        }
    }
}

/// IEEE CRC-32, bit by bit, apart from the core's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// Everything that is read from text: proofs, versions, rules, channels, windows.
pub fn text(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Some(proof) = BootProof::parse(text) {
        assert_eq!(proof.emit().as_str(), text);
    }
    if let Ok(version) = Version::parse(text) {
        assert_eq!(version.to_string(), text);
    }
    if let Ok(rule) = Rule::parse(text) {
        assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
    }
    if let Ok(follow) = Follow::parse(text) {
        assert_eq!(Follow::parse(&follow.to_string()), Ok(follow));
    }
    if let Ok(windows) = Windows::parse(text) {
        assert_eq!(Windows::parse(&windows.to_string()), Ok(windows.clone()));
        let _ = windows.state(data.len() as u64 * 86_413, &[7; 16]);
    }
}

/// No bytes but signed ones make a head that verifies.
pub fn head(data: &[u8]) {
    let publisher = Publisher::new(1);
    let sound = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    for kind in [SlotKind::Update, SlotKind::Recovery] {
        if let Ok((_, len)) = verify_head::<SoftSha256>(&publisher.device(), kind, data) {
            assert!(kind == SlotKind::Update && data[..len] == sound[..len]);
        }
    }
}

/// A stream in odd pieces, sound but for what the input changes in it, never harms what runs.
pub fn install(data: &[u8]) {
    let publisher = Publisher::new(1);
    let mut world = small(&publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let trial = world.power_on().expect("sound").proof.expect("it boots");
    world.operate(stillboot::operate::Request::MarkGood(trial)).expect("it is confirmed");
    let proof = world.power_on().expect("sound").proof.expect("it boots");
    let mut bundle = publisher.simple(2, SlotKind::Update).expect("a sound bundle");
    let sound = bundle.clone();
    // Three bytes each: where, and what to do there.
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bundle.len();
        match change[2] % 4 {
            0 => bundle[at] ^= change[2] | 1,
            1 => bundle.truncate(at.max(1)),
            2 => bundle.insert(at, change[2]),
            _ => {
                bundle.remove(at);
                if bundle.is_empty() {
                    bundle.push(0);
                }
            }
        }
    }
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0));
    let mut source = Bytes::new(&bundle, piece);
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(result.is_ok(), bundle == sound);
    let next = world.power_on().expect("sound").proof.expect("something boots");
    assert_eq!(next.digest == proof.digest, bundle != sound);
}

/// A slot full of anything never boots, and never stops the other.
pub fn slot(data: &[u8]) {
    let publisher = Publisher::new(1);
    let mut world = small(&publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let b = world.ground.slots()[1].regions[0].region;
    let len = data.len().min(b.len as usize);
    world.disks[0].poke(b.offset, &data[..len]);
    for copy in 0..2 {
        let region = world.ground.record(copy);
        // With the record, and without one.
        if data.first().is_some_and(|byte| byte & 1 << copy != 0) {
            world.disks[0].poke(region.offset, &data[..len.min(512)]);
        }
    }
    let power_on = world.power_on().expect("sound");
    assert_eq!(power_on.slot(), Some(Slot::A), "{:?}", power_on.report);
}

fn small(publisher: &Publisher) -> World<'_, RamDisk> {
    let geometry = stillboot::device::Geometry::disk(512, 0);
    let ground = Ground::new(geometry, &[Slot::A, Slot::B], 64 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    World::new(publisher.device(), ground, disks)
}

/// Inputs to start the search from, for the target called `name`.
#[must_use]
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let publisher = Publisher::new(1);
    let bundle = publisher.simple(1, SlotKind::Update).unwrap_or_default();
    let device = publisher.device();
    let head_len =
        verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle).map_or(0, |(_, len)| len);
    let payload = |at: usize| {
        let mut rest = &bundle[..head_len];
        let mut found = Vec::new();
        for _ in 0..=at {
            if let Ok((envelope, after)) = Envelope::parse(rest) {
                found = envelope.payload().to_vec();
                rest = after;
            }
        }
        found
    };
    match name {
        "envelope" | "head" => vec![bundle[..head_len].to_vec()],
        "keyset" => vec![payload(0)],
        "manifest" => vec![payload(1)],
        "statement" => {
            let kinds = [
                stillboot::format::StatementKind::Channel,
                stillboot::format::StatementKind::Approval,
            ];
            kinds
                .into_iter()
                .filter_map(|kind| publisher.statement(kind, [1; 32], |_| {}).ok())
                .filter_map(|bytes| {
                    Envelope::parse(&bytes).ok().map(|(envelope, _)| envelope.payload().to_vec())
                })
                .collect()
        }
        "record" => {
            let mut world = small(&publisher);
            let _ = world.install(&bundle, None);
            let region = world.ground.record(0);
            vec![world.disks[0].bytes(region.offset, 400)]
        }
        "text" => [
            "mon-fri,02:00-05:00/3+01:00; sat,22:00~04:00",
            "latest/edge/fix",
            ">=1.2.0,<2.0.0",
            "1.2.3-rc.1+build.5",
            "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect(),
        "install" => vec![vec![], vec![5, 0, 0], vec![0, 4, 1, 9, 9, 2]],
        "slot" => vec![bundle, vec![3; 600]],
        _ => Vec::new(),
    }
}
