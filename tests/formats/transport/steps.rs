//! A framed file is the same bundle however it is read, and whatever its source does.

use stillboot::driver::{Source, SourceError, read_more};
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_sim::Publisher;
use stillboot_sim::disk::Random;
use stillboot_sim::transport::{changed, components, framed, patch, text};
use stillboot_tests::seed;
use stillboot_transport::frame::{Encoding, Fault, Header, Part};
use stillboot_transport::stream::{Framed, read_header};

use super::{File, bundle};

/// Old components, a new bundle, and files of it in every encoding.
fn files() -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
    let publisher = Publisher::new(1);
    let (kernel, initramfs) = (text(1, 20_000), [vec![0; 9000], text(2, 3000)].concat());
    let old = bundle(&publisher, 1, 4096, &[&kernel, &initramfs]);
    let new =
        bundle(&publisher, 2, 4096, &[&changed(&kernel, 3), &changed(&initramfs, 4), b"short"]);
    let compressions = [Compression::None, Compression::Lz4, Compression::Zstd(19)];
    let mut files: Vec<_> = compressions.iter().map(|how| framed(&new, *how)).collect();
    files.push(framed(&new, Compression::Lzma));
    files.push(patch(&old, &new, Full::Whole(Compression::Lz4)));
    (components(&old), new, files)
}

type Stream<'a> = Framed<File<'a>, &'a [u8], Vec<u8>>;

fn open<'a>(mut file: File<'a>, old: &'a [u8], spare: usize) -> Result<Stream<'a>, Fault> {
    let header = read_header(&mut file)?;
    Ok(Framed::new(file, header, old, vec![0; spare]))
}

#[test]
fn steps_of_any_length_and_skips_anywhere_give_the_same_bytes() {
    let (old, new, files) = files();
    let mut random = Random::new(seed("steps"));
    for file in &files {
        for step in [1, 31, 4095, 4096, 4097, 100_000] {
            for most in [1, 700, usize::MAX] {
                let mut stream = open(File { most, ..File::new(file) }, &old, 4096).unwrap();
                let (mut found, mut buffer) = (Vec::new(), vec![0; step]);
                loop {
                    match stream.read(&mut buffer).unwrap() {
                        0 => break,
                        len => found.extend_from_slice(&buffer[..len]),
                    }
                }
                assert!(found == new, "steps of {step}, pieces of {most}");
                assert_eq!(stream.read(&mut buffer), Ok(0), "the end stays the end");
            }
        }
        for _ in 0..40 {
            let mut stream = open(File::new(file), &old, 4096).unwrap();
            let mut at = 0;
            while at < new.len() {
                let most = 1 << random.below(14);
                let len = 1 + random.below(most) as usize;
                let len = len.min(new.len() - at);
                if random.chance(1, 2) {
                    stream.skip(len as u64).unwrap();
                } else {
                    let mut left = len;
                    while left > 0 {
                        let mut buffer = vec![0; left];
                        let now = stream.read(&mut buffer).unwrap();
                        assert!(now > 0, "at {at} of {}", new.len());
                        let from = at + len - left;
                        assert!(buffer[..now] == new[from..from + now]);
                        left -= now;
                    }
                }
                at += len;
            }
            assert_eq!(stream.read(&mut [0]), Ok(0));
            assert_eq!(stream.skip(1), Err(SourceError), "nothing is left to skip");
            assert_eq!(stream.fault(), Some(Fault::Ended));
        }
    }
}

#[test]
fn without_a_spare_buffer_whole_pieces_are_read_and_parts_of_encoded_ones_are_refused() {
    let (old, new, files) = files();
    for file in &files {
        let mut stream = open(File::new(file), &old, 0).unwrap();
        let pieces: Vec<_> = stream.header().pieces().collect();
        let mut at = 0;
        for piece in &pieces {
            // Heads and indexes are read in parts.
            let most = if matches!(piece.part, Part::Chunk(_)) { piece.len } else { 100 };
            let end = at + piece.len;
            while at < end {
                let mut buffer = vec![0; most.min(end - at)];
                let len = stream.read(&mut buffer).unwrap();
                assert!(buffer[..len] == new[at..at + len]);
                at += len;
            }
        }
        assert_eq!(at, new.len());

        let mut stream = open(File::new(file), &old, 4095).unwrap();
        let first = pieces.iter().find(|piece| piece.part == Part::Chunk(0)).unwrap();
        let before: usize = pieces[..first.number as usize].iter().map(|piece| piece.len).sum();
        stream.skip(before as u64).unwrap();
        let result = stream.read(&mut [0; 4095]);
        if stream.header().encodings == Encoding::Raw.bit() {
            assert_eq!(result, Ok(4095), "what stands as it is needs no buffer");
        } else {
            assert_eq!((result, stream.fault()), (Err(SourceError), Some(Fault::Buffer)));
            assert_eq!(stream.read(&mut [0; 4096]), Err(SourceError), "a fault stays");
            assert_eq!(stream.skip(1), Err(SourceError), "a fault stays");
        }
    }
}

