//! The manifest as JSON for people and their scripts. It is no format of ours: nothing reads it
//! back, and nothing can be installed from it.

use core::fmt;

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};

use super::Hex;
use stillboot::format::manifest::flags;
use stillboot::format::{Channel, Component, Epochs, FormatError, Id, Manifest, Slot};

/// Room for the view of every manifest there can be, in bytes.
pub const VIEW_LEN_MAX: usize = 4096;

/// Writes the view of `manifest` at the start of `into` and returns its length.
///
/// # Errors
/// [`FormatError::Short`] when `into` is; [`VIEW_LEN_MAX`] bytes never are.
pub fn view_manifest(manifest: &Manifest, into: &mut [u8]) -> Result<usize, FormatError> {
    serde_json_core::to_slice(&ManifestView(manifest), into).map_err(|_| FormatError::Short)
}

/// Serializes as the view of a manifest: names for codes, UUIDs for ids, hexadecimal digits for
/// digests, `null` for what is not set.
#[derive(Clone, Copy, Debug)]
pub struct ManifestView<'a>(pub &'a Manifest);

#[derive(Serialize)]
struct Text<'a> {
    schema: u8,
    product: Uuid,
    class: Uuid,
    revision: Revisions,
    version: &'a str,
    sequence: u64,
    level: u32,
    min_from: Option<&'a str>,
    channel: Shown<&'a Channel>,
    architecture: &'static str,
    not_after: Option<u64>,
    epochs: EpochsText,
    rollout: u8,
    flags: Flags,
    chunk_size: u32,
    components: Components<'a>,
}

#[derive(Serialize)]
struct Revisions {
    min: u16,
    max: u16,
}

#[derive(Serialize)]
struct EpochsText {
    reads_min: u16,
    reads_max: u16,
    writes: u16,
}

#[derive(Serialize)]
struct ComponentText {
    role: &'static str,
    load: &'static str,
    slot: Option<&'static str>,
    length: u64,
    index_root: Hex<32>,
    sha256: Hex<32>,
}

impl Serialize for ManifestView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let manifest = self.0;
        let Epochs { reads_min, reads_max, writes } = manifest.epochs;
        let text = Text {
            schema: manifest.schema,
            product: Uuid(manifest.product),
            class: Uuid(manifest.class),
            revision: Revisions { min: manifest.revision_min, max: manifest.revision_max },
            version: &manifest.version,
            sequence: manifest.sequence,
            level: manifest.level,
            min_from: Some(manifest.min_from.as_str()).filter(|text| !text.is_empty()),
            channel: Shown(&manifest.channel),
            architecture: manifest.architecture.name(),
            not_after: Some(manifest.not_after).filter(|time| *time != 0),
            epochs: EpochsText { reads_min, reads_max, writes },
            rollout: manifest.rollout,
            flags: Flags(manifest.flags),
            chunk_size: manifest.chunk_size,
            components: Components(&manifest.components),
        };
        text.serialize(serializer)
    }
}

struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An id as a UUID.
struct Uuid(Id);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, byte)| {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")
        })
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Flags(u32);

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (bit, name) in [(flags::SECURITY, "security"), (flags::DTB_REQUIRED, "dtb-required")] {
            if self.0 & bit != 0 {
                list.serialize_element(name)?;
            }
        }
        list.end()
    }
}

struct Components<'a>(&'a [Component]);

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for component in self.0 {
            let slot = usize::from(component.linked).checked_sub(1);
            list.serialize_element(&ComponentText {
                role: component.role.name(),
                load: component.load.name(),
                slot: slot.and_then(|number| Slot::ALL.get(number)).map(|slot| slot.name()),
                length: component.length,
                index_root: Hex(component.index_root),
                sha256: Hex(component.sha256),
            })?;
        }
        list.end()
    }
}
