//! Systemd's stub beside ours: the same sets, the same machines, and which tree each gives them.
//!
//! `cargo xtask oracle` runs it. A case on which both must agree says so; a case on which they
//! differ says why, and what each does.

use std::fs;
use std::path::PathBuf;

use stillboot_devicetree::chid::{Chid, Fields, Kind};
use stillboot_devicetree::hwids::{self, Device, Gift};
use stillboot_devicetree::set::{self, Machine as Known};
use stillboot_release::pe::append_section;

use crate::machine::{Hardware, Settings};
use crate::stub::{ARCH, LAPTOP, OTHER, VIRT, image, laptop_fields, release, settings, tree};

/// The model of the machine that a kernel got. `None`: it got the machine by ACPI.
type Model = Option<&'static str>;

/// What comes of a case.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Same(Model),
    /// Systemd's stub gives the machine this one, ours that one.
    Differs {
        systemd: Model,
        own: Model,
        why: &'static str,
    },
    /// Our tool builds no such set, so the fault is known before a machine has it.
    Refused {
        systemd: Model,
        by: &'static str,
        why: &'static str,
    },
}

use Outcome::{Differs, Refused, Same};

struct Case {
    name: &'static str,
    /// What the machine says of itself.
    identity: &'static str,
    /// Whether its firmware has a tree.
    by_tree: bool,
    /// Ids and the compatible of the tree that each stands for.
    ids: Vec<(Chid, &'static str)>,
    may_be_weak: bool,
    /// Model and compatibles of each tree.
    trees: &'static [(&'static str, &'static [&'static str])],
    outcome: Outcome,
}

const ONE: &str = "maker,one";
const TWO: &str = "maker,two";
const TREES: &[(&str, &[&str])] = &[("tree one", &[ONE, VIRT]), ("tree two", &[TWO, VIRT])];

fn chid(kind: u8, fields: &Fields<'_>) -> Chid {
    let kind = Kind::from_number(kind).expect("a kind");
    kind.chid(fields).expect("all fields are there")
}

fn laptop(kind: u8) -> Chid {
    chid(kind, &laptop_fields())
}

// Long because it is a table: a machine and its set of trees in each row.
fn cases() -> Vec<Case> {
    let case = |name, ids, outcome| Case {
        name,
        identity: LAPTOP,
        by_tree: false,
        ids,
        may_be_weak: false,
        trees: TREES,
        outcome,
    };
    vec![
        case("maker, family, product and SKU", vec![(laptop(4), TWO)], Same(Some("tree two"))),
        case("maker, family and product", vec![(laptop(5), TWO)], Same(Some("tree two"))),
        case(
            "an exact id goes before a vague one that stands first",
            vec![(laptop(5), ONE), (laptop(4), TWO)],
            Same(Some("tree two")),
        ),
        Case {
            identity: "type=1,manufacturer= Maker ,product=0Laptop 1,family=Laptops ,sku= 00L1",
            ..case("blanks and zeros around", vec![(laptop(4), ONE)], Same(Some("tree one")))
        },
        Case { identity: OTHER, ..case("unknown", vec![(laptop(4), ONE)], Same(None)) },
        Case {
            by_tree: true,
            trees: &[("tree one", &[ONE]), ("tree virt", &[VIRT])],
            ..case(
                "firmware's tree, the set has the same",
                vec![(laptop(4), ONE)],
                Same(Some("tree virt")),
            )
        },
        Case {
            by_tree: true,
            ..case(
                "firmware's tree, the set has others, also by a second compatible",
                vec![(laptop(4), ONE)],
                Same(Some(VIRT)),
            )
        },
        Case {
            may_be_weak: true,
            ..case("two fields, allowed", vec![(laptop(7), ONE)], Same(Some("tree one")))
        },
        Case {
            may_be_weak: true,
            ..case("maker and family, allowed", vec![(laptop(11), ONE)], Same(Some("tree one")))
        },
        case(
            "two fields, not allowed",
            vec![(laptop(7), ONE)],
            Differs {
                systemd: Some("tree one"),
                own: None,
                why: "two fields fit other machines: a server hung on a tablet's tree",
            },
        ),
        Case {
            identity: "type=1,manufacturer=Acer,product=Server 9",
            may_be_weak: true,
            ..case(
                "an empty field",
                // The hash of "Acer&", as tables that are shipped have it.
                vec![(Chid::parse("7c107a7f-2d77-51aa-aef8-8d777e26ffbc").expect("an id"), ONE)],
                Differs {
                    systemd: Some("tree one"),
                    own: None,
                    why: "an id with an empty field fits every machine of its maker without one",
                },
            )
        },
        case(
            "one id, two machines",
            vec![(laptop(4), ONE), (laptop(4), TWO)],
            Refused {
                systemd: Some("tree one"),
                by: "is given to",
                why: "the order of a table says nothing of machines",
            },
        ),
        Case {
            trees: &[("tree one", &[ONE]), ("tree other", &[ONE])],
            ..case(
                "one compatible, two trees",
                vec![(laptop(4), ONE)],
                Refused {
                    systemd: Some("tree one"),
                    by: ONE,
                    why: "the order of sections says nothing of machines",
                },
            )
        },
        Case {
            by_tree: true,
            trees: &[("tree a", &[VIRT]), ("tree b", &[VIRT])],
            ..case(
                "firmware's tree, two trees of the set for it",
                vec![],
                Refused {
                    systemd: Some("tree a"),
                    by: VIRT,
                    why: "the order of sections says nothing of machines",
                },
            )
        },
    ]
}

