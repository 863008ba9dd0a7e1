//! The formats, read twice: by the library and by the reader in `tests/reader`, which was written
//! from `docs/FORMAT.md` alone. The test vectors of `docs/vectors` say what both must give, and on
//! inputs of the fuzz targets both must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stillboot::check;
use stillboot::format::{
    Architecture, BootProof, Envelope, Field, FormatError, KeyKind, Keyset, Manifest, Mark,
    MarkKind, Notes, Record, Rule, Slot, SlotKind, Statement, crc32, record,
};
use stillboot::install::{InstallError, Refusal};
use stillboot::record::{CopyState, RecordStatus, inspect};
use stillboot::request::RequestError;
use stillboot::verify::{
    Authority, Device, IndexFold, RootKey, SignatureError, SoftSha256, Trust, TrustError,
    check_class, digest_of, verify_head, verify_keyset, verify_loader_release, verify_statement,
};
use stillboot_devicetree::set::Set;
use stillboot_policy::json::{ChannelIndex, IndexError, verify_index};
use stillboot_release::keys::{Roots, Signer as _, SigningKey, read_public};
use stillboot_sim::disk::Random;
use stillboot_sim::fuzz::seeds;
use stillboot_sim::transport::expanded;
use stillboot_sim::world::Bytes;
use stillboot_tests::seed;
use stillboot_tests::vectors::framed::old;
use stillboot_tests::vectors::{
    LIST, README, Vector, files, log_entries, log_generation, readable, values, vectors,
};
use stillboot_transport::frame::{Entry, Fault, Header, Piece};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    root().join("docs/vectors")
}

