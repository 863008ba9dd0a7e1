//! The keys that roots vouch for, with what each may sign and how many must agree.

use heapless::Vec;

use super::codes::code_enum;
use super::{Field, FormatError, wire};

/// The only schema of a keyset.
pub const SCHEMA: u8 = 1;
/// Most keys of one keyset.
pub const KEYS_MAX: usize = 8;
/// Highest threshold of a role.
pub const THRESHOLD_MAX: u8 = 4;

code_enum! {
    /// In what capacity a key signs. The code stands in the signed bytes.
    pub enum KeyRole {
        /// Signs keysets, and nothing else. Never in a keyset: roots are built in.
        Root = 0, "root";
        /// Signs manifests of update slots.
        Release = 1, "release";
        /// Signs manifests of the recovery slot.
        Recovery = 2, "recovery";
        /// Signs manifests of update slots whose risk is `edge`.
        EdgeRelease = 3, "edge-release";
        /// Signs channel indexes and channel statements.
        Channel = 4, "channel";
        /// Signs approval statements.
        Approver = 5, "approver";
        /// Signs sign-off statements.
        SignOff = 6, "sign-off";
    }
}

impl KeyRole {
    /// The roles that keys of a keyset may have, in the order of [`Keyset::thresholds`].
    pub const OF_KEYSETS: [Self; 6] = [
        Self::Release,
        Self::Recovery,
        Self::EdgeRelease,
        Self::Channel,
        Self::Approver,
        Self::SignOff,
    ];

    /// The bit that stands for the role in [`Key::roles`]; 0 for roles keysets do not have.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self.code() {
            code @ 1..=6 => 1 << (code - 1),
            _ => 0,
        }
    }
}

/// One key of a keyset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Key {
    /// Ed25519 public key.
    pub public: [u8; 32],
    /// What it may sign: a set of [`KeyRole::bit`].
    pub roles: u8,
}

/// A keyset (payload type 1). It travels inside every bundle and every slot, as a certificate does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Keyset {
    /// [`SCHEMA`].
    pub schema: u8,
    /// Counts up with each keyset that the roots issue; 1 is the first, [`u32::MAX`] is refused.
    pub version: u32,
    /// How many keys must agree, by role in the order of [`KeyRole::OF_KEYSETS`]: 1..=4, or 0 where
    /// no key has the role, which then nobody can exercise.
    pub thresholds: [u8; 6],
    /// The keys, 1..=8 of them, no two alike.
    pub keys: Vec<Key, KEYS_MAX>,
}

wire::wire_struct!(Key { public, roles });
wire::wire_struct!(Keyset { schema, version, thresholds, keys });

impl Keyset {
    /// Reads and checks a keyset. That the keys are points of large order is checked where keys
    /// are first used, in [`verify`](crate::verify).
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut keyset = Self::BLANK;
        keyset.read(bytes).map(|()| keyset)
    }

    /// Reads a keyset without looking whether its fields keep their bounds: for tools that say what is
    /// wrong with one that [`parse`](Self::parse) refuses.
    ///
    /// # Errors
    /// [`FormatError`] for bytes that cannot be decoded.
    pub fn parse_unchecked(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut keyset = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut keyset).map(|()| keyset)
    }

    /// What stands where a keyset will be read to.
    pub(crate) const BLANK: Self = <Self as wire::Wire>::BLANK;

    /// As [`parse`](Self::parse), in place; after an error it is none.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        // The schema comes first, so that a later one is named rather than called malformed.
        match bytes.first() {
            Some(&SCHEMA) => {}
            Some(&found) => return Err(FormatError::Version { found: found.into() }),
            None => return Err(FormatError::Short),
        }
        wire::parse(bytes, self)?;
        self.check()
    }

    /// Writes the keyset at the start of `into` and returns its length.
    ///
    /// # Errors
    /// [`FormatError`] when the keyset breaks a rule or `into` is too short.
    pub fn emit(&self, into: &mut [u8]) -> Result<usize, FormatError> {
        self.check()?;
        wire::emit(self, into)
    }

    /// The threshold of `role`; `None` where nobody has it.
    #[must_use]
    pub fn threshold(&self, role: KeyRole) -> Option<u8> {
        // Codes of roles that keysets have count up from 1.
        let at = usize::from(role.code()).checked_sub(1).filter(|_| role.is_known())?;
        self.thresholds.get(at).copied().filter(|threshold| *threshold > 0)
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.schema != SCHEMA {
            return Err(FormatError::Version { found: self.schema.into() });
        }
        if self.version == 0 || self.version == u32::MAX {
            return Err(FormatError::Bounds(Field::KeysetVersion));
        }
        if self.keys.is_empty() {
            return Err(FormatError::Bounds(Field::KeyCount));
        }
        for (at, key) in self.keys.iter().enumerate() {
            let both = KeyRole::Release.bit() | KeyRole::EdgeRelease.bit();
            // A key of both release roles would leave open which of the two a signature means.
            if key.roles == 0 || key.roles & !0x3f != 0 || key.roles & both == both {
                return Err(FormatError::Bounds(Field::KeyRoles));
            }
            // The same key twice would count as two signers.
            if self.keys[..at].iter().any(|other| other.public == key.public) {
                return Err(FormatError::Duplicate(Field::Key));
            }
        }
        for (at, threshold) in self.thresholds.into_iter().enumerate() {
            // The bit of the role at the same place in `OF_KEYSETS`.
            let holders = self.keys.iter().filter(|key| key.roles & 1 << at != 0).count();
            // Threshold 0 with keys, or above their number, has switched off checks elsewhere.
            let sound = if holders == 0 {
                threshold == 0
            } else {
                (1..=THRESHOLD_MAX).contains(&threshold) && usize::from(threshold) <= holders
            };
            if !sound {
                return Err(FormatError::Bounds(Field::Threshold));
            }
        }
        Ok(())
    }
}
