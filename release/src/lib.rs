//! What a release engineer runs: keys, signing, bundles and statements.
//!
//! | module | what it does |
//! |---|---|
//! | [`keys`] | keys in PEM, the file of roots, signing |
//! | [`bundle`] | measures components and writes bundles |
//! | [`statement`] | writes statements beside a bundle |
//! | [`pe`] | appends a section to a PE image |
//! | [`settings`] | says what is wrong with a file of settings in TOML |
//!
//! Nothing here runs on a device. Build scripts of loaders read roots with [`keys`].

#![forbid(unsafe_code)]

pub mod bundle;
pub mod keys;
pub mod pe;
pub mod settings;
pub mod statement;
