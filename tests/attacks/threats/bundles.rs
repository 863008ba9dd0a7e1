//! Bundles that were changed, mixed, cut or lengthened on their way.

use std::fs;

use stillboot::boot::Reason;
use stillboot::device::BlockDevice;
use stillboot::driver::Memory as _;
use stillboot::format::manifest::COMPONENT_LEN_MAX;
use stillboot::format::{
    Envelope, KeyRole, Load, Manifest, PayloadType, Role, Signature, Slot, SlotKind, StatementKind,
    envelope,
};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot::request::Request;
use stillboot::verify::{
    HEAD_LEN_MAX, SoftSha256, TrustError, verify_head, verify_keyset, verify_statement,
};
use stillboot_release::keys::{Signer, SigningKey};
use stillboot_sim::disk::{Cut, PowerCut, Random, WriteCache};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{
    After, Tap, counted, digest, on, payload, signed_as, split, with_manifest,
};
use stillboot_tests::{blank, boot, commission, confirm, media, seed};

use super::{AB, refused, root, running, sources, update};

/// Every bit of the head and some of the body; all of both are in `tamper`.
#[test]
fn attack_01_tamper() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let bundle = update(&publisher, 2);
    let (start, proof) = running(&publisher, AB);
    let start = counted(&start);
    let (_, _, body) = split(&bundle);
    let head = bundle.len() - body.len();
    for bit in 0..head * 8 {
        let mut bad = bundle.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify_head::<SoftSha256>(&device, SlotKind::Update, &bad[..head]);
        assert!(verdict.is_err(), "bit {bit}");
        if bit % 31 == 0 {
            let mut world = start.clone();
            refused(world.install(&bad, Some(proof)));
            assert_eq!(world.disks[0].operations(), 0, "bit {bit}");
        }
    }
    for at in (head..bundle.len()).step_by(61) {
        let mut bad = bundle.clone();
        bad[at] ^= 1;
        let mut world = start.clone();
        let refusal = refused(world.install(&bad, Some(proof)));
        assert_eq!(refusal, Refusal::Content { component: 0 }, "byte {at}");
    }
}

/// What starts or installs takes a `Verified`, and nothing outside of `verify` can make one.
#[test]
fn attack_01_verified_has_no_other_maker() {
    let makers: Vec<_> = sources(&root().join("core/src"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("Verified {"))
        .map(|path| path.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    // The second is a part of the first, and nothing of it that makes one is public.
    assert_eq!(makers, ["core/src/verify/head.rs", "core/src/verify/mod.rs"]);
    let text = fs::read_to_string(root().join("core/src/verify/mod.rs")).unwrap();
    let fields = text.split("pub struct Verified<T> {").nth(1).unwrap();
    let fields = fields.split('}').next().unwrap();
    assert!(!fields.contains("pub"), "a public field would be a maker: {fields}");
    assert!(!text.contains("Default for Verified") && !text.contains("Clone, Default"));
}

#[test]
fn attack_02_endless_data() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let bundle = update(&publisher, 2);
    let (keyset, manifest, _) = split(&bundle);
    let lengths: [u32; 11] =
        [0, 1, 97, 1023, 1024, 1025, 4096, 12288, 0xffff, 0x7fff_ffff, 0xffff_ffff];
    // Both envelopes' lengths and counts, whatever they say, then zeros for ever.
    for (envelope_at, field_at) in [0, keyset.len()].into_iter().flat_map(|at| [(at, 8), (at, 12)])
    {
        for len in lengths {
            for count in [0, 1, 4, 5, 8, 9, 255] {
                let mut bad = bundle[..keyset.len() + manifest.len()].to_vec();
                bad[envelope_at + 6] = count;
                bad[envelope_at + field_at..][..4].copy_from_slice(&len.to_le_bytes());
                if bad == bundle[..bad.len()] {
                    continue;
                }
                let mut world = start.clone();
                let mut source = Tap::new(&bad, After::Zeros);
                let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
                assert!(result.is_err(), "{len} {count}");
                assert!(source.taken <= HEAD_LEN_MAX as u64, "{len} {count}: {}", source.taken);
                assert_eq!(world.disks[0].operations(), 0, "{len} {count}");
            }
        }
    }
    // Lengths in the manifest, signed by a thief: refused by rule, or because they do not fit.
    for length in [0, COMPONENT_LEN_MAX, COMPONENT_LEN_MAX + 1, 1 << 32, u64::MAX, u64::MAX - 4095]
    {
        let bad = with_manifest(&publisher, &bundle, |m| {
            m.components[0].length = length;
            m.chunk_size = 1 << 20;
        });
        let mut world = start.clone();
        let mut source = Tap::new(&bad, After::Zeros);
        let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
        let refusal = refused(result);
        let by_rule = matches!(refusal, Refusal::Trust(_) | Refusal::Layout(_));
        assert!(by_rule, "{length}: {refusal:?}");
        assert!(source.taken <= HEAD_LEN_MAX as u64, "{length}: {}", source.taken);
        assert_eq!(world.disks[0].operations(), 0, "{length}");
    }
    // A sound bundle without an end costs one byte more.
    let mut world = start.clone();
    let mut source = Tap::new(&bundle, After::Zeros);
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(refused(result), Refusal::Trailing);
    assert_eq!(source.taken, bundle.len() as u64 + 1);
}

#[test]
fn attack_03_extra_things() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let bundle = update(&publisher, 2);
    let refuse = |bad: &[u8], context: &str| {
        let mut world = start.clone();
        let refusal = refused(world.install(bad, Some(proof)));
        assert!(matches!(refusal, Refusal::Trust(TrustError::Manifest(_))), "{context}");
        assert_eq!(world.disks[0].operations(), 0, "{context}");
    };
    for code in Role::ALL.len() as u8..=255 {
        let bad =
            with_manifest(&publisher, &bundle, |m| m.components[0].role = Role::Unknown(code));
        refuse(&bad, "role");
    }
    for code in Load::ALL.len() as u8..=255 {
        let bad =
            with_manifest(&publisher, &bundle, |m| m.components[0].load = Load::Unknown(code));
        refuse(&bad, "load class");
    }
    for bit in 2..32 {
        refuse(&with_manifest(&publisher, &bundle, |m| m.flags = 1 << bit), "flag");
    }
    for linked in 5..=255 {
        refuse(&with_manifest(&publisher, &bundle, |m| m.components[0].linked = linked), "slot");
    }
    // Something after the last field.
    for more in [&[0][..], b"#!/bin/sh\n"] {
        let payload = [&payload(&bundle), more].concat();
        let bad = signed_as(&publisher, &bundle, &payload, KeyRole::Release, &publisher.release);
        refuse(&bad, "trailing field");
    }
}

