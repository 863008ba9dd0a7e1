//! What is promised under which fault: the table of `docs/DESIGN.md`.

use std::collections::BTreeMap;

/// The document with the table.
const DESIGN: &str = include_str!("../../DESIGN.md");

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Some verified slot boots whenever one is intact.
    Boots,
    /// Nothing unverified, of another class or below the floor runs.
    OnlyVerified,
    /// An unconfirmed slot never runs more than its tries.
    Tries,
    /// A confirmed update is never lost.
    Confirmed,
    /// The bytes of the running slot do not change.
    RunningSlot,
    /// The next update succeeds without help.
    NextUpdate,
    /// All copies of the record are never lost at once.
    Record,
    /// What an installation reports as done is whole on the device.
    Installed,
    /// What a power-on tries as an update or as good is whole.
    Tried,
}

impl Promise {
    /// All, in the order of the table's columns.
    pub const ALL: [Self; 9] = [
        Self::Boots,
        Self::OnlyVerified,
        Self::Tries,
        Self::Confirmed,
        Self::RunningSlot,
        Self::NextUpdate,
        Self::Record,
        Self::Installed,
        Self::Tried,
    ];

    /// The heading of its column.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::OnlyVerified => "only verified",
            Self::Tries => "tries",
            Self::Confirmed => "confirmed",
            Self::RunningSlot => "running slot",
            Self::NextUpdate => "next update",
            Self::Record => "record",
            Self::Installed => "installed",
            Self::Tried => "tried",
        }
    }
}

/// The promises that hold under one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises(pub(super) [bool; Promise::ALL.len()]);

impl Promises {
    /// Whether this one holds.
    #[must_use]
    pub const fn hold(self, promise: Promise) -> bool {
        self.0[promise as usize]
    }

    /// The same except for one.
    #[must_use]
    pub const fn without(mut self, promise: Promise) -> Self {
        self.0[promise as usize] = false;
        self
    }
}

/// The table of `docs/DESIGN.md`: what holds, by the name of the fault.
///
/// # Panics
/// If the table is missing or not as this expects it: then nothing would be checked.
#[must_use]
pub fn table() -> BTreeMap<&'static str, Promises> {
    let (_, section) =
        DESIGN.split_once("## Faults and what holds under them").expect("the section is there");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let expected: Vec<&str> =
        std::iter::once("fault").chain(Promise::ALL.map(Promise::heading)).collect();
    assert_eq!(rows[0], expected, "the table's headings");
    let cell = |text: &str| match text {
        "holds" => true,
        "–" => false,
        other => panic!("the table says {other:?}"),
    };
    let rows = rows.iter().skip(2);
    rows.map(|row| {
        assert_eq!(row.len(), 1 + Promise::ALL.len(), "{row:?}");
        let mut promises = [false; Promise::ALL.len()];
        for (promise, text) in promises.iter_mut().zip(&row[1..]) {
            *promise = cell(text);
        }
        (row[0], Promises(promises))
    })
    .collect()
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How.
    pub how: String,
}
