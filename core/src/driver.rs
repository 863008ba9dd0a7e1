//! The I/O of the core: carries out the actions of the machines on devices and streams.
//!
//! No decision is made here. Each function is the loop "step, do, step" for blocking devices; `asynch`
//! has them for asynchronous ones. A caller with other devices writes the same loop around the same
//! machines.

use crate::boot::{self, Boot};
use crate::device::{BlockDevice, DeviceError};
use crate::format::{Floor, Role, SlotKind};
use crate::install::{self, Install, InstallError, Installed, Permission, Progress, Update};
use crate::io::{Io, IoResult};
use crate::request::{self, Answer, Perform, RequestError};
use crate::verify::Sha256;

/// Keeps the floor where the disk cannot reach it: a firmware variable, a TPM, RPMB, fuses.
pub trait RollbackStore {
    /// The floor of slots of `kind`, `None` if none was ever stored.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing new is tried or installed then.
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError>;

    /// Whether [`raise`](Self::raise) to `floor` would succeed, as far as this can be found out
    /// without doing it: room for a value, a lock, wear. Asked before an update is installed.
    ///
    /// # Errors
    /// [`StoreError`] if it would not.
    fn probe(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError>;

    /// Raises the floor of slots of `kind`. Called with higher values only. A store that is asked
    /// for a lower value keeps its own.
    ///
    /// # Errors
    /// [`StoreError`]. The floor is unchanged then.
    fn raise(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError>;
}

/// The store of the floor did not answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StoreError;

impl core::fmt::Display for StoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the store of the security floor failed")
    }
}

impl core::error::Error for StoreError {}

/// For devices without a store: the floor is kept in the boot record alone.
#[derive(Clone, Copy, Debug)]
pub struct NoStore;

