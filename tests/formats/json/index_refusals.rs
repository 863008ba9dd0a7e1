//! Channel indexes that are refused, and where.

use stillboot::format::Risk;
use stillboot_policy::json::index::INDEX_LEN_MAX;
use stillboot_policy::json::latest::DOCUMENT_LEN_MAX;
use stillboot_policy::json::{Found, IndexError, IndexHead, IndexOffer, NUMBER_MAX, Patch};

use super::{emit, head, inside, offer, parse, patch, release, sample};

#[test]
// Long because it is a table: a row for each other way to write the same values.
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
