//! The binary formats of bundles and slots.

use stillboot::format::{
    Envelope, Keyset, Manifest, Mark, MarkKind, Record, Slot, SlotKind, Statement, envelope, record,
};
use stillboot::verify::{SoftSha256, verify_head};

use super::crc32;
use crate::release::Publisher;
use crate::world::DeviceMap;

/// An envelope is accepted in one encoding only.
pub fn envelope(data: &[u8]) {
    if let Ok((envelope, rest)) = Envelope::parse(data) {
        let signatures: Vec<_> = envelope.signatures().collect();
        let mut again = vec![0; data.len()];
        let len =
            Envelope::emit(envelope.payload_type(), &signatures, envelope.payload(), &mut again)
                .expect("what was read can be written");
        // Written is the digest of this payload; what was read may name another one.
        again[16..48].copy_from_slice(&envelope.header().digest);
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
            DeviceMap::new(stillboot::device::Geometry::disk(512, 0), &[Slot::A, Slot::B], 1 << 20);
        let slots = ground.slots();
        let layout = ground.layout(&slots).expect("a sound ground");
        for slot in [Slot::A, Slot::B] {
            if layout.check_fit(slot, &manifest).is_ok() {
                let region = slots[slot as usize].regions[0].region;
                for (number, component) in manifest.components_of(slot) {
                    let data = layout.component(slot, &manifest, number).expect("it fits");
                    let index = layout.index(slot, &manifest, number).expect("it fits");
                    let end = region.offset + region.len;
                    // The data from the front, the indexes from the end.
                    assert!(data.offset + data.len <= index.offset);
                    assert!(region.offset <= data.offset && index.offset + index.len <= end);
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
