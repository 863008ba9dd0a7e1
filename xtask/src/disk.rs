//! `cargo xtask disk`: the image of a disk that boots under UEFI, made the way a user would make
//! one for a device.
//!
//! ```text
//! GPT | ESP: FAT with EFI/BOOT/BOOTX64.EFI | stillboot-record | stillboot-a | stillboot-b | ...
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use stillboot::format::{Slot, names};
use stillboot_linux::disk::RECORD_LEN_MIN;
use stillboot_linux::guid;
use stillboot_linux::table::{self, PartitionSpec};

use crate::efi::{self, Arch, Extras, Trust};
use crate::{shell, static_tool};

/// GPT type of an EFI system partition.
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const MIB: u64 = 1 << 20;

/// Options of `disk`.
#[derive(Args, Clone, Debug)]
pub struct DiskArgs {
    /// The image to make.
    file: PathBuf,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    extras: Extras,
    /// What the machine is.
    #[arg(long, value_enum, default_value = "x86_64")]
    arch: Arch,
    /// The loader, as `cargo xtask efi` built it and somebody may have signed it. Without it, one is
    /// built.
    #[arg(long, value_name = "FILE")]
    loader: Option<PathBuf>,
    /// A bundle for the next slot: the first goes into a, the second into b.
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,
    /// A bundle for a recovery slot, which the disk has only then.
    #[arg(long, value_name = "FILE")]
    recovery: Option<PathBuf>,
    /// Size of each slot in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    slot_mib: u64,
    /// Size of the EFI system partition in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8)]
    esp_mib: u64,
    /// Bytes in a sector: 512, or 4096 (then the system partition needs 260 MiB).
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    sector: u32,
    /// Put nothing but the loader on the disk: record and slots are on another one.
    #[arg(long, conflicts_with_all = ["bundle", "recovery"])]
    loader_only: bool,
}

/// Makes the image.
///
/// # Errors
/// A program is missing or fails, or the file exists already.
pub fn run(args: &DiskArgs) -> Result<()> {
    if args.bundle.len() > 2 {
        bail!(
            "expected at most two times --bundle, for the slots a and b, found {}",
            args.bundle.len()
        );
    }
    let loader = match &args.loader {
        Some(loader) => loader.clone(),
        None => efi::build(args.arch, &args.trust, &args.extras)?,
    };
    let spec = |name: &str, type_guid, mib| PartitionSpec::new(name, type_guid, mib * MIB);
    let mut specs = vec![spec("esp", ESP.parse()?, args.esp_mib)];
    if !args.loader_only {
        specs.push(spec(names::RECORD_PARTITION, guid::RECORD, RECORD_LEN_MIN / MIB));
        specs.push(spec(names::slot_partition(Slot::A), guid::SLOT, args.slot_mib));
        specs.push(spec(names::slot_partition(Slot::B), guid::SLOT, args.slot_mib));
    }
    if args.recovery.is_some() {
        specs.push(spec(names::slot_partition(Slot::Recovery), guid::RECOVERY, args.slot_mib));
    }
    let size: u64 = specs.iter().map(|spec| spec.size_bytes).sum::<u64>() + 2 * MIB;
    let table = table::create(&args.file, size, args.sector, &specs, None)?;
    let start = table.find_name("esp")?.start_bytes;
    // All the tools work on the part of the image from a byte on: no root, no loop device.
    make_fat(&args.file, start, args.esp_mib, args.sector)?;
    let image = format!("{}@@{start}", args.file.display());
    shell::output(Command::new("mmd").args(["-i", &image, "::/EFI", "::/EFI/BOOT"]))?;
    shell::output(
        Command::new("mcopy")
            .args(["-i", &image])
            .arg(&loader)
            .arg(format!("::/EFI/BOOT/{}", args.arch.file())),
    )?;

    for (bundle, slot) in args.bundle.iter().zip(["a", "b"]) {
        install(args, bundle, slot)?;
    }
    if let Some(bundle) = &args.recovery {
        install(args, bundle, "recovery")?;
    }
    println!(
        "{}: {} MiB, boots {} by a loader of {} bytes",
        args.file.display(),
        size / MIB,
        args.arch.name(),
        fs::metadata(&loader)?.len(),
    );
    Ok(())
}

/// Makes the file system of the system partition. The program looks at the size of the whole image
/// for what is not said: of a large one it made a FAT32 in 8 MiB, which cannot be.
fn make_fat(image: &Path, start: u64, mib: u64, sector: u32) -> Result<()> {
    // One sector in a cluster. Firmware tells the kinds apart by the number of clusters.
    let kind = match mib * MIB / u64::from(sector) {
        0..4_400 => "12",
        4_400..66_300 => "16",
        _ => "32",
    };
    shell::output(
        Command::new("mkfs.vfat")
            .args(["-n", "ESP", "-S", &sector.to_string(), "-s", "1", "-F", kind])
            .args(["--offset", &(start / u64::from(sector)).to_string()])
            .arg(image)
            // It counts in KiB.
            .arg((mib * 1024).to_string()),
    )?;
    Ok(())
}

/// Installs with the tool, as a release engineer fills the disks of new devices.
fn install(args: &DiskArgs, bundle: &PathBuf, slot: &str) -> Result<()> {
    let disk = fs::canonicalize(&args.file)?;
    let bundle = fs::canonicalize(bundle)
        .with_context(|| format!("cannot read the bundle {}", bundle.display()))?;
    let mut tool = tool(args)?;
    tool.args(["install", "--offline", "--slot", slot, "--class", args.trust.class()]);
    tool.args(["--arch", args.arch.name(), "--revision", &args.trust.revision.to_string()]);
    tool.arg("--roots").arg(args.trust.roots()?).arg("--disk").arg(disk).arg(bundle);
    shell::run(&mut tool)
}

/// The tool, without arguments yet.
fn tool(args: &DiskArgs) -> Result<Command> {
    if args.trust.test_keys {
        // A release build refuses the keys of the test suite.
        let mut tool = shell::cargo();
        tool.args(["run", "--quiet", "-p", "stillboot-cli", "--"]);
        return Ok(tool);
    }
    Ok(Command::new(static_tool::run(static_tool::host()?, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its own size decides about the file system, not that of the disk: with slots of 300 MiB there
    /// was none.
    #[test]
    fn the_system_partition_is_made_on_disks_of_any_size() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("stillboot-fat-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        for (number, (esp, slots, sector)) in
            [(8, 128, 512), (8, 600, 512), (8, 5000, 512), (33, 600, 512), (64, 600, 512)]
                .into_iter()
                .chain([(260, 600, 4096), (8, 600, 4096)])
                .enumerate()
        {
            let image = folder.join(format!("{number}.img"));
            let spec =
                |name: &str, type_guid, mib: u64| PartitionSpec::new(name, type_guid, mib * MIB);
            let specs = [spec("esp", ESP.parse()?, esp), spec("data", guid::SLOT, slots)];
            let size = (esp + slots + 2) * MIB;
            let table = table::create(&image, size, sector, &specs, None)?;
            let start = table.find_name("esp")?.start_bytes;
            make_fat(&image, start, esp, sector)
                .with_context(|| format!("{esp} MiB of {size} bytes, sectors of {sector}"))?;
            let place = format!("{}@@{start}", image.display());
            shell::output(Command::new("mmd").args(["-i", &place, "::/EFI"]))?;
            let again = table::Table::read(&image, None)?;
            assert_eq!(again.partitions.len(), 2);
            fs::remove_file(&image)?;
        }
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
