//! Answers that break the rules: each is refused with what came instead, and never retried.

use stillboot_fetch::http::{Error, Identity, Remote};

use crate::server::{Server, Step, options, remote};

/// The error for bytes 10 to 19 of a server that always says this.
fn error_for(answer: &str) -> (Error, usize) {
    let server = Server::saying(answer);
    let mut remote = remote(&[&server]);
    let error = remote.read_at(10, &mut [0; 10]).unwrap_err();
    (error, server.requests().len())
}

#[test]
fn lying_answers_are_refused_and_name_what_came() {
    let part = "HTTP/1.1 206 Partial Content\r\n";
    let right = "Content-Range: bytes 10-19/100\r\n";
    let body = "\r\n0123456789";
    for (answer, expected) in [
        (format!("{part}Content-Length: 10\r\n{body}"), "no Content-Range"),
        (format!("{part}{right}{right}{body}"), "several Content-Range"),
        (format!("{part}Content-Range: bytes 11-20/100\r\n{body}"), "from 11 on"),
        (format!("{part}Content-Range: bytes 0-9/100\r\n{body}"), "from 0 on"),
        (format!("{part}Content-Range: bytes 10-9/100\r\n{body}"), "bytes 10-9/100"),
        (format!("{part}Content-Range: bytes 10-19/*\r\n{body}"), "length of the file"),
        (format!("{part}Content-Range: bytes 10-19/19\r\n{body}"), "inside of the file"),
        (format!("{part}Content-Range: lines 10-19/100\r\n{body}"), "the unit bytes"),
        (format!("{part}Content-Range: bytes */100\r\n{body}"), "found none"),
        (format!("{part}Content-Range: bytes 10-99999999999999999999/100\r\n{body}"), "a number"),
        (format!("{part}Content-Range: bytes 10-19\r\n{body}"), "a length"),
        (format!("{part}Content-Range: \u{1b}[31m\r\n{body}"), ""),
        (
            format!("{part}{right}Content-Type: multipart/byteranges; boundary=x\r\n{body}"),
            "several parts",
        ),
        (format!("{part}{right}Content-Length: 9\r\n{body}"), "found 9"),
        (format!("{part}{right}Content-Length: 11\r\n{body}"), "found 11"),
        (format!("{part}{right}Content-Encoding: gzip\r\n{body}"), "gzip"),
        (format!("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n{body}"), "br"),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n{body}"), ""),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n{body}"), ""),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n{body}"), ""),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n{body}"), ""),
        (format!("HTTP/1.1 200 OK\r\n{body}"), "how long the file is"),
        (format!("HTTP/1.0 200 OK\r\n{body}"), "how long the file is"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n"
                .to_owned(),
            "how long the file is",
        ),
        (format!("{part}Transfer-Encoding: chunked\r\n{right}\r\nzz\r\n0123"), ""),
        (format!("{part}Transfer-Encoding: chunked\r\n{right}\r\nfffffffffffffffff\r\n"), ""),
        (format!("{part}Transfer-Encoding: chunked\r\n{right}\r\n4\r\n0123xx\r\n"), ""),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), "expected status 206 or 200"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(), "expected status 206 or 200"),
        ("HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n".to_owned(), "no Content-Range"),
        (
            "HTTP/1.1 416 No\r\nContent-Length: 0\r\nContent-Range: bytes */100\r\n\r\n".to_owned(),
            "no such range",
        ),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n".to_owned(), "999"),
        ("HTTP/3.0 200 OK\r\n\r\n".to_owned(), ""),
        ("220 mail.example ESMTP\r\n\r\n".to_owned(), ""),
        ("HTTP/1.1 200 OK\r\nno colon here\r\n\r\n".to_owned(), ""),
    ] {
        let (error, requests) = error_for(&answer);
        let text = error.to_string();
        assert!(matches!(error, Error::Answer { .. }), "{answer:?}: {error:?}");
        assert!(!error.is_temporary(), "{answer:?}: {text}");
        assert!(text.contains(expected), "{answer:?}: {text}");
        assert!(text.contains("http://127.0.0.1:") && text.contains("10-19"), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(requests, 1, "{answer:?}");
    }
}

#[test]
fn heads_without_an_end_are_refused() {
    for (first, again) in [
        ("HTTP/1.1 200 OK\r\n", "X-Header: more and more of it\r\n"),
        ("HTTP/1.1 200 OK\r\n", "no line ends here "),
        ("HTTP/1.1 200 OK\r\nX-Long: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ] {
        let server =
            Server::start(move |_, _| vec![Step::Send(first.into()), Step::Endless(again.into())]);
        let error = remote(&[&server]).len().unwrap_err();
        assert!(matches!(error, Error::Answer { .. }), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_body_that_goes_on_is_cut_at_its_end() {
    let server = Server::start(|_, _| {
        let head = "HTTP/1.1 206 Part\r\nContent-Range: bytes 10-19/20\r\n";
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        vec![Step::Send(head.into()), Step::Endless(b"8\r\nabcdefgh\r\n".to_vec())]
    });
    let mut remote = remote(&[&server]);
    let mut bytes = [0; 64];
    assert_eq!(remote.read_at(10, &mut bytes).unwrap(), 10);
    assert_eq!(&bytes[..10], b"abcdefghab");
    assert_eq!(remote.received(), 10);
}

#[test]
fn files_longer_than_the_limit_are_refused_before_a_byte_is_read() {
    let server = Server::saying(
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-0/9000000000000000000\r\n\r\nx",
    );
    let options = options().with_len_max(1000);
    let mut remote = Remote::new(vec![server.url("/file")], &options).unwrap();
    let error = remote.read_at(0, &mut [0; 1]).unwrap_err();
    assert!(matches!(error, Error::TooLong { len: 9_000_000_000_000_000_000, most: 1000, .. }));
    assert!(!error.is_temporary());
    let error = remote.len().unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    // A length that was stored has the same bound.
    let stored = Identity::new(1001, server.url("/file").to_string(), None);
    let mut later = Remote::new(vec![server.url("/file")], &options).unwrap();
    later = later.with_identity(&stored);
    assert!(matches!(later.read_at(0, &mut [0]).unwrap_err(), Error::TooLong { len: 1001, .. }));
    assert_eq!(remote.received() + later.received(), 0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn errors_never_show_a_query() {
    let server = Server::saying("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    let url = server.url("/file?signature=secret");
    let mut remote = Remote::new(vec![url], &options()).unwrap();
    let error = remote.len().unwrap_err();
    assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
    assert!(!format!("{remote:?}").contains("secret"));
}

#[test]
fn a_user_agent_is_a_header_whatever_is_in_it() {
    let server = Server::saying("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let options = options().with_user_agent("a\r\nX-Injected: 1 \u{e9}");
    let _ = Remote::new(vec![server.url("/file")], &options).unwrap().len().unwrap_err();
    let request = &server.requests()[0];
    assert_eq!(request.header("user-agent"), Some("aX-Injected: 1"));
    assert_eq!(request.header("x-injected"), None);
}
