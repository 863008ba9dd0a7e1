//! The names of events in the identity of a walk.

use super::event::Event;

/// The numbers of events, successive ones as a range; a `b` stands behind those that lose the power
/// in the plainest way instead of their own.
pub(super) fn name_events(events: &[Event], seed: u64) -> String {
    let mut runs: Vec<(usize, usize, bool)> = Vec::new();
    for event in events {
        let is_plain = *event != Event::of(seed, event.number);
        match runs.last_mut() {
            Some((_, last, plain)) if *last + 1 == event.number && *plain == is_plain => *last += 1,
            _ => runs.push((event.number, event.number, is_plain)),
        }
    }
    let name = |(first, last, is_plain): &(usize, usize, bool)| {
        let plain = if *is_plain { "b" } else { "" };
        if first == last { format!("{first}{plain}") } else { format!("{first}-{last}{plain}") }
    };
    runs.iter().map(name).collect::<Vec<_>>().join(",")
}

/// The events of this name.
pub(super) fn named_events(text: &str, seed: u64) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for run in text.split(',').filter(|run| !run.is_empty()) {
        let bad = || format!("{run:?} is not the number of an event, or a range of them");
        let (numbers, is_plain) = match run.strip_suffix('b') {
            Some(numbers) => (numbers, true),
            None => (run, false),
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let first: usize = first.parse().map_err(|_| bad())?;
        let last: usize = last.parse().map_err(|_| bad())?;
        if last < first || last - first > 1_000_000 {
            return Err(bad());
        }
        for number in first..=last {
            let event = Event::of(seed, number);
            events.push(if is_plain { event.simplified() } else { event });
        }
    }
    Ok(events)
}
