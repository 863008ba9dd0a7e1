//! `cargo xtask efi` and `cargo xtask stub`: what runs under UEFI, and whether it stays small.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use object::{Object as _, ObjectSection as _};

use crate::shell;

/// What a loader may take on a system partition, and in the memory of small machines. It was 132 KiB
/// before the formats were frozen; docs/BENCHMARKS.md has the reason.
const LIMIT_BYTES: u64 = 152 << 10;

/// The same with everything that not every machine needs: device trees, TPM.
const EXTRAS_LIMIT_BYTES: u64 = 184 << 10;

/// What a stub may add to the kernel that it starts.
const STUB_LIMIT_BYTES: u64 = 100 << 10;

/// The roots that `--test-keys` stands for, and their class.
const TEST_ROOTS: &str = "tests/data/test-keys/roots.toml";
const TEST_CLASS: &str = "test";

/// An architecture with UEFI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit PC.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The name that firmware looks for on removable and fixed media alike.
    pub fn file(self) -> &'static str {
        match self {
            Self::X86_64 => "BOOTX64.EFI",
            Self::Aarch64 => "BOOTAA64.EFI",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-uefi",
            Self::Aarch64 => "aarch64-unknown-uefi",
        }
    }

    /// As the tool calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// Whom the loader trusts, and for which device it is.
#[derive(Args, Clone, Debug)]
pub struct Trust {
    /// The file of roots, as `stillboot keygen` writes it; it is compiled in.
    #[arg(long, value_name = "FILE", required_unless_present = "test_keys")]
    pub roots: Option<PathBuf>,
    /// The device class: a name, or its UUID.
    #[arg(long, value_name = "NAME", required_unless_present = "test_keys")]
    pub class: Option<String>,
    /// The hardware revision within the class.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub revision: u16,
    /// Build a loader that accepts the keys of the test suite, which everybody has, and says so at
    /// every start. Without --roots it trusts them.
    #[arg(long)]
    pub test_keys: bool,
}

impl Trust {
    /// The file of roots, from where the command was given.
    pub fn roots(&self) -> Result<PathBuf> {
        let path = match &self.roots {
            Some(path) => path.clone(),
            None => shell::root().join(TEST_ROOTS),
        };
        fs::canonicalize(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The class's name.
    pub fn class(&self) -> &str {
        self.class.as_deref().unwrap_or(TEST_CLASS)
    }

    /// The profile that a loader is built with.
    pub fn profile(&self) -> &'static str {
        if self.test_keys { "efi-test-keys" } else { "efi" }
    }

    /// Tells the build script of a loader.
    pub fn set<'c>(&self, cargo: &'c mut Command) -> Result<&'c mut Command> {
        Ok(cargo
            .env("STILLBOOT_ROOTS", self.roots()?)
            .env("STILLBOOT_CLASS", self.class())
            .env("STILLBOOT_REVISION", self.revision.to_string()))
    }
}

/// What a loader can do beyond what every machine needs.
#[derive(Args, Clone, Debug, Default)]
pub struct Extras {
    /// Give the kernel the device tree of the machine from the component `dtbs`: some 20 KiB.
    #[arg(long)]
    devicetree: bool,
    /// Measure what is started into the TPM, if the machine has one: some 5 KiB.
    #[arg(long)]
    tpm: bool,
    /// Keep the floor with a counter of the TPM, which the machine must have then: some 5 KiB more.
    #[arg(long)]
    tpm_floor: bool,
    /// Start kernels that the manifest vouches for and Secure Boot would refuse: see
    /// docs/SECURE_BOOT.md.
    #[arg(long)]
    unsigned_kernels: bool,
    /// The partition that is meant by a name such as stillboot-a, by its PARTUUID: whatever it is
    /// called, on any disk. May be given for each name.
    #[arg(long, value_name = "NAME=PARTUUID")]
    partuuid: Vec<String>,
}

impl Extras {
    /// As features of the loader's package.
    fn features(&self) -> String {
        [
            (self.devicetree, "devicetree"),
            (self.tpm, "tpm"),
            (self.tpm_floor, "tpm-floor"),
            (self.unsigned_kernels, "unsigned-kernels"),
        ]
        .iter()
        .filter_map(|(wanted, name)| wanted.then_some(*name))
        .collect::<Vec<_>>()
        .join(",")
    }
}

