//! What describes an arm64 machine: its firmware's tables, device trees, sets of them, and the
//! header of a kernel.

use std::ops::Range;

use stillboot_arm64::image::{ALIGNMENT, Image};
use stillboot_devicetree::chid::{Chid, Fields, Kind, Panel};
use stillboot_devicetree::choice::{Decision, Grounds, choose};
use stillboot_devicetree::fdt::edit::{Boot, Change, EditError, Value, edit, room};
use stillboot_devicetree::fdt::{Fdt, Node, Reservation};
use stillboot_devicetree::hwids::{self, Device, Gift, Hwids};
use stillboot_devicetree::set::{self, Found, Machine, Set};
use stillboot_devicetree::smbios::{Entry, Table};

/// The first byte says what is edited, the rest is a tree: it is read the same in every way, and
/// what is written of it says the same except for `/chosen`.
pub fn fdt(data: &[u8]) {
    let Some((choice, tree)) = data.split_first() else { return };
    let Ok(fdt) = Fdt::parse(tree) else { return };
    let count = count(&fdt.root());
    assert_eq!(fdt.nodes().count(), count);
    for (parent, node) in fdt.nodes() {
        assert!(parent.child(node.name()).is_some() || node.name().is_empty());
        let _ = (node.cells(), node.is_enabled(), node.ranges(parent.cells()).count());
        for property in node.properties() {
            assert!(node.property(property.name()).is_some());
            let _ = (property.word(), property.number(), property.strings().count());
        }
    }
    let has = |bit: u8| choice & bit != 0;
    let boot = Boot::new()
        .with_bootargs(has(1).then_some("console=ttyAMA0 quiet"))
        .with_initrd(has(2).then_some(0x4800_0000..0x4810_0000))
        .with_proof(has(4).then_some("1:a:00"))
        .with_rng_seed(has(8).then_some(&[7; 32]));
    let own = Change { name: "model", value: Value::Bytes(&[1]) };
    let mut changes = boot.changes().to_vec();
    changes.extend(has(16).then_some(own));
    let more = vec![Reservation { address: 0x1000, len: 5 }; usize::from(has(32))];
    let mut out = vec![0xaa; room(&fdt, &changes, &more)];
    match edit(&fdt, &changes, &more, &mut out) {
        Ok(len) => {
            let written = Fdt::parse(&out[..len]).expect("what is written is a tree");
            check_edited(&fdt, &written, &changes);
            let reserved = fdt.reservations().chain(more.iter().copied());
            assert!(written.reservations().eq(reserved));
            // The same again changes nothing but the reservations.
            let mut again = vec![0; room(&written, &changes, &[])];
            let len_again = edit(&written, &changes, &[], &mut again).expect("once it was edited");
            check_edited(&written, &Fdt::parse(&again[..len_again]).expect("a tree"), &changes);
            let mut short = vec![0; len.saturating_sub(1 + usize::from(*choice))];
            let error = edit(&fdt, &changes, &more, &mut short).expect_err("there is no room");
            assert!(matches!(error, EditError::Room { .. }));
            assert!(Fdt::parse(&short).is_err());
        }
        Err(error) => assert!(matches!(error, EditError::TwoChosen | EditError::TooLong)),
    }
}

fn count(node: &Node<'_>) -> usize {
    // The depth is bounded by the reader.
    1 + node.children().map(|child| count(&child)).sum::<usize>()
}

/// All nodes and properties, those of `/chosen` apart.
fn lines<'a>(fdt: &Fdt<'a>, changes: &[Change<'_>]) -> Vec<(usize, &'a str, &'a [u8])> {
    fn add<'a>(
        node: &Node<'a>,
        depth: usize,
        skip: &dyn Fn(&str) -> bool,
        lines: &mut Vec<(usize, &'a str, &'a [u8])>,
    ) {
        let is_chosen = depth == 1 && node.name() == "chosen";
        lines.push((depth, node.name(), b"node"));
        for property in node.properties() {
            if !(is_chosen && skip(property.name())) {
                lines.push((depth, property.name(), property.value()));
            }
        }
        node.children().for_each(|child| add(&child, depth + 1, skip, lines));
    }
    let changed = |name: &str| changes.iter().any(|c| c.name == name && c.value != Value::Kept);
    let mut found = Vec::new();
    add(&fdt.root(), 0, &changed, &mut found);
    found
}

