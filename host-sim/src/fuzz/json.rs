//! What is read from JSON, and what is shown as JSON: compared with a reader that knows none of our
//! rules.

use serde_json::Value;
use stillboot::format::{Manifest, Slot, envelope, manifest};
use stillboot::verify::SoftSha256;
use stillboot_policy::json::index::{INDEX_LEN_MAX, OFFERS_MAX, PATCHES_MAX};
use stillboot_policy::json::view as json_view;
use stillboot_policy::json::{ChannelIndex, Latest};
use stillboot_release::keys::{Signer as _, SigningKey};

/// Every reader of JSON sees the same bytes: what one accepts is nothing to the others.
pub fn json(data: &[u8]) {
    view(data);
    index(data);
    latest(data);
}

/// The two encodings and the view of a manifest say the same, whichever it was read from.
fn view(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        agree(&manifest, data);
    }
    // Tools may write a manifest as JSON; it counts only once it stands in the one encoding.
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let mut bytes = [0; envelope::PAYLOAD_LEN_MAX];
        if let Ok(len) = manifest.emit(&mut bytes) {
            assert_eq!(Manifest::parse(&bytes[..len]).as_ref(), Ok(&manifest));
            agree(&manifest, &bytes[..len]);
        }
    }
}

fn agree(manifest: &Manifest, bytes: &[u8]) {
    // An encoder that is not ours.
    let mut again = [0; envelope::PAYLOAD_LEN_MAX];
    let again = postcard::to_slice(manifest, &mut again).expect("what was read can be written");
    assert_eq!(again, bytes);
    let text = serde_json::to_string(manifest).expect("what was read can be written");
    assert_eq!(&serde_json::from_str::<Manifest>(&text).expect("so can it be read"), manifest);

    let mut room = [0; json_view::VIEW_LEN_MAX];
    let len =
        json_view::view_manifest(manifest, &mut room).expect("there is room for every manifest");
    let view: Value = serde_json::from_slice(&room[..len]).expect("the view is JSON");
    let number = |at: &str| view.pointer(at).and_then(Value::as_u64);
    let text = |at: &str| view.pointer(at).and_then(Value::as_str);
    assert_eq!(number("/schema"), Some(manifest.schema.into()));
    assert_eq!(text("/product").map(digits), Some(hex(&manifest.product)));
    assert_eq!(text("/class").map(digits), Some(hex(&manifest.class)));
    assert_eq!(number("/revision/min"), Some(manifest.revision_min.into()));
    assert_eq!(number("/revision/max"), Some(manifest.revision_max.into()));
    assert_eq!(text("/version"), Some(manifest.version.as_str()));
    assert_eq!(number("/sequence"), Some(manifest.sequence));
    assert_eq!(number("/level"), Some(manifest.level.into()));
    assert_eq!(text("/min_from").unwrap_or(""), manifest.min_from.as_str());
    let channel = &manifest.channel;
    let mut words = text("/channel").expect("it has one").split('/');
    assert_eq!(words.next(), Some(channel.track.as_str()));
    assert_eq!(words.next(), Some(channel.risk.name()));
    assert_eq!(words.next().unwrap_or(""), channel.branch.as_str());
    assert_eq!(words.next(), None);
    assert_eq!(text("/architecture"), Some(manifest.architecture.name()));
    assert_eq!(number("/not_after").unwrap_or(0), manifest.not_after);
    assert_eq!(number("/epochs/reads_min"), Some(manifest.epochs.reads_min.into()));
    assert_eq!(number("/epochs/reads_max"), Some(manifest.epochs.reads_max.into()));
    assert_eq!(number("/epochs/writes"), Some(manifest.epochs.writes.into()));
    assert_eq!(number("/rollout"), Some(manifest.rollout.into()));
    let flags = view["flags"].as_array().expect("a list");
    assert_eq!(flags.len(), manifest.flags.count_ones() as usize);
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    assert_eq!(has("security"), manifest.flags & manifest::flags::SECURITY != 0);
    assert_eq!(has("dtb-required"), manifest.flags & manifest::flags::DTB_REQUIRED != 0);
    assert_eq!(number("/chunk_size"), Some(manifest.chunk_size.into()));
    let shown = view["components"].as_array().expect("a list");
    assert_eq!(shown.len(), manifest.components.len());
    for (shown, component) in shown.iter().zip(&manifest.components) {
        assert_eq!(shown["role"], component.role.name());
        assert_eq!(shown["load"], component.load.name());
        let linked = Slot::ALL.iter().find(|slot| component.linked == 1 + **slot as u8);
        assert_eq!(shown["slot"].as_str(), linked.map(|slot| slot.name()));
        assert_eq!(shown["length"], component.length);
        assert_eq!(shown["index_root"], hex(&component.index_root));
        assert_eq!(shown["sha256"], hex(&component.sha256));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digits(uuid: &str) -> String {
    uuid.replace('-', "")
}

/// A channel index is accepted in one encoding only, and means the same to other readers.
fn index(data: &[u8]) {
    let Ok(index) = ChannelIndex::parse(data) else { return };
    let mut again = vec![0; INDEX_LEN_MAX];
    let len = index
        .head()
        .emit(index.offers(), index.patches(), &mut again)
        .expect("what was read can be written");
    assert_eq!(&again[..len], data);
    let value: Value = serde_json::from_slice(data).expect("what is accepted is JSON");
    assert_eq!(value["product"], hex(index.product()));
    assert_eq!(value["track"], index.track().as_str());
    same_numbers(
        &value,
        &[("schema", index.schema().into()), ("issue", index.issue()), ("until", index.until())],
    );
    let offers = value["offers"].as_array().expect("a list");
    assert!(offers.len() <= OFFERS_MAX);
    assert_eq!(offers.len(), index.offers().count());
    for (value, offer) in offers.iter().zip(index.offers()) {
        assert_eq!(value["risk"], offer.risk.name());
        assert_eq!(value["branch"], offer.branch.as_str());
        assert_eq!(value["digest"], hex(&offer.digest));
        assert_eq!(value["version"], offer.version.as_str());
        assert_eq!(value["url"], offer.url.as_str());
        let numbers = [("size", offer.size), ("since", offer.since), ("until", offer.until)];
        same_numbers(value, &numbers);
    }
    let patches = value["patches"].as_array().expect("a list");
    assert!(patches.len() <= PATCHES_MAX);
    assert_eq!(patches.len(), index.patches().count());
    for (value, patch) in patches.iter().zip(index.patches()) {
        assert_eq!(value["from"], hex(&patch.from));
        assert_eq!(value["to"], hex(&patch.to));
        assert_ne!(patch.from, patch.to);
        assert_eq!(value["url"], patch.url.as_str());
        same_numbers(value, &[("size", patch.size)]);
    }
}

fn same_numbers(value: &Value, numbers: &[(&str, u64)]) {
    for (name, number) in numbers {
        // As a reader sees it that keeps all numbers as floating point.
        assert_eq!(value[name].as_f64(), Some(*number as f64), "{name}");
        assert_eq!(value[name].as_u64(), Some(*number), "{name}");
    }
}

/// A `latest.json` with a good signature means to other readers what it means to us.
fn latest(data: &[u8]) {
    let key = SigningKey::from_seed([9; 32]);
    let Ok(signature) = key.sign(data) else { return };
    let Ok(latest) = Latest::verify::<SoftSha256>(data, &signature, &key.public()) else { return };
    let value: Value = serde_json::from_slice(data).expect("what is accepted is JSON");
    let text = |name: &str| value[name].as_str().unwrap_or("");
    let version = text("version");
    assert_eq!(version.strip_prefix('v').unwrap_or(version), latest.version());
    let files = [("vmlinuz", latest.kernel()), ("initramfs", latest.initramfs())];
    for (name, file) in files {
        assert_eq!(text(&format!("{name}_url")), file.url);
        assert_eq!(text(&format!("{name}_sig_url")), file.signature_url);
        assert_eq!(text(&format!("{name}_sha256")).to_lowercase(), hex(&file.sha256));
    }
    assert_eq!(text("channel"), latest.channel());
    assert_eq!(text("release_date"), latest.release_date());
    assert_eq!(text("release_notes"), latest.release_notes());
    assert_eq!(text("min_compatible_version").is_empty(), latest.min_from().is_empty());
    assert_eq!(text("architecture").is_empty(), latest.architecture().code() == 0);
    let fields = value.as_object().expect("an object");
    assert!(fields.values().all(Value::is_string));
}
