//! The drivers of [`driver`](crate::driver) for asynchronous devices and streams.
//!
//! The machines are the same, and so is what holds after a power cut. Stores of the floor, memory and
//! hosts are those of the blocking drivers.
//!
//! A driver gives the executor a turn after each step of its machine. The longest that it keeps the
//! executor is one step, which checks a signature, or hashes what one operation has brought: a chunk
//! of the stream, as much as fits the caller's buffer when a slot is read back, or up to
//! [`LOAD_LEN_MAX`](crate::boot::LOAD_LEN_MAX) bytes of a component that is loaded. Stores, memory
//! and hosts are called in place, so what they wait for the executor waits for too.
//!
//! The futures borrow trait objects and are not [`Send`]: they run on the executor of one core.
//!
//! # When a future is dropped
//!
//! Between two operations a dropped future is harmless: the machine is gone, the device keeps what it
//! has. Before another machine starts,
//!
//! 1. the operation that was under way is over, and touches neither the buffer nor the device any
//!    more: see [`BlockDevice`];
//! 2. every device of the layout is flushed. A new machine reads what was written and not flushed, and
//!    would rely on bytes that a power cut can still take away;
//! 3. the stream of an installation starts from its first byte. The new machine finds what is there.
//!
//! The device is then as after a power cut during that operation.
//!
//! # Example
//!
//! ```
//! use embedded_io_async::Read;
//! use stillboot::asynch::{self, BlockDevice, Unbounded};
//! use stillboot::driver::{InstallHost, NoStore};
//! use stillboot::install::{Install, InstallConfig, InstallError, Installed};
//! use stillboot::verify::SoftSha256;
//!
//! async fn update(
//!     config: &InstallConfig<'_>,
//!     flash: &mut impl BlockDevice,
//!     uart: &mut impl Read,
//!     host: &mut dyn InstallHost,
//!     buffer: &mut [u8],
//! ) -> Result<Installed, InstallError> {
//!     let mut machine = Install::<SoftSha256>::new(config);
//!     let source = &mut Unbounded(uart);
//!     asynch::install(&mut machine, flash, &mut NoStore, source, host, buffer).await
//! }
//! ```

#![allow(async_fn_in_trait, reason = "the futures are not `Send`, see the page of the module")]

mod device;
mod pause;
mod source;

use crate::boot::{self, Boot};
use crate::device::DeviceError;
use crate::driver::{InstallHost, Memory, RollbackStore, SourceError, StoreError};
use crate::format::BootProof;
use crate::install::{self, Install, InstallError, Installed};
use crate::io::{Io, IoResult};
use crate::request::{self, Answer, Perform, RequestError};
use crate::verify::Sha256;

pub use device::{BlockDevice, Devices, NorDevice};
use pause::pause;
use source::fill;
pub use source::{Source, Stream, Unbounded, read_more, read_past};

/// Carries out `io` on one of `devices`, through `buffer`.
///
/// # Errors
/// The error of the device; [`DeviceError::OutOfRange`] for a device or range that does not exist.
pub async fn carry_out<D>(io: &Io, devices: &mut D, buffer: &mut [u8]) -> IoResult
where
    D: Devices + ?Sized,
{
    match io {
        Io::Read { device, offset, range } => {
            let into = buffer.get_mut(range.clone()).ok_or(DeviceError::OutOfRange)?;
            devices.read_device(*device, *offset, into).await
        }
        Io::Write { device, offset, range } => {
            let bytes = buffer.get(range.clone()).ok_or(DeviceError::OutOfRange)?;
            devices.write_device(*device, *offset, bytes).await
        }
        Io::Erase { device, offset, len } => devices.erase_device(*device, *offset, *len).await,
        Io::Flush { device } => devices.flush_device(*device).await,
    }
}

