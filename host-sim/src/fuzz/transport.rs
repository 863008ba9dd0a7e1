//! Framed files, their decoders, and patches.
//!
//! A decoder that is fed anything gives no more than its piece, takes its frame and nothing behind
//! it, ends, and comes to the same each time.

use std::cell::{Cell, RefCell};
use std::io::Read as _;

use lzma_rust2::LzmaReader;
use stillboot::driver::{Source, SourceError};
use stillboot::format::{Slot, SlotKind};
use stillboot::install::Running;
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{Encoding, Entry, Fault, Header, Part, Piece};
use stillboot_transport::lzma::Parameters;
use stillboot_transport::old::Old;
use stillboot_transport::stream::{Framed, read_header};

use super::devices;
use crate::disk::RamDisk;
use crate::release::{Publisher, content};
use crate::transport::{self, OldSlot, old_parts};
use crate::world::World;

/// Longest piece that the decoders are asked for.
const PIECE_LEN_MAX: usize = 4096;
/// What surrounds the place of the piece.
const GUARD: [u8; 64] = [0xc3; 64];
/// Bytes of a bundle after which a framed file is read no further.
const READ_MAX: usize = 1 << 20;

/// One block of LZ4. As the other decoders: the first two bytes are the length of the piece, and
/// whether the rest is a frame or a piece to be encoded.
pub fn lz4(data: &[u8]) {
    let Some((len, rest)) = input(data) else { return };
    let Some(len) = len else {
        let block = lz4_flex::block::compress(rest);
        assert_eq!(decoded(Encoding::Lz4, &block, rest.len()).as_deref(), Ok(rest));
        return;
    };
    let mut other = vec![0; len];
    if let Ok(found) = decoded(Encoding::Lz4, rest, len)
        && lz4_flex::block::decompress_into(rest, &mut other).ok() == Some(len)
    {
        assert_eq!(found, other);
    }
}

/// One stream of LZMA.
pub fn lzma(data: &[u8]) {
    let Some((len, rest)) = input(data) else { return };
    let other = |stream: &[u8], len: usize| {
        let (parameters, stream) = stream.split_first()?;
        let Parameters { lc, lp, pb } = Parameters::parse(*parameters)?;
        let (lc, lp, pb) = (lc.into(), lp.into(), pb.into());
        let reader = LzmaReader::new(stream, len as u64, lc, lp, pb, 1 << 12, None).ok()?;
        let mut out = Vec::new();
        reader.take(len as u64).read_to_end(&mut out).ok()?;
        (out.len() == len).then_some(out)
    };
    let Some(len) = len else {
        let parameters = Parameters::parse(rest[0] % 136);
        let parameters = parameters.unwrap_or(Parameters { lc: 2, lp: 0, pb: 2 });
        let stream = transport::lzma(rest, parameters);
        assert_eq!(decoded(Encoding::Lzma, &stream, rest.len()).as_deref(), Ok(rest));
        assert_eq!(other(&stream, rest.len()).as_deref(), Some(rest));
        return;
    };
    if let (Ok(found), Some(other)) = (decoded(Encoding::Lzma, rest, len), other(rest, len)) {
        assert_eq!(found, other);
    }
}

/// One frame of zstd.
pub fn zstd(data: &[u8]) {
    let Some((len, rest)) = input(data) else { return };
    match len {
        None => {
            let (piece, frame) = one_chunk(rest, Compression::Zstd(1 + rest[0] % 22));
            if let Some(frame) = frame {
                assert_eq!(decoded(Encoding::Zstd, &frame, piece.len()).as_deref(), Ok(&piece[..]));
            }
        }
        Some(len) => drop(decoded(Encoding::Zstd, rest, len)),
    }
}

/// One patch.
pub fn patch(data: &[u8]) {
    if let Some((Some(len), rest)) = input(data) {
        let _ = decoded(Encoding::Patch, rest, len);
    }
}

/// The length of the piece, `None` if it is to be encoded, and the rest of the input.
fn input(data: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let ([low, high], rest) = data.split_first_chunk()?;
    let len = 1 + usize::from(u16::from_le_bytes([*low, high & 0x7f])) % PIECE_LEN_MAX;
    if high & 0x80 == 0 {
        return Some((Some(len), rest));
    }
    (!rest.is_empty()).then(|| (None, &rest[..rest.len().min(PIECE_LEN_MAX)]))
}

