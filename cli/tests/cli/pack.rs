//! Keys and bundles: reproducible, whole or not there, and never written over a file that matters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{TRUST, World, noise, program};

#[test]
fn same_input_gives_the_same_bytes() {
    let world = World::new();
    world.pack_small(1);
    let first = world.read("v1.sbb");
    world.pack_small(1);
    assert!(first == world.read("v1.sbb"));
    world.write(
        "bundle.toml",
        "class = 'm1'\nversion = '1.0.0'\nsequence = 1\nroots = 'keys/roots.toml'\n\
         keyset = 'keys/keyset.sbk'\nkey = ['keys/release-1.pem']\ncmdline = 'panic=1'\n\
         kernel = 'kernel'\n[[component]]\nrole = 'initramfs'\nfile = 'initramfs'\n",
    );
    // Components of the file's list come after those with a name of their own.
    world.run("pack --config bundle.toml --out v1.sbb").expect(0);
    let from_file = world.run("inspect v1.sbb --json").expect(0).json();
    let roles: Vec<_> = from_file["manifest"]["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| component["role"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(roles, ["kernel", "cmdline", "initramfs"]);
}

#[test]
fn options_override_the_file() {
    let world = World::new();
    fs::create_dir(world.path("deep")).unwrap();
    world.write("deep/kernel", "kernel");
    world.write(
        "deep/bundle.toml",
        "class = 'm1'\nversion = '1.0.0'\nsequence = 1\nproduct = 'gateway'\n\
         keyset = '../keys/keyset.sbk'\nkey = ['../keys/release-1.pem']\nkernel = 'kernel'\n\
         channel = '5.0/edge/fix-1'\nsecurity = true\nlevel = 4\nrevision = '2,3'\n\
         not-after = '2030-01-01'\nreads-epochs = '1,3'\nrollout = 10\nmin-from = '0.9.0'\n\
         architecture = 'aarch64'\nchunk-size = '4K'\n",
    );
    world.run("pack --config deep/bundle.toml --version 2.0.0 --out v.sbb").expect(0);
    let view = world.run("inspect v.sbb --json").expect(0).json();
    let manifest = &view["manifest"];
    assert_eq!(view["verified"], false);
    for (field, value) in [
        ("version", "2.0.0".into()),
        ("channel", "5.0/edge/fix-1".into()),
        ("level", 4.into()),
        ("revision", serde_json::json!({ "min": 2, "max": 3 })),
        ("not_after", 1_893_456_000.into()),
        ("epochs", serde_json::json!({ "reads_min": 1, "reads_max": 3, "writes": 3 })),
        ("rollout", 10.into()),
        ("flags", serde_json::json!(["security"])),
        ("min_from", "0.9.0".into()),
        ("architecture", "aarch64".into()),
        ("chunk_size", 4096.into()),
    ] {
        assert_eq!(manifest[field], value, "{field}");
    }
    world.run("verify v.sbb --roots keys/roots.toml").expect(0);
}

#[test]
fn settings_that_cannot_be_are_usage() {
    let world = World::new();
    world.write("kernel", "kernel");
    world.write("empty", "");
    world.write("two-lines", "a\nb\n");
    world.write("long", noise(1, 5000));
    let fine = "--kernel kernel";
    for wrong in [
        "",
        "--kernel empty",
        "--kernel keys",
        "--kernel kernel --component role=kernel,file=kernel",
        "--component role=firmware,file=kernel",
        "--component role=kernel",
        "--component role=kernel,file=kernel,load=flash",
        "--component role=kernel,file=kernel,slot=d",
        "--component role=kernel,role=data,file=kernel",
        "--component role=kernel,file=kernel,file=long",
        "--component role=kernel,file=kernel,load=xip,load=ram",
        "--component role=kernel,file=kernel,slot=a,slot=b",
        "--component kernel",
        "--kernel kernel --cmdline-file two-lines",
        "--kernel kernel --cmdline-file long",
        "--kernel kernel --cmdline-file empty",
        &format!("{fine} --channel stable"),
        &format!("{fine} --channel latest/daring"),
        &format!("{fine} --channel a-track-that-is-too-long/stable"),
        &format!("{fine} --chunk-size 5000"),
        &format!("{fine} --chunk-size 2M"),
        &format!("{fine} --revision 3,2"),
        &format!("{fine} --rollout 101"),
        &format!("{fine} --min-from one"),
        &format!("{fine} --not-after soon"),
        &format!("{fine} --architecture z80"),
        &format!("{fine} --product other"),
        &format!("{fine} --single-key"),
        &format!("{fine} --level 4294967295"),
        &format!("{fine} --reads-epochs 1,2 --writes-epoch 3"),
    ] {
        let run = world.pack(1, &format!("{wrong} --json"));
        assert_eq!(run.code, 2, "{wrong}: {run:?}");
        assert_eq!(run.json()["exit"], 2);
        assert!(!world.path("v1.sbb").exists(), "{wrong}");
    }
    for version in
        ["1/0", "1.0.0 ", "", "1.0.0\u{e4}", "1.0.0-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
    {
        let run = world.run_exact(&[
            "pack",
            "--product",
            "gateway",
            "--class",
            "m1",
            "--version",
            version,
            "--sequence",
            "1",
            "--kernel",
            "kernel",
            "--keyset",
            "keys/keyset.sbk",
            "--key",
            "keys/release-1.pem",
            "--out",
            "v1.sbb",
        ]);
        assert_eq!(run.code, 2, "{version}: {run:?}");
    }
    for toml in ["nonsense", "unknown = 1", "[[component]]\nrole = 'firmware'\nfile = 'x'\n"] {
        world.write("bundle.toml", toml);
        world.pack(1, "--kernel kernel --config bundle.toml").expect(2);
    }
}

/// Each was packed, and then refused by every device, or by none until it was too late.
#[test]
fn what_no_loader_starts_is_refused_with_the_reason() {
    let world = World::new();
    world.write("kernel", "kernel");
    world.write("byte", "x");
    world.write("root", "root");
    world.write("longest", "x".repeat(1800));
    world.write("longer", "x".repeat(2000));
    for (name, bytes) in [
        ("quote", "root=\"/dev/sda1 quiet"),
        ("proof", "quiet stillboot.proof=1:a"),
        ("umlaut", "name=\u{e4}"),
        ("tab", "quiet\tsplash"),
        ("bom", "\u{feff}quiet"),
        ("lines", "quiet\nsplash"),
    ] {
        world.write(name, bytes);
    }
    let late = "--component role=kernel,file=kernel,load=late";
    for (options, reason) in [
        ("--kernel kernel --cmdline-file quote", "double quotes"),
        ("--kernel kernel --cmdline-file proof", "stillboot.proof="),
        ("--kernel kernel --cmdline-file umlaut", "printable ASCII"),
        ("--kernel kernel --cmdline-file tab", "printable ASCII"),
        ("--kernel kernel --cmdline-file bom", "printable ASCII"),
        ("--kernel kernel --cmdline-file lines", "printable ASCII"),
        ("--kernel kernel --cmdline-file longer", "expected at most"),
        ("--kernel kernel --dtb-required", "no set"),
        ("--kernel kernel --dtbs byte", "set of device trees"),
        (late, "load class late"),
        ("--component role=kernel,file=kernel,slot=recovery", "linked for slot recovery"),
        (
            "--component role=kernel,file=kernel,slot=a --component role=data,file=byte,slot=b",
            "in slot b, it has no kernel",
        ),
    ] {
        for force in ["", "--force"] {
            let run = world.pack(1, &format!("{options} {force} --json")).refused(2, "usage");
            assert!(run.json()["error"].as_str().unwrap().contains(reason), "{options}: {run:?}");
        }
        assert!(!world.path("v1.sbb").exists(), "{options}");
    }
    world.pack(1, "--kernel kernel --cmdline-file longest").expect(0);
    // A program takes what it likes.
    world.pack(1, "--image kernel --cmdline-file quote").expect(0);
    for (options, reason) in [
        ("--image kernel --kernel kernel --cmdline-file quote", "double quotes"),
        ("--image kernel --kernel kernel --cmdline-file proof", "stillboot.proof="),
    ] {
        let run = world.pack(1, &format!("{options} --json")).refused(2, "usage");
        assert!(run.json()["error"].as_str().unwrap().contains(reason), "{options}: {run:?}");
    }
    let of = |slot: &str| format!("--component role=cmdline,file=longest,slot={slot}");
    world.pack(1, &format!("--kernel kernel {} {}", of("a"), of("b"))).expect(0);
    let alone = "--component role=kernel,file=kernel,slot=b";
    let run = world.pack(1, &format!("{alone} {}", of("b"))).expect(0);
    assert!(run.stderr.contains("for slot b alone"), "{run:?}");
    // What is plainly no kernel is said.
    world.write("pe", [&b"MZ"[..], &[0; 100]].concat());
    world.write("arm", [&[0; 56][..], b"ARM\x64", &[0; 100]].concat());
    for (architecture, kernel, is_one) in [
        ("x86_64", "pe", true),
        ("x86_64", "arm", false),
        ("x86_64", "kernel", false),
        ("aarch64", "pe", true),
        ("aarch64", "arm", true),
        ("aarch64", "kernel", false),
        ("riscv64", "kernel", true),
    ] {
        let options = format!("--kernel {kernel} --architecture {architecture}");
        let run = world.pack(1, &options).expect(0);
        assert_eq!(
            !run.stderr.contains("expected an image for UEFI"),
            is_one,
            "{options}: {run:?}"
        );
    }
    // What is merely odd and may be wanted.
    for (options, reason) in [
        ("--image kernel --architecture x86_64", "nothing would start"),
        ("--image kernel --architecture aarch64", "nothing would start"),
        (
            "--kernel kernel --component role=initramfs,file=root,slot=b",
            "slot a would start without the initramfs that slot b has",
        ),
        (
            &format!("--kernel kernel {} {}", of("a"), of("c")),
            "slot b would start without the cmdline",
        ),
        ("--rootfs root", "nothing would start"),
        ("--data root", "nothing would start"),
        ("--kernel kernel --not-after 2025-06-01", "expired already, at 2025-06-01T00:00:00Z"),
        ("--kernel kernel --min-from 1.0.1", "min-from"),
    ] {
        let run = world.pack(1, &format!("{options} --json")).refused(2, "usage");
        assert!(run.json()["error"].as_str().unwrap().contains(reason), "{options}: {run:?}");
        let run = world.pack(1, &format!("{options} --force")).expect(0);
        assert!(run.stderr.contains("warning"), "{run:?}");
        world.run("verify v1.sbb --roots keys/roots.toml").expect(0);
    }
}

/// Field errors had the names of the program's own types in them, and no value.
#[test]
fn field_errors_name_field_value_and_bound() {
    let world = World::new();
    world.write("kernel", "kernel");
    for (options, words) in [
        ("--level 4294967295", &["level", "4294967294", "4294967295"][..]),
        ("--reads-epochs 1,2 --writes-epoch 3", &["writes-epoch", "1 to 2", "3"]),
        ("--channel a-track-that-is-too-long/stable", &["channel", "16", "24"]),
        ("--reads-epochs 3,1", &["reads-epochs", "MIN not above MAX", "3,1"]),
        ("--revision 3,1", &["revision", "65535", "3,1"]),
        ("--not-after 9999-12-31", &["not-after", "9999-12-30T22:00:00Z", "9999-12-31`"]),
        ("--level=+1", &["--level", "0 to 4294967295", "+1"]),
        ("--rollout 101", &["rollout", "0 to 100", "101"]),
        ("--min-from v1", &["min-from", "semantic", "v1"]),
        ("--not-after 20300131", &["2030-01-31T12:00:00Z", "dashes"]),
        ("--component role=kernel,file=kernel", &["role of a component", "twice"]),
    ] {
        let run = world.pack(1, &format!("--kernel kernel {options} --json")).expect(2);
        let error = run.json()["error"].as_str().unwrap().to_owned();
        for word in words {
            assert!(error.contains(word), "{options}: {error}");
        }
        assert!(!error.contains("Field") && !error.contains("Epochs"), "{error}");
    }
}

/// Versions of all sorts are labels; only rules that compare them need more.
#[test]
fn versions_of_any_form_are_packed_and_ordered_by_sequence() {
    let world = World::new();
    world.run("disk create disk.img --slot-size 1M --slots 2").expect(0);
    let versions = ["v1.0.0", "1.2", "1.2.3.4", "2025.01.15", "2.0~rc1", "20250115", "jammy"];
    for (number, version) in versions.iter().enumerate() {
        world.write("kernel", noise(number as u64, 5000));
        world
            .run(&format!(
                "pack {TRUST} --version {version} --sequence {number} --kernel kernel \
                 --keyset keys/keyset.sbk --key keys/release-1.pem --out v.sbb"
            ))
            .expect(0);
        world.run("verify v.sbb --roots keys/roots.toml --class m1").expect(0);
        let runs = if number == 0 { "--offline" } else { "--proof proof" };
        world.run(&format!("install v.sbb --disk disk.img {TRUST} {runs}")).expect(0);
        world.boots(version);
        world.run("mark-good --disk disk.img --proof proof").expect(0);
        world.boots(version);
    }
    // Rules that compare say why they cannot.
    world.pack(9, "--kernel kernel").expect(0);
    let install = format!("install v9.sbb --disk disk.img {TRUST} --proof proof --json");
    let run = world.run(&format!("{install} --versions minor")).refused(4, "version");
    assert!(run.stdout.contains("no semantic version"), "{run:?}");
    world.pack(10, "--kernel kernel --min-from 1.0.0").expect(0);
    let run = world.run(&install.replace("v9", "v10")).refused(4, "min-from");
    assert!(run.stdout.contains("cannot be compared"), "{run:?}");
    world.run(&install).expect(0);
}

#[test]
fn bundle_is_whole_or_not_there() {
    let world = World::new();
    world.pack_small(1);
    let before = world.read("v1.sbb");
    // The new kernel is missing: what stood there still does, and nothing else is left behind.
    let run = world.run(&format!(
        "pack {TRUST} --version 1.0.0 --sequence 1 --keyset keys/keyset.sbk \
         --key keys/release-1.pem --out v1.sbb --kernel missing --json"
    ));
    run.refused(1, "io");
    assert!(before == world.read("v1.sbb"));
    // A file system that takes no more.
    let full = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh"])
        .arg(program())
        .args(["pack", "--class", "m1", "--version", "1.0.0", "--sequence", "1"])
        .args(["--product", "gateway", "--keyset", "keys/keyset.sbk"])
        .args(["--key", "keys/release-1.pem", "--kernel", "kernel", "--out", "v1.sbb"])
        .current_dir(world.folder())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(before == world.read("v1.sbb"));
    let left: Vec<_> = fs::read_dir(world.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn keys_are_for_their_owner_and_never_overwritten() {
    let world = World::new();
    let secret = fs::metadata(world.path("keys/root-1.pem")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    let before = world.read("keys/release-1.pem");
    world.run("keygen --out keys --product gateway --json").refused(1, "exists");
    fs::remove_file(world.path("keys/root-1.pem")).unwrap();
    world.run("keygen --out keys --product gateway").expect(1);
    assert!(!world.path("keys/root-1.pem").exists());
    assert!(before == world.read("keys/release-1.pem"));
}

#[test]
fn thresholds_are_kept() {
    let world = World::new();
    world
        .run(
            "keygen --out k --product p --roots 3 --threshold 2 --releases 2 --release-threshold 2",
        )
        .expect(0);
    for (arguments, code) in [
        ("--roots 2 --threshold 3", 2),
        ("--roots 5", 2),
        ("--releases 1 --release-threshold 2", 2),
        ("--roots 0", 2),
    ] {
        world.run(&format!("keygen --out other --product p {arguments}")).expect(code);
        assert!(!world.path("other").exists());
    }
    world.write("kernel", "kernel");
    let pack = "pack --roots k/roots.toml --class c --version 1.0.0 --sequence 1 --kernel kernel \
                --keyset k/keyset.sbk --out v.sbb";
    // One signature of two may be packed, with a warning, and is not enough.
    let run = world.run(&format!("{pack} --key k/release-1.pem")).expect(0);
    assert!(run.stderr.contains("warning"), "{run:?}");
    world.run("verify v.sbb --roots k/roots.toml --json").refused(4, "trust");
    world.run(&format!("{pack} --key k/release-1.pem --key k/release-1.pem")).expect(1);
    world.run(&format!("{pack} --key k/release-1.pem --key k/release-2.pem")).expect(0);
    world.run("verify v.sbb --roots k/roots.toml --class c").expect(0);
    world.run("verify v.sbb --roots keys/roots.toml --json").refused(4, "trust");
    world.run("verify v.sbb --roots k/roots.toml --class d --json").refused(4, "class");
    let shown = world.run("keyset show k/keyset.sbk --roots k/roots.toml --json").expect(0).json();
    assert_eq!(shown["keyset"]["thresholds"]["release"], 2);
    world.run("keyset show k/keyset.sbk --roots keys/roots.toml --json").refused(4, "trust");
    // A key that no device would count.
    world.run(&format!("{pack} --key k/recovery-1.pem --json")).refused(1, "key");
    world.run(&format!("{pack} --key keys/release-1.pem --json")).refused(1, "key");
}

/// Its magic bytes were called wrong.
#[test]
fn a_bundle_without_a_keyset_is_refused_for_what_it_is() {
    let world = World::running();
    world.write("kernel", noise(1, 9000));
    world
        .run(
            "pack --product gateway --class m1 --single-key --key keys/release-1.pem \
             --version 1.0.0 --sequence 1 --kernel kernel --out sk.sbb",
        )
        .expect(0);
    for run in [
        format!("verify sk.sbb {TRUST} --json"),
        format!("install sk.sbb --disk disk.img {TRUST} --proof proof --json"),
    ] {
        let text = world.run(&run).refused(4, "trust").json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains("it was packed with --single-key"), "{text}");
    }
}
