//! How fast an installation is, as a ratio to what hashing and writing the same bytes costs.
//!
//! Everything is timed in the same run, in turn, because the load of a machine varies: the ratios
//! are meaningful, the seconds are not. Nothing here fails because something was slow.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs of each thing that is timed.
const RUNS: usize = 5;

/// Times an installation of `mib` MiB against `openssl dgst -sha256` and `dd conv=fsync`.
///
/// # Errors
/// A command failed.
pub fn run(mib: u64) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release", "-p", "stillboot-cli"]))?;
    let tool = shell::target().join("release/stillboot");
    let folder = shell::target().join("bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let payload = folder.join("payload");
    incompressible(&payload, mib)?;
    let stillboot = |arguments: String| {
        let mut command = Command::new(&tool);
        command.args(arguments.split_whitespace()).arg("--quiet").current_dir(&folder);
        command
    };
    let trust = "--roots keys/roots.toml --class bench";
    quiet(&mut stillboot("keygen --out keys --product bench".into()))?;
    for sequence in 1..=2 {
        quiet(&mut stillboot(format!(
            "pack {trust} --version {sequence}.0.0 --sequence {sequence} --keyset keys/keyset.sbk \
             --key keys/release-1.pem --chunk-size 1M --image payload --out v{sequence}.sbb"
        )))?;
    }
    let slot = mib + 16;
    let fresh = || -> Result<()> {
        let _ = fs::remove_file(folder.join("disk.img"));
        quiet(&mut stillboot(format!("disk create disk.img --slot-size {slot}M")))
    };
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..RUNS {
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "payload"]).current_dir(&folder);
        let hash = seconds(&mut openssl)?;
        let _ = fs::remove_file(folder.join("copy"));
        let mut dd = Command::new("dd");
        dd.args(["if=payload", "of=copy", "bs=1M", "conv=fsync"]).current_dir(&folder);
        let copy = seconds(&mut dd)?;
        times[0].push(hash);
        times[1].push(copy);
        for (at, flag) in [(2, ""), (3, "--stream")] {
            fresh()?;
            let arguments = format!("install v1.sbb --disk disk.img {trust} --offline {flag}");
            times[at].push(seconds(&mut stillboot(arguments))?);
        }
    }
    let [hash, copy, install, stream] = times.map(median);
    let floor = hash + copy;
    println!("{mib} MiB, median of {RUNS} runs, in turn");
    for (name, time) in [
        ("openssl dgst -sha256", hash),
        ("dd bs=1M conv=fsync", copy),
        ("both, one after the other", floor),
        ("stillboot install", install),
        ("stillboot install --stream", stream),
    ] {
        println!("{name:<27} {time:6.2} s  {:5.2} x", time / floor);
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
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

fn quiet(command: &mut Command) -> Result<()> {
    let line = shell::line_of(command);
    let done =
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().context(line.clone())?;
    if !done.success() {
        bail!("{line}: {done}");
    }
    Ok(())
}

fn seconds(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    quiet(command)?;
    Ok(start.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
