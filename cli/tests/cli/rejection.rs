//! One table of bundles that must be refused, through every command that takes a bundle: exit code
//! 4, one word that names the cause, a disk as it was, and a sound bundle accepted right after.

use std::io::Cursor;

use stillboot::format::envelope::{ENTRY_HEADER_LEN, HEADER_LEN};
use stillboot::format::manifest::flags;
use stillboot::format::{Envelope, KeyRole, Load, Manifest, PayloadType, Role, Slot};
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::{Signer, SigningKey, id_of, sign_envelope};

use crate::support::{TRUST, World, noise};

/// When a bundle is found out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// By its head, whichever key signed it.
    Head,
    /// By the policy, of which `policy check` has a table to show.
    Policy,
    /// By its body: a stream has reached the target by then.
    Body,
    /// By a command that checks a file for other tools too. An installation takes it: neither it nor
    /// a device looks at that.
    File,
}

/// A bundle that must be refused.
struct Case {
    name: String,
    bundle: Vec<u8>,
    stage: Stage,
    /// The word for scripts.
    kind: &'static str,
    /// Whether `verify` finds it, which knows the device class and no disk.
    in_file: bool,
}

/// What the tool can pack, and the device must refuse.
const PACKED: &[(&str, &str, Stage, &str, bool)] = &[
    ("other class", "--class m2 --sequence 9 --level 5", Stage::Head, "class", true),
    ("revision too new", "--revision 2,3 --sequence 9 --level 5", Stage::Head, "class", true),
    ("other architecture", "--architecture aarch64 --sequence 9", Stage::Head, "class", true),
    ("older", "--sequence 4 --level 5", Stage::Head, "not-newer", false),
    ("as new, but another", "--sequence 5 --level 5", Stage::Head, "not-newer", false),
    ("below the floor", "--sequence 9 --level 4", Stage::Head, "below-floor", false),
    ("far above the floor", "--sequence 9 --level 70000", Stage::Head, "floor-jump", false),
    ("too new data", "--sequence 9 --level 5 --reads-epochs 1,2", Stage::Head, "data-epoch", false),
    ("expired", "--sequence 9 --level 5 --not-after 2025-06-01", Stage::Policy, "expired", false),
    (
        "another risk",
        "--sequence 9 --level 5 --channel latest/candidate",
        Stage::Policy,
        "channel",
        false,
    ),
    (
        "another track",
        "--sequence 9 --level 5 --channel 5.0/stable",
        Stage::Policy,
        "channel",
        false,
    ),
    ("one between", "--sequence 9 --level 5 --min-from 5.0.1", Stage::Policy, "min-from", false),
];

/// The tool's options for a bundle that the device takes.
const SOUND: &str = "--sequence 9 --level 5";

fn pack(world: &World, options: &str, more: &str) -> Vec<u8> {
    let class = if options.contains("--class") { "" } else { "--class m1" };
    world
        .run(&format!(
            "pack --roots keys/roots.toml {class} --version 9.0.0 {options} {more} \
             --kernel kernel --keyset keys/keyset.sbk --key keys/release-1.pem --out packed.sbb \
             --force"
        ))
        .expect(0);
    world.read("packed.sbb")
}

/// A disk whose slot a runs 5.0.0 with a floor of level 5, and whose slot b failed with 6.0.0.
fn device() -> World {
    let world = World::with_keys("--channel 1 --sign-off 1");
    world.write("kernel", noise(5, 60_000));
    world.pack(5, "--level 5 --kernel kernel").expect(0);
    world.write("kernel", noise(6, 60_000));
    world.pack(6, "--level 5 --kernel kernel").expect(0);
    world.write("kernel", noise(9, 60_000));
    world.run("disk create disk.img --slot-size 1M").expect(0);
    world.run(&format!("install v5.sbb --disk disk.img {TRUST} --arch x86_64 --offline")).expect(0);
    world.boots("5.0.0");
    world.run("mark-good --disk disk.img --proof proof").expect(0);
    world.boots("5.0.0");
    world.run(&format!("install v6.sbb --disk disk.img {TRUST} --proof proof")).expect(0);
    world.boots("6.0.0");
    world.run("mark-bad b --disk disk.img").expect(0);
    world.boots("5.0.0");
    // Failures get their time with the next command that has a clock: here, so that nothing is left
    // to write.
    world.run(&format!("install v6.sbb --disk disk.img {TRUST} --proof proof")).expect(4);
    world
}

