//! Disks as they leave the factory, and changes to them that the machine does not make.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use stillboot::format::record::{Body, LEN_MAX};
use stillboot::format::{Envelope, Manifest, Record, Role, Slot};
use stillboot::layout::{Part, Region};
use stillboot_linux::disk::Disk;
use stillboot_tests::chores::{succeed, xtask};

use crate::machine::Arch;
use crate::release::{CLASS, Release, works};

/// Makes a disk with the loader as a user does: `cargo xtask disk`. The file is removed with the
/// value.
#[derive(Debug)]
pub struct Image {
    arch: Arch,
    path: PathBuf,
}

impl Drop for Image {
    fn drop(&mut self) {
        // A test that fails leaves it for a look.
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Image {
    /// A disk with `words` as further options.
    pub fn new(arch: Arch, words: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}.img", arch.name(), std::process::id());
        let path = works().folder().join(name);
        let mut xtask = xtask();
        xtask.arg("disk").arg(&path).arg("--roots").arg(&works().roots);
        xtask.args(["--class", CLASS, "--revision", "1", "--arch", arch.name()]);
        let said = succeed(xtask.args(words));
        print!("{}", said.lines().last().map(|line| format!("note: {line}\n")).unwrap_or_default());
        Self { arch, path }
    }

    /// A disk as it leaves the factory with a release.
    pub fn factory(release: &Release) -> Self {
        Self::new(release.arch, &["--bundle", text(&release.file())])
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A power-on and a confirmation, on the host: what starts is good afterwards.
    pub fn confirm(&self) -> &Self {
        let proof = self.path.with_extension("proof");
        let device = self.device();
        let disk = ["--disk", text(&self.path)];
        let out = ["--proof-out", text(&proof)];
        works().on_host(&[&["boot"], &disk[..], &out, &words(&device)].concat());
        works().on_host(&[&["mark-good"], &disk[..], &["--proof", text(&proof)]].concat());
        self
    }

    /// Installs a release from the system that was confirmed last, on the host.
    pub fn install(&self, release: &Release, tries: u8) -> &Self {
        let (proof, bundle) = (self.path.with_extension("proof"), release.file());
        let (device, tries) = (self.device(), tries.to_string());
        let words = [
            &["install", text(&bundle), "--disk", text(&self.path), "--tries", &tries][..],
            &["--proof", text(&proof)],
            &words(&device),
        ];
        works().on_host(&words.concat());
        self
    }

    fn device(&self) -> Vec<String> {
        device_words(self.arch)
    }
}

/// The options that say who the device is.
pub fn device_words(arch: Arch) -> Vec<String> {
    let roots = text(&works().roots);
    ["--roots", roots, "--class", CLASS, "--revision", "1", "--arch", arch.name()]
        .map(str::to_owned)
        .to_vec()
}

/// Borrowed.
pub fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A path as a word on a command line.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the target folder's name is text")
}

/// Where the components of the release in `slot` stand on a disk, each to its last byte.
pub fn components(path: &Path, slot: Slot) -> Vec<(Role, Region)> {
    let Disk { plan, .. } = Disk::open(path, true).expect("a sound disk");
    let slots = plan.slots();
    let layout = plan.layout(&slots).expect("a sound layout");
    let trust = layout.part(slot, Part::Trust).expect("the disk has the slot");
    let head = read(path, trust);
    let manifest = Envelope::parse(&head).and_then(|(_, rest)| Envelope::parse(rest));
    let manifest = manifest.expect("the slot has a head").0;
    let manifest = Manifest::parse(manifest.payload()).expect("the slot has a manifest");
    let places = manifest.components_of(slot).map(|(number, component)| {
        let region = layout.component(slot, &manifest, number).expect("it fits");
        (component.role, Region { len: component.length, ..region })
    });
    places.collect()
}

/// Where the kernel in `slot` is.
pub fn kernel(path: &Path, slot: Slot) -> Region {
    let found = components(path, slot).into_iter().find(|(role, _)| *role == Role::Kernel);
    found.expect("the release has a kernel").1
}

/// Flips a bit in the middle of the kernel in `slot`.
pub fn rot(path: &Path, slot: Slot) {
    let kernel = kernel(path, slot);
    let place = Region { offset: kernel.offset + kernel.len / 2, len: 1, ..kernel };
    let byte = read(path, place);
    write(path, place.offset, &[byte[0] ^ 0x10]);
}

/// The true record.
pub fn record(path: &Path) -> Record {
    let copies = record_places(path).into_iter().map(|place| read(path, place));
    let records = copies.filter_map(|copy| Record::parse(&copy).ok());
    records.max_by_key(|record| record.sequence).expect("one copy is sound")
}

/// Writes a forged record over all copies.
pub fn forge(path: &Path, change: impl FnOnce(&mut Body)) {
    let mut record = record(path);
    change(&mut record.body);
    let mut bytes = [0; LEN_MAX];
    record.emit(&mut bytes).expect("a record that can be written");
    for place in record_places(path) {
        write(path, place.offset, &bytes);
    }
}

/// Where the first copy of the record begins: behind the loader.
pub fn record_start(path: &Path) -> u64 {
    record_places(path)[0].offset
}

fn record_places(path: &Path) -> Vec<Region> {
    let Disk { plan, .. } = Disk::open(path, true).expect("a sound disk");
    let slots = plan.slots();
    let layout = plan.layout(&slots).expect("a sound layout");
    let place = |place: &Region| Region { len: LEN_MAX as u64, ..*place };
    layout.places().iter().map(place).collect()
}

fn read(path: &Path, place: Region) -> Vec<u8> {
    let file = fs::File::open(path).expect("the disk is there");
    let mut bytes = vec![0; place.len as usize];
    file.read_exact_at(&mut bytes, place.offset).expect("the place is on the disk");
    bytes
}

fn write(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("the disk is there");
    file.write_all_at(bytes, offset).expect("the place is on the disk");
}
