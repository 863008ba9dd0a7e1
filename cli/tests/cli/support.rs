//! A folder with keys, bundles and a disk, and the tool to run on them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use serde_json::Value;

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: expected a number")),
        Err(_) => default,
    }
}

/// What a run of the tool came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let run = Self {
            // Ended by a signal: panics abort in release builds.
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        run
    }

    /// The run, if it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// The one JSON object on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).expect(&self.stdout);
        assert!(value.is_object(), "{value}");
        value
    }

    /// The JSON error, if the run failed with `code` and `kind`.
    #[track_caller]
    pub fn refused(self, code: i32, kind: &str) -> Self {
        let run = self.expect(code);
        let value = run.json();
        assert_eq!((&value["exit"], &value["kind"]), (&code.into(), &kind.into()), "{value}");
        assert!(value["error"].as_str().is_some_and(|text| !text.is_empty()), "{value}");
        run
    }
}

/// The tool: the one that was built with the tests, or the one that `STILLBOOT_TOOL` names.
pub fn program() -> PathBuf {
    std::env::var_os("STILLBOOT_TOOL")
        .map_or_else(|| env!("CARGO_BIN_EXE_stillboot").into(), PathBuf::from)
}

/// Whether the tool has the commands of the feature `lab`. One that is named is for devices.
pub fn has_lab() -> bool {
    std::env::var_os("STILLBOOT_TOOL").is_none() && cfg!(feature = "lab")
}

/// The tool, with `arguments` split at spaces.
pub fn tool(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(program());
    command.args(arguments.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

/// As [`tool`], without the right that root has to read what its mode forbids.
pub fn unprivileged(folder: &Path, arguments: &str) -> Command {
    let setpriv = ["--bounding-set=-dac_override,-dac_read_search"];
    // Who is not root has neither that right nor the one to drop it.
    let can_drop = Command::new("setpriv").args(setpriv).arg("true").output();
    let mut command = match can_drop.is_ok_and(|done| done.status.success()) {
        true => Command::new("setpriv"),
        false => return tool(folder, arguments),
    };
    command.args(setpriv).arg(program());
    command.args(arguments.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    command
}

/// Bytes that are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A folder with keys of the product `gateway`.
pub struct World {
    folder: tempfile::TempDir,
}

/// What commands that decide trust are told.
pub const TRUST: &str = "--roots keys/roots.toml --class m1";

impl World {
    pub fn new() -> Self {
        Self::with_keys("")
    }

    /// With more keys than those of root, release and recovery.
    pub fn with_keys(more: &str) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        world.run(&format!("keygen --out keys --product gateway {more}")).expect(0);
        world
    }

    /// A world with three versions and a disk that runs the first.
    pub fn running() -> Self {
        Self::new().started()
    }

    /// Three versions, and a disk that runs the first.
    pub fn started(self) -> Self {
        let world = self;
        for number in 1..=3 {
            world.pack_small(number);
        }
        world.run("disk create disk.img --slot-size 2M --recovery-size 2M").expect(0);
        world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline")).expect(0);
        world.boots("1.0.0");
        world.run("mark-good --disk disk.img --proof proof").expect(0);
        world.boots("1.0.0");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn run(&self, arguments: &str) -> Run {
        Run::new(tool(self.folder(), arguments).output().unwrap())
    }

    /// Runs with `arguments` as they are.
    pub fn run_exact(&self, arguments: &[&str]) -> Run {
        Run::new(tool(self.folder(), "").args(arguments).output().unwrap())
    }

    /// Runs with `parts` on standard input, as long as it is read.
    pub fn run_with_input(&self, arguments: &str, parts: &mut dyn Iterator<Item = Vec<u8>>) -> Run {
        let mut child = tool(self.folder(), arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for part in parts {
            if stdin.write_all(&part).is_err() {
                break;
            }
        }
        drop(stdin);
        Run::new(child.wait_with_output().unwrap())
    }

    /// Packs version `number`.0.0 from a kernel, an initramfs and a command line.
    pub fn pack_small(&self, number: u64) {
        self.write("kernel", noise(number, 300_000));
        self.write("initramfs", noise(number + 100, 70_001));
        self.pack(number, "--kernel kernel --initramfs initramfs --cmdline panic=1").expect(0);
    }

    /// Packs version `number`.0.0 into `v<number>.sbb`.
    pub fn pack(&self, number: u64, more: &str) -> Run {
        self.run(&format!(
            "pack {TRUST} --version {number}.0.0 --sequence {number} --keyset keys/keyset.sbk \
             --key keys/release-1.pem --out v{number}.sbb {more}"
        ))
    }

    /// Boots the disk and leaves its proof in `proof`.
    pub fn boot(&self) -> Run {
        self.run(&format!("boot --disk disk.img {TRUST} --proof-out proof --json"))
    }

    /// Boots the disk, which must start `version`.
    #[track_caller]
    pub fn boots(&self, version: &str) -> Value {
        let value = self.boot().expect(0).json();
        assert_eq!(value["version"], version, "{value}");
        value
    }

    /// What the boot record says of a slot.
    pub fn slot(&self, name: &str) -> Value {
        let status = self.run("status --disk disk.img --json").expect(0).json();
        let slots = status["slots"].as_array().unwrap();
        slots.iter().find(|slot| slot["slot"] == name).unwrap().clone()
    }
}
