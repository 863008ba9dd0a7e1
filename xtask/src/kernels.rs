//! `cargo xtask kernels`: real kernels to boot in the tests, three successive Debian versions for
//! each architecture, each with an initramfs that carries the modules a boot needs; one kernel more
//! for each, with drivers of real hardware; and the stub of unified kernel images.
//!
//! ```text
//! target/kernels/ARCH/VERSION/{vmlinuz, initrd.img, cmdline, recipe}
//! target/kernels/ARCH/index.txt     the versions, oldest first
//! target/kernels/ARCH/generic.txt   the version with drivers of real hardware
//! target/kernels/arm64/VERSION/dtbs the device trees of that version
//! target/kernels/ARCH/linux.stub    systemd's stub
//! target/kernels/.fetched/          packages and apt's lists, so that a rebuild works offline
//! ~/.cache/stillboot/kernels/       versions that are made, for other checkouts
//! ```
//!
//! Nothing is installed on the system. A folder is built under another name and renamed when it is
//! complete, so what has its final name is never half done.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::apt::{self, Archive};
use crate::initramfs::Initramfs;
use crate::modules::{self, Kernel};
use crate::shell;

/// Where the kernels go; relative to the top of the checkout, whatever folder cargo builds into, so
/// that tests find them.
pub const OUT_DEFAULT: &str = "target/kernels";

/// How many versions: one to run, one to update to, one to go on to.
const VERSIONS: usize = 3;

/// The series of Debian 12.
const SERIES: &str = "6.1.0-";

/// What the tests use. A kernel may have some of them built in.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "vfat",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_ascii",
    "ext4",
    "tpm_tis",
    "softdog",
    // Last, because `init` loads it only where there is EFI.
    EFIVARFS,
];

/// Files beside the kernels' folders.
const INDEX: &str = "index.txt";
const GENERIC: &str = "generic.txt";
const STUB: &str = "linux.stub";

/// How names of unfinished folders begin; they end with the number of the process.
const PARTIAL: &str = ".partial-";

const EFIVARFS: &str = "efivarfs";

/// What only the kernel for real hardware has: a watchdog that counts outside of the processor. It
/// comes first, so that it is `/dev/watchdog`.
const HARDWARE_MODULES: &[&str] = &["i6300esb"];

/// What only the cloud kernel has on every architecture.
const CLOUD_MODULE: &str = "tpm_tis";

/// What only the package with drivers of real hardware has, and only for Arm machines.
const TREES: &str = "dtbs";

/// The package with the stub of unified kernel images.
const STUB_PACKAGE: &str = "systemd-boot-efi";

const INIT: &str = include_str!("init.sh");

/// To be raised when this file changes what it puts into an initramfs; `init.sh` and the modules
/// are compared by themselves.
const RECIPE_VERSION: u32 = 2;

/// An architecture, by Debian's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arch {
    /// 64-bit PC.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The stub's file in its package.
    fn stub(self) -> &'static str {
        match self {
            Self::Amd64 => "linuxx64.efi.stub",
            Self::Arm64 => "linuxaa64.efi.stub",
        }
    }

    /// A kernel that panics restarts the machine, so that a trial boot that fails is counted.
    fn cmdline(self) -> &'static str {
        match self {
            Self::Amd64 => "console=ttyS0 panic=1",
            Self::Arm64 => "console=ttyAMA0 panic=1",
        }
    }
}

/// Makes the kernels of one architecture, or of all.
///
/// # Errors
/// A package cannot be fetched or is not what it should be. What was complete stays usable.
pub fn run(arch: Option<Arch>, out: &Path, refresh: bool) -> Result<()> {
    let out = shell::root().join(out);
    let archs = match arch {
        Some(arch) => vec![arch],
        None => Arch::value_variants().to_vec(),
    };
    let mut all = Vec::new();
    for arch in archs {
        let versions = make_arch(arch, &out, refresh)
            .with_context(|| format!("cannot make the kernels for {}", arch.name()))?;
        all.push(format!("{} {}", arch.name(), versions.join(" ")));
    }
    println!("note: {}", all.join("; "));
    Ok(())
}

