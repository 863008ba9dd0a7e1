//! What an update is: for which device, how new, and the digests of all of its bytes.

use core::fmt;

use heapless::{String, Vec};

use super::codes::code_enum;
use super::wire::{Reader, Wire, Writer};
use super::{Digest, Field, Floor, FormatError, Id, Slot, wire};

/// The only schema of a manifest, and so the highest this build reads.
pub const SCHEMA: u8 = 1;
/// Most components of one manifest.
pub const COMPONENTS_MAX: usize = 8;
/// Smallest chunk, in bytes.
pub const CHUNK_SIZE_MIN: u32 = 4 << 10;
/// Largest chunk, in bytes.
pub const CHUNK_SIZE_MAX: u32 = 1 << 20;
/// Longest component, in bytes: 256 TiB.
pub const COMPONENT_LEN_MAX: u64 = 1 << 48;
/// Most chunks of all components together: indexes of 512 MiB.
pub const CHUNKS_MAX: u64 = 1 << 24;

/// Longest version text, in bytes.
pub type VersionText = String<32>;
/// Longest name of a track or branch, in bytes.
pub type Name = String<16>;

code_enum! {
    /// What a component is for.
    pub enum Role {
        /// An operating system kernel, or the one program of a microcontroller.
        Kernel = 0, "kernel";
        /// The initial file system of a Linux kernel.
        Initramfs = 1, "initramfs";
        /// The kernel's command line, as text.
        Cmdline = 2, "cmdline";
        /// A set of device trees.
        Dtbs = 3, "dtbs";
        /// A unified kernel image.
        Uki = 4, "uki";
        /// A root file system.
        Rootfs = 5, "rootfs";
        /// Any other executable image.
        Image = 6, "image";
        /// Data.
        Data = 7, "data";
        /// The hash tree of the root file system.
        Verity = 8, "verity";
        /// A boot loader: in releases of the loader only.
        Loader = 9, "loader";
    }
}

code_enum! {
    /// How a component gets from the slot to where it runs, which decides who checks it.
    pub enum Load {
        /// Read once into memory, hashed there, used from there.
        Ram = 0, "ram";
        /// Hashed in place, then used from flash: what changes in between is not seen.
        Xip = 1, "xip";
        /// Used after the loader, and checked by the stage before that use.
        Late = 2, "late";
    }
}

code_enum! {
    /// How a component is encrypted. Any but none is reserved, and refused by name.
    pub enum Encryption {
        /// Not at all.
        None = 0, "none";
        /// AES-256 in counter mode: reserved.
        Aes256Ctr = 1, "aes-256-ctr";
    }
}

code_enum! {
    /// How much testing a release has behind it, the safest first.
    pub enum Risk {
        /// For everyone.
        Stable = 0, "stable";
        /// To become stable unless something is found.
        Candidate = 1, "candidate";
        /// For those who test.
        Beta = 2, "beta";
        /// For those who develop.
        Edge = 3, "edge";
    }
}

code_enum! {
    /// The processor architecture that the components run on.
    pub enum Architecture {
        /// Not tied to one.
        Any = 0, "any";
        /// 64-bit x86.
        X86_64 = 1, "x86_64";
        /// 64-bit Arm.
        Aarch64 = 2, "aarch64";
        /// Armv7-A.
        Armv7 = 3, "armv7";
        /// Cortex-M0 and M0+.
        Thumbv6m = 4, "thumbv6m";
        /// Cortex-M3.
        Thumbv7m = 5, "thumbv7m";
        /// Cortex-M4 and M7.
        Thumbv7em = 6, "thumbv7em";
        /// Cortex-M23 and M33.
        Thumbv8m = 7, "thumbv8m";
        /// 32-bit RISC-V.
        Riscv32 = 8, "riscv32";
        /// 64-bit RISC-V.
        Riscv64 = 9, "riscv64";
    }
}

