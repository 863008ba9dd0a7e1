//! The value of a signed field that is outside its bounds: the core names the field and the bounds.

use stillboot::format::envelope::{HEADER_LEN, Header};
use stillboot::format::manifest::{COMPONENT_LEN_MAX, flags};
use stillboot::format::{
    Channel, Encryption, Envelope, Field, FormatError, KeyRole, Keyset, Manifest, PayloadType,
    Rule, Statement,
};
use stillboot::verify::TrustError;

/// `error` in words, with the value if it is about a field of one of the envelopes in `bytes`.
pub fn format_error(error: FormatError, bytes: &[u8]) -> String {
    match value(error, bytes) {
        Some(found) => format!("{error}: found {found}"),
        None => error.to_string(),
    }
}

/// The name of something with a number and a name that this build knows but refuses.
fn reserved(field: Field, code: u64) -> Option<&'static str> {
    match field {
        Field::Encryption => {
            let encryption = Encryption::from_code(u8::try_from(code).ok()?);
            encryption.is_known().then(|| encryption.name())
        }
        Field::Flags => (code & u64::from(flags::ENCRYPTED) != 0).then_some("encrypted"),
        _ => None,
    }
}

/// As [`format_error`], for bytes that should be a statement: names another format of ours.
pub fn statement_error(error: FormatError, bytes: &[u8]) -> String {
    // The header names the type even if the envelope is longer than what was read.
    let header = bytes.first_chunk::<HEADER_LEN>().map(Header::parse);
    let Some(Ok(Header { payload_type, .. })) = header else { return format_error(error, bytes) };
    let is_alone = Envelope::parse(bytes).is_ok_and(|(_, rest)| rest.is_empty());
    let found = match payload_type {
        PayloadType::Keyset if is_alone => "a keyset",
        PayloadType::Keyset | PayloadType::Manifest => "a bundle",
        PayloadType::ChannelIndex => "a channel index",
        PayloadType::LoaderRelease => "a release of the loader",
        PayloadType::Statement | PayloadType::Unknown(_) => return format_error(error, bytes),
    };
    format!(
        "expected a statement (payload type {}), found {found} (payload type {})",
        PayloadType::Statement.code(),
        payload_type.code()
    )
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
    let field = match error {
        FormatError::Bounds(field) => field,
        FormatError::Unknown { field, code } => {
            return reserved(field, code.into()).map(|name| format!("`{name}`, which is reserved"));
        }
        _ => return None,
    };
    loop {
        let (envelope, rest) = match Envelope::parse(bytes) {
            Ok(parsed) => parsed,
            Err(found) if found == error => return of_header(bytes.first_chunk()?, field),
            Err(_) => return None,
        };
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

fn of_header(header: &[u8; HEADER_LEN], field: Field) -> Option<String> {
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let (payload, signatures) = (number(8)?, number(12)?);
    Some(match field {
        Field::PayloadLen => payload.to_string(),
        Field::SignatureCount => header[6].to_string(),
        Field::SignatureLen => format!(
            "{signatures} bytes for {} signatures, beside a payload of {payload}",
            header[6]
        ),
        Field::Reserved => header[7].to_string(),
        _ => return None,
    })
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
        Field::Threshold => {
            let rule = |role: &KeyRole| format!("{role}: {}", rule(keyset.rule(*role)));
            KeyRole::OF_KEYSETS.iter().map(rule).collect::<Vec<_>>().join(", ")
        }
        _ => return None,
    })
}

fn rule(rule: Rule) -> String {
    if rule.is_none() { "none".into() } else { rule.to_string() }
}

fn of_statement(statement: &Statement, field: Field) -> Option<String> {
    Some(match field {
        Field::StatementNumber => statement.number.to_string(),
        Field::Channel => channel(&statement.channel),
        Field::Rollout => statement.rollout.to_string(),
        Field::Name => format!(
            "{} of {} characters in a statement of kind {}; a sign-off has a name of 1 to 16 \
             letters, digits and .-+_~, every other statement has none",
            text(&statement.name),
            statement.name.chars().count(),
            statement.kind
        ),
        _ => return None,
    })
}

fn channel(channel: &Channel) -> String {
    format!("{} and {}", text(&channel.track), text(&channel.branch))
}

fn text(found: &str) -> String {
    format!("`{found}`")
}
