//! One test for each row of the attack table in `docs/THREATS.md`, and the test that checks that
//! the table and the tests agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use stillboot::boot::Reason;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, Memory as _};
use stillboot::format::manifest::COMPONENT_LEN_MAX;
use stillboot::format::{
    BootProof, Envelope, Fault, Field, Floor, FormatError, KeyKind, KeyRole, Load, Manifest,
    PayloadType, Role, Rule, Signature, Slot, SlotKind, SlotState, StatementKind, envelope, record,
};
use stillboot::install::{
    Action, Event, Install, InstallError, Nothing, Permission, Refusal, Reuse, Running, Wait,
};
use stillboot::layout::{LayoutError, Part, Region};
use stillboot::operate::{Answer, Request};
use stillboot::select::CandidateKind;
use stillboot::verify::{
    ClassError, HEAD_LEN_MAX, RootKey, SignatureError, SoftSha256, Trust, TrustError, verify_head,
    verify_keyset, verify_statement,
};
use stillboot_policy::{Clock, Objection, Verdict};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::disk::{Cut, PowerCut, Random, WriteCache};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{
    After, Liar, Tap, counted, digest, forge_record, on, payload, plant, recommend, signed_as,
    split, with_manifest,
};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, part, seed, state, wipe};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

fn leveled(publisher: &Publisher, sequence: u64, level: u32) -> Vec<u8> {
    of_kind(publisher, sequence, level, SlotKind::Update)
}

fn of_kind(publisher: &Publisher, sequence: u64, level: u32, kind: SlotKind) -> Vec<u8> {
    let kernel = content(sequence, 5000);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    leveled(publisher, sequence, 1)
}

/// A device whose slot a runs sequence 1, confirmed.
fn running<'a>(publisher: &'a Publisher, slots: &[Slot]) -> (RamWorld<'a>, BootProof) {
    let mut world = blank(publisher, media()[0].1, slots);
    let proof = commission(&mut world, &update(publisher, 1));
    (world, proof)
}

fn refused(result: Result<stillboot::install::Installed, InstallError>) -> Refusal {
    match result {
        Err(InstallError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

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
fn attack_04_fast_forward() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    boot(&mut world);
    // The highest of all is no number: nothing could follow.
    for change in [&(|m: &mut Manifest| m.sequence = u64::MAX) as &dyn Fn(&mut Manifest), &|m| {
        m.level = u32::MAX
    }] {
        let bad = with_manifest(&publisher, &update(&publisher, 2), change);
        let refusal = refused(world.install(&bad, Some(proof)));
        assert!(matches!(refusal, Refusal::Trust(TrustError::Manifest(_))), "{refusal:?}");
    }
    // The thief of the release key goes as far as goes.
    world.install(&leveled(&publisher, u64::MAX - 1, 1), Some(proof)).unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    let refusal = refused(world.install(&update(&publisher, 7), Some(proof)));
    assert!(matches!(refusal, Refusal::NotNewer { .. }), "{refusal:?}");
    // A new keyset begins at one.
    let mut rotated = Publisher::new(1);
    rotated.rotate_release([5; 32]);
    world.install(&update(&rotated, 1), Some(proof)).unwrap();
    assert_eq!(confirm(&mut world).keyset_version, 2);
}

#[test]
fn attack_05_freeze() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let limit = 1_800_000_000;
    let aged = with_manifest(&publisher, &update(&publisher, 2), |m| m.not_after = limit);
    for (clock, passes) in [
        (Clock::Trusted(limit - 1), true),
        (Clock::Trusted(limit), true),
        (Clock::Trusted(limit + 1), false),
        (Clock::Trusted(u64::MAX), false),
        (Clock::NotTrusted, false),
        // Without a clock there is no defence, and none is pretended.
        (Clock::Absent, true),
    ] {
        let mut world = start.clone();
        world.host.clock = clock;
        let result = world.install(&aged, Some(proof));
        assert_eq!(result.is_ok(), passes, "{clock:?}: {result:?}");
        if !passes {
            assert_eq!(world.disks[0].operations(), 0, "{clock:?}");
            continue;
        }
        // Whatever the clock says later, what is installed starts and is confirmed.
        world.host.clock = Clock::Trusted(u64::MAX);
        let trial = world.power_on().unwrap().proof.unwrap();
        assert_eq!(trial.slot, Slot::B, "{clock:?}");
        world.operate(Request::MarkGood(trial)).unwrap();
        assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B), "{clock:?}");
    }
    let mut world = start.clone();
    world.host.clock = Clock::Trusted(limit + 1);
    let objection = Objection::Expired { not_after: limit, now: limit + 1 };
    assert_eq!(refused(world.install(&aged, Some(proof))), Refusal::Policy);
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
}

