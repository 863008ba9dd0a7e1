//! `dtb`: builds, checks and shows sets of device trees, and says which tree a machine gets.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use stillboot_devicetree::chid::{Chid, Fields, Kind, Panel};
use stillboot_devicetree::choice::{Decision, Grounds, choose};
use stillboot_devicetree::fdt::Fdt;
use stillboot_devicetree::set::{self, Machine, Set};
use stillboot_devicetree::smbios::{Entry, Table};

use crate::failure::{Exit, Failure};
use crate::files;
use crate::output::Output;

/// Where `dmidecode --dump-bin` puts the table behind the entry point.
const DUMP_TABLE_AT: usize = 32;
/// The type of the structure that says what the system is: SMBIOS 3.7, 7.2.
const SYSTEM: u8 = 1;

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 16;

/// What `dtb` does.
#[derive(Subcommand, Debug)]
pub enum DtbCommand {
    /// Packs device trees, and the machines that they are for, into one set: the component `dtbs`
    #[command(after_help = "Example:\n  stillboot dtb pack trees/ --out dtbs.bin\n\n\
        A folder holds trees (*.dtb) and machines (*.json): {\"type\": \"devicetree\",\n\
        \"name\": ..., \"compatible\": ..., \"hwids\": [...]}. \"two_fields\": true allows a match by\n\
        a maker and one field more, which other machines of that maker may have as well.")]
    Pack(PackArgs),
    /// Lists everything that keeps a folder from being packed
    #[command(after_help = "Example:\n  stillboot dtb lint trees/")]
    Lint(FolderArgs),
    /// Shows a set, or one tree
    #[command(after_help = "Example:\n  stillboot dtb show dtbs.bin")]
    Show(ShowArgs),
    /// Shows which tree of a set a machine gets, and why
    #[command(after_help = "Example:\n  \
        dmidecode --dump-bin machine.bin\n  \
        stillboot dtb match --smbios machine.bin --set dtbs.bin\n\n\
        Exits 5 when the machine gets none.")]
    Match(MatchArgs),
}

/// What a set is made of.
#[derive(Args, Debug)]
pub struct FolderArgs {
    /// Folders with trees (*.dtb) and machines (*.json), searched with all their subfolders
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Leave out trees that no machine needs
    #[arg(long)]
    only_needed: bool,
}

/// Options of `dtb pack`.
#[derive(Args, Debug)]
pub struct PackArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The set
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// Options of `dtb show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A set, or a tree
    file: PathBuf,
}

/// Options of `dtb match`.
#[derive(Args, Debug)]
pub struct MatchArgs {
    /// The SMBIOS data of the machine: a file of `dmidecode --dump-bin`, or a bare table such as
    /// /sys/firmware/dmi/tables/DMI
    #[arg(long, value_name = "FILE")]
    smbios: Option<PathBuf>,
    /// The EDID of its panel
    #[arg(long, value_name = "FILE")]
    edid: Option<PathBuf>,
    /// The device tree that its firmware provides
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// A set, or a folder to build one from
    #[arg(long, value_name = "PATH")]
    set: PathBuf,
}

/// Does it.
pub fn run(command: &DtbCommand, out: &Output) -> Result<(), Failure> {
    match command {
        DtbCommand::Pack(args) => pack(args, out),
        DtbCommand::Lint(args) => lint(args, out),
        DtbCommand::Show(args) => show(args, out),
        DtbCommand::Match(args) => find(args, out),
    }
}

fn pack(args: &PackArgs, out: &Output) -> Result<(), Failure> {
    let bytes = build(&args.folder)?;
    let paths = paths(&args.folder)?;
    // Other files in the folders are not read; an earlier set may be there.
    let is_read = |path: &&PathBuf| {
        path.extension().is_some_and(|extension| extension == "dtb" || extension == "json")
    };
    let inputs: Vec<_> = paths.iter().filter(is_read).map(PathBuf::as_path).collect();
    files::replace(&args.out, &inputs, |file| {
        file.write_all(&bytes).map_err(|error| Failure::system("write", &args.out, &error))
    })?;
    tell_set(&args.out, &bytes, out)
}

