//! Values of the formats as JSON, with the names that `docs/vectors/README.md` describes.

use serde_json::{Value, json};
use stillboot::format::{
    BootProof, Envelope, Epochs, Fault, Floor, Keyset, Manifest, Mark, MarkKind, Notes, Record,
    Signature, Slot, SlotEntry, SlotState, Statement,
};
use stillboot::format::{Channel, KeyRole};
use stillboot::verify::{SoftSha256, digest_of};
use stillboot_policy::json::ChannelIndex;
use stillboot_transport::frame::Header;

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An envelope, without payload and signatures: the digest stands for the payload, and the
/// names of the keys for the signatures.
#[must_use]
pub fn envelope(envelope: &Envelope<'_>, len: usize) -> Value {
    let name = |signature: Signature<'_>| hex(&[signature.kind.code()]) + &hex(&signature.name);
    json!({
        "payload_type": envelope.payload_type().name(),
        "digest": hex(&envelope.header().digest),
        "signatures": envelope.signatures().map(name).collect::<Vec<_>>(),
        "length": len,
    })
}

/// A keyset.
#[must_use]
pub fn keyset(keyset: &Keyset) -> Value {
    let rules: serde_json::Map<_, _> = KeyRole::OF_KEYSETS
        .into_iter()
        .map(|role| (role.name().to_owned(), hex(&keyset.rule(role).0).into()))
        .collect();
    let keys: Vec<_> = keyset
        .keys
        .iter()
        .map(|key| json!({"kind": key.kind.name(), "name": hex(&key.name), "roles": key.roles}))
        .collect();
    json!({"schema": keyset.schema, "version": keyset.version, "rules": rules, "keys": keys})
}

fn channel(channel: &Channel) -> Value {
    json!({
        "track": channel.track.as_str(),
        "risk": channel.risk.name(),
        "branch": channel.branch.as_str(),
    })
}

fn epochs(epochs: &Epochs) -> Value {
    let Epochs { reads_min, reads_max, writes } = epochs;
    json!({"reads_min": reads_min, "reads_max": reads_max, "writes": writes})
}

/// A manifest, with its digest.
///
/// # Panics
/// If it is none that a manifest's bytes can be made of.
#[must_use]
pub fn manifest(manifest: &Manifest) -> Value {
    let mut bytes = [0; 1024];
    let len = manifest.emit(&mut bytes).expect("a sound manifest");
    let linked = |linked: u8| match linked.checked_sub(1) {
        None => "every",
        Some(slot) => Slot::ALL[usize::from(slot)].name(),
    };
    let components: Vec<_> = manifest
        .components
        .iter()
        .map(|component| {
            json!({
                "role": component.role.name(),
                "load": component.load.name(),
                "linked": linked(component.linked),
                "encryption": component.encryption.name(),
                "length": component.length,
                "index_root": hex(&component.index_root),
                "sha256": hex(&component.sha256),
            })
        })
        .collect();
    json!({
        "schema": manifest.schema,
        "product": hex(&manifest.product),
        "class": hex(&manifest.class),
        "revision_min": manifest.revision_min,
        "revision_max": manifest.revision_max,
        "version": manifest.version.as_str(),
        "sequence": manifest.sequence,
        "level": manifest.level,
        "min_from": manifest.min_from.as_str(),
        "channel": channel(&manifest.channel),
        "architecture": manifest.architecture.name(),
        "not_after": manifest.not_after,
        "epochs": epochs(&manifest.epochs),
        "rollout": manifest.rollout,
        "flags": manifest.flags,
        "chunk_size": manifest.chunk_size,
        "components": components,
        "digest": hex(&digest_of::<SoftSha256>(&bytes[..len])),
    })
}

/// A statement.
#[must_use]
pub fn statement(statement: &Statement) -> Value {
    json!({
        "schema": statement.schema,
        "kind": statement.kind.name(),
        "digest": hex(&statement.digest),
        "number": statement.number,
        "product": hex(&statement.product),
        "channel": channel(&statement.channel),
        "rollout": statement.rollout,
        "not_after": statement.not_after,
        "name": statement.name.as_str(),
    })
}

fn floor(floor: Floor) -> Value {
    json!({"keyset_version": floor.keyset_version, "level": floor.level})
}

fn fault(fault: Fault) -> Value {
    if fault.is_known() { fault.name().into() } else { fault.code().into() }
}

