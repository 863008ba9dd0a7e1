//! One table of bundles that must be refused, through every way into the library.
//!
//! In other projects a check existed, and a second entry point did not call it. So each row goes
//! through all entry points: verification of a file, installation fresh, forced into a slot,
//! offline, resumed, with reuse, as a repair, byte by byte, on a new device; and, written into a
//! slot by hand, through a power-on with the record, without one, and with nothing else to start.
//!
//! All of it twice: for devices with roots and keysets, and for those that trust one key. The table
//! is also left as a file, for `tests/powerset`, which runs it in builds with fewer features.

use stillboot::boot::Reason;
use stillboot::driver::verify_bundle;
use stillboot::format::record::Body;
use stillboot::format::{
    Architecture, BootProof, Encryption, Epochs, KeyRole, Load, PayloadType, Risk, Role, Slot,
    SlotKind,
};
use stillboot::install::{InstallConfig, InstallError, Refusal, Reuse, Running, Wait};
use stillboot::operate::Request;
use stillboot::verify::{Device, SoftSha256, Trust};
use stillboot_policy::Verdict;
use stillboot_release::keys::{Signer, sign_envelope};
use stillboot_sim::disk::{Change, PowerCut, RamDisk};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher, World};
use stillboot_tests::forge::{
    counted, find_digest, forge_record, lose_record, payload, plant, raw, recommend, signed_as,
    split, with_manifest,
};
use stillboot_tests::{RamWorld, blank, boot, commission, media, wipe};

const AB: &[Slot] = &[Slot::A, Slot::B];

/// What the clock of the device says.
const NOW: u64 = 2000;

/// Whom devices trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Roots, whose keysets name all other keys.
    Keysets,
    /// The release key, which signs everything.
    SingleKey,
}

const FORMS: [Form; 2] = [Form::Keysets, Form::SingleKey];

/// The maker of the bundles, for devices of one form.
struct Vendor {
    form: Form,
    publisher: Publisher,
    key: [u8; 32],
}

impl Vendor {
    fn new(seed: u64, form: Form) -> Self {
        let publisher = Publisher::new(seed);
        let key = publisher.release.public();
        Self { form, publisher, key }
    }

    fn device(&self) -> Device<'_> {
        let device = self.publisher.device();
        match self.form {
            Form::Keysets => device,
            Form::SingleKey => Device { trust: Trust::Key(&self.key), ..device },
        }
    }

    fn blank(&self) -> RamWorld<'_> {
        let mut world = blank(&self.publisher, media()[0].1, AB);
        world.device = self.device();
        world.store = Some(SimStore::default());
        world.host.now = Some(NOW);
        world
    }

    /// A bundle as such devices read it: without keyset where none is trusted. The signatures are
    /// the same.
    fn fit(&self, bundle: Vec<u8>) -> Vec<u8> {
        match self.form {
            Form::Keysets => bundle,
            Form::SingleKey => bundle[split(&bundle).0.len()..].to_vec(),
        }
    }
}

/// What is done to a manifest.
type Forgery<'a> = &'a dyn Fn(&mut stillboot::format::Manifest);

/// When a bundle is found out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// By its head: nothing may be erased or written for it.
    Head,
    /// By its body, of which a stream has shown a part by then: costs the target at most.
    Body,
}

/// A bundle that must be refused.
struct Case {
    name: &'static str,
    bundle: Vec<u8>,
    stage: Stage,
    /// How what an installation says begins.
    says: &'static str,
    /// How what a power-on says of it begins; empty for what only installations ask.
    boot_says: &'static str,
    /// Whether the bytes themselves are at fault, which a check of the file finds.
    in_file: bool,
    /// Whether a device without a history refuses it too.
    on_new_device: bool,
}

/// Level and sequence of what runs.
const RUNNING: (u64, u32) = (5, 5);

fn bundle(vendor: &Vendor, sequence: u64, level: u32) -> Vec<u8> {
    let publisher = &vendor.publisher;
    let (kernel, initramfs) = (content(sequence, 9000), content(sequence + 500, 5001));
    let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let pieces = [piece(Role::Kernel, &kernel[..]), piece(Role::Initramfs, &initramfs[..])];
    vendor.fit(publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap())
}

