//! How to ask: limits, patience, and the files that prove who asks and who answers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::http::error::Error;
use crate::http::proxy::Proxies;

/// When a connection counts as stalled: fewer than `bytes_per_second_min` on average while this
/// side waited for `window`. Time in which the caller does something else does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The least that still counts as a connection.
    pub bytes_per_second_min: u64,
    /// How long the average is taken over.
    pub window: Duration,
}

/// How long to wait before all mirrors are asked once more.
///
/// The wait doubles every time. Half of it is by chance, so that many devices that lost one server
/// do not all come back to it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest one. A server's `Retry-After` is obeyed up to here as well.
    pub longest: Duration,
}

/// Carries out a wait.
pub(crate) type Sleep = Arc<dyn Fn(Duration) + Send + Sync>;

/// How to ask servers.
///
/// The defaults take no proxy and no token, and no file above 1 TiB; they give up after five
/// rounds in which no mirror gave anything.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    pub(crate) cacert: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) stall: Stall,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) len_max: u64,
    pub(crate) user_agent: String,
    pub(crate) proxies: Proxies,
    pub(crate) roots: Roots,
    pub(crate) sleep: Sleep,
}

/// Certificate authorities that the environment names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots {
    pub(crate) file: Option<PathBuf>,
    pub(crate) folders: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cacert: None,
            certificate: None,
            token_file: None,
            stall: Stall { bytes_per_second_min: 1000, window: Duration::from_secs(30) },
            connect_timeout: Duration::from_secs(20),
            attempts: 5,
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(120) },
            len_max: 1 << 40,
            user_agent: concat!("stillboot/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
            roots: Roots::default(),
            sleep: Arc::new(std::thread::sleep),
        }
    }
}

impl Options {
    /// Takes proxies and certificate authorities from an environment, from variables that other
    /// programs read too:
    /// `https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`, the same in upper case,
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    ///
    /// `variable` is `|name| std::env::var(name).ok()` for the environment of the process.
    ///
    /// # Errors
    /// [`Error::Setup`] for a proxy that cannot be used. It is not passed over: the server may
    /// be reachable or allowed through the proxy only.
    pub fn with_environment(
        mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        self.proxies = Proxies::new(&variable)?;
        let set = |name| variable(name).filter(|value| !value.is_empty());
        self.roots.file = set("SSL_CERT_FILE").map(PathBuf::from);
        self.roots.folders = set("SSL_CERT_DIR").iter().flat_map(std::env::split_paths).collect();
        Ok(self)
    }

    /// Trusts the certificate authorities of this PEM file, and no others.
    #[must_use]
    pub fn with_cacert(mut self, file: impl Into<PathBuf>) -> Self {
        self.cacert = Some(file.into());
        self
    }

    /// Shows this certificate to the servers of the given addresses; both are PEM files, the key
    /// without a passphrase.
    #[must_use]
    pub fn with_certificate(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some((chain.into(), key.into()));
        self
    }

    /// Sends the bearer token in this file to the servers of the given addresses.
    #[must_use]
    pub fn with_token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// Sets when a connection counts as stalled.
    #[must_use]
    pub fn with_stall(mut self, stall: Stall) -> Self {
        self.stall = stall;
        self
    }

    /// Sets how long looking up a name and connecting may take, each.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many rounds through all mirrors may fail in a row, without bytes in between.
    #[must_use]
    pub fn with_attempts(mut self, rounds: u32) -> Self {
        self.attempts = rounds.max(1);
        self
    }

    /// Sets how long to wait between these rounds.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the length of the longest file that is taken.
    #[must_use]
    pub fn with_len_max(mut self, bytes: u64) -> Self {
        self.len_max = bytes;
        self
    }

    /// Sets the value of `User-Agent`. Characters that a header cannot have are left out.
    #[must_use]
    pub fn with_user_agent(mut self, name: &str) -> Self {
        self.user_agent = name.chars().filter(|c| (' '..='~').contains(c)).collect();
        self
    }

    /// Waits by `sleep` instead of [`std::thread::sleep`].
    #[must_use]
    pub fn with_sleep(mut self, sleep: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.sleep = Arc::new(sleep);
        self
    }
}

impl fmt::Debug for Options {
    /// Without the proxies: their addresses can hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cacert", &self.cacert)
            .field("certificate", &self.certificate)
            .field("token_file", &self.token_file)
            .field("stall", &self.stall)
            .field("attempts", &self.attempts)
            .field("backoff", &self.backoff)
            .field("len_max", &self.len_max)
            .finish_non_exhaustive()
    }
}
