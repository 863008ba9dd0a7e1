//! The power fails at random instants of installation and boot, on a real program in QEMU: inside a
//! write or an erase that it tears, or anywhere, by SIGKILL.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use stillboot::format::Slot;
use stillboot_sim::disk::Random;
use stillboot_tests::seed;

use crate::firmware::{self, Behaviour, Firmware, publisher};
use crate::flash::{Flash, factory};
use crate::machine::{Ended, Machine, Settings};

/// Lives in which the power is to fail. Some end before it does, so there may be more, until there
/// were enough power cuts; with [`LIVES_EACH_MAX`] times as many something else is wrong.
const LIVES: usize = 100;

/// How many lives at most for each that is wanted.
const LIVES_EACH_MAX: usize = 5;

/// Lives that are wanted: `STILLBOOT_MCU_LIVES`, or all.
fn lives() -> usize {
    let wanted = std::env::var("STILLBOOT_MCU_LIVES").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(LIVES)
}

/// How often the power fails at most in one life, one power-on after the other.
const CUTS_MAX: u64 = 2;

/// Lives at the same time: more than a machine has cores, because a byte on the serial line takes
/// several turns of QEMU's threads, and on a busy machine each of them waits.
const THREADS: usize = 4;

/// Where lives begin, and how long the rest of them is.
struct Start {
    flash: Vec<u8>,
    /// Writes and erases until the update is confirmed.
    operations: u32,
    /// How long it takes.
    duration: Duration,
}

/// What all lives have in common.
struct CutPlan {
    update: Vec<u8>,
    /// Before the installation of the update, and after it: what comes then is a small part of a
    /// whole life, and no less dangerous.
    starts: [Start; 2],
}

impl CutPlan {
    /// One life without power cuts from each start shows how long it is.
    fn new(firmware: &Firmware) -> Self {
        let update = firmware.release(2, Behaviour::Healthy);
        let factory = factory(&publisher(), &firmware.release(1, Behaviour::Healthy));
        let flash = Flash::new(&factory);
        let mut machine = Machine::start(&firmware.boot, flash.path(), &Settings::default());
        hello(&mut machine).expect("nothing cuts its power");
        install(&mut machine, &update).expect("nothing cuts its power");
        machine.kill();
        let starts = [factory, flash.content()].map(|content| {
            let flash = Flash::new(&content);
            let started = Instant::now();
            let mut machine = Machine::start(&firmware.boot, flash.path(), &Settings::default());
            live(&mut machine, &update).expect("nothing cuts its power");
            let duration = started.elapsed();
            let operations = machine.operations().expect("nothing cuts its power");
            println!("mcu: {operations} writes and erases in {duration:?}");
            Start { flash: content, operations, duration }
        });
        Self { update, starts }
    }
}

/// What was running at the end.
#[derive(Debug)]
struct Running {
    version: String,
    slot: Slot,
}

/// From power-on until the update runs and is confirmed; installs it first if it is not there.
fn live(machine: &mut Machine, update: &[u8]) -> Result<Running, Ended> {
    loop {
        let running = hello(machine)?;
        if running.version != "1.0.0" {
            return Ok(running);
        }
        install(machine, update)?;
        machine.reset();
    }
}

/// From power-on until what runs is confirmed.
fn hello(machine: &mut Machine) -> Result<Running, Ended> {
    let hello = machine.wait_for("app ")?;
    let mut words = hello.split(' ');
    let version = words.next().unwrap_or_default().to_owned();
    let slot = words.nth(1).and_then(Slot::from_name).expect("the application names its slot");
    machine.wait(|line| (line == "confirmed" || line == "good already").then_some(()))?;
    Ok(Running { version, slot })
}

fn install(machine: &mut Machine, update: &[u8]) -> Result<(), Ended> {
    machine.install(update);
    machine.wait(|line| {
        assert!(!line.starts_with("not installed"), "{line}");
        (line.starts_with("installed to") || line.starts_with("resumed to")).then_some(())
    })
}

/// How often the power failed, by where the life began, and how often of these by a kill.
type Cuts = ([u64; 2], u64);

