//! Every command explains itself with an example.

use crate::support::{World, has_lab};

#[test]
fn help_of_every_command_shows_an_example() {
    let world = World::new();
    let lab: &[_] = if has_lab() { &["demo", "simulate"] } else { &[] };
    let all = [
        "",
        "keygen",
        "id",
        "keyset",
        "keyset create",
        "keyset next",
        "keyset show",
        "pack",
        "bundle",
        "bundle compress",
        "bundle expand",
        "delta",
        "fetch",
        "sign",
        "promote",
        "statement",
        "statement sign-off",
        "statement approve",
        "inspect",
        "verify",
        "disk",
        "disk create",
        "disk show",
        "disk repair",
        "install",
        "resume",
        "policy",
        "policy check",
        "boot",
        "next",
        "status",
        "mark-good",
        "mark-bad",
        "rollback",
        "cancel",
        "forget",
        "hold",
        "unhold",
        "record",
        "record discard",
        "scrub",
        "dtb",
        "dtb pack",
        "dtb lint",
        "dtb show",
        "dtb match",
        "stub",
        "stub build",
        "pcr",
        "pcr predict",
    ];
    for command in all.iter().chain(lab) {
        let help = world.run(&format!("{command} --help")).expect(0);
        assert!(help.stdout.contains("Example"), "{command}: {}", help.stdout);
        assert!(help.stdout.contains("--json"), "{command}: {}", help.stdout);
        let name = format!("stillboot {command}");
        let example = help.stdout.split("Example").nth(1).unwrap();
        assert!(example.contains(name.trim()), "{command}: {example}");
    }
}

#[test]
fn every_command_of_the_list_is_tested_for_help() {
    let world = World::new();
    let help = world.run("--help").expect(0).stdout;
    let list = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let this = include_str!("help.rs");
    for line in list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" {
            assert!(this.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

/// The tool for devices says why it lacks them, however they are asked for.
#[test]
fn commands_of_the_lab_are_named_as_missing_in_builds_without_it() {
    let world = World::new();
    // `cargo xtask tool-without-lab` runs it with such a build.
    if has_lab() {
        for command in ["demo", "simulate"] {
            world.run(&format!("{command} --help")).expect(0);
            assert!(world.run("--help").expect(0).stdout.contains(command));
        }
        return;
    }
    for command in ["demo", "simulate --replay update/nor8/s0.0/before", "help demo", "-q demo"] {
        let name = if command.contains("demo") { "`demo`" } else { "`simulate`" };
        let run = world.run(command).expect(2);
        assert!(run.stderr.contains(name) && run.stderr.contains("`lab`"), "{run:?}");
        let run = world.run(&format!("{command} --json")).refused(2, "usage");
        assert!(run.stdout.contains(name), "{run:?}");
    }
    // The first argument is the command.
    let run = world.run("keyset demo").expect(2);
    assert!(!run.stderr.contains("`lab`"), "{run:?}");
    let help = world.run("--help").expect(0).stdout;
    assert!(!help.contains("demo") && !help.contains("simulated disks"), "{help}");
}

/// "The same names as the options", it said, and a third of them was refused.
#[test]
fn help_of_pack_says_which_options_a_file_has_not() {
    let world = World::new();
    let help = world.run("pack --help").expect(0).stdout;
    let (options, notes) = help.split_once("Examples:").unwrap();
    let alone =
        notes.split("command\nline alone are ").nth(1).unwrap().split(".\n").next().unwrap();
    let alone: Vec<_> = alone.split([',', '\n', ' ']).filter(|name| !name.is_empty()).collect();
    let mut number = 0;
    for line in options.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let Some(at) = line.find("--") else { continue };
        let name = line[at + 2..].split([' ', '=']).next().unwrap();
        if name == "help" {
            continue;
        }
        number += 1;
        world.write("pack.toml", format!("{name} = 2030-01-31\n"));
        let run = world.run("pack --config pack.toml --out v.sbb").expect(2);
        let is_refused = run.stderr.contains("unknown key");
        let is_named = alone.contains(&format!("--{name}").as_str());
        assert_eq!(is_refused, is_named, "{name}: {}", run.stderr);
    }
    assert!(number > 40, "{number}");
}

/// An example that broke a line without saying so ran without its last option.
#[test]
fn examples_can_be_pasted() {
    let world = World::new();
    for command in ["policy", "policy check"] {
        let help = world.run(&format!("{command} --help")).expect(0).stdout;
        let example = help.split("Example:\n").nth(1).unwrap();
        let mut lines = example.lines().take_while(|line| !line.is_empty());
        let line = lines.find(|line| line.contains("--disk")).unwrap();
        assert!(line.ends_with('\\') && lines.next().unwrap().contains("--offline"), "{example}");
    }
}
