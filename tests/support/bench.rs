//! A device of any shape, on which the machines run as they do anywhere: for layouts and devices that
//! the simulated world does not have.

use stillboot::boot::{Boot, BootConfig, Event, Report};
use stillboot::device::{BlockDevice, Geometry};
use stillboot::format::{BootProof, Record, Slot};
use stillboot::install::{Install, InstallConfig, InstallError, Installed, Running};
use stillboot::layout::{Area, Layout, LayoutError, Region, SlotLayout, SlotRegion};
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::{Answer, Perform, Request, RequestError};
use stillboot::verify::{Device, SoftSha256};
use stillboot_sim::driver;
use stillboot_sim::world::{Bytes, HeapMemory, SimHost, SimStore};

/// Where one slot stands.
#[derive(Clone, Debug)]
pub struct BenchSlot {
    /// Which slot.
    pub slot: Slot,
    /// Trust area, confirmed block, commit block.
    pub head: Region,
    /// Its indexes, if they do not stand in the first region.
    pub index: Option<Region>,
    /// Its components.
    pub regions: Vec<SlotRegion>,
}

/// A device of any shape.
#[derive(Clone, Debug)]
pub struct Bench<'a, D> {
    /// Whom it trusts.
    pub device: Device<'a>,
    /// The places of its record.
    pub places: Vec<Region>,
    /// Its slots.
    pub slots: Vec<BenchSlot>,
    /// Its disks.
    pub disks: Vec<D>,
    nonce: u64,
}

impl<'a, D: BlockDevice> Bench<'a, D> {
    /// A device that has never run.
    #[must_use]
    pub const fn new(
        device: Device<'a>,
        places: Vec<Region>,
        slots: Vec<BenchSlot>,
        disks: Vec<D>,
    ) -> Self {
        Self { device, places, slots, disks, nonce: 0 }
    }

    /// Slots A and B one behind the other on device `device` from `at` on, each with so many bytes
    /// for components and then a head with so many bytes of trust area.
    #[must_use]
    pub fn pair(device: u8, geometry: &Geometry, at: u64, data: u64, trust: u64) -> Vec<BenchSlot> {
        let head = trust + 2 * u64::from(geometry.erase_block_bytes);
        let slot = |(number, slot): (u64, Slot)| {
            let offset = at + number * (data + head);
            let region = Region { device, offset, len: data };
            BenchSlot {
                slot,
                head: Region { device, offset: offset + data, len: head },
                index: None,
                regions: vec![SlotRegion { region, roles: &[] }],
            }
        };
        (0..).zip([Slot::A, Slot::B]).map(slot).collect()
    }

    /// Does something with the layout.
    ///
    /// # Errors
    /// [`LayoutError`] for a layout that cannot be.
    pub fn with_layout<T>(
        &mut self,
        what: impl FnOnce(&Layout<'_>, &mut [&mut dyn BlockDevice]) -> T,
    ) -> Result<T, LayoutError> {
        let geometries: Vec<_> = self.disks.iter().map(BlockDevice::geometry).collect();
        let mut slots = Vec::new();
        for BenchSlot { slot, head, index, regions } in &self.slots {
            slots.push({
                let mut layout = SlotLayout::new(*slot, regions);
                layout.head = Some(*head);
                layout.index = *index;
                layout
            });
        }
        let layout = Layout::new(&geometries, Area::Blocks(&self.places), &slots)?;
        let mut disks: Vec<_> =
            self.disks.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
        Ok(what(&layout, &mut disks))
    }

    /// Installs a bundle as the running system or, without one, offline.
    ///
    /// # Errors
    /// [`InstallError`].
    ///
    /// # Panics
    /// If the layout is unsound.
    pub fn install(
        &mut self,
        bundle: &[u8],
        running: Option<BootProof>,
    ) -> Result<Installed, InstallError> {
        let device = self.device;
        let install = |layout: &Layout<'_>, disks: &mut [&mut dyn BlockDevice]| {
            let config = InstallConfig::new(
                device,
                *layout,
                running.map_or(Running::Offline, Running::Proof),
            );
            let mut machine = Install::<SoftSha256>::new(&config);
            let mut buffer = vec![0; Install::<SoftSha256>::buffer_len_min(layout, 4 << 10)];
            let mut source = Bytes::new(bundle, usize::MAX);
            let (mut store, mut host) = (SimStore::default(), SimHost::default());
            driver::install(&mut machine, disks, &mut store, &mut source, &mut host, &mut buffer)
        };
        self.with_layout(install).expect("layout")
    }

    /// Switches the power on, with the shortest buffer there may be.
    ///
    /// # Panics
    /// If the layout is unsound.
    pub fn power_on(&mut self) -> (Option<BootProof>, Report) {
        self.nonce += 1;
        let (device, nonce) = (self.device, self.nonce);
        let boot = |layout: &Layout<'_>, disks: &mut [&mut dyn BlockDevice]| {
            let config = BootConfig::new(device, *layout, nonce).with_check_late(true);
            let mut machine = Boot::<SoftSha256>::new(&config);
            let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(layout)];
            let (mut store, mut memory) = (SimStore::default(), HeapMemory::default());
            let event = Event::Start;
            let proof =
                driver::boot(&mut machine, event, disks, &mut store, &mut memory, &mut buffer);
            (proof, machine.report().clone())
        };
        self.with_layout(boot).expect("layout")
    }

    /// Switches the power on.
    ///
    /// # Panics
    /// If nothing boots.
    pub fn boot(&mut self) -> BootProof {
        let (proof, report) = self.power_on();
        proof.unwrap_or_else(|| panic!("nothing boots: {report:?}"))
    }

    /// Carries out a request; what all copies of the record amount to before it, and what each is.
    ///
    /// # Errors
    /// [`RequestError`].
    ///
    /// # Panics
    /// If the layout is unsound.
    pub fn perform(
        &mut self,
        request: Request,
    ) -> Result<(Answer, Record, RecordStatus, Vec<CopyState>), RequestError> {
        let perform = |layout: &Layout<'_>, disks: &mut [&mut dyn BlockDevice]| {
            let mut machine = Perform::new(layout, request);
            let mut buffer = vec![0; Perform::buffer_len_min(layout)];
            let answer = driver::perform(&mut machine, disks, &mut buffer)?;
            let (choice, copies) = machine.copies();
            Ok((answer, machine.record().clone(), choice, copies.to_vec()))
        };
        self.with_layout(perform).expect("layout")
    }

    /// What each copy of the record is.
    ///
    /// # Panics
    /// If it cannot be asked for.
    pub fn copies(&mut self) -> Vec<CopyState> {
        self.perform(Request::Read).expect("the record").3
    }
}
