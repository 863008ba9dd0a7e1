//! Settings of the virtual machine on QEMU's command line, which real hardware does not need: the
//! file that is the flash, and the instant at which its power fails.

use core::ffi::CStr;

use heapless::String;
use mcu_map::exit;
use semihosting::experimental::env;
use semihosting::process;

/// The settings of the machine, as `key=value` words.
#[derive(Clone, Debug)]
pub struct Machine {
    flash: String<256>,
    /// `seed`: what a write that the power failure tears leaves behind.
    pub seed: u64,
    /// `cut`: the write or erase, counted from power-on, in which the power fails; 0 for none.
    pub cut: u32,
    /// `watchdog`: milliseconds until a program that hangs is reset.
    pub watchdog: u32,
    /// `nonce`: what a generator of random numbers would give.
    pub nonce: u64,
    /// `measure`: print how much stack and memory was used.
    pub measure: bool,
}

impl Machine {
    /// Reads them. Ends the machine where they make no sense.
    #[must_use]
    pub fn read() -> Self {
        let mut machine = Self {
            flash: String::new(),
            seed: 0,
            cut: 0,
            watchdog: 10_000,
            nonce: 0,
            measure: false,
        };
        let Ok(arguments) = env::args::<512>() else { process::exit(exit::MACHINE) };
        for argument in &arguments {
            let known = argument.ok().and_then(|text| machine.set(text));
            if known.is_none() {
                process::exit(exit::MACHINE);
            }
        }
        machine
    }

    fn set(&mut self, argument: &str) -> Option<()> {
        let Some((key, value)) = argument.split_once('=') else {
            // QEMU may put the name of the program first.
            return Some(());
        };
        match key {
            "flash" => {
                self.flash.push_str(value).ok()?;
                self.flash.push('\0').ok()?;
            }
            "seed" => self.seed = value.parse().ok()?,
            "cut" => self.cut = value.parse().ok()?,
            "watchdog" => self.watchdog = value.parse().ok()?,
            "nonce" => self.nonce = value.parse().ok()?,
            "measure" => self.measure = value == "1",
            _ => return None,
        }
        Some(())
    }

    /// The path of the file that is the flash.
    #[must_use]
    pub fn flash(&self) -> &CStr {
        CStr::from_bytes_until_nul(self.flash.as_bytes()).unwrap_or_default()
    }
}
