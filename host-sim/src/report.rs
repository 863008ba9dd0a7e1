//! One page with a picture of every story: what changed the disk, and what ran after every cut.
//!
//! The page stands alone: style and pictures are in it, and it loads nothing and runs nothing. Equal
//! explorations make equal pages.

use std::fmt::Write as _;

use stillboot::format::Slot;
use stillboot::layout::Part;

use crate::explore::{Finding, Summary};
use crate::oracle::{self, Promise};
use crate::picture::{
    Area, CutOutcome, Kind, Lost, Operation, Picture, Place, Run, Stage, Tally, Way,
};

/// What the page says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The version of the tool.
    pub version: &'a str,
    /// The command that makes this page again.
    pub command: &'a str,
    /// What comes before the identity of a point to see it again.
    pub replay: &'a str,
    /// The medium that is shown first.
    pub medium: &'a str,
    /// Which cuts there are, if not all: what it is a sample of.
    pub sample: Option<&'a str>,
}

/// The number that is shown also when it is 0.
const BROKEN: &str = "points that broke a promise";
/// How many broken points the page describes; all are counted.
const DESCRIBED_MAX: usize = 40;

/// The page. `summary` was explored with `Effort::draws`.
#[must_use]
pub fn html(summary: &Summary, about: &About<'_>) -> String {
    let mut page = Page { text: String::new(), about };
    page.head(summary);
    page.totals(summary);
    page.findings(&summary.findings, summary.counts.broken);
    page.guide(&summary.pictures);
    page.table(&summary.pictures);
    page.stories(&summary.pictures);
    page.put("</main></body></html>\n");
    page.text
}

struct Page<'a> {
    text: String,
    about: &'a About<'a>,
}

