//! The drivers that the simulated devices use: the core's blocking ones or, where the environment
//! has `STILLBOOT_DRIVER=async`, its asynchronous ones on the same devices and streams. So one suite
//! tests both.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use stillboot::asynch;
use stillboot::boot::{Boot, Event};
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver::{InstallHost, Memory, RollbackStore, Source, SourceError};
use stillboot::format::BootProof;
use stillboot::install::{Install, InstallError, Installed};
use stillboot::request::{Answer, Perform, RequestError};
use stillboot::verify::Sha256;

static IS_ASYNC: LazyLock<bool> = LazyLock::new(|| match std::env::var("STILLBOOT_DRIVER") {
    Ok(name) if name == "async" => true,
    Ok(name) => panic!("STILLBOOT_DRIVER: expected `async`, found `{name}`"),
    Err(_) => false,
});

/// As [`stillboot::driver::boot`].
pub fn boot<H: Sha256>(
    machine: &mut Boot<'_, H>,
    event: Event<'_>,
    devices: &mut [&mut dyn BlockDevice],
    store: &mut dyn RollbackStore,
    memory: &mut dyn Memory,
    buffer: &mut [u8],
) -> Option<BootProof> {
    if !*IS_ASYNC {
        return stillboot::driver::boot(machine, event, devices, store, memory, buffer);
    }
    block_on(asynch::boot(machine, event, &mut waiting(devices)[..], store, memory, buffer))
}

/// As [`stillboot::driver::install`].
///
/// # Errors
/// [`InstallError`].
pub fn install<H: Sha256>(
    machine: &mut Install<'_, H>,
    devices: &mut [&mut dyn BlockDevice],
    store: &mut dyn RollbackStore,
    source: &mut dyn Source,
    host: &mut dyn InstallHost,
    buffer: &mut [u8],
) -> Result<Installed, InstallError> {
    if !*IS_ASYNC {
        return stillboot::driver::install(machine, devices, store, source, host, buffer);
    }
    let (devices, source) = (&mut waiting(devices)[..], &mut Waiting(source));
    block_on(asynch::install(machine, devices, store, source, host, buffer))
}

/// As [`stillboot::driver::perform`].
///
/// # Errors
/// [`RequestError`].
pub fn perform(
    machine: &mut Perform<'_>,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Result<Answer, RequestError> {
    if !*IS_ASYNC {
        return stillboot::driver::perform(machine, devices, buffer);
    }
    block_on(asynch::perform(machine, &mut waiting(devices)[..], buffer))
}

/// A device or a stream whose operations let the executor wait once, before anything happens.
#[derive(Debug)]
pub struct Waiting<T>(pub T);

fn waiting<'a, 'd>(
    devices: &'a mut [&'d mut dyn BlockDevice],
) -> Vec<Waiting<&'a mut &'d mut dyn BlockDevice>> {
    devices.iter_mut().map(Waiting).collect()
}

impl<D: BlockDevice> asynch::BlockDevice for Waiting<D> {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }
    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        pause().await;
        self.0.read(offset, into)
    }
    async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        pause().await;
        self.0.write(offset, bytes)
    }
    async fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        pause().await;
        self.0.erase(offset, len)
    }
    async fn flush(&mut self) -> Result<(), DeviceError> {
        pause().await;
        self.0.flush()
    }
}

impl asynch::Source for Waiting<&mut dyn Source> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        pause().await;
        self.0.read(into)
    }
    async fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        pause().await;
        self.0.skip(len)
    }
    async fn has_more(&mut self) -> Result<bool, SourceError> {
        pause().await;
        self.0.has_more()
    }
    fn is_held(&mut self, len: u64) -> bool {
        self.0.is_held(len)
    }
}

async fn pause() {
    let mut has_paused = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut has_paused, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Gives a future so many turns, and drops it then. `None` if it has not ended.
pub fn block_for<F: Future>(turns: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..turns).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// An executor with one task and nothing to wait for.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
