//! What was published, by release and slot.

use std::collections::BTreeMap;
use std::ops::Range;

use stillboot::device::{BlockDevice, Geometry};
use stillboot::format::Slot;
use stillboot::layout::Region;

use crate::disk::RamDisk;
use crate::engine::{Engine, Outcome, Program, Setting};
use crate::story::{Name, Release};
use crate::world::DeviceMap;

/// An offset on the disk, and the bytes there.
pub(super) type Stretch = (u64, Vec<u8>);

/// What was published, and where it stands when it is installed.
#[derive(Debug)]
pub struct Published<'a> {
    /// By name.
    pub releases: &'a [Release],
    /// By release and slot: the components of a whole installation.
    images: BTreeMap<(Name, Slot), Vec<Stretch>>,
    /// By release: the head of its bundle.
    heads: BTreeMap<Name, Vec<u8>>,
    ground: DeviceMap,
    pub(super) tries: u8,
}

impl<'a> Published<'a> {
    /// Installs every genuine release to every slot of a fresh disk, to see where its bytes go.
    #[must_use]
    pub fn new(setting: &Setting<'_>, releases: &'a [Release]) -> Self {
        let geometry: Geometry = setting.ground.joined();
        // A patch needs the bundle that it starts from; what comes of it is this.
        let bundles = releases.iter().map(|release| release.bundle.clone()).collect();
        let setting = &Setting { bundles, stated: Vec::new(), ..setting.clone() };
        let slots = setting.ground.slots();
        let mut images = BTreeMap::new();
        let mut heads = BTreeMap::new();
        for (name, release) in releases.iter().enumerate().filter(|(_, r)| r.is_genuine) {
            heads.insert(name, release.head().to_vec());
            for slot in slots.iter().map(|slot| slot.slot) {
                if slot.kind() != release.kind {
                    continue;
                }
                let fill = geometry.erased.unwrap_or(0);
                let mut disk = RamDisk::new(geometry, fill);
                let program = Program::Install {
                    bundle: name,
                    running: None,
                    target: Some(slot),
                    repair: false,
                };
                let outcome = Engine::default().run(setting, &program, &mut disk, &mut None, None);
                assert!(
                    matches!(&*outcome, Outcome::Install(Ok(_))),
                    "{} to {slot}: {outcome:?}",
                    release.name
                );
                let slot_layout = slots.iter().find(|s| s.slot == slot).expect("as above");
                let mut parts = Vec::new();
                for (role, bytes) in &release.contents {
                    let found = slot_layout.regions.iter().flat_map(|found| {
                        let begin = setting.ground.place(found.region);
                        let all = disk.bytes(begin, found.region.len as usize);
                        let is_it = |at: &usize| all[*at..].starts_with(bytes);
                        let places: Vec<_> = (0..all.len()).filter(is_it).collect();
                        places.into_iter().map(move |at| begin + at as u64)
                    });
                    let found: Vec<u64> = found.collect();
                    // Of two places one would be taken for the component, and the other not looked at.
                    let [at] = found[..] else {
                        panic!("{role:?} of {} is at {found:?}: expected one place", release.name)
                    };
                    parts.push((at, bytes.clone()));
                }
                images.insert((name, slot), parts);
            }
        }
        Self { releases, images, heads, ground: setting.ground.clone(), tries: setting.tries }
    }

    /// The release of a digest.
    #[must_use]
    pub fn named(&self, digest: &[u8; 32]) -> Option<Name> {
        self.releases.iter().position(|release| release.digest == *digest)
    }

    /// The head of a release.
    pub(crate) fn head(&self, release: Name, _slot: Slot) -> &[u8] {
        self.heads.get(&release).map_or(&[], Vec::as_slice)
    }

    /// Whether these bytes are needed to read the head of a slot: of a log, all of it is.
    pub(super) fn needs_for_head(&self, slot: Slot, found: &Range<u64>) -> bool {
        let meets = |region: Region| {
            let at = self.ground.place(region);
            at < found.end && found.start < at + region.len
        };
        if self.ground.is_log() {
            return self.ground.places().iter().any(|region| meets(*region));
        }
        let slots = self.ground.slots();
        slots.iter().any(|layout| layout.slot == slot && layout.head.is_some_and(meets))
    }

    /// What stands whole on the disk, by slot: read twice, and the same both times.
    pub fn intact<D: BlockDevice>(&self, disk: &mut D) -> Vec<(Slot, Name)> {
        let unit = u64::from(disk.geometry().logical_block_bytes);
        // Nothing where the device does not read, or does not read the same twice.
        let mut get = |at: u64, len: usize| {
            let from = at / unit * unit;
            let end = (at + len as u64).next_multiple_of(unit);
            let mut twice = [(); 2].map(|()| {
                let mut found = vec![0; (end - from) as usize];
                disk.read(from, &mut found).map(|()| found)
            });
            match &mut twice {
                [Ok(one), Ok(two)] if one == two => one[(at - from) as usize..][..len].to_vec(),
                _ => vec![0x55; len],
            }
        };
        let slots = self.ground.slots();
        let heads: Vec<_> = slots
            .iter()
            .filter_map(|slot| {
                let (at, len) = self.ground.head(&mut get, slot.slot)?;
                Some((slot.slot, get(at, len)))
            })
            .collect();
        self.images
            .iter()
            .filter(|((name, slot), parts)| {
                let head = heads.iter().find(|found| found.0 == *slot);
                head.is_some_and(|(_, head)| head.starts_with(self.head(*name, *slot)))
                    && parts.iter().all(|(at, bytes)| get(*at, bytes.len()) == *bytes)
            })
            .map(|((name, slot), _)| (*slot, *name))
            .collect()
    }

    /// Where the parts of a release begin when it is whole in `slot`: its head first.
    #[must_use]
    pub fn parts(&self, release: Name, slot: Slot) -> &[(u64, Vec<u8>)] {
        self.images.get(&(release, slot)).map_or(&[], Vec::as_slice)
    }
}