impl Page<'_> {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(text);
    }

    fn head(&mut self, summary: &Summary) {
        let media = names(&summary.pictures, |picture| picture.medium);
        self.put("<!doctype html><html lang=en><head><meta charset=utf-8>");
        self.put("<meta name=viewport content=\"width=device-width,initial-scale=1\">");
        self.put("<meta name=color-scheme content=\"light dark\">");
        self.put("<title>stillboot simulate</title><style>");
        self.put(STYLE);
        // Which medium is shown is a choice among radio buttons: no script is needed for it.
        for medium in media {
            self.add(format_args!(
                "body:has(#m-{medium}:checked) .m:not(.m-{medium}){{display:none}}"
            ));
        }
        self.put("</style></head><body><main>");
    }

    fn totals(&mut self, summary: &Summary) {
        let counts = &summary.counts;
        let cuts = counts.depth_one + counts.depth_two;
        let came = sum_of(&summary.pictures);
        let all: u64 = came.iter().sum();
        let nothing = came[CutOutcome::Nothing as usize];
        let verdict = match (counts.broken, nothing) {
            (0, 0) => "It always still booted.".to_owned(),
            (0, _) => "Whenever anything whole was on the disk, it still booted.".to_owned(),
            (1, _) => "One promise was broken.".to_owned(),
            (many, _) => format!("{} points broke a promise.", number(many)),
        };
        let class = if counts.broken == 0 { "" } else { " class=bad" };
        self.put("<header><p class=eyebrow>stillboot simulate</p>");
        self.add(format_args!(
            "<h1>The power was cut at {} points{}. <em{class}>{verdict}</em></h1>",
            number(cuts),
            if self.about.sample.is_some() { ", a sample" } else { "" }
        ));
        self.add(format_args!(
            "<p class=lead>The real core on simulated disks. The disk is forked before every \
             change, the power is cut in every way the medium allows, and whatever starts next is \
             judged by what was published and done. <span class=cmd>{}</span> \
             <span class=muted>version {}</span></p>",
            escape(self.about.command),
            escape(self.about.version)
        ));
        self.put("</header>");
        if let Some(sample) = self.about.sample {
            self.add(format_args!("<p class=lead>This is {}.</p>", escape(sample)));
        }
        if nothing > 0 {
            self.add(format_args!(
                "<p class=lead>After {} of the first cuts, {}, nothing whole was on the disk yet: \
                 it was new, and nothing could boot.</p>",
                number(nothing),
                percent(nothing, all)
            ));
        }
        self.put("<section class=totals aria-label=Totals>");
        self.put("<h2>What ran after one cut</h2>");
        self.bar(&came, "bar");
        self.put("<ul class=key>");
        for (kind, count) in CutOutcome::ALL.into_iter().zip(came) {
            self.add(format_args!(
                "<li><i class=\"{}\"></i><b>{}</b> <span>{}</span> <span class=muted>{}</span></li>",
                class_of(kind),
                meaning(kind),
                number(count),
                percent(count, all)
            ));
        }
        self.put("</ul><dl>");
        let stories = names(&summary.pictures, |picture| picture.story).len() as u64;
        let media = names(&summary.pictures, |picture| picture.medium).len() as u64;
        let shown = [
            ("stories", stories),
            ("kinds of disk", media),
            ("cuts", counts.depth_one),
            ("cuts in the recovery from a cut", counts.depth_two),
            ("requests that failed", counts.faults),
            ("states of disk and store, by story", counts.states),
            ("power-ons", counts.boots),
            (BROKEN, counts.broken),
        ];
        for (name, count) in shown.into_iter().filter(|(name, count)| *count > 0 || *name == BROKEN)
        {
            let class = if name == BROKEN && count > 0 { " class=bad" } else { "" };
            self.add(format_args!("<div{class}><dd>{}</dd><dt>{name}</dt></div>", number(count)));
        }
        self.put("</dl></section>");
    }

    /// Shares of all as one bar.
    fn bar(&mut self, came: &[u64; CutOutcome::ALL.len()], class: &str) {
        let all: u64 = came.iter().sum();
        if all == 0 {
            return;
        }
        self.add(format_args!("<div class={class}>"));
        for (kind, count) in CutOutcome::ALL.into_iter().zip(came) {
            if *count > 0 {
                self.add(format_args!(
                    "<i class=\"{}\" style=flex:{} title=\"{}: {}\"></i>",
                    class_of(kind),
                    permille(*count, all),
                    meaning(kind),
                    number(*count)
                ));
            }
        }
        self.put("</div>");
    }

    fn findings(&mut self, findings: &[Finding], all: u64) {
        if findings.is_empty() {
            return;
        }
        self.put("<section class=findings><h2>Broken</h2><ol>");
        for finding in findings.iter().take(DESCRIBED_MAX) {
            self.add(format_args!(
                "<li><p><b>{}</b> {}</p><pre><code>{} '{}'</code></pre></li>",
                finding.broken.promise.heading(),
                escape(&finding.broken.how),
                escape(self.about.replay),
                escape(&finding.id)
            ));
        }
        self.put("</ol>");
        let shown = findings.len().min(DESCRIBED_MAX) as u64;
        if all > shown {
            self.add(format_args!("<p class=muted>and {} more</p>", number(all - shown)));
        }
        self.put("</section>");
    }

    fn guide(&mut self, pictures: &[Picture]) {
        if pictures.is_empty() {
            return;
        }
        self.put("<section class=guide><h2>How to read the pictures</h2><div>");
        self.put(GUIDE);
        self.put("</div></section>");
    }

    fn table(&mut self, pictures: &[Picture]) {
        let mut sums = std::collections::BTreeMap::<&str, Tally>::new();
        for (row, tally) in pictures.iter().flat_map(|picture| &picture.tallies) {
            sums.entry(row).or_default().add(tally);
        }
        if sums.is_empty() {
            return;
        }
        self.put("<section><h2>What is promised under which fault</h2><div class=scroll><table>");
        self.put("<thead><tr><th>fault<th class=n>points");
        for promise in Promise::ALL {
            self.add(format_args!("<th>{}", promise.heading()));
        }
        self.put("</thead><tbody>");
        let table = oracle::table();
        let mut rows: Vec<_> = table.iter().collect();
        // Last what the stories do not try.
        rows.sort_by_key(|(row, _)| {
            ROWS.iter().position(|known| known == *row).unwrap_or(ROWS.len())
        });
        for (row, promises) in rows {
            let tally = sums.get(row).copied().unwrap_or_default();
            self.add(format_args!("<tr><th scope=row>{row}<td class=n>{}", number(tally.points)));
            for promise in Promise::ALL {
                let broken = tally.broken[promise as usize];
                match (promises.hold(promise), broken, tally.points) {
                    (false, ..) => self.put("<td class=none title=\"not promised\">–"),
                    (true, _, 0) => {
                        self.put("<td class=none title=\"nothing was tried\">not tried")
                    }
                    (true, 0, _) => self.put("<td class=holds>holds"),
                    (true, broken, _) => {
                        self.add(format_args!("<td class=bad>{} broken", number(broken)));
                    }
                }
            }
        }
        self.put("</tbody></table></div></section>");
    }

    fn stories(&mut self, pictures: &[Picture]) {
        let stories = names(pictures, |picture| picture.story);
        let media = names(pictures, |picture| picture.medium);
        let Some(first) = media.first() else { return };
        let shown = media.iter().find(|medium| **medium == self.about.medium).unwrap_or(first);
        self.put("<form class=media><fieldset><legend>disk</legend>");
        for medium in &media {
            let checked = if medium == shown { " checked" } else { "" };
            self.add(format_args!(
                "<label><input type=radio name=m id=m-{medium}{checked}><span>{medium}</span>\
                 </label>"
            ));
        }
        if media.len() > 1 {
            self.put("<label><input type=radio name=m id=m-all><span>all</span></label>");
        }
        self.put("</fieldset></form><nav aria-label=Stories>");
        for story in &stories {
            self.add(format_args!("<a href=\"#{story}\">{story}</a>"));
        }
        self.put("</nav>");
        for story in &stories {
            self.add(format_args!("<section class=story id={story}><h2>{story}</h2>"));
            let mut of_story = pictures.iter().filter(|picture| picture.story == *story).peekable();
            if let Some(picture) = of_story.peek() {
                self.before(picture);
            }
            for picture in of_story {
                self.picture(picture);
            }
            self.put("</section>");
        }
    }

    fn before(&mut self, picture: &Picture) {
        let slots: Vec<_> = picture.slots.iter().map(ToString::to_string).collect();
        self.add(format_args!("<p class=before>slots {}; ", slots.join(", ")));
        if picture.before.is_empty() {
            self.put("a blank disk</p>");
        } else {
            self.add(format_args!("before: {}</p>", escape(&picture.before.join(" → "))));
        }
    }

    fn picture(&mut self, picture: &Picture) {
        self.add(format_args!(
            "<div class=\"m m-{0}\"><div class=strip><b>{0}</b><span>{1} cuts</span>",
            picture.medium,
            number(picture.cuts())
        ));
        self.bar(&picture.came, "small");
        self.put("</div><div class=stages>");
        let lost = picture.stages.iter().flat_map(|stage| &stage.operations);
        let lost = lost.flat_map(|operation| &operation.runs).any(|run| run.lost != Lost::Nothing);
        let has_store = picture
            .stages
            .iter()
            .flat_map(|stage| &stage.operations)
            .any(|operation| operation.kind == Kind::Floor);
        let drawing = Drawing { picture, blocks: if lost { 3 } else { 1 }, has_store };
        for (number, stage) in picture.stages.iter().enumerate() {
            drawing.stage(&mut self.text, number, stage);
        }
        self.put("</div></div>");
    }
}

