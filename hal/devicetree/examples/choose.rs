//! How long it takes to find one machine's tree among a thousand, in microseconds.

use std::hint::black_box;
use std::time::Instant;

use stillboot_devicetree::chid::{Fields, Kind};
use stillboot_devicetree::choice::{Decision, choose};
use stillboot_devicetree::fdt::Fdt;
use stillboot_devicetree::set::{self, Machine, Set};

const TREES: usize = 1000;
/// Ids of each machine: as many as public lists have for one.
const IDS: usize = 12;
/// As large as those that come with kernels.
const TREE_LEN: usize = 48 << 10;
const RUNS: usize = 201;

fn main() {
    let skus: Vec<String> = (0..TREES * IDS).map(|number| format!("SKU {number}")).collect();
    let fields = |sku: usize| Fields {
        manufacturer: Some("Maker"),
        family: Some("Family"),
        product_name: Some("Product"),
        product_sku: Some(&skus[sku]),
        board_manufacturer: Some("Maker"),
        board_product: Some("Board"),
        ..Fields::default()
    };
    // The last kind that counts without an opt-in, so all before it are looked for in vain.
    let kind = Kind::BY_PRIORITY
        .into_iter()
        .rfind(|kind| !kind.is_weak() && kind.chid(&fields(0)) != kind.chid(&fields(1)));
    let kind = kind.expect("some kinds count by themselves, and have the SKU in them");
    let (mut trees, mut machines) = (Vec::new(), Vec::new());
    for tree in 0..TREES {
        let compatible = format!("vendor,board-{tree}");
        let ids = (0..IDS).map(|id| kind.chid(&fields(tree * IDS + id)).expect("all are there"));
        machines.push(Machine::new(&*compatible, &*compatible, ids.collect::<Vec<_>>()));
        trees.push((format!("board-{tree}.dtb"), tree_of(&compatible)));
    }
    let bytes = set::build(&trees, &machines).expect("no two of them are alike");
    let known = fields(TREES * IDS / 2);
    let unknown = Fields { product_sku: Some("none of them"), ..known };
    let virt = tree_of("vendor,board-777");
    println!(
        "{TREES} trees, {} ids, {} bytes, by kind {}",
        TREES * IDS,
        bytes.len(),
        kind.number()
    );
    for (what, fields, firmware) in [
        ("by id", known, None),
        ("by the firmware's tree", unknown, Some(&virt[..])),
        ("unknown", unknown, None),
    ] {
        let mut times: Vec<_> = (0..RUNS)
            .map(|_| {
                let begin = Instant::now();
                let set = Set::parse(black_box(&bytes)).expect("it was just built");
                let firmware = firmware.map(|bytes| Fdt::parse(bytes).expect("it was just built"));
                match choose(&set, &fields, firmware.as_ref()) {
                    Decision::Tree(entry, _) => {
                        black_box(set.fdt(&entry).expect("it was just built"));
                    }
                    left @ Decision::Left(_) => assert_eq!(what, "unknown", "{left}"),
                }
                begin.elapsed()
            })
            .collect();
        times.sort();
        let micros = |at: usize| times[at].as_secs_f64() * 1e6;
        println!(
            "{what:24} median {:8.1} us, longest {:8.1} us",
            micros(RUNS / 2),
            micros(RUNS - 1)
        );
    }
}

/// A tree for a machine, with one long property.
fn tree_of(compatible: &str) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut structure = Vec::new();
    structure.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    for (name, value) in
        [("compatible", format!("{compatible}\0").into_bytes()), ("padding", vec![0; TREE_LEN])]
    {
        structure
            .extend([3, value.len() as u32, strings.len() as u32].map(u32::to_be_bytes).concat());
        structure.extend(&value);
        structure.resize(structure.len().next_multiple_of(4), 0);
        strings.extend(name.bytes().chain([0]));
    }
    structure.extend([2_u32, 9].map(u32::to_be_bytes).concat());
    let at = 40 + 16;
    let header = [
        0xD00D_FEED,
        at + structure.len() + strings.len(),
        at,
        at + structure.len(),
        40,
        17,
        16,
        0,
        strings.len(),
        structure.len(),
    ];
    let header = header.map(|word| (word as u32).to_be_bytes()).concat();
    [&header[..], &[0; 16], &structure, &strings].concat()
}
