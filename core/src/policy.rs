//! May this update be installed now? Pure: a manifest, the record and the time in, a verdict out.
//!
//! What a verified manifest must satisfy whatever the operator wants (class, floor, order, fit) is
//! checked in [`install`](crate::install) and cannot be argued with. Here stands what depends on
//! time and wishes.

use crate::format::record::Body;
use crate::format::{Fault, Manifest};
use crate::verify::Verified;

/// What the policy says of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// Install it.
    Proceed,
    /// Not now; asking again later makes sense.
    Deferred(Deferral),
    /// Not as it is.
    Refused(Objection),
}

/// Why an update has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Deferral {
    /// The operator holds updates back.
    Hold {
        /// Unix time in seconds when the hold ends; [`u64::MAX`] for never.
        until: u64,
    },
    /// It failed here before, and is tried again only later.
    BackOff {
        /// Unix time in seconds when it may be tried again.
        until: u64,
    },
}

/// Why an update will not be accepted as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Objection {
    /// It failed here before, in a way that trying again will not mend.
    FailedBefore(Fault),
    /// It may not be installed any more.
    Expired {
        /// The manifest's limit, unix time in seconds.
        not_after: u64,
        /// The present, unix time in seconds.
        now: u64,
    },
}

impl core::fmt::Display for Deferral {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Hold { until: u64::MAX } => {
                f.write_str("updates are on hold until further notice")
            }
            Self::Hold { until } => write!(f, "updates are on hold until unix time {until}"),
            Self::BackOff { until } => {
                write!(
                    f,
                    "this update failed here before; it may be tried again at unix time {until}"
                )
            }
        }
    }
}

impl core::fmt::Display for Objection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::FailedBefore(fault) => write!(f, "this update failed here before: {fault}"),
            Self::Expired { not_after, now } => {
                write!(
                    f,
                    "it expired: it may be installed until unix time {not_after}, now is {now}"
                )
            }
        }
    }
}

/// Seconds to wait after the first, second, ... failure of the same update. The first may have been
/// the power: it is tried again at once.
const BACK_OFF_S: [u64; 9] = {
    const H: u64 = 3600;
    [0, 8 * H, 12 * H, 24 * H, 48 * H, 96 * H, 168 * H, 252 * H, 336 * H]
};

/// Judges `manifest`. `now` is unix time in seconds, `None` where no clock can be trusted: then
/// nothing that depends on time stands in the way, and expiry cannot be told.
#[must_use]
pub fn judge(manifest: &Verified<Manifest>, body: &Body, now: Option<u64>) -> Verdict {
    if let Some(failed) = body.failed_before(manifest.digest()) {
        if failed.fault != Fault::Exhausted {
            return Verdict::Refused(Objection::FailedBefore(failed.fault));
        }
        let wait = BACK_OFF_S[usize::from(failed.count.max(1) - 1).min(BACK_OFF_S.len() - 1)];
        // A loader has no clock: until somebody who has one notes the time, it failed just now.
        let failed_at = if failed.at == 0 { now.unwrap_or(0) } else { failed.at };
        let until = failed_at.saturating_add(wait);
        if now.is_some_and(|now| now < until) {
            return Verdict::Deferred(Deferral::BackOff { until });
        }
    }
    if manifest.not_after != 0
        && let Some(now) = now
        && now > manifest.not_after
    {
        return Verdict::Refused(Objection::Expired { not_after: manifest.not_after, now });
    }
    let until = body.hold.until;
    if until == u64::MAX || (until != 0 && now.is_some_and(|now| now < until)) {
        return Verdict::Deferred(Deferral::Hold { until });
    }
    Verdict::Proceed
}
