//! The channel index (payload type 3): what is offered on a track, signed by `channel` keys.
//!
//! ```text
//! {"schema":1,"product":"32 hex digits","track":"latest","issue":7,"until":1798761600,"offers":[
//!   {"risk":"stable","branch":"","digest":"64 hex digits","version":"1.2.3","size":4096,
//!    "url":"https://example.org/1.2.3.sbb","since":1767225600,"until":0}],"patches":[
//!   {"from":"64 hex digits","to":"64 hex digits","size":512,"url":"https://example.org/1.2.3.sbd"}]}
//! ```
//!
//! On one line and without spaces, digits in lower case, fields in this order, both lists strictly
//! ascending: one value has one encoding. It has at most [`INDEX_LEN_MAX`] bytes.
//!
//! An index may be longer than what a device can hold twice. So [`ChannelIndex`] borrows the bytes,
//! [`ChannelIndex::parse`] checks all of them once, and offers and patches are read one at a time.
//! Apart from the bytes themselves there is room for two entries of a list and the text of one.
//!
//! An index only advises where to look. The manifest that is found there decides what is installed,
//! so the most that a false index does is to send devices to addresses without an update.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt::{self, Write as _};
use core::iter::FusedIterator;
use core::marker::PhantomData;

use heapless::String;
use serde::{Deserialize, Serialize};

use super::{Hex, Layout, NUMBER_MAX, TextFault, check_text, from_hex, is_url};
use stillboot::format::manifest::{Name, VersionText, is_label};
use stillboot::format::{Digest, Envelope, Id, KeyRole, Keyset, PayloadType, Risk};
use stillboot::verify::{Device, Sha256, SignatureError, TrustError, Verified, verify_payload};

/// The only schema of an index.
pub const SCHEMA: u8 = 1;
/// Longest index, in bytes.
pub const INDEX_LEN_MAX: usize = stillboot::format::envelope::INDEX_LEN_MAX;
/// Most offers of one index.
pub const OFFERS_MAX: usize = 128;
/// Most patches of one index.
pub const PATCHES_MAX: usize = 128;
/// Longest URL, in bytes.
pub const URL_LEN_MAX: usize = 192;

/// Room for one offer, one patch, or all fields before the offers. The longest of them, an offer,
/// has 444 bytes.
const PIECE_LEN_MAX: usize = 512;

// What a value may be, for messages.
const NUMBER: &str = "0 to 9007199254740991";
const NUMBER_FROM_1: &str = "1 to 9007199254740991";
const LABEL: &str = "up to 16 letters, digits or . - + _ ~";
const LABEL_FROM_1: &str = "1 to 16 letters, digits or . - + _ ~";
const VERSION: &str = "1 to 32 letters, digits or . - + _ ~";
const URL: &str = "1 to 192 characters of those that a URL has";
const RISK: &str = "stable, candidate, beta or edge";

/// The fields of an index before its lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexHead {
    /// [`SCHEMA`].
    pub schema: u8,
    /// The product, as in the signed bytes.
    pub product: Id,
    /// The track; never empty.
    pub track: Name,
    /// Number of the index, 1..=[`NUMBER_MAX`]; counts up with each index of the track.
    pub issue: u64,
    /// Unix time in seconds at which the whole index ends, up to [`NUMBER_MAX`]; 0 for never.
    pub until: u64,
}

/// One offer of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexOffer {
    /// For whom.
    pub risk: Risk,
    /// The branch; empty for the main line.
    pub branch: Name,
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The version for people, as its manifest has it.
    pub version: VersionText,
    /// Length of the bundle in bytes, 1..=[`NUMBER_MAX`].
    pub size: u64,
    /// Where the bundle is; never empty.
    pub url: String<URL_LEN_MAX>,
    /// Unix time in seconds from which it is offered; 0 for always.
    pub since: u64,
    /// Unix time in seconds at which the offer ends; 0 for never.
    pub until: u64,
}

/// One patch of an index: a shorter way from one release to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// SHA-256 of the manifest that the patch starts from.
    pub from: Digest,
    /// SHA-256 of the manifest that the patch leads to; never equal to `from`.
    pub to: Digest,
    /// Length of the patch file in bytes, 1..=[`NUMBER_MAX`].
    pub size: u64,
    /// Where the patch file is; never empty.
    pub url: String<URL_LEN_MAX>,
}

