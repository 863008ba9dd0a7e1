//! Why a file cannot be read from web servers.

use std::fmt;
use std::ops::Range;

use crate::http::url::{Url, UrlError};

/// Why bytes did not come. Its text has the address, what was asked, what came instead, and what
/// to do; it has no credentials.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option, or a file that it names, is wrong. Nothing was asked of any server.
    #[error("{0}")]
    Setup(String),

    /// The server was not reached, or the connection failed, stalled or ended early.
    #[error("{url}: {asked}: {what}")]
    Network {
        /// The address that was asked.
        url: String,
        /// What was asked for.
        asked: Asked,
        /// What happened.
        what: String,
    },

    /// The server answered that it will not or cannot give the file.
    #[error("{url}: {asked}: the server answered with status {status}{advice}")]
    Status {
        /// The address that was asked.
        url: String,
        /// What was asked for.
        asked: Asked,
        /// The status of the answer.
        status: u16,
        /// What to do about it.
        advice: &'static str,
    },

    /// The answer breaks the rules of HTTP, or is not what was asked for.
    #[error("{url}: {asked}: refused the answer with status {status}: {what}")]
    Answer {
        /// The address that was asked.
        url: String,
        /// What was asked for.
        asked: Asked,
        /// The status of the answer; 0 where it could not be read.
        status: u16,
        /// What is wrong.
        what: String,
    },

    /// No connection that can be trusted: a wrong name, an unknown issuer, dates, an alert.
    #[error("{url}: no trusted connection: {what}")]
    Tls {
        /// The address that was asked.
        url: String,
        /// What is wrong.
        what: String,
    },

    /// A redirect that is not followed.
    #[error("{url}: refused a redirect with status {status} to {to}: {what}")]
    Redirect {
        /// The address that answered.
        url: String,
        /// The status of the answer.
        status: u16,
        /// Where the server sent us, as far as that can be shown.
        to: String,
        /// The rule that forbids it.
        what: String,
    },

    /// The file is not the one that was there before.
    #[error("{url}: the file changed: it was {before}, it is {now}; start again")]
    Changed {
        /// The address that was asked.
        url: String,
        /// What was known.
        before: String,
        /// What the server says now.
        now: String,
    },

    /// The file has more bytes than the caller takes.
    #[error("{url}: expected a file of {most} bytes at most, the server says {len}")]
    TooLong {
        /// The address that was asked.
        url: String,
        /// How long the server says that the file is.
        len: u64,
        /// The most that the caller takes.
        most: u64,
    },

    /// Every mirror failed: the last error of each, in the order of the mirrors.
    #[error("no mirror has the file: {}", list(.0))]
    Mirrors(Vec<Error>),
}

impl Error {
    /// Whether the same request may work later: networks come back, files are put where they are
    /// missing, permissions are given. Certificates, redirects and answers that break the rules
    /// need a change at the server or here first.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Status { .. } | Self::Changed { .. } => true,
            Self::Mirrors(errors) => errors.iter().any(Self::is_temporary),
            Self::Setup(_)
            | Self::Answer { .. }
            | Self::Tls { .. }
            | Self::Redirect { .. }
            | Self::TooLong { .. } => false,
        }
    }

    /// Whether an option or a file of this machine is wrong, and no server was asked.
    #[must_use]
    pub fn is_setup(&self) -> bool {
        matches!(self, Self::Setup(_))
    }
}

impl From<UrlError> for Error {
    fn from(error: UrlError) -> Self {
        Self::Setup(error.to_string())
    }
}

fn list(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The part of a file that a request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(pub(crate) Option<Range<u64>>);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(range) if range.end == u64::MAX => {
                write!(f, "bytes from {} on", range.start)
            }
            Some(range) => write!(f, "bytes {}-{}", range.start, range.end.saturating_sub(1)),
            None => f.write_str("the whole file"),
        }
    }
}

/// Where an error happened.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) url: Url,
    pub(crate) asked: Asked,
}

impl Place {
    pub(crate) fn network(&self, what: impl fmt::Display) -> Error {
        Error::Network { url: self.url.to_string(), asked: self.asked.clone(), what: line(what) }
    }

    pub(crate) fn answer(&self, status: u16, what: impl fmt::Display) -> Error {
        let (url, asked) = (self.url.to_string(), self.asked.clone());
        Error::Answer { url, asked, status, what: line(what) }
    }

    pub(crate) fn status(&self, status: u16) -> Error {
        let advice = match status {
            401 | 403 => ": check the token or the client certificate, if it expects one",
            404 | 410 => ": check the address",
            407 => ": check the user name and the password in the address of the proxy",
            400 => ": check the address, and the client certificate if it expects one",
            _ => "",
        };
        Error::Status { url: self.url.to_string(), asked: self.asked.clone(), status, advice }
    }

    pub(crate) fn tls(&self, what: impl fmt::Display) -> Error {
        Error::Tls { url: self.url.to_string(), what: line(what) }
    }

    pub(crate) fn redirect(&self, status: u16, to: String, what: impl fmt::Display) -> Error {
        Error::Redirect { url: self.url.to_string(), status, to, what: line(what) }
    }

    pub(crate) fn changed(&self, before: String, now: String) -> Error {
        Error::Changed { url: self.url.to_string(), before, now }
    }
}

/// Text of a server as it can be shown: without control characters, and not endless.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 80;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let cut = if bytes.len() > MOST { "..." } else { "" };
    format!("\"{}{cut}\"", text.escape_debug())
}

/// An error of a library in one line of bounded length: it can quote the server.
fn line(what: impl fmt::Display) -> String {
    let text = what.to_string();
    text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
