//! A floor that does not fall when an old copy of its flash chip is written back. It is kept in a
//! variable, together with the count of a TPM's counter, which only ever rises.
//!
//! The running system cannot write a variable of the firmware. An attacker who can write the flash
//! chip can still write an old variable back. Then its count is below the counter, and the store
//! fails: nothing new is tried or installed, and good slots start.
//!
//! ```text
//! first raise   define the counter | write floor and count | seal: from now on both must be there
//! raise         write floor and count + 1 | increment
//! ```
//!
//! Power may fail between any two of these. A count that is one ahead of the counter is a raise that
//! was cut: the floor counts, and the counter is brought after it at the next look.
//!
//! A counter that is not there was cleared with the TPM, by its owner. The floor of the variable
//! counts then, and is bound to a new counter: a device that lost its TPM's memory must go on. So is
//! the floor of a loader that kept it in a variable alone.
//!
//! This stops an old copy of the chip. An attacker who can write any bytes to the chip can write a
//! lower floor with the present count: nothing in the variable is secret.

use stillboot::driver::{RollbackStore, StoreError};
use stillboot::format::{Floor, SlotKind};

/// A floor and the count that it was stored at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counted {
    /// The floor.
    pub floor: Floor,
    /// The count.
    pub count: u64,
}

/// What keeps a floor and its count.
pub trait Cell {
    /// What is kept, `None` if nothing ever was.
    ///
    /// # Errors
    /// It cannot be found out.
    fn read(&mut self, kind: SlotKind) -> Result<Option<Counted>, StoreError>;

    /// A floor that was kept before there was a counter.
    ///
    /// # Errors
    /// It cannot be found out.
    fn uncounted(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError>;

    /// Whether a write would have room.
    ///
    /// # Errors
    /// It would not.
    fn probe(&mut self, kind: SlotKind) -> Result<(), StoreError>;

    /// Replaces what is kept, in one step.
    ///
    /// # Errors
    /// What was kept is kept.
    fn write(&mut self, kind: SlotKind, value: Counted) -> Result<(), StoreError>;
}

/// How a counter stands.
///
/// No more variants come: whether a floor counts is decided by which of these it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// There is none.
    Absent,
    /// There is one, and what it counts may not be stored yet.
    Open(u64),
    /// There is one, and what it counts is stored.
    Sealed(u64),
}

/// A counter that never goes back, of each kind of slots.
pub trait Counter {
    /// The state of the counter.
    ///
    /// # Errors
    /// It cannot be found out.
    fn state(&mut self, kind: SlotKind) -> Result<State, StoreError>;

    /// Makes one, at a count that it chooses. Only where there is none.
    ///
    /// # Errors
    /// It could not be made.
    fn define(&mut self, kind: SlotKind) -> Result<(), StoreError>;

    /// Notes that what it counts is stored.
    ///
    /// # Errors
    /// It is as open as before.
    fn seal(&mut self, kind: SlotKind) -> Result<(), StoreError>;

    /// Counts one.
    ///
    /// # Errors
    /// It stands where it was.
    fn increment(&mut self, kind: SlotKind) -> Result<(), StoreError>;
}

/// The store.
#[derive(Clone, Copy, Debug)]
pub struct CountedStore<K, C> {
    cell: K,
    counter: C,
}

impl<K: Cell, C: Counter> CountedStore<K, C> {
    /// A store over both.
    pub const fn new(cell: K, counter: C) -> Self {
        Self { cell, counter }
    }

    /// Binds a floor to the counter, new or not yet sealed.
    fn bind(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        if self.counter.state(kind)? == State::Absent {
            self.counter.define(kind)?;
        }
        match self.counter.state(kind)? {
            State::Open(count) => {
                self.cell.write(kind, Counted { floor, count })?;
                self.counter.seal(kind)
            }
            State::Absent | State::Sealed(_) => Err(StoreError),
        }
    }
}

