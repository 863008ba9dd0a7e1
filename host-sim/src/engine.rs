//! Runs the core's machines, and remembers what they did.
//!
//! A machine is deterministic: what it asks for next follows from its state and from the result of
//! its last request. So the requests of all runs form a graph, whose nodes are states of machines
//! and whose edges are results of requests. A run whose results are all known follows the graph:
//! every request is carried out on the disk at hand, and only the computation in between, above all
//! the signatures, is not done again. The first result that is new starts the core itself.
//!
//! A state is named by everything that a machine prints of itself, everything that its digests have
//! taken, the memory it loaded to and the buffer as far as it may be used. Nothing here knows what
//! the core does with any of it; `tests/explore.rs` compares runs with and without the graph.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use stillboot::boot::{self, Boot, BootConfig, Report};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::driver::{RollbackStore, StoreError};
use stillboot::format::{BootProof, Digest, Floor, Record, Role, Slot, SlotKind};
use stillboot::install::{self, Install, InstallConfig, InstallError, Installed, Reuse, Running};
use stillboot::io::Io;
use stillboot::layout::Layout;
use stillboot::operate::{self, Answer, Operate, OperateError, Request};
use stillboot::verify::{Device, Sha256, SoftSha256};
use stillboot_policy::{self as policy, Clock, Facts, Policy};
use twox_hash::XxHash3_128;

use crate::disk::RamDisk;
use crate::world::{DeviceMap, SimStore};

/// What does not change about a device.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// Whom it trusts and which it is.
    pub device: Device<'a>,
    /// Where everything stands. All devices are one disk here: [`DeviceMap::joined`].
    pub ground: DeviceMap,
    /// Tries of a new slot.
    pub tries: u8,
    /// The bundles that can be installed.
    pub bundles: Vec<Arc<[u8]>>,
}

/// Why an image that was handed over to does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverFailure {
    /// It returned to the loader before any of its code ran.
    Returned,
    /// The machine could not start it.
    NotStarted,
}

impl HandoverFailure {
    /// What a loader tells the core of it.
    #[must_use]
    pub const fn event(self) -> boot::Event<'static> {
        match self {
            Self::Returned => boot::Event::Returned,
            Self::NotStarted => boot::Event::NotStarted,
        }
    }
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// The loader, at power-on.
    Boot {
        /// A number that no other power-on had.
        nonce: u64,
        /// Whether a watchdog ended what ran before.
        watchdog_reset: bool,
        /// The slot whose image comes back to the loader, and why.
        returns: Option<(Slot, HandoverFailure)>,
    },
    /// An installation.
    Install {
        /// Which of the bundles.
        bundle: usize,
        /// What runs; nothing from this disk if `None`.
        running: Option<BootProof>,
        /// The slot to install to.
        target: Option<Slot>,
        /// Install what runs to another slot.
        repair: bool,
    },
    /// A request of the running system.
    Operate(Request),
}

/// What one power-on came to.
#[derive(Clone, Debug)]
pub struct Started {
    /// With what a system was started; `None` if nothing could be.
    pub proof: Option<BootProof>,
    /// Why it went as it did.
    pub report: Report,
    /// The record as the loader left it.
    pub record: Record,
    /// What was loaded: number and role of the component, and its bytes with padding.
    pub loaded: Vec<(usize, Role, Vec<u8>)>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of [`Program::Boot`].
    Boot(Box<Started>),
    /// Of [`Program::Install`].
    Install(Result<Installed, InstallError>),
    /// Of [`Program::Operate`].
    Operate(Result<Answer, OperateError>),
}

/// One request of a machine to its surroundings.
#[derive(Clone, Debug)]
pub enum MachineRequest {
    /// Read so many bytes.
    Read(u64, usize),
    /// Write these bytes.
    Write(u64, Arc<[u8]>),
    /// Erase so many bytes.
    Erase(u64, u64),
    /// Make everything in these bytes durable: those of one device.
    Flush(Range<u64>),
    /// Read the store of the floor.
    ReadFloor(SlotKind),
    /// Ask whether the floor could be raised in the store.
    ProbeFloor(SlotKind, Floor),
    /// Raise the floor in the store.
    RaiseFloor(SlotKind, Floor),
    /// The program has ended.
    End(Arc<Outcome>),
}

