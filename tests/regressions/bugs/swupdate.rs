//! Bugs of SWUpdate.

use stillboot::boot::Reason;
use stillboot::driver::Source;
use stillboot::driver::SourceError;
use stillboot::format::{KeyRole, Load, Manifest, Role, Slot, SlotKind, Statement, StatementKind};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{
    After, Tap, payload, plant, raw, recommend, signed_as, split, with_manifest,
};
use stillboot_tests::{boot, confirm};

use super::{of, running, update, verify};

/// What is done to a manifest.
type Change<'a> = &'a dyn Fn(&mut Manifest);

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
        fn has_more(&mut self) -> Result<bool, SourceError> {
            Ok(self.2 < self.0.len())
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
