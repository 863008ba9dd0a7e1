//! Keys as people keep them: PEM files, a file of roots, and names that stand for 16-byte ids.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ed25519_compact::{KeyPair, PublicKey, Seed};
use pkcs8::{EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use serde::{Deserialize, Serialize};
use stillboot::format::{Envelope, Id, KeyKind, KeyRole, PayloadType, Rule, Signature, envelope};
use stillboot::verify::{KeyId, RootKey, SoftSha256, Trust, digest_of, key_id, verify_signature};
use uuid::Uuid;

use stillboot_linux::{new_file, open};

use crate::settings;

/// Why keys could not be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds no key of the kind that is needed.
    #[error("{}: expected {expected}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What was expected.
        expected: &'static str,
    },
    /// The file holds a key of a kind that this build cannot use.
    #[error(
        "{}: expected an Ed25519 key, found one of {kind} (kind {}), which this build cannot use",
        path.display(),
        kind.code()
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// The kind.
        kind: KeyKind,
    },
    /// The file holds an encrypted key that was not opened.
    #[error("{}: {reason}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The file of roots breaks a rule.
    #[error("{}: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Which rule, what was found, and what to do.
        reason: String,
    },
    /// What was signed breaks its format.
    #[error("cannot sign: {0}")]
    Format(#[from] stillboot::format::FormatError),
    /// Two of the signers are the same key.
    #[error("the same key is given twice: each signer counts once")]
    SameKey,
    /// The signer failed.
    #[error("the signer failed: {0}")]
    Signer(String),
    /// The envelope has no room for another signature.
    #[error("expected at most 4 Ed25519 signatures, found 4 already: a fifth would not be read")]
    Full,
    /// The key has signed the envelope before.
    #[error("key {} has signed this already: each signer counts once", hex(.0))]
    SignedAlready(KeyId),
}

/// The namespace of ids that are made from names.
const NAMES: Uuid = Uuid::from_u128(0x6c1d_5f0a_3e57_5b0c_9a44_71f2_0cbd_9e18);

/// The id that `name` stands for: the UUID itself where it is one, else a version 5 UUID of it.
#[must_use]
pub fn id_of(name: &str) -> Id {
    let uuid = Uuid::parse_str(name).unwrap_or_else(|_| Uuid::new_v5(&NAMES, name.as_bytes()));
    uuid.into_bytes()
}

/// What can sign: a key in memory, or a program that has one.
pub trait Signer {
    /// The public key that goes with it.
    fn public(&self) -> [u8; 32];
    /// The Ed25519 signature of `message`.
    ///
    /// # Errors
    /// [`KeyError`].
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;
}

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
        // The public half is computed again: signing with a foreign one would give the key away. One
        // that stands there and is another means that the file is damaged.
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

/// What stands in a command for the name of a file with the bytes to sign.
const PLACE: &str = "{}";

/// What a program may have wanted that was given none.
const PLACE_HINT: &str = "; a program that reads a file gets one where an argument is `{}`";

/// The program of a command, without its arguments: these may hold a PIN.
#[must_use]
pub fn program_of(command: &str) -> String {
    let words = shlex::split(command).unwrap_or_default();
    let first = words.into_iter().next();
    first.or_else(|| command.split_whitespace().next().map(str::to_owned)).unwrap_or_default()
}

/// A program that signs with a key that never leaves its place, such as an HSM: it gets the bytes
/// to sign on its standard input, or in a file where an argument is `{}`, and writes exactly 64
/// signature bytes to its standard output.
pub struct ExternalSigner {
    command: String,
    public: [u8; 32],
    /// The last message and its signature: the same bytes are not worth another touch of the key.
    last: Mutex<Option<(Vec<u8>, [u8; 64])>>,
}

impl core::fmt::Debug for ExternalSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("ExternalSigner").field(&program_of(&self.command)).finish()
    }
}

impl ExternalSigner {
    /// The program and its arguments, with a shell's rules of quotes but run without one, and the
    /// public key whose signatures it makes.
    #[must_use]
    pub const fn new(command: String, public: [u8; 32]) -> Self {
        Self { command, public, last: Mutex::new(None) }
    }

    fn failed(&self, what: impl core::fmt::Display) -> KeyError {
        KeyError::Signer(format!("`{}`: {what}", program_of(&self.command)))
    }

    /// A file of the message without a name, so that nothing is left of it when we are ended.
    fn message_file(&self, message: &[u8]) -> Result<File, KeyError> {
        let mut file = tempfile::tempfile().map_err(|error| self.failed(error))?;
        file.write_all(message).map_err(|error| self.failed(error))?;
        Ok(file)
    }

