//! The JSON side: one encoding of an index, and a test for every hole of `latest.json` that is
//! closed.

use std::fmt::Write as _;
use std::ops::Range;

use proptest::prelude::*;
use stillboot::format::manifest::{self, COMPONENTS_MAX};
use stillboot::format::{
    Architecture, Channel, Component, Encryption, Envelope, Epochs, Key, KeyKind, KeyRole, Keyset,
    Load, Manifest, PayloadType, Risk, Role, Rule, keyset,
};
use stillboot::verify::{
    Device, RootKey, SignatureError, SoftSha256, Trust, TrustError, digest_of,
};
use stillboot_policy::json::index::{INDEX_LEN_MAX, OFFERS_MAX, PATCHES_MAX, SCHEMA};
use stillboot_policy::json::latest::{DOCUMENT_LEN_MAX, key_from_hex};
use stillboot_policy::json::view::VIEW_LEN_MAX;
use stillboot_policy::json::{
    ChannelIndex, Found, IndexError, IndexHead, IndexOffer, Latest, LatestError, NUMBER_MAX,
    NotCurrent, Patch, TextFault, verify_index, view_manifest,
};
use stillboot_release::keys::{Signer as _, SigningKey, sign_envelope};

const PRODUCT: [u8; 16] = *b"example gateway\0";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

// The channel index.

