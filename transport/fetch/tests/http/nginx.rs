//! A real server: Debian's nginx on loopback.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use stillboot_fetch::http::{Error, Options, Remote, Url, Warning};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::relay::{Proxy, cutting};
use crate::server::{file, options, read_all};

struct Nginx {
    shell: Child,
    folder: TempDir,
    plain: SocketAddr,
    /// With certificates for the right name, another name, and a time that is over; the last one
    /// asks for a client certificate.
    secure: [SocketAddr; 4],
    certificates: Certificates,
}

/// Runs nginx until its input ends: that is when this process ends, however that happens. Nothing
/// drops what is in a static.
const KEEPER: &str =
    r#"nginx -p "$1" -c nginx.conf -e error.log & read _; kill $!; wait; rm -r "$1""#;

/// One server for all tests that change nothing in it.
static SHARED: LazyLock<Nginx> = LazyLock::new(Nginx::start);

const TOKEN: &str = "secret-token";

impl Nginx {
    fn start() -> Self {
        // A port that is free now can be taken a moment later: then this begins again.
        let mut tries = (0..5).map(|_| Self::spawn());
        tries.find(Self::answers).expect("free ports for nginx")
    }

    fn spawn() -> Self {
        let nginx = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        assert!(nginx.is_ok(), "nginx is needed: see `cargo xtask setup`");
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::make(folder.path());
        let ports = free_ports(5);
        let files = folder.path().join("files");
        std::fs::create_dir_all(files.join("token")).unwrap();
        std::fs::write(folder.path().join("nginx.conf"), config(folder.path(), &ports)).unwrap();
        std::fs::write(files.join("file"), file(200_000)).unwrap();
        std::fs::write(files.join("empty"), "").unwrap();
        std::fs::write(files.join("token/file"), file(1000)).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(folder.path()).stdin(Stdio::piped());
        let secure = [ports[1], ports[2], ports[3], ports[4]];
        Self { shell: keeper.spawn().unwrap(), folder, plain: ports[0], secure, certificates }
    }

    /// Whether all ports answer; `false` if another process has one of them.
    fn answers(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let log = self.folder.path().join("error.log");
            let log = std::fs::read_to_string(log).unwrap_or_default();
            if log.contains("Address already in use") {
                return false;
            }
            assert!(!log.contains("[emerg]"), "nginx did not start: {log}");
            let mut ports = self.secure.iter().chain([&self.plain]);
            if ports.all(|port| TcpStream::connect(port).is_ok()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nginx does not listen; is it installed? See `cargo xtask setup`");
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.plain)).unwrap()
    }

    fn secure(&self, number: usize, path: &str) -> Url {
        Url::parse(&format!("https://{}{path}", self.secure[number])).unwrap()
    }

    fn trusting(&self) -> Options {
        options().with_cacert(self.certificates.path("ca.pem"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn free_ports(count: usize) -> Vec<SocketAddr> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

fn config(folder: &Path, ports: &[SocketAddr]) -> String {
    let folder = folder.display();
    let secure = |port: SocketAddr, name: &str, more: &str| {
        format!(
            "server {{ listen {port} ssl; ssl_certificate {folder}/{name}.pem;
              ssl_certificate_key {folder}/{name}.key; {more} root {folder}/files; }}"
        )
    };
    let client = format!("ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;");
    let down = format!("location /down {{ return 302 http://{}/file; }}", ports[0]);
    let secured = [
        secure(ports[1], "server", &down),
        secure(ports[2], "wrong", ""),
        secure(ports[3], "old", ""),
        secure(ports[4], "server", &client),
    ]
    .join("\n");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .join(" ");
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid;
         events {{ worker_connections 64; }}
         http {{ access_log off; {temporary}
         server {{ listen {}; root {folder}/files;
            location /token/ {{ if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }} }}
            location /whole/ {{ alias {folder}/files/; max_ranges 0; }} }}
         {secured} }}",
        ports[0],
    )
}

fn remote(url: Url, options: &Options) -> Remote {
    Remote::new(vec![url], options).unwrap()
}

