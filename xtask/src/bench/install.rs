//! Installations, interleaved with the least that their work can take and with other updaters.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::cost::{self, Cost};
use super::measured::{Case, Measured};
use super::peers::{self, Casync, Rauc, SwUpdate};
use super::{example, packages, plot, report, tool};
use crate::shell;

/// Sizes and runs.
#[derive(Args)]
pub struct InstallArgs {
    /// Sizes of the update in MiB; may be repeated. 64, 512 and 2048 by default.
    #[arg(long, value_name = "MIB")]
    size: Vec<u64>,
    /// How often each thing is timed.
    #[arg(long, default_value_t = RUNS)]
    runs: usize,
}

const RUNS: usize = 7;
const SIZES: [u64; 3] = [64, 512, 2048];
const TRUST: &str = "--roots keys/roots.toml --class bench";
const CHUNK: u64 = 256 << 10;

impl Default for InstallArgs {
    fn default() -> Self {
        Self { size: Vec::new(), runs: RUNS }
    }
}

/// Times installations.
///
/// # Errors
/// One of our own commands failed, or a slot does not hold what was installed.
pub fn run(args: &InstallArgs) -> Result<()> {
    packages::install()?;
    let (tool, floor) = (tool()?, example("stillboot-linux", "floor", &[])?);
    let sizes = if args.size.is_empty() { SIZES.to_vec() } else { args.size.clone() };
    let mut all = Vec::new();
    for mib in sizes {
        let folder = super::folder().join("install");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut bench = Bench::new(folder.clone(), tool.clone(), floor.clone(), mib)?;
        all.push(bench.measure(args.runs)?);
        drop(bench);
        fs::remove_dir_all(&folder)?;
    }
    let peers = packages::versions(&["rauc", "swupdate", "casync", "openssl"])?;
    let mut text = format!(
        "`cargo xtask bench install`: medians of {} runs, each thing in turn; {}; {peers}.\n\n",
        args.runs,
        report::machine(),
    );
    for measured in &all {
        text += &table(measured);
    }
    text += &targets(&all);
    report::write("bench-install", &text)?;
    plot::write(&all, &shell::root().join("docs/img/bench-install.svg"))
}

fn table(measured: &Measured) -> String {
    let floor = measured.of(Case::Floor).unwrap_or_default();
    let mut text = format!(
        "| {} MiB | seconds | to the floor | processor s | peak MiB |\n|---|---:|---:|---:|---:|\n",
        measured.mib
    );
    for (case, cost) in Case::ALL.iter().zip(&measured.costs) {
        let name = case.name();
        text += &match cost {
            Ok(cost) => format!(
                "| {name} | {:.2} | {:.2} | {:.2} | {:.1} |\n",
                cost.seconds,
                cost.seconds / floor.seconds,
                cost.cpu_seconds,
                cost.peak_mib
            ),
            Err(reason) => format!("| {name} | not measured: {reason} | | | |\n"),
        };
    }
    text + "\n"
}

/// Ratios of two cases, and what they should be at most.
fn targets(all: &[Measured]) -> String {
    let mut text = String::from("| ratio | measured | target | |\n|---|---:|---:|---|\n");
    type Value = fn(Cost) -> f64;
    let seconds: Value = |cost| cost.seconds;
    let cpu: Value = |cost| cost.cpu_seconds;
    let rows = [
        ("`--stream` to the floor, seconds", Case::Stream, Case::Floor, seconds, 1.15),
        ("`--stream` to RAUC, seconds", Case::Stream, Case::Rauc, seconds, 0.75),
        ("FILE to `--stream`, seconds", Case::File, Case::Stream, seconds, 1.3),
        ("`--stream` to `openssl dgst`, processor", Case::Stream, Case::OpenSsl, cpu, 2.4),
        ("5 % changed to `--stream`, seconds", Case::Reuse, Case::Stream, seconds, 0.35),
    ];
    for measured in all {
        for (name, one, other, value, target) in rows {
            let (Some(one), Some(other)) = (measured.of(one), measured.of(other)) else { continue };
            let name = format!("{} MiB: {name}", measured.mib);
            text += &report::against(&name, value(one) / value(other), target);
        }
        for (case, target) in [(Case::Stream, 16.0), (Case::File, 16.0), (Case::Zstd, 24.0)] {
            let Some(cost) = measured.of(case) else { continue };
            let name = format!("{} MiB: peak MiB of {}", measured.mib, case.name());
            text += &report::against(&name, cost.peak_mib, target);
        }
    }
    text
}