fn sound(vendor: &Vendor) -> Vec<u8> {
    bundle(vendor, 9, RUNNING.1)
}

/// The update that was marked bad on the device of [`device`].
fn failed(vendor: &Vendor) -> Vec<u8> {
    bundle(vendor, 6, RUNNING.1)
}

/// A device whose slot a runs, confirmed, and whose slot b holds what was marked bad.
fn device(vendor: &Vendor) -> (RamWorld<'_>, BootProof) {
    let mut world = vendor.blank();
    let proof = commission(&mut world, &bundle(vendor, RUNNING.0, RUNNING.1));
    world.install(&failed(vendor), Some(proof)).unwrap();
    boot(&mut world);
    world.operate(Request::MarkBad(Slot::B)).unwrap();
    let proof = boot(&mut world);
    assert_eq!(proof.slot, Slot::A);
    (world, proof)
}

fn head(
    name: &'static str,
    bundle: Vec<u8>,
    says: &'static str,
    boot_says: &'static str,
    in_file: bool,
    on_new_device: bool,
) -> Case {
    Case { name, bundle, stage: Stage::Head, says, boot_says, in_file, on_new_device }
}

/// What keysets can be wrong in.
fn keyset_cases(vendor: &Vendor) -> Vec<Case> {
    let publisher = &vendor.publisher;
    let product = publisher.device().product;
    let good = sound(vendor);
    let (keyset, manifest, body) = split(&good);
    let trust = "Refused(Trust(";
    let other_keyset = |role, signer: &dyn Signer| {
        let bytes = raw_keyset(publisher);
        let signers = [(role, signer)];
        let keyset = sign_envelope(PayloadType::Keyset, &product, &bytes, &signers).unwrap();
        [&keyset, manifest, body].concat()
    };
    let mut cases = vec![
        head("no keyset", [manifest, body].concat(), trust, "Trust(", true, true),
        head("nothing but keysets", [keyset, keyset, body].concat(), trust, "Trust(", true, true),
    ];
    for (name, role) in [
        ("keyset by the release key", KeyRole::Root),
        ("keyset by the release key as such", KeyRole::Release),
    ] {
        cases.push(head(
            name,
            other_keyset(role, &publisher.release),
            "Refused(Trust(KeysetSignature(Missing",
            "Trust(KeysetSignature(",
            true,
            true,
        ));
    }
    for (name, len) in
        [("cut in the keyset", keyset.len() - 1), ("cut after the keyset", keyset.len())]
    {
        cases.push(head(name, good[..len].to_vec(), "Refused(Ended", "Trust(", true, true));
    }
    cases
}

/// What comes with a keyset to a device that knows none.
fn single_key_cases(vendor: &Vendor) -> Vec<Case> {
    let good = sound(vendor);
    let with_keyset = sound(&Vendor::new(1, Form::Keysets));
    let (keyset, ..) = split(&with_keyset);
    let trust = "Refused(Trust(";
    vec![
        head("keyset in front", [keyset, &good].concat(), trust, "Trust(", true, true),
        head("nothing but a keyset", keyset.to_vec(), trust, "Trust(", true, true),
    ]
}

