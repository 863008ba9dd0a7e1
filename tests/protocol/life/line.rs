//! Bundles that come over a line without an end: what follows belongs to the next command.

use stillboot::asynch;
use stillboot::check;
use stillboot::driver::{Source, SourceError, Unbounded};
use stillboot::format::SlotKind;
use stillboot::install::Running;
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};
use stillboot_release::frames::Compression;
use stillboot_sim::Publisher;
use stillboot_sim::driver::block_on;
use stillboot_sim::transport::{components, framed, patch};
use stillboot_tests::RamWorld;
use stillboot_transport::stream::{Framed, read_header};

use super::{AB, bundle, running};

/// A serial port. Who reads when nothing was sent waits for ever, so that fails.
struct Uart<'a> {
    sent: &'a [u8],
}

/// Bytes that it gives at once.
const FIFO_LEN: usize = 64;

impl<'a> Uart<'a> {
    const fn new(sent: &'a [u8]) -> Self {
        Self { sent }
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        assert!(!self.sent.is_empty() || into.is_empty(), "a read that never ends");
        let len = into.len().min(self.sent.len()).min(FIFO_LEN);
        into[..len].copy_from_slice(&self.sent[..len]);
        self.sent = &self.sent[len..];
        len
    }
}

impl embedded_io::ErrorType for Uart<'_> {
    type Error = core::convert::Infallible;
}

impl embedded_io::Read for Uart<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(self.give(into))
    }
}

impl embedded_io_async::Read for Uart<'_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(self.give(into))
    }
}

/// What is on the line: `bundle`, and then nothing or another command.
fn lines(bundle: &[u8]) -> [(Vec<u8>, &'static [u8]); 2] {
    [b"", &b"reboot\n"[..]].map(|next| ([bundle, next].concat(), next))
}

#[test]
fn an_installation_reads_not_one_byte_behind_the_bundle() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    for (sent, next) in lines(&bundle(&publisher, 2)) {
        let mut world = world.clone();
        let mut line = Unbounded(Uart::new(&sent));
        world.install_with(&mut line, Running::Proof(proof), |_| {}).unwrap();
        assert_eq!(line.0.sent, next);
    }
}

#[test]
fn frames_and_patches_are_read_to_their_end_and_no_further() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let (old, new) = (bundle(&publisher, 1), bundle(&publisher, 2));
    let parts = components(&old);
    let full = stillboot_release::delta::Full::Whole(Compression::Lz4);
    for file in [framed(&new, Compression::Zstd(3)), patch(&old, &new, full)] {
        for (sent, next) in lines(&file) {
            let mut world = world.clone();
            let mut line = Unbounded(Uart::new(&sent));
            let header = read_header(&mut line).unwrap();
            let mut frames = Framed::new(line, header, &parts[..], vec![0; 4096]);
            world.install_with(&mut frames, Running::Proof(proof), |_| {}).unwrap();
            assert_eq!(frames.source().0.sent, next);
        }
    }
}

#[test]
fn a_check_reads_not_one_byte_behind_the_bundle() {
    let publisher = Publisher::new(1);
    for (sent, next) in lines(&bundle(&publisher, 2)) {
        let mut line = Unbounded(Uart::new(&sent));
        let (ignore, mut buffer) = (&mut |_| {}, vec![0; HEAD_LEN_MAX]);
        let kind = SlotKind::Update;
        let device = publisher.device();
        check::bundle::<SoftSha256>(&device, kind, &mut line, true, ignore, &mut buffer).unwrap();
        assert_eq!(line.0.sent, next);
    }
}

/// The source of the asynchronous driver as one of the world's.
struct Blocking<S>(S);

impl<S: asynch::Source> Source for Blocking<S> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        block_on(self.0.read(into))
    }
    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        block_on(self.0.skip(len))
    }
    fn has_more(&mut self) -> Result<bool, SourceError> {
        block_on(self.0.has_more())
    }
}

#[test]
fn asynchronous_lines_and_streams_end_where_the_blocking_ones_do() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let good = bundle(&publisher, 2);
    let install = |world: &RamWorld<'_>, source: &mut dyn Source, reuse: bool| {
        let installed = world.clone().install_with(source, Running::Proof(proof), |config| {
            config.reuse.running = reuse;
        });
        installed.map(|installed| installed.slot)
    };
    for (sent, next) in lines(&good) {
        // With what the running slot has, so that some is skipped.
        for reuse in [false, true] {
            let mut line = Blocking(asynch::Unbounded(Uart::new(&sent)));
            install(&world, &mut line, reuse).unwrap();
            assert_eq!(line.0.0.sent, next);
            let mut stream = Blocking(asynch::Stream(&sent[..]));
            let found = install(&world, &mut stream, reuse);
            let mut stream = stillboot::driver::Stream(&sent[..]);
            assert_eq!(found, install(&world, &mut stream, reuse));
            assert_eq!(found.is_ok(), next.is_empty(), "a stream with an end has no more");
        }
    }
    for len in [0, 1, good.len() / 2, good.len() - 1] {
        let mut stream = Blocking(asynch::Stream(&good[..len]));
        let found = install(&world, &mut stream, false).unwrap_err();
        let mut stream = stillboot::driver::Stream(&good[..len]);
        assert_eq!(found, install(&world, &mut stream, false).unwrap_err(), "{len}");
    }
}
