//! All of a bundle that is a file, read and compared with its manifest on every core before an
//! installation writes its first byte.
//!
//! Chunks are independent of each other, so each thread takes the next one. The results are those
//! of [`check::bundle`](stillboot::check::bundle), fault for fault; the proof comes from the core.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use stillboot::check;
use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::{Digest, Manifest, Role, SlotKind};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{Device, HEAD_LEN_MAX, IndexFold, Verified, digest_of, verify_head};
use stillboot_fetch::sha256::FastSha256;

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::{start, verify};

/// Entries of an index that are held at a time.
const WINDOW: usize = 2048;
const ENTRY_LEN: u64 = 32;
/// Threads, each with a buffer of one chunk. More would not be faster than a disk.
const THREADS_MAX: usize = 4;

/// Why a part of the file is not what was signed.
enum Fault {
    Differs,
    Failed,
}

/// The chunks of one window of an index, for the threads to take from.
struct Window<'a> {
    file: &'a File,
    /// Where the first byte of the window's first chunk stands in the file, and how many bytes there
    /// are of the component from there on.
    at: u64,
    left: u64,
    chunk_size: u64,
    entries: &'a [Digest],
    next: AtomicU64,
    is_stopped: AtomicBool,
}

/// Checks what stands behind the head, which is `head_len` bytes long: every index, every chunk, the
/// exact length. The plain SHA-256 of a component is for other tools, and an installation goes by
/// the index root alone.
// Why: docs/DESIGN.md#why-files-are-verified-on-both-cores
fn content(
    file: &File,
    head_len: u64,
    manifest: &Manifest,
    progress: &mut Progress,
) -> Result<(), InstallError> {
    let len = file.metadata().map_err(|_| InstallError::Source)?.len();
    let cores = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let mut buffers = vec![vec![0; manifest.chunk_size as usize]; cores];
    let (mut at, mut done) = (head_len, 0);
    for (component, found) in manifest.components.iter().enumerate() {
        let fault = |fault| match fault {
            Fault::Differs => InstallError::from(Refusal::Content { component }),
            Fault::Failed => InstallError::Source,
        };
        let index_len = found.index_len(manifest.chunk_size);
        let data = at.checked_add(index_len).filter(|end| *end <= len);
        let data = data.ok_or(Refusal::Ended)?;
        if root(file, at, found.length, manifest.chunk_size).map_err(fault)? != found.index_root {
            return Err(fault(Fault::Differs));
        }
        let end = data.checked_add(found.length).filter(|end| *end <= len).ok_or(Refusal::Ended)?;
        let chunks = found.chunk_count(manifest.chunk_size);
        let mut first = 0;
        while first < chunks {
            let entries = entries(file, at, first, chunks).map_err(fault)?;
            let chunk_size = u64::from(manifest.chunk_size);
            let start = data + first * chunk_size;
            let window = Window {
                file,
                at: start,
                left: end - start,
                chunk_size,
                entries: &entries,
                next: AtomicU64::new(0),
                is_stopped: AtomicBool::new(false),
            };
            window.check(&mut buffers).map_err(fault)?;
            first += entries.len() as u64;
            progress.set(done + found.length.min(first * chunk_size));
        }
        done += found.length;
        at = end;
    }
    if at < len { Err(Refusal::Trailing.into()) } else { Ok(()) }
}

/// The entries of the index at `at` from number `first` on, as many as are held at a time.
fn entries(file: &File, at: u64, first: u64, chunks: u64) -> Result<Vec<Digest>, Fault> {
    let mut entries = vec![Digest::default(); (chunks - first).min(WINDOW as u64) as usize];
    file.read_exact_at(entries.as_flattened_mut(), at + first * ENTRY_LEN)
        .map_err(|_| Fault::Failed)?;
    Ok(entries)
}

/// The root of the index at `at`, of a component of `length` bytes.
fn root(file: &File, at: u64, length: u64, chunk_size: u32) -> Result<Digest, Fault> {
    let chunks = length.div_ceil(chunk_size.into());
    let mut fold = IndexFold::<FastSha256>::new(length, chunk_size);
    let mut first = 0;
    while first < chunks {
        let entries = entries(file, at, first, chunks)?;
        fold.entries(entries.as_flattened());
        first += entries.len() as u64;
    }
    Ok(fold.finish())
}