impl MachineRequest {
    /// Whether it changes any of these bytes.
    fn touches(&self, places: &[Range<u64>]) -> bool {
        let (from, to) = match self {
            Self::Write(offset, bytes) => (*offset, offset + bytes.len() as u64),
            Self::Erase(offset, len) => (*offset, offset + len),
            _ => return false,
        };
        places.iter().any(|place| from < place.end && place.start < to)
    }
}

/// A disk as the engine uses it: several devices that stand one behind the other.
pub trait Disks: BlockDevice + Clone {
    /// Makes what was written to these bytes durable: those of one device.
    ///
    /// # Errors
    /// What the device says.
    fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError>;
}

impl Disks for RamDisk {
    fn flush_part(&mut self, _: &Range<u64>) -> Result<(), DeviceError> {
        self.flush()
    }
}

/// The device just before a request that changes it.
#[derive(Clone, Debug)]
pub struct Instant<D> {
    /// The disk.
    pub disk: D,
    /// The store.
    pub store: Option<SimStore>,
    /// What is asked for.
    pub act: MachineRequest,
}

enum Reply<'a> {
    Start,
    Done,
    Bytes(&'a [u8]),
    Failed(DeviceError),
    Floor(Option<Floor>),
    StoreFailed,
}

/// SHA-256 that can say what it has taken, so that two of them can be distinguished.
#[derive(Clone)]
struct Traced {
    inner: SoftSha256,
    taken: u128,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.taken)
    }
}

fn chain(before: u128, bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot_with_seed(before as u64 ^ (before >> 64) as u64, bytes)
        .wrapping_add(before.rotate_left(31))
}

impl Sha256 for Traced {
    fn new() -> Self {
        Self { inner: SoftSha256::new(), taken: 0 }
    }
    fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
        self.taken = chain(self.taken, bytes);
    }
    fn finish(self) -> Digest {
        self.inner.finish()
    }
}

/// Names what is printed.
fn print_of(parts: fmt::Arguments<'_>) -> u128 {
    // Whole, and not piece by piece: a number is printed in pieces of a few bytes, and hashing each
    // takes longer than keeping them.
    let mut text = String::with_capacity(PRINTED_BYTES);
    text.write_fmt(parts).expect("there is memory to print to");
    XxHash3_128::oneshot(text.as_bytes())
}

/// Most runs of the core that one program takes, each for a result that was new.
const TRIES_MAX: u32 = 10_000;

/// Room for what most machines print of themselves.
const PRINTED_BYTES: usize = 8192;

trait Machine {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest;
    fn print(&self) -> u128;
}

fn request_of(
    io: &Io,
    buffer: &[u8],
    ground: &DeviceMap,
) -> (MachineRequest, Option<Range<usize>>) {
    let place = |device: u8, offset: u64| ground.extent(device).start + offset;
    match *io {
        Io::Read { device, offset, ref range } => {
            (MachineRequest::Read(place(device, offset), range.len()), Some(range.clone()))
        }
        Io::Write { device, offset, ref range } => {
            (MachineRequest::Write(place(device, offset), buffer[range.clone()].into()), None)
        }
        Io::Erase { device, offset, len } => {
            (MachineRequest::Erase(place(device, offset), len), None)
        }
        Io::Flush { device } => (MachineRequest::Flush(ground.extent(device)), None),
    }
}

/// What stands in a buffer whose content may not be relied on.
const POISON: u8 = 0xA5;

struct BootMachine<'a> {
    ground: &'a DeviceMap,
    machine: Boot<'a, Traced>,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
    load_to: Option<(usize, Range<usize>)>,
    loaded: BTreeMap<usize, (Role, Vec<u8>)>,
    loads: u128,
    returns: Option<(Slot, HandoverFailure)>,
}

