//! Kinds of keys that this build does not have: named, skipped where they may be, and refused by
//! name where a rule asks for them.

use stillboot::format::{
    Envelope, Key, KeyKind, KeyRole, Keyset, Manifest, PayloadType, Rule, Signature, envelope,
};
use stillboot_release::bundle::sign_keyset;
use stillboot_release::keys::{Signer, SigningKey, id_of};

use crate::support::{TRUST, World, noise};

const KIND: KeyKind = KeyKind::MlDsa65;
const NAME: [u8; 32] = [0xab; 32];

/// A world with `next.sbk`: the keyset with a key of another kind, which `rule` of releases may name.
fn world(rule: Option<Rule>) -> World {
    let world = World::new();
    let bytes = world.read("keys/keyset.sbk");
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let mut keyset = Keyset::parse(envelope.payload()).unwrap();
    keyset.version = 2;
    if let Some(rule) = rule {
        let roles = KeyRole::Release.bit();
        keyset.keys.push(Key { kind: KIND, name: NAME, roles }).unwrap();
        keyset.rules[0] = rule;
    }
    let root = SigningKey::read(&world.path("keys/root-1.pem")).unwrap();
    let signers: [&dyn Signer; 1] = [&root];
    world.write("next.sbk", sign_keyset(&keyset, &id_of("gateway"), &signers).unwrap());
    world.write("kernel", noise(1, 9000));
    world
}

/// `bundle` with one more signature of the manifest, of a kind that this build skips.
fn with_other_signature(bundle: &[u8]) -> Vec<u8> {
    let (_, rest) = Envelope::parse(bundle).unwrap();
    let (manifest, body) = Envelope::parse(rest).unwrap();
    let (public, made) = (vec![1; KIND.public_len()], vec![2; KIND.signature_len()]);
    let mut signatures: Vec<_> = manifest.signatures().collect();
    signatures.push(Signature { kind: KIND, name: NAME, public: &public, bytes: &made });
    let mut into = vec![0; envelope::LEN_MAX];
    let len =
        Envelope::emit(PayloadType::Manifest, &signatures, manifest.payload(), &mut into).unwrap();
    [&bundle[..bundle.len() - rest.len()], &into[..len], body].concat()
}

fn pack(world: &World, keyset: &str) -> crate::support::Run {
    world.run(&format!(
        "pack {TRUST} --version 1.0.0 --sequence 1 --kernel kernel --keyset {keyset} \
         --key keys/release-1.pem --out v1.sbb --json"
    ))
}

#[test]
fn a_signature_of_another_kind_is_shown_by_name_and_not_counted() {
    let world = world(None);
    pack(&world, "keys/keyset.sbk").expect(0);
    world.write("v1.sbb", with_other_signature(&world.read("v1.sbb")));
    let shown = world.run("inspect v1.sbb").expect(0).stdout;
    assert!(shown.contains("abababababababab (ml-dsa-65"), "{shown}");
    assert!(!shown.contains("unknown") && !shown.contains("damaged"), "{shown}");
    let shown = world.run("inspect v1.sbb --json").expect(0).json();
    assert_eq!(shown["signatures"][0]["kind"], "ed25519", "{shown}");
    assert_eq!(shown["signatures"][1]["kind"], "ml-dsa-65", "{shown}");
    assert_eq!(shown["signatures"][1]["id"], "abababababababab", "{shown}");
    // It is a bundle like any other, with a longer head.
    world.run("verify v1.sbb --roots keys/roots.toml --class m1").expect(0);
    world.run("disk create disk.img --slot-size 1M").expect(0);
    world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline")).expect(0);
    world.boots("1.0.0");
    world.run(&format!("scrub --disk disk.img {TRUST}")).expect(0);
}