/// Every bad bundle. A table: each entry changes one thing about the same sound bundle, so the
/// entries share what is taken apart and signed again here.
fn cases(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, options, stage, kind, in_file) in PACKED {
        let bundle = pack(world, options, "");
        let (stage, kind, in_file) = (*stage, *kind, *in_file);
        cases.push(Case { name: (*name).to_owned(), bundle, stage, kind, in_file });
    }
    let mut add = |name: &str, bundle: Vec<u8>, stage, kind, in_file| {
        cases.push(Case { name: name.to_owned(), bundle, stage, kind, in_file });
    };
    add("failed here", world.read("v6.sbb"), Stage::Policy, "failed-before", false);
    world.write("kernel", noise(9, 2 << 20));
    add("too big", pack(world, SOUND, ""), Stage::Head, "layout", false);
    world.write("kernel", noise(9, 60_000));

    let good = pack(world, SOUND, "");
    let (_, rest) = Envelope::parse(&good).unwrap();
    let (keyset, rest) = good.split_at(good.len() - rest.len());
    let (envelope, body) = Envelope::parse(rest).unwrap();
    let manifest = &rest[..rest.len() - body.len()];
    let sound = Manifest::parse(envelope.payload()).unwrap();
    let head = keyset.len() + manifest.len();
    let product = id_of("gateway");
    let key = |name: &str| SigningKey::read(&world.path(name)).unwrap();
    let (release, recovery) = (key("keys/release-1.pem"), key("keys/recovery-1.pem"));
    let signed = |payload: &[u8], role, key: &SigningKey| {
        let envelope = sign_envelope(PayloadType::Manifest, &product, payload, &[(role, key)]);
        [keyset, &envelope.unwrap(), body].concat()
    };
    let payload = envelope.payload();

    // Who signed.
    let mut zeroed = good.clone();
    let signature = keyset.len() + HEADER_LEN + ENTRY_HEADER_LEN;
    zeroed[signature..signature + 64].fill(0);
    add("signature of zeros", zeroed, Stage::Head, "trust", true);
    let mut unsigned = good.clone();
    unsigned[keyset.len() + 6] = 0;
    add("manifest without signature", unsigned, Stage::Head, "trust", true);
    world.run("keygen --out other --product gateway").expect(0);
    world
        .run(&format!(
            "pack --roots other/roots.toml --class m1 --version 9.0.0 {SOUND} --kernel kernel \
             --keyset other/keyset.sbk --key other/release-1.pem --out other.sbb"
        ))
        .expect(0);
    add("other roots", world.read("other.sbb"), Stage::Head, "trust", true);
    add("no keyset", [manifest, body].concat(), Stage::Head, "trust", true);
    let by_release = {
        let (envelope, _) = Envelope::parse(keyset).unwrap();
        let signers: [(_, &dyn Signer); 1] = [(KeyRole::Root, &release)];
        sign_envelope(PayloadType::Keyset, &product, envelope.payload(), &signers).unwrap()
    };
    let bundle = [&by_release, manifest, body].concat();
    add("keyset by the release key", bundle, Stage::Head, "trust", true);
    for (name, role, key) in [
        ("manifest by the recovery key", KeyRole::Recovery, &recovery),
        ("manifest by the recovery key as release", KeyRole::Release, &recovery),
        ("manifest by the release key as channel", KeyRole::Channel, &release),
    ] {
        add(name, signed(payload, role, key), Stage::Head, "trust", true);
    }
    let changed = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        let mut bytes = [0; 1024];
        let len = manifest.emit(&mut bytes).unwrap();
        signed(&bytes[..len], KeyRole::Release, &release)
    };
    let bundle = changed(&|m| m.product = [9; 16]);
    add("names another product", bundle, Stage::Head, "trust", true);
    let bundle = changed(&|m| m.components[0].linked = 3);
    add("for another slot alone", bundle, Stage::Head, "layout", false);
    // What no build knows: role, load class and slot stand one after the other before the length.
    let component = {
        let mut none = sound.clone();
        none.components[0].role = Role::Data;
        none.components[0].load = Load::Late;
        let mut bytes = [0; 1024];
        let len = none.emit(&mut bytes).unwrap();
        let (role, load) = (sound.components[0].role.code(), sound.components[0].load.code());
        (0..len).find(|at| {
            bytes[*at..*at + 2] == [Role::Data.code(), Load::Late.code()]
                && payload[*at..*at + 2] == [role, load]
        })
    };
    for (number, name) in ["unknown role", "unknown load class", "unknown slot"].iter().enumerate()
    {
        let mut bytes = payload.to_vec();
        bytes[component.unwrap() + number] = 99;
        let found = format!("{:?}", Manifest::parse(&bytes));
        assert!(found.contains("Unknown"), "{name}: {found}");
        add(name, signed(&bytes, KeyRole::Release, &release), Stage::Head, "trust", true);
    }

    // Where it ends, and what its bytes are.
    for (name, len) in [
        ("empty", 0),
        ("cut in the first header", 11),
        ("cut in the keyset", keyset.len() - 1),
        ("cut in the manifest", head - 1),
    ] {
        add(name, good[..len].to_vec(), Stage::Head, "ended", true);
    }
    for (name, len) in [
        ("cut before the index", head),
        ("cut in the index", head + 5),
        ("cut in a chunk", head + 30_000),
        ("cut before the last byte", good.len() - 1),
    ] {
        add(name, good[..len].to_vec(), Stage::Body, "ended", true);
    }
    add("one byte more", [&good[..], &[0]].concat(), Stage::Body, "trailing", true);
    for (name, at) in [("index", head + 3), ("chunk", head + 40), ("last byte", good.len() - 1)] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        add(&format!("changed {name}"), bad, Stage::Body, "content", true);
    }
    let bundle = changed(&|m| m.components[0].sha256 = [9; 32]);
    add("wrong plain SHA-256", bundle, Stage::File, "content", true);

    // What is not even a bundle.
    for (name, bytes) in [
        ("HTML page", &b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"[..]),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x4c\x4a\x06\0\xc2\x41\x24\x35\x03"),
        ("JSON", b"{\"message\":\"Not Found\"}"),
        ("zeros", &[0; 4096]),
        ("noise", &noise(77, 4096)),
    ] {
        add(name, bytes.to_vec(), Stage::Head, "format", true);
    }

    // What is signed, and no loader starts.
    type Change = fn(&mut Manifest);
    let kernel = |load, linked| (Role::Kernel, load, linked, noise(9, 60_000));
    let ram = |role, bytes: &[u8]| (role, Load::Ram, None, bytes.to_vec());
    let whole = || kernel(Load::Ram, None);
    let none: Change = |_| ();
    for (name, change, parts) in [
        ("open quote", none, vec![whole(), ram(Role::Cmdline, b"root=\"/dev/sda1 quiet")]),
        ("proof in it", none, vec![whole(), ram(Role::Cmdline, b"stillboot.proof=1:a")]),
        ("tab", none, vec![whole(), ram(Role::Cmdline, b"quiet\tsplash")]),
        ("byte order mark", none, vec![whole(), ram(Role::Cmdline, b"\xef\xbb\xbfquiet")]),
        ("too long a line", none, vec![whole(), ram(Role::Cmdline, &[b'x'; 2000])]),
        ("a set of one byte", none, vec![whole(), ram(Role::Dtbs, b"x")]),
        ("no trees", |m| m.flags = flags::DTB_REQUIRED, vec![whole()]),
        ("late kernel", none, vec![kernel(Load::Late, None)]),
        (
            "data for recovery",
            none,
            vec![whole(), (Role::Data, Load::Late, Some(Slot::Recovery), vec![1])],
        ),
        (
            "no kernel in slot b",
            none,
            vec![
                kernel(Load::Ram, Some(Slot::A)),
                (Role::Data, Load::Late, Some(Slot::B), vec![1]),
            ],
        ),
    ] {
        let mut manifest = sound.clone();
        change(&mut manifest);
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|(role, load, linked, bytes)| {
                Part::new(role, load, Box::new(Cursor::new(bytes))).with_linked(linked)
            })
            .collect();
        let mut out = Vec::new();
        let signers: [(_, &dyn Signer); 1] = [(KeyRole::Release, &release)];
        bundle::write(manifest, keyset, &signers, &mut parts, &mut out, &mut |_| ()).unwrap();
        add(name, out, Stage::Body, "start", true);
    }
    world.write("kernel", noise(10, 60_000));
    let other = pack(world, "--sequence 10 --level 5", "");
    let other = &other[other.len() - body.len()..];
    let crossed = [keyset, manifest, other].concat();
    add("parts of another release", crossed, Stage::Body, "content", true);
    world.write("kernel", noise(9, 60_000));
    world.write("good.sbb", &good);
    cases
}

