//! Keys and bundles for simulated devices: whatever a seed makes, made in memory.

use std::io::Cursor;

use stillboot::format::manifest::CHUNK_SIZE_MIN;
use stillboot::format::{
    Architecture, Channel, Digest, Epochs, Key, KeyKind, KeyRole, Keyset, Load, Manifest,
    PayloadType, Risk, Role, Rule, Slot, SlotKind, Statement, StatementKind, envelope, keyset,
    manifest, statement,
};
use stillboot::verify::{Device, RootKey, Trust};
use stillboot_release::bundle::{self, BundleError, Part};
use stillboot_release::keys::{Signer, SigningKey, id_of, sign_envelope};

use crate::disk::Random;

/// The publisher of releases: all keys of one product.
#[derive(Debug)]
pub struct Publisher {
    roots: Vec<SigningKey>,
    root_keys: Vec<RootKey>,
    /// Signs update slots.
    pub release: SigningKey,
    /// Signs the recovery slot.
    pub recovery: SigningKey,
    /// Signs manifests of risk `edge`.
    pub edge: SigningKey,
    /// Signs channel statements.
    pub channel: SigningKey,
    /// Signs approvals.
    pub approver: SigningKey,
    /// Version of the keyset that goes into bundles.
    pub keyset_version: u32,
    product: [u8; 16],
}

