//! Keysets, manifests, statements, notes, channel indexes and boot proofs, without envelopes.

use stillboot::format::manifest::flags;
use stillboot::format::notes::{ForeignLoader, LoaderNote, Past, SeenNumber};
use stillboot::format::{
    Architecture, BootProof, Component, Encryption, Key, KeyKind, KeyRole, Keyset, Load, Manifest,
    Notes, Risk, Role, Rule, Slot, Statement, StatementKind,
};
use stillboot_policy::json::{IndexHead, IndexOffer, Patch};

use super::publisher::{FOREIGN, KERNEL, class, component, keyset, manifest, product, raw};
use super::{Set, values};

pub(super) fn all(set: &mut Set) {
    keysets(set);
    manifests(set);
    statements(set);
    notes(set);
    indexes(set);
    proofs(set);
}

fn text<const N: usize>(text: &str) -> heapless::String<N> {
    text.chars().collect()
}

/// Bytes without their last one, and with one more: no payload may be either.
fn lengths(set: &mut Set, format: &'static str, sound: &[u8]) {
    set.refused(format, "nothing", Vec::new(), "short");
    set.refused(format, "a byte too few", sound[..sound.len() - 1].to_vec(), "short");
    set.refused(format, "a byte too many", [sound, &[0]].concat(), "trailing");
    let mut later = sound.to_vec();
    later[0] = 2;
    set.refused(format, "a later version", later, "version");
}

/// The bytes with `with` in the place of the `len` bytes at `at`.
fn replaced(bytes: &[u8], at: usize, len: usize, with: &[u8]) -> Vec<u8> {
    [&bytes[..at], with, &bytes[at + len..]].concat()
}

