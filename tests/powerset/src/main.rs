//! Runs the rejection suite with the features of the core that this program was built with.
//!
//! Features add to the core and take no check away. `cargo xtask features` builds this program with
//! every set of them; it depends on nothing else that could switch one on. The bundles are those of
//! `tests/attacks/rejection`, which leaves them as a file; its name is the argument.

mod device;
mod table;

use std::process::ExitCode;

use device::{Disk, Host, Places, Store};
use stillboot::boot::{Boot, BootConfig, Event, Report};
use stillboot::check;
use stillboot::device::BlockDevice;
use stillboot::driver::{self, Stream};
use stillboot::format::{Architecture, BootProof, Floor, Slot, SlotKind};
use stillboot::install::{Install, InstallConfig, InstallError, Refusal, Running, Wait};
use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
use stillboot::verify::{Device, SoftSha256, Trust};
use stillboot_policy::Verdict;
use table::Fields;

/// Longest chunk that the device takes: that of the suite's other devices.
const CHUNK_BYTES_MAX: u32 = 16 << 10;

const TRIES: u8 = 3;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!(
            "error: expected the file that `tests/attacks/rejection` leaves; see `cargo xtask features`"
        );
        return ExitCode::FAILURE;
    };
    let table = match std::fs::read(&path) {
        Ok(table) => table,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let mut fields = Fields::new(&table);
    let mut refusals = 0;
    while !fields.is_empty() {
        refusals += device(&mut fields);
    }
    // A table without bundles must not pass for one whose bundles are all refused.
    assert!(refusals > 250, "only {refusals} refusals");
    println!("{refusals} refusals");
    ExitCode::SUCCESS
}

/// A device that runs a release, and what is known of it.
struct RunningDevice<'a> {
    device: Device<'a>,
    layout: Layout<'a>,
    disk: Disk,
    store: Store,
    proof: BootProof,
}

/// Bytes written by hand over a disk.
type Difference<'a> = Vec<(usize, &'a [u8])>;

/// Takes one device and its bundles from the table and goes through them all; gives the number of
/// refusals. Roots mean nothing to a build without keysets: such a device is skipped there, and the
/// other one in the table trusts a key.
fn device(fields: &mut Fields<'_>) -> usize {
    let kind = fields.text();
    let key = fields.array::<32>();
    #[cfg(feature = "keysets")]
    let root = [stillboot::verify::RootKey::ed25519(key)];
    let trust = match kind {
        "key" => Some(Trust::Key(&key)),
        #[cfg(feature = "keysets")]
        "roots" => Some(Trust::Roots { keys: &root, rule: stillboot::format::Rule::ed25519(1) }),
        _ => None,
    };
    let (product, class) = (fields.array(), fields.array());
    let revision = fields.number() as u16;
    let regions: [Region; 7] = core::array::from_fn(|_| Region {
        device: 0,
        offset: fields.number(),
        len: fields.number(),
    });
    let disk = Disk(fields.bytes().to_vec());
    let floor = Floor { keyset_version: fields.number() as u32, level: fields.number() as u32 };
    let proof = BootProof::parse(fields.text()).expect("a proof");

    let [place_0, place_1, place_2, head_a, a, head_b, b] = regions;
    let places = [place_0, place_1, place_2];
    let (a, b) = ([SlotRegion { region: a, roles: &[] }], [SlotRegion { region: b, roles: &[] }]);
    let slot = |slot, head, regions| SlotLayout::new(slot, regions).with_head(head);
    let slots = [slot(Slot::A, head_a, &a[..]), slot(Slot::B, head_b, &b[..])];
    let geometries = [disk.geometry()];
    let layout = Layout::new(&geometries, Area::Blocks(&places), &slots).expect("a layout");
    let running = trust.map(|trust| RunningDevice {
        device: Device::new(trust, product, class)
            .with_revision(revision)
            .with_architecture(Architecture::X86_64),
        layout,
        disk,
        store: Store(Some(floor)),
        proof,
    });

    let sound = fields.bytes();
    let mut refusals = 0;
    for _ in 0..fields.number() {
        let case = Case::take(fields);
        if let Some(running) = &running {
            refusals += running.refuses(&case, sound);
        }
    }
    for _ in 0..fields.number() {
        let (way, difference) = (fields.text(), take_difference(fields));
        if let Some(running) = &running {
            // It is not for want of anything else that the others are not started.
            let (started, report) = running.power_on(&difference);
            assert_eq!(started, Some(Slot::B), "the sound bundle, {way}: {report:?}");
        }
    }
    refusals
}

fn take_difference<'a>(fields: &mut Fields<'a>) -> Difference<'a> {
    (0..fields.number()).map(|_| (fields.number() as usize, fields.bytes())).collect()
}

/// A bundle that must be refused.
struct Case<'a> {
    name: &'a str,
    bundle: &'a [u8],
    /// How what an installation says begins.
    says: &'a str,
    /// It is found out before anything is written.
    by_head: bool,
    /// A check of the file finds it.
    in_file: bool,
    /// A device without a history refuses it too.
    on_new_device: bool,
    /// How it was written into slot b by hand, and how what a power-on says begins.
    ways: Vec<(&'a str, &'a str, Difference<'a>)>,
}

