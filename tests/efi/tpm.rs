//! A trusted platform module for a machine: swtpm, with a state that outlives its power.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The module's memory.
#[derive(Debug)]
pub struct Tpm(TempDir);

impl Tpm {
    /// One that nobody has used.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("the temporary folder can be written"))
    }

    /// Starts it, for one power-on of the machine; it ends when QEMU does. Gives its socket.
    pub fn start(&self) -> PathBuf {
        let socket = self.0.path().join("socket");
        let _ = fs::remove_file(&socket);
        let mut swtpm = Command::new("setpriv");
        swtpm.args(["--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--terminate"]);
        swtpm.args(["--flags", "not-need-init,startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={}", self.0.path().display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let child = swtpm.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut child = child.expect("swtpm is there; `cargo xtask setup` brings it");
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "swtpm does not start");
            assert!(child.try_wait().expect("it was started").is_none(), "swtpm ended at once");
            thread::sleep(Duration::from_millis(5));
        }
        thread::spawn(move || child.wait());
        socket
    }

    /// Somebody clears it: everything that it knew is gone.
    pub fn clear(&mut self) {
        *self = Self::new();
    }
}
