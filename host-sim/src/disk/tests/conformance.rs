//! The conformance suite of the core: good devices pass, and each way of being bad is caught.

use stillboot::device::conformance::{Failure, Operation, check};
use stillboot::device::{BlockDevice, DeviceError, Geometry, Partition};

use crate::disk::{Law, PowerCut, RamDisk, WriteCache};

const DISK: Geometry = Geometry::disk(512, 64 * 1024 + 512);

const FLASH: Geometry = Geometry {
    logical_block_bytes: 1,
    write_granule_bytes: 8,
    erase_block_bytes: 2048,
    capacity_bytes: 32 * 1024,
    erased: Some(0xFF),
};

fn run(mut device: impl BlockDevice) -> Result<(), Failure> {
    check(&mut device, &mut [0; 8192])
}

#[test]
fn ram_disks_conform() {
    run(RamDisk::new(DISK, 0)).unwrap();
    run(RamDisk::new(Geometry::disk(4096, 3 * 4096), 0xFF)).unwrap();
    for law in [Law::WriteOnce, Law::ClearBits] {
        for erased in [0xFF, 0] {
            let geometry = Geometry { erased: Some(erased), ..FLASH };
            run(RamDisk::with_law(geometry, law, 0xA5)).unwrap();
            run(RamDisk::with_law(geometry, law, erased)).unwrap();
        }
    }
    // The units of all kinds of flash: one for all, and a granule that is the whole block.
    for (read, write, erase) in [(1, 1, 1), (1, 1, 2), (4, 256, 4096), (4096, 4096, 4096)] {
        let geometry = Geometry {
            logical_block_bytes: read,
            write_granule_bytes: write,
            erase_block_bytes: erase,
            capacity_bytes: 16 * u64::from(erase),
            erased: Some(0xFF),
        };
        run(RamDisk::new(geometry, 0)).unwrap();
    }
}

#[test]
fn decorators_and_partitions_conform() {
    for disk in [RamDisk::new(DISK, 0), RamDisk::new(FLASH, 0)] {
        run(PowerCut::new(disk.clone())).unwrap();
        run(WriteCache::new(disk.clone())).unwrap();
        run(PowerCut::new(WriteCache::new(disk.clone()))).unwrap();
        run(Partition::new(disk, 8192, 16 * 1024).unwrap()).unwrap();
    }
}

#[test]
fn any_buffer_of_two_granules_will_do() {
    for len in [1024, 1025, 1536, 4096, 5000, 100_000] {
        check(&mut RamDisk::new(DISK, 0), &mut vec![0; len]).unwrap();
    }
    assert_eq!(check(&mut RamDisk::new(DISK, 0), &mut [0; 1023]), Err(Failure::Scratch));
}

#[test]
fn device_of_two_blocks_is_too_small() {
    let small = Geometry::disk(512, 2 * 4096 + 512);
    assert_eq!(run(RamDisk::new(small, 0)), Err(Failure::Capacity));
}

/// One way to break the contract each.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// None: the harness itself breaks nothing.
    None,
    /// A unit that is no power of two.
    OddGeometry,
    /// The capacity depends on when one asks.
    ChangingGeometry,
    /// Requests of no bytes fail.
    RefusesEmpty(Operation),
    /// Fails what it should do.
    Fails(Operation),
    /// The end of a request is computed modulo 2^64.
    WrapsAround(Operation),
    /// What is past the end is accepted and ignored.
    IgnoresRange(Operation),
    /// Refuses what is past the end, but as another error.
    WrongError(Operation),
    /// A request off the unit is rounded down.
    RoundsDown(Operation),
    /// A request past the end is done as far as it goes, and then refused.
    PartlyDone(Operation),
    /// Erases nothing.
    EraseIgnored,
    /// Erases all but the last byte.
    EraseShort,
    /// Erases one block too many, at either end.
    EraseWide { before: bool },
    /// Erases although the device has no erase.
    EraseZeroes,
    /// Writes are acknowledged and dropped.
    WriteIgnored,
    /// Second writes to a place are dropped.
    WriteOnlyFirst,
    /// All writes go to the first block.
    WriteAliased,
    /// Writes keep offsets in 13 bits.
    WriteTruncated,
    /// A write rewrites the erase block around it.
    WriteSpills,
    /// Reads of one unit are right, longer ones repeat it.
    LongReadsRepeat,
    /// Reads of one unit return the byte before.
    ShortReadsWrong,
    /// A flush drops what it should store.
    FlushForgets,
}

