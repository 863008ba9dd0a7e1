//! Tables of hardware ids as unified kernel images carry them in `.hwids`.
//!
//! ```text
//! device, 28 bytes    descriptor (type and length), id, offset of a name, offset of a compatible
//! ...
//! 28 zeros            the end
//! texts               each with a zero behind it; an offset of 0 stands for none
//! ```
//!
//! All numbers are little-endian. Offsets count from the start of the table. What is accepted has no
//! offset that leads outside, no text without an end and no id of zeros, which every machine without
//! that id would seem to have.

use core::fmt;

use crate::chid::Chid;

/// Bytes of a device.
pub const DEVICE_LEN: usize = 28;

/// Longest table, in bytes.
pub const LEN_MAX: usize = 16 << 20;

const TREE: u32 = 0x1000_0000 | DEVICE_LEN as u32;
const FIRMWARE: u32 = 0x2000_0000 | DEVICE_LEN as u32;
const END: u32 = 0;

/// What a device of the table is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Gift {
    /// The tree with the compatible that is named.
    Tree,
    /// The firmware that is named.
    Firmware,
}

/// One line of the table.
///
/// No more fields come: these are all that the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Device<'a> {
    /// What it is given.
    pub gift: Gift,
    /// Which machines it is.
    pub chid: Chid,
    /// Its name for people.
    pub name: Option<&'a str>,
    /// The first compatible of its tree, or the id of its firmware.
    pub compatible: Option<&'a str>,
}

/// Why bytes are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HwidsError {
    /// The table has no end, or is longer than [`LEN_MAX`].
    End,
    /// A descriptor that is not known.
    Descriptor {
        /// Which device.
        device: usize,
        /// Its descriptor.
        found: u32,
    },
    /// An id of zeros.
    Nil {
        /// Which device.
        device: usize,
    },
    /// A text outside of the table, without an end, or not printable.
    Text {
        /// Which device.
        device: usize,
    },
}

impl fmt::Display for HwidsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => write!(f, "hardware ids: the table has no end within {LEN_MAX} bytes"),
            Self::Descriptor { device, found } => write!(
                f,
                "hardware ids: device {device} has the descriptor {found:08x}: \
                 expected {TREE:08x} or {FIRMWARE:08x}"
            ),
            Self::Nil { device } => write!(f, "hardware ids: device {device} has an id of zeros"),
            Self::Text { device } => write!(
                f,
                "hardware ids: device {device} has a text outside of the table, without an end, or \
                 not printable"
            ),
        }
    }
}

impl core::error::Error for HwidsError {}

/// A table that was checked from its first to its last byte.
#[derive(Clone, Copy, Debug)]
pub struct Hwids<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Hwids<'a> {
    /// Checks a table.
    ///
    /// # Errors
    /// [`HwidsError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HwidsError> {
        let bytes = bytes.get(..=LEN_MAX).map_or(Ok(bytes), |_| Err(HwidsError::End))?;
        let mut count = 0;
        while device(bytes, count)?.is_some() {
            count += 1;
        }
        Ok(Self { bytes, count })
    }

    /// The devices, in their order.
    pub fn devices(&self) -> impl Iterator<Item = Device<'a>> + use<'a> {
        let bytes = self.bytes;
        (0..self.count).map_while(move |at| device(bytes, at).ok().flatten())
    }
}

/// The device of this number; `None` for the end.
fn device(bytes: &[u8], device: usize) -> Result<Option<Device<'_>>, HwidsError> {
    let at = DEVICE_LEN * device;
    let word = |at: usize| {
        let word = bytes.get(at..at + 4).ok_or(HwidsError::End)?;
        Ok(word.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    };
    let gift = match word(at)? {
        TREE => Gift::Tree,
        FIRMWARE => Gift::Firmware,
        END => return Ok(None),
        found => return Err(HwidsError::Descriptor { device, found }),
    };
    let id = bytes.get(at + 4..at + 20).and_then(|id| id.first_chunk());
    let chid = Chid::from_table(*id.ok_or(HwidsError::End)?);
    if chid == Chid::NIL {
        return Err(HwidsError::Nil { device });
    }
    let text = |offset: u32| match offset as usize {
        0 => Ok(None),
        offset => text(bytes.get(offset..).unwrap_or_default())
            .map(Some)
            .ok_or(HwidsError::Text { device }),
    };
    let (name, compatible) = (text(word(at + 20)?)?, text(word(at + 24)?)?);
    Ok(Some(Device { gift, chid, name, compatible }))
}

