//! Framed files: frames of every encoding that a reader needs no library of its own for.

use serde_json::Value;
use stillboot::verify::{SoftSha256, digest_of};
use stillboot_transport::frame::{Encoding, Entry, HEADER_LEN_MAX, Header};

use super::Set;
use super::values::{self, hex};

const CHUNK: u32 = 4096;
/// How many bytes of the old bundle's components there are.
const OLD_LEN: usize = 5000;
const HEAD: &[u8] = b"head!";
const DIGEST: [u8; 32] = [0x11; 32];
const FROM: [u8; 32] = [0x22; 32];

/// A frame: how it holds its piece, and its bytes.
pub type Frame = (Encoding, Vec<u8>);

/// Frames by hand.
pub const FRAMES: [(Encoding, &str); 6] = [
    // 'a', 4090 bytes from one before, 'aaaaa'.
    (Encoding::Lz4, "1f 61 0100 ffffffffffffffffffffffffffffff f6 50 6161616161"),
    (Encoding::Zero, ""),
    // A window of 4 KiB, and one block: 4096 times 'z'.
    (Encoding::Zstd, "28b52ffd 00 10 038000 7a"),
    // 4096 times 'q'.
    (Encoding::Lzma, "5c0038effbbffea3b15ee5f83fb2aa2655f868704170150e2418cf"),
    // No residual; keep nothing, add 4096 old bytes from 16384 before where they are expected.
    (Encoding::Patch, "000000 00 8020 ffff01"),
    (Encoding::Raw, "656e64"),
];

/// The bytes that patches start from.
#[must_use]
pub fn old() -> Vec<u8> {
    (0..OLD_LEN).map(|at| (at % 251) as u8).collect()
}

/// The chunk that each of [`FRAMES`] decodes to.
#[must_use]
pub fn chunks() -> [Vec<u8>; 6] {
    let of = |byte| vec![byte; CHUNK as usize];
    let patched = old()[..CHUNK as usize].to_vec();
    [of(b'a'), of(0), of(b'z'), of(b'q'), patched, b"end".to_vec()]
}

/// Bytes from hexadecimal digits, between which anything may stand.
///
/// # Panics
/// If the digits are no pairs.
#[must_use]
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    assert!(digits.len() % 2 == 0, "{text}");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A framed file: header, table, frames.
#[must_use]
pub fn file(header: &Header, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = [0; HEADER_LEN_MAX];
    let len = header.emit(&mut bytes);
    let mut file = bytes[..len].to_vec();
    let entry =
        |(encoding, frame): &Frame| Entry { encoding: *encoding, len: frame.len() as u32 }.emit();
    file.extend(frames.iter().flat_map(entry));
    for frame in frames {
        file.extend(entry(frame));
        file.extend_from_slice(&frame.1);
    }
    file
}

/// A framed file with these of [`FRAMES`] as the chunks of one component, its header, and the bundle.
///
/// # Panics
/// Never: the header is sound.
#[must_use]
pub fn example(numbers: &[usize]) -> (Header, Vec<Frame>, Vec<u8>) {
    let chunks = chunks();
    let chosen: Vec<u8> = numbers.iter().flat_map(|number| chunks[*number].clone()).collect();
    let index: Vec<u8> = (0..32 * numbers.len() as u8).collect();
    let mut frames = vec![(Encoding::Raw, HEAD.to_vec()), (Encoding::Raw, index.clone())];
    frames.extend(numbers.iter().map(|number| (FRAMES[*number].0, unhex(FRAMES[*number].1))));
    let header = Header::new(DIGEST, HEAD.len() as u32, CHUNK, &[chosen.len() as u64])
        .expect("within all bounds")
        .with_from(if numbers.contains(&4) { FROM } else { [0; 32] })
        .with_encodings(frames.iter().fold(0, |bits, (encoding, _)| bits | encoding.bit()));
    (header, frames, [HEAD, &index, &chosen].concat())
}

