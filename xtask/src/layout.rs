//! `cargo xtask layout CHIP`: where everything stands on a microcontroller, and how much flash is
//! left for the image, beside what embassy-boot leaves of the same chip.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use stillboot::device::Geometry;
use stillboot::format::record::LEN_MAX;
use stillboot::format::{
    Architecture, Channel, Component, Encryption, Epochs, Load, Manifest, Risk, Role, Slot,
    manifest,
};
use stillboot::layout::{Area, LOG_LEN_MIN, Layout, Region, SlotLayout, SlotRegion};

use crate::{shell, size};

/// Flash that the boot loader takes, in bytes.
const LOADER: u64 = 40 << 10;
/// Longest head of a slot in these layouts, in bytes: one root, one release key, one component, and
/// room for three of each.
const HEAD: u64 = 1024;
/// Chunks of the bundles for these layouts, in bytes. An index of them takes 32 bytes for each.
const CHUNK: u32 = 4096;

/// Sectors of one size that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    count: u64,
    bytes: u64,
}

/// A microcontroller's flash, as its reference manual has it.
struct Chip {
    name: &'static str,
    what: &'static str,
    runs: &'static [Run],
    /// Bytes that are written together.
    granule: u32,
}

const fn run(count: u64, bytes: u64) -> Run {
    Run { count, bytes }
}

const KIB: u64 = 1 << 10;

const CHIPS: &[Chip] = &[
    Chip {
        name: "nrf52840",
        what: "1 MiB, pages of 4 KiB, words of 4 bytes",
        runs: &[run(256, 4 * KIB)],
        granule: 4,
    },
    Chip {
        name: "rp2040",
        what: "2 MiB of serial flash, sectors of 4 KiB, bytes",
        runs: &[run(512, 4 * KIB)],
        granule: 1,
    },
    Chip {
        name: "stm32g0b1",
        what: "128 KiB, pages of 2 KiB, words of 8 bytes",
        runs: &[run(64, 2 * KIB)],
        granule: 8,
    },
    Chip {
        name: "stm32f407",
        what: "1 MiB, sectors of 16, 64 and 128 KiB, words of 4 bytes",
        runs: &[run(4, 16 * KIB), run(1, 64 * KIB), run(7, 128 * KIB)],
        granule: 4,
    },
    Chip {
        name: "stm32h743",
        what: "2 MiB, sectors of 128 KiB, words of 32 bytes, each written once",
        runs: &[run(16, 128 * KIB)],
        granule: 32,
    },
];

/// A run of sectors behind the loader, as a device of its own.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// First byte in the flash.
    start: u64,
    count: u64,
    bytes: u64,
}

/// One layout of a chip.
struct ChipPlan {
    shape: &'static str,
    /// Bytes for the image, in each of two slots.
    usable: u64,
    /// What stands where: name, first byte in the flash, bytes.
    parts: Vec<(String, u64, u64)>,
}

impl Chip {
    /// What the loader leaves.
    fn left(&self) -> Vec<Left> {
        let (mut start, mut loader) = (0, LOADER);
        let mut left = Vec::new();
        for run in self.runs {
            let taken = loader.div_ceil(run.bytes).min(run.count);
            loader = loader.saturating_sub(taken * run.bytes);
            if run.count > taken {
                let start = start + taken * run.bytes;
                left.push(Left { start, count: run.count - taken, bytes: run.bytes });
            }
            start += run.count * run.bytes;
        }
        left
    }

    /// The most that embassy-boot leaves for an image: its active partition, in pages of the sector
    /// size, one page more for the update, and a state of `2 + 4 * pages` words in sectors of its
    /// own (`assert_partitions` in its `boot_loader.rs`).
    fn embassy(&self) -> u64 {
        let left = self.left();
        // Its two large partitions are in sectors of one size; its state is wherever it fits.
        let pages_in = |large: usize| {
            (0..left[large].count).rev().find(|pages| {
                let state = (2 + 4 * pages) * u64::from(self.granule);
                let others = left.iter().enumerate().filter(|(at, _)| *at != large);
                let elsewhere = others.into_iter().any(|(_, run)| run.count * run.bytes >= state);
                let own = if elsewhere { 0 } else { state.div_ceil(left[large].bytes) };
                2 * pages + 1 + own <= left[large].count
            })
        };
        let sizes = (0..left.len()).map(|at| pages_in(at).unwrap_or(0) * left[at].bytes);
        sizes.max().unwrap_or(0)
    }

    /// The layout that leaves the most.
    fn plan(&self) -> Result<ChipPlan> {
        let best = [self.blocks(), self.log()].into_iter().flatten();
        best.max_by_key(|plan| plan.usable)
            .with_context(|| format!("nothing fits on {}", self.name))
    }

