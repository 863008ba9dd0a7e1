//! Pages of the firmware for whole components: what is verified here is what is started from here.

use alloc::vec::Vec;
use core::ptr::NonNull;

use stillboot::driver::Memory;
use stillboot::format::Role;
use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};

/// Pages of memory, freed when dropped.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    count: usize,
    len: usize,
}

impl Pages {
    /// At least `len` bytes; `None` where there is not enough memory.
    #[must_use]
    pub fn new(len: usize) -> Option<Self> {
        Self::of_type(len, MemoryType::LOADER_DATA)
    }

    /// The same in memory of a type.
    #[must_use]
    pub fn of_type(len: usize, memory_type: MemoryType) -> Option<Self> {
        let count = len.max(1).div_ceil(PAGE_SIZE);
        let start = boot::allocate_pages(AllocateType::AnyPages, memory_type, count).ok()?;
        Some(Self { start, count, len })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: The firmware gave these pages to us alone, `count` of them hold `len` bytes, and
        // they stay ours until drop. Their bytes were written by code outside of this program, so
        // they are some fixed bytes. The borrow of `self` keeps writers out.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `bytes`; the unique borrow of `self` makes this the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Pages {
    /// All bytes there are, to the end of the last page.
    pub fn all_mut(&mut self) -> &mut [u8] {
        self.len = self.count * PAGE_SIZE;
        self.bytes_mut()
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsMut<[u8]> for Pages {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: They came from `allocate_pages` with this count, and no reference outlives `self`.
        // A firmware that refuses to take them back leaves us with less memory, no more.
        let _ = unsafe { boot::free_pages(self.start, self.count) };
    }
}

/// The components of the slot at hand.
#[derive(Debug, Default)]
pub struct ComponentMemory(Vec<Option<(Role, Pages)>>);

impl ComponentMemory {
    /// The first `length` bytes of the component for `role`: exactly what was verified, without
    /// the rest of its last block.
    #[must_use]
    pub fn component(&self, role: Role, length: u64) -> Option<&[u8]> {
        let (_, pages) = self.0.iter().flatten().find(|(found, _)| *found == role)?;
        pages.bytes().get(..usize::try_from(length).ok()?)
    }
}

impl Memory for ComponentMemory {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool {
        let Some(pages) = usize::try_from(len).ok().and_then(Pages::new) else { return false };
        while self.0.len() <= component {
            self.0.push(None);
        }
        self.0[component] = Some((role, pages));
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        match self.0.get_mut(component) {
            Some(Some((_, pages))) => pages.bytes_mut(),
            _ => &mut [],
        }
    }
}
