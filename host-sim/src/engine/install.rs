//! The machine of an update.

use std::ops::Range;
use std::sync::Arc;

use stillboot::install::{self, Install, InstallConfig};
use stillboot_policy::{self as policy, Clock, Facts, Policy};
use twox_hash::XxHash3_128;

use super::machine::{Machine, POISON, request_of};
use super::print::{Traced, print_of};
use super::program::{Outcome, Setting};
use super::request::{MachineRequest, Reply};
use crate::world::DeviceMap;

pub(super) struct InstallMachine<'a> {
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

impl<'a> InstallMachine<'a> {
    pub(super) fn new(
        setting: &'a Setting<'a>,
        config: &'a InstallConfig<'a>,
        number: usize,
    ) -> Self {
        Self {
            ground: &setting.ground,
            machine: Install::new(config),
            number,
            bundle: &setting.bundles[number],
            position: 0,
            buffer: vec![POISON; Install::<Traced>::buffer_len_min(&config.layout, 4096)],
            read_to: None,
            record: match setting.ground.is_log() {
                true => Vec::new(),
                false => {
                    let places = setting.ground.places().iter();
                    places.map(|place| setting.ground.place(*place)).collect()
                }
            },
            record_range: None,
        }
    }
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
                Action::Judge => match self.machine.update(&self.buffer) {
                    Some(update) => {
                        let facts = Facts::new(update.manifest, update.body, Clock::default())
                            .with_running_version(update.running_version);
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
                _ => unreachable!("the simulator carries out every action"),
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
