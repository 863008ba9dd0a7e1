//! All instants of all stories, on threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::effort::Effort;
use super::job::Job;
use super::medium::Medium;
use super::observer::Observer;
use super::point::{points, row};
use super::recovery::redone;
use super::summary::Summary;
use crate::disk::Cut;
use crate::engine::Instant;
use crate::picture;
use crate::story::{Catalogue, Step, Story};

/// Explores stories on media, on so many threads. Equal calls give equal summaries.
///
/// `progress` is called with the counts of each job that is done.
#[must_use]
pub fn explore(
    catalogue: &Catalogue,
    stories: &[Story],
    media: &[Medium],
    effort: Effort,
    threads: usize,
    progress: &(dyn Fn(&str, &Summary) + Sync),
) -> Summary {
    struct Done<'a>(&'a (dyn Fn(&str, &Summary) + Sync));
    impl Observer for Done<'_> {
        fn done(&self, job: &str, summary: &Summary) {
            self.0(job, summary);
        }
    }
    explore_observed(catalogue, stories, media, effort, threads, &Done(progress))
}

/// As [`explore`], with an observer that knows what was done before, and may stop it.
#[must_use]
pub fn explore_observed(
    catalogue: &Catalogue,
    stories: &[Story],
    media: &[Medium],
    effort: Effort,
    threads: usize,
    watch: &dyn Observer,
) -> Summary {
    let pairs: Vec<_> =
        stories.iter().flat_map(|story| media.iter().map(move |medium| (story, *medium))).collect();
    let new = |at: usize| Job::new(catalogue, pairs[at].0, pairs[at].1, effort);
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    let cuts = on_threads(threads, &order, |at| new(*at).first_cuts());
    watch.planned(pairs.len(), cuts.iter().sum());
    // The long ones first, so that no thread is left alone with one in the end.
    order.sort_by_key(|at| std::cmp::Reverse(cuts[*at]));
    let done = on_threads(threads, &order, |at| {
        let (story, medium) = &pairs[*at];
        let name = format!("{}/{}", story.name, medium.name);
        let known = watch.known(&name);
        if known.is_some() {
            return known;
        }
        if watch.is_stopped() {
            return None;
        }
        let mut job = new(*at);
        job.watch = watch;
        job.explore();
        if !job.goes_on(false) {
            return None;
        }
        let summary = job.summary();
        watch.done(&name, &summary);
        Some(summary)
    });
    // In the order of the stories, whichever was faster.
    let mut done: Vec<_> = order.into_iter().zip(done).collect();
    done.sort_by_key(|(place, _)| *place);
    let mut all = Summary::default();
    let done = done.into_iter().filter_map(|(place, summary)| Some((pairs[place].1, summary?)));
    for (medium, summary) in done {
        all.counts.add(&summary.counts);
        if medium.is_log() {
            all.log_counts.add(&summary.counts);
        }
        all.findings.extend(summary.findings);
        all.pictures.extend(summary.pictures);
    }
    all
}

/// What `work` makes of each item, in their order.
fn on_threads<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let entry = (at, work(item));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

impl Job<'_> {
    /// How many first cuts there are in the story.
    fn first_cuts(&mut self) -> u64 {
        let Ok(mut at) = self.before() else { return 0 };
        let plain = self.promises("power cut before or after a request");
        let mut instants = Vec::new();
        for step in self.story.steps.clone() {
            if self.step(&mut at, step, plain, Some(&mut instants)).is_err() {
                break;
            }
        }
        let count = |instant: &Instant<_>| points(&instant.act, &self.medium, self.effort.tears);
        instants.iter().map(|instant| count(instant).len() as u64).sum()
    }

    /// The story, with a cut at every instant.
    fn explore(&mut self) {
        let at = match self.before() {
            Ok(at) => at,
            Err(broken) => return self.found("undisturbed".into(), broken),
        };
        let mut at = at;
        let plain = self.promises("power cut before or after a request");
        let mut number = 0_usize;
        let mut old = at.truth.good;
        for (index, step) in self.story.steps.clone().into_iter().enumerate() {
            let start = at.clone();
            if matches!(step, Step::Install { .. }) {
                old = start.truth.good;
            }
            if let Some(picture) = &mut self.picture {
                picture.begin_stage(picture::title(step, self.known.releases));
            }
            let mut instants = Vec::new();
            if let Err(broken) = self.step(&mut at, step, plain, Some(&mut instants)) {
                return self.found(format!("s{index}"), broken);
            }
            let during = self.during(&start, step);
            for (op, instant) in instants.iter().enumerate() {
                for point in points(&instant.act, &self.medium, self.effort.tears) {
                    number += 1;
                    let promises = self.promises(row(&instant.act, point));
                    let after = self.cut(&during, instant, point);
                    let id = || format!("s{index}.{op}/{point}");
                    self.states.insert(after.state());
                    let is_tear = matches!(point.cut, Cut::Torn(_));
                    let redo = !is_tear || number.is_multiple_of(self.effort.redo_every);
                    let redo = redone(step).filter(|_| redo);
                    self.counts.depth_one += 1;
                    let result = self.recover(after.clone(), redo, promises);
                    self.draw(&instant.act, point, old, &result);
                    if let Err(broken) = result {
                        self.found(id(), broken);
                    }
                    let twice = match point.cut {
                        Cut::Before | Cut::After => self.effort.second_every,
                        Cut::Torn(_) => self.effort.second_torn_every,
                    };
                    // Once in every step at least, also on media with few points.
                    let middle = op == instants.len() / 2 && point.cut == Cut::Before;
                    if twice > 0 && (number.is_multiple_of(twice) || middle) {
                        self.second(after, step, promises, &id());
                    }
                    if !self.goes_on(true) {
                        return;
                    }
                }
                if let Some(picture) = &mut self.picture {
                    let known = &self.known;
                    // Where the last component in the slot's first region ends.
                    let end = |slot| {
                        let parts = |name| known.parts(name, slot).iter();
                        let parts = (0..known.releases.len()).flat_map(parts);
                        parts.map(|(offset, bytes)| offset + bytes.len() as u64).max()
                    };
                    picture.end_operation(&instant.act, &self.setting.ground, &end);
                }
            }
            if self.effort.fault_every > 0 {
                self.faults(&start, step, index);
            }
        }
    }
}
