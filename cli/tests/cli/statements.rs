//! Statements beside a bundle: which files are read, which of them counts, and what a device keeps.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::support::{Run, TRUST, World, unprivileged};

fn install(world: &World, more: &str) -> Run {
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof --json {more}"))
}

fn check(world: &World, more: &str) -> Run {
    world.run(&format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof --json {more}"))
}

/// Offers version 2 to a share of devices by a statement of its own.
fn offer(world: &World, number: u64, rollout: u8, out: &str, more: &str) -> Run {
    world.run(&format!(
        "promote v2.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
         --key keys/channel-1.pem --rollout {rollout} --number {number} --out {out} --json {more}"
    ))
}

/// A disk that runs version 1, version 2 for half of all devices, and a release policy.
fn world() -> World {
    let world = World::with_keys("--channel 1").started();
    world.pack(2, "--kernel kernel --rollout 50").expect(0);
    world.write("release.toml", "[promote]\nstable = { sign_offs = [] }\n");
    world
}

#[test]
fn a_halt_counts_whatever_the_files_are_called() {
    let world = world();
    offer(&world, 5, 100, "v2.sbb.z.sbs", "").expect(0);
    offer(&world, 6, 0, "v2.sbb.a.sbs", "").expect(0);
    install(&world, "").refused(3, "rollout");
    fs::rename(world.path("v2.sbb.a.sbs"), world.path("v2.sbb.zz.sbs")).unwrap();
    install(&world, "").refused(3, "rollout");
    let value = check(&world, "").expect(3).json();
    let states: Vec<_> =
        value["statements"].as_array().unwrap().iter().map(|s| s["state"].clone()).collect();
    assert_eq!(states, ["superseded", "counts"], "{value}");
    // The same number twice: the stricter one.
    offer(&world, 6, 100, "v2.sbb.b.sbs", "").expect(0);
    install(&world, "").refused(3, "rollout");
    offer(&world, 7, 100, "v2.sbb.sbs", "").expect(0);
    install(&world, "").expect(0);
}

/// A halt that needs a signature of the testers comes too late.
#[test]
fn an_offer_is_made_smaller_without_sign_offs_and_never_larger() {
    let world = world();
    world.write("release.toml", "[promote.stable]\nsign_offs = [\"tests\"]\n");
    let halt = offer(&world, 2, 0, "halt.sbs", "").expect(0);
    assert_eq!(halt.json()["sign_offs"].as_array().unwrap().len(), 0);
    offer(&world, 2, 60, "more.sbs", "").refused(4, "sign-off");
    offer(&world, 3, 50, "again.sbs", "--statement halt.sbs").refused(4, "sign-off");
    // What was signed is said.
    let shown = world
        .run(
            "promote v2.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
             --key keys/channel-1.pem --rollout 7 --not-after 2090-01-01 --out p.sbs",
        )
        .expect(0)
        .stdout;
    for part in ["latest/stable", "7 %", "2090-01-01"] {
        assert!(shown.contains(part), "{shown}");
    }
}

/// An approval is taken back by a later one that has expired.
#[test]
fn an_approval_is_taken_back() {
    let world = World::with_keys("--approver 1").started();
    world.write("policy.toml", "approval_required = true\n");
    let approve = |number: u64, more: &str, out: &str| {
        world
            .run(&format!(
                "statement approve v2.sbb --roots keys/roots.toml --key keys/approver-1.pem \
                 --number {number} --out {out} {more}"
            ))
            .expect(0);
    };
    approve(1, "", "v2.sbb.one.sbs");
    check(&world, "--policy policy.toml").expect(0);
    approve(2, "--not-after 2025-01-01", "v2.sbb.two.sbs");
    install(&world, "--policy policy.toml").refused(3, "statement-expired");
}

#[test]
fn a_number_is_above_those_before_it() {
    let world = world();
    let made = offer(&world, 5, 100, "one.sbs", "").expect(0).json();
    assert_eq!(made["statement"]["number"], 5);
    offer(&world, 5, 0, "two.sbs", "--statement one.sbs").refused(2, "usage");
    offer(&world, 0, 0, "two.sbs", "").refused(2, "usage");
    let most = (1_u64 << 53) - 1;
    offer(&world, most + 1, 0, "two.sbs", "").refused(2, "usage");
    // Nothing could follow it.
    offer(&world, most, 0, "two.sbs", "").refused(2, "usage");
    offer(&world, most - 1, 30, "two.sbs", "--statement one.sbs").expect(0);
    let by_default = |name: &str, more: &str| {
        let run = world.run(&format!(
            "promote v2.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
             --key keys/channel-1.pem --rollout 7 --out {name} --json {more}"
        ));
        run.expect(0).json()["statement"]["number"].as_u64().unwrap()
    };
    // The time, and never at or below what is known.
    assert!(by_default("three.sbs", "--statement one.sbs") > 1_700_000_000);
    assert_eq!(by_default("four.sbs", "--statement two.sbs --statement one.sbs"), most);
    let run = world.run(
        "promote v2.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
         --key keys/channel-1.pem --rollout 8 --out five.sbs --statement four.sbs --json",
    );
    let run = run.refused(4, "number");
    assert!(run.stdout.contains("pack the release again"), "{run:?}");
}

/// The withdrawal of an approval with a high number got the time, which is lower: it did nothing.
#[test]
fn a_withdrawal_gets_a_number_above_what_it_takes_back() {
    let world = World::with_keys("--approver 1");
    world.pack_small(2);
    let most = (1_u64 << 53) - 1;
    let approve = |out: &str, more: &str| {
        world.run(&format!(
            "statement approve v2.sbb --roots keys/roots.toml --key keys/approver-1.pem --out {out} \
             --json {more}"
        ))
    };
    let run = approve("no.sbs", &format!("--number {most}")).refused(2, "usage");
    let text = format!("expected a number from 1 to {}, found `{most}`", most - 1);
    for part in [&text, "no statement could follow"] {
        assert!(run.stdout.contains(part), "{run:?}");
    }
    let quiet = approve("v2.sbb.one.sbs", "--number 5").expect(0);
    assert!(!quiet.stderr.contains("above the time"), "{quiet:?}");
    let run = approve("v2.sbb.one.sbs", &format!("--number {}", most - 1)).expect(0);
    for part in ["above the time", &format!("up to {most}")] {
        assert!(run.stderr.contains(part), "{run:?}");
    }
    // Beside the bundle, and in the file that is replaced.
    let number = |run: Run| run.expect(0).json()["statement"]["number"].as_u64().unwrap();
    assert_eq!(number(approve("elsewhere.sbs", "--not-after 2025-01-01")), most);
    fs::rename(world.path("v2.sbb.one.sbs"), world.path("kept.sbs")).unwrap();
    assert_eq!(number(approve("kept.sbs", "--not-after 2025-01-01")), most);
    approve("kept.sbs", "").refused(4, "number");
    // One below it is made, and not without a word.
    let run = approve("kept.sbs", "--number 7").expect(0);
    assert!(run.stderr.contains("uses the higher one"), "{run:?}");
    // Where none is at hand it is the time.
    assert!(number(approve("new.sbs", "")) < most / 2);
}

#[test]
fn statements_that_do_not_count_are_named_in_the_verdict() {
    let world = world();
    offer(&world, 3, 100, "v2.sbb.good.sbs", "").expect(0);
    offer(&world, 4, 100, "v2.sbb.late.sbs", "--not-after 2025-02-01").expect(0);
    let deferred = install(&world, "").refused(3, "statement-expired");
    for part in ["v2.sbb.late.sbs", "2025-02-01", "number 4"] {
        assert!(deferred.stdout.contains(part), "{deferred:?}");
    }
    fs::remove_file(world.path("v2.sbb.late.sbs")).unwrap();
    // About another bundle, and one whose signature is broken.
    world
        .run(
            "promote v3.sbb --roots keys/roots.toml --policy release.toml --to latest/stable \
         --key keys/channel-1.pem --rollout 3 --number 9 --out v2.sbb.other.sbs",
        )
        .expect(0);
    let mut forged = world.read("v2.sbb.good.sbs");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    world.write("v2.sbb.forged.sbs", &forged);
    let run = check(&world, "").expect(0);
    let value = run.json();
    let all = value["statements"].as_array().unwrap();
    let state = |name: &str| {
        let found = all.iter().find(|s| s["file"].as_str().unwrap().ends_with(name));
        found.unwrap_or_else(|| panic!("{name} in {value}"))["state"].clone()
    };
    assert_eq!(state("good.sbs"), "counts");
    assert_eq!(state("other.sbs"), "other-bundle");
    assert_eq!(state("forged.sbs"), "not-trusted");
    for name in ["v2.sbb.other.sbs", "v2.sbb.forged.sbs"] {
        assert!(run.stderr.contains(name), "{run:?}");
    }
    // A user who names a file counts on it.
    install(&world, "--statement v2.sbb.forged.sbs").refused(4, "statement");
    let text = world
        .run(&format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof"))
        .expect(0)
        .stdout;
    assert!(text.contains("v2.sbb.forged.sbs: not trusted"), "{text}");
}

#[test]
fn what_is_no_statement_is_skipped_and_never_waited_for() {
    let world = world();
    offer(&world, 3, 100, "v2.sbb.good.sbs", "").expect(0);
    world.write("v2.sbb.junk.sbs", b"garbage");
    world.write("v2.sbb.empty.sbs", b"");
    world.write("v2.sbb.huge.sbs", vec![7; 3 << 20]);
    fs::create_dir(world.path("v2.sbb.folder.sbs")).unwrap();
    symlink("nowhere", world.path("v2.sbb.dangling.sbs")).unwrap();
    symlink("/dev/zero", world.path("v2.sbb.device.sbs")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path("v2.sbb.pipe.sbs")).status().unwrap().success());
    // Of another bundle, by its name.
    world.write("v2.sbb-other.sbs", b"garbage");
    world.write("v2.sbs", b"garbage");
    let started = std::time::Instant::now();
    let run = install(&world, "").expect(0);
    assert!(started.elapsed().as_secs() < 5);
    for name in ["junk", "empty", "huge", "folder", "dangling", "device", "pipe"] {
        assert!(run.stderr.contains(&format!("v2.sbb.{name}.sbs")), "{name}: {run:?}");
    }
    assert!(!run.stderr.contains("v2.sbb-other") && !run.stderr.contains("v2.sbs"), "{run:?}");
}

/// A mirror that shows the halt once cannot take it back.
#[test]
fn what_was_seen_is_kept_where_there_is_room() {
    let world = world();
    fs::create_dir(world.path("state")).unwrap();
    offer(&world, 5, 100, "old.sbs", "").expect(0);
    offer(&world, 6, 0, "halt.sbs", "").expect(0);
    let state = "--state state";
    // To look changes nothing.
    check(&world, &format!("--statement halt.sbs {state}")).expect(3);
    check(&world, &format!("--statement old.sbs {state}")).expect(0);
    install(&world, &format!("--statement halt.sbs {state}")).refused(3, "rollout");
    let refused = install(&world, &format!("--statement old.sbs {state}"));
    let refused = refused.refused(3, "statement-missing");
    assert!(
        refused.stdout.contains("number 6") && refused.stdout.contains("number 5"),
        "{refused:?}"
    );
    install(&world, state).refused(3, "statement-missing");
    check(&world, state).expect(3);
    // Damage, and then no folder at all: warnings, and the device goes on.
    let file = world.path("state/statements-seen");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    let run = check(&world, &format!("--statement old.sbs {state}")).expect(0);
    assert!(run.stderr.contains("damaged"), "{run:?}");
    fs::remove_file(&file).unwrap();
    let run = check(&world, &format!("--statement old.sbs {state}")).expect(0);
    assert_eq!(run.stderr, "", "before the first statement there is no file");
    let run = check(&world, "--statement old.sbs --state nowhere").expect(0);
    assert!(run.stderr.contains("is no folder"), "{run:?}");
    // A later offer ends the halt.
    fs::write(&file, &whole).unwrap();
    offer(&world, 7, 100, "new.sbs", "").expect(0);
    install(&world, &format!("--statement new.sbs {state}")).expect(0);
}

#[test]
fn a_device_without_an_identity_waits_for_a_partial_rollout() {
    let world = world();
    let deferred = install(&world, "--device-id=").refused(3, "no-identity");
    assert!(deferred.stdout.contains("--device-id"), "{deferred:?}");
    install(&world, "--device-id= --window 00:00~24:00 --force --channel edge").expect(0);
}

/// The names that --help shows are those that are read.
#[test]
fn names_in_help_are_those_that_are_read() {
    let world = World::new();
    for command in ["statement sign-off", "statement approve", "promote"] {
        let help = world.run(&format!("{command} --help")).expect(0).stdout;
        let example = help.split("Example:").nth(1).unwrap();
        let out = example.split("--out ").nth(1).unwrap().split_whitespace().next().unwrap();
        let rest = out.strip_prefix("update.sbb.").and_then(|rest| rest.strip_suffix(".sbs"));
        assert!(rest.is_some_and(|word| !word.contains('.')), "{command}: {out}");
    }
}

/// An attacker who could only add files revived an update that was halted: junk took the places of
/// statements.
#[test]
fn junk_does_not_bury_a_halt() {
    let world = world();
    offer(&world, 6, 0, "v2.sbb.zz.sbs", "").expect(0);
    let before = world.read("disk.img");
    for number in 0..200 {
        world.write(&format!("v2.sbb.a{number}.sbs"), "junk");
    }
    install(&world, "").refused(3, "rollout");
    let run = check(&world, "").expect(3);
    assert!(run.stderr.contains("136 more files"), "not a line for each: {}", run.stderr);
    for number in 200..4096 {
        world.write(&format!("v2.sbb.a{number}.sbs"), "");
    }
    let run = install(&world, "").refused(3, "statements");
    assert!(run.stdout.contains("4096") && run.stdout.contains("remove those"), "{run:?}");
    check(&world, "").refused(3, "statements");
    for number in 0..4096 {
        fs::remove_file(world.path(&format!("v2.sbb.a{number}.sbs"))).unwrap();
    }
    // More statements than are verified: none is left out.
    offer(&world, 5, 100, "old.sbs", "").expect(0);
    for number in 0..64 {
        fs::copy(world.path("old.sbs"), world.path(&format!("v2.sbb.a{number}.sbs"))).unwrap();
    }
    let run = install(&world, "").refused(3, "statements");
    assert!(run.stdout.contains("at most 64 statements"), "{run:?}");
    fs::remove_file(world.path("v2.sbb.a0.sbs")).unwrap();
    install(&world, "").refused(3, "rollout");
    assert!(world.read("disk.img") == before);
}

/// A halt that could not be read was skipped, and the update installed.
#[test]
fn a_statement_that_cannot_be_read_stops_the_installation() {
    let world = world();
    let before = world.read("disk.img");
    // A file whose reads fail, for root too.
    symlink("/proc/self/mem", world.path("v2.sbb.broken.sbs")).unwrap();
    let run = install(&world, "").refused(1, "io");
    assert!(
        run.stdout.contains("v2.sbb.broken.sbs") && run.stdout.contains("remove it"),
        "{run:?}"
    );
    check(&world, "").refused(1, "io");
    fs::remove_file(world.path("v2.sbb.broken.sbs")).unwrap();
    offer(&world, 6, 0, "v2.sbb.halt.sbs", "").expect(0);
    fs::set_permissions(world.path("v2.sbb.halt.sbs"), fs::Permissions::from_mode(0o000)).unwrap();
    let arguments = format!("install v2.sbb --disk disk.img {TRUST} --proof proof --json");
    let run = Run::new(unprivileged(world.folder(), &arguments).output().unwrap());
    let run = run.refused(1, "io");
    assert!(run.stdout.contains("v2.sbb.halt.sbs"), "{run:?}");
    assert!(world.read("disk.img") == before);
    // What is no file holds no statement, whatever it leads to.
    fs::remove_file(world.path("v2.sbb.halt.sbs")).unwrap();
    symlink("v2.sbb.loop.sbs", world.path("v2.sbb.loop.sbs")).unwrap();
    symlink("v2.sbb/none", world.path("v2.sbb.through.sbs")).unwrap();
    let run = install(&world, "").expect(0);
    for name in ["v2.sbb.loop.sbs", "v2.sbb.through.sbs"] {
        assert!(run.stderr.contains(name), "{run:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_listed_is_named() {
    let world = world();
    fs::create_dir(world.path("shut")).unwrap();
    fs::copy(world.path("v2.sbb"), world.path("shut/v2.sbb")).unwrap();
    fs::set_permissions(world.path("shut"), fs::Permissions::from_mode(0o311)).unwrap();
    let arguments =
        format!("policy check shut/v2.sbb --disk disk.img {TRUST} --proof proof --json");
    let run = Run::new(unprivileged(world.folder(), &arguments).output().unwrap());
    fs::set_permissions(world.path("shut"), fs::Permissions::from_mode(0o711)).unwrap();
    assert!(run.stderr.contains("cannot list the folder shut"), "{run:?}");
    assert!(run.stderr.contains("--statement"), "{run:?}");
    run.json();
}