impl RollbackStore for NoStore {
    fn read(&mut self, _kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        Ok(None)
    }
    fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        Ok(())
    }
    fn raise(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Where components of load class `ram` go: the memory from which they are started.
pub trait Memory {
    /// Forgets everything that was loaded: it belongs to a slot that did not verify.
    fn clear(&mut self);

    /// Provides `len` bytes for component number `component`.
    fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool;

    /// The memory that was provided for the component.
    fn bytes(&mut self, component: usize) -> &mut [u8];
}

/// For loaders that load nothing: images run in place, and are hashed where they stand.
#[derive(Clone, Copy, Debug)]
pub struct InPlace;

impl Memory for InPlace {
    fn clear(&mut self) {}
    fn reserve(&mut self, _component: usize, _role: Role, _len: u64) -> bool {
        false
    }
    fn bytes(&mut self, _component: usize) -> &mut [u8] {
        &mut []
    }
}

/// Carries out `io` on one of `devices`, through `buffer`.
///
/// # Errors
/// The error of the device; [`DeviceError::OutOfRange`] for a device or range that does not exist.
pub fn carry_out(io: &Io, devices: &mut [&mut dyn BlockDevice], buffer: &mut [u8]) -> IoResult {
    let number = match io {
        Io::Read { device, .. }
        | Io::Write { device, .. }
        | Io::Erase { device, .. }
        | Io::Flush { device } => *device,
    };
    let device = devices.get_mut(usize::from(number)).ok_or(DeviceError::OutOfRange)?;
    match io {
        Io::Read { offset, range, .. } => {
            device.read(*offset, buffer.get_mut(range.clone()).ok_or(DeviceError::OutOfRange)?)
        }
        Io::Write { offset, range, .. } => {
            device.write(*offset, buffer.get(range.clone()).ok_or(DeviceError::OutOfRange)?)
        }
        Io::Erase { offset, len, .. } => device.erase(*offset, *len),
        Io::Flush { .. } => device.flush(),
    }
}

/// Runs `machine` until it hands over or stops. Returns the proof to hand over with, or `None` when
/// nothing can be started. Then show [`Boot::report`].
///
/// `event` is [`Event::Start`](boot::Event::Start) at power-on. If the image that was handed over
/// to returns before its own code ran, call again with [`Event::Returned`](boot::Event::Returned).
pub fn boot<H: Sha256>(
    machine: &mut Boot<'_, H>,
    event: boot::Event<'_>,
    devices: &mut [&mut dyn BlockDevice],
    store: &mut dyn RollbackStore,
    memory: &mut dyn Memory,
    buffer: &mut [u8],
) -> Option<crate::format::BootProof> {
    use boot::{Action, Event};
    let mut action = machine.step(event, buffer);
    loop {
        let event = match action {
            Action::Io(io) => match carry_out(&io, devices, buffer) {
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
                let target = memory.bytes(component).get_mut(range);
                match (devices.get_mut(usize::from(device)), target) {
                    (_, None) => Event::NoMemory,
                    (None, _) => Event::Failed(DeviceError::OutOfRange),
                    (Some(device), Some(target)) => match device.read(from, target) {
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

/// A stream of bytes that can skip some of them.
pub trait Source {
    /// Reads some bytes; 0 only at the end of the stream, or for an empty `into`.
    ///
    /// # Errors
    /// [`SourceError`].
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError>;

    /// Skips `len` bytes.
    ///
    /// # Errors
    /// [`SourceError`], also when the stream ends before that.
    fn skip(&mut self, len: u64) -> Result<(), SourceError>;

    /// Whether anything follows. Asked where the signed lengths say that the bundle ends, and after
    /// `true` nothing else is asked.
    ///
    /// A stream with an end of its own, such as a file, takes one more byte to find out
    /// ([`read_more`]): bytes that follow were not signed, and the bundle is
    /// [refused](crate::install::Refusal::Trailing). A stream without an end, such as a serial line,
    /// returns `false` and reads nothing: it would wait for a byte that does not come, or take the
    /// first one of what comes next.
    ///
    /// # Errors
    /// [`SourceError`].
    fn has_more(&mut self) -> Result<bool, SourceError>;

    /// Whether the slot that is written is known to hold the next `len` bytes in their place
    /// already. They are then skipped, and only the read-back shows whether this was right.
    ///
    /// Asked where the configuration says that the source knows:
    /// [`Reuse::stated`](crate::install::Reuse::stated).
    fn is_held(&mut self, len: u64) -> bool {
        let _ = len;
        false
    }
}

/// The stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SourceError;

impl core::fmt::Display for SourceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the source of the bundle failed")
    }
}

impl core::error::Error for SourceError {}

/// Any `embedded_io` reader that ends, such as a file, as a [`Source`]. Skipped bytes are read and
/// discarded.
#[derive(Debug)]
pub struct Stream<R>(pub R);

/// Any `embedded_io` reader without an end, such as a serial line, as a [`Source`]: not one byte
/// behind the bundle is read. Skipped bytes are read and discarded.
#[derive(Debug)]
pub struct Unbounded<R>(pub R);

impl<R: embedded_io::Read> Source for Stream<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into).map_err(|_| SourceError)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        read_past(self, len)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

impl<R: embedded_io::Read> Source for Unbounded<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into).map_err(|_| SourceError)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        read_past(self, len)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// [`Source::skip`] by reading.
///
/// # Errors
/// [`SourceError`], also when the stream ends before that.
pub fn read_past(source: &mut dyn Source, mut len: u64) -> Result<(), SourceError> {
    let mut scrap = [0; 256];
    while len > 0 {
        let most = len.min(scrap.len() as u64) as usize;
        match fill(source, &mut scrap[..most])? {
            n if n == most => len -= n as u64,
            // The stream ended before the end that the bundle declares.
            _ => return Err(SourceError),
        }
    }
    Ok(())
}

/// [`Source::has_more`] of a stream with an end, by reading one byte.
///
/// # Errors
/// [`SourceError`].
pub fn read_more(source: &mut dyn Source) -> Result<bool, SourceError> {
    Ok(fill(source, &mut [0])? > 0)
}

/// Fills `into` from `source`; returns how many bytes came before the stream ended.
pub(crate) fn fill(source: &mut dyn Source, into: &mut [u8]) -> Result<usize, SourceError> {
    let mut filled = 0;
    while filled < into.len() {
        let left = into.len() - filled;
        match source.read(&mut into[filled..])? {
            0 => break,
            n if n > left => return Err(SourceError),
            n => filled += n,
        }
    }
    Ok(filled)
}

/// What an installation asks of its surroundings besides devices and the stream.
pub trait InstallHost {
    /// Whether an update may be installed now. Asked once, before anything is written. The host
    /// keeps the reason.
    fn judge(&mut self, update: &Update<'_>) -> Permission;

    /// Called after every step, to show how far the installation has come.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }
}

/// For factories and tests: whatever passes the mandatory checks is installed, also an update that has
/// failed here before. A device in the field needs a host that refuses that, or it tries the same
/// update for ever: `stillboot_policy::judge_failures` does.
#[derive(Clone, Copy, Debug)]
pub struct NoPolicy;

impl InstallHost for NoPolicy {
    fn judge(&mut self, _update: &Update<'_>) -> Permission {
        Permission::Proceed
    }
}

/// Runs `machine` to its end: installs what `source` streams.
///
/// # Errors
/// [`InstallError`]. The device still boots what it did before.
pub fn install<H: Sha256>(
    machine: &mut Install<'_, H>,
    devices: &mut [&mut dyn BlockDevice],
    store: &mut dyn RollbackStore,
    source: &mut dyn Source,
    host: &mut dyn InstallHost,
    buffer: &mut [u8],
) -> Result<Installed, InstallError> {
    use install::{Action, Event};
    let mut event = Event::Start;
    loop {
        let action = machine.step(event, buffer);
        host.progress(machine.progress());
        event = match action {
            Action::Io(io) => match carry_out(&io, devices, buffer) {
                Ok(()) => Event::Done,
                Err(error) => Event::Failed(error),
            },
            Action::Receive(range) => match buffer.get_mut(range) {
                Some(into) => match fill(source, into) {
                    Ok(len) => Event::Received(len),
                    Err(SourceError) => Event::SourceFailed,
                },
                None => Event::SourceFailed,
            },
            Action::Skip(len) => match source.skip(len) {
                Ok(()) => Event::Done,
                Err(SourceError) => Event::SourceFailed,
            },
            Action::IsHeld(len) => match source.is_held(len) {
                true => Event::Done,
                false => Event::Failed(DeviceError::NotKept),
            },
            Action::ExpectEnd => match source.has_more() {
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

/// Runs `machine` to its end: carries out a request of the running system or its operator.
///
/// # Errors
/// [`RequestError`]. The record is then unchanged, or already has the change that was asked for.
pub fn perform(
    machine: &mut Perform<'_>,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Answer, RequestError> {
    let mut result = Ok(());
    loop {
        match machine.step(result, buffer) {
            request::Action::Io(io) => result = carry_out(&io, devices, buffer),
            request::Action::Finish(answer) => return Ok(answer),
            request::Action::Fail(error) => return Err(error),
        }
    }
}
