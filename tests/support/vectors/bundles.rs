//! Envelopes, and what is signed: heads, bundles, releases of the loader, statements, indexes.

use serde_json::{Value, json};
use stillboot::format::{
    Component, Envelope, KeyKind, KeyRole, Keyset, Load, Manifest, PayloadType, Risk, Role, Rule,
    StatementKind,
};

use super::payloads::{index, statement};
use super::publisher::{
    FOREIGN, KERNEL, body, component, key, keyset, manifest, number, raw, sign, signed_keyset,
};
use super::{Set, values};
use crate::forge::{Foreign, with_signatures};
use stillboot_release::keys::Signer as _;

pub(super) fn all(set: &mut Set) {
    envelopes(set);
    heads(set);
    bundles(set);
    loader_releases(set);
    signed_statements(set);
    signed_indexes(set);
}

/// An envelope with a manifest, signed by these release keys.
fn release(manifest: &Manifest, numbers: &[u8]) -> Vec<u8> {
    sign(PayloadType::Manifest, &raw(manifest), KeyRole::Release, numbers)
}

// Long because it is a table: a vector for each field and each way to be wrong in it.
fn envelopes(set: &mut Set) {
    const FORMAT: &str = "envelope";
    // Any bytes will do as a payload here.
    let payload = b"payload";
    let bytes = sign(PayloadType::Manifest, payload, KeyRole::Release, &[number::RELEASE]);
    let mut sound = |what: &str, bytes: Vec<u8>| {
        let (envelope, rest) = Envelope::parse(&bytes).expect("a sound envelope");
        let value = values::envelope(&envelope, bytes.len() - rest.len());
        set.sound(FORMAT, what, bytes, value);
    };
    for payload_type in PayloadType::ALL {
        let bytes = sign(*payload_type, payload, KeyRole::Release, &[number::RELEASE]);
        sound(payload_type.name(), bytes);
    }
    sound("two signatures", sign(PayloadType::Manifest, payload, KeyRole::Root, &[1, 2]));
    sound("four signatures", sign(PayloadType::Manifest, payload, KeyRole::Root, &[1, 2, 3, 4]));
    for kind in KeyKind::ALL.iter().filter(|kind| **kind != KeyKind::Ed25519) {
        let what = format!("signatures by ed25519 and {kind}");
        sound(&what, with_signatures(&bytes, &[Foreign::new(*kind, 1)]));
    }
    sound("bytes behind it", [&bytes[..], b"something else"].concat());

    let mut change = |what, kind, at: usize, with: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + with.len()].copy_from_slice(with);
        set.refused(FORMAT, what, bytes, kind);
    };
    change("another magic", "magic", 0, b"SBEM");
    change("a later version", "version", 4, &[2]);
    change("no signature", "bounds", 6, &[0]);
    change("nine signatures", "bounds", 6, &[9]);
    change("two signatures in the bytes of one", "bounds", 6, &[2]);
    change("reserved byte", "bounds", 7, &[1]);
    change("no payload", "bounds", 8, &[0; 4]);
    change("payload of 1025 bytes", "bounds", 8, &1025_u32.to_le_bytes());
    change("signatures of a byte too few", "bounds", 12, &96_u32.to_le_bytes());
    change("signatures of more than there may be", "bounds", 12, &u32::MAX.to_le_bytes());
    change("wrong digest", "digest", 16, &[0]);
    change("another payload", "digest", 48 + 97, b"P");
    let mut more = [&bytes[..], &[0]].concat();
    more[12] += 1;
    set.refused(FORMAT, "signatures of a byte too many", more, "bounds");
    let cut = |len: usize| bytes[..bytes.len() - len].to_vec();
    set.refused(FORMAT, "a byte too few", cut(1), "short");
    set.refused(FORMAT, "half a header", bytes[..24].to_vec(), "short");
    set.refused(FORMAT, "nothing", Vec::new(), "short");
    let mut other = bytes.clone();
    other[5] = 6;
    set.unknown(FORMAT, "unknown payload type", other, "payload_type", 6);
    let mut other = bytes.clone();
    other[48] = 8;
    set.unknown(FORMAT, "unknown kind of signature", other, "kind", 8);

    // What no writer gives.
    let with = |entries: &[Vec<u8>], payload: &[u8]| {
        let mut bytes = bytes[..48].to_vec();
        let entries = entries.concat();
        let digest = stillboot::verify::digest_of::<stillboot::verify::SoftSha256>(payload);
        bytes[6] = 0;
        bytes[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&(entries.len() as u32).to_le_bytes());
        bytes[16..48].copy_from_slice(&digest);
        bytes.extend(entries);
        bytes.extend(payload);
        bytes
    };
    let counted = |count: u8, entries: &[Vec<u8>], payload: &[u8]| {
        let mut bytes = with(entries, payload);
        bytes[6] = count;
        bytes
    };
    let entry = |kind: KeyKind, name: u8| {
        let mut entry = vec![name; kind.entry_len()];
        entry[0] = kind.code();
        entry
    };
    let two = |one, other| [entry(KeyKind::Ed25519, one), entry(KeyKind::Ed25519, other)];
    let mut refuse = |what, entries: &[Vec<u8>], payload: &[u8]| {
        set.refused(FORMAT, what, counted(entries.len() as u8, entries, payload), "bounds");
    };
    refuse("signatures out of order", &two(2, 1), payload);
    refuse("signatures that are equal", &two(1, 1), payload);
    let kinds = [entry(KeyKind::LmsH10, 1), entry(KeyKind::Ed25519, 2)];
    refuse("kinds out of order", &kinds, payload);
    let five: Vec<_> = (1..=5).map(|name| entry(KeyKind::Ed25519, name)).collect();
    refuse("five signatures of ed25519", &five, payload);
    let three: Vec<_> = (1..=3).map(|name| entry(KeyKind::LmsH10, name)).collect();
    refuse("three signatures of lms-h10", &three, payload);
    let long = [entry(KeyKind::MlDsa65, 1), entry(KeyKind::MlDsa87, 1)];
    refuse("too long as a whole", &long, payload);

    // Two faults each: signatures are judged one after the other.
    let unknown = |name: u8| {
        let mut entry = entry(KeyKind::Ed25519, name);
        entry[0] = 77;
        entry
    };
    let [one, other] = two(2, 1);
    let after = [one.clone(), other.clone(), unknown(3)];
    refuse("signatures out of order and then one of an unknown kind", &after, payload);
    let six: Vec<_> = five.iter().cloned().chain([unknown(1)]).collect();
    refuse("five signatures of ed25519 and then one of an unknown kind", &six, payload);
    let before = counted(3, &[unknown(3), one, other], payload);
    let what = "signature of an unknown kind and then two out of order";
    set.unknown(FORMAT, what, before, "kind", 77);
    // The second is cut off after its kind, and what follows it is the payload.
    let cut = counted(2, &[entry(KeyKind::Ed25519, 1), vec![77]], &[77; 64]);
    set.refused(FORMAT, "kind of a second signature alone", cut, "bounds");
}

