//! Who looks on while stories are explored.

use super::summary::Summary;

/// Looks on while stories are explored; called from all threads. A job is one story on one medium.
pub trait Observer: Sync {
    /// So many jobs are about to be done, and so many first cuts are in them.
    fn planned(&self, _jobs: usize, _first_cuts: u64) {}
    /// What an earlier call came to with the same code, effort and job: then it is not done again.
    fn known(&self, _job: &str) -> Option<Summary> {
        None
    }
    /// So many more points are done, of which so many are first cuts.
    fn points(&self, _points: u64, _first_cuts: u64) {}
    /// A job is done to its end, and was not known.
    fn done(&self, _job: &str, _summary: &Summary) {}
    /// Whether to stop at the next point. What was begun and is not done then counts for nothing.
    fn is_stopped(&self) -> bool {
        false
    }
}

pub(super) struct NoObserver;

impl Observer for NoObserver {}
