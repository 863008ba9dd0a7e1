//! A machine with UEFI in QEMU, on its serial line.
//!
//! Everything that is waited for has a deadline, and silence is a failure.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stillboot_boot_support::floor;
use tempfile::TempDir;

use crate::tpm::Tpm;

/// How long a machine may be silent about what is waited for: a generic kernel takes half a minute
/// on an idle host, and this one may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);

/// How lines of the test's own first process begin.
const SAYS: &str = "stillboot-test: ";

/// An architecture with UEFI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// As the tools call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// A command line without anything special.
    pub fn cmdline(self) -> String {
        format!("console={} panic=1 quiet", self.console())
    }

    pub fn qemu(self) -> Command {
        // A machine must not outlive a test that is killed, and go on eating a processor.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", &format!("qemu-system-{}", self.name())]);
        match self {
            Self::X86_64 =>
            // Later versions of QEMU have them; there is a test for each way of hashing.
            {
                qemu.args(["-machine", "q35", "-cpu", "max,-sha-ni"])
            }
            Self::Aarch64 => qemu.args(["-machine", "virt", "-cpu", "cortex-a72"]),
        };
        qemu
    }

    /// Code and a template of the variables; with Secure Boot on, the only certificate in them is
    /// that of [`sign`](crate::sign).
    pub fn firmware(self, is_secure: bool) -> [PathBuf; 2] {
        match (self, is_secure) {
            (Self::X86_64, false) => ["OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"],
            (Self::X86_64, true) => {
                ["OVMF/OVMF_CODE_4M.snakeoil.fd", "OVMF/OVMF_VARS_4M.snakeoil.fd"]
            }
            (Self::Aarch64, false) => ["AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.fd"],
            (Self::Aarch64, true) => ["AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.snakeoil.fd"],
        }
        .map(|file| Path::new("/usr/share").join(file))
    }
}

/// What remains when the power goes: disks, and the firmware's variables.
#[derive(Debug)]
pub struct Hardware {
    pub arch: Arch,
    /// The disks' images; the first has the loader.
    pub disks: Vec<PathBuf>,
    /// Raw content of a further disk, which the system in the machine installs from.
    pub medium: Option<PathBuf>,
    /// A trusted platform module.
    pub tpm: Option<Tpm>,
    variables: PathBuf,
    is_secure: bool,
    folder: TempDir,
}

/// How a machine is switched on.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The first disk refuses to be written.
    pub read_only: bool,
    /// The sectors of the first disk have 4096 bytes.
    pub large_sectors: bool,
    /// A sector of the first disk, of 512 bytes, that cannot be read.
    pub unreadable: Option<u64>,
    /// There is a watchdog outside of the processor.
    pub watchdog: bool,
    /// The firmware is set to boot the first disk, and connects no other.
    pub boot_index: bool,
    /// Every read of the first disk is noted in this file.
    pub trace: Option<PathBuf>,
    /// A key is pressed while the loader starts.
    pub key: bool,
    /// The firmware is handed this image to start.
    pub kernel: Option<PathBuf>,
    /// The load options that it is started with.
    pub options: Option<&'static str>,
    /// What the machine says of itself, as words for QEMU's `-smbios`.
    pub identity: Vec<String>,
    /// The firmware describes the machine by a device tree, and not by ACPI.
    pub by_tree: bool,
}

/// Load options without a signature. A kernel that took them would not come up.
pub const FOREIGN_OPTIONS: &str =
    "init=/nonexistent stillboot.proof=1:b:00 console=none stubble.dtb_override=true";

impl Hardware {
    /// A machine with these disks, which are copied: the images stay as they are.
    pub fn new(arch: Arch, disks: &[&Path]) -> Self {
        Self::with_firmware(arch, false, disks)
    }

    /// As [`new`](Self::new), with Secure Boot on.
    pub fn secure(arch: Arch, disks: &[&Path]) -> Self {
        Self::with_firmware(arch, true, disks)
    }

    fn with_firmware(arch: Arch, is_secure: bool, disks: &[&Path]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let variables = folder.path().join("variables.fd");
        copy_sparse(&crate::variables::template(arch, is_secure), &variables);
        let disks = disks.iter().enumerate().map(|(number, disk)| {
            let copy = folder.path().join(format!("disk{number}.img"));
            copy_sparse(disk, &copy);
            copy
        });
        let disks = disks.collect();
        Self { arch, disks, medium: None, tpm: None, variables, is_secure, folder }
    }

