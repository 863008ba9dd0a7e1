//! Sets of device trees: the component `dtbs` of a bundle.
//!
//! ```text
//!  0  "stillDTB"
//!  8  version 1
//! 12  number of trees
//! 16  number of matches
//! 20  length of the texts
//! 24  length of the whole set
//! 32  trees, 16 bytes each      offset and length of the tree, offsets of its compatible and its
//!                               name among the texts
//!     matches, 20 bytes each    id, number of the tree (16 bits), bits (16 bits)
//!     texts                     each with a zero behind it
//!     trees                     each aligned to 8 bytes
//! ```
//!
//! All numbers are little-endian. Trees stand in the order of their first compatibles, matches in
//! the order of the bytes of their ids, so finding one takes a few steps however many there are. The
//! manifest covers the component as a whole, so it covers the index and every tree.
//!
//! `build` (feature `alloc`) reports every ambiguity to the caller that builds a set. An ambiguity
//! that is in a set all the same makes no match: a wrong tree may stop a machine from booting, a
//! missing one costs it some devices.

use core::fmt;

use crate::chid::Chid;
use crate::fdt::{Fdt, FdtError, LEN_MAX};
use crate::hwids::text;

/// The first bytes of a set.
pub const MAGIC: [u8; 8] = *b"stillDTB";

const VERSION: u32 = 1;
const HEADER_LEN: usize = 32;
const TREE_LEN: usize = 16;
const MATCH_LEN: usize = 20;

/// Most trees of a set.
pub const TREES_MAX: usize = 8192;
/// Most ids of a set.
pub const MATCHES_MAX: usize = 1 << 17;
/// Longest texts of a set, in bytes.
pub const TEXTS_MAX: usize = 4 << 20;

/// May match by two fields only.
const WEAK: u16 = 1;

/// Why bytes are no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SetError {
    /// They begin otherwise.
    Magic,
    /// A version that is not understood.
    Version {
        /// Which.
        found: u32,
    },
    /// It has more trees, ids or texts than can be, or is cut short.
    Length,
    /// A tree leads outside of the set or into its index, or its texts do.
    Tree {
        /// Which one.
        tree: usize,
    },
    /// A match names a tree that is not there, has an id of zeros or unknown bits.
    Match {
        /// Which one.
        at: usize,
    },
    /// Trees or matches are out of order.
    Order,
    /// What the index calls a tree is none.
    Fdt {
        /// Which one.
        tree: usize,
        /// Why.
        error: FdtError,
    },
    /// A tree says it is for another machine than the index says.
    Compatible {
        /// Which one.
        tree: usize,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("expected a set of device trees, found something else"),
            Self::Version { found } => {
                write!(f, "set of device trees of version {found}: expected {VERSION}")
            }
            Self::Length => {
                f.write_str("set of device trees: cut short, or longer than one can be")
            }
            Self::Tree { tree } => {
                write!(f, "set of device trees: tree {tree} is not inside of it")
            }
            Self::Match { at } => write!(f, "set of device trees: match {at} is none"),
            Self::Order => f.write_str("set of device trees: its index is out of order"),
            Self::Fdt { tree, error } => write!(f, "set of device trees: tree {tree}: {error}"),
            Self::Compatible { tree } => write!(
                f,
                "set of device trees: tree {tree} is for another machine than the index says"
            ),
        }
    }
}

impl core::error::Error for SetError {}

/// A set whose index was checked. Trees are checked when they are taken.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    bytes: &'a [u8],
    trees: &'a [u8],
    matches: &'a [u8],
    texts: &'a [u8],
}

/// What the index says of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// Its number.
    pub tree: usize,
    /// Its first compatible.
    pub compatible: &'a str,
    /// Its name for people.
    pub name: &'a str,
    /// Its bytes, not yet checked.
    pub bytes: &'a [u8],
}

