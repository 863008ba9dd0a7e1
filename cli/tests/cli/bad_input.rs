//! Bad input: a typed error, no panic, and no byte written outside the target slot and the record.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use stillboot::format::{Envelope, FormatError, KeyRole, Keyset, Manifest, PayloadType};
use stillboot_release::keys::{Signer, SigningKey, id_of, sign_envelope};

use crate::support::{TRUST, World, noise, program};

/// Runs `install` of `bundle` and holds what it may not touch against what stood there before.
fn attack(world: &World, bundle: &str, more: &str, code: i32, kind: &str) {
    let before = world.read("disk.img");
    world
        .run(&format!("install {bundle} --disk disk.img {TRUST} --proof proof --json {more}"))
        .refused(code, kind);
    let after = world.read("disk.img");
    if more.is_empty() {
        assert!(before == after, "{bundle}: the disk changed");
    } else {
        outside_unchanged(world, &before, &after);
    }
    world.boots("1.0.0");
}

/// Only the record and slot b may differ.
fn outside_unchanged(world: &World, before: &[u8], after: &[u8]) {
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let (mut before, mut after) = (before.to_vec(), after.to_vec());
    for partition in shown["partitions"].as_array().unwrap() {
        if matches!(partition["name"].as_str(), Some("stillboot-record" | "stillboot-b")) {
            let start = partition["offset"].as_u64().unwrap() as usize;
            let end = start + partition["length"].as_u64().unwrap() as usize;
            before[start..end].fill(0);
            after[start..end].fill(0);
        }
    }
    assert!(before == after, "bytes outside the target slot and the record changed");
}

/// Where the manifest envelope starts in a bundle, and where it ends.
fn manifest_at(bundle: &[u8]) -> (usize, usize) {
    let (_, rest) = Envelope::parse(bundle).unwrap();
    let (_, body) = Envelope::parse(rest).unwrap();
    (bundle.len() - rest.len(), bundle.len() - body.len())
}

fn key(world: &World, name: &str) -> SigningKey {
    SigningKey::read(&world.path(name)).unwrap()
}

#[test]
fn names_that_cannot_be_shown_are_refused() {
    let world = World::new();
    let pack = "pack --roots keys/roots.toml --keyset keys/keyset.sbk --key keys/release-1.pem \
                --version 1 --sequence 1 --kernel kernel --out v.sbb";
    world.write("kernel", "kernel");
    world.write("named.toml", "class = \"m\\u00071\"\n");
    let unseen =
        ["m1 ", " m1", "\u{a0}m1", "\u{200b}", "evil\u{202e}gnp", "m\u{feff}1", "m\u{2066}1"];
    let shown = ["", " ", "a\nb", "\u{1b}[31mred", "\u{9b}2J"];
    for name in shown.into_iter().chain(unseen) {
        for command in [
            "id",
            "keygen --out new --product",
            "verify v.sbb --roots keys/roots.toml --class",
            &format!("{pack} --class"),
            &format!("policy check v.sbb --disk d.img {TRUST} --offline --device-id"),
        ] {
            // No name is no identity.
            if name.is_empty() && command.ends_with("--device-id") {
                continue;
            }
            let mut command = crate::support::tool(world.folder(), command);
            let ended = command.arg(name).output().unwrap();
            let told = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(2), "{name:?}: {told}");
            let acts = ['\u{1b}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}'];
            assert!(!told.contains(acts), "{name:?}: {told:?}");
        }
    }
    world.run(&format!("{pack} --config named.toml --json")).refused(2, "usage");
    for name in ["a\\u0007b", "m1 ", "a\\u202eb"] {
        world.write("policy.toml", format!("device_id = \"{name}\"\n"));
        let check = format!("policy check v.sbb --disk d.img {TRUST} --offline --json");
        let run = world.run(&format!("{check} --policy policy.toml")).refused(2, "policy");
        assert!(run.stdout.contains("device_id"), "{run:?}");
    }
    for name in ["m 1", "Müller", "模型"] {
        world.run_exact(&["id", name]).expect(0);
    }
    assert!(!world.path("new").exists() && !world.path("v.sbb").exists());
}

