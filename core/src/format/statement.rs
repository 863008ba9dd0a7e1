//! What a signer states about an update beside the manifest: where it is offered now, that it is
//! approved, that it passed.
//!
//! A statement is a file beside the bundle. It names the manifest by digest, so that the bundle
//! itself, once tested, is never packed again. A channel statement replaces the manifest's channel
//! and rollout, never its class, trust or floor. Statements bear numbers: a later one replaces
//! those before it, in whatever order they come.

// Why: docs/DESIGN.md#why-statements-are-files
// Why: docs/DESIGN.md#why-statements-have-numbers

use super::codes::code_enum;
use super::keyset::KeyRole;
use super::manifest::{Channel, Name, is_label};
use super::{Digest, Field, FormatError, Id, wire};

/// The only schema of a statement.
pub const SCHEMA: u8 = 1;

/// The highest number of a statement: what JSON keeps of a whole number.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

code_enum! {
    /// What a statement says.
    pub enum StatementKind {
        /// The update is offered on this channel, to this share of devices.
        Channel = 1, "channel";
        /// The operator of the devices wants it installed.
        Approval = 2, "approval";
        /// It passed what `name` stands for.
        SignOff = 3, "sign-off";
    }
}

impl StatementKind {
    /// The role whose keys make such statements; `None` for a kind this build does not know.
    #[must_use]
    pub const fn role(self) -> Option<KeyRole> {
        match self {
            Self::Channel => Some(KeyRole::Channel),
            Self::Approval => Some(KeyRole::Approver),
            Self::SignOff => Some(KeyRole::SignOff),
            Self::Unknown(_) => None,
        }
    }
}

/// A statement (payload type 4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Statement {
    /// [`SCHEMA`].
    pub schema: u8,
    /// What it says.
    pub kind: StatementKind,
    /// SHA-256 of the manifest it speaks of.
    pub digest: Digest,
    /// Which of several statements of this kind and name about this manifest it is, from 1: the
    /// highest number counts. Names and dates of files are not signed.
    pub number: u64,
    /// The product, as in the signed bytes.
    pub product: Id,
    /// Where the update is offered; for kinds other than channel the one it was seen on.
    pub channel: Channel,
    /// Percentage of devices that may take it, 0..=100.
    pub rollout: u8,
    /// Unix time in seconds after which the statement counts no more; 0 for never.
    pub not_after: u64,
    /// What was passed, such as `tests` or `certification`; empty for other kinds.
    pub name: Name,
}

wire::wire_struct!(Statement {
    schema,
    kind,
    digest,
    number,
    product,
    channel,
    rollout,
    not_after,
    name
});

impl Statement {
    /// Reads and checks a statement. Verify the signature over `bytes` before believing it.
    ///
    /// # Errors
    /// [`FormatError`] naming the first field that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        match bytes.first() {
            Some(&SCHEMA) => {}
            Some(&found) => return Err(FormatError::Version { found: found.into() }),
            None => return Err(FormatError::Short),
        }
        let mut statement = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut statement)?;
        statement.check()?;
        Ok(statement)
    }

    /// Reads a statement without a check of the bounds of its fields: for tools that report what is
    /// wrong with a statement that [`parse`](Self::parse) refuses.
    ///
    /// # Errors
    /// [`FormatError`] for bytes that cannot be decoded.
    pub fn parse_unchecked(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut statement = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut statement).map(|()| statement)
    }

    /// Writes the statement at the start of `into` and returns its length.
    ///
    /// # Errors
    /// [`FormatError`] when the statement breaks a rule or `into` is too short.
    pub fn emit(&self, into: &mut [u8]) -> Result<usize, FormatError> {
        self.check()?;
        wire::emit(self, into)
    }

    fn check(&self) -> Result<(), FormatError> {
        use FormatError::{Bounds, Unknown};
        if self.schema != SCHEMA {
            return Err(FormatError::Version { found: self.schema.into() });
        }
        if !self.kind.is_known() {
            return Err(Unknown { field: Field::StatementKind, code: self.kind.code().into() });
        }
        if self.number == 0 || self.number > NUMBER_MAX {
            return Err(Bounds(Field::StatementNumber));
        }
        self.channel.check()?;
        if self.rollout > 100 {
            return Err(Bounds(Field::Rollout));
        }
        // Only sign-offs have names, and they must: one without would pass for any.
        let named = !self.name.is_empty();
        if named != (self.kind == StatementKind::SignOff) || !is_label(&self.name) {
            return Err(Bounds(Field::Name));
        }
        Ok(())
    }
}
