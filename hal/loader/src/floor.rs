//! The bytes of the variable that keeps a floor.
//!
//! ```text
//! magic "SBFL" | keyset version, u32 | level, u32 | CRC-32 of what stands before, u32
//! ```
//!
//! Numbers are little-endian. Nothing but exactly this reads as a floor: a value that was damaged
//! must not pass for a lower one.

use stillboot::format::Floor;

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
    let sum = crate::crc32(&out[..12]);
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
}
