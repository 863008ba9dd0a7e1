//! The power is cut at random instants of boot, installation and confirmation: QEMU is killed, the
//! disk and the variables stay, and the machine is switched on again.
//!
//! `STILLBOOT_TORTURE_BOOTS` says how often, `STILLBOOT_SEED` where the instants come from.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::thread;
use std::time::Instant;

use rustix::process::{Signal, kill_process};
use stillboot::format::BootProof;
use stillboot_sim::disk::Random;
use stillboot_tests::seed;

use crate::disk::{Image, device_words, record, text, words};
use crate::machine::{Arch, Hardware, Machine, Off, Settings};
use crate::release::{Release, works};
use crate::stories::{confirm, give_roots, install};

/// Power-ons in the test command.
const BOOTS: usize = 20;

/// Where the power was cut, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Firmware, loader, and kernel until its first process.
    Boot,
    Confirmation,
    Installation,
    /// Between those, and while it goes down.
    System,
    /// It was not: the instant came after everything.
    Nothing,
}

/// One power-on: confirm, install the next release, and start anew until the plug is pulled.
/// `phase` is where it stood then.
fn live(machine: &mut Machine, life: &mut Life) -> Result<(), Off> {
    loop {
        life.phase = Phase::Boot;
        let boot = machine.try_ready()?;
        life.phase = Phase::System;
        let proof = BootProof::parse(boot.proof()).expect("a proof");
        life.booted.push((boot.kernel.clone(), proof.slot.to_string(), proof.attempt));
        if proof.attempt > 0 {
            life.phase = Phase::Confirmation;
            let (status, said) = machine.try_run(&confirm())?;
            assert_eq!(status, 0, "{said}");
            life.phase = Phase::System;
        }
        if life.installed {
            return Ok(());
        }
        give_roots(machine)?;
        life.phase = Phase::Installation;
        let (status, said) = machine.try_run(&install(life.arch, life.bundle_len))?;
        // What is on the medium may be what runs already: the power failed after its confirmation.
        assert!(matches!(status, 0 | 5), "status {status}: {said}");
        life.installed = true;
        life.phase = Phase::System;
        machine.send("sync; reboot -f\n");
    }
}

/// What a power-on has come to.
#[derive(Debug)]
struct Life {
    arch: Arch,
    bundle_len: usize,
    installed: bool,
    phase: Phase,
    booted: Vec<(String, String, u8)>,
}

impl Life {
    fn new(arch: Arch, bundle_len: usize) -> Self {
        Self { arch, bundle_len, installed: false, phase: Phase::Boot, booted: Vec::new() }
    }
}

pub fn run(arch: Arch) {
    let boots = env::var("STILLBOOT_TORTURE_BOOTS").ok().and_then(|text| text.parse().ok());
    let boots = boots.unwrap_or(BOOTS);
    let mut random = Random::new(seed(&format!("torture {}", arch.name())));
    let release = |number: u64| Release::new(arch, number, (number % 2) as usize);
    let image = Image::factory(&release(1));
    image.confirm();
    let mut hardware = Hardware::new(arch, &[image.path()]);
    let mut number = 2;
    let mut bundle = release(number).bundle();
    hardware.offer(&bundle);

    // Once in peace, to know how long it takes.
    let begin = Instant::now();
    let mut machine = hardware.start(&Settings::default());
    let mut life = Life::new(arch, bundle.len());
    live(&mut machine, &mut life).expect("nothing cuts its power");
    machine.kill();
    let duration = begin.elapsed();
    println!("torture on {}: a life takes {duration:.1?}", arch.name());

    let mut phases = BTreeMap::<Phase, u32>::new();
    let mut kills = 0;
    let (mut systems, mut spent) = (0, 0);
    for boot in 1..=boots {
        // The release that runs, confirmed, makes room for the next.
        if life.installed {
            number += 1;
            bundle = release(number).bundle();
            hardware.offer(&bundle);
        }
        life = Life::new(arch, bundle.len());
        let instant = duration.mul_f64(random.below(1000) as f64 / 1000.0);
        let before = record(hardware.disk()).sequence;
        let mut machine = hardware.start(&Settings::default());
        let process = machine.process();
        let begin = Instant::now();
        let ended = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(instant);
                // The machine is ours and not waited for before this ends.
                let _ = kill_process(process, Signal::KILL);
            });
            live(&mut machine, &mut life)
        });
        if ended.is_ok() {
            life.phase = Phase::Nothing;
        } else {
            kills += 1;
        }
        *phases.entry(life.phase).or_default() += 1;
        systems += life.booted.len();
        machine.kill();
        let after = record(hardware.disk()).sequence;
        spent += after - before;
        println!(
            "torture on {}: {boot}: cut after {:.1?} in {:?}; {:?}; {} record writes",
            arch.name(),
            begin.elapsed(),
            life.phase,
            life.booted,
            after - before,
        );
        still_boots(arch, &hardware);
    }

    // Whatever happened, it still boots, and the next update comes.
    life = Life::new(arch, bundle.len());
    let mut machine = hardware.start(&Settings::default());
    live(&mut machine, &mut life).expect("nothing cuts its power");
    println!(
        "note: torture on {}: {boots} power-ons, {kills} killed: {phases:?}; {systems} systems \
         came up, the record was written {spent} times; 0 states that do not boot",
        arch.name()
    );
    assert!(kills * 2 >= boots, "{kills} power cuts of {boots} are too few to show anything");
}

/// A power-on on a copy of the disk, by the tool's own loader: it must start something.
fn still_boots(arch: Arch, hardware: &Hardware) {
    let copy = hardware.path("copy.img");
    fs::copy(hardware.disk(), &copy).expect("the temporary folder can be written");
    let device = device_words(arch);
    works().on_host(&[&["boot", "--disk", text(&copy)][..], &words(&device)].concat());
    fs::remove_file(copy).expect("it was just made");
}
