//! Faults of a device while a step runs, without a loss of power.

use super::damage::Damage;
use super::disk::Disk;
use super::job::Job;
use super::situation::Situation;
use crate::fault::{Fault, Faulty};
use crate::oracle::{Broken, History, Promise, Written};
use crate::story::Step;

const FAULT_ROWS: [&str; 7] = [
    "write error",
    "read error",
    "stuck sector",
    "misdirected write",
    "bit rot",
    "lying read",
    "dead place of the record",
];

pub(crate) fn row_of_fault(fault: Fault) -> &'static str {
    FAULT_ROWS[match fault {
        Fault::WriteOnce(_) | Fault::WriteAlways(_) => 0,
        Fault::ReadOnce(_) | Fault::ReadAlways(_) => 1,
        Fault::Stuck(_) => 2,
        Fault::Misdirected(..) => 3,
        Fault::Rot(..) => 4,
        Fault::Unstable(..) => 5,
        Fault::Dead(..) => 6,
    }]
}

impl Job<'_> {
    /// Faults of the device while `step` runs.
    pub(super) fn faults(&mut self, start: &Situation<Disk>, step: Step, index: usize) {
        let mut whole = start.on(Faulty::new(start.disk.clone(), Fault::ReadOnce(u64::MAX)));
        let promises = self.promises(FAULT_ROWS[0]);
        if self.step(&mut whole, step, promises, None).is_err() {
            return;
        }
        let (reads, changes) = whole.disk.requests();
        let every = self.effort.fault_every;
        let mut list = Vec::new();
        for at in (0..changes).step_by(every as usize) {
            list.extend([Fault::WriteOnce(at), Fault::WriteAlways(at), Fault::Stuck(at)]);
            list.extend([1, 3, 13].map(|blocks| Fault::Misdirected(at, blocks)));
        }
        for at in (0..reads).step_by(every as usize) {
            list.extend([Fault::ReadOnce(at), Fault::ReadAlways(at)]);
            list.extend([0, 77, 2600].map(|bit| Fault::Rot(at, bit)));
            list.extend([1, 800].map(|bit| Fault::Unstable(at, bit)));
        }
        // A log of two blocks has none to spare. A highest number that was forged in a place which
        // cannot be changed is there to stay.
        let ground = &self.setting.ground;
        let is_forged = self.story.steps.iter().chain(&self.story.before);
        let is_forged = is_forged.into_iter().any(|step| *step == Step::ForgeSequence);
        if ground.places().len() > 2 && !is_forged {
            let dead = ground.places().iter().map(|at| Fault::Dead(ground.place(*at), at.len));
            list.extend(dead);
        }
        for fault in list {
            self.counts.faults += 1;
            let result = self.fault(start, step, fault);
            self.tally(row_of_fault(fault), &result);
            if let Err(broken) = result {
                self.found(format!("s{index}/{fault:?}"), broken);
            }
            if !self.goes_on(true) {
                return;
            }
        }
    }

    pub(super) fn fault(
        &mut self,
        start: &Situation<Disk>,
        step: Step,
        fault: Fault,
    ) -> Result<(), Broken> {
        let all = self.promises(row_of_fault(fault));
        // What a read that fails keeps from starting is not lost: it starts when the device reads.
        let promises = all.without(Promise::Confirmed);
        let mut at = start.on(Faulty::new(start.disk.clone(), fault));
        if let Fault::Dead(..) = fault {
            // It stays so, and costs nothing.
            self.step(&mut at, step, all, None)?;
            self.power_on(&mut at, false, all, None)?;
            return self.update(&mut at, all);
        }
        self.step(&mut at, step, promises, None)?;
        // A reset, and whatever is in a cache is gone.
        at.disk.lose_pending();
        // What a device that fails leaves of the record is not known.
        at.truth.record = Written::Perhaps;
        self.power_on(&mut at, false, promises, None)?;
        // With a device that works.
        let ground = &self.setting.ground;
        let outside = |(from, to): (u64, u64)| {
            ground.places().iter().all(|place| {
                let at = ground.place(*place);
                at + place.len <= from || to <= at
            })
        };
        let keeps = step == Step::PowerOnOutcome
            && start.truth.record == Written::Yes
            && at.disk.hit().is_some_and(outside);
        at.disk.lose_pending();
        let mut at = at.on(at.disk.clone().into_inner());
        if keeps {
            let floors = at.truth.floors;
            at.truth = History { floors, record: at.truth.record, ..start.truth.clone() };
        }
        self.power_on(&mut at, false, if keeps { all } else { promises }, None)?;
        self.finish(at, promises)
    }
}

/// The fault that prints like this.
pub(super) fn fault_named(text: &str) -> Option<Fault> {
    let numbers: Vec<u64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let (first, second) = (*numbers.first()?, numbers.get(1).copied().unwrap_or(0));
    [
        Fault::WriteOnce(first),
        Fault::WriteAlways(first),
        Fault::ReadOnce(first),
        Fault::ReadAlways(first),
        Fault::Stuck(first),
        Fault::Misdirected(first, second),
        Fault::Rot(first, second),
        Fault::Unstable(first, second),
        Fault::Dead(first, second),
    ]
    .into_iter()
    .find(|fault| format!("{fault:?}") == text)
}
