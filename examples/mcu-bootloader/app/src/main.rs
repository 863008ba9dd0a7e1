//! An application for a Cortex-M4 that confirms itself, and installs updates that come over the
//! serial port.
//!
//! It says what it does in lines on the serial port, and takes these commands, a line each:
//!
//! - `install LEN`: a bundle of LEN bytes; it is asked for in pieces, with the lines `send N` for its
//!   next N bytes and `skip N` for N bytes that need not be sent;
//! - `operations`: how many writes and erases the flash has seen since the power-on;
//! - `reset`: reset the board, which starts the update if there is one.
#![no_std]
#![no_main]

mod settings;
mod update;

use core::fmt::Write;

use cortex_m_rt::entry;
use heapless::String;
use mcu_board::flash::FileFlash;
use mcu_board::machine::Machine;
use mcu_board::retained::{Retained, describe};
use mcu_board::stack::Depth;
use mcu_board::uart::Uart;
use settings::Behaviour;
use stillboot::device::NorDevice;
use stillboot::request::Answer;
use update::{BUFFER_LEN, CONTEXTS, Updater};

#[entry]
fn main() -> ! {
    let machine = Machine::read();
    let retained = Retained::new();
    let mut uart = Uart::receiving();
    let Some(hand_over) = retained.take_hand_over() else {
        // Without a proof it is not known what runs, and nothing may be confirmed or installed.
        say(&mut uart, format_args!("no proof"));
        retained.reset()
    };
    let Some((version, behaviour)) = settings::read(hand_over.settings_len) else {
        say(&mut uart, format_args!("no settings"));
        retained.reset()
    };
    let proof = hand_over.proof;
    defmt::info!("version {} runs from {}", version, proof);
    say(&mut uart, format_args!("app {version} {}", describe(&proof)));

    match behaviour {
        Behaviour::Healthy => {}
        Behaviour::Crashes => panic!("this release was made to crash"),
        Behaviour::Hangs => cortex_m::interrupt::free(|_| {
            loop {
                core::hint::spin_loop();
            }
        }),
        Behaviour::Sick => {
            say(&mut uart, format_args!("sick"));
            retained.reset()
        }
    }

    let layout = mcu_map::layout();
    let flash = NorDevice::new(FileFlash::open(&machine, retained));
    let (Ok(layout), Ok(mut flash)) = (layout, flash) else { retained.reset() };
    let mut updater = Updater::new(&mut flash, layout, proof);

    let (answer, depth) = updater.confirm();
    match answer {
        Ok(Answer::Already) => say(&mut uart, format_args!("good already")),
        Ok(_) => say(&mut uart, format_args!("confirmed")),
        Err(error) => say(&mut uart, format_args!("not confirmed: {error}")),
    }
    if machine.measure {
        measured(&mut uart, "confirm", depth);
        for (name, len) in CONTEXTS {
            say(&mut uart, format_args!("measured {name} context={len}"));
        }
        let least = updater.confirm_buffer_len_min();
        say(&mut uart, format_args!("measured buffers install={BUFFER_LEN} operate={least}"));
    }

    let mut line = String::<32>::new();
    loop {
        uart.line(&mut line);
        match line.split_once(' ') {
            Some(("install", len)) => match len.parse() {
                Ok(len) => install(&mut updater, &mut uart, len, machine.measure),
                Err(_) => say(&mut uart, format_args!("expected: install LEN")),
            },
            _ if line == "operations" => {
                say(&mut uart, format_args!("operations {}", retained.operations()));
            }
            _ if line == "reset" => retained.reset(),
            _ => say(&mut uart, format_args!("expected install or reset, found `{line}`")),
        }
    }
}

fn install(updater: &mut Updater<'_>, uart: &mut Uart, len: u64, measure: bool) {
    let (installed, depth) = updater.install(uart, len);
    match installed {
        Ok(installed) => {
            defmt::info!("{}", installed);
            let (slot, written) = (installed.slot.name(), installed.written);
            let how = if installed.resumed { "resumed" } else { "installed" };
            say(uart, format_args!("{how} to {slot}, {written} bytes written"));
        }
        Err(error) => {
            defmt::warn!("{}", error);
            say(uart, format_args!("not installed: {error}"));
        }
    }
    if measure {
        measured(uart, "install", depth);
    }
}

fn measured(uart: &mut Uart, what: &str, depth: Depth) {
    let Depth { calls, total } = depth;
    say(uart, format_args!("measured {what} stack_calls={calls} stack_total={total}"));
}

fn say(uart: &mut Uart, text: core::fmt::Arguments<'_>) {
    // The serial port cannot fail.
    let _ = uart.write_fmt(text);
    let _ = uart.write_str("\n");
}
