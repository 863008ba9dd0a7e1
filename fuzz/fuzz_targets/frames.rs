#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stillboot_sim::fuzz::frames(data));