/// Keyset and manifest, as a reader gives them for a head.
fn head_value(keyset: Option<&Keyset>, manifest: &Manifest, authority: &str, len: usize) -> Value {
    json!({
        "keyset": keyset.map(values::keyset),
        "manifest": values::manifest(manifest),
        "authority": authority,
        "length": len,
    })
}

fn edge() -> Manifest {
    let mut edge = manifest();
    edge.channel.risk = Risk::Edge;
    edge
}

/// The keyset with another rule for `release`, and with a key of the kind that it names.
fn of_two_kinds() -> Keyset {
    let mut keyset = keyset();
    keyset.rules[0] = Rule::ed25519(1).and(KeyKind::MlDsa87, 1);
    let key = stillboot::format::Key {
        kind: KeyKind::MlDsa87,
        name: FOREIGN,
        roles: KeyRole::Release.bit(),
    };
    keyset.keys.push(key).expect("room for one more");
    keyset
}

// Long because it is a table: a vector for each way to put a head together.
fn heads(set: &mut Set) {
    const FORMAT: &str = "head";
    let (keys, update) = (keyset(), manifest());
    let of_keyset = signed_keyset(&keys);
    let of_manifest = release(&update, &[number::RELEASE]);
    let sound = [&of_keyset[..], &of_manifest].concat();
    let value = |manifest: &Manifest, authority: &str, len| {
        head_value(Some(&keys), manifest, authority, len)
    };

    let plain = value(&update, "release", sound.len());
    set.sound(FORMAT, "sound", sound.clone(), plain.clone()).on("roots");
    let padded = [&sound[..], &[0xff; 100]].concat();
    set.sound(FORMAT, "with padding behind it", padded, plain).on("roots");
    let two = release(&update, &[number::RELEASE, number::RELEASE_2]);
    let bytes = [&of_keyset[..], &two].concat();
    let two = value(&update, "release", bytes.len());
    set.sound(FORMAT, "two release keys", bytes, two).on("roots");
    let bytes = release(&update, &[number::RELEASE, number::STRANGER]);
    let bytes = [&of_keyset[..], &bytes].concat();
    let stranger = value(&update, "release", bytes.len());
    set.sound(FORMAT, "a key that is not known beside one that is", bytes, stranger).on("roots");
    let by_edge = sign(PayloadType::Manifest, &raw(&edge()), KeyRole::EdgeRelease, &[number::EDGE]);
    let bytes = [&of_keyset[..], &by_edge].concat();
    let value_of_edge = value(&edge(), "edge-release", bytes.len());
    set.sound(FORMAT, "by an edge release key", bytes, value_of_edge).on("roots");
    let recovery =
        sign(PayloadType::Manifest, &raw(&update), KeyRole::Recovery, &[number::RECOVERY]);
    let recovery = [&of_keyset[..], &recovery].concat();
    let value_of_recovery = value(&update, "recovery", recovery.len());
    set.sound(FORMAT, "for recovery", recovery.clone(), value_of_recovery)
        .on("roots")
        .with("slot_kind", "recovery");
    let by_two = sign(PayloadType::Keyset, &raw(&keys), KeyRole::Root, &[1, 2]);
    let bytes = [&by_two[..], &of_manifest].concat();
    let value_of_two = value(&update, "release", bytes.len());
    set.sound(FORMAT, "by two roots", bytes, value_of_two).on("two-of-two-roots");
    let foreign = [Foreign::new(KeyKind::MlDsa87, 1)];
    let bytes =
        [&with_signatures(&of_keyset, &foreign)[..], &with_signatures(&of_manifest, &foreign)];
    let bytes = bytes.concat();
    let value_of_foreign = value(&update, "release", bytes.len());
    set.sound(FORMAT, "signatures of ml-dsa-87 beside", bytes, value_of_foreign).on("roots");
    let single = release(&update, &[number::SINGLE]);
    let value_of_single = head_value(None, &update, "key", single.len());
    set.sound(FORMAT, "of a single key", single.clone(), value_of_single).on("single-key");

    let mut refuse = |what, kind, keyset: &[u8], manifest: &[u8]| {
        set.refused(FORMAT, what, [keyset, manifest].concat(), kind).on("roots");
    };
    let stranger = sign(PayloadType::Keyset, &raw(&keys), KeyRole::Root, &[number::STRANGER]);
    refuse("keyset by a key that is no root", "signature", &stranger, &of_manifest);
    let role = sign(PayloadType::Keyset, &raw(&keys), KeyRole::Release, &[number::ROOT]);
    refuse("keyset in another role", "signature", &role, &of_manifest);
    let stranger = release(&update, &[number::STRANGER]);
    refuse("manifest by a key that is not known", "signature", &of_keyset, &stranger);
    let role = sign(PayloadType::Manifest, &raw(&update), KeyRole::Recovery, &[number::RELEASE]);
    refuse("manifest in another role", "signature", &of_keyset, &role);
    let as_statement =
        sign(PayloadType::Statement, &raw(&update), KeyRole::Release, &[number::RELEASE]);
    let mut as_manifest = as_statement.clone();
    as_manifest[5] = PayloadType::Manifest.code();
    refuse("manifest signed as a statement", "signature", &of_keyset, &as_manifest);
    refuse("statement for a manifest", "content", &of_keyset, &as_statement);
    refuse("manifest first", "content", &of_manifest, &of_keyset);
    refuse("without a manifest", "short", &of_keyset, &[]);
    let mut wrong = release(&update, &[number::RELEASE, number::RELEASE_2]);
    // The last byte of the second signature, in S: too large a number is wrong as well.
    wrong[48 + 2 * 97 - 2] ^= 1;
    refuse("one signature of two that is wrong", "signature", &of_keyset, &wrong);
    let mut both = release(&edge(), &[number::RELEASE, number::EDGE]);
    refuse("edge release key in the role release", "signature", &of_keyset, &both);
    both = sign(PayloadType::Manifest, &raw(&update), KeyRole::EdgeRelease, &[number::EDGE]);
    refuse("risk beta by an edge release key", "signature", &of_keyset, &both);
    let mut other = of_manifest.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    refuse("another manifest", "digest", &of_keyset, &other);
    let mut foreign = update.clone();
    foreign.product[0] ^= 1;
    let foreign = release(&foreign, &[number::RELEASE]);
    refuse("another product", "product", &of_keyset, &foreign);
    let mut change = |what, change: &dyn Fn(&mut Manifest)| {
        let mut manifest = update.clone();
        change(&mut manifest);
        refuse(what, "content", &of_keyset, &release(&manifest, &[number::RELEASE]));
    };
    change("another class", &|manifest| manifest.class[0] ^= 1);
    change("later revisions", &|manifest| manifest.revision_min = 3);
    change("earlier revisions", &|manifest| manifest.revision_max = 1);
    change("another architecture", &|manifest| {
        manifest.architecture = stillboot::format::Architecture::X86_64;
    });
    change("a loader in an update", &|manifest| manifest.components[0].role = Role::Loader);
    let mut weak = keys.clone();
    weak.keys[6].name = [0; 32];
    weak.keys[6].name[0] = 1;
    refuse("keyset with a key of small order", "bounds", &signed_keyset(&weak), &of_manifest);
    let mut off = keys.clone();
    off.keys[6].name = [0; 32];
    off.keys[6].name[0] = 2;
    refuse("keyset with a key that is no point", "bounds", &signed_keyset(&off), &of_manifest);

    set.refused(FORMAT, "for recovery in an update slot", recovery, "signature").on("roots");
    set.refused(FORMAT, "an update in recovery", sound.clone(), "signature")
        .on("roots")
        .with("slot_kind", "recovery");
    set.refused(FORMAT, "one root of two", sound.clone(), "signature").on("two-of-two-roots");
    let what = "roots of which one is of a kind that is lacking";
    set.unknown(FORMAT, what, sound, "kind", 7).on("root-of-two-kinds");
    let bytes = [&signed_keyset(&of_two_kinds())[..], &of_manifest].concat();
    let what = "a release key of a kind that is lacking";
    set.unknown(FORMAT, what, bytes, "kind", 7).on("roots");
    let bytes = [&signed_keyset(&of_two_kinds())[..], &by_edge].concat();
    let what = "an edge release key beside release keys of a kind that is lacking";
    set.unknown(FORMAT, what, bytes, "kind", 7).on("roots");
    let mut wrong = single;
    wrong[48 + 97 - 40] ^= 1;
    set.refused(FORMAT, "wrong signature of a single key", wrong, "signature").on("single-key");
    set.refused(FORMAT, "a keyset for a single key", of_keyset, "content").on("single-key");
}

