use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use stillboot::device::conformance;

use super::*;
use crate::file::{FileDevice, OpenOptions};

const MIB: u64 = 1 << 20;

/// A disk in memory that takes its time, notes what it is asked, and fails from a request on.
#[derive(Debug)]
struct Slow {
    bytes: Vec<u8>,
    pause: Duration,
    /// This write, counted from 0, fails once. The disk itself forgets it.
    fails_at: Option<u64>,
    writes: u64,
    flush_fails: bool,
    reads: Arc<AtomicU64>,
    /// What an erased byte reads as, on a medium that must be erased.
    erased: Option<u8>,
}

impl Slow {
    fn new(mib: u64, pause_ms: u64) -> Self {
        let (bytes, pause) = (vec![0; (mib * MIB) as usize], Duration::from_millis(pause_ms));
        let reads = Arc::default();
        Self { bytes, pause, fails_at: None, writes: 0, flush_fails: false, reads, erased: None }
    }
}

impl BlockDevice for Slow {
    fn geometry(&self) -> Geometry {
        let mut geometry = Geometry::disk(512, self.bytes.len() as u64);
        geometry.erased = self.erased;
        geometry
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry().check_read(offset, into.len() as u64)?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        into.copy_from_slice(&self.bytes[offset as usize..][..into.len()]);
        Ok(())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        thread::sleep(self.pause);
        let number = self.writes;
        self.writes += 1;
        if self.fails_at == Some(number) {
            return Err(DeviceError::Full);
        }
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry().check_erase(offset, len)?;
        if let Some(erased) = self.erased {
            self.bytes[offset as usize..][..len as usize].fill(erased);
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        if std::mem::take(&mut self.flush_fails) { Err(DeviceError::Io) } else { Ok(()) }
    }
}

/// Waits until the thread has done what it was asked.
fn settle<D>(device: &WriteBehind<'_, D>) {
    let mut state = device.shared.state();
    while !state.is_drained() {
        state = device.shared.wait(state);
    }
}

#[test]
fn decorated_devices_conform() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4 * MIB + 700).unwrap();
    for (logical_block, direct) in [(512, false), (4096, false), (512, true), (4096, true)] {
        let options = OpenOptions::new().with_logical_block(Some(logical_block));
        let mut disk = FileDevice::open(file.path(), options).unwrap();
        if direct {
            disk.go_direct();
        }
        thread::scope(|scope| {
            let mut device = WriteBehind::new(scope, &mut disk);
            assert_eq!(conformance::check(&mut device, &mut vec![0; 128 << 10]), Ok(()));
        });
        assert!(disk.last_error().is_none());
    }
    thread::scope(|scope| {
        for pause in [0, 1] {
            let mut device = WriteBehind::new(scope, Slow::new(1, pause));
            assert_eq!(conformance::check(&mut device, &mut [0; 8192]), Ok(()));
        }
    });
}

#[test]
fn large_direct_writes_and_buffered_ones_see_each_other() {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    file.as_file().set_len(8 * MIB).unwrap();
    let mut disk = FileDevice::open(file.path(), OpenOptions::new()).unwrap();
    println!("direct: {}", disk.go_direct());
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, &mut disk);
        let mut expected = vec![0; 8 << 20];
        // Whole buffers, a few blocks at odd places, and a write over the border of two buffers.
        for (salt, offset, len) in
            [(1_u8, 0, 6 << 20), (2, 512, 512), (3, (1 << 20) - 512, 1024), (4, 4096, 2 << 20)]
        {
            let bytes = vec![salt; len];
            device.write(offset, &bytes).unwrap();
            expected[offset as usize..][..len].copy_from_slice(&bytes);
            let mut found = vec![0; 8 << 20];
            device.read(0, &mut found).unwrap();
            assert!(found == expected, "after write {salt}");
        }
        device.flush().unwrap();
        drop(device);
        assert!(std::fs::read(file.path()).unwrap() == expected);
    });
}