fn make_arch(arch: Arch, out: &Path, refresh: bool) -> Result<Vec<String>> {
    let folder = out.join(arch.name());
    let known: Vec<String> = match fs::read_to_string(folder.join(INDEX)) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    };
    let usable = known.len() == VERSIONS && !refresh;
    let complete = |version: &String| is_complete(arch, &folder.join(version));
    let generic = known.last().map(|newest| generic_of(newest));
    let others = folder.join(STUB).is_file() && folder.join(GENERIC).is_file();
    if usable && others && known.iter().chain(&generic).all(complete) {
        return Ok(known);
    }

    let mut archive = Archive::new(arch.name(), &out.join(".fetched"))?;
    let versions = if usable { known } else { newest(arch, &mut archive)? };
    fs::create_dir_all(&folder)?;
    remove_leftovers(&folder)?;
    let generic = generic_of(versions.last().context("there are versions")?);
    for version in versions.iter().chain([&generic]) {
        let complete = folder.join(version);
        if is_complete(arch, &complete) {
            continue;
        }
        in_partial(&folder, version, |partial| {
            let made = partial.join("out");
            if !from_cache(arch, version, &made)? {
                println!("kernels: making {version}");
                make(arch, version, &mut archive, partial)?;
                to_cache(arch, version, &made);
            }
            put_in_place(arch, &made, &complete)
        })?;
    }
    if !folder.join(STUB).is_file() {
        in_partial(&folder, STUB, |partial| {
            let package = archive.fetch(STUB_PACKAGE)?;
            archive.unpack(&package, partial)?;
            let stub = partial.join("usr/lib/systemd/boot/efi").join(arch.stub());
            fs::rename(&stub, folder.join(STUB))
                .with_context(|| format!("{STUB_PACKAGE} has no {}", arch.stub()))
        })?;
    }
    write_whole(&folder, GENERIC, &generic)?;
    // Last: a program that sees the index finds everything.
    write_whole(&folder, INDEX, &versions.join("\n"))?;
    Ok(versions)
}

/// Where every checkout of this user leaves what it has made: compressing an initramfs takes longer
/// than all the rest.
fn cache(arch: Arch) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
    Some(caches.join("stillboot/kernels").join(arch.name()))
}

/// Copies what another checkout has made by the same recipe; false if there is none.
fn from_cache(arch: Arch, version: &str, made: &Path) -> Result<bool> {
    let Some(cached) = cache(arch).map(|cache| cache.join(version)) else { return Ok(false) };
    if !is_complete(arch, &cached) {
        return Ok(false);
    }
    println!("kernels: {version} is in the cache");
    if let Some(folder) = made.parent() {
        fs::create_dir_all(folder)?;
    }
    copy(&cached, made)?;
    Ok(true)
}

/// Leaves a copy for other checkouts. Without one they make their own, so no failure matters.
fn to_cache(arch: Arch, version: &str, made: &Path) {
    let Some(cache) = cache(arch) else { return };
    let kept = fs::create_dir_all(&cache).map_err(anyhow::Error::new).and_then(|()| {
        in_partial(&cache, version, |partial| {
            copy(made, partial)?;
            put_in_place(arch, partial, &cache.join(version))
        })
    });
    if let Err(error) = kept {
        println!("kernels: {version} is not kept for other checkouts: {error:#}");
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    shell::run(std::process::Command::new("cp").arg("-R").arg("--").args([from, to]))
}

/// The kernel of the same version with drivers of real hardware.
fn generic_of(cloud: &str) -> String {
    cloud.replace("-cloud-", "-")
}

fn is_cloud(version: &str) -> bool {
    version.contains("-cloud-")
}

fn modules_of(version: &str) -> Vec<&'static str> {
    if is_cloud(version) {
        return MODULES.to_vec();
    }
    let common = MODULES.iter().filter(|name| **name != CLOUD_MODULE);
    HARDWARE_MODULES.iter().chain(common).copied().collect()
}

