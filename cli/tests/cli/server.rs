//! A small web server with ranges and entity tags, that counts and paces what it sends.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes that are sent at once: those of a segment of TCP on Ethernet.
const PIECE_LEN: usize = 1460;

/// What the server has and has done.
#[derive(Default)]
pub struct Shared {
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// Bytes of bodies that were sent.
    sent: AtomicU64,
    /// Each piece waits a little, so that a client which is killed has read nearly all of it.
    is_paced: AtomicBool,
    /// Requests, as path and range.
    requests: Mutex<Vec<String>>,
}

/// A server that runs until the test ends.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&mine);
                // As web servers do: each piece goes out at once.
                stream.set_nodelay(true).unwrap();
                // A client that is gone ends its thread.
                thread::spawn(move || serve(stream, &shared).is_some());
            }
        });
        Self { port, shared }
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.shared.files.lock().unwrap().insert(format!("/{name}"), bytes);
    }

    pub fn remove(&self, name: &str) {
        self.shared.files.lock().unwrap().remove(&format!("/{name}"));
    }

    pub fn pace(&self, is_paced: bool) {
        self.shared.is_paced.store(is_paced, Ordering::Relaxed);
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let path = line.split(' ').nth(1)?.split('?').next()?.to_owned();
        let (mut range, mut wanted) = (None, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("range: bytes=") {
                range = Some(value.to_owned());
            }
            if let Some(value) = header.strip_prefix("if-range: ") {
                wanted = Some(value.to_owned());
            }
        }
        answer(&stream, shared, &path, range, wanted.as_deref())?;
    }
}

fn answer(
    mut out: &TcpStream,
    shared: &Shared,
    path: &str,
    range: Option<String>,
    wanted: Option<&str>,
) -> Option<()> {
    let asked = range.as_deref().unwrap_or("all");
    shared.requests.lock().unwrap().push(format!("{path} {asked}"));
    let Some(file) = shared.files.lock().unwrap().get(path).cloned() else {
        out.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").ok()?;
        return Some(());
    };
    let total = file.len();
    let sum: u64 = file.iter().step_by(97).map(|byte| u64::from(*byte)).sum();
    let tag = format!("\"{total}-{sum}\"");
    // Of another version a range is of no use: all of it is given.
    let range = range.filter(|_| wanted.is_none_or(|wanted| wanted == tag));
    let (start, end) = match &range {
        Some(range) => {
            let (start, end) = range.split_once('-')?;
            let end = end.parse().map_or(file.len(), |end: usize| (end + 1).min(file.len()));
            (start.parse().ok()?, end)
        }
        None => (0, file.len()),
    };
    let head = match range {
        Some(_) => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}\r\n",
            end - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let len = end - start;
    write!(out, "{head}etag: {tag}\r\ncontent-length: {len}\r\n\r\n").ok()?;
    for piece in file[start..end].chunks(PIECE_LEN) {
        out.write_all(piece).ok()?;
        shared.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if shared.is_paced.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_micros(300));
        }
    }
    Some(())
}
