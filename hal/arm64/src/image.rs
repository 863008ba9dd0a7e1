//! The header of a Linux kernel for arm64, and where such a kernel may stand in memory.
//!
//! ```text
//!  0  two instructions, or "MZ" of a UEFI program and a branch
//!  8  offset of the image from a base that is aligned to 2 MiB
//! 16  size in memory, with what the kernel zeroes
//! 24  flags: bit 0 big-endian, bits 1 and 2 page size, bit 3 may be placed anywhere
//! 56  "ARM\x64"
//! ```
//!
//! All numbers are little-endian.

use core::fmt;
use core::ops::Range;

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;

/// What the base of an image is aligned to.
pub const ALIGNMENT: u64 = 2 << 20;

const MAGIC: [u8; 4] = *b"ARM\x64";

/// What a kernel says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Image {
    /// How far behind an aligned base it has to stand.
    pub text_offset: u64,
    /// The memory that it needs from there, in bytes.
    pub size: u64,
    /// The size of its pages in bytes, if it says.
    pub page_size: Option<u32>,
    /// Whether it is a program for UEFI as well.
    pub is_efi: bool,
}

/// Why bytes are no kernel to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// There are fewer bytes than the header has.
    Short {
        /// Bytes that are there.
        found: usize,
    },
    /// It is compressed, and has to be stored as it runs.
    Compressed,
    /// It does not say that it is a kernel for arm64.
    Magic,
    /// It does not say how much memory it needs: it is older than Linux 3.17.
    Size,
    /// It does not fit into what it says it needs, or its offset is none.
    Extent {
        /// The offset.
        text_offset: u64,
        /// The size in memory.
        size: u64,
    },
    /// It is built for a processor that runs big-endian.
    BigEndian,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { found } => {
                write!(f, "kernel: expected a header of {HEADER_LEN} bytes, found {found}")
            }
            Self::Compressed => {
                f.write_str("kernel: it is compressed; store the Image itself in the bundle")
            }
            Self::Magic => {
                f.write_str("kernel: expected a Linux Image for arm64, found another file")
            }
            Self::Size => f.write_str("kernel: it does not say its size; Linux 3.17 and later do"),
            Self::Extent { text_offset, size } => write!(
                f,
                "kernel: an image of {size} bytes at offset {text_offset} cannot be: \
                 the offset is below 2 MiB and the size at most 1 GiB"
            ),
            Self::BigEndian => f.write_str("kernel: it is big-endian"),
        }
    }
}

impl core::error::Error for ImageError {}

impl Image {
    /// Reads the header at the start of a kernel.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        // These come without the header.
        let is_zboot = bytes.starts_with(b"MZ") && bytes.get(4..8) == Some(b"zimg");
        if bytes.starts_with(&[0x1f, 0x8b]) || is_zboot {
            return Err(ImageError::Compressed);
        }
        let header: &[u8; HEADER_LEN] =
            bytes.first_chunk().ok_or(ImageError::Short { found: bytes.len() })?;
        if header[56..60] != MAGIC {
            return Err(ImageError::Magic);
        }
        let [text_offset, size, flags] = [8, 16, 24].map(|at| {
            header[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        });
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        if size == 0 {
            return Err(ImageError::Size);
        }
        if text_offset >= ALIGNMENT || !text_offset.is_multiple_of(4096) || size > 1 << 30 {
            return Err(ImageError::Extent { text_offset, size });
        }
        let page_size = [None, Some(4 << 10), Some(16 << 10), Some(64 << 10)];
        Ok(Self {
            text_offset,
            size,
            page_size: page_size[(flags >> 1 & 3) as usize],
            is_efi: header.starts_with(b"MZ"),
        })
    }

    /// The lowest address in `memory` where the image can stand without touching what is `taken`:
    /// the offset behind a base that is aligned to 2 MiB. Kernels without bit 3 of the flags can
    /// use no memory below that base, so the lowest place suits every kernel.
    #[must_use]
    pub fn place(&self, memory: &[Range<u64>], taken: &[Range<u64>]) -> Option<u64> {
        memory.iter().filter_map(|memory| self.place_in(memory, taken)).min()
    }

