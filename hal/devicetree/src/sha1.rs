//! SHA-1, for hardware ids alone: they are names, not secrets.
//!
//! The crates that have it unroll its rounds. In a boot loader that is 4 KiB for a dozen ids.

/// A hash that is under way.
pub(crate) struct Sha1 {
    state: [u32; 5],
    block: [u8; 64],
    len: u64,
}

impl Sha1 {
    pub(crate) const fn new() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        Self { state, block: [0; 64], len: 0 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }

    fn push(&mut self, byte: u8) {
        self.block[(self.len % 64) as usize] = byte;
        self.len += 1;
        if self.len.is_multiple_of(64) {
            self.rounds();
        }
    }

    pub(crate) fn finish(mut self) -> [u8; 20] {
        let bits = 8 * self.len;
        self.push(0x80);
        while self.len % 64 != 56 {
            self.push(0);
        }
        self.update(&bits.to_be_bytes());
        let mut digest = [0; 20];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    fn rounds(&mut self) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(self.block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for at in 16..80 {
            let mixed = words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16];
            words[at] = mixed.rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for (at, word) in words.iter().enumerate() {
            let (mixed, constant) = match at / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = [mixed, e, constant, *word]
                .iter()
                .fold(a.rotate_left(5), |sum, part| sum.wrapping_add(*part));
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (state, word) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *state = state.wrapping_add(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    /// The examples of FIPS 180-4.
    #[test]
    fn known_answers() {
        let hash = |bytes: &[u8]| {
            let mut hash = Sha1::new();
            hash.update(bytes);
            hash.finish()
        };
        assert_eq!(hash(b"abc")[..4], [0xa9, 0x99, 0x3e, 0x36]);
        assert_eq!(hash(b"")[..4], [0xda, 0x39, 0xa3, 0xee]);
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hash(two_blocks)[..4], [0x84, 0x98, 0x3e, 0x44]);
        assert_eq!(hash(&vec![b'a'; 1_000_000])[..4], [0x34, 0xaa, 0x97, 0x3c]);
    }
}