impl Window<'_> {
    /// Compares all chunks, with a thread for each buffer.
    fn check(&self, buffers: &mut [Vec<u8>]) -> Result<(), Fault> {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let [own, others @ ..] = buffers else { return Err(Fault::Failed) };
            for buffer in others {
                threads.push(scope.spawn(|| self.take(buffer)));
            }
            let mut result = self.take(own);
            for thread in threads {
                let other = thread.join().unwrap_or(Err(Fault::Failed));
                // A file that cannot be read says nothing of its bytes.
                if let (Ok(()) | Err(Fault::Differs), Err(fault)) = (&result, other) {
                    result = Err(fault);
                }
            }
            result
        })
    }

    /// Compares the next chunk until there is none, or another thread found a fault.
    fn take(&self, buffer: &mut [u8]) -> Result<(), Fault> {
        while !self.is_stopped.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = self.entries.get(number as usize) else { break };
            let from = number * self.chunk_size;
            let bytes = &mut buffer[..self.chunk_size.min(self.left - from) as usize];
            let fault = match self.file.read_exact_at(bytes, self.at + from) {
                Ok(()) if digest_of::<FastSha256>(bytes) == *entry => continue,
                Ok(()) => Fault::Differs,
                Err(_) => Fault::Failed,
            };
            self.is_stopped.store(true, Ordering::Relaxed);
            return Err(fault);
        }
        Ok(())
    }
}

/// Gives the head of a bundle and stops before the byte behind it.
struct Head<'a> {
    bundle: &'a mut Bundle,
    is_over: bool,
}

impl Source for Head<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.is_over = self.bundle.watch().manifest().is_some();
        if self.is_over { Err(SourceError) } else { self.bundle.read(into) }
    }
    fn skip(&mut self, _len: u64) -> Result<(), SourceError> {
        Err(SourceError)
    }
    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

/// The verdict on all of `bundle`, which is a file, for an installation: as
/// [`verify::whole`](crate::verify::whole), with the same words.
pub fn file(
    device: &Device<'_>,
    kind: SlotKind,
    bundle: &mut Bundle,
    out: &Output,
) -> Result<Verified<Manifest>, Failure> {
    let ignore = &mut |_| {};
    let mut head = Head { bundle, is_over: false };
    let mut buffer = vec![0; HEAD_LEN_MAX];
    let result = check::bundle::<FastSha256>(device, kind, &mut head, false, ignore, &mut buffer);
    match result {
        Err(InstallError::Source) if head.is_over => {}
        Err(error) => return Err(bundle.explain(error)),
        Ok(manifest) => return Ok(manifest),
    }
    let (manifest, head_len) = verify_head::<FastSha256>(device, kind, bundle.watch().head())
        .map_err(|error| bundle.explain(Refusal::Trust(error).into()))?;
    let mut progress = Progress::new(out, "verifying", bundle.len().unwrap_or(0));
    let checked = match bundle.file() {
        Some(file) => content(file, head_len as u64, &manifest, &mut progress),
        None => Err(InstallError::Source),
    };
    drop(progress);
    match checked.and_then(|()| read_short_parts(bundle, &manifest)) {
        Ok(()) => {}
        // Read in order it fails again, and the source knows why.
        Err(InstallError::Source) => {
            bundle.rewind()?;
            return verify::whole(device, kind, bundle, out);
        }
        Err(error) => return Err(bundle.explain(error)),
    }
    let remark = start::check(&manifest, kind, &|part| bundle.watch().component(part))?;
    remark.iter().for_each(|remark| out.warn(remark));
    Ok(manifest)
}

/// Passes the parts that are looked at, such as a command line, to the preview of the bundle.
fn read_short_parts(bundle: &mut Bundle, manifest: &Manifest) -> Result<(), InstallError> {
    let source = |SourceError| InstallError::Source;
    let mut buffer = vec![0; 64 << 10];
    for component in &manifest.components {
        bundle.skip(component.index_len(manifest.chunk_size)).map_err(source)?;
        if !matches!(component.role, Role::Cmdline | Role::Dtbs) {
            bundle.skip(component.length).map_err(source)?;
            continue;
        }
        let mut left = component.length;
        while left > 0 {
            let most = left.min(buffer.len() as u64) as usize;
            match bundle.read(&mut buffer[..most]).map_err(source)? {
                0 => return Err(InstallError::Source),
                taken => left -= taken as u64,
            }
        }
    }
    Ok(())
}
