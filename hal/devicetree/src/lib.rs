//! The right device tree for a machine, and what a kernel needs in it.
//!
//! The input comes from firmware, build tools, or an attacker with write access to the disk. No
//! input makes this crate panic. It runs without an operating system and without a heap, so the
//! same code decides under UEFI, without firmware and on the host.
//!
//! | module | what it does |
//! |---|---|
//! | [`fdt`] | reads flattened device trees, and writes a copy with what a boot adds |
//! | [`smbios`] | reads what a machine's firmware says about the machine |
//! | [`chid`] | computes hardware ids from that |
//! | [`hwids`] | reads and writes tables of ids as unified kernel images carry them |
//! | [`set`] | reads and writes the set of trees in a bundle, with the machines they are for |
//! | [`choice`] | chooses the tree of a machine |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `alloc` (default) | builds sets of trees and tables of hardware ids, and needs a heap. Reading, editing and choosing work without it. |
//! | `defmt` | `defmt::Format` on errors and on the small values in them |
//!
//! # Types of other crates
//!
//! None are public, but for the traits of `defmt` with that feature.
//!
//! # Example
//!
//! ```
//! use stillboot_devicetree::chid::{Fields, Kind};
//!
//! // What SMBIOS says of a machine makes its hardware ids, of kinds that are more and less exact.
//! let fields = Fields {
//!     manufacturer: Some("Example"),
//!     product_name: Some("Laptop 1"),
//!     product_sku: Some("L1-2024"),
//!     ..Fields::default()
//! };
//! let ids: Vec<_> = Kind::BY_PRIORITY.iter().filter_map(|kind| kind.chid(&fields)).collect();
//! assert_eq!(ids.len(), 2);
//! assert_eq!(ids[0].to_string(), "9dd671ad-2bc0-5c1f-81a5-ae3357ab56bc");
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod chid;
pub mod choice;
pub mod fdt;
pub mod hwids;
pub mod set;
mod sha1;
pub mod smbios;

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(test)]
extern crate std;

#[cfg(all(test, feature = "alloc"))]
mod testing;
