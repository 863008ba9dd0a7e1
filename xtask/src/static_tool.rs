//! `cargo xtask static-tool`: the tool as one file without libraries, and the same as an archive to
//! be appended to an initramfs. It is the tool for devices, without `demo` and `simulate`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::efi::Arch;
use crate::initramfs::Initramfs;
use crate::shell;

/// Crates that would search for libraries of the system, or build with other tools than a compiler.
const FOREIGN: &[&str] = &["cmake", "bindgen", "vcpkg"];

/// Crates with C in them that is compiled in. `zstd-sys` looks for a library of the system only where
/// `ZSTD_SYS_USE_PKG_CONFIG` asks for that.
// Why: docs/DESIGN.md#why-c-in-the-tool
const WITH_C: &[&str] = &["ring", "zstd-sys"];

/// Tests that another build of the tool has to pass: those of the simulator's commands, those that use
/// `LD_PRELOAD`, which has no effect on a file without libraries, and what a build with debug
/// assertions takes (`cargo xtask test-keys` tests the others).
const ELSEWHERE: &[&str] =
    &["--skip", "simulate::", "--skip", "media::", "--skip", "test_keys::debug_builds"];

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
    cargo.env_remove("ZSTD_SYS_USE_PKG_CONFIG");
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

/// Runs the tests of the tool with the one for devices; as a sample those of what it says of itself.
///
/// # Errors
/// It cannot be built, or a test failed.
pub fn test(sample: bool) -> Result<()> {
    let tool = run(host()?, None)?;
    // The tests of the whole workspace are built already. Those of a build without the feature would
    // compile every dependency once more.
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--test", "cli", "--"]);
    cargo.args(if sample { &["help::"][..] } else { ELSEWHERE });
    shell::run(cargo.env("STILLBOOT_TOOL", tool))
}

/// The architecture of this machine.
///
/// # Errors
/// The tool is built for two.
pub fn host() -> Result<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Arch::X86_64),
        "aarch64" => Ok(Arch::Aarch64),
        other => bail!("expected x86_64 or aarch64, found {other}"),
    }
}

/// Fails if a library of the system would be needed, other C than that of [`WITH_C`], or the
/// simulator.
fn check_pure(target: &str) -> Result<()> {
    let tree = |more: &[&str]| {
        let mut tree = shell::cargo();
        tree.args(["tree", "-p", "stillboot-cli", "--no-default-features", "--target", target]);
        shell::output(tree.args(["--prefix", "none", "-f", "{p}"]).args(more))
    };
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let all = tree(&["-e", "normal,build"])?;
    let foreign = |name: &String| FOREIGN.contains(&name.as_str()) || name == SIMULATOR;
    if let Some(name) = all.lines().map(name).find(foreign) {
        bail!("expected the tool without {name}, found that it needs it");
    }
    // Who needs a C compiler, or may look for a library, directly.
    for helper in ["cc", "pkg-config"] {
        let users = tree(&["-e", "normal,build", "--invert", helper, "--depth", "1"])?;
        let unknown = |name: &String| name != helper && !WITH_C.contains(&name.as_str());
        let mut names = users.lines().filter(|line| !line.is_empty()).map(name);
        if let Some(name) = names.find(unknown) {
            bail!("expected {helper} for {} alone, found it for {name}", WITH_C.join(", "));
        }
    }
    Ok(())
}
