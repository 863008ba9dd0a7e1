//! The releases of a walk: a long chain of updates, two recovery systems, and decoys.

use std::sync::Arc;

use stillboot::check;
use stillboot::format::{Digest, Floor, Load, Role, SlotKind};
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};
use stillboot_release::bundle::BundleError;
use stillboot_release::keys::id_of;

use crate::release::{Piece, Publisher, content};
use crate::transport;
use crate::world::Bytes;

/// Number of a release in a [`Chain`].
pub type Name = usize;

/// How many updates follow one another.
pub const UPDATES: usize = 40;
/// Updates between two changes of the level.
const LEVEL_EVERY: usize = 5;
/// Updates between two changes of the keyset.
const KEYS_EVERY: usize = 16;

/// The first recovery system; the second follows it.
pub const RECOVERY: Name = UPDATES;
/// Genuine, for another class of devices.
pub const OTHER_CLASS: Name = UPDATES + 2;
/// Genuine, the newest by its sequence, and below any floor that a confirmed update has set.
pub const LOW: Name = UPDATES + 3;

/// The lengths of the components of every release.
pub(crate) const LENGTHS: [usize; 2] = [4700, 1300];

/// A release and what its publisher knows of it.
#[derive(Clone, Debug)]
pub struct Release {
    /// For messages.
    pub name: String,
    /// What is installed.
    pub bundle: Arc<[u8]>,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// For which slots.
    pub kind: SlotKind,
    /// What it reaches.
    pub floor: Floor,
    /// Keyset version and sequence.
    pub order: (u32, u64),
    /// Its version, for people.
    pub version: String,
    /// What runs: role and bytes of every component.
    pub contents: Vec<(Role, Vec<u8>)>,
    /// It is for the devices of the walks.
    pub is_ours: bool,
}

/// All releases, and the keys that devices trust.
#[derive(Debug)]
pub struct Chain {
    /// After the last keyset was issued.
    pub publisher: Publisher,
    /// By [`Name`]: the updates, oldest first, then recovery and decoys.
    pub releases: Vec<Release>,
}

impl Chain {
    /// Builds and signs everything.
    ///
    /// # Errors
    /// [`BundleError`], which would be an error of this module.
    pub fn new() -> Result<Self, BundleError> {
        let mut publisher = Publisher::new(40);
        let update = SlotKind::Update;
        let recovery = [2000, 2001]
            .map(|sequence| release(&publisher, "recovery", sequence, 1, SlotKind::Recovery, None));
        let foreign = release(&publisher, "other-class", 3000, 9, update, Some("another class"))?;
        let low = release(&publisher, "low", 3001, 0, update, None)?;
        let mut releases = Vec::new();
        for number in 0..UPDATES {
            if number > 0 && number % KEYS_EVERY == 0 {
                publisher.rotate_release([number as u8; 32]);
            }
            let (sequence, level) = (number as u64 + 1, (1 + number / LEVEL_EVERY) as u32);
            releases.push(release(&publisher, "v", sequence, level, update, None)?);
        }
        for recovery in recovery {
            releases.push(recovery?);
        }
        releases.extend([foreign, low]);
        Ok(Self { publisher, releases })
    }

    /// The bundle of `release` with one bit of its last chunk turned: its head is genuine.
    #[must_use]
    pub fn tampered(&self, release: Name) -> Vec<u8> {
        let mut bytes = self.releases[release].bundle.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        bytes
    }

    /// The release of a digest.
    #[must_use]
    pub fn named(&self, digest: &Digest) -> Option<Name> {
        self.releases.iter().position(|release| release.digest == *digest)
    }
}

fn release(
    publisher: &Publisher,
    name: &str,
    sequence: u64,
    level: u32,
    kind: SlotKind,
    class: Option<&str>,
) -> Result<Release, BundleError> {
    let [kernel, initramfs] = LENGTHS;
    // Each has most bytes in common with each other one, so that patches are of use.
    let version = |number, len| transport::changed(&content(number, len), sequence);
    let contents =
        vec![(Role::Kernel, version(1, kernel)), (Role::Initramfs, version(2, initramfs))];
    let pieces: Vec<_> = contents
        .iter()
        .map(|(role, bytes)| Piece { role: *role, load: Load::Ram, linked: None, bytes })
        .collect();
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    if let Some(class) = class {
        manifest.class = id_of(class);
    }
    let mut device = publisher.device();
    device.class = manifest.class;
    let version = manifest.version.as_str().to_owned();
    let bundle: Arc<[u8]> = publisher.bundle(manifest, kind, &pieces)?.into();
    let mut buffer = vec![0; HEAD_LEN_MAX];
    let mut source = Bytes::new(&bundle, usize::MAX);
    let verified =
        check::bundle::<SoftSha256>(&device, kind, &mut source, false, &mut |_| {}, &mut buffer)
            .expect("what was just signed verifies");
    Ok(Release {
        name: if name == "v" { format!("v{sequence}") } else { name.to_owned() },
        digest: *verified.digest(),
        kind,
        floor: verified.floor(),
        order: verified.order(),
        version,
        contents,
        is_ours: class.is_none(),
        bundle,
    })
}
