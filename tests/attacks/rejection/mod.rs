//! One table of bundles that must be refused, through every way into the library.
//!
//! In other projects a check existed, and a second entry point did not call it. So each row goes
//! through all entry points: verification of a file, installation fresh, forced into a slot,
//! offline, resumed, with reuse, as a repair, byte by byte, on a new device; and, written into a
//! slot by hand, through a power-on with the record, without one, and with nothing else to start.
//!
//! All of it twice: for devices with roots and keysets, and for those that trust one key. The table
//! is also left as a file, for `tests/powerset`, which runs it in builds with fewer features.

mod cases;
mod installations;
mod power_ons;
mod table;

use stillboot::format::record::Body;
use stillboot::format::{BootProof, Load, Role, Slot, SlotKind};
use stillboot::install::{InstallConfig, InstallError, Refusal, Wait};
use stillboot::request::Request;
use stillboot::verify::{Device, Trust};
use stillboot_policy::Verdict;
use stillboot_release::keys::Signer;
use stillboot_sim::release::content;
use stillboot_sim::world::SimStore;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{find_digest, forge_record, lose_record, plant, recommend, split};
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
            Form::SingleKey => {
                let mut changed = device;
                changed.trust = Trust::Key(&self.key);
                changed
            }
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
    world.perform(Request::MarkBad(Slot::B)).unwrap();
    let proof = boot(&mut world);
    assert_eq!(proof.slot, Slot::A);
    (world, proof)
}

/// A way to install.
struct Path {
    name: &'static str,
    offline: bool,
    /// Most bytes that a read of the stream gives.
    piece: usize,
    change: fn(&mut InstallConfig<'_>),
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

fn all_empty(body: &mut Body) {
    body.slots = Default::default();
}
