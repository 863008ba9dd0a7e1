//! The machine of the demo: the very core that a loader and an agent run, on the disk image.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use stillboot::boot::{Boot, BootConfig, Event, Report};
use stillboot::check;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, InstallHost, Memory, NoStore, Source, SourceError};
use stillboot::format::{Architecture, BootProof, Digest, Manifest, Record, Role, Slot, SlotKind};
use stillboot::install::{
    Install, InstallConfig, InstallError, Installed, Permission, Progress, Reuse, Running, Update,
};
use stillboot::layout::{Region, SlotLayout};
use stillboot::request::{Answer, Perform, Request, RequestError};
use stillboot::verify::{Device, Sha256 as _, SoftSha256};
use stillboot_linux::disk::{Disk, Plan};
use stillboot_policy::{self as policy, Clock, Facts, Policy};
use stillboot_release::keys::{Roots, id_of};
use stillboot_sim::disk::{Change, Cut, PowerCut, Random, WriteCache};

use super::drive::{Drive, Socket};
use super::release::CLASS;

/// How often a new system may be tried.
pub const TRIES: u8 = 3;

/// The machine.
pub struct World {
    socket: Socket,
    plan: Plan,
    roots: Roots,
    architecture: Architecture,
    random: Random,
    memory: Ram,
    buffer: Vec<u8>,
}

/// What a power-on came to.
pub struct Booted {
    /// What was started, if anything was.
    pub started: Option<Started>,
    /// What was found, and why things went as they did.
    pub report: Report,
    /// How many changes of the disk it asked for.
    pub changes: u64,
}

/// A system that was started.
#[derive(Clone)]
pub struct Started {
    /// What the loader hands over.
    pub proof: BootProof,
    /// The manifest that was verified.
    pub manifest: Manifest,
}

/// When the power is to fail during an installation.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// At this change, counted from 0.
    Change(u64),
    /// At this change, counted from 0, after so many bytes are in place.
    InPlace {
        /// Bytes of components.
        bytes: u64,
        /// The change.
        then: u64,
    },
}

/// What an installation is told.
#[derive(Clone, Copy)]
pub struct Terms {
    /// What runs meanwhile.
    pub running: Running,
    /// Which bytes need not be fetched.
    pub reuse: Reuse,
    /// When and how the power fails.
    pub cut: Option<(When, Cut)>,
}

/// What an installation came to.
pub struct Attempt {
    /// What the core says; the error of a device without power if that failed.
    pub result: Result<Installed, InstallError>,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Whether all that was left to do was to commit and to switch.
    pub read_back: bool,
    /// Changes of the disk that it asked for: before the first bytes were in place, and after the
    /// last were.
    pub head_changes: u64,
    /// As above.
    pub tail_changes: u64,
    /// Where the power failed, if it did.
    pub power: Option<Instant>,
}

/// Where the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// Before a request did anything.
    Before,
    /// In the middle of a write.
    Inside,
    /// After a request was carried out, and before its result was reported.
    After,
}

/// Bytes of a bundle on their way to the device.
pub struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A bit that is wrong.
    flipped: Option<u64>,
    fetched: u64,
}

impl<'a> Wire<'a> {
    /// The bundle as it is.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, flipped: None, fetched: 0 }
    }

    /// The bundle with one bit that is wrong.
    pub fn flipped(bytes: &'a [u8], bit: u64) -> Self {
        Self { flipped: Some(bit), ..Self::new(bytes) }
    }
}

impl Source for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = into.len().min(self.bytes.len() - self.at);
        into[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        if let Some(bit) = self.flipped {
            let byte = (bit / 8) as usize;
            if (self.at..self.at + len).contains(&byte) {
                into[byte - self.at] ^= 1 << (bit % 8);
            }
        }
        self.at += len;
        self.fetched += len as u64;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let left = self.bytes.len() - self.at;
        self.at += usize::try_from(len).map_or(left, |len| len.min(left));
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.at < self.bytes.len())
    }
}

impl World {
    /// Connects the disk image at `path` to a machine that trusts `roots`.
    ///
    /// # Errors
    /// The image cannot be used.
    pub fn open(
        path: &Path,
        roots: Roots,
        architecture: Architecture,
        random: Random,
    ) -> Result<Self> {
        let Disk { mut devices, plan, .. } = Disk::open(path, false)?;
        let device = devices.pop().context("the plan has no disk")?;
        let drive = Drive(WriteCache::new(device));
        Ok(Self {
            socket: Socket(Rc::new(RefCell::new(PowerCut::new(drive)))),
            plan,
            roots,
            architecture,
            random,
            memory: Ram::default(),
            buffer: vec![0; 1 << 20],
        })
    }

