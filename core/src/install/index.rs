//! Install step 3: components in the order of the bundle, each with its index first.

use super::state::{Current, State};
use super::{Action, Event, Install, InstallError, Next, done, received};
use crate::units::round;
use crate::verify::Sha256;

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn component(&mut self, number: usize, buffer: &mut [u8]) -> Next {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let Some(component) = manifest.components.get(number) else {
            self.state = State::ExpectEnd;
            return Ok(Action::ExpectEnd);
        };
        if !component.fits(self.target) {
            self.state = State::PassComponent { number };
            let index_len = component.index_len(manifest.chunk_size);
            return Ok(Action::Skip(index_len + component.length));
        }
        let layout = &self.config.layout;
        let data = layout.component(self.target, manifest, number)?;
        let index = self.area.index(layout, self.target, manifest, number)?;
        let source = self.sources.get(usize::from(component.role.code())).copied().flatten();
        self.current = Current {
            number,
            index,
            data,
            length: component.length,
            chunks: component.chunk_count(manifest.chunk_size),
            root: component.index_root,
            source: source.filter(|_| self.config.reuse.running),
            kept_below: 0,
            erased_below: 0,
            window: (0, 0),
        };
        self.restart_fold();
        if self.resumed { self.check_index(0, buffer) } else { self.make_index_room(buffer) }
    }

    pub(super) fn restart_fold(&mut self) {
        self.fold.restart(self.current.length, self.chunk_size());
    }

    pub(super) fn check_index(&mut self, at: u64, buffer: &mut [u8]) -> Next {
        let current = &self.current;
        let geometry = self.config.layout.geometry(current.index.device);
        let left = (current.chunks * 32 - at) as usize;
        let len = round(left, geometry.logical_block_bytes).min(self.whole_units(self.buffer_len));
        // The log has no index here, or the index of another update.
        if at + len as u64 > current.index.len {
            return self.make_index_room(buffer);
        }
        self.state = State::CheckIndex { at, len };
        Ok(self.read(self.current.index, at, len, 0))
    }

    /// Makes room for the index of the component at hand.
    pub(super) fn make_index_room(&mut self, buffer: &mut [u8]) -> Next {
        self.state = State::IndexRoom;
        let Current { number, index, chunks, .. } = self.current;
        let layout = &self.config.layout;
        let step = self.area.begin_index(layout, self.target, number, index, chunks * 32);
        self.part_step(step, buffer)
    }

    pub(super) fn receive_index(&mut self, at: u64) -> Next {
        let left = self.current.chunks * 32 - at;
        let len = left.min(self.whole_units(self.buffer_len) as u64) as usize;
        self.state = State::ReceiveIndex { at, len };
        Ok(Action::Receive(0..len))
    }

    pub(super) fn step_check_index(
        &mut self,
        at: u64,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        // An index that cannot be read is received again.
        if done(event).is_err() {
            return self.make_index_room(buffer);
        }
        let current = &self.current;
        let index_len = current.chunks * 32;
        let take = (index_len - at).min(len as u64) as usize;
        self.fold.entries(&buffer[..take]);
        if at + (take as u64) < index_len {
            return self.check_index(at + take as u64, buffer);
        }
        if self.fold.root() == current.root {
            self.state = State::PassIndex;
            return Ok(Action::Skip(index_len));
        }
        self.make_index_room(buffer)
    }

    pub(super) fn step_receive_index(
        &mut self,
        at: u64,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        received(event, len)?;
        self.fold.entries(&buffer[..len]);
        self.state = State::WriteIndex { at, len };
        Ok(self.write(self.current.index, at, buffer, 0, len))
    }

    pub(super) fn step_write_index(
        &mut self,
        at: u64,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        done(event)?;
        let current = &self.current;
        if at + (len as u64) < current.chunks * 32 {
            return self.receive_index(at + len as u64);
        }
        if self.fold.root() != current.root {
            return self.bad_content();
        }
        self.first_chunk(buffer)
    }
}
