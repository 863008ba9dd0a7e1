use std::string::{String, ToString as _};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::testing::tree;

fn chid(byte: u8) -> Chid {
    Chid::from_table([byte; 16])
}

fn trees(compatibles: &[&str]) -> Vec<(String, Vec<u8>)> {
    compatibles.iter().map(|name| (std::format!("{name}.dtb"), tree(name))).collect()
}

fn machine(compatible: &str, ids: &[u8]) -> Machine {
    let chids = ids.iter().map(|id| chid(*id)).collect();
    let (name, compatible) = (compatible.to_uppercase(), compatible.to_string());
    Machine { name, compatible, chids, may_be_weak: false }
}

fn sound() -> Vec<u8> {
    let machines = [machine("b,two", &[9, 1]), machine("a,one", &[5])];
    build(&trees(&["b,two", "a,one", "c,three"]), &machines).unwrap()
}

fn one(found: Found<Match>) -> Option<usize> {
    match found {
        Found::One(found) => Some(found.tree),
        Found::Nothing | Found::Several => None,
    }
}

#[test]
fn sets_are_read_as_they_were_built() {
    let bytes = sound();
    let set = Set::parse(&bytes).unwrap();
    let names: Vec<_> = set.entries().map(|entry| (entry.compatible, entry.name)).collect();
    assert_eq!(names, [("a,one", "a,one.dtb"), ("b,two", "b,two.dtb"), ("c,three", "c,three.dtb")]);
    for entry in set.entries() {
        assert_eq!(entry.bytes, tree(entry.compatible));
        assert_eq!(set.fdt(&entry).unwrap().compatibles().next(), Some(entry.compatible));
        assert_eq!(set.by_compatible(entry.compatible), Found::One(entry));
        assert_eq!(entry.bytes.as_ptr().addr() % 8, bytes.as_ptr().addr() % 8);
    }
    let found = [0, 1, 5, 9, 10].map(|id| one(set.by_chid(chid(id))));
    assert_eq!(found, [None, Some(1), Some(0), Some(1), None]);
    for none in ["", "a", "b,tw", "b,two2", "z"] {
        assert_eq!(set.by_compatible(none), Found::Nothing);
    }
    assert_eq!(Set::parse(&build(&[], &[]).unwrap()).unwrap().len(), 0);
}