// Long because it is a table: a vector for each field and each way to be wrong in it.
fn keysets(set: &mut Set) {
    const FORMAT: &str = "keyset";
    let sound = keyset();
    let bytes = raw(&sound);
    set.sound(FORMAT, "sound", bytes.clone(), values::keyset(&sound));
    lengths(set, FORMAT, &bytes);
    let foreign = |kind, name: u8| Key { kind, name: [name; 32], roles: KeyRole::Release.bit() };
    let two_kinds = Keyset {
        rules: {
            let mut rules = sound.rules;
            rules[0] = Rule::ed25519(2).and(KeyKind::MlDsa87, 1);
            rules
        },
        keys: {
            let mut keys = sound.keys.clone();
            let foreign = Key { name: FOREIGN, ..foreign(KeyKind::MlDsa87, 0) };
            keys.push(foreign).expect("room for one more");
            keys
        },
        ..sound.clone()
    };
    let value = values::keyset(&two_kinds);
    set.sound(FORMAT, "a rule of two kinds", raw(&two_kinds), value);
    // Version 300 is `ac 02`.
    let padded = replaced(&bytes, 1, 2, &[0xac, 0x82, 0]);
    set.refused(FORMAT, "version with a zero group", padded, "canonical");
    let long = replaced(&bytes, 1, 2, &[0xff, 0xff, 0xff, 0xff, 0x1f]);
    set.refused(FORMAT, "version above its type", long, "malformed");
    let many = replaced(&bytes, 27, 1, &[9]);
    set.refused(FORMAT, "nine keys", many, "malformed");

    let mut change = |what, kind, change: &dyn Fn(&mut Keyset)| {
        let mut keyset = two_kinds.clone();
        change(&mut keyset);
        set.refused(FORMAT, what, raw(&keyset), kind);
    };
    change("version 0", "bounds", &|keyset| keyset.version = 0);
    change("version 4294967295", "bounds", &|keyset| keyset.version = u32::MAX);
    change("no key", "bounds", &|keyset| {
        keyset.keys.clear();
        keyset.rules = [Rule::NONE; 6];
    });
    change("key without a role", "bounds", &|keyset| keyset.keys[0].roles = 0);
    change("key of both release roles", "bounds", &|keyset| keyset.keys[0].roles |= 0x04);
    change("key twice", "duplicate", &|keyset| keyset.keys[1].name = keyset.keys[0].name);
    change("threshold 0", "bounds", &|keyset| keyset.rules[1].0 = [1, 0, 0, 0]);
    change("threshold above keys", "bounds", &|keyset| keyset.rules[1].0 = [1, 2, 0, 0]);
    change("threshold above the most of its kind", "bounds", &|keyset| {
        keyset.rules[0] = Rule::ed25519(2).and(KeyKind::MlDsa87, 2);
        keyset.keys[1] = foreign(KeyKind::MlDsa87, 9);
        keyset.keys[2].roles |= KeyRole::Release.bit();
    });
    change("rule with kinds out of order", "bounds", &|keyset| keyset.rules[0].0 = [7, 1, 1, 2]);
    change("rule with a kind twice", "bounds", &|keyset| {
        keyset.rules[1] = Rule::ed25519(1).and(KeyKind::Ed25519, 1);
    });
    change("rule without a first part", "bounds", &|keyset| keyset.rules[1].0 = [0, 0, 1, 1]);
    change(
        "rule with the threshold of a first part and the kind of a second",
        "bounds",
        &|keyset| {
            keyset.rules[1].0 = [0, 1, 1, 0];
        },
    );
    change("no rule for a role with keys", "bounds", &|keyset| keyset.rules[1] = Rule::NONE);
    change("rule of a role without keys", "bounds", &|keyset| {
        keyset.keys[2].roles = KeyRole::Release.bit();
    });
    change("key of a kind that the rule does not name", "bounds", &|keyset| {
        keyset.rules[0] = Rule::ed25519(2);
    });

    let mut unknown = |what, field, number, change: &dyn Fn(&mut Keyset)| {
        let mut keyset = two_kinds.clone();
        change(&mut keyset);
        set.unknown(FORMAT, what, raw(&keyset), field, number);
    };
    unknown("unknown kind of key", "kind", 8, &|keyset| keyset.keys[7].kind = KeyKind::Unknown(8));
    unknown("unknown kind in a rule", "kind", 8, &|keyset| keyset.rules[0].0 = [1, 2, 8, 1]);
    unknown("key with an unknown role", "roles", 65, &|keyset| keyset.keys[0].roles |= 0x40);

    // Two faults each: the first in the order of checks is reported.
    unknown("unknown kind of a key without a role", "kind", 99, &|keyset| {
        keyset.keys[0].kind = KeyKind::Unknown(99);
        keyset.keys[0].roles = 0;
    });
    unknown("unknown role of a key that is there twice", "roles", 64, &|keyset| {
        keyset.keys[1].name = keyset.keys[0].name;
        keyset.keys[1].roles = 0x40;
    });
    unknown("unknown kind before a lower one in a rule", "kind", 9, &|keyset| {
        keyset.rules[0].0 = [9, 1, 5, 1];
    });
    unknown("unknown kind in a rule of more keys than there are", "kind", 200, &|keyset| {
        keyset.rules[1].0 = [1, 9, 200, 1];
    });
    unknown("unknown kind in the last rule and thresholds of the first", "kind", 200, &|keyset| {
        keyset.rules[0].0 = [1, 9, 7, 1];
        keyset.rules[5].0 = [1, 1, 200, 1];
    });
    unknown("unknown kinds in a rule and of a key", "kind", 200, &|keyset| {
        keyset.rules[5].0 = [1, 1, 200, 1];
        keyset.keys[0].kind = KeyKind::Unknown(99);
    });
    let mut twice = two_kinds.clone();
    twice.keys[1].name = twice.keys[0].name;
    twice.keys[2].kind = KeyKind::Unknown(99);
    set.refused(FORMAT, "key twice and then an unknown kind", raw(&twice), "duplicate");
    let mut kind = two_kinds;
    kind.keys[0].kind = KeyKind::Unknown(99);
    let longer = [&raw(&kind)[..], &[0]].concat();
    set.refused(FORMAT, "unknown kind of key and a byte too many", longer, "trailing");
}

