//! Writes a new copy of a tree with what a boot adds: properties of `/chosen`, and reservations.
//!
//! The tree that is read is not changed; the new one goes to a buffer of the caller's. So no data
//! moves inside of a block, and a buffer that is too small does no harm.
//!
//! ```
//! # fn started(tree: &[u8], out: &mut [u8]) -> Result<usize, Box<dyn std::error::Error>> {
//! use stillboot_devicetree::fdt::{Fdt, edit};
//!
//! let fdt = Fdt::parse(tree)?;
//! let boot = edit::Boot::new()
//!     .with_bootargs(Some("console=ttyAMA0"))
//!     .with_initrd(Some(0x4800_0000..0x4900_0000))
//!     .with_proof(Some("1:a:..."));
//! let len = edit::edit(&fdt, &boot.changes(), &[], out)?;
//! # Ok(len)
//! # }
//! ```

use core::fmt;
use core::ops::Range;

use super::{
    BEGIN_NODE, END, END_NODE, Fdt, HEADER_LEN, LEN_MAX, MAGIC, PROPERTY, Reservation, Token,
    VERSION, VERSION_COMPATIBLE,
};

/// The property of `/chosen` that carries the boot proof.
pub const PROOF: &str = "stillboot,proof";

/// What a loader tells a kernel through the tree.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Boot<'a> {
    /// The kernel's command line. `None` removes one that is there: only a verified one counts.
    pub bootargs: Option<&'a str>,
    /// Where the initial file system is, in physical memory. `None` removes what is there.
    pub initrd: Option<Range<u64>>,
    /// The boot proof. `None` removes one that is there, because only the loader may give it.
    pub proof: Option<&'a str>,
    /// Randomness for the kernel's generator. `None` leaves what is there: the firmware's own is
    /// better than none.
    pub rng_seed: Option<&'a [u8]>,
}

impl<'a> Boot<'a> {
    /// Removes command line, initial file system and proof where a tree has them, and leaves its
    /// randomness.
    #[must_use]
    pub const fn new() -> Self {
        Self { bootargs: None, initrd: None, proof: None, rng_seed: None }
    }

    /// The same with a [command line](Self::bootargs).
    #[must_use]
    pub const fn with_bootargs(mut self, bootargs: Option<&'a str>) -> Self {
        self.bootargs = bootargs;
        self
    }

    /// The same with an [initial file system](Self::initrd).
    #[must_use]
    pub const fn with_initrd(mut self, initrd: Option<Range<u64>>) -> Self {
        self.initrd = initrd;
        self
    }

    /// The same with a [boot proof](Self::proof).
    #[must_use]
    pub const fn with_proof(mut self, proof: Option<&'a str>) -> Self {
        self.proof = proof;
        self
    }

    /// The same with [randomness](Self::rng_seed).
    #[must_use]
    pub const fn with_rng_seed(mut self, rng_seed: Option<&'a [u8]>) -> Self {
        self.rng_seed = rng_seed;
        self
    }

    /// The changes of `/chosen` that say all this.
    #[must_use]
    pub fn changes(&self) -> [Change<'a>; 5] {
        let text = |text: Option<&'a str>| text.map_or(Value::Absent, Value::Text);
        let place = |place: Option<u64>| place.map_or(Value::Absent, Value::Long);
        let initrd = self.initrd.as_ref();
        [
            Change { name: "bootargs", value: text(self.bootargs) },
            Change { name: "linux,initrd-start", value: place(initrd.map(|range| range.start)) },
            Change { name: "linux,initrd-end", value: place(initrd.map(|range| range.end)) },
            Change { name: PROOF, value: text(self.proof) },
            Change { name: "rng-seed", value: self.rng_seed.map_or(Value::Kept, Value::Bytes) },
        ]
    }
}

/// What becomes of one property of `/chosen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value then.
    pub value: Value<'a>,
}

/// The value of a property that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// What it was before.
    Kept,
    /// There is no such property.
    Absent,
    /// These bytes.
    Bytes(&'a [u8]),
    /// This text, with a zero behind it.
    Text(&'a str),
    /// A number of 64 bits.
    Long(u64),
}

impl Value<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Kept | Self::Absent => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Text(text) => text.len() + 1,
            Self::Long(_) => 8,
        }
    }

    const fn is_written(&self) -> bool {
        !matches!(self, Self::Kept | Self::Absent)
    }
}

