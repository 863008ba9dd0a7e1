//! Requests of the running system or its operator on a walk, compared with the model.

use stillboot::check;
use stillboot::device::BlockDevice;
use stillboot::format::{Hold, Slot};
use stillboot::request::{Answer, Request, RequestError};
use stillboot::select::CandidateKind;
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};

use super::event::PowerLoss;
use super::walker::{Runs, Walker, broken, distinct};
use crate::oracle::{Broken, Promise};
use crate::words;

impl Walker<'_, '_> {
    pub(super) fn confirm(&mut self, runs: Runs, power: Option<PowerLoss>) -> Result<(), Broken> {
        let answer = self.perform(Request::MarkGood(runs.proof), power)?;
        if let Some(Ok(_)) = answer {
            self.counts.confirms += 1;
            if let Some(runs) = &mut self.running {
                runs.kind = CandidateKind::Good;
            }
        }
        Ok(())
    }

    pub(super) fn perform(
        &mut self,
        request: Request,
        power: Option<PowerLoss>,
    ) -> Result<Option<Result<Answer, RequestError>>, Broken> {
        let courses: Vec<_> = self.states.iter().map(|at| at.perform(request)).collect();
        let answer = self.run(power, |world| world.perform(request));
        let unflushed = self.disk().pending();
        self.end(power);
        self.tell(|| match &answer {
            Some(answer) => format!("  {}", words::request(&request, answer)),
            None => "  cut by the power".into(),
        });
        let Some(answer) = answer else {
            self.states = distinct(courses.into_iter().flat_map(|course| course.states));
            return Ok(None);
        };
        if !self.is_known() {
            return Ok(Some(answer));
        }
        if answer.is_ok() && unflushed > 0 {
            return broken(Promise::Confirmed, format!("{request:?} is done and not flushed"));
        }
        let right = courses.iter().filter(|course| course.answer == answer);
        let states = distinct(right.map(|course| course.end().clone()));
        if states.is_empty() {
            let expected: Vec<_> = courses.iter().map(|course| course.answer).collect();
            let how = format!("{request:?} answers {answer:?}, expected one of {expected:?}");
            return broken(Promise::Confirmed, how);
        }
        self.states = states;
        Ok(Some(answer))
    }

    pub(super) fn free(&mut self) -> Result<(), Broken> {
        for slot in [Slot::A, Slot::B] {
            self.perform(Request::HoldSlot(slot, false), None)?;
        }
        self.perform(Request::HoldUpdates(Hold::default()), None).map(|_| ())
    }

    pub(super) fn scrub(&mut self, slot: Slot) -> Result<(), Broken> {
        if !self.route.slots.contains(&slot) {
            return Ok(());
        }
        let is_whole = self.contents()[slot as usize].whole().is_some();
        let device = self.route.chain.publisher.device();
        let ground = self.route.ground.clone();
        let scrubbed = self.run(None, |world| {
            let slots = ground.slots();
            let layout = ground.layout(&slots).expect("the ground is sound");
            let mut buffer = vec![0; HEAD_LEN_MAX];
            let disk: &mut dyn BlockDevice = &mut world.disks[0];
            check::slot::<SoftSha256>(&device, &layout, slot, &mut [disk], &mut |_| {}, &mut buffer)
                .map(|_| ())
        });
        self.tell(|| match &scrubbed {
            Some(Ok(())) => "  the slot verifies".into(),
            Some(Err(reason)) => format!("  the slot does not verify: {reason}"),
            None => "  cut by the power".into(),
        });
        if self.is_known() && scrubbed.is_some_and(|result| result.is_ok() != is_whole) {
            let how = format!("slot {slot} is whole: {is_whole}; the scrub says {scrubbed:?}");
            return broken(Promise::Tried, how);
        }
        Ok(())
    }
}
