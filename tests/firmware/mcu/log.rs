//! The firmware's logs: silent as it is shipped, and readable where it was built to log.

use defmt_decoder::{DecodeError, Table};
use object::{Object as _, ObjectSymbol as _};
use std::fs;
use std::path::Path;

use crate::firmware::{self, Behaviour, Firmware, publisher};
use crate::flash::{Flash, factory};
use crate::machine::{Machine, Settings};

/// The log of a board that updates itself and is switched off.
fn life(firmware: &Firmware) -> Vec<u8> {
    let content = factory(&publisher(), &firmware.release(1, Behaviour::Healthy));
    let flash = Flash::new(&content);
    let mut machine = Machine::start(&firmware.boot, flash.path(), &Settings::default());
    machine.expect("good already");
    machine.kill()
}

/// The messages of one program.
fn decode(program: &Path, log: &[u8]) -> Vec<String> {
    let program = fs::read(program).expect("cargo has built it");
    let table = Table::parse(&program).expect("its table is sound").expect("it has a table");
    let mut decoder = table.new_stream_decoder();
    decoder.received(log);
    let mut messages = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => messages.push(frame.display_message().to_string()),
            // The other program's frames are in the same log.
            Err(DecodeError::Malformed) => {}
            Err(DecodeError::UnexpectedEof) => return messages,
        }
    }
}

#[test]
#[ignore = "boots a board in QEMU"]
fn nothing_is_logged_unless_it_was_built_in() {
    assert_eq!(life(firmware::silent()), b"", "a byte of a log is a byte of flash and of time");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_log_says_what_is_started_and_what_runs() {
    let firmware = firmware::logging();
    let log = life(firmware);
    let boot = decode(&firmware.boot, &log);
    assert!(
        boot.iter().any(|message| message.starts_with("starting BootProof { slot: A")),
        "{boot:#?}"
    );
    let app = decode(&firmware.app, &log);
    assert!(app.iter().any(|message| message.starts_with("version 1.0.0 runs")), "{app:#?}");
}

/// What takes room and is of no use on a board: the machinery that formats numbers. The application
/// has some of it, so it would be found.
#[test]
#[ignore = "builds the firmware"]
fn the_loader_formats_nothing() {
    let formats = |program: &Path| {
        let bytes = fs::read(program).expect("cargo has built it");
        let file = object::File::parse(&*bytes).expect("it is an ELF program");
        let names = file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned));
        names.filter(|name| name.contains("core3fmt")).collect::<Vec<_>>()
    };
    let firmware = firmware::silent();
    assert_ne!(formats(&firmware.app), Vec::<String>::new());
    assert_eq!(formats(&firmware.boot), Vec::<String>::new());
}