/// A manifest with everything that a manifest can have.
fn full() -> Manifest {
    let base = manifest();
    let other = |role, load, linked, length| Component {
        load,
        linked,
        length,
        ..component(role, base.chunk_size, KERNEL)
    };
    Manifest {
        flags: flags::KNOWN,
        sequence: u64::MAX - 1,
        level: u32::MAX - 1,
        not_after: u64::MAX,
        rollout: 100,
        components: [
            other(Role::Uki, Load::Ram, 1, 1),
            other(Role::Uki, Load::Xip, 2, 1 << 32),
            other(Role::Initramfs, Load::Ram, 0, 4097),
            other(Role::Cmdline, Load::Ram, 3, 4096),
            other(Role::Dtbs, Load::Ram, 4, 300),
            other(Role::Rootfs, Load::Late, 0, 5_000_000_000),
            other(Role::Verity, Load::Late, 0, 1 << 20),
            other(Role::Data, Load::Late, 0, 127),
        ]
        .into_iter()
        .collect(),
        ..base.clone()
    }
}

// Long because it is a table: a vector for each field and each way to be wrong in it.
fn manifests(set: &mut Set) {
    const FORMAT: &str = "manifest";
    let base = manifest();
    let bytes = raw(&base);
    set.sound(FORMAT, "sound", bytes.clone(), values::manifest(&base));
    set.sound(FORMAT, "all that there is", raw(&full()), values::manifest(&full()));
    let least = Manifest {
        revision_min: 0,
        revision_max: 0,
        version: text("~"),
        sequence: 0,
        level: 0,
        min_from: text(""),
        channel: stillboot::format::Channel {
            track: text("t"),
            risk: Risk::Stable,
            branch: text(""),
        },
        architecture: Architecture::Any,
        not_after: 0,
        rollout: 0,
        flags: 0,
        epochs: stillboot::format::Epochs::default(),
        ..base.clone()
    };
    set.sound(FORMAT, "as little as there can be", raw(&least), values::manifest(&least));
    lengths(set, FORMAT, &bytes);
    // Behind schema, product and class stand the revisions, 1 and 3.
    assert_eq!(bytes[33..35], [1, 3]);
    let padded = replaced(&bytes, 33, 1, &[0x81, 0]);
    set.refused(FORMAT, "revision with a zero group", padded, "canonical");
    let long = replaced(&bytes, 34, 1, &[0xff, 0xff, 0x04]);
    set.refused(FORMAT, "revision above its type", long, "malformed");
    let endless = replaced(&bytes, 34, 1, &[0x83, 0x80, 0x80, 0]);
    set.refused(FORMAT, "revision of four groups", endless, "malformed");
    let wide = replaced(&bytes, 36, 1, &[0xe9]);
    set.refused(FORMAT, "version that is not ASCII", wide, "malformed");
    let long = [&[33][..], &[b'1'; 33]].concat();
    set.refused(FORMAT, "version of 33 bytes", replaced(&bytes, 35, 13, &long), "malformed");

    let mut change = |what, kind, change: &dyn Fn(&mut Manifest)| {
        let mut manifest = base.clone();
        change(&mut manifest);
        set.refused(FORMAT, what, raw(&manifest), kind);
    };
    change("revisions in the wrong order", "bounds", &|manifest| manifest.revision_min = 4);
    change("no version", "bounds", &|manifest| manifest.version.clear());
    change("version with a space", "bounds", &|manifest| manifest.version = text("1 2"));
    change("sequence 18446744073709551615", "bounds", &|manifest| manifest.sequence = u64::MAX);
    change("level 4294967295", "bounds", &|manifest| manifest.level = u32::MAX);
    change("min_from with a slash", "bounds", &|manifest| manifest.min_from = text("1/2"));
    change("no track", "bounds", &|manifest| manifest.channel.track.clear());
    change("branch with a line feed", "bounds", &|manifest| manifest.channel.branch = text("a\n"));
    change("epoch below those that are read", "bounds", &|manifest| manifest.epochs.writes = 0);
    change("epoch above those that are read", "bounds", &|manifest| manifest.epochs.writes = 301);
    change("rollout 101", "bounds", &|manifest| manifest.rollout = 101);
    change("chunk size 2048", "bounds", &|manifest| manifest.chunk_size = 2048);
    change("chunk size 5000", "bounds", &|manifest| manifest.chunk_size = 5000);
    change("chunk size 2097152", "bounds", &|manifest| manifest.chunk_size = 2 << 20);
    change("no component", "bounds", &|manifest| manifest.components.clear());
    change("component of no bytes", "bounds", &|manifest| manifest.components[0].length = 0);
    change("component of more than 2 to the 48", "bounds", &|manifest| {
        manifest.chunk_size = 1 << 20;
        manifest.components[0].length = (1 << 48) + 1;
    });
    change("too many chunks", "bounds", &|manifest| {
        let mut second = manifest.components[0].clone();
        second.role = Role::Initramfs;
        manifest.components[0].length = 4096 << 24;
        manifest.components.push(second).expect("room for a second one");
    });
    change("role twice", "duplicate", &|manifest| {
        let first = manifest.components[0].clone();
        manifest.components.push(first).expect("room for a second one");
    });
    change("role twice of which one is for every slot", "duplicate", &|manifest| {
        let first = manifest.components[0].clone();
        manifest.components.push(Component { linked: 2, ..first }).expect("room for a second one");
    });

    let mut unknown = |what, field, number, change: &dyn Fn(&mut Manifest)| {
        let mut manifest = base.clone();
        change(&mut manifest);
        set.unknown(FORMAT, what, raw(&manifest), field, number);
    };
    unknown("unknown role", "role", 10, &|manifest| {
        manifest.components[0].role = Role::Unknown(10);
    });
    unknown("unknown load class", "load", 3, &|manifest| {
        manifest.components[0].load = Load::Unknown(3);
    });
    unknown("unknown slot", "linked", 5, &|manifest| manifest.components[0].linked = 5);
    unknown("unknown encryption", "encryption", 2, &|manifest| {
        manifest.components[0].encryption = Encryption::Unknown(2);
    });
    unknown("unknown risk", "risk", 4, &|manifest| manifest.channel.risk = Risk::Unknown(4));
    unknown("unknown architecture", "architecture", 10, &|manifest| {
        manifest.architecture = Architecture::Unknown(10);
    });
    unknown("reserved flag ENCRYPTED", "flags", 5, &|manifest| manifest.flags |= flags::ENCRYPTED);
    unknown("unknown flag", "flags", 9, &|manifest| manifest.flags |= 8);
    // Two faults each: the first in the order of checks is reported.
    unknown("unknown risk and a branch with a line feed", "risk", 4, &|manifest| {
        manifest.channel.risk = Risk::Unknown(4);
        manifest.channel.branch = text("a\n");
    });
    unknown("unknown role and then a role twice", "role", 10, &|manifest| {
        let first = manifest.components[0].clone();
        manifest.components[0].role = Role::Unknown(10);
        for _ in 0..2 {
            manifest.components.push(first.clone()).expect("room for two more");
        }
    });
    unknown(
        "unknown encryption of the last component and an unknown risk",
        "encryption",
        2,
        &|m| {
            m.channel.risk = Risk::Unknown(4);
            m.components[0].encryption = Encryption::Unknown(2);
        },
    );

    // The reserved encryption brings two fields: id of the key, first counter block.
    let mut encrypted = base;
    encrypted.components[0].encryption = Encryption::Aes256Ctr;
    let bytes = raw(&encrypted);
    // Behind the code stand a length of one byte and two digests.
    let fields = [&[0xc1; 8][..], &[0xc2; 16]].concat();
    let bytes = replaced(&bytes, bytes.len() - 65, 0, &fields);
    set.unknown(FORMAT, "reserved encryption with its fields", bytes, "encryption", 1);
}

