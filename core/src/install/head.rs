//! Install step 1: the head of the bundle is received and verified.

use super::state::State;
use super::{Action, Event, Install, InstallError, Next, Permission, Refusal, Wait, received};
use crate::format::{Envelope, FormatError, envelope};
use crate::layout::LayoutError;
use crate::verify::{Sha256, TrustError, digest_of, verify_head_into};

impl<'a, H: Sha256> Install<'a, H> {
    pub(super) fn receive_envelope(&mut self, from: usize) -> Next {
        self.state = State::EnvelopeHeader { from };
        Ok(Action::Receive(from..from + envelope::HEADER_LEN))
    }

    pub(super) fn step_envelope_header(
        &mut self,
        from: usize,
        event: Event,
        buffer: &[u8],
    ) -> Next {
        received(event, envelope::HEADER_LEN)?;
        let (header, _) = buffer[from..]
            .split_first_chunk::<{ envelope::HEADER_LEN }>()
            .ok_or(InstallError::Misused)?;
        let len =
            Envelope::len_from_header(header).map_err(|error| self.head_format(from, error))?;
        let end = from + len;
        // Checked before it is received: an envelope above this limit has no room in the buffer
        // either.
        let most = self.config.layout.head_len_max();
        if end > most {
            return Err(LayoutError::Head { len: end, most }.into());
        }
        self.state = State::EnvelopeRest { from, end };
        Ok(Action::Receive(from + envelope::HEADER_LEN..end))
    }

    pub(super) fn head_format(&self, from: usize, error: FormatError) -> InstallError {
        let keyset = from == 0 && self.config.device.trust.envelopes() > 1;
        InstallError::Refused(Refusal::Trust(if keyset {
            TrustError::Keyset(error)
        } else {
            TrustError::Manifest(error)
        }))
    }

    pub(super) fn step_envelope_rest(
        &mut self,
        from: usize,
        end: usize,
        event: Event,
        buffer: &[u8],
    ) -> Next {
        received(event, end - from - envelope::HEADER_LEN)?;
        let keyset = from == 0 && self.config.device.trust.envelopes() > 1;
        if keyset {
            return self.receive_envelope(end);
        }
        let head = &buffer[..end];
        let kind = self.kind();
        verify_head_into::<H>(&self.config.device, kind, head, &mut self.manifest)
            .map_err(|error| InstallError::Refused(Refusal::Trust(error)))?;
        self.head_len = end;
        self.head_digest = digest_of::<H>(head);
        let found = match self.admit() {
            Ok(found) => found,
            Err(error) => {
                // The manifest is the one at hand only once it is admitted.
                self.manifest = None;
                return Err(error);
            }
        };
        // Checked before the switch. After the switch a store that cannot be raised would keep the
        // old floor.
        if self.config.has_store && found > self.store {
            self.state = State::ProbeFloor;
            return Ok(Action::ProbeFloor(self.kind(), found));
        }
        self.state = State::Judge;
        Ok(Action::Judge)
    }

    pub(super) fn step_probe_floor(&mut self, event: Event) -> Next {
        let Event::Done = event else { return Err(Wait::StoreFull.into()) };
        self.state = State::Judge;
        Ok(Action::Judge)
    }

    // Why: docs/DESIGN.md#why-policy-is-last
    pub(super) fn step_judge(&mut self, event: Event, buffer: &mut [u8]) -> Next {
        match event {
            Event::Judged(Permission::Proceed) => self.admitted(buffer),
            Event::Judged(Permission::Defer) => Err(Wait::Policy.into()),
            Event::Judged(Permission::Reject) => Err(Refusal::Policy.into()),
            _ => Err(InstallError::Misused),
        }
    }
}
