//! What can happen to a device on a walk, and how a seed chooses it.

use std::fmt;

use stillboot::format::Slot;

use crate::disk::{Cut, Random, Tear};
use crate::engine::HandoverFailure;
use crate::fault::Fault;

/// What is offered to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseChoice {
    /// The next release of the chain.
    Next,
    /// What was offered last, once more.
    Again,
    /// What was offered so many releases ago.
    Old(usize),
    /// The next release with one bit of its last chunk turned.
    Tampered,
    /// For another class of devices.
    OtherClass,
    /// Below the floor.
    Low,
    /// What runs, to mend the other slot.
    Repair,
    /// The first or the second recovery system.
    Recovery(usize),
}

/// As what the bundle of an installation comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// As it is.
    #[default]
    Bundle,
    /// In compressed frames.
    Frames,
    /// As a patch from what runs, whose old bytes are those on the disk; in frames where nothing
    /// runs.
    Patch,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The power comes on, or a watchdog resets the machine.
    PowerOnOutcome {
        /// The latter.
        watchdog: bool,
        /// No image runs, and why.
        back: Option<HandoverFailure>,
    },
    /// Something is installed, perhaps to a slot that is named.
    Install(ReleaseChoice, Option<Slot>),
    /// What runs is healthy.
    Confirm,
    /// The same, with the proof of an earlier power-on.
    ConfirmStale,
    /// HandoverFailure from what runs, or from a slot.
    Rollback(Option<Slot>),
    /// What waits or is on trial is called off.
    Cancel,
    /// The last that was offered may be tried again, whatever became of it.
    Forget,
    /// What is in the slot is bad.
    MarkBad(Slot),
    /// The slot is held, or given free.
    Hold(Slot, bool),
    /// All updates are held, or given free.
    HoldUpdates(bool),
    /// A deadline was missed.
    Suspect(Slot),
    /// The slot is read in full.
    Scrub(Slot),
    /// All copies of the record are destroyed.
    LoseRecord,
    /// The same, by the request for it.
    Discard,
    /// So many bytes of the slot are destroyed, from its start or at its end.
    Wreck(Slot, bool),
    /// The device gets a fault that lasts for so many events.
    Fails(Fault, u8),
    /// The next update must succeed without help.
    Check,
}

/// What a cache makes of a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it reached the medium.
    Nothing,
    /// None of it did.
    All,
    /// Some of it, in any order.
    Some(u64),
}

/// The power fails before, within or after this change of the disk; where there are fewer changes,
/// once all is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLoss {
    /// Which change.
    pub change: u64,
    /// Where in it.
    pub cut: Cut,
    /// What becomes of a cache.
    pub loss: Loss,
}

/// One event of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number; with the seed it says everything else.
    pub number: usize,
    /// What happens.
    pub what: What,
    /// How it is cut short.
    pub power: Option<PowerLoss>,
    /// As what the bundle comes, of an installation.
    pub via: Via,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.number, self.what, self.via)?;
        match self.power {
            Some(PowerLoss { change, cut, loss }) => {
                write!(f, ", power lost at change {change}, {cut}, and {loss} of the cache")
            }
            None => Ok(()),
        }
    }
}

