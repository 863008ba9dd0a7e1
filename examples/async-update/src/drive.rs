//! The loops of `stillboot::driver`, for asynchronous devices: step, await, step.
//!
//! Nothing is decided here, so nothing of the core is here a second time. A loop yields after each
//! step; the longest that it keeps the executor is one step of a machine, which hashes what one
//! operation has brought, or checks one head with its signatures. That is a chunk of the stream, as
//! much as fits the caller's buffer when a slot is read back, and in a power-on that loads a component
//! into memory up to [`LOAD_LEN_MAX`](stillboot::boot::LOAD_LEN_MAX) bytes of it.

use embassy_futures::yield_now;
use embedded_io_async::Read;
use embedded_storage_async::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};
use stillboot::boot::{self, Boot};
use stillboot::device::DeviceError;
use stillboot::format::BootProof;
use stillboot::install::{self, Install, InstallError, Installed};
use stillboot::io::{Io, IoResult};
use stillboot::request::{self, Answer, Perform, RequestError};
use stillboot::verify::SoftSha256;
use stillboot_policy as policy;

/// A caller that wants to know of each step.
pub trait StepObserver {
    /// The machine waits for so many bytes of the stream: what it had before is dealt with.
    fn receive(&mut self, _len: usize) {}
    /// A step begins.
    fn begin(&mut self);
    /// The step has ended; the executor may do something else.
    fn end(&mut self);
}

/// Carries out one operation on the flash.
async fn carry_out<F: NorFlash>(io: &Io, flash: &mut F, buffer: &mut [u8]) -> IoResult {
    let address = |offset: u64| u32::try_from(offset).map_err(|_| DeviceError::OutOfRange);
    let kind = |error: F::Error| match error.kind() {
        NorFlashErrorKind::NotAligned => DeviceError::Unaligned,
        NorFlashErrorKind::OutOfBounds => DeviceError::OutOfRange,
        _ => DeviceError::Io,
    };
    let range = DeviceError::OutOfRange;
    match io {
        Io::Read { offset, range: at, .. } => {
            let into = buffer.get_mut(at.clone()).ok_or(range)?;
            flash.read(address(*offset)?, into).await.map_err(kind)
        }
        Io::Write { offset, range: at, .. } => {
            let from = buffer.get(at.clone()).ok_or(range)?;
            flash.write(address(*offset)?, from).await.map_err(kind)
        }
        Io::Erase { offset, len, .. } => {
            let end = offset.checked_add(*len).ok_or(range)?;
            flash.erase(address(*offset)?, address(end)?).await.map_err(kind)
        }
        // What the asynchronous traits have done is durable.
        Io::Flush { .. } => Ok(()),
    }
}

/// Fills `into` from the stream; fewer bytes come only at its end.
async fn fill<R: Read>(source: &mut R, into: &mut [u8]) -> Result<usize, R::Error> {
    let mut filled = 0;
    while filled < into.len() {
        match source.read(&mut into[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Installs what `source` streams.
///
/// # Errors
/// As [`stillboot::driver::install`].
pub async fn install<F: NorFlash, R: Read>(
    machine: &mut Install<'_, SoftSha256>,
    flash: &mut F,
    source: &mut R,
    buffer: &mut [u8],
    watch: &mut impl StepObserver,
) -> Result<Installed, InstallError> {
    use install::{Action, Event};
    let mut event = Event::Start;
    loop {
        watch.begin();
        let action = machine.step(event, buffer);
        watch.end();
        yield_now().await;
        event = match action {
            Action::Io(io) => match carry_out(&io, flash, buffer).await {
                Ok(()) => Event::Done,
                Err(error) => Event::Failed(error),
            },
            Action::Receive(range) => {
                watch.receive(range.len());
                match buffer.get_mut(range) {
                    Some(into) => {
                        fill(source, into).await.map_or(Event::SourceFailed, Event::Received)
                    }
                    None => Event::SourceFailed,
                }
            }
            Action::Skip(len) => skip(source, len).await,
            Action::ExpectEnd => {
                let byte = &mut buffer[..1];
                fill(source, byte).await.map_or(Event::SourceFailed, Event::Received)
            }
            // This device has no store: the floor is in the record.
            Action::ReadFloor(_) => Event::Floor(None),
            Action::ProbeFloor(..) => Event::Done,
            Action::Judge => match machine.update(buffer) {
                Some(update) => Event::Judged(
                    policy::judge_failures(update.manifest, update.body, None, false).into(),
                ),
                None => Event::SourceFailed,
            },
            Action::Finish(installed) => return Ok(installed),
            Action::Fail(error) => return Err(error),
            // Of a later version of the machine.
            _ => Event::Failed(DeviceError::Io),
        };
    }
}

async fn skip<R: Read>(source: &mut R, mut len: u64) -> install::Event {
    let mut scrap = [0; 256];
    while len > 0 {
        let most = len.min(scrap.len() as u64) as usize;
        match fill(source, &mut scrap[..most]).await {
            Ok(count) if count == most => len -= count as u64,
            _ => return install::Event::SourceFailed,
        }
    }
    install::Event::Done
}

/// One power-on. Components are loaded to `memory`, one after the other as the manifest lists them.
pub async fn boot<F: NorFlash>(
    machine: &mut Boot<'_, SoftSha256>,
    flash: &mut F,
    memory: &mut Vec<Vec<u8>>,
    buffer: &mut [u8],
    watch: &mut impl StepObserver,
) -> Option<BootProof> {
    use boot::{Action, Event};
    watch.begin();
    let mut action = machine.step(Event::Start, buffer);
    watch.end();
    loop {
        yield_now().await;
        let event = match action {
            Action::Io(io) => match carry_out(&io, flash, buffer).await {
                Ok(()) => Event::Done,
                Err(error) => Event::Failed(error),
            },
            Action::ReadFloor(_) => Event::Floor(None),
            Action::RaiseFloor(..) => Event::Done,
            Action::Forget => {
                memory.clear();
                Event::Done
            }
            Action::Reserve { component, len, first, .. } => {
                if first {
                    memory.clear();
                }
                memory.resize(memory.len().max(component + 1), Vec::new());
                memory[component] = vec![0; len as usize];
                Event::Done
            }
            Action::Load { component, from, to, len, .. } => {
                let range = to as usize..to as usize + len as usize;
                match memory.get_mut(component).and_then(|memory| memory.get_mut(range)) {
                    Some(into) => match flash.read(from as u32, into).await {
                        Ok(()) => Event::Loaded(into),
                        Err(_) => Event::Failed(DeviceError::Io),
                    },
                    None => Event::NoMemory,
                }
            }
            Action::HandOver(proof) => return Some(proof),
            Action::Stop => return None,
            // Of a later version of the machine.
            _ => Event::Failed(DeviceError::Io),
        };
        watch.begin();
        action = machine.step(event, buffer);
        watch.end();
    }
}

/// One request.
///
/// # Errors
/// As [`stillboot::driver::perform`].
pub async fn perform<F: NorFlash>(
    machine: &mut Perform<'_>,
    flash: &mut F,
    buffer: &mut [u8],
    watch: &mut impl StepObserver,
) -> Result<Answer, RequestError> {
    let mut result = Ok(());
    loop {
        watch.begin();
        let action = machine.step(result, buffer);
        watch.end();
        yield_now().await;
        match action {
            request::Action::Io(io) => result = carry_out(&io, flash, buffer).await,
            request::Action::Finish(answer) => return Ok(answer),
            request::Action::Fail(error) => return Err(error),
            // Of a later version of the machine.
            _ => result = Err(DeviceError::Io),
        }
    }
}
