//! Bugs that others shipped, each as a test of its name: what went wrong there is done here, and
//! must come to nothing. The table is in `docs/THREATS.md`.

use std::fs;

use proptest::prelude::*;
use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver::{self, InstallHost, Memory, NoStore, RollbackStore, Source, StoreError};
use stillboot::driver::{SourceError, verify_bundle};
use stillboot::format::manifest::COMPONENT_LEN_MAX;
use stillboot::format::{
    Encryption, Envelope, Floor, KeyRole, Keyset, Load, Manifest, PayloadType, Role, Rule,
    Signature, Slot, SlotKind, SlotState, Statement, StatementKind, envelope,
};
use stillboot::install::{Install, InstallError, Permission, Refusal, Running, Update};
use stillboot::layout::{Area, Layout, Region, SlotLayout, SlotRegion};
use stillboot::operate::Request;
use stillboot::verify::{
    Device, HEAD_LEN_MAX, IndexFold, RootKey, Sha256, SignatureError, SoftSha256, Trust,
    TrustError, digest_of, verify_head, verify_keyset,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::disk::{Cut, RamDisk, WriteCache};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, HeapMemory, SimStore};
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::forge::{
    After, SparseDisk, Tap, counted, is_zero, on, payload, plant, power_on_with, raw, recommend,
    signed_as, split, with_manifest,
};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

const AB: &[Slot] = &[Slot::A, Slot::B];

/// What is done to a manifest.
type Change<'a> = &'a dyn Fn(&mut Manifest);

fn of(publisher: &Publisher, sequence: u64, kernel: &[u8]) -> Vec<u8> {
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: kernel };
    publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    of(publisher, sequence, &content(sequence, 5000))
}

fn running(publisher: &Publisher) -> (RamWorld<'_>, stillboot::format::BootProof) {
    let mut world = blank(publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(publisher, 1));
    (world, proof)
}

fn verify(device: &Device<'_>, bundle: &[u8], piece: usize) -> Result<(), InstallError> {
    let mut buffer = vec![0; 8192];
    let mut source = Bytes::new(bundle, piece);
    let kind = SlotKind::Update;
    verify_bundle::<SoftSha256>(device, kind, &mut source, true, &mut |_| {}, &mut buffer)
        .map(|_| ())
}

// RAUC.

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
}

struct Proceed;

impl InstallHost for Proceed {
    fn judge(&mut self, _offer: &Update<'_>) -> Permission {
        Permission::Proceed
    }
}

/// A length above 2 GiB became negative, and the signature covered the first bytes only. Here whole
/// components of around 2 and 4 GiB go through file check, installation and power-on.
#[test]
fn rauc_cve_2026_34155_components_around_2_and_4_gib() {
    const CHUNK: u32 = 1 << 20;
    let publisher = Publisher::new(1);
    let key = publisher.release.public();
    let device = Device { trust: Trust::Key(&key), ..publisher.device() };
    for length in [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1_u64] {
        // A mark on each side of each boundary, and on the last byte.
        let mut marks = vec![(0, 1), (length - 1, 2)];
        for boundary in [1_u64 << 31, 1 << 32] {
            for (place, byte) in [(boundary - 1, 3), (boundary, 4)] {
                if place < length - 1 {
                    marks.push((place, byte));
                }
            }
        }
        let mut index = Vec::new();
        let mut body = Sparse { head: &[], length, marks: &marks, at: 0 };
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
        let message = envelope::signed_bytes(&header, KeyRole::Release, &device.product);
        let signature = publisher.release.sign(&message).unwrap();
        head[len - payload.len() - 64..len - payload.len()].copy_from_slice(&signature);
        head.extend_from_slice(&index);

        let check = |marks: &[(u64, u8)]| {
            let mut buffer = vec![0; 1 << 20];
            let mut source = Sparse { head: &head, length, marks, at: 0 };
            let kind = SlotKind::Update;
            let progress = &mut |_| {};
            verify_bundle::<SparseDigest>(&device, kind, &mut source, false, progress, &mut buffer)
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
        let config = BootConfig {
            device,
            layout,
            tries: 3,
            nonce: 1,
            has_store: false,
            check_late: true,
            watchdog_reset: false,
        };
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
                    world.operate(Request::MarkGood(trial)).expect(&context);
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

// SWUpdate.

/// Names with `../` in an archive were written where they pointed.
#[test]
fn swupdate_cve_2023_7216_no_text_is_a_path() {
    let publisher = Publisher::new(1);
    let sound = Manifest::parse(&payload(&update(&publisher, 2))).unwrap();
    let bad = ["../x", "/etc", "a/b", "a\\b", "a b", "$(x)", "`x`", "a;b", "a\nb", "a\0b", "é"];
    for text in bad {
        let name = || text.chars().collect::<heapless::String<16>>();
        let version = || text.chars().collect::<heapless::String<32>>();
        let changes: [&dyn Fn(&mut Manifest); 4] = [
            &|m| m.version = version(),
            &|m| m.min_from = version(),
            &|m| m.channel.track = name(),
            &|m| m.channel.branch = name(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut manifest = sound.clone();
            change(&mut manifest);
            assert!(Manifest::parse(&raw(&manifest)).is_err(), "{text:?} in text {number}");
        }
    }
}

/// A guard said one number, the subtraction after it another: a stream that was cut right between
/// the two brought it down.
#[test]
fn swupdate_cve_2026_28525_every_split_of_the_stream() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = of(&publisher, 2, &content(2, 4500));
    for piece in 1..=bundle.len() {
        verify(&publisher.device(), &bundle, piece).unwrap_or_else(|e| panic!("{piece}: {e}"));
    }
    for piece in (1..600).chain([1023, 1024, 1025, 4095, 4096, 4097]) {
        let mut world = start.clone();
        let mut source = Bytes::new(&bundle, piece);
        let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
        assert_eq!(result.unwrap().written, 4500, "{piece}");
    }
    // And in two pieces that meet at every byte.
    struct Two<'a>(&'a [u8], usize, usize);
    impl Source for Two<'_> {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
            let end = if self.2 < self.1 { self.1 } else { self.0.len() };
            let len = into.len().min(end - self.2);
            into[..len].copy_from_slice(&self.0[self.2..self.2 + len]);
            self.2 += len;
            Ok(len)
        }
        fn skip(&mut self, len: u64) -> Result<(), SourceError> {
            self.2 += len as usize;
            Ok(())
        }
    }
    for at in 0..=bundle.len() {
        let mut world = start.clone();
        let mut source = Two(&bundle, at, 0);
        world.install_with(&mut source, Running::Proof(proof), |_| {}).unwrap();
    }
}

