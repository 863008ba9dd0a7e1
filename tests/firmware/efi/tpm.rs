//! A trusted platform module for a machine: swtpm, with a state that outlives its power.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The module's memory, and the processes that have used it.
#[derive(Debug)]
pub struct Tpm {
    folder: TempDir,
    powered: RefCell<Vec<Child>>,
}

impl Tpm {
    /// One that was never used.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        Self { folder, powered: RefCell::default() }
    }

    /// Starts it, for one power-on of the machine; it ends when QEMU does. Gives its socket.
    pub fn start(&self) -> PathBuf {
        let mut powered = self.powered.borrow_mut();
        // One that is still ending holds the lock of the folder, and takes its socket away later.
        if let Some(last) = powered.last_mut() {
            wait(last);
        }
        let folder = self.folder.path();
        let socket = folder.join(format!("socket-{}", powered.len()));
        let mut swtpm = Command::new("setpriv");
        swtpm.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--terminate"]);
        swtpm.args(["--flags", "not-need-init,startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", folder.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let child = swtpm.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("swtpm is there; `cargo xtask setup` brings it");
        let deadline = Instant::now() + PATIENCE;
        while !is_listening(&socket) {
            assert!(Instant::now() < deadline, "swtpm does not start");
            assert!(child.try_wait().expect("it was started").is_none(), "swtpm ended at once");
            thread::sleep(Duration::from_millis(5));
        }
        powered.push(child);
        socket
    }

    /// The module is cleared: everything that it knew is gone.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        for child in self.powered.get_mut() {
            // Its machine may still be on.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until it has ended: its machine is off.
fn wait(child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("it was started").is_none() {
        assert!(Instant::now() < deadline, "swtpm does not end with its machine");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a program takes connections there. The file appears earlier.
fn is_listening(socket: &Path) -> bool {
    /// `__SO_ACCEPTCON` in the fourth column of Linux's list.
    const LISTENS: &str = "00010000";
    let list = fs::read_to_string("/proc/net/unix").expect("Linux has it");
    let path = socket.to_str().expect("the temporary folder's name is text");
    list.lines().any(|line| line.ends_with(path) && line.split(' ').nth(3) == Some(LISTENS))
}