impl Machine for BootMachine<'_> {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest {
        let mut event = match got {
            Reply::Start => boot::Event::Start,
            Reply::Done => boot::Event::Done,
            Reply::Failed(error) => boot::Event::Failed(error),
            Reply::Floor(floor) => boot::Event::Floor(floor),
            Reply::StoreFailed => boot::Event::StoreFailed,
            Reply::Bytes(bytes) => match (self.read_to.take(), self.load_to.take()) {
                (Some(range), _) => {
                    self.buffer[range].copy_from_slice(bytes);
                    boot::Event::Done
                }
                (None, Some((component, range))) => {
                    self.loads = chain(self.loads, bytes);
                    let memory = &mut self.loaded.get_mut(&component).expect("reserved").1;
                    let target = &mut memory[range];
                    target.copy_from_slice(bytes);
                    boot::Event::Loaded(target)
                }
                (None, None) => unreachable!("bytes come only after a read"),
            },
        };
        loop {
            let action = self.machine.step(event, &mut self.buffer);
            let act = match action {
                boot::Action::Io(io) => {
                    let (act, range) = request_of(&io, &self.buffer, self.ground);
                    self.read_to = range;
                    act
                }
                boot::Action::ReadFloor(kind) => MachineRequest::ReadFloor(kind),
                boot::Action::RaiseFloor(kind, floor) => MachineRequest::RaiseFloor(kind, floor),
                boot::Action::Reserve { component, role, len, first } => {
                    if first {
                        self.loaded.clear();
                        self.loads = 0;
                    }
                    self.loaded.insert(component, (role, vec![0; len as usize]));
                    event = boot::Event::Done;
                    continue;
                }
                boot::Action::Forget => {
                    self.loaded.clear();
                    self.loads = 0;
                    event = boot::Event::Done;
                    continue;
                }
                boot::Action::Load { component, device, from, to, len } => {
                    let range = to as usize..to as usize + len as usize;
                    self.load_to = Some((component, range));
                    MachineRequest::Read(self.ground.extent(device).start + from, len as usize)
                }
                boot::Action::HandOver(proof) => match self.returns {
                    Some((slot, back)) if slot == proof.slot => {
                        event = back.event();
                        continue;
                    }
                    _ => self.end(Some(proof)),
                },
                boot::Action::Stop => self.end(None),
            };
            // The contract: the content is kept between a read and the step after it, no longer.
            self.buffer.fill(POISON);
            return act;
        }
    }

    fn print(&self) -> u128 {
        print_of(format_args!(
            "{:?}{:?}{:?}{:?}{:x}{}",
            self.machine,
            self.read_to,
            self.load_to,
            self.loaded
                .iter()
                .map(|(at, (role, bytes))| (*at, *role, bytes.len()))
                .collect::<Vec<_>>(),
            self.loads,
            self.returns.map_or(0, |(slot, back)| 1 + 2 * slot as u8 + back as u8)
        ))
    }
}

impl BootMachine<'_> {
    fn end(&self, proof: Option<BootProof>) -> MachineRequest {
        let loaded = self.loaded.iter().map(|(at, (role, bytes))| (*at, *role, bytes.clone()));
        MachineRequest::End(Arc::new(Outcome::Boot(Box::new(Started {
            proof,
            report: self.machine.report().clone(),
            record: self.machine.record().clone(),
            loaded: loaded.collect(),
        }))))
    }
}

struct InstallMachine<'a> {
    ground: &'a DeviceMap,
    machine: Install<'a, Traced>,
    /// Two bundles cannot be distinguished by what was read of them before the first byte.
    number: usize,
    bundle: &'a [u8],
    position: usize,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
    /// Where the copies of the record are, and the buffer's range that they were read to. None of a
    /// log, which compares what it has read with what it reads next.
    record: Vec<u64>,
    record_range: Option<Range<usize>>,
}

