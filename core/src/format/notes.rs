//! Data of the tools in the boot record. Loaders keep the bytes and do not read them, so this part
//! may grow without a new loader.

// Why: docs/DESIGN.md#why-notes-are-bytes

use heapless::{String, Vec};

use super::codes::code_enum;
use super::manifest::{VersionText, is_label};
use super::record::NOTES_LEN_MAX;
use super::{Digest, Field, FormatError, StatementKind, wire};

/// The version of notes that this build reads and writes.
pub const VERSION: u8 = 1;
/// Most versions whose confirmation is remembered.
pub const HISTORY_MAX: usize = 4;
/// Most updates of which the numbers of statements are remembered.
pub const NUMBERS_MAX: usize = 4;

code_enum! {
    /// The boot loader that starts the slots.
    pub enum ForeignLoader {
        /// The loader of this project.
        Stillboot = 0, "stillboot";
        /// GRUB, by its environment block.
        Grub = 1, "grub";
        /// U-Boot, by its environment.
        UBoot = 2, "u-boot";
        /// systemd-boot, by counters in file names.
        SystemdBoot = 3, "systemd-boot";
        /// The Raspberry Pi's firmware, by tryboot.
        RaspberryPi = 4, "raspberry-pi";
        /// Any that goes by attributes of GPT entries.
        GptAttributes = 5, "gpt-attributes";
        /// Any that goes by Android's bootloader control block.
        AndroidBcb = 6, "android-bcb";
        /// Any that goes by the metadata of Arm's firmware update specification.
        ArmFwu = 7, "arm-fwu";
    }
}

/// The boot loader in use, and what tools need to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LoaderNote {
    /// Which.
    pub kind: ForeignLoader,
    /// More that tools need, such as the path of its environment; printable ASCII.
    pub needs: String<32>,
}

/// A version that was confirmed on this device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Past {
    /// The version for people.
    pub version: VersionText,
    /// Version of the keyset that vouched for it.
    pub keyset_version: u32,
    /// Its sequence; 0 where it is not known.
    pub sequence: u64,
    /// Unix time in seconds; 0 if no clock was at hand.
    pub at: u64,
}

/// The highest number of statements of one kind about one update that an installation used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SeenNumber {
    /// SHA-256 of the manifest.
    pub digest: Digest,
    /// The kind of statement.
    pub kind: StatementKind,
    /// Its number.
    pub number: u64,
}

/// The notes of a boot record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Notes {
    /// [`VERSION`].
    pub version: u8,
    /// The boot loader.
    pub loader: LoaderNote,
    /// What was confirmed here, the oldest first.
    pub history: Vec<Past, HISTORY_MAX>,
    /// The highest numbers of statements, the oldest first.
    pub statements: Vec<SeenNumber, NUMBERS_MAX>,
    /// The highest issue of a channel index that was seen; 0 for none.
    pub index_issue: u64,
}

wire::wire_struct!(LoaderNote { kind, needs });
wire::wire_struct!(Past { version, keyset_version, sequence, at });
wire::wire_struct!(SeenNumber { digest, kind, number });
wire::wire_struct!(Notes { version, loader, history, statements, index_issue });

impl Default for Notes {
    fn default() -> Self {
        Self { version: VERSION, ..<Self as wire::Wire>::BLANK }
    }
}

impl Notes {
    /// Reads notes. A new device has none: no bytes are empty notes.
    ///
    /// # Errors
    /// [`FormatError`]; [`FormatError::Version`] for those of a later version, which must be kept
    /// as they are.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        match bytes.first() {
            None => return Ok(Self::default()),
            Some(&VERSION) => {}
            Some(&found) => return Err(FormatError::Version { found: found.into() }),
        }
        let mut notes = <Self as wire::Wire>::BLANK;
        wire::parse(bytes, &mut notes)?;
        notes.check()?;
        Ok(notes)
    }

    /// The bytes, for the record.
    ///
    /// # Errors
    /// [`FormatError`] when a rule is broken.
    pub fn emit(&self) -> Result<Vec<u8, NOTES_LEN_MAX>, FormatError> {
        self.check()?;
        let mut bytes = [0; NOTES_LEN_MAX];
        let len = wire::emit(self, &mut bytes)?;
        Vec::from_slice(&bytes[..len]).map_err(|_| FormatError::Bounds(Field::NotesLen))
    }

    fn check(&self) -> Result<(), FormatError> {
        use FormatError::{Bounds, Unknown};
        if self.version != VERSION {
            return Err(FormatError::Version { found: self.version.into() });
        }
        if !self.loader.kind.is_known() {
            let code = self.loader.kind.code().into();
            return Err(Unknown { field: Field::ForeignLoader, code });
        }
        if !self.loader.needs.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(Bounds(Field::ForeignLoader));
        }
        if self.history.iter().any(|past| past.version.is_empty() || !is_label(&past.version)) {
            return Err(Bounds(Field::VersionText));
        }
        for seen in &self.statements {
            if !seen.kind.is_known() {
                let code = seen.kind.code().into();
                return Err(Unknown { field: Field::StatementKind, code });
            }
            if seen.number == 0 || seen.number > super::statement::NUMBER_MAX {
                return Err(Bounds(Field::StatementNumber));
            }
        }
        Ok(())
    }

    /// Notes that a version was confirmed. One that was the last already is not noted again.
    pub fn confirmed(&mut self, past: Past) {
        let same = |last: &Past| {
            (&last.version, last.keyset_version, last.sequence)
                == (&past.version, past.keyset_version, past.sequence)
        };
        if !self.history.last().is_some_and(same) {
            push_newest(&mut self.history, past);
        }
    }

    /// Gives confirmations without a time, or with one that lies ahead, the time `now`.
    pub fn stamp(&mut self, now: u64) {
        for past in self.history.iter_mut().filter(|past| past.at == 0 || past.at > now) {
            past.at = now;
        }
    }

    /// Drops the oldest number of a statement, or else the oldest version.
    pub fn drop_oldest(&mut self) {
        if !self.statements.is_empty() {
            self.statements.remove(0);
        } else if !self.history.is_empty() {
            self.history.remove(0);
        }
    }

    /// Notes the number of a statement, if it is the highest of its update and kind.
    pub fn went_by(&mut self, seen: SeenNumber) {
        let same = |old: &SeenNumber| (old.digest, old.kind) == (seen.digest, seen.kind);
        match self.statements.iter_mut().find(|old| same(old)) {
            Some(old) => old.number = old.number.max(seen.number),
            None => push_newest(&mut self.statements, seen),
        }
    }
}

/// Adds `value` as the newest; the oldest goes if there is no room.
fn push_newest<T, const N: usize>(values: &mut Vec<T, N>, value: T) {
    if values.is_full() {
        values.remove(0);
    }
    // There is room now.
    let _ = values.push(value);
}
