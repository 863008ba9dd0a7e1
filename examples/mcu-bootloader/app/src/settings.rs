//! The application's settings: a text that is signed with it, as a command line is.
//!
//! `VERSION BEHAVIOUR`. The behaviours are those that a release may turn out to have.

use mcu_map::{SETTINGS_AT, SETTINGS_BYTES_MAX};

/// How a release behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It finds itself healthy.
    Healthy,
    /// It crashes at once.
    Crashes,
    /// It hangs with interrupts off.
    Hangs,
    /// It runs, and finds that it does not work.
    Sick,
}

/// Version and behaviour, from what the loader loaded and verified.
#[must_use]
pub fn read(len: usize) -> Option<(&'static str, Behaviour)> {
    if len > SETTINGS_BYTES_MAX {
        return None;
    }
    // SAFETY: the loader loaded that many bytes to this place, and nothing writes there any more.
    let bytes = unsafe { core::slice::from_raw_parts(SETTINGS_AT as *const u8, len) };
    let (version, behaviour) = core::str::from_utf8(bytes).ok()?.trim().split_once(' ')?;
    let behaviour = match behaviour {
        "healthy" => Behaviour::Healthy,
        "crashes" => Behaviour::Crashes,
        "hangs" => Behaviour::Hangs,
        "sick" => Behaviour::Sick,
        _ => return None,
    };
    Some((version, behaviour))
}
