//! `fetch`: a bundle from a web server into a file, verified.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stillboot_fetch::http::{self, Identity, Remote};
use stillboot_linux::new_file;
use stillboot_release::keys::Roots;

use crate::failure::{Exit, Failure};
use crate::http::{HttpArgs, is_url};
use crate::output::Output;
use crate::progress::Progress;
use crate::source::Bundle;
use crate::verify::VerifyArgs;
use crate::{files, size, view};

/// How much is asked for and written at a time.
const PIECE_LEN: usize = 1 << 20;

/// Options of `fetch`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    stillboot fetch https://example.org/update.sbz --out update.sbz --roots keys/roots.toml\n\n\
    What came of a file that is not whole yet stands beside it as FILE.part, and the next call\n\
    goes on there. The file gets its name once every byte is verified, as `stillboot verify` does.")]
pub struct FetchArgs {
    #[command(flatten)]
    verify: VerifyArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What a file that is not whole yet is a part of.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    url: String,
    length: u64,
    etag: Option<String>,
}

/// Fetches a bundle, or the rest of it.
pub fn fetch(args: &FetchArgs, out: &Output) -> Result<(), Failure> {
    let Some(url) = is_url(args.verify.bundle()) else {
        return Err(Failure::usage(format_args!(
            "expected a URL that begins with https:// or http://, found {}",
            args.verify.bundle().display()
        )));
    };
    let part = with_extension(&args.out, "part");
    let http = args.verify.http();
    let (received, resumed) = download(url, http, &part, out)?;
    let roots = Roots::read(&args.verify.roots)?;
    let manifest = Bundle::open(&part, "fetch", out)
        .and_then(|mut bundle| args.verify.judge(&roots, &mut bundle, out))
        .map_err(|failure| {
            // Nothing of it is of use: the next call starts over.
            discard(&part);
            failure.also(format_args!("{} was removed", part.display()))
        })?;
    let failed = |error| Failure::system("write", &args.out, &error);
    std::fs::rename(&part, &args.out).map_err(failed)?;
    discard(&part);
    files::sync(new_file::directory(&args.out)).map_err(failed)?;
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

/// Fetches what is not there yet into `part`. Says how many bytes came, and whether some were there.
fn download(url: &str, http: &HttpArgs, part: &Path, out: &Output) -> Result<(u64, bool), Failure> {
    let options = http.options()?;
    let note = with_extension(part, "id");
    let known = read_note(&note).filter(|_| part.is_file());
    let mut remote = http.remote(url, &options, out)?;
    if let Some(known) = &known {
        let identity = Identity::new(known.length, known.url.clone(), known.etag.clone());
        remote = remote.with_identity(&identity);
    }
    let failed = |error| Failure::system("write", part, &error);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(part);
    let file = file.map_err(failed)?;
    let mut at = match known {
        Some(_) => file.metadata().map_err(failed)?.len(),
        None => 0,
    };
    file.set_len(at).map_err(failed)?;
    let resumed = at > 0;
    let result = copy(&mut remote, &file, &mut at, &note, part, out);
    match result {
        // The server has another file by now.
        Err(Stop::Changed) if resumed => {
            discard(part);
            out.warn("the file on the server changed: it is fetched from its start");
            download(url, http, part, out)
        }
        Err(Stop::Changed) => Err(Failure::new(Exit::Failed, "http", "the file changed again")),
        Err(Stop::Failed(failure)) => Err(match at {
            0 => failure,
            _ => failure.also(format_args!(
                "{} are in {}: the same command goes on there",
                size::show(at),
                part.display()
            )),
        }),
        Ok(()) => Ok((remote.received(), resumed)),
    }
}

/// Why a download stopped.
enum Stop {
    Changed,
    Failed(Failure),
}

impl From<http::Error> for Stop {
    fn from(error: http::Error) -> Self {
        match error {
            http::Error::Changed { .. } => Self::Changed,
            error => Self::Failed(error.into()),
        }
    }
}

fn copy(
    remote: &mut Remote,
    file: &File,
    at: &mut u64,
    note: &Path,
    part: &Path,
    out: &Output,
) -> Result<(), Stop> {
    let failed = |error| Stop::Failed(Failure::system("write", part, &error));
    remote.expect(u64::MAX);
    let mut buffer = vec![0; PIECE_LEN];
    let mut progress = None;
    loop {
        let n = remote.read_at(*at, &mut buffer)?;
        let len = remote.len()?;
        if *at > len {
            return Err(Stop::Changed);
        }
        let shown = progress.get_or_insert_with(|| {
            if let Some(identity) = remote.identity() {
                write_note(note, &identity);
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

fn read_note(path: &Path) -> Option<Part> {
    let text = std::fs::read(path).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Without the note the next call starts over, which costs bytes only.
fn write_note(path: &Path, identity: &Identity) {
    let part =
        Part { url: identity.url.clone(), length: identity.len, etag: identity.etag.clone() };
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
