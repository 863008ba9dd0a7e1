//! A framed file with another head: a bundle gets a signature, and its frames stay.

use std::io::{self, Read, Seek, SeekFrom, Write};

use stillboot_transport::frame::{
    ENTRY_LEN, Encoding, Entry, Fault, HEADER_LEN_MAX, HEADER_LEN_MIN, Header, Part,
};

use super::write::FramesError;

/// Writes the framed file `input` to `out`, with `head` for the head of its bundle. Frames of
/// indexes and chunks are copied as they are.
///
/// # Errors
/// [`FramesError`]: `input` is no framed file, or ends too early, or `head` is too long.
pub fn replace_head(
    input: &mut (impl Read + Seek),
    head: &[u8],
    out: &mut dyn Write,
) -> Result<(), FramesError> {
    input.seek(SeekFrom::Start(0))?;
    let mut bytes = [0; HEADER_LEN_MAX];
    read(input, &mut bytes[..HEADER_LEN_MIN])?;
    let start = bytes.first_chunk().ok_or(FramesError::Ended)?;
    let len = Header::len_of(start).map_err(FramesError::Header)?;
    read(input, &mut bytes[HEADER_LEN_MIN..len])?;
    let old = Header::parse(&bytes[..len]).map_err(FramesError::Header)?;
    let head_len = u32::try_from(head.len()).map_err(|_| FramesError::Header(Fault::Header))?;
    let new = Header::new(old.digest, head_len, old.chunk_size, old.components())
        .map_err(FramesError::Header)?
        .with_from(old.from)
        .with_encodings(old.encodings | Encoding::Raw.bit());
    let len = new.emit(&mut bytes);
    out.write_all(&bytes[..len])?;

    let entry_of = |len: usize| Entry { encoding: Encoding::Raw, len: len as u32 }.emit();
    let pieces = head.chunks(new.chunk_size as usize);
    for piece in pieces.clone() {
        out.write_all(&entry_of(piece.len()))?;
    }
    // Head frames of the old file end here.
    let mut frames = old.frames_start();
    for piece in old.pieces().take_while(|piece| piece.part == Part::Head) {
        let mut entry = [0; ENTRY_LEN];
        read(input, &mut entry)?;
        frames += Entry::parse(entry, &old, &piece).map_err(FramesError::Header)?.frame_len();
    }
    let here = input.stream_position()?;
    copy(input, old.frames_start() - here, out)?;
    for piece in pieces {
        out.write_all(&entry_of(piece.len()))?;
        out.write_all(piece)?;
    }
    input.seek(SeekFrom::Start(frames))?;
    io::copy(input, out)?;
    Ok(())
}

/// Copies `len` bytes.
fn copy(input: &mut impl Read, len: u64, out: &mut dyn Write) -> Result<(), FramesError> {
    match io::copy(&mut input.take(len), out)? {
        copied if copied == len => Ok(()),
        _ => Err(FramesError::Ended),
    }
}

fn read(input: &mut impl Read, into: &mut [u8]) -> Result<(), FramesError> {
    input.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FramesError::Ended,
        _ => FramesError::Io(error),
    })
}
