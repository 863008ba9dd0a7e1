//! Ways to bring the new file of a pair to a device that has the old one, in bytes to fetch.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::cost::{self, Cost};
use super::wire;
use crate::shell;

/// What a block hash index compares.
const BLOCK: usize = 4096;
/// What a squashfs, in which such blocks stand, compresses together.
const GROUP: usize = 64 << 10;
/// Length of a digest in an index.
const DIGEST: u64 = 32;
const LEVEL: i32 = 19;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Ours,
    Bsdiff,
    Xdelta,
    ZstdPatch,
    Casync,
    Blocks,
    Sbz,
    Zstd,
}

impl Method {
    pub(super) const ALL: [Self; 8] = [
        Self::Ours,
        Self::Bsdiff,
        Self::Xdelta,
        Self::ZstdPatch,
        Self::Casync,
        Self::Blocks,
        Self::Sbz,
        Self::Zstd,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "stillboot",
            Self::Bsdiff => "bsdiff",
            Self::Xdelta => "xdelta3",
            Self::ZstdPatch => "zstd --patch-from",
            Self::Casync => "casync",
            Self::Blocks => "block hash index",
            Self::Sbz => "whole .sbz",
            Self::Zstd => "whole zstd -19",
        }
    }
}

/// What a way took: bytes to fetch, and what it cost to make them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) bytes: u64,
    pub(super) cost: Cost,
}

/// Two versions of a file, the tool, and a folder to work in.
pub(super) struct Job<'a> {
    pub(super) old: &'a Path,
    pub(super) new: &'a Path,
    pub(super) tool: &'a Path,
    pub(super) folder: &'a Path,
    /// For each program.
    pub(super) limit: Duration,
}

impl Job<'_> {
    /// Goes one way.
    pub(super) fn take(&self, method: Method) -> Result<Taken> {
        match method {
            Method::Ours => self.ours(),
            Method::Sbz => self.sbz(),
            Method::Casync => self.casync(),
            Method::Blocks => self.blocks(),
            Method::Bsdiff => self.program("bsdiff", |command, out| {
                command.args([self.old, self.new, out]);
            }),
            Method::Xdelta => {
                let window = fs::metadata(self.old)?.len().next_multiple_of(1 << 20).max(1 << 20);
                self.program("xdelta3", |command, out| {
                    let window = window.to_string();
                    command.args(["-e", "-f", "-9", "-S", "djw", "-B", &window, "-s"]);
                    command.args([self.old, self.new, out]);
                })
            }
            Method::ZstdPatch => self.program("zstd", |command, out| {
                command.args(["-q", "-f", "-19", "--long=31", "--patch-from"]);
                command.args([self.old, self.new]).arg("-o").arg(out);
            }),
            Method::Zstd => self.program("zstd", |command, out| {
                command.args(["-q", "-f", "-19", "--long=27"]).arg(self.new).arg("-o").arg(out);
            }),
        }
    }

    /// Makes keys and both bundles; the others do not need them.
    pub(super) fn prepare(&self) -> Result<()> {
        self.stillboot("keygen --out keys --product bench")?;
        for (sequence, file, out) in [(1, self.old, "old.sbb"), (2, self.new, "new.sbb")] {
            let mut command = self.command(&format!(
                "pack --roots keys/roots.toml --class bench --version {sequence}.0.0 --sequence \
                 {sequence} --keyset keys/keyset.sbk --key keys/release-1.pem --force --out {out}"
            ));
            cost::of(command.arg("--data").arg(file))?;
        }
        self.stillboot("bundle compress new.sbb --out new.sbz").map(drop)
    }

    fn ours(&self) -> Result<Taken> {
        let cost = self.stillboot("delta old.sbb new.sbb --out new.sbd")?;
        Ok(Taken { bytes: wire::bytes(&self.path("new.sbd"), &self.path("new.sbz"))?, cost })
    }

    fn sbz(&self) -> Result<Taken> {
        let cost = self.stillboot("bundle compress new.sbb --out new.sbz")?;
        Ok(Taken { bytes: fs::metadata(self.path("new.sbz"))?.len(), cost })
    }

    /// The chunks that only the new file has, and its index.
    fn casync(&self) -> Result<Taken> {
        for store in ["old.castr", "new.castr"] {
            if self.path(store).exists() {
                fs::remove_dir_all(self.path(store))?;
            }
        }
        let make = |name: &str, file: &Path| {
            let mut command = Command::new("casync");
            command.args(["make", &format!("--store={name}.castr"), &format!("{name}.caibx")]);
            cost::within(command.arg(file).current_dir(self.folder), self.limit)
        };
        make("old", self.old)?;
        let cost = make("new", self.new)?;
        let old: HashSet<_> = chunks(&self.path("old.castr"))?.into_iter().map(of_name).collect();
        let mut bytes = fs::metadata(self.path("new.caibx"))?.len();
        for chunk in chunks(&self.path("new.castr"))? {
            if !old.contains(&of_name(chunk.clone())) {
                bytes += fs::metadata(chunk)?.len();
            }
        }
        Ok(Taken { bytes, cost })
    }

    /// As RAUC's adaptive updates do it: the index, and each compressed group with a block that is
    /// nowhere in the old file.
    fn blocks(&self) -> Result<Taken> {
        let (old, new) = (fs::read(self.old)?, fs::read(self.new)?);
        let known: HashSet<&[u8]> = old.chunks(BLOCK).collect();
        let mut bytes = new.len().div_ceil(BLOCK) as u64 * DIGEST;
        let mut out = vec![0; zstd_safe::compress_bound(GROUP)];
        for group in new.chunks(GROUP) {
            if group.chunks(BLOCK).all(|block| known.contains(block)) {
                continue;
            }
            match zstd_safe::compress(&mut out[..], group, LEVEL) {
                Ok(len) => bytes += len.min(group.len()) as u64,
                Err(code) => bail!("zstd fails with code {code}"),
            }
        }
        Ok(Taken { bytes, cost: Cost::default() })
    }

    fn program(&self, name: &str, arguments: impl Fn(&mut Command, &Path)) -> Result<Taken> {
        let out = self.path("out");
        let _ = fs::remove_file(&out);
        let mut command = Command::new(name);
        arguments(&mut command, &out);
        let cost = cost::within(&mut command, self.limit)?;
        Ok(Taken { bytes: fs::metadata(&out)?.len(), cost })
    }

    fn stillboot(&self, arguments: &str) -> Result<Cost> {
        cost::of(&mut self.command(arguments))
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(self.tool);
        command.args(arguments.split_whitespace()).arg("--quiet").current_dir(self.folder);
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The files in a store of casync.
fn chunks(store: &Path) -> Result<Vec<PathBuf>> {
    let list = shell::output(Command::new("find").arg(store).args(["-type", "f"]))
        .context("cannot list chunks")?;
    Ok(list.lines().map(PathBuf::from).collect())
}

/// The name of a chunk is its digest.
fn of_name(path: PathBuf) -> Option<std::ffi::OsString> {
    path.file_name().map(Into::into)
}
