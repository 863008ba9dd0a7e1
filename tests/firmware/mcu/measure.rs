//! What stack and memory the machines take on the device, against limits. `cargo xtask mcu --table`
//! makes the table of `docs/BENCHMARKS.md` of what this prints.

use std::collections::BTreeMap;

use mcu_map::ERASE_BLOCK_BYTES;
use stillboot::format::Slot;

use crate::firmware::{self, Behaviour, publisher};
use crate::flash::{Flash, factory};
use crate::machine::{Machine, Settings};

/// Where the records end: they stand at the start of the flash.
const RECORD_LEN: usize = 3 * ERASE_BLOCK_BYTES;

/// Waits for a line `measured WHAT ...` and takes it apart.
fn measured(machine: &mut Machine, what: &str) -> BTreeMap<String, usize> {
    let text = machine.expect(&format!("measured {what} "));
    text.split(' ')
        .map(|pair| {
            let (name, value) = pair.split_once('=').expect("a pair");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
#[ignore = "boots a board in QEMU"]
fn stack_and_contexts_keep_their_limits() {
    let firmware = firmware::silent();
    let content = factory(&publisher(), &firmware.release(1, Behaviour::Healthy));
    let flash = Flash::new(&content);
    let settings = Settings { measure: true, ..Settings::default() };
    let mut machine = Machine::start(&firmware.boot, flash.path(), &settings);

    let mut worst = BTreeMap::new();
    let mut note = |name: &str, value: usize| {
        let worst = worst.entry(name.to_owned()).or_insert(0);
        *worst = value.max(*worst);
    };
    let boot = measured(&mut machine, "boot");
    note("boot stack", boot["stack_calls"]);
    note("boot context", boot["context"]);
    note("boot config", boot["config"]);
    note("boot buffer", boot["buffer"]);
    note("confirm stack", measured(&mut machine, "confirm")["stack_calls"]);
    note("install context", measured(&mut machine, "install")["context"]);
    note("install config", measured(&mut machine, "install-config")["context"]);
    note("confirm context", measured(&mut machine, "operate")["context"]);
    note("record", measured(&mut machine, "record")["context"]);
    let buffers = measured(&mut machine, "buffers");
    note("install buffer", buffers["install"]);
    note("confirm buffer", buffers["operate"]);

    machine.install(&firmware.release(2, Behaviour::Healthy));
    machine.expect("installed to b");
    note("install stack", measured(&mut machine, "install")["stack_calls"]);
    machine.reset();
    // A trial, and then a start that looks at both slots and raises the floor.
    note("boot stack", measured(&mut machine, "boot")["stack_calls"]);
    note("confirm stack", measured(&mut machine, "confirm")["stack_calls"]);
    machine.reset();
    note("boot stack", measured(&mut machine, "boot")["stack_calls"]);
    machine.expect("good already");
    machine.kill();
    // And those that find something wrong: a rotten image, a head without a valid signature, no
    // record.
    let content = flash.content();
    let (image, head) = (Flash::image_byte(Slot::B), Flash::head_byte(Slot::B));
    for (start, len) in [(image, 1), (head, 1), (0, RECORD_LEN)] {
        let mut content = content.clone();
        content[start..start + len].iter_mut().for_each(|byte| *byte ^= 0x10);
        let flash = Flash::new(&content);
        let mut machine = Machine::start(&firmware.boot, flash.path(), &settings);
        note("boot stack", measured(&mut machine, "boot")["stack_calls"]);
        machine.expect("app ");
    }
    let sum = ["context", "config", "buffer", "stack"].map(|part| worst[&format!("boot {part}")]);
    worst.insert("boot sum".into(), sum.iter().sum());
    for (name, bytes) in &worst {
        println!("mcu: {name}: {bytes}");
    }

    for (name, limit) in LIMITS {
        let found = worst[*name];
        assert!(found <= *limit, "{name}: expected at most {limit} bytes, found {found}");
    }
}

/// In bytes: the goals, and less where less was reached. A limit is raised only by hand, with a
/// reason.
const LIMITS: &[(&str, usize)] = &[
    // More than 3 KiB: it holds notes of the record and where it stands in a head. For that the
    // buffer holds a window of the head instead of all of it: in sum a power-on takes less.
    ("boot context", 3584),
    ("boot sum", 9216),
    ("install context", 4 << 10),
    ("confirm context", 2 << 10),
    ("boot stack", 3584),
    ("confirm stack", 2 << 10),
    ("install stack", 3584),
];