/// What a piece is compressed to in a framed file, and the piece.
fn one_chunk(piece: &[u8], compression: Compression) -> (Vec<u8>, Option<Vec<u8>>) {
    thread_local! {
        static PUBLISHER: Publisher = Publisher::new(1);
    }
    use stillboot::format::{Load, Role};
    let part = crate::Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: piece };
    let bundle = PUBLISHER
        .with(|it| it.bundle(it.manifest(1), SlotKind::Update, &[part]))
        .expect("a sound bundle");
    let file = transport::framed(&bundle, compression);
    // The last frame is that of the chunk.
    let header = Header::parse(&file[..88]).expect("its header");
    let end = header.frames_start() as usize;
    let last = header.pieces().last().expect("it has pieces");
    let entry = file[end - 4..end].try_into().expect("four bytes");
    let entry = Entry::parse(entry, &header, &last).expect("its entry");
    let frame = file[file.len() - entry.len as usize..].to_vec();
    (piece.to_vec(), (entry.encoding == Encoding::Zstd).then_some(frame))
}

/// Decodes one frame in several ways, which must agree.
fn decoded(encoding: Encoding, frame: &[u8], len: usize) -> Result<Vec<u8>, Fault> {
    let old = old_bytes();
    let given = Cell::new(0);
    let mut decoder = Decoder::new(CountingOld { old: &old, given: &given });
    let header = Header::new([0; 32], 1, PIECE_LEN_MAX as u32, &[len as u64])
        .expect("in its bounds")
        .with_encodings(u8::MAX >> 1);
    let piece: Piece = header.pieces().find(|piece| piece.part == Part::Chunk(0)).expect("one");
    let entry = Entry { encoding, len: frame.len() as u32 };
    let mut results = [usize::MAX, 1, 13].map(|most| {
        given.set(0);
        let mut out = [&GUARD[..], &vec![0x77; len], &GUARD].concat();
        let mut source = Endless { frame, taken: 0, reads: 0, most };
        let place = &mut out[GUARD.len()..][..len];
        let result = decoder.decode(&header, &piece, entry, &mut source, place);
        assert_eq!(source.taken, frame.len() as u64, "it takes its frame, and all of it");
        let reads_max = match most {
            usize::MAX => 8 + frame.len() / 8,
            _ => 1 + frame.len(),
        };
        assert!(source.reads <= reads_max, "{} reads of {} bytes", source.reads, frame.len());
        assert!(given.get() <= len, "{} old bytes for {len}", given.get());
        assert!(out.starts_with(&GUARD) && out.ends_with(&GUARD), "it leaves its piece");
        assert!(!matches!(result, Err(Fault::Source | Fault::Ended)), "the source is sound");
        result.map(|()| out[GUARD.len()..][..len].to_vec())
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    std::mem::replace(&mut results[0], Err(Fault::Damaged))
}

/// What patches start from here.
fn old_bytes() -> Vec<u8> {
    transport::text(1, 3000)
}

/// Old bytes, and how many were read.
struct CountingOld<'a> {
    old: &'a [u8],
    given: &'a Cell<usize>,
}

impl Old for CountingOld<'_> {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        self.given.set(self.given.get() + into.len());
        Old::read(&mut self.old, offset, into)
    }
}

/// A frame, and endless bytes behind it.
struct Endless<'a> {
    frame: &'a [u8],
    taken: u64,
    reads: usize,
    most: usize,
}

impl Source for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = into.len().min(self.most);
        for (at, byte) in into[..len].iter_mut().enumerate() {
            *byte = self.frame.get(self.taken as usize + at).copied().unwrap_or(0xee);
        }
        self.taken += len as u64;
        self.reads += 1;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.taken += len;
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(true)
    }
}

