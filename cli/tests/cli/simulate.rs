//! The simulator as the tool runs it: stories, pages, replays.

use stillboot_sim::story::stories;

use crate::support::World;

#[test]
fn a_story_runs_and_reports() {
    let world = World::new();
    let value = world.run("simulate --story mark-bad --media block512 --json").expect(0).json();
    assert_eq!(value["broken"], 0, "{value}");
    assert_eq!(value["second_cuts"], 0, "{value}");
    let cuts = value["cuts"].as_u64().unwrap();
    assert!(cuts > 10, "{value}");
    let text = world.run("simulate --story mark-bad --media block512").expect(0).stdout;
    assert!(text.contains("every promise holds"), "{text}");
    assert!(text.contains(&cuts.to_string()), "{text}");
    let deeper =
        world.run("simulate --story mark-bad --media block512 --depth 2 --json").expect(0).json();
    assert!(deeper["second_cuts"].as_u64().unwrap() > 0, "{deeper}");
    assert_eq!(deeper["cuts"], cuts, "{deeper}");
}

#[test]
fn a_kind_of_disk_is_all_disks_of_it() {
    let world = World::new();
    let cuts = |media: &str| {
        let run = world.run(&format!("simulate --story mark-bad {media} --json")).expect(0);
        run.json()["cuts"].as_u64().unwrap()
    };
    let (small, large) = (cuts("--media block512"), cuts("--media block4096"));
    assert_eq!(cuts("--media block"), small + large);
    assert_eq!(cuts("--media block512 --media block4096"), small + large);
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let world = World::new();
    let run = world.run("simulate --story nonesuch --json").refused(2, "usage");
    let error = run.json()["error"].as_str().unwrap().to_owned();
    for story in stories() {
        assert!(error.contains(story.name), "{error}");
    }
    let run = world.run("simulate --media floppy --json").refused(2, "usage");
    assert!(run.stdout.contains("block4096"), "{run:?}");
    world.run("simulate --depth 3 --json").refused(2, "usage");
    world.run("simulate --replay nonesuch --json").refused(2, "usage");
    world.run("simulate --replay mark-bad/nor8/s0.9999/before --json").refused(2, "usage");
    world.run("simulate --replay mark-bad/nor8/s0.0/before --depth 2 --json").refused(2, "usage");
}

#[test]
fn a_point_is_told_again() {
    let world = World::new();
    let id = "update/nor8/s0.0/before";
    let told = world.run(&format!("simulate --replay {id}")).expect(0).stdout;
    assert!(told.contains("every promise holds"), "{told}");
    assert!(told.contains("cut before at change 0"), "{told}");
    let state = world.run("simulate --replay hostile/3").expect(0).stdout;
    assert!(state.contains("every promise holds"), "{state}");
    world.run("simulate --replay hostile/three --json").refused(2, "usage");
    let value = world.run(&format!("simulate --replay {id} --json")).expect(0).json();
    let lines = value["lines"].as_array().unwrap();
    assert_eq!(lines.len(), told.lines().count(), "{value}");
}

#[test]
fn a_life_by_chance_is_the_same_for_the_same_seed() {
    let world = World::new();
    let run = |more: &str| {
        let run = world.run(&format!("simulate --seed 7 --media block512 --json {more}"));
        run.expect(0).json()
    };
    let value = run("--steps 60");
    assert_eq!((&value["events"], &value["broken"]), (&60.into(), &0.into()), "{value}");
    assert_eq!(value, run("--steps 60"));
    let told = world.run("simulate --replay walk/block512/7/0-59").expect(0).stdout;
    assert!(told.lines().count() > 60, "{told}");
    world.run("simulate --replay walk/block512/7/x --json").refused(2, "usage");
    world.run("simulate --seed 7 --story update --json").refused(2, "usage");
    world.run("simulate --steps 7 --json").refused(2, "usage");
}

#[test]
fn the_page_stands_alone_and_shows_every_story() {
    let world = World::new();
    let made = "simulate --story mark-bad --story rollback-good --media block512 --report";
    let value = world.run(&format!("{made} page.html --json")).expect(0).json();
    assert_eq!(value["report"], "page.html");
    let page = String::from_utf8(world.read("page.html")).unwrap();
    for story in stories() {
        let is_there = page.contains(&format!("<section class=story id={}>", story.name));
        assert_eq!(is_there, ["mark-bad", "rollback-good"].contains(&story.name), "{}", story.name);
    }
    for outside in ["http:", "https:", "src=", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let cuts = value["cuts"].as_u64().unwrap();
    let counted = format!("<dd>{cuts}</dd><dt>cuts</dt>");
    assert!(page.replace('\u{202f}', "").contains(&counted), "{value}");
    // Every identity on the page is one.
    let ids: Vec<_> = page
        .split("<title>")
        .skip(2)
        .map(|title| title.split("</title>").next().unwrap().lines().last().unwrap())
        .collect();
    assert!(ids.len() > 3, "{ids:?}");
    world.run(&format!("simulate --replay {}", ids[ids.len() / 2])).expect(0);
    // A place that cannot be written is reported before the work begins.
    world.run(&format!("{made} nowhere/page.html --json")).refused(1, "io");
}
