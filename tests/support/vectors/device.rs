//! What stands on devices: records, marks, logs, sets of device trees, statements that were seen.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stillboot::device::Geometry;
use stillboot::format::log::{self, CELL_LEN, Cell, DIRECTORY_LEN_MAX, EntryKind, HEADER_LEN};
use stillboot::format::record::{Body, LEN_MAX};
use stillboot::format::{
    Architecture, Digest, Epochs, Failed, Fault, Floor, Hold, KeyRole, Mark, MarkKind, Record,
    Rule, Slot, SlotEntry, SlotState, StatementKind, crc32,
};
use stillboot::request::Request;
use stillboot::verify::{Device, SoftSha256, Trust, digest_of};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::fuzz::seeds;
use stillboot_sim::{DeviceMap, World};

use super::payloads::full_notes;
use super::publisher::{
    KERNEL, REVISION, body, class, keyset, manifest, number, product, raw, root_keys, sign,
    signed_keyset,
};
use super::{Set, values};

pub(super) fn all(set: &mut Set) {
    records(set);
    marks(set);
    logs(set);
    dtbs(set);
    seen(set);
}

fn full_record() -> Record {
    let entry = |state, number: u8| SlotEntry {
        state,
        suspect: number == 1,
        held: number == 2,
        priority: 100 + number,
        digest: [number; 32],
        floor: Floor { keyset_version: 300, level: number.into() },
        epochs: Epochs { reads_min: 1, reads_max: 300, writes: 2 },
        version: format!("{number}.0.0").chars().collect(),
    };
    let failed = |number: u8, fault| Failed { digest: [number; 32], fault, count: number, at: 300 };
    Record {
        sequence: (1 << 63) - 1,
        body: Body {
            slots: [
                entry(SlotState::Good, 1),
                entry(SlotState::Trying { left: 15, attempt: 255, nonce: u64::MAX }, 2),
                entry(SlotState::Bad { fault: Fault::Exhausted }, 3),
                entry(SlotState::Ready { tries: 15 }, 4),
            ],
            floor: Floor { keyset_version: 300, level: 5 },
            recovery_floor: Floor { keyset_version: 1, level: 0 },
            data_epoch: 300,
            failed: [
                failed(1, Fault::Corrupt),
                failed(2, Fault::MarkedBad),
                failed(3, Fault::Returned),
                failed(4, Fault::Exhausted),
                failed(5, Fault::DataEpoch),
                failed(6, Fault::Superseded),
                failed(255, Fault::Unreadable),
            ]
            .into_iter()
            .collect(),
            hold: Hold { until: u64::MAX, since: 1_767_225_600 },
            notes: full_notes().emit().expect("sound notes"),
        },
    }
}

