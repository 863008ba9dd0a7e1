//! Bytes in pages that forks share until one of them writes.
//!
//! Two levels, so that neither a fork nor a hash costs what the whole disk would: a fork copies the
//! list of nodes, a write copies one node (64 references) and one page, and a hash is computed
//! again only for the pages and nodes that changed since the last one.

use std::array;
use std::sync::{Arc, OnceLock};

use twox_hash::XxHash3_128;

const PAGE_BYTES: usize = 4096;
const NODE_PAGES: usize = 64;
const NODE_BYTES: usize = PAGE_BYTES * NODE_PAGES;

#[derive(Clone, Debug)]
pub(super) struct Pages {
    len: u64,
    nodes: Vec<Arc<Node>>,
}

#[derive(Clone, Debug)]
struct Node {
    pages: [Arc<Page>; NODE_PAGES],
    hash: OnceLock<u128>,
}

#[derive(Clone, Debug)]
struct Page {
    bytes: [u8; PAGE_BYTES],
    hash: OnceLock<u128>,
}

impl Pages {
    pub(super) fn new(len: u64, fill: u8) -> Self {
        let page = Arc::new(Page { bytes: [fill; PAGE_BYTES], hash: OnceLock::new() });
        let pages = array::from_fn(|_| Arc::clone(&page));
        let node = Arc::new(Node { pages, hash: OnceLock::new() });
        let count = usize::try_from(len.div_ceil(NODE_BYTES as u64)).expect("a disk fits in RAM");
        let mut pages = Self { len, nodes: vec![node; count] };
        // Equal content must have an equal hash, so what is hashed behind the end is zero.
        let tail = count * NODE_BYTES - len as usize;
        pages.put(len as usize, &vec![0; tail]);
        pages
    }

    /// Copies out the bytes at `offset`, which are within the length.
    pub(super) fn read(&self, offset: u64, mut into: &mut [u8]) {
        self.require_within(offset, into.len());
        let mut at = offset as usize;
        while !into.is_empty() {
            let (place, len) = Place::of(at, into.len());
            let (piece, rest) = into.split_at_mut(len);
            piece.copy_from_slice(&self.page(place)[place.byte..][..len]);
            into = rest;
            at += len;
        }
    }

    /// Stores bytes at `offset`, within the length. Pages that hold them already stay shared.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.require_within(offset, bytes.len());
        self.put(offset as usize, bytes);
    }

    fn put(&mut self, mut at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (place, len) = Place::of(at, bytes.len());
            let (piece, rest) = bytes.split_at(len);
            if self.page(place)[place.byte..][..len] != *piece {
                let node = Arc::make_mut(&mut self.nodes[place.node]);
                node.hash.take();
                let page = Arc::make_mut(&mut node.pages[place.page]);
                page.hash.take();
                page.bytes[place.byte..][..len].copy_from_slice(piece);
            }
            bytes = rest;
            at += len;
        }
    }

    /// Stores the same byte `len` times.
    pub(super) fn fill(&mut self, offset: u64, len: u64, value: u8) {
        let bytes = [value; PAGE_BYTES];
        let mut done = 0;
        while done < len {
            // Up to the next page, so that every page is compared and written once.
            let to_page = PAGE_BYTES as u64 - (offset + done) % PAGE_BYTES as u64;
            let piece = to_page.min(len - done);
            self.write(offset + done, &bytes[..piece as usize]);
            done += piece;
        }
    }

    /// Names the content: equal content, equal hash, however it came about.
    pub(super) fn hash(&self) -> u128 {
        let nodes = self.nodes.iter().flat_map(|node| node.hash().to_le_bytes());
        XxHash3_128::oneshot(&self.len.to_le_bytes().into_iter().chain(nodes).collect::<Vec<_>>())
    }

    fn page(&self, place: Place) -> &[u8; PAGE_BYTES] {
        &self.nodes[place.node].pages[place.page].bytes
    }

    fn require_within(&self, offset: u64, len: usize) {
        let within = offset.checked_add(len as u64).is_some_and(|end| end <= self.len);
        assert!(within, "{len} bytes at {offset} of {}", self.len);
    }
}

impl Node {
    fn hash(&self) -> u128 {
        *self.hash.get_or_init(|| {
            let mut hashes = [0; 16 * NODE_PAGES];
            for (into, page) in hashes.chunks_exact_mut(16).zip(&self.pages) {
                let hash = page.hash.get_or_init(|| XxHash3_128::oneshot(&page.bytes));
                into.copy_from_slice(&hash.to_le_bytes());
            }
            XxHash3_128::oneshot(&hashes)
        })
    }
}

#[derive(Clone, Copy)]
struct Place {
    node: usize,
    page: usize,
    byte: usize,
}

impl Place {
    /// The place of a byte, and how many of `len` bytes from there lie on the same page.
    fn of(at: usize, len: usize) -> (Self, usize) {
        let byte = at % PAGE_BYTES;
        let place = Self { node: at / NODE_BYTES, page: at / PAGE_BYTES % NODE_PAGES, byte };
        (place, len.min(PAGE_BYTES - byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_copies_only_what_is_written() {
        let original = Pages::new(64 << 20, 0xFF);
        let mut fork = original.clone();
        fork.write(5 << 20, &[1; 5000]);
        let shared = |a: &Pages, b: &Pages| {
            a.nodes.iter().zip(&b.nodes).filter(|(a, b)| Arc::ptr_eq(a, b)).count()
        };
        assert_eq!(shared(&original, &fork), original.nodes.len() - 1);
        let node = (5 << 20) / NODE_BYTES;
        let pages = original.nodes[node].pages.iter().zip(&fork.nodes[node].pages);
        assert_eq!(pages.filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 2);
    }

    #[test]
    fn writing_what_is_there_shares_on() {
        let original = Pages::new(1 << 20, 0);
        let mut fork = original.clone();
        fork.fill(100, 300_000, 0);
        assert!(original.nodes.iter().zip(&fork.nodes).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[test]
    fn hash_names_content_place_and_length() {
        let mut pages = Pages::new(1 << 20, 0);
        let empty = pages.hash();
        pages.write(4096, &[1]);
        let one = pages.hash();
        assert_ne!(one, empty);
        pages.write(4096, &[0]);
        assert_eq!(pages.hash(), empty);
        pages.write(8192, &[1]);
        assert_ne!(pages.hash(), one);
        assert_ne!(Pages::new((1 << 20) - 1, 0).hash(), empty);
        // Nor does it depend on what the pages were first filled with.
        let mut filled = Pages::new((1 << 20) - 1, 0xFF);
        filled.fill(0, (1 << 20) - 1, 0);
        assert_eq!(filled.hash(), Pages::new((1 << 20) - 1, 0).hash());
    }
}