/// A check passed because of files that an earlier run had left.
#[test]
fn swupdate_ec0ce259_bad_bundle_right_after_a_good_one() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let good = update(&publisher, 2);
    let (keyset, manifest, body) = split(&good);
    world.install(&good, Some(proof)).unwrap();
    // All chunks of the good one stand in the slot; the bad ones try to live on them.
    let next = update(&publisher, 3);
    let (_, next_manifest, _) = split(&next);
    let mut flipped = body.to_vec();
    flipped[100] ^= 1;
    for (name, bad) in [
        ("other manifest, same body", [keyset, next_manifest, body].concat()),
        ("other manifest, no body", [keyset, next_manifest].concat()),
        ("changed body", [keyset, next_manifest, &flipped].concat()),
    ] {
        for reuse in [false, true] {
            let mut world = world.clone();
            let mut source = Bytes::new(&bad, usize::MAX);
            let result = world.install_with(&mut source, Running::Proof(proof), |config| {
                config.reuse.target = reuse;
            });
            assert!(matches!(result, Err(InstallError::Refused(_))), "{name}: {result:?}");
            assert_eq!(boot(&mut world).digest, proof.digest, "{name}");
        }
    }
    // The other way round: after a bad one the good one has to bring its own bytes.
    let mut world = running(&publisher).0;
    let bad = [keyset, manifest, &flipped].concat();
    assert!(world.install(&bad, Some(proof)).is_err());
    assert!(world.install(&good[..good.len() - 1], Some(proof)).is_err());
    world.install(&good, Some(proof)).unwrap();
    assert_eq!(boot(&mut world).slot, Slot::B);
}

/// A version of 255 bytes was accepted into a buffer of 50.
#[test]
fn swupdate_531d4ca6_texts_at_their_longest_and_one_more() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    // As long as goes, through everything.
    let long = |len: usize| format!("1.{}", "2".repeat(len - 4)) + ".3";
    let longest = with_manifest(&publisher, &bundle, |m| {
        m.version = "9.8.7-aaaaaaaaaaaaaaaaaaaaaaaaaa".chars().collect();
        m.min_from = "0.8.7-aaaaaaaaaaaaaaaaaaaaaaaaaa".chars().collect();
    });
    assert_eq!(Manifest::parse(&payload(&longest)).unwrap().version.len(), 32);
    let (mut world, proof) = running(&publisher);
    world.install(&longest, Some(proof)).unwrap();
    confirm(&mut world);
    assert_eq!(world.record().unwrap().0.body.slot(Slot::B).version.len(), 32);
    // One more: the length is spliced, because the type itself has no room for it.
    let sound = Manifest::parse(&payload(&bundle)).unwrap();
    let tries: [(&str, usize, Change<'_>); 4] = [
        ("version", 32, &|m| m.version = long(32).chars().collect()),
        ("min_from", 32, &|m| m.min_from = long(32).chars().collect()),
        ("track", 16, &|m| m.channel.track = "t".repeat(16).chars().collect()),
        ("branch", 16, &|m| m.channel.branch = "b".repeat(16).chars().collect()),
    ];
    for (name, max, change) in tries {
        let mut manifest = sound.clone();
        change(&mut manifest);
        let bytes = raw(&manifest);
        assert!(Manifest::parse(&bytes).is_ok(), "{name} of {max}");
        let text: &[u8] = match name {
            "version" => manifest.version.as_bytes(),
            "min_from" => manifest.min_from.as_bytes(),
            "track" => manifest.channel.track.as_bytes(),
            _ => manifest.channel.branch.as_bytes(),
        };
        let at = bytes.windows(max).position(|window| window == text).unwrap();
        for len in [max + 1, 50, 127] {
            let mut spliced = bytes.clone();
            spliced[at - 1] = len as u8;
            let more = vec![text[max - 1]; len - max];
            spliced.splice(at + max..at + max, more);
            assert!(Manifest::parse(&spliced).is_err(), "{name} of {len}");
            let signed =
                signed_as(&publisher, &bundle, &spliced, KeyRole::Release, &publisher.release);
            let refused = running(&publisher).0.install(&signed, Some(proof));
            assert!(matches!(refused, Err(InstallError::Refused(Refusal::Trust(_)))), "{name}");
        }
    }
    // The name in a statement.
    let mut statement = Statement {
        schema: 1,
        kind: StatementKind::SignOff,
        digest: [1; 32],
        number: 1,
        product: [2; 16],
        channel: sound.channel.clone(),
        rollout: 100,
        not_after: 0,
        name: "n".repeat(16).chars().collect(),
    };
    let mut bytes = [0; 200];
    let len = statement.emit(&mut bytes).unwrap();
    assert!(Statement::parse(&bytes[..len]).is_ok());
    let mut spliced = bytes[..len].to_vec();
    let at = len - 17;
    assert_eq!(spliced[at], 16);
    spliced[at] = 17;
    spliced.push(b'n');
    assert!(Statement::parse(&spliced).is_err());
    statement.name.clear();
    assert!(statement.emit(&mut bytes).is_err(), "a sign-off of nothing");
}

