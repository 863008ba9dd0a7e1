//! One test for each row of the attack table in `docs/THREATS.md`, and the test that checks that
//! the table and the tests agree.

mod bundles;
mod calls;
mod device;
mod table;
mod trust;
mod versions;

use std::fs;
use std::path::{Path, PathBuf};

use stillboot::format::{BootProof, Load, Role, Slot, SlotKind};
use stillboot::install::{InstallError, Refusal};
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{RamWorld, blank, commission, media};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

fn leveled(publisher: &Publisher, sequence: u64, level: u32) -> Vec<u8> {
    of_kind(publisher, sequence, level, SlotKind::Update)
}

fn of_kind(publisher: &Publisher, sequence: u64, level: u32, kind: SlotKind) -> Vec<u8> {
    let kernel = content(sequence, 5000);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    leveled(publisher, sequence, 1)
}

/// A device whose slot a runs sequence 1, confirmed.
fn running<'a>(publisher: &'a Publisher, slots: &[Slot]) -> (RamWorld<'a>, BootProof) {
    let mut world = blank(publisher, media()[0].1, slots);
    let proof = commission(&mut world, &update(publisher, 1));
    (world, proof)
}

fn refused(result: Result<stillboot::install::Installed, InstallError>) -> Refusal {
    match result {
        Err(InstallError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