#[test]
fn a_late_error_stays_and_reads_go_on() {
    for fails_at in 0..6 {
        thread::scope(|scope| {
            let mut disk = Slow::new(8, 1);
            disk.fails_at = Some(fails_at);
            let mut device = WriteBehind::new(scope, disk);
            let mut refused = 0;
            for piece in 0..6 {
                refused += u64::from(device.write(piece * MIB, &[7; BEHIND_LEN_MIN]).is_err());
            }
            assert!(refused <= 5 - fails_at, "a write fails only after the one that failed");
            // The disk has forgotten it: only the decorator knows.
            assert_eq!(device.flush(), Err(DeviceError::Full));
            assert_eq!(device.flush(), Err(DeviceError::Full));
            assert_eq!(device.write(0, &[8; 512]), Err(DeviceError::Full));
            assert_eq!(device.write(0, &[8; BEHIND_LEN_MIN]), Err(DeviceError::Full));
            assert_eq!(device.erase(0, 4096), Err(DeviceError::Full));
            let mut into = [0; 512];
            for piece in 0..6 {
                device.read(piece * MIB, &mut into).unwrap();
                // In order: what was before the failure is there, and nothing behind it.
                assert_eq!(into[0], if piece < fails_at { 7 } else { 0 });
            }
        });
    }
}

/// A worn place of the record must not end all updates: the next place takes it.
#[test]
fn the_error_of_a_short_write_comes_at_once_and_does_not_stay() {
    thread::scope(|scope| {
        let mut disk = Slow::new(8, 5);
        disk.fails_at = Some(2);
        let mut device = WriteBehind::new(scope, disk);
        device.write(0, &[7; BEHIND_LEN_MIN]).unwrap();
        device.write(MIB, &[7; BEHIND_LEN_MIN]).unwrap();
        assert_eq!(device.write(2 * MIB, &[7; 4096]), Err(DeviceError::Full));
        device.write(3 * MIB, &[7; 4096]).unwrap();
        device.flush().unwrap();
    });
}

#[test]
fn a_failed_flush_stays() {
    thread::scope(|scope| {
        let mut disk = Slow::new(1, 0);
        disk.flush_fails = true;
        let mut device = WriteBehind::new(scope, disk);
        device.write(0, &[7; 512]).unwrap();
        assert_eq!(device.flush(), Err(DeviceError::Io));
        assert_eq!(device.flush(), Err(DeviceError::Io));
        assert_eq!(device.write(0, &[7; 512]), Err(DeviceError::Io));
        device.read(0, &mut [0; 512]).unwrap();
    });
}

#[test]
fn reads_wait_for_what_overlaps_and_for_nothing_else() {
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, Slow::new(8, 30));
        for piece in 0..4 {
            device.write(piece * MIB, &vec![piece as u8 + 1; 1 << 20]).unwrap();
        }
        let mut into = [0; 512];
        device.read(6 * MIB, &mut into).unwrap();
        assert!(!device.shared.state().is_drained(), "it waited for a write elsewhere");
        device.read(2 * MIB, &mut into).unwrap();
        assert_eq!(into, [3; 512]);
        device.read(4 * MIB - 512, &mut into).unwrap();
        assert_eq!(into, [4; 512]);
    });
}

#[test]
fn memory_is_bounded_however_fast_the_caller_is() {
    thread::scope(|scope| {
        let mut disk = Slow::new(16, 2);
        disk.erased = Some(0xff);
        let mut device = WriteBehind::new(scope, disk);
        for round in 0..16 {
            device.write(round * MIB, &vec![1; 1 << 20]).unwrap();
            device.erase(round * MIB, 4096).unwrap();
            let state = device.shared.state();
            assert!(state.jobs.len() <= JOBS_MAX);
            assert!(state.free.len() <= BUFFERS);
        }
        device.flush().unwrap();
        assert_eq!(device.shared.state().free.len(), BUFFERS);
    });
}

