//! `disk create`, `show` and `repair`: disks with slots and a boot record.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use stillboot_boot_support::report;
use stillboot_linux::disk::{self, Access, Disk, DiskError, Recipe};
use stillboot_linux::table::{self, RepairOptions, Source, Table, TableError};
use stillboot_linux::{FileDevice, OpenOptions};
use uuid::Uuid;

use crate::args::{NamedDiskArgs, WaitArgs};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::{record, size, view};

/// Commands about disks.
#[derive(Subcommand, Debug)]
pub enum DiskCommand {
    /// Creates the image of a disk with empty slots
    Create(CreateArgs),
    /// Shows partitions, slots and all copies of the boot record
    Show(ShowArgs),
    /// Restores the partition table from its intact copy
    Repair(RepairArgs),
}

/// Options of `disk create`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot disk create disk.img --slots 2 --slot-size 64M --recovery-size 32M\n\n\
    The file is sparse, and never overwrites another.")]
pub struct CreateArgs {
    /// The image to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How many update slots
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=3))]
    slots: u8,
    /// Size of each update slot
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size::parse_some)]
    slot_size: u64,
    /// Size of a recovery slot; none by default
    #[arg(long, value_name = "SIZE", value_parser = size::parse_some)]
    recovery_size: Option<u64>,
    /// Size of a separate partition for each slot's root file system; none by default
    #[arg(long, value_name = "SIZE", value_parser = size::parse_some)]
    rootfs_size: Option<u64>,
    /// The logical block: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = logical_block)]
    logical_block: u32,
    /// GUID of the disk; random by default. The GUIDs of its partitions are derived from it
    #[arg(long, value_name = "UUID")]
    guid: Option<Uuid>,
}

fn logical_block(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err(format!("expected 512 or 4096, found `{text}`")),
    }
}

/// The largest disk that is made: beyond this a size is a slip of the pen.
const SIZE_MAX: u64 = 1 << 44;

/// What the slots of a disk are made of.
const ERASE_BLOCK: u64 = 4096;

/// Creates the image of a disk.
pub fn create(args: &CreateArgs, out: &Output) -> Result<(), Failure> {
    let sizes = [Some(args.slot_size), args.recovery_size, args.rootfs_size];
    if let Some(bytes) = sizes.into_iter().flatten().find(|bytes| *bytes > SIZE_MAX) {
        return Err(Failure::usage(format_args!(
            "expected sizes up to {}, found {}",
            size::show(SIZE_MAX),
            size::show(bytes)
        )));
    }
    // Sizes that make no usable disk are refused.
    let least = disk::slot_bytes_min();
    let named = [
        ("--slot-size", Some(args.slot_size), least),
        ("--recovery-size", args.recovery_size, least),
        ("--rootfs-size", args.rootfs_size, ERASE_BLOCK),
    ];
    for (name, bytes, least) in named {
        let Some(bytes) = bytes else { continue };
        if bytes < least {
            return Err(Failure::usage(format_args!(
                "{name}: expected at least {least} bytes, found {bytes}"
            )));
        }
        if !bytes.is_multiple_of(ERASE_BLOCK) {
            return Err(Failure::usage(format_args!(
                "{name}: expected a multiple of {ERASE_BLOCK} bytes, found {bytes}: {} would do",
                bytes.next_multiple_of(ERASE_BLOCK)
            )));
        }
    }
    let recipe = Recipe::new(args.slots, args.slot_size)
        .with_logical_block(args.logical_block)
        .with_rootfs_bytes(args.rootfs_size)
        .with_recovery_bytes(args.recovery_size)
        .with_guid(args.guid);
    let table = disk::create(&args.file, &recipe)?;
    out.line(format_args!("{}: disk {}", args.file.display(), table.disk_guid));
    partition_lines(&table, out);
    out.result(|| {
        json!({
            "disk": view::path(&args.file), "guid": table.disk_guid.to_string(),
            "logical_block": table.logical_block_bytes, "partitions": partitions(&table),
        })
    });
    Ok(())
}

/// Options of `disk show`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot disk show disk.img")]
pub struct ShowArgs {
    #[command(flatten)]
    disk: NamedDiskArgs,
}