/// A statement of the kind about [`manifest`].
pub(super) fn statement(kind: StatementKind) -> Statement {
    let manifest = manifest();
    let digest = stillboot::verify::digest_of::<stillboot::verify::SoftSha256>(&raw(&manifest));
    Statement {
        schema: 1,
        kind,
        digest,
        number: 300,
        product: product(),
        channel: manifest.channel,
        rollout: 50,
        not_after: 1_900_000_000,
        name: if kind == StatementKind::SignOff { text("tests") } else { text("") },
    }
}

fn statements(set: &mut Set) {
    const FORMAT: &str = "statement";
    for kind in StatementKind::ALL {
        let found = statement(*kind);
        set.sound(FORMAT, kind.name(), raw(&found), values::statement(&found));
    }
    let base = statement(StatementKind::Channel);
    lengths(set, FORMAT, &raw(&base));
    let mut change = |what, kind, change: &dyn Fn(&mut Statement)| {
        let mut statement = base.clone();
        change(&mut statement);
        set.refused(FORMAT, what, raw(&statement), kind);
    };
    change("number 0", "bounds", &|statement| statement.number = 0);
    change("number 9007199254740992", "bounds", &|statement| statement.number = 1 << 53);
    change("rollout 101", "bounds", &|statement| statement.rollout = 101);
    change("track with a space", "bounds", &|statement| statement.channel.track = text("a b"));
    change("channel with a name", "bounds", &|statement| statement.name = text("tests"));
    change("sign-off without a name", "bounds", &|statement| {
        statement.kind = StatementKind::SignOff;
    });
    let mut kind = base.clone();
    kind.kind = StatementKind::Unknown(4);
    set.unknown(FORMAT, "unknown kind", raw(&kind), "kind", 4);
    let mut risk = base;
    risk.channel.risk = Risk::Unknown(4);
    set.unknown(FORMAT, "unknown risk", raw(&risk), "risk", 4);
}