/// The sender went away, and the receiver read for ever.
#[test]
fn swupdate_36c15ef3_sender_goes_away() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = update(&publisher, 2);
    for len in (0..bundle.len()).step_by(37) {
        let mut world = start.clone();
        let mut source = Tap::new(&bundle[..len], After::End);
        let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
        assert_eq!(result, Err(InstallError::Refused(Refusal::Ended)), "{len}");
        assert_eq!(source.empty, 1, "{len}: asked once more, and that was that");
    }
}

/// Some types of images were exempt from having a digest.
#[test]
fn swupdate_b2e02105_no_component_is_exempt_from_its_digest() {
    let publisher = Publisher::new(1);
    let kernel = content(2, 5000);
    // A loader has no place in an update, whatever its digest: `trust.rs`.
    for role in Role::ALL.iter().filter(|role| **role != Role::Loader) {
        for load in Load::ALL {
            for linked in [None, Some(Slot::B)] {
                let context = format!("{role}, {load}, {linked:?}");
                let (mut world, proof) = running(&publisher);
                let piece = Piece { role: *role, load: *load, linked, bytes: &kernel };
                let manifest = publisher.manifest(2);
                let bundle = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
                let content = Err(InstallError::Refused(Refusal::Content { component: 0 }));
                let mut bad = bundle.clone();
                *bad.last_mut().unwrap() ^= 1;
                assert_eq!(world.install(&bad, Some(proof)), content, "{context}");
                let none =
                    with_manifest(&publisher, &bundle, |m| m.components[0].index_root = [0; 32]);
                assert_eq!(world.install(&none, Some(proof)), content, "{context}");
                // Nor at power-on.
                plant(&mut world, Slot::B, &bad);
                recommend(&mut world, Slot::B, stillboot_tests::forge::digest(&bad));
                let power_on = world.power_on().unwrap();
                assert_eq!(power_on.slot(), Some(Slot::A), "{context}");
                let reason = power_on.report.lines[0].reason;
                assert_eq!(reason, Reason::Corrupt { role: *role }, "{context}");
            }
        }
    }
}

// Mender.

/// A signature of another length than 64 was let through.
#[test]
fn mender_cve_2025_67903_signatures_of_every_length() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    let (keyset, manifest, body) = split(&bundle);
    for len in (0..=65).chain([127, 128, 144]) {
        let mut signature = manifest[20..84].to_vec();
        signature.resize(len, 0);
        let bad = [keyset, &manifest[..20], &signature, &manifest[84..], body].concat();
        let result = verify(&publisher.device(), &bad, usize::MAX);
        let (_, head) = (0, [keyset, &manifest[..20], &signature, &manifest[84..]].concat());
        let at_boot = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &head);
        assert_eq!(result.is_ok(), len == 64, "{len}: {result:?}");
        assert_eq!(at_boot.is_ok(), len == 64, "{len}");
    }
}

/// A file stood in the manifest with its digest, and no code compared that digest.
#[test]
fn mender_c740a03e_every_digest_is_compared() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let (one, two) = (content(1, 9000), content(2, 4097));
    let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
    let pieces = [piece(Role::Kernel, &one[..]), piece(Role::Data, &two[..])];
    let bundle = publisher.bundle(publisher.manifest(2), SlotKind::Update, &pieces).unwrap();
    let (start, proof) = running(&publisher);
    // The digests themselves.
    for component in 0..2 {
        let content = Err(InstallError::Refused(Refusal::Content { component }));
        let root =
            with_manifest(&publisher, &bundle, |m| m.components[component].index_root[9] ^= 1);
        assert_eq!(verify(&device, &root, usize::MAX), content);
        assert_eq!(start.clone().install(&root, Some(proof)).map(|_| ()), content);
        let plain = with_manifest(&publisher, &bundle, |m| m.components[component].sha256[9] ^= 1);
        assert_eq!(verify(&device, &plain, usize::MAX), content, "plain, for people");
    }
    // What they stand for: every entry of every index, every chunk.
    let (_, _, body) = split(&bundle);
    let start_of_body = bundle.len() - body.len();
    let ends = [3 * 32, 3 * 32 + 9000, 3 * 32 + 9000 + 2 * 32, body.len()];
    for (part, end) in ends.into_iter().enumerate() {
        let begin = if part == 0 { 0 } else { ends[part - 1] };
        let step = if part % 2 == 0 { 32 } else { 1000 };
        for at in (begin..end).step_by(step).chain([end - 1]) {
            let mut bad = bundle.clone();
            bad[start_of_body + at] ^= 1;
            let content = Err(InstallError::Refused(Refusal::Content { component: part / 2 }));
            assert_eq!(verify(&device, &bad, usize::MAX), content, "{at}");
            assert_eq!(start.clone().install(&bad, Some(proof)).map(|_| ()), content, "{at}");
        }
    }
}

