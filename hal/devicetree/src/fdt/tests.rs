use std::vec;
use std::vec::Vec;

use super::edit::{Boot, Change, EditError, Value, edit, room};
use super::*;

/// Writes trees token by token, sound ones and others.
#[derive(Default)]
struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
    reservations: Vec<u8>,
}

impl Tree {
    fn word(mut self, word: u32) -> Self {
        self.structure.extend(word.to_be_bytes());
        self
    }

    fn bytes_of(mut self, bytes: &[u8]) -> Self {
        self.structure.extend(bytes);
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
        self
    }

    fn begin(self, name: &str) -> Self {
        self.word(BEGIN_NODE).bytes_of(&[name.as_bytes(), b"\0"].concat())
    }

    fn property(mut self, name: &str, value: &[u8]) -> Self {
        let name_at = self.strings.len() as u32;
        self.strings.extend([name.as_bytes(), b"\0"].concat());
        self.word(PROPERTY).word(value.len() as u32).word(name_at).bytes_of(value)
    }

    fn leave(self) -> Self {
        self.word(END_NODE)
    }

    fn reserve(mut self, address: u64, len: u64) -> Self {
        self.reservations.extend(address.to_be_bytes());
        self.reservations.extend(len.to_be_bytes());
        self
    }

    fn build(self) -> Vec<u8> {
        let structure = self.word(END);
        let reservations = [&structure.reservations[..], &[0; 16]].concat();
        let structure_at = HEADER_LEN + reservations.len();
        let strings_at = structure_at + structure.structure.len();
        let len = strings_at + structure.strings.len();
        let words = [
            MAGIC as usize,
            len,
            structure_at,
            strings_at,
            HEADER_LEN,
            17,
            16,
            3,
            structure.strings.len(),
            structure.structure.len(),
        ];
        let header = words.iter().flat_map(|word| (*word as u32).to_be_bytes()).collect::<Vec<_>>();
        [&header[..], &reservations, &structure.structure, &structure.strings].concat()
    }
}

/// A small machine.
fn machine() -> Tree {
    Tree::default()
        .reserve(0x8000_0000, 0x1000)
        .begin("")
        .property("compatible", b"maker,board-2\0maker,board\0")
        .property("model", b"Maker Board 2\0")
        .property("#address-cells", &2_u32.to_be_bytes())
        .property("#size-cells", &2_u32.to_be_bytes())
        .word(NOP)
        .begin("soc")
        .begin("serial@9000000")
        .property("compatible", b"arm,pl011\0")
        .property("status", b"disabled\0")
        .leave()
        .leave()
        .begin("memory@40000000")
        .property("reg", &[0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
        .leave()
}

fn whole() -> Vec<u8> {
    machine().leave().build()
}

fn rule(tree: Tree) -> &'static str {
    match Fdt::parse(&tree.build()) {
        Err(FdtError::Structure { rule, .. }) => rule,
        other => panic!("{other:?}"),
    }
}

/// What a tree says, line by line, whatever its bytes look like.
fn lines(fdt: &Fdt<'_>) -> Vec<std::string::String> {
    let mut lines = vec![];
    for (parent, node) in fdt.nodes() {
        lines.push(std::format!("{}/{}", parent.name(), node.name()));
        for property in node.properties() {
            lines.push(std::format!("{} {:02x?}", property.name(), property.value()));
        }
    }
    lines
}

#[test]
fn a_tree_is_read() {
    let bytes = whole();
    let fdt = Fdt::parse(&bytes).unwrap();
    assert_eq!(fdt.compatibles().collect::<Vec<_>>(), ["maker,board-2", "maker,board"]);
    assert_eq!(fdt.model(), Some("Maker Board 2"));
    assert_eq!(fdt.boot_cpu(), 3);
    assert_eq!(
        fdt.reservations().collect::<Vec<_>>(),
        [Reservation { address: 0x8000_0000, len: 0x1000 }]
    );
    let names: Vec<_> = fdt.root().children().map(|node| node.name()).collect();
    assert_eq!(names, ["soc", "memory@40000000"]);
    let serial = fdt.node("/soc/serial@9000000").unwrap();
    assert!(serial.is_compatible("arm,pl011") && !serial.is_enabled());
    assert!(fdt.root().is_enabled());
    assert_eq!(fdt.root().cells(), (2, 2));
    let memory = fdt.node("/memory@40000000").unwrap();
    let ranges: Vec<_> = memory.ranges(fdt.root().cells()).collect();
    assert_eq!(ranges, [(0x4000_0000, 0x1_0000_0000)]);
    assert_eq!(memory.ranges((3, 2)).count(), 0);
    assert!(fdt.node("/soc/serial").is_none() && fdt.node("soc").is_none());
    let all: Vec<_> = fdt.nodes().map(|(parent, node)| (parent.name(), node.name())).collect();
    let expected = [("", ""), ("", "soc"), ("soc", "serial@9000000"), ("", "memory@40000000")];
    assert_eq!(all, expected);
}

#[test]
fn what_follows_a_tree_does_not_count() {
    let mut bytes = whole();
    let len = bytes.len();
    bytes.extend([0xff; 9]);
    assert_eq!(Fdt::parse(&bytes).unwrap().bytes().len(), len);
    assert_eq!(Fdt::len_of(&bytes[..HEADER_LEN]), Ok(len));
}

#[test]
fn every_cut_is_refused() {
    let bytes = whole();
    for len in 0..bytes.len() {
        // Cut, and cut with a header that agrees.
        assert!(Fdt::parse(&bytes[..len]).is_err(), "{len}");
        let mut cut = bytes[..len].to_vec();
        if len >= HEADER_LEN {
            cut[4..8].copy_from_slice(&(len as u32).to_be_bytes());
            assert!(Fdt::parse(&cut).is_err(), "{len}");
        }
    }
}

#[test]
fn any_changed_byte_is_read_or_refused_without_a_panic() {
    let bytes = whole();
    let mut out = vec![0; 4096];
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x10] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let Ok(fdt) = Fdt::parse(&changed) else { continue };
            let _ = (lines(&fdt), fdt.model(), fdt.compatibles().count());
            let changes = Boot { bootargs: Some("x"), ..Boot::default() }.changes();
            match edit(&fdt, &changes, &[], &mut out) {
                Ok(len) => assert!(Fdt::parse(&out[..len]).is_ok()),
                Err(error) => assert_eq!(error, EditError::TwoChosen),
            }
        }
    }
}

