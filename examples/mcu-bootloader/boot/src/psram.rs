//! The memory that images are loaded to: what is verified there is what is started from there.

use mcu_map::{IMAGE_AT, IMAGE_BYTES_MAX, SETTINGS_AT, SETTINGS_BYTES_MAX};
use stillboot::driver::Memory;
use stillboot::format::Role;
use stillboot::format::manifest::COMPONENTS_MAX;

/// Two fixed places: for the image, and for its settings.
#[derive(Debug)]
pub struct Psram {
    image: &'static mut [u8],
    settings: &'static mut [u8],
    /// The place and the length of each component.
    places: [Option<(Role, usize)>; COMPONENTS_MAX],
}

impl Psram {
    /// Takes the memory.
    ///
    /// # Safety
    /// To be called once: nothing else may use the two places.
    pub unsafe fn new() -> Self {
        // SAFETY: the map keeps both places free of everything else and of each other, it is memory
        // that any bytes are valid in, and the caller promises that this is the only reference.
        let place = |at: usize, len| unsafe { core::slice::from_raw_parts_mut(at as *mut u8, len) };
        Self {
            image: place(IMAGE_AT, IMAGE_BYTES_MAX),
            settings: place(SETTINGS_AT, SETTINGS_BYTES_MAX),
            places: [None; COMPONENTS_MAX],
        }
    }

    /// Length of what was loaded for `role`.
    pub fn len_of(&self, role: Role) -> Option<usize> {
        self.places.iter().flatten().find(|place| place.0 == role).map(|place| place.1)
    }
}

impl Memory for Psram {
    fn clear(&mut self) {
        self.places = [None; COMPONENTS_MAX];
    }

    fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool {
        let room = match role {
            Role::Image => self.image.len(),
            Role::Cmdline => self.settings.len(),
            _ => return false,
        };
        // Two components of one role would end up in one place, the second over the first.
        if len > room as u64 || self.len_of(role).is_some() {
            return false;
        }
        self.places[component] = Some((role, len as usize));
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        match self.places[component] {
            Some((Role::Image, len)) => &mut self.image[..len],
            Some((_, len)) => &mut self.settings[..len],
            None => &mut [],
        }
    }
}
