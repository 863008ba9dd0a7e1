//! Counts how often each sector of a disk was read, by what QEMU saw.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use stillboot::layout::Region;

/// QEMU's trace counts in these, whatever the sectors of the disk are.
const SECTOR: u64 = 512;

/// The first partition, which has the loader, begins at 1 MiB.
const LOADER_START: u64 = (1 << 20) / SECTOR;

/// How often each sector was read, by its number.
#[derive(Debug, Default)]
pub struct Reads(BTreeMap<u64, u32>);

impl Reads {
    /// From the trace that [`Settings::trace`](crate::machine::Settings) asks for: lines such as
    /// `virtio_blk_handle_read vdev 0x55 req 0x7f sector 2048 nsectors 8`. All reads of the first
    /// device that reads anything count, from the last read below `loader_end` on: the loader's file
    /// is there, and before it runs the firmware looks for file systems everywhere.
    pub fn new(trace: &Path, loader_end: u64) -> Self {
        let trace = fs::read_to_string(trace).expect("QEMU writes it");
        let mut reads = BTreeMap::new();
        let mut first = None;
        for line in trace.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let word = |name: &str| {
                let at = words.iter().position(|word| *word == name)?;
                words.get(at + 1).copied()
            };
            let (Some(device), Some(sector), Some(count)) =
                (word("vdev"), word("sector"), word("nsectors"))
            else {
                continue;
            };
            if *first.get_or_insert(device) != device {
                continue;
            }
            let number = |text: &str| text.parse::<u64>().expect("QEMU prints a number");
            let (sector, count) = (number(sector), number(count));
            // The table of partitions is read by the loader as well.
            if (LOADER_START..loader_end / SECTOR).contains(&sector) {
                reads.clear();
                continue;
            }
            for sector in sector..sector + count {
                *reads.entry(sector).or_default() += 1;
            }
        }
        assert!(!reads.is_empty(), "nothing was read, or QEMU traces otherwise:\n{trace:.500}");
        Self(reads)
    }

    /// Fails unless each sector of `place` was read once.
    pub fn assert_once(&self, what: &str, place: Region) {
        for sector in place.offset / SECTOR..(place.offset + place.len).div_ceil(SECTOR) {
            let count = self.0.get(&sector).copied().unwrap_or(0);
            assert_eq!(count, 1, "sector {sector} of {what} was read {count} times");
        }
    }
}

#[test]
fn a_trace_is_counted() {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let path = folder.path().join("trace");
    let line = |device, sector, count| {
        format!("virtio_blk_handle_read vdev {device} req 0x7 sector {sector} nsectors {count}\n")
    };
    let lines = [
        line("0x1", 9, 1),
        line("0x1", LOADER_START, 1),
        line("0x1", 8, 4),
        line("0x2", 8, 4),
        line("0x1", 10, 1),
    ];
    fs::write(&path, lines.concat()).expect("the temporary folder can be written");
    let reads = Reads::new(&path, (LOADER_START + 1) * SECTOR);
    assert_eq!(reads.0.into_iter().collect::<Vec<_>>(), [(8, 1), (9, 1), (10, 2), (11, 1)]);
}
