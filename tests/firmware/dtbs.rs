//! All of Debian's device trees for arm64, read as `fdtget` reads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillboot_devicetree::chid::{Chid, Fields, Kind};
use stillboot_devicetree::choice::{Decision, choose};
use stillboot_devicetree::fdt::Fdt;
use stillboot_devicetree::fdt::edit::{Change, Value, edit, room};
use stillboot_devicetree::set::{self, Machine, Set};

/// The trees of the newest kernel, by name.
fn trees() -> BTreeMap<PathBuf, Vec<u8>> {
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernels/arm64");
    let version = fs::read_to_string(kernels.join("generic.txt"));
    let version = version.expect("`cargo xtask kernels` fetches them");
    let mut found = BTreeMap::new();
    let mut folders = vec![kernels.join(version.trim()).join("dtbs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("`cargo xtask kernels` fetches them") {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "dtb" => {
                    found.insert(path.clone(), fs::read(&path).unwrap());
                }
                _ => {}
            }
        }
    }
    assert!(found.len() > 500, "a kernel has many more than {} trees", found.len());
    found
}

fn fdtget(options: &[&str], path: &Path, words: &[&str]) -> String {
    let output = Command::new("fdtget").args(options).arg(path).args(words).output();
    let output = output.expect("fdtget is there: `cargo xtask setup` brings it");
    assert!(output.status.success(), "{}: {output:?}", path.display());
    String::from_utf8(output.stdout).unwrap().trim_end_matches('\n').to_owned()
}

#[test]
#[ignore = "needs Debian's trees: a kernel package"]
fn every_tree_reads_as_fdtget_reads_it() {
    let trees = trees();
    for (path, bytes) in &trees {
        let fdt = Fdt::parse(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let compatibles: Vec<_> = fdt.compatibles().collect();
        assert_eq!(compatibles.join(" "), fdtget(&["-ts"], path, &["/", "compatible"]));
        let model = fdtget(&["-ts", "-d", ""], path, &["/", "model"]);
        assert_eq!(fdt.model().unwrap_or_default(), model, "{}", path.display());
        let children: Vec<_> = fdt.root().children().map(|child| child.name()).collect();
        assert_eq!(children.join("\n"), fdtget(&["-l"], path, &["/"]), "{}", path.display());
    }
    println!("{} trees", trees.len());
}

#[test]
#[ignore = "needs Debian's trees: a kernel package"]
fn what_a_boot_adds_to_any_tree_is_read_back_by_fdtget() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edited.dtb");
    // One of each maker's folder, and they are all different.
    let mut of_folders = BTreeMap::new();
    for (name, bytes) in trees() {
        of_folders.insert(name.parent().unwrap().to_owned(), (name, bytes));
    }
    for (name, bytes) in of_folders.values() {
        let fdt = Fdt::parse(bytes).unwrap();
        let changes = [
            Change { name: "bootargs", value: Value::Text("console=ttyAMA0 quiet") },
            Change { name: "linux,initrd-start", value: Value::Long(0x1_4000_0000) },
        ];
        let mut out = vec![0; room(&fdt, &changes, &[])];
        let len = edit(&fdt, &changes, &[], &mut out).unwrap();
        fs::write(&path, &out[..len]).unwrap();
        let args = fdtget(&["-ts"], &path, &["/chosen", "bootargs"]);
        assert_eq!(args, "console=ttyAMA0 quiet", "{}", name.display());
        assert_eq!(fdtget(&["-tx"], &path, &["/chosen", "linux,initrd-start"]), "1 40000000");
        assert_eq!(fdtget(&["-l"], &path, &["/"]).replace("chosen\n", ""), {
            fdtget(&["-l"], name, &["/"]).replace("chosen\n", "")
        });
        assert_eq!(
            fdtget(&["-ts"], &path, &["/", "compatible"]),
            fdtget(&["-ts"], name, &["/", "compatible"])
        );
    }
}

#[test]
#[ignore = "needs Debian's trees: a kernel package"]
fn each_tree_is_found_for_its_machine_among_all_of_them() {
    let (mut files, mut machines) = (BTreeMap::new(), Vec::new());
    let skus: Vec<String> = (0..trees().len()).map(|number| format!("SKU {number}")).collect();
    let fields =
        |sku| Fields { manufacturer: Some("Maker"), product_sku: Some(sku), ..Fields::default() };
    // Several boards share a first compatible; a set has one tree for each.
    for (path, bytes) in trees() {
        let compatible = Fdt::parse(&bytes).unwrap().compatibles().next().unwrap().to_owned();
        files.entry(compatible).or_insert((path.display().to_string(), bytes));
    }
    let mut chids: Vec<Chid> = Vec::new();
    for (sku, compatible) in skus.iter().zip(files.keys()) {
        let number = Kind::from_number(7).expect("by maker and SKU");
        chids.push(number.chid(&fields(sku)).unwrap());
        let chid = *chids.last().unwrap();
        machines.push(Machine::new(&**compatible, &**compatible, [chid]).with_weak(true));
    }
    let compatibles: Vec<_> = files.keys().cloned().collect();
    let files: Vec<_> = files.into_values().collect();
    let bytes = set::build(&files, &machines).unwrap();
    let set = Set::parse(&bytes).unwrap();
    for (sku, compatible) in skus.iter().zip(&compatibles) {
        match choose(&set, &fields(sku), None) {
            Decision::Tree(entry, _) => {
                assert_eq!(entry.compatible, compatible);
                set.fdt(&entry).unwrap();
            }
            Decision::Left(left) => panic!("{compatible}: {left}"),
        }
    }
    println!("{} trees, {} bytes", set.len(), bytes.len());
}
