//! The whole life of updates, command by command.

use crate::support::{TRUST, World, noise};

#[test]
fn update_is_tried_and_kept() {
    let world = World::running();
    let installed = world
        .run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof --json"))
        .expect(0)
        .json();
    assert_eq!((&installed["slot"], &installed["version"]), (&"b".into(), &"2.0.0".into()));
    assert_eq!(world.slot("b")["state"], "ready");
    let booted = world.boots("2.0.0");
    assert_eq!((&booted["slot"], &booted["attempt"]), (&"b".into(), &1.into()));
    assert_eq!(booted["proof"], String::from_utf8(world.read("proof")).unwrap().trim());
    let shown = world.run("disk show disk.img --json").expect(0).json();
    assert_eq!(shown["choice"], "current");
    assert_eq!(shown["copies"].as_array().unwrap().len(), 3);
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    assert_eq!(world.slot("b")["state"], "good");
    assert_eq!(world.slot("a")["state"], "good");
    world.boots("2.0.0");
    let scrubbed = world.run(&format!("scrub --disk disk.img {TRUST} --json")).expect(0).json();
    assert_eq!(scrubbed["slots"].as_array().unwrap().len(), 2);
}

#[test]
fn update_that_never_reports_health_is_rolled_back() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof --tries 2")).expect(0);
    world.boots("2.0.0");
    assert_eq!(world.slot("b")["tries_left"], 1);
    world.boots("2.0.0");
    world.boots("1.0.0");
    world.boots("1.0.0");
    assert_eq!(world.slot("b")["state"], "bad");
    assert_eq!(world.slot("b")["fault"], "exhausted");
    // The next version is welcome.
    world.run(&format!("install v3.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("3.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    world.boots("3.0.0");
}

#[test]
fn rollback_goes_back_and_holds_what_it_left() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    let rolled = world.run("rollback --disk disk.img --proof proof --json").expect(0).json();
    assert_eq!(rolled["boots"], "a");
    // Until it has booted, slot a is what the operator wants to have again.
    let next = format!("v3.sbb --disk disk.img {TRUST} --proof proof --json");
    world.run(&format!("install {next}")).refused(3, "rolled-back");
    world.run(&format!("policy check {next}")).refused(3, "rolled-back");
    world.run(&format!("policy check {next} --slot a")).expect(0);
    world.boots("1.0.0");
    assert_eq!(world.slot("b")["held"], true);
    let install = format!("install v3.sbb --disk disk.img {TRUST} --proof proof --json");
    world.run(&install).refused(3, "held");
    world.run("unhold b --disk disk.img").expect(0);
    world.run(&install).expect(0);
    world.run("rollback --disk disk.img --slot b").expect(0);
    world.boots("1.0.0");
    world.run("rollback --disk disk.img --slot a --json").refused(4, "operator");
}

#[test]
fn recovery_boots_when_nothing_else_does() {
    let world = World::running();
    world.write("kernel", noise(7, 50_000));
    world
        .run(&format!(
            "pack {TRUST} --version 0.1.0 --sequence 1 --kernel kernel --recovery \
             --keyset keys/keyset.sbk --key keys/recovery-1.pem --out recovery.sbb"
        ))
        .expect(0);
    let install = format!("--disk disk.img {TRUST} --proof proof --json");
    world.run(&format!("install recovery.sbb {install}")).refused(4, "trust");
    world.run(&format!("install v2.sbb {install} --slot recovery")).refused(4, "trust");
    world.run(&format!("install recovery.sbb {install} --slot recovery")).expect(0);
    world.run("verify recovery.sbb --roots keys/roots.toml --recovery").expect(0);
    world.boots("1.0.0");
    // What is in slot a is gone: the record says good, the bytes say otherwise.
    let table = world.run("disk show disk.img --json").expect(0).json();
    let a = &table["layout"][0]["regions"][0];
    let mut disk = world.read("disk.img");
    let (offset, len) = (a["offset"].as_u64().unwrap(), a["length"].as_u64().unwrap());
    disk[offset as usize + 4096..(offset + len) as usize].fill(0x5a);
    world.write("disk.img", &disk);
    world.run(&format!("scrub --disk disk.img {TRUST} --json")).refused(1, "does-not-verify");
    let booted = world.boots("0.1.0");
    assert_eq!(booted["slot"], "recovery");
}

#[test]
fn loaded_components_are_what_was_packed() {
    let world = World::running();
    world.run(&format!("boot --disk disk.img {TRUST} --extract out --nonce 1f")).expect(0);
    assert_eq!(world.read("out/kernel"), noise(1, 300_000));
    assert_eq!(world.read("out/initramfs"), noise(101, 70_001));
    assert_eq!(world.read("out/cmdline"), b"panic=1");
}

