//! `cargo xtask fuzz`: runs the fuzz targets, two side by side, each until it has used its time.
//!
//! The search starts from seeds that are made from real bundles, from `fuzz/corpus`, and from what
//! earlier searches found worth keeping in the target folder. Before anything else the canary has
//! to crash: that shows that the search reports a finding.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell;

/// The target that must crash.
const CANARY: &str = "canary";

/// How long the canary may take; it takes about a second.
const CANARY_TIME: Duration = Duration::from_secs(120);

/// Targets that run side by side.
const CORES: usize = 2;

/// How long one input may take, in seconds; what takes longer is a finding.
const INPUT_SECONDS: u64 = 60;

/// When a target ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so much time by the clock.
    Wall(Duration),
    /// After so much time of a processor, however many others want it.
    Cpu(Duration),
}

/// Runs every target, or the one called `only`. What is found stays under `fuzz/artifacts`; once
/// mended it moves to `fuzz/corpus`, where the tests replay it.
///
/// # Errors
/// A finding, a target that ended early, a canary that did not crash, or no nightly toolchain with
/// cargo-fuzz.
pub fn run(only: Option<&str>, limit: Limit) -> Result<()> {
    let mut targets = targets()?;
    if let Some(only) = only {
        if !targets.iter().any(|target| target == only) {
            bail!("expected one of {}, found {only}", targets.join(", "));
        }
        targets.retain(|target| target == only);
    }
    targets.retain(|target| target != CANARY);
    let bench = Bench::new()?;
    bench.check_canary()?;

    let queue = Mutex::new(targets.into_iter().rev().collect::<Vec<_>>());
    let next = || queue.lock().expect("no holder of the list panics").pop();
    let mut rows = thread::scope(|scope| {
        let workers = [(); CORES].map(|()| {
            scope.spawn(|| {
                let mut rows = Vec::new();
                while let Some(target) = next() {
                    rows.push(bench.run(&target, limit)?);
                }
                Ok(rows)
            })
        });
        let rows = workers.into_iter().map(|worker| worker.join().expect("no worker panics"));
        rows.collect::<Result<Vec<Vec<Row>>>>()
    })?
    .concat();
    rows.sort_by(|one, other| one.target.cmp(&other.target));

    println!("{:<12} {:>12} {:>9} {:>9}", "target", "runs", "CPU s", "findings");
    for row in &rows {
        let Row { target, runs, cpu, findings, .. } = row;
        println!("{target:<12} {runs:>12} {:>9.1} {findings:>9}", cpu.as_secs_f64());
    }
    let bad: Vec<_> = rows.iter().filter(|row| !row.has_passed()).collect();
    for row in &bad {
        let early = if row.had_its_time { "" } else { ", before its time was over" };
        println!("{}: {}{early}; see {}", row.target, row.status, row.log.display());
    }
    if bad.is_empty() { Ok(()) } else { bail!("{} targets did not pass", bad.len()) }
}

/// The names of all targets, from the folder that holds them.
fn targets() -> Result<Vec<String>> {
    let folder = shell::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder:?}"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The longest inputs of targets whose bodies look at no more, or grow slow with more.
fn len_max(target: &str) -> Option<u32> {
    match target {
        "text" | "install" => Some(300),
        // The first byte, and 48 events.
        "scenario" => Some(193),
        "slot" => Some(4096),
        _ => None,
    }
}

/// Where targets lie once they are built, and where they work.
struct Bench {
    programs: PathBuf,
    scratch: PathBuf,
}

/// What came of a target.
#[derive(Clone)]
struct Row {
    target: String,
    runs: u64,
    cpu: Duration,
    findings: usize,
    status: ExitStatus,
    /// It ran until it was asked to end.
    had_its_time: bool,
    log: PathBuf,
}

impl Row {
    fn has_passed(&self) -> bool {
        // What ends early, or runs nothing, has searched for nothing.
        self.findings == 0 && self.status.success() && self.had_its_time && self.runs > 0
    }
}

impl Bench {
    fn new() -> Result<Self> {
        let host = host()?;
        let built = shell::target().join("fuzz");
        if !shell::has_program("cargo-fuzz") {
            bail!("cargo-fuzz is missing: install it with `cargo install cargo-fuzz`");
        }
        let mut build = nightly();
        build.args(["cargo", "fuzz", "build", "--fuzz-dir", "fuzz", "--target", &host]);
        shell::run(build.env("CARGO_TARGET_DIR", &built))?;
        let scratch = shell::target().join("fuzz-corpus");
        let mut seeds = shell::cargo();
        seeds.args(["run", "--quiet", "-p", "stillboot-sim", "--example", "fuzz_seeds", "--"]);
        shell::run(seeds.arg(scratch.join("seeds")))?;
        Ok(Self { programs: built.join(host).join("release"), scratch })
    }

    /// A run of `target` on all inputs there are, and what it says.
    fn command(&self, target: &str, artifacts: &Path) -> Result<(Command, PathBuf)> {
        let grown = self.scratch.join("grown").join(target);
        let kept = shell::root().join("fuzz/corpus").join(target);
        let log = self.scratch.join(format!("{target}.log"));
        fs::create_dir_all(&grown)?;
        fs::create_dir_all(artifacts)?;
        let mut command = Command::new(self.programs.join(target));
        // New inputs go to the first folder, which is not tracked.
        command.arg(grown).arg(self.scratch.join("seeds").join(target));
        if kept.is_dir() {
            command.arg(kept);
        }
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.arg(format!("-timeout={INPUT_SECONDS}")).arg("-print_final_stats=1");
        // Those are kept among the findings, and on a busy machine any input may wait for long.
        command.arg(format!("-report_slow_units={INPUT_SECONDS}"));
        command.args(len_max(target).map(|len| format!("-max_len={len}")));
        let output = File::create(&log).with_context(|| format!("cannot write {log:?}"))?;
        command.stdout(output.try_clone()?).stderr(output);
        Ok((command, log))
    }