// By hand: a whole tree is too long for a log.
#[cfg(feature = "defmt")]
impl defmt::Format for Entry<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { tree, compatible, name, bytes } = self;
        let len = bytes.len();
        defmt::write!(
            f,
            "tree {=usize} ({=str}, {=str}) of {=usize} bytes",
            tree,
            compatible,
            name,
            len
        );
    }
}

/// One id and its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Match {
    /// Which machines it is.
    pub chid: Chid,
    /// The number of their tree.
    pub tree: usize,
    /// Whether a machine may match by an id of two fields only.
    pub may_be_weak: bool,
}

/// What was found for a machine.
///
/// No more variants come: a caller that looks for a tree has to tell these apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Found<T> {
    /// Nothing.
    Nothing,
    /// This and nothing else.
    One(T),
    /// More than one, so nothing says which.
    Several,
}

impl<'a> Set<'a> {
    /// Checks the index of a set.
    ///
    /// # Errors
    /// [`SetError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SetError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(SetError::Magic);
        }
        let field = |at| word(bytes, at).ok_or(SetError::Length);
        match field(8)? {
            VERSION => {}
            found => return Err(SetError::Version { found }),
        }
        let [trees, matches, texts] = [field(12)?, field(16)?, field(20)?].map(|n| n as usize);
        let len = u64::from(field(24)?) | u64::from(field(28)?) << 32;
        let is_possible = trees <= TREES_MAX && matches <= MATCHES_MAX && texts <= TEXTS_MAX;
        if !is_possible || len != bytes.len() as u64 {
            return Err(SetError::Length);
        }
        let rest = bytes.get(HEADER_LEN..).ok_or(SetError::Length)?;
        let cut = |rest: &'a [u8], len| rest.split_at_checked(len).ok_or(SetError::Length);
        let (trees, rest) = cut(rest, TREE_LEN * trees)?;
        let (matches, rest) = cut(rest, MATCH_LEN * matches)?;
        let (texts, rest) = cut(rest, texts)?;
        let set = Self { bytes, trees, matches, texts };
        set.check(bytes.len() - rest.len())?;
        Ok(set)
    }

    fn check(&self, index_len: usize) -> Result<(), SetError> {
        let mut last = "";
        for tree in 0..self.len() {
            let place = self.place(tree).ok_or(SetError::Tree { tree })?;
            if place.0 < index_len {
                return Err(SetError::Tree { tree });
            }
            let entry = self.entry(tree).ok_or(SetError::Tree { tree })?;
            if entry.compatible < last {
                return Err(SetError::Order);
            }
            last = entry.compatible;
        }
        let mut last = [0; 16];
        for (at, found) in self.matches.chunks_exact(MATCH_LEN).enumerate() {
            let read = self.match_at(at).ok_or(SetError::Match { at })?;
            let bits = found.get(18..20).map(|bits| u16::from_le_bytes([bits[0], bits[1]]));
            if read.tree >= self.len() || read.chid == Chid::NIL || bits > Some(WEAK) {
                return Err(SetError::Match { at });
            }
            let id = read.chid.to_table();
            if id < last {
                return Err(SetError::Order);
            }
            last = id;
        }
        Ok(())
    }

    /// How many trees it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.trees.len() / TREE_LEN
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// What the index says of each tree, in its order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let set = *self;
        (0..self.len()).filter_map(move |tree| set.entry(tree))
    }

    /// The ids, in their order.
    pub fn matches(&self) -> impl Iterator<Item = Match> + use<'a> {
        let set = *self;
        (0..self.matches.len() / MATCH_LEN).filter_map(move |at| set.match_at(at))
    }

    /// What the index says of the tree of this number.
    #[must_use]
    pub fn entry(&self, tree: usize) -> Option<Entry<'a>> {
        let (at, len) = self.place(tree)?;
        let record = self.trees.get(TREE_LEN * tree..)?;
        let text = |at| text(self.texts.get(word(record, at)? as usize..)?);
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        Some(Entry { tree, compatible: text(8)?, name: text(12)?, bytes })
    }

    /// Where a tree begins, and how long it is.
    fn place(&self, tree: usize) -> Option<(usize, usize)> {
        let record = self.trees.get(TREE_LEN.checked_mul(tree)?..)?;
        let (at, len) = (word(record, 0)? as usize, word(record, 4)? as usize);
        (at.is_multiple_of(8) && len <= LEN_MAX).then_some((at, len))
    }

    fn match_at(&self, at: usize) -> Option<Match> {
        let found = self.matches.get(MATCH_LEN.checked_mul(at)?..)?.get(..MATCH_LEN)?;
        let number = |at: usize| Some(u16::from_le_bytes([*found.get(at)?, *found.get(at + 1)?]));
        Some(Match {
            chid: Chid::from_table(*found.first_chunk()?),
            tree: number(16)?.into(),
            may_be_weak: number(18)? & WEAK != 0,
        })
    }

    /// The tree for the machines with this id.
    #[must_use]
    pub fn by_chid(&self, chid: Chid) -> Found<Match> {
        let id = chid.to_table();
        let all = self.matches.len() / MATCH_LEN;
        let first = partition(all, |at| self.match_at(at).is_some_and(|m| m.chid.to_table() < id));
        let mut equal =
            (first..all).map_while(|at| self.match_at(at)).take_while(|found| found.chid == chid);
        let Some(found) = equal.next() else { return Found::Nothing };
        match equal.all(|other| other.tree == found.tree) {
            true => Found::One(found),
            false => Found::Several,
        }
    }

    /// The tree whose first compatible is this one.
    #[must_use]
    pub fn by_compatible(&self, compatible: &str) -> Found<Entry<'a>> {
        let first = partition(self.len(), |tree| {
            self.entry(tree).is_some_and(|entry| entry.compatible < compatible)
        });
        let at = |tree| self.entry(tree).filter(|entry| entry.compatible == compatible);
        match (at(first), at(first + 1)) {
            (None, _) => Found::Nothing,
            (Some(entry), None) => Found::One(entry),
            (Some(_), Some(_)) => Found::Several,
        }
    }

    /// A tree, checked to be one, and the one that the index says.
    ///
    /// # Errors
    /// [`SetError::Fdt`] or [`SetError::Compatible`]
    pub fn fdt(&self, entry: &Entry<'a>) -> Result<Fdt<'a>, SetError> {
        let tree = entry.tree;
        let fdt = Fdt::parse(entry.bytes).map_err(|error| SetError::Fdt { tree, error })?;
        match fdt.compatibles().next() == Some(entry.compatible) {
            true => Ok(fdt),
            false => Err(SetError::Compatible { tree }),
        }
    }
}