/// Which model the kernel in `image` gets on that machine.
fn told(hardware: &Hardware, settings: &Settings) -> Option<String> {
    let mut machine = hardware.start(settings);
    let found = machine.wait(|line| match line.split_once("Machine model: ") {
        Some((_, model)) => Some(Some(model.to_owned())),
        None => line.contains("ACPI: Core revision").then_some(None),
    });
    found.unwrap_or_else(|_| panic!("it was switched off:\n{}", machine.transcript()))
}

#[test]
#[ignore = "boots machines in QEMU, with a stub that `cargo xtask oracle` fetches"]
fn machines_get_the_tree_that_systemd_gives_them_where_it_is_right() {
    let stub = std::env::var_os("STILLBOOT_ORACLE").expect("`cargo xtask oracle` says where it is");
    let stub = fs::read(PathBuf::from(stub)).expect("it was just unpacked");
    for case in cases() {
        let hardware = Hardware::new(ARCH, &[]);
        let trees: Vec<Vec<u8>> =
            case.trees.iter().map(|(model, names)| tree(&hardware, model, names)).collect();
        let theirs = theirs(&hardware, &stub, &case, &trees);
        // Without Secure Boot theirs would take the firmware's options for the command line.
        let on = settings(theirs, case.identity, case.by_tree);
        let systemd = told(&hardware, &Settings { options: None, ..on });

        let named: Vec<_> =
            trees.into_iter().zip(0..).map(|(tree, at)| (format!("{at}.dtb"), tree)).collect();
        let known = case.ids.iter().map(|&(chid, compatible)| {
            Known::new(compatible, compatible, [chid]).with_weak(case.may_be_weak)
        });
        let built = set::build(&named, &known.collect::<Vec<_>>());
        let own = || {
            let set = built.clone().expect("it is as it should be");
            let image = image(&hardware, &release(set, false));
            told(&hardware, &settings(image, case.identity, case.by_tree))
        };
        let (name, got) = (case.name, systemd.as_deref().unwrap_or("ACPI"));
        match case.outcome {
            Same(model) => {
                assert_eq!((systemd.as_deref(), own().as_deref()), (model, model), "{name}");
                println!("note: oracle: {name}: both {got}");
            }
            Differs { systemd: theirs, own: ours, why } => {
                assert_eq!((systemd.as_deref(), own().as_deref()), (theirs, ours), "{name}");
                let ours = ours.unwrap_or("ACPI");
                println!("note: oracle: {name}: systemd {got}, stillboot {ours}: {why}");
            }
            Refused { systemd: theirs, by, why } => {
                assert_eq!(systemd.as_deref(), theirs, "{name}");
                let errors = built.expect_err("it must not be built");
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                let error = errors.join("; ");
                assert!(error.contains(by), "{name}: {error}");
                println!("note: oracle: {name}: systemd {got}, stillboot \"{error}\": {why}");
            }
        }
    }
}

/// The image as systemd's tools make it.
fn theirs(hardware: &Hardware, stub: &[u8], case: &Case, trees: &[Vec<u8>]) -> PathBuf {
    let devices: Vec<_> = case
        .ids
        .iter()
        .map(|&(chid, compatible)| Device {
            gift: Gift::Tree,
            chid,
            name: Some("a machine"),
            compatible: Some(compatible),
        })
        .collect();
    let table = hwids::write(&devices).expect("all texts can be written");
    let [(_, kernel), _, (_, cmdline)] = release(Vec::new(), false).parts();
    let mut image = stub.to_vec();
    let mut append = |name, content: &[u8]| {
        append_section(&mut image, name, content).expect("the stub has room for sections");
    };
    append(".osrel", b"NAME=stillboot-test\n");
    append(".cmdline", &cmdline);
    append(".hwids", &table);
    let placeholders: Vec<_> = (0..trees.len()).map(|number| format!(".dtbaut{number}")).collect();
    for (name, tree) in placeholders.iter().zip(trees) {
        append(name, tree);
    }
    append(".linux", &kernel);
    // Ours has no two sections of one name; theirs may.
    for name in placeholders {
        let at = image.windows(8).position(|bytes| bytes == name.as_bytes());
        let at = at.expect("the headers have it");
        image[at..at + 8].copy_from_slice(b".dtbauto");
    }
    let path = hardware.path("theirs.efi");
    fs::write(&path, image).expect("the temporary folder can be written");
    path
}