/// The component's bits for [`Manifest::flags`].
pub mod flags {
    /// The update closes a security hole: postponements end for it.
    pub const SECURITY: u32 = 1 << 0;
    /// The slot must not start without the device tree that matches the machine.
    pub const DTB_REQUIRED: u32 = 1 << 1;
    /// A component is encrypted: reserved, and refused.
    pub const ENCRYPTED: u32 = 1 << 2;
    /// All bits that this build acts on; a manifest with another bit is refused.
    pub const KNOWN: u32 = SECURITY | DTB_REQUIRED;
}

/// Where a release is offered: `track/risk/branch`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Channel {
    /// A series of releases, such as `latest` or `5.0`.
    pub track: Name,
    /// How much testing it has behind it.
    pub risk: Risk,
    /// A short-lived side line; empty for the main one.
    pub branch: Name,
}

/// The track of a channel that names none.
pub const DEFAULT_TRACK: &str = "latest";

/// The channel in full: `track/risk` or `track/risk/branch`.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let track = if self.track.is_empty() { DEFAULT_TRACK } else { &self.track };
        write!(f, "{track}/{}", self.risk)?;
        if self.branch.is_empty() { Ok(()) } else { write!(f, "/{}", self.branch) }
    }
}

/// Which versions of the device's data a system can use. Epochs count up when data changes in a way
/// that older systems cannot read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Epochs {
    /// The oldest data epoch it reads.
    pub reads_min: u16,
    /// The newest data epoch it reads.
    pub reads_max: u16,
    /// The data epoch it writes once it is confirmed.
    pub writes: u16,
}

/// One piece of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Component {
    /// What it is for.
    pub role: Role,
    /// How it is loaded.
    pub load: Load,
    /// 0 when it fits every slot, else 1 + the number of the only slot it is linked for.
    pub linked: u8,
    /// How it is encrypted: [`Encryption::None`].
    pub encryption: Encryption,
    /// Length in bytes, 1..=[`COMPONENT_LEN_MAX`].
    pub length: u64,
    /// Root over length, chunk size and all chunk digests: see
    /// [`IndexFold`](crate::verify::IndexFold).
    pub index_root: Digest,
    /// Plain SHA-256, for people and for other tools. The root is what devices check.
    pub sha256: Digest,
}

wire::wire_struct!(Channel { track, risk, branch });
wire::wire_struct!(Epochs { reads_min, reads_max, writes });
wire::wire_struct!(Manifest {
    schema,
    product,
    class,
    revision_min,
    revision_max,
    version,
    sequence,
    level,
    min_from,
    channel,
    architecture,
    not_after,
    epochs,
    rollout,
    flags,
    chunk_size,
    components,
});

impl Wire for Component {
    const BLANK: Self = Self {
        role: Role::BLANK,
        load: Load::BLANK,
        linked: 0,
        encryption: Encryption::BLANK,
        length: 0,
        index_root: [0; 32],
        sha256: [0; 32],
    };

    fn take(&mut self, reader: &mut Reader<'_>) {
        self.role.take(reader);
        self.load.take(reader);
        self.linked.take(reader);
        self.encryption.take(reader);
        // More fields follow the code of an encryption. They must not be read as other fields, and
        // the refusal must name the encryption.
        if self.encryption != Encryption::None {
            let code = self.encryption.code().into();
            reader.fail(FormatError::Unknown { field: Field::Encryption, code });
        }
        self.length.take(reader);
        self.index_root.take(reader);
        self.sha256.take(reader);
    }

    fn put(&self, writer: &mut Writer<'_>) {
        self.role.put(writer);
        self.load.put(writer);
        self.linked.put(writer);
        self.encryption.put(writer);
        self.length.put(writer);
        self.index_root.put(writer);
        self.sha256.put(writer);
    }
}

impl Component {
    /// Whether the component belongs into `slot`.
    #[must_use]
    pub const fn fits(&self, slot: Slot) -> bool {
        self.linked == 0 || self.linked == 1 + slot as u8
    }

