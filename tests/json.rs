//! The JSON side: one encoding of an index, and every hole of `latest.json` closed, a test each.

use std::fmt::Write as _;

use proptest::prelude::*;
use stillboot::format::manifest::{self, COMPONENTS_MAX};
use stillboot::format::{
    Architecture, Channel, Component, Envelope, Epochs, Key, KeyRole, Keyset, Load, Manifest,
    PayloadType, Risk, Role, keyset,
};
use stillboot::json::index::{OFFERS_MAX, SCHEMA};
use stillboot::json::latest::{DOCUMENT_LEN_MAX, key_from_hex};
use stillboot::json::view::VIEW_LEN_MAX;
use stillboot::json::{
    ChannelIndex, IndexError, Latest, LatestError, NUMBER_MAX, Offer, TextFault, verify_index,
    view_manifest,
};
use stillboot::verify::{Device, SignatureError, SoftSha256, Trust, TrustError};
use stillboot_linux::keys::{Signer as _, SigningKey, sign_envelope};

const PRODUCT: [u8; 16] = *b"example gateway\0";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

// The channel index.

fn offer(risk: Risk, branch: &str) -> Offer {
    Offer {
        risk,
        branch: branch.parse().unwrap(),
        digest: [0xab; 32],
        version: "1.2.3-rc.1+b".parse().unwrap(),
        size: 4096,
        url: "https://example.org/a/1.2.3.sbb?x=1&y=2#z".parse().unwrap(),
        since: 1,
        until: 0,
    }
}

fn index(offers: &[Offer]) -> ChannelIndex {
    ChannelIndex {
        schema: SCHEMA,
        product: PRODUCT,
        track: "latest".parse().unwrap(),
        offers: offers.iter().cloned().collect(),
    }
}

fn emitted(index: &ChannelIndex) -> String {
    let mut bytes = [0; 1024];
    let len = index.emit(&mut bytes).unwrap();
    String::from_utf8(bytes[..len].to_vec()).unwrap()
}

fn sample() -> String {
    emitted(&index(&[offer(Risk::Stable, ""), offer(Risk::Edge, "fix-1")]))
}

#[test]
fn index_has_golden_bytes() {
    assert_eq!(
        emitted(&index(&[offer(Risk::Stable, "")])),
        format!(
            "{{\"schema\":1,\"product\":\"6578616d706c65206761746577617900\",\"track\":\"latest\",\
             \"offers\":[{{\"risk\":\"stable\",\"branch\":\"\",\"digest\":\"{}\",\
             \"version\":\"1.2.3-rc.1+b\",\"size\":4096,\
             \"url\":\"https://example.org/a/1.2.3.sbb?x=1&y=2#z\",\"since\":1,\"until\":0}}]}}",
            "ab".repeat(32)
        )
    );
    let nothing = emitted(&index(&[]));
    assert_eq!(ChannelIndex::parse(nothing.as_bytes()), Ok(index(&[])));
}

#[test]
fn four_offers_of_usual_length_fit() {
    let all = index(&Risk::ALL.iter().map(|risk| offer(*risk, "")).collect::<Vec<_>>());
    let text = emitted(&all);
    assert_eq!(ChannelIndex::parse(text.as_bytes()), Ok(all.clone()));
    assert_eq!(all.offers.len(), OFFERS_MAX);
    // What does not fit is said, not cut.
    let mut short = [0; 900];
    assert!(matches!(all.emit(&mut short), Err(IndexError::Text(TextFault::TooLong { .. }))));
    let mut long = all;
    for offer in &mut long.offers {
        offer.url = format!("https://{}", "a".repeat(180)).parse().unwrap();
    }
    let mut room = [0; 4096];
    assert!(matches!(long.emit(&mut room), Err(IndexError::Text(TextFault::TooLong { .. }))));
}

