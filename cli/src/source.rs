//! Where a bundle comes from: a file, which can be read twice and skipped in, or a stream.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::envelope::{HEADER_LEN, MAGIC};
use stillboot::format::{Digest, SlotKind};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{HEAD_LEN_MAX, TrustError};

use stillboot_fetch::ahead::Ahead;
use stillboot_fetch::assembly::{Assembly, Origins};
use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::pipe::{Pipe, Pump};
use stillboot_fetch::read_at::FileAt;
use stillboot_fetch::stream::Stream;
use stillboot_linux::open::{self, Input};
use stillboot_transport::frame::{self, Fault, Header};

use crate::bounds;
use crate::failure::{Exit, Failure};
use crate::http::{self, HttpArgs, is_url};
use crate::near::{BUNDLE_SPOOL, Near};
use crate::output::Output;
use crate::preview::{self, Preview};
use crate::start;

/// How many bytes are thrown away at a time when a part of a stream is skipped.
const SCRAP_LEN: usize = 64 << 10;

/// A bundle.
pub struct Bundle {
    reader: Reader,
    name: String,
    last_error: Option<io::Error>,
    /// Why pieces could not be had.
    trouble: Option<FetchError>,
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
    /// It is on a web server.
    is_remote: bool,
    /// What it starts from, if it is a patch that holds everything.
    patch_from: Option<Digest>,
    /// It said of bytes that the target holds them.
    has_stated: bool,
    /// Where pieces came from before it was read again.
    earlier: Origins,
}

enum Reader {
    /// A bundle as it is, in a file.
    File { file: File, at: u64, len: u64 },
    /// A stream, read once.
    Pipe(Box<Pipe>),
    /// The same, read ahead.
    Pump(Box<Pump>),
    /// A file that is read piece by piece, ahead.
    Pieces { ahead: Box<Ahead>, header: Box<Header> },
    /// Nothing: it failed while it was opened again.
    Closed,
}

impl Reader {
    /// What gives its own errors.
    fn stream(&mut self) -> Option<&mut dyn Stream> {
        match self {
            Self::Pipe(pipe) => Some(&mut **pipe),
            Self::Pump(pump) => Some(&mut **pump),
            Self::Pieces { ahead, .. } => Some(&mut **ahead),
            Self::File { .. } | Self::Closed => None,
        }
    }
}

impl Bundle {
    /// Opens the bundle at `path` for `command`; `-` is standard input, and a URL leads to a web
    /// server that is asked without credentials.
    pub fn open(path: &Path, command: &'static str, out: &Output) -> Result<Self, Failure> {
        Self::open_with(path, command, &HttpArgs::default(), out)
    }

    /// As [`open`](Self::open), with what was said of web servers.
    pub fn open_with(
        path: &Path,
        command: &'static str,
        http: &HttpArgs,
        out: &Output,
    ) -> Result<Self, Failure> {
        Self::open_kept(path, command, http, None, out)
    }