/// Where things stand in the picture of one story, in pixels.
struct Drawing<'a> {
    picture: &'a Picture,
    /// One, or three with a cache: nothing lost, all lost, some lost.
    blocks: u32,
    has_store: bool,
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

    fn stage(&self, out: &mut String, index: usize, stage: &Stage) {
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

const fn class_of(came: CutOutcome) -> &'static str {
    match came {
        CutOutcome::Old => "o",
        CutOutcome::New => "w",
        CutOutcome::Recovery => "r",
        CutOutcome::Nothing => "e",
        CutOutcome::Broken => "b",
    }
}

const fn meaning(came: CutOutcome) -> &'static str {
    match came {
        CutOutcome::Old => "the old version",
        CutOutcome::New => "the new version",
        CutOutcome::Recovery => "recovery",
        CutOutcome::Nothing => "nothing was whole yet",
        CutOutcome::Broken => "broken",
    }
}

fn sum_of(pictures: &[Picture]) -> [u64; CutOutcome::ALL.len()] {
    let mut sum = [0; CutOutcome::ALL.len()];
    for picture in pictures {
        sum.iter_mut().zip(picture.came).for_each(|(sum, more)| *sum += more);
    }
    sum
}

/// Every name once, in the order of the pictures.
fn names(pictures: &[Picture], name: fn(&Picture) -> &'static str) -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for picture in pictures {
        if !found.contains(&name(picture)) {
            found.push(name(picture));
        }
    }
    found
}

/// With thin spaces between thousands.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The share of the whole, never 0 for a count above 0.
fn permille(count: u64, all: u64) -> u64 {
    (count * 1000 / all.max(1)).max(1)
}

