//! What was promised, what was observed, and whether the two are equal. Pure: counters in, a table
//! out.

use serde_json::{Value, json};

use super::timeline::{Style, count, size};

/// What the story counted. A promise whose scene was never reached is not kept.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Power cuts before a request did anything.
    pub cuts_before: u64,
    /// Power cuts in the middle of a write.
    pub cuts_inside: u64,
    /// Power cuts after a request, before its result was reported.
    pub cuts_after: u64,
    /// Power-ons after a cut that started a system.
    pub cuts_survived: u64,
    /// Power-ons that ran the old version while the update was incomplete.
    pub old_in_turn: u64,
    /// Power-ons that ran the new version once the update was complete.
    pub new_in_turn: u64,
    /// Power-ons that ran any other version than was due.
    pub out_of_turn: u64,
    /// Runs of the update, the first and those that went on.
    pub goes: u64,
    /// Bytes fetched for it altogether.
    pub fetched: u64,
    /// Bytes that it has.
    pub needed: u64,
    /// Most bytes that had to be fetched, given the cuts and what the drive may lose by each.
    pub fetched_max: u64,
    /// Whether the slot then held the same bytes as after an update without cuts, and everything but
    /// slot and record the same as before.
    pub same_as_uncut: Option<bool>,
    /// Systems that were started.
    pub started: u64,
    /// Of these, those whose every byte in memory was what had been packed.
    pub faithful: u64,
    /// Systems that were started on trial.
    pub trials: u64,
    /// Of these, those whose try stood on the disk at hand-over.
    pub trials_counted: u64,
    /// Tries that the sick version was given.
    pub sick_tries: u64,
    /// Tries that it was due.
    pub sick_tries_due: u64,
    /// Whether the version before it ran next.
    pub rolled_back: Option<bool>,
    /// Whether the record remembers it as exhausted.
    pub remembered: Option<bool>,
    /// Versions that reported health.
    pub healthy: u64,
    /// Of these, those that the next power-on started as good.
    pub committed: u64,
    /// Boots of a settled system.
    pub quiet_boots: u64,
    /// Changes of the disk that these asked for.
    pub quiet_changes: u64,
    /// Tampered bundles that were checked.
    pub tampered: u64,
    /// Of these, those that were refused.
    pub tampered_refused: u64,
    /// Tampered bundles that were streamed into an installation.
    pub tampered_installs: u64,
    /// Of these, those that were refused.
    pub tampered_installs_refused: u64,
    /// Intact bundles that are not for this device: other class, older, unknown keys.
    pub foreign: u64,
    /// Of these, those that were refused for the reason that was due.
    pub foreign_refused: u64,
    /// Refusals before the first write.
    pub early: u64,
    /// Of these, those that left every byte of the disk as it was.
    pub early_untouched: u64,
    /// Refusals in the middle of a bundle.
    pub late: u64,
    /// Of these, those that left everything but the target and the record as it was, and the
    /// running slot good.
    pub late_contained: u64,
    /// Whether the other slot ran when a bit of the active one was flipped on the disk.
    pub other_slot_ran: Option<bool>,
    /// Bytes of the repair that came from the bundle, and bytes that came from the disk.
    pub mend: Option<(u64, u64)>,
    /// Whether the slot then held what it had held before.
    pub mended: Option<bool>,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// What was promised.
    pub promised: &'static str,
    /// What was observed.
    pub observed: String,
    /// Whether that is what was promised.
    pub kept: bool,
}

impl Observed {
    /// All power cuts.
    pub fn cuts(&self) -> u64 {
        self.cuts_before + self.cuts_inside + self.cuts_after
    }

    /// The table.
    pub fn promises(&self) -> Vec<Promise> {
        [self.of_power_cuts(), self.of_starts(), self.of_refusals(), self.of_rot()].concat()
    }

