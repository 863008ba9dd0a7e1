//! Bytes of deltas, what it takes to make them, and how fast a patch is applied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::methods::{Job, Method, Taken};
use super::pairs::{self, Pair};
use super::report::{self, thousands};
use super::{example, packages, tool};
use crate::shell;

/// Pairs and limits.
#[derive(Args)]
pub struct DeltaArgs {
    /// Only this pair; may be repeated.
    #[arg(long, value_name = "NAME")]
    pair: Vec<String>,
    /// Seconds after which another project's program is stopped.
    #[arg(long, default_value_t = LIMIT)]
    limit: u64,
}

const LIMIT: u64 = 900;

impl Default for DeltaArgs {
    fn default() -> Self {
        Self { pair: Vec::new(), limit: LIMIT }
    }
}

struct Row {
    name: &'static str,
    old_len: u64,
    new_len: u64,
    taken: Vec<Result<Taken, String>>,
    /// MB/s of what a patch gives.
    applied: String,
}

impl Row {
    fn bytes(&self, method: Method) -> Option<f64> {
        Some(self.of(method)?.bytes as f64)
    }

    fn of(&self, method: Method) -> Option<&Taken> {
        let at = Method::ALL.iter().position(|other| *other == method)?;
        self.taken[at].as_ref().ok()
    }
}

/// Counts.
///
/// # Errors
/// One of our own commands failed, or a package cannot be fetched.
pub fn run(args: &DeltaArgs) -> Result<()> {
    packages::install()?;
    let tool = tool()?;
    let apply = example("stillboot-transport", "apply", &["--features", "zstd"])?;
    let mut rows = Vec::new();
    for pair in pairs::all(&args.pair)? {
        rows.push(measure(&pair, &tool, &apply, Duration::from_secs(args.limit))?);
    }
    let peers = packages::versions(&["bsdiff", "xdelta3", "zstd", "casync"])?;
    let mut text = format!(
        "`cargo xtask bench delta`; programs are stopped after {} s; {}; {peers}.\n\n",
        args.limit,
        report::machine(),
    );
    text += &bytes(&rows);
    text += &efforts(&rows);
    text += &targets(&rows);
    report::write("bench-delta", &text)
}

fn measure(pair: &Pair, tool: &Path, apply: &Path, limit: Duration) -> Result<Row> {
    let folder = super::folder().join("delta");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let job = Job { old: &pair.old, new: &pair.new, tool, folder: &folder, limit };
    job.prepare()?;
    let mut taken = Vec::new();
    for method in Method::ALL {
        let result = job.take(method);
        match &result {
            Ok(done) => println!(
                "bench: {} {}: {} bytes, {:.1} s, {:.0} MiB",
                pair.name,
                method.name(),
                thousands(done.bytes),
                done.cost.seconds,
                done.cost.peak_mib
            ),
            Err(error) => println!("bench: {} {}: {error:#}", pair.name, method.name()),
        }
        match result {
            Err(error) if method == Method::Ours => return Err(error),
            result => taken.push(result.map_err(|error| error.to_string())),
        }
    }
    let mut command = Command::new(apply);
    let applied = shell::output(command.args(["new.sbd", "old.sbb"]).current_dir(&folder))?;
    println!("bench: {} applied at {}", pair.name, applied.trim());
    let (old_len, new_len) = (len(&pair.old)?, len(&pair.new)?);
    fs::remove_dir_all(folder)?;
    Ok(Row { name: pair.name, old_len, new_len, taken, applied: applied.trim().to_owned() })
}

fn len(path: &PathBuf) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// The table of bytes.
fn bytes(rows: &[Row]) -> String {
    let mut text = String::from("| bytes to fetch | new file |");
    text += &Method::ALL.map(|method| format!(" {} |", method.name())).concat();
    text += &format!("\n|---|{}\n", "---:|".repeat(Method::ALL.len() + 1));
    for row in rows {
        text += &format!("| `{}` | {} |", row.name, thousands(row.new_len));
        for taken in &row.taken {
            text += &match taken {
                Ok(taken) => format!(" {} |", thousands(taken.bytes)),
                Err(reason) => format!(" {} |", reason.lines().next().unwrap_or_default()),
            };
        }
        text += "\n";
    }
    text + "\n"
}

/// The table of what it takes to make them, and to apply ours.
fn efforts(rows: &[Row]) -> String {
    let methods = [Method::Ours, Method::Bsdiff, Method::Xdelta, Method::ZstdPatch];
    let mut text = String::from("| seconds, peak MiB to make | old file MB |");
    text += &methods.map(|method| format!(" {} |", method.name())).concat();
    text += " stillboot, peak to both files | applied, MB/s of output |\n|---|";
    text += &format!("{}\n", "---:|".repeat(methods.len() + 3));
    for row in rows {
        text += &format!("| `{}` | {:.1} |", row.name, row.old_len as f64 / 1e6);
        for method in methods {
            text += &row.of(method).map_or(" |".to_owned(), |taken| {
                format!(" {:.1} s, {:.0} |", taken.cost.seconds, taken.cost.peak_mib)
            });
        }
        let both = (row.old_len + row.new_len) as f64;
        let peak = row.of(Method::Ours).map_or(0.0, |taken| taken.cost.peak_mib * 1_048_576.0);
        text += &format!(" {:.1} | {} |\n", peak / both, row.applied);
    }
    text + "\n"
}

/// Ratios, and what they should be at most.
fn targets(rows: &[Row]) -> String {
    let mut text = String::from("| ratio of bytes | measured | target | |\n|---|---:|---:|---|\n");
    for (pair, other, target) in [
        ("image-arm64", Method::Bsdiff, 0.95),
        ("modules-arm64", Method::Bsdiff, 1.05),
        ("modules-amd64", Method::Bsdiff, 1.05),
        ("root-ext4", Method::Xdelta, 0.9),
    ] {
        let Some(row) = rows.iter().find(|row| row.name == pair) else { continue };
        let (Some(ours), Some(other_bytes)) = (row.bytes(Method::Ours), row.bytes(other)) else {
            continue;
        };
        let name = format!("`{pair}` to {}", other.name());
        text += &report::against(&name, ours / other_bytes, target);
    }
    for row in rows {
        if let (Some(ours), Some(whole)) = (row.bytes(Method::Ours), row.bytes(Method::Sbz)) {
            text += &report::against(&format!("`{}` to whole .sbz", row.name), ours / whole, 1.01);
        }
    }
    text
}
