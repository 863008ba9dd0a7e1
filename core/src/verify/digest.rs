//! Streaming digests: SHA-256 behind a provider, and the fold of chunk digests into an index root.

use sha2::Digest as _;

use crate::format::Digest;

/// A provider of SHA-256. Implement this to let the whole core use a hardware implementation.
// Why: docs/DESIGN.md#why-sha256-is-a-trait
pub trait Sha256: Clone {
    /// Starts a digest.
    fn new() -> Self;
    /// Takes more of the message, in pieces of any size.
    fn update(&mut self, bytes: &[u8]);
    /// The digest of the message.
    fn finish(self) -> Digest;

    /// How many chunks [`chunks`](Self::chunks) takes at the same time.
    const CORES: usize = 1;

    /// Gives the digest of each chunk of `chunk_len` bytes to `take`, in order. `bytes` are whole
    /// chunks. A provider that has several cores uses them here.
    ///
    /// # Panics
    /// If `chunk_len` is 0.
    fn chunks(bytes: &[u8], chunk_len: usize, mut take: impl FnMut(&Digest)) {
        bytes.chunks(chunk_len).for_each(|chunk| take(&digest_of::<Self>(chunk)));
    }
}

/// SHA-256 of the `sha2` crate: hardware instructions that it finds on the processor, or portable
/// code.
#[derive(Clone, Debug)]
pub struct SoftSha256(sha2::Sha256);

impl Sha256 for SoftSha256 {
    fn new() -> Self {
        Self(sha2::Sha256::new())
    }
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// The digest of one piece.
#[must_use]
pub fn digest_of<H: Sha256>(bytes: &[u8]) -> Digest {
    let mut hash = H::new();
    hash.update(bytes);
    hash.finish()
}

const INDEX_DOMAIN: &[u8; 19] = b"stillboot-index-v1\0";

/// The index root of a component, folded from its bytes or from its chunk digests.
///
/// Root = SHA-256 over `"stillboot-index-v1\0"`, the length (u64 LE), the chunk size (u32 LE) and
/// the SHA-256 of each chunk in order. Length and chunk size are part of the input, so that the
/// same digests cannot stand for other bytes that are cut into other chunks.
// Why: docs/DESIGN.md#why-index-root
#[derive(Clone, Debug)]
pub struct IndexFold<H> {
    root: H,
    chunk: H,
    chunk_size: u32,
    /// Bytes that the chunk under way still takes.
    chunk_left: u32,
    /// Bytes that the component still takes.
    left: u64,
}

impl<H: Sha256> IndexFold<H> {
    /// Starts the fold of a component of `length` bytes in chunks of `chunk_size` bytes.
    #[must_use]
    pub fn new(length: u64, chunk_size: u32) -> Self {
        let mut root = H::new();
        root.update(INDEX_DOMAIN);
        root.update(&length.to_le_bytes());
        root.update(&chunk_size.to_le_bytes());
        Self { root, chunk: H::new(), chunk_size, chunk_left: chunk_size, left: length }
    }

    /// Starts another fold in the same memory.
    #[inline(never)]
    pub(crate) fn restart(&mut self, length: u64, chunk_size: u32) {
        *self = Self::new(length, chunk_size);
    }

    /// Takes bytes of the component, in pieces of any size; those past its length are ignored, so
    /// that padding of the last block may be passed in.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.left > 0 {
            if H::CORES > 1 && self.chunk_left == self.chunk_size {
                bytes = self.whole_chunks(bytes);
                if bytes.is_empty() || self.left == 0 {
                    break;
                }
            }
            let take = self.left.min(self.chunk_left.into()).min(bytes.len() as u64);
            // `take` is at most `bytes.len()`, so the cast keeps it and the split is in range.
            let (now, later) = bytes.split_at(take as usize);
            self.chunk.update(now);
            self.chunk_left -= take as u32;
            self.left -= take;
            if self.chunk_left == 0 || self.left == 0 {
                let chunk = core::mem::replace(&mut self.chunk, H::new());
                self.root.update(&chunk.finish());
                self.chunk_left = self.chunk_size;
            }
            bytes = later;
        }
    }

    /// Takes the chunks that are whole, all at once; returns the bytes behind them.
    fn whole_chunks<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let size = u64::from(self.chunk_size);
        let chunks = self.left.min(bytes.len() as u64) / size;
        let (whole, rest) = bytes.split_at((chunks * size) as usize);
        self.left -= whole.len() as u64;
        H::chunks(whole, self.chunk_size as usize, |digest| self.root.update(digest));
        rest
    }

    /// Takes chunk digests, one or several whole ones. Not to be mixed with [`bytes`](Self::bytes).
    pub fn entries(&mut self, entries: &[u8]) {
        self.root.update(entries);
    }

    /// The root of what was taken so far.
    #[inline(never)]
    pub(crate) fn root(&self) -> Digest {
        self.root.clone().finish()
    }

    /// The root of what was taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        self.root.finish()
    }
}