/// The printable text up to the first zero.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = bytes.get(..end)?;
    let is_text = !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    is_text.then(|| core::str::from_utf8(text).ok())?
}

/// Writes a table. A text that comes twice is written once.
///
/// # Errors
/// [`HwidsError`] if a device could not be read again.
#[cfg(feature = "alloc")]
pub fn write(devices: &[Device<'_>]) -> Result<alloc::vec::Vec<u8>, HwidsError> {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    let mut texts = Vec::new();
    let mut places = BTreeMap::new();
    let mut out = Vec::new();
    let base = DEVICE_LEN * (devices.len() + 1);
    for device in devices {
        let mut place = |text: Option<&str>| match text {
            None => 0,
            Some(text) => *places.entry(text.as_bytes().to_vec()).or_insert_with(|| {
                let at = base + texts.len();
                texts.extend(text.as_bytes());
                texts.push(0);
                // Longer ones are refused below.
                u32::try_from(at).unwrap_or_default()
            }),
        };
        let descriptor = match device.gift {
            Gift::Tree => TREE,
            Gift::Firmware => FIRMWARE,
        };
        let (name, compatible) = (place(device.name), place(device.compatible));
        out.extend(descriptor.to_le_bytes());
        out.extend(device.chid.to_table());
        out.extend([name, compatible].iter().flat_map(|offset| offset.to_le_bytes()));
    }
    out.extend([0; DEVICE_LEN]);
    out.extend(texts);
    let read = Hwids::parse(&out)?;
    // A text with a zero in it would be read back as a shorter text.
    let changed = read.devices().zip(devices).position(|(read, device)| read != *device);
    changed.map_or(Ok(out), |device| Err(HwidsError::Text { device }))
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn devices() -> [Device<'static>; 3] {
        let chid = |byte: u8| Chid::from_table([byte; 16]);
        [
            Device {
                gift: Gift::Tree,
                chid: chid(1),
                name: Some("One"),
                compatible: Some("a,one"),
            },
            Device { gift: Gift::Tree, chid: chid(2), name: None, compatible: Some("a,one") },
            Device { gift: Gift::Firmware, chid: chid(1), name: Some("One"), compatible: None },
        ]
    }

    #[test]
    fn tables_are_read_as_they_are_written() {
        let table = write(&devices()).unwrap();
        // Four lines of 28, and each text once.
        assert_eq!(table.len(), 4 * DEVICE_LEN + "One\0a,one\0".len());
        let read = Hwids::parse(&table).unwrap();
        assert_eq!(read.devices().collect::<Vec<_>>(), devices());
        assert_eq!(Hwids::parse(&write(&[]).unwrap()).unwrap().devices().count(), 0);
    }

    #[test]
    fn offsets_and_texts_that_lead_outside_are_refused() {
        let table = write(&devices()).unwrap();
        for len in 0..table.len() {
            assert!(Hwids::parse(&table[..len]).is_err(), "{len}");
        }
        for offset in [table.len() as u32, u32::MAX, table.len() as u32 - 1, 5] {
            let mut changed = table.clone();
            changed[24..28].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(Hwids::parse(&changed).unwrap_err(), HwidsError::Text { device: 0 });
        }
    }

    #[test]
    fn nil_ids_and_unknown_descriptors_are_refused() {
        let table = write(&devices()).unwrap();
        let mut nil = table.clone();
        nil[28 + 4..28 + 20].fill(0);
        assert_eq!(Hwids::parse(&nil).unwrap_err(), HwidsError::Nil { device: 1 });
        for found in [0x3000_001c, 0x1000_0018, 1, 0x1000_001d] {
            let mut other = table.clone();
            other[28..32].copy_from_slice(&u32::to_le_bytes(found));
            let expected = HwidsError::Descriptor { device: 1, found };
            assert_eq!(Hwids::parse(&other).unwrap_err(), expected);
        }
        assert_eq!(Hwids::parse(&table[..84]).unwrap_err(), HwidsError::Text { device: 0 });
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let mut devices = devices();
        devices[1].name = Some("x\0y");
        assert_eq!(write(&devices), Err(HwidsError::Text { device: 1 }));
        devices[1].name = Some("");
        assert!(write(&devices).is_err());
        devices[1].name = None;
        devices[0].chid = Chid::NIL;
        assert_eq!(write(&devices), Err(HwidsError::Nil { device: 0 }));
    }
}
