//! Streams whose reads wait.

use super::pause::pause;
use crate::driver::SourceError;

/// A stream of bytes that can skip some of them: [`driver::Source`](crate::driver::Source), with
/// reads that wait.
pub trait Source {
    /// Reads some bytes; 0 only at the end of the stream, or for an empty `into`.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError>;

    /// Skips `len` bytes.
    ///
    /// # Errors
    /// [`SourceError`], also when the stream ends before that.
    async fn skip(&mut self, len: u64) -> Result<(), SourceError>;

    /// Whether anything follows behind the bundle; see
    /// [`driver::Source::has_more`](crate::driver::Source::has_more).
    ///
    /// # Errors
    /// [`SourceError`].
    async fn has_more(&mut self) -> Result<bool, SourceError>;

    /// Whether the slot that is written is known to hold the next `len` bytes; see
    /// [`driver::Source::is_held`](crate::driver::Source::is_held).
    fn is_held(&mut self, len: u64) -> bool {
        let _ = len;
        false
    }
}

/// Any `embedded_io_async` reader that ends as a [`Source`]. Skipped bytes are read and discarded.
#[derive(Debug)]
pub struct Stream<R>(pub R);

/// Any `embedded_io_async` reader without an end, such as a serial line, as a [`Source`]: not one
/// byte behind the bundle is read. Skipped bytes are read and discarded.
#[derive(Debug)]
pub struct Unbounded<R>(pub R);

impl<R: embedded_io_async::Read> Source for Stream<R> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into).await.map_err(|_| SourceError)
    }

    async fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        read_past(self, len).await
    }

    async fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self).await
    }
}

impl<R: embedded_io_async::Read> Source for Unbounded<R> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into).await.map_err(|_| SourceError)
    }

    async fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        read_past(self, len).await
    }

    async fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// [`Source::skip`] by reading.
///
/// # Errors
/// [`SourceError`], also when the stream ends before that.
pub async fn read_past<S>(source: &mut S, mut len: u64) -> Result<(), SourceError>
where
    S: Source + ?Sized,
{
    let mut scrap = [0; 256];
    while len > 0 {
        let most = len.min(scrap.len() as u64) as usize;
        match fill(source, &mut scrap[..most]).await? {
            n if n == most => len -= n as u64,
            // The stream ended before the end that the bundle declares.
            _ => return Err(SourceError),
        }
        // A reader that never waits would keep the executor for megabytes.
        pause().await;
    }
    Ok(())
}

/// [`Source::has_more`] of a stream with an end, by reading one byte.
///
/// # Errors
/// [`SourceError`].
pub async fn read_more<S: Source + ?Sized>(source: &mut S) -> Result<bool, SourceError> {
    Ok(fill(source, &mut [0]).await? > 0)
}

/// Fills `into` from `source`; returns how many bytes came before the stream ended.
pub(super) async fn fill<S>(source: &mut S, into: &mut [u8]) -> Result<usize, SourceError>
where
    S: Source + ?Sized,
{
    let mut filled = 0;
    while filled < into.len() {
        let left = into.len() - filled;
        match source.read(&mut into[filled..]).await? {
            0 => break,
            // A reader that claims more than it was given room for is broken.
            n if n > left => return Err(SourceError),
            n => filled += n,
        }
    }
    Ok(filled)
}