/// Bytes of the disk outside of the record and slot b.
fn outside(world: &World, disk: &[u8]) -> Vec<u8> {
    let shown = world.run("disk show disk.img --json").expect(0).json();
    let mut disk = disk.to_vec();
    for partition in shown["partitions"].as_array().unwrap() {
        if matches!(partition["name"].as_str(), Some("stillboot-record" | "stillboot-b")) {
            let start = partition["offset"].as_u64().unwrap() as usize;
            let end = start + partition["length"].as_u64().unwrap() as usize;
            disk[start..end].fill(0);
        }
    }
    disk
}

/// Every way in for a bundle, each with its command.
fn ways(on_disk: &str) -> Vec<(&'static str, String)> {
    vec![
        ("file", format!("install bad.sbb {on_disk}")),
        ("offline", format!("install bad.sbb {on_disk}").replace("--proof first", "--offline")),
        ("named slot", format!("install bad.sbb {on_disk} --slot b")),
        ("forced", format!("install bad.sbb {on_disk} --force")),
        ("reuse", format!("install bad.sbb {on_disk} --reuse")),
        ("stream", format!("install bad.sbb {on_disk} --stream")),
        ("standard input", format!("install - {on_disk}")),
        ("resume", format!("resume bad.sbb {on_disk}")),
        ("verify", "verify bad.sbb --roots keys/roots.toml --class m1 --arch x86_64 --json".into()),
        ("policy check", format!("policy check bad.sbb {on_disk}")),
        ("policy check of a stream", format!("policy check - {on_disk}")),
        (
            "statement",
            "statement sign-off bad.sbb --roots keys/roots.toml --name tests \
                 --key keys/sign-off-1.pem --out s.sbs --json"
                .into(),
        ),
        (
            "promote",
            "promote bad.sbb --roots keys/roots.toml --policy release.toml \
                 --to latest/stable --rollout 50 --key keys/channel-1.pem --out p.sbs --json"
                .into(),
        ),
    ]
}