impl Machine for InstallMachine<'_> {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest {
        use install::{Action, Event};
        let mut event = match got {
            Reply::Start => Event::Start,
            Reply::Done => Event::Done,
            Reply::Failed(error) => Event::Failed(error),
            Reply::Floor(floor) => Event::Floor(floor),
            Reply::StoreFailed => Event::StoreFailed,
            Reply::Bytes(bytes) => {
                let range = self.read_to.take().expect("bytes come only after a read");
                self.buffer[range].copy_from_slice(bytes);
                Event::Done
            }
        };
        loop {
            let action = self.machine.step(event, &mut self.buffer);
            // Of the copies the record is kept and nothing else: were the bytes needed later,
            // every installation in the simulator would fail here.
            if let Some(range) = self.record_range.take() {
                self.buffer[range].fill(POISON);
            }
            event = match action {
                Action::Io(io) => {
                    let (act, range) = request_of(&io, &self.buffer, self.ground);
                    if let MachineRequest::Read(offset, _) = act
                        && self.record.contains(&offset)
                    {
                        self.record_range.clone_from(&range);
                    }
                    self.read_to = range;
                    return act;
                }
                Action::ReadFloor(kind) => return MachineRequest::ReadFloor(kind),
                Action::ProbeFloor(kind, floor) => return MachineRequest::ProbeFloor(kind, floor),
                Action::Receive(range) => {
                    let len = range.len().min(self.bundle.len() - self.position);
                    let from = &self.bundle[self.position..][..len];
                    self.buffer[range.start..range.start + len].copy_from_slice(from);
                    self.position += len;
                    Event::Received(len)
                }
                Action::Skip(len) => {
                    self.position += len as usize;
                    if self.position > self.bundle.len() {
                        self.position = self.bundle.len();
                        Event::SourceFailed
                    } else {
                        Event::Done
                    }
                }
                Action::ExpectEnd => {
                    Event::Received(usize::from(self.position < self.bundle.len()))
                }
                Action::Judge => match self.machine.offer(&self.buffer) {
                    Some(offer) => {
                        let facts = Facts {
                            manifest: offer.manifest,
                            statements: &[],
                            seen: &[],
                            running_version: offer.running_version,
                            body: offer.body,
                            clock: Clock::default(),
                        };
                        Event::Judged(policy::judge(&Policy::default(), &facts).into())
                    }
                    None => Event::SourceFailed,
                },
                Action::Finish(installed) => {
                    return MachineRequest::End(Arc::new(Outcome::Install(Ok(installed))));
                }
                Action::Fail(error) => {
                    return MachineRequest::End(Arc::new(Outcome::Install(Err(error))));
                }
            };
        }
    }

    fn print(&self) -> u128 {
        let buffer = XxHash3_128::oneshot(&self.buffer);
        print_of(format_args!(
            "{:?}{:?}{:?}{} {}{buffer:x}",
            self.machine, self.read_to, self.record_range, self.number, self.position
        ))
    }
}

struct OperateMachine<'a> {
    ground: &'a DeviceMap,
    machine: Operate<'a>,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
}

impl Machine for OperateMachine<'_> {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest {
        let result = match got {
            Reply::Failed(error) => Err(error),
            Reply::Bytes(bytes) => {
                let range = self.read_to.take().expect("bytes come only after a read");
                self.buffer[range].copy_from_slice(bytes);
                Ok(())
            }
            Reply::Start | Reply::Done | Reply::Floor(_) | Reply::StoreFailed => Ok(()),
        };
        let act = match self.machine.step(result, &mut self.buffer) {
            operate::Action::Io(io) => {
                let (act, range) = request_of(&io, &self.buffer, self.ground);
                self.read_to = range;
                act
            }
            operate::Action::Finish(answer) => {
                MachineRequest::End(Arc::new(Outcome::Operate(Ok(answer))))
            }
            operate::Action::Fail(error) => {
                MachineRequest::End(Arc::new(Outcome::Operate(Err(error))))
            }
        };
        self.buffer.fill(POISON);
        act
    }

    fn print(&self) -> u128 {
        print_of(format_args!("{:?}{:?}", self.machine, self.read_to))
    }
}

