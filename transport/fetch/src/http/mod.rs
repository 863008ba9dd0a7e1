//! Files of web servers, by ranges.
//!
//! [`Remote`] reads one file that one or several servers have. It decides nothing about what it
//! reads: the user of the bytes has to verify them. It promises that bytes come from the asked
//! position of a file of the known length, as far as servers tell the truth; that requests, bytes
//! that are thrown away, redirects, heads and waits have bounds; and that credentials go to the
//! servers of the given addresses only.

mod answer;
mod credentials;
mod date;
mod error;
mod line;
mod options;
mod proxy;
mod remote;
mod url;

pub use credentials::Warning;
pub use error::{Asked, Error};
pub use options::{Backoff, Options, Stall};
pub use remote::{Identity, Remote};
pub use url::{Url, UrlError};
