//! `fetch`: a bundle from a web server into a file, verified.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::verify_head;
use stillboot_fetch::http::{self, Identity, Remote};
use stillboot_fetch::sha256::FastSha256;
use stillboot_linux::new_file;
use stillboot_release::keys::Roots;
use stillboot_transport::frame::{ENTRY_LEN, HEADER_LEN_MAX};

use crate::failure::{Exit, Failure};
use crate::files::Replacement;
use crate::http::{is_url, shown};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::verify::{VerifyArgs, for_device};
use crate::{files, size, view};

/// The most that is written at a time. A kill loses what came and was not written.
const PIECE_LEN: usize = 64 << 10;

/// Options of `fetch`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot fetch https://example.org/update.sbz --out update.sbz --roots keys/roots.toml\n\n\
    BUNDLE is a URL. The signed head is verified first: it says how long the file can be.\n\
    What came of a file that is not whole yet stands beside it as FILE.part, with FILE.part.id,\n\
    which says what it is a part of; the next call goes on there. The file gets its name once every\n\
    byte is verified, as `stillboot verify` does.")]
pub struct FetchArgs {
    #[command(flatten)]
    verify: VerifyArgs,
    /// The file to write. What stood there is replaced once the new one is verified
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What a file that is not whole yet is a part of.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    url: String,
    length: u64,
    etag: Option<String>,
    /// Of the manifest of the bundle.
    digest: String,
}

/// Fetches a bundle, or the rest of it.
pub fn fetch(args: &FetchArgs, out: &Output) -> Result<(), Failure> {
    let Some(url) = is_url(args.verify.bundle()) else {
        return Err(Failure::usage(format_args!(
            "expected a URL that begins with https:// or http://, found {}",
            args.verify.bundle().display()
        )));
    };
    // A mistake here must not show after gigabytes.
    let roots = Roots::read(&args.verify.roots)?;
    let inputs: Vec<_> =
        std::iter::once(&*args.verify.roots).chain(args.verify.http().inputs()).collect();
    let place = Replacement::place("--out", &args.out, &inputs)?;
    let part = with_extension(&place, "part");
    // The lock lasts until the file has its name.
    let (received, resumed, _locked) = download(url, args, &roots, &part, out)?;
    let manifest = Bundle::open(&part, "fetch", out)
        .and_then(|mut bundle| args.verify.judge(&roots, &mut bundle, out))
        .map_err(|failure| match failure.exit {
            Exit::Refused => {
                // Nothing of it is of use: the next call starts over.
                discard(&part);
                failure.also(format_args!("{} was removed", part.display()))
            }
            _ => failure,
        })?;
    let failed = |error| Failure::system("write", &args.out, &error);
    std::fs::rename(&part, &place).map_err(failed)?;
    discard(&part);
    files::sync(new_file::directory(&place)).map_err(failed)?;
    out.line(format_args!(
        "{}: version {}, verified, every byte; {} fetched",
        args.out.display(),
        manifest.version,
        size::show(received)
    ));
    out.line(format_args!("digest {}", view::hex(manifest.digest())));
    out.result(|| {
        json!({
            "file": view::path(&args.out), "fetched": received, "resumed": resumed,
            "digest": view::hex(manifest.digest()), "version": manifest.version.as_str(),
        })
    });
    Ok(())
}

/// Verifies the head of the bundle at `url`, before more of it is fetched. Returns the most bytes
/// that its file can have, and the digest of the bundle.
fn check_head(
    url: &str,
    args: &FetchArgs,
    roots: &Roots,
    out: &Output,
) -> Result<(u64, String), Failure> {
    let verify = &args.verify;
    let mut bundle = Bundle::open_with(Path::new(url), "fetch", verify.http(), out)?;
    let Some(header) = bundle.header().copied() else {
        return Err(Failure::from(InstallError::Source));
    };
    let mut head = Vec::new();
    if let Err(error) = bundle.reading().take(header.head_len.into()).read_to_end(&mut head) {
        let failed = || Failure::system("read", Path::new(url), &error);
        return Err(bundle.failure().unwrap_or_else(failed));
    }
    let device = verify.device(roots);
    let (manifest, _) = verify_head::<FastSha256>(&device, verify.kind(), &head)
        .map_err(|error| bundle.explain(Refusal::Trust(error).into()))?;
    if verify.class.is_some() {
        for_device(&device, &verify.names(roots), &manifest)?;
    }
    let lengths = manifest.components.iter().map(|component| component.length);
    if header.chunk_size != manifest.chunk_size || !lengths.eq(header.components().iter().copied())
    {
        return Err(Failure::new(
            Exit::Refused,
            "frames",
            format_args!(
                "refused: {}: expected the lengths of the signed manifest, found others in the \
                 header of the file",
                shown(Path::new(url))
            ),
        ));
    }
    // No frame is longer than its piece and two entries.
    let entries = 2 * ENTRY_LEN as u64 * header.frames();
    let most = header.bundle_len() + entries + HEADER_LEN_MAX as u64;
    Ok((most, view::hex(manifest.digest())))
}