fn check_edited(old: &Fdt<'_>, new: &Fdt<'_>, changes: &[Change<'_>]) {
    let mut expected = lines(old, changes);
    if old.node("/chosen").is_none() {
        expected.push((1, "chosen", b"node"));
    }
    assert_eq!(lines(new, changes), expected);
    assert_eq!(new.boot_cpu(), old.boot_cpu());
    let chosen = new.node("/chosen").expect("it is always there");
    for Change { name, value } in changes {
        let found: Vec<_> = chosen.properties().filter(|p| p.name() == *name).collect();
        let expected = match value {
            Value::Kept => continue,
            Value::Absent => None,
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            Value::Text(text) => Some([text.as_bytes(), b"\0"].concat()),
            Value::Long(number) => Some(number.to_be_bytes().to_vec()),
            other => unreachable!("no change here has {other:?}"),
        };
        let found: Vec<_> = found.iter().map(|property| property.value().to_vec()).collect();
        assert_eq!(found, Vec::from_iter(expected), "{name}");
    }
}

/// An entry point with a table behind it, as `dmidecode --dump-bin` writes them, or a table alone.
pub fn smbios(data: &[u8]) {
    let table = data.get(32..).unwrap_or_default();
    let mut tables = vec![Table::new(data), Table::new(table)];
    tables.extend(Entry::parse(data).ok().map(|entry| entry.table(table)));
    for table in tables {
        let size: usize = table.structures().map(|s| usize::from(s.byte(1).unwrap_or(0))).sum();
        assert!(size <= data.len());
        let fields = Fields { panel: Panel::from_edid(data), ..table.fields() };
        check_ids(&fields);
    }
    if let Some(panel) = Panel::from_edid(data) {
        assert_eq!(panel.name().len(), 7);
    }
}

/// No id is made of an empty field: emptying any field that an id is made of ends it.
fn check_ids(fields: &Fields<'_>) {
    for kind in Kind::all() {
        let Some(chid) = kind.chid(fields) else { continue };
        assert_ne!(chid, Chid::NIL);
        assert_eq!(Chid::parse(&chid.to_string()), Some(chid));
        assert_eq!(Chid::from_table(chid.to_table()), chid);
        assert_eq!(kind.chid(&Fields { manufacturer: Some(" 0 "), ..*fields }), None, "{kind}");
        for empty in [
            Fields { product_sku: Some(""), ..*fields },
            Fields { family: None, ..*fields },
            Fields { product_name: Some("00"), ..*fields },
            Fields { board_product: None, ..*fields },
            Fields { panel: None, ..*fields },
        ] {
            let found = kind.chid(&empty);
            assert!(found.is_none() || found == Some(chid), "{kind}");
        }
    }
}

/// A table of ids, as unified kernel images carry it: what is accepted means the same when it is
/// written again.
pub fn hwids(data: &[u8]) {
    let Ok(table) = Hwids::parse(data) else { return };
    let devices: Vec<_> = table.devices().collect();
    assert!(devices.iter().all(|device| device.chid != Chid::NIL));
    let written = hwids::write(&devices).expect("what was read can be written");
    let again = Hwids::parse(&written).expect("what is written can be read");
    assert!(again.devices().eq(devices));
}

/// A set of trees: finding by steps finds what looking at everything finds.
pub fn dtbs(data: &[u8]) {
    let Ok(set) = Set::parse(data) else { return };
    let (entries, matches): (Vec<_>, Vec<_>) = (set.entries().collect(), set.matches().collect());
    assert_eq!(entries.len(), set.len());
    for entry in &entries {
        let alike = entries.iter().filter(|other| other.compatible == entry.compatible).count();
        let expected = if alike == 1 { Found::One(*entry) } else { Found::Several };
        assert_eq!(set.by_compatible(entry.compatible), expected);
        if let Ok(tree) = set.fdt(entry) {
            assert_eq!(tree.compatibles().next(), Some(entry.compatible));
        }
    }
    for found in &matches {
        let mut alike = matches.iter().filter(|other| other.chid == found.chid);
        let is_one = alike.all(|other| other.tree == found.tree);
        match set.by_chid(found.chid) {
            Found::One(one) => assert!(is_one && one.tree == found.tree),
            Found::Several => assert!(!is_one),
            Found::Nothing => panic!("{} is in the set", found.chid),
        }
    }
    for firmware in [None, entries.first().and_then(|entry| set.fdt(entry).ok())] {
        match choose(&set, &LAPTOP, firmware.as_ref()) {
            Decision::Tree(entry, Grounds::Chid(kind, chid)) => {
                let mut found = matches.iter().filter(|found| found.chid == chid);
                assert!(found.all(|found| found.tree == entry.tree));
                assert!(kind.chid(&LAPTOP) == Some(chid));
                assert!(!kind.is_weak() || matches.iter().any(|m| m.chid == chid && m.may_be_weak));
            }
            Decision::Tree(entry, Grounds::Compatible(name)) => assert_eq!(entry.compatible, name),
            Decision::Tree(_, grounds) => unreachable!("no tree is chosen by {grounds:?}"),
            Decision::Left(_) => {}
        }
    }
}

/// A kernel's header, with three ranges behind it: the place is free, aligned, and the lowest.
pub fn image(data: &[u8]) {
    let Ok(image) = Image::parse(data) else { return };
    let number = |at: usize| {
        let bytes = data.get(64 + 4 * at..68 + 4 * at).and_then(|bytes| bytes.try_into().ok());
        // Fine enough to be unaligned, large enough for kernels.
        u64::from(bytes.map_or(0, u32::from_le_bytes)) << 4
    };
    let range = |at: usize| number(at)..number(at).saturating_add(number(at + 1));
    let (memory, taken) = ([range(0)], [range(2), range(4)]);
    let is_free = |start: u64| {
        let end = start + image.size;
        let apart =
            |taken: &Range<u64>| taken.is_empty() || taken.end <= start || end <= taken.start;
        memory[0].start <= start && end <= memory[0].end && taken.iter().all(apart)
    };
    let place = image.place(&memory, &taken);
    if let Some(start) = place {
        assert!(is_free(start) && start % ALIGNMENT == image.text_offset, "{start:x}");
    }
    // One by one, for a while.
    let first = memory[0].start.next_multiple_of(ALIGNMENT) + image.text_offset;
    let all = (0..64).map(|step| first + step * ALIGNMENT);
    if let Some(naive) = all.into_iter().find(|start| is_free(*start)) {
        assert_eq!(place, Some(naive));
    }
}

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
    bios_minor: Some(2),
    enclosure: Some(10),
    panel: None,
};