/// Shows a disk.
pub fn show(args: &ShowArgs, out: &Output) -> Result<(), Failure> {
    let at = args.disk.at();
    let [path] = &at.disk[..] else {
        return Err(Failure::usage("expected one disk: each is shown by itself"));
    };
    let mut disk = match Disk::open_all(&[path], Access::Look) {
        Err(DiskError::Plan { why, warnings, .. }) => {
            warnings.iter().for_each(|warning| out.warn(warning));
            return Err(unplanned(path, &why, out)?);
        }
        opened => opened?,
    };
    disk.warnings.iter().for_each(|warning| out.warn(warning));
    let Disk { devices, plan, .. } = &mut disk;
    let table = Table::read(path, None)?;
    let backup_fault = match (table.is_backup, devices.first_mut()) {
        (false, Some(device)) => table::other_fault(device),
        _ => None,
    };
    // A backup that differs from the primary was reported when the disk was opened.
    let conflict = devices.first_mut().and_then(table::conflict);
    let slots = plan.slots();
    // Other commands advise the user to run this one, so the advice is left out here.
    let layout = plan
        .layout(&slots)
        .map_err(|error| Failure::new(Exit::Failed, "disk", DiskError::Layout(error)))?;
    let record::Read { choice, copies, record } = record::read(&layout, devices)?;

    table_lines(&table, out);
    for (number, (state, place)) in copies.iter().zip(layout.places()).enumerate() {
        out.line(format_args!(
            "record copy {number}  at byte {}: {}",
            place.offset,
            view::copy_text(state)
        ));
    }
    out.line(format_args!("boot record    {}", view::choice_text(choice, &copies)));
    let shown = view::Shown { body: &record.body, layout: &layout, choice };
    view::record_lines(out, &shown);
    out.result(|| {
        let slots: Vec<_> = layout
            .slots()
            .iter()
            .map(|slot| {
                let regions: Vec<_> = slot
                    .regions
                    .iter()
                    .map(|at| {
                        let roles: Vec<_> = at.roles.iter().map(|role| role.name()).collect();
                        json!({
                            "offset": at.region.offset, "length": at.region.len, "roles": roles,
                        })
                    })
                    .collect();
                let head =
                    slot.head.map(|head| json!({ "offset": head.offset, "length": head.len }));
                json!({ "slot": slot.slot.name(), "head": head, "regions": regions })
            })
            .collect();
        json!({
            "guid": table.disk_guid.to_string(),
            "logical_block": table.logical_block_bytes,
            "backup_table": table.is_backup,
            "backup_fault": backup_fault.or(conflict),
            "partitions": partitions(&table),
            "layout": slots,
            "copies": copies.iter().map(view::copy).collect::<Vec<_>>(),
            "choice": report::choice_name(choice),
            "sequence": view::sequence(choice, &record),
            "record": view::record(&shown),
        })
    });
    Ok(())
}

/// A disk without a record or without slots: its partitions, and what is missing.
fn unplanned(path: &Path, why: &str, out: &Output) -> Result<Failure, Failure> {
    let table = Table::read(path, None)?;
    table_lines(&table, out);
    let mut failure = Failure::new(
        Exit::Failed,
        "disk",
        format_args!(
            "{}: {why}; expected partitions as `stillboot disk create` makes them",
            path.display()
        ),
    );
    failure.details = Some(json!({
        "guid": table.disk_guid.to_string(),
        "logical_block": table.logical_block_bytes,
        "backup_table": table.is_backup,
        "partitions": partitions(&table),
    }));
    Ok(failure)
}

/// Options of `disk repair`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stillboot disk repair /dev/sda\n\n\
    Writes what is missing of the primary table, of the backup at the end of the disk (also after \
    the disk has grown, or has become shorter behind its last partition) and of the protective \
    MBR; no partition is touched. Refuses where a DOS \
    partition table says that the disk was given another use, and where both copies are whole and \
    differ, unless --from says which one to keep. Exits 5 if nothing is missing.")]
pub struct RepairArgs {
    #[command(flatten)]
    disk: NamedDiskArgs,
    #[command(flatten)]
    wait: WaitArgs,
    /// The copy of the table to keep where both are intact and differ; the other one is overwritten
    #[arg(long, value_name = "COPY")]
    from: Option<CopyName>,
    /// Overwrite the first sector where it has a DOS partition table or the start of a file system
    #[arg(long)]
    over_label: bool,
}

/// A copy of the partition table.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum CopyName {
    /// The one at the start of the disk
    Primary,
    /// The one at its end
    Backup,
}

impl From<CopyName> for Source {
    fn from(name: CopyName) -> Self {
        match name {
            CopyName::Primary => Self::Primary,
            CopyName::Backup => Self::Backup,
        }
    }
}

/// Restores a partition table.
pub fn repair(args: &RepairArgs, out: &Output) -> Result<(), Failure> {
    let at = args.disk.at();
    let [path] = &at.disk[..] else {
        return Err(Failure::usage("expected one disk: each is repaired by itself"));
    };
    let choice =
        RepairOptions::new().with_from(args.from.map(Into::into)).with_over_label(args.over_label);
    let mut device = args.wait.locked(|| Ok(FileDevice::open(path, OpenOptions::new())?))?;
    let done = table::repair(&mut device, choice).map_err(|error| match error {
        // Other commands advise the user to run this very command.
        TableError::NoTable { .. } => Failure::new(Exit::Failed, "table", error),
        error => error.into(),
    })?;
    if done.is_empty() {
        return Err(Failure::new(
            Exit::Nothing,
            "already",
            "nothing to do: both copies of the partition table are whole and where they belong",
        ));
    }
    for step in &done {
        out.line(format_args!("{}: {step}", path.display()));
    }
    out.result(|| json!({ "disk": view::path(path), "done": done }));
    Ok(())
}

fn table_lines(table: &Table, out: &Output) {
    out.line(format_args!(
        "disk {}, logical blocks of {} bytes",
        table.disk_guid, table.logical_block_bytes
    ));
    partition_lines(table, out);
}

fn partition_lines(table: &Table, out: &Output) {
    for partition in &table.partitions {
        out.line(format_args!(
            "partition {:<3}  {:<22} {:>10}  at byte {}, {}",
            partition.index,
            partition.name,
            size::show(partition.len_bytes),
            partition.start_bytes,
            partition.part_guid
        ));
    }
}

fn partitions(table: &Table) -> Vec<serde_json::Value> {
    let one = |partition: &stillboot_linux::table::Partition| {
        json!({
            "index": partition.index, "name": partition.name,
            "type": partition.type_guid.to_string(), "guid": partition.part_guid.to_string(),
            "offset": partition.start_bytes, "length": partition.len_bytes,
        })
    };
    table.partitions.iter().map(one).collect()
}
