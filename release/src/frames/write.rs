//! The file around the frames.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::thread;

use stillboot_transport::frame::{
    ENTRY_LEN, Encoding, Entry, Fault, HEADER_LEN_MAX, Header, Piece,
};

use super::encode::{Compression, Encoder};
use stillboot_transport::outline::Outline;

/// Pieces that one thread encodes before the next ones are read.
const BATCH: usize = 8;

/// Why a framed file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramesError {
    /// The bundle could not be read, or the file not written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The bundle has lengths that no framed file can hold.
    #[error("the bundle does not fit in a framed file: {0}")]
    Header(Fault),
    /// The input is no bundle.
    #[error("expected a bundle: a keyset and a manifest, as `stillboot pack` writes them")]
    NotABundle,
    /// The bundle ends before its manifest says.
    #[error("the bundle ends too early")]
    Ended,
    /// More bytes follow the bundle.
    #[error("more bytes follow the bundle")]
    Trailing,
}

/// Where a framed file goes. The table stands before the frames and is written after them.
pub trait Sink: Write + Seek {}

impl<T: Write + Seek> Sink for T {}

/// Makes the frame of each piece; one for each thread.
pub(crate) trait Piecewise: Send {
    /// The frame of `piece`, whose bytes are `bytes`.
    fn frame(&mut self, piece: &Piece, bytes: &[u8]) -> (Encoding, Vec<u8>);
}

/// Compresses pieces that are chunks. Heads and indexes stay as they are.
struct Compressor(Encoder);

impl Piecewise for Compressor {
    fn frame(&mut self, piece: &Piece, bytes: &[u8]) -> (Encoding, Vec<u8>) {
        match piece.part {
            stillboot_transport::frame::Part::Chunk(_) => self.0.encode(bytes),
            _ => (Encoding::Raw, bytes.to_vec()),
        }
    }
}

/// Writes the bundle that `input` streams as a framed file to `out`. Returns what its head says,
/// and the length of the file.
///
/// # Errors
/// [`FramesError`].
pub fn compress(
    input: &mut dyn Read,
    compression: Compression,
    out: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<(Outline, u64), FramesError> {
    let (outline, start) = head(input)?;
    let header = outline.header().map_err(FramesError::Header)?;
    let mut stream = start.as_slice().chain(input);
    let make = || Compressor(Encoder::new(compression));
    let len = write(&mut stream, header, &make, out, progress)?;
    Ok((outline, len))
}

/// Reads the head of a bundle; returns what it says, and all bytes that were read.
pub(crate) fn head(input: &mut dyn Read) -> Result<(Outline, Vec<u8>), FramesError> {
    let mut start = Vec::new();
    let most = stillboot::verify::HEAD_LEN_MAX as u64;
    input.take(most).read_to_end(&mut start)?;
    let outline = Outline::of(&start).ok_or(FramesError::NotABundle)?;
    Ok((outline, start))
}

/// Writes a framed file to `out`: the frames that `make` gives of the bundle that `input` streams.
/// Returns its length.
///
/// # Errors
/// [`FramesError`].
pub(crate) fn write<P: Piecewise>(
    input: &mut dyn Read,
    header: Header,
    make: &(dyn Fn() -> P + Sync),
    out: &mut dyn Sink,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, FramesError> {
    let start = out.stream_position()?;
    let table_start = start + header.header_len();
    let mut table = Vec::new();
    out.seek(SeekFrom::Start(start + header.frames_start()))?;
    let mut encodings = 0;
    let mut done = 0;
    let mut pieces = header.pieces();
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut makers: Vec<P> = (0..threads).map(|_| make()).collect();
    loop {
        let mut batch = Vec::new();
        for piece in pieces.by_ref().take(threads * BATCH) {
            let mut bytes = vec![0; piece.len];
            input.read_exact(&mut bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => FramesError::Ended,
                _ => FramesError::Io(error),
            })?;
            batch.push((piece, bytes));
        }
        if batch.is_empty() {
            break;
        }
        for (encoding, frame) in encoded(&mut makers, &batch) {
            let entry = Entry { encoding, len: frame.len() as u32 };
            encodings |= encoding.bit();
            table.extend_from_slice(&entry.emit());
            out.write_all(&entry.emit())?;
            out.write_all(&frame)?;
        }
        done += batch.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        progress(done);
    }
    if input.read(&mut [0])? != 0 {
        return Err(FramesError::Trailing);
    }
    debug_assert_eq!(table.len() as u64, header.frames() * ENTRY_LEN as u64);
    let end = out.stream_position()?;
    let mut bytes = [0; HEADER_LEN_MAX];
    let len = header.with_encodings(encodings).emit(&mut bytes);
    out.seek(SeekFrom::Start(start))?;
    out.write_all(&bytes[..len])?;
    out.seek(SeekFrom::Start(table_start))?;
    out.write_all(&table)?;
    out.seek(SeekFrom::Start(end))?;
    Ok(end - start)
}

/// The frames of a batch of pieces, in order. Each thread takes a part of the batch.
fn encoded<P: Piecewise>(makers: &mut [P], batch: &[(Piece, Vec<u8>)]) -> Vec<(Encoding, Vec<u8>)> {
    let share = batch.len().div_ceil(makers.len());
    thread::scope(|scope| {
        let jobs: Vec<_> = makers
            .iter_mut()
            .zip(batch.chunks(share))
            .map(|(maker, part)| {
                scope.spawn(move || {
                    part.iter().map(|(piece, bytes)| maker.frame(piece, bytes)).collect::<Vec<_>>()
                })
            })
            .collect();
        let join = |job: thread::ScopedJoinHandle<'_, Vec<_>>| match job.join() {
            Ok(frames) => frames,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        jobs.into_iter().flat_map(join).collect()
    })
}