#[test]
fn index_is_refused_unless_it_is_the_one_encoding() {
    let good = sample();
    ChannelIndex::parse(good.as_bytes()).unwrap();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let upper = good.replacen(&"ab".repeat(32), &"AB".repeat(32), 1);
    let other = swap("\"schema\":1", "\"schema\":2");
    let not_canonical = [
        swap(":[", ":[,"),
        swap("{\"schema\"", "{ \"schema\""),
        swap("\"schema\":1,", ""),
        swap("\"since\":1,\"until\":0", "\"until\":0,\"since\":1"),
        format!("{good} "),
        format!(" {good}"),
        upper,
    ];
    for text in &not_canonical {
        let error = ChannelIndex::parse(text.as_bytes()).unwrap_err();
        let expected = matches!(error, IndexError::NotCanonical | IndexError::Malformed);
        assert!(expected, "{text}: {error:?}");
    }
    let malformed = [
        swap("\"schema\":1", "\"schema\":01"),
        swap("\"schema\":1", "\"schema\":1.0"),
        swap("\"schema\":1", "\"schema\":\"1\""),
        swap("\"schema\":1", "\"schema\":1,\"schema\":1"),
        swap("\"schema\":1", "\"schema\":1,\"more\":1"),
        swap("\"schema\":1", "\"schema\":1,\"more\":!! not json"),
        swap("\"track\":\"latest\"", "\"track\":null"),
        swap("\"branch\":\"\",", ""),
        swap("\"size\":4096", "\"size\":-1"),
        swap("\"size\":4096", "\"size\":4e3"),
        swap("\"size\":4096", "\"size\":18446744073709551616"),
        swap("\"digest\":\"ab", "\"digest\":\"a"),
        swap("\"digest\":\"ab", "\"digest\":\"abab"),
        swap("\"digest\":\"ab", "\"digest\":\"xy"),
        good.replace("]}", ",]}"),
        good[..good.len() - 1].to_owned(),
        format!("{good}{{}}"),
        format!("{good}0"),
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
    ];
    for text in &malformed {
        assert_eq!(ChannelIndex::parse(text.as_bytes()), Err(IndexError::Malformed), "{text}");
    }
    assert_eq!(ChannelIndex::parse(other.as_bytes()), Err(IndexError::Schema { found: 2 }));
    for (text, field) in [
        (swap("\"latest\"", "\"\""), "track"),
        (swap("\"latest\"", "\"la test\""), "track"),
        (swap("\"latest\"", "\"a-track-too-long-\""), "track"),
        (swap("\"stable\"", "\"daring\""), "risk"),
        (swap("\"stable\"", "\"unknown\""), "risk"),
        (swap("\"branch\":\"\"", "\"branch\":\"/\""), "branch"),
        (swap("1.2.3-rc.1+b", ""), "version"),
        (swap("1.2.3-rc.1+b", "1 2"), "version"),
        (swap("\"size\":4096", "\"size\":0"), "size"),
        (swap("\"size\":4096", "\"size\":9007199254740992"), "size"),
        (swap("\"since\":1", "\"since\":9007199254740992"), "until"),
        (swap("\"until\":0", "\"until\":1"), "until"),
        (swap("https://example.org/a/1.2.3.sbb?x=1&y=2#z", ""), "url"),
        (swap("https://example.org/a", "https://example.org/ a"), "url"),
    ] {
        let error = ChannelIndex::parse(text.as_bytes());
        assert_eq!(error, Err(IndexError::Bounds { field }), "{text}");
    }
    for text in ["\\u0076", "\u{7f}", "\n", "\0", "é"] {
        let text = swap("latest", text);
        let error = ChannelIndex::parse(text.as_bytes());
        assert!(matches!(error, Err(IndexError::Text(_))), "{text}: {error:?}");
    }
}

#[test]
fn offers_stand_in_one_order_and_once() {
    let emit = |offers: &[Offer]| index(offers).emit(&mut [0; 1024]);
    let (stable, edge) = (offer(Risk::Stable, ""), offer(Risk::Edge, ""));
    emit(&[stable.clone(), edge.clone()]).unwrap();
    emit(&[edge.clone(), offer(Risk::Edge, "fix")]).unwrap();
    assert_eq!(emit(&[edge.clone(), stable.clone()]), Err(IndexError::Order));
    assert_eq!(emit(&[stable.clone(), stable]), Err(IndexError::Order));
    assert_eq!(emit(&[offer(Risk::Edge, "fix"), edge]), Err(IndexError::Order));
}

#[test]
fn offers_with_times_need_a_clock() {
    let timed = Offer { since: 10, until: 20, ..offer(Risk::Stable, "") };
    for (now, stands) in
        [(Some(9), false), (Some(10), true), (Some(19), true), (Some(20), false), (None, false)]
    {
        assert_eq!(timed.stands(now), stands, "{now:?}");
    }
    let always = Offer { since: 0, until: 0, ..timed };
    assert!(always.stands(None) && always.stands(Some(0)) && always.stands(Some(u64::MAX)));
}