/// A copy around these bytes as its body.
fn copy(version: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"SBRC".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend((body.len() as u16).to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(body);
    bytes.extend(crc32(&bytes).to_le_bytes());
    bytes
}

fn records(set: &mut Set) {
    const FORMAT: &str = "record";
    let full = full_record();
    let of = |record: &Record| copy(1, record.sequence, &raw(&record.body));
    let bytes = of(&full);
    let mut sound = |what, record: &Record| {
        let bytes = of(record);
        let value = values::record(record, bytes.len());
        set.sound(FORMAT, what, bytes, value);
    };
    sound("all that there is", &full);
    sound("empty", &Record::default());
    let changed = |change: &dyn Fn(&mut Record)| {
        let mut record = full.clone();
        change(&mut record);
        record
    };
    let fault = Fault::Unknown(200);
    sound(
        "faults of a later version",
        &changed(&|record| {
            record.body.failed[0].fault = fault;
            record.body.slots[2].state = SlotState::Bad { fault };
        }),
    );
    sound("notes of a later version", &changed(&|record| record.body.notes[0] = 2));
    sound(
        "writing and empty",
        &changed(&|record| {
            record.body.slots[1].state = SlotState::Writing;
            record.body.slots[2].state = SlotState::Empty;
        }),
    );
    let padded = [&bytes[..], &[0x55; 40]].concat();
    set.sound(FORMAT, "padding behind it", padded, values::record(&full, bytes.len()));

    let mut refuse = |what: &str, kind: &str, bytes| {
        set.refused(FORMAT, what, bytes, kind);
    };
    refuse("blank with zeros", "blank", vec![0; LEN_MAX]);
    refuse("blank and erased", "blank", vec![0xff; LEN_MAX]);
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    refuse("another magic", "magic", flipped(0));
    refuse("a bit of the body that is wrong", "checksum", flipped(100));
    refuse("a bit of the checksum that is wrong", "checksum", flipped(bytes.len() - 1));
    refuse("cut short", "short", bytes[..bytes.len() - 1].to_vec());
    refuse("half a header", "short", bytes[..8].to_vec());
    let mut torn = bytes.clone();
    torn[200..].fill(0xff);
    refuse("torn", "checksum", torn);
    let body = raw(&full.body);
    refuse("a later version", "version", copy(2, 7, &body));
    refuse("a later version with a body of its own", "version", copy(300, 7, b"what is this"));
    refuse("sequence 2 to the 63", "bounds", copy(1, 1 << 63, &body));
    refuse("a body of 1517 bytes", "bounds", copy(1, 7, &[0; 1517]));
    refuse("a byte of the body too many", "trailing", copy(1, 7, &[&body[..], &[0]].concat()));
    refuse("a byte of the body too few", "short", copy(1, 7, &body[..body.len() - 1]));
    let mut flag = body.clone();
    // Behind the state of the first slot, which has no fields.
    flag[1] = 2;
    refuse("suspect 2", "malformed", copy(1, 7, &flag));
    let mut change = |what, change: &dyn Fn(&mut Record)| {
        refuse(what, "bounds", of(&changed(change)));
    };
    change("no tries", &|record| record.body.slots[3].state = SlotState::Ready { tries: 0 });
    change("16 tries", &|record| record.body.slots[3].state = SlotState::Ready { tries: 16 });
    change("16 tries left", &|record| {
        record.body.slots[1].state = SlotState::Trying { left: 16, attempt: 1, nonce: 1 };
    });
    let mut state = body;
    state[0] = 6;
    set.unknown(FORMAT, "unknown state", copy(1, 7, &state), "state", 6);
}

fn marks(set: &mut Set) {
    const FORMAT: &str = "mark";
    let digest = [0x5a; 32];
    for (what, kind) in [("committed", MarkKind::Committed), ("confirmed", MarkKind::Confirmed)] {
        let mark = Mark { kind, digest };
        set.sound(FORMAT, what, mark.emit().to_vec(), values::mark(&mark));
    }
    let sound = Mark { kind: MarkKind::Committed, digest }.emit();
    let padded = [&sound[..], &[0xff; 20]].concat();
    let value = values::mark(&Mark { kind: MarkKind::Committed, digest });
    set.sound(FORMAT, "padding behind it", padded, value);
    set.refused(FORMAT, "erased", vec![0xff; 44], "magic");
    set.refused(FORMAT, "destroyed", vec![0; 44], "magic");
    set.refused(FORMAT, "cut short", sound[..43].to_vec(), "short");
    let mut wrong = sound;
    wrong[20] ^= 1;
    set.refused(FORMAT, "a bit that is wrong", wrong.to_vec(), "checksum");
    let mut later = sound;
    later[4] = 2;
    let crc = crc32(&later[..40]);
    later[40..].copy_from_slice(&crc.to_le_bytes());
    set.refused(FORMAT, "a later version", later.to_vec(), "version");
}

/// A geometry of flash with this granule, for logs that are as short as they can be.
#[must_use]
fn flash(granule: u32) -> Geometry {
    Geometry {
        logical_block_bytes: 1,
        write_granule_bytes: granule,
        erase_block_bytes: 1024,
        capacity_bytes: 0,
        erased: Some(0xff),
    }
}

/// Length of the header of a record.
const HEADER_OF_RECORD: usize = stillboot::format::record::HEADER_LEN;

const BLOCKS: u64 = 2;
const BLOCK_LEN: usize = 5120;

/// Has the core read log blocks of `BLOCK_LEN` bytes; the world that holds them.
#[must_use]
pub fn readable<'a>(device: Device<'a>, granule: u32, log: &[u8]) -> World<'a, RamDisk> {
    let slots = [Slot::A, Slot::B];
    let ground = DeviceMap::log(flash(granule), BLOCKS, BLOCK_LEN as u64, &slots, 32 << 10);
    let mut disk = RamDisk::new(ground.geometries()[0], 0xff);
    disk.poke(0, log);
    World::new(device, ground, vec![disk])
}

struct Sizes {
    cell: usize,
    first: usize,
    last: usize,
}

