//! Computer hardware ids: names of kinds of machines, made from what a machine says of itself.
//!
//! An id is a UUID of version 5 over some fields, joined by `&`, in UTF-16. Which fields, says its
//! kind. **An id with a field that is empty does not exist.** Were the field hashed as nothing, a
//! machine without a stock number would have the same id as every other machine of its maker that
//! has none, and get a tree that was made for one of them.

use core::fmt;

use crate::sha1::Sha1;

/// The namespace of all ids: 70ffd812-4c7f-4c7d-0000-000000000000.
const NAMESPACE: [u8; 16] =
    [0x70, 0xff, 0xd8, 0x12, 0x4c, 0x7f, 0x4c, 0x7d, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a machine says of itself. A field that is not there is `None`.
///
/// No more fields come: these are all that the standard makes ids of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fields<'a> {
    /// Who made the machine.
    pub manufacturer: Option<&'a str>,
    /// The family of products.
    pub family: Option<&'a str>,
    /// The product.
    pub product_name: Option<&'a str>,
    /// The stock number of the product.
    pub product_sku: Option<&'a str>,
    /// Who made the board.
    pub board_manufacturer: Option<&'a str>,
    /// The product that the board is.
    pub board_product: Option<&'a str>,
    /// Who made the firmware.
    pub bios_vendor: Option<&'a str>,
    /// The version of the firmware.
    pub bios_version: Option<&'a str>,
    /// The first part of the firmware's release.
    pub bios_major: Option<u8>,
    /// The second part of the firmware's release.
    pub bios_minor: Option<u8>,
    /// What the machine is built into.
    pub enclosure: Option<u8>,
    /// The panel of the machine.
    pub panel: Option<Panel>,
}

/// A kind of panel: three letters of its maker, four hexadecimal digits of its product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Panel([u8; 7]);

impl Panel {
    /// The panel that an EDID is about. `None` if it is none, or names no maker.
    #[must_use]
    pub fn from_edid(edid: &[u8]) -> Option<Self> {
        const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        let edid: &[u8; 128] = edid.first_chunk()?;
        if edid[..8] != HEADER {
            return None;
        }
        let maker = u16::from_be_bytes([edid[8], edid[9]]);
        let letter = |shift: u16| match (maker >> shift & 0x1f) as u8 {
            letter @ 1..=26 => Some(b'A' + letter - 1),
            _ => None,
        };
        let product = u16::from_le_bytes([edid[10], edid[11]]);
        let digit = |shift: u16| HEX[usize::from(product >> shift & 0xf)];
        Some(Self([letter(10)?, letter(5)?, letter(0)?, digit(12), digit(8), digit(4), digit(0)]))
    }

    /// Its name, such as `SDC4195`.
    #[must_use]
    pub fn name(&self) -> &str {
        // Letters and digits by construction.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Manufacturer,
    Family,
    ProductName,
    ProductSku,
    BoardManufacturer,
    BoardProduct,
    BiosVendor,
    BiosVersion,
    BiosMajor,
    BiosMinor,
    Enclosure,
    Panel,
}

/// All fields, in the order in which they are hashed.
const FIELDS: [Field; 12] = [
    Manufacturer,
    Family,
    ProductName,
    ProductSku,
    BoardManufacturer,
    BoardProduct,
    BiosVendor,
    BiosVersion,
    BiosMajor,
    BiosMinor,
    Enclosure,
    Field::Panel,
];

use Field::{
    BiosMajor, BiosMinor, BiosVendor, BiosVersion, BoardManufacturer, BoardProduct, Enclosure,
    Family, Manufacturer, ProductName, ProductSku,
};

/// A kind of id: which fields it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Kind(u8);

impl Kind {
    /// The fields of each kind, one bit for each field. They are hashed in the order of [`FIELDS`].
    const FIELDS: [u16; 18] = {
        const M: u16 = 1 << Manufacturer as u16;
        const F: u16 = 1 << Family as u16;
        const P: u16 = 1 << ProductName as u16;
        const S: u16 = 1 << ProductSku as u16;
        const BOARD: u16 = 1 << BoardManufacturer as u16 | 1 << BoardProduct as u16;
        const BIOS: u16 = 1 << BiosVendor as u16
            | 1 << BiosVersion as u16
            | 1 << BiosMajor as u16
            | 1 << BiosMinor as u16;
        const PANEL: u16 = 1 << Field::Panel as u16;
        [
            M | F | P | S | BIOS,
            M | F | P | BIOS,
            M | P | BIOS,
            M | F | P | S | BOARD,
            M | F | P | S,
            M | F | P,
            M | S | BOARD,
            M | S,
            M | P | BOARD,
            M | P,
            M | F | BOARD,
            M | F,
            M | 1 << Enclosure as u16,
            M | BOARD,
            M,
            M | F | P | PANEL,
            M | F | PANEL,
            M | S | PANEL,
        ]
    };