    /// Its first disk.
    pub fn disk(&self) -> &Path {
        &self.disks[0]
    }

    /// A place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts `bytes` on the disk that the system in the machine installs from.
    pub fn offer(&mut self, bytes: &[u8]) {
        let path = self.path("medium.img");
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(512), 0);
        fs::write(&path, padded).expect("the temporary folder can be written");
        self.medium = Some(path);
    }

    /// The flash chip with the firmware's variables, as it is.
    pub fn flash(&self) -> Vec<u8> {
        fs::read(&self.variables).expect("the file is ours")
    }

    /// An attacker writes the flash chip.
    pub fn write_flash(&self, bytes: &[u8]) {
        fs::write(&self.variables, bytes).expect("the file is ours");
    }

    /// A person exchanges the first disk.
    pub fn replace_disk(&mut self, other: &Path) {
        copy_sparse(other, self.disk());
    }

    /// All floors that the firmware's variables hold, or held until the firmware tidies up: keyset
    /// version and level, in order, each once.
    pub fn floors(&self) -> Vec<(u32, u32)> {
        let bytes = fs::read(&self.variables).expect("the file is ours");
        let mut floors: Vec<_> = bytes
            .windows(floor::LEN)
            .filter_map(floor::parse)
            .map(|floor| (floor.keyset_version, floor.level))
            .collect();
        floors.sort_unstable();
        floors.dedup();
        floors
    }

    /// The device tree by which the machine's maker would describe it.
    pub fn tree(&self, settings: &Settings) -> Vec<u8> {
        let path = self.path("machine.dtb");
        let mut qemu = self.qemu(settings);
        // It writes the tree and ends.
        qemu.args(["-machine", &format!("dumpdtb={}", path.display())]);
        let output = qemu.stdin(Stdio::null()).output().expect("QEMU is there");
        assert!(output.status.success(), "{output:?}");
        fs::read(path).expect("QEMU has written it")
    }

    /// Switches it on.
    pub fn start(&self, settings: &Settings) -> Machine {
        Machine::start(&mut self.qemu(settings), &self.path("errors"), settings.key)
    }

    fn qemu(&self, settings: &Settings) -> Command {
        let mut qemu = self.arch.qemu();
        if settings.by_tree {
            qemu.args(["-machine", "acpi=off"]);
        }
        for words in &settings.identity {
            qemu.args(["-smbios", words]);
        }
        if let Some(kernel) = &settings.kernel {
            qemu.arg("-kernel").arg(kernel);
        }
        if let Some(options) = settings.options {
            qemu.args(["-append", options]);
        }
        // All memory is there when the machine starts, as in a real one. Else the host would find it
        // page by page, and that would count as the loader's time to read.
        qemu.arg("-mem-prealloc");
        qemu.args(["-m", "1024", "-nodefaults", "-no-user-config", "-display", "none"]);
        qemu.args(["-serial", "stdio", "-monitor", "none", "-device", "virtio-rng-pci"]);
        let [code, _] = self.arch.firmware(self.is_secure);
        if self.is_secure && self.arch == Arch::X86_64 {
            // Only the firmware writes its variables.
            qemu.args(["-machine", "smm=on", "-global", "ICH9-LPC.disable_s3=1"]);
            qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        if let Some(tpm) = &self.tpm {
            let device = match self.arch {
                Arch::X86_64 => "tpm-tis",
                Arch::Aarch64 => "tpm-tis-device",
            };
            let socket = tpm.start();
            qemu.arg("-chardev").arg(format!("socket,id=tpm,path={}", socket.display()));
            qemu.args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device"]);
            qemu.arg(format!("{device},tpmdev=tpm"));
        }
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()));
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=1,file={}", self.variables.display()));
        for (number, disk) in self.disks.iter().enumerate() {
            let first = number == 0;
            let read_only = if first && settings.read_only { ",read-only=on" } else { "" };
            let file = format!("driver=file,filename={}{read_only}", disk.display());
            qemu.arg("-blockdev").arg(format!("{file},node-name=file{number}"));
            let mut node = format!("file{number}");
            if let (true, Some(sector)) = (first, settings.unreadable) {
                qemu.arg("-blockdev").arg(format!(
                    "driver=blkdebug,node-name=sick,image={node},inject-error.0.event=read_aio,\
                     inject-error.0.sector={sector},inject-error.0.errno=5"
                ));
                node = "sick".into();
            }
            qemu.arg("-blockdev")
                .arg(format!("driver=raw,node-name=disk{number},file={node}{read_only}"));
            let mut device = format!("virtio-blk-pci,drive=disk{number}");
            if first && settings.large_sectors {
                device += ",logical_block_size=4096,physical_block_size=4096";
            }
            if first && settings.boot_index {
                device += ",bootindex=0";
            }
            qemu.args(["-device", &device]);
        }
        if let Some(medium) = &self.medium {
            qemu.arg("-drive")
                .arg(format!("if=none,id=medium,format=raw,readonly=on,file={}", medium.display()));
            qemu.args(["-device", "virtio-blk-pci,drive=medium"]);
        }
        if settings.watchdog {
            qemu.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if let Some(trace) = &settings.trace {
            qemu.arg("-trace").arg("enable=virtio_blk_handle_read");
            qemu.arg("-D").arg(trace);
        }
        qemu
    }
}

