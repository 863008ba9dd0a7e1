//! Who signs a channel index.

use stillboot::format::{Envelope, Key, KeyKind, KeyRole, Keyset, PayloadType, Risk, Rule, keyset};
use stillboot::verify::{
    Device, RootKey, SignatureError, SoftSha256, Trust, TrustError, digest_of,
};
use stillboot_policy::json::{IndexError, IndexHead, verify_index};
use stillboot_release::keys::{Signer as _, SigningKey, sign_envelope};

use super::{PRODUCT, again, emit, emitted, head, offer, patch};

/// A keyset in which key 1 may make indexes, and key 2 releases.
fn index_keys() -> Keyset {
    let key = |number, role: KeyRole| Key {
        kind: KeyKind::Ed25519,
        name: SigningKey::test(number).public(),
        roles: role.bit(),
    };
    Keyset {
        schema: keyset::SCHEMA,
        version: 7,
        rules: [1, 0, 0, 1, 0, 0].map(Rule::ed25519),
        keys: [key(1, KeyRole::Channel), key(2, KeyRole::Release)].into_iter().collect(),
    }
}

fn verify_signed(
    keyset: &Keyset,
    kind: PayloadType,
    signer: u8,
    role: KeyRole,
    product: &[u8; 16],
    payload: &[u8],
) -> Result<(u32, String), IndexError> {
    let bytes =
        sign_envelope(kind, product, payload, &[(role, &SigningKey::test(signer))]).unwrap();
    let (envelope, _) = Envelope::parse(&bytes).unwrap();
    let roots = [RootKey::ed25519([0; 32])];
    let device =
        Device::new(Trust::Roots { keys: &roots, rule: Rule::ed25519(1) }, PRODUCT, [0; 16]);
    let verified = verify_index::<SoftSha256>(&device, keyset, &envelope)?;
    assert_eq!(*verified.digest(), digest_of::<SoftSha256>(payload));
    Ok((verified.keyset_version(), again(&verified)))
}

#[test]
fn index_is_signed_by_channel_keys_only() {
    use KeyRole::{Channel, Release};
    let (keyset, good) = (index_keys(), emitted(&[offer(Risk::Stable, "")], &[patch(1, 2)]));
    let good = good.as_bytes();
    let index_type = PayloadType::ChannelIndex;
    let (version, value) = verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, good).unwrap();
    assert_eq!((version, value.as_bytes()), (7, good));
    let refused = |result: Result<_, IndexError>, expected: IndexError| {
        assert_eq!(result.map(|_| ()), Err(expected));
    };
    let missing = SignatureError::Missing { role: Channel, needed: 1, found: 0 };
    let wrong = SignatureError::Wrong { role: Channel };
    // A release key, and a key that is not in the keyset.
    let run = |signer, role| verify_signed(&keyset, index_type, signer, role, &PRODUCT, good);
    refused(run(2, Channel), IndexError::Signature(missing));
    refused(run(3, Channel), IndexError::Signature(missing));
    // A channel key in another role, or for another product.
    refused(run(1, Release), IndexError::Signature(wrong));
    let other = verify_signed(&keyset, index_type, 1, Channel, &[1; 16], good);
    refused(other, IndexError::Signature(wrong));
    // Another payload type.
    refused(
        verify_signed(&keyset, PayloadType::Statement, 1, Channel, &PRODUCT, good),
        IndexError::Trust(TrustError::WrongPayload {
            expected: index_type,
            found: PayloadType::Statement,
        }),
    );
    // Signed for this product, and speaking of another one.
    let foreign = emit(&IndexHead { product: [1; 16], ..head() }, &[], &[]).unwrap();
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, foreign.as_bytes()),
        IndexError::Trust(TrustError::WrongProduct),
    );
    // Signed, and not canonical; or of a later schema.
    let nothing = emitted(&[], &[]);
    let upper = nothing.replacen("6d", "6D", 1);
    let at = nothing.find("6d").unwrap() + 1;
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, upper.as_bytes()),
        IndexError::NotCanonical { at },
    );
    let later = nothing.replacen(":1,", ":2,", 1);
    refused(
        verify_signed(&keyset, index_type, 1, Channel, &PRODUCT, later.as_bytes()),
        IndexError::Schema { found: 2 },
    );
    // What is wrong with bytes without a signature is not reported.
    refused(
        verify_signed(&keyset, index_type, 3, Channel, &PRODUCT, upper.as_bytes()),
        IndexError::Signature(missing),
    );
    // No rule names a key for the role.
    let mut unruled = keyset;
    unruled.rules = [1, 0, 0, 0, 0, 0].map(Rule::ed25519);
    refused(
        verify_signed(&unruled, index_type, 1, Channel, &PRODUCT, good),
        IndexError::Signature(SignatureError::NoSuchRole { role: Channel }),
    );
}