/// The tail of an image, shorter than a sector, was never flushed.
#[test]
fn mender_ff0db604_tail_survives_a_cut_right_after_done() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &update(&publisher, 1));
        for len in [1, 511, 513, 4095, 4097, 10_001] {
            let kernel = content(len as u64, len);
            let bundle = of(&publisher, 2, &kernel);
            for seed in 0..6 {
                let mut cached = on(&world, |disk| WriteCache::new(disk.fork()));
                cached.install(&bundle, Some(proof)).expect(name);
                match seed {
                    0 => cached.disks[0].lose_all(),
                    seed => cached.disks[0].lose(seed).unwrap(),
                }
                let mut power_on = cached.power_on().unwrap();
                assert_eq!(power_on.slot(), Some(Slot::B), "{name}, {len}");
                assert!(power_on.memory.bytes(0)[..len] == kernel[..], "{name}, {len}");
            }
        }
    }
    // A tail on a device of its own: the flush of the commit block does not reach that one.
    let mut ground = DeviceMap::new(media()[0].1, AB, 64 << 10);
    ground.add_device(media()[1].1, &[Role::Rootfs], 64 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    let mut world = World::new(publisher.device(), ground, disks);
    let bundle = |sequence| {
        let (kernel, rootfs) = (content(sequence, 5000), content(sequence + 9, 10_001));
        let piece = |role, load, bytes| Piece { role, load, linked: None, bytes };
        let pieces = [
            piece(Role::Kernel, Load::Ram, &kernel[..]),
            piece(Role::Rootfs, Load::Late, &rootfs[..]),
        ];
        publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &pieces).unwrap()
    };
    let proof = commission(&mut world, &bundle(1));
    for seed in 0..8 {
        let mut cached = on(&world, |disk| WriteCache::new(disk.fork()));
        cached.install(&bundle(2), Some(proof)).unwrap();
        for disk in &mut cached.disks {
            match seed {
                0 => disk.lose_all(),
                seed => disk.lose(seed).unwrap(),
            }
        }
        assert_eq!(cached.power_on().unwrap().slot(), Some(Slot::B), "two devices");
    }
}

/// A crash between the commit and the note of it rolled a committed update back.
#[test]
fn mender_608dc311_cut_at_every_write_of_a_confirmation() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for tries in [1, 3] {
            let mut world = blank(&publisher, geometry, AB);
            let proof = commission(&mut world, &update(&publisher, 1));
            world.tries = tries;
            world.install(&update(&publisher, 2), Some(proof)).unwrap();
            let trial = boot(&mut world);
            let start = counted(&world);
            for at in 0.. {
                for cut in [Cut::Before, Cut::After] {
                    let mut world = start.clone();
                    world.disks[0].cut_at(at, cut);
                    let done = world.operate(Request::MarkGood(trial));
                    let is_off = world.disks[0].is_off();
                    world.disks[0].power_on();
                    let context = format!("{name}, {tries} tries, {cut:?} at {at}: {done:?}");
                    let first = world.power_on().unwrap().proof.expect(&context);
                    if done.is_ok() {
                        assert_eq!((first.slot, first.attempt), (Slot::B, 0), "{context}");
                    }
                    // Whichever it was, it stays: committed is for good, tried is to be confirmed.
                    let again = world.power_on().unwrap().proof.expect(&context);
                    if first.attempt == 0 {
                        assert_eq!(again.slot, first.slot, "{context}");
                    } else {
                        assert_eq!((first.slot, tries), (Slot::B, 3), "{context}");
                    }
                    if !is_off {
                        assert_eq!(first.slot, Slot::B, "{context}");
                    }
                }
                let mut whole = start.clone();
                whole.disks[0].cut_at(at, Cut::Before);
                whole.operate(Request::MarkGood(trial)).ok();
                if !whole.disks[0].is_off() {
                    break;
                }
            }
        }
    }
}

/// Two lists of different lengths were walked as if they were of one.
#[test]
fn mender_8ab07620_counts_that_do_not_match() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    // Signatures: said, and there.
    let (keyset, manifest, body) = split(&bundle);
    for count in 0..=5 {
        let mut bad = manifest.to_vec();
        bad[6] = count;
        let head = [keyset, &bad, body].concat();
        let result = verify(&publisher.device(), &head, usize::MAX);
        assert_eq!(result.is_ok(), count == 1, "{count}");
    }
    // Components: the number of them stands right before the first role.
    let bytes = payload(&bundle);
    let sound = Manifest::parse(&bytes).unwrap();
    let mut without = sound.clone();
    without.components.clear();
    let at = raw(&without).len() - 1;
    assert_eq!(bytes[at], 1);
    // Keys: likewise.
    let mut keyset_bytes = vec![0; 1024];
    let len = publisher.keyset().emit(&mut keyset_bytes).unwrap();
    keyset_bytes.truncate(len);
    let key_count = len - publisher.keyset().keys.len() * 34 - 1;
    assert_eq!(usize::from(keyset_bytes[key_count]), publisher.keyset().keys.len());
    for count in 0..=255 {
        let mut bad = bytes.clone();
        bad[at] = count;
        assert_eq!(Manifest::parse(&bad).is_ok(), count == 1, "{count} components");
        let mut bad = keyset_bytes.clone();
        bad[key_count] = count;
        assert_eq!(Keyset::parse(&bad).is_ok(), count == 5, "{count} keys");
    }
}

// MCUboot.

/// The counter was raised after an interrupted upgrade, before it was confirmed; the simulator did
/// not see it, because both images had the same counter.
#[test]
fn mcuboot_0eaf6668_floor_stays_while_an_interrupted_upgrade_goes_on() {
    let publisher = Publisher::new(1);
    let leveled = |sequence, level| {
        with_manifest(&publisher, &update(&publisher, sequence), |m| m.level = level)
    };
    for (_, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        world.store = Some(SimStore::default());
        let proof = commission(&mut world, &leveled(1, 1));
        let mut start = counted(&world);
        start.store = world.store.clone();
        for at in (0..60).step_by(3) {
            let mut world = start.clone();
            world.disks[0].cut_at(at, Cut::After);
            let _ = world.install(&leveled(2, 30), Some(proof));
            world.disks[0].power_on();
            let again = world.power_on().unwrap().proof.unwrap();
            let _ = world.install(&leveled(2, 30), Some(again));
            while world.power_on().unwrap().slot() == Some(Slot::B) {}
            let floor = world.store.as_ref().unwrap().floors[0].unwrap();
            assert_eq!(floor.level, 1, "cut at {at}");
            assert_eq!(world.power_on().unwrap().slot(), Some(Slot::A), "cut at {at}");
        }
    }
}

