//! The power is cut at random instants of boot, installation and confirmation: QEMU is killed, the
//! disk and the variables stay, and the machine is switched on again.
//!
//! `STILLBOOT_TORTURE_BOOTS` says how often, `STILLBOOT_SEED` where the instants come from. What was
//! cut, what booted and how many tries it took stands in a report, whose place is printed.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stillboot::format::record::SlotEntry;
use stillboot::format::{BootProof, Digest, Record, Slot, SlotState};
use stillboot_sim::disk::Random;
use stillboot_tests::seed;

use crate::disk::{Image, device_words, record, text, words};
use crate::machine::{Arch, Hardware, Machine, Off, Settings};
use crate::release::{Release, works};
use crate::stories::{confirm, give_roots, install};

/// Power-ons in the test command.
const BOOTS: u32 = 20;

/// Where a power-on stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Firmware, loader, and kernel until its first process.
    Boot,
    Confirmation,
    Installation,
    /// Between those, and while it goes down.
    System,
}

/// Where the power is cut, each as often: two of three instants fall into what writes.
const TARGETS: [Phase; 3] = [Phase::Boot, Phase::Confirmation, Phase::Installation];

/// What pulls the plug of a machine after a while, unless it is dropped before: the number of a
/// process that has ended may be another's soon.
#[derive(Debug)]
struct Plug {
    /// Never sent to: that it is gone says enough.
    keep: Sender<()>,
    puller: JoinHandle<bool>,
}

impl Plug {
    fn pull(process: Pid, after: Duration) -> Self {
        let (keep, kept) = mpsc::channel();
        let puller = thread::spawn(move || {
            kept.recv_timeout(after) == Err(RecvTimeoutError::Timeout)
                && kill_process(process, Signal::KILL).is_ok()
        });
        Self { keep, puller }
    }

    /// Leaves it in if it still is. Whether it was pulled.
    fn leave(self) -> bool {
        drop(self.keep);
        self.puller.join().expect("it does not panic")
    }
}

/// What a power-on has come to.
#[derive(Debug)]
struct Life {
    arch: Arch,
    bundle_len: usize,
    /// The plug is pulled so long after this phase has begun.
    cut: Option<(Phase, Duration)>,
    phase: Phase,
    began: Instant,
    /// How long the phases took that ended.
    took: BTreeMap<Phase, Duration>,
    installed: bool,
    plug: Option<Plug>,
    /// The kernel of each system that came up, and its proof.
    systems: Vec<(String, BootProof)>,
}

/// How often each update on trial has been tried, by its digest.
fn attempts(record: &Record) -> BTreeMap<Digest, u8> {
    let slots = [Slot::A, Slot::B].map(|slot| record.body.slot(slot));
    let attempt = |entry: &SlotEntry| match entry.state {
        SlotState::Trying { attempt, .. } => Some((entry.digest, attempt)),
        _ => None,
    };
    slots.into_iter().filter_map(attempt).collect()
}

impl Life {
    fn new(arch: Arch, bundle_len: usize, cut: Option<(Phase, Duration)>) -> Self {
        Self {
            arch,
            bundle_len,
            cut,
            phase: Phase::System,
            began: Instant::now(),
            took: BTreeMap::new(),
            installed: false,
            plug: None,
            systems: Vec::new(),
        }
    }

    fn enter(&mut self, phase: Phase, machine: &Machine) {
        self.took.insert(self.phase, self.began.elapsed());
        (self.phase, self.began) = (phase, Instant::now());
        if let Some((_, instant)) = self.cut.take_if(|(target, _)| *target == phase) {
            self.plug = Some(Plug::pull(machine.process(), instant));
        }
    }

    /// One power-on: confirm, install the next release, restart, and confirm that; until the plug
    /// is pulled.
    fn live(&mut self, machine: &mut Machine) -> Result<(), Off> {
        loop {
            self.enter(Phase::Boot, machine);
            let boot = machine.try_ready()?;
            let proof = BootProof::parse(boot.proof()).expect("a proof");
            self.systems.push((boot.kernel.clone(), proof));
            if proof.attempt > 0 {
                self.enter(Phase::Confirmation, machine);
                let (status, said) = machine.try_run(&confirm())?;
                assert_eq!(status, 0, "{said}");
            }
            self.enter(Phase::System, machine);
            if self.installed {
                return Ok(());
            }
            give_roots(machine)?;
            self.enter(Phase::Installation, machine);
            let (status, said) = machine.try_run(&install(self.arch, self.bundle_len))?;
            // What is on the medium may be what runs: the power failed after its confirmation. Or it
            // was cut on each of its tries, and may come again only after a while.
            assert!(matches!(status, 0 | 3 | 5), "status {status}: {said}");
            self.installed = true;
            self.enter(Phase::System, machine);
            if status != 0 {
                return Ok(());
            }
            machine.send("sync; reboot -f\n");
        }
    }
}

