//! The power-on: find the disks, let the core decide, hand over.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::UnsafeCell;

use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::BlockDevice;
use stillboot::driver::{self, NoStore};
use stillboot::format::manifest::flags;
use stillboot::format::{Architecture, BootProof, Digest, Manifest, Role};
use stillboot::verify::digest_of;
use stillboot_arm64::handoff::{self, Arena, Placement, TREE_LEN};
use stillboot_arm64::image::Image;
use stillboot_boot_support::command_line::command_line;
use stillboot_boot_support::refusal::StartRefusal;
use stillboot_boot_support::report;
use stillboot_boot_support::startable::{self, Target};
use stillboot_devicetree::chid::Fields;
use stillboot_devicetree::choice::choose_for_slot;
use stillboot_devicetree::fdt::edit::{Change, Value};
use stillboot_devicetree::fdt::{Fdt, edit};
use stillboot_gpt::plan::{Plan, Source};
use stillboot_gpt::{self as gpt, TableError};
use stillboot_sha256::{Provider, Sha256};

use crate::disk::Disk;
use crate::machine::{self, Machine};
use crate::memory::{Places, pointer};
use crate::{console, disk, identity, processor, psci};

/// How often a slot may be tried that is found without a boot record.
const TRIES: u8 = 3;
/// How long the reason stands on the console when nothing can be started, in seconds.
const PATIENCE: u64 = 10;
const BUFFER_LEN: usize = 64 << 10;

/// The buffer that the core works in, apart from the stack.
struct Buffer(UnsafeCell<[u8; BUFFER_LEN]>);

// SAFETY: Only one processor runs, and `run` alone uses it, once.
unsafe impl Sync for Buffer {}

static BUFFER: Buffer = Buffer(UnsafeCell::new([0; BUFFER_LEN]));

/// Called by the first instructions, with what was in `x0`.
pub extern "C" fn main(tree: usize) -> ! {
    let started = processor::ticks();
    console::open(None);
    if cfg!(debug_assertions) {
        console::line(format_args!(
            "*** stillboot: THIS LOADER ACCEPTS KEYS OF THE TEST SUITE. NEVER SHIP IT. ***"
        ));
    }
    let failure = run(tree, started);
    console::line(format_args!("stillboot: nothing can be started\n{failure}"));
    // A failed device may work at the next start.
    let until = processor::ticks() + PATIENCE * processor::ticks_per_second();
    while processor::ticks() < until {
        core::hint::spin_loop();
    }
    psci::reset()
}

/// Starts a system. Returns only if there is none, with the reasons.
fn run(tree: usize, started: u64) -> String {
    if processor::has_mmu_on() {
        return "the MMU or a data cache is on: it must be started by the boot protocol".into();
    }
    // SAFETY: That is what the boot protocol has in `x0`, and nothing else runs.
    let machine = match unsafe { machine::read(tree) } {
        Ok(machine) => machine,
        Err(why) => return why,
    };
    console::open(machine.console);
    let Some(arena) = Arena::new(&machine.free) else {
        return "the machine has no memory for a kernel".into();
    };
    // SAFETY: By its tree the machine has that memory, and no one uses it: neither the program that
    // wrote the tree nor this loader.
    let mut places = unsafe { Places::new(arena) };
    let ready = match choose(&machine, &mut places, started) {
        Ok(ready) => ready,
        Err(report) => return report,
    };
    // SAFETY: The disks are closed by now, so no device writes to memory.
    unsafe { ready.start() }
}

