//! The device of the suite: a disk, a store and memory, with nothing but the core.

use std::collections::BTreeMap;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver::{InstallHost, Memory, RollbackStore, StoreError};
use stillboot::format::{Floor, Role, SlotKind};
use stillboot::install::{Permission, Update};
use stillboot_policy::{self as policy, Clock, Facts, Policy, Verdict};

/// What the clock of the suite's device says.
const NOW: u64 = 2000;

/// A disk in memory.
#[derive(Clone)]
pub struct Disk(pub Vec<u8>);

impl Disk {
    fn place(&self, offset: u64, len: usize) -> core::ops::Range<usize> {
        let start = offset as usize;
        assert!(start + len <= self.0.len(), "the geometry was checked");
        start..start + len
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        Geometry::disk(512, self.0.len() as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry().check_read(offset, into.len() as u64)?;
        into.copy_from_slice(&self.0[self.place(offset, into.len())]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        let place = self.place(offset, bytes.len());
        self.0[place].copy_from_slice(bytes);
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry().check_erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// What keeps the floor.
#[derive(Clone, Copy)]
pub struct Store(pub Option<Floor>);

impl RollbackStore for Store {
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        Ok(self.0.filter(|_| kind == SlotKind::Update))
    }

    fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        Ok(())
    }

    fn raise(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        assert_eq!(kind, SlotKind::Update, "the device has no recovery slot");
        self.0 = self.0.max(Some(floor));
        Ok(())
    }
}

/// Memory for components.
#[derive(Default)]
pub struct Places(BTreeMap<usize, Vec<u8>>);

impl Memory for Places {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn reserve(&mut self, component: usize, _role: Role, len: u64) -> bool {
        self.0.insert(component, vec![0; len as usize]);
        true
    }

    fn bytes(&mut self, component: usize) -> &mut [u8] {
        self.0.entry(component).or_default()
    }
}

/// The library's policy, and what it said.
#[derive(Default)]
pub struct Host(pub Option<Verdict>);

impl InstallHost for Host {
    fn judge(&mut self, offer: &Update<'_>) -> Permission {
        let facts = Facts::new(offer.manifest, offer.body, Clock::Trusted(NOW))
            .with_running_version(offer.running_version);
        let verdict = policy::judge(&Policy::default(), &facts);
        self.0 = Some(verdict);
        verdict.into()
    }
}