fn with_machine<T>(
    setting: &Setting<'_>,
    program: &Program,
    has_store: bool,
    run: impl FnOnce(&mut dyn Machine) -> T,
) -> T {
    let slots = setting.ground.slots();
    let layout = setting.ground.layout(&slots).expect("the ground of a simulation is sound");
    match *program {
        Program::Boot { nonce, watchdog_reset, returns } => {
            let config = BootConfig {
                device: setting.device,
                layout,
                tries: setting.tries,
                nonce,
                has_store,
                check_late: true,
                watchdog_reset,
            };
            run(&mut BootMachine {
                ground: &setting.ground,
                machine: Boot::new(&config),
                buffer: vec![POISON; Boot::<Traced>::buffer_len_min(&layout)],
                read_to: None,
                load_to: None,
                loaded: BTreeMap::new(),
                loads: 0,
                returns,
            })
        }
        Program::Install { bundle, running, target, repair } => {
            let config = InstallConfig {
                device: setting.device,
                layout,
                running: running.map_or(Running::Offline, Running::Proof),
                target,
                tries: setting.tries,
                has_store,
                reuse: Reuse::default(),
                repair,
                allow_new_epoch: false,
                resume_only: false,
            };
            run(&mut InstallMachine {
                ground: &setting.ground,
                machine: Install::new(&config),
                number: bundle,
                bundle: &setting.bundles[bundle],
                position: 0,
                buffer: vec![POISON; Install::<Traced>::buffer_len_min(&layout, 4096)],
                read_to: None,
                record: match setting.ground.is_log() {
                    true => Vec::new(),
                    false => {
                        let places = setting.ground.places().iter();
                        places.map(|place| setting.ground.place(*place)).collect()
                    }
                },
                record_range: None,
            })
        }
        Program::Operate(request) => {
            let layout: &Layout<'_> = &layout;
            run(&mut OperateMachine {
                ground: &setting.ground,
                machine: Operate::new(layout, request),
                buffer: vec![POISON; Operate::buffer_len_min(layout)],
                read_to: None,
            })
        }
    }
}

#[derive(Debug)]
struct Node {
    act: MachineRequest,
    edges: HashMap<u128, u32>,
}

/// The graph, and the runs that made it.
#[derive(Debug, Default)]
pub struct Engine {
    nodes: Vec<Node>,
    by_print: HashMap<u128, u32>,
    starts: HashMap<u128, u32>,
    scratch: Vec<u8>,
    /// Programs that were run, by the core or along the graph.
    pub programs: u64,
    /// Power-ons among them.
    pub boots: u64,
    /// Programs of which the core had to compute at least one step again.
    pub core_runs: u64,
    /// Bytes of the disk that the next program must leave alone.
    pub guarded: Vec<Range<u64>>,
    /// The first change of the last program that touched any of them.
    pub trespass: Option<MachineRequest>,
    no_memory: bool,
}

impl Engine {
    /// Without a memory the core computes every program, to compare.
    #[must_use]
    pub fn new(has_memory: bool) -> Self {
        Self { no_memory: !has_memory, ..Self::default() }
    }

    /// Runs `program` to its end on `disk` and `store`, and notes in `instants`, if it is given,
    /// the device before each change.
    pub fn run<D: Disks>(
        &mut self,
        setting: &Setting<'_>,
        program: &Program,
        disk: &mut D,
        store: &mut Option<SimStore>,
        mut instants: Option<&mut Vec<Instant<D>>>,
    ) -> Arc<Outcome> {
        self.programs += 1;
        self.boots += u64::from(matches!(program, Program::Boot { .. }));
        if self.no_memory {
            self.nodes.clear();
            self.by_print.clear();
            self.starts.clear();
        }
        let key = print_of(format_args!("{program:?}{}", store.is_some()));
        let (start_disk, start_store) = (disk.clone(), store.clone());
        let noted = instants.as_ref().map_or(0, |list| list.len());
        let mut has_thought = false;
        let mut tries = 0;
        loop {
            if let Some(outcome) = self.follow(key, disk, store, &mut instants) {
                return outcome;
            }
            // Something new: from the start again, with the core.
            tries += 1;
            assert!(tries < TRIES_MAX, "{program:?}: two states of a machine have one name");
            self.core_runs += u64::from(!has_thought);
            has_thought = true;
            *disk = start_disk.clone();
            store.clone_from(&start_store);
            with_machine(setting, program, start_store.is_some(), |machine| {
                self.explore(key, machine, disk, store);
            });
            *disk = start_disk.clone();
            store.clone_from(&start_store);
            if let Some(list) = &mut instants {
                list.truncate(noted);
            }
        }
    }

    /// Leads a run along the graph; `None` where it ends.
    fn follow<D: Disks>(
        &mut self,
        key: u128,
        disk: &mut D,
        store: &mut Option<SimStore>,
        instants: &mut Option<&mut Vec<Instant<D>>>,
    ) -> Option<Arc<Outcome>> {
        let mut node = &self.nodes[*self.starts.get(&key)? as usize];
        self.trespass = None;
        loop {
            if let MachineRequest::End(outcome) = &node.act {
                return Some(Arc::clone(outcome));
            }
            if let Some(list) = instants
                && matches!(
                    node.act,
                    MachineRequest::Write(..)
                        | MachineRequest::Erase(..)
                        | MachineRequest::Flush(_)
                        | MachineRequest::RaiseFloor(..)
                )
            {
                list.push(Instant {
                    disk: disk.clone(),
                    store: store.clone(),
                    act: node.act.clone(),
                });
            }
            if self.trespass.is_none() && node.act.touches(&self.guarded) {
                self.trespass = Some(node.act.clone());
            }
            let (_, edge) = perform(&node.act, disk, store, &mut self.scratch);
            node = &self.nodes[*node.edges.get(&edge)? as usize];
        }
    }

