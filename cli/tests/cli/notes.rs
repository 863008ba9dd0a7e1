//! What the boot record keeps for tools: the history of versions, and the numbers of statements.

use crate::support::{TRUST, World};

#[test]
fn confirmed_versions_are_remembered_with_their_time() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    let status = world.run("status disk.img --json").expect(0).json();
    assert_eq!(
        status["history"].as_array().unwrap().len(),
        1,
        "on trial is not confirmed: {status}"
    );
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    let status = world.run("status disk.img --json").expect(0).json();
    let history = status["history"].as_array().unwrap();
    let versions: Vec<_> = history.iter().map(|past| past["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1.0.0", "2.0.0"], "{status}");
    for past in history {
        assert_eq!(past["keyset_version"], 1, "{past}");
        assert!(past["at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{past}");
        assert!(past["at_time"].as_str().unwrap().ends_with('Z'), "{past}");
    }
    let shown = world.run("status disk.img").expect(0).stdout;
    assert_eq!(shown.matches("confirmed here").count(), 2, "{shown}");
    assert!(shown.contains("confirmed here 2.0.0 (keyset 1, at 20"), "{shown}");
    // A confirmation once more is none.
    world.boots("2.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    let again = world.run("status disk.img --json").expect(0).json();
    assert_eq!(again["history"], status["history"]);
}

/// Without a folder for the file of statements that were seen.
#[test]
fn numbers_of_statements_are_kept_in_the_record() {
    let world = World::with_keys("--channel 1").started();
    world.pack(2, "--kernel kernel --rollout 50").expect(0);
    world.write("release.toml", "[promote]\nstable = { sign_offs = [] }\n");
    let offer = |number: u64| {
        world
            .run(&format!(
                "promote v2.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
                 --key keys/channel-1.pem --rollout 100 --number {number} --out v2.sbb.sbs"
            ))
            .expect(0);
    };
    let on_disk = format!("v2.sbb --disk disk.img {TRUST} --proof proof --state none --json");
    offer(7);
    // To ask notes nothing.
    let before = world.read("disk.img");
    world.run(&format!("policy check {on_disk}")).expect(0);
    assert!(before == world.read("disk.img"));
    world.run(&format!("install {on_disk}")).expect(0);
    world.run("cancel --disk disk.img").expect(0);
    // A mirror that goes back to an older one, or has none any more.
    offer(6);
    let install = format!("install {on_disk}");
    let text = world.run(&install).refused(3, "statement-missing").json()["error"].to_string();
    assert!(text.contains("number 7"), "{text}");
    let check = world.run(&format!("policy check {on_disk}")).expect(3).json();
    assert_eq!(check["verdict"], "deferred", "{check}");
    std::fs::remove_file(world.path("v2.sbb.sbs")).unwrap();
    world.run(&install).refused(3, "statement-missing");
    offer(8);
    world.run(&install).expect(0);
}

/// What goes with the record is said, the notes too.
#[test]
fn notes_go_with_the_record() {
    let world = World::running();
    let run = world.run("record discard --version 1 --offline --disk disk.img --json").expect(0);
    let lost = run.json()["lost"].to_string();
    assert!(lost.contains("history of confirmed versions"), "{lost}");
    let shown = world.run("status disk.img").expect(0).stdout;
    assert!(shown.contains("all copies are lost") && !shown.contains("both"), "{shown}");
}
