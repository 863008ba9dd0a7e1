//! What the engine runs.

use std::sync::Arc;

use stillboot::boot::{self, Report};
use stillboot::format::{BootProof, Record, Role, Slot};
use stillboot::install::{InstallError, Installed};
use stillboot::request::{Answer, Request, RequestError};
use stillboot::verify::Device;

use crate::world::DeviceMap;

/// What does not change about a device.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Whom it trusts and which it is.
    pub device: Device<'a>,
    /// Where everything stands. All devices are one disk here: [`DeviceMap::joined`].
    pub ground: DeviceMap,
    /// Tries of a new slot.
    pub tries: u8,
    /// The bundles that can be installed.
    pub bundles: Vec<Arc<[u8]>>,
    /// Of these bundles the source says that the target holds what the first bundle has too,
    /// whatever the target holds.
    pub stated: Vec<usize>,
}

/// Why an image that was handed over to does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverFailure {
    /// It returned to the loader before any of its code ran.
    Returned,
    /// The machine could not start it.
    NotStarted,
}

impl HandoverFailure {
    /// What a loader tells the core of it.
    #[must_use]
    pub const fn event(self) -> boot::Event<'static> {
        match self {
            Self::Returned => boot::Event::Returned,
            Self::NotStarted => boot::Event::NotStarted,
        }
    }
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// The loader, at power-on.
    Boot {
        /// A number that no other power-on had.
        nonce: u64,
        /// Whether a watchdog ended what ran before.
        watchdog_reset: bool,
        /// The slot whose image comes back to the loader, and why.
        returns: Option<(Slot, HandoverFailure)>,
    },
    /// An installation.
    Install {
        /// Which of the bundles.
        bundle: usize,
        /// What runs; nothing from this disk if `None`.
        running: Option<BootProof>,
        /// The slot to install to.
        target: Option<Slot>,
        /// Install what runs to another slot.
        repair: bool,
    },
    /// A request of the running system.
    Perform(Request),
}

/// What one power-on came to.
#[derive(Clone, Debug)]
pub struct Started {
    /// With what a system was started; `None` if nothing could be.
    pub proof: Option<BootProof>,
    /// Why it went as it did.
    pub report: Report,
    /// The record as the loader left it.
    pub record: Record,
    /// What was loaded: number and role of the component, and its bytes with padding.
    pub loaded: Vec<(usize, Role, Vec<u8>)>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of [`Program::Boot`].
    Boot(Box<Started>),
    /// Of [`Program::Install`].
    Install(Result<Installed, InstallError>),
    /// Of [`Program::Perform`].
    Perform(Result<Answer, RequestError>),
}