    /// As [`open_with`](Self::open_with). What an installation that was cut short kept of the bundle
    /// is in `folder`.
    pub fn open_kept(
        path: &Path,
        command: &'static str,
        http: &HttpArgs,
        folder: Option<&Path>,
        out: &Output,
    ) -> Result<Self, Failure> {
        if let Some(url) = is_url(path) {
            let remote = http.remote(url, &http.options()?, out)?;
            let kept = folder.map(|folder| (folder, BUNDLE_SPOOL));
            let mut bundle = Self::of_pieces(http::pieces(remote, url, kept), command)?;
            bundle.is_remote = true;
            return Ok(bundle);
        }
        if let Some((text, scheme)) = http::with_scheme(path)
            && ["ftp", "file"].iter().any(|other| other.eq_ignore_ascii_case(scheme))
        {
            return Err(Failure::usage(format_args!(
                "expected a file, or a URL that begins with https:// or http://, found {text}"
            )));
        }
        if let Some(url) = http.mirror.first() {
            return Err(Failure::usage(format_args!(
                "--mirror {url} is another URL of the bundle: expected a URL as the bundle too, \
                 found {}",
                path.display()
            )));
        }
        let pipe = |stream, name: String| match Pipe::open(stream, name.clone()) {
            Ok(pipe) => Ok(Self::new(Reader::Pipe(Box::new(pipe)), name, command)),
            Err(FetchError::Patch { name, is_whole: true }) if installs(command) => {
                Err(patch_failure(&name)
                    .also("a patch is read to and fro: expected its file or URL, found a stream"))
            }
            Err(FetchError::Frames { name, fault: Fault::Ended }) => {
                Err(cut_short(&format_args!("{name} ends too early"), command))
            }
            Err(error) => Err(fetch_failure(error, command)),
        };
        if path == Path::new("-") {
            return pipe(Box::new(io::stdin()), "standard input".into());
        }
        let failed = |error| Failure::system("open", path, &error);
        let name = path.display().to_string();
        let input = open::input(path).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput => Failure::usage(format_args!("{name} is no bundle: {error}")),
            _ => failed(error),
        })?;
        let mut file = match input {
            Input::File(file) => file,
            stream => return pipe(Box::new(stream), name),
        };
        if is_framed(&mut file).map_err(failed)? {
            return Self::of_pieces(PieceFile::open(Box::new(FileAt::new(file, name))), command);
        }
        let len = file.metadata().map_err(failed)?.len();
        // It is only advice.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self::new(Reader::File { file, at: 0, len }, name, command))
    }

    /// The bundle in a framed file that is open.
    pub fn of_frames(file: File, path: &Path, command: &'static str) -> Result<Self, Failure> {
        let reader = FileAt::new(file, path.display().to_string());
        Self::of_pieces(PieceFile::open(Box::new(reader)), command)
    }

    /// A bundle that is read piece by piece.
    fn of_pieces(
        file: Result<PieceFile, FetchError>,
        command: &'static str,
    ) -> Result<Self, Failure> {
        let file = file.map_err(|error| fetch_failure(error, command))?;
        let (name, is_whole) = (file.name(), file.is_whole());
        let patch_from = file.from();
        // The slots have what a whole patch starts from, and only an installation looks there.
        if patch_from.is_some() && !(is_whole && installs(command)) {
            return Err(fetch_failure(FetchError::Patch { name, is_whole }, command));
        }
        let reader = Self::pieces(Assembly::new(file))?;
        Ok(Self { patch_from, ..Self::new(reader, name, command) })
    }

    fn pieces(assembly: Assembly) -> Result<Reader, Failure> {
        let header = Box::new(*assembly.header());
        let ahead = Ahead::new(assembly).map_err(thread_failure)?;
        Ok(Reader::Pieces { ahead: Box::new(ahead), header })
    }

    /// From here on a stream is read ahead, in a thread of its own. A file the system reads ahead.
    pub fn pump(&mut self) -> Result<(), Failure> {
        self.reader = match std::mem::replace(&mut self.reader, Reader::Closed) {
            Reader::Pipe(pipe) => Reader::Pump(Box::new(Pump::new(*pipe).map_err(thread_failure)?)),
            reader => reader,
        };
        Ok(())
    }

    /// From here on a file is read piece by piece, where that can be done.
    pub fn in_pieces(&mut self) -> Result<(), Failure> {
        if let Reader::File { file, at: 0, .. } = &self.reader {
            let failed = |error| Failure::system("open", Path::new(&self.name), &error);
            let again = file.try_clone().map_err(failed)?;
            // What is wrong with it is found where it is read.
            if let Ok(file) = PieceFile::open(Box::new(FileAt::new(again, self.name.clone()))) {
                self.reader = Self::pieces(Assembly::new(file))?;
            }
        }
        Ok(())
    }

    /// Of what is read piece by piece, what `near` has is taken from there, with the patch if there
    /// is one. What comes over the network is kept in `spool`.
    pub fn look_near(
        &mut self,
        near: &Near,
        patch: Option<PieceFile>,
        spool: Option<&Path>,
    ) -> Result<(), Failure> {
        let assembly = match std::mem::replace(&mut self.reader, Reader::Closed) {
            Reader::Pieces { ahead, .. } => ahead.finish(),
            reader => {
                self.reader = reader;
                return Ok(());
            }
        };
        let again = || {
            let text = format_args!("{} cannot be read twice", self.name);
            Failure::new(Exit::Failed, "source", text)
        };
        let mut assembly = assembly.ok_or_else(again)?;
        if let Some(folder) = spool.filter(|_| self.is_remote) {
            assembly = assembly.with_spool(folder, BUNDLE_SPOOL);
        }
        assembly = assembly.with_slots(Arc::clone(&near.slots));
        if near.is_asked {
            assembly = assembly.with_statements();
        }
        if let Some(patch) = patch {
            let name = patch.name();
            assembly = assembly.with_patch(patch).map_err(|_| {
                let text = format_args!("refused: {name} is not a patch to {}", self.name);
                Failure::new(Exit::Refused, "patch", text)
            })?;
        }
        self.reader = Self::pieces(assembly)?;
        Ok(())
    }

    /// As [`open`](Self::open), for what has to be read twice: a stream goes into a file without a
    /// name first.
    pub fn open_whole(
        path: &Path,
        command: &'static str,
        http: &HttpArgs,
        out: &Output,
    ) -> Result<Self, Failure> {
        let mut bundle = Self::open_with(path, command, http, out)?;
        if let Reader::Pipe(stream) = &mut bundle.reader {
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
                    Err(SourceError) => {
                        return Err(stream.take_error().map_or_else(
                            || failed(ErrorKind::BrokenPipe.into()),
                            |error| fetch_failure(error, command),
                        ));
                    }
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
        let is_streamed = matches!(reader, Reader::Pipe(_));
        let watch = Preview::default();
        Self {
            reader,
            name,
            last_error: None,
            trouble: None,
            watch,
            is_streamed,
            guard: None,
            fault: None,
            remark: None,
            command,
            is_remote: false,
            patch_from: None,
            has_stated: false,
            earlier: Origins::default(),
        }
    }

    /// How long it is, `None` for a stream.
    pub fn len(&self) -> Option<u64> {
        match &self.reader {
            Reader::File { len, .. } => Some(*len),
            Reader::Pieces { header, .. } => Some(header.bundle_len()),
            Reader::Pipe(_) | Reader::Pump(_) | Reader::Closed => None,
        }
    }

    /// The file, `None` for a stream. Read it at places, which moves nothing here.
    pub const fn file(&self) -> Option<&File> {
        match &self.reader {
            Reader::File { file, .. } => Some(file),
            _ => None,
        }
    }

    /// Its parts, where it is read piece by piece: not verified.
    pub fn header(&self) -> Option<&Header> {
        match &self.reader {
            Reader::Pieces { header, .. } => Some(header),
            _ => None,
        }
    }

    /// The digest of what it starts from, if it is a patch, and a slot must hold that.
    pub const fn patch_from(&self) -> Option<Digest> {
        self.patch_from
    }

    /// Whether it said of bytes that the target holds them. They were not compared.
    pub const fn has_stated(&self) -> bool {
        self.has_stated
    }

    /// Whether it is on a web server.
    pub const fn is_remote(&self) -> bool {
        self.is_remote
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
        let reader = match std::mem::replace(&mut self.reader, Reader::Closed) {
            Reader::File { mut file, len, .. } => {
                let at = file.seek(SeekFrom::Start(0)).map_err(|error| {
                    Failure::system("read again", Path::new(&self.name), &error)
                })?;
                Some(Reader::File { file, at, len })
            }
            Reader::Pieces { ahead, .. } => {
                let assembly = ahead.finish().map(Assembly::read_again);
                assembly.map(Self::pieces).transpose()?
            }
            Reader::Pipe(_) | Reader::Pump(_) | Reader::Closed => None,
        };
        let again = || {
            let text = format_args!("{} cannot be read twice", self.name);
            Failure::new(Exit::Failed, "source", text)
        };
        self.reader = reader.ok_or_else(again)?;
        self.watch = Preview::default();
        Ok(())
    }

    /// As [`rewind`](Self::rewind), for the same installation: what came from where adds up.
    pub fn again(&mut self) -> Result<(), Failure> {
        if let Reader::Pieces { ahead, .. } = &self.reader {
            self.earlier = self.earlier.and(&ahead.origins());
        }
        self.rewind()
    }

    /// All that is left of it.
    pub fn rest(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        match Reading(self).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self
                .failure()
                .unwrap_or_else(|| Failure::system("read", Path::new(&self.name), &error))),
        }
    }

    /// Why it could not be read, if it could not be.
    pub fn failure(&mut self) -> Option<Failure> {
        let command = self.command;
        let trouble = self.trouble.take().map(|error| fetch_failure(error, command));
        let error = self.last_error.take();
        trouble.or(error.map(|error| Failure::system("read", Path::new(&self.name), &error)))
    }

    /// Its bytes, for what takes a reader.
    pub const fn reading(&mut self) -> Reading<'_> {
        Reading(self)
    }

    /// It is not read any more: where its pieces came from, as far as it was read piece by piece,
    /// and what was wrong with the patch.
    pub fn finish(mut self) -> Option<(Origins, Option<FetchError>)> {
        match std::mem::replace(&mut self.reader, Reader::Closed) {
            Reader::Pieces { ahead, .. } => {
                let mut origins = ahead.origins().and(&self.earlier);
                let assembly = ahead.finish()?;
                // What was read ahead in vain came over the network all the same.
                origins.received = assembly.origins().received;
                Some((origins, assembly.into_trouble()))
            }
            _ => None,
        }
    }

    /// The failure that `error` is, with what was found in this bundle.
    pub fn explain(&mut self, error: InstallError) -> Failure {
        if let Some(fault) = self.fault.take() {
            return fault;
        }
        if let (InstallError::Source, Some(trouble)) = (error, self.trouble.take()) {
            // As a bundle that is no framed file: the next stream may be whole.
            if self.is_streamed && matches!(trouble, FetchError::Frames { fault: Fault::Ended, .. })
            {
                let what = format_args!("{} ends too early", self.name);
                return cut_short(&what, self.command);
            }
            return fetch_failure(trouble, self.command);
        }
        if let (InstallError::Refused(Refusal::Content { component }), Some(_)) =
            (error, self.patch_from)
        {
            let text = format_args!(
                "refused: {} does not give the bytes of component {component}: what it starts from \
                 may be damaged in its slot",
                self.name
            );
            return Failure::new(Exit::Refused, "content", text)
                .also("install the bundle that the patch leads to");
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
            true => cut_short(&what, self.command),
            false => Failure::new(Exit::Refused, "ended", format_args!("refused: {what}"))
                .also("fetch it again"),
        }
    }

    /// Keeps the error of a reader.
    fn note<T>(&mut self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        if result.is_err() {
            match self.reader.stream().and_then(Stream::take_error) {
                Some(FetchError::Io { error, .. }) => self.last_error = Some(error),
                other => self.trouble = other,
            }
        }
        result
    }

    fn skip_by_reading(&mut self, mut len: u64) -> Result<(), SourceError> {
        let mut scrap = vec![0; SCRAP_LEN];
        while len > 0 {
            let most = len.min(scrap.len() as u64) as usize;
            match Source::read(self, &mut scrap[..most])? {
                0 => {
                    self.last_error = Some(ErrorKind::UnexpectedEof.into());
                    return Err(SourceError);
                }
                n => len -= n as u64,
            }
        }
        Ok(())
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
        let n = match &mut self.reader {
            Reader::File { file, at, .. } => loop {
                match file.read(into) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.last_error = Some(error);
                        return Err(SourceError);
                    }
                    Ok(n) => {
                        *at += n as u64;
                        break n;
                    }
                }
            },
            reader => {
                let Some(stream) = reader.stream() else { return Err(SourceError) };
                let result = stream.read(into);
                self.note(result)?
            }
        };
        self.watch_and_guard(&into[..n])?;
        Ok(n)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        match &mut self.reader {
            Reader::File { file, at, len: end } => {
                // A seek past the end would succeed, and the error would not be noticed.
                let to = at.saturating_add(len);
                if to > *end {
                    self.last_error = Some(ErrorKind::UnexpectedEof.into());
                    return Err(SourceError);
                }
                match file.seek(SeekFrom::Start(to)) {
                    Ok(to) => *at = to,
                    Err(error) => {
                        self.last_error = Some(error);
                        return Err(SourceError);
                    }
                }
            }
            // What passes through is looked at, also where the caller skips it.
            Reader::Pipe(_) | Reader::Pump(_) => return self.skip_by_reading(len),
            Reader::Pieces { ahead, .. } => {
                let result = ahead.skip(len);
                self.note(result)?;
            }
            Reader::Closed => return Err(SourceError),
        }
        self.watch.skip(len);
        Ok(())
    }

    fn is_held(&mut self, len: u64) -> bool {
        let is_held = match &mut self.reader {
            Reader::Pieces { ahead, .. } => ahead.is_held(len),
            _ => false,
        };
        self.has_stated |= is_held;
        is_held
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

/// A bundle as a reader.
pub struct Reading<'a>(&'a mut Bundle);

