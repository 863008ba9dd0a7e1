//! What scripts get: every command's keys are in the documentation, and its numbers mean what the
//! documentation says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Run, TRUST, World, has_lab};

/// The keys of a value, those of lists and objects in it too.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                found.insert(key.clone());
                // Their keys are the names of roles.
                if !["thresholds", "rules"].contains(&&**key) {
                    keys(inner, found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

/// The section of the documentation about a command.
fn section<'a>(text: &'a str, command: &str) -> &'a str {
    let heading = format!("\n## {command}\n");
    let start = text.find(&heading).unwrap_or_else(|| panic!("there is no section {command}"));
    let rest = &text[start + heading.len()..];
    rest.split("\n## ").next().unwrap()
}

/// One life of a device, so that each command finds what it needs from those before it. That makes
/// the test long.
#[test]
fn keys_of_every_command_are_documented() {
    let text = include_str!("../../../docs/JSON.md");
    let shared = ["errors", "manifest", "record", "keyset", "signatures", "report"].map(|name| {
        let heading = format!("\n### {name}\n");
        let start = text.find(&heading).unwrap_or_else(|| panic!("there is no section {name}"));
        text[start + heading.len()..].split("\n#").next().unwrap()
    });
    let checked = |command: &str, run: Run| {
        let value = run.json();
        assert_eq!(value["schema"], 1, "{command}: {value}");
        let mut found = BTreeSet::new();
        keys(&value, &mut found);
        let own = section(text, command);
        for key in found {
            let shown = format!("`{key}`");
            let is_there = own.contains(&shown)
                || key == "schema"
                || shared.iter().any(|shared| shared.contains(&shown));
            assert!(is_there, "{command}: {key} is not in docs/JSON.md");
        }
        run
    };
    let world = World::with_keys("--channel 1 --approver 1 --sign-off 1");
    let run = |command: &str, arguments: &str| {
        checked(command, world.run(&format!("{command} {arguments} --json")))
    };
    world.write("kernel", "kernel");
    world.write("release.toml", "[promote.stable]\nsign_offs = []\n");
    run("keygen", "--out k --product p").expect(0);
    run("id", "m1").expect(0);
    run("keyset show", "keys/keyset.sbk").expect(0);
    run(
        "keyset next",
        "k/keyset.sbk --roots k/roots.toml --root k/root-1.pem --threshold release=1 --out n.sbk",
    )
    .expect(0);
    run(
        "keyset create",
        "--roots k/roots.toml --root k/root-1.pem --key k/release-1.pub.pem:release --out c.sbk",
    )
    .expect(0);
    let pack = format!(
        "{TRUST} --kernel kernel --keyset keys/keyset.sbk --key keys/release-1.pem --version"
    );
    run("pack", &format!("{pack} 1.0.0 --sequence 1 --out v1.sbb")).expect(0);
    run("pack", &format!("{pack} 2.0.0 --sequence 2 --not-after 2090-01-01 --out v2.sbb"))
        .expect(0);
    run("bundle compress", "v1.sbb --out v1.sbz").expect(0);
    run("bundle expand", "v1.sbz --out v1.again").expect(0);
    run("delta", "v1.sbb v2.sbb --out v2.sbd").expect(0);
    run("delta", "v1.sbb v1.sbz --out v1.sbd").refused(2, "usage");
    run("verify", "v1.sbb --roots keys/roots.toml --class m1").expect(0);
    run("inspect", "v2.sbb").expect(0);
    run(
        "statement sign-off",
        "v1.sbb --roots keys/roots.toml --name t --key keys/sign-off-1.pem --out s.sbs",
    )
    .expect(0);
    run(
        "statement approve",
        "v1.sbb --roots keys/roots.toml --key keys/approver-1.pem --out a.sbs",
    )
    .expect(0);
    run(
        "promote",
        "v1.sbb --roots keys/roots.toml --policy release.toml --to latest/stable --rollout 9 \
         --key keys/channel-1.pem --out p.sbs",
    )
    .expect(0);
    run("sign", "s.sbs --key keys/sign-off-1.pem --out t.sbs");
    run("sign", "c.sbk --roots k/roots.toml --key k/release-1.pem --out t.sbk").refused(1, "key");
    run("disk create", "disk.img --slot-size 1M --recovery-size 1M").expect(0);
    let on_disk = format!("--disk disk.img {TRUST}");
    run("next", &on_disk).expect(1);
    run("install", &format!("v1.sbb {on_disk} --offline")).expect(0);
    run("next", &on_disk).expect(0);
    run("boot", &format!("{on_disk} --proof-out proof")).expect(0);
    run("mark-good", "--disk disk.img --proof proof").expect(0);
    run("boot", &format!("{on_disk} --proof-out proof")).expect(0);
    let checked = run("policy check", &format!("v2.sbb {on_disk} --proof proof")).expect(0).json();
    assert_eq!(checked["rules"][0]["rule"], "trust to data", "{checked}");
    assert_eq!(checked["rules"][0]["verdict"], "passed", "{checked}");
    // 2090-01-01 to come: a deferral says when to ask again.
    run("hold", "--until 2089-01-01 --disk disk.img").expect(0);
    let held = run("policy check", &format!("v2.sbb {on_disk} --proof proof")).expect(3).json();
    assert_eq!(held["retry_at"], 3_755_376_000_u64, "{held}");
    assert_eq!(held["retry_at_time"], "2089-01-01T00:00:00Z", "{held}");
    let held = run("install", &format!("v2.sbb {on_disk} --proof proof")).refused(3, "hold").json();
    assert_eq!(held["retry_at_time"], "2089-01-01T00:00:00Z", "{held}");
    let said = held["error"].as_str().unwrap();
    assert!(said.contains("until 2089-01-01T00:00:00Z") && !said.contains("unix"), "{said}");
    let status = run("status", "--disk disk.img").expect(0).json();
    assert_eq!(status["hold"]["until_time"], "2089-01-01T00:00:00Z", "{status}");
    run("unhold", "--disk disk.img").expect(0);
    run("install", &format!("v2.sbb {on_disk} --proof proof")).expect(0);
    run("policy check", &format!("v2.sbb {on_disk} --proof proof")).expect(5);
    run("resume", &format!("v2.sbb {on_disk} --proof proof")).expect(5);
    run("boot", &on_disk).expect(0);
    run("mark-bad", "b --disk disk.img").expect(0);
    let status = run("status", "--disk disk.img").expect(0).json();
    let digest = status["failed"][0]["digest"].as_str().unwrap().to_owned();
    run("forget", &format!("{digest} --disk disk.img")).expect(0);
    run("cancel", "--disk disk.img").expect(5);
    run("rollback", "--disk disk.img --slot a").expect(4);
    run("disk show", "disk.img").expect(0);
    run("record discard", "--version 7 --offline --disk disk.img").refused(4, "other-version");
    let lost = run("record discard", "--version 1 --offline --disk disk.img").expect(0).json();
    let lost = lost["lost"].as_array().unwrap();
    assert!(lost.contains(&"the recorded floor".into()), "{lost:?}");
    // As long as it is lost nothing is known of the slots.
    let status = run("status", "--disk disk.img").expect(0).json();
    assert_eq!((&status["slots"][0]["state"], &status["boots"]), (&"unknown".into(), &Value::Null));
    let shown = world.run("status --disk disk.img").expect(0).stdout;
    assert!(shown.contains("not known: no copy of the record is left"), "{shown}");
    for key in ["failed", "hold", "history", "floor", "recovery_floor", "data_epoch", "sequence"] {
        assert!(status[key].is_null(), "{key}: {status}");
    }
    assert!(status["slots"][0]["floor"].is_null(), "{status}");
    assert!(!shown.contains("empty") && !shown.contains("floor"), "{shown}");
    run("boot", &on_disk).expect(0);
    let mut disk = world.read("disk.img");
    disk[512..1024].fill(0);
    world.write("broken.img", disk);
    run("disk repair", "broken.img").expect(0);
    run("disk repair", "broken.img").expect(5);
    run("scrub", &on_disk).expect(0);
    run("pcr predict", &format!("v1.sbb {TRUST}")).expect(0);
    for command in ["dtb pack", "dtb lint", "dtb show", "dtb match", "stub build", "demo"] {
        section(text, command);
    }
    if has_lab() {
        run("simulate", "--story mark-bad --media block512").expect(0);
        run("simulate", "--seed 1 --steps 20 --media block512").expect(0);
        run("simulate", "--replay update/nor1/s0.1/before");
    }
}

