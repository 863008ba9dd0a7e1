//! Bugs of RAUC.

use stillboot::check;
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver::SourceError;
use stillboot::driver::{InstallHost, NoStore, Source};
use stillboot::format::{
    Encryption, Envelope, KeyRole, Load, Manifest, PayloadType, Role, Signature, Slot, SlotKind,
    envelope,
};
use stillboot::install::{Install, InstallError, Permission, Refusal, Running, Update};
use stillboot::request::Request;
use stillboot::verify::{IndexFold, Sha256, SoftSha256, Trust, TrustError, digest_of, verify_head};
use stillboot_release::keys::Signer;
use stillboot_sim::driver;
use stillboot_sim::world::HeapMemory;
use stillboot_sim::{DeviceMap, Publisher, World};
use stillboot_tests::boot;
use stillboot_tests::forge::{SparseDisk, is_zero, raw, with_manifest};

use super::{AB, running, update, verify};

/// A bundle was verified, then installed from a file that another process could still write.
#[test]
fn rauc_cve_2020_25860_bundle_changes_after_verify() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = update(&publisher, 2);
    verify(&publisher.device(), &bundle, usize::MAX).unwrap();
    // The verified file, and then another one is read in its place from some byte on.
    let other = update(&publisher, 3);
    assert_eq!(bundle.len(), other.len());
    let mut caught = 0;
    for at in (0..bundle.len()).step_by(101) {
        let swapped = [&bundle[..at], &other[at..]].concat();
        let mut world = start.clone();
        match world.install(&swapped, Some(proof)) {
            Err(InstallError::Refused(_)) => caught += 1,
            // All of the other one: it is signed as well, and was verified on its own.
            Ok(_) => assert!(swapped == other || swapped == bundle, "{at}"),
            Err(error) => panic!("{at}: {error}"),
        }
        let runs = boot(&mut world);
        assert!(runs.slot == Slot::B || runs.digest == proof.digest, "{at}");
    }
    assert!(caught > 40, "{caught}");
}

/// A digest for tests on gigabytes of zeros: a function of the bytes and of nothing else, which
/// skips zeros at the speed of memory.
#[derive(Clone)]
struct SparseDigest {
    len: u64,
    rest: SoftSha256,
}

impl Sha256 for SparseDigest {
    fn new() -> Self {
        Self { len: 0, rest: SoftSha256::new() }
    }
    fn update(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(4096) {
            if !is_zero(part) {
                for (at, byte) in part.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                    self.rest.update(&(self.len + at as u64).to_le_bytes());
                    self.rest.update(&[*byte]);
                }
            }
            self.len += part.len() as u64;
        }
    }
    fn finish(mut self) -> [u8; 32] {
        self.rest.update(b"length");
        self.rest.update(&self.len.to_le_bytes());
        self.rest.finish()
    }
}

/// Zeros with a byte here and there.
struct Sparse<'a> {
    head: &'a [u8],
    length: u64,
    marks: &'a [(u64, u8)],
    at: u64,
}

impl Source for Sparse<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let head = self.head.len() as u64;
        let end = if self.at < head { head } else { head + self.length };
        let len = (end - self.at).min(into.len() as u64);
        let into = &mut into[..len as usize];
        if self.at < head {
            into.copy_from_slice(&self.head[self.at as usize..][..len as usize]);
        } else {
            into.fill(0);
            for (place, byte) in self.marks {
                if let Some(at) = (head + place).checked_sub(self.at).filter(|at| *at < len) {
                    into[at as usize] = *byte;
                }
            }
        }
        self.at += len;
        Ok(len as usize)
    }
    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.at += len;
        Ok(())
    }
    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.at < self.head.len() as u64 + self.length)
    }
}

struct Proceed;

impl InstallHost for Proceed {
    fn judge(&mut self, _offer: &Update<'_>) -> Permission {
        Permission::Proceed
    }
}

/// A mark on each side of each boundary, and on the last byte.
fn marks_of(length: u64) -> Vec<(u64, u8)> {
    let mut marks = vec![(0, 1), (length - 1, 2)];
    for boundary in [1_u64 << 31, 1 << 32] {
        for (place, byte) in [(boundary - 1, 3), (boundary, 4)] {
            if place < length - 1 {
                marks.push((place, byte));
            }
        }
    }
    marks
}

