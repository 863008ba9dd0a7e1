//! How a bundle's bytes arrive: framed files, compression, patches.
//!
//! The install machine sees one logical stream, the bundle of `docs/FORMAT.md`. Everything here only
//! proposes bytes of it. The core compares each chunk with the signed index before it writes it, so
//! a fault here costs a download and never a device.

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
