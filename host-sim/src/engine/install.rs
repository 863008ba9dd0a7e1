//! The machine of an update.

use std::ops::Range;
use std::sync::Arc;

use stillboot::device::DeviceError;
use stillboot::format::BootProof;
use stillboot::install::{self, Event, Install, InstallConfig};
use stillboot_policy::{self as policy, Clock, Facts, Policy};
use twox_hash::XxHash3_128;

use super::machine::{Machine, POISON, request_of};
use super::print::{Traced, print_of};
use super::program::{Outcome, Setting};
use super::request::{MachineRequest, Reply};
use super::stream::{Got, Stream};
use crate::world::DeviceMap;

pub(super) struct InstallMachine<'a> {
    ground: &'a DeviceMap,
    machine: Install<'a, Traced>,
    /// Two bundles cannot be distinguished by what was read of them before the first byte.
    number: usize,
    stream: Stream<'a>,
    /// What the core waits for while old bytes are read from this place.
    waiting: Option<(Receipt, u64)>,
    buffer: Vec<u8>,
    read_to: Option<Range<usize>>,
    /// Where the copies of the record are, and the buffer's range that they were read to. None of a
    /// log, which compares what it has read with what it reads next.
    record: Vec<u64>,
    record_range: Option<Range<usize>>,
}

/// Bytes of the bundle that the core asks for.
#[derive(Clone, Debug)]
enum Receipt {
    /// To this range of the buffer.
    Bytes(Range<usize>),
    /// Nothing may be left.
    End,
}

impl<'a> InstallMachine<'a> {
    pub(super) fn new(
        setting: &'a Setting<'a>,
        config: &'a InstallConfig<'a>,
        number: usize,
        running: Option<&BootProof>,
    ) -> Self {
        Self {
            ground: &setting.ground,
            machine: Install::new(config),
            number,
            stream: Stream::new(setting, &config.layout, number, running),
            waiting: None,
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

impl InstallMachine<'_> {
    /// Gives the core what it asks for, or says which old bytes that takes.
    fn receive(&mut self, receipt: Receipt) -> Result<Event, MachineRequest> {
        let mut end = [0];
        let into = match &receipt {
            Receipt::Bytes(range) => &mut self.buffer[range.clone()],
            Receipt::End => &mut end[..],
        };
        match self.stream.read(into) {
            Got::Bytes(len) => Ok(Event::Received(len)),
            Got::Failed => Ok(Event::SourceFailed),
            Got::Old(place, len) => {
                self.waiting = Some((receipt, place));
                Err(MachineRequest::Read(place, len))
            }
        }
    }

    /// What the core is told of an answer.
    fn event(&mut self, got: Reply<'_>) -> Result<Event, MachineRequest> {
        if let Some((receipt, place)) = self.waiting.take() {
            match got {
                Reply::Bytes(bytes) => self.stream.learn(place, Some(bytes)),
                _ => self.stream.learn(place, None),
            }
            return self.receive(receipt);
        }
        Ok(match got {
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
        })
    }
}

impl Machine for InstallMachine<'_> {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest {
        use install::Action;
        let mut event = match self.event(got) {
            Ok(event) => event,
            Err(request) => return request,
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
                Action::Receive(range) => match self.receive(Receipt::Bytes(range)) {
                    Ok(event) => event,
                    Err(request) => return request,
                },
                Action::Skip(len) => match self.stream.skip(len) {
                    true => Event::Done,
                    false => Event::SourceFailed,
                },
                Action::IsHeld(len) => match self.stream.is_held(len) {
                    true => Event::Done,
                    false => Event::Failed(DeviceError::NotKept),
                },
                Action::ExpectEnd => match self.receive(Receipt::End) {
                    Ok(event) => event,
                    Err(request) => return request,
                },
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
        let (position, old) = self.stream.state();
        print_of(format_args!(
            "{:?}{:?}{:?}{} {position}{buffer:x}{:?}{old:x}",
            self.machine, self.read_to, self.record_range, self.number, self.waiting
        ))
    }
}