struct Bench {
    folder: PathBuf,
    tool: PathBuf,
    floor: PathBuf,
    mib: u64,
    rauc: Result<Rauc, String>,
    swupdate: Result<SwUpdate, String>,
    casync: Result<Casync, String>,
}

impl Bench {
    /// Keys, bundles and disks; other updaters may be missing.
    fn new(folder: PathBuf, tool: PathBuf, floor: PathBuf, mib: u64) -> Result<Self> {
        println!("bench: making bundles of {mib} MiB");
        let none = || "not tried".to_owned();
        let (rauc, swupdate, casync) = (Err(none()), Err(none()), Err(none()));
        let mut bench = Self { folder, tool, floor, mib, rauc, swupdate, casync };
        bench.prepare()?;
        let (folder, slot_len) = (&bench.folder, (mib + 16) << 20);
        peers::certificate(folder)?;
        let why = |error: anyhow::Error| first_line(&error);
        bench.rauc = Rauc::new(folder, slot_len).map_err(why);
        bench.swupdate = SwUpdate::new(folder, slot_len).map_err(why);
        bench.casync = Casync::new(folder).map_err(why);
        Ok(bench)
    }

    /// A bundle, one that differs from it in 5 % of its chunks, a compressed one, and a disk with
    /// the first in both slots.
    fn prepare(&self) -> Result<()> {
        self.quiet("keygen --out keys --product bench")?;
        incompressible(&self.path("payload"), self.mib, u8::MAX)?;
        incompressible(&self.path("half"), self.mib, 0x0f)?;
        self.pack(1, "payload", "v1.sbb --compress none")?;
        self.pack(2, "payload", "v2.sbb --compress none")?;
        fs::copy(self.path("payload"), self.path("changed"))?;
        change(&self.path("changed"), self.mib)?;
        self.pack(3, "changed", "v3.sbb --compress none")?;
        self.pack(4, "half", "v4.sbz --compress zstd:3")?;
        // Version 2 has the bytes of version 1.
        self.fresh_disk()?;
        self.quiet(&format!("install v1.sbb --disk disk.img {TRUST} --offline"))?;
        self.quiet(&format!("boot --disk disk.img {TRUST} --proof-out proof"))?;
        self.quiet("mark-good --disk disk.img --proof proof")?;
        self.quiet(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof"))?;
        self.quiet(&format!("boot --disk disk.img {TRUST} --proof-out proof"))?;
        self.quiet("mark-good --disk disk.img --proof proof")?;
        fs::rename(self.path("disk.img"), self.path("both.img"))?;
        Ok(fs::remove_file(self.path("v2.sbb"))?)
    }

    fn pack(&self, sequence: u32, payload: &str, out: &str) -> Result<()> {
        self.quiet(&format!(
            "pack {TRUST} --version {sequence}.0.0 --sequence {sequence} --keyset keys/keyset.sbk \
             --key keys/release-1.pem --image {payload} --out {out}"
        ))
    }

    fn measure(&mut self, runs: usize) -> Result<Measured> {
        let mut costs = vec![Ok(Vec::new()); Case::ALL.len()];
        for run in 1..=runs {
            println!("bench: {} MiB, run {run} of {runs}", self.mib);
            for (case, costs) in Case::ALL.iter().zip(&mut costs) {
                let Ok(done) = costs else { continue };
                match self.time(*case) {
                    Ok(cost) => done.push(cost),
                    Err(error) if self.is_peer(*case) => *costs = Err(first_line(&error)),
                    Err(error) => return Err(error.context(case.name())),
                }
            }
        }
        let costs = costs.into_iter().map(|costs| costs.map(|costs| cost::median(&costs)));
        Ok(Measured { mib: self.mib, costs: costs.collect() })
    }

    /// Of what another project gives: its failure is a line in the table.
    fn is_peer(&self, case: Case) -> bool {
        matches!(case, Case::Rauc | Case::SwUpdate | Case::Casync)
    }

    /// Times one run. What it needs, and the check of what it wrote, are not timed.
    fn time(&mut self, case: Case) -> Result<Cost> {
        let _ = fs::remove_file(self.path("copy"));
        let mut service = None;
        match case {
            Case::Floor | Case::OpenSsl | Case::Dd => {}
            Case::Stream | Case::File | Case::Pipe | Case::Zstd => self.fresh_disk()?,
            Case::Reuse => {
                fs::copy(self.path("both.img"), self.path("disk.img"))?;
                evict(&self.path("disk.img"))?;
            }
            Case::Rauc => service = Some(usable(&mut self.rauc)?.restart()?),
            Case::SwUpdate => usable(&mut self.swupdate)?.reset()?,
            Case::Casync => usable(&mut self.casync)?.reset()?,
        }
        rustix::fs::sync();
        let mut cost = Cost::default();
        for mut command in self.commands(case)? {
            cost += match service {
                Some(service) => cost::with_service(&mut command, service)?,
                None => cost::of(&mut command)?,
            };
        }
        let (target, payload) = match case {
            Case::OpenSsl => return Ok(cost),
            Case::Floor | Case::Dd => ("copy", "payload"),
            Case::Stream | Case::File | Case::Pipe => ("disk.img", "payload"),
            Case::Zstd => ("disk.img", "half"),
            Case::Reuse => ("disk.img", "changed"),
            Case::Rauc => (Rauc::SLOT, "payload"),
            Case::SwUpdate => (SwUpdate::SLOT, "payload"),
            Case::Casync => (Casync::OUT, "payload"),
        };
        if !holds(&self.path(target), &self.path(payload))? {
            bail!("the slot does not hold what was installed");
        }
        Ok(cost)
    }

    fn commands(&mut self, case: Case) -> Result<Vec<Command>> {
        let install = |arguments: &str| {
            self.stillboot(&format!("install {arguments} --disk disk.img {TRUST}"))
        };
        let other = |line: &str| {
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words).current_dir(&self.folder);
            command
        };
        Ok(vec![match case {
            Case::Floor => {
                let mut command = Command::new(&self.floor);
                command.args(["payload", "copy"]).current_dir(&self.folder);
                command
            }
            Case::OpenSsl => other("openssl dgst -sha256 payload"),
            Case::Dd => other("dd if=payload of=copy bs=1M conv=fsync"),
            Case::Stream => install("v1.sbb --offline --stream"),
            Case::File => install("v1.sbb --offline"),
            Case::Pipe => {
                let mut command = install("- --offline");
                let cat = other("cat v1.sbb").stdout(Stdio::piped()).spawn()?;
                command.stdin(cat.stdout.context("a pipe")?);
                command
            }
            Case::Zstd => install("v4.sbz --offline --stream"),
            Case::Reuse => install("v3.sbb --stream --reuse --proof proof"),
            Case::Rauc => usable(&mut self.rauc)?.install(),
            Case::SwUpdate => return Ok(usable(&mut self.swupdate)?.install()),
            Case::Casync => return Ok(usable(&mut self.casync)?.install()),
        }])
    }