#[test]
fn a_rule_with_another_kind_is_kept_and_refused_by_name() {
    let rule = Rule::ed25519(1).and(KIND, 1);
    let world = world(Some(rule));
    let shown = world.run("keyset show next.sbk --roots keys/roots.toml").expect(0).stdout;
    assert!(shown.contains("1 of ed25519 and 1 of ml-dsa-65 for release"), "{shown}");
    assert!(shown.contains("abababababababab (ml-dsa-65"), "{shown}");
    let shown = world.run("keyset show next.sbk --json").expect(0).json();
    assert_eq!(shown["keyset"]["thresholds"]["release"], 2, "{shown}");
    assert_eq!(shown["keyset"]["rules"]["release"]["ml-dsa-65"], 1, "{shown}");
    assert_eq!(shown["keyset"]["rules"]["release"]["ed25519"], 1, "{shown}");
    let kinds: Vec<_> =
        shown["keyset"]["keys"].as_array().unwrap().iter().map(|key| &key["kind"]).collect();
    assert!(kinds.contains(&&"ml-dsa-65".into()), "{shown}");

    let run = pack(&world, "next.sbk").expect(0);
    assert!(run.stderr.contains("ml-dsa-65 (kind 6)"), "{run:?}");
    let verify = "verify v1.sbb --roots keys/roots.toml --json";
    let text = world.run(verify).refused(4, "trust").json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("ml-dsa-65 (kind 6)"), "{text}");
    // Nor is the weaker part of the rule enough beside a signature of that kind.
    world.write("v1.sbb", with_other_signature(&world.read("v1.sbb")));
    let text = world.run(verify).refused(4, "trust").json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("ml-dsa-65 (kind 6)"), "{text}");

    // The keyset that follows keeps the rule, with a warning, or drops it.
    let next =
        "keyset next next.sbk --roots keys/roots.toml --root keys/root-1.pem --out after.sbk";
    world.run("keygen --out more --product other").expect(0);
    let run = world.run(&format!("{next} --add more/release-1.pub.pem:channel --json")).expect(0);
    assert!(run.stderr.contains("ml-dsa-65 (kind 6)"), "{run:?}");
    assert_eq!(run.json()["keyset"]["rules"]["release"]["ml-dsa-65"], 1, "{run:?}");
    let run = world.run(&format!("{next} --remove abababababababab --threshold release=1 --json"));
    let run = run.expect(0);
    assert!(run.stderr.is_empty(), "{run:?}");
    assert_eq!(run.json()["keyset"]["keys"].as_array().unwrap().len(), 2, "{run:?}");
    let removed = format!("{next} --remove abababababababab --json");
    let run = world.run(&removed).refused(2, "usage");
    assert!(run.json()["error"].as_str().unwrap().contains("ml-dsa-65"), "{run:?}");
}

