//! What a writer of the disk does to it: older contents, swapped regions, forged records with a
//! sound checksum, turned bits, wiped regions.

use std::ops::Range;

use stillboot::format::record::{Body, Failed, Fault, LEN_MAX, Record, SEQUENCE_MAX};
use stillboot::format::{Digest, Floor, Hold, Slot, SlotState};
use stillboot::layout::{Layout, Part};

use crate::disk::{RamDisk, Random};
use crate::world::DeviceMap;

/// Bytes that can be changed behind the back of every law.
pub trait Raw {
    /// The bytes of a range.
    fn get(&self, at: u64, len: usize) -> Vec<u8>;
    /// Replaces bytes.
    fn put(&mut self, at: u64, bytes: &[u8]);
}

impl Raw for RamDisk {
    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        self.bytes(at, len)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.poke(at, bytes);
    }
}

impl Raw for Vec<u8> {
    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        self[at as usize..][..len].to_vec()
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

/// A region that means something.
#[derive(Clone, Debug)]
pub struct Region {
    /// For messages.
    pub name: String,
    /// Where it is on the disk.
    pub range: Range<u64>,
    /// Regions of one sort can be swapped.
    sort: u8,
}

/// All regions of a device.
#[derive(Clone, Debug)]
pub struct Regions {
    all: Vec<Region>,
    /// Where copies of the record stand.
    records: Vec<u64>,
    /// Of a log, where only the disk says where records stand.
    log: Option<DeviceMap>,
}

impl Regions {
    /// Of a device with this layout, whose one disk has what `ground` says.
    ///
    /// # Panics
    /// If the layout is not of that ground.
    #[must_use]
    pub fn new(ground: &DeviceMap, layout: &Layout<'_>) -> Self {
        if !ground.is_log() {
            let places = ground.places().iter().map(|at| at.offset);
            return Self::of(layout, &places.collect::<Vec<_>>());
        }
        let mut all = Vec::new();
        for (number, place) in ground.places().iter().enumerate() {
            let range = place.offset..place.offset + place.len;
            all.push(Region { name: format!("log block {number}"), range: range.clone(), sort: 0 });
            // Where nearly everything that decides is.
            let range = range.start..range.start + 512;
            all.push(Region { name: format!("directory {number}"), range, sort: 1 });
        }
        for slot in layout.slots() {
            let whole = slot.regions[0].region;
            let range = whole.offset..whole.offset + whole.len;
            all.push(Region { name: format!("content of {}", slot.slot), range, sort: 3 });
        }
        Self { all, records: Vec::new(), log: Some(ground.clone()) }
    }

    /// The same from the layout and the places of the record alone.
    ///
    /// # Panics
    /// If a slot of the layout is not there.
    #[must_use]
    pub fn of(layout: &Layout<'_>, record: &[u64]) -> Self {
        let mut regions = Vec::new();
        for (copy, at) in record.iter().enumerate() {
            let name = format!("copy {copy} of the record");
            regions.push(Region { name, range: *at..*at + LEN_MAX as u64, sort: 0 });
        }
        for slot in layout.slots() {
            let whole = slot.regions[0].region;
            for (sort, part, called) in [
                (1, Part::Trust, "trust area"),
                (2, Part::Commit, "commit block"),
                (2, Part::Confirmed, "confirmed block"),
            ] {
                let region = layout.part(slot.slot, part).expect("a slot of the layout");
                let range = region.offset..region.offset + region.len;
                regions.push(Region { name: format!("{called} of {}", slot.slot), range, sort });
            }
            let range = whole.offset..whole.offset + whole.len;
            let name = format!("content of {}", slot.slot);
            regions.push(Region { name, range: range.clone(), sort: 3 });
            // Where the head follows the components, as on disks, all of the slot.
            let end = slot.head.filter(|head| head.offset == range.end);
            let range = range.start..end.map_or(range.end, |head| head.offset + head.len);
            regions.push(Region { name: format!("slot {}", slot.slot), range, sort: 4 });
        }
        Self { all: regions, records: record.to_vec(), log: None }
    }