#[test]
fn attack_07_mix_and_match() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let (two, three) = (update(&publisher, 2), update(&publisher, 3));
    let (keyset, manifest, _) = split(&two);
    let (_, _, other) = split(&three);
    let refusal = refused(world.install(&[keyset, manifest, other].concat(), Some(proof)));
    assert_eq!(refusal, Refusal::Content { component: 0 });
    // On the disk: both slots good, and their kernels change places.
    world.install(&two, Some(proof)).unwrap();
    confirm(&mut world);
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).unwrap();
    let place = |slot, bundle: &[u8]| {
        let manifest = Manifest::parse(&payload(bundle)).unwrap();
        layout.component(slot, &manifest, 0).unwrap()
    };
    let (a, b) = (place(Slot::A, &update(&publisher, 1)), place(Slot::B, &two));
    let kernels = [world.disks[0].bytes(a.offset, 5000), world.disks[0].bytes(b.offset, 5000)];
    world.disks[0].poke(a.offset, &kernels[1]);
    world.disks[0].poke(b.offset, &kernels[0]);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    for line in &power_on.report.lines {
        let kernel = Reason::Corrupt { role: Role::Kernel };
        assert_eq!(line.reason, kernel, "{:?}", line.candidate);
    }
}

/// The source decides when it has waited long enough; what came until then is not lost.
#[test]
fn attack_10_slow_retrieval() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher, AB);
    let kernel = content(2, 40_000);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    let bundle = publisher.bundle(publisher.manifest(2), SlotKind::Update, &[piece]).unwrap();
    let mut resumed = 0;
    for budget in (0..bundle.len()).step_by(3001) {
        let mut world = start.clone();
        let mut source = Tap::new(&bundle[..budget], After::Fail);
        let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
        assert_eq!(result, Err(InstallError::Source), "{budget}");
        assert_eq!(boot(&mut world).digest, proof.digest, "{budget}");
        let mut source = Bytes::new(&bundle, 1);
        let installed = world.install_with(&mut source, Running::Proof(proof), |_| {}).unwrap();
        resumed += usize::from(installed.resumed && installed.reused > 0);
        assert_eq!(boot(&mut world).slot, Slot::B, "{budget}");
    }
    assert!(resumed > 5, "{resumed}");
    // Reads that give nothing are an end, not a reason to go round.
    let mut world = start.clone();
    let mut source = Tap::new(&bundle[..3000], After::End);
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(refused(result), Refusal::Ended);
    assert_eq!(source.empty, 1);
}

