//! The serial line: a PL011, polled.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Where QEMU's `virt` has it. The tree may say otherwise; until it is read there is only this.
static BASE: AtomicUsize = AtomicUsize::new(0x0900_0000);

const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const LINE_CONTROL: usize = 0x2c;
const CONTROL: usize = 0x30;
const TRANSMIT_FULL: u32 = 1 << 5;
const EIGHT_BITS_FIFO: u32 = 0x70;
const ENABLE_TRANSMIT: u32 = 1 | 1 << 8;

/// How often a full line is asked again: one that never drains must not stop a boot.
const PATIENCE: u32 = 1 << 20;

/// Switches the line on at `base`, the place that the tree names, or at its usual place.
pub fn open(base: Option<usize>) {
    if let Some(base) = base {
        BASE.store(base, Ordering::Relaxed);
    }
    write(LINE_CONTROL, EIGHT_BITS_FIFO);
    write(CONTROL, ENABLE_TRANSMIT);
}

/// Writes a line.
pub fn line(text: fmt::Arguments<'_>) {
    // Writing to it does not fail.
    let _ = Line.write_fmt(text);
    let _ = Line.write_str("\n");
}

struct Line;

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}

fn send(byte: u8) {
    for _ in 0..PATIENCE {
        if read(FLAGS) & TRANSMIT_FULL == 0 {
            break;
        }
    }
    write(DATA, byte.into());
}

fn read(register: usize) -> u32 {
    let address = BASE.load(Ordering::Relaxed) + register;
    // SAFETY: The registers are there by the machine's definition or by its tree, they are aligned,
    // and nothing but this module touches them.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}

fn write(register: usize, value: u32) {
    let address = BASE.load(Ordering::Relaxed) + register;
    // SAFETY: As above.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}