/// What a track offers: checked bytes, from which offers and patches are read one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelIndex<'a> {
    head: IndexHead,
    /// The objects of the list and the commas between them, all checked.
    offers: &'a str,
    /// As `offers`.
    patches: &'a str,
}

/// Why an index does not count at this time on this device, though it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum NotCurrent {
    /// An index of a higher number was seen.
    Superseded {
        /// Number of this index.
        issue: u64,
        /// The highest number that was seen.
        seen: u64,
    },
    /// The index has ended.
    Expired {
        /// Unix time in seconds at which it ended.
        until: u64,
        /// Unix time in seconds.
        now: u64,
    },
    /// The index ends at some time, and without a clock there is no telling whether it has.
    NoClock {
        /// Unix time in seconds at which it ends.
        until: u64,
    },
}

impl fmt::Display for NotCurrent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel index: ")?;
        match self {
            Self::Superseded { issue, seen } => {
                write!(f, "expected issue {seen} or a later one, found issue {issue}")
            }
            Self::Expired { until, now } => {
                write!(f, "expected a time before {until}, at which it ends, found {now}")
            }
            Self::NoClock { until } => write!(
                f,
                "expected a clock that can be trusted, for it ends at {until}, found none"
            ),
        }
    }
}

impl core::error::Error for NotCurrent {}

/// What stands in a field that is outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Found {
    /// This number.
    Number(u64),
    /// So many bytes.
    Length(usize),
    /// This character.
    Character(char),
    /// What these words say.
    Other(&'static str),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Length(length) => write!(f, "{length} bytes"),
            Self::Character(character) => write!(f, "the character {character:?}"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// Why an index is not believed.
///
/// Places are counted in bytes from the start of the index, also when one is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum IndexError {
    /// The envelope holds something else, or it is for another product.
    Trust(TrustError),
    /// It is not signed by `channel` keys.
    Signature(SignatureError),
    /// It is not the plain text that all readers read alike.
    Text(TextFault),
    /// The schema is not one that this build reads.
    Schema {
        /// The schema that was found.
        found: u64,
    },
    /// It is not the object that is expected: a field is missing, unknown, there twice, in another
    /// place or of another type, or bytes follow.
    Malformed {
        /// Bytes before the fault, or before the object of a list that has it.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The value can be written in another way: spaces, upper-case digits, another order.
    NotCanonical {
        /// Bytes before the first one that is written differently.
        at: usize,
    },
    /// A field is outside its bounds.
    Bounds {
        /// The field's name; in a list with the list's name before it, as in `offers.size`.
        field: &'static str,
        /// Bytes before the object that has the field.
        at: usize,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: Found,
    },
    /// A list is too long.
    TooMany {
        /// The list's name: `offers` or `patches`.
        field: &'static str,
        /// The most entries.
        max: usize,
    },
    /// A list is not strictly ascending, or two of its entries are alike.
    Order {
        /// The list's name: `offers` or `patches`.
        field: &'static str,
        /// Bytes before the entry that should stand earlier.
        at: usize,
        /// What decides on the order.
        expected: &'static str,
    },
}

impl From<TrustError> for IndexError {
    fn from(error: TrustError) -> Self {
        Self::Trust(error)
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel index: ")?;
        match self {
            Self::Trust(error) => error.fmt(f),
            Self::Signature(error) => error.fmt(f),
            Self::Text(fault) => fault.fmt(f),
            Self::Schema { found } => {
                write!(f, "expected schema {SCHEMA}, which this build reads, found schema {found}")
            }
            Self::Malformed { at, expected } => {
                write!(f, "expected {expected} at byte {at}, found something else")
            }
            Self::NotCanonical { at } => {
                write!(f, "expected the canonical encoding, found another one from byte {at} on")
            }
            Self::Bounds { field, at, expected, found } => {
                write!(f, "{field} of the object at byte {at}: expected {expected}, found {found}")
            }
            Self::TooMany { field, max } => {
                write!(f, "expected at most {max} {field}, found more")
            }
            Self::Order { field, at, expected } => write!(
                f,
                "expected {field} in ascending order of {expected}, no two alike, found one at \
                 byte {at} that does not follow the one before it"
            ),
        }
    }
}

impl core::error::Error for IndexError {}

/// An offer as it stands in JSON, before its fields are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferText<'a> {
    risk: &'a str,
    branch: &'a str,
    digest: Hex<32>,
    version: &'a str,
    size: u64,
    url: &'a str,
    since: u64,
    until: u64,
}

/// A patch as it stands in JSON, before its fields are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchText<'a> {
    from: Hex<32>,
    to: Hex<32>,
    size: u64,
    url: &'a str,
}

