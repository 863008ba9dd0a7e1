//! Which proxy a request takes, from the usual variables.

use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::http::Uri;

use crate::http::error::Error;
use crate::http::url::Url;

/// The proxies of an environment.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    plain: Option<Address>,
    secure: Option<Address>,
    direct: Vec<Direct>,
}

/// One proxy.
#[derive(Clone)]
pub(crate) struct Address {
    text: String,
    /// Host and port alone, as an address that can be resolved.
    pub(crate) uri: Uri,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    Name { name: String, port: Option<u16> },
    Net { address: IpAddr, bits: u32 },
}

impl Proxies {
    /// Reads `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`; the names in lower case come
    /// first.
    pub(crate) fn new(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let first = |names: &[&str]| {
            let mut set = names.iter().filter_map(|&name| Some((name.to_owned(), variable(name)?)));
            set.find(|(_, value)| !value.trim().is_empty())
        };
        // A web server passes a client's header `Proxy` to its programs under this name.
        let plain: &[&str] = if variable("REQUEST_METHOD").is_some() {
            &["http_proxy", "all_proxy", "ALL_PROXY"]
        } else {
            &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        };
        let secure = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let address = |found: Option<(String, String)>| {
            found.map(|(name, value)| Address::parse(&name, value.trim())).transpose()
        };
        let direct = first(&["no_proxy", "NO_PROXY"]).map_or(String::new(), |(_, value)| value);
        Ok(Self {
            plain: address(first(plain))?,
            secure: address(first(&secure))?,
            direct: direct
                .split([',', ' '])
                .filter(|entry| !entry.is_empty())
                .map(Direct::parse)
                .collect(),
        })
    }

    /// The proxy for `url`. Requests to this machine take none: a token would leave the machine
    /// in clear text.
    pub(crate) fn of(&self, url: &Url) -> Option<&Address> {
        let proxy = if url.is_secure() { &self.secure } else { &self.plain };
        let direct = url.is_loopback() || self.direct.iter().any(|entry| entry.holds(url));
        proxy.as_ref().filter(|_| !direct)
    }
}

impl Address {
    fn parse(name: &str, value: &str) -> Result<Self, Error> {
        // The value can hold a password, so the error does not show it.
        let wrong = |what: &str| Error::Setup(format!("the variable {name}: {what}"));
        let text = match value.split_once("://") {
            None => format!("http://{value}"),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => value.to_owned(),
            // A client certificate would be offered to the proxy too.
            Some(_) => return Err(wrong("expected a proxy that begins with http://")),
        };
        let malformed = || wrong("expected a proxy such as http://host:port");
        let uri = Uri::from_str(&text).map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?.as_str();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let bare = Uri::from_str(&format!("http://{host}")).map_err(|_| malformed())?;
        // Other clients differ in the port that they take if none is given.
        if bare.host().is_none_or(str::is_empty) || bare.port_u16().is_none() {
            return Err(malformed());
        }
        let authorization = match user {
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let name = unescape(name).ok_or_else(malformed)?;
                let password = unescape(password).ok_or_else(malformed)?;
                let plain = [&name[..], b":", &password[..]].concat();
                Some(format!("Basic {}", BASE64_STANDARD.encode(plain)))
            }
            None => None,
        };
        Ok(Self { text, uri: bare, authorization })
    }

    /// The proxy as the client takes it, for tunnels.
    pub(crate) fn tunnel(&self) -> Result<ureq::Proxy, Error> {
        ureq::Proxy::new(&self.text)
            .map_err(|_| Error::Setup(format!("expected a proxy, found {}", self.uri)))
    }
}

/// Bytes for `%XX`; `None` where that is cut off.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    Some(plain)
}

impl Direct {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::All;
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Self::Net { address, bits };
        }
        let entry = entry.to_ascii_lowercase();
        let bare = entry.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = IpAddr::from_str(bare) {
            return Self::Net { address, bits: 128 };
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (&*entry, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_owned();
        Self::Name { name, port }
    }

    fn holds(&self, url: &Url) -> bool {
        let host = url.host();
        match self {
            Self::All => true,
            Self::Name { name, port } => {
                let below = host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
                (host == *name || below) && port.is_none_or(|port| port == url.port())
            }
            Self::Net { address, bits } => match (address, IpAddr::from_str(&host)) {
                (IpAddr::V4(net), Ok(IpAddr::V4(host))) => {
                    let shift = 32_u32.saturating_sub(*bits);
                    u32::from(*net).checked_shr(shift) == u32::from(host).checked_shr(shift)
                }
                (IpAddr::V6(net), Ok(IpAddr::V6(host))) => {
                    let shift = 128_u32.saturating_sub(*bits);
                    u128::from(*net).checked_shr(shift) == u128::from(host).checked_shr(shift)
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Error> {
        Proxies::new(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        proxies.of(&Url::parse(url).unwrap()).map(|proxy| proxy.uri.to_string())
    }

    #[test]
    fn variables_are_read_in_lower_and_in_upper_case() {
        let both = [("HTTP_PROXY", "http://plain:1"), ("https_proxy", "secure:2")];
        assert_eq!(chosen(&both, "http://host/").as_deref(), Some("http://plain:1/"));
        assert_eq!(chosen(&both, "https://host/").as_deref(), Some("http://secure:2/"));
        let cases = [("http_proxy", "http://lower:1"), ("HTTP_PROXY", "http://upper:1")];
        assert_eq!(chosen(&cases, "http://host/").as_deref(), Some("http://lower:1/"));
        let all = [("ALL_PROXY", "http://all:1")];
        assert_eq!(chosen(&all, "https://host/").as_deref(), Some("http://all:1/"));
        assert_eq!(chosen(&all, "http://127.0.0.1/"), None);
        let cgi = [("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen(&cgi, "http://host/"), None);
        assert_eq!(chosen(&[("http_proxy", "")], "http://host/"), None);
    }

    #[test]
    fn exceptions_are_names_with_what_is_below_them_and_networks() {
        let list = "a.example, .b.example,*.c.example 10.0.0.0/8,::2,d.example:8080";
        let set = [("all_proxy", "http://proxy:1"), ("NO_PROXY", list)];
        for (url, direct) in [
            ("http://a.example/", true),
            ("http://x.a.example/", true),
            ("http://xa.example/", false),
            ("http://b.example/", true),
            ("http://x.c.example/", true),
            ("http://10.1.2.3/", true),
            ("http://11.1.2.3/", false),
            ("http://[::2]/", true),
            ("http://[::3]/", false),
            ("http://d.example:8080/", true),
            ("http://d.example/", false),
        ] {
            assert_eq!(chosen(&set, url).is_none(), direct, "{url}");
        }
        let all = [("all_proxy", "http://proxy:1"), ("no_proxy", "*")];
        assert_eq!(chosen(&all, "http://host/"), None);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        for value in
            ["socks5://p:1", "https://p:1", "http://", "p", "http://u:secret@p", "u:%zz@p:1"]
        {
            let error = proxies(&[("http_proxy", value)]).err().unwrap().to_string();
            assert!(error.contains("http_proxy") && !error.contains("secret"), "{error}");
        }
        let with = proxies(&[("http_proxy", "http://user:p%40ss@proxy:1")]).unwrap();
        let expected = "Basic dXNlcjpwQHNz";
        assert_eq!(with.plain.unwrap().authorization.as_deref(), Some(expected));
    }
}