    /// The kinds by which trees are chosen, the most exact first. Kinds 0 to 2 change with the
    /// firmware; 12 to 14 fit a maker's whole range.
    pub const BY_PRIORITY: [Self; 12] = [
        Self(17),
        Self(16),
        Self(15),
        Self(3),
        Self(6),
        Self(8),
        Self(10),
        Self(4),
        Self(5),
        Self(7),
        Self(9),
        Self(11),
    ];

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::FIELDS.len() as u8).map(Self)
    }

    /// The kind of this number, 0 to 17.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < Self::FIELDS.len()).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    fn fields(self) -> impl Iterator<Item = Field> {
        // The number is checked wherever one is made.
        let bits = Self::FIELDS.get(usize::from(self.0)).copied().unwrap_or_default();
        FIELDS.into_iter().filter(move |field| bits & 1 << *field as u16 != 0)
    }

    /// Whether it has two fields only: too few to tell one product from another. A server of one
    /// maker was given a tablet's tree, and hung, because they had the same stock number.
    #[must_use]
    pub fn is_weak(self) -> bool {
        self.fields().count() <= 2
    }

    /// Its id for a machine. `None` if a field that it is made of is empty.
    #[must_use]
    pub fn chid(self, fields: &Fields<'_>) -> Option<Chid> {
        let mut hash = Sha1::new();
        hash.update(&NAMESPACE);
        for (at, field) in self.fields().enumerate() {
            if at > 0 {
                put(&mut hash, "&");
            }
            fields.put(field, &mut hash)?;
        }
        let digest = hash.finish();
        let mut id: [u8; 16] = *digest.first_chunk()?;
        id[6] = id[6] & 0x0f | 0x50;
        id[8] = id[8] & 0x3f | 0x80;
        Some(Chid(id))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, field) in self.fields().enumerate() {
            let name = match field {
                Manufacturer => "manufacturer",
                Family => "family",
                ProductName => "product name",
                ProductSku => "product SKU",
                BoardManufacturer => "board manufacturer",
                BoardProduct => "board product",
                BiosVendor => "BIOS vendor",
                BiosVersion => "BIOS version",
                BiosMajor => "BIOS major",
                BiosMinor => "BIOS minor",
                Enclosure => "enclosure",
                Field::Panel => "panel",
            };
            write!(f, "{}{name}", if at == 0 { "" } else { " + " })?;
        }
        Ok(())
    }
}

impl Fields<'_> {
    /// Hashes a field. `None` if it is empty, or nothing but blanks and zeros.
    fn put(&self, field: Field, hash: &mut Sha1) -> Option<()> {
        let text = match field {
            Manufacturer => self.manufacturer,
            Family => self.family,
            ProductName => self.product_name,
            ProductSku => self.product_sku,
            BoardManufacturer => self.board_manufacturer,
            BoardProduct => self.board_product,
            BiosVendor => self.bios_vendor,
            BiosVersion => self.bios_version,
            BiosMajor => return put_hex(hash, self.bios_major?, 2),
            BiosMinor => return put_hex(hash, self.bios_minor?, 2),
            Enclosure => return put_hex(hash, self.enclosure?, 1),
            Field::Panel => {
                put(hash, self.panel?.name());
                return Some(());
            }
        };
        let text = text?;
        let start = text.bytes().position(|byte| byte != b' ')?;
        let start = start + text.bytes().skip(start).position(|byte| byte != b'0')?;
        let end = text.bytes().rposition(|byte| byte != b' ')? + 1;
        // Blanks and zeros are ASCII: there is a character's bound on both sides.
        let text = text.get(start..end)?;
        if text.is_empty() {
            return None;
        }
        put(hash, text);
        Some(())
    }
}

/// Hashes a text in UTF-16, little-endian.
fn put(hash: &mut Sha1, text: &str) {
    text.encode_utf16().for_each(|unit| hash.update(&unit.to_le_bytes()));
}

/// Hashes a number in hexadecimal, with at least that many digits.
fn put_hex(hash: &mut Sha1, number: u8, digits: usize) -> Option<()> {
    let both = [HEX[usize::from(number >> 4)], HEX[usize::from(number & 0xf)]];
    let from = usize::from(digits == 1 && number < 0x10);
    put(hash, core::str::from_utf8(&both[from..]).ok()?);
    Some(())
}

/// A computer hardware id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Chid([u8; 16]);

impl Chid {
    /// The id of no machine. What is compared with it was not made by hashing.
    pub const NIL: Self = Self([0; 16]);

    /// The id in the order of bytes that tables have: the first three parts little-endian.
    #[must_use]
    pub const fn from_table(bytes: [u8; 16]) -> Self {
        Self(mixed(bytes))
    }

    /// Its bytes in tables.
    #[must_use]
    pub const fn to_table(self) -> [u8; 16] {
        mixed(self.0)
    }

    /// Reads an id as people write it, with or without braces.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}')?,
            None => text,
        };
        let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
        let mut id = [0; 16];
        let mut digits = 0_usize;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = char::from(*byte).to_digit(16)? as u8;
            let place = id.get_mut(digits / 2)?;
            *place = *place << 4 | digit;
            digits += 1;
        }
        Some(Self(id))
    }
}

const fn mixed(b: [u8; 16]) -> [u8; 16] {
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15],
    ]
}

impl fmt::Display for Chid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
