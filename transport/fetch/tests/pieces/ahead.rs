//! A bundle as a stream that is read ahead.

use std::sync::Arc;

use stillboot::driver::{Source as _, SourceError};
use stillboot_fetch::ahead::Ahead;
use stillboot_fetch::assembly::Assembly;
use stillboot_fetch::error::FetchError;
use stillboot_fetch::slots::{Slots, Target};
use stillboot_fetch::stream::Stream as _;
use stillboot_sim::disk::Random;
use stillboot_transport::frame::Part;

use super::{Bench, CHUNK, KEPT, Log, all, open};

fn ahead(bytes: &[u8], log: &Log) -> Ahead {
    Ahead::new(Assembly::new(open(bytes, log))).unwrap()
}

#[test]
fn a_stream_is_the_bundle_in_steps_of_any_length() {
    let bench = Bench::new();
    for bundle in [bench.new.clone(), bench.framed()] {
        for step in [1, 100, CHUNK, 100_000] {
            let mut stream = ahead(&bundle, &Log::default());
            assert!(all(&mut stream, step).unwrap() == bench.new, "steps of {step}");
            assert_eq!(stream.read(&mut [0]), Ok(0));
            assert_eq!(stream.origins().full, bench.new.len() as u64);
            assert!(stream.take_error().is_none());
            let assembly = stream.finish().unwrap();
            assert_eq!(assembly.origins().full, bench.new.len() as u64);
        }
    }
}

#[test]
fn skips_of_any_length_over_any_piece_keep_the_place() {
    let bench = Bench::new();
    let mut random = Random::new(5);
    for bundle in [bench.new.clone(), bench.framed()] {
        for _ in 0..30 {
            let mut stream = ahead(&bundle, &Log::default());
            let mut at = 0;
            while at < bench.new.len() {
                let most = 1 << random.below(15);
                let len = (1 + random.below(most) as usize).min(bench.new.len() - at);
                if random.chance(1, 2) {
                    stream.skip(len as u64).unwrap();
                    at += len;
                } else {
                    let mut buffer = vec![0; len];
                    let read = stream.read(&mut buffer).unwrap();
                    assert!(read > 0);
                    assert!(buffer[..read] == bench.new[at..at + read], "at {at}");
                    at += read;
                }
            }
            assert_eq!(stream.read(&mut [0]), Ok(0));
            assert_eq!(stream.skip(1), Err(SourceError), "nothing is left");
        }
    }
}

#[test]
fn what_is_skipped_is_not_fetched() {
    let bench = Bench::new();
    for bundle in [bench.new.clone(), bench.framed()] {
        let log = Log::default();
        let file = open(&bundle, &log);
        let header = *file.header();
        let pieces: Vec<_> = header.pieces().collect();
        let place = |part| {
            let mut of = pieces.iter().filter(|piece| piece.part == part);
            let first = of.clone().next().unwrap();
            (file.place(first).unwrap().0, file.place(of.next_back().unwrap()).unwrap().1)
        };
        let (_, end) = place(Part::Chunk(0));
        let (index, _) = place(Part::Index(1));
        // A row of two pieces, head and index, lets four chunks be read ahead.
        let fifth = pieces
            .iter()
            .find(|piece| piece.part == Part::Chunk(0) && piece.start == 4 * CHUNK as u64)
            .unwrap();
        let (fifth, _) = file.place(fifth).unwrap();
        let mut stream = Ahead::new(Assembly::new(file)).unwrap();
        log.clear();
        // Head and index are read in part; then the component is passed over.
        let before = header.head_len as usize + header.components()[0].div_ceil(4096) as usize * 32;
        let mut buffer = vec![0; before];
        let mut at = 0;
        while at < before {
            let now = stream.read(&mut buffer[at..before]).unwrap();
            assert!(now > 0, "it ends at {at}");
            at += now;
        }
        stream.skip(header.components()[0]).unwrap();
        let mut rest = vec![0; 8];
        assert_eq!(stream.read(&mut rest), Ok(8));
        let from = before + header.components()[0] as usize;
        assert_eq!(rest, bench.new[from..from + 8]);
        drop(stream.finish());
        // They were read before the skip was known; the rest was not.
        assert!(!log.has_read(fifth, end), "{:?}", log.events().reads);
        assert!(log.has_read(index, index + 1));
    }
}

