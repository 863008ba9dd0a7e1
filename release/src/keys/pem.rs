//! Keys as PEM files: secret ones, encrypted or not, and public ones.

use std::path::Path;

use ed25519_compact::{KeyPair, PublicKey, Seed};
use pkcs8::{EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use stillboot::format::KeyKind;
use stillboot::verify::{SoftSha256, digest_of};
use stillboot_linux::{new_file, open};

use super::{KeyError, Signer};

/// A secret key in memory.
pub struct SigningKey(KeyPair);

impl core::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// The key that `seed` makes. A party that knows the seed has the key.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(KeyPair::from_seed(Seed::new(seed)))
    }

    /// Key `number`, 1 to 4, of the test suite. It is public, and release builds refuse it.
    #[must_use]
    pub fn test(number: u8) -> Self {
        Self::from_seed(digest_of::<SoftSha256>(format!("stillboot test key {number}").as_bytes()))
    }

    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::Signer`] where the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Signer(error.to_string()))?;
        Ok(Self::from_seed(seed))
    }

    /// Reads a secret key in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::read_with(path, &|| Err("the key is encrypted, and there is no passphrase"))
    }

    /// As [`read`](Self::read), and asks for the passphrase of a key that is encrypted, as
    /// `openssl genpkey -algorithm ed25519 -aes256` writes it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read_with(path: &Path, passphrase: &Passphrase<'_>) -> Result<Self, KeyError> {
        let text = read(path)?;
        Self::from_pem(&text, passphrase).map_err(|fault| match fault {
            PemFault::Passphrase(reason) => {
                KeyError::Passphrase { path: path.to_path_buf(), reason }
            }
            PemFault::NotAKey(expected) => KeyError::NotAKey { path: path.to_path_buf(), expected },
            PemFault::Kind(kind) => KeyError::Kind { path: path.to_path_buf(), kind },
        })
    }

    fn from_pem(text: &str, passphrase: &Passphrase<'_>) -> Result<Self, PemFault> {
        let not_a_key = PemFault::NotAKey(
            "one Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` writes it",
        );
        let (label, document) =
            SecretDocument::from_pem(only_block(text)?).map_err(|_| not_a_key)?;
        let document = match label {
            "PRIVATE KEY" => document,
            "ENCRYPTED PRIVATE KEY" => {
                let wrong = |_| PemFault::Passphrase("the passphrase does not open the key");
                let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
                    .map_err(|_| not_a_key)?;
                let passphrase = passphrase().map_err(PemFault::Passphrase)?;
                encrypted.decrypt(passphrase.as_bytes()).map_err(wrong)?
            }
            _ => return Err(not_a_key),
        };
        let info = PrivateKeyInfo::try_from(document.as_bytes()).map_err(|_| not_a_key)?;
        let is_it = |(oid, _): &&(ObjectIdentifier, KeyKind)| *oid == info.algorithm.oid;
        if let Some((_, kind)) = OTHER_KINDS.iter().find(is_it) {
            return Err(PemFault::Kind(*kind));
        }
        if info.algorithm.oid != ED25519 || info.algorithm.parameters.is_some() {
            return Err(not_a_key);
        }
        // The seed, as an octet string within the octet string.
        let seed = info.private_key.strip_prefix(&[4, 32]).and_then(|seed| seed.try_into().ok());
        let seed: [u8; 32] = seed.ok_or(not_a_key)?;
        // The public key is computed again: signing with another one would reveal the secret key.
        // If the file holds another one, it is damaged.
        let key = Self::from_seed(seed);
        if info.public_key.is_some_and(|public| public != key.public()) {
            return Err(PemFault::NotAKey("the public key that belongs to the private one"));
        }
        Ok(key)
    }

    /// Writes the secret key in PEM to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never overwritten.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed =
            |source| KeyError::System { path: path.to_path_buf(), action: "write", source };
        let mut text = self.0.sk.to_pem();
        text.push('\n');
        new_file::write(path, text.as_bytes(), 0o600).map_err(failed)
    }
}

/// Gives the passphrase of a key, or says why there is none.
pub type Passphrase<'a> = dyn Fn() -> Result<String, &'static str> + 'a;

