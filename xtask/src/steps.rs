//! Runs a list of steps, as many side by side as there are cores for, and says how each ended.
//!
//! A step is a row of command lines whose output goes to a log; the log is shown only when the step
//! fails. A step that could not run, because one before it failed, is a failure too: nothing counts
//! as passed by being skipped.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Cores that the steps share; more would only make the compilers compete for memory.
const CORES: usize = 2;

/// How many lines of a failed step's log are printed.
const TAIL_LINES: usize = 80;

/// How often the steps that run are named.
const NEWS: Duration = Duration::from_secs(60);

/// How long a command has to end after it was asked to, before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a step has to itself. Cargo locks the folder that it builds into, so two steps of one lane
/// would only wait for each other: they run one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Builds nothing: any number at once.
    Free,
    /// Waits for the network: takes no core.
    Network,
    /// The target folder's debug profile.
    Debug,
    /// The target folder's release profile.
    Release,
    /// A target folder for the builds without a standard library.
    NoStd,
    /// A target folder for the oldest toolchain.
    Msrv,
    /// A target folder for the measured crates.
    Size,
    /// A target folder for builds with known bugs.
    Canary,
}

impl Lane {
    /// The folder that cargo builds into on this lane.
    pub fn target(self) -> PathBuf {
        match self {
            Self::Free | Self::Network | Self::Debug | Self::Release => shell::target(),
            Self::NoStd => shell::target().join("nostd"),
            Self::Msrv => shell::target().join("msrv"),
            Self::Size => shell::target().join("size"),
            Self::Canary => shell::target().join("canary"),
        }
    }

    fn takes_core(self) -> bool {
        self != Self::Network
    }

    fn is_exclusive(self) -> bool {
        !matches!(self, Self::Free | Self::Network)
    }
}

/// One line of the table at the end.
pub struct Step {
    name: &'static str,
    lane: Lane,
    after: Vec<&'static str>,
    commands: Vec<Words>,
    env: Vec<(&'static str, &'static str)>,
    folder: PathBuf,
    limit: Duration,
    must_print: bool,
}

/// A command line; the program is one of the two that we know where to find.
enum Words {
    Cargo(Vec<String>),
    Xtask(Vec<String>),
}

impl Step {
    /// A step without commands yet, which may take twenty minutes: four times what the slowest of
    /// those takes that set no limit of their own, on a busy machine.
    pub fn new(name: &'static str, lane: Lane) -> Self {
        Self {
            name,
            lane,
            after: Vec::new(),
            commands: Vec::new(),
            env: Vec::new(),
            folder: shell::root(),
            limit: Duration::from_secs(20 * 60),
            must_print: false,
        }
    }

    /// Appends `cargo WORDS...`.
    pub fn cargo(mut self, words: &[&str]) -> Self {
        self.commands.push(Words::Cargo(words.iter().map(ToString::to_string).collect()));
        self
    }

    /// Appends `cargo xtask WORDS...`, without the cargo: this very program.
    pub fn xtask(mut self, words: &[&str]) -> Self {
        self.commands.push(Words::Xtask(words.iter().map(ToString::to_string).collect()));
        self
    }

    /// Starts only when the step of that name has passed.
    pub fn after(mut self, name: &'static str) -> Self {
        self.after.push(name);
        self
    }

    /// Sets a variable for all commands of the step.
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// Runs the commands in this folder of the checkout.
    pub fn folder(mut self, folder: &str) -> Self {
        self.folder = shell::root().join(folder);
        self
    }

    /// Lets each command take this long. A command that hangs must fail the run, not stop it.
    pub fn minutes(mut self, minutes: u64) -> Self {
        self.limit = Duration::from_secs(minutes * 60);
        self
    }

    /// Fails the step when it succeeds in silence: a program that does nothing also exits with 0.
    pub fn must_print(mut self) -> Self {
        self.must_print = true;
        self
    }

    /// Longest time that the whole step may take, in minutes.
    fn minutes_max(&self) -> u64 {
        self.limit.as_secs() / 60 * self.commands.len() as u64
    }

    fn command(&self, words: &Words) -> Command {
        let mut command;
        match words {
            Words::Cargo(words) => {
                command = shell::cargo();
                command.args(words);
            }
            Words::Xtask(words) => {
                command = Command::new(myself());
                command.args(words);
            }
        }
        // A step on the caller's own target folder is left to find it, else cargo would see another
        // environment than in the caller's shell and compile some build scripts again.
        if self.lane.target() != shell::target() {
            command.env("CARGO_TARGET_DIR", self.lane.target());
        }
        command.current_dir(&self.folder).envs(self.env.iter().copied());
        command
    }
}

/// This program. While the steps run, cargo may put a newly linked one in its place; on Linux this
/// name still leads to the one that runs.
fn myself() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return running.to_path_buf();
    }
    std::env::current_exe().expect("a running program has a file")
}

/// How a step ended.
struct Ending {
    seconds: f32,
    outcome: Result<()>,
    log: PathBuf,
}