/// A RAM disk with one fault.
struct Broken {
    disk: RamDisk,
    fault: Fault,
    writes: u64,
}

impl Broken {
    fn run(geometry: Geometry, fault: Fault) -> Result<(), Failure> {
        // Plain NOR flash for the faults that write without an erase.
        let law = if geometry.erased.is_some() { Law::ClearBits } else { Law::Rewritable };
        let disk = RamDisk::with_law(geometry, law, 0x5A);
        run(Self { disk, fault, writes: 0 })
    }

    /// What the fault does to a request before the disk sees it: `None` to do nothing and succeed.
    fn bend(
        &mut self,
        operation: Operation,
        offset: u64,
        len: u64,
        unit: u32,
    ) -> Result<Option<(u64, u64)>, DeviceError> {
        let capacity = self.disk.geometry().capacity_bytes;
        let unit = u64::from(unit);
        let aligned = offset.is_multiple_of(unit) && len.is_multiple_of(unit);
        let past = aligned && offset.checked_add(len).is_none_or(|end| end > capacity);
        match self.fault {
            Fault::RefusesEmpty(of) if of == operation && len == 0 => Err(DeviceError::OutOfRange),
            Fault::Fails(of) if of == operation && len > 0 && aligned && !past => {
                Err(DeviceError::Io)
            }
            Fault::WrapsAround(of) if of == operation && offset.checked_add(len).is_none() => {
                Ok(None)
            }
            Fault::IgnoresRange(of) if of == operation && past => Ok(None),
            Fault::WrongError(of) if of == operation && past => Err(DeviceError::Io),
            Fault::RoundsDown(of) if of == operation && !aligned => {
                Ok(Some((offset / unit * unit, len / unit * unit)))
            }
            Fault::PartlyDone(of) if of == operation && past => {
                // The last unit of it, wherever an unchecked offset leads.
                let last = offset.wrapping_add(len).wrapping_sub(unit);
                Ok(Some((last % capacity / unit * unit, unit)))
            }
            _ => Ok(Some((offset, len))),
        }
    }

    fn settle(&self, operation: Operation, asked: (u64, u64)) -> Result<(), DeviceError> {
        let capacity = self.disk.geometry().capacity_bytes;
        let past = asked.0.checked_add(asked.1).is_none_or(|end| end > capacity);
        if self.fault == Fault::PartlyDone(operation) && past {
            return Err(DeviceError::OutOfRange);
        }
        Ok(())
    }
}

