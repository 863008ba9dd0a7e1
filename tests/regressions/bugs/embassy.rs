//! Bugs of embassy-boot and bootleby.

use std::fs;

use stillboot::device::Geometry;
use stillboot::format::{Load, Role, Slot, SlotKind};
use stillboot::request::Request;
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{blank, boot, commission, confirm, media};

use super::{AB, of, update};

/// Writes over what was not erased, and states compared over the wrong length, where the unit of
/// writing was not one byte.
#[test]
fn embassy_df3a1e1b9_every_size_of_write() {
    let publisher = Publisher::new(1);
    for granule in [1, 4, 8, 16, 32, 64, 256] {
        let geometry = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: granule,
            erase_block_bytes: 4096,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        whole_life(&publisher, geometry);
    }
}

/// Pieces of two bytes broke the alignment that a read needs.
#[test]
fn embassy_7aa260feb_every_alignment_of_reads() {
    let publisher = Publisher::new(1);
    for unit in [2, 4, 8, 16, 32, 512] {
        let geometry = Geometry {
            logical_block_bytes: unit,
            write_granule_bytes: unit,
            erase_block_bytes: 4096,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        whole_life(&publisher, geometry);
    }
}

/// Installed, tried, confirmed, replaced, rolled back, on a device that refuses whatever does not
/// suit its units and whatever is written twice.
fn whole_life(publisher: &Publisher, geometry: Geometry) {
    let mut world = blank(publisher, geometry, AB);
    let proof = commission(&mut world, &update(publisher, 1));
    world.install(&of(publisher, 2, &content(2, 4097)), Some(proof)).unwrap();
    let trial = boot(&mut world);
    assert_eq!(trial.slot, Slot::B, "{geometry:?}");
    world.perform(Request::MarkGood(trial)).unwrap();
    let proof = boot(&mut world);
    world.install(&of(publisher, 3, &content(3, 33)), Some(proof)).unwrap();
    for _ in 0..3 {
        assert_eq!(boot(&mut world).slot, Slot::A, "{geometry:?}");
    }
    assert_eq!(boot(&mut world).slot, Slot::B, "{geometry:?}");
}

/// Built without a feature for verification, an update was marked good without any. There is no such
/// feature, and no way round the signatures in any of them.
#[test]
fn embassy_8519e5446_no_feature_leaves_verification_out() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).unwrap();
    let suite = read("tests/powerset/Cargo.toml");
    for file in ["mod.rs", "signature.rs", "digest.rs"] {
        let text = read(&format!("core/src/verify/{file}"));
        // A feature may add to it: derives, and what verifies payloads of another kind or trusts
        // more than one built-in key. What is then left refuses what must be refused: the suite of
        // bad bundles runs with every set of these features.
        for line in text.lines().filter(|line| line.contains("feature = ")) {
            let derives = line.contains("#[cfg_attr(feature = ") && line.contains(", derive(");
            let adds = ["json", "keysets"].iter().any(|feature| {
                line.trim() == format!("#[cfg(feature = \"{feature}\")]")
                    && suite.contains(&format!("\n{feature} = [\"stillboot/{feature}\""))
            });
            assert!(derives || adds && file == "mod.rs", "{file}: {line}");
        }
    }
    let manifest = read("core/Cargo.toml");
    for line in
        manifest.lines().filter(|line| line.starts_with("ed25519") || line.starts_with("sha2"))
    {
        assert!(!line.contains("optional"), "{line}");
    }
}

/// A misspelled constant in a `match` caught everything.
#[test]
fn bootleby_bfcbbc7_misspelled_constants_do_not_compile() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = fs::read_to_string(format!("{root}/Cargo.toml")).unwrap();
    for lint in ["bindings_with_variant_name", "unreachable_patterns", "non_snake_case"] {
        assert!(text.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    for package in ["core", "hal/linux", "host-sim", "cli", "tests"] {
        let text = fs::read_to_string(format!("{root}/{package}/Cargo.toml")).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{package}");
    }
}

/// A number of pages was rounded off by one.
#[test]
fn bootleby_95e7911_lengths_around_a_block_and_a_chunk() {
    let publisher = Publisher::new(1);
    let lengths = [1, 31, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 12_288];
    for (name, geometry) in media() {
        for load in [Load::Ram, Load::Xip, Load::Late] {
            let mut world = blank(&publisher, geometry, AB);
            let mut proof = commission(&mut world, &update(&publisher, 1));
            for (number, len) in lengths.into_iter().enumerate() {
                let context = format!("{name}, {load}, {len}");
                let sequence = number as u64 + 2;
                let (one, two) = (content(sequence, len), content(sequence + 50, len));
                let piece = |role, bytes| Piece { role, load, linked: None, bytes };
                let pieces = [piece(Role::Kernel, &one[..]), piece(Role::Data, &two[..])];
                let manifest = publisher.manifest(sequence);
                let bundle = publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap();
                let installed = world.install(&bundle, Some(proof)).expect(&context);
                assert_eq!(installed.written, 2 * len as u64, "{context}");
                let trial = confirm(&mut world);
                assert_eq!(trial.slot, installed.slot, "{context}");
                proof = boot(&mut world);
            }
        }
    }
}
