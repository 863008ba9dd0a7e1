//! How deep the stack went: what is below it is painted, and the paint that is left is counted.

use cortex_m::register::msp;

const PAINT: u32 = 0x5ea1_ed00;

/// Left unpainted below the stack pointer: the painter's own frame, and what an exception would
/// push meanwhile.
const MARGIN: usize = 256;

unsafe extern "C" {
    // Both from cortex-m-rt's linker script: symbols without content.
    static _stack_start: u32;
    static _stack_end: u32;
}

/// From where a depth is measured.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pointer: usize,
}

/// Bytes of stack.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Below the place where the mark was made: what the calls since then took.
    pub calls: usize,
    /// In all, from the top of the stack.
    pub total: usize,
}

impl Mark {
    /// Paints everything below and remembers this place.
    #[inline(never)]
    #[must_use]
    pub fn new() -> Self {
        let pointer = msp::read() as usize;
        let mut at = (&raw const _stack_end) as usize;
        while at < pointer - MARGIN {
            // SAFETY: between the end of the variables and the stack pointer less a margin lies
            // memory that nothing uses at present.
            unsafe { (at as *mut u32).write_volatile(PAINT) };
            at += 4;
        }
        Self { pointer }
    }

    /// How deep it went since.
    #[inline(never)]
    #[must_use]
    pub fn depth(self) -> Depth {
        let mut at = (&raw const _stack_end) as usize;
        // SAFETY: reads stack memory, whatever it holds; the paint ends below this very frame.
        while at < self.pointer && unsafe { (at as *const u32).read_volatile() } == PAINT {
            at += 4;
        }
        Depth { calls: self.pointer - at, total: (&raw const _stack_start) as usize - at }
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}
