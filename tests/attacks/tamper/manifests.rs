//! Manifests: every field at its border.

use stillboot::format::manifest::{CHUNKS_MAX, COMPONENT_LEN_MAX};
use stillboot::format::{Field, FormatError, Load, Manifest, Role, SlotKind};
use stillboot::verify::{SoftSha256, verify_head};
use stillboot_sim::Publisher;

use super::small;

#[test]
// Long because it is a table: a row for each field at its border.
fn manifest_bounds() {
    use FormatError::{Bounds, Duplicate, Unknown};
    let publisher = Publisher::new(1);
    let bundle = small(&publisher, 2);
    let (sound, _) =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap();
    let sound: Manifest = (*sound).clone();
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        let mut bytes = vec![0; 2048];
        // Emitting refuses what parsing refuses; the bytes are made without that check too.
        let emitted = manifest.emit(&mut bytes).map(|_| ());
        let raw = postcard::to_slice(&manifest, &mut bytes).unwrap();
        assert_eq!(Manifest::parse(raw).map(|_| ()), emitted);
        emitted
    };
    assert_eq!(with(&|_| {}), Ok(()));
    let unknown = |field, code| Err(Unknown { field, code });
    assert_eq!(with(&|m| m.schema = 2), Err(FormatError::Version { found: 2 }));
    assert_eq!(with(&|m| m.revision_min = 9), Err(Bounds(Field::Revisions)));
    assert_eq!(with(&|m| m.version.clear()), Err(Bounds(Field::VersionText)));
    assert_eq!(
        with(&|m| m.version = "1.0 \u{7f}".chars().collect()),
        Err(Bounds(Field::VersionText))
    );
    assert_eq!(with(&|m| m.sequence = u64::MAX), Err(Bounds(Field::Sequence)));
    assert_eq!(with(&|m| m.sequence = u64::MAX - 1), Ok(()));
    assert_eq!(with(&|m| m.level = u32::MAX), Err(Bounds(Field::Level)));
    assert_eq!(with(&|m| m.level = u32::MAX - 1), Ok(()));
    assert_eq!(with(&|m| m.min_from = "a/b".chars().collect()), Err(Bounds(Field::MinFrom)));
    assert_eq!(with(&|m| m.channel.track.clear()), Err(Bounds(Field::Channel)));
    assert_eq!(with(&|m| m.channel.branch = "\n".chars().collect()), Err(Bounds(Field::Channel)));
    let risk = stillboot::format::Risk::Unknown(4);
    assert_eq!(with(&|m| m.channel.risk = risk), unknown(Field::Risk, 4));
    let architecture = stillboot::format::Architecture::Unknown(200);
    assert_eq!(with(&|m| m.architecture = architecture), unknown(Field::Architecture, 200));
    assert_eq!(with(&|m| m.epochs.writes = 1), Err(Bounds(Field::Epochs)));
    assert_eq!(with(&|m| m.rollout = 0), Ok(()));
    assert_eq!(with(&|m| m.rollout = 101), Err(Bounds(Field::Rollout)));
    assert_eq!(with(&|m| m.flags = 1 << 31), unknown(Field::Flags, 1 << 31));
    for (size, fine) in [
        (0, false),
        (2048, false),
        (4096, true),
        (5000, false),
        (1 << 20, true),
        ((1 << 20) + 1, false),
        (1 << 21, false),
        (u32::MAX, false),
    ] {
        let expected = if fine { Ok(()) } else { Err(Bounds(Field::ChunkSize)) };
        assert_eq!(with(&|m| m.chunk_size = size), expected, "{size}");
    }
    assert_eq!(with(&|m| m.components.clear()), Err(Bounds(Field::ComponentCount)));
    let twice = |m: &mut Manifest| m.components.push(m.components[0].clone()).unwrap();
    assert_eq!(with(&twice), Err(Duplicate(Field::ComponentRole)));
    assert_eq!(
        with(&|m| {
            twice(m);
            m.components[1].linked = 2;
        }),
        Err(Duplicate(Field::ComponentRole)),
        "one for every slot and one for B: two for B"
    );
    assert_eq!(
        with(&|m| {
            twice(m);
            (m.components[0].linked, m.components[1].linked) = (1, 2);
        }),
        Ok(())
    );
    assert_eq!(
        with(&|m| m.components[0].role = Role::Unknown(10)),
        unknown(Field::ComponentRole, 10)
    );
    assert_eq!(
        with(&|m| m.components[0].load = Load::Unknown(3)),
        unknown(Field::ComponentLoad, 3)
    );
    assert_eq!(with(&|m| m.components[0].linked = 4), Ok(()));
    assert_eq!(with(&|m| m.components[0].linked = 5), unknown(Field::ComponentSlot, 5));
    for (length, expected) in [
        (0, Err(Bounds(Field::ComponentLen))),
        (1, Ok(())),
        (CHUNKS_MAX * 4096, Ok(())),
        (CHUNKS_MAX * 4096 + 1, Err(Bounds(Field::IndexLen))),
        (COMPONENT_LEN_MAX, Err(Bounds(Field::IndexLen))),
        (COMPONENT_LEN_MAX + 1, Err(Bounds(Field::ComponentLen))),
        (u64::MAX, Err(Bounds(Field::ComponentLen))),
    ] {
        assert_eq!(with(&|m| m.components[0].length = length), expected, "{length}");
    }
    let mut bytes = vec![0; 2048];
    let len = sound.emit(&mut bytes).unwrap();
    assert_eq!(Manifest::parse(&bytes[..len]), Ok(sound));
    assert_eq!(Manifest::parse(&bytes[..len + 1]), Err(FormatError::Trailing));
    for end in 0..len {
        assert!(Manifest::parse(&bytes[..end]).is_err(), "{end}");
    }
}
