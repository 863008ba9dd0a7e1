//! Looks at a bundle while it is read: enough to say what it is, and whether it will start.

use stillboot::format::envelope::{HEADER_LEN, Header};
use stillboot::format::{Envelope, Field, FormatError, KeyKind, Manifest, PayloadType, Role};
use stillboot::verify::HEAD_LEN_MAX;

use crate::failure::{Exit, Failure};

/// Longest component that is kept: longer than any command line or set of device trees.
const KEPT_MAX: u64 = 256 << 20;

/// The bytes of a bundle as they are read, as far as they matter here.
#[derive(Debug, Default)]
pub struct Preview {
    at: u64,
    head: Vec<u8>,
    found: Option<Found>,
}

/// What the head says. It may be forged: verify it before it is believed.
#[derive(Debug)]
struct Found {
    manifest: Box<Manifest>,
    len: u64,
    parts: Vec<Part>,
}

/// A component that is kept.
#[derive(Debug)]
struct Part {
    component: usize,
    from: u64,
    len: u64,
    bytes: Vec<u8>,
}

impl Preview {
    /// These bytes come next. Says whether more is known now than the number of bytes.
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let from = self.at;
        self.skip(bytes.len() as u64);
        let mut is_news = false;
        if self.found.is_none() {
            let room = HEAD_LEN_MAX.saturating_sub(self.head.len());
            self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
            self.found = Found::of(&self.head);
            is_news = self.found.is_some();
        }
        for part in self.found.iter_mut().flat_map(|found| &mut found.parts) {
            is_news |= part.pass(from, bytes);
        }
        is_news
    }

    /// This many bytes were skipped.
    pub const fn skip(&mut self, len: u64) {
        self.at = self.at.saturating_add(len);
    }

    /// How many bytes there were until now.
    pub const fn len(&self) -> u64 {
        self.at
    }

    /// The head, or what came in its place.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The manifest, once it was read: not verified.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.found.as_ref().map(|found| &*found.manifest)
    }

    /// How long the head says that the bundle is.
    pub fn promised(&self) -> Option<u64> {
        self.found.as_ref().map(|found| found.len)
    }

    /// A command line or a set of device trees, if all of it was read.
    pub fn component(&self, number: usize) -> Option<&[u8]> {
        let parts = self.found.iter().flat_map(|found| &found.parts);
        let part = parts.into_iter().find(|part| part.component == number)?;
        (part.bytes.len() as u64 == part.len).then_some(&part.bytes)
    }
}

impl Found {
    fn of(head: &[u8]) -> Option<Self> {
        let (mut envelope, mut rest) = Envelope::parse(head).ok()?;
        if envelope.payload_type() == PayloadType::Keyset {
            (envelope, rest) = Envelope::parse(rest).ok()?;
        }
        if envelope.payload_type() != PayloadType::Manifest {
            return None;
        }
        let manifest = Box::new(Manifest::parse(envelope.payload()).ok()?);
        let mut at = (head.len() - rest.len()) as u64;
        let mut parts = Vec::new();
        for (number, component) in manifest.components.iter().enumerate() {
            let len = component.length;
            let from = at.saturating_add(component.index_len(manifest.chunk_size));
            if matches!(component.role, Role::Cmdline | Role::Dtbs) && len <= KEPT_MAX {
                parts.push(Part { component: number, from, len, bytes: Vec::new() });
            }
            at = from.saturating_add(len);
        }
        Some(Self { manifest, len: at, parts })
    }
}

impl Part {
    /// Keeps what is of this part. Says whether that was the last of it.
    fn pass(&mut self, from: u64, bytes: &[u8]) -> bool {
        // A part with skipped bytes is incomplete and is not kept.
        let next = self.from + self.bytes.len() as u64;
        let skip = next.checked_sub(from).and_then(|skip| usize::try_from(skip).ok());
        let left = (self.len - self.bytes.len() as u64) as usize;
        if let Some(mine) = skip.and_then(|skip| bytes.get(skip..)) {
            self.bytes.extend_from_slice(&mine[..left.min(mine.len())]);
        }
        left > 0 && self.bytes.len() as u64 == self.len
    }
}