/// What the reader in Python prints for these words and this input.
fn python(words: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("python3")
        .arg(root().join("tests/reader/stillboot_reader.py"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs the second reader of the formats: install it (Debian: python3)");
    // It reads all of it before it prints anything.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

// Refusals of the library, with the names that the vectors have.

type Answer = Result<Value, Value>;

fn refused(kind: &str) -> Value {
    json!({ "refused": kind })
}

fn unknown(field: &str, number: u32) -> Value {
    json!({ "refused": "unknown", "field": field, "number": number })
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::PayloadType => "payload_type",
        Field::SignatureKind | Field::KeyKind | Field::StatementKind | Field::ForeignLoader => {
            "kind"
        }
        Field::ComponentRole => "role",
        Field::ComponentLoad => "load",
        Field::ComponentSlot => "linked",
        Field::Encryption => "encryption",
        Field::Risk => "risk",
        Field::Architecture => "architecture",
        Field::Flags => "flags",
        Field::SlotState => "state",
        Field::KeyRoles => "roles",
        other => panic!("{other:?} has no codes"),
    }
}

fn of_format(error: FormatError) -> Value {
    refused(match error {
        FormatError::Magic => "magic",
        FormatError::Version { .. } => "version",
        FormatError::Short => "short",
        FormatError::Trailing => "trailing",
        FormatError::NotCanonical => "canonical",
        FormatError::Bounds(_) | FormatError::TooMany { .. } | FormatError::Rule { .. } => "bounds",
        FormatError::Unknown { field, code } => return unknown(field_name(field), code),
        FormatError::Duplicate(_) => "duplicate",
        FormatError::Checksum => "checksum",
        FormatError::Malformed => "malformed",
        FormatError::Digest => "digest",
        other => panic!("{other:?} has no name in the vectors"),
    })
}

fn of_signature(error: SignatureError) -> Value {
    match error {
        SignatureError::Kind { kind, .. } => unknown("kind", kind.code().into()),
        _ => refused("signature"),
    }
}

fn of_trust(error: TrustError) -> Value {
    match error {
        TrustError::Keyset(error) | TrustError::Manifest(error) | TrustError::Statement(error) => {
            of_format(error)
        }
        TrustError::KeysetSignature(error)
        | TrustError::ManifestSignature(error)
        | TrustError::StatementSignature(error)
        | TrustError::LoaderSignature(error) => of_signature(error),
        TrustError::EdgeOnly => refused("signature"),
        TrustError::WrongPayload { .. }
        | TrustError::LoaderRole
        | TrustError::LoaderContent { .. } => refused("content"),
        TrustError::WrongProduct => refused("product"),
        other => panic!("{other:?} has no name in the vectors"),
    }
}

fn of_index(error: IndexError) -> Value {
    match error {
        IndexError::Trust(error) => of_trust(error),
        IndexError::Signature(error) => of_signature(error),
        IndexError::Schema { .. } => refused("version"),
        _ => refused("malformed"),
    }
}

fn of_install(error: InstallError) -> Value {
    match error {
        InstallError::Refused(Refusal::Trust(error)) => of_trust(error),
        InstallError::Refused(Refusal::Content { .. }) => refused("content"),
        InstallError::Refused(Refusal::Ended) => refused("short"),
        InstallError::Refused(Refusal::Trailing) => refused("trailing"),
        other => panic!("{other:?} has no name in the vectors"),
    }
}

// Devices.

fn bytes_of<const N: usize>(digits: &Value) -> [u8; N] {
    let digits = digits.as_str().unwrap();
    assert_eq!(digits.len(), 2 * N);
    std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
}

/// A device of the vectors: what [`Device`] borrows.
struct Owner {
    product: [u8; 16],
    class: [u8; 16],
    revision: u16,
    architecture: Architecture,
    roots: Vec<RootKey>,
    rule: Rule,
    single: Option<[u8; 32]>,
}

impl Owner {
    fn new(device: &Value) -> Self {
        let trust = &device["trust"];
        let roots = trust["roots"]["keys"].as_array();
        let root = |key: &Value| RootKey {
            kind: KeyKind::from_name(key["kind"].as_str().unwrap()).unwrap(),
            name: bytes_of(&key["name"]),
        };
        Self {
            product: bytes_of(&device["product"]),
            class: bytes_of(&device["class"]),
            revision: device["revision"].as_u64().unwrap().try_into().unwrap(),
            architecture: Architecture::from_name(device["architecture"].as_str().unwrap())
                .unwrap(),
            roots: roots.map(|keys| keys.iter().map(root).collect()).unwrap_or_default(),
            rule: roots.map_or(Rule::NONE, |_| Rule(bytes_of(&trust["roots"]["rules"]["root"]))),
            single: trust.get("key").map(bytes_of),
        }
    }

    fn device(&self) -> Device<'_> {
        let trust = match &self.single {
            Some(key) => Trust::Key(key),
            None => Trust::Roots { keys: &self.roots, rule: self.rule },
        };
        Device::new(trust, self.product, self.class)
            .with_revision(self.revision)
            .with_architecture(self.architecture)
    }
}

// What the library gives for each format.

fn read_head(device: &Device<'_>, kind: SlotKind, bytes: &[u8]) -> Answer {
    let (manifest, len) = verify_head::<SoftSha256>(device, kind, bytes).map_err(of_trust)?;
    check_class(device, &manifest).map_err(|_| refused("content"))?;
    let keyset = match device.trust {
        Trust::Key(_) => None,
        _ => Some(keyset_of(device, bytes)?),
    };
    let authority = match manifest.authority() {
        Authority::Release => "release",
        Authority::EdgeRelease => "edge-release",
        Authority::Recovery => "recovery",
        Authority::SingleKey => "key",
        other => panic!("{other:?} signs no manifests"),
    };
    Ok(json!({
        "keyset": keyset.as_ref().map(values::keyset),
        "manifest": values::manifest(&manifest),
        "authority": authority,
        "length": len,
    }))
}

fn keyset_of(device: &Device<'_>, head: &[u8]) -> Result<Keyset, Value> {
    let (envelope, _) = Envelope::parse(head).map_err(of_format)?;
    verify_keyset::<SoftSha256>(device, &envelope).map_err(of_trust)
}

fn read_bundle(device: &Device<'_>, kind: SlotKind, bytes: &[u8]) -> Answer {
    let mut source = Bytes::new(bytes, usize::MAX);
    let mut buffer = vec![0; 32 << 10];
    check::bundle::<SoftSha256>(device, kind, &mut source, true, &mut |_| {}, &mut buffer)
        .map_err(of_install)?;
    read_head(device, kind, bytes)
}

fn of_fault(fault: Fault) -> Value {
    refused(match fault {
        Fault::Magic => "magic",
        Fault::Version(_) => "version",
        Fault::Header | Fault::Entry => "bounds",
        Fault::Encoding(number) => return unknown("encoding", number.into()),
        Fault::Damaged | Fault::Old => "content",
        Fault::Ended => "short",
        Fault::Trailing => "trailing",
        other => panic!("{other:?} has no name in the vectors"),
    })
}

fn read_framed(bytes: &[u8]) -> Answer {
    let short = || refused("short");
    let len = Header::len_of(bytes.first_chunk().ok_or_else(short)?).map_err(of_fault)?;
    let header = Header::parse(bytes.get(..len).ok_or_else(short)?).map_err(of_fault)?;
    let table = bytes.get(len..header.frames_start() as usize).ok_or_else(short)?;
    let encoding = |(piece, entry): (Piece, &[u8; 4])| {
        Entry::parse(*entry, &header, &piece).map(|entry| entry.encoding.name()).map_err(of_fault)
    };
    let frames: Vec<_> =
        header.pieces().zip(table.as_chunks().0).map(encoding).collect::<Result<_, _>>()?;
    let bundle = match header.is_whole() {
        false => None,
        true => match expanded(bytes, &mut &old()[..]).map_err(of_fault)? {
            (bundle, None) => Some(values::hex(&digest_of::<SoftSha256>(&bundle))),
            (_, Some(fault)) => return Err(of_fault(fault)),
        },
    };
    Ok(values::framed(&header, &frames, bundle))
}

fn read_loader_release(device: &Device<'_>, bytes: &[u8]) -> Answer {
    let (envelope, stream) = Envelope::parse(bytes).map_err(of_format)?;
    let manifest = verify_loader_release::<SoftSha256>(device, &envelope).map_err(of_trust)?;
    check_class(device, &manifest).map_err(|_| refused("content"))?;
    let component = &manifest.components[0];
    let index_len = component.index_len(manifest.chunk_size) as usize;
    let whole = index_len + component.length as usize;
    if stream.len() != whole {
        return Err(refused(if stream.len() < whole { "short" } else { "trailing" }));
    }
    let (index, chunks) = stream.split_at(index_len);
    let fold = || IndexFold::<SoftSha256>::new(component.length, manifest.chunk_size);
    let (mut of_index, mut of_chunks) = (fold(), fold());
    of_index.entries(index);
    of_chunks.bytes(chunks);
    let is_right = of_index.finish() == component.index_root
        && of_chunks.finish() == component.index_root
        && digest_of::<SoftSha256>(chunks) == component.sha256;
    if is_right { Ok(values::manifest(&manifest)) } else { Err(refused("content")) }
}

/// The only envelope of a file.
fn whole_envelope(bytes: &[u8]) -> Result<Envelope<'_>, Value> {
    match Envelope::parse(bytes).map_err(of_format)? {
        (envelope, []) => Ok(envelope),
        _ => Err(refused("trailing")),
    }
}

