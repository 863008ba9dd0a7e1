//! The value of a signed field that is outside its bounds: the core names the field and the bounds.

use stillboot::format::manifest::COMPONENT_LEN_MAX;
use stillboot::format::{
    Channel, Envelope, Field, FormatError, Keyset, Manifest, PayloadType, Statement,
};
use stillboot::verify::TrustError;

/// `error` in words, with the value if it is about a field of one of the envelopes in `bytes`.
pub fn format_error(error: FormatError, bytes: &[u8]) -> String {
    match value(error, bytes) {
        Some(found) => format!("{error}: found {found}"),
        None => error.to_string(),
    }
}

/// As [`format_error`], of bytes that were to be a statement: what else of ours they are.
pub fn statement_error(error: FormatError, bytes: &[u8]) -> String {
    match Envelope::parse(bytes).map(|(envelope, rest)| (envelope.payload_type(), rest.len())) {
        Ok((PayloadType::Keyset, 0)) => "found a keyset".into(),
        Ok((PayloadType::Keyset | PayloadType::Manifest, _)) => "found a bundle".into(),
        Ok((PayloadType::ChannelIndex, _)) => "found a channel index".into(),
        _ => format_error(error, bytes),
    }
}

/// As [`format_error`], of what a signature covers.
pub fn trust_error(error: TrustError, bytes: &[u8]) -> String {
    if let TrustError::Statement(error) = error {
        return format!("statement: {}", statement_error(error, bytes));
    }
    match value_in(error, bytes) {
        Some(found) => format!("{error}: found {found}"),
        None => error.to_string(),
    }
}

/// The value alone.
pub fn value_in(error: TrustError, bytes: &[u8]) -> Option<String> {
    match error {
        TrustError::Keyset(error) | TrustError::Manifest(error) | TrustError::Statement(error) => {
            value(error, bytes)
        }
        _ => None,
    }
}

/// The value that `error` is about, in the first of these envelopes that has this error.
fn value(error: FormatError, mut bytes: &[u8]) -> Option<String> {
    let FormatError::Bounds(field) = error else { return None };
    loop {
        let (envelope, rest) = Envelope::parse(bytes).ok()?;
        let payload = envelope.payload();
        let is_it = |found: Option<FormatError>| found == Some(error);
        let found = match envelope.payload_type() {
            PayloadType::Manifest if is_it(Manifest::parse(payload).err()) => {
                of_manifest(&Manifest::parse_unchecked(payload).ok()?, field)
            }
            PayloadType::Keyset if is_it(Keyset::parse(payload).err()) => {
                of_keyset(&Keyset::parse_unchecked(payload).ok()?, field)
            }
            PayloadType::Statement if is_it(Statement::parse(payload).err()) => {
                of_statement(&Statement::parse_unchecked(payload).ok()?, field)
            }
            _ => None,
        };
        match found {
            Some(found) => return Some(found),
            None => bytes = rest,
        }
    }
}

fn of_manifest(manifest: &Manifest, field: Field) -> Option<String> {
    let epochs = &manifest.epochs;
    Some(match field {
        Field::Revisions => format!("{} to {}", manifest.revision_min, manifest.revision_max),
        Field::VersionText => text(&manifest.version),
        Field::Sequence => manifest.sequence.to_string(),
        Field::Level => manifest.level.to_string(),
        Field::MinFrom => text(&manifest.min_from),
        Field::Channel => channel(&manifest.channel),
        Field::Epochs => {
            format!("{}, with {} to {} read", epochs.writes, epochs.reads_min, epochs.reads_max)
        }
        Field::Rollout => manifest.rollout.to_string(),
        Field::ChunkSize => manifest.chunk_size.to_string(),
        Field::ComponentCount => manifest.components.len().to_string(),
        Field::ComponentLen => {
            let mut lengths = manifest.components.iter().map(|component| component.length);
            lengths.find(|length| *length == 0 || *length > COMPONENT_LEN_MAX)?.to_string()
        }
        Field::IndexLen => {
            let chunks = manifest.components.iter().fold(0_u64, |sum, component| {
                sum.saturating_add(component.chunk_count(manifest.chunk_size))
            });
            chunks.to_string()
        }
        _ => return None,
    })
}

fn of_keyset(keyset: &Keyset, field: Field) -> Option<String> {
    Some(match field {
        Field::KeysetVersion => keyset.version.to_string(),
        Field::KeyCount => keyset.keys.len().to_string(),
        Field::Threshold => format!("thresholds {:?}", keyset.thresholds),
        _ => return None,
    })
}

fn of_statement(statement: &Statement, field: Field) -> Option<String> {
    Some(match field {
        Field::StatementNumber => statement.number.to_string(),
        Field::Channel => channel(&statement.channel),
        Field::Rollout => statement.rollout.to_string(),
        Field::Name => text(&statement.name),
        _ => return None,
    })
}

fn channel(channel: &Channel) -> String {
    format!("{} and {}", text(&channel.track), text(&channel.branch))
}

fn text(found: &str) -> String {
    format!("`{found}`")
}
