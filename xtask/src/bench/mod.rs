//! How fast an installation is, as a ratio to the least that its work can take.
//!
//! Everything is timed in the same run, in turn, because the load of a machine varies: the ratios
//! are meaningful, the seconds are not. Nothing here fails because something was slow.

mod cost;

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs of each thing that is timed.
const RUNS: usize = 7;
const TRUST: &str = "--roots keys/roots.toml --class bench";
const CHUNK: u64 = 1 << 20;

/// What is timed. Other updaters get a line of their own here.
const CASES: [(Case, &str); 7] = [
    (Case::Floor, "floor: two threads, direct"),
    (Case::OpenSsl, "openssl dgst -sha256"),
    (Case::Dd, "dd bs=1M conv=fsync"),
    (Case::File, "stillboot install FILE"),
    (Case::Stream, "stillboot install --stream"),
    (Case::Pipe, "stillboot install -"),
    (Case::Reuse, "5 % changed, --reuse"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Floor,
    OpenSsl,
    Dd,
    File,
    Stream,
    Pipe,
    Reuse,
}

struct Bench {
    folder: PathBuf,
    tool: PathBuf,
    floor: PathBuf,
    slot_mib: u64,
}

/// Times an installation of `mib` MiB against the least that its work can take.
///
/// # Errors
/// A command failed.
pub fn run(mib: u64) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release", "-p", "stillboot-cli"]))?;
    shell::run(shell::cargo().args([
        "build",
        "--quiet",
        "--release",
        "-p",
        "stillboot-linux",
        "--example",
        "floor",
    ]))?;
    let bench = Bench {
        folder: shell::target().join("bench"),
        tool: shell::target().join("release/stillboot"),
        floor: shell::target().join("release/examples/floor"),
        slot_mib: mib + 16,
    };
    bench.prepare(mib)?;
    let mut costs = vec![Vec::new(); CASES.len()];
    for _ in 0..RUNS {
        for ((case, _), costs) in CASES.iter().zip(&mut costs) {
            bench.before(*case)?;
            costs.push(cost::of(&mut bench.command(*case)?)?);
        }
    }
    println!("{mib} MiB, medians of {RUNS} runs, in turn");
    let all: Vec<_> = costs.iter().map(|costs| cost::median(costs)).collect();
    let [floor, openssl, _, file, stream, _, reuse] = all[..] else { bail!("a case is missing") };
    for ((_, name), cost) in CASES.iter().zip(&all) {
        println!(
            "{name:<28} {:6.2} s {:5.2} x   cpu {:6.2} s   peak {:5.1} MiB",
            cost.seconds,
            cost.seconds / floor.seconds,
            cost.cpu_seconds,
            cost.peak_mib
        );
    }
    println!("--stream to the floor         {:5.2} x", stream.seconds / floor.seconds);
    println!("FILE to --stream              {:5.2} x", file.seconds / stream.seconds);
    println!("cpu of --stream to openssl    {:5.2} x", stream.cpu_seconds / openssl.cpu_seconds);
    println!("5 % changed to --stream       {:5.2} x", reuse.seconds / stream.seconds);
    fs::remove_dir_all(&bench.folder)?;
    Ok(())
}

impl Bench {
    /// Keys, two bundles that differ in 5 % of their chunks, and a disk with the first in both slots.
    fn prepare(&self, mib: u64) -> Result<()> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder)?;
        let payload = self.folder.join("payload");
        incompressible(&payload, mib)?;
        self.quiet("keygen --out keys --product bench")?;
        for sequence in 1..=3 {
            if sequence == 3 {
                change(&payload, mib)?;
            }
            self.quiet(&format!(
                "pack {TRUST} --version {sequence}.0.0 --sequence {sequence} --keyset \
                 keys/keyset.sbk --key keys/release-1.pem --chunk-size 1M --image payload --out \
                 v{sequence}.sbb"
            ))?;
        }
        // Version 2 has the bytes of version 1.
        self.fresh_disk()?;
        self.quiet(&format!("install v1.sbb --disk disk.img {TRUST} --offline"))?;
        self.quiet(&format!("boot --disk disk.img {TRUST} --proof-out proof"))?;
        self.quiet("mark-good --disk disk.img --proof proof")?;
        self.quiet(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof"))?;
        self.quiet(&format!("boot --disk disk.img {TRUST} --proof-out proof"))?;
        self.quiet("mark-good --disk disk.img --proof proof")?;
        fs::rename(self.folder.join("disk.img"), self.folder.join("both.img"))?;
        Ok(())
    }

    /// What a case needs and what is not timed.
    fn before(&self, case: Case) -> Result<()> {
        let _ = fs::remove_file(self.folder.join("copy"));
        match case {
            Case::Floor | Case::OpenSsl | Case::Dd => Ok(()),
            Case::File | Case::Stream | Case::Pipe => self.fresh_disk(),
            Case::Reuse => {
                fs::copy(self.folder.join("both.img"), self.folder.join("disk.img"))?;
                File::open(self.folder.join("disk.img"))?.sync_all()?;
                Ok(())
            }
        }
    }

    fn command(&self, case: Case) -> Result<Command> {
        let install = |arguments: &str| {
            self.stillboot(&format!("install {arguments} --disk disk.img {TRUST}"))
        };
        let mut command = match case {
            Case::Floor => {
                let mut command = Command::new(&self.floor);
                command.args(["payload", "copy"]);
                command
            }
            Case::OpenSsl => {
                let mut command = Command::new("openssl");
                command.args(["dgst", "-sha256", "payload"]);
                command
            }
            Case::Dd => {
                let mut command = Command::new("dd");
                command.args(["if=payload", "of=copy", "bs=1M", "conv=fsync"]);
                command
            }
            Case::File => install("v1.sbb --offline"),
            Case::Stream => install("v1.sbb --offline --stream"),
            Case::Pipe => {
                let mut command = install("- --offline");
                let mut cat = Command::new("cat");
                cat.arg("v1.sbb").current_dir(&self.folder).stdout(Stdio::piped());
                let bundle = cat.spawn()?.stdout.context("a pipe")?;
                command.stdin(bundle);
                command
            }
            Case::Reuse => install("v3.sbb --stream --reuse --proof proof"),
        };
        command.current_dir(&self.folder);
        Ok(command)
    }

    fn stillboot(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.tool);
        command.args(arguments.split_whitespace()).arg("--quiet").current_dir(&self.folder);
        command
    }

    fn quiet(&self, arguments: &str) -> Result<()> {
        cost::of(&mut self.stillboot(arguments)).map(|_| ())
    }

    fn fresh_disk(&self) -> Result<()> {
        let _ = fs::remove_file(self.folder.join("disk.img"));
        self.quiet(&format!("disk create disk.img --slot-size {}M", self.slot_mib))
    }
}

/// A file that neither a file system nor a disk can shrink.
fn incompressible(path: &Path, mib: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: enough that no two blocks are alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// Changes one chunk in twenty.
fn change(path: &Path, mib: u64) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    for chunk in (0..(mib << 20) / CHUNK).step_by(20) {
        file.seek(SeekFrom::Start(chunk * CHUNK))?;
        file.write_all(b"another version")?;
    }
    Ok(file.sync_all()?)
}
