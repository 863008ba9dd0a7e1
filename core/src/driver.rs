//! The only I/O of the core: carries out the actions of the machines on devices and streams.
//!
//! No decision is made here. Each function is the loop "step, do, step" for blocking devices. A
//! caller with other devices writes the same loop around the same machines.

use crate::area::{Area, Outcome};
use crate::boot::{self, Boot};
use crate::device::{BlockDevice, DeviceError};
use crate::format::{
    Envelope, Floor, FormatError, Manifest, Record, Role, Slot, SlotKind, envelope,
};
use crate::install::{
    self, Install, InstallError, Installed, Permission, Progress, Refusal, Update,
};
use crate::io::{Io, IoResult, Step};
use crate::layout::{Layout, LayoutError};
use crate::operate::{self, Answer, Operate, OperateError};
use crate::units::round_down;
use crate::verify::{
    Device, HeadReader, IndexFold, Progress as HeadProgress, Sha256, TrustError, Verified,
    check_class, verify_head,
};

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

/// A stream of bytes that ends, and can skip some of them.
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
}

/// The stream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SourceError;

/// Any `embedded_io` reader as a [`Source`]. Skipped bytes are read and discarded.
#[derive(Debug)]
pub struct Stream<R>(pub R);

impl<R: embedded_io::Read> Source for Stream<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into).map_err(|_| SourceError)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        let mut scrap = [0; 256];
        while len > 0 {
            let most = len.min(scrap.len() as u64) as usize;
            match self.read(&mut scrap[..most])? {
                // The stream ended before the end that the bundle declares.
                0 => return Err(SourceError),
                // A reader that claims more than it was given room for is broken.
                n if n > most => return Err(SourceError),
                n => len -= n as u64,
            }
        }
        Ok(())
    }
}