#[test]
fn an_error_is_told_once_and_stays_an_error() {
    let bench = Bench::new();
    let log = Log::default();
    let file = open(&bench.new, &log);
    let third = file
        .header()
        .pieces()
        .find(|piece| piece.part == Part::Chunk(0) && piece.start == 2 * CHUNK as u64);
    let (from, _) = file.place(&third.unwrap()).unwrap();
    let mut stream = Ahead::new(Assembly::new(file)).unwrap();
    log.events().fails_from = Some(from);
    let mut found = Vec::new();
    let mut buffer = vec![0; CHUNK];
    while let Ok(len) = stream.read(&mut buffer) {
        assert!(len > 0);
        found.extend_from_slice(&buffer[..len]);
    }
    assert!(found == bench.new[..from as usize], "all before it is given");
    assert!(matches!(stream.take_error(), Some(FetchError::Io { .. })));
    assert!(stream.take_error().is_none());
    // Bytes of a later place would otherwise stand for those that failed.
    log.events().fails_from = None;
    assert_eq!(stream.read(&mut buffer), Err(SourceError));
    assert_eq!(stream.skip(1), Err(SourceError));
    assert!(stream.take_error().is_none());
    assert!(stream.finish().is_some(), "the thread ends");
}

#[test]
fn a_failure_of_what_is_skipped_does_not_matter() {
    let bench = Bench::new();
    let log = Log::default();
    let file = open(&bench.new, &log);
    let first = file.header().pieces().find(|piece| piece.part == Part::Chunk(0)).unwrap();
    let (from, _) = file.place(&first).unwrap();
    let mut stream = Ahead::new(Assembly::new(file)).unwrap();
    log.events().fails_from = Some(from);
    let mut buffer = vec![0; from as usize];
    let mut at = 0;
    while at < buffer.len() {
        let now = stream.read(&mut buffer[at..]).unwrap();
        assert!(now > 0, "it ends at {at}");
        at += now;
    }
    stream.skip(8 * CHUNK as u64).unwrap();
    log.events().fails_from = None;
    let mut rest = [0; 16];
    assert_eq!(stream.read(&mut rest), Ok(16));
    let from = from as usize + 8 * CHUNK;
    assert_eq!(rest, bench.new[from..from + 16]);
}

#[test]
fn threads_end_whenever_their_stream_does() {
    let bench = Bench::new();
    for len in [0, 1, 700, 9000, 30_000] {
        for finishes in [true, false] {
            let assembly = Assembly::new(open(&bench.framed(), &Log::default()))
                .with_slots(bench.slots(&Target::default()));
            let mut stream = Ahead::new(assembly).unwrap();
            let mut at = 0;
            while at < len {
                let now = stream.read(&mut vec![0; len - at]).unwrap();
                assert!(now > 0, "it ends at {at}");
                at += now;
            }
            if finishes {
                let origins = stream.finish().unwrap().origins();
                assert!(origins.full + origins.near >= len as u64);
            }
        }
    }
}

/// Reads `bench.new` as an installation does; returns the starts of the chunks of the first
/// component that the target is said to hold.
fn held(bench: &Bench, slots: Arc<Slots>) -> Vec<u64> {
    let file = open(&bench.framed(), &Log::default());
    let assembly = Assembly::new(file).with_slots(slots).with_statements();
    let pieces: Vec<_> = assembly.header().pieces().collect();
    let mut stream = Ahead::new(assembly).unwrap();
    let mut starts = Vec::new();
    for piece in pieces {
        let is_held = stream.is_held(piece.len as u64);
        assert!(!is_held || matches!(piece.part, Part::Chunk(0)), "{piece:?}");
        // Nor a part of a chunk.
        assert!(!stream.is_held(piece.len as u64 - 1));
        // As many as are changed together on flash: all of them, or none.
        let left = KEPT as u64 - (piece.start / CHUNK as u64).min(KEPT as u64);
        let many = (2..=KEPT as u64 + 1).filter(|n| stream.is_held(n * CHUNK as u64));
        assert_eq!(many.count() as u64, if is_held { left - 1 } else { 0 }, "{piece:?}");
        if is_held {
            starts.push(piece.start);
            stream.skip(piece.len as u64).unwrap();
            continue;
        }
        let mut bytes = vec![0; piece.len];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += stream.read(&mut bytes[filled..]).unwrap();
        }
    }
    starts
}

#[test]
fn what_the_target_holds_in_its_place_is_known_by_its_index() {
    let mut bench = Bench::new();
    let target = Target::default();
    let slots = bench.slots(&target);
    assert_eq!(held(&bench, Arc::clone(&slots)).len(), 0, "no slot is written yet");
    bench.overwrite(&target);
    let kept: Vec<_> = (0..KEPT as u64).map(|chunk| chunk * CHUNK as u64).collect();
    assert_eq!(held(&bench, slots), kept);
    // Of an installation that was cut short the index is there before the chunks are.
    assert_eq!(held(&bench, bench.slots_of(&target, false)).len(), 0);
    // An index that is not the one that was signed says nothing.
    let (_, index) = bench.places(0);
    let entry = bench.disk.bytes(index.offset, 32);
    bench.disk.poke(index.offset + 32 * (KEPT as u64 + 1), &entry);
    assert_eq!(held(&bench, bench.slots(&target)).len(), 0);
}