    /// Fails unless the canary crashes.
    fn check_canary(&self) -> Result<()> {
        let artifacts = self.scratch.join("canary-artifacts");
        let _ = fs::remove_dir_all(&artifacts);
        // From its seed alone: what an earlier call found would make it too easy.
        let _ = fs::remove_dir_all(self.scratch.join("grown").join(CANARY));
        let (mut command, log) = self.command(CANARY, &artifacts)?;
        command.arg(format!("-max_total_time={}", CANARY_TIME.as_secs()));
        let begin = Instant::now();
        let status = command.status().context("cannot start the canary")?;
        let told = fs::read_to_string(&log)?.contains("the canary was found");
        if status.success() || !told || list(&artifacts).is_empty() {
            bail!("expected the canary to crash, it ended with {status}; see {}", log.display());
        }
        println!("the canary crashed after {:.1} s, as it must", begin.elapsed().as_secs_f64());
        Ok(())
    }

    fn run(&self, target: &str, limit: Limit) -> Result<Row> {
        let artifacts = shell::root().join("fuzz/artifacts").join(target);
        let before = list(&artifacts);
        let (mut command, log) = self.command(target, &artifacts)?;
        let child = command.spawn().with_context(|| format!("cannot start {target}"))?;
        let (status, cpu, had_its_time) = watch(child, limit)?;
        let findings = list(&artifacts).difference(&before).count();
        println!("{target}: {:.1} CPU s, {findings} findings", cpu.as_secs_f64());
        let runs = runs(&fs::read_to_string(&log).unwrap_or_default());
        Ok(Row { target: target.to_owned(), runs, cpu, findings, status, had_its_time, log })
    }
}

/// Waits for the end of `child`, and asks it to end when it has had its time. Returns the processor
/// time that it used, as of a tenth of a second before its end, and whether it had its time.
fn watch(mut child: Child, limit: Limit) -> Result<(ExitStatus, Duration, bool)> {
    let begin = Instant::now();
    let mut cpu = Duration::ZERO;
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, cpu, asked.is_some()));
        }
        cpu = cpu_time(child.id()).unwrap_or(cpu).max(cpu);
        let is_over = match limit {
            Limit::Wall(most) => begin.elapsed() >= most,
            Limit::Cpu(most) => cpu >= most,
        };
        match asked {
            None if is_over => {
                // libFuzzer takes this for a wish to end in good order.
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                kill_process(pid.context("no process has the number 0")?, Signal::USR1)?;
                asked = Some(Instant::now());
            }
            // It ends between two inputs, so by now it should have.
            Some(at) if at.elapsed() > Duration::from_secs(2 * INPUT_SECONDS) => {
                child.kill()?;
            }
            _ => {}
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The processor time that a process has used, `None` once it has ended.
fn cpu_time(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Fields 14 and 15 of proc_pid_stat(5): time in user and in kernel mode.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in brackets, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

/// How many inputs were run, by the statistics at the end of a log.
fn runs(log: &str) -> u64 {
    let line = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn list(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// A command of the nightly toolchain: the one that runs this program is another.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(shell::root()).args(["run", "nightly"]);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}

/// The machine that the nightly toolchain builds for.
fn host() -> Result<String> {
    let text = shell::output(nightly().args(["rustc", "-vV"])).context(
        "fuzzing needs a nightly toolchain: install it with `rustup toolchain install nightly`",
    )?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_as_they_are_printed() {
        assert_eq!(
            runs("Done\nstat::number_of_executed_units: 51654693\nstat::x: 7\n"),
            51_654_693
        );
        assert_eq!(runs("Done\n"), 0);
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 9 9 9 9 120 30 5 5 20 0 1 0 88";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    /// A search that was over at once finds nothing, and must not pass for one that found nothing.
    #[cfg(unix)]
    #[test]
    fn a_target_that_ends_early_or_runs_nothing_has_not_passed() {
        use std::os::unix::process::ExitStatusExt as _;

        let row = Row {
            target: "t".into(),
            runs: 1,
            cpu: Duration::ZERO,
            findings: 0,
            status: ExitStatus::from_raw(0),
            had_its_time: true,
            log: PathBuf::new(),
        };
        assert!(row.has_passed());
        assert!(!Row { runs: 0, ..row.clone() }.has_passed());
        assert!(!Row { had_its_time: false, ..row.clone() }.has_passed());
        assert!(!Row { findings: 1, ..row.clone() }.has_passed());
        assert!(!Row { status: ExitStatus::from_raw(256), ..row }.has_passed());

        let long = Limit::Wall(Duration::from_secs(60));
        let child = Command::new("true").spawn().expect("a program that ends");
        let (status, _, had_its_time) = watch(child, long).expect("it ends");
        assert!(status.success() && !had_its_time);
    }

    #[test]
    fn the_targets_are_found_and_the_canary_is_among_them() {
        let targets = targets().expect("the folder can be read");
        assert!(targets.len() > 1 && targets.iter().any(|target| target == CANARY), "{targets:?}");
    }
}