/// What the two lists hold: one object of an index.
trait Piece: Sized {
    /// The list's name.
    const LIST: &'static str;
    /// Most entries of the list.
    const MAX: usize;
    /// The form of an entry, for messages.
    const FORM: &'static str;
    /// What decides on the order, for messages.
    const ORDER: &'static str;

    /// Reads `text`, which stands at `at`.
    fn read(text: &str, at: usize) -> Result<Self, IndexError>;
    /// Checks the fields of what stands at `at`, or is to be written there.
    fn check(&self, at: usize) -> Result<(), IndexError>;
    /// Writes it at the start of `into` and returns its length.
    fn write(&self, into: &mut [u8]) -> serde_json_core::ser::Result<usize>;
    /// Whether it stands before or after `other`.
    fn compare(&self, other: &Self) -> Ordering;
}

impl Piece for IndexOffer {
    const LIST: &'static str = "offers";
    const MAX: usize = OFFERS_MAX;
    const FORM: &'static str =
        "an offer {risk,branch,digest,version,size,url,since,until}, each field once";
    const ORDER: &'static str = "risk, branch and digest";

    fn read(text: &str, at: usize) -> Result<Self, IndexError> {
        let text: OfferText<'_> = object::<Self, _>(text, at)?;
        let risk = Risk::from_name(text.risk)
            .ok_or_else(|| bounds("offers.risk", at, RISK, Found::Other("another word")))?;
        Ok(Self {
            risk,
            branch: take(text.branch, "offers.branch", at, LABEL)?,
            digest: text.digest.0,
            version: take(text.version, "offers.version", at, VERSION)?,
            size: text.size,
            url: take(text.url, "offers.url", at, URL)?,
            since: text.since,
            until: text.until,
        })
    }

    fn check(&self, at: usize) -> Result<(), IndexError> {
        if !self.risk.is_known() {
            let code = Found::Number(self.risk.code().into());
            return Err(bounds("offers.risk", at, RISK, code));
        }
        check_characters(&self.branch, is_label, "offers.branch", at, LABEL)?;
        check_full(&self.version, is_label, "offers.version", at, VERSION)?;
        check_number(self.size, 1, "offers.size", at)?;
        check_full(&self.url, is_url, "offers.url", at, URL)?;
        check_number(self.since, 0, "offers.since", at)?;
        check_number(self.until, 0, "offers.until", at)?;
        // An offer that ends before it begins is a mistake, not an offer of nothing.
        if self.until != 0 && self.until <= self.since {
            let found = Found::Number(self.until);
            return Err(bounds("offers.until", at, "0, or a time after since", found));
        }
        Ok(())
    }

    fn write(&self, into: &mut [u8]) -> serde_json_core::ser::Result<usize> {
        let text = OfferText {
            risk: self.risk.name(),
            branch: &self.branch,
            digest: Hex(self.digest),
            version: &self.version,
            size: self.size,
            url: &self.url,
            since: self.since,
            until: self.until,
        };
        serde_json_core::to_slice(&text, into)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let key = |offer: &Self| offer.risk.code();
        key(self)
            .cmp(&key(other))
            .then_with(|| self.branch.cmp(&other.branch))
            .then_with(|| self.digest.cmp(&other.digest))
    }
}

impl Piece for Patch {
    const LIST: &'static str = "patches";
    const MAX: usize = PATCHES_MAX;
    const FORM: &'static str = "a patch {from,to,size,url}, each field once";
    const ORDER: &'static str = "to and from";