fn sizes(granule: u32) -> Sizes {
    let cell = CELL_LEN.max(granule as usize);
    let first = HEADER_LEN.next_multiple_of(cell);
    let directory = (BLOCK_LEN / 8).min(DIRECTORY_LEN_MAX) / cell * cell;
    Sizes { cell, first, last: directory - first }
}

/// The generation of a log block; 0 if neither of its headers is sound.
#[must_use]
pub fn log_generation(block: &[u8], granule: u32) -> u64 {
    let headers = [0, sizes(granule).last].into_iter();
    headers.filter_map(|at| log::parse_header(&block[at..]).ok()).next().unwrap_or(0)
}

fn cells(block: &[u8], granule: u32) -> impl Iterator<Item = (usize, Cell)> {
    let Sizes { cell, first, last } = sizes(granule);
    let generation = log_generation(block, granule);
    let found = (first..last).step_by(cell);
    found.filter_map(move |at| Some((at, Cell::parse(&block[at..], generation).ok()?)))
}

/// The entries in force of a log block: kind, slot, component, offset, length.
///
/// # Panics
/// For an entry that no sound log has.
#[must_use]
pub fn log_entries(block: &[u8], granule: u32) -> Vec<Value> {
    use EntryKind::{Committed, Confirmed, Head, Index, Record as OfRecord, Unmarked};
    let unit = sizes(granule).cell;
    let mut live: Vec<(EntryKind, u8, u8, Value)> = Vec::new();
    for (_, cell) in cells(block, granule) {
        let (offset, len) = (cell.offset as usize, cell.cells as usize * unit);
        let is_inside = offset >= sizes(granule).last + sizes(granule).first;
        let body = block.get(offset..offset + len).filter(|_| is_inside && offset % unit == 0);
        let is_record = || body.is_some_and(|body| Record::parse(body).is_ok());
        if len > 0 && body.is_none() || cell.kind == OfRecord && !is_record() {
            continue;
        }
        let ended: &[EntryKind] = match cell.kind {
            Head => &[Head, Index, Committed, Confirmed],
            Unmarked => &[Committed, Confirmed],
            _ => &[],
        };
        live.retain(|(kind, slot, component, _)| {
            let is_same = (*kind, *component) == (cell.kind, cell.component);
            *slot != cell.slot || !(ended.contains(kind) || is_same)
        });
        if cell.kind != Unmarked {
            let slot = Slot::ALL[usize::from(cell.slot)].name();
            let entry = json!([cell.kind.name(), slot, cell.component, offset, len]);
            live.push((cell.kind, cell.slot, cell.component, entry));
        }
    }
    live.sort_by_key(|(kind, slot, component, _)| (kind.name(), *slot, *component));
    live.into_iter().map(|(_, _, _, entry)| entry).collect()
}

/// What the core writes when it installs an update, starts it and confirms it.
fn written(granule: u32) -> Vec<u8> {
    let keys = root_keys();
    let device =
        Device::new(Trust::Roots { keys: &keys, rule: Rule::ed25519(1) }, product(), class())
            .with_revision(REVISION)
            .with_architecture(Architecture::Aarch64);
    let mut world = readable(device, granule, &[]);
    // One that the policy lets pass on a new device.
    let mut manifest = manifest();
    manifest.channel.risk = stillboot::format::Risk::Stable;
    manifest.channel.branch.clear();
    manifest.min_from.clear();
    (manifest.not_after, manifest.rollout) = (0, 100);
    manifest.epochs = Epochs::default();
    let payload = raw(&manifest);
    let envelope = sign(
        stillboot::format::PayloadType::Manifest,
        &payload,
        KeyRole::Release,
        &[number::RELEASE],
    );
    let bundle = [signed_keyset(&keyset()), envelope, body(4096, KERNEL)].concat();
    world.install(&bundle, None).expect("an installation");
    let proof = world.power_on().expect("a layout").proof.expect("it starts");
    world.perform(Request::MarkGood(proof)).expect("it is confirmed");
    world.disks[0].bytes(0, BLOCKS as usize * BLOCK_LEN)
}

/// The block with another generation: its header, and the cells, whose checksums have it inside.
fn of_generation(block: &[u8], granule: u32, generation: u64) -> Vec<u8> {
    let mut out = block.to_vec();
    for at in [0, sizes(granule).last] {
        out[at..at + HEADER_LEN].copy_from_slice(&log::emit_header(generation));
    }
    for (at, cell) in cells(block, granule) {
        out[at..at + CELL_LEN].copy_from_slice(&cell.emit(generation));
    }
    out
}

