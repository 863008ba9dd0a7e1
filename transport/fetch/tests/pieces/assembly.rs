//! The order of places, and what happens where one of them is wrong.

use stillboot_fetch::assembly::Assembly;
use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::slots::Target;
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_sim::transport::patch;
use stillboot_transport::frame::{Header, Part};
use stillboot_transport::outline::Outline;

use super::{Bench, CHANGED, CHUNK, KEPT, Log, memory, open};

/// All pieces, one after the other.
fn read(assembly: &mut Assembly) -> Result<Vec<u8>, FetchError> {
    let mut all = Vec::new();
    for piece in assembly.header().pieces() {
        let mut bytes = vec![0; piece.len];
        assembly.piece(&piece, &mut bytes)?;
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Heads and indexes of the new bundle.
fn unpatched(bench: &Bench) -> u64 {
    (bench.new.len() - 8 * CHUNK - 5000) as u64
}

#[test]
fn a_chunk_comes_from_a_slot_else_from_the_patch_else_from_the_bundle() {
    let bench = Bench::new();
    for bundle in [bench.new.clone(), bench.framed()] {
        let (log, patch_log) = (Log::default(), Log::default());
        let slots = bench.slots(&Target::default());
        let mut assembly = Assembly::new(open(&bundle, &log))
            .with_slots(slots)
            .with_patch(open(&bench.patch(), &patch_log))
            .unwrap();
        assert!(read(&mut assembly).unwrap() == bench.new);
        let origins = assembly.origins();
        assert_eq!(origins.near, (KEPT * CHUNK) as u64);
        assert_eq!(origins.rejected, 0);
        assert!(origins.patched >= (CHANGED * CHUNK) as u64, "{origins:?}");
        assert_eq!(
            origins.near + origins.patched + origins.full,
            bench.new.len() as u64,
            "{origins:?}"
        );
        assert!(origins.full >= unpatched(&bench) + 2 * CHUNK as u64);
        assert!(origins.received < bench.new.len() as u64 / 2, "{origins:?}");
        assert!(assembly.trouble().is_none());
    }
}

#[test]
fn without_slots_and_patch_all_of_it_comes_from_the_bundle() {
    let bench = Bench::new();
    let log = Log::default();
    let mut assembly = Assembly::new(open(&bench.new, &log));
    assert!(read(&mut assembly).unwrap() == bench.new);
    assert_eq!(assembly.origins().full, bench.new.len() as u64);
    let mut assembly =
        Assembly::new(open(&bench.new, &log)).with_slots(bench.slots(&Target::default()));
    assert!(read(&mut assembly).unwrap() == bench.new);
    assert_eq!(assembly.origins().near, (KEPT * CHUNK) as u64);
    // A patch that holds everything is a bundle.
    let whole = patch(&bench.old, &bench.new, Full::Whole(Compression::Lz4));
    let mut assembly =
        Assembly::new(open(&whole, &log)).with_slots(bench.slots(&Target::default()));
    assert!(read(&mut assembly).unwrap() == bench.new);
}

#[test]
fn a_damaged_chunk_of_a_slot_is_taken_from_elsewhere() {
    let mut bench = Bench::new();
    let (data, _) = bench.places(0);
    bench.disk.poke(data.offset + CHUNK as u64 + 9, &[0xee]);
    let log = Log::default();
    let mut assembly =
        Assembly::new(open(&bench.new, &log)).with_slots(bench.slots(&Target::default()));
    assert!(read(&mut assembly).unwrap() == bench.new);
    assert_eq!(assembly.origins().near, ((KEPT - 1) * CHUNK) as u64);
    // With a patch from these old bytes as well.
    let mut assembly = Assembly::new(open(&bench.new, &log))
        .with_patch(open(&bench.patch(), &Log::default()))
        .unwrap()
        .with_slots(bench.slots(&Target::default()));
    assert!(read(&mut assembly).unwrap() == bench.new);
    let origins = assembly.origins();
    assert_eq!(origins.near, ((KEPT - 1) * CHUNK) as u64);
    assert_eq!(origins.rejected, CHUNK as u64, "the patch of it gives wrong bytes");
}

/// A stored index that names other chunks would give wrong bytes at each attempt.
#[test]
fn a_damaged_stored_index_is_not_believed() {
    let mut bench = Bench::new();
    let digest = Outline::of(&bench.old).unwrap().digest;
    let sound = bench.slots(&Target::default());
    let entry = sound.index_of(&digest, 0).unwrap()[32..64].to_vec();
    let (_, index) = bench.places(0);
    bench.disk.poke(index.offset, &entry);
    let slots = bench.slots(&Target::default());
    assert_eq!(slots.index_of(&digest, 0), None);
    assert!(slots.index_of(&digest, 1).is_some());
    // An installation that goes on passes over the index.
    let log = Log::default();
    let mut assembly = Assembly::new(open(&bench.old, &log)).with_slots(slots);
    let chunks = assembly.header().pieces().filter(|piece| piece.part == Part::Chunk(0));
    let mut found = Vec::new();
    for piece in chunks {
        let mut bytes = vec![0; piece.len];
        assembly.piece(&piece, &mut bytes).unwrap();
        found.extend_from_slice(&bytes);
    }
    let data = Outline::of(&bench.old).unwrap().places().next().unwrap().data as usize;
    assert!(bench.old[data..].starts_with(&found));
}

#[test]
fn a_patch_that_lies_costs_its_bytes_and_nothing_else() {
    let bench = Bench::new();
    let mut other = bench.old.clone();
    let data = Outline::of(&other).unwrap().places().next().unwrap().data as usize;
    // Few enough that it is still of use, and some in every chunk.
    for byte in other[data..data + 8 * CHUNK].iter_mut().step_by(500) {
        *byte = byte.wrapping_add(1);
    }
    let lying = patch(&other, &bench.new, Full::Absent(Compression::Lz4));
    let log = Log::default();
    let mut assembly = Assembly::new(open(&bench.new, &log))
        .with_slots(bench.slots(&Target::default()))
        .with_patch(open(&lying, &Log::default()))
        .unwrap();
    assert!(read(&mut assembly).unwrap() == bench.new);
    let origins = assembly.origins();
    assert!(origins.rejected > 0, "{origins:?}");
    assert!(assembly.trouble().is_none(), "it decodes, to something else");
}

#[test]
fn a_patch_whose_old_bundle_is_being_overwritten_is_not_used() {
    let bench = Bench::new();
    let target = Target::default();
    let log = Log::default();
    let slots = bench.slots(&target);
    assert!(slots.has(&Outline::of(&bench.old).unwrap().digest));
    bench.overwrite(&target);
    assert!(!slots.has(&Outline::of(&bench.old).unwrap().digest));
    let patch_log = Log::default();
    let patch = open(&bench.patch(), &patch_log);
    patch_log.clear();
    let mut assembly =
        Assembly::new(open(&bench.new, &log)).with_slots(slots).with_patch(patch).unwrap();
    assert!(read(&mut assembly).unwrap() == bench.new);
    assert_eq!(assembly.origins().rejected, 0);
    assert!(patch_log.events().reads.is_empty(), "its frames came in vain");
}

#[test]
fn a_patch_that_cannot_be_read_is_done_without() {
    let bench = Bench::new();
    let patch_log = Log::default();
    // Its first frames are in memory already; those of new chunks are not.
    let whole = patch(&bench.old, &bench.new, Full::Whole(Compression::None));
    let patch = open(&whole, &patch_log);
    patch_log.clear();
    patch_log.events().fails_from = Some(0);
    let mut assembly = Assembly::new(open(&bench.new, &Log::default()))
        .with_slots(bench.slots(&Target::default()))
        .with_patch(patch)
        .unwrap();
    assert!(read(&mut assembly).unwrap() == bench.new);
    assert!(matches!(assembly.trouble(), Some(FetchError::Io { .. })));
    assert_eq!(patch_log.events().reads.len(), 1, "a server that is gone is asked at every chunk");
}

#[test]
fn a_patch_to_another_bundle_is_refused() {
    let bench = Bench::new();
    let patch = patch(&bench.new, &bench.old, Full::Absent(Compression::Lz4));
    let result =
        Assembly::new(open(&bench.new, &Log::default())).with_patch(open(&patch, &Log::default()));
    assert_eq!(result.err(), Some(Outline::of(&bench.old).unwrap().digest));
}

#[test]
fn one_announcement_covers_a_run_that_nothing_nearer_has() {
    let bench = Bench::new();
    for bundle in [bench.new.clone(), bench.framed()] {
        let log = Log::default();
        let file = open(&bundle, &log);
        let chunks: Vec<_> =
            file.header().pieces().filter(|piece| piece.part == Part::Chunk(0)).collect();
        // The last two are in no slot and in no patch.
        let (first, last) = (&chunks[KEPT + CHANGED], &chunks[KEPT + CHANGED + 1]);
        let (start, end) = (file.place(first).unwrap().0, file.place(last).unwrap().1);
        let before = file.place(&chunks[0]).unwrap().0;
        let mut assembly = Assembly::new(file)
            .with_slots(bench.slots(&Target::default()))
            .with_patch(open(&bench.patch(), &Log::default()))
            .unwrap();
        log.clear();
        assert!(read(&mut assembly).unwrap() == bench.new);
        assert!(!log.has_read(before, start), "what is near is not fetched");
        let events = log.events();
        let read = events.reads.iter().position(|(at, _)| *at == start).unwrap();
        let announced = events.expected.iter().filter(|(before, _)| *before <= read);
        assert_eq!(announced.max_by_key(|(before, _)| *before).unwrap().1, end);
    }
}

/// Whatever bit of a patch is turned, the bundle is the same: what a patch gives is only a proposal.
/// A turned bit of the framed bundle gives an error or bytes that the core refuses, and no others.
#[test]
fn a_turned_bit_changes_nothing_or_is_found() {
    let bench = Bench::new();
    let slots = bench.slots(&Target::default());
    let memory = |bytes: &[u8]| PieceFile::open(memory(bytes, &Log::default()));
    let (framed, patch) = (bench.framed(), bench.patch());
    let (mut opened, mut used) = (0, 0);
    for bit in bits(&patch) {
        let hurt = turned(&patch, bit);
        let Ok(patch) = memory(&hurt) else { continue };
        let assembly = Assembly::new(open(&framed, &Log::default())).with_slots(slots.clone());
        let Ok(mut assembly) = assembly.with_patch(patch) else { continue };
        assert!(read(&mut assembly).unwrap() == bench.new, "bit {bit} of the patch");
        opened += 1;
        used += usize::from(assembly.origins().rejected > 0);
    }
    assert!(opened > 100 && used > 50, "{opened} {used}");
    let mut found = 0;
    for bit in bits(&framed) {
        let Ok(file) = memory(&turned(&framed, bit)) else { continue };
        let mut assembly = Assembly::new(file).with_slots(slots.clone());
        match read(&mut assembly) {
            Ok(bytes) => assert_eq!(bytes.len() as u64, assembly.header().bundle_len()),
            Err(error) => {
                assert!(!error.is_temporary(), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found}");
}

/// Every bit of header and table, and some of those behind.
fn bits(file: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let header = Header::parse(&file[..Header::len_of(file.first_chunk().unwrap()).unwrap()]);
    let start = header.unwrap().frames_start() as usize * 8;
    (0..start).chain((start..file.len() * 8).step_by(101))
}

fn turned(file: &[u8], bit: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    file[bit / 8] ^= 1 << (bit % 8);
    file
}
