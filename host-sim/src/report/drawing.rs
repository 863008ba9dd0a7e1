//! The picture of one story on one medium, as SVG.

use std::fmt::Write as _;

use stillboot::format::Slot;
use stillboot::layout::Part;

use super::text::{class_of, escape, number};
use crate::picture::{Area, CutOutcome, Kind, Operation, Picture, Place, Run, Stage, Way};

/// Where things stand in the picture of one story, in pixels.
pub(super) struct Drawing<'a> {
    pub(super) picture: &'a Picture,
    /// One, or three with a cache: nothing lost, all lost, some lost.
    pub(super) blocks: u32,
    pub(super) has_store: bool,
}

/// Room for the names of the rows.
const GUTTER: f64 = 40.0;
/// Height of a row of operations.
const ROW: f64 = 11.0;
/// Height of the marks between the cut before and the cut after.
const HEIGHT: f64 = 54.0;
/// Height of a block of marks.
const BLOCK: f64 = HEIGHT + 22.0;
/// Up to so many neighbouring cuts are drawn one by one.
const SINGLE_MAX: u64 = 16;

impl Drawing<'_> {
    fn rows(&self) -> Vec<String> {
        let slots = self.picture.slots.iter().map(|slot| match slot {
            Slot::Recovery => "recov.".to_owned(),
            slot => format!("slot {slot}"),
        });
        let store = self.has_store.then(|| "floor".to_owned());
        std::iter::once("record".to_owned()).chain(slots).chain(store).collect()
    }

    fn row_of(&self, place: Place) -> Option<usize> {
        match place {
            Place::Record(_) => Some(0),
            Place::Slot(slot, _) => {
                self.picture.slots.iter().position(|found| *found == slot).map(|at| at + 1)
            }
            Place::Store => Some(1 + self.picture.slots.len()),
            Place::Disk => None,
        }
    }

    pub(super) fn stage(&self, out: &mut String, index: usize, stage: &Stage) {
        let cuts: u64 = stage.operations.iter().map(Operation::cuts).sum();
        let _ = write!(out, "<figure><figcaption>{}", escape(&stage.title));
        if stage.operations.is_empty() {
            out.push_str("<span>changes nothing</span></figcaption></figure>");
            return;
        }
        let _ = write!(out, "<span>{} cuts</span></figcaption>", number(cuts));
        let rows = self.rows();
        let band = rows.len() as f64 * ROW;
        let height = band + f64::from(self.blocks) * BLOCK + 2.0;
        let pitches: Vec<f64> = stage.operations.iter().map(pitch).collect();
        let width = GUTTER + pitches.iter().sum::<f64>() + 2.0;
        let _ = write!(
            out,
            "<div class=scroll><svg width={width} height={height} viewBox=\"0 0 {width} {height}\">"
        );
        let mut rules = String::new();
        for (row, name) in rows.iter().enumerate() {
            let y = (row as f64 + 0.5) * ROW;
            let _ = write!(rules, "M{GUTTER} {y}H{width}");
            let _ = write!(out, "<text x={} y={}>{name}</text>", GUTTER - 5.0, y + 3.0);
        }
        if self.blocks > 1 {
            for (block, name) in ["kept", "lost", "partly"].into_iter().enumerate() {
                let y = band + (block as f64 + 0.5) * BLOCK + 3.0;
                let _ = write!(out, "<text x={} y={y}>{name}</text>", GUTTER - 5.0);
            }
        }
        let _ = write!(out, "<path class=rule d=\"{rules}\"/>");
        let mut shapes = Shapes::default();
        let mut x = GUTTER;
        for (operation, pitch) in stage.operations.iter().zip(&pitches) {
            self.shape(&mut shapes, operation, x, *pitch, band);
            for run in &operation.runs {
                let block = run.lost as u32;
                let top = band + f64::from(block.min(self.blocks - 1)) * BLOCK + 12.0;
                mark(&mut shapes.marks[run.came as usize], operation, run, x, *pitch, top);
            }
            x += pitch;
        }
        for (class, path) in [
            ("flush", &shapes.flushes),
            ("erase", &shapes.erases),
            ("write", &shapes.writes),
            ("floor", &shapes.floors),
        ] {
            if !path.is_empty() {
                let _ = write!(out, "<path class={class} d=\"{path}\"/>");
            }
        }
        for (came, path) in CutOutcome::ALL.into_iter().zip(&shapes.marks) {
            if !path.is_empty() {
                let _ = write!(out, "<path class=\"k {}\" d=\"{path}\"/>", class_of(came));
            }
        }
        // What the page says of an operation when the pointer is over it.
        let mut x = GUTTER;
        for (at, (operation, pitch)) in stage.operations.iter().zip(&pitches).enumerate() {
            let _ = write!(
                out,
                "<rect x={x} width={pitch} height={height}><title>{}\n{}/{}/s{index}.{at}/{}</title>\
                 </rect>",
                describe(at, operation),
                self.picture.story,
                self.picture.medium,
                operation.broken.as_deref().unwrap_or("after")
            );
            x += pitch;
        }
        out.push_str("</svg></div></figure>");
    }

    /// The operation itself, in the row of what it changes.
    fn shape(&self, shapes: &mut Shapes, operation: &Operation, x: f64, pitch: f64, band: f64) {
        let middle = x + (pitch - 3.0) / 2.0;
        let row = self.row_of(operation.place);
        let centre = (row.unwrap_or(0) as f64 + 0.5) * ROW;
        let _ = match operation.kind {
            Kind::Write => {
                // A write of 16 bytes is a dot, one of 4096 fills its row.
                let bits = f64::from(64 - operation.len.leading_zeros());
                let half = ((bits - 3.0) / 10.0).clamp(0.2, 1.0) * (ROW / 2.0 - 0.75);
                write!(
                    shapes.writes,
                    "M{:.1} {:.1}h5v{:.1}h-5z",
                    middle - 2.5,
                    centre - half,
                    2.0 * half
                )
            }
            Kind::Erase => {
                write!(shapes.erases, "M{:.1} {:.1}h6v6h-6z", middle - 3.0, centre - 3.0)
            }
            Kind::Flush => write!(shapes.flushes, "M{middle:.1} 0V{band:.1}"),
            Kind::Floor => {
                write!(shapes.floors, "M{middle:.1} {:.1}l3.5 3.5l-3.5 3.5l-3.5-3.5z", centre - 3.5)
            }
        };
    }
}

