//! Options that several commands share, and the values they come to.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{ArgGroup, Args};
use stillboot::format::{Architecture, BootProof, Id, Slot};
use stillboot::verify::Device;
use stillboot_linux::OpenError;
use stillboot_linux::disk::{Access, Disk, DiskError};
use stillboot_linux::proof;
use stillboot_release::keys::{Roots, id_of};

use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::{Output, is_unseen};

/// Which device this is, and which roots it trusts.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// The file with the product's root keys, as `stillboot keygen` writes it
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
    /// The device class: a name, or its UUID
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub class: String,
    /// The hardware revision within the class
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u16>)]
    pub revision: u16,
    /// The architecture of the device, such as x86_64 or aarch64; by default any, or that of this
    /// machine where the running system is updated
    #[arg(long, value_name = "NAME", value_parser = architecture)]
    arch: Option<Architecture>,
}

impl DeviceArgs {
    /// Reads the roots.
    pub fn roots(&self) -> Result<Roots, Failure> {
        Ok(Roots::read(&self.roots)?)
    }

    /// What the core calls it.
    pub fn device<'a>(&self, roots: &'a Roots) -> Device<'a> {
        Device::new(roots.trust(), roots.product_id(), self.class_id())
            .with_revision(self.revision)
            .with_architecture(self.arch.unwrap_or(Architecture::Any))
    }

    /// As [`device`](Self::device), for the machine that this runs on.
    pub fn this_device<'a>(&self, roots: &'a Roots) -> Device<'a> {
        let architecture = self.arch.unwrap_or_else(of_this_machine);
        self.device(roots).with_architecture(architecture)
    }

    /// The names that were typed, or stand in the roots: of product and class.
    pub fn names<'a>(&'a self, roots: &'a Roots) -> [&'a str; 2] {
        [&roots.product, &self.class]
    }

    /// The id of the class.
    pub fn class_id(&self) -> Id {
        id_of(&self.class)
    }
}

/// What the kernel of this machine runs on.
fn of_this_machine() -> Architecture {
    let system = rustix::system::uname();
    match system.machine().to_str().unwrap_or_default() {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "riscv32" => Architecture::Riscv32,
        "riscv64" => Architecture::Riscv64,
        name if name.starts_with("armv7") => Architecture::Armv7,
        _ => Architecture::Any,
    }
}

/// The disk to look at.
#[derive(Args, Debug)]
pub struct DiskArgs {
    /// The disk, or the image of a disk. May be repeated, for slots on a second disk
    #[arg(long, value_name = "FILE", required = true)]
    pub disk: Vec<PathBuf>,
}

impl DiskArgs {
    /// A disk that is given twice would wait for its own lock, or count as two disks.
    fn no_twice(&self) -> Result<(), Failure> {
        for (number, disk) in self.disk.iter().enumerate() {
            let same = |other: &&PathBuf| {
                let ids = [disk, *other].map(|path| {
                    std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok()
                });
                ids[0].is_some() && ids[0] == ids[1]
            };
            if let Some(other) = self.disk[..number].iter().find(same) {
                return Err(Failure::usage(format_args!(
                    "{} and {} are one disk: give each disk once",
                    other.display(),
                    disk.display()
                )));
            }
        }
        Ok(())
    }

    /// Opens it for reading. It is not locked: a reader keeps no update waiting, and may see a disk
    /// that is being updated.
    pub fn look(&self, out: &Output) -> Result<Disk, Failure> {
        self.no_twice()?;
        let disk = Disk::open_all(&self.disk, Access::Look)?;
        warn(&disk, out);
        Ok(disk)
    }
}

fn warn(disk: &Disk, out: &Output) {
    disk.warnings.iter().for_each(|warning| out.warn(warning));
}

/// The disk to show.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("which").required(true).args(["file", "disk"])))]
pub struct NamedDiskArgs {
    /// The disk, or the image of one
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The disk as an option, as other commands take it
    #[arg(long, value_name = "FILE")]
    disk: Vec<PathBuf>,
}

impl NamedDiskArgs {
    /// The disk, however it was named.
    pub fn at(&self) -> DiskArgs {
        DiskArgs { disk: self.file.iter().chain(&self.disk).cloned().collect() }
    }
}

/// How long to wait for a lock.
#[derive(Args, Debug)]
pub struct WaitArgs {
    /// How many seconds to wait for another process that has locked the disk
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = whole::<u64>)]
    wait: u64,
}

/// How often a lock is asked for.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