impl Event {
    /// Event `number` of the walk of `seed`.
    #[must_use]
    pub fn of(seed: u64, number: usize) -> Self {
        // Odd, so that no two numbers of one walk get the same stream.
        let mixed = seed.rotate_left(32) ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = Random::new(mixed);
        let what = what(&mut random);
        let changes = match what {
            What::PowerOnOutcome { .. } => 9,
            What::Install(..) => 48,
            What::Confirm
            | What::ConfirmStale
            | What::Rollback(_)
            | What::Cancel
            | What::Forget
            | What::MarkBad(_)
            | What::Hold(..)
            | What::HoldUpdates(_)
            | What::Suspect(_) => 8,
            What::Scrub(_)
            | What::LoseRecord
            | What::Discard
            | What::Wreck(..)
            | What::Fails(..)
            | What::Check => 0,
        };
        let power = (changes > 0 && random.chance(1, 3)).then(|| {
            let cut = match random.below(6) {
                0 | 1 => Cut::Before,
                2 => Cut::After,
                3 => Cut::Torn(Tear::Prefix(1 + random.below(4096) / (1 + random.below(64)))),
                4 => Cut::Torn(Tear::Suffix(1 + random.below(4096) / (1 + random.below(64)))),
                _ => Cut::Torn(Tear::Mixed(random.next_u64())),
            };
            let loss = match random.below(4) {
                0 => Loss::Nothing,
                1 => Loss::All,
                _ => Loss::Some(random.next_u64()),
            };
            PowerLoss { change: random.below(changes), cut, loss }
        });
        let via = match what {
            What::Install(..) => {
                [Via::Bundle, Via::Bundle, Via::Frames, Via::Patch][random.below(4) as usize]
            }
            _ => Via::Bundle,
        };
        Self { number, what, power, via }
    }

    /// The same with the plainest way to lose power.
    #[must_use]
    pub fn simplified(self) -> Self {
        let power =
            self.power.map(|power| PowerLoss { cut: Cut::Before, loss: Loss::All, ..power });
        Self { power, ..self }
    }
}

fn update_slot(random: &mut Random) -> Slot {
    if random.chance(1, 2) { Slot::A } else { Slot::B }
}

fn any_slot(random: &mut Random) -> Slot {
    [Slot::A, Slot::B, Slot::A, Slot::B, Slot::Recovery][random.below(5) as usize]
}

fn what(random: &mut Random) -> What {
    match random.below(100) {
        0..28 => {
            let watchdog = random.chance(1, 12);
            let back = match random.below(60) {
                0 => Some(HandoverFailure::Returned),
                1 | 2 => Some(HandoverFailure::NotStarted),
                _ => None,
            };
            What::PowerOnOutcome { watchdog, back }
        }
        28..50 => {
            let offer = match random.below(20) {
                0..9 => ReleaseChoice::Next,
                9..13 => ReleaseChoice::Again,
                13 => ReleaseChoice::Old(1 + random.below(4) as usize),
                14 => ReleaseChoice::Tampered,
                15 => ReleaseChoice::OtherClass,
                16 => ReleaseChoice::Low,
                17 | 18 => ReleaseChoice::Repair,
                _ => ReleaseChoice::Recovery(random.below(2) as usize),
            };
            let target = random.chance(1, 8).then(|| update_slot(random));
            What::Install(offer, target)
        }
        50..70 => What::Confirm,
        70 | 71 => What::ConfirmStale,
        72 if random.chance(1, 2) => What::Cancel,
        73 if random.chance(1, 2) => What::Forget,
        72..75 => {
            let named = random.chance(1, 4).then(|| any_slot(random));
            What::Rollback(named)
        }
        75..78 => What::MarkBad(any_slot(random)),
        78..81 => What::Hold(any_slot(random), random.chance(2, 3)),
        81 => What::HoldUpdates(random.chance(1, 2)),
        82 | 83 => What::Suspect(any_slot(random)),
        84 | 85 => What::Scrub(any_slot(random)),
        86 if random.chance(1, 2) => What::Discard,
        86 => What::LoseRecord,
        87 => What::Wreck(any_slot(random), random.chance(1, 2)),
        88..91 => What::Fails(fault(random), 1 + random.below(3) as u8),
        _ => What::Check,
    }
}

fn fault(random: &mut Random) -> Fault {
    let (change, read) = (random.below(24), random.below(24));
    match random.below(8) {
        0 => Fault::WriteOnce(change),
        1 => Fault::WriteAlways(change),
        2 => Fault::ReadOnce(read),
        3 => Fault::ReadAlways(read),
        4 => Fault::Stuck(change),
        5 => Fault::Misdirected(change, 1 + random.below(32)),
        6 => Fault::Rot(read, random.below(8000)),
        _ => Fault::Unstable(read, random.below(8000)),
    }
}
