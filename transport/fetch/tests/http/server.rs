//! A web server that does what a script says, however wrong that is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use stillboot_fetch::http::{Options, Remote, Stall, Url};

/// What the server does after it read the head of a request.
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one, with a pause before each, until the client goes.
    Trickle(Vec<u8>, Duration),
    /// Sends these bytes again and again until the client goes.
    Endless(Vec<u8>),
    /// Sends nothing until the client goes.
    Hold,
    /// Closes the connection.
    Close,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// First and last position.
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

type Script = Box<dyn FnMut(usize, &Request) -> Vec<Step> + Send>;

pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Listens on loopback. The script gets the number of the request, and the request.
    pub fn start(script: impl FnMut(usize, &Request) -> Vec<Step> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let (seen, ended) = (Arc::clone(&requests), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                thread::spawn(move || talk(stream.unwrap(), &script, &seen));
            }
        });
        Self { address, requests, stop }
    }

    /// Answers every request with the same bytes, then closes the connection.
    pub fn saying(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |_, _| vec![Step::Send(answer.clone().into_bytes()), Step::Close])
    }

    pub fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

fn talk(stream: TcpStream, script: &Mutex<Script>, seen: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let request = Request { head };
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let steps = script.lock().unwrap()(number, &request);
        for step in steps {
            if !carry_out(step, &mut stream, &mut reader) {
                return;
            }
        }
    }
}

/// `false` once the connection is over.
fn carry_out(step: Step, stream: &mut TcpStream, reader: &mut BufReader<TcpStream>) -> bool {
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).is_ok(),
        Step::Trickle(bytes, pause) => bytes.iter().all(|byte| {
            thread::sleep(pause);
            stream.write_all(&[*byte]).is_ok()
        }),
        Step::Endless(bytes) => {
            while stream.write_all(&bytes).is_ok() {}
            false
        }
        Step::Hold => {
            let _ = reader.read(&mut [0]);
            false
        }
        Step::Close => {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            false
        }
    }
}

/// A file in which every position has another neighbourhood.
pub fn file(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251 * 13 + i / 65_521) as u8).collect()
}

/// What a good server answers.
pub fn good(file: &[u8], request: &Request, tag: &str) -> Vec<u8> {
    let len = file.len();
    let same = request.header("if-range").is_none_or(|value| value == tag);
    let (head, body) = match request.range().filter(|_| same) {
        Some((first, _)) if first >= len => {
            (format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{len}\r\n"), &file[..0])
        }
        Some((first, last)) => {
            let last = last.min(len - 1);
            let range = format!("Content-Range: bytes {first}-{last}/{len}");
            (format!("HTTP/1.1 206 Part\r\n{range}\r\n"), &file[first..=last])
        }
        None => ("HTTP/1.1 200 OK\r\n".to_owned(), file),
    };
    let rest = format!("ETag: {tag}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), rest.as_bytes(), body].concat()
}

/// What a server without ranges answers.
pub fn whole(file: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
    [head.as_bytes(), file].concat()
}

/// Options under which no test waits between rounds, and a busy machine is no stall.
pub fn options() -> Options {
    Options::default()
        .with_sleep(|_| {})
        .with_stall(Stall { bytes_per_second_min: 1, window: Duration::from_secs(20) })
}

pub fn remote(servers: &[&Server]) -> Remote {
    let urls = servers.iter().map(|server| server.url("/file")).collect();
    Remote::new(urls, &options()).unwrap()
}

/// Reads the whole file in pieces of `piece` bytes.
pub fn read_all(remote: &mut Remote, piece: usize) -> Vec<u8> {
    let len = remote.len().unwrap();
    let mut bytes = vec![0; len as usize];
    for (number, part) in bytes.chunks_mut(piece).enumerate() {
        assert_eq!(remote.read_at((number * piece) as u64, part).unwrap(), part.len());
    }
    bytes
}