/// Does these writes while the thread waits at the device with the first of them.
fn write_while_it_waits<D>(device: &mut WriteBehind<'_, D>, writes: &[(u64, Vec<u8>)])
where
    D: BlockDevice,
{
    let shared = Arc::clone(&device.shared);
    let held = shared.device();
    for (number, (offset, bytes)) in writes.iter().enumerate() {
        device.erase(*offset, 4096).unwrap();
        device.write(*offset, bytes).unwrap();
        let mut state = shared.state();
        while number == 0 && state.busy.is_none() {
            drop(state);
            thread::yield_now();
            state = shared.state();
        }
    }
    drop(held);
}

#[test]
fn writes_that_follow_each_other_are_one_request() {
    const LEN: u64 = 128 << 10;
    let requests = |places: &[u64], len: u64, erased| {
        let mut disk = Slow::new(8, 0);
        disk.erased = erased;
        let writes: Vec<_> = (1..)
            .zip(places)
            .map(|(salt, place)| (place * LEN, vec![salt; len as usize]))
            .collect();
        let mut expected = disk.bytes.clone();
        for (offset, bytes) in &writes {
            expected[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        thread::scope(|scope| {
            let mut device = WriteBehind::new(scope, &mut disk);
            write_while_it_waits(&mut device, &writes);
            device.flush().unwrap();
        });
        assert!(disk.bytes == expected, "{places:?}");
        disk.writes
    };
    let in_a_row: Vec<u64> = (0..24).collect();
    assert_eq!(requests(&in_a_row, LEN, None), 1 + 3, "eight to a buffer");
    assert_eq!(requests(&[0, 2, 4, 6], LEN, None), 4, "others lie between");
    assert_eq!(requests(&[3, 2, 1, 0], LEN, None), 4, "the other way round");
    assert_eq!(requests(&[0, 0, 0], LEN, None), 3, "over each other");
    assert_eq!(requests(&[5, 0, 1, 0, 1], LEN, None), 1 + 2, "over each other, two and two");
    assert_eq!(requests(&[0, 1, 2], LEN, Some(0xff)), 3, "an erase keeps its place");
    assert_eq!(requests(&[0, 1, 2], LEN - 512, None), 3, "there is a gap");
    assert_eq!(requests(&[9, 0, 1], LEN + 512, None), 3, "over a part of each other");
}

#[test]
fn a_joined_request_that_fails_is_a_late_error_and_ends_what_waits() {
    const LEN: u64 = 128 << 10;
    thread::scope(|scope| {
        let mut disk = Slow::new(8, 0);
        disk.fails_at = Some(1);
        let mut device = WriteBehind::new(scope, disk);
        // One under way, two that are joined and fail, and one behind them.
        let writes = [0, 8, 9, 20].map(|place| (place * LEN, vec![7; LEN as usize]));
        write_while_it_waits(&mut device, &writes);
        assert_eq!(device.flush(), Err(DeviceError::Full));
        assert_eq!(device.write(40 * LEN, &[7; BEHIND_LEN_MIN]), Err(DeviceError::Full));
        let mut into = [0; 512];
        for (place, expected) in [(0, 7), (8, 0), (9, 0), (20, 0)] {
            device.read(place * LEN, &mut into).unwrap();
            assert_eq!(into[0], expected, "{place}");
        }
        assert_eq!(device.shared.device().writes, 2);
    });
}

/// A direct request is made of whole pages.
#[test]
fn a_part_of_a_page_is_a_request_of_its_own() {
    let mut disk = Slow::new(8, 0);
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, &mut disk);
        let mut offset = 0;
        let writes = [64 << 10, 64 << 10, 64 << 10, (64 << 10) + 512].map(|len: usize| {
            let at = offset;
            offset += len as u64;
            (at, vec![7; len])
        });
        write_while_it_waits(&mut device, &writes);
        device.flush().unwrap();
    });
    assert_eq!(disk.writes, 1 + 1 + 1);
}

#[test]
fn a_joined_write_drops_what_was_read_ahead_of_it() {
    const LEN: usize = 128 << 10;
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, Slow::new(16, 0));
        read_run(&mut device, LEN);
        // The last two: the end of one piece, and the start of the next.
        let at = 2 * MIB - LEN as u64;
        let writes = [(at - MIB, 1), (at, 2), (at + LEN as u64, 3)];
        write_while_it_waits(&mut device, &writes.map(|(at, salt)| (at, vec![salt; LEN])));
        let mut into = vec![0; 2 * LEN];
        device.read(at, &mut into).unwrap();
        assert!(into[..LEN].iter().all(|byte| *byte == 2));
        assert!(into[LEN..].iter().all(|byte| *byte == 3));
        assert_eq!(device.shared.device().writes, 2);
    });
}

/// Reads three pieces in a row, so that the next ones are read ahead, and waits until they are.
fn read_run<D: BlockDevice>(device: &mut WriteBehind<'_, D>, len: usize) {
    let mut into = vec![0; len];
    for piece in 0..3 {
        device.read(piece * len as u64, &mut into).unwrap();
    }
    let is_ready = |state: &State| {
        !state.pieces.is_empty()
            && state.pieces.iter().all(|piece| matches!(piece.content, Content::Ready(_)))
    };
    let mut state = device.shared.state();
    while !is_ready(&state) {
        state = device.shared.wait(state);
    }
}

