//! What a command costs: time, time of the processor, memory.

use std::fs;
use std::io::Read as _;
use std::process::{ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Until it ended.
    pub(super) seconds: f64,
    /// In user mode and in the kernel, all threads, and the children that were waited for.
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
    within(command, Duration::MAX)
}

/// The same, and the command is killed when it takes longer than `limit`.
pub(super) fn within(command: &mut Command, limit: Duration) -> Result<Cost> {
    let line = shell::line_of(command);
    let start = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context(line.clone())?;
    let words = child.stderr.take().map(collected);
    let mut cost = Cost::default();
    loop {
        let now = State::of(child.id());
        cost.peak_mib = cost.peak_mib.max(now.peak_mib);
        if now.is_over {
            cost.seconds = start.elapsed().as_secs_f64();
            cost.cpu_seconds = now.cpu_seconds;
            break;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("not done after {} s", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
    let done = child.wait()?;
    if !done.success() {
        let words = words.and_then(|words| words.join().ok()).unwrap_or_default();
        bail!("{line}: {done}: {}", words.trim().lines().last().unwrap_or_default());
    }
    Ok(cost)
}

/// Runs `command` to its end, which has the work done by the process `service`.
pub(super) fn with_service(command: &mut Command, service: u32) -> Result<Cost> {
    let before = State::of(service);
    let mut cost = of(command)?;
    let after = State::of(service);
    cost.cpu_seconds += after.cpu_seconds - before.cpu_seconds;
    cost.peak_mib = after.peak_mib;
    Ok(cost)
}

/// What a process writes, read beside it so that it never waits.
fn collected(mut words: ChildStderr) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read up to a failure is good enough for a message.
        let _ = words.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What the kernel says of a process.
struct State {
    peak_mib: f64,
    cpu_seconds: f64,
    is_over: bool,
}

impl State {
    fn of(process: u32) -> Self {
        let read = |name| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
        let stat = read("stat");
        // The name of the program may have spaces in it.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = rest.split(' ').skip(11).take(4).filter_map(|text| text.parse::<f64>().ok());
        Self {
            peak_mib: field(&read("status"), "VmHWM:").unwrap_or_default() / 1024.0,
            cpu_seconds: ticks.sum::<f64>() / TICKS,
            is_over: rest.starts_with('Z'),
        }
    }
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

impl std::ops::AddAssign for Cost {
    /// One after the other.
    fn add_assign(&mut self, next: Self) {
        self.seconds += next.seconds;
        self.cpu_seconds += next.cpu_seconds;
        self.peak_mib = self.peak_mib.max(next.peak_mib);
    }
}
