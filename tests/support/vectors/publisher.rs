//! Keys, signers and devices of the vectors.

use serde_json::{Value, json};
use stillboot::format::{
    Architecture, Channel, Component, Encryption, Epochs, Id, Key, KeyKind, KeyRole, Keyset, Load,
    Manifest, PayloadType, Risk, Role, Rule,
};
use stillboot::verify::{IndexFold, RootKey, SoftSha256, digest_of};
use stillboot_release::keys::{Roots, Signer, SigningKey, id_of, public_to_pem, sign_envelope};

use super::Set;
use super::values::hex;

/// The hardware revision of all devices of the vectors.
pub const REVISION: u16 = 2;

/// Numbers of the keys, as in `stillboot vector key N`.
pub(super) mod number {
    pub(crate) const ROOT: u8 = 1;
    pub(crate) const ROOT_2: u8 = 2;
    pub(crate) const RELEASE: u8 = 3;
    pub(crate) const RELEASE_2: u8 = 4;
    pub(crate) const RECOVERY: u8 = 5;
    pub(crate) const EDGE: u8 = 6;
    pub(crate) const CHANNEL: u8 = 7;
    pub(crate) const APPROVER: u8 = 8;
    pub(crate) const SIGN_OFF: u8 = 9;
    pub(crate) const SINGLE: u8 = 10;
    pub(crate) const STRANGER: u8 = 11;
}

const PRODUCT: &str = "stillboot vectors";

/// Key `number` of the vectors. It is public.
#[must_use]
pub fn key(number: u8) -> SigningKey {
    let seed = format!("stillboot vector key {number}");
    SigningKey::from_seed(digest_of::<SoftSha256>(seed.as_bytes()))
}

/// The product of all vectors.
#[must_use]
pub fn product() -> Id {
    id_of(PRODUCT)
}

/// The class of all devices of the vectors.
#[must_use]
pub fn class() -> Id {
    id_of("stillboot vectors class")
}

/// The name of a key of a kind that present builds do not check.
pub(super) const FOREIGN: [u8; 32] = [0xf7; 32];

/// The devices that read the vectors, by name.
pub(super) fn devices() -> Value {
    let root = |number| json!({"kind": "ed25519", "name": hex(&key(number).public())});
    let foreign = json!({"kind": "ml-dsa-87", "name": hex(&FOREIGN)});
    let roots = |rule: Rule, keys: Vec<Value>| json!({"roots": {"rules": {"root": hex(&rule.0)}, "keys": keys}});
    let device = |trust: Value| {
        json!({
            "product": hex(&product()),
            "class": hex(&class()),
            "revision": REVISION,
            "architecture": "aarch64",
            "trust": trust,
        })
    };
    let both = vec![root(number::ROOT), root(number::ROOT_2)];
    let lacking = Rule::ed25519(1).and(KeyKind::MlDsa87, 1);
    json!({
        "roots": device(roots(Rule::ed25519(1), both.clone())),
        "two-of-two-roots": device(roots(Rule::ed25519(2), both)),
        "root-of-two-kinds": device(roots(lacking, vec![root(number::ROOT), foreign])),
        "single-key": device(json!({"key": hex(&key(number::SINGLE).public())})),
    })
}

/// The root keys that most devices have.
pub(super) fn root_keys() -> [RootKey; 2] {
    [number::ROOT, number::ROOT_2].map(|number| RootKey::ed25519(key(number).public()))
}

/// The keyset of the vectors.
pub(super) fn keyset() -> Keyset {
    let one = |number, role: KeyRole| Key {
        kind: KeyKind::Ed25519,
        name: key(number).public(),
        roles: role.bit(),
    };
    Keyset {
        schema: 1,
        version: 300,
        rules: [1, 1, 1, 1, 1, 1].map(Rule::ed25519),
        keys: [
            one(number::RELEASE, KeyRole::Release),
            one(number::RELEASE_2, KeyRole::Release),
            one(number::RECOVERY, KeyRole::Recovery),
            one(number::EDGE, KeyRole::EdgeRelease),
            one(number::CHANNEL, KeyRole::Channel),
            one(number::APPROVER, KeyRole::Approver),
            one(number::SIGN_OFF, KeyRole::SignOff),
        ]
        .into_iter()
        .collect(),
    }
}

/// The bytes of a keyset, also of one that breaks rules.
pub(super) fn raw<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    postcard::to_slice(value, &mut bytes).expect("room").to_vec()
}

