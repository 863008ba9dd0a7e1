//! Bundles from web servers: whole, in frames, with patches, cut and gone on with.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crc::{CRC_32_ISO_HDLC, Crc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::server::Server;
use crate::support::{TRUST, World, noise, number, tool};

/// A device that runs version 1, and versions 1 and 2 of which one byte in 200 differs, as files on a
/// server: `v1.sbb`, `v2.sbb`, `v2.sbz`, and the patch between both.
fn device(len: usize) -> (World, Server) {
    let world = World::with_keys("--releases 2");
    let mut image = noise(7, len / 2);
    // The other half compresses.
    image.extend((0..len / 2).map(|at| (at / 64) as u8));
    for version in 1..=2 {
        if version == 2 {
            image.iter_mut().step_by(200).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        world.write("image", &image);
        world.pack(version, "--image image --chunk-size 64K").expect(0);
    }
    world.run("bundle compress v2.sbb --out v2.sbz").expect(0);
    world.run("delta v1.sbb v2.sbb --out v2.sbd").expect(0);
    world.run(&format!("disk create disk.img --slot-size {}M", (len >> 20) + 2)).expect(0);
    world.run(&format!("install v1.sbb --disk disk.img {TRUST} --offline")).expect(0);
    world.boots("1.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    fs::copy(world.path("proof"), world.path("old-proof")).unwrap();
    fs::copy(world.path("disk.img"), world.path("base.img")).unwrap();
    fs::create_dir(world.path("state")).unwrap();
    let server = Server::start();
    for name in ["v2.sbb", "v2.sbz", "v2.sbd"] {
        server.put(name, world.read(name));
    }
    server.remove("v2.sbd");
    (world, server)
}

/// The name of the patch beside `v2`.
fn patch_name(world: &World) -> String {
    let found = world.run("inspect v1.sbb --json").expect(0).json();
    format!("v2.{}.sbd", &found["digest"].as_str().unwrap()[..16])
}

fn install(world: &World, what: &str, more: &str) -> crate::support::Run {
    fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
    world.run(&format!(
        "install {what} --disk disk.img {TRUST} --proof old-proof --state state --json {more}"
    ))
}

fn is_whole(world: &World) {
    world.run(&format!("scrub --disk disk.img {TRUST}")).expect(0);
    world.boots("2.0.0");
}

#[test]
fn a_bundle_comes_whole_or_in_frames_and_no_byte_twice() {
    let (world, server) = device(2 << 20);
    for name in ["v2.sbb", "v2.sbz"] {
        let before = server.sent();
        let found = install(&world, &server.url(name), "").expect(0).json();
        is_whole(&world);
        let (sent, len) = (server.sent() - before, world.read(name).len() as u64);
        // The request for the start may bring a little more than is needed.
        assert!(sent <= len + 1024, "{name}: {sent} of {len}");
        assert_eq!(found["fetched"], sent, "{name}");
    }
    let wanted = ["v2.sbb", "v2.sbz"].map(|name| world.read(name).len());
    assert!(wanted[1] < wanted[0] * 3 / 4, "{wanted:?}");
}

#[test]
fn a_patch_beside_the_bundle_is_found_by_its_name() {
    let (world, server) = device(2 << 20);
    server.put(&patch_name(&world), world.read("v2.sbd"));
    let before = server.sent();
    let found = install(&world, &server.url("v2.sbz?query"), "").expect(0).json();
    is_whole(&world);
    let sent = server.sent() - before;
    let len = world.read("v2.sbz").len() as u64;
    assert!(sent < len / 4, "{sent} of {len}");
    assert!(found["patched"].as_u64().unwrap() > 1 << 20, "{found}");
}

#[test]
fn a_patch_that_lies_costs_bytes_and_nothing_else() {
    let (world, server) = device(2 << 20);
    let patch = world.read("v2.sbd");
    for (name, at) in [("early", patch.len() / 8), ("middle", patch.len() / 2)] {
        let mut lying = patch.clone();
        for byte in &mut lying[at..][..64] {
            *byte ^= 0x55;
        }
        world.write("lying.sbd", &lying);
        install(&world, &server.url("v2.sbz"), "--delta lying.sbd").expect(0);
        is_whole(&world);
        println!("{name}: {} bytes", server.sent());
    }
    // The old slot is damaged: its chunks cannot serve, and the patch gives others.
    let mut disk = world.read("base.img");
    let start = disk.windows(64).position(|bytes| *bytes == noise(7, 64)).unwrap();
    disk[start..][..100_000].fill(0x33);
    fs::write(world.path("hurt.img"), &disk).unwrap();
    fs::copy(world.path("hurt.img"), world.path("disk.img")).unwrap();
    let url = server.url("v2.sbz");
    let more = format!("{TRUST} --proof old-proof --delta v2.sbd --json");
    let found = world.run(&format!("install {url} --disk disk.img {more}")).expect(0).json();
    assert!(found["patched"].as_u64().unwrap() > 1 << 19, "{found}");
    world.boots("2.0.0");
}

#[test]
fn a_patch_that_does_not_fit_is_named() {
    let (world, server) = device(1 << 20);
    world.pack(3, "--image image").expect(0);
    world.run("delta v2.sbb v3.sbb --out other.sbd").expect(0);
    let url = server.url("v2.sbz");
    install(&world, &url, "--delta other.sbd").refused(4, "patch");
    install(&world, &url, "--delta v2.sbb").refused(4, "patch");
    install(&world, &url, "--delta none.sbd").refused(1, "io");
    install(&world, "v2.sbd", "").refused(4, "patch");
    // One to this bundle, from what no slot holds.
    world.run("delta v3.sbb v2.sbb --out from.sbd").expect(0);
    let run = install(&world, &url, "--delta from.sbd").expect(0);
    assert!(run.stderr.contains("starts from"), "{run:?}");
    is_whole(&world);
    let input = world.read("v2.sbz");
    let more = format!("- --disk disk.img {TRUST} --proof old-proof --delta v2.sbd --json");
    let run = world.run_with_input(&format!("install {more}"), &mut [input].into_iter());
    run.refused(2, "usage");
}

/// The patch was made before the bundle was signed once more: it has another head then.
#[test]
fn a_patch_to_the_bundle_as_it_was_signed_before_is_not_used() {
    let (world, server) = device(1 << 20);
    let name = patch_name(&world);
    server.put(&name, world.read("v2.sbd"));
    world.write(&name, world.read("v2.sbd"));
    world.run("sign v2.sbz --key keys/release-2.pem").expect(0);
    server.put("v2.sbz", world.read("v2.sbz"));
    let run = install(&world, &server.url("v2.sbz"), "").expect(0);
    assert!(run.stderr.contains("signed once more"), "{run:?}");
    is_whole(&world);
    install(&world, "v2.sbz", "--delta v2.sbd").refused(4, "patch");
}

/// As a bundle that is no framed file: what is missing may come the next time.
#[test]
fn a_stream_of_frames_that_is_cut_short_may_come_again() {
    let (world, _server) = device(1 << 20);
    let whole = world.read("v2.sbz");
    for len in [whole.len() - 1, whole.len() / 2, 2000] {
        fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
        let line = format!("install - --disk disk.img {TRUST} --proof old-proof --json");
        let part = whole[..len].to_vec();
        let run = world.run_with_input(&line, &mut [part].into_iter()).refused(1, "source");
        assert!(run.stdout.contains("resume"), "{run:?}");
    }
    let line = format!("resume - --disk disk.img {TRUST} --proof old-proof --json");
    world.run_with_input(&line, &mut [whole].into_iter());
}

/// Only an installation has the slots that a patch starts from, and no stream goes to and fro.
#[test]
fn a_patch_where_a_bundle_is_expected_is_refused_before_anything_is_touched() {
    let (world, _server) = device(1 << 20);
    world.run("delta v1.sbb v2.sbb --whole --out whole.sbd").expect(0);
    let disk = world.read("disk.img");
    for patch in ["v2.sbd", "whole.sbd"] {
        world.run(&format!("verify {patch} {TRUST} --json")).refused(4, "patch");
        world.run(&format!("bundle expand {patch} --out out.sbb --json")).refused(4, "patch");
        world.run(&format!("delta v1.sbb {patch} --out out.sbd --json")).refused(4, "patch");
        let line = format!("install - --disk disk.img {TRUST} --proof old-proof --json");
        world.run_with_input(&line, &mut [world.read(patch)].into_iter()).refused(4, "patch");
    }
    install(&world, "whole.sbd", "--delta v2.sbd").refused(2, "usage");
    assert!(world.read("disk.img") == disk);
    install(&world, "whole.sbd", "").expect(0);
    is_whole(&world);
}

#[test]
fn what_a_server_does_wrong_has_an_exit_code_and_loses_nothing() {
    let (world, server) = device(1 << 20);
    install(&world, &server.url("none.sbz"), "").refused(1, "http");
    let whole = world.read("v2.sbz");
    server.put("short.sbz", whole[..whole.len() - 1].to_vec());
    install(&world, &server.url("short.sbz"), "").refused(4, "ended");
    server.put("text.sbz", b"<html>not found</html>".to_vec());
    install(&world, &server.url("text.sbz"), "").expect(4);
    install(&world, "https://127.0.0.1:1/v2.sbz", "--attempts 1").refused(1, "http");
    install(&world, "ftp://127.0.0.1/v2.sbz", "").refused(2, "usage");
    install(&world, "v2.sbb", "--mirror http://127.0.0.1/v2.sbb").refused(2, "usage");
    assert_eq!(world.slot("b")["state"], "empty");
    world.boots("1.0.0");
}

/// The spool kept a wrong byte, and every server was refused from then on.
#[test]
fn what_was_refused_is_fetched_again() {
    let (world, server) = device(1 << 20);
    let sound = world.read("v2.sbz");
    // In the signatures, in a frame in the middle, and in the last one.
    for at in [400, sound.len() / 2, sound.len() - 1] {
        let mut wrong = sound.clone();
        wrong[at] ^= 1;
        server.put("v2.sbz", wrong);
        install(&world, &server.url("v2.sbz"), "").expect(4);
        assert!(!world.path("state/bundle.spool.0").exists(), "{at}");
        server.put("v2.sbz", sound.clone());
        install(&world, &server.url("v2.sbz"), "").expect(0);
        is_whole(&world);
    }
    // A pipe in the place of a spool was waited for.
    for name in ["bundle.spool.0", "patch.spool.0"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, world.path("state").join(name), 0o600.into())
            .unwrap();
        install(&world, &server.url("v2.sbz"), "").expect(0);
        install(&world, "v2.sbz", "").expect(0);
    }
}

#[test]
fn a_patch_stands_beside_each_mirror() {
    let (world, server) = device(1 << 20);
    server.put(&patch_name(&world), world.read("v2.sbd"));
    let more = format!("--attempts 1 --mirror {}", server.url("v2.sbz"));
    let found = install(&world, "http://127.0.0.1:1/v2.sbz", &more).expect(0).json();
    assert!(found["patched"].as_u64().unwrap() > 1 << 19, "{found}");
    // The bundle itself in the place of the patch.
    server.put(&patch_name(&world), world.read("v2.sbz"));
    let run = install(&world, &server.url("v2.sbz"), "").expect(0);
    assert!(run.stderr.contains("not the patch that its name says"), "{run:?}");
    // A whole patch counts as one.
    world.run("delta v1.sbb v2.sbb --whole --out whole.sbd").expect(0);
    let found = install(&world, "whole.sbd", "").expect(0).json();
    assert!(found["patched"].as_u64().unwrap() > 1 << 19, "{found}");
}

#[test]
fn fetch_writes_over_nothing_that_it_needs_or_that_is_no_file() {
    let (world, server) = device(1 << 20);
    let url = server.url("v2.sbz");
    let fetch = |more: &str| world.run(&format!("fetch {url} {TRUST} --json {more}"));
    world.write("token", "secret");
    fs::create_dir(world.path("folder")).unwrap();
    for (out, more) in [
        ("keys/roots.toml", ""),
        ("token", "--token-file token"),
        ("folder", ""),
        ("/dev/null", ""),
        ("-", ""),
    ] {
        fetch(&format!("--out {out} {more}")).refused(2, "usage");
    }
    assert_eq!(server.sent(), 0, "it shows before anything is fetched");
    // A link stays a link, and what stands for the part is not followed.
    world.write("real", "before");
    std::os::unix::fs::symlink("real", world.path("link")).unwrap();
    fetch("--out link").expect(0);
    assert!(world.read("real") == world.read("v2.sbz"));
    world.write("victim", "important");
    std::os::unix::fs::symlink("victim", world.path("got.part")).unwrap();
    fetch("--out got").expect(1);
    assert_eq!(world.read("victim"), b"important");
    // A part of another bundle, whole or not.
    fs::remove_file(world.path("got.part")).unwrap();
    for len in [1000, world.read("v1.sbb").len()] {
        server.put("v1.sbb", world.read("v1.sbb"));
        let note = format!(
            r#"{{"url":"{}","length":{},"etag":null,"digest":"00"}}"#,
            server.url("v1.sbb"),
            world.read("v1.sbb").len()
        );
        world.write("got.part", &world.read("v1.sbb")[..len]);
        world.write("got.part.id", note);
        fetch("--out got").expect(0);
        assert!(world.read("got") == world.read("v2.sbz"));
    }
}

#[test]
fn fetch_goes_on_where_it_was_cut_and_gives_the_name_to_what_verifies() {
    let (world, server) = device(2 << 20);
    server.pace(true);
    let command = format!("fetch {} --out got.sbz {TRUST}", server.url("v2.sbz"));
    let mut child = tool(world.folder(), &command).stderr(Stdio::null()).spawn().unwrap();
    while server.sent() < 1 << 20 {
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!world.path("got.sbz").exists());
    server.pace(false);
    let found = world.run(&format!("{command} --json")).expect(0).json();
    assert_eq!(world.read("got.sbz"), world.read("v2.sbz"));
    assert!(!world.path("got.sbz.part").exists() && !world.path("got.sbz.part.id").exists());
    println!("{found}, {} sent of {}", server.sent(), world.read("v2.sbz").len());
    // Another file under the same URL, while a part of the old one is here.
    world.write("got.sbz.part", &world.read("v2.sbz")[..1000]);
    let mut changed = world.read("v2.sbz");
    changed[2000] ^= 1;
    server.put("v2.sbz", changed);
    world.run(&format!("{command} --json")).expect(4);
    assert!(!world.path("got.sbz.part").exists());
    world.run(&format!("fetch v2.sbz --out x {TRUST} --json")).refused(2, "usage");
}

/// A mirror that gives wrong bytes is passed over, and what it gave is not kept.
#[test]
fn a_mirror_with_damaged_bytes_is_passed_over() {
    let (world, bad) = device(2 << 20);
    let good = Server::start();
    for name in ["v2.sbb", "v2.sbz"] {
        good.put(name, world.read(name));
        // In the middle, where a chunk stands.
        let mut damaged = world.read(name);
        let middle = damaged.len() / 2;
        damaged[middle..][..8].fill(0xa5);
        bad.put(name, damaged);
        let mirror = format!("--mirror {}", good.url(name));
        install(&world, &bad.url(name), &mirror).expect(0);
        is_whole(&world);
        let asked = (bad.requests().len(), good.requests().len());
        assert!(asked.0 > 0 && asked.1 > 0, "{name}: {asked:?}");
        // Where it is the only one, it is refused, and nothing of it is used later.
        install(&world, &bad.url(name), "").expect(4);
        assert!(!world.path("state/bundle.spool.0").exists());
        install(&world, &good.url(name), "").expect(0);
        is_whole(&world);
    }
}

/// A device that asks every day would keep the start of each answer.
#[test]
fn nothing_is_kept_of_what_is_refused_or_not_needed() {
    let (world, server) = device(2 << 20);
    let kept = || {
        let entries = fs::read_dir(world.path("state")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let url = server.url("v2.sbz");
    install(&world, &url, "").expect(0);
    let more = format!("--disk disk.img {TRUST} --proof old-proof --state state --json");
    world.run(&format!("install {url} {more}")).refused(5, "ready");
    assert!(kept().is_empty(), "{:?}", kept());
    // A whole patch whose old bundle is in the slot that is written.
    world.pack(3, "--image image --chunk-size 64K").expect(0);
    world.run("delta v2.sbb v3.sbb --whole --out whole.sbd").expect(0);
    server.put("whole.sbd", world.read("whole.sbd"));
    world.run(&format!("install {} {more}", server.url("whole.sbd"))).refused(4, "patch");
    assert!(kept().is_empty(), "{:?}", kept());
    // A patch that is named and leads elsewhere.
    server.put("v2.sbd", world.read("whole.sbd"));
    install(&world, &url, &format!("--delta {}", server.url("v2.sbd"))).refused(4, "patch");
    assert!(kept().is_empty(), "{:?}", kept());
}

/// What was kept of the start of a file is asked for again only if the server has another file.
#[test]
fn a_resumed_installation_asks_for_one_byte_of_what_it_has_and_notices_another_file() {
    let (world, server) = device(4 << 20);
    let line = format!(
        "{} --disk disk.img {TRUST} --proof old-proof --state state --quiet",
        server.url("v2.sbz")
    );
    let cut = || {
        fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
        let from = server.sent();
        server.pace(true);
        let install = format!("install {line}");
        let mut child = tool(world.folder(), &install).stderr(Stdio::null()).spawn().unwrap();
        while server.sent() - from < 500_000 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        server.pace(false);
        server.requests();
    };
    cut();
    assert!(world.path("state/bundle.start").exists());
    // Local files that are refused, or not needed, leave it alone.
    world.write("bad.sbb", &world.read("v2.sbb")[..5000]);
    let local = format!("--disk disk.img {TRUST} --proof old-proof --state state");
    world.run(&format!("install bad.sbb {local}")).expect(4);
    world.run(&format!("install v1.sbb {local}")).expect(5);
    assert!(world.path("state/bundle.start").exists());
    world.run(&format!("resume {line}")).expect(0);
    is_whole(&world);
    let asked = server.requests();
    assert_eq!(asked[0], "/v2.sbz 0-0", "{asked:?}");
    assert!(!asked.iter().skip(1).any(|line| line.starts_with("/v2.sbz 0-")), "{asked:?}");
    assert!(!world.path("state/bundle.start").exists());
    // Another file by now, of the same length and of the same bundle: what was kept says wrong
    // places.
    cut();
    let other = "bundle compress v2.sbb --compress zstd:1 --out other.sbz";
    world.run(other).expect(0);
    server.put("v2.sbz", world.read("other.sbz"));
    world.run(&format!("resume {line}")).expect(0);
    is_whole(&world);
    let asked = server.requests();
    assert_eq!(asked[..2], ["/v2.sbz 0-0", "/v2.sbz 0-1023"], "{asked:?}");
    // One that is damaged is as none.
    cut();
    let mut start = world.read("state/bundle.start");
    start[40] ^= 1;
    world.write("state/bundle.start", &start);
    world.run(&format!("resume {line}")).expect(0);
    is_whole(&world);
    assert_eq!(server.requests()[0], "/v2.sbz 0-1023");
    // Nor does one help that is whole and says something else: only its end is another one.
    cut();
    let mut start = world.read("state/bundle.start");
    for byte in start.iter_mut().rev().take(100) {
        *byte ^= 0x55;
    }
    let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&start[12..]).to_le_bytes();
    start[8..12].copy_from_slice(&checksum);
    world.write("state/bundle.start", &start);
    world.run(&format!("resume {line}")).expect(0);
    is_whole(&world);
    assert_eq!(server.requests()[..2], ["/v2.sbz 0-0", "/v2.sbz 0-1023"]);
}

/// Bytes that a cut may cost: those that are on their way when the client is killed, and the start
/// of the file that it asks for again. A server that is slow to notice sends more.
const CUT_COST_MAX: u64 = 512 << 10;

/// `STILLBOOT_WEB_KILLS`, `STILLBOOT_WEB_MIB` and `STILLBOOT_SEED` change how often it is killed, how
/// long the installed image is, and when it is killed.
#[test]
fn killed_installations_from_a_server_go_on_and_fetch_little_twice() {
    let kills = number("STILLBOOT_WEB_KILLS", 12);
    let seed = number("STILLBOOT_SEED", 1);
    let mib = number("STILLBOOT_WEB_MIB", 8);
    // An installation is killed about twice as often as this says.
    let often = (kills / 2).clamp(6, 32);
    let mut random = StdRng::seed_from_u64(seed);
    let (world, server) = device((mib as usize) << 20);
    let (full, patch) = (world.read("v2.sbz").len() as u64, world.read("v2.sbd").len() as u64);
    let (mut done, mut rounds) = (0, 0);
    while done < kills {
        rounds += 1;
        let delta = if rounds % 2 == 0 { "--delta v2.sbd" } else { "" };
        // Half of the patches come over the network too.
        server.put("v2.sbd", world.read("v2.sbd"));
        let delta = match rounds % 4 {
            0 => format!("--delta {}", server.url("v2.sbd")),
            _ => delta.to_owned(),
        };
        fs::copy(world.path("base.img"), world.path("disk.img")).unwrap();
        server.pace(true);
        let mut fetched = 0;
        let more =
            format!("--disk disk.img {TRUST} --proof old-proof --state state {delta} --quiet");
        let mut command = "install";
        let mut cuts = 0;
        loop {
            let line = format!("{command} {} {more}", server.url("v2.sbz"));
            let from = server.sent();
            let wait = random.random_range(0..if delta.is_empty() { full / often } else { patch });
            let mut child = tool(world.folder(), &line)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let ended = loop {
                if let Some(ended) = child.try_wait().unwrap() {
                    break Some(ended);
                }
                if server.sent() - from >= wait && done < kills {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break None;
                }
                thread::sleep(Duration::from_micros(200));
            };
            // What the server sends to a client that is gone is not fetched.
            fetched += server.sent() - from;
            if let Some(ended) = ended {
                let note = format!("seed {seed}, round {rounds}, cut {cuts} times");
                // There was nothing to go on with yet, so it starts.
                if ended.code() == Some(5) && command == "resume" {
                    command = "install";
                    continue;
                }
                assert!(ended.success(), "{note}: {ended}");
                break;
            }
            done += 1;
            cuts += 1;
            if std::env::var_os("STILLBOOT_WEB_SHOW").is_some() {
                let len =
                    |name: &str| fs::metadata(world.path(name)).map_or(0, |found| found.len());
                println!(
                    "cut {cuts}: {} sent, spool {} {}, {:?}",
                    server.sent() - from,
                    len("state/bundle.spool.0"),
                    len("state/bundle.spool.1"),
                    server.requests()
                );
            }
            let booted = world.boot().expect(0).json();
            if booted["version"] == "2.0.0" {
                break;
            }
            command = "resume";
        }
        is_whole(&world);
        println!(
            "round {rounds}: cut {cuts} times, {fetched} bytes fetched; the bundle has {full}, the \
             patch {patch} ({delta})"
        );
        // Of each cut what the system still had in its buffers is fetched again, at most.
        let most = (full + patch) * 101 / 100 + cuts * CUT_COST_MAX;
        assert!(fetched <= most, "seed {seed}: expected at most {most} bytes, fetched {fetched}");
    }
}
