//! stillboot's simulator: disks that fork, forget, tear and fail.
//!
//! Everything random here follows from a seed that the caller gives, so that every run replays.

#![forbid(unsafe_code)]

pub mod disk;
