//! The law "no dead end", checked on one device: what is whole boots, and the next update is
//! installed.

use stillboot::boot::Reason;
use stillboot::format::record::{self, LEN_MAX};
use stillboot::format::{Floor, Record, Slot, SlotKind};
use stillboot::install::{InstallError, Refusal, Wait};
use stillboot::layout::Region;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::Request;
use stillboot::select::CandidateKind;

use super::HostileCounts;
use super::commands::Device;
use crate::oracle::{Broken, Promise};
use crate::walk::chain::UPDATES;
use crate::world::PowerOnOutcome;

/// Most rounds of "power on, do what the messages say" that a way out may take.
const ROUNDS_MAX: usize = 6;
/// What is installed at the end: newer than anything that a state may hold.
const NEXT: usize = UPDATES - 1;

fn broken<T>(promise: Promise, how: String) -> Result<T, Broken> {
    Err(Broken { promise, how })
}

/// Looks for the way out.
///
/// # Errors
/// [`Broken`]: a slot is whole and nothing starts, something unverified starts, or there is no
/// command that brings the next update in.
pub fn find(device: &mut Device<'_, '_>, counts: &mut HostileCounts) -> Result<(), Broken> {
    let mut tried = Vec::new();
    let mut named = None;
    let mut new_epoch = false;
    let mut ends_first = false;
    let only_copy = only_copy(device);
    for _ in 0..ROUNDS_MAX {
        let able = able(device);
        let mut on = device.power_on(false);
        if let Some((slot, name)) = able
            && on.proof.is_none()
        {
            let how = format!("{name} is whole in {slot} and nothing starts: {:?}", on.report);
            return broken(Promise::Boots, how);
        }
        only_verified(device, &mut on)?;
        counts.dark += u64::from(on.proof.is_none() && tried.is_empty());

        if let Some((at, bytes)) = &only_copy
            && device.truly().bytes(*at, bytes.len()) != *bytes
        {
            return broken(Promise::Boots, "the only copy of the record was written".into());
        }
        if on.report.record == RecordStatus::Newer {
            let version = newest_version(device)?;
            let answer = device.perform(Request::Discard(version));
            tried.push(format!("discard version {version}: {answer:?}"));
            if answer.is_err() && is_record_worn(device) {
                counts.worn += 1;
                return Ok(());
            }
            continue;
        }
        if let Some(proof) = on.proof.filter(|proof| proof.slot.kind() == SlotKind::Update) {
            let _ = device.perform(Request::MarkGood(proof));
        }
        for slot in device.field.slots {
            let _ = device.perform(Request::HoldSlot(*slot, false));
        }
        let _ = device.perform(Request::HoldUpdates(stillboot::format::Hold::default()));

        if ends_first {
            device.running = None;
        }
        let answer = device.install(NEXT, true, |config| {
            config.target = named;
            config.allow_new_epoch = new_epoch;
        });
        let error = match answer {
            Ok(installed) => return confirm(device, installed.slot, counts),
            Err(error) => error,
        };
        tried.push(error.to_string());
        match error {
            // The only slot there is: what runs from it has to end first.
            InstallError::Refused(Refusal::NoOtherSlot) => {
                ends_first = true;
                named = Some(device.field.slots[0]);
            }
            InstallError::Deferred(Wait::Unverified(slot)) => {
                // The loader looked at all slots, read them, could write what it found, and none is
                // kept by the store: what is not good is known to be bad.
                let is_known = device.world.store.is_none()
                    && !is_slot_worn(device)
                    && !is_record_worn(device);
                if on.proof.is_none() && is_known {
                    let how = format!("{slot} does not verify, and is spared as a good one");
                    return broken(Promise::NextUpdate, how);
                }
                named = Some(slot);
            }
            InstallError::Refused(
                Refusal::CannotReadData { .. } | Refusal::FallbackCannotRead { .. },
            ) => new_epoch = true,
            // Its policy is the default: only a release that failed here is refused.
            InstallError::Refused(Refusal::Policy) => {
                let _ = device.perform(Request::Forget(device.field.chain.releases[NEXT].digest));
            }
            // What the slot that cannot be read reaches is not known, so the recorded floor stands.
            InstallError::Refused(Refusal::BelowFloor { .. }) if is_slot_worn(device) => {
                let _ = device.perform(Request::Discard(record::VERSION));
            }
            InstallError::Device(_) | InstallError::ReadBack if is_slot_worn(device) => {
                counts.worn += 1;
                return Ok(());
            }
            _ => {}
        }
    }
    // Nothing is written to the place that still works, because it has the only record.
    if is_record_worn(device) {
        counts.worn += 1;
        return Ok(());
    }
    broken(Promise::NextUpdate, format!("the next update does not get in: {tried:?}"))
}

/// The version of a record that is newer than this core: the highest, if its copies have several.
fn newest_version(device: &mut Device<'_, '_>) -> Result<u16, Broken> {
    let (_, _, states) = device.world.record().map_err(|error| Broken {
        promise: Promise::NextUpdate,
        how: format!("the record cannot be looked at: {error}"),
    })?;
    let version = states.iter().filter_map(|state| match state {
        CopyState::Newer { version } => Some(*version),
        _ => None,
    });
    Ok(version.max().unwrap_or_default())
}

