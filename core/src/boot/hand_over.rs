//! Boot steps 6 and 7: the record is written where it has changed, and the slot is started.

use super::report::Reason;
use super::state::State;
use super::{Action, Boot, Event};
use crate::format::{BootProof, Fault, SlotState, record as record_format};
use crate::select::{Candidate, CandidateKind};
use crate::verify::{self, Sha256};

impl<'a, H: Sha256> Boot<'a, H> {
    // Why: docs/DESIGN.md#why-good-boot-writes-nothing
    pub(super) fn settle(&mut self) -> Action {
        if self.dirty && !self.read_only() {
            return self.write_record(State::Settle);
        }
        self.hand_over()
    }

    /// Step 6.
    pub(super) fn hand_over(&mut self) -> Action {
        // A slot that loads nothing must not start with data that was loaded from another slot.
        if core::mem::take(&mut self.has_leftovers) {
            self.state = State::Forget;
            return Action::Forget;
        }
        let Some(manifest) = &self.manifest else { return self.stop() };
        let Candidate { slot, kind } = self.current;
        let (attempt, nonce) = match (kind, self.record.body.slot(slot).state) {
            (
                CandidateKind::Trial | CandidateKind::LastResort,
                SlotState::Trying { attempt, nonce, .. },
            ) => (attempt, nonce),
            _ => (0, 0),
        };
        let proof = BootProof {
            slot,
            digest: *manifest.digest(),
            attempt,
            nonce,
            keyset_version: manifest.keyset_version(),
            record_version: record_format::VERSION,
            manifest_schema: verify::MANIFEST_SCHEMA,
        };
        self.line(Reason::Started);
        self.state = State::HandedOver;
        Action::HandOver(proof)
    }

    /// Step 7.
    // Why: docs/DESIGN.md#why-machine-errors-spare-the-slot
    pub(super) fn returned(&mut self, event: Event<'_>) -> Action {
        // The line that said "started" is replaced, so that the report has one line for this start.
        if self.report.lines.last().is_some_and(|line| line.reason == Reason::Started) {
            self.report.lines.pop();
        }
        if matches!(event, Event::NotStarted) {
            return self.skip(Reason::NotStarted);
        }
        if let Candidate { slot, kind: CandidateKind::Trial } = self.current {
            self.record.body.fail(slot, Fault::Returned);
            self.dirty = true;
        }
        self.skip(Reason::Returned)
    }
}