fn state(state: SlotState) -> Value {
    match state {
        SlotState::Empty => json!({"name": "empty"}),
        SlotState::Writing => json!({"name": "writing"}),
        SlotState::Ready { tries } => json!({"name": "ready", "tries": tries}),
        SlotState::Trying { left, attempt, nonce } => {
            json!({"name": "trying", "left": left, "attempt": attempt, "nonce": nonce})
        }
        SlotState::Good => json!({"name": "good"}),
        SlotState::Bad { fault: found } => json!({"name": "bad", "fault": fault(found)}),
    }
}

fn slot(entry: &SlotEntry) -> Value {
    json!({
        "state": state(entry.state),
        "suspect": entry.suspect,
        "held": entry.held,
        "priority": entry.priority,
        "digest": hex(&entry.digest),
        "floor": floor(entry.floor),
        "epochs": epochs(&entry.epochs),
        "version": entry.version.as_str(),
    })
}

/// A boot record of `len` bytes.
#[must_use]
pub fn record(record: &Record, len: usize) -> Value {
    let body = &record.body;
    let slots: serde_json::Map<_, _> =
        Slot::ALL.into_iter().map(|at| (at.name().to_owned(), slot(body.slot(at)))).collect();
    let failed: Vec<_> = body
        .failed
        .iter()
        .map(|failed| {
            json!({
                "digest": hex(&failed.digest),
                "fault": fault(failed.fault),
                "count": failed.count,
                "at": failed.at,
            })
        })
        .collect();
    json!({
        "sequence": record.sequence,
        "length": len,
        "slots": slots,
        "floor": floor(body.floor),
        "recovery_floor": floor(body.recovery_floor),
        "data_epoch": body.data_epoch,
        "failed": failed,
        "hold": {"until": body.hold.until, "since": body.hold.since},
        "notes": hex(&body.notes),
    })
}

/// Notes of a boot record.
#[must_use]
pub fn notes(notes: &Notes) -> Value {
    let history: Vec<_> = notes
        .history
        .iter()
        .map(|past| {
            json!({
                "version": past.version.as_str(),
                "keyset_version": past.keyset_version,
                "sequence": past.sequence,
                "at": past.at,
            })
        })
        .collect();
    let statements: Vec<_> = notes
        .statements
        .iter()
        .map(|seen| {
            json!({
                "digest": hex(&seen.digest),
                "kind": seen.kind.name(),
                "number": seen.number,
            })
        })
        .collect();
    let loader = json!({"kind": notes.loader.kind.name(), "needs": notes.loader.needs.as_str()});
    json!({
        "version": notes.version,
        "loader": loader,
        "history": history,
        "statements": statements,
        "index_issue": notes.index_issue,
    })
}

/// A commit block or a confirmed block.
#[must_use]
pub fn mark(mark: &Mark) -> Value {
    let kind = match mark.kind {
        MarkKind::Committed => "committed",
        MarkKind::Confirmed => "confirmed",
    };
    json!({"kind": kind, "digest": hex(&mark.digest)})
}

/// A boot proof.
#[must_use]
pub fn proof(proof: &BootProof) -> Value {
    json!({
        "slot": proof.slot.name(),
        "digest": hex(&proof.digest),
        "attempt": proof.attempt,
        "nonce": proof.nonce,
        "keyset_version": proof.keyset_version,
        "record_version": proof.record_version,
        "manifest_schema": proof.manifest_schema,
    })
}

/// A channel index.
#[must_use]
pub fn index(index: &ChannelIndex<'_>) -> Value {
    let offers: Vec<_> = index
        .offers()
        .map(|offer| {
            json!({
                "risk": offer.risk.name(),
                "branch": offer.branch.as_str(),
                "digest": hex(&offer.digest),
                "version": offer.version.as_str(),
                "size": offer.size,
                "url": offer.url.as_str(),
                "since": offer.since,
                "until": offer.until,
            })
        })
        .collect();
    let patches: Vec<_> = index
        .patches()
        .map(|patch| {
            json!({
                "from": hex(&patch.from),
                "to": hex(&patch.to),
                "size": patch.size,
                "url": patch.url.as_str(),
            })
        })
        .collect();
    json!({
        "schema": index.schema(),
        "product": hex(index.product()),
        "track": index.track().as_str(),
        "issue": index.issue(),
        "until": index.until(),
        "offers": offers,
        "patches": patches,
    })
}

/// The value of a framed file: the encodings of its frames, and the SHA-256 of the bundle if all of
/// it is there.
#[must_use]
pub fn framed(header: &Header, frames: &[&str], bundle: Option<String>) -> Value {
    json!({
        "digest": hex(&header.digest), "from": hex(&header.from),
        "chunk_size": header.chunk_size, "head_length": header.head_len,
        "components": header.components(), "frames": frames, "bundle": bundle,
    })
}
