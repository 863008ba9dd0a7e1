//! The page of a few stories, explored for it.

use super::page::sum_of;
use super::text::number;
use super::{About, html};
use crate::explore::{Effort, Finding, Summary, explore, media};
use crate::oracle::{Broken, Promise};
use crate::picture::{CutOutcome, Operation, Picture};
use crate::story::{Catalogue, stories};

const ABOUT: About<'_> =
    About { version: "0", command: "make it", replay: "see it", medium: "cache512", sample: None };

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
    assert!(came[CutOutcome::Old as usize] > 0 && came[CutOutcome::New as usize] > 0, "{came:?}");
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