impl Read for Reading<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Source::read(self.0, into).map_err(|SourceError| ErrorKind::Other.into())
    }
}

/// Whether a file starts as a framed file. It stands at its start afterwards.
pub fn is_framed(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    Read::by_ref(file).take(frame::MAGIC.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == frame::MAGIC)
}

/// The failure that an error of a bundle's file is for `command`.
fn fetch_failure(error: FetchError, command: &str) -> Failure {
    match error {
        FetchError::NotABundle { name, start } => preview::not_a_bundle(name, &start),
        FetchError::Patch { name, is_whole: false } if installs(command) => {
            patch_failure(&name).also("give the bundle, and the patch with --delta")
        }
        FetchError::Patch { name, .. } => {
            patch_failure(&name).also("give the bundle that it leads to")
        }
        error => error.into(),
    }
}

/// A stream ended too early.
fn cut_short(what: &dyn std::fmt::Display, command: &str) -> Failure {
    let failure = Failure::new(Exit::Failed, "source", what).also("give it again from its start");
    match installs(command) {
        true => failure.also("`stillboot resume` goes on where an installation was cut short"),
        false => failure,
    }
}

fn patch_failure(name: &str) -> Failure {
    let text = format_args!("refused: {name} is a patch: expected a bundle");
    Failure::new(Exit::Refused, "patch", text)
}

/// Whether `command` has slots, and so the bytes that a patch starts from.
fn installs(command: &str) -> bool {
    matches!(command, "install" | "resume")
}

fn thread_failure(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, "system", format_args!("cannot start a thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_over_the_end_of_a_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bundle");
        std::fs::write(&path, [7; 10]).unwrap();
        let mut bundle = Bundle::open(&path, "verify", &Output::new(false, true)).unwrap();
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