/// An envelope, signed in this role by the keys of these numbers.
pub(super) fn sign(
    payload_type: PayloadType,
    payload: &[u8],
    role: KeyRole,
    numbers: &[u8],
) -> Vec<u8> {
    let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
    let signers: Vec<_> = keys.iter().map(|key| (role, key as &dyn Signer)).collect();
    sign_envelope(payload_type, &product(), payload, &signers).expect("room for all of them")
}

/// The envelope of a keyset, signed by the first root.
pub(super) fn signed_keyset(keyset: &Keyset) -> Vec<u8> {
    sign(PayloadType::Keyset, &raw(keyset), KeyRole::Root, &[number::ROOT])
}

/// A component and its bytes.
pub(super) fn component(role: Role, chunk_size: u32, bytes: &[u8]) -> Component {
    let mut fold = IndexFold::<SoftSha256>::new(bytes.len() as u64, chunk_size);
    fold.bytes(bytes);
    Component {
        role,
        load: Load::Ram,
        linked: 0,
        encryption: Encryption::None,
        length: bytes.len() as u64,
        index_root: fold.finish(),
        sha256: digest_of::<SoftSha256>(bytes),
    }
}

/// The index of a component and its bytes, as they stand in a bundle.
pub(super) fn body(chunk_size: u32, bytes: &[u8]) -> Vec<u8> {
    let chunks = bytes.chunks(chunk_size as usize);
    let mut body = chunks.flat_map(digest_of::<SoftSha256>).collect::<Vec<_>>();
    body.extend(bytes);
    body
}

/// A manifest for the devices of the vectors, with one component.
pub(super) fn manifest() -> Manifest {
    let text = |text: &str| text.chars().collect();
    Manifest {
        schema: 1,
        product: product(),
        class: class(),
        revision_min: 1,
        revision_max: 3,
        version: text("1.2.3-rc.1+b"),
        sequence: 70_000,
        level: 5,
        min_from: text("1.0.0"),
        channel: Channel {
            track: text("latest").chars().collect(),
            risk: Risk::Beta,
            branch: text("fix").chars().collect(),
        },
        architecture: Architecture::Aarch64,
        not_after: 1_800_000_000,
        epochs: Epochs { reads_min: 1, reads_max: 300, writes: 2 },
        rollout: 25,
        flags: 1,
        chunk_size: 4096,
        components: [component(Role::Kernel, 4096, KERNEL)].into_iter().collect(),
    }
}

/// The component of [`manifest`].
pub(super) const KERNEL: &[u8] = b"the kernel of the test vectors";

/// Key files and the file of roots.
pub(super) fn keys(set: &mut Set) {
    let folder = tempfile::tempdir().expect("a folder for a key");
    let names = ["root", "root 2", "release", "release 2", "recovery", "edge release", "channel"];
    let names = names.into_iter().chain(["approver", "sign-off", "single", "stranger"]);
    for (number, name) in (number::ROOT..).zip(names) {
        let key = key(number);
        let path = folder.path().join(number.to_string());
        key.write(&path).expect("a new file");
        let pem = std::fs::read(path).expect("just written");
        let value = json!({ "public": hex(&key.public()) });
        set.sound("secret-key", name, pem.clone(), value.clone());
        set.sound("public-key", name, public_to_pem(&key.public()).into_bytes(), value);
        if number == number::ROOT {
            set.refused("secret-key", "two blocks", [&pem[..], &pem].concat(), "malformed");
        }
    }
    let mut small = [0; 32];
    small[0] = 1;
    let weak = public_to_pem(&small).into_bytes();
    set.refused("public-key", "small order", weak, "malformed");
    let toml = |product: &str, threshold, keys: &[RootKey]| {
        let roots = Roots::new(product, threshold, keys);
        roots.to_toml().expect("plain values").into_bytes()
    };
    let [one, two] = root_keys();
    let value = json!({
        "product": hex(&product()),
        "threshold": 1,
        "keys": [hex(&one.name), hex(&two.name)],
    });
    set.sound("roots", "roots", toml(PRODUCT, 1, &[one, two]), value);
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let value = json!({
        "product": "00112233445566778899aabbccddeeff",
        "threshold": 1,
        "keys": [hex(&one.name)],
    });
    set.sound("roots", "a UUID as product", toml(uuid, 1, &[one]), value);
    set.refused("roots", "threshold 0", toml(PRODUCT, 0, &[one]), "malformed");
    set.refused("roots", "threshold above keys", toml(PRODUCT, 3, &[one, two]), "malformed");
    set.refused("roots", "key twice", toml(PRODUCT, 1, &[one, one]), "malformed");
    set.refused("roots", "no key", toml(PRODUCT, 1, &[]), "malformed");
}