impl BlockDevice for Broken {
    fn geometry(&self) -> Geometry {
        let mut geometry = self.disk.geometry();
        match self.fault {
            Fault::OddGeometry => geometry.erase_block_bytes = 3 * 1024,
            Fault::ChangingGeometry if self.writes > 5 => geometry.capacity_bytes -= 512,
            _ => {}
        }
        geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let unit = self.disk.geometry().logical_block_bytes;
        let asked = (offset, into.len() as u64);
        let Some((offset, len)) = self.bend(Operation::Read, asked.0, asked.1, unit)? else {
            return Ok(());
        };
        let into = &mut into[..len as usize];
        self.disk.read(offset, into)?;
        if self.fault == Fault::LongReadsRepeat {
            let (first, rest) = into.split_at_mut(into.len().min(unit as usize));
            for piece in rest.chunks_mut(unit as usize) {
                piece.copy_from_slice(first);
            }
        }
        if self.fault == Fault::ShortReadsWrong && len == u64::from(unit) {
            into.rotate_left(1);
        }
        self.settle(Operation::Read, asked)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let geometry = self.disk.geometry();
        let asked = (offset, bytes.len() as u64);
        let unit = geometry.write_granule_bytes;
        let Some((mut offset, len)) = self.bend(Operation::Write, asked.0, asked.1, unit)? else {
            return Ok(());
        };
        geometry.check_write(offset, len)?;
        self.writes += 1;
        match self.fault {
            Fault::WriteIgnored => return Ok(()),
            Fault::WriteOnlyFirst if len > 0 && self.disk.bytes(offset, 1)[0] != 0x5A => {
                return Ok(());
            }
            Fault::WriteAliased => offset %= u64::from(geometry.erase_block_bytes),
            Fault::WriteTruncated => offset %= 8192,
            Fault::WriteSpills if len == u64::from(unit) => {
                let block = u64::from(geometry.erase_block_bytes);
                let end = offset / block * block + block;
                self.disk.poke(end - 1, &[0x77]);
            }
            _ => {}
        }
        self.disk.write(offset, &bytes[..len as usize])?;
        self.settle(Operation::Write, asked)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        let geometry = self.disk.geometry();
        let unit = geometry.erase_block_bytes;
        let asked = (offset, len);
        let Some((mut offset, mut len)) = self.bend(Operation::Erase, offset, len, unit)? else {
            return Ok(());
        };
        geometry.check_erase(offset, len)?;
        let (block, end) = (u64::from(unit), offset + len);
        match self.fault {
            Fault::EraseIgnored => return Ok(()),
            Fault::EraseShort if len > 0 => {
                let last = self.disk.bytes(end - 1, 1);
                self.disk.erase(offset, len)?;
                self.disk.poke(end - 1, &last);
                return Ok(());
            }
            Fault::EraseWide { before: true } if len > 0 && offset > 0 => {
                offset -= block;
                len += block;
            }
            Fault::EraseWide { before: false }
                if len > 0 && end + block <= geometry.capacity_bytes =>
            {
                len += block;
            }
            Fault::EraseZeroes if len > 0 => self.disk.poke(offset, &vec![0; len as usize]),
            _ => {}
        }
        self.disk.erase(offset, len)?;
        self.settle(Operation::Erase, asked)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        match self.fault {
            Fault::Fails(Operation::Flush) => return Err(DeviceError::Io),
            Fault::FlushForgets => self.disk.poke(0, &[0]),
            _ => {}
        }
        self.disk.flush()
    }
}

#[test]
fn sound_device_under_the_harness_conforms() {
    for geometry in [DISK, FLASH] {
        assert_eq!(Broken::run(geometry, Fault::None), Ok(()));
    }
}