#[test]
fn depth_bombs_end_at_their_first_byte() {
    // On a stack that a recursion per level would leave at once.
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(|| {
            let good = sample();
            for open in ["[", "{\"a\":", "{\"offers\":[", "{\"track\":"] {
                let bomb = open.repeat(1024);
                for text in [
                    bomb[..1024].to_owned(),
                    good.replacen("\"offers\":[", &format!("\"offers\":{}", &bomb[..300]), 1),
                    good.replacen("\"latest\"", &bomb[..300], 1),
                    good.replacen("\"schema\":1", &format!("\"x\":{}", &bomb[..300]), 1),
                ] {
                    assert!(ChannelIndex::parse(text.as_bytes()).is_err(), "{text}");
                }
                let bomb = open.repeat(DOCUMENT_LEN_MAX / open.len());
                assert!(release(&bomb).is_err());
                let bomb = &bomb[..1000];
                assert!(release(&format!("{{\"x\":{bomb}")).is_err());
                assert!(release(&format!("{{\"version\":{bomb}")).is_err());
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

fn label() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9][a-zA-Z0-9.+_~-]{0,15}"
}

fn offers() -> impl Strategy<Value = Vec<Offer>> {
    let one = (
        0..4_usize,
        prop_oneof![Just(String::new()), label()],
        any::<[u8; 32]>(),
        (0..1000_u64, 0..1000_u64, 0..1000_u64),
        1..=NUMBER_MAX,
        "https://[a-z0-9./?&=#%-]{1,40}",
        0..NUMBER_MAX,
        any::<bool>(),
    );
    let one = one.prop_map(|(risk, branch, digest, (a, b, c), size, url, since, ends)| Offer {
        risk: Risk::ALL[risk],
        branch: branch.parse().unwrap(),
        digest,
        version: format!("{a}.{b}.{c}").parse().unwrap(),
        size,
        url: url.parse().unwrap(),
        since,
        until: if ends { since + 1 } else { 0 },
    });
    prop::collection::vec(one, 0..4).prop_map(|mut offers| {
        offers.sort_by(|a, b| (a.risk.code(), &a.branch).cmp(&(b.risk.code(), &b.branch)));
        offers.dedup_by(|a, b| (a.risk, &a.branch) == (b.risk, &b.branch));
        offers
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn index_round_trips(track in label(), offers in offers()) {
        let value = ChannelIndex { track: track.parse().unwrap(), ..index(&offers) };
        let mut bytes = [0; 1024];
        if let Ok(len) = value.emit(&mut bytes) {
            prop_assert_eq!(ChannelIndex::parse(&bytes[..len]), Ok(value));
        }
    }

    /// Whatever is accepted is the one encoding of its value.
    #[test]
    fn accepted_index_encodes_to_the_same_bytes(
        offers in offers(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b" ,:{}[]\"\\0189aAfFn.-e\n".to_vec())),
            0..3,
        ),
    ) {
        let mut bytes = [0; 1024];
        let Ok(len) = index(&offers).emit(&mut bytes) else { return Ok(()) };
        let mut bytes = bytes[..len].to_vec();
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(value) = ChannelIndex::parse(&bytes) {
            let mut again = [0; 1024];
            let len = value.emit(&mut again).unwrap();
            prop_assert_eq!(&again[..len], &bytes[..]);
        }
    }

    #[test]
    fn noise_is_no_index_and_no_release(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
        prop_assert!(ChannelIndex::parse(&bytes).is_err());
        let (signature, key) = signed(&bytes);
        prop_assert!(Latest::verify::<SoftSha256>(&bytes, &signature, &key).is_err());
    }
}

/// A keyset in which key 1 may make indexes, and key 2 releases.
fn index_keys() -> Keyset {
    let key = |number, role: KeyRole| Key {
        public: SigningKey::test(number).public(),
        roles: role.bit(),
    };
    Keyset {
        schema: keyset::SCHEMA,
        version: 7,
        thresholds: [1, 0, 0, 1, 0, 0],
        keys: [key(1, KeyRole::Channel), key(2, KeyRole::Release)].into_iter().collect(),
    }
}

fn verify_signed(
    keyset: &Keyset,
    kind: PayloadType,
    signer: u8,
    role: KeyRole,
    product: &[u8; 16],
    payload: &[u8],
) -> Result<(u32, ChannelIndex), IndexError> {
    let bytes =
        sign_envelope(kind, product, payload, &[(role, &SigningKey::test(signer))]).unwrap();
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let roots = [[0; 32]];
    let device = Device {
        trust: Trust::Roots { keys: &roots, threshold: 1 },
        product: PRODUCT,
        class: [0; 16],
        revision: 0,
        architecture: Architecture::Any,
    };
    let verified = verify_index::<SoftSha256>(&device, keyset, &envelope)?;
    Ok((verified.keyset_version(), (*verified).clone()))
}

#[test]
fn index_is_signed_by_channel_keys_only() {
    use KeyRole::{Channel, Release};
    let (keyset, good) = (index_keys(), sample());
    let good = good.as_bytes();
    let index_type = PayloadType::ChannelIndex;
    let (version, value) = verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, good).unwrap();
    assert_eq!((version, emitted(&value).as_bytes()), (7, good));
    let refused = |result: Result<_, IndexError>, expected: IndexError| {
        assert_eq!(result.map(|_| ()), Err(expected));
    };
    let missing = SignatureError::Missing { role: Channel, needed: 1, found: 0 };
    let wrong = SignatureError::Wrong { role: Channel };
    // A release key, and a key that nobody knows.
    let run = |signer, role| verify_signed(&keyset, index_type, signer, role, &PRODUCT, good);
    refused(run(2, Channel), IndexError::Signature(missing));
    refused(run(3, Channel), IndexError::Signature(missing));
    // A channel key in another role, or for another product.
    refused(run(1, Release), IndexError::Signature(wrong));
    let other = verify_signed(&keyset, index_type, 1, Channel, &[1; 16], good);
    refused(other, IndexError::Signature(wrong));
    // Another payload type.
    refused(
        verify_signed(&keyset, PayloadType::Statement, 1, Channel, &PRODUCT, good),
        IndexError::Trust(TrustError::WrongPayload {
            expected: index_type,
            found: PayloadType::Statement,
        }),
    );
    // Signed for this product, and speaking of another one.
    let foreign = emitted(&ChannelIndex { product: [1; 16], ..index(&[]) });
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, foreign.as_bytes()),
        IndexError::Trust(TrustError::WrongProduct),
    );
    // Signed, and not canonical.
    let spaced = format!("{} ", sample());
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, spaced.as_bytes()),
        IndexError::NotCanonical,
    );
    // Nobody has the role.
    let mut nobody = keyset;
    nobody.thresholds = [1, 0, 0, 0, 0, 0];
    refused(
        verify_signed(&nobody, index_type, 1, Channel, &PRODUCT, good),
        IndexError::Signature(SignatureError::NoSuchRole { role: Channel }),
    );
}