/// A small tree with everything in it that a tree can have, for a machine called `compatible`.
#[must_use]
pub fn tree(compatible: &str) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut structure: Vec<u8> = Vec::new();
    let put = |structure: &mut Vec<u8>, bytes: &[u8]| {
        structure.extend(bytes);
        structure.resize(structure.len().next_multiple_of(4), 0);
    };
    let begin = |structure: &mut Vec<u8>, name: &str| {
        structure.extend(1_u32.to_be_bytes());
        put(structure, &[name.as_bytes(), b"\0"].concat());
    };
    let mut property = |structure: &mut Vec<u8>, name: &str, value: &[u8]| {
        let words = [3, value.len() as u32, strings.len() as u32];
        structure.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        put(structure, value);
        strings.extend([name.as_bytes(), b"\0"].concat());
    };
    let leave = |structure: &mut Vec<u8>| structure.extend(2_u32.to_be_bytes());
    begin(&mut structure, "");
    property(&mut structure, "compatible", &[compatible.as_bytes(), b"\0maker,any\0"].concat());
    property(&mut structure, "#address-cells", &2_u32.to_be_bytes());
    structure.extend(4_u32.to_be_bytes());
    begin(&mut structure, "memory@40000000");
    property(&mut structure, "reg", &[0, 0, 0, 0, 0x40, 0, 0, 0, 8, 0, 0, 0]);
    leave(&mut structure);
    begin(&mut structure, "chosen");
    property(&mut structure, "bootargs", b"init=/bin/sh\0");
    leave(&mut structure);
    leave(&mut structure);
    structure.extend(9_u32.to_be_bytes());
    let reservations = [0, 0x1000_u64, 0, 0].map(u64::to_be_bytes).concat();
    let (structure_at, len) = (40 + reservations.len(), structure.len());
    let strings_at = structure_at + len;
    let total = strings_at + strings.len();
    let header = [0xd00d_feed, total, structure_at, strings_at, 40, 17, 16, 0, strings.len(), len];
    let header = header.map(|word| (word as u32).to_be_bytes()).concat();
    [header, reservations, structure, strings].concat()
}