/// A framed file that is anything: it gives at most its bundle, the same however it is read, and
/// ends in the bundle's end or in one fault that stays.
pub fn frames(data: &[u8]) {
    let mut source = transport::FileBytes(data);
    let Ok(header) = read_header(&mut source) else { return };
    assert_eq!(data.len() - source.0.len(), header.frames_start() as usize);
    let old = old_bytes();
    let read = |steps: &[usize], spare: usize, from: u64| {
        let mut stream = Framed::new(source.clone(), header, &old[..], vec![0; spare]);
        if stream.skip(from).is_err() {
            return (Vec::new(), Some(stream.fault()));
        }
        let mut given = Vec::new();
        let mut buffer = vec![0; steps.iter().copied().max().unwrap_or(1)];
        for step in steps.iter().cycle() {
            match stream.read(&mut buffer[..*step]) {
                Ok(0) => {
                    assert_eq!(from + given.len() as u64, header.bundle_len(), "all of it");
                    assert!(stream.source().0.is_empty(), "nothing is left");
                    return (given, None);
                }
                Ok(len) => given.extend_from_slice(&buffer[..len]),
                Err(SourceError) => {
                    let fault = stream.fault();
                    assert!(fault.is_some());
                    assert_eq!(stream.read(&mut buffer), Err(SourceError), "a fault stays");
                    assert_eq!(stream.skip(1), Err(SourceError));
                    assert_eq!(stream.fault(), fault);
                    return (given, Some(fault));
                }
            }
            assert!(from + given.len() as u64 <= header.bundle_len());
            if given.len() > READ_MAX {
                break;
            }
        }
        (given, Some(None))
    };
    let size = header.chunk_size as usize;
    let (whole, end) = read(&[size], 0, 0);
    assert_eq!(read(&[size], 0, 0), (whole.clone(), end), "twice it is the same");
    let (parts, parts_end) = read(&[1 + data.len() % 7, 100, 4000], size, 0);
    let common = whole.len().min(parts.len());
    assert_eq!(whole[..common], parts[..common]);
    assert_eq!(end.is_none(), parts_end.is_none());
    if end.is_none() {
        let from = data.len() as u64 * 31 % header.bundle_len();
        assert_eq!(read(&[33, 5000], size, from), (whole[from as usize..].to_vec(), None));
    }
}

/// A device on which a release runs, and files of the next one.
struct Bench {
    publisher: Publisher,
    files: Vec<Vec<u8>>,
    next: Vec<u8>,
    old: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let publisher = Publisher::new(1);
        let bundle = |sequence: u64, kernel: &[u8], initramfs: &[u8]| {
            use stillboot::format::{Load, Role};
            let piece = |role, bytes| crate::Piece { role, load: Load::Ram, linked: None, bytes };
            let parts = [piece(Role::Kernel, kernel), piece(Role::Initramfs, initramfs)];
            publisher
                .bundle(publisher.manifest(sequence), SlotKind::Update, &parts)
                .expect("a sound bundle")
        };
        let (kernel, initramfs) = (transport::text(1, 6000), content(2, 3000));
        let old = bundle(1, &kernel, &initramfs);
        let next = bundle(2, &transport::changed(&kernel, 3), &transport::changed(&initramfs, 4));
        let lz4 = Full::Whole(Compression::Lz4);
        let files = vec![
            transport::framed(&next, Compression::Lz4),
            transport::framed(&next, Compression::Zstd(9)),
            transport::framed(&next, Compression::Lzma),
            transport::patch(&old, &next, lz4),
        ];
        Self { publisher, files, next, old }
    }
}

/// A framed file or a patch, sound but for what the input changes in it and in the old slot, never
/// harms what runs; and what it gives is installed only if it is what was signed.
///
/// The first byte says which file, then come changes of three bytes each: where, and what. The
/// highest bit of the place hits the old slot.
pub fn transported(data: &[u8]) {
    thread_local! {
        static BENCH: Bench = Bench::new();
        static MADE: RefCell<Option<Vec<RamDisk>>> = const { RefCell::new(None) };
    }
    let Some((which, changes)) = data.split_first() else { return };
    BENCH.with(|bench| {
        let mut world = devices::small(&bench.publisher);
        let made = MADE.with_borrow_mut(|made| {
            made.get_or_insert_with(|| {
                world.install(&bench.old, None).expect("a blank device takes it");
                let proof = world.power_on().expect("sound").proof.expect("it boots");
                world
                    .perform(stillboot::request::Request::MarkGood(proof))
                    .expect("it is confirmed");
                world.disks.clone()
            })
            .clone()
        });
        world.disks = made;
        let proof = world.power_on().expect("sound").proof.expect("it boots");
        assert_eq!(proof.slot, Slot::A);
        let mut file = bench.files[usize::from(which % 4)].clone();
        let parts = old_of(&world, &bench.old);
        let mut snapshot = world.disks[0].fork();
        for change in changes.chunks_exact(3).take(16) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1] & 0x7f]));
            if change[1] & 0x80 != 0 {
                let (place, length) = parts[at % 2];
                let at = place.expect("of this slot") + at as u64 % length;
                snapshot.poke(at, &[change[2]]);
                continue;
            }
            let at = at % file.len();
            match which >> 4 & 3 {
                0 | 1 => file[at] ^= change[2] | 1,
                2 => file.truncate(at.max(1)),
                _ => file.insert(at, change[2]),
            }
        }
        let mut source = transport::FileBytes(&file);
        let next = stillboot_transport::outline::Outline::of(&bench.next).expect("a bundle");
        let is_new = match read_header(&mut source) {
            Ok(header) => {
                let old = OldSlot { disk: snapshot, parts };
                let mut stream = Framed::new(source, header, old, Vec::new());
                world.install_with(&mut stream, Running::Proof(proof), |_| {}).is_ok()
            }
            Err(_) => false,
        };
        if changes.len() < 3 {
            assert!(is_new, "a sound file is installed");
        }
        let started = world.power_on().expect("sound").proof.expect("something boots");
        // What starts has verified: these are the bytes that were signed.
        assert_eq!(started.digest == next.digest, is_new);
        assert_eq!(started.digest == proof.digest, !is_new);
    });
}