    fn run(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut words = shlex::split(&self.command)
            .ok_or_else(|| self.failed("expected every quote to be closed"))?
            .into_iter();
        let program = words.next().ok_or_else(|| self.failed("expected a program"))?;
        let mut words: Vec<_> = words.map(OsString::from).collect();
        // Some programs do not read a message from a pipe.
        let file = match words.iter().any(|word| word == PLACE) {
            true => Some(self.message_file(message)?),
            false => None,
        };
        for word in words.iter_mut().filter(|word| *word == PLACE) {
            if let Some(file) = &file {
                // By way of our process: the descriptor itself is not inherited.
                *word = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into();
            }
        }
        let mut child = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(error))?;
        // What is signed is shorter than any pipe's buffer, so this does not wait for a program that
        // writes before it reads. One that reads nothing is judged by what it writes.
        if let Some(mut stdin) = child.stdin.take()
            && file.is_none()
        {
            let _ = stdin.write_all(message);
        }
        let mut signature = Vec::new();
        let read = match child.stdout.take() {
            // One byte more than is due, to see that there is more. The pipe is closed then, and
            // the program cannot go on writing for ever.
            Some(stdout) => stdout.take(65).read_to_end(&mut signature),
            None => Ok(0),
        };
        let status = child.wait().map_err(|error| self.failed(error))?;
        read.map_err(|error| self.failed(error))?;
        // The length first: a program that writes too much is ended by the pipe that was closed.
        if signature.len() > 64 {
            return Err(self.failed("expected 64 signature bytes, found more"));
        }
        if !status.success() {
            let hint = if file.is_none() { PLACE_HINT } else { "" };
            let what = format_args!("expected it to succeed, it ended with {status}{hint}");
            return Err(self.failed(what));
        }
        Ok(signature)
    }
}

