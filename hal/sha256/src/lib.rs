//! SHA-256 with the processor's own instructions, for loaders that are compiled without them.
//!
//! [`Sha256`] asks the processor once what it has and takes that; where it has nothing, the core's
//! own provider does the work. It is a crate of its own so that a test and a measurement on any
//! system run the very assembly that a boot loader runs.
//!
//! | module | what it does |
//! |---|---|
//! | `x86_64` | SHA-NI, chosen by CPUID |
//! | `aarch64` | the SHA-2 instructions, chosen by ID_AA64ISAR0_EL1 |
//! | `other` | stands where neither can be: there is nothing to choose |
//!
//! # Types of other crates
//!
//! The trait and the digest of the core, [`stillboot`], are public here.
//!
//! # Example
//!
//! ```
//! use stillboot::verify::Sha256 as _;
//! use stillboot_sha256::{Provider, Sha256};
//!
//! let mut sha = Sha256::new();
//! sha.update(b"abc");
//! let digest = sha.finish();
//! assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
//! println!("{} by {}", digest.len(), Provider::best().name());
//! ```

#![no_std]
// Each unsafe operation needs a block of its own, also inside an unsafe function.
#![deny(unsafe_op_in_unsafe_fn)]

#[cfg(test)]
extern crate std;

use core::sync::atomic::{AtomicU8, Ordering};

use stillboot::format::Digest;
use stillboot::verify::{self, SoftSha256};

// Not on Apple's systems, where symbols have an underscore before them; and on aarch64 only where
// the register is known to be readable.
#[cfg(all(
    target_arch = "aarch64",
    any(target_os = "uefi", target_os = "linux", target_os = "none")
))]
#[path = "aarch64.rs"]
mod hardware;
#[cfg(not(any(
    all(target_arch = "x86_64", not(target_vendor = "apple")),
    all(target_arch = "aarch64", any(target_os = "uefi", target_os = "linux", target_os = "none"))
)))]
#[path = "other.rs"]
mod hardware;
#[cfg(all(target_arch = "x86_64", not(target_vendor = "apple")))]
#[path = "x86_64.rs"]
mod hardware;

/// The code that does the hashing.
///
/// No more variants come: tests and measurements have to run each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The core's default.
    Soft,
    /// Instructions of the processor.
    Hardware,
}

impl Provider {
    /// The best that this processor has. It is asked once: under a hypervisor, asking is slow.
    #[must_use]
    pub fn best() -> Self {
        const UNKNOWN: u8 = 0;
        const SOFT: u8 = 1;
        const HARDWARE: u8 = 2;
        static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
        match KNOWN.load(Ordering::Relaxed) {
            SOFT => Self::Soft,
            HARDWARE => Self::Hardware,
            // Several callers at the same time find the same result.
            _ if hardware::is_there() => {
                KNOWN.store(HARDWARE, Ordering::Relaxed);
                Self::Hardware
            }
            _ => {
                KNOWN.store(SOFT, Ordering::Relaxed);
                Self::Soft
            }
        }
    }

    /// Its name, for the report of a power-on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hardware => hardware::NAME,
        }
    }
}

/// SHA-256 at the best rate that this processor has.
#[derive(Clone, Debug)]
pub struct Sha256(Engine);

#[derive(Clone, Debug)]
enum Engine {
    Soft(SoftSha256),
    Hardware(Stream),
}

impl Sha256 {
    /// A digest by this provider; none if the processor has no such instructions.
    #[must_use]
    pub fn by(provider: Provider) -> Option<Self> {
        match (provider, Provider::best()) {
            (Provider::Soft, _) => Some(Self(Engine::Soft(verify::Sha256::new()))),
            (Provider::Hardware, Provider::Hardware) => Some(Self(Engine::Hardware(Stream::new()))),
            (Provider::Hardware, Provider::Soft) => None,
        }
    }
}

impl verify::Sha256 for Sha256 {
    fn new() -> Self {
        Self(match Provider::best() {
            Provider::Soft => Engine::Soft(SoftSha256::new()),
            Provider::Hardware => Engine::Hardware(Stream::new()),
        })
    }
    fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Engine::Soft(soft) => soft.update(bytes),
            Engine::Hardware(stream) => stream.update(bytes),
        }
    }
    fn finish(self) -> Digest {
        match self.0 {
            Engine::Soft(soft) => soft.finish(),
            Engine::Hardware(stream) => stream.finish(),
        }
    }
}

type State = [u32; 8];
type Block = [u8; 64];

/// A message under way. It exists only where the processor has the instructions.
#[derive(Clone, Debug)]
struct Stream {
    state: State,
    /// The bytes of the message that do not fill a block yet, at its start.
    open: Block,
    /// All bytes of the message so far; what is in `open` follows from it.
    length: u64,
}

impl Stream {
    const fn new() -> Self {
        Self { state: START, open: [0; 64], length: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let filled = self.filled();
        // The length is counted modulo 2^64 bits, as the standard has it, long before it overflows.
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if filled > 0 {
            let take = bytes.len().min(64 - filled);
            let (now, later) = bytes.split_at(take);
            self.open[filled..filled + take].copy_from_slice(now);
            if filled + take < 64 {
                return;
            }
            compress(&mut self.state, &[self.open]);
            bytes = later;
        }
        // Whole blocks are taken from where they are.
        let (blocks, rest) = bytes.as_chunks();
        compress(&mut self.state, blocks);
        self.open[..rest.len()].copy_from_slice(rest);
    }

    fn finish(mut self) -> Digest {
        let filled = self.filled();
        self.open[filled] = 0x80;
        self.open[filled + 1..].fill(0);
        // The length takes eight bytes; if they do not fit behind the mark, a block of their own.
        if filled + 1 > 56 {
            compress(&mut self.state, &[self.open]);
            self.open.fill(0);
        }
        self.open[56..].copy_from_slice(&self.length.wrapping_mul(8).to_be_bytes());
        compress(&mut self.state, &[self.open]);
        let mut digest = Digest::default();
        for (place, word) in digest.chunks_exact_mut(4).zip(self.state) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    const fn filled(&self) -> usize {
        (self.length % 64) as usize
    }
}

fn compress(state: &mut State, blocks: &[Block]) {
    // SAFETY: A `Stream` is made only after `is_there` has said yes, in this power-on.
    unsafe { hardware::compress(state, blocks) }
}

/// The fractional parts of the square roots of the first 8 primes.
#[rustfmt::skip]
const START: State = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
];

/// The fractional parts of the cube roots of the first 64 primes.
#[rustfmt::skip]
#[allow(dead_code, reason = "other targets do not use them")]
const ROUNDS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];
