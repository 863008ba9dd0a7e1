//! Steps of a story that change the disk past every program: what is lost, forged or planted.

use stillboot::format::Slot;

use super::damage::Damage;
use super::job::Job;
use super::situation::Situation;
use crate::oracle::Written;
use crate::story::Name;

impl Job<'_> {
    /// Destroys every copy of the record.
    pub(super) fn lose_record<D: Damage>(&self, at: &mut Situation<D>) {
        let ram = at.disk.truly();
        let get = &mut |at, len| ram.bytes(at, len);
        for (place, _) in self.setting.ground.records(get) {
            at.disk.destroy(place, 64);
        }
        at.truth.record = Written::Perhaps;
        at.truth.starts = 0;
    }

    /// Gives the record the highest number there is.
    pub(super) fn forge_sequence<D: Damage>(&self, at: &mut Situation<D>) {
        let ram = at.disk.truly();
        let get = &mut |at, len| ram.bytes(at, len);
        for (place, bytes) in self.setting.ground.with_highest_number(get) {
            at.disk.place(place, &bytes);
        }
    }

    /// Destroys the first bytes of a slot's first component.
    pub(super) fn spoil<D: Damage>(&self, at: &mut Situation<D>, slot: Slot) {
        at.truth.wrecked[slot as usize] = true;
        if let Some(release) = at.truth.slots[slot as usize]
            && let Some((offset, _)) = self.known.parts(release, slot).first()
        {
            at.disk.destroy(*offset, 64);
        }
    }

    /// Puts all of a release into a slot, and the record knows nothing of it.
    pub(super) fn plant<D: Damage>(&self, at: &mut Situation<D>, slot: Slot, release: Name) {
        for (offset, bytes) in self.known.parts(release, slot) {
            at.disk.place(*offset, bytes);
        }
        let ram = at.disk.truly();
        let head = self.known.head(release, slot);
        let place = self.setting.ground.head(&mut |at, len| ram.bytes(at, len), slot);
        // In a log, over the head that is there: heads of the stories are equally long.
        if let Some((place, _)) = place.filter(|(_, len)| head.len() <= *len) {
            at.disk.place(place, head);
        }
        self.known.plant(&mut at.truth, slot, release);
    }

    /// Destroys everything that belongs to a slot.
    pub(super) fn wreck<D: Damage>(&self, at: &mut Situation<D>, slot: Slot) {
        at.truth.wrecked[slot as usize] = true;
        let slots = self.setting.ground.slots();
        let found = slots.iter().filter(|found| found.slot == slot);
        for region in
            found.flat_map(|found| found.regions.iter().map(|at| at.region).chain(found.head))
        {
            let place = self.setting.ground.place(region);
            at.disk.destroy(place, region.len as usize);
        }
    }
}
