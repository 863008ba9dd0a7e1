//! Kinds of keys and signatures, with their lengths, and the rule that says which of them a role
//! needs.

use super::codes::code_enum;
use super::wire::{Reader, Wire, Writer};
use super::{Field, FormatError};

/// The name of a key: an Ed25519 key is its own name, any other key has the SHA-256 of its public
/// key. So keysets and roots are short for keys of every kind.
pub type KeyName = [u8; 32];

code_enum! {
    /// The kind of a key and of its signatures. Lengths and most numbers: `docs/FORMAT.md`.
    pub enum KeyKind {
        /// Ed25519, RFC 8032.
        Ed25519 = 1, "ed25519";
        /// HSS of one level with trees of height 10, RFC 8554.
        LmsH10 = 2, "lms-h10";
        /// HSS of one level with trees of height 20, RFC 8554.
        LmsH20 = 3, "lms-h20";
        /// HSS of two levels with trees of height 10, RFC 8554.
        HssH10H10 = 4, "hss-h10-h10";
        /// ML-DSA-44, FIPS 204.
        MlDsa44 = 5, "ml-dsa-44";
        /// ML-DSA-65, FIPS 204.
        MlDsa65 = 6, "ml-dsa-65";
        /// ML-DSA-87, FIPS 204.
        MlDsa87 = 7, "ml-dsa-87";
    }
}

/// Bytes of a signature before its public key or signature: kind and name.
pub const ENTRY_HEADER_LEN: usize = 1 + 32;

impl KeyKind {
    /// Length of a public key in bytes; 0 for a kind this build does not know.
    #[must_use]
    pub const fn public_len(self) -> usize {
        self.sizes().0 as usize
    }

    /// Length of a signature in bytes; 0 for a kind this build does not know.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        self.sizes().1 as usize
    }

    /// Most signatures of the kind in one envelope, and so the highest threshold of a rule; 0 for a
    /// kind this build does not know.
    #[must_use]
    pub const fn count_max(self) -> u8 {
        self.sizes().2
    }

    /// Length in bytes of a signature in an envelope: kind, name, public key where the name is not
    /// the key itself, signature.
    #[must_use]
    pub const fn entry_len(self) -> usize {
        let (public, signature, _) = self.sizes();
        let public = if matches!(self, Self::Ed25519) { 0 } else { public as usize };
        ENTRY_HEADER_LEN + public + signature as usize
    }

    /// Whether this build can check signatures of the kind.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::Ed25519)
    }

    /// Length of a public key, of a signature, and most signatures in one envelope.
    // Why: docs/DESIGN.md#why-kinds-have-fixed-lengths
    const fn sizes(self) -> (u16, u16, u8) {
        match self {
            Self::Ed25519 => (32, 64, 4),
            Self::LmsH10 => (60, 1456, 2),
            Self::LmsH20 => (60, 1776, 2),
            Self::HssH10H10 => (60, 2964, 2),
            Self::MlDsa44 => (1312, 2420, 2),
            Self::MlDsa65 => (1952, 3309, 2),
            Self::MlDsa87 => (2592, 4627, 1),
            Self::Unknown(_) => (0, 0, 0),
        }
    }
}

/// What a role needs: at least so many signatures of one kind, and perhaps at least so many of
/// another. Kind, threshold, kind, threshold; zeros where there is no second part, or no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rule(pub [u8; 4]);

impl Rule {
    /// The rule of a role that no key has.
    pub const NONE: Self = Self([0; 4]);

    /// At least `threshold` signatures of `kind`.
    #[must_use]
    pub const fn of(kind: KeyKind, threshold: u8) -> Self {
        Self([kind.code(), threshold, 0, 0])
    }

    /// At least `threshold` Ed25519 signatures; none for 0.
    #[must_use]
    pub const fn ed25519(threshold: u8) -> Self {
        if threshold == 0 { Self::NONE } else { Self::of(KeyKind::Ed25519, threshold) }
    }

    /// The rule, and at least `threshold` signatures of `kind`, which comes after the kind it has.
    #[must_use]
    pub const fn and(self, kind: KeyKind, threshold: u8) -> Self {
        Self([self.0[0], self.0[1], kind.code(), threshold])
    }

    /// Whether no key has the role.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self.0, [0, 0, 0, 0])
    }

    /// Its parts: kind and threshold.
    pub fn parts(self) -> impl Iterator<Item = (KeyKind, u8)> + Clone {
        let [one, first, two, second] = self.0;
        [(one, first), (two, second)]
            .into_iter()
            .filter(|part| *part != (0, 0))
            .map(|(kind, threshold)| (KeyKind::from_code(kind), threshold))
    }

    /// How many signatures of `kind` it asks for.
    #[must_use]
    pub fn threshold(self, kind: KeyKind) -> u8 {
        self.parts().find(|part| part.0 == kind).map_or(0, |part| part.1)
    }

    /// Checks the kinds alone, 0 being none.
    ///
    /// # Errors
    /// [`FormatError::Unknown`] for the first that is unknown.
    pub(super) fn check_kinds(self) -> Result<(), FormatError> {
        let [one, _, two, _] = self.0;
        for code in [one, two] {
            if code != 0 && !KeyKind::from_code(code).is_known() {
                return Err(FormatError::Unknown { field: Field::KeyKind, code: code.into() });
            }
        }
        Ok(())
    }

    /// Checks the rule of a role; `holders` says how many keys of a kind have the role.
    ///
    /// # Errors
    /// [`FormatError`] for an unknown kind, before anything else; then for kinds out of order, and
    /// for a threshold of 0, above the most of its kind or above the number of keys.
    pub fn check(self, holders: impl Fn(KeyKind) -> usize) -> Result<(), FormatError> {
        self.check_kinds()?;
        let [one, _, two, second] = self.0;
        let ordered = (two, second) == (0, 0) || one < two;
        // A second part without a first has no canonical place.
        if !ordered || (one == 0 && !self.is_none()) {
            return Err(FormatError::Bounds(Field::Threshold));
        }
        for (kind, threshold) in self.parts() {
            // A threshold of 0, or above the number of keys, has switched off checks in other
            // projects.
            if threshold == 0
                || threshold > kind.count_max()
                || usize::from(threshold) > holders(kind)
            {
                return Err(FormatError::Bounds(Field::Threshold));
            }
        }
        Ok(())
    }
}

impl core::fmt::Display for Rule {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (number, (kind, threshold)) in self.parts().enumerate() {
            f.write_str(if number == 0 { "" } else { " and " })?;
            write!(f, "{threshold} of {kind}")?;
        }
        Ok(())
    }
}

impl Wire for Rule {
    const BLANK: Self = Self::NONE;
    fn take(&mut self, reader: &mut Reader<'_>) {
        self.0.take(reader);
    }
    fn put(&self, writer: &mut Writer<'_>) {
        self.0.put(writer);
    }
}

impl Wire for [Rule; 6] {
    const BLANK: Self = [Rule::NONE; 6];
    fn take(&mut self, reader: &mut Reader<'_>) {
        for rule in self {
            rule.take(reader);
        }
    }
    fn put(&self, writer: &mut Writer<'_>) {
        for rule in self {
            rule.put(writer);
        }
    }
}
