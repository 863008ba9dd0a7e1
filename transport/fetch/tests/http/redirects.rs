//! Where a redirect may lead, and what it takes along.

use stillboot_fetch::http::{Error, Remote};

use crate::server::{Server, Step, file, good, options, read_all, remote};

fn redirect(to: &str) -> Vec<Step> {
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    vec![Step::Send(answer.into_bytes())]
}

#[test]
fn redirects_are_followed_with_the_range_and_without_the_token() {
    let bytes = file(1000);
    let served = bytes.clone();
    let target = Server::start(move |_, request| vec![Step::Send(good(&served, request, "\"a\""))]);
    let there = format!("http://{}/real?x=1", target.address);
    let server = Server::start(move |number, _| {
        // Relative first: the same server still gets the token.
        if number % 2 == 0 { redirect("../b/file") } else { redirect(&there) }
    });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret-token\n").unwrap();
    let options = options().with_token_file(&token);
    let mut remote = Remote::new(vec![server.url("/a/file")], &options).unwrap();
    remote.expect(1000);
    assert_eq!(read_all(&mut remote, 400), bytes);

    let requests = server.requests();
    assert_eq!(requests[1].line(), "GET /b/file HTTP/1.1");
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer secret-token"));
    }
    let request = &target.requests()[0];
    assert_eq!(request.line(), "GET /real?x=1 HTTP/1.1");
    assert_eq!(request.range(), Some((0, 999)));
    assert_eq!(request.header("authorization"), None);
}

#[test]
fn a_token_does_not_come_back_with_a_second_redirect() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret-token").unwrap();
    let (sender, address) = std::sync::mpsc::channel::<String>();
    let stranger = Server::start(move |_, _| redirect(&address.recv().unwrap()));
    let there = format!("http://{}/", stranger.address);
    let server = Server::start(move |number, request| {
        if number == 0 {
            return redirect(&there);
        }
        vec![Step::Send(good(&file(10), request, "\"a\""))]
    });
    sender.send(format!("http://{}/chosen-by-the-stranger", server.address)).unwrap();
    let options = options().with_token_file(&token);
    let mut remote = Remote::new(vec![server.url("/file")], &options).unwrap();
    assert_eq!(remote.len().unwrap(), 10);
    assert!(server.requests()[0].header("authorization").is_some());
    assert_eq!(server.requests()[1].header("authorization"), None);
}

#[test]
fn a_token_is_not_sent_within_the_stranger_either() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret-token").unwrap();
    let stranger = Server::start(|number, request| match number {
        0 => redirect("/again"),
        _ => vec![Step::Send(good(&file(10), request, "\"a\""))],
    });
    let there = format!("http://{}/", stranger.address);
    let server = Server::start(move |_, _| redirect(&there));
    let options = options().with_token_file(&token);
    assert_eq!(Remote::new(vec![server.url("/file")], &options).unwrap().len().unwrap(), 10);
    for request in stranger.requests() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn redirects_against_the_rules_are_refused() {
    for (to, expected) in [
        ("file:///etc/passwd", "http:// or https://"),
        ("ftp://host/file", "http:// or https://"),
        ("javascript:alert(1)", "http:// or https://"),
        ("http://user:secret@127.0.0.1/", "without a user name"),
        ("http://", "an address such as"),
        ("http://127.0.0.1:99999/", "an address such as"),
    ] {
        let server = Server::start(move |_, _| redirect(to));
        let error = remote(&[&server]).len().unwrap_err();
        assert!(matches!(error, Error::Redirect { status: 302, .. }), "{to}: {error}");
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("secret"), "{to}: {text}");
        assert!(!error.is_temporary());
        assert_eq!(server.requests().len(), 1);
    }
    for answer in [
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    ] {
        let error = remote(&[&Server::saying(answer)]).len().unwrap_err();
        assert!(error.to_string().contains("one Location"), "{error}");
    }
}

#[test]
fn circles_end() {
    let server = Server::start(|_, _| redirect("/file"));
    let error = remote(&[&server]).len().unwrap_err();
    assert!(error.to_string().contains("5 redirects at most"), "{error}");
    assert_eq!(server.requests().len(), 6);
    // One that never comes to the same address twice.
    let server = Server::start(|number, _| redirect(&format!("/file{number}")));
    remote(&[&server]).len().unwrap_err();
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_redirect_with_an_endless_body_is_followed_all_the_same() {
    let server = Server::start(|number, request| {
        if number == 0 {
            let head = "HTTP/1.1 302 Found\r\nLocation: /real\r\n\r\n";
            return vec![Step::Send(head.into()), Step::Endless(vec![b'x'; 4096])];
        }
        vec![Step::Send(good(&file(10), request, "\"a\""))]
    });
    assert_eq!(remote(&[&server]).len().unwrap(), 10);
}