    fn read(text: &str, at: usize) -> Result<Self, IndexError> {
        let text: PatchText<'_> = object::<Self, _>(text, at)?;
        Ok(Self {
            from: text.from.0,
            to: text.to.0,
            size: text.size,
            url: take(text.url, "patches.url", at, URL)?,
        })
    }

    fn check(&self, at: usize) -> Result<(), IndexError> {
        // A patch to where the device is already would be loaded again and again.
        if self.from == self.to {
            let found = Found::Other("the same digest");
            return Err(bounds("patches.to", at, "another digest than that of from", found));
        }
        check_number(self.size, 1, "patches.size", at)?;
        check_full(&self.url, is_url, "patches.url", at, URL)
    }

    fn write(&self, into: &mut [u8]) -> serde_json_core::ser::Result<usize> {
        let text =
            PatchText { from: Hex(self.from), to: Hex(self.to), size: self.size, url: &self.url };
        serde_json_core::to_slice(&text, into)
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.to.cmp(&other.to).then_with(|| self.from.cmp(&other.from))
    }
}

/// Reads one object of a list, with nothing behind it.
fn object<'a, P: Piece, T: Deserialize<'a>>(text: &'a str, at: usize) -> Result<T, IndexError> {
    serde_json_core::from_str(text)
        .map(|(value, _)| value)
        .map_err(|_| IndexError::Malformed { at, expected: P::FORM })
}

const fn bounds(
    field: &'static str,
    at: usize,
    expected: &'static str,
    found: Found,
) -> IndexError {
    IndexError::Bounds { field, at, expected, found }
}

fn take<const N: usize>(
    text: &str,
    field: &'static str,
    at: usize,
    expected: &'static str,
) -> Result<String<N>, IndexError> {
    String::try_from(text).map_err(|_| bounds(field, at, expected, Found::Length(text.len())))
}

