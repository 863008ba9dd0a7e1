//! An initramfs: a gzip'd cpio archive in the `newc` format that the kernel unpacks at boot.
//!
//! The same entries give the same bytes on every machine: paths are sorted, and no time, user or
//! inode number of the machine goes in.
//!
//! ```text
//! per entry: "070701", 13 numbers of 8 hex digits, path, NUL, pad to 4, content, pad to 4
//! at the end: an entry named "TRAILER!!!"
//! ```

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, bail};
use flate2::{Compression, GzBuilder};

/// The archive's files, by path without a leading slash.
#[derive(Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Initramfs {
    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.entry(path, 0o100_000 | mode, (0, 0), content.into());
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str) {
        self.entry(path, 0o040_755, (0, 0), Vec::new());
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, (0, 0), target.into());
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, 0o020_000 | mode, (major, minor), Vec::new());
    }

    /// Adds the entry and the folders above it.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        for (slash, _) in path.match_indices('/') {
            let above = path[..slash].to_owned();
            self.entries.entry(above).or_insert(Entry {
                mode: 0o040_755,
                device: (0, 0),
                content: Vec::new(),
            });
        }
        self.entries.insert(path.to_owned(), Entry { mode, device, content });
    }

    /// The archive, compressed.
    ///
    /// # Errors
    /// A file is too large for the format.
    pub fn emit(&self) -> Result<Vec<u8>> {
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&self.emit_cpio()?)?;
        let mut compressed = gzip.finish()?;
        // The kernel takes another archive after this one, but finds it at a multiple of 4 only.
        pad(&mut compressed);
        Ok(compressed)
    }

    /// The archive as it is.
    ///
    /// # Errors
    /// A file is too large for the format.
    pub fn emit_cpio(&self) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        let trailer = Entry { mode: 0, device: (0, 0), content: Vec::new() };
        let trailer = ("TRAILER!!!".to_owned(), trailer);
        let entries = self.entries.iter().chain([(&trailer.0, &trailer.1)]);
        for (inode, (path, entry)) in (1_u32..).zip(entries) {
            let Ok(len) = u32::try_from(entry.content.len()) else {
                bail!("{path} is too large for an initramfs");
            };
            let path_len = u32::try_from(path.len())? + 1;
            let links = 1;
            let (major, minor) = entry.device;
            archive.extend(b"070701");
            // Inode, mode, user, group, links, time, length, the device that holds the file, the
            // device that the file is, length of the path, checksum (not used by this variant).
            for number in [inode, entry.mode, 0, 0, links, 0, len, 0, 0, major, minor, path_len, 0]
            {
                archive.extend(format!("{number:08X}").bytes());
            }
            archive.extend(path.bytes());
            archive.push(0);
            pad(&mut archive);
            archive.extend(&entry.content);
            pad(&mut archive);
        }
        Ok(archive)
    }
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_files() {
        let mut initramfs = Initramfs::default();
        initramfs.file("b/c/file", 0o644, "x");
        initramfs.link("a", "b");
        let paths: Vec<&str> = initramfs.entries.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "b", "b/c", "b/c/file"]);
    }

    #[test]
    fn header_has_the_documented_layout() {
        let mut initramfs = Initramfs::default();
        initramfs.file("init", 0o755, "abcde");
        let archive = initramfs.emit_cpio().unwrap();
        let header = "070701000000010000\
                      81ED00000000000000000000000100000000000000050000000000000000\
                      00000000000000000000000500000000";
        assert_eq!(std::str::from_utf8(&archive[..110]).unwrap(), header);
        // The path ends at 115 and is padded to 116; the content ends at 121, padded to 124.
        assert_eq!(&archive[110..124], b"init\0\0abcde\0\0\0");
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn same_entries_give_the_same_bytes() {
        let build = |paths: [&str; 2]| {
            let mut initramfs = Initramfs::default();
            for path in paths {
                initramfs.file(path, 0o644, path);
            }
            initramfs.emit().unwrap()
        };
        assert_eq!(build(["x", "y"]), build(["y", "x"]));
        assert_eq!(build(["x", "y"]).len() % 4, 0);
    }
}