#[test]
fn ranges_tags_and_files_without_either_are_read() {
    let nginx = &*SHARED;
    for (path, piece) in [("/file", 200_000), ("/file", 7001), ("/whole/file", 7001)] {
        let mut remote = remote(nginx.url(path), &options());
        assert_eq!(read_all(&mut remote, piece), file(200_000), "{path}");
        let identity = remote.identity().unwrap();
        assert_eq!(identity.len, 200_000);
        assert!(identity.etag.unwrap().starts_with('"'));
    }
    assert_eq!(remote(nginx.url("/empty"), &options()).len().unwrap(), 0);
    let error = remote(nginx.url("/missing"), &options()).len().unwrap_err();
    assert!(error.to_string().contains("status 404"), "{error}");
}

#[test]
fn a_line_that_is_cut_again_and_again_ends_in_the_whole_file() {
    let nginx = &*SHARED;
    let cut = cutting(nginx.plain, 30_000);
    let url = Url::parse(&format!("http://{cut}/file")).unwrap();
    let mut remote = remote(url, &options());
    remote.expect(200_000);
    assert_eq!(read_all(&mut remote, 200_000), file(200_000));
    assert_eq!(remote.received(), 200_000);

    let cut = cutting(nginx.secure[0], 30_000);
    let url = Url::parse(&format!("https://{cut}/file")).unwrap();
    let mut remote = Remote::new(vec![url], &nginx.trusting()).unwrap();
    remote.expect(200_000);
    assert_eq!(read_all(&mut remote, 200_000), file(200_000));
}

#[test]
fn a_file_that_is_replaced_is_noticed() {
    // A server of its own: its file changes.
    let nginx = Nginx::start();
    let mut remote = remote(nginx.url("/file"), &options());
    let mut piece = [0; 1000];
    remote.read_at(0, &mut piece).unwrap();
    let known = remote.identity().unwrap();
    let path = nginx.folder.path().join("files/file");
    let new = nginx.folder.path().join("files/new");
    // nginx makes its tags of the length and the seconds of the last change.
    std::fs::write(&new, vec![1; 200_001]).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let error = remote.read_at(100_000, &mut piece).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");

    let mut later = Remote::new(vec![nginx.url("/file")], &options()).unwrap();
    later = later.with_identity(&known);
    let error = later.read_at(100_000, &mut piece).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}

#[test]
fn a_dead_mirror_costs_nothing_but_a_try() {
    let dead = free_ports(1)[0];
    let urls = vec![Url::parse(&format!("http://{dead}/file")).unwrap(), SHARED.url("/file")];
    let mut remote = Remote::new(urls, &options()).unwrap();
    assert_eq!(read_all(&mut remote, 50_000), file(200_000));
}

#[test]
fn only_a_server_with_the_right_certificate_is_read() {
    let nginx = &*SHARED;
    let by = |number, options: &Options| remote(nginx.secure(number, "/file"), options).len();
    assert_eq!(by(0, &nginx.trusting()).unwrap(), 200_000);
    let stranger = options().with_cacert(nginx.certificates.path("stranger.pem"));
    for (number, options, expected) in [
        (1, &nginx.trusting(), "other.example"),
        (2, &nginx.trusting(), "clock of this machine"),
        (0, &stranger, "certificate authority"),
        // The certificate authorities of this system.
        (0, &options(), "certificate authority"),
    ] {
        let error = by(number, options).unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.is_temporary());
    }
    // Clear text where TLS is expected, and the other way round.
    let url = Url::parse(&format!("https://{}/file", nginx.plain)).unwrap();
    let error = remote(url, &nginx.trusting()).len().unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    let url = Url::parse(&format!("http://{}/file", nginx.secure[0])).unwrap();
    let error = remote(url, &options()).len().unwrap_err();
    assert!(matches!(error, Error::Status { status: 400, .. }), "{error:?}");
}

#[test]
fn the_environment_names_certificate_authorities() {
    let nginx = &*SHARED;
    let with = |name: &'static str, value: String| {
        options()
            .with_environment(move |asked| (asked == name).then(|| value.clone()))
            .map(|options| Remote::new(vec![nginx.secure(0, "/file")], &options))
            .unwrap()
    };
    let ca = nginx.certificates.path("ca.pem");
    assert_eq!(with("SSL_CERT_FILE", ca).unwrap().len().unwrap(), 200_000);
    let folder = nginx.folder.path().join("authorities");
    std::fs::create_dir_all(&folder).unwrap();
    let error = with("SSL_CERT_DIR", folder.display().to_string()).unwrap_err();
    assert!(error.is_setup() && error.to_string().contains("SSL_CERT_DIR"), "{error}");
    // The name that `openssl rehash` gives.
    std::fs::copy(nginx.certificates.path("ca.pem"), folder.join("01234567.0")).unwrap();
    let mut remote = with("SSL_CERT_DIR", folder.display().to_string()).unwrap();
    assert_eq!(remote.len().unwrap(), 200_000);
}