/// What a file is that has one envelope and nothing else: a keyset, a statement, a channel index.
pub fn lone_envelope(bytes: &[u8]) -> Option<String> {
    let (envelope, rest) = Envelope::parse(bytes).ok()?;
    let is_lone = rest.is_empty() && envelope.payload_type() != PayloadType::Manifest;
    is_lone.then(|| envelope.payload_type().to_string())
}

/// Whether these bytes begin with a manifest: a bundle without a keyset.
pub fn is_without_keyset(head: &[u8]) -> bool {
    head.first_chunk()
        .and_then(|header| Header::parse(header).ok())
        .is_some_and(|header| header.payload_type == PayloadType::Manifest)
}

/// Whether a file that starts with these bytes is a release of the loader.
pub fn is_loader_release(head: &[u8]) -> bool {
    let header = head.first_chunk::<HEADER_LEN>().map(Header::parse);
    header.is_some_and(|found| {
        found.is_ok_and(|header| header.payload_type == PayloadType::LoaderRelease)
    })
}

/// What a file is by its first bytes, where that is an envelope which no bundle begins with. However
/// long it is, its header names it.
pub fn other_payload(head: &[u8]) -> Option<String> {
    let header = Header::parse(head.first_chunk::<HEADER_LEN>()?).ok()?;
    let found = header.payload_type;
    let is_other = matches!(found, PayloadType::ChannelIndex | PayloadType::Statement);
    is_other.then(|| format!("a {found} (payload type {})", found.code()))
}

/// What is wrong with the envelope that `head` begins with, as far as its bytes are there: in the
/// header, or a kind of signature that this build does not know.
pub fn envelope_fault(head: &[u8]) -> Option<FormatError> {
    let (header, signatures) = head.split_first_chunk::<HEADER_LEN>()?;
    let header = match Header::parse(header) {
        Ok(header) => header,
        Err(error) => return Some(error),
    };
    let len = signatures.len().min(header.signatures_len as usize);
    let mut left = &signatures[..len];
    for _ in 0..header.signatures {
        let kind = KeyKind::from_code(*left.first()?);
        if !kind.is_known() {
            let code = kind.code().into();
            return Some(FormatError::Unknown { field: Field::SignatureKind, code });
        }
        left = left.get(kind.entry_len()..)?;
    }
    None
}

/// Says of a file with another envelope that it is no bundle.
pub fn other_envelope(name: impl core::fmt::Display, found: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        "trust",
        format_args!(
            "refused: {name} is not a bundle: expected a keyset and a manifest, as `stillboot pack` \
             writes them, found {found}; give the bundle that it belongs to"
        ),
    )
}

/// Says of a release of the loader that it is not an update.
pub fn loader_release(name: impl core::fmt::Display) -> Failure {
    let found = PayloadType::LoaderRelease;
    Failure::new(
        Exit::Refused,
        "loader-release",
        format_args!(
            "refused: {name} is a release of the loader ({found}, payload type {}), not an update: \
             expected a bundle as `stillboot pack` writes it; no slot takes a release of the \
             loader, and `stillboot verify` checks one that is a file",
            found.code()
        ),
    )
}

/// Says of something that does not begin as a bundle does what it is.
pub fn not_a_bundle(name: impl core::fmt::Display, head: &[u8]) -> Failure {
    let found = kind_of(head);
    Failure::new(
        Exit::Refused,
        "format",
        format_args!(
            "refused: {name} is not a bundle: expected a file as `stillboot pack` writes it, found \
             {found}"
        ),
    )
}

