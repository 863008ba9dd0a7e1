//! The encoders: equal bytes on any machine, and patches that are worth it.

use std::io::Cursor;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use stillboot::driver::SourceError;
use stillboot::format::{Load, Role, Slot, SlotKind};
use stillboot_release::delta::{self, DeltaError, Full, Written};
use stillboot_release::frames::{Compression, FramesError, compress, expand};
use stillboot_sim::Publisher;
use stillboot_sim::release::{Piece, content};
use stillboot_sim::transport::{changed, components, expanded, framed, patch, text};
use stillboot_transport::frame::{Encoding, Fault};
use stillboot_transport::old::{NoOld, Old};
use stillboot_transport::outline::Outline;

use super::{bundle, code};

fn written(old: &[u8], new: &[u8], full: Full) -> Result<(Written, Vec<u8>), DeltaError> {
    let mut out = Cursor::new(Vec::new());
    let written = delta::write(old, new, full, &mut out, &mut |_| {})?;
    let file = out.into_inner();
    assert_eq!(written.len, file.len() as u64);
    Ok((written, file))
}

/// Runs `work` on one core, and on all of them.
fn on_one_and_on_all<T>(work: impl Fn() -> T) -> (T, T) {
    let all = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).unwrap();
    assert_eq!(std::thread::available_parallelism().unwrap().get(), 1);
    let on_one = work();
    sched_setaffinity(None, &all).unwrap();
    (on_one, work())
}

#[test]
fn the_same_bundles_give_the_same_files_on_any_number_of_cores() {
    let publisher = Publisher::new(1);
    let parts = [code(1, 300_000), text(2, 100_000)];
    let old = bundle(&publisher, 1, 4096, &[&parts[0], &parts[1]]);
    let next = [changed(&parts[0], 3), changed(&parts[1], 4)];
    let new = bundle(&publisher, 2, 4096, &[&next[0], &next[1]]);
    for how in [Compression::Lz4, Compression::Zstd(3), Compression::Zstd(19), Compression::Lzma] {
        let (one, all) = on_one_and_on_all(|| framed(&new, how));
        assert!(one == all, "{how}");
    }
    for full in [Full::Absent(Compression::Lz4), Full::Whole(Compression::Zstd(3))] {
        let (one, all) = on_one_and_on_all(|| patch(&old, &new, full));
        assert!(one == all, "{full:?}");
    }
}

#[test]
fn a_patch_is_never_longer_than_the_compressed_bundle_and_one_percent() {
    let publisher = Publisher::new(1);
    let long = [code(1, 100_000), text(1, 50_000), content(1, 30_000)].concat();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("the same components", long.clone(), long.clone()),
        ("few changes", long.clone(), changed(&long, 2)),
        ("nothing in common", content(5, 50_000), content(6, 60_000)),
        ("nothing in common, text", text(5, 50_000), content(6, 60_000)),
        ("one byte to one byte", vec![1], vec![2]),
        ("one byte to many", vec![1], text(3, 20_000)),
        ("many to one byte", text(3, 20_000), vec![1]),
        ("old much longer", long.clone(), long[60_000..70_000].to_vec()),
        ("new twice as long", long.clone(), [&long[..], &long].concat()),
        ("zeros", vec![0; 40_000], vec![0; 50_000]),
        ("zeros from text", text(1, 40_000), vec![0; 50_000]),
        ("ones from text", text(1, 40_000), vec![0xff; 50_000]),
        ("halves swapped", long.clone(), [&long[90_000..], &long[..90_000]].concat()),
    ];
    for (name, old_part, new_part) in cases {
        let old = bundle(&publisher, 1, 4096, &[&old_part]);
        let new = bundle(&publisher, 2, 4096, &[&new_part]);
        for how in [Compression::Lz4, Compression::Zstd(19), Compression::Lzma] {
            let full = framed(&new, how).len();
            let (_, file) = written(&old, &new, Full::Whole(how)).unwrap();
            assert!(file.len() <= full + full / 100, "{name}, {how}: {} of {full}", file.len());
            let (found, fault) = expanded(&file, &mut &components(&old)[..]).unwrap();
            assert!(fault.is_none() && found == new, "{name}, {how}: {fault:?}");
            let (_, short) = written(&old, &new, Full::Absent(how)).unwrap();
            assert!(short.len() <= file.len(), "{name}, {how}");
        }
    }
}