#[test]
fn rules_are_given_as_numbers_or_by_kinds() {
    let world = world(Some(Rule::ed25519(1).and(KIND, 1)));
    let next = |threshold: &str| {
        let given = [
            "keyset",
            "next",
            "next.sbk",
            "--roots",
            "keys/roots.toml",
            "--root",
            "keys/root-1.pem",
            "--out",
            "after.sbk",
            "--json",
            "--threshold",
            threshold,
        ];
        world.run_exact(&given)
    };
    let run = next("release={ ml-dsa-65 = 1, ed25519 = 1 }").expect(0);
    assert!(run.stderr.contains("devices of this version refuse"), "{run:?}");
    assert_eq!(run.json()["keyset"]["rules"]["release"]["ed25519"], 1, "{run:?}");
    // The key of that kind would count for nothing, which no keyset may have.
    next("release=1").refused(2, "usage");
    next("release={ ml-dsa-65 = 1 }").refused(2, "usage");
    // The form of the advice is the one that such a role needs.
    for threshold in ["release=1", "release={ ml-dsa-65 = 1 }"] {
        let text = next(threshold).refused(2, "usage").json()["error"].as_str().unwrap().to_owned();
        let advice = "give --threshold 'release={ ed25519 = N, ml-dsa-65 = N }'";
        assert!(text.contains(advice), "{threshold}: {text}");
    }
    let text = next("release={ ml-dsa-65 = 1 }").stdout;
    assert!(
        text.contains(
            "1 key of that kind has the role and would count for nothing, found a rule of 1 of"
        ),
        "{text}"
    );
    let text = next("channel=1").refused(2, "usage").stdout;
    let part = "expected a key of ed25519 with the role, for 1 must sign, found none";
    assert!(text.contains(part) && !text.contains("0 to 0"), "{text}");
    for (threshold, part) in [
        ("release={ ed25519 = 1, ed25519 = 1 }", "expected each kind once, found one twice"),
        ("release={ ed25519 = 300 }", "1 to 4"),
        ("release=300", "expected ROLE=N with N from 0 to 4"),
        ("release={ ed25519 = 1, rsa = 1 }", "expected a kind of keys (ed25519, lms-h10"),
        ("release={ ed25519 = 5 }", "1 to 4"),
        ("release={ ml-dsa-65 = 0 }", "1 to 2"),
        ("release={ ed25519 = 1, ml-dsa-44 = 1, ml-dsa-65 = 1 }", "one or two kinds"),
        ("release={}", "one or two kinds"),
        ("release={ ed25519 = 1", "expected ROLE=N"),
        ("release=1\nother=2", "expected ROLE=N"),
    ] {
        let text = next(threshold).refused(2, "usage").json()["error"].to_string();
        assert!(text.contains(part), "{threshold}: {text}");
    }
}

