//! The page, part by part.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::drawing::Drawing;
use super::text::{class_of, escape, meaning, number, percent, permille};
use crate::explore::{Finding, Summary};
use crate::oracle::{self, Promise};
use crate::picture::{CutOutcome, Kind, Lost, Picture, Tally};

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

const STYLE: &str = include_str!("style.css");

const GUIDE: &str = include_str!("guide.html");

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

    fn add(&mut self, text: fmt::Arguments<'_>) {
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
        let mut sums = BTreeMap::<&str, Tally>::new();
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

pub(super) fn sum_of(pictures: &[Picture]) -> [u64; CutOutcome::ALL.len()] {
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