/// Fills `into` from `source`; returns how many bytes came before the stream ended.
fn fill(source: &mut dyn Source, into: &mut [u8]) -> Result<usize, SourceError> {
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
    fn judge(&mut self, offer: &Update<'_>) -> Permission;

    /// Called after every step, to show how far the installation has come.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
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
            Action::ExpectEnd => match fill(source, &mut buffer[..1]) {
                Ok(len) => Event::Received(len),
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
            Action::Judge => match machine.offer(buffer) {
                Some(offer) => Event::Judged(host.judge(&offer)),
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
/// [`OperateError`]. The record is then unchanged, or already has the change that was asked for.
pub fn operate(
    machine: &mut Operate<'_>,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Answer, OperateError> {
    let mut result = Ok(());
    loop {
        match machine.step(result, buffer) {
            operate::Action::Io(io) => result = carry_out(&io, devices, buffer),
            operate::Action::Finish(answer) => return Ok(answer),
            operate::Action::Fail(error) => return Err(error),
        }
    }
}

/// Checks a whole bundle without a device: signatures, every index, every chunk, exact length. With
/// `plain`, checks each component's plain SHA-256 too. Devices never ask for that digest, and
/// everything is hashed twice then.
///
/// `buffer` holds the head of the bundle, at most [`HEAD_LEN_MAX`](crate::verify::HEAD_LEN_MAX)
/// bytes. A longer buffer makes this faster.
///
/// # Errors
/// [`InstallError::Refused`] or [`InstallError::Source`].
pub fn verify_bundle<H: Sha256>(
    device: &Device<'_>,
    kind: SlotKind,
    source: &mut dyn Source,
    plain: bool,
    progress: &mut dyn FnMut(u64),
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, InstallError> {
    let refused = InstallError::Refused;
    let available = buffer.len();
    let check_room = |needed: usize| {
        if needed <= available {
            return Ok(());
        }
        Err(refused(Refusal::Layout(LayoutError::Buffer { needed, available })))
    };
    let mut receive = |into: &mut [u8]| match fill(source, into) {
        Ok(len) if len == into.len() => Ok(()),
        Ok(_) => Err(refused(Refusal::Ended)),
        Err(SourceError) => Err(InstallError::Source),
    };
    let envelopes = device.trust.envelopes();
    let mut end = 0;
    for number in 0..envelopes {
        let (from, body) = (end, end + envelope::HEADER_LEN);
        check_room(body)?;
        receive(&mut buffer[from..body])?;
        let mut header = [0; envelope::HEADER_LEN];
        header.copy_from_slice(&buffer[from..body]);
        let keyset = number + 1 < envelopes;
        let wrap = if keyset { TrustError::Keyset } else { TrustError::Manifest };
        let len = Envelope::len_from_header(&header)
            .map_err(|error| refused(Refusal::Trust(wrap(error))))?;
        end = from + len;
        check_room(end)?;
        receive(&mut buffer[body..end])?;
    }
    let (manifest, _) = verify_head::<H>(device, kind, &buffer[..end])
        .map_err(|error| refused(Refusal::Trust(error)))?;
    let mut done = 0;
    for (number, component) in manifest.components.iter().enumerate() {
        let index_len = component.index_len(manifest.chunk_size);
        for (len, is_index) in [(index_len, true), (component.length, false)] {
            let mut fold = IndexFold::<H>::new(component.length, manifest.chunk_size);
            let mut digest = H::new();
            let mut left = len;
            while left > 0 {
                // Whole entries at a time: the buffer is cut to a multiple of 32, their length.
                let take = left.min((buffer.len() / 32 * 32) as u64) as usize;
                receive(&mut buffer[..take])?;
                if is_index {
                    fold.entries(&buffer[..take]);
                } else {
                    fold.bytes(&buffer[..take]);
                    if plain {
                        digest.update(&buffer[..take]);
                    }
                    done += take as u64;
                    progress(done);
                }
                left -= take as u64;
            }
            let plain_differs = plain && !is_index && digest.finish() != component.sha256;
            if fold.finish() != component.index_root || plain_differs {
                return Err(refused(Refusal::Content { component: number }));
            }
        }
    }
    match fill(source, &mut buffer[..1]) {
        Ok(0) => Ok(manifest),
        Ok(_) => Err(refused(Refusal::Trailing)),
        Err(SourceError) => Err(InstallError::Source),
    }
}

/// Reads the head of a slot and verifies it, and that it is for this device and fits the layout;
/// writes nothing. `buffer` holds at least [`Boot::buffer_len_min`] bytes.
///
/// # Errors
/// The [`Reason`](boot::Reason) for which a boot would skip the slot.
pub fn verify_slot_head<H: Sha256>(
    device: &Device<'_>,
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, boot::Reason> {
    use boot::Reason;
    let (needed, available) = (Boot::<H>::buffer_len_min(layout), buffer.len());
    if available < needed {
        return Err(Reason::Layout(LayoutError::Buffer { needed, available }));
    }
    // In a log, only the log says where the head is.
    let mut area = Area::new(0);
    if layout.is_log() {
        let mut record = Record::default();
        let mut io = area.begin_read(layout);
        loop {
            let result = carry_out(&io, devices, buffer);
            match area.step_record(layout, result, buffer, &mut record) {
                Step::Io(next) => io = next,
                Step::Done(Outcome::WriteFailed(error)) => return Err(Reason::Device(error)),
                Step::Done(Outcome::Read(_) | Outcome::Written) => break,
            }
        }
    }
    if !layout.has(slot) {
        return Err(Reason::Layout(LayoutError::NoSuchSlot(slot)));
    }
    let short = Reason::Trust(TrustError::Manifest(FormatError::Short));
    let region = area.head(layout, slot).ok_or(short)?;
    let block = layout.geometry(region.device).logical_block_bytes;
    let mut reader = HeadReader::new();
    reader.restart(device);
    let (mut from, mut len) = (0, 1);
    loop {
        let start = round_down(from as u64, block);
        let there = (region.len - start.min(region.len)).min(round_down(available as u64, block));
        let window = 0..there as usize;
        if window.end < from - start as usize + len {
            return Err(short);
        }
        let offset = region.offset + start;
        let io = Io::Read { device: region.device, offset, range: window.clone() };
        carry_out(&io, devices, buffer).map_err(Reason::Device)?;
        let window = &buffer[window];
        let progress = reader.take::<H>(device, slot.kind(), window, start as usize);
        match progress.map_err(Reason::Trust)? {
            HeadProgress::More { from: next, len: needed } => (from, len) = (next, needed),
            HeadProgress::Done { payload, .. } => {
                let mut manifest = None;
                reader.manifest(device, window, payload, &mut manifest).map_err(Reason::Trust)?;
                let manifest = manifest.ok_or(short)?;
                check_class(device, &manifest).map_err(Reason::Class)?;
                layout.check_fit(slot, &manifest).map_err(Reason::Layout)?;
                return Ok(manifest);
            }
        }
    }
}

/// Reads a slot in full and checks it against its manifest; writes nothing. `late` components are
/// checked too.
///
/// # Errors
/// The [`Reason`](boot::Reason) for which a boot would skip the slot.
pub fn scrub<H: Sha256>(
    device: &Device<'_>,
    layout: &Layout<'_>,
    slot: Slot,
    devices: &mut [&mut dyn BlockDevice],
    progress: &mut dyn FnMut(u64),
    buffer: &mut [u8],
) -> Result<Verified<Manifest>, boot::Reason> {
    use boot::Reason;
    let manifest = verify_slot_head::<H>(device, layout, slot, devices, buffer)?;
    let most = (buffer.len() / layout.unit() * layout.unit()) as u64;
    let mut done = 0;
    for (number, component) in manifest.components_of(slot) {
        let data = layout.component(slot, &manifest, number).map_err(Reason::Layout)?;
        let unit = u64::from(layout.geometry(data.device).logical_block_bytes);
        let mut fold = IndexFold::<H>::new(component.length, manifest.chunk_size);
        let (mut at, end) = (0, component.length.next_multiple_of(unit));
        while at < end {
            let len = (end - at).min(most) as usize;
            let io = Io::Read { device: data.device, offset: data.offset + at, range: 0..len };
            carry_out(&io, devices, buffer).map_err(Reason::Device)?;
            fold.bytes(&buffer[..len]);
            at += len as u64;
            progress(done + at);
        }
        done += end;
        if fold.finish() != component.index_root {
            return Err(Reason::Corrupt { role: component.role });
        }
    }
    Ok(manifest)
}
