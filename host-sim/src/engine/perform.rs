//! The machine of a request.

use std::ops::Range;
use std::sync::Arc;

use stillboot::layout::Layout;
use stillboot::request::{self, Perform, Request};

use super::machine::{Machine, POISON, request_of};
use super::print::print_of;
use super::program::Outcome;
use super::request::{MachineRequest, Reply};
use crate::world::DeviceMap;

pub(super) struct PerformMachine<'a> {
    ground: &'a DeviceMap,
    machine: Perform<'a>,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
}

impl<'a> PerformMachine<'a> {
    pub(super) fn new(ground: &'a DeviceMap, layout: &'a Layout<'a>, request: Request) -> Self {
        Self {
            ground,
            machine: Perform::new(layout, request),
            buffer: vec![POISON; Perform::buffer_len_min(layout)],
            read_to: None,
        }
    }
}

impl Machine for PerformMachine<'_> {
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
            request::Action::Io(io) => {
                let (act, range) = request_of(&io, &self.buffer, self.ground);
                self.read_to = range;
                act
            }
            request::Action::Finish(answer) => {
                MachineRequest::End(Arc::new(Outcome::Perform(Ok(answer))))
            }
            request::Action::Fail(error) => {
                MachineRequest::End(Arc::new(Outcome::Perform(Err(error))))
            }
            _ => unreachable!("the simulator carries out every action"),
        };
        self.buffer.fill(POISON);
        act
    }

    fn print(&self) -> u128 {
        print_of(format_args!("{:?}{:?}", self.machine, self.read_to))
    }
}
