//! Addresses of files on web servers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ureq::http::Uri;

/// The longest address that is taken, in bytes.
const LEN_MAX: usize = 4096;

/// How much of a path is shown.
const SHOWN_MAX: usize = 200;

/// The address of a file: `http` or `https`, a host, a path.
///
/// Shown, it has no query: queries hold the signatures of time-limited links.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

/// Where a request goes. Credentials for one origin are not sent to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme than `http` and `https`.
    #[error("expected an address that begins with http:// or https://")]
    Scheme,
    /// No host, a bad port, or a character that has to be escaped.
    #[error("expected an address such as https://host/path with all other characters escaped")]
    Malformed,
    /// A name or a password before the host.
    #[error("expected an address without a user name; a token is read from a file")]
    UserInfo,
    /// It has more than 4096 bytes.
    #[error("expected an address of 4096 bytes at most")]
    TooLong,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > LEN_MAX {
            return Err(UrlError::TooLong);
        }
        let (scheme, _) = text.split_once("://").ok_or(UrlError::Scheme)?;
        if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(UrlError::Scheme);
        }
        let uri = Uri::from_str(text).map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        // A port that is no number of 16 bits would be taken for none at all.
        let rest = &authority.as_str()[authority.host().len()..];
        if authority.host().is_empty() || (!rest.is_empty() && authority.port_u16().is_none()) {
            return Err(UrlError::Malformed);
        }
        Ok(Self(uri))
    }

    /// What `location` means in an answer for this address.
    pub(crate) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        if has_scheme(location) {
            return Self::parse(location);
        }
        let scheme = if self.is_secure() { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let (path, query) = match location.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (location, None),
        };
        let (path, query) = if path.is_empty() {
            (self.0.path().to_owned(), query.or(self.0.query()))
        } else if path.starts_with('/') {
            (without_dots(path), query)
        } else {
            let folder = self.0.path().rfind('/').map_or("/", |at| &self.0.path()[..=at]);
            (without_dots(&format!("{folder}{path}")), query)
        };
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        Self::parse(&format!("{scheme}://{authority}{path}{query}"))
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The host without brackets, in lower case.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin { secure: self.is_secure(), host: self.host(), port: self.port() }
    }

    /// Whether requests for it stay on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        match IpAddr::from_str(&host) {
            Ok(IpAddr::V4(address)) => Ipv4Addr::is_loopback(&address),
            Ok(IpAddr::V6(address)) => Ipv6Addr::is_loopback(&address),
            Err(_) => host == "localhost",
        }
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure() { "https" } else { "http" };
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        // A path can hold any byte above ASCII, so it is cut between characters.
        let path: String = self.0.path().chars().take(SHOWN_MAX).collect();
        let cut = if path.len() < self.0.path().len() { "..." } else { "" };
        let query = if self.0.query().is_some() { "?..." } else { "" };
        write!(f, "{scheme}://{authority}{path}{cut}{query}")
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// The path with `.` and `..` carried out; `..` never leaves the root.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (i, &part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_none_are_refused_with_the_reason() {
        for (text, error) in [
            ("ftp://host/x", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("host/x", UrlError::Scheme),
            ("http://", UrlError::Malformed),
            ("http:///x", UrlError::Malformed),
            ("http://host:99999/x", UrlError::Malformed),
            ("http://host/a b", UrlError::Malformed),
            ("https://user:secret@host/x", UrlError::UserInfo),
            ("https://user@host/x", UrlError::UserInfo),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
        let long = format!("http://host/{}", "x".repeat(LEN_MAX));
        assert_eq!(Url::parse(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn a_query_is_never_shown() {
        let url = Url::parse("https://host:8443/a/b?signature=secret").unwrap();
        assert_eq!(url.to_string(), "https://host:8443/a/b?...");
        assert!(!format!("{url:?}").contains("secret"));
    }

    #[test]
    fn locations_are_joined_as_rfc_3986_says() {
        let base = Url::parse("https://host:1/a/b/c?q=1").unwrap();
        for (location, result) in [
            ("/x", "https://host:1/x"),
            ("x", "https://host:1/a/b/x"),
            ("./x", "https://host:1/a/b/x"),
            ("../x/", "https://host:1/a/x/"),
            ("../../../../x", "https://host:1/x"),
            ("..", "https://host:1/a/"),
            ("?r=2", "https://host:1/a/b/c?r=2"),
            ("x?r=..", "https://host:1/a/b/x?r=.."),
            ("//other/x", "https://other/x"),
            ("http://other/x", "http://other/x"),
            ("/x#fragment", "https://host:1/x"),
        ] {
            assert_eq!(base.join(location).unwrap().uri().to_string(), result, "{location}");
        }
        assert_eq!(base.join("file:///etc/passwd"), Err(UrlError::Scheme));
        assert_eq!(base.join("javascript:1"), Err(UrlError::Scheme));
        assert_eq!(base.join("https://a:b@other/x"), Err(UrlError::UserInfo));
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for (text, expected) in [
            ("http://localhost/", true),
            ("http://127.9.9.9:80/", true),
            ("http://[::1]:80/", true),
            ("http://localhost.example/", false),
            ("http://127.0.0.1.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(Url::parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }
}
