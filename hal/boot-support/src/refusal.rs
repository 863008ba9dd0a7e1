//! Why something that verified was not started, and whether that is its own fault.

use alloc::string::String;
use core::fmt;

use stillboot::boot::Event;

/// Why something that verified was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StartRefusal {
    reason: String,
    is_of_machine: bool,
}

impl StartRefusal {
    /// The cause is in what should have started: it will be no better the next time.
    #[must_use]
    pub fn of_slot(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_of_machine: false }
    }

    /// The cause is outside of the slot: memory, a service of the firmware, an initrd of another
    /// program. The update must not be given up for that.
    #[must_use]
    pub fn of_machine(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_of_machine: true }
    }

    /// The event for the core.
    #[must_use]
    pub const fn event(&self) -> Event<'static> {
        if self.is_of_machine { Event::NotStarted } else { Event::Returned }
    }
}

impl fmt::Display for StartRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl core::error::Error for StartRefusal {}
