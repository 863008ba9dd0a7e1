//! Measured by `cargo xtask size`: a decision, the record, verification, and an installation.
#![no_std]
#![no_main]

use size_device::{DEVICE, ExternDevice, ExternStore, LAYOUT, OneImage, number, report};
use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::driver::{self, InstallHost, Source, SourceError};
use stillboot::install::{
    Install, InstallConfig, InstallError, Permission, Reuse, Running, Update,
};
use stillboot::verify::SoftSha256;
#[cfg(feature = "frames")]
use {
    core::sync::atomic::AtomicU8,
    stillboot_transport::old::Old,
    stillboot_transport::stream::{Framed, read_header},
};

/// A stream from outside the program.
struct ExternSource(ExternDevice);

impl Source for ExternSource {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(0, into).map(|()| into.len()).map_err(|_| SourceError)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.0.erase(0, len).map_err(|_| SourceError)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(false)
    }
}

/// The update as it is.
#[cfg(not(feature = "frames"))]
fn source() -> Result<ExternSource, DeviceError> {
    Ok(ExternSource(ExternDevice(1)))
}

/// The old bytes of a patch, from outside the program.
#[cfg(feature = "frames")]
struct ExternOld(ExternDevice);

#[cfg(feature = "frames")]
impl Old for ExternOld {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.0.read(offset, into).map_err(|_| SourceError)
    }
}

/// The update in frames, or as a patch.
#[cfg(feature = "frames")]
type Frames = Framed<ExternSource, ExternOld, [u8; 0]>;

/// Its memory, so that the linker says how much that is.
#[cfg(feature = "frames")]
#[used]
static STATE: [AtomicU8; size_of::<Frames>()] = [const { AtomicU8::new(0) }; size_of::<Frames>()];

#[cfg(feature = "frames")]
fn source() -> Result<Frames, DeviceError> {
    let mut source = ExternSource(ExternDevice(1));
    let header = read_header(&mut source).map_err(|_| DeviceError::Io)?;
    Ok(Framed::new(source, header, ExternOld(ExternDevice(2)), []))
}

/// The part of the policy that a device without an operator needs.
struct Policy;

impl InstallHost for Policy {
    fn judge(&mut self, offer: &Update<'_>) -> Permission {
        stillboot_policy::judge_failures(offer.manifest, offer.body, None, false).into()
    }
}

/// A whole power-on, and the installation of an update.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let config = BootConfig::new(DEVICE, LAYOUT, number()).with_store(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut buffer = [0; 8192];
    let mut image = [0; 4096];
    let proof = driver::boot(
        &mut machine,
        Event::Start,
        &mut [device],
        &mut ExternStore,
        &mut OneImage(&mut image),
        &mut buffer,
    );
    for line in &machine.report().lines {
        report(line.candidate.slot as u32);
    }
    let Some(proof) = proof else { return Ok(2) };
    let config = InstallConfig::new(DEVICE, LAYOUT, Running::Proof(proof))
        .with_store(true)
        .with_reuse(Reuse { target: true, stated: false, running: true });
    let mut machine = Install::<SoftSha256>::new(&config);
    let mut source = source()?;
    let installed = driver::install(
        &mut machine,
        &mut [device],
        &mut ExternStore,
        &mut source,
        &mut Policy,
        &mut buffer,
    );
    match installed {
        Ok(installed) => Ok(installed.written as u32),
        Err(InstallError::Device(error)) => Err(error),
        Err(_) => Ok(3),
    }
}

/// Where the linker starts to look for what is used.
// SAFETY: no other function of the program has this name.
#[unsafe(no_mangle)]
extern "C" fn measured_entry() {
    let mut device = ExternDevice(0);
    report(match measured(&mut device) {
        Ok(number) => number,
        Err(error) => 0x8000_0000 | error as u32,
    });
}