#[test]
fn missing_and_broken_keys_are_named() {
    let world = World::running();
    let disk = "--disk disk.img --class m1 --offline --json";
    world.run(&format!("install v2.sbb {disk} --roots missing")).refused(1, "io");
    let roots = String::from_utf8(world.read("keys/roots.toml")).unwrap();
    for wrong in [
        "",
        "nonsense",
        "product = 'gateway'\nthreshold = 1\nkeys = []\n",
        "product = 'gateway'\nthreshold = 1\nkeys = ['x']\n",
        &roots.replace("threshold = 1", "threshold = 0"),
        &roots.replace("threshold = 1", "threshold = 2"),
        &format!("{roots}\nmore = 1\n"),
    ] {
        world.write("wrong.toml", wrong);
        world.run(&format!("install v2.sbb {disk} --roots wrong.toml")).refused(1, "roots");
    }
    for name in ["missing", "keys/release-1.pub.pem", "keys/roots.toml"] {
        world
            .run(&format!(
                "pack {TRUST} --version 4.0.0 --sequence 4 --kernel kernel --out v4.sbb \
                 --keyset keys/keyset.sbk --key {name}"
            ))
            .expect(1);
    }
    // Roots of another product.
    world.run("keygen --out other --product gateway").expect(0);
    world.run(&format!("install v2.sbb {disk} --roots other/roots.toml")).refused(4, "trust");
    world
        .run("boot --disk disk.img --class m1 --roots other/roots.toml --json")
        .refused(1, "nothing-boots");
}

#[test]
fn keyset_without_keys_is_refused() {
    let world = World::running();
    let bytes = world.read("keys/keyset.sbk");
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let keyset = Keyset::parse(envelope.payload()).unwrap();
    // The count stands right before the first key, which begins with its kind; cut there, and say
    // none.
    let first = keyset.keys[0].name;
    let at = envelope.payload().windows(32).position(|bytes| bytes == first).unwrap() - 1;
    let mut payload = envelope.payload()[..at].to_vec();
    payload[at - 1] = 0;
    assert!(Keyset::parse(&payload).is_err());
    let root = key(&world, "keys/root-1.pem");
    let product = id_of("gateway");
    let empty =
        sign_envelope(PayloadType::Keyset, &product, &payload, &[(KeyRole::Root, &root)]).unwrap();
    world.write("empty.sbk", &empty);
    world.run("keyset show empty.sbk --json").refused(4, "format");
    for (name, code) in [("empty.sbk", 4), ("missing", 1)] {
        world
            .run(&format!(
                "pack {TRUST} --version 4.0.0 --sequence 4 --kernel kernel --out v4.sbb \
                 --keyset {name} --key keys/release-1.pem"
            ))
            .expect(code);
    }
    let bundle = world.read("v2.sbb");
    let (at, _) = manifest_at(&bundle);
    world.write("bad.sbb", [&empty, &bundle[at..]].concat());
    attack(&world, "bad.sbb", "", 4, "trust");
    attack(&world, "bad.sbb", "--stream", 4, "trust");
}

#[test]
fn unknown_component_type_is_refused_though_signed() {
    let world = World::running();
    let bundle = world.read("v2.sbb");
    let (start, end) = manifest_at(&bundle);
    let (envelope, _) = Envelope::parse(&bundle[start..]).unwrap();
    let manifest = Manifest::parse(envelope.payload()).unwrap();
    let root = manifest.components[0].index_root;
    let at = envelope.payload().windows(32).position(|bytes| bytes == root).unwrap();
    // The role's code stands a few bytes before the root: found by what parsing says of a change.
    let payload = (at.saturating_sub(16)..at)
        .find_map(|place| {
            let mut payload = envelope.payload().to_vec();
            payload[place] = 99;
            let found = format!("{:?}", Manifest::parse(&payload));
            found.contains("ComponentRole").then_some(payload)
        })
        .unwrap();
    assert!(matches!(Manifest::parse(&payload), Err(FormatError::Unknown { code: 99, .. })));
    let release = key(&world, "keys/release-1.pem");
    let signed = sign_envelope(
        PayloadType::Manifest,
        &id_of("gateway"),
        &payload,
        &[(KeyRole::Release, &release)],
    )
    .unwrap();
    world.write("bad.sbb", [&bundle[..start], &signed, &bundle[end..]].concat());
    world.run("inspect bad.sbb --json").refused(4, "format");
    attack(&world, "bad.sbb", "", 4, "trust");
    attack(&world, "bad.sbb", "--stream", 4, "trust");
}