#[test]
fn attack_06_bad_mirror() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (world, proof) = running(&publisher, AB);
    let mut world = counted(&world);
    let good = update(&publisher, 2);
    let before = world.record().unwrap().0;
    for number in 0..50_usize {
        let mut flipped = good.clone();
        flipped[number * 7] ^= 0x40;
        for bad in [&update(&stranger, 9), &flipped, &good[..number].to_vec(), &vec![0; 5000]] {
            refused(world.install(bad, Some(proof)));
        }
    }
    assert_eq!(world.disks[0].operations(), 0);
    assert_eq!(world.record().unwrap().0, before, "no counter moved");
    world.install(&good, Some(proof)).unwrap();
    assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B));
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

/// Lower, equal and higher, at installation and at power-on, on every path.
#[test]
fn attack_08_rollback() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, ABR);
    world.store = Some(SimStore::default());
    let five = leveled(&publisher, 5, 5);
    let proof = commission(&mut world, &five);
    let start = world;
    let floor = Floor { keyset_version: 1, level: 5 };
    assert_eq!(start.store.as_ref().unwrap().floors[0], Some(floor));

    // At installation.
    let other = with_manifest(&publisher, &leveled(&publisher, 77, 5), |m| m.sequence = 5);
    let lower = leveled(&publisher, 4, 5);
    let below = leveled(&publisher, 6, 4);
    let higher = leveled(&publisher, 6, 5);
    for way in ["plain", "forced", "offline", "resumed", "repair"] {
        let install = |bundle: &[u8]| {
            let mut world = start.clone();
            world.host.policy.force = way == "forced";
            let running = if way == "offline" { Running::Offline } else { Running::Proof(proof) };
            let mut source = Bytes::new(bundle, usize::MAX);
            let result = world.install_with(&mut source, running, |config| {
                config.resume_only = way == "resumed";
                config.repair = way == "repair";
            });
            (result, world)
        };
        for bundle in [&lower, &other] {
            let refusal = refused(install(bundle).0);
            assert!(matches!(refusal, Refusal::NotNewer { .. }), "{way}: {refusal:?}");
        }
        let refusal = refused(install(&below).0);
        assert!(matches!(refusal, Refusal::BelowFloor { .. }), "{way}: {refusal:?}");
        let to_resume = Err(InstallError::Nothing(Nothing::ToResume));
        match way {
            "repair" => assert_eq!(install(&five).0.unwrap().slot, Slot::B),
            _ => assert_eq!(install(&five).0, Err(InstallError::Nothing(Nothing::Running))),
        }
        match way {
            "resumed" => assert_eq!(install(&higher).0, to_resume),
            _ => assert_eq!(install(&higher).0.unwrap().slot, Slot::B, "{way}"),
        }
    }

    // At power-on, whatever the record says of the slot, recovery and the last resort included.
    let entries: [(&str, SlotState, bool); 5] = [
        ("ready", SlotState::Ready { tries: 3 }, false),
        ("trying", SlotState::Trying { left: 2, attempt: 1, nonce: 7 }, false),
        ("good", SlotState::Good, false),
        ("suspect", SlotState::Good, true),
        ("last resort", SlotState::Bad { fault: Fault::Corrupt }, false),
    ];
    for (slot, kind) in [(Slot::B, SlotKind::Update), (Slot::Recovery, SlotKind::Recovery)] {
        for (name, state, suspect) in entries {
            for level in [4, 5, 6] {
                let mut world = start.clone();
                world.store.as_mut().unwrap().floors[1] = Some(floor);
                let bundle = of_kind(&publisher, 50, level, kind);
                plant(&mut world, slot, &bundle);
                forge_record(&mut world, |record| {
                    let body = &mut record.body;
                    // What ran is gone.
                    *body.slot_mut(Slot::A) = Default::default();
                    let entry = body.slot_mut(slot);
                    (entry.state, entry.suspect) = (state, suspect);
                    entry.digest = digest(&bundle);
                });
                wipe(&mut world, Slot::A);
                let power_on = world.power_on().unwrap();
                let starts = (level >= 5).then_some(slot);
                assert_eq!(power_on.slot(), starts, "{slot}, {name}, level {level}");
                if level < 5 {
                    let line = power_on.report.lines.iter().find(|l| l.candidate.slot == slot);
                    let reason = line.unwrap().reason;
                    let found = Floor { level, ..floor };
                    assert_eq!(reason, Reason::BelowStoreFloor { found, floor }, "{slot}, {name}");
                }
            }
        }
    }

    // Rolled back by the operator, to a slot that the floor has passed in the meantime.
    let mut world = start.clone();
    world.install(&leveled(&publisher, 6, 9), Some(proof)).unwrap();
    confirm(&mut world);
    world.store.as_mut().unwrap().floors[0] = Some(Floor { level: 9, ..floor });
    assert_eq!(world.operate(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    assert_eq!(boot(&mut world).slot, Slot::B, "level 5 does not start any more");
    // A store that cannot be read is not a floor of zero.
    world.store.as_mut().unwrap().fails = true;
    let result = world.install(&leveled(&publisher, 8, 1), Some(proof));
    assert_eq!(result, Err(InstallError::Deferred(Wait::StoreFailed)));
}

/// Cut at every change between the first byte and the confirmation, the levels of both slots being
/// unequal.
#[test]
fn attack_09_floor_raised_too_early() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &leveled(&publisher, 1, 1));
    let start = counted(&world);
    let bundle = leveled(&publisher, 2, 50);
    let low = Some(Floor { keyset_version: 1, level: 1 });
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].cut_at(at, Cut::After);
        let mut story = || {
            world.install(&bundle, Some(proof)).ok()?;
            let trial = world.power_on().ok()?.proof?;
            assert_eq!(world.store.as_ref().unwrap().floors[0], low, "on trial, cut at {at}");
            world.operate(Request::MarkGood(trial)).ok()
        };
        let whole = story().is_some() && !world.disks[0].is_off();
        world.disks[0].power_on();
        for _ in 0..2 {
            let power_on = world.power_on().unwrap();
            assert!(power_on.proof.is_some(), "cut at {at}: {:?}", power_on.report);
            // A is good and of level 1: as long as it is, the floor stays there.
            assert_eq!(world.store.as_ref().unwrap().floors[0], low, "cut at {at}");
        }
        if whole {
            assert!(at > 10);
            // Confirmed, and the other slot replaced: only now it rises.
            let proof = world.power_on().unwrap().proof.unwrap();
            world.install(&leveled(&publisher, 3, 60), Some(proof)).unwrap();
            let trial = world.power_on().unwrap().proof.unwrap();
            assert_eq!(world.store.as_ref().unwrap().floors[0], low);
            world.operate(Request::MarkGood(trial)).unwrap();
            world.power_on().unwrap();
            let floor = world.store.as_ref().unwrap().floors[0].unwrap();
            assert_eq!(floor.level, 50);
            return;
        }
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