    fn geometries(&self) -> Vec<Geometry> {
        let geometry = |left: &Left| Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: self.granule,
            erase_block_bytes: left.bytes as u32,
            capacity_bytes: left.count * left.bytes,
            erased: Some(0xff),
        };
        self.left().iter().map(geometry).collect()
    }

    /// Every part in sectors of its own, all of one size.
    fn blocks(&self) -> Option<ChipPlan> {
        let left = self.left();
        let sector = left.last()?.bytes;
        let device = (left.len() - 1) as u8;
        let sectors = |bytes: u64| bytes.div_ceil(sector);
        let (record, head) = (sectors(LEN_MAX as u64), sectors(HEAD) + 2);
        let count = left.last()?.count;
        // The longest image of which two fit, each with its index and head.
        let pages = (1..count).rev().find(|pages| {
            let index = sectors(32 * (pages * sector).div_ceil(CHUNK.into()));
            3 * record + 2 * (head + pages + index) <= count
        })?;
        let index = sectors(32 * (pages * sector).div_ceil(CHUNK.into()));
        let region =
            |from: u64, len: u64| Region { device, offset: from * sector, len: len * sector };
        let places: Vec<_> = (0..3).map(|number| region(number * record, record)).collect();
        let first = 3 * record;
        let slot = pages + index;
        let starts = [first, first + slot + head];
        let regions = starts.map(|start| [SlotRegion { region: region(start, slot), roles: &[] }]);
        let slots = [Slot::A, Slot::B].map(|slot_name| {
            let number = slot_name as usize;
            let head = Some(region(starts[number] + slot, head));
            {
                let mut layout = SlotLayout::new(slot_name, &regions[number]);
                layout.head = head;
                layout
            }
        });
        let geometries = self.geometries();
        let layout = Layout::new(&geometries, Area::Blocks(&places), &slots).ok()?;
        let usable = fits(&layout, pages * sector)?;
        let at = |sectors: u64| left[usize::from(device)].start + sectors * sector;
        let mut parts = vec![("boot record".into(), at(0), 3 * record * sector)];
        for (name, start) in ["a", "b"].into_iter().zip(starts) {
            parts.push((format!("slot {name}: image"), at(start), pages * sector));
            parts.push((format!("slot {name}: index"), at(start + pages), index * sector));
            parts.push((format!("slot {name}: head"), at(start + slot), head * sector));
        }
        Some(ChipPlan { shape: "blocks", usable, parts })
    }

    /// Metadata in a log of two blocks, in the smallest sectors that are left; images in the largest.
    fn log(&self) -> Option<ChipPlan> {
        let left = self.left();
        let geometries = self.geometries();
        let large = left.len() - 1;
        let sector = left[large].bytes;
        let mut best: Option<ChipPlan> = None;
        // In sectors of its own kind where there are any, else in front of the images.
        let shortest = LOG_LEN_MIN.div_ceil(sector);
        for log_sectors in shortest..shortest + 8 {
            let mut blocks: Vec<(u8, u64, u64)> = Vec::new();
            for (device, run) in left.iter().enumerate().take(large) {
                let fitting = (0..run.count).filter(|_| run.bytes >= LOG_LEN_MIN);
                blocks.extend(fitting.map(|at| (device as u8, at * run.bytes, run.bytes)));
            }
            blocks.truncate(2);
            let mut taken = 0;
            while blocks.len() < 2 {
                blocks.push((large as u8, taken * sector, log_sectors * sector));
                taken += log_sectors;
            }
            let Some(pages) = left[large].count.checked_sub(taken).map(|rest| rest / 2) else {
                continue;
            };
            let region = |(device, offset, len)| Region { device, offset, len };
            let log: Vec<Region> = blocks.into_iter().map(region).collect();
            let start = |number: u64| taken + number * pages;
            let regions = [0, 1].map(|number| {
                let region = Region {
                    device: large as u8,
                    offset: start(number) * sector,
                    len: pages * sector,
                };
                [SlotRegion { region, roles: &[] }]
            });
            let slots =
                [Slot::A, Slot::B].map(|slot| SlotLayout::new(slot, &regions[slot as usize]));
            let area = Area::Log { blocks: &log, head_len_max: HEAD as u32 };
            let Ok(layout) = Layout::new(&geometries, area, &slots) else { continue };
            let Some(usable) = fits(&layout, pages * sector) else { continue };
            // Directory, record, and head and index of both slots.
            let shortest = log.iter().map(|block| block.len).min().unwrap_or(0);
            let cell = u64::from(self.granule).max(16);
            let whole = |bytes: u64| bytes.next_multiple_of(cell);
            let index = whole(32 * usable.div_ceil(CHUNK.into()));
            let needed =
                (shortest / 8).min(2048) + whole(LEN_MAX as u64) + 2 * (whole(HEAD) + index);
            if needed > shortest || best.as_ref().is_some_and(|best| best.usable >= usable) {
                continue;
            }
            let at = |device: u8, offset: u64| left[usize::from(device)].start + offset;
            let mut parts: Vec<_> = log
                .iter()
                .enumerate()
                .map(|(number, block)| {
                    (format!("log block {number}"), at(block.device, block.offset), block.len)
                })
                .collect();
            for (name, number) in [("a", 0), ("b", 1)] {
                let start = at(large as u8, start(number) * sector);
                parts.push((format!("slot {name}: image"), start, pages * sector));
            }
            best = Some(ChipPlan { shape: "log", usable, parts });
        }
        best
    }
}