#[test]
fn signed_field_outside_its_bounds_is_named_with_its_value() {
    let world = World::running();
    let bundle = world.read("v2.sbb");
    let (start, end) = manifest_at(&bundle);
    let (envelope, _) = Envelope::parse(&bundle[start..]).unwrap();
    let manifest = Manifest::parse(envelope.payload()).unwrap();
    let release = key(&world, "keys/release-1.pem");
    // Where the byte of the field stands: there two manifests that differ in it differ.
    let mut other = manifest.clone();
    other.rollout = 98;
    let mut bytes = vec![0; envelope.payload().len()];
    assert_eq!(other.emit(&mut bytes), Ok(bytes.len()));
    let at = (0..bytes.len()).find(|at| bytes[*at] != envelope.payload()[*at]).unwrap();
    bytes[at] = 113;
    let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Release, &release)];
    let signed = sign_envelope(PayloadType::Manifest, &id_of("gateway"), &bytes, &signers).unwrap();
    world.write("bad.sbb", [&bundle[..start], &signed, &bundle[end..]].concat());
    let on = format!("bad.sbb --disk disk.img {TRUST} --proof proof");
    for command in [
        "inspect bad.sbb".into(),
        "verify bad.sbb --roots keys/roots.toml".into(),
        "sign bad.sbb --key keys/release-1.pem --roots keys/roots.toml".into(),
        format!("install {on}"),
        format!("install {on} --stream"),
        format!("policy check {on}"),
    ] {
        let found = world.run(&format!("{command} --json")).expect(4).json();
        let error = found["error"].as_str().unwrap();
        assert!(error.contains("rollout, 0 to 100") && error.contains("found 113"), "{error}");
    }
}

#[test]
fn bundle_for_another_class_is_refused() {
    let world = World::running();
    world
        .run(
            "pack --roots keys/roots.toml --class m2 --version 4.0.0 --sequence 4 \
             --kernel kernel --keyset keys/keyset.sbk --key keys/release-1.pem --out v4.sbb",
        )
        .expect(0);
    attack(&world, "v4.sbb", "", 4, "class");
    attack(&world, "v4.sbb", "--stream", 4, "class");
}

#[test]
fn slot_that_is_too_small_is_refused_before_anything_is_erased() {
    let world = World::running();
    world.write("kernel", noise(4, 2 << 20));
    world.pack(4, "--kernel kernel").expect(0);
    attack(&world, "v4.sbb", "", 4, "layout");
    attack(&world, "v4.sbb", "--stream", 4, "layout");
}

#[test]
fn full_disk_costs_only_the_target() {
    let world = World::running();
    let before = world.read("disk.img");
    // Slot a and the record lie below the limit, most of slot b above it, its head too: 512-byte
    // blocks.
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let limit = shown["partitions"][2]["offset"].as_u64().unwrap() / 512 + 64;
    let output = Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\""), "sh"])
        .arg(program())
        .args("install v2.sbb --disk disk.img --proof proof --json".split(' '))
        .args(TRUST.split(' '))
        .current_dir(world.folder())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["kind"], "device", "{error}");
    let text = error["error"].as_str().unwrap();
    assert!(
        text.contains("no space") && text.contains("`stillboot install` starts over"),
        "{text}"
    );
    outside_unchanged(&world, &before, &world.read("disk.img"));
    world.boots("1.0.0");
    // The head comes first and had no room, so there is nothing to go on with, as was said. With
    // room again it is installed.
    let resume = format!("resume v2.sbb --disk disk.img {TRUST} --proof proof --json");
    let run = world.run(&resume).refused(5, "to-resume");
    let text = run.json()["error"].as_str().unwrap().to_owned();
    assert!(!text.contains("`stillboot resume`"), "{text}");
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
}

#[test]
fn bundle_that_ends_early_is_refused() {
    let world = World::running();
    let bundle = world.read("v2.sbb");
    let (start, end) = manifest_at(&bundle);
    for len in [0, 1, 11, start - 1, start, start + 20, end - 1, end, end + 31, bundle.len() - 1] {
        world.write("bad.sbb", &bundle[..len]);
        attack(&world, "bad.sbb", "", 4, "ended");
    }
    for len in [end, bundle.len() / 2, bundle.len() - 1] {
        world.write("bad.sbb", &bundle[..len]);
        attack(&world, "bad.sbb", "--stream", 4, "ended");
    }
}

