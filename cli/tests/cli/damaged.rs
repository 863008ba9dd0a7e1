//! Disks that an attacker has damaged, through the binary: commands and messages lead to a way out.
//!
//! The simulator checks many more of them in process. These tests check that the tool has a command
//! for each of those calls.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stillboot::boot::Boot;
use stillboot::check;
use stillboot::format::{Digest, Slot};
use stillboot::verify::{Device, SoftSha256};
use stillboot_linux::disk::{self, Access, Disk};
use stillboot_release::keys::{Roots, id_of};
use stillboot_sim::disk::Random;
use stillboot_sim::hostile::damage::{Regions, strike};

use crate::support::{TRUST, World};

/// How many states; `STILLBOOT_DAMAGED_STATES` changes it.
const STATES: u64 = 500;
const THREADS: u64 = 2;
/// Most rounds of "boot, do what the messages say".
const ROUNDS_MAX: usize = 6;

/// A device's past, and what can be damaged.
struct Past {
    world: World,
    moments: Vec<Vec<u8>>,
    regions: Regions,
    digests: Vec<Digest>,
}

impl Past {
    fn new() -> Self {
        let world = World::new();
        for number in 1..=5 {
            world.write("kernel", crate::support::noise(number, 9000));
            world.pack(number, "--kernel kernel --cmdline panic=1").expect(0);
        }
        let recovery = "--recovery --key keys/recovery-1.pem";
        world.write("kernel", crate::support::noise(9, 9000));
        world
            .run(&format!(
                "pack {TRUST} --version 9.0.0 --sequence 9 --keyset keys/keyset.sbk --kernel kernel \
                 --cmdline panic=1 --out recovery.sbb {recovery}"
            ))
            .expect(0);
        let mut moments = Vec::new();
        let mut digests = Vec::new();
        let mut note = |world: &World| moments.push(world.read("disk.img"));
        world.run("disk create disk.img --slot-size 1M --recovery-size 1M").expect(0);
        note(&world);
        let install = format!("install --disk disk.img {TRUST} --json");
        let value = world.run(&format!("{install} v1.sbb --offline")).expect(0).json();
        digests.push(digest(&value));
        note(&world);
        world.boots("1.0.0");
        note(&world);
        world.run("mark-good --disk disk.img --proof proof").expect(0);
        world.run(&format!("{install} recovery.sbb --slot recovery --offline")).expect(0);
        note(&world);
        for number in 2..=3 {
            world.boot().expect(0);
            let value =
                world.run(&format!("{install} v{number}.sbb --proof proof")).expect(0).json();
            digests.push(digest(&value));
            note(&world);
            world.boots(&format!("{number}.0.0"));
            note(&world);
            world.run("mark-good --disk disk.img --proof proof").expect(0);
            note(&world);
        }
        let disk = Disk::open_all(&[world.path("disk.img")], Access::Look).unwrap();
        let slots = disk.plan.slots();
        let layout = disk.plan.layout(&slots).unwrap();
        let places: Vec<_> = layout.places().iter().map(|place| place.offset).collect();
        let regions = Regions::of(&layout, &places);
        Self { world, moments, regions, digests }
    }
}

fn digest(value: &Value) -> Digest {
    let text = value["digest"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// Slots that verify in full, as the core finds them.
fn whole(past: &Past, image: &Path) -> Vec<Slot> {
    let roots = Roots::read(&past.world.path("keys/roots.toml")).unwrap();
    let device = Device::new(roots.trust(), id_of(&roots.product), id_of("m1"));
    let Disk { devices, plan, .. } = &mut Disk::open_all(&[image], Access::Look).unwrap();
    let slots = plan.slots();
    let layout = plan.layout(&slots).unwrap();
    let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&layout)];
    let mut verifies = |slot: Slot| {
        let lent = &mut disk::lent(devices);
        check::slot::<SoftSha256>(&device, &layout, slot, lent, &mut |_| {}, &mut buffer).is_ok()
    };
    [Slot::A, Slot::B, Slot::Recovery].into_iter().filter(|slot| verifies(*slot)).collect()
}

