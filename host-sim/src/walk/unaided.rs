//! The next update without help.

use stillboot::format::SlotKind;
use stillboot::select::CandidateKind;

use super::route::SOUND;
use super::walker::{Walker, broken};
use crate::oracle::{Broken, Promise};

impl Walker<'_, '_> {
    /// The next update succeeds without help, except for giving free what is held.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        if !self.is_known() || self.fault_lasts > 0 {
            return Ok(());
        }
        self.power_on(false, None)?;
        if let Some(runs) = self.running
            && runs.proof.slot.kind() == SlotKind::Update
        {
            self.confirm(runs, None)?;
        }
        self.free()?;
        let release = self.next_release();
        let slot = match self.install(release, None, false, true, None)? {
            Some(Ok(slot)) => slot,
            answer => {
                return broken(Promise::NextUpdate, format!("the next update fails: {answer:?}"));
            }
        };
        self.power_on(false, None)?;
        let runs = |walker: &Self| walker.running.map(|runs| (runs.proof.slot, runs.kind));
        if runs(self) != Some((slot, CandidateKind::Trial)) {
            let how = format!("{:?} starts instead of the next update", runs(self));
            return broken(Promise::NextUpdate, how);
        }
        if let Some(runs) = self.running {
            self.confirm(runs, None)?;
        }
        self.power_on(false, None)?;
        if runs(self) != Some((slot, CandidateKind::Good)) {
            let how = format!("{:?} starts instead of the confirmed update", runs(self));
            return broken(Promise::NextUpdate, how);
        }
        self.counts.checks += 1;
        Ok(())
    }

    pub(super) fn mend(&mut self) -> Result<(), Broken> {
        self.suffer(SOUND);
        if self.is_known() {
            return Ok(());
        }
        self.tell(|| "the fault is over".into());
        if !self.update_unaided()? {
            self.counts.helped += 1;
            self.tell(|| "the next update did not succeed by itself".into());
        }
        self.tell(|| "a technician wipes all copies of the record".into());
        self.faults.clear();
        self.lose_record();
        Ok(())
    }

    /// An update after a fault.
    fn update_unaided(&mut self) -> Result<bool, Broken> {
        self.power_on(false, None)?;
        if let Some(runs) = self.running {
            self.confirm(runs, None)?;
        }
        self.free()?;
        let release = self.next_release();
        let Some(Ok(slot)) = self.install(release, None, false, true, None)? else {
            return Ok(false);
        };
        self.power_on(false, None)?;
        let Some(runs) = self.running.filter(|runs| runs.proof.slot == slot) else {
            return Ok(false);
        };
        self.confirm(runs, None)?;
        self.power_on(false, None)?;
        Ok(self
            .running
            .is_some_and(|runs| (runs.proof.slot, runs.kind) == (slot, CandidateKind::Good)))
    }
}
