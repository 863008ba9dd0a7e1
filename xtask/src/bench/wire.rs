//! Bytes that a device fetches with a patch and a framed bundle beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use stillboot_transport::frame::{ENTRY_LEN, Encoding, Entry, HEADER_LEN_MIN, Header};

/// All of the patch, and of the framed bundle its header, its table and the frames that the patch
/// does not have: head and indexes are among them.
pub(super) fn bytes(patch: &Path, bundle: &Path) -> Result<u64> {
    let whole = fs::metadata(patch)?.len();
    let (_, of_patch) = table(patch)?;
    let (header, of_bundle) = table(bundle)?;
    ensure!(of_patch.len() == of_bundle.len(), "the patch is for another bundle");
    let frames = of_patch.iter().zip(&of_bundle);
    let absent = frames.filter(|(patch, _)| patch.encoding == Encoding::Absent);
    let fetched: u64 = absent.map(|(_, frame)| frame.frame_len()).sum();
    Ok(whole + header.frames_start() + fetched)
}

/// What stands in front of the frames of a file.
fn table(path: &Path) -> Result<(Header, Vec<Entry>)> {
    let file = fs::read(path)?;
    let start: &[u8; HEADER_LEN_MIN] = file.first_chunk().context("a file without a header")?;
    let len = Header::len_of(start).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let header = file.get(..len).context("a file without a header")?;
    let header = Header::parse(header).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let table = file.get(len..).unwrap_or_default().as_chunks::<ENTRY_LEN>().0;
    let entries = header.pieces().zip(table).map(|(piece, entry)| {
        Entry::parse(*entry, &header, &piece).map_err(|fault| anyhow::anyhow!("{fault}"))
    });
    Ok((header, entries.collect::<Result<_>>()?))
}
