//! A bundle from web servers, files and the slots of this device, as one stream.
//!
//! - [`http`]: ranges of a file on web servers.
//! - [`read_at`]: a file that is read at any place; [`remote_at`]: the same on web servers.
//! - [`framed`]: a bundle or a patch in such a file, as it is or in frames.
//! - [`sha256`]: SHA-256 by the library that TLS uses, on two cores.
//! - [`spool`]: what came and is not in the slot yet, for the next time; [`start`]: the start of the
//!   file that it is of.
//! - [`slots`]: what the slots of this device hold.
//! - [`assembly`]: each piece of a bundle from wherever is nearest.
//! - [`stream`]: a source that says why it failed.
//! - [`ahead`]: the bundle as a stream that is read ahead.
//! - [`pipe`]: a bundle that is read once.
//!
//! All of it only proposes bytes. The core compares each chunk with the signed index before it
//! writes it.

#![forbid(unsafe_code)]

pub mod ahead;
pub mod assembly;
pub mod error;
pub mod framed;
pub mod http;
pub mod pipe;
pub mod read_at;
pub mod remote_at;
pub mod sha256;
pub mod slots;
pub mod spool;
pub mod start;
pub mod stream;