fn offer(risk: Risk, branch: &str) -> IndexOffer {
    IndexOffer {
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

fn patch(from: u8, to: u8) -> Patch {
    Patch {
        from: [from; 32],
        to: [to; 32],
        size: 512,
        url: "https://example.org/a/1.2.3.sbd".parse().unwrap(),
    }
}

const HEAD: IndexHead = IndexHead {
    schema: SCHEMA,
    product: PRODUCT,
    track: heapless::String::new(),
    issue: 7,
    until: 1_798_761_600,
};

fn head() -> IndexHead {
    IndexHead { track: "latest".parse().unwrap(), ..HEAD }
}

fn emit(head: &IndexHead, offers: &[IndexOffer], patches: &[Patch]) -> Result<String, IndexError> {
    let mut bytes = vec![0xff; INDEX_LEN_MAX + 1000];
    let len = head.emit(offers, patches, &mut bytes)?;
    // Nothing behind the end.
    assert!(bytes[len..].iter().all(|byte| *byte == 0xff));
    bytes.truncate(len);
    Ok(String::from_utf8(bytes).unwrap())
}

fn emitted(offers: &[IndexOffer], patches: &[Patch]) -> String {
    emit(&head(), offers, patches).unwrap()
}

/// What an index that was read encodes to.
fn again(index: &ChannelIndex<'_>) -> String {
    let mut bytes = vec![0; INDEX_LEN_MAX];
    let len = index.head().emit(index.offers(), index.patches(), &mut bytes).unwrap();
    bytes.truncate(len);
    String::from_utf8(bytes).unwrap()
}

fn parse(text: &str) -> Result<ChannelIndex<'_>, IndexError> {
    ChannelIndex::parse(text.as_bytes())
}

/// Where the entries of a list stand.
fn inside(text: &str, list: &str) -> Range<usize> {
    let name = format!("\"{list}\":[");
    let start = text.find(&name).unwrap() + name.len();
    start..start + text[start..].find(']').unwrap()
}

/// Checks that `text` is read as just these values, and is their encoding.
fn holds(text: &str, head: &IndexHead, offers: &[IndexOffer], patches: &[Patch]) {
    let index = parse(text).unwrap();
    assert_eq!(index.head(), head);
    assert!(index.offers().eq(offers.iter().cloned()));
    assert!(index.patches().eq(patches.iter().cloned()));
    assert_eq!(again(&index), text);
}

fn sample() -> String {
    emitted(
        &[offer(Risk::Stable, ""), offer(Risk::Edge, "fix-1")],
        &[patch(0xcd, 0xef), patch(0xdc, 0xef)],
    )
}

#[test]
fn index_has_golden_bytes() {
    let (offers, patches) = ([offer(Risk::Stable, "")], [patch(0xcd, 0xef)]);
    let text = emitted(&offers, &patches);
    assert_eq!(
        text,
        format!(
            "{{\"schema\":1,\"product\":\"6578616d706c65206761746577617900\",\"track\":\"latest\",\
             \"issue\":7,\"until\":1798761600,\
             \"offers\":[{{\"risk\":\"stable\",\"branch\":\"\",\"digest\":\"{}\",\
             \"version\":\"1.2.3-rc.1+b\",\"size\":4096,\
             \"url\":\"https://example.org/a/1.2.3.sbb?x=1&y=2#z\",\"since\":1,\"until\":0}}],\
             \"patches\":[{{\"from\":\"{}\",\"to\":\"{}\",\"size\":512,\
             \"url\":\"https://example.org/a/1.2.3.sbd\"}}]}}",
            "ab".repeat(32),
            "cd".repeat(32),
            "ef".repeat(32),
        )
    );
    holds(&text, &head(), &offers, &patches);
    let index = parse(&text).unwrap();
    assert_eq!((index.schema(), index.product(), index.track().as_str()), (1, &PRODUCT, "latest"));
    assert_eq!((index.issue(), index.until()), (7, 1_798_761_600));
    // Each list may be empty.
    for (offers, patches) in [(&offers[..0], &patches[..0]), (&offers, &[]), (&[], &patches)] {
        holds(&emitted(offers, patches), &head(), offers, patches);
    }
    // What was read of an index outlives it, but not the bytes.
    let mut left = parse(&text).unwrap().offers();
    assert_eq!(left.next(), Some(offer(Risk::Stable, "")));
    assert_eq!((left.next(), left.next()), (None, None));
}

/// Lists of `count` entries, all different, in their order.
fn full(count: usize) -> (Vec<IndexOffer>, Vec<Patch>) {
    let digest = |at: usize| {
        let mut digest = [0xab; 32];
        digest[..2].copy_from_slice(&(at as u16).to_be_bytes());
        digest
    };
    let offers = (0..count).map(|at| IndexOffer {
        digest: digest(at % 32),
        ..offer(Risk::ALL[(at / 32).min(3)], if at < 128 { "" } else { "z" })
    });
    let patches = (0..count).map(|at| Patch {
        from: digest(1000 - at % 2),
        to: digest(at / 2),
        ..patch(0, 0)
    });
    let mut patches: Vec<_> = patches.collect();
    patches.sort_by_key(|patch| (patch.to, patch.from));
    (offers.collect(), patches)
}

#[test]
fn both_lists_hold_128_and_no_more() {
    assert_eq!((OFFERS_MAX, PATCHES_MAX), (128, 128));
    let (offers, patches) = full(128);
    let text = emitted(&offers, &patches);
    println!("{} bytes", text.len());
    holds(&text, &head(), &offers, &patches);
    // One more is refused by name, when it is written and when it is read.
    let (more_offers, more_patches) = full(129);
    let many = |field| IndexError::TooMany { field, max: 128 };
    assert_eq!(emit(&head(), &more_offers, &[]), Err(many("offers")));
    assert_eq!(emit(&head(), &[], &more_patches), Err(many("patches")));
    for (list, text, more) in [
        ("offers", emitted(&more_offers[..128], &[]), emitted(&more_offers[128..], &[])),
        ("patches", emitted(&[], &more_patches[..128]), emitted(&[], &more_patches[128..])),
    ] {
        let (end, more) = (inside(&text, list).end, &more[inside(&more, list)]);
        let text = format!("{},{more}{}", &text[..end], &text[end..]);
        let error = parse(&text).unwrap_err();
        assert_eq!(error, many(list));
        assert!(error.to_string().contains(&format!("at most 128 {list}")), "{error}");
    }
    // Without an end, too.
    let endless = std::iter::repeat_with(|| more_offers.clone()).flatten();
    let sorted = endless.enumerate().map(|(at, offer)| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(at as u64).to_be_bytes());
        IndexOffer { digest, risk: Risk::Stable, branch: "".parse().unwrap(), ..offer }
    });
    let none: [Patch; 0] = [];
    assert_eq!(head().emit(sorted, none, &mut []), Err(many("offers")));
}

#[test]
fn index_has_at_most_65536_bytes() {
    assert_eq!(INDEX_LEN_MAX, 65536);
    let (mut offers, mut patches) = full(128);
    let text = emitted(&offers, &patches);
    let mut room = vec![0; text.len()];
    assert_eq!(head().emit(&offers, &patches, &mut room), Ok(text.len()));
    // What does not fit is said, not cut.
    let max = text.len() - 1;
    assert_eq!(
        head().emit(&offers, &patches, &mut room[..max]),
        Err(IndexError::Text(TextFault::TooLong { max, found: text.len() }))
    );
    // Up to the last byte, by the length of URLs.
    let url = |len: usize| format!("https://{}", "a".repeat(len - 8)).parse().unwrap();
    let mut missing = INDEX_LEN_MAX - text.len();
    let urls = offers.iter_mut().map(|offer| &mut offer.url);
    for place in urls.chain(patches.iter_mut().map(|patch| &mut patch.url)) {
        let more = missing.min(192 - place.len());
        *place = url(place.len() + more);
        missing -= more;
    }
    let text = emitted(&offers, &patches);
    assert_eq!(text.len(), INDEX_LEN_MAX);
    holds(&text, &head(), &offers, &patches);
    let last = patches.last_mut().unwrap();
    last.url = url(last.url.len() + 1);
    let too_long = TextFault::TooLong { max: INDEX_LEN_MAX, found: INDEX_LEN_MAX + 1 };
    assert_eq!(emit(&head(), &offers, &patches), Err(IndexError::Text(too_long)));
    assert_eq!(parse(&format!("{text} ")), Err(IndexError::Text(too_long)));
}