/// Power cuts at every change, over a cache that then keeps a random part in random order.
#[test]
fn attack_15_partial_bundle() {
    let mut random = Random::new(seed("attack_15_partial_bundle"));
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &update(&publisher, 1));
        let start = on(&world, |disk| PowerCut::new(WriteCache::new(disk.fork())));
        let kernel = content(2, 5000);
        for at in 0.. {
            let mut world = start.clone();
            world.disks[0].cut_at(at, Cut::Before);
            let result = world.install(&bundle, Some(proof));
            let cut = world.disks[0].is_off();
            world.disks[0].device_mut().lose(random.next_u64()).unwrap();
            world.disks[0].power_on();
            let mut power_on = world.power_on().unwrap();
            let runs = power_on.proof.unwrap_or_else(|| panic!("{name}, cut at {at}"));
            if runs.slot == Slot::B {
                assert!(power_on.memory.bytes(0)[..5000] == kernel[..], "{name}, cut at {at}");
            } else {
                assert_eq!(runs.digest, proof.digest, "{name}, cut at {at}");
                assert!(cut, "{name}: {result:?}");
            }
            if !cut {
                assert_eq!(runs.slot, Slot::B, "{name}: done, and then lost");
                break;
            }
        }
    }
}

#[test]
fn attack_16_extra_data() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let bundle_of = |sequence, len| {
            let kernel = content(sequence, len);
            let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
            publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
        };
        let proof = commission(&mut world, &bundle_of(1, 9000));
        // A long image, then a short one over it.
        world.install(&bundle_of(2, 60_000), Some(proof)).unwrap();
        world.perform(Request::MarkBad(Slot::B)).unwrap();
        let short = bundle_of(3, 1001);
        for more in [1, 4096] {
            let longer = [&short[..], &vec![0xee; more]].concat();
            assert_eq!(refused(world.install(&longer, Some(proof))), Refusal::Trailing, "{name}");
        }
        world.install(&short, Some(proof)).unwrap();
        let mut power_on = world.power_on().unwrap();
        assert_eq!(power_on.slot(), Some(Slot::B), "{name}");
        let loaded = power_on.memory.bytes(0);
        let block = world.disks[0].geometry().logical_block_bytes as usize;
        assert_eq!(loaded.len(), 1001_usize.next_multiple_of(block), "{name}");
        assert!(loaded[..1001] == content(3, 1001)[..], "{name}");
        // Padding of the last block, nothing of the old image.
        let padding = world.disks[0].geometry().erased.unwrap_or(0);
        assert!(loaded[1001..].iter().all(|byte| *byte == padding), "{name}");
    }
}

#[test]
fn attack_21_type_confusion() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let bundle = update(&publisher, 2);
    let (keyset, _, body) = split(&bundle);
    let manifest = payload(&bundle);
    let digest = digest(&bundle);
    let statement = publisher.statement(StatementKind::Channel, digest, |_| {}).unwrap();
    let (statement, _) = Envelope::parse(&statement).unwrap();
    let statement = statement.payload();
    let (keyset_payload, _) = Envelope::parse(keyset).unwrap();
    let keyset_payload = keyset_payload.payload();
    // An envelope of `as_type`, signed by `key` as if it were of `signed_type` and in `role`.
    let forge = |as_type, signed_type, role, key: &SigningKey, payload: &[u8]| {
        let product = &device.product;
        let message = envelope::to_be_signed(signed_type, role, product, payload);
        let (name, made) = (key.public(), key.sign(&message).unwrap());
        let mut out = vec![0; envelope::LEN_MAX];
        let signatures = [Signature::ed25519(&name, &made)];
        let len = Envelope::emit(as_type, &signatures, payload, &mut out).unwrap();
        out.truncate(len);
        out
    };
    let keys = [&publisher.release, &publisher.recovery, &publisher.edge, &publisher.channel];
    let roles = [KeyRole::Root].into_iter().chain(KeyRole::OF_KEYSETS);
    let mut accepted = Vec::new();
    for role in roles {
        for signed_type in PayloadType::ALL {
            for (number, key) in keys.into_iter().enumerate() {
                for payload in [&manifest[..], statement, keyset_payload] {
                    let forged = forge(PayloadType::Manifest, *signed_type, role, key, payload);
                    let head = [keyset, &forged, body].concat();
                    if verify_head::<SoftSha256>(&device, SlotKind::Update, &head).is_ok() {
                        accepted.push((role, *signed_type, number));
                    }
                    let forged = forge(PayloadType::Statement, *signed_type, role, key, payload);
                    let (envelope, _) = Envelope::parse(&forged).unwrap();
                    let keyset = publisher.keyset();
                    if verify_statement::<SoftSha256>(&device, &keyset, &envelope).is_ok() {
                        accepted.push((role, *signed_type, number));
                    }
                    let forged = forge(PayloadType::Keyset, *signed_type, role, key, payload);
                    let (envelope, _) = Envelope::parse(&forged).unwrap();
                    assert!(verify_keyset::<SoftSha256>(&device, &envelope).is_err());
                }
            }
        }
    }
    // The manifest by the release key as release, the statement by the channel key as channel.
    let right = [
        (KeyRole::Release, PayloadType::Manifest, 0),
        (KeyRole::Channel, PayloadType::Statement, 3),
    ];
    assert_eq!(accepted, right);
}