/// Bytes of two chunks.
fn two_chunks() -> Vec<u8> {
    (0..5000_u32).map(|at| (at % 251) as u8).collect()
}

fn bundles(set: &mut Set) {
    const FORMAT: &str = "bundle";
    let (long, keys) = (two_chunks(), keyset());
    let mut update = manifest();
    update.components = [
        component(Role::Kernel, 4096, &long),
        Component { linked: 1, ..component(Role::Dtbs, 4096, KERNEL) },
        Component { linked: 2, ..component(Role::Dtbs, 4096, &KERNEL[1..]) },
    ]
    .into_iter()
    .collect();
    let bodies = [body(4096, &long), body(4096, KERNEL), body(4096, &KERNEL[1..])].concat();
    let of_keyset = signed_keyset(&keys);
    let of =
        |manifest: &Manifest| [&of_keyset[..], &release(manifest, &[number::RELEASE])].concat();
    let head = of(&update);
    let sound = [&head[..], &bodies].concat();
    let value = head_value(Some(&keys), &update, "release", head.len());
    set.sound(FORMAT, "sound", sound.clone(), value).on("roots");
    let simple = manifest();
    let of_recovery =
        sign(PayloadType::Manifest, &raw(&simple), KeyRole::Recovery, &[number::RECOVERY]);
    let head_of_recovery = [&of_keyset[..], &of_recovery].concat();
    let value = head_value(Some(&keys), &simple, "recovery", head_of_recovery.len());
    let bytes = [&head_of_recovery[..], &body(4096, KERNEL)].concat();
    set.sound(FORMAT, "for recovery", bytes, value).on("roots").with("slot_kind", "recovery");
    let single = release(&simple, &[number::SINGLE]);
    let value = head_value(None, &simple, "key", single.len());
    let bytes = [&single[..], &body(4096, KERNEL)].concat();
    set.sound(FORMAT, "of a single key", bytes, value).on("single-key");

    let mut refuse = |what, kind, bytes: Vec<u8>| {
        set.refused(FORMAT, what, bytes, kind).on("roots");
    };
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[head.len() + at] ^= 1;
        bytes
    };
    refuse("a byte of an index that is wrong", "content", flipped(40));
    refuse("a byte of a chunk that is wrong", "content", flipped(64 + 4097));
    refuse("a byte of the last chunk that is wrong", "content", flipped(bodies.len() - 1));
    refuse("a byte too few", "short", sound[..sound.len() - 1].to_vec());
    refuse("an index that ends too early", "short", sound[..head.len() + 33].to_vec());
    refuse("a byte too many", "trailing", [&sound[..], &[0]].concat());
    let mut digest = update.clone();
    digest.components[1].sha256[0] ^= 1;
    refuse("a wrong sha256", "content", [&of(&digest)[..], &bodies].concat());
    let mut root = update;
    root.components[0].index_root[0] ^= 1;
    refuse("a wrong index root", "content", [&of(&root)[..], &bodies].concat());
}

