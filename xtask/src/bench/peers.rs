//! Other updaters, each with a signed bundle of the same payload.
//!
//! A slot is a plain file, as ours is. RAUC's bundle is of the format `plain`: `verity` needs device
//! mapper in the kernel. RAUC works in a service on a bus of our own, and nothing of the system is
//! touched. SWUpdate writes while it reads, as it does on devices without room for a second copy.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Times that the bus and the service are asked whether they are there, and the pause between.
const ASKED: u32 = 200;
const PAUSE: Duration = Duration::from_millis(20);
const BUS_NAME: &str = "de.pengutronix.rauc";

/// A certificate for tests, and the key of it, in the folder.
pub(super) fn certificate(folder: &Path) -> Result<()> {
    quiet(
        folder,
        "openssl",
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 3650 -subj /CN=bench \
         -addext extendedKeyUsage=emailProtection,codeSigning",
    )
}

/// RAUC, with its bus and its service.
pub(super) struct Rauc {
    folder: PathBuf,
    slot_len: u64,
    bus: Child,
    service: Option<Child>,
}

impl Rauc {
    pub(super) const SLOT: &str = "rauc-b.img";

    /// Makes a bundle of `payload` and starts a bus.
    pub(super) fn new(folder: &Path, slot_len: u64) -> Result<Self> {
        let content = folder.join("rauc");
        fs::create_dir_all(&content)?;
        fs::create_dir_all(folder.join("rauc-mount"))?;
        fs::hard_link(folder.join("payload"), content.join("payload.img"))?;
        fs::write(
            content.join("manifest.raucm"),
            "[update]\ncompatible=bench\nversion=1\n[bundle]\nformat=plain\n\
             [image.rootfs]\nfilename=payload.img\n",
        )?;
        let here = folder.display();
        let slot = |number, name, file| {
            format!("[slot.rootfs.{number}]\ndevice={here}/{file}\ntype=raw\nbootname={name}\n")
        };
        fs::write(
            folder.join("rauc.conf"),
            format!(
                "[system]\ncompatible=bench\nbootloader=noop\nstatusfile={here}/rauc.status\n\
                 mountprefix={here}/rauc-mount\nbundle-formats=plain\n[keyring]\npath=cert.pem\n{}{}",
                slot(0, "A", "rauc-a.img"),
                slot(1, "B", Self::SLOT),
            ),
        )?;
        // What does not compress is stored: mksquashfs takes long to find that out.
        let arguments = "--cert=cert.pem --key=key.pem --keyring=cert.pem bundle";
        let fast = "--mksquashfs-args=-noD -noF -noI -noX";
        let mut bundle = Command::new("rauc");
        bundle.args(arguments.split(' ')).arg(fast).args(["rauc/", "v1.raucb"]);
        shell::output(bundle.current_dir(folder))?;
        fs::remove_file(content.join("payload.img"))?;
        let address = address(folder);
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--session", "--nofork", "--address", &address]);
        let bus = bus.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { folder: folder.to_owned(), slot_len, bus, service: None })
    }

    /// Empties the slots and restarts the service, so that its peak of memory is that of one
    /// installation. Returns its process.
    pub(super) fn restart(&mut self) -> Result<u32> {
        self.stop()?;
        for slot in ["rauc-a.img", Self::SLOT] {
            File::create(self.folder.join(slot))?.set_len(self.slot_len)?;
        }
        let mut service = self.command(&["service", "--override-boot-slot=A"]);
        let service = service.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let id = service.id();
        self.service = Some(service);
        for _ in 0..ASKED {
            let mut ask = Command::new("dbus-send");
            ask.arg(format!("--bus={}", address(&self.folder)));
            ask.args(["--dest=org.freedesktop.DBus", "--print-reply", "/org/freedesktop/DBus"]);
            ask.arg("org.freedesktop.DBus.GetNameOwner").arg(format!("string:{BUS_NAME}"));
            if shell::output(&mut ask).is_ok() {
                return Ok(id);
            }
            thread::sleep(PAUSE);
        }
        bail!("the service of RAUC does not start");
    }

    pub(super) fn install(&self) -> Command {
        // The service needs the whole path.
        let bundle = self.folder.join("v1.raucb");
        self.command(&["install", &bundle.display().to_string()])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("rauc");
        command.arg("--conf=rauc.conf").args(arguments).current_dir(&self.folder);
        command.env("DBUS_STARTER_BUS_TYPE", "session");
        for name in ["DBUS_SESSION_BUS_ADDRESS", "DBUS_STARTER_ADDRESS"] {
            command.env(name, address(&self.folder));
        }
        command
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(mut service) = self.service.take() {
            service.kill()?;
            service.wait()?;
        }
        Ok(())
    }
}

