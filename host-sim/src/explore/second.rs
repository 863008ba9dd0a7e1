//! A second cut during the recovery from a first one.

// Why: docs/DESIGN.md#why-second-cuts-are-sampled

use std::sync::Arc;

use stillboot::select::CandidateKind;

use super::disk::Disk;
use super::job::{Job, Seen};
use super::point::{points, row};
use super::recovery::redone;
use super::situation::Situation;
use crate::disk::Cut;
use crate::engine::Instant;
use crate::oracle::{Broken, Promises};
use crate::story::Step;

/// A part of a recovery: its name, the situation while it is under way, its instants.
pub(super) type Stage = (char, Situation<Disk>, Vec<Instant<Disk>>);

impl Job<'_> {
    /// Cuts the recovery at every point as well. What follows from two equal situations, or from
    /// equal cuts into equal instants, is looked at once.
    pub(super) fn second(
        &mut self,
        first: Situation<Disk>,
        step: Step,
        promises: Promises,
        id: &str,
    ) {
        let redo = redone(step);
        let key = first.key(format_args!("second{step:?}{promises:?}"));
        if let Some(seen) = self.seen(key) {
            return self.again(&seen, id);
        }
        let mut all = Seen::default();
        let (stages, end) = self.stages(&first, step, promises);
        if let Err(broken) = end {
            all.broken.push(("r".into(), broken.clone()));
            self.found(format!("{id}/r"), broken);
        }
        for (stage, during, instants) in stages {
            for (op, instant) in instants.iter().enumerate() {
                let place = format!("{stage}.{op}");
                let key = instant.key(&during, redo);
                let seen = match self.seen(key) {
                    Some(seen) => {
                        self.again(&seen, &format!("{id}/{place}"));
                        seen
                    }
                    None => {
                        let id = format!("{id}/{place}");
                        let Some(seen) = self.second_at(&during, instant, redo, &id) else {
                            return;
                        };
                        let seen = Arc::new(seen);
                        self.seen.insert(key, Arc::clone(&seen));
                        seen
                    }
                };
                all.points += seen.points;
                let broken = seen.broken.iter();
                all.broken
                    .extend(broken.map(|(at, broken)| (format!("{place}/{at}"), broken.clone())));
                if !self.goes_on(true) {
                    return;
                }
            }
        }
        self.seen.insert(key, Arc::new(all));
    }

    /// All second cuts at one instant; `None` if the observer stopped it.
    pub(super) fn second_at(
        &mut self,
        during: &Situation<Disk>,
        instant: &Instant<Disk>,
        redo: Option<Step>,
        id: &str,
    ) -> Option<Seen> {
        let mut seen = Seen::default();
        let every = self.effort.second_redo_every;
        let points = points(&instant.act, &self.medium, self.effort.second_tears);
        for (number, point) in points.into_iter().enumerate() {
            let both = self.promises(row(&instant.act, point));
            let after = self.cut(during, instant, point);
            self.states.insert(after.state());
            let is_tear = matches!(point.cut, Cut::Torn(_));
            let redo = redo.filter(|_| !is_tear || number.is_multiple_of(every));
            self.counts.depth_two += 1;
            seen.points += 1;
            let result = self.recover(after, redo, both);
            self.tally(row(&instant.act, point), &result);
            if let Err(broken) = result {
                seen.broken.push((point.to_string(), broken.clone()));
                self.found(format!("{id}/{point}"), broken);
            }
            if !self.goes_on(true) {
                return None;
            }
        }
        Some(seen)
    }

    /// What came of cuts that were looked at. A report draws each, so for a report none is skipped.
    pub(super) fn seen(&self, key: u128) -> Option<Arc<Seen>> {
        self.seen.get(&key).filter(|_| self.picture.is_none()).cloned()
    }

    /// The same cuts once more, without looking.
    pub(super) fn again(&mut self, seen: &Seen, id: &str) {
        self.counts.depth_two += seen.points;
        self.counts.settled += seen.points;
        for (at, broken) in &seen.broken {
            self.found(format!("{id}/{at}"), broken.clone());
        }
    }

    /// The stages of a recovery, and how it ended.
    pub(super) fn stages(
        &mut self,
        first: &Situation<Disk>,
        step: Step,
        promises: Promises,
    ) -> (Vec<Stage>, Result<(), Broken>) {
        let mut out = Vec::new();
        let mut at = first.clone();
        let mut during = first.clone();
        during.nonce += 1;
        let mut instants = Vec::new();
        let started = self.power_on(&mut at, false, promises, Some(&mut instants));
        out.push(('p', during, instants));
        if started.is_err() {
            return (out, started);
        }
        let on_trial =
            matches!(at.running, Some((_, CandidateKind::Trial | CandidateKind::LastResort)));
        let mut during = self.during(&at, step);
        if on_trial {
            during = self.during(&during, Step::Confirm);
        }
        let mut instants = Vec::new();
        let end = self.redo(&mut at, step, promises, Some(&mut instants));
        // It may have come to a power-on, whose nonce no later one has.
        during.nonce = at.nonce;
        out.push(('r', during, instants));
        (out, end)
    }
}
