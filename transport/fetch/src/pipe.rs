//! A bundle that comes through a pipe: as it is, or in frames; read ahead if that is asked for.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::manifest::CHUNK_SIZE_MAX;
use stillboot_transport::frame::{Fault, MAGIC};
use stillboot_transport::old::NoOld;
use stillboot_transport::stream::{Framed, read_header};

use crate::error::FetchError;
use crate::stream::Stream;

/// Skipped bytes are read in pieces of this length.
const SCRAP_LEN: usize = 64 << 10;
/// Length of the blocks that are read ahead: at least the longest piece.
const BLOCK_LEN: usize = CHUNK_SIZE_MAX as usize;
/// How many blocks there are.
const BLOCKS: usize = 3;

/// A reader that the thread of a [`Pump`] may use.
pub type Reader = Box<dyn Read + Send>;

/// A bundle that is read once.
pub struct Pipe {
    content: Content,
    name: String,
    error: Option<FetchError>,
}

enum Content {
    Plain(Raw),
    Framed(Box<Framed<Raw, NoOld, Vec<u8>>>),
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pipe {
    /// Looks at the first bytes of `reader`, called `name` in messages.
    ///
    /// # Errors
    /// [`FetchError`], of a framed file only: what else is no bundle is found out when it is read.
    pub fn open(mut reader: Reader, name: String) -> Result<Self, FetchError> {
        let mut start = Vec::new();
        let read = (&mut reader).take(MAGIC.len() as u64).read_to_end(&mut start);
        let is_framed = start == MAGIC;
        let mut raw = Raw { reader: Box::new(io::Cursor::new(start).chain(reader)), error: None };
        if let Err(error) = read {
            return Err(FetchError::Io { name, error });
        }
        if !is_framed {
            return Ok(Self { content: Content::Plain(raw), name, error: None });
        }
        let header = match read_header(&mut raw) {
            Err(Fault::Absent) => return Err(FetchError::Patch { name, is_whole: false }),
            header => header.map_err(|fault| raw.failed(&name, fault))?,
        };
        // Old bytes are read at any place, by a reader that goes to and fro.
        if header.is_patch() {
            return Err(FetchError::Patch { name, is_whole: true });
        }
        let spare = vec![0; CHUNK_SIZE_MAX as usize];
        let framed = Framed::new(raw, header, NoOld, spare);
        Ok(Self { content: Content::Framed(Box::new(framed)), name, error: None })
    }

    fn note<T>(&mut self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        if result.is_err() && self.error.is_none() {
            self.error = Some(match &mut self.content {
                Content::Plain(raw) => raw.failed(&self.name, Fault::Source),
                Content::Framed(framed) => {
                    let fault = framed.fault().unwrap_or(Fault::Source);
                    framed.source().failed(&self.name, fault)
                }
            });
        }
        result
    }
}

impl Stream for Pipe {
    fn take_error(&mut self) -> Option<FetchError> {
        self.error.take()
    }
}

impl Source for Pipe {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let result = match &mut self.content {
            Content::Plain(raw) => raw.read(into),
            Content::Framed(framed) => framed.read(into),
        };
        self.note(result)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let result = match &mut self.content {
            Content::Plain(raw) => raw.skip(len),
            Content::Framed(framed) => framed.skip(len),
        };
        self.note(result)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        let result = match &mut self.content {
            Content::Plain(raw) => raw.has_more(),
            Content::Framed(framed) => framed.has_more(),
        };
        self.note(result)
    }
}

/// A reader as a source that keeps its error.
struct Raw {
    reader: Reader,
    error: Option<io::Error>,
}

impl Raw {
    fn failed(&mut self, name: &str, fault: Fault) -> FetchError {
        let name = name.to_owned();
        match self.error.take() {
            Some(error) => FetchError::Io { name, error },
            None => FetchError::Frames { name, fault },
        }
    }
}

