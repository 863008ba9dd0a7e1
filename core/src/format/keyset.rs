//! The keys that roots sign, with what each key may sign and how many keys must sign.

use heapless::Vec;

use super::codes::code_enum;
use super::kind::{KeyKind, KeyName, Rule};
use super::{Field, FormatError, wire};

/// The only schema of a keyset.
pub const SCHEMA: u8 = 1;
/// Most keys of one keyset.
pub const KEYS_MAX: usize = 8;

code_enum! {
    /// The role in which a key signs. The code is part of the signed bytes.
    pub enum KeyRole {
        /// Signs keysets and releases of the loader. Never in a keyset: roots are built in.
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

/// Every bit that a set of roles may have.
pub(super) const ROLES_KNOWN: u8 = 0x3f;

impl KeyRole {
    /// The roles that keys of a keyset may have, in the order of [`Keyset::rules`].
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
    /// What it signs with.
    pub kind: KeyKind,
    /// Of Ed25519 the public key, of other kinds its SHA-256.
    pub name: KeyName,
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
    /// Which signatures are needed, by role in the order of [`KeyRole::OF_KEYSETS`]; none where no
    /// key has the role.
    pub rules: [Rule; 6],
    /// The keys, 1..=8 of them, no two alike.
    pub keys: Vec<Key, KEYS_MAX>,
}

wire::wire_struct!(Key { kind, name, roles });
wire::wire_struct!(Keyset { schema, version, rules, keys });

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

    /// Reads a keyset without a check of the bounds of its fields: for tools that report what is
    /// wrong with a keyset that [`parse`](Self::parse) refuses.
    ///
    /// # Errors
    /// [`FormatError`] for bytes that cannot be decoded.
    pub fn parse_unchecked(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut keyset = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut keyset).map(|()| keyset)
    }

    /// A blank value, into which a keyset will be read.
    pub(crate) const BLANK: Self = <Self as wire::Wire>::BLANK;

    /// As [`parse`](Self::parse), in place. After an error the value is no keyset.
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

    /// The rule of `role`; none where no key has it.
    #[must_use]
    pub fn rule(&self, role: KeyRole) -> Rule {
        // Codes of roles that keysets have count up from 1.
        let at = usize::from(role.code()).checked_sub(1).filter(|_| role.is_known());
        at.and_then(|at| self.rules.get(at)).copied().unwrap_or(Rule::NONE)
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.schema != SCHEMA {
            return Err(FormatError::Version { found: self.schema.into() });
        }
        if self.version == 0 || self.version == u32::MAX {
            return Err(FormatError::Bounds(Field::KeysetVersion));
        }
        // The kinds are checked before the thresholds: a later kind is then reported first.
        for rule in self.rules {
            rule.check_kinds()?;
        }
        if self.keys.is_empty() {
            return Err(FormatError::Bounds(Field::KeyCount));
        }
        for (at, key) in self.keys.iter().enumerate() {
            let unknown = |field, code: u8| Err(FormatError::Unknown { field, code: code.into() });
            if !key.kind.is_known() {
                return unknown(Field::KeyKind, key.kind.code());
            }
            if key.roles & !ROLES_KNOWN != 0 {
                return unknown(Field::KeyRoles, key.roles);
            }
            let both = KeyRole::Release.bit() | KeyRole::EdgeRelease.bit();
            // A key of both release roles would leave open which of the two a signature means.
            if key.roles == 0 || key.roles & both == both {
                return Err(FormatError::Bounds(Field::KeyRoles));
            }
            // The same key twice would count as two signers.
            if self.keys[..at].iter().any(|other| other.name == key.name) {
                return Err(FormatError::Duplicate(Field::Key));
            }
        }
        for (at, rule) in self.rules.into_iter().enumerate() {
            // The bit of the role at the same place in `OF_KEYSETS`.
            let mut holders = self.keys.iter().filter(|key| key.roles & 1 << at != 0);
            let count = |kind| holders.clone().filter(|key| key.kind == kind).count();
            // A key of a kind that the rule does not name would count for nothing.
            if rule.check(count).is_err() || holders.any(|key| rule.threshold(key.kind) == 0) {
                let role = KeyRole::from_code(at as u8 + 1);
                return Err(FormatError::Rule { role, found: rule });
            }
        }
        Ok(())
    }
}
