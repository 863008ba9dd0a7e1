//! `cargo xtask static-tool`: the tool as one file without libraries, and the same as an archive to
//! be appended to an initramfs. It is the tool for devices, without `demo` and `simulate`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::efi::Arch;
use crate::initramfs::Initramfs;
use crate::shell;

/// Crates that would bring C code, or a search for libraries of the system.
const FOREIGN: &[&str] = &["cc", "cmake", "bindgen", "pkg-config", "vcpkg"];

/// What only the commands of the feature `lab` need.
const SIMULATOR: &str = "stillboot-sim";

/// Builds the tool for `arch` into `out`, and returns where it is.
///
/// # Errors
/// It does not compile, or C code would be in it.
pub fn run(arch: Arch, out: Option<&Path>) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", arch.name());
    check_pure(&target)?;
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "-p", "stillboot-cli", "--profile", "static"]);
    // A device needs no simulator: without the feature `lab`.
    cargo.arg("--no-default-features");
    // The flags in `.cargo/config.toml` are what links it; a caller's own would replace them.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    shell::run(cargo.args(["--target", &target]))?;
    let built = shell::target().join(&target).join("static/stillboot");
    let out = out.map_or_else(|| shell::target().join("static"), Path::to_path_buf);
    let file = out.join(format!("stillboot-{}", arch.name()));
    fs::create_dir_all(&out)?;
    // Under another name first: one that runs cannot be written over.
    let copy = out.join(format!("partial-{}", std::process::id()));
    fs::copy(&built, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    fs::rename(&copy, &file)?;
    println!("{}: {} bytes", file.display(), fs::metadata(&file)?.len());
    let mut initramfs = Initramfs::default();
    initramfs.file("bin/stillboot", 0o755, fs::read(&file)?);
    fs::write(&copy, initramfs.emit()?)?;
    fs::rename(&copy, file.with_extension("cpio.gz"))?;
    Ok(file)
}

/// Fails if anything but Rust is compiled in, or the simulator.
fn check_pure(target: &str) -> Result<()> {
    let mut tree = shell::cargo();
    tree.args(["tree", "-p", "stillboot-cli", "--no-default-features", "--target", target]);
    let tree = shell::output(tree.args(["-e", "normal,build", "--prefix", "none", "-f", "{p}"]))?;
    let mut names = tree.lines().filter_map(|line| line.split(' ').next());
    match names.find(|name| FOREIGN.contains(name) || *name == SIMULATOR) {
        Some(SIMULATOR) => bail!("expected the tool without {SIMULATOR}, found that it needs it"),
        Some(name) => bail!("expected the tool to be free of C code, found that it needs {name}"),
        None => Ok(()),
    }
}