/// Lets the core choose, until there is something that can be handed over to.
fn choose(machine: &Machine, places: &mut Places, started: u64) -> Result<Ready, String> {
    let mut notes = Vec::new();
    let mut disks = disk::find(&machine.virtio);
    let mut tables = Vec::new();
    disks.retain_mut(|disk| match gpt::read(disk) {
        Ok(table) => {
            if table.is_backup {
                notes.push("note: a primary partition table is bad, its backup was used".into());
            }
            notes.extend(table.notes.iter().map(|note| format!("note: {note}")));
            tables.push(table);
            true
        }
        // A disk without our partitions is no error: it may hold anything.
        Err(TableError::NoTable) => false,
        Err(error) => {
            notes.push(format!("note: a disk was skipped: {error}"));
            false
        }
    });
    // Without firmware it is not known which disk the loader came from, so no disk is preferred.
    let source = |(disk, table): (&Disk, _)| Source::new(disk.geometry(), table);
    let sources: Vec<_> = disks.iter().zip(&tables).map(source).collect();
    let plan =
        Plan::new(&sources, &[]).map_err(|error| format!("{error}\n{}", notes.join("\n")))?;
    notes.extend(plan.notes.iter().cloned());
    notes.push(format!("hashing: {}", Provider::best().name()));
    let slots = plan.slots();
    let layout = plan.layout(&slots).map_err(|error| format!("{error}"))?;
    let mut disks: Vec<_> = disks.into_iter().map(Some).collect();
    let mut used: Vec<Disk> =
        plan.disks.iter().filter_map(|disk| disks.get_mut(*disk)?.take()).collect();
    let mut devices: Vec<_> = used.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();

    let config = BootConfig::new(
        identity::DEVICE.with_architecture(Architecture::Aarch64),
        layout,
        nonce(&machine.tree),
    )
    .with_tries(TRIES);
    // SAFETY: This function is called once, and nothing else names the buffer.
    let buffer: &mut [u8] = unsafe { &mut *BUFFER.0.get() };
    let mut boot = Boot::<Sha256>::new(&config);
    let mut event = Event::Start;
    loop {
        let proof = driver::boot(&mut boot, event, &mut devices, &mut NoStore, places, buffer);
        let (Some(proof), Some(manifest)) = (proof, boot.manifest()) else {
            return Err(report::text(boot.report(), &notes));
        };
        match Ready::prepare(&proof, manifest, places, machine) {
            Ok((ready, said)) => {
                notes.extend(said);
                let millis = (processor::ticks() - started).saturating_mul(1000)
                    / processor::ticks_per_second();
                notes.push(format!(
                    "time: {millis} ms until start, at EL{}",
                    processor::exception_level()
                ));
                let text = report::text(boot.report(), &notes);
                console::line(format_args!("{}", text.trim_end()));
                return Ok(ready);
            }
            Err(refusal) => {
                notes.push(format!("note: slot {}: {refusal}", proof.slot));
                event = refusal.event();
            }
        }
    }
}

/// A number that no other power-on had. It tells two attempts apart and keeps no secret; the seeds
/// in the tree are for the kernel, which learns nothing of them from a hash.
fn nonce(tree: &Fdt<'_>) -> u64 {
    let mut seed = [0; 72];
    seed[..8].copy_from_slice(&processor::ticks().to_le_bytes());
    seed[8..].copy_from_slice(&machine::seeds(tree));
    let digest: Digest = digest_of::<Sha256>(&seed);
    digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The tree of a slot for this machine, if it brings one, and a line for the report.
///
/// # Errors
/// Why the slot must not be started.
fn tree_of_slot<'a>(
    set: Option<&'a [u8]>,
    is_required: bool,
    machine: &Machine,
) -> Result<(Option<Fdt<'a>>, Option<String>), String> {
    if set.is_none() && !is_required {
        return Ok((None, None));
    }
    // Without firmware only the tree says which machine this is.
    let (tree, decision) =
        choose_for_slot(set, is_required, &Fields::default(), Ok(Some(&machine.tree)))
            .map_err(|refusal| format!("{refusal}"))?;
    if let Some(tree) = &tree {
        // The kernel takes its memory from this tree, and everything was placed by the machine's
        // own tree: both must describe the same memory.
        let memory = machine::memory(tree).map_err(|error| format!("its device tree: {error}"))?;
        if memory.ranges() != machine.memory.ranges() {
            return Err("its device tree has other memory than this machine".into());
        }
    }
    Ok((tree, Some(format!("tree: {decision}"))))
}

/// A system that lies in memory, verified, with everything it needs.
struct Ready {
    kernel: Placement,
    kernel_len: u64,
    initramfs: Option<(u64, u64)>,
    tree: u64,
}

