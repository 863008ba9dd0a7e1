//! The events of a walk, one after the other.

use stillboot::format::Hold;
use stillboot::format::record::VERSION;
use stillboot::request::Request;

use super::chain::UPDATES;
use super::event::{Event, Via, What};
use super::route::Route;
use super::summary::WalkCounts;
use super::walker::Walker;
use crate::oracle::Broken;

/// A device that was offered so many releases is replaced by a new one: one event uses up to two.
const OFFERED_MAX: usize = UPDATES - 3;

/// Says of the events so far that a promise is broken: how the tests of this module make a walk fail
/// that does not.
pub type Alarm<'a> = &'a dyn Fn(&[Event]) -> Option<Broken>;

impl Route<'_> {
    /// Walks these events. Returns at which one a promise was broken.
    pub(super) fn run(
        &self,
        events: &[Event],
        alarm: Alarm<'_>,
        trace: Option<&mut Vec<String>>,
    ) -> (WalkCounts, Option<(usize, Broken)>) {
        let mut walker = Walker::new(self, trace);
        for (at, event) in events.iter().enumerate() {
            let result = walker.event(event).and_then(|()| match alarm(&events[..=at]) {
                Some(broken) => Err(broken),
                None => Ok(()),
            });
            if let Err(broken) = result {
                return (walker.counts, Some((at, broken)));
            }
        }
        let last = events.len().saturating_sub(1);
        let end = walker.finish().err().map(|broken| (last, broken));
        (walker.counts, end.filter(|_| !events.is_empty()))
    }
}

impl Walker<'_, '_> {
    fn event(&mut self, event: &Event) -> Result<(), Broken> {
        if self.offered > OFFERED_MAX {
            self.tell(|| "the chain of releases ends: a new device".into());
            self.finish()?;
            let (counts, trace) = (self.counts, self.trace.take());
            *self = Self::new(self.route, trace);
            self.counts = WalkCounts { devices: counts.devices + 1, ..counts };
        }
        self.counts.events += 1;
        self.tell(|| event.to_string());
        self.happen(event)?;
        self.counts.states_max = self.counts.states_max.max(self.states.len() as u64);
        if self.fault_lasts > 0 && !matches!(event.what, What::Fails(..)) {
            self.fault_lasts -= 1;
            if self.fault_lasts == 0 {
                self.mend()?;
            }
        }
        Ok(())
    }

    /// The end: the fault is over, and the next update succeeds.
    fn finish(&mut self) -> Result<(), Broken> {
        if self.fault_lasts > 0 {
            self.fault_lasts = 0;
            self.mend()?;
        }
        self.tell(|| "at the end".into());
        self.check()
    }

    fn happen(&mut self, event: &Event) -> Result<(), Broken> {
        match event.what {
            What::PowerOnOutcome { watchdog, back } => self.start(watchdog, back, event.power),
            What::Install(offer, target) => {
                self.via = event.via;
                let result = self.offer(offer, target, event.power);
                self.via = Via::Bundle;
                result
            }
            What::Confirm => match self.running {
                Some(runs) => self.confirm(runs, event.power),
                None => Ok(()),
            },
            What::ConfirmStale => match self.stale {
                Some(proof) => self.perform(Request::MarkGood(proof), event.power).map(|_| ()),
                None => Ok(()),
            },
            What::Rollback(slot) => match slot.or(self.running.map(|runs| runs.proof.slot)) {
                Some(slot) => self.perform(Request::Rollback(slot), event.power).map(|_| ()),
                None => Ok(()),
            },
            What::Cancel => self.perform(Request::Cancel, event.power).map(|_| ()),
            What::Forget => {
                let last = &self.route.chain.releases[self.offered.saturating_sub(1)];
                self.perform(Request::Forget(last.digest), event.power).map(|_| ())
            }
            What::MarkBad(slot) => self.perform(Request::MarkBad(slot), event.power).map(|_| ()),
            What::Hold(slot, held) => {
                self.perform(Request::HoldSlot(slot, held), event.power).map(|_| ())
            }
            What::HoldUpdates(held) => {
                let hold = Hold { until: if held { u64::MAX } else { 0 }, since: 0 };
                self.perform(Request::HoldUpdates(hold), event.power).map(|_| ())
            }
            What::Suspect(slot) => self.perform(Request::Suspect(slot), event.power).map(|_| ()),
            What::Scrub(slot) => self.scrub(slot),
            What::LoseRecord => {
                self.lose_record();
                Ok(())
            }
            What::Discard => {
                self.running = None;
                self.perform(Request::Discard(VERSION), event.power).map(|_| ())
            }
            What::Wreck(slot, all) => {
                self.wreck(slot, all);
                Ok(())
            }
            What::Fails(fault, lasts) => {
                if self.fault_lasts == 0 {
                    self.suffer(fault);
                    self.fault_lasts = lasts;
                }
                Ok(())
            }
            What::Check => self.check(),
        }
    }
}
