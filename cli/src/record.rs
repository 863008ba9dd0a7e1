//! Reads the boot record of disks that another process may be writing to.

use std::thread;
use std::time::Duration;

use stillboot::driver;
use stillboot::format::Record;
use stillboot::layout::Layout;
use stillboot::operate::{Operate, Request};
use stillboot::record::{Choice, CopyState};
use stillboot_linux::FileDevice;
use stillboot_linux::disk;

use crate::failure::Failure;

/// How often the record is read until twice the same was found.
const READS_MAX: usize = 20;
/// Longer than a writer takes from one copy to the next, on most disks.
const PAUSE: Duration = Duration::from_millis(5);

/// A record as it was read.
pub struct Read {
    /// What both copies amount to.
    pub choice: Choice,
    /// What each is.
    pub copies: [CopyState; 2],
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

fn once(layout: &Layout<'_>, devices: &mut [FileDevice]) -> Result<Read, Failure> {
    let mut machine = Operate::new(layout, Request::Read);
    let mut buffer = vec![0; Operate::buffer_len_min(layout)];
    if let Err(error) = driver::operate(&mut machine, &mut disk::lent(devices), &mut buffer) {
        let failure = Failure::from(error);
        return Err(match disk::last_error(devices) {
            Some((path, error)) => failure.also(format_args!("{}: {error}", path.display())),
            None => failure,
        });
    }
    let (choice, copies) = machine.copies();
    Ok(Read { choice, copies, record: machine.record().clone() })
}
