//! Programs, run along the graph of what the machines did.

// Why: docs/DESIGN.md#why-equal-points-count

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use stillboot::boot::BootConfig;
use stillboot::install::{InstallConfig, Reuse, Running};

use super::boot::BootMachine;
use super::install::InstallMachine;
use super::machine::Machine;
use super::perform::PerformMachine;
use super::print::{chain, print_of};
use super::program::{Outcome, Program, Setting};
use super::request::{Disks, MachineRequest, Reply, perform};
use crate::world::SimStore;

/// Most runs of the core that one program takes, each for a result that was new.
const TRIES_MAX: u32 = 10_000;

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

/// A state of a machine: what it asks for, and the state after each result.
#[derive(Debug)]
struct Node {
    act: MachineRequest,
    edges: HashMap<u128, u32>,
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
            let config = BootConfig::new(setting.device, layout, nonce)
                .with_tries(setting.tries)
                .with_store(has_store)
                .with_check_late(true)
                .with_watchdog_reset(watchdog_reset);
            run(&mut BootMachine::new(&setting.ground, &config, returns))
        }
        Program::Install { bundle, running, target, repair } => {
            let config = InstallConfig::new(
                setting.device,
                layout,
                running.map_or(Running::Offline, Running::Proof),
            )
            .with_target(target)
            .with_tries(setting.tries)
            .with_store(has_store)
            .with_repair(repair)
            .with_reuse(Reuse { stated: setting.stated.contains(&bundle), ..Reuse::default() });
            run(&mut InstallMachine::new(setting, &config, bundle, running.as_ref()))
        }
        Program::Perform(request) => {
            run(&mut PerformMachine::new(&setting.ground, &layout, request))
        }
    }
}