#[test]
fn bundle_that_never_ends_is_refused() {
    let world = World::running();
    let before = world.read("disk.img");
    let bundle = world.read("v2.sbb");
    let mut endless = std::iter::once(bundle).chain(std::iter::repeat(vec![0; 1 << 16]));
    let arguments = format!("install - --disk disk.img {TRUST} --proof proof --json");
    world.run_with_input(&arguments, &mut endless).refused(4, "trailing");
    outside_unchanged(&world, &before, &world.read("disk.img"));
    world.boots("1.0.0");
    let mut zeros = std::iter::repeat(vec![0; 1 << 16]);
    world.run_with_input(&arguments, &mut zeros).refused(4, "format");
    let arguments = arguments.replace("install", "policy check");
    let mut zeros = std::iter::repeat(vec![0; 1 << 16]);
    world.run_with_input(&arguments, &mut zeros).refused(4, "format");
    let bundle = world.read("v2.sbb");
    let mut endless = std::iter::once(bundle).chain(std::iter::repeat(vec![0; 1 << 16]));
    world.run_with_input(&arguments, &mut endless).refused(4, "trailing");
    let longer = [world.read("v2.sbb"), vec![0]].concat();
    world.write("bad.sbb", longer);
    attack(&world, "bad.sbb", "", 4, "trailing");
}

#[test]
fn flipped_bits_are_refused() {
    let world = World::running();
    let bundle = world.read("v2.sbb");
    let (_, end) = manifest_at(&bundle);
    for at in (0..end).step_by(37).chain((end..bundle.len()).step_by(40_009)) {
        let mut bad = bundle.clone();
        bad[at] ^= 1 << (at % 8);
        world.write("bad.sbb", &bad);
        let run = world.run("verify bad.sbb --roots keys/roots.toml --json");
        assert_eq!(run.code, 4, "byte {at}: {run:?}");
    }
    let mut bad = bundle.clone();
    bad[end + 100_000] ^= 1;
    world.write("bad.sbb", &bad);
    attack(&world, "bad.sbb", "", 4, "content");
    attack(&world, "bad.sbb", "--stream", 4, "content");
}

#[test]
fn files_of_any_kind_never_cause_a_panic() {
    let world = World::running();
    world.write("empty", "");
    world.write("noise", noise(1, 10_000));
    world.write("zeros", vec![0; 100_000]);
    for file in ["empty", "noise", "zeros", "keys", "missing", "/dev/null", "v2.sbb", "proof"] {
        for command in [
            format!("inspect {file}"),
            format!("verify {file} --roots keys/roots.toml"),
            format!("verify v2.sbb --roots {file}"),
            format!("keyset show {file}"),
            format!("disk show {file}"),
            format!("status --disk {file}"),
            format!("boot --disk {file} {TRUST}"),
            format!("scrub --disk {file} {TRUST}"),
            format!("install {file} --disk disk.img {TRUST} --proof proof"),
            format!("install v2.sbb --disk {file} {TRUST} --offline"),
            format!("mark-good --disk {file} --proof proof"),
            format!("pack --config {file} --out out.sbb"),
        ] {
            let run = world.run(&command);
            let sound =
                ["inspect v2.sbb", "verify v2.sbb --roots keys/", "install v2.sbb --disk disk.img"];
            if sound.iter().any(|start| command.starts_with(start)) && file == "v2.sbb" {
                assert_eq!(run.code, 0, "{command}: {run:?}");
                continue;
            }
            assert!(matches!(run.code, 1 | 2 | 4), "{command}: {run:?}");
            assert!(!run.stderr.is_empty(), "{command}");
        }
        if file != "proof" {
            let run = world.run(&format!("mark-good --disk disk.img --proof {file}"));
            assert!(matches!(run.code, 1 | 2 | 4), "{file}: {run:?}");
        }
    }
}

