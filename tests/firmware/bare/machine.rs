//! A machine in QEMU, on its serial line.
//!
//! Everything that is waited for has a deadline, and silence is a failure. One machine runs at a
//! time: several would only make each other slow.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use stillboot_tests::chores::succeed;
use tempfile::NamedTempFile;

use crate::release::hider;

/// Memory of a machine, in MiB.
pub const MEMORY: u32 = 512;

/// Where QEMU puts a kernel, and `without_sha2.rs` starts it.
const LOADER_START: u64 = 0x4020_0000;

/// How long anything may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(600);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The exception level that the machine starts its software at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    One,
    Two,
    /// EL1, under something at EL2 that hides the processor's SHA-2 instructions: QEMU 7.2 has no
    /// processor without them.
    Hidden,
}

impl Level {
    /// The machine in QEMU.
    fn qemu(self) -> Command {
        // A machine must not outlive a test that is killed, and go on eating a processor.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-aarch64"]);
        match self {
            Self::One => qemu.args(["-machine", "virt", "-cpu", "cortex-a57"]),
            Self::Hidden => qemu.args(["-machine", "virt,virtualization=on", "-cpu", "cortex-a57"]),
            // And the other kind of virtio registers.
            Self::Two => qemu
                .args(["-machine", "virt,virtualization=on", "-cpu", "cortex-a72"])
                .args(["-global", "virtio-mmio.force-legacy=false"]),
        };
        qemu.args(["-display", "none", "-monitor", "none", "-nodefaults"]);
        qemu
    }

    /// The tree by which a machine with so much memory, in MiB, describes itself.
    pub fn tree(self, memory: u32) -> Vec<u8> {
        let file = NamedTempFile::new().expect("the temporary folder can be written");
        let mut qemu = self.qemu();
        qemu.args(["-m", &memory.to_string()]);
        // It writes the tree and ends.
        succeed(qemu.args(["-machine", &format!("dumpdtb={}", file.path().display())]));
        fs::read(file).expect("QEMU has written it")
    }

    /// The code that hashes, by the name that the loader writes.
    pub fn hashing(self) -> &'static str {
        if self == Self::Hidden { "soft" } else { "armv8 sha2" }
    }

    /// As the loader and the kernel write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::One | Self::Hidden => "EL1",
            Self::Two => "EL2",
        }
    }
}

/// A machine that runs.
pub struct Machine {
    process: Child,
    /// From the serial line.
    lines: Receiver<String>,
    /// What has come so far, for the message of a failure.
    seen: Vec<String>,
    started: Instant,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// Switches a machine on, with this loader and this disk.
    pub fn start(loader: &Path, disk: Option<&Path>, level: Level) -> Self {
        // A test that failed has left nothing behind that this one minds.
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut qemu = level.qemu();
        qemu.args(["-m", &MEMORY.to_string(), "-serial", "stdio"]);
        if level == Level::Hidden {
            let start = format!("addr={LOADER_START:#x},force-raw=on");
            qemu.arg("-bios").arg(hider());
            qemu.arg("-device").arg(format!("loader,file={},{start}", loader.display()));
        } else {
            qemu.arg("-kernel").arg(loader);
        }
        if let Some(disk) = disk {
            qemu.arg("-drive")
                .arg(format!("if=none,id=disk,format=raw,file={}", disk.display()))
                .args(["-device", "virtio-blk-device,drive=disk"]);
        }
        let mut process = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("qemu-system-aarch64 can be started: `cargo xtask setup` installs it");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            // A line that breaks off is of a machine that ended.
            while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        Self { process, lines, seen: Vec::new(), started: Instant::now(), _alone: alone }
    }

    /// The next line, `None` when the machine has ended.
    fn line(&mut self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if std::env::var_os("STILLBOOT_CONSOLE").is_some() {
                    println!("{:8.1} {line}", self.started.elapsed().as_secs_f32());
                }
                self.seen.push(line.clone());
                // What the kernel has to say of how it was started.
                for complaint in ["violation of boot protocol", "not aligned"] {
                    assert!(!line.contains(complaint), "{line}, after {:#?}", self.last());
                }
                Some(line)
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("nothing for {} s after {:#?}", PATIENCE.as_secs(), self.last())
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits for a line that has `text` in it; gives what follows the text.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_before(text, None)
    }

    /// As [`expect`](Self::expect); a line with `never` in it that comes before is a failure.
    pub fn expect_before(&mut self, text: &str, never: Option<&str>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(line) = self.line(deadline) else {
                panic!("expected `{text}`, found that it ended, after {:#?}", self.last())
            };
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
            if let Some(never) = never {
                assert!(!line.contains(never), "expected `{text}` first, found `{line}`");
            }
        }
    }

    /// Waits until the machine has switched itself off. Gives how long it ran.
    pub fn wait_for_end(mut self) -> Duration {
        let deadline = Instant::now() + PATIENCE;
        while self.line(deadline).is_some() {}
        let status = self.process.wait().expect("it was started");
        assert!(status.success(), "it ended with {status}, after {:#?}", self.last());
        self.started.elapsed()
    }

    fn last(&self) -> &[String] {
        &self.seen[self.seen.len().saturating_sub(60)..]
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
