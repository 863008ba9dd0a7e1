//! Install step 4: everything is durable, and the devices return the bytes that were written.

// Why: docs/DESIGN.md#why-read-back

use super::state::State;
use super::{Action, Event, Install, InstallError, Next, Refusal, done};
use crate::canary::Canary;
use crate::format::MarkKind;
use crate::io::Io;
use crate::units::{round_down, round_u64};
use crate::verify::Sha256;

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn flush_all(&mut self, from: u8, buffer: &mut [u8]) -> Next {
        let devices = self.config.layout.devices_of(self.target);
        for device in from..8 {
            if devices & 1 << device != 0 && !Canary::NoFlushBeforeSwitch.is_on() {
                self.state = State::FlushAll { device };
                return Ok(Action::Io(Io::Flush { device }));
            }
        }
        self.hash = H::new();
        self.read_back_head(0, buffer)
    }

    pub(super) fn read_back_head(&mut self, at: usize, buffer: &mut [u8]) -> Next {
        if at < self.head_len {
            let len = (self.head_len - at).min(self.whole_units(self.buffer_len));
            self.state = State::ReadBackHead { at, len };
            return Ok(self.read(self.head_region()?, at as u64, len, 0));
        }
        let stored = core::mem::replace(&mut self.hash, H::new()).finish();
        if Canary::NoReadBack.is_on() {
            return self.commit(MarkKind::Committed, buffer);
        }
        if stored != self.head_digest {
            return Err(InstallError::ReadBack);
        }
        self.begin_read_back(0, buffer)
    }

    pub(super) fn begin_read_back(&mut self, from: usize, buffer: &mut [u8]) -> Next {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let next = manifest.components_of(self.target).find(|(number, _)| *number >= from);
        match next {
            Some((number, component)) => {
                self.fold.restart(component.length, manifest.chunk_size);
                self.read_back(number, 0, buffer)
            }
            None => self.commit(MarkKind::Committed, buffer),
        }
    }

    pub(super) fn read_back(&mut self, number: usize, at: u64, buffer: &mut [u8]) -> Next {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let component = &manifest.components[number];
        let data = self.config.layout.component(self.target, manifest, number)?;
        if at < component.length {
            let geometry = self.config.layout.geometry(data.device);
            let left = component.length - at;
            // Whole chunks, so that their digests can be taken at the same time.
            let unit = manifest.chunk_size.max(geometry.logical_block_bytes);
            let most = round_down(self.whole_units(self.buffer_len) as u64, unit);
            let len = round_u64(left, geometry.logical_block_bytes).min(most) as usize;
            self.state = State::ReadBack { number, at, len };
            return Ok(self.read(data, at, len, 0));
        }
        let root = component.index_root;
        let is_believed = Canary::StatedIsBelieved.is_on() && self.config.reuse.stated;
        if self.fold.root() != root && !is_believed {
            return Err(InstallError::ReadBack);
        }
        self.begin_read_back(number + 1, buffer)
    }

    pub(super) fn step_expect_end(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        match event {
            Event::Received(0) => self.flush_all(0, buffer),
            Event::Received(_) => Err(Refusal::Trailing.into()),
            _ => Err(InstallError::Misused),
        }
    }

    pub(super) fn step_read_back_head(
        &mut self,
        at: usize,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        done(event)?;
        self.hash.update(&buffer[..len]);
        self.read_back_head(at + len, buffer)
    }

    pub(super) fn step_read_back(
        &mut self,
        number: usize,
        at: u64,
        len: usize,
        event: Event,
        buffer: &mut [u8],
    ) -> Next {
        done(event)?;
        self.fold.bytes(&buffer[..len]);
        let left = self.component_len(number)?.saturating_sub(at);
        self.progress.done += left.min(len as u64);
        self.read_back(number, at + len as u64, buffer)
    }
}