/// Notes with something in every field.
pub(super) fn full_notes() -> Notes {
    let mut notes = Notes {
        loader: LoaderNote { kind: ForeignLoader::UBoot, needs: text("/dev/mmcblk0 0x40000") },
        index_issue: 300,
        ..Notes::default()
    };
    for number in 1..=2_u8 {
        notes.confirmed(Past {
            version: text(&format!("{number}.0")),
            keyset_version: 3,
            sequence: 1000 + u64::from(number),
            at: 1_700_000_000,
        });
        notes.went_by(SeenNumber {
            digest: [number; 32],
            kind: StatementKind::ALL[usize::from(number)],
            number: (1 << 53) - 1,
        });
    }
    notes
}

fn notes(set: &mut Set) {
    const FORMAT: &str = "notes";
    let base = full_notes();
    let bytes = raw(&base);
    set.sound(FORMAT, "sound", bytes.clone(), values::notes(&base));
    let least = Notes::default();
    set.sound(FORMAT, "empty", raw(&least), values::notes(&least));
    let later = replaced(&bytes, 0, 1, &[2]);
    set.refused(FORMAT, "a later version", later, "version");
    set.refused(FORMAT, "a byte too many", [&bytes[..], &[0]].concat(), "trailing");
    let mut change = |what, kind, change: &dyn Fn(&mut Notes)| {
        let mut notes = base.clone();
        change(&mut notes);
        set.refused(FORMAT, what, raw(&notes), kind);
    };
    change("needs with a tab", "bounds", &|notes| notes.loader.needs = text("a\tb"));
    change("history without a version", "bounds", &|notes| notes.history[0].version.clear());
    change("number 0", "bounds", &|notes| notes.statements[0].number = 0);
    let mut loader = base.clone();
    loader.loader.kind = ForeignLoader::Unknown(8);
    set.unknown(FORMAT, "unknown boot loader", raw(&loader), "kind", 8);
    let mut seen = base;
    seen.statements[1].kind = StatementKind::Unknown(4);
    set.unknown(FORMAT, "unknown kind of statement", raw(&seen), "kind", 4);
}