    /// Powers on: the loader's work, up to hand-over.
    ///
    /// # Errors
    /// The disk is not laid out as it must be.
    pub fn boot(&mut self) -> Result<Booted> {
        let slots = self.plan.slots();
        let config = BootConfig::new(
            identity(&self.roots, self.architecture),
            self.plan.layout(&slots)?,
            self.random.next_u64(),
        )
        .with_tries(TRIES)
        .with_check_late(true);
        let mut machine = Boot::<SoftSha256>::new(&config);
        // Else data of an earlier power-on could be taken for data of this one.
        self.memory.clear();
        let before = self.socket.power().operations();
        let proof = driver::boot(
            &mut machine,
            Event::Start,
            &mut [&mut self.socket],
            &mut NoStore,
            &mut self.memory,
            &mut self.buffer,
        );
        let manifest = machine.manifest().map(|manifest| Manifest::clone(manifest));
        Ok(Booted {
            started: proof.zip(manifest).map(|(proof, manifest)| Started { proof, manifest }),
            report: machine.report().clone(),
            changes: self.socket.power().operations() - before,
        })
    }

    /// Whether the memory that a system was started from holds exactly `parts`. Compares bytes, not
    /// digests: the core is not asked whether the core was right.
    pub fn memory_holds(&self, parts: &[Rc<Vec<u8>>]) -> bool {
        self.memory.0.len() == parts.len()
            && self.memory.0.iter().zip(parts).all(|(memory, part)| memory.starts_with(part))
    }

    /// Installs what comes over `wire`: the agent's work. If the power fails in it, it is still off
    /// when this returns.
    ///
    /// # Errors
    /// The disk is not laid out as it must be. What became of the update is in the [`Attempt`].
    pub fn install(&mut self, mut wire: Wire<'_>, terms: Terms) -> Result<Attempt> {
        let slots = self.plan.slots();
        let config = InstallConfig::new(
            identity(&self.roots, self.architecture),
            self.plan.layout(&slots)?,
            terms.running,
        )
        .with_tries(TRIES)
        .with_reuse(terms.reuse);
        let start = self.socket.power().operations();
        let mut host = Host {
            socket: self.socket.clone(),
            cut: terms.cut,
            progress: Progress::default(),
            first_in_place: None,
            last_in_place: None,
        };
        host.aim();
        let mut machine = Install::<SoftSha256>::new(&config);
        let result = driver::install(
            &mut machine,
            &mut [&mut self.socket],
            &mut NoStore,
            &mut wire,
            &mut host,
            &mut self.buffer,
        );
        let mut power = self.socket.power();
        let end = power.operations();
        let cut = terms.cut.filter(|_| power.is_off()).map(|(_, cut)| cut);
        if cut.is_none() {
            // A cut that was planned for later than the end must not hit a later program.
            power.power_on();
        }
        Ok(Attempt {
            result,
            fetched: wire.fetched,
            read_back: host.progress.total > 0 && host.progress.done == host.progress.total,
            head_changes: host.first_in_place.unwrap_or(end) - start,
            tail_changes: end - host.last_in_place.unwrap_or(end),
            power: cut.zip(power.trace().last()).map(|(cut, change)| instant(cut, *change)),
        })
    }

    /// The power comes back after it failed. Of what the drive had not stored, any part may be
    /// there, in pieces.
    ///
    /// # Errors
    /// The file of the image cannot be written.
    pub fn power_on(&mut self) -> Result<()> {
        let seed = self.random.next_u64();
        let mut power = self.socket.power();
        if let Err(error) = power.device_mut().0.lose(seed) {
            bail!("the disk image cannot be written: {error}");
        }
        power.power_on();
        Ok(())
    }

    /// Whether the drive has stored everything that was written.
    pub fn is_flushed(&self) -> bool {
        self.socket.power().device().0.pending() == 0
    }

    /// Carries out a request of the running system.
    ///
    /// # Errors
    /// The disk is not laid out as it must be. What the core says is inside.
    pub fn perform(&mut self, request: Request) -> Result<Result<Answer, RequestError>> {
        let slots = self.plan.slots();
        let layout = self.plan.layout(&slots)?;
        let mut machine = Perform::new(&layout, request);
        Ok(driver::perform(&mut machine, &mut [&mut self.socket], &mut self.buffer))
    }

