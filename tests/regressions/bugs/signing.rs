//! Bugs of TUF and its kin, of Sparkle and of libraries that sign.

use std::fs;

use stillboot::driver::Memory;
use stillboot::format::{Envelope, KeyRole, PayloadType, Rule, Signature, Slot, envelope};
use stillboot::verify::{RootKey, SignatureError, SoftSha256, Trust, TrustError, verify_keyset};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_sim::release::content;
use stillboot_tests::boot;
use stillboot_tests::forge::{plant, with_manifest};

use super::{running, update};

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
        let device = {
            let mut changed = device;
            changed.trust = Trust::Roots { keys, rule };
            changed
        };
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