fn read_envelope(bytes: &[u8]) -> Answer {
    let (envelope, rest) = Envelope::parse(bytes).map_err(of_format)?;
    if !envelope.has_its_payload::<SoftSha256>() {
        return Err(refused("digest"));
    }
    let signatures: Vec<_> = envelope.signatures().collect();
    let mut again = vec![0; bytes.len()];
    let len = Envelope::emit(envelope.payload_type(), &signatures, envelope.payload(), &mut again);
    let len = len.expect("what was read can be written");
    assert_eq!(&again[..len], &bytes[..bytes.len() - rest.len()]);
    Ok(values::envelope(&envelope, len))
}

/// Reads a payload, and sees that it is the only encoding of its value.
fn read_payload<T>(
    bytes: &[u8],
    parse: fn(&[u8]) -> Result<T, FormatError>,
    emit: fn(&T, &mut [u8]) -> Result<usize, FormatError>,
    value: fn(&T) -> Value,
) -> Answer {
    let found = parse(bytes).map_err(of_format)?;
    let mut again = vec![0; 2048];
    let len = emit(&found, &mut again).expect("what was read can be written");
    assert_eq!(&again[..len], bytes);
    Ok(value(&found))
}

fn read_index(bytes: &[u8]) -> Answer {
    let index = ChannelIndex::parse(bytes).map_err(of_index)?;
    let mut again = vec![0; bytes.len()];
    let len = index.head().emit(index.offers(), index.patches(), &mut again);
    assert_eq!(&again[..len.expect("what was read can be written")], bytes);
    Ok(values::index(&index))
}