impl Signer for ExternalSigner {
    fn public(&self) -> [u8; 32] {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((signed, signature)) = &*last
            && signed == message
        {
            return Ok(*signature);
        }
        let signature = self.run(message)?;
        let signature: [u8; 64] = signature.as_slice().try_into().map_err(|_| {
            self.failed(format_args!("expected 64 signature bytes, found {}", signature.len()))
        })?;
        // A wrong signature in the name of a known key makes devices refuse the whole envelope.
        verify_signature(&self.public, &[message], &signature).map_err(|_| {
            self.failed(
                "expected a signature by the given public key over these bytes, found another",
            )
        })?;
        *last = Some((message.to_vec(), signature));
        Ok(signature)
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

fn public_from_pem(text: &str) -> Option<[u8; 32]> {
    let key = PublicKey::from_pem(only_block(text).ok()?).ok()?;
    key.validate().ok()?;
    Some(*key)
}

/// Names of the algorithms of keys that are kinds of ours, and that this build lacks.
const OTHER_KINDS: [(ObjectIdentifier, KeyKind); 4] = [
    // RFC 8708, RFC 9881.
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.3.17"), KeyKind::LmsH10),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), KeyKind::MlDsa44),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), KeyKind::MlDsa65),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), KeyKind::MlDsa87),
];

/// Which kind that this build lacks a public key in PEM is of. Its algorithm is named near the
/// start, so the bytes of the name are looked for there.
fn kind_of_pem(text: &str) -> Option<KeyKind> {
    let (_, document) = pkcs8::Document::from_pem(only_block(text).ok()?).ok()?;
    let head = &document.as_bytes()[..document.as_bytes().len().min(40)];
    let is_in = |oid: &ObjectIdentifier| {
        head.windows(oid.as_bytes().len()).any(|window| window == oid.as_bytes())
    };
    OTHER_KINDS.iter().find(|(oid, _)| is_in(oid)).map(|(_, kind)| *kind)
}

/// The roots of a product as a file: what loaders and agents are built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The product's name, or its UUID.
    pub product: String,
    /// How many roots must agree on a keyset.
    pub threshold: u8,
    /// The root keys.
    pub keys: Vec<RootKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootsFile {
    product: String,
    threshold: u8,
    keys: Vec<String>,
}

impl Roots {
    /// Reads a file of roots.
    ///
    /// # Errors
    /// [`KeyError`]: no keys, more than four, one twice, or a threshold that is 0 or above their
    /// number.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let wrong = |reason: String| KeyError::Roots { path: path.to_path_buf(), reason };
        let text = read(path)?;
        let file: RootsFile = toml::from_str(&text).map_err(|error| {
            let trouble = settings::trouble(&text, &error);
            wrong(format!("expected a file of roots as `stillboot keygen` writes it: {trouble}"))
        })?;
        if file.product.is_empty() {
            return Err(wrong("expected the product's name or UUID, found an empty one".into()));
        }
        let mut keys = Vec::new();
        for (number, text) in file.keys.iter().enumerate() {
            let key = public_from_pem(text).ok_or_else(|| {
                let number = number + 1;
                wrong(match kind_of_pem(text) {
                    Some(kind) => format!(
                        "key {number} is one of {kind} (kind {}), which this build cannot check",
                        kind.code()
                    ),
                    None => format!("key {number} is not one Ed25519 public key in PEM"),
                })
            })?;
            let key = RootKey::ed25519(key);
            if keys.contains(&key) {
                return Err(wrong(format!("key {} is there twice", number + 1)));
            }
            keys.push(key);
        }
        if keys.is_empty() || keys.len() > 4 {
            return Err(wrong(format!("expected 1 to 4 root keys, found {}", keys.len())));
        }
        if file.threshold == 0 || usize::from(file.threshold) > keys.len() {
            return Err(wrong(format!(
                "expected a threshold of 1 to {}, found {}",
                keys.len(),
                file.threshold
            )));
        }
        Ok(Self { product: file.product, threshold: file.threshold, keys })
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`KeyError::Signer`] if it cannot be written as TOML, which does not happen.
    pub fn to_toml(&self) -> Result<String, KeyError> {
        let keys = self.keys.iter().map(|key| public_to_pem(&key.name)).collect();
        let file = RootsFile { product: self.product.clone(), threshold: self.threshold, keys };
        toml::to_string_pretty(&file).map_err(|error| KeyError::Signer(error.to_string()))
    }

    /// The product's id.
    #[must_use]
    pub fn product_id(&self) -> Id {
        id_of(&self.product)
    }

    /// What the core calls it.
    #[must_use]
    pub fn trust(&self) -> Trust<'_> {
        Trust::Roots { keys: &self.keys, rule: Rule::ed25519(self.threshold) }
    }
}

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
    let mut signatures: Vec<_> = envelope.signatures().collect();
    let public = signer.public();
    let is_ours = |other: &Signature<'_>| other.kind == KeyKind::Ed25519;
    if signatures.iter().any(|other| is_ours(other) && other.name == public) {
        return Err(KeyError::SignedAlready(key_id::<SoftSha256>(&public)));
    }
    // Before the signer is asked, which may take a person's touch.
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Longest file of a key or of roots that is read: none comes near.
const FILE_LEN_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<String, KeyError> {
    open::small_text(path, FILE_LEN_MAX).map_err(|source| KeyError::System {
        path: path.to_path_buf(),
        action: "read",
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_core_knows_the_keys_of_the_test_suite() {
        let ids = [1, 2, 3, 4].map(|n| key_id::<SoftSha256>(&SigningKey::test(n).public()));
        assert_eq!(ids, stillboot::verify::TEST_KEY_IDS, "{ids:02x?}");
    }

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

    #[test]
    fn external_signers_are_not_believed() {
        let key = SigningKey::from_seed([3; 32]);
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("good");
        fs::write(&good, key.sign(b"message").unwrap()).unwrap();
        let long = directory.path().join("long");
        fs::write(&long, [0; 65]).unwrap();
        let sign = |command: String| {
            ExternalSigner::new(command, key.public()).sign(b"message").map_err(|e| e.to_string())
        };
        let cat = |path: &Path| format!("cat {}", path.display());
        assert_eq!(sign(cat(&good)), Ok(key.sign(b"message").unwrap()));
        for (command, reason) in [
            (String::new(), "expected a program"),
            ("   ".into(), "expected a program"),
            ("/nonexistent/signer".into(), "No such file"),
            ("true".into(), "found 0"),
            ("false".into(), "expected it to succeed"),
            ("false".into(), "gets one where an argument is `{}`"),
            (cat(&long), "found more"),
            ("yes".into(), "found more"),
            ("head -c 64 /dev/zero".into(), "found another"),
            // The message itself, and nothing more.
            ("cat".into(), "found 7"),
        ] {
            let error = sign(command.clone()).unwrap_err();
            assert!(error.contains(reason), "{command}: {error}");
            // An argument may be the PIN.
            assert!(!error.contains("/dev/zero"), "{error}");
        }
        // Of another message.
        let error = ExternalSigner::new(cat(&good), key.public()).sign(b"other").unwrap_err();
        assert!(error.to_string().contains("found another"), "{error}");
    }
}
