//! Flattened device trees: read here, and written as a new copy with what a boot adds in [`edit`].
//!
//! ```text
//! header, 40 bytes    magic, total size, where the blocks are, versions, sizes of the blocks
//! reservations        pairs of address and length, ended by a pair of zeros
//! structure           nodes and properties as tokens of 4 bytes, big-endian
//! strings             the names of the properties, each with a zero behind it
//! ```
//!
//! [`Fdt::parse`] walks the whole tree once. A tree that it accepts has no offset that leads
//! outside, no name without an end, one root, and properties before children. So later reads of the
//! tree cannot fail.

pub mod edit;

use core::fmt;

/// Longest tree, in bytes: what Linux maps of it on arm64.
pub const LEN_MAX: usize = 2 << 20;

/// Deepest nesting of nodes; real trees have less than ten.
pub const DEPTH_MAX: usize = 64;

/// The first word of a tree.
pub const MAGIC: u32 = 0xd00d_feed;

/// Bytes of the header.
pub const HEADER_LEN: usize = 40;

/// The version that is read and written; every tree since 2006 has it.
const VERSION: u32 = 17;
/// The oldest version that readers of version 17 understand.
const VERSION_COMPATIBLE: u32 = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why bytes are no device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FdtError {
    /// There are not even as many bytes as a header has, or as it claims.
    Short {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The first word is another one.
    Magic {
        /// Which.
        found: u32,
    },
    /// It claims more than [`LEN_MAX`], or less than a header.
    Size {
        /// What it claims.
        found: usize,
    },
    /// A version that is not understood.
    Version {
        /// Its version.
        found: u32,
        /// The oldest version that it says it is compatible with.
        compatible: u32,
    },
    /// A block leads outside of the tree, or is not aligned.
    Block {
        /// Which.
        name: &'static str,
    },
    /// The list of reservations has no end.
    Reservations,
    /// Something in the structure breaks a rule.
    Structure {
        /// Where, in bytes from the start of the structure.
        at: usize,
        /// Which rule.
        rule: &'static str,
    },
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { needed, found } => {
                write!(f, "device tree cut short: it needs {needed} bytes, {found} are there")
            }
            Self::Magic { found } => {
                write!(
                    f,
                    "no device tree: expected it to begin with {MAGIC:08x}, found {found:08x}"
                )
            }
            Self::Size { found } => write!(
                f,
                "device tree of {found} bytes: expected {HEADER_LEN} to {LEN_MAX}, which is what kernels map"
            ),
            Self::Version { found, compatible } => write!(
                f,
                "device tree of version {found}, compatible down to {compatible}: expected {VERSION}"
            ),
            Self::Block { name } => {
                write!(f, "device tree: the block of {name} is not inside of it, or not aligned")
            }
            Self::Reservations => f.write_str("device tree: the reservations have no end"),
            Self::Structure { at, rule } => {
                write!(f, "device tree: {rule}, at byte {at} of the structure")
            }
        }
    }
}

impl core::error::Error for FdtError {}

/// A device tree that was checked from its first to its last byte.
#[derive(Clone, Copy)]
pub struct Fdt<'a> {
    bytes: &'a [u8],
    reservations: &'a [u8],
    structure: &'a [u8],
    strings: &'a [u8],
}

impl fmt::Debug for Fdt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fdt({} bytes)", self.bytes.len())
    }
}

impl<'a> Fdt<'a> {
    /// The length that a header claims. For trees that firmware left somewhere in memory: read
    /// [`HEADER_LEN`] bytes, ask this, read the rest.
    ///
    /// # Errors
    /// The bytes are not the start of a tree, or it is too long.
    pub fn len_of(header: &[u8]) -> Result<usize, FdtError> {
        let found = header.len();
        let (Some(magic), Some(len)) = (word(header, 0), word(header, 4)) else {
            return Err(FdtError::Short { needed: HEADER_LEN, found });
        };
        if magic != MAGIC {
            return Err(FdtError::Magic { found: magic });
        }
        let len = len as usize;
        if !(HEADER_LEN..=LEN_MAX).contains(&len) {
            return Err(FdtError::Size { found: len });
        }
        Ok(len)
    }

