//! SMBIOS: what a machine says of itself, from the tables that its firmware leaves in memory.
//!
//! ```text
//! entry point    "_SM_" (version 2, 31 bytes) or "_SM3_" (version 3, 24 bytes), with a checksum
//! table          structures, each: type, length, handle, the rest of its length,
//!                then its texts, each with a zero behind it, and one more zero
//! ```
//!
//! A structure that is cut short ends the table; what came before it counts.

use core::fmt;

use crate::chid::Fields;

/// Longest table that is looked at, in bytes; real ones have a few KiB.
pub const TABLE_LEN_MAX: usize = 1 << 20;

/// Bytes of the entry point of version 2.
pub const ENTRY2_LEN: usize = 31;
/// Bytes of the entry point of version 3.
pub const ENTRY3_LEN: usize = 24;

/// Structures of one table at most: a structure has four bytes and two zeros at least.
const END_OF_TABLE: u8 = 127;

/// Where an entry point says the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Entry {
    /// Its address in memory.
    pub address: u64,
    /// Its length in bytes; with version 3 the most that it can be.
    pub len: usize,
    /// How many structures it has, if that is said.
    pub count: Option<u16>,
}

/// Why bytes are no entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EntryError {
    /// They begin with no known anchor.
    Anchor,
    /// There are fewer of them than the entry point has.
    Short,
    /// A checksum is wrong.
    Checksum,
    /// The table has no bytes, or more than [`TABLE_LEN_MAX`].
    TableLen {
        /// What it says.
        found: u32,
    },
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anchor => f.write_str("SMBIOS: expected an entry point, _SM_ or _SM3_"),
            Self::Short => f.write_str("SMBIOS: the entry point is cut short"),
            Self::Checksum => f.write_str("SMBIOS: a checksum of the entry point is wrong"),
            Self::TableLen { found } => {
                write!(f, "SMBIOS: a table of {found} bytes: expected 1 to {TABLE_LEN_MAX}")
            }
        }
    }
}

impl core::error::Error for EntryError {}

impl Entry {
    /// Reads an entry point of either version.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let checked = |bytes: &[u8], len: u8, len_min: usize| {
            let all = bytes.get(..len.into()).ok_or(EntryError::Short)?;
            if all.len() < len_min {
                return Err(EntryError::Short);
            }
            match sum(all) {
                0 => Ok(()),
                _ => Err(EntryError::Checksum),
            }
        };
        let (entry, len) = if bytes.starts_with(b"_SM3_") {
            let entry: &[u8; ENTRY3_LEN] = bytes.first_chunk().ok_or(EntryError::Short)?;
            checked(bytes, entry[6], ENTRY3_LEN)?;
            let len = number(&entry[12..16]) as u32;
            (Self { address: number(&entry[16..24]), len: len as usize, count: None }, len)
        } else if bytes.starts_with(b"_SM_") {
            let entry: &[u8; ENTRY2_LEN] = bytes.first_chunk().ok_or(EntryError::Short)?;
            // Version 2.1 of the specification says 30 by mistake instead of 31.
            checked(bytes, entry[5].max(ENTRY2_LEN as u8), ENTRY2_LEN)?;
            if &entry[16..21] != b"_DMI_" || sum(&entry[16..31]) != 0 {
                return Err(EntryError::Checksum);
            }
            let len = number(&entry[22..24]) as u32;
            let count = Some(number(&entry[28..30]) as u16);
            (Self { address: number(&entry[24..28]), len: len as usize, count }, len)
        } else {
            return Err(EntryError::Anchor);
        };
        if !(1..=TABLE_LEN_MAX).contains(&entry.len) {
            return Err(EntryError::TableLen { found: len });
        }
        Ok(entry)
    }

    /// The table of this entry point, from the bytes at its address.
    #[must_use]
    pub fn table<'a>(&self, bytes: &'a [u8]) -> Table<'a> {
        Table { bytes: bytes.get(..self.len).unwrap_or(bytes), count: self.count }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A table: any bytes at all, read as far as they go.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    count: Option<u16>,
}

