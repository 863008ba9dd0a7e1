//! A heap for partition tables and text. The core needs none; the modules that the loader shares
//! with the one under UEFI allocate a little.
//!
//! It gives memory away in one direction and takes back only what it gave last. A start needs a few
//! ten KiB; a table of the largest kind on four disks fits as well. No atomics: there is one
//! processor, no interrupt, and without caches exclusive accesses may not work at all.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

const LEN: usize = 2 << 20;

#[repr(align(16))]
struct Heap {
    memory: UnsafeCell<[u8; LEN]>,
    used: UnsafeCell<usize>,
}

// SAFETY: Only one processor runs, and no interrupt enters.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { memory: UnsafeCell::new([0; LEN]), used: UnsafeCell::new(0) };

// SAFETY: Every block lies in `memory`, apart from all that were given and not taken back: `used`
// only falls when the last of them comes back, and to that one's start.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory: *mut u8 = self.memory.get().cast();
        // SAFETY: No other reference to it exists while this function runs.
        let used = unsafe { &mut *self.used.get() };
        let start = (memory.addr() + *used).next_multiple_of(layout.align()) - memory.addr();
        match start.checked_add(layout.size()) {
            Some(end) if end <= LEN => {
                *used = end;
                memory.wrapping_add(start)
            }
            _ => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let start = block.addr() - self.memory.get().addr();
        // SAFETY: As above.
        let used = unsafe { &mut *self.used.get() };
        if start + layout.size() == *used {
            *used = start;
        }
    }
}
