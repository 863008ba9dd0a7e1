//! A boot loader for a Cortex-M4: decides with stillboot which slot to start, loads it into memory,
//! arms the watchdog and jumps.
//!
//! Everything that decides is in the core. Here stand the board's memory, its watchdog, its way to
//! start a program and its way to hand over the boot proof.
#![no_std]
#![no_main]

mod psram;

use cortex_m_rt::entry;
use mcu_board::flash::FileFlash;
use mcu_board::identity::{DEVICE, TEST_ROOTS};
use mcu_board::machine::Machine;
use mcu_board::retained::Retained;
use mcu_board::stack::{Depth, Mark};
use mcu_board::uart::Uart;
use mcu_board::watchdog;
use mcu_map::{IMAGE_AT, TRIES};
use psram::Psram;
use static_cell::{ConstStaticCell, StaticCell};
use stillboot::boot::{Boot, BootConfig, Event, Report};
use stillboot::device::NorDevice;
use stillboot::driver::{self, NoStore};
use stillboot::format::{BootProof, Role};
use stillboot::verify::{SoftSha256, WINDOW_LEN_MIN};

/// Holds the head of one slot as far as it is read at once, or the record.
static BUFFER: ConstStaticCell<[u8; BUFFER_LEN]> = ConstStaticCell::new([0; BUFFER_LEN]);
const BUFFER_LEN: usize = WINDOW_LEN_MIN + 512;

static CONFIG: StaticCell<BootConfig<'static>> = StaticCell::new();
static BOOT: StaticCell<Boot<'static, SoftSha256>> = StaticCell::new();

#[entry]
fn main() -> ! {
    let machine = Machine::read();
    let (retained, watchdog_reset) = Retained::start();
    if TEST_ROOTS {
        defmt::warn!("this loader trusts the keys of the test suite: everybody can sign");
    }
    if watchdog_reset {
        defmt::warn!("the program before did not ask for this reset");
    }
    let Ok(layout) = mcu_map::layout() else { stop(None) };
    let config = CONFIG.init(
        BootConfig::new(DEVICE, layout, machine.nonce.wrapping_add(retained.starts().into()))
            .with_tries(TRIES)
            .with_check_late(true)
            .with_watchdog_reset(watchdog_reset),
    );
    let Ok(mut flash) = NorDevice::new(FileFlash::open(&machine, retained)) else { stop(None) };
    // SAFETY: `main` runs once.
    let mut psram = unsafe { Psram::new() };
    let boot = BOOT.init_with(|| Boot::new(config));
    let buffer = BUFFER.take();

    let mark = machine.measure.then(Mark::new);
    let mut event = Event::Start;
    let ready = loop {
        let proof = driver::boot(boot, event, &mut [&mut flash], &mut NoStore, &mut psram, buffer);
        let Some(proof) = proof else { break None };
        if let (Some(image_len), Some(settings_len)) =
            (psram.len_of(Role::Image), psram.len_of(Role::Cmdline))
        {
            break Some((proof, image_len, settings_len));
        }
        // It verified, so it was made like this: a release for another kind of board. It will be no
        // better the next time, and another slot may hold one for this board.
        event = Event::Returned;
    };
    if let Some(mark) = mark {
        measure(mark.depth());
    }
    for line in &boot.report().lines {
        defmt::info!("{}", line);
    }
    let Some((proof, image_len, settings_len)) = ready else { stop(Some(boot.report())) };
    defmt::info!("starting {} with {=usize} bytes", proof, image_len);
    start(&machine, retained, &proof, settings_len)
}

/// Boot step 6: watchdog, proof, jump.
fn start(machine: &Machine, retained: Retained, proof: &BootProof, settings_len: usize) -> ! {
    retained.hand_over(proof, settings_len);
    watchdog::arm(machine.watchdog);
    let vectors = IMAGE_AT as *const u32;
    // SAFETY: single core, no interrupt is enabled, and the address is aligned as a table of vectors
    // has to be.
    unsafe { (*cortex_m::peripheral::SCB::PTR).vtor.write(IMAGE_AT as u32) };
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
    // SAFETY: the image was verified to be what the publisher linked for this address: it begins
    // with a stack pointer and an entry. Nothing of this program is used any more.
    unsafe { cortex_m::asm::bootload(vectors) }
}

/// Boot step 9: nothing can be started. A product would offer its way of repair here, such as a
/// recovery slot or an installation over the serial port.
fn stop(report: Option<&Report>) -> ! {
    let mut uart = Uart::sending();
    uart.send("nothing boots\n");
    if let Some(report) = report {
        for line in &report.lines {
            uart.send(line.candidate.slot.name());
            uart.send(" not started\n");
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}

/// Tells what the decision took. Without `core::fmt`, which would be a tenth of the loader.
fn measure(depth: Depth) {
    let mut uart = Uart::sending();
    let mut tell = |name: &str, value: usize| {
        uart.send(name);
        let (mut digits, mut at, mut rest) = ([0; 10], 10, value as u32);
        while at > 0 && (rest > 0 || at == digits.len()) {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        uart.send(core::str::from_utf8(&digits[at..]).unwrap_or_default());
    };
    tell("measured boot stack_calls=", depth.calls);
    tell(" stack_total=", depth.total);
    tell(" context=", size_of::<Boot<'static, SoftSha256>>());
    tell(" config=", size_of::<BootConfig<'static>>());
    tell(" buffer=", BUFFER_LEN);
    uart.send("\n");
}