/// A release of one component of this length: its manifest, and its head with the index.
fn signed(publisher: &Publisher, length: u64, marks: &[(u64, u8)]) -> (Manifest, Vec<u8>) {
    const CHUNK: u32 = 1 << 20;
    let key = publisher.release.public();
    let mut index = Vec::new();
    let mut body = Sparse { head: &[], length, marks, at: 0 };
    let mut buffer = vec![0; CHUNK as usize];
    loop {
        let len = body.read(&mut buffer).unwrap();
        if len == 0 {
            break;
        }
        index.extend_from_slice(&digest_of::<SparseDigest>(&buffer[..len]));
    }
    let mut fold = IndexFold::<SparseDigest>::new(length, CHUNK);
    fold.entries(&index);
    let mut manifest = publisher.manifest(1);
    manifest.chunk_size = CHUNK;
    let component = stillboot::format::Component {
        role: Role::Rootfs,
        load: Load::Xip,
        linked: 0,
        encryption: Encryption::None,
        length,
        index_root: fold.finish(),
        sha256: [0; 32],
    };
    assert_eq!(component.index_len(CHUNK), index.len() as u64);
    manifest.components.push(component).unwrap();
    // By hand, because the digest that is signed is this test's own.
    let payload = raw(&manifest);
    let unsigned = [Signature::ed25519(&key, &[0; 64])];
    let mut head = vec![0; envelope::LEN_MAX];
    let len = Envelope::emit(PayloadType::Manifest, &unsigned, &payload, &mut head).unwrap();
    head.truncate(len);
    head[16..48].copy_from_slice(&digest_of::<SparseDigest>(&payload));
    let header = envelope::Header::parse(head.first_chunk().unwrap()).unwrap();
    let message = envelope::signed_bytes(&header, KeyRole::Release, &publisher.device().product);
    let signature = publisher.release.sign(&message).unwrap();
    head[len - payload.len() - 64..len - payload.len()].copy_from_slice(&signature);
    head.extend_from_slice(&index);
    (manifest, head)
}

/// A length above 2 GiB became negative, and the signature covered the first bytes only. Here whole
/// components of around 2 and 4 GiB go through file check, installation and power-on.
#[test]
fn rauc_cve_2026_34155_components_around_2_and_4_gib() {
    let publisher = Publisher::new(1);
    let key = publisher.release.public();
    let device = {
        let mut changed = publisher.device();
        changed.trust = Trust::Key(&key);
        changed
    };
    for length in [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1_u64] {
        let marks = marks_of(length);
        let (manifest, head) = signed(&publisher, length, &marks);
        let check = |marks: &[(u64, u8)]| {
            let mut buffer = vec![0; 1 << 20];
            let mut source = Sparse { head: &head, length, marks, at: 0 };
            let kind = SlotKind::Update;
            let progress = &mut |_| {};
            check::bundle::<SparseDigest>(&device, kind, &mut source, false, progress, &mut buffer)
                .map(|_| ())
        };
        assert_eq!(check(&marks), Ok(()), "{length}");
        // One byte beyond the boundary below the length: nothing is cut off there.
        let mut wrong = marks.clone();
        wrong[1].1 ^= 0x80;
        let content = Err(InstallError::Refused(Refusal::Content { component: 0 }));
        assert_eq!(check(&wrong), content, "{length}");

        let ground = DeviceMap::new(Geometry::disk(512, 0), AB, length + (64 << 20));
        let disk = SparseDisk::new(ground.geometries()[0]);
        let mut world = World::new(device, ground, vec![disk]);
        let ground = world.ground.clone();
        let slots = ground.slots();
        let layout = ground.layout(&slots).unwrap();
        let config = world.install_config(layout, Running::Offline);
        let mut machine = Install::<SparseDigest>::new(&config);
        let mut buffer = vec![0; 4 << 20];
        let mut source = Sparse { head: &head, length, marks: &marks, at: 0 };
        let disks: &mut [&mut dyn BlockDevice] = &mut [&mut world.disks[0]];
        let mut host = Proceed;
        let store = &mut NoStore;
        let installed =
            driver::install(&mut machine, disks, store, &mut source, &mut host, &mut buffer);
        assert_eq!(installed.unwrap().written, length);
        // The last byte stands where it belongs, and the power-on reads that far.
        let data = layout.component(Slot::A, &manifest, 0).unwrap();
        let mut block = [0; 512];
        let last = (data.offset + length - 1) / 512 * 512;
        world.disks[0].read(last, &mut block).unwrap();
        assert_eq!(block[((data.offset + length - 1) % 512) as usize], 2, "{length}");
        use stillboot::boot::{Boot, BootConfig};
        let config = BootConfig::new(device, layout, 1).with_check_late(true);
        let mut start = |disk: &mut SparseDisk| {
            let mut machine = Boot::<SparseDigest>::new(&config);
            let disks: &mut [&mut dyn BlockDevice] = &mut [disk];
            let memory = &mut HeapMemory::default();
            let event = stillboot::boot::Event::Start;
            driver::boot(&mut machine, event, disks, &mut NoStore, memory, &mut buffer)
        };
        if length == (1 << 32) + 1 {
            let mut damaged = world.disks[0].clone();
            block[((data.offset + length - 1) % 512) as usize] ^= 1;
            damaged.write(last, &block).unwrap();
            assert_eq!(start(&mut damaged), None, "{length}");
        }
        assert_eq!(start(&mut world.disks[0]).unwrap().slot, Slot::A, "{length}");
    }
}