/// A sound bundle passes every command, and one that holds data alone passes with a warning.
fn sound_bundles_pass(world: &World, on_disk: &str, before: &[u8]) {
    for fine in ["verify good.sbb --roots keys/roots.toml --class m1", "policy check good.sbb"] {
        let more = if fine.starts_with("policy") { on_disk } else { "" };
        world.run(&format!("{fine} {more}")).expect(0);
    }
    let of_good = "good.sbb --roots keys/roots.toml";
    world
        .run(&format!(
            "statement sign-off {of_good} --name t --key keys/sign-off-1.pem --out s.sbs"
        ))
        .expect(0);
    world
        .run(&format!(
            "promote {of_good} --policy release.toml --to latest/stable --rollout 50 \
             --key keys/channel-1.pem --out p.sbs"
        ))
        .expect(0);
    // What holds data alone is taken, and every way says that no loader of ours starts it.
    world
        .run(&format!(
            "pack --roots keys/roots.toml --class m1 --version 9.0.0 {SOUND} --rootfs kernel \
             --keyset keys/keyset.sbk --key keys/release-1.pem --out odd.sbb --force"
        ))
        .expect(0);
    for command in [
        "verify odd.sbb --roots keys/roots.toml".to_owned(),
        format!("policy check odd.sbb {on_disk}"),
        format!("install odd.sbb {on_disk}"),
        format!("install odd.sbb {on_disk} --stream"),
    ] {
        let run = world.run(&command).expect(0);
        assert!(run.stderr.contains("loaders start nothing of it"), "{command}: {run:?}");
        world.write("disk.img", before);
    }
}

