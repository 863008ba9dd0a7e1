//! Bundles and disks that an attacker changed: refused, and nothing lost by it.

mod bundles;
mod envelopes;
mod keysets;
mod manifests;

use stillboot::check;
use stillboot::format::{Load, Role, SlotKind};
use stillboot::install::InstallError;
use stillboot::verify::{Device, SoftSha256};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};

fn small(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    let kernel = content(sequence, 700);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
}

fn verify(device: &Device<'_>, bundle: &[u8]) -> Result<(), InstallError> {
    let mut buffer = vec![0; 8192];
    let mut source = Bytes::new(bundle, usize::MAX);
    check::bundle::<SoftSha256>(
        device,
        SlotKind::Update,
        &mut source,
        true,
        &mut |_| {},
        &mut buffer,
    )
    .map(|_| ())
}
