//! How thoroughly stories are explored.

/// How thoroughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Most places within one request at which it is torn, from either end; `usize::MAX` for every
    /// boundary of granules and the inside of every granule.
    pub tears: usize,
    /// After one of how many torn requests what was interrupted is done again as well; 1 for all.
    /// After a cut before or after a request it always is.
    pub redo_every: usize,
    /// Of how many cuts before and after a request the recovery is cut as well, at every request;
    /// 0 for none, 1 for all.
    pub second_every: usize,
    /// The same for cuts inside a request.
    pub second_torn_every: usize,
    /// As `tears`, for the second cut.
    pub second_tears: usize,
    /// As `redo_every`, after the second cut: one of how many of those inside one request.
    pub second_redo_every: usize,
    /// Of how many requests of the faulty device one fails; 0 for none, 1 for all.
    pub fault_every: u64,
    /// How earlier results of the core are used.
    pub memory: Memory,
    /// Whether [`Summary::pictures`](super::Summary::pictures) is filled.
    pub draws: bool,
}

/// How earlier results of the core are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Wherever it can be.
    Used,
    /// The same, and every outcome goes into [`SweepCounts::outcomes`](super::SweepCounts::outcomes).
    Compared,
    /// Not at all: the core computes everything, and every outcome is noted. Slow.
    Unused,
}

impl Effort {
    /// For the test command.
    pub const QUICK: Self = Self {
        tears: 64,
        redo_every: 1,
        second_every: 250,
        second_torn_every: 1000,
        second_tears: 3,
        second_redo_every: 1,
        fault_every: 5,
        memory: Memory::Used,
        draws: false,
    };
    /// For the proof: every first cut there is, and after each of them second ones at every request
    /// of the recovery, torn at a few places.
    pub const PROVE: Self = Self {
        tears: usize::MAX,
        redo_every: 1,
        second_every: 1,
        second_torn_every: 1,
        second_tears: 4,
        // No divisor of the number of ways in which a cache loses what it holds, nor of two: so
        // all of them have their turn.
        second_redo_every: 5,
        fault_every: 1,
        memory: Memory::Used,
        draws: false,
    };
}
