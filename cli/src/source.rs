//! Where a bundle comes from: a file, which can be read twice and passed over, or a stream.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::Path;

use stillboot::driver::{Source, SourceError};

use stillboot_linux::open::{self, Input};

use crate::failure::{Exit, Failure};

/// What is thrown away at a time when a stream is passed over.
const SCRAP_LEN: usize = 64 << 10;

/// A bundle.
pub struct Bundle {
    reader: Reader,
    name: String,
    last_error: Option<io::Error>,
}

enum Reader {
    File { file: File, at: u64, len: u64 },
    Stream { stream: Box<dyn Read>, scrap: Vec<u8> },
}

/// All bytes of the bundle at `path`; `-` is standard input.
pub fn whole(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let done = match Bundle::open(path)?.reader {
        Reader::File { mut file, .. } => file.read_to_end(&mut bytes),
        Reader::Stream { mut stream, .. } => stream.read_to_end(&mut bytes),
    };
    done.map_err(|error| Failure::system("read", path, &error))?;
    Ok(bytes)
}

impl Bundle {
    /// Opens the bundle at `path`; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let stream = |stream| Reader::Stream { stream, scrap: vec![0; SCRAP_LEN] };
        if path == Path::new("-") {
            let reader = stream(Box::new(io::stdin()));
            return Ok(Self { reader, name: "standard input".into(), last_error: None });
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
        Ok(Self { reader, name: path.display().to_string(), last_error: None })
    }

    /// How long it is, `None` for a stream.
    pub const fn len(&self) -> Option<u64> {
        match &self.reader {
            Reader::File { len, .. } => Some(*len),
            Reader::Stream { .. } => None,
        }
    }

    /// Back to the start, where that can be done.
    pub fn rewind(&mut self) -> Result<(), Failure> {
        match &mut self.reader {
            Reader::File { file, at, .. } => {
                *at = file.seek(SeekFrom::Start(0)).map_err(|error| {
                    Failure::system("read again", Path::new(&self.name), &error)
                })?;
                Ok(())
            }
            Reader::Stream { .. } => Err(Failure::new(
                Exit::Failed,
                "source",
                format_args!("{} cannot be read twice", self.name),
            )),
        }
    }

    /// `failure` with what the system said of this bundle, if that is why.
    pub fn explain(&self, failure: Failure) -> Failure {
        match &self.last_error {
            Some(error) if failure.kind == "source" => {
                failure.also(format_args!("{}: {error}", self.name))
            }
            _ => failure,
        }
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
                Ok(n) => return Ok(n),
            }
        }
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        match &mut self.reader {
            Reader::File { file, at, len: end } => {
                // A seek past the end succeeds, and nothing would ever notice.
                let to = at.saturating_add(len);
                if to > *end {
                    self.last_error = Some(io::ErrorKind::UnexpectedEof.into());
                    return Err(SourceError);
                }
                match file.seek(SeekFrom::Start(to)) {
                    Ok(to) => *at = to,
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
        let mut bundle = Bundle::open(&path).unwrap();
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