impl<K: Cell, C: Counter> RollbackStore for CountedStore<K, C> {
    fn read(&mut self, kind: SlotKind) -> Result<Option<Floor>, StoreError> {
        let (kept, state) = (self.cell.read(kind)?, self.counter.state(kind)?);
        match (kept, state) {
            (kept, State::Absent | State::Open(_)) => {
                let floor = match kept {
                    Some(kept) => Some(kept.floor),
                    None => self.cell.uncounted(kind)?,
                };
                if let Some(floor) = floor {
                    // If that fails, the floor counts as before and the next read tries again.
                    let _ = self.bind(kind, floor);
                }
                Ok(floor)
            }
            (Some(kept), State::Sealed(count)) if kept.count == count => Ok(Some(kept.floor)),
            (Some(kept), State::Sealed(count)) if count.checked_add(1) == Some(kept.count) => {
                let _ = self.counter.increment(kind);
                Ok(Some(kept.floor))
            }
            // The variable is older than the counter, is gone, or is of another TPM.
            (_, State::Sealed(_)) => Err(StoreError),
        }
    }

    fn probe(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        if self.read(kind)?.is_some_and(|kept| kept >= floor) {
            return Ok(());
        }
        self.cell.probe(kind)
    }

    fn raise(&mut self, kind: SlotKind, floor: Floor) -> Result<(), StoreError> {
        if self.read(kind)?.is_some_and(|kept| kept >= floor) {
            return Ok(());
        }
        match self.counter.state(kind)? {
            State::Absent | State::Open(_) => self.bind(kind, floor)?,
            State::Sealed(count) => {
                // A raise that was cut is over by now, or its count would be used twice.
                if self.cell.read(kind)?.map(|kept| kept.count) != Some(count) {
                    return Err(StoreError);
                }
                let count = count.checked_add(1).ok_or(StoreError)?;
                self.cell.write(kind, Counted { floor, count })?;
                // The floor is stored; the next read shows whether the counter has it as well.
                let _ = self.counter.increment(kind);
            }
        }
        if self.read(kind)? == Some(floor) { Ok(()) } else { Err(StoreError) }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const KIND: SlotKind = SlotKind::Update;

    fn floor(level: u32) -> Floor {
        Floor { keyset_version: 1, level }
    }

    /// Flash and TPM of a machine; the power fails before the operation of that number.
    #[derive(Clone, Debug)]
    struct Machine {
        kept: Option<Counted>,
        uncounted: Option<Floor>,
        state: State,
        /// The highest count of any counter that ever was: a new one begins above.
        highest: u64,
        left: u32,
        /// The operation of that number fails, and those after it succeed.
        fails: u32,
        /// Everything that is asked of the TPM fails.
        is_dead: bool,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                kept: None,
                uncounted: None,
                state: State::Absent,
                highest: 4,
                left: u32::MAX,
                fails: u32::MAX,
                is_dead: false,
            }
        }

        fn step(&mut self) -> Result<(), StoreError> {
            self.left = self.left.checked_sub(1).ok_or(StoreError)?;
            let fails = self.fails == 0;
            self.fails = self.fails.wrapping_sub(1);
            if fails { Err(StoreError) } else { Ok(()) }
        }