/// The first number below `all` that is not `before`; numbers that are stand in front of the others.
fn partition(all: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, all);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(feature = "alloc")]
pub use build::{BuildError, Machine, build};

#[cfg(feature = "alloc")]
mod build {
    use alloc::collections::BTreeMap;
    use alloc::string::{String, ToString as _};
    use alloc::vec::Vec;
    use core::fmt;

    use super::*;

    /// Machines that share a tree, by their ids.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Machine {
        /// Their name, for people.
        pub name: String,
        /// The first compatible of their tree.
        pub compatible: String,
        /// Their ids.
        pub chids: Vec<Chid>,
        /// Whether one of them may match by an id of two fields only: a maker and one thing more.
        pub may_be_weak: bool,
    }

    impl Machine {
        /// The machines with these ids. None of them may match by an id of two fields only.
        #[must_use]
        pub fn new(
            name: impl Into<String>,
            compatible: impl Into<String>,
            chids: impl Into<Vec<Chid>>,
        ) -> Self {
            let (name, compatible, chids) = (name.into(), compatible.into(), chids.into());
            Self { name, compatible, chids, may_be_weak: false }
        }

        /// The same, stating whether one of them may match by a [weak id](Self::may_be_weak).
        #[must_use]
        pub const fn with_weak(mut self, may_be_weak: bool) -> Self {
            self.may_be_weak = may_be_weak;
            self
        }
    }

    /// What keeps a set from being built.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum BuildError {
        /// Something that is no tree.
        Fdt {
            /// Its name.
            name: String,
            /// Why.
            error: FdtError,
        },
        /// A tree that does not say for which machine it is.
        NoCompatible {
            /// Its name.
            name: String,
        },
        /// Two trees for one machine.
        TwoTrees {
            /// Their first compatible.
            compatible: String,
            /// Their names.
            names: [String; 2],
        },
        /// A machine without a tree.
        NoTree {
            /// Its name.
            name: String,
            /// The compatible that it needs.
            compatible: String,
        },
        /// One id for two trees.
        TwoMachines {
            /// The id.
            chid: Chid,
            /// The compatibles of the trees.
            compatibles: [String; 2],
        },
        /// An id of zeros.
        Nil {
            /// The machine's name.
            name: String,
        },
        /// A name that is empty or not printable.
        Name {
            /// The name.
            name: String,
        },
        /// More trees, ids or bytes than a set can have.
        TooMuch,
    }

    impl fmt::Display for BuildError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::Fdt { name, error } => write!(f, "{name}: {error}"),
                Self::NoCompatible { name } => {
                    write!(f, "{name}: its root has no compatible, so nothing says what it is for")
                }
                Self::TwoTrees { compatible, names: [one, other] } => {
                    write!(f, "{one} and {other} are both for {compatible}: leave one of them out")
                }
                Self::NoTree { name, compatible } => write!(
                    f,
                    "{name} needs a tree whose first compatible is {compatible}, and there is none: \
                     add the tree, or leave the machine out"
                ),
                Self::TwoMachines { chid, compatibles: [one, other] } => write!(
                    f,
                    "the id {chid} is given to {one} and to {other}: take it from one of them"
                ),
                Self::Nil { name } => {
                    write!(f, "{name} has an id of zeros, which stands for no machine")
                }
                Self::Name { name } => {
                    write!(f, "the name {name:?} is empty or has a character that is not printable")
                }
                Self::TooMuch => write!(
                    f,
                    "too much for a set: it holds {TREES_MAX} trees, {MATCHES_MAX} ids and 4 GiB"
                ),
            }
        }
    }

    impl core::error::Error for BuildError {}

    // By hand: it is made on hosts, and its texts need no feature of `defmt` of their own this way.
    #[cfg(feature = "defmt")]
    impl defmt::Format for BuildError {
        fn format(&self, f: defmt::Formatter<'_>) {
            defmt::write!(f, "{}", defmt::Display2Format(self));
        }
    }

    /// Builds a set of trees, each with a name for people, and of the machines that they are for.
    /// A tree needs no machine: it can replace one of the firmware's that has the same compatible.
    ///
    /// # Errors
    /// Everything that keeps it from being built, not just the first thing.
    pub fn build(
        trees: &[(String, Vec<u8>)],
        machines: &[Machine],
    ) -> Result<Vec<u8>, Vec<BuildError>> {
        let mut errors = Vec::new();
        // By compatible, because the set has that order.
        let mut by_compatible: BTreeMap<String, (&str, &[u8])> = BTreeMap::new();
        for (name, bytes) in trees {
            let is_name =
                |name: &str| !name.is_empty() && name.bytes().all(|b| matches!(b, b' '..=b'~'));
            if !is_name(name) {
                errors.push(BuildError::Name { name: name.clone() });
            }
            let fdt = match Fdt::parse(bytes) {
                Ok(fdt) => fdt,
                Err(error) => {
                    errors.push(BuildError::Fdt { name: name.clone(), error });
                    continue;
                }
            };
            let Some(compatible) = fdt.compatibles().next().filter(|text| !text.is_empty()) else {
                errors.push(BuildError::NoCompatible { name: name.clone() });
                continue;
            };
            if let Some((other, _)) = by_compatible.get(compatible) {
                let names = [(*other).to_string(), name.clone()];
                errors.push(BuildError::TwoTrees { compatible: compatible.into(), names });
                continue;
            }
            by_compatible.insert(compatible.into(), (name, fdt.bytes()));
        }
        let matches = matches(&by_compatible, machines, &mut errors);
        let is_possible = by_compatible.len() <= TREES_MAX && matches.len() <= MATCHES_MAX;
        if !is_possible {
            errors.push(BuildError::TooMuch);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        emit(&by_compatible, &matches).ok_or_else(|| alloc::vec![BuildError::TooMuch])
    }

    /// The number of a tree, and whether it may be matched by two fields, by id.
    type Matches = BTreeMap<[u8; 16], (u16, bool)>;

    fn matches(
        trees: &BTreeMap<String, (&str, &[u8])>,
        machines: &[Machine],
        errors: &mut Vec<BuildError>,
    ) -> Matches {
        let mut matches = Matches::new();
        let number = |compatible: &str| trees.keys().position(|found| found == compatible);
        for machine in machines {
            let Some(tree) = number(&machine.compatible) else {
                let Machine { name, compatible, .. } = machine.clone();
                errors.push(BuildError::NoTree { name, compatible });
                continue;
            };
            for chid in &machine.chids {
                if *chid == Chid::NIL {
                    errors.push(BuildError::Nil { name: machine.name.clone() });
                    continue;
                }
                // There are not more than TREES_MAX, or the set is refused.
                let entry = (tree as u16, machine.may_be_weak);
                let found = matches.entry(chid.to_table()).or_insert(entry);
                if found.0 == entry.0 {
                    // A weak id may match only if every machine that has it allows that.
                    found.1 &= entry.1;
                    continue;
                }
                let other = trees.keys().nth(found.0.into()).cloned().unwrap_or_default();
                let compatibles = [other, machine.compatible.clone()];
                errors.push(BuildError::TwoMachines { chid: *chid, compatibles });
            }
        }
        matches
    }

    fn emit(trees: &BTreeMap<String, (&str, &[u8])>, matches: &Matches) -> Option<Vec<u8>> {
        let mut texts = Vec::new();
        let mut put = |text: &str| {
            let at = u32::try_from(texts.len()).ok();
            texts.extend(text.as_bytes());
            texts.push(0);
            at
        };
        let places: Option<Vec<_>> = trees
            .iter()
            .map(|(compatible, (name, _))| Some((put(compatible)?, put(name)?)))
            .collect();
        let places = places?;
        let index = HEADER_LEN + TREE_LEN * trees.len() + MATCH_LEN * matches.len() + texts.len();
        let mut records = Vec::new();
        let mut at = index.next_multiple_of(8);
        for ((_, bytes), (compatible, name)) in trees.values().zip(places) {
            for number in
                [u32::try_from(at).ok()?, u32::try_from(bytes.len()).ok()?, compatible, name]
            {
                records.extend(number.to_le_bytes());
            }
            at = at.checked_add(bytes.len())?.checked_next_multiple_of(8)?;
        }
        if texts.len() > TEXTS_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(at);
        out.extend(MAGIC);
        let counts = [VERSION as usize, trees.len(), matches.len(), texts.len()];
        out.extend(counts.iter().flat_map(|count| (*count as u32).to_le_bytes()));
        out.extend((at as u64).to_le_bytes());
        out.extend(records);
        for (id, (tree, may_be_weak)) in matches {
            out.extend(id);
            out.extend(tree.to_le_bytes());
            out.extend((if *may_be_weak { WEAK } else { 0 }).to_le_bytes());
        }
        out.extend(texts);
        for (_, bytes) in trees.values() {
            out.resize(out.len().next_multiple_of(8), 0);
            out.extend(*bytes);
        }
        out.resize(at, 0);
        Some(out)
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
