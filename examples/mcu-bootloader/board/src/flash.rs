//! NOR flash in a file of the host, with the laws of NOR flash and a power supply that fails.
//!
//! The file is the chip: its content survives the machine. No flash of this kind can write outside
//! of erased bytes. Such a write ends the machine, so that no test can miss it.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use mcu_map::{ERASE_BLOCK_BYTES, FLASH_BYTES, WRITE_GRANULE_BYTES, exit};
use semihosting::fs::{File, OpenOptions};
use semihosting::io::{Read, Seek, SeekFrom, Write};
use semihosting::process;

use crate::machine::Machine;
use crate::retained::Retained;

const ERASED: u8 = 0xff;

/// Bytes that are checked and torn at a time.
const PIECE_BYTES: usize = 256;

/// The flash.
#[derive(Debug)]
pub struct FileFlash {
    file: File,
    retained: Retained,
    cut: u32,
    random: Random,
}

/// How a request ends that the power failure interrupts.
#[derive(Clone, Copy, Debug)]
enum Tear {
    /// Nothing of it was done.
    Before,
    /// All of it was done, but the caller got no result.
    After,
    /// The first bytes are new, the others old.
    Prefix(usize),
    /// Each byte is old, new or in between.
    Anything,
}

impl FileFlash {
    /// Opens the file. Ends the machine if there is none.
    #[must_use]
    pub fn open(machine: &Machine, retained: Retained) -> Self {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(machine.flash()) else {
            process::exit(exit::MACHINE)
        };
        Self { file, retained, cut: machine.cut, random: Random(machine.seed) }
    }

    fn read_at(&mut self, offset: u32, into: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.file.seek(SeekFrom::Start(offset.into())).map_err(|_| NorFlashErrorKind::Other)?;
        self.file.read_exact(into).map_err(|_| NorFlashErrorKind::Other)
    }

    fn write_at(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.file.seek(SeekFrom::Start(offset.into())).map_err(|_| NorFlashErrorKind::Other)?;
        self.file.write_all(bytes).map_err(|_| NorFlashErrorKind::Other)
    }

    /// The law: a granule is written once after each erase.
    fn check_blank(&mut self, offset: u32, len: usize) -> Result<(), NorFlashErrorKind> {
        let mut old = [0; PIECE_BYTES];
        for at in (0..len).step_by(PIECE_BYTES) {
            let old = &mut old[..PIECE_BYTES.min(len - at)];
            self.read_at(offset + at as u32, old)?;
            if old.iter().any(|byte| *byte != ERASED) {
                defmt::error!("write of {} bytes to unerased flash at {:#x}", len, offset);
                process::exit(exit::FLASH_LAW);
            }
        }
        Ok(())
    }

    /// Counts an operation on `len` bytes; says how it is torn if the power fails in it.
    fn begin(&mut self, len: usize) -> Option<Tear> {
        if self.retained.count_operation() != self.cut {
            return None;
        }
        Some(match self.random.below(4) {
            0 => Tear::Before,
            1 => Tear::After,
            2 => Tear::Prefix(self.random.below(len.max(1))),
            _ => Tear::Anything,
        })
    }

    /// Leaves what `tear` leaves of an operation that would have made the bytes at `offset` what
    /// `new` says, byte by byte, and cuts the power.
    fn tear(&mut self, tear: Tear, offset: u32, len: usize, new: impl Fn(usize) -> u8) -> ! {
        let mut piece = [0; PIECE_BYTES];
        for at in (0..len).step_by(PIECE_BYTES) {
            let piece = &mut piece[..PIECE_BYTES.min(len - at)];
            let there = offset + at as u32;
            // A file that fails now is a machine that fails: it ends either way.
            let _ = self.read_at(there, piece);
            for (number, byte) in piece.iter_mut().enumerate() {
                let (old, new) = (*byte, new(at + number));
                *byte = match tear {
                    Tear::Before => old,
                    Tear::After => new,
                    Tear::Prefix(len) if at + number < len => new,
                    Tear::Prefix(_) => old,
                    Tear::Anything => match self.random.below(4) {
                        0 => old,
                        1 => new,
                        // Bits on their way: those that differ have changed or not.
                        _ => old ^ ((old ^ new) & self.random.next() as u8),
                    },
                };
            }
            let _ = self.write_at(there, piece);
        }
        process::exit(exit::POWER_CUT)
    }
}

impl ErrorType for FileFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        self.read_at(offset, bytes)
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = WRITE_GRANULE_BYTES;
    const ERASE_SIZE: usize = ERASE_BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        if let Some(tear) = self.begin((to - from) as usize) {
            self.tear(tear, from, (to - from) as usize, |_| ERASED);
        }
        for at in (from..to).step_by(PIECE_BYTES) {
            self.write_at(at, &[ERASED; PIECE_BYTES])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        self.check_blank(offset, bytes.len())?;
        if let Some(tear) = self.begin(bytes.len()) {
            self.tear(tear, offset, bytes.len(), |at| bytes[at]);
        }
        self.write_at(offset, bytes)
    }
}

/// Numbers that follow from a seed: Sebastiano Vigna's `SplitMix64`.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is far below 2^32: the bias does not matter here.
    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) as usize) % end
    }
}
