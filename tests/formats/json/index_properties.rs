//! Channel indexes at large: round trips, one encoding, one order.

use proptest::prelude::*;
use stillboot::format::Risk;
use stillboot::verify::SoftSha256;
use stillboot_policy::json::index::SCHEMA;
use stillboot_policy::json::{ChannelIndex, IndexHead, IndexOffer, Latest, NUMBER_MAX, Patch};

use super::{again, emit, head, holds, signed};

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