    /// Any of them.
    pub fn any(&self, random: &mut Random) -> &Region {
        &self.all[random.below(self.all.len() as u64) as usize]
    }

    /// Where copies of the record stand on `disk`, and how long each may be. In a log the one in
    /// force is the only one, because a forged one has to stand where a cell says.
    fn records<D: Raw>(&self, disk: &D) -> Vec<(u64, usize)> {
        let Some(ground) = &self.log else {
            return self.records.iter().map(|at| (*at, LEN_MAX)).collect();
        };
        ground.records(&mut |at, len| disk.get(at, len))
    }
}

/// Does one thing to the disk, and says what. `others` are states of the same disk at other times,
/// `digests` those of releases that exist.
pub fn strike<D: Raw>(
    random: &mut Random,
    disk: &mut D,
    others: &[&D],
    regions: &Regions,
    digests: &[Digest],
) -> String {
    match random.below(20) {
        0..5 => {
            let region = regions.any(random);
            let number = random.below(others.len() as u64) as usize;
            let len = (region.range.end - region.range.start) as usize;
            disk.put(region.range.start, &others[number].get(region.range.start, len));
            format!("{} is as at moment {number}", region.name)
        }
        5..7 => {
            let one = regions.any(random);
            let same: Vec<_> = regions.all.iter().filter(|two| two.sort == one.sort).collect();
            let two = same[random.below(same.len() as u64) as usize];
            let len = |region: &Region| region.range.end - region.range.start;
            let len = len(one).min(len(two)) as usize;
            let (first, second) = (disk.get(one.range.start, len), disk.get(two.range.start, len));
            disk.put(one.range.start, &second);
            disk.put(two.range.start, &first);
            format!("{} and {} are swapped", one.name, two.name)
        }
        7..14 => forge(random, disk, regions, digests),
        14..17 => {
            let region = regions.any(random);
            let mut turned = Vec::new();
            for _ in 0..1 + random.below(3) {
                // Mostly near the start, where heads, marks and records are.
                let len = region.range.end - region.range.start;
                let len = if random.chance(2, 3) { len.min(512) } else { len };
                let at = region.range.start + random.below(len);
                let bit = random.below(8);
                let byte = disk.get(at, 1)[0] ^ 1 << bit;
                disk.put(at, &[byte]);
                turned.push(format!("{at}.{bit}"));
            }
            format!("bits {} turned in {}", turned.join(", "), region.name)
        }
        17 | 18 => {
            let region = regions.any(random);
            let len = (region.range.end - region.range.start) as usize;
            let mut bytes = vec![0; len];
            let what = random.below(4);
            match what {
                0 => {}
                1 => bytes.fill(0xff),
                2 => bytes.fill(0x5a),
                _ => random.fill(&mut bytes),
            }
            disk.put(region.range.start, &bytes);
            format!("{} is wiped, manner {what}", region.name)
        }
        _ => {
            // As rubbish, or as on a new device.
            let byte = [0x77, 0, 0xff][random.below(3) as usize];
            for (at, len) in regions.records(disk) {
                disk.put(at, &vec![byte; len]);
            }
            format!("all copies of the record are filled with {byte:#04x}")
        }
    }
}

/// A record with a sound checksum and fields at their bounds.
fn forge<D: Raw>(
    random: &mut Random,
    disk: &mut D,
    regions: &Regions,
    digests: &[Digest],
) -> String {
    let places = regions.records(disk);
    let copies = places.iter().filter_map(|(at, len)| Record::parse(&disk.get(*at, *len)).ok());
    let mut record = copies.max_by_key(|record| record.sequence).unwrap_or_default();
    record.sequence = match random.below(8) {
        0 => 0,
        1 => SEQUENCE_MAX,
        2 => SEQUENCE_MAX - 1,
        3 => 1 << 40,
        _ => (record.sequence + 1).min(SEQUENCE_MAX),
    };
    let mut told = vec![format!("sequence {}", record.sequence)];
    for _ in 0..random.below(4) {
        told.push(change(random, &mut record.body, digests));
    }
    let mut bytes = vec![0; LEN_MAX];
    let Ok(len) = record.emit(&mut bytes) else {
        return "a record that cannot be encoded was not written".into();
    };
    bytes.truncate(len);
    if random.chance(1, 8) {
        let version: u16 = if random.chance(1, 2) { u16::MAX } else { 2 };
        bytes[4..6].copy_from_slice(&version.to_le_bytes());
        let end = len - 4;
        let checksum = stillboot::format::crc32(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        told.push(format!("version {version}"));
    }
    let copies = match random.below(places.len() as u64 + 1) as usize {
        one if one < places.len() => one..one + 1,
        _ => 0..places.len(),
    };
    // In a log, where there is room for it.
    for (at, _) in places[copies.clone()].iter().filter(|(_, room)| bytes.len() <= *room) {
        disk.put(*at, &bytes);
    }
    format!("copies {copies:?} are forged: {}", told.join(", "))
}

fn any<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

fn change(random: &mut Random, body: &mut Body, digests: &[Digest]) -> String {
    let slot = any(random, &Slot::ALL);
    let numbers = [0, 1, 2, u32::MAX];
    let floor = Floor { keyset_version: any(random, &numbers), level: any(random, &numbers) };
    let digest = match random.below(3) {
        0 => [0; 32],
        _ => any(random, digests),
    };
    match random.below(11) {
        0..3 => {
            let state = match random.below(7) {
                0 => SlotState::Empty,
                1 => SlotState::Writing,
                2 => SlotState::Ready { tries: any(random, &[1, 15]) },
                3 => SlotState::Trying {
                    left: any(random, &[0, 1, 15]),
                    attempt: any(random, &[0, 1, u8::MAX]),
                    nonce: any(random, &[0, 1, u64::MAX]),
                },
                4 | 5 => SlotState::Good,
                _ => SlotState::Bad { fault: any(random, Fault::ALL) },
            };
            body.slot_mut(slot).state = state;
            format!("{slot} is {state:?}")
        }
        3 => {
            body.slot_mut(slot).digest = digest;
            format!("{slot} has digest {:02x}{:02x}..", digest[0], digest[1])
        }
        4 => {
            let entry = body.slot_mut(slot);
            entry.priority = any(random, &[0, 1, u8::MAX]);
            entry.suspect = random.chance(1, 2);
            entry.held = random.chance(1, 2);
            let (priority, suspect, held) = (entry.priority, entry.suspect, entry.held);
            format!("{slot} has priority {priority}, suspect {suspect}, held {held}")
        }
        5 => {
            body.slot_mut(slot).floor = floor;
            format!("{slot} has {floor:?}")
        }
        6 => {
            let entry = body.slot_mut(slot);
            entry.epochs.writes = any(random, &[0, u16::MAX]);
            entry.epochs.reads_max = any(random, &[0, u16::MAX]);
            format!("{slot} has {:?}", entry.epochs)
        }
        7 => {
            body.floor = floor;
            format!("floor {floor:?}")
        }
        8 => {
            body.recovery_floor = floor;
            format!("recovery floor {floor:?}")
        }
        9 => {
            body.data_epoch = any(random, &[0, 1, u16::MAX]);
            format!("data epoch {}", body.data_epoch)
        }
        _ => {
            body.hold =
                Hold { until: any(random, &[0, 1, u64::MAX]), since: any(random, &[0, u64::MAX]) };
            body.failed.clear();
            for _ in 0..random.below(9) {
                let entry = Failed {
                    digest: any(random, digests),
                    fault: any(random, Fault::ALL),
                    count: any(random, &[1, u8::MAX]),
                    at: any(random, &[0, u64::MAX]),
                };
                let _ = body.failed.push(entry);
            }
            format!("{:?} and {} failures", body.hold, body.failed.len())
        }
    }
}
