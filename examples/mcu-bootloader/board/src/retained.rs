//! Memory that no program clears: the hand-over from loader to application, and what is known of
//! the time before a reset.
//!
//! After a power-on it holds anything; a magic number tells.

use core::fmt::Write;

use heapless::String;
use mcu_map::RETAINED_AT;
use stillboot::format::{BootProof, proof};

const MAGIC: u32 = 0x9e7a_1bed;

#[repr(C)]
#[derive(Clone, Copy)]
struct Content {
    magic: u32,
    /// An application was started and has not asked for a reset since.
    running: u32,
    /// Resets since the power-on.
    starts: u32,
    /// Writes and erases of the flash since the power-on.
    operations: u32,
    /// Length of the proof, 0 for none.
    proof_len: u32,
    /// Length of the settings in their own memory.
    settings_len: u32,
    proof: [u8; proof::LEN_MAX],
}

const BLANK: Content = Content {
    magic: MAGIC,
    running: 0,
    starts: 0,
    operations: 0,
    proof_len: 0,
    settings_len: 0,
    proof: [0; proof::LEN_MAX],
};

/// The retained memory. It is read and written through volatile accesses only, so that copies of
/// this value in several places do no harm.
#[derive(Clone, Copy, Debug)]
pub struct Retained(());

/// The data that the loader gave to the application.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// How it was started.
    pub proof: BootProof,
    /// Length of its settings at [`mcu_map::SETTINGS_AT`].
    pub settings_len: usize,
}

impl Retained {
    /// For the application: the memory as the loader left it.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// For the loader, first of all. Says whether the program before had to be ended: by the
    /// watchdog, or by its own crash.
    #[must_use]
    pub fn start() -> (Self, bool) {
        let this = Self(());
        let before = this.read();
        let content = if before.magic == MAGIC { before } else { BLANK };
        let ended = content.running != 0;
        this.write(Content {
            running: 0,
            starts: content.starts.wrapping_add(1),
            proof_len: 0,
            ..content
        });
        (this, ended)
    }

    /// How often the loader has started since the power-on.
    #[must_use]
    pub fn starts(self) -> u32 {
        self.read().starts
    }

    /// Counts a write or an erase; gives its number, from 1.
    pub fn count_operation(self) -> u32 {
        let mut content = self.read();
        content.operations = content.operations.wrapping_add(1);
        self.write(content);
        content.operations
    }

    /// How many writes and erases were counted since the power-on.
    #[must_use]
    pub fn operations(self) -> u32 {
        self.read().operations
    }

    /// For the loader: notes what the application needs to know (boot step 6). A reset from now on
    /// is a failure, unless the application calls [`reset`](Self::reset).
    pub fn hand_over(self, proof: &BootProof, settings_len: usize) {
        let mut content = self.read();
        let text = proof.emit();
        content.proof[..text.len()].copy_from_slice(text.as_bytes());
        content.proof_len = text.len() as u32;
        content.settings_len = settings_len as u32;
        content.running = 1;
        self.write(content);
    }

    /// For the application: what the loader noted. It can be taken once, so that a program which
    /// comes here by another way than through the loader does not pass for the one that was started.
    #[must_use]
    pub fn take_hand_over(self) -> Option<HandOver> {
        let content = self.read();
        if content.magic != MAGIC {
            return None;
        }
        self.write(Content { proof_len: 0, ..content });
        let text = content.proof.get(..content.proof_len as usize)?;
        let proof = BootProof::parse(core::str::from_utf8(text).ok()?)?;
        Some(HandOver { proof, settings_len: content.settings_len as usize })
    }

    /// Resets the board on purpose.
    pub fn reset(self) -> ! {
        self.write(Content { running: 0, ..self.read() });
        cortex_m::asm::dsb();
        cortex_m::peripheral::SCB::sys_reset()
    }

    fn read(self) -> Content {
        // SAFETY: the map keeps this memory free of everything else, it is aligned, and any bytes
        // make a `Content`.
        unsafe { (RETAINED_AT as *const Content).read_volatile() }
    }

    fn write(self, content: Content) {
        // SAFETY: as in `read`; one core, and no interrupt handler comes here.
        unsafe { (RETAINED_AT as *mut Content).write_volatile(content) }
    }
}

impl Default for Retained {
    fn default() -> Self {
        Self::new()
    }
}

/// A line about a proof, for people.
#[must_use]
pub fn describe(proof: &BootProof) -> String<32> {
    let mut text = String::new();
    // It fits: the longest name of a slot has 8 bytes, an attempt 3.
    let _ = write!(text, "slot {} attempt {}", proof.slot.name(), proof.attempt);
    text
}
