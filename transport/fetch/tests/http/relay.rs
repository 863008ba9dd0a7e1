//! What can stand between client and server: a line that is cut, and a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes bytes on; closes a connection after so many bytes from the server.
pub fn cutting(target: SocketAddr, limit: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || join(client, TcpStream::connect(target).unwrap(), limit));
        }
    });
    address
}

/// A proxy to which every name is `target`; keeps the heads of the requests to it.
pub struct Proxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, kept) = (client.unwrap(), Arc::clone(&kept));
                thread::spawn(move || pass(client, target, &kept));
            }
        });
        Self { address, heads }
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One connection to the proxy: a tunnel, or one request for a whole address.
fn pass(client: TcpStream, target: SocketAddr, kept: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    kept.lock().unwrap().push(head.clone());
    let mut server = TcpStream::connect(target).unwrap();
    let mut to_client = client.try_clone().unwrap();
    if head.starts_with("CONNECT ") {
        to_client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
    } else {
        // `GET http://host/path`: the server gets the path, and closes after the answer.
        let rest = head.strip_prefix("GET http://").expect("a whole address");
        let path = &rest[rest.find('/').unwrap()..];
        let head = format!("GET {}", path.replacen("\r\n", "\r\nConnection: close\r\n", 1));
        server.write_all(head.as_bytes()).unwrap();
    }
    join(client, server, usize::MAX);
}

fn join(client: TcpStream, server: TcpStream, limit: usize) {
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let mut left = limit;
    let mut buffer = [0; 4096];
    let (mut server, mut client) = (server, client);
    while left > 0 {
        let most = left.min(buffer.len());
        match server.read(&mut buffer[..most]) {
            Ok(0) | Err(_) => break,
            Ok(came) if client.write_all(&buffer[..came]).is_err() => break,
            Ok(came) => left -= came,
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
