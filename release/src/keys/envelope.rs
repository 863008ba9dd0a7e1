//! Signs payloads and adds signatures to envelopes.

use stillboot::format::{Envelope, Id, KeyKind, KeyRole, PayloadType, Signature, envelope};
use stillboot::verify::{SoftSha256, key_id};

use super::{KeyError, Signer};

/// Signs `payload` with every one of `signers` in the role given with it, and wraps it.
///
/// # Errors
/// [`KeyError`].
pub fn sign_envelope(
    payload_type: PayloadType,
    product: &Id,
    payload: &[u8],
    signers: &[(KeyRole, &dyn Signer)],
) -> Result<Vec<u8>, KeyError> {
    let mut signed: Vec<([u8; 32], [u8; 64])> = Vec::new();
    for (role, signer) in signers {
        let signature = sign_payload(payload_type, product, payload, *role, *signer)?;
        signed.push((signer.public(), signature));
    }
    signed.sort_unstable_by_key(|(public, _)| *public);
    if signed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(KeyError::SameKey);
    }
    let signatures: Vec<_> =
        signed.iter().map(|(key, made)| Signature::ed25519(key, made)).collect();
    wrap(payload_type, &signatures, payload)
}

fn wrap(
    payload_type: PayloadType,
    signatures: &[Signature<'_>],
    payload: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut out = vec![0; envelope::LEN_MAX + payload.len()];
    let len = Envelope::emit(payload_type, signatures, payload, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Adds a signature to `envelope`, whose payload and other signatures stay as they are.
///
/// # Errors
/// [`KeyError`]: four signatures already, or one of this key.
pub fn add_signature(
    envelope: &Envelope<'_>,
    product: &Id,
    role: KeyRole,
    signer: &dyn Signer,
) -> Result<Vec<u8>, KeyError> {
    // A new envelope would give the payload a right digest, and make a damaged payload a signed one.
    if !envelope.has_its_payload::<SoftSha256>() {
        return Err(KeyError::OtherPayload);
    }
    let mut signatures: Vec<_> = envelope.signatures().collect();
    let public = signer.public();
    let is_ours = |other: &Signature<'_>| other.kind == KeyKind::Ed25519;
    if signatures.iter().any(|other| is_ours(other) && other.name == public) {
        return Err(KeyError::SignedAlready(key_id::<SoftSha256>(&public)));
    }
    // Checked before the signer is asked, because a hardware key may need a touch.
    if signatures.iter().filter(|other| is_ours(other)).count()
        == usize::from(KeyKind::Ed25519.count_max())
        || signatures.len() == envelope::SIGNATURES_MAX
    {
        return Err(KeyError::Full);
    }
    let (payload_type, payload) = (envelope.payload_type(), envelope.payload());
    let made = sign_payload(payload_type, product, payload, role, signer)?;
    signatures.push(Signature::ed25519(&public, &made));
    signatures.sort_unstable_by_key(|signature| (signature.kind.code(), signature.name));
    wrap(payload_type, &signatures, payload)
}

fn sign_payload(
    payload_type: PayloadType,
    product: &Id,
    payload: &[u8],
    role: KeyRole,
    signer: &dyn Signer,
) -> Result<[u8; 64], KeyError> {
    signer.sign(&envelope::to_be_signed(payload_type, role, product, payload))
}

#[cfg(test)]
mod tests {
    use crate::keys::SigningKey;

    use super::*;

    #[test]
    fn signatures_are_added_in_order_and_nothing_else_changes() {
        let keys: Vec<_> = (1..=6).map(|n| SigningKey::from_seed([n; 32])).collect();
        let (product, role) = ([7; 16], KeyRole::Release);
        let first = [(role, &keys[0] as &dyn Signer)];
        let mut bytes = sign_envelope(PayloadType::Manifest, &product, b"payload", &first).unwrap();
        for (number, key) in keys.iter().enumerate().skip(1) {
            let (envelope, _) = Envelope::parse(&bytes).unwrap();
            let result = add_signature(&envelope, &product, role, key);
            if number >= 4 {
                assert!(matches!(result, Err(KeyError::Full)), "{result:?}");
                continue;
            }
            let again = add_signature(&envelope, &product, role, &keys[0]);
            assert!(matches!(again, Err(KeyError::SignedAlready(_))), "{again:?}");
            // The same as if all had signed at once.
            let all: Vec<_> = keys[..=number].iter().map(|k| (role, k as &dyn Signer)).collect();
            bytes = result.unwrap();
            let at_once = sign_envelope(PayloadType::Manifest, &product, b"payload", &all).unwrap();
            assert!(bytes == at_once);
        }
    }
}