#[test]
fn damaged_records_are_told_not_fatal() {
    let world = World::running();
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let start = shown["partitions"][0]["offset"].as_u64().unwrap() as usize;
    let place = |number: usize| start + number * (1 << 20);
    let mut disk = world.read("disk.img");
    // One of them, which may have held the newest record.
    let status = world.run("status --disk disk.img --json").expect(0).json();
    let copies = status["copies"].as_array().unwrap();
    assert_eq!(copies.len(), 3, "{status}");
    let is_older =
        |copy: &Value| copy["state"] == "valid" && copy["sequence"] != status["sequence"];
    let older = copies.iter().position(is_older).unwrap();
    let at = place(older);
    let mut one = disk.clone();
    one[at..at + 512].copy_from_slice(&noise(3, 512));
    world.write("disk.img", &one);
    let shown = world.run("status --disk disk.img").expect(0).stdout;
    assert!(shown.contains(&format!("copy {older} is damaged")), "{shown}");
    assert!(shown.contains("the last change may be lost"), "{shown}");
    // The newest is destroyed, or blank: the hold that it had is gone, and nothing says otherwise.
    world.write("disk.img", &disk);
    world.run("hold --until forever --disk disk.img").expect(0);
    let status = world.run("status --disk disk.img --json").expect(0).json();
    let is_newest = |copy: &Value| copy["sequence"] == status["sequence"];
    let newest = status["copies"].as_array().unwrap().iter().position(is_newest).unwrap();
    let held = world.read("disk.img");
    for (bytes, what) in [(noise(3, 4096), "damaged"), (vec![0; 4096], "blank although")] {
        let mut one = held.clone();
        one[place(newest)..place(newest) + 4096].copy_from_slice(&bytes);
        world.write("disk.img", &one);
        let shown = world.run("status --disk disk.img").expect(0).stdout;
        for part in [
            &format!("copy {newest} is {what}"),
            "the last change may be lost: check hold, bad slots and rollback",
            "hold           none",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("nothing is lost"), "{shown}");
    }
    for at in [0, 1, 2].map(place) {
        disk[at..at + 512].copy_from_slice(&noise(3, 512));
    }
    world.write("disk.img", &disk);
    let status = world.run("status --disk disk.img --json").expect(0).json();
    assert_eq!(status["choice"], "lost");
    let shown = world.run("status --disk disk.img").expect(0).stdout;
    assert!(shown.contains("holds and the list of failed updates are gone"), "{shown}");
    let disk = format!("--disk disk.img {TRUST} --proof proof --json");
    world.run(&format!("install v2.sbb {disk}")).refused(3, "record-lost");
    world.run("mark-bad b --disk disk.img --json").refused(3, "record-lost");
    world.boots("1.0.0");
    assert_eq!(world.slot("a")["state"], "good");
}

/// The message advised to give the proof of the boot that runs, and the user had given that one.
#[test]
fn a_boot_that_the_record_has_lost_is_confirmed_after_a_restart() {
    let world = World::running();
    world.run(&format!("install v2.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("2.0.0");
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let newest = shown["copies"]
        .as_array()
        .unwrap()
        .iter()
        .position(|copy| copy["sequence"] == shown["sequence"])
        .unwrap();
    let at = shown["partitions"][0]["offset"].as_u64().unwrap() as usize + newest * (1 << 20);
    let mut disk = world.read("disk.img");
    disk[at..at + 512].copy_from_slice(&noise(3, 512));
    world.write("disk.img", &disk);
    for (command, kind) in [
        ("mark-good --disk disk.img --proof proof".to_owned(), "confirm"),
        (format!("install v3.sbb --disk disk.img {TRUST} --proof proof"), "proof"),
    ] {
        let text = world.run(&format!("{command} --json")).refused(4, kind).stdout;
        for part in ["does not know of the boot", "newest copy may be lost", "restart"] {
            assert!(text.contains(part), "{command}: {text}");
        }
        assert!(!text.contains("give the proof"), "{command}: {text}");
    }
    world.boots("2.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
}

#[test]
fn closed_pipes_are_no_failure() {
    let world = World::running();
    let mut command = crate::support::tool(Path::new(world.folder()), "inspect v2.sbb");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = command.stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = crate::support::tool(Path::new(world.folder()), "inspect v2.sbb");
    assert_eq!(command.stdout(full).status().unwrap().code(), Some(1));
}

/// An odd character in a wrong command line, and a standard error that takes nothing: that was a panic.
#[test]
fn usage_errors_that_cannot_be_written_are_no_panic() {
    let world = World::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [&["nosuch\u{1b}"][..], &["--nosuch", "\u{9b}"], &["nosuch"]] {
        let mut command = crate::support::tool(world.folder(), "");
        let command = command.args(arguments);
        assert_eq!(command.stderr(full()).status().unwrap().code(), Some(2), "{arguments:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(command.stderr(writer).status().unwrap().code(), Some(2), "{arguments:?}");
    }
    // Help that did not get out is no help.
    for arguments in ["--help", "--version", "pack --help"] {
        let mut command = crate::support::tool(world.folder(), arguments);
        assert_eq!(command.stdout(full()).status().unwrap().code(), Some(1), "{arguments}");
    }
}
