//! How the boot record looks: its copies, its slots, and what it says of them.

use serde_json::{Value, json};
use stillboot::format::notes::{self, Past};
use stillboot::format::record::{Body, SlotState, VERSION};
use stillboot::format::{Fault, Floor, FormatError, Notes, Record, Slot};
use stillboot::layout::Layout;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::select;

use super::hex;
use crate::output::Output;
use crate::{record, time};

/// The sequence of the record in force, null where there is none.
pub fn sequence(choice: RecordStatus, record: &Record) -> Value {
    match choice {
        RecordStatus::Current { .. } => record.sequence.into(),
        RecordStatus::Newer | RecordStatus::Factory | RecordStatus::Lost => Value::Null,
    }
}

/// A fault for people: the number if only a later version of this software knows it.
fn fault_text(fault: Fault) -> String {
    match fault {
        Fault::Unknown(code) => {
            format!("fault {code}, which a later version of this software knows")
        }
        fault => fault.to_string(),
    }
}

/// A slot's state for people.
fn state_text(state: &SlotState) -> String {
    match state {
        SlotState::Bad { fault: fault @ Fault::Unknown(_) } => {
            format!("bad: {}", fault_text(*fault))
        }
        state => state.to_string(),
    }
}

/// The word for a slot's state.
pub const fn state_name(state: &SlotState) -> &'static str {
    match state {
        SlotState::Empty => "empty",
        SlotState::Writing => "writing",
        SlotState::Ready { .. } => "ready",
        SlotState::Trying { .. } => "trying",
        SlotState::Good => "good",
        SlotState::Bad { .. } => "bad",
    }
}

/// The boot record of the disks at hand.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What it holds.
    pub body: &'a Body,
    /// Which slots the disks have.
    pub layout: &'a Layout<'a>,
    /// What its copies amount to.
    pub choice: RecordStatus,
}

impl Shown<'_> {
    /// Why nothing is known of the slots.
    const fn unknown(&self) -> Option<&'static str> {
        match self.choice {
            RecordStatus::Current { .. } => None,
            RecordStatus::Factory => Some("not known: there is no record yet"),
            RecordStatus::Newer => {
                Some("not known: a later version of this software keeps the record")
            }
            RecordStatus::Lost => Some("not known: no copy of the record is left that can be read"),
        }
    }

    /// The slots of the disks, and those that only the record has: their disk is not at hand.
    fn slots(&self) -> impl Iterator<Item = Slot> {
        let is_shown =
            |slot: &Slot| self.layout.has(*slot) || self.body.slot(*slot).state != SlotState::Empty;
        Slot::ALL.into_iter().filter(is_shown)
    }

    /// The slot that boots next, by the record alone.
    pub fn boots(&self) -> Option<Slot> {
        match self.choice {
            RecordStatus::Current { .. } => select::next(self.body, |slot| self.layout.has(slot)),
            RecordStatus::Factory | RecordStatus::Newer | RecordStatus::Lost => None,
        }
    }
}

/// What the record says of one slot.
fn slot(shown: &Shown<'_>, slot: Slot) -> Value {
    let entry = shown.body.slot(slot);
    if shown.unknown().is_some() {
        return json!({
            "slot": slot.name(), "state": "unknown", "present": shown.layout.has(slot),
            "suspect": null, "held": null, "priority": null, "digest": null, "floor": null,
            "version": null,
        });
    }
    let mut value = json!({
        "slot": slot.name(),
        "state": state_name(&entry.state),
        "present": shown.layout.has(slot),
        "suspect": entry.suspect,
        "held": entry.held,
        "priority": entry.priority,
        "digest": Some(hex(&entry.digest)).filter(|_| entry.digest != [0; 32]),
        "floor": floor(&entry.floor),
        "version": Some(entry.version.as_str()).filter(|text| !text.is_empty()),
    });
    let mut put = |name: &str, detail: Value| {
        if let Some(object) = value.as_object_mut() {
            object.insert(name.into(), detail);
        }
    };
    match entry.state {
        SlotState::Ready { tries } => put("tries_left", tries.into()),
        SlotState::Trying { left, attempt, nonce } => {
            put("tries_left", left.into());
            put("attempt", attempt.into());
            put("nonce", format!("{nonce:016x}").into());
        }
        SlotState::Bad { fault } => {
            put("fault", fault.name().into());
            put("fault_code", fault.code().into());
        }
        SlotState::Empty | SlotState::Writing | SlotState::Good => {}
    }
    value
}

