//! Which channel a device follows, and whether an update is offered on it.
//!
//! A channel is `track/risk/branch`: a series of releases, how much testing they have behind them,
//! and a short-lived side line. The table has the text forms and the values of omitted parts:
//!
//! | text | track | risk | branch |
//! |---|---|---|---|
//! | `beta` (the name of a risk) | `latest` | `beta` | |
//! | `5.0` (any other word) | `5.0` | `stable` | |
//! | `5.0/beta` (a risk comes second) | `5.0` | `beta` | |
//! | `beta/fix-1` (a risk comes first) | `latest` | `beta` | `fix-1` |
//! | `5.0/beta/fix-1` | `5.0` | `beta` | `fix-1` |
//!
//! So that each channel has one meaning, a track or branch never has the name of a risk, in any
//! case of letters: `Edge` is refused. Otherwise it would be a track without any releases.

use core::fmt::{self, Display, Formatter};

use super::version::Label;
use stillboot::format::manifest::{Name, is_label};
use stillboot::format::{Channel, Risk};

/// The track of devices, and of channel texts, that name none.
pub use stillboot::format::manifest::DEFAULT_TRACK;

/// Longest name of a track or branch, in bytes.
pub const NAME_LEN_MAX: usize = 16;

/// Why a text is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ChannelError {
    /// Bytes before the fault.
    pub at: usize,
    /// What is wrong there.
    pub fault: ChannelFault,
}

/// What is wrong in a channel's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ChannelFault {
    /// A track, risk or branch is empty.
    Empty,
    /// There are more than three parts.
    PartCount,
    /// A name is longer than [`NAME_LEN_MAX`].
    TooLong,
    /// Names start with an ASCII letter or digit, and go on with those and `.`, `-`, `+`, `_`, `~`.
    Character,
    /// `stable`, `candidate`, `beta` or `edge` is expected.
    NoRisk,
    /// A track or branch is called like a risk.
    RiskName,
}

/// Reads a channel. The track of the result is never empty.
///
/// # Errors
/// [`ChannelError`] with the place and what is wrong there.
pub fn parse(text: &str) -> Result<Channel, ChannelError> {
    let mut parts = text.split('/');
    // `split` gives at least one part.
    let first = parts.next().unwrap_or("");
    let second_at = first.len() + 1;
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => match Risk::from_name(first) {
            Some(risk) => channel(DEFAULT_TRACK, 0, risk, None),
            None => channel(first, 0, Risk::Stable, None),
        },
        (Some(second), None, _) => match (Risk::from_name(first), Risk::from_name(second)) {
            (None, Some(risk)) => channel(first, 0, risk, None),
            (Some(risk), _) => channel(DEFAULT_TRACK, 0, risk, Some((second, second_at))),
            (None, None) => {
                check_name(first, 0)?;
                Err(no_risk(second, second_at))
            }
        },
        (Some(second), Some(third), None) => {
            check_name(first, 0)?;
            let risk = Risk::from_name(second).ok_or(no_risk(second, second_at))?;
            channel(first, 0, risk, Some((third, second_at + second.len() + 1)))
        }
        (Some(second), Some(third), Some(_)) => {
            let at = second_at + second.len() + 1 + third.len();
            Err(ChannelError { at, fault: ChannelFault::PartCount })
        }
    }
}

fn no_risk(text: &str, at: usize) -> ChannelError {
    let fault = if text.is_empty() { ChannelFault::Empty } else { ChannelFault::NoRisk };
    ChannelError { at, fault }
}

fn channel(
    track: &str,
    track_at: usize,
    risk: Risk,
    branch: Option<(&str, usize)>,
) -> Result<Channel, ChannelError> {
    let track = check_name(track, track_at)?;
    let branch = branch.map_or(Ok(Name::new()), |(branch, at)| check_name(branch, at))?;
    Ok(Channel { track, risk, branch })
}

fn check_name(text: &str, at: usize) -> Result<Name, ChannelError> {
    let fail = |fault| Err(ChannelError { at, fault });
    if text.is_empty() {
        return fail(ChannelFault::Empty);
    }
    // The first one, so that no name is `.` or `..` where it becomes part of a path, or an option
    // where it becomes part of a command.
    if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) || !is_label(text) {
        return fail(ChannelFault::Character);
    }
    if Risk::ALL.iter().any(|risk| risk.name().eq_ignore_ascii_case(text)) {
        return fail(ChannelFault::RiskName);
    }
    Name::try_from(text).or(fail(ChannelFault::TooLong))
}

fn track_or_default(track: &str) -> &str {
    if track.is_empty() { DEFAULT_TRACK } else { track }
}

