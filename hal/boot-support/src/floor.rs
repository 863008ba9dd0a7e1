//! The bytes of the variables that keep a floor.
//!
//! ```text
//! magic "SBFL" | keyset version, u32 | level, u32 | CRC-32 of what stands before, u32
//! magic "SBFC" | keyset version, u32 | level, u32 | count, u64 | CRC-32 of what stands before, u32
//! ```
//!
//! Numbers are little-endian. Nothing but exactly this reads as a floor: a value that was damaged
//! must not pass for a lower one.

use stillboot::format::Floor;

use crate::counted::Counted;

/// Length of the variable in bytes.
pub const LEN: usize = 16;

const MAGIC: &[u8; 4] = b"SBFL";

/// Writes a floor.
#[must_use]
pub fn emit(floor: Floor) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..4].copy_from_slice(MAGIC);
    out[4..8].copy_from_slice(&floor.keyset_version.to_le_bytes());
    out[8..12].copy_from_slice(&floor.level.to_le_bytes());
    let sum = stillboot::format::crc32(&out[..12]);
    out[12..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a floor; `None` if `bytes` are anything else.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Floor> {
    let number = |at| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let floor = Floor { keyset_version: number(4)?, level: number(8)? };
    (bytes == emit(floor)).then_some(floor)
}

/// Length of the variable that has a count as well, in bytes.
pub const COUNTED_LEN: usize = 24;

const COUNTED_MAGIC: &[u8; 4] = b"SBFC";

/// Writes a floor with its count.
#[must_use]
pub fn emit_counted(value: Counted) -> [u8; COUNTED_LEN] {
    let mut out = [0; COUNTED_LEN];
    out[..4].copy_from_slice(COUNTED_MAGIC);
    out[4..8].copy_from_slice(&value.floor.keyset_version.to_le_bytes());
    out[8..12].copy_from_slice(&value.floor.level.to_le_bytes());
    out[12..20].copy_from_slice(&value.count.to_le_bytes());
    let sum = stillboot::format::crc32(&out[..20]);
    out[20..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a floor with its count; `None` if `bytes` are anything else.
#[must_use]
pub fn parse_counted(bytes: &[u8]) -> Option<Counted> {
    let number = |at| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let count = bytes.get(12..20)?.try_into().ok().map(u64::from_le_bytes)?;
    let floor = Floor { keyset_version: number(4)?, level: number(8)? };
    let value = Counted { floor, count };
    (bytes == emit_counted(value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor { keyset_version: 3, level: 0x0102_0304 };

    #[test]
    fn golden_bytes() {
        let bytes = emit(FLOOR);
        assert_eq!(&bytes[..12], b"SBFL\x03\0\0\0\x04\x03\x02\x01");
        assert_eq!(bytes[12..], [0xb0, 0x15, 0x8c, 0x53], "{:02x?}", &bytes[12..]);
        assert_eq!(parse(&bytes), Some(FLOOR));
    }

    #[test]
    fn nothing_else_is_a_floor() {
        let bytes = emit(FLOOR);
        for bit in 0..LEN * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&changed), None, "bit {bit}");
        }
        for len in 0..LEN {
            assert_eq!(parse(&bytes[..len]), None);
        }
        assert_eq!(parse(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(parse(&[0; LEN]), None);
    }

    #[test]
    fn nothing_else_is_a_counted_floor() {
        let value = Counted { floor: FLOOR, count: 0x0102_0304_0506_0708 };
        let bytes = emit_counted(value);
        assert_eq!(&bytes[..20], b"SBFC\x03\0\0\0\x04\x03\x02\x01\x08\x07\x06\x05\x04\x03\x02\x01");
        assert_eq!(parse_counted(&bytes), Some(value));
        for bit in 0..COUNTED_LEN * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_counted(&changed), None, "bit {bit}");
        }
        for len in 0..COUNTED_LEN {
            assert_eq!(parse_counted(&bytes[..len]), None);
        }
        assert_eq!((parse_counted(&emit(FLOOR)), parse(&bytes)), (None, None));
    }
}
