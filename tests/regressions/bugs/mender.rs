//! Bugs of Mender.

use stillboot::driver::Memory;
use stillboot::format::{Keyset, Load, Manifest, Role, Slot, SlotKind};
use stillboot::install::{InstallError, Refusal};
use stillboot::request::Request;
use stillboot::verify::{SoftSha256, verify_head};
use stillboot_sim::disk::{Cut, RamDisk, WriteCache};
use stillboot_sim::release::content;
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::forge::{counted, on, payload, raw, split, with_manifest};
use stillboot_tests::{blank, boot, commission, media};

use super::{AB, of, running, update, verify};

/// A signature of another length than 64 was let through.
#[test]
fn mender_cve_2025_67903_signatures_of_every_length() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    let (keyset, manifest, body) = split(&bundle);
    for len in (0..=65).chain([127, 128, 144]) {
        let mut signature = manifest[20..84].to_vec();
        signature.resize(len, 0);
        let bad = [keyset, &manifest[..20], &signature, &manifest[84..], body].concat();
        let result = verify(&publisher.device(), &bad, usize::MAX);
        let (_, head) = (0, [keyset, &manifest[..20], &signature, &manifest[84..]].concat());
        let at_boot = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &head);
        assert_eq!(result.is_ok(), len == 64, "{len}: {result:?}");
        assert_eq!(at_boot.is_ok(), len == 64, "{len}");
    }
}

/// A file stood in the manifest with its digest, and no code compared that digest.
#[test]
fn mender_c740a03e_every_digest_is_compared() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let (one, two) = (content(1, 9000), content(2, 4097));
    let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
    let pieces = [piece(Role::Kernel, &one[..]), piece(Role::Data, &two[..])];
    let bundle = publisher.bundle(publisher.manifest(2), SlotKind::Update, &pieces).unwrap();
    let (start, proof) = running(&publisher);
    // The digests themselves.
    for component in 0..2 {
        let content = Err(InstallError::Refused(Refusal::Content { component }));
        let root =
            with_manifest(&publisher, &bundle, |m| m.components[component].index_root[9] ^= 1);
        assert_eq!(verify(&device, &root, usize::MAX), content);
        assert_eq!(start.clone().install(&root, Some(proof)).map(|_| ()), content);
        let plain = with_manifest(&publisher, &bundle, |m| m.components[component].sha256[9] ^= 1);
        assert_eq!(verify(&device, &plain, usize::MAX), content, "plain, for people");
    }
    // What they stand for: every entry of every index, every chunk.
    let (_, _, body) = split(&bundle);
    let start_of_body = bundle.len() - body.len();
    let ends = [3 * 32, 3 * 32 + 9000, 3 * 32 + 9000 + 2 * 32, body.len()];
    for (part, end) in ends.into_iter().enumerate() {
        let begin = if part == 0 { 0 } else { ends[part - 1] };
        let step = if part % 2 == 0 { 32 } else { 1000 };
        for at in (begin..end).step_by(step).chain([end - 1]) {
            let mut bad = bundle.clone();
            bad[start_of_body + at] ^= 1;
            let content = Err(InstallError::Refused(Refusal::Content { component: part / 2 }));
            assert_eq!(verify(&device, &bad, usize::MAX), content, "{at}");
            assert_eq!(start.clone().install(&bad, Some(proof)).map(|_| ()), content, "{at}");
        }
    }
}

