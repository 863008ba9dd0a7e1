//! Where a bundle comes from: a file, which can be read twice and skipped in, or a stream.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use stillboot::driver::{Source, SourceError};
use stillboot::format::SlotKind;
use stillboot::format::envelope::{HEADER_LEN, MAGIC};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{HEAD_LEN_MAX, TrustError};

use stillboot_linux::open::{self, Input};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::preview::{self, Preview};
use crate::start;

/// How many bytes are thrown away at a time when a part of a stream is skipped.
const SCRAP_LEN: usize = 64 << 10;

/// A bundle.
pub struct Bundle {
    reader: Reader,
    name: String,
    last_error: Option<io::Error>,
    watch: Preview,
    /// It came as a stream: what is missing may come the next time.
    is_streamed: bool,
    /// For which slots it is to be installed as it comes, without being verified first.
    guard: Option<SlotKind>,
    /// Why no loader would start it.
    fault: Option<Failure>,
    /// What is odd about its start, but may be intended.
    remark: Option<String>,
    /// The command that reads it.
    command: &'static str,
}

enum Reader {
    File { file: File, at: u64, len: u64 },
    Stream { stream: Box<dyn Read>, scrap: Vec<u8> },
}

impl Bundle {
    /// Opens the bundle at `path` for `command`; `-` is standard input.
    pub fn open(path: &Path, command: &'static str) -> Result<Self, Failure> {
        if let Some(text) = path.to_str()
            && let Some((scheme, _)) = text.split_once("://")
            && ["http", "https", "ftp", "file"].iter().any(|url| url.eq_ignore_ascii_case(scheme))
        {
            return Err(Failure::usage(format_args!(
                "expected a file, found the URL {text}: fetch it first, or pipe it, as in `curl -f \
                 {text} | stillboot {command} - ...`"
            )));
        }
        let stream = |stream| Reader::Stream { stream, scrap: vec![0; SCRAP_LEN] };
        if path == Path::new("-") {
            return Ok(Self::new(stream(Box::new(io::stdin())), "standard input".into(), command));
        }
        let failed = |error| Failure::system("open", path, &error);
        let input = open::input(path).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => {
                Failure::usage(format_args!("{} is no bundle: {error}", path.display()))
            }
            _ => failed(error),
        })?;
        let reader = match input {
            Input::File(file) => {
                let len = file.metadata().map_err(failed)?.len();
                Reader::File { file, at: 0, len }
            }
            pipe => stream(Box::new(pipe)),
        };
        Ok(Self::new(reader, path.display().to_string(), command))
    }

    /// As [`open`](Self::open), for what has to be read twice: a stream goes into a file without a
    /// name first.
    pub fn open_whole(path: &Path, command: &'static str) -> Result<Self, Failure> {
        let mut bundle = Self::open(path, command)?;
        if let Reader::Stream { stream, .. } = &mut bundle.reader {
            let failed = |error| Failure::system("read", path, &error);
            let mut file = tempfile::tempfile()
                .map_err(|error| Failure::system("write", &std::env::temp_dir(), &error))?;
            let (mut watch, mut chunk) = (Preview::default(), vec![0; SCRAP_LEN]);
            // At most one byte more than the head promises, enough to see that there is more: the
            // stream may never end.
            let wanted = |watch: &Preview| match watch.promised() {
                Some(promised) => watch.len() <= promised,
                None => watch.head().len() < HEAD_LEN_MAX,
            };
            while wanted(&watch) {
                let n = match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(failed(error)),
                };
                watch.pass(&chunk[..n]);
                file.write_all(&chunk[..n])
                    .map_err(|error| Failure::system("write", &std::env::temp_dir(), &error))?;
            }
            let len = watch.len();
            file.rewind().map_err(failed)?;
            bundle.reader = Reader::File { file, at: 0, len };
        }
        Ok(bundle)
    }

    fn new(reader: Reader, name: String, command: &'static str) -> Self {
        let is_streamed = matches!(reader, Reader::Stream { .. });
        let watch = Preview::default();
        Self {
            reader,
            name,
            last_error: None,
            watch,
            is_streamed,
            guard: None,
            fault: None,
            remark: None,
            command,
        }
    }

    /// How long it is, `None` for a stream.
    pub const fn len(&self) -> Option<u64> {
        match &self.reader {
            Reader::File { len, .. } => Some(*len),
            Reader::Stream { .. } => None,
        }
    }

    /// The file, `None` for a stream. Read it at places, which moves nothing here.
    pub const fn file(&self) -> Option<&File> {
        match &self.reader {
            Reader::File { file, .. } => Some(file),
            Reader::Stream { .. } => None,
        }
    }

    /// What was read of it.
    pub const fn watch(&self) -> &Preview {
        &self.watch
    }

    /// It is installed as it comes: the stream ends at the byte from which on no loader would start
    /// it any more.
    pub const fn guard(&mut self, kind: SlotKind) {
        self.guard = Some(kind);
    }

    /// What was odd about its start as it was read.
    pub const fn remark(&self) -> Option<&String> {
        self.remark.as_ref()
    }

    /// Whether it is a file with a release of the loader. A stream could not be read again.
    pub fn is_loader_release(&mut self) -> Result<bool, Failure> {
        let Reader::File { file, .. } = &mut self.reader else { return Ok(false) };
        let failed = |error| Failure::system("read", Path::new(&self.name), &error);
        let mut head = Vec::new();
        Read::by_ref(file).take(HEADER_LEN as u64).read_to_end(&mut head).map_err(failed)?;
        self.rewind()?;
        Ok(preview::is_loader_release(&head))
    }

    /// Back to the start, where that can be done.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        match &mut self.reader {
            Reader::File { file, at, .. } => {
                *at = file.seek(SeekFrom::Start(0)).map_err(|error| {
                    Failure::system("read again", Path::new(&self.name), &error)
                })?;
                self.watch = Preview::default();
                Ok(())
            }
            Reader::Stream { .. } => Err(Failure::new(
                Exit::Failed,
                "source",
                format_args!("{} cannot be read twice", self.name),
            )),
        }
    }

    /// All that is left of it.
    pub fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let done = match &mut self.reader {
            Reader::File { file, .. } => file.read_to_end(&mut bytes),
            Reader::Stream { stream, .. } => stream.read_to_end(&mut bytes),
        };
        done.map_err(|error| Failure::system("read", Path::new(&self.name), &error))?;
        Ok(bytes)
    }

    /// The failure that `error` is, with what was found in this bundle.
    pub fn explain(&mut self, error: InstallError) -> Failure {
        if let Some(fault) = self.fault.take() {
            return fault;
        }
        let head = self.watch.head();
        let is_about_bytes = matches!(error, InstallError::Refused(_) | InstallError::Source);
        if is_about_bytes && preview::is_loader_release(head) {
            return preview::loader_release(&self.name);
        }
        if is_about_bytes
            && self.last_error.as_ref().is_none_or(|error| error.kind() == ErrorKind::UnexpectedEof)
            && let Some(found) = preview::other_payload(head)
        {
            return preview::other_envelope(&self.name, &found);
        }
        match error {
            InstallError::Source => match &self.last_error {
                Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.ended(),
                Some(error) => {
                    Failure::from(InstallError::Source).also(format_args!("{}: {error}", self.name))
                }
                None => InstallError::Source.into(),
            },
            InstallError::Refused(Refusal::Ended) => self.ended(),
            InstallError::Refused(Refusal::Trust(_))
                if !head.is_empty() && !head.starts_with(&MAGIC) =>
            {
                preview::not_a_bundle(&self.name, head)
            }
            // The tool knows devices with roots only.
            InstallError::Refused(Refusal::Trust(_)) if preview::is_without_keyset(head) => {
                Failure::new(
                    Exit::Refused,
                    "trust",
                    format_args!(
                        "not trusted: {} has no keyset: it was packed with --single-key, for \
                         devices with one built-in key, and --roots names root keys",
                        self.name
                    ),
                )
            }
            InstallError::Refused(Refusal::Trust(trust)) => match bounds::value_in(trust, head) {
                Some(found) => Failure::from(error).also(format_args!("found {found}")),
                None => error.into(),
            },
            InstallError::Refused(Refusal::Trailing) => {
                let promised = self.watch.promised().unwrap_or_default();
                let failure = Failure::from(error);
                match self.len() {
                    Some(len) => failure
                        .also(format_args!("expected {promised} bytes, {} has {len}", self.name)),
                    None => failure.also(format_args!("expected {promised} bytes")),
                }
            }
            error => error.into(),
        }
    }

    /// It ended too early. A stream may have been dropped, and the next one whole; a file stays as it
    /// is.
    fn ended(&self) -> Failure {
        let head = self.watch.head();
        // Even a start that is shorter than a header may show that it is something else.
        if !head.starts_with(&MAGIC) && !MAGIC.starts_with(head) {
            return preview::not_a_bundle(&self.name, head);
        }
        // The fault may be in a field before the length, so it is looked for first.
        if let Some(fault) = preview::envelope_fault(head) {
            return Failure::from(InstallError::Refused(Refusal::Trust(TrustError::Keyset(fault))));
        }
        let (exit, kind) = match self.is_streamed {
            true => (Exit::Failed, "source"),
            false => (Exit::Refused, "ended"),
        };
        let found = self.len().unwrap_or(self.watch.len());
        let what = match (found, self.watch.promised()) {
            (0, _) => format!("{} is empty: expected a bundle", self.name),
            (_, None) => match preview::lone_envelope(self.watch.head()) {
                Some(kind) => format!(
                    "{} is a {kind} alone, or a bundle that ends after {found} bytes, behind its \
                     {kind}: expected a bundle as `stillboot pack` writes it",
                    self.name
                ),
                None => format!("{} ends in its head, after {found} bytes", self.name),
            },
            (_, Some(promised)) => {
                format!("{} ends after {found} bytes: expected {promised}", self.name)
            }
        };
        match self.is_streamed {
            true => {
                let failure = Failure::new(exit, kind, what).also("give it again from its start");
                match self.command {
                    "install" | "resume" => failure
                        .also("`stillboot resume` goes on where an installation was cut short"),
                    _ => failure,
                }
            }
            false => {
                Failure::new(exit, kind, format_args!("refused: {what}")).also("fetch it again")
            }
        }
    }

    fn watch_and_guard(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        if self.watch.pass(bytes)
            && let (Some(kind), Some(manifest)) = (self.guard, self.watch.manifest())
        {
            match start::check(manifest, kind, &|part| self.watch.component(part)) {
                Ok(remark) => self.remark = remark,
                Err(fault) => {
                    self.fault = Some(fault);
                    return Err(SourceError);
                }
            }
        }
        Ok(())
    }
}