#[test]
fn a_file_that_ends_at_any_byte_or_goes_on_is_a_fault() {
    let (old, new, files) = files();
    for file in &files {
        let read = |file: File<'_>| {
            let mut stream = match open(file, &old, 0) {
                Ok(stream) => stream,
                Err(fault) => return (0, Some(fault)),
            };
            let (mut len, mut buffer) = (0, vec![0; 4096]);
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return (len, None),
                    Ok(now) => len += now,
                    Err(SourceError) => return (len, stream.fault()),
                }
            }
        };
        for end in 0..file.len() {
            let (len, fault) = read(File::new(&file[..end]));
            assert!(len <= new.len());
            assert!(matches!(fault, Some(Fault::Ended | Fault::Source)), "{end}: {fault:?}");
        }
        assert_eq!(read(File::new(file)), (new.len(), None));
        let longer = [&file[..], &[0]].concat();
        assert_eq!(read(File::new(&longer)), (new.len(), Some(Fault::Trailing)));
        let endless = File { is_endless: true, ..File::new(file) };
        assert_eq!(read(endless), (new.len(), Some(Fault::Trailing)));
    }
}

/// A source that claims to have given more than there is room for.
struct Lying<'a>(File<'a>, usize);

impl Source for Lying<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = self.0.read(into)?;
        self.1 = self.1.wrapping_sub(1);
        Ok(if self.1 == 0 { into.len() + 1 } else { len })
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.0.skip(len)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

#[test]
fn a_source_that_claims_too_much_ends_in_a_fault() {
    let (old, new, files) = files();
    for file in &files {
        for lie in 1..40 {
            let mut source = Lying(File { most: 600, ..File::new(file) }, lie);
            let header = match read_header(&mut source) {
                Ok(header) => header,
                Err(fault) => {
                    assert_eq!(fault, Fault::Source);
                    continue;
                }
            };
            let mut stream = Framed::new(source, header, &old[..], Vec::new());
            let (mut found, mut buffer) = (Vec::new(), vec![0; 4096]);
            let end = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break None,
                    Ok(len) => found.extend_from_slice(&buffer[..len]),
                    Err(SourceError) => break stream.fault(),
                }
            };
            assert!(new.starts_with(&found), "nothing else is given before the lie");
            assert!(end.is_none() || end == Some(Fault::Source) || end == Some(Fault::Trailing));
        }
    }
}

#[test]
fn a_frame_that_decodes_to_more_or_less_than_its_piece_is_damaged() {
    let (old, new, files) = files();
    let whole = |file: &[u8]| -> Header {
        let len = Header::len_of(file.first_chunk().unwrap()).unwrap();
        Header::parse(&file[..len]).unwrap()
    };
    // The last component, in the header longer and shorter than its frame gives.
    let file = &files[1];
    for (len, is_sound) in [(4_u64, false), (5, true), (6, false)] {
        let mut file = file.clone();
        file[96..104].copy_from_slice(&len.to_le_bytes());
        assert_eq!(whole(&file).components()[2], len);
        let mut stream = open(File::new(&file), &old, 0).unwrap();
        let result = stream.skip(whole(&file).bundle_len() - len);
        let result = result.and_then(|()| stream.read(&mut [0; 6]));
        assert_eq!(result.is_ok(), is_sound, "{len} of {}", new.len());
        assert_eq!(stream.fault(), (!is_sound).then_some(Fault::Entry));
    }
}

#[test]
fn a_patch_that_needs_the_bundle_is_refused_where_there_is_none() {
    let publisher = Publisher::new(1);
    let old = bundle(&publisher, 1, 4096, &[&text(1, 9000)]);
    let new = bundle(&publisher, 2, 4096, &[&changed(&text(1, 9000), 2)]);
    let file = patch(&old, &new, Full::Absent(Compression::Lz4));
    assert_eq!(read_header(&mut File::new(&file)), Err(Fault::Absent));
}