fn check_number(number: u64, min: u64, field: &'static str, at: usize) -> Result<(), IndexError> {
    if (min..=NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    let expected = if min == 0 { NUMBER } else { NUMBER_FROM_1 };
    Err(bounds(field, at, expected, Found::Number(number)))
}

/// Checks that `text` consists of what is `allowed`.
fn check_characters(
    text: &str,
    allowed: fn(&str) -> bool,
    field: &'static str,
    at: usize,
    expected: &'static str,
) -> Result<(), IndexError> {
    let other = text.chars().find(|found| !allowed(found.encode_utf8(&mut [0; 4])));
    other.map_or(Ok(()), |found| Err(bounds(field, at, expected, Found::Character(found))))
}

/// As [`check_characters`], of at least one character.
fn check_full(
    text: &str,
    allowed: fn(&str) -> bool,
    field: &'static str,
    at: usize,
    expected: &'static str,
) -> Result<(), IndexError> {
    if text.is_empty() {
        return Err(bounds(field, at, expected, Found::Length(0)));
    }
    check_characters(text, allowed, field, at, expected)
}

impl IndexHead {
    fn check(&self) -> Result<(), IndexError> {
        if self.schema != SCHEMA {
            return Err(IndexError::Schema { found: self.schema.into() });
        }
        check_full(&self.track, is_label, "track", 0, LABEL_FROM_1)?;
        check_number(self.issue, 1, "issue", 0)?;
        check_number(self.until, 0, "until", 0)
    }

    /// Writes everything before the first offer.
    fn write(&self, out: &mut Output<'_>) {
        let Self { schema, product, track, issue, until } = self;
        let product = Hex(*product);
        // An output does not fail: it counts what it has no room for.
        let _ = write!(
            out,
            "{{\"schema\":{schema},\"product\":\"{product}\",\"track\":\"{track}\",\
             \"issue\":{issue},\"until\":{until},\"offers\":["
        );
    }

    /// Writes an index with these fields, offers and patches at the start of `into` and returns its
    /// length in bytes. Offers are ordered by risk, branch and digest, patches by `to` and `from`.
    ///
    /// # Errors
    /// [`IndexError`] when the index breaks a rule, so that [`ChannelIndex::parse`] would refuse it,
    /// or when it is longer than `into` or [`INDEX_LEN_MAX`]; then `into` holds nothing of use.
    pub fn emit<O, P>(&self, offers: O, patches: P, into: &mut [u8]) -> Result<usize, IndexError>
    where
        O: IntoIterator<Item: Borrow<IndexOffer>>,
        P: IntoIterator<Item: Borrow<Patch>>,
    {
        self.check()?;
        let max = into.len().min(INDEX_LEN_MAX);
        let mut out = Output { into, len: 0 };
        self.write(&mut out);
        write_list::<IndexOffer, _>(offers, &mut out)?;
        out.put(b"],\"patches\":[");
        write_list::<Patch, _>(patches, &mut out)?;
        out.put(b"]}");
        if out.len > max {
            return Err(IndexError::Text(TextFault::TooLong { max, found: out.len }));
        }
        Ok(out.len)
    }
}

fn write_list<P: Piece, B: Borrow<P>>(
    list: impl IntoIterator<Item = B>,
    out: &mut Output<'_>,
) -> Result<(), IndexError> {
    let mut last: Option<B> = None;
    for (count, piece) in list.into_iter().enumerate() {
        if count == P::MAX {
            return Err(IndexError::TooMany { field: P::LIST, max: P::MAX });
        }
        if count > 0 {
            out.put(b",");
        }
        let mut room = [0; PIECE_LEN_MAX];
        let text = check_piece(piece.borrow(), last.as_ref().map(B::borrow), out.len, &mut room)?;
        out.put(text);
        last = Some(piece);
    }
    Ok(())
}

/// Checks what stands at `at` and follows `last`, and encodes it: the rules of reading and of
/// writing are the same ones.
fn check_piece<'r, P: Piece>(
    piece: &P,
    last: Option<&P>,
    at: usize,
    room: &'r mut [u8; PIECE_LEN_MAX],
) -> Result<&'r [u8], IndexError> {
    piece.check(at)?;
    if last.is_some_and(|last| last.compare(piece) != Ordering::Less) {
        return Err(IndexError::Order { field: P::LIST, at, expected: P::ORDER });
    }
    // What passed the check has room.
    let too_long = TextFault::TooLong { max: PIECE_LEN_MAX, found: PIECE_LEN_MAX + 1 };
    let len = piece.write(room).map_err(|_| IndexError::Text(too_long))?;
    room.get(..len).ok_or(IndexError::Text(too_long))
}

/// Bytes that are written, and the count of all that would be.
struct Output<'b> {
    into: &'b mut [u8],
    len: usize,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.into.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }
}

impl fmt::Write for Output<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

