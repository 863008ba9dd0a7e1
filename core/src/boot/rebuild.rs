//! The record is rebuilt from the heads and marks of the slots, where it is lost or not to be used.

use super::floor::lowest_good;
use super::state::{ScanPart, State};
use super::{Action, Boot, Event};
use crate::area::MarkAt;
use crate::format::{Mark, MarkKind, Slot, SlotKind, SlotState, mark};
use crate::io::Io;
use crate::select::RecordOrigin;
use crate::verify::Sha256;

impl<'a, H: Sha256> Boot<'a, H> {
    pub(super) fn scan(&mut self, at: usize) -> Action {
        match self.config.layout.slots().get(at) {
            Some(_) => self.scan_part(at, ScanPart::Head, false),
            None => {
                self.conclude_scan();
                self.order(RecordOrigin::Rebuilt);
                self.next_candidate()
            }
        }
    }

    pub(super) fn scan_part(&mut self, at: usize, part: ScanPart, again: bool) -> Action {
        let slot = self.slot_at(at);
        self.state = State::Scan { at, part, again };
        let kind = match part {
            ScanPart::Head => {
                self.head.restart(&self.config.device);
                // A log without a head of this slot has nothing to look at.
                return self.read_window(slot, 0, 1).unwrap_or_else(|| self.scan(at + 1));
            }
            ScanPart::Commit => MarkKind::Committed,
            ScanPart::Confirmed => MarkKind::Confirmed,
        };
        let layout = &self.config.layout;
        match self.area.mark(layout, slot, kind) {
            Some(MarkAt::Region(region)) => {
                Action::Io(Io::read(layout.geometry(region.device), region, mark::LEN, 0))
            }
            #[cfg(feature = "log")]
            Some(MarkAt::Entry(is_marked)) => self.scanned(at, part, is_marked),
            // Only slots of the layout are ever looked at.
            None => self.scan(at + 1),
        }
    }

    #[inline(never)]
    pub(super) fn step_scan(
        &mut self,
        at: usize,
        part: ScanPart,
        again: bool,
        event: Event<'_>,
        buffer: &[u8],
    ) -> Action {
        if !again && matches!(event, Event::Failed(_)) {
            return self.scan_part(at, part, true);
        }
        let slot = self.slot_at(at);
        let read = matches!(event, Event::Done);
        if !read {
            self.silent |= slot.bit();
        }
        let kind = match part {
            ScanPart::Head => {
                if !read {
                    return self.scan(at + 1);
                }
                return match self.verify(slot, buffer) {
                    Ok(Err(action)) => action,
                    Ok(Ok(Ok(()))) => {
                        self.any_head = true;
                        self.scan_part(at, ScanPart::Commit, false)
                    }
                    Ok(Ok(Err(_))) | Err(_) => self.scan(at + 1),
                };
            }
            ScanPart::Commit => MarkKind::Committed,
            ScanPart::Confirmed => MarkKind::Confirmed,
        };
        let is_marked = read
            && self.manifest.as_ref().is_some_and(|manifest| {
                Mark::parse(kind, buffer).is_ok_and(|mark| mark.digest == *manifest.digest())
            });
        self.scanned(at, part, is_marked)
    }

    /// Goes on after it is known whether slot number `at` of the layout has the mark of `part`.
    pub(super) fn scanned(&mut self, at: usize, part: ScanPart, is_marked: bool) -> Action {
        let slot = self.slot_at(at);
        match (part, &self.manifest) {
            (ScanPart::Commit, Some(_)) if is_marked => {
                self.scan_part(at, ScanPart::Confirmed, false)
            }
            (ScanPart::Confirmed, Some(manifest)) => {
                self.record.body.found(slot, manifest, is_marked, self.config.tries);
                if slot.kind() == SlotKind::Update {
                    self.found[slot as usize] = Some(manifest.order());
                }
                self.scan(at + 1)
            }
            _ => self.scan(at + 1),
        }
    }

    /// Sets what follows from all headers together: priorities, floors, data epoch.
    pub(super) fn conclude_scan(&mut self) {
        let found = self.found;
        let body = &mut self.record.body;
        for slot in Slot::ALL {
            // How many go after this slot: older ones, and among equally old ones those of a higher
            // number.
            let after =
                |other: &Slot| (found[*other as usize], slot) < (found[slot as usize], *other);
            body.slot_mut(slot).priority =
                Slot::ALL.iter().filter(|other| after(other)).count() as u8;
        }
        body.note_unread(self.silent);
        for kind in [SlotKind::Update, SlotKind::Recovery] {
            if let Some(floor) = lowest_good(body, kind, &self.config.layout) {
                *body.floor_of_mut(kind) = floor;
            }
        }
        for slot in Slot::ALL {
            let entry = body.slot(slot);
            if slot.kind() == SlotKind::Update && entry.state == SlotState::Good {
                let writes = entry.epochs.writes;
                body.data_epoch = body.data_epoch.max(writes);
            }
        }
        body.retire_unreadable(None);
        self.dirty = !self.read_only();
    }
}
