//! What the components of the new bundle have in common with the old bundle.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use stillboot::format::Component;

use super::DeltaError;
use super::matches::Suffixes;
use super::scan::{self, Run};
use stillboot_transport::outline::Outline;

/// Runs are looked for in sections of this length, on all cores. It does not depend on the machine,
/// so that the same bundles give the same patch.
const SECTION_LEN: usize = 4 << 20;

/// Both bundles, and what they have in common.
pub struct View {
    /// The components of the old bundle, one after the other: what a patch counts places in.
    pub old: Vec<u8>,
    /// For each new component, its runs in order and apart. Places are those in the component, and
    /// in `old`.
    pub runs: Vec<Vec<Run>>,
}

impl View {
    /// Looks for what two bundles have in common. `progress` is told how many bytes of the new one
    /// were looked at.
    pub fn of(
        (old, old_outline): (&[u8], &Outline),
        (new, new_outline): (&[u8], &Outline),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, DeltaError> {
        let (all, places) = components(old, old_outline);
        let mut views: Vec<Option<Vec<Run>>> = Vec::new();
        views.resize_with(new_outline.manifest.components.len(), || None);
        let new_places: Vec<_> = new_outline.places().collect();
        let mut done = 0;
        // Components with the same old ones share the index of these.
        while let Some(first) = views.iter().position(Option::is_none) {
            let components = &new_outline.manifest.components;
            let allowed = allowed(&components[first], &old_outline.manifest.components);
            let text = Text::of(&all, &places, &allowed);
            let suffixes = Suffixes::of(&text.bytes)?;
            for number in first..views.len() {
                let component = &components[number];
                if self::allowed(component, &old_outline.manifest.components) != allowed {
                    continue;
                }
                let place = new_places[number];
                let bytes = &new[place.data as usize..][..place.length as usize];
                let old_parts = &old_outline.manifest.components;
                let alike = allowed.iter().position(|old| old_parts[*old].role == component.role);
                let hint = alike.map_or(0, |part| text.starts[part]);
                let found = in_sections(&suffixes, bytes, hint, &mut |len| {
                    done += len as u64;
                    progress(done);
                });
                views[number] = Some(found.iter().flat_map(|run| text.global(*run)).collect());
            }
        }
        Ok(Self { old: all, runs: views.into_iter().flatten().collect() })
    }
}

/// The components of a bundle one after the other, and where each is in that.
fn components(bundle: &[u8], outline: &Outline) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut all = Vec::new();
    let places = outline.places().map(|place| {
        let start = all.len();
        all.extend_from_slice(&bundle[place.data as usize..][..place.length as usize]);
        start..all.len()
    });
    let places = places.collect();
    (all, places)
}

/// Which old components a device has that installs `new`, by their numbers. One that is linked for
/// a slot is only in that slot. The device runs from another slot than the one it installs to.
fn allowed(new: &Component, old: &[Component]) -> Vec<usize> {
    let is_there = |old: &Component| old.linked == 0 || new.linked != 0 && old.linked != new.linked;
    old.iter().enumerate().filter(|(_, old)| is_there(old)).map(|(number, _)| number).collect()
}

/// Some of the old components, one after the other.
struct Text {
    bytes: Vec<u8>,
    /// Where each starts in `bytes`.
    starts: Vec<usize>,
    /// Where each starts among all old components.
    global: Vec<usize>,
}

impl Text {
    fn of(all: &[u8], places: &[Range<usize>], allowed: &[usize]) -> Self {
        let mut text = Self { bytes: Vec::new(), starts: Vec::new(), global: Vec::new() };
        for number in allowed {
            text.starts.push(text.bytes.len());
            text.global.push(places[*number].start);
            text.bytes.extend_from_slice(&all[places[*number].clone()]);
        }
        text
    }

    /// A run with places among all old components, in parts where it goes from one component into
    /// another.
    fn global(&self, mut run: Run) -> Vec<Run> {
        let mut parts = Vec::new();
        while run.len > 0 {
            let number = self.starts.partition_point(|start| *start <= run.old) - 1;
            let end = self.starts.get(number + 1).copied().unwrap_or(self.bytes.len());
            let len = run.len.min(end - run.old);
            let old = self.global[number] + (run.old - self.starts[number]);
            parts.push(Run { old, len, ..run });
            run = Run { new: run.new + len, old: run.old + len, len: run.len - len };
        }
        parts
    }
}

/// The runs of a component. `hint` is where it is expected to start among the old bytes.
fn in_sections(
    suffixes: &Suffixes<'_>,
    bytes: &[u8],
    hint: usize,
    progress: &mut dyn FnMut(usize),
) -> Vec<Run> {
    let sections = bytes.len().div_ceil(SECTION_LEN);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(sections);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    let mut found = vec![Vec::new(); sections];
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= sections {
                        break;
                    }
                    let start = number * SECTION_LEN;
                    let end = (start + SECTION_LEN).min(bytes.len());
                    let runs = scan::runs(suffixes, bytes, start..end, hint + start);
                    if sender.send((number, end - start, runs)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (number, len, runs) in results {
            found[number] = runs;
            progress(len);
        }
    });
    found.concat()
}
