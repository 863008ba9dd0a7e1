//! Files of all kinds: names that are no text, keys in every form, outputs that must not overwrite
//! an input, a disk that is full, a command that is ended.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use stillboot::format::{Slot, SlotState};
use stillboot::record::inspect;

use crate::support::{TRUST, World, has_lab, noise, program, tool};

/// JSON has no name that is no UTF-8: six commands were aborted by one, after the work was done.
#[test]
fn names_that_are_no_text_do_not_end_a_command() {
    let world = World::with_keys("--channel 1 --sign-off 1");
    world.write("kernel", noise(1, 5000));
    world.pack(1, "--kernel kernel").expect(0);
    let odd = |name: &[u8]| OsStr::from_bytes(name).to_owned();
    let name = |end: &str| odd(&[b"\xff\xfe-", end.as_bytes()].concat());
    fs::copy(world.path("v1.sbb"), world.folder().join(name("in.sbb"))).unwrap();
    fs::copy(world.path("keys/keyset.sbk"), world.folder().join(name("keyset.sbk"))).unwrap();
    let commands: [(&str, Vec<(&str, OsString)>); 9] = [
        ("keygen --product p", vec![("--out", name("keys"))]),
        (
            "pack --roots keys/roots.toml --class m1 --version 1.0.0 --sequence 1 --kernel kernel \
             --keyset keys/keyset.sbk --key keys/release-1.pem",
            vec![("--out", name("out.sbb"))],
        ),
        (
            "sign v1.sbb --role edge-release --key keys/release-1.pem",
            vec![("--out", name("signed.sbb"))],
        ),
        ("verify --roots keys/roots.toml", vec![("", name("in.sbb"))]),
        ("inspect", vec![("", name("in.sbb"))]),
        (
            "statement sign-off v1.sbb --name t --roots keys/roots.toml --key keys/sign-off-1.pem",
            vec![("--out", name("s.sbs"))],
        ),
        ("disk create", vec![("", name("disk.img"))]),
        ("keyset show", vec![("", name("keyset.sbk"))]),
        (
            "keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \
             --threshold release=1",
            vec![("--out", name("next.sbk"))],
        ),
    ];
    for (command, paths) in commands {
        let mut run = tool(world.folder(), command);
        run.arg("--json");
        for (option, path) in paths {
            if !option.is_empty() {
                run.arg(option);
            }
            run.arg(path);
        }
        let done = run.output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.code().is_some_and(|code| code < 6), "{command}: {:?}", done.status);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{command}: {text}");
    }
}

/// The second block was skipped: a root was lost without a message.
#[test]
fn two_keys_in_one_file_are_refused() {
    let world = World::new();
    world.run("keygen --out other --product gateway").expect(0);
    world.write("kernel", "kernel");
    let both = |one: &str, two: &str| [world.read(one), world.read(two)].concat();
    world.write("both.pem", both("keys/release-1.pem", "other/release-1.pem"));
    let pack = "pack --roots keys/roots.toml --class m1 --version 1.0.0 --sequence 1 \
                --kernel kernel --keyset keys/keyset.sbk --out v.sbb --json --key";
    let run = world.run(&format!("{pack} both.pem")).refused(1, "key");
    assert!(run.stdout.contains("several"), "{run:?}");
    // The same within one string of the roots.
    let roots = String::from_utf8(world.read("keys/roots.toml")).unwrap();
    let more = String::from_utf8(world.read("other/root-1.pub.pem")).unwrap();
    let end = "-----END PUBLIC KEY-----";
    let text = roots.replacen(end, &format!("{end}\n{}", more.trim_end()), 1);
    world.write("roots.toml", text);
    let verify = "keyset show keys/keyset.sbk --roots roots.toml --json";
    world.run(verify).refused(1, "roots");
    world.write("roots.toml", roots.replace("product = \"gateway\"", "product = \"\""));
    let run = world.run(verify).refused(1, "roots");
    assert!(run.stdout.contains("the product's name"), "{run:?}");
    world.write("both.pub.pem", both("keys/root-1.pub.pem", "other/root-1.pub.pem"));
    let signer = format!("{pack} keys/release-1.pem --signer true --public both.pub.pem");
    world.run(&signer).refused(1, "key");
    // Text around the one block is common.
    let key = String::from_utf8(world.read("keys/release-1.pem")).unwrap();
    world.write("dressed.pem", format!("ED25519 Private-Key:\n{key}\nlast line\n"));
    world.run(&format!("{pack} dressed.pem")).expect(0);
}

