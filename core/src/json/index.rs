//! The channel index (payload type 3): what is offered on a track, signed by `channel` keys.
//!
//! ```text
//! {"schema":1,"product":"32 hex digits","track":"latest","offers":[
//!   {"risk":"stable","branch":"","digest":"64 hex digits","version":"1.2.3","size":4096,
//!    "url":"https://example.org/1.2.3.sbb","since":1767225600,"until":0}]}
//! ```
//!
//! On one line and without spaces, digits in lower case, fields in this order, offers by risk and
//! then by branch, strictly ascending: one value has one encoding. It fits the envelope's 1 KiB.
//!
//! It only advises: it says where to look. What is installed is decided by the manifest that is
//! found there, so the most that a false index does is to send devices to nothing.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::{Hex, Layout, NUMBER_MAX, TextFault, check_text, is_url};
use crate::format::envelope::PAYLOAD_LEN_MAX;
use crate::format::manifest::{Name, VersionText, is_label};
use crate::format::{Digest, Envelope, Id, KeyRole, Keyset, PayloadType, Risk};
use crate::verify::{Device, Sha256, SignatureError, TrustError, Verified, verify_payload};

/// The only schema of an index.
pub const SCHEMA: u8 = 1;
/// Most offers of one index: one for each risk of a track's main line.
pub const OFFERS_MAX: usize = 4;
/// Longest URL, in bytes.
pub const URL_LEN_MAX: usize = 192;

/// What a track offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelIndex {
    /// [`SCHEMA`].
    pub schema: u8,
    /// The product, as in the signed bytes.
    pub product: Id,
    /// The track.
    pub track: Name,
    /// What is offered, by risk and branch, no two alike; none where nothing is.
    pub offers: Vec<Offer, OFFERS_MAX>,
}

/// One offer of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
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

impl Offer {
    /// Whether the offer stands at `now`. Without a clock that can be trusted only an offer without
    /// times does.
    #[must_use]
    pub fn stands(&self, now: Option<u64>) -> bool {
        match now {
            Some(now) => now >= self.since && (self.until == 0 || now < self.until),
            None => self.since == 0 && self.until == 0,
        }
    }

    const fn order(&self) -> (u8, &Name) {
        (self.risk.code(), &self.branch)
    }
}

/// Why an index is not believed.
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
        found: u8,
    },
    /// It is not the object that is expected: a field is missing, unknown, there twice or of another
    /// type, there are too many offers, or bytes follow.
    Malformed,
    /// The value can be written in another way: spaces, upper-case digits, another order.
    NotCanonical,
    /// A field is outside its bounds.
    Bounds {
        /// The field's name.
        field: &'static str,
    },
    /// Offers are not in ascending order of risk and branch, or two are alike.
    Order,
}

impl From<TrustError> for IndexError {
    fn from(error: TrustError) -> Self {
        Self::Trust(error)
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(error) => write!(f, "channel index: {error}"),
            Self::Signature(error) => write!(f, "channel index: {error}"),
            Self::Text(fault) => write!(f, "channel index: {fault}"),
            Self::Schema { found } => {
                write!(f, "channel index: schema {found} is not one that this build reads")
            }
            Self::Malformed => f.write_str(
                "channel index: not the object that is expected: a field is missing, unknown, \
                 there twice or of another type, or bytes follow",
            ),
            Self::NotCanonical => {
                f.write_str("channel index: the encoding is not the canonical one")
            }
            Self::Bounds { field } => write!(f, "channel index: {field} is outside its bounds"),
            Self::Order => f.write_str(
                "channel index: offers are not in the order of risk and branch, or two are alike",
            ),
        }
    }
}

impl core::error::Error for IndexError {}

/// The index as it stands in JSON, before its fields are checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexText<'a> {
    schema: u8,
    product: Hex<16>,
    track: &'a str,
    #[serde(borrow)]
    offers: Vec<OfferText<'a>, OFFERS_MAX>,
}

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