/// What is wrong with a key's text.
#[derive(Clone, Copy)]
enum PemFault {
    Kind(KeyKind),
    NotAKey(&'static str),
    Passphrase(&'static str),
}

/// 1.3.101.112.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The one block of a text in PEM, whatever text stands before and behind it. A text with two
/// blocks is refused. If the second were ignored without a message, a root would be missing, or
/// another key would sign.
fn only_block(text: &str) -> Result<&str, PemFault> {
    let one = PemFault::NotAKey("one block in PEM, `-----BEGIN` to `-----END`");
    let start = text.find("-----BEGIN ").ok_or(one)?;
    let block = &text[start..];
    let end = block.find("-----END ").ok_or(one)?;
    let len = end + block[end..].find('\n').unwrap_or(block.len() - end);
    if block[len..].contains("-----BEGIN ") {
        return Err(PemFault::NotAKey("one key in PEM, found several"));
    }
    Ok(&block[..len])
}

impl Signer for SigningKey {
    fn public(&self) -> [u8; 32] {
        *self.0.pk
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        Ok(*self.0.sk.sign(message, None))
    }
}

/// A public key in PEM.
#[must_use]
pub fn public_to_pem(public: &[u8; 32]) -> String {
    PublicKey::new(*public).to_pem()
}

/// Reads a public key in PEM, as `openssl pkey -pubout` writes it.
///
/// # Errors
/// [`KeyError`], also for a weak key (it does not validate).
pub fn read_public(path: &Path) -> Result<[u8; 32], KeyError> {
    let text = read(path)?;
    public_from_pem(&text).ok_or_else(|| match kind_of_pem(&text) {
        Some(kind) => KeyError::Kind { path: path.to_path_buf(), kind },
        None => KeyError::NotAKey {
            path: path.to_path_buf(),
            expected: "one Ed25519 public key in PEM, as `openssl pkey -pubout` writes it",
        },
    })
}

pub(super) fn public_from_pem(text: &str) -> Option<[u8; 32]> {
    let key = PublicKey::from_pem(only_block(text).ok()?).ok()?;
    key.validate().ok()?;
    Some(*key)
}

/// Object identifiers of the kinds of keys that this build cannot use.
const OTHER_KINDS: [(ObjectIdentifier, KeyKind); 4] = [
    // RFC 8708, RFC 9881.
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.3.17"), KeyKind::LmsH10),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), KeyKind::MlDsa44),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), KeyKind::MlDsa65),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), KeyKind::MlDsa87),
];

/// Which kind that this build lacks a public key in PEM is of. Its algorithm is named near the
/// start, so the bytes of the name are looked for there.
pub(super) fn kind_of_pem(text: &str) -> Option<KeyKind> {
    let (_, document) = pkcs8::Document::from_pem(only_block(text).ok()?).ok()?;
    let head = &document.as_bytes()[..document.as_bytes().len().min(40)];
    let is_in = |oid: &ObjectIdentifier| {
        head.windows(oid.as_bytes().len()).any(|window| window == oid.as_bytes())
    };
    OTHER_KINDS.iter().find(|(oid, _)| is_in(oid)).map(|(_, kind)| *kind)
}

/// Longest file of a key or of roots that is read: real ones are much shorter.
const FILE_LEN_MAX: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<String, KeyError> {
    open::small_text(path, FILE_LEN_MAX).map_err(|source| KeyError::System {
        path: path.to_path_buf(),
        action: "read",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It said only that it had expected an Ed25519 key.
    #[test]
    fn a_secret_key_of_another_kind_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (number, kind) in
            [(17, KeyKind::MlDsa44), (18, KeyKind::MlDsa65), (19, KeyKind::MlDsa87)]
        {
            // PKCS#8 with the seed alone, as RFC 9881 has it.
            let mut inner = vec![0x30, 52, 2, 1, 0, 0x30, 11, 6, 9];
            inner.extend([0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, number]);
            inner.extend([4, 34, 0x80, 32]);
            inner.extend([7; 32]);
            inner[1] = inner.len() as u8 - 2;
            let document = SecretDocument::try_from(&inner[..]).unwrap();
            let path = folder.path().join("secret.pem");
            document.write_pem_file(&path, "PRIVATE KEY", Default::default()).unwrap();
            let error = SigningKey::read(&path).unwrap_err();
            assert!(
                matches!(error, KeyError::Kind { kind: found, .. } if found == kind),
                "{error}"
            );
            assert!(error.to_string().contains(kind.name()), "{error}");
        }
    }
}
