//! Pages that devices share with the loader: the queues of four disks.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

/// Length of a page.
pub const PAGE_LEN: usize = 4096;

const COUNT: usize = 16;

#[repr(C, align(4096))]
struct Pages {
    memory: UnsafeCell<[[u8; PAGE_LEN]; COUNT]>,
    used: UnsafeCell<usize>,
}

// SAFETY: Only one processor runs, and no interrupt enters.
unsafe impl Sync for Pages {}

static PAGES: Pages =
    Pages { memory: UnsafeCell::new([[0; PAGE_LEN]; COUNT]), used: UnsafeCell::new(0) };

/// Gives `count` pages of zeros for good; `None` when there are no more.
pub fn take(count: usize) -> Option<NonNull<u8>> {
    // SAFETY: No other reference to it exists while this function runs.
    let used = unsafe { &mut *PAGES.used.get() };
    let end = used.checked_add(count).filter(|end| *end <= COUNT)?;
    let start = PAGES.memory.get().cast::<u8>().wrapping_add(*used * PAGE_LEN);
    *used = end;
    NonNull::new(start)
}
