//! Commands that an operator can get wrong, and what keeps them from costing a healthy device its
//! slots: commands that only read, locks that readers do not take, ways back from a ban.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TRUST, World, noise, tool};

#[test]
fn next_says_what_would_start_and_writes_nothing() {
    let world = World::running();
    let next = format!("next --disk disk.img {TRUST} --json");
    let before = world.read("disk.img");
    let value = world.run(&next).expect(0).json();
    assert_eq!((&value["slot"], &value["attempt"]), (&"a".into(), &0.into()), "{value}");
    assert!(value.get("proof").is_none(), "{value}");
    assert!(before == world.read("disk.img"));
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    let before = world.read("disk.img");
    for _ in 0..5 {
        let value = world.run(&next).expect(0).json();
        assert_eq!((&value["slot"], &value["attempt"]), (&"b".into(), &1.into()), "{value}");
    }
    assert!(before == world.read("disk.img"), "a try was spent");
    assert_eq!(world.boots("2.0.0")["attempt"], 1);
    // Without a record, too, nothing is made up.
    world.run("disk create empty.img --slot-size 1M").expect(0);
    let empty = world.read("empty.img");
    world.run(&next.replace("disk.img", "empty.img")).refused(1, "nothing-boots");
    assert!(empty == world.read("empty.img"));
}

