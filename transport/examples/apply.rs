//! How fast a patch is applied: `apply PATCH OLD`, where OLD is the old bundle.
//!
//! All patches of the file are decoded in memory on one thread, several times. Prints the median
//! rate in MB of output for each second. What is only in the new bundle is not counted.

use std::error::Error;
use std::fs;
use std::time::Instant;

use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{ENTRY_LEN, Encoding, Entry, Header, Piece};
use stillboot_transport::input::Bytes;
use stillboot_transport::outline::Outline;

const RUNS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(patch), Some(old)) = (paths.next(), paths.next()) else {
        return Err("expected PATCH and OLD".into());
    };
    let (patch, bundle) = (fs::read(patch)?, fs::read(old)?);
    let start = patch.first_chunk().ok_or("a short patch")?;
    let header = Header::parse(patch.get(..Header::len_of(start)?).ok_or("a short patch")?)?;
    let outline = Outline::of(&bundle).ok_or("expected a bundle")?;
    let mut old = Vec::new();
    for place in outline.places() {
        old.extend_from_slice(&bundle[place.data as usize..][..place.length as usize]);
    }
    let frames = patches(&header, &patch)?;
    let mut decoder = Decoder::new(&old[..]);
    let mut out = vec![0; header.chunk_size as usize];
    let bytes: usize = frames.iter().map(|(piece, ..)| piece.len).sum();
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        for (piece, entry, frame) in &frames {
            let out = &mut out[..piece.len];
            decoder.decode(&header, piece, *entry, &mut Bytes(frame), out)?;
        }
        rates.push(bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!("{:.0}", rates[RUNS / 2]);
    Ok(())
}

/// A frame: its piece, its entry and its bytes.
type Frame<'a> = (Piece, Entry, &'a [u8]);

/// The frames that are patches.
fn patches<'a>(header: &Header, file: &'a [u8]) -> Result<Vec<Frame<'a>>, Box<dyn Error>> {
    let mut frames = Vec::new();
    let mut at = header.frames_start() as usize;
    for piece in header.pieces() {
        let entry = file.get(at..).and_then(|rest| rest.first_chunk::<ENTRY_LEN>());
        let entry = Entry::parse(*entry.ok_or("a short patch")?, header, &piece)?;
        let frame = file.get(at + ENTRY_LEN..).and_then(|rest| rest.get(..entry.len as usize));
        let frame = frame.ok_or("a short patch")?;
        if entry.encoding == Encoding::Patch {
            frames.push((piece, entry, frame));
        }
        at += entry.frame_len() as usize;
    }
    Ok(frames)
}
