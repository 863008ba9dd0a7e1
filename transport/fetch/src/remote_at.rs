//! A file on web servers, read at any place.

use crate::error::FetchError;
use crate::http::{Identity, Remote};
use crate::read_at::ReadAt;

/// A file on web servers.
#[derive(Debug)]
pub struct RemoteAt {
    remote: Remote,
    name: String,
}

impl RemoteAt {
    /// A file on web servers, called `name` in messages.
    #[must_use]
    pub const fn new(remote: Remote, name: String) -> Self {
        Self { remote, name }
    }
}

impl ReadAt for RemoteAt {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        Ok(self.remote.len()?)
    }

    fn expect(&mut self, end: u64) {
        self.remote.expect(end);
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        Ok(self.remote.read_at(offset, into)?)
    }

    fn read_some(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        Ok(self.remote.read_some(offset, into)?)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn received(&self) -> u64 {
        self.remote.received()
    }

    fn identity(&self) -> Option<Identity> {
        self.remote.identity()
    }

    fn choices(&self) -> usize {
        self.remote.mirrors()
    }

    fn distrust(&mut self, _start: u64, _end: u64) -> bool {
        self.remote.distrust()
    }
}
