//! The menu that a key at start brings up: every slot with its version, state and what became of
//! verifying its head, and the start of the one that was chosen, once.
//!
//! A choice changes nothing for the next power-on, with one exception: a slot on trial spends a try
//! as always. To that end the core gets a layout with the chosen slot alone, on devices that refuse
//! writes unless a try must be counted, and a store that refuses to be raised. A floor that only
//! seems beyond everything because the other slots are out of sight must not be set aside: the
//! loader refuses a start of which the report says so.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use stillboot::boot::{BootConfig, Reason};
use stillboot::check;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver::{self, RollbackStore, StoreError};
use stillboot::format::{Floor, Slot, SlotKind, SlotState};
use stillboot::layout::Layout;
use stillboot::record::RecordStatus;
use stillboot::request::{Perform, Request};
use stillboot::verify::{Device, Sha256};

use crate::{console, report, watchdog};

/// One slot in the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Which slot.
    pub slot: Slot,
    /// What the record says of it.
    pub state: SlotState,
    /// The version that its head names, if that verifies.
    pub version: Result<String, Reason>,
}

impl Entry {
    /// The line of the menu, without the number.
    #[must_use]
    pub fn text(&self) -> String {
        let (slot, state) = (self.slot.name(), state_text(&self.state));
        match &self.version {
            Ok(version) => format!("slot {slot:<9} {version:<16} {state}"),
            Err(reason) => format!("slot {slot:<9} {:<16} {state}; {reason}", "-"),
        }
    }
}

/// What the menu shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Menu {
    /// How the boot record was found.
    pub record: RecordStatus,
    /// The slots, in the order of the layout.
    pub entries: Vec<Entry>,
}

impl Menu {
    /// Reads the record and the head of every slot; writes nothing. `buffer` as for
    /// [`Boot`](stillboot::boot::Boot).
    pub fn read<H: Sha256>(
        device: &Device<'_>,
        layout: &Layout<'_>,
        devices: &mut [&mut dyn BlockDevice],
        buffer: &mut [u8],
    ) -> Self {
        let mut machine = Perform::new(layout, Request::Read);
        // A record that could not be read is empty here, and the machine's choice says so.
        let _ = driver::perform(&mut machine, devices, buffer);
        let (record, _) = machine.copies();
        let entries = layout.slots().iter().map(|slot| slot.slot).map(|slot| Entry {
            slot,
            state: machine.record().body.slot(slot).state,
            version: version::<H>(device, layout, devices, slot, buffer),
        });
        let entries = entries.collect();
        Self { record, entries }
    }

    /// The slot behind the key `character`, if it may be chosen: its head verifies, and there is a
    /// record to count in.
    #[must_use]
    pub fn choose(&self, character: char) -> Option<&Entry> {
        let number = character.to_digit(10)?.checked_sub(1)?;
        let entry = self.entries.get(number as usize)?;
        let countable = matches!(self.record, RecordStatus::Current { .. });
        (countable && entry.version.is_ok()).then_some(entry)
    }
}

/// Shows the menu and waits for a choice. `None` means to go on as if the menu had not been shown.
pub fn ask<H: Sha256>(
    config: &BootConfig<'_>,
    devices: &mut [&mut dyn BlockDevice],
    buffer: &mut [u8],
) -> Option<Entry> {
    watchdog::disarm();
    let menu = Menu::read::<H>(&config.device, &config.layout, devices, buffer);
    let record = report::choice_name(menu.record);
    let version = env!("CARGO_PKG_VERSION");
    console::line(format_args!("\r\nstillboot {version} (boot record: {record})"));
    for (number, entry) in menu.entries.iter().enumerate() {
        console::line(format_args!("  {}  {}", number + 1, entry.text()));
    }
    // The key that opened the menu may still be held down and does not choose a slot. Only keys
    // that are pressed after the question do.
    while console::key().is_some() {}
    console::line(format_args!("A number starts that slot once, Enter starts as usual."));
    loop {
        // No time limit, because an operator is present.
        let Some(key) = console::wait_for_key(Duration::MAX) else { continue };
        let Some(character) = console::character(key) else { continue };
        let chosen = menu.choose(character);
        if chosen.is_some() || character == '\r' {
            let _ = watchdog::arm(watchdog::SECONDS);
            return chosen.cloned();
        }
        console::line(format_args!("That cannot be started."));
    }
}

fn version<H: Sha256>(
    device: &Device<'_>,
    layout: &Layout<'_>,
    devices: &mut [&mut dyn BlockDevice],
    slot: Slot,
    buffer: &mut [u8],
) -> Result<String, Reason> {
    let manifest = check::slot_head::<H>(device, layout, slot, devices, buffer)?;
    Ok(manifest.version.as_str().into())
}

fn state_text(state: &SlotState) -> String {
    match state {
        SlotState::Empty => "empty".into(),
        SlotState::Writing => "installation cut short".into(),
        SlotState::Ready { tries } => format!("ready, {tries} tries"),
        SlotState::Trying { left, attempt, .. } => {
            format!("on trial, attempt {attempt}, tries left: {left}")
        }
        SlotState::Good => "good".into(),
        SlotState::Bad { fault } => format!("bad: {fault}"),
    }
}

