//! The hand-over to Linux without EFI: the boot protocol of arm64.
//!
//! ```text
//! base, a multiple of 2 MiB                                          a multiple of 2 MiB
//! | text_offset | kernel | its bss, up to image_size | free | components | tree, 2 MiB |
//!                                                             <- grow down
//! ```
//!
//! The kernel is read to `base` and verified there, before its header is known. Nearly all kernels
//! have a `text_offset` of 0 and start from that very place. Everything else lies above the kernel,
//! because a kernel that wants to be at the start of memory cannot reach lower memory. It lies as
//! far away as possible, because a kernel clears the memory behind itself before it looks at the
//! tree.
//!
//! The choice of places is arithmetic and is tested on any host. The machine code is at the end.

use core::fmt;
use core::ops::Range;

use heapless::Vec;

use crate::image::{ALIGNMENT, Image};

/// What the tree gets, in bytes: kernels map 2 MiB at most (`Documentation/arch/arm64/booting.rst`).
pub const TREE_LEN: u64 = 2 << 20;

/// The pages in which components are placed.
pub const PAGE: u64 = 4096;

/// Kernel and initramfs lie within this much, counted from a multiple of 1 GiB.
const WINDOW: u64 = 32 << 30;

/// Most pieces that the free memory may be in.
pub const RANGES_MAX: usize = 32;

/// Why memory cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HandoffError {
    /// Kernel, components and tree do not fit.
    NoRoom {
        /// Bytes that the kernel takes, with its offset.
        needed: u64,
        /// Bytes that the rest leaves to it.
        found: u64,
    },
    /// The free memory is in more pieces than can be counted.
    TooManyRanges,
}

impl fmt::Display for HandoffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { needed, found } => {
                write!(f, "kernel: it takes {needed} bytes of memory, {found} are there")
            }
            Self::TooManyRanges => {
                write!(f, "the free memory is in more than {RANGES_MAX} pieces")
            }
        }
    }
}

impl core::error::Error for HandoffError {}

/// Memory that nothing uses.
#[derive(Clone, Debug, Default)]
pub struct FreeMemory(Vec<Range<u64>, RANGES_MAX>);

impl FreeMemory {
    /// No memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds memory that the machine has. What leaves the address space does not count.
    ///
    /// # Errors
    /// [`HandoffError::TooManyRanges`].
    pub fn add(&mut self, start: u64, len: u64) -> Result<(), HandoffError> {
        let range = start..start.saturating_add(len);
        if range.is_empty() {
            return Ok(());
        }
        self.0.push(range).map_err(|_| HandoffError::TooManyRanges)
    }

    /// Takes out memory in use: the loader itself, the tree it was given, reservations. It need not
    /// be memory that was added.
    ///
    /// # Errors
    /// [`HandoffError::TooManyRanges`]: the memory may not be used then.
    pub fn take(&mut self, start: u64, len: u64) -> Result<(), HandoffError> {
        let end = start.saturating_add(len);
        if start >= end {
            return Ok(());
        }
        let mut left = Vec::new();
        for range in &self.0 {
            let (below, above) =
                (range.start..range.end.min(start), range.start.max(end)..range.end);
            for piece in [below, above] {
                if !piece.is_empty() {
                    left.push(piece).map_err(|_| HandoffError::TooManyRanges)?;
                }
            }
        }
        self.0 = left;
        Ok(())
    }

    /// The pieces.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }
}

/// The memory for one system: kernel at the bottom, tree at the top, the rest below the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arena {
    base: u64,
    /// Everything from here on is taken.
    mark: u64,
    tree: u64,
    kernel_len: u64,
}

/// Where a kernel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Placement {
    /// Where its bytes are.
    pub from: u64,
    /// Where they must be. If that is another place they are moved before the start.
    pub entry: u64,
    /// The first byte that it leaves alone.
    pub end: u64,
}

impl Arena {
    /// The arena in the piece with the most room. `None` if there is none for a tree and anything.
    #[must_use]
    pub fn new(free: &FreeMemory) -> Option<Self> {
        let arenas = free.ranges().iter().filter_map(|range| {
            let base = range.start.checked_next_multiple_of(ALIGNMENT)?;
            let window = (base & !((1 << 30) - 1)).saturating_add(WINDOW);
            let tree = (range.end.min(window) & !(ALIGNMENT - 1)).checked_sub(TREE_LEN)?;
            (base < tree).then_some(Self { base, mark: tree, tree, kernel_len: 0 })
        });
        arenas.max_by_key(|arena| arena.tree - arena.base)
    }

    /// Where the tree goes: 2 MiB, and a multiple of that, so that no mapping is shared with it.
    #[must_use]
    pub const fn tree(&self) -> u64 {
        self.tree
    }