    /// Number of chunks of `chunk_size` bytes. The last one may be shorter.
    #[must_use]
    pub const fn chunk_count(&self, chunk_size: u32) -> u64 {
        {
            // A shift, because chunk sizes are powers of two. Rounding up does not overflow,
            // because lengths are at most 2^48.
            (self.length + (chunk_size as u64 - 1)) >> chunk_size.trailing_zeros()
        }
    }

    /// Length in bytes of the chunk digests.
    #[must_use]
    pub const fn index_len(&self, chunk_size: u32) -> u64 {
        self.chunk_count(chunk_size) * 32
    }
}

/// A manifest (payload type 2). The SHA-256 of its bytes is the identity of the update.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u8,
    /// The product, as in the signed bytes and the device's configuration.
    pub product: Id,
    /// The device class it is built for.
    pub class: Id,
    /// Oldest hardware revision it runs on.
    pub revision_min: u16,
    /// Newest hardware revision it runs on.
    pub revision_max: u16,
    /// The version for people: a label, and where rules shall compare it, a semantic version. Order
    /// is decided by `sequence`.
    pub version: VersionText,
    /// Counts up with each release; [`u64::MAX`] is refused, because nothing could follow it.
    pub sequence: u64,
    /// Security level: rises when a hole is closed; [`u32::MAX`] is refused.
    pub level: u32,
    /// The oldest version that may be updated directly; empty for no limit.
    pub min_from: VersionText,
    /// Where it is offered.
    pub channel: Channel,
    /// What the components run on.
    pub architecture: Architecture,
    /// Unix time, in seconds, after which it may not be installed any more; 0 for never.
    pub not_after: u64,
    /// Which data it can use.
    pub epochs: Epochs,
    /// Percentage of devices that may take it, 0..=100.
    pub rollout: u8,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Size of a chunk in bytes: a power of two, 4 KiB to 1 MiB.
    pub chunk_size: u32,
    /// The pieces, in the order of the bundle.
    pub components: Vec<Component, COMPONENTS_MAX>,
}