impl Drop for Rauc {
    fn drop(&mut self) {
        // A process that is gone already is as good.
        let _ = self.stop();
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

fn address(folder: &Path) -> String {
    format!("unix:path={}/rauc.bus", folder.display())
}

/// SWUpdate.
pub(super) struct SwUpdate {
    folder: PathBuf,
    slot_len: u64,
}

impl SwUpdate {
    pub(super) const SLOT: &str = "swupdate.img";

    /// Makes a bundle of `payload`.
    pub(super) fn new(folder: &Path, slot_len: u64) -> Result<Self> {
        let digest = shell::output(
            Command::new("openssl").args(["dgst", "-sha256", "-r", "payload"]).current_dir(folder),
        )?;
        let digest = digest.split(' ').next().context("a digest")?;
        let slot = folder.join(Self::SLOT);
        fs::write(
            folder.join("sw-description"),
            format!(
                "software = {{ version = \"1.0.0\"; hardware-compatibility: [ \"1.0\" ]; \
                 images: ( {{ filename = \"payload\"; device = \"{}\"; type = \"raw\"; \
                 sha256 = \"{digest}\"; installed-directly = true; }} ); }}\n",
                slot.display(),
            ),
        )?;
        quiet(
            folder,
            "openssl",
            "cms -sign -in sw-description -out sw-description.sig -signer cert.pem -inkey key.pem \
             -outform DER -nosmimecap -binary",
        )?;
        cpio(folder, &["sw-description", "sw-description.sig", "payload"], "v1.swu")?;
        Ok(Self { folder: folder.to_owned(), slot_len })
    }

    /// Empties the slot.
    pub(super) fn reset(&self) -> Result<()> {
        Ok(File::create(self.folder.join(Self::SLOT))?.set_len(self.slot_len)?)
    }

    /// It does not flush what it wrote; the others do.
    pub(super) fn install(&self) -> Vec<Command> {
        let mut install = Command::new("swupdate");
        install.args(["-i", "v1.swu", "-k", "cert.pem", "-H", "bench:1.0"]);
        vec![within(&self.folder, install), flush(&self.folder, Self::SLOT)]
    }
}

/// An archive with sums, as SWUpdate reads it: each byte of a file is added up.
fn cpio(folder: &Path, names: &[&str], out: &str) -> Result<()> {
    use std::io::Write as _;
    let mut archive = std::io::BufWriter::new(File::create(folder.join(out))?);
    let mut buffer = vec![0; 1 << 20];
    for (inode, name) in (1_u32..).zip(names.iter().chain(["TRAILER!!!"].iter())) {
        let mut file = match *name {
            "TRAILER!!!" => None,
            name => Some(File::open(folder.join(name))?),
        };
        let (mut len, mut sum) = (0, 0_u32);
        if let Some(file) = &mut file {
            len = u32::try_from(file.metadata()?.len()).context("cpio ends at 4 GiB")?;
            loop {
                let read = file.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                let part = buffer[..read].iter().map(|byte| u32::from(*byte)).sum();
                sum = sum.wrapping_add(part);
            }
            *file = File::open(folder.join(name))?;
        }
        write!(archive, "070702")?;
        let name_len = u32::try_from(name.len())? + 1;
        for number in [inode, 0o100_644, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, sum] {
            write!(archive, "{number:08x}")?;
        }
        write!(archive, "{name}\0")?;
        let header = 110 + name.len() + 1;
        archive.write_all(&[0; 3][..header.next_multiple_of(4) - header])?;
        if let Some(mut file) = file {
            std::io::copy(&mut file, &mut archive)?;
        }
        archive.write_all(&[0; 3][..len.next_multiple_of(4) as usize - len as usize])?;
    }
    Ok(archive.flush()?)
}

/// casync: chunks in a folder, and their digests in an index without a signature.
pub(super) struct Casync {
    folder: PathBuf,
}

impl Casync {
    pub(super) const OUT: &str = "casync.img";

    /// Cuts `payload` into chunks.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        quiet(folder, "casync", "make --store=v1.castr v1.caibx payload")?;
        Ok(Self { folder: folder.to_owned() })
    }

    pub(super) fn reset(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(Self::OUT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// It does not flush what it wrote; the others do.
    pub(super) fn install(&self) -> Vec<Command> {
        let mut extract = Command::new("casync");
        extract.args(["extract", "--store=v1.castr", "--seed-output=no", "v1.caibx", Self::OUT]);
        vec![within(&self.folder, extract), flush(&self.folder, Self::OUT)]
    }
}

fn flush(folder: &Path, file: &str) -> Command {
    let mut sync = Command::new("sync");
    sync.arg(file);
    within(folder, sync)
}

fn within(folder: &Path, mut command: Command) -> Command {
    command.current_dir(folder);
    command
}

fn quiet(folder: &Path, program: &str, arguments: &str) -> Result<()> {
    let mut command = Command::new(program);
    shell::output(command.args(arguments.split_whitespace()).current_dir(folder)).map(drop)
}