/// Copies without filling holes: most of a disk is empty.
pub fn copy_sparse(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--sparse=always").args([from, to]).status();
    assert!(status.expect("cp is everywhere").success(), "cannot copy {}", from.display());
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    input: ChildStdin,
    pieces: Receiver<Vec<u8>>,
    /// All that came, for the message of a failure.
    seen: String,
    /// How much of it has been looked at.
    looked_at: usize,
    presses_key: bool,
    pressed: Instant,
}

impl Machine {
    fn start(qemu: &mut Command, errors: &Path, presses_key: bool) -> Self {
        let errors = File::create(errors).expect("the folder is ours");
        let mut process = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("QEMU is there; `cargo xtask setup` brings it");
        let input = process.stdin.take().expect("it is piped");
        let mut output = process.stdout.take().expect("it is piped");
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (seen, looked_at, pressed) = (String::new(), 0, Instant::now());
        Self { process, input, pieces, seen, looked_at, presses_key, pressed }
    }

    /// The next whole line.
    ///
    /// # Errors
    /// The machine was switched off.
    fn line(&mut self, deadline: Instant) -> Result<String, Off> {
        loop {
            if let Some(len) = self.seen[self.looked_at..].find('\n') {
                let line = plain(&self.seen[self.looked_at..self.looked_at + len]);
                self.looked_at += len + 1;
                return Ok(line);
            }
            self.more(deadline)?;
        }
    }