#[test]
fn blocks_that_lead_outside_are_refused() {
    let bytes = whole();
    for (field, name) in [(2, "structure"), (3, "strings"), (4, "reservations")] {
        for value in [0, 39, 1 << 20, u32::MAX, u32::MAX - 3] {
            let mut changed = bytes.clone();
            changed[4 * field..][..4].copy_from_slice(&value.to_be_bytes());
            assert_eq!(Fdt::parse(&changed).unwrap_err(), FdtError::Block { name }, "{value}");
        }
    }
    for (field, name) in [(8, "strings"), (9, "structure")] {
        for value in [1 << 20, u32::MAX] {
            let mut changed = bytes.clone();
            changed[4 * field..][..4].copy_from_slice(&value.to_be_bytes());
            assert_eq!(Fdt::parse(&changed).unwrap_err(), FdtError::Block { name }, "{value}");
        }
    }
}

#[test]
fn headers_of_another_kind_are_refused() {
    let with = |field: usize, value: u32| {
        let mut changed = whole();
        changed[4 * field..][..4].copy_from_slice(&value.to_be_bytes());
        Fdt::parse(&changed).unwrap_err()
    };
    assert_eq!(with(0, 7), FdtError::Magic { found: 7 });
    assert_eq!(with(1, 39), FdtError::Size { found: 39 });
    assert_eq!(with(1, 0x20_0001), FdtError::Size { found: 0x20_0001 });
    assert_eq!(with(5, 16), FdtError::Version { found: 16, compatible: 16 });
    assert_eq!(with(6, 18), FdtError::Version { found: 17, compatible: 18 });
}

/// A reader that looks for the end by a fixed count, or takes the first `compatible` it finds,
/// takes the child's for the machine's.
#[test]
fn the_compatible_of_a_child_is_never_the_machines() {
    let tree = Tree::default().begin("").begin("x").property("compatible", b"a,b\0").leave();
    let bytes = tree.leave().build();
    assert_eq!(Fdt::parse(&bytes).unwrap().compatibles().count(), 0);
    let early = Tree::default().begin("").begin("x").leave();
    let late = early.property("compatible", b"a,b\0").leave();
    assert_eq!(rule(late), "a property behind a child");
}

