//! Root file systems of two dates: the release of Debian alone, and with all updates since.
//!
//! Each is made in the forms that devices have. Neither time nor chance of this machine is in them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::once::once;
use crate::apt::Archive;
use crate::{kernels, shell};

/// Forms, and how each is made of a folder; `IMAGE` and `FOLDER` are put in.
pub(super) const FORMS: [(&str, &str); 6] = [
    (
        "root-ext4",
        "mke2fs -q -t ext4 -L root -U ID -E hash_seed=ID,root_owner=0:0 -d FOLDER IMAGE 768M",
    ),
    ("root-tar", ""),
    ("root-erofs", "mkfs.erofs --quiet -T EPOCH -U ID IMAGE FOLDER"),
    ("root-squashfs-plain", "mksquashfs FOLDER IMAGE -quiet -no-progress -noI -noD -noF -noX"),
    ("root-squashfs-zstd", "mksquashfs FOLDER IMAGE -quiet -no-progress -comp zstd"),
    ("root-erofs-lz4", "mkfs.erofs --quiet -zlz4hc -T EPOCH -U ID IMAGE FOLDER"),
];

const RELEASE: &str = "bookworm";
/// What a small appliance has beside the packages that every system has.
const PACKAGES: &str =
    "systemd-sysv,udev,dbus,iproute2,openssh-server,ca-certificates,curl,python3";
const ID: &str = "5b4b1a0e-3f0c-4a5e-9d1c-0f6b1e2d3c4a";
const EPOCH: &str = "1700000000";

/// Makes all forms that are not there yet.
pub(super) fn make(folder: &Path) -> Result<()> {
    let whole = |name: &str, version: &str| folder.join(format!("{name}.{version}")).exists();
    for (version, updates) in [("old", false), ("new", true)] {
        let tar = once(folder, &format!("root-tar.{version}"), |path| system(path, updates))?;
        if FORMS.iter().all(|(name, _)| whole(name, version)) {
            continue;
        }
        ensure!(
            shell::output(Command::new("id").arg("-u"))?.trim() == "0",
            "root file systems can be made by root only"
        );
        let unpacked = folder.join(format!(".unpacked-root-{version}"));
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir_all(&unpacked)?;
        let mut unpack = Command::new("tar");
        unpack.args(["--numeric-owner", "-xpf"]).arg(&tar).arg("-C").arg(&unpacked);
        shell::output(&mut unpack)?;
        for (name, line) in FORMS.iter().filter(|(_, line)| !line.is_empty()) {
            once(folder, &format!("{name}.{version}"), |image| form(line, &unpacked, image))?;
        }
        fs::remove_dir_all(unpacked)?;
    }
    Ok(())
}

/// A whole system as an archive.
fn system(out: &Path, updates: bool) -> Result<()> {
    let fetched = shell::root().join(kernels::OUT_DEFAULT).join(".fetched");
    let mut archive = Archive::new("amd64", &fetched)?;
    let sources = archive.sources(RELEASE)?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--format=tar", "--architectures=amd64", "--variant=minbase"]);
    command.arg(format!("--include={PACKAGES}")).env("SOURCE_DATE_EPOCH", EPOCH);
    command.arg(RELEASE).arg(out);
    for (codename, uri) in sources.iter().filter(|(codename, _)| updates || codename == RELEASE) {
        command.arg(format!("deb {uri} {codename} main"));
    }
    shell::output(&mut command).map(drop)
}

fn form(line: &str, unpacked: &Path, image: &Path) -> Result<()> {
    let mut words = line.split(' ').map(|word| match word {
        "FOLDER" => unpacked.display().to_string(),
        "IMAGE" => image.display().to_string(),
        "EPOCH" => EPOCH.to_owned(),
        word => word.replace("ID", ID),
    });
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words).env("PATH", path());
    // mke2fs 1.47.0 knows only its own variable.
    command.env("SOURCE_DATE_EPOCH", EPOCH).env("E2FSPROGS_FAKE_TIME", EPOCH);
    shell::output(&mut command)?;
    if line.starts_with("mke2fs") {
        same_times(image)?;
    }
    Ok(())
}

/// mke2fs copies from each file when it was unpacked here.
fn same_times(image: &Path) -> Result<()> {
    let mut list = Command::new("dumpe2fs");
    let summary = shell::output(list.arg("-h").arg(image).env("PATH", path()))?;
    let number = |name: &str| -> Result<u32> {
        let line = summary.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("no {name} in the file system"))?.trim().parse()?)
    };
    let used = number("Inode count:")? - number("Free inodes:")?;
    let script = image.with_extension("debugfs");
    let mut lines = String::new();
    for inode in 1..=used {
        for field in ["atime", "ctime", "crtime"] {
            lines += &format!("set_inode_field <{inode}> {field} @{EPOCH}\n");
            lines += &format!("set_inode_field <{inode}> {field}_extra 0\n");
        }
    }
    fs::write(&script, lines)?;
    let mut command = Command::new("debugfs");
    command.args(["-w", "-f"]).arg(&script).arg(image).env("PATH", path());
    shell::output(command.env("E2FSPROGS_FAKE_TIME", EPOCH).stdin(File::open("/dev/null")?))?;
    Ok(fs::remove_file(script)?)
}

/// Tools of root are where `PATH` of a plain user does not look.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}