#[test]
fn attack_11_stolen_keys() {
    let publisher = Publisher::new(1);
    let roots: Vec<_> = (1..=3).map(|seed| SigningKey::from_seed([seed; 32])).collect();
    let keys: Vec<_> = roots.iter().map(|root| RootKey::ed25519(root.public())).collect();
    let mut device = publisher.device();
    device.trust = Trust::Roots { keys: &keys, rule: Rule::ed25519(2) };
    let mut bytes = [0; 1024];
    let len = publisher.keyset().emit(&mut bytes).unwrap();
    let keyset_by = |which: &[usize], role| {
        let signers: Vec<_> = which.iter().map(|at| (role, &roots[*at] as &dyn Signer)).collect();
        sign_envelope(PayloadType::Keyset, &device.product, &bytes[..len], &signers).unwrap()
    };
    let check = |bytes: &[u8]| {
        let (envelope, _) = Envelope::parse(bytes).unwrap();
        verify_keyset::<SoftSha256>(&device, &envelope).map(|keyset| keyset.version)
    };
    // Fewer than the threshold, whichever they are.
    for one in 0..3 {
        let missing = SignatureError::Missing { role: KeyRole::Root, needed: 2, found: 1 };
        let result = check(&keyset_by(&[one], KeyRole::Root));
        assert_eq!(result, Err(TrustError::KeysetSignature(missing)), "{one}");
    }
    for two in [[0, 1], [0, 2], [1, 2]] {
        assert_eq!(check(&keyset_by(&two, KeyRole::Root)), Ok(1));
        assert!(check(&keyset_by(&two, KeyRole::Release)).is_err());
    }
    // One root twice is one root: the tools refuse to write it, and by hand it does not parse.
    let once = keyset_by(&[0], KeyRole::Root);
    let mut twice = once.clone();
    twice[6] = 2;
    let (start, end) = (envelope::HEADER_LEN, envelope::HEADER_LEN + KeyKind::Ed25519.entry_len());
    twice.splice(end..end, once[start..end].to_vec());
    let len = 2 * (end - start) as u32;
    twice[12..16].copy_from_slice(&len.to_le_bytes());
    let order = FormatError::Bounds(Field::SignatureOrder);
    assert_eq!(Envelope::parse(&twice).map(|_| ()), Err(order));

    // Keys of the keyset: revoked by the next one, and the next one cannot be undone.
    let mut rotated = Publisher::new(1);
    let stolen = rotated.rotate_release([5; 32]);
    let (mut world, proof) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    let forged = {
        let bundle = update(&rotated, 9);
        signed_as(&rotated, &bundle, &payload(&bundle), KeyRole::Release, &stolen)
    };
    let refusal = refused(world.install(&forged, Some(proof)));
    let by_key = matches!(refusal, Refusal::Trust(TrustError::ManifestSignature(_)));
    assert!(by_key, "{refusal:?}");
    for sequence in [2, 3] {
        let proof = boot(&mut world);
        world.install(&update(&rotated, sequence), Some(proof)).unwrap();
        confirm(&mut world);
        boot(&mut world);
    }
    // The old keyset, replayed whole with the old key's signature.
    let proof = boot(&mut world);
    let refusal = refused(world.install(&update(&publisher, u64::MAX - 1), Some(proof)));
    assert!(matches!(refusal, Refusal::BelowFloor { .. }), "{refusal:?}");
}

