//! Servers that fail: each failure ends in the right bytes, by a retry or another mirror, or in an
//! error that says whether a later try may work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stillboot_fetch::http::{Backoff, Error, Identity, Remote, Url};

use crate::server::{Request, Server, Step, file, good, options, read_all, remote, whole};

#[test]
fn what_is_expected_comes_in_one_request() {
    let bytes = file(100_000);
    let served = bytes.clone();
    let server = Server::start(move |_, request| vec![Step::Send(good(&served, request, "\"a\""))]);
    let mut remote = remote(&[&server]);
    remote.expect(50_000);
    assert_eq!(remote.len().unwrap(), 100_000);
    let mut first = vec![0; 50_000];
    for (number, piece) in first.chunks_mut(999).enumerate() {
        assert_eq!(remote.read_at(number as u64 * 999, piece).unwrap(), piece.len());
    }
    assert_eq!(first, bytes[..50_000]);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].range(), Some((0, 49_999)));
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));

    // Without an expectation, exactly what is read, with the tag of before.
    let mut later = [0; 10];
    remote.read_at(70_000, &mut later).unwrap();
    assert_eq!(later, bytes[70_000..70_010]);
    assert_eq!(server.requests()[1].range(), Some((70_000, 70_009)));
    assert_eq!(server.requests()[1].header("if-range"), Some("\"a\""));
    assert_eq!(remote.received(), 50_010);

    // At the end there is less, and behind it nothing.
    let mut end = [0; 10];
    assert_eq!(remote.read_at(99_995, &mut end).unwrap(), 5);
    assert_eq!(remote.read_at(100_000, &mut end).unwrap(), 0);
    assert_eq!(remote.read_at(u64::MAX, &mut end).unwrap(), 0);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn small_gaps_are_read_over() {
    let bytes = file(50_000);
    let served = bytes.clone();
    let server = Server::start(move |_, request| vec![Step::Send(good(&served, request, "\"a\""))]);
    let mut remote = remote(&[&server]);
    remote.expect(50_000);
    let mut piece = [0; 100];
    for at in [0, 5000, 12_000, 28_000] {
        remote.read_at(at, &mut piece).unwrap();
        assert_eq!(piece[..], bytes[at as usize..][..100]);
    }
    assert_eq!(server.requests().len(), 1);

    // However often: only what a server without ranges sends in vain has a bound.
    for round in 0..100 {
        remote.expect(50_000);
        remote.read_at(20_000, &mut piece).unwrap();
        remote.read_at(36_000, &mut piece).unwrap();
        assert_eq!(piece[..], bytes[36_000..36_100], "{round}");
    }
}

