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
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], are public here. So is `toml::de::Error`, which
//! [`settings::trouble`] puts into words. Nothing else of other crates is.
//!
//! # Example
//!
//! ```
//! use stillboot::format::{Channel, Risk};
//! use stillboot::verify::RootKey;
//! use stillboot_release::keys::{Roots, Signer as _, SigningKey};
//! use stillboot_release::statement::{self, Subject};
//!
//! // Keys are read from files, or stay in a token: see `keys::ExternalSigner`.
//! let (root, operator) = (SigningKey::generate()?, SigningKey::generate()?);
//! let roots = Roots::new("example gateway", 1, [RootKey::ed25519(root.public())]);
//!
//! // The operator approves of a release, by the digest of its manifest.
//! let channel = Channel { track: "latest".parse()?, risk: Risk::Stable, branch: "".parse()? };
//! let subject = Subject::new([0x42; 32], roots.product_id(), channel, 1);
//! let file = statement::sign(&subject.approved(0), &[&operator])?;
//! let (_, read) = statement::parse(&file)?;
//! assert_eq!((read.digest, read.number), ([0x42; 32], 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod bundle;
#[cfg(feature = "frames")]
pub mod delta;
#[cfg(feature = "frames")]
pub mod frames;
pub mod keys;
pub mod pe;
pub mod settings;
pub mod statement;
