//! Why bytes of a bundle could not be had.

use std::io;

use stillboot_transport::frame::Fault;

use crate::http;

/// Why bytes of a bundle could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file could not be read.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A web server did not give it.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// A framed file is damaged, or uses what this build lacks.
    #[error("{name}: {fault}")]
    Frames {
        /// The file.
        name: String,
        /// What is wrong.
        fault: Fault,
    },
    /// It is a patch: a device with the old bundle has the bytes that are not in it.
    #[error("{name} is a patch: expected a bundle")]
    Patch {
        /// The file.
        name: String,
        /// Whether every piece is in it, compressed or as a difference.
        is_whole: bool,
    },
    /// The file is neither a bundle nor a framed file. It starts with these bytes.
    #[error("{name}: expected a bundle")]
    NotABundle {
        /// The file.
        name: String,
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// The file does not have the length that its start promises.
    #[error("{name}: expected {expected} bytes, found {found}")]
    Length {
        /// The file.
        name: String,
        /// What its start promises.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// The framed file has more frames than a reader that goes to and fro takes.
    #[error(
        "{name}: expected at most {most} frames, found {found}: pack with larger chunks, or install \
         the expanded bundle"
    )]
    Frameful {
        /// The file.
        name: String,
        /// Most frames.
        most: u64,
        /// How many it has.
        found: u64,
    },
}

impl FetchError {
    /// Whether the same may work later: a server that is not reached, a file that cannot be read
    /// just now.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Http(error) => error.is_temporary(),
            _ => false,
        }
    }
}
