//! The main promise: an install killed at any moment leaves a disk that boots the old version until
//! the install is complete, and the new one after.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{TRUST, World, noise, number, tool};

/// A device that runs version 1, and a version 2 of that many MiB. The disk is kept as `base.img`.
fn device(seed: u64, mib: u64) -> World {
    let world = World::new();
    world.pack_small(1);
    world.write("kernel", noise(seed, 8 << 20));
    world.write("rootfs", noise(seed ^ 1, ((mib - 8) << 20) as usize - 12_345));
    world.pack(2, "--kernel kernel --rootfs rootfs").expect(0);
    world.run(&format!("disk create disk.img --slot-size {}M", mib + 4)).expect(0);
    world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline")).expect(0);
    world.boots("1.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    world.boots("1.0.0");
    fs::copy(world.path("disk.img"), world.path("base.img")).unwrap();
    fs::copy(world.path("proof"), world.path("old-proof")).unwrap();
    world
}

/// `STILLBOOT_SEED` replays a run as far as the machine's timing allows; `STILLBOOT_KILLS` and
/// `STILLBOOT_KILL_MIB` change how often and how much.
#[test]
fn killed_installs_boot_old_until_complete_and_new_after() {
    let seed = number("STILLBOOT_SEED", 1);
    let kills = number("STILLBOOT_KILLS", 50);
    let mib = number("STILLBOOT_KILL_MIB", 100).max(10);
    println!("seed {seed}, {kills} kills, {mib} MiB: replay with STILLBOOT_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let world = device(seed, mib);
    let install = format!("v2.sbb --disk disk.img {TRUST} --proof old-proof");
    // How long it takes without an interruption: the range that kills are drawn from.
    let mut whole = [Duration::ZERO; 2];
    for (at, more) in ["", "--stream"].into_iter().enumerate() {
        fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
        let began = Instant::now();
        world.run(&format!("install {install} {more}")).expect(0);
        whole[at] = began.elapsed();
    }

    let (mut killed, mut rounds) = (0, 0);
    // How often each kind of moment was hit, so that a run that proves nothing is seen.
    let (mut untouched, mut partial, mut switched, mut too_late) = (0, 0, 0, 0);
    while killed < kills {
        rounds += 1;
        fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
        let mut command = "install";
        loop {
            let stream = usize::from(random.random_bool(0.7));
            let more = ["", "--stream"][stream];
            let mut child = tool(world.folder(), &format!("{command} {install} {more} --quiet"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole[stream].mul_f64(random.random_range(0.0..1.05)));
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            killed += 1;
            let note = format!("seed {seed}, round {rounds}, kill {killed}, {command} {more}");

            let state = world.slot("b")["state"].as_str().unwrap().to_owned();
            let booted = world.boot().expect(0).json();
            if booted["version"] == "2.0.0" {
                // Only a complete install may be switched to.
                assert_eq!(state, "ready", "{note}");
                world.run(&format!("scrub --disk disk.img {TRUST}")).expect(0);
                if ended.success() {
                    too_late += 1
                } else {
                    switched += 1
                }
                world.run(&format!("resume {install}")).expect(5);
                break;
            }
            assert_eq!(booted["version"], "1.0.0", "{note}");
            assert!(!ended.success(), "{note}: done, and not booted");
            assert!(matches!(state.as_str(), "empty" | "writing"), "{note}: {state}");
            if state == "empty" {
                untouched += 1
            } else {
                partial += 1
            }
            if killed < kills && random.random_bool(0.5) {
                // Killed again while it resumes.
                command = if state == "empty" { "install" } else { "resume" };
                continue;
            }
            let resumed = world.run(&format!("resume {install} --json"));
            if resumed.code == 5 {
                // It was killed before there was anything to go on with.
                world.run(&format!("install {install}")).expect(0);
            } else {
                assert_eq!(resumed.expect(0).json()["resumed"], true, "{note}");
            }
            break;
        }
        let extract =
            format!("boot --disk disk.img {TRUST} --proof-out proof --extract out --json");
        let booted = world.run(&format!("{extract} --check-late")).expect(0).json();
        assert_eq!(booted["version"], "2.0.0", "seed {seed}, round {rounds}");
        assert!(world.read("out/kernel") == world.read("kernel"));
        world.run("mark-good --disk disk.img --proof proof").expect(0);
        world.boots("2.0.0");
    }
    println!(
        "{killed} kills in {rounds} rounds: {untouched} before the first write, {partial} while \
         writing, {switched} after the switch, {too_late} too late"
    );
    assert!(kills < 50 || partial >= 5, "too few kills hit the write: {partial} of {killed}");
}
