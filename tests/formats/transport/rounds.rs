//! Every encoding on every kind of bytes.

use stillboot_release::frames::Compression;
use stillboot_sim::Publisher;
use stillboot_sim::transport::{expanded, framed, lzma};
use stillboot_transport::frame::{ENTRY_LEN, Encoding, Entry, Header};
use stillboot_transport::input::Input;
use stillboot_transport::lzma::{Lzma, Parameters};
use stillboot_transport::old::NoOld;

use super::{File, bundle, kinds};

const LENGTHS: [usize; 8] = [1, 2, 40, 4095, 4096, 4097, 10_000, 70_000];

const ALL: [Compression; 6] = [
    Compression::None,
    Compression::Lz4,
    Compression::Zstd(1),
    Compression::Zstd(19),
    Compression::Zstd(22),
    Compression::Lzma,
];

/// The encodings that stand in a framed file, those of its entries.
fn encodings_of(file: &[u8]) -> u8 {
    let header = header_of(file);
    let table = &file[header.header_len() as usize..header.frames_start() as usize];
    header.pieces().zip(table.as_chunks::<ENTRY_LEN>().0).fold(0, |all, (piece, entry)| {
        all | Entry::parse(*entry, &header, &piece).unwrap().encoding.bit()
    })
}

fn header_of(file: &[u8]) -> Header {
    let len = Header::len_of(file.first_chunk().unwrap()).unwrap();
    Header::parse(&file[..len]).unwrap()
}

#[test]
fn every_bundle_comes_out_of_its_frames_as_it_went_in() {
    let publisher = Publisher::new(1);
    let mut seen = 0;
    for len in LENGTHS {
        for (kind, bytes) in kinds(len) {
            for chunk_size in [4096, 65536] {
                let bundle = bundle(&publisher, 1, chunk_size, &[&bytes, b"the second"]);
                for compression in ALL {
                    let file = framed(&bundle, compression);
                    let (found, fault) = expanded(&file, &mut NoOld).unwrap();
                    assert_eq!(fault, None, "{len} bytes of {kind} in {compression}");
                    assert!(found == bundle, "{len} bytes of {kind} in {compression}");
                    // What does not become shorter stays as it is.
                    let header = header_of(&file);
                    let most = bundle.len() as u64 + header.frames_start();
                    assert!(file.len() as u64 <= most + header.frames() * ENTRY_LEN as u64);
                    assert_eq!(header.encodings, encodings_of(&file));
                    seen |= header.encodings;
                }
            }
        }
    }
    let of_bundles = [Encoding::Raw, Encoding::Zero, Encoding::Lz4, Encoding::Zstd, Encoding::Lzma];
    assert_eq!(seen, of_bundles.iter().fold(0, |all, encoding| all | encoding.bit()));
}

#[test]
fn lzma_reads_what_is_written_with_every_parameter_in_its_bounds() {
    let mut decoder = Lzma::new();
    let mut count = 0;
    for byte in 0..=u8::MAX {
        let Some(parameters) = Parameters::parse(byte) else { continue };
        assert_eq!(parameters.byte(), byte);
        count += 1;
        for len in [1, 2, 4095, 4096, 20_000] {
            for (kind, bytes) in kinds(len) {
                let stream = lzma(&bytes, parameters);
                let mut out = vec![0x77; len];
                let mut file = File::new(&stream);
                let result = decoder.decode(&mut Input::new(&mut file, stream.len()), &mut out);
                assert_eq!(result, Ok(()), "{len} bytes of {kind} with {parameters:?}");
                assert!(out == bytes, "{len} bytes of {kind} with {parameters:?}");
            }
        }
    }
    // lc and lp in six ways, pb in three.
    assert_eq!(count, 6 * 3);
}

#[test]
fn a_stream_of_lzma_for_another_length_is_refused() {
    let bytes = stillboot_sim::transport::text(9, 1000);
    let stream = lzma(&bytes, Parameters { lc: 2, lp: 0, pb: 2 });
    let decode = |stream: &[u8], len: usize| {
        let mut file = File::new(stream);
        Lzma::new().decode(&mut Input::new(&mut file, stream.len()), &mut vec![0; len])
    };
    for len in [0, 1, 999, 1001, 2000] {
        assert!(decode(&stream, len).is_err(), "{len}");
    }
    for end in 0..stream.len() {
        assert!(decode(&stream[..end], 1000).is_err(), "{end}");
    }
    assert!(decode(&[&stream[..], &[0]].concat(), 1000).is_err());
    assert!(decode(&stream, 1000).is_ok());
}