#[test]
fn the_longest_entries_have_room() {
    let label = |len| "~".repeat(len);
    let url = "u".repeat(192);
    let offers = [IndexOffer {
        risk: Risk::Candidate,
        branch: label(16).parse().unwrap(),
        digest: [0xff; 32],
        version: label(32).parse().unwrap(),
        size: NUMBER_MAX,
        url: url.parse().unwrap(),
        since: NUMBER_MAX - 1,
        until: NUMBER_MAX,
    }];
    let patches = [Patch { size: NUMBER_MAX, url: url.parse().unwrap(), ..patch(0xfe, 0xff) }];
    let head = IndexHead {
        track: label(16).parse().unwrap(),
        product: [0xff; 16],
        issue: NUMBER_MAX,
        until: NUMBER_MAX,
        ..HEAD
    };
    let text = emit(&head, &offers, &patches).unwrap();
    holds(&text, &head, &offers, &patches);
    let entries: Vec<_> = text.split(['{', '}']).map(|part| part.len() + 2).collect();
    assert_eq!(entries.iter().max(), Some(&444));
}

#[test]
fn an_index_is_a_small_value() {
    // It borrows its bytes: neither a list nor a text of 64 KiB stands on the stack.
    assert!(size_of::<ChannelIndex<'_>>() < 256, "{}", size_of::<ChannelIndex<'_>>());
    assert!(size_of::<IndexOffer>() < 512 && size_of::<Patch>() < 512);
    let (offers, patches) = full(128);
    let text = emitted(&offers, &patches);
    // Half of its length holds everything, the test's own values included.
    let reader = std::thread::Builder::new().stack_size(32 << 10).spawn(move || {
        let index = parse(&text).unwrap();
        let mut sizes = 0;
        for offer in index.offers() {
            sizes += offer.size;
        }
        for patch in index.patches() {
            sizes += patch.size;
        }
        sizes
    });
    assert_eq!(reader.unwrap().join().unwrap(), 128 * 4096 + 128 * 512);
}