#[test]
fn parts_may_be_shorter_than_asked_but_not_endlessly_many() {
    let of_parts = |most: usize| {
        Server::start(move |_, request| {
            let (first, last) = request.range().unwrap();
            let last = last.min(first + most - 1);
            let head = format!("GET / HTTP/1.1\r\nRange: bytes={first}-{last}\r\n\r\n");
            vec![Step::Send(good(&file(60_000), &Request { head }, "\"a\""))]
        })
    };
    let server = of_parts(20_000);
    let mut enough = remote(&[&server]);
    enough.expect(60_000);
    assert_eq!(read_all(&mut enough, 60_000), file(60_000));
    assert_eq!(server.requests().len(), 3);

    let server = of_parts(1);
    let error = remote(&[&server]).read_at(0, &mut [0; 100]).unwrap_err();
    assert!(error.to_string().contains("expected 100 bytes at least, found 1"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_empty_file_has_no_bytes() {
    for answer in [
        "HTTP/1.1 416 No\r\nContent-Length: 0\r\nContent-Range: bytes */0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::saying(answer);
        let mut remote = remote(&[&server]);
        assert_eq!(remote.read_at(0, &mut [0; 5]).unwrap(), 0);
        assert_eq!(remote.len().unwrap(), 0);
    }
}

#[test]
fn a_file_that_ends_before_what_is_wanted_tells_its_length() {
    let served = file(100);
    let server = Server::start(move |_, request| vec![Step::Send(good(&served, request, "\"a\""))]);
    let mut remote = remote(&[&server]);
    assert_eq!(remote.read_at(500, &mut [0; 5]).unwrap(), 0);
    assert_eq!(remote.len().unwrap(), 100);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_without_ranges_is_read_once_and_forwards() {
    let bytes = file(300_000);
    let served = bytes.clone();
    let server = Server::start(move |_, _| vec![Step::Send(whole(&served)), Step::Close]);
    let mut remote = remote(&[&server]);
    let mut piece = vec![0; 1000];
    for at in [100_000, 150_000, 299_000] {
        assert_eq!(remote.read_at(at, &mut piece).unwrap(), 1000);
        assert_eq!(piece, bytes[at as usize..][..1000]);
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(remote.received(), 300_000);

    // Backwards it begins again, without asking for a range.
    assert_eq!(remote.read_at(5, &mut piece).unwrap(), 1000);
    assert_eq!(piece, bytes[5..1005]);
    assert_eq!(server.requests()[1].header("range"), None);
}

#[test]
fn what_is_read_in_vain_has_a_bound() {
    let served = file(300_000);
    let server = Server::start(move |_, _| vec![Step::Send(whole(&served)), Step::Close]);
    let mut remote = remote(&[&server]);
    let error = (0..100).find_map(|round| {
        // Always a step backwards.
        remote.read_at(299_000 - round, &mut [0; 10]).err()
    });
    let error = error.expect("an error before the hundredth reading of the file");
    assert!(error.to_string().contains("no ranges"), "{error}");
    assert!(!error.is_temporary());
    assert!(remote.received() < 300_000 * 4 + 2_000_000);
}

#[test]
fn old_servers_close_instead_of_telling_an_end() {
    let bytes = file(5000);
    let served = bytes.clone();
    let server = Server::start(move |_, request| {
        let text = good(&served, request, "\"a\"");
        let text = String::from_utf8_lossy(&text[..8]).replace("1.1", "1.0").into_bytes();
        let rest = good(&served, request, "\"a\"").split_off(8);
        vec![Step::Send([text, rest].concat()), Step::Close]
    });
    assert_eq!(read_all(&mut remote(&[&server]), 700), bytes);
}

#[test]
fn chunks_are_read_as_the_bytes_in_them() {
    let server = Server::start(|_, request| {
        let (first, last) = request.range().unwrap();
        let mut answer = format!(
            "HTTP/1.1 206 Part\r\nContent-Range: bytes {first}-{last}/100\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        for byte in &file(100)[first..=last] {
            answer.push_str("1;extension\r\n");
            answer.push(*byte as char);
            answer.push_str("\r\n");
        }
        answer.push_str("0\r\nTrailer: x\r\n\r\n");
        vec![Step::Send(answer.chars().map(|c| c as u8).collect())]
    });
    assert_eq!(read_all(&mut remote(&[&server]), 33), file(100));
}

#[test]
fn a_body_that_ends_early_goes_on_where_it_stopped() {
    let bytes = file(100_000);
    let served = bytes.clone();
    let server = Server::start(move |_, request| {
        let mut answer = good(&served, request, "\"a\"");
        answer.truncate(answer.len().min(30_000));
        vec![Step::Send(answer), Step::Close]
    });
    let mut remote = remote(&[&server]);
    remote.expect(100_000);
    assert_eq!(read_all(&mut remote, 100_000), bytes);
    assert_eq!(remote.received(), 100_000);
    let starts: Vec<usize> = server.requests().iter().map(|r| r.range().unwrap().0).collect();
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
    assert_eq!(server.requests()[2].header("if-range"), Some("\"a\""));
}

#[test]
fn a_server_that_never_gives_a_byte_is_given_up() {
    for answer in [
        "",
        "HTTP/1.1 206 Part\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 408 Slow\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Often\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = Server::saying(answer);
        let mut remote = remote(&[&server]);
        let error = remote.read_at(0, &mut [0]).unwrap_err();
        assert!(error.is_temporary(), "{error}");
        assert!(error.to_string().contains("bytes 0-0"), "{error}");
        assert_eq!(server.requests().len(), 5, "{answer}");
    }
}

#[test]
fn what_a_server_refuses_is_not_asked_again() {
    for status in [400, 401, 403, 404, 405, 410, 418, 451] {
        let server = Server::saying(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        let error = remote(&[&server]).len().unwrap_err();
        assert!(matches!(error, Error::Status { status: found, .. } if found == status));
        assert!(error.is_temporary(), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn waits_double_with_a_share_of_chance_and_obey_the_server_up_to_a_bound() {
    let waits = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&waits);
    let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(4) };
    let options = options()
        .with_attempts(6)
        .with_backoff(backoff)
        .with_sleep(move |wait| seen.lock().unwrap().push(wait));
    let server = Server::start(|number, _| {
        let after = match number {
            3 => "Retry-After: 3\r\n",
            4 => "Retry-After: 86400\r\n",
            _ => "",
        };
        let answer = format!("HTTP/1.1 503 Busy\r\n{after}Content-Length: 0\r\n\r\n");
        vec![Step::Send(answer.into_bytes())]
    });
    let mut remote = Remote::new(vec![server.url("/file")], &options).unwrap();
    remote.len().unwrap_err();
    let waits: Vec<f64> = waits.lock().unwrap().iter().map(Duration::as_secs_f64).collect();
    let bounds = [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (3.0, 4.0), (4.0, 4.0)];
    assert_eq!(waits.len(), bounds.len(), "{waits:?}");
    for (wait, (least, most)) in waits.iter().zip(bounds) {
        assert!((least..=most).contains(wait), "{waits:?}");
    }
}

#[test]
fn progress_forgets_earlier_failures() {
    let bytes = file(400_000);
    let served = bytes.clone();
    // Twenty cuts, each after more bytes than count as progress.
    let server = Server::start(move |_, request| {
        let mut answer = good(&served, request, "\"a\"");
        answer.truncate(20_000);
        vec![Step::Send(answer), Step::Close]
    });
    let mut remote = remote(&[&server]);
    remote.expect(400_000);
    assert_eq!(read_all(&mut remote, 400_000), bytes);
    assert!(server.requests().len() >= 20);
}

#[test]
fn a_dead_mirror_is_passed_over_and_asked_last() {
    let bytes = file(60_000);
    let served = bytes.clone();
    let dead = Server::saying("");
    let alive = Server::start(move |_, request| {
        let mut answer = good(&served, request, "\"other\"");
        answer.truncate(25_000);
        vec![Step::Send(answer), Step::Close]
    });
    let mut remote = remote(&[&dead, &alive]);
    assert_eq!(read_all(&mut remote, 60_000), bytes);
    assert!(dead.requests().len() <= 3, "{}", dead.requests().len());
}

#[test]
fn a_busy_server_is_not_waited_for_while_another_one_has_the_file() {
    let busy = Server::saying("HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n");
    let other = Server::start(|_, request| vec![Step::Send(good(&file(10), request, "\"a\""))]);
    let options = options().with_sleep(|_| panic!("nothing to wait for"));
    let urls = vec![busy.url("/file"), other.url("/file")];
    assert_eq!(Remote::new(urls, &options).unwrap().len().unwrap(), 10);
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_no_failure() {
    let bytes = file(1000);
    let served = bytes.clone();
    // Every answer lets the client believe that the connection stays open.
    let server = Server::start(move |_, request| {
        vec![Step::Send(good(&served, request, "\"a\"")), Step::Close]
    });
    let options = options().with_attempts(1).with_sleep(|_| panic!("nothing to wait for"));
    let mut remote = Remote::new(vec![server.url("/file")], &options).unwrap();
    assert_eq!(read_all(&mut remote, 10), bytes);
}

#[test]
fn all_errors_of_all_mirrors_are_named() {
    let missing = Server::saying("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let lying = Server::saying("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
    let mut remote = remote(&[&missing, &lying]);
    let error = remote.len().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("404") && text.contains("gzip"), "{text}");
    assert!(error.is_temporary());
    // The same again, without asking anyone.
    assert_eq!(remote.len().unwrap_err().to_string(), text);
    assert_eq!(missing.requests().len() + lying.requests().len(), 2);
}

#[test]
fn a_file_that_changes_between_requests_stops_the_reading() {
    let by_tag =
        |_: &[u8], number: usize| (file(1000), if number == 0 { "\"a\"" } else { "\"b\"" });
    let by_weak_tag = |_: &[u8], n: usize| (file(1000), if n == 0 { "W/\"a\"" } else { "W/\"b\"" });
    let by_length = |_: &[u8], n: usize| (file(if n == 0 { 1000 } else { 1001 }), "\"a\"");
    type Version = fn(&[u8], usize) -> (Vec<u8>, &'static str);
    let cases: [(Version, &str, &str); 3] = [
        (by_tag, "\\\"a\\\"", "\\\"b\\\""),
        (by_weak_tag, "W/\\\"a\\\"", "W/\\\"b\\\""),
        (by_length, "1000 bytes", "1001 bytes"),
    ];
    for (version, before, now) in cases {
        let server = Server::start(move |number, request| {
            let (bytes, tag) = version(&[], number);
            vec![Step::Send(good(&bytes, request, tag))]
        });
        // A second mirror would not help: its bytes may be those of either version.
        let mut remote = remote(&[&server, &server]);
        remote.read_at(0, &mut [0; 10]).unwrap();
        let error = remote.read_at(500, &mut [0; 10]).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{error}");
        assert!(error.is_temporary());
        let text = error.to_string();
        assert!(text.contains(before) && text.contains(now), "{text}");
    }
}

#[test]
fn a_mirror_with_another_file_is_left_out() {
    let bytes = file(1000);
    let (served, first) = (bytes.clone(), bytes.clone());
    // The first mirror cuts every body; the second has a shorter file.
    let cutting = Server::start(move |_, request| {
        let mut answer = good(&first, request, "\"a\"");
        answer.truncate(answer.len() - answer.len().min(5));
        vec![Step::Send(answer), Step::Close]
    });
    let other = Server::start(|_, request| vec![Step::Send(good(&file(999), request, "\"a\""))]);
    let third = Server::start(move |_, request| vec![Step::Send(good(&served, request, "\"c\""))]);
    let mut remote = remote(&[&cutting, &other, &third]);
    remote.expect(1000);
    assert_eq!(read_all(&mut remote, 1000), bytes);
    assert_eq!(other.requests().len(), 1);
}

#[test]
fn a_later_run_goes_on_with_the_same_version_only() {
    let bytes = file(1000);
    let served = bytes.clone();
    let server = Server::start(move |number, request| {
        let tag = if number < 2 { "\"a\"" } else { "\"b\"" };
        vec![Step::Send(good(&served, request, tag))]
    });
    let mut first = remote(&[&server]);
    assert_eq!(first.identity(), None);
    first.read_at(0, &mut [0; 10]).unwrap();
    let known = first.identity().unwrap();
    assert_eq!((known.len, known.etag.as_deref()), (1000, Some("\"a\"")));
    let stored = Identity::new(known.len, known.url.clone(), known.etag.clone());

    let mut second = remote(&[&server]).with_identity(&stored);
    let mut piece = [0; 10];
    second.read_at(100, &mut piece).unwrap();
    assert_eq!(piece, bytes[100..110]);
    assert_eq!(server.requests()[1].header("if-range"), Some("\"a\""));

    let mut third = remote(&[&server]).with_identity(&stored);
    let error = third.read_at(100, &mut piece).unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    // What was stored can be anything.
    let odd = Identity::new(1000, known.url, Some("\"a\r\nX: y\"".to_owned()));
    let mut fourth = remote(&[&server]).with_identity(&odd);
    fourth.read_at(100, &mut piece).unwrap();
    assert_eq!(server.requests().last().unwrap().header("if-range"), None);
}

#[test]
fn one_byte_shows_whether_a_server_still_has_a_version() {
    let bytes = file(1000);
    // The same version, another tag, another length, and a server without ranges.
    for (tag, len, has_ranges, is_still) in [
        ("\"a\"", 1000, true, true),
        ("\"b\"", 1000, true, false),
        ("\"a\"", 999, true, false),
        ("\"a\"", 1000, false, false),
    ] {
        let served = bytes[..len].to_vec();
        let server = Server::start(move |_, request| {
            let answer = if has_ranges { good(&served, request, tag) } else { whole(&served) };
            vec![Step::Send(answer)]
        });
        let note = format!("{tag} {len} {has_ranges}");
        let url = server.url("/file").to_string();
        let known = Identity::new(1000, url.clone(), Some("\"a\"".to_owned()));
        let mut remote = Remote::new(vec![server.url("/file")], &options()).unwrap();
        assert_eq!(remote.is_still(&known), is_still, "{note}");
        let asked = server.requests();
        assert_eq!((asked[0].header("if-range"), asked[0].range()), (Some("\"a\""), Some((0, 0))));
        // It serves in any case, by what the server has now, and in ranges.
        assert_eq!(read_all(&mut remote, len), bytes[..len], "{note}");
        assert!(server.requests().iter().all(|asked| asked.range().is_some()), "{note}");
        assert_eq!(remote.identity().unwrap().len, len as u64, "{note}");
        if is_still {
            assert_eq!(remote.received(), 1 + len as u64);
        }
        // Of another URL, or without a strong tag, nothing is asked.
        let before = server.requests().len();
        for other in [
            Identity::new(1000, "http://127.0.0.1/other".to_owned(), known.etag.clone()),
            Identity::new(1000, url.clone(), None),
            Identity::new(1000, url.clone(), Some("W/\"a\"".to_owned())),
        ] {
            assert!(!remote.is_still(&other), "{note}");
        }
        assert_eq!(server.requests().len(), before, "{note}");
    }
}

#[test]
fn nobody_listens() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = Url::parse(&format!("http://127.0.0.1:{port}/file")).unwrap();
    let error = Remote::new(vec![url], &options()).unwrap().len().unwrap_err();
    assert!(matches!(error, Error::Network { .. }) && error.is_temporary(), "{error}");
}

#[test]
fn a_remote_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Remote>();
}