#[test]
fn a_patch_of_few_changes_is_short_and_says_what_it_holds() {
    let publisher = Publisher::new(1);
    let parts = [code(1, 200_000), content(2, 60_000)];
    let old = bundle(&publisher, 1, 65536, &[&parts[0], &parts[1]]);
    // The last chunk of the second is new.
    let new_tail = [&parts[1][..58_000], &content(9, 40_000)].concat();
    let new = bundle(&publisher, 2, 65536, &[&changed(&parts[0], 3), &new_tail]);
    let (found, file) = written(&old, &new, Full::Absent(Compression::Zstd(19))).unwrap();
    assert!(file.len() < 10_000, "{}", file.len());
    // All of the first component, and the first chunk of the second.
    assert_eq!(found.patched, (5, 200_000 + 65_536));
    // The head, two indexes, and the last chunk.
    let head = found.new.places().next().unwrap().index;
    assert_eq!(found.absent, (4, head + 4 * 32 + 2 * 32 + 98_000 - 65_536));
    assert_eq!((found.old.digest, found.new.digest), {
        (Outline::of(&old).unwrap().digest, Outline::of(&new).unwrap().digest)
    });
}

#[test]
fn a_component_that_moved_to_another_place_is_found_there() {
    let publisher = Publisher::new(1);
    let parts = [content(1, 50_000), content(2, 40_000), content(3, 30_000)];
    let old = bundle(&publisher, 1, 4096, &[&parts[0], &parts[1], &parts[2]]);
    for order in [[2, 0, 1], [1, 2, 0], [1, 0, 2]] {
        let moved: Vec<&[u8]> = order.iter().map(|at| &parts[*at][..]).collect();
        let new = bundle(&publisher, 2, 4096, &moved);
        let (_, file) = written(&old, &new, Full::Whole(Compression::Lz4)).unwrap();
        assert!(file.len() < 4000, "{order:?}: {}", file.len());
        let (found, fault) = expanded(&file, &mut &components(&old)[..]).unwrap();
        assert!(fault.is_none() && found == new, "{order:?}: {fault:?}");
    }
}

#[test]
fn a_piece_of_zeros_needs_nothing_of_the_old_bundle() {
    let publisher = Publisher::new(1);
    let old = bundle(&publisher, 1, 4096, &[&[text(1, 5000), vec![0; 9000]].concat()]);
    let new = bundle(&publisher, 2, 4096, &[&vec![0; 12_288]]);
    let (found, file) = written(&old, &new, Full::Absent(Compression::Lz4)).unwrap();
    assert_eq!(found.patched, (0, 0));
    let (found, file_whole) = written(&old, &new, Full::Whole(Compression::Lz4)).unwrap();
    assert_eq!(found.patched, (0, 0));
    assert!(file.len() < file_whole.len());
    let (expanded, fault) = expanded(&file_whole, &mut NoOld).unwrap();
    assert!(fault.is_none() && expanded == new);
}

/// Old bytes, of which those of one component are in the other slot.
struct Without<'a>(&'a [u8], std::ops::Range<u64>);

impl Old for Without<'_> {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let end = offset + into.len() as u64;
        if offset < self.1.end && self.1.start < end {
            return Err(SourceError);
        }
        Old::read(&mut self.0, offset, into)
    }
}