#[test]
fn index_is_refused_unless_it_is_the_one_encoding() {
    let good = sample();
    parse(&good).unwrap();
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    // The same values, written in another way: in the fields before the lists, in an offer, in a
    // patch.
    let not_canonical = [
        (swap("6d706c", "6D706c"), "D706c"),
        (good.replacen(&"ab".repeat(32), &"AB".repeat(32), 1), "ABAB"),
        (good.replacen(&"cd".repeat(32), &"cD".repeat(32), 1), "DcDc"),
        (good.replacen(&"ef".repeat(32), &"eF".repeat(32), 1), "FeFe"),
        (swap("{\"risk\":", "{ \"risk\":"), " \"risk"),
        (swap("\"risk\":", "\"risk\": "), " \"stable"),
        (swap(",\"branch\"", " ,\"branch\""), " ,\"branch"),
        (swap("\"size\":4096", "\"size\": 4096"), " 4096"),
        (swap("\"since\":1,\"until\":0", "\"until\":0,\"since\":1"), "until\":0,\"since"),
        (swap("\"until\":0}", "\"until\":0 }"), " }"),
        (swap("{\"from\":", "{ \"from\":"), " \"from"),
        (swap("\"size\":512", "\"size\":512 "), " ,\"url"),
    ];
    for (text, from) in &not_canonical {
        let at = text.find(from).unwrap();
        assert_eq!(parse(text), Err(IndexError::NotCanonical { at }), "{text}");
    }
    let digests = format!("\"from\":\"{}\",\"to\":\"{}\"", "cd".repeat(32), "ef".repeat(32));
    let turned = format!("\"to\":\"{}\",\"from\":\"{}\"", "ef".repeat(32), "cd".repeat(32));
    let text = swap(&digests, &turned);
    let at = text.find("to\":").unwrap();
    assert_eq!(parse(&text), Err(IndexError::NotCanonical { at }));

    let malformed = [
        swap(":[", ":[,"),
        swap(":[", ": ["),
        swap(":[", ":[ "),
        swap("{\"schema\"", "{ \"schema\""),
        swap("\"schema\":1", "\"schema\": 1"),
        swap("\"schema\":1,", ""),
        swap("\"schema\":1", "\"schema\":01"),
        swap("\"schema\":1", "\"schema\":1.0"),
        swap("\"schema\":1", "\"schema\":+1"),
        swap("\"schema\":1", "\"schema\":\"1\""),
        swap("\"schema\":1", "\"schema\":1,\"schema\":1"),
        swap("\"schema\":1", "\"schema\":1,\"more\":1"),
        swap("\"schema\":1", "\"schema\":1,\"more\":!! not json"),
        swap("\"product\":\"65", "\"product\":\""),
        swap("\"product\":\"65", "\"product\":\"6565"),
        swap("\"product\":\"65", "\"product\":\"x5"),
        swap("\"track\":\"latest\"", "\"track\":null"),
        swap("\"issue\":7,\"until\":1798761600", "\"until\":1798761600,\"issue\":7"),
        swap("\"issue\":7", "\"issue\":07"),
        swap("\"issue\":7", "\"issue\":7e0"),
        swap("\"issue\":7", "\"issue\":-7"),
        swap("\"issue\":7,", ""),
        swap("\"until\":1798761600", "\"until\":01798761600"),
        swap("\"until\":1798761600,", ""),
        swap("\"branch\":\"\",", ""),
        swap("\"branch\":\"\",", "\"branch\":\"\",\"branch\":\"\","),
        swap("\"branch\":\"\",", "\"branch\":\"\",\"more\":\"\","),
        swap("\"size\":4096", "\"size\":04096"),
        swap("\"size\":4096", "\"size\":-1"),
        swap("\"size\":4096", "\"size\":4e3"),
        swap("\"size\":4096", "\"size\":18446744073709551616"),
        swap("\"size\":512", "\"size\":0512"),
        swap("\"size\":512,", ""),
        swap("\"size\":512,", "\"size\":512,\"size\":512,"),
        swap("\"size\":512,", "\"size\":512,\"more\":1,"),
        swap("\"size\":512,", "\"size\":512,\"more\":{},"),
        swap("\"since\":1,", "\"since\":01,"),
        swap("\"digest\":\"ab", "\"digest\":\"a"),
        swap("\"digest\":\"ab", "\"digest\":\"abab"),
        swap("\"digest\":\"ab", "\"digest\":\"xy"),
        swap("\"from\":\"cd", "\"from\":\""),
        swap("\"to\":\"ef", "\"to\":\"efef"),
        swap("},{", "}{"),
        swap("},{", "}, {"),
        swap("},{", "} ,{"),
        swap("},{", "},,{"),
        swap("},{", "},null,{"),
        swap("],\"patches\"", ",],\"patches\""),
        swap("],\"patches\"", " ],\"patches\""),
        swap("],\"patches\"", "],\"patches\":[],\"patches\""),
        swap("],\"patches\"", "],\"offers\":[],\"patches\""),
        swap("],\"patches\"", "], \"patches\""),
        good[..good.find(",\"patches\"").unwrap()].to_owned() + "}",
        good.replace("]}", ",]}"),
        good.replace("]}", "],\"more\":1}"),
        good.replace("]}", "] }"),
        good[..good.len() - 1].to_owned(),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}{{}}"),
        format!("{good}0"),
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
    ];
    for text in &malformed {
        let error = parse(text);
        assert!(matches!(error, Err(IndexError::Malformed { .. })), "{text}: {error:?}");
    }
    // The text up to any byte is no index.
    for len in 0..good.len() {
        let error = parse(&good[..len]);
        assert!(matches!(error, Err(IndexError::Malformed { .. })), "{len}: {error:?}");
    }
    for text in ["\\u0076", "\u{7f}", "\n", "\0", "é"] {
        let text = swap("latest", text);
        let error = parse(&text);
        assert!(matches!(error, Err(IndexError::Text(_))), "{text}: {error:?}");
    }
}

#[test]
fn an_index_of_another_schema_is_named_by_its_number() {
    let good = sample();
    for (number, found) in
        [("2", 2), ("0", 0), ("255", 255), ("300", 300), ("9007199254740992", 9007199254740992)]
    {
        let other = good.replacen("\"schema\":1", &format!("\"schema\":{number}"), 1);
        assert_eq!(parse(&other), Err(IndexError::Schema { found }));
        // Whatever that schema is.
        let other = format!("{{\"schema\":{number},\"more\":\"\\n\"{}", " ".repeat(INDEX_LEN_MAX));
        let error = parse(&other).unwrap_err();
        assert_eq!(error, IndexError::Schema { found });
        assert!(error.to_string().ends_with(&format!("found schema {number}")), "{error}");
        assert_eq!(parse(&format!("{{\"schema\":{number}}}")), Err(IndexError::Schema { found }));
    }
    let head = IndexHead { schema: 2, ..head() };
    assert_eq!(emit(&head, &[], &[]), Err(IndexError::Schema { found: 2 }));
}

