//! What happens to a device in its life, as data: the stories that the exploration cuts into.

use std::sync::Arc;

use stillboot::check;
use stillboot::format::{
    Digest, Envelope, Floor, Key, KeyKind, KeyRole, Load, Role, Rule, Slot, SlotKind,
};
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256, verify_head};
use stillboot_release::bundle::BundleError;
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_release::keys::id_of;

use crate::release::{Piece, Publisher, content};
use crate::transport;
use crate::world::Bytes;

/// Number of a release in a [`Catalogue`].
pub type Name = usize;

/// The first version.
pub const V1: Name = 0;
/// The second, of the same level.
pub const V2: Name = 1;
/// The third, of a higher level.
pub const V3: Name = 2;
/// Signed by a key of the next keyset.
pub const NEW_KEYS: Name = 3;
/// What comes after all that a story did.
pub const NEXT: Name = 4;
/// What comes after that.
pub const LATER: Name = 5;
/// The recovery system.
pub const RECOVERY: Name = 6;
/// Genuine, for another class of devices.
pub const OTHER_CLASS: Name = 7;
/// Genuine, newer by its sequence, and below any floor that a story reaches.
pub const LOW: Name = 8;
/// With one bit of its last chunk turned.
pub const TAMPERED: Name = 9;
/// Run from where it stands, and not from memory.
pub const IN_PLACE: Name = 10;
/// Signed with Ed25519 alone, under a keyset that asks for ML-DSA beside it.
pub const WEAKER: Name = 11;
/// As a framed file.
pub const FRAMED: Name = 12;
/// As a patch from [`V1`].
pub const PATCHED: Name = 13;
/// As a patch from [`V1`] that gives other bytes than those that were signed.
pub const LYING: Name = 14;
/// Resembles [`V1`]; its source says that the target holds what both have, whatever that holds.
pub const STATED: Name = 15;

/// A release and what its publisher knows of it.
#[derive(Clone, Debug)]
pub struct Release {
    /// For messages.
    pub name: &'static str,
    /// What is installed.
    pub bundle: Arc<[u8]>,
    /// What an installation reads: the bundle, or a framed file or a patch of it.
    pub sent: Arc<[u8]>,
    /// Chunks that stand in what is sent and were not signed: never may they be written.
    pub lies: Vec<Vec<u8>>,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// For which slots.
    pub kind: SlotKind,
    /// What it reaches.
    pub floor: Floor,
    /// What runs: role and bytes of every component.
    pub contents: Vec<(Role, Vec<u8>)>,
    /// Nothing of it is loaded to memory: it is checked where it stands, and runs from there.
    pub is_in_place: bool,
    /// It may run on the devices of the stories.
    pub is_genuine: bool,
    /// Length of the bundle's head.
    head_len: usize,
}

impl Release {
    /// Keyset and manifest envelope of its bundle.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.bundle[..self.head_len]
    }
}

/// All releases, and the keys that devices trust.
#[derive(Debug)]
pub struct Catalogue {
    /// After the new keyset was issued.
    pub publisher: Publisher,
    /// By [`Name`].
    pub releases: Vec<Release>,
}

impl Catalogue {
    /// Builds and signs everything.
    ///
    /// # Errors
    /// [`BundleError`], which would be an error of this module.
    pub fn new() -> Result<Self, BundleError> {
        let mut publisher = Publisher::new(4);
        let mut releases = Vec::new();
        let update = SlotKind::Update;
        releases.push(release(&publisher, "v1", 1, 1, update, Kind::Plain)?);
        releases.push(release(&publisher, "v2", 2, 1, update, Kind::Plain)?);
        releases.push(release(&publisher, "v3", 3, 2, update, Kind::Plain)?);
        let recovery = release(&publisher, "recovery", 1000, 1, SlotKind::Recovery, Kind::Plain)?;
        let foreign = release(&publisher, "other-class", 40, 9, update, Kind::OtherClass)?;
        let in_place = release(&publisher, "in-place", 6, 1, update, Kind::InPlace)?;
        let low = release(&publisher, "low", 50, 0, update, Kind::Plain)?;
        let stated = stated(&publisher, &releases[V1])?;
        let transported = transported(&publisher, &releases[V1])?;
        publisher.rotate_release([9; 32]);
        releases.push(release(&publisher, "new-keys", 4, 1, update, Kind::Plain)?);
        releases.push(release(&publisher, "next", 100, 3, update, Kind::Plain)?);
        releases.push(release(&publisher, "later", 101, 3, update, Kind::Plain)?);
        let mut tampered = release(&publisher, "tampered", 60, 3, update, Kind::Plain)?;
        let mut bytes = tampered.bundle.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        tampered.lies.push(bytes[bytes.len() - tampered.contents[1].1.len()..].to_vec());
        tampered.bundle = bytes.into();
        tampered.sent = tampered.bundle.clone();
        tampered.is_genuine = false;
        let weaker = weaker(&publisher)?;
        releases.extend([recovery, foreign, low, tampered, in_place, weaker]);
        releases.extend(transported);
        releases.push(stated);
        Ok(Self { publisher, releases })
    }
}

