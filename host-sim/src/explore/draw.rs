//! How the outcome of a cut is drawn in the picture of a report.

use stillboot::format::SlotKind;

use super::job::Job;
use super::point::{Loss, Point, row};
use crate::disk::{Cut, Tear};
use crate::engine::MachineRequest;
use crate::oracle::{Broken, Set};
use crate::picture::{CutOutcome, Lost, Way};

impl Job<'_> {
    /// Notes how a first cut came out, for the picture.
    pub(super) fn draw(
        &mut self,
        act: &MachineRequest,
        point: Point,
        old: Set,
        result: &Result<(), Broken>,
    ) {
        self.tally(row(act, point), result);
        let Some(picture) = &mut self.picture else { return };
        let came = match (result, self.started_last) {
            (Err(_), _) => CutOutcome::Broken,
            (Ok(()), None) => CutOutcome::Nothing,
            // Also as a last resort, before the record knows of it.
            (Ok(()), Some((Some(name), _)))
                if self.known.releases[name].kind == SlotKind::Recovery =>
            {
                CutOutcome::Recovery
            }
            (Ok(()), Some((Some(name), _))) if old & (1 << name) != 0 => CutOutcome::Old,
            (Ok(()), Some(_)) => CutOutcome::New,
        };
        let (way, bytes) = match point.cut {
            Cut::Before => (Way::Before, 0),
            Cut::After => (Way::After, 0),
            Cut::Torn(Tear::Prefix(bytes)) => (Way::Prefix, bytes),
            Cut::Torn(Tear::Suffix(bytes)) => (Way::Suffix, bytes),
            Cut::Torn(Tear::Mixed(seed)) => (Way::Mixed, seed),
        };
        let lost = match point.loss {
            Loss::Nothing => Lost::Nothing,
            Loss::All => Lost::All,
            Loss::Newest(_) | Loss::Only(_) | Loss::Random(_) => Lost::Some,
        };
        picture.mark(lost, way, bytes, came);
        if came == CutOutcome::Broken {
            picture.broke(point.to_string());
        }
    }
}
