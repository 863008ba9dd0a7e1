//! Files that are not what they seem.

use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{Fault, Header, Part};
use stillboot_transport::old::NoOld;

use super::{Bench, Log, Memory, memory, open};

#[test]
fn a_file_of_another_length_is_refused_when_it_is_opened() {
    let bench = Bench::new();
    for file in [bench.new.clone(), bench.framed(), bench.patch()] {
        let step = 1 + file.len() / 300;
        for len in (0..file.len()).step_by(step).chain([file.len() - 1, file.len() + 1]) {
            let mut other = file.clone();
            other.resize(len, 0);
            let error = PieceFile::open(memory(&other, &Log::default())).unwrap_err();
            let is_told = matches!(
                error,
                FetchError::Length { .. }
                    | FetchError::NotABundle { .. }
                    | FetchError::Frames { fault: Fault::Ended, .. }
            );
            assert!(is_told, "{len} of {}: {error}", file.len());
            assert!(!error.is_temporary());
        }
    }
}

#[test]
fn a_server_that_lies_about_the_length_is_found_out_when_the_bytes_are_missing() {
    let bench = Bench::new();
    let file = bench.framed();
    let short = file[..file.len() - 2000].to_vec();
    let reader = Memory { bytes: short, len: file.len() as u64, log: Log::default(), received: 0 };
    let mut opened = PieceFile::open(Box::new(reader)).unwrap();
    let last = opened.header().pieces().last().unwrap();
    let error = opened.read(&last, &mut Decoder::new(NoOld), &mut vec![0; last.len]).unwrap_err();
    assert!(matches!(error, FetchError::Frames { fault: Fault::Ended, .. }), "{error}");
}

#[test]
fn a_frame_whose_entry_is_not_that_of_the_table_is_refused() {
    let bench = Bench::new();
    let file = bench.framed();
    let sound = open(&file, &Log::default());
    let pieces: Vec<_> = sound.header().pieces().collect();
    let len = Header::len_of(file.first_chunk().unwrap()).unwrap();
    for piece in &pieces {
        let (place, _) = sound.place(piece).unwrap();
        for bit in [0, 7, 12, 28, 31] {
            let mut other = file.clone();
            other[place as usize + bit / 8] ^= 1 << (bit % 8);
            let mut opened = open(&other, &Log::default());
            let mut out = vec![0; piece.len];
            let error = opened.read(piece, &mut Decoder::new(NoOld), &mut out).unwrap_err();
            assert!(matches!(error, FetchError::Frames { fault: Fault::Entry, .. }), "{error}");
            // In the table: of another length, another file, or another frame.
            let mut other = file.clone();
            other[len + piece.number as usize * 4 + bit / 8] ^= 1 << (bit % 8);
            let Ok(mut opened) = PieceFile::open(memory(&other, &Log::default())) else {
                continue;
            };
            assert!(opened.read(piece, &mut Decoder::new(NoOld), &mut out).is_err());
        }
    }
}

#[test]
fn what_a_file_holds_is_said_before_anything_is_read_of_it() {
    let bench = Bench::new();
    let (plain, framed) =
        (open(&bench.new, &Log::default()), open(&bench.framed(), &Log::default()));
    let patch = open(&bench.patch(), &Log::default());
    assert_eq!(plain.header().digest, framed.header().digest);
    assert_eq!(plain.header().components(), patch.header().components());
    assert!(plain.is_whole() && framed.is_whole() && !patch.is_whole());
    assert!(plain.from().is_none() && framed.from().is_none() && patch.from().is_some());
    let pieces: Vec<_> = plain.header().pieces().collect();
    assert!(pieces.iter().all(|piece| plain.has(piece) && framed.has(piece)));
    let patched = pieces.iter().filter(|piece| patch.has(piece));
    assert!(patched.clone().count() > 0);
    assert!(patched.into_iter().all(|piece| matches!(piece.part, Part::Chunk(_))));
    // Places follow one another without a gap.
    for file in [&plain, &framed, &patch] {
        let mut at = file.place(&pieces[0]).unwrap().0;
        for piece in &pieces {
            let (start, end) = file.place(piece).unwrap();
            assert_eq!(start, at);
            at = end;
        }
    }
}

#[test]
fn other_files_are_named_as_what_they_are() {
    for bytes in [&b""[..], b"x", b"SB", &[0; 500]] {
        let error = PieceFile::open(memory(bytes, &Log::default())).unwrap_err();
        assert!(matches!(error, FetchError::NotABundle { .. }), "{error}");
    }
    let mut file = Bench::new().framed();
    for len in [4, 60, 79] {
        let error = PieceFile::open(memory(&file[..len], &Log::default())).unwrap_err();
        assert!(matches!(error, FetchError::Frames { fault: Fault::Ended, .. }), "{error}");
    }
    file[4] = 2;
    let error = PieceFile::open(memory(&file, &Log::default())).unwrap_err();
    assert!(matches!(error, FetchError::Frames { fault: Fault::Version(2), .. }), "{error}");
}