/// Each of these was found out after the try was spent, or cost the disk or the roots.
#[test]
fn what_a_boot_leaves_is_looked_at_before_it() {
    let world = World::running();
    fs::create_dir(world.path("img")).unwrap();
    fs::create_dir(world.path("links")).unwrap();
    fs::create_dir(world.path("taken")).unwrap();
    fs::create_dir(world.path("taken/kernel")).unwrap();
    fs::create_dir(world.path("new")).unwrap();
    fs::create_dir(world.path("linked")).unwrap();
    world.write("linked/kernel", "");
    symlink("linked/kernel", world.path("to-kernel")).unwrap();
    fs::copy(world.path("disk.img"), world.path("img/kernel")).unwrap();
    symlink("../disk.img", world.path("links/initramfs")).unwrap();
    symlink("../kernel", world.path("links/kernel")).unwrap();
    fs::hard_link(world.path("keys/roots.toml"), world.path("taken/cmdline")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().unwrap().success());
    let before = ["disk.img", "img/kernel", "keys/roots.toml", "kernel"].map(|p| world.read(p));
    for (disk, outputs, code) in [
        ("img/kernel", "--extract img", 2),
        ("disk.img", "--extract links", 2),
        ("disk.img", "--extract taken", 2),
        ("disk.img", "--extract disk.img", 2),
        ("disk.img", "--extract keys/roots.toml/x", 1),
        ("disk.img", "--extract /proc/none", 1),
        ("disk.img", "--proof-out keys/roots.toml", 2),
        ("disk.img", "--proof-out disk.img", 2),
        ("disk.img", "--proof-out /dev/null", 2),
        ("disk.img", "--proof-out -", 2),
        ("disk.img", "--proof-out img", 2),
        ("disk.img", "--proof-out taken/../new/kernel --extract new", 2),
        ("disk.img", "--proof-out new/kernel --extract ./taken/../new", 2),
        ("disk.img", "--proof-out pipe", 2),
        // A link to a file that is there already.
        ("disk.img", "--proof-out to-kernel --extract linked", 2),
        ("disk.img", "--proof-out /nonexistent/y", 1),
    ] {
        let run = world.run(&format!("boot --disk {disk} {TRUST} {outputs} --json"));
        assert_eq!(run.code, code, "{outputs}: {run:?}");
        let now = ["disk.img", "img/kernel", "keys/roots.toml", "kernel"].map(|p| world.read(p));
        assert!(before == now, "{outputs}");
    }
    // An earlier extraction is replaced.
    for _ in 0..2 {
        world.run(&format!("boot --disk disk.img {TRUST} --extract out")).expect(0);
    }
    let names = fs::read_dir(world.path("out")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cmdline", "initramfs", "kernel"]);
    // The proof may go where the components go.
    world.run(&format!("boot --disk disk.img {TRUST} --extract made --proof-out made/p")).expect(0);
    world.run("mark-good --disk disk.img --proof made/p").expect(0);
}

/// The initramfs and command line of an earlier release lay beside the kernel of this one.
#[test]
fn an_extraction_mixes_no_releases() {
    let world = World::running();
    let boot = format!("boot --disk disk.img {TRUST} --extract out --proof-out proof");
    world.run(&boot).expect(0);
    world.write("out/notes", "mine");
    world.write("out/data", "of a role that is not loaded");
    world.write("kernel", noise(7, 9000));
    world.pack(2, "--kernel kernel").expect(0);
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.run(&boot).expect(0);
    let names = fs::read_dir(world.path("out")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["kernel", "notes"]);
    assert!(world.read("out/kernel") == world.read("kernel"));
}

#[test]
fn a_nonce_is_digits_alone() {
    let world = World::running();
    for nonce in ["+5", "-5", "0x5", "", "11112222333344445", "5g"] {
        let boot = format!("boot --disk disk.img {TRUST} --json --nonce={nonce}");
        let run = world.run(&boot).refused(2, "usage");
        assert!(run.stdout.contains("hexadecimal digits"), "{run:?}");
    }
    world.run(&format!("boot --disk disk.img {TRUST} --nonce 1111222233334444")).expect(0);
}

/// Under another product's roots every good slot was condemned, and its release banned.
#[test]
fn a_boot_under_wrong_roots_or_class_writes_nothing_and_says_so() {
    let world = World::running();
    world.run("keygen --out other --product gateway").expect(0);
    let before = world.read("disk.img");
    for (wrong, advice) in [
        ("--roots other/roots.toml --class m1", "--roots"),
        ("--roots keys/roots.toml --class m2", "--class"),
    ] {
        for command in ["boot", "next"] {
            let run = world.run(&format!("{command} --disk disk.img {wrong} --json"));
            let run = run.refused(1, "nothing-boots");
            let error = run.json()["error"].as_str().unwrap().to_owned();
            assert!(
                error.contains(&format!("check {advice}")) || error.contains(advice),
                "{error}"
            );
            assert!(!error.contains("--offline"), "{error}");
            assert!(before == world.read("disk.img"), "{command} {wrong}");
        }
    }
    world.boots("1.0.0");
}

/// A scrub in a loop kept every request out, and an installation every look.
#[test]
fn readers_take_no_lock_and_writers_wait_for_theirs() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    let lock = File::open(world.path("disk.img")).unwrap();
    lock.lock().unwrap();
    // As during an installation.
    for reader in [
        "status --disk disk.img",
        "status disk.img",
        "disk show disk.img",
        "disk show --disk disk.img",
        &format!("next --disk disk.img {TRUST}"),
        &format!("scrub --disk disk.img {TRUST}"),
        &format!("policy check v3.sbb --disk disk.img {TRUST} --proof proof"),
    ] {
        let run = world.run(&format!("{reader} --json"));
        assert!(!run.stdout.contains("locked"), "{reader}: {run:?}");
        assert!(matches!(run.code, 0 | 3), "{reader}: {run:?}");
    }
    world.run("hold b --disk disk.img --json").refused(3, "locked");
    let start = Instant::now();
    world.run("hold b --disk disk.img --wait 1 --json").refused(3, "locked");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let start = Instant::now();
    world.run("disk repair disk.img --wait 1 --json").refused(3, "locked");
    assert!(start.elapsed() >= Duration::from_secs(1));
    // `--wait` is said only where there is that option.
    world.run(&format!("policy check v3.sbb --disk disk.img {TRUST} --wait 1")).expect(2);
    // Given free while it waits.
    let mut waiting = tool(world.folder(), "hold b --disk disk.img --wait 60");
    let child = waiting.stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(world.slot("b")["held"], true);
    // And a reader that holds the file open, as a scrub does, keeps no writer out.
    let lock = File::open(world.path("disk.img")).unwrap();
    world.run("unhold b --disk disk.img").expect(0);
    drop(lock);
    world.run("disk repair --disk disk.img --json").refused(5, "already");
}

