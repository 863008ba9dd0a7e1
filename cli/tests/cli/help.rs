//! Every command explains itself with an example.

use crate::support::World;

#[test]
fn help_of_every_command_shows_an_example() {
    let world = World::new();
    for command in [
        "",
        "demo",
        "keygen",
        "id",
        "keyset",
        "keyset create",
        "keyset next",
        "keyset show",
        "pack",
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
        "simulate",
        "dtb",
        "dtb pack",
        "dtb lint",
        "dtb show",
        "dtb match",
        "stub",
        "stub build",
        "pcr",
        "pcr predict",
    ] {
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
