//! Statements as files beside a bundle: writing them and reading them back.

use stillboot::format::{
    Channel, Digest, Envelope, FormatError, Id, PayloadType, Statement, StatementKind, envelope,
    statement,
};

use crate::keys::{KeyError, Signer, sign_envelope};

/// What a statement speaks of: a manifest, by its digest, and where it is offered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subject {
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// Its product.
    pub product: Id,
    /// Where it is offered; in a channel statement, where from now on.
    pub channel: Channel,
    /// The number of the statement: above that of any before it.
    pub number: u64,
}

impl Subject {
    /// The manifest with this digest and product, offered there, and the number of the statement.
    #[must_use]
    pub const fn new(digest: Digest, product: Id, channel: Channel, number: u64) -> Self {
        Self { digest, product, channel, number }
    }

    /// The statement that it is offered there, to `rollout` percent of devices, until `not_after`.
    #[must_use]
    pub fn offered(self, rollout: u8, not_after: u64) -> Statement {
        self.statement(StatementKind::Channel, rollout, not_after)
    }

    /// The statement that the operator wants it installed.
    #[must_use]
    pub fn approved(self, not_after: u64) -> Statement {
        self.statement(StatementKind::Approval, 100, not_after)
    }

    /// The statement that it passed what `name` stands for.
    ///
    /// # Errors
    /// [`FormatError`] for a name that a statement has no room for.
    pub fn signed_off(self, name: &str, not_after: u64) -> Result<Statement, FormatError> {
        let mut statement = self.statement(StatementKind::SignOff, 100, not_after);
        statement.name =
            name.parse().map_err(|_| FormatError::Bounds(stillboot::format::Field::Name))?;
        Ok(statement)
    }

    fn statement(self, kind: StatementKind, rollout: u8, not_after: u64) -> Statement {
        let Self { digest, product, channel, number } = self;
        Statement {
            schema: statement::SCHEMA,
            kind,
            digest,
            number,
            product,
            channel,
            rollout,
            not_after,
            name: Default::default(),
        }
    }
}

/// Signs a statement in the role of its kind. The result is a file's content.
///
/// # Errors
/// [`KeyError`].
pub fn sign(statement: &Statement, signers: &[&dyn Signer]) -> Result<Vec<u8>, KeyError> {
    let mut payload = vec![0; envelope::PAYLOAD_LEN_MAX];
    let len = statement.emit(&mut payload)?;
    // `emit` has refused the kinds that have none.
    let role = statement.kind.role().ok_or(FormatError::Malformed)?;
    let signers: Vec<_> = signers.iter().map(|signer| (role, *signer)).collect();
    sign_envelope(PayloadType::Statement, &statement.product, &payload[..len], &signers)
}

/// Reads a file that holds a statement and nothing else. Nothing is verified here.
///
/// # Errors
/// [`FormatError`].
pub fn parse(bytes: &[u8]) -> Result<(Envelope<'_>, Statement), FormatError> {
    let (envelope, rest) = Envelope::parse(bytes)?;
    if !rest.is_empty() {
        return Err(FormatError::Trailing);
    }
    if envelope.payload_type() != PayloadType::Statement {
        let code = envelope.payload_type().code().into();
        return Err(FormatError::Unknown { field: stillboot::format::Field::PayloadType, code });
    }
    let statement = Statement::parse(envelope.payload())?;
    Ok((envelope, statement))
}

#[cfg(test)]
mod tests {
    use stillboot::format::Risk;

    use super::*;
    use crate::keys::SigningKey;

    fn subject() -> Subject {
        let channel = Channel {
            track: "latest".parse().unwrap(),
            risk: Risk::Beta,
            branch: Default::default(),
        };
        Subject { digest: [1; 32], product: [2; 16], channel, number: 3 }
    }

    #[test]
    fn statements_are_read_as_they_were_written() {
        let key = SigningKey::test(1);
        for statement in [
            subject().offered(25, 0),
            subject().approved(7),
            subject().signed_off("tests", 9).unwrap(),
        ] {
            let bytes = sign(&statement, &[&key]).unwrap();
            assert_eq!(parse(&bytes).map(|(_, found)| found), Ok(statement));
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(parse(&longer).map(|_| ()), Err(FormatError::Trailing));
        }
        assert!(subject().signed_off("a-name-that-is-too-long", 0).is_err());
        // Without a name it would pass for any sign-off.
        assert!(sign(&subject().signed_off("", 0).unwrap(), &[&key]).is_err());
        assert!(sign(&subject().offered(101, 0), &[&key]).is_err());
        // Zero means that none was seen; numbers above 2^53 would be rounded in JSON.
        for number in [0, 1 << 53, u64::MAX] {
            assert!(sign(&Subject { number, ..subject() }.offered(1, 0), &[&key]).is_err());
        }
    }
}
