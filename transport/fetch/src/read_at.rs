//! A file that is read at any place: on a disk, or on a web server.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::error::FetchError;
use crate::http::Identity;

/// A file that is read at any place.
pub trait ReadAt: Send {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// How many bytes it has.
    ///
    /// # Errors
    /// [`FetchError`].
    fn file_len(&mut self) -> Result<u64, FetchError>;

    /// The bytes up to `end` will be wanted, so they may be asked for at once.
    fn expect(&mut self, end: u64) {
        let _ = end;
    }

    /// Fills `into` with the bytes at `offset`; fewer only at the end of the file. Returns how many.
    ///
    /// # Errors
    /// [`FetchError`].
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError>;

    /// As [`read_at`](Self::read_at), but only what is here already or comes next.
    ///
    /// # Errors
    /// [`FetchError`].
    fn read_some(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        self.read_at(offset, into)
    }

    /// Whether it is on a web server.
    fn is_remote(&self) -> bool {
        false
    }

    /// Bytes that came over a network.
    fn received(&self) -> u64 {
        0
    }

    /// Which version of a file on a server it is, once that is known.
    fn identity(&self) -> Option<Identity> {
        None
    }

    /// From how many places the same bytes may come.
    fn choices(&self) -> usize {
        1
    }

    /// The bytes from `start` to before `end`, which were read last, are not what they should be.
    /// Whether it is of use to read them again.
    fn distrust(&mut self, start: u64, end: u64) -> bool {
        let _ = (start, end);
        false
    }
}

/// A file whose first bytes were read already, and are kept.
pub(crate) struct Started {
    pub(crate) inner: Box<dyn ReadAt>,
    pub(crate) start: Vec<u8>,
}

impl ReadAt for Started {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        self.inner.file_len()
    }

    fn expect(&mut self, end: u64) {
        self.inner.expect(end);
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = self.start.get(at..).unwrap_or_default();
        let len = known.len().min(into.len());
        into[..len].copy_from_slice(&known[..len]);
        if len == into.len() {
            return Ok(len);
        }
        Ok(len + self.inner.read_at(offset + len as u64, &mut into[len..])?)
    }

    fn read_some(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        match offset < self.start.len() as u64 {
            true => self.read_at(offset, into),
            false => self.inner.read_some(offset, into),
        }
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn identity(&self) -> Option<Identity> {
        self.inner.identity()
    }

    fn choices(&self) -> usize {
        self.inner.choices()
    }

    fn distrust(&mut self, start: u64, end: u64) -> bool {
        self.inner.distrust(start, end)
    }
}

/// A file on a disk.
#[derive(Debug)]
pub struct FileAt {
    file: File,
    name: String,
}

impl FileAt {
    /// An open file, called `name` in messages.
    #[must_use]
    pub fn new(file: File, name: String) -> Self {
        Self { file, name }
    }

    fn failed(&self, error: io::Error) -> FetchError {
        FetchError::Io { name: self.name.clone(), error }
    }
}

impl ReadAt for FileAt {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        self.file.metadata().map(|found| found.len()).map_err(|error| self.failed(error))
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        read_full(&self.file, offset, into).map_err(|error| self.failed(error))
    }
}

/// Fills `into` with the bytes of `file` at `offset`, as far as there are any.
pub(crate) fn read_full(file: &File, offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn name(&self) -> String {
        (**self).name()
    }
    fn file_len(&mut self) -> Result<u64, FetchError> {
        (**self).file_len()
    }
    fn expect(&mut self, end: u64) {
        (**self).expect(end);
    }
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        (**self).read_at(offset, into)
    }
    fn read_some(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        (**self).read_some(offset, into)
    }
    fn is_remote(&self) -> bool {
        (**self).is_remote()
    }
    fn received(&self) -> u64 {
        (**self).received()
    }
    fn identity(&self) -> Option<Identity> {
        (**self).identity()
    }
    fn choices(&self) -> usize {
        (**self).choices()
    }
    fn distrust(&mut self, start: u64, end: u64) -> bool {
        (**self).distrust(start, end)
    }
}
