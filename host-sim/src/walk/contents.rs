//! What really stands on a disk, found by comparing bytes with what was published.

use stillboot::device::Geometry;
use stillboot::format::{MarkKind, SLOTS_MAX, Slot};

use super::chain::{Chain, LENGTHS, Name, RECOVERY};
use crate::disk::RamDisk;
use crate::world::{DeviceMap, World};

/// What stands in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The release whose head stands there whole.
    pub head: Option<Name>,
    /// Its components do as well.
    pub is_whole: bool,
    /// Its commit block names it.
    pub is_committed: bool,
    /// Its confirmed block names it.
    pub is_confirmed: bool,
}

impl Content {
    /// The release that stands there whole.
    #[must_use]
    pub fn whole(self) -> Option<Name> {
        self.head.filter(|_| self.is_whole)
    }
}

/// What stands in every slot.
pub type DiskContents = [Content; SLOTS_MAX];

/// Where the parts of a slot are.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: Slot,
    components: [u64; LENGTHS.len()],
}

/// Where everything stands on one kind of device.
#[derive(Clone, Debug)]
pub struct Places(Vec<Place>, DeviceMap);

impl Places {
    /// Installs one release to every slot of a fresh disk, to see where its bytes go. All releases
    /// of a chain have components of the same lengths, and so stand in the same places.
    ///
    /// # Panics
    /// If that fails: then there is nothing to walk on.
    #[must_use]
    pub fn new(chain: &Chain, ground: &DeviceMap) -> Self {
        let geometry: Geometry = ground.geometries()[0];
        let slots = ground.slots();
        let place = |slot: Slot| {
            let name = if slot == Slot::Recovery { RECOVERY } else { 0 };
            let release = &chain.releases[name];
            let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
            let mut world = World::new(chain.publisher.device(), ground.clone(), vec![disk]);
            let running = stillboot::install::Running::Offline;
            let mut source = crate::world::Bytes::new(&release.bundle, usize::MAX);
            world
                .install_with(&mut source, running, |config| config.target = Some(slot))
                .expect("a release installs on a new disk");
            let all = world.disks[0].bytes(0, geometry.capacity_bytes as usize);
            let components = [0, 1].map(|number| {
                let bytes = &release.contents[number].1;
                let found = all.windows(bytes.len()).position(|window| window == bytes);
                found.expect("what was installed is there") as u64
            });
            Place { slot, components }
        };
        let places = slots.iter().map(|layout| place(layout.slot)).collect();
        Self(places, ground.clone())
    }

    /// Where the last component of `slot` stands; 0 for a slot that is not there.
    #[must_use]
    pub fn last_component(&self, slot: Slot) -> u64 {
        let place = self.0.iter().find(|place| place.slot == slot);
        place.map_or(0, |place| place.components[LENGTHS.len() - 1])
    }

    /// What stands on `disk`.
    #[must_use]
    pub fn contents(&self, chain: &Chain, disk: &RamDisk) -> DiskContents {
        let mut contents = DiskContents::default();
        for place in &self.0 {
            let holds = |at: u64, bytes: &[u8]| disk.bytes(at, bytes.len()) == bytes;
            let get = &mut |at, len| disk.bytes(at, len);
            let Some((at, len)) = self.1.head(get, place.slot) else { continue };
            let found = disk.bytes(at, len);
            let stands = |name: &Name| {
                let release = &chain.releases[*name];
                release.kind == place.slot.kind() && found.starts_with(head(&release.bundle))
            };
            let Some(name) = (0..chain.releases.len()).find(stands) else { continue };
            let release = &chain.releases[name];
            let marked = |kind| {
                let get = &mut |at, len| disk.bytes(at, len);
                self.1.is_marked(get, place.slot, kind, &release.digest)
            };
            let mut parts = place.components.iter().zip(&release.contents);
            contents[place.slot as usize] = Content {
                head: Some(name),
                is_whole: parts.all(|(at, (_, bytes))| holds(*at, bytes)),
                is_committed: marked(MarkKind::Committed),
                is_confirmed: marked(MarkKind::Confirmed),
            };
        }
        contents
    }
}

/// The envelopes at the start of a bundle: what is left before the components and their indexes of
/// 32 bytes per 4 KiB.
fn head(bundle: &[u8]) -> &[u8] {
    let parts: usize = LENGTHS.iter().map(|len| len + 32 * len.div_ceil(4096)).sum();
    &bundle[..bundle.len() - parts]
}