impl<'a> Table<'a> {
    /// A table without an entry point, as Linux shows it in `/sys/firmware/dmi/tables/DMI`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.get(..TABLE_LEN_MAX).unwrap_or(bytes), count: None }
    }

    /// The structures, in their order.
    pub fn structures(&self) -> impl Iterator<Item = Structure<'a>> + use<'a> {
        let mut rest = self.bytes;
        let mut left = self.count.map_or(usize::MAX, usize::from);
        core::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (structure, behind) = Structure::take(rest)?;
            rest = behind;
            (structure.kind() != END_OF_TABLE).then_some(structure)
        })
    }

    /// What identifies the machine. Of structures that come more than once, the first one counts.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        let mut fields = Fields::default();
        let (mut bios, mut system, mut board, mut enclosure) = (false, false, false, false);
        for structure in self.structures() {
            let text = |at| structure.text_at(at);
            match structure.kind() {
                0 if !bios => {
                    bios = true;
                    (fields.bios_vendor, fields.bios_version) = (text(0x04), text(0x05));
                    fields.bios_major = structure.byte(0x14);
                    fields.bios_minor = structure.byte(0x15);
                }
                1 if !system => {
                    system = true;
                    (fields.manufacturer, fields.product_name) = (text(0x04), text(0x05));
                    (fields.product_sku, fields.family) = (text(0x19), text(0x1a));
                }
                2 if !board => {
                    board = true;
                    (fields.board_manufacturer, fields.board_product) = (text(0x04), text(0x05));
                }
                3 if !enclosure => {
                    enclosure = true;
                    // The highest bit says whether it has a lock.
                    fields.enclosure = structure.byte(0x05).map(|kind| kind & 0x7f);
                }
                _ => {}
            }
        }
        fields
    }
}

/// One structure of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure<'a> {
    /// Type, length, handle, and what the type is about.
    formatted: &'a [u8],
    /// Its texts, with a zero behind each.
    texts: &'a [u8],
}