    /// What holds where the power was cut.
    fn of_power_cuts(&self) -> Vec<Promise> {
        vec![
            row(
                "power lost at any instant: it still boots",
                format!(
                    "{}: {} before, {} inside, {} after a request; {}",
                    count(self.cuts(), "cut"),
                    self.cuts_before,
                    self.cuts_inside,
                    self.cuts_after,
                    count(self.cuts_survived, "boot"),
                ),
                all(self.cuts_survived, self.cuts()),
            ),
            row(
                "the old version until the update is whole, then the new",
                format!(
                    "old {}, new {}, out of turn {}",
                    self.old_in_turn, self.new_in_turn, self.out_of_turn
                ),
                self.old_in_turn > 0 && self.new_in_turn > 0 && self.out_of_turn == 0,
            ),
            row(
                "an update that was cut short goes on",
                format!(
                    "{} fetched for {} in {}",
                    size(self.fetched),
                    size(self.needed),
                    count(self.goes, "run"),
                ),
                self.goes > 1 && self.fetched <= self.fetched_max,
            ),
            row(
                "... and ends with the bytes of one that was not",
                said(self.same_as_uncut, "same slot, same everything else", "the disks differ"),
                self.same_as_uncut == Some(true),
            ),
        ]
    }

    /// What holds of the systems that were started.
    fn of_starts(&self) -> Vec<Promise> {
        vec![
            row(
                "only what was signed is started, every byte of it",
                format!("{} of {} starts compared equal", self.faithful, self.started),
                all(self.faithful, self.started),
            ),
            row(
                "a try is counted before it runs",
                format!("{} of {} trials were on the disk", self.trials_counted, self.trials),
                all(self.trials_counted, self.trials),
            ),
            row(
                "no sign of health: rolled back after its tries",
                format!(
                    "{} of {} tries, {}",
                    self.sick_tries,
                    self.sick_tries_due,
                    said(self.rolled_back, "then the version before", "but not rolled back"),
                ),
                all(self.sick_tries, self.sick_tries_due) && self.rolled_back == Some(true),
            ),
            row(
                "... and its failure is remembered",
                said(self.remembered, "in the record, as exhausted", "not in the record"),
                self.remembered == Some(true),
            ),
            row(
                "healthy: committed",
                format!("{} of {} ran again as good", self.committed, self.healthy),
                all(self.committed, self.healthy),
            ),
            row(
                "booting a settled system writes nothing",
                format!(
                    "{}, {}",
                    count(self.quiet_boots, "boot"),
                    count(self.quiet_changes, "write")
                ),
                self.quiet_boots > 0 && self.quiet_changes == 0,
            ),
        ]
    }

    /// What holds of the bundles that were refused.
    fn of_refusals(&self) -> Vec<Promise> {
        vec![
            row(
                "a tampered bundle is refused",
                format!(
                    "{} of {} checked, {} of {} streamed",
                    self.tampered_refused,
                    self.tampered,
                    self.tampered_installs_refused,
                    self.tampered_installs
                ),
                all(self.tampered_refused, self.tampered)
                    && all(self.tampered_installs_refused, self.tampered_installs),
            ),
            row(
                "another class, an older version, unknown keys: refused",
                format!("{} of {}", self.foreign_refused, self.foreign),
                all(self.foreign_refused, self.foreign),
            ),
            row(
                "refused before the first write: the disk is untouched",
                format!("{} of {} times", self.early_untouched, self.early),
                all(self.early_untouched, self.early),
            ),
            row(
                "refused later: only target and record were touched",
                format!("{} of {} times", self.late_contained, self.late),
                all(self.late_contained, self.late),
            ),
        ]
    }

    /// What holds where bytes of a slot have changed.
    fn of_rot(&self) -> Vec<Promise> {
        vec![
            row(
                "a bit rots in the active slot: the other one boots",
                said(self.other_slot_ran, "it did", "it did not"),
                self.other_slot_ran == Some(true),
            ),
            row(
                "... and the same update mends it",
                match self.mend {
                    Some((fetched, found)) => format!(
                        "{} from the bundle, {} from the disk; {}",
                        size(fetched),
                        size(found),
                        said(self.mended, "as before", "not as before"),
                    ),
                    None => NOT_REACHED.to_owned(),
                },
                self.mended == Some(true),
            ),
        ]
    }
}

/// One row of the table.
fn row(promised: &'static str, observed: String, kept: bool) -> Promise {
    Promise { promised, observed, kept }
}

/// Whether there was something, and `part` is all of it.
const fn all(part: u64, whole: u64) -> bool {
    whole > 0 && part == whole
}

const NOT_REACHED: &str = "not reached";

fn said(fact: Option<bool>, yes: &str, no: &str) -> String {
    match fact {
        Some(true) => yes,
        Some(false) => no,
        None => NOT_REACHED,
    }
    .to_owned()
}

/// Whether every promise was kept.
pub fn all_kept(promises: &[Promise]) -> bool {
    promises.iter().all(|promise| promise.kept)
}