/// A framed file, a patch and a lying patch from `old`.
fn transported(publisher: &Publisher, old: &Release) -> Result<[Release; 3], BundleError> {
    let next = |seed| {
        let parts = old.contents.iter();
        parts.map(|(role, bytes)| (*role, transport::changed(bytes, seed))).collect()
    };
    // Another text for each: the judge looks for the bytes of a component to see where it stands.
    let texts = old.contents.iter().zip(70..);
    let texts = texts.map(|((role, bytes), seed)| (*role, transport::text(seed, bytes.len())));
    let update = SlotKind::Update;
    let mut framed = release_of(publisher, "framed", 7, 1, update, Kind::Plain, texts.collect())?;
    framed.sent = transport::framed(&framed.bundle, Compression::Lzma).into();
    let mut patched = release_of(publisher, "patched", 8, 1, update, Kind::Plain, next(8))?;
    let whole = Full::Whole(Compression::Lz4);
    patched.sent = transport::patch(&old.bundle, &patched.bundle, whole).into();
    let mut lying = release_of(publisher, "lying-patch", 9, 1, update, Kind::Plain, next(9))?;
    // Made for other old bytes than those of the manifest that it names.
    let mut other = old.bundle.to_vec();
    for byte in other.iter_mut().rev().step_by(64).take(64) {
        *byte ^= 0x11;
    }
    lying.sent = transport::patch(&other, &lying.bundle, whole).into();
    let old_parts = transport::components(&old.bundle);
    let (given, fault) =
        transport::expanded(&lying.sent, &mut &old_parts[..]).expect("a file in frames");
    assert_eq!((given.len(), fault), (lying.bundle.len(), None), "it lies, and is not damaged");
    let chunks = lying.contents.iter().flat_map(|(_, bytes)| bytes.chunks(4096));
    let mut at = given.len() - transport::components(&lying.bundle).len() - 32;
    lying.lies = Vec::new();
    for chunk in chunks {
        // The index of the second component stands between the two.
        while !lying.bundle[at..].starts_with(chunk) {
            at += 1;
        }
        let found = &given[at..][..chunk.len()];
        lying.lies.extend((found != chunk).then(|| found.to_vec()));
    }
    assert!(!lying.lies.is_empty(), "it lies");
    lying.is_genuine = false;
    Ok([framed, patched, lying])
}

/// A release with the first chunk of `old`.
fn stated(publisher: &Publisher, old: &Release) -> Result<Release, BundleError> {
    let mut contents = old.contents.clone();
    for (_, bytes) in &mut contents {
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
    }
    release_of(publisher, "stated", 10, 1, SlotKind::Update, Kind::Plain, contents)
}

/// An attacker who breaks Ed25519 can make this: the second kind of the rule is missing.
fn weaker(publisher: &Publisher) -> Result<Release, BundleError> {
    let mut keyset = publisher.keyset();
    let both = Rule::ed25519(1).and(KeyKind::MlDsa65, 1);
    keyset.rules[usize::from(KeyRole::Release.code()) - 1] = both;
    let second = Key { kind: KeyKind::MlDsa65, name: [65; 32], roles: KeyRole::Release.bit() };
    // There is room for it.
    let _ = keyset.keys.push(second);
    let keyset = publisher.signed_keyset(&keyset)?;
    let contents = vec![(Role::Kernel, content(70, 4700)), (Role::Initramfs, content(71, 1300))];
    let pieces: Vec<_> = contents
        .iter()
        .map(|(role, bytes)| Piece { role: *role, load: Load::Ram, linked: None, bytes })
        .collect();
    let mut manifest = publisher.manifest(70);
    manifest.level = 3;
    let bundle: Arc<[u8]> =
        publisher.bundle_under(&keyset, manifest, SlotKind::Update, &pieces)?.into();
    let (_, rest) = Envelope::parse(&bundle).expect("the keyset comes first");
    let (envelope, rest) = Envelope::parse(rest).expect("then the manifest");
    Ok(Release {
        name: "weaker",
        digest: envelope.header().digest,
        kind: SlotKind::Update,
        floor: Floor { keyset_version: publisher.keyset_version, level: 3 },
        contents,
        is_in_place: false,
        is_genuine: false,
        head_len: bundle.len() - rest.len(),
        sent: bundle.clone(),
        lies: Vec::new(),
        bundle,
    })
}