fn read_record(bytes: &[u8]) -> Answer {
    let (state, _) = inspect(&bytes[..bytes.len().min(record::LEN_MAX)]);
    if state == CopyState::Blank && bytes.len() >= record::LEN_MAX {
        return Err(refused("blank"));
    }
    let found = Record::parse(bytes).map_err(of_format)?;
    let mut again = [0; record::LEN_MAX];
    let len = found.emit(&mut again).expect("what was read can be written");
    assert_eq!(&again[..len], &bytes[..len]);
    Ok(values::record(&found, len))
}

fn read_mark(bytes: &[u8]) -> Answer {
    match Mark::parse(MarkKind::Committed, bytes) {
        Err(FormatError::Magic) => Mark::parse(MarkKind::Confirmed, bytes),
        other => other,
    }
    .map(|mark| values::mark(&mark))
    .map_err(of_format)
}

fn read_log(device: Device<'_>, bytes: &[u8], block_len: usize, granule: u32) -> Answer {
    let mut world = readable(device, granule, bytes);
    let (found, choice) = match world.record() {
        Ok((record, choice, _)) => (Some(record), choice),
        Err(RequestError::NoRecord(choice)) => (None, choice),
        Err(other) => panic!("{other:?}"),
    };
    let copy = match choice {
        RecordStatus::Current { copy } => usize::from(copy),
        RecordStatus::Newer => return Err(refused("version")),
        RecordStatus::Factory | RecordStatus::Lost => return Err(refused("content")),
    };
    let block = &bytes[copy * block_len..][..block_len];
    let entries = log_entries(block, granule);
    // What the simulator finds, which reads logs apart from the core.
    let mut get = |at: u64, len: usize| bytes[at as usize..at as usize + len].to_vec();
    for slot in [Slot::A, Slot::B] {
        let is_of = |entry: &&Value, kind: &str| entry[0] == kind && entry[1] == slot.name();
        let head = entries.iter().find(|entry| is_of(entry, "head"));
        let start = (copy * block_len) as u64;
        let place = |entry: &Value| {
            let number = |at: usize| entry[at].as_u64().unwrap();
            (start + number(3), number(4) as usize)
        };
        assert_eq!(world.ground.head(&mut get, slot), head.map(place));
        for (kind, name) in [(MarkKind::Committed, "committed"), (MarkKind::Confirmed, "confirmed")]
        {
            let is_marked = entries.iter().any(|entry| is_of(&entry, name));
            assert_eq!(world.ground.is_marked(&mut get, slot, kind, &[0; 32]), is_marked);
        }
    }
    Ok(json!({
        "block": copy,
        "generation": log_generation(block, granule),
        "sequence": found.expect("a record").sequence,
        "entries": entries,
    }))
}

