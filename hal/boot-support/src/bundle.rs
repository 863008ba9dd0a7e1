//! A bundle that lies in memory as a whole, as inside of a loader's own image: all of it is verified
//! before any of it is used.
//!
//! It is verified for one slot; components for other slots are held against their digests as well and
//! not given out.

use alloc::vec::Vec;
use core::fmt;

use stillboot::check;
use stillboot::format::{Manifest, Role, Slot};
use stillboot::verify::{
    ClassError, Device, Sha256, TrustError, Verified, check_class, verify_head,
};

/// Why a bundle is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BundleError {
    /// It is not signed by the keys that this device trusts.
    Trust(TrustError),
    /// It is for other devices.
    Class(ClassError),
    /// It ends too early, or goes on behind its last component.
    Length {
        /// Bytes that the manifest speaks of, with the head.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Bytes of a component are not the signed ones.
    Corrupt(Role),
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(error) => write!(f, "the bundle is not trusted: {error}"),
            Self::Class(error) => write!(f, "the bundle is not for this device: {error}"),
            Self::Length { expected, found } => {
                write!(f, "expected a bundle of {expected} bytes, found {found}")
            }
            Self::Corrupt(role) => {
                write!(f, "the bundle's {role} does not match the manifest")
            }
        }
    }
}

impl core::error::Error for BundleError {}

/// A bundle of which every byte was verified.
#[derive(Debug)]
pub struct Bundle<'a> {
    slot: Slot,
    manifest: Verified<Manifest>,
    /// In the order of the manifest.
    components: Vec<&'a [u8]>,
}

impl<'a> Bundle<'a> {
    /// Verifies a bundle, as what an installation would put into `slot`.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn verify<H: Sha256>(
        device: &Device<'_>,
        slot: Slot,
        bytes: &'a [u8],
    ) -> Result<Self, BundleError> {
        let (manifest, head) =
            verify_head::<H>(device, slot.kind(), bytes).map_err(BundleError::Trust)?;
        check_class(device, &manifest).map_err(BundleError::Class)?;
        let sizes = manifest.components.iter().map(|component| {
            component.index_len(manifest.chunk_size).saturating_add(component.length)
        });
        let expected = sizes.fold(head as u64, u64::saturating_add);
        let found = bytes.len() as u64;
        if expected != found {
            return Err(BundleError::Length { expected, found });
        }
        // Every length is at most that of `bytes` now, so the casts keep them.
        let (mut rest, mut components) = (&bytes[head..], Vec::new());
        let mut content = check::Content::<H>::new(&manifest);
        while content.left() > 0 {
            let (_, is_index) = content.at();
            let (part, later) = rest.split_at(content.left() as usize);
            rest = later;
            content.take(part).map_err(|number| {
                let component = manifest.components.get(number);
                BundleError::Corrupt(component.map_or(Role::Unknown(0), |found| found.role))
            })?;
            // Only a reader of a stream uses the index. A wrong index would still be a forgery.
            if !is_index {
                components.push(part);
            }
        }
        Ok(Self { slot, manifest, components })
    }

    /// What was signed.
    #[must_use]
    pub const fn manifest(&self) -> &Verified<Manifest> {
        &self.manifest
    }

    /// The component for `role`.
    #[must_use]
    pub fn component(&self, role: Role) -> Option<&'a [u8]> {
        let mut found = self.manifest.components_of(self.slot);
        let (number, _) = found.find(|(_, component)| component.role == role)?;
        self.components.get(number).copied()
    }
}

#[cfg(test)]
mod tests {
    use stillboot::format::Load;
    use stillboot::verify::SoftSha256;
    use stillboot_sim::{Piece, Publisher};

    use super::*;

    const CMDLINE: &[u8] = b"console=ttyAMA0";

    fn publisher() -> Publisher {
        Publisher::new(7)
    }

    fn kernel() -> Vec<u8> {
        // Three chunks, the last one short.
        (0..10_000_u32).map(|n| ((n * 7) >> 3) as u8).collect()
    }

    fn bundle() -> Vec<u8> {
        let mut manifest = publisher().manifest(1);
        manifest.chunk_size = 4096;
        let kernel = kernel();
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let other = Piece { linked: Some(Slot::B), ..piece(Role::Dtbs, &[1, 2, 3]) };
        let pieces = [piece(Role::Kernel, &kernel), piece(Role::Cmdline, CMDLINE), other];
        publisher().bundle(manifest, Slot::A.kind(), &pieces).unwrap()
    }

    fn verify(bytes: &[u8]) -> Result<Bundle<'_>, BundleError> {
        Bundle::verify::<SoftSha256>(&publisher().device(), Slot::A, bytes)
    }

    #[test]
    fn genuine_bundle_gives_its_components() {
        let bytes = bundle();
        let bundle = verify(&bytes).unwrap();
        assert_eq!(bundle.component(Role::Kernel), Some(&kernel()[..]));
        assert_eq!(bundle.component(Role::Cmdline), Some(CMDLINE));
        assert_eq!(bundle.component(Role::Initramfs), None);
        // It is linked for another slot.
        assert_eq!(bundle.component(Role::Dtbs), None);
        assert_eq!(bundle.manifest().sequence, 1);
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let genuine = bundle();
        // Every byte of the head would take minutes of checking signatures.
        let step = |at: usize| if at < 1000 { 13 } else { 1 };
        let (mut bytes, mut at) = (genuine.clone(), 0);
        while at < bytes.len() {
            bytes[at] ^= 0x10;
            let refused = verify(&bytes).expect_err("a changed bundle was taken");
            if at + CMDLINE.len() > genuine.len() {
                assert_eq!(refused, BundleError::Corrupt(Role::Dtbs));
            }
            bytes[at] = genuine[at];
            at += step(at) * 7;
        }
    }

    #[test]
    fn bundle_ends_where_the_manifest_says() {
        let genuine = bundle();
        for len in [0, 1, 100, genuine.len() - 1] {
            verify(&genuine[..len]).unwrap_err();
        }
        let expected = genuine.len() as u64;
        let longer = [&genuine[..], &[0]].concat();
        let error = verify(&longer).unwrap_err();
        assert_eq!(error, BundleError::Length { expected, found: expected + 1 });
    }

    #[test]
    fn bundle_by_other_roots_or_for_another_class_is_refused() {
        let bytes = bundle();
        let publisher = publisher();
        let mut device = publisher.device();
        device.class = [9; 16];
        let error = Bundle::verify::<SoftSha256>(&device, Slot::A, &bytes).unwrap_err();
        assert!(matches!(error, BundleError::Class(_)), "{error}");
        let other = Publisher::new(8);
        let error = Bundle::verify::<SoftSha256>(&other.device(), Slot::A, &bytes).unwrap_err();
        assert!(matches!(error, BundleError::Trust(_)), "{error}");
    }
}
