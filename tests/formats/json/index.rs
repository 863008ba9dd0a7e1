//! Channel indexes that are accepted: bytes, sizes, order, times.

use std::ops::Range;

use stillboot::format::Risk;
use stillboot_policy::json::index::{INDEX_LEN_MAX, OFFERS_MAX, PATCHES_MAX};
use stillboot_policy::json::{
    ChannelIndex, IndexError, IndexHead, IndexOffer, NUMBER_MAX, NotCurrent, Patch, TextFault,
};

use super::{HEAD, PRODUCT, emit, emitted, head, holds, inside, offer, parse, patch, sample};

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