/// Where the components of the bundle stand in the first slot.
fn old_of(world: &World<'_, RamDisk>, bundle: &[u8]) -> crate::transport::OldParts {
    let slots = world.ground.slots();
    let layout = world.ground.layout(&slots).expect("sound");
    let outline = stillboot_transport::outline::Outline::of(bundle).expect("a bundle");
    old_parts(&world.ground, &layout, Slot::A, &outline)
}

/// Inputs to start from, for the target called `name`; none for other targets.
pub(super) fn seeds(name: &str) -> Vec<Vec<u8>> {
    let frame = |len: usize, frame: &[u8]| [&(len as u16 - 1).to_le_bytes()[..], frame].concat();
    let raw = |piece: &[u8]| [&[0, 0x80][..], piece].concat();
    let pieces = [transport::text(5, 700), content(5, 40), vec![9; 4096], vec![0; 300]];
    let mut seeds: Vec<Vec<u8>> = match name {
        "lz4" => pieces
            .iter()
            .map(|piece| frame(piece.len(), &lz4_flex::block::compress(piece)))
            .collect(),
        "lzma" => {
            let all = (0..136).filter_map(Parameters::parse);
            all.zip(pieces.iter().cycle())
                .map(|(parameters, piece)| frame(piece.len(), &transport::lzma(piece, parameters)))
                .collect()
        }
        "zstd" => pieces
            .iter()
            .filter_map(|piece| {
                let (_, found) = one_chunk(piece, Compression::Zstd(19));
                found.map(|found| frame(piece.len(), &found))
            })
            .collect(),
        "patch" => patch_seeds().into_iter().map(|(len, patch)| frame(len, &patch)).collect(),
        "frames" => Bench::new().files,
        "transported" => {
            (0..4).flat_map(|which| [vec![which], vec![which, 200, 3, 8, 100, 0x81, 7]]).collect()
        }
        _ => Vec::new(),
    };
    if ["lz4", "lzma", "zstd"].contains(&name) {
        seeds.extend(pieces.iter().map(|piece| raw(piece)));
    }
    seeds
}

/// Patches of [`old_bytes`]: the length of the piece, and the patch.
fn patch_seeds() -> Vec<(usize, Vec<u8>)> {
    let old = old_bytes();
    let residual = |bytes: &[u8]| {
        let stream = transport::lzma(bytes, Parameters { lc: 0, lp: 0, pb: 0 });
        [&(stream.len() as u32).to_le_bytes()[..3], &stream].concat()
    };
    let mut sparse = vec![0; 600];
    sparse[100] = 7;
    vec![
        // All of it as it was; some of it, from another place; new bytes among old ones.
        (500, vec![0, 0, 0, 0, 0xf4, 3, 0]),
        (500, vec![0, 0, 0, 10, 100, 40, 0, 50, 0x81, 1]),
        (600, [&residual(&sparse)[..], &[0, 0xd8, 4, 20]].concat()),
        (old.len(), residual(&old)),
        (64, vec![0, 0, 0]),
    ]
}