/// Why a tree was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EditError {
    /// The buffer is too small.
    Room {
        /// Bytes that are enough.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The tree would be longer than [`LEN_MAX`].
    TooLong,
    /// There are two nodes `/chosen`, and nothing says which one a kernel reads.
    TwoChosen,
    /// A name or a text has a byte that cannot stand there, or a name comes twice.
    Text,
    /// A reservation of nothing at 0 would end the list.
    Reservation,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room { needed, found } => {
                write!(f, "the edited device tree needs {needed} bytes, {found} are there")
            }
            Self::TooLong => {
                write!(
                    f,
                    "the edited device tree has more than {LEN_MAX} bytes: kernels map no more"
                )
            }
            Self::TwoChosen => f.write_str("the device tree has two nodes /chosen"),
            Self::Text => f.write_str(
                "a name for /chosen is not printable or comes twice, or a text has a zero in it",
            ),
            Self::Reservation => f.write_str("a reservation of no bytes at 0 cannot be told"),
        }
    }
}

impl core::error::Error for EditError {}

/// Room that is enough for [`edit`], in bytes.
#[must_use]
pub fn room(fdt: &Fdt<'_>, chosen: &[Change<'_>], reservations: &[Reservation]) -> usize {
    // Each property: token, length, name, value and what aligns it, and its name among the strings.
    let added = chosen.iter().map(|change| 16 + change.value.len() + change.name.len() + 1);
    // A node of its own takes 16 bytes, and aligning the blocks takes less than 16.
    let fixed = HEADER_LEN + 16 * (reservations.len() + 1) + 32;
    let read = fdt.reservations.len() + fdt.structure.len() + fdt.strings.len();
    added.fold(fixed.saturating_add(read), usize::saturating_add)
}

