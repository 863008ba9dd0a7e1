//! What an attacker can send, write or withhold, and that it comes to nothing.

mod rejection;
mod tamper;
mod threats;
mod trust;