fn lint(args: &FolderArgs, out: &Output) -> Result<(), Failure> {
    let bytes = build(args)?;
    let set = parse(&bytes, &args.folders[0])?;
    let (trees, ids) = (set.len(), set.matches().count());
    out.line(format_args!("no problems: {trees} trees, {ids} ids"));
    out.result(|| json!({ "trees": trees, "ids": ids }));
    Ok(())
}

fn show(args: &ShowArgs, out: &Output) -> Result<(), Failure> {
    let bytes = read(&args.file)?;
    if bytes.starts_with(&set::MAGIC) {
        return tell_set(&args.file, &bytes, out);
    }
    let fdt = Fdt::parse(&bytes).map_err(|error| wrong(&args.file, error))?;
    let (model, compatibles) = (fdt.model(), fdt.compatibles().collect::<Vec<_>>());
    let (nodes, len) = (fdt.nodes().count(), fdt.bytes().len());
    out.line(format_args!("model        {}", model.unwrap_or("none")));
    out.line(format_args!("compatible   {}", compatibles.join(", ")));
    out.line(format_args!("size         {len} bytes, {nodes} nodes"));
    out.result(
        || json!({ "model": model, "compatible": compatibles, "bytes": len, "nodes": nodes }),
    );
    Ok(())
}

fn find(args: &MatchArgs, out: &Output) -> Result<(), Failure> {
    let set = match args.set.is_dir() {
        true => build(&FolderArgs { folders: vec![args.set.clone()], only_needed: false })?,
        false => read(&args.set)?,
    };
    let set = parse(&set, &args.set)?;
    let smbios = args.smbios.as_deref().map(read).transpose()?;
    let mut fields = Fields::default();
    if let (Some(bytes), Some(path)) = (&smbios, &args.smbios) {
        let table = table(bytes).map_err(|error| wrong(path, error))?;
        // Every machine has this structure. Without it the file is not SMBIOS data.
        if !table.structures().any(|structure| structure.kind() == SYSTEM) {
            return Err(wrong(
                path,
                "expected a file of `dmidecode --dump-bin` or a bare table of SMBIOS: it has no \
                 structure of type 1, which says what the system is",
            ));
        }
        fields = table.fields();
    }
    if let Some(path) = &args.edid {
        let panel = Panel::from_edid(&read(path)?);
        fields.panel = Some(panel.ok_or_else(|| wrong(path, "expected an EDID of a panel"))?);
    }
    let firmware = args.firmware.as_deref().map(read).transpose()?;
    let firmware = match (&firmware, &args.firmware) {
        (Some(bytes), Some(path)) => Some(Fdt::parse(bytes).map_err(|error| wrong(path, error))?),
        _ => None,
    };
    let decision = choose(&set, &fields, firmware.as_ref());
    // Before the first output: a machine does not get a damaged tree.
    if let Decision::Tree(entry, _) = &decision {
        set.fdt(entry).map_err(|error| wrong(&args.set, error))?;
    }
    out.line(format_args!("tree         {decision}"));
    for kind in Kind::BY_PRIORITY {
        if let Some(chid) = kind.chid(&fields) {
            out.line(format_args!("id           {chid}  kind {:2}: {kind}", kind.number()));
        }
    }
    out.result(|| {
        let ids = Kind::BY_PRIORITY.iter().filter_map(|kind| {
            let chid = kind.chid(&fields)?;
            Some(json!({ "kind": kind.number(), "id": chid.to_string() }))
        });
        let ids: Vec<_> = ids.collect();
        let (name, compatible, kind) = match decision {
            Decision::Tree(entry, grounds) => {
                let kind = match grounds {
                    Grounds::Chid(kind, _) => Some(kind.number()),
                    // Only ids are of a kind.
                    _ => None,
                };
                (Some(entry.name), Some(entry.compatible), kind)
            }
            Decision::Left(_) => (None, None, None),
        };
        json!({
            "tree": name, "compatible": compatible, "kind": kind, "ids": ids,
            "text": decision.to_string(),
        })
    });
    if let Decision::Left(_) = decision {
        out.exit_with(Exit::Nothing);
    }
    Ok(())
}

/// The table of a dump, or one without an entry point.
fn table(bytes: &[u8]) -> Result<Table<'_>, stillboot_devicetree::smbios::EntryError> {
    if !bytes.starts_with(b"_SM") {
        return Ok(Table::new(bytes));
    }
    Ok(Entry::parse(bytes)?.table(bytes.get(DUMP_TABLE_AT..).unwrap_or_default()))
}

