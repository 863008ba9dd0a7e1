//! Bugs that others shipped, each as a test of its name: what went wrong there is done here, and
//! must come to nothing. The table is in `docs/THREATS.md`.

mod embassy;
mod mcuboot;
mod mender;
mod rauc;
mod signing;
mod swupdate;
mod uboot;

use stillboot::check;
use stillboot::format::{Load, Role, Slot, SlotKind};
use stillboot::install::InstallError;
use stillboot::verify::{Device, SoftSha256};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{RamWorld, blank, commission, media};

const AB: &[Slot] = &[Slot::A, Slot::B];

fn of(publisher: &Publisher, sequence: u64, kernel: &[u8]) -> Vec<u8> {
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: kernel };
    publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    of(publisher, sequence, &content(sequence, 5000))
}

fn running(publisher: &Publisher) -> (RamWorld<'_>, stillboot::format::BootProof) {
    let mut world = blank(publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(publisher, 1));
    (world, proof)
}

fn verify(device: &Device<'_>, bundle: &[u8], piece: usize) -> Result<(), InstallError> {
    let mut buffer = vec![0; 8192];
    let mut source = Bytes::new(bundle, piece);
    let kind = SlotKind::Update;
    check::bundle::<SoftSha256>(device, kind, &mut source, true, &mut |_| {}, &mut buffer)
        .map(|_| ())
}
