//! How values look: one JSON shape each for scripts, and lines for people. This file has the small
//! values that both are made of.

mod boot_record;
mod payload;

use std::path::Path;

use stillboot::format::{Id, KeyKind, KeyName};
use stillboot::verify::{SoftSha256, key_id};
use stillboot_release::keys::id_of;
use uuid::Uuid;

pub use boot_record::{
    Shown, choice_text, copy, copy_text, record, record_lines, sequence, state_name,
};
pub use payload::{
    keyset, keyset_lines, linked, manifest, manifest_lines, signatures, signers, signers_text,
};

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path for scripts. Bytes that are not UTF-8 are replaced, because JSON holds text only.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

/// An id as a UUID.
pub fn id(id: &Id) -> String {
    Uuid::from_bytes(*id).to_string()
}

/// An id with the name that stands for it, where that is one of `names`.
pub fn named(found: &Id, names: &[&str]) -> String {
    let is_it = |name: &&&str| Uuid::parse_str(name).is_err() && id_of(name) == *found;
    match names.iter().find(is_it) {
        Some(name) => format!("{name} ({})", id(found)),
        None => id(found),
    }
}

/// A key's id.
pub fn key(public: &[u8; 32]) -> String {
    hex(&key_id::<SoftSha256>(public))
}

/// The id of a key of any kind. The name of one that is no Ed25519 key is the digest of which the id
/// is the start.
pub fn key_of(kind: KeyKind, name: &KeyName) -> String {
    match kind {
        KeyKind::Ed25519 => key(name),
        _ => hex(&name[..8]),
    }
}