fn loader_releases(set: &mut Set) {
    const FORMAT: &str = "loader-release";
    let mut loader = manifest();
    let of_loader = component(Role::Loader, 4096, KERNEL);
    loader.components = [Component { load: Load::Late, ..of_loader }].into_iter().collect();
    let bodies = body(4096, KERNEL);
    let by = |manifest: &Manifest, role, numbers: &[u8]| {
        let envelope = sign(PayloadType::LoaderRelease, &raw(manifest), role, numbers);
        [&envelope[..], &bodies].concat()
    };
    let by_root = |manifest: &Manifest| by(manifest, KeyRole::Root, &[number::ROOT]);
    let sound = by_root(&loader);
    set.sound(FORMAT, "sound", sound.clone(), values::manifest(&loader)).on("roots");
    let mut refuse = |what, kind, bytes: Vec<u8>| {
        set.refused(FORMAT, what, bytes, kind).on("roots");
    };
    let by_release = by(&loader, KeyRole::Release, &[number::RELEASE]);
    refuse("by a release key", "signature", by_release);
    refuse("a byte too many", "trailing", [&sound[..], &[0]].concat());
    refuse("a byte too few", "short", sound[..sound.len() - 1].to_vec());
    let as_update = sign(PayloadType::Manifest, &raw(&loader), KeyRole::Root, &[number::ROOT]);
    refuse("an envelope with a manifest", "content", [&as_update[..], &bodies].concat());
    let keyset_first = [&signed_keyset(&keyset())[..], &sound].concat();
    refuse("a keyset in front", "content", keyset_first);
    let mut change = |what, change: &dyn Fn(&mut Manifest)| {
        let mut manifest = loader.clone();
        change(&mut manifest);
        refuse(what, "content", by_root(&manifest));
    };
    change("load class ram", &|manifest| manifest.components[0].load = Load::Ram);
    change("linked for a slot", &|manifest| manifest.components[0].linked = 1);
    change("a kernel", &|manifest| manifest.components[0].role = Role::Kernel);
    change("a kernel beside", &|manifest| {
        let kernel = component(Role::Kernel, 4096, KERNEL);
        manifest.components.push(kernel).expect("room for a second one");
    });
    set.refused(FORMAT, "one root of two", sound, "signature").on("two-of-two-roots");
}

