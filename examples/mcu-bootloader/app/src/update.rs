//! Installs an update that comes over the serial port, and confirms the one that runs.

use core::fmt::Write;

use embedded_io::Read;
use mcu_board::identity::DEVICE;
use mcu_board::uart::Uart;
use mcu_board::watchdog;
use mcu_map::{CHUNK_BYTES, TRIES};
use static_cell::ConstStaticCell;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, InstallHost, NoStore, Source, SourceError};
use stillboot::format::{BootProof, Record};
use stillboot::install::{
    Install, InstallConfig, InstallError, Installed, Permission, Progress, Reuse, Running, Update,
};
use stillboot::layout::Layout;
use stillboot::request::{Answer, Perform, Request, RequestError};
use stillboot::verify::SoftSha256;

use mcu_board::stack::{Depth, Mark};

/// A chunk, and a window into the index of a component or the trust area.
pub const BUFFER_LEN: usize = CHUNK_BYTES as usize + 4096;
static BUFFER: ConstStaticCell<[u8; BUFFER_LEN]> = ConstStaticCell::new([0; BUFFER_LEN]);

/// Bytes that the machines take, and the record that is a part of each.
pub const CONTEXTS: [(&str, usize); 4] = [
    ("install", size_of::<Install<'static, SoftSha256>>()),
    ("install-config", size_of::<InstallConfig<'static>>()),
    ("operate", size_of::<Perform<'static>>()),
    ("record", size_of::<Record>()),
];

/// Everything that updates need.
pub struct Updater<'a> {
    flash: &'a mut dyn BlockDevice,
    layout: Layout<'static>,
    proof: BootProof,
    buffer: &'static mut [u8],
}

impl<'a> Updater<'a> {
    /// For the system that was started with `proof`. To be made once.
    pub fn new(flash: &'a mut dyn BlockDevice, layout: Layout<'static>, proof: BootProof) -> Self {
        Self { flash, layout, proof, buffer: BUFFER.take() }
    }

    /// The running system is healthy (C1 to C3).
    pub fn confirm(&mut self) -> (Result<Answer, RequestError>, Depth) {
        let mut machine = Perform::new(&self.layout, Request::MarkGood(self.proof));
        let mark = Mark::new();
        let answer = driver::perform(&mut machine, &mut [&mut *self.flash], self.buffer);
        (answer, mark.depth())
    }

    /// The least buffer that a confirmation needs; it is given the one for installations.
    pub fn confirm_buffer_len_min(&self) -> usize {
        Perform::buffer_len_min(&self.layout)
    }

    /// Installs a bundle of `len` bytes that comes over the serial port.
    pub fn install(
        &mut self,
        uart: &mut Uart,
        len: u64,
    ) -> (Result<Installed, InstallError>, Depth) {
        let config = InstallConfig::new(DEVICE, self.layout, Running::Proof(self.proof))
            .with_tries(TRIES)
            .with_reuse(Reuse { target: true, stated: false, running: true });
        let mut machine = Install::<SoftSha256>::new(&config);
        let mut source = Sender { uart, left: len };
        let mark = Mark::new();
        let installed = driver::install(
            &mut machine,
            &mut [&mut *self.flash],
            &mut NoStore,
            &mut source,
            &mut Host,
            self.buffer,
        );
        (installed, mark.depth())
    }
}

/// The part of the policy that a device without a clock and an operator needs: what has failed here
/// is not taken again. And a sign of life after each step.
struct Host;

impl InstallHost for Host {
    fn judge(&mut self, update: &Update<'_>) -> Permission {
        stillboot_policy::judge_failures(update.manifest, update.body, None, false).into()
    }

    fn progress(&mut self, _progress: Progress) {
        watchdog::feed();
    }
}

/// The sender of a bundle over the serial port. It sends only the pieces that the application asks
/// for. So the line never holds bytes that the application does not read, and bytes that the slots
/// have already are not sent.
struct Sender<'a> {
    uart: &'a mut Uart,
    /// Bytes of the bundle that were neither sent nor skipped.
    left: u64,
}

impl Source for Sender<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if len == 0 {
            return Ok(0);
        }
        writeln!(self.uart, "send {len}").map_err(|_| SourceError)?;
        self.uart.read_exact(&mut into[..len]).map_err(|_| SourceError)?;
        self.left -= len as u64;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.left = self.left.checked_sub(len).ok_or(SourceError)?;
        writeln!(self.uart, "skip {len}").map_err(|_| SourceError)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.left > 0)
    }
}