/// What a file is that does not begin as a bundle does, in words.
pub fn kind_of(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "no bytes at all".into();
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let starts: [(&[u8], &str); 12] = [
        (b"\x1f\x8b", "a file compressed by gzip: unpack it first"),
        (b"\xfd7zXZ\0", "a file compressed by xz: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a file compressed by zstd: unpack it first"),
        (b"BZh", "a file compressed by bzip2: unpack it first"),
        (b"PK\x03\x04", "a zip archive: unpack it first"),
        (b"\x7fELF", "an ELF program"),
        (b"MZ", "a PE image, such as a kernel: pack it first"),
        (b"stillDTB", "a set of device trees: pack it first"),
        (b"\xd0\x0d\xfe\xed", "a device tree: pack it first"),
        (b"-----BEGIN ", "a key or another file in PEM"),
        (b"SQUASHFS", "a file system"),
        (b"hsqs", "a file system"),
    ];
    if let Some((_, name)) = starts.iter().find(|(start, _)| bytes.starts_with(start)) {
        return (*name).into();
    }
    if ["<!doctype html", "<html"].iter().any(|start| text.starts_with(start)) {
        return "an HTML page: a server answered with something else".into();
    }
    if text.starts_with("<?xml") {
        return "an XML document: a server answered with something else".into();
    }
    if text.starts_with(['{', '[']) && std::str::from_utf8(bytes).is_ok() {
        return "JSON: a server answered with something else".into();
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "a tar archive: unpack it first".into();
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return "zeros: a download or a copy that was never finished".into();
    }
    if bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        return "text".into();
    }
    let first: Vec<_> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("a file that begins with {}", first.join(" "))
}

#[cfg(test)]
mod tests {
    use stillboot::format::{Load, SlotKind};
    use stillboot_sim::{Piece, Publisher};

    use super::*;

    fn bundle() -> Vec<u8> {
        let publisher = Publisher::new(1);
        let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
        let pieces = [
            piece(Role::Kernel, &[7; 9000][..]),
            piece(Role::Cmdline, b"panic=1"),
            piece(Role::Dtbs, &[9; 70_000]),
        ];
        publisher.bundle(publisher.manifest(1), SlotKind::Update, &pieces).unwrap()
    }

    #[test]
    fn parts_are_kept_however_the_bundle_comes() {
        let bundle = bundle();
        for step in [1, 13, 4096, bundle.len()] {
            let mut watch = Preview::default();
            let news = bundle.chunks(step).filter(|bytes| watch.pass(bytes)).count();
            assert!((1..=3).contains(&news), "{news}");
            assert_eq!(watch.component(1), Some(&b"panic=1"[..]), "{step}");
            assert_eq!(watch.component(2), Some(&[9; 70_000][..]), "{step}");
            assert_eq!(watch.component(0), None);
            assert_eq!((watch.promised(), watch.len()), (Some(watch.len()), bundle.len() as u64));
        }
        let mut cut = Preview::default();
        cut.pass(&bundle[..bundle.len() - 1]);
        assert_eq!(cut.component(2), None);
        assert_eq!(cut.promised(), Some(bundle.len() as u64));
    }

    #[test]
    fn what_was_skipped_is_not_kept() {
        let bundle = bundle();
        let mut watch = Preview::default();
        let (start, end) = bundle.split_at(bundle.len() - 100);
        watch.pass(&start[..start.len() - 50]);
        watch.skip(50);
        watch.pass(end);
        assert_eq!(watch.component(2), None);
        assert_eq!(watch.component(1), Some(&b"panic=1"[..]));
    }

    #[test]
    fn what_is_no_bundle_is_named() {
        for (bytes, name) in [
            (&b"\x1f\x8b\x08"[..], "gzip"),
            (b"\n<!DOCTYPE html><title>404</title>", "HTML"),
            (b"{\"error\":1}", "JSON"),
            (&[0; 100], "zeros"),
            (b"-----BEGIN PRIVATE KEY-----", "PEM"),
            (b"MZ\x90", "kernel"),
            (b"\n<!DocType HTML>\n<p>", "HTML"),
            (b"hello\n", "text"),
            (b"\x01\x02\x80\xff\x09", "begins with 01 02 80 ff"),
        ] {
            assert!(kind_of(bytes).contains(name), "{}", kind_of(bytes));
        }
    }
}
