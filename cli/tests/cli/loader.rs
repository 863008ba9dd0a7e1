//! Releases of the loader: packed, signed by roots, verified, and never taken for an update.

use crate::support::{TRUST, World, noise};

const PACK: &str = "pack --roots k/roots.toml --class m1 --version 3.0.0 --sequence 3 \
                    --loader-release loader.efi --out loader.sbl";
const VERIFY: &str = "verify loader.sbl --roots k/roots.toml --json";

/// Two of three roots must agree.
fn world() -> World {
    let world = World::new();
    world.run("keygen --out k --product gateway --roots 3 --threshold 2").expect(0);
    world.write("loader.efi", noise(7, 300_000));
    world
}

#[test]
fn a_release_of_the_loader_is_packed_signed_and_verified() {
    let world = world();
    let run = world.run(&format!("{PACK} --key k/root-1.pem --json")).expect(0);
    assert!(run.stderr.contains("devices want 2 signatures by root keys"), "{run:?}");
    let packed = run.json();
    assert_eq!(packed["payload"], "loader-release", "{packed}");
    assert_eq!(packed["manifest"]["components"][0]["role"], "loader", "{packed}");
    assert_eq!(packed["manifest"]["components"][0]["load"], "late", "{packed}");
    let run = world.run(VERIFY).refused(4, "trust");
    assert!(run.json()["error"].as_str().unwrap().contains("release of the loader"), "{run:?}");
    world
        .run("sign loader.sbl --roots k/roots.toml --key k/release-1.pem --json")
        .refused(1, "key");
    world.run("sign loader.sbl --key k/root-2.pem --role release --json").refused(2, "usage");
    world.run("sign loader.sbl --roots k/roots.toml --key k/root-3.pem").expect(0);
    let verified = world.run(VERIFY).expect(0).json();
    assert_eq!(verified["payload"], "loader-release", "{verified}");
    assert_eq!(verified["digest"], packed["digest"]);
    let shown = world.run("verify loader.sbl --roots k/roots.toml --class m1").expect(0).stdout;
    assert!(shown.contains("a release of the loader, verified"), "{shown}");
    world.run(&format!("{VERIFY} --class m2")).refused(4, "class");
    world.run("verify loader.sbl --roots keys/roots.toml --json").refused(4, "trust");
    let shown = world.run("inspect loader.sbl").expect(0).stdout;
    assert!(shown.contains("release of the loader loader.sbl"), "{shown}");
    let shown = world.run("inspect loader.sbl --json").expect(0).json();
    assert_eq!(shown["payload"], "loader-release", "{shown}");
    assert_eq!(shown["signers"].as_array().unwrap().len(), 2, "{shown}");
    // The same bytes as if both had packed it.
    let once = PACK.replace("loader.sbl", "once.sbl");
    world.run(&format!("{once} --key k/root-3.pem --key k/root-1.pem")).expect(0);
    assert!(world.read("once.sbl") == world.read("loader.sbl"));

    let whole = world.read("loader.sbl");
    for (at, kind) in [(60, "trust"), (200, "trust"), (whole.len() - 1, "content")] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        world.write("loader.sbl", &bytes);
        world.run(VERIFY).refused(4, kind);
    }
    for len in [100, whole.len() / 2, whole.len() - 1] {
        world.write("loader.sbl", &whole[..len]);
        world.run(VERIFY).refused(4, "ended");
    }
    world.write("loader.sbl", [&whole[..], b"x"].concat());
    world.run(VERIFY).refused(4, "trailing");
}