/// What a device follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Follow {
    /// The series of releases; empty for [`DEFAULT_TRACK`].
    pub track: Name,
    /// The least tested releases it takes.
    pub risk: Risk,
    /// A side line that it takes beside the main one; empty for none.
    pub branch: Name,
}

/// Why an offer is not on the channel that the device follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ChannelRefusal {
    /// It is on another track.
    Track {
        /// The device's track.
        follows: Label<NAME_LEN_MAX>,
        /// The offer's track.
        offered: Label<NAME_LEN_MAX>,
    },
    /// It has less testing behind it than the device asks for, or one of the risks is unknown.
    Risk {
        /// The least tested that the device takes.
        follows: Risk,
        /// How much testing the offer has behind it.
        offered: Risk,
    },
    /// It is on a branch that the device does not follow.
    Branch {
        /// The device's branch; empty for none.
        follows: Label<NAME_LEN_MAX>,
        /// The offer's branch.
        offered: Label<NAME_LEN_MAX>,
    },
}

/// `latest/stable`.
impl Default for Follow {
    fn default() -> Self {
        Self { track: Name::new(), risk: Risk::Stable, branch: Name::new() }
    }
}

impl From<Channel> for Follow {
    fn from(channel: Channel) -> Self {
        Self { track: channel.track, risk: channel.risk, branch: channel.branch }
    }
}

impl Follow {
    /// Reads what to follow, as [`parse`] reads a channel.
    ///
    /// # Errors
    /// [`ChannelError`] with the place and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        parse(text).map(Self::from)
    }

    /// Whether an update offered on `offer` is for this device.
    ///
    /// - Tracks match exactly.
    /// - The offer has at least as much testing behind it: a device that follows `edge` also takes
    ///   `beta`, `candidate` and `stable`, and not the reverse.
    /// - An offer on a branch is only for devices that follow that branch. They also take offers of
    ///   the main line, so that they return to it when the branch ends. The risk counts for both.
    /// # Errors
    /// [`ChannelRefusal`] naming the part that does not match, with both values.
    pub fn accepts(&self, offer: &Channel) -> Result<(), ChannelRefusal> {
        let track = track_or_default(&self.track);
        if track != offer.track {
            return Err(ChannelRefusal::Track {
                follows: Label::of(&track),
                offered: Label::of(&offer.track),
            });
        }
        let within = match (rank(self.risk), rank(offer.risk)) {
            (Some(follows), Some(offered)) => offered <= follows,
            (None, _) | (_, None) => false,
        };
        if !within {
            return Err(ChannelRefusal::Risk { follows: self.risk, offered: offer.risk });
        }
        if !offer.branch.is_empty() && offer.branch != self.branch {
            return Err(ChannelRefusal::Branch {
                follows: Label::of(&self.branch),
                offered: Label::of(&offer.branch),
            });
        }
        Ok(())
    }
}

/// The order of risks, the safest first.
const fn rank(risk: Risk) -> Option<u8> {
    match risk {
        Risk::Stable => Some(0),
        Risk::Candidate => Some(1),
        Risk::Beta => Some(2),
        Risk::Edge => Some(3),
        Risk::Unknown(_) => None,
    }
}

/// In full, as a [`Channel`] is displayed.
impl Display for Follow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { track, risk, branch } = self.clone();
        Channel { track, risk, branch }.fmt(f)
    }
}

impl Display for ChannelFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a track, risk or branch is expected",
            Self::PartCount => "a channel has at most three parts: track/risk/branch",
            Self::TooLong => "a track or branch has at most 16 bytes",
            Self::Character => {
                "names start with a letter or digit and consist of those and . - + _ ~"
            }
            Self::NoRisk => "expected stable, candidate, beta or edge",
            Self::RiskName => "a track or branch must not be called like a risk",
        })
    }
}

impl Display for ChannelError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "at position {}: {}", self.at.saturating_add(1), self.fault)
    }
}

impl Display for ChannelRefusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Track { follows, offered } => {
                write!(f, "this device follows track {follows}, the update is on track {offered}")
            }
            Self::Risk { follows, offered } => {
                write!(f, "this device takes what is {follows} or safer, the update is {offered}")
            }
            Self::Branch { follows, offered } if follows.as_str().is_empty() => {
                write!(f, "this device follows no branch, the update is on branch {offered}")
            }
            Self::Branch { follows, offered } => {
                write!(f, "this device follows branch {follows}, the update is on branch {offered}")
            }
        }
    }
}

impl core::error::Error for ChannelFault {}
impl core::error::Error for ChannelError {}
impl core::error::Error for ChannelRefusal {}