/// Of what ran when it was called off, `mark-good` and `install` said that the proof was wrong.
#[test]
fn what_runs_and_was_called_off_says_so() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    world.run("cancel --disk disk.img").expect(0);
    let on_disk = format!("--disk disk.img {TRUST} --proof proof --json");
    for (command, kind) in [
        ("mark-good --disk disk.img --proof proof --json".to_owned(), "confirm"),
        (format!("install v3.sbb {on_disk}"), "proof"),
        (format!("policy check v3.sbb {on_disk}"), "proof"),
    ] {
        let run = world.run(&command).refused(4, kind);
        let error = run.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("called off") && error.contains("restart"), "{command}: {error}");
        assert!(!error.contains("does not match"), "{command}: {error}");
    }
    let status = world.run("status --disk disk.img").expect(0).stdout;
    assert!(status.contains("called off: may be installed again"), "{status}");
    let of_a = status.lines().find(|line| line.starts_with("slot a")).unwrap();
    assert!(of_a.contains("boots next"), "{status}");
    let value = world.run("status --disk disk.img --json").expect(0).json();
    assert_eq!(value["boots"], "a", "{value}");
}

/// The proof of a system that was marked bad was said to be of another disk.
#[test]
fn what_runs_and_was_marked_bad_says_so() {
    for command in ["mark-bad b --disk disk.img", "rollback --disk disk.img --proof proof"] {
        let world = World::running();
        world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
        world.boots("2.0.0");
        world.run(command).expect(0);
        let on_disk = format!("--disk disk.img {TRUST} --proof proof --json");
        for command in ["install", "policy check"] {
            let run = world.run(&format!("{command} v3.sbb {on_disk}")).refused(4, "proof");
            let error = run.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("marked bad") && error.contains("restart"), "{error}");
        }
        // Once is enough: nothing is counted twice.
        world.run("mark-bad b --disk disk.img --json").refused(5, "already");
        let status = world.run("status --disk disk.img --json").expect(0).json();
        assert_eq!(status["failed"][0]["count"], 1, "{status}");
        // What is forgotten can be banned again.
        let digest = status["failed"][0]["digest"].as_str().unwrap().to_owned();
        world.run(&format!("forget {digest} --disk disk.img")).expect(0);
        world.run("mark-bad b --disk disk.img").expect(0);
        world.boots("1.0.0");
        world.run(&format!("install v3.sbb {on_disk}")).expect(0);
    }
}

/// A wiped record was taken for that of a new device, beside two whole slots.
#[test]
fn a_wiped_record_is_not_called_a_new_device() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let record = shown["partitions"].as_array().unwrap();
    let record = record.iter().find(|part| part["name"] == "stillboot-record").unwrap();
    let at = record["offset"].as_u64().unwrap() as usize;
    let len = record["length"].as_u64().unwrap() as usize;
    let mut disk = world.read("disk.img");
    disk[at..at + len].fill(0);
    world.write("disk.img", &disk);
    let on_disk = format!("--disk disk.img {TRUST} --json");
    for command in ["install v3.sbb --offline", "install v3.sbb --proof proof"] {
        world.run(&format!("{command} {on_disk}")).refused(3, "record-lost");
    }
    assert!(world.read("disk.img") == disk, "nothing was written");
    let status = world.run("status --disk disk.img --json").expect(0).json();
    assert_eq!(status["slots"][0]["state"], "unknown", "{status}");
    let scrub = world.run(&format!("scrub {on_disk}")).expect(0).json();
    assert!(scrub["slots"].as_array().unwrap().iter().all(|slot| slot["verifies"] == true));
    world.boots("2.0.0");
    world.run(&format!("install v3.sbb {on_disk} --proof proof")).expect(0);
    world.boots("3.0.0");
}

/// Under other roots a sound slot was called damaged.
#[test]
fn what_runs_is_not_called_damaged_under_wrong_roots() {
    let world = World::running();
    world.run("keygen --out other --product gateway").expect(0);
    world
        .run(
            "pack --roots other/roots.toml --class m1 --version 9.0.0 --sequence 9 --kernel kernel \
             --keyset other/keyset.sbk --key other/release-1.pem --out v9.sbb",
        )
        .expect(0);
    let wrong = "--disk disk.img --roots other/roots.toml --class m1 --proof proof --json";
    for command in ["install", "policy check"] {
        let run = world.run(&format!("{command} v9.sbb {wrong}")).refused(4, "running-unverified");
        let error = run.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("under these roots") && error.contains("check --roots"), "{error}");
        assert!(!error.contains("any more"), "{error}");
    }
}