/// A channel index with offers and patches.
pub(super) fn index() -> Vec<u8> {
    let offer = |risk, branch: &str, digest: u8| IndexOffer {
        risk,
        branch: text(branch),
        digest: [digest; 32],
        version: text("1.2.3-rc.1+b"),
        size: (1 << 53) - 1,
        url: text("https://example.org/a%20b?x=[1]&y=(2)#~!$*+,;:@"),
        since: 1_767_225_600,
        until: 1_798_761_600,
    };
    let patch = |from: u8, to: u8| Patch {
        from: [from; 32],
        to: [to; 32],
        size: 1,
        url: text("https://example.org/p.sbd"),
    };
    // By risk as its code, not as its name; by patch as `to` before `from`.
    let offers = [
        offer(Risk::Candidate, "a", 2),
        offer(Risk::Candidate, "a", 3),
        IndexOffer { since: 0, until: 0, ..offer(Risk::Beta, "", 1) },
    ];
    let patches = [patch(0xc1, 0xab), patch(0xc2, 0xab), patch(0x01, 0xb0)];
    let head = IndexHead {
        schema: 1,
        product: product(),
        track: text("latest"),
        issue: 7,
        until: 1_798_761_600,
    };
    let mut bytes = vec![0; 4096];
    let len = head.emit(&offers, &patches, &mut bytes).expect("a sound index");
    bytes.truncate(len);
    bytes
}