#[test]
fn repair_and_reuse_take_what_is_there() {
    let world = World::running();
    let install = format!("--disk disk.img {TRUST} --proof proof --json");
    let repaired =
        world.run(&format!("install v1.sbb {install} --repair --reuse")).expect(0).json();
    assert_eq!((&repaired["slot"], &repaired["written"]), (&"b".into(), &0.into()));
    world.boots("1.0.0");
}

/// The slot that is written is not read before it is written: its index says what it holds. Where
/// that is wrong, the read-back finds out.
#[test]
fn reuse_goes_by_the_index_of_the_target_and_notices_where_it_is_wrong() {
    let world = World::with_keys("--releases 2");
    let first = noise(3, 1 << 20);
    let mut third = first.clone();
    third[700_000] ^= 1;
    for (version, image) in [(1, &first), (2, &noise(4, 1 << 20)), (3, &third)] {
        world.write("image", image);
        world.pack(version, "--image image --chunk-size 64K").expect(0);
    }
    world.run("disk create disk.img --slot-size 2M").expect(0);
    world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline")).expect(0);
    for version in ["1.0.0", "2.0.0"] {
        world.boots(version);
        world.run("mark-good --disk disk.img --proof proof").expect(0);
        if version == "1.0.0" {
            let install = format!("install v2.sbb --disk disk.img {TRUST} --proof proof");
            world.run(&install).expect(0);
        }
    }
    let disk = world.read("disk.img");
    let start = disk.windows(64).position(|bytes| *bytes == first[..64]).unwrap();
    let install = format!("install v3.sbb --disk disk.img {TRUST} --proof proof --reuse --json");
    // As it should be, with a damaged byte in a chunk that stays, and in the one that is new.
    for (damage, written) in [(None, 1), (Some(200_000), 2), (Some(700_001), 1)] {
        let mut disk = disk.clone();
        if let Some(at) = damage {
            disk[start + at] ^= 0x40;
        }
        world.write("disk.img", &disk);
        let run = world.run(&install).expect(0);
        let is_wrong = damage == Some(200_000);
        assert_eq!(run.stderr.contains("does not read back as its index says"), is_wrong);
        let found = run.json();
        assert_eq!(found["written"], written << 16, "{damage:?}");
        assert_eq!(found["resumed"], false);
        assert_eq!(found["reused"], (16 - written) << 16, "{damage:?}");
        world.run(&format!("scrub --disk disk.img {TRUST}")).expect(0);
        assert!(world.read("disk.img")[start..].starts_with(&third));
        world.run(&format!("boot --disk disk.img {TRUST} --nonce 1f")).expect(0);
    }
    // In other chunks the index of the target says nothing: the slot is looked at.
    world.write("image", &third);
    world.pack(4, "--image image --chunk-size 128K").expect(0);
    world.write("disk.img", &disk);
    let install = install.replace("v3", "v4");
    let found = world.run(&install).expect(0).json();
    assert_eq!((&found["written"], &found["reused"]), (&(2 << 16).into(), &(14 << 16).into()));
}

#[test]
fn bundle_from_a_pipe_is_installed() {
    let world = World::running();
    let bundle = world.read("v2.sbb");
    let arguments = format!("install - --disk disk.img {TRUST} --proof proof");
    let pieces: Vec<_> = bundle.chunks(777).map(<[u8]>::to_vec).collect();
    world.run_with_input(&arguments, &mut pieces.into_iter()).expect(0);
    world.boots("2.0.0");
}

#[test]
fn disks_with_large_blocks_and_split_slots_work() {
    let world = World::new();
    world.write("rootfs", noise(9, 3_000_000));
    world.write("kernel", noise(10, 5000));
    world.pack(1, "--rootfs rootfs --kernel kernel --chunk-size 64K").expect(0);
    world
        .run(
            "disk create disk.img --slots 3 --slot-size 1M --rootfs-size 4M --logical-block 4096 \
             --guid 6c1d5f0a-3e57-4b0c-9a44-71f20cbd9e18",
        )
        .expect(0);
    let again = "disk create again.img --slots 3 --slot-size 1M --rootfs-size 4M \
                 --logical-block 4096 --guid 6c1d5f0a-3e57-4b0c-9a44-71f20cbd9e18";
    world.run(again).expect(0);
    assert!(world.read("disk.img") == world.read("again.img"));
    world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline --slot c")).expect(0);
    let booted = world.boots("1.0.0");
    assert_eq!(booted["slot"], "c");
    world.run(&format!("boot --disk disk.img {TRUST} --check-late")).expect(0);
}
