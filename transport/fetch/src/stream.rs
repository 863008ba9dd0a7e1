//! A source that says why it failed.

use stillboot::driver::Source;

use crate::error::FetchError;

/// A [`Source`] whose errors say more.
pub trait Stream: Source {
    /// What failed, after a [`SourceError`](stillboot::driver::SourceError).
    fn take_error(&mut self) -> Option<FetchError>;
}