/// One life.
fn life(plan: &CutPlan, seed: u64) -> Cuts {
    let loader = &firmware::silent().boot;
    let mut random = Random::new(seed);
    let number = random.below(2) as usize;
    let start = &plan.starts[number];
    let flash = Flash::new(&start.flash);
    let (mut cuts, mut kills) = ([0; 2], 0);
    let mut is_confirmed = false;
    for _ in 0..=random.below(CUTS_MAX) {
        // Torn inside an operation, or at any instant at all.
        let torn = random.chance(1, 3);
        let settings = Settings {
            cut: if torn { 1 + random.below(start.operations.into()) as u32 } else { 0 },
            seed: random.next_u64(),
            nonce: random.next_u64(),
            ..Settings::default()
        };
        let instant = start.duration.mul_f64(random.below(1000) as f64 / 1000.0);
        let mut machine = Machine::start(loader, flash.path(), &settings);
        let ended = thread::scope(|scope| {
            if !torn {
                let process = machine.process();
                scope.spawn(move || {
                    thread::sleep(instant);
                    // The board is ours and not waited for before this ends.
                    let _ = kill_process(process, Signal::KILL);
                });
            }
            live(&mut machine, &plan.update)
        });
        match ended {
            Ok(_) => is_confirmed = true,
            Err(ended) => {
                assert!(ended.by_power_cut(), "it ended by itself: {ended:#?}");
                cuts[number] += 1;
                kills += u64::from(!torn);
            }
        }
    }
    // Whatever happened, it still boots, and what it boots verifies.
    let settings = Settings { nonce: random.next_u64(), ..Settings::default() };
    let mut machine = Machine::start(loader, flash.path(), &settings);
    let hello = machine.expect("app ");
    let slot = hello.split(' ').nth(2).and_then(Slot::from_name).expect("it names its slot");
    machine.kill();
    // What said that it is confirmed is never lost.
    assert!(!is_confirmed || hello.starts_with("2.0.0 "), "after its confirmation: {hello}");
    flash.verifies(slot).unwrap_or_else(|reason| panic!("slot {slot} does not verify: {reason}"));
    // And the update still comes. In some lives only: it takes as long as all the rest.
    if random.chance(2, 3) {
        return (cuts, kills);
    }
    let mut machine = Machine::start(loader, flash.path(), &settings);
    let running = live(&mut machine, &plan.update).expect("nothing cuts its power");
    assert_eq!(running.version, "2.0.0");
    flash.verifies(running.slot).unwrap_or_else(|reason| panic!("{running:?}: {reason}"));
    (cuts, kills)
}

#[test]
#[ignore = "boots boards in QEMU some hundred times"]
fn power_cuts_at_random_instants_leave_a_board_that_boots() {
    let started = Instant::now();
    let plan = CutPlan::new(firmware::silent());
    let mut random = Random::new(seed("mcu cuts"));
    let lives = lives();
    let seeds: Vec<u64> = (0..LIVES_EACH_MAX * lives).map(|_| random.next_u64()).collect();
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    let is_enough = || sum.lock().expect("no panic holds it").is_enough(lives);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !is_enough()
                    && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let of_this = std::panic::catch_unwind(|| life(&plan, *seed));
                    let Ok(of_this) = of_this else { panic!("the life of seed {seed} went wrong") };
                    sum.lock().expect("no panic holds it").add(of_this);
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no panic held it");
    println!("mcu: {sum:?}, {:?}", started.elapsed());
    assert!(sum.is_enough(lives), "power cuts are too few to show anything: {sum:?}");
}

/// What all lives have come to.
#[derive(Debug, Default)]
struct Sum {
    lives: usize,
    cuts_before_installation: u64,
    cuts_after_it: u64,
    of_them_by_kill: u64,
}

impl Sum {
    fn add(&mut self, ([before, after], kills): Cuts) {
        self.lives += 1;
        self.cuts_before_installation += before;
        self.cuts_after_it += after;
        self.of_them_by_kill += kills;
    }

    /// As many kills of QEMU as lives, at whatever instant, and power cuts before the installation
    /// is done and after it, each in two lives of five.
    fn is_enough(&self, lives: usize) -> bool {
        self.lives >= lives
            && self.of_them_by_kill >= lives as u64
            && self.cuts_before_installation.min(self.cuts_after_it) >= lives as u64 * 2 / 5
    }
}