#[test]
fn every_cut_and_every_longer_one_is_refused() {
    let bytes = sound();
    for len in 0..bytes.len() {
        assert!(Set::parse(&bytes[..len]).is_err(), "{len}");
    }
    assert!(Set::parse(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn indexes_that_lead_outside_are_refused() {
    let bytes = sound();
    let with = |at: usize, value: u32| {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Set::parse(&changed).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(0, 0), SetError::Magic);
    assert_eq!(with(8, 2), SetError::Version { found: 2 });
    for at in [12, 16, 20, 24, 28] {
        assert_eq!(with(at, u32::MAX), SetError::Length);
    }
    let second = HEADER_LEN + TREE_LEN;
    for offset in [0, 7, 8, !7, bytes.len() as u32] {
        assert_eq!(with(second, offset), SetError::Tree { tree: 1 }, "{offset}");
    }
    for (at, value) in [(4, u32::MAX), (4, 3 << 20), (8, 9999), (12, u32::MAX)] {
        assert_eq!(with(second + at, value), SetError::Tree { tree: 1 });
    }
    let matches = HEADER_LEN + 3 * TREE_LEN;
    assert_eq!(with(matches + 16, 3), SetError::Match { at: 0 });
    assert_eq!(with(matches + 16, 2 << 16), SetError::Match { at: 0 });
    let mut nil = bytes.clone();
    nil[matches..matches + 16].fill(0);
    assert_eq!(Set::parse(&nil).unwrap_err(), SetError::Match { at: 0 });
    let mut unordered = bytes.clone();
    unordered[matches] = 0xff;
    assert_eq!(Set::parse(&unordered).unwrap_err(), SetError::Order);
    let mut unordered = bytes.clone();
    unordered.swap(HEADER_LEN + 8, second + 8);
    assert_eq!(Set::parse(&unordered).unwrap_err(), SetError::Order);
}

#[test]
fn a_tree_that_is_none_or_for_another_machine_is_refused_when_it_is_taken() {
    let bytes = sound();
    let at = |needle: &[u8]| bytes.windows(needle.len()).rposition(|w| w == needle).unwrap();
    let mut broken = bytes.clone();
    broken[at(&0xd00d_feed_u32.to_be_bytes())] = 0;
    let set = Set::parse(&broken).unwrap();
    let error = set.fdt(&set.entry(2).unwrap()).unwrap_err();
    assert!(matches!(error, SetError::Fdt { tree: 2, .. }), "{error:?}");
    let mut other = bytes.clone();
    other[at(b"c,three\0")] = b'd';
    let set = Set::parse(&other).unwrap();
    let error = set.fdt(&set.entry(2).unwrap()).unwrap_err();
    assert_eq!(error, SetError::Compatible { tree: 2 });
}

#[test]
fn every_ambiguity_is_told_when_a_set_is_built() {
    let refused = |trees: &[(String, Vec<u8>)], machines: &[Machine]| {
        build(trees, machines)
            .unwrap_err()
            .iter()
            .map(|error| error.to_string())
            .collect::<Vec<_>>()
    };
    let two = trees(&["a,one", "b,two"]);
    let said = refused(&two, &[machine("a,one", &[5]), machine("b,two", &[5])]);
    let id = "05050505-0505-0505-0505-050505050505";
    assert_eq!(
        said,
        [std::format!("the id {id} is given to a,one and to b,two: take it from one of them")]
    );
    let said = refused(&trees(&["a,one", "a,one"]), &[]);
    assert_eq!(said, ["a,one.dtb and a,one.dtb are both for a,one: leave one of them out"]);
    let said = refused(&two, &[machine("a,t14s-lcd", &[5]), machine("a,one", &[0])]);
    assert!(said[0].contains("A,T14S-LCD needs a tree whose first compatible is a,t14s-lcd"));
    assert!(said[1].contains("an id of zeros"), "{said:?}");
    let said = refused(&[("x".into(), vec![1, 2, 3])], &[]);
    assert!(said[0].starts_with("x: "), "{said:?}");
    let said = refused(&[("x".into(), tree("")), ("".into(), tree("b"))], &[]);
    assert!(said[0].contains("x: its root has no compatible"), "{said:?}");
    assert_eq!(said.len(), 2);
    // The same id for the same tree is no contradiction.
    build(&two, &[machine("a,one", &[5]), machine("a,one", &[5])]).unwrap();
}

/// Sets of other tools may hold what `build` refuses.
#[test]
fn ambiguity_in_a_set_is_no_match() {
    let mut bytes = sound();
    let matches = HEADER_LEN + 3 * TREE_LEN;
    // Ids 1 and 5 become one; their trees are 1 and 0.
    bytes[matches + MATCH_LEN..matches + MATCH_LEN + 16].fill(1);
    let set = Set::parse(&bytes).unwrap();
    assert_eq!(set.by_chid(chid(1)), Found::Several);
    // The texts of the second tree become those of the first.
    let first: Vec<u8> = bytes[HEADER_LEN + 8..HEADER_LEN + 12].to_vec();
    bytes[HEADER_LEN + TREE_LEN + 8..HEADER_LEN + TREE_LEN + 12].copy_from_slice(&first);
    let set = Set::parse(&bytes).unwrap();
    assert_eq!(set.by_compatible("a,one"), Found::Several);
    assert_eq!(set.by_compatible("b,two"), Found::Nothing);
}

#[test]
fn what_may_be_weak_must_be_said_wherever_the_id_stands() {
    let weak = |machine: Machine| Machine { may_be_weak: true, ..machine };
    let of = |machines: &[Machine]| {
        let bytes = build(&trees(&["a,one"]), machines).unwrap();
        Set::parse(&bytes).unwrap().matches().next().unwrap().may_be_weak
    };
    let plain = machine("a,one", &[5]);
    assert!(!of(core::slice::from_ref(&plain)));
    assert!(of(&[weak(plain.clone())]));
    assert!(!of(&[weak(plain.clone()), plain]));
}