/// The counter could not be raised any more, which was found out after the switch: nothing booted.
#[test]
fn mcuboot_fe8f9fc0_a_store_that_cannot_be_raised_costs_no_boot() {
    /// Can be read, and is full.
    struct Full(Option<Floor>);
    impl RollbackStore for Full {
        fn read(&mut self, _kind: SlotKind) -> Result<Option<Floor>, StoreError> {
            Ok(self.0)
        }
        fn probe(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
            Err(StoreError)
        }
        fn raise(&mut self, _kind: SlotKind, _floor: Floor) -> Result<(), StoreError> {
            Err(StoreError)
        }
    }
    let publisher = Publisher::new(1);
    for stored in [None, Some(Floor { keyset_version: 1, level: 1 })] {
        let mut world = blank(&publisher, media()[0].1, AB);
        let mut store = Full(stored);
        world.install(&update(&publisher, 1), None).unwrap();
        for sequence in 2..6 {
            let memory = &mut HeapMemory::default();
            let (trial, _) = power_on_with(&mut world, &mut store, memory);
            let trial = trial.unwrap();
            world.operate(Request::MarkGood(trial)).unwrap();
            let (good, report) = power_on_with(&mut world, &mut store, memory);
            let good = good.expect("a good slot starts all the same");
            assert_eq!(good.slot, trial.slot, "{report:?}");
            let level = sequence as u32;
            let next = with_manifest(&publisher, &update(&publisher, sequence), |m| {
                m.level = level;
            });
            world.install(&next, Some(good)).unwrap();
        }
    }
}

proptest! {
    /// Offsets and sizes whose sums do not fit wrapped round.
    #[test]
    fn mcuboot_ecbea70b_no_sum_of_a_layout_wraps(
        capacity in any::<u64>(),
        regions in proptest::array::uniform9((any::<u64>(), any::<u64>())),
        block in 9_u32..21,
        lengths in proptest::collection::vec(1..=COMPONENT_LEN_MAX, 1..8),
        chunk in 12_u32..21,
        own_index in any::<bool>(),
    ) {
        let erase = 1_u32 << block;
        let mask = !u64::from(erase - 1);
        let geometry = Geometry {
            logical_block_bytes: 512,
            write_granule_bytes: 512,
            erase_block_bytes: erase,
            capacity_bytes: capacity & mask,
            erased: None,
        };
        let geometries = [geometry];
        // Half of them anywhere, half of them one after the other in the capacity.
        let ninth = (capacity / 9) & mask;
        for tame in [false, true] {
            let region = |number: usize| {
                let (offset, len) = regions[number];
                if tame {
                    Region { device: 0, offset: number as u64 * ninth, len: ninth }
                } else {
                    Region { device: 0, offset: offset & mask, len: len & mask }
                }
            };
            let of = |roles, number| SlotRegion { region: region(number), roles };
            let (a, b) = ([of(&[], 3)], [of(&[], 4), of(&[Role::Rootfs, Role::Cmdline], 5)]);
            let slot = |slot, head, index, regions| SlotLayout {
                slot,
                head: Some(region(head)),
                index,
                regions,
            };
            let index = own_index.then(|| region(8));
            let slots = [slot(Slot::A, 6, None, &a[..]), slot(Slot::B, 7, index, &b[..])];
            let places = [0, 1, 2].map(region);
            let Ok(layout) = Layout::new(&geometries, Area::Blocks(&places), &slots) else {
                continue;
            };
            let mut manifest = Publisher::new(1).manifest(1);
            manifest.chunk_size = 1 << chunk;
            for (number, length) in lengths.iter().enumerate() {
                let component = stillboot::format::Component {
                    role: Role::ALL[number],
                    load: Load::Ram,
                    linked: 0,
                    encryption: Encryption::None,
                    length: *length,
                    index_root: [0; 32],
                    sha256: [0; 32],
                };
                manifest.components.push(component).unwrap();
            }
            let mut taken: Vec<Region> = Vec::new();
            for (number, length) in lengths.iter().enumerate() {
                let parts = [
                    layout.index(Slot::B, &manifest, number),
                    layout.component(Slot::B, &manifest, number),
                ];
                let [Ok(index), Ok(data)] = parts else {
                    prop_assert!(layout.check_fit(Slot::B, &manifest).is_err());
                    break;
                };
                prop_assert!(data.len >= *length);
                prop_assert!(index.len >= manifest.components[number].index_len(1 << chunk));
                let role = Role::ALL[number];
                let home = if [Role::Rootfs, Role::Cmdline].contains(&role) { 5 } else { 4 };
                let index_home = if own_index { 8 } else { 4 };
                for (part, home) in [(index, region(index_home)), (data, region(home))] {
                    let end = part.offset.checked_add(part.len).unwrap();
                    prop_assert!(part.offset >= home.offset);
                    prop_assert!(end <= home.offset + home.len);
                    let apart = |other: &Region| {
                        other.offset + other.len <= part.offset || end <= other.offset
                    };
                    prop_assert!(taken.iter().all(apart), "{part:?} and {taken:?}");
                    taken.push(part);
                }
            }
        }
    }
}

// U-Boot and shim.

