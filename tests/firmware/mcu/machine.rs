//! A board in QEMU, on its serial line.
//!
//! Everything that is waited for has a deadline, and silence is a failure.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mcu_map::exit;
use tempfile::TempDir;

/// How long anything may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a board is started.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The write or erase in which the power fails, 0 for none, and what it leaves behind.
    pub cut: u32,
    pub seed: u64,
    /// What its generator of random numbers gives.
    pub nonce: u64,
    /// Milliseconds until a hanging program is reset; 0 for longer than any test: the board counts
    /// the time of a busy host.
    pub watchdog: u32,
    /// It prints what stack and memory it used.
    pub measure: bool,
}

/// A board that runs.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    /// To the serial line.
    input: UnixStream,
    /// From the serial line.
    lines: Receiver<String>,
    /// What has come so far, for the message of a failure.
    seen: Vec<String>,
    /// What is left of the bundle that is being sent.
    bundle: Vec<u8>,
    folder: TempDir,
}

/// A board that runs no more.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    seen: Vec<String>,
}

impl Ended {
    /// Whether its power was cut, by its settings or by a signal, rather than that it went wrong.
    pub fn by_power_cut(&self) -> bool {
        self.status.code() == Some(exit::POWER_CUT) || self.status.signal() == Some(9)
    }
}

impl Machine {
    /// Switches a board on, with this loader and this flash.
    pub fn start(loader: &Path, flash: &Path, settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let words = [
            format!("flash={}", flash.display()),
            format!("seed={}", settings.seed),
            format!("cut={}", settings.cut),
            format!("nonce={}", settings.nonce),
            format!("measure={}", u8::from(settings.measure)),
            format!("watchdog={}", if settings.watchdog > 0 { settings.watchdog } else { 120_000 }),
        ];
        let words: Vec<_> = words.into_iter().map(|word| format!("arg={word}")).collect();
        // What is logged comes out of QEMU's own output, so the serial line needs another way.
        let log = File::create(folder.path().join("log")).expect("the folder is ours");
        let errors = File::create(folder.path().join("errors")).expect("the folder is ours");
        let serial = folder.path().join("serial");
        let listener = UnixListener::bind(&serial).expect("the folder is ours");
        let mut process = Command::new("qemu-system-arm")
            .args(["-machine", "mps2-an386", "-display", "none", "-monitor", "none"])
            .args(["-serial", "chardev:serial", "-chardev"])
            .arg(format!("socket,id=serial,path={}", serial.display()))
            .arg("-semihosting-config")
            .arg(format!("enable=on,target=native,{}", words.join(",")))
            .arg("-kernel")
            .arg(loader)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("qemu-system-arm is there; `cargo xtask setup` brings it");
        let input = accept(&listener, &mut process, folder.path());
        let output = input.try_clone().expect("a socket has room for two");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let (mut output, mut line) = (BufReader::new(output), Vec::new());
            while output.read_until(b'\n', &mut line).is_ok() {
                // One that breaks off is of a board that was killed while it wrote, and says nothing.
                if line.pop() != Some(b'\n') {
                    return;
                }
                // What is no text is shown where a line was expected, rather than waited for.
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { process, input, lines, seen: Vec::new(), bundle: Vec::new(), folder }
    }

    /// The next line that `wanted` says something about. Sends what is asked for meanwhile.
    ///
    /// # Errors
    /// The board ended before.
    pub fn wait<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Result<T, Ended> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // A board that starts over and over is never silent.
            assert!(!left.is_zero(), "not for {} s: {:#?}", PATIENCE.as_secs(), self.seen);
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.serve(&line);
                    let found = wanted(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("nothing for {} s after {:#?}", PATIENCE.as_secs(), self.seen)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().expect("it was started");
                    return Err(Ended { status, seen: std::mem::take(&mut self.seen) });
                }
            }
        }
    }

    /// Waits for a line that begins with `start`; gives the rest of it.
    ///
    /// # Errors
    /// The board ended before.
    pub fn wait_for(&mut self, start: &str) -> Result<String, Ended> {
        self.wait(|line| line.strip_prefix(start).map(str::to_owned))
    }

    /// As [`wait_for`](Self::wait_for), for boards whose power does not fail.
    pub fn expect(&mut self, start: &str) -> String {
        self.wait_for(start).unwrap_or_else(|Ended { status, seen }| {
            panic!("expected `{start}`, found that it ended: {status}, after {seen:#?}")
        })
    }

    /// Orders an installation. The bundle is sent piece by piece, while its end is
    /// [waited for](Self::wait).
    pub fn install(&mut self, bundle: &[u8]) {
        self.bundle = bundle.to_vec();
        self.send(format!("install {}\n", bundle.len()).as_bytes());
    }

    /// Does what the board asks for, if this line does.
    fn serve(&mut self, line: &str) {
        let Some((verb @ ("send" | "skip"), len)) = line.split_once(' ') else { return };
        let len: usize = len.parse().expect("a number of bytes");
        assert!(len <= self.bundle.len(), "`{line}`, but {} are left", self.bundle.len());
        let piece: Vec<u8> = self.bundle.drain(..len).collect();
        if verb == "send" {
            self.send(&piece);
        }
    }

    /// Restarts the board, without a power cut.
    pub fn reset(&mut self) {
        self.send(b"reset\n");
    }

    /// How many writes and erases it has done since it was switched on.
    ///
    /// # Errors
    /// The board ended.
    pub fn operations(&mut self) -> Result<u32, Ended> {
        self.send(b"operations\n");
        let text = self.wait_for("operations ")?;
        Ok(text.parse().expect("the application sends a number"))
    }

    fn send(&mut self, bytes: &[u8]) {
        // A board without power does not listen.
        let _ = self.input.write_all(bytes);
        let _ = self.input.flush();
    }

    /// The process, to be killed by its number.
    pub fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.process)
    }

    /// Pulls the plug. Gives what was logged.
    pub fn kill(mut self) -> Vec<u8> {
        self.end();
        fs::read(self.folder.path().join("log")).expect("it was made before QEMU was started")
    }

    fn end(&mut self) {
        // One that has ended already needs no more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end();
    }
}

/// The serial line, as soon as QEMU has it.
fn accept(listener: &UnixListener, process: &mut Child, folder: &Path) -> UnixStream {
    listener.set_nonblocking(true).expect("a listener can be asked instead of waited for");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("a stream can be waited for");
            return stream;
        }
        let ended = process.try_wait().expect("it was started");
        if ended.is_some() || Instant::now() > deadline {
            let _ = process.kill();
            let errors = fs::read_to_string(folder.join("errors")).unwrap_or_default();
            panic!("QEMU did not start the board: {ended:?}, {errors}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}
