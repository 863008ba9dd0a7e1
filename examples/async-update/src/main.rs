//! An update by an embassy task, while another task keeps its beat.
//!
//! `cargo run -p async-update` installs, boots and confirms a release on a flash in memory, and says
//! how long the other task had to wait at most. The executor gives each task one turn per round, in
//! no fixed order: between two turns of the other task lie two steps of a machine at most.

mod flash;

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use embassy_executor::{Executor, Spawner};
use embassy_futures::yield_now;
use flash::SlowFlash;
use static_cell::StaticCell;
use stillboot::asynch::{self, NorDevice, Unbounded};
use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::Geometry;
use stillboot::driver::{InstallHost, NoStore};
use stillboot::format::{Slot, SlotKind};
use stillboot::install::{Install, InstallConfig, Permission, Progress, Running, Update};
use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
use stillboot::request::{Perform, Request};
use stillboot::verify::SoftSha256;
use stillboot_sim::Publisher;
use stillboot_sim::world::HeapMemory;

const GEOMETRY: Geometry = Geometry {
    logical_block_bytes: 1,
    write_granule_bytes: 8,
    erase_block_bytes: 4096,
    capacity_bytes: 0x2_0000,
    erased: Some(0xff),
};
const SLOT_A: &[SlotRegion] = &[SlotRegion { region: region(0x0_4000, 0x9000), roles: &[] }];
const SLOT_B: &[SlotRegion] = &[SlotRegion { region: region(0x1_0000, 0x9000), roles: &[] }];
const SLOTS: &[SlotLayout<'static>] = &[
    SlotLayout::new(Slot::A, SLOT_A).with_head(region(0x0_d000, 0x3000)),
    SlotLayout::new(Slot::B, SLOT_B).with_head(region(0x1_9000, 0x3000)),
];

const fn region(offset: u64, len: u64) -> Region {
    Region { device: 0, offset, len }
}

/// What both tasks see.
#[derive(Debug, Default)]
struct Shared {
    /// Steps of the installation since the last beat.
    steps: Cell<u32>,
    /// The most of them between two beats.
    steps_most: Cell<u32>,
    /// All steps of the installation.
    steps_all: Cell<u32>,
    beats: Cell<u32>,
    /// The longest time between two beats.
    longest: Cell<Duration>,
    /// What the update came to.
    outcome: RefCell<Option<Result<String, String>>>,
}

/// The part of the policy that a device without a clock and an operator needs, and a count of steps.
struct Host<'a>(&'a Shared);

impl InstallHost for Host<'_> {
    fn judge(&mut self, update: &Update<'_>) -> Permission {
        stillboot_policy::judge_failures(update.manifest, update.body, None, false).into()
    }

    fn progress(&mut self, _progress: Progress) {
        self.0.steps.set(self.0.steps.get() + 1);
        self.0.steps_all.set(self.0.steps_all.get() + 1);
    }
}

/// Stands for everything else that a device does.
#[embassy_executor::task]
async fn beat(shared: Rc<Shared>) {
    let mut last = Instant::now();
    while shared.outcome.borrow().is_none() {
        shared.steps_most.set(shared.steps_most.get().max(shared.steps.replace(0)));
        shared.beats.set(shared.beats.get() + 1);
        yield_now().await;
        shared.longest.set(shared.longest.get().max(last.elapsed()));
        last = Instant::now();
    }
}

#[embassy_executor::task]
async fn update(shared: Rc<Shared>) {
    let outcome = live(&shared).await;
    *shared.outcome.borrow_mut() = Some(outcome);
}

/// Installs a release on a blank device, boots it and confirms it.
async fn live(shared: &Shared) -> Result<String, String> {
    let text = |error: &dyn core::fmt::Display| error.to_string();
    let publisher = Publisher::new(8);
    let bundle = publisher.simple(1, SlotKind::Update).map_err(|error| text(&error))?;
    let geometries = [GEOMETRY];
    let record = [region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];
    let layout =
        Layout::new(&geometries, Area::Blocks(&record), SLOTS).map_err(|error| text(&error))?;
    let flash = SlowFlash::new(GEOMETRY.capacity_bytes as usize);
    let mut flash = NorDevice::new(flash).map_err(|error| text(&error))?;
    let mut buffer = vec![0; 8192];

    let config = InstallConfig::new(publisher.device(), layout, Running::Offline);
    let mut machine = Install::<SoftSha256>::new(&config);
    let (mut source, mut host) = (Unbounded(&bundle[..]), Host(shared));
    let installed = asynch::install(
        &mut machine,
        &mut flash,
        &mut NoStore,
        &mut source,
        &mut host,
        &mut buffer,
    )
    .await
    .map_err(|error| text(&error))?;

    let config = BootConfig::new(publisher.device(), layout, 1).with_check_late(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut memory = HeapMemory::default();
    let (event, store) = (Event::Start, &mut NoStore);
    let proof = asynch::boot(&mut machine, event, &mut flash, store, &mut memory, &mut buffer)
        .await
        .ok_or("nothing boots")?;
    if proof.slot != installed.slot {
        return Err(format!("slot {} was installed, {} boots", installed.slot, proof.slot));
    }

    let mut machine = Perform::new(&layout, Request::MarkGood(proof));
    asynch::perform(&mut machine, &mut flash, &mut buffer).await.map_err(|error| text(&error))?;
    Ok(format!("slot {} was installed, booted and confirmed", installed.slot))
}

/// Runs both tasks to the end.
fn run() -> Rc<Shared> {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let shared = Rc::new(Shared::default());
    let done = Rc::clone(&shared);
    let spawn = |spawner: Spawner| {
        // Each task has its own place, taken once.
        spawner.spawn(update(Rc::clone(&shared)).expect("the first of its kind"));
        spawner.spawn(beat(Rc::clone(&shared)).expect("the first of its kind"));
    };
    EXECUTOR.init(Executor::new()).run_until(spawn, || done.outcome.borrow().is_some());
    shared
}

fn main() -> ExitCode {
    let shared = run();
    match shared.outcome.take() {
        Some(Ok(text)) => println!("{text}"),
        Some(Err(text)) => {
            eprintln!("error: {text}");
            return ExitCode::FAILURE;
        }
        None => return ExitCode::FAILURE,
    }
    println!(
        "{} steps of the installation; the other task had {} turns, and waited for {} steps at most, \
         {:?} at the longest",
        shared.steps_all.get(),
        shared.beats.get(),
        shared.steps_most.get(),
        shared.longest.get(),
    );
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_task_has_its_turn_in_each_round() {
        let shared = run();
        let outcome = shared.outcome.take().expect("the update ended");
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(shared.steps_all.get() > 50, "an installation has many steps");
        assert!(shared.beats.get() > 10 * shared.steps_all.get(), "operations give turns too");
        assert!((1..=2).contains(&shared.steps_most.get()), "{}", shared.steps_most.get());
    }
}