/// One configuration was verified, another one started.
#[test]
fn uboot_cve_2020_10648_what_was_verified_is_what_starts() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    world.install(&update(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    for (prefer, sequence) in [(Slot::A, 1), (Slot::B, 2)] {
        stillboot_tests::forge::forge_record(&mut world, |record| {
            let body = &mut record.body;
            for slot in [Slot::A, Slot::B] {
                body.slot_mut(slot).priority = u8::from(slot == prefer);
            }
        });
        let mut power_on = world.power_on().unwrap();
        let (proof, manifest) = (power_on.proof.unwrap(), power_on.manifest.unwrap());
        assert_eq!(proof.slot, prefer);
        assert_eq!(proof.digest, *manifest.digest());
        assert_eq!(manifest.sequence, sequence);
        let kernel = content(sequence, 5000);
        assert_eq!(digest_of::<SoftSha256>(&kernel), manifest.components[0].sha256);
        assert!(power_on.memory.bytes(0)[..5000] == kernel[..]);
    }
}

/// The parser that hashed and the parser that used the image read two things in it. There is one
/// here, and no value has two encodings.
#[test]
fn uboot_cve_2021_27097_one_reading_of_a_manifest() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    let bytes = payload(&bundle);
    let mut second = bytes.clone();
    second.extend_from_slice(&bytes);
    assert!(Manifest::parse(&second).is_err(), "two manifests in one");
    // Whatever else the bytes may be changed to, what is accepted says exactly those bytes.
    let mut accepted = 0;
    for at in 0..bytes.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0x81, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let mut padded = bytes.clone();
            padded.insert(at, value);
            for candidate in [changed, padded] {
                if let Ok(manifest) = Manifest::parse(&candidate) {
                    assert_eq!(raw(&manifest), candidate, "byte {at}");
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted > 100, "digests and ids take any value");
    // Two of one role: which one was meant?
    let manifest = Manifest::parse(&bytes).unwrap();
    for linked in [0, 1, 2] {
        let mut twice = manifest.clone();
        let mut other = twice.components[0].clone();
        other.linked = linked;
        twice.components.push(other).unwrap();
        assert!(Manifest::parse(&raw(&twice)).is_err(), "{linked}");
    }
}

/// A file longer than the memory was loaded over the loader before anything was verified.
#[test]
fn uboot_cve_2018_18439_nothing_is_loaded_without_room_for_it() {
    /// Gives less than is asked for.
    struct Small(HeapMemory, u64);
    impl Memory for Small {
        fn clear(&mut self) {
            self.0.clear();
        }
        fn reserve(&mut self, component: usize, role: Role, len: u64) -> bool {
            // Lies: says yes, and has less.
            self.0.reserve(component, role, len.min(self.1))
        }
        fn bytes(&mut self, component: usize) -> &mut [u8] {
            self.0.bytes(component)
        }
    }
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let big = of(&publisher, 2, &content(2, 60_000));
    world.install(&big, Some(proof)).unwrap();
    let mut memory = HeapMemory::default();
    memory.limit = Some(10_000);
    let (runs, report) = power_on_with(&mut world, &mut SimStore::default(), &mut memory);
    assert_eq!(runs.unwrap().slot, Slot::A);
    assert_eq!(report.lines[0].reason, Reason::NoMemory);
    assert!(matches!(state(&mut world, Slot::B), SlotState::Trying { .. }), "not condemned");
    let mut memory = Small(HeapMemory::default(), 10_000);
    let (runs, report) = power_on_with(&mut world, &mut SimStore::default(), &mut memory);
    assert_eq!(runs.unwrap().slot, Slot::A, "{report:?}");
}

/// A length that was not signed was used before the hash.
#[test]
fn uboot_8f71d7170f5_lengths_come_from_signed_bytes() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = update(&publisher, 2);
    let (keyset, _, body) = split(&bundle);
    let head = bundle.len() - body.len();
    // The only unsigned lengths are those of the envelopes; they are capped, and a wrong one moves
    // what is signed.
    let fields = [6, 8, 9, 10, 11, 12, 13, 14, 15];
    for at in fields.into_iter().chain(fields.map(|at| keyset.len() + at)) {
        for value in 0..=255 {
            let mut bad = bundle.clone();
            if bad[at] == value {
                continue;
            }
            bad[at] = value;
            let mut world = counted(&start);
            let result = world.install(&bad, Some(proof));
            assert!(matches!(result, Err(InstallError::Refused(_))), "byte {at} is {value}");
            assert_eq!(world.disks[0].operations(), 0, "byte {at} is {value}");
        }
    }
    assert!(head < HEAD_LEN_MAX);
}