impl Publisher {
    /// The publisher that `seed` makes: one root, one release key, one recovery key.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut key = || {
            let mut seed = [0; 32];
            random.fill(&mut seed);
            SigningKey::from_seed(seed)
        };
        let roots = vec![key()];
        let root_keys = roots.iter().map(|root| RootKey::ed25519(root.public())).collect();
        let (release, recovery) = (key(), key());
        let (edge, channel, approver) = (key(), key(), key());
        let product = id_of("simulated product");
        Self {
            roots,
            root_keys,
            release,
            recovery,
            edge,
            channel,
            approver,
            keyset_version: 1,
            product,
        }
    }

    /// A device that trusts this publisher.
    #[must_use]
    pub fn device(&self) -> Device<'_> {
        Device::new(
            Trust::Roots { keys: &self.root_keys, rule: Rule::ed25519(1) },
            self.product,
            id_of("simulated class"),
        )
        .with_revision(1)
        .with_architecture(Architecture::X86_64)
    }

    /// The keyset that goes into bundles.
    #[must_use]
    pub fn keyset(&self) -> Keyset {
        let key = |signer: &SigningKey, role: KeyRole| Key {
            kind: KeyKind::Ed25519,
            name: signer.public(),
            roles: role.bit(),
        };
        let keys = [
            key(&self.release, KeyRole::Release),
            key(&self.recovery, KeyRole::Recovery),
            key(&self.edge, KeyRole::EdgeRelease),
            key(&self.channel, KeyRole::Channel),
            key(&self.approver, KeyRole::Approver),
        ];
        Keyset {
            schema: keyset::SCHEMA,
            version: self.keyset_version,
            rules: [1, 1, 1, 1, 1, 0].map(Rule::ed25519),
            keys: keys.into_iter().collect(),
        }
    }

    /// Replaces the release key and issues the next keyset: the old key counts no more. Returns it,
    /// for it is the one that was stolen.
    pub fn rotate_release(&mut self, seed: [u8; 32]) -> SigningKey {
        self.keyset_version += 1;
        core::mem::replace(&mut self.release, SigningKey::from_seed(seed))
    }

    /// A statement of `kind` about the manifest of `digest`, by the key of its role.
    ///
    /// # Errors
    /// [`BundleError`] for a statement that breaks a rule.
    pub fn statement(
        &self,
        kind: StatementKind,
        digest: Digest,
        change: impl FnOnce(&mut Statement),
    ) -> Result<Vec<u8>, BundleError> {
        let mut statement = Statement {
            schema: statement::SCHEMA,
            kind,
            digest,
            number: 1,
            product: self.product,
            channel: self.manifest(1).channel,
            rollout: 100,
            not_after: 0,
            name: heapless::String::new(),
        };
        change(&mut statement);
        let mut payload = [0; envelope::PAYLOAD_LEN_MAX];
        let len = statement.emit(&mut payload).map_err(BundleError::Manifest)?;
        let (role, signer): (_, &dyn Signer) = match kind {
            StatementKind::Approval => (KeyRole::Approver, &self.approver),
            _ => (KeyRole::Channel, &self.channel),
        };
        let signers = [(role, signer)];
        Ok(sign_envelope(PayloadType::Statement, &self.product, &payload[..len], &signers)?)
    }

    /// The keyset's envelope, signed by the roots.
    ///
    /// # Errors
    /// [`BundleError`] for a keyset that breaks a rule.
    pub fn signed_keyset(&self, keyset: &Keyset) -> Result<Vec<u8>, BundleError> {
        let roots: Vec<&dyn Signer> = self.roots.iter().map(|key| key as &dyn Signer).collect();
        bundle::sign_keyset(keyset, &self.product, &roots)
    }

    /// A manifest for this product, without components.
    #[must_use]
    pub fn manifest(&self, sequence: u64) -> Manifest {
        let text = |text: &str| text.chars().collect();
        Manifest {
            schema: manifest::SCHEMA,
            product: self.product,
            class: id_of("simulated class"),
            revision_min: 1,
            revision_max: 3,
            version: text(&format!("{sequence}.0.0")),
            sequence,
            level: 1,
            min_from: text(""),
            channel: Channel {
                track: text("latest").chars().collect(),
                risk: Risk::Stable,
                branch: text("").chars().collect(),
            },
            architecture: Architecture::Any,
            not_after: 0,
            epochs: Epochs { reads_min: 0, reads_max: 0, writes: 0 },
            rollout: 100,
            flags: 0,
            chunk_size: CHUNK_SIZE_MIN,
            components: heapless::Vec::new(),
        }
    }

    /// A signed bundle of `manifest` and these components.
    ///
    /// # Errors
    /// [`BundleError`] for a manifest that breaks a rule.
    pub fn bundle(
        &self,
        manifest: Manifest,
        kind: SlotKind,
        parts: &[Piece<'_>],
    ) -> Result<Vec<u8>, BundleError> {
        let keyset = self.signed_keyset(&self.keyset())?;
        self.bundle_under(&keyset, manifest, kind, parts)
    }

    /// As [`bundle`](Self::bundle), under another keyset: its envelope.
    ///
    /// # Errors
    /// As there.
    pub fn bundle_under(
        &self,
        keyset: &[u8],
        manifest: Manifest,
        kind: SlotKind,
        parts: &[Piece<'_>],
    ) -> Result<Vec<u8>, BundleError> {
        let (role, signer) = match kind {
            SlotKind::Update => (KeyRole::Release, &self.release),
            SlotKind::Recovery => (KeyRole::Recovery, &self.recovery),
        };
        let mut parts: Vec<_> = parts
            .iter()
            .map(|piece| {
                Part::new(piece.role, piece.load, Box::new(Cursor::new(piece.bytes)))
                    .with_linked(piece.linked)
            })
            .collect();
        let mut out = Vec::new();
        bundle::write(manifest, keyset, &[(role, signer)], &mut parts, &mut out, &mut |_| {})?;
        Ok(out)
    }

    /// The simplest bundle: kernel and initramfs, their content following from the sequence.
    ///
    /// # Errors
    /// As [`bundle`](Self::bundle).
    pub fn simple(&self, sequence: u64, kind: SlotKind) -> Result<Vec<u8>, BundleError> {
        let kernel = content(sequence, 10_000);
        let initramfs = content(sequence + 1_000_000, 5_000);
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let parts = [piece(Role::Kernel, &kernel[..]), piece(Role::Initramfs, &initramfs[..])];
        self.bundle(self.manifest(sequence), kind, &parts)
    }
}

/// One component in memory.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// What it is for.
    pub role: Role,
    /// How it is loaded.
    pub load: Load,
    /// The only slot it is linked for.
    pub linked: Option<Slot>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// `len` bytes that follow from `seed`.
#[must_use]
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Random::new(seed).fill(&mut out);
    out
}
