//! The operator's wishes: flags, policy files, holds, and `policy check`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{TRUST, World};

fn install(world: &World, bundle: &str, more: &str) -> crate::support::Run {
    world.run(&format!("install {bundle} --disk disk.img {TRUST} --proof proof --json {more}"))
}

fn check(world: &World, bundle: &str, more: &str) -> crate::support::Run {
    world.run(&format!("policy check {bundle} --disk disk.img {TRUST} --proof proof --json {more}"))
}

#[test]
fn channel_of_the_device_decides_what_it_takes() {
    let world = World::running();
    world.pack(2, "--kernel kernel --channel latest/beta").expect(0);
    let before = world.read("disk.img");
    install(&world, "v2.sbb", "").refused(4, "channel");
    install(&world, "v2.sbb", "--channel latest/candidate").refused(4, "channel");
    install(&world, "v2.sbb", "--channel other/edge").refused(4, "channel");
    assert!(world.read("disk.img") == before);
    install(&world, "v2.sbb", "--channel edge").expect(0);
}

#[test]
fn flags_beat_the_file_and_the_file_beats_the_defaults() {
    let world = World::running();
    world.pack(2, "--kernel kernel --channel latest/beta").expect(0);
    world.write("stillboot.toml", "channel = \"latest/edge\"\nversions = \"patch\"\n");
    // The file's channel lets it pass, its version rule does not.
    let refused = install(&world, "v2.sbb", "--policy stillboot.toml").refused(4, "version");
    assert!(refused.stdout.contains("1.0.0") && refused.stdout.contains("2.0.0"), "{refused:?}");
    install(&world, "v2.sbb", "--policy stillboot.toml --versions any --channel stable")
        .refused(4, "channel");
    install(&world, "v2.sbb", "--policy stillboot.toml --versions any").expect(0);
}

#[test]
fn unknown_keys_and_bad_values_of_a_policy_file_are_errors() {
    let world = World::running();
    for text in [
        "chanel = \"edge\"",
        "channel = 5",
        "channel = \"a/b/c/d\"",
        "versions = \"newest\"",
        "apply_window = \"25:00-26:00\"",
        "not toml at all",
    ] {
        world.write("p.toml", text);
        let before = world.read("disk.img");
        install(&world, "v2.sbb", "--policy p.toml").refused(2, "policy");
        assert!(world.read("disk.img") == before, "{text}");
    }
    install(&world, "v2.sbb", "--policy missing.toml").expect(1);
}

#[test]
fn update_conf_is_read_too() {
    let world = World::running();
    world.pack(2, "--kernel kernel --channel latest/beta").expect(0);
    world.write(
        "update.conf",
        "# what this device takes\nserver=https://example.org\nchannel=beta\n\npubkey=/etc/key\n\
         maintenance_window=00:00-24:00\nhealthcheck_url=\nauto_rollback_after=3\nflavour=vanilla\n",
    );
    let run = install(&world, "v2.sbb", "--policy update.conf").expect(0);
    assert!(run.stderr.contains("flavour"), "{run:?}");
    world.write("update.conf", "channel=stable\n");
    install(&world, "v3.sbb", "--policy update.conf --channel candidate").expect(0);
}

#[test]
fn closed_windows_defer_and_force_opens_them() {
    let world = World::running();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // One hour long and twelve hours away, in whole hours so that it cannot open meanwhile.
    let hour = (now / 3600 + 12) % 24;
    let window = format!("{:02}:00-{:02}:00", hour, (hour + 1) % 24);
    let before = world.read("disk.img");
    let deferred = install(&world, "v2.sbb", &format!("--window {window}"));
    let deferred = deferred.refused(3, "window");
    assert!(deferred.stdout.contains("window"), "{deferred:?}");
    assert!(world.read("disk.img") == before);
    install(&world, "v2.sbb", &format!("--window {window} --force")).expect(0);
}

#[test]
fn holds_defer_until_they_end() {
    let world = World::running();
    world.run("hold --disk disk.img --until 2040-01-01").expect(0);
    install(&world, "v2.sbb", "").refused(3, "hold");
    world.run("unhold --disk disk.img").expect(0);
    install(&world, "v2.sbb", "").expect(0);
}

#[test]
fn policy_check_shows_every_rule_and_changes_nothing() {
    let world = World::running();
    world.pack(2, "--kernel kernel --channel latest/beta --min-from 1.5.0 --rollout 0").expect(0);
    let before = world.read("disk.img");
    let value = check(&world, "v2.sbb", "").expect(4).json();
    assert_eq!(value["verdict"], "refused", "{value}");
    let text = world
        .run(&format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof"))
        .expect(4)
        .stdout;
    for rule in [
        "channel",
        "version",
        "min-from",
        "failed before",
        "expiry",
        "approval",
        "hold",
        "rollout",
        "window",
        "verdict",
    ] {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    assert!(text.contains("1.5.0") && text.contains("1.0.0"), "{text}");
    check(&world, "v3.sbb", "").expect(0);
    check(&world, "v1.sbb", "").expect(5);
    assert!(world.read("disk.img") == before);
}

#[test]
fn a_statement_that_was_named_and_is_damaged_refuses_the_bundle() {
    let world = World::running();
    world.write("named.sbs", b"garbage");
    let before = world.read("disk.img");
    install(&world, "v2.sbb", "--statement named.sbs").refused(4, "statement");
    assert!(world.read("disk.img") == before);
    install(&world, "v2.sbb", "").expect(0);
}