/// The tail of an image, shorter than a sector, was never flushed.
#[test]
fn mender_ff0db604_tail_survives_a_cut_right_after_done() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &update(&publisher, 1));
        for len in [1, 511, 513, 4095, 4097, 10_001] {
            let kernel = content(len as u64, len);
            let bundle = of(&publisher, 2, &kernel);
            for seed in 0..6 {
                let mut cached = on(&world, |disk| WriteCache::new(disk.fork()));
                cached.install(&bundle, Some(proof)).expect(name);
                match seed {
                    0 => cached.disks[0].lose_all(),
                    seed => cached.disks[0].lose(seed).unwrap(),
                }
                let mut power_on = cached.power_on().unwrap();
                assert_eq!(power_on.slot(), Some(Slot::B), "{name}, {len}");
                assert!(power_on.memory.bytes(0)[..len] == kernel[..], "{name}, {len}");
            }
        }
    }
    // A tail on a device of its own: the flush of the commit block does not reach that one.
    let mut ground = DeviceMap::new(media()[0].1, AB, 64 << 10);
    ground.add_device(media()[1].1, &[Role::Rootfs], 64 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    let mut world = World::new(publisher.device(), ground, disks);
    let bundle = |sequence| {
        let (kernel, rootfs) = (content(sequence, 5000), content(sequence + 9, 10_001));
        let piece = |role, load, bytes| Piece { role, load, linked: None, bytes };
        let pieces = [
            piece(Role::Kernel, Load::Ram, &kernel[..]),
            piece(Role::Rootfs, Load::Late, &rootfs[..]),
        ];
        publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &pieces).unwrap()
    };
    let proof = commission(&mut world, &bundle(1));
    for seed in 0..8 {
        let mut cached = on(&world, |disk| WriteCache::new(disk.fork()));
        cached.install(&bundle(2), Some(proof)).unwrap();
        for disk in &mut cached.disks {
            match seed {
                0 => disk.lose_all(),
                seed => disk.lose(seed).unwrap(),
            }
        }
        assert_eq!(cached.power_on().unwrap().slot(), Some(Slot::B), "two devices");
    }
}

/// A crash between the commit and the note of it rolled a committed update back.
#[test]
fn mender_608dc311_cut_at_every_write_of_a_confirmation() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for tries in [1, 3] {
            let mut world = blank(&publisher, geometry, AB);
            let proof = commission(&mut world, &update(&publisher, 1));
            world.tries = tries;
            world.install(&update(&publisher, 2), Some(proof)).unwrap();
            let trial = boot(&mut world);
            let start = counted(&world);
            for at in 0.. {
                for cut in [Cut::Before, Cut::After] {
                    let mut world = start.clone();
                    world.disks[0].cut_at(at, cut);
                    let done = world.perform(Request::MarkGood(trial));
                    let is_off = world.disks[0].is_off();
                    world.disks[0].power_on();
                    let context = format!("{name}, {tries} tries, {cut:?} at {at}: {done:?}");
                    let first = world.power_on().unwrap().proof.expect(&context);
                    if done.is_ok() {
                        assert_eq!((first.slot, first.attempt), (Slot::B, 0), "{context}");
                    }
                    // Whichever it was, it stays: committed is for good, tried is to be confirmed.
                    let again = world.power_on().unwrap().proof.expect(&context);
                    if first.attempt == 0 {
                        assert_eq!(again.slot, first.slot, "{context}");
                    } else {
                        assert_eq!((first.slot, tries), (Slot::B, 3), "{context}");
                    }
                    if !is_off {
                        assert_eq!(first.slot, Slot::B, "{context}");
                    }
                }
                let mut whole = start.clone();
                whole.disks[0].cut_at(at, Cut::Before);
                whole.perform(Request::MarkGood(trial)).ok();
                if !whole.disks[0].is_off() {
                    break;
                }
            }
        }
    }
}

/// Two lists of different lengths were walked as if they were of one.
#[test]
fn mender_8ab07620_counts_that_do_not_match() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    // Signatures: said, and there.
    let (keyset, manifest, body) = split(&bundle);
    for count in 0..=5 {
        let mut bad = manifest.to_vec();
        bad[6] = count;
        let head = [keyset, &bad, body].concat();
        let result = verify(&publisher.device(), &head, usize::MAX);
        assert_eq!(result.is_ok(), count == 1, "{count}");
    }
    // Components: the number of them stands right before the first role.
    let bytes = payload(&bundle);
    let sound = Manifest::parse(&bytes).unwrap();
    let mut without = sound.clone();
    without.components.clear();
    let at = raw(&without).len() - 1;
    assert_eq!(bytes[at], 1);
    // Keys: likewise.
    let mut keyset_bytes = vec![0; 1024];
    let len = publisher.keyset().emit(&mut keyset_bytes).unwrap();
    keyset_bytes.truncate(len);
    let key_count = len - publisher.keyset().keys.len() * 34 - 1;
    assert_eq!(usize::from(keyset_bytes[key_count]), publisher.keyset().keys.len());
    for count in 0..=255 {
        let mut bad = bytes.clone();
        bad[at] = count;
        assert_eq!(Manifest::parse(&bad).is_ok(), count == 1, "{count} components");
        let mut bad = keyset_bytes.clone();
        bad[key_count] = count;
        assert_eq!(Keyset::parse(&bad).is_ok(), count == 5, "{count} keys");
    }
}
