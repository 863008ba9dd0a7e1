//! Reads the boot record of disks that another process may be writing to.

use std::thread;
use std::time::Duration;

use stillboot::driver;
use stillboot::format::Record;
use stillboot::layout::Layout;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::{Perform, Request};
use stillboot_linux::FileDevice;
use stillboot_linux::disk;

use crate::failure::Failure;

/// How often the record is read until twice the same was found.
const READS_MAX: usize = 20;
/// Longer than a writer takes from one copy to the next, on most disks.
const PAUSE: Duration = Duration::from_millis(5);

/// A record as it was read.
pub struct Read {
    /// What the copies amount to.
    pub choice: RecordStatus,
    /// What each is, by the number of its place.
    pub copies: Vec<CopyState>,
    /// The true one, or that of a new device.
    pub record: Record,
}

/// Reads the record, without a lock. A writer changes one copy after the other, and each in between
/// is no record: what is read twice alike was not being changed.
pub fn read(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Result<Read, Failure> {
    let mut last = once(layout, devices)?;
    for _ in 0..READS_MAX {
        let again = once(layout, devices)?;
        if again.copies == last.copies {
            return Ok(again);
        }
        last = again;
        thread::sleep(PAUSE);
    }
    Ok(last)
}

/// What keeps the record from being written, as far as its copies show that, and the way out.
pub fn trouble(choice: RecordStatus, copies: &[CopyState]) -> Option<String> {
    let newer = |state: &CopyState| match state {
        CopyState::Newer { version } => Some(*version),
        CopyState::Blank
        | CopyState::Invalid
        | CopyState::Valid { .. }
        | CopyState::Unreadable(_) => None,
    };
    if let Some(version) = copies.iter().filter_map(newer).max() {
        return Some(format!(
            "it is of format version {version}, which a later version of this software wrote: \
             update this software and the loader, or give the record up with `stillboot record \
             discard --version {version} --offline`, whose --help lists what is lost"
        ));
    }
    if let Some(dead) = all_dead(copies) {
        return Some(dead);
    }
    let dead = unreadable(copies)?;
    // The copy in force is never overwritten, so the next record needs another place.
    let in_force = match choice {
        RecordStatus::Current { copy } => Some(usize::from(copy)),
        RecordStatus::Newer | RecordStatus::Factory | RecordStatus::Lost => None,
    };
    let is_left = |number: usize, state: &CopyState| {
        Some(number) != in_force && !matches!(state, CopyState::Unreadable(_))
    };
    if copies.iter().enumerate().any(|(number, state)| is_left(number, state)) {
        return None;
    }
    Some(format!(
        "{dead}: the device still boots the same slot, but nothing is tried, confirmed or \
         installed until the medium there is replaced"
    ))
}

/// What to look at after a place was lost that may have held the newest record.
const MAYBE_LOST: &str = "the last change may be lost: check hold, bad slots and rollback in this \
                          status, and repeat it if it is missing";

/// What a record that is rebuilt from the slots has not any more.
pub const GONE: &str =
    "the history of confirmed versions, holds and the list of failed updates are gone";

/// A record that is rebuilt after all copies were lost is numbered above this by the core.
const SEQUENCE_AFTER_LOSS: u64 = 1 << 40;

/// What is odd about copies of a record that can still be written: one line each, with its meaning.
pub fn remarks(choice: RecordStatus, copies: &[CopyState]) -> Vec<String> {
    let mut remarks = Vec::new();
    let RecordStatus::Current { copy } = choice else {
        if trouble(choice, copies).is_none()
            && let Some(dead) = unreadable(copies)
        {
            remarks.push(format!("{dead}: replace the medium when that can be done"));
        }
        return remarks;
    };
    if let Some(dead) = unreadable(copies) {
        match trouble(choice, copies) {
            None => remarks.push(format!(
                "{dead}: updates go on with the other places; {MAYBE_LOST}; replace the medium when \
                 that can be done"
            )),
            // That text names the places.
            Some(_) => remarks.push(MAYBE_LOST.into()),
        }
    }
    let sequence = match copies.get(usize::from(copy)) {
        Some(CopyState::Valid { sequence }) => *sequence,
        _ => 0,
    };
    let (is_rebuilt, writes) = match sequence.checked_sub(SEQUENCE_AFTER_LOSS) {
        Some(writes) => (true, writes),
        None => (false, sequence),
    };
    let lost = |state: &CopyState| match state {
        CopyState::Invalid => true,
        // Writes go to the places in turn, so each place was written by then.
        CopyState::Blank => writes >= copies.len() as u64,
        CopyState::Newer { .. } | CopyState::Valid { .. } | CopyState::Unreadable(_) => false,
    };
    for (state, what) in [
        (CopyState::Invalid, "damaged"),
        (CopyState::Blank, "blank although its turn to be written has come: erased, worn"),
    ] {
        let meant = numbers(copies, |other| *other == state && lost(other));
        if meant.is_empty() {
            continue;
        }
        let (verb, them) = if meant.len() == 1 { ("is", "it") } else { ("are", "them") };
        let mut remark = format!(
            "{} {verb} {what}, or a write was cut short there, and copy {copy} is in force: \
             {MAYBE_LOST}; the next changes write {them} again",
            named(&meant)
        );
        // The first records after a loss are on the disk beside remains of the old ones.
        if is_rebuilt && writes < copies.len() as u64 {
            remark.push_str(
                "; where the record was rebuilt from the slots, for all its copies were lost, the \
                 history of confirmed versions, holds and the list of failed updates from before \
                 are gone",
            );
        }
        remarks.push(remark);
    }
    remarks
}

/// Whether no place of the record can be read; then how, in words.
pub fn all_dead(copies: &[CopyState]) -> Option<String> {
    let is_dead = |state: &CopyState| matches!(state, CopyState::Unreadable(_));
    let Some(CopyState::Unreadable(error)) = copies.first() else { return None };
    copies.iter().all(is_dead).then(|| {
        format!(
            "no place of the boot record can be read ({error}): the medium there must be replaced; \
             nothing is tried, confirmed or installed until then"
        )
    })
}

/// The same, of a disk at hand.
pub fn all_dead_on(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Option<String> {
    all_dead(&read(layout, devices).ok()?.copies)
}

/// Which places a write of the record that failed has tried: all but the one in force.
fn not_written(choice: RecordStatus, copies: &[CopyState]) -> Option<String> {
    let RecordStatus::Current { copy } = choice else { return None };
    let tried: Vec<_> = (0..copies.len()).filter(|number| *number != usize::from(copy)).collect();
    Some(format!(
        "{} could not be written, and copy {copy} stays in force: replace the medium, or use another \
         disk",
        named(&tried)
    ))
}

/// The same, of a disk at hand.
pub fn not_written_on(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Option<String> {
    let Read { choice, copies, .. } = read(layout, devices).ok()?;
    not_written(choice, &copies)
}

/// The copies that cannot be read, in words.
fn unreadable(copies: &[CopyState]) -> Option<String> {
    let dead = numbers(copies, |state| matches!(state, CopyState::Unreadable(_)));
    let error = copies.iter().find_map(|state| match state {
        CopyState::Unreadable(error) => Some(*error),
        CopyState::Blank
        | CopyState::Invalid
        | CopyState::Newer { .. }
        | CopyState::Valid { .. } => None,
    })?;
    Some(format!("{} of the boot record cannot be read ({error})", named(&dead)))
}

fn numbers(copies: &[CopyState], is_meant: impl Fn(&CopyState) -> bool) -> Vec<usize> {
    let meant = copies.iter().enumerate().filter(|(_, state)| is_meant(state));
    meant.map(|(number, _)| number).collect()
}

/// `copy 1`, or `copies 0, 1 and 2`.
fn named(numbers: &[usize]) -> String {
    let texts: Vec<_> = numbers.iter().map(usize::to_string).collect();
    match &texts[..] {
        [one] => format!("copy {one}"),
        [others @ .., last] => format!("copies {} and {last}", others.join(", ")),
        [] => "no copy".into(),
    }
}

/// The same, of a disk at hand.
pub fn trouble_on(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Option<String> {
    let Read { choice, copies, .. } = read(layout, devices).ok()?;
    trouble(choice, &copies)
}

fn once(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Result<Read, Failure> {
    let mut machine = Perform::new(layout, Request::Read);
    let mut buffer = vec![0; Perform::buffer_len_min(layout)];
    if let Err(error) = driver::perform(&mut machine, &mut disk::lent(devices), &mut buffer) {
        let failure = Failure::from(error);
        return Err(match disk::last_error(devices) {
            Some((path, error)) => failure.also(format_args!("{}: {error}", path.display())),
            None => failure,
        });
    }
    let (choice, copies) = machine.copies();
    Ok(Read { choice, copies: copies.to_vec(), record: machine.record().clone() })
}

#[cfg(test)]
mod tests {
    use stillboot::device::DeviceError;

    use super::*;

    const DEAD: CopyState = CopyState::Unreadable(DeviceError::Io);
    const IN_FORCE: RecordStatus = RecordStatus::Current { copy: 1 };

    fn valid(sequence: u64) -> CopyState {
        CopyState::Valid { sequence }
    }

    #[test]
    fn sound_copies_need_no_words() {
        for copies in [[valid(2), valid(3), valid(1)], [CopyState::Blank, valid(1), valid(0)]] {
            assert_eq!(trouble(IN_FORCE, &copies), None);
            assert_eq!(remarks(IN_FORCE, &copies), [""; 0]);
        }
    }

    #[test]
    fn one_dead_place_is_named_and_keeps_no_update_away() {
        let copies = [valid(2), valid(3), DEAD];
        assert_eq!(trouble(IN_FORCE, &copies), None);
        let remarks = remarks(IN_FORCE, &copies);
        let [one] = &remarks[..] else { panic!("{remarks:?}") };
        for part in ["copy 2 of the boot record", "last change may be lost", "updates go on"] {
            assert!(one.contains(part), "{one}");
        }
    }

    #[test]
    fn two_dead_places_of_three_leave_none_to_write() {
        let copies = [DEAD, valid(3), DEAD];
        let trouble = trouble(IN_FORCE, &copies).unwrap();
        for part in ["copies 0 and 2 of", "cannot be read", "nothing is tried"] {
            assert!(trouble.contains(part), "{trouble}");
        }
        assert_eq!(remarks(IN_FORCE, &copies), [MAYBE_LOST], "places are not named twice");
        // With a fourth place there is one left.
        let copies = [DEAD, valid(3), DEAD, valid(2)];
        assert_eq!(super::trouble(IN_FORCE, &copies), None);
        assert!(remarks(IN_FORCE, &copies)[0].contains("copies 0 and 2 of the boot record"));
        // None that can be read.
        let trouble = super::trouble(RecordStatus::Lost, &[DEAD; 3]).unwrap();
        for part in ["no place of the boot record can be read", "must be replaced"] {
            assert!(trouble.contains(part), "{trouble}");
        }
        assert_eq!(remarks(RecordStatus::Lost, &[DEAD; 3]), [""; 0]);
        assert_eq!(super::trouble(RecordStatus::Lost, &[DEAD, DEAD, CopyState::Invalid]), None);
    }

    #[test]
    fn damaged_copies_are_named_beside_dead_ones() {
        let copies = [CopyState::Invalid, valid(3), DEAD];
        let remarks = remarks(IN_FORCE, &copies);
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(remarks[0].contains("copy 2 of"), "{remarks:?}");
        assert!(remarks[1].starts_with("copy 0 is damaged"), "{remarks:?}");
        let copies = [CopyState::Invalid, valid(3), CopyState::Invalid];
        let remarks = super::remarks(IN_FORCE, &copies);
        assert!(remarks[0].starts_with("copies 0 and 2 are damaged"), "{remarks:?}");
    }

    /// It said that nothing was lost when the newest place was destroyed.
    #[test]
    fn a_damaged_place_may_have_held_the_last_change() {
        let remarks = super::remarks(IN_FORCE, &[CopyState::Invalid, valid(3), valid(2)]);
        let [one] = &remarks[..] else { panic!("{remarks:?}") };
        for part in ["last change may be lost", "hold, bad slots and rollback", "repeat it"] {
            assert!(one.contains(part), "{one}");
        }
        assert!(!one.contains("nothing is lost") && !one.contains("history"), "{one}");
        // The first record after a loss.
        let rebuilt = [CopyState::Invalid, valid(SEQUENCE_AFTER_LOSS + 1), CopyState::Invalid];
        let remarks = super::remarks(IN_FORCE, &rebuilt);
        for part in ["history", "holds", "failed updates from before are gone"] {
            assert!(remarks[0].contains(part), "{remarks:?}");
        }
    }

    /// Places are written in turn from the first on: with the third record each was written.
    #[test]
    fn a_blank_place_is_named_once_every_place_was_written() {
        let blank = CopyState::Blank;
        for (copies, copy, is_named) in [
            ([valid(1), blank, blank], 0, false),
            ([valid(1), valid(2), blank], 1, false),
            ([blank, valid(2), valid(3)], 2, true),
            ([valid(4), blank, valid(3)], 0, true),
            ([valid(SEQUENCE_AFTER_LOSS + 1), blank, blank], 0, false),
            ([valid(SEQUENCE_AFTER_LOSS + 4), blank, valid(SEQUENCE_AFTER_LOSS + 3)], 0, true),
        ] {
            let remarks = super::remarks(RecordStatus::Current { copy }, &copies);
            assert_eq!(remarks.len(), usize::from(is_named), "{copies:?}: {remarks:?}");
            for remark in remarks {
                for part in ["is blank although", "last change may be lost"] {
                    assert!(remark.contains(part), "{remark}");
                }
            }
        }
    }

    /// It promised that `resume` would go on, and named no place.
    #[test]
    fn a_record_that_is_not_written_names_the_places_and_the_remedy() {
        let text = not_written(IN_FORCE, &[valid(2), valid(3), valid(1)]).unwrap();
        for part in ["copies 0 and 2", "copy 1 stays in force", "replace the medium"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(not_written(RecordStatus::Lost, &[DEAD; 3]), None);
    }

    #[test]
    fn a_newer_record_names_its_version_and_the_way_out() {
        let copies = [valid(2), CopyState::Newer { version: 7 }, DEAD];
        let trouble = trouble(RecordStatus::Newer, &copies).unwrap();
        assert!(trouble.contains("discard --version 7"), "{trouble}");
    }
}