/// The vector in front of which the keyset stands.
const BUNDLE: &str = "bundle/sound.sbb";

fn signed_statements(set: &mut Set) {
    const FORMAT: &str = "signed-statement";
    let signed =
        |kind, role, number| sign(PayloadType::Statement, &raw(&statement(kind)), role, &[number]);
    let by = [
        (StatementKind::Channel, KeyRole::Channel, number::CHANNEL),
        (StatementKind::Approval, KeyRole::Approver, number::APPROVER),
        (StatementKind::SignOff, KeyRole::SignOff, number::SIGN_OFF),
    ];
    for (kind, role, number) in by {
        let bytes = signed(kind, role, number);
        let value = values::statement(&statement(kind));
        set.sound(FORMAT, kind.name(), bytes, value).on("roots").with("keyset", BUNDLE);
    }
    let mut refuse = |what, kind, bytes: Vec<u8>| {
        set.refused(FORMAT, what, bytes, kind).on("roots").with("keyset", BUNDLE);
    };
    let sound = signed(StatementKind::Approval, KeyRole::Approver, number::APPROVER);
    let other = signed(StatementKind::Approval, KeyRole::Channel, number::CHANNEL);
    refuse("approval by a channel key", "signature", other);
    let other = signed(StatementKind::Channel, KeyRole::Release, number::RELEASE);
    refuse("channel by a release key", "signature", other);
    refuse("a byte too many", "trailing", [&sound[..], &[0]].concat());
    let mut product = statement(StatementKind::Channel);
    product.product[0] ^= 1;
    let bytes = sign(PayloadType::Statement, &raw(&product), KeyRole::Channel, &[number::CHANNEL]);
    refuse("another product", "product", bytes);
    let as_manifest = release(&manifest(), &[number::RELEASE]);
    refuse("an envelope with a manifest", "content", as_manifest);
}