/// Of the RFC, with a public key behind the private one, and of openssl with a passphrase.
#[test]
fn keys_of_both_versions_and_encrypted_ones_are_read() {
    let world = World::new();
    world.write("kernel", "kernel");
    // RFC 8410, section 10.3.
    world.write(
        "v2.pem",
        "-----BEGIN PRIVATE KEY-----\n\
         MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
         oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
         Z9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PRIVATE KEY-----\n",
    );
    world.write(
        "v2.pub.pem",
        "-----BEGIN PUBLIC KEY-----\n\
         MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    );
    world
        .run(
            "keyset create --roots keys/roots.toml --root keys/root-1.pem --out ks.sbk \
             --key v2.pub.pem:release",
        )
        .expect(0);
    let pack = "pack --roots keys/roots.toml --class m1 --version 1.0.0 --sequence 1 \
                --kernel kernel --out v.sbb --json";
    world.run(&format!("{pack} --keyset ks.sbk --key v2.pem")).expect(0);
    world.run("verify v.sbb --roots keys/roots.toml").expect(0);

    let openssl = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-in", "keys/release-1.pem", "-out", "locked.pem"])
        .args(["-passout", "pass:open sesame"])
        .current_dir(world.folder())
        .status();
    assert!(openssl.expect("openssl is there").success());
    let pack = format!("{pack} --keyset keys/keyset.sbk --key locked.pem");
    world.write("word", "open sesame\n");
    world.run(&format!("{pack} --passphrase-file word")).expect(0);
    world.run("verify v.sbb --roots keys/roots.toml").expect(0);
    world.write("wrong", "open barley\n");
    let run = world.run(&format!("{pack} --passphrase-file wrong")).refused(1, "key");
    assert!(run.stdout.contains("does not open"), "{run:?}");
    assert!(run.stdout.contains("read from wrong"), "{run:?}");
    let run = world.run(&format!("{pack} --passphrase-file gone"));
    assert!(run.code == 1 && run.stdout.contains("gone"), "{run:?}");
}

/// A program that signs a file, at a place with a space in its name.
#[test]
fn signers_may_be_openssl_and_stand_in_quotes() {
    let world = World::new();
    world.write("kernel", "kernel");
    fs::create_dir(world.path("my keys")).unwrap();
    fs::copy(world.path("keys/release-1.pem"), world.path("my keys/one.pem")).unwrap();
    let pack = |signer: &str| {
        world.run_exact(&[
            "pack",
            "--roots",
            "keys/roots.toml",
            "--class",
            "m1",
            "--version",
            "1.0.0",
            "--sequence",
            "1",
            "--kernel",
            "kernel",
            "--keyset",
            "keys/keyset.sbk",
            "--out",
            "v.sbb",
            "--json",
            "--signer",
            signer,
            "--public",
            "keys/release-1.pub.pem",
        ])
    };
    pack("openssl pkeyutl -sign -rawin -inkey 'my keys/one.pem' -in {}").expect(0);
    world.run("verify v.sbb --roots keys/roots.toml").expect(0);
    let run = pack("openssl pkeyutl -inkey 'my keys/one.pem").refused(1, "key");
    assert!(run.stdout.contains("quote"), "{run:?}");
}

/// Unsigned bytes of the record, and signed ones of a command line, reached the terminal.
#[test]
fn nothing_that_is_shown_acts_on_the_terminal() {
    let world = World::running();
    let mut disk = world.read("disk.img");
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let partitions = shown["partitions"].as_array().unwrap();
    let record = partitions.iter().find(|p| p["name"] == "stillboot-record").unwrap();
    let start = record["offset"].as_u64().unwrap() as usize;
    let half = record["length"].as_u64().unwrap() as usize / 2;
    let mut forged = 0;
    for at in [start, start + half] {
        let (_, Some(mut record)) = inspect(&disk[at..at + 1024]) else { continue };
        let entry = record.body.slot_mut(Slot::B);
        entry.state = SlotState::Good;
        entry.version = "1\nslot a  9\u{1b}[2J".parse().unwrap();
        let mut bytes = [0; 1024];
        let len = record.emit(&mut bytes).unwrap();
        disk[at..at + len].copy_from_slice(&bytes[..len]);
        forged += 1;
    }
    assert!(forged > 0);
    world.write("disk.img", disk);
    for command in ["status --disk disk.img", "disk show disk.img"] {
        let run = world.run(command).expect(0);
        assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
        let of_a = run.stdout.lines().filter(|line| line.starts_with("slot a ")).count();
        assert_eq!(of_a, 1, "{run:?}");
    }
}

#[test]
fn no_input_is_written_over() {
    let world = World::new();
    world.write("kernel", noise(1, 5000));
    symlink("kernel", world.path("link")).unwrap();
    world.pack(1, "--kernel kernel").expect(0);
    let before = (world.read("kernel"), world.read("keys/release-1.pem"), world.read("v1.sbb"));
    let pack = format!(
        "pack {TRUST} --version 1.0.0 --sequence 1 --kernel kernel --keyset keys/keyset.sbk \
         --key keys/release-1.pem --json"
    );
    for command in [
        format!("{pack} --out kernel"),
        format!("{pack} --out link"),
        format!("{pack} --out keys/release-1.pem"),
        format!("{pack} --out keys/roots.toml"),
        format!("{pack} --out -"),
        "sign v1.sbb --key keys/release-1.pem --out keys/release-1.pem --json".into(),
    ] {
        let run = world.run(&command);
        assert!(matches!(run.code, 1 | 2), "{command}: {run:?}");
        if run.code == 2 && !command.contains("--out -") {
            assert!(run.stdout.contains("--out: expected another file"), "{command}: {run:?}");
        }
    }
    assert!(!world.path("-").exists());
    assert!(
        before == (world.read("kernel"), world.read("keys/release-1.pem"), world.read("v1.sbb"))
    );
}

/// Every file that any command reads, as its output.
#[test]
fn no_command_writes_over_what_it_reads() {
    let world = World::with_keys("--releases 2 --channel 1 --sign-off 1 --approver 1");
    world.write("kernel", noise(1, 5000));
    world.pack(1, "--kernel kernel").expect(0);
    world.write("word", "word\n");
    world.write("rel.toml", "[promote]\nstable = { sign_offs = [] }\n");
    fs::create_dir(world.path("trees")).unwrap();
    world.write("t.dts", "/dts-v1/; / { compatible = \"c\"; };");
    let dtc = Command::new("dtc")
        .args(["-q", "-O", "dtb", "-o", "trees/t.dtb", "t.dts"])
        .current_dir(world.folder())
        .status();
    assert!(dtc.expect("dtc is there").success());
    world.write("trees/m.json", r#"{"type": "uefi-fw", "name": "m", "compatible": "c"}"#);
    let signer = "--signer true --public keys/release-1.pub.pem";
    let pack = format!(
        "pack {TRUST} --version 1.0.0 --sequence 1 --kernel kernel --keyset keys/keyset.sbk \
         --key keys/release-1.pem --passphrase-file word"
    );
    let promote = "promote v1.sbb --roots keys/roots.toml --policy rel.toml --to latest/stable \
                   --rollout 50 --key keys/channel-1.pem --passphrase-file word";
    world.run(&format!("{promote} --out old.sbs")).expect(0);
    let promote = promote.replace("50", "60") + " --statement old.sbs";
    let state = |what: &str, key: &str| {
        format!("statement {what} v1.sbb --roots keys/roots.toml --key keys/{key}-1.pem")
    };
    let set = "keyset create --roots keys/roots.toml --root keys/root-1.pem \
               --passphrase-file word --key keys/release-1.pub.pem:release";
    let next = "keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \
                --add keys/root-1.pub.pem:channel";
    let commands = [
        (pack.clone(), &["kernel", "keys/keyset.sbk", "keys/release-1.pem", "word"][..]),
        (pack, &["keys/roots.toml"]),
        ("sign v1.sbb --key keys/release-2.pem --passphrase-file word".into(), &["word"]),
        (set.into(), &["keys/root-1.pem", "word", "keys/release-1.pub.pem", "keys/roots.toml"]),
        (next.into(), &["keys/keyset.sbk", "keys/root-1.pub.pem"]),
        (promote, &["v1.sbb", "rel.toml", "old.sbs", "word", "keys/channel-1.pem"]),
        (state("approve", "approver"), &["v1.sbb", "keys/roots.toml", "keys/approver-1.pem"]),
        (state("sign-off --name t", "sign-off"), &["v1.sbb", "keys/sign-off-1.pem"]),
        ("dtb pack trees".into(), &["trees/t.dtb", "trees/m.json"]),
    ];
    for (command, inputs) in commands {
        for input in inputs {
            let before = world.read(input);
            let run = world.run(&format!("{command} --out {input} --json")).refused(2, "usage");
            assert!(run.stdout.contains("expected another file"), "{command} {input}: {run:?}");
            assert!(world.read(input) == before, "{command} {input}");
        }
        // It is the output alone that was wrong.
        world.run(&format!("{command} --out new")).expect(0);
        fs::remove_file(world.path("new")).unwrap();
    }
    // The public key of a program that signs.
    let roots = format!("{set} {signer} --out keys/release-1.pub.pem --json");
    let before = world.read("keys/release-1.pub.pem");
    assert!(matches!(world.run(&roots).code, 1 | 2));
    assert!(world.read("keys/release-1.pub.pem") == before);
}

/// A bundle that its owner alone could read was readable by everybody after it was signed.
#[test]
fn what_is_replaced_keeps_its_mode() {
    let world = World::new();
    world.write("kernel", "kernel");
    world.run("keygen --out k --product gateway --releases 2").expect(0);
    for mode in [0o600, 0o640, 0o664] {
        world
            .run(
                "pack --roots k/roots.toml --class m1 --version 1.0.0 --sequence 1 \
                 --kernel kernel --keyset k/keyset.sbk --key k/release-1.pem --out v.sbb",
            )
            .expect(0);
        fs::set_permissions(world.path("v.sbb"), fs::Permissions::from_mode(mode)).unwrap();
        world.run("sign v.sbb --key k/release-2.pem").expect(0);
        let found = fs::metadata(world.path("v.sbb")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode);
    }
}

/// A folder named `-` was made.
#[test]
fn keys_go_into_a_folder() {
    let world = World::new();
    world.write("file", b"");
    for (out, exit, kind) in [("-", 2, "usage"), ("file", 1, "io")] {
        let run = world.run(&format!("keygen --out {out} --product gateway --json"));
        let text = run.refused(exit, kind).json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains("expected a folder for the keys"), "{text}");
    }
    assert!(!world.path("-").exists());
}

/// `keygen` left a secret key of no bytes, and then refused to go on because of it.
/// The ids are those that `id` prints, and the keys those of the file of roots.
#[test]
fn keygen_writes_constants_for_a_class() {
    let world = World::new();
    let made = world.run("keygen --out k --product gateway --rust model-1 --json").expect(0).json();
    assert_eq!(made["rust"], "k/identity.rs");
    let text = String::from_utf8(world.read("k/identity.rs")).unwrap();
    let built = stillboot_build::Identity::read(world.path("k/roots.toml"), "model-1").unwrap();
    assert_eq!(text, built.code());
    for name in ["gateway", "model-1"] {
        let id = world.run(&format!("id {name} --json")).expect(0).json();
        let id: uuid::Uuid = id["id"].as_str().unwrap().parse().unwrap();
        assert!(text.contains(&format!("{:?}", id.into_bytes())), "{name} in {text}");
    }
    // It is never written over, and a run without the option neither makes nor minds it.
    world.run("keygen --out k2 --product gateway").expect(0);
    assert!(!world.path("k2/identity.rs").exists());
    fs::create_dir(world.path("k3")).unwrap();
    world.write("k3/identity.rs", b"mine");
    let refused = world.run("keygen --out k3 --product gateway --rust model-1").expect(1);
    assert!(refused.stderr.contains("identity.rs exists already"), "{refused:?}");
    assert_eq!(world.read("k3/identity.rs"), b"mine");
    assert!(!world.path("k3/roots.toml").exists());
    world.run("keygen --out k3 --product gateway").expect(0);
}

#[test]
fn keygen_on_a_full_disk_leaves_nothing_in_its_way() {
    let world = World::new();
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(program())
        .args(["keygen", "--out", "new", "--product", "gateway"])
        .current_dir(world.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(limited.code(), Some(1));
    world.run("keygen --out new --product gateway").expect(0);
    // The same of a process that is ended while it writes.
    let ended = Command::new("sh")
        .args(["-c", "ulimit -f 0; exec \"$@\"", "sh"])
        .arg(program())
        .args(["keygen", "--out", "other", "--product", "gateway"])
        .current_dir(world.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.code(), None, "ended by a signal");
    assert_eq!(fs::read_dir(world.path("other")).unwrap().count(), 0);
    world.run("keygen --out other --product gateway").expect(0);
    let key = fs::metadata(world.path("other/root-1.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

/// A pack that was ended left a file with a name of its own behind.
#[test]
fn an_ended_command_leaves_no_file() {
    let world = World::new();
    world.write("kernel", "kernel");
    fs::create_dir(world.path("temporary")).unwrap();
    let mut pack = Command::new(program());
    pack.args(["pack", "--roots", "keys/roots.toml", "--class", "m1", "--version", "1.0.0"])
        .args(["--sequence", "1", "--kernel", "kernel", "--keyset", "keys/keyset.sbk"])
        .args(["--signer", "sh -c 'sleep 60' {}", "--public", "keys/release-1.pub.pem"])
        .args(["--out", "v.sbb"])
        .env("TMPDIR", world.path("temporary"))
        .current_dir(world.folder())
        .stderr(Stdio::null());
    let mut child = pack.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    let names: Vec<_> = fs::read_dir(world.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') || name == "v.sbb")
        .collect();
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(fs::read_dir(world.path("temporary")).unwrap().count(), 0, "the message to sign");
}

/// A disk was made that no command could open.
#[test]
fn every_disk_that_is_made_can_be_opened() {
    let world = World::new();
    for size in ["1", "512", "1000", "4096", "8192", "20480", "65536", "66048", "1M"] {
        for more in ["", "--logical-block 4096", "--recovery-size 4096", "--rootfs-size 512"] {
            let run = world.run(&format!("disk create d.img --slot-size {size} {more} --json"));
            if run.code == 0 {
                world.run("status --disk d.img").expect(0);
                fs::remove_file(world.path("d.img")).unwrap();
            } else {
                run.refused(2, "usage");
                assert!(!world.path("d.img").exists(), "{size} {more}");
            }
        }
    }
    world.run("disk create d.img --slot-size 1M").expect(0);
}

/// The file that standard output went to was replaced, and all that was in it gone.
#[test]
fn standard_output_is_no_file_to_write_to() {
    let world = World::running();
    let pack = format!(
        "pack {TRUST} --version 9.0.0 --sequence 9 --kernel kernel --keyset keys/keyset.sbk \
         --key keys/release-1.pem --out"
    );
    symlink("/dev/stdout", world.path("link")).unwrap();
    let boot = format!("boot --disk disk.img {TRUST} --proof-out");
    let mut commands = vec![
        pack.as_str(),
        &boot,
        "keyset next keys/keyset.sbk --roots keys/roots.toml --root keys/root-1.pem \
         --threshold release=1 --out",
    ];
    if has_lab() {
        commands.push("simulate --story mark-bad --media block512 --report");
    }
    for command in commands {
        for out in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "link"]
        {
            world.write("log", "earlier\n");
            let before = world.read("disk.img");
            let log = fs::OpenOptions::new().append(true).open(world.path("log")).unwrap();
            let mut run = tool(world.folder(), &format!("{command} {out}"));
            let run = run.stdout(log).output().unwrap();
            assert_eq!(run.status.code(), Some(2), "{command} {out}: {run:?}");
            assert_eq!(world.read("log"), b"earlier\n", "{command} {out}");
            assert!(String::from_utf8_lossy(&run.stderr).contains(out), "{command}: {run:?}");
            assert!(world.read("disk.img") == before, "{command} {out}");
        }
    }
    for command in ["disk create /dev/stdout", "keygen --product p --out /dev/stdout"] {
        world.write("log", "earlier\n");
        let log = fs::OpenOptions::new().append(true).open(world.path("log")).unwrap();
        let run = tool(world.folder(), command).stdout(log).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "{command}: {run:?}");
        assert_eq!(world.read("log"), b"earlier\n", "{command}");
    }
}

/// The message had the name of a file in it that the tool meant to make on the way.
#[test]
fn an_output_in_no_folder_is_named_as_it_was_given() {
    let world = World::running();
    for out in ["none/proof", "kernel/proof", "none/further/proof"] {
        let run = world.run(&format!("boot --disk disk.img {TRUST} --proof-out {out}")).expect(1);
        assert!(run.stderr.contains(out) && !run.stderr.contains(".stillboot-"), "{out}: {run:?}");
    }
}