/// The table as text.
pub fn table(promises: &[Promise], style: Style) -> String {
    const HEADINGS: [&str; 3] = ["promised", "observed", "kept?"];
    let width = |heading: &str, of: &dyn Fn(&Promise) -> usize| {
        promises.iter().map(of).chain([heading.len()]).max().unwrap_or(0)
    };
    let first = width(HEADINGS[0], &|promise| promise.promised.len());
    let second = width(HEADINGS[1], &|promise| promise.observed.len());
    let mut text = String::new();
    let heading = format!("{:first$}  {:second$}  {}", HEADINGS[0], HEADINGS[1], HEADINGS[2]);
    text.push_str(&style.bold(&heading));
    text.push('\n');
    for promise in promises {
        let verdict = style.verdict(promise.kept, if promise.kept { "yes" } else { "NO" });
        let (promised, observed) = (promise.promised, &promise.observed);
        text.push_str(&format!("{promised:first$}  {observed:second$}  {verdict}\n"));
    }
    text
}

/// The table as JSON.
pub fn to_json(promises: &[Promise]) -> Value {
    let row = |promise: &Promise| {
        json!({
            "promised": promise.promised,
            "observed": promise.observed,
            "kept": promise.kept,
        })
    };
    promises.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Observed {
        Observed {
            cuts_before: 1,
            cuts_inside: 2,
            cuts_after: 1,
            cuts_survived: 4,
            old_in_turn: 3,
            new_in_turn: 1,
            out_of_turn: 0,
            goes: 4,
            fetched: 150,
            needed: 100,
            fetched_max: 200,
            same_as_uncut: Some(true),
            started: 9,
            faithful: 9,
            trials: 4,
            trials_counted: 4,
            sick_tries: 3,
            sick_tries_due: 3,
            rolled_back: Some(true),
            remembered: Some(true),
            healthy: 2,
            committed: 2,
            quiet_boots: 3,
            quiet_changes: 0,
            tampered: 5,
            tampered_refused: 5,
            tampered_installs: 2,
            tampered_installs_refused: 2,
            foreign: 3,
            foreign_refused: 3,
            early: 4,
            early_untouched: 4,
            late: 1,
            late_contained: 1,
            other_slot_ran: Some(true),
            mend: Some((1, 10)),
            mended: Some(true),
        }
    }

    #[test]
    fn nothing_observed_is_nothing_kept() {
        assert!(Observed::default().promises().iter().all(|promise| !promise.kept));
    }

    #[test]
    fn each_counter_can_break_its_promise() {
        assert!(all_kept(&kept().promises()));
        let breaks: [fn(&mut Observed); 20] = [
            |o| o.cuts_survived -= 1,
            |o| o.out_of_turn = 1,
            |o| o.new_in_turn = 0,
            |o| o.fetched = 201,
            |o| o.same_as_uncut = Some(false),
            |o| o.faithful -= 1,
            |o| o.trials_counted -= 1,
            |o| o.sick_tries += 1,
            |o| o.rolled_back = None,
            |o| o.remembered = Some(false),
            |o| o.committed -= 1,
            |o| o.quiet_changes = 1,
            |o| o.tampered_refused -= 1,
            |o| o.tampered_installs_refused -= 1,
            |o| o.foreign_refused -= 1,
            |o| o.early_untouched -= 1,
            |o| o.late_contained -= 1,
            |o| o.other_slot_ran = Some(false),
            |o| o.mended = None,
            |o| o.mended = Some(false),
        ];
        for (number, break_one) in breaks.into_iter().enumerate() {
            let mut observed = kept();
            break_one(&mut observed);
            let broken = observed.promises().iter().filter(|promise| !promise.kept).count();
            assert_eq!(broken, 1, "number {number}");
        }
    }

    #[test]
    fn table_lines_up_and_names_what_broke() {
        let mut observed = kept();
        (observed.mend, observed.mended) = (None, None);
        let text = table(&observed.promises(), Style::plain());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + observed.promises().len());
        let column = lines[0].find("kept?").unwrap();
        assert!(lines[1..].iter().all(|line| ["yes", "NO"].contains(&&line[column..])), "{text}");
        assert!(
            lines.last().unwrap().ends_with("not reached                                   NO")
                || lines.last().unwrap().contains("not reached")
        );
        assert_eq!(to_json(&observed.promises())[0]["kept"], true);
    }
}