/// The text of an index, as far as it is not read yet. The form is canonical, so the object around
/// the lists needs no parser: each field has one place.
struct Reader<'a> {
    all: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Bytes that are read.
    const fn at(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    const fn malformed(&self, expected: &'static str) -> IndexError {
        IndexError::Malformed { at: self.at(), expected }
    }

    fn literal(&mut self, text: &'static str) -> Result<(), IndexError> {
        self.rest = self.rest.strip_prefix(text).ok_or_else(|| self.malformed(text))?;
        Ok(())
    }

    /// The characters up to the end of a string, and past the quotation mark.
    fn string(&mut self) -> Result<&'a str, IndexError> {
        let (text, rest) =
            self.rest.split_once('"').ok_or_else(|| self.malformed("the end of a string"))?;
        self.rest = rest;
        Ok(text)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, IndexError> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at_checked(len).unwrap_or(("", self.rest));
        if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
            return Err(self.malformed("a whole number without leading zeros"));
        }
        self.rest = rest;
        digits.parse().map_err(|_| bounds(field, 0, NUMBER, Found::Length(len)))
    }

    fn head(&mut self) -> Result<IndexHead, IndexError> {
        self.literal("{\"schema\":")?;
        let schema = self.number("schema")?;
        let schema = u8::try_from(schema).map_err(|_| IndexError::Schema { found: schema })?;
        self.literal(",\"product\":\"")?;
        let (digits, rest) = self.rest.split_at_checked(32).unwrap_or_default();
        let product = from_hex(digits.as_bytes())
            .ok_or_else(|| self.malformed("a product of 32 hexadecimal digits"))?;
        self.rest = rest;
        self.literal("\",\"track\":\"")?;
        let track = take(self.string()?, "track", 0, LABEL_FROM_1)?;
        self.literal(",\"issue\":")?;
        let issue = self.number("issue")?;
        self.literal(",\"until\":")?;
        let until = self.number("until")?;
        self.literal(",\"offers\":[")?;
        let head = IndexHead { schema, product, track, issue, until };
        head.check()?;
        let mut room = [0; PIECE_LEN_MAX];
        let mut again = Output { into: &mut room, len: 0 };
        head.write(&mut again);
        let len = again.len;
        let read = self.all.as_bytes().get(..self.at()).unwrap_or_default();
        canonical(read, room.get(..len).unwrap_or_default(), 0)?;
        Ok(head)
    }

    /// Checks a list up to the bracket that ends it, and returns what is inside.
    fn list<P: Piece>(&mut self) -> Result<&'a str, IndexError> {
        let start = self.rest;
        let mut last: Option<P> = None;
        let mut count = 0;
        while !self.rest.starts_with(']') {
            if count > 0 {
                self.rest = self
                    .rest
                    .strip_prefix(',')
                    .ok_or_else(|| self.malformed("a comma or the end of a list"))?;
            }
            let (text, rest) = split_object(self.rest).ok_or_else(|| self.malformed(P::FORM))?;
            if count == P::MAX {
                return Err(IndexError::TooMany { field: P::LIST, max: P::MAX });
            }
            let at = self.at();
            let piece = P::read(text, at)?;
            let mut room = [0; PIECE_LEN_MAX];
            let again = check_piece(&piece, last.as_ref(), at, &mut room)?;
            canonical(text.as_bytes(), again, at)?;
            last = Some(piece);
            self.rest = rest;
            count += 1;
        }
        Ok(start.get(..start.len() - self.rest.len()).unwrap_or_default())
    }
}

/// Checks that `found`, which stands at `at`, is how its value is encoded `again`.
fn canonical(found: &[u8], again: &[u8], at: usize) -> Result<(), IndexError> {
    if found == again {
        return Ok(());
    }
    let same = found.iter().zip(again).take_while(|(found, again)| found == again).count();
    Err(IndexError::NotCanonical { at: at + same })
}

/// The object that `text` starts with, and what follows. Without escapes each quotation mark starts
/// or ends a string, and no object of an index has another one inside.
fn split_object(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('{') {
        return None;
    }
    let mut inside = false;
    let end = text.bytes().position(|byte| {
        inside ^= byte == b'"';
        byte == b'}' && !inside
    })?;
    text.split_at_checked(end + 1)
}

/// The entries of a list that is checked.
#[derive(Clone, Debug)]
struct Pieces<'a, P> {
    rest: &'a str,
    of: PhantomData<P>,
}

impl<P: Piece> Iterator for Pieces<'_, P> {
    type Item = P;

    fn next(&mut self) -> Option<P> {
        let text = self.rest.strip_prefix(',').unwrap_or(self.rest);
        // Nothing is odd in what is checked. If it were, the list would end there.
        let (text, rest) = split_object(text).unwrap_or_default();
        let piece = P::read(text, 0).ok();
        self.rest = if piece.is_some() { rest } else { "" };
        piece
    }
}

impl<P: Piece> FusedIterator for Pieces<'_, P> {}