/// Inputs to start from, for the targets of this file.
#[must_use]
pub(super) fn seeds(name: &str) -> Vec<Vec<u8>> {
    let id = |kind: u8| Kind::from_number(kind).and_then(|kind| kind.chid(&LAPTOP));
    let ids: Vec<_> = [3, 5, 7].into_iter().filter_map(id).collect();
    match name {
        "fdt" => [0, 0x3f].map(|choice| [&[choice][..], &tree("maker,one")].concat()).to_vec(),
        "smbios" => {
            let mut system = vec![1, 0x1b, 0, 1, 1, 2, 0, 0];
            system.resize(0x19, 0);
            system.extend([3, 4]);
            system.extend(b"Maker\0L1\0SKU1\0Laptops\0\0");
            let board = b"\x02\x08\0\x02\x01\x02\0\0Maker\0B1\0\0\x7f\x04\0\x03\0\0";
            let table = [&system[..], board].concat();
            let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
            let mut three = b"_SM3_\0\x18\x03\x03\0\x01\0".to_vec();
            three.extend((table.len() as u32).to_le_bytes());
            three.extend(32_u64.to_le_bytes());
            three[5] = sum(&three);
            three.resize(32, 0);
            // The older form: an entry point with two sums, which says where the table is.
            let mut two = b"_SM_\0\x1f\x02\x08\x40\0\0\0\0\0\0\0_DMI_\0".to_vec();
            two.extend((table.len() as u16).to_le_bytes());
            two.extend(32_u32.to_le_bytes());
            two.extend(b"\x02\0\x28");
            two[0x15] = sum(&two[0x10..]);
            two[4] = sum(&two);
            assert!(Entry::parse(&two).is_ok());
            two.resize(32, 0);
            let mut edid = vec![0, 255, 255, 255, 255, 255, 255, 0, 0x4c, 0x83, 0x95, 0x41];
            edid.resize(128, 0);
            vec![table.clone(), [two, table.clone()].concat(), [three, table].concat(), edid]
        }
        "hwids" => {
            let device = |(at, chid): (usize, &Chid)| Device {
                gift: if at == 1 { Gift::Firmware } else { Gift::Tree },
                chid: *chid,
                name: Some("A laptop"),
                compatible: (at != 1).then_some("maker,one"),
            };
            let devices: Vec<_> = ids.iter().enumerate().map(device).collect();
            hwids::write(&devices).into_iter().collect()
        }
        "dtbs" => {
            let trees = ["maker,one", "maker,two"].map(|name| (name.to_owned(), tree(name)));
            let machine = |at: usize, may_be_weak| {
                Machine::new("A laptop", &*trees[at % 2].0, [ids[at]]).with_weak(may_be_weak)
            };
            let machines = [machine(0, false), machine(1, false), machine(2, true)];
            let weak = [machine(2, true)];
            let sets = [&machines[..], &weak].map(|machines| set::build(&trees, machines));
            sets.into_iter().flatten().collect()
        }
        "image" => {
            let mut header = vec![0; 64 + 24];
            header[..2].copy_from_slice(b"MZ");
            header[17] = 0x80;
            header[18] = 2;
            header[24] = 0xa;
            header[56..60].copy_from_slice(b"ARM\x64");
            for (at, number) in
                [0x400_0000_u32, 0x80_0000, 0x400_0000, 16, 0x420_0000, 9].iter().enumerate()
            {
                header[64 + 4 * at..68 + 4 * at].copy_from_slice(&number.to_le_bytes());
            }
            vec![header]
        }
        _ => Vec::new(),
    }
}
