//! What a power-on measures into a TPM, and where: known before, from the bundle alone.
//!
//! | register | data | event |
//! |---|---|---|
//! | [`SYSTEM_PCR`] | digest of the manifest, 32 bytes | `stillboot manifest DIGEST` |
//! | | root of each component that is handed over, 32 bytes: `uki`, or `kernel` and `initramfs` | `stillboot ROLE ROOT` |
//! | | the command line as it was signed, without the proof | `stillboot cmdline TEXT` |
//! | [`TREE_PCR`] | the device tree as it stands in the set, if one was chosen | `stillboot tree NAME` |
//!
//! Only what is about to be started is measured, in this order; candidates that were refused leave
//! no trace. The proof differs from one power-on to the next and is in no register. Events are of
//! type `EV_IPL`; the text is for people, the register knows the data alone.
//!
//! The registers are chosen so that no other program extends them on the way: firmware uses 0 to 7,
//! the kernel's own stub 9, systemd's stub in a unified image 11 to 13, shim 14. GRUB uses 8, and
//! is not there.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use stillboot::format::{Digest, Manifest, Role, Slot};

/// The register of what the bundle alone decides.
pub const SYSTEM_PCR: u32 = 8;

/// The register of what the machine has a part in.
pub const TREE_PCR: u32 = 12;

/// Some bytes that go into a register.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measurement<'a> {
    /// The register.
    pub pcr: u32,
    /// What is hashed.
    pub data: Cow<'a, [u8]>,
    /// What the log says of it.
    pub event: String,
}

/// What the system in `slot` is measured as. `digest` is that of the manifest; `cmdline` the signed
/// command line, if there is one.
#[must_use]
pub fn of_system<'a>(
    digest: &Digest,
    manifest: &Manifest,
    slot: Slot,
    cmdline: Option<&'a [u8]>,
) -> Vec<Measurement<'a>> {
    let measured = |data, event| Measurement { pcr: SYSTEM_PCR, data, event };
    let of_digest = |name: &dyn core::fmt::Display, digest: &Digest| {
        let mut event = format!("stillboot {name} ");
        for byte in digest {
            // Writing to a string does not fail.
            let _ = write!(event, "{byte:02x}");
        }
        measured(Cow::Owned(digest.to_vec()), event)
    };
    let mut all = Vec::from([of_digest(&"manifest", digest)]);
    let find = |role| manifest.components_of(slot).find(|(_, c)| c.role == role);
    // The order in which a loader looks for them.
    let unified = find(Role::Uki);
    let parts = match unified {
        Some(_) => [unified, None],
        None => [find(Role::Kernel), find(Role::Initramfs)],
    };
    for (_, component) in parts.into_iter().flatten() {
        all.push(of_digest(&component.role, &component.index_root));
    }
    if let (Some(line), None) = (cmdline, unified) {
        let text = String::from_utf8_lossy(line);
        all.push(measured(Cow::Borrowed(line), format!("stillboot cmdline {}", text.trim_end())));
    }
    all
}

/// What a chosen tree is measured as.
#[must_use]
pub fn of_tree<'a>(name: &str, tree: &'a [u8]) -> Measurement<'a> {
    let event = format!("stillboot tree {name}");
    Measurement { pcr: TREE_PCR, data: Cow::Borrowed(tree), event }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use stillboot::format::{Load, SlotKind};
    use stillboot::verify::{SoftSha256, verify_head};
    use stillboot_sim::{Piece, Publisher};

    use super::*;

    fn events(roles: &[Role]) -> Vec<(u32, usize, String)> {
        let publisher = Publisher::new(1);
        let piece =
            |role: &Role| Piece { role: *role, load: Load::Ram, linked: None, bytes: b"x y " };
        let pieces: Vec<_> = roles.iter().map(piece).collect();
        let bundle = publisher.bundle(publisher.manifest(1), SlotKind::Update, &pieces).unwrap();
        let (manifest, _) =
            verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap();
        let cmdline = roles.contains(&Role::Cmdline).then_some(&b"x y "[..]);
        of_system(manifest.digest(), &manifest, Slot::A, cmdline)
            .into_iter()
            .map(|m| (m.pcr, m.data.len(), m.event.split(' ').nth(1).unwrap().into()))
            .collect()
    }

    #[test]
    fn what_is_handed_over_is_measured_in_the_documented_order() {
        let event = |len, name: &str| (SYSTEM_PCR, len, name.into());
        assert_eq!(
            events(&[Role::Cmdline, Role::Initramfs, Role::Dtbs, Role::Kernel]),
            vec![
                event(32, "manifest"),
                event(32, "kernel"),
                event(32, "initramfs"),
                event(4, "cmdline")
            ]
        );
        assert_eq!(events(&[Role::Uki]), vec![event(32, "manifest"), event(32, "uki")]);
        let tree = of_tree("laptop.dtb", b"bytes");
        assert_eq!((tree.pcr, &tree.data[..]), (TREE_PCR, &b"bytes"[..]));
        assert_eq!(tree.event, "stillboot tree laptop.dtb");
    }
}