/// Root signatures were put onto what no device takes.
#[test]
fn sign_refuses_what_no_device_would_take() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors");
    let world = World::new();
    let sign = |file: &str, key: &str| {
        world.run(&format!("sign {file} --key {vectors}/secret-key/{key}.pem --out made --json"))
    };
    for (name, kind, part) in [
        ("a-byte-too-few", "ended", "ends too early: expected"),
        ("a-byte-too-many", "trailing", "bytes follow its end: expected"),
        ("a-kernel", "format", "found role kernel"),
        ("a-kernel-beside", "format", "expected one component in a release of the loader, found 2"),
        ("linked-for-a-slot", "format", "for slot "),
        ("load-class-ram", "format", "load class ram"),
    ] {
        let run = sign(&format!("{vectors}/loader-release/{name}.bin"), "root-2");
        let text = run.refused(4, kind).json()["error"].as_str().unwrap().to_owned();
        for part in [part, "is not signed, for no device would take it"] {
            assert!(text.contains(part), "{name}: {text}");
        }
        assert!(!world.path("made").exists(), "{name}");
    }
    sign(&format!("{vectors}/loader-release/one-root-of-two.bin"), "root-2").expect(0);

    // Nor onto updates that are not whole.
    world.pack_small(1);
    world.run("keygen --out more --product gateway").expect(0);
    let whole = world.read("v1.sbb");
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    for (bytes, kind) in [
        (&whole[..whole.len() - 1], "ended"),
        (&[&whole[..], b"x"].concat(), "trailing"),
        (&other, "content"),
    ] {
        world.write("v1.sbb", bytes);
        let run = world.run("sign v1.sbb --key keys/release-1.pem --json");
        run.refused(4, kind);
        assert!(world.read("v1.sbb") == bytes, "{kind}: it stays as it was");
    }
}

#[test]
fn what_is_no_release_of_the_loader_is_not_packed_as_one() {
    let world = world();
    world.run(&format!("{PACK} --key k/release-1.pem --json")).refused(1, "key");
    world.run(&format!("{PACK} --key k/root-1.pem --kernel loader.efi --json")).refused(2, "usage");
    world.run(&format!("{PACK} --key k/root-1.pem --keyset k/keyset.sbk")).expect(2);
    world.write("more.toml", "recovery = true\n");
    world.run(&format!("{PACK} --key k/root-1.pem --config more.toml --json")).refused(2, "usage");
    let run = world.run(&format!("{PACK} --key k/root-1.pem --dtb-required --json"));
    assert!(run.refused(2, "usage").stdout.contains("dtb-required"));
    let run = world.run(&format!(
        "{} --product p --key k/root-1.pem",
        PACK.replace("--roots k/roots.toml", "")
    ));
    assert!(run.stderr.contains("the roots are missing"), "{run:?}");
    // Nor as a part of an update.
    let run = world.pack(4, "--component role=loader,file=loader.efi --kernel loader.efi --json");
    let text = run.refused(2, "usage").json()["error"].as_str().unwrap().to_owned();
    assert!(text.contains("loader (9)"), "{text}");
}

#[test]
fn a_release_of_the_loader_is_refused_by_name_where_an_update_is_due() {
    let world = World::running();
    world.write("loader.efi", noise(7, 300_000));
    let pack = PACK.replace("k/", "keys/");
    world.run(&format!("{pack} --key keys/root-1.pem")).expect(0);
    let before = world.read("disk.img");
    let on_disk = format!("--disk disk.img {TRUST} --proof proof --json");
    let whole = world.read("loader.sbl");
    for command in [
        format!("install loader.sbl {on_disk}"),
        format!("install loader.sbl {on_disk} --stream"),
        format!("install - {on_disk}"),
        format!("resume loader.sbl {on_disk}"),
        format!("policy check loader.sbl {on_disk}"),
        "verify - --roots keys/roots.toml --json".to_owned(),
    ] {
        let run = world.run_with_input(&command, &mut std::iter::once(whole.clone()));
        let text = run.refused(4, "loader-release").json()["error"].as_str().unwrap().to_owned();
        for part in ["release of the loader", "payload type 5", "not an update"] {
            assert!(text.contains(part), "{command}: {text}");
        }
    }
    assert!(before == world.read("disk.img"), "nothing was written");
}
