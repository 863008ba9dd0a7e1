//! Install step 3: the chunks of a component. Each is compared with its entry of the index before
//! it is written.

use super::state::State;
use super::{Action, Event, Install, InstallError, Next, chunk_room, done, io_result, received};
use crate::canary::Canary;
use crate::format::Digest;
use crate::io::Io;
use crate::layout::Region;
use crate::units::{round_down, round_u64};
use crate::verify::{Sha256, digest_of};

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn first_chunk(&mut self, buffer: &mut [u8]) -> Next {
        self.restart_fold();
        self.chunk(0, buffer)
    }

    /// Goes on with chunk number `chunk`, or finishes the component.
    // Why: docs/DESIGN.md#why-index-is-folded-again
    pub(super) fn chunk(&mut self, chunk: u64, buffer: &mut [u8]) -> Next {
        let current = &self.current;
        if chunk == current.chunks {
            // The stored entries were read again for each chunk. If one of them changed in between,
            // chunks may have been compared with the digests of another bundle.
            if self.fold.root() != current.root {
                return Err(InstallError::ReadBack);
            }
            let next = current.number + 1;
            return self.component(next, buffer);
        }
        if !self.in_window(chunk) {
            return self.window(chunk, false);
        }
        if chunk < current.kept_below {
            self.accept(chunk, buffer)?;
            let len = self.chunk_len(chunk) as u64;
            self.reused += len;
            self.progress.done += len;
            self.state = State::PassChunk { chunk };
            return Ok(Action::Skip(len));
        }
        if chunk < current.erased_below {
            return self.obtain(chunk);
        }
        let reuse = self.config.reuse;
        // What an earlier run wrote is known to no source.
        if self.resumed || reuse.target && !reuse.stated {
            return self.probe(chunk);
        }
        if reuse.stated {
            return Ok(self.ask(chunk));
        }
        self.erase_group(chunk)
    }

    /// The chunks that share erase blocks with `chunk`: first, and one past the last.
    pub(super) fn group(&self, chunk: u64) -> (u64, u64) {
        let current = self.current;
        let block = self.config.layout.geometry(current.data.device).erase_block_bytes;
        // Both are powers of two.
        let size = (block >> self.chunk_size().trailing_zeros()).max(1);
        let first = round_down(chunk, size);
        (first, (first + u64::from(size)).min(current.chunks))
    }

    // Why: docs/DESIGN.md#why-resume-has-no-position
    pub(super) fn probe(&mut self, chunk: u64) -> Next {
        if !self.in_window(chunk) {
            return self.window(chunk, true);
        }
        self.state = State::Probe { chunk };
        Ok(self.read_chunk(self.current.data, chunk))
    }

    pub(super) fn step_probe(&mut self, chunk: u64, event: Event, buffer: &mut [u8]) -> Next {
        let there = done(event).is_ok() && self.matches(chunk, buffer)?;
        let (first, end) = self.group(chunk);
        if !there {
            return self.erase_group(first);
        }
        if chunk + 1 < end {
            return self.probe(chunk + 1);
        }
        self.current.kept_below = end;
        self.chunk(first, buffer)
    }

    // Why: docs/DESIGN.md#why-a-source-may-say-what-is-there
    fn ask(&mut self, chunk: u64) -> Action {
        let (first, end) = self.group(chunk);
        self.state = State::Ask { chunk: first };
        let end = self.chunk_start(end).min(self.current.length);
        Action::IsHeld(end - self.chunk_start(first))
    }

    pub(super) fn step_ask(&mut self, chunk: u64, event: Event, buffer: &mut [u8]) -> Next {
        if io_result(event)?.is_err() {
            return self.erase_group(chunk);
        }
        (_, self.current.kept_below) = self.group(chunk);
        self.chunk(chunk, buffer)
    }

    pub(super) fn erase_group(&mut self, chunk: u64) -> Next {
        let (first, end) = self.group(chunk);
        let current = self.current;
        let block = self.config.layout.geometry(current.data.device).erase_block_bytes;
        let start = self.chunk_start(first);
        let len = round_u64(self.chunk_start(end).min(current.length), block) - start;
        let region = Region { offset: current.data.offset + start, len, ..current.data };
        self.state = State::EraseGroup { chunk };
        Ok(Action::Io(Io::erase(region)))
    }

    pub(super) fn obtain(&mut self, chunk: u64) -> Next {
        let end = self.chunk_start(chunk) + self.chunk_len(chunk) as u64;
        if let Some(source) = self.current.source
            && end <= source.len
        {
            self.state = State::Borrow { chunk };
            return Ok(self.read_chunk(source, chunk));
        }
        self.receive_chunk(chunk)
    }

    pub(super) fn receive_chunk(&mut self, chunk: u64) -> Next {
        self.state = State::ReceiveChunk { chunk };
        Ok(Action::Receive(0..self.chunk_len(chunk)))
    }

    pub(super) fn read_chunk(&self, data: Region, chunk: u64) -> Action {
        self.read(data, self.chunk_start(chunk), self.chunk_len(chunk), 0)
    }

    /// Whether the bytes at the start of the buffer are the chunk that the index names.
    pub(super) fn matches(&self, chunk: u64, buffer: &[u8]) -> Result<bool, InstallError> {
        let len = self.chunk_len(chunk);
        Ok(digest_of::<H>(&buffer[..len]) == *self.entry(chunk, buffer)?)
    }

    pub(super) fn write_chunk(&mut self, chunk: u64, borrowed: bool, buffer: &mut [u8]) -> Next {
        self.accept(chunk, buffer)?;
        let len = self.chunk_len(chunk);
        self.state = State::WriteChunk { chunk, borrowed };
        Ok(self.write(self.current.data, self.chunk_start(chunk), buffer, 0, len))
    }

    /// Folds the entry that the chunk was compared with. At the end this shows whether the stored
    /// index is still the one that was verified.
    pub(super) fn accept(&mut self, chunk: u64, buffer: &[u8]) -> Result<(), InstallError> {
        let entry = *self.entry(chunk, buffer)?;
        self.fold.entries(&entry);
        Ok(())
    }

    pub(super) fn in_window(&self, chunk: u64) -> bool {
        let (first, end) = self.current.window;
        (first..end).contains(&chunk)
    }

    pub(super) fn window(&mut self, chunk: u64, probe: bool) -> Next {
        let room = chunk_room(&self.config.layout, self.chunk_size());
        let current = self.current;
        let geometry = self.config.layout.geometry(current.index.device);
        let len = self.whole_units(self.buffer_len - room) as u64;
        // A window starts on a block of the device and ends with the index.
        let block = geometry.logical_block_bytes.max(32);
        let start = round_down(chunk * 32, block);
        let end = (start + len).min(round_u64(current.chunks * 32, block));
        self.current.window = (start / 32, (end / 32).min(current.chunks));
        self.state = State::Window { chunk, probe };
        Ok(self.read(self.current.index, start, (end - start) as usize, room))
    }

    pub(super) fn entry<'b>(
        &self,
        chunk: u64,
        buffer: &'b [u8],
    ) -> Result<&'b Digest, InstallError> {
        let room = chunk_room(&self.config.layout, self.chunk_size());
        let (first, _) = self.current.window;
        let at = room + (chunk - first) as usize * 32;
        buffer.get(at..).and_then(|rest| rest.first_chunk()).ok_or(InstallError::Misused)
    }

    /// Where the chunk starts in its component.
    #[inline(never)]
    pub(super) fn chunk_start(&self, chunk: u64) -> u64 {
        chunk << self.chunk_size().trailing_zeros()
    }

    #[inline(never)]
    pub(super) fn chunk_len(&self, chunk: u64) -> usize {
        let left = self.current.length.saturating_sub(self.chunk_start(chunk));
        left.min(self.chunk_size().into()) as usize
    }

    pub(super) fn step_erase_group(&mut self, chunk: u64, event: Event, buffer: &mut [u8]) -> Next {
        done(event)?;
        let (_, end) = self.group(chunk);
        self.current.erased_below = end;
        self.chunk(chunk, buffer)
    }

    pub(super) fn step_borrow(&mut self, chunk: u64, event: Event, buffer: &mut [u8]) -> Next {
        // A chunk that the running slot does not have comes from the stream.
        if done(event).is_ok() && self.matches(chunk, buffer)? {
            return self.write_chunk(chunk, true, buffer);
        }
        self.receive_chunk(chunk)
    }

    pub(super) fn step_receive_chunk(
        &mut self,
        chunk: u64,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        received(event, self.chunk_len(chunk))?;
        if !self.matches(chunk, buffer)? && !Canary::ChunkNotCompared.is_on() {
            return self.bad_content();
        }
        self.write_chunk(chunk, false, buffer)
    }

    pub(super) fn step_write_chunk(
        &mut self,
        chunk: u64,
        borrowed: bool,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        done(event)?;
        let len = self.chunk_len(chunk) as u64;
        self.progress.done += len;
        if borrowed {
            self.reused += len;
            self.state = State::PassChunk { chunk };
            return Ok(Action::Skip(len));
        }
        self.written += len;
        self.chunk(chunk + 1, buffer)
    }
}
