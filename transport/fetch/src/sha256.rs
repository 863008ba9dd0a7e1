//! SHA-256 by the library that TLS uses anyway, on two cores where there are chunks for both.
//!
//! It has assembly for processors without SHA instructions too, where it takes half the time of
//! portable code.

use std::thread;

use ring::digest::{Context, SHA256};
use stillboot::format::Digest;
use stillboot::verify::{Sha256, digest_of};

/// Fewer bytes are hashed sooner than a second thread starts.
const SHARE_MIN: usize = 128 << 10;

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

    const CORES: usize = 2;

    fn chunks(bytes: &[u8], chunk_len: usize, mut take: impl FnMut(&Digest)) {
        let all = |bytes: &[u8]| bytes.chunks(chunk_len).map(digest_of::<Self>).collect::<Vec<_>>();
        let half = bytes.len() / chunk_len / 2 * chunk_len;
        let (first, second) = bytes.split_at(if half < SHARE_MIN { bytes.len() } else { half });
        thread::scope(|scope| {
            let other = (!second.is_empty())
                .then(|| thread::Builder::new().spawn_scoped(scope, || all(second)).ok());
            all(first).iter().for_each(&mut take);
            let other = other.flatten().and_then(|other| other.join().ok());
            // A system without a further thread has this one.
            other.unwrap_or_else(|| all(second)).iter().for_each(&mut take);
        });
    }
}

#[cfg(test)]
mod tests {
    use stillboot::verify::{IndexFold, SoftSha256};

    use super::*;

    #[test]
    fn chunks_on_two_cores_have_their_digests_in_order() {
        let bytes: Vec<u8> = (0..1_u32 << 20).map(|i| (i / 7 * 31 % 251) as u8).collect();
        for (len, size) in [(0, 4096), (4096, 4096), (5 << 16, 1 << 16), (1 << 20, 1 << 17)] {
            let expected: Vec<_> = bytes[..len].chunks(size).map(digest_of::<SoftSha256>).collect();
            let mut found = Vec::new();
            FastSha256::chunks(&bytes[..len], size, |digest| found.push(*digest));
            assert_eq!(found, expected, "{len} bytes in chunks of {size}");
            // With a start in the middle of a chunk, and a last chunk that is not whole.
            let (length, chunk_size) = (len as u64 + 100, size as u32);
            let mut one = IndexFold::<SoftSha256>::new(length, chunk_size);
            let mut two = IndexFold::<FastSha256>::new(length, chunk_size);
            for part in [&bytes[..len / 3], &bytes[len / 3..len], &bytes[..512]] {
                one.bytes(part);
                two.bytes(part);
            }
            assert_eq!(one.finish(), two.finish(), "{len} bytes in chunks of {size}");
        }
    }

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
