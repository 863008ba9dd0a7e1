//! The power is cut at every instant of every story, on every medium: the device always still
//! boots.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use stillboot::format::{Fault, Slot, SlotKind, SlotState};
use stillboot_sim::Publisher;
use stillboot_sim::explore::{
    Effort, Memory, Observer, Summary, explore, explore_observed, media, replay,
};
use stillboot_sim::story::{Catalogue, stories};
use stillboot_tests::{blank, boot, confirm, state};

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Every story, on one medium of each kind. All of it is the sweep, which is built optimised:
/// `cargo xtask prove`.
#[test]
fn no_cut_and_no_fault_breaks_a_promise() {
    let catalogue = Catalogue::new().expect("releases");
    let mut media = media();
    media.retain(|medium| ["nor8", "block512", "cache4096"].contains(&medium.name));
    let effort = Effort {
        tears: 4,
        second_every: 2000,
        second_torn_every: 2000,
        fault_every: 12,
        ..Effort::QUICK
    };
    let all = explore(&catalogue, &stories(), &media, effort, threads(), &|_, _| {});
    for finding in &all.findings {
        println!("{finding}");
    }
    println!("{:?}", all.counts);
    assert_eq!(all.counts.broken, 0);
    // Each kind was there: a medium that is renamed must not leave a hole.
    assert_eq!(media.len(), 3);
    assert!(all.counts.depth_one > 5_000 && all.counts.depth_two > 5_000, "{:?}", all.counts);
    assert!(all.counts.faults > 1_000, "{:?}", all.counts);
}

/// What the core came to before may be used only where it would come to the same again.
#[test]
fn runs_that_remember_end_as_runs_that_do_not() {
    let catalogue = Catalogue::new().expect("releases");
    let mut stories = stories();
    stories.retain(|story| ["update-store", "lost-record"].contains(&story.name));
    let mut media = media();
    media.retain(|medium| ["nor32", "block512", "cache512"].contains(&medium.name));
    let effort =
        |memory| Effort { tears: 2, redo_every: 1, fault_every: 9, memory, ..Effort::QUICK };
    let run = |memory| explore(&catalogue, &stories, &media, effort(memory), threads(), &|_, _| {});
    let (with, without) = (run(Memory::Compared).counts, run(Memory::Unused).counts);
    assert_eq!(with.points(), without.points());
    assert_eq!(with.programs, without.programs);
    assert_eq!((with.states, with.settled), (without.states, without.settled));
    assert!(with.core_runs * 2 < without.core_runs, "{with:?} {without:?}");
    assert_eq!(with.outcomes, without.outcomes);
    println!("{} programs compared, {} of them without a memory", with.programs, without.core_runs);
}

#[test]
fn equal_explorations_give_equal_summaries() {
    let catalogue = Catalogue::new().expect("releases");
    let mut stories = stories();
    stories.retain(|story| story.name == "install");
    let run = |threads| {
        let effort = Effort { memory: Memory::Compared, tears: 8, ..Effort::QUICK };
        explore(&catalogue, &stories, &media(), effort, threads, &|_, _| {}).counts
    };
    assert_eq!(run(1), run(2));
}

/// Stops after one job, knows it in the next call, and must come to what one call comes to.
#[test]
fn an_exploration_goes_on_where_it_was_stopped() {
    #[derive(Default)]
    struct Memo {
        done: Mutex<BTreeMap<String, Summary>>,
        seen: AtomicU64,
        stops_after: usize,
    }
    impl Observer for Memo {
        fn known(&self, job: &str) -> Option<Summary> {
            self.done.lock().unwrap().get(job).cloned()
        }
        fn points(&self, points: u64, _: u64) {
            self.seen.fetch_add(points, Ordering::Relaxed);
        }
        fn done(&self, job: &str, summary: &Summary) {
            self.done.lock().unwrap().insert(job.to_owned(), summary.clone());
        }
        fn is_stopped(&self) -> bool {
            self.done.lock().unwrap().len() >= self.stops_after
        }
    }
    let catalogue = Catalogue::new().expect("releases");
    let mut stories = stories();
    stories.retain(|story| story.name == "install");
    let mut media = media();
    media.retain(|medium| ["nor32", "block512", "cache512"].contains(&medium.name));
    let effort = Effort { tears: 2, ..Effort::QUICK };
    let run =
        |watch: &Memo| explore_observed(&catalogue, &stories, &media, effort, 1, watch).counts;

    let whole = Memo { stops_after: usize::MAX, ..Memo::default() };
    let all = run(&whole);
    assert_eq!(whole.seen.load(Ordering::Relaxed), all.points());

    let mut halves = Memo { stops_after: 1, ..Memo::default() };
    let first = run(&halves);
    assert_eq!(halves.done.lock().unwrap().len(), 1);
    let kept = halves.done.lock().unwrap().values().map(|summary| summary.counts).next().unwrap();
    assert_eq!(first, kept, "what was not done to its end counts for nothing");
    assert!(first.points() < all.points());
    (halves.stops_after, halves.seen) = (usize::MAX, AtomicU64::new(0));
    assert_eq!(run(&halves), all);
    assert_eq!(halves.seen.load(Ordering::Relaxed), all.points() - first.points());
}

#[test]
fn replay_tells_what_happens_after_both_cuts() {
    let catalogue = Catalogue::new().expect("releases");
    let lines = replay(&catalogue, &stories(), "install/nor8/s0.14/prefix8/p.0/before");
    // Without a write at the first power-on there is nothing to cut there.
    assert!(lines.is_err(), "{lines:?}");
    let lines = replay(&catalogue, &stories(), "install/nor8/s0.14/prefix8/r.3/mixed1").unwrap();
    assert!(lines.last().is_some_and(|line| line.contains("every promise holds")), "{lines:#?}");
    assert!(lines.iter().filter(|line| line.contains("cut")).count() >= 2, "{lines:#?}");
    let lines = replay(&catalogue, &stories(), "update/nor1/s1/ReadOnce(2)").unwrap();
    assert!(lines.iter().any(|line| line.contains("read 2 fails once")), "{lines:#?}");
}

/// Of two updates that wait in two slots, which only happens when neither slot runs, the older was
/// tried at the power-on after the newer was confirmed: a step back.
#[test]
fn an_older_update_that_waits_is_not_tried_after_a_newer_was_confirmed() {
    let publisher = Publisher::new(1);
    let geometry = stillboot::device::Geometry::disk(512, 0);
    let mut world = blank(&publisher, geometry, &[Slot::A, Slot::B]);
    world.install(&publisher.simple(1, SlotKind::Update).unwrap(), None).unwrap();
    world.install(&publisher.simple(2, SlotKind::Update).unwrap(), None).unwrap();
    assert_eq!(confirm(&mut world).slot, Slot::B);
    for _ in 0..3 {
        assert_eq!(boot(&mut world).slot, Slot::B);
    }
    let superseded = SlotState::Bad { fault: Fault::Superseded };
    assert_eq!(state(&mut world, Slot::A), superseded);
}

#[test]
fn replay_of_one_point() {
    let id = std::env::var_os("STILLBOOT_REPLAY");
    let id = id.unwrap_or_else(|| "update/nor1/s1/ReadOnce(2)".into());
    let catalogue = Catalogue::new().expect("releases");
    let id = id.into_string().expect("text");
    for line in replay(&catalogue, &stories(), &id).expect("an identity") {
        println!("{line}");
    }
}