        fn store(&mut self) -> CountedStore<Shared<'_>, Shared<'_>> {
            let shared = Shared(core::cell::Cell::from_mut(self));
            CountedStore::new(shared, shared)
        }
    }

    #[derive(Clone, Copy)]
    struct Shared<'a>(&'a core::cell::Cell<Machine>);

    impl Shared<'_> {
        fn with<T>(&self, work: impl FnOnce(&mut Machine) -> T) -> T {
            let mut machine = self.0.replace(Machine::new());
            let result = work(&mut machine);
            self.0.set(machine);
            result
        }
    }

    impl Cell for Shared<'_> {
        fn read(&mut self, _: SlotKind) -> Result<Option<Counted>, StoreError> {
            self.with(|machine| Ok(machine.kept))
        }
        fn uncounted(&mut self, _: SlotKind) -> Result<Option<Floor>, StoreError> {
            self.with(|machine| Ok(machine.uncounted))
        }
        fn probe(&mut self, _: SlotKind) -> Result<(), StoreError> {
            Ok(())
        }
        fn write(&mut self, _: SlotKind, value: Counted) -> Result<(), StoreError> {
            self.with(|machine| {
                machine.step()?;
                machine.kept = Some(value);
                Ok(())
            })
        }
    }

    impl Counter for Shared<'_> {
        fn state(&mut self, _: SlotKind) -> Result<State, StoreError> {
            self.with(|machine| if machine.is_dead { Err(StoreError) } else { Ok(machine.state) })
        }
        fn define(&mut self, _: SlotKind) -> Result<(), StoreError> {
            self.with(|machine| {
                machine.step()?;
                assert_eq!(machine.state, State::Absent);
                machine.highest += 1;
                machine.state = State::Open(machine.highest);
                Ok(())
            })
        }
        fn seal(&mut self, _: SlotKind) -> Result<(), StoreError> {
            self.with(|machine| {
                machine.step()?;
                let State::Open(count) = machine.state else { panic!("{:?}", machine.state) };
                machine.state = State::Sealed(count);
                Ok(())
            })
        }
        fn increment(&mut self, _: SlotKind) -> Result<(), StoreError> {
            self.with(|machine| {
                machine.step()?;
                let State::Sealed(count) = machine.state else { panic!("{:?}", machine.state) };
                machine.highest = machine.highest.max(count + 1);
                machine.state = State::Sealed(count + 1);
                Ok(())
            })
        }
    }

    #[test]
    fn a_floor_rises_and_stays() {
        let mut machine = Machine::new();
        assert_eq!(machine.store().read(KIND), Ok(None));
        for level in [1, 2, 7] {
            machine.store().raise(KIND, floor(level)).unwrap();
            assert_eq!(machine.store().read(KIND), Ok(Some(floor(level))));
            // Less is no raise, and writes nothing.
            let before = machine.clone();
            machine.store().raise(KIND, floor(1)).unwrap();
            assert_eq!((machine.kept, machine.state), (before.kept, before.state));
        }
        assert_eq!(machine.state, State::Sealed(7));
    }

    /// At every instant of three raises: the floor is the old or the new one, and the next raise
    /// succeeds.
    #[test]
    fn a_cut_at_any_step_leaves_the_old_floor_or_the_new_one() {
        let mut cuts = 0;
        for first in 0..12 {
            for second in 0..12 {
                let mut machine = Machine::new();
                let mut sure = None;
                for (level, left) in [(1, first), (2, second), (3, u32::MAX)] {
                    machine.left = left;
                    match machine.store().raise(KIND, floor(level)) {
                        Ok(()) => sure = Some(floor(level)),
                        Err(_) => cuts += 1,
                    }
                    machine.left = u32::MAX;
                    let read = machine.store().read(KIND).unwrap();
                    assert!(
                        read >= sure && read <= Some(floor(level)),
                        "{first} {second}: {read:?}"
                    );
                    sure = read;
                }
                assert_eq!(machine.store().read(KIND), Ok(Some(floor(3))));
            }
        }
        assert!(cuts > 50, "{cuts}");
    }

    /// A TPM or a flash chip that fails at one thing, while everything after it works.
    #[test]
    fn a_single_failure_leaves_the_old_floor_or_the_new_one() {
        let mut failures = 0;
        for number in 0..12 {
            let mut machine = Machine::new();
            machine.fails = number;
            let mut sure = None;
            for level in [1, 2, 3, 4] {
                match machine.store().raise(KIND, floor(level)) {
                    Ok(()) => sure = Some(floor(level)),
                    Err(_) => failures += 1,
                }
                let read = machine.store().read(KIND).unwrap();
                assert!(read >= sure && read <= Some(floor(level)), "{number}: {read:?}");
                sure = read;
            }
            // However it went, it counts: what was kept before is noticed.
            let old = machine.kept;
            machine.fails = u32::MAX;
            machine.store().raise(KIND, floor(5)).unwrap();
            assert_eq!(machine.store().read(KIND), Ok(Some(floor(5))), "{number}");
            machine.kept = old;
            assert_eq!(machine.store().read(KIND), Err(StoreError), "{number}");
        }
        assert!(failures >= 5, "{failures}");
    }

    #[test]
    fn an_old_flash_chip_is_noticed() {
        let mut machine = Machine::new();
        let mut old = Vec::from([None]);
        for level in 1..5 {
            machine.store().raise(KIND, floor(level)).unwrap();
            old.push(machine.kept);
        }
        old.pop();
        for old in old {
            let mut machine = Machine { kept: old, ..machine.clone() };
            let before = machine.clone();
            assert_eq!(machine.store().read(KIND), Err(StoreError), "{old:?}");
            assert_eq!(machine.store().probe(KIND, floor(9)), Err(StoreError));
            assert_eq!(machine.store().raise(KIND, floor(9)), Err(StoreError));
            assert_eq!((machine.kept, machine.state), (before.kept, before.state));
        }
    }

    /// Also the variable of a raise that was cut, once its count was brought after.
    #[test]
    fn the_variable_of_a_cut_raise_is_old_after_the_next() {
        let mut machine = Machine::new();
        machine.store().raise(KIND, floor(1)).unwrap();
        let one = machine.kept;
        machine.left = 1;
        let _ = machine.store().raise(KIND, floor(2));
        let two = machine.kept;
        assert_ne!(one, two);
        machine.left = u32::MAX;
        assert_eq!(machine.store().read(KIND), Ok(Some(floor(2))));
        machine.kept = one;
        assert_eq!(machine.store().read(KIND), Err(StoreError));
        machine.kept = two;
        machine.store().raise(KIND, floor(3)).unwrap();
        machine.kept = two;
        assert_eq!(machine.store().read(KIND), Err(StoreError));
    }

    #[test]
    fn a_cleared_tpm_keeps_the_floor_and_is_bound_again() {
        let mut machine = Machine::new();
        machine.store().raise(KIND, floor(3)).unwrap();
        let old = machine.kept;
        machine.state = State::Absent;
        assert_eq!(machine.store().read(KIND), Ok(Some(floor(3))));
        assert_eq!(machine.state, State::Sealed(6));
        machine.store().raise(KIND, floor(4)).unwrap();
        machine.kept = old;
        assert_eq!(machine.store().read(KIND), Err(StoreError));
    }

    #[test]
    fn the_floor_of_a_loader_without_a_counter_is_taken_over() {
        let mut machine = Machine::new();
        machine.uncounted = Some(floor(3));
        assert_eq!(machine.store().read(KIND), Ok(Some(floor(3))));
        assert_eq!(machine.kept, Some(Counted { floor: floor(3), count: 5 }));
        assert_eq!(machine.state, State::Sealed(5));
        machine.store().raise(KIND, floor(4)).unwrap();
        // From then on it says nothing, and cannot stand in for the other that is gone.
        machine.uncounted = Some(floor(9));
        assert_eq!(machine.store().read(KIND), Ok(Some(floor(4))));
        machine.kept = None;
        assert_eq!(machine.store().read(KIND), Err(StoreError));
    }

    #[test]
    fn a_dead_tpm_fails_the_store_and_changes_nothing() {
        let mut machine = Machine::new();
        machine.store().raise(KIND, floor(3)).unwrap();
        let kept = machine.kept;
        machine.is_dead = true;
        assert_eq!(machine.store().read(KIND), Err(StoreError));
        assert_eq!(machine.store().probe(KIND, floor(4)), Err(StoreError));
        assert_eq!(machine.store().raise(KIND, floor(4)), Err(StoreError));
        assert_eq!(machine.kept, kept);
        machine.is_dead = false;
        assert_eq!(machine.store().read(KIND), Ok(Some(floor(3))));
    }
}