/// The code of a bad signature was the code of "not for us, go on".
#[test]
fn uboot_3eb43c54fad_a_bad_signature_is_never_passed_over() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let keys: Vec<_> = (1..=3).map(|seed| SigningKey::from_seed([seed; 32])).collect();
    let roots: Vec<_> = keys.iter().map(|key| RootKey::ed25519(key.public())).collect();
    let role = KeyRole::Root;
    let signers: Vec<_> = keys.iter().map(|key| (role, key as &dyn Signer)).collect();
    let mut keyset = vec![0; 1024];
    let len = publisher.keyset().emit(&mut keyset).unwrap();
    let payload_type = PayloadType::Keyset;
    let signed = sign_envelope(payload_type, &device.product, &keyset[..len], &signers).unwrap();
    let bundle = update(&publisher, 2);
    let (_, manifest, _) = split(&bundle);
    // As one envelope, and as it stands at the front of a bundle: these are two ways to read it.
    let count = |bytes: &[u8], keys: &[RootKey], threshold| {
        let rule = Rule::ed25519(threshold);
        let device = Device { trust: Trust::Roots { keys, rule }, ..device };
        let (envelope, _) = Envelope::parse(bytes).unwrap();
        let alone = verify_keyset::<SoftSha256>(&device, &envelope).map(|_| ());
        let head = [bytes, manifest].concat();
        let in_front = verify_head::<SoftSha256>(&device, SlotKind::Update, &head).map(|_| ());
        assert_eq!(alone, in_front);
        alone
    };
    let failed = |error| Err(TrustError::KeysetSignature(error));
    assert_eq!(count(&signed, &roots, 3), Ok(()));
    for bad in 0..3 {
        let mut signed = signed.clone();
        signed[48 + 97 * bad + 33 + 30] ^= 1;
        // One right signature would be enough. One wrong one in a known name is too much.
        let wrong = failed(SignatureError::Wrong { role });
        assert_eq!(count(&signed, &roots, 1), wrong, "{bad}");
        // Of a stranger it says nothing, neither way.
        let name = Envelope::parse(&signed).unwrap().0.signatures().nth(bad).unwrap().name;
        let mut others: Vec<_> = roots.iter().copied().filter(|key| key.name != name).collect();
        assert_eq!(count(&signed, &others, 2), Ok(()), "{bad}");
        others.push(RootKey::ed25519([9; 32]));
        let missing = SignatureError::Missing { role, needed: 3, found: 2 };
        assert_eq!(count(&signed, &others, 3), failed(missing), "{bad}");
    }
}

/// A buffer was made as long as one header said, and filled as another did.
#[test]
fn shim_cve_2023_40547_more_or_less_than_was_said() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = update(&publisher, 2);
    for (said, refusal) in [(4999, Refusal::Content { component: 0 }), (5001, Refusal::Ended)] {
        // A sound index for the bytes there are, and a manifest that says another length.
        let bad = with_manifest(&publisher, &bundle, |m| {
            m.components[0].length = said;
            let (_, _, body) = split(&bundle);
            let mut fold = IndexFold::<SoftSha256>::new(said, m.chunk_size);
            fold.entries(&body[..64]);
            m.components[0].index_root = fold.finish();
        });
        let mut world = start.clone();
        let result = world.install(&bad, Some(proof));
        assert_eq!(result, Err(InstallError::Refused(refusal)), "{said}");
        assert_eq!(boot(&mut world).digest, proof.digest);
    }
}

// embassy-boot and bootleby.

/// Writes over what was not erased, and states compared over the wrong length, where the unit of
/// writing was not one byte.
#[test]
fn embassy_df3a1e1b9_every_size_of_write() {
    let publisher = Publisher::new(1);
    for granule in [1, 4, 8, 16, 32, 64, 256] {
        let geometry = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: granule,
            erase_block_bytes: 4096,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        whole_life(&publisher, geometry);
    }
}

/// Pieces of two bytes broke the alignment that a read needs.
#[test]
fn embassy_7aa260feb_every_alignment_of_reads() {
    let publisher = Publisher::new(1);
    for unit in [2, 4, 8, 16, 32, 512] {
        let geometry = Geometry {
            logical_block_bytes: unit,
            write_granule_bytes: unit,
            erase_block_bytes: 4096,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        whole_life(&publisher, geometry);
    }
}

/// Installed, tried, confirmed, replaced, rolled back, on a device that refuses whatever does not
/// suit its units and whatever is written twice.
fn whole_life(publisher: &Publisher, geometry: Geometry) {
    let mut world = blank(publisher, geometry, AB);
    let proof = commission(&mut world, &update(publisher, 1));
    world.install(&of(publisher, 2, &content(2, 4097)), Some(proof)).unwrap();
    let trial = boot(&mut world);
    assert_eq!(trial.slot, Slot::B, "{geometry:?}");
    world.operate(Request::MarkGood(trial)).unwrap();
    let proof = boot(&mut world);
    world.install(&of(publisher, 3, &content(3, 33)), Some(proof)).unwrap();
    for _ in 0..3 {
        assert_eq!(boot(&mut world).slot, Slot::A, "{geometry:?}");
    }
    assert_eq!(boot(&mut world).slot, Slot::B, "{geometry:?}");
}

/// Built without a feature for verification, an update was marked good without any. There is no such
/// feature, and no way round the signatures in any of them.
#[test]
fn embassy_8519e5446_no_feature_leaves_verification_out() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| fs::read_to_string(format!("{root}/{path}")).unwrap();
    let suite = read("tests/powerset/Cargo.toml");
    for file in ["mod.rs", "signature.rs", "digest.rs"] {
        let text = read(&format!("core/src/verify/{file}"));
        // A feature may add to it: derives, and what verifies payloads of another kind or trusts
        // more than one built-in key. What is then left refuses what must be refused: the suite of
        // bad bundles runs with every set of these features.
        for line in text.lines().filter(|line| line.contains("feature = ")) {
            let derives = line.contains("#[cfg_attr(feature = ") && line.contains(", derive(");
            let adds = ["json", "keysets"].iter().any(|feature| {
                line.trim() == format!("#[cfg(feature = \"{feature}\")]")
                    && suite.contains(&format!("\n{feature} = [\"stillboot/{feature}\""))
            });
            assert!(derives || adds && file == "mod.rs", "{file}: {line}");
        }
    }
    let manifest = read("core/Cargo.toml");
    for line in
        manifest.lines().filter(|line| line.starts_with("ed25519") || line.starts_with("sha2"))
    {
        assert!(!line.contains("optional"), "{line}");
    }
}