#[test]
fn a_compatible_without_an_end_is_none() {
    for value in [&b"a,b"[..], b"", b"a,b\0c", b"a\x01b\0", b"a\xffb\0"] {
        let bytes = Tree::default().begin("").property("compatible", value).leave().build();
        assert_eq!(Fdt::parse(&bytes).unwrap().compatibles().count(), 0, "{value:?}");
    }
}

#[test]
fn structures_that_break_a_rule_are_refused() {
    let new = Tree::default;
    assert_eq!(rule(new()), "it ends inside of a node, or without any");
    assert_eq!(rule(new().word(NOP).word(NOP)), "it ends inside of a node, or without any");
    assert_eq!(rule(new().begin("")), "it ends inside of a node, or without any");
    assert_eq!(rule(new().begin("root").leave()), "the root has a name");
    assert_eq!(rule(new().begin("").leave().begin("").leave()), "something follows the root");
    assert_eq!(rule(new().leave()), "a node ends that did not begin");
    assert_eq!(rule(new().property("a", b"")), "a property outside of nodes");
    assert_eq!(rule(new().begin("").word(7).leave()), "an unknown token");
    assert_eq!(
        rule(new().begin("").begin("").leave().leave()).split(',').next(),
        Some("a node has no name")
    );
    let lost = new().begin("").word(PROPERTY).word(0).word(99).leave();
    assert_eq!(rule(lost), "a property's name is not there");
    let long = new().begin("").property("a", b"").word(PROPERTY).word(u32::MAX).word(0).leave();
    assert_eq!(rule(long), "a property's value is cut short");
    let deep = (0..=DEPTH_MAX).fold(new().begin(""), |tree, _| tree.begin("x"));
    assert_eq!(rule(deep), "nodes nest too deeply");
    let mut endless = new().begin("").word(BEGIN_NODE);
    endless.structure.extend([b'x'; 64]);
    let mut endless = endless.build();
    // Without the token that ends it, and without a zero.
    let len = endless.len() - 4;
    endless.truncate(len);
    endless[4..8].copy_from_slice(&(len as u32).to_be_bytes());
    endless[36..40].copy_from_slice(&72_u32.to_be_bytes());
    endless[12..16].copy_from_slice(&(len as u32).to_be_bytes());
    assert!(matches!(
        Fdt::parse(&endless),
        Err(FdtError::Structure { rule: "a node's name has no end", .. })
    ));
}

#[test]
fn nodes_at_the_greatest_depth_are_read() {
    let deep = (1..DEPTH_MAX).fold(Tree::default().begin(""), |tree, _| tree.begin("x"));
    let bytes = (0..DEPTH_MAX).fold(deep, |tree, _| tree.leave()).build();
    let fdt = Fdt::parse(&bytes).unwrap();
    assert_eq!(fdt.nodes().count(), DEPTH_MAX);
    let mut out = vec![0; 4096];
    assert!(edit(&fdt, &[], &[], &mut out).is_ok());
}

fn edited(bytes: &[u8], chosen: &[Change<'_>], reservations: &[Reservation]) -> Vec<u8> {
    let fdt = Fdt::parse(bytes).unwrap();
    let room = room(&fdt, chosen, reservations);
    let mut out = vec![0xaa; room];
    let len = edit(&fdt, chosen, reservations, &mut out).unwrap();
    // The least buffer is as good as a large one, and one byte less is refused and holds no tree.
    let mut exact = vec![0xaa; len];
    assert_eq!(edit(&fdt, chosen, reservations, &mut exact), Ok(len));
    assert_eq!(exact, out[..len]);
    for short in 0..len {
        let mut out = vec![0xaa; short];
        let error = edit(&fdt, chosen, reservations, &mut out).unwrap_err();
        assert_eq!(error, EditError::Room { needed: room, found: short });
        assert!(Fdt::parse(&out).is_err());
    }
    exact
}

const BOOT: Boot<'static> = Boot {
    bootargs: Some("console=ttyAMA0"),
    initrd: Some(0x4800_0000..0x4800_1234),
    proof: Some("1:a"),
    rng_seed: Some(&[1, 2, 3]),
};

