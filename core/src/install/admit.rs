//! Install step 1: everything that can be checked before the first erase, in the order of the
//! protocol.

// Why: docs/DESIGN.md#why-decide-before-erase

use super::{FLOOR_JUMP_MAX, Install, InstallError, Nothing, Progress, Refusal, Running, Wait};
use crate::canary::Canary;
use crate::format::{Fault, Floor, Manifest, Slot, SlotKind, SlotState};
use crate::layout::{LayoutError, SlotLayout};
use crate::verify::{Sha256, Verified, check_class};

impl<'a, H: Sha256> Install<'a, H> {
    /// Sets the target, and returns the floor that the update reaches.
    pub(super) fn admit(&mut self) -> Result<Floor, InstallError> {
        let Some(manifest) = &self.manifest else { return Err(InstallError::Misused) };
        let layout = &self.config.layout;
        check_class(&self.config.device, manifest).map_err(Refusal::Class)?;
        let found = manifest.floor();
        let floor = self.required_floor();
        check_floor(found, floor)?;
        self.check_order(manifest)?;
        let target = self.choose_target(manifest)?;
        layout.check_fit(target, manifest).map_err(Refusal::Layout)?;
        self.area.check_room(layout, target, manifest, self.head_len).map_err(Refusal::Layout)?;
        self.need_buffer(Self::buffer_len_min(layout, manifest.chunk_size))?;
        let epoch = match self.kind() {
            SlotKind::Update => self.check_epochs(manifest)?,
            SlotKind::Recovery => self.epoch,
        };
        let total: u64 = manifest.components_of(target).map(|(_, c)| c.length).sum();
        self.progress = Progress { done: 0, total: 2 * total };
        self.target = target;
        self.floor = floor;
        self.epoch = epoch;
        Ok(found)
    }

    /// The update slot that runs, or would boot on a device that is offline.
    fn running_update(&self) -> Option<Slot> {
        self.running.filter(|slot| slot.kind() == SlotKind::Update)
    }

    /// The recorded floor, or the store's if that is higher. The floor never lies above a good
    /// slot. A recorded floor that does is damage or forgery, and obeying it would end all updates.
    // Why: docs/DESIGN.md#why-installation-lowers-floor
    fn required_floor(&self) -> Floor {
        let recorded = self.record.body.floor_of(self.kind());
        let seen = &self.seen;
        let floor = if self.running.is_some_and(|slot| slot.kind() == self.kind()) {
            recorded.min(self.running_floor)
        } else if !seen.unread && seen.highest < recorded && !Canary::FloorLocksOut.is_on() {
            seen.lowest_good.unwrap_or_default()
        } else {
            recorded
        };
        floor.max(self.store)
    }

    /// Checks that the update is newer than the one that runs, or, for recovery, than the system
    /// that it replaces.
    // Why: docs/DESIGN.md#why-recovery-head-is-the-measure
    fn check_order(&self, manifest: &Verified<Manifest>) -> Result<(), InstallError> {
        let found = manifest.order();
        if self.kind() == SlotKind::Recovery {
            // An older one may be signed by a key that was revoked since. The same one is the
            // slot's repair.
            let (running, digest) = self.seen.newest;
            let is_same = digest == *manifest.digest();
            if found <= running && !is_same && !Canary::RecoveryDowngrade.is_on() {
                return Err(Refusal::NotNewer { found, running }.into());
            }
        } else if self.running_update().is_some() {
            let running = self.running_order;
            if *manifest.digest() == self.running_digest {
                if !self.config.repair {
                    return Err(Nothing::Running.into());
                }
            } else if found <= running {
                return Err(Refusal::NotNewer { found, running }.into());
            }
        }
        Ok(())
    }

    /// Checks that the new system can use the data on the device, and that the running one can use
    /// the data after a rollback. Gives the epoch of the data. A recorded epoch above all that the
    /// device has is damage or forgery, as with the floor.
    fn check_epochs(&self, manifest: &Verified<Manifest>) -> Result<u16, InstallError> {
        let epochs = manifest.epochs;
        let recorded = self.record.body.data_epoch;
        let runs = self.running_update().is_some();
        let all_seen = !self.seen.unread && !self.seen.unverified;
        let epoch = match (runs, all_seen) {
            _ if Canary::EpochLocksOut.is_on() => recorded,
            (true, _) => recorded.min(self.running_reads_max),
            (false, true) => recorded.min(self.seen.reads_max),
            (false, false) => recorded,
        };
        if !runs && self.config.allow_new_epoch {
            return Ok(epoch.min(epochs.reads_max));
        }
        // A new device has no data yet.
        let has_data = runs || epoch != 0;
        let (reads_min, reads_max) = (epochs.reads_min, epochs.reads_max);
        if has_data && !(reads_min..=reads_max).contains(&epoch) {
            return Err(Refusal::CannotReadData { epoch, reads_min, reads_max }.into());
        }
        let reads_max = self.running_reads_max;
        if runs && epochs.writes > reads_max && !self.config.allow_new_epoch {
            return Err(Refusal::FallbackCannotRead { writes: epochs.writes, reads_max }.into());
        }
        Ok(epoch)
    }

