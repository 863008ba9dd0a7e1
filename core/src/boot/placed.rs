//! Where the components stand of the slot that is started.

use super::state::State;
use super::{Boot, BootConfig};
use crate::format::{Load, Manifest, Role, Slot};
use crate::layout::Region;
use crate::verify::Sha256;

/// Where a component stands whose bytes were verified in this power-on: here, or in the memory that
/// they were loaded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Placed {
    /// Its number in the manifest, by which [`Memory`](crate::driver::Memory) knows it.
    pub number: usize,
    /// How it was verified. [`Load::Xip`]: it is started where it stands. [`Load::Ram`]: it is
    /// started from the memory that it was loaded to, never from here.
    pub load: Load,
    /// The device, the first byte there, and the exact length.
    pub region: Region,
}

impl Placed {
    /// The address of its first byte, where the processor sees byte 0 of the device at `base`.
    #[must_use]
    pub const fn address(&self, base: u64) -> u64 {
        base + self.region.offset
    }
}

impl<'a, H: Sha256> Boot<'a, H> {
    /// Where the component of this role stands in the slot that was handed over to. `None` before
    /// the hand-over, and where the slot has none that was verified: a [`Load::Late`] component is
    /// verified only with [`BootConfig::with_check_late`].
    ///
    /// The core's layout puts the first component of a region at its first byte, so an image in a
    /// region of its own has the same address in every release.
    #[must_use]
    pub fn placed(&self, role: Role) -> Option<Placed> {
        if self.state != State::HandedOver {
            return None;
        }
        find(self.config, self.current.slot, self.manifest.as_ref()?, role)
    }
}

fn find(config: &BootConfig<'_>, slot: Slot, manifest: &Manifest, role: Role) -> Option<Placed> {
    let (number, component) =
        manifest.components_of(slot).find(|(_, component)| component.role == role)?;
    if component.load == Load::Late && !config.check_late {
        return None;
    }
    let region = config.layout.component(slot, manifest, number).ok()?;
    let region = Region { len: component.length, ..region };
    Some(Placed { number, load: component.load, region })
}