/// The bytes of the longest image that the core takes on this layout, `longest` at most.
fn fits(layout: &Layout<'_>, longest: u64) -> Option<u64> {
    let manifest = |length: u64| Manifest {
        schema: manifest::SCHEMA,
        product: [0; 16],
        class: [0; 16],
        revision_min: 0,
        revision_max: 0,
        version: "1".chars().collect(),
        sequence: 1,
        level: 0,
        min_from: Default::default(),
        channel: Channel {
            track: "latest".chars().collect(),
            risk: Risk::Stable,
            branch: Default::default(),
        },
        architecture: Architecture::Any,
        not_after: 0,
        epochs: Epochs::default(),
        rollout: 100,
        flags: 0,
        chunk_size: CHUNK,
        components: [Component {
            role: Role::Image,
            load: Load::Xip,
            linked: 0,
            encryption: Encryption::None,
            length,
            index_root: [0; 32],
            sha256: [0; 32],
        }]
        .into_iter()
        .collect(),
    };
    let is_taken =
        [Slot::A, Slot::B].iter().all(|slot| layout.check_fit(*slot, &manifest(longest)).is_ok());
    is_taken.then_some(longest)
}

/// Prints the layout of a chip; without one, the table of all, which it also writes to
/// `docs/BENCHMARKS.md`.
///
/// # Errors
/// The chip is not known, or nothing fits on it.
pub fn layout(chip: Option<&str>) -> Result<()> {
    let Some(name) = chip else {
        let table = table()?;
        print!("{table}");
        let path = shell::root().join("docs/BENCHMARKS.md");
        let page = std::fs::read_to_string(&path).context("cannot read docs/BENCHMARKS.md")?;
        return std::fs::write(&path, size::with_table(&page, "flash", &table)?)
            .context("cannot write docs/BENCHMARKS.md");
    };
    let Some(chip) = CHIPS.iter().find(|chip| chip.name == name.to_lowercase()) else {
        let known: Vec<_> = CHIPS.iter().map(|chip| chip.name).collect();
        bail!("chip {name} is not known; known are {}", known.join(", "));
    };
    let plan = chip.plan()?;
    println!("{}: {}", chip.name, chip.what);
    println!("{:<20} {:>10} {:>10}", "boot loader", "0x000000", LOADER);
    for (part, start, len) in &plan.parts {
        println!("{part:<20} {:>10} {len:>10}", format!("{start:#08x}"));
    }
    let embassy = chip.embassy();
    println!("metadata area: {}", plan.shape);
    println!("bytes for the image: {}, in each of two slots", plan.usable);
    println!("embassy-boot: {embassy} bytes; {}", ratio(plan.usable, embassy));
    Ok(())
}

fn ratio(ours: u64, theirs: u64) -> String {
    format!("{}.{} %", ours * 100 / theirs, ours * 1000 / theirs % 10)
}

fn table() -> Result<String> {
    let mut table = String::from(
        "| chip | flash | metadata area | bytes for an image | embassy-boot | |\n\
         |---|---|---|---:|---:|---:|\n",
    );
    for chip in CHIPS {
        let (plan, embassy) = (chip.plan()?, chip.embassy());
        writeln!(
            table,
            "| `{}` | {} | {} | {} | {embassy} | {} |",
            chip.name,
            chip.what,
            plan.shape,
            plan.usable,
            ratio(plan.usable, embassy),
        )?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_within_12_percent_of_the_largest_of_embassy_boot() {
        for chip in CHIPS {
            let (ours, theirs) = (chip.plan().expect(chip.name).usable, chip.embassy());
            assert!(ours * 100 >= theirs * 88, "{}: {ours} of {theirs}", chip.name);
        }
    }

    #[test]
    fn parts_share_no_bytes_and_are_whole_sectors() {
        for chip in CHIPS {
            let plan = chip.plan().expect(chip.name);
            let mut parts: Vec<_> = plan.parts.iter().map(|part| (part.1, part.2)).collect();
            parts.push((0, LOADER));
            parts.sort_unstable();
            assert!(parts.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{parts:?}");
            let end = chip.runs.iter().map(|run| run.count * run.bytes).sum::<u64>();
            assert!(parts.iter().all(|(start, len)| start + len <= end));
        }
    }

    #[test]
    fn the_table_of_the_page_is_this_one() {
        let page = std::fs::read_to_string(shell::root().join("docs/BENCHMARKS.md"))
            .expect("the page is readable");
        let table = table().expect("every chip has a layout");
        assert!(page.contains(&table), "run `cargo xtask layout`");
    }
}
