//! The packages with the programs that are compared.

use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Programs and the Debian packages that bring them. Only this command needs them.
const NEEDS: [(&str, &str); 13] = [
    ("rauc", "rauc"),
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus"),
    ("swupdate", "swupdate"),
    ("casync", "casync"),
    ("bsdiff", "bsdiff"),
    ("xdelta3", "xdelta3"),
    ("zstd", "zstd"),
    ("xz", "xz-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("mkfs.erofs", "erofs-utils"),
    ("mke2fs", "e2fsprogs"),
];

/// Installs those that are missing. That takes root.
pub(super) fn install() -> Result<()> {
    let missing = NEEDS.iter().filter(|(program, _)| !shell::has_program(program));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    println!("bench: installing {}", packages.join(", "));
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    let advice = "as root, on Debian 12: this command installs what it compares with";
    shell::run(Command::new("apt-get").args(wait).args(["update", "-qq"])).context(advice)?;
    shell::run(
        Command::new("apt-get")
            .args(wait)
            .args(["install", "-qq", "-y", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context(advice)
}

/// The versions of some packages, as the tables name them.
pub(super) fn versions(packages: &[&str]) -> Result<String> {
    let format = ["-W", "-f", "${Package} ${Version}\n"];
    let lines = shell::output(Command::new("dpkg-query").args(format).args(packages))?;
    Ok(lines.lines().collect::<Vec<_>>().join(", "))
}
