//! Random sequences of public calls against a reference state machine: each answer and the whole
//! body of the record after each call are what [`model`](stillboot_sim::walk::model) says, which is
//! written from `docs/BOOT_PROTOCOL.md`. Nothing fails here; what fails is in `walks.rs`.
//!
//! The notes in the record are no part of that protocol: loaders do not read them. This test checks
//! what becomes of them.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::select;
use stillboot::format::notes::{Notes, Past};
use stillboot::format::record::Body;
use stillboot::format::{BootProof, Hold, Slot};
use stillboot::install::{InstallError, Running};
use stillboot::record::RecordStatus;
use stillboot::request::{Answer, Request};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::engine::HandoverFailure;
use stillboot_sim::walk::chain::{OTHER_CLASS, RECOVERY};
use stillboot_sim::walk::contents::{DiskContents, Places};
use stillboot_sim::walk::model::{
    Boots, InstallAttempt, Kept, Model, Start, Surroundings, is_same,
};
use stillboot_sim::walk::{Chain, media, medium_geometry};
use stillboot_sim::world::{Bytes, DeviceMap, SimStore, World};

/// Tries of a new slot.
const TRIES: u8 = 3;
/// Of the chain's releases, those that are offered here: few, so that they meet again.
const RELEASES: usize = 8;
const SLOTS: [Slot; 4] = Slot::ALL;

/// Which proof a request comes with.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// Of what runs.
    Current,
    /// Of the power-on before.
    Stale,
    /// With one part changed: 0 nonce, 1 attempt, 2 digest, 3 slot.
    Wrong(u8),
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Surroundings {
        watchdog: bool,
        returns: Option<HandoverFailure>,
    },
    Install {
        release: usize,
        target: Option<Slot>,
        repair: bool,
        whole: bool,
        offline: bool,
    },
    Confirm(Proof),
    Rollback(Slot),
    MarkBad(Slot),
    Hold(Slot, bool),
    HoldUpdates(u64),
    Suspect(Slot),
    NoteTime(u64),
    Cancel,
    /// The failure at this place of the list, or one that never was.
    Forget(u8),
    Read,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let slot = || select(&SLOTS[..]);
    let proof = prop_oneof![
        6 => Just(Proof::Current),
        1 => Just(Proof::Stale),
        1 => (0_u8..4).prop_map(Proof::Wrong),
    ];
    let release = prop_oneof![
        12 => 0..RELEASES,
        1 => RECOVERY..RECOVERY + 2,
        1 => Just(OTHER_CLASS),
    ];
    let install = (
        release,
        proptest::option::weighted(0.25, slot()),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.15),
    )
        .prop_map(|(release, target, repair, whole, offline)| Call::Install {
            release,
            target,
            repair,
            whole,
            offline,
        });
    let back = select(&[HandoverFailure::Returned, HandoverFailure::NotStarted][..]);
    let power_on = (proptest::bool::weighted(0.15), proptest::option::weighted(0.12, back))
        .prop_map(|(watchdog, returns)| Call::Surroundings { watchdog, returns });
    let call = prop_oneof![
        8 => power_on,
        7 => install,
        6 => proof.prop_map(Call::Confirm),
        1 => slot().prop_map(Call::Rollback),
        1 => slot().prop_map(Call::MarkBad),
        1 => (slot(), any::<bool>()).prop_map(|(slot, held)| Call::Hold(slot, held)),
        1 => select(&[0, 0, 5, u64::MAX][..]).prop_map(Call::HoldUpdates),
        1 => slot().prop_map(Call::Suspect),
        1 => (1_u64..9).prop_map(Call::NoteTime),
        1 => Just(Call::Cancel),
        1 => (0_u8..3).prop_map(Call::Forget),
        1 => Just(Call::Read),
    ];
    proptest::collection::vec(call, 1..40)
}

