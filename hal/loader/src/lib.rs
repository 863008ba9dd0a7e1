//! What a boot loader with disks needs beside the core, whatever started it: firmware, or nothing.
//!
//! | module | what it does |
//! |---|---|
//! | [`gpt`] | reads and checks a partition table |
//! | [`plan`] | says which partition of which disk is what |
//! | [`bundle`] | verifies a bundle that is in memory as a whole |
//! | [`pe`] | finds a section of an image that runs |
//! | [`command_line`] | appends the proof to the verified command line |
//! | [`floor`] | the bytes of the variable that keeps a floor |
//! | [`counted`] | a store of the floor that is bound to a counter |
//! | [`measure`] | says what a power-on measures into a TPM |
//! | [`refusal`] | says whether what was not started is to blame for it |
//! | [`startable`] | says what a slot must hold to be started |
//! | [`report`] | puts what a power-on found into words |
//!
//! It allocates a little: a partition table, and text. Nothing here calls firmware or touches a
//! machine, and all of it is tested on the host.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bundle;
pub mod command_line;
pub mod counted;
pub mod floor;
pub mod gpt;
pub mod measure;
pub mod pe;
pub mod plan;
pub mod refusal;
pub mod report;
pub mod startable;

#[cfg(test)]
extern crate std;

/// CRC-32 as IEEE 802.3 has it.
fn crc32(bytes: &[u8]) -> u32 {
    // Without a table: only partition tables and one variable are summed.
    const CRC: crc::Crc<u32, crc::NoTable> =
        crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);
    CRC.checksum(bytes)
}
