//! Where the loader lies in memory.

unsafe extern "C" {
    #[link_name = "start"]
    static IMAGE_START: u8;
    #[link_name = "image_end"]
    static IMAGE_END: u8;
}

/// Where the loader lies: its first byte and the first byte behind it.
pub fn of_loader() -> (u64, u64) {
    // Of both only the address is taken.
    ((&raw const IMAGE_START).addr() as u64, (&raw const IMAGE_END).addr() as u64)
}
