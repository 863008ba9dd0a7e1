//! Text as the page prints it.

use crate::picture::CutOutcome;

pub(super) const fn class_of(came: CutOutcome) -> &'static str {
    match came {
        CutOutcome::Old => "o",
        CutOutcome::New => "w",
        CutOutcome::Recovery => "r",
        CutOutcome::Nothing => "e",
        CutOutcome::Broken => "b",
    }
}

pub(super) const fn meaning(came: CutOutcome) -> &'static str {
    match came {
        CutOutcome::Old => "the old version",
        CutOutcome::New => "the new version",
        CutOutcome::Recovery => "recovery",
        CutOutcome::Nothing => "nothing was whole yet",
        CutOutcome::Broken => "broken",
    }
}

/// With thin spaces between thousands.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The share of the whole, never 0 for a count above 0.
pub(super) fn permille(count: u64, all: u64) -> u64 {
    (count * 1000 / all.max(1)).max(1)
}

pub(super) fn percent(count: u64, all: u64) -> String {
    match (count, count as f64 * 100.0 / all.max(1) as f64) {
        (0, _) => String::new(),
        (_, share) if share < 0.1 => "under 0.1 %".into(),
        (_, share) => format!("{share:.1} %"),
    }
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