    /// Forgets what was placed.
    pub const fn clear(&mut self) {
        self.mark = self.tree;
        self.kernel_len = 0;
    }

    /// A place for the bytes of the kernel, the only one of its slot.
    pub fn kernel(&mut self, len: u64) -> Option<u64> {
        if len == 0 || self.kernel_len != 0 || len > self.mark - self.base {
            return None;
        }
        self.kernel_len = len;
        Some(self.base)
    }

    /// A place for another component.
    pub fn component(&mut self, len: u64) -> Option<u64> {
        let start = self.mark.checked_sub(len)? & !(PAGE - 1);
        if start < self.base + self.kernel_len {
            return None;
        }
        self.mark = start;
        Some(start)
    }

    /// Where the kernel goes that was read to its place.
    ///
    /// # Errors
    /// [`HandoffError::NoRoom`] if it reaches what lies above.
    pub fn place(&self, image: &Image) -> Result<Placement, HandoffError> {
        // The header may claim less than the file has. The longer of both is reserved, so that
        // nothing else is placed over it.
        let image = Image { size: image.size.max(self.kernel_len), ..*image };
        let memory = self.base..self.mark;
        let entry =
            image.place(core::slice::from_ref(&memory), &[]).ok_or(HandoffError::NoRoom {
                needed: image.text_offset.saturating_add(image.size),
                found: self.mark - self.base,
            })?;
        Ok(Placement { from: self.base, entry, end: entry + image.size })
    }
}

/// The part that touches the machine: what the kernel relies on.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[expect(unsafe_code, reason = "it ends in the kernel's first instruction")]
mod machine {
    use core::arch::asm;

    /// Drops the cache lines of the memory. An earlier program may have left lines there, which
    /// have no effect while the caches are off. Written back, they would destroy what was loaded.
    /// Read by a kernel with its caches on, they would hide what was loaded. So this is called
    /// before memory is filled and again before the kernel starts.
    ///
    /// # Safety
    /// The caches are off, and nothing in the memory matters that only a cache holds.
    pub unsafe fn discard(start: u64, len: u64) {
        let line = line_bytes();
        let mut at = start & !(line - 1);
        while at < start.saturating_add(len) {
            // SAFETY: The caller says that no line of this memory matters. With the caches off no
            // line is newer than what is in memory by our doing.
            unsafe { asm!("dc ivac, {}", in(reg) at, options(nostack, preserves_flags)) };
            at += line;
        }
        // SAFETY: It only waits for the above.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    }

    /// The smallest line of any data cache.
    fn line_bytes() -> u64 {
        let cache_type: u64;
        // SAFETY: Reading the register changes nothing, and is allowed at EL1 and EL2.
        unsafe {
            asm!("mrs {}, ctr_el0", out(reg) cache_type,
                options(nomem, nostack, preserves_flags));
        }
        4 << (cache_type >> 16 & 15)
    }

    /// Starts the kernel at `entry` with the device tree at `tree`, in the exception level we are
    /// in. Should it come back, `returned` runs.
    ///
    /// # Safety
    /// The MMU and data caches are off; `entry` is the first byte of a kernel that is placed as its
    /// header asks, `tree` a multiple of 8 with a device tree that says what memory there is; what
    /// was written there and to the initramfs was [discarded](discard) from the caches; no device
    /// writes to memory any more.
    pub unsafe fn enter(entry: u64, tree: u64, returned: extern "C" fn() -> !) -> ! {
        // SAFETY: By the caller's word. The instruction cache may hold what earlier programs had at
        // these addresses; nothing of ours runs after this.
        unsafe {
            asm!(
                "msr daifset, #15",
                "dsb sy",
                "ic iallu",
                "dsb sy",
                "isb",
                "mov x1, xzr",
                "mov x2, xzr",
                "mov x3, xzr",
                "br x4",
                in("x0") tree,
                in("x4") entry,
                in("x30") returned,
                options(noreturn, nostack),
            )
        }
    }
}

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
pub use machine::{discard, enter};

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn image(text_offset: u64, size: u64) -> Image {
        Image { text_offset, size, page_size: None, is_efi: false }
    }

    fn memory(ranges: &[(u64, u64)]) -> FreeMemory {
        let mut free = FreeMemory::new();
        for (start, len) in ranges {
            free.add(*start, *len).unwrap();
        }
        free
    }

