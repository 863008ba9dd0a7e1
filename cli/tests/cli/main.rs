//! The tool as scripts and people use it: every test runs the built binary.

mod bad_input;
mod damaged;
mod danger;
mod disks;
mod dtb;
mod exit_codes;
mod files;
mod help;
mod json;
mod kill;
mod kinds;
mod loader;
mod media;
mod notes;
mod pack;
mod pcr;
mod policy;
mod rejection;
mod release;
mod server;
#[cfg(feature = "lab")]
mod simulate;
mod statements;
mod story;
mod stub;
mod support;
mod test_keys;
mod web;
