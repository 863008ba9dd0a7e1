//! Boot steps 2 and 3: which candidate is next, and the try that is counted before anything of it
//! is read.

use super::report::Reason;
use super::state::State;
use super::{Action, Boot};
use crate::canary::Canary;
use crate::format::{SlotEntry, SlotKind, SlotState};
use crate::record::RecordStatus;
use crate::select::{CandidateKind, RecordOrigin, candidates};
use crate::verify::Sha256;

impl<'a, H: Sha256> Boot<'a, H> {
    pub(super) fn order(&mut self, origin: RecordOrigin) {
        let layout = &self.config.layout;
        self.candidates = candidates(&self.record.body, origin, |slot| layout.has(slot));
        self.next = 0;
    }

    /// Step 1 is done: make the order, from the record or from the slots' headers.
    pub(super) fn begin(&mut self) -> Action {
        match self.report.record {
            RecordStatus::Current { .. } => {
                let trying = |entry: &SlotEntry| matches!(entry.state, SlotState::Trying { .. });
                let trial = self.record.body.slots.iter().any(trying);
                self.dirty = self.record.body.expire_trials();
                self.order(RecordOrigin::Read);
                // If no slot was on trial, the first candidate is the one that hung.
                if self.config.watchdog_reset
                    && !trial
                    && let Some(first) = self.candidates.first().copied()
                    && self.record.body.hung(first)
                {
                    self.dirty = true;
                    self.order(RecordOrigin::Read);
                }
                self.next_candidate()
            }
            RecordStatus::Factory | RecordStatus::Lost | RecordStatus::Newer => self.scan(0),
        }
    }

    // Why: docs/DESIGN.md#why-no-trial-without-count
    // Why: docs/DESIGN.md#why-failing-store-stops-updates
    pub(super) fn next_candidate(&mut self) -> Action {
        self.manifest = None;
        self.has_leftovers |= !core::mem::replace(&mut self.first_reserve, true);
        while let Some(candidate) = self.candidates.get(self.next).copied() {
            self.next += 1;
            if self.out & candidate.slot.bit() != 0 {
                continue;
            }
            self.current = candidate;
            match candidate.kind {
                CandidateKind::Trial => {
                    if self.read_only() {
                        self.line(Reason::NewerRecord);
                        continue;
                    }
                    if self.report.store_failed {
                        self.line(Reason::StoreFailed);
                        continue;
                    }
                    // Looked at again after a false floor was ignored: the try is counted already.
                    if self.counted & candidate.slot.bit() != 0 {
                        return self.read_head();
                    }
                    self.unspent = self.record.body.slot(candidate.slot).state;
                    if self.record.body.spend_try(candidate.slot, self.config.nonce).is_none() {
                        continue;
                    }
                    if Canary::CountsAfterStart.is_on() {
                        return self.read_head();
                    }
                    return self.write_record(State::Spend);
                }
                // When the store fails, only a slot that is good already may run.
                CandidateKind::LastResort
                    if self.report.store_failed
                        && self.record.body.slot(candidate.slot).state != SlotState::Good =>
                {
                    self.line(Reason::StoreFailed);
                }
                CandidateKind::Good
                | CandidateKind::Suspect
                | CandidateKind::Recovery
                | CandidateKind::LastResort => {
                    return self.read_head();
                }
            }
        }
        self.nothing_starts()
    }

    /// Every candidate was looked at, and none was started.
    // Why: docs/DESIGN.md#why-unreachable-floor-is-ignored
    fn nothing_starts(&mut self) -> Action {
        // If no intact slot on the device reaches the floor, the floor came from damage, or the
        // slot that reached it is destroyed. Obeying that floor would let one bad write stop the
        // device for good.
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            let seen = &mut self.kinds[kind as usize];
            if seen.refused_by_floor
                && !self.report.store_failed
                && seen.unseen == 0
                && !seen.ignore_floor
                && seen.reaches == 0
            {
                seen.ignore_floor = true;
                self.report.floor_ignored = true;
                self.next = 0;
                return self.next_candidate();
            }
        }
        let write = match self.report.record {
            // A slot that was found bad is noted. Otherwise an installation would keep it as the
            // good slot.
            RecordStatus::Current { .. } => self.dirty,
            RecordStatus::Factory if !self.any_head => false,
            // All copies are lost or wiped, and nothing can be started. Without a record nothing
            // could be installed either. A slot that could not be read may be readable the next
            // time, so it must not be the first to be overwritten.
            RecordStatus::Lost | RecordStatus::Factory => {
                let unseen = self.silent | self.kinds[0].unseen | self.kinds[1].unseen;
                self.record.body.keep_unread(unseen);
                self.dirty && !(Canary::UnreadEndsUpdates.is_on() && unseen != 0)
            }
            RecordStatus::Newer => false,
        };
        if write { self.write_record(State::SettleEmpty) } else { self.stop() }
    }
}