    /// The boot record as it stands on the disk.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn record(&mut self) -> Result<Record> {
        let slots = self.plan.slots();
        let layout = self.plan.layout(&slots)?;
        let mut machine = Perform::new(&layout, Request::Read);
        driver::perform(&mut machine, &mut [&mut self.socket], &mut self.buffer)?;
        Ok(machine.record().clone())
    }

    /// Checks a bundle without a disk, as `stillboot verify` does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&mut self, mut wire: Wire<'_>) -> Result<(), InstallError> {
        let device = identity(&self.roots, self.architecture);
        let ignore = &mut |_| {};
        let kind = SlotKind::Update;
        let buffer = &mut self.buffer;
        check::bundle::<SoftSha256>(&device, kind, &mut wire, true, ignore, buffer)?;
        Ok(())
    }

    /// Where `slot` is, its head included.
    pub fn slot(&self, slot: Slot) -> Vec<Region> {
        let slots = self.plan.slots();
        let layouts = slots.iter().filter(|layout| layout.slot == slot);
        let regions = |layout: &SlotLayout<'_>| -> Vec<Region> {
            let components = layout.regions.iter().map(|region| region.region);
            components.chain(layout.index).chain(layout.head).collect()
        };
        layouts.flat_map(regions).collect()
    }

    /// Where the copies of the boot record are.
    ///
    /// # Errors
    /// The disk is not laid out as it must be.
    pub fn record_regions(&self) -> Result<Vec<Region>> {
        let slots = self.plan.slots();
        let layout = self.plan.layout(&slots)?;
        Ok(layout.places().to_vec())
    }

    /// SHA-256 of these parts of the disk.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn digest_of(&mut self, regions: &[Region]) -> Result<Digest> {
        self.digest(regions.iter().map(range).collect())
    }

    /// SHA-256 of everything on the disk but these parts.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn digest_but(&mut self, regions: &[Region]) -> Result<Digest> {
        let end = self.socket.geometry().capacity_bytes;
        self.digest(gaps(regions.iter().map(range).collect(), end))
    }

    fn digest(&mut self, ranges: Vec<Range<u64>>) -> Result<Digest> {
        let mut hash = SoftSha256::new();
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let len = (range.end - at).min(self.buffer.len() as u64) as usize;
                self.socket.read(at, &mut self.buffer[..len])?;
                hash.update(&self.buffer[..len]);
                at += len as u64;
            }
        }
        Ok(hash.finish())
    }

    /// Turns one random bit of component `number` of `manifest` in `slot` over, without the core
    /// knowing. Returns which byte of the component it is in.
    ///
    /// # Errors
    /// The disk cannot be read or written.
    pub fn flip(&mut self, slot: Slot, manifest: &Manifest, number: usize) -> Result<u64> {
        let slots = self.plan.slots();
        let data = self.plan.layout(&slots)?.component(slot, manifest, number)?;
        let byte = self.random.below(manifest.components[number].length);
        let unit = u64::from(self.socket.geometry().logical_block_bytes);
        let block = byte / unit * unit;
        let bytes = &mut self.buffer[..unit as usize];
        let bit = self.random.below(8);
        self.socket.read(data.offset + block, bytes)?;
        bytes[(byte - block) as usize] ^= 1 << bit;
        self.socket.write(data.offset + block, bytes)?;
        self.socket.flush()?;
        Ok(byte)
    }
}

/// Which device this is.
fn identity(roots: &Roots, architecture: Architecture) -> Device<'_> {
    Device::new(roots.trust(), roots.product_id(), id_of(CLASS))
        .with_revision(1)
        .with_architecture(architecture)
}

fn range(region: &Region) -> Range<u64> {
    region.offset..region.offset + region.len
}