/// The file of statements that were seen. The tool's reader is a part of the tool, with tests there.
fn read_seen(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (body, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = &text[..body.len() + 1];
    let digest = values::hex(&digest_of::<SoftSha256>(body.as_bytes()));
    if last.strip_prefix("sum ")? != &digest[..16] {
        return None;
    }
    let lines = body.strip_prefix("stillboot-seen-1\n")?.lines();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let (digest, kind, number) = (words.next()?, words.next()?, words.next()?);
        stillboot::format::StatementKind::from_name(kind)?;
        let number = number.parse::<u64>().ok()?;
        Some(json!({ "digest": digest, "kind": kind, "number": number }))
    };
    Some(json!({ "entries": lines.map(entry).collect::<Option<Vec<_>>>()? }))
}

fn answer(vector: &Vector, devices: &BTreeMap<String, Owner>) -> Answer {
    let bytes = &vector.bytes[..];
    let named = |name: &str| vector.context.get(name).and_then(Value::as_str);
    let owner = &devices[named("device").unwrap_or("roots")];
    let device = owner.device();
    let kind = match named("slot_kind") {
        Some("recovery") => SlotKind::Recovery,
        _ => SlotKind::Update,
    };
    let number = |name: &str| vector.context[name].as_u64().unwrap();
    let keyset = || {
        let file = fs::read(folder().join(named("keyset").unwrap())).unwrap();
        keyset_of(&device, &file)
    };
    let path = folder().join(&vector.file);
    match vector.format {
        "envelope" => read_envelope(bytes),
        "keyset" => read_payload(bytes, Keyset::parse, Keyset::emit, values::keyset),
        "manifest" => read_payload(bytes, Manifest::parse, Manifest::emit, values::manifest),
        "statement" => read_payload(bytes, Statement::parse, Statement::emit, values::statement),
        "notes" => Notes::parse(bytes).map(|notes| values::notes(&notes)).map_err(of_format),
        "index" => read_index(bytes),
        "proof" => {
            let proof = std::str::from_utf8(bytes).ok().and_then(BootProof::parse);
            proof.map(|proof| values::proof(&proof)).ok_or_else(|| refused("malformed"))
        }
        "head" => read_head(&device, kind, bytes),
        "bundle" => read_bundle(&device, kind, bytes),
        "framed" => read_framed(bytes),
        "loader-release" => read_loader_release(&device, bytes),
        "signed-statement" => {
            let (keyset, envelope) = (keyset()?, whole_envelope(bytes)?);
            verify_statement::<SoftSha256>(&device, &keyset, &envelope)
                .map(|statement| values::statement(&statement))
                .map_err(of_trust)
        }
        "signed-index" => {
            let (keyset, envelope) = (keyset()?, whole_envelope(bytes)?);
            verify_index::<SoftSha256>(&device, &keyset, &envelope)
                .map(|index| values::index(&index))
                .map_err(of_index)
        }
        "record" => read_record(bytes),
        "mark" => read_mark(bytes),
        "log" => read_log(device, bytes, number("block_len") as usize, number("granule") as u32),
        "dtbs" => Set::parse(bytes)
            .map(|set| {
                let trees: Vec<_> = set.entries().map(|entry| entry.compatible).collect();
                json!({ "trees": trees, "matches": set.matches().count() })
            })
            .map_err(|_| refused("malformed")),
        "seen" => read_seen(bytes).ok_or_else(|| refused("malformed")),
        "secret-key" => SigningKey::read(&path)
            .map(|key| json!({ "public": values::hex(&key.public()) }))
            .map_err(|_| refused("malformed")),
        "public-key" => read_public(&path)
            .map(|key| json!({ "public": values::hex(&key) }))
            .map_err(|_| refused("malformed")),
        "roots" => Roots::read(&path)
            .map(|roots| {
                let keys: Vec<_> = roots.keys.iter().map(|key| values::hex(&key.name)).collect();
                json!({
                    "product": values::hex(&roots.product_id()),
                    "threshold": roots.threshold,
                    "keys": keys,
                })
            })
            .map_err(|_| refused("malformed")),
        other => panic!("no reader for {other}"),
    }
}

fn names_below(folder: &Path, prefix: &str, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("docs/vectors is there") {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            names_below(&entry.path(), &format!("{name}/"), names);
        } else {
            names.insert(name);
        }
    }
}

