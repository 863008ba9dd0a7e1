//! Unified kernel images: systemd's stub with the parts as sections behind its own.

use std::fs;

use crate::machine::Arch;
use crate::release::kernels;

/// Field offsets of PE/COFF, from the start of the headers that begin with `PE\0\0`.
const SECTION_COUNT: usize = 6;
const OPTIONAL_LEN: usize = 20;
const OPTIONAL: usize = 24;
const SECTION_ALIGNMENT: usize = OPTIONAL + 32;
const FILE_ALIGNMENT: usize = OPTIONAL + 36;
const IMAGE_LEN: usize = OPTIONAL + 56;
const HEADERS_LEN: usize = OPTIONAL + 60;
const SECTION_LEN: usize = 40;

/// Initialised data that can be read.
const READ_DATA: u32 = 0x4000_0040;

/// Builds an image.
pub fn build(arch: Arch, kernel: &[u8], initramfs: &[u8], cmdline: &[u8]) -> Vec<u8> {
    let stub = kernels(arch).join("linux.stub");
    let mut image = fs::read(stub).expect("`cargo xtask kernels` has fetched the stub");
    for (name, content) in [
        (".osrel", &b"NAME=stillboot-test\n"[..]),
        (".cmdline", cmdline),
        (".initrd", initramfs),
        (".linux", kernel),
    ] {
        append(&mut image, name, content);
    }
    image
}

/// Appends a section, in the file and in memory.
fn append(image: &mut Vec<u8>, name: &str, content: &[u8]) {
    let headers = number(image, 0x3c) as usize;
    assert_eq!(&image[headers..headers + 4], b"PE\0\0", "the stub is a PE image");
    let count = usize::from(u16::from_le_bytes([
        image[headers + SECTION_COUNT],
        image[headers + SECTION_COUNT + 1],
    ]));
    let optional =
        u16::from_le_bytes([image[headers + OPTIONAL_LEN], image[headers + OPTIONAL_LEN + 1]]);
    let row = headers + OPTIONAL + usize::from(optional) + count * SECTION_LEN;
    assert!(
        row + SECTION_LEN <= number(image, headers + HEADERS_LEN) as usize,
        "the stub has room for one more section"
    );
    let len = u32::try_from(content.len()).expect("it is no larger than a kernel");
    let (in_memory, in_file) =
        (number(image, headers + SECTION_ALIGNMENT), number(image, headers + FILE_ALIGNMENT));
    let address = number(image, headers + IMAGE_LEN).next_multiple_of(in_memory);
    image.resize(image.len().next_multiple_of(in_file as usize), 0);
    let offset = image.len() as u32;
    image.extend_from_slice(content);
    image.resize(image.len().next_multiple_of(in_file as usize), 0);

    let mut section = [0; SECTION_LEN];
    section[..name.len()].copy_from_slice(name.as_bytes());
    let fields = [len, address, image.len() as u32 - offset, offset];
    for (field, value) in section[8..].chunks_mut(4).zip(fields) {
        field.copy_from_slice(&value.to_le_bytes());
    }
    section[36..].copy_from_slice(&READ_DATA.to_le_bytes());
    image[row..row + SECTION_LEN].copy_from_slice(&section);
    image[headers + SECTION_COUNT..headers + SECTION_COUNT + 2]
        .copy_from_slice(&(count as u16 + 1).to_le_bytes());
    let end = (address + len).next_multiple_of(in_memory);
    image[headers + IMAGE_LEN..headers + IMAGE_LEN + 4].copy_from_slice(&end.to_le_bytes());
}

fn number(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().expect("four bytes"))
}
