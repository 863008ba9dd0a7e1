//! Media whose boot record cannot be written, or cannot be read. A library that is loaded before
//! the C library makes the requests fail.

use std::process::Command;

use crate::support::{Run, TRUST, World, tool};

/// Fails requests to bytes from 1 MiB up to 4 MiB, where the record stands: all reads with `READ`
/// set, and all writes but the first `WRITES`.
const FAILS: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int is_record(off64_t at) { return at >= 1 << 20 && at < 4 << 20; }
static int fail(void) { errno = EIO; return -1; }
static int writes;
ssize_t pwrite64(int file, const void *bytes, size_t len, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    const char *most = getenv("WRITES");
    if (most && is_record(at) && writes++ >= atoi(most)) return fail();
    return real(file, bytes, len, at);
}
ssize_t pread64(int file, void *bytes, size_t len, off64_t at) {
    ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
    if (getenv("READ") && is_record(at)) return fail();
    return real(file, bytes, len, at);
}
"#;

/// The tool on a medium that fails; nothing where there is no C compiler or no such library.
fn run(world: &World, (name, value): (&str, &str), arguments: &str) -> Option<Run> {
    let library = world.path("fails.so");
    if !library.exists() {
        world.write("fails.c", FAILS);
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o", "fails.so", "fails.c", "-ldl"]);
        let made = cc.current_dir(world.folder()).output();
        if !made.is_ok_and(|made| made.status.success()) {
            return None;
        }
    }
    let mut command = tool(world.folder(), arguments);
    Some(Run::new(command.env("LD_PRELOAD", library).env(name, value).output().unwrap()))
}

/// It named no place, and promised that `resume` would go on.
#[test]
fn a_record_that_cannot_be_written_is_named_with_its_places_and_the_remedy() {
    let world = World::running();
    let before = world.read("disk.img");
    let install = format!("install v2.sbb --disk disk.img {TRUST} --proof proof --json");
    // At the first write of the record, and at the last.
    for (writes, is_begun) in [("0", false), ("1", true)] {
        world.write("disk.img", &before);
        let Some(run) = run(&world, ("WRITES", writes), &install) else { return };
        let text = run.refused(1, "record").json()["error"].as_str().unwrap().to_owned();
        for part in ["copies ", "could not be written", "stays in force: replace the medium"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(text.contains("slot b is incomplete and is not started"), is_begun, "{text}");
        assert!(!text.contains("resume"), "{text}");
    }
    world.write("disk.img", &before);
    let hold = run(&world, ("WRITES", "0"), "hold b --disk disk.img").unwrap().expect(1);
    assert!(hold.stderr.contains("could not be written"), "{hold:?}");
}

/// It said that the next boot would make a new record, and `status` said two things.
#[test]
fn a_record_of_which_no_place_can_be_read_is_not_said_to_be_rebuilt() {
    let world = World::running();
    let expected = "no place of the boot record can be read (the device reported an I/O error): the \
                    medium there must be replaced";
    let read = ("READ", "1");
    let Some(status) = run(&world, read, "status disk.img") else { return };
    let shown = status.expect(0).stdout;
    assert_eq!(shown.lines().filter(|line| line.starts_with("boot record")).count(), 1, "{shown}");
    assert!(shown.contains(expected) && !shown.contains("rebuil"), "{shown}");
    for command in [
        format!("install v2.sbb --disk disk.img {TRUST} --proof proof"),
        format!("policy check v2.sbb --disk disk.img {TRUST} --proof proof"),
        "mark-good --disk disk.img --proof proof".into(),
    ] {
        let run = run(&world, read, &format!("{command} --json")).unwrap();
        let text = run.refused(3, "record-lost").json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains(expected), "{command}: {text}");
        for part in ["next boot", "restart"] {
            assert!(!text.contains(part), "{command}: {text}");
        }
    }
}