impl ChannelIndex {
    /// Reads and checks an index. Verify the signature over `bytes` first: [`verify_index`] does.
    ///
    /// # Errors
    /// [`IndexError`] naming the first rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        check_text(bytes, PAYLOAD_LEN_MAX, Layout::OneLine).map_err(IndexError::Text)?;
        if let Some(found) = later_schema(bytes) {
            return Err(IndexError::Schema { found });
        }
        let (text, _): (IndexText<'_>, usize) =
            serde_json_core::from_slice(bytes).map_err(|_| IndexError::Malformed)?;
        let mut index = Self {
            schema: text.schema,
            product: text.product.0,
            track: take(text.track, "track")?,
            offers: Vec::new(),
        };
        for offer in &text.offers {
            let risk = Risk::from_name(offer.risk).ok_or(IndexError::Bounds { field: "risk" })?;
            let offer = Offer {
                risk,
                branch: take(offer.branch, "branch")?,
                digest: offer.digest.0,
                version: take(offer.version, "version")?,
                size: offer.size,
                url: take(offer.url, "url")?,
                since: offer.since,
                until: offer.until,
            };
            // Both lists have the same room.
            index.offers.push(offer).map_err(|_| IndexError::Malformed)?;
        }
        let mut again = [0; PAYLOAD_LEN_MAX];
        let len = index.emit(&mut again)?;
        if again[..len] == *bytes { Ok(index) } else { Err(IndexError::NotCanonical) }
    }

    /// Writes the index at the start of `into` and returns its length.
    ///
    /// # Errors
    /// [`IndexError`] when the index breaks a rule, or is longer than `into` or an envelope's
    /// payload.
    pub fn emit(&self, into: &mut [u8]) -> Result<usize, IndexError> {
        self.check()?;
        let mut text = IndexText {
            schema: self.schema,
            product: Hex(self.product),
            track: &self.track,
            offers: Vec::new(),
        };
        for offer in &self.offers {
            let offer = OfferText {
                risk: offer.risk.name(),
                branch: &offer.branch,
                digest: Hex(offer.digest),
                version: &offer.version,
                size: offer.size,
                url: &offer.url,
                since: offer.since,
                until: offer.until,
            };
            // Both lists have the same room.
            text.offers.push(offer).map_err(|_| IndexError::Malformed)?;
        }
        let max = into.len().min(PAYLOAD_LEN_MAX);
        serde_json_core::to_slice(&text, &mut into[..max])
            .map_err(|_| IndexError::Text(TextFault::TooLong { max, found: max + 1 }))
    }

    fn check(&self) -> Result<(), IndexError> {
        let bounds = |field| Err(IndexError::Bounds { field });
        if self.schema != SCHEMA {
            return Err(IndexError::Schema { found: self.schema });
        }
        if self.track.is_empty() || !is_label(&self.track) {
            return bounds("track");
        }
        for offer in &self.offers {
            if !offer.risk.is_known() {
                return bounds("risk");
            }
            if !is_label(&offer.branch) {
                return bounds("branch");
            }
            if offer.version.is_empty() || !is_label(&offer.version) {
                return bounds("version");
            }
            if offer.size == 0 || offer.size > NUMBER_MAX {
                return bounds("size");
            }
            if offer.url.is_empty() || !is_url(&offer.url) {
                return bounds("url");
            }
            // An offer that ends before it begins is a mistake, not an offer of nothing.
            let ends = offer.until == 0 || offer.since < offer.until;
            if offer.since > NUMBER_MAX || offer.until > NUMBER_MAX || !ends {
                return bounds("until");
            }
        }
        let mut pairs = self.offers.iter().zip(self.offers.iter().skip(1));
        if pairs.any(|(one, next)| one.order() >= next.order()) {
            return Err(IndexError::Order);
        }
        Ok(())
    }
}

fn take<const N: usize>(text: &str, field: &'static str) -> Result<String<N>, IndexError> {
    String::try_from(text).map_err(|_| IndexError::Bounds { field })
}

/// The schema of an index that is not of ours, so that it is named rather than called malformed.
fn later_schema(bytes: &[u8]) -> Option<u8> {
    let rest = bytes.strip_prefix(b"{\"schema\":")?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    let found: u8 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (found != SCHEMA).then_some(found)
}

/// Verifies an index envelope under a keyset that the roots signed, then reads it.
///
/// # Errors
/// [`IndexError`].
pub fn verify_index<H: Sha256>(
    device: &Device<'_>,
    keyset: &Keyset,
    envelope: &Envelope<'_>,
) -> Result<Verified<ChannelIndex>, IndexError> {
    let index = verify_payload::<H, _, _>(
        device,
        keyset,
        (PayloadType::ChannelIndex, KeyRole::Channel),
        envelope,
        IndexError::Signature,
        ChannelIndex::parse,
    )?;
    if index.product != device.product {
        return Err(IndexError::Trust(TrustError::WrongProduct));
    }
    Ok(index)
}
