//! The start of a file on a server, kept in a small file: an installation that goes on does not
//! fetch it again while the server has the same file.
//!
//! ```text
//!  0   8  "SBSTART1"
//!  8   4  CRC-32 (ISO-HDLC) of all that follows, little-endian
//! 12   8  length of the file on the server, little-endian
//! 20   2  length of its URL, little-endian
//! 22   2  length of its entity tag, little-endian
//! 24  ..  the URL, the entity tag, the start of the file
//! ```
//!
//! It stands beside a [spool](crate::spool), and is cleared with that.
// Why: docs/DESIGN.md#why-the-start-is-kept

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use rustix::fs::OFlags;

use crate::http::Identity;

const MAGIC: &[u8; 8] = b"SBSTART1";
/// The checksum of what is kept of a download.
pub(crate) const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// The longest one that is read: the table of a file with as many frames as are opened has 4 MiB.
const LEN_MAX: u64 = 8 << 20;
/// A link in the place of the file is not followed, and a pipe not waited for.
pub(crate) const FLAGS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// The start of a file, and which file it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub(crate) identity: Identity,
    pub(crate) bytes: Vec<u8>,
}

impl Start {
    /// The one that was kept under `name` in `folder`; `None` for one that is not whole.
    #[must_use]
    pub fn load(folder: &Path, name: &str) -> Option<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(FLAGS).open(path(folder, name)).ok()?;
        file.metadata().ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        file.take(LEN_MAX + 1).read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    /// Which version of which file it is of.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > LEN_MAX {
            return None;
        }
        let (crc, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
        if CRC.checksum(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (len, rest) = rest.split_first_chunk()?;
        let (url_len, rest) = rest.split_first_chunk()?;
        let (tag_len, rest) = rest.split_first_chunk()?;
        let (url, rest) = rest.split_at_checked(u16::from_le_bytes(*url_len).into())?;
        let (tag, start) = rest.split_at_checked(u16::from_le_bytes(*tag_len).into())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let identity = Identity::new(u64::from_le_bytes(*len), text(url)?, Some(text(tag)?));
        Some(Self { identity, bytes: start.to_vec() })
    }

    /// Keeps it under `name` in `folder`. Without an entity tag there is nothing to know it again
    /// by, and nothing is kept.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn keep(&self, folder: &Path, name: &str) -> io::Result<()> {
        let Some(bytes) = self.emit() else { return Ok(()) };
        if Self::load(folder, name).as_ref() == Some(self) {
            return Ok(());
        }
        let new = new_path(folder, name);
        // What a cut leaves of an earlier one.
        let _ = fs::remove_file(&new);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        let result = file.write_all(&bytes).and_then(|()| fs::rename(&new, path(folder, name)));
        result.inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn emit(&self) -> Option<Vec<u8>> {
        let Identity { len, url, etag } = &self.identity;
        let tag = etag.as_ref()?;
        let (url_len, tag_len) = (u16::try_from(url.len()).ok()?, u16::try_from(tag.len()).ok()?);
        let mut rest = len.to_le_bytes().to_vec();
        rest.extend_from_slice(&url_len.to_le_bytes());
        rest.extend_from_slice(&tag_len.to_le_bytes());
        rest.extend_from_slice(url.as_bytes());
        rest.extend_from_slice(tag.as_bytes());
        rest.extend_from_slice(&self.bytes);
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&CRC.checksum(&rest).to_le_bytes());
        out.extend_from_slice(&rest);
        (out.len() as u64 <= LEN_MAX).then_some(out)
    }
}

/// Removes the one that was kept under `name` in `folder`.
pub(crate) fn clear(folder: &Path, name: &str) {
    for path in [path(folder, name), new_path(folder, name)] {
        // It may not be there.
        let _ = fs::remove_file(path);
    }
}

/// Where it is written before it gets its name.
fn new_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.start.new"))
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.start"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        let url = "https://example.org/v2.sbz".to_owned();
        let identity = Identity::new(1 << 33, url, Some("\"5-ab\"".to_owned()));
        Start { identity, bytes: (0..200).collect() }
    }

    #[test]
    fn what_was_kept_is_there_and_what_is_not_whole_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Start::load(folder.path(), "bundle");
        assert_eq!(load(), None);
        start().keep(folder.path(), "bundle").unwrap();
        assert_eq!(load(), Some(start()));
        let longer = Start { bytes: vec![7; 5000], ..start() };
        longer.keep(folder.path(), "bundle").unwrap();
        assert_eq!(load(), Some(longer.clone()));
        let bytes = longer.emit().unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Start::parse(&bytes[..len]), None, "{len} bytes");
        }
        for bit in 0..8 * 200 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Start::parse(&other), None, "bit {bit}");
        }
        clear(folder.path(), "bundle");
        assert_eq!(load(), None);
        // Without a tag it would never be known again.
        let mut untagged = start();
        untagged.identity.etag = None;
        untagged.keep(folder.path(), "bundle").unwrap();
        assert_eq!(load(), None);
    }

    #[test]
    fn a_link_or_a_folder_in_its_place_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        start().keep(folder.path(), "other").unwrap();
        std::os::unix::fs::symlink("other.start", folder.path().join("bundle.start")).unwrap();
        assert_eq!(Start::load(folder.path(), "bundle"), None);
        fs::create_dir(folder.path().join("third.start")).unwrap();
        assert_eq!(Start::load(folder.path(), "third"), None);
        assert!(start().keep(folder.path(), "third").is_err());
        assert!(!new_path(folder.path(), "third").exists());
    }
}
