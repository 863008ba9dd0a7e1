//! Random walks: one device through a life far longer than any story, with everything that can
//! happen to a device mixed.
//!
//! ```text
//! Chain::new()                            the releases; once per process
//! walk(&chain, medium, seed, events)      -> Walked { counts, failure: Option<Failure> }
//! replay(&chain, "walk/nor8/7/0-3,9b")    -> the walk of that identity, told line by line
//! ```
//!
//! Event number n of a walk follows from (seed, n) alone, so a walk is named by its medium, its seed
//! and the numbers of its events. A walk that breaks a promise is shortened by itself: events are
//! left out, in chunks and then one by one, as long as the same promise breaks.
//!
//! While nothing but the power fails, it is known exactly what must happen, or, after a cut, that
//! it must be one of a few outcomes. The reference machine of [`model`] follows the device, in
//! every state that the device may be in. Each answer of the device leaves the states that agree
//! with it. If none is left, a promise is broken. The record on the disk is never read for that.
//!
//! After a fault of the device, only what the table of `docs/DESIGN.md` promises under that fault
//! is checked: that what starts is verified, that something starts, that what was installed is
//! whole. When the fault is over the device is updated, which is counted and not promised. Then a
//! technician wipes all copies of its record, and from there everything is known again.

pub mod chain;
pub mod contents;
pub mod event;
mod identity;
mod installs;
mod life;
pub mod model;
mod power_on;
mod requests;
mod route;
mod shorten;
mod summary;
mod tampering;
mod unaided;
mod walker;

use crate::explore::Medium;
use event::Event;
use identity::{name_events, named_events};
use route::Route;
use shorten::shorten;

pub use chain::Chain;
pub use life::Alarm;
pub use route::{media, medium_geometry};
pub use summary::{Failure, WalkCounts, Walked};

/// Walks so many events from `seed`. Equal calls come to the same.
#[must_use]
pub fn walk(chain: &Chain, medium: Medium, seed: u64, events: usize) -> Walked {
    walk_with(chain, medium, seed, events, &|_| None)
}

/// The same, with an alarm.
#[must_use]
pub fn walk_with(
    chain: &Chain,
    medium: Medium,
    seed: u64,
    events: usize,
    alarm: Alarm<'_>,
) -> Walked {
    let all: Vec<_> = (0..events).map(|number| Event::of(seed, number)).collect();
    let route = Route::new(chain, medium, seed);
    let (counts, end) = route.run(&all, alarm, None);
    let failure = end.map(|(last, broken)| {
        let (events, broken) = shorten(&route, all[..=last].to_vec(), broken, alarm);
        let id = format!("walk/{}/{seed}/{}", medium.name, name_events(&events, seed));
        Failure { id, broken, events }
    });
    Walked { counts, failure }
}

/// Walks the walk of this identity again and tells what happens, line by line; the last line says
/// whether a promise was broken.
///
/// # Errors
/// What is wrong with the identity.
pub fn replay(chain: &Chain, id: &str) -> Result<Vec<String>, String> {
    replay_with(chain, id, &|_| None)
}

/// The same, with an alarm.
///
/// # Errors
/// As [`replay`].
pub fn replay_with(chain: &Chain, id: &str, alarm: Alarm<'_>) -> Result<Vec<String>, String> {
    let parts: Vec<_> = id.split('/').collect();
    let ["walk", medium, seed, events] = parts[..] else {
        return Err(format!("{id:?} is not walk/medium/seed/events"));
    };
    let found = media().into_iter().find(|found| found.name == medium);
    let medium = found.ok_or_else(|| format!("there is no medium {medium:?}"))?;
    let seed = seed.parse().map_err(|_| format!("{seed:?} is not a seed: expected a number"))?;
    let events = named_events(events, seed)?;
    let mut trace = Vec::new();
    let (_, end) = Route::new(chain, medium, seed).run(&events, alarm, Some(&mut trace));
    trace.push(match end {
        Some((_, broken)) => format!("BROKEN {}: {}", broken.promise.heading(), broken.how),
        None => "every promise holds".into(),
    });
    Ok(trace)
}