/// Builds the loaders into `out` and prints their sizes.
///
/// # Errors
/// As [`build`].
pub fn run(arch: Option<Arch>, trust: &Trust, extras: &Extras, out: Option<&Path>) -> Result<()> {
    let out = out.map_or_else(|| shell::target().join("efi"), Path::to_path_buf);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let archs = arch.map_or_else(|| Arch::value_variants().to_vec(), |arch| vec![arch]);
    let mut notes = Vec::new();
    for arch in archs {
        let loader = out.join(arch.file());
        let built = build(arch, trust, extras)?;
        fs::copy(&built, &loader).with_context(|| format!("cannot write {}", loader.display()))?;
        let bytes = fs::metadata(&loader)?.len();
        println!("{}: {bytes} bytes", loader.display());
        notes.push(format!("{} {bytes}", arch.file()));
    }
    println!("note: {} bytes", notes.join(", "));
    Ok(())
}

/// Builds the stub for arm64 as the file `out` and prints its size.
///
/// # Errors
/// It does not compile, or it could be shipped and is over the limit.
pub fn stub(trust: &Trust, tpm_floor: bool, out: Option<&Path>) -> Result<()> {
    let default = shell::target().join("efi/stillboot-stub-aa64.efi");
    let out = out.unwrap_or(&default);
    let extras = Extras { tpm_floor, ..Extras::default() };
    let built = compile("uefi-stub", &extras, Arch::Aarch64, trust, STUB_LIMIT_BYTES)?;
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {folder:?}"))?;
    }
    fs::copy(&built, out).with_context(|| format!("cannot write {}", out.display()))?;
    println!("note: {}: {} bytes", out.display(), fs::metadata(out)?.len());
    Ok(())
}

/// Builds one loader and returns where it is.
///
/// # Errors
/// It does not compile, or it could be shipped and is over the limit.
pub fn build(arch: Arch, trust: &Trust, extras: &Extras) -> Result<PathBuf> {
    let limit = if extras.features().is_empty() { LIMIT_BYTES } else { EXTRAS_LIMIT_BYTES };
    compile("uefi-loader", extras, arch, trust, limit)
}

fn compile(
    package: &str,
    extras: &Extras,
    arch: Arch,
    trust: &Trust,
    limit: u64,
) -> Result<PathBuf> {
    let profile = trust.profile();
    shell::run(
        trust.set(
            shell::cargo()
                // It would take the place of the flags in `.cargo/config.toml`.
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("STILLBOOT_PARTUUIDS", extras.partuuid.join(","))
                .args(["build", "--quiet", "-p", package, "--features", &extras.features()])
                .args(["--target", arch.target(), "--profile", profile])
                // In addition to the flags of `.cargo/config.toml`.
                .args([
                    "--config",
                    &format!("target.{}.rustflags=[{:?}]", arch.target(), remap()?),
                ]),
        )?,
    )?;
    let folder = shell::target().join(arch.target()).join(profile);
    let built = folder.join(package).with_extension("efi");
    let file = fs::read(&built)?;
    let bytes = file.len() as u64;
    let object = object::File::parse(&*file).context("the loader is no image")?;
    if !object.section_by_name(".sbat").is_some_and(|sbat| sbat.data().is_ok_and(has_sbat)) {
        bail!("{} has no section .sbat: shim would refuse to start it", built.display());
    }
    // Debug assertions make one for tests larger; it is not what is shipped.
    if bytes > limit && !trust.test_keys {
        bail!("{} has {bytes} bytes, the limit is {limit}", built.display());
    }
    Ok(built)
}

/// Whether these are the bytes of a `.sbat` section: a line for the format itself, one for stillboot.
fn has_sbat(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .zip(["sbat,1,", "stillboot,"])
        .filter(|(line, name)| line.starts_with(name.as_bytes()))
        .count()
        == 2
}

/// The flag that keeps the place of cargo's packages out of the loader: it would take room, and make
/// it differ from machine to machine.
pub fn remap() -> Result<String> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().context("the user has no home folder")?.join(".cargo"),
    };
    Ok(format!("--remap-path-prefix={}=", home.join("registry/src").display()))
}