/// The boot record.
pub fn record(shown: &Shown<'_>) -> Value {
    let body = shown.body;
    let slots: Vec<_> = shown.slots().map(|at| slot(shown, at)).collect();
    let failed: Vec<_> = body
        .failed
        .iter()
        .map(|failed| {
            json!({
                "digest": hex(&failed.digest), "fault": failed.fault.name(),
                "fault_code": failed.fault.code(),
                "count": failed.count, "at": Some(failed.at).filter(|at| *at != 0),
                "at_time": time::rfc3339(failed.at),
            })
        })
        .collect();
    let hold = match body.hold.until {
        0 => Value::Null,
        until => json!({
            "until": if until == u64::MAX { "forever".into() } else { Value::from(until) },
            "until_time": time::rfc3339(until),
            "since": body.hold.since,
            "since_time": time::rfc3339(body.hold.since),
        }),
    };
    if shown.unknown().is_some() {
        // Zeros and empty lists would look like values.
        return json!({
            "slots": slots, "floor": null, "recovery_floor": null, "data_epoch": null,
            "failed": null, "hold": null, "history": null,
        });
    }
    json!({
        "slots": slots,
        "floor": floor(&body.floor),
        "recovery_floor": floor(&body.recovery_floor),
        "data_epoch": body.data_epoch,
        "failed": failed,
        "hold": hold,
        "history": history(body),
    })
}

/// What was confirmed on the device, the oldest first; null where the notes cannot be read.
fn history(body: &Body) -> Value {
    let Ok(notes) = Notes::parse(&body.notes) else { return Value::Null };
    let one = |past: &Past| {
        json!({
            "version": past.version.as_str(),
            "keyset_version": past.keyset_version,
            "sequence": Some(past.sequence).filter(|sequence| *sequence != 0),
            "at": Some(past.at).filter(|at| *at != 0),
            "at_time": time::rfc3339(past.at),
        })
    };
    notes.history.iter().map(one).collect()
}

/// The same in lines.
fn history_lines(out: &Output, body: &Body) {
    let notes = match Notes::parse(&body.notes) {
        Ok(notes) => notes,
        Err(FormatError::Version { found }) => {
            out.line(format_args!(
                "confirmed here not known: the notes of the record are of version {found}, and this \
                 build reads version {}",
                notes::VERSION
            ));
            return;
        }
        Err(error) => {
            out.line(format_args!(
                "confirmed here not known: the notes of the record are damaged ({error}); the \
                 next confirmation starts new notes, without what these held"
            ));
            return;
        }
    };
    for Past { version, keyset_version, sequence, at } in &notes.history {
        let sequence = match sequence {
            0 => String::new(),
            sequence => format!(", sequence {sequence}"),
        };
        let at = match at {
            0 => String::new(),
            at => format!(", at {}", time::show(*at)),
        };
        out.line(format_args!("confirmed here {version} (keyset {keyset_version}{sequence}{at})"));
    }
}

