//! Bugs of U-Boot and shim.

use stillboot::boot::Reason;
use stillboot::driver::Memory;
use stillboot::format::{
    Envelope, KeyRole, Manifest, PayloadType, Role, Rule, Slot, SlotKind, SlotState,
};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{
    HEAD_LEN_MAX, IndexFold, RootKey, SignatureError, SoftSha256, Trust, TrustError, digest_of,
    verify_head, verify_keyset,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_sim::release::content;
use stillboot_sim::world::{HeapMemory, SimStore};
use stillboot_tests::forge::{counted, payload, power_on_with, raw, split, with_manifest};
use stillboot_tests::{boot, confirm, state};

use super::{of, running, update};

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
fn uboot_3eb43c54fad_a_bad_signature_is_never_skipped() {
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
        let device = {
            let mut changed = device;
            changed.trust = Trust::Roots { keys, rule };
            changed
        };
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
