//! What a walk came to.

use std::fmt;

use super::event::Event;
use crate::oracle::Broken;

/// What was done, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkCounts {
    /// Events.
    pub events: u64,
    /// Power-ons that were judged.
    pub power_ons: u64,
    /// Losses of power within or after a request.
    pub cuts: u64,
    /// Installations that reported to be done.
    pub installs: u64,
    /// Those of them that came in frames or as a patch.
    pub transported: u64,
    /// Confirmations that were accepted.
    pub confirms: u64,
    /// Times that the next update was seen to succeed without help.
    pub checks: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Times that the next update did not succeed without help, where that is not promised: after a
    /// fault, or where nothing starts any more.
    pub helped: u64,
    /// Devices that came to the end of the chain of releases.
    pub devices: u64,
    /// Most states that a device could be in at one time.
    pub states_max: u64,
}

impl WalkCounts {
    /// Adds those of another walk.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.power_ons += other.power_ons;
        self.cuts += other.cuts;
        self.installs += other.installs;
        self.transported += other.transported;
        self.confirms += other.confirms;
        self.checks += other.checks;
        self.faults += other.faults;
        self.helped += other.helped;
        self.devices += other.devices;
        self.states_max = self.states_max.max(other.states_max);
    }
}

/// A walk that broke a promise, shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For [`replay`](super::replay()).
    pub id: String,
    /// What was broken, at the end of the shortened walk.
    pub broken: Broken,
    /// The events that are left.
    pub events: Vec<Event>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} broken: {}", self.id, self.broken.promise.heading(), self.broken.how)
    }
}

/// What a walk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// How much was done, before the failure if there is one.
    pub counts: WalkCounts,
    /// The first promise that was broken.
    pub failure: Option<Failure>,
}