// The view.

#[test]
fn view_of_the_longest_manifest_has_room() {
    let component = |role, linked| Component {
        role,
        load: Load::Late,
        linked,
        length: 1,
        index_root: [0xff; 32],
        sha256: [0xff; 32],
    };
    let roles = &Role::ALL[..COMPONENTS_MAX];
    let mut manifest = Manifest {
        schema: manifest::SCHEMA,
        product: [0xff; 16],
        class: [0xff; 16],
        revision_min: u16::MAX,
        revision_max: u16::MAX,
        version: "1".repeat(32).parse().unwrap(),
        sequence: u64::MAX - 1,
        level: u32::MAX - 1,
        min_from: "1".repeat(32).parse().unwrap(),
        channel: Channel {
            track: "t".repeat(16).parse().unwrap(),
            risk: Risk::Candidate,
            branch: "b".repeat(16).parse().unwrap(),
        },
        architecture: Architecture::Thumbv7em,
        not_after: u64::MAX,
        epochs: Epochs { reads_min: u16::MAX, reads_max: u16::MAX, writes: u16::MAX },
        rollout: 100,
        flags: manifest::flags::KNOWN,
        chunk_size: 1 << 20,
        components: roles.iter().map(|role| component(*role, 4)).collect(),
    };
    for component in &mut manifest.components {
        component.length = manifest::COMPONENT_LEN_MAX;
    }
    let mut room = [0; VIEW_LEN_MAX];
    let len = view_manifest(&manifest, &mut room).unwrap();
    assert!(len < VIEW_LEN_MAX && room.starts_with(b"{\"schema\":1,\"product\":\"ffffffff-ffff-"));
    assert!(view_manifest(&manifest, &mut room[..len - 1]).is_err());
    // Nothing that installs takes it for a manifest.
    assert!(Manifest::parse(&room[..len]).is_err());
}

// `latest.json`.

fn publisher() -> SigningKey {
    SigningKey::from_seed([9; 32])
}

fn signed(document: &[u8]) -> ([u8; 64], [u8; 32]) {
    let key = publisher();
    (key.sign(document).unwrap(), key.public())
}

/// What `text`, signed by its publisher, is read as: version, least version, architecture, risk.
fn release(text: &str) -> Result<(String, String, Architecture, Option<Risk>), LatestError> {
    let (signature, key) = signed(text.as_bytes());
    let latest = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key)?;
    Ok((
        latest.version().to_owned(),
        latest.min_from().to_owned(),
        latest.architecture(),
        latest.risk(),
    ))
}

