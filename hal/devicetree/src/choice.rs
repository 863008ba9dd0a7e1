//! Which tree a machine gets: the one decision of this crate.
//!
//! 1. The firmware describes the machine itself: its tree stays, unless the set has the tree with
//!    the same first compatible. Ids are not used, because the firmware knows better than they
//!    do. They are not used either where the firmware's tree cannot be read.
//! 2. The firmware has no tree, or one that describes nothing: the first kind of id, in the order of
//!    [`Kind::BY_PRIORITY`], that the machine has and the set knows. Ids of two fields count only
//!    where the set says so.
//! 3. What is ambiguous, and what is not known, is no match.

use core::fmt;

use crate::chid::{Chid, Fields, Kind};
use crate::fdt::{Fdt, FdtError};
use crate::set::{Entry, Found, Set, SetError};

/// What becomes of the machine's description.
///
/// No more variants come: a machine gets a tree or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decision<'a> {
    /// This tree of the set, on these grounds.
    Tree(Entry<'a>, Grounds<'a>),
    /// What the firmware says stays as it is.
    Left(Left<'a>),
}

/// On what grounds a tree was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Grounds<'a> {
    /// The firmware's tree is for the same machine.
    Compatible(&'a str),
    /// The machine has an id of this kind.
    Chid(Kind, Chid),
}

/// Why none was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Left<'a> {
    /// The firmware has a tree, and the set has none for the same machine.
    Firmware(&'a str),
    /// The set has several trees for the machine that the firmware's tree is for.
    SeveralTrees(&'a str),
    /// The firmware has a tree that does not say for which machine it is.
    Nameless,
    /// The firmware has a tree that cannot be read.
    Unreadable(FdtError),
    /// The set has none of the machine's ids.
    Unknown,
    /// The set has several trees for one of them.
    SeveralMatches(Kind, Chid),
    /// The set knows the machine by two fields only, and does not allow that.
    Weak(Kind, Chid),
    /// The machine has no ids: its firmware tells too little of it.
    NoIds,
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(entry, Grounds::Compatible(compatible)) => {
                write!(f, "{} replaces the firmware's tree, also for {compatible}", entry.name)
            }
            Self::Tree(entry, Grounds::Chid(kind, chid)) => {
                write!(f, "{} by id {chid} of kind {}", entry.name, kind.number())
            }
            Self::Left(reason) => write!(f, "none: {reason}"),
        }
    }
}

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(compatible) => {
                write!(f, "the firmware has its own for {compatible}, and the set has none for it")
            }
            Self::SeveralTrees(compatible) => write!(f, "the set has several for {compatible}"),
            Self::Nameless => f.write_str("the firmware's own does not say what it is for"),
            Self::Unreadable(error) => write!(f, "the firmware's own cannot be read: {error}"),
            Self::Unknown => f.write_str("the set does not know this machine"),
            Self::SeveralMatches(kind, chid) => {
                write!(f, "the set has several for id {chid} of kind {}", kind.number())
            }
            Self::Weak(kind, chid) => write!(
                f,
                "the set knows only id {chid} of kind {}, which fits other machines as well",
                kind.number()
            ),
            Self::NoIds => f.write_str("the firmware does not say what machine this is"),
        }
    }
}

/// Why a slot must not be started, for the sake of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TreeRefusal<'a> {
    /// It needs a tree and has no set of them.
    NoSet,
    /// Its set is broken.
    Set(SetError),
    /// It needs a tree, and the set has none for this machine.
    Left(Left<'a>),
}

impl fmt::Display for TreeRefusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSet => {
                f.write_str("it needs a device tree, and has no set of them to load into memory")
            }
            Self::Set(error) => write!(f, "{error}"),
            Self::Left(reason) => write!(f, "it needs the device tree of this machine: {reason}"),
        }
    }
}

impl core::error::Error for TreeRefusal<'_> {}

/// Chooses for a slot with this set, whose manifest may say that it must not start without a tree of
/// it; `firmware` is what came of reading the firmware's own. Gives the tree, if there is one, and the
/// decision for the report.
///
/// # Errors
/// Why the slot must not start. A broken set was signed by mistake, and the slot may have other
/// mistakes too. So it is refused whether it needs a tree or not.
pub fn choose_for_slot<'a>(
    set: Option<&'a [u8]>,
    is_required: bool,
    fields: &Fields<'_>,
    firmware: Result<Option<&Fdt<'a>>, FdtError>,
) -> Result<(Option<Fdt<'a>>, Decision<'a>), TreeRefusal<'a>> {
    let set = Set::parse(set.ok_or(TreeRefusal::NoSet)?).map_err(TreeRefusal::Set)?;
    let decision = match firmware {
        Ok(firmware) => choose(&set, fields, firmware),
        Err(error) => Decision::Left(Left::Unreadable(error)),
    };
    match decision {
        Decision::Tree(entry, _) => {
            Ok((Some(set.fdt(&entry).map_err(TreeRefusal::Set)?), decision))
        }
        Decision::Left(reason) if is_required => Err(TreeRefusal::Left(reason)),
        Decision::Left(_) => Ok((None, decision)),
    }
}

/// Chooses the tree for a machine that says this of itself, and whose firmware has this tree.
#[must_use]
pub fn choose<'a>(set: &Set<'a>, fields: &Fields<'_>, firmware: Option<&Fdt<'a>>) -> Decision<'a> {
    match firmware.filter(|tree| describes(tree)) {
        Some(tree) => by_firmware(set, tree),
        None => by_chids(set, fields),
    }
}

/// Whether a tree says anything of the machine. Firmware that has nothing to say may hand over a
/// tree with nothing but `/chosen`, which kernels take for none.
fn describes(tree: &Fdt<'_>) -> bool {
    tree.compatibles().next().is_some()
        || tree.root().children().any(|child| child.name() != "chosen")
}

fn by_firmware<'a>(set: &Set<'a>, tree: &Fdt<'a>) -> Decision<'a> {
    let Some(compatible) = tree.compatibles().next().filter(|compatible| !compatible.is_empty())
    else {
        return Decision::Left(Left::Nameless);
    };
    match set.by_compatible(compatible) {
        Found::One(entry) => Decision::Tree(entry, Grounds::Compatible(compatible)),
        Found::Several => Decision::Left(Left::SeveralTrees(compatible)),
        Found::Nothing => Decision::Left(Left::Firmware(compatible)),
    }
}

fn by_chids<'a>(set: &Set<'a>, fields: &Fields<'_>) -> Decision<'a> {
    let mut left = Left::NoIds;
    for kind in Kind::BY_PRIORITY {
        let Some(chid) = kind.chid(fields) else { continue };
        match set.by_chid(chid) {
            Found::One(found) if kind.is_weak() && !found.may_be_weak => {
                // The first reason is the most useful one.
                if !matches!(left, Left::Weak(..)) {
                    left = Left::Weak(kind, chid);
                }
            }
            Found::One(found) => {
                if let Some(entry) = set.entry(found.tree) {
                    return Decision::Tree(entry, Grounds::Chid(kind, chid));
                }
            }
            // An ambiguity at an exact id is not resolved by a less exact one.
            Found::Several => return Decision::Left(Left::SeveralMatches(kind, chid)),
            Found::Nothing if left == Left::NoIds => left = Left::Unknown,
            Found::Nothing => {}
        }
    }
    Decision::Left(left)
}

#[cfg(all(test, feature = "alloc"))]
mod tests;
