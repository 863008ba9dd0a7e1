//! Random walks on every medium: lives far longer than any story, with everything mixed.

use stillboot_sim::explore::Medium;
use stillboot_sim::oracle::{Broken, Promise};
use stillboot_sim::walk::event::{Event, What};
use stillboot_sim::walk::{Chain, WalkCounts, media, replay, replay_with, walk, walk_with};
use stillboot_tests::seed;

/// Seeds on every medium, with and without recovery and a store of the floor.
const SEEDS: u64 = 4;
/// Events of each walk.
const EVENTS: usize = 120;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// `STILLBOOT_WALK_SEEDS` and `STILLBOOT_WALK_EVENTS` make it longer, `STILLBOOT_MEDIUM` names one
/// medium.
#[test]
fn no_walk_breaks_a_promise() {
    let chain = Chain::new().expect("releases");
    let first = seed("walks");
    let seeds = number("STILLBOOT_WALK_SEEDS", SEEDS);
    let events = number("STILLBOOT_WALK_EVENTS", EVENTS as u64) as usize;
    let wanted = std::env::var("STILLBOOT_MEDIUM").ok();
    let mut all = WalkCounts::default();
    let mut failures = Vec::new();
    for medium in media() {
        if wanted.as_ref().is_some_and(|name| name != medium.name) {
            continue;
        }
        for seed in first..first + seeds {
            let walked = walk(&chain, medium, seed, events);
            all.add(&walked.counts);
            if let Some(failure) = walked.failure {
                println!("{failure}");
                for line in replay(&chain, &failure.id).expect("an identity") {
                    println!("    {line}");
                }
                failures.push(failure.id);
            }
        }
    }
    println!("{seeds} seeds from {first} of {events} events on each medium: {all:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(all.checks > 0 && all.cuts > 0 && all.faults > 0, "{all:?}");
    assert!(all.transported > 0, "{all:?}");
}

#[test]
fn equal_walks_come_to_the_same() {
    let chain = Chain::new().expect("releases");
    let medium = media()[0];
    let seed = seed("equal walks");
    assert_eq!(walk(&chain, medium, seed, 80), walk(&chain, medium, seed, 80));
    let id = format!("walk/{}/{seed}/0-79", medium.name);
    let lines = replay(&chain, &id);
    assert_eq!(lines, replay(&chain, &id));
    assert!(lines.is_ok_and(|lines| lines.len() > 80));
}

/// `STILLBOOT_REPLAY` names a walk to be printed.
#[test]
fn a_walk_is_told_by_its_identity() {
    let id = std::env::var("STILLBOOT_REPLAY").ok().filter(|id| id.starts_with("walk/"));
    let id = id.unwrap_or_else(|| "walk/cache512/7/0-9,12b".into());
    for line in replay(&Chain::new().expect("releases"), &id).expect("an identity") {
        println!("{line}");
    }
}

fn block512() -> Medium {
    media().into_iter().find(|medium| medium.name == "block512").expect("a medium")
}

/// An alarm that rings once these things have happened, in this order.
fn rings_after(pattern: &'static [fn(&What) -> bool]) -> impl Fn(&[Event]) -> Option<Broken> {
    move |events| {
        let mut rest = pattern.iter().peekable();
        for event in events {
            rest.next_if(|is_next| is_next(&event.what));
        }
        let how = "the alarm rings".to_owned();
        rest.peek().is_none().then_some(Broken { promise: Promise::Tried, how })
    }
}

const PATTERN: &[fn(&What) -> bool] = &[
    |what| matches!(what, What::Install(..)),
    |what| matches!(what, What::PowerOnOutcome { watchdog: true, .. }),
    |what| matches!(what, What::MarkBad(_)),
];

#[test]
fn a_failing_walk_is_shortened_to_what_it_needs() {
    let chain = Chain::new().expect("releases");
    let alarm = rings_after(PATTERN);
    for seed in [3, 4] {
        let walked = walk_with(&chain, block512(), seed, 400, &alarm);
        let failure = walked.failure.expect("the alarm rings within 400 events");
        assert!(walked.counts.events > 3, "{failure}");
        let kinds: Vec<_> = failure.events.iter().map(|event| event.what).collect();
        assert_eq!(kinds.len(), PATTERN.len(), "{kinds:?}");
        assert!(PATTERN.iter().zip(&kinds).all(|(is_next, what)| is_next(what)), "{kinds:?}");
        let plain = |event: &Event| event.power.is_none() || *event == event.simplified();
        assert!(failure.events.iter().all(plain), "{:?}", failure.events);
        let lines = replay_with(&chain, &failure.id, &alarm).expect("an identity");
        assert_eq!(lines.last().map(String::as_str), Some("BROKEN tried: the alarm rings"));
        assert_eq!(replay_with(&chain, &failure.id, &alarm), Ok(lines));
        let calm = replay(&chain, &failure.id).expect("an identity");
        assert_eq!(calm.last().map(String::as_str), Some("every promise holds"));
    }
}

#[test]
fn identities_that_are_none_are_refused() {
    let chain = Chain::new().expect("releases");
    for bad in ["x", "3-1", "1-", "4bb", "-"] {
        assert!(replay(&chain, &format!("walk/nor8/9/{bad}")).is_err(), "{bad}");
    }
    for bad in ["walk/nor9/1/0", "walk/nor8/x/0", "walk/nor8/1", "story/nor8/1/0"] {
        assert!(replay(&chain, bad).is_err(), "{bad}");
    }
}