impl WaitArgs {
    /// Opens by `open`, again and again while another process has the lock.
    pub fn locked<T>(&self, open: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
        let start = Instant::now();
        loop {
            match open() {
                Err(DiskError::Open(OpenError::Locked { .. }))
                    if start.elapsed().as_secs() < self.wait =>
                {
                    std::thread::sleep(LOCK_PAUSE);
                }
                result => return result,
            }
        }
    }
}

/// How a disk is opened to be written.
#[derive(Args, Debug)]
pub struct WriteArgs {
    /// Write even if the primary partition table is damaged and only its backup can be used
    #[arg(long)]
    backup_table: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl WriteArgs {
    /// Opens and locks the disk `at`.
    pub fn open(&self, at: &DiskArgs, out: &Output) -> Result<Disk, Failure> {
        at.no_twice()?;
        let access = if self.backup_table { Access::WriteByBackup } else { Access::Write };
        let disk = self.wait.locked(|| Disk::open_all(&at.disk, access))?;
        warn(&disk, out);
        Ok(disk)
    }
}

/// The disk to work on.
#[derive(Args, Debug)]
pub struct LockArgs {
    #[command(flatten)]
    pub at: DiskArgs,
    #[command(flatten)]
    write: WriteArgs,
}

impl LockArgs {
    /// Opens and locks it.
    pub fn open(&self, out: &Output) -> Result<Disk, Failure> {
        self.write.open(&self.at, out)
    }
}

/// The boot proof from `path`, or of the live system.
pub fn read_proof(path: Option<&Path>) -> Result<BootProof, Failure> {
    let refused = |message: String| Failure::new(Exit::Refused, "proof", message);
    match path {
        Some(path) => {
            let bytes = files::read(path)?;
            let text = String::from_utf8_lossy(&bytes);
            BootProof::parse(text.trim()).ok_or_else(|| {
                refused(format!(
                    "{} holds no boot proof: expected one line as `stillboot boot --proof-out` \
                     writes it, found {:?}",
                    path.display(),
                    text.trim().chars().take(40).collect::<String>()
                ))
            })
        }
        None => {
            let text = proof::read_live(Path::new("/"))?.ok_or_else(|| {
                refused(
                    "no boot proof found: expected `stillboot.proof=` on the kernel command line, \
                     the EFI variable StillBootProof, or /chosen/stillboot,proof in the device \
                     tree; if a system runs from this disk, give the proof of its boot with \
                     --proof FILE; where nothing does, `stillboot install` takes --offline"
                        .into(),
                )
            })?;
            BootProof::parse(&text).ok_or_else(|| {
                refused(format!(
                    "the boot proof of this system is none: expected what the loader passed, \
                     found {:?}",
                    text.chars().take(40).collect::<String>()
                ))
            })
        }
    }
}

/// A slot from its name.
pub fn slot(name: &str) -> Result<Slot, String> {
    Slot::from_name(name)
        .ok_or_else(|| format!("expected a slot (a, b, c or recovery), found `{name}`"))
}

/// An architecture from its name.
pub fn architecture(name: &str) -> Result<Architecture, String> {
    Architecture::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Architecture::ALL.iter().map(|value| value.name()).collect();
        format!("expected one of {}, found `{name}`", names.join(", "))
    })
}

/// The name of a product, of a device class or of a device, or its UUID. A name that is shown must be
/// the name that was typed: with blanks around it, or with characters that are not seen, it would be
/// another one.
pub fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a name or a UUID, found nothing".into());
    }
    if let Some(found) = text.chars().find(|found| is_unseen(*found)) {
        return Err(format!(
            "expected a name without control characters and others that are not seen, found `{}` \
             in it",
            found.escape_default()
        ));
    }
    if text.trim() != text {
        return Err(format!("expected a name without blanks around it, found `{text}`"));
    }
    Ok(text.into())
}

/// The identity of a device: as [`name`], or nothing, which means that it has none.
pub fn device_id(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text) }
}

/// A whole number of a type, with the bound named where it is passed.
pub fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let most = u64::MAX >> (64 - 8 * size_of::<T>());
    let number = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|text| T::try_from(text.parse::<u64>().ok()?).ok())
        .ok_or_else(|| format!("expected a whole number from 0 to {most}, found `{text}`"))
}

/// How often a slot may be tried.
pub fn tries() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(1..=i64::from(stillboot::format::record::TRIES_MAX))
}

/// How often servers are asked.
pub fn attempts() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1000)
}
