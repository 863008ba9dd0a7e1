//! The test vectors of `docs/vectors`, made from fixed seeds: the author of another reader of the
//! formats compares with them.
//!
//! What a reader must give stands here apart from the readers: values are those that were written,
//! refusals are named by hand.

mod bundles;
mod device;
pub mod framed;
mod payloads;
mod publisher;
pub mod values;

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

pub use device::{log_entries, log_generation, readable};
pub use publisher::{REVISION, class, key, product};

/// The file that says what the others are.
pub const LIST: &str = "vectors.json";
/// What is written by hand.
pub const README: &str = "README.md";

/// One file, and what a reader must give for it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Its path in the folder.
    pub file: String,
    /// The format that it is read as.
    pub format: &'static str,
    /// What it is, for people.
    pub what: String,
    /// Who reads it, and what else a reader must know.
    pub context: Map<String, Value>,
    /// `ok` and the value, or `refused` and why.
    pub expect: Value,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Vector {
    /// Says what else a reader must know.
    pub fn with(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.context.insert(name.into(), value.into());
        self
    }

    /// Says which device reads it.
    pub fn on(&mut self, device: &str) -> &mut Self {
        self.with("device", device)
    }
}

/// The vectors, in the order in which they are made.
#[derive(Debug, Default)]
struct Set {
    vectors: Vec<Vector>,
}

impl Set {
    fn add(
        &mut self,
        format: &'static str,
        what: &str,
        bytes: Vec<u8>,
        expect: Value,
    ) -> &mut Vector {
        // The words are the name of the file too, so that each is one of its kind.
        let words =
            what.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
        let suffix = match format {
            "index" => "json",
            "proof" | "seen" => "txt",
            "secret-key" | "public-key" => "pem",
            "roots" => "toml",
            "bundle" => "sbb",
            "framed" => "sbz",
            "signed-statement" => "sbs",
            _ => "bin",
        };
        let vector = Vector {
            file: format!("{format}/{name}.{suffix}"),
            format,
            what: what.into(),
            context: Map::new(),
            expect,
            bytes,
        };
        assert!(
            self.vectors.iter().all(|other| other.file != vector.file),
            "{} twice",
            vector.file
        );
        self.vectors.push(vector);
        let at = self.vectors.len() - 1;
        &mut self.vectors[at]
    }

    /// A file that is accepted, with this value.
    fn sound(
        &mut self,
        format: &'static str,
        what: &str,
        bytes: Vec<u8>,
        value: Value,
    ) -> &mut Vector {
        self.add(format, what, bytes, json!({ "ok": value }))
    }

    /// A file that is refused.
    fn refused(
        &mut self,
        format: &'static str,
        what: &str,
        bytes: Vec<u8>,
        kind: &str,
    ) -> &mut Vector {
        self.add(format, what, bytes, json!({ "refused": kind }))
    }

    /// A file that is refused by the name of a field and the number that stands there.
    fn unknown(
        &mut self,
        format: &'static str,
        what: &str,
        bytes: Vec<u8>,
        field: &str,
        number: u32,
    ) -> &mut Vector {
        let expect = json!({ "refused": "unknown", "field": field, "number": number });
        self.add(format, what, bytes, expect)
    }
}

/// All vectors.
#[must_use]
pub fn vectors() -> Vec<Vector> {
    let mut set = Set::default();
    publisher::keys(&mut set);
    payloads::all(&mut set);
    bundles::all(&mut set);
    framed::all(&mut set);
    device::all(&mut set);
    set.vectors
}

/// All files that are written, by their paths in the folder.
///
/// # Panics
/// If the list cannot be written as JSON, which does not happen.
#[must_use]
pub fn files() -> Vec<(String, Vec<u8>)> {
    let vectors = vectors();
    let entry = |vector: &Vector| {
        let mut entry = vector.context.clone();
        entry.insert("file".into(), vector.file.as_str().into());
        entry.insert("format".into(), vector.format.into());
        entry.insert("what".into(), vector.what.as_str().into());
        entry.insert("expect".into(), vector.expect.clone());
        Value::Object(entry)
    };
    // One vector a line: a difference shows which one it is.
    let lines: Vec<_> = vectors.iter().map(|vector| entry(vector).to_string()).collect();
    let devices = serde_json::to_string_pretty(&publisher::devices()).expect("plain values");
    let list = format!(
        "{{\"schema\": 1, \"devices\": {devices},\n\"vectors\": [\n{}\n]}}\n",
        lines.join(",\n")
    );
    let mut files = vec![(LIST.to_owned(), list.into_bytes())];
    files.extend(vectors.into_iter().map(|vector| (vector.file, vector.bytes)));
    files
}

/// Makes the folder hold these files, and nothing else but [`README`].
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        }
    }
    for (name, bytes) in files() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}