/// It said that the version was outside its bounds.
#[test]
fn no_keyset_follows_the_last_version() {
    let world = world(None);
    let bytes = world.read("keys/keyset.sbk");
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let mut keyset = Keyset::parse(envelope.payload()).unwrap();
    let root = SigningKey::read(&world.path("keys/root-1.pem")).unwrap();
    let signers: [&dyn Signer; 1] = [&root];
    let next = "keyset next last.sbk --roots keys/roots.toml --root keys/root-1.pem --json \
                --threshold release=1 --out after.sbk";
    for (version, code) in [(u32::MAX - 2, 0), (u32::MAX - 1, 4)] {
        keyset.version = version;
        world.write("last.sbk", sign_keyset(&keyset, &id_of("gateway"), &signers).unwrap());
        let run = world.run(next).expect(code);
        if code == 4 {
            let text = run.refused(4, "version").stdout;
            for part in ["found version 4294967294", "none can follow it"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}

/// `sign` and `keyset show` named the bound and not what was found; a rule of a kind that is lacking
/// was answered with the advice for damage.
#[test]
fn faults_name_what_was_found_and_advice_fits_the_fault() {
    let world = world(Some(Rule::ed25519(1).and(KIND, 1)));
    let mut bytes = world.read("keys/keyset.sbk");
    bytes[6] = 0;
    world.write("none.sbk", &bytes);
    for command in ["keyset show none.sbk", "sign none.sbk --product gateway --key keys/root-1.pem"]
    {
        let run = world.run(&format!("{command} --json")).refused(4, "format");
        assert!(run.stdout.contains("found 0"), "{command}: {run:?}");
    }
    pack(&world, "next.sbk").expect(0);
    let run = world.run("verify v1.sbb --roots keys/roots.toml --json").refused(4, "trust");
    let advice = "update this software, or use a keyset without that kind";
    assert!(run.stdout.contains(advice) && !run.stdout.contains("damaged"), "{run:?}");
}

/// A long index was called cut short, and so was an unknown kind of signature.
#[test]
fn an_envelope_is_named_by_its_first_bytes_however_long_it_is() {
    let world = crate::support::World::running();
    let mut index = b"SBEN\x01\x03\x01\0".to_vec();
    index.extend(48_u32.checked_mul(1024).unwrap().to_le_bytes());
    index.extend(97_u32.to_le_bytes());
    index.extend([0; 32]);
    index.push(1);
    index.extend([7; 96 + 48 * 1024]);
    world.write("index", &index);
    let on_disk = "--disk disk.img --roots keys/roots.toml --class m1 --proof proof";
    for (command, kind) in [
        ("inspect index".to_owned(), "format"),
        ("verify index --roots keys/roots.toml".into(), "trust"),
        (format!("install index {on_disk}"), "trust"),
        (format!("install index --stream {on_disk}"), "trust"),
    ] {
        let run = world.run(&format!("{command} --json")).refused(4, kind);
        assert!(
            run.stdout.contains("found a channel-index (payload type 3)"),
            "{command}: {run:?}"
        );
        for part in ["too early", "cut short", "fetch it again"] {
            assert!(!run.stdout.contains(part), "{command}: {run:?}");
        }
    }
    world.write("s.sbs", &index[..index.len() - 1]);
    let run = world.run(&format!("policy check v2.sbb {on_disk} --statement s.sbs --json"));
    let text = run.refused(4, "statement").stdout;
    let part = "expected a statement (payload type 4), found a channel index (payload type 3)";
    assert!(text.contains(part), "{text}");
    let unknown = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/vectors/envelope/unknown-kind-of-signature.bin"
    );
    for command in [format!("verify {unknown}"), format!("verify {unknown} --recovery")] {
        let run = world.run(&format!("{command} --roots keys/roots.toml --json"));
        assert!(run.refused(4, "trust").stdout.contains("kind of signature 8"), "{command}");
    }
}

/// What is reserved has a number and a name, and both are said.
#[test]
fn reserved_codes_are_refused_by_name_and_number() {
    let world = world(None);
    pack(&world, "keys/keyset.sbk").expect(0);
    let bundle = world.read("v1.sbb");
    let (_, rest) = Envelope::parse(&bundle).unwrap();
    let (keyset, rest) = bundle.split_at(bundle.len() - rest.len());
    let (manifest, body) = Envelope::parse(rest).unwrap();
    let sound = Manifest::parse(manifest.payload()).unwrap();
    let release = SigningKey::read(&world.path("keys/release-1.pem")).unwrap();
    // The root of the index stands right behind role, load class, slot, encryption and length.
    let root = &sound.components[0].index_root;
    let at = manifest.payload().windows(32).position(|bytes| bytes == root).unwrap();
    let length_len = if sound.components[0].length < 1 << 14 { 2 } else { 3 };
    let mut payload = manifest.payload().to_vec();
    payload[at - length_len - 1] = 1;
    let signers: [(_, &dyn Signer); 1] = [(KeyRole::Release, &release)];
    let product = id_of("gateway");
    let signed =
        stillboot_release::keys::sign_envelope(PayloadType::Manifest, &product, &payload, &signers);
    world.write("bad.sbb", [keyset, &signed.unwrap(), body].concat());
    for command in ["inspect bad.sbb --json", "verify bad.sbb --roots keys/roots.toml --json"] {
        let text = world.run(command).expect(4).json()["error"].as_str().unwrap().to_owned();
        for part in ["encryption of a component 1", "aes-256-ctr"] {
            assert!(text.contains(part), "{command}: {text}");
        }
        assert!(!text.contains("cannot be decoded"), "{text}");
    }
    // A kind of signatures and a type of payload that no version names yet.
    for (offset, part) in
        [(envelope::HEADER_LEN, "kind of signature 99"), (5, "type of payload 99")]
    {
        let mut bytes = bundle.clone();
        bytes[keyset.len() + offset] = 99;
        world.write("bad.sbb", &bytes);
        for command in ["inspect bad.sbb --json", "verify bad.sbb --roots keys/roots.toml --json"] {
            let text = world.run(command).expect(4).json()["error"].as_str().unwrap().to_owned();
            assert!(text.contains(part), "{command}: {text}");
        }
    }
}