#[test]
fn fields_of_an_index_have_bounds() {
    use Found::{Character, Length, Number};
    let good = sample();
    let other = |words| Found::Other(words);
    let url = "https://example.org/a/1.2.3.sbb?x=1&y=2#z";
    for (from, to, field, found) in [
        ("\"latest\"", "\"\"", "track", Length(0)),
        ("\"latest\"", "\"la test\"", "track", Character(' ')),
        ("\"latest\"", "\"a-track-too-long-\"", "track", Length(17)),
        ("\"issue\":7", "\"issue\":0", "issue", Number(0)),
        ("\"issue\":7", "\"issue\":9007199254740992", "issue", Number(NUMBER_MAX + 1)),
        ("\"issue\":7", "\"issue\":18446744073709551616", "issue", Length(20)),
        (":1798761600", ":9007199254740992", "until", Number(NUMBER_MAX + 1)),
        ("\"stable\"", "\"daring\"", "offers.risk", other("another word")),
        ("\"stable\"", "\"unknown\"", "offers.risk", other("another word")),
        ("\"branch\":\"\"", "\"branch\":\"/\"", "offers.branch", Character('/')),
        ("\"branch\":\"\"", "\"branch\":\"a-branch-too-long\"", "offers.branch", Length(17)),
        ("1.2.3-rc.1+b", "", "offers.version", Length(0)),
        ("1.2.3-rc.1+b", "1 2", "offers.version", Character(' ')),
        ("\"size\":4096", "\"size\":0", "offers.size", Number(0)),
        ("\"size\":4096", "\"size\":9007199254740992", "offers.size", Number(NUMBER_MAX + 1)),
        ("\"since\":1", "\"since\":9007199254740992", "offers.since", Number(NUMBER_MAX + 1)),
        ("\"until\":0", "\"until\":1", "offers.until", Number(1)),
        ("\"until\":0", "\"until\":9007199254740992", "offers.until", Number(NUMBER_MAX + 1)),
        (url, "", "offers.url", Length(0)),
        (url, "https://example.org/ a", "offers.url", Character(' ')),
        // A bracket in a string ends no object.
        (url, "https://example.org/}", "offers.url", Character('}')),
        (url, "{", "offers.url", Character('{')),
        (url, &"u".repeat(193), "offers.url", Length(193)),
        ("\"size\":512", "\"size\":0", "patches.size", Number(0)),
        ("\"size\":512", "\"size\":9007199254740992", "patches.size", Number(NUMBER_MAX + 1)),
        ("https://example.org/a/1.2.3.sbd", "", "patches.url", Length(0)),
        ("1.2.3.sbd", "]}", "patches.url", Character('}')),
        ("1.2.3.sbd", &"u".repeat(193), "patches.url", Length(215)),
        (&"cd".repeat(32), &"ef".repeat(32), "patches.to", other("the same digest")),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = parse(&text).unwrap_err();
        let IndexError::Bounds { field: told, at, found: seen, .. } = error else {
            panic!("{text}: {error:?}");
        };
        assert_eq!((told, seen), (field, found), "{text}");
        // The object that has the field: the index, or the first one of a list.
        let start = field.split_once('.').map_or(0, |(list, _)| inside(&text, list).start);
        assert_eq!(at, start, "{text}");
        let message = error.to_string();
        let parts = [field, "expected", &format!("found {found}")];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    // What is written keeps to the same rules.
    let refused = |result: Result<String, IndexError>, expected: &str| match result {
        Err(IndexError::Bounds { field, .. }) => assert_eq!(field, expected),
        other => panic!("{expected}: {other:?}"),
    };
    type All = (IndexHead, IndexOffer, Patch);
    type Spoil = fn(&mut All);
    let good = || (head(), offer(Risk::Stable, ""), patch(1, 2));
    let write = |(head, offer, patch): &All| {
        emit(head, std::slice::from_ref(offer), std::slice::from_ref(patch))
    };
    write(&good()).unwrap();
    let wrong: [(Spoil, &str); 20] = [
        (|(head, ..)| head.track.clear(), "track"),
        (|(head, ..)| head.track = "/".parse().unwrap(), "track"),
        (|(head, ..)| head.issue = 0, "issue"),
        (|(head, ..)| head.issue = NUMBER_MAX + 1, "issue"),
        (|(head, ..)| head.until = u64::MAX, "until"),
        (|(_, offer, _)| offer.risk = Risk::from_code(9), "offers.risk"),
        (|(_, offer, _)| offer.branch = "\"".parse().unwrap(), "offers.branch"),
        (|(_, offer, _)| offer.version.clear(), "offers.version"),
        (|(_, offer, _)| offer.version = "é".parse().unwrap(), "offers.version"),
        (|(_, offer, _)| offer.size = 0, "offers.size"),
        (|(_, offer, _)| offer.size = NUMBER_MAX + 1, "offers.size"),
        (|(_, offer, _)| offer.url.clear(), "offers.url"),
        (|(_, offer, _)| offer.url = "a\\".parse().unwrap(), "offers.url"),
        (|(_, offer, _)| offer.since = NUMBER_MAX + 1, "offers.since"),
        (|(_, offer, _)| offer.until = 1, "offers.until"),
        (|(_, offer, _)| offer.until = NUMBER_MAX + 1, "offers.until"),
        (|(.., patch)| patch.to = patch.from, "patches.to"),
        (|(.., patch)| patch.size = 0, "patches.size"),
        (|(.., patch)| patch.url.clear(), "patches.url"),
        (|(.., patch)| patch.url = "a b".parse().unwrap(), "patches.url"),
    ];
    for (spoil, field) in wrong {
        let mut value = good();
        spoil(&mut value);
        refused(write(&value), field);
    }
}

#[test]
fn lists_stand_in_one_order_and_once() {
    let (stable, edge) = (offer(Risk::Stable, ""), offer(Risk::Edge, ""));
    let later = IndexOffer { digest: [0xac; 32], ..stable.clone() };
    let fix = offer(Risk::Edge, "fix");
    let written = |offers: &[&IndexOffer]| {
        let offers: Vec<_> = offers.iter().map(|offer| (*offer).clone()).collect();
        emit(&head(), &offers, &[])
    };
    written(&[&stable, &edge]).unwrap();
    written(&[&edge, &fix]).unwrap();
    // Two releases for the same devices, such as of two hardware classes.
    written(&[&stable, &later, &edge, &fix]).unwrap();
    for wrong in [
        [&edge, &stable],
        [&stable, &stable],
        [&fix, &edge],
        [&later, &stable],
        [&fix, &offer(Risk::Edge, "FIX")],
    ] {
        let error = written(&wrong).unwrap_err();
        let IndexError::Order { field: "offers", at, .. } = error else { panic!("{error:?}") };
        // When it is read, it is reported in the same words.
        let [one, two] = wrong.map(|offer| {
            let text = emitted(std::slice::from_ref(offer), &[]);
            text[inside(&text, "offers")].to_owned()
        });
        let list = format!("\"offers\":[{one},{two}]");
        let text = emitted(&[], &[]).replacen("\"offers\":[]", &list, 1);
        assert_eq!(parse(&text), Err(error));
        assert!(text[at..].starts_with("{\"risk\""), "{error}");
    }
    // Other fields than those of the order make no second offer.
    let twin = IndexOffer { size: 1, url: "b".parse().unwrap(), ..stable.clone() };
    assert!(matches!(written(&[&stable, &twin]), Err(IndexError::Order { .. })));

    let written = |patches: &[Patch]| emit(&head(), &[], patches);
    written(&[patch(1, 2), patch(3, 2), patch(1, 4), patch(2, 4)]).unwrap();
    for wrong in [
        [patch(1, 2), patch(1, 2)],
        [patch(3, 2), patch(1, 2)],
        [patch(1, 3), patch(2, 1)],
        [patch(1, 2), Patch { size: 1, ..patch(1, 2) }],
    ] {
        let error = written(&wrong).unwrap_err();
        let expected = matches!(error, IndexError::Order { field: "patches", .. });
        assert!(expected, "{wrong:?}: {error:?}");
    }
    let text = sample();
    // The two patches, turned around.
    let Range { start, end } = inside(&text, "patches");
    let (one, two) = text[start..end].split_once("},").unwrap();
    let turned = format!("{}{two},{one}}}{}", &text[..start], &text[end..]);
    let at = start + two.len() + 1;
    let error = parse(&turned).unwrap_err();
    assert_eq!(error, IndexError::Order { field: "patches", at, expected: "to and from" });
}

#[test]
fn an_index_is_judged_by_its_issue_and_its_end() {
    let judge = |issue, until, now, seen| {
        let text = emit(&IndexHead { issue, until, ..head() }, &[], &[]).unwrap();
        parse(&text).unwrap().stands(now, seen)
    };
    // A number below the highest one that was seen.
    assert_eq!(judge(7, 0, None, 0), Ok(()));
    assert_eq!(judge(7, 0, None, 6), Ok(()));
    assert_eq!(judge(7, 0, None, 7), Ok(()));
    let old = NotCurrent::Superseded { issue: 7, seen: 8 };
    assert_eq!(judge(7, 0, None, 8), Err(old));
    assert_eq!(judge(7, 20, Some(20), 8), Err(old));
    assert!(judge(NUMBER_MAX, 0, None, u64::MAX).is_err());
    assert!(old.to_string().contains("issue 8 ") && old.to_string().contains("issue 7"));
    // The end.
    assert_eq!(judge(7, 20, Some(19), 7), Ok(()));
    for now in [20, 21, u64::MAX] {
        let error = NotCurrent::Expired { until: 20, now };
        assert_eq!(judge(7, 20, Some(now), 7), Err(error));
        assert!(error.to_string().contains(&format!("before 20, at which it ends, found {now}")));
    }
    // Without an end at any time, and without a clock only then.
    for now in [Some(0), Some(u64::MAX), None] {
        assert_eq!(judge(7, 0, now, 7), Ok(()));
    }
    assert_eq!(judge(7, 20, None, 7), Err(NotCurrent::NoClock { until: 20 }));
}

#[test]
fn offers_with_times_need_a_clock() {
    let timed = IndexOffer { since: 10, until: 20, ..offer(Risk::Stable, "") };
    for (now, stands) in
        [(Some(9), false), (Some(10), true), (Some(19), true), (Some(20), false), (None, false)]
    {
        assert_eq!(timed.stands(now), stands, "{now:?}");
    }
    let always = IndexOffer { since: 0, until: 0, ..timed };
    assert!(always.stands(None) && always.stands(Some(0)) && always.stands(Some(u64::MAX)));
}

#[test]
fn depth_bombs_end_at_their_first_byte() {
    // On a stack that a recursion per level would leave at once.
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(|| {
            let good = sample();
            for open in ["[", "{\"a\":", "{\"offers\":[", "{\"patches\":[", "{\"track\":"] {
                let bomb = open.repeat(INDEX_LEN_MAX / open.len());
                // As much as there is room for in an index.
                let part = &bomb[..INDEX_LEN_MAX - 2000];
                for text in [
                    bomb.clone(),
                    good.replacen("\"offers\":[", &format!("\"offers\":{part}"), 1),
                    good.replacen("\"offers\":[", &format!("\"offers\":[{part}"), 1),
                    good.replacen("\"patches\":[", &format!("\"patches\":[{part}"), 1),
                    good.replacen("\"latest\"", part, 1),
                    good.replacen("\"size\":4096", &format!("\"size\":{part}"), 1),
                    good.replacen("\"size\":512", &format!("\"size\":{part}"), 1),
                    good.replacen("\"schema\":1", &format!("\"x\":{part}"), 1),
                ] {
                    assert!(text.len() <= INDEX_LEN_MAX);
                    assert!(parse(&text).is_err(), "{}", &text[..100]);
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

fn url() -> impl Strategy<Value = String> {
    "https://[a-z0-9./?&=#%-]{1,184}"
}

fn heads() -> impl Strategy<Value = IndexHead> {
    let times = prop_oneof![Just(0), 0..=NUMBER_MAX];
    (any::<[u8; 16]>(), label(), 1..=NUMBER_MAX, times).prop_map(
        |(product, track, issue, until)| {
            let track = track.parse().unwrap();
            IndexHead { schema: SCHEMA, product, track, issue, until }
        },
    )
}

/// Digests of which some are alike.
fn digests() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![(0..4_u8).prop_map(|byte| [byte; 32]), any::<[u8; 32]>()]
}

fn offers() -> impl Strategy<Value = Vec<IndexOffer>> {
    let one = (
        0..4_usize,
        prop_oneof![Just(String::new()), label()],
        digests(),
        (0..1000_u64, 0..1000_u64, 0..1000_u64),
        1..=NUMBER_MAX,
        url(),
        0..NUMBER_MAX,
        any::<bool>(),
    );
    let one =
        one.prop_map(|(risk, branch, digest, (a, b, c), size, url, since, ends)| IndexOffer {
            risk: Risk::ALL[risk],
            branch: branch.parse().unwrap(),
            digest,
            version: format!("{a}.{b}.{c}").parse().unwrap(),
            size,
            url: url.parse().unwrap(),
            since,
            until: if ends { since + 1 } else { 0 },
        });
    prop::collection::vec(one, 0..6).prop_map(|mut offers| {
        let key = |offer: &IndexOffer| (offer.risk.code(), offer.branch.clone(), offer.digest);
        offers.sort_by_key(key);
        offers.dedup_by_key(|offer| key(offer));
        offers
    })
}

fn patches() -> impl Strategy<Value = Vec<Patch>> {
    let one = (digests(), digests(), 1..=NUMBER_MAX, url());
    let one = one.prop_filter("a patch leads elsewhere", |(from, to, ..)| from != to);
    let one = one.prop_map(|(from, to, size, url)| {
        let url = url.parse().unwrap();
        Patch { from, to, size, url }
    });
    prop::collection::vec(one, 0..6).prop_map(|mut patches| {
        patches.sort_by_key(|patch| (patch.to, patch.from));
        patches.dedup_by_key(|patch| (patch.to, patch.from));
        patches
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn index_round_trips(head in heads(), offers in offers(), patches in patches()) {
        let text = emit(&head, &offers, &patches).unwrap();
        holds(&text, &head, &offers, &patches);
    }

    /// Whatever is accepted is the one encoding of its value.
    #[test]
    fn accepted_index_encodes_to_the_same_bytes(
        head in heads(),
        offers in offers(),
        patches in patches(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b" ,:{}[]\"\\0189aAfFn.-e\n".to_vec())),
            0..3,
        ),
    ) {
        let mut bytes = emit(&head, &offers, &patches).unwrap().into_bytes();
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(index) = ChannelIndex::parse(&bytes) {
            prop_assert_eq!(again(&index).into_bytes(), bytes);
        }
    }

    /// Lists in any order, with entries that are alike: what is written is what is read.
    #[test]
    fn order_is_checked_alike_by_both_sides(
        offers in offers(),
        patches in patches(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..2),
    ) {
        let (mut mixed_offers, mut mixed_patches) = (offers.clone(), patches.clone());
        for (one, other) in swaps {
            if !offers.is_empty() {
                mixed_offers.swap(one.index(offers.len()), other.index(offers.len()));
            }
            if !patches.is_empty() {
                mixed_patches.swap(one.index(patches.len()), other.index(patches.len()));
            }
        }
        let is_same = mixed_offers == offers && mixed_patches == patches;
        prop_assert_eq!(emit(&head(), &mixed_offers, &mixed_patches).is_ok(), is_same);
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
        kind: KeyKind::Ed25519,
        name: SigningKey::test(number).public(),
        roles: role.bit(),
    };
    Keyset {
        schema: keyset::SCHEMA,
        version: 7,
        rules: [1, 0, 0, 1, 0, 0].map(Rule::ed25519),
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
) -> Result<(u32, String), IndexError> {
    let bytes =
        sign_envelope(kind, product, payload, &[(role, &SigningKey::test(signer))]).unwrap();
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let roots = [RootKey::ed25519([0; 32])];
    let device = Device {
        trust: Trust::Roots { keys: &roots, rule: Rule::ed25519(1) },
        product: PRODUCT,
        class: [0; 16],
        revision: 0,
        architecture: Architecture::Any,
    };
    let verified = verify_index::<SoftSha256>(&device, keyset, &envelope)?;
    assert_eq!(*verified.digest(), digest_of::<SoftSha256>(payload));
    Ok((verified.keyset_version(), again(&verified)))
}

#[test]
fn index_is_signed_by_channel_keys_only() {
    use KeyRole::{Channel, Release};
    let (keyset, good) = (index_keys(), emitted(&[offer(Risk::Stable, "")], &[patch(1, 2)]));
    let good = good.as_bytes();
    let index_type = PayloadType::ChannelIndex;
    let (version, value) = verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, good).unwrap();
    assert_eq!((version, value.as_bytes()), (7, good));
    let refused = |result: Result<_, IndexError>, expected: IndexError| {
        assert_eq!(result.map(|_| ()), Err(expected));
    };
    let missing = SignatureError::Missing { role: Channel, needed: 1, found: 0 };
    let wrong = SignatureError::Wrong { role: Channel };
    // A release key, and a key that is not in the keyset.
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
    let foreign = emit(&IndexHead { product: [1; 16], ..head() }, &[], &[]).unwrap();
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, foreign.as_bytes()),
        IndexError::Trust(TrustError::WrongProduct),
    );
    // Signed, and not canonical; or of a later schema.
    let nothing = emitted(&[], &[]);
    let upper = nothing.replacen("6d", "6D", 1);
    let at = nothing.find("6d").unwrap() + 1;
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, upper.as_bytes()),
        IndexError::NotCanonical { at },
    );
    let later = nothing.replacen(":1,", ":2,", 1);
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, later.as_bytes()),
        IndexError::Schema { found: 2 },
    );
    // What is wrong with bytes without a signature is not reported.
    refused(
        verify_signed(&keyset, index_type, 3, Channel, &PRODUCT, upper.as_bytes()),
        IndexError::Signature(missing),
    );
    // No rule names a key for the role.
    let mut unruled = keyset;
    unruled.rules = [1, 0, 0, 0, 0, 0].map(Rule::ed25519);
    refused(
        verify_signed(&unruled, index_type, 1, Channel, &PRODUCT, good),
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
        encryption: Encryption::None,
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
    // Of two faults the signature is the one that is reported.
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
    use stillboot_policy::version::Version;
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
