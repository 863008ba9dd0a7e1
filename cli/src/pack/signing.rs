//! The keys that sign a bundle, by the keyset that is in it.

use stillboot::format::{KeyRole, Keyset, SlotKind};
use stillboot_release::keys::Signer;

use super::settings::{Settings, missing};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::signers::{Named, key_in};
use crate::{files, keyset, view};

/// The keyset and its bytes; none for devices that trust one key.
pub fn read_keyset(settings: &Settings) -> Result<Option<(Vec<u8>, Keyset)>, Failure> {
    match (&settings.keyset, settings.single_key) {
        (Some(_), true) => {
            Err(Failure::usage("--single-key is for devices without keysets: leave --keyset out"))
        }
        (None, true) => Ok(None),
        (None, false) => Err(missing("keyset")),
        (Some(path), false) => {
            let bytes = files::read(path)?;
            let (_, keyset) = keyset::parse(&bytes, path)?;
            Ok(Some((bytes, keyset)))
        }
    }
}

/// Each key with the role it signs in. A signature that no device would count is an error here,
/// where it can still be mended.
pub fn signers<'a>(
    keys: &'a [Named],
    keyset: Option<&Keyset>,
    kind: SlotKind,
    out: &Output,
) -> Result<Vec<(KeyRole, &'a dyn Signer)>, Failure> {
    let wanted: &[KeyRole] = match kind {
        SlotKind::Update => &[KeyRole::Release, KeyRole::EdgeRelease],
        SlotKind::Recovery => &[KeyRole::Recovery],
    };
    let mut signers: Vec<(KeyRole, &dyn Signer)> = Vec::new();
    for named in keys {
        let public = named.signer.public();
        let role = match keyset {
            None => wanted.first().copied(),
            Some(keyset) => {
                let bits = key_in(keyset, &public).map_or(0, |key| key.roles);
                wanted.iter().copied().find(|role| bits & role.bit() != 0)
            }
        };
        let Some(role) = role else {
            return Err(Failure::new(
                Exit::Failed,
                "key",
                format_args!(
                    "{}: key {} has not the role {} in the keyset: no device would count its \
                     signature; see `stillboot keyset show`",
                    named.name,
                    view::key(&public),
                    wanted[0]
                ),
            ));
        };
        signers.push((role, &*named.signer));
    }
    if let Some(keyset) = keyset {
        let reaches = |role: &KeyRole| {
            let count = signers.iter().filter(|(r, _)| r == role).count();
            let rule = keyset.rule(*role);
            !rule.is_none() && count >= usize::from(keyset::needed(rule))
        };
        for (role, kind) in wanted.iter().filter_map(|role| {
            let is_used = signers.iter().any(|(used, _)| used == role);
            keyset::unsupported(keyset.rule(*role)).filter(|_| is_used).map(|kind| (role, kind))
        }) {
            out.warn(format_args!(
                "{role} keys must sign with {}: this build can neither sign nor check with {kind} \
                 (kind {}), and devices of this version refuse the bundle",
                keyset.rule(*role),
                kind.code()
            ));
        }
        if !wanted.iter().any(reaches) {
            let needed = keyset::needed(keyset.rule(wanted[0]));
            out.warn(format_args!(
                "devices want {needed} signatures by {} keys, this bundle carries {}: give more \
                 --key",
                wanted[0],
                signers.len()
            ));
        }
    }
    Ok(signers)
}