impl<'a> ChannelIndex<'a> {
    /// Checks an index, all of it. Verify the signature over `bytes` first: [`verify_index`] does.
    ///
    /// # Errors
    /// [`IndexError`] naming the first rule that is broken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IndexError> {
        // Before all other rules: those of another schema are not known.
        if let Some(found) = other_schema(bytes) {
            return Err(IndexError::Schema { found });
        }
        check_text(bytes, INDEX_LEN_MAX, Layout::OneLine).map_err(IndexError::Text)?;
        // It is ASCII.
        let all = core::str::from_utf8(bytes).unwrap_or_default();
        let mut reader = Reader { all, rest: all };
        let head = reader.head()?;
        let offers = reader.list::<IndexOffer>()?;
        reader.literal("],\"patches\":[")?;
        let patches = reader.list::<Patch>()?;
        reader.literal("]}")?;
        if !reader.rest.is_empty() {
            return Err(reader.malformed("the end of the index"));
        }
        Ok(Self { head, offers, patches })
    }

    /// The fields before the lists.
    #[must_use]
    pub const fn head(&self) -> &IndexHead {
        &self.head
    }

    /// [`SCHEMA`].
    #[must_use]
    pub const fn schema(&self) -> u8 {
        self.head.schema
    }

    /// The product, as in the signed bytes.
    #[must_use]
    pub const fn product(&self) -> &Id {
        &self.head.product
    }

    /// The track; never empty.
    #[must_use]
    pub const fn track(&self) -> &Name {
        &self.head.track
    }

    /// Number of the index, 1..=[`NUMBER_MAX`]; counts up with each index of the track.
    #[must_use]
    pub const fn issue(&self) -> u64 {
        self.head.issue
    }

    /// Unix time in seconds at which the whole index ends; 0 for never.
    #[must_use]
    pub const fn until(&self) -> u64 {
        self.head.until
    }

    /// What is offered, by risk, branch and digest, no two alike; at most [`OFFERS_MAX`], none where
    /// nothing is. Each is read from the bytes when it is asked for.
    pub fn offers(&self) -> impl FusedIterator<Item = IndexOffer> + Clone + use<'a> {
        Pieces { rest: self.offers, of: PhantomData }
    }

    /// The patches, by `to` and `from`, no two alike; at most [`PATCHES_MAX`]. Each is read from the
    /// bytes when it is asked for.
    pub fn patches(&self) -> impl FusedIterator<Item = Patch> + Clone + use<'a> {
        Pieces { rest: self.patches, of: PhantomData }
    }

    /// Whether the index as a whole counts at `now`, unix time in seconds, on a device that has seen
    /// the issue `issue_seen` of this track, 0 for none. The same issue once more counts.
    ///
    /// As with [`IndexOffer::stands`], without a clock that can be trusted only an index without an end
    /// counts: else a device would believe an old one for ever, from an attacker who holds back the
    /// new ones.
    ///
    /// # Errors
    /// [`NotCurrent`]; of two reasons the issue is told.
    pub const fn stands(&self, now: Option<u64>, issue_seen: u64) -> Result<(), NotCurrent> {
        let IndexHead { issue, until, .. } = self.head;
        if issue < issue_seen {
            return Err(NotCurrent::Superseded { issue, seen: issue_seen });
        }
        match now {
            _ if until == 0 => Ok(()),
            None => Err(NotCurrent::NoClock { until }),
            Some(now) if now >= until => Err(NotCurrent::Expired { until, now }),
            Some(_) => Ok(()),
        }
    }
}

impl IndexOffer {
    /// Whether the offer stands at `now`, unix time in seconds. Without a clock that can be trusted
    /// only an offer without times does.
    #[must_use]
    pub fn stands(&self, now: Option<u64>) -> bool {
        match now {
            Some(now) => now >= self.since && (self.until == 0 || now < self.until),
            None => self.since == 0 && self.until == 0,
        }
    }
}

/// The schema of an index that is not of ours, so that it is named rather than called malformed.
fn other_schema(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(b"{\"schema\":")?;
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(len)?;
    let is_whole = matches!(rest.first(), Some(b',' | b'}'));
    let found = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_whole && found != u64::from(SCHEMA)).then_some(found)
}

/// Verifies an index envelope under a keyset that the roots signed, then reads it.
///
/// # Errors
/// [`IndexError`].
pub fn verify_index<'a, H: Sha256>(
    device: &Device<'_>,
    keyset: &Keyset,
    envelope: &Envelope<'a>,
) -> Result<Verified<ChannelIndex<'a>>, IndexError> {
    let index = verify_payload::<H, _, _>(
        device,
        keyset,
        (PayloadType::ChannelIndex, KeyRole::Channel),
        envelope,
        IndexError::Signature,
        ChannelIndex::parse,
    )?;
    if *index.product() != device.product {
        return Err(IndexError::Trust(TrustError::WrongProduct));
    }
    Ok(index)
}
