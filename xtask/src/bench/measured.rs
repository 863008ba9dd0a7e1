//! What an installation is compared with, and what was measured.

use anyhow::Result;

use super::cost::Cost;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Floor,
    OpenSsl,
    Dd,
    Stream,
    File,
    Pipe,
    Zstd,
    Reuse,
    Rauc,
    SwUpdate,
    Casync,
}

impl Case {
    pub(super) const ALL: [Self; 11] = [
        Self::Floor,
        Self::OpenSsl,
        Self::Dd,
        Self::Stream,
        Self::File,
        Self::Pipe,
        Self::Zstd,
        Self::Reuse,
        Self::Rauc,
        Self::SwUpdate,
        Self::Casync,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: hash, write, flush, read back, two threads, direct",
            Self::OpenSsl => "`openssl dgst -sha256`, reads only",
            Self::Dd => "`dd bs=1M conv=fsync`, no hash",
            Self::Stream => "`stillboot install FILE --stream`",
            Self::File => "`stillboot install FILE`, verified before the first write",
            Self::Pipe => "`stillboot install -`, from a pipe",
            Self::Zstd => "`stillboot install FILE.sbz --stream`, zstd, half the bytes",
            Self::Reuse => "`stillboot install FILE --stream --reuse`, 5 % changed",
            Self::Rauc => "RAUC, `plain`, no read-back",
            Self::SwUpdate => "SWUpdate, `installed-directly`, and `sync`, no read-back",
            Self::Casync => "casync, local chunks, no signature, and `sync`, no read-back",
        }
    }
}

/// What was measured for one size, in the order of [`Case::ALL`]: medians, or why there are none.
pub(super) struct Measured {
    pub(super) mib: u64,
    pub(super) costs: Vec<Result<Cost, String>>,
}

impl Measured {
    pub(super) fn of(&self, case: Case) -> Option<Cost> {
        let at = Case::ALL.iter().position(|other| *other == case)?;
        self.costs[at].as_ref().ok().copied()
    }
}
