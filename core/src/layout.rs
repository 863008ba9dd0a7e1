//! Where each part is on the devices: the metadata area and each slot's components.
//!
//! ```text
//! slot, first region:
//!   component | component | ... free ... | index 1 | index 0
//! slot, further regions:
//!   component | component | ...
//! head of a slot, in an area of blocks:
//!   trust area | confirmed block | commit block
//! ```
//!
//! Each part starts on an erase block of its own, so that a write to one part cannot tear another.
//! The first component of a region starts at its first byte, however long the indexes are: the
//! address of an image that runs in place is a constant. All of it is pure arithmetic. The numbers
//! come from a signed manifest, and every sum is checked.
//!
//! # Example
//!
//! A layout that is known beforehand is checked by the compiler, and gives the lengths of buffers:
//!
//! ```
//! use stillboot::boot::Boot;
//! use stillboot::device::Geometry;
//! use stillboot::format::Slot;
//! use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
//! use stillboot::verify::SoftSha256;
//!
//! const fn region(offset: u64, len: u64) -> Region {
//!     Region { device: 0, offset, len }
//! }
//!
//! const DISK: &[Geometry] = &[Geometry::disk(512, 0x10_0000)];
//! const RECORD: &[Region] = &[region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];
//! const A: &[SlotRegion] = &[SlotRegion { region: region(0x1_0000, 0x7_0000), roles: &[] }];
//! const B: &[SlotRegion] = &[SlotRegion { region: region(0x8_0000, 0x7_0000), roles: &[] }];
//! const SLOTS: &[SlotLayout<'_>] = &[
//!     SlotLayout::new(Slot::A, A).with_head(region(0x3000, 0x3000)),
//!     SlotLayout::new(Slot::B, B).with_head(region(0x6000, 0x3000)),
//! ];
//! const LAYOUT: Layout<'_> = match Layout::new(DISK, Area::Blocks(RECORD), SLOTS) {
//!     Ok(layout) => layout,
//!     Err(_) => panic!("the layout is unsound"),
//! };
//!
//! static BUFFER: [u8; Boot::<SoftSha256>::buffer_len_min(&LAYOUT)] =
//!     [0; Boot::<SoftSha256>::buffer_len_min(&LAYOUT)];
//! # assert!(BUFFER.len() < 0x2000);
//! ```

use crate::device::Geometry;
use crate::format::manifest::COMPONENTS_MAX;
use crate::format::{Component, Manifest, Role, Slot, log, record};
use crate::units::{larger, round_u64};
use crate::verify::HEAD_LEN_MAX;

/// Most devices that one layout spans.
pub const DEVICES_MAX: usize = 4;
/// Most regions of one slot.
pub const REGIONS_MAX: usize = 4;
/// Fewest places of the boot record in an area of blocks: with one dead and one being written, one
/// is left.
pub const PLACES_MIN: usize = 3;
/// Most places of the boot record, or blocks of a log.
pub const PLACES_MAX: usize = 4;
/// Shortest log block, in bytes.
pub const LOG_LEN_MIN: u64 = 4 << 10;
/// Longest log block, in bytes.
pub const LOG_LEN_MAX: u64 = 1 << 20;
/// Most bytes that flash with a log may write at once.
pub const LOG_GRANULE_MAX: u32 = 64;

/// A part of a device. Offset and length are multiples of the device's erase block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// Number of the device, in the order in which the driver is given the devices.
    pub device: u8,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Region {
    /// No region.
    pub(crate) const NONE: Self = Self { device: 0, offset: 0, len: 0 };
}

/// A region of a slot, with the components that go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRegion {
    /// Where it is.
    pub region: Region,
    /// The roles of the components that go there. Empty for a slot's first region, which takes all
    /// components that no other region names.
    pub roles: &'static [Role],
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotLayout<'a> {
    /// Which slot.
    pub slot: Slot,
    /// Where its head stands in an [`Area::Blocks`]: trust area, then confirmed block, then commit
    /// block, each of the two an erase block. `None` in an area of another shape.
    pub head: Option<Region>,
    /// Where its indexes stand in an [`Area::Blocks`]; `None` for the end of its first region, and
    /// in an area of another shape.
    pub index: Option<Region>,
    /// Where its components stand: 1..=4 regions.
    pub regions: &'a [SlotRegion],
}

