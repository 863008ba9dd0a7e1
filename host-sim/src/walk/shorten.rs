//! How a walk that fails is shortened.

use super::event::Event;
use super::life::Alarm;
use super::route::Route;
use crate::oracle::Broken;

/// Most events that are run to shorten one walk.
const SHORTEN_EVENTS_MAX: u64 = 120_000;

/// Leaves out what a failing walk can do without: first what lies long before its end, then chunks,
/// then single events; then the losses of power are made plain. The same promise must break.
pub(super) fn shorten(
    route: &Route<'_>,
    mut events: Vec<Event>,
    mut broken: Broken,
    alarm: Alarm<'_>,
) -> (Vec<Event>, Broken) {
    let mut spent = 0;
    let mut fails = |candidate: &[Event]| -> Option<(usize, Broken)> {
        if spent > SHORTEN_EVENTS_MAX {
            return None;
        }
        let (counts, end) = route.run(candidate, alarm, None);
        spent += counts.events + 1;
        end.filter(|(_, found)| found.promise == broken.promise)
    };
    let mut latest = None;
    let mut len = 8;
    while len < events.len() {
        let tail = events[events.len() - len..].to_vec();
        if let Some((last, found)) = fails(&tail) {
            events = tail[..=last].to_vec();
            latest = Some(found);
            break;
        }
        len *= 2;
    }
    let mut chunk = events.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < events.len() {
            let to = (from + chunk).min(events.len());
            let candidate = [&events[..from], &events[to..]].concat();
            match fails(&candidate) {
                Some((last, found)) => {
                    events = candidate[..=last].to_vec();
                    latest = Some(found);
                    has_shrunk = true;
                }
                None => from = to,
            }
        }
        if chunk == 1 && !has_shrunk {
            break;
        }
        chunk = chunk.div_ceil(2).min(events.len().max(1));
    }
    for at in 0..events.len() {
        let plain = events[at].simplified();
        if plain == events[at] {
            continue;
        }
        let mut candidate = events.clone();
        candidate[at] = plain;
        if let Some((last, found)) = fails(&candidate)
            && last + 1 == candidate.len()
        {
            events = candidate;
            latest = Some(found);
        }
    }
    if let Some(found) = latest {
        broken = found;
    }
    (events, broken)
}
