//! Disks with a damaged partition table, slots on two disks, and files that are no disk at all.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use stillboot::format::crc32;

use crate::support::{TRUST, World, program};

/// Overwrites bytes of a file in the world.
fn damage(world: &World, name: &str, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(world.path(name)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

#[test]
fn every_command_says_that_it_uses_a_backup_table_and_none_writes_by_it_unasked() {
    let world = World::running();
    let whole = world.read("disk.img");
    damage(&world, "disk.img", 600, &[1]);
    let damaged = world.read("disk.img");
    for command in [
        "status --disk disk.img",
        "disk show disk.img",
        &format!("next --disk disk.img {TRUST}"),
        &format!("scrub --disk disk.img {TRUST}"),
        &format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof"),
    ] {
        let run = world.run(command);
        assert!(run.stderr.contains("its backup is used"), "{command}: {run:?}");
    }
    let writing = [
        "mark-good --disk disk.img --proof proof",
        "mark-bad b --disk disk.img",
        "rollback --disk disk.img --proof proof",
        "hold --disk disk.img --until forever",
        "unhold --disk disk.img",
        "cancel --disk disk.img",
        "forget 0000 --disk disk.img",
        &format!("boot --disk disk.img {TRUST}"),
        &format!("install v2.sbb --disk disk.img {TRUST} --proof proof"),
        &format!("resume v2.sbb --disk disk.img {TRUST} --proof proof"),
    ];
    for command in writing {
        let run = world.run(&format!("{command} --json"));
        if run.code == 2 {
            panic!("{command} is no command: {run:?}");
        }
        let run = run.refused(1, "table");
        for part in ["disk repair", "--backup-table"] {
            assert!(run.stdout.contains(part), "{command}: {run:?}");
        }
    }
    assert!(world.read("disk.img") == damaged, "nothing was written");
    let run = world.run(&format!("boot --disk disk.img {TRUST} --backup-table")).expect(0);
    assert!(run.stderr.contains("its backup is used"), "{run:?}");

    world.run("disk repair disk.img").expect(0);
    assert!(world.read("disk.img")[..1 << 20] == whole[..1 << 20]);
    world.run("disk repair disk.img --json").refused(5, "already");
    let run = world.run("status --disk disk.img").expect(0);
    assert_eq!(run.stderr, "");
}

#[test]
fn show_names_a_backup_that_is_missing_and_repair_moves_it_to_the_new_end() {
    let world = World::running();
    let file = OpenOptions::new().write(true).open(world.path("disk.img")).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len + (8 << 20)).unwrap();
    let run = world.run("disk show disk.img --json").expect(0);
    assert!(run.stderr.contains("disk repair"), "{run:?}");
    // Everything that opens the disk says so.
    for command in ["status --disk disk.img", "hold b --disk disk.img", "unhold b --disk disk.img"]
    {
        let run = world.run(command).expect(0);
        assert!(run.stderr.contains("backup of the partition table"), "{command}: {run:?}");
    }
    let before = world.run("status --disk disk.img --json").expect(0).json();
    assert!(run.json()["backup_fault"].is_string(), "{run:?}");
    let run = world.run("disk repair disk.img --json").expect(0);
    assert!(run.json()["done"].as_array().is_some_and(|done| !done.is_empty()), "{run:?}");
    let run = world.run("disk show disk.img --json").expect(0);
    assert!(run.stderr.is_empty() && run.json()["backup_fault"].is_null(), "{run:?}");
    // The old primary is gone: the one that was moved serves.
    damage(&world, "disk.img", 512, &[0; 92]);
    world.run("disk repair disk.img").expect(0);
    assert_eq!(world.run("status --disk disk.img --json").expect(0).json(), before);

    // A repair that cannot be done names what can, and not itself.
    let whole = world.read("disk.img");
    let len = whole.len() as u64;
    // Primary, backup, and the backup from before the disk grew.
    for at in [512, len - 512, len - (8 << 20) - 512] {
        damage(&world, "disk.img", at + 40, &[9; 8]);
    }
    for command in ["disk repair disk.img", "status --disk disk.img"] {
        let run = world.run(command).expect(1);
        assert!(run.stderr.contains("neither copy"), "{command}: {run:?}");
        assert!(!run.stderr.contains("disk repair"), "{command}: {run:?}");
    }
    world.write("disk.img", &whole);
    // Slot a's partition begins within the record's.
    damage(&world, "disk.img", 1024 + 128 + 32, &2049_u64.to_le_bytes());
    let mut disk = world.read("disk.img");
    let entries = crc32(&disk[1024..1024 + 128 * 128]);
    disk[600..604].copy_from_slice(&entries.to_le_bytes());
    disk[528..532].fill(0);
    let header = crc32(&disk[512..604]);
    disk[528..532].copy_from_slice(&header.to_le_bytes());
    world.write("disk.img", &disk);
    for (command, advice) in
        [("disk repair disk.img", "--from backup"), ("status --disk disk.img", "--from backup")]
    {
        let run = world.run(command).expect(1);
        assert!(run.stderr.contains("overlaps partition"), "{command}: {run:?}");
        assert!(run.stderr.contains(advice), "{command}: {run:?}");
    }
    // Without a backup only the user knows.
    let odd = world.read("disk.img");
    for at in [len - 512, len - (8 << 20) - 512] {
        damage(&world, "disk.img", at + 40, &[9; 8]);
    }
    let run = world.run("status --disk disk.img").expect(1);
    assert!(
        run.stderr.contains("correct the partitions") && !run.stderr.contains("--from"),
        "{run:?}"
    );
    world.write("disk.img", &odd);
    world.run("disk repair disk.img --from backup").expect(0);
    world.run("status --disk disk.img").expect(0);
    world.write("disk.img", &whole);

    damage(&world, "disk.img", 446, &[0, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    let run = world.run("disk repair disk.img --json").refused(1, "table");
    assert!(run.stdout.contains("another use"), "{run:?}");
    let run = world.run("status --disk disk.img --json").refused(1, "table");
    assert!(run.stdout.contains("DOS partition table"), "{run:?}");
}

/// The primary has lost a partition and is whole: only the user knows that the backup is right.
#[test]
fn of_two_tables_that_differ_none_is_overwritten_unasked() {
    let world = World::running();
    let whole = world.read("disk.img");
    // The record, and slot a.
    for index in [0, 1] {
        let mut disk = whole.clone();
        disk[1024 + index * 128..][..128].fill(0);
        checksums(&mut disk);
        world.write("disk.img", &disk);
        let run = world.run("disk show disk.img --json");
        for part in ["backup", "another one", "--from primary", "--from backup"] {
            let said = [&*run.stdout, &run.stderr].concat();
            assert!(said.contains(part), "{run:?}");
        }
        assert_eq!(run.code == 0, index == 1, "{run:?}");
        let run = world.run("disk repair disk.img --json").refused(1, "table");
        assert!(run.stdout.contains("--from backup"), "{run:?}");
        assert!(world.read("disk.img") == disk, "nothing was written");
        world.run("disk repair disk.img --from backup").expect(0);
        assert!(world.read("disk.img") == whole);
        world.run("disk repair disk.img --json").refused(5, "already");
    }
    // No copy at all: the message advises another command than this one.
    let end = whole.len() as u64 - 512;
    damage(&world, "disk.img", 600, &[1]);
    damage(&world, "disk.img", end + 88, &[1]);
    let run = world.run("disk repair disk.img --json").refused(1, "table");
    assert!(!run.stdout.contains("disk repair"), "{run:?}");
}

/// Every command that opens a disk says the same of a table that is lost, and of a disk that is too
/// small.
#[test]
fn the_way_out_of_a_lost_table_is_named_by_every_command() {
    let world = World::running();
    let whole = world.read("disk.img");
    let len = whole.len() as u64;
    let commands = [
        "status --disk disk.img".to_owned(),
        "disk show disk.img".into(),
        "hold b --disk disk.img".into(),
        format!("next --disk disk.img {TRUST}"),
        format!("scrub --disk disk.img {TRUST}"),
        format!("boot --disk disk.img {TRUST}"),
        format!("install v2.sbb --disk disk.img {TRUST} --proof proof"),
        format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof"),
    ];
    let cut = |len: u64| {
        world.write("disk.img", &whole);
        OpenOptions::new().write(true).open(world.path("disk.img")).unwrap().set_len(len).unwrap();
    };
    let say = |words: &[&str]| {
        for command in &commands {
            let run = world.run(&format!("{command} --json")).refused(1, "table");
            for part in words {
                assert!(run.stdout.contains(part), "{command}: {run:?}");
            }
            assert!(!run.stdout.contains("neither copy"), "{command}: {run:?}");
        }
    };
    // The start of the disk, and an image that became a little shorter.
    damage(&world, "disk.img", 0, &[0; 65536]);
    say(&["the backup at the end of the disk is whole", "`stillboot disk repair`"]);
    world.run("disk repair disk.img").expect(0);
    world.run("status --disk disk.img").expect(0);
    cut(len - 17408);
    say(&["no partition is cut off", "`stillboot disk repair` makes the table fit"]);
    world.run("disk repair disk.img").expect(0);
    world.boots("1.0.0");
    // There is no room for a backup: what is said is enough.
    cut(len - (1 << 20));
    say(&["too small", "no partition is cut off", "truncate -s"]);
    let run = world.run("disk repair disk.img").expect(1);
    let (_, size) = run.stderr.split_once("truncate -s ").unwrap();
    let size: u64 = size.split(' ').next().unwrap().parse().unwrap();
    cut(len - (1 << 20));
    OpenOptions::new().write(true).open(world.path("disk.img")).unwrap().set_len(size).unwrap();
    world.run("disk repair disk.img").expect(0);
    world.boots("1.0.0");
    // A part of the last slot is gone: what is left of the disk boots.
    cut(len - (2 << 20));
    say(&["too small", "copy it again in full", &format!("truncate -s {size}")]);
    OpenOptions::new().write(true).open(world.path("disk.img")).unwrap().set_len(size).unwrap();
    world.run("disk repair disk.img").expect(0);
    world.boots("1.0.0");
}

/// The command named what was missing, listed nothing, and advised to run itself.
#[test]
fn show_lists_the_partitions_of_any_disk_and_does_not_send_to_itself() {
    let world = World::new();
    world.run("disk create disk.img --slot-size 2M").expect(0);
    let whole = world.read("disk.img");
    // Without a record, and without slots.
    for (dropped, missing, left) in [
        (&[0][..], "stillboot-record", &["stillboot-a", "stillboot-b"][..]),
        (&[1, 2], "stillboot-a and stillboot-b", &["stillboot-record"]),
    ] {
        let mut disk = whole.clone();
        dropped.iter().for_each(|index| disk[1024 + index * 128..][..128].fill(0));
        checksums(&mut disk);
        world.write("disk.img", &disk);
        let run = world.run("disk show disk.img").expect(1);
        for name in left {
            assert!(run.stdout.contains(name), "{run:?}");
        }
        assert!(run.stderr.contains(missing), "{run:?}");
        assert!(!run.stderr.contains("disk show"), "{run:?}");
        let value = world.run("disk show disk.img --json").refused(1, "disk").json();
        let shown = value["partitions"].as_array().unwrap().iter().map(|one| &one["name"]);
        assert!(shown.eq(left.iter()), "{value}");
        // Others send to it.
        let run = world.run("status --disk disk.img").expect(1);
        assert!(run.stderr.contains("stillboot disk show"), "{run:?}");
    }
}

/// What is no disk at all is not called empty, and every command says the same.
#[test]
fn a_short_file_is_named_with_its_length() {
    let world = World::new();
    for len in [0, 6, 511, 512, 1535] {
        world.write("short", vec![b'x'; len]);
        let expected = format!("short: expected a disk or the image of one, found {len} bytes");
        for command in [
            "status short",
            "status --disk short",
            "disk show short",
            "disk repair short",
            "hold b --disk short",
            &format!("next --disk short {TRUST}"),
        ] {
            let run = world.run(command).expect(1);
            assert_eq!(run.stderr, format!("stillboot: {expected}\n"), "{command}");
        }
    }
}

/// A disk that is not made leaves nothing, and the size that would do is named.
#[test]
fn create_names_the_least_size_and_leaves_no_file_of_its_own() {
    let world = World::new();
    for name in ["--slot-size", "--recovery-size"] {
        let run = world.run(&format!("disk create d.img {name} 8K --json")).refused(2, "usage");
        let error = run.json()["error"].as_str().unwrap().to_owned();
        let (_, least) = error.split_once(&format!("{name}: expected at least ")).expect(&error);
        let least: u64 = least.split(' ').next().unwrap().parse().unwrap();
        for (size, code) in [(least - 4096, 2), (least, 0)] {
            world.run(&format!("disk create d.img {name} {size}")).expect(code);
            assert_eq!(world.path("d.img").exists(), code == 0);
        }
        let run = world.run("status d.img").expect(0);
        assert_eq!(run.stderr, "", "no slot is left out");
        fs::remove_file(world.path("d.img")).unwrap();
    }
    // A process that may not write so much is not ended without a word.
    for trap in ["", "trap '' XFSZ; "] {
        let run = Command::new("sh")
            .args(["-c", &format!("{trap}ulimit -f 10; exec \"$@\""), "sh"])
            .arg(program())
            .args(["disk", "create", "d.img"])
            .current_dir(world.folder())
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(1), "{run:?}");
        assert!(String::from_utf8_lossy(&run.stderr).contains("File too large"), "{run:?}");
        let names = fs::read_dir(world.folder()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["keys"]);
    }
    world.run("disk create d.img").expect(0);
    let run = world.run("disk create d.img --json").refused(1, "io");
    assert!(run.stdout.contains("File exists"), "{run:?}");
    let run = world.run("disk create none/d.img").expect(1);
    assert!(run.stderr.starts_with("stillboot: cannot create none/d.img: No such"), "{run:?}");
    assert!(!run.stderr.contains(".stillboot-"), "{run:?}");
}

/// A recovery slot on a disk of its own, as a loader with both disks sees it.
#[test]
fn a_slot_on_a_second_disk_is_installed_to_and_booted() {
    let world = World::new();
    world.pack_small(1);
    world.write("kernel", [9; 70_000]);
    let keys = "--keyset keys/keyset.sbk --key keys/recovery-1.pem";
    let what = "--version 5.0.0 --sequence 5 --kernel kernel --recovery --out v5.sbb";
    world.run(&format!("pack {TRUST} {keys} {what}")).expect(0);
    world.run("disk create one.img --slots 2 --slot-size 2M").expect(0);
    world.run("disk create two.img --slots 1 --slot-size 2M --recovery-size 2M").expect(0);
    let both = "--disk one.img --disk two.img";
    world.run(&format!("install v1.sbb {both} {TRUST} --offline")).expect(0);
    let run =
        world.run(&format!("install v5.sbb --disk one.img {TRUST} --offline --slot recovery"));
    assert_eq!(run.code, 4, "the first disk alone has no such slot: {run:?}");
    let before = (world.read("one.img"), world.read("two.img"));
    let run = world.run(&format!("next {both} {TRUST} --json")).expect(0);
    assert_eq!(run.json()["slot"], "a", "{run:?}");
    for out in ["one.img", "two.img"] {
        let run = world.run(&format!("boot {both} {TRUST} --proof-out {out} --json"));
        run.refused(2, "usage");
    }
    assert!(before == (world.read("one.img"), world.read("two.img")), "nothing was written");
    world.run(&format!("boot {both} {TRUST} --proof-out proof")).expect(0);
    world.run(&format!("mark-good {both} --proof proof")).expect(0);
    world.run(&format!("install v5.sbb {both} {TRUST} --proof proof --slot recovery")).expect(0);
    world.run(&format!("scrub {both} {TRUST}")).expect(0);
    // In the middle of slot a's kernel.
    damage(&world, "one.img", (4 << 20) + 200_000, &[0x55; 4096]);
    let run = world.run(&format!("boot {both} {TRUST} --json")).expect(0);
    assert_eq!(run.json()["slot"], "recovery", "{run:?}");
    // Without the second disk the slot is shown as what it is, and the way to it is named.
    let shown = world.run("status --disk one.img").expect(0).stdout;
    let line = shown.lines().find(|line| line.starts_with("slot recovery")).unwrap();
    assert!(line.contains("5.0.0") && line.contains("add --disk"), "{shown}");
    // The way that is named works, however the first disk was given.
    for disks in ["one.img --disk two.img", "one.img two.img", "--disk two.img one.img"] {
        let shown = world.run(&format!("status {disks}")).expect(0).stdout;
        assert_eq!(shown, world.run(&format!("status {both}")).expect(0).stdout, "{disks}");
        assert!(shown.contains("5.0.0") && !shown.contains("add --disk"), "{shown}");
    }
    world.run("status --json").refused(2, "usage");
    let value = world.run("status --disk one.img --json").expect(0).json();
    let slots = value["slots"].as_array().unwrap();
    let present: Vec<_> = slots.iter().map(|slot| (&slot["slot"], &slot["present"])).collect();
    assert!(present.contains(&(&"recovery".into(), &false.into())), "{value}");
    assert!(present.contains(&(&"a".into(), &true.into())), "{value}");
    let run = world.run("hold recovery --disk one.img --json").refused(4, "no-such-slot");
    assert!(run.stdout.contains("second --disk"), "{run:?}");
    world.run(&format!("boot {both} {TRUST} --proof-out proof")).expect(0);
    let install = format!("install v1.sbb --disk one.img {TRUST} --proof proof --json");
    let run = world.run(&install).refused(4, "proof");
    assert!(run.stdout.contains("none of the disks given has"), "{run:?}");
    // A second disk that nothing can be read of leaves out its own slots alone.
    world.write("noise.img", vec![0x5a; 3 << 20]);
    let run = world.run("status --disk one.img --disk noise.img").expect(0);
    assert!(run.stderr.contains("noise.img") && run.stderr.contains("left out"), "{run:?}");
    world.run(&format!("next --disk noise.img --disk one.img {TRUST}")).expect(1);
    // The order says whose record counts, and one disk is not two.
    let run = world.run("status --disk two.img --disk one.img --json").expect(0).json();
    assert_eq!(run["choice"], "factory", "{run}");
    world.run("hold b --disk one.img --disk one.img --json").refused(2, "usage");
    // Each disk has a record of its own to show.
    world.run(&format!("disk show {both} --json")).refused(2, "usage");
    world.run("disk show --disk two.img").expect(0);
}

/// A name that is there twice leaves that slot out, as loaders do, and says so.
#[test]
fn a_doubled_name_leaves_out_its_slot_alone() {
    let world = World::running();
    let mut disk = world.read("disk.img");
    // Slot b's entry, the third, gets the name of the recovery slot, and checksums are made right.
    let name = |index: usize| 1024 + index * 128 + 56..1024 + (index + 1) * 128;
    let recovery = disk[name(3)].to_vec();
    disk[name(2)].copy_from_slice(&recovery);
    checksums(&mut disk);
    world.write("disk.img", &disk);
    let run = world.run("status --disk disk.img").expect(0);
    for part in ["slot recovery left out", "stillboot-recovery", "found twice"] {
        assert!(run.stderr.contains(part), "{run:?}");
    }
    world.boots("1.0.0");
}

/// Makes the checksums of the primary table right.
fn checksums(disk: &mut [u8]) {
    let entries = crc32(&disk[1024..1024 + 128 * 128]);
    disk[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
    disk[528..532].fill(0);
    let header = crc32(&disk[512..604]);
    disk[528..532].copy_from_slice(&header.to_le_bytes());
}

/// What is not a disk, or not a file, is named and never opened: a watchdog would start to count.
#[test]
fn what_is_no_file_is_named_wherever_a_path_is_given() {
    let world = World::running();
    fs::create_dir(world.path("folder")).unwrap();
    let trust = |roots: &str| format!("--roots {roots} --class m1");
    for odd in ["folder", "/dev/null"] {
        for command in [
            format!("status --disk {odd}"),
            format!("disk show {odd}"),
            format!("disk repair {odd}"),
            format!("boot --disk {odd} {TRUST}"),
            format!("install {odd} --disk disk.img {TRUST} --offline"),
            format!("install v2.sbb --disk disk.img {} --offline", trust(odd)),
            format!("install v2.sbb --disk disk.img {TRUST} --proof {odd}"),
            format!("install v2.sbb --disk disk.img {TRUST} --proof proof --policy {odd}"),
            format!("install v2.sbb --disk disk.img {TRUST} --proof proof --statement {odd}"),
            format!("inspect {odd}"),
            format!("verify {odd} --roots keys/roots.toml"),
            format!("verify v1.sbb --roots {odd}"),
            format!("pack --config {odd} --out x.sbb"),
            format!("sign {odd} --key keys/release.pem"),
            format!("sign v1.sbb --key {odd}"),
            format!("keyset show {odd}"),
            format!("dtb show {odd}"),
        ] {
            let started = Instant::now();
            let run = world.run(&command);
            assert!([1, 2].contains(&run.code), "{command}: {run:?}");
            let found = if odd == "folder" { "found a directory" } else { "a character device" };
            assert!(run.stderr.contains(found), "{command}: {run:?}");
            assert!(started.elapsed() < Duration::from_secs(4), "{command}");
        }
    }
    // A pipe that nothing writes to is not waited for for ever.
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().unwrap().success());
    let run = world.run("disk show pipe").expect(1);
    assert!(run.stderr.contains("found a pipe"), "{run:?}");
    let run = world.run("verify v1.sbb --roots pipe").expect(1);
    assert!(run.stderr.contains("nothing writes to"), "{run:?}");
    // Endless, and not text.
    world.write("long", vec![b'x'; (1 << 20) + 1]);
    for command in ["verify v1.sbb --roots long", "sign v1.sbb --key long", "keyset show long"] {
        let run = world.run(command);
        assert!(run.code == 4 && run.stderr.contains("longer than"), "{command}: {run:?}");
    }
}

/// The lock of the first was waited for by the second, and another process was blamed.
#[test]
fn a_disk_that_is_given_twice_is_named() {
    let world = World::running();
    std::os::unix::fs::symlink(world.path("disk.img"), world.path("same.img")).unwrap();
    for command in ["status", "cancel", "hold b"] {
        let run = world.run(&format!("{command} --disk disk.img --disk same.img --json"));
        let error = run.refused(2, "usage").json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("disk.img and same.img are one disk"), "{error}");
    }
}