/// The boot record in lines.
pub fn record_lines(out: &Output, shown: &Shown<'_>) {
    let Shown { body, layout, .. } = *shown;
    let boots = shown.boots();
    for slot in shown.slots() {
        let entry = body.slot(slot);
        let mut notes = String::new();
        if boots == Some(slot) {
            notes.push_str(", boots next");
        }
        if entry.suspect {
            notes.push_str(", suspect");
        }
        if entry.held {
            notes.push_str(", held");
        }
        if !layout.has(slot) {
            notes.push_str("; on none of the disks given: add --disk");
        }
        let state =
            shown.unknown().map_or_else(|| state_text(&entry.state), |unknown| unknown.to_owned());
        let version = if entry.version.is_empty() { "-" } else { entry.version.as_str() };
        out.line(format_args!("slot {:<9} {version:<12} {state}{notes}", slot.name()));
        if entry.digest != [0; 32] {
            out.line(format_args!("               {}", hex(&entry.digest)));
        }
    }
    if shown.unknown().is_some() {
        // The rest of the record is not known either: zeros would look like values.
        return;
    }
    out.line(format_args!("floor          {}", floor_text(&body.floor)));
    if layout.has(Slot::Recovery) {
        out.line(format_args!("recovery floor {}", floor_text(&body.recovery_floor)));
    }
    out.line(format_args!("data epoch     {}", body.data_epoch));
    match body.hold.until {
        0 => out.line("hold           none"),
        u64::MAX => out.line("hold           until further notice"),
        until => out.line(format_args!("hold           until {}", time::show(until))),
    }
    for failed in &body.failed {
        out.line(format_args!(
            "failed here    {} ({}, count {}{})",
            hex(&failed.digest),
            fault_text(failed.fault),
            failed.count,
            match failed.at {
                0 => String::new(),
                at => format!(", the last at {}", time::show(at)),
            }
        ));
    }
    history_lines(out, body);
}

/// What the copies of the record amount to, for people.
pub fn choice_text(choice: RecordStatus, copies: &[CopyState]) -> String {
    match choice {
        RecordStatus::Current { copy } => {
            format!("copy {copy} is in force, of format version {VERSION}")
        }
        RecordStatus::Newer => "a later version of this software keeps it: it is only read".into(),
        RecordStatus::Factory => {
            "blank: a new device, or it was wiped; the next boot looks into the slots".into()
        }
        RecordStatus::Lost => record::all_dead(copies).unwrap_or_else(|| {
            format!(
                "all copies are lost: the next boot rebuilds it from the slots; {}",
                record::GONE
            )
        }),
    }
}

/// What one copy of the record is.
pub fn copy(state: &CopyState) -> Value {
    match state {
        CopyState::Blank => json!({ "state": "blank" }),
        CopyState::Invalid => json!({ "state": "invalid" }),
        CopyState::Newer { version } => json!({ "state": "newer", "version": version }),
        CopyState::Valid { sequence } => json!({ "state": "valid", "sequence": sequence }),
        CopyState::Unreadable(error) => {
            json!({ "state": "unreadable", "error": error.to_string() })
        }
    }
}

/// What one copy of the record is, for people.
pub fn copy_text(state: &CopyState) -> String {
    match state {
        CopyState::Blank => "blank".into(),
        CopyState::Invalid => "invalid: torn or damaged".into(),
        CopyState::Newer { version } => format!("of the newer format version {version}"),
        CopyState::Valid { sequence } => format!("valid, sequence {sequence}"),
        CopyState::Unreadable(error) => format!("unreadable: {error}"),
    }
}

/// A floor.
fn floor(floor: &Floor) -> Value {
    json!({ "keyset_version": floor.keyset_version, "level": floor.level })
}

/// A floor for people.
fn floor_text(floor: &Floor) -> String {
    format!("keyset {} level {}", floor.keyset_version, floor.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was shown as "unknown" alone.
    #[test]
    fn a_fault_of_a_later_version_is_shown_with_its_number() {
        let text = state_text(&SlotState::Bad { fault: Fault::Unknown(9) });
        assert_eq!(text, "bad: fault 9, which a later version of this software knows");
        let known = SlotState::Bad { fault: Fault::MarkedBad };
        assert_eq!(state_text(&known), known.to_string());
    }
}