#[test]
fn vectors_are_what_xtask_writes() {
    let mut found = BTreeSet::new();
    names_below(&folder(), "", &mut found);
    assert!(found.remove(README), "docs/vectors/{README} is missing");
    for (name, bytes) in files() {
        let path = folder().join(&name);
        let is_same = found.remove(&name) && fs::read(path).unwrap() == bytes;
        assert!(is_same, "docs/vectors/{name} differs from what `cargo xtask vectors` writes");
    }
    assert!(found.is_empty(), "`cargo xtask vectors` does not write {found:?} of docs/vectors");
}

#[test]
fn library_gives_what_the_vectors_say() {
    let list: Value = serde_json::from_slice(&fs::read(folder().join(LIST)).unwrap()).unwrap();
    let devices = list["devices"].as_object().unwrap().iter();
    let devices = devices.map(|(name, device)| (name.clone(), Owner::new(device))).collect();
    let vectors = vectors();
    let mut faults = Vec::new();
    for vector in &vectors {
        let found = match answer(vector, &devices) {
            Ok(value) => json!({ "ok": value }),
            Err(refusal) => refusal,
        };
        if found != vector.expect {
            faults.push(format!("{}: expected {}, found {found}", vector.file, vector.expect));
        }
    }
    println!("{} vectors", vectors.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn second_reader_gives_what_the_vectors_say() {
    let (is_right, said) = python(&["vectors", folder().to_str().unwrap()], "");
    assert!(is_right, "{said}");
    println!("{said}");
}

// Inputs that no vector has.

/// A format of the second reader, with the fuzz target that has inputs for it, and what the library
/// gives.
type Compared = (&'static str, &'static str, fn(&[u8]) -> Answer);

const COMPARED: [Compared; 7] = [
    ("envelope", "envelope", read_envelope),
    ("keyset", "keyset", |bytes| read_payload(bytes, Keyset::parse, Keyset::emit, values::keyset)),
    ("manifest", "manifest", |bytes| {
        read_payload(bytes, Manifest::parse, Manifest::emit, values::manifest)
    }),
    ("statement", "statement", |bytes| {
        read_payload(bytes, Statement::parse, Statement::emit, values::statement)
    }),
    ("record", "record", read_record),
    ("index", "json", read_index),
    // Without a target of its own.
    ("notes", "", |bytes| match bytes {
        // None at all are those of a new device; the second reader reads notes that are there.
        [] => Err(refused("short")),
        _ => Notes::parse(bytes).map(|notes| values::notes(&notes)).map_err(of_format),
    }),
];

/// Makes checksum or digest right, so that the search gets behind them.
fn correct_sums(format: &str, bytes: &mut [u8]) {
    let len = bytes.len();
    if format == "record" && len >= record::HEADER_LEN + 4 {
        bytes[..4].copy_from_slice(&record::MAGIC);
        bytes[6..8].copy_from_slice(&((len - record::HEADER_LEN - 4) as u16).to_le_bytes());
        let crc = crc32(&bytes[..len - 4]);
        bytes[len - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    if format == "envelope"
        && let Ok((envelope, _)) = Envelope::parse(bytes)
    {
        let digest = digest_of::<SoftSha256>(envelope.payload());
        bytes[16..48].copy_from_slice(&digest);
    }
}

/// Bytes that have a meaning somewhere: bounds of numbers, codes, and what JSON is made of.
const TELLING: &[u8] =
    b"\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x10\x20\x3f\x40\x41\x7e\x7f\x80\
                         \x81\xfe\xff\"'\\{}[],:0129afAF .-+_~/?#%";

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let below = |random: &mut Random, len: usize| random.below(len.max(1) as u64) as usize;
    let at = below(random, bytes.len());
    let telling = TELLING[below(random, TELLING.len())];
    match random.below(8) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = telling,
        2 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(1),
        3 => bytes.insert(at, telling),
        4 if !bytes.is_empty() => {
            bytes.remove(at);
        }
        5 => bytes.truncate(at),
        // The end of another one, from the same place on.
        6 => {
            bytes.truncate(at);
            bytes.extend(other.get(at..).unwrap_or(&[]));
        }
        // A piece of it twice, or instead of what stands there.
        7 => {
            let (from, len) = (below(random, other.len()), below(random, 40));
            let piece = &other[from..other.len().min(from + len)];
            let end = if random.below(2) == 0 { at } else { bytes.len().min(at + piece.len()) };
            bytes.splice(at..end, piece.iter().copied());
        }
        _ => {}
    }
}

const CHANGED: usize = 3000;

#[test]
fn both_readers_agree_on_seeds_corpus_and_what_is_made_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = vectors();
    for (format, target, read) in COMPARED {
        let mut random = Random::new(seed(format));
        let mut inputs = if target.is_empty() { Vec::new() } else { seeds(target) };
        assert!(target.is_empty() || !inputs.is_empty(), "{target} has no seeds");
        let corpus = fs::read_dir(root().join("fuzz/corpus").join(target));
        let mut corpus: Vec<_> =
            corpus.into_iter().flatten().map(|file| file.unwrap().path()).collect();
        corpus.retain(|path| path.is_file());
        corpus.sort();
        inputs.extend(corpus.iter().map(|path| fs::read(path).unwrap()));
        let of_format = vectors.iter().filter(|vector| vector.format == format);
        inputs.extend(of_format.map(|vector| vector.bytes.clone()));
        // Long ones say nothing that short ones do not, and take their time.
        let mut pool: Vec<_> = inputs.iter().filter(|bytes| bytes.len() < 4096).cloned().collect();
        pool.sort_by_key(|bytes| read(bytes).is_err());
        let sound = pool.iter().take_while(|bytes| read(bytes).is_ok()).count();
        for number in 0..CHANGED {
            // Most are made of sound ones: others have a fault already.
            let pick = |random: &mut Random| {
                let len = if random.below(4) == 0 { pool.len() } else { sound };
                random.below(len as u64) as usize
            };
            let mut bytes = pool[pick(&mut random)].clone();
            for _ in 0..=random.below(3) {
                let other = pick(&mut random);
                change(&mut random, &mut bytes, &pool[other]);
            }
            if number % 4 != 0 {
                correct_sums(format, &mut bytes);
            }
            inputs.push(bytes);
        }
        let mut paths = String::new();
        for (number, bytes) in inputs.iter().enumerate() {
            let path = folder.path().join(format!("{format}-{number}"));
            fs::write(&path, bytes).unwrap();
            writeln!(paths, "{}", path.display()).unwrap();
        }
        let (is_done, said) = python(&["judge", format], &paths);
        assert!(is_done, "{said}");
        let mut accepted = 0;
        let mut faults = Vec::new();
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said.len(), inputs.len());
        for (bytes, said) in inputs.iter().zip(said) {
            let ours = read(bytes);
            let agrees = match &ours {
                Ok(value) => {
                    accepted += 1;
                    let digest = digest_of::<SoftSha256>(value.to_string().as_bytes());
                    said == format!("accept {}", values::hex(&digest))
                }
                // Of an unknown code the field and the number as well.
                Err(refusal) => {
                    let kind = refusal["refused"].as_str().unwrap();
                    match kind {
                        "unknown" => {
                            let field = refusal["field"].as_str().unwrap();
                            said == format!("refuse unknown {field} {}", refusal["number"])
                        }
                        _ => said.starts_with(&format!("refuse {kind} ")),
                    }
                }
            };
            if !agrees {
                let bytes =
                    String::from_utf8_lossy(bytes).into_owned() + " = " + &values::hex(bytes);
                faults.push(format!("{said}, but the library {ours:?}: {bytes}"));
            }
        }
        println!("{format}: {} inputs, {accepted} accepted", inputs.len());
        assert!(accepted > 20, "{format}: hardly any input is accepted");
        assert!(faults.is_empty(), "{format}: {} faults\n{}", faults.len(), faults.join("\n"));
    }
}
