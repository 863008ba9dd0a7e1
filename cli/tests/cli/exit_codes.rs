//! Exit codes and words that scripts depend on.

use std::fs::File;

use crate::support::{TRUST, World};

#[test]
fn nothing_to_do_is_5() {
    let world = World::running();
    let disk = format!("--disk disk.img {TRUST} --proof proof --json");
    world.run(&format!("install v1.sbb {disk}")).refused(5, "running");
    world.run(&format!("resume v2.sbb {disk}")).refused(5, "to-resume");
    world.run(&format!("install v2.sbb {disk}")).expect(0);
    world.run(&format!("install v2.sbb {disk}")).refused(5, "ready");
    world.run(&format!("resume v2.sbb {disk}")).refused(5, "ready");
    world.run("unhold --disk disk.img --json").refused(5, "already");
    world.run("unhold a --disk disk.img --json").refused(5, "already");
    world.run("disk create empty.img --slot-size 1M").expect(0);
    world.run(&format!("scrub --disk empty.img {TRUST} --json")).refused(5, "nothing");
}

#[test]
fn try_later_is_3() {
    let world = World::running();
    let disk = format!("--disk disk.img {TRUST} --proof proof --json");
    world.run("hold --until forever --disk disk.img").expect(0);
    world.run(&format!("install v2.sbb {disk}")).refused(3, "hold");
    world.run("hold --until 2090-01-01 --disk disk.img").expect(0);
    world.run(&format!("install v2.sbb {disk}")).refused(3, "hold");
    world.run("unhold --disk disk.img").expect(0);
    world.run("hold b --disk disk.img").expect(0);
    world.run(&format!("install v2.sbb {disk} --slot b")).refused(3, "held");
    world.run("unhold b --disk disk.img").expect(0);
    world.run(&format!("install v2.sbb {disk}")).expect(0);
    world.boots("2.0.0");
    world.run(&format!("install v3.sbb {disk}")).refused(3, "unconfirmed");
    world.run("disk create new.img --slot-size 1M").expect(0);
    world.run("mark-bad a --disk new.img --json").refused(3, "no-record");
    // Another process has the disk.
    let lock = File::open(world.path("disk.img")).unwrap();
    lock.lock().unwrap();
    world.run(&format!("install v3.sbb {disk}")).refused(3, "locked");
    world.run(&format!("boot --disk disk.img {TRUST} --json")).refused(3, "locked");
}

#[test]
fn refused_is_4() {
    let world = World::running();
    let disk = format!("--disk disk.img {TRUST} --proof proof --json");
    let old = world.read("proof");
    world.run(&format!("install v2.sbb {disk} --slot a")).refused(4, "target-runs");
    world.run(&format!("install v2.sbb {disk} --slot c")).refused(4, "layout");
    world.run("mark-bad a --disk disk.img --json").refused(4, "operator");
    world.run("mark-bad b --disk disk.img --json").refused(4, "operator");
    world.run("mark-bad c --disk disk.img --json").refused(4, "no-such-slot");
    world.run("rollback --disk disk.img --proof proof --json").refused(4, "operator");
    world.run(&format!("install v2.sbb {disk}")).expect(0);
    world.boots("2.0.0");
    // A proof of an earlier boot of the slot confirms nothing.
    let trial = world.read("proof");
    world.boots("2.0.0");
    world.write("stale", trial);
    world.run("mark-good --disk disk.img --proof stale --json").refused(4, "confirm");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    world.run(&format!("install v1.sbb {disk}")).refused(4, "not-newer");
    world.run("mark-bad b --disk disk.img").expect(0);
    world.boots("1.0.0");
    world.run(&format!("install v2.sbb {disk}")).refused(4, "failed-before");
    world.write("other", String::from_utf8(old).unwrap().replace(":a:", ":b:"));
    world.run("rollback --disk disk.img --proof other --json").refused(4, "confirm");
    world
        .run(&format!("install v3.sbb --disk disk.img {TRUST} --proof other --json"))
        .refused(4, "proof");
    // This system was not started by a loader of ours.
    world.run("mark-good --disk disk.img --json").refused(4, "proof");
}

#[test]
fn expired_and_other_revisions_are_refused() {
    let world = World::running();
    let disk = format!("--disk disk.img {TRUST} --proof proof --json");
    world.pack(4, "--kernel kernel --force --not-after 2025-06-01").expect(0);
    world.run(&format!("install v4.sbb {disk}")).refused(4, "expired");
    // Every byte is what was signed, and devices refuse it all the same.
    let run = world.run("verify v4.sbb --roots keys/roots.toml").expect(0);
    assert!(run.stderr.contains("has expired, on "), "{run:?}");
    world.pack(5, "--kernel kernel --revision 2,3").expect(0);
    world.run(&format!("install v5.sbb {disk}")).refused(4, "class");
    world.pack(6, "--kernel kernel --architecture aarch64").expect(0);
    world.run(&format!("install v6.sbb {disk} --arch x86_64")).refused(4, "class");
    world.pack(7, "--kernel kernel --reads-epochs 0,1").expect(0);
    world.run(&format!("install v7.sbb {disk}")).refused(4, "data-epoch");
    world.run(&format!("install v7.sbb {disk} --allow-new-epoch")).expect(0);
}

#[test]
fn wrong_command_lines_are_2() {
    let world = World::running();
    for wrong in [
        "",
        "nonsense",
        "install",
        "install v2.sbb --disk disk.img",
        "install v2.sbb --disk disk.img --class m1 --offline",
        "resume v2.sbb --disk disk.img --class m1 --offline",
        "boot --disk disk.img --class m1",
        "scrub --disk disk.img --class m1",
        "verify v2.sbb",
        "install v2.sbb --disk disk.img --roots keys/roots.toml --class m1 --proof p --offline",
        "install v2.sbb --disk disk.img --roots keys/roots.toml --class m1 --tries 0",
        "install v2.sbb --disk disk.img --roots keys/roots.toml --class m1 --tries 16",
        "install v2.sbb --disk disk.img --roots keys/roots.toml --class m1 --slot d",
        "boot --disk disk.img --roots keys/roots.toml --class m1 --nonce xyz",
        "mark-bad --disk disk.img",
        "mark-bad x --disk disk.img",
        "hold --disk disk.img",
        "hold a --until forever --disk disk.img",
        "hold --until 2001-01-01 --disk disk.img",
        "hold --until soon --disk disk.img",
        "disk create new.img --slot-size 0",
        "disk create new.img --slot-size many",
        "disk create new.img --slots 9",
        "disk create new.img --logical-block 1024",
        "disk create new.img --slot-size 99999999T",
    ] {
        let run = world.run(&format!("{wrong} --json"));
        assert_eq!(run.code, 2, "{wrong}: {run:?}");
        assert_eq!(run.json()["kind"], "usage", "{wrong}");
        world.run(wrong).expect(2);
    }
    world.boots("1.0.0");
}

#[test]
fn version_is_told() {
    let world = World::new();
    let run = world.run("--version").expect(0);
    assert!(run.stdout.starts_with("stillboot "), "{run:?}");
}