    /// Runs the core until it comes to a state that is known, or to its end.
    fn explore<D: Disks>(
        &mut self,
        key: u128,
        machine: &mut dyn Machine,
        disk: &mut D,
        store: &mut Option<SimStore>,
    ) {
        let mut scratch = Vec::new();
        let mut act = machine.step(Reply::Start);
        let mut at = match self.starts.get(&key) {
            Some(start) => *start,
            None => {
                let start = self.intern(machine.print(), &act).0;
                self.starts.insert(key, start);
                start
            }
        };
        while !matches!(act, MachineRequest::End(_)) {
            let (got, edge) = perform(&act, disk, store, &mut scratch);
            act = machine.step(got);
            at = match self.nodes[at as usize].edges.get(&edge) {
                Some(next) => *next,
                None => {
                    let print = match &act {
                        // An end is named by its result, with everything that the result consists
                        // of.
                        MachineRequest::End(outcome) => print_of(format_args!("{outcome:?}")),
                        // Bytes that are moved from one place to another are nowhere but in the
                        // buffer.
                        MachineRequest::Write(_, bytes) => chain(machine.print(), bytes),
                        _ => machine.print(),
                    };
                    let (next, is_new) = self.intern(print, &act);
                    self.nodes[at as usize].edges.insert(edge, next);
                    if !is_new {
                        return;
                    }
                    next
                }
            };
        }
    }

    fn intern(&mut self, print: u128, act: &MachineRequest) -> (u32, bool) {
        if let Some(known) = self.by_print.get(&print) {
            return (*known, false);
        }
        let number = u32::try_from(self.nodes.len()).expect("memory ends before the numbers do");
        self.nodes.push(Node { act: act.clone(), edges: HashMap::new() });
        self.by_print.insert(print, number);
        (number, true)
    }
}

/// Carries out one request; its result, and the result's name.
fn perform<'s>(
    act: &MachineRequest,
    disk: &mut impl Disks,
    store: &mut Option<SimStore>,
    scratch: &'s mut Vec<u8>,
) -> (Reply<'s>, u128) {
    let done = |result: Result<(), DeviceError>| match result {
        Ok(()) => (Reply::Done, 1),
        Err(error) => (Reply::Failed(error), print_of(format_args!("{error:?}"))),
    };
    match act {
        MachineRequest::Read(offset, len) => {
            scratch.resize(*len, 0);
            match disk.read(*offset, scratch) {
                Ok(()) => (Reply::Bytes(scratch), XxHash3_128::oneshot(scratch)),
                Err(error) => done(Err(error)),
            }
        }
        MachineRequest::Write(offset, bytes) => done(disk.write(*offset, bytes)),
        MachineRequest::Erase(offset, len) => done(disk.erase(*offset, *len)),
        MachineRequest::Flush(part) => done(disk.flush_part(part)),
        MachineRequest::ReadFloor(kind) => match store.get_or_insert_default().read(*kind) {
            Ok(floor) => (Reply::Floor(floor), print_of(format_args!("{floor:?}"))),
            Err(StoreError) => (Reply::StoreFailed, 2),
        },
        MachineRequest::ProbeFloor(kind, floor) => {
            match store.get_or_insert_default().probe(*kind, *floor) {
                Ok(()) => (Reply::Done, 1),
                Err(StoreError) => (Reply::StoreFailed, 2),
            }
        }
        MachineRequest::RaiseFloor(kind, floor) => {
            match store.get_or_insert_default().raise(*kind, *floor) {
                Ok(()) => (Reply::Done, 1),
                Err(StoreError) => (Reply::StoreFailed, 2),
            }
        }
        MachineRequest::End(_) => (Reply::Done, 1),
    }
}