/// A misspelled constant in a `match` caught everything.
#[test]
fn bootleby_bfcbbc7_misspelled_constants_do_not_compile() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = fs::read_to_string(format!("{root}/Cargo.toml")).unwrap();
    for lint in ["bindings_with_variant_name", "unreachable_patterns", "non_snake_case"] {
        assert!(text.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
    for package in ["core", "hal/linux", "host-sim", "cli", "tests"] {
        let text = fs::read_to_string(format!("{root}/{package}/Cargo.toml")).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{package}");
    }
}

/// A number of pages was rounded off by one.
#[test]
fn bootleby_95e7911_lengths_around_a_block_and_a_chunk() {
    let publisher = Publisher::new(1);
    let lengths = [1, 31, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 12_288];
    for (name, geometry) in media() {
        for load in [Load::Ram, Load::Xip, Load::Late] {
            let mut world = blank(&publisher, geometry, AB);
            let mut proof = commission(&mut world, &update(&publisher, 1));
            for (number, len) in lengths.into_iter().enumerate() {
                let context = format!("{name}, {load}, {len}");
                let sequence = number as u64 + 2;
                let (one, two) = (content(sequence, len), content(sequence + 50, len));
                let piece = |role, bytes| Piece { role, load, linked: None, bytes };
                let pieces = [piece(Role::Kernel, &one[..]), piece(Role::Data, &two[..])];
                let manifest = publisher.manifest(sequence);
                let bundle = publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap();
                let installed = world.install(&bundle, Some(proof)).expect(&context);
                assert_eq!(installed.written, 2 * len as u64, "{context}");
                let trial = confirm(&mut world);
                assert_eq!(trial.slot, installed.slot, "{context}");
                proof = boot(&mut world);
            }
        }
    }
}

// TUF and its kin, Sparkle, libraries.

/// One key was counted twice: under two names, or with two signatures.
#[test]
fn tuf_cve_2020_6174_one_key_counts_once() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let (key, role) = (&publisher.release, KeyRole::Root);
    let mut keyset = vec![0; 1024];
    let len = publisher.keyset().emit(&mut keyset).unwrap();
    let signers: [(KeyRole, &dyn Signer); 1] = [(role, key)];
    let payload_type = PayloadType::Keyset;
    let signed = sign_envelope(payload_type, &device.product, &keyset[..len], &signers).unwrap();
    let (envelope, _) = Envelope::parse(&signed).unwrap();
    let once = envelope.signatures().next().unwrap();
    let emit = |signatures: &[Signature<'_>]| {
        let mut out = vec![0; envelope::LEN_MAX];
        let len = Envelope::emit(payload_type, signatures, envelope.payload(), &mut out)?;
        out.truncate(len);
        Ok::<_, stillboot::format::FormatError>(out)
    };
    assert!(emit(&[once, once]).is_err());
    // Under another name no key has made it.
    let mut other = once;
    other.name[31] ^= 1;
    let mut two = [once, other];
    two.sort_unstable_by_key(|signature| signature.name);
    let bytes = emit(&two).unwrap();
    let (doubled, _) = Envelope::parse(&bytes).unwrap();
    let known = [RootKey::ed25519(key.public()), RootKey::ed25519([9; 32])];
    let count = |keys: &[RootKey], threshold| {
        let rule = Rule::ed25519(threshold);
        let device = Device { trust: Trust::Roots { keys, rule }, ..device };
        verify_keyset::<SoftSha256>(&device, &doubled).map(|_| ())
    };
    assert_eq!(count(&known, 1), Ok(()));
    let missing = SignatureError::Missing { role, needed: 2, found: 1 };
    assert_eq!(count(&known, 2), Err(TrustError::KeysetSignature(missing)));
    assert_eq!(count(&[known[0]; 2], 2), Err(TrustError::NoTrust));
    // Nor may the keyset or the roots name it twice.
    let mut keyset = publisher.keyset();
    keyset.keys[2].name = keyset.keys[0].name;
    assert!(keyset.emit(&mut [0; 1024]).is_err());
}

/// What was checked was replaced between the check and the use: here between the installation and
/// the power-on after it.
#[test]
fn sparkle_cve_2025_0509_replaced_between_install_and_power_on() {
    let publisher = Publisher::new(1);
    let (mut start, proof) = running(&publisher);
    start.install(&update(&publisher, 2), Some(proof)).unwrap();
    let stranger = update(&Publisher::new(2), 2);
    let older = with_manifest(&publisher, &update(&publisher, 1), |m| m.level = 0);
    for (name, other) in [("a stranger's", stranger), ("another of ours", older)] {
        let mut world = start.clone();
        plant(&mut world, Slot::B, &other);
        let runs = boot(&mut world);
        assert_eq!(runs.digest, proof.digest, "{name}");
    }
    let mut world = start.clone();
    for at in world.ground.stretches(Slot::B).into_iter().flat_map(|b| b.step_by(512)) {
        let mut world = world.clone();
        let byte = world.disks[0].bytes(at, 1)[0];
        world.disks[0].poke(at, &[byte ^ 1]);
        let mut power_on = world.power_on().unwrap();
        if power_on.slot() == Some(Slot::B) {
            assert!(power_on.memory.bytes(0)[..5000] == content(2, 5000)[..], "{at}");
        }
    }
    assert_eq!(boot(&mut world).slot, Slot::B);
}

/// Signing with a public half that belongs to another key gives the secret one away.
#[test]
fn rustsec_2022_0093_the_public_half_is_computed() {
    let folder = std::env::temp_dir().join(format!("stillboot-bugs-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("key.pem");
    let key = SigningKey::from_seed([7; 32]);
    key.write(&path).unwrap();
    let read = SigningKey::read(&path);
    fs::remove_dir_all(&folder).unwrap();
    let read = read.unwrap();
    assert_eq!(read.public(), key.public());
    let signature = read.sign(b"message").unwrap();
    assert_eq!(signature, key.sign(b"message").unwrap());
    stillboot::verify::verify_signature(&read.public(), &[b"message"], &signature).unwrap();
}