#[test]
fn attack_12_wrong_device() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let class = world.device.class;
    let bundle = update(&publisher, 2);
    let install = |change: &dyn Fn(&mut Manifest)| {
        let mut world = start.clone();
        let bundle = with_manifest(&publisher, &bundle, change);
        let result = world.install(&bundle, Some(proof));
        if result.is_err() {
            assert_eq!(world.disks[0].operations(), 0);
        }
        result
    };
    // Every bit of the class, a prefix of it, none at all.
    for bit in 0..128 {
        let result = install(&|m| m.class[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(refused(result), Refusal::Class(ClassError::Class), "{bit}");
    }
    for keep in 0..16 {
        let result = install(&|m| m.class[keep..].fill(0));
        assert_eq!(refused(result), Refusal::Class(ClassError::Class), "{keep}");
    }
    // The device is of revision 1.
    for (min, max, fits) in [
        (0, 0, false),
        (2, 2, false),
        (2, u16::MAX, false),
        (1, 1, true),
        (0, 1, true),
        (1, 9, true),
    ] {
        let result = install(&|m| (m.revision_min, m.revision_max) = (min, max));
        assert_eq!(result.is_ok(), fits, "{min} to {max}: {result:?}");
    }
    // The other way round: another device does not start this disk.
    let mut elsewhere = world.clone();
    elsewhere.device.class = {
        let mut other = class;
        other[0] ^= 1;
        other
    };
    let power_on = elsewhere.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    assert_eq!(power_on.report.lines[0].reason, Reason::Class(ClassError::Class));
}

#[test]
fn attack_13_wrong_place() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    let linked = |slot: Slot| {
        with_manifest(&publisher, &bundle, |m| m.components[0].linked = 1 + slot as u8)
    };
    // All that a bundle can say is for which slot a component is linked. For the running one, or
    // one that is not there, it has nothing to give.
    for slot in [Slot::A, Slot::C, Slot::Recovery] {
        let mut world = counted(&start);
        let refusal = refused(world.install(&linked(slot), Some(proof)));
        assert_eq!(refusal, Refusal::Layout(LayoutError::NothingForSlot), "{slot}");
        assert_eq!(world.disks[0].operations(), 0, "{slot}");
    }
    let mut world = counted(&start);
    assert_eq!(world.install(&linked(Slot::B), Some(proof)).unwrap().slot, Slot::B);
    // Nor can the caller name the running slot by mistake.
    let mut world = counted(&start);
    let mut source = Bytes::new(&bundle, usize::MAX);
    let target = Some(Slot::A);
    let result = world.install_with(&mut source, Running::Proof(proof), |c| c.target = target);
    assert_eq!(refused(result), Refusal::TargetRuns);
    assert_eq!(world.disks[0].operations(), 0);
}

