//! The bytes of a framed file, with a frame of every encoding. They are frozen, as all golden bytes
//! are: see `tests/formats/golden.rs`.

use stillboot_sim::transport::expanded;
use stillboot_transport::frame::{Encoding, Entry, HEADER_LEN_MAX, Header};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The frames of the chunks: each of 4096 bytes but for the last.
const FRAMES: [(Encoding, &str); 6] = [
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

fn old() -> Vec<u8> {
    (0..5000_u32).map(|at| (at % 251) as u8).collect()
}

#[test]
fn golden_bytes_of_a_framed_file() {
    let header = Header::new([0x11; 32], 5, 4096, &[5 * 4096 + 3]).unwrap();
    let header = header.with_from([0x22; 32]).with_encodings(0x3f);
    let index: Vec<u8> = (0..192).collect();
    let mut frames = vec![(Encoding::Raw, b"head!".to_vec()), (Encoding::Raw, index.clone())];
    frames.extend(FRAMES.map(|(encoding, hex)| (encoding, unhex(hex))));
    let mut bytes = [0; HEADER_LEN_MAX];
    let len = header.emit(&mut bytes);
    let mut file = bytes[..len].to_vec();
    let entry = |(encoding, frame): &(Encoding, Vec<u8>)| {
        Entry { encoding: *encoding, len: frame.len() as u32 }.emit()
    };
    file.extend(frames.iter().flat_map(entry));
    for frame in &frames {
        file.extend(entry(frame));
        file.extend_from_slice(&frame.1);
    }
    let start = unhex(
        "53424652 01 3f 01 00 00100000 05000000
         1111111111111111111111111111111111111111111111111111111111111111
         2222222222222222222222222222222222222222222222222222222222222222
         0350000000000000
         05000000 c0000000 1a000020 00000010 0a000030 1b000040 09000050 03000000
         05000000 6865616421 c0000000 0001020304",
    );
    assert_eq!(file[..start.len()], start);
    let (bundle, fault) = expanded(&file, &mut &old()[..]).unwrap();
    assert_eq!(fault, None);
    let expected = [
        &b"head!"[..],
        &index,
        &[b'a'; 4096],
        &[0; 4096],
        &[b'z'; 4096],
        &[b'q'; 4096],
        &old()[..4096],
        b"end",
    ]
    .concat();
    assert!(bundle == expected);
}