/// Runs all steps and prints the table. `title` stands in the closing line.
///
/// # Errors
/// A step failed or could not run.
pub fn run(title: &str, steps: &[Step]) -> Result<()> {
    check_order(steps);
    let logs = shell::target().join("xtask-logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;

    let started = Instant::now();
    let mut endings: Vec<Option<Ending>> = steps.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut running: HashMap<usize, Instant> = HashMap::new();
        loop {
            while let Some(next) = startable(steps, &endings, &running) {
                running.insert(next, Instant::now());
                println!(
                    "start   {:<16} at most {} min",
                    steps[next].name,
                    steps[next].minutes_max()
                );
                let (sender, step) = (sender.clone(), &steps[next]);
                let log = logs.join(format!("{}.log", step.name.replace(' ', "-")));
                scope.spawn(move || {
                    // The receiver lives as long as this scope.
                    let _ = sender.send((next, perform(step, log)));
                });
            }
            if running.is_empty() {
                break;
            }
            let (ended, ending) = match receiver.recv_timeout(NEWS) {
                Ok(message) => message,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    println!("{}", news(steps, &endings, &running));
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    unreachable!("this scope holds a sender")
                }
            };
            running.remove(&ended);
            announce(&steps[ended], &ending);
            endings[ended] = Some(ending);
        }
    });

    conclude(title, steps, &endings, started.elapsed())
}

/// One line: which steps run, for how long, how long each may still take, and how many wait.
fn news(steps: &[Step], endings: &[Option<Ending>], running: &HashMap<usize, Instant>) -> String {
    let mut running: Vec<_> = running.iter().collect();
    running.sort_unstable();
    let shown: Vec<String> = running
        .iter()
        .map(|&(&at, started)| {
            let minutes = started.elapsed().as_secs() / 60;
            let left = steps[at].minutes_max().saturating_sub(minutes);
            format!("{} for {minutes} min (at most {left} more)", steps[at].name)
        })
        .collect();
    let ended = endings.iter().flatten().count();
    let waiting = steps.len() - ended - running.len();
    format!("running {}; {ended} ended, {waiting} to come", shown.join(", "))
}

/// The first step that has not started, whose predecessors have passed and whose lane is free.
fn startable(
    steps: &[Step],
    endings: &[Option<Ending>],
    running: &HashMap<usize, Instant>,
) -> Option<usize> {
    let passed = |name: &str| {
        steps.iter().zip(endings).any(|(step, ending)| {
            step.name == name && ending.as_ref().is_some_and(|ending| ending.outcome.is_ok())
        })
    };
    let lane_free =
        |lane: Lane| !lane.is_exclusive() || running.keys().all(|&other| steps[other].lane != lane);
    let cores_used = running.keys().filter(|&&other| steps[other].lane.takes_core()).count();

    (0..steps.len()).find(|&index| {
        let step = &steps[index];
        endings[index].is_none()
            && !running.contains_key(&index)
            && step.after.iter().all(|name| passed(name))
            && lane_free(step.lane)
            && (!step.lane.takes_core() || cores_used < CORES)
    })
}

/// Checks that names are unique and each `after` names an earlier step, so that no step can wait for
/// ever.
///
/// # Panics
/// The list of steps is wrong; that is a mistake in this program.
pub fn check_order(steps: &[Step]) {
    let mut seen = HashSet::new();
    for step in steps {
        for name in &step.after {
            assert!(seen.contains(name), "`{}` comes after `{name}`, not earlier", step.name);
        }
        assert!(seen.insert(step.name), "two steps are called `{}`", step.name);
        assert!(!step.commands.is_empty(), "`{}` does nothing", step.name);
    }
}

fn perform(step: &Step, log: PathBuf) -> Ending {
    let started = Instant::now();
    let outcome = perform_commands(step, &log);
    Ending { seconds: started.elapsed().as_secs_f32(), outcome, log }
}

fn perform_commands(step: &Step, log: &Path) -> Result<()> {
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut printed = 0;
    for words in &step.commands {
        let mut command = step.command(words);
        writeln!(file, "$ {}", shell::line_of(&command))?;
        let before = file.metadata()?.len();
        perform_command(&mut command, &file, step.limit)?;
        printed += file.metadata()?.len() - before;
    }
    if step.must_print && printed == 0 {
        bail!("it ended well but printed nothing, so it has not shown that it did anything");
    }
    Ok(())
}

