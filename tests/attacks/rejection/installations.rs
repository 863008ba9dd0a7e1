//! Every way to install a bundle.

use stillboot::check;
use stillboot::format::{BootProof, Slot, SlotKind};
use stillboot::install::{InstallError, Reuse, Running};
use stillboot::verify::SoftSha256;
use stillboot_sim::World;
use stillboot_sim::disk::{Change, PowerCut, RamDisk};
use stillboot_sim::world::Bytes;
use stillboot_tests::forge::{counted, with_manifest};

use super::cases::cases;
use super::{Case, FORMS, Form, Path, Stage, Vendor, device, says, sound};

const PATHS: &[Path] = &[
    Path { name: "fresh", offline: false, piece: usize::MAX, change: |_| {} },
    Path { name: "byte by byte", offline: false, piece: 1, change: |_| {} },
    Path { name: "offline", offline: true, piece: usize::MAX, change: |_| {} },
    Path {
        name: "named target",
        offline: false,
        piece: 4000,
        change: |config| config.target = Some(Slot::B),
    },
    Path {
        name: "reuse",
        offline: false,
        piece: 999,
        change: |config| config.reuse = Reuse { target: true, stated: false, running: true },
    },
    Path {
        name: "repair",
        offline: false,
        piece: usize::MAX,
        change: |config| config.repair = true,
    },
    Path {
        name: "resumed",
        offline: false,
        piece: usize::MAX,
        change: |config| config.resume_only = true,
    },
];

type CountedWorld<'a> = World<'a, PowerCut<RamDisk>>;

fn install(
    world: &mut CountedWorld<'_>,
    case: &Case,
    path: &Path,
    proof: BootProof,
) -> Result<(), InstallError> {
    let running = if path.offline { Running::Offline } else { Running::Proof(proof) };
    let mut source = Bytes::new(&case.bundle, path.piece);
    world.install_with(&mut source, running, path.change).map(|_| ())
}

/// Only the record and slot b may have been changed.
fn only_the_target(world: &CountedWorld<'_>, since: usize, context: &str) {
    let ground = &world.ground;
    let slot = ground.slots()[1];
    let of_slot = [slot.head.unwrap(), slot.regions[0].region];
    let allowed = [ground.places(), &of_slot].concat();
    for change in &world.disks[0].trace()[since..] {
        let (Change::Write { offset, len } | Change::Erase { offset, len }) = *change else {
            continue;
        };
        let inside = allowed.iter().any(|r| r.offset <= offset && offset + len <= r.offset + r.len);
        assert!(inside, "{context}: {change:?}");
    }
}

#[test]
fn every_way_to_install_refuses_every_bad_bundle_and_takes_a_sound_one_at_once() {
    FORMS.into_iter().for_each(installations);
}

fn installations(form: Form) {
    let vendor = Vendor::new(1, form);
    let (world, proof) = device(&vendor);
    let start = counted(&world);
    let good = sound(&vendor);
    let cases = cases(&vendor);
    for case in &cases {
        for path in PATHS {
            let context = format!("{form:?}, {}, {}", case.name, path.name);
            let mut world = start.clone();
            let resumes = path.name == "resumed";
            if resumes && case.stage == Stage::Body {
                // There must be something to resume: the same bundle, cut short by its own fault.
                let result = install(&mut world, case, &PATHS[0], proof);
                says(result, world.host.said, case, &context);
            }
            let before = world.disks[0].trace().len();
            let result = install(&mut world, case, path, proof);
            says(result, world.host.said, case, &context);
            match case.stage {
                Stage::Head => {
                    let changes = &world.disks[0].trace()[before..];
                    assert_eq!(changes, [], "{context}: the device was touched");
                }
                Stage::Body => only_the_target(&world, before, &context),
            }
            // Another source, the same process, no restart.
            let running = if path.offline { Running::Offline } else { Running::Proof(proof) };
            let mut after = world.clone();
            let mut source = Bytes::new(&good, usize::MAX);
            let installed = after.install_with(&mut source, running, |_| {});
            assert_eq!(installed.expect(&context).slot, Slot::B, "{context}");
            assert_eq!(after.power_on().unwrap().slot(), Some(Slot::B), "{context}");
            // And without another source what ran still runs.
            let runs = world.power_on().unwrap().proof.expect(&context);
            assert_eq!(runs.digest, proof.digest, "{context}");
        }
    }
    println!("{form:?}: {} bundles, {} ways", cases.len(), PATHS.len());
    assert!(cases.len() >= 54);
}

#[test]
fn a_new_device_refuses_whatever_does_not_depend_on_a_history() {
    FORMS.into_iter().for_each(new_device);
}

fn new_device(form: Form) {
    let vendor = Vendor::new(1, form);
    let start = counted(&vendor.blank());
    for case in cases(&vendor).iter().filter(|case| case.on_new_device) {
        let mut world = start.clone();
        let mut source = Bytes::new(&case.bundle, usize::MAX);
        let result = world.install_with(&mut source, Running::Offline, |_| {});
        says(result.map(|_| ()), world.host.said, case, case.name);
        if case.stage == Stage::Head {
            assert_eq!(world.disks[0].operations(), 0, "{}", case.name);
        }
        // What came before a byte too many is whole and signed: better than nothing at all.
        let whole = case.says == "Refused(Trailing";
        let started = world.power_on().unwrap().slot();
        assert_eq!(started, whole.then_some(Slot::A), "{}", case.name);
        let good = sound(&vendor);
        let mut source = Bytes::new(&good, usize::MAX);
        world.install_with(&mut source, Running::Offline, |_| {}).expect(case.name);
        assert!(world.power_on().unwrap().slot().is_some(), "{}", case.name);
    }
}

/// What a store keeps outlives the disk: a device that lost its disk is no new device.
#[test]
fn a_device_with_a_new_disk_still_has_its_floor() {
    for form in FORMS {
        let vendor = Vendor::new(1, form);
        let (old, _) = device(&vendor);
        let mut world = vendor.blank();
        world.store = old.store.clone();
        let mut world = counted(&world);
        let below = with_manifest(&vendor.publisher, &sound(&vendor), |m| m.level = 4);
        let result = world.install(&below, None);
        assert!(format!("{result:?}").starts_with("Err(Refused(BelowFloor"), "{result:?}");
        assert_eq!(world.disks[0].operations(), 0);
    }
}

#[test]
fn a_check_of_the_file_finds_whatever_is_wrong_with_its_bytes() {
    FORMS.into_iter().for_each(files);
}

fn files(form: Form) {
    let vendor = Vendor::new(1, form);
    for case in cases(&vendor) {
        for piece in [1, 1000, usize::MAX] {
            let mut buffer = vec![0; 8192];
            let mut source = Bytes::new(&case.bundle, piece);
            let result = check::bundle::<SoftSha256>(
                &vendor.device(),
                SlotKind::Update,
                &mut source,
                true,
                &mut |_| {},
                &mut buffer,
            );
            let result = result.map(|_| ());
            if !case.in_file {
                assert_eq!(result, Ok(()), "{}", case.name);
            } else if case.says.starts_with("Refused(Layout") {
                // Chunks of another size: the file is not what its manifest says either.
                assert!(matches!(result, Err(InstallError::Refused(_))), "{}", case.name);
            } else {
                says(result, None, &case, case.name);
            }
        }
    }
}