/// A name with a NUL in it was compared up to there only.
#[test]
fn rauc_41acaeec_ids_are_compared_whole() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    let mut device = publisher.device();
    device.class = *b"m1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for (class, fits) in [
        (*b"m1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", true),
        (*b"m1\0evil\0\0\0\0\0\0\0\0\0", false),
        (*b"m1\0\0\0\0\0\0\0\0\0\0\0\0\0x", false),
        (*b"m\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", false),
        ([0; 16], false),
    ] {
        let bundle = with_manifest(&publisher, &bundle, |m| m.class = class);
        let (manifest, _) = verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle).unwrap();
        assert_eq!(stillboot::verify::check_class(&device, &manifest).is_ok(), fits, "{class:?}");
    }
    // The product stands in the signed bytes, whole.
    for at in 0..16 {
        let mut device = publisher.device();
        device.product[at] ^= 1;
        let result = verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle);
        assert!(matches!(result, Err(TrustError::KeysetSignature(_))), "{at}");
    }
}

/// The index of a block beyond 4 GiB overflowed a 32-bit length.
#[test]
fn rauc_74c98dd7_slots_around_2_32_bytes_and_blocks() {
    let publisher = Publisher::new(1);
    for block in [512, 4096_u32] {
        for units in [1_u64, u64::from(block)] {
            for more in [-4096_i64, 0, 4096] {
                let bytes = ((1_u64 << 32) * units).checked_add_signed(more).unwrap();
                let context = format!("slots of {bytes} bytes, blocks of {block}");
                let ground = DeviceMap::new(Geometry::disk(block, 0), AB, bytes);
                assert!(ground.geometries()[0].capacity_bytes > 2 * bytes);
                let disk = SparseDisk::new(ground.geometries()[0]);
                let mut world = World::new(publisher.device(), ground, vec![disk]);
                world.install(&update(&publisher, 1), None).expect(&context);
                let mut slots = Vec::new();
                for sequence in 2..4 {
                    let trial = world.power_on().unwrap().proof.expect(&context);
                    world.perform(Request::MarkGood(trial)).expect(&context);
                    let proof = world.power_on().unwrap().proof.expect(&context);
                    slots.push(proof.slot);
                    world.install(&update(&publisher, sequence), Some(proof)).expect(&context);
                }
                assert_eq!(slots, [Slot::A, Slot::B], "{context}");
                assert_eq!(world.power_on().unwrap().slot(), Some(Slot::A), "{context}");
                assert!(world.disks[0].kept() < 1 << 20, "{context}");
            }
        }
    }
}
