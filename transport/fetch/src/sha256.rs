//! SHA-256 by the library that TLS uses anyway.
//!
//! It has assembly for processors without SHA instructions too, where it takes half the time of
//! portable code.

use ring::digest::{Context, SHA256};
use stillboot::format::Digest;
use stillboot::verify::Sha256;

/// SHA-256 by `ring`.
#[derive(Clone)]
pub struct FastSha256(Context);

impl std::fmt::Debug for FastSha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FastSha256")
    }
}

impl Sha256 for FastSha256 {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

#[cfg(test)]
mod tests {
    use stillboot::verify::{SoftSha256, digest_of};

    use super::*;

    #[test]
    fn it_agrees_with_the_portable_code_at_every_length_and_split() {
        let bytes: Vec<u8> = (0..300_u32).map(|i| (i * 7 % 251) as u8).collect();
        for len in 0..bytes.len() {
            let expected = digest_of::<SoftSha256>(&bytes[..len]);
            assert_eq!(digest_of::<FastSha256>(&bytes[..len]), expected, "{len}");
            let mut split = FastSha256::new();
            split.update(&bytes[..len / 3]);
            split.update(&bytes[len / 3..len]);
            assert_eq!(split.finish(), expected, "{len}");
        }
    }
}
