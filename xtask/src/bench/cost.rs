//! What a command costs: time, time of the processor, memory.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Until it ended.
    pub(super) seconds: f64,
    /// In user mode and in the kernel, all threads.
    pub(super) cpu_seconds: f64,
    /// The most memory that was resident.
    pub(super) peak_mib: f64,
}

/// Units of processor time in `/proc/PID/stat`: 100 in a second on every Linux.
const TICKS: f64 = 100.0;
const PAUSE: Duration = Duration::from_millis(2);

/// Runs `command` to its end. The kernel is asked in between, and once more before the process is
/// taken from its table: no crate is needed for it.
pub(super) fn of(command: &mut Command) -> Result<Cost> {
    let line = shell::line_of(command);
    let start = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context(line.clone())?;
    let mut cost = Cost::default();
    loop {
        let place = format!("/proc/{}", child.id());
        let status = fs::read_to_string(format!("{place}/status")).unwrap_or_default();
        if let Some(peak) = field(&status, "VmHWM:") {
            cost.peak_mib = peak / 1024.0;
        }
        let stat = fs::read_to_string(format!("{place}/stat")).unwrap_or_default();
        // The name of the program may have spaces in it.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if rest.starts_with('Z') {
            cost.seconds = start.elapsed().as_secs_f64();
            let ticks =
                rest.split(' ').skip(11).take(2).filter_map(|text| text.parse::<f64>().ok());
            cost.cpu_seconds = ticks.sum::<f64>() / TICKS;
            break;
        }
        thread::sleep(PAUSE);
    }
    let done = child.wait()?;
    if !done.success() {
        bail!("{line}: {done}");
    }
    Ok(cost)
}

/// The number behind `name` in a file of `/proc`.
fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The median of each value.
pub(super) fn median(costs: &[Cost]) -> Cost {
    let of = |value: fn(&Cost) -> f64| {
        let mut values: Vec<_> = costs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Cost {
        seconds: of(|cost| cost.seconds),
        cpu_seconds: of(|cost| cost.cpu_seconds),
        peak_mib: of(|cost| cost.peak_mib),
    }
}
