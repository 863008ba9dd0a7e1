//! The kinds of disk on which stories run.

use stillboot::device::Geometry;
use stillboot::format::{Role, Slot};

use crate::world::DeviceMap;

/// Bytes of a slot; what the releases of the stories need.
const SLOT_BYTES: u64 = 48 << 10;
/// Bytes of a slot on the second disk, if there is one.
const SECOND_BYTES: u64 = 4 << 10;

/// A kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    /// As in `stillboot simulate --media`.
    pub name: &'static str,
    pub(crate) geometry: Geometry,
    pub(super) has_cache: bool,
    /// How what belongs to a device is spread.
    spread: Spread,
}

/// How what belongs to a device is spread over media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// All on one, in erase blocks of its own.
    One,
    /// The initramfs of every slot has a disk of its own, with a cache of its own.
    Pair,
    /// Metadata in a log on the same medium: so many blocks of so many bytes.
    Log(u64, u64),
    /// Metadata in a log on the small sectors of a chip, components in its large ones.
    MixedLog,
    /// The record and the heads on a small device that is written byte by byte.
    Apart,
}

impl Medium {
    /// Whether what belongs together stands on two disks.
    #[must_use]
    pub const fn is_pair(&self) -> bool {
        matches!(self.spread, Spread::Pair)
    }

    /// Whether all of a device stands on one medium.
    pub(crate) const fn is_one(&self) -> bool {
        matches!(self.spread, Spread::One | Spread::Log(..))
    }

    /// Where everything stands on one such medium, with slots of at least `slot_bytes`.
    pub(crate) fn ground_of(&self, slots: &[Slot], slot_bytes: u64) -> DeviceMap {
        match self.spread {
            Spread::Log(blocks, bytes) => {
                let least = 2 * u64::from(self.geometry.erase_block_bytes);
                DeviceMap::log(self.geometry, blocks, bytes, slots, slot_bytes.max(least))
            }
            Spread::One | Spread::Pair | Spread::MixedLog | Spread::Apart => {
                DeviceMap::new(self.geometry, slots, slot_bytes)
            }
        }
    }

    /// Whether the metadata area is a log.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        matches!(self.spread, Spread::Log(..) | Spread::MixedLog)
    }

    pub(super) fn ground(&self, slots: &[Slot]) -> DeviceMap {
        let geometry = self.geometry;
        match self.spread {
            Spread::One => DeviceMap::new(geometry, slots, SLOT_BYTES),
            Spread::Pair => {
                let mut ground = DeviceMap::new(geometry, slots, SLOT_BYTES);
                ground.add_device(geometry, &[Role::Initramfs], SECOND_BYTES);
                ground
            }
            Spread::Log(blocks, bytes) => {
                // An erase block for each component.
                let slot_bytes = 2 * u64::from(geometry.erase_block_bytes);
                DeviceMap::log(geometry, blocks, bytes, slots, slot_bytes)
            }
            Spread::MixedLog => {
                let mut ground =
                    DeviceMap::log(geometry, 2, geometry.erase_block_bytes.into(), slots, 0);
                let large = Geometry { erase_block_bytes: 128 << 10, ..geometry };
                ground.move_components(large, 128 << 10);
                let middle = Geometry { erase_block_bytes: 64 << 10, ..geometry };
                ground.add_device(middle, &[Role::Initramfs], 64 << 10);
                ground
            }
            Spread::Apart => {
                let mut ground = DeviceMap::new(geometry, slots, SLOT_BYTES);
                let large = Geometry { erase_block_bytes: 64 << 10, ..geometry };
                ground.move_components(large, 128 << 10);
                ground
            }
        }
    }
}

/// All of them.
#[must_use]
pub fn media() -> Vec<Medium> {
    let flash = |name, granule, erase_block_bytes, spread| Medium {
        name,
        geometry: Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: granule,
            erase_block_bytes,
            capacity_bytes: 0,
            erased: Some(0xff),
        },
        has_cache: false,
        spread,
    };
    let nor = |name, granule| flash(name, granule, 4096, Spread::One);
    let block = |name, bytes, has_cache| Medium {
        name,
        geometry: Geometry::disk(bytes, 0),
        has_cache,
        spread: Spread::One,
    };
    vec![
        nor("nor1", 1),
        nor("nor4", 4),
        nor("nor8", 8),
        nor("nor16", 16),
        nor("nor32", 32),
        block("block512", 512, false),
        block("block4096", 4096, false),
        block("cache512", 512, true),
        block("cache4096", 4096, true),
        Medium { spread: Spread::Pair, ..block("pair512", 512, true) },
        // An STM32H743: sectors of 128 KiB, words of 32 bytes that are written once.
        flash("log128k", 32, 128 << 10, Spread::Log(2, 128 << 10)),
        flash("log256k", 8, 256 << 10, Spread::Log(2, 256 << 10)),
        // As long as two pages of 4 KiB: full after two updates. Three of them, one may be dead.
        flash("log8k", 32, 8 << 10, Spread::Log(3, 8 << 10)),
        // An STM32F407: sectors of 16, 64 and 128 KiB.
        flash("mixed", 4, 16 << 10, Spread::MixedLog),
        // Metadata on a device of its own, with small blocks.
        flash("apart", 4, 4 << 10, Spread::Apart),
    ]
}