#[test]
fn reads_in_a_row_are_read_ahead_and_right() {
    for len in [64 << 10, (1 << 20) + (64 << 10)] {
        thread::scope(|scope| {
            let mut disk = Slow::new(16, 0);
            disk.bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 512) as u8);
            let expected = disk.bytes.clone();
            let reads = Arc::clone(&disk.reads);
            let mut device = WriteBehind::new(scope, disk);
            read_run(&mut device, len);
            let before = reads.load(Ordering::Relaxed);
            let mut into = vec![0; len];
            device.read(3 * len as u64, &mut into).unwrap();
            assert!(into == expected[3 * len..4 * len]);
            assert!(reads.load(Ordering::Relaxed) - before <= 2, "it was not read ahead");
            // To the very end, and a read elsewhere in between.
            let mut at = 4 * len;
            while at < expected.len() {
                let piece = len.min(expected.len() - at);
                device.read(at as u64, &mut into[..piece]).unwrap();
                assert!(into[..piece] == expected[at..at + piece], "{at}");
                device.read(512, &mut into[..512]).unwrap();
                at += piece;
            }
        });
    }
}

#[test]
fn what_was_read_ahead_is_dropped_by_a_change_of_it_and_by_a_flush() {
    let len = 128 << 10;
    let next = 3 * len as u64;
    thread::scope(|scope| {
        let mut disk = Slow::new(16, 0);
        disk.erased = Some(0xff);
        let mut device = WriteBehind::new(scope, disk);
        let mut into = vec![0; len];
        // A write below a piece that is ready.
        read_run(&mut device, len);
        device.write(next + 4096, &[9; 512]).unwrap();
        device.read(next, &mut into).unwrap();
        assert_eq!((into[0], into[4096], into[4608]), (0, 9, 0));
        // A change on the disk itself is seen behind a flush, and only there.
        let behind = |device: &WriteBehind<'_, Slow>, value| {
            device.shared.device().bytes[3 * len..][..len].fill(value);
        };
        settle(&device);
        read_run(&mut device, len);
        behind(&device, 5);
        device.flush().unwrap();
        device.read(next, &mut into).unwrap();
        assert_eq!(into[0], 5);
        // An erase.
        read_run(&mut device, len);
        behind(&device, 6);
        device.erase(next, 4096).unwrap();
        device.read(next, &mut into).unwrap();
        assert_eq!((into[0], into[4096]), (0xff, 6));
    });
}

#[test]
fn drop_waits_for_what_was_written() {
    let mut disk = Slow::new(4, 5);
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, &mut disk);
        for piece in 0..4 {
            device.write(piece * MIB, &[3; BEHIND_LEN_MIN]).unwrap();
        }
    });
    assert!((0..4).all(|piece| disk.bytes[piece << 20] == 3));
}

#[test]
fn a_thread_that_panics_is_an_error_and_no_silence() {
    struct Trap;
    impl BlockDevice for Trap {
        fn geometry(&self) -> Geometry {
            Geometry::disk(512, 4 * MIB)
        }
        fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), DeviceError> {
            Ok(())
        }
        fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DeviceError> {
            panic!("meant: the device of this test panics");
        }
        fn erase(&mut self, _: u64, _: u64) -> Result<(), DeviceError> {
            Ok(())
        }
        fn flush(&mut self) -> Result<(), DeviceError> {
            Ok(())
        }
    }
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, Trap);
        device.write(0, &[1; BEHIND_LEN_MIN]).unwrap();
        assert_eq!(device.flush(), Err(DeviceError::Io));
        assert_eq!(device.write(0, &[1; 512]), Err(DeviceError::Io));
    });
}

/// A disk that panics at a read of such a length.
#[derive(Debug)]
struct Trap(Slow, fn(usize) -> bool);

impl BlockDevice for Trap {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        assert!(!(self.1)(into.len()), "meant: the device of this test panics");
        self.0.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.0.erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.0.flush()
    }
}

/// The caller waited for what the thread would read ahead.
#[test]
fn a_thread_that_panics_reads_ahead_no_more() {
    thread::scope(|scope| {
        let mut device = WriteBehind::new(scope, Trap(Slow::new(8, 0), |len| len == BUFFER_LEN));
        let mut into = [0; BEHIND_LEN_MIN];
        for piece in 0..32 {
            device.read((piece * BEHIND_LEN_MIN) as u64, &mut into).unwrap();
        }
        assert!(device.shared.state().is_ended, "the thread panicked");
    });
}

/// The thread waited for the caller's read to end, and the drop for the thread.
#[test]
fn a_read_that_panics_does_not_hang() {
    let result = std::panic::catch_unwind(|| {
        thread::scope(|scope| {
            let mut device = WriteBehind::new(scope, Trap(Slow::new(4, 5), |_| true));
            for piece in 0..3 {
                device.write(piece * MIB, &[1; BEHIND_LEN_MIN]).unwrap();
            }
            let _ = device.read(3 * MIB + 4096, &mut [0; 512]);
        });
    });
    assert!(result.is_err());
}