    /// Waits for anything to come.
    fn more(&mut self, deadline: Instant) -> Result<(), Off> {
        loop {
            // As often as a key repeats that is held: it is not known when the loader looks.
            let pause = Duration::from_millis(if self.presses_key { 33 } else { 60_000 });
            if self.presses_key && self.pressed.elapsed() >= pause {
                self.pressed = Instant::now();
                self.send(" ");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left.min(pause)) {
                Ok(piece) => {
                    self.seen.push_str(&String::from_utf8_lossy(&piece));
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Off),
                Err(RecvTimeoutError::Timeout) if left <= pause => {
                    panic!("nothing came in time, after:\n{}", self.transcript())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The next line that `wanted` says something about.
    ///
    /// # Errors
    /// The machine was switched off before.
    pub fn wait<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Result<T, Off> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = wanted(&self.line(deadline)?) {
                return Ok(found);
            }
        }
    }

    /// Waits for a line with `text` in it.
    pub fn expect(&mut self, text: &str) -> String {
        let found = self.wait(|line| line.contains(text).then(|| line.to_owned()));
        found.unwrap_or_else(|Off| {
            panic!("expected `{text}`, found that it was switched off, after:\n{}", self.seen)
        })
    }

    /// Waits until the machine switches itself off.
    pub fn expect_off(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.line(deadline).is_ok() {}
    }

    /// Waits for a system that takes commands; gives its boot.
    ///
    /// # Errors
    /// The machine was switched off before.
    pub fn try_ready(&mut self) -> Result<Boot, Off> {
        let boot = self.wait(|line| {
            let (_, rest) = line.split_once("stillboot-init: ready KERNEL=")?;
            let (kernel, cmdline) = rest.split_once(" CMDLINE=")?;
            Some(Boot { kernel: kernel.to_owned(), cmdline: cmdline.to_owned() })
        })?;
        self.wait(|line| line.contains(&format!("{SAYS}ready")).then_some(()))?;
        Ok(boot)
    }

    /// As [`try_ready`](Self::try_ready), for machines that are not switched off meanwhile.
    pub fn ready(&mut self) -> Boot {
        self.try_ready().unwrap_or_else(|Off| {
            panic!("expected a system, found that it was switched off, after:\n{}", self.seen)
        })
    }

    /// Runs a command in the system; gives its exit status and what it printed.
    ///
    /// # Errors
    /// The machine was switched off before it ended.
    pub fn try_run(&mut self, command: &str) -> Result<(u8, String), Off> {
        self.send(&format!("{command}\n"));
        let deadline = Instant::now() + PATIENCE;
        let mut printed = String::new();
        loop {
            let line = self.line(deadline)?;
            if let Some((before, status)) = line.split_once(&format!("{SAYS}status ")) {
                printed += before;
                let status = status.trim().parse().expect("the shell gives a number");
                return Ok((status, printed));
            }
            printed += &line;
            printed.push('\n');
        }
    }

    /// As [`try_run`](Self::try_run), for commands that must end with this exit status.
    pub fn run(&mut self, command: &str, expected: u8) -> String {
        let (status, printed) = self.try_run(command).unwrap_or_else(|Off| {
            panic!("`{command}`: found that it was switched off, after:\n{}", self.seen)
        });
        assert_eq!(status, expected, "`{command}` printed:\n{printed}");
        printed
    }

    /// A file in the system.
    pub fn read(&mut self, path: &str) -> Vec<u8> {
        let text = self.run(&format!("od -An -v -tx1 {path}"), 0);
        let byte = |word| u8::from_str_radix(word, 16).expect("od prints bytes");
        text.split_whitespace().map(byte).collect()
    }

    /// Types, without waiting for anything.
    pub fn send(&mut self, text: &str) {
        // A machine that is off does not listen.
        let _ = self.input.write_all(text.as_bytes());
        let _ = self.input.flush();
    }

    /// Restarts it in good order, and waits until the system is there.
    pub fn reboot(&mut self) -> Boot {
        self.send("sync; reboot -f\n");
        self.ready()
    }

    /// How often the firmware started something.
    pub fn boots(&self) -> usize {
        self.seen.matches("BdsDxe: starting Boot").count()
    }

    /// No more keys are pressed.
    pub fn release_key(&mut self) {
        self.presses_key = false;
    }

    /// What came so far, without what moves a cursor.
    pub fn transcript(&self) -> String {
        self.seen.lines().map(|line| plain(line) + "\n").collect()
    }

    /// The process, to be killed by its number.
    pub fn process(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Ends QEMU so that it writes away what it has noted.
    pub fn switch_off(mut self) {
        kill_process(self.process(), Signal::TERM).expect("it runs");
        let status = self.process.wait().expect("it was started");
        assert!(status.success(), "expected QEMU to end in good order, found {status}");
    }

    /// Pulls the plug.
    pub fn kill(self) {}

    /// Ends QEMU at once if it still runs. Whether it was killed, now or before, rather than that it
    /// ended by itself.
    pub fn was_killed(mut self) -> bool {
        let _ = self.process.kill();
        let status = self.process.wait().expect("it was started");
        status.signal() == Some(Signal::KILL.as_raw())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The machine is off.
#[derive(Clone, Copy, Debug)]
pub struct Off;

/// What a system says of how it was started.
#[derive(Clone, Debug)]
pub struct Boot {
    pub kernel: String,
    pub cmdline: String,
}

impl Boot {
    /// The boot proof's text.
    pub fn proof(&self) -> &str {
        let proof = self.cmdline.split(' ').find_map(|word| word.strip_prefix("stillboot.proof="));
        proof.unwrap_or_else(|| panic!("no proof on the command line: {}", self.cmdline))
    }
}

/// A line without escape sequences.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                // CSI: up to a letter.
                if characters.next() == Some('[') {
                    let _ = characters.find(|c| c.is_ascii_alphabetic());
                }
            }
            '\r' => {}
            other => out.push(other),
        }
    }
    out
}
