//! What several tests need.

use std::vec;
use std::vec::Vec;

use crate::fdt::edit::{Change, Value, edit, room};
use crate::fdt::{Fdt, HEADER_LEN, MAGIC};

/// A tree for a machine with this `compatible`, none if it is empty.
pub fn tree(compatible: &str) -> Vec<u8> {
    let mut structure = vec![1_u32.to_be_bytes(), [0; 4]];
    let value = match compatible {
        "" => vec![],
        text => [text.as_bytes(), b"\0"].concat(),
    };
    if !compatible.is_empty() {
        structure.extend([3, value.len() as u32, 0].map(u32::to_be_bytes));
        for chunk in value.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            structure.push(word);
        }
    }
    structure.extend([2_u32, 9].map(u32::to_be_bytes));
    let structure = structure.concat();
    let strings = b"compatible\0";
    let structure_at = HEADER_LEN + 16;
    let strings_at = structure_at + structure.len();
    let header = [
        MAGIC as usize,
        strings_at + strings.len(),
        structure_at,
        strings_at,
        HEADER_LEN,
        17,
        16,
        0,
        strings.len(),
        structure.len(),
    ];
    let header = header.map(|word| (word as u32).to_be_bytes()).concat();
    [&header[..], &[0; 16], &structure, strings].concat()
}

/// The same tree with a node `/chosen`.
pub fn with_chosen(tree: &[u8]) -> Vec<u8> {
    let fdt = Fdt::parse(tree).unwrap();
    let changes = [Change { name: "bootargs", value: Value::Text("quiet") }];
    let mut out = vec![0; room(&fdt, &changes, &[])];
    let len = edit(&fdt, &changes, &[], &mut out).unwrap();
    out.truncate(len);
    out
}
