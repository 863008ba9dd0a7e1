//! Files of two versions: kernels, modules, root file systems, and one pair with nothing in common.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::once::once;
use super::rootfs;
use crate::apt::Archive;
use crate::initramfs::Initramfs;
use crate::{kernels, shell};

/// A file of two versions.
pub(super) struct Pair {
    pub(super) name: &'static str,
    pub(super) old: PathBuf,
    pub(super) new: PathBuf,
}

const SERIES: &str = "linux-image-6.1.0-";
/// The versions that the pages speak of, while the archive has them; else the two newest.
const VERSIONS: [u32; 2] = [54, 56];
/// Modules that an appliance might have in its initramfs.
const MODULES: [&str; 4] = ["crypto", "fs/xfs", "lib", "net"];

/// All pairs, made where they are not there yet.
pub(super) fn all(wanted: &[String]) -> Result<Vec<Pair>> {
    let folder = super::folder().join("pairs");
    fs::create_dir_all(&folder)?;
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|want| want == name);
    let mut pairs = Vec::new();
    let mut push = |name| {
        let file = |version| folder.join(format!("{name}.{version}"));
        pairs.push(Pair { name, old: file("old"), new: file("new") });
    };
    for (name, arch) in [
        ("image-arm64", "arm64"),
        ("modules-arm64", "arm64"),
        ("bzimage-amd64", "amd64"),
        ("vmlinux-amd64", "amd64"),
        ("modules-amd64", "amd64"),
    ] {
        if is_wanted(name) {
            kernel(arch, name, &folder)?;
            push(name);
        }
    }
    let forms = rootfs::FORMS.map(|(name, _)| name);
    if forms.iter().any(|name| is_wanted(name)) {
        rootfs::make(&folder)?;
        forms.into_iter().filter(|name| is_wanted(name)).for_each(&mut push);
    }
    if is_wanted("unrelated") {
        kernel("arm64", "image-arm64", &folder)?;
        once(&folder, "unrelated.old", |path| noise(path, 32 << 20))?;
        let new = folder.join("image-arm64.new");
        once(&folder, "unrelated.new", |path| fs::copy(&new, path).map(drop).map_err(Into::into))?;
        push("unrelated");
    }
    Ok(pairs)
}

/// Both versions of what `name` stands for.
fn kernel(arch: &'static str, name: &str, folder: &Path) -> Result<()> {
    if ["old", "new"].iter().all(|version| folder.join(format!("{name}.{version}")).exists()) {
        return Ok(());
    }
    let fetched = shell::root().join(kernels::OUT_DEFAULT).join(".fetched");
    let mut archive = Archive::new(arch, &fetched)?;
    let numbers = versions(arch, &mut archive)?;
    for (number, version) in numbers.into_iter().zip(["old", "new"]) {
        let release = format!("6.1.0-{number}-{arch}");
        let package = archive.fetch(&format!("linux-image-{release}"))?;
        once(folder, &format!("{name}.{version}"), |path| {
            let unpacked = folder.join(format!(".unpacked-{release}"));
            archive.unpack(&package, &unpacked)?;
            let image = unpacked.join(format!("boot/vmlinuz-{release}"));
            let modules = unpacked.join(format!("lib/modules/{release}/kernel"));
            match name.split('-').next() {
                Some("modules") => modules_cpio(&modules, path)?,
                Some("vmlinux") => vmlinux(&image, path)?,
                _ => fs::copy(&image, path).map(drop)?,
            }
            Ok(fs::remove_dir_all(unpacked)?)
        })?;
    }
    Ok(())
}

/// The numbers of an old and a new version.
fn versions(arch: &str, archive: &mut Archive) -> Result<[u32; 2]> {
    let suffix = format!("-{arch}");
    let names = archive.names(SERIES)?;
    let number = |name: &String| name.strip_prefix(SERIES)?.strip_suffix(&suffix)?.parse().ok();
    let mut held = Vec::new();
    for number in names.iter().filter_map(number).collect::<std::collections::BTreeSet<u32>>() {
        if archive.holds(&format!("{SERIES}{number}{suffix}"))? {
            held.push(number);
        }
    }
    match held[..] {
        _ if VERSIONS.iter().all(|number| held.contains(number)) => Ok(VERSIONS),
        [.., old, new] => Ok([old, new]),
        _ => bail!("the archive has no two kernels {SERIES}N{suffix}"),
    }
}

/// An uncompressed archive of modules, as it stands in an initramfs that transport compresses.
fn modules_cpio(modules: &Path, out: &Path) -> Result<()> {
    let mut archive = Initramfs::default();
    for folder in MODULES {
        let mut find = Command::new("find");
        let found = find.arg(modules.join(folder)).args(["-name", "*.ko"]);
        for file in shell::output(found)?.lines() {
            let name = Path::new(file).strip_prefix(modules)?;
            archive.file(&format!("lib/modules/{}", name.display()), 0o644, fs::read(file)?);
        }
    }
    Ok(fs::write(out, archive.emit_cpio()?)?)
}

/// The kernel inside a bzImage, which its header points at (Linux, `arch/x86/boot.rst`).
fn vmlinux(image: &Path, out: &Path) -> Result<()> {
    let image = fs::read(image)?;
    let word = |at: usize| -> Result<usize> {
        let bytes =
            image.get(at..).and_then(|rest| rest.first_chunk()).context("a short bzImage")?;
        Ok(u32::from_le_bytes(*bytes) as usize)
    };
    let sectors = usize::from(*image.get(0x1f1).context("a short bzImage")?);
    let start = (sectors.max(1) + 1) * 512 + word(0x248)?;
    let payload = image.get(start..start + word(0x24c)?).context("a short bzImage")?;
    // The length of the kernel stands behind it, and is no part of it.
    let payload = payload.split_last_chunk::<4>().context("a short bzImage")?.0;
    let program = match payload {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => bail!("a kernel in an unknown compression"),
    };
    let compressed = out.with_extension("compressed");
    fs::write(&compressed, payload)?;
    let mut unpack = Command::new(program);
    unpack.arg("-dc").stdin(fs::File::open(&compressed)?).stdout(fs::File::create(out)?);
    let done = unpack.stderr(Stdio::null()).status()?;
    fs::remove_file(compressed)?;
    ensure!(done.success(), "{program}: {done}");
    Ok(())
}

/// Bytes without any pattern.
fn noise(path: &Path, len: usize) -> Result<()> {
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    Ok(fs::write(path, bytes)?)
}