fn signed_indexes(set: &mut Set) {
    const FORMAT: &str = "signed-index";
    let signed =
        |payload: &[u8], role, number| sign(PayloadType::ChannelIndex, payload, role, &[number]);
    let sound = signed(&index(), KeyRole::Channel, number::CHANNEL);
    let value = serde_json::from_slice(&index()).expect("JSON");
    set.sound(FORMAT, "sound", sound.clone(), value).on("roots").with("keyset", BUNDLE);
    let mut refuse = |what, kind, bytes: Vec<u8>| {
        set.refused(FORMAT, what, bytes, kind).on("roots").with("keyset", BUNDLE);
    };
    refuse("by a release key", "signature", signed(&index(), KeyRole::Release, number::RELEASE));
    refuse("a byte too many", "trailing", [&sound[..], &[0]].concat());
    let text = String::from_utf8(index()).expect("ASCII");
    let ours = values::hex(&super::product());
    let other = text.replace(&ours, &"ab".repeat(16));
    let other = signed(other.as_bytes(), KeyRole::Channel, number::CHANNEL);
    refuse("another product", "product", other);
    let space = signed(text.replace(":7,", ": 7,").as_bytes(), KeyRole::Channel, number::CHANNEL);
    refuse("a space", "malformed", space);
    assert_eq!(key(number::CHANNEL).public(), keyset().keys[4].name);
}
