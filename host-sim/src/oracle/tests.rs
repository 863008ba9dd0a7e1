//! Starts that are wrong in one way each.

use stillboot::boot::Reason;
use stillboot::device::Geometry;
use stillboot::format::{Floor, Slot, SlotKind, SlotState};
use stillboot::record::RecordStatus;
use stillboot::select::CandidateKind;

use super::history::only;
use super::{History, Promise, Promises, Published, Written};
use crate::disk::RamDisk;
use crate::engine::{Engine, Outcome, Program, Setting, Started};
use crate::story::{Catalogue, OTHER_CLASS, V1, V2};
use crate::world::DeviceMap;

/// A device on which V1 is installed, and starts on trial.
fn trial(setting: &Setting<'_>) -> (RamDisk, Started) {
    let mut disk = RamDisk::new(setting.ground.joined(), 0);
    let mut engine = Engine::default();
    let install = Program::Install { bundle: V1, running: None, target: None, repair: false };
    let boot = Program::Boot { nonce: 1, watchdog_reset: false, returns: None };
    engine.run(setting, &install, &mut disk, &mut None, None);
    let outcome = engine.run(setting, &boot, &mut disk, &mut None, None);
    let Outcome::Boot(started) = &*outcome else { panic!("{outcome:?}") };
    (disk, (**started).clone())
}

/// An oracle that never objects proves nothing: each start here is wrong in one way.
#[test]
fn each_wrong_start_breaks_its_promise_and_a_right_one_none() {
    let catalogue = Catalogue::new().expect("releases");
    let setting = Setting {
        device: catalogue.publisher.device(),
        ground: DeviceMap::new(Geometry::disk(512, 0), &[Slot::A, Slot::B], 48 << 10),
        tries: 2,
        bundles: catalogue.releases.iter().map(|release| release.sent.clone()).collect(),
        stated: Vec::new(),
    };
    let known = Published::new(&setting, &catalogue.releases);
    let (disk, right) = trial(&setting);
    let truth = History { trial: only(V1), record: Written::Yes, ..History::default() };
    let judge = |change: &dyn Fn(&mut History, &mut Started, &mut [Floor; 2])| {
        let (mut truth, mut started, mut store) =
            (truth.clone(), right.clone(), [Floor::default(); 2]);
        change(&mut truth, &mut started, &mut store);
        let all = Promises([true; Promise::ALL.len()]);
        let mut disk = disk.fork();
        let result = known.judge(&mut truth, &mut disk, store, None, &started, all);
        // Where nothing is promised, nothing can be broken.
        let none = Promises([false; Promise::ALL.len()]);
        assert_eq!(known.judge(&mut truth, &mut disk, store, None, &started, none), Ok(()));
        result.err().map(|broken| broken.promise)
    };
    let proof = |change: &dyn Fn(&mut stillboot::format::BootProof)| {
        judge(&|_, started, _| change(started.proof.as_mut().expect("it started")))
    };
    assert_eq!(judge(&|_, _, _| {}), None);

    let lost = judge(&|_, started, _| started.report.record = RecordStatus::Lost);
    assert_eq!(lost, Some(Promise::Record));
    assert_eq!(judge(&|_, started, _| started.proof = None), Some(Promise::Boots));

    let verified = Some(Promise::OnlyVerified);
    assert_eq!(proof(&|proof| proof.digest[0] ^= 1), verified);
    assert_eq!(proof(&|proof| proof.digest = known.releases[OTHER_CLASS].digest), verified);
    assert_eq!(proof(&|proof| proof.slot = Slot::Recovery), verified);
    assert_eq!(judge(&|_, started, _| started.loaded[1].2[7] ^= 1), verified);
    assert_eq!(judge(&|_, started, _| started.loaded.truncate(1)), verified);
    let high = Floor { keyset_version: u32::MAX, level: 0 };
    assert_eq!(judge(&|_, _, store| *store = [high; 2]), verified);
    assert_eq!(judge(&|truth, _, _| truth.floors = [high; 2]), verified);

    assert_eq!(judge(&|truth, _, _| truth.starts = 2), Some(Promise::Tries));

    let confirmed = Some(Promise::Confirmed);
    assert_eq!(judge(&|truth, _, _| truth.trial = 0), confirmed);
    let claims = |kind: CandidateKind| {
        move |truth: &mut History, started: &mut Started, _: &mut [Floor; 2]| {
            (truth.good, truth.sure) = (only(V2), only(V2));
            started.report.lines.last_mut().expect("it has one").candidate.kind = kind;
        }
    };
    assert_eq!(judge(&claims(CandidateKind::Good)), confirmed);
    // Nothing else is good, so the floor must have risen to what starts.
    let good = |floor: Floor| {
        move |truth: &mut History, started: &mut Started, _: &mut [Floor; 2]| {
            truth.good = only(V1);
            started.report.lines.last_mut().expect("it has one").candidate.kind =
                CandidateKind::Good;
            *started.record.body.floor_of_mut(SlotKind::Update) = floor;
        }
    };
    assert_eq!(judge(&good(Floor::default())), verified);
    assert_eq!(judge(&good(known.releases[V1].floor)), None);
    // A last resort is right where nothing better is whole.
    assert_eq!(judge(&claims(CandidateKind::LastResort)), None);
    let raised = judge(&|truth, started, _| {
        truth.sure = only(V1);
        *started.record.body.floor_of_mut(SlotKind::Update) = high;
    });
    assert_eq!(raised, confirmed);

    let given_up = judge(&|_, started, _| {
        let mut line = *started.report.lines.last().expect("it has one");
        line.reason = Reason::NotStarted;
        started.report.lines.insert(0, line).expect("there is room");
        let state = SlotState::Bad { fault: stillboot::format::Fault::Returned };
        started.record.body.slot_mut(line.candidate.slot).state = state;
    });
    assert_eq!(given_up, Some(Promise::NextUpdate));

    let half_full = judge(&|_, started, _| {
        let mut line = *started.report.lines.last().expect("it has one");
        line.candidate.slot = Slot::B;
        line.reason = Reason::Returned;
        started.report.lines.insert(0, line).expect("there is room");
    });
    assert_eq!(half_full, Some(Promise::Tried));
}
