//! The simulated disks themselves.

mod conformance;
mod model;
mod power;