/// A document with `more` after its mandatory fields.
fn document_with(more: &str) -> String {
    format!(
        "{{\n  \"version\": \"v1.4.0\",\n  \"vmlinuz_url\": \"https://example.org/vmlinuz\",\n  \
         \"vmlinuz_sha256\": \"{}\",\n  \"initramfs_url\": \"http://example.org/os.gz\",\n  \
         \"initramfs_sha256\": \"{}\"{more}\n}}\n",
        hex(&[1; 32]),
        hex(&[2; 32])
    )
}

fn document() -> String {
    document_with("")
}

fn replaced(
    from: &str,
    to: &str,
) -> Result<(String, String, Architecture, Option<Risk>), LatestError> {
    let text = document();
    assert!(text.contains(from), "{from}");
    release(&text.replacen(from, to, 1))
}

#[test]
fn latest_is_read_with_all_fields() {
    let text = document_with(
        ",\n\t\"vmlinuz_sig_url\": \"https://example.org/vmlinuz.sig\", \"initramfs_sig_url\": \"\",\
         \"metadata_sig_url\": \"https://example.org/latest.json.sig\",\
         \"release_notes\": \"Fixes [a], {b}: c\", \"release_date\": \"2026-01-01\",\
         \"channel\": \"beta\", \"min_compatible_version\": \"v1.2.0-rc1\",\
         \"architecture\": \"arm64\"",
    );
    let (signature, key) = signed(text.as_bytes());
    let latest = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key).unwrap();
    assert_eq!(latest.version(), "1.4.0");
    assert_eq!(latest.kernel().url, "https://example.org/vmlinuz");
    assert_eq!(latest.kernel().sha256, [1; 32]);
    assert_eq!(latest.kernel().signature_url, "https://example.org/vmlinuz.sig");
    assert_eq!(latest.initramfs().url, "http://example.org/os.gz");
    assert_eq!(latest.initramfs().sha256, [2; 32]);
    assert_eq!(latest.initramfs().signature_url, "");
    assert_eq!((latest.channel(), latest.risk()), ("beta", Some(Risk::Beta)));
    assert_eq!(latest.min_from(), "1.2.0-0");
    assert_eq!(latest.architecture(), Architecture::Aarch64);
    assert_eq!(latest.release_notes(), "Fixes [a], {b}: c");
    assert_eq!(latest.release_date(), "2026-01-01");
}

#[test]
fn latest_without_constraints_is_for_everybody() {
    let expected = ("1.4.0".into(), String::new(), Architecture::Any, Some(Risk::Stable));
    assert_eq!(release(&document()), Ok(expected.clone()));
    // Without the newline, and on one line.
    assert_eq!(release(document().trim_end()), Ok(expected.clone()));
    assert_eq!(release(&document().replace(['\n', ' '], "")), Ok(expected));
}

#[test]
fn latest_maps_architectures_and_channels() {
    for (name, architecture) in [
        ("amd64", Architecture::X86_64),
        ("arm64", Architecture::Aarch64),
        ("arm", Architecture::Armv7),
        ("riscv64", Architecture::Riscv64),
    ] {
        let text = document_with(&format!(",\"architecture\":\"{name}\""));
        assert_eq!(release(&text).unwrap().2, architecture);
    }
    for name in ["x86_64", "AMD64", "386", "amd64 "] {
        let text = document_with(&format!(",\"architecture\":\"{name}\""));
        assert_eq!(release(&text), Err(LatestError::Architecture), "{name}");
    }
    for (name, risk) in [("stable", Some(Risk::Stable)), ("edge", Some(Risk::Edge)), ("lts", None)]
    {
        let text = document_with(&format!(",\"channel\":\"{name}\""));
        assert_eq!(release(&text).unwrap().3, risk);
    }
    let text = document_with(",\"channel\":\"a/b\"");
    assert_eq!(release(&text), Err(LatestError::Channel));
}

#[test]
fn latest_hole_missing_signature() {
    let (text, key) = (document(), publisher().public());
    let check = |signature: &[u8]| {
        Latest::verify::<SoftSha256>(text.as_bytes(), signature, &key).map(|_| ())
    };
    for (signature, found) in
        [(&b""[..], 0), (b"\n", 1), (&[0; 63], 63), (&[0; 65], 65), (&[b'x'; 128], 128)]
    {
        assert_eq!(check(signature), Err(LatestError::SignatureForm { found }));
    }
}

