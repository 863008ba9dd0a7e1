//! The JSON side, for tools and agents: the signed channel index, the manifest's view for people,
//! and releases as KubeSolo OS publishes them.
//!
//! Nothing here boots or is installed: the boot path reads only the formats of
//! [`format`](stillboot::format). JSON has many ways to write one value, and readers that disagree on
//! what a text says have been attacks elsewhere. So texts are ASCII without escapes and without
//! control characters, whole numbers end at 2^53 - 1, unknown and repeated fields are refused, and
//! our own format is canonical: what is accepted encodes to the same bytes again.
//!
//! Signatures are checked before anything is parsed, and no parser here recurses on what the input
//! says: values have the depth of our own types.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

pub mod index;
pub mod latest;
pub mod view;

pub use index::{
    ChannelIndex, Found, IndexError, IndexHead, IndexOffer, NotCurrent, Patch, verify_index,
};
pub use latest::{Latest, LatestError};
pub use view::{ManifestView, view_manifest};

/// The greatest whole number that every reader of JSON keeps exactly: 2^53 - 1.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Why bytes are not text that all readers of JSON read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TextFault {
    /// It is longer than it may be.
    TooLong {
        /// The most, in bytes.
        max: usize,
        /// What was found, in bytes.
        found: usize,
    },
    /// A backslash: readers differ on what escapes mean, down to the names of fields.
    Escape {
        /// Bytes before it.
        at: usize,
    },
    /// A control character.
    Control {
        /// Bytes before it.
        at: usize,
        /// What was found.
        found: u8,
    },
    /// A byte above 127.
    NotAscii {
        /// Bytes before it.
        at: usize,
        /// What was found.
        found: u8,
    },
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max, found } => {
                write!(f, "expected at most {max} bytes, found {found}")
            }
            Self::Escape { at } => {
                write!(f, "expected text without escapes, found a backslash at byte {at}")
            }
            Self::Control { at, found } => {
                write!(f, "expected no control characters, found {found:#04x} at byte {at}")
            }
            Self::NotAscii { at, found } => {
                write!(f, "expected ASCII only, found {found:#04x} at byte {at}")
            }
        }
    }
}

impl core::error::Error for TextFault {}

/// Where line ends and tabs may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nowhere.
    OneLine,
    /// Outside of strings.
    Lines,
}

/// Refuses what readers of JSON read differently, before any of them sees it.
fn check_text(bytes: &[u8], max: usize, layout: Layout) -> Result<(), TextFault> {
    if bytes.len() > max {
        return Err(TextFault::TooLong { max, found: bytes.len() });
    }
    let mut inside = false;
    for (at, found) in bytes.iter().copied().enumerate() {
        match found {
            b'\\' => return Err(TextFault::Escape { at }),
            // Without escapes each quotation mark starts or ends a string.
            b'"' => inside = !inside,
            b'\n' | b'\r' | b'\t' if layout == Layout::Lines && !inside => {}
            0..=0x1f | 0x7f => return Err(TextFault::Control { at, found }),
            0x80.. => return Err(TextFault::NotAscii { at, found }),
            _ => {}
        }
    }
    Ok(())
}

/// The bytes that hexadecimal digits of either case stand for; `None` unless there are exactly `N`
/// pairs of them.
fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Whether `text` is what a URL can consist of: no space, no quotation mark, nothing that ends a
/// word for a shell's or a log's reader.
fn is_url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\^`{|}".contains(&byte))
}

/// Bytes as lower-case hexadecimal digits.
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<const N: usize>;
        impl<const N: usize> Visitor<'_> for Digits<N> {
            type Value = Hex<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits", 2 * N)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                from_hex(text.as_bytes()).map(Hex).ok_or_else(|| E::custom("hexadecimal digits"))
            }
        }
        deserializer.deserialize_str(Digits::<N>)
    }
}
