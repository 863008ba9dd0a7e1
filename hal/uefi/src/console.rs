//! Lines to the firmware's console and keys from it. A machine without one stays silent.

use core::fmt;
use core::time::Duration;

use uefi::proto::console::text::Key;
use uefi::{boot, system, table};

/// Writes a line.
pub fn line(text: fmt::Arguments<'_>) {
    if lacks(|table| table.stdout.is_null()) {
        return;
    }
    // An error of the console must not prevent the start of a system.
    let _ = system::with_stdout(|out| {
        fmt::Write::write_fmt(out, text).and_then(|()| fmt::Write::write_str(out, "\r\n"))
    });
}

/// Says what a build with debug assertions is, on the device itself: the core takes the keys of the
/// test suite then, which everybody has.
pub fn warn_of_test_keys(what: &str) {
    if cfg!(debug_assertions) {
        line(format_args!(
            "*** stillboot: THIS {what} ACCEPTS KEYS OF THE TEST SUITE. NEVER SHIP IT. ***"
        ));
    }
}

/// The key that was pressed since the last time, if any. Does not wait.
#[must_use]
pub fn key() -> Option<Key> {
    if lacks(|table| table.stdin.is_null()) {
        return None;
    }
    system::with_stdin(|input| input.read_key()).ok().flatten()
}

/// Waits for a key, for a while.
#[must_use]
pub fn wait_for_key(patience: Duration) -> Option<Key> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < patience {
        if let Some(key) = key() {
            return Some(key);
        }
        boot::stall(PAUSE);
        waited += PAUSE;
    }
    None
}

/// The character of a key, if it has one.
#[must_use]
pub fn character(key: Key) -> Option<char> {
    match key {
        Key::Printable(character) => Some(character.into()),
        Key::Special(_) => None,
    }
}

/// Whether something is missing from the system table, or there is no such table.
fn lacks(missing: impl Fn(&uefi_raw::table::system::SystemTable) -> bool) -> bool {
    match table::system_table_raw() {
        // SAFETY: The firmware's table, which the entry point was given; it stays valid until the
        // kernel takes over, and no other code writes to it meanwhile.
        Some(table) => missing(unsafe { table.as_ref() }),
        None => true,
    }
}
