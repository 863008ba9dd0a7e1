//! The least that an installation can take: `floor SOURCE TARGET`.
//!
//! Two threads read pieces of the source, hash them and write them to the target past the page
//! cache. After one `fdatasync` two threads read the target back past the cache and hash it. Nothing
//! is decided, and the digests are compared at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Error};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::OFlags;
use stillboot::format::Digest;
use stillboot::verify::{SoftSha256, digest_of};

const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;
const THREADS: usize = 2;

fn main() -> io::Result<()> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(target)) = (paths.next(), paths.next()) else {
        return Err(Error::other("expected SOURCE and TARGET"));
    };
    let source = File::open(source)?;
    let len = source.metadata()?.len() as usize;
    if len == 0 || !len.is_multiple_of(PIECE) {
        return Err(Error::other("expected whole MiB"));
    }
    File::create(&target)?.set_len(len as u64)?;
    let disk = direct(&target)?;
    let written = run(len / PIECE, |piece, buffer| {
        source.read_exact_at(buffer, (piece * PIECE) as u64)?;
        let digest = digest_of::<SoftSha256>(buffer);
        disk.write_all_at(buffer, (piece * PIECE) as u64)?;
        Ok(digest)
    })?;
    disk.sync_data()?;
    let read = run(len / PIECE, |piece, buffer| {
        disk.read_exact_at(buffer, (piece * PIECE) as u64)?;
        Ok(digest_of::<SoftSha256>(buffer))
    })?;
    if written == read { Ok(()) } else { Err(Error::other("the disk returns other bytes")) }
}

/// Opens past the page cache where the file system can do that.
fn direct(path: &Path) -> io::Result<File> {
    let mut how = OpenOptions::new();
    how.read(true).write(true);
    let flag = OFlags::DIRECT.bits() as i32;
    how.clone().custom_flags(flag).open(path).or_else(|_| how.open(path))
}

/// Does `work` for every piece, on two threads, and returns the digests in order.
fn run(
    pieces: usize,
    work: impl Fn(usize, &mut [u8]) -> io::Result<Digest> + Sync,
) -> io::Result<Vec<Digest>> {
    let (next, digests) = (AtomicUsize::new(0), Mutex::new(vec![[0; 32]; pieces]));
    let take = || -> io::Result<()> {
        let mut bytes = vec![0; PIECE + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        let buffer = &mut bytes[start..][..PIECE];
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                return Ok(());
            }
            let digest = work(piece, buffer)?;
            digests.lock().map_err(|_| Error::other("a thread panicked"))?[piece] = digest;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Error::other("a thread panicked"))?)
    })?;
    digests.into_inner().map_err(|_| Error::other("a thread panicked"))
}