#[test]
fn latest_hole_signature_in_hex_raw_or_with_a_newline() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    let check = |signature: &[u8]| {
        Latest::verify::<SoftSha256>(text.as_bytes(), signature, &key).map(|_| ())
    };
    let digits = hex(&signature);
    check(&signature).unwrap();
    check(digits.as_bytes()).unwrap();
    check(digits.to_uppercase().as_bytes()).unwrap();
    check(format!("{digits}\n").as_bytes()).unwrap();
    for wrong in [
        format!("{digits}\n\n"),
        format!(" {digits}"),
        format!("{digits}00"),
        digits[..126].to_owned(),
        format!("0x{}", &digits[2..]),
    ] {
        let expected = Err(LatestError::SignatureForm { found: wrong.len() });
        assert_eq!(check(wrong.as_bytes()), expected, "{wrong}");
    }
    let mut raw = signature.to_vec();
    raw.push(b'\n');
    assert_eq!(check(&raw), Err(LatestError::SignatureForm { found: 65 }));
}

#[test]
fn latest_hole_key_of_another_form() {
    let key = publisher().public();
    let digits = hex(&key);
    assert_eq!(key_from_hex(digits.as_bytes()), Ok(key));
    assert_eq!(key_from_hex(format!("{digits}\n").as_bytes()), Ok(key));
    for wrong in ["", &digits[..62], &format!("{digits}00"), &format!(" {digits}"), &"g".repeat(64)]
    {
        let expected = Err(LatestError::KeyForm { found: wrong.len() });
        assert_eq!(key_from_hex(wrong.as_bytes()), expected);
    }
}

#[test]
fn latest_hole_key_that_accepts_anything() {
    let text = document();
    // The neutral point and the zero string: keys of small order.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    for key in [neutral, [0; 32]] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&neutral);
        let result = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key);
        assert_eq!(result.map(|_| ()), Err(LatestError::WeakKey));
    }
}

#[test]
fn latest_hole_signed_by_somebody_else() {
    let text = document();
    let stranger = SigningKey::from_seed([8; 32]);
    let signature = stranger.sign(text.as_bytes()).unwrap();
    let result = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &publisher().public());
    assert_eq!(result.map(|_| ()), Err(LatestError::Signature));
}

#[test]
fn latest_hole_old_signature_under_a_new_version() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    for changed in [
        text.replace("v1.4.0", "v9.9.9"),
        text.replace("0101", "0202"),
        text.replace("https://example.org", "https://example.com"),
        text.trim_end().to_owned(),
        format!("{text} "),
        text.replacen("  ", " ", 1),
    ] {
        assert_ne!(changed, text);
        let result = Latest::verify::<SoftSha256>(changed.as_bytes(), &signature, &key);
        assert_eq!(result.map(|_| ()), Err(LatestError::Signature), "{changed}");
    }
}

#[test]
fn latest_hole_signature_is_checked_before_anything_is_parsed() {
    // Of two faults the signature is the one that is told.
    for text in ["", "{", "not json", "{\"more\":1}"] {
        let result = Latest::verify::<SoftSha256>(text.as_bytes(), &[1; 64], &publisher().public());
        let told = matches!(result, Err(LatestError::Signature));
        assert!(told, "{text}: {result:?}");
    }
}

#[test]
fn latest_hole_empty_hash() {
    for (from, field) in [(hex(&[1; 32]), "vmlinuz_sha256"), (hex(&[2; 32]), "initramfs_sha256")] {
        assert_eq!(replaced(&from, ""), Err(LatestError::Missing(field)));
    }
}

#[test]
fn latest_hole_missing_hash() {
    let line = format!("\"vmlinuz_sha256\": \"{}\",", hex(&[1; 32]));
    assert_eq!(replaced(&line, ""), Err(LatestError::Missing("vmlinuz_sha256")));
    let line = format!(",\n  \"initramfs_sha256\": \"{}\"", hex(&[2; 32]));
    assert_eq!(replaced(&line, ""), Err(LatestError::Missing("initramfs_sha256")));
}

#[test]
fn latest_hole_hash_of_another_form() {
    let hash = hex(&[1; 32]);
    for wrong in [&hash[..62], &hash[..63], &"g".repeat(64), &format!("0x{}", &hash[2..])] {
        assert_eq!(replaced(&hash, wrong), Err(LatestError::Hash("vmlinuz_sha256")), "{wrong}");
    }
    let long = format!("{hash}00");
    let expected = LatestError::TooLong { field: "vmlinuz_sha256", max: 64, found: 66 };
    assert_eq!(replaced(&hash, &long), Err(expected));
}

#[test]
fn latest_hole_missing_version() {
    assert_eq!(replaced("v1.4.0", ""), Err(LatestError::Missing("version")));
    assert_eq!(replaced("\"version\": \"v1.4.0\",", ""), Err(LatestError::Missing("version")));
}

