//! Sets of device trees as distributors build them, and the answer that a machine gets.
//!
//! The trees are made by `dtc`, and `dmidecode` reads the tables first: neither is code of ours.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Run, World};

/// What a machine says of itself.
#[derive(Clone, Copy)]
struct Identity {
    maker: &'static str,
    product: &'static str,
    sku: &'static str,
    family: &'static str,
}

const LAPTOP: Identity =
    Identity { maker: "LENOVO", product: "21BX", sku: "LENOVO_MT_21BX", family: "ThinkPad X13s" };

/// The machine that shares two fields with a tablet and is a server.
const SERVER: Identity =
    Identity { maker: "HUAWEI", product: "Kunpeng", sku: "C233", family: "W510" };

/// Its id of kind 7, by maker and SKU, as it stands in public lists for the tablet.
const TABLET_BY_SKU: &str = "7ea8b73b-2cbb-562b-aecc-7f0f64c42630";

/// The id of kind 7 of a maker alone, an empty SKU hashed with it, as public lists have it.
const ACER_BY_NOTHING: &str = "7c107a7f-2d77-51aa-aef8-8d777e26ffbc";

/// One structure of a table: its bytes from the fifth on, and its texts.
fn structure(kind: u8, handle: u8, body: &[u8], texts: &[&str]) -> Vec<u8> {
    let mut bytes = vec![kind, 4 + body.len() as u8, handle, 0];
    bytes.extend(body);
    for text in texts {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    if texts.is_empty() {
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

/// A table with an entry point of SMBIOS 3, as `dmidecode --dump-bin` writes it.
fn dump(identity: &Identity) -> Vec<u8> {
    let mut texts = Vec::new();
    let mut number = |text: &'static str| {
        if text.is_empty() {
            return 0;
        }
        texts.push(text);
        texts.len() as u8
    };
    let [maker, product, sku, family] =
        [identity.maker, identity.product, identity.sku, identity.family].map(&mut number);
    let mut system = vec![maker, product, 0, 0];
    // UUID and the reason of waking up.
    system.extend([0x11; 16]);
    system.extend([6, sku, family]);
    let mut table = structure(1, 1, &system, &texts);
    table.extend(structure(127, 2, &[], &[]));
    let mut entry = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    entry.extend((table.len() as u32).to_le_bytes());
    entry.extend(32_u64.to_le_bytes());
    entry[5] = entry.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    entry.resize(32, 0);
    [entry, table].concat()
}

/// A folder for trees and machines.
struct Shelf(World);

impl Shelf {
    fn new() -> Self {
        let world = World::new();
        std::fs::create_dir(world.path("trees")).unwrap();
        Self(world)
    }

    /// A tree by `dtc`.
    fn tree(&self, name: &str, compatible: &str) {
        let source = format!(
            "/dts-v1/; / {{ compatible = \"{compatible}\", \"vendor,soc\"; model = \"M {name}\"; \
             cpus {{ compatible = \"not,this\"; }}; }};"
        );
        self.0.write("tree.dts", source);
        let status = Command::new("dtc")
            .args(["-q", "-I", "dts", "-O", "dtb", "-o"])
            .arg(self.0.path("trees").join(name))
            .arg(self.0.path("tree.dts"))
            .stdin(Stdio::null())
            .status();
        assert!(status.expect("dtc is there: `cargo xtask setup` brings it").success());
    }

    fn machine(&self, name: &str, value: &Value) {
        self.0.write(&format!("trees/{name}"), value.to_string());
    }

    fn dump(&self, identity: &Identity) {
        self.0.write("machine.bin", dump(identity));
    }

    fn finds(&self, options: &str) -> Run {
        self.0.run(&format!("dtb match --smbios machine.bin --json {options}"))
    }

    /// The ids of a machine, by kind.
    fn id(&self, kind: u64) -> Option<String> {
        let ids = self.finds("--set trees").json()["ids"].as_array().unwrap().clone();
        let id = ids.into_iter().find(|id| id["kind"] == kind)?;
        Some(id["id"].as_str().unwrap().to_owned())
    }
}

#[test]
fn what_is_no_table_of_a_machine_is_not_taken_for_a_silent_one() {
    let shelf = Shelf::new();
    shelf.tree("x13s.dtb", "lenovo,thinkpad-x13s");
    let whole = dump(&LAPTOP);
    let noise = crate::support::noise(3, 5000);
    let zeros = vec![0; 4096];
    for bytes in [&b""[..], b"junk\n", &noise, &zeros, &whole[..32], &whole[..31]] {
        shelf.0.write("machine.bin", bytes);
        shelf.finds("--set trees").refused(1, "dtbs");
    }
}

#[test]
fn tables_are_read_as_dmidecode_reads_them() {
    let shelf = Shelf::new();
    shelf.tree("x13s.dtb", "lenovo,thinkpad-x13s");
    for identity in [LAPTOP, SERVER] {
        shelf.dump(&identity);
        let read = Command::new("dmidecode")
            .args(["--type", "1", "--from-dump"])
            .arg(shelf.0.path("machine.bin"))
            .output()
            .expect("dmidecode is there: `cargo xtask setup` brings it");
        let text = String::from_utf8(read.stdout).unwrap();
        for (name, value) in [
            ("Manufacturer", identity.maker),
            ("Product Name", identity.product),
            ("SKU Number", identity.sku),
            ("Family", identity.family),
        ] {
            assert!(text.contains(&format!("{name}: {value}\n")), "{text}");
        }
    }
    // The same two fields give the id that public lists have.
    assert_eq!(shelf.id(7).as_deref(), Some(TABLET_BY_SKU));
}

#[test]
fn machine_gets_its_tree_from_a_folder_and_from_a_set() {
    let shelf = Shelf::new();
    shelf.tree("x13s.dtb", "lenovo,thinkpad-x13s");
    shelf.tree("other.dtb", "other,machine");
    shelf.dump(&LAPTOP);
    let unknown = shelf.finds("--set trees").expect(5).json();
    assert_eq!(unknown["tree"], Value::Null, "{unknown}");
    let id = shelf.id(4).expect("maker, family, product and SKU are there");
    shelf.machine(
        "x13s.json",
        &json!({
            "type": "devicetree", "name": "ThinkPad X13s",
            "compatible": "lenovo,thinkpad-x13s", "hwids": [id],
        }),
    );
    shelf.machine("firmware.json", &json!({ "type": "uefi-fw", "name": "not ours" }));
    shelf.0.run("dtb lint trees").expect(0);
    let packed = shelf.0.run("dtb pack trees --out set.bin --json").expect(0).json();
    assert_eq!(packed["trees"].as_array().unwrap().len(), 2, "{packed}");
    for set in ["trees", "set.bin"] {
        let found = shelf.finds(&format!("--set {set}")).expect(0).json();
        assert_eq!((&found["tree"], &found["kind"]), (&json!("x13s.dtb"), &json!(4)), "{found}");
        assert_eq!(found["compatible"], "lenovo,thinkpad-x13s", "{found}");
    }
    let shown = shelf.0.run("dtb show set.bin").expect(0).stdout;
    assert!(shown.contains("lenovo,thinkpad-x13s") && shown.contains("1 ids"), "{shown}");
    let shown = shelf.0.run("dtb show trees/other.dtb --json").expect(0).json();
    assert_eq!(shown["compatible"], json!(["other,machine", "vendor,soc"]), "{shown}");
    assert_eq!(shown["model"], "M other.dtb", "{shown}");
    // Trees that no machine needs can stay at home.
    let packed = shelf.0.run("dtb pack trees --only-needed --out set.bin --json").expect(0).json();
    assert_eq!(packed["trees"].as_array().unwrap().len(), 1, "{packed}");
}

#[test]
fn empty_field_makes_no_id_that_other_machines_share() {
    let shelf = Shelf::new();
    shelf.tree("aspire.dtb", "acer,aspire1");
    shelf.machine(
        "aspire.json",
        &json!({
            "type": "devicetree", "name": "Aspire 1", "compatible": "acer,aspire1",
            "hwids": [ACER_BY_NOTHING], "two_fields": true,
        }),
    );
    shelf.dump(&Identity { maker: "Acer", product: "SomethingElse", sku: "", family: "" });
    let found = shelf.finds("--set trees").expect(5).json();
    assert_eq!(found["tree"], Value::Null, "{found}");
    assert!(!found.to_string().contains(ACER_BY_NOTHING), "{found}");
}

#[test]
fn two_fields_are_enough_only_for_who_says_so() {
    let shelf = Shelf::new();
    shelf.tree("gaokun3.dtb", "huawei,gaokun3");
    let machine = |two_fields: bool| {
        json!({
            "type": "devicetree", "name": "MateBook E Go", "compatible": "huawei,gaokun3",
            "hwids": [TABLET_BY_SKU], "two_fields": two_fields,
        })
    };
    shelf.machine("gaokun3.json", &machine(false));
    shelf.dump(&SERVER);
    let found = shelf.finds("--set trees").expect(5).json();
    assert!(found["text"].as_str().unwrap().contains(TABLET_BY_SKU), "{found}");
    shelf.machine("gaokun3.json", &machine(true));
    let found = shelf.finds("--set trees").expect(0).json();
    assert_eq!((&found["tree"], &found["kind"]), (&json!("gaokun3.dtb"), &json!(7)), "{found}");
}

#[test]
fn tree_of_the_firmware_is_replaced_by_its_own_kind_only() {
    let shelf = Shelf::new();
    shelf.tree("x13s.dtb", "lenovo,thinkpad-x13s");
    shelf.tree("virt.dtb", "linux,dummy-virt");
    shelf.dump(&LAPTOP);
    let id = shelf.id(4).unwrap();
    shelf.machine(
        "x13s.json",
        &json!({ "name": "X13s", "compatible": "lenovo,thinkpad-x13s", "hwids": [id] }),
    );
    let found = shelf.finds("--set trees --firmware trees/virt.dtb").expect(0).json();
    assert_eq!((&found["tree"], &found["kind"]), (&json!("virt.dtb"), &Value::Null), "{found}");
    // Firmware that knows the machine knows better than its ids do.
    let firmware = shelf.0.path("firmware.dtb");
    std::fs::rename(shelf.0.path("trees/virt.dtb"), firmware).unwrap();
    let found = shelf.finds("--set trees --firmware firmware.dtb").expect(5).json();
    assert!(found["text"].as_str().unwrap().contains("linux,dummy-virt"), "{found}");
}

#[test]
fn lint_names_every_objection_at_once() {
    let shelf = Shelf::new();
    shelf.tree("one.dtb", "vendor,one");
    shelf.tree("one-again.dtb", "vendor,one");
    shelf.tree("two.dtb", "vendor,two");
    shelf.0.write("trees/none.dtb", "no tree at all");
    let nil = "00000000-0000-0000-0000-000000000000";
    for (file, compatible, id) in [
        ("a.json", "vendor,one", TABLET_BY_SKU),
        ("b.json", "vendor,two", TABLET_BY_SKU),
        ("c.json", "vendor,two", nil),
        ("d.json", "vendor,three", ACER_BY_NOTHING),
    ] {
        let machine = json!({ "name": file, "compatible": compatible, "hwids": [id] });
        shelf.machine(file, &machine);
    }
    for command in ["dtb lint trees", "dtb pack trees --out set.bin"] {
        let run = shelf.0.run(&format!("{command} --json")).refused(4, "dtbs");
        let error = run.json()["error"].as_str().unwrap().to_owned();
        for part in [
            "none.dtb",
            "one.dtb",
            "one-again.dtb",
            "vendor,three",
            "vendor,two",
            "id of zeros",
            TABLET_BY_SKU,
        ] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
    assert!(!shelf.0.path("set.bin").exists());
}

#[test]
fn damaged_files_are_named_and_never_a_panic() {
    let shelf = Shelf::new();
    shelf.tree("one.dtb", "vendor,one");
    shelf.dump(&LAPTOP);
    shelf.0.run("dtb pack trees --out set.bin").expect(0);
    let set = shelf.0.read("set.bin");
    for cut in [0, 7, 31, 40, set.len() - 1] {
        shelf.0.write("short.bin", &set[..cut]);
        let run = shelf.finds("--set short.bin").refused(1, "dtbs");
        assert!(run.stdout.contains("short.bin"), "{run:?}");
    }
    // A tree that is not what the index says is refused when it is the one.
    let at = set.windows(10).rposition(|bytes| bytes == b"vendor,one").unwrap();
    let mut other = set;
    other[at] ^= 1;
    shelf.0.write("other.bin", other);
    shelf.0.run("dtb show other.bin --json").refused(1, "dtbs");
    shelf.0.write("machine.bin", &dump(&LAPTOP)[..20]);
    shelf.finds("--set set.bin").refused(1, "dtbs");
    shelf.0.write("trees/machine.json", "{");
    shelf.0.run("dtb lint trees --json").refused(1, "dtbs");
    shelf.0.run("dtb lint nowhere --json").expect(1);
}

/// The tree that was chosen was looked at after the result was printed: two objects.
#[test]
fn a_match_of_a_damaged_tree_is_one_object() {
    let shelf = Shelf::new();
    shelf.tree("one.dtb", "vendor,one");
    shelf.0.run("dtb pack trees --out set.bin").expect(0);
    let set = shelf.0.read("set.bin");
    let command = "dtb match --firmware trees/one.dtb --set bad.bin";
    let mut refused = 0;
    for at in 0..set.len() {
        let mut bad = set.clone();
        bad[at] ^= 1;
        shelf.0.write("bad.bin", bad);
        let run = shelf.0.run(&format!("{command} --json"));
        // One object, whatever it says.
        run.json();
        if run.code == 1 {
            refused += 1;
            if refused % 16 == 1 {
                assert_eq!(shelf.0.run(command).expect(1).stdout, "");
            }
        }
    }
    assert!(refused > 4, "{refused}");
}