    fn stillboot(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.tool);
        command.args(arguments.split_whitespace()).arg("--quiet").current_dir(&self.folder);
        command
    }

    fn quiet(&self, arguments: &str) -> Result<()> {
        cost::of(&mut self.stillboot(arguments)).map(drop)
    }

    fn fresh_disk(&self) -> Result<()> {
        let _ = fs::remove_file(self.path("disk.img"));
        self.quiet(&format!("disk create disk.img --slot-size {}M", self.mib + 16))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn usable<T>(peer: &mut Result<T, String>) -> Result<&mut T> {
    peer.as_mut().map_err(|reason| anyhow::anyhow!("{reason}"))
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().replace('|', "/")
}

/// Whether the bytes of `payload` stand in `target`, from some multiple of 4 KiB on.
fn holds(target: &Path, payload: &Path) -> Result<bool> {
    const PAGE: usize = 4096;
    let mut start = vec![0; PAGE];
    File::open(payload)?.read_exact(&mut start)?;
    let mut disk = File::open(target)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let len = disk.read(&mut buffer)?;
        if len == 0 {
            return Ok(false);
        }
        for page in (0..len / PAGE).filter(|page| buffer[page * PAGE..][..PAGE] == start[..]) {
            let mut there = File::open(target)?;
            there.seek(SeekFrom::Start(at + (page * PAGE) as u64))?;
            if is_start(&mut there, payload)? {
                return Ok(true);
            }
        }
        at += len as u64;
    }
}

/// Whether `there` goes on with the bytes of `payload`.
fn is_start(there: &mut File, payload: &Path) -> Result<bool> {
    let mut payload = File::open(payload)?;
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let len = payload.read(&mut one)?;
        if len == 0 {
            return Ok(true);
        }
        if there.read_exact(&mut other[..len]).is_err() || one[..len] != other[..len] {
            return Ok(false);
        }
    }
}

/// A file of which no two blocks are alike. With all bits in `mask` nothing shrinks it.
fn incompressible(path: &Path, mib: u64, mask: u8) -> Result<()> {
    let mut file = File::create(path)?;
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&(state & u64::from_ne_bytes([mask; 8])).to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// Takes a file out of the page cache: a device does not have its slots there.
fn evict(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
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