fn tell_set(path: &Path, bytes: &[u8], out: &Output) -> Result<(), Failure> {
    let set = parse(bytes, path)?;
    let mut trees = Vec::new();
    for entry in set.entries() {
        let fdt = set.fdt(&entry).map_err(|error| wrong(path, error))?;
        let mine: Vec<_> = set.matches().filter(|found| found.tree == entry.tree).collect();
        let (ids, weak) = (mine.len(), mine.iter().filter(|found| found.may_be_weak).count());
        out.line(format_args!(
            "{:40} {:32} {ids} ids{}",
            entry.compatible,
            entry.name,
            if weak == 0 { "" } else { ", two fields allowed" },
        ));
        trees.push(json!({
            "compatible": entry.compatible, "name": entry.name, "model": fdt.model(),
            "bytes": entry.bytes.len(),
            "ids": mine.iter().map(|found| found.chid.to_string()).collect::<Vec<_>>(),
            "two_fields": weak > 0,
        }));
    }
    out.line(format_args!("{}: {} trees, {} bytes", path.display(), set.len(), bytes.len()));
    out.result(|| json!({ "trees": trees, "bytes": bytes.len() }));
    Ok(())
}

/// A machine as a JSON file has it.
#[derive(Deserialize)]
struct Device {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    name: String,
    #[serde(default)]
    compatible: String,
    #[serde(default)]
    hwids: Vec<String>,
    #[serde(default)]
    two_fields: bool,
}

fn paths(args: &FolderArgs) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for folder in &args.folders {
        list(folder, DEPTH_MAX, &mut paths)?;
    }
    paths.sort();
    Ok(paths)
}

fn build(args: &FolderArgs) -> Result<Vec<u8>, Failure> {
    let paths = paths(args)?;
    let (mut trees, mut machines) = (Vec::new(), Vec::new());
    for path in &paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("dtb") => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                trees.push((name, read(path)?));
            }
            Some("json") => machines.extend(machine(path)?),
            _ => {}
        }
    }
    if trees.is_empty() {
        return Err(wrong(&args.folders[0], "expected at least one tree, *.dtb"));
    }
    if args.only_needed {
        trees.retain(|(_, bytes)| {
            let fdt = Fdt::parse(bytes);
            let Ok(Some(first)) = fdt.map(|fdt| fdt.compatibles().next()) else { return true };
            machines.iter().any(|machine| machine.compatible == first)
        });
    }
    set::build(&trees, &machines).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(|error| format!("\n  {error}")).collect();
        let message = format!("no set can be made of this:{}", lines.concat());
        Failure::new(Exit::Refused, "dtbs", message)
    })
}

fn machine(path: &Path) -> Result<Option<Machine>, Failure> {
    let device: Device =
        serde_json::from_slice(&files::read(path)?).map_err(|error| wrong(path, error))?;
    // Such files may also list firmware, which is not used here.
    if device.kind.is_some_and(|kind| kind != "devicetree") {
        return Ok(None);
    }
    let chid = |text: &String| {
        Chid::parse(text).ok_or_else(|| wrong(path, format_args!("{text:?} is no hardware id")))
    };
    let chids = device.hwids.iter().map(chid).collect::<Result<Vec<_>, _>>()?;
    let name = format!("{} ({})", device.name, path.display());
    Ok(Some(Machine::new(name, device.compatible, chids).with_weak(device.two_fields)))
}

/// Every file below a folder. Links are followed, so the depth is bounded.
fn list(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |error| Failure::system("read", folder, &error);
    if depth == 0 {
        return Err(wrong(folder, "folders nest too deeply"));
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.is_dir() {
            true => list(&path, depth - 1, paths)?,
            false => paths.push(path),
        }
    }
    Ok(())
}

/// Longest file of firmware, hardware ids or trees that is read.
const FILE_LEN_MAX: u64 = 64 << 20;

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<Set<'a>, Failure> {
    Set::parse(bytes).map_err(|error| wrong(path, error))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read_up_to(path, FILE_LEN_MAX)
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, "dtbs", format!("{}: {what}", path.display()))
}