/// One state: damage, commands, and the way out. Returns whether nothing whole was left.
fn state(past: &Past, seed: u64) -> Result<bool, String> {
    let mut random = Random::new(seed);
    let number = random.below(past.moments.len() as u64) as usize;
    let mut bytes = past.moments[number].clone();
    let others: Vec<_> = past.moments.iter().collect();
    let mut told = vec![format!("moment {number}")];
    for _ in 0..1 + random.below(3) {
        told.push(strike(&mut random, &mut bytes, &others, &past.regions, &past.digests));
    }
    let name = format!("damaged-{seed}.img");
    let proof = format!("proof-{seed}");
    let image = past.world.path(&name);
    fs::write(&image, bytes).unwrap();
    let _ = fs::remove_file(past.world.path(&proof));
    let on = format!("--disk {name} --json");

    let mut run = |command: String| {
        let run = past.world.run(&command);
        told.push(format!("{command}: exit {} {}{}", run.code, run.stdout.trim(), run.stderr));
        // Every answer is one of the documented codes, and says something.
        assert!((0..=5).contains(&run.code) && !run.stdout.is_empty(), "{told:#?}");
        (run.code, serde_json::from_str::<Value>(&run.stdout).unwrap())
    };
    let slot = ["a", "b", "recovery"][random.below(3) as usize];
    for _ in 0..random.below(4) {
        let _ = run(match random.below(9) {
            0 | 1 => format!("boot {on} {TRUST} --proof-out {proof}"),
            2 => format!("mark-good {on} --proof {proof}"),
            3 => format!("rollback {on} --slot {slot}"),
            4 => format!("mark-bad {slot} {on}"),
            5 => format!("hold {slot} {on}"),
            6 => format!("cancel {on}"),
            7 => format!("status {on}"),
            _ => format!("install v4.sbb {on} {TRUST} --offline --slot {slot}"),
        });
    }

    let mut more = String::new();
    let mut is_dark = false;
    for _ in 0..ROUNDS_MAX {
        let able = whole(past, &image);
        let (mut code, mut started) = run(format!("boot {on} {TRUST} --proof-out {proof}"));
        if code != 0 && started["error"].as_str().is_some_and(|text| text.contains("--even-if-n")) {
            let anyway = "--even-if-nothing-verifies";
            (code, started) = run(format!("boot {on} {TRUST} --proof-out {proof} {anyway}"));
        }
        if code != 0 && !able.is_empty() {
            return Err(format!("{able:?} are whole and nothing starts: {told:#?}"));
        }
        is_dark |= code != 0;
        let (_, status) = run(format!("status {on}"));
        if status["choice"] == "newer" {
            let versions = status["copies"].as_array().unwrap().iter();
            let version = versions.filter_map(|copy| copy["version"].as_u64()).max().unwrap();
            run(format!("record discard --version {version} --offline {on}"));
            continue;
        }
        let runs = (code == 0).then(|| started["slot"].as_str().unwrap().to_owned());
        if runs.as_deref().is_some_and(|slot| slot != "recovery") {
            run(format!("mark-good {on} --proof {proof}"));
        }
        for slot in ["a", "b", "recovery"] {
            run(format!("unhold {slot} {on}"));
        }
        run(format!("unhold {on}"));
        let what = match runs {
            Some(_) => format!("--proof {proof}"),
            None => "--offline".into(),
        };
        let (code, value) = run(format!("install v5.sbb {on} {TRUST} {what} --arch any{more}"));
        if code == 0 {
            let slot = &value["slot"];
            for attempt in [1, 0] {
                let (_, started) = run(format!("boot {on} {TRUST} --proof-out {proof}"));
                if started["slot"] != *slot || started["attempt"] != attempt {
                    return Err(format!("not the update starts: {told:#?}"));
                }
                run(format!("mark-good {on} --proof {proof}"));
            }
            fs::remove_file(&image).unwrap();
            return Ok(is_dark);
        }
        match value["kind"].as_str().unwrap() {
            "unverified" => more = format!(" --slot {}", value["slot"].as_str().unwrap()),
            "data-epoch" => more += " --allow-new-epoch",
            "failed-before" => {
                run(format!("forget {} {on}", past.digest_of_the_next()));
            }
            _ => {}
        }
    }
    Err(format!("the update does not get in: {told:#?}"))
}

impl Past {
    /// What is installed at the end.
    fn digest_of_the_next(&self) -> String {
        let value = self.world.run("inspect v5.sbb --json").expect(0).json();
        value["digest"].as_str().unwrap().to_owned()
    }
}

#[test]
#[ignore = "runs the tool some five thousand times"]
fn every_damaged_disk_has_a_way_out_by_commands() {
    let past = Past::new();
    let states = std::env::var("STILLBOOT_DAMAGED_STATES").ok();
    let states = states.and_then(|text| text.parse().ok()).unwrap_or(STATES);
    let part = |first: u64| {
        let mut failures = Vec::new();
        let mut dark = 0;
        for seed in (first..states).step_by(THREADS as usize) {
            match state(&past, seed) {
                Ok(is_dark) => dark += u64::from(is_dark),
                Err(how) => failures.push(format!("seed {seed}: {how}")),
            }
        }
        (failures, dark)
    };
    let mut failures = Vec::new();
    let mut dark = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || part(first))).collect();
        for worker in workers {
            let (failed, found) = worker.join().expect("its own message");
            failures.extend(failed);
            dark += found;
        }
    });
    println!("{states} damaged disks, nothing whole on {dark} of them");
    assert!(failures.is_empty(), "{} of {states}:\n{}", failures.len(), failures.join("\n"));
    assert!(dark > 0 && dark < states / 2, "{dark} of {states}");
}
