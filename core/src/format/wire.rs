//! The encoding of keysets, manifests and boot records: postcard's, read and written by hand.
//!
//! Numbers are LEB128 of the fewest bytes, a `u8` is itself, arrays stand as they are, texts and
//! lists follow their length, an enum follows the number of its variant. Each value has exactly one
//! encoding, and nothing else is accepted. Tests compare these bytes with those of the `postcard`
//! crate, which would cost a boot loader more code.

// Why: docs/DESIGN.md#why-encoding-by-hand
// Why: docs/DESIGN.md#why-one-encoding

use heapless::string::StringView;
use heapless::{String, Vec};

use super::FormatError;

/// Reads values off the front of some bytes. An error sticks, and everything read after it is zero:
/// so that the many small reads need no branch each, which halves their code.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    error: Option<FormatError>,
}

impl Reader<'_> {
    #[inline(never)]
    pub(super) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => self.fail(FormatError::Short),
        }
    }

    /// Notes the first error, and ends the reading.
    #[inline(never)]
    pub(super) fn fail(&mut self, error: FormatError) -> u8 {
        self.error.get_or_insert(error);
        self.rest = &[];
        0
    }

    /// A number of at most `bits` bits.
    #[inline(never)]
    pub(super) fn number(&mut self, bits: u32) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            let part = u64::from(byte & 0x7f);
            // Bits that the type does not have would be lost, and two encodings mean one value.
            let lost = bits - shift < 7 && part >> (bits - shift) != 0;
            value |= part << shift;
            shift += 7;
            let more = byte & 0x80 != 0;
            if lost || (more && shift >= bits) {
                return self.fail(FormatError::Malformed).into();
            }
            if !more {
                // A last byte of zero is padding.
                if byte == 0 && shift > 7 {
                    self.fail(FormatError::NotCanonical);
                }
                return value;
            }
        }
    }

    #[inline(never)]
    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            *byte = self.byte();
        }
    }

    /// The length of a list or text of at most `max` elements.
    #[inline(never)]
    fn len(&mut self, max: usize) -> usize {
        let len = self.number(64);
        if len > max as u64 {
            return self.fail(FormatError::Malformed).into();
        }
        // At most `max`, which is a `usize`.
        len as usize
    }

    /// A text of at most as many bytes as there is room for.
    #[inline(never)]
    fn text(&mut self, text: &mut StringView) {
        for _ in 0..self.len(text.capacity()) {
            // Names and versions are ASCII. The format that has them checks what else they may
            // hold.
            let byte = self.byte();
            if !byte.is_ascii() || text.push(byte.into()).is_err() {
                self.fail(FormatError::Malformed);
            }
        }
    }

    /// The first error, if there was one; bytes that are left over are one.
    #[inline(never)]
    fn finish(&self) -> Result<(), FormatError> {
        match self.error {
            Some(error) => Err(error),
            None if self.rest.is_empty() => Ok(()),
            None => Err(FormatError::Trailing),
        }
    }
}

/// Writes values one after the other; what does not fit is counted all the same.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    #[inline(never)]
    pub(super) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    #[inline(never)]
    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }
}

/// A value with one encoding.
pub(super) trait Wire: Sized {
    /// What stands where a value will be read to. Values are read in place: moved about, a manifest
    /// would take a kilobyte of stack at each level, and the code that moves it.
    const BLANK: Self;
    fn take(&mut self, reader: &mut Reader<'_>);
    fn put(&self, writer: &mut Writer<'_>);
}

/// Decodes `bytes`, all of them, into `value`; after an error it holds nothing of use.
pub(super) fn parse<T: Wire>(bytes: &[u8], value: &mut T) -> Result<(), FormatError> {
    let mut reader = Reader { rest: bytes, error: None };
    *value = T::BLANK;
    value.take(&mut reader);
    reader.finish()
}

/// Encodes `value` at the start of `into`, and returns the length.
pub(super) fn emit<T: Wire>(value: &T, into: &mut [u8]) -> Result<usize, FormatError> {
    let room = into.len();
    let mut writer = Writer { out: into, len: 0 };
    value.put(&mut writer);
    if writer.len <= room { Ok(writer.len) } else { Err(FormatError::Short) }
}

/// Length in bytes that [`emit`] gives.
#[cfg(feature = "log")]
pub(super) fn len<T: Wire>(value: &T) -> usize {
    let mut writer = Writer { out: &mut [], len: 0 };
    value.put(&mut writer);
    writer.len
}

impl Wire for u8 {
    const BLANK: Self = 0;
    fn take(&mut self, reader: &mut Reader<'_>) {
        *self = reader.byte();
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.byte(*self);
    }
}

impl Wire for bool {
    const BLANK: Self = false;
    fn take(&mut self, reader: &mut Reader<'_>) {
        *self = match reader.byte() {
            0 => false,
            1 => true,
            _ => reader.fail(FormatError::Malformed) != 0,
        };
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.byte((*self).into());
    }
}

macro_rules! wire_number {
    ($($number:ty)+) => { $(
        impl Wire for $number {
            const BLANK: Self = 0;
            fn take(&mut self, reader: &mut Reader<'_>) {
                // `number` has checked that no bit is lost.
                *self = reader.number(<$number>::BITS) as $number;
            }
            fn put(&self, writer: &mut Writer<'_>) {
                writer.number((*self).into());
            }
        }
    )+ };
}

wire_number!(u16 u32 u64);

impl<const N: usize> Wire for [u8; N] {
    const BLANK: Self = [0; N];
    fn take(&mut self, reader: &mut Reader<'_>) {
        reader.fill(self);
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.bytes(self);
    }
}

impl<const N: usize> Wire for String<N> {
    const BLANK: Self = Self::new();
    fn take(&mut self, reader: &mut Reader<'_>) {
        self.clear();
        reader.text(self.as_mut_view());
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.number(self.len() as u64);
        writer.bytes(self.as_bytes());
    }
}

impl<T: Wire, const N: usize> Wire for Vec<T, N> {
    const BLANK: Self = Self::new();
    fn take(&mut self, reader: &mut Reader<'_>) {
        self.clear();
        for _ in 0..reader.len(N) {
            // There is room: the length is at most N.
            let _ = self.push(T::BLANK);
            if let Some(last) = self.last_mut() {
                last.take(reader);
            }
        }
    }
    fn put(&self, writer: &mut Writer<'_>) {
        writer.number(self.len() as u64);
        for value in self {
            value.put(writer);
        }
    }
}

/// Encodes a struct as its fields, in the order given here.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl crate::format::wire::Wire for $name {
            const BLANK: Self = Self { $($field: crate::format::wire::Wire::BLANK),+ };
            fn take(&mut self, reader: &mut crate::format::wire::Reader<'_>) {
                $(crate::format::wire::Wire::take(&mut self.$field, reader);)+
            }
            fn put(&self, writer: &mut crate::format::wire::Writer<'_>) {
                $(crate::format::wire::Wire::put(&self.$field, writer);)+
            }
        }
    };
}

pub(super) use wire_struct;
