//! One point once more, told line by line.

use super::effort::Effort;
use super::faults::fault_named;
use super::job::Job;
use super::medium::media;
use super::point::{Point, row};
use super::recovery::redone;
use crate::oracle::Broken;
use crate::picture;
use crate::story::{Catalogue, Story};
use crate::words;

/// Runs one point again and tells what happens, line by line.
///
/// # Errors
/// What is wrong with the identity.
pub fn replay(catalogue: &Catalogue, stories: &[Story], id: &str) -> Result<Vec<String>, String> {
    let parts: Vec<&str> = id.split('/').collect();
    let [story, medium, rest @ ..] = &parts[..] else {
        return Err(format!("{id:?} is not story/medium/step.change/cut"));
    };
    let story = stories.iter().find(|found| found.name == *story);
    let story = story.ok_or_else(|| format!("there is no story {:?}", parts[0]))?;
    let medium = media().into_iter().find(|found| found.name == *medium);
    let medium = medium.ok_or_else(|| format!("there is no medium {:?}", parts[1]))?;
    let mut job = Job::new(catalogue, story, medium, Effort::QUICK);
    job.trace = Some(Vec::new());
    let before: Vec<_> =
        story.before.iter().map(|step| picture::title(*step, &catalogue.releases)).collect();
    job.tell(|| match before.is_empty() {
        true => "before the story: a blank disk".into(),
        false => format!("before the story: {}", before.join(", ")),
    });
    let result = job.replay(rest)?;
    job.tell(|| match result {
        Ok(()) => "every promise holds".into(),
        Err(broken) => format!("BROKEN {}: {}", broken.promise.heading(), broken.how),
    });
    Ok(job.trace.unwrap_or_default())
}

impl Job<'_> {
    fn replay(&mut self, parts: &[&str]) -> Result<Result<(), Broken>, String> {
        let place = |text: &str, prefix: char| -> Option<(usize, Option<usize>)> {
            let text = text.strip_prefix(prefix)?;
            match text.split_once('.') {
                Some((step, op)) => Some((step.parse().ok()?, Some(op.parse().ok()?))),
                None => Some((text.parse().ok()?, None)),
            }
        };
        let bad = |part: &str| format!("{part:?} is not a place in this story");
        let mut at = match self.before() {
            Ok(at) => at,
            Err(broken) => return Ok(Err(broken)),
        };
        let Some(first) = parts.first().filter(|part| **part != "undisturbed") else {
            return Ok(Ok(()));
        };
        let (index, op) = place(first, 's').ok_or_else(|| bad(first))?;
        let plain = self.promises("power cut before or after a request");
        self.tell(|| "the story begins".into());
        for step in self.story.steps.clone().into_iter().take(index) {
            if let Err(broken) = self.step(&mut at, step, plain, None) {
                return Ok(Err(broken));
            }
        }
        let step = *self.story.steps.get(index).ok_or_else(|| bad(first))?;
        let (Some(op), Some(cut)) = (op, parts.get(1)) else {
            if let Some(text) = parts.get(1) {
                let fault = fault_named(text).ok_or_else(|| bad(text))?;
                self.tell(|| format!("{step}, in which {}", words::fault(fault)));
                return Ok(self.fault(&at, step, fault));
            }
            return Ok(self.step(&mut at, step, plain, None));
        };
        let start = at.clone();
        let mut instants = Vec::new();
        let _ = self.step(&mut at, step, plain, Some(&mut instants));
        let during = self.during(&start, step);
        let instant = instants.get(op).ok_or_else(|| bad(first))?;
        let point: Point = cut.parse()?;
        self.tell(|| {
            format!("instead, cut {point} at change {op}: {}", words::change(&instant.act))
        });
        let promises = self.promises(row(&instant.act, point));
        let after = self.cut(&during, instant, point);
        let (Some(second), Some(cut)) = (parts.get(2), parts.get(3)) else {
            return Ok(self.recover(after, redone(step), promises));
        };
        let stage = second.chars().next().ok_or_else(|| bad(second))?;
        let op: usize = second[1..].trim_start_matches('.').parse().map_err(|_| bad(second))?;
        let (stages, _) = self.stages(&after, step, promises);
        let (_, during, instants) =
            stages.into_iter().find(|found| found.0 == stage).ok_or_else(|| bad(second))?;
        let instant = instants.get(op).ok_or_else(|| bad(second))?;
        let point: Point = cut.parse()?;
        self.tell(|| format!("then cut {point} at change {op}: {}", words::change(&instant.act)));
        let promises = self.promises(row(&instant.act, point));
        let after = self.cut(&during, instant, point);
        Ok(self.recover(after, redone(step), promises))
    }
}