/// The next update is installed: it is tried, confirmed, and good from then on.
fn confirm(
    device: &mut Device<'_, '_>,
    slot: Slot,
    counts: &mut HostileCounts,
) -> Result<(), Broken> {
    for kind in [CandidateKind::Trial, CandidateKind::Good] {
        let mut on = device.power_on(false);
        only_verified(device, &mut on)?;
        let came = on.report.lines.last().map(|line| (line.candidate, line.reason));
        let is_right = came.is_some_and(|(candidate, reason)| {
            (candidate.slot, candidate.kind, reason) == (slot, kind, Reason::Started)
        });
        if !is_right {
            let how = format!("expected {slot} to start as {kind:?}: {:?}", on.report);
            return broken(Promise::NextUpdate, how);
        }
        let proof = on.proof.expect("it was started");
        if let Err(error) = device.perform(Request::MarkGood(proof)) {
            return broken(Promise::NextUpdate, format!("{slot} cannot be confirmed: {error}"));
        }
    }
    counts.updated += 1;
    Ok(())
}

/// A slot that is whole, can be read, and reaches the floor of the store.
fn able(device: &mut Device<'_, '_>) -> Option<(Slot, String)> {
    // A recorded floor does not count, but while a slot cannot be read that may reach it.
    let mut recorded = [Floor::default(); 2];
    if is_slot_worn(device) {
        let body = match device.world.record() {
            Ok((record, RecordStatus::Current { .. }, _)) => record.body,
            // Which floor will be rebuilt is not known.
            _ => return None,
        };
        recorded = [SlotKind::Update, SlotKind::Recovery].map(|kind| body.floor_of(kind));
    }
    let field = device.field;
    let disk = device.disk();
    let scene = field.places.contents(field.chain, device.truly());
    field.slots.iter().find_map(|slot| {
        let release = &field.chain.releases[scene[*slot as usize].whole()?];
        let kept = device.world.store.as_ref().and_then(|store| store.floors[slot.kind() as usize]);
        let is_read = !field.ground.stretches(*slot).iter().any(|at| disk.meets(at.start, at.end));
        let floor = recorded[slot.kind() as usize].max(kept.unwrap_or_default());
        // All of a log is needed to find a head.
        let log = field.ground.places().iter().filter(|_| field.ground.is_log());
        let mut log = log.map(|place| place.offset..place.offset + place.len);
        let is_read = is_read && !log.any(|at| disk.meets(at.start, at.end));
        let is_able = release.is_ours && is_read && release.floor >= floor;
        is_able.then(|| (*slot, release.name.clone()))
    })
}

/// What runs is what was published, for this device, whole, and not below the store's floor.
fn only_verified(device: &Device<'_, '_>, on: &mut PowerOnOutcome) -> Result<(), Broken> {
    let Some(proof) = on.proof else { return Ok(()) };
    let refuse = |how: String| broken(Promise::OnlyVerified, how);
    let Some(name) = device.field.chain.named(&proof.digest) else {
        return refuse("a manifest that was never published runs".into());
    };
    let release = &device.field.chain.releases[name];
    if !release.is_ours || release.kind != proof.slot.kind() {
        return refuse(format!("{} runs from {}", release.name, proof.slot));
    }
    for (number, (role, bytes)) in release.contents.iter().enumerate() {
        use stillboot::driver::Memory as _;
        if !on.memory.bytes(number).starts_with(bytes) {
            return refuse(format!("{} runs with other bytes of its {role}", release.name));
        }
    }
    let kept = device.world.store.as_ref().and_then(|store| store.floors[release.kind as usize]);
    if kept.is_some_and(|kept| release.floor < kept) {
        return refuse(format!("{} runs below the floor of the store", release.name));
    }
    Ok(())
}

/// The valid copy of the record where no other place is read: where it is, and its bytes.
fn only_copy(device: &Device<'_, '_>) -> Option<(u64, Vec<u8>)> {
    if device.field.ground.is_log() {
        return None;
    }
    let is_worn = |at: u64| device.disk().meets(at, at + LEN_MAX as u64);
    let places = device.field.ground.places().iter().map(|place| place.offset);
    let mut read = places.filter(|at| !is_worn(*at));
    let at = match (read.next(), read.next()) {
        (Some(only), None) => only,
        _ => return None,
    };
    let bytes = device.truly().bytes(at, LEN_MAX);
    Record::parse(&bytes).is_ok().then_some((at, bytes))
}

/// All places of the record but one stand on bytes that are not read. One of three costs nothing.
fn is_record_worn(device: &Device<'_, '_>) -> bool {
    let places = device.field.ground.places();
    let is_log = device.field.ground.is_log();
    let is_worn = |at: u64, len: u64| device.disk().meets(at, at + len);
    let len = |place: &Region| if is_log { place.len } else { LEN_MAX as u64 };
    let worn = places.iter().filter(|place| is_worn(place.offset, len(place))).count();
    worn + 1 >= places.len()
}

/// A slot stands on bytes that are not read.
fn is_slot_worn(device: &Device<'_, '_>) -> bool {
    let is_slot = |slot: &Slot| {
        let stretches = device.field.ground.stretches(*slot);
        stretches.iter().any(|at| device.disk().meets(at.start, at.end))
    };
    device.field.slots.iter().any(is_slot)
}