/// The real device and the reference beside it.
struct Both {
    chain: &'static Chain,
    places: Places,
    world: World<'static, RamDisk>,
    model: Model,
    notes: Notes,
    running: Option<BootProof>,
    stale: Option<BootProof>,
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| Chain::new().expect("releases"))
}

impl Both {
    fn new(medium: usize, slots: &'static [Slot], has_store: bool) -> Self {
        let chain = chain();
        let ground = DeviceMap::new(medium_geometry(media()[medium]), slots, 48 << 10);
        let geometry = ground.geometries()[0];
        let places = Places::new(chain, &ground);
        let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let mut world = World::new(chain.publisher.device(), ground, vec![disk]);
        world.tries = TRIES;
        world.store = has_store.then(SimStore::default);
        let model = Model::new(slots, TRIES, has_store);
        let notes = Notes::default();
        Self { chain, places, world, model, notes, running: None, stale: None }
    }

    fn contents(&self) -> DiskContents {
        self.places.contents(self.chain, &self.world.disks[0])
    }

    fn store(&self) -> [Option<stillboot::format::Floor>; 2] {
        self.world.store.as_ref().map_or([None; 2], |store| store.floors)
    }

    fn call(&mut self, call: Call) -> Result<(), TestCaseError> {
        match call {
            Call::Surroundings { watchdog, returns } => self.power_on(watchdog, returns)?,
            Call::Install { release, target, repair, whole, offline } => {
                let running = self.running.filter(|_| !offline);
                let offer = InstallAttempt { release, target, repair, is_whole: whole };
                self.install(running, offer)?;
            }
            Call::Confirm(proof) => {
                let proof = match proof {
                    Proof::Current => self.running,
                    Proof::Stale => self.stale,
                    Proof::Wrong(part) => self.running.map(|proof| spoiled(proof, part)),
                };
                if let Some(proof) = proof {
                    self.perform(Request::MarkGood(proof))?;
                }
            }
            Call::Rollback(slot) => self.perform(Request::Rollback(slot))?,
            Call::MarkBad(slot) => self.perform(Request::MarkBad(slot))?,
            Call::Hold(slot, held) => self.perform(Request::HoldSlot(slot, held))?,
            Call::HoldUpdates(until) => {
                self.perform(Request::HoldUpdates(Hold { until, since: 1 }))?;
            }
            Call::Suspect(slot) => self.perform(Request::Suspect(slot))?,
            Call::NoteTime(now) => self.perform(Request::NoteTime(now))?,
            Call::Cancel => self.perform(Request::Cancel)?,
            Call::Forget(place) => {
                let failed = self.model.body.failed.get(usize::from(place));
                let digest = failed.map_or([7; 32], |failed| failed.digest);
                self.perform(Request::Forget(digest))?;
            }
            Call::Read => self.perform(Request::Read)?,
        }
        let (record, choice, _) = self.world.record().expect("a sound device is read");
        let kept = match choice {
            RecordStatus::Current { .. } => Kept::Record,
            RecordStatus::Factory => Kept::Nothing,
            RecordStatus::Lost | RecordStatus::Newer => Kept::Lost,
        };
        prop_assert_eq!(kept, self.model.kept);
        let notes = Notes::parse(&record.body.notes);
        // None were ever written, or these.
        let none = record.body.notes.is_empty() && self.notes == Notes::default();
        prop_assert!(none || notes.as_ref() == Ok(&self.notes), "{:?}: {:?}", notes, self.notes);
        let same = self.model.body.notes.clone();
        prop_assert_eq!(&Body { notes: same, ..record.body }, &self.model.body);
        Ok(())
    }