/// Works in a folder of its own, which is gone afterwards.
fn in_partial(folder: &Path, name: &str, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = folder.join(format!("{PARTIAL}{name}-{}", std::process::id()));
    let done = work(&partial);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    done
}

/// Writes a line, or several, so that no reader sees half of them.
fn write_whole(folder: &Path, name: &str, text: &str) -> Result<()> {
    let partial = folder.join(format!("{PARTIAL}{name}-{}", std::process::id()));
    fs::write(&partial, format!("{text}\n"))?;
    Ok(fs::rename(partial, folder.join(name))?)
}

/// Gives a folder that was made its final name. Another run may have been faster with the same.
fn put_in_place(arch: Arch, made: &Path, complete: &Path) -> Result<()> {
    if complete.exists() && !is_complete(arch, complete) {
        // Of an older recipe.
        fs::remove_dir_all(complete)?;
    }
    match fs::rename(made, complete) {
        Err(_) if is_complete(arch, complete) => Ok(()),
        renamed => renamed.with_context(|| format!("cannot make {}", complete.display())),
    }
}

/// Removes what runs that were killed left behind: each holds a whole unpacked kernel.
fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((_, process)) = name.rsplit_once('-').filter(|_| name.starts_with(PARTIAL)) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() && entry.path().is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The newest versions that the archive holds, oldest first.
fn newest(arch: Arch, archive: &mut Archive) -> Result<Vec<String>> {
    let prefix = format!("linux-image-{SERIES}");
    let names = archive.names(&prefix)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(arch, name)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut versions = Vec::new();
    while let (Some(number), true) = (numbers.pop(), versions.len() < VERSIONS) {
        let version = format!("{SERIES}{number}-cloud-{}", arch.name());
        if archive.holds(&format!("linux-image-{version}"))? {
            versions.push(version);
        }
    }
    if versions.len() < VERSIONS {
        bail!(
            "apt offers {} packages {prefix}*-cloud-{}, {VERSIONS} are needed. {}",
            versions.len(),
            arch.name(),
            apt::advice(),
        );
    }
    versions.reverse();
    Ok(versions)
}

/// `linux-image-6.1.0-56-cloud-amd64` has the number 56; unsigned and debug packages have none.
fn number_of(arch: Arch, package: &str) -> Option<u32> {
    let rest = package.strip_prefix("linux-image-")?.strip_prefix(SERIES)?;
    rest.strip_suffix(arch.name())?.strip_suffix("-cloud-")?.parse().ok()
}

/// Whether the folder was made completely, and by the recipe that we have now.
fn is_complete(arch: Arch, folder: &Path) -> bool {
    ["vmlinuz", "initrd.img", "cmdline"].iter().all(|file| folder.join(file).is_file())
        && fs::read_to_string(folder.join("recipe")).is_ok_and(|text| text == recipe(arch, folder))
}

/// Everything of ours that decides what is in the folder of a version.
fn recipe(arch: Arch, folder: &Path) -> String {
    let version = folder.file_name().unwrap_or_default().to_string_lossy();
    let trees = if has_trees(arch, &version) { TREES } else { "" };
    format!(
        "version {RECIPE_VERSION}\ncmdline {}\nmodules {}\n{trees}{INIT}",
        arch.cmdline(),
        modules_of(&version).join(" "),
    )
}

fn has_trees(arch: Arch, version: &str) -> bool {
    arch == Arch::Arm64 && !is_cloud(version)
}