#[test]
fn a_slot_that_is_not_on_trial_is_named_in_the_words_of_status() {
    let world = World::running();
    world.run("install v2.sbb --disk disk.img --roots keys/roots.toml --class m1 --proof proof");
    let boot = world.boots("2.0.0");
    world.write("second", boot["proof"].as_str().unwrap());
    world.run("mark-bad b --disk disk.img").expect(0);
    let run = world.run("mark-good --disk disk.img --proof second --json").refused(4, "confirm");
    assert!(run.stdout.contains("but bad: marked-bad"), "{run:?}");
}

#[test]
fn confirming_twice_is_well() {
    let world = World::running();
    let mark = "mark-good --disk disk.img --proof proof --json";
    let before = world.read("disk.img");
    let value = world.run(mark).expect(0).json();
    assert_eq!((&value["done"], &value["already"]), (&true.into(), &true.into()), "{value}");
    assert!(before == world.read("disk.img"));
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    assert_eq!(world.run(mark).expect(0).json()["already"], false);
    assert_eq!(world.run(mark).expect(0).json()["already"], true);
}

#[test]
fn what_waits_is_called_off_without_a_ban_and_a_ban_is_lifted() {
    let world = World::running();
    let install = format!("install v2.sbb --disk disk.img {TRUST} --proof proof");
    world.run("cancel --disk disk.img --json").refused(5, "already");
    for call_off in ["cancel --disk disk.img", "rollback --disk disk.img --proof proof"] {
        world.run(&install).expect(0);
        world.run(call_off).expect(0);
        assert_eq!(world.slot("b")["state"], "bad", "{call_off}");
        let status = world.run("status --disk disk.img --json").expect(0).json();
        assert_eq!(status["failed"].as_array().unwrap().len(), 0, "{call_off}: {status}");
        world.boots("1.0.0");
    }
    // A ban, and the way out of it.
    world.run(&install).expect(0);
    world.boots("2.0.0");
    world.run("mark-bad b --disk disk.img").expect(0);
    world.boots("1.0.0");
    world.run(&format!("{install} --json")).refused(4, "failed-before");
    let status = world.run("status --disk disk.img --json").expect(0).json();
    let digest = status["failed"][0]["digest"].as_str().unwrap().to_owned();
    world.run("forget 0000 --disk disk.img --json").refused(5, "already");
    world.run("forget xyz --disk disk.img --json").refused(2, "usage");
    world.run(&format!("forget {} --disk disk.img", &digest[..8])).expect(0);
    world.run(&install).expect(0);
    world.boots("2.0.0");
}

/// A bundle for another processor passed as one for any machine.
#[test]
fn the_processor_of_this_machine_counts_where_it_is_updated() {
    let world = World::running();
    let other = match std::env::consts::ARCH {
        "aarch64" => "x86_64",
        _ => "aarch64",
    };
    world.write("kernel", noise(4, 5000));
    world.pack(4, &format!("--kernel kernel --architecture {other}")).expect(0);
    let install = format!("install v4.sbb --disk disk.img {TRUST} --proof proof --json");
    let check = install.replace("install", "policy check");
    world.run(&install).refused(4, "class");
    world.run(&check).refused(4, "class");
    world.run(&format!("{check} --arch {other}")).expect(0);
    // A disk that is made for another machine.
    world.run("disk create new.img --slot-size 1M").expect(0);
    world.run(&format!("install v4.sbb --disk new.img {TRUST} --offline")).expect(0);
}

#[test]
fn the_restart_is_asked_for_after_the_installation() {
    let world = World::running();
    let on_disk = format!("--disk disk.img {TRUST} --proof proof --json");
    world.run(&format!("install v2.sbb {on_disk}")).expect(0);
    world.write("policy.toml", "reboot_window = \"mon-sun,00:00-24:00\"\n");
    let check = format!("policy check v2.sbb {on_disk} --policy policy.toml");
    let value = world.run(&check).refused(5, "ready").json();
    assert_eq!((&value["reboot"], &value["slot"]), (&"passed".into(), &"b".into()), "{value}");
}