    fn choose_target(&self, manifest: &Verified<Manifest>) -> Result<Slot, InstallError> {
        let body = &self.record.body;
        let ready = |slot: &Slot| {
            self.config.layout.has(*slot)
                && slot.kind() == self.kind()
                && body.slot(*slot).digest == *manifest.digest()
                && matches!(body.slot(*slot).state, SlotState::Ready { .. })
        };
        let ready = Slot::ALL.into_iter().find(ready);
        if let (Some(slot), false) = (ready, self.config.repair) {
            return Err(Nothing::Ready(slot).into());
        }
        // A repair is for a slot that may have been damaged since.
        match self.config.target.or(ready) {
            Some(slot) => self.check_target(slot, manifest).map(|()| slot),
            None => self.find_target(manifest),
        }
    }

    /// Checks that the slot which the caller has named may be overwritten.
    fn check_target(&self, slot: Slot, manifest: &Verified<Manifest>) -> Result<(), InstallError> {
        let layout = &self.config.layout;
        if !layout.has(slot) {
            return Err(Refusal::Layout(LayoutError::NoSuchSlot(slot)).into());
        }
        // The only slot there is can be filled again where nothing runs from it.
        let is_update = |found: &SlotLayout<'_>| found.slot.kind() == SlotKind::Update;
        let is_only = matches!(self.config.running, Running::Offline)
            && layout.slots().iter().filter(|found| is_update(found)).count() == 1;
        if self.running == Some(slot) && !is_only {
            return Err(Refusal::TargetRuns.into());
        }
        let entry = self.record.body.slot(slot);
        if entry.held {
            return Err(Wait::Held.into());
        }
        if slot.kind() == SlotKind::Recovery {
            let is_there = entry.state == SlotState::Good && entry.digest == *manifest.digest();
            if is_there && !self.config.repair {
                return Err(Nothing::Running.into());
            }
            let online = matches!(self.config.running, Running::Proof(_));
            if online && self.running_update().is_none() {
                return Err(Refusal::RecoveryNeedsGood.into());
            }
        }
        Ok(())
    }

    /// The update slot whose loss costs least.
    // Why: docs/DESIGN.md#why-offline-install-spares-odd-head
    fn find_target(&self, manifest: &Verified<Manifest>) -> Result<Slot, InstallError> {
        // The record calls this slot good, but its head does not match the record. The slot may
        // belong to another product, or this tool may have the wrong roots. So nothing is
        // overwritten unless the target is named.
        if let (None, Some(slot)) = (self.running, self.seen.other) {
            return Err(Wait::Unverified(slot).into());
        }
        let running = self.running_update();
        let mut best: Option<(u8, u8, Slot)> = None;
        let mut wait = None;
        for slot in Slot::ALL {
            let entry = self.record.body.slot(slot);
            let is_update = self.config.layout.has(slot) && slot.kind() == SlotKind::Update;
            if !is_update || Some(slot) == running {
                continue;
            }
            if entry.held {
                wait = wait.or(Some(Wait::Held));
                continue;
            }
            if self.seen.unsure & slot.bit() != 0 {
                wait = Some(Wait::Unverified(slot));
                continue;
            }
            let cost = match entry.state {
                SlotState::Writing if entry.digest == *manifest.digest() => 0,
                SlotState::Empty => 1,
                // It may hold a system that works, or be on a medium that keeps nothing.
                SlotState::Bad { fault: Fault::Unreadable } => 4,
                SlotState::Bad { .. } => 2,
                SlotState::Writing => 3,
                SlotState::Ready { .. } | SlotState::Trying { .. } => 5,
                SlotState::Good => 6,
            };
            let rank = (cost, entry.priority, slot);
            if best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        match (best, wait) {
            (Some((_, _, slot)), _) => Ok(slot),
            (None, Some(wait)) => Err(wait.into()),
            (None, None) => Err(Refusal::NoOtherSlot.into()),
        }
    }
}

fn check_floor(found: Floor, floor: Floor) -> Result<(), Refusal> {
    if found < floor {
        return Err(Refusal::BelowFloor { found, floor });
    }
    if found.level > floor.level.saturating_add(FLOOR_JUMP_MAX)
        || found.keyset_version > floor.keyset_version.saturating_add(FLOOR_JUMP_MAX)
    {
        return Err(Refusal::FloorJump { found, floor });
    }
    Ok(())
}
