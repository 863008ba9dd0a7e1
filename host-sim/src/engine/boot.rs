//! The machine of a power-on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use stillboot::boot::{self, Boot, BootConfig};
use stillboot::format::{BootProof, Role, Slot};

use super::machine::{Machine, POISON, request_of};
use super::print::{Traced, chain, print_of};
use super::program::{HandoverFailure, Outcome, Started};
use super::request::{MachineRequest, Reply};
use crate::world::DeviceMap;

pub(super) struct BootMachine<'a> {
    ground: &'a DeviceMap,
    machine: Boot<'a, Traced>,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
    load_to: Option<(usize, Range<usize>)>,
    loaded: BTreeMap<usize, (Role, Vec<u8>)>,
    loads: u128,
    returns: Option<(Slot, HandoverFailure)>,
}

impl<'a> BootMachine<'a> {
    pub(super) fn new(
        ground: &'a DeviceMap,
        config: &'a BootConfig<'a>,
        returns: Option<(Slot, HandoverFailure)>,
    ) -> Self {
        Self {
            ground,
            machine: Boot::new(config),
            buffer: vec![POISON; Boot::<Traced>::buffer_len_min(&config.layout)],
            read_to: None,
            load_to: None,
            loaded: BTreeMap::new(),
            loads: 0,
            returns,
        }
    }

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
                _ => unreachable!("the simulator carries out every action"),
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