/// What is special about a release.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    OtherClass,
    InPlace,
}

fn release(
    publisher: &Publisher,
    name: &'static str,
    sequence: u64,
    level: u32,
    slot_kind: SlotKind,
    kind: Kind,
) -> Result<Release, BundleError> {
    let contents = vec![
        (Role::Kernel, content(sequence, 4700)),
        (Role::Initramfs, content(sequence + 1_000_000, 1300)),
    ];
    release_of(publisher, name, sequence, level, slot_kind, kind, contents)
}

fn release_of(
    publisher: &Publisher,
    name: &'static str,
    sequence: u64,
    level: u32,
    slot_kind: SlotKind,
    kind: Kind,
    contents: Vec<(Role, Vec<u8>)>,
) -> Result<Release, BundleError> {
    let load = |role: Role| match (kind, role) {
        (Kind::InPlace, Role::Kernel) => Load::Xip,
        (Kind::InPlace, _) => Load::Late,
        (Kind::Plain | Kind::OtherClass, _) => Load::Ram,
    };
    let pieces: Vec<_> = contents
        .iter()
        .map(|(role, bytes)| Piece { role: *role, load: load(*role), linked: None, bytes })
        .collect();
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    if kind == Kind::OtherClass {
        manifest.class = id_of("another class");
    }
    let class_of = manifest.class;
    let bundle: Arc<[u8]> = publisher.bundle(manifest, slot_kind, &pieces)?.into();
    let mut device = publisher.device();
    device.class = class_of;
    let mut buffer = vec![0; HEAD_LEN_MAX];
    let mut source = Bytes::new(&bundle, usize::MAX);
    let verified = check::bundle::<SoftSha256>(
        &device,
        slot_kind,
        &mut source,
        false,
        &mut |_| {},
        &mut buffer,
    )
    .expect("what was just signed verifies");
    let (_, head_len) = verify_head::<SoftSha256>(&device, slot_kind, &bundle)
        .expect("what was just signed verifies");
    Ok(Release {
        name,
        sent: bundle.clone(),
        lies: Vec::new(),
        bundle,
        digest: *verified.digest(),
        kind: slot_kind,
        floor: verified.floor(),
        contents,
        is_in_place: kind == Kind::InPlace,
        is_genuine: kind != Kind::OtherClass,
        head_len,
    })
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The power comes on.
    PowerOnOutcome,
    /// A watchdog resets the machine.
    Watchdog,
    /// The running system, or a tool that prepares the disk, installs a release.
    Install {
        /// Which.
        release: Name,
        /// Where, if that is not left to the library.
        target: Option<Slot>,
        /// To mend the other slot with what runs.
        repair: bool,
    },
    /// As [`Step::Install`], and the power fails before a change of the disk.
    Interrupted {
        /// Which release.
        release: Name,
        /// To mend the other slot with what runs.
        repair: bool,
        /// Before which change, from 0.
        change: usize,
    },
    /// The power comes on, and the image in this slot returns to the loader instead of running.
    Returns(Slot),
    /// The power comes on, and the machine cannot start the image in this slot.
    NotStarted(Slot),
    /// The running system is healthy.
    Confirm,
    /// The running system goes back.
    Rollback,
    /// What is in the slot is bad.
    MarkBad(Slot),
    /// A slot is held, or given free.
    Hold(Slot, bool),
    /// A tool notes the number of an index that it saw.
    Note(u64),
    /// The slot is read in full and must be whole.
    Scrub(Slot),
    /// All copies of the record are destroyed.
    LoseRecord,
    /// The record gets the highest sequence there is.
    ForgeSequence,
    /// The content of a slot is destroyed.
    Wreck(Slot),
    /// Some of the kernel in a slot is destroyed.
    Spoil(Slot),
    /// An attacker copies a whole image of a release into a slot, past the record.
    Plant(Slot, Name),
}

