//! What a bundle needs of a slot, all of it at once: the core stops at the first part that is too
//! large.

use stillboot::format::{Manifest, Slot};
use stillboot::layout::Layout;

use crate::failure::{Exit, Failure};
use crate::size;

/// A region that is too small.
struct Short {
    slot: Slot,
    /// What it is for; empty for the slot's first.
    role: String,
    needed: u64,
    available: u64,
}

/// Why `manifest` fits none of `slots`, with everything that is needed; `None` where it is not its
/// components that are too large.
pub fn too_small(layout: &Layout<'_>, slots: &[Slot], manifest: &Manifest) -> Option<Failure> {
    let mut parts = Vec::new();
    for slot in slots {
        for Short { slot, role, needed, available } in short(layout, *slot, manifest) {
            let region = if role.is_empty() { String::new() } else { format!(" for its {role}") };
            parts.push(format!(
                "slot {slot} has {available} bytes{region} ({}), and {needed} are needed ({})",
                size::show(available),
                size::show(needed)
            ));
        }
    }
    if parts.is_empty() {
        return None;
    }
    let failure = Failure::new(
        Exit::Refused,
        "layout",
        format_args!("refused: the bundle does not fit: {}", parts.join("; ")),
    );
    Some(failure.also("make a smaller bundle, or a disk with larger slots"))
}

fn short(layout: &Layout<'_>, slot: Slot, manifest: &Manifest) -> Vec<Short> {
    let Some(at) = layout.slots().iter().find(|at| at.slot == slot) else { return Vec::new() };
    let mut needed = vec![0_u64; at.regions.len()];
    // The head is in the same partition, behind the first region: the size of a new slot has to
    // include it.
    let head = at.head.map_or(0, |head| head.len);
    needed[0] = head;
    for (_, component) in manifest.components_of(slot) {
        let home = at.regions.iter().position(|region| region.roles.contains(&component.role));
        let home = home.unwrap_or(0);
        let block = |number: usize| {
            u64::from(layout.geometry(at.regions[number].region.device).erase_block_bytes)
        };
        let round = |len: u64, block: u64| len.checked_next_multiple_of(block).unwrap_or(u64::MAX);
        // Indexes are at the end of the first region, unless they have their own region.
        if at.index.is_none() {
            let index = round(component.index_len(manifest.chunk_size), block(0));
            needed[0] = needed[0].saturating_add(index);
        }
        needed[home] = needed[home].saturating_add(round(component.length, block(home)));
    }
    let regions = at.regions.iter().zip(needed).enumerate();
    regions
        .map(|(number, (region, needed))| Short {
            slot,
            role: region.roles.first().map(ToString::to_string).unwrap_or_default(),
            needed,
            available: region.region.len + if number == 0 { head } else { 0 },
        })
        .filter(|short| short.available < short.needed)
        .collect()
}