#[test]
fn attack_14_time_of_check_time_of_use() {
    let publisher = Publisher::new(1);
    let (mut start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    start.install(&bundle, Some(proof)).unwrap();
    confirm(&mut start);
    let kernels = [content(1, 5000), content(2, 5000)];
    // A device that lies at its n-th read, once or from then on: what is started is in memory as it
    // was signed, or nothing is.
    for for_good in [false, true] {
        for truths in 0.. {
            let mut world = on(&start, |disk| Liar::new(disk.fork(), Some(truths), for_good));
            let mut power_on = world.power_on().unwrap();
            let lied = world.disks[0].reads.len() > truths as usize;
            if let Some(runs) = power_on.proof {
                let expected = &kernels[runs.slot as usize];
                let loaded = &power_on.memory.bytes(0)[..5000];
                assert!(loaded == &expected[..], "read {truths}: other bytes than were checked");
            } else {
                assert!(lied, "{:?}", power_on.report);
            }
            if !lied {
                break;
            }
        }
    }
    // The head of the slot that starts is read once: what was verified is what is used.
    let mut world = on(&start, |disk| Liar::new(disk.fork(), None, false));
    let slot = world.power_on().unwrap().slot().unwrap();
    let ground = start.ground.clone();
    let slots = ground.slots();
    let trust = ground.layout(&slots).unwrap().part(slot, Part::Trust).unwrap();
    let heads = world.disks[0].reads.iter().filter(|(offset, _)| *offset == trust.offset).count();
    assert_eq!(heads, 1);
    // Nor does what is read back during an installation pass.
    let (one, proof) = running(&publisher, AB);
    let mut caught = 0;
    for truths in 0.. {
        let mut world = on(&one, |disk| Liar::new(disk.fork(), Some(truths), true));
        let mut source = Bytes::new(&bundle, usize::MAX);
        let result = world.install_with(&mut source, Running::Proof(proof), |config| {
            config.reuse = Reuse { target: true, running: false };
        });
        if world.disks[0].reads.len() <= truths as usize {
            result.unwrap();
            break;
        }
        assert!(result.is_err(), "lying from read {truths} on");
        caught += 1;
    }
    assert!(caught > 5, "{caught}");
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
        world.operate(Request::MarkBad(Slot::B)).unwrap();
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
fn attack_17_skipped_version() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    // 1.0.0 runs.
    for (min_from, force, passes) in [
        ("1.0.0", false, true),
        ("0.9.9", false, true),
        ("1.0.1", false, false),
        ("2.0.0-rc.1", false, false),
        ("not-a-version", false, false),
        // What comes between is no matter of timing.
        ("1.0.1", true, false),
    ] {
        let bundle = with_manifest(&publisher, &update(&publisher, 3), |m| {
            m.min_from = min_from.chars().collect();
        });
        for offline in [false, true] {
            let mut world = start.clone();
            world.host.policy.force = force;
            let result = world.install(&bundle, (!offline).then_some(proof));
            if passes {
                result.unwrap();
                continue;
            }
            assert_eq!(refused(result), Refusal::Policy, "{min_from}");
            let said = world.host.said;
            // What cannot be compared is not shown to be new enough, and is called that.
            let fits = match min_from {
                "not-a-version" => {
                    matches!(said, Some(Verdict::Refused(Objection::NotComparable { .. })))
                }
                _ => matches!(said, Some(Verdict::Refused(Objection::TooOld { .. }))),
            };
            assert!(fits, "{min_from}: {said:?}");
            assert_eq!(world.disks[0].operations(), 0, "{min_from}");
        }
    }
}

#[test]
fn attack_18_update_that_does_not_work() {
    let publisher = Publisher::new(1);
    for tries in 1..=4 {
        let (mut world, proof) = running(&publisher, AB);
        world.tries = tries;
        world.install(&update(&publisher, 2), Some(proof)).unwrap();
        // Each attempt is on the medium before it is made.
        for attempt in 1..=tries {
            let trial = boot(&mut world);
            assert_eq!((trial.slot, trial.attempt), (Slot::B, attempt));
            let SlotState::Trying { left, .. } = state(&mut world, Slot::B) else { panic!() };
            assert_eq!(left, tries - attempt);
        }
        let mut last = world.clone();
        assert_eq!(boot(&mut world).slot, Slot::A, "never confirmed");
        // Confirmed on the last try, it stays.
        let SlotState::Trying { attempt, nonce, .. } = state(&mut last, Slot::B) else { panic!() };
        let trial = BootProof {
            slot: Slot::B,
            digest: digest(&update(&publisher, 2)),
            attempt,
            nonce,
            ..proof
        };
        last.operate(Request::MarkGood(trial)).unwrap();
        assert_eq!(boot(&mut last).slot, Slot::B);
    }
    // A try that cannot be counted, at any of the writes that count it, is not made.
    let (mut world, proof) = running(&publisher, AB);
    world.install(&update(&publisher, 2), Some(proof)).unwrap();
    let start = counted(&world);
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].cut_at(at, Cut::Before);
        let power_on = world.power_on().unwrap();
        if !world.disks[0].is_off() {
            assert_eq!(power_on.slot(), Some(Slot::B));
            break;
        }
        assert_ne!(power_on.slot(), Some(Slot::B), "cut at {at}");
    }
    // Both slots bad: a report, and recovery where there is one.
    let (mut world, _) = running(&publisher, ABR);
    let recovery = of_kind(&publisher, 1, 1, SlotKind::Recovery);
    plant(&mut world, Slot::Recovery, &recovery);
    wipe(&mut world, Slot::A);
    assert_eq!(boot(&mut world).slot, Slot::Recovery);
}