fn cases(vendor: &Vendor) -> Vec<Case> {
    let (form, publisher) = (vendor.form, &vendor.publisher);
    let stranger = Vendor::new(2, form);
    let good = sound(vendor);
    let (keyset, manifest, body) = split(&good);
    let with =
        |change: &dyn Fn(&mut stillboot::format::Manifest)| with_manifest(publisher, &good, change);
    let by = |role, signer: &dyn Signer| signed_as(publisher, &good, &payload(&good), role, signer);
    let zeroed = {
        let mut bytes = good.clone();
        bytes[keyset.len() + 48 + 33..keyset.len() + 48 + 33 + 64].fill(0);
        bytes
    };
    let uncounted = {
        let mut bytes = good.clone();
        bytes[keyset.len() + 6] = 0;
        bytes
    };
    let for_product = {
        let signers: [(_, &dyn Signer); 1] = [(KeyRole::Release, &publisher.release)];
        let payload = payload(&good);
        let envelope = sign_envelope(PayloadType::Manifest, &[9; 16], &payload, &signers).unwrap();
        [keyset, &envelope, body].concat()
    };
    let big = {
        let bytes = content(1, 200 << 10);
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        let mut manifest = publisher.manifest(9);
        manifest.level = RUNNING.1;
        vendor.fit(publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap())
    };
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let cut = |len: usize| good[..len].to_vec();
    let start = keyset.len() + manifest.len();
    let trust = "Refused(Trust(";
    // Whose signature is not that of a stranger, and what an edge release is: by form.
    let (stranger_says, stranger_boot, edge_says, edge_boot) = match form {
        Form::Keysets => (
            "Refused(Trust(KeysetSignature(",
            "Trust(KeysetSignature(",
            "Refused(Trust(EdgeOnly",
            "Trust(EdgeOnly",
        ),
        Form::SingleKey => (
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
        ),
    };
    let mut cases = match form {
        Form::Keysets => keyset_cases(vendor),
        Form::SingleKey => single_key_cases(vendor),
    };
    cases.extend([
        // Who signed.
        head("manifest without signature", uncounted, trust, "Trust(Manifest(", true, true),
        head("signature of zeros", zeroed, trust, "Trust(ManifestSignature(", true, true),
        head("by a stranger", sound(&stranger), stranger_says, stranger_boot, true, true),
        head(
            "manifest by the recovery key",
            by(KeyRole::Recovery, &publisher.recovery),
            "Refused(Trust(ManifestSignature(",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "manifest by the recovery key as release",
            by(KeyRole::Release, &publisher.recovery),
            "Refused(Trust(ManifestSignature(Missing",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "manifest by the release key as channel",
            by(KeyRole::Channel, &publisher.release),
            "Refused(Trust(ManifestSignature(Wrong",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "stable by the edge key",
            by(KeyRole::EdgeRelease, &publisher.edge),
            edge_says,
            edge_boot,
            true,
            true,
        ),
        head(
            "signed for another product",
            for_product,
            "Refused(Trust(ManifestSignature(Wrong",
            "Trust(ManifestSignature(",
            true,
            true,
        ),
        head(
            "names another product",
            with(&|m| m.product = [9; 16]),
            "Refused(Trust(WrongProduct",
            "Trust(WrongProduct",
            true,
            true,
        ),
        // For which device.
        head(
            "other class",
            with(&|m| m.class[15] ^= 1),
            "Refused(Class(Class",
            "Class(Class",
            false,
            true,
        ),
        head(
            "revision too new",
            with(&|m| (m.revision_min, m.revision_max) = (2, 9)),
            "Refused(Class(Revision",
            "Class(Revision",
            false,
            true,
        ),
        head(
            "revision too old",
            with(&|m| (m.revision_min, m.revision_max) = (0, 0)),
            "Refused(Class(Revision",
            "Class(Revision",
            false,
            true,
        ),
        head(
            "other architecture",
            with(&|m| m.architecture = Architecture::Aarch64),
            "Refused(Class(Architecture",
            "Class(Architecture",
            false,
            true,
        ),
        // How new.
        head("older", bundle(vendor, 4, 5), "Refused(NotNewer", "", false, false),
        head(
            "as new, but another",
            with(&|m| m.sequence = 5),
            "Refused(NotNewer",
            "",
            false,
            false,
        ),
        head(
            "below the floor",
            with(&|m| m.level = 4),
            "Refused(BelowFloor",
            "BelowStoreFloor",
            false,
            false,
        ),
        head(
            "far above the floor",
            with(&|m| m.level = 5 + (1 << 16) + 1),
            "Refused(FloorJump",
            "",
            false,
            true,
        ),
        head(
            "last sequence of all",
            with(&|m| m.sequence = u64::MAX),
            "Refused(Trust(Manifest(Bounds(Sequence",
            "Trust(Manifest(",
            true,
            true,
        ),
        // Where to.
        head(
            "for another slot alone",
            with(&|m| m.components.iter_mut().for_each(|c| c.linked = 3)),
            "Refused(Layout(NothingForSlot",
            "Layout(NothingForSlot",
            false,
            true,
        ),
        head("too big", big, "Refused(Layout(TooSmall", "Layout(TooSmall", false, true),
        head(
            "chunks beyond the buffer",
            with(&|m| m.chunk_size = 1 << 20),
            "Refused(Layout(Buffer",
            "",
            true,
            true,
        ),
        // Which data.
        head(
            "cannot read the data",
            with(&|m| m.epochs = Epochs { reads_min: 1, reads_max: 2, writes: 1 }),
            "Refused(CannotReadData",
            "",
            false,
            false,
        ),
        head(
            "no way back",
            with(&|m| m.epochs = Epochs { reads_min: 0, reads_max: 2, writes: 1 }),
            "Refused(FallbackCannotRead",
            "",
            false,
            false,
        ),
        // What the operator wants.
        head(
            "expired",
            with(&|m| m.not_after = NOW - 1),
            "Refused(Policy(Expired",
            "",
            false,
            true,
        ),
        head(
            "of another risk",
            with(&|m| m.channel.risk = Risk::Candidate),
            "Refused(Policy(Channel",
            "",
            false,
            true,
        ),
        head(
            "of another track",
            with(&|m| m.channel.track = "5.0".chars().collect()),
            "Refused(Policy(Channel",
            "",
            false,
            true,
        ),
        head(
            "a version between is missing",
            with(&|m| m.min_from = "5.0.1".chars().collect()),
            "Refused(Policy(TooOld",
            "",
            false,
            false,
        ),
        head("failed here", failed(vendor), "Refused(Policy(FailedBefore", "", false, false),
        head(
            "rolled out to nobody yet",
            with(&|m| m.rollout = 0),
            "Deferred(Policy(Rollout",
            "",
            false,
            true,
        ),
    ]);
    // What no release key may sign for.
    cases.push(head(
        "with a loader",
        with(&|m| m.components[1].role = Role::Loader),
        "Refused(Trust(LoaderRole",
        "Trust(LoaderRole",
        true,
        true,
    ));
    // What this build does not know.
    let unknown: [(_, Forgery<'_>); 9] = [
        ("unknown role", &|m| m.components[0].role = Role::Unknown(10)),
        ("unknown load class", &|m| m.components[0].load = Load::Unknown(3)),
        ("encrypted", &|m| m.components[0].encryption = Encryption::Aes256Ctr),
        ("unknown slot", &|m| m.components[0].linked = 5),
        ("unknown flag", &|m| m.flags = 1 << 2),
        ("unknown risk", &|m| m.channel.risk = Risk::Unknown(4)),
        ("unknown architecture", &|m| m.architecture = Architecture::Unknown(99)),
        ("unknown schema", &|m| m.schema = 2),
        ("the same role twice", &|m| m.components[1].role = m.components[0].role),
    ];
    for (name, change) in unknown {
        let bundle = with(change);
        cases.push(head(name, bundle, "Refused(Trust(Manifest(", "Trust(Manifest(", true, true));
    }
    // Where it ends.
    for (name, len) in
        [("empty", 0), ("cut in the first header", 47), ("cut in the manifest", start - 1)]
    {
        cases.push(head(name, cut(len), "Refused(Ended", "Trust(", true, true));
    }
    let mut in_body = |name, bundle, says, boot_says| {
        let stage = Stage::Body;
        let (in_file, on_new_device) = (true, true);
        cases.push(Case { name, bundle, stage, says, boot_says, in_file, on_new_device });
    };
    let crossed = {
        let other = bundle(vendor, 10, 5);
        let (_, _, other) = split(&other);
        [keyset, manifest, other].concat()
    };
    in_body("cut before the index", cut(start), "Refused(Ended", "Corrupt");
    in_body("cut in the index", cut(start + 33), "Refused(Ended", "Corrupt");
    in_body("cut after the index", cut(start + 96), "Refused(Ended", "Corrupt");
    in_body("cut in a chunk", cut(start + 96 + 5000), "Refused(Ended", "Corrupt");
    in_body("cut before the last byte", cut(good.len() - 1), "Refused(Ended", "Corrupt");
    in_body("one byte more", [&good[..], &[0]].concat(), "Refused(Trailing", "");
    in_body("one block more", [&good[..], &[0; 4096]].concat(), "Refused(Trailing", "");
    in_body("changed index", flipped(start + 40), "Refused(Content { component: 0 }", "");
    in_body("changed chunk", flipped(start + 100), "Refused(Content { component: 0 }", "Corrupt");
    in_body(
        "changed last byte",
        flipped(good.len() - 1),
        "Refused(Content { component: 1 }",
        "Corrupt",
    );
    in_body("parts of another release", crossed, "Refused(Content { component: 0 }", "Corrupt");
    in_body(
        "digests of zeros",
        with(&|m| m.components.iter_mut().for_each(|c| c.index_root = [0; 32])),
        "Refused(Content { component: 0 }",
        "Corrupt",
    );
    cases
}

fn raw_keyset(publisher: &Publisher) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let len = publisher.keyset().emit(&mut bytes).unwrap();
    bytes.truncate(len);
    bytes
}

