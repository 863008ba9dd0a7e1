//! What is destroyed on a walk past every program.

use stillboot::format::Slot;

use super::model::Model;
use super::route::TRIES;
use super::walker::Walker;
use crate::explore::GARBAGE;

impl Walker<'_, '_> {
    pub(super) fn lose_record(&mut self) {
        let ram = self.disk().ram().fork();
        let ground = &self.route.ground;
        let mut places = ground.records(&mut |at, len| ram.bytes(at, len));
        // A log that was never written has no records; what stands in its blocks is no log then.
        if places.is_empty() {
            places = ground.places().iter().map(|place| (ground.place(*place), 64)).collect();
        }
        for (at, _) in places {
            self.disk_mut().ram_mut().poke(at, &[GARBAGE; 64]);
        }
        self.running = None;
        self.states = vec![Model::new(self.route.slots, TRIES, self.route.has_store).lost()];
    }

    pub(super) fn wreck(&mut self, slot: Slot, all: bool) {
        let slots = self.route.ground.slots();
        let Some(found) = slots.iter().find(|found| found.slot == slot) else { return };
        if !all {
            let at = self.route.places.last_component(slot);
            self.disk_mut().ram_mut().poke(at, &[GARBAGE; 64]);
            return;
        }
        for region in found.regions.iter().map(|found| found.region).chain(found.head) {
            let at = self.route.ground.place(region);
            self.disk_mut().ram_mut().poke(at, &vec![GARBAGE; region.len as usize]);
        }
    }
}
