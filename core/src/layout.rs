//! Where everything stands on the devices: the boot record, each slot's header and components.
//!
//! ```text
//! slot, first region:
//!   commit block | confirmed block | trust area | index 0 | index 1 | ... | component | component
//! slot, further regions:
//!   component | component
//! ```
//!
//! Each part starts on an erase block of its own, so that none can be torn by a write to another.
//! A component goes into the region that names its role, else into the first. Pure arithmetic: the
//! numbers come from a signed manifest, and every sum is checked all the same.

use crate::device::Geometry;
use crate::format::manifest::COMPONENTS_MAX;
use crate::format::{Component, Manifest, Role, Slot, record};
use crate::io::round_u64;
use crate::verify::TRUST_LEN_MAX;

/// Most devices that one layout spans.
pub const DEVICES_MAX: usize = 4;
/// Most regions of one slot.
pub const REGIONS_MAX: usize = 4;

/// A part of a device. Offset and length are multiples of the device's erase block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// Number of the device, counted as the driver is given them.
    pub device: u8,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Region {
    /// Nowhere.
    pub(crate) const NONE: Self = Self { device: 0, offset: 0, len: 0 };
}

/// A region of a slot, with the components that go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRegion {
    /// Where it is.
    pub region: Region,
    /// The roles of the components that go there; empty for a slot's first region, which takes all
    /// that no other region names.
    pub roles: &'static [Role],
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout<'a> {
    /// Which slot.
    pub slot: Slot,
    /// Its regions, 1..=4; the first carries the header.
    pub regions: &'a [SlotRegion],
}

/// Where everything stands, checked once.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    geometries: &'a [Geometry],
    record: [Region; 2],
    slots: &'a [SlotLayout<'a>],
}

/// Why a layout, or a manifest on a layout, cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// There are no devices or more than four, or one has units that do not fit together.
    Device,
    /// There is no slot, one twice, or one without regions or with more than four.
    Slots,
    /// A region names no device, leaves it, or does not stand on erase blocks. Regions are counted
    /// from 0: the record's two, then those of each slot.
    Region(usize),
    /// Two regions share bytes, or both copies of the record share an erase block.
    Overlap(usize, usize),
    /// A region is shorter than what must fit into it.
    TooSmall {
        /// What must fit, in bytes.
        needed: u64,
        /// The region's length in bytes.
        available: u64,
    },
    /// The manifest's chunk size cannot be served by a device of the slot.
    ChunkSize {
        /// The manifest's chunk size in bytes.
        chunk_size: u32,
        /// The unit of the device, in bytes, that it would have to be a multiple of.
        unit: u32,
    },
    /// The manifest has no component for the slot.
    NothingForSlot,
    /// The caller's buffer is too short.
    Buffer {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that were given.
        available: usize,
    },
    /// The device has no such slot.
    NoSuchSlot(Slot),
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device => f.write_str("the devices of the layout are missing or unsound"),
            Self::Slots => f.write_str("the slots of the layout are missing, doubled or unsound"),
            Self::Region(number) => write!(
                f,
                "region {number} of the layout leaves its device or is not aligned to erase blocks"
            ),
            Self::Overlap(one, other) => {
                write!(f, "regions {one} and {other} of the layout overlap")
            }
            Self::TooSmall { needed, available } => {
                write!(f, "the slot is too small: {needed} bytes are needed, it has {available}")
            }
            Self::ChunkSize { chunk_size, unit } => write!(
                f,
                "chunks of {chunk_size} bytes cannot be written to a device with units of {unit}"
            ),
            Self::NothingForSlot => f.write_str("the update has no component for this slot"),
            Self::Buffer { needed, available } => {
                write!(f, "the work buffer is too short: {needed} bytes needed, {available} given")
            }
            Self::NoSuchSlot(slot) => write!(f, "this device has no slot {slot}"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// A part of a slot's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The commit block.
    Commit,
    /// The confirmed block.
    Confirmed,
    /// Keyset and manifest envelopes.
    Trust,
}