/// What `ranges` leave of `0..end`.
fn gaps(mut ranges: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut at = 0;
    for range in ranges {
        if at < range.start {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < end {
        gaps.push(at..end);
    }
    gaps
}

/// What a planned cut was in truth: only a write can be torn, and an erase of a disk does nothing.
fn instant(cut: Cut, change: Change) -> Instant {
    match (cut, change) {
        (_, Change::Erase { .. }) | (Cut::Before, _) | (Cut::Torn(_), Change::Flush) => {
            Instant::Before
        }
        (Cut::Torn(_), Change::Write { .. }) => Instant::Inside,
        (Cut::After, _) => Instant::After,
    }
}

/// The memory that systems are started from.
#[derive(Default)]
struct Ram(Vec<Vec<u8>>);

impl Memory for Ram {
    fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    fn reserve(&mut self, component: usize, _role: Role, len: u64) -> bool {
        let Ok(len) = usize::try_from(len) else { return false };
        if self.0.len() <= component {
            self.0.resize_with(component + 1, Vec::new);
        }
        self.0[component].resize(len, 0);
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        &mut self.0[component]
    }
}

/// Watches an installation, and plans the power cut when its time has come.
struct Host {
    socket: Socket,
    cut: Option<(When, Cut)>,
    progress: Progress,
    /// Changes when the first bytes were in place.
    first_in_place: Option<u64>,
    /// Changes when the last bytes were in place.
    last_in_place: Option<u64>,
}

impl Host {
    fn aim(&mut self) {
        let mut power = self.socket.power();
        let now = power.operations();
        let then = match self.cut {
            Some((When::Change(then), _)) => then,
            Some((When::InPlace { bytes, then }, _))
                if self.progress.total > 0 && self.progress.done >= bytes =>
            {
                then
            }
            Some((When::InPlace { .. }, _)) | None => return,
        };
        if let Some((_, cut)) = self.cut.take() {
            power.cut_at(now + then, cut);
        }
    }
}

impl InstallHost for Host {
    fn judge(&mut self, update: &Update<'_>) -> Permission {
        // Without a clock: what is accepted must not depend on when the demo is run.
        let facts = Facts::new(update.manifest, update.body, Clock::Absent)
            .with_running_version(update.running_version);
        policy::judge(&Policy::default(), &facts).into()
    }

    fn progress(&mut self, progress: Progress) {
        self.progress = progress;
        let now = self.socket.power().operations();
        if progress.done > 0 {
            self.first_in_place.get_or_insert(now);
        }
        if progress.total > 0 && progress.done >= progress.total / 2 {
            self.last_in_place.get_or_insert(now);
        }
        self.aim();
    }
}

#[cfg(test)]
mod tests {
    use stillboot_sim::disk::Tear;

    use super::*;

    #[test]
    fn gaps_are_what_ranges_leave() {
        for (ranges, expected) in [
            (&[][..], &[(0, 10)][..]),
            (&[(0, 10)], &[]),
            (&[(2, 4), (6, 8)], &[(0, 2), (4, 6), (8, 10)]),
            (&[(6, 10), (0, 6)], &[]),
            (&[(5, 6), (1, 5)], &[(0, 1), (6, 10)]),
        ] {
            let of = |pairs: &[(u64, u64)]| pairs.iter().map(|(from, to)| *from..*to).collect();
            let expected: Vec<Range<u64>> = of(expected);
            assert_eq!(gaps(of(ranges), 10), expected, "{ranges:?}");
        }
    }

    #[test]
    fn a_wire_flips_one_bit_however_it_is_read() {
        let bytes: Vec<u8> = (0..100).collect();
        for chunk in [1, 7, 100] {
            let mut wire = Wire::flipped(&bytes, 8 * 42 + 3);
            let mut out = [0; 100];
            for into in out.chunks_mut(chunk) {
                assert_eq!(wire.read(into).unwrap(), into.len());
            }
            let differ: Vec<usize> = (0..100).filter(|at| out[*at] != bytes[*at]).collect();
            assert_eq!((differ, out[42]), (vec![42], 42 ^ 8));
            assert_eq!(wire.read(&mut [0; 4]).unwrap(), 0);
            assert_eq!(wire.fetched, 100);
        }
        let mut wire = Wire::new(&bytes);
        wire.skip(98).unwrap();
        assert_eq!((wire.read(&mut [0; 9]).unwrap(), wire.fetched), (2, 2));
        wire.skip(u64::MAX).unwrap();
        assert_eq!(wire.read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn only_a_write_is_cut_in_the_middle() {
        let tear = Cut::Torn(Tear::Prefix(1));
        let (write, erase) =
            (Change::Write { offset: 0, len: 512 }, Change::Erase { offset: 0, len: 4096 });
        for (cut, change, expected) in [
            (Cut::Before, write, Instant::Before),
            (tear, write, Instant::Inside),
            (Cut::After, write, Instant::After),
            (tear, Change::Flush, Instant::Before),
            (Cut::After, Change::Flush, Instant::After),
            (Cut::After, erase, Instant::Before),
        ] {
            assert_eq!(instant(cut, change), expected);
        }
    }
}