/// The proof was written over the disk that it was of.
#[test]
fn outputs_of_a_boot_are_never_the_disk() {
    let world = World::running();
    std::os::unix::fs::symlink("disk.img", world.path("link")).unwrap();
    let before = world.read("disk.img");
    for out in ["disk.img", "./disk.img", "link"] {
        let boot = format!("boot --disk disk.img {TRUST} --proof-out {out} --json");
        world.run(&boot).refused(2, "usage");
        assert!(before == world.read("disk.img"), "{out}");
    }
}

/// "The slot is incomplete" was said where nothing had been touched, and not where it was.
#[test]
fn an_installation_says_what_it_left() {
    let world = World::running();
    let on_disk = format!("--disk disk.img {TRUST} --proof proof --json");
    let bundle = world.read("v2.sbb");
    let install = |input: &[u8]| {
        let mut parts = std::iter::once(input.to_vec());
        let run = world.run_with_input(&format!("install - {on_disk}"), &mut parts);
        run.refused(1, "source").json()["error"].as_str().unwrap().to_owned()
    };
    for none in [&[][..], &bundle[..100]] {
        let error = install(none);
        assert!(!error.contains("incomplete") && error.contains("resume"), "{error}");
        assert_eq!(world.slot("b")["state"], "empty");
    }
    let error = install(&bundle[..bundle.len() / 2]);
    assert!(error.contains("slot b is incomplete") && error.contains("resume"), "{error}");
    let mut parts = std::iter::once(bundle);
    world.run_with_input(&format!("resume - {on_disk}"), &mut parts).expect(0);
    // A server that cannot be reached is named.
    for (command, more) in [
        ("install", &on_disk[..]),
        ("resume", &on_disk),
        ("verify", "--roots keys/roots.toml --json"),
    ] {
        for scheme in ["http", "HTTPS"] {
            let url = format!("{command} {scheme}://127.0.0.1:1/update.sbb {more} --attempts 1");
            let run = world.run(&url).refused(1, "http");
            assert!(run.stdout.contains("://127.0.0.1:1/update.sbb"), "{run:?}");
        }
    }
    // Nothing that does not install can be resumed.
    let verify = "verify - --roots keys/roots.toml --json";
    let run = world.run_with_input(verify, &mut std::iter::once(vec![1; 5]));
    assert!(!run.stdout.contains("resume"), "{run:?}");
}

/// First the kernel was too large, then, with a larger slot, the initramfs, and then the index.
#[test]
fn all_the_room_that_is_needed_is_said_at_once() {
    let world = World::new();
    world.write("kernel", noise(1, 700_000));
    world.write("root", noise(2, 900_000));
    world.pack(1, "--kernel kernel --initramfs kernel --rootfs root --chunk-size 4K").expect(0);
    let install = |disk: &str| {
        let run = world.run(&format!("install v1.sbb --disk {disk} {TRUST} --offline --json"));
        let error = run.refused(4, "layout").json()["error"].as_str().unwrap().to_owned();
        let check = format!("policy check v1.sbb --disk {disk} {TRUST} --offline --json");
        let checked = world.run(&check).refused(4, "layout").json();
        assert_eq!(checked["error"], error);
        error
    };
    world.run("disk create small.img --slot-size 512K --slots 1").expect(0);
    let error = install("small.img");
    let numbers = error.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let needed: u64 = numbers.max().unwrap();
    assert!(needed > 2_300_000, "{error}");
    // So much is enough, and one block less is not.
    for (file, size) in [("less.img", needed - 4096), ("enough.img", needed)] {
        world.run(&format!("disk create {file} --slot-size {size} --slots 1")).expect(0);
    }
    install("less.img");
    world.run(&format!("install v1.sbb --disk enough.img {TRUST} --offline")).expect(0);
    // Two regions, each with its own number.
    world.run("disk create two.img --slot-size 64K --rootfs-size 64K --slots 1").expect(0);
    let error = install("two.img");
    assert!(
        error.contains("for its rootfs") && error.matches("are needed").count() == 2,
        "{error}"
    );
}