fn perform_command(command: &mut Command, log: &File, limit: Duration) -> Result<()> {
    let line = shell::line_of(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let started = Instant::now();
    let mut asked_to_end = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return match (asked_to_end, status.success()) {
                (true, _) => bail!("`{line}` ran for {} minutes", limit.as_secs() / 60),
                (false, false) => bail!("`{line}` failed: {status}"),
                (false, true) => Ok(()),
            };
        }
        if started.elapsed() > limit + PATIENCE {
            child.kill()?;
        } else if started.elapsed() > limit && !asked_to_end {
            // Cargo and nextest end their own children when they are asked to; killed, they would
            // leave them behind.
            asked_to_end = true;
            shell::run(Command::new("kill").arg(child.id().to_string()))?;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn announce(step: &Step, ending: &Ending) {
    match &ending.outcome {
        Ok(()) => {
            let summary = summary_of(&ending.log).map_or(String::new(), |text| format!("  {text}"));
            println!("ok      {:<16} {:>6.1} s{summary}", step.name, ending.seconds);
        }
        Err(error) => {
            println!("FAILED  {:<16} {:>6.1} s  {error:#}", step.name, ending.seconds);
            println!("---- the end of {}", ending.log.display());
            let text = fs::read(&ending.log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                println!("{line}");
            }
            println!("---- end of {}", step.name);
        }
    }
}

/// The lines in which a test runner or a chore says what it did, so that a pass shows how much was
/// tested.
fn summary_of(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let note = text.lines().rev().find_map(|line| line.strip_prefix("note: "));
    if let Some(line) = text.lines().rev().find(|line| line.contains("tests run:")) {
        return line.split_once(']').map(|(_, counts)| counts.trim().to_owned());
    }
    // What `cargo test` prints once for each program that it runs.
    let counts = text.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    let passed = counts.filter_map(|counts| counts.split(' ').next()?.parse::<usize>().ok());
    let passed: Vec<usize> = passed.collect();
    if !passed.is_empty() {
        let sample = note.filter(|note| note.starts_with("a sample"));
        let sample = sample.map_or(String::new(), |note| format!("; {note}"));
        return Some(format!("{} tests passed{sample}", passed.iter().sum::<usize>()));
    }
    note.map(str::to_owned)
}

fn conclude(
    title: &str,
    steps: &[Step],
    endings: &[Option<Ending>],
    elapsed: Duration,
) -> Result<()> {
    println!();
    let mut failed = 0;
    for (step, ending) in steps.iter().zip(endings) {
        let (word, seconds) = match ending {
            Some(Ending { seconds, outcome: Ok(()), .. }) => ("passed", format!("{seconds:.1} s")),
            Some(Ending { seconds, outcome: Err(_), .. }) => ("FAILED", format!("{seconds:.1} s")),
            None => ("NOT RUN", format!("it comes after {}", step.after.join(", "))),
        };
        if word != "passed" {
            failed += 1;
        }
        println!("{:<16} {word:<8} {seconds:>8}", step.name);
    }
    println!("{:<16} {:<8} {:>6.1} s", "together", "", elapsed.as_secs_f32());
    let passed = steps.len() - failed;
    let verdict = format!("{title}: {passed} steps passed, {failed} failed");
    if failed > 0 {
        bail!(verdict);
    }
    println!("{verdict}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Result<()>) -> Option<Ending> {
        Some(Ending { seconds: 0.0, outcome, log: PathBuf::new() })
    }

    fn list() -> Vec<Step> {
        vec![
            Step::new("first", Lane::Debug).cargo(&["a"]),
            Step::new("same lane", Lane::Debug).cargo(&["b"]),
            Step::new("other lane", Lane::Size).cargo(&["c"]),
            Step::new("third core", Lane::NoStd).cargo(&["d"]),
            Step::new("network", Lane::Network).cargo(&["e"]),
            Step::new("last", Lane::Free).cargo(&["f"]).after("first"),
        ]
    }

    #[test]
    fn lanes_and_cores_are_respected() {
        let steps = list();
        let endings: Vec<_> = steps.iter().map(|_| None).collect();
        let mut running = HashMap::new();
        for expected in [Some(0), Some(2), Some(4), None] {
            let next = startable(&steps, &endings, &running);
            assert_eq!(next, expected);
            running.extend(next.map(|next| (next, Instant::now())));
        }
    }

    #[test]
    fn what_comes_after_a_failure_never_starts() {
        let steps = list();
        let mut endings: Vec<_> = steps.iter().map(|_| ended(Ok(()))).collect();
        endings[5] = None;
        assert_eq!(startable(&steps, &endings, &HashMap::new()), Some(5));
        endings[0] = ended(Err(anyhow::anyhow!("broken")));
        assert_eq!(startable(&steps, &endings, &HashMap::new()), None);
        assert!(conclude("title", &steps, &endings, Duration::ZERO).is_err());
    }

    #[test]
    fn silence_and_hanging_and_failing_are_failures() {
        let log = std::env::temp_dir().join(format!("xtask-steps-{}.log", std::process::id()));
        let file = File::create(&log).expect("the temporary folder is writable");
        let second = Duration::from_secs(1);
        let mut sleep = Command::new("sleep");
        assert!(perform_command(sleep.arg("30"), &file, second / 10).is_err());
        assert!(perform_command(&mut Command::new("false"), &file, second * 5).is_err());
        assert!(perform_command(&mut Command::new("true"), &file, second * 5).is_ok());
        fs::remove_file(log).expect("the log was created");
    }

    #[test]
    #[should_panic(expected = "not earlier")]
    fn a_step_cannot_wait_for_a_later_one() {
        check_order(&[Step::new("a", Lane::Free).cargo(&["x"]).after("b")]);
    }
}
