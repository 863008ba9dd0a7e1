//! Whole bundles: bits, ends, sources, components.

use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::{BootProof, FormatError, Load, Role, Slot, SlotKind, SlotState, envelope};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256, TrustError, verify_head};
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{RamWorld, blank, boot, commission, media};

use super::{small, verify};

const AB: &[Slot] = &[Slot::A, Slot::B];

fn running(publisher: &Publisher) -> (RamWorld<'_>, BootProof) {
    let mut world = blank(publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    (world, proof)
}

#[test]
fn every_single_bit_flip_is_refused() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    verify(&publisher.device(), &bundle).unwrap();
    let head_len =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap().1;
    let before = start.disks[0].content_hash();
    for bit in 0..bundle.len() * 8 {
        let mut bad = bundle.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A file is verified before the device is touched.
        let verdict = verify(&publisher.device(), &bad);
        assert!(matches!(verdict, Err(InstallError::Refused(_))), "bit {bit}: {verdict:?}");
        // A stream cannot be: then only the slot that is not running is lost.
        let mut world = start.clone();
        let result = world.install(&bad, Some(proof));
        assert!(matches!(result, Err(InstallError::Refused(_))), "bit {bit}: {result:?}");
        if bit / 8 < head_len {
            assert_eq!(
                world.disks[0].content_hash(),
                before,
                "bit {bit}: the head is checked first"
            );
        } else {
            let (record, ..) = world.record().unwrap();
            assert_eq!(
                record.body.slot(Slot::A),
                start.clone().record().unwrap().0.body.slot(Slot::A)
            );
            assert_eq!(record.body.slot(Slot::B).state, SlotState::Writing, "bit {bit}");
        }
        // Booting and taking a sound source at once are checked on a sample: they cost the most.
        if bit % 97 == 0 {
            assert_eq!(boot(&mut world).digest, proof.digest, "bit {bit}");
            world.install(&bundle, Some(proof)).unwrap();
        }
    }
}

#[test]
fn bundle_that_ends_early_or_goes_on_is_refused() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    let ended = Err(InstallError::Refused(Refusal::Ended));
    let trailing = Err(InstallError::Refused(Refusal::Trailing));
    for len in 0..bundle.len() {
        assert_eq!(verify(&publisher.device(), &bundle[..len]), ended, "{len}");
        if len % 31 == 0 || len + 2 > bundle.len() {
            let mut world = start.clone();
            assert_eq!(
                world.install(&bundle[..len], Some(proof)),
                Err(InstallError::Refused(Refusal::Ended)),
                "{len}"
            );
            assert_eq!(boot(&mut world).digest, proof.digest);
        }
    }
    let mut longer = bundle.clone();
    longer.push(0);
    assert_eq!(verify(&publisher.device(), &longer), trailing);
    let mut world = start.clone();
    assert_eq!(world.install(&longer, Some(proof)), Err(InstallError::Refused(Refusal::Trailing)));
    assert_eq!(boot(&mut world).slot, Slot::A);
}

/// A bundle, then zeros for ever.
struct Endless<'a> {
    bundle: &'a [u8],
    taken: u64,
}

impl Source for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        for byte in &mut *into {
            *byte = self.bundle.get(self.taken as usize).copied().unwrap_or(0);
            self.taken += 1;
        }
        Ok(into.len())
    }
    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.taken += len;
        Ok(())
    }
    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

#[test]
fn endless_stream_costs_one_byte_more_than_the_bundle() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    let mut source = Endless { bundle: &bundle, taken: 0 };
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(result, Err(InstallError::Refused(Refusal::Trailing)));
    assert_eq!(source.taken, bundle.len() as u64 + 1);
    // Nothing but zeros: the header tells.
    let mut source = Endless { bundle: &[], taken: 0 };
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    let magic = TrustError::Keyset(FormatError::Magic);
    assert_eq!(result, Err(InstallError::Refused(Refusal::Trust(magic))));
    assert_eq!(source.taken, envelope::HEADER_LEN as u64);
}

#[test]
fn source_that_fails_or_lies_is_an_error() {
    struct Broken(bool);
    impl Source for Broken {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
            if self.0 { Ok(into.len() + 1) } else { Err(SourceError) }
        }
        fn skip(&mut self, _len: u64) -> Result<(), SourceError> {
            Err(SourceError)
        }
        fn has_more(&mut self) -> Result<bool, SourceError> {
            read_more(self)
        }
    }
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    for lies in [true, false] {
        let result = world.install_with(&mut Broken(lies), Running::Proof(proof), |_| {});
        assert_eq!(result, Err(InstallError::Source));
    }
}

#[test]
fn crossed_components_of_two_sound_bundles_are_refused() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let (two, three) = (small(&publisher, 2), small(&publisher, 3));
    let head = |bundle: &[u8]| {
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, bundle).unwrap().1
    };
    let mut crossed = two[..head(&two)].to_vec();
    crossed.extend_from_slice(&three[head(&three)..]);
    let content = Err(InstallError::Refused(Refusal::Content { component: 0 }));
    assert_eq!(world.install(&crossed, Some(proof)), content);
    assert_eq!(boot(&mut world).digest, proof.digest);
}

#[test]
fn a_thousand_bad_bundles_cost_not_one_write() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (mut world, proof) = running(&publisher);
    let before = world.disks[0].content_hash();
    let bad = small(&stranger, 9);
    for _ in 0..1000 {
        assert!(world.install(&bad, Some(proof)).is_err());
    }
    assert_eq!(world.disks[0].content_hash(), before);
    world.install(&small(&publisher, 2), Some(proof)).unwrap();
}

#[test]
fn too_small_a_slot_or_buffer_is_refused_before_a_byte_is_written() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let before = world.disks[0].content_hash();
    let huge = content(1, 200 << 10);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &huge };
    let bundle = publisher.bundle(publisher.manifest(2), SlotKind::Update, &[piece]).unwrap();
    let result = world.install(&bundle, Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Layout(_)))), "{result:?}");
    let mut manifest = publisher.manifest(2);
    manifest.chunk_size = 1 << 20;
    let bytes = content(1, 5000);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    let bundle = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    let result = world.install(&bundle, Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Layout(_)))), "{result:?}");
    assert_eq!(world.disks[0].content_hash(), before);
    // What stands on disks: 24 KiB for a head, of which one with Ed25519 signatures alone takes a
    // block.
    const { assert!(HEAD_LEN_MAX == 24 << 10 && 2 * envelope::ED25519_LEN_MAX <= 4096) };
}