/// One story.
#[derive(Clone, Debug)]
pub struct Story {
    /// As in `stillboot simulate --story`.
    pub name: &'static str,
    /// The slots of the device.
    pub slots: &'static [Slot],
    /// Whether it has a store of the floor.
    pub has_store: bool,
    /// What happened before, undisturbed.
    pub before: Vec<Step>,
    /// What is cut into.
    pub steps: Vec<Step>,
}

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

const fn install(release: Name) -> Step {
    Step::Install { release, target: None, repair: false }
}

/// All stories.
#[must_use]
// Long because it is a table: a story in each entry.
pub fn stories() -> Vec<Story> {
    use Step::{
        Confirm, ForgeSequence, Hold, Interrupted, LoseRecord, MarkBad, NotStarted, Note, Plant,
        PowerOnOutcome, Returns, Rollback, Scrub, Spoil, Watchdog, Wreck,
    };
    let recovery = Step::Install { release: RECOVERY, target: Some(Slot::Recovery), repair: false };
    let repair = Step::Install { release: V1, target: Some(Slot::B), repair: true };
    let made = vec![install(V1), PowerOnOutcome, Confirm, PowerOnOutcome];
    let both = [&made[..], &[install(V2), PowerOnOutcome, Confirm, PowerOnOutcome]].concat();
    let with = |steps: &[Step]| [&made[..], steps].concat();
    let story = |name, before: &[Step], steps: &[Step]| Story {
        name,
        slots: AB,
        has_store: false,
        before: before.to_vec(),
        steps: steps.to_vec(),
    };
    vec![
        story("factory", &[], &made),
        Story {
            slots: ABR,
            ..story(
                "factory-recovery",
                &[],
                &[recovery, install(V1), PowerOnOutcome, Confirm, PowerOnOutcome],
            )
        },
        story("install", &made, &[install(V2), PowerOnOutcome]),
        story(
            "resume",
            &with(&[Interrupted { release: V2, repair: false, change: 14 }, PowerOnOutcome]),
            &[install(V2), PowerOnOutcome],
        ),
        story("update", &made, &[install(V3), PowerOnOutcome, Confirm, PowerOnOutcome]),
        Story {
            has_store: true,
            ..story("update-store", &made, &[install(V3), PowerOnOutcome, Confirm])
        },
        story(
            "exhausted",
            &with(&[install(V2)]),
            &[PowerOnOutcome, PowerOnOutcome, PowerOnOutcome, PowerOnOutcome],
        ),
        story("rollback-trial", &with(&[install(V2), PowerOnOutcome]), &[Rollback, PowerOnOutcome]),
        story("rollback-good", &both, &[Rollback, PowerOnOutcome, Hold(Slot::B, false)]),
        story(
            "mark-bad",
            &with(&[install(V2), PowerOnOutcome]),
            &[MarkBad(Slot::B), PowerOnOutcome],
        ),
        story(
            "second-install",
            &with(&[install(V2), PowerOnOutcome, MarkBad(Slot::B), PowerOnOutcome]),
            &[install(V3), PowerOnOutcome, Confirm, PowerOnOutcome],
        ),
        story("replace-waiting", &with(&[install(V2)]), &[install(V3), PowerOnOutcome, Confirm]),
        Story {
            has_store: true,
            ..story(
                "new-keyset",
                &made,
                &[
                    install(NEW_KEYS),
                    PowerOnOutcome,
                    Confirm,
                    PowerOnOutcome,
                    install(NEXT),
                    PowerOnOutcome,
                    Confirm,
                ],
            )
        },
        story("lost-record", &both, &[LoseRecord, PowerOnOutcome, PowerOnOutcome]),
        // The record is written until a log is full and moves, all of it; then only heads and marks
        // are left.
        story(
            "compaction",
            &both,
            &[(1..=12).map(Note).collect(), vec![LoseRecord, PowerOnOutcome]].concat(),
        ),
        // The next write has to renumber, and the one after the trial must count as before.
        story(
            "highest-sequence",
            &with(&[install(V2), ForgeSequence]),
            &[PowerOnOutcome, PowerOnOutcome, PowerOnOutcome, PowerOnOutcome],
        ),
        // Both slots hold the same, the better one is under repair, and then the record is lost.
        story(
            "lost-in-repair",
            &[
                &both[..],
                &[repair_of(V2), PowerOnOutcome, Confirm, PowerOnOutcome, Rollback, PowerOnOutcome],
                &[Hold(Slot::A, false), Spoil(Slot::A)],
                &[Interrupted { release: V2, repair: true, change: 9 }],
            ]
            .concat(),
            &[LoseRecord, PowerOnOutcome, PowerOnOutcome],
        ),
        story(
            "lost-in-trial",
            &with(&[install(V2), PowerOnOutcome]),
            &[LoseRecord, PowerOnOutcome, PowerOnOutcome],
        ),
        Story {
            slots: ABR,
            ..story(
                "recovery",
                &[&[recovery], &made[..]].concat(),
                &[
                    Wreck(Slot::A),
                    PowerOnOutcome,
                    install(V2),
                    PowerOnOutcome,
                    Confirm,
                    PowerOnOutcome,
                ],
            )
        },
        story(
            "last-resort",
            &with(&[install(V2), PowerOnOutcome, MarkBad(Slot::B)]),
            &[Wreck(Slot::A), PowerOnOutcome, PowerOnOutcome],
        ),
        story("watchdog", &both, &[Watchdog, PowerOnOutcome]),
        story("watchdogs", &both, &[Watchdog, Watchdog, Watchdog, Watchdog, PowerOnOutcome]),
        story("in-place", &made, &[install(IN_PLACE), PowerOnOutcome, Confirm, PowerOnOutcome]),
        story("returns", &with(&[install(V2)]), &[Returns(Slot::B), PowerOnOutcome]),
        story("returns-good", &both, &[Returns(Slot::B), PowerOnOutcome]),
        story(
            "not-started",
            &with(&[install(V2)]),
            &[NotStarted(Slot::B), PowerOnOutcome, PowerOnOutcome],
        ),
        story("not-started-good", &both, &[NotStarted(Slot::B), PowerOnOutcome]),
        story("swapped", &both, &[Plant(Slot::B, V3), PowerOnOutcome, PowerOnOutcome]),
        story(
            "swapped-trial",
            &with(&[install(V2)]),
            &[Plant(Slot::B, V3), PowerOnOutcome, PowerOnOutcome],
        ),
        story("framed", &made, &[install(FRAMED), PowerOnOutcome, Confirm, PowerOnOutcome]),
        story("patched", &made, &[install(PATCHED), PowerOnOutcome, Confirm, PowerOnOutcome]),
        story("lying-patch", &made, &[install(LYING), PowerOnOutcome, Scrub(Slot::A)]),
        // The target holds what its source says.
        story("stated", &both, &[install(STATED), PowerOnOutcome, Confirm, PowerOnOutcome]),
        // It does not: the read-back finds out, and the next installation looks.
        story(
            "stated-wrong",
            &made,
            &[install(STATED), install(STATED), PowerOnOutcome, Confirm, PowerOnOutcome],
        ),
        // What the patch starts from is damaged: the update is refused, and what can still start
        // does.
        Story {
            slots: ABR,
            ..story(
                "spoiled-patch",
                &[&[recovery], &made[..]].concat(),
                &[
                    Spoil(Slot::A),
                    install(PATCHED),
                    PowerOnOutcome,
                    install(V2),
                    PowerOnOutcome,
                    Confirm,
                    PowerOnOutcome,
                ],
            )
        },
        story("repair", &made, &[repair, Scrub(Slot::B), PowerOnOutcome]),
        story(
            "decoys",
            &with(&[
                install(V3),
                PowerOnOutcome,
                Confirm,
                PowerOnOutcome,
                repair_of(V3),
                PowerOnOutcome,
                Confirm,
                PowerOnOutcome,
            ]),
            &[
                install(OTHER_CLASS),
                install(LOW),
                install(WEAKER),
                PowerOnOutcome,
                install(TAMPERED),
                PowerOnOutcome,
                Scrub(Slot::A),
                Plant(Slot::B, LOW),
                PowerOnOutcome,
            ],
        ),
    ]
}

const fn repair_of(release: Name) -> Step {
    Step::Install { release, target: None, repair: true }
}
