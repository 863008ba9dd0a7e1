//! Devices damaged by an attacker with write access to the disk: from every state there is a way
//! out.
//!
//! `cargo xtask prove` runs many more of them, optimised.

use stillboot_sim::hostile::{self, Field, HostileCounts, check, replay};
use stillboot_sim::oracle::{self, Promise};
use stillboot_sim::walk::Chain;
use stillboot_tests::seed;

/// `STILLBOOT_HOSTILE_STATES` makes it longer.
#[test]
fn every_damaged_state_has_a_way_out() {
    let chain = Chain::new().expect("releases");
    let fields = Field::all(&chain);
    let first = seed("hostile");
    let states = std::env::var("STILLBOOT_HOSTILE_STATES").ok();
    let states: u64 = states.and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut all = HostileCounts::default();
    let mut failures = Vec::new();
    for seed in first..first + states {
        let checked = check(&fields, seed);
        all.add(&checked.counts);
        if let Some(failure) = checked.failure {
            println!("{failure}");
            failures.push(failure.id);
            if failures.len() > 10 {
                break;
            }
        }
    }
    println!("{all:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(all.updated > states / 2 && all.dark > 0 && all.cuts > 0, "{all:?}");
}

/// What is checked of a state is what the table promises.
#[test]
fn the_table_promises_what_is_checked() {
    let row = oracle::table()[hostile::ROW];
    let checked = [Promise::Boots, Promise::OnlyVerified, Promise::NextUpdate];
    for promise in Promise::ALL {
        assert_eq!(row.hold(promise), checked.contains(&promise), "{promise:?}");
    }
}

/// `STILLBOOT_REPLAY` names a state to be printed.
#[test]
fn a_state_is_told_by_its_identity() {
    let chain = Chain::new().expect("releases");
    let fields = Field::all(&chain);
    let id = std::env::var("STILLBOOT_REPLAY").ok().filter(|id| id.starts_with("hostile/"));
    let id = id.unwrap_or_else(|| "hostile/7".into());
    let lines = replay(&fields, &id).expect("an identity");
    for line in &lines {
        println!("{line}");
    }
    assert_eq!(lines, replay(&fields, &id).expect("an identity"));
    assert!(replay(&fields, "hostile/x").is_err());
}
