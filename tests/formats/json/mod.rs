//! The JSON side: one encoding of an index, and a test for every hole of `latest.json` that is
//! closed.

mod index;
mod index_properties;
mod index_refusals;
mod index_signed;
mod latest;
mod view;

use std::ops::Range;

use stillboot::format::{Architecture, Risk};
use stillboot::verify::SoftSha256;
use stillboot_policy::json::index::{INDEX_LEN_MAX, SCHEMA};
use stillboot_policy::json::{
    ChannelIndex, IndexError, IndexHead, IndexOffer, Latest, LatestError, Patch,
};
use stillboot_release::keys::{Signer as _, SigningKey};

const PRODUCT: [u8; 16] = *b"example gateway\0";

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
