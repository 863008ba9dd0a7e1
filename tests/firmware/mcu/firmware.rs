//! The firmware of `examples/mcu-bootloader`, built for this test's publisher, and bundles of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mcu_map::CHUNK_BYTES;
use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{ElfFile, ProgramHeader};
use stillboot::format::{Architecture, Load, Manifest, Role, SlotKind};
use stillboot::verify::Device;
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::chores::roots;

/// Seed of the publisher that the firmware trusts.
const PUBLISHER: u64 = 8;

/// The class of every [`Publisher`]'s device.
const CLASS: &str = "simulated class";

/// Bytes at the end of an image that no other release has.
pub const NEW_BYTES: usize = 6000;

/// What a release may turn out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    Crashes,
    Hangs,
    Sick,
}

/// A loader and an application.
#[derive(Debug)]
pub struct Firmware {
    /// The loader, as QEMU loads it.
    pub boot: PathBuf,
    /// The application's program with its names and strings.
    pub app: PathBuf,
    /// The application as it stands in a slot: byte for byte what is in memory at its start.
    pub image: Vec<u8>,
}

/// The publisher of all genuine releases.
pub fn publisher() -> Publisher {
    Publisher::new(PUBLISHER)
}

/// The device as the firmware was built for it.
pub fn device(publisher: &Publisher) -> Device<'_> {
    publisher.device().with_architecture(Architecture::Thumbv7em)
}

/// The firmware without logs, as it would be shipped.
pub fn silent() -> &'static Firmware {
    static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
    FIRMWARE.get_or_init(|| build("release", None))
}

/// The firmware with logs of level `info`.
pub fn logging() -> &'static Firmware {
    static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
    FIRMWARE.get_or_init(|| build("log", Some("info")))
}

fn build(profile: &str, log: Option<&str>) -> Firmware {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mcu-bootloader");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcu");
    fs::create_dir_all(&target).expect("the target folder can be written");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--quiet", "--profile", profile])
        // There, `.cargo/config.toml` names the target and the linker scripts.
        .current_dir(example)
        // They would replace the flags in that file.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("DEFMT_LOG")
        .env("CARGO_TARGET_DIR", &target)
        .env("STILLBOOT_ROOTS", roots(&target, &publisher()))
        .env("STILLBOOT_CLASS", CLASS);
    if let Some(level) = log {
        command.env("DEFMT_LOG", level);
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "the firmware does not compile: {status}");
    let folder = target.join("thumbv7em-none-eabi").join(profile);
    let app = folder.join("mcu-app");
    Firmware { boot: folder.join("mcu-boot"), image: flat(&app), app }
}

/// What a program puts into memory, from its first byte to its last.
fn flat(program: &Path) -> Vec<u8> {
    let bytes = fs::read(program).expect("cargo has built it");
    let file: ElfFile<'_, FileHeader32<object::Endianness>> =
        ElfFile::parse(&*bytes).expect("it is an ELF program");
    let endian = file.endian();
    let mut parts: Vec<(u32, &[u8])> = file
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(endian) == PT_LOAD && header.p_filesz(endian) > 0)
        .map(|header| {
            let data = header.data(endian, &*bytes).expect("its parts lie within the file");
            (header.p_paddr(endian), data)
        })
        .collect();
    parts.sort();
    let start = parts.first().expect("it has something to load").0;
    assert_eq!(start as usize, mcu_map::IMAGE_AT, "linked for where the loader starts it");
    let mut image = Vec::new();
    for (at, data) in parts {
        image.resize((at - start) as usize, 0xff);
        image.extend_from_slice(data);
    }
    image
}

impl Firmware {
    /// A release of this application.
    pub fn bundle(&self, publisher: &Publisher, manifest: Manifest, how: Behaviour) -> Vec<u8> {
        let how = match how {
            Behaviour::Healthy => "healthy",
            Behaviour::Crashes => "crashes",
            Behaviour::Hangs => "hangs",
            Behaviour::Sick => "sick",
        };
        let settings = format!("{} {how}", manifest.version);
        // As a release differs from the one before it: in a part of its chunks. The others are taken
        // over from the slot that runs.
        let image = [&self.image[..], &content(manifest.sequence, NEW_BYTES)].concat();
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let pieces = [piece(Role::Image, &image), piece(Role::Cmdline, settings.as_bytes())];
        publisher.bundle(manifest, SlotKind::Update, &pieces).expect("the manifest keeps the rules")
    }

    /// The release of that number: version `NUMBER.0.0`.
    pub fn release(&self, number: u64, how: Behaviour) -> Vec<u8> {
        let publisher = publisher();
        self.bundle(&publisher, manifest(&publisher, number), how)
    }
}

/// A manifest for the board.
pub fn manifest(publisher: &Publisher, number: u64) -> Manifest {
    Manifest {
        architecture: Architecture::Thumbv7em,
        chunk_size: CHUNK_BYTES,
        ..publisher.manifest(number)
    }
}