fn indexes(set: &mut Set) {
    const FORMAT: &str = "index";
    let bytes = index();
    let sound = String::from_utf8(bytes.clone()).expect("ASCII");
    // Read by a general reader of JSON.
    set.sound(FORMAT, "sound", bytes, serde_json::from_str(&sound).expect("JSON"));
    let empty = format!(
        "{{\"schema\":1,\"product\":\"{}\",\"track\":\"t\",\"issue\":1,\"until\":0,\
         \"offers\":[],\"patches\":[]}}",
        values::hex(&product())
    );
    let value = serde_json::from_str(&empty).expect("JSON");
    set.sound(FORMAT, "empty", empty.clone().into_bytes(), value);

    let mut change = |what: &str, from: &str, to: &str| {
        assert_eq!(sound.matches(from).count(), 1, "{what}");
        set.refused(FORMAT, what, sound.replace(from, to).into_bytes(), "malformed");
    };
    change("space", "\"issue\":7", "\"issue\": 7");
    change("escape", "\"track\":\"latest\"", "\"track\":\"\\u006catest\"");
    change("tab in a string", "\"track\":\"latest\"", "\"track\":\"a\tb\"");
    change("byte above 127", "\"track\":\"latest\"", "\"track\":\"\u{e9}\"");
    change(
        "fields in another order",
        "\"issue\":7,\"until\":1798761600",
        "\"until\":0,\"issue\":7",
    );
    change("field missing", "\"issue\":7,", "");
    change("field too many", "\"issue\":7,", "\"issue\":7,\"more\":1,");
    change("field twice", "\"issue\":7,", "\"issue\":7,\"issue\":7,");
    change("number as a string", "\"issue\":7", "\"issue\":\"7\"");
    change("number with a leading zero", "\"issue\":7", "\"issue\":07");
    change("number with a fraction", "\"issue\":7", "\"issue\":7.0");
    change("number below 0", "\"issue\":7", "\"issue\":-7");
    change("issue 0", "\"issue\":7", "\"issue\":0");
    change("issue 9007199254740992", "\"issue\":7", "\"issue\":9007199254740992");
    change("no track", "\"track\":\"latest\"", "\"track\":\"\"");
    change("track of 17 characters", "\"track\":\"latest\"", "\"track\":\"12345678901234567\"");
    change("unknown risk", "\"risk\":\"beta\"", "\"risk\":\"gamma\"");
    change("branch with a slash", "\"branch\":\"\"", "\"branch\":\"f/x\"");
    let (upper, lower) = ("AB".repeat(32), "ab".repeat(32));
    let first = "\"from\":\"c1";
    let digits = sound.replace(&lower, &upper);
    set.refused(FORMAT, "digits in upper case", digits.into_bytes(), "malformed");
    let same = sound.replace(first, "\"from\":\"c2").replace(&"c1".repeat(31), &"c2".repeat(31));
    set.refused(FORMAT, "patch twice", same.into_bytes(), "malformed");
    let from = sound.replace(&"c1".repeat(32), &lower);
    set.refused(FORMAT, "patch to where it starts", from.into_bytes(), "malformed");
    let order = sound.replace(&"03".repeat(32), &"01".repeat(32));
    set.refused(FORMAT, "offers out of order", order.into_bytes(), "malformed");
    let twice = sound.replace(&"03".repeat(32), &"02".repeat(32));
    set.refused(FORMAT, "offer twice", twice.into_bytes(), "malformed");
    let patches = sound.replace(&"b0".repeat(32), &"aa".repeat(32));
    set.refused(FORMAT, "patches out of order", patches.into_bytes(), "malformed");
    let ended = sound.replace("\"since\":1767225600", "\"since\":1798761600");
    set.refused(FORMAT, "offer that ends when it begins", ended.into_bytes(), "malformed");
    let url = sound.replace("p.sbd", "p sbd");
    set.refused(FORMAT, "URL with a space", url.into_bytes(), "malformed");
    let size = sound.replace("\"size\":1,", "\"size\":0,");
    set.refused(FORMAT, "size 0", size.into_bytes(), "malformed");
    set.refused(FORMAT, "a byte too many", [sound.as_bytes(), b"\n"].concat(), "malformed");
    set.refused(FORMAT, "nothing", Vec::new(), "malformed");
    let later = sound.replace("\"schema\":1,", "\"schema\":2,\"unheard\":[],");
    set.refused(FORMAT, "a later version", later.into_bytes(), "version");
}

fn proofs(set: &mut Set) {
    const FORMAT: &str = "proof";
    let proof = BootProof {
        slot: Slot::Recovery,
        digest: class().repeat(2).try_into().expect("32 bytes"),
        attempt: 0x0f,
        nonce: 0xfedc_ba98_7654_3210,
        keyset_version: 300,
        record_version: 1,
        manifest_schema: 1,
    };
    let good = BootProof { slot: Slot::A, attempt: 0, nonce: 0, ..proof };
    for (what, proof) in [("on trial in recovery", proof), ("good in a", good)] {
        set.sound(FORMAT, what, proof.emit().as_bytes().to_vec(), values::proof(&proof));
    }
    let sound = proof.emit();
    let digest = values::hex(&proof.digest);
    let mut change = |what: &str, text: String| {
        set.refused(FORMAT, what, text.into_bytes(), "malformed");
    };
    change("another format", sound.replacen("1:", "2:", 1));
    change("unknown slot", sound.replace("recovery", "d"));
    change("digits in upper case", sound.replace(&digest, &digest.to_ascii_uppercase()));
    change("number that is short", sound.replace(":0f:", ":f:"));
    change("number that is long", sound.replace(":0f:", ":00f:"));
    change("number with a sign", sound.replace(":0001:", ":+001:"));
    change("field too many", format!("{sound}:00"));
    change("field too few", sound[..sound.len() - 3].to_owned());
    change("line feed behind it", format!("{sound}\n"));
    change("nothing", String::new());
}