/// A header as a later version may write it.
fn later_header() -> [u8; HEADER_LEN] {
    let mut header = log::emit_header(3);
    header[4] = 2;
    let crc = crc32(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

// Long because it is a table: a vector for each state of a log.
fn logs(set: &mut Set) {
    const FORMAT: &str = "log";
    let value = |log: &[u8], number: usize, granule: u32| {
        let block = &log[number * BLOCK_LEN..][..BLOCK_LEN];
        let entries = log_entries(block, granule);
        let record = entries.iter().find(|entry| entry[0] == "record").expect("a record");
        let at = record[3].as_u64().expect("an offset") as usize;
        let sequence = Record::parse(&block[at..]).expect("a sound record").sequence;
        json!({
            "block": number,
            "generation": log_generation(block, granule),
            "sequence": sequence,
            "entries": entries,
        })
    };
    let mut add = |what, granule: u32, log: Vec<u8>, outcome: Result<usize, &str>| {
        let vector = match outcome {
            Ok(number) => {
                let value = value(&log, number, granule);
                set.sound(FORMAT, what, log, value)
            }
            Err(kind) => set.refused(FORMAT, what, log, kind),
        };
        vector.with("block_len", BLOCK_LEN).with("granule", granule);
    };
    let wide = written(32);
    add("granule of 32 bytes", 32, wide, Ok(0));
    let granule = 8;
    let sound = written(granule);
    let unit = sizes(granule);
    let (block, _) = sound.split_at(BLOCK_LEN);
    add("installed started and confirmed", granule, sound.clone(), Ok(0));

    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut log = sound.clone();
        change(&mut log);
        log
    };
    let worn = changed(&|log| log[..HEADER_LEN].fill(0));
    add("first header destroyed", granule, worn, Ok(0));
    let all: Vec<_> = cells(block, granule).collect();
    let is_record = |(_, cell): &&(usize, Cell)| cell.kind == EntryKind::Record;
    let last = all.iter().rfind(is_record).expect("a record").1;
    let body_of = last.offset as usize..(last.offset + last.cells * unit.cell as u32) as usize;
    let torn = changed(&|log| log[body_of.clone()].fill(0xff));
    add("last record cut before its body", granule, torn, Ok(0));
    // The first cell that is erased.
    let free = all.iter().map(|(at, _)| at + unit.cell).max().expect("cells");
    let generation = log::parse_header(block).expect("a sound header");
    let entry = |kind, generation| {
        let cell = Cell { kind, slot: 0, component: 0, offset: 0, cells: 0 };
        changed(&|log| log[free..free + CELL_LEN].copy_from_slice(&cell.emit(generation)))
    };
    add("marks ended", granule, entry(EntryKind::Unmarked, generation), Ok(0));
    let before = entry(EntryKind::Unmarked, generation - 1 + 2);
    add("cell of another generation", granule, before, Ok(0));
    // Sound by its checksum, and no entry: a record of slot b, a mark with a body, a record
    // that stands in the directory.
    let forged = [
        Cell { kind: EntryKind::Record, slot: 1, ..last },
        Cell { kind: EntryKind::Committed, slot: 1, ..last },
        Cell { offset: 64, ..last },
    ];
    for (what, cell) in ["record of a slot", "mark with a body", "record within the directory"]
        .into_iter()
        .zip(forged)
    {
        let log = changed(&|log| {
            log[free..free + CELL_LEN].copy_from_slice(&cell.emit(generation));
        });
        add(what, granule, log, Ok(0));
    }
    let unknown = entry(EntryKind::Unknown(7), generation);
    add("unknown kind of entry", granule, unknown.clone(), Err("version"));

    let moved = [block, &of_generation(block, granule, generation + 1)].concat();
    add("two blocks of which the second counts", granule, moved.clone(), Ok(1));
    let same = [block, block].concat();
    add("two blocks of one generation", granule, same, Ok(0));
    let without = |log: &[u8], from: usize| {
        let mut log = log.to_vec();
        for (_, cell) in all.iter().filter(is_record) {
            let at = from + cell.offset as usize;
            log[at..at + 16].fill(0);
        }
        log
    };
    let back = without(&moved, BLOCK_LEN);
    add("highest block without a sound record", granule, back, Ok(0));
    let none = without(&sound, 0);
    add("no sound record", granule, none, Err("content"));
    add("erased", granule, vec![0xff; 2 * BLOCK_LEN], Err("content"));
    // The last sound record counts, and stops if it is of a later version; those before it do not.
    let of_later = |cell: &Cell| {
        changed(&|log| {
            let body = &mut log[cell.offset as usize..];
            body[4] = 2;
            let len = HEADER_OF_RECORD + usize::from(u16::from_le_bytes([body[6], body[7]]));
            let crc = crc32(&body[..len]);
            body[len..len + 4].copy_from_slice(&crc.to_le_bytes());
        })
    };
    let first = all.iter().find(is_record).expect("a record").1;
    assert_ne!(first, last);
    add("earlier record of a later version", granule, of_later(&first), Ok(0));
    add("last record of a later version", granule, of_later(&last), Err("version"));
    let (old, _) = unknown.split_at(BLOCK_LEN);
    let beside = [old, &of_generation(block, granule, generation + 1)].concat();
    add("unknown kind of entry in a block that does not count", granule, beside, Ok(1));
    let newer = [&of_generation(block, granule, generation + 1), old].concat();
    add("unknown kind of entry in an older second block", granule, newer, Ok(0));
    let mark = Cell { kind: EntryKind::Confirmed, slot: 2, component: 0, offset: 0, cells: 0 };
    let alone = changed(&|log| {
        log[free..free + CELL_LEN].copy_from_slice(&mark.emit(generation));
    });
    add("mark without a head", granule, alone, Ok(0));
    let later = changed(&|log| {
        for at in [0, unit.last] {
            log[at..at + HEADER_LEN].copy_from_slice(&later_header());
        }
    });
    add("a later version", granule, later, Err("version"));
}

fn dtbs(set: &mut Set) {
    const FORMAT: &str = "dtbs";
    let sound = seeds(FORMAT).swap_remove(0);
    // Of the two trees that the simulator's set has.
    let value = json!({ "trees": ["maker,one", "maker,two"], "matches": 3 });
    set.sound(FORMAT, "two trees", sound.clone(), value);
    let mut refuse = |what, at: usize, with: u8| {
        let mut bytes = sound.clone();
        bytes[at] = with;
        set.refused(FORMAT, what, bytes, "malformed");
    };
    refuse("another magic", 0, b'S');
    refuse("a later version", 8, 2);
    refuse("another length", 24, 1);
    refuse("more trees than there are", 14, 1);
    set.refused(FORMAT, "cut short", sound[..sound.len() - 1].to_vec(), "malformed");
}

/// The last line of the file of statements that were seen.
pub(super) fn sum(body: &str) -> String {
    let digest = values::hex(&digest_of::<SoftSha256>(body.as_bytes()));
    format!("sum {}\n", &digest[..16])
}

fn seen(set: &mut Set) {
    const FORMAT: &str = "seen";
    let entries: [(Digest, StatementKind, u64); 3] = [
        ([3; 32], StatementKind::Channel, (1 << 53) - 1),
        ([3; 32], StatementKind::Approval, 1),
        ([1; 32], StatementKind::SignOff, 20),
    ];
    let mut text = "stillboot-seen-1\n".to_owned();
    let mut listed = Vec::new();
    for (digest, kind, number) in entries {
        let digest = values::hex(&digest);
        writeln!(text, "{digest} {} {number}", kind.name()).expect("a text takes all");
        listed.push(json!({ "digest": digest, "kind": kind.name(), "number": number }));
    }
    let with_sum = |text: &str| [text, &sum(text)].concat();
    let sound = with_sum(&text);
    set.sound(FORMAT, "sound", sound.clone().into_bytes(), json!({ "entries": listed }));
    let none = with_sum("stillboot-seen-1\n");
    set.sound(FORMAT, "empty", none.into_bytes(), json!({ "entries": [] }));
    let mut refuse = |what, text: String| {
        set.refused(FORMAT, what, text.into_bytes(), "malformed");
    };
    refuse("wrong sum", sound.replace("approval 1", "approval 2"));
    refuse("without a sum", text.clone());
    refuse("another title", with_sum(&text.replace("seen-1", "seen-2")));
    refuse("unknown kind", with_sum(&text.replace("approval", "denial")));
    refuse("cut short", sound[..sound.len() - 1].to_owned());
}