    fn power_on(
        &mut self,
        watchdog: bool,
        returns: Option<HandoverFailure>,
    ) -> Result<(), TestCaseError> {
        let on = Surroundings {
            contents: self.contents(),
            store: self.store(),
            nonce: self.world.nonce + 1,
            watchdog,
            returns,
        };
        let course = self.model.power_on(self.chain, &on);
        self.world.watchdog_reset = watchdog;
        self.world.comes_back = returns.map(HandoverFailure::event);
        let started = self.world.power_on().expect("the ground is sound");
        let start = started.proof.map(|proof| Start {
            slot: proof.slot,
            kind: started.report.lines.last().expect("what started").candidate.kind,
            release: self.chain.named(&proof.digest).expect("published"),
        });
        let found = match started.report.record {
            RecordStatus::Current { .. } => Kept::Record,
            RecordStatus::Factory => Kept::Nothing,
            RecordStatus::Lost | RecordStatus::Newer => Kept::Lost,
        };
        prop_assert_eq!(&Boots { start, store: self.store(), found }, &course.answer);
        self.model = course.end().clone();
        self.stale = self.running.take().or(self.stale);
        self.running = started.proof;
        Ok(())
    }

    fn install(
        &mut self,
        running: Option<BootProof>,
        offer: InstallAttempt,
    ) -> Result<(), TestCaseError> {
        let is_recovery = (RECOVERY..RECOVERY + 2).contains(&offer.release);
        let kind = offer.target.map_or(stillboot::format::SlotKind::Update, Slot::kind);
        if is_recovery != (kind == stillboot::format::SlotKind::Recovery) {
            // Signed by the wrong role: `trust.rs`.
            return Ok(());
        }
        let course =
            self.model.install(self.chain, &self.contents(), self.store(), running.as_ref(), offer);
        let bundle = if offer.is_whole {
            self.chain.releases[offer.release].bundle.to_vec()
        } else {
            self.chain.tampered(offer.release)
        };
        let running = running.map_or(Running::Offline, Running::Proof);
        let answer = self.world.install_with(&mut Bytes::new(&bundle, 700), running, |config| {
            config.target = offer.target;
            config.repair = offer.repair;
        });
        let answer: Result<Slot, InstallError> = answer.map(|installed| installed.slot);
        prop_assert!(
            is_same(&course.answer, &answer),
            "{:?} instead of {:?}",
            answer,
            course.answer
        );
        self.model = course.end().clone();
        Ok(())
    }

    fn perform(&mut self, request: Request) -> Result<(), TestCaseError> {
        let course = self.model.perform(request);
        let mut answer = course.answer;
        match request {
            Request::MarkGood(proof) if answer == Ok(Answer::Done) => {
                let version = self.model.body.slot(proof.slot).version.clone();
                let last = self.notes.history.last().cloned();
                let keyset_version = proof.keyset_version;
                let past = Past { version, keyset_version, sequence: 0, at: 0 };
                if last.is_none_or(|last| Past { at: 0, ..last } != past) {
                    if self.notes.history.is_full() {
                        self.notes.history.remove(0);
                    }
                    self.notes.history.push(past).expect("room");
                }
            }
            // The clock came after them, or it went back.
            Request::NoteTime(now) if self.model.kept == Kept::Record => {
                for past in &mut self.notes.history {
                    if past.at == 0 || past.at > now {
                        past.at = now;
                        answer = Ok(Answer::Done);
                    }
                }
            }
            _ => {}
        }
        prop_assert_eq!(self.world.perform(request), answer);
        self.model = course.end().clone();
        Ok(())
    }
}

fn spoiled(mut proof: BootProof, part: u8) -> BootProof {
    match part {
        0 => proof.nonce ^= 1,
        1 => proof.attempt ^= 1,
        2 => proof.digest[0] ^= 1,
        _ => proof.slot = if proof.slot == Slot::A { Slot::B } else { Slot::A },
    }
    proof
}

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];
const ABCR: &[Slot] = &Slot::ALL;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64),
        // A failure is printed with its seed and shrunk; it becomes a test of its own, not a file.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_call_does_what_the_protocol_says(
        calls in calls(),
        medium in select(&[0_usize, 4, 5, 6][..]),
        slots in select(&[AB, ABR, ABCR][..]),
        has_store in any::<bool>(),
    ) {
        let mut both = Both::new(medium, slots, has_store);
        for call in calls {
            both.call(call)?;
        }
    }
}
