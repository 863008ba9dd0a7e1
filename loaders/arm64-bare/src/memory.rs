//! Memory for the components of the slot at hand: what is verified here is what is started from
//! here.

// Why: docs/DESIGN.md#why-kernel-at-bottom-of-memory

use alloc::vec::Vec;

use stillboot::driver::Memory;
use stillboot::format::manifest::COMPONENTS_MAX;
use stillboot::format::{Manifest, Role, Slot};
use stillboot_arm64::handoff::{self, Arena};

/// A component's memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    component: usize,
    start: u64,
    len: u64,
}

/// The components of the slot at hand.
#[derive(Debug)]
pub struct Places {
    arena: Arena,
    places: Vec<Place>,
}

impl Places {
    /// Components will lie in `arena`.
    ///
    /// # Safety
    /// Its memory is there, and nothing else uses it.
    pub unsafe fn new(arena: Arena) -> Self {
        Self { arena, places: Vec::with_capacity(COMPONENTS_MAX) }
    }

    /// How the memory is divided.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The component for `role` of a manifest that was verified: its bytes without the rest of its
    /// last sector.
    pub fn component(&self, slot: Slot, manifest: &Manifest, role: Role) -> Option<&[u8]> {
        let (number, component) =
            manifest.components_of(slot).find(|(_, component)| component.role == role)?;
        let place = self.places.iter().find(|place| place.component == number)?;
        let len = usize::try_from(component.length).ok()?;
        (component.length <= place.len).then(|| {
            // SAFETY: The arena gave this memory to this component alone, and it is ours by the
            // word of who made `self`. What it holds was written by devices, so it is some bytes.
            unsafe { core::slice::from_raw_parts(pointer(place.start), len) }
        })
    }
}

impl Memory for Places {
    fn clear(&mut self) {
        self.arena.clear();
        self.places.clear();
    }

    fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool {
        let start = match role {
            Role::Kernel => self.arena.kernel(len),
            _ => self.arena.component(len),
        };
        let Some(start) = start else { return false };
        // SAFETY: The memory is ours and the caches are off; nothing in it matters yet.
        unsafe { handoff::discard(start, len) };
        self.places.push(Place { component, start, len });
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        match self.places.iter().find(|place| place.component == component) {
            // SAFETY: As in `component`; the unique borrow of `self` makes this the only reference.
            Some(place) => unsafe {
                core::slice::from_raw_parts_mut(pointer(place.start), place.len as usize)
            },
            None => &mut [],
        }
    }
}

/// The memory at that address.
pub fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}