impl<'a> Case<'a> {
    fn take(fields: &mut Fields<'a>) -> Self {
        Self {
            name: fields.text(),
            bundle: fields.bytes(),
            says: fields.text(),
            by_head: fields.number() == 1,
            in_file: fields.number() == 1,
            on_new_device: fields.number() == 1,
            ways: (0..fields.number())
                .map(|_| (fields.text(), fields.text(), take_difference(fields)))
                .collect(),
        }
    }

    fn says(&self, result: Result<(), String>, context: &str) {
        let text = result.expect_err(self.name);
        assert!(
            text.starts_with(self.says),
            "{}, {context}: expected {}, found {text}",
            self.name,
            self.says
        );
    }
}

/// The error, with the reason of the policy where that is what refused it.
fn text(error: InstallError, said: Option<Verdict>) -> String {
    match (error, said) {
        (InstallError::Refused(Refusal::Policy), Some(Verdict::Refused(objection))) => {
            format!("Refused(Policy({objection:?}))")
        }
        (InstallError::Deferred(Wait::Policy), Some(Verdict::Deferred(deferral))) => {
            format!("Deferred(Policy({deferral:?}))")
        }
        (error, _) => format!("{error:?}"),
    }
}

impl RunningDevice<'_> {
    /// Every way in; gives their number.
    fn refuses(&self, case: &Case<'_>, sound: &[u8]) -> usize {
        let name = case.name;
        let mut count = 1;
        let (result, disk) = self.install(self.disk.clone(), case.bundle, true);
        case.says(result, "installed");
        if case.by_head {
            assert!(disk.0 == self.disk.0, "{name}: the device was touched");
        }
        let (result, _) = self.install(disk, sound, true);
        assert_eq!(result, Ok(()), "{name}: the sound bundle afterwards");

        if case.on_new_device {
            let blank = Disk(vec![0; self.disk.0.len()]);
            let (result, _) = self.install(blank, case.bundle, false);
            case.says(result, "on a new device");
            count += 1;
        }
        let file = self.file(case.bundle);
        if !case.in_file {
            assert_eq!(file, Ok(()), "{name}: its bytes are sound");
        } else if case.says.starts_with("Refused(Layout") {
            let is_refused = file.as_ref().is_err_and(|text| text.starts_with("Refused("));
            assert!(is_refused, "{name}: {file:?}");
            count += 1;
        } else {
            case.says(file, "in a file");
            count += 1;
        }
        for (way, says, difference) in &case.ways {
            let (started, report) = self.power_on(difference);
            let left = (*way != "with nothing else").then_some(Slot::A);
            assert_eq!(started, left, "{name}, {way}: {report:?}");
            let mut reasons = report.lines.iter().filter(|line| line.candidate.slot == Slot::B);
            let found = says.is_empty()
                || reasons.any(|line| format!("{:?}", line.reason).starts_with(says));
            assert!(found, "{name}, {way}: expected {says}, found {report:?}");
            count += 1;
        }
        count
    }

    /// Installs, as what runs or, with nothing running, on a device without a history.
    fn install(&self, mut disk: Disk, mut bundle: &[u8], runs: bool) -> (Result<(), String>, Disk) {
        let running = if runs { Running::Proof(self.proof) } else { Running::Offline };
        let config = InstallConfig::new(self.device, self.layout, running)
            .with_tries(TRIES)
            .with_store(true);
        let mut machine = Install::<SoftSha256>::new(&config);
        let len = Install::<SoftSha256>::buffer_len_min(&self.layout, CHUNK_BYTES_MAX);
        let mut store = if runs { self.store } else { Store(None) };
        let mut host = Host::default();
        let result = driver::install(
            &mut machine,
            &mut [&mut disk],
            &mut store,
            &mut Stream(&mut bundle),
            &mut host,
            &mut vec![0; len],
        );
        (result.map(|_| ()).map_err(|error| text(error, host.0)), disk)
    }

    fn file(&self, mut bundle: &[u8]) -> Result<(), String> {
        check::bundle::<SoftSha256>(
            &self.device,
            SlotKind::Update,
            &mut Stream(&mut bundle),
            true,
            &mut |_| {},
            &mut [0; 8192],
        )
        .map(|_| ())
        .map_err(|error| text(error, None))
    }

    /// Switches on what was written by hand.
    fn power_on(&self, difference: &Difference<'_>) -> (Option<Slot>, Report) {
        let mut disk = self.disk.clone();
        for (at, bytes) in difference {
            disk.0[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let config = BootConfig::new(self.device, self.layout, 1)
            .with_tries(TRIES)
            .with_store(true)
            .with_check_late(true);
        let mut machine = Boot::<SoftSha256>::new(&config);
        let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&self.layout)];
        let proof = driver::boot(
            &mut machine,
            Event::Start,
            &mut [&mut disk],
            &mut { self.store },
            &mut Places::default(),
            &mut buffer,
        );
        (proof.map(|proof| proof.slot), machine.report().clone())
    }
}
