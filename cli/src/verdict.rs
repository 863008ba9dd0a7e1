//! What the policy says of an update, for people and scripts.

use serde_json::{Value, json};
use stillboot_policy::{Deferral, Objection, Verdict};

use crate::failure::{Exit, Failure};
use crate::time;

/// What the policy said, with its reason; `None` if it lets the update in.
pub fn failure(verdict: Verdict) -> Option<Failure> {
    let (failure, advice) = match verdict {
        Verdict::Proceed => return None,
        Verdict::Deferred(why) => {
            let (kind, advice) = deferral_kind(&why);
            let words = format!("deferred: {}", deferral(&why));
            let mut failure = Failure::new(Exit::Deferred, kind, words);
            failure.details = Some(retry(&why));
            (failure, advice)
        }
        Verdict::Refused(why) => {
            let (kind, advice) = objection_kind(&why);
            let words = format!("refused: {}", objection(&why));
            (Failure::new(Exit::Refused, kind, words), advice)
        }
    };
    Some(if advice.is_empty() { failure } else { failure.also(advice) })
}

fn deferral_kind(deferral: &Deferral) -> (&'static str, &'static str) {
    match deferral {
        Deferral::Hold { .. } => ("hold", "`stillboot unhold` ends it"),
        Deferral::BackOff { .. } => ("back-off", ""),
        Deferral::Window { .. } => ("window", ""),
        Deferral::Rollout { .. } => ("rollout", ""),
        Deferral::NotApproved => ("not-approved", ""),
        Deferral::ClockNotTrusted => ("clock", ""),
        Deferral::NoIdentity => ("no-identity", "--device-id gives it one"),
        Deferral::StatementExpired { .. } => ("statement-expired", LATEST_STATEMENTS),
        Deferral::StatementMissing { .. } => ("statement-missing", LATEST_STATEMENTS),
        _ => ("deferred", ""),
    }
}

const LATEST_STATEMENTS: &str = "fetch the latest statements again, or ask who signs them";

fn objection_kind(objection: &Objection) -> (&'static str, &'static str) {
    match objection {
        Objection::FailedBefore(_) => (
            "failed-before",
            "take another release; `stillboot forget` lets this one be installed again",
        ),
        Objection::Channel(_) => {
            ("channel", "--channel or the policy file says which channel this device follows")
        }
        Objection::Version(_) => {
            ("version", "--versions or the policy file says which versions this device takes")
        }
        Objection::TooOld { .. } | Objection::NotComparable { .. } => ("min-from", ""),
        Objection::Expired { .. } => ("expired", "take a newer release"),
        _ => ("refused", ""),
    }
}

/// Why an update has to wait, for people.
pub fn deferral(deferral: &Deferral) -> String {
    match deferral {
        Deferral::Hold { until } if *until != u64::MAX => {
            format!("updates are on hold until {}", time::show(*until))
        }
        Deferral::BackOff { until } => format!(
            "this update failed here before; it may be tried again at {}",
            time::show(*until)
        ),
        Deferral::Window { opens_at } => {
            format!("no maintenance window is open; the next opens at {}", time::show(*opens_at))
        }
        Deferral::StatementExpired { kind, number, not_after } => format!(
            "the latest {kind} statement about it, number {number}, expired on {}; a later one is \
             needed",
            time::show(*not_after)
        ),
        deferral => deferral.to_string(),
    }
}

/// When to ask again, for scripts.
pub fn retry(deferral: &Deferral) -> Value {
    let at = deferral.retry_at();
    json!({ "retry_at": at, "retry_at_time": at.map_or(Value::Null, time::rfc3339) })
}

/// Why an update is not accepted, for people.
pub fn objection(objection: &Objection) -> String {
    match objection {
        Objection::Expired { not_after, now } => format!(
            "it expired: it may be installed until {}, now is {}",
            time::show(*not_after),
            time::show(*now)
        ),
        objection => objection.to_string(),
    }
}
