//! How web servers are asked, and which ones.

use std::env::VarError;
use std::path::{Path, PathBuf};

use clap::Args;
use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::http::{Options, Remote, Url};
use stillboot_fetch::remote_at::RemoteAt;
use stillboot_fetch::start::Start;

use crate::args;
use crate::failure::Failure;
use crate::output::Output;

/// How web servers are asked. HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR of
/// the environment count, in upper and in lower case. A proxy is http://HOST:PORT.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Another URL of the same file, asked when the first does not serve. May be repeated
    #[arg(long, help_heading = HEADING, value_name = "URL")]
    pub mirror: Vec<String>,
    /// Trust the certificate authorities in this PEM file, in place of those of the system
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Show servers this certificate, in PEM
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The private key of --client-cert, in PEM
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Send the bearer token in this file to the hosts that are named
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How often servers are asked in a row without an answer that is of use, with longer and longer
    /// pauses; 16 KiB that came start the count again
    #[arg(long, help_heading = HEADING, value_name = "N", default_value_t = ATTEMPTS, value_parser = args::attempts())]
    attempts: u32,
}

/// What its options stand under.
const HEADING: &str = "Where BUNDLE is a URL";

impl Default for HttpArgs {
    fn default() -> Self {
        Self {
            mirror: Vec::new(),
            cacert: None,
            client_cert: None,
            client_key: None,
            token_file: None,
            attempts: ATTEMPTS,
        }
    }
}

impl HttpArgs {
    /// How servers are asked.
    pub fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::default().with_user_agent(AGENT);
        // Files that are named here replace those of the environment.
        let environment = |name: &str| match std::env::var(name) {
            Ok(text) => Some(text),
            Err(VarError::NotPresent) => None,
            // It is refused where it is read, and not passed over.
            Err(VarError::NotUnicode(text)) => Some(text.to_string_lossy().into_owned()),
        };
        options = options.with_environment(environment).map_err(Failure::from)?;
        options = options.with_attempts(self.attempts);
        if let Some(file) = &self.cacert {
            options = options.with_cacert(file);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            options = options.with_certificate(cert, key);
        }
        if let Some(file) = &self.token_file {
            options = options.with_token_file(file);
        }
        Ok(options)
    }

    /// The files that are named here.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.cacert, &self.client_cert, &self.client_key, &self.token_file];
        all.into_iter().flatten().map(PathBuf::as_path)
    }

    /// The file at `url` and the mirrors that are named.
    pub fn remote(&self, url: &str, options: &Options, out: &Output) -> Result<Remote, Failure> {
        let all = std::iter::once(url).chain(self.mirror.iter().map(String::as_str));
        let remote = remote(all, options)?;
        remote.warnings().iter().for_each(|warning| out.warn(warning));
        Ok(remote)
    }
}

/// How often servers are asked in a row.
const ATTEMPTS: u32 = 5;
/// What servers are told of the program that asks.
const AGENT: &str = concat!("stillboot/", env!("CARGO_PKG_VERSION"));

/// The file at these URLs.
pub fn remote<'a>(
    urls: impl Iterator<Item = &'a str>,
    options: &Options,
) -> Result<Remote, Failure> {
    let urls = urls.map(|url| Url::parse(url).map_err(Failure::usage));
    Remote::new(urls.collect::<Result<_, _>>()?, options).map_err(Failure::from)
}

/// The same, to be read at any place.
fn remote_at(remote: Remote, url: &str) -> RemoteAt {
    let name = Url::parse(url).map_or_else(|_| "the URL".into(), |url| url.to_string());
    RemoteAt::new(remote, name)
}

/// Opens the bundle or patch at `url`. What was kept of its start in a folder under a name is not
/// fetched again, if the server still has that file.
pub fn pieces(
    mut remote: Remote,
    url: &str,
    kept: Option<(&Path, &str)>,
) -> Result<PieceFile, FetchError> {
    let start = kept.and_then(|(folder, name)| Start::load(folder, name));
    let start = start.filter(|start| remote.is_still(start.identity()));
    let reader = Box::new(remote_at(remote, url));
    match start {
        Some(start) => PieceFile::open_kept(reader, start),
        None => PieceFile::open(reader),
    }
}

/// The name of a file, or a URL without its query: queries hold signatures that open what they are
/// for.
pub fn shown(path: &Path) -> String {
    match is_url(path).map(Url::parse) {
        Some(Ok(url)) => url.to_string(),
        Some(Err(_)) => "the URL".into(),
        None => path.display().to_string(),
    }
}

/// Whether a name is a URL of a web server.
pub fn is_url(path: &Path) -> Option<&str> {
    let (text, scheme) = with_scheme(path)?;
    let is_web = ["http", "https"].iter().any(|web| web.eq_ignore_ascii_case(scheme));
    is_web.then_some(text)
}

/// A name that has the form of a URL, and its scheme.
pub fn with_scheme(path: &Path) -> Option<(&str, &str)> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    Some((text, scheme))
}