fn percent(count: u64, all: u64) -> String {
    match (count, count as f64 * 100.0 / all.max(1) as f64) {
        (0, _) => String::new(),
        (_, share) if share < 0.1 => "under 0.1 %".into(),
        (_, share) => format!("{share:.1} %"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The rows of the table from the simplest fault to the rarest; others come first.
const ROWS: [&str; 10] = [
    "power cut before or after a request",
    "torn write",
    "torn erase",
    "cache lost or reordered",
    "write error",
    "read error",
    "stuck sector",
    "misdirected write",
    "bit rot",
    "lying read",
];

const STYLE: &str = include_str!("report/style.css");
const GUIDE: &str = include_str!("report/guide.html");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::{Effort, explore, media};
    use crate::oracle::Broken;
    use crate::story::{Catalogue, stories};

    const ABOUT: About<'_> = About {
        version: "0",
        command: "make it",
        replay: "see it",
        medium: "cache512",
        sample: None,
    };

    fn explored() -> Summary {
        let catalogue = Catalogue::new().expect("releases");
        let mut stories = stories();
        stories.retain(|story| ["update-store", "recovery"].contains(&story.name));
        let mut media = media();
        media.retain(|medium| ["nor32", "cache512"].contains(&medium.name));
        let effort =
            Effort { tears: 2, second_every: 0, fault_every: 40, draws: true, ..Effort::QUICK };
        explore(&catalogue, &stories, &media, effort, 2, &|_, _| {})
    }

    #[test]
    fn every_cut_is_on_the_page_and_the_page_stands_alone() {
        let summary = explored();
        let drawn: u64 = summary.pictures.iter().map(Picture::cuts).sum();
        assert_eq!(drawn, summary.counts.depth_one);
        let in_runs = summary.pictures.iter().flat_map(|picture| &picture.stages);
        let in_runs: u64 = in_runs.flat_map(|stage| &stage.operations).map(Operation::cuts).sum();
        assert_eq!(in_runs, drawn);
        let tried = summary.pictures.iter().flat_map(|picture| picture.tallies.values());
        assert_eq!(tried.map(|tally| tally.points).sum::<u64>(), summary.counts.points());
        let came = sum_of(&summary.pictures);
        assert!(
            came[CutOutcome::Old as usize] > 0 && came[CutOutcome::New as usize] > 0,
            "{came:?}"
        );
        assert!(came[CutOutcome::Recovery as usize] > 0, "{came:?}");
        assert_eq!(came[CutOutcome::Broken as usize], 0);

        let page = html(&summary, &ABOUT);
        for name in ["id=update-store", "id=recovery", "m-nor32", "m-cache512 checked"] {
            assert!(page.contains(name), "{name}");
        }
        assert!(page.contains(&number(summary.counts.depth_one)));
        for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("class=findings"));
        assert_eq!(page, html(&explored(), &ABOUT));
    }

    /// "Cut at N points, it always still booted" was said of a sample, of which a tenth had nothing
    /// to boot.
    #[test]
    fn page_says_that_it_is_a_sample_and_where_nothing_could_boot() {
        let catalogue = Catalogue::new().expect("releases");
        let mut stories = stories();
        stories.retain(|story| story.name == "factory");
        let mut media = media();
        media.retain(|medium| medium.name == "nor32");
        let effort =
            Effort { tears: 2, second_every: 0, fault_every: 40, draws: true, ..Effort::QUICK };
        let summary = explore(&catalogue, &stories, &media, effort, 2, &|_, _| {});
        let came = sum_of(&summary.pictures);
        let nothing = came[CutOutcome::Nothing as usize];
        assert!(nothing > 0, "{came:?}");
        let page = html(&summary, &About { sample: Some("a sample: some cuts"), ..ABOUT });
        let all = summary.counts.depth_one + summary.counts.depth_two;
        assert!(page.contains(&format!("cut at {} points, a sample.", number(all))));
        assert!(page.contains("This is a sample: some cuts."));
        assert!(page.contains(&format!("After {} of the first cuts", number(nothing))));
        assert!(!page.contains("always"), "something did not boot");
        assert!(!html(&explored(), &ABOUT).contains("sample"));
    }

    #[test]
    fn what_is_broken_is_told_first_and_cannot_write_to_the_page() {
        let mut summary = explored();
        summary.counts.broken = 1;
        let how = "<script>alert(1)</script>".into();
        let broken = Broken { promise: Promise::Boots, how };
        summary.findings = vec![Finding { id: "install/nor8/s0.1/before".into(), broken }];
        let page = html(&summary, &ABOUT);
        assert!(page.contains("<code>see it 'install/nor8/s0.1/before'</code>"));
        assert!(!page.contains("<script"));
        assert!(page.find("class=findings") < page.find("class=guide"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(7), "7");
        assert_eq!(number(1234), "1\u{202f}234");
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
