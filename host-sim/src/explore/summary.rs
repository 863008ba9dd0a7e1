//! What an exploration came to: counts, findings, pictures.

use std::fmt;

use crate::oracle::Broken;
use crate::picture::Picture;

/// What was done, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepCounts {
    /// First cuts whose outcome is known.
    pub depth_one: u64,
    /// Pairs of cuts whose outcome is known.
    pub depth_two: u64,
    /// Requests that failed without a loss of power.
    pub faults: u64,
    /// Points whose disk, store and history were equal to those of an earlier point.
    pub settled: u64,
    /// Different states of disk and store right after a cut, in every story apart.
    pub states: u64,
    /// Power-ons.
    pub boots: u64,
    /// Runs of loader, installer and tools, power-ons included.
    pub programs: u64,
    /// Those of them in which the core met something new.
    pub core_runs: u64,
    /// Points at which a promise was broken.
    pub broken: u64,
    /// Names every outcome and the disk it left, if that was asked for.
    pub outcomes: u64,
}

impl SweepCounts {
    /// All points.
    #[must_use]
    pub const fn points(&self) -> u64 {
        self.depth_one + self.depth_two + self.faults
    }

    /// Points that were run because nothing equal had been.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.points() - self.settled
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.depth_one += other.depth_one;
        self.depth_two += other.depth_two;
        self.faults += other.faults;
        self.settled += other.settled;
        self.states += other.states;
        self.boots += other.boots;
        self.programs += other.programs;
        self.core_runs += other.core_runs;
        self.broken += other.broken;
        self.outcomes = self.outcomes.rotate_left(7) ^ other.outcomes;
    }
}

/// A broken promise and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For [`replay`](super::replay()).
    pub id: String,
    /// What was broken.
    pub broken: Broken,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} broken: {}", self.id, self.broken.promise.heading(), self.broken.how)
    }
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How much was done.
    pub counts: SweepCounts,
    /// How much of it on media whose metadata area is a log.
    pub log_counts: SweepCounts,
    /// What was found; of many equal ones the first.
    pub findings: Vec<Finding>,
    /// What every story on every medium looks like, if that was asked for.
    pub pictures: Vec<Picture>,
}