impl Ready {
    /// Makes the rest of what a kernel needs. An error is why this slot cannot be started.
    fn prepare(
        proof: &BootProof,
        manifest: &Manifest,
        places: &mut Places,
        machine: &Machine,
    ) -> Result<(Self, Option<String>), StartRefusal> {
        let of_slot = |error: &dyn core::fmt::Display| StartRefusal::of_slot(format!("{error}"));
        let component = |role| places.component(proof.slot, manifest, role);
        let is_required = manifest.flags & flags::DTB_REQUIRED != 0;
        let (own, said) = tree_of_slot(component(Role::Dtbs), is_required, machine)
            .map_err(StartRefusal::of_slot)?;
        let entry = startable::entry(Target::Bare, manifest, proof.slot)
            .map_err(|fault| of_slot(&fault))?
            .role;
        let kernel = component(entry)
            .ok_or_else(|| StartRefusal::of_machine("its kernel is not in memory"))?;
        let image = Image::parse(kernel).map_err(|error| of_slot(&error))?;
        let placement = places.arena().place(&image).map_err(|error| of_slot(&error))?;
        let cmdline = component(Role::Cmdline).unwrap_or_default();
        let cmdline = command_line(cmdline, Some(proof)).map_err(|error| of_slot(&error))?;
        let extent = |bytes: &[u8]| (bytes.as_ptr().addr() as u64, bytes.len() as u64);
        let initramfs = component(Role::Initramfs).map(extent);

        let text = |bytes: &'_ [u8]| String::from_utf8_lossy(bytes).into_owned();
        let (cmdline, proof) = (text(cmdline.strip_suffix(&[0]).unwrap_or(&cmdline)), proof.emit());
        let chosen = edit::Boot::new()
            .with_bootargs(Some(&cmdline))
            .with_initrd(initramfs.map(|(start, len)| start..start + len))
            .with_proof(Some(&proof));
        let tree = places.arena().tree();
        // SAFETY: The memory is ours, the caches are off, and nothing in it matters yet.
        unsafe { handoff::discard(tree, TREE_LEN) };
        // SAFETY: The arena has this memory for the tree alone, and it is ours as all of the arena;
        // what it holds is some bytes that were written outside of this program.
        let out = unsafe { core::slice::from_raw_parts_mut(pointer(tree), TREE_LEN as usize) };
        let mut changes = chosen.changes().to_vec();
        if own.is_some() {
            // Seeds of this power-on replace those in the tree, which are the same on every device.
            let seed =
                |name| machine::seed(&machine.tree, name).map_or(Value::Absent, Value::Bytes);
            changes.retain(|change| !machine::SEEDS.contains(&change.name));
            changes.extend(machine::SEEDS.map(|name| Change { name, value: seed(name) }));
        }
        edit::edit(own.as_ref().unwrap_or(&machine.tree), &changes, &[], out).map_err(
            // A tree of the machine's own is no part of the slot.
            |error| match own {
                Some(_) => of_slot(&error),
                None => StartRefusal::of_machine(format!("{error}")),
            },
        )?;
        let kernel_len = kernel.len() as u64;
        Ok((Self { kernel: placement, kernel_len, initramfs, tree }, said))
    }

    /// Starts it.
    ///
    /// # Safety
    /// No device writes to memory any more.
    unsafe fn start(self) -> ! {
        let Placement { from, entry, end, .. } = self.kernel;
        if from != entry {
            // SAFETY: Both places are in memory that the arena has for the kernel, which ends where
            // the placement says.
            unsafe {
                handoff::discard(entry, end - entry);
                core::ptr::copy(pointer(from), pointer(entry), self.kernel_len as usize);
            }
        }
        let (initramfs, initramfs_len) = self.initramfs.unwrap_or_default();
        for (start, len) in
            [(entry, end - entry), (initramfs, initramfs_len), (self.tree, TREE_LEN)]
        {
            // SAFETY: The caches were off when all of this was written, so memory has it all.
            unsafe { handoff::discard(start, len) };
        }
        // SAFETY: `Placement` is where the header asks to be, `tree` a device tree that we made at a
        // multiple of 2 MiB, and the caller says that no device writes.
        unsafe { handoff::enter(entry, self.tree, returned) }
    }
}

/// Where a kernel comes back to. Its code ran and may have changed anything: only a reset is clean.
/// Boot step 7.
extern "C" fn returned() -> ! {
    console::line(format_args!("stillboot: the kernel came back"));
    psci::reset()
}

/// A panic of the loader must not stop the device for good: it resets, and the try is counted.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::line(format_args!("stillboot: {info}"));
    psci::reset()
}