impl Source for Bundle {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            let result = match &mut self.reader {
                Reader::File { file, at, .. } => file.read(into).inspect(|n| *at += *n as u64),
                Reader::Stream { stream, .. } => stream.read(into),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.last_error = Some(error);
                    return Err(SourceError);
                }
                Ok(n) => {
                    self.watch_and_guard(&into[..n])?;
                    return Ok(n);
                }
            }
        }
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        match &mut self.reader {
            Reader::File { file, at, len: end } => {
                // A seek past the end would succeed, and the error would not be noticed.
                let to = at.saturating_add(len);
                if to > *end {
                    self.last_error = Some(io::ErrorKind::UnexpectedEof.into());
                    return Err(SourceError);
                }
                match file.seek(SeekFrom::Start(to)) {
                    Ok(to) => {
                        *at = to;
                        self.watch.skip(len);
                    }
                    Err(error) => {
                        self.last_error = Some(error);
                        return Err(SourceError);
                    }
                }
                Ok(())
            }
            Reader::Stream { scrap, .. } => {
                let mut scrap = std::mem::take(scrap);
                let mut result = Ok(());
                while len > 0 {
                    let most = len.min(scrap.len() as u64) as usize;
                    match self.read(&mut scrap[..most]) {
                        Ok(0) => {
                            self.last_error = Some(io::ErrorKind::UnexpectedEof.into());
                            result = Err(SourceError);
                            break;
                        }
                        Ok(n) => len -= n as u64,
                        Err(error) => {
                            result = Err(error);
                            break;
                        }
                    }
                }
                if let Reader::Stream { scrap: place, .. } = &mut self.reader {
                    *place = scrap;
                }
                result
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_over_the_end_of_a_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle");
        std::fs::write(&path, [7; 10]).unwrap();
        let mut bundle = Bundle::open(&path, "verify").unwrap();
        let mut byte = [0];
        bundle.skip(9).unwrap();
        assert_eq!(bundle.read(&mut byte), Ok(1));
        bundle.rewind().unwrap();
        bundle.skip(10).unwrap();
        assert_eq!(bundle.read(&mut byte), Ok(0));
        for beyond in [1, u64::MAX] {
            assert_eq!(bundle.skip(beyond), Err(SourceError));
        }
    }
}