#[test]
fn each_broken_rule_is_named() {
    use Operation::{Erase, Flush, Read, Write};
    type Expected = fn(Failure) -> bool;

    let cases: Vec<(Fault, &[Geometry], Expected)> = vec![
        (Fault::OddGeometry, &[DISK, FLASH], |f| f == Failure::Geometry),
        (Fault::ChangingGeometry, &[DISK, FLASH], |f| f == Failure::GeometryChanged),
        (Fault::RefusesEmpty(Read), &[DISK, FLASH], |f| f == Failure::ZeroLength(Read)),
        (Fault::RefusesEmpty(Write), &[DISK, FLASH], |f| f == Failure::ZeroLength(Write)),
        (Fault::RefusesEmpty(Erase), &[DISK, FLASH], |f| f == Failure::ZeroLength(Erase)),
        (Fault::Fails(Read), &[DISK, FLASH], |f| {
            matches!(f, Failure::Failed { operation: Read, error: DeviceError::Io, .. })
        }),
        (Fault::Fails(Write), &[DISK, FLASH], |f| {
            matches!(f, Failure::Failed { operation: Write, error: DeviceError::Io, .. })
        }),
        (Fault::Fails(Erase), &[DISK, FLASH], |f| {
            matches!(f, Failure::Failed { operation: Erase, error: DeviceError::Io, .. })
        }),
        (Fault::Fails(Flush), &[DISK, FLASH], |f| {
            matches!(f, Failure::Failed { operation: Flush, error: DeviceError::Io, .. })
        }),
        (Fault::WrapsAround(Read), &[DISK, FLASH], |f| f == Failure::OutOfRange(Read)),
        (Fault::WrapsAround(Write), &[DISK, FLASH], |f| f == Failure::OutOfRange(Write)),
        (Fault::WrapsAround(Erase), &[DISK, FLASH], |f| f == Failure::OutOfRange(Erase)),
        (Fault::IgnoresRange(Read), &[DISK, FLASH], |f| f == Failure::OutOfRange(Read)),
        (Fault::IgnoresRange(Write), &[DISK, FLASH], |f| f == Failure::OutOfRange(Write)),
        (Fault::IgnoresRange(Erase), &[DISK, FLASH], |f| f == Failure::OutOfRange(Erase)),
        (Fault::WrongError(Read), &[DISK, FLASH], |f| f == Failure::OutOfRange(Read)),
        (Fault::WrongError(Write), &[DISK, FLASH], |f| f == Failure::OutOfRange(Write)),
        (Fault::WrongError(Erase), &[DISK, FLASH], |f| f == Failure::OutOfRange(Erase)),
        // Flash with reads of one byte has no read off its unit.
        (Fault::RoundsDown(Read), &[DISK], |f| f == Failure::Unaligned(Read)),
        (Fault::RoundsDown(Write), &[DISK, FLASH], |f| f == Failure::Unaligned(Write)),
        (Fault::RoundsDown(Erase), &[DISK, FLASH], |f| f == Failure::Unaligned(Erase)),
        (Fault::PartlyDone(Write), &[DISK, FLASH], |f| matches!(f, Failure::Unasked { .. })),
        (Fault::PartlyDone(Erase), &[FLASH], |f| matches!(f, Failure::Unasked { .. })),
        (Fault::EraseIgnored, &[FLASH], |f| matches!(f, Failure::Erased { .. })),
        (Fault::EraseShort, &[FLASH], |f| matches!(f, Failure::Erased { .. })),
        (Fault::EraseWide { before: true }, &[FLASH], |f| {
            // Already seen while blocks are filled in order: the one before is gone.
            matches!(f, Failure::ReadBack { .. } | Failure::Neighbour { operation: Erase, .. })
        }),
        (Fault::EraseWide { before: false }, &[FLASH], |f| {
            matches!(f, Failure::Neighbour { operation: Erase, .. })
        }),
        (Fault::EraseZeroes, &[DISK], |f| matches!(f, Failure::EraseChanged { .. })),
        (Fault::WriteIgnored, &[DISK, FLASH], |f| matches!(f, Failure::ReadBack { .. })),
        (Fault::WriteOnlyFirst, &[DISK], |f| matches!(f, Failure::ReadBack { .. })),
        (Fault::WriteAliased, &[DISK, FLASH], |f| matches!(f, Failure::ReadBack { .. })),
        (Fault::WriteTruncated, &[DISK, FLASH], |f| matches!(f, Failure::ReadBack { .. })),
        (Fault::WriteSpills, &[DISK, FLASH], |f| {
            matches!(f, Failure::Neighbour { operation: Write, .. })
        }),
        (Fault::LongReadsRepeat, &[DISK], |f| matches!(f, Failure::ReadBack { .. })),
        (Fault::FlushForgets, &[DISK, FLASH], |f| matches!(f, Failure::FlushChanged { .. })),
    ];
    for (fault, geometries, expected) in cases {
        for geometry in geometries {
            let failure = Broken::run(*geometry, fault).expect_err(&format!("{fault:?}"));
            assert!(expected(failure), "{fault:?} on {geometry:?}: {failure:?}: {failure}");
        }
    }
}

/// A buffer of more than one unit reads in one piece; only the last rule sees single units.
#[test]
fn short_reads_that_differ_from_long_ones_are_named() {
    // The granule is longer than the read unit, so that no other rule reads a single unit.
    let geometry = Geometry { write_granule_bytes: 2048, ..DISK };
    let failure = Broken::run(geometry, Fault::ShortReadsWrong).unwrap_err();
    assert!(matches!(failure, Failure::Pieces { .. }), "{failure:?}");
}

#[test]
fn failures_say_which_rule_was_broken() {
    let failure = Broken::run(FLASH, Fault::EraseShort).unwrap_err();
    assert_eq!(failure.to_string(), "byte 2047 must read as `erased` after an erase");
    let failure = Broken::run(FLASH, Fault::Fails(Operation::Write)).unwrap_err();
    let expected = "a valid write at 0 must not fail: the device reported an I/O error";
    assert_eq!(failure.to_string(), expected);
}