    /// Checks the tree at the start of `bytes`; what follows it does not count.
    ///
    /// # Errors
    /// [`FdtError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FdtError> {
        let len = Self::len_of(bytes)?;
        let found = bytes.len();
        let bytes = bytes.get(..len).ok_or(FdtError::Short { needed: len, found })?;
        let field = |number: usize| word(bytes, 4 * number).unwrap_or_default();
        let [structure_at, strings_at, reservations_at] = [2, 3, 4].map(|at| field(at) as usize);
        let [version, compatible] = [field(5), field(6)];
        if version < VERSION || compatible > VERSION {
            return Err(FdtError::Version { found: version, compatible });
        }
        let block = |name, at: usize, len: usize, align: usize| {
            let bytes = at.checked_add(len).and_then(|end| bytes.get(at..end));
            bytes
                .filter(|_| at >= HEADER_LEN && at.is_multiple_of(align))
                .ok_or(FdtError::Block { name })
        };
        let fdt = Self {
            bytes,
            reservations: block("reservations", reservations_at, 0, 8)
                .and_then(|_| reservations(bytes.get(reservations_at..).unwrap_or_default()))?,
            structure: block("structure", structure_at, field(9) as usize, 4)?,
            strings: block("strings", strings_at, field(8) as usize, 1)?,
        };
        fdt.check_structure()?;
        Ok(fdt)
    }

    fn check_structure(&self) -> Result<(), FdtError> {
        let mut tokens = self.tokens(0);
        let mut depth = 0;
        // Whether the current node has had a child: no property follows then.
        let mut has_children = false;
        let mut is_over = false;
        loop {
            let at = tokens.at;
            let broken = |rule| Err(FdtError::Structure { at, rule });
            match tokens.take()? {
                Token::End if is_over => return Ok(()),
                Token::End => return broken("it ends inside of a node, or without any"),
                _ if is_over => return broken("something follows the root"),
                Token::Begin(name) if depth == 0 && !name.is_empty() => {
                    return broken("the root has a name");
                }
                Token::Begin(name)
                    if depth > 0 && (name.is_empty() || name.bytes().any(|byte| byte == b'/')) =>
                {
                    return broken("a node has no name, or one with a slash");
                }
                Token::Begin(_) if depth == DEPTH_MAX => return broken("nodes nest too deeply"),
                Token::Begin(_) => {
                    depth += 1;
                    has_children = false;
                }
                Token::Leave if depth == 0 => return broken("a node ends that did not begin"),
                Token::Leave => {
                    depth -= 1;
                    has_children = true;
                    is_over = depth == 0;
                }
                Token::Property(_) if depth == 0 => return broken("a property outside of nodes"),
                Token::Property(_) if has_children => return broken("a property behind a child"),
                Token::Property(_) => {}
            }
        }
    }

    /// All bytes of the tree.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The processor that is to boot, as the header has it.
    #[must_use]
    pub fn boot_cpu(&self) -> u32 {
        word(self.bytes, 28).unwrap_or_default()
    }

    /// Memory that the kernel must leave alone.
    pub fn reservations(&self) -> impl Iterator<Item = Reservation> + use<'a> {
        self.reservations.chunks_exact(16).map(Reservation::read)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Node<'a> {
        self.node_at(0).unwrap_or(Node { fdt: *self, name: "", at: self.structure.len() })
    }

    /// The node at `path`, such as `/chosen`. Each part is a whole name, with its unit address.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<Node<'a>> {
        let mut parts = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty());
        parts.try_fold(self.root(), |node, part| node.child(part))
    }

    /// Every node with the node that it is in; the root is in itself. In the order of the tree.
    pub fn nodes(&self) -> impl Iterator<Item = (Node<'a>, Node<'a>)> + use<'a> {
        let fdt = *self;
        let mut tokens = self.tokens(0);
        let mut parents = [self.root(); DEPTH_MAX];
        let mut depth = 0_usize;
        core::iter::from_fn(move || {
            loop {
                match tokens.take().ok()? {
                    Token::Begin(name) => {
                        let node = Node { fdt, name, at: tokens.at };
                        let parent = *parents.get(depth.saturating_sub(1))?;
                        *parents.get_mut(depth)? = node;
                        depth += 1;
                        return Some((parent, node));
                    }
                    Token::Leave => depth = depth.checked_sub(1)?,
                    Token::Property(_) => {}
                    Token::End => return None,
                }
            }
        })
    }

    /// What the machine is, the most exact name first: the root's `compatible`.
    pub fn compatibles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.root().compatibles()
    }

    /// What the machine is called, for people: the root's `model`.
    #[must_use]
    pub fn model(&self) -> Option<&'a str> {
        self.root().property("model")?.strings().next()
    }

    fn node_at(&self, at: usize) -> Option<Node<'a>> {
        let mut tokens = self.tokens(at);
        match tokens.take().ok()? {
            Token::Begin(name) => Some(Node { fdt: *self, name, at: tokens.at }),
            _ => None,
        }
    }

    fn tokens(&self, at: usize) -> Tokens<'a> {
        Tokens { structure: self.structure, strings: self.strings, at }
    }
}