pub fn run(arch: Arch) {
    let boots = env::var("STILLBOOT_TORTURE_BOOTS").ok().and_then(|text| text.parse().ok());
    let boots = boots.unwrap_or(BOOTS);
    let seed = seed(&format!("torture {}", arch.name()));
    let mut random = Random::new(seed);
    let release = |number: u64| Release::new(arch, number, (number % 2) as usize);
    let image = Image::factory(&release(1));
    image.confirm();
    let mut hardware = Hardware::new(arch, &[image.path()]);
    let mut number = 2;
    let mut bundle = release(number).bundle();
    hardware.offer(&bundle);

    // Once in peace, to know how long it takes.
    let mut life = Life::new(arch, bundle.len(), None);
    let mut machine = hardware.start(&Settings::default());
    life.live(&mut machine).expect("nothing cuts its power");
    machine.kill();
    let took = life.took;
    println!("torture on {}: in peace {took:.1?}", arch.name());

    let mut cuts = BTreeMap::<Phase, u32>::new();
    let (mut systems, mut writes, mut tries) = (0, 0, 0);
    let mut lines = String::new();
    let mut installed = true;
    for boot in 1..=boots {
        // What was installed makes room for the next.
        if installed {
            number += 1;
            bundle = release(number).bundle();
            hardware.offer(&bundle);
        }
        let target = TARGETS[random.below(TARGETS.len() as u64) as usize];
        let longest = took.get(&target).copied().unwrap_or_default();
        let instant = longest.mul_f64(random.below(1000) as f64 / 1000.0);
        let mut life = Life::new(arch, bundle.len(), Some((target, instant)));
        let before = record(hardware.disk());
        let mut machine = hardware.start(&Settings::default());
        let ended = life.live(&mut machine);
        let was_pulled = life.plug.take().is_some_and(Plug::leave);
        let was_killed = machine.was_killed();
        installed = life.installed;
        systems += life.systems.len();
        let after = record(hardware.disk());
        let written = after.sequence - before.sequence;
        writes += written;
        let mut tried = attempts(&after);
        for (_, proof) in life.systems.iter().filter(|(_, proof)| proof.attempt > 0) {
            // One that was confirmed is on trial no more.
            tried.entry(proof.digest).or_insert(proof.attempt);
        }
        let earlier = attempts(&before);
        // Fewer than before: the same update was installed again.
        let new = |(digest, count): (&Digest, &u8)| {
            count.checked_sub(earlier.get(digest).copied().unwrap_or(0)).unwrap_or(*count)
        };
        let spent: u8 = tried.iter().map(new).sum();
        tries += u32::from(spent);
        let how = match ended {
            Err(Off) => {
                assert!(was_pulled && was_killed, "QEMU ended by itself in {:?}", life.phase);
                *cuts.entry(life.phase).or_default() += 1;
                format!("cut {:.1?} into {:?}", life.began.elapsed(), life.phase)
            }
            Ok(()) => "not cut".into(),
        };
        let up: Vec<_> = life
            .systems
            .iter()
            .map(|(kernel, proof)| format!("{kernel} in {} (try {})", proof.slot, proof.attempt))
            .collect();
        let up = if up.is_empty() { "nothing".to_owned() } else { up.join(", ") };
        let line =
            format!("{boot}: {how}; up came {up}; {spent} tries, {written} writes of the record");
        println!("torture on {}: {line}", arch.name());
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{line}");
        still_boots(arch, &hardware);
    }

    // Whatever happened, it still boots, and the next update comes.
    let mut life = Life::new(arch, bundle.len(), None);
    let mut machine = hardware.start(&Settings::default());
    life.live(&mut machine).expect("nothing cuts its power");
    let kills: u32 = cuts.values().sum();
    // A state that does not boot has ended this in `still_boots`, or by what was expected of the next
    // power-on.
    let sum = format!(
        "seed {seed}: {boots} power-ons, {kills} cut: {cuts:?}; {systems} systems came up, {tries} \
         tries were spent, the record was written {writes} times; 0 states that do not boot"
    );
    let path = works().folder().join(format!("torture-{}-{seed}-{boots}.txt", arch.name()));
    fs::write(&path, format!("{sum}\n{lines}")).expect("the target folder can be written");
    println!("note: torture on {}: {sum}; report: {}", arch.name(), path.display());
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
