//! How manifests, keysets and their signatures look.

use serde_json::{Value, json};
use stillboot::format::manifest::flags;
use stillboot::format::{
    Component, Envelope, KeyKind, KeyName, KeyRole, Keyset, Manifest, Rule, Signature, Slot,
};
use stillboot_policy::json::ManifestView;

use super::{hex, key, key_of, named};
use crate::output::Output;
use crate::{size, time};

/// The slot that a component is linked for.
pub fn linked(component: &Component) -> Option<Slot> {
    let number = usize::from(component.linked).checked_sub(1)?;
    Slot::ALL.get(number).copied()
}

/// A manifest, for people and scripts: not installable.
pub fn manifest(manifest: &Manifest) -> Value {
    // A manifest has only names, numbers and lists of them, so this does not fail.
    let mut value = serde_json::to_value(ManifestView(manifest)).unwrap_or_default();
    value["not_after_time"] = time::rfc3339(manifest.not_after);
    value
}

/// A manifest in lines; `names` are those of product and class, as far as they are known.
pub fn manifest_lines(out: &Output, manifest: &Manifest, names: &[&str]) {
    let epochs = &manifest.epochs;
    out.line(format_args!("  version       {}", manifest.version));
    out.line(format_args!("  sequence      {}", manifest.sequence));
    out.line(format_args!("  level         {}", manifest.level));
    out.line(format_args!("  product       {}", named(&manifest.product, names)));
    out.line(format_args!("  class         {}", named(&manifest.class, names)));
    out.line(format_args!(
        "  revisions     {} to {}",
        manifest.revision_min, manifest.revision_max
    ));
    out.line(format_args!("  architecture  {}", manifest.architecture));
    out.line(format_args!("  channel       {}", channel(manifest)));
    out.line(format_args!("  rollout       {} %", manifest.rollout));
    match manifest.min_from.as_str() {
        "" => out.line("  updates from  any version"),
        version => out.line(format_args!("  updates from  {version}")),
    }
    match manifest.not_after {
        0 => out.line("  not after     never expires"),
        until => out.line(format_args!("  not after     {}", time::show(until))),
    }
    out.line(format_args!(
        "  data epochs   reads {} to {}, writes {}",
        epochs.reads_min, epochs.reads_max, epochs.writes
    ));
    let flags = flag_names(manifest.flags);
    out.line(format_args!(
        "  flags         {}",
        if flags.is_empty() { "none".into() } else { flags.join(", ") }
    ));
    out.line(format_args!("  chunk size    {}", size::show(manifest.chunk_size.into())));
    for (number, component) in manifest.components.iter().enumerate() {
        let slot =
            linked(component).map_or(String::new(), |slot| format!(", for slot {slot} only"));
        out.line(format_args!(
            "  component {number}   {}, {} bytes, load {}{slot}",
            component.role, component.length, component.load
        ));
        out.line(format_args!("    sha256      {}", hex(&component.sha256)));
        out.line(format_args!("    index root  {}", hex(&component.index_root)));
    }
}

/// A manifest's channel as text.
fn channel(manifest: &Manifest) -> String {
    let channel = &manifest.channel;
    let branch = if channel.branch.is_empty() { "" } else { "/" };
    format!("{}/{}{branch}{}", channel.track, channel.risk, channel.branch)
}

fn flag_names(bits: u32) -> Vec<&'static str> {
    [(flags::SECURITY, "security"), (flags::DTB_REQUIRED, "dtb-required")]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect()
}

/// The roles that bits of a key stand for.
fn role_names(bits: u8) -> Vec<&'static str> {
    KeyRole::OF_KEYSETS.iter().filter(|role| bits & role.bit() != 0).map(|r| r.name()).collect()
}

/// A keyset.
pub fn keyset(keyset: &Keyset) -> Value {
    let keys: Vec<_> = keyset
        .keys
        .iter()
        .map(|found| {
            json!({
                "id": key_of(found.kind, &found.name),
                "kind": found.kind.name(),
                "name": hex(&found.name),
                "public": Some(hex(&found.name)).filter(|_| found.kind == KeyKind::Ed25519),
                "roles": role_names(found.roles),
            })
        })
        .collect();
    let rules = || KeyRole::OF_KEYSETS.iter().zip(keyset.rules).filter(|(_, r)| !r.is_none());
    let all = |rule: Rule| rule.parts().map(|(_, threshold)| u32::from(threshold)).sum::<u32>();
    let by_kind = |rule: Rule| -> serde_json::Map<_, _> {
        rule.parts().map(|(kind, number)| (kind.name().to_owned(), number.into())).collect()
    };
    let thresholds: serde_json::Map<_, _> =
        rules().map(|(role, rule)| (role.name().to_owned(), all(rule).into())).collect();
    let rules: serde_json::Map<_, _> =
        rules().map(|(role, rule)| (role.name().to_owned(), by_kind(rule).into())).collect();
    json!({
        "version": keyset.version, "keys": keys, "thresholds": thresholds, "rules": rules,
    })
}

/// A keyset in lines.
pub fn keyset_lines(out: &Output, keyset: &Keyset) {
    out.line(format_args!("  version       {}", keyset.version));
    for found in &keyset.keys {
        out.line(format_args!(
            "  key           {}  {}",
            key_text(found.kind, &found.name),
            role_names(found.roles).join(", ")
        ));
    }
    for (role, rule) in KeyRole::OF_KEYSETS.iter().zip(keyset.rules) {
        let ed25519 = rule.threshold(KeyKind::Ed25519);
        if rule == Rule::ed25519(ed25519) && ed25519 > 0 {
            out.line(format_args!("  threshold     {ed25519} for {role}"));
        } else if !rule.is_none() {
            out.line(format_args!("  threshold     {rule} for {role}"));
        }
    }
}

/// The ids of the keys that signed an envelope, or kind to have.
pub fn signers(envelope: &Envelope<'_>) -> Vec<String> {
    envelope.signatures().map(|signature| key_of(signature.kind, &signature.name)).collect()
}

/// The same with the kinds of the keys.
pub fn signatures(envelope: &Envelope<'_>) -> Value {
    let one = |signature: Signature<'_>| {
        json!({
            "id": key_of(signature.kind, &signature.name), "kind": signature.kind.name(),
        })
    };
    envelope.signatures().map(one).collect()
}

/// The same for people.
pub fn signers_text(envelope: &Envelope<'_>) -> String {
    let one = |signature: Signature<'_>| key_text(signature.kind, &signature.name);
    envelope.signatures().map(one).collect::<Vec<_>>().join(", ")
}

/// A key's id for people: with its kind where that is not the usual one.
fn key_text(kind: KeyKind, name: &KeyName) -> String {
    match kind {
        KeyKind::Ed25519 => key(name),
        kind if kind.is_supported() => format!("{} ({kind})", key_of(kind, name)),
        kind => format!("{} ({kind}, which this build skips)", key_of(kind, name)),
    }
}