/// Fetches what is not there yet into `part`. Says how many bytes came, and whether some were there;
/// returns the file, which is locked.
fn download(
    url: &str,
    args: &FetchArgs,
    roots: &Roots,
    part: &Path,
    out: &Output,
) -> Result<(u64, bool, File), Failure> {
    let http = args.verify.http();
    let (len_max, digest) = check_head(url, args, roots, out)?;
    let note = with_extension(part, "id");
    let failed = |error| Failure::system("write", part, &error);
    let file = open_part(part)?;
    // A part of another bundle is of no use.
    let known = read_note(&note).filter(|known| known.digest == digest);
    let mut remote = http.remote(url, &http.options()?.with_len_max(len_max), out)?;
    if let Some(known) = &known {
        let identity = Identity::new(known.length, known.url.clone(), known.etag.clone());
        remote = remote.with_identity(&identity);
    }
    let mut at = match known {
        Some(_) => file.metadata().map_err(failed)?.len(),
        None => 0,
    };
    file.set_len(at).map_err(failed)?;
    let resumed = at > 0;
    let result = copy(&mut remote, &file, &mut at, (&note, &digest), part, out);
    match result {
        // The server has another file by now.
        Err(Stop::Changed(_)) if resumed => {
            discard(part);
            out.warn("the file on the server changed: it is fetched from its start");
            download(url, args, roots, part, out)
        }
        Err(Stop::Changed(failure)) => {
            discard(part);
            Err(failure)
        }
        Err(Stop::Failed(failure)) => Err(match at {
            0 => failure,
            _ => failure.also(format_args!(
                "{} are in {}: the same command goes on there",
                size::show(at),
                part.display()
            )),
        }),
        Ok(()) => Ok((remote.received(), resumed, file)),
    }
}

/// Why a download stopped.
enum Stop {
    /// What came is of another file.
    Changed(Failure),
    Failed(Failure),
}

impl From<http::Error> for Stop {
    fn from(error: http::Error) -> Self {
        match is_change(&error) {
            true => Self::Changed(error.into()),
            false => Self::Failed(error.into()),
        }
    }
}

/// Whether a server has another file than before.
fn is_change(error: &http::Error) -> bool {
    match error {
        http::Error::Changed { .. } | http::Error::TooLong { .. } => true,
        http::Error::Mirrors(errors) => errors.iter().any(is_change),
        _ => false,
    }
}

fn copy(
    remote: &mut Remote,
    file: &File,
    at: &mut u64,
    (note, digest): (&Path, &str),
    part: &Path,
    out: &Output,
) -> Result<(), Stop> {
    let failed = |error| Stop::Failed(Failure::system("write", part, &error));
    remote.expect(u64::MAX);
    let mut buffer = vec![0; PIECE_LEN];
    let mut progress = None;
    loop {
        let n = remote.read_some(*at, &mut buffer)?;
        let len = remote.len()?;
        if *at > len {
            return Err(Stop::Changed(Failure::new(
                Exit::Failed,
                "http",
                format_args!(
                    "{}: expected {at} bytes or more, the server says {len}",
                    part.display()
                ),
            )));
        }
        let shown = progress.get_or_insert_with(|| {
            if let Some(identity) = remote.identity() {
                write_note(note, &identity, digest);
            }
            Progress::new(out, "fetching", len)
        });
        if n == 0 {
            break;
        }
        file.write_all_at(&buffer[..n], *at).map_err(failed)?;
        *at += n as u64;
        shown.set(*at);
    }
    file.sync_all().map_err(failed)
}

/// Opens the file for what is not whole yet, for this process alone.
fn open_part(path: &Path) -> Result<File, Failure> {
    let failed = |error| Failure::system("write", path, &error);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    // A link in its place is not followed, and a pipe not waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits() as i32).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Failure::usage(format_args!(
            "expected {} to be a file, or nothing yet; it is something else",
            path.display()
        )));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Failed,
            "io",
            format_args!("{}: another `stillboot fetch` writes to it", path.display()),
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn read_note(path: &Path) -> Option<Part> {
    let text = std::fs::read(path).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Without the note the next call starts over, which costs bytes only.
fn write_note(path: &Path, identity: &Identity, digest: &str) {
    let part = Part {
        url: identity.url.clone(),
        length: identity.len,
        etag: identity.etag.clone(),
        digest: digest.into(),
    };
    let text = serde_json::to_vec(&part).unwrap_or_default();
    let _ = File::create(path).and_then(|mut file| file.write_all(&text));
}

/// Removes a part and its note.
fn discard(part: &Path) {
    for path in [part.to_owned(), with_extension(part, "id")] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {}
            _ => {}
        }
    }
}

/// `FILE.extension`.
fn with_extension(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}
