//! The board's flash as a file: how it leaves the factory, and what a test finds in it later.

use std::fs;
use std::path::{Path, PathBuf};

use mcu_map::{FLASH_BYTES, GEOMETRY, TRIES};
use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::check;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, InstallHost, Memory, NoStore, Stream};
use stillboot::format::{BootProof, Role, Slot, envelope};
use stillboot::install::{Install, InstallConfig, Permission, Running, Update};
use stillboot::layout::Part;
use stillboot::request::{Perform, Request};
use stillboot::verify::SoftSha256;
use stillboot_sim::Publisher;
use stillboot_sim::disk::RamDisk;
use tempfile::TempDir;

use crate::firmware;

/// A flash of its own, gone with this value.
#[derive(Debug)]
pub struct Flash {
    _folder: TempDir,
    path: PathBuf,
}

impl Flash {
    /// A flash with this content.
    pub fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let path = folder.path().join("flash.bin");
        fs::write(&path, content).expect("the temporary folder can be written");
        Self { _folder: folder, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn content(&self) -> Vec<u8> {
        fs::read(&self.path).expect("it is there as long as this value")
    }

    /// A byte in the midst of the image in a slot, which stands at the start of the slot's region.
    pub fn image_byte(slot: Slot) -> usize {
        let layout = mcu_map::layout().expect("the map is sound");
        let found = layout.slots().iter().find(|layout| layout.slot == slot).expect("it has both");
        found.regions[0].region.offset as usize + firmware::silent().image.len() / 2
    }

    /// A byte of the head of a slot: within the signature of its keyset.
    pub fn head_byte(slot: Slot) -> usize {
        let layout = mcu_map::layout().expect("the map is sound");
        let trust = layout.part(slot, Part::Trust).expect("it has both");
        trust.offset as usize + envelope::HEADER_LEN + envelope::ENTRY_HEADER_LEN + 20
    }

    /// Whether what is in the slot is signed, whole and made for this board.
    pub fn verifies(&self, slot: Slot) -> Result<(), String> {
        let publisher = firmware::publisher();
        let device = firmware::device(&publisher);
        let layout = mcu_map::layout().map_err(|error| error.to_string())?;
        let mut disk = disk_with(&self.content());
        let devices: &mut [&mut dyn BlockDevice] = &mut [&mut disk];
        let mut buffer = vec![0; 64 << 10];
        check::slot::<SoftSha256>(&device, &layout, slot, devices, &mut |_| {}, &mut buffer)
            .map(|_| ())
            .map_err(|reason| reason.to_string())
    }
}

/// A device as it leaves the factory: the release in slot A, booted once and confirmed.
pub fn factory(publisher: &Publisher, bundle: &[u8]) -> Vec<u8> {
    let device = firmware::device(publisher);
    let layout = mcu_map::layout().expect("the map is sound");
    let mut disk = disk_with(&[0xff; FLASH_BYTES]);
    let devices: &mut [&mut dyn BlockDevice] = &mut [&mut disk];
    let mut buffer = vec![0; 64 << 10];

    let config = InstallConfig::new(device, layout, Running::Offline)
        .with_target(Some(Slot::A))
        .with_tries(TRIES);
    let mut machine = Install::<SoftSha256>::new(&config);
    let mut source = Stream(bundle);
    driver::install(&mut machine, devices, &mut NoStore, &mut source, &mut Anything, &mut buffer)
        .expect("the first release installs");

    let config = BootConfig::new(device, layout, 1).with_tries(TRIES).with_check_late(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut memory = Places::default();
    let proof: BootProof =
        driver::boot(&mut machine, Event::Start, devices, &mut NoStore, &mut memory, &mut buffer)
            .expect("the first release boots");

    let mut machine = Perform::new(&layout, Request::MarkGood(proof));
    driver::perform(&mut machine, devices, &mut buffer).expect("the first release is confirmed");
    disk.bytes(0, FLASH_BYTES)
}

fn disk_with(content: &[u8]) -> RamDisk {
    let mut disk = RamDisk::new(GEOMETRY, 0xff);
    disk.poke(0, content);
    disk
}

/// A policy that lets everything pass.
struct Anything;

impl InstallHost for Anything {
    fn judge(&mut self, _offer: &Update<'_>) -> Permission {
        Permission::Proceed
    }
}

/// Memory that is as large as it has to be.
#[derive(Default)]
struct Places(Vec<Vec<u8>>);

impl Memory for Places {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn reserve(&mut self, component: usize, _role: Role, len: u64) -> bool {
        self.0.resize(self.0.len().max(component + 1), Vec::new());
        self.0[component] = vec![0; len as usize];
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        &mut self.0[component]
    }
}