#[test]
fn chosen_is_added_where_there_is_none_and_all_else_stays() {
    let bytes = whole();
    let more = [Reservation { address: 0x9000_0000, len: 5 }];
    let out = edited(&bytes, &BOOT.changes(), &more);
    let (old, new) = (Fdt::parse(&bytes).unwrap(), Fdt::parse(&out).unwrap());
    let chosen = new.node("/chosen").unwrap();
    let value = |name| chosen.property(name).unwrap().value();
    assert_eq!(value("bootargs"), b"console=ttyAMA0\0");
    assert_eq!(value("linux,initrd-start"), 0x4800_0000_u64.to_be_bytes());
    assert_eq!(value("linux,initrd-end"), 0x4800_1234_u64.to_be_bytes());
    assert_eq!(value("stillboot,proof"), b"1:a\0");
    assert_eq!(value("rng-seed"), [1, 2, 3]);
    let kept: Vec<_> = lines(&new).into_iter().take(lines(&old).len()).collect();
    assert_eq!(kept, lines(&old));
    assert_eq!(new.nodes().count(), old.nodes().count() + 1);
    assert_eq!(
        new.reservations().collect::<Vec<_>>(),
        old.reservations().chain(more).collect::<Vec<_>>()
    );
    assert_eq!(new.boot_cpu(), 3);
    // Again, with what is there already: the same tree.
    assert_eq!(edited(&out, &BOOT.changes(), &[]), out);
}

#[test]
fn what_is_not_given_is_removed_but_for_randomness() {
    let tree = machine().begin("chosen").property("bootargs", b"init=/bin/sh\0");
    let tree = tree.property("linux,initrd-start", &[0; 8]).property("linux,initrd-end", &[0; 8]);
    let tree = tree.property("stillboot,proof", b"1:forged\0").property("rng-seed", &[7; 32]);
    let bytes = tree.property("stdout-path", b"/soc\0").begin("inner").leave().leave().leave();
    let out = edited(&bytes.build(), &Boot::default().changes(), &[]);
    let fdt = Fdt::parse(&out).unwrap();
    let chosen = fdt.node("/chosen").unwrap();
    let names: Vec<_> = chosen.properties().map(|property| property.name()).collect();
    assert_eq!(names, ["rng-seed", "stdout-path"]);
    assert!(chosen.child("inner").is_some());
}

#[test]
fn only_the_chosen_of_the_root_is_changed() {
    let tree = Tree::default().begin("").begin("soc").begin("chosen");
    let bytes = tree.property("bootargs", b"x\0").leave().leave().leave().build();
    let out = edited(&bytes, &BOOT.changes(), &[]);
    let fdt = Fdt::parse(&out).unwrap();
    assert_eq!(fdt.node("/soc/chosen").unwrap().property("bootargs").unwrap().value(), b"x\0");
    assert!(fdt.node("/chosen").is_some());
}

#[test]
fn edits_that_cannot_be_told_are_refused() {
    let bytes = whole();
    let fdt = Fdt::parse(&bytes).unwrap();
    let mut out = vec![0; 4096];
    let mut refused = |changes: &[Change<'_>]| edit(&fdt, changes, &[], &mut out).unwrap_err();
    let change = |name, value| Change { name, value };
    assert_eq!(refused(&[change("a", Value::Text("x\0y"))]), EditError::Text);
    assert_eq!(refused(&[change("", Value::Absent)]), EditError::Text);
    assert_eq!(refused(&[change("a b", Value::Absent)]), EditError::Text);
    assert_eq!(refused(&[change("a", Value::Absent); 2]), EditError::Text);
    let long = vec![0; LEN_MAX];
    let too_long = edit(&fdt, &[change("a", Value::Bytes(&long))], &[], &mut vec![0; 3 << 20]);
    assert_eq!(too_long, Err(EditError::TooLong));
    assert_eq!(edit(&fdt, &[], &[Reservation::LAST], &mut out), Err(EditError::Reservation));
    let twice = machine().begin("chosen").leave().begin("chosen").leave().leave().build();
    let twice = Fdt::parse(&twice).unwrap();
    assert_eq!(edit(&twice, &[], &[], &mut out), Err(EditError::TwoChosen));
}

/// The last string has no zero behind it; a name that is added must not become its end.
#[test]
fn strings_without_an_end_do_not_run_into_added_ones() {
    let mut bytes = whole();
    let len = bytes.len() as u32 + 1;
    bytes.push(b'x');
    bytes[4..8].copy_from_slice(&len.to_be_bytes());
    let strings = u32::from_be_bytes(bytes[32..36].try_into().unwrap()) + 1;
    bytes[32..36].copy_from_slice(&strings.to_be_bytes());
    let out = edited(&bytes, &BOOT.changes(), &[]);
    assert!(Fdt::parse(&out).unwrap().node("/chosen").unwrap().property("bootargs").is_some());
}
