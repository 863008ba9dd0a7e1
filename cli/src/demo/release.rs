//! The release engineer's side: keys that follow from the seed, and bundles made with them.

use std::io::Cursor;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow};
use stillboot::format::{
    Architecture, Channel, Component, Digest, Epochs, Id, Key, KeyKind, KeyRole, Keyset, Load,
    Manifest, Risk, Role, Rule, keyset, manifest,
};
use stillboot::verify::RootKey;
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::{Roots, Signer as _, SigningKey, id_of};
use stillboot_sim::disk::Random;

use super::inputs::System;

/// The product that the demo's device is.
pub const PRODUCT: &str = "stillboot demo";
/// The class of the demo's device.
pub const CLASS: &str = "demo machine";
/// A class of the same product that the demo's device is not of.
pub const OTHER_CLASS: &str = "demo machine with another board";

/// Bytes of a chunk: large enough that hashing and not counting takes the time, small enough that
/// the power can fail in between many times.
pub const CHUNK_SIZE: u32 = 64 << 10;

/// Who signs.
pub struct Keys {
    root: SigningKey,
    release: SigningKey,
    recovery: SigningKey,
}

impl Keys {
    /// New keys from `random`. A party that knows the seed has them, so they are for the demo only.
    pub fn new(random: &mut Random) -> Self {
        let mut key = || {
            let mut seed = [0; 32];
            random.fill(&mut seed);
            SigningKey::from_seed(seed)
        };
        Self { root: key(), release: key(), recovery: key() }
    }

    /// What a device that trusts these keys is built with.
    pub fn roots(&self) -> Roots {
        Roots::new(PRODUCT, 1, [RootKey::ed25519(self.root.public())])
    }

    /// The first keyset, signed by the root.
    fn keyset(&self) -> Result<Vec<u8>> {
        let mut keyset = Keyset {
            schema: keyset::SCHEMA,
            version: 1,
            rules: [Rule::NONE; 6],
            keys: Default::default(),
        };
        for (at, (role, key)) in
            [(KeyRole::Release, &self.release), (KeyRole::Recovery, &self.recovery)]
                .into_iter()
                .enumerate()
        {
            let key = Key { kind: KeyKind::Ed25519, name: key.public(), roles: role.bit() };
            keyset.keys.push(key).map_err(|_| anyhow!("a keyset has no room for two keys"))?;
            // The first two roles of keysets are these two.
            keyset.rules[at] = Rule::ed25519(1);
        }
        Ok(bundle::sign_keyset(&keyset, &id_of(PRODUCT), &[&self.root])?)
    }
}

/// What tells one bundle from another.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// The version for people.
    pub version: &'static str,
    /// What orders versions.
    pub sequence: u64,
    /// The class it is for, by name.
    pub class: &'static str,
}

/// A bundle, and what was put into it.
pub struct Release {
    /// The version for people.
    pub version: &'static str,
    /// What the kernel is.
    pub name: String,
    /// The whole bundle.
    pub bytes: Rc<Vec<u8>>,
    /// The manifest as it was signed.
    pub manifest: Manifest,
    /// The update's identity.
    pub digest: Digest,
    /// The components as they were before they were packed, in the order of the manifest.
    pub parts: [Rc<Vec<u8>>; 3],
}

impl Release {
    /// Packs `system`, signed with `keys`.
    ///
    /// # Errors
    /// It does not make a bundle: a component is beyond what a manifest takes.
    pub fn pack(
        system: &System,
        label: Label,
        architecture: Architecture,
        keys: &Keys,
    ) -> Result<Self> {
        // The version stands in the command line, so that no two releases are the same bytes.
        let cmdline = format!("{} stillboot.demo={}", system.cmdline, label.version);
        let parts =
            [system.kernel.clone(), system.initramfs.clone(), Rc::new(cmdline.into_bytes())];
        let roles = [Role::Kernel, Role::Initramfs, Role::Cmdline];
        let mut inputs: Vec<Part<'_>> = roles
            .into_iter()
            .zip(parts.iter())
            .map(|(role, bytes)| {
                Part::new(role, Load::Ram, Box::new(Cursor::new(bytes.as_slice())))
            })
            .collect();
        let mut bytes = Vec::new();
        let (manifest, digest) = bundle::write(
            describe(label, architecture)?,
            &keys.keyset()?,
            &[(KeyRole::Release, &keys.release)],
            &mut inputs,
            &mut bytes,
            &mut |_| {},
        )
        .with_context(|| format!("cannot pack {}", label.version))?;
        drop(inputs);
        let name = system.name.clone();
        Ok(Self { version: label.version, name, bytes: Rc::new(bytes), manifest, digest, parts })
    }

    /// Bytes of all components.
    pub fn payload_len(&self) -> u64 {
        self.manifest.components.iter().map(|component| component.length).sum()
    }

    /// Bytes of keyset and manifest, and of the first component's index after them.
    pub fn head_len(&self) -> (u64, u64) {
        let index = |component: &Component| component.index_len(self.manifest.chunk_size);
        let indexes: u64 = self.manifest.components.iter().map(index).sum();
        let first = self.manifest.components.first().map_or(0, index);
        (self.bytes.len() as u64 - self.payload_len() - indexes, first)
    }
}

fn describe(label: Label, architecture: Architecture) -> Result<Manifest> {
    let text = |text: &str| text.try_into().map_err(|_| anyhow!("`{text}` is too long"));
    let class: Id = id_of(label.class);
    Ok(Manifest {
        schema: manifest::SCHEMA,
        product: id_of(PRODUCT),
        class,
        revision_min: 1,
        revision_max: 1,
        version: text(label.version)?,
        sequence: label.sequence,
        level: 1,
        min_from: Default::default(),
        channel: Channel {
            track: "latest".try_into().map_err(|_| anyhow!("the track is too long"))?,
            risk: Risk::Stable,
            branch: Default::default(),
        },
        architecture,
        not_after: 0,
        epochs: Epochs::default(),
        rollout: 100,
        flags: 0,
        chunk_size: CHUNK_SIZE,
        components: Default::default(),
    })
}
