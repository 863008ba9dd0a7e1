//! The new bytes as runs that resemble old bytes, and bytes between them.
//!
//! The idea is that of bsdiff (Percival, "Naive differences of executable code", 2003): code that
//! moved keeps most of its bytes, and those that differ are addresses. So a match may hold
//! differences, as long as more than half of its bytes agree.

use std::ops::Range;

use super::matches::{Suffixes, common};

/// A run that goes on this long as it is needs no better match.
const LONG_ENOUGH: usize = 32;
/// A new match is worth an operation when it explains more bytes than this beyond the run at hand.
const WORTH: usize = 8;

/// New bytes that resemble old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where they start in the new bytes.
    pub new: usize,
    /// Where the old ones start.
    pub old: usize,
    /// How many there are.
    pub len: usize,
}

/// The runs of a section of `new`, in order and apart. `hint` is where the section is expected to
/// start among the old bytes.
pub fn runs(suffixes: &Suffixes<'_>, new: &[u8], section: Range<usize>, hint: usize) -> Vec<Run> {
    let new = &new[..section.end];
    let scan = Scan { suffixes, old: suffixes.old(), new, runs: Vec::new() };
    scan.all(Match { new: section.start, old: hint })
}

struct Scan<'a> {
    suffixes: &'a Suffixes<'a>,
    old: &'a [u8],
    new: &'a [u8],
    runs: Vec<Run>,
}

/// Where a match stands.
#[derive(Clone, Copy)]
struct Match {
    new: usize,
    old: usize,
}

impl Scan<'_> {
    fn all(mut self, mut present: Match) -> Vec<Run> {
        let mut at = present.new;
        while at < self.new.len() {
            let (next, len) = self.next_match(present, at);
            present = self.settle(present, next);
            at = next.new + len.max(1);
        }
        self.runs
    }

    /// Whether the byte at `at` is as the present match has it.
    fn agrees(&self, present: Match, at: usize) -> bool {
        self.old.get(present.old + (at - present.new)) == Some(&self.new[at])
    }

    /// The next match that explains clearly more than the present one, from `at` on, and its length;
    /// one of no length at the end of the new bytes.
    fn next_match(&self, present: Match, mut at: usize) -> (Match, usize) {
        let end = self.new.len();
        // How many bytes from `at` to `counted` the present match explains.
        let (mut explained, mut counted) = (0, at);
        while at < end {
            let aligned = self.old.get(present.old + (at - present.new)..).unwrap_or_default();
            let run = common(aligned, &self.new[at..]);
            if run >= LONG_ENOUGH {
                at += run;
                (explained, counted) = (0, at);
                continue;
            }
            let (old, len) = self.suffixes.longest(&self.new[at..]);
            while counted < at + len {
                explained += usize::from(self.agrees(present, counted));
                counted += 1;
            }
            if len == explained && len > 0 {
                // No better than the present one.
                at += len;
                (explained, counted) = (0, at);
                continue;
            }
            if len > explained + WORTH {
                return (Match { new: at, old }, len);
            }
            if counted > at {
                explained -= usize::from(self.agrees(present, at));
            }
            at += 1;
            counted = counted.max(at);
        }
        (Match { new: end, old: 0 }, 0)
    }

    /// Ends the present match where the next one begins, at the place where both together explain
    /// most. Returns the next one from there.
    fn settle(&mut self, present: Match, next: Match) -> Match {
        let gap = next.new - present.new;
        let forward_agrees = |i| Some(*self.old.get(present.old + i)? == self.new[present.new + i]);
        let backward_agrees = |i| {
            let old = next.old.checked_sub(i + 1)?;
            Some(self.old[old] == self.new[next.new - i - 1])
        };
        let mut forward = reach(gap, forward_agrees);
        let mut backward = 0;
        if next.new < self.new.len() {
            backward = reach(gap, backward_agrees);
        }
        if let Some(overlap) = (forward + backward).checked_sub(gap) {
            // Of the bytes that both explain, the first ones go to the present match.
            let start = forward - overlap;
            let (mut score, mut best, mut kept) = (0, 0, 0);
            for i in 0..overlap {
                score += i64::from(forward_agrees(start + i) == Some(true));
                score -= i64::from(backward_agrees(gap - start - i - 1) == Some(true));
                if score > best {
                    (best, kept) = (score, i + 1);
                }
            }
            forward = start + kept;
            backward = gap - forward;
        }
        if forward > 0 {
            self.runs.push(Run { new: present.new, old: present.old, len: forward });
        }
        Match { new: next.new - backward, old: next.old - backward }
    }
}

/// The length, at most `most`, over which agreeing bytes outnumber the others most.
fn reach(most: usize, agrees: impl Fn(usize) -> Option<bool>) -> usize {
    let (mut score, mut best, mut len) = (0, 0, 0);
    for i in 0..most {
        let Some(agrees) = agrees(i) else { break };
        score += if agrees { 1 } else { -1 };
        if score > best {
            (best, len) = (score, i + 1);
        }
    }
    len
}