impl Source for Raw {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        loop {
            match self.reader.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error = Some(error);
                    return Err(SourceError);
                }
                Ok(len) => return Ok(len),
            }
        }
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        let mut scrap = [0; SCRAP_LEN];
        while len > 0 {
            let most = len.min(scrap.len() as u64) as usize;
            match self.read(&mut scrap[..most])? {
                0 => {
                    self.error = Some(io::ErrorKind::UnexpectedEof.into());
                    return Err(SourceError);
                }
                n => len -= n as u64,
            }
        }
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}

/// A block of a bundle: its bytes from `at` on, and whether nothing follows.
struct Block {
    bytes: Vec<u8>,
    len: usize,
    result: Result<(), FetchError>,
    is_last: bool,
}

/// A pipe that a thread reads ahead.
#[derive(Debug)]
pub struct Pump {
    filled: Receiver<Block>,
    empty: SyncSender<Vec<u8>>,
    block: Option<(Vec<u8>, usize, usize)>,
    is_over: bool,
    error: Option<FetchError>,
    has_failed: bool,
}

impl Pump {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says if there is no further thread.
    pub fn new(mut pipe: Pipe) -> io::Result<Self> {
        let (give, filled) = mpsc::sync_channel(BLOCKS);
        let (empty, take) = mpsc::sync_channel(BLOCKS);
        for _ in 0..BLOCKS {
            // There is room for all of them.
            let _ = empty.send(vec![0; 2 * BLOCK_LEN]);
        }
        thread::Builder::new().name("fetch".into()).spawn(move || {
            for mut bytes in take {
                let block = fill(&mut pipe, &mut bytes);
                let (len, result, is_last) = match block {
                    Ok((len, is_last)) => (len, Ok(()), is_last),
                    Err((len, error)) => (len, Err(error), true),
                };
                if give.send(Block { bytes, len, result, is_last }).is_err() || is_last {
                    break;
                }
            }
        })?;
        Ok(Self { filled, empty, block: None, is_over: false, error: None, has_failed: false })
    }

    /// The block at hand: its bytes that were not read yet. Empty at the end.
    fn current(&mut self) -> Result<usize, SourceError> {
        loop {
            if let Some((bytes, at, len)) = self.block.take() {
                if at < len {
                    self.block = Some((bytes, at, len));
                    return Ok(len - at);
                }
                // The thread may have ended already.
                let _ = self.empty.send(bytes);
            }
            if self.has_failed {
                return Err(SourceError);
            }
            if self.is_over {
                return Ok(0);
            }
            let block = self.filled.recv().map_err(|_| SourceError)?;
            self.is_over = block.is_last;
            self.error = block.result.err();
            self.has_failed = self.error.is_some();
            self.block = Some((block.bytes, 0, block.len));
        }
    }
}

/// Fills `bytes` as far as whole pieces fit for certain. Says how much there is, and whether nothing
/// follows.
fn fill(pipe: &mut Pipe, bytes: &mut [u8]) -> Result<(usize, bool), (usize, FetchError)> {
    let mut len = 0;
    while len < BLOCK_LEN {
        match pipe.read(&mut bytes[len..]) {
            Ok(0) => return Ok((len, true)),
            Ok(n) => len += n,
            Err(SourceError) => {
                let gone = || FetchError::Io {
                    name: pipe.name.clone(),
                    error: io::ErrorKind::BrokenPipe.into(),
                };
                let error = pipe.error.take().unwrap_or_else(gone);
                return Err((len, error));
            }
        }
    }
    Ok((len, false))
}

impl Stream for Pump {
    fn take_error(&mut self) -> Option<FetchError> {
        self.error.take()
    }
}

impl Source for Pump {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = self.current()?.min(into.len());
        if let Some((bytes, at, _)) = &mut self.block {
            into[..len].copy_from_slice(&bytes[*at..*at + len]);
            *at += len;
        }
        Ok(len)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        while len > 0 {
            let step = (self.current()? as u64).min(len);
            let Some((_, at, _)) = self.block.as_mut().filter(|_| step > 0) else {
                let error = io::ErrorKind::UnexpectedEof.into();
                self.error = Some(FetchError::Io { name: "the bundle".into(), error });
                self.has_failed = true;
                return Err(SourceError);
            };
            *at += step as usize;
            len -= step;
        }
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.current()? > 0)
    }
}
