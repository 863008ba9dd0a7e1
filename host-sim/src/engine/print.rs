//! The names of states.

use std::fmt::{self, Write as _};

use stillboot::format::Digest;
use stillboot::verify::{Sha256, SoftSha256};
use twox_hash::XxHash3_128;

/// SHA-256 that can say what it has taken, so that two of them can be distinguished.
#[derive(Clone)]
pub(super) struct Traced {
    inner: SoftSha256,
    taken: u128,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.taken)
    }
}

impl Sha256 for Traced {
    fn new() -> Self {
        Self { inner: SoftSha256::new(), taken: 0 }
    }
    fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.taken = chain(self.taken, bytes);
    }
    fn finish(self) -> Digest {
        self.inner.finish()
    }
}

/// Names a sequence of bytes by the name of what came before the last ones.
pub(super) fn chain(before: u128, bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot_with_seed(before as u64 ^ (before >> 64) as u64, bytes)
        .wrapping_add(before.rotate_left(31))
}

/// Room for what most machines print of themselves.
const PRINTED_BYTES: usize = 8192;

/// Names what is printed.
pub(super) fn print_of(parts: fmt::Arguments<'_>) -> u128 {
    // Whole, and not piece by piece: a number is printed in pieces of a few bytes, and hashing each
    // takes longer than keeping them.
    let mut text = String::with_capacity(PRINTED_BYTES);
    text.write_fmt(parts).expect("there is memory to print to");
    XxHash3_128::oneshot(text.as_bytes())
}