#[test]
fn latest_hole_version_that_is_none() {
    for wrong in
        ["1", "1.4", "vv1.4.0", "v", "1.4.0.1", "01.4.0", "1.4.0-", "latest", "1.4.0 ", "V1.4.0"]
    {
        let error = replaced("v1.4.0", wrong);
        assert!(
            matches!(error, Err(LatestError::Version { field: "version", .. })),
            "{wrong}: {error:?}"
        );
    }
    assert_eq!(replaced("v1.4.0", "1.4.0-rc.1+b7").unwrap().0, "1.4.0-rc.1+b7");
    let text = document_with(",\"min_compatible_version\":\"1.2\"");
    let error = release(&text);
    assert!(matches!(error, Err(LatestError::Version { field: "min_compatible_version", .. })));
}

#[test]
fn latest_hole_unknown_field() {
    for more in [
        ",\"more\":\"x\"",
        ",\"Version\":\"v2.0.0\"",
        ",\"version \":\"v2.0.0\"",
        ",\"more\":{\"a\":[1]}",
        ",\"more\":!! not json",
    ] {
        let error = release(&document_with(more));
        assert!(matches!(error, Err(LatestError::Unknown(_))), "{more}: {error:?}");
    }
    // As much of its name as there is room for.
    let long = "x".repeat(200);
    let error = release(&document_with(&format!(",\"{long}\":\"\"")));
    assert_eq!(error, Err(LatestError::Unknown(long[..32].parse().unwrap())));
}

#[test]
fn latest_hole_duplicate_field() {
    for more in [",\"version\":\"v2.0.0\"", ",\"version\":\"v1.4.0\""] {
        assert_eq!(release(&document_with(more)), Err(LatestError::Twice("version")));
    }
    let twice = document_with(",\"channel\":\"\",\"channel\":\"edge\"");
    assert_eq!(release(&twice), Err(LatestError::Twice("channel")));
}

#[test]
fn latest_hole_escaped_field_name() {
    let error = release(&document_with(",\"\\u0076ersion\":\"v2.0.0\""));
    assert!(matches!(error, Err(LatestError::Text(TextFault::Escape { .. }))), "{error:?}");
}

#[test]
fn latest_hole_escape_in_a_value() {
    for escape in ["\\u0061", "\\n", "\\\"", "\\q", "\\\\"] {
        let error = release(&document_with(&format!(",\"release_notes\":\"a{escape}b\"")));
        assert!(matches!(error, Err(LatestError::Text(TextFault::Escape { .. }))), "{error:?}");
    }
}

#[test]
fn latest_hole_control_characters() {
    for control in ['\0', '\n', '\t', '\r', '\u{1b}', '\u{7f}'] {
        let error = release(&document_with(&format!(",\"release_notes\":\"a{control}b\"")));
        let expected = matches!(error, Err(LatestError::Text(TextFault::Control { .. })));
        assert!(expected, "{control:?}: {error:?}");
    }
}

#[test]
fn latest_hole_other_than_ascii() {
    let texts = [document_with(",\"release_notes\":\"é\""), format!("\u{feff}{}", document())];
    for text in texts {
        let error = release(&text);
        assert!(matches!(error, Err(LatestError::Text(TextFault::NotAscii { .. }))), "{error:?}");
    }
    let mut bytes = document_with(",\"release_notes\":\"?\"").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let (signature, key) = signed(&bytes);
    let error = Latest::verify::<SoftSha256>(&bytes, &signature, &key).map(|_| ());
    assert_eq!(error, Err(LatestError::Text(TextFault::NotAscii { at, found: 0xff })));
}

#[test]
fn latest_hole_trailing_data() {
    let text = document();
    for more in [" ", "\n", "\0", "x", ",", "}", "{}", &text] {
        let error = release(&format!("{text}{more}"));
        let expected = matches!(
            error,
            Err(LatestError::Trailing | LatestError::Text(TextFault::Control { found: 0, .. }))
        );
        assert!(expected, "{more:?}: {error:?}");
    }
    for more in ["{}", "x", " "] {
        let error = release(&format!("{}{more}", text.trim_end()));
        assert_eq!(error, Err(LatestError::Trailing), "{more:?}");
    }
}

#[test]
fn latest_hole_what_is_no_object_of_texts() {
    let wrong = [
        String::new(),
        "null".into(),
        "[]".into(),
        format!("[{}]", document().trim_end()),
        format!(" {}", document()),
        document().replace("{\n", "{,"),
        document().replace("\n}", ",\n}"),
        document().replace("\n}\n", ""),
        document().replace("\": \"v1", "\" \"v1"),
        document().replace("\"v1.4.0\"", "null"),
        document().replace("\"v1.4.0\"", "1.4"),
        document().replace("\"v1.4.0\"", "[\"v1.4.0\"]"),
        document().replace("\"v1.4.0\"", "{}"),
        document().replace("\"v1.4.0\",", "\"v1.4.0\",,"),
        document().replace("\"version\"", "version"),
        document().replace('"', "'"),
    ];
    for text in wrong {
        let error = release(&text);
        assert!(matches!(error, Err(LatestError::Syntax)), "{text}: {error:?}");
    }
}