/// Memory that the kernel must leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reservation {
    /// Where it begins.
    pub address: u64,
    /// How long it is.
    pub len: u64,
}

impl Reservation {
    /// What ends the list.
    const LAST: Self = Self { address: 0, len: 0 };

    fn read(pair: &[u8]) -> Self {
        Self { address: long(pair, 0), len: long(pair, 8) }
    }
}

/// The reservations at the start of `bytes`, without the pair that ends them.
fn reservations(bytes: &[u8]) -> Result<&[u8], FdtError> {
    let mut pairs = bytes.chunks_exact(16);
    let count = pairs.position(|pair| Reservation::read(pair) == Reservation::LAST);
    count.and_then(|count| bytes.get(..16 * count)).ok_or(FdtError::Reservations)
}

/// A node of a tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    fdt: Fdt<'a>,
    name: &'a str,
    /// Where its properties begin.
    at: usize,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.name)
    }
}

impl<'a> Node<'a> {
    /// Its name with the unit address, such as `memory@40000000`; empty for the root.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its properties, in their order.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut tokens = self.fdt.tokens(self.at);
        core::iter::from_fn(move || match tokens.take().ok()? {
            Token::Property(property) => Some(property),
            Token::Begin(_) | Token::Leave | Token::End => None,
        })
    }

    /// The property called `name`: the first one, as kernels have it.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<Property<'a>> {
        self.properties().find(|property| property.name == name)
    }

    /// The nodes inside of it, not what is inside of those.
    pub fn children(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let fdt = self.fdt;
        let mut tokens = fdt.tokens(self.at);
        let mut depth = 0_usize;
        core::iter::from_fn(move || {
            loop {
                match tokens.take().ok()? {
                    Token::Begin(name) => {
                        depth += 1;
                        if depth == 1 {
                            return Some(Node { fdt, name, at: tokens.at });
                        }
                    }
                    Token::Leave => depth = depth.checked_sub(1)?,
                    Token::Property(_) => {}
                    Token::End => return None,
                }
            }
        })
    }

    /// The child of that whole name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Node<'a>> {
        self.children().find(|child| child.name == name)
    }

    /// What it is, the most exact name first. Nothing if the list is broken: a name without an end
    /// is no name.
    pub fn compatibles(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.property("compatible").into_iter().flat_map(|property| property.strings())
    }

    /// Whether it says that it is one of `name`.
    #[must_use]
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatibles().any(|found| found == name)
    }

    /// Whether it is there to be used: its `status` is absent, `okay` or `ok`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        let status = self.property("status");
        status.is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"))
    }

    /// How many words an address and a length have in the `reg` of its children.
    #[must_use]
    pub fn cells(&self) -> (u32, u32) {
        let cells = |name, default| {
            self.property(name).and_then(|property| property.word()).unwrap_or(default)
        };
        (cells("#address-cells", 2), cells("#size-cells", 1))
    }

    /// Address and length of each range of its `reg`, with the [`cells`](Self::cells) of the node
    /// that it is in. Nothing if these are not one or two words each.
    pub fn ranges(&self, cells: (u32, u32)) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let (address, len) = (4 * cells.0 as usize % 256, 4 * cells.1 as usize % 256);
        let is_sound = matches!(cells, (1 | 2, 1 | 2));
        let reg = self.property("reg").filter(|_| is_sound).map_or(&[][..], |reg| reg.value());
        reg.chunks_exact((address + len).max(1)).map(move |range| {
            let (address, len) = range.split_at(address.min(range.len()));
            (number(address), number(len))
        })
    }
}