/// A way to install.
struct Path {
    name: &'static str,
    offline: bool,
    /// Most bytes that a read of the stream gives.
    piece: usize,
    change: fn(&mut InstallConfig<'_>),
}

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
        change: |config| config.reuse = Reuse { target: true, running: true },
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

/// Where the policy refused it, `said` has the reason.
fn says(result: Result<(), InstallError>, said: Option<Verdict>, case: &Case, context: &str) {
    let text = match (result.expect_err(context), said) {
        (InstallError::Refused(Refusal::Policy), Some(Verdict::Refused(objection))) => {
            format!("Refused(Policy({objection:?}))")
        }
        (InstallError::Deferred(Wait::Policy), Some(Verdict::Deferred(deferral))) => {
            format!("Deferred(Policy({deferral:?}))")
        }
        (error, _) => format!("{error:?}"),
    };
    assert!(text.starts_with(case.says), "{context}: {text}, expected {}", case.says);
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
            let result = verify_bundle::<SoftSha256>(
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

/// What a power-on came to, and what it said of slot b.
fn reason(world: &mut RamWorld<'_>) -> (Option<Slot>, Vec<Reason>) {
    let power_on = world.power_on().unwrap();
    let lines = power_on.report.lines.iter();
    let of_b = lines.filter(|line| line.candidate.slot == Slot::B).map(|line| line.reason);
    (power_on.slot(), of_b.collect())
}

#[test]
fn every_power_on_refuses_every_bad_bundle_written_by_hand() {
    FORMS.into_iter().for_each(power_ons);
}

/// In how many ways a bundle is written by hand.
const WAYS: [&str; 3] = ["recorded as good", "without a record", "with nothing else"];

/// `start` with the bundle written into slot b, and all done that it may be started.
fn planted<'a>(start: &RamWorld<'a>, bundle: &[u8], way: &str) -> RamWorld<'a> {
    let mut world = start.clone();
    plant(&mut world, Slot::B, bundle);
    match way {
        // As far as it has a manifest, it is the one that the record names.
        "recorded as good" => {
            let named = find_digest(bundle).unwrap_or([0xdd; 32]);
            recommend(&mut world, Slot::B, named);
        }
        "without a record" => lose_record(&mut world),
        _ => {
            wipe(&mut world, Slot::A);
            forge_record(&mut world, |record| all_empty(&mut record.body));
        }
    }
    world
}

fn power_ons(form: Form) {
    let vendor = Vendor::new(1, form);
    let (start, proof) = device(&vendor);
    let mut refused = 0;
    for case in cases(&vendor).iter().filter(|case| !case.boot_says.is_empty()) {
        for way in WAYS {
            let context = format!("{form:?}, {}, {way}", case.name);
            let mut world = planted(&start, &case.bundle, way);
            let (started, reasons) = reason(&mut world);
            let left = (way != "with nothing else").then_some(Slot::A);
            assert_eq!(started, left, "{context}: {reasons:?}");
            // Without a record, what is found out by its head is not even looked at again.
            if way != "without a record" {
                let text = reasons.iter().map(|reason| format!("{reason:?}"));
                let found = text.clone().any(|text| text.starts_with(case.boot_says));
                assert!(found, "{context}: {reasons:?}, expected {}", case.boot_says);
            }
            if let Some(Slot::A) = left {
                assert_eq!(boot(&mut world).digest, proof.digest, "{context}");
            }
            refused += 1;
        }
    }
    println!("{refused} power-ons");
    // The sound one starts, so that it is not for want of anything else that the others do not.
    for way in WAYS {
        let mut world = planted(&start, &sound(&vendor), way);
        assert_eq!(boot(&mut world).slot, Slot::B, "{form:?}, {way}");
    }
}

fn all_empty(body: &mut Body) {
    body.slots = Default::default();
}

/// The suite stands on the manifest bytes being what the tools would sign.
#[test]
fn forged_bundles_differ_from_sound_ones_only_where_they_should() {
    for form in FORMS {
        let vendor = Vendor::new(1, form);
        let good = sound(&vendor);
        assert_eq!(with_manifest(&vendor.publisher, &good, |_| {}), good);
        let manifest = stillboot::format::Manifest::parse(&payload(&good)).unwrap();
        assert_eq!(raw(&manifest), payload(&good));
    }
}

/// The table as `tests/powerset/src/table.rs` reads it: each field behind its length.
#[test]
fn the_table_is_left_for_builds_with_fewer_features() {
    let mut table = Table(Vec::new());
    for form in FORMS {
        table.device(&Vendor::new(1, form));
    }
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("rejection-table");
    // Written under another name and renamed: a reader sees the whole old file meanwhile.
    let new = path.with_extension("new");
    std::fs::write(&new, table.0).unwrap();
    std::fs::rename(new, path).unwrap();
}

struct Table(Vec<u8>);

impl Table {
    fn bytes(&mut self, field: &[u8]) {
        self.0.extend((field.len() as u32).to_le_bytes());
        self.0.extend(field);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// One device, its sound bundle and all the others.
    fn device(&mut self, vendor: &Vendor) {
        let (start, proof) = device(vendor);
        let (device, ground) = (vendor.device(), start.ground.clone());
        match device.trust {
            Trust::Roots { keys, .. } => {
                self.text("roots");
                self.bytes(&keys[0].name);
            }
            Trust::Key(key) => {
                self.text("key");
                self.bytes(key);
            }
            other => panic!("not in the table: {other:?}"),
        }
        self.bytes(&device.product);
        self.bytes(&device.class);
        self.number(device.revision.into());
        assert_eq!(device.architecture, Architecture::X86_64);
        let slots = ground.slots();
        let of_slots = slots.iter().flat_map(|slot| [slot.head.unwrap(), slot.regions[0].region]);
        for region in ground.places().iter().copied().chain(of_slots) {
            self.number(region.offset);
            self.number(region.len);
        }
        let capacity = ground.geometries()[0].capacity_bytes as usize;
        let geometry = stillboot::device::Geometry::disk(512, capacity as u64);
        assert_eq!(ground.geometries(), [geometry]);
        self.bytes(&start.disks[0].bytes(0, capacity));
        let floor = start.store.as_ref().unwrap().floors[0].unwrap();
        self.number(floor.keyset_version.into());
        self.number(floor.level.into());
        self.text(&proof.emit());
        self.bytes(&sound(vendor));
        let cases = cases(vendor);
        self.number(cases.len() as u64);
        for case in &cases {
            self.text(case.name);
            self.bytes(&case.bundle);
            self.text(case.says);
            for fact in [case.stage == Stage::Head, case.in_file, case.on_new_device] {
                self.number(fact.into());
            }
            let ways = if case.boot_says.is_empty() { &[][..] } else { &WAYS };
            self.number(ways.len() as u64);
            for way in ways {
                let world = planted(&start, &case.bundle, way);
                self.text(way);
                // Without a record, what is found out by its head is not even looked at again.
                self.text(if *way == "without a record" { "" } else { case.boot_says });
                self.difference(&start, &world, capacity);
            }
        }
        self.number(WAYS.len() as u64);
        for way in WAYS {
            let world = planted(&start, &sound(vendor), way);
            self.text(way);
            self.difference(&start, &world, capacity);
        }
    }

    /// What a disk was written by hand in, block by block: the table stays small.
    fn difference(&mut self, before: &RamWorld<'_>, after: &RamWorld<'_>, capacity: usize) {
        const BLOCK: usize = 512;
        let (before, after) =
            (before.disks[0].bytes(0, capacity), after.disks[0].bytes(0, capacity));
        let blocks = before.chunks(BLOCK).zip(after.chunks(BLOCK)).enumerate();
        let changed: Vec<_> = blocks.filter(|(_, (before, after))| before != after).collect();
        self.number(changed.len() as u64);
        for (number, (_, after)) in changed {
            self.number((number * BLOCK) as u64);
            self.bytes(after);
        }
    }
}
