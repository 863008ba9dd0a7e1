//! Connections: agents of the client with our rules, and the count of bytes that notices stalls.
//!
//! The count is taken below TLS. Above it a peer could send one byte of a record now and then, and
//! a read would neither end nor give anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    TcpConnector, Transport, time,
};

use crate::http::credentials::{self, Credentials};
use crate::http::error::Error;
use crate::http::options::{Options, Stall};
use crate::http::url::Url;

/// The longest head of an answer.
const HEAD_MAX: usize = 32 << 10;

/// An agent for `url`. Only if `credentials` are given, it shows the client certificate.
pub(crate) fn agent(
    url: &Url,
    options: &Options,
    roots: Option<RootCerts>,
    credentials: Option<&Credentials>,
    meter: &Arc<Meter>,
) -> Result<Agent, Error> {
    let proxy = options.proxies.of(url);
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // Redirects have rules of ours.
        .max_redirects(0)
        .proxy(None)
        .user_agent(&options.user_agent)
        .accept_encoding("identity")
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_send_request(Some(options.connect_timeout))
        // A head that comes byte by byte; the count of bytes ends it earlier.
        .timeout_recv_response(Some(options.connect_timeout + options.stall.window * 2))
        .max_response_header_size(HEAD_MAX)
        .input_buffer_size(2 * HEAD_MAX)
        .output_buffer_size(HEAD_MAX)
        .max_idle_connections(1);
    let mut forward = None;
    if let Some(roots) = roots {
        let certificate = credentials.and_then(|credentials| credentials.certificate.clone());
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .client_cert(certificate)
            .unversioned_rustls_crypto_provider(credentials::provider())
            .build();
        config = config.tls_config(tls).proxy(proxy.map(|proxy| proxy.tunnel()).transpose()?);
    } else if let Some(proxy) = proxy {
        // Many proxies refuse tunnels to other ports than 443, so they are asked for the address.
        let authority = url.uri().authority().map_or("", |authority| authority.as_str());
        forward = Some(Forward { prefix: format!("http://{authority}"), proxy: proxy.uri.clone() });
    }
    let resolver = ToProxy {
        proxy: forward.as_ref().map(|forward| forward.proxy.clone()),
        names: DefaultResolver::default(),
    };
    let prefix = forward.map(|forward| forward.prefix);
    let connector = ConnectProxyConnector::default()
        .chain(TcpConnector::default())
        .chain(Metering { meter: Arc::clone(meter), prefix })
        .chain(RustlsConnector::default());
    Ok(Agent::with_parts(config.build(), connector, resolver))
}

struct Forward {
    prefix: String,
    proxy: Uri,
}

/// Looks up the proxy instead of the server, whose name perhaps only the proxy can look up.
#[derive(Debug)]
struct ToProxy {
    proxy: Option<Uri>,
    names: DefaultResolver,
}

impl Resolver for ToProxy {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.names.resolve(self.proxy.as_ref().unwrap_or(uri), config, timeout)
    }
}

/// Counts what came while this side waited.
pub(crate) struct Meter {
    stall: Stall,
    window: Mutex<Window>,
}

#[derive(Clone, Copy, Default)]
struct Window {
    waited: Duration,
    bytes: u64,
    stalled: bool,
    /// Connections that were made.
    connections: u32,
}

impl Meter {
    pub(crate) fn new(stall: Stall) -> Self {
        Self { stall, window: Mutex::default() }
    }

    /// A new request begins.
    pub(crate) fn begin(&self) {
        *self.lock() = Window::default();
    }

    /// Whether the request that began took a connection of an earlier one.
    pub(crate) fn has_reused(&self) -> bool {
        self.lock().connections == 0
    }

    /// Whether the connection stalled since the request began.
    pub(crate) fn has_stalled(&self) -> bool {
        self.lock().stalled
    }

    /// How long to wait for the next bytes at most.
    fn patience(&self) -> Duration {
        // Sockets take no time-out of zero.
        self.stall.window.saturating_sub(self.lock().waited).max(Duration::from_millis(1))
    }

    /// Notes a wait and what it brought; `false` once the connection stalled.
    fn note(&self, waited: Duration, bytes: usize) -> bool {
        let mut window = self.lock();
        window.waited += waited;
        window.bytes += bytes as u64;
        if window.waited < self.stall.window {
            return true;
        }
        let expected = u128::from(self.stall.bytes_per_second_min) * window.waited.as_millis();
        let stalled = u128::from(window.bytes) * 1000 < expected;
        (window.waited, window.bytes, window.stalled) = (Duration::ZERO, 0, stalled);
        !stalled
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        // The window is plain values: a thread that panicked left nothing half done.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Metering {
    meter: Arc<Meter>,
    /// What goes before the path, where a proxy is asked for a whole address.
    prefix: Option<String>,
}

impl std::fmt::Debug for Metering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metering")
    }
}

impl<In: Transport> Connector<In> for Metering {
    type Out = Metered<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let (meter, prefix) = (Arc::clone(&self.meter), self.prefix.clone());
        meter.lock().connections += 1;
        Ok(chained.map(|inner| Metered { inner, meter, prefix }))
    }
}

struct Metered<In> {
    inner: In,
    meter: Arc<Meter>,
    prefix: Option<String>,
}

impl<In: Transport> std::fmt::Debug for Metered<In> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metered({:?})", self.inner)
    }
}

impl<In: Transport> Transport for Metered<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(
        &mut self,
        mut amount: usize,
        timeout: NextTimeout,
    ) -> Result<(), ureq::Error> {
        const BEFORE: &[u8] = b"GET ";
        if let Some(prefix) = &self.prefix {
            let output = self.inner.buffers().output();
            // Only the first bytes of a request; a request without a body has few more.
            if output[..amount].starts_with(b"GET /") {
                let longer = amount + prefix.len();
                if longer > output.len() {
                    return Err(ureq::Error::Io(std::io::ErrorKind::InvalidInput.into()));
                }
                output.copy_within(BEFORE.len()..amount, BEFORE.len() + prefix.len());
                output[BEFORE.len()..][..prefix.len()].copy_from_slice(prefix.as_bytes());
                amount = longer;
            }
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let before = Instant::now();
        loop {
            let patience = self.meter.patience();
            let mut capped = timeout;
            // What the caller gave is an amount of time from now on, not a point in time.
            let left = timeout.after.saturating_sub(before.elapsed());
            let ours = timeout.after.is_not_happening() || patience < left;
            capped.after = time::Duration::Exact(if ours { patience } else { left });
            let start = Instant::now();
            let had = self.inner.buffers().input().len();
            let result = self.inner.await_input(capped);
            let came = self.inner.buffers().input().len().saturating_sub(had);
            if !self.meter.note(start.elapsed(), came) {
                return Err(ureq::Error::Io(std::io::ErrorKind::TimedOut.into()));
            }
            match result {
                // The window ended, and it had enough bytes.
                Err(ureq::Error::Timeout(_)) if ours => {}
                result => return result,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_over_the_window_and_only_while_waiting() {
        let second = Duration::from_secs(1);
        let meter = Meter::new(Stall { bytes_per_second_min: 10, window: second * 3 });
        assert!(meter.note(second * 2, 0));
        assert_eq!(meter.patience(), second);
        assert!(meter.note(second, 30));
        // A new window.
        assert_eq!(meter.patience(), second * 3);
        assert!(meter.note(Duration::ZERO, 1_000_000));
        assert!(meter.note(second * 3, 0));
        assert!(!meter.note(second * 3, 29));
        assert!(meter.has_stalled());
        meter.begin();
        assert!(!meter.has_stalled());
    }
}
