//! What a machine says of itself by SMBIOS, read by us and by dmidecode: version 2 on the PC,
//! version 3 on the Arm machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use stillboot_devicetree::smbios::Entry;
use stillboot_tests::chores::succeed;

use crate::disk::Image;
use crate::machine::{Arch, Hardware, Settings};
use crate::release::Release;

/// Where `dmidecode --from-dump` expects the table.
const TABLE_AT: usize = 32;

/// What the machine is told to say: no stock number, no text of its board's maker.
const IDENTITY: [&str; 4] = [
    "type=0,vendor=Firmware & Sons,version=7.1 beta,date=01/02/2026,release=3.17",
    "type=1,manufacturer=Maker,product=  Laptop 1,family=Laptops,version=v2,serial=s3",
    "type=2,product=Board 0042",
    "type=3,manufacturer=Case Maker",
];

pub fn run(arch: Arch) {
    let image = Image::factory(&Release::new(arch, 1, 0));
    let hardware = Hardware::new(arch, &[image.path()]);
    let identity = IDENTITY.map(str::to_owned).to_vec();
    let mut machine = hardware.start(&Settings { identity, ..Settings::default() });
    machine.ready();
    let [entry, table] = ["smbios_entry_point", "DMI"]
        .map(|name| machine.read(&format!("/sys/firmware/dmi/tables/{name}")));
    drop(machine);
    let anchor = match arch {
        Arch::X86_64 => &b"_SM_"[..],
        Arch::Aarch64 => b"_SM3_",
    };
    assert!(entry.starts_with(anchor), "{entry:x?}");

    let parsed = Entry::parse(&entry).expect("firmware writes a sound one");
    let fields = parsed.table(&table).fields();
    let dump = hardware.path("dump");
    fs::write(&dump, dump_of(entry, &table)).expect("the temporary folder can be written");
    let text = |field: Option<&str>| field.unwrap_or("Not Specified").to_owned();
    let release = fields.bios_major.zip(fields.bios_minor).expect("the release was given");
    for (keyword, ours) in [
        ("system-manufacturer", text(fields.manufacturer)),
        ("system-family", text(fields.family)),
        ("system-product-name", text(fields.product_name)),
        ("system-sku-number", text(fields.product_sku)),
        ("baseboard-manufacturer", text(fields.board_manufacturer)),
        ("baseboard-product-name", text(fields.board_product)),
        ("bios-vendor", text(fields.bios_vendor)),
        ("bios-version", text(fields.bios_version)),
        ("bios-revision", format!("{}.{}", release.0, release.1)),
        // The only kind of case that QEMU has.
        ("chassis-type", (if fields.enclosure == Some(1) { "Other" } else { "" }).to_owned()),
    ] {
        assert_eq!(dmidecode(&dump, keyword), ours, "{keyword} of {}", arch.name());
    }
    assert_eq!(fields.product_sku, None);
    assert_eq!(fields.bios_major, Some(3));
    let entry = anchor.escape_ascii();
    println!("note: SMBIOS on {}: {entry}, 10 fields as dmidecode reads them", arch.name());
}

/// The form that `dmidecode --dump-bin` writes: the entry point, made to lead to the table behind it.
fn dump_of(mut entry: Vec<u8>, table: &[u8]) -> Vec<u8> {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if entry.starts_with(b"_SM3_") {
        entry[16..24].copy_from_slice(&(TABLE_AT as u64).to_le_bytes());
    } else {
        entry[24..28].copy_from_slice(&(TABLE_AT as u32).to_le_bytes());
        entry[21] = 0;
        entry[21] = sum(&entry[16..31]).wrapping_neg();
    }
    let checksum = if entry.starts_with(b"_SM3_") { 5 } else { 4 };
    entry[checksum] = 0;
    entry[checksum] = sum(&entry).wrapping_neg();
    entry.resize(TABLE_AT, 0);
    entry.extend(table);
    entry
}

fn dmidecode(dump: &Path, keyword: &str) -> String {
    let mut dmidecode = Command::new("dmidecode");
    dmidecode.arg("--from-dump").arg(dump).args(["--string", keyword]);
    succeed(&mut dmidecode).trim_end_matches('\n').to_owned()
}