fn value(header: &Header, names: &[&str], bundle: Option<&[u8]>) -> Value {
    values::framed(header, names, bundle.map(|bytes| hex(&digest_of::<SoftSha256>(bytes))))
}

pub(super) fn all(set: &mut Set) {
    let (header, frames, bundle) = example(&[1, 0, 3, 5]);
    let sound = file(&header, &frames);
    let names = ["raw", "raw", "zero", "lz4", "lzma", "raw"];
    set.sound(
        "framed",
        "a compressed bundle",
        sound.clone(),
        value(&header, &names, Some(&bundle)),
    );
    let (with_patch, patch_frames, bundle) = example(&[1, 0, 3, 1, 4, 5]);
    let names = ["raw", "raw", "zero", "lz4", "lzma", "zero", "patch", "raw"];
    set.sound(
        "framed",
        "a whole patch",
        file(&with_patch, &patch_frames),
        value(&with_patch, &names, Some(&bundle)),
    )
    .with("old_length", OLD_LEN);
    let mut partial = patch_frames.clone();
    for number in [0, 1, 7] {
        partial[number] = (Encoding::Absent, Vec::new());
    }
    let bits = with_patch.encodings | Encoding::Absent.bit();
    let names = ["absent", "absent", "zero", "lz4", "lzma", "zero", "patch", "absent"];
    let header_of_partial = with_patch.with_encodings(bits);
    set.sound(
        "framed",
        "a patch with pieces that the bundle alone has",
        file(&header_of_partial, &partial),
        value(&header_of_partial, &names, None),
    )
    .with("old_length", OLD_LEN);

    let mut changed = |what: &str, at: usize, field: &[u8], kind: &str| {
        let mut bytes = sound.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        set.refused("framed", what, bytes, kind);
    };
    changed("another magic", 0, b"SBFS", "magic");
    changed("version 2 of the header", 4, &[2], "version");
    changed("no component", 6, &[0], "bounds");
    changed("nine components", 6, &[9], "bounds");
    changed("a byte that is not zero", 7, &[1], "bounds");
    changed("a chunk size that is no power of two", 8, &5000_u32.to_le_bytes(), "bounds");
    changed("a head of no bytes", 12, &[0; 4], "bounds");
    changed("a head that is too long", 12, &24577_u32.to_le_bytes(), "bounds");
    changed("a component of no bytes", 80, &[0; 8], "bounds");
    // The frame of LZ4 is 26 bytes behind the entries of six frames, the head and the index.
    let table = header.frames_start() as usize;
    let lz4 = table + (4 + 5) + (4 + 128) + 4;
    changed("a distance of zero in a block of lz4", lz4 + 4 + 2, &[0, 0], "content");
    changed("a block of lz4 that goes on for too long", lz4 + 4 + 19, &[0xff], "content");
    set.unknown(
        "framed",
        "an encoding without meaning",
        {
            let mut bytes = sound.clone();
            bytes[5] |= 0x80;
            bytes
        },
        "encoding",
        7,
    );
    let without_from = with_patch.with_from([0; 32]);
    set.refused("framed", "a patch from nothing", file(&without_from, &patch_frames), "bounds");
    let too_few = header.with_encodings(header.encodings & !Encoding::Lz4.bit());
    set.refused("framed", "an encoding that the header lacks", file(&too_few, &frames), "bounds");
    set.refused("framed", "it ends in a frame", sound[..sound.len() - 1].to_vec(), "short");
    set.refused("framed", "a byte behind the last frame", [&sound[..], &[0]].concat(), "trailing");
    let mut longer = frames;
    longer[4].1.push(0);
    set.refused("framed", "a byte behind a stream of lzma", file(&header, &longer), "content");
    let mut other = patch_frames;
    // The old bytes of the operation start in front of the first one.
    other[6].1 = unhex("000000 00 8020 818002");
    set.refused("framed", "old bytes in front of the first", file(&with_patch, &other), "content")
        .with("old_length", OLD_LEN);
}
