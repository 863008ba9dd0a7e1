//! Whether what is packed or verified will start: the loaders' own rules, checked before a device
//! checks them.

use stillboot::format::{Manifest, Role, Slot, SlotKind};
use stillboot_boot_support::startable::{self, Fault, Target};
use stillboot_devicetree::set::Set;

use crate::failure::{Exit, Failure};

/// What keeps a bundle from starting.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No loader starts it.
    Never(String),
    /// Nothing in it is for a loader to start. That is odd, but may be intended.
    NothingToStart(String),
    /// One slot would start without what another one has.
    Uneven(String),
}

/// What keeps a bundle for slots of `kind` from starting, if anything does. `bytes` gives components
/// by their number: command lines and sets of device trees are looked into.
pub fn trouble<'a>(
    manifest: &Manifest,
    kind: SlotKind,
    bytes: &dyn Fn(usize) -> Option<&'a [u8]>,
) -> Option<Trouble> {
    let never = |fault: Fault| Some(Trouble::Never(fault.to_string()));
    let slots: Vec<_> = match startable::slots(manifest, kind) {
        Ok(slots) => slots.collect(),
        Err(fault) => return never(fault),
    };
    let target = Target::of(manifest);
    let mut empty = Vec::new();
    for slot in &slots {
        let find = |role| manifest.components_of(*slot).find(|(_, c)| c.role == role);
        let cmdline = find(Role::Cmdline).and_then(|(number, _)| bytes(number));
        match startable::check(target, manifest, *slot, cmdline.unwrap_or_default()) {
            Ok(_) => {}
            Err(fault @ Fault::Nothing(_)) => empty.push((slot, fault)),
            Err(fault) => return never(fault),
        }
        let set = find(Role::Dtbs).and_then(|(number, _)| bytes(number));
        if let Some(Err(error)) = set.map(Set::parse) {
            return Some(Trouble::Never(error.to_string()));
        }
    }
    match empty.first() {
        Some((_, fault)) if empty.len() == slots.len() => {
            Some(Trouble::NothingToStart(fault.to_string()))
        }
        Some((slot, fault)) => Some(Trouble::Never(format!("in slot {slot}, {fault}"))),
        None => uneven(manifest, &slots).map(Trouble::Uneven),
    }
}

/// A role that one of `slots` has and another has not, in words. Few devices have a slot c: it counts
/// where something is linked for it.
fn uneven(manifest: &Manifest, slots: &[Slot]) -> Option<String> {
    let names_c = manifest.components.iter().any(|c| c.linked == 1 + Slot::C as u8);
    let has = |slot: Slot, role| manifest.components_of(slot).any(|(_, c)| c.role == role);
    let slots = || slots.iter().copied().filter(|slot| *slot != Slot::C || names_c);
    manifest.components.iter().map(|component| component.role).find_map(|role| {
        let with = slots().find(|slot| has(*slot, role))?;
        let without = slots().find(|slot| !has(*slot, role))?;
        Some(format!(
            "slot {without} would start without the {role} that slot {with} has: link one for each \
             slot, or for none"
        ))
    })
}

/// The verdict on a bundle that verified: with the remark that is due, if one is.
///
/// # Errors
/// Why no loader starts it.
pub fn check<'a>(
    manifest: &Manifest,
    kind: SlotKind,
    bytes: &dyn Fn(usize) -> Option<&'a [u8]>,
) -> Result<Option<String>, Failure> {
    match trouble(manifest, kind, bytes) {
        Some(Trouble::Never(why)) => Err(Failure::new(
            Exit::Refused,
            "start",
            format_args!("refused: no loader starts it: {why}; pack it again"),
        )),
        // A bundle that holds data only may be for another loader than ours.
        Some(Trouble::NothingToStart(why)) => Ok(Some(format!(
            "{why}: stillboot's loaders start nothing of it, only a loader of your own may"
        ))),
        Some(Trouble::Uneven(why)) => Ok(Some(why)),
        None => Ok(None),
    }
}
