//! Connections that are alive and give too little.

use std::io::Write as _;
use std::time::Duration;

use stillboot_fetch::http::{Error, Options, Remote, Stall, Url};

use crate::certificates::Certificates;
use crate::server::{Server, Step, file, good, options, whole};

/// A stall is noticed after a third of a second, and nothing is tried twice.
fn impatient() -> Options {
    let stall = Stall { bytes_per_second_min: 1000, window: Duration::from_millis(300) };
    options().with_stall(stall).with_attempts(1)
}

/// What a server does, given a head, a head with the beginning of a body, and a pause.
type Case = fn(String, String, Duration) -> Vec<Step>;

#[test]
fn stalls_are_noticed_wherever_they_happen() {
    let head = "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-999/1000\r\n";
    let body = format!("{head}Content-Length: 1000\r\n\r\nabc");
    let slow = Duration::from_millis(20);
    let cases: [Case; 5] = [
        // No answer at all.
        |_, _, _| vec![Step::Hold],
        // A head that does not end.
        |head, _, _| vec![Step::Send(head.into()), Step::Hold],
        |head, _, slow| vec![Step::Send(head.into()), Step::Trickle(vec![b'a'; 5000], slow)],
        // A body that does not go on.
        |_, body, _| vec![Step::Send(body.into()), Step::Hold],
        |_, body, slow| vec![Step::Send(body.into()), Step::Trickle(vec![b'a'; 5000], slow)],
    ];
    for case in cases {
        let (head, body) = (head.to_owned(), body.clone());
        let server = Server::start(move |_, _| case(head.clone(), body.clone(), slow));
        let mut remote = Remote::new(vec![server.url("/file")], &impatient()).unwrap();
        let error = remote.read_at(0, &mut [0; 1000]).unwrap_err();
        assert!(matches!(error, Error::Network { .. }) && error.is_temporary(), "{error}");
        assert!(error.to_string().contains("stalled: expected 1000 bytes"), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn after_a_stall_another_mirror_goes_on_where_the_first_stopped() {
    let bytes = file(50_000);
    let (first, second) = (bytes.clone(), bytes.clone());
    let stalling = Server::start(move |_, request| {
        let mut answer = good(&first, request, "\"a\"");
        answer.truncate(20_000);
        vec![Step::Send(answer), Step::Hold]
    });
    let other = Server::start(move |_, request| vec![Step::Send(good(&second, request, "\"b\""))]);
    let urls = vec![stalling.url("/file"), other.url("/file")];
    let mut remote = Remote::new(urls, &impatient()).unwrap();
    let mut read = vec![0; 50_000];
    assert_eq!(remote.read_at(0, &mut read).unwrap(), 50_000);
    assert_eq!(read, bytes);
    assert_eq!(remote.received(), 50_000);
    let (start, _) = other.requests()[0].range().unwrap();
    assert!(start > 19_000, "{start}");
}

#[test]
fn a_slow_caller_is_no_stall() {
    let bytes = file(3_000_000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| vec![Step::Send(whole(&served)), Step::Close]);
    let mut remote = Remote::new(vec![server.url("/file")], &impatient()).unwrap();
    let mut piece = vec![0; 1000];
    remote.read_at(0, &mut piece).unwrap();
    // Longer than the window in which a connection has to give something.
    std::thread::sleep(Duration::from_millis(700));
    let mut rest = vec![0; 2_999_000];
    assert_eq!(remote.read_at(1000, &mut rest).unwrap(), 2_999_000);
    assert_eq!(rest, bytes[1000..]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_record_of_tls_that_does_not_end_is_a_stall() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The head of a record with a handshake of 16 KiB, and then a byte now and then.
        let mut next = stream.write_all(&[0x16, 3, 3, 0x40, 0]);
        while next.is_ok() {
            std::thread::sleep(Duration::from_millis(20));
            next = stream.write_all(&[0]);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path());
    let options = impatient().with_cacert(certificates.path("ca.pem"));
    let url = Url::parse(&format!("https://{address}/file")).unwrap();
    let error = Remote::new(vec![url], &options).unwrap().len().unwrap_err();
    assert!(error.to_string().contains("stalled"), "{error}");
}