    #[test]
    fn what_is_taken_is_free_no_more() {
        let mut free = memory(&[(GIB, GIB)]);
        free.take(GIB + 2 * MIB, MIB).unwrap();
        free.take(0, GIB + MIB).unwrap();
        free.take(2 * GIB - MIB, u64::MAX).unwrap();
        free.take(GIB + 8 * MIB, 0).unwrap();
        let expected = [GIB + MIB..GIB + 2 * MIB, GIB + 3 * MIB..2 * GIB - MIB];
        assert_eq!(free.ranges(), expected);
        free.take(0, u64::MAX).unwrap();
        assert_eq!(free.ranges(), []);
    }

    #[test]
    fn memory_in_too_many_pieces_is_refused_and_not_guessed_at() {
        let mut free = memory(&[(0, GIB)]);
        let mut result = Ok(());
        for at in 1..=RANGES_MAX as u64 {
            result = free.take(at * 4 * MIB, MIB);
        }
        assert_eq!(result, Err(HandoffError::TooManyRanges));
        let mut full = memory(&[(0, MIB); RANGES_MAX]);
        assert_eq!(full.add(GIB, MIB), Err(HandoffError::TooManyRanges));
    }

    #[test]
    fn everything_lies_in_order_and_apart() {
        let free = memory(&[(GIB + 4096, 100 * MIB), (8 * GIB, 10 * MIB)]);
        let mut arena = Arena::new(&free).unwrap();
        assert_eq!(arena.tree(), GIB + 98 * MIB);
        let kernel = arena.kernel(27 * MIB).unwrap();
        assert_eq!(kernel, GIB + 2 * MIB);
        let initramfs = arena.component(MIB + 1).unwrap();
        assert_eq!(initramfs, GIB + 97 * MIB - PAGE);
        let cmdline = arena.component(20).unwrap();
        assert_eq!(cmdline, initramfs - PAGE);
        let placed = arena.place(&image(0, 28 * MIB)).unwrap();
        let expected = Placement { from: kernel, entry: kernel, end: kernel + 28 * MIB };
        assert_eq!(placed, expected);
    }

    #[test]
    fn a_kernel_with_an_offset_is_moved_up() {
        let mut arena = Arena::new(&memory(&[(GIB, 64 * MIB)])).unwrap();
        arena.kernel(10 * MIB).unwrap();
        let placed = arena.place(&image(0x8_0000, 12 * MIB)).unwrap();
        assert_eq!((placed.from, placed.entry), (GIB, GIB + 0x8_0000));
        assert_eq!(placed.end, placed.entry + 12 * MIB);
    }

    #[test]
    fn bss_over_the_initramfs_is_refused() {
        let mut arena = Arena::new(&memory(&[(GIB, 64 * MIB)])).unwrap();
        arena.kernel(10 * MIB).unwrap();
        arena.component(50 * MIB).unwrap();
        let place = |size| arena.place(&image(0, size));
        assert!(place(12 * MIB).is_ok());
        assert_eq!(
            place(12 * MIB + 5),
            Err(HandoffError::NoRoom { needed: 12 * MIB + 5, found: 12 * MIB })
        );
        assert!(matches!(place(u64::MAX), Err(HandoffError::NoRoom { .. })));
        // A header that claims less than the kernel's own bytes.
        assert_eq!(place(1).unwrap().end, GIB + 10 * MIB);
    }

    #[test]
    fn what_does_not_fit_has_no_place_and_a_cleared_arena_is_as_new() {
        let new = Arena::new(&memory(&[(GIB, 8 * MIB)])).unwrap();
        let mut arena = new;
        assert_eq!(arena.kernel(0), None);
        assert_eq!(arena.kernel(6 * MIB + 1), None);
        assert!(arena.kernel(6 * MIB - 1).is_some());
        assert_eq!(arena.kernel(1), None, "a second kernel");
        assert_eq!(arena.component(4096), None);
        assert_eq!(arena.component(u64::MAX), None);
        arena.clear();
        assert_eq!(arena, new);
        assert!(arena.component(6 * MIB).is_some());
        assert_eq!(arena.kernel(1), None);
    }

    #[test]
    fn memory_without_room_is_no_arena() {
        for (start, len) in [(0, 0), (GIB, 4 * MIB - 1), (GIB + 1, 4 * MIB), (u64::MAX - 5, 5)] {
            assert_eq!(Arena::new(&memory(&[(start, len)])), None, "{start:#x} {len:#x}");
        }
        assert!(Arena::new(&memory(&[(GIB, 4 * MIB)])).is_some());
    }

    #[test]
    fn no_component_is_out_of_reach_of_a_kernel() {
        // 64 GiB from the middle of a gigabyte on: kernels reach to 32 GiB from its start.
        let arena = Arena::new(&memory(&[(GIB + GIB / 2, 64 * GIB)])).unwrap();
        assert_eq!(arena.tree() + TREE_LEN, 33 * GIB);
    }
}