/// Writes `fdt` to `out` with these properties of `/chosen`, and with these reservations behind its
/// own. Returns the length.
///
/// # Errors
/// [`EditError`]; `out` then holds no tree.
pub fn edit(
    fdt: &Fdt<'_>,
    chosen: &[Change<'_>],
    reservations: &[Reservation],
    out: &mut [u8],
) -> Result<usize, EditError> {
    check(chosen, reservations)?;
    let (needed, found) = (room(fdt, chosen, reservations), out.len());
    let mut writer = Writer { out, at: HEADER_LEN };
    let written = write(fdt, chosen, reservations, &mut writer);
    // The first word is written last: an unfinished copy is not a valid tree.
    let header = written.and_then(|blocks| {
        let len = writer.at;
        if len > LEN_MAX { Err(Failure::Edit(EditError::TooLong)) } else { Ok((blocks, len)) }
    });
    match header {
        Ok((blocks, len)) => {
            let Blocks { structure, strings } = blocks;
            // All of these are below LEN_MAX.
            let fields = [
                MAGIC,
                len as u32,
                structure as u32,
                strings as u32,
                HEADER_LEN as u32,
                VERSION,
                VERSION_COMPATIBLE,
                fdt.boot_cpu(),
                (len - strings) as u32,
                (strings - structure) as u32,
            ];
            writer.at = 0;
            for field in fields {
                // There is a header's room in front of what was written.
                let _ = writer.word(field);
            }
            Ok(len)
        }
        Err(failure) => {
            writer.out.iter_mut().take(4).for_each(|byte| *byte = 0);
            Err(match failure {
                Failure::Room => EditError::Room { needed, found },
                Failure::Edit(error) => error,
            })
        }
    }
}

fn check(chosen: &[Change<'_>], reservations: &[Reservation]) -> Result<(), EditError> {
    for (at, change) in chosen.iter().enumerate() {
        let is_name = !change.name.is_empty() && change.name.bytes().all(|b| b.is_ascii_graphic());
        let is_new = chosen.iter().take(at).all(|other| other.name != change.name);
        let is_text = match change.value {
            Value::Text(text) => text.bytes().all(|byte| byte != 0),
            _ => true,
        };
        if !(is_name && is_new && is_text) {
            return Err(EditError::Text);
        }
    }
    match reservations.contains(&Reservation::LAST) {
        true => Err(EditError::Reservation),
        false => Ok(()),
    }
}

/// Where blocks begin.
struct Blocks {
    structure: usize,
    strings: usize,
}

enum Failure {
    Room,
    Edit(EditError),
}

fn write(
    fdt: &Fdt<'_>,
    chosen: &[Change<'_>],
    reservations: &[Reservation],
    writer: &mut Writer<'_>,
) -> Result<Blocks, Failure> {
    let own = fdt.reservations();
    for Reservation { address, len } in
        own.chain(reservations.iter().copied()).chain([Reservation::LAST])
    {
        writer.put(&address.to_be_bytes())?;
        writer.put(&len.to_be_bytes())?;
    }
    let structure = writer.at;
    write_structure(fdt, chosen, writer)?;
    let strings = writer.at;
    writer.put(fdt.strings)?;
    // A last string without an end is not a name, and must not become part of one.
    if fdt.strings.last().is_some_and(|last| *last != 0) {
        writer.put(&[0])?;
    }
    for change in chosen.iter().filter(|change| is_new_name(fdt, change)) {
        writer.put(change.name.as_bytes())?;
        writer.put(&[0])?;
    }
    Ok(Blocks { structure, strings })
}

fn write_structure(
    fdt: &Fdt<'_>,
    chosen: &[Change<'_>],
    writer: &mut Writer<'_>,
) -> Result<(), Failure> {
    let mut tokens = fdt.tokens(0);
    let mut depth = 0_usize;
    let mut in_chosen = false;
    let mut has_chosen = false;
    // The tree was checked before, so an error can only be its end.
    while let Ok(token) = tokens.take() {
        match token {
            Token::Begin(name) => {
                depth += 1;
                writer.begin(name)?;
                if depth == 2 && name == "chosen" {
                    if has_chosen {
                        return Err(Failure::Edit(EditError::TwoChosen));
                    }
                    (in_chosen, has_chosen) = (true, true);
                    write_changes(fdt, chosen, writer)?;
                }
            }
            Token::Property(property) => {
                let is_changed = |change: &Change<'_>| {
                    change.name == property.name && change.value != Value::Kept
                };
                if !(in_chosen && depth == 2 && chosen.iter().any(is_changed)) {
                    writer.property(property.name_at, property.value)?;
                }
            }
            Token::Leave => {
                if depth == 1 && !has_chosen {
                    has_chosen = true;
                    writer.begin("chosen")?;
                    write_changes(fdt, chosen, writer)?;
                    writer.word(END_NODE)?;
                }
                in_chosen &= depth != 2;
                depth = depth.saturating_sub(1);
                writer.word(END_NODE)?;
            }
            Token::End => break,
        }
    }
    writer.word(END)
}

fn write_changes(
    fdt: &Fdt<'_>,
    chosen: &[Change<'_>],
    writer: &mut Writer<'_>,
) -> Result<(), Failure> {
    for (at, change) in chosen.iter().enumerate().filter(|(_, change)| change.value.is_written()) {
        let name_at = match old_name(fdt, change.name) {
            Some(found) => found,
            None => {
                let end = fdt.strings.len()
                    + usize::from(fdt.strings.last().is_some_and(|last| *last != 0));
                let before = chosen.iter().take(at).filter(|change| is_new_name(fdt, change));
                before.fold(end, |end, change| end.saturating_add(change.name.len() + 1))
            }
        };
        let name_at = u32::try_from(name_at).map_err(|_| Failure::Edit(EditError::TooLong))?;
        match change.value {
            Value::Kept | Value::Absent => {}
            Value::Bytes(bytes) => writer.property(name_at, bytes)?,
            Value::Long(number) => writer.property(name_at, &number.to_be_bytes())?,
            Value::Text(text) => {
                let len =
                    u32::try_from(text.len() + 1).map_err(|_| Failure::Edit(EditError::TooLong))?;
                for word in [PROPERTY, len, name_at] {
                    writer.word(word)?;
                }
                writer.put(text.as_bytes())?;
                writer.put(&[0])?;
                writer.align()?;
            }
        }
    }
    Ok(())
}

/// Whether the name of a change has to be added to the strings.
fn is_new_name(fdt: &Fdt<'_>, change: &Change<'_>) -> bool {
    change.value.is_written() && old_name(fdt, change.name).is_none()
}

/// Where a name is among the strings: the end of a longer one will do.
fn old_name(fdt: &Fdt<'_>, name: &str) -> Option<usize> {
    let len = name.len() + 1;
    let is_it = |found: &[u8]| {
        found.split_last().is_some_and(|(last, rest)| *last == 0 && rest == name.as_bytes())
    };
    fdt.strings.windows(len).position(is_it)
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let end = self.at.checked_add(bytes.len()).ok_or(Failure::Room)?;
        let room = self.out.get_mut(self.at..end).ok_or(Failure::Room)?;
        room.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    fn word(&mut self, word: u32) -> Result<(), Failure> {
        self.put(&word.to_be_bytes())
    }

    fn align(&mut self) -> Result<(), Failure> {
        // Blocks begin at multiples of 4 in the buffer, so this is aligned in the block as well.
        let len = self.at.next_multiple_of(4) - self.at;
        self.put(&[0; 3][..len])
    }

    fn begin(&mut self, name: &str) -> Result<(), Failure> {
        self.word(BEGIN_NODE)?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align()
    }

    fn property(&mut self, name_at: u32, value: &[u8]) -> Result<(), Failure> {
        let len = u32::try_from(value.len()).map_err(|_| Failure::Edit(EditError::TooLong))?;
        for word in [PROPERTY, len, name_at] {
            self.word(word)?;
        }
        self.put(value)?;
        self.align()
    }
}