#[test]
fn every_command_refuses_every_bad_bundle_and_takes_a_sound_one_at_once() {
    let world = device();
    let cases = cases(&world);
    let before = world.read("disk.img");
    let around = outside(&world, &before);
    // Power-ons below leave other proofs.
    world.write("first", world.read("proof"));
    let on_disk = format!("--disk disk.img {TRUST} --arch x86_64 --proof first --json");
    let sound = format!("install good.sbb {on_disk}");
    world.write("release.toml", "[promote.stable]\nsign_offs = []\n");
    for case in &cases {
        world.write("bad.sbb", &case.bundle);
        for (way, command) in ways(&on_disk) {
            let context = format!("{}, {way}", case.name);
            // What a check cannot know, it does not ask.
            // An installation goes by the index root, as a device does.
            let installs = ["file", "offline", "named slot", "forced", "reuse", "resume"];
            let goes_by_root =
                installs.contains(&way) || ["stream", "standard input"].contains(&way);
            let asks = match way {
                "verify" => case.in_file,
                // These make something for any device, or for those that follow another channel.
                "statement" | "promote" => case.in_file && case.kind != "class",
                _ => case.stage != Stage::File || !goes_by_root,
            };
            let run = match way {
                "standard input" | "policy check of a stream" => {
                    world.run_with_input(&command, &mut std::iter::once(case.bundle.clone()))
                }
                _ => world.run(&command),
            };
            if !asks {
                // A promotion has rules of its own, of channel and of time.
                let own = ["step", "edge-only", "other-channel", "expired"];
                let kind = run.json()["kind"].as_str().unwrap_or_default().to_owned();
                // Nothing was begun that could be resumed, which is found after the bundle was read.
                let fine = run.code == 0
                    || way == "promote" && own.contains(&&*kind)
                    || way == "resume" && kind == "to-resume";
                assert!(fine, "{context}: {run:?}");
                world.write("disk.img", &before);
                continue;
            }
            let value = run.json();
            // A stream that ended may be whole the next time.
            let piped = ["standard input", "policy check of a stream"].contains(&way);
            if piped && case.kind == "ended" {
                assert_eq!((run.code, &value["kind"]), (1, &"source".into()), "{context}: {value}");
                // Only what installs can go on.
                let names_resume = value["error"].as_str().unwrap().contains("resume");
                assert_eq!(names_resume, way == "standard input", "{context}: {value}");
                world.write("disk.img", &before);
                continue;
            }
            assert_eq!(run.code, 4, "{context}: {run:?}");
            if way.starts_with("policy check") && case.stage == Stage::Policy {
                assert_eq!(value["verdict"], "refused", "{context}: {value}");
            } else {
                assert_eq!(value["kind"], case.kind, "{context}: {value}");
                assert!(value["error"].as_str().unwrap().len() > 20, "{context}: {value}");
            }
            let after = world.read("disk.img");
            if case.stage == Stage::Body && ["stream", "standard input"].contains(&way) {
                assert!(outside(&world, &after) == around, "{context}: more than the target");
                // The next source, from what the bad one left.
                world.run(&sound).expect(0);
                world.boots("9.0.0");
                world.write("disk.img", &before);
            } else {
                assert!(after == before, "{context}: the disk changed");
            }
        }
        world.run(&sound).expect(0);
        world.write("disk.img", &before);
    }
    sound_bundles_pass(&world, &on_disk, &before);
    world.run(&sound).expect(0);
    world.boots("9.0.0");
    assert!(cases.len() >= 50, "{}", cases.len());
}