impl<'a> Structure<'a> {
    /// The first structure of `bytes`, and what is behind it.
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let len = usize::from(*bytes.get(1)?);
        if len < 4 || len > bytes.len() {
            return None;
        }
        let (formatted, rest) = bytes.split_at(len);
        // A structure without texts ends with two zeros as well.
        let end = rest.windows(2).position(|pair| pair == [0, 0])?;
        let (texts, behind) = rest.split_at(end + 2);
        Some((Self { formatted, texts: &texts[..end + 1] }, behind))
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.formatted.first().copied().unwrap_or(END_OF_TABLE)
    }

    /// The byte at `at`, if the structure is as long as that.
    #[must_use]
    pub fn byte(&self, at: usize) -> Option<u8> {
        self.formatted.get(at).copied()
    }

    /// The text whose number stands at `at`. None if the structure is shorter, has no such text, or
    /// if it is no UTF-8.
    #[must_use]
    pub fn text_at(&self, at: usize) -> Option<&'a str> {
        let number = usize::from(self.byte(at)?).checked_sub(1)?;
        let text = self.texts.split(|byte| *byte == 0).nth(number)?;
        core::str::from_utf8(text).ok().filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn structure(kind: u8, rest: &[u8], texts: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, 4 + rest.len() as u8, kind, 0];
        bytes.extend(rest);
        texts.iter().for_each(|text| bytes.extend([text.as_bytes(), b"\0"].concat()));
        bytes.extend(if texts.is_empty() { &[0, 0][..] } else { &[0] });
        bytes
    }

    fn system(len: usize) -> Vec<u8> {
        let mut rest = [0; 0x1b - 4];
        rest[..2].copy_from_slice(&[1, 2]);
        rest[0x15..].copy_from_slice(&[3, 4]);
        structure(1, &rest[..len - 4], &["LENOVO", "21BX", "sku", "family"])
    }

    #[test]
    fn fields_come_from_their_structures_and_the_first_counts() {
        let board = structure(2, &[2, 1], &["board", "maker"]);
        let table = [
            structure(17, &[9; 30], &[]),
            system(0x1b),
            board.clone(),
            structure(3, &[1, 0x80 | 10], &["x"]),
            structure(1, &[1, 1], &["other"]),
            structure(127, &[], &[]),
            structure(0, &[1, 1], &["late"]),
        ]
        .concat();
        let fields = Table::new(&table).fields();
        assert_eq!(fields.manufacturer, Some("LENOVO"));
        assert_eq!(fields.product_name, Some("21BX"));
        assert_eq!((fields.product_sku, fields.family), (Some("sku"), Some("family")));
        assert_eq!(
            (fields.board_manufacturer, fields.board_product),
            (Some("maker"), Some("board"))
        );
        assert_eq!(fields.enclosure, Some(10));
        assert_eq!(fields.bios_vendor, None, "what follows the end does not count");
    }

    #[test]
    fn older_and_shorter_structures_lack_their_last_fields() {
        let short = system(0x19);
        let fields = Table::new(&short).fields();
        assert_eq!(fields.manufacturer, Some("LENOVO"));
        assert_eq!((fields.product_sku, fields.family), (None, None));
        let no_texts = structure(1, &[1, 2], &[]);
        assert_eq!(Table::new(&no_texts).fields().manufacturer, None);
        let beyond = structure(1, &[7, 0], &["a"]);
        let fields = Table::new(&beyond).fields();
        assert_eq!((fields.manufacturer, fields.product_name), (None, None));
    }

    #[test]
    fn every_cut_of_a_table_is_read_as_far_as_it_goes() {
        let table = [structure(2, &[1, 1], &["b"]), system(0x1b)].concat();
        for len in 0..table.len() {
            assert_eq!(Table::new(&table[..len]).fields().manufacturer, None, "{len}");
        }
        assert!(Table::new(&table).fields().manufacturer.is_some());
        assert_eq!(Table::new(&[1, 3, 0, 0, 0, 0]).structures().count(), 0);
    }

    fn with_sum(mut bytes: Vec<u8>, at: usize, from: usize) -> Vec<u8> {
        bytes[at] = 0_u8.wrapping_sub(sum(&bytes[from..]));
        bytes
    }

    fn entry2(len: u16, count: u16) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY2_LEN];
        bytes[..4].copy_from_slice(b"_SM_");
        bytes[5] = 31;
        bytes[16..21].copy_from_slice(b"_DMI_");
        bytes[22..24].copy_from_slice(&len.to_le_bytes());
        bytes[24..28].copy_from_slice(&0xf_0000_u32.to_le_bytes());
        bytes[28..30].copy_from_slice(&count.to_le_bytes());
        with_sum(with_sum(bytes, 21, 16), 4, 0)
    }

    fn entry3(len: u32) -> Vec<u8> {
        let mut bytes = vec![0; ENTRY3_LEN];
        bytes[..5].copy_from_slice(b"_SM3_");
        bytes[6] = 24;
        bytes[12..16].copy_from_slice(&len.to_le_bytes());
        bytes[16..24].copy_from_slice(&0x1_0000_0000_u64.to_le_bytes());
        with_sum(bytes, 5, 0)
    }

    #[test]
    fn both_entry_points_are_read() {
        let entry = Entry { address: 0xf_0000, len: 100, count: Some(2) };
        assert_eq!(Entry::parse(&entry2(100, 2)), Ok(entry));
        let entry = Entry { address: 1 << 32, len: 100, count: None };
        assert_eq!(Entry::parse(&entry3(100)), Ok(entry));
    }

    #[test]
    fn entry_points_that_are_damaged_are_refused() {
        for sound in [entry2(100, 2), entry3(100)] {
            for len in 0..sound.len() {
                assert!(Entry::parse(&sound[..len]).is_err());
            }
            for at in 0..sound.len() {
                let mut changed = sound.clone();
                changed[at] ^= 1;
                assert!(Entry::parse(&changed).is_err(), "{at}");
            }
        }
        for found in [0, 1 << 21] {
            assert_eq!(Entry::parse(&entry3(found)), Err(EntryError::TableLen { found }));
        }
    }

    #[test]
    fn no_more_structures_are_read_than_there_are() {
        let table = [structure(2, &[1, 1], &["b"]), system(0x1b)].concat();
        let entry = Entry { address: 0, len: table.len(), count: Some(1) };
        assert_eq!(entry.table(&table).structures().count(), 1);
        let entry = Entry { count: None, len: 9, ..entry };
        assert_eq!(entry.table(&table).fields(), Table::new(&table[..9]).fields());
    }
}