/// Whether a start of a slot in this state, by choice, must write: it is a trial, and is counted.
#[must_use]
pub const fn must_count(state: &SlotState) -> bool {
    match state {
        SlotState::Ready { .. } => true,
        SlotState::Trying { left, .. } => *left > 0,
        SlotState::Empty | SlotState::Writing | SlotState::Good | SlotState::Bad { .. } => false,
    }
}

/// A device that refuses to be changed.
pub struct ReadOnly<'a>(pub &'a mut dyn BlockDevice);

impl core::fmt::Debug for ReadOnly<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ReadOnly")
    }
}

impl BlockDevice for ReadOnly<'_> {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read(offset, into)
    }
    fn write(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), DeviceError> {
        Err(DeviceError::ReadOnly)
    }
    fn erase(&mut self, _offset: u64, _len: u64) -> Result<(), DeviceError> {
        Err(DeviceError::ReadOnly)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// A store that stays as it is: the other good slots are out of sight, so nothing says how far the
/// floor may rise.
pub struct Unraised<'a>(pub &'a mut dyn RollbackStore);

impl core::fmt::Debug for Unraised<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Unraised")
    }
}

impl RollbackStore for Unraised<'_> {
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        self.0.read(kind)
    }
    fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        Err(StoreError)
    }
    fn raise(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
        Err(StoreError)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;
    use std::vec;

    use stillboot::driver::NoStore;
    use stillboot::format::{Fault, Rule};
    use stillboot::verify::{RootKey, SoftSha256, Trust};
    use stillboot_linux::disk::{self, Disk, Recipe};

    use super::*;

    fn entry(state: SlotState, version: Result<String, Reason>) -> Entry {
        Entry { slot: Slot::A, state, version }
    }

    #[test]
    fn an_empty_disk_shows_its_slots_and_none_can_be_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let recipe =
            Recipe::new(2, 4 << 20).with_logical_block(4096).with_recovery_bytes(Some(1 << 20));
        disk::create(&path, &recipe).unwrap();
        let Disk { devices, plan, .. } = &mut Disk::open(&path, true).unwrap();
        let slots = plan.slots();
        let layout = plan.layout(&slots).unwrap();
        let roots = [RootKey::ed25519([1; 32])];
        let device =
            Device::new(Trust::Roots { keys: &roots, rule: Rule::ed25519(1) }, [0; 16], [0; 16]);
        let mut buffer = vec![0; 64 << 10];
        let menu =
            Menu::read::<SoftSha256>(&device, &layout, &mut disk::lent(devices), &mut buffer);
        assert_eq!(menu.record, RecordStatus::Factory);
        assert_eq!(menu.entries.len(), 3);
        for (character, entry) in "123".chars().zip(&menu.entries) {
            assert!(matches!(entry.version, Err(Reason::Trust(_))), "{entry:?}");
            assert!(entry.text().contains("empty; not trusted"), "{}", entry.text());
            assert_eq!(menu.choose(character), None);
        }
    }

    #[test]
    fn only_what_verifies_and_can_be_counted_is_chosen() {
        let good = entry(SlotState::Good, Ok("1.0.0".into()));
        let broken = entry(SlotState::Good, Err(Reason::Unstable));
        let entries = vec![good.clone(), broken];
        let menu = Menu { record: RecordStatus::Current { copy: 0 }, entries };
        assert_eq!(menu.choose('1'), Some(&good));
        for character in ['0', '2', '3', 'x', '\r'] {
            assert_eq!(menu.choose(character), None, "{character}");
        }
        for record in [RecordStatus::Factory, RecordStatus::Lost, RecordStatus::Newer] {
            let menu = Menu { record, ..menu.clone() };
            assert_eq!(menu.choose('1'), None);
        }
    }

    #[test]
    fn lines_say_slot_version_and_state() {
        let text = entry(SlotState::Ready { tries: 3 }, Ok("1.2.3".to_string())).text();
        assert_eq!(text, "slot a         1.2.3            ready, 3 tries");
        let text = entry(SlotState::Bad { fault: Fault::Exhausted }, Err(Reason::Unstable)).text();
        assert!(text.contains("bad: exhausted; skipped"), "{text}");
    }

    #[test]
    fn only_trials_write() {
        let trying = |left| SlotState::Trying { left, attempt: 1, nonce: 7 };
        assert!(must_count(&SlotState::Ready { tries: 1 }));
        assert!(must_count(&trying(1)));
        for state in [SlotState::Empty, SlotState::Writing, SlotState::Good, trying(0)] {
            assert!(!must_count(&state), "{state:?}");
        }
    }

    #[test]
    fn guards_let_nothing_through() {
        let mut store = Unraised(&mut NoStore);
        assert_eq!(store.read(SlotKind::Update), Ok(None));
        assert_eq!(store.raise(SlotKind::Update, Floor::default()), Err(StoreError));
    }
}
