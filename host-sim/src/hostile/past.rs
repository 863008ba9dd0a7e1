//! Moments from the life of a device: what a writer of its disk can put back.

use stillboot::format::{Digest, Slot};
use stillboot::request::Request;

use super::damage::Regions;
use crate::disk::RamDisk;
use crate::walk::chain::{RECOVERY, UPDATES};
use crate::walk::contents::Places;
use crate::walk::{Chain, media};
use crate::world::{Bytes, DeviceMap, SimStore, World};

/// Bytes of a slot.
const SLOT_BYTES: u64 = 48 << 10;
/// Tries of a new slot.
pub(super) const TRIES: u8 = 2;
/// The slots of the kinds of devices.
const SLOTS: [&[Slot]; 4] = [
    &[Slot::A, Slot::B],
    &[Slot::A, Slot::B, Slot::Recovery],
    &[Slot::A, Slot::B, Slot::C],
    &[Slot::A],
];
/// The media: the finest and the coarsest of each sort, and a log of three blocks.
const MEDIA: [&str; 5] = ["nor8", "nor32", "block512", "block4096", "log8k"];
/// How many updates a life uses; the later ones are what a way out installs.
pub(super) const LIVED: usize = 14;

/// One moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// What has just happened.
    pub name: &'static str,
    /// The disk then.
    pub disk: RamDisk,
    /// The store then.
    pub store: Option<SimStore>,
}

/// One kind of device, and its past.
#[derive(Debug)]
pub struct Field<'a> {
    /// For messages.
    pub name: String,
    /// The releases.
    pub chain: &'a Chain,
    /// Where everything stands.
    pub ground: DeviceMap,
    /// The slots it has.
    pub slots: &'static [Slot],
    /// Where the parts of installed releases stand.
    pub places: Places,
    /// The regions that can be damaged.
    pub parts: Regions,
    /// Digests of releases that exist.
    pub digests: Vec<Digest>,
    /// The moments, in the order of the life.
    pub past: Vec<Moment>,
}

impl<'a> Field<'a> {
    /// Every kind: five media, four sets of slots, with and without a store of the floor.
    ///
    /// # Panics
    /// If a life does not go as it must: then there is nothing to damage.
    #[must_use]
    pub fn all(chain: &'a Chain) -> Vec<Self> {
        let mut fields = Vec::new();
        for medium in media().into_iter().filter(|medium| MEDIA.contains(&medium.name)) {
            for slots in SLOTS {
                for has_store in [false, true] {
                    let ground = medium.ground_of(slots, SLOT_BYTES);
                    let places = Places::new(chain, &ground);
                    let layouts = ground.slots();
                    let layout = ground.layout(&layouts).expect("the ground is sound");
                    let parts = Regions::new(&ground, &layout);
                    let name = format!(
                        "{}, slots {}{}",
                        medium.name,
                        slots.iter().map(|slot| slot.name()).collect::<Vec<_>>().join(" "),
                        if has_store { ", store" } else { "" }
                    );
                    let digests = chain.releases.iter().map(|release| release.digest).collect();
                    drop(layouts);
                    let past = live(chain, &ground, slots, has_store);
                    fields.push(Self { name, chain, ground, slots, places, parts, digests, past });
                }
            }
        }
        fields
    }
}

fn live(chain: &Chain, ground: &DeviceMap, slots: &[Slot], has_store: bool) -> Vec<Moment> {
    let geometry = ground.geometries()[0];
    let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
    let mut world = World::new(chain.publisher.device(), ground.clone(), vec![disk]);
    world.tries = TRIES;
    world.store = has_store.then(SimStore::default);
    let mut past = Vec::new();
    let note = |world: &World<'_, RamDisk>, name, past: &mut Vec<Moment>| {
        past.push(Moment { name, disk: world.disks[0].fork(), store: world.store.clone() });
    };
    note(&world, "nothing", &mut past);
    let install = |world: &mut World<'_, RamDisk>, name: usize, proof| {
        world.install(&chain.releases[name].bundle, proof).expect("an update of the life");
    };
    install(&mut world, 0, None);
    note(&world, "factory installation", &mut past);
    let mut proof = world.power_on().expect("sound").proof.expect("it boots");
    note(&world, "first trial", &mut past);
    world.perform(Request::MarkGood(proof)).expect("healthy");
    note(&world, "first confirmation", &mut past);
    if slots.contains(&Slot::Recovery) {
        let bundle = &chain.releases[RECOVERY].bundle;
        let running = stillboot::install::Running::Offline;
        world
            .install_with(&mut Bytes::new(bundle, usize::MAX), running, |config| {
                config.target = Some(Slot::Recovery);
            })
            .expect("recovery installs");
        note(&world, "recovery installed", &mut past);
    }
    if slots.len() == 1 {
        // It takes no update while it runs.
        proof = world.power_on().expect("sound").proof.expect("it boots");
        world.perform(Request::Suspect(proof.slot)).expect("it is good");
        note(&world, "a suspect", &mut past);
        return past;
    }
    for name in [5, 10, LIVED - 1] {
        proof = world.power_on().expect("sound").proof.expect("it boots");
        let part = &chain.releases[name].bundle;
        let part = &part[..part.len() - 900];
        world.install(part, Some(proof)).expect_err("the stream ends early");
        note(&world, "half an installation", &mut past);
        install(&mut world, name, Some(proof));
        note(&world, "installation", &mut past);
        proof = world.power_on().expect("sound").proof.expect("it boots");
        note(&world, "trial", &mut past);
        world.perform(Request::MarkGood(proof)).expect("healthy");
        note(&world, "confirmation", &mut past);
    }
    proof = world.power_on().expect("sound").proof.expect("it boots");
    note(&world, "two good slots", &mut past);
    world.perform(Request::Suspect(proof.slot)).expect("it is good");
    note(&world, "a suspect", &mut past);
    world.perform(Request::MarkBad(proof.slot)).expect("there is another good one");
    note(&world, "a slot marked bad", &mut past);
    const { assert!(LIVED < UPDATES, "there are releases left") };
    past
}
