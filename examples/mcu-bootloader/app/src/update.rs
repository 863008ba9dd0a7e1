//! Installs an update that comes over the serial port, and confirms the one that runs.

use embedded_io::{ErrorType, Read};
use mcu_board::identity::DEVICE;
use mcu_board::watchdog;
use mcu_map::{CHUNK_BYTES, TRIES};
use static_cell::ConstStaticCell;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, InstallHost, NoStore, Stream};
use stillboot::format::BootProof;
use stillboot::install::{
    Install, InstallConfig, InstallError, Installed, Offer, Progress, Reuse, Running,
};
use stillboot::layout::Layout;
use stillboot::operate::{Answer, Operate, OperateError, Request};
use stillboot::policy::{self, Verdict};
use stillboot::verify::SoftSha256;

use mcu_board::stack::{Depth, Mark};

/// A chunk, and a window into the index of a component or the trust area.
pub const BUFFER_LEN: usize = CHUNK_BYTES as usize + 4096;
static BUFFER: ConstStaticCell<[u8; BUFFER_LEN]> = ConstStaticCell::new([0; BUFFER_LEN]);

/// Bytes that the machines take.
pub const CONTEXTS: [(&str, usize); 3] = [
    ("install", size_of::<Install<'static, SoftSha256>>()),
    ("install-config", size_of::<InstallConfig<'static>>()),
    ("operate", size_of::<Operate<'static>>()),
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
    pub fn confirm(&mut self) -> (Result<Answer, OperateError>, Depth) {
        let mut machine = Operate::new(&self.layout, Request::MarkGood(self.proof));
        let mark = Mark::new();
        let answer = driver::operate(&mut machine, &mut [&mut *self.flash], self.buffer);
        (answer, mark.depth())
    }

    /// Installs the next `len` bytes that come out of `source`.
    pub fn install<R: Read>(
        &mut self,
        source: R,
        len: usize,
    ) -> (Result<Installed, InstallError>, Depth) {
        let config = InstallConfig {
            device: DEVICE,
            layout: self.layout,
            running: Running::Proof(self.proof),
            target: None,
            tries: TRIES,
            has_store: false,
            reuse: Reuse { target: true, running: true },
            repair: false,
            allow_new_epoch: false,
            resume_only: false,
        };
        let mut machine = Install::<SoftSha256>::new(&config);
        let mut source = Stream(Exactly { source, left: len });
        let mark = Mark::new();
        let installed = driver::install(
            &mut machine,
            &mut [&mut *self.flash],
            &mut NoStore,
            &mut source,
            &mut Host,
            self.buffer,
        );
        let depth = mark.depth();
        source.0.drain();
        (installed, depth)
    }
}

/// The part of the policy that a device without a clock and an operator needs: what has failed here
/// is not taken again. And a sign of life after each step.
struct Host;

impl InstallHost for Host {
    fn judge(&mut self, offer: &Offer<'_>) -> Verdict {
        policy::judge_failures(offer.manifest, offer.body, None, false)
    }

    fn progress(&mut self, _progress: Progress) {
        watchdog::feed();
    }
}

/// A serial line has no end of its own: the sender says how much will come.
struct Exactly<R> {
    source: R,
    left: usize,
}

impl<R: Read> Exactly<R> {
    /// Takes what is still on its way and throws it away: after a refusal in the midst of a bundle
    /// the rest of it must not pass for commands.
    fn drain(&mut self) {
        let mut scrap = [0; 64];
        while self.left > 0 && self.read(&mut scrap).is_ok_and(|count| count > 0) {}
    }
}

impl<R: ErrorType> ErrorType for Exactly<R> {
    type Error = R::Error;
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        let len = into.len().min(self.left);
        let count = self.source.read(&mut into[..len])?;
        self.left -= count;
        Ok(count)
    }
}