/// Runs `machine` until it hands over or stops, as [`driver::boot`](crate::driver::boot).
pub async fn boot<H: Sha256, D: Devices + ?Sized>(
    machine: &mut Boot<'_, H>,
    event: boot::Event<'_>,
    devices: &mut D,
    store: &mut dyn RollbackStore,
    memory: &mut dyn Memory,
    buffer: &mut [u8],
) -> Option<BootProof> {
    use boot::{Action, Event};
    let mut action = machine.step(event, buffer);
    loop {
        pause().await;
        let event = match action {
            Action::Io(io) => match carry_out(&io, devices, buffer).await {
                Ok(()) => Event::Done,
                Err(error) => Event::Failed(error),
            },
            Action::ReadFloor(kind) => match store.read(kind) {
                Ok(floor) => Event::Floor(floor),
                Err(StoreError) => Event::StoreFailed,
            },
            Action::RaiseFloor(kind, floor) => match store.raise(kind, floor) {
                Ok(()) => Event::Done,
                Err(StoreError) => Event::StoreFailed,
            },
            Action::Reserve { component, role, len, first } => {
                if first {
                    memory.clear();
                }
                if memory.reserve(component, role, len) { Event::Done } else { Event::NoMemory }
            }
            Action::Forget => {
                memory.clear();
                Event::Done
            }
            Action::Load { component, device, from, to, len } => {
                let range = to as usize..(to + u64::from(len)) as usize;
                match memory.bytes(component).get_mut(range) {
                    None => Event::NoMemory,
                    Some(target) => match devices.read_device(device, from, target).await {
                        Ok(()) => Event::Loaded(target),
                        Err(error) => Event::Failed(error),
                    },
                }
            }
            Action::HandOver(proof) => return Some(proof),
            Action::Stop => return None,
        };
        action = machine.step(event, buffer);
    }
}

/// Runs `machine` to its end, as [`driver::install`](crate::driver::install).
///
/// # Errors
/// [`InstallError`]. The device still boots what it did before.
pub async fn install<H: Sha256, D: Devices + ?Sized, S: Source + ?Sized>(
    machine: &mut Install<'_, H>,
    devices: &mut D,
    store: &mut dyn RollbackStore,
    source: &mut S,
    host: &mut dyn InstallHost,
    buffer: &mut [u8],
) -> Result<Installed, InstallError> {
    use install::{Action, Event};
    let mut event = Event::Start;
    loop {
        let action = machine.step(event, buffer);
        host.progress(machine.progress());
        pause().await;
        event = match action {
            Action::Io(io) => match carry_out(&io, devices, buffer).await {
                Ok(()) => Event::Done,
                Err(error) => Event::Failed(error),
            },
            Action::Receive(range) => match buffer.get_mut(range) {
                Some(into) => match fill(source, into).await {
                    Ok(len) => Event::Received(len),
                    Err(SourceError) => Event::SourceFailed,
                },
                None => Event::SourceFailed,
            },
            Action::Skip(len) => match source.skip(len).await {
                Ok(()) => Event::Done,
                Err(SourceError) => Event::SourceFailed,
            },
            Action::IsHeld(len) => match source.is_held(len) {
                true => Event::Done,
                false => Event::Failed(DeviceError::NotKept),
            },
            Action::ExpectEnd => match source.has_more().await {
                Ok(more) => Event::Received(more.into()),
                Err(SourceError) => Event::SourceFailed,
            },
            Action::ReadFloor(kind) => match store.read(kind) {
                Ok(floor) => Event::Floor(floor),
                Err(StoreError) => Event::StoreFailed,
            },
            Action::ProbeFloor(kind, floor) => match store.probe(kind, floor) {
                Ok(()) => Event::Done,
                Err(StoreError) => Event::StoreFailed,
            },
            Action::Judge => match machine.update(buffer) {
                Some(update) => Event::Judged(host.judge(&update)),
                None => Event::SourceFailed,
            },
            Action::Finish(installed) => return Ok(installed),
            Action::Fail(error) => return Err(error),
        };
    }
}

/// Runs `machine` to its end, as [`driver::perform`](crate::driver::perform).
///
/// # Errors
/// [`RequestError`]. The record is then unchanged, or already has the change that was asked for.
pub async fn perform<D: Devices + ?Sized>(
    machine: &mut Perform<'_>,
    devices: &mut D,
    buffer: &mut [u8],
) -> Result<Answer, RequestError> {
    let mut result = Ok(());
    loop {
        let action = machine.step(result, buffer);
        pause().await;
        match action {
            request::Action::Io(io) => result = carry_out(&io, devices, buffer).await,
            request::Action::Finish(answer) => return Ok(answer),
            request::Action::Fail(error) => return Err(error),
        }
    }
}
