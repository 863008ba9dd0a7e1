//! Monotonic time, for the report: the processor's own counter, and what it went into.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU64, Ordering};

use stillboot::format::Digest;
use stillboot::verify::Sha256;

/// A counter that was found to run, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    per_second: u64,
}

impl Clock {
    /// Starts at zero. On x86_64 this takes a millisecond, to learn how fast the counter runs.
    #[must_use]
    pub fn start() -> Self {
        let start = ticks();
        Self { start, per_second: ticks_per_second() }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn micros(&self) -> u64 {
        micros(ticks().wrapping_sub(self.start), self.per_second)
    }

    /// A line for the report: how long it took to verify all that is about to be started, and what
    /// of it went into what.
    #[must_use]
    pub fn verified(&self) -> String {
        let (hashing, reading) = (self.spent(&HASHING), self.spent(&READING));
        format!(
            "time: {} us until all was verified: {} us hashing {} bytes, {} us reading {} bytes",
            self.micros(),
            hashing.micros,
            hashing.bytes,
            reading.micros,
            reading.bytes,
        )
    }

    /// What a kind of work took so far.
    #[must_use]
    pub fn spent(&self, work: &Work) -> Spent {
        let ticks = work.ticks.load(Ordering::Relaxed);
        Spent { micros: micros(ticks, self.per_second), bytes: work.bytes.load(Ordering::Relaxed) }
    }
}

/// What a kind of work took.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Spent {
    /// Time.
    pub micros: u64,
    /// How much was worked on.
    pub bytes: u64,
}

/// A kind of work that is timed.
#[derive(Debug)]
pub struct Work {
    ticks: AtomicU64,
    bytes: AtomicU64,
}

/// Hashing by [`Timed`] providers.
pub static HASHING: Work = Work::none();
/// Reading from disks.
pub static READING: Work = Work::none();

impl Work {
    const fn none() -> Self {
        Self { ticks: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Does some of it, on so many bytes.
    pub(crate) fn time<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> T {
        let before = ticks();
        let result = work();
        self.ticks.fetch_add(ticks().wrapping_sub(before), Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        result
    }
}

/// Any provider of SHA-256, and how long it took.
#[derive(Clone, Debug)]
pub struct Timed<H>(H);

impl<H: Sha256> Sha256 for Timed<H> {
    fn new() -> Self {
        Self(H::new())
    }
    fn update(&mut self, bytes: &[u8]) {
        HASHING.time(bytes.len(), || self.0.update(bytes));
    }
    fn finish(self) -> Digest {
        self.0.finish()
    }
}

fn micros(ticks: u64, per_second: u64) -> u64 {
    let per_second = per_second.max(1);
    let rest = ticks % per_second;
    // In two parts, so that neither overflows before centuries have passed.
    (ticks / per_second).saturating_mul(1_000_000) + rest.saturating_mul(1_000_000) / per_second
}

/// The counter as it stands.
#[cfg(target_arch = "x86_64")]
pub(crate) fn ticks() -> u64 {
    // SAFETY: Every x86_64 processor has the instruction, and firmware does not forbid it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn ticks_per_second() -> u64 {
    const PART: core::time::Duration = core::time::Duration::from_millis(1);
    let before = ticks();
    uefi::boot::stall(PART);
    ticks().wrapping_sub(before).saturating_mul(1000)
}

/// The counter as it stands.
#[cfg(target_arch = "aarch64")]
pub(crate) fn ticks() -> u64 {
    let ticks;
    // SAFETY: Reading the virtual counter changes nothing, and is allowed at EL1 and EL2.
    unsafe {
        core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack))
    };
    ticks
}

#[cfg(target_arch = "aarch64")]
fn ticks_per_second() -> u64 {
    let frequency;
    // SAFETY: As above; firmware has set it.
    unsafe {
        core::arch::asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack));
    }
    frequency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_time_without_overflow() {
        assert_eq!(micros(62_500_000, 62_500_000), 1_000_000);
        assert_eq!(micros(93_750_000, 62_500_000), 1_500_000);
        assert_eq!(micros(1, 1_000_000), 1);
        assert_eq!(micros(5, 0), 5_000_000);
        // Ten years at 5 GHz.
        assert_eq!(micros(5_000_000_000 * 315_360_000, 5_000_000_000), 315_360_000_000_000);
        assert_eq!(micros(u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn the_counter_does_not_run_backwards() {
        let one = ticks();
        assert!(ticks() >= one);
    }
}
