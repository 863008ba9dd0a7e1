//! What a loader will measure. The stories in QEMU test that it does; here the registers are
//! computed once more, from what `inspect` says.

use sha2::{Digest as _, Sha256, Sha384};

use crate::support::{TRUST, World};

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn world() -> World {
    let world = World::new();
    world.write("kernel", [7; 5000]);
    world.write("initrd", [8; 3000]);
    world.write("line", "console=ttyS0 panic=1");
    world.pack(1, "--kernel kernel --initramfs initrd --cmdline-file line").expect(0);
    world
}

#[test]
fn registers_follow_from_the_bundle() {
    let world = world();
    let head = world.run("inspect v1.sbb --json").expect(0).json();
    let component = |role: &str| {
        let all = head["manifest"]["components"].as_array().unwrap();
        let found = all.iter().find(|component| component["role"] == role).unwrap();
        unhex(found["index_root"].as_str().unwrap())
    };
    let data = [
        unhex(head["digest"].as_str().unwrap()),
        component("kernel"),
        component("initramfs"),
        b"console=ttyS0 panic=1".to_vec(),
    ];
    let (mut sha256, mut sha384) = (vec![0; 32], vec![0; 48]);
    for data in &data {
        let event = Sha256::digest(data);
        sha256 = Sha256::digest([&sha256[..], &event].concat()).to_vec();
        let event = Sha384::digest(data);
        sha384 = Sha384::digest([&sha384[..], &event].concat()).to_vec();
    }
    let said = world.run(&format!("pcr predict v1.sbb {TRUST} --json")).expect(0).json();
    let registers = said["registers"].as_array().unwrap();
    assert_eq!(registers.len(), 1, "{said}");
    assert_eq!(registers[0]["pcr"], 8);
    assert_eq!(registers[0]["sha256"], hex(&sha256));
    assert_eq!(registers[0]["sha384"], hex(&sha384));
    let events = registers[0]["events"].as_array().unwrap();
    assert_eq!(events.len(), 4, "{said}");
    assert_eq!(events[3], "stillboot cmdline console=ttyS0 panic=1");
}

#[test]
fn recovery_is_predicted_where_it_is_started_from() {
    let world = world();
    world
        .run(&format!(
            "pack {TRUST} --version 0.1.0 --sequence 1 --kernel kernel --recovery \
             --keyset keys/keyset.sbk --key keys/recovery-1.pem --out recovery.sbb"
        ))
        .expect(0);
    world.run(&format!("pcr predict recovery.sbb {TRUST} --json")).refused(4, "trust");
    let said = world.run(&format!("pcr predict recovery.sbb {TRUST} --slot recovery --json"));
    let events = said.expect(0).json()["registers"][0]["events"].clone();
    assert_eq!(events.as_array().unwrap().len(), 2, "{events}");
    world.run(&format!("pcr predict v1.sbb {TRUST} --slot recovery --json")).refused(4, "trust");
}

#[test]
fn what_no_loader_would_start_is_not_predicted() {
    let world = world();
    world.run(&format!("pcr predict . {TRUST} --json")).refused(2, "usage");
    let mut damaged = world.read("v1.sbb");
    *damaged.last_mut().unwrap() ^= 1;
    world.write("damaged.sbb", damaged);
    world.run(&format!("pcr predict damaged.sbb {TRUST} --json")).refused(4, "content");
    let other = TRUST.replace("m1", "m2");
    world.run(&format!("pcr predict v1.sbb {other} --json")).refused(4, "class");
    world.pack(2, "--component role=kernel,file=kernel,slot=b").expect(0);
    world.run(&format!("pcr predict v2.sbb {TRUST} --json")).refused(4, "pcr");
    world.run(&format!("pcr predict v2.sbb {TRUST} --slot b --json")).expect(0);
    world.run(&format!("pcr predict v1.sbb {TRUST} --tree a.dtb --json")).refused(4, "pcr");
}
