//! Refuses what devices would not take: before it is signed, and once its head is signed.

use stillboot::format::envelope::PAYLOAD_LEN_MAX;
use stillboot::format::manifest::COMPONENTS_MAX;
use stillboot::format::{
    Component, Encryption, KeyRole, Manifest, PayloadType, Role, Slot, SlotKind,
};
use stillboot::verify::{Device, SoftSha256, TrustError, verify_head};
use stillboot_release::bundle::{self, Part};
use stillboot_release::keys::{Roots, Signer, sign_envelope};

use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::start::{self, Trouble};
use crate::time;

/// Refuses what no loader would start, before it is signed.
pub fn start(
    manifest: &Manifest,
    kind: SlotKind,
    parts: &[Part<'_>],
    kept: &[Option<Vec<u8>>],
    force: bool,
    out: &Output,
) -> Result<(), Failure> {
    let mut described = manifest.clone();
    for part in parts {
        // The check uses no digests, and of the length only that it is not zero.
        let component = Component {
            role: part.role,
            load: part.load,
            linked: bundle::linked(part.linked),
            encryption: Encryption::None,
            length: 1,
            index_root: [0; 32],
            sha256: [0; 32],
        };
        described.components.push(component).map_err(|_| {
            Failure::usage(format_args!(
                "expected at most {COMPONENTS_MAX} components, found {}",
                parts.len()
            ))
        })?;
    }
    match start::trouble(&described, kind, &|part| kept.get(part)?.as_deref()) {
        None => Ok(()),
        Some(Trouble::Never(why)) => {
            Err(Failure::usage(format_args!("no loader would start this bundle: {why}")))
        }
        Some(Trouble::NothingToStart(why)) => {
            odd(&format!("nothing would start: {why}"), force, out)
        }
        Some(Trouble::Uneven(why)) => odd(&why, force, out),
    }
}

/// Says for which slots a bundle is, where that is not every update slot that devices have.
pub fn warn_slots(parts: &[Part<'_>], out: &Output) {
    let started =
        || parts.iter().filter(|part| matches!(part.role, Role::Kernel | Role::Uki | Role::Image));
    let linked: Vec<_> = started().filter_map(|part| part.linked).collect();
    let [only] = linked[..] else { return };
    if started().count() == 1 && only != Slot::Recovery {
        out.warn(format_args!(
            "it is for slot {only} alone: a device that would install into another slot refuses it"
        ));
    }
}

/// Refuses what no device would install, unless that is what is wanted.
pub fn odd_promises(manifest: &Manifest, force: bool, out: &Output) -> Result<(), Failure> {
    if let (until @ 1.., Some(now)) = (manifest.not_after, time::now())
        && now > until
    {
        odd(&format!("not-after: it has expired already, at {}", time::show(until)), force, out)?;
    }
    let version = |text: &str| semver::Version::parse(text).ok();
    if let (Some(least), Some(own)) = (version(&manifest.min_from), version(&manifest.version))
        && least > own
    {
        odd(
            &format!(
                "min-from: only devices that run {least} or later may take it, and they run a later \
                 version than {own}"
            ),
            force,
            out,
        )?;
    }
    Ok(())
}

/// Something that may be a mistake.
fn odd(what: &str, force: bool, out: &Output) -> Result<(), Failure> {
    if force {
        out.warn(what);
        return Ok(());
    }
    Err(Failure::usage(format_args!("{what}; --force packs it anyway")))
}

/// With the roots at hand, the head is verified as a device will: a bundle that none would take is
/// better noticed here.
pub fn head(
    roots: &Roots,
    kind: SlotKind,
    keyset: &[u8],
    manifest: &Manifest,
    signers: &[(KeyRole, &dyn Signer)],
) -> Result<(), Failure> {
    if keyset.is_empty() {
        return Ok(());
    }
    let mut payload = vec![0; PAYLOAD_LEN_MAX];
    let len = manifest.emit(&mut payload).map_err(bundle::BundleError::Manifest)?;
    let envelope =
        sign_envelope(PayloadType::Manifest, &manifest.product, &payload[..len], signers)?;
    let device = Device::new(roots.trust(), roots.product_id(), manifest.class)
        .with_revision(manifest.revision_min)
        .with_architecture(manifest.architecture);
    match verify_head::<SoftSha256>(&device, kind, &[keyset, &envelope].concat()) {
        Ok(_) => Ok(()),
        // A warning about missing signatures was printed before; they can be added.
        Err(TrustError::ManifestSignature(_)) => Ok(()),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            "trust",
            format_args!("no device with these roots would take this bundle: {error}"),
        )),
    }
}