impl<'a> SlotLayout<'a> {
    /// A slot whose head is in a log.
    #[must_use]
    pub const fn new(slot: Slot, regions: &'a [SlotRegion]) -> Self {
        Self { slot, head: None, index: None, regions }
    }

    /// A slot with a [`head`](Self::head), as [`Area::Blocks`] needs it.
    #[must_use]
    pub const fn with_head(mut self, head: Region) -> Self {
        self.head = Some(head);
        self
    }

    /// The same with a region for its [`index`](Self::index).
    #[must_use]
    pub const fn with_index(mut self, index: Region) -> Self {
        self.index = Some(index);
        self
    }
}

/// The metadata area: where boot record and heads are, and in which shape.
// Why: docs/DESIGN.md#why-log-for-flash-alone
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Area<'a> {
    /// Each part in an erase block of its own; the record has these places, 3 or 4.
    Blocks(&'a [Region]),
    /// All parts in a log that these blocks share, 2 to 4 of them. They count as long as the
    /// shortest of them.
    ///
    /// An STM32H743, whose 2 MiB have sectors of 128 KiB, with a loader in the first of them:
    ///
    /// ```
    /// use stillboot::device::Geometry;
    /// use stillboot::format::Slot;
    /// use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
    ///
    /// const fn region(offset: u64, len: u64) -> Region {
    ///     Region { device: 0, offset, len }
    /// }
    ///
    /// const FLASH: &[Geometry] = &[Geometry::nor(32, 0x2_0000, 0x20_0000)];
    /// const LOG: &[Region] = &[region(0x2_0000, 0x2_0000), region(0x4_0000, 0x2_0000)];
    /// const A: &[SlotRegion] = &[SlotRegion { region: region(0x6_0000, 0xc_0000), roles: &[] }];
    /// const B: &[SlotRegion] = &[SlotRegion { region: region(0x12_0000, 0xc_0000), roles: &[] }];
    /// const SLOTS: &[SlotLayout<'_>] = &[
    ///     SlotLayout::new(Slot::A, A),
    ///     SlotLayout::new(Slot::B, B),
    /// ];
    ///
    /// // Heads with one root, one release key and one component have 576 bytes.
    /// let area = Area::Log { blocks: LOG, head_len_max: 1024 };
    /// assert!(Layout::new(FLASH, area, SLOTS).is_ok());
    /// ```
    #[cfg(feature = "log")]
    Log {
        /// The log blocks, each one or more erase blocks.
        blocks: &'a [Region],
        /// Longest head of a slot, in bytes.
        head_len_max: u32,
    },
}

impl<'a> Area<'a> {
    /// Its regions.
    const fn regions(&self) -> &'a [Region] {
        match self {
            Self::Blocks(places) => places,
            #[cfg(feature = "log")]
            Self::Log { blocks, .. } => blocks,
        }
    }
}

/// Where each part is, checked once.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    geometries: &'a [Geometry],
    area: Area<'a>,
    slots: &'a [SlotLayout<'a>],
}

