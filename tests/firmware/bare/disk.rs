//! The machine's disk between power-ons, worked on with the tool.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillboot_linux::table::Table;
use tempfile::TempDir;

use crate::release::{CLASS, REVISION, roots, tool};

/// A disk of its own, gone with this value.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
    path: PathBuf,
}

impl Disk {
    /// An empty disk with two slots.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let path = folder.path().join("disk.img");
        let disk = Self { folder, path };
        disk.tool(&["disk", "create", "--slot-size", "44M"], |command| command.arg(&disk.path));
        disk
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Installs as a factory does: to slot a, with nothing running.
    pub fn fill(&self, bundle: &[u8]) {
        self.install(bundle, &["--offline", "--slot", "a"]);
    }

    /// Installs as the system that was started with `proof` would, to be tried twice.
    pub fn update(&self, bundle: &[u8], proof: &str) {
        let proof = self.file("proof", proof.as_bytes());
        self.install(bundle, &["--tries", "2", "--proof", &proof.display().to_string()]);
    }

    fn install(&self, bundle: &[u8], how: &[&str]) {
        let bundle = self.file("bundle", bundle);
        self.tool(&["install", "--class", CLASS, "--revision", REVISION], |command| {
            command
                .args(["--arch", "aarch64", "--roots"])
                .arg(roots())
                .arg("--disk")
                .arg(&self.path)
                .args(how)
                .arg(bundle)
        });
    }

    /// What the tool says of the boot record.
    pub fn status(&self) -> String {
        self.tool(&["status"], |command| command.arg("--disk").arg(&self.path))
    }

    /// Offers an update that the tool refuses; what it says.
    pub fn refuses(&self, bundle: &[u8], proof: &str) -> String {
        let (bundle, proof) = (self.file("bundle", bundle), self.file("proof", proof.as_bytes()));
        let mut command = Command::new(tool());
        command.args(["install", "--class", CLASS, "--revision", REVISION, "--arch", "aarch64"]);
        command.arg("--roots").arg(roots()).arg("--disk").arg(&self.path);
        let output = command.arg("--proof").arg(proof).arg(bundle).output().expect("it starts");
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Flips a bit of that slot, as far behind its start.
    pub fn rot(&self, slot: &str, offset: u64) {
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.expect("the disk is there");
        let table = Table::read(&self.path, Some(512)).expect("it has a table");
        let name = format!("stillboot-{slot}");
        let at = table.find_name(&name).expect("it has the slot").start_bytes + offset;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("the disk is that long");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("the disk can be written");
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("the temporary folder can be written");
        path
    }

    fn tool(&self, words: &[&str], more: impl FnOnce(&mut Command) -> &mut Command) -> String {
        let mut command = Command::new(tool());
        let output = more(command.args(words)).output().expect("the tool starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "`stillboot {}`: {}\n{}{}",
            words.join(" "),
            output.status,
            text(&output.stdout),
            text(&output.stderr),
        );
        text(&output.stdout)
    }
}
