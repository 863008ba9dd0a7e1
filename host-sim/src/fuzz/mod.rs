//! Bodies of the fuzz targets: what must hold for any bytes at all.
//!
//! The targets under `fuzz/` call these, one line each, and the tests call them with the corpus on
//! stable. A body panics when a property breaks; nothing else may panic. The properties: no input
//! makes the code panic; what is accepted is the only encoding of its value and means the same to
//! other readers; and no event on a device breaks what the device is promised.

mod devices;
mod files;
mod formats;
mod json;
mod machines;
mod scenario;
mod seeds;
mod texts;
mod transport;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use stillboot::format::Envelope;

pub use devices::{install, slot};
pub use files::{files, table};
pub use formats::{boot_record, envelope, keyset, manifest, statement};
pub use json::json;
pub use machines::{dtbs, fdt, hwids, image, smbios};
pub use scenario::scenario;
pub use seeds::seeds;
pub use texts::{loader, text};
pub use transport::{frames, lz4, lzma, patch, transported, zstd};

/// A target: its name, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every body by the name of its target. [`canary`] is not among them.
pub const TARGETS: [Target; 24] = [
    ("envelope", envelope),
    ("keyset", keyset),
    ("manifest", manifest),
    ("statement", statement),
    ("record", boot_record),
    ("text", text),
    ("loader", loader),
    ("json", json),
    ("files", files),
    ("table", table),
    ("install", install),
    ("slot", slot),
    ("scenario", scenario),
    ("smbios", smbios),
    ("fdt", fdt),
    ("hwids", hwids),
    ("dtbs", dtbs),
    ("image", image),
    ("frames", frames),
    ("lz4", lz4),
    ("lzma", lzma),
    ("zstd", zstd),
    ("patch", patch),
    ("transported", transported),
];

/// What the canary's input has to hold, inside a sound envelope.
pub const CANARY: [u8; 4] = *b"tick";

/// Must crash, and soon: a run of the targets runs this one too, to show that a crash behind a
/// parser would be found and reported.
///
/// # Panics
/// For an envelope whose payload starts with [`CANARY`].
pub fn canary(data: &[u8]) {
    if let Ok((envelope, _)) = Envelope::parse(data) {
        assert!(!envelope.payload().starts_with(&CANARY), "the canary was found");
    }
}

/// A file in memory with a path, for what only reads files.
struct Memory {
    file: File,
    path: PathBuf,
}

impl Memory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).expect("a file in memory can be written");
    }

    fn grow(&self, len: u64) {
        self.file.set_len(len).expect("a file in memory can be as long as this");
    }
}

fn file_of(bytes: &[u8]) -> Memory {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("fuzz", flags).expect("Linux has files in memory");
    let file = File::from(file);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let memory = Memory { file, path };
    memory.write(0, bytes);
    memory
}

/// IEEE CRC-32, bit by bit, apart from the core's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