#[test]
fn attack_19_wear() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (world, proof) = running(&publisher, AB);
    let mut world = counted(&world);
    let (good, foreign) = (update(&publisher, 2), update(&stranger, 9));
    let class = with_manifest(&publisher, &good, |m| m.class = [1; 16]);
    for number in 0..1000 {
        let bad = if number % 2 == 0 { &foreign } else { &class };
        refused(world.install(bad, Some(proof)));
    }
    assert_eq!(world.disks[0].operations(), 0);
    world.install(&good, Some(proof)).unwrap();
    let after = world.disks[0].operations();
    for _ in 0..20 {
        let ready = Err(InstallError::Nothing(Nothing::Ready(Slot::B)));
        assert_eq!(world.install(&good, Some(proof)), ready);
    }
    assert_eq!(world.disks[0].operations(), after);
    let trial = world.power_on().unwrap().proof.unwrap();
    world.operate(Request::MarkGood(trial)).unwrap();
    let now = world.power_on().unwrap().proof.unwrap();
    let after = world.disks[0].operations();
    for _ in 0..20 {
        assert_eq!(world.install(&good, Some(now)), Err(InstallError::Nothing(Nothing::Running)));
        world.power_on().unwrap();
    }
    assert_eq!(world.disks[0].operations(), after, "good starts and no news cost nothing");
}

#[test]
fn attack_20_record() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&update(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    let b = boot(&mut world);
    let boots = |world: &mut RamWorld<'_>, context: &str| {
        let power_on = world.power_on().unwrap();
        let runs = power_on.proof.unwrap_or_else(|| panic!("{context}: {:?}", power_on.report));
        assert!([proof.digest, b.digest].contains(&runs.digest), "{context}");
    };
    let regions = world.ground.places().to_vec();
    let places = 0..regions.len();
    let copy_of = |place: &Region| world.disks[0].bytes(place.offset, record::LEN_MAX);
    let copies: Vec<_> = regions.iter().map(copy_of).collect();
    for (copy, region) in regions.iter().enumerate() {
        let len = 20 + usize::from(u16::from_le_bytes([copies[copy][6], copies[copy][7]]));
        for bit in 0..len * 8 {
            let mut forged = world.clone();
            let byte = copies[copy][bit / 8] ^ (1 << (bit % 8));
            forged.disks[0].poke(region.offset + bit as u64 / 8, &[byte]);
            boots(&mut forged, &format!("bit {bit} of copy {copy}"));
        }
        // Torn between this copy and another, at every byte.
        for other in places.clone().filter(|other| *other != copy) {
            for at in 0..len {
                let mut forged = world.clone();
                forged.disks[0].poke(region.offset, &copies[other][..at]);
                boots(&mut forged, &format!("torn at {at} of copy {copy} by copy {other}"));
            }
        }
    }
    for fill in [0x00, 0xff, 0x5a] {
        for which in 1..1 << regions.len() {
            let mut forged = world.clone();
            for copy in places.clone().filter(|copy| which & 1 << copy != 0) {
                forged.disks[0].poke(regions[copy].offset, &[fill; record::LEN_MAX]);
            }
            boots(&mut forged, &format!("{fill:02x} in {which:b}"));
        }
    }
    // Equal sequences with unlike bodies, and the last sequences there are.
    let (record, ..) = world.record().unwrap();
    let last = record::SEQUENCE_MAX;
    for sequences in [[9; 3], [last, 1, 1], [1, last, last], [2, 1, last], [last; 3], [0; 3]] {
        let mut forged = world.clone();
        for (copy, sequence) in sequences.into_iter().enumerate() {
            let mut record = record.clone();
            record.sequence = sequence;
            record.body.slot_mut(Slot::A).priority = copy as u8 * 9;
            let mut bytes = [0; record::LEN_MAX];
            record.emit(&mut bytes).unwrap();
            forged.disks[0].poke(regions[copy].offset, &bytes);
        }
        boots(&mut forged, &format!("{sequences:?}"));
    }
    // The record makes nothing start that does not verify.
    let mut forged = world.clone();
    let stranger = update(&Publisher::new(2), 9);
    plant(&mut forged, Slot::B, &stranger);
    recommend(&mut forged, Slot::B, digest(&stranger));
    assert_eq!(boot(&mut forged).digest, proof.digest);
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