/// A property of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    name: &'a str,
    value: &'a [u8],
    /// Where its name is among the strings.
    name_at: u32,
}

impl<'a> Property<'a> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its value.
    #[must_use]
    pub const fn value(&self) -> &'a [u8] {
        self.value
    }

    /// The value as one number of 32 bits.
    #[must_use]
    pub fn word(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// The value as one number of 32 or 64 bits.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        matches!(self.value.len(), 4 | 8).then(|| number(self.value))
    }

    /// The value as a list of texts, each with a zero behind it. Nothing if the last one has none,
    /// or if one of them is not printable: a text that runs on into whatever follows is how a
    /// machine is taken for another one.
    pub fn strings(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let texts = self.value.strip_suffix(&[0]);
        let is_sound = |texts: &&[u8]| texts.iter().all(|byte| matches!(byte, 0 | b' '..=b'~'));
        let texts = texts.filter(is_sound).into_iter().flat_map(|texts| texts.split(|b| *b == 0));
        texts.map(|text| core::str::from_utf8(text).unwrap_or_default())
    }
}

#[derive(Clone, Copy, Debug)]
enum Token<'a> {
    Begin(&'a str),
    Leave,
    Property(Property<'a>),
    End,
}

/// Reads tokens one after the other. Each takes at least 4 bytes, so there is an end.
#[derive(Clone)]
struct Tokens<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn take(&mut self) -> Result<Token<'a>, FdtError> {
        loop {
            match self.word()? {
                NOP => {}
                BEGIN_NODE => {
                    let rest = self.structure.get(self.at..).unwrap_or_default();
                    let name = text(rest).ok_or(self.broken("a node's name has no end"))?;
                    self.skip(name.len() + 1)?;
                    return Ok(Token::Begin(name));
                }
                END_NODE => return Ok(Token::Leave),
                PROPERTY => {
                    let (len, name_at) = (self.word()? as usize, self.word()?);
                    let name = self.strings.get(name_at as usize..).and_then(text);
                    let name = name.filter(|name| !name.is_empty());
                    let name = name.ok_or(self.broken("a property's name is not there"))?;
                    let end = self.at.checked_add(len);
                    let value = end.and_then(|end| self.structure.get(self.at..end));
                    let value = value.ok_or(self.broken("a property's value is cut short"))?;
                    self.skip(len)?;
                    return Ok(Token::Property(Property { name, value, name_at }));
                }
                END => return Ok(Token::End),
                _ => return Err(self.broken("an unknown token")),
            }
        }
    }

    fn word(&mut self) -> Result<u32, FdtError> {
        let found = word(self.structure, self.at).ok_or(self.broken("it is cut short"))?;
        self.at += 4;
        Ok(found)
    }

    /// Goes on behind `len` bytes and what aligns them; these may be missing only at the very end,
    /// where nothing can follow.
    fn skip(&mut self, len: usize) -> Result<(), FdtError> {
        let next = self.at.checked_add(len).and_then(|end| end.checked_next_multiple_of(4));
        self.at = next.ok_or(self.broken("it is cut short"))?;
        Ok(())
    }

    const fn broken(&self, rule: &'static str) -> FdtError {
        FdtError::Structure { at: self.at, rule }
    }
}

/// The printable text up to the first zero.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = &bytes[..end];
    // Printable ASCII without spaces, as names are; so this is UTF-8 as well.
    text.iter().all(u8::is_ascii_graphic).then(|| core::str::from_utf8(text).ok())?
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, number)
}

/// A big-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;
