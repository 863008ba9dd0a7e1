//! The operator's wishes: flags, policy files, holds, and `policy check`.

use std::time::{SystemTime, UNIX_EPOCH};

use std::process::Command;

use crate::support::{Run, TRUST, World, program};

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
    // A bound is named where it is passed.
    let run = world.run("hold --disk disk.img --until 9999-12-31 --json").refused(2, "usage");
    assert!(run.stdout.contains("9999-12-30T22:00:00Z"), "{run:?}");
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

/// A link to the policy file that led nowhere switched the whole policy off.
#[test]
fn a_policy_file_that_cannot_be_read_is_not_none() {
    let world = World::running();
    world.write("p.toml", "approval_required = true\n");
    // A /etc of its own, with what this says of the file.
    let install = |setup: &str| {
        let script = format!(
            "mount -t tmpfs none /etc && {setup} && exec {} install v2.sbb --disk disk.img {TRUST} \
             --proof proof --arch any --json",
            program().display()
        );
        let mut shell = Command::new("unshare");
        shell.args(["-rm", "sh", "-c", &script]).current_dir(world.folder());
        Run::new(shell.output().unwrap())
    };
    let mut mount = Command::new("unshare");
    mount.args(["-rm", "mount", "-t", "tmpfs", "none", "/etc"]);
    let is_allowed = mount.status().is_ok_and(|status| status.success());
    assert!(is_allowed, "expected a system that allows `unshare -rm`, or a run as root");
    let before = world.read("disk.img");
    install("cp p.toml /etc/stillboot.toml").refused(3, "not-approved");
    for setup in [
        "ln -s nowhere /etc/stillboot.toml",
        "ln -s stillboot.toml /etc/stillboot.toml",
        "mkdir /etc/stillboot.toml",
        "touch /etc/f && ln -s f/p.toml /etc/stillboot.toml",
    ] {
        let run = install(setup).refused(1, "io");
        assert!(run.stdout.contains("/etc/stillboot.toml"), "{setup}: {run:?}");
        assert!(world.read("disk.img") == before, "{setup}");
    }
    install("true").expect(0);
}

/// The last of two counted, and an empty one switched the rule off.
#[test]
fn a_repeated_key_is_an_error_and_a_byte_order_mark_is_none() {
    let world = World::running();
    world.pack(2, "--kernel kernel --channel latest/beta").expect(0);
    for (name, text, key) in [
        ("a.conf", "channel=beta\nchannel=\n", "channel"),
        (
            "a.conf",
            "maintenance_window=00:00-24:00\nmaintenance_window = 1\n",
            "maintenance_window",
        ),
        ("b.conf", "maintenance_window=\nmaintenance_window=\n", "maintenance_window"),
        ("a.toml", "channel = \"edge\"\nchannel = \"beta\"\n", "channel"),
        ("a.toml", "apply-window = \"\"\napply_window = \"\"\n", "apply_window"),
    ] {
        world.write(name, text);
        let run = install(&world, "v2.sbb", &format!("--policy {name}")).refused(2, "policy");
        assert!(run.stdout.contains(&format!("`{key}`")), "{text}: {run:?}");
    }
    for (name, text) in [("b.conf", "channel=beta\n"), ("b.toml", "channel = \"latest/beta\"\n")] {
        world.write(name, format!("\u{feff}{text}"));
        let run = check(&world, "v2.sbb", &format!("--policy {name}")).expect(0);
        assert!(!run.stderr.contains("unknown key"), "{run:?}");
    }
}

/// Errors of files of settings named the types of the program.
#[test]
fn mistakes_in_files_of_settings_are_told_in_words() {
    let world = World::running();
    let told = |run: Run, code: i32, parts: &[&str]| {
        let error = run.expect(code).json()["error"].as_str().unwrap().to_owned();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        for word in ["u64", "u32", "map", "invalid type", "field", "sequence, expected"] {
            assert!(!error.contains(word), "{word} is in {error}");
        }
    };
    for (text, parts) in [
        ("not-after = 2030-01-31", &["not-after", "in quotes", "2030-01-31"][..]),
        ("\nsequence = \"9\"", &["line 2", "sequence", "whole number", "9"]),
        ("version = 1.2", &["version", "in quotes", "1.2"]),
        ("security = 1", &["security", "true or false"]),
        ("key = \"k\"", &["key", "a list", "\"k\""]),
        ("kernels = \"k\"", &["unknown key `kernels`"]),
        ("[[component]]\nfile = \"f\"", &["the key `role` is missing"]),
    ] {
        world.write("pack.toml", text);
        told(world.run("pack --config pack.toml --out v.sbb --json"), 2, parts);
    }
    for (text, parts) in [
        ("postpone_max_days = -1", &["postpone_max_days", "0 to 4294967295", "-1"][..]),
        ("channel = 5", &["channel", "text in quotes", "5"]),
        ("chanel = \"edge\"", &["unknown key `chanel`"]),
    ] {
        world.write("p.toml", text);
        told(install(&world, "v2.sbb", "--policy p.toml"), 2, parts);
    }
    let promote = "promote v2.sbb --roots keys/roots.toml --policy r.toml --to latest/stable \
                   --key keys/release-1.pem --out p.sbs --json";
    for (text, part) in [("", "`promote` is missing"), ("[promote.beta]\nsign_offs = 1", "a list")]
    {
        world.write("r.toml", text);
        told(world.run(promote), 2, &[part]);
    }
    let sequence = "pack --sequence 99999999999999999999 --out v.sbb --json";
    told(world.run(sequence), 2, &["--sequence", "18446744073709551615", "99999999999999999999"]);
    world.write("roots.toml", "");
    told(world.run("verify v2.sbb --roots roots.toml --json"), 1, &["`product` is missing"]);
}
