//! Bundles that are read once.

use std::io::{self, Read};

use stillboot::driver::{Source as _, SourceError};
use stillboot_fetch::error::FetchError;
use stillboot_fetch::pipe::{Pipe, Pump, Reader};
use stillboot_fetch::stream::Stream as _;
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_sim::disk::Random;
use stillboot_transport::frame::Fault;

use super::{Bench, all, patch};

/// Bytes in pieces of at most `most`, now and then an interruption, then perhaps an error.
struct Slow {
    bytes: Vec<u8>,
    at: usize,
    most: usize,
    interrupts: bool,
    fails: bool,
}

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.interrupts = !self.interrupts;
        if self.interrupts {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let rest = &self.bytes[self.at..];
        if rest.is_empty() && self.fails {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let len = into.len().min(rest.len()).min(self.most);
        into[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

fn slow(bytes: &[u8], most: usize, fails: bool) -> Reader {
    Box::new(Slow { bytes: bytes.to_vec(), at: 0, most, interrupts: false, fails })
}

fn open(bytes: &[u8], most: usize, fails: bool) -> Pipe {
    Pipe::open(slow(bytes, most, fails), "a pipe".into()).unwrap()
}

#[test]
fn a_pipe_gives_the_bundle_as_it_is_and_out_of_frames() {
    let bench = Bench::new();
    for file in [bench.new.clone(), bench.framed()] {
        for most in [1, 1000, usize::MAX] {
            for step in [1, 4096, 100_000] {
                assert!(all(&mut open(&file, most, false), step).unwrap() == bench.new);
                let mut pump = Pump::new(open(&file, most, false)).unwrap();
                assert!(all(&mut pump, step).unwrap() == bench.new);
                assert_eq!(pump.read(&mut [0]), Ok(0), "the end stays the end");
                assert!(pump.take_error().is_none());
            }
        }
    }
}

#[test]
fn skips_keep_the_place_and_end_with_the_bundle() {
    let bench = Bench::new();
    let mut random = Random::new(9);
    for file in [bench.new.clone(), bench.framed()] {
        for _ in 0..20 {
            let mut pipe = open(&file, 5000, false);
            let mut pump = Pump::new(open(&file, 5000, false)).unwrap();
            let mut at = 0;
            while at < bench.new.len() {
                let most = 1 << random.below(15);
                let len = (1 + random.below(most) as usize).min(bench.new.len() - at);
                if random.chance(1, 2) {
                    pipe.skip(len as u64).unwrap();
                    pump.skip(len as u64).unwrap();
                } else {
                    for source in [&mut pipe as &mut dyn stillboot::driver::Source, &mut pump] {
                        let mut done = 0;
                        while done < len {
                            let mut buffer = vec![0; len - done];
                            let now = source.read(&mut buffer).unwrap();
                            assert!(now > 0);
                            assert!(buffer[..now] == bench.new[at + done..at + done + now]);
                            done += now;
                        }
                    }
                }
                at += len;
            }
            assert_eq!(pipe.skip(1), Err(SourceError));
            assert_eq!(pump.skip(1), Err(SourceError));
            assert!(pipe.take_error().is_some() && pump.take_error().is_some());
            assert_eq!(pump.read(&mut [0]), Err(SourceError), "a failure stays");
        }
    }
}

#[test]
fn a_failure_comes_after_what_was_read_before_it_is_told_once_and_stays() {
    let bench = Bench::new();
    for file in [bench.new.clone(), bench.framed()] {
        let short = &file[..file.len() * 2 / 3];
        let mut pump = Pump::new(open(short, 3000, true)).unwrap();
        let (mut found, mut buffer) = (Vec::new(), vec![0; 4096]);
        while let Ok(len) = pump.read(&mut buffer) {
            assert!(len > 0, "a failure is not an end");
            found.extend_from_slice(&buffer[..len]);
        }
        assert!(bench.new.starts_with(&found) && found.len() > bench.new.len() / 3);
        let error = pump.take_error().unwrap();
        assert!(matches!(error, FetchError::Io { .. }), "{error}");
        assert!(pump.take_error().is_none());
        assert_eq!(pump.read(&mut buffer), Err(SourceError), "it does not end the bundle");
        assert_eq!(pump.skip(1), Err(SourceError));
    }
}

#[test]
fn damage_of_frames_is_named() {
    let bench = Bench::new();
    let mut file = bench.framed();
    file.pop();
    let mut pipe = open(&file, 100, false);
    assert!(all(&mut pipe, 4096).is_err());
    let error = pipe.take_error().unwrap();
    assert!(matches!(error, FetchError::Frames { fault: Fault::Ended, .. }), "{error}");
    let mut file = bench.framed();
    file[4] = 9;
    let error = Pipe::open(slow(&file, 100, false), "a pipe".into()).unwrap_err();
    assert!(matches!(error, FetchError::Frames { fault: Fault::Version(9), .. }), "{error}");
    let error = Pipe::open(slow(b"SB", 100, true), "a pipe".into()).unwrap_err();
    assert!(matches!(error, FetchError::Io { .. }), "{error}");
}

#[test]
fn threads_end_with_their_pump() {
    let bench = Bench::new();
    for len in [0, 1, 5000] {
        let mut pump = Pump::new(open(&bench.framed(), 10, false)).unwrap();
        let mut at = 0;
        while at < len {
            let now = pump.read(&mut vec![0; len - at]).unwrap();
            assert!(now > 0, "it ends at {at}");
            at += now;
        }
    }
}

/// Old bytes are read at any place. It is said before anything is erased, not at the first frame.
#[test]
fn patches_do_not_come_through_a_pipe() {
    let bench = Bench::new();
    let compression = Compression::Lz4;
    for (full, whole) in [(Full::Whole(compression), true), (Full::Absent(compression), false)] {
        let bytes = patch(&bench.old, &bench.new, full);
        let error = Pipe::open(Box::new(io::Cursor::new(bytes)), "it".into()).unwrap_err();
        let FetchError::Patch { name, is_whole } = error else { panic!("{error}") };
        assert_eq!((&*name, is_whole), ("it", whole));
    }
}