/// Why a layout, or a manifest on a layout, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// There are no devices or more than four, or one has units that do not fit together.
    Device,
    /// There is no slot, one slot twice, or a slot without regions or with more than four. Or a
    /// slot has a head where the shape of the area has none, or the other way round.
    Slots,
    /// The metadata area has fewer places or blocks than its shape needs, or more than four.
    Places(usize),
    /// Flash of a log that is written in larger units than 64 bytes.
    LogGranule(u32),
    /// A log block on a medium that has no erased state.
    LogMedium(usize),
    /// A log block that is shorter or longer than one may be.
    LogBlock {
        /// Which one.
        number: usize,
        /// Its length in bytes.
        len: u64,
    },
    /// A log that has room for fewer entries than its slots need.
    LogEntries {
        /// How many are needed.
        needed: usize,
        /// How many there is room for.
        available: usize,
    },
    /// A region names no device, leaves it, or does not stand on erase blocks. Regions are counted
    /// from 0: those of the metadata area, then of each slot head, indexes and regions.
    Region(usize),
    /// Two regions share bytes.
    Overlap(usize, usize),
    /// A region is shorter than it must be on every device, for any update. Regions are
    /// counted as above.
    Short {
        /// Which one.
        number: usize,
        /// What must fit, in bytes.
        needed: u64,
        /// The region's length in bytes.
        available: u64,
    },
    /// The head of the update is longer than heads may be here.
    Head {
        /// Its length in bytes.
        len: usize,
        /// The most that the layout has room for, in bytes.
        most: usize,
    },
    /// The components that an update puts into a slot do not fit there.
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
            Self::Places(found) => write!(
                f,
                "the metadata area has {found} places: 3 or 4 are needed, of a log 2 to 4"
            ),
            Self::LogGranule(found) => write!(
                f,
                "a log cannot be kept where {found} bytes are written together: 64 at most"
            ),
            Self::LogMedium(number) => write!(
                f,
                "log block {number} is on a medium that is not erased before it is written: a log \
                 needs flash; a disk has blocks"
            ),
            Self::LogBlock { number, len } => write!(
                f,
                "log block {number} has {len} bytes: {LOG_LEN_MIN} to {LOG_LEN_MAX} are allowed"
            ),
            Self::LogEntries { needed, available } => write!(
                f,
                "a log block has room for {available} entries, and the slots need {needed}: longer \
                 blocks are needed"
            ),
            Self::Region(number) => write!(
                f,
                "region {number} of the layout leaves its device or is not aligned to erase blocks"
            ),
            Self::Overlap(one, other) => {
                write!(f, "regions {one} and {other} of the layout overlap")
            }
            Self::Short { number, needed, available } => write!(
                f,
                "region {number} of the layout is too short: {needed} bytes are needed, it has \
                 {available}"
            ),
            Self::Head { len, most } => {
                write!(f, "the head of the update has {len} bytes, the layout has room for {most}")
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

/// A part of a slot's head.
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
    /// Checks a layout. Every region is within its device and on erase blocks, and shares no byte
    /// with another. There are enough places for the record with room for a copy each, and room for
    /// each slot's head.
    ///
    /// If the layout is known beforehand, as on a microcontroller, this can run in the compiler. A
    /// wrong layout then does not compile, and the check takes no flash.
    ///
    /// # Errors
    /// [`LayoutError`] naming what is wrong.
    pub const fn new(
        geometries: &'a [Geometry],
        area: Area<'a>,
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
        let is_blocks = matches!(area, Area::Blocks(_));
        let places = area.regions();
        if places.len() > PLACES_MAX || places.len() < if is_blocks { PLACES_MIN } else { 2 } {
            return Err(LayoutError::Places(places.len()));
        }
        let mut at = 0;
        while at < slots.len() {
            let SlotLayout { slot, head, index, regions } = slots[at];
            if regions.is_empty()
                || regions.len() > REGIONS_MAX
                || head.is_some() != is_blocks
                || (index.is_some() && !is_blocks)
            {
                return Err(LayoutError::Slots);
            }
            let mut before = 0;
            while before < at {
                if slots[before].slot as u8 == slot as u8 {
                    return Err(LayoutError::Slots);
                }
                before += 1;
            }
            at += 1;
        }
        let layout = Self { geometries, area, slots };
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
        if is_blocks {
            let mut at = 0;
            while at < places.len() {
                let needed = layout.round_up(places[at].device, record::LEN_MAX as u64);
                let available = places[at].len;
                if available < needed {
                    return Err(LayoutError::Short { number: at, needed, available });
                }
                at += 1;
            }
        } else if let Some(error) = layout.fault_of_log(places) {
            return Err(error);
        }
        let (mut at, mut number) = (0, places.len());
        while at < slots.len() {
            if let Some(head) = slots[at].head {
                let (needed, available) = (3 * layout.round_up(head.device, 1), head.len);
                if available < needed {
                    return Err(LayoutError::Short { number, needed, available });
                }
                number += 1;
            }
            number += slots[at].index.is_some() as usize + slots[at].regions.len();
            at += 1;
        }
        Ok(layout)
    }

    /// Why these regions cannot be the blocks of a log.
    const fn fault_of_log(&self, places: &[Region]) -> Option<LayoutError> {
        let (mut at, mut shortest, mut cell) = (0, LOG_LEN_MAX, log::CELL_LEN);
        while at < places.len() {
            let len = places[at].len;
            let geometry = self.geometry(places[at].device);
            if geometry.erased.is_none() {
                return Some(LayoutError::LogMedium(at));
            }
            if geometry.write_granule_bytes > LOG_GRANULE_MAX {
                return Some(LayoutError::LogGranule(geometry.write_granule_bytes));
            }
            if len < LOG_LEN_MIN || len > LOG_LEN_MAX {
                return Some(LayoutError::LogBlock { number: at, len });
            }
            if len < shortest {
                shortest = len;
            }
            if geometry.write_granule_bytes as usize > cell {
                cell = geometry.write_granule_bytes as usize;
            }
            at += 1;
        }
        let eighth = shortest as usize / 8;
        let directory =
            if eighth > log::DIRECTORY_LEN_MAX { log::DIRECTORY_LEN_MAX } else { eighth };
        let available = directory / cell - 2 * log::HEADER_LEN.div_ceil(cell);
        // The record twice, and of each slot a head, an index, its two marks, and an entry for no
        // marks.
        let needed = 2 + 5 * self.slots.len();
        if available < needed {
            return Some(LayoutError::LogEntries { needed, available });
        }
        None
    }

    /// The regions one after the other: those of the area, then of each slot head, indexes and
    /// components.
    const fn region(&self, mut number: usize) -> Option<Region> {
        let places = self.area.regions();
        if number < places.len() {
            return Some(places[number]);
        }
        number -= places.len();
        let mut slot = 0;
        while slot < self.slots.len() {
            let SlotLayout { head, index, regions, .. } = self.slots[slot];
            let mut first = 0;
            while first < 2 {
                if let Some(region) = if first == 0 { head } else { index } {
                    if number == 0 {
                        return Some(region);
                    }
                    number -= 1;
                }
                first += 1;
            }
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

    /// The metadata area.
    #[must_use]
    pub const fn area(&self) -> Area<'a> {
        self.area
    }

    /// The places of the boot record, or the blocks of the log.
    #[must_use]
    pub const fn places(&self) -> &'a [Region] {
        self.area.regions()
    }

    /// Place `number` of the boot record, or block of the log.
    pub(crate) fn place(&self, number: u8) -> Region {
        // Numbers come from counting these places.
        self.places().get(usize::from(number)).copied().unwrap_or(Region::NONE)
    }

    /// Whether the metadata area is a log.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        !matches!(self.area, Area::Blocks(_))
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

    /// Where a part of the slot's head is in an area of blocks. The region is whole erase blocks.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchSlot`], also where the area is a log: no part has a fixed place there.
    pub fn part(&self, slot: Slot, part: Part) -> Result<Region, LayoutError> {
        let head = self.slot(slot).and_then(|layout| layout.head);
        let Region { device, offset, len } = head.ok_or(LayoutError::NoSuchSlot(slot))?;
        let block = self.round_up(device, 1);
        // `new` has seen that there are three blocks.
        let (at, len) = match part {
            Part::Trust => (0, len - 2 * block),
            Part::Confirmed => (len - 2 * block, block),
            Part::Commit => (len - block, block),
        };
        Ok(Region { device, offset: offset + at, len })
    }

    /// Longest head that every slot has room for, in bytes.
    #[must_use]
    pub const fn head_len_max(&self) -> usize {
        let mut most = HEAD_LEN_MAX as u64;
        match self.area {
            Area::Blocks(_) => {
                let mut at = 0;
                while at < self.slots.len() {
                    if let Some(head) = self.slots[at].head {
                        // `new` has seen that there are three blocks.
                        let len = head.len - 2 * self.round_up(head.device, 1);
                        most = if len < most { len } else { most };
                    }
                    at += 1;
                }
            }
            #[cfg(feature = "log")]
            Area::Log { head_len_max, .. } => {
                most = if (head_len_max as u64) < most { head_len_max as u64 } else { most };
            }
        }
        most as usize
    }

    /// Where component `number` of `manifest` stands in `slot`: whole erase blocks.
    ///
    /// # Errors
    /// [`LayoutError::TooSmall`] if it does not fit, [`LayoutError::NoSuchSlot`].
    // Why: docs/DESIGN.md#why-components-start-at-region
    pub fn component(
        &self,
        slot: Slot,
        manifest: &Manifest,
        number: usize,
    ) -> Result<Region, LayoutError> {
        let (layout, component) = self.find(slot, manifest, number)?;
        let home = region_of(layout, component);
        let region = layout.regions[home].region;
        let mut before = 0_u64;
        for (at, other) in manifest.components_of(slot) {
            // Components of the same region follow each other.
            if at < number && region_of(layout, other) == home {
                before = before.saturating_add(self.round_up(region.device, other.length));
            }
        }
        let len = self.round_up(region.device, component.length);
        let mut needed = before.saturating_add(len);
        // The indexes take the rest of the first region.
        if home == 0 && layout.index.is_none() && !self.is_log() {
            needed = needed.saturating_add(self.indexes_len(region.device, slot, manifest));
        }
        if needed > region.len {
            return Err(LayoutError::TooSmall { needed, available: region.len });
        }
        Ok(Region { device: region.device, offset: region.offset + before, len })
    }

    /// Where the index of component `number` of `manifest` stands in `slot`, in an area of blocks:
    /// whole erase blocks.
    ///
    /// # Errors
    /// As [`component`](Self::component); where the area is a log the index has no fixed place, and
    /// the region is empty.
    pub fn index(
        &self,
        slot: Slot,
        manifest: &Manifest,
        number: usize,
    ) -> Result<Region, LayoutError> {
        let (layout, component) = self.find(slot, manifest, number)?;
        let home = layout.index.unwrap_or(layout.regions[0].region);
        if self.is_log() {
            return Ok(Region { len: 0, ..home });
        }
        let needed = self.indexes_len(home.device, slot, manifest);
        if needed > home.len {
            return Err(LayoutError::TooSmall { needed, available: home.len });
        }
        // From the end: the first index ends with the region.
        let mut end = home.offset + home.len;
        for (at, other) in manifest.components_of(slot) {
            if at <= number {
                end -= self.round_up(home.device, other.index_len(manifest.chunk_size));
            }
        }
        let len = self.round_up(home.device, component.index_len(manifest.chunk_size));
        Ok(Region { device: home.device, offset: end, len })
    }

    fn find<'m>(
        &self,
        slot: Slot,
        manifest: &'m Manifest,
        number: usize,
    ) -> Result<(&'a SlotLayout<'a>, &'m Component), LayoutError> {
        let layout = self.slot(slot).ok_or(LayoutError::NoSuchSlot(slot))?;
        let component = manifest.components.get(number).filter(|component| component.fits(slot));
        Ok((layout, component.ok_or(LayoutError::NothingForSlot)?))
    }

    /// Length of all indexes for `slot`, each in whole erase blocks of `device`, in bytes.
    fn indexes_len(&self, device: u8, slot: Slot, manifest: &Manifest) -> u64 {
        let len =
            |component: &Component| self.round_up(device, component.index_len(manifest.chunk_size));
        manifest.components_of(slot).fold(0, |sum, (_, found)| len(found).saturating_add(sum))
    }

    /// Checks that all components of `manifest` for `slot` fit, and that the slot's devices can be
    /// written in its chunks. Install protocol step 1: nothing is erased for an update that will
    /// not fit.
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
            let data = self.component(slot, manifest, number)?;
            self.index(slot, manifest, number)?;
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
        let Some(layout) = self.slot(slot) else { return 0 };
        // In a log, its head and indexes are wherever the log is.
        let metadata = layout.head.as_ref().map_or(self.places(), core::slice::from_ref);
        let regions = layout.regions.iter().map(|found| &found.region);
        let all = regions.chain(&layout.index).chain(metadata);
        all.fold(0, |set, region| set | 1 << region.device)
    }

    /// Largest unit of reading and writing of all devices, in bytes. Every transfer is rounded up
    /// to it.
    #[must_use]
    pub const fn unit(&self) -> usize {
        let (mut at, mut unit) = (0, 1);
        while at < self.geometries.len() {
            unit = larger(unit, self.geometries[at].write_granule_bytes as usize);
            at += 1;
        }
        unit
    }
}

/// Number of the slot's region that `component` goes into.
fn region_of(layout: &SlotLayout<'_>, component: &Component) -> usize {
    let named = |region: &SlotRegion| region.roles.contains(&component.role);
    layout.regions.iter().position(named).unwrap_or(0)
}