/// The words in quotes of a source that may be kinds, each with the variant of `Exit` before it.
fn kinds(source: &str) -> Vec<(Option<String>, String)> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let is_word = |text: &str| {
        text.len() > 2 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let mut found = Vec::new();
    for call in source.split("Failure::new(").skip(1) {
        let mut parts = call.splitn(3, ',').map(str::trim);
        let (exit, kind) = (parts.next().unwrap(), parts.next().unwrap_or_default());
        let kind = kind.trim_matches('"');
        if let Some(exit) = exit.strip_prefix("Exit::")
            && is_word(kind)
            && kind != "kind"
        {
            found.push((Some(exit.to_owned()), kind.to_owned()));
        }
    }
    // The tables from errors to kinds.
    for start in ["=> \"", "=> (\"", ", \""] {
        for rest in source.split(start).skip(1) {
            let word = rest.split('"').next().unwrap();
            if is_word(word) && source.contains("refusal_kind") {
                found.push((None, word.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_kind_is_documented_under_its_exit_code() {
    let text = include_str!("../../../docs/JSON.md");
    let table = text.split("\n### kinds\n").nth(1).unwrap().split("\n### ").next().unwrap();
    let exits = [("Failed", "| 1 "), ("Usage", "| 2 "), ("Deferred", "| 3 "), ("Refused", "| 4 ")];
    let exits = exits.into_iter().chain([("Nothing", "| 5 ")]);
    let line = |exit: &str| {
        let (_, start) = exits.clone().find(|(name, _)| *name == exit).unwrap();
        table.lines().find(|line| line.starts_with(start)).unwrap()
    };
    let mut number = 0;
    let mut paths = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for (exit, kind) in kinds(&source) {
            number += 1;
            let (where_to_look, shown) = (exit.as_deref().map_or(text, line), format!("`{kind}`"));
            assert!(where_to_look.contains(&shown), "{exit:?} {kind} of {}", path.display());
        }
    }
    assert!(number > 100, "{number}");
}

/// Product and class were shown as ids, without the names that were typed.
#[test]
fn ids_are_shown_with_the_name_that_was_typed() {
    let world = World::new();
    world.write("kernel", "kernel");
    world.pack(1, "--kernel kernel").expect(0);
    let id = |name: &str| world.run(&format!("id {name}")).expect(0).stdout.trim().to_owned();
    let (product, class) = (id("gateway"), id("m1"));
    assert_eq!(id(&class), class, "a UUID stands for itself");
    world.run_exact(&["id", "", "--json"]).refused(2, "usage");
    let verify = "verify v1.sbb --roots keys/roots.toml";
    let shown = world.run(&format!("{verify} --class m1")).expect(0).stdout;
    assert!(shown.contains(&format!("gateway ({product})")), "{shown}");
    assert!(shown.contains(&format!("m1 ({class})")), "{shown}");
    let run = world.run(&format!("{verify} --class m2 --json")).refused(4, "class");
    let error = run.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(&format!("expected m2 ({})", id("m2"))), "{error}");
    world.run("disk create disk.img --slot-size 1M").expect(0);
    let wrong = "--disk disk.img --roots keys/roots.toml --class m2 --offline --json";
    for install in ["install v1.sbb", "install v1.sbb --stream", "policy check v1.sbb"] {
        let run = world.run(&format!("{install} {wrong}")).refused(4, "class");
        assert!(run.stdout.contains("m2 ("), "{install}: {run:?}");
    }
}

/// Of two files with the same settings, one was refused for its dashes and one for want of them.
#[test]
fn files_take_dashes_and_underscores() {
    let world = World::running();
    for dash in ["-", "_"] {
        let text = "class = 'm1'\nversion = '4.0.0'\nsequence = 4\nroots = 'keys/roots.toml'\n\
                    keyset = 'keys/keyset.sbk'\nkey = ['keys/release-1.pem']\nkernel = 'kernel'\n\
                    min~from = '0.1.0'\nnot~after = '2090-01-01'\nreads~epochs = '0,1'\n\
                    writes~epoch = 0\ndtb~required = false\nchunk~size = '4K'\n\
                    single~key = false\n";
        world.write("pack.toml", text.replace('~', dash));
        world.run("pack --config pack.toml --out v4.sbb").expect(0);
        let policy = "apply~window = 'mon-sun,00:00-24:00'\nreboot~window = 'mon-sun,00:00-24:00'\n\
                      postpone~max~days = 3\napproval~required = false\ndevice~id = 'd1'\n";
        world.write("policy.toml", policy.replace('~', dash));
        let check = format!("policy check v4.sbb --disk disk.img {TRUST} --proof proof");
        world.run(&format!("{check} --policy policy.toml")).expect(0);
    }
}

/// The format lets DEL and the C1 control characters stand as they are; a terminal acts on them.
#[test]
fn control_characters_are_escaped_in_json() {
    let world = World::new();
    let name = "d\u{9b}2J\u{7f}é.img";
    for code in [0, 1] {
        // The second time it is there already.
        let run = world.run_exact(&["disk", "create", name, "--slot-size", "1M", "--json"]);
        let run = run.expect(code);
        assert!(run.stdout.contains(r"d\u009b2J\u007fé.img"), "{}", run.stdout);
        assert!(!run.stdout.trim_end().contains(char::is_control), "{}", run.stdout);
        assert!(run.json().to_string().contains(name), "it is the same text");
    }
}