    fn place_in(&self, memory: &Range<u64>, taken: &[Range<u64>]) -> Option<u64> {
        let mut start = self.start_above(memory.start)?;
        // Each round goes past one occupied range and never back, so there are no more rounds than
        // ranges.
        for _ in 0..=taken.len() {
            let end = start.checked_add(self.size)?;
            if end > memory.end {
                return None;
            }
            let in_the_way =
                |taken: &&Range<u64>| !taken.is_empty() && taken.start < end && start < taken.end;
            match taken.iter().filter(in_the_way).map(|taken| taken.end).max() {
                None => return Some(start),
                // The base itself may be occupied, because the image starts at the offset above it.
                // But it must be memory.
                Some(free) => {
                    let above = free.saturating_sub(self.text_offset).max(memory.start);
                    start = self.start_above(above)?;
                }
            }
        }
        None
    }

    /// Where the image stands if its base is the next aligned address.
    fn start_above(&self, base: u64) -> Option<u64> {
        base.checked_next_multiple_of(ALIGNMENT)?.checked_add(self.text_offset)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists with one range in them")]
mod tests {
    use std::vec::Vec;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn header(text_offset: u64, size: u64, flags: u64) -> Vec<u8> {
        let mut header = std::vec![0; HEADER_LEN];
        header[..2].copy_from_slice(b"MZ");
        for (at, number) in [(8, text_offset), (16, size), (24, flags)] {
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..60].copy_from_slice(&MAGIC);
        header
    }

    #[test]
    fn header_is_read() {
        let image = Image::parse(&header(0x8_0000, 40 * MIB, 0b1010)).unwrap();
        let expected =
            Image { text_offset: 0x8_0000, size: 40 * MIB, page_size: Some(4096), is_efi: true };
        assert_eq!(image, expected);
    }

    #[test]
    fn what_cannot_be_started_is_refused() {
        let error = |bytes: &[u8]| Image::parse(bytes).unwrap_err();
        let sound = header(0, MIB, 0);
        for found in 0..HEADER_LEN {
            assert_eq!(error(&sound[..found]), ImageError::Short { found });
        }
        assert_eq!(error(&[0x1f, 0x8b, 8]), ImageError::Compressed);
        assert_eq!(error(b"MZ\0\0zimg"), ImageError::Compressed);
        assert_eq!(error(&[0; 64]), ImageError::Magic);
        assert_eq!(error(&header(0, 0, 0)), ImageError::Size);
        assert_eq!(error(&header(0, MIB, 1)), ImageError::BigEndian);
        for (text_offset, size) in
            [(ALIGNMENT, MIB), (u64::MAX, MIB), (1, MIB), (0, u64::MAX), (0, (1 << 30) + 1)]
        {
            let expected = ImageError::Extent { text_offset, size };
            assert_eq!(error(&header(text_offset, size, 0)), expected);
        }
    }

    #[test]
    fn image_is_placed_low_aligned_and_free_of_what_is_taken() {
        let image =
            |text_offset| Image { text_offset, size: 5 * MIB, page_size: None, is_efi: false };
        let memory = [0x4000_1000..0x4800_0000];
        let place = |taken: &[Range<u64>]| image(0).place(&memory, taken);
        assert_eq!(place(&[]), Some(0x4020_0000));
        assert_eq!(image(0x8_0000).place(&memory, &[]), Some(0x4028_0000));
        // Behind what is in the way, or between two.
        assert_eq!(place(&[0x4060_0000..0x4060_0001]), Some(0x4080_0000));
        let two = [0x4000_0000..0x4020_0001, 0x40a0_0000..0x4100_0000];
        assert_eq!(place(&two), Some(0x4040_0000));
        let wide = [two[0].clone(), 0x4080_0000..0x4100_0000];
        assert_eq!(place(&wide), Some(0x4100_0000));
        assert_eq!(place(&[0x4020_0000..0x4020_0000]), Some(0x4020_0000));
        assert_eq!(place(&[0..u64::MAX]), None);
        // A range that ends below the offset is not in the way.
        let low = [0x4000_0000..0x4020_0001];
        assert_eq!(image(0x8_0000).place(&memory, &low), Some(0x4028_0000));
        // The lowest memory there is, in whatever order it is listed.
        let banks = [0x8000_0000..0x9000_0000, 0x4000_0000..0x4010_0000, 0x5000_0000..0x6000_0000];
        assert_eq!(image(0).place(&banks, &[]), Some(0x5000_0000));
        assert_eq!(image(0).place(&[u64::MAX - 1..u64::MAX], &[]), None);
    }
}
