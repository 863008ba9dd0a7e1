//! A device between two steps of a story.

use std::fmt;

use stillboot::format::{BootProof, Slot};
use stillboot::select::CandidateKind;

use super::disk::Disk;
use crate::engine::{Instant, MachineRequest};
use crate::oracle::History;
use crate::story::Step;
use crate::world::SimStore;

/// A device between two steps.
#[derive(Clone, Debug)]
pub(super) struct Situation<D> {
    pub(super) disk: D,
    pub(super) store: Option<SimStore>,
    /// Nonce of the last power-on.
    pub(super) nonce: u64,
    pub(super) running: Option<(BootProof, CandidateKind)>,
    pub(super) truth: History,
}

impl<D> Situation<D> {
    pub(super) fn on<E>(&self, disk: E) -> Situation<E> {
        Situation {
            disk,
            store: self.store.clone(),
            nonce: self.nonce,
            running: self.running,
            truth: self.truth.clone(),
        }
    }
}

impl Situation<Disk> {
    /// What everything that follows depends on. The content of a cache is left out, because this is
    /// asked for only when the cache is empty.
    pub(super) fn key(&self, stage: fmt::Arguments<'_>) -> u128 {
        let text = format!(
            "{stage}{:x}{:?}{}{:?}{:?}",
            self.disk.ram().content_hash(),
            self.store,
            self.nonce,
            self.running,
            self.truth
        );
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }

    /// Names disk and store, and nothing of what happened.
    pub(super) fn state(&self) -> u128 {
        let text = format!("{:x}{:?}", self.disk.ram().content_hash(), self.store);
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }
}

impl Instant<Disk> {
    /// What everything that follows from cuts at this instant depends on.
    pub(super) fn key(&self, during: &Situation<Disk>, redo: Option<Step>) -> u128 {
        let act = match &self.act {
            MachineRequest::Write(offset, bytes) => {
                format!("write {offset} {:x}", twox_hash::XxHash3_128::oneshot(bytes))
            }
            other => format!("{other:?}"),
        };
        let text = format!(
            "{act}{redo:?}{:x}{:x}{:?}{}{:?}",
            self.disk.ram().content_hash(),
            self.disk.pending_hash(),
            self.store,
            during.nonce,
            during.truth
        );
        twox_hash::XxHash3_128::oneshot(text.as_bytes())
    }
}

pub(super) trait Other {
    fn other_update(self) -> Slot;
}

impl Other for Slot {
    fn other_update(self) -> Slot {
        if self == Slot::A { Slot::B } else { Slot::A }
    }
}
