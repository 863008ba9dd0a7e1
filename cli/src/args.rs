//! Options that several commands share, and the values they come to.

use std::path::{Path, PathBuf};

use clap::Args;
use stillboot::format::{Architecture, BootProof, Id, Slot};
use stillboot::verify::Device;
use stillboot_linux::disk::{Access, Disk};
use stillboot_linux::keys::{Roots, id_of};
use stillboot_linux::proof;

use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::Output;

/// Which device this is, and whom it trusts.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// The root keys of the product, as `stillboot keygen` writes them: without them nothing is
    /// trusted and nothing done
    #[arg(long, value_name = "FILE")]
    pub roots: PathBuf,
    /// The device class: a name, or its UUID
    #[arg(long, value_name = "NAME")]
    pub class: String,
    /// The hardware revision within the class
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub revision: u16,
    /// What the device can run, such as x86_64 or aarch64
    #[arg(long, value_name = "NAME", default_value = "any", value_parser = architecture)]
    pub arch: Architecture,
}

impl DeviceArgs {
    /// Reads the roots.
    pub fn roots(&self) -> Result<Roots, Failure> {
        Ok(Roots::read(&self.roots)?)
    }

    /// What the core calls it.
    pub fn device<'a>(&self, roots: &'a Roots) -> Device<'a> {
        Device {
            trust: roots.trust(),
            product: roots.product_id(),
            class: self.class_id(),
            revision: self.revision,
            architecture: self.arch,
        }
    }

    /// The id of the class.
    pub fn class_id(&self) -> Id {
        id_of(&self.class)
    }
}

/// The disk to work on.
#[derive(Args, Debug)]
pub struct DiskArgs {
    /// The disk, or the image of one. Given again: another one, for slots that the first has not
    #[arg(long, value_name = "FILE", required = true)]
    pub disk: Vec<PathBuf>,
    /// Write even where the primary partition table is damaged and only its backup says where
    #[arg(long)]
    pub backup_table: bool,
}

impl DiskArgs {
    /// Opens and locks it.
    pub fn open(&self, read_only: bool, out: &Output) -> Result<Disk, Failure> {
        let access = match (read_only, self.backup_table) {
            (true, _) => Access::Read,
            (false, false) => Access::Write,
            (false, true) => Access::WriteByBackup,
        };
        let disk = Disk::open_all(&self.disk, access)?;
        disk.warnings.iter().for_each(|warning| out.warn(warning));
        Ok(disk)
    }
}

/// The boot proof from `path`, or of the live system.
pub fn read_proof(path: Option<&Path>) -> Result<BootProof, Failure> {
    let refused = |message: String| Failure::new(Exit::Refused, "proof", message);
    match path {
        Some(path) => {
            let text = files::read_text(path)?;
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
                     tree; for a disk that this system was not started from give --proof FILE"
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

/// How often a slot may be tried.
pub fn tries() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(1..=i64::from(stillboot::format::record::TRIES_MAX))
}