#[test]
fn latest_hole_oversize_document() {
    let fill = DOCUMENT_LEN_MAX - document().len();
    let text = document().replacen('\n', &format!("\n{}", " ".repeat(fill)), 1);
    assert_eq!(text.len(), DOCUMENT_LEN_MAX);
    release(&text).unwrap();
    let text = text.replacen('\n', "\n ", 1);
    let found = DOCUMENT_LEN_MAX + 1;
    let expected = LatestError::Text(TextFault::TooLong { max: DOCUMENT_LEN_MAX, found });
    assert_eq!(release(&text), Err(expected));
}

#[test]
fn latest_hole_oversize_fields() {
    for (field, max) in [
        ("vmlinuz_sig_url", 512),
        ("channel", 16),
        ("architecture", 16),
        ("min_compatible_version", 33),
        ("release_date", 40),
        ("release_notes", 4096),
    ] {
        let text = document_with(&format!(",\"{field}\":\"{}\"", "a".repeat(max + 1)));
        let expected = LatestError::TooLong { field, max, found: max + 1 };
        assert_eq!(release(&text), Err(expected));
    }
    release(&document_with(&format!(",\"release_notes\":\"{}\"", "a".repeat(4096)))).unwrap();
    // One more than a manifest has room for, without the v that is dropped.
    let long = format!("1.0.0-{}", "a".repeat(27));
    let expected = LatestError::TooLong { field: "version", max: 33, found: 33 };
    assert_eq!(replaced("v1.4.0", &long), Err(expected));
    let long = format!("v1.0.0-{}", "a".repeat(26));
    assert_eq!(replaced("v1.4.0", &long).unwrap().0, long[1..]);
}

#[test]
fn latest_hole_url_of_another_scheme() {
    for wrong in [
        "",
        "vmlinuz",
        "/vmlinuz",
        "file:///etc/shadow",
        "ftp://example.org/vmlinuz",
        "https://",
        "HTTPS://example.org/vmlinuz",
        "https://example.org/vm linuz",
        "https://example.org/<a>",
    ] {
        let error = replaced("https://example.org/vmlinuz", wrong);
        let expected = if wrong.is_empty() {
            LatestError::Missing("vmlinuz_url")
        } else {
            LatestError::Url("vmlinuz_url")
        };
        assert_eq!(error, Err(expected), "{wrong}");
    }
    let text = document_with(",\"metadata_sig_url\":\"javascript:x\"");
    assert_eq!(release(&text), Err(LatestError::Url("metadata_sig_url")));
}

#[test]
fn latest_hole_signature_of_a_file() {
    let text = document();
    let (signature, key) = signed(text.as_bytes());
    let latest = Latest::verify::<SoftSha256>(text.as_bytes(), &signature, &key).unwrap();
    let file: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let signature = publisher().sign(&file).unwrap();
    let check = |bytes: &[u8], size| {
        let mut check = latest.file_check(&signature)?;
        bytes.chunks(size).for_each(|piece| check.update(piece));
        check.finish()
    };
    for size in [1, 63, 64, 4096, 20_000] {
        assert_eq!(check(&file, size), Ok(()), "{size}");
        assert_eq!(check(&file[1..], size), Err(LatestError::Signature));
        assert_eq!(check(&file[..9999], size), Err(LatestError::Signature));
    }
    assert!(matches!(latest.file_check(b""), Err(LatestError::SignatureForm { found: 0 })));
    // The document's own signature is not one of a file.
    let (other, _) = signed(text.as_bytes());
    let mut wrong = latest.file_check(&other).unwrap();
    wrong.update(&file);
    assert_eq!(wrong.finish(), Err(LatestError::Signature));
}

/// The compatibility rule of that format: pre-releases do not count against the least version.
#[test]
fn least_version_admits_its_pre_releases() {
    use stillboot::policy::version::Version;
    let text = document_with(",\"min_compatible_version\":\"v1.2.0\"");
    let (_, min_from, ..) = release(&text).unwrap();
    let least = Version::parse(&min_from).unwrap();
    for (version, admitted) in [
        ("1.2.0", true),
        ("1.2.0-rc1", true),
        ("1.2.0-0", true),
        ("1.3.0-a", true),
        ("1.1.9", false),
    ] {
        let version_of = Version::parse(version).unwrap();
        assert_eq!(version_of.cmp_precedence(&least).is_ge(), admitted, "{version}");
    }
}
