use std::string::{String, ToString as _};
use std::vec::Vec;

use super::*;
use crate::set::{Machine, build};
use crate::testing::{tree, with_chosen};

const LAPTOP: Fields<'static> = Fields {
    manufacturer: Some("Maker"),
    family: Some("Laptops"),
    product_name: Some("L1"),
    product_sku: Some("SKU1"),
    board_manufacturer: Some("Maker"),
    board_product: Some("B1"),
    bios_vendor: Some("Vendor"),
    bios_version: Some("1.0"),
    bios_major: Some(1),
    bios_minor: Some(0),
    enclosure: Some(10),
    panel: None,
};

/// A machine that has these kinds of the laptop's ids.
fn machine(compatible: &str, kinds: &[u8], may_be_weak: bool) -> Machine {
    let kinds = kinds.iter().map(|kind| Kind::from_number(*kind).unwrap());
    let chids = kinds.map(|kind| kind.chid(&LAPTOP).unwrap()).collect();
    Machine { name: compatible.into(), compatible: compatible.into(), chids, may_be_weak }
}

fn set(machines: &[Machine]) -> Vec<u8> {
    let trees: Vec<(String, Vec<u8>)> =
        ["a,one", "b,two", "c,three"].map(|name| (name.to_string(), tree(name))).into();
    build(&trees, machines).unwrap()
}

fn chosen(set: &[u8], fields: &Fields<'_>, firmware: Option<&[u8]>) -> String {
    let set = Set::parse(set).unwrap();
    let firmware = firmware.map(|bytes| Fdt::parse(bytes).unwrap());
    match choose(&set, fields, firmware.as_ref()) {
        Decision::Tree(entry, Grounds::Chid(kind, _)) => {
            std::format!("{} {}", entry.compatible, kind.number())
        }
        Decision::Tree(entry, Grounds::Compatible(_)) => std::format!("{} fw", entry.compatible),
        left @ Decision::Left(_) => left.to_string(),
    }
}

#[test]
fn the_most_exact_id_decides() {
    let all = [
        machine("a,one", &[5, 4], false),
        machine("b,two", &[3], false),
        machine("c,three", &[8, 10], false),
    ];
    assert_eq!(chosen(&set(&all), &LAPTOP, None), "b,two 3");
    assert_eq!(chosen(&set(&[all[0].clone(), all[2].clone()]), &LAPTOP, None), "c,three 8");
    assert_eq!(chosen(&set(&all[..1]), &LAPTOP, None), "a,one 4");
    // Kinds that fit a whole range, or change with the firmware, never do.
    let vague = [machine("a,one", &[0, 1, 2, 12, 13, 14], true)];
    assert_eq!(chosen(&set(&vague), &LAPTOP, None), "none: the set does not know this machine");
}

#[test]
fn two_fields_count_only_where_the_set_says_so() {
    for kind in [7, 9, 11] {
        let said = chosen(&set(&[machine("a,one", &[kind], false)]), &LAPTOP, None);
        assert!(said.starts_with("none: the set knows only id "), "{said}");
        assert!(said.ends_with("which fits other machines as well"), "{said}");
        let allowed = set(&[machine("a,one", &[kind], true)]);
        assert_eq!(chosen(&allowed, &LAPTOP, None), std::format!("a,one {kind}"));
    }
}

/// The server with a tablet's stock number gets no tree; a tablet that is known exactly does.
#[test]
fn a_server_never_gets_the_tree_of_a_tablet() {
    let shared = Chid::parse("7ea8b73b-2cbb-562b-aecc-7f0f64c42630").unwrap();
    let tablet = Machine { chids: [shared].into(), ..machine("a,one", &[], false) };
    let server = Fields {
        manufacturer: Some("HUAWEI"),
        product_sku: Some("C233"),
        product_name: Some("W510"),
        ..Fields::default()
    };
    let said = chosen(&set(&[tablet]), &server, None);
    assert!(said.starts_with("none: the set knows only id 7ea8b73b-"), "{said}");
}

/// The id that three laptops of one maker are listed with is the id of no machine at all.
#[test]
fn a_machine_without_a_stock_number_gets_no_tree_of_its_makers() {
    let empty = Chid::parse("7c107a7f-2d77-51aa-aef8-8d777e26ffbc").unwrap();
    let laptop = Machine { chids: [empty].into(), ..machine("a,one", &[], true) };
    for sku in [None, Some(""), Some("0000"), Some("   ")] {
        let acer = Fields {
            manufacturer: Some("Acer"),
            product_name: Some("SomethingElse"),
            product_sku: sku,
            ..Fields::default()
        };
        let said = chosen(&set(core::slice::from_ref(&laptop)), &acer, None);
        assert_eq!(said, "none: the set does not know this machine");
    }
}

#[test]
fn a_tree_of_the_firmware_is_replaced_by_one_for_the_same_machine_only() {
    // Ids would say something else, and are not asked.
    let set = set(&[machine("a,one", &[3, 5], false)]);
    assert_eq!(chosen(&set, &LAPTOP, Some(&tree("b,two"))), "b,two fw");
    assert_eq!(
        chosen(&set, &LAPTOP, Some(&tree("linux,dummy-virt"))),
        "none: the firmware has its own for linux,dummy-virt, and the set has none for it"
    );
}

#[test]
fn a_tree_that_describes_nothing_is_none() {
    let set = set(&[machine("a,one", &[3], false)]);
    assert_eq!(chosen(&set, &LAPTOP, Some(&tree(""))), "a,one 3");
    assert_eq!(chosen(&set, &LAPTOP, Some(&with_chosen(&tree("")))), "a,one 3");
}

#[test]
fn a_machine_that_says_nothing_is_left_alone() {
    let set = set(&[machine("a,one", &[3], false)]);
    let said = chosen(&set, &Fields::default(), None);
    assert_eq!(said, "none: the firmware does not say what machine this is");
}

#[test]
fn several_trees_for_one_id_are_no_match_and_a_vaguer_id_does_not_settle_it() {
    let machines = [machine("a,one", &[3, 5], false), machine("b,two", &[4], false)];
    let mut bytes = set(&machines);
    // The id of kind 4 becomes that of kind 3: two trees for it, in either order.
    let (three, four) = (machines[0].chids[0].to_table(), machines[1].chids[0].to_table());
    let matches = 32 + 3 * 16;
    let count = 3;
    let mut list: Vec<[u8; 20]> = (0..count)
        .map(|at| bytes[matches + 20 * at..matches + 20 * at + 20].try_into().unwrap())
        .collect();
    for found in &mut list {
        if found[..16] == four {
            found[..16].copy_from_slice(&three);
        }
    }
    list.sort_unstable();
    bytes[matches..matches + 20 * count].copy_from_slice(&list.concat());
    let said = chosen(&bytes, &LAPTOP, None);
    assert!(said.starts_with("none: the set has several for id "), "{said}");
}
