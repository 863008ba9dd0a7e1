//! What release engineers do: keysets, more signatures, statements, promotions, and releases of
//! KubeSolo OS packed again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use stillboot::format::{Envelope, KeyRole, PayloadType, envelope};
use stillboot_policy::json::ChannelIndex;
use stillboot_release::keys::{Signer, SigningKey, add_signature, id_of, sign_envelope};

use crate::support::{Run, World, noise};

const KEYS: &str = "keygen --out k --product gateway --roots 3 --threshold 2 --releases 2 \
                    --release-threshold 2 --channel 1 --approver 1 --sign-off 1 --edge 1";

fn key_id(world: &World, pem: &str) -> String {
    let key = SigningKey::read(&world.path(pem)).unwrap();
    let id = stillboot::verify::key_id::<stillboot::verify::SoftSha256>(&key.public());
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn roles(value: &Value) -> Vec<String> {
    let keys = value["keyset"]["keys"].as_array().unwrap();
    let text = |role: &Value| role.as_str().unwrap().to_owned();
    keys.iter()
        .map(|key| key["roles"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(","))
        .collect()
}

// Keysets.

#[test]
fn keygen_makes_keys_of_every_role() {
    let world = World::new();
    world.run(KEYS).expect(0);
    let shown = world.run("keyset show k/keyset.sbk --roots k/roots.toml --json").expect(0).json();
    assert_eq!(
        roles(&shown),
        ["release", "release", "recovery", "edge-release", "channel", "approver", "sign-off"]
    );
    assert_eq!(shown["keyset"]["thresholds"]["release"], 2);
    assert_eq!(shown["keyset"]["thresholds"]["sign-off"], 1);
    for name in ["edge-1", "channel-1", "approver-1", "sign-off-1"] {
        assert!(world.path(&format!("k/{name}.pem")).exists());
        assert!(world.path(&format!("k/{name}.pub.pem")).exists());
    }
    world.run("keygen --out many --product gateway --releases 4 --channel 4").expect(2);
    assert!(!world.path("many").exists());
}

#[test]
fn keysets_are_created_signed_by_roots() {
    let world = World::new();
    world.run(KEYS).expect(0);
    let create = "keyset create --roots k/roots.toml --key k/release-1.pub.pem:release \
                  --key k/channel-1.pub.pem:channel,sign-off --out made.sbk";
    // One root of two that must agree: written with a warning, and not yet trusted.
    let run = world.run(&format!("{create} --root k/root-1.pem --json")).expect(0);
    assert!(run.stderr.contains("warning"), "{run:?}");
    assert_eq!(run.json()["complete"], false);
    let show = "keyset show made.sbk --roots k/roots.toml --json";
    world.run(show).refused(4, "trust");
    // The second root signs elsewhere.
    world.run("sign made.sbk --key k/root-3.pem --role root --roots k/roots.toml").expect(0);
    let shown = world.run(show).expect(0).json();
    assert_eq!(roles(&shown), ["release", "channel,sign-off"]);
    assert_eq!(shown["keyset"]["version"], 1);
    // Both at once.
    let both = format!("{create} --root k/root-1.pem --root k/root-2.pem --json");
    assert_eq!(world.run(&both).expect(0).json()["complete"], true);
    world.run(show).expect(0);
}

#[test]
fn keysets_that_cannot_be_are_refused() {
    let world = World::new();
    world.run(KEYS).expect(0);
    let create = "keyset create --roots k/roots.toml --root k/root-1.pem --root k/root-2.pem \
                  --out made.sbk --json";
    let release = "--key k/release-1.pub.pem:release";
    for wrong in [
        "",
        "--key k/release-1.pub.pem",
        "--key k/release-1.pub.pem:",
        "--key k/release-1.pub.pem:root",
        "--key k/release-1.pub.pem:boss",
        "--key k/release-1.pub.pem:release,edge-release",
        "--key :release",
        &format!("{release} {release}"),
        &format!("{release} --threshold release=2"),
        &format!("{release} --threshold release=0"),
        &format!("{release} --threshold release=5"),
        &format!("{release} --threshold release"),
        &format!("{release} --threshold channel=1"),
        &format!("{release} --threshold release=1 --threshold release=1"),
    ] {
        world.run(&format!("{create} {wrong}")).refused(2, "usage");
    }
    let unsigned = format!("keyset create --roots k/roots.toml {release} --out made.sbk --json");
    world.run(&unsigned).refused(2, "usage");
    world.run(&format!("{create} --key missing:release")).refused(1, "io");
    world.run(&format!("{create} --key k/release-1.pem:release")).refused(1, "key");
    world.run(&format!("{create} {release} --root k/root-1.pem")).refused(1, "key");
    // A key that is none of the roots.
    world.run(&format!("{unsigned} --root k/release-1.pem")).refused(1, "key");
    assert!(!world.path("made.sbk").exists());
}

#[test]
fn next_keyset_rotates_and_revokes() {
    let world = World::new();
    world.run(KEYS).expect(0);
    world.run("keygen --out new --product gateway").expect(0);
    let next = "keyset next k/keyset.sbk --roots k/roots.toml --root k/root-1.pem \
                --root k/root-2.pem --out next.sbk --json";
    let (first, second) = (key_id(&world, "k/release-1.pem"), key_id(&world, "k/release-2.pem"));
    // Two release keys must agree, so none of two can go.
    world.run(&format!("{next} --remove {first}")).refused(2, "usage");
    world
        .run(&format!("{next} --remove {}", key_id(&world, "k/channel-1.pem")))
        .refused(2, "usage");
    assert!(!world.path("next.sbk").exists());
    let made = world
        .run(&format!("{next} --remove {first} --add new/release-1.pub.pem:release"))
        .expect(0)
        .json();
    assert_eq!(made["keyset"]["version"], 2);
    assert_eq!(made["keyset"]["thresholds"]["release"], 2);
    let ids = made["keyset"]["keys"].to_string();
    assert!(!ids.contains(&first) && ids.contains(&second), "{ids}");
    assert!(ids.contains(&key_id(&world, "new/release-1.pem")), "{ids}");
    world.run("keyset show next.sbk --roots k/roots.toml").expect(0);
    // With fewer that must agree, or with a role given up.
    world.run(&format!("{next} --remove {first} --threshold release=1")).expect(0);
    let channel = key_id(&world, "k/channel-1.pem");
    world.run(&format!("{next} --remove {channel} --threshold channel=0")).expect(0);
    // Other roles for a key that stays.
    let again = format!("--remove {channel} --add k/channel-1.pub.pem:channel,approver");
    let made = world.run(&format!("{next} {again}")).expect(0).json();
    assert!(roles(&made).contains(&"channel,approver".to_owned()), "{made}");

    world.run(next).refused(2, "usage");
    world.run(&format!("{next} --remove 0011223344556677")).refused(2, "usage");
    world.run(&format!("{next} --remove {first} --remove {first}")).refused(2, "usage");
    world.run(&format!("{next} --add k/release-1.pub.pem:release")).refused(2, "usage");
    // From what the roots never signed.
    let foreign = next.replace("k/keyset.sbk", "new/keyset.sbk");
    world.run(&format!("{foreign} --threshold release=1")).refused(4, "trust");
    let bundle = next.replace("k/keyset.sbk", "k/roots.toml");
    world.run(&format!("{bundle} --threshold release=1")).refused(4, "format");
}

/// Devices follow the newer keyset, and a key that it leaves out signs nothing more.
#[test]
fn revoked_key_signs_no_more() {
    let world = World::running();
    world.run("keygen --out new --product gateway").expect(0);
    let stolen = key_id(&world, "keys/release-1.pem");
    world
        .run(&format!(
            "keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \
             --remove {stolen} --add new/release-1.pub.pem:release --out keys/next.sbk"
        ))
        .expect(0);
    let pack = "pack --roots keys/roots.toml --class m1 --version 4.0.0 --sequence 4 \
                --kernel kernel --out v4.sbb --keyset keys/next.sbk --json";
    world.run(&format!("{pack} --key keys/release-1.pem")).refused(1, "key");
    world.run(&format!("{pack} --key new/release-1.pem")).expect(0);
    let disk = "--disk disk.img --roots keys/roots.toml --class m1 --proof proof";
    world.run(&format!("install v4.sbb {disk}")).expect(0);
    world.boots("4.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    // The stolen key's bundle of a later sequence, under the keyset that it was in.
    world.pack(9, "--kernel kernel --level 9").expect(0);
    world.boots("4.0.0");
    world.run(&format!("install v9.sbb {disk} --json")).expect(4);
}

// More signatures.

/// A bundle that needs two signatures and has one.
fn half_signed() -> World {
    let world = World::new();
    world.run(KEYS).expect(0);
    world.write("kernel", noise(1, 100_000));
    world
        .run(
            "pack --roots k/roots.toml --class m1 --version 1.0.0 --sequence 1 --kernel kernel \
             --keyset k/keyset.sbk --key k/release-1.pem --out v.sbb --channel latest/edge",
        )
        .expect(0);
    world
}

const VERIFY: &str = "verify v.sbb --roots k/roots.toml --class m1 --json";

#[test]
fn signatures_are_added_and_nothing_else_changes() {
    let world = half_signed();
    world.run(VERIFY).refused(4, "trust");
    let before = world.read("v.sbb");
    let run = "sign v.sbb --key k/release-2.pem --role release --out both.sbb --json";
    let signers = world.run(run).expect(0).json()["signers"].as_array().unwrap().len();
    assert_eq!(signers, 2);
    assert!(before == world.read("v.sbb"), "the bundle itself stays with --out");
    let after = world.read("both.sbb");
    let parts = |bytes: &[u8]| {
        let (keyset, rest) = Envelope::parse(bytes).unwrap();
        let (manifest, body) = Envelope::parse(rest).unwrap();
        (keyset.payload().to_vec(), manifest.payload().to_vec(), body.to_vec())
    };
    assert!(parts(&before) == parts(&after));
    // Kind, name of the key, signature.
    assert_eq!(after.len(), before.len() + 1 + 32 + 64);
    // In place, the role found by itself; the same bytes as if both had packed it.
    world.run("sign v.sbb --key k/release-2.pem").expect(0);
    world.run(VERIFY).expect(0);
    world
        .run(
            "pack --roots k/roots.toml --class m1 --version 1.0.0 --sequence 1 --kernel kernel \
             --keyset k/keyset.sbk --key k/release-2.pem --key k/release-1.pem --out once.sbb \
             --channel latest/edge",
        )
        .expect(0);
    assert!(world.read("once.sbb") == world.read("v.sbb"));
    assert!(world.read("once.sbb") == after);
}

/// The frames stay, so that nothing is compressed once more, and nothing is cached in vain.
#[test]
fn a_framed_file_gets_the_signature_that_its_bundle_gets() {
    let world = half_signed();
    for compression in ["zstd", "lzma", "none"] {
        let compress = |from: &str, to: &str| {
            world.run(&format!("bundle compress {from} --compress {compression} --out {to}"))
        };
        compress("v.sbb", "v.sbz").expect(0);
        world.run("sign v.sbb --key k/release-2.pem --out both.sbb").expect(0);
        compress("both.sbb", "expected.sbz").expect(0);
        world.run("sign v.sbz --key k/release-2.pem --out both.sbz").expect(0);
        assert!(world.read("both.sbz") == world.read("expected.sbz"), "{compression}");
        world.run("sign v.sbz --key k/release-2.pem").expect(0);
        assert!(world.read("v.sbz") == world.read("expected.sbz"), "{compression}, in place");
        world.run(&VERIFY.replace("v.sbb", "v.sbz")).expect(0);
    }
    // Every byte that is not what was packed is found before anything is signed.
    world.run("bundle compress v.sbb --out v.sbz").expect(0);
    let sound = world.read("v.sbz");
    for at in (0..sound.len()).step_by(sound.len() / 60) {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        world.write("hurt.sbz", &bytes);
        let run = world.run("sign hurt.sbz --key k/release-2.pem --out out.sbz --json");
        assert_eq!(run.code, 4, "{at}: {run:?}");
        assert!(!world.path("out.sbz").exists(), "{at}");
    }
}

/// A changed payload was given a right digest and a signature, and verified from then on.
#[test]
fn what_was_changed_since_it_was_signed_gets_no_further_signature() {
    let world = half_signed();
    let sound = world.read("v.sbb");
    let (_, rest) = Envelope::parse(&sound).unwrap();
    let keyset_len = sound.len() - rest.len();
    let version = sound.windows(5).position(|found| found == b"1.0.0").unwrap();
    // The header of an envelope, the digest in it, the name of the first key, and its signature.
    let key = keyset_len + 48 + 1;
    for (changes, part) in [
        (vec![version], "the payload of its manifest is not the one"),
        (vec![version, key], "the payload of its manifest is not the one"),
        (vec![keyset_len + 20], "the payload of its manifest is not the one"),
        (vec![key], "does not hold"),
        (vec![key + 40], "does not hold"),
        (vec![20], "the payload of its keyset is not the one"),
        (vec![keyset_len - 1], "the payload of its keyset is not the one"),
    ] {
        let mut bytes = sound.clone();
        changes.iter().for_each(|at| bytes[*at] ^= 4);
        world.write("v.sbb", &bytes);
        let run = world.run("sign v.sbb --key k/release-2.pem --out both.sbb --json");
        let text = run.refused(4, "trust").json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains(part), "{changes:?}: {text}");
        assert!(!world.path("both.sbb").exists());
    }
    // The digest fits the payload again, and the signature does not.
    let (_, rest) = Envelope::parse(&sound).unwrap();
    let (manifest, body) = Envelope::parse(rest).unwrap();
    let mut payload = manifest.payload().to_vec();
    let at = payload.windows(5).position(|found| found == b"1.0.0").unwrap();
    payload[at] = b'5';
    let signatures: Vec<_> = manifest.signatures().collect();
    let mut into = vec![0; envelope::LEN_MAX];
    let len = Envelope::emit(PayloadType::Manifest, &signatures, &payload, &mut into).unwrap();
    world.write("v.sbb", [&sound[..keyset_len], &into[..len], body].concat());
    let run = world.run("sign v.sbb --key k/release-2.pem --out both.sbb --json");
    let text = run.refused(4, "trust").json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("does not hold over its payload"), "{text}");
}

#[test]
fn signatures_that_no_device_would_count_are_refused() {
    let world = half_signed();
    let before = world.read("v.sbb");
    world.run("sign v.sbb --key k/release-1.pem --json").refused(1, "key");
    world.run("sign v.sbb --key k/recovery-1.pem --role release --json").refused(1, "key");
    world.run("sign v.sbb --key k/channel-1.pem --json").refused(1, "key");
    world.run("sign v.sbb --key keys/release-1.pem --json").refused(1, "key");
    world.run("sign v.sbb --key k/channel-1.pem --role channel --json").refused(2, "usage");
    world.run("sign v.sbb --key k/root-1.pem --role root --json").refused(2, "usage");
    world.run("sign v.sbb --key k/release-2.pem --role boss --json").refused(2, "usage");
    world.run("sign v.sbb --json").refused(2, "usage");
    world.run("sign v.sbb --key k/release-2.pem --product other --json").refused(2, "usage");
    world.run("sign k/roots.toml --key k/release-2.pem --json").refused(4, "format");
    world.run("sign missing --key k/release-2.pem --json").refused(1, "io");
    // A keyset does not say which product it is of.
    world.run("sign k/keyset.sbk --key k/root-3.pem --json").refused(2, "usage");
    let sign = "sign k/keyset.sbk --roots k/roots.toml --json";
    world.run(&format!("{sign} --key k/release-1.pem")).refused(1, "key");
    world.run(&format!("{sign} --key k/root-3.pem --role release")).refused(2, "usage");
    let mut longer = world.read("k/keyset.sbk");
    longer.push(0);
    world.write("longer.sbk", longer);
    world
        .run("sign longer.sbk --roots k/roots.toml --key k/root-3.pem --json")
        .refused(4, "format");
    assert!(before == world.read("v.sbb"));
}

#[test]
fn fifth_signature_is_refused() {
    let world = half_signed();
    let mut bytes = world.read("k/keyset.sbk");
    for seed in 1.. {
        let (envelope, _) = Envelope::parse(&bytes).unwrap();
        if envelope.signatures().count() == 4 {
            break;
        }
        let key = SigningKey::from_seed([seed; 32]);
        bytes = add_signature(&envelope, &id_of("gateway"), KeyRole::Root, &key).unwrap();
    }
    world.write("full.sbk", bytes);
    let run =
        world.run("sign full.sbk --product gateway --key k/release-1.pem --json").refused(1, "key");
    assert!(run.json()["error"].as_str().unwrap().contains("at most 4"), "{run:?}");
}

/// A program that signs with `pem`, which `stillboot` is not given.
fn program(world: &World, name: &str, script: &str) -> String {
    let path = world.path(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn programs_sign_what_they_are_given() {
    let world = half_signed();
    // First it is asked what there is to sign, then it answers with a signature made here.
    let asks = program(&world, "asks", "cat > \"$1\"; exit 1");
    let command = format!("{asks} {}", world.path("message").display());
    let run = |command: &str, public: &str| {
        world.run_exact(&["sign", "v.sbb", "--json", "--signer", command, "--public", public])
    };
    run(&command, "k/release-2.pub.pem").refused(1, "key");
    let message = world.read("message");
    assert!(message.starts_with(b"stillboot-signature-v1\0"), "{message:02x?}");
    let key = SigningKey::read(&world.path("k/release-2.pem")).unwrap();
    world.write("signature", key.sign(&message).unwrap());

    let before = world.read("v.sbb");
    let answer =
        |tail: &str| format!("cat > /dev/null; cat {}; {tail}", world.path("signature").display());
    let good = program(&world, "good", &answer("exit 0"));
    let fails = program(&world, "fails", &answer("exit 3"));
    let more = program(&world, "more", &answer("echo"));
    let silent = program(&world, "silent", "cat > /dev/null");
    for bad in [fails.as_str(), &more, &silent, "/nonexistent/program", "yes", ""] {
        let error = run(bad, "k/release-2.pub.pem").refused(1, "key").json();
        assert!(error["error"].as_str().unwrap().contains("signer failed"), "{bad}: {error}");
    }
    // The right signature in the name of another key.
    run(&good, "k/edge-1.pub.pem").refused(1, "key");
    run(&good, "k/release-2.pem").refused(1, "key");
    world.run_exact(&["sign", "v.sbb", "--signer", &good]).expect(2);
    world.run_exact(&["sign", "v.sbb", "--public", "k/release-2.pub.pem"]).expect(2);
    assert!(before == world.read("v.sbb"));
    run(&good, "k/release-2.pub.pem").expect(0);
    world.run(VERIFY).expect(0);
}

/// With the key in a program from the start, which is asked once.
#[test]
fn bundles_and_keysets_are_made_with_programs() {
    let world = World::new();
    world.write("kernel", noise(1, 10_000));
    let sign = |message: &str, signature: &str, pem: &str| {
        let key = SigningKey::read(&world.path(pem)).unwrap();
        world.write(signature, key.sign(&world.read(message)).unwrap());
    };
    let hsm = program(
        &world,
        "hsm",
        "d=$(dirname \"$0\"); cat > \"$d/$1.message\"; echo x >> \"$d/$1.count\"; \
         cat \"$d/$1.signature\"",
    );
    let pack = |command: &str| {
        let rest = "pack --roots keys/roots.toml --class m1 --version 1.0.0 --sequence 1 \
                    --kernel kernel --keyset keys/keyset.sbk --out v.sbb \
                    --public keys/release-1.pub.pem --signer";
        let mut arguments: Vec<_> = rest.split_whitespace().collect();
        arguments.push(command);
        world.run_exact(&arguments)
    };
    let command = format!("{hsm} release");
    pack(&command).expect(1);
    sign("release.message", "release.signature", "keys/release-1.pem");
    fs::remove_file(world.path("release.count")).unwrap();
    pack(&command).expect(0);
    assert_eq!(world.read("release.count"), b"x\n", "a person may have to touch the key each time");
    world.run("verify v.sbb --roots keys/roots.toml --class m1").expect(0);

    let command = format!("{hsm} root");
    let create = || {
        let rest = "keyset create --roots keys/roots.toml --key keys/release-1.pub.pem:release \
                    --out made.sbk --public keys/root-1.pub.pem --signer";
        let mut arguments: Vec<_> = rest.split_whitespace().collect();
        arguments.push(&command);
        world.run_exact(&arguments)
    };
    create().expect(1);
    sign("root.message", "root.signature", "keys/root-1.pem");
    create().expect(0);
    world.run("keyset show made.sbk --roots keys/roots.toml").expect(0);
}

// Statements and promotions.

const POLICY: &str = "[promote.candidate]\nsign_offs = [\"tests\"]\n\
                      [promote.stable]\nsign_offs = [\"tests\", \"certification\"]\n";

/// A verified bundle on `latest/edge`, and a release policy.
fn releasable() -> World {
    let world = half_signed();
    world.run("sign v.sbb --key k/release-2.pem").expect(0);
    world.write("release.toml", POLICY);
    world
}

fn promote(world: &World, to: &str, more: &str) -> Run {
    world.run(&format!(
        "promote v.sbb --roots k/roots.toml --policy release.toml --key k/channel-1.pem \
         --to {to} --out {}.sbs --json {more}",
        to.replace('/', "-")
    ))
}

fn sign_off(world: &World, name: &str, more: &str) -> Run {
    world.run(&format!(
        "statement sign-off v.sbb --roots k/roots.toml --name {name} --key k/sign-off-1.pem \
         --out {name}.sbs --json {more}"
    ))
}

#[test]
fn bundles_go_from_edge_to_stable_in_steps() {
    let world = releasable();
    sign_off(&world, "tests", "").expect(0);
    sign_off(&world, "certification", "").expect(0);
    let made = promote(&world, "latest/beta", "").expect(0).json();
    assert_eq!((&made["from"], &made["to"]), (&"latest/edge".into(), &"latest/beta".into()));
    let tests = "--statement tests.sbs";
    let beta = format!("--statement latest-beta.sbs {tests}");
    let made =
        promote(&world, "latest/candidate", &format!("{beta} --rollout 25")).expect(0).json();
    assert_eq!(made["statement"]["rollout"], 25);
    assert_eq!(made["sign_offs"], serde_json::json!(["tests"]));
    // To more devices of the same channel, then on.
    fs::rename(world.path("latest-candidate.sbs"), world.path("first.sbs")).unwrap();
    let candidate = format!("--statement first.sbs {beta}");
    let same = format!("{candidate} --rollout 25");
    promote(&world, "latest/candidate", &same).refused(5, "already");
    promote(&world, "latest/candidate", &candidate).expect(0);
    let candidate = format!("{candidate} --statement latest-candidate.sbs");
    let all = format!("{candidate} --statement certification.sbs --not-after 2090-01-01");
    let made = promote(&world, "latest/stable", &all).expect(0).json();
    assert_eq!(made["statement"]["not_after"], 3_786_912_000_u64);
    let stable = "--statement latest-stable.sbs --statement tests.sbs";
    promote(&world, "latest/stable", &format!("{stable} --statement certification.sbs"))
        .refused(5, "already");
}

/// What devices make of it: one that follows beta takes the bundle once it is promoted there.
#[test]
fn devices_follow_promotions() {
    let world = releasable();
    promote(&world, "latest/beta", "").expect(0);
    world.run("disk create disk.img --slot-size 2M").expect(0);
    let install = "install v.sbb --disk disk.img --roots k/roots.toml --class m1 --offline \
                   --channel latest/beta --json";
    world.run(install).expect(4);
    world.run(&format!("{install} --statement latest-beta.sbs")).expect(0);
}

#[test]
fn steps_are_not_skipped_nor_taken_back() {
    let world = releasable();
    sign_off(&world, "tests", "").expect(0);
    sign_off(&world, "certification", "").expect(0);
    let signed = "--statement tests.sbs --statement certification.sbs";
    promote(&world, "latest/candidate", signed).refused(4, "step");
    promote(&world, "latest/stable", signed).refused(4, "step");
    promote(&world, "latest/beta", signed).expect(0);
    let beta = format!("{signed} --statement latest-beta.sbs");
    promote(&world, "latest/stable", &beta).refused(4, "step");
    promote(&world, "latest/edge", &beta).refused(4, "step");
    promote(&world, "latest/edge", "").refused(5, "already");
    // Another track or branch is another release.
    promote(&world, "5.0/beta", signed).refused(4, "step");
    promote(&world, "latest/beta/fix", signed).refused(4, "step");
    for wrong in ["latest/daring", "latest/", "a/b/c/d"] {
        promote(&world, wrong, signed).refused(2, "usage");
    }
    promote(&world, "latest/beta", "--rollout 101").refused(2, "usage");
    assert!(!world.path("latest-candidate.sbs").exists());
    assert!(!world.path("latest-stable.sbs").exists());
}

#[test]
fn promotions_need_the_sign_offs_of_the_policy() {
    let world = releasable();
    sign_off(&world, "tests", "").expect(0);
    sign_off(&world, "certification", "").expect(0);
    sign_off(&world, "looks", "").expect(0);
    promote(&world, "latest/beta", "").expect(0);
    let beta = "--statement latest-beta.sbs";
    promote(&world, "latest/candidate", beta).refused(4, "sign-off");
    let other = format!("{beta} --statement looks.sbs --statement certification.sbs");
    promote(&world, "latest/candidate", &other).refused(4, "sign-off");
    // An approval is no sign-off.
    world
        .run(
            "statement approve v.sbb --roots k/roots.toml --key k/approver-1.pem \
             --out approval.sbs --json",
        )
        .expect(0);
    let approved = format!("{beta} --statement approval.sbs");
    promote(&world, "latest/candidate", &approved).refused(4, "sign-off");
    let tests = format!("{beta} --statement tests.sbs");
    promote(&world, "latest/candidate", &tests).expect(0);
    let candidate = format!("{tests} --statement latest-candidate.sbs");
    promote(&world, "latest/stable", &candidate).refused(4, "sign-off");
    promote(&world, "latest/stable", &format!("{candidate} --statement certification.sbs"))
        .expect(0);
}

#[test]
fn release_policies_with_mistakes_are_refused() {
    let world = releasable();
    for wrong in [
        "",
        "nonsense",
        "[promote.stabel]\nsign_offs = []\n",
        "[promote.edge]\nsign_offs = []\n",
        "[promote.beta]\n",
        "[promote.beta]\nsign_offs = \"tests\"\n",
        "[promote.beta]\nsign_offs = []\nmore = 1\n",
        "more = 1\n[promote.beta]\nsign_offs = []\n",
        "[promote]\n[promotion.beta]\nsign_offs = []\n",
    ] {
        world.write("release.toml", wrong);
        promote(&world, "latest/beta", "").refused(2, "usage");
    }
    world
        .run("promote v.sbb --roots k/roots.toml --key k/channel-1.pem --to latest/beta --out x")
        .expect(2);
    // A gate that the policy forgot is not an open one.
    world.write("release.toml", "[promote.stable]\nsign_offs = []\n");
    promote(&world, "latest/beta", "").expect(0);
    promote(&world, "latest/candidate", "--statement latest-beta.sbs").refused(2, "usage");
    world.write("release.toml", "[promote.beta]\nsign_offs = [\"tests\"]\n");
    promote(&world, "latest/beta", "").refused(4, "sign-off");
}

#[test]
fn statements_that_do_not_count_are_refused() {
    let world = releasable();
    promote(&world, "latest/beta", "").expect(0);
    sign_off(&world, "tests", "").expect(0);
    let with = |file: &str| {
        let more = format!("--statement latest-beta.sbs --statement {file}");
        promote(&world, "latest/candidate", &more)
    };
    // Forged: a bit of the payload, and of the signature.
    let good = world.read("tests.sbs");
    for at in [good.len() - 1, 30] {
        let mut forged = good.clone();
        forged[at] ^= 1;
        world.write("forged.sbs", forged);
        with("forged.sbs").refused(4, "statement");
    }
    // Cut short, longer, something else, nothing.
    world.write("cut.sbs", &good[..good.len() - 1]);
    world.write("longer.sbs", [&good[..], b"x"].concat());
    for file in ["cut.sbs", "longer.sbs", "k/keyset.sbk", "k/roots.toml"] {
        with(file).refused(4, "statement");
    }
    with("missing.sbs").refused(1, "io");
    // Signed by a key of another role, in either role; by a key that is not in the keyset.
    let payload = Envelope::parse(&good).unwrap().0.payload().to_vec();
    for (pem, role) in [
        ("k/channel-1.pem", KeyRole::SignOff),
        ("k/channel-1.pem", KeyRole::Channel),
        ("k/sign-off-1.pem", KeyRole::Release),
        ("k/release-1.pem", KeyRole::SignOff),
        ("keys/release-1.pem", KeyRole::SignOff),
    ] {
        let key = SigningKey::read(&world.path(pem)).unwrap();
        let forged =
            sign_envelope(PayloadType::Statement, &id_of("gateway"), &payload, &[(role, &key)]);
        world.write("forged.sbs", forged.unwrap());
        with("forged.sbs").refused(4, "statement");
    }
    // Expired.
    let run = sign_off(&world, "late", "--not-after 2025-06-01").expect(0);
    assert!(run.stderr.contains("expired"), "{run:?}");
    with("late.sbs").refused(4, "expired");
    // Of another bundle.
    world.write("kernel", noise(2, 1000));
    world
        .run(
            "pack --roots k/roots.toml --class m1 --version 2.0.0 --sequence 2 --kernel kernel \
             --keyset k/keyset.sbk --key k/release-1.pem --key k/release-2.pem --out w.sbb",
        )
        .expect(0);
    world
        .run(
            "statement sign-off w.sbb --roots k/roots.toml --name tests --key k/sign-off-1.pem \
             --out other.sbs",
        )
        .expect(0);
    with("other.sbs").refused(4, "other-bundle");
    assert!(!world.path("latest-candidate.sbs").exists());
    with("tests.sbs").expect(0);
}

#[test]
fn statements_are_made_by_the_keys_of_their_kind() {
    let world = releasable();
    let state = |kind: &str, key: &str| {
        world.run(&format!(
            "statement {kind} v.sbb --roots k/roots.toml --key k/{key}.pem --out x.sbs --json"
        ))
    };
    for key in ["channel-1", "approver-1", "release-1", "root-1"] {
        state("sign-off --name tests", key).refused(1, "key");
    }
    for key in ["channel-1", "sign-off-1", "release-1"] {
        state("approve", key).refused(1, "key");
    }
    for name in ["", "a/b", "seventeen-letters"] {
        let run = world.run_exact(&[
            "statement",
            "sign-off",
            "v.sbb",
            "--roots",
            "k/roots.toml",
            "--key",
            "k/sign-off-1.pem",
            "--out",
            "x.sbs",
            "--json",
            "--name",
            name,
        ]);
        run.refused(2, "usage");
    }
    let promote = "promote v.sbb --roots k/roots.toml --policy release.toml --to latest/beta \
                   --out x.sbs --json";
    for key in ["sign-off-1", "release-1"] {
        world.run(&format!("{promote} --key k/{key}.pem")).refused(1, "key");
    }
    world.run(promote).refused(2, "usage");
    assert!(!world.path("x.sbs").exists());
    let made = state("approve", "approver-1").expect(0).json();
    assert_eq!(made["statement"]["kind"], "approval");
    let made = state("sign-off --name tests", "sign-off-1").expect(0).json();
    assert_eq!(made["statement"]["name"], "tests");
}

#[test]
fn nothing_is_said_of_a_bundle_that_does_not_verify() {
    let world = releasable();
    let good = world.read("v.sbb");
    let promote = |kind: &str| promote(&world, "latest/beta", "").refused(4, kind);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    world.write("v.sbb", &damaged);
    promote("content");
    sign_off(&world, "tests", "").refused(4, "content");
    world.write("v.sbb", &good[..good.len() - 1]);
    promote("ended");
    world.write("v.sbb", [&good[..], b"x"].concat());
    promote("trailing");
    world.write("v.sbb", &good);
    // Roots of another product, though of the same name.
    world
        .run(
            "promote v.sbb --roots keys/roots.toml --policy release.toml --key k/channel-1.pem \
             --to latest/beta --out x.sbs --json",
        )
        .refused(4, "trust");
    // Too few signatures.
    let half = half_signed();
    half.write("release.toml", POLICY);
    self::promote(&half, "latest/beta", "").refused(4, "trust");
    assert!(!world.path("latest-beta.sbs").exists() && !half.path("latest-beta.sbs").exists());
}

#[test]
fn edge_releases_stay_on_edge() {
    let world = releasable();
    let pack = "pack --roots k/roots.toml --class m1 --version 1.0.0 --sequence 1 --kernel kernel \
                --keyset k/keyset.sbk --key k/edge-1.pem --out v.sbb";
    world.run(&format!("{pack} --channel latest/edge")).expect(0);
    world.run(VERIFY).expect(0);
    promote(&world, "latest/beta", "").refused(4, "edge-only");
    assert!(!world.path("latest-beta.sbs").exists());
    // Release keys may adopt it.
    world.run("sign v.sbb --key k/release-1.pem --key k/release-2.pem").expect(0);
    promote(&world, "latest/beta", "").expect(0);
    // And edge keys alone never sign for another risk.
    world.run(&format!("{pack} --channel latest/beta --json")).refused(1, "trust");
}

#[test]
fn expired_bundles_are_not_promoted() {
    let world = releasable();
    world
        .run(
            "pack --roots k/roots.toml --class m1 --version 1.0.0 --sequence 1 --kernel kernel \
             --keyset k/keyset.sbk --key k/release-1.pem --key k/release-2.pem --out v.sbb \
             --channel latest/edge --force --not-after 2025-06-01",
        )
        .expect(0);
    promote(&world, "latest/beta", "").refused(4, "expired");
}

// Releases of KubeSolo OS.

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn publisher() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

fn digest(bytes: &[u8]) -> String {
    hex(&stillboot::verify::digest_of::<stillboot::verify::SoftSha256>(bytes))
}

/// A release of version 1.4.0, with `more` in its document.
fn publish(world: &World, more: &str) {
    let (kernel, initramfs) = (noise(1, 300_000), noise(2, 70_000));
    let document = format!(
        "{{\n  \"version\": \"v1.4.0\",\n  \"vmlinuz_url\": \"https://example.org/vmlinuz\",\n  \
         \"vmlinuz_sha256\": \"{}\",\n  \"initramfs_url\": \"https://example.org/os.gz\",\n  \
         \"initramfs_sha256\": \"{}\"{more}\n}}\n",
        digest(&kernel),
        digest(&initramfs)
    );
    let key = publisher();
    world.write("vmlinuz.sig", hex(&key.sign(&kernel).unwrap()) + "\n");
    world.write("os.gz.sig", key.sign(&initramfs).unwrap());
    world.write("vmlinuz", kernel);
    world.write("os.gz", initramfs);
    world.write("latest.json.sig", key.sign(document.as_bytes()).unwrap());
    world.write("latest.json", document);
    world.write("os.pub", hex(&key.public()) + "\n");
}

fn repack(world: &World, more: &str) -> Run {
    world.run(&format!(
        "pack --from-latest-json latest.json --sig latest.json.sig --latest-key os.pub \
         --kernel vmlinuz --initramfs os.gz --roots keys/roots.toml --class m1 --sequence 4 \
         --keyset keys/keyset.sbk --key keys/release-1.pem --out os.sbb --json {more}"
    ))
}

#[test]
fn release_is_packed_again() {
    let world = World::new();
    publish(
        &world,
        ",\n  \"channel\": \"beta\", \"min_compatible_version\": \"v1.2.0\", \
         \"architecture\": \"amd64\", \"release_notes\": \"Faster\"",
    );
    let made =
        repack(&world, "--kernel-sig vmlinuz.sig --initramfs-sig os.gz.sig").expect(0).json();
    let manifest = &made["manifest"];
    for (field, value) in [
        ("version", "1.4.0"),
        ("channel", "latest/beta"),
        ("min_from", "1.2.0-0"),
        ("architecture", "x86_64"),
    ] {
        assert_eq!(manifest[field], value, "{field}");
    }
    assert_eq!(manifest["components"][0]["sha256"], digest(&world.read("vmlinuz")));
    world.run("verify os.sbb --roots keys/roots.toml --class m1 --arch x86_64").expect(0);
    // The key on the command line; signatures in hexadecimal; another track.
    let raw = world.read("latest.json.sig");
    world.write("latest.json.sig", hex(&raw));
    let key = hex(&publisher().public());
    world
        .run(&format!(
            "pack --from-latest-json latest.json --sig latest.json.sig --latest-key {key} \
             --kernel vmlinuz --initramfs os.gz --roots keys/roots.toml --class m1 --sequence 4 \
             --keyset keys/keyset.sbk --key keys/release-1.pem --out os.sbb --channel 1.4/beta \
             --cmdline panic=1 --version 1.4.0"
        ))
        .expect(0);
    let view = world.run("inspect os.sbb --json").expect(0).json();
    assert_eq!(view["manifest"]["channel"], "1.4/beta");
}

#[test]
fn release_without_constraints_is_stable_and_for_any_architecture() {
    let world = World::new();
    publish(&world, "");
    let made = repack(&world, "").expect(0).json();
    assert_eq!(made["manifest"]["channel"], "latest/stable");
    assert_eq!(made["manifest"]["architecture"], "any");
    assert_eq!(made["manifest"]["min_from"], Value::Null);
    let made = repack(&world, "--channel 5.0/edge --architecture aarch64 --min-from 1.0.0");
    assert_eq!(made.expect(0).json()["manifest"]["channel"], "5.0/edge");
}

#[test]
fn release_whose_signature_does_not_hold_is_refused() {
    let world = World::new();
    publish(&world, "");
    let (document, signature) = (world.read("latest.json"), world.read("latest.json.sig"));
    let text = String::from_utf8(document.clone()).unwrap();
    // The old signature under a new version.
    world.write("latest.json", text.replace("v1.4.0", "v9.0.0"));
    repack(&world, "").refused(4, "trust");
    world.write("latest.json", &document);
    world.write("latest.json.sig", SigningKey::from_seed([6; 32]).sign(&document).unwrap());
    repack(&world, "").refused(4, "trust");
    for wrong in [&b""[..], b"\n", &signature[..63], &[0; 65]] {
        world.write("latest.json.sig", wrong);
        repack(&world, "").refused(4, "trust");
    }
    fs::remove_file(world.path("latest.json.sig")).unwrap();
    repack(&world, "").refused(1, "io");
    world.write("latest.json.sig", &signature);
    for key in ["", "00", "not a key"] {
        world.write("os.pub", key);
        repack(&world, "").refused(1, "key");
    }
    // A key of small order, under which any signature verifies.
    world.write("os.pub", format!("01{}", "00".repeat(31)));
    repack(&world, "").refused(4, "trust");
    assert!(!world.path("os.sbb").exists());
}

#[test]
fn release_without_signature_or_key_is_usage() {
    let world = World::new();
    publish(&world, "");
    let rest = "--kernel vmlinuz --initramfs os.gz --roots keys/roots.toml --class m1 --sequence 4 \
                --keyset keys/keyset.sbk --key keys/release-1.pem --out os.sbb --json";
    for wrong in [
        "--from-latest-json latest.json",
        "--from-latest-json latest.json --sig latest.json.sig",
        "--from-latest-json latest.json --latest-key os.pub",
        "--sig latest.json.sig --latest-key os.pub --version 1.4.0",
        "--kernel-sig vmlinuz.sig --version 1.4.0",
    ] {
        world.run(&format!("pack {wrong} {rest}")).refused(2, "usage");
    }
    assert!(!world.path("os.sbb").exists());
}

#[test]
fn release_with_other_files_is_refused() {
    let world = World::new();
    publish(&world, "");
    for name in ["vmlinuz", "os.gz"] {
        let good = world.read(name);
        let mut other = good.clone();
        other[1000] ^= 1;
        for other in [other, good[1..].to_vec(), [&good[..], b"x"].concat()] {
            world.write(name, other);
            repack(&world, "").refused(4, "content");
            let sig = "--kernel-sig vmlinuz.sig --initramfs-sig os.gz.sig";
            repack(&world, sig).refused(4, "content");
        }
        world.write(name, good);
    }
    // Swapped: each is a file of the release, in the other's place.
    let rest = "--roots keys/roots.toml --class m1 --sequence 4 --keyset keys/keyset.sbk \
                --key keys/release-1.pem --out os.sbb --json --from-latest-json latest.json \
                --sig latest.json.sig --latest-key os.pub";
    world.run(&format!("pack {rest} --kernel os.gz --initramfs vmlinuz")).refused(4, "content");
    world.run(&format!("pack {rest} --kernel vmlinuz")).refused(2, "usage");
    world.run(&format!("pack {rest} --initramfs os.gz")).refused(2, "usage");
    // A second kernel for one slot, which the publisher never saw.
    world.write("evil", "evil");
    let two = "--kernel vmlinuz --initramfs os.gz --component role=kernel,file=evil,slot=a";
    world.run(&format!("pack {rest} {two}")).expect(2);
    assert!(!world.path("os.sbb").exists());
}

#[test]
fn release_whose_files_are_signed_by_another_key_is_refused() {
    let world = World::new();
    publish(&world, "");
    let stranger = SigningKey::from_seed([6; 32]);
    let signature = stranger.sign(&world.read("vmlinuz")).unwrap();
    let good = world.read("vmlinuz.sig");
    for wrong in [&signature[..], b"", &world.read("os.gz.sig"), &good[..126]] {
        world.write("vmlinuz.sig", wrong);
        repack(&world, "--kernel-sig vmlinuz.sig").refused(4, "trust");
    }
    assert!(!world.path("os.sbb").exists());
}

#[test]
fn release_documents_with_holes_are_refused() {
    let world = World::new();
    for hole in [
        ",\"more\": \"x\"",
        ",\"version\": \"v2.0.0\"",
        ",\"release_notes\": \"a\\nb\"",
        ",\"channel\": null",
        ",\"architecture\": \"z80\"",
        ",\"min_compatible_version\": \"1\"",
        "}{",
    ] {
        publish(&world, hole);
        repack(&world, "").refused(4, "latest");
    }
    publish(&world, &format!(",\"release_notes\": \"{}\"", "a".repeat(9000)));
    repack(&world, "").refused(4, "latest");
    assert!(!world.path("os.sbb").exists());
}

#[test]
fn options_that_contradict_the_release_are_usage() {
    let world = World::new();
    publish(
        &world,
        ",\"channel\": \"beta\",\"min_compatible_version\": \"1.2.0\",\"architecture\": \"arm64\"",
    );
    for wrong in [
        "--version 1.4.1",
        "--version v1.4.1",
        "--channel latest/stable",
        "--channel latest/edge",
        "--architecture x86_64",
        "--min-from 1.0.0",
    ] {
        repack(&world, wrong).refused(2, "usage");
    }
    // The v is optional on both sides.
    for same in ["--version 1.4.0", "--version v1.4.0"] {
        repack(&world, same).expect(0);
    }
    // A channel of the publisher's own.
    publish(&world, ",\"channel\": \"lts\"");
    repack(&world, "").refused(2, "usage");
    repack(&world, "--channel lts/stable").expect(0);
}

/// Success was reported before the key was looked at, and a keyset was called a type that is
/// unknown.
#[test]
fn a_promotion_is_told_once_it_is_made() {
    let world = releasable();
    let promote = "promote v.sbb --roots k/roots.toml --policy release.toml --to latest/beta";
    let run = world.run(&format!("{promote} --key k/release-1.pem --out p.sbs")).expect(1);
    assert_eq!(run.stdout, "", "{run:?}");
    let made = world.run(&format!("{promote} --key k/channel-1.pem --out p.sbs")).expect(0).stdout;
    let (step, file) = (made.find("to latest/beta").unwrap(), made.find("p.sbs: ").unwrap());
    assert!(step < file, "{made}");
    for (file, found) in [("k/keyset.sbk", "found a keyset"), ("v.sbb", "found a bundle")] {
        let given =
            format!("{promote} --key k/channel-1.pem --out q.sbs --json --statement {file}");
        let run = world.run(&given).refused(4, "statement");
        assert!(run.stdout.contains(found) && !run.stdout.contains("unknown"), "{run:?}");
    }
}

/// Of a statement it was said, of an index not.
#[test]
fn an_expired_index_is_signed_with_a_warning_and_names_name_their_bounds() {
    use stillboot::verify::{SoftSha256, digest_of};
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors");
    let world = World::new();
    let envelope = |payload_type: u8, payload: &[u8]| {
        let mut bytes = [&b"SBEN\x01"[..], &[payload_type, 1, 0]].concat();
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(97_u32.to_le_bytes());
        bytes.extend(digest_of::<SoftSha256>(payload));
        bytes.extend([&[1][..], &[7; 96], payload].concat());
        bytes
    };
    let index =
        String::from_utf8(fs::read(format!("{vectors}/index/sound.json")).unwrap()).unwrap();
    for (until, is_warned) in [("0", false), ("1000000000", true), ("4000000000", false)] {
        let index = index.replacen("\"until\":1798761600", &format!("\"until\":{until}"), 1);
        let payload = index.trim_end().as_bytes();
        let product = *ChannelIndex::parse(payload).unwrap().product();
        let other = SigningKey::from_seed([5; 32]);
        let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Channel, &other)];
        let signed = sign_envelope(PayloadType::ChannelIndex, &product, payload, &signers);
        world.write("index", signed.unwrap());
        let run = world.run("sign index --key keys/release-1.pem --out made").expect(0);
        let warning = "the channel-index has expired already: 2001-09-09";
        assert_eq!(run.stderr.contains(warning), is_warned, "{until}: {run:?}");
    }
    for name in ["sign-off-without-a-name", "channel-with-a-name"] {
        let payload = fs::read(format!("{vectors}/statement/{name}.bin")).unwrap();
        world.write("s.sbs", envelope(4, &payload));
        let run = world.run("sign s.sbs --key keys/release-1.pem --json").refused(4, "format");
        for part in ["a name of 1 to 16 letters", "every other statement has none", "found `"] {
            assert!(run.stdout.contains(part), "{name}: {run:?}");
        }
    }
}