/// Makes one version in `partial/out`.
fn make(arch: Arch, version: &str, archive: &mut Archive, partial: &Path) -> Result<()> {
    let unpacked = partial.join("unpacked");
    for package in [format!("linux-image-{version}"), "busybox-static".to_owned()] {
        let package = archive.fetch(&package)?;
        archive.unpack(&package, &unpacked)?;
    }
    let out = partial.join("out");
    fs::create_dir_all(&out)?;
    let vmlinuz = unpacked.join(format!("boot/vmlinuz-{version}"));
    fs::copy(&vmlinuz, out.join("vmlinuz"))
        .with_context(|| format!("the package has no {}", vmlinuz.display()))?;
    fs::write(out.join("initrd.img"), initramfs(version, &unpacked)?.emit()?)?;
    fs::write(out.join("cmdline"), format!("{}\n", arch.cmdline()))?;
    if has_trees(arch, version) {
        let trees = unpacked.join(format!("usr/lib/linux-image-{version}"));
        fs::rename(&trees, out.join(TREES))
            .with_context(|| format!("the package has no {}", trees.display()))?;
    }
    fs::write(out.join("recipe"), recipe(arch, Path::new(version)))?;
    Ok(())
}

fn initramfs(version: &str, unpacked: &Path) -> Result<Initramfs> {
    let mut initramfs = Initramfs::default();
    initramfs.file("init", 0o755, INIT);
    for folder in ["proc", "sys", "tmp", "mnt", "run", "root"] {
        initramfs.folder(folder);
    }
    // The kernel opens it for the first process before devtmpfs is there.
    initramfs.character_device("dev/console", 0o600, 5, 1);

    let busybox = first_file(unpacked, &["bin/busybox", "usr/bin/busybox"])?;
    initramfs.file("bin/busybox", 0o755, fs::read(busybox)?);
    initramfs.link("bin/sh", "busybox");
    // The kernel itself calls it when it misses a module, for instance a code page of vfat.
    initramfs.link("sbin/modprobe", "../bin/busybox");

    let folder = format!("lib/modules/{version}");
    let kernel = Kernel::open(&unpacked.join(&folder))?;
    let wishes = modules_of(version);
    let modules = kernel.with_dependencies(&wishes)?;
    for module in &modules {
        let path = format!("{folder}/{}", module.file.display());
        initramfs.file(&path, 0o644, kernel.bytes(module)?);
    }
    initramfs.file(&format!("{folder}/modules.dep"), 0o644, modules::dep_list(&modules));
    initramfs.file(&format!("{folder}/modules.alias"), 0o644, modules::alias_list(&modules));
    initramfs.file(&format!("{folder}/modules.builtin"), 0o644, kernel.builtin_list()?);

    let at_boot: String =
        wishes.iter().filter(|name| **name != EFIVARFS).map(|name| format!("{name}\n")).collect();
    initramfs.file("etc/modules", 0o644, at_boot);
    Ok(initramfs)
}

/// The first of the paths that exists: newer Debian releases keep everything below `usr`.
fn first_file(folder: &Path, paths: &[&str]) -> Result<PathBuf> {
    let mut files = paths.iter().map(|path| folder.join(path));
    files.find(|path| path.is_file()).with_context(|| format!("the packages have no {}", paths[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_signed_cloud_kernels_are_taken() {
        let number = |name| number_of(Arch::Amd64, name);
        assert_eq!(number("linux-image-6.1.0-56-cloud-amd64"), Some(56));
        assert_eq!(number("linux-image-6.1.0-56-amd64"), None);
        assert_eq!(number("linux-image-6.1.0-56-cloud-amd64-dbg"), None);
        assert_eq!(number("linux-image-6.1.0-56-cloud-amd64-unsigned"), None);
        assert_eq!(number("linux-image-6.1.0-56-cloud-arm64"), None);
        assert_eq!(number("linux-image-6.1.0-0.deb11.6-cloud-amd64"), None);
    }

    #[test]
    fn every_kernel_panic_restarts() {
        for arch in Arch::value_variants() {
            assert!(arch.cmdline().contains("panic=1"));
        }
    }
}