/// The paths of one picture, each drawn with one pen.
#[derive(Default)]
struct Shapes {
    writes: String,
    erases: String,
    flushes: String,
    floors: String,
    marks: [String; CutOutcome::ALL.len()],
}

/// Width of an operation: three columns where it can be torn, else one.
fn pitch(operation: &Operation) -> f64 {
    let torn = |run: &Run| !matches!(run.way, Way::Before | Way::After);
    if operation.runs.iter().any(torn) { 16.0 } else { 10.0 }
}

/// The marks of neighbouring cuts that came out alike.
fn mark(path: &mut String, operation: &Operation, run: &Run, x: f64, pitch: f64, top: f64) {
    let at = |bytes: u64| top + HEIGHT * bytes as f64 / operation.len.max(1) as f64;
    let (column, from, to) = match run.way {
        Way::Before | Way::After => {
            let y = if run.way == Way::Before { top - 4.5 } else { top + HEIGHT + 4.5 };
            let _ = write!(path, "M{x:.0} {y:.1}h{:.0}", pitch - 3.0);
            return;
        }
        Way::Prefix => (1.5, at(run.first), at(run.last)),
        // So that time runs downwards in every column.
        Way::Suffix => (11.5, at(run.first), at(run.last)),
        Way::Mixed => {
            let seed = |seed: u64| top + HEIGHT * (seed as f64 % 4.0 + 0.5) / 4.0;
            (6.5, seed(run.first), seed(run.last))
        }
    };
    let x = x + column;
    if run.count <= SINGLE_MAX || run.way == Way::Mixed {
        let steps = (run.count - 1).max(1) as f64;
        for step in 0..run.count {
            let y = from + (to - from) * step as f64 / steps;
            let _ = write!(path, "M{x:.1} {:.1}v2", y - 1.0);
        }
    } else {
        let _ = write!(path, "M{x:.1} {:.1}v{:.1}", from - 0.5, to - from + 1.0);
    }
}

/// One line of what an operation is, one of how its cuts came out.
fn describe(at: usize, operation: &Operation) -> String {
    let place = match operation.place {
        Place::Record(copy) => format!("copy {copy} of the record"),
        Place::Slot(slot, area) => {
            let area = match area {
                Area::Head(Part::Commit) => "commit block",
                Area::Head(Part::Confirmed) => "confirmed block",
                Area::Head(Part::Trust) => "trust area",
                Area::Index => "index",
                Area::Component => "component",
            };
            format!("slot {slot}, {area}")
        }
        Place::Store => "the store".into(),
        Place::Disk => "the disk".into(),
    };
    let mut text = match operation.kind {
        Kind::Write => format!("{at} write {} B: {place}", operation.len),
        Kind::Erase => format!("{at} erase {} B: {place}", operation.len),
        Kind::Flush => format!("{at} flush"),
        Kind::Floor => format!("{at} raise the floor in the store"),
    };
    text.push('\n');
    let mut separator = "";
    for came in CutOutcome::ALL {
        let count = operation.count(came);
        if count > 0 {
            let _ = write!(text, "{separator}{count} {}", came.name());
            separator = ", ";
        }
    }
    text
}