#[test]
fn a_client_certificate_opens_what_asks_for_it() {
    let nginx = &*SHARED;
    let (chain, key) =
        (nginx.certificates.path("client.pem"), nginx.certificates.path("client.key"));
    let options = nginx.trusting().with_certificate(&chain, &key);
    assert_eq!(remote(nginx.secure(3, "/file"), &options).len().unwrap(), 200_000);
    let error = remote(nginx.secure(3, "/file"), &nginx.trusting()).len().unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");
    // A key of another certificate.
    let other = nginx.certificates.path("server.key");
    let options = nginx.trusting().with_certificate(&chain, &other);
    let error = Remote::new(vec![nginx.secure(3, "/file")], &options).unwrap_err();
    assert!(error.is_setup() && error.to_string().contains("together"), "{error}");
}

#[test]
fn a_token_opens_what_asks_for_it() {
    let nginx = &*SHARED;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, format!(" {TOKEN}\n")).unwrap();
    let options = options().with_token_file(&path);
    assert_eq!(remote(nginx.url("/token/file"), &options).len().unwrap(), 1000);
    let error = remote(nginx.url("/token/file"), &crate::server::options()).len().unwrap_err();
    assert!(error.to_string().contains("status 401: check the token"), "{error}");

    use std::os::unix::fs::PermissionsExt as _;
    for (mode, warnings) in [(0o600, vec![]), (0o644, vec![Warning::Readable(path.clone())])] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(remote(nginx.url("/token/file"), &options).warnings(), warnings);
    }
    let far = Url::parse("http://files.example/file").unwrap();
    let error = Remote::new(vec![nginx.url("/file"), far], &options).unwrap_err();
    assert!(error.is_setup() && error.to_string().contains("clear text"), "{error}");
    for bad in ["", "two words", "two\nlines", "\u{e9}"] {
        std::fs::write(&path, bad).unwrap();
        let error = Remote::new(vec![nginx.url("/file")], &options).unwrap_err();
        assert!(error.is_setup() && error.to_string().contains("one line"), "{error}");
    }
}

#[test]
fn a_proxy_is_asked_for_addresses_and_for_tunnels() {
    let nginx = &*SHARED;
    let proxy = Proxy::start(nginx.plain);
    let through = |name: &'static str, proxy: &Proxy, options: Options| {
        let value = format!("http://user:p%40ss@{}", proxy.address);
        options.with_environment(move |asked| (asked == name).then(|| value.clone())).unwrap()
    };
    // A name that only the proxy knows.
    let url = Url::parse("http://files.invalid/file").unwrap();
    let mut plain = remote(url, &through("http_proxy", &proxy, options()));
    assert_eq!(read_all(&mut plain, 150_000), file(200_000));
    for head in proxy.heads() {
        assert!(head.starts_with("GET http://files.invalid/file HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz"), "{head}");
    }

    let tunnel = Proxy::start(nginx.secure[1]);
    let url = Url::parse("https://other.example/file").unwrap();
    let mut secure = remote(url, &through("HTTPS_PROXY", &tunnel, nginx.trusting()));
    assert_eq!(read_all(&mut secure, 150_000), file(200_000));
    let head = &tunnel.heads()[0];
    assert!(head.starts_with("CONNECT other.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz"), "{head}");

    // Not to this machine.
    let count = proxy.heads().len();
    let mut direct = remote(nginx.url("/file"), &through("http_proxy", &proxy, options()));
    assert_eq!(direct.len().unwrap(), 200_000);
    assert_eq!(proxy.heads().len(), count);
}

#[test]
fn https_never_leads_to_http() {
    let nginx = &*SHARED;
    let error = remote(nginx.secure(0, "/down"), &nginx.trusting()).len().unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
    assert!(error.to_string().contains("from https to http"), "{error}");
}