#[test]
fn a_component_for_one_slot_starts_from_what_stands_in_the_other() {
    let publisher = Publisher::new(1);
    let linked = |sequence: u64, a: &[u8], b: &[u8], both: &[u8]| {
        let piece = |role, linked, bytes| Piece { role, load: Load::Xip, linked, bytes };
        let pieces = [
            piece(Role::Kernel, Some(Slot::A), a),
            piece(Role::Kernel, Some(Slot::B), b),
            piece(Role::Initramfs, None, both),
        ];
        let manifest = publisher.manifest(sequence);
        publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap()
    };
    let (a, b, both) = (code(1, 20_000), code(1, 20_000), text(3, 10_000));
    let (a, b) = (changed(&a, 8), changed(&b, 9));
    let old = linked(1, &a, &b, &both);
    let new = linked(2, &changed(&a, 10), &changed(&b, 11), &changed(&both, 12));
    let (found, file) = written(&old, &new, Full::Whole(Compression::Lz4)).unwrap();
    assert_eq!(found.patched.0, 5 + 5 + 3);
    let all = components(&old);
    let places: Vec<_> = found.new.places().collect();
    for (number, hidden) in [(0, 0..20_000), (1, 20_000..40_000)] {
        // The device runs from the other slot: of what is linked for this one it has nothing.
        let mut old = Without(&all, hidden);
        let place = places[number];
        let mut file = super::File::new(&file);
        let header = stillboot_transport::stream::read_header(&mut file).unwrap();
        let mut stream =
            stillboot_transport::stream::Framed::new(file, header, &mut old, vec![0; 4096]);
        use stillboot::driver::Source as _;
        stream.skip(place.data).unwrap();
        let (mut at, end) = (place.data as usize, (place.data + place.length) as usize);
        while at < end {
            let mut buffer = vec![0; 4096.min(end - at)];
            let len = stream.read(&mut buffer).unwrap();
            assert!(buffer[..len] == new[at..at + len]);
            at += len;
        }
    }
}

#[test]
fn what_is_no_pair_of_bundles_is_refused() {
    let publisher = Publisher::new(1);
    let old = bundle(&publisher, 1, 4096, &[b"one"]);
    let new = bundle(&publisher, 2, 4096, &[b"another"]);
    let full = Full::Whole(Compression::Lz4);
    assert!(matches!(written(&old, &old, full), Err(DeltaError::Same)));
    let mut manifest = publisher.manifest(3);
    manifest.product = [7; 16];
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: b"x" };
    let foreign = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    assert!(matches!(written(&old, &foreign, full), Err(DeltaError::Product)));
    for end in [0, 1, 100, new.len() - 1] {
        let cut = &new[..end];
        assert!(matches!(written(&old, cut, full), Err(DeltaError::New(_))), "{end}");
        assert!(matches!(written(cut, &new, full), Err(DeltaError::Old(_))), "{end}");
        let result =
            compress(&mut &cut[..], Compression::Lz4, &mut Cursor::new(Vec::new()), &mut |_| {});
        assert!(matches!(result, Err(FramesError::NotABundle | FramesError::Ended)), "{end}");
        let result = expand(&mut &cut[..], &mut Vec::new(), &mut |_, _| {});
        assert!(matches!(result, Err(FramesError::NotABundle | FramesError::Ended)), "{end}");
    }
    let longer = [&new[..], &[0]].concat();
    assert!(matches!(written(&old, &longer, full), Err(DeltaError::New(FramesError::Trailing))));
    let result =
        compress(&mut &longer[..], Compression::Lz4, &mut Cursor::new(Vec::new()), &mut |_| {});
    assert!(matches!(result, Err(FramesError::Trailing)));
}

/// A patch is useless on other old bytes, and then gives an error or bytes that the core refuses.
#[test]
fn old_bytes_that_are_missing_are_a_fault() {
    let publisher = Publisher::new(1);
    let part = text(1, 30_000);
    let old = bundle(&publisher, 1, 4096, &[&part]);
    let new = bundle(&publisher, 2, 4096, &[&changed(&part, 2)]);
    let file = patch(&old, &new, Full::Whole(Compression::Lz4));
    let (found, fault) = expanded(&file, &mut NoOld).unwrap();
    assert!(new.starts_with(&found));
    assert_eq!(fault, Some(Fault::Old));
    let short = &components(&old)[..15_000];
    let (found, fault) = expanded(&file, &mut &short[..]).unwrap();
    assert!(new.starts_with(&found) && found.len() > 8000);
    assert_eq!(fault, Some(Fault::Old));
    let header = stillboot_transport::stream::read_header(&mut super::File::new(&file)).unwrap();
    assert!(header.has_patches() && header.encodings & Encoding::Absent.bit() == 0);
    assert_eq!(header.from, Outline::of(&old).unwrap().digest);
}
