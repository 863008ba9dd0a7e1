//! Registers of devices, by address.

/// One 32-bit register.
#[derive(Clone, Copy, Debug)]
pub struct Register(usize);

impl Register {
    /// The register at `address`.
    ///
    /// # Safety
    /// There is a 32-bit register of a device at this address, and no access to it can harm memory.
    pub const unsafe fn new(address: usize) -> Self {
        Self(address)
    }

    /// Reads it.
    pub fn read(self) -> u32 {
        // SAFETY: the code that made this value promised that there is a register.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: u32) {
        // SAFETY: as in `read`.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }
}