/// An answer that no action asked for ends an installation, at whatever step it comes.
#[test]
fn attack_23_calls_in_the_wrong_order() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    let wrong: [fn(&Action) -> Option<Event>; 5] = [
        |_| Some(Event::Start),
        |action| (!matches!(action, Action::Judge)).then_some(Event::Judged(Permission::Proceed)),
        |action| (!matches!(action, Action::ReadFloor(_))).then_some(Event::Floor(None)),
        |action| {
            let takes = matches!(action, Action::Receive(_) | Action::ExpectEnd);
            (!takes).then_some(Event::Received(1))
        },
        |action| (!matches!(action, Action::Io(_) | Action::Skip(_))).then_some(Event::Done),
    ];
    let mut points = 0;
    for wrong in wrong {
        for at in 0.. {
            let mut world = start.clone();
            let ground = world.ground.clone();
            let slots = ground.slots();
            let layout = ground.layout(&slots).unwrap();
            let config = world.install_config(layout, Running::Proof(proof));
            let mut machine = Install::<SoftSha256>::new(&config);
            let mut buffer = vec![0; Install::<SoftSha256>::buffer_len_min(&layout, 16 << 10)];
            let mut rest = &bundle[..];
            let mut event = Event::Start;
            let mut step = 0;
            let finished = loop {
                let action = machine.step(event, &mut buffer);
                match action {
                    Action::Finish(_) => break true,
                    Action::Fail(_) => break false,
                    _ => {}
                }
                step += 1;
                let slip = if step - 1 == at { wrong(&action) } else { None };
                if let Some(slip) = slip {
                    let answer = machine.step(slip, &mut buffer);
                    assert!(matches!(answer, Action::Fail(_)), "step {at}, {slip:?}: {answer:?}");
                    // It stays ended, whatever comes then.
                    let again = machine.step(Event::Done, &mut buffer);
                    assert!(matches!(again, Action::Fail(InstallError::Misused)));
                    points += 1;
                    break false;
                }
                event = match action {
                    Action::Io(io) => {
                        let disks: &mut [&mut dyn BlockDevice] = &mut [&mut world.disks[0]];
                        driver::carry_out(&io, disks, &mut buffer).unwrap();
                        Event::Done
                    }
                    Action::Receive(range) => {
                        let (now, later) = rest.split_at(range.len());
                        buffer[range.clone()].copy_from_slice(now);
                        rest = later;
                        Event::Received(range.len())
                    }
                    Action::ProbeFloor(..) => Event::Done,
                    Action::Skip(len) => {
                        rest = &rest[len as usize..];
                        Event::Done
                    }
                    Action::ExpectEnd => Event::Received(rest.len()),
                    Action::ReadFloor(_) => Event::Floor(None),
                    Action::Judge => Event::Judged(Permission::Proceed),
                    Action::Finish(_) | Action::Fail(_) => unreachable!("told above"),
                };
            };
            let runs = boot(&mut world);
            if finished {
                // Past the last step: nothing was asked wrongly any more.
                assert_eq!(runs.slot, Slot::B);
                if step <= at {
                    break;
                }
            } else if runs.slot == Slot::B {
                // Only the last write of the record was not answered: everything is in place.
                assert_eq!(runs.digest, digest(&bundle), "step {at}");
            } else {
                assert_eq!(runs.digest, proof.digest, "step {at}");
            }
        }
    }
    assert!(points > 100, "{points}");
}

/// Requests in random order: something good always starts, what runs is never written to, and only
/// the proof of the attempt at hand confirms.
#[test]
fn attack_23_random_requests() {
    let mut random = Random::new(seed("attack_23_random_requests"));
    let publisher = Publisher::new(1);
    let bundles: Vec<_> = (0..12).map(|sequence| update(&publisher, sequence + 1)).collect();
    for run in 0..60 {
        let (mut world, first) = running(&publisher, AB);
        let mut proofs = vec![first];
        for step in 0..25 {
            let context = format!("run {run}, step {step}");
            let proof = proofs[random.below(proofs.len() as u64) as usize];
            let last = *proofs.last().unwrap();
            let slot = Slot::ALL[random.below(2) as usize];
            let bundle = &bundles[random.below(bundles.len() as u64) as usize];
            // What may be written of the slot that runs are its marks.
            let data = world.ground.slots()[last.slot as usize].regions[0].region;
            let trust = part(&world, last.slot, Part::Trust);
            let contents = |world: &RamWorld<'_>| {
                [data, trust].map(|part| world.disks[0].bytes(part.offset, part.len as usize))
            };
            let before = contents(&world);
            match random.below(9) {
                0..=2 => {
                    let _ = world.install(bundle, Some(last));
                }
                3 => {
                    let entry = world.record().unwrap().0.body.slot(proof.slot).clone();
                    let at_hand = match entry.state {
                        SlotState::Trying { attempt, nonce, .. } => {
                            (attempt, nonce) == (proof.attempt, proof.nonce)
                        }
                        state => state == SlotState::Good,
                    };
                    let done = world.operate(Request::MarkGood(proof));
                    let may = at_hand && entry.digest == proof.digest;
                    assert_eq!(done.is_ok(), may, "{context}: {done:?}");
                }
                4 => {
                    let _ = world.operate(Request::MarkGood(last));
                }
                5 => {
                    let _ = world.operate(Request::Rollback(slot));
                }
                6 => {
                    let _ = world.operate(Request::MarkBad(slot));
                }
                7 => {
                    let held = random.chance(1, 2);
                    let _ = world.operate(Request::HoldSlot(slot, held));
                }
                _ => {
                    let power_on = world.power_on().unwrap();
                    let runs = power_on.proof.unwrap_or_else(|| panic!("{context}"));
                    let kind = power_on.report.lines.last().unwrap().candidate.kind;
                    assert_ne!(kind, CandidateKind::LastResort, "{context}: nothing good was left");
                    proofs.push(runs);
                    continue;
                }
            }
            assert!(before == contents(&world), "{context}: the running slot was written to");
        }
    }
}

