//! The table as a file, for builds with fewer features.

use stillboot::format::Architecture;
use stillboot::verify::Trust;
use stillboot_tests::RamWorld;

use super::cases::cases;
use super::{FORMS, Stage, Vendor, WAYS, device, planted, sound};

/// The table as `tests/powerset/src/table.rs` reads it: each field behind its length.
#[test]
fn the_table_is_left_for_builds_with_fewer_features() {
    let mut table = Table(Vec::new());
    for form in FORMS {
        table.device(&Vendor::new(1, form));
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rejection-table");
    // Written under another name and renamed: a reader sees the whole old file meanwhile.
    let new = path.with_extension("new");
    std::fs::write(&new, table.0).unwrap();
    std::fs::rename(new, path).unwrap();
}

struct Table(Vec<u8>);

impl Table {
    fn bytes(&mut self, field: &[u8]) {
        self.0.extend((field.len() as u32).to_le_bytes());
        self.0.extend(field);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// One device, its sound bundle and all the others.
    fn device(&mut self, vendor: &Vendor) {
        let (start, proof) = device(vendor);
        let (device, ground) = (vendor.device(), start.ground.clone());
        match device.trust {
            Trust::Roots { keys, .. } => {
                self.text("roots");
                self.bytes(&keys[0].name);
            }
            Trust::Key(key) => {
                self.text("key");
                self.bytes(key);
            }
            other => panic!("not in the table: {other:?}"),
        }
        self.bytes(&device.product);
        self.bytes(&device.class);
        self.number(device.revision.into());
        assert_eq!(device.architecture, Architecture::X86_64);
        let slots = ground.slots();
        let of_slots = slots.iter().flat_map(|slot| [slot.head.unwrap(), slot.regions[0].region]);
        for region in ground.places().iter().copied().chain(of_slots) {
            self.number(region.offset);
            self.number(region.len);
        }
        let capacity = ground.geometries()[0].capacity_bytes as usize;
        let geometry = stillboot::device::Geometry::disk(512, capacity as u64);
        assert_eq!(ground.geometries(), [geometry]);
        self.bytes(&start.disks[0].bytes(0, capacity));
        let floor = start.store.as_ref().unwrap().floors[0].unwrap();
        self.number(floor.keyset_version.into());
        self.number(floor.level.into());
        self.text(&proof.emit());
        self.bytes(&sound(vendor));
        let cases = cases(vendor);
        self.number(cases.len() as u64);
        for case in &cases {
            self.text(case.name);
            self.bytes(&case.bundle);
            self.text(case.says);
            for fact in [case.stage == Stage::Head, case.in_file, case.on_new_device] {
                self.number(fact.into());
            }
            let ways = if case.boot_says.is_empty() { &[][..] } else { &WAYS };
            self.number(ways.len() as u64);
            for way in ways {
                let world = planted(&start, &case.bundle, way);
                self.text(way);
                // Without a record, what is found out by its head is not even looked at again.
                self.text(if *way == "without a record" { "" } else { case.boot_says });
                self.difference(&start, &world, capacity);
            }
        }
        self.number(WAYS.len() as u64);
        for way in WAYS {
            let world = planted(&start, &sound(vendor), way);
            self.text(way);
            self.difference(&start, &world, capacity);
        }
    }

    /// What a disk was written by hand in, block by block: the table stays small.
    fn difference(&mut self, before: &RamWorld<'_>, after: &RamWorld<'_>, capacity: usize) {
        const BLOCK: usize = 512;
        let (before, after) =
            (before.disks[0].bytes(0, capacity), after.disks[0].bytes(0, capacity));
        let blocks = before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate();
        let changed: Vec<_> = blocks.filter(|(_, (before, after))| before != after).collect();
        self.number(changed.len() as u64);
        for (number, (_, after)) in changed {
            self.number((number * BLOCK) as u64);
            self.bytes(after);
        }
    }
}