impl Manifest {
    /// Reads and checks a manifest. Verify the signature over `bytes` first.
    ///
    /// # Errors
    /// [`FormatError`] naming the first field that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut manifest = Self::BLANK;
        manifest.read(bytes).map(|()| manifest)
    }

    /// Reads a manifest without a check of the bounds of its fields: for tools that report what is
    /// wrong with a manifest that [`parse`](Self::parse) refuses.
    ///
    /// # Errors
    /// [`FormatError`] for bytes that cannot be decoded.
    pub fn parse_unchecked(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut manifest = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut manifest).map(|()| manifest)
    }

    /// A blank value, into which a manifest will be read.
    pub(crate) const BLANK: Self = <Self as wire::Wire>::BLANK;

    /// As [`parse`](Self::parse), in place. After an error the value is no manifest.
    #[inline(never)]
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        match bytes.first() {
            Some(&SCHEMA) => {}
            Some(&found) => return Err(FormatError::Version { found: found.into() }),
            None => return Err(FormatError::Short),
        }
        wire::parse(bytes, self)?;
        self.check()
    }

    /// Writes the manifest at the start of `into` and returns its length.
    ///
    /// # Errors
    /// [`FormatError`] when the manifest breaks a rule or `into` is too short.
    pub fn emit(&self, into: &mut [u8]) -> Result<usize, FormatError> {
        self.check()?;
        wire::emit(self, into)
    }

    /// The floor that the manifest reaches under a keyset of `keyset_version`.
    #[must_use]
    pub const fn floor(&self, keyset_version: u32) -> Floor {
        Floor { keyset_version, level: self.level }
    }

    /// The components that belong into `slot`, each with its number in the bundle.
    pub fn components_of(&self, slot: Slot) -> impl Iterator<Item = (usize, &Component)> {
        self.components.iter().enumerate().filter(move |(_, component)| component.fits(slot))
    }

    /// Whether it is of the boot loader itself, which only roots may sign.
    #[must_use]
    pub fn is_of_loader(&self) -> bool {
        self.components.iter().any(|component| component.role == Role::Loader)
    }

    fn check(&self) -> Result<(), FormatError> {
        use FormatError::{Bounds, Duplicate, Unknown};
        if self.schema != SCHEMA {
            return Err(FormatError::Version { found: self.schema.into() });
        }
        if self.revision_min > self.revision_max {
            return Err(Bounds(Field::Revisions));
        }
        if self.version.is_empty() || !is_label(&self.version) {
            return Err(Bounds(Field::VersionText));
        }
        if self.sequence == u64::MAX {
            return Err(Bounds(Field::Sequence));
        }
        if self.level == u32::MAX {
            return Err(Bounds(Field::Level));
        }
        if !is_label(&self.min_from) {
            return Err(Bounds(Field::MinFrom));
        }
        self.channel.check()?;
        if !self.architecture.is_known() {
            let code = self.architecture.code().into();
            return Err(Unknown { field: Field::Architecture, code });
        }
        let epochs = &self.epochs;
        // A system that cannot read the epoch it writes would lose its data at the next start.
        if epochs.reads_min > epochs.writes || epochs.writes > epochs.reads_max {
            return Err(Bounds(Field::Epochs));
        }
        if self.rollout > 100 {
            return Err(Bounds(Field::Rollout));
        }
        if self.flags & !flags::KNOWN != 0 {
            return Err(Unknown { field: Field::Flags, code: self.flags });
        }
        if !self.chunk_size.is_power_of_two()
            || !(CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&self.chunk_size)
        {
            return Err(Bounds(Field::ChunkSize));
        }
        if self.components.is_empty() {
            return Err(Bounds(Field::ComponentCount));
        }
        let mut chunks: u64 = 0;
        for (at, component) in self.components.iter().enumerate() {
            component.check()?;
            let same = |other: &&Component| {
                other.role == component.role
                    && (other.linked == component.linked
                        || other.linked == 0
                        || component.linked == 0)
            };
            // With two kernels in one slot, the kernel that was checked need not be the one that
            // starts.
            if self.components[..at].iter().find(same).is_some() {
                return Err(Duplicate(Field::ComponentRole));
            }
            chunks = chunks.saturating_add(component.chunk_count(self.chunk_size));
        }
        if chunks > CHUNKS_MAX {
            return Err(Bounds(Field::IndexLen));
        }
        Ok(())
    }
}

impl Channel {
    pub(super) fn check(&self) -> Result<(), FormatError> {
        if self.track.is_empty() || !is_label(&self.track) {
            return Err(FormatError::Bounds(Field::Channel));
        }
        if !self.risk.is_known() {
            let code = self.risk.code().into();
            return Err(FormatError::Unknown { field: Field::Risk, code });
        }
        if is_label(&self.branch) { Ok(()) } else { Err(FormatError::Bounds(Field::Channel)) }
    }
}

impl Component {
    fn check(&self) -> Result<(), FormatError> {
        let unknown = |field, code: u8| Err(FormatError::Unknown { field, code: u32::from(code) });
        if !self.role.is_known() {
            return unknown(Field::ComponentRole, self.role.code());
        }
        if !self.load.is_known() {
            return unknown(Field::ComponentLoad, self.load.code());
        }
        if usize::from(self.linked) > Slot::ALL.len() {
            return unknown(Field::ComponentSlot, self.linked);
        }
        if self.encryption != Encryption::None {
            return unknown(Field::Encryption, self.encryption.code());
        }
        if self.length == 0 || self.length > COMPONENT_LEN_MAX {
            return Err(FormatError::Bounds(Field::ComponentLen));
        }
        Ok(())
    }
}

/// Whether `text` has only characters of names and versions: no space, no control character,
/// nothing that a terminal or a shell would act on.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_' | b'~'))
}