// The table and the tests.

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The files of tests across crates of this name: `tests/THEME/NAME.rs`, all below
/// `tests/THEME/NAME`, and all of a theme of this name.
fn across_crates(name: &str) -> Vec<PathBuf> {
    let tests = root().join("tests");
    let themes = entries(&tests).into_iter().filter(|path| path.is_dir());
    let found = themes.chain([tests.clone()]).flat_map(|theme| {
        let folder = theme.join(name);
        let below = if folder.is_dir() { sources(&folder) } else { Vec::new() };
        below.into_iter().chain([theme.join(format!("{name}.rs"))])
    });
    found.filter(|path| path.is_file()).collect()
}

/// Where the test that is named `file::test`, or `cli::file::test`, would be.
fn places(name: &str) -> (Vec<PathBuf>, &str) {
    let parts: Vec<_> = name.split("::").collect();
    let test = *parts.last().unwrap();
    let root = root();
    let file = parts[0];
    let places = if file == "cli" {
        vec![root.join(format!("cli/tests/cli/{}.rs", parts[1]))]
    } else {
        let fixed = ["core/src", "policy/src", "release/src", "host-sim/src", "host-sim/src/disk"];
        let mut folders: Vec<_> = fixed.iter().map(|folder| root.join(folder)).collect();
        folders.extend(entries(&root.join("hal")).into_iter().map(|layer| layer.join("src")));
        let ends = [".rs", "/tests.rs", "/mod.rs"];
        let beside_code =
            folders.iter().flat_map(|folder| ends.map(|end| folder.join(format!("{file}{end}"))));
        beside_code.chain(across_crates(file)).collect()
    };
    (places, test)
}

fn exists(name: &str) -> bool {
    let (places, test) = places(name);
    let declared = format!("fn {test}(");
    places.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&declared)))
}

/// The rows of the tables: number or title, and the names of tests in the last column.
fn rows(text: &str) -> Vec<(String, String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let columns: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (first, last) = (columns[0].to_owned(), columns[columns.len() - 1].to_owned());
        if first.starts_with("---") || last == "test" || columns.len() < 3 {
            continue;
        }
        let names = last.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
        let names = names.map(str::to_owned).collect();
        rows.push((first, last, names));
    }
    rows
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = fs::read_to_string(root().join("docs/THREATS.md")).unwrap();
    let rows = rows(&text);
    let mut problems = Vec::new();
    for (first, last, names) in &rows {
        // A row without a test says why there is none.
        let told = last.starts_with("none: ") && last.len() > 20;
        if names.is_empty() && !told {
            problems.push(format!("row `{first}` has neither a test nor a reason: {last}"));
        }
        for name in names.iter().filter(|name| !exists(name)) {
            problems.push(format!("row `{first}` names `{name}`, which is not there"));
        }
    }
    for number in 1..=23 {
        let Some((_, _, names)) = rows.iter().find(|(first, ..)| *first == number.to_string())
        else {
            problems.push(format!("attack {number} has no row"));
            continue;
        };
        let own = format!("threats::attack_{number:02}_");
        if number != 22 && !names.iter().any(|name| name.starts_with(&own)) {
            problems.push(format!("attack {number} names no test `{own}...`"));
        }
    }
    // And the other way round: a test named by its row is in a row.
    let named: BTreeSet<_> = rows.iter().flat_map(|(_, _, names)| names.iter().cloned()).collect();
    for file in ["bugs", "threats", "findings", "dead_ends"] {
        let files = across_crates(file);
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        for declared in text.split("#[test]\nfn ").skip(1) {
            let name = format!("{file}::{}", declared.split('(').next().unwrap());
            let of_a_row = file != "threats" || name.contains("::attack_");
            if of_a_row && !named.contains(&name) {
                problems.push(format!("`{name}` is in no row"));
            }
        }
    }
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
    assert!(rows.len() > 70, "only {} rows were found", rows.len());
}