impl<'a> Layout<'a> {
    /// Checks a layout: every region within its device and on erase blocks, none sharing a byte
    /// with another, the record's copies in separate erase blocks with room for a copy each, each
    /// slot with room for its header.
    ///
    /// Where all of it is known beforehand, as on a microcontroller, this can run in the compiler:
    /// a layout that is wrong then does not compile, and the check takes no flash.
    ///
    /// # Errors
    /// [`LayoutError`] naming what is wrong.
    pub const fn new(
        geometries: &'a [Geometry],
        record: [Region; 2],
        slots: &'a [SlotLayout<'a>],
    ) -> Result<Self, LayoutError> {
        // Loops over numbers: iterators cannot run in the compiler.
        if geometries.is_empty() || geometries.len() > DEVICES_MAX {
            return Err(LayoutError::Device);
        }
        let mut at = 0;
        while at < geometries.len() {
            if !geometries[at].is_valid() {
                return Err(LayoutError::Device);
            }
            at += 1;
        }
        if slots.is_empty() {
            return Err(LayoutError::Slots);
        }
        let mut at = 0;
        while at < slots.len() {
            let regions = slots[at].regions.len();
            if regions == 0 || regions > REGIONS_MAX {
                return Err(LayoutError::Slots);
            }
            let mut before = 0;
            while before < at {
                if slots[before].slot as u8 == slots[at].slot as u8 {
                    return Err(LayoutError::Slots);
                }
                before += 1;
            }
            at += 1;
        }
        let layout = Self { geometries, record, slots };
        let mut at = 0;
        while let Some(region) = layout.region(at) {
            if region.device as usize >= geometries.len()
                || region.len == 0
                || geometries[region.device as usize]
                    .check_erase(region.offset, region.len)
                    .is_err()
            {
                return Err(LayoutError::Region(at));
            }
            let mut before = 0;
            while before < at
                && let Some(other) = layout.region(before)
            {
                if other.device == region.device
                    && other.offset < region.offset + region.len
                    && region.offset < other.offset + other.len
                {
                    return Err(LayoutError::Overlap(before, at));
                }
                before += 1;
            }
            at += 1;
        }
        let mut at = 0;
        while at < record.len() {
            let needed = layout.round_up(record[at].device, record::LEN_MAX as u64);
            if record[at].len < needed {
                return Err(LayoutError::TooSmall { needed, available: record[at].len });
            }
            at += 1;
        }
        let mut at = 0;
        while at < slots.len() {
            let (needed, available) =
                (layout.header_len(&slots[at]), slots[at].regions[0].region.len);
            if available < needed {
                return Err(LayoutError::TooSmall { needed, available });
            }
            at += 1;
        }
        Ok(layout)
    }

    /// The regions one after the other: the record's, then those of each slot.
    const fn region(&self, mut number: usize) -> Option<Region> {
        if number < self.record.len() {
            return Some(self.record[number]);
        }
        number -= self.record.len();
        let mut slot = 0;
        while slot < self.slots.len() {
            let regions = self.slots[slot].regions;
            if number < regions.len() {
                return Some(regions[number].region);
            }
            number -= regions.len();
            slot += 1;
        }
        None
    }

    /// The device's units and size.
    ///
    /// # Panics
    /// Never for numbers out of this layout's regions: `new` has checked them.
    #[must_use]
    pub const fn geometry(&self, device: u8) -> &Geometry {
        &self.geometries[device as usize]
    }

    /// Where copy 0 or 1 of the boot record stands.
    #[must_use]
    pub const fn record(&self, copy: usize) -> Region {
        self.record[copy & 1]
    }

    /// The slots, in the order they were given.
    #[must_use]
    pub const fn slots(&self) -> &'a [SlotLayout<'a>] {
        self.slots
    }

    /// Whether the device has the slot.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        self.slot(slot).is_some()
    }

    fn slot(&self, slot: Slot) -> Option<&'a SlotLayout<'a>> {
        self.slots.iter().find(|layout| layout.slot == slot)
    }

    /// `len` rounded up to whole erase blocks of `device`, or [`u64::MAX`] on overflow, which fits
    /// nowhere.
    const fn round_up(&self, device: u8, len: u64) -> u64 {
        round_u64(len, self.geometry(device).erase_block_bytes)
    }

    const fn header_len(&self, slot: &SlotLayout<'_>) -> u64 {
        let device = slot.regions[0].region.device;
        2 * self.round_up(device, 1) + self.round_up(device, TRUST_LEN_MAX as u64)
    }

    /// Where a part of the slot's header stands. The region is whole erase blocks.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchSlot`].
    pub fn part(&self, slot: Slot, part: Part) -> Result<Region, LayoutError> {
        let layout = self.slot(slot).ok_or(LayoutError::NoSuchSlot(slot))?;
        let Region { device, offset, .. } = layout.regions[0].region;
        let block = self.round_up(device, 1);
        let (at, len) = match part {
            Part::Commit => (0, block),
            Part::Confirmed => (block, block),
            Part::Trust => (2 * block, self.round_up(device, TRUST_LEN_MAX as u64)),
        };
        Ok(Region { device, offset: offset + at, len })
    }

    /// Where component `number` of `manifest` stands in `slot`: its index, then its bytes. Both are
    /// whole erase blocks.
    ///
    /// # Errors
    /// [`LayoutError::TooSmall`] if it does not fit, [`LayoutError::NoSuchSlot`].
    pub fn component(
        &self,
        slot: Slot,
        manifest: &Manifest,
        number: usize,
    ) -> Result<(Region, Region), LayoutError> {
        let layout = self.slot(slot).ok_or(LayoutError::NoSuchSlot(slot))?;
        let component = manifest.components.get(number).filter(|component| component.fits(slot));
        let component = component.ok_or(LayoutError::NothingForSlot)?;
        let first = layout.regions[0].region;
        let home = region_of(layout, component);
        let mut indexes = self.header_len(layout);
        let (mut index_at, mut index_len, mut before) = (0, 0, 0_u64);
        for (at, other) in manifest.components_of(slot) {
            let len = self.round_up(first.device, other.index_len(manifest.chunk_size));
            if at == number {
                (index_at, index_len) = (indexes, len);
            }
            indexes = indexes.saturating_add(len);
            // Components of the same region follow each other.
            if at < number && region_of(layout, other) == home {
                let device = layout.regions[home].region.device;
                before = before.saturating_add(self.round_up(device, other.length));
            }
        }
        // Also where no component stands in the first region: its neighbour begins right after it.
        if indexes > first.len {
            return Err(LayoutError::TooSmall { needed: indexes, available: first.len });
        }
        // In the first region they follow the indexes.
        if home == 0 {
            before = before.saturating_add(indexes);
        }
        let region = layout.regions[home].region;
        let len = self.round_up(region.device, component.length);
        let needed = before.saturating_add(len);
        if needed > region.len {
            return Err(LayoutError::TooSmall { needed, available: region.len });
        }
        let index =
            Region { device: first.device, offset: first.offset + index_at, len: index_len };
        Ok((index, Region { device: region.device, offset: region.offset + before, len }))
    }

    /// Checks that all components of `manifest` for `slot` fit, and that the slot's devices can be
    /// written in its chunks. Install protocol step 1: nothing is erased for what will not fit.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn check_fit(&self, slot: Slot, manifest: &Manifest) -> Result<(), LayoutError> {
        let mut any = false;
        for number in 0..COMPONENTS_MAX.min(manifest.components.len()) {
            if !manifest.components[number].fits(slot) {
                continue;
            }
            any = true;
            let (_, data) = self.component(slot, manifest, number)?;
            let unit = self.geometry(data.device).write_granule_bytes;
            if manifest.chunk_size < unit {
                return Err(LayoutError::ChunkSize { chunk_size: manifest.chunk_size, unit });
            }
        }
        if any { Ok(()) } else { Err(LayoutError::NothingForSlot) }
    }

    /// The devices that hold parts of `slot`, as a set of bits by device number.
    #[must_use]
    pub fn devices_of(&self, slot: Slot) -> u8 {
        self.slot(slot).map_or(0, |layout| {
            layout.regions.iter().fold(0, |set, region| set | 1 << region.region.device)
        })
    }

    /// Largest unit of reading and writing of all devices, in bytes: what any transfer is rounded
    /// up to.
    #[must_use]
    pub fn unit(&self) -> usize {
        let units = self.geometries.iter().map(|geometry| geometry.write_granule_bytes);
        units.max().unwrap_or(1) as usize
    }
}

/// Number of the slot's region that `component` goes into.
fn region_of(layout: &SlotLayout<'_>, component: &Component) -> usize {
    let named = |region: &SlotRegion| region.roles.contains(&component.role);
    layout.regions.iter().position(named).unwrap_or(0)
}
